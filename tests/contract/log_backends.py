"""Every log backend the contract runs over, by the place its class can be imported from. A
backend of someone's own is added by appending its ``module:Class``."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench_cli.interfaces import (
    Backend,
    Capability,
    FileSystem,
    LogBackend,
    LogOptions,
    Recovery,
    WriteAheadLog,
)

BACKENDS = [
    f"bench_cli.wal.{module}:{name}"
    for module in ("log", "native")
    for name in ("NoneBackend", "BasicBackend", "MmapBackend")
]
STORED = [place for place in BACKENDS if "None" not in place]
FORMATS = ("binary", "text", "jsonl")
SEGMENT = 16 << 10  # small, so that a test rotates soon


def load(place: str, **arguments: Any) -> LogBackend:
    """The backend object; skips where the compiled twin is not built."""
    module, _, name = place.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as missing:
        pytest.skip(f"{module} is not built: {missing}")
    backend: LogBackend = getattr(found, name)(**arguments)
    return backend


def label(place: str) -> str:
    backend = place.replace("bench_cli.wal.", "").replace("Backend", "")
    return backend.replace("log:", "python-").replace("native:", "native-").lower()


def need(backend: Backend, *capabilities: Capability) -> None:
    """Skip what the backend does not claim to do."""
    for capability in capabilities:
        if capability not in backend.capabilities:
            pytest.skip(f"{backend.name} does not declare {capability}")


OURS = ("wal.none", "wal.basic", "wal.mmap")


def need_ours(backend: LogBackend) -> None:
    """For what the interface leaves open and our own logs settle in one way."""
    if backend.name not in OURS:
        pytest.skip("the interface leaves this open")


def small(
    format: str = "binary", segment_size: int = SEGMENT, file_system: FileSystem | None = None
) -> LogOptions:
    return LogOptions(format, segment_size, file_system)


def scratch(tmp_path: Path) -> Iterator[Path]:
    """An empty directory in memory where there is one: these tests ask what the log does, not
    what a disk does, and every sync of a shared disk takes its time."""
    memory = Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=base) as directory:
        yield Path(directory)


Records = list[tuple[int, int, bytes]]


def read(backend: LogBackend, directory: Path, options: LogOptions) -> tuple[Recovery, Records]:
    records: Records = []

    def apply(sequence: int, kind: int, payload: memoryview) -> None:
        records.append((sequence, kind, bytes(payload)))

    return backend.recover(directory, options, apply), records


def crashed(directory: Path) -> Path:
    """What a process killed now would leave: a copy of the files of an open log."""
    number = sum(1 for _ in directory.parent.iterdir())
    return Path(shutil.copytree(directory, directory.with_name(f"crashed-{number}")))


def fill(log: WriteAheadLog, count: int, size: int = 40) -> list[bytes]:
    payloads = [bytes([65 + index % 26]) * size + b"%d" % index for index in range(count)]
    for payload in payloads:
        log.append(payload)
    return payloads
