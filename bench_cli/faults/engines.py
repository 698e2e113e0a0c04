"""The proof of an engine that stands on a log: a pool or a cache, on each log it can be put on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from bench_cli.errors import BenchError
from bench_cli.faults import caches, pools, spoiling
from bench_cli.faults.crashes import Tally
from bench_cli.faults.explore import Broken, Life, explore
from bench_cli.faults.images import Content
from bench_cli.interfaces import Capability, LogBackend, LogOptions

ACTIONS = {"rewards": (60, 240), "cache": (30, 60)}
"""Of a recording: short ones have the most moments by image, long ones fill several segments."""
SEGMENTS = {"rewards": 4096, "cache": 16 << 10}
PER_RECORDING = 200
POLICIES = ("never", "record", "every")
SPOILT_ACTIONS = 40  # of the recording whose files are damaged
SOUGHT = 20  # recordings of which one with snapshots is chosen


@dataclass(frozen=True, slots=True)
class Plan:
    """One recording. ``small``: of snapshots of few bytes, closed at the end."""

    seed: int
    policy: str
    actions: int
    small: bool = False


Recording = Callable[[Plan], Life]


def engine_of(backend: Any) -> str:
    """By what its Protocol asks for; foreign backends say no more."""
    if hasattr(backend, "queue"):
        return "rewards"
    return "cache" if hasattr(backend, "store") else "wal"


def keeps(engine: str, backend: Any) -> bool:
    """Whether it stands on a log at all, and comes back from it."""
    can: frozenset[Capability] = backend.capabilities
    if engine == "cache":
        return Capability.WAL in can
    return {Capability.LOGGED, Capability.RECOVERY} <= can


def settings_of(engine: str, backend: Any) -> tuple[str, ...]:
    """What is recorded of it, by the names of a row's settings."""
    queued = engine == "rewards" and Capability.QUEUE in backend.capabilities
    return (*POLICIES, *(f"ack-{ack}" for ack in pools.ACKS if queued and ack))


def recording(engine: str, backend: Any, log: LogBackend, form: str) -> Recording:
    """What the backend cannot do is not asked of it."""
    can = backend.capabilities

    def work(plan: Plan) -> Life:
        draw = random.Random(f"{plan.seed} cache")
        every = caches.SYNC_EVERY[plan.policy]
        lengths = caches.SMALL if plan.small else caches.LENGTHS
        making = caches.Making(backend, log, form, SEGMENTS["cache"], every, lengths)
        closed = plan.small or draw.random() < 0.5
        return caches.record(making, plan.seed, plan.actions, closed=closed)

    def draws(plan: Plan) -> Life:
        draw = random.Random(f"{plan.seed} pool")
        making = pools.Making(
            backend,
            log,
            form,
            SEGMENTS["rewards"],
            draw.choice(("endless", "finite")),
            pools.FLUSH_EVERY[plan.policy],
            draw.choice(("fenwick", "prefix_sum") if Capability.SELECTORS in can else ("fenwick",)),
            pools.ACKS[plan.seed % len(pools.ACKS)] if Capability.QUEUE in can else None,
        )
        closed = plan.small or draw.random() < 0.5
        return pools.record(making, plan.seed, plan.actions, closed=closed)

    return work if engine == "cache" else draws


def setting_from(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a life's ``setting`` says, read back. Raises ValueError, TypeError or KeyError."""
    setting: dict[str, Any] = {"segment": int(found.get("segment", LogOptions().segment_size))}
    if "items" in found:
        pools.CATALOGUES[found["items"]]
        setting |= {"items": str(found["items"]), "selector": str(found["selector"])}
    return setting


def sayings(
    backend: Any, log: LogBackend, form: str, setting: Mapping[str, Any], image: Content
) -> list[str]:
    """What an engine says of itself once it is recovered from an image, or why it is not."""
    try:
        if engine_of(backend) == "cache":
            return caches.sayings(caches.Making(backend, log, form, **setting), image)
        return pools.sayings(pools.Making(backend, log, form, **setting), image)
    except Exception as error:  # a failing image may make it raise anything
        return [f"recovery raised {type(error).__name__}: {error}"]


def crash(
    engine: str,
    make: Recording,
    images: int,
    seed: int,
    tally: Tally,
    advance: Callable[[int], None],
) -> None:
    """Recordings until there are enough distinct images."""
    for number in count():
        policy = POLICIES[number % len(POLICIES)]
        plan = Plan(seed + number, policy, ACTIONS[engine][number // len(POLICIES) % 2])
        before, where = tally.images, f"policy={policy} seed={plan.seed}"
        try:
            life = make(plan)
        except (Broken, BenchError) as broken:
            tally.fail("A", str(broken), where)
        else:
            explore(life, tally, where, plan.seed, PER_RECORDING)
        advance(tally.images - before)
        if tally.images >= images or tally.enough:
            return


def recovers_from_two(life: Life) -> bool:
    """From a full snapshot and one that adds to it, or not at all: the next to look says why."""
    names = [name for name in life.disk.contents() if spoiling.SNAPSHOT in name]
    if len(names) < 2:
        return False
    try:
        return len(life.probe(life.disk.contents())[1].snapshots.chain) > 1
    except Exception:  # whatever it is, ``spoiling.check`` meets it again
        return True


def spoil(make: Recording, seed: int, tally: Tally, step: int = 1) -> int:
    """How many damages were tried: of the first recording that left a full snapshot with one that
    adds to it (of the last one looked at where none did: the engine may keep none). ``step``: one
    bit in so many."""
    for number in range(SOUGHT):
        life = make(Plan(seed + number, "never", SPOILT_ACTIONS, small=True))
        if recovers_from_two(life):
            break
    return spoiling.check(life, tally, f"damage seed={seed + number}", step)
