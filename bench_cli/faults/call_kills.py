"""Layer C at every system call: the writer of a log is killed at the first one it makes, before it
is executed, then a new writer at the same one when it is done, and so on to the end of its life.

Runs as a program of its own (``python -m bench_cli.faults.call_kills``), for the reason that
``kills.py`` gives, and writes one JSON line. A life is short, of planned steps, and each writer
begins it anew, on the same files: none, or what a kill in the life before has left. It tells
through a pipe what each step returned. What a kill left is recovered, held against what was told
as the recorded crashes are, and then opened, appended to and recovered again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bench_cli.errors import BenchError
from bench_cli.faults.committers import COMMITTERS
from bench_cli.faults.engine_kills import KeptOfEngine, files_of
from bench_cli.faults.explore import Broken
from bench_cli.faults.history import POLICIES, History, Kept, Need, steps
from bench_cli.faults.judge import violation
from bench_cli.faults.kills import Killing
from bench_cli.faults.policies import FLUSH, FLUSHES, Step, under_policy
from bench_cli.faults.tracing import Ended, killed_at, traced
from bench_cli.interfaces import (
    Capability,
    CommittedLog,
    FlushPolicy,
    LogBackend,
    LogOptions,
    Recovery,
    TruncatableLog,
    WriteAheadLog,
)

CALLERS = "bench_cli.faults.call_kills"  # by this name it is run
RECORDS, FEWER = 12, 5  # of one life, about; fewer where threads make most of the calls
SEGMENT = 4096
SIZE = 900  # bytes of a record in a life that rotates; in text they may be three times that
THREADED = (COMMITTERS, FLUSH + "async", FLUSH + "time")
AHEAD = "ahead"
"""Not a policy but a log whose segments are so large that a thread makes them ahead."""
LEAST, LARGE, MANY = 4 << 20, 2_100_000, 3  # bytes of a segment and of a record, records
SOON_NS = 200_000  # until a timed policy syncs: well within a life
THREADS = 2  # that commit together
WORD = 4000  # bytes of what a writer tells of an error: less than a pipe takes at once
EACH_LARGE = 8  # one log of large segments in so many is gone on with
NEEDED = {"batch": Capability.BATCH, "sync": Capability.SYNC, "reset": Capability.RESET,
          "truncate": Capability.TRUNCATE}  # fmt: skip
AFTER = b"appended to what a kill has left"
Image = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Start:
    """What a life begins with: files, the records in them, and after which one they begin."""

    image: Image = field(default_factory=dict)
    records: tuple[Kept, ...] = ()
    base: int = 0


# --- the writer ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """``policy`` as layer A names it."""

    policy: str
    options: LogOptions
    steps: tuple[Step, ...]


def policies_of(backend: LogBackend, form: str) -> list[str]:
    """In the order in which a log lives under them; the first ones differ most."""
    can = backend.capabilities
    made_ahead = [AHEAD] if form == "binary" and Capability.ROTATION in can else []
    if Capability.COMMIT not in can:
        return ["every-8", *made_ahead, "record", "never"]
    others = [FLUSH + kind for kind in FLUSHES if kind not in ("async", "record")]
    threaded = [*made_ahead, COMMITTERS, FLUSH + "async"]
    return ["every-8", *threaded, FLUSH + "record", *others, "record", "never"]


def plan_of(
    backend: LogBackend, form: str, policy: str, seed: int, times: int = 1, *, rotates: bool = True
) -> Plan:
    """What the backend cannot do is not asked of it. ``times`` as long."""
    if policy == AHEAD:
        options, planned = LogOptions(form, LEAST), steps(seed, MANY, "record", LARGE)
    else:
        options = LogOptions(form, SEGMENT, flush=flush_of(policy))
        records = (FEWER if policy in THREADED else RECORDS) * times
        planned = _planned(policy, seed, records, rotates=rotates)
    can = backend.capabilities
    possible = [step for step in planned if step.do not in NEEDED or NEEDED[step.do] in can]
    return Plan(policy, options, tuple(possible))


def _planned(policy: str, seed: int, records: int, *, rotates: bool) -> list[Step]:
    planned = steps(seed, records, policy if policy in POLICIES else "never")
    if rotates:
        planned = _rotating(planned, random.Random(f"{seed} calls"))
    if policy == COMMITTERS:
        return [step for step in planned if step.do == "append"]
    if policy.startswith(FLUSH):
        return [step for step in under_policy(planned, seed) if step.do != "tick"]
    return planned


def _rotating(planned: Sequence[Step], draw: random.Random) -> list[Step]:
    """The same with records that fill segments, and whatever else there is to do for certain:
    a batch, a cut at the front, an emptying."""
    made = list(planned)
    for at, step in enumerate(planned):
        if step.do == "append":
            made[at] = step._replace(payloads=(draw.randbytes(SIZE),))
    made.insert(1, Step("batch", 2, (draw.randbytes(30), draw.randbytes(9))))
    made.insert(len(made) * 2 // 3, Step("truncate", keep=1))
    made.insert(len(made) - 2, Step("reset"))
    return made


def flush_of(policy: str) -> FlushPolicy | None:
    """The clock is the system's own, so a window is to be one that a life can meet."""
    if policy == COMMITTERS:
        return FLUSHES["group"]
    if not policy.startswith(FLUSH):
        return None
    flush = FLUSHES[policy.removeprefix(FLUSH)]
    return replace(flush, number=SOON_NS) if flush.kind == "time" else flush


def write(backend: LogBackend, directory: Path, plan: Plan, pipe: int) -> None:
    """The whole life."""
    try:
        log = backend.open(directory, plan.options)
        if plan.policy == COMMITTERS:
            _commit_together(cast(CommittedLog, log), plan.steps, pipe)
        else:
            _work(log, plan.steps, pipe)
        log.close()
    except Exception as error:
        os.write(pipe, f"! {type(error).__name__}: {error}".encode()[:WORD] + b"\n")
        raise


def _work(log: WriteAheadLog, planned: Sequence[Step], pipe: int) -> None:
    last = log.stats().last_sequence
    for step in planned:
        returned = _do(log, step, last)
        last = returned if step.payloads else last
        _tell(pipe, returned)


def _tell(pipe: int, returned: int) -> None:
    os.write(pipe, b"%d\n" % returned)


def _do(log: WriteAheadLog, step: Step, last: int) -> int:
    """The number of the record; of the first one left, of a truncation; otherwise 0."""
    if step.do == "batch":
        return log.append_many(step.payloads, step.kind)
    if step.do == "append":
        return log.append(step.payloads[0], step.kind)
    if step.do == "commit":
        return cast(CommittedLog, log).commit(step.payloads[0], step.kind)
    if step.do == "truncate":
        return cast(TruncatableLog, log).truncate_front(max(0, last - step.keep))
    if step.do == "wait":
        if last > step.keep:
            cast(CommittedLog, log).wait(last - step.keep)
    else:
        {"sync": log.sync, "reset": log.reset, "close": log.close}[step.do]()
    return 0


def _commit_together(log: CommittedLog, planned: Sequence[Step], pipe: int) -> None:
    """Threads that take turns to append, so that each record gets its own number, and wait
    together."""
    left, turn = iter(planned), threading.Lock()

    def work() -> None:
        while True:
            with turn:
                if (step := next(left, None)) is None:
                    return
                ticket = log.append(step.payloads[0], step.kind)
                _tell(pipe, ticket)
            log.wait(ticket)

    with ThreadPoolExecutor(THREADS) as threads:
        for ended in [threads.submit(work) for _ in range(THREADS)]:
            ended.result()


# --- the judge -------------------------------------------------------------------------------


def known(start: Start, planned: Sequence[Step]) -> History:
    """All that the life may leave, from its beginning to its end."""
    history = History.after(start.records, start.base)
    for step in planned:
        if step.payloads:
            history.attempt(0, step)
    return history


def need_of(start: Start, planned: Sequence[Step], told: Sequence[int]) -> Need:
    """Of a kill after ``told`` steps, while the next one may have been under way. Raises Broken for
    a record that was told a number which is not its own."""
    base = start.base
    at = start.records[-1][0] if start.records else base
    for step, returned in zip(planned, told, strict=False):
        if step.payloads:
            at += len(step.payloads)
            if returned != at:
                raise Broken(f"append returned {returned}, the record is number {at}")
        elif step.do == "truncate":
            base = returned - 1
        elif step.do == "reset":
            base = at
    need = Need(0, at, at, (base,))
    if len(told) >= len(planned):
        return need
    begun = planned[len(told)]
    if begun.do == "truncate":
        return need._replace(bases=tuple(range(base, max(base, at - begun.keep) + 1)))
    if begun.do == "reset":
        return need._replace(bases=(base, at))
    return need._replace(attempted=at + len(begun.payloads))


@dataclass(frozen=True, slots=True)
class Died:
    """One writer: how it ended, how many steps it had told, what is wrong with what it left, if
    anything, the files it left, and what the next life may begin with."""

    ended: Ended
    acknowledged: int
    reason: str | None
    image: Image
    left: Any = None


class Called:
    """A log in ``home`` that lives again and again under one plan."""

    def __init__(self, backend: LogBackend, home: Path, plan: Plan, start: Start) -> None:
        self._backend, self._home, self._plan, self._start = backend, home, plan, start
        self._history = known(start, plan.steps)

    def die_at(self, stop: int) -> Died:
        """A life until its ``stop``-th stop."""
        restore(self._start.image, self._home)
        process, pipe = traced(lambda to: write(self._backend, self._home, self._plan, to))
        ended = killed_at(process, stop)
        heard = all_of(pipe).decode("utf-8", "replace").splitlines()
        told = [int(line) for line in heard if not line.startswith("!")]
        large = self._plan.policy == AHEAD
        image = {} if large else files_of(self._home)
        try:
            if len(heard) > len(told):
                raise Broken(f"the writer met {heard[-1][2:]}")
            if not ended.killed and len(told) < len(self._plan.steps):
                raise Broken(f"the writer ended by itself, with status {ended.status}")
            left = self._found(told, image, goes_on=not large or stop % EACH_LARGE == 0)
        except (Broken, BenchError, OSError) as error:
            return Died(ended, len(told), word_of(error), image or files_of(self._home))
        return Died(ended, len(told), None, image, left)

    def _found(self, told: Sequence[int], image: Image, *, goes_on: bool) -> Start:
        """What a recovery finds, and a life after it goes on with. Raises Broken, and what they
        raise."""
        need = need_of(self._start, self._plan.steps, told)
        found, records = self._recovered()
        if reason := violation(found, records, self._history, need, killed=True):
            raise Broken(reason)
        if not goes_on:
            return self._start
        log = self._backend.open(self._home, replace(self._plan.options, flush=None))
        at = log.append(AFTER)
        log.close()
        base = records[0][0] - 1 if records else at - 1
        if base not in need.bases or self._recovered()[1] != [*records, (at, 1, AFTER)]:
            raise Broken(f"a log of {len(records)} records that was gone on with holds others")
        return Start(image, tuple(records), base)

    def _recovered(self) -> tuple[Recovery, list[Kept]]:
        records: list[Kept] = []

        def keep(sequence: int, kind: int, data: memoryview) -> None:
            records.append((sequence, kind, bytes(data)))

        return self._backend.recover(self._home, self._plan.options, keep), records


def word_of(error: Exception) -> str:
    return str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"


def restore(image: Image, home: Path) -> None:
    """Nothing but these files. An empty image is no folder at all."""
    shutil.rmtree(home, ignore_errors=True)
    if image:
        home.mkdir()
    for name, data in image.items():
        (home / name).write_bytes(data)


def all_of(pipe: int) -> bytes:
    heard = b""
    while part := os.read(pipe, 1 << 16):
        heard += part
    os.close(pipe)
    return heard


def at_every_stop(
    die_at: Callable[[int], Died],
    kept: KeptOfEngine,
    where: str,
    draw: random.Random,
    setting: Mapping[str, Any],
) -> Any:
    """Until a writer ends by itself: what one of those killed has left. None where something is
    wrong; ``setting`` is what that is recovered with."""
    left, before = None, kept.kills
    while True:
        died = die_at(kept.kills - before + 1)
        kept.acknowledged += died.acknowledged
        if died.reason:
            kept.failures.append(f"{where}, {died.ended.at or 'to its end'}: {died.reason}")
            kept.keep(died.image, dict(setting))
            return None
        if not died.ended.killed:
            return left
        kept.kills += 1
        if draw.random() < 1 / (kept.kills - before):
            left = died.left


def run(killing: Killing) -> KeptOfEngine:
    """``count`` lives of one log. Those with large segments are lives of another one each."""
    backend, kept, draw = killing.resolve(), KeptOfEngine(), random.Random(killing.seed)
    policies, left = policies_of(backend, killing.format), Start()
    with tempfile.TemporaryDirectory(prefix="calls-", dir=killing.scratch) as place:
        for number in range(killing.count):
            again, which = divmod(number, len(policies))
            policy, seed = policies[which], killing.seed + number
            rotates = (which + again) % 2 == 0
            plan = plan_of(backend, killing.format, policy, seed, 1 + again, rotates=rotates)
            start = Start() if policy == AHEAD else left
            called = Called(backend, Path(place) / "log", plan, start)
            after = at_every_stop(called.die_at, kept, f"policy={policy} seed={seed}", draw, {})
            if policy != AHEAD:
                left = after or Start()
    return kept


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(Killing(**json.loads(sys.argv[1]))))) + "\n")
