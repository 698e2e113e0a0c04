# cython: language_level=3, cdivision=True
"""The write-ahead log, compiled twin: the same records, errors and bytes as ``log.py``.

What happens once per record is here, in C; what happens once per segment (create, rotate, empty,
close) is ``segment.py``, which both twins share. A record goes from the caller's bytes into the
mapping in one pass that copies and checksums, without making a Python object but the number it
returns. The interpreter lock is kept for that, and released for system calls and large copies.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.dict cimport PyDict_SetDefault
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.errno cimport EINTR
from libc.stdint cimport UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import errno
import os

from bench_cli.errors import LogClosed, LogPoisoned, RecordTooLarge
from bench_cli.filesystem import CLOCK, SYSTEM, SlowFileSystem
from bench_cli.interfaces import LogStats
from bench_cli.payloads import (
    MAX_NAME, decode_remove, decode_truncate, decode_write, encode_remove, encode_truncate,
    encode_uploaded, truncate_live, write_head,
)
from bench_cli.wal import format as fmt
from bench_cli.wal import log as specification
from bench_cli.wal import recovery
from bench_cli.wal.files import MappedSegment
from bench_cli.wal.segment import SegmentSet, check_options

cdef extern from "textread.h" nogil:
    ctypedef struct frame_fields:
        uint32_t seed
        uint8_t kind
        uint8_t flags
        uint16_t count
        uint32_t length
        uint64_t sequence
        uint32_t lag
    int FRAME_HEADER
    int FRAME_BATCH
    int FRAME_FOOTER
    void frame_setup(int allow_hardware)
    size_t frame_size(size_t payload)
    uint32_t frame_lag(uint64_t sequence, uint64_t durable)
    uint32_t frame_put(uint8_t *to, const frame_fields *f, const void *head, size_t head_length,
                       const void *data, size_t data_length)
    uint32_t frame_head(uint8_t *to, const frame_fields *f)
    uint32_t frame_seal(uint8_t *to, const frame_fields *f)
    size_t frame_read(const uint8_t *source, size_t held, uint32_t seed, uint64_t sequence,
                      frame_fields *f, uint32_t *crc)
    uint8_t *frame_copy(uint8_t *to, const void *source, size_t length)
    uint32_t crc32c_extend(uint32_t seed, const void *source, size_t length)
    uint32_t crc32c_raw(uint32_t raw, const void *source, size_t length)
    size_t text_bound(size_t payload, size_t count)
    uint8_t *text_begin(uint8_t *to, const frame_fields *f)
    uint8_t *text_escape(uint8_t *to, const uint8_t *source, size_t length)
    uint32_t text_seal(uint8_t *line, uint8_t *end, uint32_t seed)
    void text_setup()
    const uint8_t *text_line_end(const uint8_t *source, const uint8_t *end, int *over)
    const uint8_t *text_parse(const uint8_t *line, const uint8_t *end, uint32_t seed,
                              frame_fields *f, uint32_t *crc)
    size_t text_payload_bound(const frame_fields *f, size_t length)
    int text_payload(uint8_t *to, frame_fields *f, const uint8_t *source, const uint8_t *end)

cdef extern from "turns.h" nogil:
    void turns_wait(uint32_t *turns, uint32_t seen)
    void turns_next(uint32_t *turns, int waiting)

cdef extern from "files.h" nogil:
    long FILES_RAISED
    long files_write(wal_files *files, iovec *parts, int count, long long offset)
    long files_sync(wal_files *files, long long offset, long long length)
    long files_sync_mapped(wal_files *files, long long offset, long long length)
    long files_sync_slow(wal_files *files, long long offset, long long length)
    long files_sync_mapped_slow(wal_files *files, long long offset, long long length)
    long files_sync_range(void *base, long long offset, long long length)
    void files_populate(unsigned char *base, size_t length)
    uint64_t files_now()

cdef enum:
    NONE = 0
    BASIC = 1
    MAPPED = 2
    # why a log is not usable
    CLOSED = 1
    FAILED = 2
    BUSY = 4
    BEHIND = 8  # usable, but a rotation is to be caught up on
    # Copies from here on release the interpreter lock: one takes some 3 us, handing the lock over
    # and back 0.1.
    RELEASE = 64 << 10
    # Larger records are handed to the system in parts instead of being copied together first.
    SCRATCH = 64 << 10
    # Writes up to here keep it where many threads append: some 1 us, and to hand the lock to a
    # thread that then finds the log at work costs each of them a turn.
    BRIEF = 4 << 10
    # The pages of a reopened segment are faulted in that far ahead of the end, in some 40 us each
    # time, at addresses that are multiples of the largest page size.
    FAULT_AHEAD = 256 << 10
    FAULT_ALIGN = 64 << 10
    DATA_START = 1024  # as in format.py

frame_setup(1)
text_setup()


def crc32c(data, uint32_t seed=0):
    """CRC-32C of a buffer, extending ``seed``."""
    cdef Py_buffer view
    cdef uint32_t value
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    with nogil:
        value = crc32c_extend(seed, view.buf, view.len)
    PyBuffer_Release(&view)
    return value


def use_hardware(bint allowed):
    """Whether checksums may use the processor's instruction (the default). For tests."""
    frame_setup(allowed)


# --- the injected entries of the table -------------------------------------------------------

cdef long injected_write(wal_files *files, iovec *parts, int count, long long offset) noexcept with gil:
    cdef NativeLog log = <NativeLog>files.context
    try:
        data = b"".join([
            (<char *>parts[i].iov_base)[:parts[i].iov_len] for i in range(count)
        ])
        return log.segment.write(offset, data)
    except BaseException as error:
        log.raised = error
        return FILES_RAISED


cdef long injected_stored(wal_files *files, long long offset, long long length) noexcept with gil:
    cdef NativeLog log = <NativeLog>files.context
    try:
        log.segment.stored(offset, length)
        return 0
    except BaseException as error:
        log.raised = error
        return FILES_RAISED


cdef long injected_sync(wal_files *files, long long offset, long long length) noexcept with gil:
    cdef NativeLog log = <NativeLog>files.context
    try:
        log.segment.sync(offset, offset + length)
        return 0
    except BaseException as error:
        log.raised = error
        return FILES_RAISED


class NativeSegment(MappedSegment):
    """A mapped segment whose pages are faulted in by one call, and synced by range."""

    ahead = True

    def populate(self):
        cdef Py_buffer view
        PyObject_GetBuffer(self.buffer, &view, PyBUF_WRITABLE)
        with nogil:
            files_populate(<unsigned char *>view.buf, view.len)
        PyBuffer_Release(&view)

    def sync(self, start, end):
        cdef Py_buffer view
        cdef long long first = start, length = end - start
        cdef long result
        if self.fs is not SYSTEM:
            return super().sync(start, end)
        PyObject_GetBuffer(self.buffer, &view, PyBUF_WRITABLE)
        with nogil:
            result = files_sync_range(view.buf, first, length)
        PyBuffer_Release(&view)
        if result < 0:
            raise OSError(-result, os.strerror(-result))


# --- the log ---------------------------------------------------------------------------------

cdef class NativeLog:
    def __init__(self, options, segments=None, scan=None):
        check_options(options)
        self.format = options.format
        self.next = 1
        self.segments = segments
        if segments is None:
            return
        self.text = options.format != "binary"
        self.coded = options.format == "jsonl"
        self.storage = MAPPED if isinstance(segments.current, MappedSegment) else BASIC
        self.next = scan.next_sequence
        self.durable = self.next - 1
        self.ready = UINT64_MAX
        self.period = segments.period
        self.clock = None if segments.clock is CLOCK else segments.clock
        self.relay = segments.relay
        self.files.context = <void *>self
        if segments.fs is SYSTEM:
            self.files.write = files_write
            self.files.sync = files_sync_mapped if self.storage == MAPPED else files_sync
        elif type(segments.fs) is SlowFileSystem:
            self.files.write, self.files.delay = files_write, segments.fs.sync_delay_ns
            self.files.sync = files_sync_mapped_slow if self.storage == MAPPED else files_sync_slow
        else:
            self.files.write, self.files.sync = injected_write, injected_sync
            self.files.stored = injected_stored
        load_segment(self)
        if scan.ends and self.storage == MAPPED:
            self.room = self.ready = 0
        self.end = self.synced = scan.ends[-1] if scan.ends else fmt.DATA_START
        self.chain = scan.chain

    def __dealloc__(self):
        drop_mapping(self)
        PyMem_RawFree(self.scratch)

    # --- records -----------------------------------------------------------------------------

    cdef int c_append(self, unsigned char kind, const void *head, size_t head_length,
                      const void *data, size_t data_length,
                      unsigned long long *sequence) except -1:
        cdef frame_fields fields
        cdef size_t length = head_length + data_length, size
        if self.state:
            enter(self)
        if kind == 0 or kind == FRAME_FOOTER:
            specification.check_kind(kind)
        if self.storage != NONE:
            fields.kind, fields.flags, fields.count = kind, 0, 1
            if self.text:
                put_text(self, &fields, head, head_length, data, data_length, None)
            else:
                size = frame_size(length)
                if self.end + size > self.room:
                    make_room(self, size)
                if self.period:
                    while rotate_old(self, size):
                        pass
                fields.length = <uint32_t>length
                number(self, &fields)
                if self.base != NULL and size < RELEASE and self.files.stored == NULL:
                    self.chain = frame_put(
                        self.base + self.end, &fields, head, head_length, data, data_length
                    )
                else:
                    put_slowly(self, &fields, head, head_length, data, data_length, size)
                self.end += size
                self.bytes += size
        self.appends += 1
        sequence[0] = self.next
        self.next += 1
        return 0

    def append(self, payload, int kind=1):
        cdef unsigned long long sequence
        cdef Py_buffer view
        if self.state:
            enter(self)
        if kind < 1 or kind >= FRAME_FOOTER:
            specification.check_kind(kind)
        if PyBytes_CheckExact(payload):
            self.c_append(<unsigned char>kind, NULL, 0, PyBytes_AS_STRING(payload),
                          PyBytes_GET_SIZE(payload), &sequence)
            return sequence
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            self.c_append(<unsigned char>kind, NULL, 0, view.buf, view.len, &sequence)
        finally:
            PyBuffer_Release(&view)
        return sequence

    def append_many(self, payloads, int kind=1):
        cdef list parts
        cdef Py_ssize_t count
        if self.state:
            enter(self)
        if kind < 1 or kind >= FRAME_FOOTER:
            specification.check_kind(kind)
        if type(payloads) is list and goes_at_once(self, payloads):
            parts = payloads
        else:
            parts = own_batch(self, payloads)
        count = len(parts)
        if count == 0 or count > 65535:
            specification.check_batch(count)
        put_batch(self, <unsigned char>kind, parts)
        self.appends += count
        self.next += count
        return self.next - 1

    def append_write(self, str name not None, offset, data):
        cdef uint8_t[WRITE_HEAD] plain
        cdef bytes encoded
        cdef const void *head = plain
        cdef size_t length = plain_write_head(plain, name, offset)
        cdef unsigned long long sequence
        cdef Py_buffer view
        if length == 0:
            encoded = write_head(name, offset)
            head, length = PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.c_append(2, head, length, view.buf, view.len, &sequence)
        finally:
            PyBuffer_Release(&view)
        return sequence

    def append_remove(self, str name not None):
        cdef Py_ssize_t length
        cdef unsigned long long sequence
        cdef const char *text = utf8_of(name, &length)
        if text == NULL:
            return self.append(encode_remove(name), 3)
        self.c_append(3, NULL, 0, text, length, &sequence)
        return sequence

    def append_truncate(self, str name not None, size):
        cdef uint64_t head
        cdef Py_ssize_t length
        cdef unsigned long long sequence
        cdef const char *text = utf8_of(name, &length)
        if text == NULL or not plain_number(size, &head):
            return self.append(encode_truncate(name, size), 4)
        self.c_append(4, &head, sizeof(head), text, length, &sequence)
        return sequence

    def append_uploaded(self, str name not None, block, generation):
        cdef uint64_t[2] head
        cdef Py_ssize_t length
        cdef unsigned long long sequence
        cdef const char *text = utf8_of(name, &length)
        if (text == NULL or not plain_number(block, &head[0])
                or not plain_number(generation, &head[1])):
            return self.append(encode_uploaded(name, block, generation), 5)
        self.c_append(5, head, sizeof(head), text, length, &sequence)
        return sequence

    # --- the rest ----------------------------------------------------------------------------

    def sync(self):
        """fdatasync, outside the interpreter lock."""
        if self.state:
            enter(self)
        if self.storage != NONE:
            begin_work(self)
            try:
                sync_now(self)
            finally:
                end_work(self)

    def reset(self):
        if self.state:
            enter(self)
        if self.storage == NONE:
            return
        begin_work(self)
        try:
            self.segments.reset(self.next, self.end)
            self.durable = self.next - 1
            load_segment(self)
            self.end = self.synced = fmt.DATA_START
            self.chain = self.segment.header.crc
        except OSError as error:
            raise fail(self, error) from error
        except BaseException:
            stopped(self)
            raise
        finally:
            end_work(self)

    def truncate_front(self, sequence):
        if self.state:
            enter(self)
        if self.storage == NONE:
            return self.next
        begin_work(self)
        try:
            covered = self.segments.covered(sequence)
            try:
                self.segments.remove_front(covered)
            except OSError as error:
                raise fail(self, error) from error
            except BaseException:
                stopped(self)
                raise
        finally:
            end_work(self)
        return self.segments.first

    def stats(self):
        """Also of a log that cannot be used any more."""
        wait_for_work(self)
        begin_work(self)
        try:
            return figures(self)
        finally:
            end_work(self)

    def close(self):
        if self.state & BUSY:
            wait_for_work(self)
        if self.state & CLOSED:
            return
        if self.state & BEHIND:
            catch_up(self)
        try:
            if self.storage != NONE and not self.failed:
                write_footer(self)
        finally:
            self.state |= CLOSED
            drop_mapping(self)
            if self.storage != NONE:
                self.segments.release()


include "names.pxi"
include "relay.pxi"
include "put.pxi"
include "batch.pxi"
include "commit.pxi"
include "replay.pxi"
include "parallel.pxi"
include "live.pxi"


cdef object figures(NativeLog self):
    segments, size, allocated = 0, 0, 0
    if self.state & BEHIND:
        catch_up(self)
    if self.storage != NONE:
        segments, size, allocated = self.segments.sizes(self.end)
    return LogStats(
        appends=self.appends,
        bytes=self.bytes,
        writes=self.writes,
        syncs=commit_seen(&self.syncs),
        rotations=0 if self.storage == NONE else self.segments.rotations,
        segments=segments,
        file_size=size,
        allocated=allocated,
        last_sequence=self.next - 1,
        durable_sequence=commit_seen(&self.durable),
    )


cdef object segment_set(backend, directory, options):
    segments = SegmentSet(directory, options, backend.segment_type, backend._salts)
    if segments.fs is SYSTEM and options.format == "binary":  # lines have links made by Python code
        segments.connect(Relay)
    return segments


# --- backends --------------------------------------------------------------------------------

class NoneBackend(specification.NoneBackend):
    core = "native"

    def open(self, directory, options):
        return under_policy(NativeLog(options), options)


class BasicBackend(specification.BasicBackend):
    core = "native"

    def open(self, directory, options):
        segments = segment_set(self, directory, options)
        return under_policy(NativeLog(options, segments, segments.start(walker(options))), options)

    def recover(self, directory, options, apply=None):
        return recovered(directory, options, apply)

    def live_files(self, directory, options):
        files = {}
        found = replay(directory, options, live_record, <void *>files)
        return found, files


class MmapBackend(BasicBackend):
    name = "wal.mmap"
    segment_type = NativeSegment
