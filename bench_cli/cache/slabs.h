/* Small block buffers of one size, in slabs of a huge page's size.
 *
 * To give a buffer back touches the slab's head and not the buffer: evicting thousands of small
 * files then costs no cache miss per buffer, as it would with an allocator that keeps its books
 * beside them. The buffers lie on page boundaries, because copies between pages are faster. Pages
 * are faulted in by the first write into them. The caller holds the interpreter lock. */
#ifndef BENCH_CACHE_SLABS_H
#define BENCH_CACHE_SLABS_H

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE_BYTES = 4096, SLAB_BYTES = 2 << 20, SLAB_WORDS = SLAB_BYTES / PAGE_BYTES / 64 };
/* So many empty slabs are kept; and from so many on, a further one is a huge page: one small file
 * must not cost a huge page, a thousand must not miss the TLB at each page. */
enum { SLABS_KEPT = 2, SLABS_OF_SMALL_PAGES = 1 };

/* In the first page of a slab, which lies on a boundary of its size; the buffers follow. Slabs
 * with a free one stand in a ring. */
typedef struct slab {
    struct slab *next, *previous;
    uint32_t used;
    uint64_t free[SLAB_WORDS];
} slab;

/* Buffers of one size; `each` slab's number of them; all slabs, and those with none in use; `some`
 * slab with a free one, NULL when there is none. */
typedef struct {
    unsigned shift; /* the size as a power of two */
    uint32_t each;
    size_t slabs, empty;
    slab *some;
} slab_set;

static inline void slabs_start(slab_set *set, uint32_t size) {
    *set = (slab_set){.shift = __builtin_ctz(size), .each = (SLAB_BYTES - PAGE_BYTES) / size};
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

static inline void slab_link(slab_set *set, slab *s) {
    if (!set->some) {
        set->some = s->next = s->previous = s;
        return;
    }
    s->next = set->some;
    s->previous = set->some->previous;
    s->previous->next = s->next->previous = s;
}

static inline void slab_unlink(slab_set *set, slab *s) {
    s->previous->next = s->next;
    s->next->previous = s->previous;
    if (set->some == s) set->some = s->next == s ? NULL : s->next;
}

static slab *slab_add(slab_set *set) {
    slab *s = (slab *)map_aligned(SLAB_BYTES, SLAB_BYTES);
    if (!s) return NULL;
    madvise(s, SLAB_BYTES, set->slabs < SLABS_OF_SMALL_PAGES ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    for (uint32_t i = 0; i < set->each; i++) s->free[i / 64] |= 1ULL << i % 64;
    slab_link(set, s);
    set->slabs++;
    set->empty++;
    return s;
}

/* A buffer, NULL when there is no memory. */
static unsigned char *slab_take(slab_set *set) {
    slab *s = set->some ? set->some : slab_add(set);
    size_t word = 0;
    if (!s) return NULL;
    while (!s->free[word]) word++;
    size_t number = word * 64 + (size_t)__builtin_ctzll(s->free[word]);
    s->free[word] &= s->free[word] - 1;
    if (!s->used++) set->empty--;
    if (s->used == set->each) slab_unlink(set, s);
    return (unsigned char *)s + PAGE_BYTES + (number << set->shift);
}

static inline void slab_drop(slab_set *set, slab *s) {
    slab_unlink(set, s);
    munmap(s, SLAB_BYTES);
    set->slabs--;
    set->empty--;
}

static inline void slab_give(slab_set *set, unsigned char *buffer) {
    slab *s = (slab *)((uintptr_t)buffer & ~(uintptr_t)(SLAB_BYTES - 1));
    size_t number = (size_t)(buffer - (unsigned char *)s - PAGE_BYTES) >> set->shift;
    if (s->used == set->each) slab_link(set, s);
    s->free[number / 64] |= 1ULL << number % 64;
    if (!--s->used && ++set->empty > SLABS_KEPT) slab_drop(set, s);
}

/* Give every slab with nothing in use back to the system. */
static void slabs_trim(slab_set *set) {
    slab *s = set->some;
    while (set->empty) {
        slab *next = s->next;
        if (!s->used) slab_drop(set, s);
        s = next;
    }
}

#endif
