"""Layer C: SIGKILL of a real writer on a real file system, at random moments.

Runs as a program of its own (``python -m bench_cli.faults.kills``): it forks a writer for each
kill, which a process with threads must not do. The writer tells each acknowledgement through a
pipe before it goes on, so that whatever was told is to be found. A log lives through several
kills before a new one is begun. The result is one JSON line on stdout.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from bench_cli import registry
from bench_cli.errors import BenchError
from bench_cli.interfaces import Capability, LogBackend, LogOptions

LIVES = 8  # kills of one log
RECORDS = 150  # most appends of one life
SEGMENT = 128 << 10
LARGE, TIMES = 4 << 20, 64
"""Every fourth binary log has segments so large that they are made ahead, and records to match."""
_ACK = struct.Struct("<QQ")  # last sequence written, last sequence synced
Eras = list[tuple[int, int]]  # (first sequence, life that wrote from there on)
Lived = tuple[int, str | None, int]  # (told to the writer, what is wrong, last record found)


@dataclass(frozen=True, slots=True)
class Killing:
    """What is to be killed, how often, and where its logs are made."""

    backend: str
    core: str | None
    format: str
    count: int
    seed: int
    scratch: str
    allow_code: bool = False

    def resolve(self) -> LogBackend:
        found = registry.resolve(self.backend, self.core, allow_code=self.allow_code)
        return cast(LogBackend, found)


@dataclass(slots=True)
class Kept:
    """``acknowledged`` counts records that a killed writer had been told were written."""

    kills: int = 0
    acknowledged: int = 0
    failures: list[str] = field(default_factory=list)


def payload(life: int, sequence: int, times: int = 1) -> bytes:
    """Small ones, and some of several pages, which a kill can tear; ``times`` as long."""
    length = (8, 16, 16, 100, 16, 700, 16, 9000)[(life + sequence * 5) % 8] * times
    unit = b"%d %d " % (life, sequence)
    return unit + (unit * (length // len(unit) + 1))[:length]


# --- the writer ------------------------------------------------------------------------------


def write(
    backend: LogBackend,
    directory: Path,
    options: LogOptions,
    life: int,
    pipe: int,
    times: int = 1,
) -> None:
    """Appends until it is killed, or until there is enough."""
    log = backend.open(directory, options)
    can_sync = Capability.SYNC in backend.capabilities
    draw = random.Random(life)
    at = log.stats().last_sequence
    synced = at
    for _ in range(RECORDS):
        if draw.random() < 0.1 and Capability.BATCH in backend.capabilities:
            at = log.append_many([payload(life, at + n, times) for n in (1, 2)])
        else:
            at = log.append(payload(life, at + 1, times))
        if can_sync and draw.random() < 0.05:
            log.sync()
            synced = at
        os.write(pipe, _ACK.pack(at, synced))
    log.close()


def forked(work: Callable[[int], None]) -> tuple[int, int]:
    """(process, the end of its pipe to read)."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    code = 1
    try:
        os.close(reading)
        work(writing)
        code = 0
    except BaseException as error:  # the boundary of a forked process: nothing may run on
        sys.stderr.write(f"writer: {type(error).__name__}: {error}\n")
    finally:
        os._exit(code)


def killed_after(process: int, pipe: int, wanted: int, moment_ns: int) -> tuple[bytes, int]:
    """Kill a writer a moment after it told so many bytes: (all it told, its wait status)."""
    heard = b""
    while len(heard) < wanted:
        part = os.read(pipe, 1 << 16)
        if not part:
            break
        heard += part
    until = time.perf_counter_ns() + moment_ns
    while time.perf_counter_ns() < until:
        pass
    os.kill(process, signal.SIGKILL)
    while part := os.read(pipe, 1 << 16):
        heard += part
    os.close(pipe)
    return heard, os.waitpid(process, 0)[1]


def _kill_after(process: int, pipe: int, draw: random.Random) -> tuple[int, int, bool]:
    """(last sequence told written, last told synced, was it killed?). After a number of
    acknowledgements and then a moment, so that the kill meets the writer at work."""
    wanted = draw.randrange(RECORDS) * _ACK.size
    heard, status = killed_after(process, pipe, wanted, draw.randrange(300_000))
    whole = len(heard) // _ACK.size
    last = _ACK.unpack_from(heard, (whole - 1) * _ACK.size) if whole else (0, 0)
    return last[0], last[1], os.WIFSIGNALED(status)


# --- the judge -------------------------------------------------------------------------------


def run(killing: Killing) -> Kept:
    backend = killing.resolve()
    kept, draw = Kept(), random.Random(killing.seed)

    def live(log: Path, large: bool, life: int, eras: Eras, last: int) -> Lived:
        options = LogOptions(killing.format, LARGE if large else SEGMENT)
        times = TIMES if large else 1
        process, pipe = forked(lambda to: write(backend, log, options, life, to, times))
        told, _, killed = _kill_after(process, pipe, draw)
        return told, *judge(backend, log, options, eras, max(told, last), killed, times)

    for number in itertools.count(1):
        if kept.kills >= killing.count or len(kept.failures) >= 5:
            break
        directory = Path(tempfile.mkdtemp(prefix="kills-", dir=killing.scratch))
        large = number % 4 == 0 and killing.format == "binary"
        one = partial(live, directory / "log", large)
        try:
            lives_of_one_log(killing, kept, "kill", one)
        finally:
            shutil.rmtree(directory)
    return kept


def lives_of_one_log(
    killing: Killing, kept: Kept, what: str, live: Callable[[int, Eras, int], Lived]
) -> None:
    """``live(life, eras, last)`` lets a writer go on with the log until it dies, and judges the
    log, which had ``last`` records before: what the writer was told, what is wrong, the last
    record found. Ends with the first life that something is wrong with."""
    eras: Eras = []
    last = 0
    for _ in range(min(LIVES, killing.count - kept.kills)):
        life = killing.seed << 20 | kept.kills
        eras.append((last + 1, life))
        told, reason, last = live(life, eras, last)
        kept.kills += 1
        kept.acknowledged += max(0, told - eras[-1][0] + 1)
        if reason:
            kept.failures.append(f"{what} {kept.kills} (seed {killing.seed}): {reason}")
            return


def judge(
    backend: LogBackend,
    directory: Path,
    options: LogOptions,
    eras: Eras,
    told: int,
    killed: bool,
    times: int = 1,
) -> tuple[str | None, int]:
    """(what is wrong, the last sequence found)."""
    wrong: list[str] = []
    expected = 1

    def apply(sequence: int, kind: int, data: memoryview) -> None:
        nonlocal expected
        if sequence != expected:
            wrong.append(f"record {sequence} where {expected} should be")
        life = next(life for first, life in reversed(eras) if first <= sequence)
        if bytes(data) != payload(life, sequence, times):
            wrong.append(f"record {sequence} is not the one that was written")
        expected = sequence + 1

    try:
        found = backend.recover(directory, options, apply)
    except (BenchError, OSError) as error:
        return f"recovery raised {type(error).__name__}: {error}", 0
    if found.damages:
        wrong.append(f"a kill was taken for damage: {found.damages[0].reason}")
    if found.last_sequence < told:
        wrong.append(f"ends at record {found.last_sequence}; {told} was written")
    if not killed and not told:
        wrong.append("the writer ended by itself before it wrote anything")
    return (wrong[0] if wrong else None), found.last_sequence


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(Killing(**json.loads(sys.argv[1]))))) + "\n")
