/* Faults on purpose: a run under sanitizers that does not find these would find nothing else. */
#include "buffers.h"

#include <sched.h>

enum { BLOCK = 1 << 16 };
static int counter;

int none(void) { return 0; }

int one_byte_too_far(void) {
    unsigned char *area = PyMem_RawMalloc(16);
    volatile size_t end = 16;
    memset(area, 0, 16);
    area[end] = 1;
    int last = area[15];
    PyMem_RawFree(area);
    return last;
}

int end_of_a_block(void) {
    buffer_pool *pool = pool_start(BLOCK);
    unsigned char *block = new_buffer(pool, BLOCK);
    volatile size_t end = BLOCK;
    block[end] = 1;
    return block[0];
}

int use_after_free(void) {
    unsigned char *area = PyMem_RawMalloc(16);
    memset(area, 0, 16);
    PyMem_RawFree(area);
    return ((volatile unsigned char *)area)[3];
}

/* The memory is still there: only the pool knows that nobody may use it. */
int use_after_give(void) {
    buffer_pool *pool = pool_start(BLOCK);
    unsigned char *block = new_buffer(pool, BLOCK);
    pool_give(pool, block, BLOCK);
    return ((volatile unsigned char *)block)[3];
}

int signed_overflow(void) {
    volatile int64_t most = INT64_MAX;
    return (int)(most + 1);
}

int shift_too_far(void) {
    volatile int by = 32;
    return 1 << by;
}

int misaligned(void) {
    static char bytes[16];
    return *(volatile int *)(bytes + 1);
}

/* For two threads that hold the interpreter lock: no race. */
int count(void) { return ++counter; }

/* For two threads that gave it up. Neither goes on before the other is here, and how they find out
 * orders nothing: a race, however they are scheduled. */
static void meet(void) {
    static int here;
    __atomic_fetch_add(&here, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&here, __ATOMIC_RELAXED) < 2) sched_yield();
}

int count_at_once(void) {
    meet();
    return ++counter;
}

/* The same with a copy, which is no store of ours but a call of the library. */
unsigned char area[BLOCK];

int copy(void) {
    static const unsigned char source[BLOCK];
    volatile size_t length = BLOCK;
    memcpy(area, source, length);
    return 0;
}

int copy_at_once(void) {
    meet();
    return copy();
}
