"""A log that several threads commit to, recorded: whom a group's sync may acknowledge.

The threads are real, and so are the leader and those who wait for it. Who appends when is drawn
from a seed all the same: appends are let go one at a time, either when nobody is in the log, or
while a sync is under way, which stands still for them. What is let go during a sync is written
after it began, and must not be acknowledged by it. The same seed records the same operations,
whichever of those who wait the log makes its leader.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

from bench_cli.errors import BenchError
from bench_cli.faults.history import History
from bench_cli.faults.policies import FLUSHES, Hands, Step
from bench_cli.faults.recorder import HOME, Recorder, no_fault
from bench_cli.interfaces import CommittedLog, LogBackend, LogOptions

COMMITTERS = "committers"
"""What this is called among flush policies."""
RECORDS = 50
SEGMENT = 8192  # holds them all: a rotation waits for a running sync, which here waits for it
COMING, IDLE, GOING, INSIDE, ENDED = range(5)
"""A thread on its way to its next turn, waiting for one, at its append, in a wait, gone."""
STUCK_S = 60.0  # a log that never answers is to be a failure, and not to hang


class StoodStill(RuntimeError):
    """A thread that was to be answered never was."""


class Turn(NamedTuple):
    """What is appended, and whether it is waited for."""

    payload: bytes
    waits: bool


@dataclass(slots=True)
class Turns:
    """``plan``: the turns, in order, whoever takes them. ``queue``: who may append now, one after
    the other. ``synced``: what the last sync that ended had begun with."""

    draw: random.Random
    threads: int
    plan: list[Turn]
    states: list[int] = field(default_factory=list)
    tickets: list[int] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    batch: int = 0  # of those let go together
    written: int = 0
    synced: int = 0
    over: bool = False  # something failed: nothing is appended any more
    moved: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.states = [COMING] * self.threads
        self.tickets = [0] * self.threads

    def take(self, me: int) -> Turn | None:
        """None when there is nothing left to do."""
        with self.moved:
            self._go_on(me, IDLE)
            self._until(lambda: self.states[me] == GOING or self.over or not self.plan)
            return None if self.over or not self.plan else self.plan.pop(0)

    def appended(self, me: int, ticket: int, *, waits: bool) -> None:
        """Nobody enters a wait before all who were let go together have appended: what the next
        sync begins with would be a matter of luck."""
        with self.moved:
            batch = self.batch
            self.written = self.tickets[me] = ticket
            self._go_on(me, INSIDE if waits else COMING)
            self._until(lambda: not self.queue or self.batch > batch or self.over)

    def leave(self, me: int, *, failed: bool) -> None:
        with self.moved:
            self.over = self.over or failed
            self._go_on(me, ENDED)

    def during_sync(self) -> int:
        """Of the leader, in its sync: first those come back whom the last one made durable, then
        some append. Returns what the sync began with."""
        with self.moved:
            self._until(self._still)
            begun = self.written
            for _ in range(self.draw.choice((0, 1, 1, 3, 6))):
                self._let_go(self.draw.randint(1, self.threads))
                self._until(self._still)
            return begun

    def _still(self) -> bool:
        """All are idle, gone, or wait for a sync that has not ended."""
        return self.over or not any(map(self._moves, range(self.threads)))

    def _moves(self, one: int) -> bool:
        answered = self.states[one] == INSIDE and self.tickets[one] <= self.synced
        return answered or self.states[one] in (COMING, GOING)

    def _go_on(self, me: int, state: int) -> None:
        self.states[me] = state
        if me in self.queue:
            self.queue.remove(me)
        if self.queue:
            self.states[self.queue[0]] = GOING
        elif not any(state in (COMING, GOING, INSIDE) for state in self.states):
            self._let_go(self.draw.randint(1, self.threads))
        self.moved.notify_all()

    def _let_go(self, many: int) -> None:
        idle = [one for one, state in enumerate(self.states) if state == IDLE]
        self.queue = self.draw.sample(idle, min(many, len(idle), len(self.plan)))
        if self.queue:
            self.batch += 1
            self.states[self.queue[0]] = GOING
        self.moved.notify_all()

    def _until(self, holds: Callable[[], bool]) -> None:
        if not self.moved.wait_for(holds, STUCK_S):
            self.over = True
            raise StoodStill("a committer was never answered")


@dataclass(slots=True)
class _Committers:
    """The threads of one recording, and what they note."""

    log: CommittedLog
    disk: Recorder
    history: History
    turns: Turns

    def run(self) -> None:
        threads = [
            threading.Thread(target=self._live, args=(me,), name=f"committer-{me}")
            for me in range(self.turns.threads)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _live(self, me: int) -> None:
        failed = False
        try:
            while (turn := self.turns.take(me)) is not None:
                ticket = self._append(turn)
                self.turns.appended(me, ticket, waits=turn.waits)
                if turn.waits:
                    self.log.wait(ticket)
                    with self.turns.moved:
                        self._note(promised=max(ticket, self.history.now.promised))
        except BenchError:
            failed = True
        except Exception as error:  # a committer's thread ends here
            failed = True
            self.history.complaints.append(f"an untyped error: {type(error).__name__}: {error}")
        finally:
            self.turns.leave(me, failed=failed)

    def _append(self, turn: Turn) -> int:
        with self.turns.moved:
            self.history.attempt(len(self.disk.ops), Step("append", 1, (turn.payload,)))
            wanted = self.history.now.attempted
        ticket = self.log.append(turn.payload)
        with self.turns.moved:
            if ticket != wanted:
                self.history.complaints.append(f"record {wanted} was given the ticket {ticket}")
            self._note(written=wanted)
        return ticket

    def _note(self, **changed: int) -> None:
        self.history.mark(len(self.disk.ops), **changed)


@dataclass(slots=True)
class Once:
    """Fails the call of number ``at``, counted from 1, with the error ``number``. ``call``: which
    one that was, "" while there was none."""

    at: int = 0
    number: int = 0
    calls: int = 0
    call: str = ""

    def __call__(self, call: str) -> int:
        self.calls += 1
        if self.calls != self.at:
            return 0
        self.call = call
        return self.number


def record(
    backend: LogBackend, options: LogOptions, seed: int, fails: Once | None = None
) -> tuple[Recorder, History]:
    """One life of a log that two to four threads commit to, until all is written or one of them
    is told of an error."""
    fails = fails or Once()
    draw = random.Random(f"{seed} committers")
    plan = [
        Turn(b"%d:" % at + draw.randbytes(draw.choice((0, 8, 16, 40, 90))), draw.random() < 0.25)
        for at in range(RECORDS)
    ]
    left_open = draw.random() < 0.5 and not fails.at
    turns = Turns(draw, draw.randint(2, 4), plan)
    disk, history = Recorder(), History()
    log = cast(CommittedLog, backend.open(HOME, under(options, disk)))

    covers = 0  # what the log asked to be synced, also where an interrupted sync is done again

    def fault(call: str) -> int:
        nonlocal covers
        if call != "sync":
            return fails(call)
        covers = covers or turns.during_sync()
        number = fails(call)
        if not number:
            turns.synced, covers = covers, 0
        return number

    disk.fault = fault
    _Committers(log, disk, history, turns).run()
    disk.fault = no_fault
    if turns.over:
        with suppress(BenchError):  # what went wrong has been told
            log.close()
    elif not left_open:
        log.close()
        history.mark(len(disk.ops), promised=history.now.attempted)
    return disk, history


def under(options: LogOptions, disk: Recorder | None) -> LogOptions:
    return replace(
        options,
        segment_size=SEGMENT,
        file_system=disk,
        flush=FLUSHES["group"],
        clock=Hands(),
    )
