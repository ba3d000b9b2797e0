/* avx512.h - the vector operations of kernels_template.h for AVX-512 (F, BW, DQ, VL), and the packing of panels, which
 * turns blocks of 16 x 16 words in registers. For the kernel files of those sets only. Tiles of 14 x 32 take 28 of the
 * 32 registers. */
#ifndef FM_AVX512_H
#define FM_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define W 16
#define MR 14
#define NV 2

#define AVX512_SUPPORTED                                                                                               \
    (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&  \
     __builtin_cpu_supports("avx512vl"))

typedef __m512 vf;
#define LOAD(from) _mm512_loadu_ps(from)
#define STORE(to, x) _mm512_storeu_ps(to, x)
#define STREAM(to, x) _mm512_stream_ps(to, x)
#define SETTLE() _mm_sfence()
#define SET1(x) _mm512_set1_ps(x)
#define ADD(a, b) _mm512_add_ps(a, b)
#define SUB(a, b) _mm512_sub_ps(a, b)
#define MUL(a, b) _mm512_mul_ps(a, b)
#define DIV(a, b) _mm512_div_ps(a, b)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define MAX(a, b) _mm512_max_ps(a, b)
#define MIN(a, b) _mm512_min_ps(a, b)
#define SQRT(x) _mm512_sqrt_ps(x)
#define ROUND(x) _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define POW2(n)                                                                                                        \
    _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23))
#define SELECT_NEGATIVE(x, negative, other)                                                                            \
    _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(x)), other, negative)
#define ABOVE(a, b) (uint32_t) __builtin_popcount((unsigned)_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ))

#define QUANTISED int8_t
#define NARROW(to, x) _mm_storeu_si128((__m128i *)(void *)(to), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)))
#define INTEGERS(from, less) _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(from), _mm512_set1_epi32(less)))
#define INT8_SETS &fm_int8_avx512vnni, &fm_int8_avx512

/* 1 / x for finite x: 14 bits, and a step of Newton's method, which doubles them; a division takes twice as long. */
static inline vf reciprocal(vf x)
{
    vf y = _mm512_rcp14_ps(x);
    return _mm512_mul_ps(y, _mm512_fnmadd_ps(x, y, _mm512_set1_ps(2.0f)));
}
#define RECIPROCAL(x) reciprocal(x)

/* The first n of 16 lanes. */
static inline __mmask16 lanes_below(size_t n)
{
    return n < 16 ? (__mmask16)((1u << n) - 1) : (__mmask16)0xffff;
}

/* Word j of row i becomes word i of row j. */
static inline void turn(__m512i r[16])
{
    __m512i s[16];
    for (size_t i = 0; i < 16; i += 2) {
        s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (size_t i = 0; i < 16; i += 4)
        for (size_t j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(s[i + j], s[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(s[i + j], s[i + j + 2]);
        }
    /* r[4 i + j] now has words j, j + 4, j + 8 and j + 12 of rows 4 i to 4 i + 3. */
    for (size_t j = 0; j < 4; j++)
        for (size_t i = 0; i < 16; i += 8) {
            s[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
            s[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
        }
    for (size_t j = 0; j < 4; j++) {
        r[j] = _mm512_shuffle_i32x4(s[j], s[j + 8], 0x88);
        r[j + 4] = _mm512_shuffle_i32x4(s[j + 4], s[j + 12], 0x88);
        r[j + 8] = _mm512_shuffle_i32x4(s[j], s[j + 8], 0xdd);
        r[j + 12] = _mm512_shuffle_i32x4(s[j + 4], s[j + 12], 0xdd);
    }
}

/* pack_rows of kernels.h, where `load` makes 16 words, each of `fold` floats, of the first `count` floats from an
 * address; what lies beyond them is zero and not touched. */
static inline __attribute__((always_inline)) void pack_turned(float *to, const float *from, size_t stride, size_t count,
                                                              size_t width, size_t depth, size_t fold,
                                                              __m512i (*load)(const float *from, size_t count))
{
    size_t words = (depth + fold - 1) / fold;
    for (size_t i = 0; i < width; i += 16)
        for (size_t w = 0; w < words; w += 16) {
            __m512i r[16];
            for (size_t j = 0; j < 16; j++)
                r[j] =
                    i + j < count ? load(from + (i + j) * stride + w * fold, depth - w * fold) : _mm512_setzero_si512();
            turn(r);
            for (size_t j = 0; j < 16 && w + j < words; j++)
                _mm512_mask_storeu_epi32(to + (w + j) * width + i, lanes_below(width - i), r[j]);
        }
}

static inline __m512i load_floats(const float *from, size_t count)
{
    return _mm512_castps_si512(count >= 16 ? _mm512_loadu_ps(from) : _mm512_maskz_loadu_ps(lanes_below(count), from));
}

#define PACKS
static void pack_rows(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    pack_turned(to, from, stride, count, width, depth, 1, load_floats);
}

static void pack_columns(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    for (size_t i = 0; i < width; i += 16) {
        __mmask16 have = i < count ? lanes_below(count - i) : 0, want = lanes_below(width - i);
        for (size_t k = 0; k < depth; k++)
            _mm512_mask_storeu_ps(to + k * width + i, want, _mm512_maskz_loadu_ps(have, from + k * stride + i));
    }
}

#endif
