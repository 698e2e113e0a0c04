"""Layer B for a pool or a cache on a log: the power of a real ext4's disk goes under it (opt-in;
root).

Runs as ``power.py`` does, on the same disk. What the writer does follows from a seed and is done in
memory first (``engine_kills.py``), so it is known what there must be after every step; steps are
what is acknowledged. Each disk that a loss of power may leave is mounted, and the engine recovered
from a copy of what ext4 brings back: the next life recovers those files themselves, on the disk.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_cli.errors import BenchError
from bench_cli.faults.engine_kills import EngineKilling, Lives, Told, files_of
from bench_cli.faults.explore import Bound, Broken
from bench_cli.faults.kills import Killing
from bench_cli.faults.power import ACK, Judged, Losses, Machine, Unforeseen, report
from bench_cli.faults.power import command as command_of

LOSERS = "bench_cli.faults.engine_power"  # by this name it is run
ANY = 1 << 60  # steps, more than are ever made


def command(killing: Killing) -> list[str]:
    """What runs this module in namespaces of its own."""
    return command_of(killing, LOSERS)


class Synced(Told):
    """Of what is told, ``power.py`` asks for what was promised."""

    def tell(self) -> None:
        os.write(self.pipe, ACK.pack(self.now.written, self.now.promised))


class OnADisk(Lives):
    """One log of the engine on the disk. ``judged``: the files that were looked at last."""

    tells = Synced

    def __init__(self, killing: EngineKilling, draw: random.Random, memory: Path) -> None:
        super().__init__(killing, draw, memory)
        self._first = True
        self.judged: dict[str, bytes] = {}

    def foresee(self, life: int, last: int) -> None:
        """Do it in memory. Raises Broken, BenchError or OSError."""
        self._first = self._known is None
        self._known = self._in_memory(life, last)

    @property
    def marks(self) -> int:
        return len(self._known.bounds.marks)

    def work(self, log: Path, pipe: int, life: int, last: int, *, meanwhile: bool) -> None:
        self._home = log
        self._write(pipe, life, last, first=self._first, meanwhile=meanwhile)

    def steps(self, log: Path) -> int:
        """How many a recovery finds. Raises Broken, and what the recovery raises."""
        self._home, self.judged = log, files_of(log)
        return self._found(Bound(0, 0, ANY))


class OfAnEngine:
    """``power.Work``: the steps of an engine are what is acknowledged."""

    def __init__(self, killing: EngineKilling, memory: Path) -> None:
        self._killing, self._memory = killing, memory
        self._draw = random.Random(killing.seed)
        self.begin()

    @property
    def acknowledgements(self) -> int:
        """Of the life that comes."""
        return self._lives.marks

    def begin(self) -> None:
        self._lives = OnADisk(self._killing, self._draw, self._memory)

    def writer(self, number: int, life: int, last: int) -> Callable[[Path, int], None]:
        lives, meanwhile = self._lives, self._draw.random() < 0.5
        try:
            lives.foresee(life, last)
        except (Broken, BenchError, OSError) as error:
            raise Unforeseen(f"in memory: {type(error).__name__}: {error}") from error
        return lambda log, pipe: lives.work(log, pipe, life, last, meanwhile=meanwhile)

    def judge(self, log: Path, told: int) -> Judged:
        try:
            found = self._lives.steps(log)
        except (Broken, BenchError, OSError) as error:
            return f"{type(error).__name__}: {error}", 0
        wrong = f"{found} steps are found; {told} must be" if found < told else None
        return wrong, found

    def live_on(self) -> None:
        self._lives.image = self._lives.judged

    @property
    def under(self) -> str:
        return ""

    def setting(self) -> dict[str, Any]:
        return self._lives.setting()


def main(asked: str) -> None:
    """Prints what was found. ``asked``: an EngineKilling, as JSON."""
    killing = EngineKilling(**json.loads(asked))
    machine = Machine(Path(killing.scratch))
    report(Losses(killing, machine, OfAnEngine(killing, machine.memory)))


if __name__ == "__main__":
    main(sys.argv[1])
