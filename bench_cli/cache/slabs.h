/* Pages for the smallest block buffers, in slabs of a huge page's size.
 *
 * To give a page back touches the slab's head and not the page: evicting thousands of small files
 * then costs no cache miss per buffer, as it would with an allocator that keeps its books beside
 * them. Pages are faulted in by the first write into them. The caller holds the interpreter lock. */
#ifndef BENCH_CACHE_SLABS_H
#define BENCH_CACHE_SLABS_H

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE_BYTES = 4096, SLAB_BYTES = 2 << 20, SLAB_PAGES = SLAB_BYTES / PAGE_BYTES };
enum { SLAB_WORDS = SLAB_PAGES / 64, SLABS_KEPT = 2 };

/* In the first page of a slab, which lies on a boundary of its size. Slabs with a free page stand
 * in a ring. */
typedef struct slab {
    struct slab *next, *previous;
    uint32_t used;
    uint64_t free[SLAB_WORDS];
} slab;

/* `some`: a slab with a free page, NULL when there is none. `empty`: slabs with no page in use. */
typedef struct {
    slab *some;
    size_t empty;
} slab_set;

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
    madvise(s, SLAB_BYTES, MADV_NOHUGEPAGE); /* one small file must not cost a huge page */
    memset(s->free, 0xff, sizeof s->free);
    s->free[0] &= ~1ULL; /* the head's page */
    slab_link(set, s);
    set->empty++;
    return s;
}

/* A page, NULL when there is no memory. */
static unsigned char *slab_take(slab_set *set) {
    slab *s = set->some ? set->some : slab_add(set);
    size_t word = 0;
    if (!s) return NULL;
    while (!s->free[word]) word++;
    size_t page = word * 64 + (size_t)__builtin_ctzll(s->free[word]);
    s->free[word] &= s->free[word] - 1;
    if (!s->used++) set->empty--;
    if (s->used == SLAB_PAGES - 1) slab_unlink(set, s);
    return (unsigned char *)s + page * PAGE_BYTES;
}

static inline void slab_drop(slab_set *set, slab *s) {
    slab_unlink(set, s);
    munmap(s, SLAB_BYTES);
    set->empty--;
}

static inline void slab_give(slab_set *set, unsigned char *buffer) {
    slab *s = (slab *)((uintptr_t)buffer & ~(uintptr_t)(SLAB_BYTES - 1));
    size_t page = (size_t)(buffer - (unsigned char *)s) / PAGE_BYTES;
    if (s->used == SLAB_PAGES - 1) slab_link(set, s);
    s->free[page / 64] |= 1ULL << page % 64;
    if (!--s->used && ++set->empty > SLABS_KEPT) slab_drop(set, s);
}

/* Give every slab with no page in use back to the system. */
static void slabs_trim(slab_set *set) {
    slab *s = set->some;
    while (set->empty) {
        slab *next = s->next;
        if (!s->used) slab_drop(set, s);
        s = next;
    }
}

#endif
