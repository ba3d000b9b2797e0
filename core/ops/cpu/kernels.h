/* kernels.h - what one instruction set provides to the cpu backend: a matrix tile and row-wise vector loops.
 *
 * Kernels know nothing of tensors, threads or blocking; gemm.c, attention.c and rows.c do all that.
 * kernels_scalar.c is the plain reference; kernels_template.h is compiled once for each vector instruction set. What
 * comes of a NaN or an infinity is NaN or infinite wherever it is so by the formula; dropout alone may drop them.
 */
#ifndef FM_KERNELS_H
#define FM_KERNELS_H

#include "ops/ops.h"

/* A row's dropout: which numbers decide, and what is kept. Element i takes 16 bits of the Threefry block whose counter
 * is {counter, first / 4 + i / 4}. */
typedef struct fm_drop_stream {
    uint32_t key[2], counter;
    uint32_t first;     /* index of the row's first element in its sequence, a multiple of 4 */
    uint32_t threshold; /* of 65536; an element is dropped if its 16 bits are below */
    float scale;        /* of what is kept */
} fm_drop_stream;

/* How a side of a product is packed: into panels of 32-bit words, each of `fold` numbers (fm_product_kernels). Word w
 * of line i holds the numbers of that line from k = w * fold on. A panel has its numbers from[i * stride + k], or
 * from[k * stride + i], for i < count <= width, k < depth; for other i, and for a k beyond the last, it holds zero. */
typedef struct fm_packers {
    void (*rows)(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth);
    void (*columns)(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth);
} fm_packers;

/* Part of a panel that is multiplied soon. A tile may fetch it into the caches along the way, and nothing beyond it:
 * processors that fetch ahead by themselves begin too late. */
typedef struct fm_ahead {
    const float *from;
    size_t lines; /* of 64 bytes */
} fm_ahead;

/* Matrix products of one precision. A panel's words are a multiple of `grain`. Word (w, i) of a right-hand panel lies
 * at [w * width + i], that of a left-hand one at [w / grain * grain * width + i * grain + w % grain]. */
typedef struct fm_product_kernels {
    uint32_t fold, grain;
    uint32_t mr, nr; /* rows and columns of a tile */
    uint32_t depth;  /* numbers of a line that are best summed at once; a multiple of fold * grain */
    /* c (rows, nr; row stride ldc) = (add ? c : 0) + the products of panels of `words` times mr and nr, rows <= mr;
     * next is only looked at. */
    void (*tile)(size_t rows, size_t words, const float *a, const float *b, float *c, size_t ldc, bool add,
                 fm_ahead next);
    fm_packers left, right;
    /* what a tile does, in registers alone; returns how many floating-point operations that was */
    double (*spin)(size_t rounds, float *sink);
    /* Around the tiles of a thread, which may need registers of their own; NULL if they do not. */
    void (*begin)(void), (*end)(void);
} fm_product_kernels;

/* Matrix products of integers. The left-hand side is rows of depth numbers, each of `size` bytes, as quantise makes
 * them; the right-hand side lies in panels of nr lines: byte (k / 4 * nr + j) * 4 + k % 4 is the number of line j at k,
 * plus offset. An offset of 64 says that the tile is exact for numbers from -63 to 63 alone. depth is a multiple of 64.
 */
typedef struct fm_int8_kernels {
    bool (*supported)(void);
    uint32_t mr, nr; /* rows and columns of a tile */
    uint32_t size, offset;
    /* c (rows, nr) = the sums over depth, those of the raised numbers, rows <= mr. Reads mr rows of a and may write as
     * many of c. */
    void (*tile)(size_t rows, size_t depth, const void *a, size_t stride, const uint8_t *b, int32_t *c);
    /* A thread calls these before its tiles and after them; NULL where there is nothing to do. */
    void (*begin)(void);
    void (*end)(void);
} fm_int8_kernels;

#define FM_LEVELS 127             /* the largest magnitude of a quantised number of the left-hand side */
#define QUANTISED_LEAST 0x1p-100f /* a row whose magnitudes are below is as good as zero */

typedef struct fm_kernels {
    const char *name;
    bool (*supported)(void);
    fm_product_kernels products[FM_PRECISIONS];
    const fm_int8_kernels *const *int8; /* best first, then NULL; one of them needs nothing more than this set */

    void (*add)(size_t n, float *y, const float *x); /* y += x */
    void (*scale)(size_t n, float *y, float a);      /* y *= a */
    /* With x + bias, kept in pre: y = x * Phi(x). bias and pre may be NULL; y may be x. Nobody needs pre soon: it goes
     * past the caches where that can be. */
    void (*bias_gelu)(size_t n, float *y, const float *x, const float *bias, float *pre);
    /* After bias_gelu, before other threads read what it kept; NULL where they see it anyway. */
    void (*settle)(void);
    void (*gelu_backward)(size_t n, float *d, const float *x); /* d *= Phi(x) + x * phi(x) */
    /* out = (x - mean) * rstd * gamma + beta; stats[2] = mean, rstd */
    void (*layer_norm)(size_t n, float *out, const float *x, const float *gamma, const float *beta, float epsilon,
                       float *stats);
    /* d_x = gradient of x, given d_out; d_gamma and d_beta are added to. d_x may be d_out. */
    void (*layer_norm_backward)(size_t n, float *d_x, float *d_gamma, float *d_beta, const float *d_out, const float *x,
                                const float *gamma, const float *stats);
    /* x = softmax(x * scale); returns log(sum(exp(x * scale))) */
    float (*softmax)(size_t n, float *x, float scale);
    /* x = exp(x * scale - shift) * gain */
    void (*exp_shift)(size_t n, float *x, float scale, float shift, float gain);
    float (*dot)(size_t n, const float *a, const float *b);
    /* d = p * (d - mean of d) * scale, the mean weighted by p. The slope of the greatest p is taken from all of d
     * first, which changes nothing but rounding: where one p is nearly 1, its slope differs from the mean by hardly
     * more. */
    void (*softmax_backward)(size_t n, float *d, const float *p, float scale);
    /* log(sum(exp(x))), and the number of x above `value` */
    float (*log_sum_exp)(size_t n, const float *x, float value, uint32_t *above);
    double (*squares)(size_t n, const float *x); /* sum of x squared */
    /* m and v move towards gain * g and its square; p = p * decay - step_size * m / (sqrt(v) * root + epsilon) */
    void (*adamw)(size_t n, float *p, const float *g, float *m, float *v, float gain, float beta1, float beta2,
                  float epsilon, float step_size, float root, float decay);
    /* x[i] = kept ? x[i] * scale : 0 */
    void (*dropout)(size_t n, float *x, const fm_drop_stream *stream);
    /* to = x / scale to the nearest integer, ties to even, scale = max |x| / FM_LEVELS, which is returned; *sum of to.
     * A row with a NaN or an infinity becomes zero and its scale NaN. Writes zeros up to a multiple of 16. */
    float (*quantise)(size_t n, void *to, const float *x, int32_t *sum);
    /* y = (c - less) * (scale * scales) + bias, which may be NULL */
    void (*dequantise)(size_t n, float *y, const int32_t *c, int32_t less, float scale, const float *scales,
                       const float *bias);
} fm_kernels;

extern const fm_kernels fm_kernels_scalar;
#if defined(__x86_64__)
extern const fm_int8_kernels fm_int8_avx2, fm_int8_avxvnni, fm_int8_avx512, fm_int8_avx512vnni;
extern const fm_kernels fm_kernels_avx2;
extern const fm_kernels fm_kernels_avx512;
extern const fm_kernels fm_kernels_avx512bf16;
extern const fm_kernels fm_kernels_amx;
#elif defined(__wasm_simd128__)
extern const fm_kernels fm_kernels_wasm;
#ifdef FM_RELAXED_SIMD
#define FM_WASM_NAME "relaxed"
#else
#define FM_WASM_NAME "simd128"
#endif
#endif

#endif
