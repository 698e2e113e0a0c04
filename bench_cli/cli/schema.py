"""``bench schema``: scenario files for editors and checkers."""

from __future__ import annotations

import json

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of scenario files.

    \b
    bench schema > scenario.schema.json
    """
    from bench_cli import catalogue, schema

    click.echo(json.dumps(schema.json_schema(catalogue.from_registry()), indent=2))
