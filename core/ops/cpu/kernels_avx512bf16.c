/* kernels_avx512bf16.c - the kernels for x86-64 with AVX-512 and its BF16 extension: those of avx512, and products of
 * bf16 whose words hold two numbers. The instruction adds the product of the upper halves first, so the sums are those
 * of single multiply-adds in the order of k. */
#if defined(__x86_64__)
#include "ops/cpu/avx512bf16.h"
#include "ops/cpu/avx512drop.h"

#define KERNELS fm_kernels_avx512bf16
#define NAME "avx512bf16"
#define SUPPORTED AVX512BF16_SUPPORTED
#define BF16_DOT(a, b, c) _mm512_dpbf16_ps(c, (__m512bh)(a), (__m512bh)(b))

#include "ops/cpu/kernels_template.h"
#endif
