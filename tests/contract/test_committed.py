"""What every log under a flush policy promises (``interfaces.CommittedLog``): both twins, and the
Python twin around a log of somebody else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bench_cli.errors import LogClosed, RecordTooLarge
from bench_cli.interfaces import LogOptions
from tests.contract.committed_logs import (
    OURS,
    POLICIES,
    WRAPPED,
    Calls,
    Gate,
    GatedFiles,
    ManualClock,
    durable,
    open_committed,
    recovered,
    until,
)
from tests.contract.log_backends import load, read

# --- what each policy promises ---------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_a_committed_record_is_durable_under_every_policy(
    subject: str, home: Path, policy: str
) -> None:
    log = open_committed(subject, home, policy)
    assert [log.commit(b"x%d" % index) for index in range(5)] == [1, 2, 3, 4, 5]
    assert durable(log) == 5
    log.close()
    assert recovered(home) == [b"x0", b"x1", b"x2", b"x3", b"x4"]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_wait_makes_a_ticket_durable_and_those_before_it(
    subject: str, home: Path, policy: str
) -> None:
    log = open_committed(subject, home, policy, clock=ManualClock())
    tickets = [log.append(b"x") for _ in range(7)]
    log.wait(tickets[6])
    assert durable(log) == 7
    syncs = log.stats().syncs
    for ticket in tickets:
        log.wait(ticket)
    assert log.stats().syncs == syncs
    log.close()


def test_never_syncs_only_when_asked(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "never", clock=ManualClock())
    for _ in range(100):
        log.append(b"x")
    log.tick()
    assert (durable(log), log.stats().syncs) == (0, 0)
    log.sync()
    log.sync()  # there is nothing more
    assert (durable(log), log.stats().syncs) == (100, 1)
    log.close()


def test_a_sync_per_record_is_done_before_the_append_returns(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "record")
    for count in range(1, 6):
        assert log.append(b"x") == count
        assert (durable(log), log.stats().syncs) == (count, count)
    assert log.append_many([b"a", b"b"]) == 7
    assert (durable(log), log.stats().syncs) == (7, 6)
    log.close()


def test_fewer_than_n_records_are_unsynced_when_an_append_returns(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "4 records")
    seen = []
    for count in range(1, 13):
        log.append(b"x")
        seen.append(count - durable(log))
    assert seen == [1, 2, 3, 0] * 3
    log.append_many([b"x"] * 9)
    assert durable(log) == 21
    log.close()


def test_fewer_than_n_bytes_are_unsynced_when_an_append_returns(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "1KiB")
    grown = synced = 0
    for _ in range(200):
        log.append(b"x" * 100)
        stats = log.stats()
        if stats.durable_sequence == stats.last_sequence:
            synced = stats.bytes
        grown = stats.bytes
        assert grown - synced < 1024
    assert 100 > log.stats().syncs > 10
    log.close()


def test_a_timed_policy_syncs_when_its_oldest_record_is_due(subject: str, home: Path) -> None:
    clock = ManualClock()
    log = open_committed(subject, home, "10ms", clock=clock)
    log.tick()
    log.append(b"x")
    clock.now += 9_999_999
    log.append(b"y")
    log.tick()
    assert durable(log) == 0
    clock.now += 1
    log.tick()
    assert (durable(log), log.stats().syncs) == (2, 1)
    clock.now += 50_000_000
    log.tick()
    assert log.stats().syncs == 1
    log.append(b"z")  # its time starts when it is written
    log.tick()
    assert durable(log) == 2
    clock.now += 10_000_000
    log.tick()
    assert durable(log) == 3
    log.close()


def test_an_async_policy_syncs_at_every_tick_that_finds_something(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "async", clock=ManualClock())
    log.tick()
    assert log.stats().syncs == 0
    log.append(b"x")
    assert durable(log) == 0
    log.tick()
    log.tick()
    assert (durable(log), log.stats().syncs) == (1, 1)
    log.close()


def test_a_thread_of_its_own_syncs_what_was_appended(subject: str, home: Path) -> None:
    for policy in ("async", "1us"):
        log = open_committed(subject, home / policy, policy)
        for count in (1, 2, 3):
            log.append(b"x")
            until(lambda log=log, count=count: durable(log) == count)  # type: ignore[misc]  # defaults bind
        log.close()
    assert not [one.name for one in threading.enumerate() if one.name == "wal-flush"]


def test_every_way_to_append_counts(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "2 records")
    assert log.append_write("name", 0, b"data") == 1
    assert log.append_remove("name") == 2
    assert log.append_truncate("name", 1) == 3
    assert log.append_uploaded("name", 0, 1) == 4
    assert log.append_many([b"a", b"b"]) == 6
    assert (durable(log), log.stats().syncs) == (6, 3)
    log.close()


# --- what it tells ---------------------------------------------------------------------------


def test_the_largest_unsynced_age_is_that_of_the_oldest_record_of_each_sync(
    subject: str, home: Path
) -> None:
    clock = ManualClock()
    log = open_committed(subject, home, "never", clock=clock)
    log.append(b"x")
    clock.now += 500
    log.append(b"y")
    clock.now += 200
    log.sync()
    assert log.flush_stats().max_unsynced_ns == 700
    clock.now += 100_000  # nothing is unsynced meanwhile
    log.append(b"z")
    clock.now += 300
    assert log.flush_stats().max_unsynced_ns == 700
    clock.now += 500
    assert log.flush_stats().max_unsynced_ns == 800  # it still is
    log.sync()
    assert log.flush_stats().max_unsynced_ns == 800
    log.append(b"z")
    clock.now += 900
    log.close()
    assert log.flush_stats().max_unsynced_ns == 900


def test_the_time_a_sync_takes_is_part_of_an_age(
    subject: str, home: Path, files: GatedFiles
) -> None:
    clock = ManualClock()
    log = open_committed(subject, home, "group", files=files, clock=clock)

    def slow() -> None:
        clock.now += 1_000

    files.gate = slow
    log.commit(b"x")
    assert log.flush_stats().max_unsynced_ns == 1_000
    log.close()


def test_groups_are_counted_by_size(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "group", clock=ManualClock())
    for size in (1, 1, 2, 3, 5, 64):
        log.wait([log.append(b"x") for _ in range(size)][-1])
    stats = log.flush_stats()
    assert (stats.groups, stats.records, stats.largest_group) == (6, 76, 64)
    assert stats.sizes == (2, 2, 1, 0, 0, 0, 1)
    log.close()


def test_a_policy_is_told_as_it_was_given(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "group 8 1ms", format="text")
    assert (log.policy.max_batch, log.policy.max_wait_ns, log.format) == (8, 1_000_000, "text")
    log.close()


def test_a_ticket_that_was_not_given_is_refused(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "group")
    log.append(b"x")
    for ticket in (-1, 0, 2, 2**70):
        with pytest.raises(ValueError, match="the log has given 1 to 1"):
            log.wait(ticket)
    log.close()


def test_tickets_of_an_earlier_life_are_durable(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "never")
    log.append(b"x")
    log.close()
    log = open_committed(subject, home, "group")
    log.wait(1)
    assert log.stats().syncs == 0
    assert log.commit(b"y") == 2
    log.close()


def test_a_reset_leaves_nothing_to_wait_for(subject: str, home: Path) -> None:
    clock = ManualClock()
    log = open_committed(subject, home, "3 records", clock=clock)
    log.append(b"x")
    log.append(b"x")
    log.reset()
    syncs = log.stats().syncs
    log.wait(2)
    clock.now += 1_000
    assert log.flush_stats().max_unsynced_ns == 0
    log.append(b"y")
    assert log.append(b"y") == 4
    assert log.stats().syncs == syncs
    assert log.append(b"y") == 5
    assert durable(log) == 5
    log.close()
    assert recovered(home) == [b"y"] * 3


# --- groups ----------------------------------------------------------------------------------


def test_all_that_wait_while_one_syncs_share_the_next_sync(
    subject: str, home: Path, files: GatedFiles
) -> None:
    if subject == WRAPPED:
        pytest.skip("nothing can be appended while it syncs")
    log = open_committed(subject, home, "group", files=files)
    files.gate = gate = Gate()
    calls = Calls()
    calls.start(log.commit, b"first")
    gate.wait_for(1)
    for _ in range(6):
        calls.start(log.commit, b"later")
    until(lambda: log.stats().last_sequence == 7)
    assert durable(log) == 0
    gate.let(1)
    gate.wait_for(2)
    assert durable(log) == 1  # only what was written before that sync began
    gate.let(1)
    assert sorted(calls.results()) == [1, 2, 3, 4, 5, 6, 7]
    assert log.flush_stats().sizes == (1, 0, 1)
    gate.let(9)
    log.close()


def test_an_append_does_not_wait_for_a_running_sync(
    subject: str, home: Path, files: GatedFiles
) -> None:
    if subject == WRAPPED:
        pytest.skip("nothing can be appended while it syncs")
    for policy in ("never", "group", "9 records", "1MiB", "10s"):
        log = open_committed(subject, home / policy, policy, files=files, clock=ManualClock())
        files.gate = gate = Gate()
        calls = Calls()
        ticket = log.append(b"x")
        calls.start(log.wait, ticket)
        gate.wait_for(1)
        assert log.append(b"y") == 2  # on this thread, while that one syncs
        gate.let(9)
        calls.results()
        assert durable(log) == 1
        log.close()


def test_records_synced_alone_are_never_synced_together(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "record")
    calls = Calls()
    for _ in range(4):
        calls.start(lambda: [log.append(b"x") for _ in range(10)])
    numbers = [number for result in calls.results() for number in result]
    assert sorted(numbers) == list(range(1, 41))
    assert log.stats().syncs == 40
    assert log.flush_stats().sizes == (40,)
    log.close()


def test_a_leader_waits_for_as_many_as_the_last_group_had(
    subject: str, home: Path, files: GatedFiles
) -> None:
    if subject == WRAPPED:
        pytest.skip("nothing can be appended while it syncs")
    log = open_committed(subject, home, "group 60s", files=files)
    files.gate = gate = Gate()
    calls = Calls()
    calls.start(log.commit, b"alone")  # nobody was there before: it waits for nobody
    gate.wait_for(1)
    for _ in range(3):
        calls.start(log.commit, b"together")
    until(lambda: log.flush_stats().waiting == 3)
    assert log.flush_stats().groups == 0
    gate.let(1)
    gate.wait_for(2)
    gate.let(9)
    calls.results()
    assert log.flush_stats().groups == 2
    files.gate = lambda: None
    again = Calls()
    for _ in range(3):
        again.start(log.commit, b"again")
    again.results()
    assert log.flush_stats().sizes == (1, 2)
    log.close()


def test_a_full_batch_is_waited_for_no_longer(subject: str, home: Path, files: GatedFiles) -> None:
    if subject == WRAPPED:
        pytest.skip("nothing can be appended while it syncs")
    log = open_committed(subject, home, "group 5 60s", files=files)
    files.gate = gate = Gate()
    calls = Calls()
    calls.start(log.commit, b"alone")
    gate.wait_for(1)
    for _ in range(3):
        calls.start(log.commit, b"together")
    until(lambda: log.flush_stats().waiting == 3)
    gate.let(9)
    calls.results()
    waiting = Calls()
    waiting.start(log.commit, b"waits for two more")
    until(lambda: log.stats().last_sequence == 5)
    for _ in range(4):
        log.append(b"but there are enough")
    waiting.results()
    assert durable(log) == 9
    log.close()


def test_many_committers_lose_nothing(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "group", segment=64 << 10)  # it rotates meanwhile
    calls = Calls()
    for mark in range(8):
        calls.start(lambda mark=mark: [log.commit(b"%d" % mark * 200) for _ in range(100)])
    numbers = [number for result in calls.results() for number in result]
    assert sorted(numbers) == list(range(1, 801))
    stats = log.flush_stats()
    assert (stats.records, durable(log)) == (800, 800)
    log.close()
    _, records = read(load(OURS[0]), home, LogOptions(segment_size=64 << 10))
    assert len(records) == 800
    assert all(payload == payload[:1] * 200 for _, _, payload in records)


# --- what waits for a running sync -----------------------------------------------------------


@pytest.mark.parametrize("what", ["rotate", "reset", "truncate_front", "close"])
def test_whatever_changes_files_waits_for_a_running_sync(
    subject: str, home: Path, files: GatedFiles, what: str
) -> None:
    if subject == WRAPPED and what == "truncate_front":
        pytest.skip("the wrapped log cannot")
    log = open_committed(subject, home, "group", files=files, segment=16 << 10)
    log.append(b"x" * 8000)
    files.gate = gate = Gate()
    calls = Calls()
    calls.start(log.wait, 1)
    gate.wait_for(1)
    before = len(files.events)
    change = {
        "rotate": lambda: log.append(b"y" * 10_000),
        "reset": log.reset,
        "truncate_front": lambda: log.truncate_front(0),  # type: ignore[attr-defined]  # ours have it
        "close": log.close,
    }[what]
    calls.start(change)
    pause = threading.Event()
    pause.wait(0.005)  # a chance to do wrong
    assert files.events[before:] == []
    gate.let(99)
    calls.results()
    log.close()


def test_waiters_are_answered_by_the_close(subject: str, home: Path, files: GatedFiles) -> None:
    log = open_committed(subject, home, "group", files=files)
    files.gate = gate = Gate()
    calls = Calls()
    calls.start(log.commit, b"leads")
    gate.wait_for(1)
    if subject != WRAPPED:
        for _ in range(3):
            calls.start(log.commit, b"follows")
        until(lambda: log.stats().last_sequence == 4)
    calls.start(log.close)
    gate.let(99)
    answers = calls.results()
    assert answers[-1] is None
    assert not [one for one in answers if isinstance(one, Exception)]
    assert len(recovered(home)) == len(answers) - 1


def test_counters_asked_for_while_it_closes_are_those_of_a_closed_log(
    subject: str, home: Path, files: GatedFiles
) -> None:
    log = open_committed(subject, home, "never", files=files)
    log.append(b"x")
    files.gate = gate = Gate()
    calls = Calls()
    calls.start(log.close)
    gate.wait_for(1)
    asked = calls.start(log.stats)
    pause = threading.Event()
    pause.wait(0.005)  # a chance to look at files that are about to be closed
    assert asked.is_alive()
    gate.let(99)
    assert calls.results()[1].durable_sequence == 1


def test_after_close_everything_is_refused_but_what_is_durable(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "group")
    log.append(b"x")
    log.close()
    log.close()
    log.wait(1)
    for call in (lambda: log.append(b"y"), lambda: log.commit(b"y"), log.sync, log.reset,
                 lambda: log.append_many([b"y"]), lambda: log.append_remove("name")):  # fmt: skip
        with pytest.raises(LogClosed):
            call()
    log.tick()
    with pytest.raises(ValueError, match="given"):
        log.wait(2)


def test_a_record_that_is_too_large_spoils_nothing(subject: str, home: Path) -> None:
    log = open_committed(subject, home, "record", segment=16 << 10)
    with pytest.raises(RecordTooLarge):
        log.commit(b"x" * (16 << 10))
    assert log.commit(b"x") == 1
    log.close()
