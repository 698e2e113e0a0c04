"""The body of a snapshot row, run as the runner does: several runs before one is verified."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_cli import registry
from bench_cli.errors import VerificationFailed
from bench_cli.interfaces import Engines, Setting
from bench_cli.workloads.rewards_snapshot import LONGEST_CHAIN, SnapshotBody


def body(kind: str, core: str, scratch: Path) -> SnapshotBody:
    declared = registry.workload_of("wal.snapshot").parameters
    params = {one.name: one.default for one in declared}
    params |= {"kind": kind, "items": 20, "segment": 1 << 16}
    engines = Engines(lambda name: registry.resolve(name, core))
    return SnapshotBody(Setting(params, "rewards.pool", core, 1, scratch, engines))


@pytest.mark.parametrize("core", registry.CORES)
@pytest.mark.parametrize("kind", ["full", "incremental"])
def test_a_run_is_verified_whatever_ran_before_it(kind: str, core: str, tmp_path: Path) -> None:
    row = body(kind, core, tmp_path)
    for run in range(2 * LONGEST_CHAIN + 3):
        row.prepare()
        row.run()
        if run % 7 in (0, 3, 4):
            row.verify()
    row.close()


def test_a_run_that_took_no_snapshot_is_void(tmp_path: Path) -> None:
    row = body("full", "python", tmp_path)
    row.prepare()
    row.run()
    taken = row.taken
    row.prepare()
    row.taken = taken
    with pytest.raises(VerificationFailed, match="records covered"):
        row.verify()
    row.close()
