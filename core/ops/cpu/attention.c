/* attention.c - softmax attention of the cpu backend: a task is a head of a sequence or several, on one thread with its
 * own scratch memory. The backward pass computes the probabilities again from the scores. */
#include "ops/cpu/cpu.h"

#include <math.h>
#include <string.h>

#define HEADS_EACH 4 /* of a task */
#define FEW 8        /* sequences, of which every head is a task, so that all threads have some */

typedef struct pass {
    cpu *cpu;
    uint32_t heads, each, first; /* heads; of a task at most; the first sequence's number */
    size_t width, stride;        /* of a head, of a row of q, k and v */
    size_t longest, memory;      /* tokens of a sequence; floats a worker */
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

static size_t tasks_each(const pass *x)
{
    return (x->heads + x->each - 1) / x->each; /* of a sequence */
}

/* The first head of a task; *heads are how many it has. */
static part part_at(const pass *x, size_t index, uint32_t *heads)
{
    uint32_t sequence = (uint32_t)(index / tasks_each(x)), head = (uint32_t)(index % tasks_each(x)) * x->each;
    size_t row = x->starts[sequence];
    *heads = x->heads - head < x->each ? x->heads - head : x->each;
    return (part){row * x->stride + head * x->width, x->starts[sequence + 1] - row, row, head, x->first + sequence};
}

static void next_head(const pass *x, part *at)
{
    at->base += x->width;
    at->head++;
}

/* Asks for row `row` of the head at `base`, to be read soon: the rows of a head lie so far apart that processors do not
 * foresee them. */
static void fetch(const pass *x, const float *from, size_t base, size_t row)
{
#if defined(__GNUC__)
    for (size_t i = 0; i < x->width; i += 64 / sizeof *from) __builtin_prefetch(from + base + row * x->stride + i, 0);
#endif
}

/* The same, to be written. */
static void fetch_to(const pass *x, const float *to, size_t base, size_t row)
{
#if defined(__GNUC__)
    for (size_t i = 0; i < x->width; i += 64 / sizeof *to) __builtin_prefetch(to + base + row * x->stride + i, 1);
#endif
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

static void forward_head(const pass *x, const part *at, bool last, float *weights)
{
    const fm_kernels *kernels = x->cpu->kernels;
    float *memory = weights + x->longest * x->longest;
    scores(x, at, weights, x->q, x->k, memory);
    for (size_t i = 0; i < at->length; i++) {
        float *row = weights + i * at->length;
        fetch_to(x, x->out, at->base, i);
        if (!last) {
            fetch(x, x->q, at->base + x->width, i);
            fetch(x, x->k, at->base + x->width, i);
            fetch(x, x->v, at->base + x->width, i);
        }
        kernels->softmax(at->length, row, x->scale);
        if (x->dropout) {
            fm_drop_stream stream = stream_of(x, at, i);
            kernels->dropout(at->length, row, &stream);
        }
    }
    weighted(x, at, x->out, weights, false, x->v, memory);
}

static void forward_task(void *context, size_t index, int worker)
{
    const pass *x = context;
    uint32_t heads;
    part at = part_at(x, index, &heads);
    for (; heads > 0; heads--, next_head(x, &at)) forward_head(x, &at, heads == 1, scratch_of(x, worker));
}

static void backward_head(const pass *x, const part *at, bool last, float *weights)
{
    const fm_kernels *kernels = x->cpu->kernels;
    size_t square = x->longest * x->longest, length = at->length;
    float *slopes = weights + square, *memory = slopes + square;

    scores(x, at, weights, x->q, x->k, memory);
    for (size_t i = 0; i < length; i++) {
        float *row = weights + i * length, *dropped = slopes + i * length;
        fetch_to(x, x->d_v, at->base, i);
        kernels->softmax(length, row, x->scale);
        if (x->dropout) {
            fm_drop_stream stream = stream_of(x, at, i);
            memcpy(dropped, row, length * sizeof(float));
            kernels->dropout(length, dropped, &stream);
        }
    }
    weighted(x, at, x->d_v, x->dropout ? slopes : weights, true, x->d_out, memory);
    scores(x, at, slopes, x->d_out, x->v, memory);
    for (size_t i = 0; i < length; i++) {
        float *row = weights + i * length, *slope = slopes + i * length;
        fetch_to(x, x->d_q, at->base, i);
        fetch_to(x, x->d_k, at->base, i);
        if (!last) {
            fetch(x, x->q, at->base + x->width, i);
            fetch(x, x->k, at->base + x->width, i);
            fetch(x, x->v, at->base + x->width, i);
            fetch(x, x->d_out, at->base + x->width, i);
        }
        if (x->dropout) {
            fm_drop_stream stream = stream_of(x, at, i);
            kernels->dropout(length, slope, &stream);
        }
        kernels->softmax_backward(length, slope, row, x->scale);
    }
    weighted(x, at, x->d_q, slopes, false, x->k, memory);
    weighted(x, at, x->d_k, slopes, true, x->q, memory);
}

static void backward_task(void *context, size_t index, int worker)
{
    const pass *x = context;
    uint32_t heads;
    part at = part_at(x, index, &heads);
    for (; heads > 0; heads--, next_head(x, &at)) backward_head(x, &at, heads == 1, scratch_of(x, worker));
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
                .each = packing->starts.rows > FEW ? HEADS_EACH : 1,
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

static size_t tasks_of(const pass *x, const fm_packing *packing)
{
    return (size_t)(packing->starts.rows - 1) * tasks_each(x);
}

void cpu_attention(fm_backend *b, fm_tensor out, fm_tensor q, fm_tensor k, fm_tensor v, uint32_t heads,
                   const fm_dropout *dropout, const fm_packing *packing)
{
    pass x;
    if (!begin(&x, b, q, k, v, heads, dropout, packing, 1)) return;
    x.out = cpu_floats(x.cpu, out);
    fm_pool_run(x.cpu->pool, tasks_of(&x, packing), forward_task, &x);
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
    fm_pool_run(x.cpu->pool, tasks_of(&x, packing), backward_task, &x);
}
