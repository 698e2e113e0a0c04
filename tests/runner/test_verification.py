"""An engine that lies about its work fails its row, whatever its time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench_cli import registry
from bench_cli.runner.worker import Job, answer

MIB = 1 << 20


@pytest.mark.parametrize(
    ("workload", "liar", "params", "reason"),
    [
        ("cache.read_sequential", "ReadsTheStart", {"ring": MIB}, "read last"),
        ("cache.write_sequential", "WritesOnce", {"ring": MIB}, "written last"),
        ("cache.write_concurrent", "WritesOnce", {"ring": MIB}, "written last"),
        ("cache.read_concurrent", "ReadsTheStart", {"ring": MIB}, "read last"),
        (
            "cache.read_concurrent",
            "ReadsOneOfMany",
            {"ring": MIB, "call": "vectored"},
            "read last",
        ),
        ("cache.recover", "RecoversZeros", {"size": MIB, "segment": MIB}, "written last"),
        ("cache.file_copy", "StoresNothing", {"store": "memory"}, "in the store"),
        ("wal.sustained", "OnlyCounts", {"total": MIB}, "records found by recovery"),
        ("wal.append", "OnlyCounts", {"record": 64}, "records found by recovery"),
        ("wal.snapshot", "SnapshotsNothing", {}, "records left in the log"),
        ("wal.snapshot", "SnapshotsOnce", {}, "stock recovered"),
        (
            "rewards.recover",
            "SnapshotsNothing",
            {"wal": "wal.basic", "draws": 300, "snapshot": "full", "segment": MIB},
            "snapshots used",
        ),
    ],
)
def test_a_lie_fails_the_row(
    tmp_path: Path, workload: str, liar: str, params: dict[str, Any], reason: str
) -> None:
    declared = registry.workload_of(workload)
    full = {one.name: one.default for one in declared.parameters} | params
    found = answer(
        Job(
            cell_id="x", workload=workload, params=full, backend=f"tests.foreign.liars:{liar}",
            core="python", samples=1, min_sample_ns=1, batches=None, scratch=str(tmp_path),
            allow_code=True,
        )
    )  # fmt: skip
    assert not found["ok"]
    assert "verification" in found["reason"]
    assert reason in found["reason"]
