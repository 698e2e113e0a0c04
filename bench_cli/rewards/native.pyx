# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The reward pool and its queue, compiled twin. ``pool.py`` and ``queue.py`` are the
specification and hold the reasons; here stand only those of this twin.

Threads. Whatever calls out while the state is half changed (a log, a sync, the interpreter lock
given up for a batch) does so with ``_busy`` set, and whoever comes in meanwhile waits at
``_enter``. All else is kept apart by the interpreter lock and calls nothing that could give it
up: an uncontended draw pays for one test of a flag.
"""

cimport cython
from cpython.array cimport array, clone, resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy

import sys
import threading
from array import array as new_array

import numpy

from bench_cli.rewards.ledger cimport (
    ENDLESS,
    NO_ITEM,
    bitgen_t,
    ledger_build,
    ledger_draw,
    ledger_pick,
    ledger_put_back,
    ledger_redo,
    ledger_t,
    ledger_take,
    ledger_undo,
)
from bench_cli.wal.native cimport NativeLog, reopen as reopen_log, replay as replay_log

from bench_cli.errors import (
    CatalogueError,
    LogLocked,
    PoolError,
    PoolExhausted,
    QueueClosed,
    QueueFull,
    Unsupported,
)
from bench_cli.rewards import pool as specification
from bench_cli.rewards.catalogue import check_catalogue
from bench_cli.rewards.queue import check_choices, report_error, request_future
from bench_cli.rewards.records import TextRecords, check_draws, quoted, records_for
from bench_cli.rewards.selectors import check_selector
from bench_cli.rewards.snapshot import Frozen, Snapshots
from bench_cli.wal import native as native_logs
from bench_cli.wal.snapshot import covered_by, drop_covered

cdef extern from "Python.h":
    PyObject *PyTuple_GET_ITEM(PyObject *tuple, Py_ssize_t index)
    unsigned long PyThread_get_thread_ident()
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

if sys.byteorder != "little":
    raise ImportError("the compiled pool writes log records as they stand in memory: "
                      "it runs on little-endian machines only")

cdef enum:
    MAX_BATCH = 65535
    RELEASE_FROM = 2048  # draws; below, giving up the interpreter lock costs more than it gains
    DRAW = 6  # RecordKind, whose numbers are on disk and never change
    DRAWS = 7

cdef array INDICES = new_array("I")
cdef array STOCK = new_array("Q")

include "gate.pxi"
include "draw_log.pxi"


@cython.final
cdef class Pool:
    """``pool.Pool``, compiled."""
    cdef ledger_t ledger
    cdef uint64_t *_weights
    cdef uint64_t *_reserved
    cdef readonly tuple names
    cdef tuple _stock_at_start
    cdef object _bits  # keeps the generator behind ledger.bits alive
    cdef uint64_t _next_id
    cdef DrawLog _log
    cdef bint _closed
    cdef bint _log_failed
    cdef bint _busy
    cdef Gate _gate
    cdef uint32_t *_unlogged
    cdef Py_ssize_t _unlogged_count
    cdef Py_ssize_t _unlogged_room
    cdef uint64_t _flush_every
    cdef uint64_t _unflushed
    cdef uint64_t _reached  # the last record replayed, or covered by the snapshot restored
    cdef readonly object snapshots

    def __init__(self, items, *, seed, log=None, selector="fenwick", flush_every=0):
        if self.names is not None:
            raise TypeError("a pool is initialized once")
        catalogue = check_catalogue(items)
        if flush_every < 0:
            raise ValueError(f"flush_every must not be negative, not {flush_every}")
        self._flush_every = flush_every
        self._build(catalogue, check_selector(selector) == "prefix_sum")
        self._bits = numpy.random.PCG64(seed)
        self.ledger.bits = <bitgen_t *>PyCapsule_GetPointer(self._bits.capsule, "BitGenerator")
        self._stock_at_start = catalogue.stock
        self._next_id = 1
        self._gate = Gate()
        self.names = catalogue.names
        self._log = DrawLog(self.names)
        self._log.attach(log)
        self.snapshots = Snapshots(catalogue)

    cdef int _build(self, catalogue, bint cumulative) except -1:
        cdef uint32_t items = len(catalogue.names)
        cdef uint32_t index
        self.ledger.items = items
        self.ledger.size = 1 << (items - 1).bit_length()
        self.ledger.cumulative = cumulative
        self._weights = <uint64_t *>PyMem_RawCalloc(items, sizeof(uint64_t))
        self._reserved = <uint64_t *>PyMem_RawCalloc(items, sizeof(uint64_t))
        self.ledger.left = <uint64_t *>PyMem_RawCalloc(items, sizeof(uint64_t))
        self.ledger.sums = <uint64_t *>PyMem_RawCalloc(
            <size_t>self.ledger.size + 1, sizeof(uint64_t))
        if not (self._weights and self._reserved and self.ledger.left and self.ledger.sums):
            raise MemoryError
        self.ledger.weights = self._weights
        for index in range(items):
            self._weights[index] = catalogue.weights[index]
            left = catalogue.stock[index]
            self.ledger.left[index] = ENDLESS if left is None else left
        ledger_build(&self.ledger)
        return 0

    def __dealloc__(self):
        PyMem_RawFree(self._weights)
        PyMem_RawFree(self._reserved)
        PyMem_RawFree(self.ledger.left)
        PyMem_RawFree(self.ledger.sums)
        PyMem_RawFree(self._unlogged)

    # --- one at a time -----------------------------------------------------------------------

    cdef inline int _enter(self) except -1:
        while self._busy:
            self._gate.wait()
        return 0

    cdef inline int _leave(self) except -1:
        self._busy = False
        return self._gate.open()

    cdef int _check_open(self) except -1:
        if self._closed:
            raise PoolError("the pool is closed")
        return 0

    # --- draws -------------------------------------------------------------------------------

    cdef int draw_one(self, uint64_t *draw_id, uint32_t *index) except -1:
        """A logged draw."""
        self._enter()
        if self._log.log is None:
            index[0] = self._pick()
            ledger_take(&self.ledger, index[0])
            draw_id[0] = self._next_id
            self._next_id += 1
            return 0
        self._busy = True
        try:
            self._settle()
            index[0] = self._pick()
            draw_id[0] = self._next_id
            self._log.append_draw(self._next_id, index[0])
            ledger_take(&self.ledger, index[0])
            self._next_id += 1
            self._flush_after(1)
        finally:
            self._leave()
        return 0

    cdef inline uint32_t _pick(self) except? NO_ITEM:
        if self._closed or self.ledger.total == 0:
            self._refuse()
        return ledger_pick(&self.ledger)

    cdef int _refuse(self) except -1:
        self._check_open()
        raise PoolExhausted(f"all {len(self.names)} items are used up, {self._next_id - 1} drawn")

    def draw(self):
        cdef uint64_t draw_id = 0
        cdef uint32_t index = 0
        self.draw_one(&draw_id, &index)
        return <object>PyTuple_GET_ITEM(<PyObject *>self.names, index)

    def draw_record(self):
        cdef uint64_t draw_id = 0
        cdef uint32_t index = 0
        self.draw_one(&draw_id, &index)
        return draw_id, <object>PyTuple_GET_ITEM(<PyObject *>self.names, index)

    def draw_many(self, count):
        if count < 1:
            raise ValueError(f"count must be positive, not {count}")
        cdef uint64_t wanted = min(count, UINT64_MAX)
        cdef array drawn = clone(INDICES, min(wanted, <uint64_t>MAX_BATCH), False)
        cdef uint64_t done = 0
        cdef uint32_t room
        self._enter()
        self._busy = True
        try:
            self._settle()
            first_id = self._next_id
            if self._closed or self.ledger.total == 0:
                self._refuse()
            while done < wanted and self.ledger.total:
                room = min(wanted - done, <uint64_t>MAX_BATCH)
                if <uint64_t>len(drawn) < done + room:
                    resize(drawn, done + room)
                done += self._draw_batch(drawn.data.as_uints + done, room)
        finally:
            self._leave()
        if <uint64_t>len(drawn) > done:
            resize(drawn, done)
        return first_id, drawn

    cdef uint32_t _draw_batch(self, uint32_t *batch, uint32_t count) except? NO_ITEM:
        cdef uint32_t drawn
        if count >= RELEASE_FROM:
            with nogil:
                drawn = ledger_draw(&self.ledger, batch, count)
        else:
            drawn = ledger_draw(&self.ledger, batch, count)
        try:
            self._log.append_draws(self._next_id, batch, drawn)
        except:
            ledger_undo(&self.ledger, batch, drawn)
            raise
        self._next_id += drawn
        self._flush_after(drawn)
        return drawn

    def select(self):
        cdef uint32_t index
        self._enter()
        index = self._pick()
        ledger_take(&self.ledger, index)
        self._reserved[index] += 1
        return index

    def commit(self, index):
        cdef uint32_t reserved = self._unreserve(index)
        self._busy = True
        try:
            try:
                self._settle()
                self._log.append_draw(self._next_id, reserved)
            except:
                ledger_put_back(&self.ledger, reserved)
                raise
            draw_id = self._next_id
            self._next_id += 1
            self._flush_after(1)
        finally:
            self._leave()
        return draw_id

    def revert(self, index):
        ledger_put_back(&self.ledger, self._unreserve(index))

    cdef uint32_t _unreserve(self, object index) except? NO_ITEM:
        """Waits its turn, but reads ``index`` before: what the caller handed in may be anything."""
        cdef int overflow = 0
        cdef long long place = PyLong_AsLongLongAndOverflow(index, &overflow)
        self._enter()
        self._check_open()
        if overflow or not 0 <= place < self.ledger.items or not self._reserved[place]:
            raise ValueError(f"item {index} is not reserved")
        self._reserved[place] -= 1
        return <uint32_t>place

    cdef int take_one(self, uint64_t *draw_id, uint32_t *index) except -1:
        """A draw in memory only; ``settle`` logs it later."""
        self._enter()
        if self._log_failed:
            self.settle()
        if self._log.log is not None:
            self._make_room()
        index[0] = self._pick()
        ledger_take(&self.ledger, index[0])
        if self._log.log is not None:
            self._unlogged[self._unlogged_count] = index[0]
            self._unlogged_count += 1
        draw_id[0] = self._next_id
        self._next_id += 1
        return 0

    cdef int _make_room(self) except -1:
        if self._unlogged_count < self._unlogged_room:
            return 0
        cdef Py_ssize_t room = max(64, 2 * self._unlogged_room)
        cdef void *larger = PyMem_RawRealloc(self._unlogged, room * sizeof(uint32_t))
        if larger == NULL:
            raise MemoryError
        self._unlogged = <uint32_t *>larger
        self._unlogged_room = room
        return 0

    def take(self):
        cdef uint64_t draw_id = 0
        cdef uint32_t index = 0
        self.take_one(&draw_id, &index)
        return draw_id, self.names[index]

    cpdef settle(self):
        self._enter()
        if self._unlogged_count or self._log_failed:
            self._busy = True
            try:
                self._settle()
            finally:
                self._leave()

    # --- what is left ------------------------------------------------------------------------

    def stock(self):
        self._enter()
        self._busy = True  # a collection in the middle may run other threads
        try:
            return {
                name: None if start is None else self.ledger.left[index]
                for index, (name, start) in enumerate(zip(self.names, self._stock_at_start))
            }
        finally:
            self._leave()

    @property
    def drawn(self):
        return self._next_id - 1

    @property
    def next_id(self):
        return self._next_id

    def sync(self):
        self._enter()
        self._busy = True
        try:
            self._settle()
            self._check_open()
            self._sync()
        finally:
            self._leave()

    def close(self):
        self._enter()
        if self._closed:
            return
        self._busy = True
        try:
            self._settle()
        finally:
            self._closed = True
            self._leave()

    # --- snapshots and recovery ----------------------------------------------------------------

    def snapshot(self, directory, *, incremental=False, file_system=None):
        return self.snapshots.take(self, directory, incremental, file_system)

    def freeze(self):
        return freeze(self)

    def forget(self, covered):
        forget(self, covered)

    def restore(self, frozen):
        restore(self, frozen)

    def read_as(self, log_format):
        self._enter()
        self._log.read_as(log_format)

    def attach(self, log):
        self._enter()  # no append may be under way in the log that is let go
        self._log.attach(log)

    def replay(self, sequence, kind, payload):
        replay_one(self, sequence, kind, payload)

    # --- steps, while busy -------------------------------------------------------------------

    cdef inline int _settle(self) except -1:
        if self._closed or self._unlogged_count or self._log_failed:
            self._write_unlogged()
        return 0

    cdef int _write_unlogged(self) except -1:
        cdef Py_ssize_t written = 0
        self._check_open()
        self._log_failed = True
        try:
            while written < self._unlogged_count:
                self._log.append_draw(
                    self._next_id - <uint64_t>(self._unlogged_count - written),
                    self._unlogged[written])
                written += 1
                self._flush_after(1)
        finally:
            self._unlogged_count -= written
            memcpy_down(self._unlogged, written, self._unlogged_count)
        self._flush_after(0)
        self._log_failed = False
        return 0

    cdef inline int _flush_after(self, uint64_t draws) except -1:
        self._unflushed += draws
        if self._flush_every and self._unflushed >= self._flush_every:
            self._sync()
        return 0

    cdef int _sync(self) except -1:
        self._log.sync()
        self._unflushed = 0
        return 0


cdef void memcpy_down(uint32_t *values, Py_ssize_t by, Py_ssize_t count) noexcept:
    """Move ``count`` values to the front, from ``by`` places on."""
    cdef Py_ssize_t place
    for place in range(count):
        values[place] = values[place + by]


include "restore.pxi"
include "queue.pxi"


NATIVE_LOGS = (native_logs.BasicBackend, native_logs.MmapBackend)


class Backend(specification.Backend):
    """``interfaces.PoolBackend``."""

    core = "native"

    def open(self, items, *, seed, log=None, selector="fenwick", flush_every=0):
        return Pool(items, seed=seed, log=log, selector=selector, flush_every=flush_every)

    def reopen(self, pool, backend, directory, options):
        """One reading of a log of ours, under its lock, is both the replay and the opening."""
        if type(backend) not in NATIVE_LOGS:
            return super().reopen(pool, backend, directory, options)
        try:
            return reopen_log(
                backend, directory, options, replay_record, <void *>pool, pool.snapshots.complete)
        except LogLocked:  # nothing was read; what does not fit the pool is told first
            return super().reopen(pool, backend, directory, options)

    def replay(self, pool, backend, directory, options):
        if type(backend) in NATIVE_LOGS:
            return replay_log(directory, options, replay_record, <void *>pool)
        return super().replay(pool, backend, directory, options)

    def queue(self, pool, *, capacity=1024, ack="logged", mode="caller"):
        return Queue(pool, capacity=capacity, ack=ack, mode=mode)
