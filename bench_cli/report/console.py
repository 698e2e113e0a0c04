"""The terminal: styled lines on stdout, progress on stderr. The only place of reports that knows
rich, and only where there are colours or a live bar to show.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from bench_cli.filesystem import CLOCK
from bench_cli.interfaces import Clock
from bench_cli.report.model import Styled, Tone
from bench_cli.report.scale import duration
from bench_cli.report.text import safe

if TYPE_CHECKING:
    from rich.progress import Progress

NARROWEST = 40
_STYLES = {
    Tone.TITLE: "bold",
    Tone.DIM: "dim",
    Tone.HEADING: "bold cyan",
    Tone.PLAIN: "",
    Tone.GOOD: "green",
    Tone.BAD: "bold red",
    Tone.WARN: "yellow",
}
_BAR_AND_TIMES = 46  # columns of the bar, "1234/1234" and "0:12:34"
_PLAIN_EVERY_NS = 10_000_000_000


def columns() -> int:
    """The terminal's width; COLUMNS overrides it, 80 where there is no terminal."""
    return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def is_coloured(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def emit(lines: Iterable[Styled], stream: TextIO | None = None) -> None:
    """Print lines. What does not belong on a terminal has been escaped where the lines were made;
    it is escaped here once more, because this is the last place. A reader that went away
    (``| head``) does not end the run."""
    target = stream or sys.stdout
    try:
        if is_coloured(target):
            _emit_coloured(lines, target)
        else:
            for line in lines:
                target.write(_encodable(safe(line.text), target) + "\n")
        target.flush()
    except BrokenPipeError:
        _silence(target)


def _emit_coloured(lines: Iterable[Styled], stream: TextIO) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    for line in lines:
        text = Text(_encodable(safe(line.text), stream), style=_STYLES[line.tone])
        console.print(text, soft_wrap=True)


def _encodable(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _silence(stream: TextIO) -> None:
    """Let later writes, and the flush at exit, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


# --- progress: the runner's observers --------------------------------------------------------


class Quiet:
    """No progress at all."""

    def started(self, cells: int, processes: int, estimate_s: float) -> None:
        """Nothing to show."""

    def process_done(self, cell_id: str, ok: bool, reason: str | None) -> None:
        """Nothing to show."""

    def finished(self) -> None:
        """Nothing to show."""


class PlainProgress:
    """A line now and then, for logs and pipes: the first, one every ten seconds, each failure."""

    def __init__(self, stream: TextIO, clock: Clock = CLOCK) -> None:
        self._stream, self._clock = stream, clock
        self._total = self._done = 0
        self._time_s = 0.0
        self._reason: str | None = None
        self._began_ns = self._told_ns = 0

    def started(self, cells: int, processes: int, estimate_s: float) -> None:
        self._total = processes
        self._time_s = estimate_s
        self._began_ns = self._told_ns = self._clock.now_ns()
        many = f"{processes} processes, about" if processes else "as many processes as fit in"
        self._say(f"{cells} cells in {many} {duration(estimate_s)}")

    def process_done(self, cell_id: str, ok: bool, reason: str | None) -> None:
        self._done += 1
        if not ok and reason:
            self._say(f"failed: {cell_id}: {'as before' if reason == self._reason else reason}")
            self._reason = reason
        now = self._clock.now_ns()
        if now - self._told_ns >= _PLAIN_EVERY_NS and (self._done < self._total or not self._total):
            self._told_ns = now
            spent = (now - self._began_ns) / 1e9
            left = max(0.0, self._time_s - spent)
            if self._total:
                left = spent / self._done * (self._total - self._done)
            self._say(f"{self._count()}, {duration(left)} left")

    def finished(self) -> None:
        spent = (self._clock.now_ns() - self._began_ns) / 1e9
        self._say(f"{self._count()} done in {duration(spent)}")

    def _count(self) -> str:
        return (
            f"{self._done} of {self._total} processes"
            if self._total
            else (f"{self._done} processes")
        )

    def _say(self, text: str) -> None:
        emit([Styled(text)], self._stream)


class LiveProgress:
    """A bar with the time left, on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress: Progress | None = None

    def started(self, cells: int, processes: int, estimate_s: float) -> None:
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[cell]}", markup=False),
            console=Console(file=self._stream, highlight=False, markup=False, emoji=False),
            transient=True,
        )
        self._progress.start()
        self._progress.add_task("", total=processes or None, cell=f"about {duration(estimate_s)}")

    def process_done(self, cell_id: str, ok: bool, reason: str | None) -> None:
        if self._progress is None:
            return
        if not ok and reason:
            self._progress.console.print(f"failed: {safe(cell_id)}: {safe(reason)}")
        self._progress.update(self._progress.task_ids[0], advance=1, cell=_shortened(cell_id))

    def finished(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def _shortened(cell_id: str) -> str:
    """Beside the bar on one line: rich would squeeze the bar to make room for a long id."""
    text, room = safe(cell_id), columns() - _BAR_AND_TIMES
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"


def progress(*, quiet: bool) -> Quiet | PlainProgress | LiveProgress:
    """The observer that suits stderr."""
    if quiet:
        return Quiet()
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveProgress(sys.stderr)
    return PlainProgress(sys.stderr)


def say(texts: Sequence[str], tone: Tone = Tone.PLAIN, stream: TextIO | None = None) -> None:
    """Plain sentences through the same door."""
    emit([Styled(text, tone) for text in texts], stream)
