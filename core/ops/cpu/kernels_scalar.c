/* kernels_scalar.c - the reference kernels: plain loops over the formulas, with double sums where that is simple. They
 * are for checking the fast ones and for machines without any of those, not for speed. */
#include "ops/cpu/bf16.h"
#include "ops/cpu/dropout.h"
#include "ops/cpu/kernels.h"

#include <math.h>
#include <string.h>

#define MR 4
#define NR 4

static bool supported(void)
{
    return true;
}

static void tile(size_t rows, size_t k, const float *a, const float *b, float *c, size_t ldc, bool add, fm_ahead next)
{
    (void)next;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < NR; j++) {
            float sum = add ? c[i * ldc + j] : 0.0f;
            for (size_t l = 0; l < k; l++) sum += a[l * MR + i] * b[l * NR + j];
            c[i * ldc + j] = sum;
        }
}

/* Products of bf16 are exact as floats. Summed before they are added to c, as by the other sets, to the same bits. */
static void tile_bf16(size_t rows, size_t k, const float *a, const float *b, float *c, size_t ldc, bool add,
                      fm_ahead next)
{
    float sums[MR * NR];
    tile(rows, k, a, b, sums, NR, false, next);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < NR; j++) c[i * ldc + j] = (add ? c[i * ldc + j] : 0.0f) + sums[i * NR + j];
}

static void pack_rows(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    for (size_t k = 0; k < depth; k++)
        for (size_t i = 0; i < width; i++) to[k * width + i] = i < count ? from[i * stride + k] : 0.0f;
}

static void pack_columns(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    for (size_t k = 0; k < depth; k++)
        for (size_t i = 0; i < width; i++) to[k * width + i] = i < count ? from[k * stride + i] : 0.0f;
}

static void pack_rows_bf16(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    pack_rows(to, from, stride, count, width, depth);
    kernel_round_bf16(width * depth, to);
}

static void pack_columns_bf16(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    pack_columns(to, from, stride, count, width, depth);
    kernel_round_bf16(width * depth, to);
}

static void add(size_t n, float *y, const float *x)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

static void scale(size_t n, float *y, float a)
{
    for (size_t i = 0; i < n; i++) y[i] *= a;
}

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

static void bias_gelu(size_t n, float *y, const float *x, const float *bias, float *pre)
{
    for (size_t i = 0; i < n; i++) {
        float at = bias ? x[i] + bias[i] : x[i];
        if (pre) pre[i] = at;
        y[i] = (float)(at * normal_cdf(at));
    }
}

static void gelu_backward(size_t n, float *d, const float *x)
{
    for (size_t i = 0; i < n; i++) {
        double at = x[i], density = 0.39894228040143267794 * exp(-0.5 * at * at);
        d[i] = (float)(d[i] * (normal_cdf(at) + at * density));
    }
}

static void layer_norm(size_t n, float *out, const float *x, const float *gamma, const float *beta, float epsilon,
                       float *stats)
{
    double mean = 0.0, variance = 0.0;
    for (size_t i = 0; i < n; i++) mean += x[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean);
    double rstd = 1.0 / sqrt(variance / (double)n + epsilon);
    for (size_t i = 0; i < n; i++) out[i] = (float)((x[i] - mean) * rstd) * gamma[i] + beta[i];
    stats[0] = (float)mean;
    stats[1] = (float)rstd;
}

static void layer_norm_backward(size_t n, float *d_x, float *d_gamma, float *d_beta, const float *d_out, const float *x,
                                const float *gamma, const float *stats)
{
    double mean = 0.0, along = 0.0; /* of the gradient: its mean, and its mean product with the normed values */
    for (size_t i = 0; i < n; i++) {
        double normed = (x[i] - stats[0]) * stats[1], d = (double)d_out[i] * gamma[i];
        mean += d;
        along += d * normed;
        d_gamma[i] += (float)(d_out[i] * normed);
        d_beta[i] += d_out[i];
    }
    mean /= (double)n;
    along /= (double)n;
    for (size_t i = 0; i < n; i++) {
        double normed = (x[i] - stats[0]) * stats[1];
        d_x[i] = (float)(((double)d_out[i] * gamma[i] - mean - normed * along) * stats[1]);
    }
}

static float largest(size_t n, const float *x)
{
    float most = x[0];
    for (size_t i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

static float softmax(size_t n, float *x, float by)
{
    double most = (double)largest(n, x) * by, sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] * by - most);
    for (size_t i = 0; i < n; i++) x[i] = (float)(exp((double)x[i] * by - most) / sum);
    return (float)(most + log(sum));
}

static void exp_shift(size_t n, float *x, float by, float shift, float gain)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)(exp((double)x[i] * by - shift) * gain);
}

static float dot(size_t n, const float *a, const float *b)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return (float)sum;
}

static void softmax_backward(size_t n, float *d, const float *p, float by)
{
    size_t most = 0;
    for (size_t i = 1; i < n; i++) most = p[i] > p[most] ? i : most;
    double of_most = d[most], mean = 0.0;
    for (size_t i = 0; i < n; i++) mean += p[i] * (d[i] - of_most);
    for (size_t i = 0; i < n; i++) d[i] = (float)(p[i] * (d[i] - of_most - mean) * by);
}

static float log_sum_exp(size_t n, const float *x, float value, uint32_t *above)
{
    double most = largest(n, x), sum = 0.0;
    *above = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp(x[i] - most);
        *above += x[i] > value;
    }
    return (float)(most + log(sum));
}

static double squares(size_t n, const float *x)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sum;
}

static void adamw(size_t n, float *p, const float *g, float *m, float *v, float gain, float beta1, float beta2,
                  float epsilon, float step_size, float root, float decay)
{
    for (size_t i = 0; i < n; i++) {
        float gradient = g[i] * gain;
        m[i] += (gradient - m[i]) * (1.0f - beta1);
        v[i] = v[i] * beta2 + gradient * gradient * (1.0f - beta2);
        p[i] = p[i] * decay - step_size * (m[i] / (sqrtf(v[i]) * root + epsilon));
    }
}

static double spin(size_t rounds, float *sink)
{
    float sums[8] = {0};
    for (size_t i = 0; i < rounds; i++)
        for (size_t j = 0; j < 8; j++) sums[j] = sums[j] * 0.999f + 0.001f;
    for (size_t j = 0; j < 8; j++) *sink += sums[j];
    return 16.0 * (double)rounds;
}

static void tile_int8(size_t rows, size_t depth, const void *a, size_t stride, const uint8_t *b, int32_t *c)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < NR; j++) {
            int32_t sum = 0;
            for (size_t k = 0; k < depth; k++)
                sum += ((const int8_t *)a)[i * stride + k] * (int8_t)b[(k / 4 * NR + j) * 4 + k % 4];
            c[i * NR + j] = sum;
        }
}

static float quantise(size_t n, void *to, const float *x, int32_t *sum)
{
    int8_t *q = to;
    float most = 0.0f, bad = 0.0f;
    for (size_t i = 0; i < n; i++) {
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        bad += x[i] * 0.0f;
    }
    memset(q, 0, (n + 15) / 16 * 16);
    *sum = 0;
    if (isnan(bad)) return NAN;
    if (most < QUANTISED_LEAST) return 0.0f;
    float inverse = FM_LEVELS / most;
    for (size_t i = 0; i < n; i++) {
        q[i] = (int8_t)nearbyintf(x[i] * inverse);
        *sum += q[i];
    }
    return most / FM_LEVELS;
}

static void dequantise(size_t n, float *y, const int32_t *c, int32_t less, float scale, const float *scales,
                       const float *bias)
{
    for (size_t i = 0; i < n; i++) y[i] = (float)(c[i] - less) * (scale * scales[i]) + (bias ? bias[i] : 0.0f);
}

static const fm_int8_kernels int8 = {supported, MR, NR, 1, 0, tile_int8, NULL, NULL};
static const fm_int8_kernels *const int8_sets[] = {&int8, NULL};

const fm_kernels fm_kernels_scalar = {
    "scalar",
    supported,
    {{1, 1, MR, NR, 288, tile, {pack_rows, pack_columns}, {pack_rows, pack_columns}, spin, NULL, NULL},
     {1,
      1,
      MR,
      NR,
      288,
      tile_bf16,
      {pack_rows_bf16, pack_columns_bf16},
      {pack_rows_bf16, pack_columns_bf16},
      spin,
      NULL,
      NULL}},
    int8_sets,
    add,
    scale,
    bias_gelu,
    NULL,
    gelu_backward,
    layer_norm,
    layer_norm_backward,
    softmax,
    exp_shift,
    dot,
    softmax_backward,
    log_sum_exp,
    squares,
    adamw,
    kernel_dropout,
    quantise,
    dequantise};
