"""What a log was asked and what it promised, step by step, and what that demands of a recovery."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from bench_cli.errors import BenchError, LogClosed, LogPoisoned
from bench_cli.faults.policies import Hands, Promises, Step
from bench_cli.faults.recorder import HOME, Recorder
from bench_cli.interfaces import (
    CommittedLog,
    LogBackend,
    LogOptions,
    TruncatableLog,
    WriteAheadLog,
)

Kept = tuple[int, int, bytes]
"""(sequence, kind, payload) of one record."""


POLICIES = {"record": 1, "every-8": 8, "never": 0}
"""A sync after so many records; 0: only the close promises anything."""


def steps(seed: int, count: int, policy: str, size: int = 0, reset: bool = True) -> list[Step]:
    """A log of about ``count`` records: single ones and batches, of varied sizes (or all of
    ``size`` bytes), emptied once on the way or cut at the front now and then, closed at the end
    by half of the seeds."""
    draw, cuts = random.Random(f"{seed} {policy}"), random.Random(f"{seed} {policy} cuts")
    every, made, since = POLICIES[policy], 0, 0
    planned: list[Step] = []
    emptied = count // 2 if reset and draw.random() < 0.5 else -1
    while made < count:
        many = draw.randint(2, 4) if not size and draw.random() < 0.15 else 1
        payloads = tuple(_payload(draw, made + index, size, many) for index in range(many))
        planned.append(Step("batch" if many > 1 else "append", draw.randint(1, 9), payloads))
        made, since = made + many, since + many
        if every and since >= every:
            planned.append(Step("sync"))
            since = 0
        if emptied >= 0 and made >= emptied:
            planned.append(Step("reset"))
            emptied, since = -1, 0
        elif reset and emptied < 0 and cuts.random() < 0.08:
            planned.append(Step("truncate", keep=cuts.choice((0, 3, 12))))
    return [*planned, Step("close")] if draw.random() < 0.5 else planned


def _payload(draw: random.Random, number: int, size: int, many: int) -> bytes:
    """Now and then nothing, or (but not in a batch) more than a sector; text and not."""
    length = size or draw.choice((0, 1, 16, 16, 16, 24, 40, 90, 700 if many == 1 else 60))
    return (b"%d:" % number + draw.randbytes(length))[: max(length, size)]


class Need(NamedTuple):
    """What holds at one moment, as sequence numbers: ``promised`` by a sync, ``written`` (the
    append returned), ``attempted`` (the append began). ``bases``: everything up to that one was
    forgotten; two while an emptying is under way."""

    promised: int
    written: int
    attempted: int
    bases: tuple[int, ...]


@dataclass(slots=True)
class History:
    """``kept[i]`` has the sequence ``kept[0]`` + i. ``needs``: (operations done, need), in order;
    ``ends``: where a recovery may end without cutting a batch."""

    kept: list[Kept] = field(default_factory=list)
    needs: list[tuple[int, Need]] = field(default_factory=lambda: [(0, Need(0, 0, 0, (0,)))])
    ends: set[int] = field(default_factory=lambda: {0})
    complaints: list[str] = field(default_factory=list)
    watermarks: dict[int, int] = field(default_factory=dict)
    """What was promised when a record was written."""

    @property
    def now(self) -> Need:
        return self.needs[-1][1]

    def mark(self, at: int, **changed: object) -> None:
        self.needs.append((at, self.now._replace(**changed)))  # type: ignore[arg-type]  # named fields

    def attempt(self, at: int, step: Step) -> None:
        first = self.now.attempted + 1
        for index, payload in enumerate(step.payloads):
            self.kept.append((first + index, step.kind, payload))
            self.watermarks[first + index] = self.now.promised
        last = first + len(step.payloads) - 1
        self.ends.add(last)
        self.mark(at, attempted=last)

    @classmethod
    def after(cls, found: Sequence[Kept], base: int) -> History:
        """A second life: what was recovered is on the disk and stays there."""
        last = found[-1][0] if found else base
        need = Need(last, last, last, (base,))
        history = cls(list(found), [(0, need)], {last})
        history.watermarks = {kept[0]: 0 for kept in found}
        return history


def drive(
    backend: LogBackend,
    options: LogOptions,
    planned: Sequence[Step],
    history: History,
) -> None:
    """Do the steps over the recorder in ``options``. An error is met as a careful user would:
    the log must then refuse everything until it is opened again, and the rest is left out. With a
    flush policy the clock in ``options`` is moved by the steps."""
    disk = options.file_system
    assert isinstance(disk, Recorder)
    promises = None
    if options.flush is not None:
        assert isinstance(options.clock, Hands)
        promises = Promises(options.flush, options.clock)
    try:
        log = backend.open(HOME, options)
    except (BenchError, OSError):
        return
    try:
        for step in planned:
            if promises is None:
                _do(log, step, history, disk)
            else:
                _commit(cast(CommittedLog, log), step, history, disk, promises)
    except (BenchError, OSError) as error:
        _failed(log, error, history)


def _do(log: WriteAheadLog, step: Step, history: History, disk: Recorder) -> None:
    now = history.now
    if step.payloads:
        history.attempt(len(disk.ops), step)
        if step.do == "batch":
            last = log.append_many(step.payloads, step.kind)
        else:
            last = log.append(step.payloads[0], step.kind)
        if last != history.now.attempted:
            history.complaints.append(
                f"append returned {last}, the record is number {history.now.attempted}"
            )
        history.mark(len(disk.ops), written=history.now.attempted)
    elif step.do == "truncate":
        if isinstance(log, TruncatableLog):
            _truncate(log, step, history, disk)
    elif step.do == "reset":
        history.mark(len(disk.ops), bases=(*now.bases, now.attempted))
        log.reset()
        history.mark(len(disk.ops), bases=(now.attempted,), promised=now.attempted)
    else:
        log.sync() if step.do == "sync" else log.close()
        history.mark(len(disk.ops), promised=now.attempted)


def _commit(
    log: CommittedLog, step: Step, history: History, disk: Recorder, promises: Promises
) -> None:
    """``_do`` for a log under a policy. A tick that fails does not say so."""
    errors = disk.errors
    if step.do == "commit":
        history.attempt(len(disk.ops), step)
        log.commit(step.payloads[0], step.kind)
        history.mark(len(disk.ops), written=history.now.attempted)
    elif step.do == "tick":
        promises.clock.at += step.keep
        log.tick()
    elif step.do == "wait":
        if history.now.written > step.keep:
            log.wait(history.now.written - step.keep)
    else:
        _do(log, step, history, disk)
    if step.do == "tick" and disk.errors > errors:
        return
    now = history.now
    promised = promises.after(log, step, now.written, now.promised)
    if promised != now.promised:
        history.mark(len(disk.ops), promised=promised)


def _truncate(log: TruncatableLog, step: Step, history: History, disk: Recorder) -> None:
    """Where the log begins meanwhile depends on where its segments do."""
    now = history.now
    base, last = now.bases[-1], now.attempted - step.keep
    history.mark(len(disk.ops), bases=tuple(range(base, max(base, last) + 1)))
    first = log.truncate_front(last)
    if not base < first <= max(base, last) + 1:
        history.complaints.append(f"cut at {last}, the log begins with {first}, before {base + 1}")
    history.mark(len(disk.ops), bases=(first - 1,))


def _failed(log: WriteAheadLog, error: Exception, history: History) -> None:
    if not isinstance(error, BenchError):
        history.complaints.append(f"an untyped error: {type(error).__name__}: {error}")
    for name, call in (("append", lambda: log.append(b"after")), ("sync", log.sync)):
        try:
            call()
        except (LogPoisoned, LogClosed):  # closed: it was the close that failed
            continue
        except BenchError as other:
            history.complaints.append(f"{name} after a failure: {other.slug}, not log-poisoned")
        else:
            history.complaints.append(f"{name} went on after a failed write or sync")
    try:
        log.close()
    except (BenchError, OSError):
        return  # a failed close has released everything, as it must
