/* model.c - opens a model folder: tokenizer, config, weights, backend. */
#include "tasks/tasks.h"

#include <stdlib.h>
#include <string.h>

static fm_status read_folder(fm_model *m, const char *folder, const char *config, const char *tensors, fm_error *err)
{
    fm_safetensors *file;
    fm_status status = fm_config_read(&m->config, config, err);
    if (!status) status = fm_tokenizer_open(&m->tokenizer, folder, err);
    if (!status && fm_tokenizer_size(m->tokenizer) > m->config.vocab_size)
        status = fm_fail(err, FM_E_FORMAT,
                         "The tokenizer in %s has %u entries but config.json says vocab_size %u; they do not belong "
                         "together.",
                         folder, fm_tokenizer_size(m->tokenizer), m->config.vocab_size);
    if (!status) status = fm_parameters_make(&m->parameters, &m->config, err);
    if (!status) status = fm_safetensors_open(&file, tensors, err);
    if (!status) status = fm_weights_load(&m->weights, &m->parameters, file, tensors, err);
    return status;
}

fm_status fm_model_open(fm_model **model, const char *folder, const fm_model_options *options, fm_error *err)
{
    *model = NULL;
    fm_model *m = calloc(1, sizeof *m);
    char *config = fm_path_join(folder, "config.json"), *tensors = fm_path_join(folder, "model.safetensors");
    fm_status status = FM_OK;
    if (!m || !config || !tensors) status = fm_fail_memory(err, sizeof *m, "a model");
    if (!status) status = read_folder(m, folder, config, tensors, err);
    if (!status)
        status =
            fm_cpu_create(&m->backend, options ? options->instruction_set : NULL, options ? options->threads : 0, err);
    free(config);
    free(tensors);
    if (status) {
        fm_model_close(m);
        return status;
    }
    *model = m;
    return FM_OK;
}

void fm_model_close(fm_model *m)
{
    if (!m) return;
    fm_network_destroy(m->network);
    if (m->backend) m->backend->ops->destroy(m->backend);
    fm_weights_free(&m->weights);
    fm_parameters_free(&m->parameters);
    fm_tokenizer_close(m->tokenizer);
    free(m);
}

const fm_tokenizer *fm_model_tokenizer(const fm_model *m)
{
    return m->tokenizer;
}

fm_status fm_model_network(fm_model *m, const fm_room *room, fm_network **network, fm_error *err)
{
    if (!m->network || room->tokens > m->room.tokens || room->sequences > m->room.sequences ||
        room->masked > m->room.masked) {
        fm_network_destroy(m->network);
        m->network = NULL;
        fm_status status =
            fm_network_create(&m->network, &m->config, &m->parameters, m->backend, room, m->weights.values, err);
        if (status) return status;
        m->room = *room;
    }
    *network = m->network;
    return FM_OK;
}
