# cython: language_level=3, boundscheck=False, wraparound=False
"""The machine's own limits as callables: each does a fixed number of operations in C."""

import os

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memset


cdef extern from "limit_loops.h" nogil:
    int limit_memcpy(char *, size_t, const char *, size_t, uint64_t, uint64_t *)
    int limit_memcpy_out(const char *, size_t, char *, size_t, uint64_t, uint64_t *)
    ctypedef struct limit_copier "struct limit_copier":
        char *ring
        char *buffer
        size_t ring_size
        size_t size
        uint64_t count
        uint64_t position
        int out
    int limit_copy_together(limit_copier *, size_t)
    int limit_fill(char *, size_t, const char *, size_t)
    int limit_write(int, const char *, size_t, uint64_t)
    int limit_fdatasync(int, const char *, size_t, uint64_t)
    int limit_msync(char *, size_t, const char *, size_t, uint64_t)
    int limit_handoff(uint64_t)

cdef extern from "limit_checksum.h" nogil:
    void crc32c_setup(int)
    uint32_t limit_checksum(const char *, size_t, uint64_t, int)

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *, size_t, int, int, int, long)
    int munmap(void *, size_t)
    int madvise(void *, size_t, int)
    enum: PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_SHARED, MAP_ANONYMOUS
    enum: MADV_HUGEPAGE, MADV_NOHUGEPAGE
    void *MAP_FAILED


crc32c_setup(1)


cdef class Callee:
    """``limits.call``: a compiled method that takes three arguments and does nothing."""

    def call(self, name, offset, data):
        return None


cdef class Memory:
    """``length`` bytes of page-aligned anonymous memory. ``huge`` asks for huge pages."""

    cdef char *base
    cdef readonly size_t length

    def __cinit__(self, size_t length, bint huge=False):
        self.base = NULL
        self.length = length
        cdef void *got = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if got == MAP_FAILED:
            raise MemoryError(f"no {length} bytes of memory to map")
        self.base = <char *>got
        # advice only: a kernel without huge pages gives small ones
        madvise(got, length, MADV_HUGEPAGE if huge else MADV_NOHUGEPAGE)

    def touch(self, unsigned char value=1):
        """Fault every page in."""
        with nogil:
            memset(self.base, value, self.length)

    def fill(self, Memory source):
        """Copy ``source`` over this memory again and again, once from front to back."""
        with nogil:
            limit_fill(self.base, self.length, source.base, source.length)

    def ends_with(self, Memory source):
        """Are the last bytes of this memory those of ``source``?"""
        return memcmp(self.base + self.length - source.length, source.base, source.length) == 0

    def close(self):
        if self.base != NULL:
            munmap(self.base, self.length)
            self.base = NULL

    def __dealloc__(self):
        self.close()


cdef class Copier:
    """``limits.memcpy``: between one buffer of ``size`` and the next place of a ring."""

    cdef Memory ring
    cdef Memory buffer
    cdef uint64_t position

    def __init__(self, Memory ring, Memory buffer):
        if buffer.length > ring.length:
            raise ValueError(f"a copy of {buffer.length} bytes in a ring of {ring.length}")
        self.ring = ring
        self.buffer = buffer
        self.position = 0

    def copy_in(self, uint64_t count):
        with nogil:
            limit_memcpy(self.ring.base, self.ring.length, self.buffer.base, self.buffer.length,
                         count, &self.position)

    def last_is_equal(self):
        """Is the place of the ring that was copied last equal to the buffer?"""
        return memcmp(self.ring.base + self.position - self.buffer.length, self.buffer.base,
                      self.buffer.length) == 0

    def copy_out(self, uint64_t count):
        with nogil:
            limit_memcpy_out(self.ring.base, self.ring.length, self.buffer.base,
                             self.buffer.length, count, &self.position)


cdef int check(int error) except -1:
    if error:
        raise OSError(error, os.strerror(error))
    return 0


def copy_together(list copiers, uint64_t count, bint out):
    """``count`` copies by each copier, all at once, each on a thread of its own."""
    cdef size_t threads = len(copiers)
    cdef Copier one
    cdef int error
    cdef limit_copier *each = <limit_copier *>PyMem_RawCalloc(threads + 1, sizeof(limit_copier))
    if not each:
        raise MemoryError()
    for at, one in enumerate(copiers):
        each[at] = limit_copier(
            one.ring.base, one.buffer.base, one.ring.length, one.buffer.length, count,
            one.position, out,
        )
    with nogil:
        error = limit_copy_together(each, threads)
    for at, one in enumerate(copiers):
        one.position = each[at].position
    PyMem_RawFree(each)
    check(error)


def write_many(int fd, const unsigned char[::1] data, uint64_t count):
    """``count`` appends of ``data`` to ``fd``, one write(2) each."""
    cdef int error
    with nogil:
        error = limit_write(fd, <const char *>&data[0], data.shape[0], count)
    check(error)


def write_and_sync(int fd, const unsigned char[::1] data, uint64_t count):
    """``count`` times pwrite and fdatasync."""
    cdef int error
    with nogil:
        error = limit_fdatasync(fd, <const char *>&data[0], data.shape[0], count)
    check(error)


def store_and_msync(unsigned char[::1] mapping, const unsigned char[::1] data, uint64_t count):
    """``count`` times a store into a shared mapping and msync(MS_SYNC) of its pages."""
    cdef int error
    if data.shape[0] > mapping.shape[0]:
        raise ValueError(f"a store of {data.shape[0]} bytes in a mapping of {mapping.shape[0]}")
    with nogil:
        error = limit_msync(<char *>&mapping[0], mapping.shape[0], <const char *>&data[0],
                            data.shape[0], count)
    check(error)


def fill_mapping(unsigned char[::1] mapping, Memory source):
    """Copy ``source`` over a mapping once, from front to back."""
    with nogil:
        limit_fill(<char *>&mapping[0], mapping.shape[0], source.base, source.length)


def checksum(Memory buffer, uint64_t count, bint one_stream):
    """CRC-32C of ``buffer``, ``count`` times over; returns the last value."""
    cdef uint32_t crc
    with nogil:
        crc = limit_checksum(buffer.base, buffer.length, count, one_stream)
    return crc


def handoff(uint64_t rounds):
    """Two threads wake each other ``rounds`` times: ``2 * rounds`` wake-ups."""
    cdef int error
    with nogil:
        error = limit_handoff(rounds)
    check(error)
