"""Looking at a log without changing it, and repairing one that is damaged.

A repair writes a new log of the records that can be trusted, which are those before the first
damage: later ones would leave a hole. The damaged one is not touched but for its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench_cli.errors import LogError, LogLocked, UsageError, VerificationFailed
from bench_cli.filesystem import SYSTEM
from bench_cli.interfaces import LogOptions, Recovery
from bench_cli.wal import format as fmt
from bench_cli.wal.codec import CODECS
from bench_cli.wal.files import Segment
from bench_cli.wal.log import FileLog
from bench_cli.wal.recovery import Scan, SegmentFile, recover, segment_files
from bench_cli.wal.segment import SegmentSet


class NotALog(UsageError):
    """A folder that cannot be read, or holds no segment of any format."""

    slug = "not-a-log"


@dataclass(frozen=True, slots=True)
class Found:
    """What stands in ``directory``: its format, and what a recovery makes of it."""

    directory: Path
    format: str
    recovery: Recovery


@dataclass(frozen=True, slots=True)
class Repaired:
    """``kept`` is where the damaged log is now; ``after`` what a recovery finds in the new one."""

    before: Recovery
    kept: Path
    after: Recovery


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Nobody writes to the log meanwhile. Raises NotALog, LogLocked."""
    try:
        fd = SYSTEM.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NotALog(f"{directory}: {error.strerror}") from error
    try:
        SYSTEM.lock(fd)
        yield
    except BlockingIOError as error:
        raise LogLocked(f"{directory} is in use", remedy="close that log first") from error
    finally:
        SYSTEM.close(fd)


def check(directory: Path) -> Found:
    """Read the log and change nothing. Raises NotALog, LogLocked."""
    with locked(directory):
        options = _options(directory)
        return Found(directory, options.format, recover(directory, options, SYSTEM).result())


def _options(directory: Path) -> LogOptions:
    """The format that most segments have a header of, and the largest of their sizes."""
    files: dict[str, list[SegmentFile]] = {}
    try:
        files = {name: list(segment_files(directory, SYSTEM, CODECS[name])) for name in CODECS}
    except OSError as error:
        raise NotALog(f"{directory}: {error.strerror}") from error
    if not any(files.values()):
        raise NotALog(f"{directory} holds no segment of a log (00000001.wal and so on)")
    sizes = {
        name: [file.header.capacity for file in found if file.header]
        for name, found in files.items()
    }
    name = max(sizes, key=lambda name: len(sizes[name]))
    return LogOptions(name, max(sizes[name], default=LogOptions().segment_size))


def repair(directory: Path) -> Repaired:
    """Put a log of what is valid in the place of a damaged one, which is kept beside it. Raises
    NotALog, LogLocked; LogError when nothing is damaged; OSError."""
    directory = directory.absolute()
    with locked(directory):
        options = _options(directory)
        before = recover(directory, options, SYSTEM).result()
        if not before.damages:
            raise LogError(
                f"{directory} is not damaged (its tail is {before.tail})",
                remedy="open it: a torn tail is cut then",
            )
        made = _free(directory, "repaired")
        after = _copy_valid(directory, made, options, before)
        kept = _free(directory, "damaged")
        SYSTEM.rename(directory, kept)
        SYSTEM.rename(made, directory)
        SYSTEM.sync_directory(directory.parent)
    return Repaired(before, kept, after)


def _free(directory: Path, word: str) -> Path:
    """A name beside the log that nothing has yet."""
    for number in range(1, 1000):
        path = directory.with_name(f"{directory.name}.{word}-{number}")
        if not os.path.lexists(path):
            return path
    raise LogError(f"{directory.name}.{word}-1 to -999 are all taken", remedy="move some away")


def _copy_valid(directory: Path, made: Path, options: LogOptions, before: Recovery) -> Recovery:
    segments = SegmentSet(made, options, Segment, fmt.new_salt)
    empty: Scan = segments.read()
    empty.first = before.first_sequence or 1
    segments.resume(empty)
    log = FileLog(segments, empty)

    def append(sequence: int, kind: int, payload: memoryview) -> None:
        if log.append(payload, kind) != sequence:
            raise VerificationFailed(f"record {sequence} of {directory} is numbered anew")

    try:
        recover(directory, options, SYSTEM, append)
    finally:
        log.close()
    after = recover(made, options, SYSTEM).result()
    wanted = (before.records, before.first_sequence, "clean")
    if (after.records, after.first_sequence, after.tail) != wanted:
        raise VerificationFailed(f"{made} does not hold the {before.records} valid records")
    return after
