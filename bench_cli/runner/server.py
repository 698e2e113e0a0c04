"""A process that has everything imported, and forks a child for each job.

A session does hundreds of jobs that measure for milliseconds; starting an interpreter and importing
for each takes far longer. Here that is done once, and every job still gets a process of its own:
a copy of this one, which has imported and done nothing else.

One line of JSON per message. Told: ``{"ready": true}``; then, per job read, ``{"pid": N}`` when
its child is there and ``{"code": N, "out": TEXT, "err": TEXT}`` when it has ended, as ``Popen``
would tell; of what it said on standard error the end.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import select
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from bench_cli import registry
from bench_cli.runner import worker

STDERR_TAIL = 2000
"""Bytes of a worker's last words that are kept."""
_TASKS = Path("/proc/self/task")


def serve() -> None:
    """Answer jobs from standard input until it ends."""
    worker.settle_in()
    answers = os.dup(1)
    os.dup2(2, 1)
    _preload()
    gc.collect()
    gc.freeze()  # a collector that looks at objects would copy their pages in every child
    _tell(answers, {"ready": True})
    for line in sys.stdin:
        _tell(answers, _ended(line, answers))


def _preload() -> None:
    """Whatever built-in cells import. A foreign backend's module is imported by its jobs alone:
    what it does then is part of the job. Raises RuntimeError if children would lack a thread."""
    registry.workloads()
    for module in registry.built_in_modules():
        registry.not_built(module)  # a job that needs it will say so
    threads = len(os.listdir(_TASKS))
    if threads > 1:
        raise RuntimeError(f"{threads - 1} threads were started by imports; a fork has none")


def _tell(target: int, message: dict[str, Any]) -> None:
    line = json.dumps(message).encode() + b"\n"
    while line:
        line = line[os.write(target, line) :]


def _ended(line: str, answers: int) -> dict[str, Any]:
    """Do one job in a child, and tell how it ended."""
    server = os.getpid()
    out, err = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(answers)
        _child(line, out[1], err[1], server)
    os.close(out[1])
    os.close(err[1])
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has done so itself
        os.setpgid(pid, pid)
    _tell(answers, {"pid": pid})
    said, last = _read_both(out[0], err[0])
    _, status = os.waitpid(pid, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "out": said.decode(errors="replace"),
        "err": last.decode(errors="replace"),
    }


def _read_both(out: int, err: int) -> tuple[bytes, bytes]:
    """All of ``out`` and the end of ``err``, both to their ends."""
    found = {out: bytearray(), err: bytearray()}
    poll = select.poll()
    for descriptor in found:
        poll.register(descriptor, select.POLLIN)
    left = set(found)
    while left:
        for descriptor, _ in poll.poll():
            chunk = os.read(descriptor, 1 << 16)
            found[descriptor] += chunk
            if not chunk:
                poll.unregister(descriptor)
                os.close(descriptor)
                left.remove(descriptor)
        del found[err][:-STDERR_TAIL]
    return bytes(found[out]), bytes(found[err])


def _child(line: str, out: int, err: int, server: int) -> NoReturn:
    """The job, as a process of its own would do it; ends this process."""
    code = 1
    try:
        os.setpgid(0, 0)  # a limit ends the child and whatever it started
        worker.settle_in()
        if os.getppid() == server:  # else it died before this child could be told to end with it
            _redirect(err)
            with os.fdopen(out, "w", encoding="utf-8") as target:
                worker.main(io.StringIO(line), target)
            code = 0
    except SystemExit as end:
        code = _exit_code(end)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _redirect(err: int) -> None:
    """Nothing to read; anything a backend prints goes to standard error."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(err, 1)
    os.dup2(err, 2)
    os.close(nothing)
    os.close(err)


def _exit_code(end: SystemExit) -> int:
    """As the interpreter has it: text is told, and is a failure."""
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1
