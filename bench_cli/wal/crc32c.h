/* CRC-32C (Castagnoli), alone or while copying: in hardware where the processor can (chosen at run
 * time), from tables where it cannot.
 *
 * The instruction takes 3 cycles and one can start every cycle, so long inputs are cut into three
 * streams that run side by side; their values are joined by advancing one over the length of the
 * next (a linear map, tabulated byte by byte). Copying a few hundred bytes costs next to nothing
 * extra: the word is in a register anyway. Longer runs are checksummed and then copied page by page,
 * while they are in the first-level cache: memcpy streams to memory about twice as fast as stores
 * from three places do.
 *
 * "raw" values are the register, without the inversions at begin and end. Call crc32c_setup() once
 * per module that includes this file.
 */
#ifndef BENCH_CRC32C_H
#define BENCH_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the compiled twin needs a little-endian machine; the Python twin runs anywhere"
#endif

#define CRC32C_POLYNOMIAL 0x82F63B78u /* bit-reversed 0x1EDC6F41 */
#define CRC32C_LONG 1344              /* bytes per stream: 3 fill most of a 4 KiB page */
#define CRC32C_SHORT 168              /* 3 fill most of a 512-byte sector */

typedef uint32_t (*crc32c_copy_fn)(uint32_t raw, void *to, const void *from, size_t length);
typedef uint32_t (*crc32c_fn)(uint32_t raw, const void *from, size_t length);

static uint32_t crc32c_slices[8][256]; /* [k][b]: byte b followed by k zero bytes */
static uint32_t crc32c_skip_long[4][256];
static uint32_t crc32c_skip_short[4][256];

static inline uint64_t crc32c_load64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static inline uint32_t crc32c_byte(uint32_t raw, uint8_t byte)
{
    return (raw >> 8) ^ crc32c_slices[0][(raw ^ byte) & 0xFF];
}

static inline uint32_t crc32c_word_soft(uint32_t raw, uint64_t word)
{
    word ^= raw;
    return crc32c_slices[7][word & 0xFF] ^ crc32c_slices[6][(word >> 8) & 0xFF] ^
           crc32c_slices[5][(word >> 16) & 0xFF] ^ crc32c_slices[4][(word >> 24) & 0xFF] ^
           crc32c_slices[3][(word >> 32) & 0xFF] ^ crc32c_slices[2][(word >> 40) & 0xFF] ^
           crc32c_slices[1][(word >> 48) & 0xFF] ^ crc32c_slices[0][word >> 56];
}

static inline uint32_t crc32c_half_soft(uint32_t raw, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        raw = crc32c_byte(raw, (uint8_t)(word >> (8 * i)));
    return raw;
}

static inline uint32_t crc32c_skip(uint32_t table[4][256], uint32_t raw)
{
    return table[0][raw & 0xFF] ^ table[1][(raw >> 8) & 0xFF] ^ table[2][(raw >> 16) & 0xFF] ^
           table[3][raw >> 24];
}

/* Three streams of `each` bytes, with an optional store of each word. */
#define CRC32C_THREE(each, table, WORD, STORE, AFTER)                                              \
    while (length >= 3 * (each)) {                                                                 \
        uint32_t second = 0, third = 0;                                                            \
        for (size_t i = 0; i < (each); i += 8) {                                                   \
            uint64_t a = crc32c_load64(from + i), b = crc32c_load64(from + (each) + i),            \
                     c = crc32c_load64(from + 2 * (each) + i);                                     \
            raw = WORD(raw, a);                                                                    \
            second = WORD(second, b);                                                              \
            third = WORD(third, c);                                                                \
            STORE(i, a);                                                                           \
            STORE((each) + i, b);                                                                  \
            STORE(2 * (each) + i, c);                                                              \
        }                                                                                          \
        raw = crc32c_skip(table, raw) ^ second;                                                    \
        raw = crc32c_skip(table, raw) ^ third;                                                     \
        AFTER(3 * (each));                                                                         \
        from += 3 * (each);                                                                        \
        to += 3 * (each);                                                                          \
        length -= 3 * (each);                                                                      \
    }

#define CRC32C_STORE(at, word) memcpy(to + (at), &(word), 8)
#define CRC32C_DROP(at, word) (void)0

#define CRC32C_BODY(WORD, HALF, COPY, STORE, STORE4, STORE1)                                       \
    CRC32C_THREE(CRC32C_LONG, crc32c_skip_long, WORD, CRC32C_DROP, COPY)                           \
    CRC32C_THREE(CRC32C_SHORT, crc32c_skip_short, WORD, STORE, CRC32C_DROP1)                       \
    for (; length >= 8; length -= 8, from += 8, to += 8) {                                         \
        uint64_t a = crc32c_load64(from);                                                          \
        raw = WORD(raw, a);                                                                        \
        STORE(0, a);                                                                               \
    }                                                                                              \
    if (length >= 4) {                                                                             \
        uint32_t a;                                                                                \
        memcpy(&a, from, 4);                                                                       \
        raw = HALF(raw, a);                                                                        \
        STORE4(a);                                                                                 \
        length -= 4, from += 4, to += 4;                                                           \
    }                                                                                              \
    for (; length; length--, from++, to++) {                                                       \
        uint8_t a = *from;                                                                         \
        raw = crc32c_byte(raw, a);                                                                 \
        STORE1(a);                                                                                 \
    }                                                                                              \
    return raw;

#define CRC32C_COPY(bytes) memcpy(to, from, (bytes))
#define CRC32C_STORE4(word) memcpy(to, &(word), 4)
#define CRC32C_STORE1(byte) (*to = (byte))
#define CRC32C_DROP1(x) (void)0

#define CRC32C_DEFINE(name, ATTRIBUTE, WORD, HALF)                                                 \
    ATTRIBUTE static inline uint32_t crc32c_copy_##name(                                           \
        uint32_t raw, void *target, const void *source, size_t length)                             \
    {                                                                                              \
        const uint8_t *from = (const uint8_t *)source;                                             \
        uint8_t *to = (uint8_t *)target;                                                           \
        CRC32C_BODY(WORD, HALF, CRC32C_COPY, CRC32C_STORE, CRC32C_STORE4, CRC32C_STORE1)                        \
    }                                                                                              \
    ATTRIBUTE static inline uint32_t crc32c_raw_##name(                                            \
        uint32_t raw, const void *source, size_t length)                                           \
    {                                                                                              \
        const uint8_t *from = (const uint8_t *)source;                                             \
        size_t to = 0;                                                                             \
        CRC32C_BODY(WORD, HALF, CRC32C_DROP1, CRC32C_DROP, CRC32C_DROP1, CRC32C_DROP1)                           \
    }

CRC32C_DEFINE(soft, , crc32c_word_soft, crc32c_half_soft)

#if defined(__x86_64__)
#include <nmmintrin.h>
#define CRC32C_HARDWARE 1
#define CRC32C_TARGET __attribute__((target("sse4.2")))
#define CRC32C_WORD_HARD(raw, word) ((uint32_t)_mm_crc32_u64((raw), (word)))
#define CRC32C_HALF_HARD(raw, word) _mm_crc32_u32((raw), (word))
static inline int crc32c_has_hardware(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <sys/auxv.h>
#define CRC32C_HARDWARE 1
#define CRC32C_TARGET __attribute__((target("+crc")))
#define CRC32C_WORD_HARD(raw, word) __crc32cd((raw), (word))
#define CRC32C_HALF_HARD(raw, word) __crc32cw((raw), (word))
static inline int crc32c_has_hardware(void) { return (getauxval(AT_HWCAP) >> 7) & 1; }
#endif

#ifdef CRC32C_HARDWARE
CRC32C_DEFINE(hard, CRC32C_TARGET, CRC32C_WORD_HARD, CRC32C_HALF_HARD)
#endif

static crc32c_copy_fn crc32c_copy = crc32c_copy_soft;
static crc32c_fn crc32c_raw = crc32c_raw_soft;

/* The usual value, extending `seed`: crc32c_extend(0, "123456789", 9) == 0xE3069283. */
static inline uint32_t crc32c_extend(uint32_t seed, const void *from, size_t length)
{
    return ~crc32c_raw(~seed, from, length);
}

/* `table` advances a raw value over `bytes` zero bytes. */
static inline void crc32c_fill_skip(uint32_t table[4][256], size_t bytes)
{
    uint32_t bit[32];
    for (int i = 0; i < 32; i++) {
        bit[i] = (uint32_t)1 << i;
        for (size_t n = 0; n < bytes; n++)
            bit[i] = crc32c_byte(bit[i], 0);
    }
    for (int k = 0; k < 4; k++)
        for (int b = 0; b < 256; b++) {
            table[k][b] = 0;
            for (int i = 0; i < 8; i++)
                if (b >> i & 1)
                    table[k][b] ^= bit[8 * k + i];
        }
}

/* `allow_hardware` 0 leaves the tables in charge: for tests. */
static inline void crc32c_setup(int allow_hardware)
{
    for (int b = 0; b < 256; b++) {
        uint32_t raw = (uint32_t)b;
        for (int i = 0; i < 8; i++)
            raw = (raw >> 1) ^ (raw & 1 ? CRC32C_POLYNOMIAL : 0);
        crc32c_slices[0][b] = raw;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++)
            crc32c_slices[k][b] = crc32c_byte(crc32c_slices[k - 1][b], 0);
    crc32c_fill_skip(crc32c_skip_long, CRC32C_LONG);
    crc32c_fill_skip(crc32c_skip_short, CRC32C_SHORT);
    crc32c_copy = crc32c_copy_soft;
    crc32c_raw = crc32c_raw_soft;
#ifdef CRC32C_HARDWARE
    if (allow_hardware && crc32c_has_hardware()) {
        crc32c_copy = crc32c_copy_hard;
        crc32c_raw = crc32c_raw_hard;
    }
#endif
}

#endif
