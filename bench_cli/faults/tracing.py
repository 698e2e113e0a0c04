"""Stops at system calls (Linux, ptrace): a process is let run to the n-th one that it makes, in
whichever of its threads, and is killed just there. Nothing else about it is changed.

Run as a program (``python -m bench_cli.faults.tracing``) it tries that out and writes what is in
its way, if anything.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bench_cli.faults.kills import forked

_TRACEME, _SYSCALL, _SETOPTIONS = 0, 24, 0x4200
_OPTIONS = 0x1 | 0x8 | 0x100000
"""TRACESYSGOOD: a stop at a call can be told from others; TRACECLONE: threads are traced from their
beginning; EXITKILL: nothing outlives the one that traces it."""
_DEATH_SIGNAL = 1  # of prctl
_AT_CALL = signal.SIGTRAP | 0x80
_WALL = 0x40000000  # of waitpid: threads too


class Refused(OSError):
    """This system lets nobody be traced."""


class Ended(NamedTuple):
    """After so many ``stops``, with ``status``. ``killed``: at the last of them, which ``at``
    describes; otherwise by itself, before it came so far."""

    stops: int
    killed: bool
    at: str
    status: int


def traced(work: Callable[[int], None]) -> tuple[int, int]:
    """``kills.forked``, but the process stands still before it begins its work, until ``killed_at``
    takes it up."""
    tracer = os.getpid()

    def begin(pipe: int) -> None:
        be_traced(tracer)
        work(pipe)

    return forked(begin)


def be_traced(tracer: int) -> None:
    """Stand still until the parent goes on. Raises Refused."""
    os.setpgid(0, 0)  # by its group all of its threads can be waited for, and nobody else
    _library().prctl(_DEATH_SIGNAL, signal.SIGKILL)  # EXITKILL is not in force before it stands
    if os.getppid() != tracer:
        raise Refused("who was to trace this process is gone")
    _ptrace(_TRACEME, 0)
    signal.raise_signal(signal.SIGSTOP)


def killed_at(process: int, stop: int) -> Ended:
    """Kill a process that is ``traced`` at its ``stop``-th stop, or never for 0. Each system
    call has two: before it is executed, and when it is done. The other threads run on meanwhile.
    Raises Refused."""
    _, status = os.waitpid(process, _WALL)
    if not os.WIFSTOPPED(status):
        raise Refused("a process that asked to be traced was not stopped")
    _ptrace(_SETOPTIONS, process, _OPTIONS)
    _go_on(process)
    stops, inside = 0, set[int]()  # threads that are executing a call
    while True:
        thread, status = os.waitpid(-process, _WALL)
        if not os.WIFSTOPPED(status):
            inside.discard(thread)
            if thread == process:
                return Ended(stops, False, "", status)
        elif os.WSTOPSIG(status) == _AT_CALL:
            stops += 1
            inside ^= {thread}
            if stops == stop:
                at = _described(process, thread, before=thread in inside)
                return Ended(stops, True, at, _kill(process))
            _go_on(thread)
        else:
            _go_on(thread, _deliverable(status))


def _kill(process: int) -> int:
    """What it ended with."""
    os.kill(process, signal.SIGKILL)
    while True:
        thread, status = os.waitpid(-process, _WALL)
        if thread == process and not os.WIFSTOPPED(status):
            return status


def _deliverable(status: int) -> int:
    """The signal that a thread was stopped for, if it is to have it: not what tells of a new
    thread, and not what that one begins with."""
    number = os.WSTOPSIG(status)
    return 0 if status >> 16 or number == signal.SIGSTOP else number


def _described(process: int, thread: int, *, before: bool) -> str:
    """The system counts its calls differently on each kind of machine; names are not to be had."""
    number = Path(f"/proc/{process}/task/{thread}/syscall").read_text().split()[0]
    whose = "" if thread == process else " of another thread"
    return f"{'before' if before else 'after'} a system call number {number}{whose}"


def _go_on(thread: int, delivered: int = 0) -> None:
    try:
        _ptrace(_SYSCALL, thread, delivered)
    except ProcessLookupError:  # another thread ended the process; that is what is told next
        return


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    library.ptrace.restype = ctypes.c_long
    library.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong)
    return library


def _ptrace(request: int, thread: int, data: int = 0) -> None:
    if _library().ptrace(request, thread, None, data) < 0:
        error = OSError(ctypes.get_errno(), "ptrace")  # of the class that its number stands for
        if isinstance(error, ProcessLookupError):
            raise error
        raise Refused(error.errno, f"ptrace: {os.strerror(error.errno or 0)}")


# --- whether it can be done -------------------------------------------------------------------


@cache
def why_not() -> str | None:
    """Why this cannot be done here; None when it can. Tried by a process of its own: one that has
    threads must not fork."""
    if sys.platform != "linux":
        return "it needs Linux"
    tried = subprocess.run(
        [sys.executable, "-m", "bench_cli.faults.tracing"],
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = tried.stdout.strip()
    if tried.returncode or wrong:
        return (tried.stderr.strip() or wrong).splitlines()[-1]
    return None


def _tried() -> str:
    """Whether a writer of one byte has written it when it is killed at each of its stops: what is
    wrong with that."""
    written: list[bool] = []
    killed = True
    try:
        while killed:
            process, pipe = traced(_one_byte)
            ended = killed_at(process, len(written) + 1)
            killed = ended.killed
            written.append(os.read(pipe, 1) == b"x")
            os.close(pipe)
    except OSError as error:
        return str(error)
    if written[:2] != [False, True] or not all(written[2:]):
        return "ptrace does not stop a process at each of its system calls"
    return ""


def _one_byte(pipe: int) -> None:
    os.write(pipe, b"x")


if __name__ == "__main__":
    sys.stdout.write(_tried())
