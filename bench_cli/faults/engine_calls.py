"""Layer C at every system call for a pool or a cache on a log: the lives of ``call_kills.py`` with
the writer and the judge of ``engine_kills.py``.

Runs as a program of its own (``python -m bench_cli.faults.engine_calls``) and writes one JSON line.
Of each log there are two lives: one that begins with nothing, and one that begins with what a kill
in the first one has left.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from bench_cli.errors import BenchError
from bench_cli.faults.call_kills import Died, Image, all_of, at_every_stop, restore, word_of
from bench_cli.faults.engine_kills import EngineKilling, KeptOfEngine, Lives, files_of, understood
from bench_cli.faults.explore import Broken
from bench_cli.faults.spoiling import SNAPSHOT
from bench_cli.faults.tracing import killed_at, traced

CALLERS = "bench_cli.faults.engine_calls"  # by this name it is run
ACTIONS = {"rewards": 12, "cache": 8}  # of one life
SOUGHT = 20  # seeds of which the first one whose life takes a snapshot is chosen


class Left(NamedTuple):
    """By a kill: the files, and how many steps are found in them."""

    image: Image
    found: int


NOTHING = Left({}, 0)


class Called(Lives):
    """One log that lives again and again in the same way. ``seed``: of the life."""

    def __init__(self, killing: EngineKilling, draw: random.Random, place: Path) -> None:
        super().__init__(killing, draw, place)
        self._actions = ACTIONS[self._engine]
        self._start, self._meanwhile = NOTHING, False
        self.seed = 0

    def begin(self, start: Left, seed: int, *, meanwhile: bool) -> None:
        """The life that comes. ``meanwhile``: a thread takes snapshots in it. Raises Broken, and
        what a life in memory raises."""
        self.image, self._start, self._meanwhile = start.image, start, meanwhile
        before = self._known
        for self.seed in range(seed, seed + SOUGHT):
            self._known = before
            self._known = self._in_memory(self.seed, start.found)
            if any(SNAPSHOT in name for name in self._known.disk.contents()):
                return

    def die_at(self, stop: int) -> Died:
        """A life until its ``stop``-th stop."""
        restore(self._start.image, self._home)
        process, pipe = traced(self._life)
        ended = killed_at(process, stop)
        told, wrong = understood(all_of(pipe), ended.status, self._start.found)
        image, written = files_of(self._home), told.written - self._start.found
        try:
            if wrong:
                raise Broken(wrong)
            found = self._found(told)
        except (Broken, BenchError, OSError) as error:
            return Died(ended, written, word_of(error), image)
        return Died(ended, written, None, image, Left(image, found))

    def _life(self, pipe: int) -> None:
        first = self._start is NOTHING
        self._write(pipe, self.seed, self._start.found, first=first, meanwhile=self._meanwhile)


def run(killing: EngineKilling) -> KeptOfEngine:
    """``count`` lives."""
    kept, draw = KeptOfEngine(), random.Random(killing.seed)
    for number in range(0, killing.count, 2):
        with tempfile.TemporaryDirectory(prefix="calls-", dir=killing.scratch) as place:
            called = Called(killing, draw, Path(place))
            left: Left | None = NOTHING
            for life in range(number, min(number + 2, killing.count)):
                if left is not None:
                    left = _lived(called, left, kept, killing.seed + SOUGHT * life, draw)
    return kept


def _lived(
    called: Called, start: Left, kept: KeptOfEngine, seed: int, draw: random.Random
) -> Left | None:
    """What one of the kills left; None after a failure. In every fourth life a thread takes
    snapshots."""
    try:
        called.begin(start, seed, meanwhile=seed // SOUGHT % 4 == 3)
    except (Broken, BenchError, OSError) as error:
        kept.failures.append(f"in memory, seed={seed}: {word_of(error)}")
        kept.keep(start.image, called.setting())
        return None
    left: Left | None = at_every_stop(
        called.die_at, kept, f"seed={called.seed}", draw, called.setting()
    )
    return left


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(EngineKilling(**json.loads(sys.argv[1]))))) + "\n")
