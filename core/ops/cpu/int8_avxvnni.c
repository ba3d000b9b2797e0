/* int8_avxvnni.c - products of integers for x86-64 with AVX-VNNI: the 256-bit instructions of processors that lack
 * AVX-512. */
#if defined(__x86_64__)
#include <cpuid.h>
#include <stdbool.h>

/* Not every compiler's __builtin_cpu_supports knows the name. */
static bool has_avxvnni(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

#define INT8 fm_int8_avxvnni
#define SUPPORTED has_avxvnni()
#define OFFSET 128
#define ROWS 6
#define LANES 8
#define DOT(sum, u, s) _mm256_dpbusd_avx_epi32(sum, u, s)

#include "ops/cpu/int8_template.h"
#endif
