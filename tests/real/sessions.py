"""One A/B session in a process of its own, its verdicts read back; and a CPU hog beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_cli.run_store import journal_of

GONE_ON = (0, 10, 13, 14)
"""Exit codes of a session that ended and judged."""


@dataclass(frozen=True, slots=True)
class Finished:
    """``verdicts``: the ids of the cells by their verdict. ``rows``: as ``--format json`` says."""

    code: int
    seconds: float
    verdicts: dict[str, list[str]]
    rows: list[dict[str, Any]]


def session(
    words: Sequence[str], output: Path, *, meanwhile: Callable[[Path], None] | None = None
) -> Finished:
    """``bench ab`` with ``words``; its results go to ``output``. ``meanwhile`` is called about
    once a second with the journal. Raises RuntimeError for a session that did not end well."""
    began = time.monotonic()
    command = [sys.executable, "-m", "bench_cli", "ab", *words, "--format", "json", "-o", output]
    said = output.with_suffix(".said")
    journal = journal_of(output)
    journal.unlink(missing_ok=True)  # of a session that was killed: one counts whole or not at all
    with said.open("w+", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
        try:
            while process.poll() is None:
                time.sleep(1)
                if meanwhile is not None:
                    meanwhile(journal)
        finally:
            process.kill()
            _, errors = process.communicate()
        out.seek(0)
        text = out.read()
    if process.returncode not in GONE_ON:
        raise RuntimeError(f"exit code {process.returncode}: {errors.strip()[-2000:]}")
    rows = json.loads(text)["rows"]
    verdicts: dict[str, list[str]] = {}
    for row in rows:
        verdicts.setdefault(row["verdict"], []).append(row["id"])
    return Finished(process.returncode, time.monotonic() - began, verdicts, rows)


_HOG = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(10_000))"
"""Ends with who started it, however that ends."""


class Hog:
    """A process that takes all of a core it can get, from the moment the journal has ``lines``."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ran(self) -> bool:
        return self._process is not None

    def watch(self, journal: Path) -> None:
        if self._process is None and lines_of(journal) >= self._lines:
            self._process = subprocess.Popen([sys.executable, "-c", _HOG, str(os.getpid())])

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
