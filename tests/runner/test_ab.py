"""A/B sessions with a worker that answers at once: order, pairs, failures, time, interruption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_cli.cells import Cell
from bench_cli.errors import UsageError
from bench_cli.results import RunResult
from bench_cli.runner import ab
from bench_cli.runner.ab import AbSettings, Match, match_cells
from bench_cli.runner.worker import Job
from bench_cli.stats.compare import Comparison, compare
from bench_cli.stats.verdict import Verdict
from bench_cli.workloads.synthetic import WORKLOADS
from tests.runner.virtual import answer

DEFAULTS = {parameter.name: parameter.default for parameter in WORKLOADS[0].parameters}
NOISE = {"within": 20, "between": 20}


def cell(backend: str = "synthetic.clock", skip: str | None = None, **params: int) -> Cell:
    shown = ",".join(f"{name}={value}" for name, value in sorted(params.items()))
    return Cell(
        id=f"synthetic.op[backend={backend}{',' if shown else ''}{shown}]", scenario="s",
        workload="synthetic.op", backend=backend, core="python",
        params={**DEFAULTS, **NOISE, **params}, skip=skip,
    )  # fmt: skip


def match(base: Cell, head: Cell | None = None) -> Match:
    return match_cells([base], [head or base], frozenset({"backend"}), 0.03)[0]


class Watcher:
    """Counts stages."""

    def __init__(self) -> None:
        self.stages: list[int] = []
        self.reasons: list[str] = []

    def __call__(self) -> Watcher:
        return self

    def started(self, cells: int, processes: int, estimate_s: float) -> None:
        self.stages.append(processes)

    def process_done(self, cell_id: str, ok: bool, reason: str | None) -> None:
        self.reasons += [reason] if reason else []

    def finished(self) -> None:
        """Nothing to do."""


Runner = Callable[[Job, int], dict[str, Any]]


@pytest.fixture
def session(tmp_path: Path) -> Callable[..., tuple[RunResult, RunResult, Watcher]]:
    def go(
        *matches: Match,
        base: Runner = answer,
        head: Runner = answer,
        now: Callable[[], float] = lambda: 0.0,
        **options: Any,
    ) -> tuple[RunResult, RunResult, Watcher]:
        watcher = Watcher()
        settings = AbSettings(tmp_path, ("a", "b"), "bench ab", **{"pairs": 12, **options})
        found = ab.execute(
            matches, {}, runners=(base, head), settings=settings, environments=({}, {}),
            reporters=watcher, now=now,
        )  # fmt: skip
        assert list(tmp_path.iterdir()) == []
        return *found, watcher

    return go


def judged(base: RunResult, head: RunResult) -> Comparison:
    return compare(base, head, [])


def test_identical_sides_are_the_same(session: Any) -> None:
    base, head, watcher = session(*[match(cell(seed=n, between=5)) for n in range(5)])
    found = judged(base, head)
    assert [row.verdict for row in found.rows] == [Verdict.SAME] * 5
    assert watcher.stages == [5 * 12 * 2]


def test_a_slower_side_is_screened_confirmed_and_judged(session: Any) -> None:
    slow = match(cell(), cell("synthetic.slower"))
    base, head, watcher = session(slow, match(cell(seed=2)))
    found = judged(base, head)
    assert [row.verdict for row in found.rows] == [Verdict.REGRESSED, Verdict.SAME]
    assert watcher.stages == [2 * 12 * 2, 24 * 2, 24 * 2]
    assert len(head.results[0].per_process["ns_per_op"]) == 60
    judgement = found.rows[0].judgement
    assert judgement is not None
    assert judgement.estimate == pytest.approx(0.1, abs=0.03)


def test_the_sides_alternate_in_balanced_order(session: Any) -> None:
    order: list[str] = []

    def noting(side: str) -> Runner:
        return lambda job, timeout_ns: order.append(side) or answer(job, timeout_ns)

    session(match(cell()), base=noting("A"), head=noting("B"))
    blocks = {"".join(order[start : start + 4]) for start in range(0, 24, 4)}
    assert blocks <= {"ABBA", "BAAB"}
    assert len(blocks) == 2


def test_one_more_byte_is_found_in_a_single_pair(session: Any) -> None:
    pair = match(cell(bytes=16), cell("synthetic.slower", bytes=16))
    longer = Match(pair.id, pair.base, cell("synthetic.slower", bytes=17), 0.03)
    base, head, _ = session(longer, pairs=1)
    found = judged(base, head)
    assert found.rows[0].verdict is Verdict.REGRESSED
    assert [one.metric.id for one in found.rows[0].exact] == ["wal_bytes_per_op"]


def test_a_quick_look_confirms_nothing_and_never_gates(session: Any) -> None:
    base, head, watcher = session(
        match(cell(bytes=1), cell("synthetic.slower", bytes=1)), pairs=4, gates=False
    )
    assert watcher.stages == [8]
    assert not judged(base, head).gates
    assert judged(base, head).exit_code == 0


class Calibrating:
    """Runners whose processes settle on these numbers of batches unless they are told one;
    ``asked`` is what each pair was told, base and head."""

    def __init__(self, base: int, head: int) -> None:
        self._told: dict[str, list[int | None]] = {"base": [], "head": []}
        self._settles = {"base": base, "head": head}

    def runner(self, side: str) -> Runner:
        settles, told = self._settles[side], self._told[side]

        def run(job: Job, timeout_ns: int) -> dict[str, Any]:
            found = answer(job, timeout_ns)
            found["cell"]["batches"] = job.batches or settles
            told.append(job.batches)
            return found

        return run

    @property
    def asked(self) -> list[tuple[int | None, int | None]]:
        return list(zip(self._told["base"], self._told["head"], strict=True))


@pytest.mark.parametrize(
    ("base", "head", "asked"),
    [
        (10, 11, (11, 11)),
        (17, 1, (8, 8)),  # one that was held up, on either side
        (3, 17, (17, 17)),
        (10, 100, (80, 80)),  # a side that is far slower
    ],
)
def test_both_sides_do_the_same_number_of_batches(
    session: Any, base: int, head: int, asked: tuple[int, int]
) -> None:
    """The lowest tenth of more batches is lower: nothing else could be told apart from a change."""
    found = Calibrating(base, head)
    sides = {"base": found.runner("base"), "head": found.runner("head")}
    session(match(cell()), **sides, pairs=5, gates=False)
    assert found.asked == [(None, None), *[asked] * 4]


def failing(job: Job, timeout_ns: int) -> dict[str, Any]:
    return {"ok": False, "reason": "killed by SIGKILL", "limits": {}}


def test_a_cell_that_fails_on_head_is_a_failure_and_runs_no_more(session: Any) -> None:
    base, head, watcher = session(match(cell()), head=failing)
    found = judged(base, head)
    assert [(one.id, one.reason) for one in found.failed] == [
        ("synthetic.op", "failed: killed by SIGKILL")
    ]
    assert found.exit_code == 20
    assert watcher.reasons == ["head: killed by SIGKILL"]


def test_a_cell_that_base_does_not_have_is_missing_there(session: Any) -> None:
    base, head, _ = session(match(cell()), match(cell(seed=2)), base=lambda job, timeout_ns: (
        failing(job, timeout_ns) if job.params["seed"] == 2 else answer(job, timeout_ns)
    ))  # fmt: skip
    found = judged(base, head)
    assert [row.id for row in found.rows] == ["synthetic.op"]
    assert [one.side for one in found.missing] == ["base"]
    assert found.exit_code == 13


def test_a_cell_that_is_skipped_is_never_started(session: Any) -> None:
    base, head, watcher = session(match(cell(skip="not built")), match(cell(seed=2)))
    assert watcher.stages == [24]
    assert [row.reason for row in head.results] == ["not built", None]
    assert judged(base, head).missing == []
    assert len(judged(base, head).rows) == 1


def test_a_cell_that_one_side_cannot_run_is_missing_there(session: Any) -> None:
    one_sided = match(cell(skip="base does not know it"), cell())
    base, head, _ = session(one_sided, match(cell(seed=2)))
    found = judged(base, head)
    assert [(one.side, one.reason) for one in found.missing] == [
        ("base", "skipped: base does not know it")
    ]
    assert found.exit_code == 13


def test_a_cell_that_was_not_reached_in_time_does_not_pass(session: Any) -> None:
    clock = iter(range(10_000))
    cells = [match(cell(seed=n, bytes=1)) for n in range(9)]
    base, head, _ = session(*cells, now=lambda: float(next(clock)), budget_s=20.0)
    found = judged(base, head)
    assert {one.side for one in found.missing} == {"both"}
    assert found.exit_code == 13


def test_no_pair_starts_after_the_budget_and_the_rest_of_it_goes_to_the_undecided(
    session: Any,
) -> None:
    clock = iter(range(10_000))
    base, head, _ = session(match(cell()), now=lambda: float(next(clock)), budget_s=30.0)
    assert 1 < len(head.results[0].per_process["ns_per_op"]) < 12
    loud = match(cell(between=160))
    base, head, watcher = session(loud, budget_s=1e9)
    assert len(head.results[0].per_process["ns_per_op"]) == 48
    assert watcher.stages == [24, 24, 48]
    assert judged(base, head).rows[0].verdict is Verdict.UNDECIDED


def test_ctrl_c_keeps_whole_pairs_only(session: Any) -> None:
    calls = 0

    def interrupted(job: Job, timeout_ns: int) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return answer(job, timeout_ns)

    base, head, _ = session(match(cell()), base=interrupted, head=interrupted)
    assert base.interrupted
    assert head.interrupted
    counts = [len(result.results[0].per_process["ns_per_op"]) for result in (base, head)]
    assert counts == [2, 2]
    assert judged(base, head).exit_code == 130


def running_for(factor: float) -> Runner:
    """Tells, beside the time it took, a time it ran of ``factor`` nanoseconds."""

    def told(job: Job, timeout_ns: int) -> dict[str, Any]:
        found = answer(job, timeout_ns)
        found["cell"]["noisy"] = {"run_ns_per_op": factor}
        return found

    return told


def test_the_time_it_ran_is_judged_where_both_sides_tell_it(session: Any) -> None:
    slower = match(cell(), cell("synthetic.slower"))
    base, head, _ = session(slower, base=running_for(100), head=running_for(100))
    row = judged(base, head).rows[0]
    assert (row.verdict, row.base_ns, row.head_ns) == (Verdict.SAME, 100, 100)
    base, head, _ = session(match(cell()), base=running_for(100), head=running_for(120))
    assert judged(base, head).rows[0].verdict is Verdict.REGRESSED


def test_a_revision_that_does_not_tell_it_is_judged_by_the_time_it_took(session: Any) -> None:
    slower = match(cell(), cell("synthetic.slower"))
    base, head, _ = session(slower, head=running_for(1))
    row = judged(base, head).rows[0]
    assert row.verdict is Verdict.REGRESSED
    assert row.judgement is not None
    assert row.judgement.estimate == pytest.approx(0.1, abs=0.03)


def test_a_time_of_zero_is_no_ratio(session: Any) -> None:
    def instant(job: Job, timeout_ns: int) -> dict[str, Any]:
        found = answer(job, timeout_ns)
        found["cell"]["time_ns"] = [0] * job.samples
        return found

    base, head, _ = session(match(cell(bytes=1)), head=instant)
    found = judged(base, head)
    assert found.rows[0].judgement is None
    assert "do not stand in pairs" in found.rows[0].unjudged[-1]
    assert found.exit_code == 0  # the bytes were judged


def test_both_results_can_be_stored_and_judged_again(session: Any, tmp_path: Path) -> None:
    from bench_cli import results

    base, head, _ = session(match(cell(), cell("synthetic.slower")))
    stored = []
    for name, result in (("base.json", base), ("head.json", head)):
        results.write(tmp_path / name, result)
        stored.append(results.read(tmp_path / name))
    assert stored == [base, head]
    again, first = judged(*stored), judged(base, head)
    assert again.rows == first.rows
    assert again.rows[0].verdict is Verdict.REGRESSED


def test_the_same_seed_gives_the_same_session(session: Any) -> None:
    first, second = (session(match(cell()), seed=7)[1].results for _ in range(2))
    assert first == second


# --- pairing ---------------------------------------------------------------------------------


def test_cells_are_paired_by_id_without_what_is_compared() -> None:
    found = match(cell(seed=3), cell("synthetic.slower", seed=3))
    assert found.id == "synthetic.op[seed=3]"
    assert found.head.backend == "synthetic.slower"


def test_a_cell_without_counterpart_is_an_error() -> None:
    with pytest.raises(UsageError, match="no counterpart in head"):
        match_cells([cell(seed=1), cell(seed=2)], [cell(seed=1)], frozenset(), 0.03)


def test_two_cells_that_become_one_are_an_error() -> None:
    both = [cell(), cell("synthetic.slower")]
    with pytest.raises(UsageError, match="two cells of base are one"):
        match_cells(both, both, frozenset({"backend"}), 0.03)
