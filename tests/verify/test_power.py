"""A real ext4 whose disk loses its power; only where root, FUSE and loop devices are."""

from __future__ import annotations

import base64
import errno
import gzip
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench_cli.faults import power
from bench_cli.faults.disk import ACKNOWLEDGED, FLUSHED, WROTE, events_of
from bench_cli.faults.kills import Killing
from tests.cli.conftest import Bench, bench, project

__all__ = ["bench", "project"]  # fixtures

MISSING = power.why_not()
needs_power = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
SOUND = "bench_cli.wal.log:BasicBackend"


def asked(backend: str, count: int, scratch: Path) -> Killing:
    return Killing(backend, None, "binary", count, 42, str(scratch), allow_code=True)


def found(command: list[str]) -> dict[str, Any]:
    """Where this system lets nothing be mounted after all, the test is skipped."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode and "PermissionError" in ended.stderr:
        pytest.skip("no disk of ours can be mounted here")
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def changed(killing: Killing, change: str) -> list[str]:
    """The same, after a statement that changes ``power``."""
    program = f"import sys\nfrom bench_cli.faults import power\n{change}\npower.main(sys.argv[1])\n"
    *alone, _, _, text = power.command(killing)
    return [*alone, "-c", program, text]


NO_FLUSHES = "power.Machine.options = 'barrier=0'"
"""An ext4 that asks its disk for no flush: what is synced is written, and no more."""
ONLY_GROUPS = "power.FLUSHES = power.FLUSHES[-1:]"


@needs_power
def test_what_was_synced_survives_the_loss_of_power(tmp_path: Path) -> None:
    result = found(power.command(asked(SOUND, 45, tmp_path)))
    assert result["failures"] == []
    assert result["losses"] == 45
    assert result["flushes"] > 20


@needs_power
def test_a_sync_that_flushes_nothing_is_caught_and_its_disk_is_kept(tmp_path: Path) -> None:
    result = found(power.command(asked("tests.verify.liars:Unsynced", 60, tmp_path)))
    (lost,) = [power.Lost(**one) for one in result["failures"]]
    failure = lost.keep(tmp_path / "disk.gz", black_box=True)
    assert "was written" in failure.reason
    assert "seed 42, life" in failure.where
    assert str(tmp_path / "disk.gz") in failure.where
    assert len(gzip.decompress((tmp_path / "disk.gz").read_bytes())) == power.SIZE


@needs_power
def test_pages_that_reached_the_disk_without_a_flush_are_lost(tmp_path: Path) -> None:
    assert found(changed(asked(SOUND, 80, tmp_path), NO_FLUSHES))["failures"] != []


@needs_power
def test_what_several_threads_commit_survives_the_loss_of_power(tmp_path: Path) -> None:
    result = found(changed(asked(SOUND, 30, tmp_path), ONLY_GROUPS))
    assert result["failures"] == []
    assert result["losses"] == 30


@needs_power
def test_a_group_that_answers_those_who_came_during_its_sync_is_caught(tmp_path: Path) -> None:
    killing = asked("tests.verify.liars:Hasty", 400, tmp_path)
    (lost,) = found(changed(killing, ONLY_GROUPS))["failures"]
    assert "under group" in lost["where"]


@needs_power
def test_a_log_that_cannot_be_gone_on_with_is_a_failure(tmp_path: Path) -> None:
    result = found(power.command(asked("tests.verify.liars:Unopening", 300, tmp_path)))
    (lost,) = result["failures"]
    assert "the writer ended by itself: FileExistsError" in lost["reason"]
    assert 0 < result["losses"] < 300


@needs_power
def test_nothing_is_mounted_elsewhere_nor_left(tmp_path: Path) -> None:
    found(power.command(asked(SOUND, 2, tmp_path)))
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    attached = Path("/sys/block").glob("loop*/loop/backing_file")
    assert not [one for one in attached if str(tmp_path) in one.read_text()]


@needs_power
def test_it_ends_when_nobody_waits_for_its_result(tmp_path: Path) -> None:
    with subprocess.Popen(
        power.command(asked(SOUND, 1_000_000, tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        told = running.stderr.read()
    assert "nobody waits for the result" in told or "PermissionError" in told
    assert running.returncode


def test_an_acknowledgement_is_noted_before_what_is_asked_for_next() -> None:
    hearing, telling = os.pipe()
    file = io.BytesIO()
    notes = power.Notes(file, hearing)
    os.write(telling, (3).to_bytes(8, "little") + (2).to_bytes(8, "little") + b"\x04")
    notes.wrote(512, bytes(512))
    os.write(telling, bytes(7) + (4).to_bytes(8, "little"))
    notes.flushed()
    os.close(telling)
    notes.listen()
    os.close(hearing)
    events = list(events_of(file.getvalue()))
    assert [event.kind for event in events] == [ACKNOWLEDGED, WROTE, ACKNOWLEDGED, FLUSHED]
    assert [events[0].numbers, events[2].numbers] == [(3, 2), (4, 4)]


def test_files_that_a_damaged_file_system_does_not_give_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(path: Path) -> bytes:
        raise OSError(errno.EBADMSG, "Bad message", str(path))

    (tmp_path / "00000001.wal").write_bytes(b"log")
    assert power._files(tmp_path) == {"00000001.wal": base64.b64encode(b"log").decode()}
    assert power._files(tmp_path / "nothing") == {}
    monkeypatch.setattr(Path, "read_bytes", damaged)
    assert power._files(tmp_path) == {}


def test_the_files_of_a_log_that_was_lost_are_kept_as_an_image(tmp_path: Path) -> None:
    text = base64.b64encode(b"log").decode()
    disk = tmp_path / "disk.gz"
    whole = power.Lost("why", "where", text, {"00000001.wal": text})
    nothing = power.Lost("why", "where", text, {})
    failure = whole.keep(disk, black_box=False)
    assert (failure.layer, failure.image) == ("B", {"00000001.wal": b"log"})
    assert whole.keep(disk, black_box=True).image is None
    assert nothing.keep(disk, black_box=False).image is None


def test_a_machine_without_fuse_is_told(
    bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench_cli.faults.kernel.why_not", lambda: None)
    monkeypatch.setattr("bench_cli.faults.fuse.why_not", lambda: "it needs /dev/fuse")
    ended = bench("verify", "--backend", "wal.none", "--core", "python", "--real-kernel", "--quiet")
    assert ended.code == 0
    assert "no disk loses its power: it needs /dev/fuse" in ended.err
