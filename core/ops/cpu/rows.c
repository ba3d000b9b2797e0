/* rows.c - the operations of the cpu backend that go row by row or element by element: embeddings, layer norm with its
 * dropout and residual, gather, the loss, the optimizer. Sums across rows are made in chunks of fixed size and added in
 * order, so the threads do not change them. */
#include "ops/cpu/cpu.h"

#include <math.h>
#include <string.h>

#define CHUNK 64            /* rows of a partial sum */
#define SPAN ((size_t)8192) /* elements of a task that has no rows */

static size_t chunks_of(size_t rows, size_t chunk)
{
    return (rows + chunk - 1) / chunk;
}

/* ---- dropout ---- */

fm_drop_stream cpu_drop_row(const fm_dropout *dropout, uint32_t number, uint32_t row, size_t width)
{
    /* A step has far fewer than 2^20 sequences and a model fewer than 2^12 places of dropout. */
    return (fm_drop_stream){{dropout->seed, dropout->step},
                            dropout->op << 20 | (number & 0xfffffu),
                            row * (uint32_t)((width + 3) / 4 * 4),
                            (uint32_t)(dropout->rate * 65536.0f + 0.5f),
                            1.0f / (1.0f - dropout->rate)};
}

static const fm_dropout *active(const fm_dropout *dropout)
{
    return dropout && dropout->rate > 0.0f ? dropout : NULL;
}

static void drop_row(const cpu *c, const fm_dropout *dropout, const uint32_t *place, size_t row, float *x, size_t width)
{
    if (!dropout) return;
    fm_drop_stream stream = cpu_drop_row(dropout, place[2 * row], place[2 * row + 1], width);
    c->kernels->dropout(width, x, &stream);
}

/* ---- embeddings ---- */

typedef struct embed {
    cpu *cpu;
    size_t rows, width, segments, sequences;
    float *out, *d_word, *d_position;
    const float *word, *position, *d_out;
    const cpu_buffer *words; /* as int8, or packed, instead of word */
    const uint32_t *ids, *place, *order, *ends, *starts;
} embed;

static void embed_task(void *context, size_t index, int worker)
{
    (void)worker;
    const embed *x = context;
    size_t end = smaller((index + 1) * CHUNK, x->rows);
    for (size_t t = index * CHUNK; t < end; t++) {
        float *out = x->out + t * x->width;
        size_t id = x->ids[t];
        if (!x->words) memcpy(out, x->word + id * x->width, x->width * sizeof(float));
        else if (x->words->held) cpu_held_row(x->cpu, x->words, id, out);
        else cpu_int8_row(x->width, out, x->words->int8 + id * x->width, x->words->scales[id]);
        x->cpu->kernels->add(x->width, out, x->position + x->place[2 * t + 1] * x->width);
    }
}

void cpu_embedding(fm_backend *b, fm_tensor out, fm_tensor word, fm_tensor position, fm_tensor ids,
                   const fm_packing *packing)
{
    cpu *c = (cpu *)b;
    const cpu_buffer *words = &c->buffers[word.buffer];
    bool floats = !words->int8 && !words->held;
    embed x = {.cpu = c,
               .rows = out.rows,
               .width = out.cols,
               .out = cpu_floats(c, out),
               .word = floats ? cpu_floats(c, word) : NULL,
               .words = floats ? NULL : words,
               .position = cpu_floats(c, position),
               .ids = cpu_words(c, ids),
               .place = cpu_words(c, packing->place)};
    fm_pool_run(c->pool, chunks_of(x.rows, CHUNK), embed_task, &x);
}

/* The first tasks add rows of equal ids, CHUNK segments each; then comes one a position. */
static void embed_backward_task(void *context, size_t index, int worker)
{
    (void)worker;
    const embed *x = context;
    size_t width = x->width, word_tasks = chunks_of(x->segments, CHUNK);
    if (index < word_tasks) {
        size_t end = smaller((index + 1) * CHUNK, x->segments);
        for (size_t s = index * CHUNK; s < end; s++) {
            float *to = x->d_word + x->ids[x->order[x->ends[s]]] * width;
            for (size_t i = x->ends[s]; i < x->ends[s + 1]; i++)
                x->cpu->kernels->add(width, to, x->d_out + x->order[i] * width);
        }
        return;
    }
    size_t position = index - word_tasks;
    for (size_t s = 0; s < x->sequences; s++)
        if (position < x->starts[s + 1] - x->starts[s])
            x->cpu->kernels->add(width, x->d_position + position * width, x->d_out + (x->starts[s] + position) * width);
}

void cpu_embedding_backward(fm_backend *b, fm_tensor d_word, fm_tensor d_position, fm_tensor d_out, fm_tensor ids,
                            fm_tensor order, fm_tensor segments, const fm_packing *packing)
{
    cpu *c = (cpu *)b;
    embed x = {.cpu = c,
               .width = d_out.cols,
               .segments = segments.rows - 1,
               .sequences = packing->starts.rows - 1,
               .d_word = cpu_floats(c, d_word),
               .d_position = cpu_floats(c, d_position),
               .d_out = cpu_floats(c, d_out),
               .ids = cpu_words(c, ids),
               .order = cpu_words(c, order),
               .ends = cpu_words(c, segments),
               .starts = cpu_words(c, packing->starts)};
    fm_pool_run(c->pool, chunks_of(x.segments, CHUNK) + packing->longest, embed_backward_task, &x);
}

/* ---- layer norm ---- */

typedef struct norm {
    cpu *cpu;
    size_t rows, width;
    float *out, *x, *stats, *d_x, *d_residual, *d_out, *partial;
    const float *residual, *gamma, *beta;
    float epsilon;
    const fm_dropout *before, *after;
    const uint32_t *place;
} norm;

static void norm_task(void *context, size_t index, int worker)
{
    (void)worker;
    const norm *n = context;
    const fm_kernels *kernels = n->cpu->kernels;
    size_t end = smaller((index + 1) * 16, n->rows);
    for (size_t t = index * 16; t < end; t++) {
        float *x = n->x + t * n->width, *out = n->out + t * n->width;
        drop_row(n->cpu, n->before, n->place, t, x, n->width);
        if (n->residual) kernels->add(n->width, x, n->residual + t * n->width);
        kernels->layer_norm(n->width, out, x, n->gamma, n->beta, n->epsilon, n->stats + 2 * t);
        drop_row(n->cpu, n->after, n->place, t, out, n->width);
    }
}

void cpu_layer_norm(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor residual, fm_tensor gamma, fm_tensor beta,
                    float epsilon, fm_tensor stats, const fm_dropout *before, const fm_dropout *after,
                    const fm_packing *packing)
{
    cpu *c = (cpu *)b;
    norm n = {.cpu = c,
              .rows = x.rows,
              .width = x.cols,
              .out = cpu_floats(c, out),
              .x = cpu_floats(c, x),
              .stats = cpu_floats(c, stats),
              .residual = residual.buffer ? cpu_floats(c, residual) : NULL,
              .gamma = cpu_floats(c, gamma),
              .beta = cpu_floats(c, beta),
              .epsilon = epsilon,
              .before = active(before),
              .after = active(after)};
    if (n.before || n.after) n.place = cpu_words(c, packing->place);
    fm_pool_run(c->pool, chunks_of(n.rows, 16), norm_task, &n);
}

static void norm_backward_task(void *context, size_t index, int worker)
{
    (void)worker;
    const norm *n = context;
    size_t width = n->width, end = smaller((index + 1) * CHUNK, n->rows);
    float *d_gamma = n->partial + 2 * index * width, *d_beta = d_gamma + width;
    memset(d_gamma, 0, 2 * width * sizeof(float));
    for (size_t t = index * CHUNK; t < end; t++) {
        float *d_out = n->d_out + t * width, *d_x = n->d_x + t * width;
        drop_row(n->cpu, n->after, n->place, t, d_out, width);
        n->cpu->kernels->layer_norm_backward(width, d_x, d_gamma, d_beta, d_out, n->x + t * width, n->gamma,
                                             n->stats + 2 * t);
        if (n->d_residual) memcpy(n->d_residual + t * width, d_x, width * sizeof(float));
        drop_row(n->cpu, n->before, n->place, t, d_x, width);
    }
}

void cpu_layer_norm_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_residual, fm_tensor d_gamma, fm_tensor d_beta,
                             fm_tensor d_out, fm_tensor sum, fm_tensor gamma, fm_tensor stats, const fm_dropout *before,
                             const fm_dropout *after, const fm_packing *packing)
{
    cpu *c = (cpu *)b;
    size_t width = sum.cols, chunks = chunks_of(sum.rows, CHUNK);
    if (!cpu_scratch(c, chunks, 2 * width)) return;
    norm n = {.cpu = c,
              .rows = sum.rows,
              .width = width,
              .x = cpu_floats(c, sum),
              .stats = cpu_floats(c, stats),
              .d_x = cpu_floats(c, d_x),
              .d_residual = d_residual.buffer ? cpu_floats(c, d_residual) : NULL,
              .d_out = cpu_floats(c, d_out),
              .partial = c->scratch,
              .gamma = cpu_floats(c, gamma),
              .before = active(before),
              .after = active(after)};
    if (n.before || n.after) n.place = cpu_words(c, packing->place);
    fm_pool_run(c->pool, chunks, norm_backward_task, &n);
    for (size_t i = 0; i < chunks; i++) {
        c->kernels->add(width, cpu_floats(c, d_gamma), n.partial + 2 * i * width);
        c->kernels->add(width, cpu_floats(c, d_beta), n.partial + (2 * i + 1) * width);
    }
}

/* ---- column sums (the gradient of a bias) ---- */

typedef struct columns {
    cpu *cpu;
    size_t rows, cols;
    const float *x;
    float *partial;
} columns;

static void columns_task(void *context, size_t index, int worker)
{
    (void)worker;
    const columns *n = context;
    float *partial = n->partial + index * n->cols;
    memset(partial, 0, n->cols * sizeof(float));
    size_t end = smaller((index + 1) * CHUNK, n->rows);
    for (size_t t = index * CHUNK; t < end; t++) n->cpu->kernels->add(n->cols, partial, n->x + t * n->cols);
}

void cpu_column_sums(cpu *c, float *to, const float *x, size_t rows, size_t cols)
{
    size_t chunks = chunks_of(rows, CHUNK);
    if (!cpu_scratch(c, chunks, cols)) return;
    columns n = {c, rows, cols, x, c->scratch};
    fm_pool_run(c->pool, chunks, columns_task, &n);
    for (size_t i = 0; i < chunks; i++) c->kernels->add(cols, to, n.partial + i * cols);
}

/* ---- elements ---- */

typedef struct pair {
    cpu *cpu;
    size_t elements;
    float *to;
    const float *from;
} pair;

static void gelu_task(void *context, size_t index, int worker)
{
    (void)worker;
    const pair *x = context;
    size_t start = index * SPAN;
    x->cpu->kernels->gelu_backward(smaller(SPAN, x->elements - start), x->to + start, x->from + start);
}

void cpu_gelu_backward(fm_backend *b, fm_tensor d, fm_tensor pre)
{
    cpu *c = (cpu *)b;
    pair x = {c, (size_t)d.rows * d.cols, cpu_floats(c, d), cpu_floats(c, pre)};
    fm_pool_run(c->pool, chunks_of(x.elements, SPAN), gelu_task, &x);
}

void cpu_gather(fm_backend *b, fm_tensor out, fm_tensor x, fm_tensor rows)
{
    cpu *c = (cpu *)b;
    const uint32_t *from = cpu_words(c, rows);
    for (size_t i = 0; i < out.rows; i++)
        memcpy(cpu_floats(c, out) + i * out.cols, cpu_floats(c, x) + (size_t)from[i] * x.cols, x.cols * sizeof(float));
}

void cpu_gather_backward(fm_backend *b, fm_tensor d_x, fm_tensor d_out, fm_tensor rows)
{
    cpu *c = (cpu *)b;
    const uint32_t *to = cpu_words(c, rows);
    memset(cpu_floats(c, d_x), 0, (size_t)d_x.rows * d_x.cols * sizeof(float));
    for (size_t i = 0; i < d_out.rows; i++)
        memcpy(cpu_floats(c, d_x) + (size_t)to[i] * d_x.cols, cpu_floats(c, d_out) + i * d_out.cols,
               d_x.cols * sizeof(float));
}

/* ---- the loss ---- */

typedef struct loss {
    cpu *cpu;
    size_t vocab;
    float *logits, *result, scale;
    const uint32_t *labels;
} loss;

static void loss_task(void *context, size_t index, int worker)
{
    (void)worker;
    const loss *x = context;
    float *row = x->logits + index * x->vocab, at_label = row[x->labels[index]];
    uint32_t above;
    float log_sum = x->cpu->kernels->log_sum_exp(x->vocab, row, at_label, &above);
    x->result[2 * index] = log_sum - at_label;
    x->result[2 * index + 1] = (float)above;
    if (x->scale == 0.0f) return;
    x->cpu->kernels->exp_shift(x->vocab, row, 1.0f, log_sum, x->scale);
    row[x->labels[index]] -= x->scale;
}

void cpu_mlm_loss(fm_backend *b, fm_tensor logits, fm_tensor labels, fm_tensor result, float scale)
{
    cpu *c = (cpu *)b;
    loss x = {c, logits.cols, cpu_floats(c, logits), cpu_floats(c, result), scale, cpu_words(c, labels)};
    fm_pool_run(c->pool, logits.rows, loss_task, &x);
}

/* ---- the optimizer ---- */

typedef struct sum {
    cpu *cpu;
    size_t elements;
    const float *x;
    double *partial;
} sum;

static void squares_task(void *context, size_t index, int worker)
{
    (void)worker;
    const sum *x = context;
    size_t start = index * SPAN;
    x->partial[index] = x->cpu->kernels->squares(smaller(SPAN, x->elements - start), x->x + start);
}

void cpu_sum_squares(fm_backend *b, fm_tensor squares, fm_tensor x)
{
    cpu *c = (cpu *)b;
    size_t elements = (size_t)x.rows * x.cols, spans = chunks_of(elements, SPAN);
    if (!cpu_scratch(c, spans, 2)) return;
    sum s = {c, elements, cpu_floats(c, x), (double *)(void *)c->scratch};
    fm_pool_run(c->pool, spans, squares_task, &s);
    double total = 0.0;
    for (size_t i = 0; i < spans; i++) total += s.partial[i];
    *cpu_floats(c, squares) = (float)total;
}

typedef struct update {
    cpu *cpu;
    size_t elements;
    float *p, *m, *v;
    const float *g;
    const fm_adamw *options;
    float gain, step_size, root;
} update;

static void update_task(void *context, size_t index, int worker)
{
    (void)worker;
    const update *u = context;
    const fm_adamw *o = u->options;
    size_t start = index * SPAN;
    u->cpu->kernels->adamw(smaller(SPAN, u->elements - start), u->p + start, u->g + start, u->m + start, u->v + start,
                           u->gain, o->beta1, o->beta2, o->epsilon, u->step_size, u->root,
                           1.0f - o->learning_rate * o->weight_decay);
}

/* By squaring: the tables of pow() would be a noticeable part of a WebAssembly module. */
static double power(double base, uint32_t exponent)
{
    double result = 1.0;
    for (; exponent > 0; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
    return result;
}

void cpu_adamw(fm_backend *b, fm_tensor parameter, fm_tensor gradient, fm_tensor first, fm_tensor second,
               fm_tensor squares, const fm_adamw *options)
{
    cpu *c = (cpu *)b;
    float unscale = options->scale > 0.0f ? 1.0f / options->scale : 1.0f;
    float norm_of_all = sqrtf(*cpu_floats(c, squares)) * unscale;
    if (!isfinite(norm_of_all)) return;
    float gain = options->clip > 0.0f ? options->clip / (norm_of_all + 1e-6f) : 1.0f;
    update u = {c,
                (size_t)parameter.rows * parameter.cols,
                cpu_floats(c, parameter),
                cpu_floats(c, first),
                cpu_floats(c, second),
                cpu_floats(c, gradient),
                options,
                unscale * (gain < 1.0f ? gain : 1.0f),
                (float)(options->learning_rate / (1.0 - power(options->beta1, options->step))),
                (float)(1.0 / sqrt(1.0 - power(options->beta2, options->step)))};
    fm_pool_run(c->pool, chunks_of(u.elements, SPAN), update_task, &u);
}
