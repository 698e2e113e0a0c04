"""A level is called verified for the sources, the engine and the settings that were proven."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_cli import evidence, registry
from bench_cli.evidence import Evidence, code_digest, key_of, settings_of
from bench_cli.faults import keeping
from bench_cli.faults.crashes import Failure
from bench_cli.faults.prove import Proof
from bench_cli.interfaces import Durability
from tests.cli.conftest import Bench, bench, project

__all__ = ["bench", "project"]  # fixtures

LEVEL = Durability("D1", None, "I1", "C2")
KEY = key_of("wal.basic", None, "python", "binary")
PROOF = Proof(
    "wal.basic",
    "python",
    "binary",
    "D1 I1 C2",
    42,
    settings=("never", "every"),
    images=1000,
    kills=7,
)


def stored(tmp_path: Path, *proofs: Proof) -> Evidence:
    for proof in proofs:
        keeping.store([proof], tmp_path)
    return evidence.load(tmp_path)


def changed(tmp_path: Path, **fields: Any) -> Evidence:
    """``PROOF`` as stored, with some of its fields replaced in the file."""
    stored(tmp_path, PROOF)
    path = tmp_path / evidence.VERIFIED
    found = json.loads(path.read_text())
    found["proofs"][KEY] |= fields
    path.write_text(json.dumps(found))
    return evidence.load(tmp_path)


def test_a_proof_of_these_sources_marks_the_level_with_its_date_and_counts(tmp_path: Path) -> None:
    level = stored(tmp_path, PROOF).mark(LEVEL, KEY, settings_of({}))
    assert level.evidence == "verified"
    assert level.counts == "1,000 images, 7 kills, seed 42"
    assert level.date is not None
    assert len(level.date) == len("2026-01-02")


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        (key_of("wal.mmap", None, "python", "binary"), {"never"}),
        (key_of("wal.basic", None, "native", "binary"), {"never"}),
        (key_of("wal.basic", None, "python", "text"), {"never"}),
        (key_of("rewards.pool", "wal.basic", "python", "binary"), {"never"}),
        (KEY, {"record"}),
        (KEY, {"never", "ack-durable"}),
    ],
    ids=["backend", "twin", "format", "engine", "policy", "acknowledgement"],
)
def test_another_setting_stays_declared(tmp_path: Path, key: str, wanted: set[str]) -> None:
    assert stored(tmp_path, PROOF).mark(LEVEL, key, frozenset(wanted)) == LEVEL


def test_a_proof_of_other_sources_says_nothing(tmp_path: Path) -> None:
    assert changed(tmp_path, code="0" * 16).mark(LEVEL, KEY, settings_of({})) == LEVEL


def test_a_failed_proof_is_told_whatever_the_setting(tmp_path: Path) -> None:
    failed = replace(PROOF, failures=[Failure("A", "record 3 is gone", "seed=1")])
    level = stored(tmp_path, failed).mark(LEVEL, KEY, frozenset({"record"}))
    assert (level.evidence, level.counts) == ("FAILED", "record 3 is gone (layer A)")


def test_a_level_without_a_promise_is_never_verified(tmp_path: Path) -> None:
    nothing = Durability("D0")
    assert stored(tmp_path, PROOF).mark(nothing, KEY, settings_of({})) == nothing


def test_a_smaller_proof_of_the_same_sources_does_not_replace_a_larger_one(tmp_path: Path) -> None:
    level = stored(tmp_path, PROOF, replace(PROOF, images=5)).mark(LEVEL, KEY, settings_of({}))
    assert level.counts is not None
    assert level.counts.startswith("1,000 images")


def test_a_failure_stays_until_the_same_seed_passes(tmp_path: Path) -> None:
    failed = replace(PROOF, failures=[Failure("A", "lost", "seed=42")])
    other = stored(tmp_path, failed, replace(PROOF, seed=1))
    assert other.mark(LEVEL, KEY, settings_of({})).evidence == "FAILED"
    assert stored(tmp_path, PROOF).mark(LEVEL, KEY, settings_of({})).evidence == "verified"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 2, "proofs": []}', '{"version": 2, "proofs": {"a": 1}}',
     '{"version": 1, "proofs": {}}', '{"version": 2, "version": 2, "proofs": {}}',
     '{"version": 2, "proofs": {"a": {"settings": [], "failures": [], "images": "x"}}}'],
)  # fmt: skip
def test_a_file_that_is_none_of_ours_is_no_evidence(tmp_path: Path, text: str) -> None:
    (tmp_path / evidence.VERIFIED).write_text(text)
    assert evidence.load(tmp_path) == Evidence()


@pytest.mark.parametrize(
    ("params", "synced", "expected"),
    [
        ({}, False, {"never"}),
        ({}, True, {"record"}),
        ({"flush_every": 1}, False, {"record"}),
        ({"flush_every": 100, "ack": "logged"}, False, {"every", "ack-logged"}),
    ],
)
def test_what_a_row_needs_proven(params: dict[str, Any], synced: bool, expected: set[str]) -> None:
    assert settings_of(params, synced=synced) == expected


def test_each_engine_has_a_digest_of_its_own_sources() -> None:
    assert len({code_digest(engine) for engine in ("wal", "rewards", "cache")}) == 3


def test_the_tables_of_a_run_say_what_is_verified(bench: Bench, project: Path) -> None:
    keeping.store([PROOF], project / "results")
    out = project / "out.json"
    ended = bench("run", "wal", "-k", "wal.basic", "-P", "record=64B", "-o", out, width=120)
    assert ended.code == 0, ended.err
    assert "verified 2" in ended.out
    assert "1,000 images, 7 kills, seed 42." in ended.out
    (row,) = [row for row in json.loads(out.read_text())["results"] if row["durability"]]
    assert (row["durability"]["evidence"], row["durability"]["date"][:2]) == ("verified", "20")
    assert "verified 2" in bench("show", out, width=120).out


def test_the_list_of_backends_says_what_is_verified_or_failed(bench: Bench, project: Path) -> None:
    core = registry.default_core()
    failed = replace(PROOF, core=core, backend="wal.mmap", failures=[Failure("A", "lost", "")])
    keeping.store([replace(PROOF, core=core), failed], project / "results")
    told = bench("backends", width=200).out
    assert "D1 I1 C2, verified 2" in told
    assert "D1 I1 C2, FAILED 2" in told
    assert "D0 I0 C0, declared" in told
