"""Progress of work that is counted: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench_cli.filesystem import CLOCK
from bench_cli.report.scale import duration

_EVERY_NS = 10_000_000_000


@contextmanager
def counting(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yields ``advance(count)``. Everything goes to stderr."""
    if quiet:
        yield lambda count: None
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bar(total) as advance:
            yield advance
    else:
        yield _Lines(total).advance


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    from rich import progress
    from rich.console import Console

    shown = progress.Progress(
        progress.BarColumn(bar_width=24),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False, markup=False, emoji=False),
        transient=True,
    )
    with shown:
        task = shown.add_task("", total=total or None)
        yield lambda count: shown.update(task, advance=count)


class _Lines:
    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._began_ns = self._told_ns = CLOCK.now_ns()

    def advance(self, count: int) -> None:
        self._done += count
        now = CLOCK.now_ns()
        if now - self._told_ns < _EVERY_NS or not 0 < self._done < self._total:
            return
        self._told_ns = now
        left = (now - self._began_ns) / 1e9 / self._done * (self._total - self._done)
        share = 100 * self._done // self._total
        sys.stderr.write(f"{share} % done, about {duration(left)} left\n")
