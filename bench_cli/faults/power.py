"""Layer B: the power of a real ext4's disk goes (opt-in; root).

Runs as a program of its own in namespaces of its own (``unshare``): whatever ends it, its processes
end too, and with them the mounts, which exist there and nowhere else, and the loop devices.

What is written and judged is a log's (``OfALog``), or that of a pool or a cache on one
(``engine_power.py``).

An ext4 stands on a loop device, whose file is the disk of ``fuse.py``. The writer of ``kills.py``
appends there and syncs, while this process has pages written back now and then, as the kernel would
later. The disk notes every write and every flush, and the acknowledgements between them: those
are in the writer's pipe before anything that it asks for next. Of the disks that the loss of power
may leave (``disk.py``) each is mounted, so that ext4 replays its journal, and the log is recovered;
with one of them the next life of the log begins. The result is one JSON line on stdout.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import random
import select
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from bench_cli.faults import fuse, kernel, mounts
from bench_cli.faults.crashes import Failure
from bench_cli.faults.disk import (
    ACKNOWLEDGED,
    FLUSHED,
    WROTE,
    Event,
    Image,
    content,
    epochs_of,
    events_of,
    images,
)
from bench_cli.faults.kills import RECORDS, SEGMENT, Eras, Killing, forked, judge, payload, write
from bench_cli.interfaces import Capability, CommittedLog, FlushPolicy, LogBackend, LogOptions

SIZE = 10 << 20  # of the disk; the least journal, 4 MiB, may be no more than half of it
LIVES = 4  # of one log
EACH = 40  # images of one life
MAX_EMPTY = 20  # lives in a row without an image that is new
PAUSE = 0.002  # seconds at most until pages are written back again
WRITTEN_BACK = ("nobody", "pages", "all")
"""What is written back beside the writer in the lives of a log, in turn. Nothing: only what its
syncs themselves bring to the disk is there. ``all`` syncs the file system too, once in
``EACH_SYNCED`` times, which makes up for a sync that the writer left out."""
EACH_SYNCED = 8
FLUSHES = (None, FlushPolicy("record"), FlushPolicy("group"))
"""Policies of the log, each for as many lives as there are ways to write back. None: its user syncs
it."""
COMMITTERS = 4  # threads that commit to one under a policy
_UUID = "8b0c3a35-6f5e-4a0e-9a55-0d8b8b1f2c61"  # any; always the same, as is all that can be
_MAKE = (
    "mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "64", "-J", "size=4", "-U", _UUID,
    "-E", f"nodiscard,lazy_itable_init=0,lazy_journal_init=0,hash_seed={_UUID}",
)  # fmt: skip
_ALONE = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")
ACK = struct.Struct("<QQ")  # as in kills.py: the last one written, the last one synced


def why_not() -> str | None:
    """Why this cannot be done here; None when it can."""
    if reason := kernel.why_not() or fuse.why_not():
        return reason
    tried = subprocess.run([*_ALONE, "true"], capture_output=True, check=False)
    return "no namespace of processes may be made" if tried.returncode else None


def command(killing: Killing, module: str = "bench_cli.faults.power") -> list[str]:
    """What runs this module, or another of the kind, in namespaces of its own."""
    return [*_ALONE, sys.executable, "-m", module, json.dumps(asdict(killing))]


@dataclass(slots=True)
class Lost:
    """``image``: the files of the log as they were found; ``disk``: the whole disk before ext4 saw
    it, zipped. Both in base64. ``setting``: what an engine is recovered with from them."""

    reason: str
    where: str
    disk: str
    image: dict[str, str]
    setting: dict[str, Any] | None = None

    def keep(self, disk: Path, *, black_box: bool) -> Failure:
        """With the disk in a file of its own. A black box reads no image, only what is mounted."""
        disk.write_bytes(base64.b64decode(self.disk))
        image = {name: base64.b64decode(data) for name, data in self.image.items()}
        where = f"{self.where}; the disk before ext4's recovery: zcat {disk}"
        return Failure("B", self.reason, where, None if black_box else image or None, self.setting)


@dataclass(slots=True)
class Found:
    """``losses`` counts distinct disks, ``flushes`` those of the lives they are made of."""

    losses: int = 0
    flushes: int = 0
    failures: list[Lost] = field(default_factory=list)


class WriterFailed(RuntimeError):
    """A writer ended by itself before it was done; what it met."""


class Notes:
    """Of what is asked of the disk, and of the acknowledgements that were told before."""

    def __init__(self, file: BinaryIO, acknowledgements: int) -> None:
        self._file, self._pipe, self._heard = file, acknowledgements, b""
        os.set_blocking(acknowledgements, False)

    def wrote(self, offset: int, data: bytes) -> None:
        self.listen()
        self._file.write(Event(WROTE, (offset, len(data)), data).pack())

    def flushed(self) -> None:
        self.listen()
        self._file.write(Event(FLUSHED).pack())

    def listen(self) -> None:
        try:
            while part := os.read(self._pipe, 1 << 16):
                self._heard += part
        except BlockingIOError:
            pass  # nothing more for now
        whole = len(self._heard) // ACK.size * ACK.size
        for at, synced in ACK.iter_unpack(self._heard[:whole]):
            self._file.write(Event(ACKNOWLEDGED, (at, synced)).pack())
        self._heard = self._heard[whole:]


def commit(backend: LogBackend, directory: Path, options: LogOptions, life: int, pipe: int) -> None:
    """What ``kills.write`` is to a log, to one under a flush policy: several threads, each of which
    waits for its record. Records get their numbers by turns, so that each holds its own."""
    log = cast(CommittedLog, backend.open(directory, options))
    at, turn = log.stats().last_sequence, threading.Lock()

    def work() -> None:
        nonlocal at
        for _ in range(RECORDS // COMMITTERS):
            with turn:
                at = own = log.append(payload(life, at + 1))
            log.wait(own)
            os.write(pipe, ACK.pack(own, own))

    with ThreadPoolExecutor(COMMITTERS) as threads:
        for ended in [threads.submit(work) for _ in range(COMMITTERS)]:
            ended.result()
    log.close()


class Machine:
    """A disk, and what is mounted of it. ``options``: of the ext4 that the writer works on.
    ``memory``: a folder that is none of the disk's."""

    options = ""

    def __init__(self, scratch: Path) -> None:
        self._served, self._place, self.memory = (
            scratch / name for name in ("served", "mounted", "memory")
        )
        for place in (self._served, self._place, self.memory):
            place.mkdir()
        mounts.mount("memory", self.memory, "tmpfs", "mode=700")
        self._file, self._notes = self.memory / "disk", self.memory / "notes"
        self._met = self.memory / "met"

    def fresh(self) -> bytes:
        """A disk with an empty file system."""
        with self._file.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run([*_MAKE, str(self._file)], check=True, capture_output=True)
        return self._file.read_bytes()

    def used(self, start: bytes, life: int, work: Callable[[Path, int], None]) -> list[Event]:
        """What a life asks of a disk that holds ``start``, mounting included. ``work`` is given the
        folder of the log and a pipe for acknowledgements."""
        hearing, telling = os.pipe()
        with self._serving(start, hearing):
            os.close(hearing)
            with (
                mounts.loop(self._served / "disk", mounts.DIRECT_IO) as device,
                mounts.mounted(device, self._place, "ext4", self.options) as place,
            ):
                log = place / "log"
                writer = forked(lambda _: self._do(work, log, telling))
                os.close(telling)
                self._write_back_until(writer[1], log, life)
                if status := _status(writer):
                    raise WriterFailed(f"the writer ended by itself: {self._told(status)}")
        return list(events_of(self._notes.read_bytes()))

    @contextmanager
    def _serving(self, start: bytes, hearing: int) -> Iterator[None]:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        mounts.mount(
            "disk", self._served, "fuse", f"fd={device},rootmode=40000,user_id=0,group_id=0"
        )
        server = forked(lambda _: self._serve(device, start, hearing))
        os.close(device)  # from here on it ends with the server
        try:
            yield
        finally:
            mounts.unmount(self._served)
            if status := _status(server):
                raise RuntimeError(f"the server of the disk ended with {status}")

    def _do(self, work: Callable[[Path, int], None], log: Path, pipe: int) -> None:
        """In the writer's process, of which nothing is left but what it says of its end."""
        self._met.unlink(missing_ok=True)
        try:
            work(log, pipe)
        except Exception as error:
            self._met.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
            raise

    def _told(self, status: int) -> str:
        return self._met.read_text(encoding="utf-8") if self._met.exists() else f"status {status}"

    def _serve(self, device: int, start: bytes, hearing: int) -> None:
        with self._notes.open("wb") as file:
            notes = Notes(file, hearing)
            fuse.serve(device, fuse.Disk(bytearray(start), notes))
            notes.listen()

    def _write_back_until(self, ended: int, log: Path, life: int) -> None:
        """Until there is something to read from ``ended``, or its end."""
        draw, what = random.Random(life), WRITTEN_BACK[life % len(WRITTEN_BACK)]
        while not select.select([ended], [], [], draw.uniform(0, PAUSE))[0]:
            if what != "nobody" and log.is_dir():
                for name in os.listdir(log):
                    mounts.write_back(log / name)
            if what == "all" and not draw.randrange(EACH_SYNCED):
                mounts.sync_all_of(self._place)

    def judged(
        self, disk: bytes | bytearray, judge: Callable[[Path], Judged]
    ) -> tuple[str | None, int, dict[str, str]]:
        """(what is wrong, the last record found, the files of the log if anything is). ``judge`` is
        given the folder of the log."""
        self._file.write_bytes(disk)
        with mounts.loop(self._file) as device:
            try:
                mounts.mount(device, self._place, "ext4")
            except OSError as error:
                return f"no file system is left: {error.strerror}", 0, {}
            try:
                log = self._place / "log"
                reason, last = judge(log)
                return reason, last, _files(log) if reason else {}
            finally:
                mounts.unmount(self._place)

    def replayed(self) -> bytes:
        """What was judged last, as it was left."""
        return self._file.read_bytes()


def _status(process: tuple[int, int]) -> int:
    """What it ends with."""
    os.close(process[1])
    return os.waitpid(process[0], 0)[1]


def _files(log: Path) -> dict[str, str]:
    """None where the file system itself is damaged: the disk is kept whole beside them."""
    try:
        found = sorted(log.iterdir()) if log.is_dir() else []
        return {file.name: base64.b64encode(file.read_bytes()).decode() for file in found}
    except OSError:
        return {}


Judged = tuple[str | None, int]
"""What is wrong, and the last record found."""


class Work(Protocol):
    """What is done on the disk, one log after another, and judged."""

    def begin(self) -> None:
        """A new log, on an empty disk."""

    def writer(self, number: int, life: int, last: int) -> Callable[[Path, int], None]:
        """Of the life of that ``number``, from 0 on, which goes on after record ``last``: it is
        given the folder of the log and a pipe for acknowledgements. ``life`` is its seed. Raises
        Unforeseen."""

    def judge(self, log: Path, told: int) -> Judged:
        """``told``: the last record that must be there."""

    def live_on(self) -> None:
        """The next life goes on with what was judged last."""

    @property
    def under(self) -> str:
        """What is particular about this life, for who reads of its failure."""

    def setting(self) -> Mapping[str, Any] | None:
        """What it is recovered with."""


class Unforeseen(RuntimeError):
    """A life that cannot be told beforehand; the reason."""


class OfALog:
    """Its records are what is acknowledged."""

    def __init__(self, killing: Killing) -> None:
        self._backend = killing.resolve()
        self._options = LogOptions(killing.format, SEGMENT)
        self._flush: FlushPolicy | None = None
        self._eras: Eras = []

    def begin(self) -> None:
        self._eras = []

    def writer(self, number: int, life: int, last: int) -> Callable[[Path, int], None]:
        self._eras.append((last + 1, life))
        if Capability.COMMIT in self._backend.capabilities:
            self._flush = FLUSHES[number // len(WRITTEN_BACK) % len(FLUSHES)]
        options = replace(self._options, flush=self._flush)
        work = commit if options.flush else write
        return lambda log, pipe: work(self._backend, log, options, life, pipe)

    def judge(self, log: Path, told: int) -> Judged:
        return judge(self._backend, log, self._options, self._eras, told, killed=True)

    def live_on(self) -> None:
        """All there is to know is on the disk."""

    @property
    def under(self) -> str:
        return f" under {self._flush.kind}" if self._flush else ""

    def setting(self) -> None:
        return None


class Losses:
    """Of one log after another, until there are enough."""

    def __init__(self, killing: Killing, machine: Machine, work: Work) -> None:
        self._killing, self._machine, self._work = killing, machine, work
        self._seen: dict[bytes, int] = {}  # disks, and the last record looked for on each
        self._lives = 0
        self.found = Found()

    def run(self) -> Found:
        fresh, empty = self._machine.fresh(), 0
        while not self._enough and empty < MAX_EMPTY:
            before = self.found.losses
            self._one_log(fresh)
            empty = 0 if self.found.losses > before else empty + 1
        return self.found

    @property
    def _enough(self) -> bool:
        return self.found.losses >= self._killing.count or bool(self.found.failures)

    def _one_log(self, start: bytes) -> None:
        last = 0
        self._work.begin()
        for _ in range(LIVES):
            if self._enough:
                return
            _must_be_heard()
            self._lives += 1
            life = self._killing.seed << 20 | self._lives
            try:
                writer = self._work.writer(self._lives - 1, life, last)
                events = self._machine.used(start, life, writer)
            except (WriterFailed, Unforeseen) as error:
                self._keep(str(error), Image({}, last, "on this disk"), start, {})
                return
            self.found.flushes += sum(event.kind == FLUSHED for event in events)
            start, last = self._judge(start, events, last, random.Random(life))

    def _judge(
        self, start: bytes, events: list[Event], last: int, draw: random.Random
    ) -> tuple[bytes, int]:
        """The disk that the log lives on with, any of those judged, and the last record on it."""
        after, found = start, last
        lived_on = draw.randrange(EACH)
        for index, image in enumerate(images(epochs_of(events), EACH, draw)):
            if self._enough:
                break
            _must_be_heard()
            disk, told = content(start, image.sectors), max(image.synced, last)
            if not self._is_news(disk, told):
                continue
            judge = partial(self._work.judge, told=told)
            reason, at, files = self._machine.judged(disk, judge)
            if reason:
                self._keep(reason, image, disk, files)
            if index <= lived_on:
                after, found = self._machine.replayed(), at
                self._work.live_on()
        return after, found

    def _is_news(self, disk: bytearray, told: int) -> bool:
        """Whether nobody has looked yet for so many records on this very disk."""
        digest = hashlib.blake2b(disk, digest_size=16).digest()
        if digest not in self._seen:
            self.found.losses += 1
        elif told <= self._seen[digest]:
            return False
        self._seen[digest] = told
        return True

    def _keep(
        self, reason: str, image: Image, disk: bytes | bytearray, files: dict[str, str]
    ) -> None:
        where = f"seed {self._killing.seed}, life {self._lives}{self._work.under}, {image.where}"
        zipped = base64.b64encode(gzip.compress(disk, 1)).decode()
        setting = self._work.setting()
        self.found.failures.append(
            Lost(reason, where, zipped, files, None if setting is None else dict(setting))
        )


def _must_be_heard() -> None:
    """Ends this process when the one that reads its result is gone, however that was ended."""
    output = select.poll()
    output.register(sys.stdout, 0)
    if output.poll(0):
        sys.exit("nobody waits for the result")


def main(asked: str) -> None:
    """Prints what was found. ``asked``: a Killing, as JSON."""
    killing = Killing(**json.loads(asked))
    report(Losses(killing, Machine(Path(killing.scratch)), OfALog(killing)))


def report(losses: Losses) -> None:
    sys.stdout.write(json.dumps(asdict(losses.run())) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
