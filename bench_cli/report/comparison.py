"""Two results against each other, as tables: what got worse first, what is quiet as a count."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench_cli.errors import ExitCode
from bench_cli.metrics import METRICS
from bench_cli.report import scale
from bench_cli.report.layout import INDENT, lay_out
from bench_cli.report.model import Column, Line, Styled, Table, Tone
from bench_cli.report.requirements import requirements_table
from bench_cli.report.text import safe, wrap
from bench_cli.results import RunResult
from bench_cli.stats.compare import Comparison, LatencyChange, Missing, RowComparison
from bench_cli.stats.interval import Change
from bench_cli.stats.verdict import MOST_PAIRS, Judgement, Verdict, pairs_to_decide

_VERDICTS = {
    ExitCode.OK: "no regression",
    ExitCode.REGRESSION: "regression",
    ExitCode.UNDECIDED: "undecided",
    ExitCode.NOTHING_COMPARED: "nothing could be compared",
    ExitCode.ROW_MISSING: "a row is missing",
    ExitCode.REQUIREMENT_MISSED: "a requirement was missed",
    ExitCode.RUN_FAILED: "a row failed",
    ExitCode.INTERRUPTED: "interrupted, of finished pairs only",
}
_TONES = {
    Verdict.REGRESSED: Tone.BAD,
    Verdict.IMPROVED: Tone.GOOD,
    Verdict.UNDECIDED: Tone.WARN,
    Verdict.SAME: Tone.PLAIN,
}
_TITLES = {Verdict.REGRESSED: "Regressed", Verdict.IMPROVED: "Improved"}


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison with what it takes to tell it. ``names`` of base and head; ``everything`` also
    shows rows that did not change; ``remedies``: commands that fill missing rows;
    ``reproduce``: the command that repeats the worst row."""

    found: Comparison
    names: tuple[str, str]
    everything: bool = False
    remedies: Sequence[str] = ()
    reproduce: str | None = None


def render(told: Compared, columns: int) -> list[Styled]:
    """All lines, for a terminal of that many columns."""
    base, head = told.names
    lines = _told([f"base {safe(base)}, head {safe(head)}"], columns, Tone.DIM)
    lines += _fingerprint(told.found, columns)
    lines.append(Styled(""))
    for table in tables(told):
        lines += [*lay_out(table, columns), Styled("")]
    lines += _failed(told.found.failed, columns)
    lines += _missing(told.found.missing, told.remedies, columns)
    lines += _unjudged(told.found.rows, columns)
    return [*lines, *_closing(told, columns)]


def tables(told: Compared) -> list[Table]:
    """What got worse first."""
    found = told.found
    timed = paired_table if found.paired else _timing_table
    built = [
        _exact_table(found.rows, Verdict.REGRESSED),
        timed(found.rows, everything=told.everything),
        _exact_table(found.rows, Verdict.IMPROVED),
        requirements_table(found.missed) if found.missed else None,
    ]
    if not found.paired:
        built[1], built[2] = built[2], built[1]
    built.insert(3, _latency_table(found.rows, everything=told.everything))
    return [table for table in built if table is not None]


def _told(texts: Sequence[str], columns: int, tone: Tone) -> list[Styled]:
    return [Styled(line, tone) for text in texts for line in wrap(text, columns, INDENT)]


def _fingerprint(found: Comparison, columns: int) -> list[Styled]:
    if not found.fingerprint:
        return []
    tone = Tone.DIM if found.paired else Tone.WARN
    told = "What differs:" if found.paired else "! The two ran under different conditions:"
    return [
        Styled(told, tone),
        *_told([f"- {safe(one)}" for one in found.fingerprint], columns, tone),
    ]


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


# --- latencies -------------------------------------------------------------------------------


def _latency_table(rows: Sequence[RowComparison], *, everything: bool) -> Table | None:
    """Percentiles that changed, the worst first; with ``everything`` also the quiet ones."""
    told = [(row, one) for row in rows for one in row.latencies]
    shown = [(row, one) for row, one in told if everything or one.is_notable]
    if not told:
        return None
    known = [one.interval for _, one in shown if one.interval is not None]
    shown.sort(key=lambda pair: -(pair[1].relative or 0.0))
    heads = [Column("latency", label=True), Column("change"), Column("interval"), Column("base"),
             Column("head"), Column("row", label=True)]  # fmt: skip
    return Table(
        "Latency (advisory, never judged)",
        heads,
        [_latency_line(row, one) for row, one in shown],
        notes=[*_quiet_latencies(len(told) - len(shown)), *(_confidence(known) if known else ())],
    )


def _latency_line(row: RowComparison, one: LatencyChange) -> Line:
    interval = "unknown"
    if one.interval is not None:
        interval = f"{_signed(one.interval.low)} to {_signed(one.interval.high)}"
    worse = (one.relative or 0.0) > 0
    tone = (Tone.WARN if worse else Tone.GOOD) if one.is_notable else Tone.PLAIN
    cells = (
        one.metric.heading,
        "unknown" if one.relative is None else _signed(one.relative),
        interval,
        scale.time(one.base),
        scale.time(one.head),
        safe(row.id),
    )
    return Line(cells, tone=tone)


def _quiet_latencies(count: int) -> list[str]:
    if not count:
        return []
    told = "1 percentile is" if count == 1 else f"{count} percentiles are"
    floors = "3 % (10 % from p99 on)"
    return [f"{told} not shown: no change beyond its interval, if it has one, or {floors}."]


# --- time, judged ----------------------------------------------------------------------------


def paired_table(rows: Sequence[RowComparison], *, everything: bool) -> Table | None:
    """Every row of an A/B session that is not the same, with what it can tell at all."""
    judged = [(row, row.judgement) for row in rows if row.judgement is not None]
    shown = [(row, one) for row, one in judged if everything or one.verdict is not Verdict.SAME]
    if not judged:
        return None
    heads = [
        Column("time"), Column("change"), Column("95 %", priority=2), Column("detectable"),
        Column("pairs", priority=4), Column("base", priority=3), Column("head", priority=3),
        Column("row", label=True),
    ]  # fmt: skip
    advisory = [(row, row.advisory) for row, _ in judged if row.advisory]
    return Table(
        "Time per operation",
        heads,
        [_paired_line(row, one) for row, one in shown],
        notes=[*_same(judged, len(judged) - len(shown)), *_to_decide(judged)],
        warnings=[f"advisory: {safe(row.id)}: {reason}" for row, reason in advisory],
    )


def _paired_line(row: RowComparison, one: Judgement) -> Line:
    interval = "unknown"
    if one.low is not None and one.high is not None:
        interval = f"{_signed(one.low)} to {_signed(one.high)}"
    cells = (
        f"({one.verdict})" if row.advisory else str(one.verdict),
        _signed(one.estimate),
        interval,
        "unknown" if one.detectable is None else scale.percent(one.detectable),
        str(one.pairs),
        "" if row.base_ns is None else scale.time(row.base_ns),
        "" if row.head_ns is None else scale.time(row.head_ns),
        safe(row.id),
    )
    return Line(cells, tone=Tone.WARN if row.advisory else _TONES[one.verdict])


def _same(judged: Sequence[tuple[RowComparison, Judgement]], quiet: int) -> list[str]:
    """What stands behind the rows that are not shown."""
    if not quiet:
        return []
    limits = sorted({one.limit for _, one in judged})
    told = scale.percent(limits[0])
    told += f" to {scale.percent(limits[-1])}" if len(limits) > 1 else ""
    rows = "1 row is" if quiet == 1 else f"{quiet} rows are"
    return [f"{rows} not shown: the same, not slower by {told} or more (--all shows them)."]


def _to_decide(judged: Sequence[tuple[RowComparison, Judgement]]) -> list[str]:
    """What would decide the undecided: pairs where that many can be had, else less noise."""
    undecided = [one for _, one in judged if one.verdict is Verdict.UNDECIDED]
    if not undecided:
        return []
    needed = [pairs for one in undecided if (pairs := pairs_to_decide(one)) is not None]
    most = max(needed, default=0)
    if needed and most <= MOST_PAIRS:
        return [f"Undecided: about {most} pairs would decide (--rigorous, or --budget TIME)."]
    reach = sum(pairs <= MOST_PAIRS for pairs in needed)
    some = (
        f"{reach} of {len(undecided)} rows by more pairs (--budget TIME), the others"
        if reach
        else "only"
    )
    return [
        f"Undecided: {some} by less noise (a quiet machine, longer samples) or a wider --limit: "
        '"detectable" is the smallest change they can show.'
    ]


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


def _failed(failed: Sequence[Missing], columns: int) -> list[Styled]:
    if not failed:
        return []
    told = [f"{safe(one.id)} ({safe(one.reason)})" for one in failed]
    return [Styled("Failed on head", Tone.TITLE), *_told(told, columns, Tone.BAD), Styled("")]


def unjudged(rows: Sequence[RowComparison]) -> list[str]:
    """What was not judged, once per reason."""
    counts = Counter(reason for row in rows for reason in row.unjudged)
    return [
        f"not judged in {number} row{'s' if number > 1 else ''}: {safe(reason)}"
        for reason, number in counts.items()
    ]


def _unjudged(rows: Sequence[RowComparison], columns: int) -> list[Styled]:
    told = [f"! {text}" for text in unjudged(rows)]
    return [*_told(told, columns, Tone.WARN), Styled("")] if told else []


def rerun_command(other: RunResult, target: str | None = None, cell: str | None = None) -> str:
    """The ``bench run`` that gives ``target`` the rows ``other`` has, as it was run; with ``cell``
    only that row."""
    words = ["bench", "run", *(str(file.get("path")) for file in other.scenario_files)]
    for option, name in (("-P", "params"), ("--backend", "backends"), ("-k", "select")):
        given = other.settings.get(name)
        for value in given if isinstance(given, list) and (name != "select" or not cell) else []:
            words += [option, str(value)]
    words += ["-k", cell] if cell else []
    words += ["--quick"] if other.settings.get("quick") else []
    return shlex.join([*words, *(("-o", target) if target else ())])


# --- the verdict -----------------------------------------------------------------------------


def verdict_of(found: Comparison) -> str:
    if not found.gates and found.exit_code == ExitCode.OK:
        return "none, this was a quick look"
    return _VERDICTS[found.exit_code]


def worst(found: Comparison) -> RowComparison | None:
    """The row that got worse most; None when none did."""
    return next((row for row in found.rows if row.verdict is Verdict.REGRESSED), None)


def closing(told: Compared) -> list[str]:
    """Sentences: the counts, and the verdict with its exit code as the last."""
    found = told.found
    counts = found.counts()
    parts = [f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]]
    parts += [f"{len(found.failed)} failed"] if found.failed else []
    parts += [f"{len(found.missing)} missing"] if found.missing else []
    parts += [f"{len(found.missed)} requirements missed"] if found.missed else []
    what = "metrics" if found.paired else "exact metrics"
    rows = "1 row" if len(found.rows) == 1 else f"{len(found.rows)} rows"
    summary = f"{rows} on both sides, {found.judged} {what} judged"
    lines = [f"{summary}: {', '.join(parts) or 'nothing to compare'}."]
    if not found.gates:
        lines.append("Too few pairs for a verdict, so nothing here fails.")
    lines.append(f"Verdict: {verdict_of(found)} (exit {found.exit_code})")
    return lines


def _closing(told: Compared, columns: int) -> list[Styled]:
    *counts, verdict = closing(told)
    tone = Tone.GOOD if told.found.exit_code == ExitCode.OK else Tone.BAD
    lines = [*_told(counts, columns, Tone.PLAIN), Styled(verdict, tone)]
    if told.reproduce:  # on one line however long: it is there to be copied
        lines += [Styled("The worst row again:"), Styled(f"  {safe(told.reproduce)}")]
    return lines


def as_json(told: Compared) -> dict[str, Any]:
    """The same for scripts; ``schema`` 1."""
    found = told.found
    return {
        "schema": 1,
        "base": told.names[0],
        "head": told.names[1],
        "verdict": verdict_of(found),
        "exit_code": found.exit_code,
        "gates": found.gates,
        "fingerprint": found.fingerprint,
        "rows": [_row_as_json(row) for row in found.rows],
        "missing": [{"id": m.id, "side": m.side, "reason": m.reason} for m in found.missing],
        "failed": [{"id": one.id, "reason": one.reason} for one in found.failed],
        "requirements_missed": [asdict(one) for one in found.missed],
        "reproduce": told.reproduce,
    }


def _row_as_json(row: RowComparison) -> dict[str, Any]:
    exact = [
        {"metric": one.metric.id, "base": one.base, "head": one.head, "relative": one.relative,
         "verdict": str(one.verdict)}
        for one in row.exact
    ]  # fmt: skip
    return {"id": row.id, "verdict": str(row.verdict), "judged": row.judged, "exact": exact,
            "timing": _timing_as_json(row), "latencies": _latencies_as_json(row),
            "unjudged": row.unjudged}  # fmt: skip


def _latencies_as_json(row: RowComparison) -> list[dict[str, Any]]:
    return [
        {"metric": one.metric.id, "base": one.base, "head": one.head, "relative": one.relative,
         "interval": asdict(one.interval) if one.interval else None, "advisory": True}
        for one in row.latencies
    ]  # fmt: skip


def _timing_as_json(row: RowComparison) -> dict[str, Any] | None:
    values = {"metric": "ns_per_op", "base": row.base_ns, "head": row.head_ns}
    if row.judgement is not None:
        return {**values, **asdict(row.judgement), "advisory": row.advisory is not None,
                "reason": row.advisory}  # fmt: skip
    if row.timing is not None:
        return {**values, **asdict(row.timing), "advisory": True}
    return None
