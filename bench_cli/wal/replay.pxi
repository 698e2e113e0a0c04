# Part of native.pyx: reading a log back. The undamaged part of a segment is walked here; every
# verdict is recovery.py's, which both twins share.

from libc.errno cimport EINTR as INTERRUPTED, errno as system_errno
from libc.string cimport memmove
from posix.unistd cimport pread

from bench_cli.wal.reader import Unreadable

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef extern from "textread.h" nogil:
    int frame_take(const uint8_t *payload, const frame_fields *f, size_t head, uint8_t *to,
                   uint32_t *crc)

cdef enum:
    OWN_WINDOW = 256 << 10  # within a core's cache, so that what is read is still there to be used
    PLACED = 4 << 10  # payloads from here on are worth asking where they should go


cdef class Replay:
    """Stands for ``apply`` where the consumer is a C function."""

    cdef replay_fn function
    cdef void *context
    cdef place_fn place  # NULL: payloads are read where they are
    cdef placed_fn placed

    def __call__(self, unsigned long long sequence, unsigned char kind, payload not None):
        cdef Py_buffer view
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            self.function(self.context, sequence, kind, <const unsigned char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)


cdef object replay(directory, options, replay_fn function, void *context):
    cdef Replay consumer = Replay.__new__(Replay)
    consumer.function, consumer.context = function, context
    return recovered(directory, options, consumer)


cdef tuple reopen(backend, directory, options, replay_fn function, void *context, check,
                  place_fn place=NULL, placed_fn placed=NULL):
    cdef Replay consumer = Replay.__new__(Replay)
    consumer.function, consumer.context = function, context
    consumer.place, consumer.placed = place, placed
    segments = segment_set(backend, directory, options)
    scan = segments.read(walker(options), consumer)
    try:
        found = check(scan.result())
    except BaseException:
        segments.release()
        raise
    segments.resume(scan)
    return under_policy(NativeLog(options, segments, scan), options), found


cdef object recovered(directory, options, apply):
    check_options(options)
    fs = options.file_system or SYSTEM
    return recovery.recover(directory, options, fs, apply, walker(options)).result()


cdef object walker(options):
    if options.format == "jsonl":  # its codec reads it, in recovery.py
        return None
    if options.format != "binary":
        return walk_text
    if (options.file_system or SYSTEM) is not SYSTEM:
        return walk_binary
    return ParallelWalk(options.workers) if options.workers > 1 else walk_file


# --- one segment -----------------------------------------------------------------------------

@cython.final
cdef class Walk:
    """The way through a segment: the bytes at hand, and what was found so far. The payloads
    handed out are slices of a ``bytes`` window, which lives as long as any of them. C functions keep
    none, so a window of their own can be used again and again."""

    cdef object reader, apply, view
    cdef replay_fn function  # NULL: apply is no Replay
    cdef void *context
    cdef place_fn place
    cdef placed_fn placed
    cdef int fd  # of the file where the window is our own, else -1
    cdef uint8_t *own
    cdef size_t own_size
    cdef const uint8_t *window
    cdef size_t start, held  # the window in the file
    cdef size_t offset, limit
    cdef uint64_t expected, records
    cdef uint32_t crc
    cdef uint8_t *scratch
    cdef size_t scratch_size

    def __dealloc__(self):
        PyMem_RawFree(self.scratch)
        PyMem_RawFree(self.own)


cdef Walk begin_walk(reader, size_t limit, scan):
    cdef Walk self = Walk.__new__(Walk)
    self.reader, self.limit, self.apply = reader, limit, scan.apply
    if type(self.apply) is Replay:
        self.function = (<Replay>self.apply).function
        self.context = (<Replay>self.apply).context
        self.place, self.placed = (<Replay>self.apply).place, (<Replay>self.apply).placed
    self.fd = -1
    self.offset, self.expected, self.crc = scan.position, scan.next, scan.chain
    return self


cdef int end_walk(Walk self, scan) except -1:
    scan.position = scan.end = self.offset
    scan.next, scan.chain = self.expected, self.crc
    scan.records += self.records
    return 0


cdef size_t at_hand(Walk self, size_t size) except? 0:
    """How many bytes stand in the window from the offset on: at least ``size``, or all there are
    below the limit."""
    cdef size_t end = self.start + self.held
    if self.offset < end and (end - self.offset >= size or end >= self.limit):
        return end - self.offset
    if self.fd >= 0:
        return load_own(self, size)
    self.reader.at(self.offset, size)
    block, begin = self.reader.window(self.offset)
    self.view = memoryview(block)
    self.window, self.held = <const uint8_t *>PyBytes_AS_STRING(block), len(block)
    self.start = self.offset - <size_t>begin
    return self.start + self.held - self.offset


cdef size_t load_own(Walk self, size_t size) except? 0:
    """``Reader.at`` with a window of our own: what is left in it moves to the front, so that every
    byte is read once. An error counts only where the bytes are needed."""
    cdef size_t end = self.start + self.held, limit = min(self.limit, <size_t>self.reader.limit)
    cdef size_t have = end - self.offset if self.start <= self.offset < end else 0, left = have
    cdef size_t wanted = max(size, <size_t>OWN_WINDOW)
    cdef ssize_t got = 1
    cdef void *grown
    wanted = min(wanted, limit - self.offset) if self.offset < limit else 0
    if wanted > self.own_size:
        grown = PyMem_RawRealloc(self.own, wanted)
        if grown == NULL:
            raise MemoryError
        self.own, self.own_size = <uint8_t *>grown, wanted
    if have:
        memmove(self.own, self.own + (self.offset - self.start), have)
    self.window, self.start, self.held = self.own, self.offset, have
    while self.held < wanted and got:
        with nogil:
            got = pread(self.fd, self.own + self.held, wanted - self.held, self.start + self.held)
            if got < 0:
                got = -system_errno
        if got >= 0:
            self.held += got
        elif got == -INTERRUPTED:
            PyErr_CheckSignals()
        elif self.held < size:
            raise Unreadable(f"{os.strerror(-got)} at {self.start + self.held}")
        else:
            break
    if not got:  # the file became shorter than it was
        self.reader.limit = self.start + self.held
    note_data_end(self, left)
    return self.held


cdef int note_data_end(Walk self, size_t first) except -1:
    """The last byte that is not zero among those from ``first`` on in the window."""
    cdef size_t end = self.held
    while end > first and not self.window[end - 1]:
        end -= 1
    if end > first and self.start + end > self.reader.data_end:
        self.reader.data_end = self.start + end
    return 0


cdef int passed(Walk self, const frame_fields *fields, size_t size, uint32_t crc) except -1:
    self.offset += size
    self.crc = crc
    self.expected += fields.count
    self.records += fields.count
    return 0


cdef int deliver(Walk self, view, const uint8_t *payload, size_t at,
                 const frame_fields *fields) except -1:
    """Hand out the records of a frame. Its payload is at ``payload``, and at ``at`` in ``view``."""
    cdef const uint8_t *sizes = payload
    cdef uint32_t index, size = fields.length
    cdef size_t skip = 4 * <size_t>fields.count if fields.flags else 0
    payload += skip
    at += skip
    for index in range(fields.count):
        if fields.flags:
            memcpy(&size, sizes + 4 * index, 4)
        if self.function != NULL:
            self.function(self.context, fields.sequence + index, fields.kind, payload, size)
        else:
            self.apply(fields.sequence + index, fields.kind, view[at:at + size])
        payload += size
        at += size
    return 0


def walk_binary(reader, size_t limit, uint32_t seed, scan):
    """Deliver frames from ``scan.position`` on, up to the first that is not the next one."""
    walk_frames(begin_walk(reader, limit, scan), seed, scan)


def walk_file(reader, size_t limit, uint32_t seed, scan):
    """The same; the file is one of the system's."""
    cdef Walk self = begin_walk(reader, limit, scan)
    if self.function != NULL or self.apply is None:
        self.fd = reader.fd
    walk_frames(self, seed, scan)


cdef int walk_frames(Walk self, uint32_t seed, scan) except -1:
    cdef size_t limit = self.limit
    cdef frame_fields fields
    cdef size_t size = FRAME_HEADER
    cdef bint closed = False
    while size and self.offset + size <= limit and at_hand(self, size) >= size:
        size = walk_window(self, seed, &fields)
        if size and fields.kind == FRAME_FOOTER:
            closed = fields.lag == 0 and self.offset + size == limit
            break
    end_walk(self, scan)
    if closed:  # nothing is left to be said about this segment
        scan.position, scan.promised = limit, self.expected - 1
    return 0


cdef size_t walk_window(Walk self, uint32_t seed, frame_fields *fields) except? 0:
    """Deliver the frames that are whole in the window. Returns the size of the one that is not,
    or is a footer; 0 where none stands."""
    cdef const uint8_t *frame = self.window + (self.offset - self.start)
    cdef const uint8_t *end = self.window + self.held
    cdef replay_fn function = self.function
    cdef uint64_t expected = self.expected
    cdef uint32_t crc
    cdef size_t size
    cdef bint taken = False
    while True:
        fields.kind = 0
        if self.place != NULL:
            size = place_frame(self, frame, end - frame, seed, expected, fields, &crc, &taken)
        else:
            size = frame_read(frame, end - frame, seed, expected, fields, &crc)
        if size > <size_t>(end - frame):
            fields.kind = 0  # nothing is known of it yet
            break
        if size == 0 or fields.kind == FRAME_FOOTER:
            break
        if taken:
            self.placed(self.context, expected)
        elif function != NULL and not fields.flags:
            function(self.context, expected, fields.kind, frame + FRAME_HEADER, fields.length)
        elif self.apply is not None:
            deliver(self, self.view, frame + FRAME_HEADER, frame + FRAME_HEADER - self.window,
                    fields)
        self.crc = crc
        expected += fields.count
        frame += size
    self.offset = self.start + <size_t>(frame - self.window)
    self.records += expected - self.expected
    self.expected = expected
    return size


cdef size_t place_frame(Walk self, const uint8_t *frame, size_t held, uint32_t seed,
                        uint64_t expected, frame_fields *fields, uint32_t *crc,
                        bint *taken) noexcept:
    """``frame_read``; a large payload goes where the consumer wants it, if that is anywhere. The
    checksum of the header is good then, so the length can be trusted, but nothing else."""
    cdef size_t head = 0, size
    cdef uint8_t *target = NULL
    taken[0] = False
    size = frame_read(frame, min(held, <size_t>FRAME_HEADER), seed, expected, fields, crc)
    if size == 0 or size > held:
        return size
    if fields.length >= PLACED and not fields.flags:
        target = self.place(self.context, fields.sequence, fields.kind, frame + FRAME_HEADER,
                            fields.length, &head)
    if target == NULL:
        return frame_read(frame, held, seed, expected, fields, crc)
    taken[0] = frame_take(frame + FRAME_HEADER, fields, head, target, crc)
    return size if taken[0] else 0


def walk_text(reader, size_t limit, uint32_t seed, scan):
    """The same for lines."""
    cdef Walk self = begin_walk(reader, limit, scan)
    cdef const uint8_t *line
    cdef const uint8_t *end
    cdef const uint8_t *payload
    cdef frame_fields fields
    cdef uint32_t crc
    while self.offset < limit:
        end = whole_line(self)
        if end == NULL:
            break
        line = self.window + (self.offset - self.start)
        payload = text_parse(line, end, seed, &fields, &crc)
        if payload == NULL or fields.sequence != self.expected:
            break
        if not unescape(self, &fields, payload, end):
            break
        if self.apply is not None:
            view = None
            if self.function == NULL:
                view = memoryview(self.scratch[:fields.length])
            deliver(self, view, self.scratch, 0, &fields)
        passed(self, &fields, end + 1 - line, crc)
    end_walk(self, scan)


cdef const uint8_t *whole_line(Walk self) except? NULL:
    """The newline that ends the line at the offset, once it is in the window; NULL when there is
    none."""
    cdef size_t wanted = 1, found
    cdef const uint8_t *line
    cdef const uint8_t *end
    cdef int over = 0
    while True:
        found = at_hand(self, wanted)
        line = self.window + (self.offset - self.start)
        end = text_line_end(line, line + found, &over)
        if end != NULL or over or found < wanted or self.offset + found >= self.limit:
            return end
        wanted = 2 * found + 1  # doubling keeps a line of any length linear


cdef int unescape(Walk self, frame_fields *fields, const uint8_t *payload,
                  const uint8_t *end) except -1:
    """The payload, as in a binary frame, into ``scratch``; 0 when it is not a valid one."""
    cdef size_t bound = text_payload_bound(fields, end - payload)
    cdef void *grown
    if bound > self.scratch_size:
        grown = PyMem_RawRealloc(self.scratch, bound)
        if grown == NULL:
            raise MemoryError
        self.scratch, self.scratch_size = <uint8_t *>grown, bound
    return text_payload(self.scratch, fields, payload, end)
