"""A run with an injected runner: order, failures, interruption, budget, journal, rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_cli.cells import Cell, PlanSettings
from bench_cli.errors import OutputError
from bench_cli.interfaces import Durability
from bench_cli.results import RunResult
from bench_cli.run_store import Entry, Header, RunStore, read_journal
from bench_cli.runner.durability import weaker
from bench_cli.runner.plan import Plan, make_plan
from bench_cli.runner.run import RunSettings, execute
from bench_cli.runner.worker import Job

LIMIT = "limits.call"


class Watcher:
    def __init__(self) -> None:
        self.done: list[tuple[str, bool, str | None]] = []
        self.ended = False

    def started(self, cells: int, processes: int, estimate_s: float) -> None:
        self.processes = processes

    def process_done(self, cell_id: str, ok: bool, reason: str | None) -> None:
        self.done.append((cell_id, ok, reason))

    def finished(self) -> None:
        self.ended = True


def cell(name: str, *, processes: int = 3, skip: str | None = None) -> Cell:
    params = {"record": 512, "state": "steady", "format": "binary", "segment": 1 << 20, "batch": 1}
    return Cell(
        id=name, scenario="s", workload="wal.append", backend="wal.none", core="python",
        params=params, plan=PlanSettings(processes=processes), limits=(LIMIT,), skip=skip,
    )  # fmt: skip


LIMIT_CELLS = {
    LIMIT: Cell(id=LIMIT, scenario="s", workload=LIMIT, backend=None, core=None, params={})
}


def measured(job: Job, ns: float = 100.0, **exact: float) -> dict[str, Any]:
    return {
        "ops": 10, "payload": 512, "unit": "ops", "batches": 5, "time_ns": [ns * 10, ns * 10],
        "noisy": {"overhead_share": 0.1}, "exact": {"exact_ops": 10, **exact}, "warnings": [],
        "steady": True,
    }  # fmt: skip


def answering(job: Job, timeout_ns: int) -> dict[str, Any]:
    limits = {limit: measured(job, 20.0) for limit in job.limits}
    return {"ok": True, "cell": measured(job, allocs_per_op=1.0), "limits": limits}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[RunResult, Watcher, list[Entry]]]:
    def go(
        plan: Plan, runner: Callable[[Job, int], dict[str, Any]], budget_s: float | None = None
    ) -> tuple[RunResult, Watcher, list[Entry]]:
        watcher = Watcher()
        store = RunStore(tmp_path / "run.journal.jsonl", Header(result="run.json"))
        result = execute(
            plan, LIMIT_CELLS, settings=RunSettings(tmp_path / "scratch", budget_s=budget_s),
            reporter=watcher, store=store, environment={}, runner=runner,
        )  # fmt: skip
        store.close(keep=True)
        assert list((tmp_path / "scratch").iterdir()) == []
        return result, watcher, read_journal(tmp_path / "run.journal.jsonl").entries

    return go


def test_each_round_runs_every_cell_once_in_an_order_of_its_own() -> None:
    cells = [cell(str(number)) for number in range(20)]
    plan = make_plan(cells, seed=1)
    rounds = [[t.cell.id for t in plan.turns if t.round == number] for number in range(3)]
    assert all(sorted(one) == sorted(c.id for c in cells) for one in rounds)
    assert len({tuple(one) for one in rounds}) == 3
    assert plan == make_plan(cells, seed=1)
    assert plan != make_plan(cells, seed=2)


def test_rows_come_in_the_order_of_the_plan_and_limits_join_by_themselves(run: Any) -> None:
    result, watcher, _ = run(make_plan([cell("b"), cell("a")], seed=1), answering)
    assert [row.id for row in result.results] == ["b", "a", LIMIT]
    assert [row.status for row in result.results] == ["ok"] * 3
    assert watcher.ended
    row = result.results[0]
    assert row.metrics["ns_per_op"] == 100
    assert row.metrics["ops_per_s"] == 1e7
    assert row.metrics["bytes_per_s"] == 512e7
    assert row.metrics["allocs_per_op"] == 1
    assert row.metrics["limit_share"] == pytest.approx(0.2)
    assert row.limits == {LIMIT: [20.0] * 3}
    assert len(row.samples.time_ns) == 3
    assert len(result.results[2].samples.time_ns) == 6  # both rows' processes


def test_a_result_tells_how_long_the_run_and_its_samples_took(tmp_path: Path) -> None:
    """Two samples of 1 s of operations, 1 s of loop and 1 s of preparation in each process, and a
    limit's two of 0.5 s beside them; the clock says 12 s in all."""

    def slow(job: Job, timeout_ns: int) -> dict[str, Any]:
        cell = measured(job, 1e8) | {"noisy": {"overhead_share": 0.5, "prepare_ns_per_op": 1e8}}
        limit = measured(job, 5e7) | {"noisy": {}}
        return {"ok": True, "cell": cell, "limits": dict.fromkeys(job.limits, limit)}

    clock = iter([100.0, *([106.0] * 4), 112.0])
    store = RunStore(tmp_path / "run.journal.jsonl", Header(result="run.json"))
    result = execute(
        make_plan([cell("a", processes=2)], seed=1), LIMIT_CELLS,
        settings=RunSettings(tmp_path / "scratch"), reporter=Watcher(), store=store,
        environment={}, runner=slow, now=lambda: next(clock),
    )  # fmt: skip
    store.close(keep=False)
    assert result.wall_s == 12.0
    assert result.sampled_s == 2 * (2 * 3.0 + 2 * 0.5)


def test_later_processes_do_the_work_the_first_one_settled(run: Any) -> None:
    asked: list[int | None] = []

    def runner(job: Job, timeout_ns: int) -> dict[str, Any]:
        asked.append(job.batches)
        return answering(job, timeout_ns)

    run(make_plan([cell("a")], seed=1), runner)
    assert asked == [None, 5, 5]


def test_a_cell_that_failed_runs_no_more_and_the_rest_goes_on(run: Any) -> None:
    def runner(job: Job, timeout_ns: int) -> dict[str, Any]:
        if job.cell_id == "bad":
            return {"ok": False, "reason": "killed by SIGKILL", "limits": {}}
        return answering(job, timeout_ns)

    result, watcher, journal = run(make_plan([cell("bad"), cell("good")], seed=1), runner)
    by_id = {row.id: row for row in result.results}
    assert (by_id["bad"].status, by_id["bad"].reason) == ("failed", "killed by SIGKILL")
    assert by_id["good"].status == "ok"
    assert sum(entry.cell == "bad" for entry in journal) == 1
    assert len(watcher.done) == watcher.processes == 6


def test_an_unsupported_row_is_skipped_with_its_reason(run: Any) -> None:
    def runner(job: Job, timeout_ns: int) -> dict[str, Any]:
        return {"ok": False, "skipped": True, "reason": "no sync", "limits": {}}

    result, _, _ = run(make_plan([cell("a"), cell("b", skip="not built")], seed=1), runner)
    assert [(row.status, row.reason) for row in result.results] == [
        ("skipped", "no sync"),
        ("skipped", "not built"),
    ]


def test_ctrl_c_keeps_what_is_there_and_says_so(run: Any) -> None:
    calls = 0

    def runner(job: Job, timeout_ns: int) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return answering(job, timeout_ns)

    result, watcher, journal = run(make_plan([cell("a"), cell("b"), cell("c")], seed=1), runner)
    assert result.interrupted
    assert watcher.ended
    assert len(journal) == 3
    rows = [row for row in result.results if row.id != LIMIT]
    assert len(rows) == 3
    assert all(
        row.status == "ok" and "1 of 3 processes: interrupted" in row.warnings for row in rows
    )


def test_a_used_up_budget_starts_nothing_more_and_rows_say_so(run: Any) -> None:
    result, _, _ = run(make_plan([cell("a")], seed=1), answering, budget_s=-1.0)
    assert result.results[0].status == "skipped"
    assert "budget" in (result.results[0].reason or "")


def test_an_exact_metric_that_differs_between_processes_is_a_warning(run: Any) -> None:
    values = iter([1.0, 2.0, 1.0])

    def runner(job: Job, timeout_ns: int) -> dict[str, Any]:
        return {"ok": True, "cell": measured(job, allocs_per_op=next(values)), "limits": {}}

    row = run(make_plan([cell("a")], seed=1), runner)[0].results[0]
    assert row.metrics["allocs_per_op"] == 2
    assert row.warnings == ["not the same in all processes: allocs_per_op (1 to 2)"]
    assert row.per_process["allocs_per_op"] == [1.0, 2.0, 1.0]


def test_scratch_that_cannot_be_made_is_one_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="scratch") as caught:
        execute(
            make_plan([], seed=1), {}, settings=RunSettings(tmp_path / "file"), reporter=Watcher(),
            store=RunStore(tmp_path / "j", Header()), environment={},
        )  # fmt: skip
    assert caught.value.remedy


def test_an_unwritable_journal_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="journal"):
        RunStore(tmp_path / "file" / "j", Header())


def test_a_row_is_at_most_as_durable_as_its_log() -> None:
    policy = Durability("D3", integrity="I1", damage="C2")
    silent = Durability("D1", integrity="I1", damage="C0")
    assert weaker(policy, silent, syncs=True) == Durability("D3", integrity="I1", damage="C0")
    assert weaker(policy, silent, syncs=False).level == "D1"
    assert weaker(policy, Durability("D0"), syncs=True) == Durability("D0")


@pytest.mark.parametrize(("steady", "told"), [("110", False), ("100", True), ("000", True)])
def test_a_row_that_did_not_settle_in_most_processes_is_told(
    run: Any, steady: str, told: bool
) -> None:
    left = iter(steady)

    def runner(job: Job, timeout_ns: int) -> dict[str, Any]:
        found = {**measured(job), "steady": next(left) == "1"}
        return {"ok": True, "cell": found, "limits": {}}

    row = run(make_plan([cell("a")], seed=1), runner)[0].results[0]
    assert any("did not settle" in warning for warning in row.warnings) == told
