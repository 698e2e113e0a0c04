"""The ``bench`` command: its commands by name, and the one place where errors become exit codes.

Command modules are imported when their command runs: ``bench --help`` must stay quick, and rich,
numpy, yaml and psutil are slow to import.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

from bench_cli import __version__
from bench_cli.errors import BenchError, ExitCode

COMMANDS = {
    "run": ("running", "Run scenarios, print the tables, leave a result file."),
    "plan": ("planning", "Show what a run would do, and for how long; nothing runs."),
    "show": ("showing", "Print the tables of a stored result."),
    "ab": ("ab", "Compare two versions in one session, and judge."),
    "compare": ("comparing", "Compare two stored results."),
    "baseline": ("baseline", "Keep results to compare with."),
    "noise": ("noise", "Measure how much each cell differs from itself."),
    "verify": ("verify", "Prove what a log survives, and a pool or a cache on it."),
    "wal": ("logs", "Check or repair the files of a log."),
    "list": ("listing", "List scenarios, cells or workloads."),
    "backends": ("backends", "List backends: cores, durability, capabilities."),
    "schema": ("schema", "Print the JSON Schema of scenario files."),
}
"""Module under ``bench_cli.cli`` and first help line, by command. A test keeps the lines equal to
the docstrings."""


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"bench_cli.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from bench_cli.registry import closest

            ctx.fail(f"no command {args[0]!r}; {closest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench")
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Benchmark write caches, write-ahead logs and draw ledgers: how fast they are, what they
    survive, and whether they just got slower.

    \b
    bench run                      everything that is shipped, in about six minutes
    bench run wal --quick          one file of scenarios, a first look
    bench show latest              the tables of the newest result
    bench compare old.json latest  what changed
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """The whole program. Returns the exit code; never raises but for SystemExit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.main(words, prog_name="bench", standalone_mode=False)
        return int(code or ExitCode.OK)
    except click.ClickException as error:
        return _usage(error)
    except (click.Abort, KeyboardInterrupt):
        _tell("interrupted")
        return ExitCode.INTERRUPTED
    except BenchError as error:
        _tell(f"error: {error.message}", error.remedy)
        return error.exit_code
    except Exception as error:  # the boundary: everything unforeseen ends here
        return _internal(error, debug="--debug" in words or bool(os.environ.get("BENCH_DEBUG")))


def _usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    help_command = f"{context.command_path if context else 'bench'} --help"
    _tell(f"error: {error.format_message()}", f"`{help_command}` explains the usage")
    return ExitCode.USAGE


def _internal(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    summary = f"{type(error).__name__}: {error}".strip(": ")
    _tell(
        f"internal error: {summary[:300]}",
        None if debug else "this is a fault of the tool; BENCH_DEBUG=1 shows where it happened",
    )
    return ExitCode.INTERNAL


def _tell(message: str, remedy: str | None = None) -> None:
    """Errors go to stderr, escaped: their text may come from a file."""
    from bench_cli.report.text import safe

    lines = [safe(line) for line in message.splitlines() or [""]]
    lines += [f"  {safe(line)}" for line in (remedy or "").splitlines()]
    encoding = sys.stderr.encoding or "utf-8"
    for line in lines:
        sys.stderr.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
