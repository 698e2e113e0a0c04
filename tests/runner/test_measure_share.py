"""Batches of cells whose samples are shorter than usual."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_cli import registry
from bench_cli.cells import USUAL_SAMPLE_NS
from bench_cli.interfaces import Engines, Setting
from bench_cli.runner.measure import Sampling, measure


@pytest.mark.parametrize(("share", "expected"), [(1.0, 4096), (0.5, 2048), (0.1, 500), (0.0, 500)])
def test_a_batch_has_its_share_of_operations_but_not_fewer_than_the_least(
    tmp_path: Path, share: float, expected: int
) -> None:
    setting = Setting({}, None, None, 1, tmp_path, Engines(lambda name: None), share)
    assert setting.batch(4096, at_least=500) == expected
    assert setting.batch(100, at_least=500) == 100


@pytest.mark.parametrize(
    ("min_sample_ns", "ops"), [(USUAL_SAMPLE_NS, 1024), (USUAL_SAMPLE_NS // 50, 500)]
)
def test_a_short_sample_is_made_of_short_batches_that_are_verified_like_others(
    tmp_path: Path, min_sample_ns: int, ops: int
) -> None:
    workload = registry.workload_of("wal.append")
    params = {parameter.name: parameter.default for parameter in workload.parameters}
    found = measure(
        workload,
        params | {"record": 4096, "segment": 4 << 20},
        backend="wal.mmap",
        core="python",
        scratch=tmp_path,
        resolve=lambda name: registry.resolve(name, "python"),
        sampling=Sampling(1, min_sample_ns, 1, counting=False),
    )
    assert found.ops == ops
