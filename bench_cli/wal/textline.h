/* Lines of the text format, written in memory. The picture is in text.py. */
#ifndef BENCH_TEXTLINE_H
#define BENCH_TEXTLINE_H

#include "frame.h"

#define TEXT_PREFIX 9 /* checksum and space */
#define TEXT_HEAD 80  /* more than prefix, three numbers, a word and the newline take */

static const char *const text_words[] = {
    0, "data", "write", "remove", "truncate", "uploaded", "draw", "draws"};
static const char text_hex[] = "0123456789abcdef";

/* The most bytes a line can take. */
static inline size_t text_bound(size_t payload, size_t count)
{
    return TEXT_HEAD + 4 * payload + count;
}

static inline uint8_t *text_number(uint8_t *to, uint64_t value)
{
    uint8_t digits[20];
    int n = 0;
    do
        digits[n++] = (uint8_t)('0' + value % 10);
    while (value /= 10);
    while (n)
        *to++ = digits[--n];
    return to;
}

static inline uint8_t *text_word(uint8_t *to, const char *word)
{
    size_t length = strlen(word);
    memcpy(to, word, length);
    return to + length;
}

/* Everything before the payload; returns where the payload goes. */
static inline uint8_t *text_begin(uint8_t *to, const frame_fields *f)
{
    to = text_number(to + TEXT_PREFIX, f->sequence);
    *to++ = ' ';
    if (f->lag == FRAME_NOTHING_DURABLE)
        *to++ = '-';
    else
        to = text_number(to, f->lag);
    *to++ = ' ';
    if (f->kind < sizeof text_words / sizeof *text_words)
        to = text_word(to, text_words[f->kind]);
    else
        to = text_number(to, f->kind);
    if (f->flags & FRAME_BATCH) {
        *to++ = '*';
        to = text_number(to, f->count);
    }
    *to++ = ' ';
    return to;
}

/* Length of the UTF-8 sequence at `p` (before `end`) that stands as it is; 0 if its first byte
 * must be escaped. Control characters, C1 included, are escaped. */
static inline int text_sequence(const uint8_t *p, const uint8_t *end)
{
    uint32_t code, least;
    int length;
    if (*p < 0x80)
        return *p >= 0x20 && *p != 0x7F && *p != '\\';
    if (*p >= 0xC2 && *p <= 0xDF)
        length = 2, code = *p & 0x1F, least = 0xA0;
    else if ((*p & 0xF0) == 0xE0)
        length = 3, code = *p & 0x0F, least = 0x800;
    else if (*p >= 0xF0 && *p <= 0xF4)
        length = 4, code = *p & 0x07, least = 0x10000;
    else
        return 0;
    if (end - p < length)
        return 0;
    for (int i = 1; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3F);
    }
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        return 0;
    return length;
}

static inline uint8_t *text_escape(uint8_t *to, const uint8_t *from, size_t length)
{
    const uint8_t *end = from + length;
    while (from < end) {
        int same = text_sequence(from, end);
        if (same) {
            memcpy(to, from, (size_t)same);
            to += same, from += same;
            continue;
        }
        uint8_t byte = *from++;
        *to++ = '\\';
        switch (byte) {
        case '\n': *to++ = 'n'; break;
        case '\t': *to++ = 't'; break;
        case '\r': *to++ = 'r'; break;
        case '\\': *to++ = '\\'; break;
        default:
            *to++ = 'x';
            *to++ = (uint8_t)text_hex[byte >> 4];
            *to++ = (uint8_t)text_hex[byte & 15];
        }
    }
    return to;
}

/* Newline and checksum; returns the checksum. */
static inline uint32_t text_seal(uint8_t *line, uint8_t *end, uint32_t seed)
{
    uint32_t crc =
        crc32c_extend(seed, line + TEXT_PREFIX, (size_t)(end - line) - TEXT_PREFIX);
    *end = '\n';
    for (int i = 0; i < 8; i++)
        line[i] = (uint8_t)text_hex[crc >> (28 - 4 * i) & 15];
    line[8] = ' ';
    return crc;
}

#endif
