/* CRC-32C over a buffer: `one` stream, where each step waits for the one before, or the log's own
 * three interleaved ones. */
#ifndef BENCH_LIMIT_CHECKSUM_H
#define BENCH_LIMIT_CHECKSUM_H

#include "crc32c.h"

#ifdef CRC32C_HARDWARE
CRC32C_TARGET static uint32_t limit_one_stream_hard(uint32_t raw, const char *from, size_t size) {
    for (; size >= 8; size -= 8, from += 8)
        raw = CRC32C_WORD_HARD(raw, crc32c_load64((const uint8_t *)from));
    for (; size; size--, from++) raw = crc32c_byte(raw, (uint8_t)*from);
    return raw;
}
#endif

static uint32_t limit_one_stream(uint32_t raw, const char *from, size_t size) {
#ifdef CRC32C_HARDWARE
    if (crc32c_has_hardware()) return limit_one_stream_hard(raw, from, size);
#endif
    for (; size >= 8; size -= 8, from += 8)
        raw = crc32c_word_soft(raw, crc32c_load64((const uint8_t *)from));
    for (; size; size--, from++) raw = crc32c_byte(raw, (uint8_t)*from);
    return raw;
}

static uint32_t limit_checksum(const char *from, size_t size, uint64_t count, int one) {
    uint32_t raw = 0;
    for (uint64_t i = 0; i < count; i++)
        raw = one ? limit_one_stream(raw, from, size) : crc32c_raw(raw, from, size);
    return ~raw;
}

#endif
