/* profile.c - the profiling backend: it hands every operation on to a backend that executes at once, and keeps how long
 * each took and how much it did. Benchmarks put it around the cpu backend; nothing else knows that it is there. */
#include "ops/ops.h"

#include <stdlib.h>
#include <string.h>

typedef struct profile {
    fm_backend backend;
    fm_backend *inner;
    fm_profile_entry entries[FM_MOST_PROFILED];
    size_t count;
} profile;

/* ---- counting ---- */

/* What one call read, wrote and computed. */
typedef struct work {
    double operations, elements;
} work;

static double size_of(fm_tensor x)
{
    return x.buffer ? (double)x.rows * x.cols : 0.0;
}

/* What a tensor takes, in numbers of 32 bits. */
static double space_of(fm_tensor x)
{
    return x.type == FM_I8 ? size_of(x) / 4 : size_of(x);
}

/* Adds a call that began at `start`. Operations on weights of other shapes are other entries. */
static void count(fm_backend *b, const char *name, fm_tensor weights, double start, work done)
{
    profile *p = (profile *)b;
    double seconds = fm_seconds() - start;
    size_t i = 0;
    while (i < p->count &&
           (p->entries[i].name != name || p->entries[i].rows != weights.rows || p->entries[i].cols != weights.cols))
        i++;
    if (i == FM_MOST_PROFILED) i--; /* more kinds than a model has: the last entry takes the rest */
    if (i == p->count) p->entries[p->count++] = (fm_profile_entry){name, weights.rows, weights.cols, 0, 0, 0, 0};
    fm_profile_entry *entry = &p->entries[i];
    entry->calls++;
    entry->seconds += seconds;
    entry->operations += done.operations;
    entry->bytes += 4.0 * done.elements;
}

static fm_backend *inner_of(fm_backend *b)
{
    return ((profile *)b)->inner;
}

#define INNER inner_of(b)
#define CALL(operation) inner_of(b)->ops->operation

/* ---- the operations ---- */

static void destroy(fm_backend *b)
{
    CALL(destroy)(INNER);
    free(b);
}

static fm_status create(fm_backend *b, size_t elements, uint32_t *buffer, fm_error *err)
{
    return CALL(create)(INNER, elements, buffer, err);
}

static fm_status import(fm_backend *b, const float *data, size_t elements, uint32_t *buffer, fm_error *err)
{
    return CALL(import)(INNER, data, elements, buffer, err);
}

static fm_status import_int8(fm_backend *b, const int8_t *data, const float *scales, uint32_t rows, uint32_t cols,
                             uint32_t *buffer, fm_error *err)
{
    return CALL(import_int8)(INNER, data, scales, rows, cols, buffer, err);
}

static void release(fm_backend *b, uint32_t buffer)
{
    CALL(release)(INNER, buffer);
}

static void write_tensor(fm_backend *b, fm_tensor to, const void *from)
{
    double start = fm_seconds();
    CALL(write)(INNER, to, from);
    count(b, "write", FM_NO_TENSOR, start, (work){0, 2 * size_of(to)});
}

static void read_tensor(fm_backend *b, fm_tensor from, void *to)
{
    double start = fm_seconds();
    CALL(read)(INNER, from, to);
    count(b, "read", FM_NO_TENSOR, start, (work){0, 2 * size_of(from)});
}

static void forget(fm_backend *b, const void *memory, size_t size)
{
    CALL(forget)(INNER, memory, size);
}

static fm_status finish(fm_backend *b, fm_error *err)
{
    return CALL(finish)(INNER, err);
}

static void zero(fm_backend *b, fm_tensor x)
{
    double start = fm_seconds();
    CALL(zero)(INNER, x);
    count(b, "zero", FM_NO_TENSOR, start, (work){0, size_of(x)});
}

static void embedding(fm_backend *b, fm_tensor out, fm_tensor word, fm_tensor position, fm_tensor ids,
                      const fm_packing *packing)
{
    double start = fm_seconds();
    CALL(embedding)(INNER, out, word, position, ids, packing);
    count(b, "embedding", FM_NO_TENSOR, start, (work){0, 3 * size_of(out)});
}

static void embedding_backward(fm_backend *b, fm_tensor d_word, fm_tensor d_position, fm_tensor d_out, fm_tensor ids,
                               fm_tensor order, fm_tensor segments, const fm_packing *packing)
{
    double start = fm_seconds();
    CALL(embedding_backward)(INNER, d_word, d_position, d_out, ids, order, segments, packing);
    count(b, "embedding_backward", FM_NO_TENSOR, start, (work){0, 6 * size_of(d_out)});
}

static void layer_norm(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor residual, fm_tensor gamma, fm_tensor beta,
                       float epsilon, fm_tensor stats, const fm_dropout *before, const fm_dropout *after,
                       const fm_packing *packing)
{
    double start = fm_seconds();
    CALL(layer_norm)(INNER, out, x, residual, gamma, beta, epsilon, stats, before, after, packing);
    count(b, "layer_norm", FM_NO_TENSOR, start, (work){0, 2 * size_of(x) + 2 * size_of(residual)});
}

static void layer_norm_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_residual, fm_tensor d_gamma, fm_tensor d_beta,
                                fm_tensor d_out, fm_tensor sum, fm_tensor gamma, fm_tensor stats,
                                const fm_dropout *before, const fm_dropout *after, const fm_packing *packing)
{
    double start = fm_seconds();
    CALL(layer_norm_backward)
    (INNER, d_x, d_residual, d_gamma, d_beta, d_out, sum, gamma, stats, before, after, packing);
    count(b, "layer_norm_backward", FM_NO_TENSOR, start, (work){0, 3 * size_of(sum) + size_of(d_residual)});
}

static void precision_of_products(fm_backend *b, fm_precision precision)
{
    CALL(precision)(INNER, precision);
}

static void linear(fm_backend *b, fm_tensor y, fm_tensor x, fm_tensor w, fm_tensor bias, fm_epilogue epilogue,
                   fm_tensor pre)
{
    double start = fm_seconds();
    CALL(linear)(INNER, y, x, w, bias, epilogue, pre);
    count(b, epilogue == FM_EPILOGUE_GELU ? "linear, gelu" : "linear", w, start,
          (work){2.0 * x.rows * size_of(w), size_of(y) + size_of(x) + space_of(w) + size_of(pre)});
}

static void linear_backward(fm_backend *b, fm_tensor d_x, bool add, fm_tensor d_w, fm_tensor d_bias, fm_tensor d_y,
                            fm_tensor x, fm_tensor w)
{
    double start = fm_seconds(), products = (d_x.buffer ? 1.0 : 0.0) + (d_w.buffer ? 1.0 : 0.0);
    CALL(linear_backward)(INNER, d_x, add, d_w, d_bias, d_y, x, w);
    count(b, "linear_backward", w, start,
          (work){products * 2.0 * d_y.rows * size_of(w),
                 size_of(d_x) + 2 * size_of(d_w) + products * size_of(d_y) + size_of(x) + size_of(w)});
}

static void gelu_backward(fm_backend *b, fm_tensor d, fm_tensor pre)
{
    double start = fm_seconds();
    CALL(gelu_backward)(INNER, d, pre);
    count(b, "gelu_backward", FM_NO_TENSOR, start, (work){0, 3 * size_of(d)});
}

/* Of one product between all tokens of each sequence, as if all were as long as the longest. */
static double attention_product(fm_tensor q, const fm_packing *packing)
{
    return 2.0 * size_of(q) * packing->longest;
}

static void attention(fm_backend *b, fm_tensor out, fm_tensor q, fm_tensor k, fm_tensor v, uint32_t heads,
                      const fm_dropout *dropout, const fm_packing *packing)
{
    double start = fm_seconds();
    CALL(attention)(INNER, out, q, k, v, heads, dropout, packing);
    count(b, "attention", FM_NO_TENSOR, start, (work){2 * attention_product(q, packing), 4 * size_of(q)});
}

static void attention_backward(fm_backend *b, fm_tensor d_q, fm_tensor d_k, fm_tensor d_v, fm_tensor d_out, fm_tensor q,
                               fm_tensor k, fm_tensor v, uint32_t heads, const fm_dropout *dropout,
                               const fm_packing *packing)
{
    double start = fm_seconds();
    CALL(attention_backward)(INNER, d_q, d_k, d_v, d_out, q, k, v, heads, dropout, packing);
    count(b, "attention_backward", FM_NO_TENSOR, start, (work){5 * attention_product(q, packing), 7 * size_of(q)});
}

static void gather(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor rows)
{
    double start = fm_seconds();
    CALL(gather)(INNER, out, x, rows);
    count(b, "gather", FM_NO_TENSOR, start, (work){0, 2 * size_of(out)});
}

static void gather_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_out, fm_tensor rows)
{
    double start = fm_seconds();
    CALL(gather_backward)(INNER, d_x, d_out, rows);
    count(b, "gather_backward", FM_NO_TENSOR, start, (work){0, size_of(d_x) + 2 * size_of(d_out)});
}

static void mlm_loss(fm_backend *b, fm_tensor logits, fm_tensor labels, fm_tensor result, float scale)
{
    double start = fm_seconds();
    CALL(mlm_loss)(INNER, logits, labels, result, scale);
    count(b, "mlm_loss", FM_NO_TENSOR, start, (work){0, (scale == 0.0f ? 1 : 2) * size_of(logits)});
}

static void sum_squares(fm_backend *b, fm_tensor squares, fm_tensor x)
{
    double start = fm_seconds();
    CALL(sum_squares)(INNER, squares, x);
    count(b, "sum_squares", FM_NO_TENSOR, start, (work){0, size_of(x)});
}

static void adamw(fm_backend *b, fm_tensor parameter, fm_tensor gradient, fm_tensor first, fm_tensor second,
                  fm_tensor squares, const fm_adamw *options)
{
    double start = fm_seconds();
    CALL(adamw)(INNER, parameter, gradient, first, second, squares, options);
    count(b, "adamw", FM_NO_TENSOR, start, (work){0, 7 * size_of(parameter)});
}

static const fm_ops table = {.name = "profile",
                             .destroy = destroy,
                             .create = create,
                             .import = import,
                             .import_int8 = import_int8,
                             .release = release,
                             .write = write_tensor,
                             .read = read_tensor,
                             .forget = forget,
                             .finish = finish,
                             .zero = zero,
                             .embedding = embedding,
                             .embedding_backward = embedding_backward,
                             .layer_norm = layer_norm,
                             .layer_norm_backward = layer_norm_backward,
                             .precision = precision_of_products,
                             .linear = linear,
                             .linear_backward = linear_backward,
                             .gelu_backward = gelu_backward,
                             .attention = attention,
                             .attention_backward = attention_backward,
                             .gather = gather,
                             .gather_backward = gather_backward,
                             .mlm_loss = mlm_loss,
                             .sum_squares = sum_squares,
                             .adamw = adamw};

/* ---- the backend ---- */

fm_status fm_profile_create(fm_backend **backend, fm_backend *inner, fm_error *err)
{
    *backend = NULL;
    profile *p = calloc(1, sizeof *p);
    if (!p) return fm_fail_memory(err, sizeof *p, "the profiling backend");
    p->backend.ops = &table;
    p->inner = inner;
    *backend = &p->backend;
    return FM_OK;
}

const fm_profile_entry *fm_profile_entries(const fm_backend *backend, size_t *entries)
{
    const profile *p = (const profile *)backend;
    *entries = p->count;
    return p->entries;
}

void fm_profile_clear(fm_backend *backend)
{
    ((profile *)backend)->count = 0;
}
