"""The proof of one backend, twin and format: all layers, what was counted, what failed."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bench_cli import registry
from bench_cli.errors import VerificationFailed
from bench_cli.evidence import key_of
from bench_cli.faults import (
    call_kills,
    committers,
    damage,
    engine_calls,
    engine_failing,
    engine_kernel,
    engine_power,
    engines,
    failing,
    files,
    kernel,
    power,
)
from bench_cli.faults.committers import COMMITTERS
from bench_cli.faults.crashes import Crashes, Failure, Tally, record
from bench_cli.faults.engine_kills import KILLERS, EngineKilling, failures_of
from bench_cli.faults.history import POLICIES, steps
from bench_cli.faults.kills import Killing
from bench_cli.faults.policies import FLUSH, FLUSHES, Hands, under_policy
from bench_cli.interfaces import Backend, Capability, Durability, LogBackend, LogOptions

RECORDS = 50
SEGMENTS = (4096, 8192)
LARGE, EACH_LARGE = 300, 4  # bytes of all records in one recording of so many: it rotates often
ROTATED, ROTATED_STEP = 130, 29  # records; one bit and one length in so many
BITS = 850  # and lengths of a record, closed and left open: about so many damages of each
PER_RECORDING = 1000  # images; more of one recording say less than another recording
MANY_IN = 32 << 10  # a segment that holds all records of the large damaged log
ERRORS_UNDER = (FLUSH + "records", FLUSH + "time", FLUSH + "group")
"""Policies under which calls fail too: each has another way of syncing."""
MAX_EMPTY = 200  # recordings in a row without an image that is new

SETTINGS = {
    "record": "record",
    "every-8": "every",
    "never": "never",
    COMMITTERS: FLUSH + "group",
}
"""What a policy is called in the settings of a row, where its user syncs the log; those of the log
itself are called ``flush-<kind>`` in both places."""

Advance = Callable[[int], None]
Program = Callable[[Killing], list[str]]
"""What runs a program that kills writers."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of each layer: distinct images of each policy of a log (``native_images``: of a
    compiled one in the binary format), those of an engine on a log, kills, records of the damaged
    log (``native_records`` as with images, of a second one), flipped pairs. ``policies`` and
    ``seed`` choose what is recorded."""

    images: int = 2_000
    native_images: int = 100_000
    engine_images: int = 2_000
    kills: int = 200
    engine_kills: int = 48  # of each engine on each log
    calls: int = 0  # lives at each system call of which a writer is killed
    crashes: int = 0  # of a real kernel's file system
    losses: int = 0  # of the power of its disk
    engine_crashes: int = 0  # both of each engine on each log
    engine_losses: int = 0
    records: int = 24
    native_records: int = 500
    pairs: int = 2000
    seed: int = 42
    policies: tuple[str, ...] = (*POLICIES, *(FLUSH + kind for kind in FLUSHES), COMMITTERS)

    def of(self, policy: str, core: str, form: str) -> int:
        """Images of a policy; with several committers a fifth of the usual number, as making a
        recording of them takes as long as looking at a hundred images."""
        if (core, form) != ("native", "binary"):
            return self.images
        few = min(self.native_images, max(self.images, self.native_images // 5))
        return few if policy == COMMITTERS else self.native_images

    def damaged(self, core: str, form: str) -> int:
        """Records of the large log, every bit and length of which is tried; 0: none."""
        return self.native_records if (core, form) == ("native", "binary") else 0


CALLS = 2
"""Lives that are killed at each system call, where that can be done."""
KILL, CALLED, ENGINE_IMAGE, ENGINE_ERRORS = 240, 40_000, 15, 30_000
FAILED, FAILED_IN_TEXT = 26_000, 60_000
"""Work, for the progress: of a kill, of a life killed at each call, of an image of an engine on a
log, of all its failed calls, of those of a log under one policy. The unit is what a compiled log
takes for one image, about 0.1 ms."""

THOROUGH = Effort(
    images=1_000_000,
    native_images=1_000_000,
    engine_images=100_000,
    kills=10_000,
    engine_kills=10_000,
    calls=48,
    records=500,
    pairs=200_000,
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is proven. ``core`` None: a foreign backend, which has no twins. ``log``: what an
    engine stands on; None: the backend is a log itself."""

    backend: str
    core: str | None
    format: str
    allow_code: bool = False
    log: str | None = None

    @property
    def key(self) -> str:
        """That of its proof."""
        return key_of(self.backend, self.log, self.core or self.engine().core, self.format)

    def resolve(self) -> LogBackend:
        """The log."""
        name = self.log or self.backend
        found = registry.resolve(name, self.core, allow_code=self.allow_code)
        return cast(LogBackend, found)

    def engine(self) -> Backend:
        return registry.resolve(self.backend, self.core, allow_code=self.allow_code)


@dataclass(slots=True)
class Proof:
    """``declared`` is the level that holds or not. ``images`` are those of layer A, distinct;
    ``lives`` of them were lived on in. ``kills`` came at random moments, ``calls`` at system calls.
    ``nothing``: the log keeps nothing to prove. ``by_policy``: the images of each. ``settings``:
    what a row may be set to and be covered (``evidence.settings_of``). ``black_box``: the backend
    takes no file system of ours, so only kills and damage were tried."""

    backend: str
    core: str
    format: str
    declared: str
    seed: int
    log: str | None = None
    settings: tuple[str, ...] = ()
    black_box: bool = False
    nothing: bool = False
    images: int = 0
    by_policy: dict[str, int] = field(default_factory=dict)
    lives: int = 0
    errors: int = 0
    flips: int = 0
    damages: int = 0
    kills: int = 0
    calls: int = 0
    crashes: int = 0
    losses: int = 0
    acknowledged: int = 0
    seconds: float = 0.0
    effort: Effort | None = None
    failures: list[Failure] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.failures

    @property
    def key(self) -> str:
        return key_of(self.backend, self.log, self.core, self.format)


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Images make many objects and no cycles: looking for those is a tenth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def work_of(subject: Subject, effort: Effort) -> int:
    """Units that ``prove`` will report, about."""
    if subject.log is not None:
        images = effort.engine_images * ENGINE_IMAGE
        return images + ENGINE_ERRORS + effort.engine_kills * KILL + effort.calls * CALLED
    backend = subject.resolve()
    if not _keeps(backend):
        return 0
    kills = effort.kills * KILL + effort.calls * CALLED
    if not _injectable(backend):
        return kills
    core, form = subject.core or backend.core, subject.format
    images = sum(effort.of(policy, core, form) for policy in _policies(backend, effort))
    errors = len(_failing(backend, effort)) * _failed(form)
    return kills + images + errors + effort.damaged(core, form) * BITS


def _failing(backend: LogBackend, effort: Effort) -> list[str]:
    """Under what calls fail: where the user syncs, and under those policies that sync otherwise."""
    under = [one for one in _policies(backend, effort) if one in (*ERRORS_UNDER, COMMITTERS)]
    return ["", *under]


def _failed(form: str) -> int:
    return FAILED if form == "binary" else FAILED_IN_TEXT


def _policies(backend: LogBackend, effort: Effort) -> list[str]:
    """Those that the log can be put under."""
    committed = Capability.COMMIT in backend.capabilities
    return [one for one in effort.policies if committed or one in POLICIES]


def _keeps(backend: LogBackend) -> bool:
    return Capability.RECOVERY in backend.capabilities


def _injectable(backend: LogBackend) -> bool:
    return Capability.FAULTS in backend.capabilities


def prove(subject: Subject, effort: Effort, scratch: Path, advance: Advance) -> Proof:
    """Raises what resolving the backend raises; all else is a failure in the proof."""
    if subject.log is not None:
        return _prove_engine(subject, effort, scratch, advance)
    backend = subject.resolve()
    level: Durability = backend.durability({})
    proof = Proof(
        subject.backend, subject.core or backend.core, subject.format, level.label(), effort.seed
    )
    proof.nothing, proof.black_box = not _keeps(backend), not _injectable(backend)
    if proof.nothing:
        return proof
    tally = Tally()
    if not proof.black_box:
        covered = [SETTINGS.get(one, one) for one in _policies(backend, effort)]
        proof.settings = tuple(dict.fromkeys(covered))
        with rarely_collected():
            proof.by_policy = _crash(subject, backend, effort, tally, advance)
        proof.images, proof.lives = tally.images, tally.lives
        options = LogOptions(subject.format, SEGMENTS[0])
        for policy in _failing(backend, effort):
            proof.errors += _fail(backend, options, policy, tally, effort.seed)
            advance(_failed(subject.format))
        _damage(backend, options, effort, proof, tally, advance)
    elif level.damage == "C2":
        proof.settings = ("never",)
        proof.flips = files.check(backend, subject.format, tally, effort.seed, scratch)
    proof.failures = tally.failures
    _kill(subject, effort, proof, scratch)
    if effort.calls:
        _kill_at_calls(subject, effort, proof, scratch)
    _stop_kernel(subject, effort.crashes, proof, scratch, kernel.command)
    _lose_power(subject, effort.losses, proof, scratch, power.command)
    advance(effort.kills * KILL + effort.calls * CALLED)
    return proof


def _fail(backend: LogBackend, options: LogOptions, policy: str, tally: Tally, seed: int) -> int:
    """How many calls failed."""
    if policy == COMMITTERS:
        return failing.check_committers(backend, options, tally, seed)
    if policy:
        flush = FLUSHES[policy.removeprefix(FLUSH)]
        options = replace(options, flush=flush, clock=Hands())
    return failing.check(backend, options, tally, seed)


def _prove_engine(subject: Subject, effort: Effort, scratch: Path, advance: Advance) -> Proof:
    """On a log that is proven by itself."""
    backend, log = subject.engine(), subject.resolve()
    engine = engines.engine_of(backend)
    level = log.durability({}) if engine == "cache" else backend.durability({"wal": subject.log})
    proof = Proof(
        subject.backend,
        subject.core or backend.core,
        subject.format,
        level.label(),
        effort.seed,
        subject.log,
        engines.settings_of(engine, backend),
    )
    if not engines.keeps(engine, backend):
        proof.nothing = True
        return proof
    tally, make = Tally(), engines.recording(engine, backend, log, subject.format)
    with rarely_collected():
        images = effort.engine_images
        engines.crash(
            engine, make, images, effort.seed, tally, lambda count: advance(count * ENGINE_IMAGE)
        )
        proof.images, proof.lives = tally.images, tally.lives
        proof.errors = engine_failing.check(engine, make, tally, effort.seed)
        advance(ENGINE_ERRORS)
        if level.damage == "C2":
            proof.flips = engines.spoil(make, effort.seed, tally)
    proof.failures = tally.failures
    _kill_engine(subject, effort, proof, scratch)
    if effort.calls:
        _kill_at_calls(subject, effort, proof, scratch)
    crashes, losses = (
        _with_log(subject, module.command) for module in (engine_kernel, engine_power)
    )
    _stop_kernel(subject, effort.engine_crashes, proof, scratch, crashes)
    _lose_power(subject, effort.engine_losses, proof, scratch, losses)
    advance(effort.engine_kills * KILL + effort.calls * CALLED)
    return proof


def _with_log(subject: Subject, command: Program) -> Program:
    """``command`` of a program that asks what the engine stands on."""
    return lambda killing: command(EngineKilling(**asdict(killing), log=subject.log or ""))


def _kill_engine(subject: Subject, effort: Effort, proof: Proof, scratch: Path) -> None:
    def program(killing: Killing) -> list[str]:
        asked = json.dumps(asdict(killing) | {"log": subject.log})
        return [sys.executable, "-m", KILLERS, asked]

    found = _judged(subject, effort.engine_kills, effort.seed, scratch, program)
    proof.kills, proof.acknowledged = found["kills"], found["acknowledged"]
    proof.failures += failures_of(found)


def _kill_at_calls(subject: Subject, effort: Effort, proof: Proof, scratch: Path) -> None:
    """A black box reads no image that is kept, only files."""

    def program(killing: Killing) -> list[str]:
        callers, asked = call_kills.CALLERS, asdict(killing)
        if subject.log is not None:
            callers, asked = engine_calls.CALLERS, asked | {"log": subject.log}
        return [sys.executable, "-m", callers, json.dumps(asked)]

    found = _judged(subject, effort.calls, effort.seed, scratch, program)
    proof.calls = found["kills"]
    proof.acknowledged += found["acknowledged"]
    failures = failures_of(found)
    if proof.black_box:
        failures = [replace(failure, image=None) for failure in failures]
    proof.failures += failures


def _damage(
    backend: LogBackend,
    options: LogOptions,
    effort: Effort,
    proof: Proof,
    tally: Tally,
    advance: Advance,
) -> None:
    """Everywhere in a small log and in one of many records, here and there in one of several
    segments."""
    seed, many = effort.seed, effort.damaged(proof.core, proof.format)
    hurts = [
        damage.check(backend, options, tally, seed, effort.records, effort.pairs),
        damage.check(backend, options, tally, seed, ROTATED, pairs=100, step=ROTATED_STEP),
    ]
    if many:
        whole = replace(options, segment_size=MANY_IN * -(-many // 500))
        hurts.append(damage.check(backend, whole, tally, seed, many, effort.pairs, advance=advance))
    for hurt in hurts:
        proof.flips += hurt.flips
        proof.damages += hurt.cuts + hurt.moved + hurt.pairs


def _crash(
    subject: Subject,
    backend: LogBackend,
    effort: Effort,
    tally: Tally,
    advance: Advance,
) -> dict[str, int]:
    """Recordings of many seeds of each policy, until there are enough images of each; how many
    there were."""
    found: dict[str, int] = {}
    for policy in _policies(backend, effort):
        each = effort.of(policy, subject.core or backend.core, subject.format)
        number = empty = 0
        began = tally.images
        while tally.images < began + each and not tally.enough and empty < MAX_EMPTY:
            before = tally.images
            segment = SEGMENTS[number % len(SEGMENTS)]
            left = began + each - before
            crash(subject, backend, policy, segment, effort.seed + number, tally, left)
            empty = 0 if tally.images > before else empty + 1
            advance(tally.images - before)
            number += 1
        found[policy] = tally.images - began
    return found


def crash(
    subject: Subject,
    backend: LogBackend,
    policy: str,
    segment: int,
    seed: int,
    tally: Tally,
    most: int = PER_RECORDING,
) -> None:
    """One recording and its images: what a failure of layer A is replayed by."""
    options = LogOptions(subject.format, segment)
    where = f"policy={policy} segment={segment} seed={seed}"
    size = 0 if seed % EACH_LARGE else LARGE
    planned = steps(seed, RECORDS, policy if policy in POLICIES else "never", size=size)
    if policy == COMMITTERS:
        disk, history = committers.record(backend, options, seed)
        options = committers.under(options, None)
    elif policy.startswith(FLUSH):
        flush = FLUSHES[policy.removeprefix(FLUSH)]
        options = replace(options, flush=flush, clock=Hands())
        disk, history = record(backend, options, under_policy(planned, seed))
    else:
        disk, history = record(backend, options, planned)
    for complaint in history.complaints:
        tally.fail("A", complaint, where)
    Crashes(backend, options, disk, history, tally, where, seed).check(min(most, PER_RECORDING))


def _kill(subject: Subject, effort: Effort, proof: Proof, scratch: Path) -> None:
    def program(killing: Killing) -> list[str]:
        return [sys.executable, "-m", "bench_cli.faults.kills", json.dumps(asdict(killing))]

    found = _judged(subject, effort.kills, effort.seed, scratch, program)
    proof.kills, proof.acknowledged = found["kills"], found["acknowledged"]
    proof.failures += [Failure("C", reason, "") for reason in found["failures"]]


def _stop_kernel(
    subject: Subject, count: int, proof: Proof, scratch: Path, program: Program
) -> None:
    if not count:
        return
    found = _judged(subject, count, proof.seed, scratch, program)
    proof.crashes = found["kills"]
    proof.failures += [Failure("B", reason, "") for reason in found["failures"]]


def _lose_power(
    subject: Subject, count: int, proof: Proof, scratch: Path, program: Program
) -> None:
    if not count:
        return
    found = _judged(subject, count, proof.seed, scratch, program)
    proof.losses = found["losses"]
    stem = f"failed-{proof.key}-{proof.seed}".replace(":", "-").replace("/", "-")
    for number, lost in enumerate(found["failures"], 1):
        disk = scratch / f"{stem}-disk-{number}.gz"
        proof.failures.append(power.Lost(**lost).keep(disk, black_box=proof.black_box))


def _judged(
    subject: Subject,
    count: int,
    seed: int,
    scratch: Path,
    program: Program,
) -> dict[str, Any]:
    """What a program of its own found that kills writers."""
    with tempfile.TemporaryDirectory(prefix="verify-", dir=scratch) as directory:
        killing = Killing(subject.backend, subject.core, subject.format, count, seed, directory,
                          subject.allow_code)  # fmt: skip
        ended = subprocess.run(program(killing), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise VerificationFailed(
            f"the killed writer's judge of {subject.backend} failed: {ended.stderr[-500:]}"
        )
    return cast("dict[str, Any]", json.loads(ended.stdout))
