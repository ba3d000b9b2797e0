/* check.c - a short numeric test of an instruction set against the scalar reference, made at run time. The C tests are
 * far more thorough; this one is for hosts whose machine may compute new instructions wrongly, as engines of
 * WebAssembly have done. */
#include <math.h>

#include "ops/cpu/cpu.h"

#define DEPTH 37 /* not a multiple of any vector */
#define WIDEST 64
#define INT8_DEPTH 64

static bool near(size_t n, const float *a, const float *b)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-4f * (1.0f + fabsf(b[i])))) return false;
    return true;
}

static void fill(size_t n, float *x, fm_random *random)
{
    for (size_t i = 0; i < n; i++) x[i] = fm_random_normal(random);
}

static bool check_tile(const fm_product_kernels *set, fm_random *random)
{
    float a[DEPTH * WIDEST], b[DEPTH * WIDEST], found[WIDEST * WIDEST], expected[WIDEST * WIDEST];
    if (set->mr > WIDEST || set->nr > WIDEST) return false;
    fill(DEPTH * set->mr, a, random);
    fill(DEPTH * set->nr, b, random);
    for (size_t i = 0; i < set->mr; i++)
        for (size_t j = 0; j < set->nr; j++) {
            float sum = 0.0f;
            for (size_t k = 0; k < DEPTH; k++) sum += a[k * set->mr + i] * b[k * set->nr + j];
            expected[i * set->nr + j] = sum;
        }
    set->tile(set->mr, DEPTH, a, b, found, set->nr, false, (fm_ahead){0});
    return near((size_t)set->mr * set->nr, found, expected);
}

/* Integers from one end of their range to the other, whose sums must be exact. */
static bool check_int8(const fm_int8_kernels *set)
{
    int16_t words[WIDEST * INT8_DEPTH];
    int8_t bytes[WIDEST * INT8_DEPTH];
    uint8_t panel[WIDEST * INT8_DEPTH];
    int32_t found[WIDEST * WIDEST];
    if (set->mr > WIDEST || set->nr > WIDEST) return false;
    for (size_t i = 0; i < set->mr * INT8_DEPTH; i++) words[i] = bytes[i] = (int8_t)(i * 37 % 255 - 127);
    for (size_t i = 0; i < set->nr * INT8_DEPTH; i++) panel[i] = (uint8_t)(i * 29 % 127 - 63 + set->offset);
    if (set->begin) set->begin();
    set->tile(set->mr, INT8_DEPTH, set->size == 1 ? (const void *)bytes : words, INT8_DEPTH, panel, found);
    if (set->end) set->end();
    for (size_t i = 0; i < set->mr; i++)
        for (size_t j = 0; j < set->nr; j++) {
            int32_t sum = 0;
            for (size_t k = 0; k < INT8_DEPTH; k++) {
                int32_t right = set->offset ? panel[(k / 4 * set->nr + j) * 4 + k % 4]
                                            : (int8_t)panel[(k / 4 * set->nr + j) * 4 + k % 4];
                sum += bytes[i * INT8_DEPTH + k] * right;
            }
            if (found[i * set->nr + j] != sum) return false;
        }
    return true;
}

static bool check_rows(const fm_kernels *set, fm_random *random)
{
    const fm_kernels *reference = &fm_kernels_scalar;
    float x[DEPTH], y[DEPTH], found[DEPTH], expected[DEPTH], stats[2];
    fill(DEPTH, x, random);
    fill(DEPTH, y, random);
    set->bias_gelu(DEPTH, found, x, y, NULL);
    reference->bias_gelu(DEPTH, expected, x, y, NULL);
    if (!near(DEPTH, found, expected)) return false;
    set->layer_norm(DEPTH, found, x, y, x, 1e-12f, stats);
    reference->layer_norm(DEPTH, expected, x, y, x, 1e-12f, stats);
    if (!near(DEPTH, found, expected)) return false;
    found[0] = set->dot(DEPTH, x, y);
    expected[0] = reference->dot(DEPTH, x, y);
    if (!near(1, found, expected)) return false;
    for (size_t i = 0; i < DEPTH; i++) found[i] = expected[i] = x[i];
    set->softmax(DEPTH, found, 3.0f);
    reference->softmax(DEPTH, expected, 3.0f);
    return near(DEPTH, found, expected);
}

bool fm_cpu_check(const char *instruction_set)
{
    const fm_kernels *set = cpu_find_set(instruction_set);
    fm_random random = fm_random_seeded(1, 0);
    if (!set || !set->supported()) return false;
    for (size_t i = 0; set->int8[i]; i++)
        if (set->int8[i]->supported() && !check_int8(set->int8[i])) return false;
    return check_tile(&set->products[FM_PRECISION_F32], &random) && check_rows(set, &random);
}
