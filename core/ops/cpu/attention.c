/* attention.c - softmax attention of the cpu backend: one task a sequence and head, each on one thread with its own
 * scratch memory. The backward pass computes the probabilities again from the scores' log sums. */
#include "ops/cpu/cpu.h"

#include <math.h>
#include <string.h>

typedef struct pass {
    cpu *cpu;
    uint32_t heads, first;
    size_t width, stride;   /* of a head, of a row of q, k and v */
    size_t longest, memory; /* tokens of a sequence; floats a worker */
    const uint32_t *starts;
    const float *q, *k, *v, *d_out;
    float *out, *d_q, *d_k, *d_v;
    const fm_dropout *dropout; /* NULL for none */
    float scale;
} pass;

/* The queries, keys and values of one head of one sequence. */
typedef struct part {
    size_t base, length; /* of the head in q, k, v and their gradients; tokens */
    size_t row;          /* first row of the sequence */
    uint32_t head, number;
} part;

static part part_at(const pass *x, size_t index)
{
    uint32_t sequence = (uint32_t)(index / x->heads), head = (uint32_t)(index % x->heads);
    size_t row = x->starts[sequence];
    return (part){row * x->stride + head * x->width, x->starts[sequence + 1] - row, row, head, x->first + sequence};
}

static fm_drop_stream stream_of(const pass *x, const part *at, size_t row)
{
    return cpu_drop_row(x->dropout, at->number, (uint32_t)(at->head * at->length + row), at->length);
}

/* to (length, length) = left right^T, both (length, width) inside rows of `stride`. */
static void scores(const pass *x, const part *at, float *to, const float *left, const float *right, float *memory)
{
    cpu_product p = {.precision = x->cpu->precision,
                     .m = at->length,
                     .n = at->length,
                     .k = x->width,
                     .a = {left + at->base, x->stride, false},
                     .b = {right + at->base, x->stride, true},
                     .c = to,
                     .stride = at->length};
    cpu_gemm_small(x->cpu->kernels, &p, memory);
}

/* to (length, width) = weights (length, length), turned or not, times `values` (length, width). */
static void weighted(const pass *x, const part *at, float *to, const float *weights, bool turned, const float *values,
                     float *memory)
{
    cpu_product p = {.precision = x->cpu->precision,
                     .m = at->length,
                     .n = x->width,
                     .k = at->length,
                     .a = {weights, at->length, turned},
                     .b = {values + at->base, x->stride, false},
                     .c = to + at->base,
                     .stride = x->stride};
    cpu_gemm_small(x->cpu->kernels, &p, memory);
}

static float *scratch_of(const pass *x, int worker)
{
    return x->cpu->scratch + (size_t)worker * x->memory;
}

static void forward_task(void *context, size_t index, int worker)
{
    const pass *x = context;
    const fm_kernels *kernels = x->cpu->kernels;
    part at = part_at(x, index);
    float *weights = scratch_of(x, worker), *memory = weights + x->longest * x->longest;
    scores(x, &at, weights, x->q, x->k, memory);
    for (size_t i = 0; i < at.length; i++) {
        float *row = weights + i * at.length;
        kernels->softmax(at.length, row, x->scale);
        if (x->dropout) {
            fm_drop_stream stream = stream_of(x, &at, i);
            kernels->dropout(at.length, row, &stream);
        }
    }
    weighted(x, &at, x->out, weights, false, x->v, memory);
}

/* Subtracts from the slopes that of the greatest probability, which softmax's gradient does not depend on: where one
 * probability is nearly 1, the difference of its slope and their mean would be hardly more than its rounding. */
static void centre(size_t n, float *slopes, const float *probabilities)
{
    size_t most = 0;
    for (size_t j = 1; j < n; j++) most = probabilities[j] > probabilities[most] ? j : most;
    float of_most = slopes[most];
    for (size_t j = 0; j < n; j++) slopes[j] -= of_most;
}

static void backward_task(void *context, size_t index, int worker)
{
    const pass *x = context;
    const fm_kernels *kernels = x->cpu->kernels;
    part at = part_at(x, index);
    size_t square = x->longest * x->longest;
    float *weights = scratch_of(x, worker), *slopes = weights + square, *memory = slopes + square;

    scores(x, &at, weights, x->q, x->k, memory);
    for (size_t i = 0; i < at.length; i++) {
        float *row = weights + i * at.length, *dropped = slopes + i * at.length;
        kernels->softmax(at.length, row, x->scale);
        if (x->dropout) {
            fm_drop_stream stream = stream_of(x, &at, i);
            memcpy(dropped, row, at.length * sizeof(float));
            kernels->dropout(at.length, dropped, &stream);
        }
    }
    weighted(x, &at, x->d_v, x->dropout ? slopes : weights, true, x->d_out, memory);
    scores(x, &at, slopes, x->d_out, x->v, memory);
    for (size_t i = 0; i < at.length; i++) {
        float *row = weights + i * at.length, *slope = slopes + i * at.length;
        if (x->dropout) {
            fm_drop_stream stream = stream_of(x, &at, i);
            kernels->dropout(at.length, slope, &stream);
        }
        centre(at.length, slope, row);
        kernels->softmax_backward(at.length, slope, row, kernels->dot(at.length, row, slope), x->scale);
    }
    weighted(x, &at, x->d_q, slopes, false, x->k, memory);
    weighted(x, &at, x->d_k, slopes, true, x->q, memory);
}

/* Floats that a worker needs: `squares` squares of the longest sequence, and what a product packs. SIZE_MAX if the
 * squares are beyond all memory; the rest is small beside them. */
static size_t memory_of(const fm_kernels *kernels, fm_precision precision, size_t longest, size_t width, size_t squares)
{
    size_t square;
    if (!fm_size_mul(longest, longest, &square) || square > SIZE_MAX / 16) return SIZE_MAX;
    size_t across = cpu_small_size(kernels, precision, longest, longest, width),
           along = cpu_small_size(kernels, precision, longest, width, longest);
    size_t all = squares * square + (across > along ? across : along);
    return (all + 15) / 16 * 16; /* workers do not share cache lines */
}

/* Fills in what both directions share; false if there is no memory. */
static bool begin(pass *x, fm_backend *b, fm_tensor q, fm_tensor k, fm_tensor v, uint32_t heads,
                  const fm_dropout *dropout, const fm_packing *packing, size_t squares)
{
    cpu *c = (cpu *)b;
    size_t longest = packing->longest, width = q.cols / heads;
    *x = (pass){.cpu = c,
                .heads = heads,
                .first = packing->first,
                .width = width,
                .stride = q.cols,
                .longest = longest,
                .memory = memory_of(c->kernels, c->precision, longest, width, squares),
                .starts = cpu_words(c, packing->starts),
                .q = cpu_floats(c, q),
                .k = cpu_floats(c, k),
                .v = cpu_floats(c, v),
                .dropout = dropout && dropout->rate > 0.0f ? dropout : NULL,
                .scale = 1.0f / sqrtf((float)width)};
    return cpu_scratch(c, (size_t)fm_pool_threads(c->pool), x->memory);
}

static size_t tasks_of(const fm_packing *packing, uint32_t heads)
{
    return (size_t)(packing->starts.rows - 1) * heads;
}

void cpu_attention(fm_backend *b, fm_tensor out, fm_tensor q, fm_tensor k, fm_tensor v, uint32_t heads,
                   const fm_dropout *dropout, const fm_packing *packing)
{
    pass x;
    if (!begin(&x, b, q, k, v, heads, dropout, packing, 1)) return;
    x.out = cpu_floats(x.cpu, out);
    fm_pool_run(x.cpu->pool, tasks_of(packing, heads), forward_task, &x);
}

void cpu_attention_backward(fm_backend *b, fm_tensor d_q, fm_tensor d_k, fm_tensor d_v, fm_tensor d_out, fm_tensor q,
                            fm_tensor k, fm_tensor v, uint32_t heads, const fm_dropout *dropout,
                            const fm_packing *packing)
{
    pass x;
    if (!begin(&x, b, q, k, v, heads, dropout, packing, 2)) return;
    x.d_out = cpu_floats(x.cpu, d_out);
    x.d_q = cpu_floats(x.cpu, d_q);
    x.d_k = cpu_floats(x.cpu, d_k);
    x.d_v = cpu_floats(x.cpu, d_v);
    fm_pool_run(x.cpu->pool, tasks_of(packing, heads), backward_task, &x);
}
