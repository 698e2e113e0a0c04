# How draws reach the log, part of native.pyx.

cdef packed struct draw_record:
    uint64_t id
    uint32_t index


cdef bint is_native(log):
    """A subclass that has its own idea of appending is served through Python."""
    return isinstance(log, NativeLog) and type(log).append is NativeLog.append


@cython.final
cdef class DrawLog:
    """Appends draws to a log, or to none, in the log's format."""
    cdef object log
    cdef NativeLog _native  # the same log, where it can be reached without Python
    cdef object _append
    cdef object records
    cdef bint text
    cdef tuple _names
    cdef list _words

    def __cinit__(self, tuple names):
        self._names = names
        self.read_as("binary")

    cdef int read_as(self, log_format) except -1:
        self.records = records_for(log_format, self._names)
        self.text = isinstance(self.records, TextRecords)
        self._words = [quoted(name) for name in self._names] if self.text else []
        return 0

    cdef int attach(self, log) except -1:
        self.log = log
        self._native = log if is_native(log) else None
        if log is not None:
            self._append = log.append
            self.read_as(log.format)
        return 0

    cdef int sync(self) except -1:
        if self.log is not None:
            self.log.sync()
        return 0

    cdef inline int append_draw(self, uint64_t draw_id, uint32_t index) except -1:
        cdef draw_record record
        if self.text:
            return self._append_text_draw(draw_id, index)
        record.id = draw_id
        record.index = index
        return self._append_record(DRAW, &record, sizeof(record), NULL, 0)

    cdef int _append_text_draw(self, uint64_t draw_id, uint32_t index) except -1:
        cdef char head[32]
        cdef int length = snprintf(head, sizeof(head), b"DRAW %llu ", <unsigned long long>draw_id)
        cdef bytes word = self._words[index]
        return self._append_record(
            DRAW, head, length, PyBytes_AS_STRING(word), PyBytes_GET_SIZE(word))

    cdef int append_draws(
        self, uint64_t first_id, const uint32_t *batch, uint32_t count
    ) except -1:
        cdef bytes payload
        if self.text:
            payload = self._text_draws(first_id, batch, count)
            return self._append_record(
                DRAWS, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), NULL, 0)
        return self._append_record(
            DRAWS, &first_id, sizeof(uint64_t), batch, count * sizeof(uint32_t))

    cdef bytes _text_draws(self, uint64_t first_id, const uint32_t *batch, uint32_t count):
        cdef uint32_t draw
        return b"DRAWS %d %b" % (
            first_id, b" ".join([self._words[batch[draw]] for draw in range(count)]))

    cdef inline int _append_record(
        self, int kind, const void *head, size_t head_length, const void *data, size_t data_length
    ) except -1:
        """``head`` followed by ``data``."""
        cdef unsigned long long sequence
        if self._native is not None:
            return self._native.c_append(kind, head, head_length, data, data_length, &sequence)
        if self.log is not None:
            self._append_through_python(kind, head, head_length, data, data_length)
        return 0

    cdef int _append_through_python(
        self, int kind, const void *head, size_t head_length, const void *data, size_t data_length
    ) except -1:
        cdef bytes payload = PyBytes_FromStringAndSize(NULL, head_length + data_length)
        memcpy(PyBytes_AS_STRING(payload), head, head_length)
        if data_length:
            memcpy(PyBytes_AS_STRING(payload) + head_length, data, data_length)
        self._append(payload, kind)
        return 0
