"""Proofs in processes of their own are those of one process."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from bench_cli import evidence
from bench_cli.errors import VerificationFailed
from bench_cli.faults.prove import Effort, Proof, Subject, work_of
from bench_cli.faults.workers import prove_all

FEW = Effort(kills=2)
SUBJECTS = [
    Subject(f"tests.verify.liars:{name}", None, "binary", allow_code=True)
    for name in ("Closed", "Unchecking")
]


def test_each_subject_is_proven_by_itself_and_told_of(tmp_path: Path) -> None:
    told: list[int] = []
    proofs: list[Proof] = []
    prove_all(SUBJECTS, FEW, tmp_path, 2, told.append, proofs.append)
    assert {proof.key: proof.holds for proof in proofs} == {
        subject.key: holds for subject, holds in zip(SUBJECTS, (True, False), strict=True)
    }
    assert all(isinstance(proof, Proof) and proof.seconds > 0 for proof in proofs)
    assert sum(told) == sum(work_of(subject, FEW) for subject in SUBJECTS) > 0


def test_sources_that_change_meanwhile_end_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "code_digest", lambda engine: "an earlier one")
    with pytest.raises(VerificationFailed, match="the sources changed"):
        prove_all(SUBJECTS, FEW, tmp_path, 2, lambda count: None, lambda proof: None)


def test_an_interruption_ends_what_is_under_way(tmp_path: Path) -> None:
    under_way: list[BaseProcess] = []

    def interrupted(proof: Proof) -> None:
        under_way.extend(multiprocessing.active_children())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prove_all(SUBJECTS, FEW, tmp_path, 2, lambda count: None, interrupted)
    assert [process.exitcode for process in under_way] == [-signal.SIGTERM] * 2
