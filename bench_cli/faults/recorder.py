"""A disk in memory that does what it is asked and notes every operation.

It is an ``interfaces.FileSystem``, so that both twins of a log run over it unchanged: the compiled
one calls back for every write, store and sync. The notes are what ``images.py`` builds legal
post-crash disks from. Errors and short writes are injected through ``fault``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from bench_cli.interfaces import Buffer

ROOT = Path("/disk")
"""The one folder that is there before anything is recorded."""
HOME = ROOT / "log"


class Op(NamedTuple):
    """One operation. ``kind`` is one of: create, unlink, rename, mkdir (of ``names`` in the
    folder ``folder``), write, store (``data`` at ``offset`` of ``file``), size (``file`` is now
    ``offset`` bytes long, and reads zero behind its earlier end), sync (``file``, bytes
    ``offset``..``end``; -1: all of it), syncdir (``folder``), failed-sync (as sync). A sync during
    which others went on covers what was done before operation ``since``, when it began."""

    kind: str
    file: int = 0
    offset: int = 0
    data: bytes = b""
    end: int = -1
    folder: str = ""
    names: tuple[str, ...] = ()
    since: int = -1


Fault = Callable[[str], int]
"""``fault(call)``, before each call by name: 0 to go on, an error number to raise, or
``SHORT`` to take half of a write."""
SHORT = -1


def no_fault(call: str) -> int:
    return 0


@dataclass(slots=True)
class _Open:
    file: int  # -1 for a folder
    path: str


class RecordedMapping:
    """The whole file; a store becomes part of the record when it is told of."""

    def __init__(self, disk: Recorder, file: int, length: int) -> None:
        self._disk, self._file = disk, file
        self.buffer = memoryview(disk.files[file])[:length]

    def stored(self, offset: int, length: int) -> None:
        data = bytes(self.buffer[offset : offset + length])
        self._disk.ops.append(Op("store", self._file, offset, data))

    def sync(self, offset: int, length: int) -> None:
        self._disk.sync_range(self._file, offset, offset + length)

    def close(self) -> None:
        self.buffer.release()


class Recorder:
    """``ops`` is what was done, in order; ``calls`` counts calls that ``fault`` was asked about,
    ``errors`` those that it failed for good.
    ``content`` is what the disk holds at the start, by name in ``HOME``, all of it durable."""

    def __init__(self, content: Mapping[str, bytes] | None = None, fault: Fault = no_fault):
        self.ops: list[Op] = []
        self.calls = 0
        self.errors = 0
        self.files: list[bytearray] = []
        self.fault = fault
        self.folders: dict[str, dict[str, int]] = {str(ROOT): {}}
        if content is not None:
            self.folders[str(ROOT)][HOME.name] = -1
            self.folders[str(HOME)] = {}
            for name, data in content.items():
                self.folders[str(HOME)][name] = len(self.files)
                self.files.append(bytearray(data))
        self.start = {folder: dict(names) for folder, names in self.folders.items()}
        self.start_files = [bytes(data) for data in self.files]
        self._open: dict[int, _Open] = {}
        self._locked: set[str] = set()
        self._next_fd = 1000

    def _ask(self, call: str) -> bool:
        """Raises the injected error; True for a short write."""
        self.calls += 1
        number = self.fault(call)
        if number > 0:
            self.errors += number != errno.EINTR
            raise OSError(number, os.strerror(number))
        return number == SHORT

    # --- descriptors -------------------------------------------------------------------------

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        self._ask("open")
        text = str(path)
        if flags & os.O_DIRECTORY:
            if text not in self.folders:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
            return self._opened(-1, text)
        names = self._names(path)
        if path.name not in names:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
            names[path.name] = len(self.files)
            self.files.append(bytearray())
            self._entry("create", path, names[path.name], path.name)
        elif flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), text)
        return self._opened(names[path.name], text)

    def _opened(self, file: int, path: str) -> int:
        self._next_fd += 1
        self._open[self._next_fd] = _Open(file, path)
        return self._next_fd

    def _names(self, path: Path) -> dict[str, int]:
        folder = str(path.parent)
        if folder not in self.folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        return self.folders[folder]

    def _entry(self, kind: str, path: Path, file: int, *names: str) -> None:
        self.ops.append(Op(kind, file, folder=str(path.parent), names=names))

    def close(self, fd: int) -> None:
        closed = self._open.pop(fd)
        if closed.file < 0:
            self._locked.discard(closed.path)

    def lock(self, fd: int) -> None:
        self._ask("lock")
        path = self._open[fd].path
        if path in self._locked:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        self._locked.add(path)

    # --- content -----------------------------------------------------------------------------

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        self._ask("pread")
        return bytes(self.files[self._open[fd].file][offset : offset + length])

    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        short = self._ask("pwrite")
        taken = bytes(data)
        if short and len(taken) > 1:
            taken = taken[: len(taken) // 2]
        number = self._open[fd].file
        live = self.files[number]
        if offset > len(live):
            live.extend(bytes(offset - len(live)))
        live[offset : offset + len(taken)] = taken
        self.ops.append(Op("write", number, offset, taken))
        return len(taken)

    def truncate(self, fd: int, length: int) -> None:
        self._ask("truncate")
        self._resize(self._open[fd].file, length)

    def preallocate(self, fd: int, length: int) -> None:
        self._ask("preallocate")
        number = self._open[fd].file
        if length > len(self.files[number]):
            self._resize(number, length)

    def _resize(self, number: int, length: int) -> None:
        live = self.files[number]
        if length < len(live):
            del live[length:]
        else:
            live.extend(bytes(length - len(live)))
        self.ops.append(Op("size", number, length))

    def sync(self, fd: int) -> None:
        self.sync_range(self._open[fd].file, 0, -1)

    def sync_range(self, file: int, start: int, end: int) -> None:
        began = len(self.ops)
        try:
            self._ask("sync")
        except InterruptedError:
            raise  # nothing was reported of the device
        except OSError:
            self._synced("failed-sync", file, start, end, began)
            raise
        self._synced("sync", file, start, end, began)

    def _synced(self, kind: str, file: int, start: int, end: int, began: int) -> None:
        since = began if began < len(self.ops) else -1
        self.ops.append(Op(kind, file, start, end=end, since=since))

    def map(self, fd: int, length: int) -> RecordedMapping:
        self._ask("map")
        return RecordedMapping(self, self._open[fd].file, length)

    def size(self, fd: int) -> int:
        return len(self.files[self._open[fd].file])

    def allocated(self, fd: int) -> int:
        return self.size(fd)

    # --- names -------------------------------------------------------------------------------

    def sync_directory(self, path: Path) -> None:
        self._ask("sync_directory")
        self.ops.append(Op("syncdir", folder=str(path)))

    def listdir(self, path: Path) -> list[str]:
        self._ask("listdir")
        if str(path) not in self.folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return list(self.folders[str(path)])

    def mkdir(self, path: Path) -> None:
        self._ask("mkdir")
        if str(path) not in self.folders:
            self._names(path)[path.name] = -1
            self.folders[str(path)] = {}
            self._entry("mkdir", path, -1, path.name)

    def rename(self, source: Path, target: Path) -> None:
        self._ask("rename")
        names = self._names(source)
        file = names.pop(source.name)
        names[target.name] = file
        self._entry("rename", source, file, source.name, target.name)

    def unlink(self, path: Path) -> None:
        self._ask("unlink")
        names = self._names(path)
        if path.name not in names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self._entry("unlink", path, names.pop(path.name), path.name)

    def contents(self) -> dict[str, bytes]:
        """What a process killed now would leave, by name in ``HOME``."""
        names = self.folders.get(str(HOME), {})
        return {name: bytes(self.files[file]) for name, file in names.items()}


class QuickPath(type(HOME)):  # type: ignore[misc]  # the concrete class of this system's paths
    """A folder that makes each path in it once: recovery asks for the same few, image after
    image, and making one costs as much as reading a small file from memory."""

    def __truediv__(self, name: str) -> Path:
        try:
            return _children[name]
        except KeyError:
            return _children.setdefault(name, _Child(HOME / name))


class _Child(type(HOME)):  # type: ignore[misc]  # as above
    """A path that knows its name; an ordinary one looks for it each time."""

    @cached_property
    def name(self) -> str:
        return str(super().name)


_children: dict[str, Path] = {}
QUICK_HOME: Path = QuickPath(HOME)


class ImageFiles:
    """One image, read-only and quick: what ``recover`` needs of a FileSystem, nothing else."""

    def __init__(self) -> None:
        self._content: Mapping[str, bytes] | None = None
        self._open: list[bytes] = []

    def load(self, content: Mapping[str, bytes] | None) -> None:
        """``content`` by name in ``HOME``; None where the folder itself is missing."""
        self._content = content
        self._open.clear()

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        if flags & _WRITING:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        data = None if self._content is None else self._content.get(path.name)
        if data is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self._open.append(data)
        return len(self._open) - 1

    def close(self, fd: int) -> None:
        """Descriptors live as long as the image."""

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        return self._open[fd][offset : offset + length]

    def size(self, fd: int) -> int:
        return len(self._open[fd])

    def listdir(self, path: Path) -> list[str]:
        if self._content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return list(self._content)


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
