"""Any sequence of draws, snapshots, crashes and damage, against a list of what was drawn.

The disk is the recording one of ``bench_cli.faults``: a power cut leaves any image that is legal
then, a kill leaves all that was done. What a recovery finds is a beginning of the list that holds
every draw that was durable (killed: logged), each once, and the stock that belongs to it.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bench_cli.errors import LogError, SnapshotFailed, SnapshotUnusable
from bench_cli.faults.images import Content, DiskState
from bench_cli.faults.recorder import HOME, Recorder, no_fault
from bench_cli.interfaces import Item, LogOptions, Recovery
from tests.contract.pool_backends import FILE_LOGS, TWINS, Case
from tests.faults.faulty_files import Stopped

SEGMENT = 1 << 12  # small: snapshots meet logs of several segments
FINITE = (Item("rare", 1, 4), Item("some", 9, 60), Item("none", 5, 0))
ENDLESS = (*FINITE, Item("plenty", 20, None))
usable = precondition(lambda self: not self.broken)
drawable = precondition(lambda self: not self.broken and self.anything_left())


class At:
    """Lets ``what`` happen at one call of the disk."""

    def __init__(self, call: int, what: Callable[[], int]) -> None:
        self.left, self.what = call, what
        self.last = ""  # the call it happened at

    def __call__(self, call: str) -> int:
        self.left -= 1
        if self.left >= 0:
            return 0
        self.last = call
        return self.what()


def stop() -> int:
    raise Stopped


class SnapshotMachine(RuleBasedStateMachine):
    pools: ClassVar[Case]
    logs: ClassVar[Case]

    @initialize(endless=st.booleans())
    def start(self, endless: bool) -> None:
        self.items = ENDLESS if endless else FINITE
        self.disk = Recorder()
        self.drawn: list[str] = []
        self.logged = self.durable = 0
        self.broken = False  # the log refuses everything
        self.refused = False  # snapshots are refused, as a sync of the folder failed
        self.reserved: list[int] = []
        self.backend, self.log_backend = self.pools.load(), self.logs.load()
        self.log = self.log_backend.open(HOME, self.options())
        self.pool = self.backend.open(self.items, seed=1, log=self.log)

    def options(self) -> LogOptions:
        return LogOptions(segment_size=SEGMENT, file_system=self.disk)

    def settled(self) -> None:
        """Whatever logs anything logs first what was taken in memory."""
        self.logged = len(self.drawn)

    # --- draws -------------------------------------------------------------------------------

    @drawable
    @rule(count=st.sampled_from([1, 1, 3, 40]), single=st.booleans())
    def draw(self, count: int, single: bool) -> None:
        if single:
            self.drawn.append(self.pool.draw())
        else:
            first, indices = self.pool.draw_many(count)
            assert first == len(self.drawn) + 1
            self.drawn += [self.pool.names[index] for index in indices]
        self.settled()

    @drawable
    @rule()
    def take_in_memory(self) -> None:
        draw_id, name = self.pool.take()
        self.drawn.append(name)
        assert draw_id == len(self.drawn)

    @drawable
    @rule()
    def reserve(self) -> None:
        self.reserved.append(self.pool.select())

    @precondition(lambda self: self.reserved and not self.broken)
    @rule(keep=st.booleans())
    def settle_a_reservation(self, keep: bool) -> None:
        index = self.reserved.pop()
        if not keep:
            self.pool.revert(index)
            return
        self.pool.commit(index)
        self.drawn.append(self.pool.names[index])
        self.settled()

    @usable
    @rule()
    def sync(self) -> None:
        self.pool.sync()
        self.settled()
        self.durable = self.logged

    # --- snapshots ---------------------------------------------------------------------------

    @usable
    @rule(incremental=st.booleans())
    def snapshot(self, incremental: bool) -> None:
        if self.refused:
            with pytest.raises(SnapshotFailed):
                self.take_snapshot(incremental)
            self.sync()
        else:
            self.take_snapshot(incremental)

    def take_snapshot(self, incremental: bool) -> None:
        self.pool.snapshot(HOME, incremental=incremental, file_system=self.disk)
        self.settled()
        self.durable = self.logged

    @usable
    @rule(incremental=st.booleans(), call=st.integers(0, 40), short=st.booleans())
    def snapshot_that_meets_an_error(self, incremental: bool, call: int, short: bool) -> None:
        number = errno.EDQUOT if short else errno.EIO
        self.disk.fault = fault = At(call, lambda: number)
        try:
            self.take_snapshot(incremental)
        except SnapshotFailed as error:
            assert self.refused or error.errno == number
            self.refused |= fault.last == "sync_directory"
            self.disk.fault = no_fault
            self.sync()  # the pool goes on; whether the log had been synced is nobody's business
        except LogError:
            self.broken = True
        self.disk.fault = no_fault

    @usable
    @rule(incremental=st.booleans(), call=st.integers(0, 40), cut=st.booleans(), pick=st.data())
    def crash_in_a_snapshot(
        self, incremental: bool, call: int, cut: bool, pick: st.DataObject
    ) -> None:
        self.disk.fault = At(call, stop)
        pending = len(self.drawn)
        try:
            self.take_snapshot(incremental)
        except SnapshotFailed:
            assert self.refused
            self.disk.fault = no_fault
            self.sync()
        except Stopped:
            self.crash(cut, pick, most=pending)
        self.disk.fault = no_fault

    @drawable
    @rule(
        incremental=st.booleans(),
        count=st.sampled_from([1, 5, 150]),
        call=st.integers(10, 70),
        cut=st.booleans(),
        pick=st.data(),
    )
    def snapshot_while_others_draw(
        self, incremental: bool, count: int, call: int, cut: bool, pick: st.DataObject
    ) -> None:
        """Between the copy of the state and the name of the file; and perhaps a crash later."""
        fault = At(call, stop)
        drawn: list[int] = []

        def draw_once(name: str) -> int:
            if name == "rename" and not drawn and self.anything_left():
                drawn.append(self.pool.drawn)
                for _ in range(count if self.items is ENDLESS else 1):
                    self.draw(1, True)
            return fault(name)

        self.disk.fault = draw_once
        try:
            self.pool.snapshot(HOME, incremental=incremental, file_system=self.disk)
            self.settled()
            self.durable = max(self.durable, drawn[0] if drawn else self.logged)
        except SnapshotFailed:
            assert self.refused
            self.disk.fault = no_fault
            self.sync()
        except Stopped:
            self.crash(cut, pick, most=len(self.drawn))
        self.disk.fault = no_fault

    # --- crashes -----------------------------------------------------------------------------

    @rule(cut=st.booleans(), pick=st.data())
    def crash_now(self, cut: bool, pick: st.DataObject) -> None:
        self.crash(cut, pick, most=len(self.drawn) if self.broken else self.logged)

    def crash(self, cut: bool, pick: st.DataObject, most: int) -> None:
        image = self.image(pick) if cut else self.disk.contents()
        least = self.durable if cut else self.logged
        newest = max((name for name in image or {} if name.endswith(".snapshot")), default=None)
        if image and newest and pick.draw(st.booleans(), "damage"):
            self.damaged(image, newest, pick, least, most)
        recovery = self.recover(image)
        assert not recovery.snapshots.rejected
        self.go_on(recovery, least, most)

    def image(self, pick: st.DataObject) -> Content | None:
        """What a power cut may leave."""
        state = DiskState(self.disk, pick.draw(st.integers(0, 1000), "seed"))
        for op in self.disk.ops:
            state.do(op)
        images = list(islice(state.images(8), 8))
        return images[pick.draw(st.integers(0, len(images) - 1), "image")]

    def damaged(
        self, image: Content, newest: str, pick: st.DataObject, least: int, most: int
    ) -> None:
        """Told and made up for, or refused."""
        whole = bytearray(image[newest])
        if pick.draw(st.booleans(), "cut"):
            del whole[pick.draw(st.integers(0, len(whole) - 1), "length") :]
        else:
            whole[pick.draw(st.integers(0, len(whole) - 1), "byte")] ^= 4
        try:
            recovery = self.recover({**image, newest: bytes(whole)})
        except SnapshotUnusable as error:
            assert error.path == str(HOME / newest)
            return
        assert recovery.snapshots.rejected[0].path == str(HOME / newest)
        assert least <= self.pool.drawn <= most
        self.check_stock(self.pool.drawn)

    def recover(self, image: Content | None) -> Recovery:
        self.disk = Recorder(image)
        self.pool, self.log, recovery = self.backend.recover(
            self.items, seed=2, backend=self.log_backend, directory=HOME, options=self.options()
        )
        return recovery  # type: ignore[no-any-return]  # the backend is loaded by name

    def go_on(self, recovery: Recovery, least: int, most: int) -> None:
        found = self.pool.drawn
        assert least <= found <= most
        self.check_stock(found)
        del self.drawn[found:]
        self.logged = self.durable = found  # opening a log syncs what it found
        self.reserved, self.broken, self.refused = [], False, False

    # --- what holds --------------------------------------------------------------------------

    def left(self) -> Counter[str]:
        """Of the items with an end."""
        gone = Counter(self.drawn) + Counter(self.pool.names[index] for index in self.reserved)
        return Counter(
            {item.name: item.stock - gone[item.name] for item in self.items if item.stock}
        )

    def anything_left(self) -> bool:
        return self.items is ENDLESS or any(self.left().values())

    def check_stock(self, draws: int) -> None:
        taken = Counter(self.drawn[:draws])
        assert self.pool.stock() == {
            item.name: None if item.stock is None else item.stock - taken[item.name]
            for item in self.items
        }

    @invariant()
    def the_pool_is_the_list(self) -> None:
        if hasattr(self, "pool") and not self.broken:
            assert self.pool.drawn == self.pool.next_id - 1 == len(self.drawn)
            left = self.left()
            for item in self.items:
                if item.stock is not None:
                    assert self.pool.stock()[item.name] == left[item.name]


@pytest.mark.parametrize("logs", FILE_LOGS[1:3], ids=lambda case: case.id)
@pytest.mark.parametrize("pools", TWINS, ids=lambda case: case.id)
def test_no_sequence_of_snapshots_and_crashes_loses_or_doubles_a_draw(
    pools: Case, logs: Case
) -> None:
    pools.load(), logs.load()
    machine = type("Machine", (SnapshotMachine,), {"pools": pools, "logs": logs})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
