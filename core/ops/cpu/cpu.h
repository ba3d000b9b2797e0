/* cpu.h - the inside of the cpu backend, shared by its files: buffers, scratch memory and the matrix product. Not for
 * anything outside core/ops/cpu. */
#ifndef FM_CPU_H
#define FM_CPU_H

#include "ops/cpu/kernels.h"
#include "ops/ops.h"

/* Whether a matrix is in packed form alone (held.c), and of what. */
typedef enum cpu_holding { CPU_NOT_HELD, CPU_HELD_F32, CPU_HELD_I8 } cpu_holding;

typedef struct cpu_buffer {
    float *own;            /* NULL if imported or released */
    const float *imported; /* read only */
    size_t elements;
    float *packed[FM_PRECISIONS]; /* of an imported matrix that was a right-hand side: packed once and kept */
    /* Of a matrix of int8, read only, and its packed form. */
    const int8_t *int8;
    const float *scales;
    uint8_t *int8_packed;
    cpu_holding held;
    bool inexact; /* of int8 that came in rows: products would not be exact */
    uint32_t rows, cols;
} cpu_buffer;

/* Packed panels of one side of a product, in memory that grows with what is asked for. */
typedef struct cpu_panels {
    float *words;
    size_t size;
} cpu_panels;

typedef struct cpu {
    fm_backend backend;
    fm_pool *pool;
    const fm_kernels *kernels;
    const fm_int8_kernels *int8; /* the best of the kernels' that the machine has */
    cpu_buffer *buffers;         /* handle 0 is unused */
    size_t count, capacity;
    fm_error first_error;   /* since the last finish() */
    cpu_panels left, right; /* of the product that runs */
    float *scratch;         /* for the operation that runs */
    size_t scratch_size;    /* floats */
    fm_precision precision; /* of products */
} cpu;

static inline size_t round_up(size_t x, size_t to)
{
    return (x + to - 1) / to * to;
}

static inline size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The kernels of an instruction set, NULL if this build lacks it. */
const fm_kernels *cpu_find_set(const char *name);
/* Where a tensor's numbers are. */
float *cpu_floats(const cpu *c, fm_tensor x);
uint32_t *cpu_words(const cpu *c, fm_tensor x);
fm_status cpu_add_buffer(cpu *c, cpu_buffer buffer, uint32_t *handle, fm_error *err);
/* Keeps the first error for finish(). */
void cpu_fail_memory(cpu *c, size_t bytes);
/* Makes room for `count` pieces of `floats` each in scratch; false (and the error kept) if memory lacks. */
bool cpu_scratch(cpu *c, size_t count, size_t floats);

/* ---- gemm.c ---- */

/* A matrix of a product: element (i, j) of an operand is data[i * stride + j], or data[j * stride + i] if turned. */
typedef struct cpu_matrix {
    const float *data;
    size_t stride;
    bool turned;
} cpu_matrix;

typedef struct cpu_product {
    fm_precision precision;
    size_t m, n, k;
    cpu_matrix a, b;     /* (m, k) and (k, n) */
    const float *packed; /* all of b as cpu_pack made it in this precision, or NULL */
    float *c;            /* (m, n) */
    size_t stride;       /* of c */
    bool add;            /* to what c holds */
    /* When the sums are complete: c += bias; then, with gelu, pre = c (optional) and c = gelu(c). */
    const float *bias;
    bool gelu;
    float *pre;
    size_t pre_stride;
} cpu_product;

/* Over the whole pool. Sums over k in one fixed order. */
void cpu_gemm(cpu *c, const cpu_product *p);
void cpu_gemm_free(cpu *c);
/* The same for bf16 (mixed.c). */
void cpu_mixed(cpu *c, const cpu_product *p);
/* Makes room for packed panels; false (and the error kept) if memory lacks. */
bool cpu_panels_reserve(cpu *c, cpu_panels *panels, size_t words);
size_t cpu_packed_size(const fm_kernels *kernels, fm_precision precision, size_t n, size_t k);
void cpu_pack(cpu *c, fm_precision precision, float *packed, cpu_matrix b, size_t n, size_t k);
/* A row of w = b^T, of n and each of k numbers, in f32: into the packed form, which cpu_pack makes of all, and back. */
void cpu_pack_row(const fm_kernels *kernels, float *packed, const float *from, size_t row, size_t n, size_t k);
void cpu_unpack_row(const fm_kernels *kernels, float *to, const float *packed, size_t row, size_t n, size_t k);
/* On one thread with memory of the caller: cpu_small_size() floats. No bias, no gelu, nothing packed. */
size_t cpu_small_size(const fm_kernels *kernels, fm_precision precision, size_t m, size_t n, size_t k);
void cpu_gemm_small(const fm_kernels *kernels, const cpu_product *p, float *memory);

/* ---- int8.c ---- */

/* y (m, n) = x (m, k) w (n, k)^T + bias, and then gelu; w is packed, with a scale a row. */
typedef struct cpu_int8_product {
    size_t m, n, k;
    const float *x;
    const uint8_t *packed;
    const float *scales, *bias; /* bias may be NULL */
    bool gelu;
    float *y;
    size_t stride; /* of y */
} cpu_int8_product;

/* Whether the tiles' sums are exact for these weights. */
bool cpu_int8_exact(const fm_int8_kernels *kernels, const int8_t *weights, size_t rows, size_t cols);
size_t cpu_int8_packed_size(const fm_int8_kernels *kernels, size_t rows, size_t cols);
void cpu_int8_pack(cpu *c, uint8_t *packed, const int8_t *weights, size_t rows, size_t cols);
/* A row into the packed form, of which every byte is the kernels' offset before, and back. */
void cpu_int8_pack_row(const fm_int8_kernels *kernels, uint8_t *packed, const int8_t *from, size_t row, size_t cols);
void cpu_int8_unpack_row(const fm_int8_kernels *kernels, int8_t *to, const uint8_t *packed, size_t row, size_t cols);
/* Over the whole pool. */
void cpu_int8_linear(cpu *c, const cpu_int8_product *p);
/* to = from * scale */
void cpu_int8_row(size_t n, float *to, const int8_t *from, float scale);

/* ---- held.c ---- */

/* A row of a matrix that is held, as floats. */
void cpu_held_row(const cpu *c, const cpu_buffer *buffer, size_t row, float *to);
fm_status cpu_hold(fm_backend *b, fm_type type, uint32_t rows, uint32_t cols, const float *scales, uint32_t *handle,
                   fm_error *err);
void cpu_put(fm_backend *b, uint32_t handle, uint32_t row, const void *from);
fm_status cpu_seal(fm_backend *b, uint32_t handle, fm_type *type, fm_error *err);
void cpu_take(fm_backend *b, uint32_t handle, uint32_t row, void *to);

/* ---- rows.c and attention.c: entries of the table ---- */

/* The stream of row `position` (of `width` elements) of sequence `number`. */
fm_drop_stream cpu_drop_row(const fm_dropout *dropout, uint32_t number, uint32_t row, size_t width);

void cpu_embedding(fm_backend *b, fm_tensor out, fm_tensor word, fm_tensor position, fm_tensor ids,
                   const fm_packing *packing);
void cpu_embedding_backward(fm_backend *b, fm_tensor d_word, fm_tensor d_position, fm_tensor d_out, fm_tensor ids,
                            fm_tensor order, fm_tensor segments, const fm_packing *packing);
void cpu_layer_norm(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor residual, fm_tensor gamma, fm_tensor beta,
                    float epsilon, fm_tensor stats, const fm_dropout *before, const fm_dropout *after,
                    const fm_packing *packing);
void cpu_layer_norm_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_residual, fm_tensor d_gamma, fm_tensor d_beta,
                             fm_tensor d_out, fm_tensor sum, fm_tensor gamma, fm_tensor stats, const fm_dropout *before,
                             const fm_dropout *after, const fm_packing *packing);
void cpu_column_sums(cpu *c, float *to, const float *x, size_t rows, size_t cols);
void cpu_gelu_backward(fm_backend *b, fm_tensor d, fm_tensor pre);
void cpu_gather(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor rows);
void cpu_gather_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_out, fm_tensor rows);
void cpu_mlm_loss(fm_backend *b, fm_tensor logits, fm_tensor labels, fm_tensor result, float scale);
void cpu_sum_squares(fm_backend *b, fm_tensor squares, fm_tensor x);
void cpu_adamw(fm_backend *b, fm_tensor parameter, fm_tensor gradient, fm_tensor first, fm_tensor second,
               fm_tensor squares, const fm_adamw *options);
void cpu_attention(fm_backend *b, fm_tensor out, fm_tensor q, fm_tensor k, fm_tensor v, uint32_t heads,
                   const fm_dropout *dropout, const fm_packing *packing);
void cpu_attention_backward(fm_backend *b, fm_tensor d_q, fm_tensor d_k, fm_tensor d_v, fm_tensor d_out, fm_tensor q,
                            fm_tensor k, fm_tensor v, uint32_t heads, const fm_dropout *dropout,
                            const fm_packing *packing);

#endif
