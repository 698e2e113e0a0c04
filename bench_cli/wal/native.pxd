# What other compiled twins may cimport: the log itself, and a replay that makes no Python object
# per record.
cimport cython
from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "files.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ctypedef struct wal_files
    ctypedef long (*files_write_fn)(wal_files *, iovec *, int, long long) noexcept
    ctypedef long (*files_range_fn)(wal_files *, long long, long long) noexcept
    ctypedef struct wal_files:
        int fd
        void *base
        void *context
        int64_t delay
        files_write_fn write
        files_range_fn stored
        files_range_fn sync

@cython.final
cdef class NativeLog:
    cdef readonly str format
    cdef object segments  # SegmentSet; None for wal.none
    cdef object segment  # its current one
    cdef object relay  # what the next rotation needs, or None
    cdef object raised  # what an injected file system raised
    cdef uint8_t *base  # the mapping; NULL for wal.basic
    cdef Py_buffer view  # holds the mapping while base is set
    cdef uint8_t *scratch  # where frames are made that do not go straight to the mapping
    cdef size_t scratch_size
    cdef wal_files files
    cdef uint64_t end, synced, next, durable
    cdef uint64_t room  # up to where frames may go before make_room looks again: the least of
    cdef uint64_t full, ready  # what rotation allows, and the end of the pages faulted in
    cdef uint64_t limit  # up to where the segment may be filled
    cdef uint64_t period, deadline  # of rotation by time, in ns; 0: there is none
    cdef uint64_t begins  # number of the segment's first record
    cdef object clock  # an injected one
    cdef uint64_t appends, bytes, writes, syncs
    cdef uint32_t seed, chain
    cdef int storage, text
    cdef int coded  # the codec of the Python twin makes the lines
    cdef int state  # 0: usable; anything else is looked at off the fast path
    cdef int failed  # errno of the first failure
    cdef int retired  # full segments wait for a sync
    cdef void *commit  # the flush policy in front of it, or NULL
    cdef uint32_t turns  # changes when BUSY ends: futex word of those who wait for that
    cdef int waiting

    # Append one record whose payload is `head` followed by `data`. The interpreter lock must be
    # held. Raises the typed errors. `sequence` receives the record's number.
    cdef int c_append(self, unsigned char kind, const void *head, size_t head_length,
                      const void *data, size_t data_length,
                      unsigned long long *sequence) except -1

# Called once per record, in order; -1 with an exception set stops the replay.
ctypedef int (*replay_fn)(void *context, unsigned long long sequence, unsigned char kind,
                          const unsigned char *payload, size_t length) except -1

# Read the log in `directory` under `options`, without changing it; returns the Recovery value.
cdef object replay(directory, options, replay_fn function, void *context)

# A consumer may want the end of a large payload in a place of its own, copied there while it is
# checked. ``place`` says where the bytes from ``head`` on go, or NULL; nothing is known of the payload
# yet, its checksum may turn out wrong. ``placed`` stands for the call of replay_fn once it is right.
ctypedef unsigned char *(*place_fn)(void *context, unsigned long long sequence, unsigned char kind,
                                    const unsigned char *payload, size_t length,
                                    size_t *head) noexcept
ctypedef void (*placed_fn)(void *context, unsigned long long sequence) noexcept

# The same, and open it for appending: one reading does for both. ``backend`` is one of this module;
# ``check`` gets the Recovery before anything is changed. (log, what check returned)
cdef tuple reopen(backend, directory, options, replay_fn function, void *context, check,
                  place_fn place=*, placed_fn placed=*)
