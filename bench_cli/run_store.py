"""The journal of a run: every finished process is on disk before the next one starts.

One JSON object per line, appended and fsynced, beside the result file it will become. The first
line says what was ordered and on which machine; each further one is a finished process. If the
run ends well the journal is removed; if the tool is interrupted or dies it is what ``--resume``
goes on from.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from bench_cli.errors import OutputError, UsageError
from bench_cli.strict_json import JsonProblem, Shape, build, parse

VERSION = 1
SUFFIX = ".journal.jsonl"
MAX_BYTES = 256 << 20
_START = b'{"journal": '
_LATEST = "latest"

T = TypeVar("T")


class ResumeRefused(UsageError):
    """A run that cannot be gone on with."""

    slug = "resume"


@dataclass(slots=True)
class Header:
    """What was ordered. ``result``: the name of the result file beside the journal. ``order``: the
    words and options of the command line. ``cells``: a digest of each cell by its id."""

    journal: int = VERSION
    result: str = ""
    created: str = ""
    order: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    scenario_files: list[dict[str, Any]] = field(default_factory=list)
    cells: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """One finished process: the answer of a worker, and how long it took."""

    cell: str
    round: int
    answer: dict[str, Any]
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Journal:
    """What a journal holds. ``length``: bytes of its whole lines; up to ``size`` follows a torn
    last line."""

    path: Path
    header: Header
    entries: list[Entry]
    length: int
    size: int

    @property
    def result(self) -> Path:
        return self.path.with_name(self.header.result)


def journal_of(result: Path) -> Path:
    """Where the journal of a result stands."""
    return result.with_name(f"{result.stem}{SUFFIX}")


# --- reading ---------------------------------------------------------------------------------


def find(name: str, folder: Path) -> Path:
    """``latest`` is the newest journal in ``folder``; a result file stands for its journal.
    Raises ResumeRefused."""
    if name == _LATEST:
        found = list(folder.glob(f"*{SUFFIX}"))
        if not found:
            raise ResumeRefused(
                f"no interrupted run in {folder}/",
                remedy="a run that ended leaves a result and nothing to resume; "
                "or name the journal",
            )
        return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))
    path = Path(name)
    if path.name.endswith(SUFFIX) or not path.name:
        return path
    journal = journal_of(path)
    if path.is_file() and not journal.exists():
        raise ResumeRefused(
            f"{path} has no journal beside it ({journal.name}): there is nothing to resume",
            remedy="leave --resume away to start anew",
        )
    return journal


def read_journal(path: Path) -> Journal:
    """Raises ResumeRefused for anything that is not the journal of a run. A last line without
    its end is what a killed run leaves; it is not counted."""
    raw = _bytes_of(path)
    whole = raw[: raw.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    if not whole.startswith(_START):
        _refuse(path, "not the journal of a run")
    header = _line(path, 1, lines[0], Header)
    if header.journal != VERSION:
        _refuse(path, f"a journal of version {header.journal}; this tool goes on with {VERSION}")
    if Path(header.result).name != header.result or not header.result:
        _refuse(path, f"the name of its result, {header.result!r:.80}, is no file name")
    entries = [_line(path, number, line, Entry) for number, line in enumerate(lines[1:], 2)]
    return Journal(path, header, entries, len(whole), len(raw))


def _bytes_of(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            _refuse(path, "not a regular file")
        if status.st_size > MAX_BYTES:
            _refuse(path, f"{status.st_size:,} bytes; a journal has at most {MAX_BYTES:,}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        _refuse(path, getattr(error, "strerror", None) or str(error))


def _line(path: Path, number: int, line: bytes, cls: type[T]) -> T:
    try:
        return build(cls, parse(line.decode("utf-8")), Shape("line"))
    except (JsonProblem, UnicodeDecodeError) as problem:
        _refuse(path, f"line {number}: {problem}")


def _refuse(path: Path, what: str) -> NoReturn:
    raise ResumeRefused(
        f"{path}: {what}", remedy=f"give a file *{SUFFIX} that an interrupted run left"
    )


# --- writing ---------------------------------------------------------------------------------


class RunStore:
    """The journal of a running run, locked against a second one. A disk that fills up does not
    stop a run: the values stay in memory, and ``lost`` says why the journal ends early. One that
    is full before anything was measured does. Raises OutputError."""

    def __init__(self, path: Path, header: Header) -> None:
        self._open(path)
        try:
            self._refuse_what_is_there()
            self._append(asdict(header))
            if self.lost is not None:
                path.unlink()
                raise OutputError(
                    f"no journal can be kept: {self.lost}",
                    remedy="free space there, or give another place with -o FILE",
                )
        except OutputError:
            os.close(self._fd)
            raise

    def _refuse_what_is_there(self) -> None:
        """An unfinished run's journal is all that is left of it."""
        if not os.fstat(self._fd).st_size:
            return
        if os.pread(self._fd, len(_START), 0) != _START:
            raise OutputError(
                f"{self.path} exists and is not the journal of a run",
                remedy="give another place with -o FILE, or remove that file",
            )
        raise OutputError(
            f"{self.path} holds a run that was not finished",
            remedy=f"`bench {self._command()} --resume {self.path}` finishes it; remove that file "
            "to drop it, or give another place with -o FILE",
        )

    def _command(self) -> str:
        """That whose journal is there. One whose first line is torn was a run as well as any."""
        line = os.pread(self._fd, MAX_BYTES, 0).split(b"\n")[0]
        try:
            header = build(Header, parse(line.decode("utf-8")), Shape("line"))
        except (JsonProblem, UnicodeDecodeError):
            return "run"
        return str(header.order.get("kind", "run"))

    @classmethod
    def resume(cls, journal: Journal) -> RunStore:
        """Go on after the last whole line."""
        store = cls.__new__(cls)
        store._open(journal.path, create=False)
        if os.fstat(store._fd).st_size != journal.size:
            os.close(store._fd)
            _refuse(journal.path, "was written to by another run meanwhile")
        os.ftruncate(store._fd, journal.length)
        return store

    def _open(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self.lost: str | None = None
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, flags, 0o644)
        except OSError as error:
            raise OutputError(
                f"cannot write the run's journal {path}: {error.strerror}",
                remedy="make the folder writable or give another place with -o FILE",
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise OutputError(
                f"{path} is being written: {error.strerror}",
                remedy="that run is still going; wait for it, or give another place with -o FILE",
            ) from error

    def append(self, entry: Entry) -> None:
        self._append(asdict(entry))

    def _append(self, document: dict[str, Any]) -> None:
        if self.lost is not None:
            return
        line = json.dumps(document).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._fd, line) :]
            os.fsync(self._fd)
        except OSError as error:
            self.lost = f"the journal {self.path.name} ends early: {error.strerror}"

    def close(self, *, keep: bool) -> None:
        """``keep`` False: the run's values are safe elsewhere."""
        if not keep:
            self.path.unlink(missing_ok=True)  # before the lock goes with the descriptor
        os.close(self._fd)
