"""How the two sides of a session do their jobs.

Where both can, each has for one round a server that forks a process per job (see ``server.py``);
otherwise both start an interpreter per job. Never one so and the other so: what a process has
behind it would look like a change.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bench_cli.runner.job import Runner
from bench_cli.runner.processes import Program, answer_of, failure, run_worker, too_long
from bench_cli.runner.worker import Job

START_S = 60
"""A server that has not imported everything by then never will."""


class Sides(Protocol):
    """``runners`` of base and head. ``forked``: whether they share an interpreter per round."""

    runners: tuple[Runner, Runner]
    forked: bool

    def next_round(self) -> None:
        """Nothing that has run so far may be seen by what runs next."""

    def close(self) -> None:
        """End every process."""


def sides_of(base: Program, head: Program) -> Sides:
    if base.forks and head.forks:
        return Forked(base, head)
    return Alone((partial(run_worker, program=base), partial(run_worker, program=head)))


@dataclass(slots=True)
class Alone:
    """An interpreter per job."""

    runners: tuple[Runner, Runner]
    forked: bool = False

    def next_round(self) -> None:
        """There is nothing to end."""

    def close(self) -> None:
        """As above."""


class Forked:
    """An interpreter per side and round. Both start before the first job of a round, so that
    neither imports while the other is measured."""

    forked = True

    def __init__(self, base: Program, head: Program) -> None:
        self._programs = (base, head)
        self._servers: list[Server | None] = [None, None]
        self.runners: tuple[Runner, Runner] = (partial(self._run, 0), partial(self._run, 1))

    def _run(self, side: int, job: Job, timeout_ns: int) -> dict[str, Any]:
        server = self._ready(Path(job.scratch).with_name("bytecode"))[side]
        try:
            return server.do(job, timeout_ns)
        finally:
            if server.ended:
                self._servers[side] = None

    def _ready(self, bytecode: Path) -> list[Server]:
        servers = [
            server or Server(program, bytecode)
            for server, program in zip(self._servers, self._programs, strict=True)
        ]
        self._servers = [*servers]
        for server in servers:
            server.wait_until_ready()
        return servers

    def next_round(self) -> None:
        self.close()

    def close(self) -> None:
        for server in self._servers:
            if server is not None:
                server.end()
        self._servers = [None, None]


class _Ended(Exception):
    """The server's output is at its end."""


@dataclass(slots=True)
class Server:
    """One side's process that forks. It holds nothing worth keeping: whenever something is not as
    it should be it is killed, with its child and whatever that started, and a new one starts."""

    program: Program
    bytecode: Path
    ended: bool = False
    _process: subprocess.Popen[bytes] = field(init=False)
    _child: int | None = None
    _ready: bool = False
    _failure: dict[str, Any] | None = None
    _read: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(
            [self.program.executable, "-m", self.program.module, "server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C reaches us alone; we end the server in order
            env=self.program.environment(self.bytecode),
            cwd=self.program.folder,
        )

    def wait_until_ready(self) -> None:
        """Or until it is known that it never will be; its next job tells why."""
        if self._ready or self.ended:
            return
        late = failure(f"no worker was ready after {START_S} s")
        answer = self._heard(time.monotonic() + START_S, late, self._told)
        self._ready = not self.ended
        self._failure = answer if self.ended else None

    def do(self, job: Job, timeout_ns: int) -> dict[str, Any]:
        """As ``run_worker``; the time limit is the job's alone."""
        self.wait_until_ready()
        if self._failure is not None:
            return self._failure
        until = time.monotonic() + timeout_ns / 1e9
        return self._heard(until, too_long(timeout_ns), partial(self._done, self.program.job(job)))

    def _done(self, job: str, until: float) -> dict[str, Any]:
        self._send(job)
        self._child = self._told(until)["pid"]
        told = self._told(until)
        self._child = None
        return answer_of(told["code"], told["out"], told["err"])

    def _heard(
        self, until: float, late: dict[str, Any], hear: Callable[[float], dict[str, Any]]
    ) -> dict[str, Any]:
        """What ``hear`` returns; ``late`` when it took too long, or why the server ended."""
        try:
            return hear(until)
        except TimeoutError:
            self.end()
            return late
        except (_Ended, BrokenPipeError):
            return self._last_words()
        except BaseException:
            self.end()
            raise

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        left = line.encode() + b"\n"
        while left:
            left = left[os.write(self._process.stdin.fileno(), left) :]

    def _told(self, until: float) -> dict[str, Any]:
        """Its next message. Raises TimeoutError and _Ended."""
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(source, select.POLLIN)
        while (end := self._read.find(b"\n")) < 0:
            if not poll.poll(max(0.0, until - time.monotonic()) * 1e3):
                raise TimeoutError
            chunk = os.read(source, 1 << 16)
            if not chunk:
                raise _Ended
            self._read += chunk
        message: dict[str, Any] = json.loads(self._read[:end])
        del self._read[: end + 1]
        return message

    def _last_words(self) -> dict[str, Any]:
        """Why it ended; its child ends with it, and what that started is ended here."""
        self._kill_child()
        _, err = self._process.communicate()
        self.ended = True
        return answer_of(self._process.returncode, "", err.decode(errors="replace"))

    def end(self) -> None:
        """Kill its child, whatever that started, and the server."""
        self._kill_child()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self.ended = True

    def _kill_child(self) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child, signal.SIGKILL)
            self._child = None
