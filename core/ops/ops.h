/* ops.h - the door of core/ops: tensors as handles, and the table of operations a backend fills in.
 *
 * The model, the trainer and the tasks speak to this table and never to an instruction set or a device. A tensor is a
 * handle, not a pointer; no operation returns a value or fails on its own: a backend keeps its first error and gives
 * it back from finish(). What an operation computes (loss, norms) stays in tensors until read() asks for it, and is
 * in host memory only after finish(). So a backend may execute at once (cpu), queue (webgpu) or only note what it was
 * asked (record).
 *
 * Shapes are (rows, cols), row-major, without gaps. T tokens, H hidden, V vocabulary, S sequences packed end to end.
 */
#ifndef FM_OPS_H
#define FM_OPS_H

#include "base/base.h"

/* FM_I8 and FM_F16 are of weights alone. */
typedef enum fm_type { FM_F32, FM_U32, FM_I8, FM_F16 } fm_type;

/* buffer 0 is no tensor: operations take it where an operand is optional. */
typedef struct fm_tensor {
    uint32_t buffer;
    fm_type type;
    uint32_t rows, cols;
    uint64_t offset; /* elements from the start of the buffer */
} fm_tensor;

#define FM_NO_TENSOR ((fm_tensor){0, FM_F32, 0, 0, 0})

/* Inverted dropout (Srivastava et al. 2014): kept values are divided by 1 - rate. Whether an element is kept is a
 * pure function of seed, step, op, the sequence's number in the step, and the element's place in the sequence, so
 * packing, micro-batches and devices agree. rate 0 is no dropout. */
typedef struct fm_dropout {
    float rate;
    uint32_t seed, step, op;
} fm_dropout;

/* How the T packed rows fall into S sequences. starts is (S + 1, 1) u32, starts[0] = 0, starts[S] = T; the sequences'
 * numbers in the step are first, first + 1 and so on. place is (T, 2) u32: number and position of each row. */
typedef struct fm_packing {
    fm_tensor starts, place;
    uint32_t first;
    uint32_t longest; /* tokens of the longest sequence */
} fm_packing;

/* AdamW (Loshchilov and Hutter 2019) as torch.optim.AdamW computes it; step counts from 1. Gradients are first
 * multiplied by min(1, clip / (norm + 1e-6)) where norm = sqrt(squares[0]); clip 0 is none. Where the norm is not
 * finite nothing is changed. scale: what the gradients, and with them the norm, have been multiplied with, which is
 * undone first; 0 is 1. */
typedef struct fm_adamw {
    float learning_rate, beta1, beta2, epsilon, weight_decay, clip;
    uint32_t step;
    float scale;
} fm_adamw;

/* Of matrix products. bf16: the operands are rounded to it (to nearest, ties to even), products and sums are f32. f16:
 * the same with the operands of linear and its backward twin alone, on backends that say so (fm_backend); numbers
 * beyond f16 become its largest, and the next sum_squares() infinite. */
typedef enum fm_precision {
    FM_PRECISION_F32,
    FM_PRECISION_BF16,
    FM_PRECISIONS, /* of the cpu */
    FM_PRECISION_F16 = FM_PRECISIONS
} fm_precision;

typedef enum fm_epilogue { FM_EPILOGUE_NONE, FM_EPILOGUE_GELU } fm_epilogue;

typedef struct fm_backend fm_backend;

typedef struct fm_ops {
    const char *name;
    bool later; /* finish() may give FM_PENDING */
    void (*destroy)(fm_backend *b);

    /* Memory: made while planning, before the first operation. */
    fm_status (*create)(fm_backend *b, size_t elements, uint32_t *buffer, fm_error *err);
    /* A buffer over host memory that stays and does not change; the backend may keep a form of it that suits it.
     * Backends that compute on a device copy it at once. */
    fm_status (*import)(fm_backend *b, const float *data, size_t elements, uint32_t *buffer, fm_error *err);
    /* The same for a matrix of type FM_I8: row i holds data[i * cols + j] * scales[i]. */
    fm_status (*import_int8)(fm_backend *b, const int8_t *data, const float *scales, uint32_t rows, uint32_t cols,
                             uint32_t *buffer, fm_error *err);
    /* The same for a matrix of type FM_F16. NULL in backends that do not compute with it. */
    fm_status (*import_half)(fm_backend *b, const uint16_t *data, uint32_t rows, uint32_t cols, uint32_t *buffer,
                             fm_error *err);
    /* A matrix that comes row by row and that the host does not keep, for inference alone: it is held in the form that
     * products take it in, with f32 products, and nothing else. put() takes each row, as floats, or for FM_I8 as int8;
     * floats may be put again, in the place of the former ones. scales (rows) are as for import_int8 and may be filled
     * until seal(), which makes the matrix ready and says its type: FM_F32 also where a product of the integers would
     * not be exact. take() gives a row back, in the type that it has now. NULL in backends that hold nothing: all but
     * the cpu. */
    fm_status (*hold)(fm_backend *b, fm_type type, uint32_t rows, uint32_t cols, const float *scales, uint32_t *buffer,
                      fm_error *err);
    void (*put)(fm_backend *b, uint32_t buffer, uint32_t row, const void *from);
    fm_status (*seal)(fm_backend *b, uint32_t buffer, fm_type *type, fm_error *err);
    void (*take)(fm_backend *b, uint32_t buffer, uint32_t row, void *to);
    void (*release)(fm_backend *b, uint32_t buffer);

    /* Host to tensor; the source is free again on return. */
    void (*write)(fm_backend *b, fm_tensor to, const void *from);
    /* Tensor to host; `to` holds the values after finish(), and must stay until then, or until forget(). */
    void (*read)(fm_backend *b, fm_tensor from, void *to);
    /* Gives up reads into this memory. */
    void (*forget)(fm_backend *b, const void *memory, size_t size);
    /* Waits for everything asked for so far; the first error since the last finish(). A backend that cannot wait gives
     * FM_PENDING until all reads are done: the caller returns to its host, which waits, and asks again. More may be
     * asked of the backend in between. */
    fm_status (*finish)(fm_backend *b, fm_error *err);
    /* Only where operations go on beside the caller, else NULL: begins what was asked for so far. */
    void (*submit)(fm_backend *b);

    void (*zero)(fm_backend *b, fm_tensor x);

    /* out (T, H) = word[ids] + position[place.position]; word may be FM_I8 or FM_F16. */
    void (*embedding)(fm_backend *b, fm_tensor out, fm_tensor word, fm_tensor position, fm_tensor ids,
                      const fm_packing *packing);
    /* d_word[ids[t]] += d_out[t], d_position[p] += d_out[t]. order (T, 1) lists tokens sorted by id, then by place, so
     * that a device without float atomics sums each row alone; segments (n + 1, 1) are the starts of equal ids in
     * it. */
    void (*embedding_backward)(fm_backend *b, fm_tensor d_word, fm_tensor d_position, fm_tensor d_out, fm_tensor ids,
                               fm_tensor order, fm_tensor segments, const fm_packing *packing);

    /* x becomes dropout(x) + residual, each optional; out = after((x - mean) * rstd * gamma + beta), the mean over H;
     * stats (T, 2) = mean, rstd. gamma, beta (1, H). before, after: dropout, NULL for none; both need packing. */
    void (*layer_norm)(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor residual, fm_tensor gamma, fm_tensor beta,
                       float epsilon, fm_tensor stats, const fm_dropout *before, const fm_dropout *after,
                       const fm_packing *packing);
    /* From d_out, which `after` changes in place: d_residual (T, H; optional) = the gradient of the residual, and d_x =
     * that through `before`. d_gamma, d_beta are added to. sum is what the forward pass left in x. */
    void (*layer_norm_backward)(fm_backend *b, fm_tensor d_x, fm_tensor d_residual, fm_tensor d_gamma, fm_tensor d_beta,
                                fm_tensor d_out, fm_tensor sum, fm_tensor gamma, fm_tensor stats,
                                const fm_dropout *before, const fm_dropout *after, const fm_packing *packing);

    /* Of the products of linear, attention and their backward twins from here on; f32 until told otherwise. */
    void (*precision)(fm_backend *b, fm_precision precision);
    /* y (M, N) = epilogue(x (M, K) w (N, K)^T + bias (1, N)). With GELU (erf form, Hendrycks and Gimpel 2016) the
     * argument is kept in pre (M, N) if given. w may be FM_F16, or FM_I8 without pre; with that the cpu rounds each
     * row of x to 255 levels between -max and max of its magnitudes, and the sums of products are exact. */
    void (*linear)(fm_backend *b, fm_tensor y, fm_tensor x, fm_tensor w, fm_tensor bias, fm_epilogue epilogue,
                   fm_tensor pre);
    /* d_x (M, K) = d_y w, added to if add; d_w += d_y^T x; d_bias += column sums of d_y. Each output is optional. */
    void (*linear_backward)(fm_backend *b, fm_tensor d_x, bool add, fm_tensor d_w, fm_tensor d_bias, fm_tensor d_y,
                            fm_tensor x, fm_tensor w);
    /* d (M, N) *= gelu'(pre) */
    void (*gelu_backward)(fm_backend *b, fm_tensor d, fm_tensor pre);

    /* Softmax attention inside each sequence (Vaswani et al. 2017), scores / sqrt(H / heads), dropout on the
     * probabilities, all (T, H). The backward pass computes them anew: a quotient of exp(score) and a stored sum would
     * carry the sum's rounding, which near-certain attention magnifies. */
    void (*attention)(fm_backend *b, fm_tensor out, fm_tensor q, fm_tensor k, fm_tensor v, uint32_t heads,
                      const fm_dropout *dropout, const fm_packing *packing);
    void (*attention_backward)(fm_backend *b, fm_tensor d_q, fm_tensor d_k, fm_tensor d_v, fm_tensor d_out, fm_tensor q,
                               fm_tensor k, fm_tensor v, uint32_t heads, const fm_dropout *dropout,
                               const fm_packing *packing);

    /* out (M, H) = x[rows]; and d_x = 0 elsewhere, d_x[rows] = d_out. Rows are distinct. */
    void (*gather)(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor rows);
    void (*gather_backward)(fm_backend *b, fm_tensor d_x, fm_tensor d_out, fm_tensor rows);

    /* Cross-entropy of logits (M, V) against labels (M, 1): result (M, 2) = loss in nats, and how many logits exceed
     * the label's. With scale != 0 the logits become their gradient, scale * (softmax - one_hot). */
    void (*mlm_loss)(fm_backend *b, fm_tensor logits, fm_tensor labels, fm_tensor result, float scale);

    /* squares (1, 1) = sum of x squared */
    void (*sum_squares)(fm_backend *b, fm_tensor squares, fm_tensor x);
    void (*adamw)(fm_backend *b, fm_tensor parameter, fm_tensor gradient, fm_tensor first, fm_tensor second,
                  fm_tensor squares, const fm_adamw *options);
} fm_ops;

struct fm_backend {
    const fm_ops *ops;
    bool half; /* multiplies in f16 */
};

/* Instruction sets: NULL or "auto" takes FILLMASK_ISA from the environment, else the best this machine has.
 * threads as in fm_pool_create. */
fm_status fm_cpu_create(fm_backend **backend, const char *instruction_set, int threads, fm_error *err);
const char *fm_cpu_instruction_set(const fm_backend *backend);
fm_pool *fm_cpu_pool(fm_backend *backend);
/* Names this build knows, best first, NULL-terminated; and whether this machine runs one. */
const char *const *fm_cpu_instruction_sets(void);
bool fm_cpu_has(const char *instruction_set);
/* Whether it computes what the scalar reference does, on a few numbers. */
bool fm_cpu_check(const char *instruction_set);
/* Multiply-add peak of the backend's threads in GFLOP/s, from loops that stay in registers. */
double fm_cpu_peak(fm_backend *backend, fm_precision precision);
/* The same of int8 products, in GOP/s: tiles on numbers that stay in the first cache. */
double fm_cpu_peak_int8(fm_backend *backend);
/* What its threads read and write of memory, in GB/s, when they add one long row to another. 0 without memory. */
double fm_cpu_bandwidth(fm_backend *backend);

/* The webgpu backend (WebAssembly only), which appends commands to lists that the host plays; see
 * core/ops/webgpu/webgpu.h. limit: bytes of a binding at most. waits: the host waits in finish(), which then is never
 * pending. */
fm_status fm_webgpu_create(fm_backend **backend, uint32_t limit, bool waits, fm_error *err);

/* The recording backend (tests): executes nothing, writes one line an operation. The text lives as long as the
 * backend. */
fm_status fm_record_create(fm_backend **backend, fm_error *err);
const char *fm_record_text(const fm_backend *backend);

/* The profiling backend (benchmarks) around one that executes at once and must outlive its use; destroying the profile
 * destroys that one too. */
#define FM_MOST_PROFILED 64
typedef struct fm_profile_entry {
    const char *name;    /* of the operation */
    uint32_t rows, cols; /* of the weights, where there are */
    uint64_t calls;
    double seconds;
    double operations; /* floating-point, of matrix products */
    double bytes;      /* of the operands, each counted as often as it must be read or written */
} fm_profile_entry;
fm_status fm_profile_create(fm_backend **backend, fm_backend *inner, fm_error *err);
/* Since the beginning, or the last clearing; in the order of their first calls. */
const fm_profile_entry *fm_profile_entries(const fm_backend *backend, size_t *count);
void fm_profile_clear(fm_backend *backend);

#endif
