# Part of native.pyx: walking the undamaged part of a segment with its checksums made on threads
# (checking.h). What is found, and what is said of the rest, is the same as without.

cdef extern from "checking.h" nogil:
    ctypedef struct check_pool:
        pass
    ctypedef struct check_unit:
        long long from_ "from"
        long long until, start, end
        uint8_t *data
        uint64_t first, next
        uint32_t crc
        int stopped
    check_pool *check_begin(int fd, uint32_t seed, long long start, long long limit,
                            uint64_t next, int threads)
    check_unit *check_take(check_pool *pool)
    void check_again(check_pool *pool, check_unit *unit, long long at, uint64_t next)
    void check_give(check_pool *pool, check_unit *unit)
    void check_stop(check_pool *pool)

cdef enum:
    LEAST_SHARED = 1 << 20  # bytes of a segment: below, starting threads costs what they save
    MOST_WITHIN = 4  # units that lie within a frame, beyond those that do not


class ParallelWalk:
    """``walk_binary`` with ``workers`` threads, of which the caller's is one."""

    def __init__(self, workers):
        self.workers = workers

    def __call__(self, reader, size_t limit, uint32_t seed, scan):
        if limit >= scan.position + LEAST_SHARED:
            walk_shared(self.workers, reader, limit, seed, scan)
        walk_file(reader, limit, seed, scan)


cdef int walk_shared(int workers, reader, size_t limit, uint32_t seed, scan) except -1:
    """Up to the first frame that is not good, or is the clean-close mark."""
    cdef Walk self = begin_walk(reader, limit, scan)
    cdef int fd = reader.fd
    cdef check_unit *unit
    cdef bint more = True
    cdef int within = 0
    cdef check_pool *pool = check_begin(fd, seed, self.offset, limit, self.expected, workers - 1)
    if pool == NULL:  # no thread can be had: the walk that follows needs none
        return 0
    try:
        while more:
            with nogil:
                unit = check_take(pool)
                if unit != NULL and unit.until > <long long>self.offset and (
                    unit.start != <long long>self.offset or unit.first != self.expected
                ):
                    check_again(pool, unit, self.offset, self.expected)
            if unit == NULL:
                break
            if unit.until > <long long>self.offset:
                more = not unit.stopped
                within = max(0, within - 1)
                take_unit(self, seed, unit)
            else:  # within a frame before it; where most are, one thread is faster
                within += 1
                more = within <= MOST_WITHIN
            check_give(pool, unit)
    finally:
        with nogil:
            check_stop(pool)
    end_walk(self, scan)
    return 0


cdef int take_unit(Walk self, uint32_t seed, check_unit *unit) except -1:
    """Deliver the frames of a unit, which go on where the walk is."""
    cdef frame_fields fields
    cdef const uint8_t *frame = unit.data + (unit.start - unit.from_)
    cdef size_t at = 0, size
    cdef size_t length = unit.end - unit.start
    cdef uint64_t sequence = unit.first
    cdef uint32_t crc
    if not length:
        return 0
    if self.apply is not None:
        # whoever keeps a payload keeps its own copy, not memory that is used again
        view = None if self.function != NULL else memoryview(
            PyBytes_FromStringAndSize(<const char *>frame, length)
        )
        while at < length:
            size = frame_read(frame, FRAME_HEADER, seed, sequence, &fields, &crc)
            sequence += fields.count
            deliver(self, view, frame + FRAME_HEADER, at + FRAME_HEADER, &fields)
            frame += size
            at += size
    self.offset += length
    self.records += unit.next - unit.first
    self.expected, self.crc = unit.next, unit.crc
    return 0
