/* int8_avx512.c - products of integers for x86-64 with AVX-512 (BW) but without VNNI; as int8_avx2.c, twice as wide. */
#if defined(__x86_64__)
#define INT8 fm_int8_avx512
#define SUPPORTED __builtin_cpu_supports("avx512bw")
#define OFFSET 64
#define ROWS 12
#define LANES 16
#define DOT(sum, u, s) _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(u, s), _mm512_set1_epi16(1)))

#include "ops/cpu/int8_template.h"
#endif
