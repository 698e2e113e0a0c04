"""Making the next segment while the current one fills, so that a rotation costs the append that
meets it little: creating, preallocating, syncing and faulting in take far longer than to switch.
So does starting a thread, which is why one makes all segments of a log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from bench_cli.wal.files import Segment

if TYPE_CHECKING:
    from bench_cli.wal.segment import Retired, SegmentSet

LEAST = 4 << 20
"""Bytes of the smallest segment worth a thread."""


class Relay(Protocol):
    """Where a compiled log finds what its next rotation needs: it rotates without running Python
    code, and catches up on that with its next call. Each method is one step for other threads."""

    def offer(self, segment: Segment, retired: Retired, then: Ahead) -> None:
        """``segment`` is the next one. Once the log rotated into it, ``retired`` stands for the one
        before, and ``then`` is to begin."""

    def withdraw(self) -> None:
        """Forget what was offered; nothing of it is held any more."""

    def due(self, segments: SegmentSet) -> Ahead | None:
        """Catch up, if the log rotated; what is to begin, told once."""


class Ahead:
    """A segment that ``make`` makes and ``offer`` tells of. After that a ``full`` segment is
    unmapped and the new one is faulted in; the log may write to it meanwhile, and whoever is first
    at a page pays for it."""

    def __init__(
        self,
        make: Callable[[], Segment],
        offer: Callable[[Segment], None],
        full: Segment | None = None,
    ) -> None:
        self._make, self._offer, self._full = make, offer, full
        self._made: Segment | None = None
        self._error: BaseException | None = None
        # held until it is so; an Event costs the append that rotates ten times as much
        self._ready, self._done = threading.Lock(), threading.Lock()
        self._ready.acquire()
        self._done.acquire()
        self.taken = False  # it is the log's current segment, or was
        self._forgotten = False

    def run(self) -> None:
        try:
            self._made = self._make()
            self._made.warm()
            self._offer(self._made)
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

    def take(self) -> Segment:
        """The segment, once it can be used. Raises what making it raised."""
        with self._ready:  # once it is made
            pass
        if self._error is not None:
            raise self._error
        assert self._made is not None  # the thread sets the one or the other
        self.taken = True
        return self._made

    def abandon(self) -> None:
        """Return once nothing is done about it any more."""
        self._forgotten = True
        with self._done:
            pass

    def remove(self) -> None:
        """Undo it, if it was not taken."""
        if self._made is not None and not self.taken:
            self._made.close()
            with suppress(OSError):  # one that stays holds no records: recovery ignores it
                self._made.fs.unlink(self._made.path)


class Maker:
    """The thread, which starts with the first segment it is to make. It keeps nobody from leaving:
    neither a process that does not close its log, nor the log itself."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Ahead | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._every: float | None = None
        self._overdue: Callable[[], Ahead | None] = lambda: None
        self.put: Callable[[Ahead], None] = self._jobs.put
        """Begins a job where the thread runs already."""

    def look(self, every: float, overdue: Callable[[], Ahead | None]) -> None:
        """Let the thread, which must not run yet, ask that often (in seconds) whether a job is
        overdue. ``overdue`` must not keep the log from leaving."""
        self._every, self._overdue = every, overdue

    def begin(self, job: Ahead) -> Ahead:
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(
                target=_work,
                args=(self._jobs, self._every, self._overdue),
                name="wal-ahead",
                daemon=True,
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


def _work(
    jobs: SimpleQueue[Ahead | None], every: float | None, overdue: Callable[[], Ahead | None]
) -> None:
    while True:
        try:
            job = jobs.get(timeout=every)
        except Empty:
            if (job := overdue()) is None:
                continue
        if job is None:
            return
        job.run()
        job = None  # it knows its log
