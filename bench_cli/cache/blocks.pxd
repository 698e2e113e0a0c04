# The C side of the compiled twin: see buffers.h, blocks.h and turnstile.h.
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "blocks.h" nogil:
    ctypedef struct buffer_pool:
        unsigned char **free
        size_t count
        size_t room
        size_t block_size
        size_t holders

    ctypedef struct block:
        unsigned char *buffer
        int64_t number
        int64_t generation
        uint32_t capacity
        uint32_t edge_count
        uint32_t *edges
        block *older
        block *newer
        block *clean_older
        block *clean_newer
        block_table *table
        char dirty
        char pinned

    ctypedef struct chunk:
        int64_t index
        uint32_t slots
        uint32_t used
        uint32_t dirty
        block **blocks

    ctypedef struct block_table:
        chunk *chunks
        size_t count
        block *last
        int64_t size
        int64_t dirty
        unsigned chunk_shift
        char busy
        char fresh

    uint32_t capacity_for(uint64_t end, uint32_t block_size)
    buffer_pool *pool_start(size_t block_size)
    void pool_release(buffer_pool *pool)
    unsigned char *new_buffer(buffer_pool *pool, uint32_t capacity)
    unsigned char *pool_take(buffer_pool *pool, uint32_t capacity)
    void pool_give(buffer_pool *pool, unsigned char *buffer, uint32_t capacity)
    void pool_trim(buffer_pool *pool, size_t keep)
    void pool_shrink(buffer_pool *pool, size_t keep)
    int pool_fill(buffer_pool *pool, size_t count)

    bint extends_the_only_run(const block *b, uint32_t start, uint32_t end)
    int reserve_edges(block *b)
    void cover(block *b, uint32_t start, uint32_t end)
    void cut_coverage(block *b, uint32_t length)
    bint is_covered(const block *b, uint32_t start, uint32_t end)
    void fill_block_range(block *b, uint32_t start, uint32_t end, const unsigned char *data)

    void ring_start(block *sentinel)
    void use_unlink(block *b)
    void use_append(block *sentinel, block *b)
    void clean_unlink(block *b)
    void clean_insert_after(block *older, block *b)
    void clean_insert(block *b)
    void expect_eviction(const block *sentinel)
    void touch(block *sentinel, block *b)

    block *find_block(block_table *t, int64_t number)
    int reserve_slot(block_table *t, int64_t number)
    void release_slot(block_table *t, int64_t number)
    void insert_block(block_table *t, block *b)
    void erase_block(block_table *t, block *b)
    void table_set_dirty(block *b, char dirty)
    block *new_block(int64_t number, unsigned char *buffer, uint32_t capacity)
    void free_block(block *b)
    block *last_block(block_table *t)
    void free_table(block_table *t, buffer_pool *pool)
    void read_range(
        block_table *t, unsigned shift, int64_t offset, int64_t length, unsigned char *out
    )
    bint range_is_covered(block_table *t, unsigned shift, int64_t offset, int64_t length)


cdef extern from "turnstile.h" nogil:
    ctypedef struct turnstile:
        uint64_t epoch

    void turnstile_start(turnstile *t)
    void turnstile_end(turnstile *t)
    void turnstile_wait(turnstile *t, uint64_t epoch)
    void turnstile_turn(turnstile *t)
