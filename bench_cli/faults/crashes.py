"""Layer A: recovery of recorded crash images, and of the crashes of recoveries."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench_cli.errors import BenchError
from bench_cli.faults.history import History, Kept, Need, drive
from bench_cli.faults.images import Content, DiskState
from bench_cli.faults.judge import out_of_bounds, violation
from bench_cli.faults.policies import Step
from bench_cli.faults.recorder import HOME, QUICK_HOME, ImageFiles, Recorder
from bench_cli.interfaces import LogBackend, LogOptions, Recovery


@dataclass(frozen=True, slots=True)
class Failure:
    """``where`` is what replays it: layer, policy, seed, operation. ``image`` by file name;
    ``setting`` is what an engine is recovered with from it."""

    layer: str
    reason: str
    where: str
    image: Content | None = None
    setting: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Tally:
    """What one proof has looked at so far."""

    images: int = 0  # distinct
    lives: int = 0  # images that were opened, appended to and crashed again
    failures: list[Failure] = field(default_factory=list)
    stop_at: int = 5  # failures; more say nothing new

    def fail(
        self,
        layer: str,
        reason: str,
        where: str,
        image: Content | None = None,
        setting: Mapping[str, Any] | None = None,
    ) -> None:
        self.failures.append(Failure(layer, reason, where, image, setting))

    @property
    def enough(self) -> bool:
        return len(self.failures) >= self.stop_at


class Reading:
    """Recovery of images through one in-memory file system, by the backend's own reader."""

    def __init__(self, backend: LogBackend, options: LogOptions) -> None:
        self._files = ImageFiles()
        self._backend = backend
        self._options = LogOptions(
            options.format,
            options.segment_size,
            self._files,  # type: ignore[arg-type]  # of a FileSystem, what recover uses
            workers=options.workers,
        )

    def recover(self, image: Content | None) -> tuple[Recovery, list[Kept]]:
        records: list[Kept] = []
        keep = records.append
        self._files.load(image)
        found = self._backend.recover(
            QUICK_HOME, self._options, lambda at, kind, data: keep((at, kind, bytes(data)))
        )
        return found, records


@dataclass(slots=True)
class Crashes:
    """The crashes of one recording."""

    backend: LogBackend
    options: LogOptions  # format and segment size
    recorded: Recorder
    history: History
    tally: Tally
    where: str
    seed: int
    again: int = 500  # one image in so many is lived on in; 0: none
    _seen: dict[int, tuple[int, int]] = field(default_factory=dict)
    """First and last record of each image that was recovered: it shows up again at a later
    moment, when more is promised, and need not be recovered again for that."""

    def check(self, most: int) -> None:
        """Up to ``most`` images, spread over all moments of the recording."""
        reading = Reading(self.backend, self.options)
        state = DiskState(self.recorded, self.seed)
        needs = iter([*self.history.needs[1:], (1 << 60, self.history.now)])
        need, (next_at, next_need) = self.history.needs[0][1], next(needs)
        ops, left = self.recorded.ops, most
        for done in range(len(ops) + 1):
            while next_at <= done:
                need, (next_at, next_need) = next_need, next(needs)
            quota = max(1, left // (len(ops) + 1 - done))
            before = self.tally.images
            self._judge(reading, state.newest(), need, done, killed=True)
            for image in state.images(quota):
                self._judge(reading, image, need, done, killed=False)
                if self.tally.enough:
                    return
            left -= self.tally.images - before
            if done < len(ops):
                state.do(ops[done])

    def _judge(
        self, reading: Reading, image: Content | None, need: Need, done: int, *, killed: bool
    ) -> None:
        key = hash(None if image is None else tuple(image.items()))
        known = self._seen.get(key)
        if known is not None:
            reason = out_of_bounds(*known, self.history, need, killed=killed)
            if reason:
                self.tally.fail("A", reason, f"{self.where} operation={done}", image)
            return
        self.tally.images += 1
        where = f"{self.where} operation={done}"
        try:
            found, records = reading.recover(image)
        except Exception as error:  # whatever a recovery raises here, it must not
            self.tally.fail("A", f"recovery raised {type(error).__name__}: {error}", where, image)
            return
        reason = violation(found, records, self.history, need, killed=killed)
        if reason:
            self.tally.fail("A", reason, where, image)
            return
        self._seen[key] = (records[0][0] if records else 0, found.last_sequence)
        if self.again and self.tally.images % self.again == 0:
            self._live_on(reading, image, (found, records), need, where)

    def _live_on(
        self,
        reading: Reading,
        image: Content | None,
        first: tuple[Recovery, list[Kept]],
        need: Need,
        where: str,
    ) -> None:
        """Recovering again, and on two threads, finds the same; opening, appending and crashing at
        any moment keeps what was found, then what is promised anew."""
        self.tally.lives += 1
        if reading.recover(image) != first:
            self.tally.fail("A", "recovering twice is not recovering once", where, image)
        if Reading(self.backend, replace(self.options, workers=2)).recover(image) != first:
            self.tally.fail("A", "two threads recover something else than one", where, image)
        reason = second_life(
            self.backend, self.options, image, first[1], need, self.tally, where, self.seed
        )
        if reason:
            self.tally.fail("A", reason, where, image)


def second_life(
    backend: LogBackend,
    options: LogOptions,
    image: Content | None,
    found: Sequence[Kept],
    need: Need,
    tally: Tally,
    where: str,
    seed: int,
) -> str | None:
    disk = Recorder(image)
    over = replace(options, file_system=disk)
    base = found[0][0] - 1 if found else _base(backend, over, image, need)
    if base is None:
        return "a log that was recovered cannot be opened"
    history = History.after(found, base)
    draw = random.Random(f"{seed} {where}")
    lengths = [len(kept[2]) for kept in found[-3:]] or [16]
    planned = [Step("append", 1, (draw.randbytes(draw.choice(lengths)),)) for _ in range(4)]
    drive(backend, over, [*planned[:2], Step("sync"), *planned[2:]], history)
    if not history.ends >= {history.now.attempted} or history.now.written < base + 1:
        return "a log that was recovered cannot be opened and appended to"
    if history.complaints:
        return history.complaints[0]
    again = Crashes(backend, options, disk, history, Tally(stop_at=1), f"{where} again", seed, 0)
    again.check(60)
    tally.images += again.tally.images
    return again.tally.failures[0].reason if again.tally.failures else None


def _base(backend: LogBackend, over: LogOptions, image: Content | None, need: Need) -> int | None:
    """What an empty log counts from: asked of a copy, since reading does not tell."""
    trial = replace(over, file_system=Recorder(image))
    try:
        log = backend.open(HOME, trial)
        base = log.append(b"") - 1
        log.close()
    except BenchError:
        return None
    return base if base in need.bases else None


def record(
    backend: LogBackend, options: LogOptions, planned: Sequence[Step]
) -> tuple[Recorder, History]:
    """One undisturbed life of a log, from an empty disk."""
    disk, history = Recorder(), History()
    drive(backend, replace(options, file_system=disk), planned, history)
    return disk, history
