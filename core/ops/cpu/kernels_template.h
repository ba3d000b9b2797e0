/* kernels_template.h - the fast kernels, written once over a handful of vector operations. A file of one instruction
 * set defines those and includes this:
 *
 *   NAME, SUPPORTED        name of the set, expression that tells whether the machine has it
 *   W, MR, NV              floats a vector, rows a tile, vectors across a tile
 *   vf, vi                 vectors of W floats and of W 32-bit integers
 *   LOAD STORE SET1 ADD SUB MUL DIV FMA(a*b+c) SQRT ROUND(to nearest)
 *   SPREAD(from)           SET1 of the float there, if that is another instruction
 *   CONSTANT(x)            SET1 of a constant, if there is a better way to one of many
 *   STEPS_APART            that a tile's steps need a branch between them and NEXT(pointer, by), which advances it
 *   FETCH(from)            brings the cache line there, if not by __builtin_prefetch
 *   MAX(a, b), MIN(a, b)   NaN if b is NaN; if only a is, either will do
 *   RECIPROCAL(x)          1 / x, if there is a faster way than DIV
 *   STREAM(to, x)          STORE past the caches, to a multiple of a vector's bytes, if there is such an instruction
 *   SETTLE()               then also what makes other threads see it
 *   DEPTH                  of f32 products, numbers of k that are best summed at once, if not 288
 *   POW2(vf n)             2^n of integral n in [-126, 127], 0 for -127, infinity for 128
 *   ABOVE(a, b)            how many lanes of a exceed those of b
 *   TRANSPOSE(to, ld, from, stride)   to[j * ld + i] = from[i * stride + j], i, j < W; or, instead of it,
 *   PACKS                  that pack_rows and pack_columns are defined already
 *   INT8_SETS              the set's products of integers, best first (fm_kernels.int8)
 *   QUANTISED              what quantise writes numbers as
 *   NARROW(to, x)          writes the W integral floats x so
 *   INTEGERS(from, less)   the W int32 at `from` less an int32, as floats
 *   DROPS                  that kernel_dropout is defined already
 *   BF16_PRODUCTS          products of bf16 (fm_product_kernels) that the file has made itself; or
 *   BF16_DOT(a, b, c)      if there is such an instruction: a * b + c of words of two bf16; then pack_rows_bf16 and
 *                          pack_columns_bf16 make such words. Otherwise bf16 are floats that were rounded.
 */
#include "ops/cpu/bf16.h"
#ifndef DROPS
#include "ops/cpu/dropout.h"
#endif
#include "ops/cpu/kernels.h"

#include <math.h>
#include <string.h>

#define NR (W * NV)
#ifndef DEPTH
#define DEPTH 288
#endif
#ifndef RECIPROCAL
#define RECIPROCAL(x) DIV(SET1(1.0f), x)
#endif
#ifndef STREAM
#define STREAM(to, x) STORE(to, x)
#endif
#ifndef SPREAD
#define SPREAD(from) SET1(*(from))
#endif
#ifndef FETCH
#define FETCH(from) __builtin_prefetch(from, 0, 2)
#endif
#ifndef CONSTANT
#define CONSTANT(x) SET1(x)
#endif

static bool supported(void)
{
    return SUPPORTED;
}

/* ---- the ends of rows ---- */

static inline vf load_part(const float *from, size_t n)
{
    float part[W] = {0};
    memcpy(part, from, n * sizeof(float));
    return LOAD(part);
}

static inline void store_part(float *to, vf x, size_t n)
{
    float part[W];
    STORE(part, x);
    memcpy(to, part, n * sizeof(float));
}

/* Runs `body` over vectors; `load(p)` and `save(p, v)` in it are whole or, at the end, partial with `lanes` of W. */
#define EACH(n, body)                                                                                                  \
    do {                                                                                                               \
        size_t i = 0;                                                                                                  \
        for (; i + W <= (n); i += W) {                                                                                 \
            const size_t lanes = W;                                                                                    \
            (void)lanes;                                                                                               \
            body(LOAD, STORE_WHOLE)                                                                                    \
        }                                                                                                              \
        if (i < (n)) {                                                                                                 \
            const size_t lanes = (n)-i;                                                                                \
            body(LOAD_PART, STORE_PART)                                                                                \
        }                                                                                                              \
    } while (0)
#define STORE_WHOLE(to, x) STORE(to, x)
#define LOAD_PART(from) load_part(from, lanes)
#define STORE_PART(to, x) store_part(to, x, lanes)

/* A fixed order of adding: halves, then halves of that. */
static inline float sum_of(vf x)
{
    float part[W];
    STORE(part, x);
    for (size_t half = W / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++) part[i] += part[i + half];
    return part[0];
}

static inline float max_of(vf x)
{
    float part[W];
    STORE(part, x);
    for (size_t half = W / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++) part[i] = part[i] > part[i + half] ? part[i] : part[i + half];
    return part[0];
}

/* ---- functions ---- */

/* exp(x) = 2^n exp(r), |r| <= ln 2 / 2, by a polynomial of degree 6, a fit of ours with a relative error of 1e-8. Where
 * n would be -127 or 128, below -87.68 and above 88.37, it is 0 and infinity. NaN stays NaN. */
static inline vf vexp(vf x)
{
    x = MIN(CONSTANT(89.0f), MAX(CONSTANT(-88.0f), x));
    vf n = ROUND(MUL(x, CONSTANT(1.44269504088896341f)));
    vf r = FMA(n, CONSTANT(-0.693145751953125f), x);
    r = FMA(n, CONSTANT(-1.428606820309417232e-6f), r);
    vf p = CONSTANT(0.0013814467238262296f);
    p = FMA(p, r, CONSTANT(0.008368780836462975f));
    p = FMA(p, r, CONSTANT(0.04166839271783829f));
    p = FMA(p, r, CONSTANT(0.1666651964187622f));
    p = FMA(p, r, CONSTANT(0.4999999403953552f));
    p = FMA(p, r, CONSTANT(1.0f));
    p = FMA(p, r, CONSTANT(1.0f));
    return MUL(p, POW2(n));
}

/* Phi(x), the normal distribution function, and *bell = exp(-x^2 / 2). With z = |x| / sqrt 2 the tail is
 * erfc(z) / 2 = exp(-z^2) t P(t) / 2, t = 1 / (1 + 0.47 z); P is a fit of ours over z in [0, 10] with a relative error
 * of 3.4e-8 where the tail is above 1e-4, and 2.7e-7 elsewhere. */
static inline vf normal_cdf(vf x, vf *bell)
{
    vf magnitude = MAX(x, SUB(SET1(0.0f), x));
    *bell = vexp(MUL(MUL(x, x), CONSTANT(-0.5f)));
    vf t = RECIPROCAL(FMA(magnitude, CONSTANT(0.47f * 0.70710678118654752f), CONSTANT(1.0f)));
    vf p = CONSTANT(-0.051206279546022415f);
    p = FMA(p, t, CONSTANT(0.2879078686237335f));
    p = FMA(p, t, CONSTANT(-0.6057662963867188f));
    p = FMA(p, t, CONSTANT(0.5139597058296204f));
    p = FMA(p, t, CONSTANT(-0.1568322479724884f));
    p = FMA(p, t, CONSTANT(0.2605241537094116f));
    p = FMA(p, t, CONSTANT(0.21932731568813324f));
    p = FMA(p, t, CONSTANT(0.26700279116630554f));
    p = FMA(p, t, CONSTANT(0.265082985162735f));
    vf tail = MUL(MUL(*bell, CONSTANT(0.5f)), MUL(p, t));
    return SELECT_NEGATIVE(x, tail, SUB(CONSTANT(1.0f), tail));
}

/* ---- matrix products ---- */

#define PRODUCTS(fold, depth, tile, rows, columns, spin)                                                               \
    {                                                                                                                  \
        fold, 1, MR, NR, depth, tile, {rows, columns}, {rows, columns}, spin, NULL, NULL                               \
    }

#define TILE tile
#define TILE_ROWS tile_rows
#define TILE_STEP tile_step
#define SPIN spin
#define DOT(a, b, c) FMA(a, b, c)
#define DOT_OPERATIONS 2
#include "ops/cpu/tile_template.h"

#ifndef PACKS
static void pack_rows(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    if (count < width) memset(to, 0, width * depth * sizeof(float));
    if (count < W) {
        for (size_t k = 0; k < depth; k++)
            for (size_t j = 0; j < count; j++) to[k * width + j] = from[j * stride + k];
        return;
    }
    for (size_t start = 0; start < count; start += W) {
        size_t i = start + W <= count ? start : count - W, k = 0; /* the last W rows, some of them again */
        for (; k + W <= depth; k += W) TRANSPOSE(to + k * width + i, width, from + i * stride + k, stride);
        for (; k < depth; k++)
            for (size_t j = i; j < i + W; j++) to[k * width + j] = from[j * stride + k];
    }
}

static void pack_columns(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    for (size_t k = 0; k < depth; k++) {
        memcpy(to + k * width, from + k * stride, count * sizeof(float));
        if (count < width) memset(to + k * width + count, 0, (width - count) * sizeof(float));
    }
}
#endif

#if defined(BF16_PRODUCTS)
#elif defined(BF16_DOT)
#define TILE tile_bf16
#define TILE_ROWS tile_rows_bf16
#define TILE_STEP tile_step_bf16
#define SPIN spin_bf16
#define DOT(a, b, c) BF16_DOT(a, b, c)
#define DOT_OPERATIONS 4
#include "ops/cpu/tile_template.h"
#define BF16_PRODUCTS PRODUCTS(2, 288, tile_bf16, pack_rows_bf16, pack_columns_bf16, spin_bf16)
#else
/* Products of bf16 are exact as floats, and so the tile for floats does. */
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
#define BF16_PRODUCTS PRODUCTS(1, 288, tile, pack_rows_bf16, pack_columns_bf16, spin)
#endif

/* ---- loops over rows ---- */

static void add(size_t n, float *y, const float *x)
{
#define BODY(load, save) save(y + i, ADD(load(y + i), load(x + i)));
    EACH(n, BODY);
#undef BODY
}

static void scale(size_t n, float *y, float a)
{
#define BODY(load, save) save(y + i, MUL(load(y + i), SET1(a)));
    EACH(n, BODY);
#undef BODY
}

static inline __attribute__((always_inline)) void bias_gelu_of(size_t n, float *y, const float *x, const float *bias,
                                                               float *pre, bool past)
{
#define BODY(load, save)                                                                                               \
    vf at = load(x + i), bell;                                                                                         \
    if (bias) at = ADD(at, load(bias + i));                                                                            \
    if (past && lanes == W) STREAM(pre + i, at);                                                                       \
    else if (pre) save(pre + i, at);                                                                                   \
    save(y + i, MUL(at, normal_cdf(at, &bell)));
    EACH(n, BODY);
#undef BODY
}

/* A loop for each kind, since there is no time for branches in it. */
static void bias_gelu(size_t n, float *y, const float *x, const float *bias, float *pre)
{
    bool past = pre && (uintptr_t)pre % sizeof(vf) == 0;
    if (bias && past) bias_gelu_of(n, y, x, bias, pre, true);
    else if (bias && pre) bias_gelu_of(n, y, x, bias, pre, false);
    else if (bias) bias_gelu_of(n, y, x, bias, NULL, false);
    else bias_gelu_of(n, y, x, NULL, pre, false);
}

#ifdef SETTLE
static void settle(void)
{
    SETTLE();
}
#define SETTLED settle
#else
#define SETTLED NULL
#endif

static void gelu_backward(size_t n, float *d, const float *x)
{
#define BODY(load, save)                                                                                               \
    vf at = load(x + i), bell, cdf = normal_cdf(at, &bell);                                                            \
    vf slope = FMA(MUL(at, SET1(0.3989422804014327f)), bell, cdf);                                                     \
    save(d + i, MUL(load(d + i), slope));
    EACH(n, BODY);
#undef BODY
}

static void layer_norm(size_t n, float *out, const float *x, const float *gamma, const float *beta, float epsilon,
                       float *stats)
{
    vf sum = SET1(0.0f), spread = SET1(0.0f);
#define BODY(load, save) sum = ADD(sum, load(x + i));
    EACH(n, BODY);
#undef BODY
    float mean = sum_of(sum) / (float)n;
    size_t whole = n / W * W;
    for (size_t i = 0; i < whole; i += W) {
        vf away = SUB(LOAD(x + i), SET1(mean));
        spread = FMA(away, away, spread);
    }
    float variance = sum_of(spread);
    for (size_t i = whole; i < n; i++) variance += (x[i] - mean) * (x[i] - mean);
    /* Overflow is made visible: an rstd of zero would turn it into beta. */
    float rstd = isinf(variance) ? NAN : 1.0f / sqrtf(variance / (float)n + epsilon);
#define BODY(load, save)                                                                                               \
    save(out + i, FMA(MUL(SUB(load(x + i), SET1(mean)), SET1(rstd)), load(gamma + i), load(beta + i)));
    EACH(n, BODY);
#undef BODY
    stats[0] = mean;
    stats[1] = rstd;
}

static void layer_norm_backward(size_t n, float *d_x, float *d_gamma, float *d_beta, const float *d_out, const float *x,
                                const float *gamma, const float *stats)
{
    vf mean = SET1(stats[0]), rstd = SET1(stats[1]), sum = SET1(0.0f), product = SET1(0.0f);
    /* Lanes past the end have a gamma of zero, which keeps them out of both sums. */
#define BODY(load, save)                                                                                               \
    vf normed = MUL(SUB(load(x + i), mean), rstd), d = load(d_out + i), scaled = MUL(d, load(gamma + i));              \
    sum = ADD(sum, scaled);                                                                                            \
    product = FMA(scaled, normed, product);                                                                            \
    save(d_gamma + i, FMA(d, normed, load(d_gamma + i)));                                                              \
    save(d_beta + i, ADD(load(d_beta + i), d));
    EACH(n, BODY);
#undef BODY
    vf average = SET1(sum_of(sum) / (float)n), along = SET1(sum_of(product) / (float)n);
#define BODY(load, save)                                                                                               \
    vf normed = MUL(SUB(load(x + i), mean), rstd), d = SUB(MUL(load(d_out + i), load(gamma + i)), average);            \
    save(d_x + i, MUL(SUB(d, MUL(normed, along)), rstd));
    EACH(n, BODY);
#undef BODY
}

static float largest(size_t n, const float *x)
{
    vf most = SET1(x[0]);
    size_t i = 0;
    for (; i + W <= n; i += W) most = MAX(most, LOAD(x + i));
    float result = max_of(most);
    for (; i < n; i++) result = x[i] > result ? x[i] : result;
    return result;
}

static float softmax(size_t n, float *x, float by)
{
    float most = largest(n, x) * by;
    size_t i = 0;
    vf sum = SET1(0.0f);
    for (; i + W <= n; i += W) {
        vf e = vexp(SUB(MUL(LOAD(x + i), SET1(by)), SET1(most)));
        STORE(x + i, e);
        sum = ADD(sum, e);
    }
    float total = sum_of(sum);
    if (i < n) {
        store_part(x + i, vexp(SUB(MUL(load_part(x + i, n - i), SET1(by)), SET1(most))), n - i);
        for (; i < n; i++) total += x[i];
    }
    scale(n, x, 1.0f / total);
    return most + logf(total);
}

static void exp_shift(size_t n, float *x, float by, float shift, float gain)
{
#define BODY(load, save) save(x + i, MUL(vexp(SUB(MUL(load(x + i), SET1(by)), SET1(shift))), SET1(gain)));
    EACH(n, BODY);
#undef BODY
}

static float dot(size_t n, const float *a, const float *b)
{
    vf sum = SET1(0.0f);
#define BODY(load, save) sum = FMA(load(a + i), load(b + i), sum);
    EACH(n, BODY);
#undef BODY
    return sum_of(sum);
}

static void softmax_backward(size_t n, float *d, const float *p, float by)
{
    float most = largest(n, p);
    size_t at = 0;
    while (at + 1 < n && p[at] != most) at++;
    vf of_most = SET1(d[at]), sum = SET1(0.0f);
    /* Lanes past the end have a p of zero. */
#define BODY(load, save) sum = FMA(load(p + i), SUB(load(d + i), of_most), sum);
    EACH(n, BODY);
#undef BODY
    vf mean = SET1(sum_of(sum));
#define BODY(load, save) save(d + i, MUL(MUL(load(p + i), SUB(SUB(load(d + i), of_most), mean)), SET1(by)));
    EACH(n, BODY);
#undef BODY
}

static float log_sum_exp(size_t n, const float *x, float value, uint32_t *above)
{
    float most = largest(n, x);
    vf sum = SET1(0.0f), level = SET1(value);
    uint32_t count = 0;
    size_t i = 0;
    for (; i + W <= n; i += W) {
        vf at = LOAD(x + i);
        sum = ADD(sum, vexp(SUB(at, SET1(most))));
        count += ABOVE(at, level);
    }
    float total = sum_of(sum);
    for (; i < n; i++) {
        total += expf(x[i] - most);
        count += x[i] > value;
    }
    *above = count;
    return most + logf(total);
}

/* Sums of 256 values in float, those in double: exact enough for a norm, and fast. */
static double squares(size_t n, const float *x)
{
    double total = 0.0;
    for (size_t start = 0; start < n; start += 256) {
        size_t count = n - start < 256 ? n - start : 256;
        total += dot(count, x + start, x + start);
    }
    return total;
}

static void adamw(size_t n, float *p, const float *g, float *m, float *v, float gain, float beta1, float beta2,
                  float epsilon, float step_size, float root, float decay)
{
#define BODY(load, save)                                                                                               \
    vf gradient = MUL(load(g + i), SET1(gain)), first = load(m + i), second = load(v + i);                             \
    first = FMA(SUB(gradient, first), SET1(1.0f - beta1), first);                                                      \
    second = FMA(MUL(gradient, gradient), SET1(1.0f - beta2), MUL(second, SET1(beta2)));                               \
    vf change = DIV(first, FMA(SQRT(second), SET1(root), SET1(epsilon)));                                              \
    save(m + i, first);                                                                                                \
    save(v + i, second);                                                                                               \
    save(p + i, SUB(MUL(load(p + i), SET1(decay)), MUL(change, SET1(step_size))));
    EACH(n, BODY);
#undef BODY
}

/* ---- integers ---- */

static float quantise(size_t n, void *to, const float *x, int32_t *sum)
{
    QUANTISED *q = to;
    vf most = SET1(0.0f), bad = SET1(0.0f), total = SET1(0.0f);
#define BODY(load, save)                                                                                               \
    vf at = load(x + i);                                                                                               \
    most = MAX(most, MAX(at, SUB(SET1(0.0f), at)));                                                                    \
    bad = ADD(bad, MUL(at, SET1(0.0f)));
    EACH(n, BODY);
#undef BODY
    float largest_of_all = max_of(most), inverse = FM_LEVELS / largest_of_all;
    memset(q + n / 16 * 16, 0, (n % 16 ? 16 : 0) * sizeof *q);
    *sum = 0;
    if (sum_of(bad) != 0.0f || largest_of_all < QUANTISED_LEAST) {
        memset(q, 0, n * sizeof *q);
        return sum_of(bad) != 0.0f ? NAN : 0.0f;
    }
    /* Sums of so few small integers are exact as floats. */
#define BODY(load, save)                                                                                               \
    vf at = ROUND(MUL(load(x + i), SET1(inverse)));                                                                    \
    NARROW(q + i, at);                                                                                                 \
    total = ADD(total, at);
    EACH(n, BODY);
#undef BODY
    *sum = (int32_t)sum_of(total);
    return largest_of_all / FM_LEVELS;
}

static void dequantise(size_t n, float *y, const int32_t *c, int32_t less, float by, const float *scales,
                       const float *bias)
{
#define BODY(load, save)                                                                                               \
    vf at = MUL(SET1(by), load(scales + i)), start = bias ? load(bias + i) : SET1(0.0f);                               \
    save(y + i, FMA(INTEGERS(c + i, less), at, start));
    EACH(n, BODY);
#undef BODY
}

static const fm_int8_kernels *const int8_sets[] = {INT8_SETS, NULL};

const fm_kernels KERNELS = {NAME,
                            supported,
                            {PRODUCTS(1, DEPTH, tile, pack_rows, pack_columns, spin), BF16_PRODUCTS},
                            int8_sets,
                            add,
                            scale,
                            bias_gelu,
                            SETTLED,
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
