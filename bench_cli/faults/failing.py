"""Layer D: an error at every call of a log's life. Each must come out as a typed error, make the
log refuse all further work, lose nothing that was acknowledged, and be over once the log is opened
again."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench_cli.errors import BenchError
from bench_cli.faults import committers
from bench_cli.faults.crashes import Crashes, Tally
from bench_cli.faults.history import History, Kept, drive, steps
from bench_cli.faults.policies import Step, under_policy
from bench_cli.faults.recorder import HOME, SHORT, Fault, Recorder, no_fault
from bench_cli.interfaces import LogBackend, LogOptions

CODES = {
    "EIO": errno.EIO,
    "ENOSPC": errno.ENOSPC,
    "EDQUOT": errno.EDQUOT,
    "EINTR": errno.EINTR,
    "EROFS": errno.EROFS,
    "EFBIG": errno.EFBIG,
    "short": SHORT,
}
IMAGES = 24  # of each failed life


class Once:
    """Fails the call of number ``at``, counted from 1; ``calls`` lists all of them by name."""

    def __init__(self, at: int, number: int) -> None:
        self.at, self.number = at, number
        self.calls: list[str] = []

    def __call__(self, call: str) -> int:
        self.calls.append(call)
        return self.number if len(self.calls) == self.at else 0


@dataclass(frozen=True, slots=True)
class Life:
    """What a log is opened on, and what is then asked of it."""

    name: str
    content: dict[str, bytes] | None
    found: Sequence[Kept]
    planned: Sequence[Step]

    def lead(
        self, backend: LogBackend, options: LogOptions, fault: Fault
    ) -> tuple[Recorder, History]:
        disk = Recorder(self.content, fault)
        history = History.after(self.found, 0) if self.found else History()
        over = replace(options, file_system=disk)
        drive(backend, over, self.planned, history)
        return disk, history


def lives(backend: LogBackend, options: LogOptions, seed: int) -> list[Life]:
    """From an empty disk, and from what a crash left."""
    planned = [*steps(seed, 40, "every-8"), Step("append", 1, (b"last",)), Step("sync")]
    planned = [step for step in planned if step.do != "close"]
    if options.flush is not None:
        planned = under_policy([step for step in planned if step.do != "sync"], seed)
    planned.append(Step("close"))
    first = Life("new", None, (), planned)
    short = Life("crashed", None, (), [*steps(seed, 6, "every-8", 30, reset=False)])
    disk, history = short.lead(backend, options, no_fault)
    return [first, Life("crashed", disk.contents(), history.kept, planned)]


def check(backend: LogBackend, options: LogOptions, tally: Tally, seed: int) -> int:
    """How many errors were injected."""
    tried = 0
    for life in lives(backend, options, seed):
        names = Once(0, 0)
        life.lead(backend, options, names)
        for at, call in enumerate(names.calls, 1):
            for code, number in CODES.items():
                if number == SHORT and call != "pwrite":
                    continue
                tried += 1
                where = f"seed={seed} life={life.name} call={at} ({call}) error={code}"
                _one(backend, options, tally, life, Once(at, number), where)
                if tally.enough:
                    return tried
    return tried


def _one(
    backend: LogBackend, options: LogOptions, tally: Tally, life: Life, fault: Once, where: str
) -> None:
    try:
        disk, history = life.lead(backend, options, fault)
    except Exception as error:  # whatever is not a typed error is a failure of the log
        tally.fail("D", f"an untyped error: {type(error).__name__}: {error}", where)
        return
    _judge(backend, options, tally, disk, history, where, fault.at)


def _judge(
    backend: LogBackend,
    options: LogOptions,
    tally: Tally,
    disk: Recorder,
    history: History,
    where: str,
    seed: int,
) -> None:
    if history.complaints:
        tally.fail("D", history.complaints[0], where)
        return
    disk.fault = no_fault
    crashes = Tally(stop_at=1)
    Crashes(backend, options, disk, history, crashes, where, seed, 0).check(IMAGES)
    tally.images += crashes.images
    for failure in crashes.failures:
        tally.fail("D", failure.reason, failure.where, failure.image)
    reason = _reopens(backend, replace(options, file_system=disk))
    if reason:
        tally.fail("D", reason, where)


def check_committers(backend: LogBackend, options: LogOptions, tally: Tally, seed: int) -> int:
    """The same for a log that several threads commit to, with one error that is final and one that
    is not: nobody is answered by a sync that failed."""
    tried = 0
    for code in ("EIO", "EINTR"):
        fault = committers.Once(1, CODES[code])
        while not tally.enough:
            disk, history = committers.record(backend, options, seed, fault)
            if not fault.call:
                break
            tried += 1
            where = f"seed={seed} committers call={fault.at} ({fault.call}) error={code}"
            under = committers.under(options, None)
            _judge(backend, under, tally, disk, history, where, fault.at)
            fault = committers.Once(fault.at + 1, CODES[code])
    return tried


def _reopens(backend: LogBackend, over: LogOptions) -> str | None:
    """The same disk, without the error: what failed has let go of everything."""
    try:
        log = backend.open(HOME, over)
        log.append(b"again")
        log.close()
    except (BenchError, OSError) as error:
        return f"does not open again: {type(error).__name__}: {error}"
    return None
