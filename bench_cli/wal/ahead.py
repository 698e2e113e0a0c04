"""Making the next segment while the current one fills, so that a rotation costs the append that
meets it little: creating, preallocating, syncing and faulting in take far longer than to switch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from bench_cli.wal.files import Segment

LEAST = 4 << 20
"""Bytes of the smallest segment worth a thread."""


class Ahead:
    """A segment that ``make`` makes on a thread of its own, started at once. After that the thread
    waits for the one ``before`` it, unmaps a ``full`` segment, and faults the new one in; the log
    may write to it meanwhile, and whoever is first at a page pays for it."""

    def __init__(
        self, make: Callable[[], Segment], before: Ahead | None = None, full: Segment | None = None
    ) -> None:
        self._made: Segment | None = None
        self._error: OSError | None = None
        self._ready = threading.Event()
        self._taken = self._forgotten = False
        self._thread = threading.Thread(
            target=self._run, args=(make, before, full), name="wal-ahead"
        )
        self._thread.start()

    def _run(self, make: Callable[[], Segment], before: Ahead | None, full: Segment | None) -> None:
        try:
            self._made = make()
        except OSError as error:
            self._error = error
        finally:
            self._ready.set()
        if before is not None:
            before.join()
        if full is not None:
            full.detach()
        if self._made is not None and not self._forgotten:
            self._made.populate()

    def join(self) -> None:
        self._thread.join()

    @property
    def ready(self) -> bool:
        """Whether making it is over, well or not."""
        return self._ready.is_set()

    @property
    def taken(self) -> bool:
        return self._taken

    def take(self) -> Segment:
        """The segment, once it can be used. Raises what making it raised."""
        self._ready.wait()
        if self._error is not None:
            raise self._error
        assert self._made is not None  # the thread sets the one or the other
        self._taken = True
        return self._made

    def forget(self) -> None:
        """End the thread; a segment that was not taken is removed."""
        self._forgotten = True
        self._thread.join()
        if self._made is not None and not self._taken:
            self._made.close()
            with suppress(OSError):  # one that stays holds no records: recovery ignores it
                self._made.fs.unlink(self._made.path)
