/* model.c - opens a model, from a folder or from memory: tokenizer, config, weights, backend. */
#include "tasks/tasks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char weights_name[] = "model.safetensors"; /* of those in memory, for errors */

/* Rounds weights that are not int8 to it. */
static fm_status round_weights(fm_model *m, fm_error *err)
{
    uint8_t *data;
    size_t size;
    if (m->weights.stored == FM_STORED_I8) return FM_OK;
    fm_status status = fm_weights_build(&data, &size, &m->parameters, m->weights.values, FM_STORED_I8, err);
    if (!status) status = fm_model_replace_weights(m, data, size, err);
    fm_free(data);
    return status;
}

/* Everything but the weights, for the config and the tokenizer that the model already has; `name` is where they came
 * from. */
static fm_status prepare(fm_model *m, const char *name, const fm_model_options *options, fm_error *err)
{
    if (fm_tokenizer_size(m->tokenizer) > m->config.vocab_size)
        return fm_fail(err, FM_E_FORMAT,
                       "The tokenizer in %s has %u entries but config.json says vocab_size %u; they do not belong "
                       "together.",
                       name, fm_tokenizer_size(m->tokenizer), m->config.vocab_size);
    fm_status status = fm_parameters_make(&m->parameters, &m->config, err);
    if (!status)
        status = fm_cpu_create(&m->cpu, options ? options->instruction_set : NULL, options ? options->threads : 0, err);
    m->backend = m->cpu;
    if (options && options->dtype == FM_DTYPE_F32) m->dtype = FM_DTYPE_F32;
    return status;
}

/* The weights of a file, which is taken over; `tensors` is its name. */
static fm_status finish(fm_model *m, fm_safetensors *file, const char *name, const char *tensors,
                        const fm_model_options *options, fm_error *err)
{
    fm_status status = prepare(m, name, options, err);
    if (status) fm_safetensors_close(file);
    else status = fm_weights_load(&m->weights, &m->parameters, file, tensors, err);
    if (!status && options && options->dtype == FM_DTYPE_INT8) status = round_weights(m, err);
    return status;
}

fm_status fm_model_open(fm_model **model, const char *folder, const fm_model_options *options, fm_error *err)
{
    *model = NULL;
    fm_model *m = calloc(1, sizeof *m);
    char *config = fm_path_join(folder, "config.json"), *tensors = fm_path_join(folder, "model.safetensors");
    fm_safetensors *file;
    fm_status status = FM_OK;
    if (!m || !config || !tensors) status = fm_fail_memory(err, sizeof *m, "a model");
    if (!status) status = fm_config_read(&m->config, config, err);
    if (!status) status = fm_tokenizer_open(&m->tokenizer, folder, err);
    if (!status) status = fm_safetensors_open(&file, tensors, err);
    if (!status) status = finish(m, file, folder, tensors, options, err);
    free(config);
    free(tensors);
    if (status) fm_model_close(m);
    else *model = m;
    return status;
}

/* A model with the config and the tokenizer of these files. */
static fm_status describe(fm_model **model, const fm_model_files *files, fm_error *err)
{
    fm_model *m = *model = calloc(1, sizeof *m);
    if (!m) return fm_fail_memory(err, sizeof *m, "a model");
    fm_status status = fm_config_parse(&m->config, files->config, files->config_size, "config.json", err);
    return status ? status : fm_tokenizer_open_memory(&m->tokenizer, &files->tokenizer, err);
}

/* *model is closed if there was a failure. */
static fm_status keep_or_close(fm_model **model, fm_status status)
{
    if (!status) return FM_OK;
    fm_model_close(*model);
    *model = NULL;
    return status;
}

fm_status fm_model_open_memory(fm_model **model, const fm_model_files *files, const fm_model_options *options,
                               fm_error *err)
{
    fm_safetensors *file;
    fm_status status = describe(model, files, err);
    if (!status) status = fm_safetensors_from_memory(&file, files->weights, files->weights_size, weights_name, err);
    if (!status) status = finish(*model, file, "memory", weights_name, options, err);
    return keep_or_close(model, status);
}

/* ---- weights that come in parts ---- */

fm_status fm_model_begin(fm_model **model, const fm_model_files *files, const fm_model_options *options, int type,
                         fm_error *err)
{
    fm_status status = describe(model, files, err);
    if (!status) status = prepare(*model, "memory", options, err);
    if (!status)
        status =
            fm_weights_stream_open(&(*model)->coming, &(*model)->parameters, (*model)->cpu, type, weights_name, err);
    return keep_or_close(model, status);
}

fm_status fm_model_push(fm_model *m, const void *data, size_t size, fm_error *err)
{
    return fm_weights_stream_push(m->coming, data, size, err);
}

fm_status fm_model_end(fm_model *m, fm_error *err)
{
    fm_status status = fm_weights_stream_end(m->coming, &m->weights, err);
    fm_weights_stream_close(m->coming);
    m->coming = NULL;
    return status;
}

fm_status fm_model_replace_weights(fm_model *m, const void *data, size_t size, fm_error *err)
{
    fm_weights_stream *stream;
    fm_weights weights;
    fm_status status = fm_weights_stream_open(&stream, &m->parameters, m->cpu, FM_AS_STORED, weights_name, err);
    if (!status) status = fm_weights_stream_push(stream, data, size, err);
    if (!status) status = fm_weights_stream_end(stream, &weights, err);
    fm_weights_stream_close(stream);
    if (status) return status;
    fm_network_destroy(m->network);
    m->network = NULL;
    fm_weights_free(&m->weights);
    m->weights = weights;
    m->dtype = FM_DTYPE_STORED;
    return FM_OK;
}

/* ---- doubts ---- */

#define PADDING 128 /* the sizes of models are rounded up to multiples of it, or of less */

/* transformers opens such models, and some are meant: a config of the usual size with a small vocabulary. */
bool fm_model_doubt(const fm_model *m, char sentence[200])
{
    uint32_t tokens = fm_tokenizer_size(m->tokenizer);
    if (m->config.vocab_size - tokens < PADDING) return false;
    snprintf(sentence, 200,
             "The vocabulary has %u tokens, the model %u; if its file was cut short, texts are read as other tokens.",
             tokens, m->config.vocab_size);
    return true;
}

/* ---- devices ---- */

static void drop_answers(fm_model *m)
{
    for (size_t i = 0; i < m->answers.count; i++) free(m->answers.list[i].numbers);
    m->answers.count = m->answers.next = 0;
}

static void give_up_answers(fm_model *m)
{
    for (size_t i = 0; i < m->answers.count; i++)
        m->backend->ops->forget(m->backend, m->answers.list[i].numbers, m->answers.list[i].size);
    drop_answers(m);
}

void fm_model_use(fm_model *m, fm_backend *backend)
{
    give_up_answers(m);
    fm_network_destroy(m->network);
    m->network = NULL;
    if (m->backend != m->cpu) m->backend->ops->destroy(m->backend);
    m->backend = backend ? backend : m->cpu;
}

fm_status fm_model_begin_request(fm_model *m, uint64_t request, fm_error *err)
{
    if (m->answers.count > 0 && request != m->answers.request) give_up_answers(m);
    m->answers.request = request;
    m->answers.next = 0;
    return m->answers.count > 0 ? m->backend->ops->finish(m->backend, err) : FM_OK;
}

void fm_model_end_request(fm_model *m, fm_status status)
{
    if (status != FM_PENDING) give_up_answers(m);
}

void fm_model_close(fm_model *m)
{
    if (!m) return;
    fm_network_destroy(m->network);
    fm_weights_stream_close(m->coming);
    fm_weights_free(&m->weights);
    if (m->backend != m->cpu) m->backend->ops->destroy(m->backend);
    if (m->cpu) m->cpu->ops->destroy(m->cpu);
    drop_answers(m);
    free(m->answers.list);
    fm_parameters_free(&m->parameters);
    fm_tokenizer_close(m->tokenizer);
    free(m);
}

const fm_tokenizer *fm_model_tokenizer(const fm_model *m)
{
    return m->tokenizer;
}

uint32_t fm_model_width(const fm_model *m)
{
    return m->config.hidden;
}

void fm_model_drop_floats(fm_model *m)
{
    if (m->dtype != FM_DTYPE_F32) fm_weights_drop_floats(&m->weights, &m->parameters);
}

fm_status fm_model_new_network(fm_model *m, const fm_room *room, fm_network **network, fm_error *err)
{
    *network = NULL;
    if (m->dtype != FM_DTYPE_F32)
        return fm_network_open(network, &m->config, &m->parameters, m->backend, room, &m->weights, err);
    fm_status status = fm_weights_floats(&m->weights, &m->parameters, err);
    if (status) return status;
    return fm_network_create(network, &m->config, &m->parameters, m->backend, room, m->weights.values, err);
}

fm_status fm_model_network(fm_model *m, const fm_room *room, fm_network **network, fm_error *err)
{
    m->runner = NULL;
    if (!m->network || room->tokens > m->room.tokens || room->sequences > m->room.sequences ||
        room->masked > m->room.masked) {
        fm_room grown = *room;
        if (m->network && m->room.tokens > grown.tokens) grown.tokens = m->room.tokens;
        if (m->network && m->room.sequences > grown.sequences) grown.sequences = m->room.sequences;
        if (m->network && m->room.masked > grown.masked) grown.masked = m->room.masked;
        fm_network_destroy(m->network);
        m->network = NULL;
        fm_status status = fm_model_new_network(m, &grown, &m->network, err);
        if (status) return status;
        m->room = grown;
    }
    *network = m->network;
    return FM_OK;
}
