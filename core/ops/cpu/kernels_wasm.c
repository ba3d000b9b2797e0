/* kernels_wasm.c - the kernels for WebAssembly. A module has one of two sets and the host chooses the module: plain
 * 128-bit SIMD, or with FM_RELAXED_SIMD the fused multiply-add of relaxed SIMD.
 *
 * V8 has 15 vector registers on x86-64. A fused tile of 6 x 8 takes 12 for sums, 2 and 1; without the fusion a product
 * takes one more, and 4 x 8 is the largest tile that does not spill. */
#if defined(__wasm_simd128__)
#include <wasm_simd128.h>

#include "ops/cpu/kernels.h"

#define KERNELS fm_kernels_wasm
#define NAME FM_WASM_NAME
#define SUPPORTED true
#define W 4
#define NV 2

typedef v128_t vf;
#define LOAD(from) wasm_v128_load(from)
#define STORE(to, x) wasm_v128_store(to, x)
#define SET1(x) wasm_f32x4_splat(x)
#define ADD(a, b) wasm_f32x4_add(a, b)
#define SUB(a, b) wasm_f32x4_sub(a, b)
#define MUL(a, b) wasm_f32x4_mul(a, b)
#define DIV(a, b) wasm_f32x4_div(a, b)
/* NaN if b is: one instruction each on x86-64, unlike max and min. */
#define MAX(a, b) wasm_f32x4_pmax(b, a)
#define MIN(a, b) wasm_f32x4_pmin(b, a)
#define SQRT(x) wasm_f32x4_sqrt(x)
#define ROUND(x) wasm_f32x4_nearest(x)
/* The sum's last bits are n + 127, the exponent of 2^n; the shift drops the others. */
#define POW2(n) wasm_i32x4_shl(wasm_f32x4_add(n, wasm_f32x4_splat(0x1.8p23f + 127.0f)), 23)
#define SELECT_NEGATIVE(x, negative, other) wasm_v128_bitselect(negative, other, wasm_i32x4_shr(x, 31))
#define ABOVE(a, b) (uint32_t) __builtin_popcount((unsigned)wasm_i32x4_bitmask(wasm_f32x4_gt(a, b)))
#define TRANSPOSE transpose

#ifdef FM_RELAXED_SIMD
#define MR 6
#ifdef __wasm_relaxed_simd__
#define FMA(a, b, c) wasm_f32x4_relaxed_madd(a, b, c)
#else
/* For compilers that do not know the final instructions: wasm/CMakeLists.txt puts it in after the link. */
__attribute__((const, import_module("relaxed"), import_name("madd"))) v128_t fm_relaxed_madd(v128_t, v128_t, v128_t);
#define FMA(a, b, c) fm_relaxed_madd(a, b, c)
#endif
#else
#define MR 4
#define FMA(a, b, c) wasm_f32x4_add(wasm_f32x4_mul(a, b), c)
#endif

static inline void transpose(float *to, size_t ld, const float *from, size_t stride)
{
    vf r[4], s[4];
    for (size_t i = 0; i < 4; i++) r[i] = LOAD(from + i * stride);
    for (size_t i = 0; i < 4; i += 2) {
        s[i] = wasm_i32x4_shuffle(r[i], r[i + 1], 0, 4, 1, 5);
        s[i + 1] = wasm_i32x4_shuffle(r[i], r[i + 1], 2, 6, 3, 7);
    }
    for (size_t i = 0; i < 2; i++) {
        STORE(to + 2 * i * ld, wasm_i64x2_shuffle(s[i], s[i + 2], 0, 2));
        STORE(to + (2 * i + 1) * ld, wasm_i64x2_shuffle(s[i], s[i + 2], 1, 3));
    }
}

#include "ops/cpu/kernels_template.h"
#endif
