# Parts of native.pyx: what an append does beyond the fast path, and the state around it.


# --- who may work ----------------------------------------------------------------------------

cdef int enter(NativeLog self) except -1:
    """Waits while another thread works; then raises what makes the log unusable, and catches up
    on a rotation."""
    wait_for_work(self)
    if self.state & CLOSED:
        raise LogClosed("the log is closed")
    if self.state & FAILED:
        raise LogPoisoned(
            "an earlier write or sync failed",
            errno=self.failed,
            remedy="reopen the log and let it recover",
        )
    if self.state & BEHIND:
        catch_up(self)
    return 0


cdef int wait_for_work(NativeLog self) except -1:
    """Whoever works holds no lock, which would cost every write of an only thread; those who find
    it at work sleep until it ends. Each that wakes lets the next one look too: it may go on
    without working itself."""
    cdef uint32_t seen
    while self.state & BUSY:
        seen = self.turns
        self.waiting += 1
        with nogil:
            turns_wait(&self.turns, seen)
        self.waiting -= 1
    turns_next(&self.turns, self.waiting)
    return 0


cdef inline void begin_work(NativeLog self) noexcept:
    """From here on the interpreter lock may be given up: other threads must wait."""
    self.state |= BUSY


cdef inline void end_work(NativeLog self) noexcept:
    self.state &= ~BUSY
    turns_next(&self.turns, self.waiting)


cdef object fail(NativeLog self, error):
    """Poison the log; the error to raise."""
    failure = specification.write_failed(error, self.segment.path)
    self.failed = failure.errno
    self.state |= FAILED
    return failure


cdef void stopped(NativeLog self) noexcept:
    """As ``FileLog._stopped``. Those who wait for a sync do not look at the log."""
    self.failed = EINTR
    self.state |= FAILED
    if self.commit != NULL:
        commit_fail(<commit *>self.commit, EINTR)


cdef int check(NativeLog self, long result) except -1:
    """Raises what an entry of the file table reported."""
    if result >= 0:
        return 0
    if result == FILES_RAISED:
        error, self.raised = self.raised, None
    else:
        error = OSError(-result, os.strerror(-result))
    if isinstance(error, OSError):
        raise fail(self, error) from error
    raise error


# --- segments --------------------------------------------------------------------------------

cdef int load_segment(NativeLog self) except -1:
    self.segment = self.segments.current
    self.files.fd = self.segment.fd
    self.seed = self.segment.seed
    self.full = self.limit = self.segment.room
    if self.segments.prepares:  # from there on make_room has the next one prepared
        self.full -= self.full // 8
    if self.storage == MAPPED and self.base == NULL:
        self.base = hold_mapping(self.segment, &self.view)
        self.files.base = self.base
        self.ready = UINT64_MAX
    self.room = min(self.full, self.ready)
    self.begins = self.segments.begins
    self.deadline = self.segments.started + self.period
    return 0


cdef uint8_t *hold_mapping(segment, Py_buffer *view) except NULL:
    """Where it is mapped. What is held is not the memoryview: the collector may take that apart
    before the log that it belongs to lets go, and then finds it in use."""
    PyObject_GetBuffer(segment.buffer.obj, view, PyBUF_WRITABLE)
    return <uint8_t *>view.buf


cdef void drop_mapping(NativeLog self) noexcept:
    """Let go of the mapping before it is unmapped: no pointer outlives it."""
    if self.base != NULL:
        self.base = NULL
        self.files.base = NULL
        PyBuffer_Release(&self.view)


cdef int make_room(NativeLog self, size_t size) except -1:
    """For a frame of ``size`` bytes: fault pages in, have the next segment prepared, rotate."""
    while self.end + size > self.room:
        if self.ready < self.end + size <= self.limit:
            fault_in(self, size)
        elif self.full < self.limit:
            self.full = self.limit
            prepare(self)
        else:
            rotate(self, size)
        self.room = min(self.full, self.ready)
    return 0


cdef int prepare(NativeLog self) except -1:
    begin_work(self)  # starting a thread lets others in
    try:
        self.segments.prepare()
    finally:
        end_work(self)
    return 0


cdef int fault_in(NativeLog self, size_t size) except -1:
    """The pages of the next appends, some at a time: one call for many costs half of a fault for
    each, and a log that is reopened need not pay for a whole segment."""
    cdef size_t start = max(self.ready, self.end) & ~<size_t>(FAULT_ALIGN - 1)
    cdef size_t stop = (self.end + size + FAULT_AHEAD) & ~<size_t>(FAULT_ALIGN - 1)
    if stop > <size_t>self.view.len:
        stop = self.view.len
    begin_work(self)
    with nogil:
        files_populate(self.base + start, stop - start)
    end_work(self)
    self.ready = stop
    return 0


cdef int check_size(NativeLog self, size_t size) except -1:
    cdef size_t limit
    begin_work(self)  # to ask is to run Python code, which may let others in
    try:
        limit = self.segments.largest
    finally:
        end_work(self)
    if size > limit:
        raise RecordTooLarge(
            f"a record of {size} bytes with its frame; a segment holds {limit}",
            size=size,
            limit=limit,
        )
    return 0


cdef int rotate(NativeLog self, size_t size) except -1:
    cdef bint ready
    if self.state & BEHIND:
        catch_up(self)
    ready = is_offered(self, size)
    if not ready:
        check_size(self, size)
    begin_work(self)
    pause(self)
    try:
        if ready:
            switch_over(self)
        else:
            drop_mapping(self)
            self.end, self.chain = self.segments.rotate(
                self.next, self.durable, self.end, self.chain
            )
            load_segment(self)
        self.synced = DATA_START
        self.retired = 1
    except OSError as error:
        raise fail(self, error) from error
    except BaseException:
        stopped(self)
        raise
    finally:
        resume(self)
        end_work(self)
    return 0


cdef bint rotate_old(NativeLog self, size_t size) except -1:
    """Rotate, if SegmentSet.due says so; whether it did."""
    cdef uint64_t now = files_now() if self.clock is None else ask_clock(self)
    if self.next == self.begins:
        self.deadline = now + self.period
    if now < self.deadline:
        return False
    rotate(self, size)
    return True


cdef uint64_t ask_clock(NativeLog self) except? 0:
    begin_work(self)
    try:
        return self.clock.now_ns()
    finally:
        end_work(self)


cdef int sync_now(NativeLog self) except -1:
    cdef long result
    try:
        self.segments.sync_retired()
        self.retired = 0
    except OSError as error:
        raise fail(self, error) from error
    with nogil:
        result = self.files.sync(&self.files, self.synced, self.end - self.synced)
    check(self, result)
    self.synced = self.end
    self.durable = self.next - 1
    self.syncs += 1
    return 0


cdef int write_footer(NativeLog self) except -1:
    """See FileLog._write_footer."""
    begin_work(self)
    try:
        if self.durable < self.next - 1:
            sync_now(self)
        footer, _ = self.segments.codec.frame(self.seed, self.next, 0, FRAME_FOOTER, b"")
        self.segment.write(self.end, footer)
        drop_mapping(self)
        self.segments.finish(self.end + len(footer))
    except OSError as error:
        raise fail(self, error) from error
    finally:
        end_work(self)
    return 0


# --- frames that do not go straight into the mapping -----------------------------------------

cdef inline void number(NativeLog self, frame_fields *fields) noexcept:
    fields.seed = self.seed
    fields.sequence = self.next
    fields.lag = frame_lag(self.next, commit_seen(&self.durable))


cdef int need_scratch(NativeLog self, size_t size) except -1:
    cdef void *grown
    if size > self.scratch_size:
        grown = PyMem_RawRealloc(self.scratch, size)
        if grown == NULL:
            raise MemoryError
        self.scratch, self.scratch_size = <uint8_t *>grown, size
    return 0


cdef void spare_scratch(NativeLog self) noexcept:
    """After a huge record: do not keep its memory."""
    if self.scratch_size > 4 * SCRATCH:
        PyMem_RawFree(self.scratch)
        self.scratch, self.scratch_size = NULL, 0


cdef int write_parts(NativeLog self, iovec *parts, int count) except -1:
    cdef long result
    if self.commit != NULL and count == 1 and parts.iov_len <= BRIEF and self.files.stored == NULL:
        result = self.files.write(&self.files, parts, count, self.end)
    else:
        begin_work(self)
        with nogil:
            result = self.files.write(&self.files, parts, count, self.end)
        end_work(self)
    check(self, result)
    self.writes += result
    return 0


cdef int stored(NativeLog self, size_t size) except -1:
    cdef long result
    if self.files.stored != NULL:
        begin_work(self)
        with nogil:
            result = self.files.stored(&self.files, self.end, size)
        end_work(self)
        check(self, result)
    return 0


cdef int put_slowly(NativeLog self, frame_fields *fields, const void *head, size_t head_length,
                    const void *data, size_t data_length, size_t size) except -1:
    """A binary frame that is large, or goes to a file, or is watched."""
    cdef iovec part
    if self.storage == MAPPED:
        if size >= RELEASE:
            begin_work(self)
            with nogil:
                self.chain = frame_put(
                    self.base + self.end, fields, head, head_length, data, data_length
                )
            end_work(self)
        else:
            self.chain = frame_put(
                self.base + self.end, fields, head, head_length, data, data_length
            )
        return stored(self, size)
    if size > SCRATCH:
        return write_in_parts(self, fields, head, head_length, data, data_length, size)
    if self.scratch_size < SCRATCH:
        need_scratch(self, SCRATCH)
    self.chain = frame_put(self.scratch, fields, head, head_length, data, data_length)
    part.iov_base, part.iov_len = self.scratch, size
    return write_parts(self, &part, 1)


cdef int write_in_parts(NativeLog self, frame_fields *fields, const void *head,
                        size_t head_length, const void *data, size_t data_length,
                        size_t size) except -1:
    cdef iovec parts[4]
    cdef uint8_t[24] front
    cdef uint8_t[12] back
    cdef uint32_t raw = frame_head(front, fields)
    begin_work(self)
    with nogil:
        raw = ~crc32c_raw(crc32c_raw(raw, head, head_length), data, data_length)
    end_work(self)
    memset(back, 0, sizeof(back))
    memcpy(back, &raw, 4)
    parts[0].iov_base, parts[0].iov_len = front, FRAME_HEADER
    parts[1].iov_base, parts[1].iov_len = <void *>head, head_length
    parts[2].iov_base, parts[2].iov_len = <void *>data, data_length
    parts[3].iov_base, parts[3].iov_len = back, size - FRAME_HEADER - head_length - data_length
    write_parts(self, parts, 4)
    self.chain = raw
    return 0


cdef int put_text(NativeLog self, frame_fields *fields, const void *head, size_t head_length,
                  const void *data, size_t data_length, list payloads) except -1:
    """A line, of one payload (head, data) or of a batch."""
    cdef size_t length = head_length + data_length
    cdef size_t bound = text_bound(length, fields.count), size
    cdef uint8_t *joined
    cdef uint8_t *end
    cdef uint32_t crc
    if self.coded:
        return put_coded(self, fields, head, head_length, data, data_length, payloads)
    need_scratch(self, bound + (length if head_length else 0))
    if head_length:  # a UTF-8 sequence may begin in the one and end in the other
        joined = self.scratch + bound
        memcpy(joined, head, head_length)
        if data_length:
            memcpy(joined + head_length, data, data_length)
        data = joined
    while True:
        number(self, fields)
        end = text_begin(self.scratch, fields)
        if payloads is None:
            end = text_escape(end, <const uint8_t *>data, length)
        else:
            end = escape_batch(end, payloads)
        crc = text_seal(self.scratch, end, self.seed)
        size = end + 1 - self.scratch
        if self.end + size > self.room:
            make_room(self, size)
        elif not self.period or not rotate_old(self, size):
            break
    put_line(self, self.scratch, size, crc)
    spare_scratch(self)
    return 0


cdef int put_line(NativeLog self, const uint8_t *line, size_t size, uint32_t crc) except -1:
    cdef iovec part
    self.chain = crc
    if self.storage == MAPPED:
        memcpy(self.base + self.end, line, size)
        stored(self, size)
    else:
        part.iov_base, part.iov_len = <void *>line, size
        write_parts(self, &part, 1)
    self.end += size
    self.bytes += size
    return 0


cdef int put_coded(NativeLog self, frame_fields *fields, const void *head, size_t head_length,
                   const void *data, size_t data_length, list payloads) except -1:
    """As put_text, where the codec makes the line, which is Python code."""
    cdef bytes line, joined
    cdef size_t size
    if payloads is None:
        joined = PyBytes_FromStringAndSize(NULL, head_length + data_length)
        if head_length:
            memcpy(PyBytes_AS_STRING(joined), head, head_length)
        if data_length:
            memcpy(PyBytes_AS_STRING(joined) + head_length, data, data_length)
        payloads = [joined]
    while True:
        line, crc = coded_line(self, fields, payloads)
        size = PyBytes_GET_SIZE(line)
        if self.end + size > self.room:
            make_room(self, size)
        elif not self.period or not rotate_old(self, size):
            break
    return put_line(self, <const uint8_t *>PyBytes_AS_STRING(line), size, crc)


cdef tuple coded_line(NativeLog self, frame_fields *fields, list payloads):
    begin_work(self)  # Python code may let others in
    try:
        number(self, fields)
        codec, kind = self.segments.codec, fields.kind
        if fields.flags:
            return codec.batch(self.seed, fields.sequence, fields.lag, kind, payloads)
        return codec.frame(self.seed, fields.sequence, fields.lag, kind, payloads[0])
    finally:
        end_work(self)


cdef uint8_t *escape_batch(uint8_t *to, list payloads) noexcept:
    cdef Py_ssize_t index
    for index in range(len(payloads)):
        if index:
            to[0] = c"\t"
            to += 1
        payload = payloads[index]
        to = text_escape(
            to, <const uint8_t *>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload)
        )
    return to
