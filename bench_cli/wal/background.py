"""Threads behind open logs, across the end of the process and across ``fork``.

A forked process has the log's memory and none of its threads, and its locks may be held by threads
that are gone. The log belongs to the process that opened it: in the other one it is closed.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

BACKGROUND = ("async", "time")
"""Flush policies that need a thread."""


class Watched(Protocol):
    def forked(self) -> None:
        """Called in a forked process, its only thread: be closed, touch no file and no lock."""

    def halt(self) -> None:
        """Called when the process ends: no thread must run any more."""


_open: weakref.WeakSet[Watched] = weakref.WeakSet()


def watch(log: Watched) -> None:
    """From here on ``log`` is told of forks and of the end of the process."""
    _open.add(log)


def start(serve: Callable[[], None]) -> threading.Thread:
    """A thread that does not keep the process from ending; ``halt`` must stop it."""
    thread = threading.Thread(target=serve, name="wal-flush", daemon=True)
    thread.start()
    return thread


def _forked() -> None:
    for log in list(_open):
        log.forked()
    _open.clear()


def _halt() -> None:
    for log in list(_open):
        log.halt()


os.register_at_fork(after_in_child=_forked)
atexit.register(_halt)
