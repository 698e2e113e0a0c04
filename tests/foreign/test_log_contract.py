"""The log contract's own tests, collected here over logs they have never seen: one with the least
the Protocol asks, and one with file records."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench_cli.errors import LogCorrupt, LogPoisoned, LogWriteFailed
from bench_cli.interfaces import LogBackend, LogOptions, WriteAheadLog
from tests.contract.conftest import log_options  # noqa: F401  # a fixture
from tests.contract.test_log import *  # noqa: F403  # its tests
from tests.contract.test_log_files import *  # noqa: F403  # and those of file records
from tests.foreign.backends import SlowFileLogBackend, SlowLogBackend

TORN = b"[[1,"


@pytest.fixture(params=[SlowLogBackend, SlowFileLogBackend], ids=["slow", "slow-files"])
def backend(request: pytest.FixtureRequest) -> LogBackend:
    found: LogBackend = request.param()
    return found


@pytest.fixture
def three_records(backend: LogBackend, options: LogOptions, home: Path) -> list[Path]:
    """The files of a closed log."""
    log = backend.open(home, options)
    for _ in range(3):
        log.append(b"x")
    log.close()
    return sorted(home.glob("*.json"))


def test_a_log_whose_directory_is_gone_is_poisoned(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    log: WriteAheadLog = backend.open(home, options)
    log.append(b"x")
    shutil.rmtree(home)
    with pytest.raises(LogWriteFailed):
        log.append(b"y")
    with pytest.raises(LogPoisoned):
        log.sync()
    log.close()


def test_a_record_that_cannot_be_read_is_damage_and_refuses_the_log(
    backend: LogBackend, options: LogOptions, home: Path, three_records: list[Path]
) -> None:
    three_records[1].write_bytes(TORN)
    found = backend.recover(home, options)
    assert (found.tail, [damage.path for damage in found.damages]) == (
        "corrupt",
        [three_records[1].name],
    )
    for _ in range(2):  # a refused log is not left locked
        with pytest.raises(LogCorrupt):
            backend.open(home, options)


def test_a_torn_last_record_is_cut_when_the_log_is_opened(
    backend: LogBackend, options: LogOptions, home: Path, three_records: list[Path]
) -> None:
    three_records[2].write_bytes(TORN)
    found = backend.recover(home, options)
    assert (found.tail, found.records, found.dropped_bytes) == ("torn", 2, len(TORN))
    log = backend.open(home, options)
    assert not three_records[2].exists()
    assert log.append(b"again") == 3
    log.close()


def test_numbers_go_on_after_a_reset_and_a_reopening(
    backend: LogBackend, options: LogOptions, home: Path, three_records: list[Path]
) -> None:
    log = backend.open(home, options)
    log.reset()
    log.reset()
    log.close()
    found = backend.recover(home, options)
    assert (found.records, found.last_sequence, found.tail) == (0, 3, "clean")
    log = backend.open(home, options)
    assert log.append(b"next") == 4
    log.close()


def test_a_format_it_does_not_know_is_refused(backend: LogBackend, home: Path) -> None:
    with pytest.raises(ValueError, match="text"):
        backend.open(home, LogOptions(format="text"))
    assert not home.exists()
