/* kernels_avx512bf16.c - the kernels for x86-64 with AVX-512 and its BF16 extension: those of avx512, and products of
 * bf16 whose words hold two numbers, k in the upper half and k + 1 in the lower one. The instruction adds the product
 * of the upper halves first, so the sums are those of single multiply-adds in the order of k. */
#if defined(__x86_64__)
#include "ops/cpu/avx512.h"

#define KERNELS fm_kernels_avx512bf16
#define NAME "avx512bf16"
#define SUPPORTED (AVX512_SUPPORTED && __builtin_cpu_supports("avx512bf16"))
#define BF16_DOT(a, b, c) _mm512_dpbf16_ps(c, (__m512bh)(a), (__m512bh)(b))

static inline __m512i load_pairs(const float *from, size_t count)
{
    __m512i low = load_floats(from, count),
            high = count > 16 ? load_floats(from + 16, count - 16) : _mm512_set1_epi32(0);
    __m512i pairs = (__m512i)_mm512_cvtne2ps_pbh(_mm512_castsi512_ps(high), _mm512_castsi512_ps(low));
    return _mm512_rol_epi32(pairs, 16);
}

static void pack_rows_bf16(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    pack_turned(to, from, stride, count, width, depth, 2, load_pairs);
}

static void pack_columns_bf16(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i pairs = _mm512_or_si512(lanes, _mm512_slli_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(16)), 16));
    for (size_t i = 0; i < width; i += 16) {
        __mmask16 have = i < count ? lanes_below(count - i) : 0, want = lanes_below(width - i);
        for (size_t k = 0; k < depth; k += 2) {
            const float *row = from + k * stride + i, *next = k + 1 < depth ? row + stride : row;
            __m512 upper = _mm512_maskz_loadu_ps(have, row), lower = _mm512_maskz_loadu_ps(have, next);
            if (next == row) lower = _mm512_setzero_ps();
            __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(upper, lower);
            _mm512_mask_storeu_epi32(to + k / 2 * width + i, want, _mm512_permutexvar_epi16(pairs, halves));
        }
    }
}

#include "ops/cpu/kernels_template.h"
#endif
