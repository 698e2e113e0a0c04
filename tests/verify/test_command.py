"""``bench verify`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench_cli.faults.damage import check
from bench_cli.faults.prove import Proof, prove
from tests.cli.conftest import Bench, bench, project

__all__ = ["bench", "project"]  # fixtures

SMALL = ("--core", "python", "--format", "binary", "--images", "50", "--kills", "2", "--quiet",
         "--jobs", "1")  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few damages, no failed calls and no kills at each call: these tests are about the command."""
    monkeypatch.setattr("bench_cli.faults.prove.CALLS", 0)
    monkeypatch.setattr("bench_cli.faults.prove.failing.check", lambda *arguments: 1)
    monkeypatch.setattr("bench_cli.faults.prove.engine_failing.check", lambda *arguments: 3)
    monkeypatch.setattr(
        "bench_cli.faults.prove.damage.check",
        lambda *arguments, **_: damage_of_few(*arguments[:4]),
    )


def damage_of_few(*arguments: object) -> object:
    return check(*arguments, records=4, pairs=20, step=11)  # type: ignore[arg-type]


def test_a_log_that_holds_is_shown_with_its_evidence_and_kept(bench: Bench, project: Path) -> None:
    ended = bench("verify", "--backend", "wal.basic", *SMALL, width=120)
    assert (ended.code, ended.err) == (0, "")
    assert "D1 I1 C2" in ended.out
    assert "2 kills" in ended.out
    assert "seed 42" in ended.out
    assert "Every declared level holds." in ended.out
    stored = json.loads((project / "results" / "verified.json").read_text())
    assert stored["proofs"]["wal.basic/python/binary"]["holds"] is True


def test_what_does_not_hold_ends_with_20_and_can_be_replayed(bench: Bench, project: Path) -> None:
    liar = "tests.verify.liars:Forgetful"
    ended = bench("verify", "--backend", liar, "--allow-code", *SMALL, width=200)
    assert ended.code == 20
    assert "FAILS" in ended.out
    command = next(line for line in ended.out.splitlines() if "--replay" in line)
    again = bench(*command.split()[1:], width=200)
    assert again.code == 0
    assert "was promised" in again.out


def test_a_replay_tells_what_the_engine_says_too(bench: Bench, project: Path) -> None:
    liar = "tests.verify.liars:Recounting"
    ended = bench("verify", "--backend", liar, "--allow-code", *SMALL, width=200)
    assert ended.code == 20
    command = next(line for line in ended.out.splitlines() if "--replay" in line)
    again = bench(*command.split()[1:], width=200)
    assert again.code == 0
    assert f"{liar} on wal." in again.out
    assert "next id 1" in again.out
    assert "left of 3" in again.out


def test_an_image_kept_before_engines_were_told_of_can_be_replayed(
    bench: Bench, project: Path
) -> None:
    kept = {"version": 1, "backend": "wal.basic", "core": "python", "format": "binary",
            "reason": "none", "where": "nowhere", "image": {}}  # fmt: skip
    (project / "kept.json").write_text(json.dumps(kept))
    ended = bench("verify", "--replay", project / "kept.json", width=200)
    assert (ended.code, ended.err) == (0, "")
    assert "the engine" not in ended.out


@pytest.mark.parametrize("setting", [{"segment": "x"}, {"items": "none", "selector": "fenwick"}])
def test_a_setting_that_no_engine_has_is_refused(
    bench: Bench, project: Path, setting: dict[str, str]
) -> None:
    kept = {"version": 2, "backend": "wal.basic", "core": "python", "format": "binary",
            "engine": "rewards.pool", "setting": setting, "reason": "none", "where": "nowhere",
            "image": {}}  # fmt: skip
    (project / "kept.json").write_text(json.dumps(kept))
    ended = bench("verify", "--replay", project / "kept.json")
    assert ended.code == 2
    assert "not a kept image" in ended.err


def test_the_result_can_be_had_as_json(bench: Bench, project: Path) -> None:
    ended = bench("verify", "--backend", "wal.basic", *SMALL, "--json", "-")
    (proof,) = json.loads(ended.out)["proofs"].values()
    assert proof["images"] >= 50
    assert proof["failures"] == []


def test_what_keeps_nothing_is_refused(bench: Bench, project: Path) -> None:
    ended = bench("verify", "--backend", "synthetic.clock", *SMALL)
    assert ended.code == 2
    assert "keeps nothing" in ended.err


def test_a_pool_is_proven_on_each_log(
    bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench_cli.faults.prove.engines.spoil", lambda *arguments: 7)
    ended = bench("verify", "--backend", "rewards.pool", *SMALL, width=150)
    assert (ended.code, ended.err) == (0, "")
    stored = json.loads((project / "results" / "verified.json").read_text())["proofs"]
    assert set(stored) == {f"rewards.pool+wal.{log}/python/binary" for log in ("basic", "mmap")}
    assert all(proof["images"] >= 50 for proof in stored.values())
    assert {(proof["kills"], proof["errors"], proof["flips"]) for proof in stored.values()} == {
        (2, 3, 7)
    }
    assert "2 kills, 3 errors, 7 damages" in ended.out


def test_a_file_that_is_no_kept_image_is_refused(bench: Bench, project: Path) -> None:
    (project / "no.json").write_text("[1]")
    ended = bench("verify", "--replay", project / "no.json")
    assert ended.code == 2
    assert "not a kept image" in ended.err


def test_what_was_proven_before_an_interruption_is_kept_and_not_proven_again(
    bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ("verify", "--backend", "wal.basic", "--backend", "wal.mmap", *SMALL)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(
            "bench_cli.faults.workers.prove",
            lambda subject, *rest: (
                stopped() if subject.backend == "wal.mmap" else prove(subject, *rest)
            ),
        )
        ended = bench(*wanted, width=120)
    assert ended.code == 130
    assert "wal.basic" in ended.out and "wal.mmap" not in ended.out
    assert "1 of 2 are not proven: `--resume`" in ended.err
    stored = project / "results" / "verified.json"
    first = json.loads(stored.read_text())["proofs"]
    assert list(first) == ["wal.basic/python/binary"]

    ended = bench(*wanted, "--resume", width=120)
    assert ended.code == 0
    assert "1 of 2 are proven already" in ended.err
    assert "wal.mmap" in ended.out and "wal.basic" not in ended.out
    both = json.loads(stored.read_text())["proofs"]
    assert both["wal.basic/python/binary"] == first["wal.basic/python/binary"]

    assert "2 of 2 are proven already" in bench(*wanted, "--resume").err
    ended = bench(*wanted, "--resume", "--seed", "7")
    assert "already" not in ended.err


def stopped() -> Proof:
    raise KeyboardInterrupt
