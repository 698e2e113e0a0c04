/* Lines of the text format, read in memory. The rules are those of text.decode_line; a line that
 * follows them and was never written by a log may be refused here: text.py then has the last word.
 */
#ifndef BENCH_TEXTREAD_H
#define BENCH_TEXTREAD_H

#include "textline.h"

/* Where the line at `from` ends: its newline, or NULL. `*over` then says that none can follow,
 * because a zero byte stands before it. */
static inline const uint8_t *text_line_end(const uint8_t *from, const uint8_t *end, int *over)
{
    const uint8_t *newline = (const uint8_t *)memchr(from, '\n', (size_t)(end - from));
    const uint8_t *until = newline ? newline : end;
    *over = memchr(from, 0, (size_t)(until - from)) != NULL;
    return *over ? NULL : newline;
}

/* The value of a digit of this format, or more than 255. A table, because random digits would be
 * mispredicted branches. */
static uint16_t text_hex_value[256];

static inline void text_setup(void)
{
    memset(text_hex_value, 0xFF, sizeof text_hex_value);
    for (int i = 0; i < 16; i++)
        text_hex_value[(uint8_t)text_hex[i]] = (uint16_t)i;
}

/* A decimal of 1 to `most` digits and the space or star behind it; NULL when it is none. */
static inline const uint8_t *text_read_number(
    const uint8_t *from, const uint8_t *end, int most, uint64_t *value)
{
    const uint8_t *start = from;
    *value = 0;
    while (from < end && *from >= '0' && *from <= '9' && from - start < most)
        *value = *value * 10 + (*from++ - '0');
    return from == start || from == end ? NULL : from;
}

static inline const uint8_t *text_read_kind(
    const uint8_t *from, const uint8_t *end, frame_fields *f)
{
    uint64_t number;
    for (size_t kind = 1; kind < sizeof text_words / sizeof *text_words; kind++) {
        size_t length = strlen(text_words[kind]);
        if ((size_t)(end - from) > length && memcmp(from, text_words[kind], length) == 0 &&
            (from[length] == ' ' || from[length] == '*')) {
            f->kind = (uint8_t)kind;
            return from + length;
        }
    }
    from = text_read_number(from, end, 3, &number);
    if (!from || number == 0 || number >= FRAME_FOOTER)
        return NULL;
    f->kind = (uint8_t)number;
    return from;
}

/* The line from `line` to its newline at `end`: its fields (but for `length`), its checksum and
 * where its escaped payload starts; NULL when it is no line of a record. */
static inline const uint8_t *text_parse(
    const uint8_t *line, const uint8_t *end, uint32_t seed, frame_fields *f, uint32_t *crc)
{
    const uint8_t *p = line + TEXT_PREFIX;
    uint64_t lag = FRAME_NOTHING_DURABLE, count = 1;
    if (end - line <= TEXT_PREFIX || line[TEXT_PREFIX - 1] != ' ')
        return NULL;
    *crc = 0;
    for (int i = 0; i < 8; i++) {
        unsigned digit = text_hex_value[line[i]];
        if (digit > 15)
            return NULL;
        *crc = *crc << 4 | digit;
    }
    if (crc32c_extend(seed, p, (size_t)(end - p)) != *crc)
        return NULL;
    p = text_read_number(p, end, 19, &f->sequence);
    if (!p || *p++ != ' ' || p == end)
        return NULL;
    p = *p == '-' ? p + 1 : text_read_number(p, end, 10, &lag);
    if (!p || p == end || *p++ != ' ' || lag > FRAME_NOTHING_DURABLE)
        return NULL;
    p = text_read_kind(p, end, f);
    f->flags = p && *p == '*' ? FRAME_BATCH : 0;
    if (f->flags)
        p = text_read_number(p + 1, end, 5, &count);
    if (!p || *p++ != ' ' || count == 0 || count > UINT16_MAX)
        return NULL;
    f->seed = seed, f->lag = (uint32_t)lag, f->count = (uint16_t)count;
    return p;
}

/* Room for what text_payload makes of `length` escaped bytes. */
static inline size_t text_payload_bound(const frame_fields *f, size_t length)
{
    return 4 * (size_t)f->count + length;
}

/* The payload of a binary frame (format.py) out of the escaped one: the bytes, and for a batch
 * the lengths before them. Sets `length`; 0 when an escape or the number of parts is wrong. */
static inline int text_payload(
    uint8_t *to, frame_fields *f, const uint8_t *from, const uint8_t *end)
{
    uint8_t *start = to, *sizes = to, *part;
    uint32_t size, left = f->count;
    int tab = f->flags ? '\t' : -1; /* what ends a part, if anything does */
    to += f->flags ? 4 * (size_t)f->count : 0;
    part = to;
    for (;;) {
        /* Both readings of a place are made and one is taken: where random bytes are escaped is
         * as random, and a branch on it would be mispredicted half the time. */
        while (end - from >= 4 && *from != tab) {
            unsigned value = text_hex_value[from[2]] << 4 | text_hex_value[from[3]];
            int escaped = *from == '\\';
            if (escaped && (from[1] != 'x' || value > 255))
                break;
            *to++ = (uint8_t)(escaped ? value : *from);
            from += escaped ? 4 : 1;
        }
        while (from < end && *from != '\\' && *from != tab)
            *to++ = *from++;
        if (from == end || *from == '\t') {
            left--;
            if (f->flags) {
                size = (uint32_t)(to - part);
                memcpy(sizes, &size, 4);
                sizes += 4, part = to;
            }
            if (from == end || left == 0)
                break;
            from++;
            continue;
        }
        if (end - from < 2)
            return 0;
        switch (from[1]) {
        case 'n': *to++ = '\n'; break;
        case 't': *to++ = '\t'; break;
        case 'r': *to++ = '\r'; break;
        case '\\': *to++ = '\\'; break;
        default: return 0;
        }
        from += 2;
    }
    f->length = (uint32_t)(to - start);
    return left == 0 && from == end;
}

#endif
