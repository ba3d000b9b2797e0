/* test_kernels.c - the kernels of every instruction set that the machine runs (core/ops/cpu/kernels.h) against the
 * scalar reference, and that against known values: odd sizes, unaligned rows, special values, large magnitudes. What
 * the backend makes of the kernels is in test_cpu.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/cpu/kernels.h"

/* Every length of a row up to a few vectors, then some that are cut in several parts. */
#define MOST 1029
static size_t next_size(size_t n)
{
    static const size_t longer[] = {127, 128, 255, 256, 257, 259, 512, 771, MOST};
    if (n < 70) return n + 1;
    for (size_t i = 0; i < sizeof longer / sizeof *longer; i++)
        if (longer[i] > n) return longer[i];
    return 0;
}

static const fm_kernels *const vector_sets[] = {
#if defined(__x86_64__)
    &fm_kernels_amx, &fm_kernels_avx512bf16, &fm_kernels_avx512, &fm_kernels_avx2,
#elif defined(__wasm_simd128__)
    &fm_kernels_wasm,
#endif
    NULL};

/* Calls `check` with every vector set of this machine. */
static void every_set(void (*check)(const fm_kernels *set))
{
    for (size_t i = 0; vector_sets[i]; i++)
        if (vector_sets[i]->supported()) check(vector_sets[i]);
}

static int name_what_is_not_tested(void **state)
{
    (void)state;
    for (size_t i = 0; vector_sets[i]; i++)
        if (!vector_sets[i]->supported()) print_message("%s: not on this machine\n", vector_sets[i]->name);
    return 0;
}

static const fm_kernels *const reference = &fm_kernels_scalar;

/* ---- rows ---- */

/* Rows start one float past what an allocation is aligned to, and end where it ends, for the address sanitizer. */
static float *row_of(size_t n)
{
    float *memory = malloc((n + 1) * sizeof *memory);
    assert_non_null(memory);
    return memory + 1;
}

static void free_row(float *row)
{
    free(row - 1);
}

static float *random_row(size_t n, uint32_t seed, float mean, float deviation)
{
    fm_random random = fm_random_seeded(seed, (uint32_t)n);
    float *row = row_of(n);
    for (size_t i = 0; i < n; i++) row[i] = mean + deviation * fm_random_normal(&random);
    return row;
}

static float *copy_row(size_t n, const float *from)
{
    float *row = row_of(n);
    memcpy(row, from, n * sizeof *row);
    return row;
}

/* What is NaN or infinite must not come out finite, nor the other way round; finite numbers are within the given. */
static void expect(const fm_kernels *set, const char *what, size_t n, size_t at, double got, double right,
                   double within)
{
    bool good = isnan(right)   ? isnan(got)
                : isinf(right) ? isnan(got) || got == right
                               : isfinite(got) && fabs(got - right) <= within;
    if (!good)
        fail_msg("%s, %s of %zu: element %zu is %.9g, not %.9g within %.2g", set->name, what, n, at, got, right,
                 within);
}

static void expect_row(const fm_kernels *set, const char *what, size_t n, const float *got, const float *right,
                       double relative, double absolute)
{
    for (size_t i = 0; i < n; i++) expect(set, what, n, i, got[i], right[i], relative * fabs(right[i]) + absolute);
}

static double sum_of_magnitudes(size_t n, const float *x)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += fabs(x[i]);
    return sum;
}

/* ---- matrix products ---- */

/* Small whole numbers: every order of summing them is exact, and bf16 holds them. */
static float *whole_numbers(size_t n, uint32_t seed)
{
    fm_random random = fm_random_seeded(seed, (uint32_t)n);
    float *row = row_of(n);
    for (size_t i = 0; i < n; i++) row[i] = (float)fm_random_below(&random, 17) - 8.0f;
    return row;
}

/* To the nearest number of 8 bits, ties to even; without subnormal ones. */
static double bf16_of(float x)
{
    int exponent = 0;
    if (!isfinite(x)) return x;
    if (fabsf(x) < FLT_MIN) return 0.0;
    double fraction = frexp(x, &exponent), rounded = ldexp(nearbyint(ldexp(fraction, 8)), exponent - 8);
    return fabs(rounded) > FLT_MAX ? copysign(INFINITY, x) : rounded;
}

/* The number of line i and place k in a panel. */
static double panel_at(const fm_product_kernels *kernels, bool left, const float *panel, size_t width, size_t i,
                       size_t k)
{
    uint32_t word;
    size_t w = k / kernels->fold, grain = kernels->grain;
    size_t at = left ? w / grain * grain * width + i * grain + w % grain : w * width + i;
    memcpy(&word, panel + at, sizeof word);
    if (kernels->fold == 2) word = k % 2 == 0 ? word & 0xffff0000u : word << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static size_t words_of(const fm_product_kernels *kernels, size_t depth)
{
    size_t all = (size_t)kernels->fold * kernels->grain;
    return (depth + all - 1) / all * kernels->grain;
}

static void run_tile(const fm_product_kernels *kernels, size_t rows, size_t words, const float *a, const float *b,
                     float *c, size_t ldc, bool add)
{
    if (kernels->begin) kernels->begin();
    kernels->tile(rows, words, a, b, c, ldc, add, (fm_ahead){b, words * kernels->nr / 16});
    if (kernels->end) kernels->end();
}

static void check_tile(const fm_kernels *set)
{
    static const size_t depths[] = {0, 1, 2, 3, 17, 288};
    for (size_t at = 0; at < FM_PRECISIONS * (sizeof depths / sizeof *depths); at++) {
        const fm_product_kernels *kernels = &set->products[at % FM_PRECISIONS];
        size_t k = depths[at / FM_PRECISIONS], mr = kernels->mr, nr = kernels->nr, words = words_of(kernels, k);
        float *a = whole_numbers(mr * k, 1), *b = whole_numbers(k * nr, 2);
        float *left = row_of(words * mr), *right = row_of(words * nr);
        kernels->left.rows(left, a, k, mr, mr, k);
        kernels->right.columns(right, b, nr, nr, nr, k);
        for (size_t rows = 1; rows <= mr; rows++)
            for (int add = 0; add < 2; add++)
                for (size_t gap = 0; gap < 4; gap += 3) {
                    size_t ldc = nr + gap, size = (rows - 1) * ldc + nr;
                    float *c = whole_numbers(size, 3), *expected = copy_row(size, c);
                    for (size_t i = 0; i < rows; i++)
                        for (size_t j = 0; j < nr; j++) {
                            float sum = add ? c[i * ldc + j] : 0.0f;
                            for (size_t l = 0; l < k; l++) sum += a[i * k + l] * b[l * nr + j];
                            expected[i * ldc + j] = sum;
                        }
                    run_tile(kernels, rows, words, left, right, c, ldc, add);
                    expect_row(set, "tile", size, c, expected, 0.0, 0.0); /* with the gaps between rows */
                    free_row(c);
                    free_row(expected);
                }
        free_row(a);
        free_row(b);
        free_row(left);
        free_row(right);
    }
}

/* A NaN reaches its row or column of the result and nothing else. */
static void check_tile_special(const fm_kernels *set)
{
    for (size_t p = 0; p < FM_PRECISIONS; p++) {
        const fm_product_kernels *kernels = &set->products[p];
        size_t k = 5, mr = kernels->mr, nr = kernels->nr, words = words_of(kernels, k);
        float *a = whole_numbers(k * mr, 4), *b = whole_numbers(k * nr, 5), *c = row_of(mr * nr);
        float *left = row_of(words * mr), *right = row_of(words * nr);
        a[2 * mr + 1] = NAN;
        b[3 * nr + 2] = INFINITY;
        for (size_t i = 0; i < mr; i++) a[3 * mr + i] = 1.0f;
        kernels->left.columns(left, a, mr, mr, mr, k);
        kernels->right.columns(right, b, nr, nr, nr, k);
        run_tile(kernels, mr, words, left, right, c, nr, false);
        for (size_t i = 0; i < mr; i++)
            for (size_t j = 0; j < nr; j++) {
                if (i == 1) assert_true(isnan(c[i * nr + j]));
                else if (j == 2) assert_true(isinf(c[i * nr + j]));
                else assert_true(isfinite(c[i * nr + j]));
            }
        free_row(a);
        free_row(b);
        free_row(c);
        free_row(left);
        free_row(right);
    }
}

/* c and a sum of bf16 products over k, in the order that the set has: that of k, and then c; or for amx, c first, then
 * blocks of 32 whose even and odd places are summed apart. The products are exact as floats, so the bits are given. */
static float sum_of_bf16(bool blocks, float c, const float *a, const float *b, size_t k)
{
    float total = blocks ? c : 0.0f;
    for (size_t at = 0; at < k; at += 32) {
        float sums[2] = {0.0f, 0.0f};
        for (size_t l = at; l < k && l < at + 32; l++) {
            float product = (float)(bf16_of(a[l]) * bf16_of(b[l]));
            if (blocks) sums[l % 2] += product;
            else total += product;
        }
        if (blocks) total += sums[0] + sums[1];
    }
    return blocks ? total : c + total;
}

static void check_tile_bits(const fm_kernels *set)
{
    static const size_t depths[] = {1, 2, 5, 96, 289};
    const fm_product_kernels *kernels = &set->products[FM_PRECISION_BF16];
    bool blocks = kernels->grain > 1;
    for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
        size_t k = depths[d], mr = kernels->mr, nr = kernels->nr, words = words_of(kernels, k);
        float *a = random_row(mr * k, 8, 0.1f, 1.0f), *b = random_row(nr * k, 9, -0.1f, 2.0f);
        float *left = row_of(words * mr), *right = row_of(words * nr), *c = random_row(mr * nr, 10, 0.0f, 1.0f);
        float *expected = copy_row(mr * nr, c);
        kernels->left.rows(left, a, k, mr, mr, k);
        kernels->right.rows(right, b, k, nr, nr, k);
        run_tile(kernels, mr, words, left, right, c, nr, true);
        for (size_t i = 0; i < mr; i++)
            for (size_t j = 0; j < nr; j++) {
                float *to = expected + i * nr + j;
                *to = sum_of_bf16(blocks, *to, a + i * k, b + j * k, k);
            }
        expect_row(set, "tile of bf16", mr * nr, c, expected, 0.0, 0.0);
        free_row(a);
        free_row(b);
        free_row(c);
        free_row(left);
        free_row(right);
        free_row(expected);
    }
}

/* Numbers of all kinds: halfway between two bf16, subnormal, the largest, infinite, NaN. */
static void strew_specials(float *x, size_t n)
{
    static const uint32_t bits[] = {0x3f808000, 0x3f818000, 0xbf808001, 0x3f80ffff, 0x00000001, 0x807fffff, 0x00800000,
                                    0x7f7fffff, 0xff7f7fff, 0x7f800000, 0xff800000, 0x7f800001, 0xffc12345, 0x80000000};
    for (size_t i = 0; i < sizeof bits / sizeof *bits && 7 * i < n; i++) memcpy(x + 7 * i, &bits[i], sizeof *x);
}

static void check_panel(const fm_kernels *set, size_t precision, bool left, bool rows, size_t count, size_t depth)
{
    const fm_product_kernels *kernels = &set->products[precision];
    const fm_packers *pack = left ? &kernels->left : &kernels->right;
    size_t width = left ? kernels->mr : kernels->nr;
    size_t stride = (rows ? depth : count) + 3, lines = rows ? count : depth;
    size_t size = (lines - 1) * stride + (rows ? depth : count), words = words_of(kernels, depth);
    float *from = random_row(size, 6, 0.0f, 3.0f), *to = row_of(width * words);
    strew_specials(from, size);
    memset(to, 0xff, width * words * sizeof *to);
    (rows ? pack->rows : pack->columns)(to, from, stride, count, width, depth);
    for (size_t k = 0; k < words * kernels->fold; k++)
        for (size_t i = 0; i < width; i++) {
            float value = i < count && k < depth ? from[rows ? i * stride + k : k * stride + i] : 0.0f;
            expect(set, rows ? "packing rows" : "packing columns", depth, k * width + i,
                   panel_at(kernels, left, to, width, i, k), precision == FM_PRECISION_BF16 ? bf16_of(value) : value,
                   0.0);
        }
    free_row(from);
    free_row(to);
}

static void check_packing(const fm_kernels *set)
{
    static const size_t depths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 53};
    for (size_t p = 0; p < FM_PRECISIONS; p++) {
        for (size_t d = 0; d < sizeof depths / sizeof *depths; d++)
            for (int left = 0; left < 2; left++)
                for (size_t count = 1; count <= (left ? set->products[p].mr : set->products[p].nr); count++) {
                    check_panel(set, p, left, true, count, depths[d]);
                    check_panel(set, p, left, false, count, depths[d]);
                }
    }
}

static void products(void **state)
{
    (void)state;
    static void (*const checks[])(const fm_kernels *) = {check_tile, check_tile_special, check_tile_bits,
                                                         check_packing};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        checks[i](reference);
        every_set(checks[i]);
    }
}

/* ---- products of integers ---- */

static void *zeroed(size_t bytes)
{
    void *memory = calloc(bytes, 1);
    assert_non_null(memory);
    return memory;
}

/* Of [-most, most], and every fourth of those an end of it. */
static int random_integer(fm_random *random, int most)
{
    uint32_t kind = fm_random_below(random, 8);
    return kind == 0 ? most : kind == 1 ? -most : (int)fm_random_below(random, 2 * (uint32_t)most + 1) - most;
}

/* least and most bound the weights; `ends` takes nothing but the largest magnitudes of both sides, whose sums go
 * furthest. */
static void check_int8_sums(const fm_int8_kernels *kernels, size_t depth, int least, int most, bool ends)
{
    size_t mr = kernels->mr, nr = kernels->nr, stride = depth + 64;
    int *a = zeroed(mr * depth * sizeof *a), *w = zeroed(nr * depth * sizeof *w);
    uint8_t *rows = zeroed(mr * stride * kernels->size), *panel = zeroed(nr * depth);
    int32_t *found = zeroed((mr + 1) * nr * sizeof *found);
    fm_random random = fm_random_seeded(depth, (uint32_t)(most + ends));
    for (size_t i = 0; i < mr * depth; i++) {
        a[i] = ends ? FM_LEVELS : random_integer(&random, FM_LEVELS);
        int16_t value = (int16_t)a[i]; /* little-endian, so that its first byte is the int8 */
        memcpy(rows + (i / depth * stride + i % depth) * kernels->size, &value, kernels->size);
    }
    for (size_t j = 0; j < nr; j++)
        for (size_t k = 0; k < depth; k++) {
            int value = ends ? (j % 2 ? least : most) : random_integer(&random, most);
            w[j * depth + k] = value;
            panel[(k / 4 * nr + j) * 4 + k % 4] = (uint8_t)(value + (int)kernels->offset);
        }
    for (size_t count = depth > 1000 ? mr : 1; count <= mr; count++) {
        memset(found, 0x55, (mr + 1) * nr * sizeof *found);
        if (kernels->begin) kernels->begin();
        kernels->tile(count, depth, rows, stride, panel, found);
        if (kernels->end) kernels->end();
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < nr; j++) {
                int64_t sum = 0;
                for (size_t k = 0; k < depth; k++)
                    sum += (int64_t)a[i * depth + k] * (w[j * depth + k] + (int)kernels->offset);
                if (found[i * nr + j] != sum)
                    fail_msg("tile of int8, depth %zu, %zu rows: (%zu, %zu) is %d, not %lld", depth, count, i, j,
                             (int)found[i * nr + j], (long long)sum);
            }
        for (size_t i = mr * nr; i < (mr + 1) * nr; i++) assert_int_equal(found[i], 0x55555555);
    }
    free(a);
    free(w);
    free(rows);
    free(panel);
    free(found);
}

static void check_int8_tile(const fm_kernels *set)
{
    for (size_t i = 0; set->int8[i]; i++) {
        const fm_int8_kernels *kernels = set->int8[i];
        if (!kernels->supported()) continue;
        for (size_t depth = 64; depth <= 832; depth += depth < 256 ? 64 : 576) {
            check_int8_sums(kernels, depth, -63, 63, false);
            check_int8_sums(kernels, depth, -63, 63, true);
            if (kernels->offset == 64) continue;
            check_int8_sums(kernels, depth, -127, 127, false);
            check_int8_sums(kernels, depth, -128, 127, true);
        }
        if (kernels->offset != 64) check_int8_sums(kernels, 65536, -128, 127, true);
    }
}

/* Sets keep integers of different sizes; all of them are the same as the reference's. */
static void check_quantise_at(const fm_kernels *set, size_t n, const float *x)
{
    size_t size = set->int8[0]->size, room = (n + 15) / 16 * 16;
    int8_t *right = zeroed(room);
    uint8_t *got = zeroed(room * size + 1);
    memset(right, 0x11, room);
    memset(got, 0x11, room * size + 1);
    int32_t right_sum, sum;
    float right_scale = reference->quantise(n, right, x, &right_sum), scale = set->quantise(n, got, x, &sum);
    assert_int_equal(sum, right_sum);
    if (isnan(right_scale)) assert_true(isnan(scale));
    else assert_true(scale == right_scale);
    for (size_t i = 0; i < room; i++) {
        int16_t value = 0;
        memcpy(&value, got + i * size, size);
        if (size == 1) value = (int8_t)value;
        if (value != right[i])
            fail_msg("%s, quantise of %zu: element %zu is %d, not %d", set->name, n, i, value, right[i]);
        if (i >= n) assert_int_equal(value, 0);
    }
    assert_int_equal(got[room * size], 0x11);
    free(right);
    free(got);
}

static void check_quantise(const fm_kernels *set)
{
    static const float scales[] = {1.0f, 1e-20f, 1e-33f, 1e30f, 0.0f}, specials[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (size_t n = 1; n > 0; n = next_size(n)) {
        for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
            float *x = random_row(n, 25, 0.1f * scales[s], scales[s]);
            check_quantise_at(set, n, x);
            free_row(x);
        }
        float *x = random_row(n, 26, 0.0f, 1.0f);
        for (size_t i = 0; i < n; i++) x[i] = (float)(i % 255) / 2.0f - 63.5f; /* ties, where 127 is the largest */
        x[n / 2] = 127.0f;
        check_quantise_at(set, n, x);
        for (size_t s = 0; s < sizeof specials / sizeof *specials; s++) {
            x[n / 2] = specials[s];
            check_quantise_at(set, n, x);
            x[n / 2] = 1.0f;
            x[n - 1] = specials[s];
            check_quantise_at(set, n, x);
        }
        free_row(x);
    }
}

static void check_dequantise(const fm_kernels *set)
{
    for (size_t n = 1; n > 0; n = next_size(n)) {
        float *scales = random_row(n, 27, 0.1f, 0.02f), *bias = random_row(n, 28, 0.0f, 1.0f);
        float *got = row_of(n), *right = row_of(n);
        int32_t *c = zeroed((n + 16) * sizeof *c); /* a tile's row is whole */
        fm_random random = fm_random_seeded(29, (uint32_t)n);
        for (size_t i = 0; i < n; i++) c[i] = (int32_t)fm_random_below(&random, 4000000) - 1000000;
        for (int with = 0; with < 2; with++) {
            set->dequantise(n, got, c, -123456, 0.01f, scales, with ? bias : NULL);
            for (size_t i = 0; i < n; i++) {
                double product = (c[i] + 123456.0) * 0.01f * scales[i];
                right[i] = (float)(product + (with ? bias[i] : 0.0));
                expect(set, "dequantise", n, i, got[i], right[i], 2.5e-7 * (fabs(product) + fabs(bias[i])));
            }
        }
        set->dequantise(n, got, c, 0, NAN, scales, bias);
        for (size_t i = 0; i < n; i++) assert_true(isnan(got[i]));
        free_row(scales);
        free_row(bias);
        free_row(got);
        free_row(right);
        free(c);
    }
}

static void integers(void **state)
{
    (void)state;
    static void (*const checks[])(const fm_kernels *) = {check_int8_tile, check_quantise, check_dequantise};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        checks[i](reference);
        every_set(checks[i]);
    }
    /* 127 levels to the largest magnitude. */
    const float x[] = {-2.0f, 0.5f, 1.0f, 0.0f};
    int8_t q[16];
    int32_t sum;
    assert_true(reference->quantise(4, q, x, &sum) == 2.0f / 127.0f);
    assert_true(q[0] == -127 && q[1] == 32 && q[2] == 64 && q[3] == 0 && sum == -31);
}

/* ---- elements ---- */

/* One rounding each, so the same bits. */
static void check_add_and_scale(const fm_kernels *set)
{
    for (size_t n = 1; n > 0; n = next_size(n)) {
        float *x = random_row(n, 1, 0.0f, 2.0f), *y = random_row(n, 2, 0.0f, 2.0f), *right = copy_row(n, y);
        set->add(n, y, x);
        reference->add(n, right, x);
        assert_memory_equal(y, right, n * sizeof *y);
        set->scale(n, y, 0.3f);
        reference->scale(n, right, 0.3f);
        assert_memory_equal(y, right, n * sizeof *y);
        free_row(x);
        free_row(y);
        free_row(right);
    }
}

/* The exponent -x^2 / 2 is known to x^2 / 2 roundings of 6e-8, and so is the tail, in relative terms; the rest is a
 * dozen roundings. Below 1e-37 numbers are subnormal or flushed to zero. */
static double gelu_within(float x)
{
    return 1.2e-6 + 6e-8 * fmin((double)x * x, 200.0);
}

static void check_gelu_at(const fm_kernels *set, size_t n, const float *x)
{
    float *y = row_of(n), *right = row_of(n), *d = random_row(n, 3, 0.0f, 1.0f), *d_right = copy_row(n, d);
    set->bias_gelu(n, y, x, NULL, NULL);
    reference->bias_gelu(n, right, x, NULL, NULL);
    for (size_t i = 0; i < n; i++)
        expect(set, "bias_gelu", n, i, y[i], right[i], gelu_within(x[i]) * fabs(right[i]) + 1e-36);
    memcpy(right, x, n * sizeof *x);
    set->bias_gelu(n, right, right, NULL, NULL);
    assert_memory_equal(right, y, n * sizeof *y);
    memcpy(y, d, n * sizeof *d);
    set->gelu_backward(n, d, x);
    reference->gelu_backward(n, d_right, x);
    /* The slope is a sum of terms up to 1.1 that may cancel. */
    for (size_t i = 0; i < n; i++) expect(set, "gelu_backward", n, i, d[i], d_right[i], 1e-6 * fabs(y[i]));
    free_row(y);
    free_row(right);
    free_row(d);
    free_row(d_right);
}

/* The same numbers whether sums come with their bias or without, and whether they are kept or not. */
static void check_bias_at(const fm_kernels *set, size_t n, const float *x)
{
    float *bias = random_row(n, 5, 0.0f, 1.0f), *sum = copy_row(n, x), *right = row_of(n), *y = row_of(n);
    float *pre = row_of(n);
    bias[0] = -0.0f;
    reference->add(n, sum, bias);
    set->bias_gelu(n, right, sum, NULL, pre);
    assert_memory_equal(pre, sum, n * sizeof *pre);
    set->bias_gelu(n, y, x, bias, NULL);
    assert_memory_equal(y, right, n * sizeof *y);
    memset(pre, 0, n * sizeof *pre);
    memcpy(y, x, n * sizeof *y);
    set->bias_gelu(n, y, y, bias, pre);
    assert_memory_equal(y, right, n * sizeof *y);
    assert_memory_equal(pre, sum, n * sizeof *pre);
    float *memory = row_of(n + 24);
    float *aligned = memory + (64 - (uintptr_t)memory % 64) / sizeof *memory; /* to 64 bytes, and from 8 on to 32 */
    for (size_t start = 0; start <= 8; start += 8) {
        memset(aligned, 0, (n + 8) * sizeof *aligned);
        set->bias_gelu(n, y, x, bias, aligned + start);
        if (set->settle) set->settle();
        assert_memory_equal(y, right, n * sizeof *y);
        assert_memory_equal(aligned + start, sum, n * sizeof *aligned);
    }
    free_row(memory);
    free_row(bias);
    free_row(sum);
    free_row(right);
    free_row(y);
    free_row(pre);
}

static void check_gelu(const fm_kernels *set)
{
    static const float odd[] = {0.0f,     -0.0f,    1e-38f,    -1e-38f, 1e-45f, 1e-20f,    -1e-20f,   13.0f,
                                -13.0f,   -13.2f,   -14.0f,    20.0f,   -20.0f, 100.0f,    -1e3f,     1e18f,
                                -1e18f,   1e19f,    -1e19f,    3e19f,   -3e19f, 1e30f,     -1e30f,    FLT_MAX,
                                -FLT_MAX, INFINITY, -INFINITY, NAN,     -NAN,   -0.75179f, -0.75180f, 5.4199f};
    for (size_t n = 1; n > 0; n = next_size(n)) {
        float *x = random_row(n, 4, 0.0f, 3.0f);
        x[0] = -0.0f; /* which stays so */
        check_gelu_at(set, n, x);
        check_bias_at(set, n, x);
        for (size_t i = 0; i < n; i++) x[i] = 26.0f * ((float)i + 0.5f) / (float)n - 13.0f;
        check_gelu_at(set, n, x);
        free_row(x);
    }
    check_gelu_at(set, sizeof odd / sizeof *odd, odd);
}

static void check_exp_shift(const fm_kernels *set)
{
    static const float shifts[] = {0.0f, 3.5f, -20.0f, 70.0f};
    for (size_t n = 1; n > 0; n = next_size(n))
        for (size_t s = 0; s < sizeof shifts / sizeof *shifts; s++) {
            float *x = random_row(n, 5, 0.0f, 15.0f), *got = copy_row(n, x), *right = copy_row(n, x);
            set->exp_shift(n, got, 0.7f, shifts[s], 2.5f);
            reference->exp_shift(n, right, 0.7f, shifts[s], 2.5f);
            for (size_t i = 0; i < n; i++) {
                /* x * 0.7 and the difference are rounded before the exponential is taken. */
                double relative = 1e-6 + 6e-8 * (fabs(0.7 * x[i]) + fabs(0.7 * x[i] - shifts[s]));
                expect(set, "exp_shift", n, i, got[i], right[i], relative * right[i] + 3e-38);
            }
            free_row(x);
            free_row(got);
            free_row(right);
        }
}

/* The whole range of the exponential: zero below, infinity above, never a clamped number. */
static void check_exp_range(const fm_kernels *set)
{
    enum { STEPS = 20001 };
    float *x = row_of(STEPS), *got = row_of(STEPS);
    for (size_t i = 0; i < STEPS; i++) got[i] = x[i] = -120.0f + 240.0f * (float)i / (STEPS - 1);
    set->exp_shift(STEPS, got, 1.0f, 0.0f, 1.0f);
    for (size_t i = 0; i < STEPS; i++) {
        double right = exp(x[i]);
        if (x[i] <= -88.0f) assert_true(got[i] == 0.0f);
        else if (x[i] <= 88.3f) expect(set, "exp", STEPS, i, got[i], right, 1.6e-7 * right + 1.2e-38);
        else if (x[i] >= 88.8f) assert_true(got[i] == INFINITY);
        else assert_true(got[i] == INFINITY || fabs(got[i] - right) <= 1.6e-7 * right);
    }
    free_row(x);
    free_row(got);
    static const float odd[] = {NAN, -NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0.0f, -0.0f, 1e-45f, -1e-38f};
    enum { ODD = sizeof odd / sizeof *odd };
    float special[ODD], right[ODD];
    memcpy(special, odd, sizeof odd);
    memcpy(right, odd, sizeof odd);
    set->exp_shift(ODD, special, 1.0f, 0.0f, 1.0f);
    reference->exp_shift(ODD, right, 1.0f, 0.0f, 1.0f);
    expect_row(set, "exp", ODD, special, right, 2e-7, 0.0);
}

static void elements(void **state)
{
    (void)state;
    every_set(check_add_and_scale);
    check_gelu(reference);
    every_set(check_gelu);
    every_set(check_exp_shift);
    every_set(check_exp_range);
}

/* ---- sums ---- */

static void check_sums(const fm_kernels *set)
{
    for (size_t n = 1; n > 0; n = next_size(n)) {
        float *a = random_row(n, 6, 0.0f, 1.0f), *b = random_row(n, 7, 0.5f, 1.0f), *product = copy_row(n, a);
        for (size_t i = 0; i < n; i++) product[i] *= b[i];
        /* A lane sums n / W terms, each with one rounding. */
        expect(set, "dot", n, 0, set->dot(n, a, b), reference->dot(n, a, b),
               6e-8 * ((double)n / 8 + 6) * sum_of_magnitudes(n, product));
        double squares = reference->squares(n, b);
        /* Lanes of at most 256 / W squares, the rest in double. */
        expect(set, "squares", n, 0, set->squares(n, b), squares, 2.5e-6 * squares);
        free_row(a);
        free_row(b);
        free_row(product);
    }
    float *big = row_of(300);
    for (size_t i = 0; i < 300; i++) big[i] = 1e18f; /* the sum of their squares just fits a float */
    expect(set, "squares", 300, 0, set->squares(300, big), reference->squares(300, big), 1e34);
    free_row(big);
}

static void check_layer_norm_at(const fm_kernels *set, size_t n, const float *x, double within)
{
    float *gamma = random_row(n, 8, 1.0f, 0.3f), *beta = random_row(n, 9, 0.0f, 0.3f), *out = row_of(n);
    float *right = row_of(n), stats[2], right_stats[2];
    set->layer_norm(n, out, x, gamma, beta, 1e-12f, stats);
    reference->layer_norm(n, right, x, gamma, beta, 1e-12f, right_stats);
    double largest = 0.0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(x[i]));
    expect(set, "layer_norm's mean", n, 0, stats[0], right_stats[0], 1e-6 * largest);
    expect(set, "layer_norm's rstd", n, 1, stats[1], right_stats[1], within * right_stats[1]);
    /* Normed values reach sqrt(n); what a mean known to 1e-6 of the largest value adds is in `within`. */
    expect_row(set, "layer_norm", n, out, right, within, within * sqrt((double)n));
    free_row(gamma);
    free_row(beta);
    free_row(out);
    free_row(right);
}

static void check_layer_norm(const fm_kernels *set)
{
    for (size_t n = 2; n > 0; n = next_size(n)) {
        static const float scales[] = {1.0f, 1e-5f, 1e4f, 1e15f};
        for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
            float *x = random_row(n, 10, 0.5f * scales[s], scales[s]);
            /* Two values may lie close, which leaves less of them after the mean is taken off; and an epsilon of
             * 1e-12 beside a variance of 1e-10 does not hide what is lost. */
            check_layer_norm_at(set, n, x, n == 2 ? 1e-4 : 5e-6);
            free_row(x);
        }
    }
    /* A row of equal values has no variance: epsilon alone decides, and the result is beta. */
    float *flat = row_of(48);
    for (size_t i = 0; i < 48; i++) flat[i] = 3.25f;
    check_layer_norm_at(set, 48, flat, 1e-6);
    free_row(flat);
}

/* Where the squares of finite values overflow, the result is right or NaN, and not just beta. */
static void check_layer_norm_overflow(const fm_kernels *set)
{
    enum { N = 37 };
    float x[N], ones[N], out[N], stats[2];
    for (size_t i = 0; i < N; i++) {
        x[i] = i % 2 ? 1e25f : -1e25f;
        ones[i] = 1.0f;
    }
    set->layer_norm(N, out, x, ones, ones, 1e-12f, stats);
    for (size_t i = 0; i < N; i++) assert_true(isnan(out[i]) || fabsf(out[i] - (i % 2 ? 2.0f : 0.0f)) < 0.1f);
}

static void check_layer_norm_backward(const fm_kernels *set)
{
    for (size_t n = 2; n > 0; n = next_size(n)) {
        float *x = random_row(n, 11, 0.3f, 2.0f), *gamma = random_row(n, 12, 1.0f, 0.3f), *out = row_of(n), stats[2];
        float *d_out = random_row(n, 13, 0.1f, 1.0f), *d_x = row_of(n), *d_gamma = random_row(n, 14, 0.0f, 1.0f);
        float *d_beta = random_row(n, 15, 0.0f, 1.0f), *right_x = row_of(n), *right_gamma = copy_row(n, d_gamma);
        float *right_beta = copy_row(n, d_beta);
        reference->layer_norm(n, out, x, gamma, d_beta, 1e-12f, stats);
        set->layer_norm_backward(n, d_x, d_gamma, d_beta, d_out, x, gamma, stats);
        reference->layer_norm_backward(n, right_x, right_gamma, right_beta, d_out, x, gamma, stats);
        /* d_x is a difference of terms as large as normed values (up to sqrt(n)) times gradients, times rstd. */
        expect_row(set, "layer_norm_backward's d_x", n, d_x, right_x, 0.0, 3e-6 * sqrt((double)n) * stats[1]);
        expect_row(set, "layer_norm_backward's d_gamma", n, d_gamma, right_gamma, 1e-6, 2e-6);
        expect_row(set, "layer_norm_backward's d_beta", n, d_beta, right_beta, 0.0, 0.0);
        /* In place. */
        memcpy(right_x, d_out, n * sizeof *d_out);
        set->layer_norm_backward(n, right_x, d_gamma, d_beta, right_x, x, gamma, stats);
        assert_memory_equal(right_x, d_x, n * sizeof *d_x);
        float *rows[] = {x, gamma, out, d_out, d_x, d_gamma, d_beta, right_x, right_gamma, right_beta};
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) free_row(rows[i]);
    }
}

static void sums(void **state)
{
    (void)state;
    every_set(check_sums);
    every_set(check_layer_norm);
    check_layer_norm_overflow(reference);
    every_set(check_layer_norm_overflow);
    every_set(check_layer_norm_backward);
}

/* ---- softmax and the loss ---- */

static void check_softmax_at(const fm_kernels *set, size_t n, const float *x, float scale)
{
    float *got = copy_row(n, x), *right = copy_row(n, x);
    float log_sum = set->softmax(n, got, scale), right_sum = reference->softmax(n, right, scale);
    double largest = 0.0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(x[i])) largest = fmax(largest, fabs((double)x[i] * scale));
    /* Both x * scale and the distance from the largest are rounded before the exponential; the sum of n terms is. */
    double relative = 1e-6 + 6e-8 * ((double)n / 8 + 3.0 * fmin(largest, 200.0));
    expect_row(set, "softmax", n, got, right, relative, 1.2e-38);
    expect(set, "softmax's log sum", n, 0, log_sum, right_sum, 2e-7 * (largest + 1.0) + 6e-8 * (double)n / 8);
    free_row(got);
    free_row(right);
}

static void check_softmax(const fm_kernels *set)
{
    for (size_t n = 1; n > 0; n = next_size(n)) {
        static const float deviations[] = {0.0f, 1.0f, 30.0f, 1e3f, 1e30f};
        for (size_t s = 0; s < sizeof deviations / sizeof *deviations; s++) {
            float *x = random_row(n, 16, 0.2f, deviations[s]);
            /* Where differences are beyond the exponential's range no scale may be rounded into another winner. */
            check_softmax_at(set, n, x, deviations[s] < 1e3f ? 0.35f : 0.5f);
            free_row(x);
        }
    }
}

static void check_softmax_backward(const fm_kernels *set)
{
    for (size_t n = 1; n > 0; n = next_size(n)) {
        float *p = random_row(n, 17, 0.0f, 1.0f), *d = random_row(n, 18, 0.0f, 1.0f), *right = copy_row(n, d);
        reference->softmax(n, p, 1.0f);
        set->softmax_backward(n, d, p, 0.125f);
        reference->softmax_backward(n, right, p, 0.125f);
        /* The slopes are up to 5, and their mean is a sum of n terms. */
        for (size_t i = 0; i < n; i++)
            expect(set, "softmax_backward", n, i, d[i], right[i],
                   p[i] * 0.125 * 10.0 * (3e-7 + 6e-8 * (double)n / 8) + 1e-38);
        free_row(p);
        free_row(d);
        free_row(right);
    }
}

static void check_log_sum_exp_at(const fm_kernels *set, size_t n, const float *x, float value)
{
    uint32_t above = 99, right_above;
    double right = reference->log_sum_exp(n, x, value, &right_above), got = set->log_sum_exp(n, x, value, &above);
    expect(set, "log_sum_exp", n, 0, got, right, 2e-7 * fabs(right) + 6e-8 * ((double)n / 8 + 10));
    assert_int_equal(above, right_above);
}

static void check_log_sum_exp(const fm_kernels *set)
{
    for (size_t n = 1; n > 0; n = next_size(n)) {
        static const float deviations[] = {0.0f, 1.0f, 20.0f, 1e6f, 1e37f};
        for (size_t s = 0; s < sizeof deviations / sizeof *deviations; s++) {
            float *x = random_row(n, 19, -0.5f, deviations[s]);
            check_log_sum_exp_at(set, n, x, x[n / 2]);
            check_log_sum_exp_at(set, n, x, 0.0f);
            free_row(x);
        }
    }
}

static void softmax_and_loss(void **state)
{
    (void)state;
    every_set(check_softmax);
    every_set(check_softmax_backward);
    every_set(check_log_sum_exp);
}

/* ---- NaN and infinity at every place of a row ---- */

static void check_specials_in(const fm_kernels *set, size_t n, size_t at, float special)
{
    float *x = random_row(n, 20, 0.0f, 2.0f), *ones = row_of(n), *out = row_of(n), *right = row_of(n);
    float stats[2], right_stats[2];
    for (size_t i = 0; i < n; i++) ones[i] = 1.0f;
    x[at] = special;
    check_gelu_at(set, n, x);
    check_softmax_at(set, n, x, 0.5f);
    check_log_sum_exp_at(set, n, x, 0.5f);
    expect(set, "squares", n, at, set->squares(n, x), reference->squares(n, x), 1e-4 * (double)n);
    expect(set, "dot", n, at, set->dot(n, x, ones), reference->dot(n, x, ones), 1e-4 * (double)n);

    memcpy(out, x, n * sizeof *x);
    memcpy(right, x, n * sizeof *x);
    set->exp_shift(n, out, 1.0f, 0.5f, 1.0f);
    reference->exp_shift(n, right, 1.0f, 0.5f, 1.0f);
    expect_row(set, "exp_shift", n, out, right, 1e-5, 1e-37);

    set->layer_norm(n, out, x, ones, ones, 1e-12f, stats);
    reference->layer_norm(n, right, x, ones, ones, 1e-12f, right_stats);
    expect_row(set, "layer_norm", n, out, right, 1e-4, 1e-4);

    float *finite = random_row(n, 21, 0.0f, 2.0f), *d_gamma = random_row(n, 22, 0.0f, 1.0f);
    float *d_beta = copy_row(n, d_gamma), *right_gamma = copy_row(n, d_gamma), *right_beta = copy_row(n, d_gamma);
    reference->layer_norm(n, out, finite, ones, ones, 1e-12f, stats);
    set->layer_norm_backward(n, out, d_gamma, d_beta, x, finite, ones, stats);
    reference->layer_norm_backward(n, right, right_gamma, right_beta, x, finite, ones, stats);
    expect_row(set, "layer_norm_backward's d_x", n, out, right, 1e-4, 1e-4);
    expect_row(set, "layer_norm_backward's d_gamma", n, d_gamma, right_gamma, 1e-5, 1e-5);
    expect_row(set, "layer_norm_backward's d_beta", n, d_beta, right_beta, 0.0, 0.0);

    memcpy(out, x, n * sizeof *x);
    memcpy(right, x, n * sizeof *x);
    reference->softmax(n, finite, 1.0f);
    set->softmax_backward(n, out, finite, 0.125f);
    reference->softmax_backward(n, right, finite, 0.125f);
    expect_row(set, "softmax_backward", n, out, right, 1e-5, 1e-5);

    float *rows[] = {x, ones, out, right, finite, d_gamma, d_beta, right_gamma, right_beta};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) free_row(rows[i]);
}

static void check_specials(const fm_kernels *set)
{
    static const float specials[] = {NAN, -NAN, INFINITY, -INFINITY};
    static const size_t sizes[] = {2, 7, 8, 9, 16, 17, 33, 53};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t at = 0; at < sizes[s]; at++)
            for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
                check_specials_in(set, sizes[s], at, specials[i]);
}

static void specials(void **state)
{
    (void)state;
    every_set(check_specials);
}

/* ---- the optimizer ---- */

static void check_adamw(const fm_kernels *set)
{
    for (size_t n = 1; n > 0; n = next_size(n)) {
        float *g = random_row(n, 23, 0.0f, 1.0f), *p = random_row(n, 24, 0.0f, 1.0f), *right = copy_row(n, p);
        float *m = random_row(n, 25, 0.0f, 0.1f), *right_m = copy_row(n, m), *v = random_row(n, 26, 0.0f, 0.1f);
        for (size_t i = 0; i < n; i++) v[i] *= v[i];
        g[n / 2] = m[n / 2] = v[n / 2] = 0.0f; /* nothing to divide by but epsilon */
        right_m[n / 2] = 0.0f;
        float *right_v = copy_row(n, v);
        set->adamw(n, p, g, m, v, 0.7f, 0.9f, 0.999f, 1e-8f, 1e-2f, 1.3f, 0.99f);
        reference->adamw(n, right, g, right_m, right_v, 0.7f, 0.9f, 0.999f, 1e-8f, 1e-2f, 1.3f, 0.99f);
        expect_row(set, "adamw's first moment", n, m, right_m, 2e-7, 1e-7);
        expect_row(set, "adamw's second moment", n, v, right_v, 3e-7, 0.0);
        /* A change is 1e-2 * m / sqrt(v), and the parameter it is taken from is rounded. */
        for (size_t i = 0; i < n; i++)
            expect(set, "adamw", n, i, p[i], right[i],
                   1.2e-7 * fabs(p[i]) + 1e-2 * 1e-6 * (fabs(m[i]) + 0.1) / (sqrt(v[i]) + 1e-8));
        assert_true(p[n / 2] == right[n / 2]);
        float *rows[] = {g, p, right, m, right_m, v, right_v};
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) free_row(rows[i]);
    }
}

static void optimizer(void **state)
{
    (void)state;
    every_set(check_adamw);
}

/* ---- dropout ---- */

/* One source for all sets: the same elements and the same bits; and the numbers are those of fm_threefry. */
static void check_dropout(const fm_kernels *set)
{
    for (size_t n = 1; n > 0; n = next_size(n)) {
        fm_drop_stream stream = {{3, 9}, 5u << 20 | 7, 4096, 19661, 1.0f / 0.7f};
        float *x = random_row(n, 27, 0.0f, 1.0f), *got = copy_row(n, x);
        set->dropout(n, got, &stream);
        for (size_t i = 0; i < n; i++) {
            const uint32_t counter[2] = {stream.counter, (uint32_t)(stream.first / 4 + i / 4)};
            uint32_t words[2];
            fm_threefry(stream.key, counter, words);
            uint32_t bits = words[i / 2 % 2] >> (16 * (i % 2)) & 0xffff;
            assert_true(got[i] == (bits < stream.threshold ? 0.0f : x[i] * stream.scale));
        }
        /* The second part of a row alone, and no or full dropout. */
        if (n > 8) {
            float *part = copy_row(n - 8, x + 8);
            fm_drop_stream later = stream;
            later.first += 8;
            set->dropout(n - 8, part, &later);
            assert_memory_equal(part, got + 8, (n - 8) * sizeof *part);
            free_row(part);
        }
        stream.threshold = 65536;
        set->dropout(n, got, &stream);
        for (size_t i = 0; i < n; i++) assert_true(got[i] == 0.0f);
        stream.threshold = 0;
        stream.scale = 1.0f;
        memcpy(got, x, n * sizeof *x);
        set->dropout(n, got, &stream);
        assert_memory_equal(got, x, n * sizeof *x);
        free_row(x);
        free_row(got);
    }
}

/* How much is kept: 30 % of 2^17 elements, within five standard deviations. */
static void check_dropout_rate(const fm_kernels *set)
{
    enum { N = 1 << 17 };
    fm_drop_stream stream = {{1, 2}, 3, 0, 19661, 1.0f};
    float *x = row_of(N);
    double kept = 0.0;
    for (size_t i = 0; i < N; i++) x[i] = 1.0f;
    set->dropout(N, x, &stream);
    for (size_t i = 0; i < N; i++) kept += x[i];
    assert_true(fabs(kept / N - (1.0 - 19661.0 / 65536.0)) < 5.0 * sqrt(0.21 / N));
    free_row(x);
}

static void dropout(void **state)
{
    (void)state;
    check_dropout(reference);
    check_dropout_rate(reference);
    every_set(check_dropout);
}

/* ---- the reference ---- */

/* The reference is plain, but it too can be wrong: values of the normal distribution from tables, and sums by hand. */
static void reference_is_right(void **state)
{
    (void)state;
    float x[] = {-3.0f, -1.0f, 0.0f, 1.0f, 3.0f}, y[5], d[] = {1.0f, 1.0f, 1.0f, 2.0f, 1.0f};
    /* Phi(1) = 0.841344746, Phi(3) = 0.998650102; phi(1) = 0.241970725, phi(3) = 0.004431848. */
    const float gelu[] = {-0.004049694f, -0.158655254f, 0.0f, 0.841344746f, 2.995950306f};
    const float slope[] = {-0.011945647f, -0.083315471f, 0.5f, 2.166630942f, 1.011945647f};
    reference->bias_gelu(5, y, x, NULL, NULL);
    expect_row(reference, "bias_gelu", 5, y, gelu, 0.0, 1e-7);
    reference->gelu_backward(5, d, x);
    expect_row(reference, "gelu_backward", 5, d, slope, 0.0, 2e-7);

    float row[] = {1.0f, 3.0f}, gamma[] = {2.0f, 2.0f}, beta[] = {0.5f, 0.0f}, out[2], stats[2];
    reference->layer_norm(2, out, row, gamma, beta, 0.0f, stats);
    assert_true(stats[0] == 2.0f && stats[1] == 1.0f && out[0] == -1.5f && out[1] == 2.0f);

    /* exp(ln 3) and 1: probabilities of 3/4 and 1/4, log sum ln 4; one value above 0.5. */
    float logits[] = {1.09861229f, 0.0f};
    uint32_t above;
    expect(reference, "log_sum_exp", 2, 0, reference->log_sum_exp(2, logits, 0.5f, &above), 1.38629436, 1e-6);
    assert_int_equal(above, 1);
    expect(reference, "softmax", 2, 0, reference->softmax(2, logits, 1.0f), 1.38629436, 1e-6);
    expect(reference, "softmax", 2, 0, logits[0], 0.75, 1e-7);
    expect(reference, "softmax", 2, 1, logits[1], 0.25, 1e-7);
    float slopes[] = {1.0f, 0.0f};
    reference->softmax_backward(2, slopes, logits, 1.0f);
    expect(reference, "softmax_backward", 2, 0, slopes[0], 0.1875, 1e-7);
    expect(reference, "softmax_backward", 2, 1, slopes[1], -0.1875, 1e-7);

    /* One step of AdamW from zero moments goes by the learning rate against the gradient's sign. */
    float p[] = {1.0f}, g[] = {-0.02f}, m[] = {0.0f}, v[] = {0.0f};
    reference->adamw(1, p, g, m, v, 1.0f, 0.9f, 0.999f, 1e-8f, 0.01f / 0.1f, 1.0f / sqrtf(0.001f), 1.0f);
    expect(reference, "adamw", 1, 0, p[0], 1.01, 1e-6);
    expect(reference, "adamw", 1, 0, m[0], -0.002, 1e-9);
    expect(reference, "adamw", 1, 0, v[0], 4e-7, 1e-10); /* 1 - 0.999f is not quite 0.001 */
}

/* What fm_cpu_peak builds on: it counts what it does, and its sums stay finite. */
static void check_spin(const fm_kernels *set)
{
    for (size_t p = 0; p < FM_PRECISIONS; p++) {
        float sink = 0.0f;
        double operations = set->products[p].spin(100, &sink);
        assert_true(operations > 0.0 && operations == set->products[p].spin(50, &sink) * 2.0 && isfinite(sink));
    }
}

static void spin(void **state)
{
    (void)state;
    check_spin(reference);
    every_set(check_spin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_is_right),
        cmocka_unit_test(products),
        cmocka_unit_test(integers),
        cmocka_unit_test(elements),
        cmocka_unit_test(sums),
        cmocka_unit_test(softmax_and_loss),
        cmocka_unit_test(specials),
        cmocka_unit_test(optimizer),
        cmocka_unit_test(dropout),
        cmocka_unit_test(spin),
    };
    return cmocka_run_group_tests(tests, name_what_is_not_tested, NULL);
}
