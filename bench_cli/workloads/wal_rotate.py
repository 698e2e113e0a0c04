"""Rotation rows: the append that meets a rotation, by size or by time, and one that meets none.

Each timed append is the first one of a new segment. Before it, untimed, the segment is filled (or
gets one record and is left to grow old), and some time passes, as it does in a log that is not
written as fast as it can be: the next segment is made meanwhile. Segments that were left behind are
removed as they are behind a snapshot, so that their files are used again.

An append after a pause takes longer than one in a row of them, whether it rotates or not. ``none``
is that append without the rotation: what a rotation by time costs is the difference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from bench_cli.errors import VerificationFailed
from bench_cli.interfaces import (
    BodyInfo,
    Capability,
    Needs,
    Parameter,
    Setting,
    TruncatableLog,
    WriteAheadLog,
)
from bench_cli.workloads.base import KIB, MIB, Declared, choice, expect, random_bytes, size
from bench_cli.workloads.wal import LogBody

MS = 1_000_000
RUNNING = 200
"""Records between the pause and the rotation by size: the caches then hold what an append needs."""
PROVED = 16
"""A recovery reads all that the segment before holds, so one in so many appends is proved."""


class RotateBody(LogBody):
    """One append that rotates."""

    steps = 1

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.payload = random_bytes(int(setting.params["record"]), setting.seed)
        self.pause = int(setting.params["pause"])
        self.info = BodyInfo(1)
        self.by = str(setting.params["by"])
        self.fill = 0
        """Records of a segment before it rotates by size; 0: it rotates by time."""
        if self.by == "time":
            self.log.append(self.payload)
        else:
            self._next_segment()
            self.fill = self._next_segment()
        stats = self.log.stats()
        self.rotations, self.last = stats.rotations, stats.last_sequence
        self.begun = stats.last_sequence
        """The first record of the current segment."""
        self.verified = 0

    def open_log(self) -> WriteAheadLog:
        if self.setting.params["by"] == "time":
            after = int(self.setting.params["pause"])
            self.options = replace(self.options, rotate_after_ns=after)
        return super().open_log()

    def _next_segment(self) -> int:
        """Append up to the first record of the next segment; how many that were."""
        rotations, count = self.log.stats().rotations, 0
        while self.log.stats().rotations == rotations:
            self.log.append(self.payload)
            count += 1
        return count

    def prepare(self) -> None:
        assert isinstance(self.log, TruncatableLog)  # what the row asks for
        stats = self.log.stats()
        if stats.rotations > self.rotations:  # by the append that was timed
            self.begun = stats.last_sequence
        missing = max(0, self.fill - (stats.last_sequence - self.begun + 1))
        running = min(RUNNING, missing) if self.by == "size" else 0
        if self.by == "size":
            self._append(missing - running)
        elif self.fill and not missing:  # it would rotate and is not to
            self._next_segment()
            self.begun = self.log.stats().last_sequence
        self.log.truncate_front(self.log.stats().last_sequence)
        time.sleep(self.pause / 1e9)
        self._append(running)
        self.mark()
        stats = self.log.stats()
        self.rotations, self.last = stats.rotations, stats.last_sequence

    def _append(self, count: int) -> None:
        for _ in range(count):
            self.log.append(self.payload)

    def run(self) -> None:
        self.log.append(self.payload)

    def stepper(self) -> Callable[[], object]:
        return partial(self.log.append, self.payload)

    def verify(self) -> None:
        """It rotated once, or not if it was not to, and the record is the last one that a recovery
        finds."""
        stats = self.log.stats()
        expect("rotations", stats.rotations - self.rotations, int(self.by != "none"))
        expect("last record", stats.last_sequence, self.last + 1)
        if self.verified % PROVED == 0:
            self._check_last(stats.last_sequence)
        self.verified += 1

    def _check_last(self, wanted: int) -> None:
        last: list[bytes] = []

        def apply(sequence: int, kind: int, payload: memoryview) -> None:
            if sequence == wanted:
                last.append(bytes(payload))

        self.backend.recover(self.place, self.options, apply)
        if last != [self.payload]:
            raise VerificationFailed("the last record is not the one that was appended")

    def verify_steps(self, count: int) -> None:
        self.verify()


def _needs(params: Mapping[str, Any]) -> Needs:
    segment = int(params["segment"])
    return Needs(memory=64 * MIB + 4 * segment, disk=5 * segment)


WORKLOADS = (
    Declared("wal.rotate", "wal", "WAL rotation", "the append that meets a rotation", RotateBody,
             (choice("by", "size", "what the segment ends by; none: it goes on", "size", "time",
                     "none"),
              size("record", 4 * KIB, "payload bytes of one record", most=8 * MIB),
              size("segment", 16 * MIB, "bytes of one log file", 64 * KIB),
              Parameter("pause", "time", 50 * MS, "time before it, in which the next one is made",
                        minimum=MS)),
             frozenset({Capability.ROTATION, Capability.TRUNCATE, Capability.RECOVERY}), _needs),
)  # fmt: skip
