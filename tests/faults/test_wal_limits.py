"""What the system refuses a log, and signals that come while it writes: a typed error, nothing that
was acknowledged is lost, and the log opens again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench_cli.errors import LogPoisoned, LogWriteFailed
from bench_cli.filesystem import SystemFileSystem
from bench_cli.interfaces import LogBackend
from bench_cli.wal.segment import SegmentSet
from tests.contract.log_backends import FORMATS, STORED, label, load, read, small

WRITER = """
import importlib, os, resource, signal, sys
from pathlib import Path
from bench_cli.errors import LogPoisoned, LogWriteFailed
from bench_cli.interfaces import LogOptions

place, home, format, what = sys.argv[1:]
module, _, name = place.partition(":")
backend = getattr(importlib.import_module(module), name)()
log = backend.open(Path(home), LogOptions(format, 16 << 10))


def tell(number):
    os.write(1, b"%d\\n" % number)


def leave(number, frame):
    raise SystemExit(7)


if what == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 10, 8 << 10))
if what == "close":
    signal.signal(signal.SIGTERM, leave)
try:
    while True:
        tell(log.append(b"payload" * 9))
except LogWriteFailed as error:
    tell(-error.errno)
except SystemExit:
    log.close()
    os._exit(7)
try:
    log.append(b"more")
except LogPoisoned:
    log.close()
    os._exit(9)
"""


@pytest.fixture(params=STORED, ids=label)
def place(request: pytest.FixtureRequest) -> str:
    load(request.param)
    name: str = request.param
    return name


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def writer(place: str, home: Path, format: str, what: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, place, str(home), format, what]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def reopens(backend: LogBackend, home: Path, format: str, last: int) -> None:
    """Everything up to ``last`` is there, and the log goes on."""
    found, records = read(backend, home, small(format))
    assert not found.damages
    assert [sequence for sequence, _, _ in records[:last]] == list(range(1, last + 1))
    log = backend.open(home, small(format))
    assert log.append(b"goes on") == found.last_sequence + 1
    log.close()
    assert read(backend, home, small(format))[0].tail == "clean"


def test_a_file_size_limit_is_a_typed_error_and_loses_nothing(
    place: str, format: str, home: Path
) -> None:
    """Preallocating beyond it fails, and so does writing: EFBIG, and SIGXFSZ does not kill."""
    process = writer(place, home, format, "limit")
    told, _ = process.communicate(timeout=30)
    *numbers, number = [int(line) for line in told.split()]
    assert (process.returncode, number) == (9, -errno.EFBIG)
    assert numbers == list(range(1, len(numbers) + 1)) and numbers
    reopens(load(place), home, format, len(numbers))


@pytest.mark.parametrize("what", ["die", "close"])
def test_a_termination_while_it_writes_loses_nothing(
    place: str, format: str, home: Path, what: str
) -> None:
    """With a handler that raises, wherever the log is at, or without one."""
    process = writer(place, home, format, what)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(300)]
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    lines = [*told, *rest.split(b"\n")]
    numbers = [int(line) for line in lines if line]
    last = max(numbers)
    if what == "close":
        assert process.returncode == 7
    else:
        assert process.returncode == -signal.SIGTERM
    reopens(load(place), home, format, last)


@pytest.mark.parametrize("call", ["open", "preallocate"])
def test_a_disk_that_becomes_read_only_is_a_typed_error(
    place: str, format: str, home: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = load(place)
    files = SystemFileSystem()
    log = backend.open(home, small(format, file_system=files))
    log.append(b"first")

    def refuse(*arguments: object, **_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    appended = 1
    with monkeypatch.context() as disk:
        disk.setattr(files, call, refuse)
        with pytest.raises(LogWriteFailed) as failed:
            while appended < 1000:
                appended = log.append(b"payload" * 9)
        assert failed.value.errno == errno.EROFS
        with pytest.raises(LogPoisoned):
            log.append(b"more")
        with pytest.raises(LogPoisoned):
            log.sync()
        log.close()
    reopens(backend, home, format, appended)


@pytest.mark.parametrize("step", ["switch", "let_go"])
def test_a_signal_in_the_midst_of_a_rotation_poisons_the_log(
    place: str, format: str, home: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python runs signal handlers wherever it runs code of its own."""
    backend = load(place)
    log = backend.open(home, small(format))
    appended = 0
    real = getattr(SegmentSet, step)

    def interrupted(*arguments: object) -> object:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as signals:
        signals.setattr(SegmentSet, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            while appended < 1000:
                appended = log.append(b"payload" * 9)
    with pytest.raises(LogPoisoned):
        log.append(b"more")
    log.close()
    reopens(backend, home, format, appended)
