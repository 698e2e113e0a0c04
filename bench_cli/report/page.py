"""A whole result as lines: the machine, the tables, the analysis, the requirements, the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench_cli.report import layout, table
from bench_cli.report.analysis import analyse
from bench_cli.report.columns import evidence
from bench_cli.report.model import Styled, Table, Tone
from bench_cli.report.requirements import requirements_table
from bench_cli.report.text import safe, wrap
from bench_cli.results import Row, RunResult

_LEVELS = {
    "D0": "may be lost with the process",
    "D1": "survives SIGKILL",
    "D2": "loses at most its window in an OS crash",
    "D3": "survives power loss if the device honours flushes",
    "I0": "may be corrupt after a crash",
    "I1": "a consistent prefix after a crash",
    "C0": "damage unnoticed",
    "C1": "damage shortens silently",
    "C2": "damage reported with its place",
}


def render(result: RunResult, columns: int) -> list[Styled]:
    """All lines, for a terminal of that many columns."""
    built = table.tables(result.results)
    lines = [*_head(result, columns), Styled("")]
    analysed = next((one for one in built if analyse(one.rows)), None)
    for one in built:
        lines += [*layout.lay_out(one, columns), Styled("")]
        lines += _analysis(one, columns) if one is analysed else []
    if result.requirements:
        lines += [*layout.lay_out(requirements_table(result.requirements), columns), Styled("")]
    lines += _legend(result, built, columns)
    lines += _verdict(result, columns)
    return lines


def _told(texts: Sequence[str], columns: int, tone: Tone) -> list[Styled]:
    return [Styled(line, tone) for text in texts for line in wrap(text, columns, layout.INDENT)]


# --- above the tables ------------------------------------------------------------------------


def _head(result: RunResult, columns: int) -> list[Styled]:
    lines = _told([", ".join(_machine(result))], columns, Tone.DIM)
    cores = {row.core for row in result.results if row.core}
    if "python" in cores:
        lines += _told([_python_twins(result, cores)], columns, Tone.WARN)
    return lines


def _machine(result: RunResult) -> list[str]:
    found = result.environment
    named = [
        (found.get("cpu_model"), "{}"),
        (found.get("cpus"), "{} CPUs"),
        (found.get("virtualisation"), "virtual ({})"),
        (found.get("kernel"), f"{found.get('system') or 'kernel'} {{}}"),
        (found.get("filesystem"), "{}"),
        (found.get("python"), "Python {}"),
        (result.created.replace("T", " ").partition("+")[0].rstrip("Z"), "{} UTC"),
    ]
    words = [safe(form.format(value)) for value, form in named if value]
    quick = ["quick: fewer, shorter samples"] if result.settings.get("quick") else []
    return words + quick


def _python_twins(result: RunResult, cores: set[str]) -> str:
    """Said once at the top, since it moves every number by an order of magnitude."""
    why = result.settings.get("native_missing")
    which = "some rows ran" if "native" in cores else "all rows ran"
    reason = f"; {safe(str(why))}" if why else ""
    return f"! Python twins: {which} on the readable twin, not the compiled one{reason}"


# --- below the tables ------------------------------------------------------------------------


def _analysis(built: Table, columns: int) -> list[Styled]:
    """The sentences under the first table of draws that allows any."""
    sentences = analyse(built.rows)
    return [*_told([f"* {text}" for text in sentences], columns, Tone.PLAIN), Styled("")]


def _legend(result: RunResult, built: Sequence[Table], columns: int) -> list[Styled]:
    texts = ["±: half the range between processes."] if _has_spread(result.results) else []
    present = _levels_present(result.results)
    if present:
        texts.append("; ".join(f"{level} {_LEVELS[level]}" for level in present) + ".")
    texts += [f"{one}." for one in evidence(result.results)]
    if any(layout.hides_columns(one, columns) for one in built):
        texts.append("A wider terminal shows more columns; the result file holds every value.")
    return [*_told(texts, columns, Tone.DIM), Styled("")] if texts else []


def _has_spread(rows: Sequence[Row]) -> bool:
    return any(len(values) > 1 for row in rows for values in row.per_process.values())


def _levels_present(rows: Sequence[Row]) -> list[str]:
    found = [row.durability for row in rows if row.durability]
    words = {
        str(one.get(name, ""))[:2] for one in found for name in ("level", "integrity", "damage")
    }
    return [level for level in _LEVELS if level in words]


def _verdict(result: RunResult, columns: int) -> Iterator[Styled]:
    counts = dict.fromkeys(("ok", "failed", "skipped"), 0)
    for row in result.results:
        counts[row.status] += 1
    told = [f"{number} {status}" for status, number in counts.items() if number]
    tone = Tone.BAD if counts["failed"] else Tone.GOOD
    total = "1 row" if len(result.results) == 1 else f"{len(result.results)} rows"
    yield Styled(f"{total}: {', '.join(told) or 'nothing ran'}.", tone)
    if result.wall_s:
        share = f"{result.sampled_s / result.wall_s:.0%} of {result.wall_s:,.0f} s"
        told = [f"{share} went into timed samples and their preparation."]
        yield from _told(told, columns, Tone.DIM)
    if result.interrupted:
        yield from _told(
            ["Interrupted: these are the rows that were finished."], columns, Tone.WARN
        )
    missed = [outcome for outcome in result.requirements if outcome.status == "missed"]
    if missed:
        yield Styled(f"{len(missed)} of {len(result.requirements)} requirements missed.", Tone.BAD)
