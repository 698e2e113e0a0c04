"""Operations on a virtual clock: measured like any other, and settled by their seed."""

from __future__ import annotations

from pathlib import Path
from statistics import median, stdev
from typing import Any

import pytest

from bench_cli import registry
from bench_cli.peers.synthetic import Backend, Noise
from bench_cli.runner.measure import Sampling, measure

WORKLOAD = "synthetic.op"
SAMPLING = Sampling(samples=3, min_sample_ns=50_000_000)


def measured(place: Path, number: int = 0, backend: str = "synthetic.clock", **params: int) -> Any:
    workload = registry.workload_of(WORKLOAD)
    given = {p.name: p.default for p in workload.parameters} | params
    return measure(
        workload, given, backend=backend, core="python", scratch=place / f"{number:05d}" / "cell",
        resolve=lambda name: registry.resolve(name, "python"), sampling=SAMPLING,
    )  # fmt: skip


def ns_per_op(found: Any) -> float:
    return float(median(found.time_ns)) / int(found.ops)


def test_an_operation_takes_what_its_parameters_say(tmp_path: Path) -> None:
    found = measured(tmp_path, cost=2_000, bytes=16)
    assert ns_per_op(found) == pytest.approx(2_000)
    assert found.exact["wal_bytes_per_op"] == 16
    assert found.warnings == []


def test_the_slower_backend_takes_a_tenth_more(tmp_path: Path) -> None:
    assert ns_per_op(measured(tmp_path, backend="synthetic.slower")) == pytest.approx(1_100)


def test_processes_differ_by_their_number_and_repeat_by_it(tmp_path: Path) -> None:
    first = ns_per_op(measured(tmp_path / "a", 1, between=50))
    assert first == ns_per_op(measured(tmp_path / "b", 1, between=50))
    assert first != ns_per_op(measured(tmp_path / "c", 2, between=50))
    assert first != ns_per_op(measured(tmp_path / "d", 1, between=50, seed=2))


def costs(**noise: int) -> list[float]:
    """What an operation costs in each of 400 processes."""
    found = []
    for number in range(400):
        machine = Backend().open(1_000, noise, number=number, seed=3)
        machine.work(1_000)
        found.append(machine.now() / 1_000_000)
    return found


def test_noise_is_as_large_as_it_says() -> None:
    assert stdev(costs(between=50)) == pytest.approx(0.05, rel=0.15)
    assert stdev(costs(within=50)) == pytest.approx(0.05, rel=0.15)
    assert sum(costs(skew=50)) / 400 == pytest.approx(1.05, abs=0.01)
    assert costs(drift=100)[300] == pytest.approx(1.3)
    stepped = costs(step=100, step_at=200)
    assert (stepped[199], stepped[200]) == pytest.approx((1.0, 1.1))
    for which in ("spiked_samples", "spiked_processes"):
        assert sum(cost > 1.5 for cost in costs(**{which: 100})) == pytest.approx(40, abs=20)


def test_without_noise_nothing_varies() -> None:
    assert set(costs()) == {1.0}
    assert Noise() == Noise(**dict.fromkeys(("within", "between"), 0))
