/* Selection and stock of the compiled pool: everything a draw does before it is logged.
 *
 * All functions run with or without the interpreter lock; the pool keeps threads apart.
 * Searches are branchless: a branch on a random number is mispredicted half the time, and a
 * misprediction costs more than a comparison.
 */
#ifndef BENCH_REWARDS_LEDGER_H
#define BENCH_REWARDS_LEDGER_H

#include <stdint.h>
#include <string.h>
#include "numpy/random/bitgen.h"

#define NO_ITEM UINT32_MAX /* in place of an index */
#define ENDLESS UINT64_MAX /* stock without end counts down from here and never arrives */

typedef struct {
    bitgen_t *bits;
    uint64_t total;          /* weight of the items still in */
    uint32_t items;
    uint32_t size;           /* items rounded up to a power of two */
    int cumulative;          /* how sums is meant */
    uint64_t *sums;          /* cumulative: size running sums, padded with UINT64_MAX;
                                else a Fenwick tree of size + 1 nodes, node 0 unused */
    const uint64_t *weights; /* items */
    uint64_t *left;          /* items: stock */
} ledger_t;

/* Uniform below bound: the high word of word * bound, rejecting the few low words that would
 * favour some results (Lemire, ACM TOMACS 29, 2019). One word per attempt. */
static inline uint64_t ledger_below(bitgen_t *bits, uint64_t bound) {
    unsigned __int128 product = (unsigned __int128)bits->next_uint64(bits->state) * bound;
    if ((uint64_t)product < bound) {
        uint64_t rejected = -bound % bound;
        while ((uint64_t)product < rejected)
            product = (unsigned __int128)bits->next_uint64(bits->state) * bound;
    }
    return (uint64_t)(product >> 64);
}

/* The first item whose cumulative weight exceeds number. */
static inline uint32_t ledger_find(const ledger_t *ledger, uint64_t number) {
    const uint64_t *sums = ledger->sums;
    uint64_t position = 0;
    uint64_t step = ledger->size >> 1;
    if (ledger->cumulative) {
        for (; step; step >>= 1)
            position += step & -(uint64_t)(sums[position + step - 1] <= number);
    } else {
        for (; step; step >>= 1) {
            uint64_t sum = sums[position + step];
            uint64_t right = -(uint64_t)(sum <= number);
            position += step & right;
            number -= sum & right;
        }
    }
    return (uint32_t)position;
}

/* weight may be "negative" (two's complement): every sum wraps back into range. */
static inline void ledger_add(ledger_t *ledger, uint32_t index, uint64_t weight) {
    ledger->total += weight;
    if (ledger->cumulative) {
        for (uint32_t item = index; item < ledger->items; item++)
            ledger->sums[item] += weight;
    } else {
        for (uint64_t node = (uint64_t)index + 1; node <= ledger->size; node += node & -node)
            ledger->sums[node] += weight;
    }
}

static inline uint32_t ledger_pick(const ledger_t *ledger) {
    return ledger_find(ledger, ledger_below(ledger->bits, ledger->total));
}

static inline void ledger_take(ledger_t *ledger, uint32_t index) {
    if (--ledger->left[index] == 0)
        ledger_add(ledger, index, -ledger->weights[index]);
}

static inline void ledger_put_back(ledger_t *ledger, uint32_t index) {
    if (ledger->left[index]++ == 0)
        ledger_add(ledger, index, ledger->weights[index]);
}

/* Picks and takes until count or until nothing is left; how many. */
static inline uint32_t ledger_draw(ledger_t *ledger, uint32_t *drawn, uint32_t count) {
    uint32_t done = 0;
    while (done < count && ledger->total) {
        uint32_t index = ledger_pick(ledger);
        ledger_take(ledger, index);
        drawn[done++] = index;
    }
    return done;
}

static inline void ledger_undo(ledger_t *ledger, const uint32_t *drawn, uint32_t count) {
    for (uint32_t draw = 0; draw < count; draw++)
        ledger_put_back(ledger, drawn[draw]);
}

/* Take what a log says was drawn: count indices, four bytes each, aligned or not. 0, and nothing
 * taken, where an item does not exist or its stock does not suffice. */
static inline int ledger_redo(ledger_t *ledger, const uint8_t *drawn, size_t count) {
    for (size_t draw = 0; draw < count; draw++) {
        uint32_t index;
        memcpy(&index, drawn + 4 * draw, sizeof index);
        if (index >= ledger->items || !ledger->left[index]) {
            while (draw--) {
                memcpy(&index, drawn + 4 * draw, sizeof index);
                ledger_put_back(ledger, index);
            }
            return 0;
        }
        ledger_take(ledger, index);
    }
    return 1;
}

/* weights and left are filled in; sums holds size + 1 words. */
static inline void ledger_build(ledger_t *ledger) {
    memset(ledger->sums, 0, ((size_t)ledger->size + 1) * sizeof(uint64_t));
    if (ledger->cumulative)
        for (uint32_t item = ledger->items; item < ledger->size; item++)
            ledger->sums[item] = UINT64_MAX;
    ledger->total = 0;
    for (uint32_t item = 0; item < ledger->items; item++) {
        uint64_t weight = ledger->left[item] ? ledger->weights[item] : 0;
        ledger->total += weight;
        if (ledger->cumulative)
            ledger->sums[item] = ledger->total;
        else
            for (uint64_t node = (uint64_t)item + 1; node <= ledger->size; node += node & -node)
                ledger->sums[node] += weight;
    }
}

#endif
