"""The shipped scenario files: valid, commented, within the time they promise."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from bench_cli.catalogue import Catalogue
from bench_cli.flushing import parse_flush
from bench_cli.scenario import Scenario, limit_cells, load

from .conftest import shipped_catalogue

FOLDER = Path(__file__).parents[2] / "scenarios"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module")
def real() -> Catalogue:
    return shipped_catalogue()


def shipped(names: list[str], catalogue: Catalogue) -> list[Scenario]:
    return load([FOLDER / f"{name}.yaml" for name in names], catalogue)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_file_is_valid_and_says_what_it_answers(path: Path, real: Catalogue) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
    cells = [cell for scenario in load([path], real) for cell in scenario.cells]
    assert all(cell.skip is None for cell in cells)
    for limit in limit_cells(cells, real).values():
        assert real.workloads[limit.workload].engine is None


def test_the_default_run_stays_within_its_time(real: Catalogue) -> None:
    cells = [c for s in shipped(["wal", "rewards", "limits"], real) for c in s.cells]
    assert len(cells) <= 75
    assert all(cell.plan.processes <= 3 for cell in cells)


def test_the_published_rows_of_the_pool_come_first(real: Catalogue) -> None:
    first = shipped(["rewards"], real)[0].cells[:3]
    assert [cell.params["wal"] for cell in first] == ["wal.none", "wal.mmap", "wal.basic"]


def test_smoke_runs_every_workload_once_or_more(real: Catalogue) -> None:
    cells = [c for s in shipped(["smoke"], real) for c in s.cells]
    ours = {name for name in real.workloads if not name.startswith("cache.")}
    assert ours <= {cell.workload for cell in cells}
    assert all(cell.plan.processes * cell.plan.samples == 1 for cell in cells)


def test_published_record_sizes_and_recoveries_are_all_there(real: Catalogue) -> None:
    cells = [c for s in shipped(["wal"], real) for c in s.cells]
    sizes = {c.params["record"] for c in cells if c.workload == "wal.append"}
    assert sizes == {512, 32 << 10, 1 << 20}
    recoveries = [
        (c.params["entries"], c.params["removes"]) for c in cells if c.workload == "wal.recover"
    ]
    assert recoveries == [(100, "none"), (1000, "none"), (500, "half")]


def test_the_whole_matrices_of_logs_hold_every_format(real: Catalogue) -> None:
    for name in ("wal-full", "durability-full"):
        cells = [c for s in shipped([name], real) for c in s.cells if c.workload == "wal.append"]
        assert {c.params["format"] for c in cells} == {"binary", "text", "jsonl"}


def test_the_whole_matrix_of_durability_holds_every_policy_crowd_and_recovery(
    real: Catalogue,
) -> None:
    cells = [c for s in shipped(["durability-full"], real) for c in s.cells]
    flushed = {parse_flush(str(c.params["flush"])).kind for c in cells if "flush" in c.params}
    assert flushed == {"never", "async", "records", "bytes", "time", "record", "group"}
    commits = {
        (c.params["committers"], c.plan.rate_per_s > 0)
        for c in cells
        if c.workload == "wal.commit" and (c.plan.latency or c.plan.rate_per_s)
    }
    assert commits == set(product([1, 4, 16, 64], [False, True]))
    recoveries = {
        (c.params["snapshot"], c.params["workers"])
        for c in cells
        if c.workload == "rewards.recover"
    }
    assert recoveries == set(product(["none", "full", "incremental"], [1, 2, 4]))
