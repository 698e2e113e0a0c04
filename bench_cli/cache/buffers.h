/* Block buffers of the compiled twin, and the pool that keeps them. The rules are those of
 * buffers.py: whole blocks are mapped, faulted in at once and kept for reuse; smaller buffers are
 * not kept: they come from slabs. Nothing here needs the interpreter lock except the pool's own
 * fields. */
#ifndef BENCH_CACHE_BUFFERS_H
#define BENCH_CACHE_BUFFERS_H

#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "slabs.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

enum { HUGE_BYTES = 2 << 20 };
enum { SMALLEST_BUFFER = PAGE_BYTES, SMALL_BUFFER = 64 << 10 }; /* rules.SMALL_BUFFERS */

/* The cache and each of its files hold it, because they may go in any order. */
typedef struct {
    unsigned char **free;
    size_t count, room;
    size_t block_size;
    size_t holders;
    slab_set smallest, small;
} buffer_pool;

static inline uint32_t capacity_for(uint64_t end, uint32_t block_size) {
    if (end <= SMALLEST_BUFFER && SMALLEST_BUFFER < block_size) return SMALLEST_BUFFER;
    if (end <= SMALL_BUFFER && SMALL_BUFFER < block_size) return SMALL_BUFFER;
    return block_size;
}

/* AddressSanitizer knows nothing of mappings. Under it all buffers come from the allocator, whose
 * ends it guards, and what lies in the pool is nobody's to use. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <stdlib.h>

static unsigned char *map_buffer(size_t size) {
    void *area;
    return posix_memalign(&area, PAGE_BYTES, size) ? NULL : area;
}

static void unmap_buffer(unsigned char *buffer, size_t size) {
    ASAN_UNPOISON_MEMORY_REGION(buffer, size);
    free(buffer);
}

static unsigned char *new_small_buffer(buffer_pool *pool, uint32_t capacity) {
    return PyMem_RawMalloc(capacity);
}

static void free_small_buffer(buffer_pool *pool, unsigned char *buffer, uint32_t capacity) {
    PyMem_RawFree(buffer);
}
#else
#define ASAN_POISON_MEMORY_REGION(area, size) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(area, size) ((void)0)

static void unmap_buffer(unsigned char *buffer, size_t size) { munmap(buffer, size); }

static unsigned char *map_buffer(size_t size) {
    unsigned char *area = map_aligned(size, size >= HUGE_BYTES ? HUGE_BYTES : PAGE_BYTES);
    if (!area) return NULL;
    madvise(area, size, MADV_HUGEPAGE); /* refused: ordinary pages do, only slower */
    if (madvise(area, size, MADV_POPULATE_WRITE) != 0)
        for (size_t at = 0; at < size; at += PAGE_BYTES) ((volatile unsigned char *)area)[at] = 0;
    return area;
}

static inline slab_set *slabs_of(buffer_pool *pool, uint32_t capacity) {
    return capacity == SMALLEST_BUFFER ? &pool->smallest : &pool->small;
}

static unsigned char *new_small_buffer(buffer_pool *pool, uint32_t capacity) {
    return slab_take(slabs_of(pool, capacity));
}

static void free_small_buffer(buffer_pool *pool, unsigned char *buffer, uint32_t capacity) {
    slab_give(slabs_of(pool, capacity), buffer);
}
#endif

/* NULL when there is no memory. Those of whole blocks may be made without the interpreter lock. */
static unsigned char *new_buffer(buffer_pool *pool, uint32_t capacity) {
    return capacity == pool->block_size ? map_buffer(capacity) : new_small_buffer(pool, capacity);
}

/* A pooled buffer, or NULL: then the caller makes a new one. */
static inline unsigned char *pool_take(buffer_pool *pool, uint32_t capacity) {
    if (capacity != pool->block_size || !pool->count) return NULL;
    ASAN_UNPOISON_MEMORY_REGION(pool->free[pool->count - 1], capacity);
    return pool->free[--pool->count];
}

static inline void pool_keep(buffer_pool *pool, unsigned char *buffer) {
    if (pool->count == pool->room) {
        size_t room = pool->room ? 2 * pool->room : 16;
        unsigned char **free = PyMem_RawRealloc(pool->free, room * sizeof *free);
        if (!free) {
            unmap_buffer(buffer, pool->block_size);
            return;
        }
        pool->free = free;
        pool->room = room;
    }
    pool->free[pool->count++] = buffer;
    ASAN_POISON_MEMORY_REGION(buffer, pool->block_size);
}

static inline void pool_give(buffer_pool *pool, unsigned char *buffer, uint32_t capacity) {
    if (capacity == pool->block_size) pool_keep(pool, buffer);
    else free_small_buffer(pool, buffer, capacity);
}

static void pool_trim(buffer_pool *pool, size_t keep) {
    while (pool->count > keep) unmap_buffer(pool->free[--pool->count], pool->block_size);
}

/* What nothing is in goes back to the system, but for `keep` whole blocks. */
static void pool_shrink(buffer_pool *pool, size_t keep) {
    pool_trim(pool, keep);
    slabs_trim(&pool->smallest);
    slabs_trim(&pool->small);
}

/* NULL when there is no memory; held once. */
static buffer_pool *pool_start(size_t block_size) {
    buffer_pool *pool = PyMem_RawCalloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->block_size = block_size;
    pool->holders = 1;
    slabs_start(&pool->smallest, SMALLEST_BUFFER);
    slabs_start(&pool->small, SMALL_BUFFER);
    return pool;
}

static void pool_release(buffer_pool *pool) {
    if (!pool || --pool->holders) return;
    pool_shrink(pool, 0);
    PyMem_RawFree(pool->free);
    PyMem_RawFree(pool);
}

/* 0, or -1 when there is no memory. */
static int pool_fill(buffer_pool *pool, size_t count) {
    while (pool->count < count) {
        unsigned char *buffer = map_buffer(pool->block_size);
        if (!buffer) return -1;
        size_t before = pool->count;
        pool_give(pool, buffer, (uint32_t)pool->block_size);
        if (pool->count == before) return -1;
    }
    return 0;
}

#endif
