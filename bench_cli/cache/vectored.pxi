# Whole batches without the interpreter lock.
#
# A batch is done in runs. A run is as many requests as can be seen beforehand to need nothing but
# copying, on files nobody works on; the files are held and the run goes without the lock. What
# lies between runs (a new block, no room, a log) goes the way of a single call.

@cython.final
cdef class Batch:
    """The requests of a vectored call, their buffers held. Requests after one that is no request
    are not taken: ``error`` says what was wrong with it."""

    cdef list sources
    cdef list unpacked  # what entries other than tuples held
    cdef request *items
    cdef Py_ssize_t held, count  # with their buffers; those that can be done
    cdef bint writable
    cdef object error

    def __cinit__(self, requests, bint writable):
        self.sources = list(requests)
        self.writable = writable
        self.items = <request *>PyMem_RawMalloc((len(self.sources) + 1) * sizeof(request))
        if not self.items:
            raise MemoryError()
        try:
            for entry in self.sources:
                if PyTuple_CheckExact(entry) and PyTuple_GET_SIZE(entry) == 3:
                    self.add(
                        <object>PyTuple_GET_ITEM(entry, 0),
                        <object>PyTuple_GET_ITEM(entry, 1),
                        <object>PyTuple_GET_ITEM(entry, 2),
                    )
                else:
                    self.add_unpacked(entry)
        except Exception as error:
            self.error = error

    cdef int add_unpacked(self, entry) except -1:
        name, offset, source = entry
        if self.unpacked is None:
            self.unpacked = []
        self.unpacked.append((name, source))
        return self.add(name, offset, source)

    cdef inline int add(self, name, offset, source) except -1:
        cdef request *item = &self.items[self.held]
        if not PyUnicode_CheckExact(name):
            hash(name)  # or looking it up would stop a run that has begun
        item.name, item.source = <PyObject *>name, <PyObject *>source
        item.viewed = self.writable or not PyBytes_CheckExact(source)
        if item.viewed:
            take_buffer(source, &item.view, PyBUF_WRITABLE if self.writable else PyBUF_SIMPLE)
            item.data, item.length = <unsigned char *>item.view.buf, item.view.len
        else:
            item.data = <unsigned char *>PyBytes_AS_STRING(source)
            item.length = PyBytes_GET_SIZE(source)
        self.held += 1
        item.offset = whole(offset)
        check_range(offset, item.offset, item.length)
        self.count += 1
        return 0

    cdef int64_t bytes_between(self, Py_ssize_t start, Py_ssize_t end):
        cdef int64_t total = 0
        cdef Py_ssize_t i
        for i in range(start, end):
            total += self.items[i].length
        return total

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.held):
            if self.items[i].viewed:
                PyBuffer_Release(&self.items[i].view)
        PyMem_RawFree(self.items)


cdef Py_ssize_t copy_in(
    request *items, Py_ssize_t start, Py_ssize_t end, int64_t block_size
) noexcept nogil:
    """Where it ended: before ``end`` only when there is no memory for coverage."""
    cdef Py_ssize_t at
    cdef uint32_t first
    for at in range(start, end):
        first = items[at].offset & (block_size - 1)
        if reserve_edges(items[at].target) < 0:
            return at
        memcpy(items[at].target.buffer + first, items[at].data, items[at].length)
        cover(items[at].target, first, first + items[at].length)
    return end


cdef void copy_out(
    request *items, Py_ssize_t start, Py_ssize_t end, unsigned shift
) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(start, end):
        read_range(items[at].table, shift, items[at].offset, items[at].length, items[at].data)


cdef class Vectored(Store):
    def write_many(self, requests):
        cdef Batch batch = Batch(requests, False)
        cdef Py_ssize_t at = 0, end
        cdef request *item
        self.enter()
        while at < batch.count:
            end = self.plan_writes(batch, at)
            if end > at:
                self.run_writes(batch, at, end)
                at = end
                continue
            item = &batch.items[at]
            self.write_bytes(
                <object>item.name, item.offset, item.data, item.length, <object>item.source
            )
            at += 1
        if batch.error is not None:
            raise batch.error

    @cython.final
    cdef inline block_table *table_at_rest(self, request *item, request *before) except? NULL:
        """The request's file; that of the one ``before`` where it has the same name. NULL if there
        is none, and for whatever compares by code of its own: that could change what is planned."""
        cdef File file
        if before != NULL and item.name == before.name:
            return before.table
        file = self.lookup(<object>item.name) if PyUnicode_CheckExact(<object>item.name) else None
        return NULL if file is None else &file.table

    @cython.final
    cdef Py_ssize_t plan_writes(self, Batch batch, Py_ssize_t start) except -1:
        """The end of the run that begins at ``start``: requests into blocks that are dirty, with
        long enough buffers."""
        cdef Py_ssize_t at = start
        cdef request *item
        cdef request *before = NULL
        while at < batch.count and self.log is None and not self.gated:
            item = &batch.items[at]
            item.table = self.table_at_rest(item, before)
            if not item.table or not item.length:
                break
            item.target = self.in_place(item.table, item.offset, item.length)
            if not item.target:
                break
            before = item
            at += 1
        return at

    @cython.final
    cdef int run_writes(self, Batch batch, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef Py_ssize_t at, done
        cdef request *item
        if batch.bytes_between(start, end) < LARGE:
            done = copy_in(batch.items, start, end, self.block_size)
        else:
            for at in range(start, end):
                self.hold(batch.items[at].table)
            with nogil:
                done = copy_in(batch.items, start, end, self.block_size)
        for at in range(start, done):
            item = &batch.items[at]
            self.generation += 1
            self.written(
                item.target, item.offset & (self.block_size - 1), item.length, self.generation
            )
        for at in range(start, end):
            self.release(batch.items[at].table)
        if done < end:
            raise MemoryError()
        return 0

    def read_many(self, requests):
        cdef Batch batch = Batch(requests, True)
        cdef Py_ssize_t at = 0, end
        cdef request *item
        cdef int64_t below = 0
        self.enter()
        while at < batch.count:
            end = self.plan_reads(batch, at)
            if end > at:
                below += self.run_reads(batch, at, end)
                at = end
                continue
            item = &batch.items[at]
            below += self.read(<object>item.name, item.offset, item.length, item.data)
            at += 1
        if batch.error is not None:
            raise batch.error
        return below

    @cython.final
    cdef Py_ssize_t plan_reads(self, Batch batch, Py_ssize_t start) except -1:
        """The end of the run that begins at ``start``: requests for known files."""
        cdef Py_ssize_t at = start
        cdef request *item
        cdef request *before = NULL
        while at < batch.count and not self.gated:
            item = &batch.items[at]
            item.table = self.table_at_rest(item, before)
            if not item.table or item.table.busy:
                break
            before = item
            at += 1
        return at

    @cython.final
    cdef int64_t run_reads(self, Batch batch, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef int64_t below = 0
        cdef Py_ssize_t at
        cdef request *item
        if batch.bytes_between(start, end) < LARGE:
            copy_out(batch.items, start, end, self.shift)
        else:
            for at in range(start, end):
                self.hold(batch.items[at].table)
            with nogil:
                copy_out(batch.items, start, end, self.shift)
            for at in range(start, end):
                self.release(batch.items[at].table)
        for at in range(start, end):
            item = &batch.items[at]
            self.touch_range(item.table, item.offset, item.length)
            below += max(0, min(item.length, item.table.size - item.offset))
        return below

    @cython.final
    cdef int64_t read(self, name, int64_t offset, int64_t length, unsigned char *out) except -1:
        cdef File file = self.existing(name)
        cdef int64_t below = file.table.size - offset
        if length < LARGE:
            read_range(&file.table, self.shift, offset, length, out)
        else:
            self.hold(&file.table)
            with nogil:
                read_range(&file.table, self.shift, offset, length, out)
            self.release(&file.table)
        self.touch_range(&file.table, offset, length)
        return 0 if below < 0 else below if below < length else length
