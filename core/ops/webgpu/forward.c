/* forward.c - the operations of the forward pass as runs of kernels. Parameters are in the order in which the kernels'
 * files name them. */
#include "ops/webgpu/webgpu.h"

/* The word embeddings may be more than a binding: then each part of them is looked up by itself. */
void gpu_embedding(fm_backend *b, fm_tensor out, fm_tensor word, fm_tensor position, fm_tensor ids,
                   const fm_packing *packing)
{
    gpu *g = (gpu *)b;
    bool integers = word.type == FM_I8;
    uint32_t at_once = integers ? word.rows : gpu_rows_at_once(g, word.cols);
    for (uint32_t first = 0; first < word.rows; first += at_once) {
        uint32_t rows = smaller(at_once, word.rows - first);
        gpu_run run = {0};
        gpu_bind(&run, out);
        gpu_bind(&run, gpu_part(word, first, rows));
        gpu_bind(&run, position);
        gpu_bind(&run, ids);
        gpu_bind(&run, packing->place);
        gpu_word(&run, out.rows);
        gpu_word(&run, out.cols);
        gpu_word(&run, first);
        gpu_word(&run, rows);
        gpu_go(g, &run, GPU_EMBEDDING, integers, out.rows, 1, 1, (double)out.rows * out.cols);
    }
}

void gpu_layer_norm(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor residual, fm_tensor gamma, fm_tensor beta,
                    float epsilon, fm_tensor stats, const fm_dropout *before, const fm_dropout *after,
                    const fm_packing *packing)
{
    gpu *g = (gpu *)b;
    uint32_t variant = (residual.buffer ? 1 : 0) | (gpu_active(before) ? 2 : 0) | (gpu_active(after) ? 4 : 0);
    gpu_run run = {0};
    gpu_bind(&run, out);
    gpu_bind(&run, x);
    gpu_bind(&run, stats);
    gpu_bind(&run, residual);
    gpu_bind(&run, gamma);
    gpu_bind(&run, beta);
    gpu_bind(&run, variant & 6 ? packing->place : FM_NO_TENSOR);
    gpu_word(&run, x.rows);
    gpu_word(&run, x.cols);
    gpu_float(&run, epsilon);
    gpu_dropout(&run, gpu_active(before));
    gpu_dropout(&run, gpu_active(after));
    gpu_go(g, &run, GPU_LAYER_NORM, variant, x.rows, 1, 1, 8.0 * x.rows * x.cols);
}

/* ---- products ---- */

/* Tiles of product.wgsl. */
enum { TILE = 64, FEW_ROWS = 16, WIDE = 256 };

/* One run: `rows` of y from `row` on, `cols` from `col` on, over `depth` of k from `k` on. */
typedef struct block {
    uint32_t row, rows, col, cols, k, depth;
} block;

static void multiply_block(gpu *g, const gpu_product *p, const block *at)
{
    bool few = at->rows <= FEW_ROWS;
    bool integers = p->b.type == FM_I8;
    uint32_t variant = (p->turn_a ? 1 : 0) | (p->plain_b ? 2 : 0) | (few ? 4 : 0) | (integers ? 8 : 0);
    uint32_t then =
        (p->add || at->k > 0 ? 1 : 0) | (p->bias.buffer ? 2 : 0) | (p->gelu ? 4 : 0) | (p->pre.buffer ? 8 : 0);
    gpu_run run = {0};
    gpu_bind(&run, gpu_part(p->y, at->row, at->rows));
    gpu_bind(&run, p->turn_a ? gpu_part(p->a, at->k, at->depth) : gpu_part(p->a, at->row, at->rows));
    gpu_bind(&run, integers ? p->b : p->plain_b ? gpu_part(p->b, at->k, at->depth) : gpu_part(p->b, at->col, at->cols));
    gpu_bind(&run, p->bias);
    gpu_bind(&run, p->pre.buffer ? gpu_part(p->pre, at->row, at->rows) : FM_NO_TENSOR);
    gpu_word(&run, at->rows);
    gpu_word(&run, at->cols);
    gpu_word(&run, at->depth);
    gpu_word(&run, at->col);
    gpu_word(&run, p->y.cols);
    gpu_word(&run, p->a.cols);
    gpu_word(&run, p->b.cols);
    gpu_word(&run, p->turn_a ? at->row : at->k);
    gpu_word(&run, p->plain_b ? at->col : at->k);
    gpu_word(&run, then);
    gpu_word(&run, p->b.rows);
    gpu_go(g, &run, GPU_PRODUCT, variant, cut(at->cols, few ? WIDE : TILE), cut(at->rows, few ? FEW_ROWS : TILE), 1,
           (double)at->rows * at->cols * at->depth);
}

/* Split so that parts of y, a and b fit their bindings, and so that no run takes more than 2^33 multiply-adds, of which
 * a slow GPU's watchdog might make an end. */
void gpu_multiply(gpu *g, const gpu_product *p)
{
    uint32_t a = gpu_rows_at_once(g, p->a.cols), b = gpu_rows_at_once(g, p->b.cols);
    uint32_t rows = smaller(p->m, gpu_rows_at_once(g, p->y.cols)), cols = p->n, depth = p->k;
    if (p->turn_a) depth = smaller(depth, a);
    else rows = smaller(rows, a);
    if (p->plain_b) depth = smaller(depth, b);
    else if (p->b.type != FM_I8) cols = smaller(cols, b);
    uint64_t most = ((uint64_t)1 << 33) / depth / cols;
    if (most < rows) rows = most > TILE ? (uint32_t)most : smaller(rows, TILE);
    if (rows > TILE) rows -= rows % TILE;
    block at;
    for (at.row = 0; at.row < p->m; at.row += rows)
        for (at.col = 0; at.col < p->n; at.col += cols)
            for (at.k = 0; at.k < p->k; at.k += depth) {
                at.rows = smaller(rows, p->m - at.row);
                at.cols = smaller(cols, p->n - at.col);
                at.depth = smaller(depth, p->k - at.k);
                multiply_block(g, p, &at);
            }
}

void gpu_linear(fm_backend *b, fm_tensor y, fm_tensor x, fm_tensor w, fm_tensor bias, fm_epilogue epilogue,
                fm_tensor pre)
{
    const gpu_product p = {.y = y,
                           .a = x,
                           .b = w,
                           .bias = bias,
                           .pre = epilogue == FM_EPILOGUE_GELU ? pre : FM_NO_TENSOR,
                           .m = x.rows,
                           .n = w.rows,
                           .k = w.cols,
                           .gelu = epilogue == FM_EPILOGUE_GELU};
    gpu_multiply((gpu *)b, &p);
}

/* ---- attention, rows, the loss ---- */

void gpu_attention(fm_backend *b, fm_tensor out, fm_tensor q, fm_tensor k, fm_tensor v, uint32_t heads,
                   const fm_dropout *dropout, const fm_packing *packing)
{
    gpu *g = (gpu *)b;
    uint32_t sequences = packing->starts.rows - 1;
    gpu_run run = {0};
    gpu_bind(&run, out);
    gpu_bind(&run, q);
    gpu_bind(&run, k);
    gpu_bind(&run, v);
    gpu_bind(&run, packing->starts);
    gpu_word(&run, q.cols);
    gpu_word(&run, packing->first);
    gpu_dropout(&run, gpu_active(dropout));
    gpu_go(g, &run, GPU_ATTENTION, q.cols / heads << 1 | (gpu_active(dropout) ? 1 : 0), cut(packing->longest, 16),
           heads, sequences, 2.0 * q.rows * packing->longest * q.cols);
}

void gpu_gather(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor rows)
{
    gpu_run run = {0};
    gpu_bind(&run, out);
    gpu_bind(&run, x);
    gpu_bind(&run, rows);
    gpu_word(&run, out.rows);
    gpu_word(&run, out.cols);
    gpu_go((gpu *)b, &run, GPU_ROWS, 0, out.rows, 1, 1, (double)out.rows * out.cols);
}

void gpu_mlm_loss(fm_backend *b, fm_tensor logits, fm_tensor labels, fm_tensor result, float scale)
{
    gpu *g = (gpu *)b;
    uint32_t at_once = gpu_rows_at_once(g, logits.cols);
    for (uint32_t row = 0; row < logits.rows; row += at_once) {
        uint32_t rows = smaller(at_once, logits.rows - row);
        gpu_run run = {0};
        gpu_bind(&run, gpu_part(logits, row, rows));
        gpu_bind(&run, gpu_part(result, row, rows));
        gpu_bind(&run, gpu_part(labels, row, rows));
        gpu_word(&run, rows);
        gpu_word(&run, logits.cols);
        gpu_float(&run, scale);
        gpu_go(g, &run, GPU_LOSS, scale != 0.0f, rows, 1, 1, 8.0 * rows * logits.cols);
    }
}
