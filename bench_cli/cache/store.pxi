# How bytes get in.

cdef int make_head(File file) except -1:
    """The start of the file's write records, but for the offset. A name beyond what a log holds
    is refused by the log's own encoding."""
    head = encoded_head(file.name, 0)
    file.head = <unsigned char *>PyMem_RawMalloc(len(head))
    if not file.head:
        raise MemoryError()
    file.head_length = len(head)
    memcpy(file.head, PyBytes_AS_STRING(head), file.head_length)
    return 0


cdef void put_pieces(
    piece *pieces, Py_ssize_t count, const unsigned char *data, bint filling
) noexcept nogil:
    """The bytes of a write or fill into blocks that have all they need for them."""
    cdef piece *p = pieces
    for _ in range(count):
        if filling:
            fill_block_range(p.target, p.start, p.end, data)
        else:
            memcpy(p.target.buffer + p.start, data, p.end - p.start)
            cover(p.target, p.start, p.end)
        data += p.end - p.start
        p += 1


cdef class Store(Shelves):
    def write(self, name, offset, data):
        cdef Py_buffer view
        if PyBytes_CheckExact(data):
            self.write_bytes(
                name, offset, <unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), data
            )
            return
        take_buffer(data, &view, PyBUF_SIMPLE)
        try:
            self.write_bytes(name, offset, <unsigned char *>view.buf, view.len, data)
        finally:
            PyBuffer_Release(&view)

    def fill(self, name, offset, data):
        cdef Py_buffer view
        cdef int64_t start
        take_buffer(data, &view, PyBUF_SIMPLE)
        try:
            start = whole(offset)
            check_range(offset, start, view.len)
            self.store_with_room(name, start, <unsigned char *>view.buf, view.len, None, True)
        finally:
            PyBuffer_Release(&view)

    @cython.final
    cdef inline int write_bytes(
        self, name, offset, unsigned char *data, int64_t length, source
    ) except -1:
        cdef int64_t start = whole(offset)
        check_range(offset, start, length)
        cdef File file
        if not self.gated and length:
            file = self.lookup(name)
            if file is not None and self.write_in_place(file, start, data, length):
                return 0
        return self.store_with_room(name, start, data, length, source, False)

    # --- the usual case: into a block that is dirty already, no room and no buffer needed

    @cython.final
    cdef inline block *in_place(self, block_table *table, int64_t offset, int64_t length) noexcept:
        cdef block *b
        if table.busy:
            return NULL
        b = find_block(table, offset >> self.shift)
        if b != NULL and b.dirty and (offset & (self.block_size - 1)) + length <= b.capacity:
            return b
        return NULL

    @cython.final
    cdef inline bint write_in_place(
        self, File file, int64_t offset, unsigned char *data, int64_t length
    ) except -1:
        cdef block *b = self.in_place(&file.table, offset, length)
        cdef uint32_t start = offset & (self.block_size - 1)
        if b == NULL or (self.log is not None and not self.takes_at_once(file)):
            return False
        if not extends_the_only_run(b, start, start + length) and reserve_edges(b) < 0:
            raise MemoryError()
        if self.log is None and length < LARGE:
            memcpy(b.buffer + start, data, length)
            self.generation += 1
            self.written(b, start, length, self.generation)
            return True
        self.hold(&file.table)
        try:
            generation = self.next_generation(file, offset, data, length)
            if length < LARGE:
                memcpy(b.buffer + start, data, length)
            else:
                with nogil:
                    memcpy(b.buffer + start, data, length)
            self.written(b, start, length, generation)
        finally:
            self.release(&file.table)
        return True

    @cython.final
    cdef inline bint takes_at_once(self, File file) noexcept:
        return self.native_log is not None and not self.log_busy and file.head != NULL

    @cython.final
    cdef inline void written(
        self, block *b, uint32_t start, int64_t length, int64_t generation
    ) noexcept:
        cdef int64_t end = (b.number << self.shift) + start + length
        cover(b, start, start + length)
        b.generation = generation
        touch(&self.ring, b)
        if end > b.table.size:
            b.table.size = end

    @cython.final
    cdef inline int64_t next_generation(
        self, File file, int64_t offset, unsigned char *data, int64_t length
    ) except -1:
        """The number of a write that goes to none, or to a log that takes it at once."""
        cdef unsigned long long sequence = 0
        if self.log is None:
            self.generation += 1
            return self.generation
        (<int64_t *>file.head)[0] = offset
        self.log_busy = True
        try:
            self.native_log.c_append(
                WRITE_KIND, file.head, file.head_length, data, length, &sequence
            )
        finally:
            self.log_busy = False
            self.turn()
        return sequence

    # --- every case

    @cython.final
    cdef int store_with_room(
        self, name, int64_t offset, unsigned char *data, int64_t length, source, bint filling
    ) except -1:
        """While there is no room, try again as it may have come, until ``wait_ns`` are over."""
        try:
            return self.store(name, offset, data, length, source, filling)
        except CacheFull as full:
            if not self.wait_ns or full.needed > full.limit:
                raise
        began = self.clock.now_ns()
        self.room_waiters += 1
        try:
            while True:
                ticket = self.waiter.ticket()
                try:
                    return self.store(name, offset, data, length, source, filling)
                except CacheFull:
                    left = began + self.wait_ns - self.clock.now_ns()
                    if left <= 0:
                        raise
                self.waiter.wait(ticket, left)
        finally:
            self.room_waiters -= 1
            self.waited_ns += self.clock.now_ns() - began

    @cython.final
    cdef int wake(self) except -1:
        if self.room_waiters:
            self.waiter.wake()
        return 0

    @cython.final
    cdef int store(
        self, name, int64_t offset, unsigned char *data, int64_t length, source, bint filling
    ) except -1:
        cdef Py_ssize_t count = ((offset + length - 1) >> self.shift) - (offset >> self.shift) + 1
        cdef piece one
        cdef piece *pieces = &one
        cdef File file
        cdef bint done = False
        if not length:
            return self.enter()
        if count > 1:
            pieces = <piece *>PyMem_RawMalloc(count * sizeof(piece))
            if not pieces:
                raise MemoryError()
        try:
            while not done:
                file = self.settled_or_made(name)
                self.hold(&file.table)
                try:
                    self.cut_up(&file.table, pieces, offset, length)
                    done = self.store_pieces(
                        file, pieces, count, offset, data, length, source, filling
                    )
                finally:
                    if file.table.fresh:
                        del self.files[name]
                    self.release(&file.table)
                if not done:
                    self.wait_turn()
        finally:
            if pieces != &one:
                PyMem_RawFree(pieces)
        return 0

    @cython.final
    cdef void cut_up(
        self, block_table *table, piece *pieces, int64_t offset, int64_t length
    ) noexcept:
        cdef piece *p = pieces
        while length:
            p.number = offset >> self.shift
            p.start = offset & (self.block_size - 1)
            p.end = p.start + min(length, self.block_size - p.start)
            p.target = find_block(table, p.number)
            p.made = NULL
            p.buffer = NULL
            p.capacity = capacity_for(p.end, self.block_size)
            if p.target != NULL and p.target.capacity > p.capacity:
                p.capacity = p.target.capacity
            offset += p.end - p.start
            length -= p.end - p.start
            p += 1

    @cython.final
    cdef bint store_pieces(
        self, File file, piece *pieces, Py_ssize_t count, int64_t offset, unsigned char *data,
        int64_t length, source, bint filling,
    ) except -1:
        """False when room can only be made once other threads are done with their files; then
        nothing is changed. Raises CacheFull, and what the log raises; nothing is changed then,
        except that clean blocks may have been evicted."""
        cdef int64_t growth = 0, pending = 0, before = self.allocated, generation = 0
        if not self.make_room(&file.table, pieces, count, filling, &growth, &pending):
            return False
        self.allocated += growth
        self.pending += pending
        try:
            self.prepare(&file.table, pieces, count, before)
            if not filling:
                generation = self.log_write(file, offset, data, length, source)
        except BaseException:
            self.give_up(&file.table, pieces, count)
            self.allocated -= growth
            self.pending -= pending
            raise
        for i in range(count):
            self.link(&file.table, &pieces[i], generation, filling)
        if length < LARGE:
            put_pieces(pieces, count, data, filling)
        else:
            with nogil:
                put_pieces(pieces, count, data, filling)
        self.publish(file, offset + length)
        return True

    @cython.final
    cdef int64_t log_write(
        self, File file, int64_t offset, unsigned char *data, int64_t length, source
    ) except -1:
        if self.native_log is not None and not file.head:
            make_head(file)  # first: it is Python code, and may let another thread to the log
        while self.log_busy:
            self.wait_turn()
        if self.log is None or self.native_log is not None:
            return self.next_generation(file, offset, data, length)
        if not PyBytes_CheckExact(source):
            source = memoryview(source).cast("B")
        return self.log_call(self.log.append_write, (file.name, offset, source))

    @cython.final
    cdef bint make_room(
        self, block_table *table, piece *pieces, Py_ssize_t count, bint filling,
        int64_t *growth, int64_t *pending,
    ) except -1:
        """What the pieces take more, and evict what must go for it. Raises CacheFull, having
        evicted nothing. The blocks of the pieces themselves are counted as used and stay."""
        cdef int64_t more, spared = 0
        cdef int evicted = 1
        cdef Py_ssize_t i
        cdef block *b
        for i in range(count):
            b = pieces[i].target
            more = pieces[i].capacity - (b.capacity if b != NULL else 0)
            growth[0] += more
            if b != NULL and b.dirty:
                pending[0] += more
            elif not filling:
                pending[0] += pieces[i].capacity
            if b != NULL and not b.dirty:
                spared += b.capacity
        if self.max_size and self.allocated + growth[0] - self.clean_bytes + spared > self.max_size:
            raise rules.full("max_size", self.allocated, growth[0], self.max_size)
        if self.max_pending and self.pending + pending[0] > self.max_pending:
            raise rules.full("max_pending", self.pending, pending[0], self.max_pending)
        for i in range(count):
            if pieces[i].target:
                touch(&self.ring, pieces[i].target)
                pieces[i].target.pinned = 1
        while evicted > 0 and self.max_size and self.allocated + growth[0] > self.max_size:
            evicted = self.evict_oldest(table)
        for i in range(count):
            if pieces[i].target:
                pieces[i].target.pinned = 0
        return evicted > 0

    @cython.final
    cdef int prepare(
        self, block_table *table, piece *pieces, Py_ssize_t count, int64_t before
    ) except -1:
        """Make all that the pieces need, so that nothing can fail once they are in the log.
        Pooled buffers go back to the system where together with what is in use they would be
        beyond ``max_size``."""
        cdef int64_t new = 0, left
        cdef unsigned char *buffer
        cdef Py_ssize_t i
        cdef piece *p
        for i in range(count):
            p = &pieces[i]
            if p.target != NULL and reserve_edges(p.target) < 0:
                raise MemoryError()
            if p.target != NULL and p.target.capacity == p.capacity:
                continue
            buffer = self.make_buffer(p.capacity)
            new += p.capacity
            if p.target:
                p.buffer = buffer
                continue
            p.made = new_block(p.number, buffer, p.capacity)
            if not p.made:
                pool_give(self.pool, buffer, p.capacity)
                raise MemoryError()
            if reserve_slot(table, p.number) < 0:
                raise MemoryError()
        if self.max_size and new:
            left = self.max_size - before - new
            pool_trim(self.pool, max(0, left) // self.block_size)
        return 0

    @cython.final
    cdef unsigned char *make_buffer(self, uint32_t capacity) except NULL:
        cdef unsigned char *buffer = pool_take(self.pool, capacity)
        if buffer == NULL and capacity < self.block_size:
            buffer = new_buffer(self.pool, capacity)
        elif not buffer:
            with nogil:  # the system makes and clears its pages
                buffer = new_buffer(self.pool, capacity)
        if not buffer:
            raise MemoryError(f"no memory for a block buffer of {capacity} bytes")
        return buffer

    @cython.final
    cdef void give_up(self, block_table *table, piece *pieces, Py_ssize_t count) noexcept:
        cdef Py_ssize_t i
        for i in range(count):
            if pieces[i].buffer:
                pool_give(self.pool, pieces[i].buffer, pieces[i].capacity)
            if pieces[i].made:
                pool_give(self.pool, pieces[i].made.buffer, pieces[i].capacity)
                free_block(pieces[i].made)
                release_slot(table, pieces[i].number)

    @cython.final
    cdef void link(self, block_table *table, piece *p, int64_t generation, bint filling) noexcept:
        """Put the block of a piece into every list, with its buffer; its bytes come next."""
        if p.made:
            self.link_new(table, p, filling)
        elif p.buffer:
            self.link_buffer(p)
        touch(&self.ring, p.target)
        if filling:
            return
        p.target.generation = generation
        if not p.target.dirty:
            clean_unlink(p.target)
            self.clean_bytes -= p.capacity
            self.dirty += 1
            table_set_dirty(p.target, 1)

    @cython.final
    cdef void link_new(self, block_table *table, piece *p, bint filling) noexcept:
        cdef block *b = p.made
        p.target = b
        b.dirty = not filling
        insert_block(table, b)
        use_append(&self.ring, b)
        self.blocks += 1
        self.dirty += b.dirty
        if not b.dirty:
            self.clean_bytes += p.capacity
            clean_insert(b)

    @cython.final
    cdef void link_buffer(self, piece *p) noexcept:
        cdef block *b = p.target
        memcpy(p.buffer, b.buffer, b.capacity)
        pool_give(self.pool, b.buffer, b.capacity)
        if not b.dirty:
            self.clean_bytes += p.capacity - b.capacity
        b.buffer = p.buffer
        b.capacity = p.capacity
