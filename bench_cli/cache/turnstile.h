/* Waiting for a file that another thread works on without the interpreter lock.
 *
 * Whoever holds the interpreter lock may read and change `epoch`; the mutex is held only while
 * waiting or waking, never while asking for the interpreter lock, so no two locks are ever waited
 * for in a circle. */
#ifndef BENCH_CACHE_TURNSTILE_H
#define BENCH_CACHE_TURNSTILE_H

#include <pthread.h>
#include <stdint.h>

typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t turned;
    uint64_t epoch;
} turnstile;

static void turnstile_start(turnstile *t) {
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->turned, NULL);
    t->epoch = 0;
}

static void turnstile_end(turnstile *t) {
    pthread_cond_destroy(&t->turned);
    pthread_mutex_destroy(&t->mutex);
}

/* Without the interpreter lock: return once `epoch` is over. */
static void turnstile_wait(turnstile *t, uint64_t epoch) {
    pthread_mutex_lock(&t->mutex);
    while (t->epoch == epoch) pthread_cond_wait(&t->turned, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
}

static void turnstile_turn(turnstile *t) {
    pthread_mutex_lock(&t->mutex);
    t->epoch++;
    pthread_cond_broadcast(&t->turned);
    pthread_mutex_unlock(&t->mutex);
}

#endif
