"""Damage to the real files of a log that takes no file system of ours: flipped bits, drawn over
all its files. A loss must be reported or refused; what is altered must not come back as good."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from bench_cli.errors import BenchError
from bench_cli.faults.crashes import Tally
from bench_cli.interfaces import Capability, LogBackend, LogOptions

FLIPS = 300
RECORDS = 60


def check(backend: LogBackend, format: str, tally: Tally, seed: int, scratch: Path) -> int:
    """How many bits were flipped, one at a time."""
    options = LogOptions(format)
    with tempfile.TemporaryDirectory(prefix="damage-", dir=scratch) as directory:
        home = Path(directory) / "log"
        payloads = [b"%d:" % number * 8 for number in range(RECORDS)]
        log = backend.open(home, options)
        for payload in payloads:
            log.append(payload)
        if Capability.SYNC in backend.capabilities:
            log.sync()
        log.close()
        draw = random.Random(seed)
        for number in range(FLIPS):
            reason = _flip(backend, options, home, payloads, draw)
            if reason:
                tally.fail("E", reason, f"seed={seed} flip={number}")
            if tally.enough:
                return number + 1
    return FLIPS


def _flip(
    backend: LogBackend, options: LogOptions, home: Path, payloads: list[bytes], draw: random.Random
) -> str | None:
    hurt = Path(shutil.copytree(home, home.with_name("hurt")))
    try:
        files = sorted(path for path in hurt.rglob("*") if path.is_file() and path.stat().st_size)
        path = draw.choice(files)
        whole = bytearray(path.read_bytes())
        bit = draw.randrange(max(1, len(whole.rstrip(b"\0"))) * 8)
        whole[bit // 8] ^= 1 << bit % 8
        path.write_bytes(whole)
        return _silent(backend, options, hurt, payloads, f"bit {bit} of {path.name}")
    finally:
        shutil.rmtree(hurt)


def _silent(
    backend: LogBackend, options: LogOptions, hurt: Path, payloads: list[bytes], what: str
) -> str | None:
    records: list[bytes] = []
    try:
        found = backend.recover(hurt, options, lambda at, kind, data: records.append(bytes(data)))
    except BenchError:
        return None  # refused is reported
    except Exception as error:  # anything else is not a typed result
        return f"{what}: recovery raised {type(error).__name__}: {error}"
    if records != payloads[: len(records)]:
        return f"{what}: an altered record came back as good"
    if len(records) < len(payloads) and not (found.damages or found.ambiguous_tail_bytes):
        return f"{what}: {len(payloads) - len(records)} promised records are missing in silence"
    return None
