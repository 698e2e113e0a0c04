# Part of native.pyx: rotating into a segment that the thread of ahead.py has made ready. The append
# that meets the rotation only takes over what it needs to go on: it runs no Python code, so that no
# signal handler and no other thread comes between. The rest of SegmentSet.switch and let_go is
# left to the next call (``catch_up``), the waking of the thread, which costs as much as all of the
# rotation, included.

cdef uint64_t LINK_ROOM = fmt.LINK_ROOM


@cython.final
cdef class Relay:
    """``ahead.Relay``."""
    cdef list retired_ones, unsynced  # of the SegmentSet
    cdef Py_ssize_t most_unsynced
    cdef object begin  # hands a job to the thread
    # what is offered; no segment: nothing
    cdef object segment, retired, then
    cdef Py_buffer view  # holds the mapping of the segment, if that has one
    cdef uint8_t *base
    cdef int fd
    cdef uint32_t seed
    cdef uint64_t room
    # the rotation to catch up on; no full segment: none
    cdef object full, current, entry, job
    cdef uint64_t last, end

    def __init__(self, list retired, list unsynced, Py_ssize_t most_unsynced, begin):
        self.retired_ones, self.unsynced, self.begin = retired, unsynced, begin
        self.most_unsynced = most_unsynced

    def __dealloc__(self):
        release_offered(self)

    def offer(self, segment, retired, then):
        self.fd, self.seed, self.room = segment.fd, segment.seed, segment.room
        if isinstance(segment, MappedSegment):
            self.base = hold_mapping(segment, &self.view)
        self.retired, self.then = retired, then
        self.segment = segment

    def withdraw(self):
        release_offered(self)
        self.segment = self.retired = self.then = None

    def due(self, segments):
        if self.full is not None:
            enter_in_books(self, segments)
        job, self.job = self.job, None
        if job is not None:
            segments.ahead = job
        return job


cdef void release_offered(Relay self) noexcept:
    if self.base != NULL:
        self.base = NULL
        PyBuffer_Release(&self.view)


cdef int enter_in_books(Relay self, segments) except -1:
    entry, full = self.entry, self.full
    entry.header, entry.slot = full.header, full.slot  # it may have become a base since
    entry.last, entry.end = self.last, self.end
    self.retired_ones.append(entry)
    self.unsynced.append(full)
    segments.ahead.taken = True
    segments.current = self.current
    segments.rotations += 1
    segments.begins = self.last + 1
    self.full = self.current = self.entry = None
    return 0


cdef int catch_up(NativeLog self) except -1:
    """After a rotation: what may still be asked of the segments needs it."""
    cdef Relay relay = <Relay>self.relay
    self.state &= ~BEHIND
    try:
        job = relay.due(self.segments)
        if job is not None:
            relay.begin(job)
    except BaseException:
        stopped(self)
        self.segments.ahead = None  # nobody must wait for what has not begun
        raise
    return 0


cdef bint is_offered(NativeLog self, size_t size) noexcept:
    """Whether there is a segment that takes a record of that size. A log that leaves so many
    unsynced that one must be synced goes the long way."""
    cdef Relay relay
    if self.relay is None:
        return False
    relay = <Relay>self.relay
    return (
        relay.segment is not None
        and DATA_START + LINK_ROOM + size <= relay.room
        and len(relay.unsynced) < relay.most_unsynced
    )


cdef int switch_over(NativeLog self) except -1:
    """``SegmentSet.rotate``, as far as it cannot wait."""
    cdef Relay relay = <Relay>self.relay
    relay.full, relay.current = self.segment, relay.segment
    relay.entry, relay.job = relay.retired, relay.then
    relay.last, relay.end = self.next - 1, self.end
    drop_mapping(self)
    if relay.base != NULL:
        self.view, self.base, relay.base = relay.view, relay.base, NULL
        memset(&relay.view, 0, sizeof(relay.view))  # the collector looks at what it holds
        self.files.base = self.base
    self.segment = relay.segment
    self.files.fd, self.seed = relay.fd, relay.seed
    self.ready = UINT64_MAX
    self.room = self.full = self.limit = relay.room
    self.begins = self.next
    relay.segment = relay.retired = relay.then = None
    self.state |= BEHIND
    return put_link(self)


cdef int put_link(NativeLog self) except -1:
    """As ``format.encode_link``, at the start of the segment."""
    cdef frame_fields fields
    cdef iovec part
    cdef uint8_t[64] frame
    cdef uint8_t[8] digits
    cdef size_t size = frame_size(sizeof(digits))
    cdef int index
    cdef long result
    for index in range(8):
        digits[index] = b"0123456789abcdef"[self.chain >> (28 - 4 * index) & 15]
    fields.kind, fields.flags, fields.count, fields.length = FRAME_FOOTER, 0, 1, sizeof(digits)
    number(self, &fields)
    if self.base != NULL:
        self.chain = frame_put(self.base + DATA_START, &fields, NULL, 0, digits, sizeof(digits))
    else:
        self.chain = frame_put(frame, &fields, NULL, 0, digits, sizeof(digits))
        part.iov_base, part.iov_len = frame, size
        result = self.files.write(&self.files, &part, 1, DATA_START)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
    self.end = DATA_START + size
    return 0
