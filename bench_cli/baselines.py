"""Results to compare with later, small enough to commit: ``results/baselines/NAME.json``.

A baseline is a result without its raw samples. Beside it may stand ``NAME.accepted.json``: changes
of exact metrics that somebody accepted, each with a reason and the day on which it ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path

from bench_cli import results
from bench_cli.errors import OutputError, ResultFileError, UnknownName, UsageError
from bench_cli.latencies import PERCENTILE_OF
from bench_cli.registry import closest
from bench_cli.results import Row, RunResult, Samples
from bench_cli.strict_json import JsonProblem, Shape, build, dumps, parse

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_KEPT = ("ns_per_op", *PERCENTILE_OF)
_ACCEPTED = ".accepted.json"
_LARGEST = 16 << 20


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One metric of one row may be as bad as ``value`` until ``expires`` (ISO date, inclusive)."""

    row: str
    metric: str
    value: float
    reason: str
    expires: str


@dataclass(slots=True)
class _Accepted:
    accepted: list[Acceptance] = field(default_factory=list)
    schema: int = 1


def folder(results_dir: Path) -> Path:
    return results_dir / "baselines"


def path_of(name: str, results_dir: Path) -> Path:
    """Raises UsageError for what cannot be a file's name."""
    if not _NAME.fullmatch(name) or name.endswith(_ACCEPTED.removesuffix(".json")):
        raise UsageError(f"{name!r:.80} cannot name a baseline",
                         remedy="letters, digits, dots, dashes and underscores")  # fmt: skip
    return folder(results_dir) / f"{name}.json"


def names(results_dir: Path) -> list[str]:
    found = folder(results_dir).glob("*.json")
    return sorted(path.stem for path in found if not path.name.endswith(_ACCEPTED))


def find(name: str, results_dir: Path) -> Path:
    """The file of an existing baseline. Raises UnknownName."""
    path = path_of(name, results_dir)
    if not path.is_file():
        known = names(results_dir)
        hint = closest(name, known) if known else "there is none yet"
        raise UnknownName(
            f"no baseline {name!r}; {hint}",
            remedy=f"`bench baseline save {name}` keeps the newest result as one",
        )
    return path


def slim(result: RunResult) -> RunResult:
    """What comparing needs: metrics, and the time of each process."""
    return replace(result, results=[_slim_row(row) for row in result.results], ab=None)


def _slim_row(row: Row) -> Row:
    samples = Samples([], row.samples.ops, row.samples.payload, row.samples.unit)
    kept = {name: values for name, values in row.per_process.items() if _is_kept(name, values)}
    return replace(row, samples=samples, per_process=kept, limits={}, latency={}, warnings=[])


def _is_kept(name: str, values: Sequence[float]) -> bool:
    """Also what differs between processes though it should not: it is then not judged."""
    from bench_cli.metrics import METRICS, Kind

    metric = METRICS.get(name)
    exact = metric is not None and metric.kind is not Kind.NOISY
    return name in _KEPT or (exact and len(set(values)) > 1)


def save(name: str, result: RunResult, results_dir: Path) -> Path:
    """Replaces an earlier baseline of that name, and with it what was accepted against it."""
    path = path_of(name, results_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {path.parent}: {error.strerror}") from error
    results.write(path, slim(result))
    _accepted_path(path).unlink(missing_ok=True)
    return path


# --- accepted changes ------------------------------------------------------------------------


def _accepted_path(baseline: Path) -> Path:
    return baseline.with_name(f"{baseline.stem}{_ACCEPTED}")


def accepted(baseline: Path) -> list[Acceptance]:
    """What was accepted against a baseline, expired or not. Raises ResultFileError."""
    path = _accepted_path(baseline)
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST).decode("utf-8")
        found = build(_Accepted, parse(text), Shape("accepted"))
        for one in found.accepted:
            date.fromisoformat(one.expires)
    except FileNotFoundError:
        return []
    except (JsonProblem, OSError, ValueError) as error:
        raise ResultFileError(
            f"{path}: {error}", remedy="remove it, and accept again with `bench baseline accept`"
        ) from None
    return found.accepted


def accept(baseline: Path, new: Sequence[Acceptance]) -> None:
    """Add acceptances; a later one for the same row and metric replaces the earlier."""
    kept = {(one.row, one.metric): one for one in [*accepted(baseline), *new]}
    entries = ",".join("\n" + dumps(asdict(one)) for one in kept.values())
    results.write_atomically(
        _accepted_path(baseline), f'{{\n"schema": 1,\n"accepted": [{entries}]\n}}\n'.encode()
    )
