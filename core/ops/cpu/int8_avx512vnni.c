/* int8_avx512vnni.c - products of integers for x86-64 with AVX-512 and its VNNI. */
#if defined(__x86_64__)
#define INT8 fm_int8_avx512vnni
#define SUPPORTED (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni"))
#define OFFSET 128
#define ROWS 12
#define LANES 16
#define DOT(sum, u, s) _mm512_dpbusd_epi32(sum, u, s)

#include "ops/cpu/int8_template.h"
#endif
