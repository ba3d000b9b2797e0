/* record.c - the recording backend: it computes nothing and writes one line for each operation it is asked for, with
 * the shapes of the operands. Tests read from it what a model asks of a backend. */
#include "ops/ops.h"

#include <stdlib.h>

typedef struct record {
    fm_backend backend;
    uint32_t buffers;
    fm_buffer text;
} record;

static void begin(fm_backend *b, const char *operation)
{
    fm_buffer_text(&((record *)b)->text, operation);
}

static void operand(fm_backend *b, const char *name, fm_tensor x)
{
    fm_buffer *text = &((record *)b)->text;
    if (!x.buffer) fm_buffer_format(text, " %s=none", name);
    else
        fm_buffer_format(text, " %s=#%u+%llu(%ux%u)%s", name, x.buffer, (unsigned long long)x.offset, x.rows, x.cols,
                         x.type == FM_I8 ? "int8" : "");
}

static void number(fm_backend *b, const char *name, double value)
{
    fm_buffer_format(&((record *)b)->text, " %s=%g", name, value);
}

static void drop(fm_backend *b, const char *name, const fm_dropout *dropout)
{
    if (dropout && dropout->rate > 0.0f)
        fm_buffer_format(&((record *)b)->text, " %s=%g@%u", name, (double)dropout->rate, dropout->op);
}

static void packed(fm_backend *b, const fm_packing *packing)
{
    operand(b, "starts", packing->starts);
    operand(b, "place", packing->place);
    number(b, "longest", packing->longest);
}

static void end(fm_backend *b)
{
    fm_buffer_text(&((record *)b)->text, "\n");
}

static void destroy(fm_backend *b)
{
    record *r = (record *)b;
    fm_buffer_free(&r->text);
    free(r);
}

static fm_status create(fm_backend *b, size_t elements, uint32_t *buffer, fm_error *err)
{
    (void)err;
    *buffer = ++((record *)b)->buffers;
    fm_buffer_format(&((record *)b)->text, "create #%u elements=%zu\n", *buffer, elements);
    return FM_OK;
}

static fm_status import(fm_backend *b, const float *data, size_t elements, uint32_t *buffer, fm_error *err)
{
    (void)data;
    (void)err;
    *buffer = ++((record *)b)->buffers;
    fm_buffer_format(&((record *)b)->text, "import #%u elements=%zu\n", *buffer, elements);
    return FM_OK;
}

static fm_status import_int8(fm_backend *b, const int8_t *data, const float *scales, uint32_t rows, uint32_t cols,
                             uint32_t *buffer, fm_error *err)
{
    (void)data;
    (void)scales;
    (void)err;
    *buffer = ++((record *)b)->buffers;
    fm_buffer_format(&((record *)b)->text, "import_int8 #%u(%ux%u)\n", *buffer, rows, cols);
    return FM_OK;
}

static void release(fm_backend *b, uint32_t buffer)
{
    fm_buffer_format(&((record *)b)->text, "release #%u\n", buffer);
}

static void write_tensor(fm_backend *b, fm_tensor to, const void *from)
{
    (void)from;
    begin(b, "write");
    operand(b, "to", to);
    end(b);
}

static void read_tensor(fm_backend *b, fm_tensor from, void *to)
{
    (void)to;
    begin(b, "read");
    operand(b, "from", from);
    end(b);
}

static void forget(fm_backend *b, const void *memory, size_t size)
{
    (void)b;
    (void)memory;
    (void)size;
}

static fm_status finish(fm_backend *b, fm_error *err)
{
    begin(b, "finish");
    end(b);
    const fm_buffer *text = &((record *)b)->text;
    return text->failed ? fm_fail_memory(err, text->capacity, "the record of operations") : FM_OK;
}

static void zero(fm_backend *b, fm_tensor x)
{
    begin(b, "zero");
    operand(b, "x", x);
    end(b);
}

static void embedding(fm_backend *b, fm_tensor out, fm_tensor word, fm_tensor position, fm_tensor ids,
                      const fm_packing *packing)
{
    begin(b, "embedding");
    operand(b, "out", out);
    operand(b, "word", word);
    operand(b, "position", position);
    operand(b, "ids", ids);
    packed(b, packing);
    end(b);
}

static void embedding_backward(fm_backend *b, fm_tensor d_word, fm_tensor d_position, fm_tensor d_out, fm_tensor ids,
                               fm_tensor order, fm_tensor segments, const fm_packing *packing)
{
    begin(b, "embedding_backward");
    operand(b, "d_word", d_word);
    operand(b, "d_position", d_position);
    operand(b, "d_out", d_out);
    operand(b, "ids", ids);
    operand(b, "order", order);
    operand(b, "segments", segments);
    packed(b, packing);
    end(b);
}

static void layer_norm(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor residual, fm_tensor gamma, fm_tensor beta,
                       float epsilon, fm_tensor stats, const fm_dropout *before, const fm_dropout *after,
                       const fm_packing *packing)
{
    begin(b, "layer_norm");
    operand(b, "out", out);
    operand(b, "x", x);
    operand(b, "residual", residual);
    operand(b, "gamma", gamma);
    operand(b, "beta", beta);
    number(b, "epsilon", (double)epsilon);
    operand(b, "stats", stats);
    drop(b, "before", before);
    drop(b, "after", after);
    packed(b, packing);
    end(b);
}

static void layer_norm_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_residual, fm_tensor d_gamma, fm_tensor d_beta,
                                fm_tensor d_out, fm_tensor sum, fm_tensor gamma, fm_tensor stats,
                                const fm_dropout *before, const fm_dropout *after, const fm_packing *packing)
{
    begin(b, "layer_norm_backward");
    operand(b, "d_x", d_x);
    operand(b, "d_residual", d_residual);
    operand(b, "d_gamma", d_gamma);
    operand(b, "d_beta", d_beta);
    operand(b, "d_out", d_out);
    operand(b, "sum", sum);
    operand(b, "gamma", gamma);
    operand(b, "stats", stats);
    drop(b, "before", before);
    drop(b, "after", after);
    packed(b, packing);
    end(b);
}

static void precision_of_products(fm_backend *b, fm_precision precision)
{
    static const char *const names[] = {"precision f32", "precision bf16", "precision f16"};
    begin(b, names[precision]);
    end(b);
}

static void linear(fm_backend *b, fm_tensor y, fm_tensor x, fm_tensor w, fm_tensor bias, fm_epilogue epilogue,
                   fm_tensor pre)
{
    begin(b, epilogue == FM_EPILOGUE_GELU ? "linear+gelu" : "linear");
    operand(b, "y", y);
    operand(b, "x", x);
    operand(b, "w", w);
    operand(b, "bias", bias);
    operand(b, "pre", pre);
    end(b);
}

static void linear_backward(fm_backend *b, fm_tensor d_x, bool add, fm_tensor d_w, fm_tensor d_bias, fm_tensor d_y,
                            fm_tensor x, fm_tensor w)
{
    begin(b, "linear_backward");
    operand(b, add ? "d_x+" : "d_x", d_x);
    operand(b, "d_w", d_w);
    operand(b, "d_bias", d_bias);
    operand(b, "d_y", d_y);
    operand(b, "x", x);
    operand(b, "w", w);
    end(b);
}

static void gelu_backward(fm_backend *b, fm_tensor d, fm_tensor pre)
{
    begin(b, "gelu_backward");
    operand(b, "d", d);
    operand(b, "pre", pre);
    end(b);
}

static void attention(fm_backend *b, fm_tensor out, fm_tensor q, fm_tensor k, fm_tensor v, uint32_t heads,
                      const fm_dropout *dropout, const fm_packing *packing)
{
    begin(b, "attention");
    operand(b, "out", out);
    operand(b, "q", q);
    operand(b, "k", k);
    operand(b, "v", v);
    number(b, "heads", heads);
    drop(b, "dropout", dropout);
    packed(b, packing);
    end(b);
}

static void attention_backward(fm_backend *b, fm_tensor d_q, fm_tensor d_k, fm_tensor d_v, fm_tensor d_out, fm_tensor q,
                               fm_tensor k, fm_tensor v, uint32_t heads, const fm_dropout *dropout,
                               const fm_packing *packing)
{
    begin(b, "attention_backward");
    operand(b, "d_q", d_q);
    operand(b, "d_k", d_k);
    operand(b, "d_v", d_v);
    operand(b, "d_out", d_out);
    operand(b, "q", q);
    operand(b, "k", k);
    operand(b, "v", v);
    number(b, "heads", heads);
    drop(b, "dropout", dropout);
    packed(b, packing);
    end(b);
}

static void gather(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor rows)
{
    begin(b, "gather");
    operand(b, "out", out);
    operand(b, "x", x);
    operand(b, "rows", rows);
    end(b);
}

static void gather_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_out, fm_tensor rows)
{
    begin(b, "gather_backward");
    operand(b, "d_x", d_x);
    operand(b, "d_out", d_out);
    operand(b, "rows", rows);
    end(b);
}

static void mlm_loss(fm_backend *b, fm_tensor logits, fm_tensor labels, fm_tensor result, float scale)
{
    begin(b, "mlm_loss");
    operand(b, "logits", logits);
    operand(b, "labels", labels);
    operand(b, "result", result);
    number(b, "scale", (double)scale);
    end(b);
}

static void sum_squares(fm_backend *b, fm_tensor squares, fm_tensor x)
{
    begin(b, "sum_squares");
    operand(b, "squares", squares);
    operand(b, "x", x);
    end(b);
}

static void adamw(fm_backend *b, fm_tensor parameter, fm_tensor gradient, fm_tensor first, fm_tensor second,
                  fm_tensor squares, const fm_adamw *options)
{
    begin(b, "adamw");
    operand(b, "parameter", parameter);
    operand(b, "gradient", gradient);
    operand(b, "first", first);
    operand(b, "second", second);
    operand(b, "squares", squares);
    number(b, "learning_rate", (double)options->learning_rate);
    number(b, "weight_decay", (double)options->weight_decay);
    number(b, "clip", (double)options->clip);
    number(b, "step", options->step);
    end(b);
}

static const fm_ops table = {.name = "record",
                             .destroy = destroy,
                             .create = create,
                             .import = import,
                             .import_int8 = import_int8,
                             .release = release,
                             .write = write_tensor,
                             .read = read_tensor,
                             .forget = forget,
                             .finish = finish,
                             .zero = zero,
                             .embedding = embedding,
                             .embedding_backward = embedding_backward,
                             .layer_norm = layer_norm,
                             .layer_norm_backward = layer_norm_backward,
                             .precision = precision_of_products,
                             .linear = linear,
                             .linear_backward = linear_backward,
                             .gelu_backward = gelu_backward,
                             .attention = attention,
                             .attention_backward = attention_backward,
                             .gather = gather,
                             .gather_backward = gather_backward,
                             .mlm_loss = mlm_loss,
                             .sum_squares = sum_squares,
                             .adamw = adamw};

fm_status fm_record_create(fm_backend **backend, fm_error *err)
{
    *backend = NULL;
    record *r = calloc(1, sizeof *r);
    if (!r) return fm_fail_memory(err, sizeof *r, "the recording backend");
    r->backend.ops = &table;
    *backend = &r->backend;
    return FM_OK;
}

const char *fm_record_text(const fm_backend *backend)
{
    const record *r = (const record *)backend;
    return r->text.data ? r->text.data : "";
}
