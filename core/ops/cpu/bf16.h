/* bf16.h - rounding to bf16, the upper half of a float, as AVX-512 BF16 does it; every instruction set compiles it for
 * itself. It is integer arithmetic, so all of them round alike. Not for inclusion elsewhere. */
#ifndef FM_BF16_H
#define FM_BF16_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* To nearest, ties to even; subnormal numbers become zero, NaN stays NaN. The result is a float. */
static inline void kernel_round_bf16(size_t n, float *x)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        uint32_t magnitude = bits & 0x7fffffffu, rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
        rounded = magnitude < 0x00800000u ? bits & 0x80000000u : rounded;
        rounded = magnitude > 0x7f800000u ? (bits | 0x00400000u) & 0xffff0000u : rounded;
        memcpy(x + i, &rounded, sizeof rounded);
    }
}

#endif
