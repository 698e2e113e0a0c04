"""A real file system that stops under a writer; only where root and loop devices are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bench_cli.faults import kernel
from bench_cli.faults.kills import Killing
from tests.cli.conftest import Bench, bench, project

__all__ = ["bench", "project"]  # fixtures

MISSING = kernel.why_not()
needs_kernel = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


def crashed(backend: str, count: int, scratch: Path) -> list[str]:
    """What failed. Where this system lets nothing be mounted after all, the test is skipped."""
    killing = Killing(backend, None, "binary", count, 42, str(scratch), allow_code=True)
    ended = subprocess.run(kernel.command(killing), capture_output=True, text=True, check=False)
    if ended.returncode and "'mount'" in ended.stderr:
        pytest.skip("no ext4 can be mounted here")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["kills"] == count or found["failures"]
    return list(found["failures"])


@needs_kernel
def test_what_was_synced_survives_the_end_of_its_file_system(tmp_path: Path) -> None:
    assert crashed("bench_cli.wal.log:BasicBackend", 6, tmp_path) == []


@needs_kernel
def test_a_sync_that_syncs_nothing_is_caught(tmp_path: Path) -> None:
    assert crashed("tests.verify.liars:Unsynced", 40, tmp_path) != []


@needs_kernel
def test_nothing_of_it_is_mounted_elsewhere(tmp_path: Path) -> None:
    crashed("bench_cli.wal.log:BasicBackend", 1, tmp_path)
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_who_is_not_root_is_told(
    bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    ended = bench("verify", "--backend", "wal.none", "--core", "python", "--real-kernel", "--quiet")
    assert ended.code == 0
    assert "no real kernel is crashed: it needs root" in ended.err
