/* The machine's own limits, as plain C loops: what any engine on this machine has to pay.
 *
 * Each function does `count` operations and returns 0, or the errno of the first system call
 * that failed. They hold no interpreter lock and allocate nothing; the runner times the call.
 */
#ifndef BENCH_LIMIT_LOOPS_H
#define BENCH_LIMIT_LOOPS_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

/* Copy `size` bytes to the next place in a ring, wrapping; what a cache write cannot beat. */
static int limit_memcpy(char *ring, size_t ring_size, const char *source, size_t size,
                        uint64_t count, uint64_t *position) {
    size_t at = (size_t)*position;
    for (uint64_t i = 0; i < count; i++) {
        if (at + size > ring_size) at = 0;
        memcpy(ring + at, source, size);
        /* the copy must happen although nobody reads it */
        __asm__ volatile("" : : "r"(ring + at) : "memory");
        at += size;
    }
    *position = at;
    return 0;
}

/* The same in the other direction: from the next place of a ring to one buffer. */
static int limit_memcpy_out(const char *ring, size_t ring_size, char *target, size_t size,
                            uint64_t count, uint64_t *position) {
    size_t at = (size_t)*position;
    for (uint64_t i = 0; i < count; i++) {
        if (at + size > ring_size) at = 0;
        memcpy(target, ring + at, size);
        __asm__ volatile("" : : "r"(target) : "memory");
        at += size;
    }
    *position = at;
    return 0;
}

/* One thread's copies between a buffer and a ring of its own. */
struct limit_copier {
    char *ring, *buffer;
    size_t ring_size, size;
    uint64_t count, position;
    int out;
    pthread_t thread;
};

static void *limit_copy(void *argument) {
    struct limit_copier *c = (struct limit_copier *)argument;
    if (c->out) limit_memcpy_out(c->ring, c->ring_size, c->buffer, c->size, c->count, &c->position);
    else limit_memcpy(c->ring, c->ring_size, c->buffer, c->size, c->count, &c->position);
    return NULL;
}

/* All at once, one of them on the calling thread; returns when every one is done. */
static int limit_copy_together(struct limit_copier *each, size_t threads) {
    size_t started = 1;
    int error = 0;
    while (started < threads && !error) {
        struct limit_copier *c = &each[started];
        error = pthread_create(&c->thread, NULL, limit_copy, c);
        started += !error;
    }
    if (!error) limit_copy(each);
    while (started-- > 1) pthread_join(each[started].thread, NULL);
    return error;
}

/* Fill `length` bytes of never touched memory, one source-sized copy after the other. */
static int limit_fill(char *fresh, size_t length, const char *source, size_t size) {
    for (size_t at = 0; at + size <= length; at += size) {
        memcpy(fresh + at, source, size);
        __asm__ volatile("" : : "r"(fresh + at) : "memory");
    }
    return 0;
}

/* Append `size` bytes to a file, one write(2) each. */
static int limit_write(int fd, const char *source, size_t size, uint64_t count) {
    for (uint64_t i = 0; i < count; i++)
        if (write(fd, source, size) != (ssize_t)size) return errno ? errno : EIO;
    return 0;
}

/* Append `size` bytes and make them durable, each time. */
static int limit_fdatasync(int fd, const char *source, size_t size, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        if (pwrite(fd, source, size, (off_t)(i * size)) != (ssize_t)size) return errno ? errno : EIO;
        if (fdatasync(fd)) return errno;
    }
    return 0;
}

/* Store `size` bytes into the next page of a shared mapping and msync(MS_SYNC) that page. */
static int limit_msync(char *map, size_t length, const char *source, size_t size, uint64_t count) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), span = (size + page - 1) / page * page, at = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (at + span > length) at = 0;
        memcpy(map + at, source, size);
        map[at] ^= (char)i; /* dirty it even if the bytes are the same */
        if (msync(map + at, span, MS_SYNC)) return errno;
        at += span;
    }
    return 0;
}

/* Two threads wake each other in turn through semaphores; one operation is one wake-up. */
struct limit_pair {
    sem_t ping, pong;
    uint64_t rounds;
};

static void *limit_answer(void *argument) {
    struct limit_pair *pair = (struct limit_pair *)argument;
    for (uint64_t i = 0; i < pair->rounds; i++) {
        while (sem_wait(&pair->ping) && errno == EINTR) continue;
        sem_post(&pair->pong);
    }
    return NULL;
}

static int limit_handoff(uint64_t rounds) {
    struct limit_pair pair = {.rounds = rounds};
    pthread_t thread;
    if (sem_init(&pair.ping, 0, 0) || sem_init(&pair.pong, 0, 0)) return errno;
    int error = pthread_create(&thread, NULL, limit_answer, &pair);
    if (!error) {
        for (uint64_t i = 0; i < rounds; i++) {
            sem_post(&pair.ping);
            while (sem_wait(&pair.pong) && errno == EINTR) continue;
        }
        pthread_join(thread, NULL);
    }
    sem_destroy(&pair.ping);
    sem_destroy(&pair.pong);
    return error;
}

#endif
