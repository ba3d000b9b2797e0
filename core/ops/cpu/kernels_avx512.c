/* kernels_avx512.c - the kernels for x86-64 with AVX-512 (F, BW, DQ, VL). */
#if defined(__x86_64__)
#include "ops/cpu/avx512.h"
#include "ops/cpu/avx512drop.h"

#define KERNELS fm_kernels_avx512
#define NAME "avx512"
#define SUPPORTED AVX512_SUPPORTED

#include "ops/cpu/kernels_template.h"
#endif
