/* Frames of the binary format, written and read in memory. The picture is in format.py. */
#ifndef BENCH_FRAME_H
#define BENCH_FRAME_H

#include "crc32c.h"

#define FRAME_HEADER 24
#define FRAME_OVERHEAD 28
#define FRAME_BATCH 1
#define FRAME_FOOTER 255
#define FRAME_NOTHING_DURABLE 0xFFFFFFFFu

typedef struct {
    uint32_t seed; /* of the segment's salt, see format.salt_seed */
    uint8_t kind, flags;
    uint16_t count;
    uint32_t length; /* of the payload */
    uint64_t sequence;
    uint32_t lag;
} frame_fields;

static inline size_t frame_size(size_t payload)
{
    return (FRAME_OVERHEAD + payload + 7) & ~(size_t)7;
}

static inline uint32_t frame_lag(uint64_t sequence, uint64_t durable)
{
    uint64_t lag = sequence - 1 - durable;
    return lag < FRAME_NOTHING_DURABLE ? (uint32_t)lag : FRAME_NOTHING_DURABLE;
}

static inline void frame_unpack(frame_fields *f, uint64_t first)
{
    f->kind = (uint8_t)first;
    f->flags = (uint8_t)(first >> 8);
    f->count = (uint16_t)(first >> 16);
    f->length = (uint32_t)(first >> 32);
}

static inline int frame_sound(const frame_fields *f)
{
    return !(f->flags & ~FRAME_BATCH) && f->count && (f->count == 1 || f->flags);
}

/* Whether the lengths at the start of a batch are those of the payload. */
static inline int frame_adds_up(const uint8_t *payload, const frame_fields *f)
{
    uint32_t size;
    uint64_t total = 4 * (uint64_t)f->count;
    if (!f->flags)
        return 1;
    if (total > f->length)
        return 0;
    for (uint32_t i = 0; i < f->count; i++) {
        memcpy(&size, payload + 4 * i, 4);
        total += size;
    }
    return total == f->length;
}

/* Two instances: the checksum instructions must be inlined, and only a function compiled for them
 * may inline them.
 *   frame_head  writes the 24 header bytes, returns the raw value the payload's checksum starts at
 *   frame_put   writes a whole frame whose payload is `head` followed by `data`; returns its crc
 *   frame_read  finds the frame with that sequence at `from`, where `held` bytes are at hand: its size;
 *               0 when it is not there or not whole; more than `held` when that many are needed
 *   frame_take  checks the payload of a frame that is no batch, and copies what follows its `head` */
#define FRAME_DEFINE(name, ATTRIBUTE, WORD, HALF)                                                  \
    ATTRIBUTE static inline uint32_t frame_head_##name(uint8_t *to, const frame_fields *f)         \
    {                                                                                              \
        uint64_t first = (uint64_t)f->kind | (uint64_t)f->flags << 8 | (uint64_t)f->count << 16 |  \
                         (uint64_t)f->length << 32;                                                \
        uint32_t crc = ~HALF(WORD(WORD(~f->seed, first), f->sequence), f->lag);                    \
        uint64_t last = (uint64_t)f->lag | (uint64_t)crc << 32;                                    \
        memcpy(to, &first, 8);                                                                     \
        memcpy(to + 8, &f->sequence, 8);                                                           \
        memcpy(to + 16, &last, 8);                                                                 \
        return WORD(~f->seed, f->sequence);                                                        \
    }                                                                                              \
    ATTRIBUTE static uint32_t frame_put_##name(                                                    \
        uint8_t *to, const frame_fields *f, const void *head, size_t head_length,                  \
        const void *data, size_t data_length)                                                      \
    {                                                                                              \
        static const uint64_t zero = 0;                                                            \
        memcpy(to + frame_size(f->length) - 8, &zero, 8); /* the padding, before what it may hold */ \
        uint32_t raw = frame_head_##name(to, f);                                                   \
        to += FRAME_HEADER;                                                                        \
        if (head_length)                                                                           \
            raw = crc32c_copy_##name(raw, to, head, head_length);                                  \
        raw = crc32c_copy_##name(raw, to + head_length, data, data_length);                        \
        raw = ~raw;                                                                                \
        memcpy(to + f->length, &raw, 4);                                                           \
        return raw;                                                                                \
    }                                                                                              \
    ATTRIBUTE static size_t frame_read_##name(                                                     \
        const uint8_t *from, size_t held, uint32_t seed, uint64_t sequence, frame_fields *f,       \
        uint32_t *crc)                                                                             \
    {                                                                                              \
        uint64_t first;                                                                            \
        uint32_t stored, raw;                                                                      \
        if (held < FRAME_HEADER)                                                                   \
            return FRAME_HEADER;                                                                   \
        memcpy(&first, from, 8);                                                                   \
        memcpy(&f->sequence, from + 8, 8);                                                         \
        memcpy(&f->lag, from + 16, 4);                                                             \
        memcpy(&stored, from + 20, 4);                                                             \
        raw = HALF(WORD(WORD(~seed, first), f->sequence), f->lag);                                 \
        f->seed = seed;                                                                            \
        frame_unpack(f, first);                                                                    \
        if (f->kind == 0 || ~raw != stored || f->sequence != sequence || !frame_sound(f))          \
            return 0;                                                                              \
        if (held < frame_size(f->length))                                                          \
            return frame_size(f->length);                                                          \
        from += FRAME_HEADER;                                                                      \
        memcpy(crc, from + f->length, 4);                                                          \
        raw = crc32c_raw_##name(WORD(~seed, sequence), from, f->length);                           \
        return ~raw == *crc && frame_adds_up(from, f) ? frame_size(f->length) : 0;                 \
    }                                                                                              \
    ATTRIBUTE static int frame_take_##name(                                                        \
        const uint8_t *payload, const frame_fields *f, size_t head, uint8_t *to, uint32_t *crc)    \
    {                                                                                              \
        uint32_t raw = crc32c_raw_##name(WORD(~f->seed, f->sequence), payload, head);              \
        raw = crc32c_copy_##name(raw, to, payload + head, f->length - head);                       \
        memcpy(crc, payload + f->length, 4);                                                       \
        return ~raw == *crc;                                                                       \
    }

typedef uint32_t (*frame_head_fn)(uint8_t *, const frame_fields *);
typedef uint32_t (*frame_put_fn)(
    uint8_t *, const frame_fields *, const void *, size_t, const void *, size_t);
typedef size_t (*frame_read_fn)(
    const uint8_t *, size_t, uint32_t, uint64_t, frame_fields *, uint32_t *);
typedef int (*frame_take_fn)(
    const uint8_t *, const frame_fields *, size_t, uint8_t *, uint32_t *);

FRAME_DEFINE(soft, , crc32c_word_soft, crc32c_half_soft)
#ifdef CRC32C_HARDWARE
FRAME_DEFINE(hard, CRC32C_TARGET, CRC32C_WORD_HARD, CRC32C_HALF_HARD)
#endif

static frame_head_fn frame_head = frame_head_soft;
static frame_put_fn frame_put = frame_put_soft;
static frame_read_fn frame_read = frame_read_soft;
static frame_take_fn frame_take = frame_take_soft;

static inline void frame_setup(int allow_hardware)
{
    crc32c_setup(allow_hardware);
    frame_head = frame_head_soft;
    frame_put = frame_put_soft;
    frame_read = frame_read_soft;
    frame_take = frame_take_soft;
#ifdef CRC32C_HARDWARE
    if (allow_hardware && crc32c_has_hardware()) {
        frame_head = frame_head_hard;
        frame_put = frame_put_hard;
        frame_read = frame_read_hard;
        frame_take = frame_take_hard;
    }
#endif
}

/* memcpy for the few bytes of a batched record: two overlapping words instead of a call. */
static inline uint8_t *frame_copy(uint8_t *to, const void *source, size_t length)
{
    const uint8_t *from = (const uint8_t *)source;
    uint64_t first, last;
    if (length >= 8 && length <= 16) {
        memcpy(&first, from, 8);
        memcpy(&last, from + length - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + length - 8, &last, 8);
    } else {
        memcpy(to, from, length);
    }
    return to + length;
}

/* Finish a frame whose payload was copied to to+24 by other means (a batch). */
static inline uint32_t frame_seal(uint8_t *to, const frame_fields *f)
{
    uint32_t raw = frame_head(to, f);
    uint32_t crc = ~crc32c_raw(raw, to + FRAME_HEADER, f->length);
    size_t used = FRAME_OVERHEAD + f->length;
    memset(to + used, 0, frame_size(f->length) - used);
    memcpy(to + FRAME_HEADER + f->length, &crc, 4);
    return crc;
}

#endif
