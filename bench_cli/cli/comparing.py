"""``bench compare``: two stored results."""

from __future__ import annotations

import click

from bench_cli.cli.options import output_format


@click.command("compare")
@click.argument("base")
@click.argument("head")
@click.option("--all", "everything", is_flag=True, help="Also show rows that did not change.")
@output_format
def command(base: str, head: str, everything: bool, form: str) -> int:
    """Compare two stored results.

    BASE and HEAD are files, or latest for the newest result under results/. Metrics that are
    exact (bytes logged, allocations, calls) are judged: any change for the worse is a
    regression. Timing is shown with its interval and never judged, because the two ran at
    different times.

    \b
    bench compare results/baselines/main.json latest
    bench compare old.json new.json --format json

    Exits 10 on a regression, 12 if nothing could be compared, 13 if a row is missing on one
    side, 2 if a file is not a valid result.
    """
    import json

    from bench_cli import environment, places, results
    from bench_cli.report import comparison, console
    from bench_cli.stats.compare import compare

    paths = [results.resolve(name, places.results_dir()) for name in (base, head)]
    ours, theirs = (results.read(path) for path in paths)
    differences = environment.differences(ours.environment, theirs.environment)
    found = compare(ours, theirs, differences)
    names = (str(paths[0]), str(paths[1]))
    if form == "json":
        click.echo(json.dumps(comparison.as_json(found, names), indent=2))
        return found.exit_code
    lacking = {one.side for one in found.missing}
    remedies = [comparison.rerun_command(ours, names[1])] if "head" in lacking else []
    remedies += [comparison.rerun_command(theirs, names[0])] if "base" in lacking else []
    console.emit(
        comparison.render(found, names, console.columns(), everything=everything, remedies=remedies)
    )
    return found.exit_code
