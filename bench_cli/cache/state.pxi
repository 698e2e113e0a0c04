# The fields of a cache, who may work on a file, and the books: lists, counts, bytes.

cdef class Shelves:
    cdef block ring  # all blocks, and the clean ones, by last use
    cdef buffer_pool *pool
    cdef turnstile turns
    cdef dict files
    cdef list in_order  # the files sorted by name, None when that has to be done
    cdef unsigned shift, chunk_shift
    cdef int64_t block_size, max_size, max_pending, kept
    cdef int64_t allocated, pending, clean_bytes, blocks, dirty, file_count
    cdef int64_t evicted, waited_ns, generation
    cdef int busy_files, waiters, room_waiters
    cdef bint gated, closed, log_busy
    cdef object log, directory, file_system, clock, waiter, wait_ns
    cdef readonly object snapshots
    cdef NativeLog native_log

    def __cinit__(self, options, log, directory, file_system, clock, waiter):
        rules.check_options(options)
        ring_start(&self.ring)
        turnstile_start(&self.turns)
        self.block_size = options.block_size
        self.shift = options.block_size.bit_length() - 1
        self.chunk_shift = options.chunk_size.bit_length() - 1 - self.shift
        self.max_size = min(options.max_size, INT64_MAX)
        self.max_pending = min(options.max_pending, INT64_MAX)
        self.wait_ns = options.wait_ns
        self.kept = options.pool_bytes // options.block_size
        self.pool = pool_start(self.block_size)
        if not self.pool:
            raise MemoryError()
        self.files = {}
        self.file_system = file_system or SYSTEM
        self.clock = clock or CLOCK
        self.waiter = waiter or ConditionWaiter()
        self.snapshots = Snapshots(options.block_size)
        self.attach(log, directory)
        if pool_fill(self.pool, self.kept) < 0:
            raise MemoryError(f"no memory for a pool of {options.pool_bytes} bytes")

    def __dealloc__(self):
        pool_release(self.pool)
        turnstile_end(&self.turns)

    def attach(self, log, directory):
        """Go on with ``log``. Recovery replays without one, then changes over."""
        self.log = log
        self.native_log = log if isinstance(log, NativeLog) else None
        self.directory = directory

    # --- turns -------------------------------------------------------------------------------

    @cython.final
    cdef int enter(self) except -1:
        """Every operation: refuse when closed, wait while a checkpoint needs the cache at rest."""
        while self.gated:
            if self.closed:
                raise rules.closed()
            self.wait_turn()
        return 0

    @cython.final
    cdef int check_open(self) except -1:
        if self.closed:
            raise rules.closed()
        return 0

    @cython.final
    cdef int wait_turn(self) except -1:
        cdef uint64_t epoch = self.turns.epoch
        self.waiters += 1
        with nogil:
            turnstile_wait(&self.turns, epoch)
        self.waiters -= 1
        return 0

    @cython.final
    cdef inline void turn(self) noexcept:
        if self.waiters:
            turnstile_turn(&self.turns)

    @cython.final
    cdef inline File lookup(self, name):
        cdef PyObject *found = PyDict_GetItemWithError(self.files, name)
        return None if found == NULL else <File>found

    @cython.final
    cdef inline File settled(self, name):
        """The file with nobody at work on it, None if there is none. It stays so until the
        interpreter lock is given away."""
        cdef File file
        while True:
            if self.gated:
                self.enter()
            file = self.lookup(name)
            if file is None or not file.table.busy:
                return file
            self.wait_turn()

    @cython.final
    cdef File existing(self, name):
        cdef File file = self.settled(name)
        if file is None:
            raise rules.not_cached(name)
        return file

    @cython.final
    cdef void hold(self, block_table *table) noexcept:
        if not table.busy:
            table.busy = 1
            self.busy_files += 1

    @cython.final
    cdef void release(self, block_table *table) noexcept:
        if table.busy:
            table.busy = 0
            self.busy_files -= 1
            self.turn()

    @cython.final
    cdef File settled_or_made(self, name):
        cdef File file = self.settled(name)
        if file is None:
            rules.check_name(name)  # Python code: another thread may make the file meanwhile
            file = self.settled(name)
            if file is None:
                file = self.make_file(name)
        return file

    @cython.final
    cdef File make_file(self, name):
        """An entry that holds the name, but is no file for others until ``publish``."""
        cdef File file = File.__new__(File)
        file.name = name
        file.pool = self.pool
        file.pool.holders += 1
        file.table.chunk_shift = self.chunk_shift
        file.table.fresh = 1
        self.files[name] = file
        return file

    @cython.final
    cdef int publish(self, File file, int64_t end) except -1:
        if end > file.table.size:
            file.table.size = end
        if file.table.fresh:
            file.table.fresh = 0
            self.file_count += 1
            self.in_order = None
        return 0

    @cython.final
    cdef list sorted_files(self):
        cdef File file
        if self.in_order is None:
            files = []
            for name in sorted(self.files):
                file = self.files[name]
                if not file.table.fresh:
                    files.append(file)
            self.in_order = files
        return self.in_order

    # --- books ---------------------------------------------------------------------------------

    @cython.final
    cdef void touch_range(self, block_table *table, int64_t offset, int64_t length) noexcept:
        cdef int64_t number
        cdef block *b
        if length:
            for number in range(offset >> self.shift, ((offset + length - 1) >> self.shift) + 1):
                b = find_block(table, number)
                if b:
                    touch(&self.ring, b)

    @cython.final
    cdef void drop(self, block *b) noexcept:
        use_unlink(b)
        if b.dirty:
            self.dirty -= 1
            self.pending -= b.capacity
        else:
            clean_unlink(b)
            self.clean_bytes -= b.capacity
        self.blocks -= 1
        self.allocated -= b.capacity
        erase_block(b.table, b)
        pool_give(self.pool, b.buffer, b.capacity)
        free_block(b)

    cdef void drop_from(self, block_table *table, int64_t first) noexcept:
        """Drop every block from number ``first`` on, the last one first."""
        cdef block *b = last_block(table)
        while b != NULL and b.number >= first:
            self.drop(b)
            b = last_block(table)

    @cython.final
    cdef void set_clean(self, block *b) noexcept:
        table_set_dirty(b, 0)
        self.dirty -= 1
        self.pending -= b.capacity
        self.clean_bytes += b.capacity
        clean_insert(b)

    @cython.final
    cdef int evict_oldest(self, block_table *mine) noexcept:
        """1 when a block went; 0 when there is none to go; -1 when all that could go belong to
        files at work. The file ``mine`` is held by the caller, its pinned blocks stay."""
        cdef block *b = self.ring.clean_newer
        cdef int none = 0
        while b != &self.ring:
            if b.table.busy and b.table != mine:
                none = -1
            elif not b.pinned:
                self.drop(b)
                self.evicted += 1
                expect_eviction(&self.ring)
                return 1
            b = b.clean_newer
        return none

    # --- the log -------------------------------------------------------------------------------

    @cython.final
    cdef log_call(self, append, arguments):
        """The log takes one call at a time; the caller holds its file."""
        while self.log_busy:
            self.wait_turn()
        self.log_busy = True
        try:
            return append(*arguments)
        finally:
            self.log_busy = False
            self.turn()
