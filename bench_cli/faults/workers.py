"""Proofs in several processes: each proves a subject by itself and tells how far it is.

The processes are begun anew (``spawn``): a fork would take over the parent's threads and logs. The
largest subjects come first, so that no process is left with one of them in the end.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from bench_cli import evidence
from bench_cli.errors import VerificationFailed
from bench_cli.faults.engines import engine_of
from bench_cli.faults.prove import Advance, Effort, Proof, Subject, prove, work_of
from bench_cli.filesystem import CLOCK

TOLD_NS = 200_000_000  # between words of how far one is
_told: list[SimpleQueue[int]] = []  # of a worker process: the one to its parent


def prove_all(
    subjects: Sequence[Subject], effort: Effort, scratch: Path, jobs: int, advance: Advance
) -> list[Proof]:
    """In the order of ``subjects``, by up to ``jobs`` processes; one subject or job needs none.
    Raises what ``prove`` raises."""
    digests = [evidence.code_digest(_engine(subject)) for subject in subjects]
    if jobs < 2 or len(subjects) < 2:
        return [_timed(subject, effort, scratch, advance) for subject in subjects]
    context = multiprocessing.get_context("spawn")
    told: SimpleQueue[int] = context.SimpleQueue()  # what is put is there, also before its proof is
    order = sorted(range(len(subjects)), key=lambda at: -work_of(subjects[at], effort))
    with ProcessPoolExecutor(min(jobs, len(subjects)), context, _begin, (told,)) as workers:
        begun = {
            at: workers.submit(_one, subjects[at], effort, scratch, digests[at]) for at in order
        }
        try:
            _follow(begun.values(), told, advance)
        finally:
            workers.shutdown(wait=False, cancel_futures=True)
        return [begun[at].result() for at in range(len(subjects))]


def _engine(subject: Subject) -> str:
    return engine_of(subject.engine())


def _timed(subject: Subject, effort: Effort, scratch: Path, advance: Advance) -> Proof:
    began = CLOCK.now_ns()
    proof = prove(subject, effort, scratch, advance)
    proof.seconds = (CLOCK.now_ns() - began) / 1e9
    return proof


def _follow(running: Iterable[Future[Proof]], told: SimpleQueue[int], advance: Advance) -> None:
    """Until all are done, or one has failed. Raises its error."""
    left: set[Future[Any]] = set(running)
    while left:
        ended, left = wait(left, timeout=TOLD_NS / 1e9, return_when=FIRST_COMPLETED)
        while not told.empty():
            advance(told.get())
        for one in ended:
            one.result()


# --- in a worker process ---------------------------------------------------------------------


def _begin(told: SimpleQueue[int]) -> None:
    _told.append(told)


def _one(subject: Subject, effort: Effort, scratch: Path, digest: str) -> Proof:
    if evidence.code_digest(_engine(subject)) != digest:
        raise VerificationFailed("the sources changed while the proof ran", remedy="run it again")
    count, spoken = 0, CLOCK.now_ns()

    def advance(more: int) -> None:
        nonlocal count, spoken
        count += more
        now = CLOCK.now_ns()
        if now - spoken >= TOLD_NS:
            _told[0].put(count)
            count, spoken = 0, now

    proof = _timed(subject, effort, scratch, advance)
    _told[0].put(count)
    return proof
