/* ascii.h - words of ASCII letters and digits, eight bytes at a time in plain 64-bit arithmetic, and the packed form in
 * which whole words are looked up. It knows nothing of other characters, nor of ids. */
#ifndef FM_ASCII_H
#define FM_ASCII_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A word of up to 16 bytes, first byte lowest, zeros after its end. */
typedef struct fm_packed {
    uint64_t low, high;
} fm_packed;

#define FM_PACKED_BYTES 16u

/* Each byte of a uint64_t set to this one. */
#define FM_EIGHT(byte) (0x0101010101010101u * (byte))
/* Or-ed to eight letters or digits, gives their lower case: a digit has this bit already. */
#define FM_CASE_BITS FM_EIGHT(0x20u)

/* Eight bytes, the first lowest on any machine; a compiler makes one load of it. */
static inline uint64_t fm_load8(const uint8_t *at)
{
    return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24 |
           (uint64_t)at[4] << 32 | (uint64_t)at[5] << 40 | (uint64_t)at[6] << 48 | (uint64_t)at[7] << 56;
}

/* 0xff for each byte before the first one that is no ASCII letter or digit, 0 for that one and all after it. */
static inline uint64_t fm_word_mask(uint64_t bytes)
{
    const uint64_t high = FM_EIGHT(0x80u);
    /* Without their high bits, a sum of two bytes stays within its byte and its high bit is a comparison. */
    uint64_t seven = bytes & ~high, folded = seven | FM_CASE_BITS;
    uint64_t letter = (folded + FM_EIGHT(0x80u - 'a')) & ~(folded + FM_EIGHT(0x80u - 'z' - 1));
    uint64_t digit = (seven + FM_EIGHT(0x80u - '0')) & ~(seven + FM_EIGHT(0x80u - '9' - 1));
    uint64_t others = (~(letter | digit) | bytes) & high;
    uint64_t first = others & (0 - others);
    return (first >> 7) - 1;
}

/* How many bytes of a mask are 0xff. */
static inline size_t fm_mask_size(uint64_t mask)
{
    return (size_t)((mask & FM_EIGHT(1u)) * FM_EIGHT(1u) >> 56);
}

/* The halves of `size` <= 16 bytes. */
static inline fm_packed fm_pack(const uint8_t *bytes, size_t size)
{
    uint8_t padded[FM_PACKED_BYTES] = {0};
    if (size > 0) memcpy(padded, bytes, size);
    return (fm_packed){fm_load8(padded), fm_load8(padded + 8)};
}

static inline uint64_t fm_packed_hash(fm_packed word)
{
    return (word.low ^ word.high * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
}

#endif
