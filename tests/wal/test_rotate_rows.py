"""The bodies of rotation rows: the timed append rotates, or does not, whatever ran before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_cli import registry
from bench_cli.errors import VerificationFailed
from bench_cli.interfaces import Engines, Setting
from bench_cli.workloads import wal_rotate
from bench_cli.workloads.wal_rotate import RotateBody

MS = 1_000_000


def body(backend: str, core: str, by: str, scratch: Path, pause: int = MS) -> RotateBody:
    declared = registry.workload_of("wal.rotate").parameters
    params = {one.name: one.default for one in declared}
    params |= {"by": by, "segment": 64 << 10, "pause": pause}
    engines = Engines(lambda name: registry.resolve(name, core))
    return RotateBody(Setting(params, backend, core, 1, scratch, engines))


@pytest.mark.parametrize("core", registry.CORES)
@pytest.mark.parametrize("backend", ["wal.basic", "wal.mmap"])
@pytest.mark.parametrize("by", ["size", "time", "none"])
def test_an_append_rotates_or_not_whatever_ran_before_it(
    by: str, backend: str, core: str, tmp_path: Path
) -> None:
    row = body(backend, core, by, tmp_path)
    for run in range(40):
        row.prepare()
        row.run()
        if run % 3:
            row.verify()
    assert (row.log.stats().rotations >= 40) == (by != "none")
    row.close()


def test_an_append_that_did_not_rotate_has_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal_rotate.time, "sleep", lambda seconds: None)
    row = body("wal.basic", "python", "time", tmp_path, pause=3600 * 1000 * MS)
    row.prepare()
    row.run()
    with pytest.raises(VerificationFailed, match="rotations"):
        row.verify()
    row.close()


def test_an_append_that_was_not_to_rotate_and_did_has_no_row(tmp_path: Path) -> None:
    row = body("wal.basic", "python", "none", tmp_path)
    row.prepare()
    while row.log.stats().rotations == row.rotations:
        row.run()
    with pytest.raises(VerificationFailed, match="rotations"):
        row.verify()
    row.close()
