/* backward.c - the operations of the backward pass and the optimizer as runs of kernels. Parameters are in the order in
 * which the kernels' files name them. */
#include "ops/webgpu/webgpu.h"

#include <math.h>

/* ---- embeddings ---- */

void gpu_embedding_backward(fm_backend *b, fm_tensor d_word, fm_tensor d_position, fm_tensor d_out, fm_tensor ids,
                            fm_tensor order, fm_tensor segments, const fm_packing *packing)
{
    gpu *g = (gpu *)b;
    uint32_t at_once = gpu_rows_at_once(g, d_word), groups = segments.rows - 1;
    for (uint32_t first = 0; first < d_word.rows; first += at_once) {
        uint32_t rows = smaller(at_once, d_word.rows - first);
        gpu_run run = {0};
        gpu_bind(&run, gpu_part(d_word, first, rows));
        gpu_bind(&run, d_out);
        gpu_bind(&run, order);
        gpu_bind(&run, segments);
        gpu_bind(&run, ids);
        gpu_word(&run, groups);
        gpu_word(&run, d_out.cols);
        gpu_word(&run, first);
        gpu_word(&run, rows);
        gpu_go(g, &run, GPU_EMBEDDING_BACKWARD, 0, groups, 1, 1, (double)d_out.rows * d_out.cols);
    }
    gpu_run run = {0};
    gpu_bind(&run, d_position);
    gpu_bind(&run, d_out);
    gpu_bind(&run, packing->starts);
    gpu_bind(&run, FM_NO_TENSOR);
    gpu_bind(&run, FM_NO_TENSOR);
    gpu_word(&run, packing->longest);
    gpu_word(&run, d_out.cols);
    gpu_word(&run, 0);
    gpu_word(&run, 0);
    gpu_word(&run, packing->starts.rows - 1);
    gpu_go(g, &run, GPU_EMBEDDING_BACKWARD, 1, packing->longest, 1, 1, (double)d_out.rows * d_out.cols);
}

/* ---- sums of columns ---- */

enum { PART = 256 }; /* rows of a partial sum: column_sums.wgsl */

static void column_sums(gpu *g, fm_tensor to, fm_tensor d, fm_tensor x, fm_tensor stats, uint32_t variant)
{
    gpu_run run = {0};
    gpu_bind(&run, to);
    gpu_bind(&run, d);
    gpu_bind(&run, x);
    gpu_bind(&run, stats);
    gpu_word(&run, d.rows);
    gpu_word(&run, d.cols);
    gpu_go(g, &run, GPU_COLUMN_SUMS, variant, cut(d.cols, 64), cut(d.rows, PART), 1, (double)d.rows * d.cols);
}

/* to (1, N) += the sums of d's columns, or, if x is given, of d * (x - mean) * rstd. */
static void add_column_sums(gpu *g, fm_tensor to, fm_tensor d, fm_tensor x, fm_tensor stats)
{
    uint32_t variant = x.buffer ? 2 : 0, at_once = gpu_rows_at_once(g, d);
    if (at_once > PART) at_once = smaller(at_once - at_once % PART, PART * PART);
    for (uint32_t row = 0; row < d.rows; row += at_once) {
        uint32_t rows = smaller(at_once, d.rows - row);
        fm_tensor part = gpu_part(d, row, rows), of_x = gpu_part(x, row, rows), of_stats = gpu_part(stats, row, rows);
        if (rows <= PART) {
            column_sums(g, to, part, of_x, of_stats, variant | 1);
            continue;
        }
        fm_tensor partial = gpu_scratch(g, GPU_PARTIAL, cut(rows, PART), d.cols);
        column_sums(g, partial, part, of_x, of_stats, variant);
        add_column_sums(g, to, partial, FM_NO_TENSOR, FM_NO_TENSOR);
    }
}

/* ---- layer norm, elements ---- */

static void drop(gpu *g, fm_tensor d, const fm_dropout *dropout, const fm_packing *packing)
{
    gpu_run run = {0};
    gpu_bind(&run, d);
    gpu_bind(&run, packing->place);
    gpu_word(&run, d.rows * d.cols);
    gpu_word(&run, d.cols);
    gpu_dropout(&run, dropout);
    gpu_go(g, &run, GPU_ELEMENTS, 1, cut(d.rows * d.cols, 256), 1, 1, 16.0 * d.rows * d.cols);
}

/* In place of d_x, which d_out is copied to if it is another tensor. */
void gpu_layer_norm_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_residual, fm_tensor d_gamma, fm_tensor d_beta,
                             fm_tensor d_out, fm_tensor sum, fm_tensor gamma, fm_tensor stats, const fm_dropout *before,
                             const fm_dropout *after, const fm_packing *packing)
{
    gpu *g = (gpu *)b;
    if (gpu_active(after)) drop(g, d_out, after, packing);
    if (d_x.buffer != d_out.buffer || d_x.offset != d_out.offset) gpu_copy(g, d_x, d_out);
    add_column_sums(g, d_gamma, d_x, sum, stats);
    add_column_sums(g, d_beta, d_x, FM_NO_TENSOR, FM_NO_TENSOR);
    uint32_t variant = (d_residual.buffer ? 1 : 0) | (gpu_active(before) ? 2 : 0);
    gpu_run run = {0};
    gpu_bind(&run, d_x);
    gpu_bind(&run, d_residual);
    gpu_bind(&run, sum);
    gpu_bind(&run, gamma);
    gpu_bind(&run, stats);
    gpu_bind(&run, variant & 2 ? packing->place : FM_NO_TENSOR);
    gpu_word(&run, sum.rows);
    gpu_word(&run, sum.cols);
    gpu_dropout(&run, gpu_active(before));
    gpu_go(g, &run, GPU_LAYER_NORM_BACKWARD, variant, sum.rows, 1, 1, 8.0 * sum.rows * sum.cols);
}

void gpu_gelu_backward(fm_backend *b, fm_tensor d, fm_tensor pre)
{
    gpu *g = (gpu *)b;
    uint32_t at_once = gpu_rows_at_once(g, d);
    for (uint32_t row = 0; row < d.rows; row += at_once) {
        uint32_t rows = smaller(at_once, d.rows - row), elements = rows * d.cols;
        gpu_run run = {0};
        gpu_bind(&run, gpu_part(d, row, rows));
        gpu_bind(&run, gpu_part(pre, row, rows));
        gpu_word(&run, elements);
        gpu_go(g, &run, GPU_ELEMENTS, 0, cut(elements, 256), 1, 1, 16.0 * elements);
    }
}

/* ---- products ---- */

void gpu_linear_backward(fm_backend *b, fm_tensor d_x, bool add, fm_tensor d_w, fm_tensor d_bias, fm_tensor d_y,
                         fm_tensor x, fm_tensor w)
{
    gpu *g = (gpu *)b;
    if (d_x.buffer) {
        const gpu_product p = {.y = d_x,
                               .a = d_y,
                               .b = w,
                               .bias = FM_NO_TENSOR,
                               .pre = FM_NO_TENSOR,
                               .m = d_y.rows,
                               .n = w.cols,
                               .k = w.rows,
                               .plain_b = true,
                               .add = add};
        gpu_multiply(g, &p);
    }
    if (d_w.buffer) {
        const gpu_product p = {.y = d_w,
                               .a = d_y,
                               .b = x,
                               .bias = FM_NO_TENSOR,
                               .pre = FM_NO_TENSOR,
                               .m = d_y.cols,
                               .n = x.cols,
                               .k = d_y.rows,
                               .turn_a = true,
                               .plain_b = true,
                               .add = true};
        gpu_multiply(g, &p);
    }
    if (d_bias.buffer) add_column_sums(g, d_bias, d_y, FM_NO_TENSOR, FM_NO_TENSOR);
}

/* ---- attention, rows ---- */

void gpu_attention_backward(fm_backend *b, fm_tensor d_q, fm_tensor d_k, fm_tensor d_v, fm_tensor d_out, fm_tensor q,
                            fm_tensor k, fm_tensor v, uint32_t heads, const fm_dropout *dropout,
                            const fm_packing *packing)
{
    gpu *g = (gpu *)b;
    bool fours = gpu_in_fours(q, 0) && gpu_in_fours(k, 0) && gpu_in_fours(v, 0) && gpu_in_fours(d_out, 0) &&
                 gpu_in_fours(d_q, 0) && gpu_in_fours(d_k, 0) && gpu_in_fours(d_v, 0);
    fm_tensor kept = gpu_scratch(g, GPU_ROW_STATS, q.rows, heads * 4);
    for (int pass = 0; pass < 2; pass++) {
        gpu_run run = {0};
        gpu_bind(&run, q);
        gpu_bind(&run, k);
        gpu_bind(&run, v);
        gpu_bind(&run, packing->starts);
        gpu_bind(&run, d_out);
        gpu_bind(&run, pass == 0 ? d_q : d_k);
        gpu_bind(&run, pass == 0 ? kept : d_v);
        if (pass == 1) gpu_bind(&run, kept);
        gpu_heads(g, &run, pass == 0 ? GPU_ATTENTION_BACKWARD_Q : GPU_ATTENTION_BACKWARD_KV, q, heads, fours,
                  gpu_active(dropout), packing, 5.0 * q.rows * packing->longest * q.cols);
    }
}

void gpu_gather_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_out, fm_tensor rows)
{
    gpu_zero(b, d_x);
    gpu_run run = {0};
    gpu_bind(&run, d_x);
    gpu_bind(&run, d_out);
    gpu_bind(&run, rows);
    gpu_word(&run, d_out.rows);
    gpu_word(&run, d_out.cols);
    gpu_go((gpu *)b, &run, GPU_ROWS, 1, d_out.rows, 1, 1, (double)d_out.rows * d_out.cols);
}

/* ---- the optimizer ---- */

enum { SPAN = 16384 }; /* elements of a partial sum: squares.wgsl */

/* Elements of a tensor that one binding takes, in whole spans where that is possible. */
static size_t elements_at_once(const gpu *g)
{
    uint32_t most = gpu_rows_at_once(g, (fm_tensor){.cols = 1});
    return most > SPAN ? most - most % SPAN : most - most % 64;
}

void gpu_sum_squares(fm_backend *b, fm_tensor squares, fm_tensor x)
{
    gpu *g = (gpu *)b;
    size_t elements = (size_t)x.rows * x.cols, most = elements_at_once(g);
    uint32_t each = cut((uint32_t)(most < elements ? most : elements), SPAN), parts = 0;
    fm_tensor partial = gpu_scratch(g, GPU_PARTIAL, 1, (uint32_t)((elements + most - 1) / most) * each);
    for (size_t start = 0; start < elements; start += most) {
        uint32_t count = (uint32_t)(elements - start < most ? elements - start : most), spans = cut(count, SPAN);
        gpu_run run = {0};
        gpu_bind(&run, gpu_span(partial, parts, spans));
        gpu_bind(&run, gpu_span(x, start, count));
        gpu_word(&run, count);
        gpu_go(g, &run, GPU_SQUARES, 0, spans, 1, 1, (double)count);
        parts += spans;
    }
    gpu_run run = {0};
    gpu_bind(&run, squares);
    gpu_bind(&run, gpu_span(partial, 0, parts));
    if (g->overflow) gpu_bind(&run, gpu_overflow(g));
    gpu_word(&run, parts);
    gpu_go(g, &run, GPU_SQUARES, g->overflow ? 3 : 1, 1, 1, 1, (double)parts);
}

/* By squaring: the tables of pow() would be a noticeable part of a WebAssembly module. */
static double power(double base, uint32_t exponent)
{
    double result = 1.0;
    for (; exponent > 0; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
    return result;
}

void gpu_adamw(fm_backend *b, fm_tensor parameter, fm_tensor gradient, fm_tensor first, fm_tensor second,
               fm_tensor squares, const fm_adamw *o)
{
    gpu *g = (gpu *)b;
    size_t elements = (size_t)parameter.rows * parameter.cols, most = elements_at_once(g);
    for (size_t start = 0; start < elements; start += most) {
        uint32_t count = (uint32_t)(elements - start < most ? elements - start : most);
        gpu_run run = {0};
        gpu_bind(&run, gpu_span(parameter, start, count));
        gpu_bind(&run, gpu_span(first, start, count));
        gpu_bind(&run, gpu_span(second, start, count));
        gpu_bind(&run, gpu_span(gradient, start, count));
        gpu_bind(&run, squares);
        gpu_word(&run, count);
        gpu_float(&run, o->clip);
        gpu_float(&run, o->beta1);
        gpu_float(&run, o->beta2);
        gpu_float(&run, o->epsilon);
        gpu_float(&run, (float)(o->learning_rate / (1.0 - power(o->beta1, o->step))));
        gpu_float(&run, (float)(1.0 / sqrt(1.0 - power(o->beta2, o->step))));
        gpu_float(&run, 1.0f - o->learning_rate * o->weight_decay);
        gpu_float(&run, o->scale > 0.0f ? 1.0f / o->scale : 1.0f);
        gpu_go(g, &run, GPU_ADAMW, 0, cut(count, 256), 1, 1, 16.0 * count);
    }
}
