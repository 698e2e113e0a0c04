"""Every error this project raises on purpose.

One base class carries a slug (stable, for scripts and tests), an exit code and an optional
remedy: what to type next. The command line has one boundary that prints them; nothing else
catches ``BenchError`` in order to go on silently.
"""

from __future__ import annotations


class ExitCode:
    """What the process tells the shell. Scripts and CI rely on these numbers."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    REGRESSION = 10
    UNDECIDED = 11
    NOTHING_COMPARED = 12
    ROW_MISSING = 13
    REQUIREMENT_MISSED = 14
    RUN_FAILED = 20
    INTERRUPTED = 130


class BenchError(Exception):
    """Base of all deliberate errors.

    ``message`` says what happened, with the values; ``remedy`` says what to do about it.
    """

    slug = "error"
    exit_code = ExitCode.INTERNAL

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(BenchError):
    """The command line or its input files are wrong; nothing was run."""

    slug = "usage"
    exit_code = ExitCode.USAGE


class ScenarioError(UsageError):
    """One or more mistakes in scenario files. ``problems`` lists all of them, one line each."""

    slug = "scenario"

    def __init__(self, problems: list[str], *, remedy: str | None = None) -> None:
        super().__init__("\n".join(problems), remedy=remedy)
        self.problems = problems


class ResultFileError(UsageError):
    """A result file cannot be read as one."""

    slug = "result-file"


class UnknownName(UsageError):
    """A name (backend, workload, scenario, metric ...) that does not exist."""

    slug = "unknown-name"


class CoreUnavailable(UsageError):
    """The native twin was asked for and is not built."""

    slug = "core-unavailable"


class OutputError(UsageError):
    """A place the run has to write to cannot be written."""

    slug = "output"


class Unsupported(BenchError):
    """A backend lacks a capability that was asked of it. A row turns this into ``skipped``."""

    slug = "unsupported"
    exit_code = ExitCode.USAGE


class VerificationFailed(BenchError):
    """The work of a sample is not what it must be; the sample is void and the cell fails."""

    slug = "verification"
    exit_code = ExitCode.RUN_FAILED


class EngineError(BenchError):
    """Base of what engines raise in operation. Twins agree in type and fields, not in text."""

    slug = "engine"
    exit_code = ExitCode.RUN_FAILED


# --- write-ahead log -------------------------------------------------------------------------


class LogError(EngineError):
    slug = "log"


class LogClosed(LogError):
    """An operation on a closed log."""

    slug = "log-closed"


class LogLocked(LogError):
    """The log directory is open elsewhere (another process or another log object)."""

    slug = "log-locked"


class LogPoisoned(LogError):
    """An earlier write or sync failed. What the kernel kept is unknown, so the log refuses every
    further append and sync until it is reopened and recovered. ``errno`` is the first error's."""

    slug = "log-poisoned"

    def __init__(self, message: str, *, errno: int, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.errno = errno


class LogWriteFailed(LogError):
    """The write or sync that poisoned the log. ``errno`` is the system's error number."""

    slug = "log-write-failed"

    def __init__(self, message: str, *, errno: int, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.errno = errno


class LogCorrupt(LogError):
    """Damage in records that were promised durable. Opening for append is refused; recovery
    reports it as a value. ``path`` and ``offset`` name the first damaged byte range."""

    slug = "log-corrupt"

    def __init__(self, message: str, *, path: str, offset: int, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.path = path
        self.offset = offset


class SnapshotUnusable(LogCorrupt):
    """Records ``first``..``last`` are neither in the log nor in a snapshot that can be used.
    ``path`` and ``offset`` name the newest snapshot that was rejected and where it is damaged,
    or the log's folder where there is none."""

    slug = "snapshot-unusable"

    def __init__(
        self,
        message: str,
        *,
        path: str,
        offset: int,
        first: int,
        last: int,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, path=path, offset=offset, remedy=remedy)
        self.first = first
        self.last = last


class SnapshotFailed(EngineError):
    """A snapshot could not be made durable. The one before it and the log still hold everything,
    and both go on. ``errno`` is the system's error number."""

    slug = "snapshot-failed"

    def __init__(self, message: str, *, errno: int, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.errno = errno


class RecordTooLarge(LogError):
    """A record, batch or name beyond what the format can hold. ``size`` and ``limit`` in bytes
    (records for a batch)."""

    slug = "record-too-large"

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


# --- reward pool -----------------------------------------------------------------------------


class PoolError(EngineError):
    slug = "pool"


class PoolExhausted(PoolError):
    """Every item's stock is used up."""

    slug = "pool-exhausted"


class CatalogueError(PoolError):
    """Items that cannot form a pool (no item, weights or stock out of range, a name twice), or
    a log whose draws do not fit the catalogue."""

    slug = "catalogue"


class QueueFull(PoolError):
    """A bounded request queue has no place left. ``capacity`` in requests."""

    slug = "queue-full"

    def __init__(self, message: str, *, capacity: int) -> None:
        super().__init__(message)
        self.capacity = capacity


class QueueClosed(PoolError):
    """A request to a queue that was closed."""

    slug = "queue-closed"


# --- cache -----------------------------------------------------------------------------------


class CacheError(EngineError):
    slug = "cache"


class CacheFull(CacheError):
    """A write does not fit below ``limit`` bytes; nothing of it was stored. ``used`` and
    ``needed`` in bytes; ``which`` is ``max_size`` or ``max_pending``."""

    slug = "cache-full"

    def __init__(self, message: str, *, which: str, used: int, needed: int, limit: int) -> None:
        super().__init__(message)
        self.which = which
        self.used = used
        self.needed = needed
        self.limit = limit


class FileNotCached(CacheError):
    """The cache holds nothing under this name."""

    slug = "file-not-cached"


class StoreError(CacheError):
    """A block store could not keep or return a block."""

    slug = "store"
