"""What a log under a flush policy has promised after each call, by the policy's own words and not
by what the log says of itself. Time passes only when a step says so."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench_cli.interfaces import CommittedLog, FlushPolicy


class Step(NamedTuple):
    """``do``: append, batch, commit, wait, tick, sync, reset, truncate, close. A batch has several
    payloads. ``truncate`` is asked to keep the newest ``keep`` records; a log that cannot is not
    asked. ``tick`` lets ``keep`` ns pass; ``wait`` is for the newest record but ``keep``."""

    do: str
    kind: int = 1
    payloads: tuple[bytes, ...] = ()
    keep: int = 0


MS = 1_000_000
FLUSH = "flush-"  # before the kind, where a policy is named among others
FLUSHES = {
    "never": FlushPolicy("never"),
    "async": FlushPolicy("async"),
    "records": FlushPolicy("records", 5),
    "bytes": FlushPolicy("bytes", 300),
    "time": FlushPolicy("time", 10 * MS),
    "record": FlushPolicy("record"),
    "group": FlushPolicy("group", max_batch=3, max_wait_ns=MS),
}
"""One of each kind, by it."""


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 0

    def now_ns(self) -> int:
        return self.at

    def wall_ns(self) -> int:
        return self.at


def under_policy(planned: Sequence[Step], seed: int) -> list[Step]:
    """The same records, some of them committed, with waits and with time going by."""
    draw = random.Random(f"{seed} flush")
    made: list[Step] = []
    for step in planned:
        if step.do == "append" and draw.random() < 0.15:
            step = step._replace(do="commit")
        made.append(step)
        if draw.random() < 0.4:
            made.append(Step("tick", keep=draw.choice((1, 3, 6, 11)) * MS))
        if draw.random() < 0.08:
            made.append(Step("wait", keep=draw.choice((0, 0, 1, 4))))
    return made


@dataclass(slots=True)
class Promises:
    """``since``: when the oldest record was written that is not known to be durable."""

    policy: FlushPolicy
    clock: Hands
    since: int | None = None
    synced_bytes: int = 0

    def after(self, log: CommittedLog, step: Step, written: int, promised: int) -> int:
        """What is promised now. ``written``: the newest record; ``promised``: before this."""
        if self._syncs(log, step, written, promised):
            promised = written
        if promised >= written:
            self.since, self.synced_bytes = None, log.stats().bytes
        elif self.since is None:
            self.since = self.clock.now_ns()
        return promised

    def _syncs(self, log: CommittedLog, step: Step, written: int, promised: int) -> bool:
        kind, number = self.policy.kind, self.policy.number
        if step.do in ("commit", "sync", "close"):
            return True
        if step.do == "wait":
            return written - step.keep > promised
        if step.do == "tick":
            if promised >= written or self.since is None:
                return False
            return kind == "async" or (kind == "time" and self._age() >= number)
        if not step.payloads:
            return False
        if kind == "bytes":
            return log.stats().bytes - self.synced_bytes >= number
        return kind == "record" or (kind == "records" and written - promised >= number)

    def _age(self) -> int:
        assert self.since is not None
        return self.clock.now_ns() - self.since
