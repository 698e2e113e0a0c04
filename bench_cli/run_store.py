"""The journal of a run: every finished process is on disk before the next one starts.

One JSON object per line, appended and fsynced, beside the result file it will become. If the
run ends well the journal is removed; if the tool dies it is what is left.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bench_cli.errors import OutputError


class RunStore:
    """``path`` is the journal. A disk that fills up does not stop a run: the values stay in
    memory, and ``lost`` says why the journal ends early."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self.lost: str | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OutputError(
                f"cannot write the run's journal {path}: {error.strerror}",
                remedy="make the folder writable or give another place with -o FILE",
            ) from error
        self.append(header)

    def append(self, entry: dict[str, Any]) -> None:
        if self.lost is not None:
            return
        line = json.dumps(entry).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._fd, line) :]
            os.fsync(self._fd)
        except OSError as error:
            self.lost = f"the journal {self.path.name} ends early: {error.strerror}"

    def close(self, *, keep: bool) -> None:
        os.close(self._fd)
        if not keep:
            self.path.unlink(missing_ok=True)
