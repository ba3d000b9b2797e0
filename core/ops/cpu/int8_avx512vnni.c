/* int8_avx512vnni.c - products of integers for x86-64 with AVX-512 and its VNNI. */
#if defined(__x86_64__)
#include <immintrin.h>

#define INT8 fm_int8_avx512vnni
#define SUPPORTED (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni"))
#define OFFSET 128
#define ROWS 12
#define LANES 16

typedef __m512i vi;
#define ZERO _mm512_setzero_si512()
#define LOAD(from) _mm512_loadu_si512(from)
#define STORE(to, x) _mm512_storeu_si512(to, x)
#define SPREAD(x) _mm512_set1_epi32(x)
#define DOT(sum, u, s) _mm512_dpbusd_epi32(sum, u, s)

#include "ops/cpu/int8_template.h"
#endif
