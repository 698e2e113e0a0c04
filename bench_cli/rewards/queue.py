"""Requests to a pool, answered in groups. Python twin.

A drain takes every queued request as one group: the draws and their log records, for ack
"durable" one sync for the whole group, and only then the replies.

With ack "memory" the reply goes out as soon as the draw is taken in memory, and the group's
records follow: level D0. If the log then fails, the draws stand, and the failure meets whoever
comes next: every later request is answered with it until the log takes the records, and
``close`` raises it.

An exception that a callback raises is logged, as ``concurrent.futures`` does with those of its
callbacks: it must neither stop the other replies nor come out of the ``submit`` of someone else,
who would take it for a refusal and ask again. KeyboardInterrupt and SystemExit are raised after
the drain, from the ``submit`` that drained; those of a worker are logged too.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from bench_cli.errors import QueueClosed, QueueFull, UnknownName
from bench_cli.interfaces import DrawCallback

ACKS = ("memory", "logged", "durable")
MODES = ("caller", "worker")
LOGGER = logging.getLogger(__name__)


class Drawable(Protocol):
    """What a queue needs of a pool."""

    def draw_record(self) -> tuple[int, str]: ...
    def take(self) -> tuple[int, str]: ...
    def settle(self) -> None: ...
    def sync(self) -> None: ...


def check_choices(capacity: int, ack: str, mode: str) -> None:
    """Raises ValueError or UnknownName."""
    if capacity < 1:
        raise ValueError(f"capacity must be positive, not {capacity}")
    for what, value, choices in (("ack", ack, ACKS), ("mode", mode, MODES)):
        if value not in choices:
            raise UnknownName(f"no {what} {value!r}", remedy=f"choose from {', '.join(choices)}")


def report_error(error: BaseException, culprit: object) -> None:
    LOGGER.error("exception in %r", culprit, exc_info=error)


def request_future() -> tuple[Future[tuple[int, str]], DrawCallback]:
    """A future and the callback that resolves it. It counts as running from the start: a draw
    that is queued cannot be withdrawn."""
    future: Future[tuple[int, str]] = Future()
    future.set_running_or_notify_cancel()

    def answer(draw_id: int, name: str | None, error: BaseException | None) -> None:
        if name is None:
            future.set_exception(error)
        else:
            future.set_result((draw_id, name))

    return future, answer


Answer = tuple[DrawCallback, int, str | None, BaseException | None]
Interrupts = list[BaseException]
"""What is no ``Exception`` and came up during a drain; raised when all are answered."""


def note_interrupt(error: BaseException, interrupts: Interrupts) -> None:
    if not isinstance(error, Exception):
        interrupts.append(error)


class Queue:
    """``interfaces.DrawQueue``. ``capacity`` bounds the requests that wait, not those of the
    group in work."""

    def __init__(self, pool: Drawable, *, capacity: int, ack: str, mode: str) -> None:
        check_choices(capacity, ack, mode)
        self._pool = pool
        self._capacity = capacity
        self._ack = ack
        self._waiting: deque[DrawCallback] = deque()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # the worker waits for requests
        self._done = threading.Condition(self._lock)  # close waits for the last reply
        self._drainer = 0  # identity of the thread that drains, 0 = nobody
        self._closed = False
        self._worker: threading.Thread | None = None
        if mode == "worker":
            self._worker = threading.Thread(target=self._serve, name="draw-queue", daemon=True)
            self._worker.start()

    def submit(self, callback: DrawCallback) -> None:
        with self._lock:
            if self._closed:
                raise QueueClosed("the queue is closed")
            if len(self._waiting) >= self._capacity:
                raise QueueFull(f"{self._capacity} requests wait already", capacity=self._capacity)
            self._waiting.append(callback)
            if self._drainer:
                return
            if self._worker is not None:
                self._work.notify()
                return
            self._drainer = threading.get_ident()
        self._drain()

    def request(self) -> Future[tuple[int, str]]:
        future, answer = request_future()
        self.submit(answer)
        return future

    def close(self) -> None:
        """From within a callback it returns at once; the drain around it answers the rest."""
        with self._lock:
            self._closed = True
            self._work.notify()
            if self._drainer == threading.get_ident():
                return
            while self._drainer or (self._worker is not None and self._waiting):
                self._done.wait()
            left_over = bool(self._waiting)
            if left_over:  # a drain was interrupted
                self._drainer = threading.get_ident()
        if left_over:
            self._drain()
        if self._worker is not None:
            self._worker.join()
        self._pool.settle()

    # --- the drain ---------------------------------------------------------------------------

    def _serve(self) -> None:
        """The worker."""
        while self._wait_for_work():
            try:
                self._drain()
            except BaseException as error:
                report_error(error, self)

    def _wait_for_work(self) -> bool:
        with self._lock:
            while not self._waiting:
                if self._closed:
                    return False
                self._work.wait()
            self._drainer = threading.get_ident()
            return True

    def _drain(self) -> None:
        interrupts: Interrupts = []
        try:
            while group := self._next_group():
                if self._ack == "memory":
                    self._answer_from_memory(group, interrupts)
                else:
                    self._answer_when_logged(group, interrupts)
        except BaseException:  # ctrl-C between two steps; a later submit or close goes on
            with self._lock:
                self._step_down()
            raise
        if interrupts:
            raise interrupts[0]

    def _next_group(self) -> list[DrawCallback]:
        """All that wait; when there is none, the drain is over in the same breath, so that no
        request can slip in between and find neither a drainer nor become one."""
        with self._lock:
            group = list(self._waiting)
            self._waiting.clear()
            if not group:
                self._step_down()
            return group

    def _step_down(self) -> None:
        self._drainer = 0
        self._done.notify_all()

    def _answer_when_logged(self, group: list[DrawCallback], interrupts: Interrupts) -> None:
        answers = [self._answer(self._pool.draw_record, each, interrupts) for each in group]
        if self._ack == "durable" and any(error is None for *_, error in answers):
            try:
                self._pool.sync()
            except BaseException as failure:
                answers = [(each[0], 0, None, each[3] or failure) for each in answers]
                note_interrupt(failure, interrupts)
        for answer in answers:
            self._reply(answer, interrupts)

    def _answer_from_memory(self, group: list[DrawCallback], interrupts: Interrupts) -> None:
        for callback in group:
            self._reply(self._answer(self._pool.take, callback, interrupts), interrupts)
        try:
            self._pool.settle()
        except BaseException as failure:
            # The pool keeps what it could not log and raises at its next use, or at close
            note_interrupt(failure, interrupts)

    def _answer(
        self, draw: Callable[[], tuple[int, str]], callback: DrawCallback, interrupts: Interrupts
    ) -> Answer:
        try:
            return callback, *draw(), None
        except BaseException as error:
            note_interrupt(error, interrupts)
            return callback, 0, None, error

    def _reply(self, answer: Answer, interrupts: Interrupts) -> None:
        callback, draw_id, name, error = answer
        try:
            callback(draw_id, name, error)
        except Exception as raised:
            report_error(raised, callback)
        except BaseException as interrupt:
            interrupts.append(interrupt)
