/* avx512bf16.h - panels of bf16 for the kernel files of AVX-512 with BF16: words that hold two numbers, k in the upper
 * half and k + 1 in the lower one. For those files only, after avx512.h. */
#ifndef FM_AVX512BF16_H
#define FM_AVX512BF16_H

#include "ops/cpu/avx512.h"

#define AVX512BF16_SUPPORTED (AVX512_SUPPORTED && __builtin_cpu_supports("avx512bf16"))

static inline __m512i load_pairs(const float *from, size_t count)
{
    __m512i low = load_floats(from, count),
            high = count > 16 ? load_floats(from + 16, count - 16) : _mm512_set1_epi32(0);
    __m512i pairs = (__m512i)_mm512_cvtne2ps_pbh(_mm512_castsi512_ps(high), _mm512_castsi512_ps(low));
    return _mm512_rol_epi32(pairs, 16);
}

/* A word of each of the first 16 lines that `have`: numbers k and k + 1 of them, from rows that lie `stride` apart. */
static inline __m512i pair_rows(const float *from, size_t stride, __mmask16 have, bool next)
{
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i pairs = _mm512_or_si512(lanes, _mm512_slli_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(16)), 16));
    __m512 upper = _mm512_maskz_loadu_ps(have, from),
           lower = next ? _mm512_maskz_loadu_ps(have, from + stride) : _mm512_setzero_ps();
    return _mm512_permutexvar_epi16(pairs, (__m512i)_mm512_cvtne2ps_pbh(upper, lower));
}

static void pack_rows_bf16(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    pack_turned(to, from, stride, count, width, depth, 2, load_pairs);
}

static void pack_columns_bf16(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    for (size_t i = 0; i < width; i += 16) {
        __mmask16 have = i < count ? lanes_below(count - i) : 0, want = lanes_below(width - i);
        for (size_t k = 0; k < depth; k += 2)
            _mm512_mask_storeu_epi32(to + k / 2 * width + i, want,
                                     pair_rows(from + k * stride + i, stride, have, k + 1 < depth));
    }
}

#endif
