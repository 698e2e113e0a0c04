"""Rows made by hand for the tests of reports and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench_cli.results import Row, RunResult, Samples

D1 = {"level": "D1", "integrity": "I1", "damage": "C2", "evidence": "declared"}


def make_row(
    identifier: str,
    ns: float = 100.0,
    *,
    group: str = "A group",
    scenario: str = "a-scenario",
    metrics: Mapping[str, float] | None = None,
    processes: Sequence[float] = (1.0, 1.02, 0.99),
    **changes: Any,
) -> Row:
    """An ok row of that id: ``ns`` per operation, one value per process around it."""
    row = Row(
        id=identifier,
        scenario=scenario,
        workload=identifier.partition("[")[0],
        group=group,
        backend=None,
        core="native",
        params={},
        status="ok",
        durability=dict(D1),
        samples=Samples([[ns * 1000 * factor] for factor in processes], ops=1000),
        metrics={"ns_per_op": ns, **(metrics or {})},
        per_process={"ns_per_op": [ns * factor for factor in processes]},
    )
    for name, value in changes.items():
        setattr(row, name, value)
    return row


def make_draw(wal: str, ns: float, **metrics: float) -> Row:
    return make_row(
        f"rewards.draw[backend=rewards.pool,core=native,wal={wal}]",
        ns,
        group="Draws by WAL type",
        metrics={"draws_per_s": 1e9 / ns, **metrics},
    )


def make_result(*rows: Row, **changes: Any) -> RunResult:
    result = RunResult({"python": "3.11.7"}, [{"path": "scenarios/wal.yaml"}], list(rows))
    for name, value in changes.items():
        setattr(result, name, value)
    return result
