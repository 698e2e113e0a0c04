"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bench_cli.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def seconds(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Callback for an option that takes a time: ``90s``, ``5m``."""
    if text is None:
        return None
    from bench_cli.units import parse_time

    try:
        found = parse_time(text) / 1e9
    except UsageError as error:
        raise click.BadParameter(error.message, context, parameter) from None
    if not found:
        raise click.BadParameter(f"{text!r} is no time to run in", context, parameter)
    return found


scenarios = click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")

select = click.option(
    "-k",
    "select",
    multiple=True,
    metavar="PATTERN",
    help="Only cells whose id contains PATTERN (* and ? are wildcards).",
)

core = click.option(
    "--core",
    type=click.Choice(["native", "python"]),
    help="Which twin runs; by default native where it is built.",
)

allow_code = click.option(
    "--allow-code",
    is_flag=True,
    help="Allow backends given as module:Class, which runs their code.",
)


def params(help: str) -> Callable[[F], F]:
    return click.option("-P", "params", multiple=True, metavar="KEY=VALUE", help=help)


def budget(help: str) -> Callable[[F], F]:
    return click.option("--budget", "budget_s", callback=seconds, metavar="TIME", help=help)


def resume(what: str) -> Callable[[F], F]:
    """``what`` is finished: a run or a session."""
    return click.option(
        "--resume",
        metavar="FILE",
        help=f"Finish an interrupted {what}: its journal, its result, or latest.",
    )


def output(help: str) -> Callable[[F], F]:
    return click.option("-o", "output", type=click.Path(path_type=Path), metavar="FILE", help=help)


seed = click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=42,
    show_default=True,
    help="Orders the processes.",
)

rigorous = click.option("--rigorous", is_flag=True, help="24 pairs instead of 12.")

_SELECTION = (
    scenarios,
    select,
    params("Set a parameter; repeat a key to make it an axis."),
    click.option("--backend", "backends", multiple=True, metavar="NAME",
                 help="Run on this backend instead; repeatable."),
    core,
    click.option("--quick", is_flag=True,
                 help="Fewer and shorter samples: a first look, never a verdict."),
    allow_code,
)  # fmt: skip


def selection(command: F) -> F:
    """What to run: scenarios, and what the command line changes about them."""
    for option in reversed(_SELECTION):
        command = option(command)
    return command


output_format = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)

comparison_format = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
    help="markdown is fit for a comment on a pull request.",
)

fail_on = click.option(
    "--fail-on",
    "fail_on",
    type=click.Choice(["regression", "undecided"]),
    default="regression",
    show_default=True,
    help="What ends with a failing exit code; undecided includes regression.",
)

everything = click.option(
    "--all", "everything", is_flag=True, help="Also show rows that did not change."
)


def _share(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """``5%`` or ``0.05``."""
    from bench_cli.units import parse_share

    if text is None:
        return None
    try:
        value = parse_share(text)
    except UsageError as error:
        raise click.BadParameter(error.message, context, parameter) from None
    if not 0 < value < 10:
        raise click.BadParameter(f"{text!r:.40} is not a share like 5%", context, parameter)
    return value


limit = click.option(
    "--limit",
    callback=_share,
    metavar="SHARE",
    help="Smallest change of time that matters (by default as the scenario says, else 3%).",
)
