/* Block buffers of the compiled twin, and the pool that keeps them. The rules are those of
 * buffers.py: whole blocks are mapped, faulted in at once and kept for reuse; smaller buffers come
 * from the allocator. Nothing here needs the interpreter lock except the pool's own fields. */
#ifndef BENCH_CACHE_BUFFERS_H
#define BENCH_CACHE_BUFFERS_H

#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

enum { PAGE_BYTES = 4096, HUGE_BYTES = 2 << 20 };
enum { SMALLEST_BUFFER = 4 << 10, SMALL_BUFFER = 64 << 10 }; /* rules.SMALL_BUFFERS */

typedef struct {
    unsigned char **free;
    size_t count, room;
    size_t block_size;
} buffer_pool;

static inline uint32_t capacity_for(uint64_t end, uint32_t block_size) {
    if (end <= SMALLEST_BUFFER && SMALLEST_BUFFER < block_size) return SMALLEST_BUFFER;
    if (end <= SMALL_BUFFER && SMALL_BUFFER < block_size) return SMALL_BUFFER;
    return block_size;
}

/* A mapping of `size` bytes on a boundary of `alignment`: huge pages need one of their own size. */
static unsigned char *map_aligned(size_t size, size_t alignment) {
    size_t slack = alignment > PAGE_BYTES ? alignment : 0;
    unsigned char *area =
        mmap(NULL, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) return NULL;
    if (slack) {
        size_t before = (alignment - (uintptr_t)area % alignment) % alignment;
        if (before) munmap(area, before);
        if (slack - before) munmap(area + before + size, slack - before);
        area += before;
    }
    return area;
}

static unsigned char *map_buffer(size_t size) {
    unsigned char *area = map_aligned(size, size >= HUGE_BYTES ? HUGE_BYTES : PAGE_BYTES);
    if (!area) return NULL;
    madvise(area, size, MADV_HUGEPAGE); /* refused: ordinary pages do, only slower */
    if (madvise(area, size, MADV_POPULATE_WRITE) != 0)
        for (size_t at = 0; at < size; at += PAGE_BYTES) ((volatile unsigned char *)area)[at] = 0;
    return area;
}

/* NULL when there is no memory. May be called without the interpreter lock unless it pops. */
static unsigned char *new_buffer(uint32_t capacity, size_t block_size) {
    return capacity < block_size ? PyMem_RawMalloc(capacity) : map_buffer(capacity);
}

static void free_buffer(unsigned char *buffer, uint32_t capacity, size_t block_size) {
    if (capacity < block_size) PyMem_RawFree(buffer);
    else munmap(buffer, capacity);
}

/* A pooled buffer, or NULL: then the caller makes a new one. */
static inline unsigned char *pool_take(buffer_pool *pool, uint32_t capacity) {
    return capacity == pool->block_size && pool->count ? pool->free[--pool->count] : NULL;
}

static inline void pool_give(buffer_pool *pool, unsigned char *buffer, uint32_t capacity) {
    if (capacity == pool->block_size && pool->count == pool->room) {
        size_t room = pool->room ? 2 * pool->room : 16;
        unsigned char **free = PyMem_RawRealloc(pool->free, room * sizeof *free);
        if (free) {
            pool->free = free;
            pool->room = room;
        }
    }
    if (capacity < pool->block_size || pool->count == pool->room)
        free_buffer(buffer, capacity, pool->block_size);
    else
        pool->free[pool->count++] = buffer;
}

static void pool_trim(buffer_pool *pool, size_t keep) {
    while (pool->count > keep) munmap(pool->free[--pool->count], pool->block_size);
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
