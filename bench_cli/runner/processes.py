"""Starting one worker process and turning whatever becomes of it into an answer."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench_cli.runner.worker import Job

STDERR_TAIL = 2000
"""Bytes of a worker's last words that go into a reason."""


@dataclass(frozen=True, slots=True)
class Program:
    """Which tool the worker is of: by default the one that runs here. ``folder``: what it finds
    before anything installed (the worker's working directory). ``alone``: PYTHONPATH is for this
    tool and must not reach another. ``fields``: the parts of a job it understands (None: all).
    ``module``: where its workers begin. ``forks``: that can also start one that forks workers
    (see ``server.py``)."""

    executable: str = sys.executable
    folder: Path | None = None
    alone: bool = False
    fields: frozenset[str] | None = None
    module: str = "bench_cli.runner.start"
    forks: bool = sys.platform.startswith("linux")

    def environment(self, bytecode: Path | None = None) -> dict[str, str]:
        """The same for every worker: hashes and thread pools must not differ between processes.
        ``bytecode``: where compiled modules are kept if they may not stand beside their sources;
        without it every worker would compile all of them again."""
        fixed = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        found = {**os.environ, **fixed}
        if self.alone:
            found.pop("PYTHONPATH", None)
        if bytecode is not None and found.get("PYTHONDONTWRITEBYTECODE"):
            del found["PYTHONDONTWRITEBYTECODE"]
            found["PYTHONPYCACHEPREFIX"] = str(bytecode)
        return found

    def job(self, job: Job) -> str:
        if self.fields is None:
            return job.to_json()
        return json.dumps({name: v for name, v in asdict(job).items() if name in self.fields})


HERE = Program()


def run_worker(job: Job, timeout_ns: int, program: Program = HERE) -> dict[str, Any]:
    """The worker's answer: ``{"ok": True, "cell": ..., "limits": ...}`` or ``{"ok": False,
    "reason": ...}``. A worker that is killed, exits early, or takes longer than ``timeout_ns`` is
    an answer too. KeyboardInterrupt kills the worker and goes on to the caller."""
    process = subprocess.Popen(
        [program.executable, "-m", program.module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches us alone; we end the worker in order
        env=program.environment(Path(job.scratch).with_name("bytecode")),
        cwd=program.folder,
    )
    try:
        out, err = process.communicate(program.job(job), timeout=timeout_ns / 1e9)
    except subprocess.TimeoutExpired:
        _end(process)
        return too_long(timeout_ns)
    except BaseException:
        _end(process)
        raise
    return answer_of(process.returncode, out, err)


def failure(reason: str) -> dict[str, Any]:
    return {"ok": False, "reason": reason, "limits": {}}


def too_long(timeout_ns: int) -> dict[str, Any]:
    return failure(f"took longer than its limit of {timeout_ns / 1e9:g} s")


def _end(process: subprocess.Popen[str]) -> None:
    """Kill the worker and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(BrokenPipeError):  # a job the worker never read
            if stream is not None:
                stream.close()


def answer_of(code: int, out: str, err: str) -> dict[str, Any]:
    """What a worker that ended with ``code`` (a signal: negative) and said that has answered."""
    if code < 0:
        return failure(_killed(-code))
    try:
        answer: dict[str, Any] = json.loads(out)
    except ValueError:
        last = err.strip()[-STDERR_TAIL:].splitlines()
        said = last[-1] if last else "it said nothing"
        return failure(f"the worker ended with exit code {code}: {said}")
    return answer


def _killed(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    hint = {
        signal.SIGKILL: "; often the system's out-of-memory killer",
        signal.SIGBUS: "; a mapped file lost its backing (a full disk?)",
    }
    return f"the worker was killed by {name}{hint.get(signal.Signals(number), '')}"


class Scratch:
    """The run's own folder under ``_tmp/``, locked while the run lives; one sub-folder per
    process, removed after it. What killed runs left there is removed first."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        self._lock = _locked(self.path)

    def fresh(self, name: str) -> Path:
        place = self.path / name
        place.mkdir()
        return place

    def drop(self, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


_PREFIX = "run-"
_LEFT_ALONE_S = 600
"""A folder that changed lately is not swept: its run may be about to lock it."""


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None when somebody else does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(root: Path) -> None:
    """Remove the folders of runs that are gone. One that cannot be looked at stays."""
    for folder in root.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or time.time() - folder.stat().st_mtime < _LEFT_ALONE_S:
                continue
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
