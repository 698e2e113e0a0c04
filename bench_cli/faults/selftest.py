"""The effort that each seeded mistake must not survive."""

from __future__ import annotations

import tempfile
from dataclasses import replace

from bench_cli.faults import committers, damage, engine_failing, engine_kills, engines, failing
from bench_cli.faults.bugs import BUGS, SOUND, Bug
from bench_cli.faults.crashes import Crashes, Failure, Tally, record
from bench_cli.faults.engine_bugs import ENGINE_BUGS, SOUND_ENGINES, EngineBug
from bench_cli.faults.history import POLICIES, steps
from bench_cli.faults.policies import FLUSHES, Hands, Step, under_policy
from bench_cli.faults.policy_bugs import POLICY_BUGS, SOUND_POLICIES, PolicyBug
from bench_cli.interfaces import Capability, LogBackend, LogOptions
from bench_cli.wal.log import BasicBackend

OPTIONS = LogOptions("binary", 4096)
SHAPES = ((0, 4096), (24, 4096), (700, 16 << 10), (300, 4096))
"""(size of all records or 0, segment size). Records of one size: what an emptying or a torn tail
leaves behind lines up with what is written over it. Large ones: more than a page between syncs, or
many segments."""
SEEDS = 4
COMMITTED, COMMITTED_SEEDS = (8192, 4096), 16  # segments of what several threads commit to
IMAGES = 120  # of each recording
ENGINE_IMAGES = {"rewards": 2600, "cache": 900}  # in all; the pool has more ways to be asked
KILLS, KILLS_SEED = 48, 4  # in half of its logs a worker answers requests
SPOILT_STEP = 11  # one bit in so many of the snapshots


ALL: tuple[Bug, ...] = (*BUGS, *POLICY_BUGS, *ENGINE_BUGS)
ALL_SOUND: tuple[Bug, ...] = (*SOUND, *SOUND_POLICIES, *SOUND_ENGINES)


def caught(bug: Bug) -> Failure | None:
    """The first failure the proof finds; None when it finds nothing."""
    tally = Tally(stop_at=1)
    if isinstance(bug, EngineBug):
        _engine(bug, tally)
        return tally.failures[0] if tally.failures else None
    if isinstance(bug, PolicyBug):
        _policies(bug, tally)
        return tally.failures[0] if tally.failures else None
    with bug.make() as backend:
        _crashes(backend, tally)
        if not tally.enough and Capability.BATCH in backend.capabilities:
            failing.check(backend, OPTIONS, tally, seed=1)
        if not tally.enough and Capability.BATCH in backend.capabilities:
            damage.check(backend, OPTIONS, tally, seed=1, records=16, pairs=200, step=7)
    return tally.failures[0] if tally.failures else None


def _engine(bug: EngineBug, tally: Tally) -> None:
    with bug.make() as backend:
        make = engines.recording(bug.engine, backend, BasicBackend(), "binary")
        if "E" in bug.layers:
            engines.spoil(make, 1, tally, SPOILT_STEP)
        if "A" in bug.layers and not tally.enough:
            engines.crash(bug.engine, make, ENGINE_IMAGES[bug.engine], 1, tally, lambda count: None)
        if "D" in bug.layers and not tally.enough:
            engine_failing.check(bug.engine, make, tally, seed=1)
    if bug.place is not None and not tally.enough:
        with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
            tally.failures += engine_kills.killed(bug.place, KILLS, KILLS_SEED, scratch)


def _policies(bug: PolicyBug, tally: Tally) -> None:
    with bug.make() as backend:
        if committers.COMMITTERS in bug.kinds:
            _committed(backend, tally)
        for kind in (one for one in bug.kinds if one != committers.COMMITTERS):
            options = replace(OPTIONS, flush=FLUSHES[kind], clock=Hands())
            for seed in range(SEEDS):
                planned = under_policy(steps(seed, 40, "never"), seed)
                disk, history = record(backend, options, planned)
                where = f"seed={seed} policy={kind}"
                for complaint in history.complaints:
                    tally.fail("A", complaint, where)
                if not tally.enough:
                    Crashes(backend, options, disk, history, tally, where, seed, 50).check(IMAGES)
            if not tally.enough:
                failing.check(backend, options, tally, seed=1)


def _committed(backend: LogBackend, tally: Tally) -> None:
    for seed in range(COMMITTED_SEEDS):
        sized = replace(OPTIONS, segment_size=COMMITTED[seed % len(COMMITTED)])
        disk, history = committers.record(backend, sized, seed)
        where, options = f"seed={seed} committers", committers.under(sized, None)
        Crashes(backend, options, disk, history, tally, where, seed, 50).check(IMAGES)
        if tally.enough:
            return


def _crashes(backend: LogBackend, tally: Tally) -> None:
    for seed in range(SEEDS):
        for policy in POLICIES:
            size, segment = SHAPES[seed % len(SHAPES)]
            options = LogOptions("binary", segment)
            planned = steps(seed, 40, policy, size=size)
            if Capability.BATCH not in backend.capabilities:
                planned = [one for step in planned for one in _single(step)]
            disk, history = record(backend, options, planned)
            where = f"seed={seed} policy={policy}"
            for complaint in history.complaints:
                tally.fail("A", complaint, where)
            if not tally.enough:
                Crashes(backend, options, disk, history, tally, where, seed, 50).check(IMAGES)
            if tally.enough:
                return


def _single(step: Step) -> list[Step]:
    if step.do != "batch":
        return [step]
    return [Step("append", step.kind, (payload,)) for payload in step.payloads]
