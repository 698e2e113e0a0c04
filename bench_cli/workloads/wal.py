"""Write-ahead log rows: append, remove, sync, sustained appends, recovery.

``state: steady`` appends into segments that were created and faulted in before; ``state: cold``
times a log from its creation, so the first touch of every page is in the figure.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from bench_cli.errors import Unsupported, VerificationFailed
from bench_cli.flushing import parse_flush
from bench_cli.interfaces import (
    Body,
    BodyInfo,
    Capability,
    CommittedLog,
    FlushPolicy,
    LiveFiles,
    LogBackend,
    LogOptions,
    Needs,
    Parameter,
    Recovery,
    Setting,
    WriteAheadLog,
)
from bench_cli.payloads import live_files
from bench_cli.registry import open_committed
from bench_cli.workloads.base import (
    KIB,
    MIB,
    Declared,
    PlainBody,
    choice,
    count,
    expect,
    laps,
    random_bytes,
    size,
)

BATCH_VOLUME = {"native": 16 * MIB, "python": 4 * MIB}
MOST_LAPS = {"native": 100_000, "python": 5_000}
MOST_SYNCS = 500
"""A batch appends at most this volume and this many records: enough to time, little enough to
verify by recovering it."""
LEAST_OPS = 500
"""Of a batch of a short sample, unless each is synced."""
NEVER = "never"


def log_options(params: Mapping[str, Any], segment: int | None = None) -> LogOptions:
    return LogOptions(
        format=str(params.get("format", "binary")),
        segment_size=segment or int(params.get("segment", 64 * MIB)),
        workers=int(params.get("workers", 1)),
        flush=None if params.get("flush", NEVER) == NEVER else parse_flush(str(params["flush"])),
    )


def batch_ops(record: int, core: str | None) -> int:
    kind = core or "python"
    return max(4, min(MOST_LAPS[kind], BATCH_VOLUME[kind] // max(1, record)))


class PayloadCheck:
    """Compares what recovery finds with what was appended: every record of a small batch, one in
    61 (a prime, so that no rhythm of segments or batches hides a fault) of a large one."""

    def __init__(self, payload: bytes, records: int) -> None:
        self._payload = payload
        self._every = 61 if records > 1000 else 1

    def apply(self, sequence: int, kind: int, payload: memoryview) -> None:
        if sequence % self._every == 0 and payload != self._payload:
            raise VerificationFailed(f"record {sequence} is not what was appended")


class LogBody(PlainBody):
    """A body over one log. ``self.log`` is open between construction and ``close``."""

    def __init__(self, setting: Setting) -> None:
        assert setting.backend is not None  # a log row always names its backend
        self.setting = setting
        self.backend = cast(LogBackend, setting.engines.resolve(setting.backend))
        self.options = log_options(setting.params)
        self.place = setting.scratch / "log"
        self.log: WriteAheadLog = self.open_log()
        self.payload = b""
        """What each record holds, for verification; empty where records are not payloads."""
        self.appended = 0
        self._start = 0

    def open_log(self) -> WriteAheadLog:
        """Without a policy of its own, a log is one that nobody syncs."""
        if self.options.flush is None:
            return self.backend.open(self.place, self.options)
        return open_committed(self.backend, self.place, self.options)

    def empty(self) -> None:
        """Before a batch: the log holds nothing."""
        self.log.reset()
        self.mark()

    def mark(self) -> None:
        stats = self.log.stats()
        self.appended = stats.appends
        self._start = stats.bytes

    def verify(self) -> None:
        """Records counted by the log, and found again by recovery, are what the batch wrote."""
        self.check_records(self.info.ops)

    def check_records(self, wanted: int) -> None:
        expect("records appended", self.log.stats().appends - self.appended, wanted)
        if Capability.RECOVERY in self.backend.capabilities:
            check = PayloadCheck(self.payload, wanted).apply if self.payload else None
            found = self.backend.recover(self.place, self.options, check)
            expect("records found by recovery", found.records, wanted)
            expect("damages found by recovery", found.damages, ())

    def metrics(self) -> dict[str, float]:
        stats = self.log.stats()
        return {
            "wal_bytes_per_op": (stats.bytes - self._start)
            / (self.info.ops * (self.info.batches or 1)),
            "wal_file_size": float(stats.file_size),
            "wal_allocated_bytes": float(stats.allocated),
            **self._flushed(),
        }

    def _flushed(self) -> dict[str, float]:
        """What a flush policy did."""
        if self.options.flush is None:
            return {}
        stats = cast(CommittedLog, self.log).flush_stats()
        told = {"max_unsynced_ns": float(stats.max_unsynced_ns)}
        return told | ({"records_per_sync": stats.records / stats.groups} if stats.groups else {})

    def close(self) -> None:
        self.log.close()


class AppendBody(LogBody):
    """Append one record, into a log whose pages exist."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        record = int(setting.params["record"])
        self.batch = int(setting.params["batch"])
        # a log that keeps nothing has no volume: its row is about the call alone
        kept = record if Capability.RECOVERY in self.backend.capabilities else 0
        # text takes either twin as long as the Python twin's records take it
        core = "python" if self.options.format == "jsonl" else setting.core
        synced = self.options.flush == FlushPolicy("record")
        ops = setting.batch(
            min(batch_ops(kept, core), self._most_ops(record)), 10 if synced else LEAST_OPS
        )
        self.payload = random_bytes(record, setting.seed)
        self.payloads = [self.payload] * self.batch
        self.laps = laps(max(1, ops // self.batch))
        self.info = BodyInfo(len(self.laps) * self.batch, payload=kept, loop=self.laps)
        self.steps = len(self.laps)

    def _most_ops(self, record: int) -> int:
        """Where appends sync, a batch has this many syncs at most."""
        match self.options.flush:
            case FlushPolicy("record"):
                return MOST_SYNCS * self.batch
            case FlushPolicy("records", number):
                return MOST_SYNCS * max(self.batch, number)
            case FlushPolicy("bytes", number):
                return MOST_SYNCS * max(self.batch, number // max(1, record))
        return 10**9

    def prepare(self) -> None:
        self.empty()

    def stepper(self) -> Callable[[], object]:
        if self.batch > 1:
            return partial(self.log.append_many, self.payloads)
        return partial(self.log.append, self.payload)

    def verify_steps(self, count: int) -> None:
        self.check_records(count * self.batch)

    def run(self) -> None:
        if self.batch > 1:
            append_many, payloads = self.log.append_many, self.payloads
            for _ in self.laps:
                append_many(payloads)
            return
        append, payload = self.log.append, self.payload
        for _ in self.laps:
            append(payload)


class ColdAppendBody(AppendBody):
    """Create a log and append to it: the first touch of its pages is timed."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        volume = BATCH_VOLUME[setting.core or "python"]
        record = int(setting.params["record"])
        # room to spare: a nearly full segment has the next one made, on a thread
        self.options = log_options(setting.params, segment=max(volume, 2 * record) + 4 * MIB)

    def prepare(self) -> None:
        self.log.close()
        shutil.rmtree(self.place, ignore_errors=True)
        self.appended = self._start = 0

    def run(self) -> None:
        self.log = self.open_log()
        super().run()

    def stepper(self) -> Callable[[], object]:
        """Opening the log is no step: each one appends."""
        self.log = self.open_log()
        return super().stepper()


class RemoveBody(LogBody):
    """Append a remove record."""

    NAME = "export/home/file-000001.dat"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.laps = laps(setting.batch(batch_ops(64, setting.core), LEAST_OPS))
        self.info = BodyInfo(len(self.laps), loop=self.laps)
        self.steps = len(self.laps)

    def prepare(self) -> None:
        self.empty()

    def run(self) -> None:
        append_remove, name = self.log.append_remove, self.NAME
        for _ in self.laps:
            append_remove(name)

    def stepper(self) -> Callable[[], object]:
        return partial(self.log.append_remove, self.NAME)

    def verify_steps(self, count: int) -> None:
        self.check_records(count)


class SyncBody(LogBody):
    """Make ``after`` bytes durable that were appended just before, untimed."""

    steps = 1

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.payload = random_bytes(int(setting.params["after"]), setting.seed)
        self.info = BodyInfo(1, payload=len(self.payload))

    def prepare(self) -> None:
        if self.log.stats().file_size > self.options.segment_size // 2:
            self.log.reset()
        self.mark()
        self.log.append(self.payload)

    def run(self) -> None:
        self.log.sync()

    def verify(self) -> None:
        """What the log says of itself; whether the device really has it, no benchmark can see."""
        stats = self.log.stats()
        expect("records appended", stats.appends - self.appended, 1)
        expect("durable sequence after a sync", stats.durable_sequence, stats.last_sequence)

    def stepper(self) -> Callable[[], object]:
        return self.log.sync

    def verify_steps(self, count: int) -> None:
        self.verify()


class SustainedBody(LogBody):
    """Append without a pause, rotation included; the slowest of 16 intervals is reported."""

    INTERVALS = 16

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        record, total = int(setting.params["record"]), int(setting.params["total"])
        self.payload = random_bytes(record, setting.seed)
        self.laps = laps(max(1, total // record // self.INTERVALS))
        self.info = BodyInfo(len(self.laps), record, loop=self.laps, batches=self.INTERVALS)

    def prepare(self) -> None:
        """A log of its own for each sample: what the last one left on disk must not count."""
        self.log.close()
        shutil.rmtree(self.place, ignore_errors=True)
        self.log = self.open_log()
        self.mark()

    def run(self) -> None:
        append, payload = self.log.append, self.payload
        for _ in self.laps:
            append(payload)

    def verify(self) -> None:
        """A sample is all intervals of one log."""
        self.check_records(len(self.laps) * self.INTERVALS)


class RecoverBody(PlainBody):
    """Open a log of ``entries`` records and rebuild which files live, until usable.

    With ``removes: half`` every second file is removed again, as on the page."""

    def __init__(self, setting: Setting) -> None:
        assert setting.backend is not None  # a log row always names its backend
        self.backend = cast(LogBackend, setting.engines.resolve(setting.backend))
        self.options = log_options(setting.params)
        self.place: Path = setting.scratch / "log"
        self.entries = int(setting.params["entries"])
        removes = self.entries // 2 if setting.params["removes"] == "half" else 0
        self.writes = self.entries - removes
        self.wanted = self._write_log(removes, int(setting.params["record"]), setting.seed)
        # a log of someone else's need not have a way of its own
        self.live_files: Callable[[Path, LogOptions], tuple[Recovery, LiveFiles]] = getattr(
            self.backend, "live_files", partial(live_files, self.backend)
        )
        self.files: LiveFiles = {}
        self.info = BodyInfo(1)

    def _write_log(self, removes: int, record: int, seed: int) -> int:
        """Returns how many files live at the end."""
        data = random_bytes(record, seed)
        log = self.backend.open(self.place, self.options)
        for number in range(self.writes):
            log.append_write(f"file-{number:08d}", 0, data)
        for number in range(removes):
            log.append_remove(f"file-{2 * number % self.writes:08d}")
        log.close()
        return self.writes - len({2 * number % self.writes for number in range(removes)})

    def prepare(self) -> None:
        self.files = {}  # to free the last one is no part of a recovery

    def run(self) -> None:
        self.found, self.files = self.live_files(self.place, self.options)

    def verify(self) -> None:
        expect("records recovered", self.found.records, self.entries)
        expect("files alive", len(self.files), self.wanted)
        expect("writes alive", sum(map(len, self.files.values())), self.wanted)
        expect("tail", self.found.tail, "clean")


def _refuse_groups(setting: Setting) -> None:
    if parse_flush(str(setting.params["flush"])).kind == "group":
        raise Unsupported("in a group an append is not yet durable: wal.commit waits until it is")


def _sustained(setting: Setting) -> Body:
    _refuse_groups(setting)
    return SustainedBody(setting)


def _append(setting: Setting) -> Body:
    _refuse_groups(setting)
    return (ColdAppendBody if setting.params["state"] == "cold" else AppendBody)(setting)


def _append_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    """What the storage has to do at least: a copy and a checksum (the longer of the two, because
    they can be done in one pass), a write(2), or a call."""
    record, cold = int(params["record"]), params["state"] == "cold"
    if backend == "wal.mmap":
        return None if cold else _copy_and_checksum(record)
    if backend == "wal.basic":
        return f"limits.write_syscall[size={record}{',state=cold' if cold else ''}]"
    return None if cold else "limits.call"


def _copy_and_checksum(record: int) -> str:
    copy = f"limits.memcpy[ring={max(16 * MIB, record)},size={record}]"
    return f"max(limits.call, {copy}, limits.checksum[size={record},streams=three])"


def _sustained_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    record = int(params["record"])
    if backend == "wal.basic":
        return f"limits.write_syscall[size={record},state=cold]"
    if backend == "wal.mmap":
        return f"{record / (4 * KIB):g}x limits.first_touch_file"
    return None


def _sync_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    """The limits write what they sync; where that takes a part of the time worth naming they are
    no limit of a sync alone."""
    if int(params["after"]) > 4 * KIB:
        return None
    kind = "msync" if backend == "wal.mmap" else "fdatasync"
    return f"limits.{kind}[size={int(params['after'])}]"


def _remove_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    return "limits.write_syscall[size=64]" if backend == "wal.basic" else "limits.call"


def _log_needs(params: Mapping[str, Any]) -> Needs:
    record = int(params.get("record", 0)) + int(params.get("after", 0))
    volume = int(params.get("total", 0)) + int(params.get("entries", 0)) * (record + 96)
    segment = int(params.get("segment", 64 * MIB))
    return Needs(memory=96 * MIB + 4 * record, disk=3 * segment + 2 * volume + 8 * record)


_FORMAT = choice("format", "binary", "how records are written", "binary", "text", "jsonl")
_SEGMENT = size("segment", 64 * MIB, "bytes of one log file before it rotates", 64 * KIB)
_RECORD = size("record", 512, "payload bytes of one record", most=32 * MIB)
_FLUSH = Parameter("flush", "flush", NEVER, "when records become durable by themselves")

WORKLOADS = (
    Declared("wal.append", "wal", "WAL append", "append one record", _append,
             (_RECORD, _FORMAT, _SEGMENT,
              choice("state", "steady", "pages exist, or are touched first", "steady", "cold"),
              count("batch", 1, "records of one append_many; 1: append", most=65_535),
              _FLUSH),
             needs_of=_log_needs, ceiling_of=_append_ceiling),
    Declared("wal.append_remove", "wal", "WAL operations", "append a remove record", RemoveBody,
             (_FORMAT, _SEGMENT), frozenset({Capability.FILE_RECORDS}), _log_needs,
             _remove_ceiling),
    Declared("wal.sync", "wal", "WAL operations", "make the appended bytes durable", SyncBody,
             (size("after", 16, "bytes appended before each sync", most=16 * MIB), _FORMAT,
              _SEGMENT),
             frozenset({Capability.SYNC}), _log_needs, _sync_ceiling, synced=True),
    Declared("wal.sustained", "wal", "WAL sustained", "append without a pause, with rotation",
             _sustained,
             (size("record", 32 * KIB, "payload bytes of one record", most=32 * MIB),
              size("total", 256 * MIB, "bytes appended in one sample", MIB), _FORMAT, _SEGMENT,
              _FLUSH),
             needs_of=_log_needs, ceiling_of=_sustained_ceiling),
    Declared("wal.recover", "wal", "WAL recovery", "read a log and rebuild which files live",
             RecoverBody,
             (count("entries", 1000, "records in the log", most=100_000_000),
              choice("removes", "none", "remove every second file again", "none", "half"),
              _RECORD, _FORMAT, _SEGMENT,
              count("workers", 1, "threads that read the log", most=64)),
             frozenset({Capability.RECOVERY, Capability.FILE_RECORDS}), _log_needs),
)  # fmt: skip
