/* gemm.c - matrix products of the cpu backend: blocking, packing and threads around the kernels' tile, after Goto and
 * van de Geijn 2008, "Anatomy of high-performance matrix multiplication". It knows nothing of tensors.
 *
 * Of a tall product, all threads pack the right-hand side into panels of nr columns, all of it if it is not too large;
 * then every thread packs rows of the left-hand side into panels of mr and multiplies them while they are in its own
 * cache. Of a wide one it is the other way round. Of any other, low ones, all threads pack both sides and share out
 * pieces of the result. A right-hand side that is packed for good needs none of it, and then no product is wide. A
 * result element is summed over k in blocks of the same size whatever the threads do. */
#include "ops/cpu/panels.h"

#include <string.h>

#define ROWS 768               /* m of a block */
#define TALL_ROWS 384          /* a thread, from which on a product is tall */
#define WIDE_COLUMNS 384       /* a thread, from which on a product of no more than ROWS is wide */
#define LEFT ((size_t)1 << 19) /* words of the packed left-hand side, at most; of a wide product half, or one depth */
#define LENGTH ((size_t)1024)  /* of k that a piece takes at once: both its sides stay in the second cache */
#define STRIP ((size_t)16)     /* of k that all panels of a task take before the next */
#define PIECE_ROWS 192
#define LOW_PIECE 128 /* columns of a piece, about, of the three kinds */
#define WIDE_PIECE 192
#define TALL_PIECE 1024

/* ---- tiles ---- */

/* c (rows, cols) from packed panels of `words`; the last tiles of a row or column may be cut. then: what is wanted
 * after the last panel of b; it points somewhere even if that is nothing. */
static void tiles(const fm_product_kernels *kernels, size_t rows, size_t cols, size_t words, const float *a,
                  const float *b, float *c, size_t stride, bool add, fm_ahead then)
{
    size_t mr = kernels->mr, nr = kernels->nr;
    if (kernels->begin) kernels->begin();
    for (size_t j = 0; j < cols; j += nr) {
        fm_ahead all = j + nr < cols ? (fm_ahead){b + (j + nr) * words, words * nr / 16} : then;
        size_t each = (all.lines * mr + rows - 1) / rows; /* of them, for a tile */
        for (size_t i = 0; i < rows; i += mr) {
            size_t height = smaller(mr, rows - i), width = smaller(nr, cols - j);
            float *to = c + i * stride + j;
            fm_ahead next = {all.from, smaller(each, all.lines)};
            all.from += 16 * next.lines;
            all.lines -= next.lines;
            if (width == nr) {
                kernels->tile(height, words, a + i * words, b + j * words, to, stride, add, next);
                continue;
            }
            float whole[16 * 64];
            kernels->tile(height, words, a + i * words, b + j * words, whole, nr, false, next);
            for (size_t y = 0; y < height; y++)
                for (size_t x = 0; x < width; x++)
                    to[y * stride + x] = (add ? to[y * stride + x] : 0.0f) + whole[y * nr + x];
        }
    }
    if (kernels->end) kernels->end();
}

static void finish_rows(const fm_kernels *kernels, const cpu_product *p, size_t row, size_t column, size_t rows,
                        size_t cols)
{
    if (!p->bias && !p->gelu) return;
    for (size_t i = row; i < row + rows; i++) {
        float *c = p->c + i * p->stride + column;
        const float *bias = p->bias ? p->bias + column : NULL;
        if (p->gelu) kernels->bias_gelu(cols, c, c, bias, p->pre ? p->pre + i * p->pre_stride + column : NULL);
        else kernels->add(cols, c, bias);
    }
    if (p->pre && kernels->settle) kernels->settle();
}

/* ---- packing ---- */

/* One side of a product, and the panels that a part of its k is packed into. */
typedef struct side {
    const fm_product_kernels *kernels;
    bool right;
    cpu_matrix from;
    size_t first, lines; /* of the side: rows of a or columns of b */
} side;

/* Panels [panel, end) for `depth` numbers of k from `at`; `to` is where panel 0 lies. A task takes neighbouring panels,
 * and where lines lie across memory a strip of k of all of them at a time, so that it reads longer pieces of it. */
static void pack_panels(const side *x, size_t panel, size_t end, size_t at, size_t depth, float *to)
{
    size_t width = x->right ? x->kernels->nr : x->kernels->mr, words = words_of(x->kernels, depth);
    size_t step = x->right == x->from.turned ? depth : STRIP;
    for (size_t k = 0; k < depth; k += step)
        for (size_t i = panel; i < end; i++)
            (x->right ? pack_right : pack_left)(x->kernels, to + (i * words + words_of(x->kernels, k)) * width, x->from,
                                                x->first + i * width, at + k, smaller(width, x->lines - i * width),
                                                smaller(step, depth - k));
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

/* ---- the product over all threads ---- */

typedef enum shape { LOW, WIDE, TALL } shape;

/* A block of the result, and the part of k that is summed before threads wait for each other. */
typedef struct block {
    cpu *cpu;
    const cpu_product *p;
    const fm_product_kernels *kernels;
    shape shape;
    size_t row, rows, column, cols, at, end;
    size_t depth;                                  /* of the parts of k whose sums are added up one after the other */
    const float *right;                            /* the panels of the right-hand side for the part of k from `at` */
    size_t padded;                                 /* columns that they have */
    size_t left_panels, right_panels, panels_each; /* for all threads to pack */
    size_t piece_rows, piece_cols, pieces_across;
    size_t tasks, length; /* of a tall product: of rows, and the k that these take at once */
    size_t room;          /* words of a thread for the side that it packs by itself */
} block;

/* Where panels for the part of k from `at` lie behind those from `begin`, on a side that has `lines`. */
static size_t part_offset(const block *x, size_t begin, size_t at, size_t lines)
{
    return words_of(x->kernels, at - begin) * lines;
}

static void pack_part(const block *x, bool right, size_t panel, size_t end)
{
    const cpu_product *p = x->p;
    side s =
        right ? (side){x->kernels, true, p->b, x->column, x->cols} : (side){x->kernels, false, p->a, x->row, x->rows};
    float *to = right ? x->cpu->right.words : x->cpu->left.words;
    size_t lines = right ? x->padded : x->left_panels * x->kernels->mr;
    for (size_t at = x->at; at < x->end && panel < end; at += x->depth)
        pack_panels(&s, panel, end, at, smaller(x->depth, x->end - at), to + part_offset(x, x->at, at, lines));
}

/* A task packs panels_each panels; the right-hand ones come first. */
static void pack_task(void *context, size_t index, int worker)
{
    (void)worker;
    const block *x = context;
    size_t rights = x->right_panels, panel = index * x->panels_each;
    size_t end = smaller(panel + x->panels_each, rights + x->left_panels);
    pack_part(x, true, panel, smaller(end, rights));
    if (end > rights) pack_part(x, false, panel > rights ? panel - rights : 0, end - rights);
}

/* The panel that begins with `column` for the part of k from `at`, of a right-hand side that lies packed for all
 * threads; nothing of it if `at` is `end`. */
static fm_ahead right_panel(const block *x, size_t column, size_t at, size_t end)
{
    size_t words = words_of(x->kernels, smaller(x->depth, end - at));
    return (fm_ahead){x->right + part_offset(x, x->at, at, x->padded) + column * words, words * x->kernels->nr / 16};
}

/* Sums the products of k from `at` to `end` in (rows, cols) of the block from `row` and `column`, and finishes what is
 * complete. left: panels of k from `at` on, for `lines` rows of which these begin at `line`. */
static void multiply(const block *x, size_t row, size_t rows, size_t column, size_t cols, size_t at, size_t end,
                     const float *left, size_t lines, size_t line)
{
    const cpu_product *p = x->p;
    float *c = p->c + (x->row + row) * p->stride + x->column + column;
    for (size_t k = at; k < end; k += x->depth) {
        size_t words = words_of(x->kernels, smaller(x->depth, end - k)), after = smaller(k + x->depth, end);
        tiles(x->kernels, rows, cols, words, left + part_offset(x, at, k, lines) + line * words,
              right_panel(x, column, k, end).from, c, p->stride, p->add || k > 0, right_panel(x, column, after, end));
    }
    if (end == p->k) finish_rows(x->cpu->kernels, p, x->row + row, x->column + column, rows, cols);
}

/* Of a low product: a piece of the result. */
static void piece_task(void *context, size_t index, int worker)
{
    (void)worker;
    const block *x = context;
    size_t row = index / x->pieces_across * x->piece_rows, column = index % x->pieces_across * x->piece_cols;
    multiply(x, row, smaller(x->piece_rows, x->rows - row), column, smaller(x->piece_cols, x->cols - column), x->at,
             x->end, x->cpu->left.words, x->left_panels * x->kernels->mr, row);
}

/* Of a tall product: rows. */
static void rows_task(void *context, size_t index, int worker)
{
    const block *x = context;
    size_t mr = x->kernels->mr, panels = (x->rows + mr - 1) / mr;
    size_t first = index * panels / x->tasks, count = (index + 1) * panels / x->tasks - first;
    size_t row = first * mr, rows = smaller(count * mr, x->rows - row);
    side s = {x->kernels, false, x->p->a, x->row + row, rows};
    float *left = x->cpu->left.words + (size_t)worker * x->room;
    for (size_t at = x->at; at < x->end; at += x->length) {
        size_t end = smaller(at + x->length, x->end);
        for (size_t k = at; k < end; k += x->depth)
            pack_panels(&s, 0, count, k, smaller(x->depth, end - k), left + part_offset(x, at, k, count * mr));
        for (size_t column = 0; column < x->cols; column += x->piece_cols)
            multiply(x, row, rows, column, smaller(x->piece_cols, x->cols - column), at, end, left, count * mr, 0);
    }
}

/* Of a wide product: columns. */
static void columns_task(void *context, size_t index, int worker)
{
    const block *x = context;
    const cpu_product *p = x->p;
    size_t nr = x->kernels->nr, column = index * x->piece_cols, cols = smaller(x->piece_cols, x->cols - column);
    side s = {x->kernels, true, p->b, x->column + column, cols};
    float *right = x->cpu->right.words + (size_t)worker * x->room;
    float *c = p->c + x->row * p->stride + x->column + column;
    for (size_t k = x->at; k < x->end; k += x->depth) {
        size_t depth = smaller(x->depth, x->end - k);
        pack_panels(&s, 0, (cols + nr - 1) / nr, k, depth, right);
        tiles(x->kernels, x->rows, cols, words_of(x->kernels, depth),
              x->cpu->left.words + part_offset(x, x->at, k, x->left_panels * x->kernels->mr), right, c, p->stride,
              p->add || k > 0, (fm_ahead){right, 0});
    }
    if (x->end == p->k) finish_rows(x->cpu->kernels, p, x->row, x->column + column, x->rows, cols);
}

static void run_block(block *x)
{
    fm_pool *pool = x->cpu->pool;
    size_t mr = x->kernels->mr, nr = x->kernels->nr, panels = x->left_panels + x->right_panels;
    x->panels_each = panels > 64 ? 16 : panels > 32 ? 8 : 2;
    fm_pool_run(pool, (panels + x->panels_each - 1) / x->panels_each, pack_task, x);
    x->piece_rows = even_part(x->rows, PIECE_ROWS, mr);
    if (x->shape != WIDE) x->piece_cols = even_part(x->cols, x->shape == TALL ? TALL_PIECE : LOW_PIECE, nr);
    x->pieces_across = (x->cols + x->piece_cols - 1) / x->piece_cols;
    if (x->shape == TALL) fm_pool_run(pool, x->tasks, rows_task, x);
    else if (x->shape == WIDE) fm_pool_run(pool, x->pieces_across, columns_task, x);
    else fm_pool_run(pool, x->pieces_across * ((x->rows + x->piece_rows - 1) / x->piece_rows), piece_task, x);
}

/* How a product is cut: the rows and columns of a block, k between two waits, and words of the packed sides. */
typedef struct plan {
    size_t rows, cols, span, left, right;
} plan;

/* Columns of a wide product's pieces, of which all threads get as many. */
static size_t wide_piece(size_t n, size_t nr, size_t threads)
{
    size_t pieces = round_up((n + WIDE_PIECE - 1) / WIDE_PIECE, threads);
    return round_up((n + pieces - 1) / pieces, nr);
}

/* Sets the block's shape, and what only products of that shape have. */
static plan plan_of(block *x, size_t threads)
{
    const cpu_product *p = x->p;
    size_t mr = x->kernels->mr, nr = x->kernels->nr, part = words_of(x->kernels, x->depth);
    size_t all = (p->k + x->depth - 1) / x->depth, parts = smaller(all, LENGTH / x->depth);
    size_t words = parts * part; /* of a line, for what LENGTH has of k */
    plan cut = {.rows = p->m, .cols = p->n, .span = parts * x->depth};
    if (p->m <= ROWS && p->n >= WIDE_COLUMNS * threads && p->m < TALL_ROWS * threads && !p->packed) {
        size_t lines = round_up(p->m, mr), most = LEFT / 2 / part / lines, whole = smaller(most > 0 ? most : 1, all);
        x->shape = WIDE;
        x->piece_cols = wide_piece(p->n, nr, threads);
        x->room = x->piece_cols * part;
        return (plan){p->m, p->n, whole * x->depth, lines * part * whole, threads * x->room};
    }
    if (!p->packed) cut.cols = even_part(p->n, RIGHT / words / nr * nr, nr);
    size_t padded = round_up(smaller(cut.cols, p->n), nr);
    if (p->m < TALL_ROWS * threads) {
        x->shape = LOW;
        cut.rows = even_part(p->m, smaller(ROWS, LEFT / words / mr * mr), mr);
        cut.left = round_up(smaller(cut.rows, p->m), mr) * words;
        cut.right = p->packed ? 0 : padded * words;
        return cut;
    }
    x->shape = TALL;
    x->tasks = round_up((p->m + PIECE_ROWS - 1) / PIECE_ROWS, threads);
    x->length = cut.span;
    x->room = (round_up(p->m, mr) / mr + x->tasks - 1) / x->tasks * mr * words;
    cut.left = threads * x->room;
    /* The right-hand side has the more room as it is all that is packed between two waits. */
    size_t whole = p->packed ? all : smaller(RIGHT / part / padded, all);
    cut.span = whole * x->depth;
    cut.right = p->packed ? 0 : padded * part * whole;
    return cut;
}

void cpu_gemm(cpu *c, const cpu_product *p)
{
    if (p->m == 0 || p->n == 0) return;
    if (p->precision == FM_PRECISION_BF16) {
        cpu_mixed(c, p);
        return;
    }
    const fm_product_kernels *kernels = &c->kernels->products[p->precision];
    block x = {.cpu = c, .p = p, .kernels = kernels, .depth = depth_of(kernels, p->k)};
    plan cut = plan_of(&x, (size_t)fm_pool_threads(c->pool));
    if (!cpu_panels_reserve(c, &c->left, cut.left) || !cpu_panels_reserve(c, &c->right, cut.right)) return;
    for (x.column = 0; x.column < p->n; x.column += cut.cols)
        for (x.at = 0; x.at < p->k; x.at = x.end)
            for (x.row = 0; x.row < p->m; x.row += cut.rows) {
                x.rows = smaller(cut.rows, p->m - x.row);
                x.cols = smaller(cut.cols, p->n - x.column);
                x.end = smaller(x.at + cut.span, p->k);
                x.padded = round_up(x.cols, kernels->nr);
                x.right = p->packed ? p->packed + words_of(kernels, x.at) * x.padded : c->right.words;
                bool packs = !p->packed && x.shape != WIDE && x.row == 0;
                x.right_panels = packs ? x.padded / kernels->nr : 0;
                x.left_panels = x.shape != TALL ? round_up(x.rows, kernels->mr) / kernels->mr : 0;
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
        tiles(kernels, p->m, p->n, words, left, right, p->c, p->stride, p->add || at > 0, (fm_ahead){right, 0});
    }
}
