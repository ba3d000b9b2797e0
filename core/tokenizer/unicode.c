/* unicode.c - the answers of unicode.h, from the generated tables; Hangul and U+0130 are computed. */
#include "tokenizer/unicode.h"

struct lower_run {
    uint32_t first, last, step;
    int32_t delta;
};

struct combining_run {
    uint32_t first, last;
    uint8_t class;
};

#include "tokenizer/unicode_tables.inc"

#define COUNT(array) (sizeof(array) / sizeof *(array))

#ifdef FM_PACKED_UNICODE

/* For WebAssembly, where each byte is downloaded: the tables as differences, and unpacked when the module starts. */
static struct lower_run lower_runs[LOWER_RUNS];
static struct combining_run combining_runs[COMBINING_RUNS];
static uint32_t decomposition_points[DECOMPOSITIONS], decomposition_text[DECOMPOSITION_TEXT];
static uint16_t decomposition_at[(DECOMPOSITIONS + 31) / 32];

static uint32_t next(const uint8_t **at)
{
    uint32_t value = 0, shift = 0;
    for (; **at & 128; shift += 7) value |= (*(*at)++ & 127u) << shift;
    return value | (uint32_t)*(*at)++ << shift;
}

static int32_t next_signed(const uint8_t **at)
{
    uint32_t value = next(at);
    return value & 1 ? -(int32_t)(value / 2) - 1 : (int32_t)(value / 2);
}

__attribute__((constructor)) static void unpack(void)
{
    const uint8_t *at = packed;
    uint32_t before = 0, length = 0;
    for (size_t i = 0; i < LOWER_RUNS; i++) {
        struct lower_run *run = &lower_runs[i];
        run->first = before + next(&at);
        run->last = before = run->first + next(&at);
        run->step = next(&at);
        run->delta = next_signed(&at);
    }
    before = 0;
    for (size_t i = 0; i < COMBINING_RUNS; i++) {
        struct combining_run *run = &combining_runs[i];
        run->first = before + next(&at);
        run->last = before = run->first + next(&at);
        run->class = (uint8_t)next(&at);
    }
    before = 0;
    for (size_t i = 0; i < DECOMPOSITIONS; i++) decomposition_points[i] = before += next(&at);
    for (size_t i = 0; i < DECOMPOSITIONS; i++) decomposition_points[i] |= next(&at) << 24;
    uint32_t value = 0;
    for (size_t i = 0; i < DECOMPOSITIONS; i++) {
        if (i % 32 == 0) decomposition_at[i / 32] = (uint16_t)length;
        decomposition_text[length] = value += (uint32_t)next_signed(&at);
        length += decomposition_points[i] >> 24;
    }
    length = 0;
    for (size_t i = 0; i < DECOMPOSITIONS; length += decomposition_points[i++] >> 24)
        for (uint32_t j = 1; j < decomposition_points[i] >> 24; j++) decomposition_text[length + j] = next(&at);
}

#endif

uint8_t fm_char_class(uint32_t point)
{
    return class_blocks[class_index[point >> 7]][point & 127];
}

size_t fm_char_lower(uint32_t point, uint32_t out[2])
{
    out[0] = point;
    if (!(fm_char_class(point) & FM_CH_UPPER)) return 1;
    if (point == 0x130) { /* the dot stays: i and a combining dot above */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    size_t low = 0, high = COUNT(lower_runs);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (lower_runs[middle].first <= point) low = middle;
        else high = middle;
    }
    out[0] = (uint32_t)((int32_t)point + lower_runs[low].delta);
    return 1;
}

size_t fm_char_decompose(uint32_t point, uint32_t out[FM_DECOMPOSITION_MAX])
{
    out[0] = point;
    if (!(fm_char_class(point) & FM_CH_DECOMPOSES)) return 1;
    if (point >= 0xac00 && point <= 0xd7a3) { /* Hangul: 19 leads, 21 vowels, 28 tails (none included) */
        uint32_t syllable = point - 0xac00;
        out[0] = 0x1100 + syllable / 588;
        out[1] = 0x1161 + syllable % 588 / 28;
        out[2] = 0x11a7 + syllable % 28;
        return syllable % 28 ? 3 : 2;
    }
    size_t low = 0, high = COUNT(decomposition_points);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if ((decomposition_points[middle] & 0xffffff) <= point) low = middle;
        else high = middle;
    }
    size_t at = decomposition_at[low / 32], count = 0, length = decomposition_points[low] >> 24;
    for (size_t i = low & ~(size_t)31; i < low; i++) at += decomposition_points[i] >> 24;
    for (; count < length && count < FM_DECOMPOSITION_MAX; count++) out[count] = decomposition_text[at + count];
    return count;
}

uint8_t fm_char_combining(uint32_t point)
{
    if (!(fm_char_class(point) & FM_CH_REORDERS)) return 0;
    size_t low = 0, high = COUNT(combining_runs);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (combining_runs[middle].first <= point) low = middle;
        else high = middle;
    }
    return combining_runs[low].class;
}

size_t fm_utf8_read(const uint8_t *at, size_t left, uint32_t *point)
{
    uint8_t first = at[0];
    *point = first;
    if (first < 0x80) return 1;
    *point = FM_REPLACEMENT;
    if (first < 0xc2 || first > 0xf4) return 1;
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    /* The second byte is where overlong forms, surrogates and values above U+10FFFF show. */
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    uint32_t value = first & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (i >= left || at[i] < low || at[i] > high) return i;
        value = value << 6 | (at[i] & 0x3fu);
        low = 0x80;
        high = 0xbf;
    }
    *point = value;
    return length;
}

size_t fm_utf8_write(uint32_t point, uint8_t out[4])
{
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    size_t length = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (point & 0x3f));
        point >>= 6;
    }
    out[0] = (uint8_t)(lead[length] | point);
    return length;
}
