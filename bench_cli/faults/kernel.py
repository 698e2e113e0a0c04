"""Layer B: a real ext4 that is shut down under a real writer (opt-in; root).

Runs as a program of its own in a mount namespace of its own (``unshare --mount``): a file of
``scratch`` becomes an ext4 on a loop device, which is mounted there and nowhere else; with the
process goes the mount. The writer is that of ``kills.py``. At a random moment an ioctl stops the
file system, its journal flushed or not, as a crash of the system would: nothing that was not
synced gets to the device any more. Then it is mounted anew, the kernel replays the journal, and
the log is recovered. The result is one JSON line on stdout.

The device itself does not lose anything: whether the kernel flushed it is not shown here.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bench_cli.faults.kills import (
    RECORDS,
    SEGMENT,
    Eras,
    Kept,
    Killing,
    Lived,
    forked,
    judge,
    lives_of_one_log,
    write,
)
from bench_cli.interfaces import LogOptions

SIZE = 48 << 20  # of the file system
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN: _IOR('X', 125, __u32)
_FLUSH_JOURNAL, _NO_FLUSH = 1, 2
_TOOLS = ("unshare", "mount", "umount", "mkfs.ext4")
_ACK = struct.Struct("<QQ")


def why_not() -> str | None:
    """Why this cannot be done here; None when it can."""
    if sys.platform != "linux":
        return "it needs Linux"
    if os.geteuid() != 0:
        return "it needs root"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"it needs {', '.join(missing)}"
    if not Path("/dev/loop-control").exists():
        return "it needs loop devices"
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return "no mount namespace may be made" if tried.returncode else None


def command(killing: Killing, module: str = "bench_cli.faults.kernel") -> list[str]:
    """What runs this module, or another of the kind, in a mount namespace of its own."""
    inner = [sys.executable, "-m", module, json.dumps(asdict(killing))]
    return ["unshare", "--mount", "--propagation", "private", *inner]


# --- the file system --------------------------------------------------------------------------


class Disk:
    """``mounted`` is where it is, while it is."""

    def __init__(self, scratch: Path) -> None:
        self._image, self.mounted = scratch / "disk", scratch / "mounted"
        self.mounted.mkdir()
        with self._image.open("wb") as file:
            file.truncate(SIZE)
        _do("mkfs.ext4", "-q", "-F", str(self._image))

    @contextmanager
    def mount(self) -> Iterator[Path]:
        _do("mount", "-o", "loop", "-t", "ext4", str(self._image), str(self.mounted))
        try:
            yield self.mounted
        finally:
            _do("umount", str(self.mounted))

    def clear(self) -> None:
        """Of the log."""
        with self.mount() as place:
            shutil.rmtree(place / "log", ignore_errors=True)

    def shut_down(self, how: int) -> None:
        fd = os.open(self.mounted, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", how))
        finally:
            os.close(fd)


def _do(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


# --- crashes ----------------------------------------------------------------------------------


def run(killing: Killing) -> Kept:
    """``kills`` of what is returned counts the crashes."""
    backend, draw = killing.resolve(), random.Random(killing.seed)
    options = LogOptions(killing.format, SEGMENT)
    disk, kept = Disk(Path(killing.scratch)), Kept()

    def live(life: int, eras: Eras, last: int) -> Lived:
        with disk.mount() as place:
            work = partial(write, backend, place / "log", options, life)
            synced = crash(work, RECORDS, disk, draw)
        with disk.mount() as place:
            wrong = judge(backend, place / "log", options, eras, max(synced, last), killed=True)
        return synced, *wrong

    while kept.kills < killing.count and not kept.failures:
        disk.clear()
        lives_of_one_log(killing, kept, "crash", live)
    return kept


def crash(work: Callable[[int], None], most: int, disk: Disk, draw: random.Random) -> int:
    """The last record that the writer was told is durable before the file system was stopped: the
    ioctl is not one moment, and a sync that meets it may end well and yet in vain. ``work`` is
    given a pipe for acknowledgements, of which it tells ``most``."""
    process, pipe = forked(work)
    wanted, heard = draw.randrange(most), b""
    while len(heard) < wanted * _ACK.size and (part := os.read(pipe, 1 << 16)):
        heard += part
    until = time.perf_counter_ns() + draw.randrange(300_000)
    while time.perf_counter_ns() < until:
        pass
    heard += _at_hand(pipe)
    disk.shut_down(draw.choice((_FLUSH_JOURNAL, _NO_FLUSH)))
    os.kill(process, signal.SIGKILL)
    os.close(pipe)
    os.waitpid(process, 0)
    whole = len(heard) // _ACK.size
    return int(_ACK.unpack_from(heard, (whole - 1) * _ACK.size)[1]) if whole else 0


def _at_hand(pipe: int) -> bytes:
    os.set_blocking(pipe, False)
    heard = b""
    try:
        while part := os.read(pipe, 1 << 16):
            heard += part
    except BlockingIOError:
        return heard
    return heard


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(Killing(**json.loads(sys.argv[1]))))) + "\n")
