"""Layer D for a pool or a cache on a log: an error at every call of its life, snapshots and
recovery included. It must come out as a typed error; what is in memory must still be right; nothing
that was acknowledged may be lost, whenever the system crashes then; and once the error is over the
engine must come back from the same disk and go on. A snapshot that fails is no end: the engine goes
on with the log it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from bench_cli.errors import BenchError
from bench_cli.faults.crashes import Tally
from bench_cli.faults.engines import POLICIES, SOUGHT, Plan, Recording
from bench_cli.faults.explore import Broken, explore
from bench_cli.faults.failing import CODES, Once
from bench_cli.faults.images import Content
from bench_cli.faults.recorder import SHORT, Fault, Recorder, no_fault
from bench_cli.faults.spoiling import SNAPSHOT

ACTIONS = 12  # of each life
BEFORE = 20  # of the life that left a disk to come back to
AFTERWARDS = 4  # once the error is over
CRASHED = ("EIO", "EINTR", "short")
"""The codes after which the system crashes too: what an error did to the disk does not depend on
its number, but for one that is tried again."""
IMAGES = 12  # of each failed life
SOON = 6  # operations of the disk after the error, after each of which the system may crash
STRIDE = 4  # seeds that are as far apart ask the pool in the same way
CASES = {"rewards": 4, "cache": 2}
"""The pool is asked in four ways. Half of them begin with an empty disk."""


class Failing(Once):
    """``moment``: how much was done on the disk before the call that fails."""

    moment = 0
    disk: Recorder

    def __call__(self, call: str) -> int:
        number = super().__call__(call)
        if number:
            self.moment = len(self.disk.ops)
        return number


@dataclass(frozen=True, slots=True)
class Case:
    """``whole``: a life that nothing disturbs. ``image`` is what it began with, None for an empty
    disk, and ``found`` the steps in there."""

    seed: int
    whole: Any
    image: Content | None = None
    found: int = 0

    def begin(self, fault: Fault) -> Any:
        disk = Recorder(self.image, fault)
        if isinstance(fault, Failing):
            fault.disk = disk
        life = self.whole.after(self.found, self.whole.making, disk)
        life.forgiving = True
        return life

    def lead(self, life: Any) -> None:
        """From opening to closing, or to the first error that is an end. Raises Broken, and what
        is no typed error."""
        try:
            engine, log = life.open(self.seed) if self.image is None else life.reopen()[:2]
        except (BenchError, OSError):
            return
        try:
            life.lead(engine, log, self.seed, ACTIONS)
        except BenchError as error:
            life.knowing(self.whole)
            life.check_failed(engine, log, error)
        else:
            with suppress(BenchError):  # a close that fails has promised nothing
                life.end(engine, log)
                return
        for one in (engine, log):
            with suppress(BenchError):  # the error was told; now everything is let go of
                one.close()


def cases(make: Recording, seed: int, count: int) -> Iterator[Case]:
    """From an empty disk and from what a crash left; each takes snapshots, where it can."""
    for number in range(count):
        policy = POLICIES[number % len(POLICIES)]
        yield _with_snapshots(make, seed + number, policy, crashed=number % 2 > 0)


def _with_snapshots(make: Recording, seed: int, policy: str, *, crashed: bool) -> Case:
    for further in range(SOUGHT):
        plan = Plan(seed + STRIDE * further, policy, ACTIONS, small=True)
        case = Case(plan.seed, make(plan))
        if crashed:
            case = _after_a_crash(case)
        if _takes_one(case):
            break
    return case


def _takes_one(case: Case) -> bool:
    taken = sum(SNAPSHOT in "".join(op.names) for op in case.whole.disk.ops)
    before = case.image is None or any(SNAPSHOT in name for name in case.image)
    return taken > 0 and before


def _after_a_crash(case: Case) -> Case:
    """The disk of a process that was killed, and the life of the next."""
    left = case.begin(no_fault)
    left.forgiving = False
    engine, log = left.open(case.seed)
    left.lead(engine, log, case.seed, BEFORE)
    again = replace(case, whole=left, image=left.disk.contents(), found=left.bounds.now.written)
    whole = again.begin(no_fault)
    whole.forgiving = False
    again.lead(whole)
    return replace(again, whole=whole)


def check(engine: str, make: Recording, tally: Tally, seed: int) -> int:
    """How many errors were injected."""
    tried = 0
    for case in cases(make, seed, CASES[engine]):
        tried += fail(case, tally)
        if tally.enough:
            break
    return tried


def fail(case: Case, tally: Tally, step: int = 1) -> int:
    """One error at every ``step``-th call; how many there were."""
    tried = 0
    calls = Once(0, 0)
    case.lead(case.begin(calls))
    kind = "new" if case.image is None else "crashed"
    for at, call in list(enumerate(calls.calls, 1))[::step]:
        for code, number in CODES.items():
            if (number == SHORT and call != "pwrite") or tally.enough:
                continue
            tried += 1
            where = f"seed={case.seed} life={kind} call={at} ({call}) error={code}"
            _one(case, Failing(at, number), tally, where, IMAGES if code in CRASHED else 0)
    return tried


def _one(case: Case, fault: Failing, tally: Tally, where: str, images: int) -> None:
    life = case.begin(fault)
    try:
        case.lead(life)
        life.knowing(case.whole)
    except Broken as broken:
        tally.fail("D", str(broken), where, life.disk.contents(), life.setting())
        return
    except Exception as error:  # whatever is not a typed error is a failure of the engine
        tally.fail("D", f"an untyped error: {type(error).__name__}: {error}", where)
        return
    life.disk.fault = no_fault
    if images:
        crashes = Tally(stop_at=1)
        soon = range(fault.moment, fault.moment + SOON)
        explore(life, crashes, where, fault.at, images, again=0, moments=soon)
        tally.images += crashes.images
        for failure in crashes.failures:
            tally.fail("D", failure.reason, failure.where, failure.image, failure.setting)
    left = life.disk.contents()
    reason = _goes_on(life)
    if reason:
        tally.fail("D", reason, where, left, life.setting())


def _goes_on(life: Any) -> str | None:
    """On the same disk, without the error: what failed has let go of everything."""
    done = life.bounds.now
    try:
        engine, log, _ = life.reopen()
        found = life.check(engine, log)
        if not done.written <= found <= done.attempted:
            return f"{found} steps are found of {done.written} done, {done.attempted} begun"
        following = life.after(found, life.making, life.recorded)
        following.lead(engine, log, found, AFTERWARDS)
        following.end(engine, log)
    except Exception as error:  # none is to be met any more
        return f"does not go on: {type(error).__name__}: {error}"
    return None
