/* Blocks, their coverage, the tables that find them, and the order of their last use.
 *
 * A file finds a block by chunk (a sorted array, dense files hit at the first guess) and by slot
 * in the chunk. Every block stands in one list in the order of use; the clean ones stand in a
 * second list in the same order, so that the block to evict is always that list's first. */
#ifndef BENCH_CACHE_BLOCKS_H
#define BENCH_CACHE_BLOCKS_H

#include "buffers.h"

struct block_table;

typedef struct block {
    unsigned char *buffer;
    int64_t number;
    int64_t generation;
    uint32_t capacity;
    uint32_t edge_count, edge_room; /* coverage as in coverage.py; two edges need no memory */
    uint32_t inline_edges[2];
    uint32_t *edges;
    struct block *older, *newer;             /* all blocks by last use */
    struct block *clean_older, *clean_newer; /* the clean ones */
    struct block_table *table;
    char dirty;
    char pinned; /* part of a write that is making room: not to be evicted by it */
} block;

typedef struct {
    int64_t index;
    uint32_t slots, used, dirty; /* room in `blocks`, blocks held, blocks dirty */
    block **blocks;
} chunk;

typedef struct block_table {
    chunk *chunks;
    size_t count, room;
    block *last; /* the last one found */
    chunk first; /* where `chunks` is while there is one, and */
    block *slot; /* where its blocks are while that is the first alone: a small file's tables */
    int64_t size;
    int64_t dirty;
    unsigned chunk_shift; /* blocks per chunk, as a power of two */
    char busy;            /* one thread works on it without the interpreter lock */
    char fresh;           /* being made: not there yet for anyone else */
} block_table;

/* --- coverage ----------------------------------------------------------------------------- */

static inline uint32_t bisect_left(const uint32_t *edges, uint32_t count, uint32_t value) {
    uint32_t low = 0;
    while (count) {
        uint32_t half = count / 2;
        if (edges[low + half] < value) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low;
}

static inline uint32_t bisect_right(const uint32_t *edges, uint32_t count, uint32_t value) {
    return bisect_left(edges, count, value + 1); /* edges are below 2^31 */
}

/* Does [start, end) touch the one extent of a block that has just one? Then the union is one. */
static inline int extends_the_only_run(const block *b, uint32_t start, uint32_t end) {
    return b->edge_count == 2 && start <= b->edges[1] && end >= b->edges[0];
}

/* Room for one more extent, so that `cover` cannot fail. 0, or -1 without memory. */
static inline int reserve_edges(block *b) {
    if (b->edge_count + 2 <= b->edge_room) return 0;
    uint32_t room = b->edge_room * 4;
    int inlined = b->edges == b->inline_edges;
    uint32_t *edges = PyMem_RawRealloc(inlined ? NULL : b->edges, room * sizeof *edges);
    if (!edges) return -1;
    if (inlined) memcpy(edges, b->inline_edges, sizeof b->inline_edges);
    b->edges = edges;
    b->edge_room = room;
    return 0;
}

static inline void cover(block *b, uint32_t start, uint32_t end) {
    uint32_t *edges = b->edges;
    if (extends_the_only_run(b, start, end)) {
        if (start < edges[0]) edges[0] = start;
        if (end > edges[1]) edges[1] = end;
        return;
    }
    uint32_t first = bisect_left(edges, b->edge_count, start);
    uint32_t last = bisect_right(edges, b->edge_count, end);
    uint32_t opens = first % 2 == 0, closes = last % 2 == 0;
    memmove(edges + first + opens + closes, edges + last,
            (b->edge_count - last) * sizeof *edges);
    if (opens) edges[first] = start;
    if (closes) edges[first + opens] = end;
    b->edge_count += opens + closes - (last - first);
}

static inline void cut_coverage(block *b, uint32_t length) {
    uint32_t first = bisect_left(b->edges, b->edge_count, length);
    b->edge_count = first + first % 2;
    if (first % 2) b->edges[first] = length;
}

static inline int is_covered(const block *b, uint32_t start, uint32_t end) {
    if (b->edge_count == 2) return b->edges[0] <= start && end <= b->edges[1];
    uint32_t after = bisect_right(b->edges, b->edge_count, start);
    return after % 2 == 1 && b->edges[after] >= end;
}

static void read_block_range(const block *b, uint32_t start, uint32_t end, unsigned char *out) {
    if (is_covered(b, start, end)) {
        memcpy(out, b->buffer + start, end - start);
        return;
    }
    memset(out, 0, end - start);
    uint32_t at = bisect_right(b->edges, b->edge_count, start) & ~1u;
    for (; at < b->edge_count && b->edges[at] < end; at += 2) {
        uint32_t from = b->edges[at] > start ? b->edges[at] : start;
        uint32_t to = b->edges[at + 1] < end ? b->edges[at + 1] : end;
        memcpy(out + (from - start), b->buffer + from, to - from);
    }
}

/* Copy what of [start, end) is not held, then hold it all. */
static void fill_block_range(block *b, uint32_t start, uint32_t end, const unsigned char *data) {
    uint32_t gap = start, at = bisect_right(b->edges, b->edge_count, start) & ~1u;
    for (; at < b->edge_count && b->edges[at] < end; at += 2) {
        if (b->edges[at] > gap) memcpy(b->buffer + gap, data + (gap - start), b->edges[at] - gap);
        gap = b->edges[at + 1];
    }
    if (gap < end) memcpy(b->buffer + gap, data + (gap - start), end - gap);
    cover(b, start, end);
}

/* --- order of use ------------------------------------------------------------------------- */

/* Both lists are rings through a sentinel: its `newer` is the oldest block, its `older` the newest.
 * The sentinel is never dirty. */
static inline void ring_start(block *sentinel) {
    sentinel->older = sentinel->newer = sentinel;
    sentinel->clean_older = sentinel->clean_newer = sentinel;
    sentinel->dirty = 0;
}

static inline void use_unlink(block *b) {
    b->older->newer = b->newer;
    b->newer->older = b->older;
}

static inline void use_append(block *sentinel, block *b) {
    b->older = sentinel->older;
    b->newer = sentinel;
    b->older->newer = sentinel->older = b;
}

static inline void clean_unlink(block *b) {
    b->clean_older->clean_newer = b->clean_newer;
    b->clean_newer->clean_older = b->clean_older;
}

static inline void clean_insert_after(block *older, block *b) {
    b->clean_older = older;
    b->clean_newer = older->clean_newer;
    older->clean_newer = b->clean_newer->clean_older = b;
}

static inline void touch(block *sentinel, block *b) {
    if (sentinel->older == b) return;
    use_unlink(b);
    use_append(sentinel, b);
    if (!b->dirty) {
        clean_unlink(b);
        clean_insert_after(sentinel->clean_older, b);
    }
}

/* The block that is evicted next and what it is found by come from far away when there are many:
 * fetch them while this eviction returns to its caller. Its list fields are here already. */
static inline void expect_eviction(const block *sentinel) {
    const block *next = sentinel->clean_newer;
    const char *table = (const char *)next->table;
    __builtin_prefetch(next, 1);
    __builtin_prefetch(next->clean_newer, 1);
    __builtin_prefetch((const char *)next->clean_newer + 64, 1);
    __builtin_prefetch(table, 1);
    __builtin_prefetch(table + 64, 1);
}

/* Put a block that becomes clean at the place of its last use: beside the nearest clean block in
 * the list of all. Looking both ways at once splits a run of dirty blocks at the cost of its
 * shorter part, so n blocks take n log n steps in whatever order they are uploaded. */
static inline void clean_insert(block *b) {
    block *older = b->older, *newer = b->newer;
    while (older->dirty && newer->dirty) {
        older = older->older;
        newer = newer->newer;
    }
    clean_insert_after(older->dirty ? newer->clean_older : older, b);
}

/* --- tables ------------------------------------------------------------------------------- */

/* Where the chunk is, or would be. */
static inline size_t chunk_position(const block_table *t, int64_t index) {
    if (!t->count || index <= t->chunks[0].index) return 0;
    size_t guess = (size_t)(index - t->chunks[0].index);
    if (guess < t->count && t->chunks[guess].index == index) return guess;
    size_t low = 0, count = t->count;
    while (count) {
        size_t half = count / 2;
        if (t->chunks[low + half].index < index) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low;
}

static inline chunk *find_chunk(const block_table *t, int64_t number) {
    size_t at = chunk_position(t, number >> t->chunk_shift);
    return at < t->count && t->chunks[at].index == number >> t->chunk_shift ? &t->chunks[at] : NULL;
}

static inline uint32_t slot_of(const block_table *t, int64_t number) {
    return (uint32_t)(number & ((1LL << t->chunk_shift) - 1));
}

static inline block *find_block(block_table *t, int64_t number) {
    if (t->last && t->last->number == number) return t->last;
    chunk *c = find_chunk(t, number);
    uint32_t slot = slot_of(t, number);
    if (!c || slot >= c->slots || !c->blocks[slot]) return NULL;
    return t->last = c->blocks[slot];
}

/* Room for one more chunk. 0, or -1 without memory. */
static inline int reserve_chunk(block_table *t) {
    if (t->count < t->room) return 0;
    if (!t->room) {
        t->chunks = &t->first;
        t->room = 1;
        return 0;
    }
    int inlined = t->chunks == &t->first;
    chunk *chunks = PyMem_RawRealloc(inlined ? NULL : t->chunks, 2 * t->room * sizeof *chunks);
    if (!chunks) return -1;
    if (inlined) chunks[0] = t->first;
    t->chunks = chunks;
    t->room *= 2;
    return 0;
}

/* Room for the blocks of a chunk up to `slot`. 0, or -1 without memory. */
static inline int reserve_blocks(block_table *t, chunk *c, uint32_t slot) {
    uint32_t slots = c->slots ? c->slots : 1;
    if (slot < c->slots) return 0;
    if (!slot && t->count == 1) {
        t->slot = NULL;
        c->blocks = &t->slot;
        c->slots = 1;
        return 0;
    }
    while (slots <= slot) slots *= 2;
    int inlined = c->blocks == &t->slot;
    block **blocks = PyMem_RawRealloc(inlined ? NULL : c->blocks, slots * sizeof *blocks);
    if (!blocks) return -1;
    if (inlined) blocks[0] = t->slot;
    memset(blocks + c->slots, 0, (slots - c->slots) * sizeof *blocks);
    c->blocks = blocks;
    c->slots = slots;
    return 0;
}

/* A place for a block that may come. 0, or -1 without memory. */
static int reserve_slot(block_table *t, int64_t number) {
    int64_t index = number >> t->chunk_shift;
    size_t at = chunk_position(t, index);
    if (at == t->count || t->chunks[at].index != index) {
        if (reserve_chunk(t) < 0) return -1;
        memmove(t->chunks + at + 1, t->chunks + at, (t->count - at) * sizeof *t->chunks);
        t->chunks[at] = (chunk){.index = index};
        t->count++;
    }
    return reserve_blocks(t, &t->chunks[at], slot_of(t, number));
}

static inline void free_blocks(block_table *t, chunk *c) {
    if (c->blocks != &t->slot) PyMem_RawFree(c->blocks);
}

/* Forget a place that no block took after all. */
static void release_slot(block_table *t, int64_t number) {
    chunk *c = find_chunk(t, number);
    if (!c || c->used) return;
    free_blocks(t, c);
    memmove(c, c + 1, (size_t)(t->chunks + t->count - (c + 1)) * sizeof *c);
    t->count--;
}

static inline void insert_block(block_table *t, block *b) {
    chunk *c = find_chunk(t, b->number);
    c->blocks[slot_of(t, b->number)] = b;
    c->used++;
    c->dirty += b->dirty;
    t->dirty += b->dirty;
    b->table = t;
}

static inline void erase_block(block_table *t, block *b) {
    chunk *c = find_chunk(t, b->number);
    c->blocks[slot_of(t, b->number)] = NULL;
    c->used--;
    c->dirty -= b->dirty;
    t->dirty -= b->dirty;
    if (t->last == b) t->last = NULL;
    if (!c->used) release_slot(t, b->number);
}

static inline void table_set_dirty(block *b, char dirty) {
    chunk *c = find_chunk(b->table, b->number);
    c->dirty += dirty - b->dirty;
    b->table->dirty += dirty - b->dirty;
    b->dirty = dirty;
}

/* The block with the highest number, NULL when there is none. Slots behind it are given up. */
static block *last_block(block_table *t) {
    if (!t->count) return NULL;
    chunk *c = &t->chunks[t->count - 1];
    while (!c->blocks[c->slots - 1]) c->slots--; /* a chunk in the table holds a block */
    return c->blocks[c->slots - 1];
}

static block *new_block(int64_t number, unsigned char *buffer, uint32_t capacity) {
    block *b = PyMem_RawCalloc(1, sizeof *b);
    if (!b) return NULL;
    b->number = number;
    b->buffer = buffer;
    b->capacity = capacity;
    b->edges = b->inline_edges;
    b->edge_room = 2;
    return b;
}

static inline void free_block(block *b) {
    if (b->edges != b->inline_edges) PyMem_RawFree(b->edges);
    PyMem_RawFree(b);
}

/* Everything of a table whose cache is gone. */
static void free_table(block_table *t, buffer_pool *pool) {
    for (size_t i = 0; i < t->count; i++) {
        for (uint32_t slot = 0; slot < t->chunks[i].slots; slot++) {
            block *b = t->chunks[i].blocks[slot];
            if (!b) continue;
            pool_give(pool, b->buffer, b->capacity);
            free_block(b);
        }
        free_blocks(t, &t->chunks[i]);
    }
    if (t->chunks != &t->first) PyMem_RawFree(t->chunks);
}

/* Read a range of a file, zeros where nothing is held. */
static void read_range(block_table *t, unsigned shift, int64_t offset, int64_t length,
                       unsigned char *out) {
    while (length) {
        int64_t number = offset >> shift;
        uint32_t start = (uint32_t)(offset - (number << shift));
        int64_t left = (1LL << shift) - start, part = length < left ? length : left;
        block *b = find_block(t, number);
        if (b) read_block_range(b, start, start + (uint32_t)part, out);
        else memset(out, 0, (size_t)part);
        offset += part;
        length -= part;
        out += part;
    }
}

static int range_is_covered(block_table *t, unsigned shift, int64_t offset, int64_t length) {
    while (length) {
        int64_t number = offset >> shift;
        uint32_t start = (uint32_t)(offset - (number << shift));
        int64_t left = (1LL << shift) - start, part = length < left ? length : left;
        block *b = find_block(t, number);
        if (!b || !is_covered(b, start, start + (uint32_t)part)) return 0;
        offset += part;
        length -= part;
    }
    return 1;
}

#endif
