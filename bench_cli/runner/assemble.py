"""From the answers of worker processes to rows of a result."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench_cli import latencies
from bench_cli.cells import Cell
from bench_cli.interfaces import Durability, Workload
from bench_cli.metrics import METRICS, Kind
from bench_cli.requirements import ceiling_share
from bench_cli.results import Row, Samples
from bench_cli.runner.steady import UNSTEADY

Answer = dict[str, Any]
BESIDE = "limits of these rows"
"""The scenario of limit rows that joined by themselves: no file's requirements speak of them."""


@dataclass(slots=True)
class Outcome:
    """What is known of a cell so far: one answer per process that ran, and the first failure, or
    why it cannot run at all (``unsupported``). ``took_s``: how long its last process took."""

    cell: Cell
    answers: list[Answer] = field(default_factory=list)
    failure: str | None = None
    unsupported: str | None = None
    took_s: float = 0.0

    @property
    def over(self) -> bool:
        """No further process would change what is known."""
        return self.failure is not None or self.unsupported is not None

    def add(self, answer: Answer, took_s: float) -> None:
        self.took_s = took_s
        if answer["ok"]:
            self.answers.append(answer)
        elif answer.get("skipped"):
            self.unsupported = answer["reason"]
        else:
            self.failure = answer["reason"]

    @property
    def batches(self) -> int | None:
        """Batches per sample: the most that a process settled on, as whatever holds one up makes
        it settle on fewer."""
        return max((int(one["cell"]["batches"]) for one in self.answers), default=None)


def sampled_s(outcomes: Sequence[Outcome]) -> float:
    """Seconds spent in the samples that count and in preparing their batches: not in starting
    processes, building what is measured, warming up, verifying or counting."""
    answers = [answer for outcome in outcomes for answer in outcome.answers]
    cells = [answer["cell"] for answer in answers]
    cells += [limit for answer in answers for limit in answer["limits"].values()]
    return sum(map(_sampled_ns, cells)) / 1e9


def _sampled_ns(cell: Answer) -> float:
    """The loop's own time is part of a sample; it was taken off ``time_ns`` and is put back."""
    noisy, times = cell["noisy"], cell["time_ns"]
    if not times:
        return 0.0
    of_operations = 1 - noisy.get("overhead_share", 0.0)
    raw = sum(times) / of_operations if of_operations > 0 else 0.0
    return float(raw + noisy.get("prepare_ns_per_op", 0.0) * cell["ops"] * len(times))


def empty_row(cell: Cell, workload: Workload, status: str, reason: str | None) -> Row:
    return Row(
        id=cell.id,
        scenario=cell.scenario,
        workload=cell.workload,
        group=workload.group,
        backend=cell.backend,
        core=cell.core,
        params=dict(cell.params),
        status=status,
        reason=reason,
    )


def row_of(outcome: Outcome, workload: Workload, durability: Durability | None) -> Row:
    """A cell that failed in any process is failed: part of its work could not be verified."""
    cell = outcome.cell
    if outcome.failure is not None or not outcome.answers:
        row = empty_row(cell, workload, "failed", outcome.failure or "no process finished")
    else:
        row = empty_row(cell, workload, "ok", None)
        fill_measured(row, [answer["cell"] for answer in outcome.answers])
    for answer in outcome.answers:
        for limit, found in answer["limits"].items():
            row.limits.setdefault(limit, []).append(ns_per_op(found))
    row.ceiling = workload.ceiling(cell.params, cell.backend)
    row.durability = asdict(durability) if durability else None
    share = ceiling_share(row) if row.status == "ok" else None
    if share is not None:
        row.metrics["limit_share"] = share
        if share > 1.0:
            row.warnings.append("above its limit: something slowed the limit, or it is none")
    return row


def ns_per_op(found: Mapping[str, Any]) -> float:
    """One process's value: the median over its samples."""
    return float(statistics.median(found["time_ns"])) / int(found["ops"])


def fill_measured(row: Row, found: Sequence[Mapping[str, Any]]) -> None:
    """Put the measurements of all processes of a row into it."""
    first = found[0]
    row.samples = Samples(
        [list(one["time_ns"]) for one in found], first["ops"], first["payload"], first["unit"]
    )
    if first.get("interval_ns"):
        row.samples.interval_ns = [list(one["interval_ns"]) for one in found]
    row.per_process = _noisy(found, first)
    row.metrics = {name: statistics.median(values) for name, values in row.per_process.items()}
    row.metrics |= _rates(
        row.metrics["ns_per_op"], first
    )  # of the same median, not one of their own
    row.warnings = sorted({text for one in found for text in one["warnings"]})
    if 2 * sum(not one.get("steady", True) for one in found) > len(found):
        row.warnings.append(UNSTEADY)  # in one process it may be the machine, in most it is the row
    _exact(row, found)
    _latency(row, [one["latency"] for one in found if one.get("latency")])


def _latency(row: Row, found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        return
    from bench_cli.runner import latency  # numpy: only rows that need it pay for it

    row.latency = latency.pooled(found)
    row.warnings += latency.warnings(row.latency)
    row.metrics |= latencies.metrics(row.latency)
    row.per_process |= latencies.per_process([latency.pooled([one]) for one in found])


def _noisy(found: Sequence[Mapping[str, Any]], first: Mapping[str, Any]) -> dict[str, list[float]]:
    times = [ns_per_op(one) for one in found]
    values: dict[str, list[float]] = {"ns_per_op": times}
    rates = [_rates(time, first) for time in times]
    if all(rates):
        for name in rates[0]:
            values[name] = [rate[name] for rate in rates]
    for name in first["noisy"]:
        values[name] = [one["noisy"][name] for one in found]
    return values


def _rates(ns: float, first: Mapping[str, Any]) -> dict[str, float]:
    """Per second; nothing where the time is too short to tell."""
    if not ns:
        return {}
    rates = {"draws_per_s" if first["unit"] == "draws" else "ops_per_s": 1e9 / ns}
    if first["payload"]:
        rates["bytes_per_s"] = first["payload"] * 1e9 / ns
    return rates


def _exact(row: Row, found: Sequence[Mapping[str, Any]]) -> None:
    """Exact metrics must agree between processes; where they do not, the largest is kept, the
    values are kept beside it, and the row says so. A metric unknown to ``metrics.py`` is a
    backend's own."""
    differing: list[str] = []
    for name in found[0]["exact"]:
        values = [one["exact"][name] for one in found if name in one["exact"]]
        row.metrics[name] = max(values)
        declared = METRICS.get(name)
        if declared and declared.kind is Kind.EXACT and min(values) != max(values):
            row.per_process[name] = values
            differing.append(f"{name} ({min(values):g} to {max(values):g})")
    if differing:
        row.warnings.append("not the same in all processes: " + ", ".join(differing))


def limit_rows(
    outcomes: Sequence[Outcome], limit_cells: Mapping[str, Cell], workloads: Mapping[str, Workload]
) -> list[Row]:
    """Rows for limits that were measured only beside other rows: one value per process."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for outcome in outcomes:
        for answer in outcome.answers:
            for limit, measured in answer["limits"].items():
                found.setdefault(limit, []).append(measured)
    rows = []
    for limit, measured in sorted(found.items()):
        cell = limit_cells[limit]
        row = empty_row(cell, workloads[cell.workload], "ok", None)
        row.scenario = BESIDE
        fill_measured(row, _same_work(measured))
        rows.append(row)
    return rows


def _same_work(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each process calibrated the limit for itself; times are brought to the first one's number
    of operations, so that a row holds one ``ops``."""
    ops = int(found[0]["ops"])
    return [
        {**one, "time_ns": [time * ops / int(one["ops"]) for time in one["time_ns"]]}
        for one in found
    ]
