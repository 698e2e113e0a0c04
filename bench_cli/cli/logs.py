"""``bench wal``: check the files of a log, or repair them."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench_cli.errors import ExitCode

if TYPE_CHECKING:
    from bench_cli.interfaces import Recovery

DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))


@click.group("wal")
def command() -> None:
    """Check or repair the files of a log.

    \b
    bench wal check run/log
    bench wal repair run/log
    """


@command.command("check")
@DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def check(directory: Path, as_json: bool) -> int:
    """Read a log, change nothing, and say what is found.

    DIRECTORY holds the segments (00000001.wal and so on). Ends with exit code 20 when the log is
    damaged or in use.
    """
    from bench_cli.wal import repair

    found = repair.check(directory)
    if as_json:
        told = {"directory": str(directory), "format": found.format, **asdict(found.recovery)}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        _tell([f"{directory}: {found.format} format", *_lines(found.recovery)])
    return ExitCode.RUN_FAILED if found.recovery.damages else ExitCode.OK


@command.command("repair")
@DIRECTORY
def mend(directory: Path) -> int:
    """Replace a damaged log by one of its valid records.

    They are those before the first damage. The damaged log is kept beside it, untouched, under the
    name that is printed. Ends with exit code 20 when nothing is damaged or the log is in use.
    """
    from bench_cli.wal import repair

    done = repair.repair(directory)
    _tell([
        "before:",
        *_lines(done.before),
        f"kept as {done.kept}",
        f"after: {_records(done.after)}, tail {done.after.tail}",
        f"lost from the log: everything after record {done.after.last_sequence}, of which"
        f" {done.before.discarded_records} records can still be read in what was kept",
    ])  # fmt: skip
    return ExitCode.OK


def _records(found: Recovery) -> str:
    if not found.records:
        return "no records"
    return f"{found.records:,} records, {found.first_sequence} to {found.last_sequence}"


def _lines(found: Recovery) -> list[str]:
    lines = [
        f"  {_records(found)} in {found.segments} segments, {found.bytes_read:,} bytes read",
        f"  tail {found.tail}",
    ]
    counts = {
        "bytes of a torn tail": found.dropped_bytes,
        "records discarded behind a gap": found.discarded_records,
        "ambiguous bytes (a torn write, or damage to the last record)": found.ambiguous_tail_bytes,
    }
    lines += [f"  {count:,} {what}" for what, count in counts.items() if count]
    for damage in found.damages:
        lost = f", records {damage.lost_first} to {damage.lost_last}" if damage.lost_last else ""
        place = f"{damage.path} at {damage.offset}, {damage.length} bytes"
        lines.append(f"  damage: {place}: {damage.reason}{lost}")
    return lines


def _tell(lines: list[str]) -> None:
    """Escaped: names and reasons come from what was read."""
    from bench_cli.report.text import safe

    for line in lines:
        click.echo(safe(line))
