/* unicode.h - what the tokenizer asks of Unicode: classes, lower case, canonical decomposition, UTF-8.
 *
 * The answers are those of the reference tokenizer, which mixes versions of Unicode (tools/unicode_tables.py). It is no
 * general Unicode library. */
#ifndef FM_UNICODE_H
#define FM_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FM_CH_SPACE = 1,
    FM_CH_DROP = 2, /* removed by cleaning */
    FM_CH_CJK = 4,  /* an ideograph, which stands alone */
    FM_CH_PUNCTUATION = 8,
    FM_CH_MARK = 16, /* removed with the accents */
    FM_CH_UPPER = 32,
    FM_CH_DECOMPOSES = 64,
    FM_CH_REORDERS = 128 /* has a combining class */
};

#define FM_REPLACEMENT 0xfffdu
#define FM_DECOMPOSITION_MAX 4

/* The FM_CH_ flags of a code point below 0x110000. */
uint8_t fm_char_class(uint32_t point);
/* Lower case as Rust's char::to_lowercase: writes one or two characters and returns how many. */
size_t fm_char_lower(uint32_t point, uint32_t out[2]);
/* The whole canonical decomposition; returns the number of characters, 1 for one that stays. */
size_t fm_char_decompose(uint32_t point, uint32_t out[FM_DECOMPOSITION_MAX]);
/* The canonical combining class, 0 for a starter. */
uint8_t fm_char_combining(uint32_t point);

/* Reads the character at `at`, with `left` > 0 bytes to read from; returns its length. Malformed bytes give
 * FM_REPLACEMENT for each maximal subpart (Unicode 3.9, the practice of browsers and Python). */
size_t fm_utf8_read(const uint8_t *at, size_t left, uint32_t *point);
/* Writes a scalar value; returns its length, 1 to 4. */
size_t fm_utf8_write(uint32_t point, uint8_t out[4]);

#endif
