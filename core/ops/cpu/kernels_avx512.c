/* kernels_avx512.c - the kernels for x86-64 with AVX-512 (F, BW, DQ, VL): tiles of 12 x 32 in 24 of the 32
 * registers. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

#define KERNELS fm_kernels_avx512
#define NAME "avx512"
#define SUPPORTED                                                                                                      \
    (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&  \
     __builtin_cpu_supports("avx512vl"))
#define W 16
#define MR 12
#define NV 2

typedef __m512 vf;
#define LOAD(from) _mm512_loadu_ps(from)
#define STORE(to, x) _mm512_storeu_ps(to, x)
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
#define TRANSPOSE transpose

static inline void transpose(float *to, size_t ld, const float *from, size_t stride)
{
    const __m512i rows = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                            _mm512_set1_epi32((int)stride));
    for (size_t j = 0; j < 16; j++) _mm512_storeu_ps(to + j * ld, _mm512_i32gather_ps(rows, from + j, 4));
}

#include "ops/cpu/kernels_template.h"
#endif
