"""Pools and caches on a real ext4 that stops, or whose disk loses its power; where root, FUSE and
loop devices are not, only what needs none of them."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench_cli.faults import engine_failing, engine_kernel, engine_power, engines, power, prove
from bench_cli.faults.engine_kills import EngineKilling
from bench_cli.faults.explore import Broken
from bench_cli.faults.keeping import keep, replay, shown
from bench_cli.faults.kills import Killing
from bench_cli.faults.prove import Effort, Proof, Subject
from tests.verify.test_kernel import needs_kernel
from tests.verify.test_power import found, needs_power

POOL, CACHE = "rewards.pool", "cache.block"
ON_IT = ("wal.basic", "wal.mmap")


def asked(backend: str, log: str, count: int, scratch: Path, seed: int = 42) -> EngineKilling:
    return EngineKilling(backend, "python", "binary", count, seed, str(scratch), True, log)


@needs_power
@pytest.mark.parametrize("engine", [POOL, CACHE])
def test_what_was_promised_survives_the_loss_of_power(engine: str, tmp_path: Path) -> None:
    result = found(engine_power.command(asked(engine, "wal.basic", 20, tmp_path)))
    assert result["failures"] == []
    assert result["losses"] == 20
    assert result["flushes"] > 20


@needs_power
@pytest.mark.parametrize("engine", [POOL, CACHE])
def test_a_log_that_asks_for_no_sync_is_caught(engine: str, tmp_path: Path) -> None:
    killing = asked(engine, "tests.verify.liars:Unflushing", 100, tmp_path)
    (lost,) = found(engine_power.command(killing))["failures"]
    assert "seed 42, life" in lost["where"]


@needs_power
def test_a_queue_that_answers_before_its_sync_is_caught(tmp_path: Path) -> None:
    killing = asked("bench_cli.faults.engine_bugs:AnswersFirst", "wal.basic", 200, tmp_path)
    (lost,) = found(engine_power.command(killing))["failures"]
    assert "steps are found" in lost["reason"]


@needs_power
def test_a_checkpoint_that_empties_the_log_first_is_caught_and_can_be_replayed(
    tmp_path: Path,
) -> None:
    killing = asked("tests.verify.liars:Emptying", "wal.basic", 200, tmp_path)
    (one,) = found(engine_power.command(killing))["failures"]
    failure = power.Lost(**one).keep(tmp_path / "disk.gz", black_box=False)
    assert len(gzip.decompress((tmp_path / "disk.gz").read_bytes())) == power.SIZE
    proof = Proof(CACHE, "python", "binary", "D1", 42, "wal.basic", failures=[failure])
    (kept,) = keep(proof, tmp_path)
    assert kept.file is not None
    assert replay(kept.file, False).engine != []


@pytest.mark.parametrize("log", ON_IT)
@pytest.mark.parametrize("engine", [POOL, CACHE])
def test_each_life_goes_on_with_the_files_that_were_judged(
    engine: str, log: str, tmp_path: Path
) -> None:
    work, last = engine_power.OfAnEngine(asked(engine, log, 1, tmp_path), tmp_path), 0
    for life in (7, 8, 9):
        hearing, telling = os.pipe()
        work.writer(0, life, last)(tmp_path / "log", telling)
        os.close(telling)
        with os.fdopen(hearing, "rb") as told:
            *_, (written, promised) = power.ACK.iter_unpack(told.read())
        wrong, steps = work.judge(tmp_path / "log", promised)
        assert wrong is None
        assert last < written == promised == steps  # it was closed
        assert work.judge(tmp_path / "log", steps + 1) == (
            f"{steps} steps are found; {steps + 1} must be",
            steps,
        )
        work.live_on()
        last = steps


def test_what_is_told_is_what_was_written_and_what_was_promised() -> None:
    hearing, telling = os.pipe()
    bounds = engine_power.Synced(telling, 4)
    bounds.mark(0, attempted=9, written=7)
    bounds.mark(0, promised=6)
    os.close(telling)
    with os.fdopen(hearing, "rb") as told:
        assert list(power.ACK.iter_unpack(told.read())) == [(7, 4), (7, 6)]


def test_a_life_that_goes_wrong_in_memory_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*arguments: object) -> None:
        raise Broken("draw 3 follows draw 1")

    monkeypatch.setattr("bench_cli.faults.pools.record", wrong)
    work = engine_power.OfAnEngine(asked(POOL, "wal.basic", 1, tmp_path), tmp_path)
    with pytest.raises(power.Unforeseen, match="in memory: Broken: draw 3 follows draw 1"):
        work.writer(0, 7, 0)


def test_both_are_counted_in_the_proof_of_an_engine_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_of: dict[str, Any] = {}

    def judged(
        subject: Subject, count: int, seed: int, scratch: Path, program: prove.Program
    ) -> Any:
        *_, module, text = program(Killing(POOL, "python", "binary", count, seed, str(scratch)))
        asked_of[module] = json.loads(text)
        told = {"kills": count, "acknowledged": 0, "losses": count}
        return told | {"failures": [], "images": [], "settings": []}

    monkeypatch.setattr(prove, "_judged", judged)
    for place, name in ((engines, "crash"), (engines, "spoil"),
                         (engine_failing, "check")):  # fmt: skip
        monkeypatch.setattr(place, name, lambda *arguments: 0)
    effort = Effort(engine_kills=0, engine_crashes=3, engine_losses=5)
    subject = Subject(POOL, "python", "binary", log="wal.mmap")
    proof = prove.prove(subject, effort, tmp_path, lambda count: None)
    assert (proof.crashes, proof.losses) == (3, 5)
    assert "3 ext4 crashes, 5 power losses" in shown(proof).evidence
    for module, count in ((engine_kernel.CRASHERS, 3), (engine_power.LOSERS, 5)):
        killing = EngineKilling(**asked_of[module])
        assert (killing.log, killing.count) == ("wal.mmap", count)


def crashed(killing: EngineKilling) -> list[str]:
    command = engine_kernel.command(killing)
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode and "'mount'" in ended.stderr:
        pytest.skip("no ext4 can be mounted here")
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["kills"] == killing.count or result["failures"]
    return list(result["failures"])


@needs_kernel
@pytest.mark.parametrize("engine", [POOL, CACHE])
def test_what_was_promised_survives_the_end_of_its_file_system(engine: str, tmp_path: Path) -> None:
    assert crashed(asked(engine, "wal.mmap", 5, tmp_path)) == []


@needs_kernel
@pytest.mark.parametrize("engine", [POOL, CACHE])
def test_a_log_that_asks_for_no_sync_loses_with_its_file_system(
    engine: str, tmp_path: Path
) -> None:
    assert crashed(asked(engine, "tests.verify.liars:Unflushing", 40, tmp_path)) != []
