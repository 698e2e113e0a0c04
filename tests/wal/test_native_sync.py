"""The compiled log makes its own system calls when no file system is injected, so a recording one
does not see them: here the kernel is asked."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_cli.errors import LogPoisoned, LogWriteFailed
from bench_cli.filesystem import SlowFileSystem
from bench_cli.flushing import parse_flush
from bench_cli.interfaces import LogOptions
from tests.contract.log_backends import load

OPTIONS = LogOptions(segment_size=1 << 20)
WRITER = """
import os, sys
from pathlib import Path
from bench_cli.interfaces import LogOptions
from bench_cli.wal import native
log = getattr(native, sys.argv[1])().open(Path(sys.argv[2]), LogOptions(segment_size=1 << 20))
log.append(b"x" * 10_000)
os.path.exists("/before the sync")
log.sync()
os.path.exists("/after the sync")
"""


def descriptor_of(path: Path) -> int:
    """The number under which this process has ``path`` open."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == str(path.resolve()):
                return int(name)
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
    raise AssertionError(f"{path} is not open")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")
def test_a_sync_of_the_compiled_log_asks_the_kernel_and_believes_its_answer(tmp_path: Path) -> None:
    backend: Any = load("bench_cli.wal.native:BasicBackend")
    log = backend.open(tmp_path / "log", OPTIONS)
    log.append(b"record")
    log.sync()
    log.append(b"record")
    reader, writer = os.pipe()
    os.dup2(writer, descriptor_of(tmp_path / "log" / "00000001.wal"))  # a pipe cannot be synced
    with pytest.raises(LogWriteFailed) as failed:
        log.sync()
    assert failed.value.errno == errno.EINVAL
    assert log.stats().durable_sequence == 1
    with pytest.raises(LogPoisoned):
        log.sync()
    log.close()
    os.close(reader)
    os.close(writer)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("backend", "call"), [("BasicBackend", "fdatasync("), ("MmapBackend", "msync(")]
)
def test_a_sync_of_the_compiled_log_is_one_system_call(
    tmp_path: Path, backend: str, call: str
) -> None:
    load(f"bench_cli.wal.native:{backend}")
    trace = tmp_path / "trace"
    watched = ["strace", "-f", "-o", str(trace), "-e", "trace=/stat,msync,fdatasync,fsync"]
    writer = [sys.executable, "-c", WRITER, backend, str(tmp_path / "log")]
    done = subprocess.run([*watched, *writer], check=False)
    if done.returncode or "before the sync" not in trace.read_text():
        pytest.skip("this process may not trace another")
    between = trace.read_text().split("before the sync")[1].split("after the sync")[0]
    (sync,) = [line for line in between.splitlines() if "sync(" in line]
    assert call in sync
    assert sync.endswith("= 0")
    assert call == "fdatasync(" or "MS_SYNC" in sync


@pytest.mark.parametrize("module", ["log", "native"])
@pytest.mark.parametrize("name", ["BasicBackend", "MmapBackend"])
def test_a_slower_device_takes_its_time_for_every_sync(
    module: str, name: str, tmp_path: Path
) -> None:
    backend: Any = load(f"bench_cli.wal.{module}:{name}")
    delay_ns = 3_000_000
    slow = replace(OPTIONS, file_system=SlowFileSystem(delay_ns), flush=parse_flush("group"))
    log = backend.open(tmp_path / "log", slow)
    for number in (1, 2):
        began = time.monotonic_ns()
        assert log.commit(b"record") == number
        assert time.monotonic_ns() - began >= delay_ns
    log.close()
    assert backend.recover(tmp_path / "log", OPTIONS).records == 2


@pytest.mark.parametrize("name", ["BasicBackend", "MmapBackend"])
def test_the_interpreter_goes_on_while_a_slower_device_syncs(name: str, tmp_path: Path) -> None:
    """A wait that kept the interpreter lock would leave no turn to any other thread."""
    backend: Any = load(f"bench_cli.wal.native:{name}")
    slow = replace(OPTIONS, file_system=SlowFileSystem(200_000_000))
    log = backend.open(tmp_path / "log", slow)
    log.append(b"record")
    syncing = threading.Thread(target=log.sync)
    syncing.start()
    turns = 0
    while syncing.is_alive():
        time.sleep(0)
        turns += 1
    syncing.join()
    log.close()
    assert turns > 10
