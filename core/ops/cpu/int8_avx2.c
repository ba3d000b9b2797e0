/* int8_avx2.c - products of integers for x86-64 with AVX2, whose products of bytes are added in pairs of 16 bits: 127 *
 * 127 * 2 is the most that fits. */
#if defined(__x86_64__)
#define INT8 fm_int8_avx2
#define SUPPORTED __builtin_cpu_supports("avx2")
#define OFFSET 64
#define ROWS 4
#define LANES 8
#define DOT(sum, u, s) _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1)))

#include "ops/cpu/int8_template.h"
#endif
