/* webgpu.h - the inside of the webgpu backend, shared by its files: the list of commands, and how an operation asks for
 * the run of a kernel. Not for anything outside core/ops/webgpu.
 *
 * Commands are rows of u32: the number of the command, then what it takes; sizes and offsets are bytes.
 *   CREATE  buffer size                     a buffer of zeros
 *   RELEASE buffer
 *   WRITE   buffer offset size pointer      from the core's memory, which is read when the list is played
 *   DATA    buffer offset size words...     the words follow in the list
 *   READ    buffer offset size pointer      into the core's memory, when the host is asked to finish
 *   FORGET  pointer size                    gives up reads into this memory
 *   ZERO    buffer offset size
 *   COPY    buffer offset buffer offset size
 *   RUN     kernel variant x y z work bindings parameters
 *           then buffer offset size of each binding, and the words of the uniform block
 * `work` is thousands of multiply-adds, roughly: from it the host knows when to submit, and when to cut a run into
 * several dispatches; four words that say which part one is go before the uniform block's. web/gpu.js is the player.
 */
#ifndef FM_WEBGPU_H
#define FM_WEBGPU_H

#include "ops/ops.h"

enum gpu_command {
    GPU_CREATE = 1,
    GPU_RELEASE,
    GPU_WRITE,
    GPU_DATA,
    GPU_READ,
    GPU_FORGET,
    GPU_ZERO,
    GPU_COPY,
    GPU_RUN
};

/* In the order in which wasm/kernels.cmake joins the .wgsl files. */
typedef enum gpu_kernel {
    GPU_PRODUCT,
    GPU_PRODUCT_SUM,
    GPU_EMBEDDING,
    GPU_LAYER_NORM,
    GPU_ATTENTION,
    GPU_ROWS,
    GPU_LOSS,
    GPU_EMBEDDING_BACKWARD,
    GPU_LAYER_NORM_BACKWARD,
    GPU_COLUMN_SUMS,
    GPU_ELEMENTS,
    GPU_ATTENTION_BACKWARD_Q,
    GPU_ATTENTION_BACKWARD_KV,
    GPU_SQUARES,
    GPU_ADAMW,
    GPU_PRODUCT_MATRICES
} gpu_kernel;

#define GPU_BINDINGS 8
#define GPU_PARAMETERS 16
#define GPU_ALIGNMENT 256u /* bytes, of the start of a binding */

/* Buffers that operations use for themselves, each for what one operation needs within itself. */
enum gpu_scratch { GPU_PARTIAL, GPU_ROW_STATS, GPU_SCRATCHES };

typedef struct gpu {
    fm_backend backend;
    fm_ops ops;
    uint32_t *list;
    size_t words, room;
    uint32_t limit; /* bytes of a binding at most */
    uint32_t next;  /* buffer number */
    uint32_t scratch[GPU_SCRATCHES];
    size_t scratch_size[GPU_SCRATCHES]; /* elements */
    bool half;                          /* products are of f16 */
    bool matrices;                      /* and subgroups multiply matrices then */
    uint32_t overflow; /* a word that is not 0 if one of their operands was beyond it; 0 before the first */
    fm_error first_error;
} gpu;

/* A run of a kernel under construction. Binding 0 is the uniform block; the operands take 1 and on, in the order of
 * use. */
typedef struct gpu_run {
    uint32_t count, parameter_count;
    struct {
        uint32_t buffer, offset, size, first;
    } bindings[GPU_BINDINGS];
    uint32_t parameters[GPU_PARAMETERS];
} gpu_run;

/* How many parts of `by` make n. */
static inline uint32_t cut(uint32_t n, uint32_t by)
{
    return (n + by - 1) / by;
}

static inline uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Binds a tensor, or nothing where an operand is optional. */
void gpu_bind(gpu_run *run, fm_tensor x);
void gpu_word(gpu_run *run, uint32_t word);
void gpu_float(gpu_run *run, float number);
/* The dropout's five words: seed, step, op << 20, threshold of 65536, scale (float). */
void gpu_dropout(gpu_run *run, const fm_dropout *dropout);
/* x * y * z workgroups. Of x alone there may be more than a dimension takes: kernels count x + y * (number of x). */
void gpu_go(gpu *g, const gpu_run *run, gpu_kernel kernel, uint32_t variant, uint32_t x, uint32_t y, uint32_t z,
            double work);
void gpu_zero(fm_backend *b, fm_tensor x);
void gpu_copy(gpu *g, fm_tensor to, fm_tensor from);
/* A tensor of the backend's own, with what it held lost where it has to grow. */
fm_tensor gpu_scratch(gpu *g, enum gpu_scratch which, uint32_t rows, uint32_t cols);
/* Words of a row. Rows of FM_F16 and FM_I8 are padded to fours of numbers; before those of FM_I8 is their scale. */
uint32_t gpu_words(fm_tensor x);
/* Rows of a tensor that one binding takes; and the part of a tensor from a row on. */
uint32_t gpu_rows_at_once(const gpu *g, fm_tensor x);
fm_tensor gpu_part(fm_tensor x, uint32_t row, uint32_t rows);
/* Elements as one row, from one of them on. */
fm_tensor gpu_span(fm_tensor x, size_t start, size_t elements);
/* The word that tells of operands beyond f16, or no tensor if no product was of f16 yet. */
fm_tensor gpu_overflow(const gpu *g);
const fm_dropout *gpu_active(const fm_dropout *dropout);
/* Whether rows can be taken four numbers at a time from a column on. */
bool gpu_in_fours(fm_tensor x, uint32_t column);
/* A run of a kernel of attention, whose operands are bound. fours: they can all be taken so. */
void gpu_heads(gpu *g, gpu_run *run, gpu_kernel kernel, fm_tensor q, uint32_t heads, bool fours,
               const fm_dropout *dropout, const fm_packing *packing, double work);

/* ---- forward.c, backward.c: entries of the table ---- */

void gpu_embedding(fm_backend *b, fm_tensor out, fm_tensor word, fm_tensor position, fm_tensor ids,
                   const fm_packing *packing);
void gpu_layer_norm(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor residual, fm_tensor gamma, fm_tensor beta,
                    float epsilon, fm_tensor stats, const fm_dropout *before, const fm_dropout *after,
                    const fm_packing *packing);
void gpu_linear(fm_backend *b, fm_tensor y, fm_tensor x, fm_tensor w, fm_tensor bias, fm_epilogue epilogue,
                fm_tensor pre);
void gpu_attention(fm_backend *b, fm_tensor out, fm_tensor q, fm_tensor k, fm_tensor v, uint32_t heads,
                   const fm_dropout *dropout, const fm_packing *packing);
void gpu_gather(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor rows);
void gpu_mlm_loss(fm_backend *b, fm_tensor logits, fm_tensor labels, fm_tensor result, float scale);

void gpu_embedding_backward(fm_backend *b, fm_tensor d_word, fm_tensor d_position, fm_tensor d_out, fm_tensor ids,
                            fm_tensor order, fm_tensor segments, const fm_packing *packing);
void gpu_layer_norm_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_residual, fm_tensor d_gamma, fm_tensor d_beta,
                             fm_tensor d_out, fm_tensor sum, fm_tensor gamma, fm_tensor stats, const fm_dropout *before,
                             const fm_dropout *after, const fm_packing *packing);
void gpu_linear_backward(fm_backend *b, fm_tensor d_x, bool add, fm_tensor d_w, fm_tensor d_bias, fm_tensor d_y,
                         fm_tensor x, fm_tensor w);
void gpu_gelu_backward(fm_backend *b, fm_tensor d, fm_tensor pre);
void gpu_attention_backward(fm_backend *b, fm_tensor d_q, fm_tensor d_k, fm_tensor d_v, fm_tensor d_out, fm_tensor q,
                            fm_tensor k, fm_tensor v, uint32_t heads, const fm_dropout *dropout,
                            const fm_packing *packing);
void gpu_gather_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_out, fm_tensor rows);
void gpu_sum_squares(fm_backend *b, fm_tensor squares, fm_tensor x);
void gpu_adamw(fm_backend *b, fm_tensor parameter, fm_tensor gradient, fm_tensor first, fm_tensor second,
               fm_tensor squares, const fm_adamw *options);

/* y (M, N) = (add ? y : 0) + a b, where a is (M, K), or (K, M) if `turn_a`, and b is (N, K), or (K, N) if `plain_b`.
 * bias, pre: optional, as for linear. Split where a binding's limit asks for it. */
typedef struct gpu_product {
    fm_tensor y, a, b, bias, pre;
    uint32_t m, n, k;
    bool turn_a, plain_b, add, gelu;
} gpu_product;
void gpu_multiply(gpu *g, const gpu_product *p);

#endif
