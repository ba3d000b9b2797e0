/* forward.c - the operations of the forward pass as runs of kernels. Parameters are in the order in which the kernels'
 * files name them. */
#include "ops/webgpu/webgpu.h"

/* The word embeddings may be more than a binding: then each part of them is looked up by itself. */
void gpu_embedding(fm_backend *b, fm_tensor out, fm_tensor word, fm_tensor position, fm_tensor ids,
                   const fm_packing *packing)
{
    gpu *g = (gpu *)b;
    uint32_t at_once = gpu_rows_at_once(g, word), variant = word.type == FM_I8 ? 1 : word.type == FM_F16 ? 2 : 0;
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
        gpu_word(&run, gpu_words(word));
        gpu_go(g, &run, GPU_EMBEDDING, variant, out.rows, 1, 1, (double)out.rows * out.cols);
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

/* Tiles of product.wgsl, and the depth that is worth a part of its own. */
static const struct tile {
    uint32_t rows, cols, depth;
} tiles[] = {{128, 128, 1024}, {64, 64, 512}, {32, 32, 256}, {16, 64, 128}};

enum { LARGEST, MEDIUM, SMALL, FEW_ROWS };

/* Workgroups that keep a large GPU busy; a run of fewer has its depth cut into parts. */
enum { BUSY = 96 };

/* One run: `rows` of y from `row` on, `cols` from `col` on, over `depth` of k from `k` on. */
typedef struct block {
    uint32_t row, rows, col, cols, k, depth;
} block;

static uint32_t groups_of(const struct tile *tile, const block *at)
{
    return cut(at->rows, tile->rows) * cut(at->cols, tile->cols);
}

static uint32_t parts_of(const struct tile *tile, const block *at)
{
    uint32_t wanted = cut(BUSY, groups_of(tile, at)), most = at->depth / tile->depth;
    return most < 1 ? 1 : smaller(wanted, most);
}

/* The largest one that leaves enough workgroups and is not half empty. */
static uint32_t choose_tile(const block *at)
{
    if (at->rows <= tiles[FEW_ROWS].rows) return FEW_ROWS;
    for (uint32_t i = LARGEST; i < SMALL; i++) {
        const struct tile *t = &tiles[i];
        if (2 * at->rows > t->rows && 2 * at->cols > t->cols && groups_of(t, at) * parts_of(t, at) >= BUSY) return i;
    }
    return SMALL;
}

static void end_of_product(gpu_run *run, fm_tensor y, fm_tensor bias, fm_tensor pre, const block *at, uint32_t then)
{
    gpu_bind(run, y);
    gpu_bind(run, bias);
    gpu_bind(run, pre);
    gpu_word(run, at->rows);
    gpu_word(run, at->cols);
    gpu_word(run, at->col);
    gpu_word(run, y.cols);
    gpu_word(run, then);
}

static void multiply_block(gpu *g, const gpu_product *p, const block *at)
{
    enum {
        TURN_A = 1,
        PLAIN_B = 2,
        TILE = 4,
        A_IN_FOURS = 16,
        B_IN_FOURS = 32,
        INT8 = 64,
        Y_IN_FOURS = 128,
        HALF = 256,
        F16 = 512
    };
    uint32_t which = choose_tile(at), parts = parts_of(&tiles[which], at);
    if ((uint64_t)parts * at->rows * at->cols * 4 > g->limit) parts = 1;
    uint32_t depth = cut(cut(at->depth, parts), 16) * 16;
    parts = cut(at->depth, depth);
    uint32_t then =
        (p->add || at->k > 0 ? 1 : 0) | (p->bias.buffer ? 2 : 0) | (p->gelu ? 4 : 0) | (p->pre.buffer ? 8 : 0);
    fm_tensor y = gpu_part(p->y, at->row, at->rows), pre = gpu_part(p->pre, at->row, at->rows);
    fm_tensor a = p->turn_a ? gpu_part(p->a, at->k, at->depth) : gpu_part(p->a, at->row, at->rows);
    fm_tensor b = p->plain_b ? gpu_part(p->b, at->k, at->depth) : gpu_part(p->b, at->col, at->cols);
    uint32_t first_a = p->turn_a ? at->row : at->k, first_b = p->plain_b ? at->col : at->k;
    bool ends_in_fours =
        at->cols % 4 == 0 && gpu_in_fours(y, at->col) && p->bias.offset % 4 == 0 && pre.offset % 4 == 0;
    uint32_t variant = (p->turn_a ? TURN_A : 0) | (p->plain_b ? PLAIN_B : 0) | which * TILE |
                       (gpu_in_fours(a, first_a) ? A_IN_FOURS : 0) |
                       (b.type == FM_I8            ? INT8
                        : b.type == FM_F16         ? F16
                        : gpu_in_fours(b, first_b) ? B_IN_FOURS
                                                   : 0) |
                       (g->half ? HALF : 0);
    gpu_run run = {0};
    block part = *at;
    fm_tensor sums = FM_NO_TENSOR;
    if (parts > 1) {
        sums = gpu_scratch(g, GPU_PARTIAL, parts * at->rows, at->cols);
        part.col = 0;
        end_of_product(&run, sums, FM_NO_TENSOR, FM_NO_TENSOR, &part, 0);
        if (at->cols % 4 == 0) variant |= Y_IN_FOURS;
    } else {
        end_of_product(&run, y, p->bias, pre, at, then);
        if (ends_in_fours) variant |= Y_IN_FOURS;
    }
    gpu_bind(&run, a);
    gpu_bind(&run, b);
    if (g->half) gpu_bind(&run, gpu_overflow(g));
    gpu_word(&run, at->depth);
    gpu_word(&run, p->a.cols);
    gpu_word(&run, gpu_words(b));
    gpu_word(&run, first_a);
    gpu_word(&run, first_b);
    gpu_word(&run, depth);
    gpu_go(g, &run, g->half && g->matrices ? GPU_PRODUCT_MATRICES : GPU_PRODUCT, variant,
           cut(at->cols, tiles[which].cols), cut(at->rows, tiles[which].rows), parts,
           (double)at->rows * at->cols * at->depth);
    if (parts == 1) return;
    gpu_run end = {0};
    end_of_product(&end, y, p->bias, pre, at, then);
    gpu_bind(&end, sums);
    gpu_word(&end, parts);
    gpu_go(g, &end, GPU_PRODUCT_SUM, ends_in_fours ? Y_IN_FOURS : 0, cut(at->rows * cut(at->cols, 4), 64), 1, 1,
           4.0 * parts * at->rows * at->cols);
}

/* Split so that parts of y, a and b fit their bindings. */
void gpu_multiply(gpu *g, const gpu_product *p)
{
    uint32_t a = gpu_rows_at_once(g, p->a), b = gpu_rows_at_once(g, p->b);
    uint32_t rows = smaller(p->m, gpu_rows_at_once(g, p->y)), cols = p->n, depth = p->k;
    if (p->turn_a) depth = smaller(depth, a);
    else rows = smaller(rows, a);
    if (p->plain_b) depth = smaller(depth, b);
    else cols = smaller(cols, b);
    uint32_t tile = tiles[LARGEST].rows;
    if (rows > tile) rows -= rows % tile;
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
    bool fours = gpu_in_fours(q, 0) && gpu_in_fours(k, 0) && gpu_in_fours(v, 0) && gpu_in_fours(out, 0);
    gpu_run run = {0};
    gpu_bind(&run, q);
    gpu_bind(&run, k);
    gpu_bind(&run, v);
    gpu_bind(&run, packing->starts);
    gpu_bind(&run, out);
    gpu_heads(g, &run, GPU_ATTENTION, q, heads, fours, gpu_active(dropout), packing,
              2.0 * q.rows * packing->longest * q.cols);
}

/* Tiles of 32 rows, and slices of 64 columns of each head: heads.wgsl. */
void gpu_heads(gpu *g, gpu_run *run, gpu_kernel kernel, fm_tensor q, uint32_t heads, bool fours,
               const fm_dropout *dropout, const fm_packing *packing, double work)
{
    uint32_t width = q.cols / heads;
    gpu_word(run, q.cols);
    gpu_word(run, packing->first);
    gpu_dropout(run, dropout);
    gpu_word(run, heads);
    uint32_t variant = width << 2 | (fours && width % 4 == 0 ? 2 : 0) | (dropout ? 1 : 0);
    gpu_go(g, run, kernel, variant, cut(packing->longest, 32), heads * cut(width, 64), packing->starts.rows - 1, work);
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
    uint32_t at_once = gpu_rows_at_once(g, logits);
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
