# Part of native.pyx: replaying the writes of a compiled log without a Python object per record.
# Every other kind, and whatever is odd, goes to ``replay.py``, which knows the rules and the errors.

cdef enum:
    NAME_AT = 12  # in a WRITE payload: offset u64, name length u32, name, data


ctypedef struct logged_write:
    const unsigned char *name
    size_t name_length
    int64_t offset
    unsigned char *data
    int64_t length


cdef inline bint take_write(
    logged_write *found, const unsigned char *payload, size_t length
) noexcept:
    """False for what is no write, or one that the cache will refuse."""
    cdef uint64_t offset
    cdef uint32_t name_length
    if length < NAME_AT:
        return False
    memcpy(&offset, payload, sizeof(offset))
    memcpy(&name_length, payload + sizeof(offset), sizeof(name_length))
    if name_length > length - NAME_AT:
        return False
    found.name, found.name_length = payload + NAME_AT, name_length
    found.data = <unsigned char *>payload + NAME_AT + name_length
    found.length = length - NAME_AT - name_length
    found.offset = <int64_t>offset
    return offset <= <uint64_t>(INT64_MAX - found.length)


@cython.final
cdef class Replayed:
    """A replay under way. The cache is still nobody else's. The writes of one file tend to follow
    each other, so the last file is kept, as long as nothing but writes is replayed."""

    cdef Cache cache
    cdef object replay  # the one in Python, for all that is not handled here
    cdef uint64_t reached
    cdef File file
    cdef bytes name  # of ``file``, as it stands in records
    cdef block *target  # where a write was put whose checksum is not known yet
    cdef logged_write write

    cdef bint is_last(self, const logged_write *write) noexcept:
        return (
            self.file is not None
            and PyBytes_GET_SIZE(self.name) == <Py_ssize_t>write.name_length
            and memcmp(PyBytes_AS_STRING(self.name), write.name, write.name_length) == 0
        )

    cdef int apply(self, const logged_write *write) except -1:
        if not self.is_last(write):
            self.file = None
            self.name = PyBytes_FromStringAndSize(<char *>write.name, write.name_length)
            name = self.name.decode("utf-8", "surrogateescape")
            self.file = self.cache.lookup(name)
        else:
            name = self.file.name
        if self.file is not None and write.length and self.cache.write_in_place(
            self.file, write.offset, write.data, write.length
        ):
            return 0
        self.cache.store_with_room(name, write.offset, write.data, write.length, None, False)
        self.file = self.cache.lookup(name)
        return 0

    cdef int hand_over(
        self, unsigned long long sequence, unsigned char kind,
        const unsigned char *payload, size_t length,
    ) except -1:
        self.file = None
        self.replay.reached = self.reached
        self.replay.record(sequence, kind, memoryview(payload[:length]))
        self.reached = self.replay.reached
        return 0


cdef int replay_record(
    void *context, unsigned long long sequence, unsigned char kind,
    const unsigned char *payload, size_t length,
) except -1:
    cdef Replayed self = <Replayed>context
    cdef logged_write write
    if (
        kind != WRITE_KIND or sequence != self.reached + 1
        or not take_write(&write, payload, length)
    ):
        return self.hand_over(sequence, kind, payload, length)
    self.reached = sequence
    self.cache.generation = sequence - 1
    return self.apply(&write)


cdef unsigned char *place_write(
    void *context, unsigned long long sequence, unsigned char kind,
    const unsigned char *payload, size_t length, size_t *head,
) noexcept:
    """Bytes of a block that are not held may be anything: a write can be put there before its
    checksum is known."""
    cdef Replayed self = <Replayed>context
    cdef logged_write *write = &self.write
    cdef block *b
    cdef int64_t start
    if kind != WRITE_KIND or sequence != self.reached + 1:
        return NULL
    if not take_write(write, payload, length) or not write.length or not self.is_last(write):
        return NULL
    b = self.cache.in_place(&self.file.table, write.offset, write.length)
    start = write.offset & (self.cache.block_size - 1)
    if b == NULL or b.edge_count != 2 or (
        start < b.edges[1] and start + write.length > b.edges[0]
    ):
        return NULL
    if reserve_edges(b) < 0:
        return NULL
    self.target = b
    head[0] = length - write.length
    return b.buffer + start


cdef void keep_placed(void *context, unsigned long long sequence) noexcept:
    cdef Replayed self = <Replayed>context
    self.reached = sequence
    self.cache.written(
        self.target, self.write.offset & (self.cache.block_size - 1), self.write.length, sequence
    )


NATIVE_LOGS = (native_logs.BasicBackend, native_logs.MmapBackend)


def reopen(replayed, backend, directory, options):
    """``replay.reopen``; one reading of a log of ours, under its lock, is both the replay and the
    opening."""
    if type(backend) not in NATIVE_LOGS:
        return replay.reopen(replayed, backend, directory, options)
    cdef Replayed context = Replayed.__new__(Replayed)
    context.cache, context.replay, context.reached = replayed.cache, replayed, replayed.reached

    def check(recovery):
        return replayed.complete(recovery, recovery.last_sequence)

    try:
        return reopen_log(
            backend, directory, options, replay_record, <void *>context, check,
            place_write, keep_placed,
        )
    except LogLocked:  # nothing was read; what does not fit the cache is told first
        return replay.reopen(replayed, backend, directory, options)
