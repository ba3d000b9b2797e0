/* network.c - DistilBertForMaskedLM, forward and backward, written once against the table of core/ops: no pointers to
 * numbers, no instruction set, no device. A run is a list of stages that the caller makes one by one.
 *
 * After the last layer's attention only the masked rows go on, in both directions: nothing else of that layer reaches
 * the loss. In inference the layers share their tensors; in training each keeps its own for the backward pass. */
#include "model/batch.h"
#include "model/sources.h"

#include <stdlib.h>
#include <string.h>

#define EPSILON 1e-12f /* of every layer norm; DistilBERT has no setting for it */

/* What a layer computes. Rows are tokens, and past the attention of the last layer the masked rows. */
typedef struct layer {
    fm_tensor q, k, v, context;
    fm_tensor context_rows, input_rows; /* last layer: context and input of the masked rows */
    fm_tensor sum1, stats1, middle;     /* attention's projection + input, layer norm */
    fm_tensor pre, act;                 /* feed-forward: before and after GELU */
    fm_tensor sum2, stats2, out;
} layer;

struct fm_network {
    fm_config config;
    fm_backend *backend;
    const fm_ops *ops;
    fm_room room;
    uint32_t *buffers; /* all that this network made, to release */
    size_t buffer_count, buffer_capacity;

    /* parameters, and in training their gradients, one tensor a parameter */
    size_t count;
    fm_tensor *values, *gradients;
    fm_tensor state[4]; /* whole arrays: values, gradients, moments */
    const fm_parameters *parameters;
    fm_tensor squares;
    bool frozen_embeddings; /* what stays as it is in training */
    uint32_t frozen_layers; /* the first so many */

    /* what a batch brings */
    fm_tensor ids, starts, place, rows, row_place, labels, order, segments;
    uint32_t *host; /* for place, row_place, order and segments on their way to the backend */
    uint64_t *keys;

    fm_tensor embedded, embedded_stats, input; /* sum of embeddings; normed: the first layer's input */
    layer *layers;
    fm_tensor head_pre, head_act, head_stats, head, logits, losses;
    fm_tensor flow, spare, d_context, d_q, d_k, d_v, d_wide; /* gradients on their way back */

    /* the run */
    fm_run_options run;
    uint32_t tokens, masked, sequences, longest, first, segment_count;
    uint32_t stage, stages;
};

/* ---- memory ---- */

static fm_status keep_buffer(fm_network *n, uint32_t buffer, fm_error *err)
{
    if (n->buffer_count == n->buffer_capacity) {
        size_t capacity = n->buffer_capacity * 2 + 64;
        uint32_t *larger = realloc(n->buffers, capacity * sizeof *larger);
        if (!larger) {
            n->ops->release(n->backend, buffer);
            return fm_fail_memory(err, capacity * sizeof *larger, "the list of a network's buffers");
        }
        n->buffers = larger;
        n->buffer_capacity = capacity;
    }
    n->buffers[n->buffer_count++] = buffer;
    return FM_OK;
}

/* Makes a tensor; after a failure in *status it does nothing, so that a plan needs one check at its end. */
static fm_tensor plan(fm_network *n, fm_type type, uint32_t rows, uint32_t cols, fm_status *status, fm_error *err)
{
    fm_tensor x = {0, type, rows, cols, 0};
    if (*status) return x;
    size_t elements;
    if (!fm_size_mul(rows, cols, &elements))
        *status = fm_fail(err, FM_E_LIMIT, "A tensor of %u x %u is too large for this machine.", rows, cols);
    else *status = n->ops->create(n->backend, elements, &x.buffer, err);
    if (!*status) *status = keep_buffer(n, x.buffer, err);
    return x;
}

static void plan_layer(fm_network *n, layer *l, bool last, fm_status *status, fm_error *err)
{
    uint32_t tokens = n->room.tokens, hidden = n->config.hidden, wide = n->config.feed_forward;
    uint32_t rows = last && n->room.training ? n->room.masked : tokens;
    l->q = plan(n, FM_F32, tokens, hidden, status, err);
    l->k = plan(n, FM_F32, tokens, hidden, status, err);
    l->v = plan(n, FM_F32, tokens, hidden, status, err);
    l->context = plan(n, FM_F32, tokens, hidden, status, err);
    if (last) {
        l->context_rows = plan(n, FM_F32, n->room.masked, hidden, status, err);
        l->input_rows = plan(n, FM_F32, n->room.masked, hidden, status, err);
    }
    l->sum1 = plan(n, FM_F32, rows, hidden, status, err);
    l->stats1 = plan(n, FM_F32, rows, 2, status, err);
    l->middle = plan(n, FM_F32, rows, hidden, status, err);
    l->act = plan(n, FM_F32, rows, wide, status, err);
    if (n->room.training) l->pre = plan(n, FM_F32, rows, wide, status, err);
    l->sum2 = plan(n, FM_F32, rows, hidden, status, err);
    l->stats2 = plan(n, FM_F32, rows, 2, status, err);
    l->out = plan(n, FM_F32, rows, hidden, status, err);
}

static fm_status plan_activations(fm_network *n, fm_error *err)
{
    fm_status status = FM_OK;
    uint32_t tokens = n->room.tokens, masked = n->room.masked, hidden = n->config.hidden;
    n->ids = plan(n, FM_U32, tokens, 1, &status, err);
    n->starts = plan(n, FM_U32, n->room.sequences + 1, 1, &status, err);
    n->place = plan(n, FM_U32, tokens, 2, &status, err);
    n->rows = plan(n, FM_U32, masked, 1, &status, err);
    n->row_place = plan(n, FM_U32, masked, 2, &status, err);
    n->labels = plan(n, FM_U32, masked, 1, &status, err);
    n->embedded = plan(n, FM_F32, tokens, hidden, &status, err);
    n->embedded_stats = plan(n, FM_F32, tokens, 2, &status, err);
    n->input = plan(n, FM_F32, tokens, hidden, &status, err);
    for (uint32_t i = 0; i < n->config.layers; i++) {
        bool last = i + 1 == n->config.layers;
        if (i == 0 || n->room.training) plan_layer(n, &n->layers[i], last, &status, err);
        else n->layers[i] = n->layers[i - 1];
        if (last && !n->layers[i].context_rows.buffer) {
            n->layers[i].context_rows = plan(n, FM_F32, masked, hidden, &status, err);
            n->layers[i].input_rows = plan(n, FM_F32, masked, hidden, &status, err);
        }
    }
    n->head_act = plan(n, FM_F32, masked, hidden, &status, err);
    n->head_stats = plan(n, FM_F32, masked, 2, &status, err);
    n->head = plan(n, FM_F32, masked, hidden, &status, err);
    n->logits = plan(n, FM_F32, masked, n->config.vocab_size, &status, err);
    n->losses = plan(n, FM_F32, masked, 2, &status, err);
    if (n->room.training) {
        n->head_pre = plan(n, FM_F32, masked, hidden, &status, err);
        n->order = plan(n, FM_U32, tokens, 1, &status, err);
        n->segments = plan(n, FM_U32, tokens + 1, 1, &status, err);
        n->flow = plan(n, FM_F32, tokens, hidden, &status, err);
        n->spare = plan(n, FM_F32, tokens, hidden, &status, err);
        n->d_context = plan(n, FM_F32, tokens, hidden, &status, err);
        n->d_q = plan(n, FM_F32, tokens, hidden, &status, err);
        n->d_k = plan(n, FM_F32, tokens, hidden, &status, err);
        n->d_v = plan(n, FM_F32, tokens, hidden, &status, err);
        n->d_wide = plan(n, FM_F32, tokens, n->config.feed_forward, &status, err);
        n->squares = plan(n, FM_F32, 1, 1, &status, err);
    }
    return status;
}

/* Training: four arrays of all elements, and a view of the first two for each parameter. */
static fm_status plan_state(fm_network *n, const fm_parameters *parameters, fm_error *err)
{
    if (parameters->elements > UINT32_MAX)
        return fm_fail(err, FM_E_LIMIT, "A model of %llu parameters is too large to train here.",
                       (unsigned long long)parameters->elements);
    fm_status status = FM_OK;
    for (size_t i = 0; i < 4; i++) {
        n->state[i] = plan(n, FM_F32, 1, (uint32_t)parameters->elements, &status, err);
        if (!status) n->ops->zero(n->backend, n->state[i]);
    }
    for (size_t i = 0; i < n->count && !status; i++) {
        const fm_parameter *p = &parameters->list[i];
        n->values[i] = (fm_tensor){n->state[FM_STATE_VALUES].buffer, FM_F32, p->rows, p->cols, p->offset};
        n->gradients[i] = (fm_tensor){n->state[FM_STATE_GRADIENTS].buffer, FM_F32, p->rows, p->cols, p->offset};
    }
    return status;
}

/* A matrix that another backend holds: a device, which copies it. */
static fm_status import_held(fm_network *n, const fm_weights *weights, size_t i, fm_error *err)
{
    const fm_tensor *held = &weights->held[i];
    uint32_t *buffer = &n->values[i].buffer;
    size_t count = (size_t)held->rows * held->cols, size = held->type == FM_I8 ? sizeof(int8_t) : sizeof(float);
    void *rows = fm_alloc(count, size);
    if (!rows) return fm_fail_memory(err, count * size, "a matrix for another device");
    fm_weights_take(weights, i, rows);
    fm_status status = held->type == FM_I8 ? n->ops->import_int8(n->backend, rows, weights->int8[i].scales, held->rows,
                                                                 held->cols, buffer, err)
                                           : n->ops->import(n->backend, rows, count, buffer, err);
    fm_free(rows);
    return status;
}

/* A matrix of a file of f16, for a device that computes with it; none is made if it has other numbers. */
static fm_status import_half(fm_network *n, const fm_weights *weights, size_t i, fm_error *err)
{
    fm_tensor *to = &n->values[i];
    uint16_t *halves;
    fm_status status = fm_weights_halves(weights, n->parameters, i, &halves, err);
    if (!halves) return status;
    to->type = FM_F16;
    status = n->ops->import_half(n->backend, halves, to->rows, to->cols, &to->buffer, err);
    fm_free(halves);
    return status;
}

/* For inference. weights is NULL, or has matrices in the place of values. */
static fm_status import_value(fm_network *n, size_t i, const float *const *values, const fm_weights *weights,
                              fm_error *err)
{
    const fm_parameter *p = &n->parameters->list[i];
    const fm_int8_matrix *int8 = weights && weights->int8[i].values ? &weights->int8[i] : NULL;
    bool held = weights && weights->holder && weights->held[i].buffer;
    fm_tensor *to = &n->values[i];
    *to = (fm_tensor){0, held ? weights->held[i].type : int8 ? FM_I8 : FM_F32, p->rows, p->cols, 0};
    if (n->ops->import_half && weights && weights->stored == FM_STORED_F16 && !p->vector && i != FM_P_POSITION) {
        fm_status status = import_half(n, weights, i, err);
        if (status || to->buffer) return status;
    }
    if (held) return import_held(n, weights, i, err);
    if (int8) return n->ops->import_int8(n->backend, int8->values, int8->scales, p->rows, p->cols, &to->buffer, err);
    return n->ops->import(n->backend, values[i], (size_t)p->rows * p->cols, &to->buffer, err);
}

static fm_status take_values(fm_network *n, const float *const *values, const fm_weights *weights, fm_error *err)
{
    for (size_t i = 0; i < n->count; i++) {
        if (n->room.training) {
            n->ops->write(n->backend, n->values[i], values[i]);
            continue;
        }
        if (weights && weights->holder == n->backend && weights->held[i].buffer) {
            n->values[i] = weights->held[i];
            continue;
        }
        fm_status status = import_value(n, i, values, weights, err);
        if (!status) status = keep_buffer(n, n->values[i].buffer, err);
        if (status) return status;
    }
    return FM_OK;
}

static fm_status create(fm_network **network, const fm_config *config, const fm_parameters *parameters,
                        fm_backend *backend, const fm_room *room, const float *const *values, const fm_weights *weights,
                        fm_error *err)
{
    *network = NULL;
    fm_status status = fm_room_check(room, err);
    if (status) return status;
    fm_network *n = calloc(1, sizeof *n);
    if (!n) return fm_fail_memory(err, sizeof *n, "a network");
    n->config = *config;
    n->backend = backend;
    n->ops = backend->ops;
    n->room = *room;
    n->count = parameters->count;
    n->parameters = parameters;
    n->values = calloc(n->count, sizeof *n->values);
    n->gradients = calloc(n->count, sizeof *n->gradients);
    n->layers = calloc(config->layers, sizeof *n->layers);
    n->host = calloc((size_t)room->tokens * 2 + (size_t)room->masked * 2 + 1, sizeof *n->host);
    n->keys = calloc(room->tokens, sizeof *n->keys);
    if (!n->values || !n->gradients || !n->layers || !n->host || !n->keys)
        status = fm_fail_memory(err, n->count * sizeof *n->values, "a network");
    if (!status && room->training) status = plan_state(n, parameters, err);
    if (!status) status = take_values(n, values, weights, err);
    if (!status) status = plan_activations(n, err);
    if (status) {
        fm_network_destroy(n);
        return status;
    }
    *network = n;
    return FM_OK;
}

fm_status fm_network_create(fm_network **network, const fm_config *config, const fm_parameters *parameters,
                            fm_backend *backend, const fm_room *room, const float *const *values, fm_error *err)
{
    return create(network, config, parameters, backend, room, values, NULL, err);
}

fm_status fm_network_open(fm_network **network, const fm_config *config, const fm_parameters *parameters,
                          fm_backend *backend, const fm_room *room, const fm_weights *weights, fm_error *err)
{
    return create(network, config, parameters, backend, room, weights->values, weights, err);
}

void fm_network_destroy(fm_network *n)
{
    if (!n) return;
    while (n->buffer_count > 0) n->ops->release(n->backend, n->buffers[--n->buffer_count]);
    free(n->buffers);
    free(n->values);
    free(n->gradients);
    free(n->layers);
    free(n->host);
    free(n->keys);
    free(n);
}

/* ---- a run ---- */

static fm_tensor rows_of(fm_tensor x, uint32_t rows)
{
    x.rows = rows;
    return x;
}

/* Whether past this layer's attention only the masked rows go on. */
static bool narrows(const fm_network *n, uint32_t index)
{
    return index + 1 == n->config.layers && n->run.run != FM_RUN_HIDDEN;
}

static uint32_t layer_rows(const fm_network *n, uint32_t index)
{
    return narrows(n, index) ? n->masked : n->tokens;
}

/* The packing of a layer's rows past its attention. */
static fm_packing packing_of(const fm_network *n, bool masked)
{
    fm_tensor place = masked ? rows_of(n->row_place, n->masked) : rows_of(n->place, n->tokens);
    return (fm_packing){rows_of(n->starts, n->sequences + 1), place, n->first, n->longest};
}

enum dropout_place { DROP_EMBEDDING, DROP_LAYERS }; /* then two a layer: attention, feed-forward */

static fm_dropout dropout_of(const fm_network *n, uint32_t op, float rate)
{
    return (fm_dropout){n->run.dropout && n->run.run == FM_RUN_TRAIN ? rate : 0.0f, n->run.seed, n->run.step, op};
}

static fm_tensor *values_of(const fm_network *n, uint32_t index)
{
    return n->values + FM_P_LAYER0 + (size_t)index * FM_P_PER_LAYER;
}

static fm_tensor *gradients_of(const fm_network *n, uint32_t index)
{
    return n->gradients + FM_P_LAYER0 + (size_t)index * FM_P_PER_LAYER;
}

static fm_tensor input_of(const fm_network *n, uint32_t index)
{
    return rows_of(index == 0 ? n->input : n->layers[index - 1].out, n->tokens);
}

fm_status fm_network_begin(fm_network *n, const fm_batch *batch, const fm_run_options *options, fm_error *err)
{
    n->stage = n->stages = 0;
    if (options->run == FM_RUN_TRAIN && !n->room.training)
        return fm_fail(err, FM_E_ARGUMENT, "This network was made without room for training.");
    if (options->run == FM_RUN_HIDDEN && n->room.training)
        return fm_fail(err, FM_E_ARGUMENT, "A network with room for training keeps no hidden states of all tokens.");
    fm_status status = fm_batch_check(batch, &n->config, &n->room, options->run, err);
    if (status) return status;
    n->run = *options;
    n->tokens = batch->tokens;
    n->masked = batch->masked;
    n->sequences = batch->sequences;
    n->first = batch->first;
    const fm_ops *ops = n->ops;
    uint32_t *place = n->host, *row_place = n->host + 2 * (size_t)batch->tokens;
    n->longest = fm_batch_places(batch, place, row_place);
    ops->write(n->backend, rows_of(n->ids, n->tokens), batch->ids);
    ops->write(n->backend, rows_of(n->starts, n->sequences + 1), batch->starts);
    ops->write(n->backend, rows_of(n->place, n->tokens), place);
    if (options->run != FM_RUN_HIDDEN) {
        ops->write(n->backend, rows_of(n->rows, n->masked), batch->rows);
        ops->write(n->backend, rows_of(n->row_place, n->masked), row_place);
    }
    if (options->run == FM_RUN_LOSS || options->run == FM_RUN_TRAIN)
        ops->write(n->backend, rows_of(n->labels, n->masked), batch->labels);
    if (options->run == FM_RUN_TRAIN) {
        uint32_t *order = n->host, *segments = n->host + batch->tokens;
        n->segment_count = fm_batch_order(batch, n->keys, order, segments);
        ops->write(n->backend, rows_of(n->order, n->tokens), order);
        ops->write(n->backend, rows_of(n->segments, n->segment_count + 1), segments);
    }
    uint32_t forward = n->config.layers + 2;
    n->stages = options->run == FM_RUN_TRAIN ? 2 * forward : options->run == FM_RUN_HIDDEN ? forward - 1 : forward;
    if (options->run == FM_RUN_TRAIN && n->frozen_embeddings) n->stages -= 1 + n->frozen_layers; /* nothing learns */
    return FM_OK;
}

static void forward_embedding(fm_network *n)
{
    fm_packing packing = packing_of(n, false);
    fm_dropout after = dropout_of(n, DROP_EMBEDDING, n->config.dropout);
    fm_tensor sum = rows_of(n->embedded, n->tokens);
    n->ops->embedding(n->backend, sum, n->values[FM_P_WORD], n->values[FM_P_POSITION], rows_of(n->ids, n->tokens),
                      &packing);
    n->ops->layer_norm(n->backend, rows_of(n->input, n->tokens), sum, FM_NO_TENSOR, n->values[FM_P_EMBED_GAMMA],
                       n->values[FM_P_EMBED_BETA], EPSILON, rows_of(n->embedded_stats, n->tokens), NULL, &after,
                       &packing);
}

static void forward_layer(fm_network *n, uint32_t index)
{
    const fm_ops *ops = n->ops;
    fm_backend *b = n->backend;
    const layer *l = &n->layers[index];
    const fm_tensor *w = values_of(n, index);
    bool last = narrows(n, index);
    uint32_t tokens = n->tokens, rows = layer_rows(n, index);
    fm_packing packing = packing_of(n, false), row_packing = packing_of(n, last);
    fm_dropout weights = dropout_of(n, DROP_LAYERS + 2 * index, n->config.attention_dropout);
    fm_dropout before = dropout_of(n, DROP_LAYERS + 2 * index + 1, n->config.dropout);
    fm_tensor x = input_of(n, index), q = rows_of(l->q, tokens), k = rows_of(l->k, tokens), v = rows_of(l->v, tokens);
    fm_tensor context = rows_of(l->context, tokens), sum1 = rows_of(l->sum1, rows), middle = rows_of(l->middle, rows);
    fm_tensor act = rows_of(l->act, rows), sum2 = rows_of(l->sum2, rows);

    ops->linear(b, q, x, w[FM_L_Q_W], w[FM_L_Q_B], FM_EPILOGUE_NONE, FM_NO_TENSOR);
    ops->linear(b, k, x, w[FM_L_K_W], w[FM_L_K_B], FM_EPILOGUE_NONE, FM_NO_TENSOR);
    ops->linear(b, v, x, w[FM_L_V_W], w[FM_L_V_B], FM_EPILOGUE_NONE, FM_NO_TENSOR);
    ops->attention(b, context, q, k, v, n->config.heads, &weights, &packing);
    if (last) {
        fm_tensor masked = rows_of(n->rows, rows);
        ops->gather(b, rows_of(l->context_rows, rows), context, masked);
        ops->gather(b, rows_of(l->input_rows, rows), x, masked);
        context = rows_of(l->context_rows, rows);
        x = rows_of(l->input_rows, rows);
    }
    ops->linear(b, sum1, context, w[FM_L_OUT_W], w[FM_L_OUT_B], FM_EPILOGUE_NONE, FM_NO_TENSOR);
    ops->layer_norm(b, middle, sum1, x, w[FM_L_SA_GAMMA], w[FM_L_SA_BETA], EPSILON, rows_of(l->stats1, rows), NULL,
                    NULL, &row_packing);
    ops->linear(b, act, middle, w[FM_L_LIN1_W], w[FM_L_LIN1_B], FM_EPILOGUE_GELU,
                n->room.training ? rows_of(l->pre, rows) : FM_NO_TENSOR);
    ops->linear(b, sum2, act, w[FM_L_LIN2_W], w[FM_L_LIN2_B], FM_EPILOGUE_NONE, FM_NO_TENSOR);
    ops->layer_norm(b, rows_of(l->out, rows), sum2, middle, w[FM_L_OUT_GAMMA], w[FM_L_OUT_BETA], EPSILON,
                    rows_of(l->stats2, rows), &before, NULL, &row_packing);
}

static const fm_tensor *head_values(const fm_network *n)
{
    return values_of(n, n->config.layers);
}

static void forward_head(fm_network *n)
{
    const fm_ops *ops = n->ops;
    const fm_tensor *w = head_values(n);
    uint32_t rows = n->masked;
    fm_tensor x = rows_of(n->layers[n->config.layers - 1].out, rows), act = rows_of(n->head_act, rows);
    fm_packing packing = packing_of(n, true);
    ops->linear(n->backend, act, x, w[FM_H_TRANSFORM_W], w[FM_H_TRANSFORM_B], FM_EPILOGUE_GELU,
                n->room.training ? rows_of(n->head_pre, rows) : FM_NO_TENSOR);
    ops->layer_norm(n->backend, rows_of(n->head, rows), act, FM_NO_TENSOR, w[FM_H_NORM_GAMMA], w[FM_H_NORM_BETA],
                    EPSILON, rows_of(n->head_stats, rows), NULL, NULL, &packing);
    ops->linear(n->backend, rows_of(n->logits, rows), rows_of(n->head, rows), n->values[FM_P_WORD], w[FM_H_BIAS],
                FM_EPILOGUE_NONE, FM_NO_TENSOR);
    if (n->run.run != FM_RUN_LOGITS)
        ops->mlm_loss(n->backend, rows_of(n->logits, rows), rows_of(n->labels, rows), rows_of(n->losses, rows),
                      n->run.run == FM_RUN_TRAIN ? n->run.scale : 0.0f);
}

/* The gradient that flows back is in n->flow when a stage ends. */
static void swap_flow(fm_network *n)
{
    fm_tensor flow = n->flow;
    n->flow = n->spare;
    n->spare = flow;
}

static void backward_head(fm_network *n)
{
    const fm_ops *ops = n->ops;
    const fm_tensor *w = head_values(n), *d = gradients_of(n, n->config.layers);
    uint32_t rows = n->masked;
    fm_tensor x = rows_of(n->layers[n->config.layers - 1].out, rows), flow = rows_of(n->flow, rows);
    fm_packing packing = packing_of(n, true);
    ops->linear_backward(n->backend, flow, false, n->gradients[FM_P_WORD], d[FM_H_BIAS], rows_of(n->logits, rows),
                         rows_of(n->head, rows), n->values[FM_P_WORD]);
    ops->layer_norm_backward(n->backend, flow, FM_NO_TENSOR, d[FM_H_NORM_GAMMA], d[FM_H_NORM_BETA], flow,
                             rows_of(n->head_act, rows), w[FM_H_NORM_GAMMA], rows_of(n->head_stats, rows), NULL, NULL,
                             &packing);
    ops->gelu_backward(n->backend, flow, rows_of(n->head_pre, rows));
    ops->linear_backward(n->backend, rows_of(n->spare, rows), false, d[FM_H_TRANSFORM_W], d[FM_H_TRANSFORM_B], flow, x,
                         w[FM_H_TRANSFORM_W]);
    swap_flow(n);
}

static void backward_layer(fm_network *n, uint32_t index)
{
    const fm_ops *ops = n->ops;
    fm_backend *b = n->backend;
    const layer *l = &n->layers[index];
    const fm_tensor *w = values_of(n, index), *d = gradients_of(n, index);
    bool last = index + 1 == n->config.layers;
    uint32_t tokens = n->tokens, rows = layer_rows(n, index);
    fm_packing packing = packing_of(n, false), row_packing = packing_of(n, last);
    fm_dropout weights = dropout_of(n, DROP_LAYERS + 2 * index, n->config.attention_dropout);
    fm_dropout before = dropout_of(n, DROP_LAYERS + 2 * index + 1, n->config.dropout);
    fm_tensor x = input_of(n, index), flow = rows_of(n->flow, rows), spare = rows_of(n->spare, rows);
    fm_tensor wide = rows_of(n->d_wide, rows), context = last ? l->context_rows : l->context;

    ops->layer_norm_backward(b, flow, spare, d[FM_L_OUT_GAMMA], d[FM_L_OUT_BETA], flow, rows_of(l->sum2, rows),
                             w[FM_L_OUT_GAMMA], rows_of(l->stats2, rows), &before, NULL, &row_packing);
    ops->linear_backward(b, wide, false, d[FM_L_LIN2_W], d[FM_L_LIN2_B], flow, rows_of(l->act, rows), w[FM_L_LIN2_W]);
    ops->gelu_backward(b, wide, rows_of(l->pre, rows));
    ops->linear_backward(b, spare, true, d[FM_L_LIN1_W], d[FM_L_LIN1_B], wide, rows_of(l->middle, rows),
                         w[FM_L_LIN1_W]);
    ops->layer_norm_backward(b, flow, FM_NO_TENSOR, d[FM_L_SA_GAMMA], d[FM_L_SA_BETA], spare, rows_of(l->sum1, rows),
                             w[FM_L_SA_GAMMA], rows_of(l->stats1, rows), NULL, NULL, &row_packing);
    /* flow is now the gradient of the projection, and of the layer's input along the residual. */
    fm_tensor d_context = rows_of(n->d_context, tokens);
    ops->linear_backward(b, last ? spare : d_context, false, d[FM_L_OUT_W], d[FM_L_OUT_B], flow, rows_of(context, rows),
                         w[FM_L_OUT_W]);
    if (last) {
        fm_tensor masked = rows_of(n->rows, rows);
        ops->gather_backward(b, d_context, spare, masked);
        ops->gather_backward(b, rows_of(n->spare, tokens), flow, masked);
        swap_flow(n);
    }
    flow = rows_of(n->flow, tokens);
    fm_tensor q = rows_of(l->q, tokens), k = rows_of(l->k, tokens), v = rows_of(l->v, tokens);
    fm_tensor d_q = rows_of(n->d_q, tokens), d_k = rows_of(n->d_k, tokens), d_v = rows_of(n->d_v, tokens);
    ops->attention_backward(b, d_q, d_k, d_v, d_context, q, k, v, n->config.heads, &weights, &packing);
    ops->linear_backward(b, flow, true, d[FM_L_Q_W], d[FM_L_Q_B], d_q, x, w[FM_L_Q_W]);
    ops->linear_backward(b, flow, true, d[FM_L_K_W], d[FM_L_K_B], d_k, x, w[FM_L_K_W]);
    ops->linear_backward(b, flow, true, d[FM_L_V_W], d[FM_L_V_B], d_v, x, w[FM_L_V_W]);
}

static void backward_embedding(fm_network *n)
{
    fm_packing packing = packing_of(n, false);
    fm_dropout after = dropout_of(n, DROP_EMBEDDING, n->config.dropout);
    fm_tensor flow = rows_of(n->flow, n->tokens);
    n->ops->layer_norm_backward(n->backend, flow, FM_NO_TENSOR, n->gradients[FM_P_EMBED_GAMMA],
                                n->gradients[FM_P_EMBED_BETA], flow, rows_of(n->embedded, n->tokens),
                                n->values[FM_P_EMBED_GAMMA], rows_of(n->embedded_stats, n->tokens), NULL, &after,
                                &packing);
    n->ops->embedding_backward(n->backend, n->gradients[FM_P_WORD], n->gradients[FM_P_POSITION], flow,
                               rows_of(n->ids, n->tokens), rows_of(n->order, n->tokens),
                               rows_of(n->segments, n->segment_count + 1), &packing);
}

bool fm_network_advance(fm_network *n)
{
    if (n->stage >= n->stages) return false;
    uint32_t stage = n->stage++, layers = n->config.layers;
    n->ops->precision(n->backend, n->run.precision);
    if (stage == 0) forward_embedding(n);
    else if (stage <= layers) forward_layer(n, stage - 1);
    else if (stage == layers + 1) forward_head(n);
    else if (stage == layers + 2) backward_head(n);
    else if (stage <= 2 * layers + 2) backward_layer(n, 2 * layers + 2 - stage);
    else backward_embedding(n);
    return n->stage < n->stages;
}

void fm_network_read_logits(fm_network *n, float *to)
{
    n->ops->read(n->backend, rows_of(n->logits, n->masked), to);
}

void fm_network_read_losses(fm_network *n, float *to)
{
    n->ops->read(n->backend, rows_of(n->losses, n->masked), to);
}

void fm_network_read_hidden(fm_network *n, float *to)
{
    n->ops->read(n->backend, rows_of(n->layers[n->config.layers - 1].out, n->tokens), to);
}

/* ---- training ---- */

void fm_network_write_state(fm_network *n, fm_state state, const float *from)
{
    n->ops->write(n->backend, n->state[state], from);
}

void fm_network_read_state(fm_network *n, fm_state state, float *to)
{
    n->ops->read(n->backend, n->state[state], to);
}

void fm_network_zero_gradients(fm_network *n)
{
    n->ops->zero(n->backend, n->state[FM_STATE_GRADIENTS]);
}

/* Whether parameter i of the list stays as it is. */
static bool is_frozen(const fm_network *n, size_t i)
{
    if (i < FM_P_LAYER0) return n->frozen_embeddings;
    return (i - FM_P_LAYER0) / FM_P_PER_LAYER < n->frozen_layers;
}

void fm_network_freeze(fm_network *n, bool embeddings, uint32_t layers)
{
    n->frozen_embeddings = embeddings;
    n->frozen_layers = layers < n->config.layers ? layers : n->config.layers;
    for (size_t i = 0; i < n->count; i++) {
        /* Products are left out where they can be; the layer norms' sums are cleared before they are used. */
        bool product = i == FM_P_WORD || (i >= FM_P_LAYER0 && n->parameters->list[i].decay);
        if (is_frozen(n, i) && product) n->gradients[i] = FM_NO_TENSOR;
    }
}

/* One AdamW step for `count` elements from `start` on. */
static void update_range(fm_network *n, const fm_adamw *options, uint64_t start, uint64_t count)
{
    fm_tensor view[4];
    for (size_t i = 0; i < 4; i++) view[i] = (fm_tensor){n->state[i].buffer, FM_F32, 1, (uint32_t)count, start};
    if (count > 0)
        n->ops->adamw(n->backend, view[FM_STATE_VALUES], view[FM_STATE_GRADIENTS], view[FM_STATE_FIRST],
                      view[FM_STATE_SECOND], n->squares, options);
}

void fm_network_update(fm_network *n, const fm_adamw *options)
{
    for (size_t i = 0; i < n->count; i++)
        if (is_frozen(n, i) && n->gradients[i].buffer) n->ops->zero(n->backend, n->gradients[i]);
    n->ops->sum_squares(n->backend, n->squares, n->state[FM_STATE_GRADIENTS]);
    for (int part = 0; part < 2; part++) { /* with weight decay, then without; each in the order of the offsets */
        fm_adamw o = *options;
        uint64_t start = part == 0 ? 0 : n->parameters->decayed;
        if (part == 1) o.weight_decay = 0.0f;
        bool frozen = false; /* neighbours that are not are updated together */
        for (size_t i = 0; i < n->count; i++) {
            const fm_parameter *p = &n->parameters->list[i];
            if (p->decay != (part == 0) || frozen == is_frozen(n, i)) continue;
            if (!frozen) update_range(n, &o, start, p->offset - start);
            start = p->offset;
            frozen = !frozen;
        }
        uint64_t end = part == 0 ? n->parameters->decayed : n->parameters->elements;
        if (!frozen) update_range(n, &o, start, end - start);
    }
}

void fm_network_read_squares(fm_network *n, float *to)
{
    n->ops->read(n->backend, n->squares, to);
}
