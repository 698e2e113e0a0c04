"""``bench noise``: the floor per cell, kept per machine, and what it makes of a gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench_cli import floors
from bench_cli.errors import ExitCode
from bench_cli.stats.noise import floor
from bench_cli.stats.verdict import Trial, judge
from tests.cli.conftest import Bench
from tests.runner.virtual import answer, both_sides

SCENARIOS = """\
scenarios:
  - name: quiet
    workload: synthetic.op
    params: {backend: synthetic.clock, within: 5, between: 5, bytes: 16}
  - name: loud
    workload: synthetic.op
    params: {backend: synthetic.clock, between: 80, bytes: 16}
"""
QUIET = "synthetic.op[backend=synthetic.clock,between=5,bytes=16,core=python,within=5]"
LOUD = "synthetic.op[backend=synthetic.clock,between=80,bytes=16,core=python]"
SLOWER = ("ab", "--base", "set:cost=1us", "--head", "set:cost=1200ns", "loud")


@pytest.fixture(autouse=True)
def _virtual(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "scenarios" / "wal.yaml").write_text(SCENARIOS)
    both_sides(monkeypatch, answer)


def kept(project: Path) -> Path:
    (path,) = (project / "results" / "noise").glob("*.json")
    return path


def test_the_noise_of_each_cell_is_shown_and_kept(bench: Bench, project: Path) -> None:
    found = bench("noise", "scenarios/wal.yaml")
    assert found.code == 0, found.err
    known = floors.read(kept(project))
    assert known[QUIET].share < 0.01 < 0.03 < known[LOUD].share
    assert known[LOUD].pairs == 12
    assert found.out.index("advisory") < found.out.index("can gate")


def test_measuring_again_replaces_and_keeps_the_others(bench: Bench, project: Path) -> None:
    bench("noise", "scenarios/wal.yaml")
    bench("noise", "quiet", "--rigorous")
    known = floors.read(kept(project))
    assert (known[QUIET].pairs, known[LOUD].pairs) == (24, 12)


def test_a_cell_whose_noise_is_above_its_limit_cannot_fail(bench: Bench, project: Path) -> None:
    slower = (*SLOWER, "-P", "seed=3")
    assert bench(*slower).code == ExitCode.REGRESSION
    path = floors.path_of(_environment(project), project / "results")
    floors.add(path, _environment(project), dict.fromkeys(_cells(project), _loud()))
    found = bench(*slower)
    assert found.code == ExitCode.OK
    assert "advisory" in found.out
    assert "(regressed)" in found.out
    assert bench(*slower, "--limit", "15%").code == ExitCode.REGRESSION


def _loud() -> floors.Floor:
    return floors.Floor(0.1, 12, "2026-01-02T03:04:05+00:00")


def _latest(project: Path) -> Any:
    from bench_cli import results

    return results.read(results.resolve("latest", project / "results"))


def _environment(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = _latest(project).environment
    return found


def _cells(project: Path) -> list[str]:
    return [name for cell in _latest(project).ab.cells for name in (cell.base, cell.head)]


def test_an_exact_metric_fails_however_loud_the_cell_is(bench: Bench, project: Path) -> None:
    bench("noise", "loud")
    found = bench("ab", "--base", "set:bytes=16", "--head", "set:bytes=17", "loud")
    assert found.code == ExitCode.REGRESSION


def test_another_machine_has_floors_of_its_own(tmp_path: Path) -> None:
    one, other = {"cpu_model": "a", "cpus": 2}, {"cpu_model": "b", "cpus": 2}
    assert floors.path_of(one, tmp_path) != floors.path_of(other, tmp_path)
    assert floors.path_of(one, tmp_path) == floors.path_of({**one, "load_1min": 3}, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"floors": 1}', "[" * 200_000, '{"machine": NaN}'])
def test_a_damaged_file_is_one_error(bench: Bench, project: Path, text: str) -> None:
    bench("noise", "quiet")
    kept(project).write_text(text)
    found = bench("ab", "--base", "here", "quiet")
    assert found.code == ExitCode.USAGE
    assert found.err.startswith("error: ")  # before anything ran
    assert str(kept(project)) in found.err


def test_too_few_pairs_have_no_floor() -> None:
    assert floor(judge([Trial(0.03, [0.01, 0.02])])[0]) is None
