/* A counting layer over CPython's three allocators (raw, mem, obj).
 *
 * Every allocation made between start and stop is counted once, with the size that was asked
 * for. The obj and mem allocators hand large requests down to the raw one; a per-thread depth
 * keeps such a request from being counted twice. A realloc counts as one allocation of the new
 * size, as a copying allocator would have to do it.
 *
 * The layer is installed only for the counting pass and removed after it: blocks allocated
 * before, during or after may be freed in any order, because the layer adds no header.
 */
#ifndef BENCH_ALLOC_COUNTER_H
#define BENCH_ALLOC_COUNTER_H

#include <Python.h>
#include <stdint.h>

static PyMemAllocatorEx bench_inner[3];
static uint64_t bench_alloc_calls, bench_alloc_bytes;
static __thread int bench_alloc_depth;

static inline void bench_count(size_t size) {
    if (bench_alloc_depth == 0) {
        __atomic_fetch_add(&bench_alloc_calls, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&bench_alloc_bytes, (uint64_t)size, __ATOMIC_RELAXED);
    }
}

static void *bench_malloc(void *ctx, size_t size) {
    PyMemAllocatorEx *inner = (PyMemAllocatorEx *)ctx;
    bench_count(size);
    bench_alloc_depth++;
    void *block = inner->malloc(inner->ctx, size);
    bench_alloc_depth--;
    return block;
}

static void *bench_calloc(void *ctx, size_t count, size_t size) {
    PyMemAllocatorEx *inner = (PyMemAllocatorEx *)ctx;
    bench_count(count * size);
    bench_alloc_depth++;
    void *block = inner->calloc(inner->ctx, count, size);
    bench_alloc_depth--;
    return block;
}

static void *bench_realloc(void *ctx, void *old, size_t size) {
    PyMemAllocatorEx *inner = (PyMemAllocatorEx *)ctx;
    bench_count(size);
    bench_alloc_depth++;
    void *block = inner->realloc(inner->ctx, old, size);
    bench_alloc_depth--;
    return block;
}

static void bench_free(void *ctx, void *block) {
    PyMemAllocatorEx *inner = (PyMemAllocatorEx *)ctx;
    inner->free(inner->ctx, block);
}

static const PyMemAllocatorDomain bench_domains[3] = {
    PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

static void bench_counting_start(void) {
    bench_alloc_calls = bench_alloc_bytes = 0;
    for (int i = 0; i < 3; i++) {
        PyMem_GetAllocator(bench_domains[i], &bench_inner[i]);
        PyMemAllocatorEx layer = {&bench_inner[i], bench_malloc, bench_calloc, bench_realloc,
                                  bench_free};
        PyMem_SetAllocator(bench_domains[i], &layer);
    }
}

static void bench_counting_stop(void) {
    for (int i = 0; i < 3; i++)
        PyMem_SetAllocator(bench_domains[i], &bench_inner[i]);
}

#endif
