"""What only root may ask of Linux: mounts and loop devices, by their system calls.

Programs of util-linux do the same, 3 ms a time; and ``mount`` looks at what it has mounted, which
nobody serves yet when it is a FUSE file system.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)

_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_AUTOCLEAR, DIRECT_IO = 4, 16
_CONFIG = struct.Struct("<II5QIIII64s64s32s16x64x")
"""``struct loop_config``: file, sector size, device, inode, rdevice, offset, size, number, two of
encryption, flags, three names."""
_START_WRITING = 2  # SYNC_FILE_RANGE_WRITE
_TRIES = 50


def mount(source: str, target: Path, kind: str, options: str = "") -> None:
    """Raises OSError."""
    words = (os.fsencode(source), os.fsencode(target), kind.encode())
    if _LIBC.mount(*words, ctypes.c_ulong(0), options.encode()):
        raise _error(f"mount {kind} at {target}")


def unmount(target: Path) -> None:
    if _LIBC.umount2(os.fsencode(target), 0):
        raise _error(f"unmount {target}")


@contextmanager
def mounted(source: str, target: Path, kind: str, options: str = "") -> Iterator[Path]:
    mount(source, target, kind, options)
    try:
        yield target
    finally:
        unmount(target)


@contextmanager
def loop(file: Path, flags: int = 0) -> Iterator[str]:
    """A block device of ``file``. It goes with its last user, also when this process is killed."""
    backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        device, name = _attached(backing, flags | _AUTOCLEAR)
    finally:
        os.close(backing)
    try:
        yield name
    finally:
        os.close(device)


def _attached(backing: int, flags: int) -> tuple[int, str]:
    config = _CONFIG.pack(backing, 512, 0, 0, 0, 0, 0, 0, 0, 0, flags, b"", b"", b"")
    for _ in range(_TRIES):  # somebody else may take the free one first
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            name = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
        finally:
            os.close(control)
        device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, _CONFIGURE, config)
        except OSError as error:
            os.close(device)
            if error.errno != errno.EBUSY:
                raise
        else:
            return device, name
    raise OSError(errno.EBUSY, "no loop device is free")


def write_back(path: Path) -> None:
    """Have its dirty pages written, without waiting and without a flush of the device. A file that
    is gone meanwhile needs none."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        start_and_length = (ctypes.c_int64(0), ctypes.c_int64(0))
        if _LIBC.sync_file_range(file, *start_and_length, _START_WRITING):
            raise _error(f"write {path} back")
    finally:
        os.close(file)


def sync_all_of(place: Path) -> None:
    """The file system that is mounted there."""
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(folder):
            raise _error(f"sync {place}")
    finally:
        os.close(folder)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
