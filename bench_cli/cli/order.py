"""What one run was asked to do, and whether it can still be gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench_cli import environment, strict_json
from bench_cli.cells import Cell
from bench_cli.errors import UsageError
from bench_cli.run_store import Journal, ResumeRefused
from bench_cli.scenario import Overrides

_FORMER = "finish it where and as it began, or start anew with `bench run`"


@dataclass(frozen=True, slots=True)
class Order:
    """``resumed``: the journal this run goes on from. ``baseline``: what to compare with after."""

    words: Sequence[str]
    overrides: Overrides
    seed: int
    budget_s: float | None
    output: Path | None
    json: bool
    resumed: Journal | None = None
    baseline: str | None = None


@dataclass(slots=True)
class _Stored:
    """An order as a journal keeps it."""

    words: list[str]
    params: list[str]
    backends: list[str]
    core: str | None
    select: list[str]
    quick: bool
    allow_code: bool
    seed: int
    budget_s: float | None


def stored(order: Order) -> dict[str, Any]:
    """The order for a journal's header."""
    given = order.overrides
    return asdict(
        _Stored(
            list(order.words), list(given.params), list(given.backends), given.core,
            list(given.select), given.quick, given.allow_code, order.seed, order.budget_s,
        )
    )  # fmt: skip


def order_of(journal: Journal, *, allow_code: bool, json: bool) -> Order:
    """The order a journal began with. Code that a scenario names is run only if that is allowed
    anew: a journal is a file like any other. Raises ResumeRefused, UsageError."""
    try:
        found = strict_json.build(_Stored, journal.header.order, strict_json.Shape("order"))
    except strict_json.JsonProblem as problem:
        raise ResumeRefused(f"{journal.path}: {problem}", remedy=_FORMER) from None
    if found.allow_code and not allow_code:
        raise UsageError(
            f"{journal.path} was begun with --allow-code",
            remedy="give --allow-code again if you still trust that code",
        )
    overrides = Overrides(
        tuple(found.params), tuple(found.backends), found.core, tuple(found.select),
        found.quick, found.allow_code,
    )  # fmt: skip
    return Order(found.words, overrides, found.seed, found.budget_s, journal.result, json, journal)


def digests(cells: Iterable[Cell]) -> dict[str, str]:
    """What is done for each cell, in short: equal digests, equal work."""
    return {
        cell.id: hashlib.sha256(strict_json.dumps(asdict(cell)).encode()).hexdigest()[:16]
        for cell in cells
    }


def check_unchanged(
    journal: Journal,
    files: Sequence[Mapping[str, Any]],
    cells: Mapping[str, str],
    machine: dict[str, Any],
) -> None:
    """A row whose processes did different things, or ran on different machines, would mean
    nothing. Raises ResumeRefused naming everything that changed."""
    header = journal.header
    changed = [
        *_files_changed(header.scenario_files, files),
        *_cells_changed(header.cells, cells),
        *environment.differences(header.environment, machine),
    ]
    before, now = header.environment.get("revision"), machine.get("revision")
    if before != now:
        changed.append(f"revision of the tool: {before} -> {now}")
    if changed:
        text = "\n".join(f"  {one}" for one in changed[:20])
        raise ResumeRefused(
            f"{journal.path} cannot be resumed, because this changed:\n{text}", remedy=_FORMER
        )


def _files_changed(
    before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> list[str]:
    was = {one.get("path"): one.get("sha256") for one in before}
    is_ = {one.get("path"): one.get("sha256") for one in now}
    return [
        f"scenario file {path}: {_short(was.get(path))} -> {_short(is_.get(path))}"
        for path in {**was, **is_}
        if was.get(path) != is_.get(path)
    ]


def _short(digest: Any) -> str:
    return "absent" if digest is None else str(digest)[:12]


def _cells_changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    if before == now:
        return []
    gone = [f"the plan: {name} is gone" for name in before if name not in now]
    new = [f"the plan: {name} is new" for name in now if name not in before]
    other = [
        f"the plan: {name} has other settings"
        for name, digest in now.items()
        if before.get(name, digest) != digest
    ]
    return [*gone, *new, *other]
