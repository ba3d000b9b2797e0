/* int8.c - linear layers whose weights are int8: packing them, rounding rows of the input to int8, and sharing the
 * tiles out to the threads. Sums of products are exact, so no order of summing matters; what makes floats of them is
 * done row by row. It knows nothing of tensors. */
#include "ops/cpu/cpu.h"

#include <string.h>

#define UNIT 64       /* numbers that the depth is rounded up to: a row of a tile of the widest instructions */
#define PIECE_ROWS 96 /* of the result, in a task: a multiple of the rows of every tile, and so the columns */
#define PIECE_COLUMNS 128
#define MOST_TILE 1024    /* numbers of a tile */
#define MOST_DEPTH 65536  /* 255 * 127 of so many still fit an int32 */
#define QUANTISED_ROWS 16 /* of the input, in a task */

bool cpu_int8_exact(const fm_int8_kernels *kernels, const int8_t *weights, size_t rows, size_t cols)
{
    if (cols > MOST_DEPTH) return false;
    if (kernels->offset != 64) return true;
    unsigned beyond = 0;
    for (size_t i = 0; i < rows * cols; i++) beyond |= (unsigned)(weights[i] + 63) > 126;
    return beyond == 0;
}

/* ---- weights ---- */

size_t cpu_int8_packed_size(const fm_int8_kernels *kernels, size_t rows, size_t cols)
{
    return round_up(rows, kernels->nr) * round_up(cols, UNIT);
}

void cpu_int8_pack_row(const fm_int8_kernels *kernels, uint8_t *packed, const int8_t *from, size_t row, size_t cols)
{
    size_t nr = kernels->nr, whole = cols / 4 * 4;
    uint8_t *to = packed + row / nr * nr * round_up(cols, UNIT) + row % nr * 4, offset = (uint8_t)kernels->offset;
    for (size_t k = 0; k < whole; k += 4, to += 4 * nr)
        for (size_t i = 0; i < 4; i++) to[i] = (uint8_t)((uint8_t)from[k + i] + offset);
    for (size_t k = whole; k < cols; k++) to[k - whole] = (uint8_t)((uint8_t)from[k] + offset);
}

void cpu_int8_unpack_row(const fm_int8_kernels *kernels, int8_t *to, const uint8_t *packed, size_t row, size_t cols)
{
    size_t nr = kernels->nr;
    const uint8_t *from = packed + row / nr * nr * round_up(cols, UNIT) + row % nr * 4;
    for (size_t k = 0; k < cols; k++) to[k] = (int8_t)(from[k / 4 * 4 * nr + k % 4] - kernels->offset);
}

typedef struct packing {
    const fm_int8_kernels *kernels;
    const int8_t *weights;
    size_t rows, cols;
    uint8_t *to;
} packing;

static void pack_task(void *context, size_t index, int worker)
{
    (void)worker;
    const packing *x = context;
    size_t nr = x->kernels->nr, depth = round_up(x->cols, UNIT), first = index * nr;
    uint8_t *panel = x->to + first * depth, offset = (uint8_t)x->kernels->offset;
    memset(panel, offset, nr * depth);
    for (size_t row = first; row < smaller(first + nr, x->rows); row++)
        cpu_int8_pack_row(x->kernels, x->to, x->weights + row * x->cols, row, x->cols);
}

void cpu_int8_pack(cpu *c, uint8_t *packed, const int8_t *weights, size_t rows, size_t cols)
{
    packing x = {c->int8, weights, rows, cols, packed};
    fm_pool_run(c->pool, round_up(rows, c->int8->nr) / c->int8->nr, pack_task, &x);
}

/* ---- the product ---- */

typedef struct product {
    cpu *cpu;
    const cpu_int8_product *p;
    const fm_int8_kernels *kernels;
    size_t depth, stride; /* of the rounded input */
    size_t across;        /* pieces */
    float *scales;        /* of its rows */
    int32_t *sums;
    uint8_t *rows;
} product;

static void quantise_task(void *context, size_t index, int worker)
{
    (void)worker;
    const product *x = context;
    const cpu_int8_product *p = x->p;
    size_t end = smaller((index + 1) * QUANTISED_ROWS, p->m), size = x->kernels->size, used = round_up(p->k, 16);
    for (size_t i = index * QUANTISED_ROWS; i < end; i++) {
        uint8_t *to = x->rows + i * x->stride * size;
        memset(to + used * size, 0, (x->depth - used) * size);
        x->scales[i] = x->cpu->kernels->quantise(p->k, to, p->x + i * p->k, &x->sums[i]);
    }
}

static void piece_task(void *context, size_t index, int worker)
{
    (void)worker;
    const product *x = context;
    const cpu_int8_product *p = x->p;
    const fm_kernels *kernels = x->cpu->kernels;
    size_t row = index / x->across * PIECE_ROWS, column = index % x->across * PIECE_COLUMNS;
    size_t end = smaller(row + PIECE_ROWS, p->m), right = smaller(column + PIECE_COLUMNS, p->n);
    size_t mr = x->kernels->mr, nr = x->kernels->nr;
    int32_t offset = (int32_t)x->kernels->offset;
    _Alignas(64) int32_t sums[MOST_TILE];
    if (x->kernels->begin) x->kernels->begin();
    for (size_t j = column; j < right; j += nr)
        for (size_t i = row; i < end; i += mr) {
            size_t height = smaller(mr, end - i), width = smaller(nr, right - j);
            x->kernels->tile(height, x->depth, x->rows + i * x->stride * x->kernels->size, x->stride,
                             p->packed + j * x->depth, sums);
            for (size_t l = 0; l < height; l++) {
                float *y = p->y + (i + l) * p->stride + j;
                kernels->dequantise(width, y, sums + l * nr, offset * x->sums[i + l], x->scales[i + l], p->scales + j,
                                    p->bias ? p->bias + j : NULL);
                if (p->gelu) kernels->bias_gelu(width, y, y, NULL, NULL);
            }
        }
    if (x->kernels->end) x->kernels->end();
}

void cpu_int8_linear(cpu *c, const cpu_int8_product *p)
{
    const fm_int8_kernels *kernels = c->int8;
    size_t rows = round_up(p->m, kernels->mr), depth = round_up(p->k, UNIT);
    /* A row's distance is no power of two, or the rows of a tile would share places in the first cache. */
    product x = {.cpu = c, .p = p, .kernels = kernels, .depth = depth, .stride = depth + UNIT};
    size_t side = round_up(rows, 16), bytes = x.stride * kernels->size;
    if (!cpu_scratch(c, 1, 2 * side + rows * (bytes / sizeof(float)))) return;
    x.scales = c->scratch;
    x.sums = (int32_t *)(void *)(c->scratch + side);
    x.rows = (uint8_t *)(c->scratch + 2 * side);
    fm_pool_run(c->pool, (p->m + QUANTISED_ROWS - 1) / QUANTISED_ROWS, quantise_task, &x);
    x.across = (p->n + PIECE_COLUMNS - 1) / PIECE_COLUMNS;
    fm_pool_run(c->pool, x.across * ((p->m + PIECE_ROWS - 1) / PIECE_ROWS), piece_task, &x);
}

/* ---- the machine's peak ---- */

#define SPIN_DEPTH 512
#define SPIN_ROUNDS 20000

static void spin_task(void *context, size_t index, int worker)
{
    (void)index;
    (void)worker;
    const fm_int8_kernels *kernels = context;
    static const int16_t a[32 * (SPIN_DEPTH + UNIT)];
    static const uint8_t b[32 * SPIN_DEPTH];
    int32_t sums[MOST_TILE];
    if (kernels->begin) kernels->begin();
    for (size_t i = 0; i < SPIN_ROUNDS; i++) kernels->tile(kernels->mr, SPIN_DEPTH, a, SPIN_DEPTH + UNIT, b, sums);
    if (kernels->end) kernels->end();
}

double fm_cpu_peak_int8(fm_backend *backend)
{
    cpu *c = (cpu *)backend;
    size_t threads = (size_t)fm_pool_threads(c->pool);
    double operations = 2.0 * c->int8->mr * c->int8->nr * SPIN_DEPTH * SPIN_ROUNDS * (double)threads, best = 0.0;
    for (int i = 0; i < 5; i++) {
        double start = fm_seconds();
        fm_pool_run(c->pool, threads, spin_task, (void *)(uintptr_t)c->int8);
        double rate = operations / (fm_seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- rows ---- */

void cpu_int8_row(size_t n, float *to, const int8_t *from, float scale)
{
    for (size_t i = 0; i < n; i++) to[i] = (float)from[i] * scale;
}
