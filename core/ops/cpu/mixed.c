/* mixed.c - matrix products of bf16 over all threads. Their arithmetic may take less time than their operands and
 * results take from and to memory. So both sides are packed, in the order in which they lie, for as much of k as there
 * is room for; a thread sums up a block of the result that stays in its second cache, and writes it row by row with
 * whatever is to be done to it. What panels and tiles are is in kernels.h. */
#include "ops/cpu/panels.h"

#include <string.h>

#define LENGTH ((size_t)4096)  /* of k, that is packed at once; it decides the order of the sums */
#define LEFT ((size_t)1 << 22) /* words of a packed left-hand side, at most */
#define BLOCK 512              /* rows and columns of a block of the result, at most */
#define LEAST 64               /* at least, if there are too few of them for all threads */
#define CHUNK 64               /* of k, for packing what lies across it */

typedef struct mixed {
    cpu *cpu;
    const cpu_product *p;
    const fm_product_kernels *kernels;
    size_t row, rows, column, cols; /* of the result, that is computed at once */
    size_t at, end;                 /* of k */
    size_t depth;                   /* of its parts, whose sums are added up one after the other */
    size_t left_tasks, right_tasks; /* of packing */
    float *left, *right;            /* panels from `at` on; parts of k follow one another */
    size_t high, wide, across;      /* blocks: rows, columns, how many side by side */
    float *sums;                    /* a block for each worker */
} mixed;

/* ---- packing ---- */

/* One side of the product: lines of k, packed into panels of `width` lines. */
typedef struct side {
    void (*pack)(const fm_product_kernels *kernels, float *to, cpu_matrix from, size_t line, size_t at, size_t lines,
                 size_t depth);
    cpu_matrix from;
    float *to;
    size_t first, lines, width;
    bool along; /* whether lines lie along k in memory */
} side;

static side left_side(const mixed *x)
{
    return (side){pack_left, x->p->a, x->left, x->row, x->rows, x->kernels->mr, !x->p->a.turned};
}

static side right_side(const mixed *x)
{
    return (side){pack_right, x->p->b, x->right, x->column, x->cols, x->kernels->nr, x->p->b.turned};
}

static size_t parts_of(const mixed *x)
{
    return (x->end - x->at + x->depth - 1) / x->depth;
}

static size_t chunks_of(const mixed *x)
{
    return (x->depth + CHUNK - 1) / CHUNK;
}

static size_t pack_tasks(const mixed *x, const side *s)
{
    return s->along ? (s->lines + s->width - 1) / s->width : parts_of(x) * chunks_of(x);
}

/* Lines from `line` on, for k from `skipped` on in the part from `at`. */
static void pack_panel(const mixed *x, const side *s, size_t line, size_t at, size_t skipped, size_t depth)
{
    const fm_product_kernels *kernels = x->kernels;
    size_t words = words_of(kernels, smaller(x->depth, x->end - at));
    float *to = s->to + words_of(kernels, at - x->at) * round_up(s->lines, s->width) + line * words +
                skipped / kernels->fold * s->width;
    s->pack(kernels, to, s->from, s->first + line, at + skipped, smaller(s->width, s->lines - line), depth);
}

/* A panel, if its lines lie along k; otherwise a chunk of k of all panels. */
static void pack_part(const mixed *x, const side *s, size_t index)
{
    if (s->along) {
        for (size_t at = x->at; at < x->end; at += x->depth)
            pack_panel(x, s, index * s->width, at, 0, smaller(x->depth, x->end - at));
        return;
    }
    size_t at = x->at + index / chunks_of(x) * x->depth, skipped = index % chunks_of(x) * CHUNK;
    size_t depth = smaller(x->depth, x->end - at);
    if (skipped >= depth) return;
    for (size_t line = 0; line < s->lines; line += s->width)
        pack_panel(x, s, line, at, skipped, smaller(CHUNK, depth - skipped));
}

static void pack_task(void *context, size_t index, int worker)
{
    (void)worker;
    const mixed *x = context;
    bool right = index < x->right_tasks;
    side s = right ? right_side(x) : left_side(x);
    pack_part(x, &s, right ? index : index - x->right_tasks);
}

/* ---- blocks of the result ---- */

/* Adds up all of [at, end) for a block, whose rows of sums are `stride` apart. */
static void sum_up(const mixed *x, float *sums, size_t stride, size_t row, size_t rows, size_t column, size_t cols)
{
    const fm_product_kernels *kernels = x->kernels;
    size_t mr = kernels->mr, nr = kernels->nr;
    if (kernels->begin) kernels->begin();
    for (size_t at = x->at; at < x->end; at += x->depth) {
        size_t words = words_of(kernels, smaller(x->depth, x->end - at)), before = words_of(kernels, at - x->at);
        const float *left = x->left + before * round_up(x->rows, mr) + row * words,
                    *right = x->right + before * round_up(x->cols, nr) + column * words;
        for (size_t i = 0; i < rows; i += mr)
            for (size_t j = 0; j < cols; j += nr)
                kernels->tile(smaller(mr, rows - i), words, left + i * words, right + j * words, sums + i * stride + j,
                              stride, at > x->at, (fm_ahead){0});
    }
    if (kernels->end) kernels->end();
}

/* Row by row, what the product is to become of its sums. */
static void write_rows(const mixed *x, float *sums, size_t stride, size_t row, size_t rows, size_t column, size_t cols)
{
    const fm_kernels *kernels = x->cpu->kernels;
    const cpu_product *p = x->p;
    bool add = p->add || x->at > 0, last = x->end == p->k;
    for (size_t i = row; i < row + rows; i++, sums += stride) {
        float *c = p->c + i * p->stride + column;
        if (add) kernels->add(cols, sums, c);
        const float *bias = last && p->bias ? p->bias + column : NULL;
        if (last && p->gelu) {
            kernels->bias_gelu(cols, c, sums, bias, p->pre ? p->pre + i * p->pre_stride + column : NULL);
            continue;
        }
        if (bias) kernels->add(cols, sums, bias);
        memcpy(c, sums, cols * sizeof *sums);
    }
    if (last && p->pre && kernels->settle) kernels->settle();
}

static void block_task(void *context, size_t index, int worker)
{
    const mixed *x = context;
    size_t row = index / x->across * x->high, column = index % x->across * x->wide;
    size_t rows = smaller(x->high, x->rows - row), cols = smaller(x->wide, x->cols - column);
    size_t stride = round_up(x->wide, x->kernels->nr);
    float *sums = x->sums + (size_t)worker * round_up(x->high, x->kernels->mr) * stride;
    sum_up(x, sums, stride, row, rows, column, cols);
    write_rows(x, sums, stride, x->row + row, rows, x->column + column, cols);
}

/* Cuts the result into blocks: so many that all threads have some to do. */
static size_t cut(mixed *x, size_t threads)
{
    size_t count = 0;
    for (size_t most = BLOCK; most >= LEAST && count < 4 * threads; most /= 2) {
        x->high = even_part(x->rows, most, x->kernels->mr);
        x->wide = even_part(x->cols, most, x->kernels->nr);
        x->across = (x->cols + x->wide - 1) / x->wide;
        count = x->across * ((x->rows + x->high - 1) / x->high);
    }
    return count;
}

/* ---- the product ---- */

void cpu_mixed(cpu *c, const cpu_product *p)
{
    const fm_product_kernels *kernels = &c->kernels->products[p->precision];
    size_t mr = kernels->mr, nr = kernels->nr, depth = depth_of(kernels, p->k), part = words_of(kernels, depth);
    size_t parts = smaller((p->k + depth - 1) / depth, LENGTH / depth), length = parts * depth, words = parts * part;
    size_t cols = p->packed ? p->n : even_part(p->n, RIGHT / words / nr * nr, nr);
    size_t rows = even_part(p->m, LEFT / words / mr * mr, mr), threads = (size_t)fm_pool_threads(c->pool);
    if (!cpu_panels_reserve(c, &c->left, round_up(smaller(rows, p->m), mr) * words)) return;
    if (!p->packed && !cpu_panels_reserve(c, &c->right, round_up(smaller(cols, p->n), nr) * words)) return;
    if (!cpu_scratch(c, threads, (BLOCK + mr) * (size_t)(BLOCK + nr))) return;
    mixed x = {.cpu = c, .p = p, .kernels = kernels, .depth = depth, .left = c->left.words, .sums = c->scratch};
    for (x.column = 0; x.column < p->n; x.column += cols)
        for (x.at = 0; x.at < p->k; x.at += length)
            for (x.row = 0; x.row < p->m; x.row += rows) {
                x.cols = smaller(cols, p->n - x.column);
                x.rows = smaller(rows, p->m - x.row);
                x.end = smaller(x.at + length, p->k);
                /* What is packed for good is only read. */
                x.right = p->packed ? (float *)(uintptr_t)p->packed + words_of(kernels, x.at) * round_up(x.cols, nr)
                                    : c->right.words;
                side left = left_side(&x), right = right_side(&x);
                x.left_tasks = pack_tasks(&x, &left);
                x.right_tasks = p->packed || x.row > 0 ? 0 : pack_tasks(&x, &right);
                fm_pool_run(c->pool, x.left_tasks + x.right_tasks, pack_task, &x);
                size_t blocks = cut(&x, threads);
                fm_pool_run(c->pool, blocks, block_task, &x);
            }
}
