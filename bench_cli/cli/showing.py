"""``bench show``: a stored result, printed again."""

from __future__ import annotations

import sys

import click

from bench_cli.cli.options import output_format


@click.command("show")
@click.argument("result")
@output_format
def command(result: str, form: str) -> None:
    """Print the tables of a stored result.

    RESULT is a file, or latest for the newest one under results/.

    \b
    bench show latest
    bench show results/20260102T030405Z-wal.json --format json
    """
    from bench_cli import places, results
    from bench_cli.report import console, page
    from bench_cli.report.model import Tone

    path = results.resolve(result, places.results_dir())
    found = results.read(path)
    if form == "json":
        sys.stdout.write(results.to_json(found))
        return
    console.emit(page.render(found, console.columns()))
    console.say([f"Result: {path}"], Tone.DIM)
