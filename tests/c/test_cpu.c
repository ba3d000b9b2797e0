/* test_cpu.c - the operations of the cpu backend (the table of core/ops/ops.h) against plain loops in double precision,
 * on odd shapes, on every instruction set that the machine runs and with the same bits for any number of threads; and
 * the choice of an instruction set. The kernels alone are in test_kernels.c, a whole model in test_network.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"

/* ---- a backend under test ---- */

typedef struct rig {
    fm_backend *backend;
    const fm_ops *ops;
    const char *set;
    fm_precision precision; /* of products */
    int threads;
    uint32_t seed;  /* of the next random tensor */
    fm_buffer seen; /* every number that was read back, to compare between thread counts */
} rig;

typedef void (*check)(rig *r);

static rig open_rig(const char *set, int threads)
{
    rig r = {.set = set, .threads = threads};
    fm_error err;
    if (fm_cpu_create(&r.backend, set, threads, &err)) fail_msg("%s", err.text);
    r.ops = r.backend->ops;
    return r;
}

static void close_rig(rig *r)
{
    fm_error err;
    if (r->ops->finish(r->backend, &err)) fail_msg("%s", err.text);
    r->ops->destroy(r->backend);
}

/* Runs a check on every instruction set of this machine with 1, 2, 3 and 5 threads, which must all see the same bits.
 */
static void in_precision(fm_precision precision, check run)
{
    static const int threads[] = {1, 2, 3, 5};
    for (const char *const *set = fm_cpu_instruction_sets(); *set; set++) {
        fm_buffer first = {0};
        for (size_t i = 0; i < sizeof threads / sizeof *threads && fm_cpu_has(*set); i++) {
            rig r = open_rig(*set, threads[i]);
            r.precision = precision;
            r.ops->precision(r.backend, precision);
            run(&r);
            close_rig(&r);
            assert_false(r.seen.failed);
            if (i == 0) {
                first = r.seen;
                continue;
            }
            assert_int_equal(r.seen.size, first.size);
            if (r.seen.size > 0 && memcmp(r.seen.data, first.data, first.size) != 0)
                fail_msg("%s: %d threads give other bits than one", *set, threads[i]);
            fm_buffer_free(&r.seen);
        }
        fm_buffer_free(&first);
    }
}

static void everywhere(check run)
{
    in_precision(FM_PRECISION_F32, run);
}

/* ---- tensors, each beside its numbers on the host ---- */

typedef struct array {
    fm_tensor at;
    float *x;
} array;

static size_t size_of(fm_tensor x)
{
    return (size_t)x.rows * x.cols;
}

static fm_tensor tensor(rig *r, fm_type type, uint32_t rows, uint32_t cols)
{
    fm_tensor x = {0, type, rows, cols, 0};
    assert_int_equal(r->ops->create(r->backend, size_of(x), &x.buffer, NULL), FM_OK);
    return x;
}

/* Numbers spread evenly around `mean`. */
static array numbers(rig *r, uint32_t rows, uint32_t cols, float mean, float deviation)
{
    array a = {tensor(r, FM_F32, rows, cols), calloc((size_t)rows * cols + 1, sizeof(float))};
    assert_non_null(a.x);
    uint32_t random = ++r->seed * 2654435761u;
    for (size_t i = 0; i < size_of(a.at); i++) {
        random = random * 1664525u + 1013904223u;
        /* The high bits: a uniform number in [0, 1) less 1/2, of which the deviation is sqrt(1 / 12). */
        a.x[i] = mean + deviation * 3.46f * ((float)(random >> 8) * 0x1p-24f - 0.5f);
    }
    r->ops->write(r->backend, a.at, a.x);
    return a;
}

static array random_array(rig *r, uint32_t rows, uint32_t cols)
{
    return numbers(r, rows, cols, 0.1f, 1.0f);
}

static fm_tensor words(rig *r, const uint32_t *from, uint32_t rows, uint32_t cols)
{
    fm_tensor x = tensor(r, FM_U32, rows, cols);
    r->ops->write(r->backend, x, from);
    return x;
}

static void drop_tensor(rig *r, fm_tensor x)
{
    r->ops->release(r->backend, x.buffer);
}

static void drop_array(rig *r, array a)
{
    drop_tensor(r, a.at);
    free(a.x);
}

/* Takes a tensor's numbers into a.x. */
static void fetch(rig *r, array a)
{
    r->ops->read(r->backend, a.at, a.x);
    fm_error err;
    if (r->ops->finish(r->backend, &err)) fail_msg("%s", err.text);
    fm_buffer_add(&r->seen, a.x, size_of(a.at) * sizeof(float));
}

static double *zeros(size_t n)
{
    double *x = calloc(n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

/* Every number of `got` within `within` times `scale` (one a number, or one for all) of `right`; both are freed. */
static void expect(rig *r, const char *what, array got, double *right, double *scale, double within)
{
    fetch(r, got);
    for (size_t i = 0; i < size_of(got.at); i++) {
        double allowed = within * (scale ? scale[i] : 1.0);
        if (!(fabs(got.x[i] - right[i]) <= allowed))
            fail_msg("%s, %d threads: %s (%u x %u): element %zu is %.9g, not %.9g within %.2g", r->set, r->threads,
                     what, got.at.rows, got.at.cols, i, got.x[i], right[i], allowed);
    }
    free(right);
    free(scale);
}

/* What a sum of n products may be off, in units of the sum of their magnitudes: a rounding of 6e-8 a term, of which the
 * signs do not agree. */
#define SUM_WITHIN(n) (6e-8 * (4.0 + 2.0 * sqrt((double)(n))))

/* ---- linear ---- */

/* Rows, columns and depth around tiles, and beyond the blocks of a product. */
static const uint32_t product_shapes[][3] = {{1, 1, 1},     {1, 33, 7},    {2, 16, 300},  {3, 15, 17},
                                             {5, 31, 289},  {12, 32, 64},  {13, 65, 5},   {97, 257, 29},
                                             {100, 7, 577}, {7, 2307, 11}, {1540, 19, 3}, {769, 3, 290}};
#define SHAPES (sizeof product_shapes / sizeof *product_shapes)

static double gelu(double x)
{
    return 0.5 * x * erfc(-x * sqrt(0.5));
}

static double gelu_slope(double x)
{
    return 0.5 * erfc(-x * sqrt(0.5)) + x * exp(-0.5 * x * x) / sqrt(2.0 * 3.14159265358979324);
}

static double *doubles(const float *from, size_t n)
{
    double *x = zeros(n);
    for (size_t i = 0; i < n; i++) x[i] = from[i];
    return x;
}

/* What an operand of a product is rounded to, as doubles; freed by the caller. */
static double *operand(const rig *r, array a)
{
    double *x = zeros(size_of(a.at));
    for (size_t i = 0; i < size_of(a.at); i++) {
        int exponent = 0;
        double fraction = frexp(a.x[i], &exponent);
        x[i] = r->precision == FM_PRECISION_BF16 ? ldexp(nearbyint(ldexp(fraction, 8)), exponent - 8) : a.x[i];
    }
    return x;
}

static void check_linear(rig *r)
{
    for (size_t s = 0; s < SHAPES; s++) {
        uint32_t m = product_shapes[s][0], n = product_shapes[s][1], k = product_shapes[s][2];
        array x = random_array(r, m, k), w = random_array(r, n, k), bias = random_array(r, 1, n);
        array y = random_array(r, m, n), pre = random_array(r, m, n), packed = random_array(r, m, n);
        double *left = operand(r, x), *weights = operand(r, w);
        for (int kind = 0; kind < 4; kind++) { /* plain; bias; gelu; gelu with pre */
            bool with_gelu = kind >= 2;
            double *right = zeros(size_of(y.at)), *scale = zeros(size_of(y.at)), *right_pre = zeros(size_of(y.at)),
                   *scale_pre = zeros(size_of(y.at));
            for (size_t i = 0; i < m; i++)
                for (size_t j = 0; j < n; j++) {
                    double sum = kind > 0 ? bias.x[j] : 0.0, magnitude = fabs(sum);
                    for (size_t l = 0; l < k; l++) {
                        double product = left[i * k + l] * weights[j * k + l];
                        sum += product;
                        magnitude += fabs(product);
                    }
                    right_pre[i * n + j] = sum;
                    right[i * n + j] = with_gelu ? gelu(sum) : sum;
                    scale[i * n + j] = scale_pre[i * n + j] = magnitude + 1.0;
                }
            r->ops->linear(r->backend, y.at, x.at, w.at, kind > 0 ? bias.at : FM_NO_TENSOR,
                           with_gelu ? FM_EPILOGUE_GELU : FM_EPILOGUE_NONE, kind == 3 ? pre.at : FM_NO_TENSOR);
            expect(r, "linear", y, right, scale, 2.0 * SUM_WITHIN(k)); /* gelu's slope is at most 1.13 */
            if (kind == 3) expect(r, "linear's pre", pre, right_pre, scale_pre, SUM_WITHIN(k));
            else {
                free(right_pre);
                free(scale_pre);
            }
            /* Weights that the backend may pack for good, at their first use and the next: the same bits. */
            fm_tensor imported = w.at;
            assert_int_equal(r->ops->import(r->backend, w.x, size_of(w.at), &imported.buffer, NULL), FM_OK);
            for (int twice = 0; twice < 2; twice++) {
                r->ops->linear(r->backend, packed.at, x.at, imported, kind > 0 ? bias.at : FM_NO_TENSOR,
                               with_gelu ? FM_EPILOGUE_GELU : FM_EPILOGUE_NONE, FM_NO_TENSOR);
                fetch(r, packed);
                assert_memory_equal(packed.x, y.x, size_of(y.at) * sizeof(float));
            }
            drop_tensor(r, imported);
        }
        array all[] = {x, w, bias, y, pre, packed};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop_array(r, all[i]);
        free(left);
        free(weights);
    }
}

/* ---- linear layers of int8 weights ---- */

typedef struct int8_matrix {
    fm_tensor at;
    int8_t *values;
    float *scales;
} int8_matrix;

static int8_matrix random_int8(rig *r, uint32_t rows, uint32_t cols, int most)
{
    int8_matrix w = {{0, FM_I8, rows, cols, 0}, malloc((size_t)rows * cols), malloc(rows * sizeof(float))};
    assert_true(w.values && w.scales);
    fm_random random = fm_random_seeded(++r->seed, (uint32_t)most);
    for (size_t i = 0; i < (size_t)rows * cols; i++)
        w.values[i] = (int8_t)((int)fm_random_below(&random, 2 * (uint32_t)most + 1) - most);
    w.values[0] = (int8_t)(most > 63 ? -128 : 63);
    for (size_t i = 0; i < rows; i++) w.scales[i] = 0.01f + 0.001f * (float)(i % 7);
    assert_int_equal(r->ops->import_int8(r->backend, w.values, w.scales, rows, cols, &w.at.buffer, NULL), FM_OK);
    return w;
}

static void drop_int8(rig *r, int8_matrix w)
{
    drop_tensor(r, w.at);
    free(w.values);
    free(w.scales);
}

/* What a row becomes, as the header says: integers, and their scale. */
static double round_row(size_t n, double *to, const float *x)
{
    float most = 0.0f;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    for (size_t i = 0; i < n; i++) to[i] = nearbyintf(x[i] * (127.0f / most));
    return most / 127.0f;
}

/* Weights beyond -63..63 become floats on some sets: then x is not rounded, and may be off by half a step. */
static void check_int8_of(rig *r, const uint32_t shape[3], int most)
{
    uint32_t m = shape[0], n = shape[1], k = shape[2];
    array x = random_array(r, m, k), bias = random_array(r, 1, n), y = random_array(r, m, n);
    int8_matrix w = random_int8(r, n, k, most);
    double *row = zeros(k);
    for (int kind = 0; kind < 3; kind++) { /* plain; bias; gelu */
        double *right = zeros(size_of(y.at)), *scale = zeros(size_of(y.at));
        for (size_t i = 0; i < m; i++) {
            double step = round_row(k, row, x.x + i * k);
            for (size_t j = 0; j < n; j++) {
                double sum = 0.0, magnitude = 0.0, start = kind > 0 ? bias.x[j] : 0.0;
                for (size_t l = 0; l < k; l++) {
                    sum += row[l] * w.values[j * k + l];
                    magnitude += fabs((double)w.values[j * k + l]);
                }
                sum = sum * step * w.scales[j];
                scale[i * n + j] = 4e-7 * (fabs(sum) + fabs(start) + 1.0);
                if (most > 63)
                    scale[i * n + j] += 0.57 * magnitude * step * w.scales[j]; /* gelu's slope is below 1.13 */
                right[i * n + j] = kind == 2 ? gelu(sum + start) : sum + start;
            }
        }
        r->ops->linear(r->backend, y.at, x.at, w.at, kind > 0 ? bias.at : FM_NO_TENSOR,
                       kind == 2 ? FM_EPILOGUE_GELU : FM_EPILOGUE_NONE, FM_NO_TENSOR);
        expect(r, "linear of int8", y, right, scale, 1.0);
    }
    free(row);
    drop_array(r, x);
    drop_array(r, y);
    drop_array(r, bias);
    drop_int8(r, w);
}

static void check_int8(rig *r)
{
    static const uint32_t deep[] = {1, 2, 65601}; /* too deep for sums of 32 bits */
    for (size_t s = 0; s < SHAPES; s++) {
        check_int8_of(r, product_shapes[s], 63);
        check_int8_of(r, product_shapes[s], 127);
    }
    check_int8_of(r, deep, 127);
}

/* A row that is not finite spoils its own row of the result, and no other. */
static void check_int8_special(rig *r)
{
    enum { M = 5, N = 37, K = 67 };
    array x = random_array(r, M, K), y = random_array(r, M, N);
    int8_matrix w = random_int8(r, N, K, 63);
    x.x[2 * K + 3] = NAN;
    x.x[4 * K] = -INFINITY;
    for (size_t i = 0; i < K; i++) x.x[i] = 0.0f;
    r->ops->write(r->backend, x.at, x.x);
    r->ops->linear(r->backend, y.at, x.at, w.at, FM_NO_TENSOR, FM_EPILOGUE_NONE, FM_NO_TENSOR);
    r->ops->read(r->backend, y.at, y.x);
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            float value = y.x[i * N + j];
            assert_true(i == 2 || i == 4 ? isnan(value) : isfinite(value) && (i > 0 || value == 0.0f));
        }
    drop_array(r, x);
    drop_array(r, y);
    drop_int8(r, w);
}

static void linear_of_int8(void **state)
{
    (void)state;
    everywhere(check_int8);
    everywhere(check_int8_special);
}

static void linear(void **state)
{
    (void)state;
    in_precision(FM_PRECISION_F32, check_linear);
    in_precision(FM_PRECISION_BF16, check_linear);
}

/* to (m, n) += a (m, k) b (k, n), elements by strides; scale likewise of magnitudes. */
static void add_product(double *to, double *scale, size_t m, size_t n, size_t k, const double *a, size_t a_row,
                        size_t a_col, const double *b, size_t b_row, size_t b_col)
{
    for (size_t i = 0; i < m; i++)
        for (size_t l = 0; l < k; l++)
            for (size_t j = 0; j < n; j++) {
                double product = a[i * a_row + l * a_col] * b[l * b_row + j * b_col];
                to[i * n + j] += product;
                scale[i * n + j] += fabs(product);
            }
}

static double *magnitudes(const float *from, size_t n)
{
    double *x = zeros(n);
    for (size_t i = 0; i < n; i++) x[i] = fabs(from[i]) + 1.0;
    return x;
}

static void check_linear_backward(rig *r)
{
    for (size_t s = 0; s < SHAPES; s++) {
        uint32_t m = product_shapes[s][0], n = product_shapes[s][1], k = product_shapes[s][2];
        array x = random_array(r, m, k), w = random_array(r, n, k), d_y = random_array(r, m, n);
        array d_x = random_array(r, m, k), d_w = random_array(r, n, k), d_bias = random_array(r, 1, n);
        double *left = operand(r, d_y), *right = operand(r, x), *weights = operand(r, w);
        double *slopes = doubles(d_y.x, size_of(d_y.at)); /* which the sums for the bias take as they are */
        for (int add = 0; add < 2; add++) {
            double *right_x = add ? doubles(d_x.x, size_of(d_x.at)) : zeros(size_of(d_x.at));
            double *right_w = doubles(d_w.x, size_of(d_w.at)), *right_bias = doubles(d_bias.x, n);
            double *scale_x = magnitudes(d_x.x, size_of(d_x.at)), *scale_w = magnitudes(d_w.x, size_of(d_w.at));
            double *scale_bias = magnitudes(d_bias.x, n);
            const double one = 1.0;
            add_product(right_x, scale_x, m, k, n, left, n, 1, weights, k, 1);
            add_product(right_w, scale_w, n, k, m, left, 1, n, right, k, 1);
            add_product(right_bias, scale_bias, 1, n, m, &one, 0, 0, slopes, n, 1);
            r->ops->linear_backward(r->backend, d_x.at, add, d_w.at, d_bias.at, d_y.at, x.at, w.at);
            expect(r, "linear_backward's d_x", d_x, right_x, scale_x, SUM_WITHIN(n));
            expect(r, "linear_backward's d_w", d_w, right_w, scale_w, SUM_WITHIN(m));
            expect(r, "linear_backward's d_bias", d_bias, right_bias, scale_bias, SUM_WITHIN(m));
        }
        /* No output is asked for, none is touched. */
        r->ops->linear_backward(r->backend, FM_NO_TENSOR, false, FM_NO_TENSOR, FM_NO_TENSOR, d_y.at, x.at, w.at);
        expect(r, "d_w that is not asked for", d_w, doubles(d_w.x, size_of(d_w.at)), NULL, 0.0);
        array all[] = {x, w, d_y, d_x, d_w, d_bias};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop_array(r, all[i]);
        double *operands[] = {left, right, weights, slopes};
        for (size_t i = 0; i < sizeof operands / sizeof *operands; i++) free(operands[i]);
    }
}

static void linear_backward(void **state)
{
    (void)state;
    in_precision(FM_PRECISION_F32, check_linear_backward);
    in_precision(FM_PRECISION_BF16, check_linear_backward);
}

static void make_products(rig *r)
{
    for (size_t s = 0; s < SHAPES; s++) {
        uint32_t m = product_shapes[s][0], n = product_shapes[s][1], k = product_shapes[s][2];
        array x = random_array(r, m, k), w = random_array(r, n, k), bias = random_array(r, 1, n);
        array y = random_array(r, m, n), d_x = random_array(r, m, k), d_w = random_array(r, n, k);
        r->ops->linear(r->backend, y.at, x.at, w.at, bias.at, FM_EPILOGUE_NONE, FM_NO_TENSOR);
        r->ops->linear_backward(r->backend, d_x.at, true, d_w.at, bias.at, y.at, x.at, w.at);
        array all[] = {y, d_x, d_w, bias, x, w};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            if (i < 4) fetch(r, all[i]);
            drop_array(r, all[i]);
        }
    }
}

/* Sets that sum in the order of k have no freedom in a product of bf16, so what has the instruction gives what emulates
 * it. AMX sums in another order. */
static void bf16_products_are_the_same_on_every_set(void **state)
{
    (void)state;
    fm_buffer seen[2] = {{0}, {0}};
    for (const char *const *set = fm_cpu_instruction_sets(); *set; set++) {
        if (!fm_cpu_has(*set) || strcmp(*set, "amx") == 0) continue;
        rig r = open_rig(*set, 1);
        r.ops->precision(r.backend, FM_PRECISION_BF16);
        make_products(&r);
        close_rig(&r);
        bool first = !seen[0].data;
        seen[!first] = r.seen;
        if (first) continue;
        assert_int_equal(seen[1].size, seen[0].size);
        if (memcmp(seen[1].data, seen[0].data, seen[0].size) != 0) fail_msg("%s gives other bits", *set);
        fm_buffer_free(&seen[1]);
    }
    fm_buffer_free(&seen[0]);
}

/* Wide with two and three threads, low with five. With one, the first is tall, and of k, that a wide product waits
 * between has one part; the second is wide and has several. */
static void multiply_in_all_shapes(rig *r)
{
    static const uint32_t shapes[][3] = {{520, 1153, 514}, {150, 1153, 600}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        uint32_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        array x = random_array(r, m, k), w = random_array(r, n, k), bias = random_array(r, 1, n);
        array y = random_array(r, m, n), pre = random_array(r, m, n);
        r->ops->linear(r->backend, y.at, x.at, w.at, bias.at, FM_EPILOGUE_GELU, pre.at);
        array all[] = {y, pre, x, w, bias};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            if (i < 2) fetch(r, all[i]);
            drop_array(r, all[i]);
        }
    }
}

static void the_shape_of_a_product_changes_no_bit(void **state)
{
    (void)state;
    everywhere(multiply_in_all_shapes);
}

static void check_gelu_backward(rig *r)
{
    static const uint32_t shapes[][2] = {{1, 1}, {3, 37}, {129, 257}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        array d = random_array(r, shapes[s][0], shapes[s][1]), pre = random_array(r, shapes[s][0], shapes[s][1]);
        double *right = doubles(d.x, size_of(d.at)), *scale = magnitudes(d.x, size_of(d.at));
        for (size_t i = 0; i < size_of(d.at); i++) right[i] *= gelu_slope(pre.x[i]);
        r->ops->gelu_backward(r->backend, d.at, pre.at);
        expect(r, "gelu_backward", d, right, scale, 1e-6);
        drop_array(r, d);
        drop_array(r, pre);
    }
}

static void slopes_of_gelu(void **state)
{
    (void)state;
    everywhere(check_gelu_backward);
}

/* ---- packed sequences and their dropout ---- */

#define LONGEST 131
static const uint32_t lengths[] = {1, 17, 2, 64, LONGEST, 1, 65, 31};
#define SEQUENCES (sizeof lengths / sizeof *lengths)
#define FIRST 1000

typedef struct packed {
    fm_packing of;
    uint32_t starts[SEQUENCES + 1], tokens;
    uint32_t place[2 * 400]; /* number and position of each token */
} packed;

static packed pack(rig *r)
{
    packed p = {0};
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        p.starts[s + 1] = p.starts[s] + lengths[s];
        for (uint32_t i = 0; i < lengths[s]; i++) {
            p.place[2 * (p.starts[s] + i)] = FIRST + s;
            p.place[2 * (p.starts[s] + i) + 1] = i;
        }
    }
    p.tokens = p.starts[SEQUENCES];
    assert_true(2 * p.tokens <= sizeof p.place / sizeof *p.place);
    p.of = (fm_packing){words(r, p.starts, SEQUENCES + 1, 1), words(r, p.place, p.tokens, 2), FIRST, LONGEST};
    return p;
}

static void unpack(rig *r, const packed *p)
{
    drop_tensor(r, p->of.starts);
    drop_tensor(r, p->of.place);
}

/* What dropout multiplies element `at` of row `row` of a sequence by: 16 bits of the generator each, in rows that are
 * filled up to a multiple of four. */
static double kept(const fm_dropout *dropout, uint32_t number, uint32_t row, uint32_t at, uint32_t width)
{
    if (!dropout || dropout->rate == 0.0f) return 1.0;
    const uint32_t key[2] = {dropout->seed, dropout->step};
    const uint32_t counter[2] = {dropout->op << 20 | number, row * ((width + 3) / 4) + at / 4};
    uint32_t out[2];
    fm_threefry(key, counter, out);
    double uniform = (out[at / 2 % 2] >> (16 * (at % 2)) & 0xffff) / 65536.0;
    return uniform < (double)dropout->rate ? 0.0 : 1.0 / (1.0 - (double)dropout->rate);
}

/* A rate that is a whole number of 65536ths. */
static const fm_dropout dropping = {0.25f, 77, 3, 5}, also_dropping = {0.125f, 77, 3, 6};

/* ---- attention ---- */

#define HEADS 3

/* Shapes of plain attention over one sequence and head, in double. */
typedef struct plain {
    size_t length, width, stride, base;
    double *weights, *dropped; /* probabilities (length, length), before and after dropout */
} plain;

static plain attend(const packed *p, uint32_t s, uint32_t head, uint32_t hidden, const float *q, const float *k,
                    const fm_dropout *dropout)
{
    plain a = {lengths[s], hidden / HEADS, hidden, (size_t)p->starts[s] * hidden + head * (hidden / HEADS), NULL, NULL};
    a.weights = zeros(a.length * a.length);
    a.dropped = zeros(a.length * a.length);
    for (size_t i = 0; i < a.length; i++) {
        double *row = a.weights + i * a.length, sum = 0.0;
        for (size_t j = 0; j < a.length; j++) {
            for (size_t l = 0; l < a.width; l++)
                row[j] += (double)q[a.base + i * hidden + l] * k[a.base + j * hidden + l];
            sum += exp(row[j] /= sqrt((double)a.width));
        }
        for (size_t j = 0; j < a.length; j++) {
            row[j] = exp(row[j]) / sum;
            a.dropped[i * a.length + j] =
                row[j] * kept(dropout, FIRST + s, (uint32_t)(head * a.length + i), (uint32_t)j, lengths[s]);
        }
    }
    return a;
}

static void check_attention_of(rig *r, uint32_t hidden, const fm_dropout *dropout)
{
    packed p = pack(r);
    uint32_t tokens = p.tokens;
    size_t size = (size_t)tokens * hidden;
    array q = numbers(r, tokens, hidden, 0.0f, 0.7f), k = numbers(r, tokens, hidden, 0.0f, 0.7f);
    array v = random_array(r, tokens, hidden), d_out = random_array(r, tokens, hidden);
    array out = random_array(r, tokens, hidden);
    array d_q = random_array(r, tokens, hidden), d_k = random_array(r, tokens, hidden),
          d_v = random_array(r, tokens, hidden);
    double *right = zeros(size), *right_q = zeros(size), *right_k = zeros(size), *right_v = zeros(size);
    for (uint32_t s = 0; s < SEQUENCES; s++)
        for (uint32_t head = 0; head < HEADS; head++) {
            plain a = attend(&p, s, head, hidden, q.x, k.x, dropout);
            double root = 1.0 / sqrt((double)a.width);
            for (size_t i = 0; i < a.length; i++) {
                size_t at = a.base + i * hidden;
                const double *weights = a.weights + i * a.length, *dropped = a.dropped + i * a.length;
                double *slopes = zeros(a.length), mean = 0.0; /* of the probabilities; their weighted mean */
                for (size_t j = 0; j < a.length; j++) {
                    for (size_t l = 0; l < a.width; l++) {
                        size_t other = a.base + j * hidden + l;
                        right[at + l] += dropped[j] * v.x[other];
                        right_v[other] += dropped[j] * d_out.x[at + l];
                        slopes[j] += (double)d_out.x[at + l] * v.x[other];
                    }
                    slopes[j] *= kept(dropout, FIRST + s, (uint32_t)(head * a.length + i), (uint32_t)j, lengths[s]);
                    mean += weights[j] * slopes[j];
                }
                for (size_t j = 0; j < a.length; j++)
                    for (size_t l = 0; l < a.width; l++) {
                        double slope = weights[j] * (slopes[j] - mean) * root;
                        right_q[at + l] += slope * k.x[a.base + j * hidden + l];
                        right_k[a.base + j * hidden + l] += slope * q.x[at + l];
                    }
                free(slopes);
            }
            free(a.weights);
            free(a.dropped);
        }
    r->ops->attention(r->backend, out.at, q.at, k.at, v.at, HEADS, dropout, &p.of);
    r->ops->attention_backward(r->backend, d_q.at, d_k.at, d_v.at, d_out.at, q.at, k.at, v.at, HEADS, dropout, &p.of);
    /* Values of about 1; a probability is known to 1e-6, a gradient of k sums up to 131 products of about 0.1. */
    /* bf16 operands are off by up to 2^-9, and products of them by twice that. */
    double within = r->precision == FM_PRECISION_BF16 ? 2e-2 : 1e-5;
    expect(r, "attention", out, right, NULL, within);
    expect(r, "attention_backward's d_q", d_q, right_q, NULL, within);
    expect(r, "attention_backward's d_k", d_k, right_k, NULL, 2 * within);
    expect(r, "attention_backward's d_v", d_v, right_v, NULL, 2 * within);
    array all[] = {q, k, v, d_out, out, d_q, d_k, d_v};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop_array(r, all[i]);
    unpack(r, &p);
}

static void check_attention(rig *r)
{
    check_attention_of(r, 3 * 5, NULL);
    check_attention_of(r, 3 * 16, &dropping);
    check_attention_of(r, 3 * 33, &also_dropping);
}

static void attention(void **state)
{
    (void)state;
    in_precision(FM_PRECISION_F32, check_attention);
    in_precision(FM_PRECISION_BF16, check_attention);
}

/* ---- layer norm ---- */

static void check_layer_norm_of(rig *r, uint32_t width, bool with_residual, const fm_dropout *before,
                                const fm_dropout *after)
{
    const double epsilon = 1e-12;
    packed p = pack(r);
    uint32_t tokens = p.tokens;
    size_t size = (size_t)tokens * width;
    array x = random_array(r, tokens, width), residual = random_array(r, tokens, width);
    array gamma = numbers(r, 1, width, 1.0f, 0.3f), beta = random_array(r, 1, width);
    array out = random_array(r, tokens, width), stats = random_array(r, tokens, 2);
    array d_out = random_array(r, tokens, width), d_x = random_array(r, tokens, width);
    array d_residual = random_array(r, tokens, width), d_gamma = random_array(r, 1, width);
    array d_beta = random_array(r, 1, width);
    double *sum = zeros(size), *right = zeros(size), *right_x = zeros(size), *right_residual = zeros(size);
    double *right_gamma = doubles(d_gamma.x, width), *right_beta = doubles(d_beta.x, width), *normed = zeros(width);
    for (size_t t = 0; t < tokens; t++) {
        uint32_t number = p.place[2 * t], row = p.place[2 * t + 1];
        double mean = 0.0, variance = 0.0, of_slopes = 0.0, along = 0.0;
        for (uint32_t i = 0; i < width; i++) {
            size_t at = t * width + i;
            sum[at] = x.x[at] * kept(before, number, row, i, width) + (with_residual ? residual.x[at] : 0.0);
            mean += sum[at] / width;
        }
        for (uint32_t i = 0; i < width; i++) variance += pow(sum[t * width + i] - mean, 2) / width;
        double rstd = 1.0 / sqrt(variance + epsilon);
        for (uint32_t i = 0; i < width; i++) {
            size_t at = t * width + i;
            double keep = kept(after, number, row, i, width), slope = d_out.x[at] * keep;
            normed[i] = (sum[at] - mean) * rstd;
            right[at] = (normed[i] * gamma.x[i] + beta.x[i]) * keep;
            right_gamma[i] += slope * normed[i];
            right_beta[i] += slope;
            of_slopes += slope * gamma.x[i] / width;
            along += slope * gamma.x[i] * normed[i] / width;
        }
        for (uint32_t i = 0; i < width; i++) {
            size_t at = t * width + i;
            double slope = d_out.x[at] * kept(after, number, row, i, width) * gamma.x[i];
            right_residual[at] = (slope - of_slopes - normed[i] * along) * rstd;
            right_x[at] = right_residual[at] * kept(before, number, row, i, width);
        }
    }
    r->ops->layer_norm(r->backend, out.at, x.at, with_residual ? residual.at : FM_NO_TENSOR, gamma.at, beta.at,
                       (float)epsilon, stats.at, before, after, &p.of);
    r->ops->layer_norm_backward(r->backend, d_x.at, with_residual ? d_residual.at : FM_NO_TENSOR, d_gamma.at, d_beta.at,
                                d_out.at, x.at, gamma.at, stats.at, before, after, &p.of);
    /* Rows of numbers of about 1: normed values of up to sqrt(width), and gradients likewise. */
    double few = sqrt((double)width);
    expect(r, "layer_norm", out, right, NULL, 2e-6 * few);
    expect(r, "layer_norm's sum", x, sum, NULL, 1e-6);
    expect(r, "layer_norm_backward's d_x", d_x, right_x, NULL, 4e-6 * few);
    if (with_residual) expect(r, "layer_norm_backward's d_residual", d_residual, right_residual, NULL, 4e-6 * few);
    else free(right_residual);
    expect(r, "layer_norm_backward's d_gamma", d_gamma, right_gamma, NULL, 1e-4);
    expect(r, "layer_norm_backward's d_beta", d_beta, right_beta, NULL, 1e-4);
    free(normed);
    array all[] = {x, residual, gamma, beta, out, stats, d_out, d_x, d_residual, d_gamma, d_beta};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop_array(r, all[i]);
    unpack(r, &p);
}

static void check_layer_norm(rig *r)
{
    static const uint32_t widths[] = {5, 16, 131};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        check_layer_norm_of(r, widths[i], false, NULL, NULL);
        check_layer_norm_of(r, widths[i], true, NULL, NULL);
        check_layer_norm_of(r, widths[i], true, &dropping, NULL);
        check_layer_norm_of(r, widths[i], false, NULL, &also_dropping);
        check_layer_norm_of(r, widths[i], true, &dropping, &also_dropping);
    }
}

static void layer_norm(void **state)
{
    (void)state;
    everywhere(check_layer_norm);
}

/* ---- embeddings and gather ---- */

static int by_id(const void *left, const void *right)
{
    const uint64_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

static void check_embedding(rig *r)
{
    enum { WORDS = 97, WIDTH = 37 };
    packed p = pack(r);
    uint32_t tokens = p.tokens, ids[400], order[400], segments[WORDS + 1], count = 0;
    uint64_t keys[400];
    size_t size = (size_t)tokens * WIDTH;
    fm_random random = fm_random_seeded(5, 5);
    for (uint32_t t = 0; t < tokens; t++) {
        ids[t] = t % 3 ? fm_random_below(&random, WORDS) : WORDS - 1; /* one of them very often */
        keys[t] = (uint64_t)ids[t] << 32 | t;
    }
    qsort(keys, tokens, sizeof *keys, by_id);
    for (uint32_t t = 0; t < tokens; t++) {
        order[t] = (uint32_t)keys[t];
        if (t == 0 || keys[t] >> 32 != keys[t - 1] >> 32) segments[count++] = t;
    }
    segments[count] = tokens;
    array word = random_array(r, WORDS, WIDTH), position = random_array(r, LONGEST + 2, WIDTH);
    array out = random_array(r, tokens, WIDTH), d_out = random_array(r, tokens, WIDTH);
    array d_word = random_array(r, WORDS, WIDTH), d_position = random_array(r, LONGEST + 2, WIDTH);
    fm_tensor id = words(r, ids, tokens, 1), sorted = words(r, order, tokens, 1);
    fm_tensor ends = words(r, segments, count + 1, 1);
    double *right = zeros(size), *right_word = doubles(d_word.x, size_of(d_word.at));
    double *right_position = doubles(d_position.x, size_of(d_position.at));
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < WIDTH; i++) {
            size_t at_word = ids[t] * (size_t)WIDTH + i, at_position = p.place[2 * t + 1] * (size_t)WIDTH + i;
            right[t * WIDTH + i] = (float)(word.x[at_word] + position.x[at_position]);
            right_word[at_word] += d_out.x[t * WIDTH + i];
            right_position[at_position] += d_out.x[t * WIDTH + i];
        }
    r->ops->embedding(r->backend, out.at, word.at, position.at, id, &p.of);
    r->ops->embedding_backward(r->backend, d_word.at, d_position.at, d_out.at, id, sorted, ends, &p.of);
    expect(r, "embedding", out, right, NULL, 0.0);
    expect(r, "embedding_backward's d_word", d_word, right_word, NULL, 1e-4);
    expect(r, "embedding_backward's d_position", d_position, right_position, NULL, 1e-5);
    array all[] = {word, position, out, d_out, d_word, d_position};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop_array(r, all[i]);
    drop_tensor(r, id);
    drop_tensor(r, sorted);
    drop_tensor(r, ends);
    unpack(r, &p);
}

static void check_gather(rig *r)
{
    static const uint32_t from[] = {0, 3, 4, 10};
    array x = random_array(r, 11, 19), out = random_array(r, 4, 19), back = random_array(r, 11, 19);
    fm_tensor rows = words(r, from, 4, 1);
    double *right = zeros(4 * 19), *right_back = zeros(11 * 19);
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 19; j++) right[i * 19 + j] = right_back[from[i] * 19 + j] = x.x[from[i] * 19 + j];
    r->ops->gather(r->backend, out.at, x.at, rows);
    r->ops->gather_backward(r->backend, back.at, out.at, rows);
    expect(r, "gather", out, right, NULL, 0.0);
    expect(r, "gather_backward", back, right_back, NULL, 0.0);
    drop_array(r, x);
    drop_array(r, out);
    drop_array(r, back);
    drop_tensor(r, rows);
}

static void check_embedding_of_int8(rig *r)
{
    enum { WORDS = 50, WIDTH = 37 };
    packed p = pack(r);
    uint32_t ids[400];
    for (uint32_t t = 0; t < p.tokens; t++) ids[t] = t * 7 % WORDS;
    int8_matrix word = random_int8(r, WORDS, WIDTH, 63);
    array position = random_array(r, LONGEST + 2, WIDTH), out = random_array(r, p.tokens, WIDTH);
    fm_tensor id = words(r, ids, p.tokens, 1);
    double *right = zeros(size_of(out.at));
    for (size_t t = 0; t < p.tokens; t++)
        for (size_t i = 0; i < WIDTH; i++) {
            float value = (float)word.values[ids[t] * (size_t)WIDTH + i] * word.scales[ids[t]];
            right[t * WIDTH + i] = value + position.x[p.place[2 * t + 1] * (size_t)WIDTH + i];
        }
    r->ops->embedding(r->backend, out.at, word.at, position.at, id, &p.of);
    expect(r, "embedding of int8", out, right, NULL, 1e-6);
    drop_tensor(r, id);
    drop_array(r, position);
    drop_array(r, out);
    drop_int8(r, word);
    unpack(r, &p);
}

static void embedding_and_gather(void **state)
{
    (void)state;
    everywhere(check_embedding);
    everywhere(check_embedding_of_int8);
    everywhere(check_gather);
}

/* ---- matrices that come row by row ---- */

/* Rows in any order. Whatever is computed with them has the bits that it has with the matrix in host memory. */
static fm_tensor hold(rig *r, fm_tensor w, const void *rows, size_t row_size, const float *scales)
{
    fm_tensor held = w;
    assert_int_equal(r->ops->hold(r->backend, w.type, w.rows, w.cols, scales, &held.buffer, NULL), FM_OK);
    for (uint32_t i = w.rows; i-- > 0;) r->ops->put(r->backend, held.buffer, i, (const uint8_t *)rows + i * row_size);
    assert_int_equal(r->ops->seal(r->backend, held.buffer, &held.type, NULL), FM_OK);
    return held;
}

static void expect_same_linear(rig *r, array x, fm_tensor w, fm_tensor held)
{
    array y = random_array(r, x.at.rows, w.rows), other = random_array(r, x.at.rows, w.rows);
    r->ops->linear(r->backend, y.at, x.at, w, FM_NO_TENSOR, FM_EPILOGUE_NONE, FM_NO_TENSOR);
    r->ops->linear(r->backend, other.at, x.at, held, FM_NO_TENSOR, FM_EPILOGUE_NONE, FM_NO_TENSOR);
    fetch(r, y);
    fetch(r, other);
    assert_memory_equal(y.x, other.x, size_of(y.at) * sizeof(float));
    drop_array(r, y);
    drop_array(r, other);
}

static void expect_same_embedding(rig *r, fm_tensor w, fm_tensor held)
{
    packed p = pack(r);
    uint32_t ids[400];
    for (uint32_t t = 0; t < p.tokens; t++) ids[t] = t * 7 % w.rows;
    array position = random_array(r, LONGEST + 2, w.cols), out = random_array(r, p.tokens, w.cols),
          other = random_array(r, p.tokens, w.cols);
    fm_tensor id = words(r, ids, p.tokens, 1);
    r->ops->embedding(r->backend, out.at, w, position.at, id, &p.of);
    r->ops->embedding(r->backend, other.at, held, position.at, id, &p.of);
    fetch(r, out);
    fetch(r, other);
    assert_memory_equal(out.x, other.x, size_of(out.at) * sizeof(float));
    drop_tensor(r, id);
    drop_array(r, position);
    drop_array(r, out);
    drop_array(r, other);
    unpack(r, &p);
}

static void check_held_of(rig *r, const uint32_t shape[3])
{
    uint32_t m = shape[0], n = shape[1], k = shape[2];
    array x = random_array(r, m, k), w = random_array(r, n, k);
    fm_tensor imported = w.at, held = hold(r, w.at, w.x, k * sizeof(float), NULL);
    assert_int_equal(held.type, FM_F32);
    assert_int_equal(r->ops->import(r->backend, w.x, size_of(w.at), &imported.buffer, NULL), FM_OK);
    expect_same_linear(r, x, imported, held);
    expect_same_embedding(r, w.at, held);
    float *row = malloc(k * sizeof *row);
    for (uint32_t i = 0; i < n && row; i++) {
        r->ops->take(r->backend, held.buffer, i, row);
        assert_memory_equal(row, w.x + (size_t)i * k, k * sizeof *row);
    }
    free(row);
    drop_tensor(r, imported);
    drop_tensor(r, held);
    drop_array(r, x);
    drop_array(r, w);
}

static void check_held_int8_of(rig *r, const uint32_t shape[3], int most)
{
    uint32_t m = shape[0], n = shape[1], k = shape[2];
    array x = random_array(r, m, k);
    int8_matrix w = random_int8(r, n, k, most);
    fm_tensor held = hold(r, w.at, w.values, k, w.scales);
    if (most == 63) assert_int_equal(held.type, FM_I8);
    expect_same_linear(r, x, w.at, held);
    if (k < 1000) expect_same_embedding(r, w.at, held); /* wider ones take a sanitizer minutes */
    int8_t *row = malloc(k * sizeof(float));
    for (uint32_t i = 0; i < n && row && held.type == FM_I8; i++) {
        r->ops->take(r->backend, held.buffer, i, row);
        assert_memory_equal(row, w.values + (size_t)i * k, k);
    }
    free(row);
    drop_tensor(r, held);
    drop_array(r, x);
    drop_int8(r, w);
}

static void check_held(rig *r)
{
    static const uint32_t deep[] = {1, 2, 65601}; /* too deep for sums of 32 bits */
    for (size_t s = 0; s < SHAPES; s++) {
        check_held_of(r, product_shapes[s]);
        check_held_int8_of(r, product_shapes[s], 63);
        check_held_int8_of(r, product_shapes[s], 127);
    }
    check_held_int8_of(r, deep, 127);
}

static void matrices_that_come_in_rows(void **state)
{
    (void)state;
    everywhere(check_held);
}

/* ---- the loss ---- */

static void check_loss_of(rig *r, uint32_t rows, uint32_t vocab, float scale)
{
    array logits = numbers(r, rows, vocab, -1.0f, 3.0f), result = random_array(r, rows, 2);
    uint32_t *labels = calloc(rows, sizeof *labels);
    assert_non_null(labels);
    for (uint32_t i = 0; i < rows; i++) labels[i] = i * 7 % vocab;
    fm_tensor at = words(r, labels, rows, 1);
    double *right = zeros((size_t)rows * vocab), *right_result = zeros(2 * (size_t)rows);
    for (size_t i = 0; i < rows; i++) {
        const float *row = logits.x + i * vocab;
        double sum = 0.0;
        for (size_t j = 0; j < vocab; j++) sum += exp(row[j]);
        right_result[2 * i] = log(sum) - row[labels[i]];
        for (size_t j = 0; j < vocab; j++) {
            right_result[2 * i + 1] += row[j] > row[labels[i]];
            right[i * vocab + j] = scale == 0.0f ? row[j] : scale * (exp(row[j]) / sum - (j == labels[i] ? 1.0 : 0.0));
        }
    }
    r->ops->mlm_loss(r->backend, logits.at, at, result.at, scale);
    expect(r, "mlm_loss", result, right_result, NULL, 2e-6);
    expect(r, "mlm_loss's gradient", logits, right, NULL, 2e-6 * scale);
    free(labels);
    drop_array(r, logits);
    drop_array(r, result);
    drop_tensor(r, at);
}

static void check_loss(rig *r)
{
    check_loss_of(r, 1, 2, 0.5f);
    check_loss_of(r, 5, 7, 0.0f);
    check_loss_of(r, 19, 1003, 0.01f);
    check_loss_of(r, 70, 33, 1.0f);
}

/* A NaN among the logits reaches the loss of its row and all of its gradient, and no other row. */
static void check_bad_logits(rig *r)
{
    enum { ROWS = 3, VOCAB = 45 };
    static const float bad[] = {NAN, INFINITY};
    static const uint32_t labels[ROWS] = {4, 4, 4};
    fm_tensor at = words(r, labels, ROWS, 1);
    for (size_t i = 0; i < 2; i++)
        for (size_t place = 0; place < VOCAB; place += 11) {
            array logits = random_array(r, ROWS, VOCAB), result = random_array(r, ROWS, 2);
            logits.x[VOCAB + place] = bad[i];
            r->ops->write(r->backend, logits.at, logits.x);
            r->ops->mlm_loss(r->backend, logits.at, at, result.at, 1.0f);
            r->ops->read(r->backend, logits.at, logits.x);
            r->ops->read(r->backend, result.at, result.x);
            for (size_t row = 0; row < ROWS; row++) {
                assert_true(isfinite(result.x[2 * row]) == (row != 1));
                for (size_t j = 0; j < VOCAB; j++) assert_true(isfinite(logits.x[row * VOCAB + j]) == (row != 1));
            }
            drop_array(r, logits);
            drop_array(r, result);
        }
    drop_tensor(r, at);
}

static void mlm_loss(void **state)
{
    (void)state;
    everywhere(check_loss);
    everywhere(check_bad_logits);
}

/* ---- the optimizer ---- */

static void check_squares(rig *r)
{
    static const uint32_t shapes[][2] = {{1, 1}, {1, 8191}, {1, 8193}, {37, 613}, {1, 50000}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        array x = random_array(r, shapes[s][0], shapes[s][1]), squares = random_array(r, 1, 1);
        double *right = zeros(1), *scale = zeros(1);
        for (size_t i = 0; i < size_of(x.at); i++) *right += (double)x.x[i] * x.x[i];
        *scale = *right;
        r->ops->sum_squares(r->backend, squares.at, x.at);
        expect(r, "sum_squares", squares, right, scale, 1e-6);
        drop_array(r, x);
        drop_array(r, squares);
    }
}

static void check_adamw(rig *r)
{
    enum { N = 20011 };
    array p = random_array(r, 1, N), g = random_array(r, 1, N), m = numbers(r, 1, N, 0.0f, 0.0f),
          v = numbers(r, 1, N, 0.0f, 0.0f), squares = numbers(r, 1, 1, 0.0f, 0.0f);
    double *right = doubles(p.x, N), *first = zeros(N), *second = zeros(N), sum = 0.0, farthest = 0.0;
    for (size_t i = 0; i < N; i++) sum += (double)g.x[i] * g.x[i];
    for (uint32_t step = 1; step <= 4; step++) {
        /* Steps with clipping that bites, that does not, and none; with and without decay. */
        fm_adamw o = {1e-2f / (float)step, 0.9f, 0.999f, 1e-8f, step % 2 ? 0.1f : 0.0f, 0.0f, step, 0.0f};
        o.clip = step == 1 ? 2.0f : step == 2 ? 1e6f : step == 3 ? 0.5f : 0.0f;
        double norm = sqrt(sum), gain = o.clip > 0.0f && o.clip < norm ? o.clip / (norm + 1e-6) : 1.0;
        double beta1 = o.beta1, beta2 = o.beta2, rate = o.learning_rate;
        for (size_t i = 0; i < N; i++) {
            double gradient = g.x[i] * gain;
            first[i] = first[i] * beta1 + gradient * (1.0 - beta1);
            second[i] = second[i] * beta2 + gradient * gradient * (1.0 - beta2);
            double size = first[i] / (1.0 - pow(beta1, step));
            double root = sqrt(second[i] / (1.0 - pow(beta2, step))) + (double)o.epsilon;
            right[i] = right[i] * (1.0 - rate * o.weight_decay) - rate * size / root;
        }
        farthest += rate;
        r->ops->sum_squares(r->backend, squares.at, g.at);
        r->ops->adamw(r->backend, p.at, g.at, m.at, v.at, squares.at, &o);
    }
    /* A step is known to some 1e-5 of the learning rate, and every result is rounded. */
    expect(r, "adamw", p, right, NULL, 1e-5 * farthest + 1e-6);
    expect(r, "adamw's first moment", m, first, NULL, 1e-6);
    expect(r, "adamw's second moment", v, second, NULL, 1e-6);

    /* Where the norm is not finite, nothing changes, with or without clipping. */
    static const float bad[] = {NAN, INFINITY, 1e25f};
    fm_adamw o = {1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 1.0f, 5, 0.0f};
    for (size_t i = 0; i < 6; i++) {
        g.x[N / 2] = bad[i % 3];
        o.clip = i < 3 ? 1.0f : 0.0f;
        r->ops->write(r->backend, g.at, g.x);
        r->ops->sum_squares(r->backend, squares.at, g.at);
        r->ops->adamw(r->backend, p.at, g.at, m.at, v.at, squares.at, &o);
    }
    expect(r, "adamw after bad gradients", p, doubles(p.x, N), NULL, 0.0);
    expect(r, "the first moment after bad gradients", m, doubles(m.x, N), NULL, 0.0);
    expect(r, "the second moment after bad gradients", v, doubles(v.x, N), NULL, 0.0);
    array all[] = {p, g, m, v, squares};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop_array(r, all[i]);
}

static void optimizer(void **state)
{
    (void)state;
    everywhere(check_squares);
    everywhere(check_adamw);
}

/* ---- buffers ---- */

static void views_and_reuse(void **state)
{
    (void)state;
    rig r = open_rig(NULL, 2);
    array a = random_array(&r, 6, 5);
    fm_tensor view = {a.at.buffer, FM_F32, 2, 5, 10}, nothing = {a.at.buffer, FM_F32, 0, 5, 30};
    float part[10];
    r.ops->read(r.backend, view, part);
    assert_memory_equal(part, a.x + 10, sizeof part);
    r.ops->zero(r.backend, view);
    r.ops->zero(r.backend, nothing);
    r.ops->write(r.backend, nothing, NULL);
    r.ops->read(r.backend, nothing, NULL);
    for (size_t i = 0; i < 30; i++)
        if (i >= 10 && i < 20) a.x[i] = 0.0f;
    expect(&r, "a tensor of which a view was zeroed", a, doubles(a.x, 30), NULL, 0.0);

    /* Many buffers, released in any order; new ones are zero and the others keep what they hold. */
    array many[100];
    for (size_t i = 0; i < 100; i++) many[i] = random_array(&r, 1, (uint32_t)i + 1);
    for (size_t i = 0; i < 100; i += 2) drop_array(&r, many[i]);
    for (size_t i = 0; i < 100; i += 2) {
        many[i].at = tensor(&r, FM_F32, 1, 3);
        many[i].x = calloc(3, sizeof(float));
        assert_non_null(many[i].x);
        expect(&r, "a new buffer", many[i], zeros(3), NULL, 0.0);
    }
    for (size_t i = 1; i < 100; i += 2) expect(&r, "an old buffer", many[i], doubles(many[i].x, i + 1), NULL, 0.0);
    for (size_t i = 100; i > 0; i--) drop_array(&r, many[i - 1]);

    uint32_t buffer = 7;
    fm_error err;
    assert_int_equal(r.ops->create(r.backend, SIZE_MAX / 2, &buffer, &err), FM_E_MEMORY);
    assert_int_equal(buffer, 0);
    assert_non_null(strstr(err.text, "Not enough memory"));
    drop_array(&r, a);
    fm_buffer_free(&r.seen);
    close_rig(&r);
}

/* A sequence so long that its attention has no room is an error of finish(), once. */
static void an_error_waits_for_finish(void **state)
{
    (void)state;
    static const uint32_t too_long[] = {UINT32_MAX, 3037000500u, 1u << 31};
    static const uint32_t starts[] = {0, 1};
    for (size_t i = 0; i < sizeof too_long / sizeof *too_long; i++) {
        rig r = open_rig(NULL, 2);
        array x = random_array(&r, 1, 4);
        fm_packing packing = {words(&r, starts, 2, 1), FM_NO_TENSOR, 0, too_long[i]};
        r.ops->attention_backward(r.backend, x.at, x.at, x.at, x.at, x.at, x.at, x.at, 2, NULL, &packing);
        fm_error err;
        assert_int_equal(r.ops->finish(r.backend, &err), FM_E_MEMORY);
        assert_non_null(strstr(err.text, "Not enough memory"));
        assert_int_equal(r.ops->finish(r.backend, &err), FM_OK);
        drop_array(&r, x);
        close_rig(&r);
    }
}

/* ---- the choice of an instruction set ---- */

static void forced_sets(void **state)
{
    (void)state;
    fm_error err;
    fm_backend *b;
    const char *best = NULL;
    unsetenv("FILLMASK_ISA");
    for (const char *const *set = fm_cpu_instruction_sets(); *set; set++) {
        if (!fm_cpu_has(*set)) {
            assert_int_equal(fm_cpu_create(&b, *set, 1, &err), FM_E_UNSUPPORTED);
            assert_non_null(strstr(err.text, *set));
            continue;
        }
        if (!best) best = *set;
        assert_int_equal(fm_cpu_create(&b, *set, 1, &err), FM_OK);
        assert_string_equal(fm_cpu_instruction_set(b), *set);
        b->ops->destroy(b);
        /* By the environment, which an option overrides and "auto" does not. */
        setenv("FILLMASK_ISA", *set, 1);
        static const char *const names[] = {NULL, "auto", "scalar"};
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(fm_cpu_create(&b, names[i], 1, &err), FM_OK);
            assert_string_equal(fm_cpu_instruction_set(b), i < 2 ? *set : "scalar");
            b->ops->destroy(b);
        }
        unsetenv("FILLMASK_ISA");
    }
    /* The best of the machine if nothing is said. */
    static const char *const nothing[] = {"", "auto"};
    for (size_t i = 0; i < 3; i++) {
        if (i > 0) setenv("FILLMASK_ISA", nothing[i - 1], 1);
        assert_int_equal(fm_cpu_create(&b, NULL, 1, &err), FM_OK);
        assert_string_equal(fm_cpu_instruction_set(b), best);
        b->ops->destroy(b);
    }
    unsetenv("FILLMASK_ISA");
    assert_true(fm_cpu_has("scalar"));
    assert_false(fm_cpu_has("sse9"));
}

static void unknown_sets(void **state)
{
    (void)state;
    fm_error err;
    fm_backend *b;
    assert_int_equal(fm_cpu_create(&b, "sse9", 1, &err), FM_E_ARGUMENT);
    assert_null(b);
    assert_non_null(strstr(err.text, "\"sse9\" is unknown; use amx, avx512bf16, avx512, avx2, scalar or auto."));
    setenv("FILLMASK_ISA", "AVX2", 1);
    assert_int_equal(fm_cpu_create(&b, NULL, 1, &err), FM_E_ARGUMENT);
    assert_non_null(strstr(err.text, "FILLMASK_ISA"));
    assert_non_null(strstr(err.text, "\"AVX2\""));
    unsetenv("FILLMASK_ISA");
    assert_int_equal(fm_cpu_create(&b, "", 1, &err), FM_E_ARGUMENT);
    assert_int_equal(fm_cpu_create(&b, NULL, -1, &err), FM_E_ARGUMENT);
    assert_null(b);
}

static void measures(void **state)
{
    (void)state;
    rig r = open_rig("scalar", 2);
    assert_int_equal(fm_pool_threads(fm_cpu_pool(r.backend)), 2);
    assert_true(fm_cpu_peak(r.backend, FM_PRECISION_F32) > 0.0 && fm_cpu_bandwidth(r.backend) > 0.0);
    close_rig(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear),
        cmocka_unit_test(linear_of_int8),
        cmocka_unit_test(matrices_that_come_in_rows),
        cmocka_unit_test(linear_backward),
        cmocka_unit_test(the_shape_of_a_product_changes_no_bit),
        cmocka_unit_test(bf16_products_are_the_same_on_every_set),
        cmocka_unit_test(slopes_of_gelu),
        cmocka_unit_test(attention),
        cmocka_unit_test(layer_norm),
        cmocka_unit_test(embedding_and_gather),
        cmocka_unit_test(mlm_loss),
        cmocka_unit_test(optimizer),
        cmocka_unit_test(views_and_reuse),
        cmocka_unit_test(an_error_waits_for_finish),
        cmocka_unit_test(forced_sets),
        cmocka_unit_test(unknown_sets),
        cmocka_unit_test(measures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
