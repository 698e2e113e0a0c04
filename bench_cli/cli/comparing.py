"""``bench compare``: two stored results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench_cli.cli.options import comparison_format, everything, fail_on

if TYPE_CHECKING:
    from bench_cli.report.comparison import Compared
    from bench_cli.results import RunResult
    from bench_cli.stats.compare import Comparison


_BASELINE = "baseline:"


@click.command("compare")
@click.argument("base")
@click.argument("head")
@everything
@fail_on
@comparison_format
def command(base: str, head: str, everything: bool, fail_on: str, form: str) -> int:
    """Compare two stored results.

    BASE and HEAD are files, or latest for the newest result under results/; BASE may also be
    baseline:NAME, and what was accepted against that baseline is then not judged. Metrics that are
    exact (bytes logged, allocations, calls) are judged: any change for the worse is a
    regression. Time is judged where both are of one `bench ab`; of two separate runs it is only
    shown, with its interval, because they ran at different times.

    \b
    bench compare old.json new.json
    bench compare baseline:main latest
    bench compare results/20260102T030405Z-ab.base.json latest --format markdown

    Exits 10 on a regression, 11 on an undecided row (with --fail-on undecided), 12 if nothing
    could be compared, 13 if a row is missing on one side, 14 if head missed a requirement, 2 if a
    file is not a valid result.
    """
    from bench_cli.results import collector_at_rest

    with collector_at_rest():  # until all that was read is gone again
        return _compare(base, head, form, fail_on=fail_on, everything=everything)


def _compare(base: str, head: str, form: str, *, fail_on: str, everything: bool) -> int:
    from bench_cli import places, results
    from bench_cli.cli.baseline import compare_with

    folder = places.results_dir()
    head_path = results.resolve(head, folder)
    if base.startswith(_BASELINE):
        theirs = results.read(head_path)
        ours, found, base_name = compare_with(base.removeprefix(_BASELINE), theirs)
    else:
        base_name = str(results.resolve(base, folder))
        ours, theirs, found = _compared(Path(base_name), head_path)
    found.fail_on_undecided = fail_on == "undecided"
    tell(found, (ours, theirs), (base_name, str(head_path)), form, everything=everything)
    return found.exit_code


def _compared(base: Path, head: Path) -> tuple[RunResult, RunResult, Comparison]:
    from bench_cli import environment, results
    from bench_cli.cli.noise import floors_of
    from bench_cli.stats.compare import compare

    ours, theirs = results.read(base), results.read(head)
    differences = environment.differences(ours.environment, theirs.environment)
    return ours, theirs, compare(ours, theirs, differences, floors=floors_of(theirs))


def tell(
    found: Comparison,
    sides: tuple[RunResult, RunResult],
    names: tuple[str, str],
    form: str,
    *,
    everything: bool,
) -> None:
    """Print a comparison in one of the formats. ``names``: the files of base and head."""
    import json

    from bench_cli.report import comparison, console, markup

    told = told_of(found, sides, names, everything=everything)
    if form == "json":
        click.echo(json.dumps(comparison.as_json(told), indent=2))
    elif form == "markdown":
        click.echo(markup.render(told), nl=False)
    else:
        console.emit(comparison.render(told, console.columns()))


def told_of(
    found: Comparison,
    sides: tuple[RunResult, RunResult],
    names: tuple[str, str],
    *,
    everything: bool,
) -> Compared:
    """A comparison with the commands that go with it."""
    from bench_cli.report import comparison

    base, head = sides
    shown = (base.ab.base, head.ab.head) if found.paired and base.ab and head.ab else names
    return comparison.Compared(
        found,
        shown,
        everything,
        _remedies(found, sides, names),
        _reproduce(found, head),
    )


def _remedies(
    found: Comparison, sides: tuple[RunResult, RunResult], names: tuple[str, str]
) -> list[str]:
    """Commands that give a side the rows it lacks."""
    from bench_cli.report.comparison import rerun_command

    if found.paired:
        return [_again(found.command, one.id) for one in found.missing[:3] if found.command]
    lacking = {one.side for one in found.missing}
    remedies = [rerun_command(sides[0], names[1])] if "head" in lacking else []
    return remedies + ([rerun_command(sides[1], names[0])] if "base" in lacking else [])


def _reproduce(found: Comparison, head: RunResult) -> str | None:
    from bench_cli.report.comparison import rerun_command, worst

    row = worst(found)
    if row is None:
        return None
    if found.command:
        return _again(found.command, row.id)
    return rerun_command(head, cell=row.id)


def _again(command: str | None, cell: str) -> str:
    import shlex

    return f"{command} -k {shlex.quote(cell)}"
