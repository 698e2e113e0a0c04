"""Two results against each other, as tables: what got worse first, what is quiet as a count."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from bench_cli.errors import ExitCode
from bench_cli.metrics import METRICS
from bench_cli.report import scale
from bench_cli.report.layout import INDENT, lay_out
from bench_cli.report.model import Column, Line, Styled, Table, Tone
from bench_cli.report.text import safe, wrap
from bench_cli.results import RunResult
from bench_cli.stats.compare import Comparison, Missing, RowComparison
from bench_cli.stats.interval import Change
from bench_cli.stats.verdict import Verdict

_VERDICTS = {
    ExitCode.OK: "no regression",
    ExitCode.REGRESSION: "regression",
    ExitCode.NOTHING_COMPARED: "nothing could be compared",
    ExitCode.ROW_MISSING: "a row is missing",
}
_TONES = {Verdict.REGRESSED: Tone.BAD, Verdict.IMPROVED: Tone.GOOD}
_TITLES = {Verdict.REGRESSED: "Regressed", Verdict.IMPROVED: "Improved"}


def render(
    found: Comparison,
    names: tuple[str, str],
    columns: int,
    *,
    everything: bool,
    remedies: Sequence[str],
) -> list[Styled]:
    """``names`` of base and head; ``everything`` also shows rows that did not change; ``remedies``
    are the commands that would fill missing rows."""
    lines = _told([f"base {safe(names[0])}, head {safe(names[1])}"], columns, Tone.DIM)
    lines += _fingerprint(found.fingerprint, columns)
    lines.append(Styled(""))
    for verdict in _TITLES:
        lines += _block(_exact_table(found.rows, verdict), columns)
    lines += _block(_timing_table(found.rows, everything=everything), columns)
    lines += _missing(found.missing, remedies, columns)
    lines += _unjudged(found.rows, columns)
    return [*lines, *_verdict(found, columns)]


def _told(texts: Sequence[str], columns: int, tone: Tone) -> list[Styled]:
    return [Styled(line, tone) for text in texts for line in wrap(text, columns, INDENT)]


def _block(table: Table | None, columns: int) -> list[Styled]:
    return [*lay_out(table, columns), Styled("")] if table else []


def _fingerprint(differences: Sequence[str], columns: int) -> list[Styled]:
    if not differences:
        return []
    head = Styled("! The two ran under different conditions:", Tone.WARN)
    return [head, *_told([f"- {safe(one)}" for one in differences], columns, Tone.WARN)]


# --- exact metrics ---------------------------------------------------------------------------


def _exact_table(rows: Sequence[RowComparison], verdict: Verdict) -> Table | None:
    lines = [
        Line(
            (
                one.metric.heading,
                scale.value(one.metric, one.base),
                scale.value(one.metric, one.head),
                "new" if one.relative is None else _signed(one.relative),
                safe(row.id),
            ),
            tone=_TONES[verdict],
        )
        for row in rows
        for one in row.exact
        if one.verdict is verdict
    ]
    heads = [Column("metric", label=True), Column("base"), Column("head"), Column("change"),
             Column("row", label=True)]  # fmt: skip
    return Table(_TITLES[verdict], heads, lines) if lines else None


def _signed(fraction: float) -> str:
    return f"{'+' if fraction >= 0 else '-'}{scale.percent(abs(fraction))}"


# --- timing ----------------------------------------------------------------------------------


def _timing_table(rows: Sequence[RowComparison], *, everything: bool) -> Table | None:
    timed = [(row, row.timing) for row in rows if row.timing is not None]
    shown = [(row, timing) for row, timing in timed if everything or is_notable(timing)]
    if not timed:
        return None
    shown.sort(key=lambda pair: -pair[1].estimate)
    heads = [Column("change"), Column("interval"), Column("base"), Column("head"),
             Column("row", label=True)]  # fmt: skip
    quiet = len(timed) - len(shown)
    return Table(
        "Time per operation (advisory, never judged)",
        heads,
        [_timing_line(row, timing) for row, timing in shown],
        subtitles=[
            "Two runs at different times differ by more than their processes tell; "
            "the exact metrics decide."
        ],
        notes=[*_quiet(quiet), *_confidence([timing for _, timing in timed])],
    )


def is_notable(timing: Change) -> bool:
    """The interval leaves out "no change" and the estimate is beyond what matters."""
    floor = METRICS["ns_per_op"].relative_floor
    return abs(timing.estimate) > floor and (timing.low > 0 or timing.high < 0)


def _timing_line(row: RowComparison, timing: Change) -> Line:
    notable = is_notable(timing)
    tone = (Tone.WARN if timing.estimate > 0 else Tone.GOOD) if notable else Tone.PLAIN
    cells = (
        _signed(timing.estimate),
        f"{_signed(timing.low)} to {_signed(timing.high)}",
        "" if row.base_ns is None else scale.time(row.base_ns),
        "" if row.head_ns is None else scale.time(row.head_ns),
        safe(row.id),
    )
    return Line(cells, tone=tone)


def _quiet(count: int) -> list[str]:
    if not count:
        return []
    rows = "1 row is" if count == 1 else f"{count} rows are"
    return [f"{rows} not shown: no change beyond its interval or 3 % (--all shows them)."]


def _confidence(timings: Sequence[Change]) -> list[str]:
    least = min(timing.confidence for timing in timings)
    few = "; more processes would reach 95 %" if least < 0.949 else ""
    return [f"Intervals cover {scale.percent(least)} or more of such comparisons{few}."]


# --- what could not be compared ---------------------------------------------------------------


def _missing(missing: Sequence[Missing], remedies: Sequence[str], columns: int) -> list[Styled]:
    if not missing:
        return []
    lines = [Styled("Missing", Tone.TITLE)]
    for one in missing:
        told = f"in {one.side}: {safe(one.id)} ({safe(one.reason)})"
        lines += _told([told], columns, Tone.WARN)
    commands = [f"To fill the gap: {safe(remedy)}" for remedy in remedies]
    return [*lines, *_told(commands, columns, Tone.PLAIN), Styled("")]


def _unjudged(rows: Sequence[RowComparison], columns: int) -> list[Styled]:
    """Exact metrics that were not judged, once per reason."""
    counts: dict[str, int] = {}
    for row in rows:
        for reason in row.unjudged:
            counts[reason] = counts.get(reason, 0) + 1
    told = [
        f"! not judged in {number} row{'s' if number > 1 else ''}: {safe(reason)}"
        for reason, number in counts.items()
    ]
    return [*_told(told, columns, Tone.WARN), Styled("")] if told else []


def rerun_command(other: RunResult, target: str) -> str:
    """The ``bench run`` that gives ``target`` the rows ``other`` has, as it was run."""
    words = ["bench", "run", *(str(file.get("path")) for file in other.scenario_files)]
    for option, name in (("-P", "params"), ("--backend", "backends"), ("-k", "select")):
        given = other.settings.get(name)
        for value in given if isinstance(given, list) else []:
            words += [option, str(value)]
    words += ["--quick"] if other.settings.get("quick") else []
    return shlex.join([*words, "-o", target])


# --- the verdict -----------------------------------------------------------------------------


def verdict_of(found: Comparison) -> str:
    return _VERDICTS[found.exit_code]


def _verdict(found: Comparison, columns: int) -> list[Styled]:
    parts = [f"{found.count(verdict)} {verdict}" for verdict in Verdict if found.count(verdict)]
    parts += [f"{len(found.missing)} missing"] if found.missing else []
    summary = f"{len(found.rows)} rows on both sides, {found.judged} exact metrics judged"
    tone = Tone.GOOD if found.exit_code == ExitCode.OK else Tone.BAD
    return [
        *_told([f"{summary}: {', '.join(parts) or 'nothing to compare'}."], columns, Tone.PLAIN),
        Styled(f"Verdict: {verdict_of(found)} (exit {found.exit_code})", tone),
    ]


def as_json(found: Comparison, names: tuple[str, str]) -> dict[str, Any]:
    """The same for scripts; ``schema`` 1."""
    return {
        "schema": 1,
        "base": names[0],
        "head": names[1],
        "verdict": verdict_of(found),
        "exit_code": found.exit_code,
        "fingerprint": found.fingerprint,
        "rows": [_row_as_json(row) for row in found.rows],
        "missing": [{"id": m.id, "side": m.side, "reason": m.reason} for m in found.missing],
    }


def _row_as_json(row: RowComparison) -> dict[str, Any]:
    exact = [
        {"metric": one.metric.id, "base": one.base, "head": one.head, "relative": one.relative,
         "verdict": str(one.verdict)}
        for one in row.exact
    ]  # fmt: skip
    timing = row.timing and {
        "metric": "ns_per_op",
        "base": row.base_ns,
        "head": row.head_ns,
        "estimate": row.timing.estimate,
        "low": row.timing.low,
        "high": row.timing.high,
        "confidence": row.timing.confidence,
        "advisory": True,
    }
    return {"id": row.id, "verdict": str(row.verdict), "judged": row.judged, "exact": exact,
            "timing": timing, "unjudged": row.unjudged}  # fmt: skip
