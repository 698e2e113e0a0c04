"""``bench baseline``: results kept to compare with, and changes that were accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from bench_cli.results import RunResult
    from bench_cli.stats.compare import Comparison


@click.group("baseline")
def command() -> None:
    """Keep results to compare with.

    Baselines stand under results/baselines/ and are small enough to commit. Their exact metrics
    are judged on any machine; their times only ever inform, because no test rescues a time that
    was measured elsewhere.

    \b
    bench baseline save main
    bench run wal --baseline main
    bench baseline accept main -k wal.mmap --reason "checksums" --expires 2027-01-31
    """


@command.command("save")
@click.argument("name")
@click.argument("result", default="latest")
def save(name: str, result: str) -> None:
    """Keep RESULT (by default the newest) as the baseline NAME."""
    from bench_cli import baselines, places, results

    folder = places.results_dir()
    found = results.read(results.resolve(result, folder))
    if found.interrupted:
        raise click.UsageError(f"{result} was interrupted: a baseline of it would lack rows")
    click.echo(f"Baseline: {baselines.save(name, found, folder)}")


@command.command("list")
def list_() -> None:
    """List the baselines."""
    from bench_cli import baselines, places, results
    from bench_cli.report import console
    from bench_cli.report.layout import lay_out
    from bench_cli.report.model import Column, Line, Table
    from bench_cli.report.text import safe

    folder = places.results_dir()
    lines = []
    for name in baselines.names(folder):
        path = baselines.find(name, folder)
        found = results.read(path)
        made = (found.created[:10], str(found.environment.get("revision") or "")[:12])
        counts = (str(len(found.results)), str(len(baselines.accepted(path))))
        lines.append(Line(tuple(map(safe, (name, *made, *counts)))))
    if not lines:
        click.echo("No baseline yet: `bench baseline save NAME` keeps the newest result as one.")
        return
    heads = [Column("name", label=True), Column("made"), Column("revision"), Column("rows"),
             Column("accepted")]  # fmt: skip
    console.emit(lay_out(Table("Baselines", heads, lines), console.columns()))


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Print the tables of a baseline, and what was accepted against it."""
    from bench_cli import baselines, places, results
    from bench_cli.report import console, page
    from bench_cli.report.text import safe

    path = baselines.find(name, places.results_dir())
    console.emit(page.render(results.read(path), console.columns()))
    for one in baselines.accepted(path):
        told = f"accepted until {one.expires}: {one.metric} of {one.row} ({one.reason})"
        console.say([safe(told)])


@command.command("accept")
@click.argument("name")
@click.argument("result", default="latest")
@click.option(
    "-k", "select", multiple=True, metavar="PATTERN", help="Only rows whose id contains PATTERN."
)
@click.option("--reason", required=True, help="Why it is all right.")
@click.option(
    "--expires",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="Last day on which it counts as accepted (2027-01-31).",
)
def accept(name: str, result: str, select: tuple[str, ...], reason: str, expires: datetime) -> None:
    """Accept what RESULT does worse than the baseline NAME, for a time.

    Only exact metrics can be accepted; times of different runs are not judged anyway. A further
    fall below what was accepted is a regression again.
    """
    from bench_cli import baselines, places, results
    from bench_cli.stats.compare import compare
    from bench_cli.stats.verdict import Verdict

    if not reason.strip():
        raise click.UsageError("--reason is empty")
    folder = places.results_dir()
    path = baselines.find(name, folder)
    found = compare(results.read(path), results.read(results.resolve(result, folder)), [])
    new = [
        baselines.Acceptance(row.id, one.metric.id, one.head, reason.strip(),
                             expires.date().isoformat())
        for row in found.rows
        for one in row.exact
        if one.verdict is Verdict.REGRESSED and _selected(row.id, select)
    ]  # fmt: skip
    if not new:
        raise click.UsageError(f"{result} does nothing worse than {name}: nothing to accept")
    baselines.accept(path, new)
    for one in new:
        click.echo(f"accepted until {one.expires}: {one.metric} of {one.row}")


def _selected(row: str, patterns: tuple[str, ...]) -> bool:
    from bench_cli.scenario import matches

    return not patterns or any(matches(pattern, row) for pattern in patterns)


def compare_with(name: str, head: RunResult) -> tuple[RunResult, Comparison, str]:
    """A result against a baseline, without what was accepted: the baseline, the comparison, and
    the baseline's file. Raises UnknownName, ResultFileError."""
    from datetime import UTC, datetime

    from bench_cli import baselines, environment, places, results
    from bench_cli.stats.compare import compare, leave_out_accepted

    path = baselines.find(name, places.results_dir())
    base = results.read(path)
    found = compare(base, head, environment.differences(base.environment, head.environment))
    today = datetime.now(UTC).date().isoformat()
    leave_out_accepted(found, baselines.accepted(path), today)
    return base, found, str(path)


def check(name: str) -> None:
    """Find out before a run that its baseline is there and readable."""
    from bench_cli import baselines, places, results

    path = baselines.find(name, places.results_dir())
    results.read(path)
    baselines.accepted(path)


def judge_run(name: str, head: RunResult, path: Path, *, aside: bool) -> int:
    """Print how a finished run compares (``aside``: on stderr), and its exit code."""
    import sys

    from bench_cli.cli.comparing import told_of
    from bench_cli.report import comparison, console

    base, found, base_path = compare_with(name, head)
    told = told_of(found, (base, head), (base_path, str(path)), everything=False)
    lines = comparison.render(told, console.columns())
    console.emit(lines, sys.stderr if aside else None)
    return found.exit_code
