# Part of native.pyx: batches, of which nothing may change between measuring and writing them.


cdef bint goes_at_once(NativeLog self, list payloads) noexcept:
    """Whether it is a batch of exactly ``bytes`` that is put without running other code."""
    cdef size_t length = 0
    if self.text or self.period:
        return False
    for payload in payloads:
        if not PyBytes_CheckExact(payload):
            return False
        length += 4 + PyBytes_GET_SIZE(payload)
    return self.storage == NONE or self.end + frame_size(length) <= self.room


cdef list own_batch(NativeLog self, payloads):
    """What nobody else can change while this thread waits, each exactly ``bytes``. To make it runs
    other code (the collector's too), which may let another thread in."""
    cdef list parts = list(payloads)
    for part in parts:
        if not PyBytes_CheckExact(part):
            parts = [fmt.as_bytes(part) for part in parts]
            break
    if self.state:
        enter(self)
    return parts


cdef int put_batch(NativeLog self, unsigned char kind, list payloads) except -1:
    """One frame for all payloads, which come from ``own_batch`` or go at once."""
    cdef frame_fields fields
    cdef iovec part
    cdef uint8_t *target
    cdef size_t length = 0, size
    for payload in payloads:
        length += PyBytes_GET_SIZE(payload)
    if self.storage == NONE:
        return 0
    fields.kind, fields.flags, fields.count = kind, FRAME_BATCH, <uint16_t>len(payloads)
    if self.text:
        return put_text(self, &fields, NULL, 0, NULL, length, payloads)
    length += 4 * <size_t>fields.count
    size = frame_size(length)
    if self.end + size > self.room:
        make_room(self, size)
    if self.period:
        while rotate_old(self, size):
            pass
    fields.length = <uint32_t>length
    number(self, &fields)
    if self.storage == MAPPED:
        target = self.base + self.end
    else:
        need_scratch(self, size)
        target = self.scratch
    fill_batch(target + FRAME_HEADER, payloads)
    self.chain = frame_seal(target, &fields)
    if self.storage == MAPPED:
        stored(self, size)
    else:
        part.iov_base, part.iov_len = self.scratch, size
        write_parts(self, &part, 1)
        spare_scratch(self)
    self.end += size
    self.bytes += size
    return 0


cdef void fill_batch(uint8_t *to, list payloads) noexcept:
    """The lengths, then the payloads back to back."""
    cdef uint8_t *data = to + 4 * len(payloads)
    cdef uint32_t length
    for payload in payloads:
        length = <uint32_t>PyBytes_GET_SIZE(payload)
        memcpy(to, &length, 4)
        data = frame_copy(data, PyBytes_AS_STRING(payload), length)
        to += 4
