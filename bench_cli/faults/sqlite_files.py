"""SQLite's file work on a recorded disk: a virtual file system for ``apsw`` that does what
SQLite's own one for Unix does. It has no shared memory, so a WAL needs exclusive locking."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from bench_cli.faults.recorder import Recorder

_JOURNALS = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
_SECTOR = 4096
_names = (f"recorded-{number}" for number in itertools.count())


class _File:
    """``names``: a journal that was just made; its first sync is one of the folder too."""

    def __init__(self, disk: Recorder, path: Path, flags: int) -> None:
        self._disk, self._path = disk, path
        self._remove = bool(flags & apsw.SQLITE_OPEN_DELETEONCLOSE)
        create = os.O_CREAT if flags & apsw.SQLITE_OPEN_CREATE else 0
        made = path.name not in disk.listdir(path.parent)
        self._fd = disk.open(path, os.O_RDWR | create)
        self._names = made and bool(flags & _JOURNALS)

    def xRead(self, amount: int, offset: int) -> bytes:
        return self._disk.pread(self._fd, amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.pwrite(self._fd, data, offset)

    def xTruncate(self, size: int) -> None:
        self._disk.truncate(self._fd, size)

    def xSync(self, flags: int) -> None:
        self._disk.sync(self._fd)
        if self._names:
            self._disk.sync_directory(self._path.parent)
            self._names = False

    def xFileSize(self) -> int:
        return self._disk.size(self._fd)

    def xClose(self) -> None:
        self._disk.close(self._fd)
        if self._remove:
            self._disk.unlink(self._path)

    def xLock(self, level: int) -> None:
        """There is one user."""

    def xUnlock(self, level: int) -> None:
        """As above."""

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return _SECTOR

    def xDeviceCharacteristics(self) -> int:
        return int(apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE)


class _Files(apsw.VFS):
    def __init__(self, disk: Recorder, name: str) -> None:
        self._disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        text = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        flags[1] = flags[0]
        return _File(self._disk, Path(text), flags[0])

    def xDelete(self, filename: str, syncdir: bool) -> None:
        path = Path(filename)
        self._disk.unlink(path)
        if syncdir:
            self._disk.sync_directory(path.parent)

    def xAccess(self, pathname: str, flags: int) -> bool:
        path = Path(pathname)
        return path.name in self._disk.listdir(path.parent)

    def xFullPathname(self, name: str) -> str:
        return name


@contextmanager
def opened(disk: Recorder, path: Path) -> Iterator[Any]:
    """A connection whose file work goes to ``disk``. It is never closed in an orderly way, as
    what is recorded ends with a crash."""
    name = next(_names)
    files = _Files(disk, name)
    connection = apsw.Connection(str(path), vfs=name)
    try:
        yield connection
    finally:
        connection.close()
        files.unregister()
