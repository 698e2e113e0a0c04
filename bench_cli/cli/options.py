"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
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


_SELECTION = (
    click.argument("scenarios", nargs=-1, metavar="[SCENARIO]..."),
    click.option("-k", "select", multiple=True, metavar="PATTERN",
                 help="Only cells whose id contains PATTERN (* and ? are wildcards)."),
    click.option("-P", "params", multiple=True, metavar="KEY=VALUE",
                 help="Set a parameter; repeat a key to make it an axis."),
    click.option("--backend", "backends", multiple=True, metavar="NAME",
                 help="Run on this backend instead; repeatable."),
    click.option("--core", type=click.Choice(["native", "python"]),
                 help="Which twin runs; by default native where it is built."),
    click.option("--quick", is_flag=True,
                 help="Fewer and shorter samples: a first look, never a verdict."),
    click.option("--allow-code", is_flag=True,
                 help="Allow backends given as module:Class, which runs their code."),
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
