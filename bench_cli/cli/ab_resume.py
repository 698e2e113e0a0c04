"""The journal of an A/B session, and going on from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench_cli import strict_json
from bench_cli.cli.order import check_unchanged, digests
from bench_cli.errors import UsageError
from bench_cli.run_store import Header, Journal, ResumeRefused, RunStore, journal_of
from bench_cli.runner.subjects import read_spec
from bench_cli.scenario import Overrides, Scenario, scenario_files

if TYPE_CHECKING:
    from pathlib import Path

    from bench_cli.cli.ab import Order
    from bench_cli.runner.ab import Match

KIND = "ab"
_FORMER = "finish it where and as it began, or start anew with `bench ab`"


@dataclass(slots=True)
class _Stored:
    """An order as a journal keeps it."""

    kind: str
    base: str
    head: str
    words: list[str]
    params: list[str]
    core: str | None
    select: list[str]
    quick: bool
    allow_code: bool
    pairs: int
    limit: float | None
    budget_s: float | None
    seed: int


def _stored(order: Order) -> dict[str, Any]:
    given = order.overrides
    return asdict(
        _Stored(
            KIND, order.base.text, order.head.text, list(order.words), list(given.params),
            given.core, list(given.select), given.quick, given.allow_code, order.pairs,
            order.limit, order.budget_s, order.seed,
        )
    )  # fmt: skip


def order_of(journal: Journal, *, allow_code: bool, form: str) -> Order:
    """The order a session began with. Raises ResumeRefused, UsageError."""
    from bench_cli.cli.ab import Order

    try:
        found = strict_json.build(_Stored, journal.header.order, strict_json.Shape("order"))
    except strict_json.JsonProblem as problem:
        raise ResumeRefused(f"{journal.path}: {problem}", remedy=_FORMER) from None
    if found.kind != KIND:
        raise ResumeRefused(f"{journal.path} is not the journal of an A/B session", remedy=_FORMER)
    if found.allow_code and not allow_code:
        raise UsageError(
            f"{journal.path} was begun with --allow-code",
            remedy="give --allow-code again if you still trust that code",
        )
    overrides = Overrides(
        tuple(found.params), (), found.core, tuple(found.select), found.quick, found.allow_code
    )
    return Order(
        read_spec(found.base), read_spec(found.head), found.words, overrides, found.pairs,
        found.limit, found.budget_s, found.seed, journal.result, form, journal,
    )  # fmt: skip


def open_store(
    order: Order,
    scenarios: Sequence[Scenario],
    matches: Sequence[Match],
    environments: tuple[dict[str, Any], dict[str, Any]],
    head: Path,
) -> RunStore:
    """The journal beside head's result: a new one, or the one that is gone on with. Raises
    ResumeRefused when anything is not what it was."""
    files = scenario_files(scenarios)
    cells = {
        f"{side} {name}": digest
        for side, chosen in (
            ("base", [m.base for m in matches]),
            ("head", [m.head for m in matches]),
        )
        for name, digest in digests(chosen).items()
    }
    base, machine = environments
    told = {**machine, "base": {name: base.get(name) for name in ("python", "packages", "commit")}}
    if order.resumed is None:
        header = Header(
            result=head.name, order=_stored(order), environment=told, scenario_files=files,
            cells=cells,
        )  # fmt: skip
        return RunStore(journal_of(head), header)
    check_unchanged(order.resumed, files, cells, machine)
    before = order.resumed.header.environment
    for name in ("base", "commit"):
        if before.get(name) != told.get(name):
            raise ResumeRefused(
                f"{order.resumed.path} cannot be resumed: {name} was {before.get(name)} and is "
                f"{told.get(name)}", remedy=_FORMER,
            )  # fmt: skip
    return RunStore.resume(order.resumed)
