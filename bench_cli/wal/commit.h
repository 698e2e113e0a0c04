/* Group commit without the interpreter lock: who waits for a record to be durable, and who syncs.
 *
 * Appends hold the interpreter lock and tell of what they wrote (commit_written). Whoever waits
 * (commit_wait) does so without it, the leader's sync included, and the next leader is woken and
 * begins without it too: only then do syncs and the bytecode of those already answered overlap.
 * The mutex is held for moments, never while asking for the interpreter lock or waiting for the
 * device. Rounds are the syncs, numbered; each of two futex words gathers those who will be
 * answered by one round, so that a sync wakes its own and nobody else.
 */
#ifndef BENCH_COMMIT_H
#define BENCH_COMMIT_H

#include "files.h"
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

enum { COMMIT_NEVER, COMMIT_ASYNC, COMMIT_RECORDS, COMMIT_BYTES, COMMIT_TIME, COMMIT_RECORD, COMMIT_GROUP };

enum {
    COMMIT_DONE = 0,
    COMMIT_FAILED,      /* the sync it waited for, or a write meanwhile */
    COMMIT_POISONED,    /* before it came */
    COMMIT_CLOSED,
    COMMIT_RAISED,      /* the leader: an injected file system raised no OSError */
    COMMIT_INTERRUPTED, /* a signal: the interpreter may want to raise */
};

enum { COMMIT_OPEN, COMMIT_CLOSING, COMMIT_SHUT };

#define COMMIT_NONE INT64_MIN /* no time */

/* What a leader changes and appends look at: the one has the mutex, the others the interpreter lock.
 * Neither order matters nor how old the value is, but it must be whole. */
#define COMMIT_SET(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELAXED)

static inline uint64_t commit_seen(const uint64_t *place)
{
    return __atomic_load_n(place, __ATOMIC_RELAXED);
}

static inline int64_t commit_time_seen(const int64_t *place)
{
    return __atomic_load_n(place, __ATOMIC_RELAXED);
}

static inline int commit_error_seen(const int *place)
{
    return __atomic_load_n(place, __ATOMIC_RELAXED);
}

typedef struct commit commit;
struct commit {
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* for all waits but those for a round */
    uint32_t rounds[2];     /* futex words, by the parity of the round */
    uint64_t round;         /* syncs begun */
    uint64_t last, end;     /* written: sequence number, and where it ends */
    uint64_t durable, covers; /* covers: what the running sync reaches, 0: none runs */
    uint64_t bytes, synced_bytes;
    int64_t since, in_sync; /* when the first record came that no sync, or this one, is for; ns */
    uint32_t forming, group; /* who wait for the next sync; those of the last */
    int leading, syncing, changing, alone, closed, halted, failed; /* failed: errno */
    /* the policy */
    int kind, driven;
    uint64_t number, max_batch;
    int64_t max_wait;
    /* what it did */
    uint64_t groups, grouped, largest;
    int64_t oldest;
    uint64_t sizes[64];
    /* the log */
    void *context;
    wal_files *files;
    uint64_t *log_synced, *log_durable, *log_syncs, ignored;
    int *retired;                  /* segments before the current one wait for a sync */
    long (*sync_retired)(void *);  /* 0, -errno or FILES_RAISED; takes the interpreter lock */
    long (*raised)(void *);        /* what FILES_RAISED stands for: -errno, or FILES_RAISED */
    int64_t (*now)(void *);
};

static int64_t commit_clock(void *context)
{
    struct timespec now;
    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void commit_locks(commit *c)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static void commit_wake(commit *c, uint64_t round, int most)
{
    syscall(SYS_futex, &c->rounds[round & 1], FUTEX_WAKE_PRIVATE, most, NULL, NULL, 0);
}

/* With the mutex: whatever anybody waits for, look again. */
static void commit_all(commit *c)
{
    for (uint64_t round = 0; round < 2; round++) {
        __atomic_add_fetch(&c->rounds[round], 1, __ATOMIC_RELEASE);
        commit_wake(c, round, INT_MAX);
    }
    pthread_cond_broadcast(&c->changed);
}

static void commit_until(commit *c, int64_t due)
{
    struct timespec at = {due / 1000000000LL, due % 1000000000LL};
    pthread_cond_timedwait(&c->changed, &c->mutex, &at);
}

/* --- appends, with the interpreter lock ------------------------------------------------------ */

/* All up to `last` is in the file. False where the time is needed and is not given. */
static int commit_written(commit *c, uint64_t last, uint64_t end, uint64_t bytes, int64_t now)
{
    pthread_mutex_lock(&c->mutex);
    int first = last > c->last && c->since == COMMIT_NONE;
    if (first && now == COMMIT_NONE) {
        pthread_mutex_unlock(&c->mutex);
        return 0;
    }
    c->last = last;
    c->end = end;
    c->bytes = bytes;
    if (first)
        COMMIT_SET(c->since, now);
    if ((first && (c->kind == COMMIT_ASYNC || c->kind == COMMIT_TIME)) ||
        (c->leading && c->max_batch && last - c->durable >= c->max_batch))
        pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    return 1;
}

static int commit_must_sync(const commit *c)
{
    switch (c->kind) {
    case COMMIT_RECORD:
        return 1;
    case COMMIT_RECORDS:
        return c->last - commit_seen(&c->durable) >= c->number;
    case COMMIT_BYTES:
        return c->bytes - commit_seen(&c->synced_bytes) >= c->number;
    }
    return 0;
}

static void commit_fail(commit *c, int number)
{
    pthread_mutex_lock(&c->mutex);
    if (!c->failed)
        COMMIT_SET(c->failed, number);
    commit_all(c);
    pthread_mutex_unlock(&c->mutex);
}

/* --- the sync, without the interpreter lock, with the mutex ----------------------------------- */

static int commit_gathered(const commit *c)
{
    return c->forming >= c->group || (c->max_batch && c->last - c->durable >= c->max_batch) ||
           c->closed || c->failed;
}

static void commit_gather(commit *c)
{
    if (!c->max_wait || c->driven)
        return;
    int64_t now = commit_clock(NULL), due = now + c->max_wait;
    while (!commit_gathered(c) && now < due) {
        commit_until(c, due);
        now = commit_clock(NULL);
    }
}

static void commit_made_durable(commit *c, uint64_t reach, int64_t now)
{
    uint64_t records = reach - c->durable;
    __atomic_store_n(&c->durable, reach, __ATOMIC_RELEASE);
    if (c->in_sync != COMMIT_NONE && now - c->in_sync > c->oldest)
        c->oldest = now - c->in_sync;
    c->in_sync = COMMIT_NONE;
    if (records) {
        c->groups++;
        c->grouped += records;
        c->largest = records > c->largest ? records : c->largest;
        c->sizes[63 - __builtin_clzll(records)]++;
    }
}

static long commit_device(commit *c, uint64_t end)
{
    long result = *c->retired ? c->sync_retired(c->context) : 0;
    if (result == 0 && c->files->sync)
        result = c->files->sync(c->files, *c->log_synced, end - *c->log_synced);
    return result == FILES_RAISED ? c->raised(c->context) : result;
}

/* Sync once, for all that is written before it begins; COMMIT_DONE, or COMMIT_RAISED. */
static int commit_sync(commit *c)
{
    uint64_t reach = c->last, end = c->end, bytes = c->bytes, round = c->round++;
    c->covers = reach;
    c->in_sync = c->since;
    COMMIT_SET(c->since, COMMIT_NONE);
    c->group = c->forming, c->forming = 0;
    c->syncing = 1;
    pthread_mutex_unlock(&c->mutex);
    long result = commit_device(c, end);
    int64_t now = result < 0 ? 0 : c->now(c->context);
    pthread_mutex_lock(&c->mutex);
    if (result >= 0) {
        COMMIT_SET(*c->log_synced, end);
        COMMIT_SET(*c->log_durable, reach);
        COMMIT_SET(*c->log_syncs, *c->log_syncs + 1);
        COMMIT_SET(c->synced_bytes, bytes);
        commit_made_durable(c, reach, now);
    } else if (c->in_sync != COMMIT_NONE) { /* not durable, and older than what came since */
        COMMIT_SET(c->since, c->in_sync);
        c->in_sync = COMMIT_NONE;
    }
    c->syncing = 0;
    c->covers = 0;
    c->leading = 0;
    if (result < 0) {
        if (result != FILES_RAISED && !c->failed)
            COMMIT_SET(c->failed, (int)-result);
        commit_all(c);
        return result == FILES_RAISED ? COMMIT_RAISED : COMMIT_DONE;
    }
    __atomic_add_fetch(&c->rounds[0], 1, __ATOMIC_RELEASE);
    __atomic_add_fetch(&c->rounds[1], 1, __ATOMIC_RELEASE); /* also for who is about to wait */
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    commit_wake(c, round + 1, 1); /* the next leader first: its sync needs no interpreter lock */
    commit_wake(c, round, INT_MAX);
    pthread_mutex_lock(&c->mutex);
    return COMMIT_DONE;
}

static int commit_lead(commit *c)
{
    c->leading = 1;
    commit_gather(c);
    while (c->changing)
        pthread_cond_wait(&c->changed, &c->mutex);
    if (!c->failed && !c->closed)
        return commit_sync(c);
    c->leading = 0;
    commit_all(c);
    return COMMIT_DONE;
}

/* Wait for a sync, or to be the one who leads; gives the mutex up. COMMIT_INTERRUPTED if a
 * signal came, else COMMIT_DONE. */
static int commit_follow(commit *c, uint64_t ticket)
{
    uint64_t round = ticket <= c->covers ? c->round - 1 : c->round;
    uint32_t *word = &c->rounds[round & 1], seen = *word;
    pthread_mutex_unlock(&c->mutex);
    long result = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    return result < 0 && errno == EINTR ? COMMIT_INTERRUPTED : COMMIT_DONE;
}

/* --- waiting, without the interpreter lock ----------------------------------------------------- */

static int commit_refused(const commit *c, int waited)
{
    if (c->failed)
        return waited ? COMMIT_FAILED : COMMIT_POISONED;
    if (c->closed == COMMIT_SHUT || (c->closed && !waited)) /* a close that goes on may sync it */
        return COMMIT_CLOSED;
    return COMMIT_DONE;
}

/* `waited`: whether the caller counts as one who waits already. */
static int commit_wait(commit *c, uint64_t ticket, int waited)
{
    int interrupted = 0, result = COMMIT_DONE;
    uint64_t joined = UINT64_MAX;
    pthread_mutex_lock(&c->mutex);
    while (c->durable < ticket && result == COMMIT_DONE) {
        if ((result = commit_refused(c, waited)) || (result = interrupted))
            break;
        waited = 1;
        if (ticket > c->covers && joined != c->round) {
            joined = c->round;
            c->forming++;
            if (c->leading && c->max_wait && commit_gathered(c))
                pthread_cond_broadcast(&c->changed);
        }
        if (!c->leading && !c->changing && !c->closed) {
            result = commit_lead(c);
            continue;
        }
        interrupted = commit_follow(c, ticket);
        if (__atomic_load_n(&c->durable, __ATOMIC_ACQUIRE) >= ticket)
            return COMMIT_DONE; /* without the mutex, which all of a group would want at once */
        pthread_mutex_lock(&c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
    return result;
}

/* One that waited gives up: if it was woken to lead, somebody else must. */
static void commit_leave(commit *c)
{
    pthread_mutex_lock(&c->mutex);
    commit_all(c);
    pthread_mutex_unlock(&c->mutex);
}

/* Until the log is closed or fails, sync when it is due; COMMIT_DONE, or COMMIT_RAISED. */
static int commit_serve(commit *c)
{
    int result = COMMIT_DONE;
    pthread_mutex_lock(&c->mutex);
    while (!c->closed && !c->halted && !c->failed && result != COMMIT_RAISED) {
        int64_t due = c->kind == COMMIT_TIME ? c->since + (int64_t)c->number : 0;
        uint64_t last = c->last;
        if (c->since == COMMIT_NONE) {
            pthread_cond_wait(&c->changed, &c->mutex);
        } else if (due > commit_clock(NULL)) {
            commit_until(c, due);
        } else {
            pthread_mutex_unlock(&c->mutex);
            result = commit_wait(c, last, 0);
            pthread_mutex_lock(&c->mutex);
        }
    }
    pthread_mutex_unlock(&c->mutex);
    return result == COMMIT_RAISED ? COMMIT_RAISED : COMMIT_DONE;
}

/* --- alone with the log, without the interpreter lock ------------------------------------------ */

/* Returns once no sync runs, and lets none begin. */
static void commit_pause(commit *c)
{
    pthread_mutex_lock(&c->mutex);
    while (c->syncing || c->changing)
        pthread_cond_wait(&c->changed, &c->mutex);
    c->changing = 1;
    pthread_mutex_unlock(&c->mutex);
}

/* `end`: where the last record ends now. */
static void commit_resume(commit *c, uint64_t end)
{
    pthread_mutex_lock(&c->mutex);
    c->changing = 0;
    c->end = end;
    commit_all(c);
    pthread_mutex_unlock(&c->mutex);
}

/* One record is appended and synced; the next one waits. Whether the log can be used. */
static int commit_begin_alone(commit *c)
{
    pthread_mutex_lock(&c->mutex);
    while ((c->alone || c->leading) && !c->closed && !c->failed)
        pthread_cond_wait(&c->changed, &c->mutex);
    int usable = !c->closed && !c->failed;
    if (usable)
        c->alone = 1;
    pthread_mutex_unlock(&c->mutex);
    return usable;
}

static void commit_end_alone(commit *c)
{
    pthread_mutex_lock(&c->mutex);
    c->alone = 0;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

/* From here on nothing is appended. Whether this is the first to close it. */
static int commit_close(commit *c)
{
    pthread_mutex_lock(&c->mutex);
    int first = c->closed == COMMIT_OPEN;
    if (first)
        c->closed = COMMIT_CLOSING;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    return first;
}

/* `synced`: the close made all of it durable. */
static void commit_shut(commit *c, int synced, int64_t now)
{
    pthread_mutex_lock(&c->mutex);
    c->closed = COMMIT_SHUT;
    if (synced && !c->failed) {
        c->in_sync = c->since, c->since = COMMIT_NONE;
        commit_made_durable(c, c->last, now);
    }
    pthread_mutex_unlock(&c->mutex);
}

static void commit_await_shut(commit *c)
{
    pthread_mutex_lock(&c->mutex);
    while (c->closed == COMMIT_CLOSING)
        pthread_cond_wait(&c->changed, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

/* The log was emptied: what it held is safe elsewhere. */
static void commit_emptied(commit *c, uint64_t bytes)
{
    pthread_mutex_lock(&c->mutex);
    __atomic_store_n(&c->durable, c->last, __ATOMIC_RELEASE);
    c->since = COMMIT_NONE;
    c->bytes = c->synced_bytes = bytes;
    pthread_mutex_unlock(&c->mutex);
}

static void commit_halt(commit *c)
{
    pthread_mutex_lock(&c->mutex);
    c->halted = 1;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

/* In a forked process, where its threads are gone and its locks may be held. */
static void commit_forget(commit *c)
{
    commit_locks(c);
    c->leading = c->syncing = c->changing = c->alone = 0;
    c->closed = COMMIT_SHUT;
}

/* A consistent copy, to be read only. */
static commit commit_look(commit *c)
{
    pthread_mutex_lock(&c->mutex);
    commit copy = *c;
    pthread_mutex_unlock(&c->mutex);
    return copy;
}

#endif
