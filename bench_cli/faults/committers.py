"""A log that several threads commit to, recorded: whom a group's sync may acknowledge.

The threads are real, and so are the leader and those who wait for it. Who appends when is drawn
from a seed all the same: appends are let go one at a time, either when nobody is in the log, or
while a sync is under way, which stands still for them. What is let go during a sync is written
after it began, and must not be acknowledged by it. The same seed records the same operations,
whichever of those who wait the log makes its leader.

Segments fill up on the way. A record that begins a new one waits for a running sync, which must
therefore not stand still for it: it is let go last, and only where nobody waits for the next sync,
which might begin before the rotation or after it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple, cast

from bench_cli.errors import BenchError
from bench_cli.faults.history import History
from bench_cli.faults.policies import FLUSHES, Hands, Step
from bench_cli.faults.recorder import HOME, Recorder, no_fault
from bench_cli.interfaces import CommittedLog, LogBackend, LogOptions, RecordKind
from bench_cli.wal.codec import CODECS
from bench_cli.wal.format import DATA_START, FOOTER_ROOM

COMMITTERS = "committers"
"""What this is called among flush policies."""
RECORDS = 50
LENGTHS = ((0, 8, 16, 40, 90), (40, 90, 400))
"""Of the payloads of a recording: the first fill a segment of 8 KiB by half, the second several."""
COMING, IDLE, GOING, INSIDE, ENDED = range(5)
"""A thread on its way to its next turn, waiting for one, at its append, in a wait, gone."""
STUCK_S = 60.0  # a log that never answers is to be a failure, and not to hang
GRACE_S = 0.01
"""For a rotation that is to wait for the sync, to show that it does not. Sound logs record the same
however long this is."""


class StoodStill(RuntimeError):
    """A thread that was to be answered never was."""


class Turn(NamedTuple):
    """What is appended, and whether it is waited for."""

    payload: bytes
    waits: bool


class Room:
    """What is left of the current segment, by what the log wrote last. Which record begins a new
    one is so known before, but where the length of a frame depends on the time it is written."""

    def __init__(self, disk: Recorder, options: LogOptions) -> None:
        self._disk, self._codec = disk, CODECS[options.format]
        self._end = options.segment_size - FOOTER_ROOM

    def fits(self, first: int, turns: Sequence[Turn]) -> int:
        """How many certainly go into it; ``first`` is the number of the first one."""
        left = self._left()
        for count, turn in enumerate(turns):
            left -= max(self._lengths(first + count, turn))
            if left < 0:
                return count
        return len(turns)

    def ends(self, number: int, turn: Turn) -> bool:
        """Whether that record certainly begins a new one."""
        return min(self._lengths(number, turn)) > self._left()

    def _left(self) -> int:
        written = (op for op in reversed(self._disk.ops) if op.kind in ("write", "store"))
        return self._end - max(DATA_START, *(op.offset + len(op.data) for op in islice(written, 1)))

    def _lengths(self, number: int, turn: Turn) -> list[int]:
        """With everything before it durable, and with nothing."""
        return [
            len(self._codec.frame(0, number, lag, RecordKind.DATA, turn.payload)[0])
            for lag in (0, number - 1)
        ]


@dataclass(slots=True)
class Turns:
    """``plan``: the turns, in order, whoever takes them. ``queue``: who may append now, one after
    the other. ``leader``: who syncs, -1 if nobody; ``covers``: what that sync began with, and
    ``synced`` the last one that ended; ``stands``: how many operations were done when it did."""

    draw: random.Random
    threads: int
    plan: list[Turn]
    room: Room
    states: list[int] = field(default_factory=list)
    tickets: list[int] = field(default_factory=list)
    callers: dict[int, int] = field(default_factory=dict)  # by the identity of their thread
    queue: list[int] = field(default_factory=list)
    batch: int = 0  # of those let go together
    written: int = 0
    leader: int = -1
    covers: int = 0
    synced: int = 0
    stands: int = 0
    rotating: int = -1  # who was let go to begin a new segment, and has not done so
    begun: bool = False  # it has come to its append
    full: bool = False  # that was during the sync of the leader
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

    def answered(self, me: int) -> None:
        """Of one whose wait is over."""
        if me == self.leader:
            self._end_sync()

    def begins(self, me: int) -> None:
        """Of one whose append is noted as attempted."""
        if self.rotating == me:
            self.begun = True
            self.moved.notify_all()

    def rotated(self, me: int) -> None:
        """Of one that has appended: after a rotation that waited for a sync, those who were
        answered by that come back first."""
        with self.moved:
            if self.rotating == me:
                self.rotating = -1
                self.moved.notify_all()
                self._until(lambda: self.over or not any(map(self._is_covered, self._all)))

    def leave(self, me: int, *, failed: bool) -> None:
        with self.moved:
            self.over = self.over or failed
            self._go_on(me, ENDED)

    def waiting(self) -> int:
        """Which of the committers calls, if it is in a wait; -1: none of them."""
        me = self.callers.get(threading.get_ident(), -1)
        return me if me >= 0 and self.states[me] == INSIDE else -1

    def during_sync(self, me: int) -> None:
        """Of the leader, for each file that its sync makes durable: first those come back whom the
        last one answered, then some append."""
        with self.moved:
            if me != self.leader:
                self._end_sync()
                self._until(self._still)
                self.leader, self.covers, self.full = me, self.written, False
            for _ in range(self.draw.choice((0, 1, 1, 3, 6)) if not self.full else 0):
                most = self.draw.randint(1, self.threads)
                fits = self.room.fits(self.written + 1, self.plan[:most])
                if not fits:
                    self._let_rotate()
                    return
                self._let_go(fits)
                self._until(self._still)

    def _end_sync(self) -> None:
        if self.leader >= 0:
            self.leader, self.synced = -1, self.covers

    def _let_rotate(self) -> None:
        """The next one, if it certainly does, and is certainly first when the sync has ended."""
        late = any(
            state == INSIDE and ticket > self.covers
            for state, ticket in zip(self.states, self.tickets, strict=True)
        )
        if late or not self.plan or not self.room.ends(self.written + 1, self.plan[0]):
            return
        self._let_go(1)
        if self.queue:
            self.rotating, self.begun, self.full = self.queue[0], False, True
            self._until(lambda: self.begun or self.over)
            self.moved.wait_for(lambda: self.rotating < 0 or self.over, GRACE_S)

    @property
    def _all(self) -> range:
        return range(self.threads)

    def _still(self) -> bool:
        """All are idle, gone, or wait for a sync that has not ended."""
        return self.over or not any(map(self._moves, self._all))

    def _moves(self, one: int) -> bool:
        answered = self.states[one] == INSIDE and self.tickets[one] <= self.synced
        return answered or self.states[one] in (COMING, GOING)

    def _is_covered(self, one: int) -> bool:
        """Whether it waits, and the sync of the leader, or the last one, is to answer it."""
        return self.states[one] == INSIDE and self.tickets[one] <= max(self.covers, self.synced)

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
        self.turns.callers[threading.get_ident()] = me
        try:
            while (turn := self.turns.take(me)) is not None:
                ticket = self._append(me, turn)
                self.turns.appended(me, ticket, waits=turn.waits)
                if turn.waits:
                    self.log.wait(ticket)
                    with self.turns.moved:
                        self._promise(ticket)
                        self.turns.answered(me)
        except BenchError:
            failed = True
        except Exception as error:  # a committer's thread ends here
            failed = True
            self.history.complaints.append(f"an untyped error: {type(error).__name__}: {error}")
        finally:
            self.turns.leave(me, failed=failed)

    def _append(self, me: int, turn: Turn) -> int:
        with self.turns.moved:
            self.history.attempt(len(self.disk.ops), Step("append", 1, (turn.payload,)))
            wanted = self.history.now.attempted
            self.turns.begins(me)
        ticket = self.log.append(turn.payload)
        self.turns.rotated(me)
        with self.turns.moved:
            if ticket != wanted:
                self.history.complaints.append(f"record {wanted} was given the ticket {ticket}")
            self.history.mark(len(self.disk.ops), written=wanted)
        return ticket

    def _promise(self, ticket: int) -> None:
        """From the end of the sync on: a rotation that waited for that may be under way."""
        promised = max(ticket, self.history.now.promised)
        self.history.mark(self.turns.stands or len(self.disk.ops), promised=promised)


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
    lengths = draw.choice(LENGTHS)
    plan = [
        Turn(b"%d:" % at + draw.randbytes(draw.choice(lengths)), draw.random() < 0.25)
        for at in range(RECORDS)
    ]
    left_open = draw.random() < 0.5 and not fails.at
    disk, history = Recorder(), History()
    turns = Turns(draw, draw.randint(2, 4), plan, Room(disk, options))
    log = cast(CommittedLog, backend.open(HOME, under(options, disk)))

    def fault(call: str) -> int:
        leader = turns.waiting() if call == "sync" else -1  # of a new segment's it is nobody
        if leader >= 0:
            turns.during_sync(leader)
            turns.stands = len(disk.ops) + 1
        return fails(call)

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
        file_system=disk,
        flush=FLUSHES["group"],
        clock=Hands(),
    )
