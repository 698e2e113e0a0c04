# cython: boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of ``python.py``: the same results call for call.

Who may touch what. Every field of a cache, its files and its lists is read and changed only with
the interpreter lock held, and between two points where that lock may be given away everything is
consistent. A thread that works on a file's bytes, coverage or tables without the lock, or has to
keep them while the log runs, first marks the file busy; every other operation on that file waits
(``wait_turn``), an eviction passes its blocks over. So two threads copy in parallel when they
work on different files, and no buffer is freed under a copy.

A write is: look for room and reserve it, make every buffer and table entry that will be needed,
append to the log, and only then change memory, which can no longer fail.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from bench_cli.cache.blocks cimport *
from bench_cli.wal.native cimport NativeLog, reopen as reopen_log

from bench_cli.cache import replay, rules
from bench_cli.cache.snapshot import SavedBlock, SavedFile, Snapshots
from bench_cli.cache.stores import open_store
from bench_cli.cache.waiting import ConditionWaiter
from bench_cli.errors import CacheFull, LogLocked, Unsupported
from bench_cli.filesystem import CLOCK, SYSTEM
from bench_cli.interfaces import CacheStats, Capability, DirtyBlock, Durability
from bench_cli.payloads import write_head as encoded_head
from bench_cli.wal import native as native_logs
from bench_cli.wal.snapshot import covered_by

cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(dict mapping, object key) except? NULL
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    int raw_get_buffer "PyObject_GetBuffer"(object source, Py_buffer *view, int flags)
    bint PyErr_ExceptionMatches(object kind)
    void PyErr_Clear()
    bint PyUnicode_CheckExact(object value)

cdef extern from *:
    """
    /* A DirtyBlock (a tuple with names) without going through its constructor, and not made known
     * to the collector: a name and two numbers are in no cycle. */
    static PyObject *new_dirty_block(PyTypeObject *type, PyObject *name, long long number,
                                     long long generation) {
        PyTupleObject *entry = PyObject_GC_NewVar(PyTupleObject, type, 3);
        if (!entry) return NULL;
    #if PY_VERSION_HEX >= 0x030E0000
        entry->ob_hash = -1; /* not yet computed */
    #endif
        entry->ob_item[0] = Py_NewRef(name);
        entry->ob_item[1] = PyLong_FromLongLong(number);
        entry->ob_item[2] = PyLong_FromLongLong(generation);
        if (entry->ob_item[1] && entry->ob_item[2]) return (PyObject *)entry;
        Py_DECREF(entry);
        return NULL;
    }
    """
    object new_dirty_block(
        PyTypeObject *type, PyObject *name, long long number, long long generation
    )

cdef enum:
    WRITE_KIND = 2  # RecordKind.WRITE
    # From here on a copy takes longer than giving the interpreter lock away and getting it back.
    LARGE = 64 << 10
    FEW = 64  # dirty blocks that are listed without memory from the allocator

cdef PyTypeObject *dirty_block_type = <PyTypeObject *>DirtyBlock


ctypedef struct piece:  # the part of a write that lies in one block
    int64_t number
    uint32_t start
    uint32_t end
    uint32_t capacity  # the buffer the block will have
    block *target  # the block, NULL until there is one
    block *made  # a new block that waits for the log
    unsigned char *buffer  # a larger buffer for an existing block, likewise

ctypedef struct request:  # one entry of a vectored call; the batch holds name and source
    PyObject *name
    PyObject *source
    int64_t offset
    int64_t length
    unsigned char *data
    block *target
    block_table *table
    bint viewed  # there is a view; bytes to be written need none
    Py_buffer view


# --- arguments -------------------------------------------------------------------------------

cdef inline int64_t whole(value) except? -1:
    """A number of 63 bits; what is outside them comes back as -1 and is refused as a range."""
    cdef int overflow = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow)
    return -1 if overflow else number


cdef inline int check_range(offset, int64_t start, int64_t length) except -1:
    if start < 0 or length < 0 or start > INT64_MAX - length:
        rules.check_range(offset, length)
    return 0


cdef int take_buffer(source, Py_buffer *view, int flags) except -1:
    """As the Python twin, a TypeError for any buffer that will not do."""
    if raw_get_buffer(source, view, flags) < 0:
        if PyErr_ExceptionMatches(BufferError):
            PyErr_Clear()
            raise TypeError("a contiguous buffer is needed, and a writable one to read into")
        return -1  # as raised
    return 0


@cython.final
cdef class File:
    """``table`` finds the blocks. ``head`` is the start of this file's write records, made when
    the first is logged; only the offset in it changes."""

    cdef block_table table
    cdef buffer_pool *pool
    cdef unsigned char *head
    cdef size_t head_length
    cdef str name

    def __dealloc__(self):
        free_table(&self.table, self.pool)
        pool_release(self.pool)
        PyMem_RawFree(self.head)


include "state.pxi"
include "store.pxi"
include "vectored.pxi"


@cython.final
cdef class Cache(Vectored):
    # --- reading -------------------------------------------------------------------------------

    def read_into(self, name, offset, buffer):
        cdef Py_buffer view
        take_buffer(buffer, &view, PyBUF_WRITABLE)
        try:
            start = whole(offset)
            check_range(offset, start, view.len)
            return self.read(name, start, view.len, <unsigned char *>view.buf)
        finally:
            PyBuffer_Release(&view)

    def is_range_covered(self, name, offset, length):
        cdef int64_t start = whole(offset), count = whole(length)
        check_range(offset, start, 0)
        check_range(length, count, 0)
        check_range(offset, start, count)
        cdef File file = self.settled(name)
        return file is not None and range_is_covered(&file.table, self.shift, start, count)

    def file_size(self, name):
        return self.existing(name).table.size

    def list_files(self):
        cdef File file
        self.check_open()
        return [(file.name, file.table.size) for file in self.sorted_files()]

    # --- shortening ------------------------------------------------------------------------------

    cdef File held(self, name):
        """The file, held until ``release``."""
        cdef File file = self.existing(name)
        self.hold(&file.table)
        return file

    def truncate(self, name, size):
        cdef int64_t length = whole(size)
        check_range(size, length, 0)
        cdef File file = self.held(name)
        cdef block *b
        try:
            if self.log is None:
                self.generation += 1
                generation = self.generation
            else:
                generation = self.log_call(self.log.append_truncate, (name, size))
            self.drop_from(&file.table, (length >> self.shift) + 1)
            b = find_block(&file.table, length >> self.shift)
            if b:
                self.cut(b, length & (self.block_size - 1), generation)
            file.table.size = length
        finally:
            self.release(&file.table)
        self.wake()

    cdef void cut(self, block *b, uint32_t length, int64_t generation) noexcept:
        """A clean block stays clean: what is left of it is in the store. One that ends before gets
        the generation too: recovery knows no bytes from the store, and could not tell it apart."""
        cut_coverage(b, length)
        b.generation = generation
        if not b.edge_count:
            self.drop(b)

    def remove(self, name):
        cdef File file = self.held(name)
        try:
            if self.log is not None:
                self.log_call(self.log.append_remove, (name,))
            self.drop_from(&file.table, 0)
            del self.files[name]
            self.file_count -= 1
            self.in_order = None
        finally:
            self.release(&file.table)
        self.wake()

    # --- uploading -------------------------------------------------------------------------------

    def dirty_blocks(self, name=None):
        cdef File file
        self.check_open()
        if name is None:
            return list_dirty(self.sorted_files(), None)
        file = self.lookup(name)
        return [] if file is None else list_dirty((), file)

    def read_block(self, name, number):
        cdef int64_t place = whole(number)
        cdef File file = self.held(name)
        cdef block *b
        try:
            b = find_block(&file.table, place)
            if not b:
                raise rules.not_cached(name, number)
            return b.generation, extents_of(b)
        finally:
            self.release(&file.table)

    def mark_uploaded(self, name, number, generation):
        cdef int64_t place = whole(number), expected = whole(generation)
        cdef File file = self.settled(name)
        if file is None:
            return False
        cdef block *b = find_block(&file.table, place)
        if b == NULL or b.generation != expected:
            return False
        if b.dirty:
            if self.log is not None:
                self.hold(&file.table)
                try:
                    self.log_call(self.log.append_uploaded, (name, number, generation))
                finally:
                    self.release(&file.table)
            self.set_clean(b)
        self.wake()
        return True

    # --- evicting --------------------------------------------------------------------------------

    def evict_one(self):
        cdef int evicted
        self.enter()
        evicted = self.evict_oldest(NULL)
        while evicted < 0:
            self.wait_turn()
            self.enter()
            evicted = self.evict_oldest(NULL)
        return evicted == 1

    def evict_all(self):
        evicted = 0
        while self.evict_one():
            evicted += 1
        return evicted

    def trim(self):
        self.check_open()
        pool_shrink(self.pool, self.kept)

    # --- the whole -------------------------------------------------------------------------------

    def stats(self):
        self.check_open()
        return CacheStats(
            files=self.file_count,
            blocks=self.blocks,
            dirty_blocks=self.dirty,
            allocated=self.allocated,
            pending=self.pending,
            pooled=<int64_t>self.pool.count * self.block_size,
            evicted_blocks=self.evicted,
            waited_ns=self.waited_ns,
        )

    cdef int rest(self) except -1:
        """Wait until nobody is at work, and let nobody begin until ``resume``."""
        self.enter()
        self.gated = True
        while self.busy_files:
            self.wait_turn()
        return 0

    cdef void resume(self) noexcept:
        self.gated = self.closed
        self.turn()

    def checkpoint(self, *, incremental=False):
        self.enter()
        if self.log is None or self.directory is None:
            raise Unsupported("a checkpoint needs a log and the directory it lies in")
        self.rest()
        try:
            self.log.sync()
            covered = covered_by(self.log)
            info = self.snapshots.take(
                self.file_system, self.directory, covered, incremental, self._saved_files
            )
            self.log.reset()
            return info
        finally:
            self.resume()

    def _saved_files(self, since):
        cdef File file
        for file in self.sorted_files():
            blocks = self._saved_blocks(file, list_dirty((), file), since)
            yield SavedFile(file.name, file.table.size, blocks)

    def _saved_blocks(self, File file, dirty, since):
        for _, number, generation in dirty:
            extents = None
            if generation > since:
                extents = extents_of(find_block(&file.table, number))
            yield SavedBlock(number, generation, extents)

    def adopt(self, name, int64_t size):
        """A file of ``size`` as recovery found it: it may have no block at all."""
        self.publish(self.settled_or_made(name), size)

    def count_from(self, int64_t generation):
        """For recovery: the next change gets this generation."""
        self.generation = generation - 1

    def close(self):
        while self.gated and not self.closed:
            self.wait_turn()
        if self.closed:
            return
        self.rest()
        for name in self.files:
            self.drop_from(&(<File>self.files[name]).table, 0)
        self.files.clear()
        self.in_order = None
        pool_shrink(self.pool, 0)
        self.closed = True
        self.resume()
        self.wake()


cdef list extents_of(block *b):
    """[(start, bytes)], copied; the block's file is held or nobody else runs."""
    cdef list extents = []
    cdef uint32_t at
    cdef int64_t length
    cdef char *target
    for at in range(0, b.edge_count, 2):
        length = b.edges[at + 1] - b.edges[at]
        data = PyBytes_FromStringAndSize(NULL, length)
        target = PyBytes_AS_STRING(data)
        if length < LARGE:
            memcpy(target, b.buffer + b.edges[at], length)
        else:
            with nogil:
                memcpy(target, b.buffer + b.edges[at], length)
        extents.append((b.edges[at], data))
    return extents


cdef struct dirty_mark:
    PyObject *name
    int64_t number
    int64_t generation


cdef list list_dirty(files, File one):
    """Every dirty block of ``files`` in their order, or of ``one``. All are noted before the first
    object is made: making objects may run the collector, and that may run anything."""
    cdef dirty_mark few[FEW]
    cdef dirty_mark *marks = few
    cdef File file
    cdef int64_t total = 0 if one is None else one.table.dirty
    for file in files:
        total += file.table.dirty
    if total > FEW:
        marks = <dirty_mark *>PyMem_RawMalloc(total * sizeof(dirty_mark))
        if not marks:
            raise MemoryError()
    cdef Py_ssize_t count = 0 if one is None else note_dirty(one, marks, 0)
    for file in files:
        count = note_dirty(file, marks, count)
    try:
        return listed(marks, count)
    finally:
        if marks != few:
            PyMem_RawFree(marks)


cdef list listed(dirty_mark *marks, Py_ssize_t count):
    cdef list entries = PyList_New(count)
    cdef Py_ssize_t at
    for at in range(count):
        entry = new_dirty_block(
            dirty_block_type, marks[at].name, marks[at].number, marks[at].generation
        )
        Py_INCREF(entry)
        PyList_SET_ITEM(entries, at, entry)
    return entries


cdef Py_ssize_t note_dirty(File file, dirty_mark *marks, Py_ssize_t count) noexcept:
    cdef chunk *c
    cdef block *b
    cdef size_t i
    cdef uint32_t slot, left
    for i in range(file.table.count):
        c = &file.table.chunks[i]
        slot, left = 0, c.dirty
        while left:
            b = c.blocks[slot]
            slot += 1
            if b != NULL and b.dirty:
                marks[count] = dirty_mark(<PyObject *>file.name, b.number, b.generation)
                count += 1
                left -= 1
    return count


include "recovery.pxi"


class Backend:
    name = "cache.block"
    core = "native"
    capabilities = frozenset(
        {Capability.VECTORED, Capability.WAL, Capability.EVICTION, Capability.UPLOAD}
    )

    def durability(self, options):
        """Memory alone is volatile; on a log the row carries the log's own level."""
        return Durability("D0")

    def open(
        self, options, *, log=None, directory=None, file_system=None, clock=None, waiter=None
    ):
        return Cache(options, log, directory, file_system, clock, waiter)

    def store(self, kind, directory):
        return open_store(kind, directory)

    def recover(
        self, options, *, backend, directory, log_options, clock=None, waiter=None
    ):
        def empty(log):
            return Cache(options, log, None, log_options.file_system, clock, waiter)

        return replay.recover(
            empty, options.block_size, backend, directory, log_options, reopen
        )
