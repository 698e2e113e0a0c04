/* Frames of a segment read and checked on threads, in order for whoever takes them.
 *
 * A segment is cut into units of equal length. A thread reads one, looks for the first frame that
 * begins in it, and checks that and those behind it up to the next unit. Where a unit's first frame
 * begins is a guess (a payload may hold what looks like a frame), so the taker believes a unit only
 * if it goes on exactly where the one before ended, and has it checked again from there otherwise.
 * Nothing here gives a verdict: the first frame that is not good ends the work.
 *
 * Memory: 2 * (threads + 1) units, each grown to the longest of its frames up to CHECK_MOST; a frame
 * beyond that is read alone.
 */
#ifndef BENCH_CHECKING_H
#define BENCH_CHECKING_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "frame.h"

#define CHECK_UNIT (128 << 10)
#define CHECK_MOST (8 << 20)
#define CHECK_THREADS 64

typedef struct {
    long long from, until; /* frames that begin there are this unit's */
    uint8_t *data;         /* the file from `from` on */
    size_t room, held;
    long long start, end; /* of the good frames found; start -1: none */
    uint64_t first, next; /* number of the first one, and after the last one */
    uint32_t crc;         /* of the last one */
    int stopped;          /* the frame at `end` is not good, although it is this unit's */
    int done;
} check_unit;

typedef struct {
    int fd;
    uint32_t seed;
    long long limit;
    uint64_t low, high; /* what a sequence number can be */
    pthread_mutex_t mutex;
    pthread_cond_t asked, done;
    int closing, threads, count;
    long long planned;               /* up to where units were asked for */
    unsigned long tail, taken, head; /* units asked for, begun, and given away */
    pthread_t thread[CHECK_THREADS];
    check_unit unit[2 * CHECK_THREADS + 2];
} check_pool;

/* Have `size` bytes of the unit at hand; 0 when the file, the memory or `most` ends before. */
static int check_load(check_pool *pool, check_unit *unit, size_t size, size_t most)
{
    if (size > most)
        return 0;
    if (size > unit->room) {
        uint8_t *grown = (uint8_t *)realloc(unit->data, size);
        if (!grown)
            return 0;
        unit->data = grown, unit->room = size;
    }
    while (unit->held < size) {
        ssize_t got = pread(pool->fd, unit->data + unit->held, size - unit->held,
                            (off_t)(unit->from + (long long)unit->held));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return 0;
        unit->held += (size_t)got;
    }
    return 1;
}

/* The first frame header that begins in the unit, at a multiple of 8 bytes; or -1. */
static long long check_find(check_pool *pool, check_unit *unit, frame_fields *f)
{
    for (long long at = unit->from; at < unit->until; at += 8) {
        const uint8_t *here = unit->data + (at - unit->from);
        uint64_t sequence;
        uint32_t crc;
        if (at + FRAME_HEADER > unit->from + (long long)unit->held)
            break;
        memcpy(&sequence, here + 8, 8);
        if (sequence >= pool->low && sequence < pool->high &&
            frame_read(here, FRAME_HEADER, pool->seed, sequence, f, &crc))
            return at;
    }
    return -1;
}

/* Check the frames from `at` on; the first has the number `next`. */
static void check_run(check_pool *pool, check_unit *unit, long long at, uint64_t next, size_t most)
{
    frame_fields f;
    uint32_t crc;
    unit->start = unit->end = at;
    unit->first = unit->next = next;
    unit->stopped = 1;
    while (unit->end < unit->until) {
        size_t before = (size_t)(unit->end - unit->from), held, size;
        held = unit->held > before ? unit->held - before : 0;
        size = frame_read(unit->data + before, held, pool->seed, unit->next, &f, &crc);
        if (size > held) {
            if (unit->end + (long long)size > pool->limit ||
                !check_load(pool, unit, before + size, most))
                return;
            continue;
        }
        if (!size || f.kind == FRAME_FOOTER)
            return;
        unit->end += (long long)size;
        unit->next += f.count;
        unit->crc = crc;
    }
    unit->stopped = 0;
}

static void check_guess(check_pool *pool, check_unit *unit)
{
    frame_fields f;
    long long end = unit->until + FRAME_HEADER < pool->limit ? unit->until + FRAME_HEADER
                                                              : pool->limit;
    unit->held = 0;
    unit->start = -1;
    check_load(pool, unit, (size_t)(end - unit->from), CHECK_MOST);
    long long at = check_find(pool, unit, &f);
    if (at >= 0)
        check_run(pool, unit, at, f.sequence, CHECK_MOST);
}

/* Check the oldest unit that was asked for. The mutex is held, but not meanwhile. */
static void check_oldest(check_pool *pool)
{
    check_unit *unit = &pool->unit[pool->taken++ % (unsigned long)pool->count];
    pthread_mutex_unlock(&pool->mutex);
    check_guess(pool, unit);
    pthread_mutex_lock(&pool->mutex);
    unit->done = 1;
}

static void *check_thread(void *context)
{
    check_pool *pool = (check_pool *)context;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->closing && pool->taken == pool->tail)
            pthread_cond_wait(&pool->asked, &pool->mutex);
        if (pool->closing)
            break;
        check_oldest(pool);
        pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* Ask for units as long as there is room for them. Called with the mutex held. */
static void check_plan(check_pool *pool)
{
    while (pool->planned < pool->limit && pool->tail - pool->head < (unsigned long)pool->count) {
        check_unit *unit = &pool->unit[pool->tail % (unsigned long)pool->count];
        unit->from = pool->planned;
        unit->until = pool->planned + CHECK_UNIT < pool->limit ? pool->planned + CHECK_UNIT
                                                                : pool->limit;
        unit->done = 0;
        pool->planned = unit->until;
        pool->tail++;
        pthread_cond_signal(&pool->asked);
    }
}

/* End the threads and free everything. */
static void check_stop(check_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->closing = 1;
    pthread_cond_broadcast(&pool->asked);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->asked);
    pthread_cond_destroy(&pool->done);
    for (int i = 0; i < pool->count; i++)
        free(pool->unit[i].data);
    free(pool);
}

/* Begin to check from `start` on, where the frame of number `next` is to stand, on so many threads
 * beside the caller's. NULL when there is no memory, or no thread could be started. */
static check_pool *check_begin(int fd, uint32_t seed, long long start, long long limit,
                               uint64_t next, int threads)
{
    check_pool *pool = (check_pool *)calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    threads = threads < CHECK_THREADS ? threads : CHECK_THREADS;
    pool->fd = fd, pool->seed = seed, pool->limit = limit, pool->planned = start;
    pool->low = next, pool->high = next + (uint64_t)limit;
    pool->count = 2 * threads + 2;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->asked, NULL);
    pthread_cond_init(&pool->done, NULL);
    check_plan(pool);
    while (pool->threads < threads &&
           !pthread_create(&pool->thread[pool->threads], NULL, check_thread, pool))
        pool->threads++;
    if (pool->threads)
        return pool;
    check_stop(pool);
    return NULL;
}

/* The oldest unit, once it is checked; NULL behind the last one. Who would have to wait for it
 * checks others meanwhile. */
static check_unit *check_take(check_pool *pool)
{
    check_unit *unit = NULL;
    pthread_mutex_lock(&pool->mutex);
    if (pool->head < pool->tail) {
        unit = &pool->unit[pool->head % (unsigned long)pool->count];
        while (!unit->done)
            if (pool->taken < pool->tail)
                check_oldest(pool);
            else
                pthread_cond_wait(&pool->done, &pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return unit;
}

/* Check the unit anew: its frames begin exactly at `at`, with the number `next`. */
static void check_again(check_pool *pool, check_unit *unit, long long at, uint64_t next)
{
    check_run(pool, unit, at, next, (size_t)pool->limit);
}

/* The unit that was taken is done with. */
static void check_give(check_pool *pool, check_unit *unit)
{
    if (unit->room > CHECK_MOST) {
        free(unit->data);
        unit->data = NULL, unit->room = 0;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->head++;
    check_plan(pool);
    pthread_mutex_unlock(&pool->mutex);
}

#endif
