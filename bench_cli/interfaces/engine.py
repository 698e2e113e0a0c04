"""What a backend says of itself, and the world outside: clock and file system, injected so that
tests need no luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

Buffer = bytes | bytearray | memoryview


class Capability(StrEnum):
    """What a backend can do beyond the least its Protocol asks. A workload names what it needs;
    a row whose backend lacks it is skipped with that reason."""

    # logs
    BATCH = "batch"  # append_many is atomic
    FILE_RECORDS = "file-records"  # append_write / remove / truncate / uploaded
    RECOVERY = "recovery"
    SYNC = "sync"  # sync reaches the device
    RESET = "reset"  # the log can be emptied in place
    TRUNCATE = "truncate"  # its oldest segments can be removed: a TruncatableLog
    ROTATION = "rotation"
    LOCK = "lock"
    TEXT = "text"  # the text format
    JSONL = "jsonl"  # the JSON Lines format
    FAULTS = "faults"  # all file work goes through the injected FileSystem
    COMMIT = "commit"  # ``open`` heeds ``LogOptions.flush`` and gives a CommittedLog
    # pools
    DRAW_MANY = "draw-many"
    SELECTORS = "selectors"
    QUEUE = "queue"
    LOGGED = "logged"  # can draw through a log
    SNAPSHOT = "snapshot"  # the state can be kept in snapshots beside the log: a SnapshotPool
    # caches
    VECTORED = "vectored"  # write_many / read_many
    WAL = "wal"  # can stand on a log
    EVICTION = "eviction"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Durability:
    """What an acknowledged operation survives.

    ``level``: D0 may be lost with the process; D1 survives SIGKILL; D2 loses at most ``window``
    in an OS crash; D3 survives power loss if the device honours flushes.
    ``integrity`` after a crash: I0 may be corrupt, I1 a consistent prefix.
    ``damage``: C0 unnoticed, C1 silently shorter, C2 reported with its place.
    ``evidence``: "declared" until a proof has run, then "verified" or "FAILED", with its ``date``
    and, as ``counts``, what was tried or why it failed.
    """

    level: str
    window: str | None = None
    integrity: str = "I0"
    damage: str = "C0"
    evidence: str = "declared"
    date: str | None = None
    counts: str | None = None

    def label(self) -> str:
        """As printed in tables: ``D2(10 ms) I1 C2``."""
        window = f"({self.window})" if self.window else ""
        return f"{self.level}{window} {self.integrity} {self.damage}"


class Backend(Protocol):
    """Common to all backends. A backend object is made by calling its class without arguments;
    it holds no open resources."""

    name: str  # engine.variant, as in scenario files: "wal.mmap"
    core: str  # "native" or "python"
    capabilities: frozenset[Capability]

    def durability(self, options: Mapping[str, Any]) -> Durability:
        """The declared level under these parameters of a row."""


class Clock(Protocol):
    def now_ns(self) -> int:
        """Monotonic time."""

    def wall_ns(self) -> int:
        """Time since the epoch; may step."""


class MappedFile(Protocol):
    """A shared writable mapping of the first ``len(buffer)`` bytes of a file."""

    buffer: memoryview

    def stored(self, offset: int, length: int) -> None:
        """Called after each store into ``buffer``; a recorder notes it, production ignores it."""

    def sync(self, offset: int, length: int) -> None:
        """Write the range to the device and wait. Raises OSError."""

    def close(self) -> None: ...


class FileSystem(Protocol):
    """All file work of the engines. Methods behave as the system calls they are named after and
    raise OSError; writes may be short. The production one is ``filesystem.SYSTEM``."""

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int: ...
    def close(self, fd: int) -> None: ...
    def pread(self, fd: int, length: int, offset: int) -> bytes: ...
    def pwrite(self, fd: int, data: Buffer, offset: int) -> int: ...
    def truncate(self, fd: int, length: int) -> None: ...
    def preallocate(self, fd: int, length: int) -> None:
        """Reserve real blocks for ``length`` bytes; a full disk is an error here, not a signal
        later."""

    def sync(self, fd: int) -> None:
        """fdatasync: data, and the metadata needed to read it back."""

    def sync_directory(self, path: Path) -> None: ...
    def map(self, fd: int, length: int) -> MappedFile: ...
    def lock(self, fd: int) -> None:
        """Exclusive flock without waiting; BlockingIOError when it is held elsewhere."""

    def size(self, fd: int) -> int: ...
    def allocated(self, fd: int) -> int:
        """Bytes of real blocks behind the file."""

    def listdir(self, path: Path) -> list[str]: ...
    def mkdir(self, path: Path) -> None:
        """Make the directory and its parents; no error when it exists."""

    def rename(self, source: Path, target: Path) -> None: ...
    def unlink(self, path: Path) -> None: ...
