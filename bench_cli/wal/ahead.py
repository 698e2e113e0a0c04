"""Making the next segment while the current one fills, so that a rotation costs the append that
meets it little: creating, preallocating, syncing and faulting in take far longer than to switch.
So does starting a thread, which is why one makes all segments of a log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from bench_cli.wal.files import Segment

LEAST = 4 << 20
"""Bytes of the smallest segment worth a thread."""


class Ahead:
    """A segment that ``make`` makes. After that a ``full`` segment is unmapped and the new one is
    faulted in; the log may write to it meanwhile, and whoever is first at a page pays for it."""

    def __init__(self, make: Callable[[], Segment], full: Segment | None = None) -> None:
        self._make, self._full = make, full
        self._made: Segment | None = None
        self._error: BaseException | None = None
        # held until it is so; an Event costs the append that rotates ten times as much
        self._ready, self._done = threading.Lock(), threading.Lock()
        self._ready.acquire()
        self._done.acquire()
        self._taken = self._forgotten = False

    def run(self) -> None:
        try:
            self._made = self._make()
        except BaseException as error:  # whatever it is, who takes the segment hears of it
            self._error = error
        finally:
            self._ready.release()
        try:
            if self._full is not None:
                self._full.detach()
            if self._made is not None and not self._forgotten:
                self._made.populate()
        finally:
            self._full = None
            self._done.release()

    @property
    def ready(self) -> bool:
        """Whether making it is over, well or not."""
        return not self._ready.locked()

    @property
    def taken(self) -> bool:
        return self._taken

    def take(self) -> Segment:
        """The segment, once it can be used. Raises what making it raised."""
        with self._ready:  # once it is made
            pass
        if self._error is not None:
            raise self._error
        assert self._made is not None  # the thread sets the one or the other
        self._taken = True
        return self._made

    def forget(self) -> None:
        """Return once nothing is done about it any more; if it was not taken it is removed."""
        self._forgotten = True
        with self._done:
            pass
        if self._made is not None and not self._taken:
            self._made.close()
            with suppress(OSError):  # one that stays holds no records: recovery ignores it
                self._made.fs.unlink(self._made.path)


class Maker:
    """The thread, which starts with the first segment it is to make. It keeps nobody from leaving:
    neither a process that does not close its log, nor the log itself."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Ahead | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, job: Ahead) -> Ahead:
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(
                target=_work, args=(self._jobs,), name="wal-ahead", daemon=True
            )
            self._thread.start()
        return job

    def end(self) -> None:
        """Return once all is done and the thread has ended."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._jobs.put(None)
            thread.join()

    def __del__(self) -> None:
        self._jobs.put(None)


def _work(jobs: SimpleQueue[Ahead | None]) -> None:
    while (job := jobs.get()) is not None:
        job.run()
        job = None  # it knows its log
