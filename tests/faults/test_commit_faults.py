"""The ways in which group commit lies, by name. Each check passes over every twin, and catches the
fault when it is put back into the Python one."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_cli.errors import LogPoisoned, LogWriteFailed
from bench_cli.flushing import parse_flush
from bench_cli.interfaces import CommittedLog, LogOptions
from bench_cli.wal.flush import FlushedLog
from bench_cli.wal.log import BasicBackend
from tests.contract.committed_logs import (
    OURS,
    Calls,
    Gate,
    GatedFiles,
    open_committed,
    until,
)
from tests.contract.log_backends import label

Open = Callable[[Path, GatedFiles], CommittedLog]


def faulty(kind: type[FlushedLog]) -> Open:
    def open_it(home: Path, files: GatedFiles) -> CommittedLog:
        log = BasicBackend().open(home, LogOptions(segment_size=1 << 20, file_system=files))
        return kind(log, parse_flush("group"))

    return open_it


def sound(subject: str) -> Open:
    return lambda home, files: open_committed(subject, home, "group", files=files)


# --- acknowledge before sync -----------------------------------------------------------------


def check_nothing_is_acknowledged_before_its_sync(open_it: Open, home: Path) -> None:
    files = GatedFiles()
    log = open_it(home, files)
    files.gate = gate = Gate()
    calls = Calls()
    thread = calls.start(log.commit, b"record")
    until(lambda: gate.arrived == 1 or not thread.is_alive())
    early = not thread.is_alive() or log.stats().durable_sequence > 0
    gate.let(9)
    calls.results()
    log.close()
    assert not early, "acknowledged before its sync"


class AcknowledgesBeforeTheSync(FlushedLog):
    def wait(self, ticket: int) -> None:
        """Never asks the device."""

    def commit(self, payload: Any, kind: int = 1) -> int:
        return self.append(payload, kind)


@pytest.mark.parametrize("subject", OURS, ids=label)
def test_nothing_is_acknowledged_before_its_sync(subject: str, home: Path) -> None:
    check_nothing_is_acknowledged_before_its_sync(sound(subject), home)


def test_an_acknowledgement_before_the_sync_is_caught(home: Path) -> None:
    with pytest.raises(AssertionError, match="acknowledged before its sync"):
        check_nothing_is_acknowledged_before_its_sync(faulty(AcknowledgesBeforeTheSync), home)


# --- a waiter is acknowledged by a sync that began before its write --------------------------


def check_a_sync_covers_only_what_was_written_before_it(open_it: Open, home: Path) -> None:
    files = GatedFiles()
    log = open_it(home, files)
    files.gate = gate = Gate()
    calls = Calls()
    calls.start(log.commit, b"before")
    gate.wait_for(1)
    late = calls.start(log.commit, b"during")
    until(lambda: log.stats().last_sequence == 2)
    gate.let(1)
    until(lambda: gate.arrived == 2 or not late.is_alive())
    early = gate.arrived < 2
    gate.let(9)
    calls.results()
    log.close()
    assert not early, "acknowledged by a sync that began before its write"


class CoversWhatCameDuringTheSync(FlushedLog):
    def _made_durable(self, sequence: int) -> None:
        super()._made_durable(self._last)


@pytest.mark.parametrize("subject", OURS, ids=label)
def test_a_sync_covers_only_what_was_written_before_it(subject: str, home: Path) -> None:
    check_a_sync_covers_only_what_was_written_before_it(sound(subject), home)


def test_a_waiter_acknowledged_by_a_sync_that_began_before_its_write_is_caught(home: Path) -> None:
    with pytest.raises(AssertionError, match="began before its write"):
        check_a_sync_covers_only_what_was_written_before_it(
            faulty(CoversWhatCameDuringTheSync), home
        )


# --- the watermark moves on a failed sync ----------------------------------------------------


def check_a_failed_sync_moves_no_watermark(open_it: Open, home: Path) -> None:
    files = GatedFiles()
    log = open_it(home, files)
    log.commit(b"safe")
    gate = Gate(errno.EIO)
    gate.let(9)
    files.gate = gate
    calls = Calls()
    calls.start(log.commit, b"lost")
    (answer,) = calls.results()
    files.gate = lambda: None
    for _ in range(2):  # a sync after a failed one succeeds, and the data is gone all the same
        calls.start(log.wait, 2)
    answers = [answer, *calls.results()[1:]]
    log.close()
    assert isinstance(answer, LogWriteFailed), "the watermark moved on a failed sync"
    assert all(isinstance(one, LogWriteFailed | LogPoisoned) for one in answers), (
        "the watermark moved after a failed sync"
    )


class MovesTheWatermarkAllTheSame(FlushedLog):
    def _fail(self, error: LogWriteFailed | LogPoisoned) -> None:
        self._made_durable(self._last)
        super()._fail(error)


class TriesAgain(FlushedLog):
    """As if nothing had been: the next sync succeeds."""

    def _sync_log(self) -> None:
        log: Any = self._log
        try:
            super()._sync_log()
        except LogWriteFailed:
            log._failed = 0
            raise

    def _check_usable(self) -> None:
        self._failure = None


@pytest.mark.parametrize("subject", OURS, ids=label)
def test_a_failed_sync_moves_no_watermark(subject: str, home: Path) -> None:
    check_a_failed_sync_moves_no_watermark(sound(subject), home)


@pytest.mark.parametrize("fault", [MovesTheWatermarkAllTheSame, TriesAgain])
def test_a_watermark_that_moves_on_or_after_a_failed_sync_is_caught(
    fault: type[FlushedLog], home: Path
) -> None:
    with pytest.raises(AssertionError, match="the watermark moved"):
        check_a_failed_sync_moves_no_watermark(faulty(fault), home)
