/* kernels_avx2.c - the kernels for x86-64 with AVX2 and FMA: tiles of 6 x 16 in 12 of the 16 registers. */
#if defined(__x86_64__)
#include <immintrin.h>

#define KERNELS fm_kernels_avx2
#define NAME "avx2"
#define SUPPORTED (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define W 8
#define MR 6
#define NV 2

typedef __m256 vf;
#define LOAD(from) _mm256_loadu_ps(from)
#define STORE(to, x) _mm256_storeu_ps(to, x)
#define STREAM(to, x) _mm256_stream_ps(to, x)
#define SETTLE() _mm_sfence()
#define SET1(x) _mm256_set1_ps(x)
#define ADD(a, b) _mm256_add_ps(a, b)
#define SUB(a, b) _mm256_sub_ps(a, b)
#define MUL(a, b) _mm256_mul_ps(a, b)
#define DIV(a, b) _mm256_div_ps(a, b)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define MAX(a, b) _mm256_max_ps(a, b)
#define MIN(a, b) _mm256_min_ps(a, b)
#define SQRT(x) _mm256_sqrt_ps(x)
#define ROUND(x) _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define POW2(n)                                                                                                        \
    _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23))
#define SELECT_NEGATIVE(x, negative, other) _mm256_blendv_ps(other, negative, x)
#define ABOVE(a, b) (uint32_t) __builtin_popcount((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)))
#define TRANSPOSE transpose
#define INT8_SETS &fm_int8_avxvnni, &fm_int8_avx2
#define QUANTISED int8_t
#define NARROW(to, x) narrow(to, _mm256_cvtps_epi32(x))
#define INTEGERS(from, less)                                                                                           \
    _mm256_cvtepi32_ps(                                                                                                \
        _mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(from)), _mm256_set1_epi32(less)))

#include <stddef.h>
#include <stdint.h>

static inline void narrow(int8_t *to, __m256i x)
{
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64((__m128i *)(void *)to, _mm_packs_epi16(words, words));
}

static inline void transpose(float *to, size_t ld, const float *from, size_t stride)
{
    __m256 r[8], s[8];
    for (size_t i = 0; i < 4; i++) {
        /* Row i beside row i + 4: the two halves of a register are then transposed alike. */
        r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from + i * stride)),
                                    _mm_loadu_ps(from + (i + 4) * stride), 1);
        r[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from + i * stride + 4)),
                                        _mm_loadu_ps(from + (i + 4) * stride + 4), 1);
    }
    for (size_t i = 0; i < 8; i += 4) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
        s[i + 2] = _mm256_unpacklo_ps(r[i + 2], r[i + 3]);
        s[i + 3] = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        _mm256_storeu_ps(to + i * ld, _mm256_shuffle_ps(s[i], s[i + 2], 0x44));
        _mm256_storeu_ps(to + (i + 1) * ld, _mm256_shuffle_ps(s[i], s[i + 2], 0xee));
        _mm256_storeu_ps(to + (i + 2) * ld, _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44));
        _mm256_storeu_ps(to + (i + 3) * ld, _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee));
    }
}

#include "ops/cpu/kernels_template.h"
#endif
