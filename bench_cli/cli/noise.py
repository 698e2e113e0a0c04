"""``bench noise``: how much this machine disagrees with itself, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bench_cli.cli import options
from bench_cli.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench_cli.cli.ab import Order
    from bench_cli.floors import Floor
    from bench_cli.report.model import Table
    from bench_cli.results import RunResult
    from bench_cli.stats.compare import Comparison


@click.command("noise")
@options.scenarios
@options.select
@options.params("Set a parameter.")
@options.core
@options.budget("Start no further pair after this time.")
@options.rigorous
@options.limit
def command(
    scenarios: tuple[str, ...],
    select: tuple[str, ...],
    params: tuple[str, ...],
    core: str | None,
    budget_s: float | None,
    rigorous: bool,
    limit: float | None,
) -> int:
    """Measure how much each cell differs from itself.

    Compares this tool with itself, as `bench ab` would, and keeps half the 95 % interval per cell
    for this machine. From then on `bench ab` marks cells whose noise is above their limit as
    advisory: they are shown and cannot fail.

    \b
    bench noise wal
    bench noise -k rewards.draw --rigorous
    """
    from bench_cli.cli import ab
    from bench_cli.runner.subjects import read_spec
    from bench_cli.scenario import Overrides

    here = read_spec("here")
    pairs = ab.RIGOROUS_PAIRS if rigorous else ab.PAIRS
    overrides = Overrides(params, (), core, select)
    order = ab.Order(here, here, scenarios, overrides, pairs, limit, budget_s, 42, None, "table")
    return _measure(order)


def _measure(order: Order) -> int:
    from bench_cli import catalogue as catalogues
    from bench_cli import floors, places
    from bench_cli.cli import ab
    from bench_cli.report import console
    from bench_cli.report.layout import lay_out
    from bench_cli.stats.compare import compare

    catalogue = catalogues.from_registry()
    scenarios, matches = ab.planned(order, catalogue)
    subjects = ab.subjects_of(order, matches)
    environments = ab.environments_of(order, catalogue, subjects)
    floors_on(environments[1])  # a damaged file is told before anything runs
    base, head = ab.execute(
        order, catalogue, scenarios, matches, subjects, environments, confirms=False
    )
    found = compare(base, head, [])
    path = floors.path_of(head.environment, places.results_dir())
    new = _floors(found, head)
    if new:
        floors.add(path, head.environment, new)
    console.emit(lay_out(table(found, new), console.columns()))
    console.say([f"Kept in {path}"] if new else ["Too few pairs for a figure; nothing was kept."])
    if head.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.RUN_FAILED if found.failed else ExitCode.OK


def _floors(found: Comparison, head: RunResult) -> dict[str, Floor]:
    from bench_cli.floors import Floor
    from bench_cli.stats.noise import floor

    shares = {row.id: (floor(row.judgement), row.judgement.pairs)
              for row in found.rows if row.judgement is not None}  # fmt: skip
    return {
        cell: Floor(share, pairs, head.created)
        for cell, (share, pairs) in shares.items()
        if share is not None
    }


def table(found: Comparison, new: Mapping[str, Floor]) -> Table:
    """Every cell, the noisiest first."""
    from bench_cli.report import scale
    from bench_cli.report.model import Column, Line, Table, Tone
    from bench_cli.report.text import safe

    lines = []
    judged = [row for row in found.rows if row.judgement is not None and row.id in new]
    for row in sorted(judged, key=lambda row: -new[row.id].share):
        share = new[row.id].share
        above = row.judgement is not None and share > row.judgement.limit
        cells = (f"±{scale.percent(share)}", "advisory" if above else "can gate", safe(row.id))
        lines.append(Line(cells, tone=Tone.WARN if above else Tone.PLAIN))
    failed = [f"failed: {safe(one.id)}: {safe(one.reason)}" for one in found.failed]
    heads = [Column("noise"), Column("timing"), Column("cell", label=True)]
    return Table("Noise of this machine", heads, lines, warnings=failed)


def floors_on(environment: Mapping[str, Any]) -> dict[str, Floor]:
    """What is known of a machine. Raises ResultFileError."""
    from bench_cli import floors, places

    return floors.read(floors.path_of(environment, places.results_dir()))


def floors_of(head: RunResult) -> dict[str, float]:
    """What is known of the noise of a session's cells on the machine it ran on, by cell."""
    if head.ab is None:
        return {}
    known = floors_on(head.environment)
    return {
        cell.id: max(known[cell.base].share, known[cell.head].share)
        for cell in head.ab.cells
        if cell.base in known and cell.head in known
    }
