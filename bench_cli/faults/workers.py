"""Proofs in several processes: each proves a subject by itself and tells how far it is.

The processes are begun anew (``spawn``): a fork would take over the parent's threads and logs. The
largest subjects come first, so that no process is left with one of them in the end.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from bench_cli import evidence
from bench_cli.errors import VerificationFailed
from bench_cli.faults.engines import engine_of
from bench_cli.faults.prove import Advance, Effort, Proof, Subject, prove, work_of
from bench_cli.filesystem import CLOCK

TOLD_NS = 200_000_000  # between words of how far one is
_told: list[SimpleQueue[int]] = []  # of a worker process: the one to its parent


def prove_all(
    subjects: Sequence[Subject],
    effort: Effort,
    scratch: Path,
    jobs: int,
    advance: Advance,
    ended: Callable[[Proof], None],
) -> None:
    """By up to ``jobs`` processes; one subject or job needs none. ``ended`` gets each proof as soon
    as it is there: what is proven when something raises was proven. Raises what ``prove`` does."""
    digests = [evidence.code_digest(_engine(subject)) for subject in subjects]
    if jobs < 2 or len(subjects) < 2:
        for subject in subjects:
            ended(_timed(subject, effort, scratch, advance))
        return
    context = multiprocessing.get_context("spawn")
    told: SimpleQueue[int] = context.SimpleQueue()  # what is put is there, also before its proof is
    order = sorted(range(len(subjects)), key=lambda at: -work_of(subjects[at], effort))
    with ProcessPoolExecutor(min(jobs, len(subjects)), context, _begin, (told,)) as workers:
        begun = [workers.submit(_one, subjects[at], effort, scratch, digests[at]) for at in order]
        try:
            _follow(begun, told, advance, ended)
        except KeyboardInterrupt:  # what is handed out is not cancelled, and takes minutes
            for process in multiprocessing.active_children():
                process.terminate()
            workers.shutdown(cancel_futures=True)  # waits: nothing of them goes on behind us
            raise
        finally:
            workers.shutdown(wait=False, cancel_futures=True)


def _engine(subject: Subject) -> str:
    return engine_of(subject.engine())


def _timed(subject: Subject, effort: Effort, scratch: Path, advance: Advance) -> Proof:
    began = CLOCK.now_ns()
    proof = prove(subject, effort, scratch, advance)
    proof.seconds, proof.effort = (CLOCK.now_ns() - began) / 1e9, effort
    return proof


def _follow(
    running: Iterable[Future[Proof]],
    told: SimpleQueue[int],
    advance: Advance,
    ended: Callable[[Proof], None],
) -> None:
    """Until all are done, or one has failed. Raises its error."""
    left: set[Future[Proof]] = set(running)
    while left:
        done, left = wait(left, timeout=TOLD_NS / 1e9, return_when=FIRST_COMPLETED)
        while not told.empty():
            advance(told.get())
        for one in done:
            ended(one.result())


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
