/* check.c - a short numeric test of an instruction set against the scalar reference, made at run time. The C tests are
 * far more thorough; this one is for hosts whose machine may compute new instructions wrongly, as engines of
 * WebAssembly have done. */
#include <math.h>

#include "ops/cpu/cpu.h"

#define DEPTH 37 /* not a multiple of any vector */
#define WIDEST 64

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
    set->tile(set->mr, DEPTH, a, b, found, set->nr, false);
    return near((size_t)set->mr * set->nr, found, expected);
}

static bool check_rows(const fm_kernels *set, fm_random *random)
{
    const fm_kernels *reference = &fm_kernels_scalar;
    float x[DEPTH], y[DEPTH], found[DEPTH], expected[DEPTH], stats[2];
    fill(DEPTH, x, random);
    fill(DEPTH, y, random);
    set->gelu(DEPTH, found, x);
    reference->gelu(DEPTH, expected, x);
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
    return set && set->supported() && check_tile(&set->products[FM_PRECISION_F32], &random) && check_rows(set, &random);
}
