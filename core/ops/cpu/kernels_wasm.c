/* kernels_wasm.c - the kernels for WebAssembly. A module has one of two sets and the host chooses the module: plain
 * 128-bit SIMD, or with FM_RELAXED_SIMD the fused multiply-add of relaxed SIMD.
 *
 * V8 has 15 vector registers on x86-64. A fused tile of 6 x 8 takes 12 for sums, 2 and 1; without the fusion a product
 * takes one more, and 4 x 8 is the largest tile that does not spill. What V8 makes of this file can be seen with
 * node --print-wasm-code. */
#if defined(__wasm_simd128__)
#include <string.h>
#include <wasm_simd128.h>

#include "ops/cpu/kernels.h"

#define KERNELS fm_kernels_wasm
#define NAME FM_WASM_NAME
#define SUPPORTED true
#define W 4
#define NV 2
#define DEPTH 768 /* what a tile costs before and after its loop weighs more here than what lies in the first cache */

typedef v128_t vf;
#define LOAD(from) wasm_v128_load(from)
#define STORE(to, x) wasm_v128_store(to, x)
#define SET1(x) wasm_f32x4_splat(x)
#define SPREAD(from) wasm_v128_load32_splat(from)
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

/* Keeps the compiler from knowing what x is. */
#define HIDE(x) __asm__("" : "+r"(x))
/* V8 makes a constant in three instructions and has no registers to keep many, but loads one in one. */
#define CONSTANT(x)                                                                                                    \
    __extension__({                                                                                                    \
        static const float four[4] = {x, x, x, x};                                                                     \
        const float *from = four;                                                                                      \
        HIDE(from);                                                                                                    \
        LOAD(from);                                                                                                    \
    })
/* V8 keeps the order of instructions, but Binaryen nests a sum's steps in one another until vectors are spilled; it
 * does not look beyond a branch. V8 also adds up the offset of each load that spreads a number, once for all loads of
 * the same offset: so each step has a pointer of its own. */
#define STEPS_APART
#define NEXT(pointer, by)                                                                                              \
    do {                                                                                                               \
        pointer += by;                                                                                                 \
        HIDE(pointer);                                                                                                 \
    } while (0)

/* There is no instruction for it: a number of the line is read. */
#define FETCH(from) (void)*(const volatile float *)(from)

#define INT8_SETS &int8_tiles
#define INTEGERS(from, less) wasm_f32x4_convert_i32x4(wasm_i32x4_sub(wasm_v128_load(from), wasm_i32x4_splat(less)))

#ifdef FM_RELAXED_SIMD
#define MR 6
#ifdef __wasm_relaxed_simd__
#define FMA(a, b, c) wasm_f32x4_relaxed_madd(a, b, c)
#define DOT_INT8(s, u, sum) wasm_i32x4_relaxed_dot_i8x16_i7x16_add(s, u, sum)
#else
/* For compilers that do not know the final instructions: wasm/CMakeLists.txt puts them in after the link. */
#define RELAXED(name) __attribute__((const, import_module("relaxed"), import_name(name)))
RELAXED("madd") v128_t fm_relaxed_madd(v128_t, v128_t, v128_t);
RELAXED("dot") v128_t fm_relaxed_dot(v128_t, v128_t, v128_t);
#define FMA(a, b, c) fm_relaxed_madd(a, b, c)
#define DOT_INT8(s, u, sum) fm_relaxed_dot(s, u, sum)
#endif
#define QUANTISED int8_t
#define NARROW(to, x) wasm_v128_store32_lane(to, narrow(x), 0)
#define INT8_ROWS MR
#define INT8_COLUMNS 8
#define INT8_OFFSET 64 /* the unsigned operand has seven bits */
#else
#define MR 4
#define FMA(a, b, c) wasm_f32x4_add(wasm_f32x4_mul(a, b), c)
#define QUANTISED int16_t
#define NARROW(to, x) wasm_v128_store64_lane(to, narrow(x), 0)
#define INT8_ROWS 32
#define INT8_COLUMNS 32
#define INT8_OFFSET 0
#endif

/* Integral floats as the first four numbers of a quantised row. */
static inline v128_t narrow(v128_t x)
{
    /* The sum's last bits are those of the integer. */
    v128_t whole = wasm_i32x4_sub(ADD(x, SET1(0x1.8p23f)), SET1(0x1.8p23f));
    v128_t words = wasm_i16x8_narrow_i32x4(whole, whole);
#ifdef FM_RELAXED_SIMD
    return wasm_i8x16_narrow_i16x8(words, words);
#else
    return words;
#endif
}

#ifdef FM_RELAXED_SIMD
static inline __attribute__((always_inline)) void int8_rows(size_t rows, size_t depth, const int8_t *a, size_t stride,
                                                            const uint8_t *b, int32_t *c)
{
    v128_t sum[MR][2];
    for (size_t i = 0; i < rows; i++) sum[i][0] = sum[i][1] = wasm_i32x4_splat(0);
    for (size_t k = 0; k < depth; k += 4, b += 4 * INT8_COLUMNS) {
        v128_t left = LOAD(b), right = LOAD(b + 16);
        for (size_t i = 0; i < rows; i++) {
            v128_t x = wasm_v128_load32_splat(a + i * stride + k);
            sum[i][0] = DOT_INT8(x, left, sum[i][0]);
            sum[i][1] = DOT_INT8(x, right, sum[i][1]);
        }
    }
    for (size_t i = 0; i < rows; i++, c += INT8_COLUMNS) {
        STORE(c, sum[i][0]);
        STORE(c + 4, sum[i][1]);
    }
}

static void int8_tile(size_t rows, size_t depth, const void *a, size_t stride, const uint8_t *b, int32_t *c)
{
    if (rows == 1) int8_rows(1, depth, a, stride, b, c);
    else int8_rows(MR, depth, a, stride, b, c);
}
#else
#define WIDE_DEPTH 1024 /* of lines that are widened to int16 at once */

static inline __attribute__((always_inline)) void int8_step(size_t rows, const int16_t *const *row, size_t at,
                                                            v128_t left, v128_t right, v128_t sum[MR][2])
{
    for (size_t i = 0; i < rows; i++) {
        v128_t x = wasm_v128_load64_splat(row[i] + at);
        sum[i][0] = wasm_i32x4_add(sum[i][0], wasm_i32x4_dot_i16x8(x, left));
        sum[i][1] = wasm_i32x4_add(sum[i][1], wasm_i32x4_dot_i16x8(x, right));
    }
}

/* c (rows, 4) += the sums over depth of four lines, which are int16, or int8 in a panel. A lane adds up two of four
 * products, which are exact for all int8. */
static inline __attribute__((always_inline)) void int8_rows(size_t rows, size_t depth, const int16_t *a, size_t stride,
                                                            const int16_t *wide, const uint8_t *panel, int32_t *c)
{
    v128_t sum[MR][2];
    const int16_t *row[MR];
    for (size_t i = 0; i < rows; i++) {
        sum[i][0] = sum[i][1] = wasm_i32x4_splat(0);
        row[i] = a + i * stride;
    }
#define LINES(at, from)                                                                                                \
    (wide ? LOAD(wide + 4 * (at) + (from)) : wasm_i16x8_load8x8(panel + INT8_COLUMNS * (at) + (from)))
#define STEP(at) int8_step(rows, row, at, LINES(at, 0), LINES(at, 8), sum)
    for (; depth > 0; depth -= 16) { /* a multiple of 16, so that the branches are never taken: see STEPS_APART */
        STEP(0);
        if (depth == 4) break;
        STEP(4);
        if (depth == 8) break;
        STEP(8);
        if (depth == 12) break;
        STEP(12);
        for (size_t i = 0; i < rows; i++) row[i] += 16;
        if (wide) wide += 16 * 4;
        else panel += 16 * INT8_COLUMNS;
    }
#undef STEP
#undef LINES
    for (size_t i = 0; i < rows; i++, c += INT8_COLUMNS) {
        v128_t even = wasm_i32x4_shuffle(sum[i][0], sum[i][1], 0, 2, 4, 6),
               odd = wasm_i32x4_shuffle(sum[i][0], sum[i][1], 1, 3, 5, 7);
        STORE(c, wasm_i32x4_add(LOAD(c), wasm_i32x4_add(even, odd)));
    }
}

static void int8_tile(size_t rows, size_t depth, const void *a, size_t stride, const uint8_t *b, int32_t *c)
{
    int16_t wide[4 * WIDE_DEPTH];
    memset(c, 0, INT8_ROWS * INT8_COLUMNS * sizeof *c);
    for (size_t j = 0; j < INT8_COLUMNS; j += 4, b += 16, c += 4) {
        if (rows == 1) int8_rows(1, depth, a, stride, NULL, b, c);
        else
            for (size_t at = 0; at < depth; at += WIDE_DEPTH) {
                size_t part = depth - at < WIDE_DEPTH ? depth - at : WIDE_DEPTH;
                const uint8_t *from = b + at * INT8_COLUMNS;
                for (size_t k = 0; k < part; k += 16, from += 16 * INT8_COLUMNS)
                    for (size_t i = 0; i < 64; i += 8)
                        STORE(wide + 4 * k + i, wasm_i16x8_load8x8(from + i / 16 * 4 * INT8_COLUMNS + i % 16));
                for (size_t i = 0; i < rows; i += MR)
                    int8_rows(MR, part, (const int16_t *)a + i * stride + at, stride, wide, NULL, c + i * INT8_COLUMNS);
            }
    }
}
#endif

static bool has_int8(void)
{
    return true;
}

static const fm_int8_kernels int8_tiles = {has_int8,    INT8_ROWS, INT8_COLUMNS, sizeof(QUANTISED),
                                           INT8_OFFSET, int8_tile, NULL,         NULL};

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
