# Part of native.pyx: reading a log back. The undamaged part of the binary format is walked here;
# every verdict, and the text format, is recovery.py's, which both twins share.

cdef size_t WINDOW = 1 << 20  # bytes read at a time


cdef class Replay:
    """Stands for ``apply`` where the consumer is a C function."""

    cdef replay_fn function
    cdef void *context

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


cdef object recovered(directory, options, apply):
    check_options(options)
    fs = options.file_system or SYSTEM
    return recovery.recover(directory, options, fs, apply, walker(options)).result()


cdef object walker(options):
    return walk if options.format == "binary" else None


cdef int deliver(object apply, Replay consumer, view, const uint8_t *window, size_t start,
                 frame_fields *fields) except -1:
    """Hand out the records of the frame at ``window + start``."""
    cdef const uint8_t *sizes = window + start + FRAME_HEADER
    cdef size_t at = start + FRAME_HEADER
    cdef uint32_t index, size = fields.length
    if apply is None:
        return 0
    if fields.flags:
        at += 4 * <size_t>fields.count
    for index in range(fields.count):
        if fields.flags:
            memcpy(&size, sizes + 4 * index, 4)
        if consumer is not None:
            consumer.function(
                consumer.context, fields.sequence + index, fields.kind, window + at, size
            )
        else:
            apply(fields.sequence + index, fields.kind, view[at:at + size])
        at += size
    return 0


def walk(reader, size_t limit, uint32_t seed, scan):
    """Deliver frames from ``scan.position`` on, up to the first that is not the next one. The
    payloads handed out are slices of a ``bytes`` window, which lives as long as any of them."""
    cdef object apply = scan.apply
    cdef Replay consumer = apply if type(apply) is Replay else None
    cdef size_t offset = scan.position, start = 0, held = 0, at, size, wanted = WINDOW
    cdef uint64_t expected = scan.next, records = 0
    cdef const uint8_t *window = NULL
    cdef frame_fields fields
    cdef uint32_t crc = scan.chain, found
    view = memoryview(b"")
    while offset < limit:
        at = offset - start
        size = FRAME_HEADER
        if at + size <= held:
            if not frame_parse(window + at, seed, &fields):
                break
            if fields.kind == FRAME_FOOTER or fields.sequence != expected:
                break
            size = frame_size(fields.length)
            if offset + size > limit:
                break
            if at + size <= held:
                if not frame_check(window + at, &fields, &found):
                    break
                deliver(apply, consumer, view, window, at, &fields)
                crc = found
                expected += fields.count
                records += fields.count
                offset += size
                continue
        elif offset + size > limit:
            break
        block = bytes(reader.at(offset, max(size, wanted)))
        if <size_t>len(block) < size:
            break
        window, held, start = <const uint8_t *>PyBytes_AS_STRING(block), len(block), offset
        view = memoryview(block)
    scan.position, scan.next, scan.chain = offset, expected, crc
    scan.records += records
