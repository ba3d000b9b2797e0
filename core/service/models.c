/* models.c - the operations on models themselves: what one is, and its weights in another type of number. */
#include "service/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const fm_tokenizer *service_tokenizer(const call *c)
{
    if (!cJSON_HasObjectItem(c->request, "tokenizer")) {
        kept *model = service_find(c, "model", KIND_MODEL);
        return model ? fm_model_tokenizer(model->item) : NULL;
    }
    kept *tokenizer = service_find(c, "tokenizer", KIND_TOKENIZER);
    return tokenizer ? tokenizer->item : NULL;
}

static void add_special(fm_buffer *out, const fm_tokenizer *tokenizer)
{
    fm_special_ids special = fm_tokenizer_special(tokenizer);
    const char *mask = fm_tokenizer_token(tokenizer, special.mask);
    fm_buffer_format(out, "\"special\": {\"pad\": %u, \"unk\": %u, \"cls\": %u, \"sep\": %u, \"mask\": %u}",
                     special.pad, special.unk, special.cls, special.sep, special.mask);
    fm_buffer_text(out, ", \"mask_token\": ");
    fm_buffer_json(out, mask, strlen(mask));
}

static void add_shape(fm_buffer *out, const fm_model *m)
{
    static const char *const types[] = {
        [FM_STORED_F32] = "f32", [FM_STORED_F16] = "f16", [FM_STORED_BF16] = "bf16", [FM_STORED_I8] = "int8"};
    const fm_config *config = &m->config;
    fm_buffer_format(out, ", \"hidden\": %u, \"layers\": %u, \"heads\": %u, \"feed_forward\": %u", config->hidden,
                     config->layers, config->heads, config->feed_forward);
    fm_buffer_format(out, ", \"positions\": %u, \"parameters\": %llu, \"dtype\": \"%s\"", config->positions,
                     (unsigned long long)fm_parameters_numbers(&m->parameters), types[m->weights.stored]);
    fm_buffer_format(out, ", \"instruction_set\": \"%s\", \"threads\": %d", fm_cpu_instruction_set(m->cpu),
                     fm_pool_threads(fm_cpu_pool(m->cpu)));
}

/* Of a tokenizer its size and special tokens; of a model its shape and what computes it as well. */
fm_status service_info(call *c)
{
    static const char *const members[] = {"model", "tokenizer", NULL};
    const fm_tokenizer *tokenizer = service_tokenizer(c);
    fm_status status = tokenizer ? service_options(c, members, NULL, 0) : c->err->status;
    if (status) return status;
    kept *k = cJSON_HasObjectItem(c->request, "tokenizer") ? NULL : service_find(c, "model", KIND_MODEL);
    const fm_model *m = k ? k->item : NULL;
    fm_buffer_format(c->answer, "{\"vocab_size\": %u, ", m ? m->config.vocab_size : fm_tokenizer_size(tokenizer));
    add_special(c->answer, tokenizer);
    if (m) add_shape(c->answer, m);
    char doubt[200];
    if (m && fm_model_doubt(m, doubt)) {
        fm_buffer_text(c->answer, ", \"warning\": ");
        fm_buffer_json(c->answer, doubt, strlen(doubt));
    }
    fm_buffer_text(c->answer, "}");
    return FM_OK;
}

/* How far a device's logits are from the cpu's: fm_model_check. */
fm_status service_check(call *c)
{
    static const char *const members[] = {"model", NULL};
    double difference;
    kept *k = service_find(c, "model", KIND_MODEL);
    fm_status status = k ? service_options(c, members, NULL, 0) : c->err->status;
    if (!status) status = fm_model_check(k->item, &difference, c->err);
    if (status) return status;
    if (isfinite(difference)) fm_buffer_format(c->answer, "%.9g", difference);
    else fm_buffer_text(c->answer, "null");
    return FM_OK;
}

/* ---- weights ---- */

fm_status service_values(const fm_parameters *parameters, float **values, const float ***pointers, fm_error *err)
{
    *values = fm_alloc((size_t)parameters->elements, sizeof **values);
    *pointers = calloc(parameters->count, sizeof **pointers);
    if (!*values || !*pointers)
        return fm_fail_memory(err, (size_t)parameters->elements * sizeof **values, "the weights");
    for (size_t i = 0; i < parameters->count; i++) (*pointers)[i] = *values + parameters->list[i].offset;
    return FM_OK;
}

fm_status service_replace(const call *c, kept *k, uint8_t *data, size_t size)
{
    fm_status status = service_refuse_evaluated(c->service, k, c->err);
    if (!status) status = fm_model_replace_weights(k->item, data, size, c->err);
    fm_free(data);
    return status;
}

fm_status fm_service_push_random(fm_model *m, fm_error *err)
{
    float *values = NULL;
    const float **pointers = NULL;
    uint8_t *data = NULL;
    size_t size;
    fm_status status = service_values(&m->parameters, &values, &pointers, err);
    if (!status) status = fm_initialise(values, &m->config, &m->parameters, 42, false, NULL, err);
    if (!status) status = fm_weights_build(&data, &size, &m->parameters, pointers, FM_STORED_F32, err);
    free(pointers);
    fm_free(values);
    if (!status) status = fm_model_push(m, data, size, err);
    fm_free(data);
    return status;
}

/* Gives a model its weights in another type of number. */
fm_status service_convert(call *c)
{
    static const char *const members[] = {"model", NULL};
    static const char *const names[] = {"fp32", "f32", "fp16", "f16", "bf16", "q8", "int8", NULL};
    static const fm_stored_type types[] = {FM_STORED_F32,  FM_STORED_F32, FM_STORED_F16, FM_STORED_F16,
                                           FM_STORED_BF16, FM_STORED_I8,  FM_STORED_I8};
    int type = 0;
    const option options[] = {{"dtype", OPTION_CHOICE, &type, 0, 0, names}};
    uint8_t *data;
    size_t size;
    kept *k = service_find(c, "model", KIND_MODEL);
    fm_status status = k ? service_options(c, members, options, 1) : c->err->status;
    if (status) return status;
    fm_model *m = k->item;
    fm_buffer_text(c->answer, "null");
    if (m->weights.stored == types[type]) return FM_OK;
    if (types[type] == FM_STORED_F32 && m->weights.stored != FM_STORED_I8) { /* it is computed in f32 as it is */
        m->weights.stored = FM_STORED_F32;
        return FM_OK;
    }
    status = fm_weights_floats(&m->weights, &m->parameters, c->err);
    if (!status) status = fm_weights_build(&data, &size, &m->parameters, m->weights.values, types[type], c->err);
    fm_model_drop_floats(m);
    return status ? status : service_replace(c, k, data, size);
}
