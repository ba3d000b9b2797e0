/* gemm.c - matrix products of the cpu backend: blocking, packing and threads around the kernels' tile, after Goto and
 * van de Geijn 2008, "Anatomy of high-performance matrix multiplication". It knows nothing of tensors.
 *
 * The right-hand side is packed into panels of nr columns, all of it if it is not too large, the left-hand side a block
 * of rows at a time into panels of mr rows, both by all threads; then the threads share out pieces of the result. A
 * result element is summed over k in blocks of the same size whatever the threads do. */
#include "ops/cpu/panels.h"

#include <string.h>

#define ROWS 768               /* m of a block */
#define LEFT ((size_t)1 << 19) /* words of the packed left-hand side, at most */
#define LENGTH ((size_t)1024)  /* of k in a block: both sides of a piece stay in the second cache */
#define PIECE_ROWS 192
#define PIECE_COLUMNS 128

/* ---- tiles ---- */

/* Asks for (rows, cols) of c, which come from memory while their tile is computed, even if it is only written to. */
static void fetch(const float *c, size_t stride, size_t rows, size_t cols)
{
#if defined(__GNUC__)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j += 64 / sizeof *c) __builtin_prefetch(c + i * stride + j, 1);
#endif
}

/* c (rows, cols) from packed panels of `words`; the last tiles of a row or column may be cut. */
static void tiles(const fm_product_kernels *kernels, size_t rows, size_t cols, size_t words, const float *a,
                  const float *b, float *c, size_t stride, bool add)
{
    size_t mr = kernels->mr, nr = kernels->nr;
    if (kernels->begin) kernels->begin();
    for (size_t j = 0; j < cols; j += nr)
        for (size_t i = 0; i < rows; i += mr) {
            size_t height = smaller(mr, rows - i), width = smaller(nr, cols - j);
            float *to = c + i * stride + j;
            fetch(to, stride, height, width);
            if (width == nr) {
                kernels->tile(height, words, a + i * words, b + j * words, to, stride, add);
                continue;
            }
            float whole[16 * 64];
            kernels->tile(height, words, a + i * words, b + j * words, whole, nr, false);
            for (size_t y = 0; y < height; y++)
                for (size_t x = 0; x < width; x++)
                    to[y * stride + x] = (add ? to[y * stride + x] : 0.0f) + whole[y * nr + x];
        }
    if (kernels->end) kernels->end();
}

static void finish_rows(const fm_kernels *kernels, const cpu_product *p, size_t row, size_t column, size_t rows,
                        size_t cols)
{
    for (size_t i = row; i < row + rows; i++) {
        float *c = p->c + i * p->stride + column;
        if (p->bias) kernels->add(cols, c, p->bias + column);
        if (p->pre) memcpy(p->pre + i * p->pre_stride + column, c, cols * sizeof(float));
        if (p->gelu) kernels->gelu(cols, c, c);
    }
}

/* ---- the product over all threads ---- */

/* A block of the result, and the part of k that is summed at once: all of it if the packed sides have room for that, so
 * that there is one wait for the other threads instead of one for each depth. */
typedef struct block {
    cpu *cpu;
    const cpu_product *p;
    const fm_product_kernels *kernels;
    size_t row, rows, column, cols, at, end;
    size_t depth;                                  /* of the parts of k whose sums are added up one after the other */
    const float *right;                            /* the panels of the right-hand side for the part of k from `at` */
    size_t padded;                                 /* columns that they have */
    size_t left_panels, right_panels, panels_each; /* to pack */
    size_t piece_rows, piece_cols, pieces_across;
} block;

/* Panels of one side of the block for the part of k from `at`, where that side has `lines`. */
static size_t part_offset(const block *x, size_t at, size_t lines)
{
    return words_of(x->kernels, at - x->at) * lines;
}

static float *left_panels(const block *x, size_t at)
{
    return x->cpu->left.words + part_offset(x, at, x->left_panels * x->kernels->mr);
}

/* A task packs panels_each panels of either side; the right-hand ones come first. */
static void pack_task(void *context, size_t index, int worker)
{
    (void)worker;
    const block *x = context;
    const fm_product_kernels *kernels = x->kernels;
    size_t end = smaller((index + 1) * x->panels_each, x->right_panels + x->left_panels);
    for (size_t panel = index * x->panels_each; panel < end; panel++)
        for (size_t at = x->at; at < x->end; at += x->depth) {
            size_t depth = smaller(x->depth, x->end - at), words = words_of(kernels, depth);
            if (panel < x->right_panels) {
                size_t column = panel * kernels->nr;
                pack_right(kernels, x->cpu->right.words + part_offset(x, at, x->padded) + column * words, x->p->b,
                           x->column + column, at, smaller(kernels->nr, x->cols - column), depth);
            } else {
                size_t row = (panel - x->right_panels) * kernels->mr;
                pack_left(kernels, left_panels(x, at) + row * words, x->p->a, x->row + row, at,
                          smaller(kernels->mr, x->rows - row), depth);
            }
        }
}

static void piece_task(void *context, size_t index, int worker)
{
    (void)worker;
    const block *x = context;
    const cpu_product *p = x->p;
    size_t row = index / x->pieces_across * x->piece_rows, column = index % x->pieces_across * x->piece_cols;
    size_t rows = smaller(x->piece_rows, x->rows - row), cols = smaller(x->piece_cols, x->cols - column);
    float *c = p->c + (x->row + row) * p->stride + x->column + column;
    for (size_t at = x->at; at < x->end; at += x->depth) {
        size_t words = words_of(x->kernels, smaller(x->depth, x->end - at));
        tiles(x->kernels, rows, cols, words, left_panels(x, at) + row * words,
              x->right + part_offset(x, at, x->padded) + column * words, c, p->stride, p->add || at > 0);
    }
    if (x->end == p->k && (p->bias || p->pre || p->gelu))
        finish_rows(x->cpu->kernels, p, x->row + row, x->column + column, rows, cols);
}

bool cpu_panels_reserve(cpu *c, cpu_panels *panels, size_t words)
{
    if (words <= panels->size) return true;
    fm_free(panels->words);
    panels->words = fm_alloc(words, sizeof(float));
    panels->size = panels->words ? words : 0;
    if (!panels->words) cpu_fail_memory(c, words * sizeof(float));
    return panels->words;
}

static void run_block(block *x)
{
    const fm_product_kernels *kernels = x->kernels;
    x->left_panels = round_up(x->rows, kernels->mr) / kernels->mr;
    x->panels_each = x->left_panels + x->right_panels > 32 ? 8 : 2;
    fm_pool_run(x->cpu->pool, (x->left_panels + x->right_panels + x->panels_each - 1) / x->panels_each, pack_task, x);
    x->piece_rows = even_part(x->rows, PIECE_ROWS, kernels->mr);
    x->piece_cols = even_part(x->cols, PIECE_COLUMNS, kernels->nr);
    x->pieces_across = (x->cols + x->piece_cols - 1) / x->piece_cols;
    fm_pool_run(x->cpu->pool, x->pieces_across * ((x->rows + x->piece_rows - 1) / x->piece_rows), piece_task, x);
}

void cpu_gemm(cpu *c, const cpu_product *p)
{
    if (p->precision == FM_PRECISION_BF16) {
        cpu_mixed(c, p);
        return;
    }
    const fm_product_kernels *kernels = &c->kernels->products[p->precision];
    size_t mr = kernels->mr, nr = kernels->nr, depth = depth_of(kernels, p->k), part = words_of(kernels, depth);
    size_t parts = smaller((p->k + depth - 1) / depth, LENGTH / depth);
    size_t length = parts * depth, words = parts * part;
    size_t cols = p->packed ? p->n : even_part(p->n, RIGHT / words / nr * nr, nr);
    size_t rows = even_part(p->m, smaller(ROWS, LEFT / words / mr * mr), mr);
    if (!cpu_panels_reserve(c, &c->left, round_up(smaller(rows, p->m), mr) * words)) return;
    if (!p->packed && !cpu_panels_reserve(c, &c->right, round_up(smaller(cols, p->n), nr) * words)) return;
    for (size_t column = 0; column < p->n; column += cols)
        for (size_t at = 0; at < p->k; at += length)
            for (size_t row = 0; row < p->m; row += rows) {
                block x = {.cpu = c,
                           .p = p,
                           .kernels = kernels,
                           .row = row,
                           .rows = smaller(rows, p->m - row),
                           .column = column,
                           .cols = smaller(cols, p->n - column),
                           .at = at,
                           .end = smaller(at + length, p->k),
                           .depth = depth};
                x.padded = round_up(x.cols, nr);
                x.right = p->packed ? p->packed + words_of(kernels, at) * x.padded : c->right.words;
                if (!p->packed && row == 0) x.right_panels = x.padded / nr;
                run_block(&x);
            }
}

void cpu_gemm_free(cpu *c)
{
    fm_free(c->left.words);
    fm_free(c->right.words);
}

/* ---- right-hand sides packed whole ---- */

size_t cpu_packed_size(const fm_kernels *all, fm_precision precision, size_t n, size_t k)
{
    const fm_product_kernels *kernels = &all->products[precision];
    return round_up(n, kernels->nr) * words_of(kernels, k);
}

typedef struct whole {
    const fm_product_kernels *kernels;
    float *packed;
    cpu_matrix b;
    size_t n, k, depth;
} whole;

static void whole_task(void *context, size_t index, int worker)
{
    (void)worker;
    const whole *x = context;
    const fm_product_kernels *kernels = x->kernels;
    size_t column = index * kernels->nr, padded = round_up(x->n, kernels->nr);
    for (size_t at = 0; at < x->k; at += x->depth) {
        size_t depth = smaller(x->depth, x->k - at);
        pack_right(kernels, x->packed + words_of(kernels, at) * padded + column * words_of(kernels, depth), x->b,
                   column, at, smaller(kernels->nr, x->n - column), depth);
    }
}

/* Where a line has its first word of the part of k from `at`; the others follow at distances of nr. In f32, a word is a
 * number. */
static size_t packed_place(const fm_product_kernels *kernels, size_t line, size_t n, size_t k, size_t at)
{
    size_t nr = kernels->nr, words = words_of(kernels, smaller(depth_of(kernels, k), k - at));
    return words_of(kernels, at) * round_up(n, nr) + line / nr * nr * words + line % nr;
}

void cpu_pack(cpu *c, fm_precision precision, float *packed, cpu_matrix b, size_t n, size_t k)
{
    const fm_product_kernels *kernels = &c->kernels->products[precision];
    whole x = {kernels, packed, b, n, k, depth_of(kernels, k)};
    fm_pool_run(c->pool, round_up(n, kernels->nr) / kernels->nr, whole_task, &x);
}

void cpu_pack_row(const fm_kernels *all, float *packed, const float *from, size_t row, size_t n, size_t k)
{
    const fm_product_kernels *kernels = &all->products[FM_PRECISION_F32];
    size_t depth = depth_of(kernels, k);
    for (size_t at = 0; at < k; at += depth) {
        float *to = packed + packed_place(kernels, row, n, k, at);
        for (size_t i = 0; i < smaller(depth, k - at); i++) to[i * kernels->nr] = from[at + i];
    }
}

void cpu_unpack_row(const fm_kernels *all, float *to, const float *packed, size_t row, size_t n, size_t k)
{
    const fm_product_kernels *kernels = &all->products[FM_PRECISION_F32];
    size_t depth = depth_of(kernels, k);
    for (size_t at = 0; at < k; at += depth) {
        const float *from = packed + packed_place(kernels, row, n, k, at);
        for (size_t i = 0; i < smaller(depth, k - at); i++) to[at + i] = from[i * kernels->nr];
    }
}

/* ---- small products on one thread ---- */

size_t cpu_small_size(const fm_kernels *all, fm_precision precision, size_t m, size_t n, size_t k)
{
    const fm_product_kernels *kernels = &all->products[precision];
    return (round_up(m, kernels->mr) + round_up(n, kernels->nr)) * words_of(kernels, smaller(k, kernels->depth));
}

void cpu_gemm_small(const fm_kernels *all, const cpu_product *p, float *memory)
{
    const fm_product_kernels *kernels = &all->products[p->precision];
    size_t mr = kernels->mr, nr = kernels->nr;
    for (size_t at = 0; at < p->k; at += kernels->depth) {
        size_t depth = smaller(kernels->depth, p->k - at), words = words_of(kernels, depth);
        float *left = memory, *right = memory + round_up(p->m, mr) * words;
        for (size_t row = 0; row < p->m; row += mr)
            pack_left(kernels, left + row * words, p->a, row, at, smaller(mr, p->m - row), depth);
        for (size_t column = 0; column < p->n; column += nr)
            pack_right(kernels, right + column * words, p->b, column, at, smaller(nr, p->n - column), depth);
        tiles(kernels, p->m, p->n, words, left, right, p->c, p->stride, p->add || at > 0);
    }
}
