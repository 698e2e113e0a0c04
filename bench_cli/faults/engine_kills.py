"""Layer C for a pool or a cache on a log: SIGKILL of whoever works with it, on real files.

Runs as a program of its own (``python -m bench_cli.faults.engine_kills``), for the reason that
``kills.py`` gives, and writes one JSON line. What a writer does follows from a seed: the judge has
done the same in memory before, and so knows what there must be after every step. The writer tells
through a pipe how many steps were begun and how many are done. What the kill left is recovered
from a copy, and the next writer recovers the files themselves and goes on with them.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bench_cli import registry
from bench_cli.errors import BenchError
from bench_cli.faults import caches, engines, pools
from bench_cli.faults.crashes import Failure
from bench_cli.faults.explore import Bound, Bounds, Broken
from bench_cli.faults.kills import (
    Eras,
    Kept,
    Killing,
    Lived,
    forked,
    killed_after,
    lives_of_one_log,
)
from bench_cli.faults.recorder import Recorder
from bench_cli.interfaces import Capability, LogBackend

KILLERS = "bench_cli.faults.engine_kills"  # by this name it is run
ACTIONS = {"rewards": 60, "cache": 40}  # of one life
SEGMENTS = {"rewards": 8 << 10, "cache": 32 << 10}
MOMENTS_NS = (100_000, 6_000_000)  # of the second kind is what a snapshot takes on a disk
WORD = 4000  # bytes of what a writer tells of an error: less than a pipe takes at once


@dataclass(frozen=True, slots=True)
class EngineKilling(Killing):
    """``log``: what the engine stands on."""

    log: str = ""

    def engine(self) -> Any:
        return registry.resolve(self.backend, self.core, allow_code=self.allow_code)

    def under(self) -> LogBackend:
        found = registry.resolve(self.log, self.core, allow_code=self.allow_code)
        return cast(LogBackend, found)


@dataclass(slots=True)
class KeptOfEngine(Kept):
    """``images``: of each failure, the files by name, in base64; ``settings``: what to recover them
    with."""

    images: list[dict[str, str]] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, image: Mapping[str, bytes], setting: dict[str, Any]) -> None:
        """Of the failure that was added last."""
        self.images.append({name: base64.b64encode(data).decode() for name, data in image.items()})
        self.settings.append(setting)


class Told(Bounds):
    """Each mark is told through a pipe before anything else is done."""

    def __init__(self, pipe: int, found: int) -> None:
        super().__init__([(0, Bound(found, found, found))])
        self.pipe = pipe

    def mark(self, at: int, **changed: int) -> None:
        super().mark(at, **changed)
        self.tell()

    def tell(self) -> None:
        os.write(self.pipe, b"%d %d\n" % (self.now.written, self.now.attempted))


def making_of(killing: EngineKilling, draw: random.Random) -> Any:
    """Another one for each log, over all settings of a row."""
    backend, log = killing.engine(), killing.under()
    policy = draw.choice(engines.POLICIES)
    if engines.engine_of(backend) == "cache":
        every = caches.SYNC_EVERY[policy]
        return caches.Making(backend, log, killing.format, SEGMENTS["cache"], every)
    can = backend.capabilities
    ack = draw.choice(pools.ACKS) if Capability.QUEUE in can else None
    return pools.Making(
        backend,
        log,
        killing.format,
        SEGMENTS["rewards"],
        "lasting",
        pools.FLUSH_EVERY[policy],
        draw.choice(("fenwick", "prefix_sum") if Capability.SELECTORS in can else ("fenwick",)),
        ack,
        draw.choice(("caller", "worker")) if ack in ("logged", "durable") else "caller",
    )


class Lives:
    """One log in ``place``, and all that is done with it."""

    tells: type[Told] = Told

    def __init__(self, killing: EngineKilling, draw: random.Random, place: Path) -> None:
        self._draw, self._place = draw, place
        self._making = making_of(killing, draw)
        self._engine = engines.engine_of(self._making.backend)
        self._actions = ACTIONS[self._engine]
        self._home = place / "log"
        self._known: Any = None  # the life before, as it was in memory
        self.image: dict[str, bytes] = {}

    def live(self, life: int, eras: Eras, last: int) -> Lived:
        """Of ``kills.lives_of_one_log``."""
        try:
            first, self._known = self._known is None, self._in_memory(life, last)
        except (Broken, BenchError, OSError) as error:
            return last, f"in memory: {type(error).__name__}: {error}", last
        told, wrong = self._killed(life, last, first=first)
        self.image = files_of(self._home)
        try:
            found = self._found(told)
        except (Broken, BenchError, OSError) as error:
            return told.written, f"{type(error).__name__}: {error}", last
        return told.written, wrong, found

    def setting(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self._making.setting())

    def _in_memory(self, seed: int, last: int) -> Any:
        """The life that comes, from beginning to end. No thread may be started here, before a
        fork; who works in a queue makes no difference to what is drawn."""
        making = self._making
        if self._engine == "rewards":
            making = replace(making, mode="caller")
        if self._known is None:
            return (pools if self._engine == "rewards" else caches).record(
                making, seed, self._actions
            )
        life = self._known.after(last, making, Recorder(self.image))
        engine, log, _ = life.reopen()
        life.lead(engine, log, seed, self._actions)
        life.end(engine, log)
        return life

    def _killed(self, seed: int, last: int, *, first: bool) -> tuple[Bound, str | None]:
        """(what the writer told, what went wrong with it)."""
        draw = self._draw
        meanwhile = draw.random() < 0.5
        wanted = 8 * draw.randrange(len(self._known.bounds.marks))  # a mark is some bytes
        process, pipe = forked(
            lambda to: self._write(to, seed, last, first=first, meanwhile=meanwhile)
        )
        heard, status = killed_after(process, pipe, wanted, draw.randrange(draw.choice(MOMENTS_NS)))
        return understood(heard, status, last)

    def _write(self, pipe: int, seed: int, last: int, *, first: bool, meanwhile: bool) -> None:
        """In a process of its own, until it is killed."""
        life = self._known.after(last, replace(self._making, home=self._home), None)
        life.bounds = self.tells(pipe, last)
        try:
            if first:
                engine, log = life.open(seed)
            else:
                engine, log, _ = life.reopen()
                found = life.check(engine, log)
                if found != last:
                    raise Broken(f"{found} steps are found; {last} were, a moment ago")
            with self._snapshots(life, engine, seed) if meanwhile else nullcontext():
                life.lead(engine, log, seed, self._actions)
            life.end(engine, log)
        except Exception as error:
            word = f"! {type(error).__name__}: {error}".replace("\n", " ").encode()[:WORD]
            os.write(pipe, word + b"\n")
            raise

    def _snapshots(self, life: Any, engine: Any, seed: int) -> AbstractContextManager[None]:
        """Taken by a thread of the writer. A cache stands still for one anyway."""
        if self._engine == "rewards" and self._making.snapshots:
            return pools.snapshots_meanwhile(life, engine, seed)
        return nullcontext()

    def _found(self, told: Bound) -> int:
        """How many steps a recovery finds. Raises Broken, and what the recovery raises."""
        copy = self._place / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        if self._home.exists():
            shutil.copytree(self._home, copy)
        engine, log, recovery = replace(self._making, home=copy).recover(None)
        try:
            if recovery.damages or recovery.snapshots.rejected:
                damage = (*recovery.damages, *recovery.snapshots.rejected)[0]
                raise Broken(f"a kill was taken for damage: {damage.path}: {damage.reason}")
            found = int(self._known.check(engine, log))
        finally:
            engine.close()
            log.close()
        if not told.written <= found <= told.attempted:
            raise Broken(f"{found} steps are found of {told.written} done, {told.attempted} begun")
        return found


def understood(heard: bytes, status: int, last: int) -> tuple[Bound, str | None]:
    """(what a writer told that began with ``last`` steps, what went wrong with it)."""
    steps, wrong = Bound(last, last, last), None
    for line in heard.decode("utf-8", "replace").splitlines():
        if line.startswith("!"):
            wrong = f"the writer met {line[2:]}"
        else:
            written, attempted = map(int, line.split())
            steps = Bound(written, written, attempted)
    if wrong is None and os.WIFEXITED(status) and os.WEXITSTATUS(status):
        wrong = f"the writer ended with exit code {os.WEXITSTATUS(status)}"
    return steps, wrong


def files_of(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir()} if home.exists() else {}


def run(killing: EngineKilling) -> KeptOfEngine:
    kept, draw = KeptOfEngine(), random.Random(killing.seed)
    while kept.kills < killing.count and len(kept.failures) < 5:
        with tempfile.TemporaryDirectory(prefix="kills-", dir=killing.scratch) as place:
            lives = Lives(killing, draw, Path(place))
            lives_of_one_log(killing, kept, "kill", lives.live)
            if len(kept.failures) > len(kept.images):
                kept.keep(lives.image, lives.setting())
    return kept


def failures_of(found: Mapping[str, Any]) -> list[Failure]:
    """Of the JSON that this program writes."""
    return [
        Failure("C", reason, "", {name: base64.b64decode(data) for name, data in image.items()},
                setting)
        for reason, image, setting in zip(
            found["failures"], found["images"], found["settings"], strict=True
        )
    ]  # fmt: skip


def killed(place: str, count: int, seed: int, scratch: str) -> list[Failure]:
    """Failures of an engine given as ``module:Class``, on the Python twin's log."""
    killing = EngineKilling(place, "python", "binary", count, seed, scratch, True, "wal.basic")
    return failures_of(in_a_process(killing))


def in_a_process(killing: EngineKilling) -> dict[str, Any]:
    """What this program writes when it is asked for that."""
    asked = json.dumps(asdict(killing))
    ended = subprocess.run([sys.executable, "-m", KILLERS, asked], capture_output=True, check=True)
    return cast("dict[str, Any]", json.loads(ended.stdout))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(EngineKilling(**json.loads(sys.argv[1]))))) + "\n")
