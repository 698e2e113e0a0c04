"""``bench list``: what there is to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench_cli.catalogue import Catalogue
    from bench_cli.interfaces import Parameter
    from bench_cli.report.model import Styled
    from bench_cli.scenario import Scenario


@click.command("list")
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option("--cells", "what", flag_value="cells", help="Every cell, by its id.")
@click.option(
    "--workloads",
    "what",
    flag_value="workloads",
    help="Workloads with their parameters, as scenario files may set them.",
)
@click.option("--allow-code", is_flag=True, help="Accept backends given as module:Class.")
def command(scenarios: tuple[str, ...], what: str | None, allow_code: bool) -> None:
    """List scenarios, cells or workloads.

    \b
    bench list
    bench list wal --cells
    bench list --workloads
    """
    from bench_cli import catalogue as catalogues
    from bench_cli.cli.loading import load_scenarios
    from bench_cli.report import console
    from bench_cli.report.model import Styled
    from bench_cli.scenario import Overrides

    catalogue = catalogues.from_registry()
    columns = console.columns()
    if what == "workloads":
        console.emit(_workloads(catalogue, columns))
        return
    loaded = load_scenarios(scenarios, catalogue, Overrides(allow_code=allow_code))
    if what == "cells":
        console.emit(Styled(cell.id) for one in loaded for cell in one.cells)
        return
    console.emit(_scenarios(loaded, columns))


def _scenarios(loaded: list[Scenario], columns: int) -> list[Styled]:
    from bench_cli.report.planned import Entry, listing

    entries = [
        Entry((one.name, one.workload, str(len(one.cells)), one.path), one.description)
        for one in loaded
    ]
    return listing("Scenarios", ("name", "workload", "cells", "file"), entries, columns)


def _workloads(catalogue: Catalogue, columns: int) -> list[Styled]:
    from bench_cli.report.planned import Entry, listing

    entries = [
        Entry(
            (name, workload.engine or "none", "; ".join(map(_parameter, workload.parameters))),
            getattr(workload, "help", ""),
        )
        for name, workload in sorted(catalogue.workloads.items())
    ]
    return listing("Workloads", ("name", "engine", "parameters"), entries, columns)


def _parameter(parameter: Parameter) -> str:
    """``record=512B``, with the words it may be where there are few."""
    from bench_cli.cells import format_value

    default = format_value(parameter.default, parameter.kind)
    words = f" ({'|'.join(parameter.choices)})" if parameter.kind == "choice" else ""
    return f"{parameter.name}={default}{words}"
