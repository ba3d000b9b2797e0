/* panels.h - how matrices are cut into panels and blocks, shared by the files that multiply them: gemm.c and mixed.c.
 * Not for inclusion elsewhere. */
#ifndef FM_PANELS_H
#define FM_PANELS_H

#include "ops/cpu/cpu.h"

#define UNIT 2 /* numbers that the blocks of k are made of, at least; every native set has the same blocks */
#define RIGHT ((size_t)1 << 22) /* words of a packed right-hand side, at most */

/* Cuts n into equal parts of at most `most`, each a multiple of `unit` but for the last; returns the part. */
static inline size_t even_part(size_t n, size_t most, size_t unit)
{
    if (n <= most) return round_up(n, unit);
    size_t parts = (n + most - 1) / most;
    return round_up((n + parts - 1) / parts, unit);
}

/* Words of a panel's line that has `depth` numbers. */
static inline size_t words_of(const fm_product_kernels *kernels, size_t depth)
{
    return round_up((depth + kernels->fold - 1) / kernels->fold, kernels->grain);
}

/* Numbers of a line that are summed at once, of k. */
static inline size_t depth_of(const fm_product_kernels *kernels, size_t k)
{
    size_t unit = (size_t)kernels->fold * kernels->grain;
    return even_part(k, kernels->depth, unit > UNIT ? unit : UNIT);
}

static inline const float *element(cpu_matrix x, size_t i, size_t j)
{
    return x.turned ? x.data + j * x.stride + i : x.data + i * x.stride + j;
}

/* Rows [row, row + lines) and columns [at, at + depth) of a. */
static inline void pack_left(const fm_product_kernels *kernels, float *to, cpu_matrix a, size_t row, size_t at,
                             size_t lines, size_t depth)
{
    const fm_packers *pack = &kernels->left;
    (a.turned ? pack->columns : pack->rows)(to, element(a, row, at), a.stride, lines, kernels->mr, depth);
}

/* Rows [at, at + depth) and columns [column, column + lines) of b. */
static inline void pack_right(const fm_product_kernels *kernels, float *to, cpu_matrix b, size_t column, size_t at,
                              size_t lines, size_t depth)
{
    const fm_packers *pack = &kernels->right;
    (b.turned ? pack->rows : pack->columns)(to, element(b, at, column), b.stride, lines, kernels->nr, depth);
}

#endif
