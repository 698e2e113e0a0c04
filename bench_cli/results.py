"""The result of a run: in memory, and as JSON under ``results/``.

Schema history, one line per version:
  1  first version

A result file is input like any other: it may be truncated, edited by hand, made by another tool
or by someone who means harm. ``read`` bounds its size and nesting before it parses, checks every
field's type, and answers with one ``ResultFileError`` that names the place and what to do.
"""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from bench_cli.errors import OutputError, ResultFileError
from bench_cli.strict_json import JsonProblem, Shape, build, dumps, parse

SCHEMA = 1
MAX_BYTES = 256 << 20  # 10,000 cells: 5 processes x 5 samples 29 MB, 36 pairs x 3 samples 98 MB
STATUSES = ("ok", "failed", "skipped")
OUTCOMES = ("met", "missed", "unjudged")
SIDES = ("base", "head")
NOT_REACHED = "not reached"
"""Reason of a row of an A/B session that had no turn: the time was over, or the other side of its
cell cannot run."""
LATEST = "latest"
_REWRITE = "give a file written by `bench run`, or run again to make a new one"


@dataclass(slots=True)
class Samples:
    """Every raw value, one inner list per process. ``time_ns``: overhead-corrected time of each
    sample; ``ops``: operations per sample (the same in all processes of a row). ``interval_ns``,
    of sustained rows: the parts of that sample which has the slowest of them."""

    time_ns: list[list[float]] = field(default_factory=list)
    ops: int = 0
    payload: int = 0  # bytes per operation
    unit: str = "ops"  # "ops" | "draws"
    interval_ns: list[list[int]] = field(default_factory=list)


@dataclass(slots=True)
class Row:
    """One cell's result. ``status``: "ok" | "failed" | "skipped", with ``reason`` where not ok.
    ``metrics`` are keyed by the ids of ``metrics.py`` (medians over processes; latencies over the
    operations of all processes). ``per_process`` holds, for each noisy metric, one value per
    process, or nothing where not every process can tell it alone. ``limits`` holds, per limit row
    measured in the same processes, its ns/op, one value per process; ``ceiling`` is the expression
    that ``limit_share`` was computed from."""

    id: str
    scenario: str
    workload: str
    group: str
    backend: str | None
    core: str | None
    params: dict[str, Any]
    status: str
    reason: str | None = None
    durability: dict[str, Any] | None = None
    samples: Samples = field(default_factory=Samples)
    metrics: dict[str, float] = field(default_factory=dict)
    per_process: dict[str, list[float]] = field(default_factory=dict)
    limits: dict[str, list[float]] = field(default_factory=dict)
    ceiling: str | None = None
    latency: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RequirementOutcome:
    """One requirement of a scenario file, judged. ``status``: "met" | "missed" | "unjudged" (with
    ``reason``). ``value`` and ``bound`` in the metric's base unit; ``margin`` is how far the value
    is on the good side as a fraction of the bound (negative: missed by that much)."""

    scenario: str
    row: str
    metric: str
    relation: str  # "at_least" | "at_most"
    expression: str
    status: str
    value: float | None = None
    bound: float | None = None
    margin: float | None = None
    reason: str | None = None


@dataclass(slots=True)
class AbCell:
    """One cell of an A/B session. ``base`` and ``head`` are its rows on the two sides, ``id`` is
    theirs without what was compared. The ``run_ns_per_op`` and ``ns_per_op`` of both rows, one
    value per process, stand in the order of the pairs: first ``screen`` of them, then ``confirm``,
    then ``repeat``, then ``extra``.
    ``direction``: what the screened pairs made it a suspect of (+1 slower, -1 faster, 0 none).
    ``limit``: the smallest change that matters, a fraction."""

    id: str
    base: str
    head: str
    screen: int
    confirm: int
    extra: int
    direction: int
    limit: float
    repeat: int = 0


@dataclass(slots=True)
class AbSession:
    """Both results of an A/B session carry the same ``session``; ``side`` is "base" or "head".
    ``base`` and ``head`` say what was compared, ``command`` repeats it for one more ``-k CELL``.
    ``gates``: whether there were pairs enough for verdicts."""

    session: str
    side: str
    base: str
    head: str
    command: str
    gates: bool
    cells: list[AbCell]


@dataclass(slots=True)
class RunResult:
    environment: dict[str, Any]
    scenario_files: list[dict[str, Any]]  # {"path": ..., "sha256": ...}
    results: list[Row]
    requirements: list[RequirementOutcome] = field(default_factory=list)
    schema: int = SCHEMA
    created: str = ""  # ISO 8601, UTC
    interrupted: bool = False
    settings: dict[str, Any] = field(default_factory=dict)  # seed, quick, core ...
    ab: AbSession | None = None
    wall_s: float = 0.0
    """Seconds of the run, earlier sessions' processes included; 0.0 where they were not noted."""
    sampled_s: float = 0.0
    """Of them, in timed samples that count and in preparing their batches; limits' included."""


# --- reading ---------------------------------------------------------------------------------


def read(path: Path) -> RunResult:
    """The result in ``path``. Raises ResultFileError for anything that is not a whole, valid
    result of a schema this version knows."""
    try:
        with collector_at_rest():
            document = parse(_text_of(path))
            _check_version(document)
            result = build(RunResult, document, Shape("result"))
        _check_meaning(result)
    except JsonProblem as problem:
        where = f"{path}:{problem.place}" if problem.place else str(path)
        raise ResultFileError(f"{where}: {problem}", remedy=problem.remedy or _REWRITE) from None
    return result


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Reading makes objects by the million and no cycles, and so does comparing; looking for some
    again and again takes half the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _text_of(path: Path) -> str:
    """The file's text. Only regular files are opened: a FIFO would wait for ever."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ResultFileError(f"{path}: not a regular file", remedy=_REWRITE)
        if status.st_size > MAX_BYTES:
            raise ResultFileError(
                f"{path}: {status.st_size:,} bytes; a result file has at most {MAX_BYTES:,}",
                remedy=_REWRITE,
            )
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ResultFileError(f"{path}: {reason}", remedy=_REWRITE) from None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ResultFileError(
            f"{path}: byte {error.start}: not UTF-8 text", remedy=_REWRITE
        ) from None


def _check_version(document: Any) -> None:
    if not isinstance(document, dict) or not {"schema", "results"} <= document.keys():
        raise JsonProblem("JSON, but not a result of this tool (no `schema` and `results`)")
    version = document["schema"]
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise JsonProblem(f"`schema` is {version!r:.40}; a result has a whole number from 1")
    if version > SCHEMA:
        raise JsonProblem(
            f"written by a newer version (schema {version}; this one reads up to {SCHEMA})",
            remedy="upgrade bench_cli, or run again with this version",
        )


def _check_meaning(result: RunResult) -> None:
    seen: set[str] = set()
    for position, row in enumerate(result.results):
        place = f"results[{position}]"
        if row.status not in STATUSES:
            raise JsonProblem(f"{row.status!r:.40} is none of {', '.join(STATUSES)}",
                              field=f"{place}.status")  # fmt: skip
        if row.id in seen:
            raise JsonProblem(f"row {row.id!r} is there twice", field=f"{place}.id")
        seen.add(row.id)
    for position, outcome in enumerate(result.requirements):
        if outcome.status not in OUTCOMES:
            raise JsonProblem(f"{outcome.status!r:.40} is none of {', '.join(OUTCOMES)}",
                              field=f"requirements[{position}].status")  # fmt: skip
    if result.ab is not None:
        _check_session(result.ab, seen)


def _check_session(session: AbSession, rows: set[str]) -> None:
    if session.side not in SIDES:
        raise JsonProblem(f"{session.side!r:.40} is none of {', '.join(SIDES)}", field="ab.side")
    for position, cell in enumerate(session.cells):
        place = f"ab.cells[{position}]"
        counts = (cell.screen, cell.confirm, cell.repeat, cell.extra)
        if min(counts) < 0 or cell.direction not in (-1, 0, 1):
            raise JsonProblem("counts are 0 or more, a direction is -1, 0 or 1", field=place)
        if not 0 < cell.limit < 10:
            raise JsonProblem(f"a limit of {cell.limit:g}; it is a fraction", field=place)
        if (cell.base if session.side == "base" else cell.head) not in rows:
            raise JsonProblem("its row is not there", field=place)


# --- writing ---------------------------------------------------------------------------------


def to_json(result: RunResult) -> str:
    """The file's text: one line per row, so that two results can be compared with diff."""
    return "".join(_lines(result))


def _lines(result: RunResult) -> Iterator[str]:
    document = _plain(result)
    if result.ab is None:
        del document["ab"]
    head = {name: value for name, value in document.items() if not isinstance(value, list)}
    lists = {name: value for name, value in document.items() if isinstance(value, list)}
    yield "{\n"
    yield "".join(f'"{name}": {dumps(head[name])},\n' for name in sorted(head, key=_order))
    blocks = (
        f'"{name}": [' + ",".join("\n" + dumps(item) for item in lists[name]) + "]"
        for name in sorted(lists, key=_order)
    )
    yield ",\n".join(blocks)
    yield "\n}\n"


_FIRST = ("schema", "created", "interrupted", "settings", "environment", "scenario_files", "ab")


def _order(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _plain(value: Any) -> Any:
    """Dataclasses as dicts, recursively. (``dataclasses.asdict`` also copies every sample.)"""
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, list) and value and is_dataclass(value[0]):
        return [_plain(item) for item in value]
    return value


def write(path: Path, result: RunResult) -> None:
    """Write the result so that ``path`` holds either the old bytes or all of the new ones, also
    after a power cut. Raises OutputError."""
    try:
        text = to_json(result)
    except (ValueError, TypeError) as error:
        raise OutputError(
            f"the result cannot be stored as JSON: {error}",
            remedy="a backend or workload reports a metric that is no finite number",
        ) from error
    write_atomically(path, text.encode("utf-8"))


def write_atomically(path: Path, data: bytes) -> None:
    """The file holds either its old bytes or all of the new ones. Raises OutputError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(path: Path) -> None:
    """Find out before anything runs that the result can be stored. An earlier result may be
    replaced, any other file not: it is somebody's work. Raises OutputError."""
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a regular file", remedy="name a file with -o FILE")
        if path.exists() and not _may_be_replaced(path):
            raise OutputError(
                f"{path} exists and is not a result of this tool",
                remedy="name another file with -o FILE, or remove that one",
            )
        with probe.open("wb"):
            pass
        probe.unlink()
    except (OSError, ValueError) as error:
        raise _output_error(path, error) from error


def _may_be_replaced(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(200)
    return not start or (start.lstrip().startswith(b"{") and b'"schema"' in start)


def _output_error(path: Path, error: OSError | ValueError) -> OutputError:
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(
        f"cannot write {path}: {reason}", remedy="name a file you can write to with -o FILE"
    )


# --- naming ----------------------------------------------------------------------------------


def default_path(folder: Path, created: str, name: str) -> Path:
    """``folder/<UTC timestamp>-<name>.json``; ``created`` as in RunResult. The folder is made."""
    stamp = created[:19].replace("-", "").replace(":", "")
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _output_error(folder, error) from error
    return folder / f"{stamp}Z-{safe[:80].lstrip('.') or 'run'}.json"


def resolve(name: str, folder: Path) -> Path:
    """``latest`` is the newest result in ``folder``; any other name is a path."""
    if name != LATEST:
        return Path(name)
    found = [path for path in folder.glob("*.json") if not path.name.startswith(".")]
    if not found:
        raise ResultFileError(
            f"no result in {folder}/", remedy="`bench run` leaves one there; or name a file"
        )
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))
