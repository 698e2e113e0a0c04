"""Pools and caches on a log: their crashes are survived, their snapshots' damage is told, and
mistakes in them are caught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_cli import registry
from bench_cli.faults import caches, engine_failing, engine_kills, engines, pools, spoiling
from bench_cli.faults.crashes import Tally
from bench_cli.faults.engine_bugs import ENGINE_BUGS, SOUND_ENGINES, EngineBug
from bench_cli.faults.engines import Plan
from bench_cli.faults.selftest import caught
from bench_cli.rewards.pool import Backend
from bench_cli.wal.log import BasicBackend
from tests.contract.log_backends import load, scratch
from tests.foreign.tickets import TicketBackend

TWINS = {
    "rewards": ("bench_cli.rewards.pool:Backend", "bench_cli.rewards.native:Backend"),
    "cache": ("bench_cli.cache.python:Backend", "bench_cli.cache.native:Backend"),
}
PLACES = [(engine, place) for engine, places in TWINS.items() for place in places]
LOGS = ("bench_cli.wal.log:MmapBackend", "bench_cli.wal.native:BasicBackend")


def recording(engine: str, place: str, log: str, form: str = "binary") -> engines.Recording:
    return engines.recording(engine, load(place), load(log), form)


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize(("engine", "place"), PLACES)
def test_every_crash_of_an_engine_on_a_log_is_recovered(engine: str, place: str, log: str) -> None:
    tally = Tally()
    make = recording(engine, place, log)
    engines.crash(engine, make, 250, 5, tally, lambda count: None)
    assert tally.failures == []
    assert tally.images >= 250


@pytest.mark.parametrize(("engine", "place"), PLACES)
def test_no_damage_to_a_snapshot_passes_in_silence(engine: str, place: str) -> None:
    tally = Tally()
    tried = engines.spoil(recording(engine, place, LOGS[0]), 5, tally, step=13)
    assert tally.failures == []
    assert tried > 100


def test_what_is_spoilt_is_a_full_snapshot_and_one_that_adds_to_it() -> None:
    """All of both, zeros at the end too."""
    for engine, places in TWINS.items():
        make = recording(engine, places[0], LOGS[0])
        life = next(
            life
            for seed in range(5, 5 + engines.SOUGHT)
            if engines.recovers_from_two(life := make(Plan(seed, "never", 40, small=True)))
        )
        whole = life.disk.contents()
        chain = life.probe(whole)[1].snapshots.chain
        assert chain[0].base is None
        assert chain[-1].base is not None
        snapshots = [data for name, data in whole.items() if spoiling.SNAPSHOT in name]
        of_snapshots = [
            what for what, _ in spoiling._damages(whole, 1) if spoiling.SNAPSHOT in what
        ]
        count = len(snapshots)
        every = sum(9 * len(data) + 3 for data in snapshots)
        assert len(of_snapshots) == every + count * (count - 1)


@pytest.mark.parametrize(("engine", "place"), PLACES)
def test_every_failed_call_of_an_engine_is_survived(engine: str, place: str) -> None:
    tally, make = Tally(), recording(engine, place, LOGS[0])
    case = next(engine_failing.cases(make, 5, 1))
    assert engine_failing.fail(case, tally, step=3) > 50
    assert tally.failures == []
    assert tally.images > 50


def test_the_calls_that_fail_are_those_of_snapshots_and_of_recovery_too() -> None:
    for engine, places in TWINS.items():
        make = recording(engine, places[0], LOGS[0])
        new, crashed = engine_failing.cases(make, 5, 2)
        assert new.image is None
        assert any(spoiling.SNAPSHOT in name for name in crashed.image or ())
        for case in (new, crashed):
            kinds = [op.kind for op in case.whole.disk.ops if "snapshot" in "".join(op.names)]
            assert "rename" in kinds


@pytest.mark.parametrize("place", ["rewards.pool", "cache.block"])
@pytest.mark.parametrize("core", ["python", "native"])
def test_killed_writers_of_an_engine_lose_nothing(place: str, core: str, tmp_path: Path) -> None:
    if core not in registry.cores_of(place) or (core == "native" and registry.native_missing()):
        pytest.skip(f"{place} has no {core} twin here")
    for directory in scratch(tmp_path):
        killing = engine_kills.EngineKilling(
            place, core, "binary", 10, 3, str(directory), log="wal.mmap"
        )
        kept = engine_kills.in_a_process(killing)
        assert kept["failures"] == []
        assert kept["kills"] == 10
        assert kept["acknowledged"] > 50


def test_a_writer_that_finds_other_draws_than_were_made_says_so(tmp_path: Path) -> None:
    for directory in scratch(tmp_path):
        failures = engine_kills.killed("tests.verify.liars:Recounting", 16, 1, str(directory))
        assert failures
        assert all(failure.layer == "C" and failure.image for failure in failures)
        assert failures[0].setting is not None


def test_bytes_that_come_back_from_a_store_are_those_that_went_there() -> None:
    """Else a fill after an eviction would look like bytes that nobody wrote."""
    held = caches.Held().written(10, b"abc").clean()
    part = held.stored("a", 0, 8, 8)
    assert part[2:5] == b"abc"
    assert held.stored("a", 0, 0, 20)[8:16] == part
    assert held.filled(8, part).data[8:16] == part


@pytest.mark.parametrize("bug", ENGINE_BUGS, ids=lambda bug: f"{bug.engine}: {bug.name}")
def test_a_mistake_of_an_engine_is_caught(bug: EngineBug) -> None:
    assert caught(bug) is not None


@pytest.mark.parametrize("bug", SOUND_ENGINES[:1], ids=lambda bug: bug.engine)
def test_nothing_is_found_in_a_sound_engine(bug: EngineBug) -> None:
    """Of calls that fail and of kills, tests above say the same."""
    assert caught(replace(bug, layers="EA", place=None)) is None


@pytest.mark.parametrize("ack", pools.ACKS)
def test_what_is_promised_follows_from_the_acknowledgement(ack: str | None) -> None:
    """Nothing is, where it is only logged; and a queue that syncs has promised what it answered."""
    making = pools.Making(Backend(), BasicBackend(), "binary", 4096, ack=ack)
    life = pools.Draws(making)
    pool, log = life.open(1)
    asking = pools._Asking(life, pool)
    if ack is None:
        life.attempt(1)
        life.done(*named(pool.draw_record()))
    else:
        asking.group(3)
    promised, written = life.bounds.now.promised, life.bounds.now.written
    assert (promised == len(life.drawn)) == (ack == "durable")
    assert written == len(life.drawn)
    assert log.stats().durable_sequence == (log.stats().last_sequence if ack == "durable" else 0)


def named(drawn: tuple[int, str]) -> tuple[int, list[str]]:
    return drawn[0], [drawn[1]]


def test_an_engine_is_known_by_its_protocol() -> None:
    found: dict[Any, str] = {}
    for place in ("bench_cli.rewards.native:Backend", "bench_cli.cache.native:Backend", LOGS[1]):
        found[place] = engines.engine_of(load(place))
    assert list(found.values()) == ["rewards", "cache", "wal"]
    assert engines.engine_of(TicketBackend()) == "rewards"


def test_the_same_plan_is_the_same_recording() -> None:
    make = recording("rewards", "bench_cli.rewards.pool:Backend", LOGS[0])
    plan = Plan(3, "every", 30)
    first, again = make(plan), make(plan)
    assert first.bounds.marks == again.bounds.marks
    assert [op.kind for op in first.disk.ops] == [op.kind for op in again.disk.ops]


def test_an_engine_of_others_is_asked_for_what_it_can_do() -> None:
    tally, backend = Tally(), TicketBackend()
    make = engines.recording("rewards", backend, load(LOGS[0]), "text")
    engines.crash("rewards", make, 150, 5, tally, lambda count: None)
    assert tally.failures == []
    assert engines.keeps("rewards", backend)
    assert engines.settings_of("rewards", backend) == engines.POLICIES
