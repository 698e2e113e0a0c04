"""Flush policies with one mistake each, for the prover's own test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_cli.faults.bugs import Bug, Variant
from bench_cli.faults.committers import COMMITTERS
from bench_cli.interfaces import Buffer, LogBackend, LogOptions, RecordKind
from bench_cli.wal.files import MappedSegment
from bench_cli.wal.flush import FlushedLog
from bench_cli.wal.log import FileLog


class Flushed(Variant):
    """The Python twin behind a policy of this type."""

    flushed: type[FlushedLog] = FlushedLog

    def open(self, directory: Path, options: LogOptions) -> Any:
        log = super().open(directory, options)
        return self.flushed(log, options.flush, options.clock) if options.flush else log


class OneMore(FlushedLog):
    def _must_sync(self) -> bool:
        return self._last - self._durable > self.policy.number


class HalfTheBytes(FlushedLog):
    def _grown(self) -> int:
        return super()._grown() // 2


class NeverDue(FlushedLog):
    def tick(self) -> None:
        """Whatever the time."""


class CommitsFirst(FlushedLog):
    def commit(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        return self.append(payload, kind)


class GoesOn(FlushedLog):
    def _fail(self, error: Any) -> None:
        self._turn.notify_all()

    def _sync_log(self) -> None:
        self._log.sync()


class AnswersLatecomers(FlushedLog):
    def _made_durable(self, sequence: int) -> None:
        super()._made_durable(self._last)


class RotatesMeanwhile(FlushedLog):
    def _settle(self) -> None:
        self._changing = True


class MarksLatecomers(FileLog):
    def end_sync(self, reach: tuple[int, int], error: OSError | None) -> None:
        super().end_sync((reach[0], self._next - 1), error)


@dataclass(frozen=True, slots=True)
class PolicyBug(Bug):
    """``kinds``: of the policies it is looked for under, or ``COMMITTERS``."""

    kinds: tuple[str, ...] = ()


def _bug(name: str, what: str, flushed: type[FlushedLog], *kinds: str, **parts: Any) -> PolicyBug:
    """``parts``: class attributes of the log under it, as in ``bugs.variant``."""
    parts["flushed"] = flushed
    made: Callable[[], LogBackend] = type("Mistaken", (Flushed,), parts)

    @contextmanager
    def make() -> Iterator[LogBackend]:
        yield made()

    return PolicyBug(name, what, make, kinds)


POLICY_BUGS = (
    _bug("one record more", "a policy of N records lets N of them unsynced", OneMore, "records"),
    _bug("bytes by half", "a policy of N bytes counts half of them", HalfTheBytes, "bytes"),
    _bug("time passed over", "nothing is synced when its time comes", NeverDue, "time", "async"),
    _bug("commit before sync", "a commit returns when its record is written", CommitsFirst,
         "group"),
    _bug("failure forgotten", "the log goes on after a failed sync of a group", GoesOn, "group"),
    _bug("latecomers answered", "a sync acknowledges what was written after it began",
         AnswersLatecomers, COMMITTERS),
    _bug("latecomers marked", "the watermark covers what was written after the sync began",
         FlushedLog, COMMITTERS, log_type=MarksLatecomers),
    _bug("rotation during a sync", "a rotation does not wait for the sync that is under way",
         RotatesMeanwhile, COMMITTERS, segment_type=MappedSegment),
)  # fmt: skip

SOUND_POLICIES = (
    _bug(
        "none, flushed",
        "the policies as they are",
        FlushedLog,
        "records",
        "time",
        "group",
        COMMITTERS,
    ),
)
