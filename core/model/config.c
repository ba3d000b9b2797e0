/* config.c - reads and writes config.json, the shape of a DistilBertForMaskedLM as Hugging Face names it. What the
 * shape means for tensors is the business of parameters.c. */
#include "model/model.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Far above every published model, and small enough that no product of two overflows 64 bits. */
#define MOST_VOCABULARY 1000000u
#define MOST_HIDDEN 8192u
#define MOST_LAYERS 128u
#define MOST_FEED_FORWARD 65536u
#define MOST_POSITIONS 32768u

typedef struct reader {
    const cJSON *root;
    const char *name;
    fm_error *err;
} reader;

static const cJSON *field(const reader *r, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(r->root, key);
}

/* What a field holds, short enough for a sentence. */
static const char *describe(const cJSON *item, char *text, size_t size)
{
    if (cJSON_IsNumber(item)) snprintf(text, size, "%.17g", item->valuedouble);
    else if (cJSON_IsString(item)) snprintf(text, size, "\"%.80s\"", item->valuestring);
    else if (cJSON_IsBool(item)) snprintf(text, size, "%s", cJSON_IsTrue(item) ? "true" : "false");
    else snprintf(text, size, "%s", cJSON_IsNull(item) ? "null" : cJSON_IsArray(item) ? "a list" : "an object");
    return text;
}

static fm_status missing(const reader *r, const char *key)
{
    return fm_fail(r->err, FM_E_FORMAT, "%s lacks the field %s; use the config.json that came with the model.", r->name,
                   key);
}

static fm_status read_count(const reader *r, const char *key, uint32_t most, uint32_t *value)
{
    const cJSON *item = field(r, key);
    if (!item) return missing(r, key);
    uint64_t number;
    char found[100];
    if (!fm_json_u64(item, &number) || number < 1)
        return fm_fail(r->err, FM_E_FORMAT, "%s has %s = %s; it must be an integer from 1 to %u.", r->name, key,
                       describe(item, found, sizeof found), (unsigned)most);
    if (number > most)
        return fm_fail(r->err, FM_E_LIMIT, "%s has %s = %s; at most %u is supported.", r->name, key,
                       describe(item, found, sizeof found), (unsigned)most);
    *value = (uint32_t)number;
    return FM_OK;
}

/* A rate below 1, or a positive number if `positive`. An absent field keeps the value that transformers gives it. */
static fm_status read_real(const reader *r, const char *key, bool positive, float standard, float *value)
{
    *value = standard;
    const cJSON *item = field(r, key);
    if (!item) return FM_OK;
    double number = cJSON_IsNumber(item) ? item->valuedouble : -1.0;
    /* Compared after rounding to float, so that 0.99999999999 does not become a dropout of 1. */
    float rounded = number >= 0.0 && number < 1e30 ? (float)number : -1.0f;
    char found[100];
    if (positive ? !(rounded > 0.0f) : !(rounded >= 0.0f && rounded < 1.0f))
        return fm_fail(r->err, FM_E_FORMAT, "%s has %s = %s; it must be a number %s.", r->name, key,
                       describe(item, found, sizeof found), positive ? "above 0" : "from 0 to below 1");
    *value = rounded;
    return FM_OK;
}

/* A field that, if present, must hold one of the texts that mean what this code computes. */
static fm_status want_text(const reader *r, const char *key, bool required, const char *text, const char *remedy)
{
    const cJSON *item = field(r, key);
    if (!item) return required ? missing(r, key) : FM_OK;
    if (cJSON_IsString(item) && strcmp(item->valuestring, text) == 0) return FM_OK;
    char found[100];
    return fm_fail(r->err, FM_E_UNSUPPORTED, "%s has %s = %s; only \"%s\" is supported%s.", r->name, key,
                   describe(item, found, sizeof found), text, remedy);
}

static fm_status want_tied(const reader *r)
{
    const cJSON *item = field(r, "tie_word_embeddings");
    if (!item || cJSON_IsTrue(item)) return FM_OK;
    char found[100];
    return fm_fail(r->err, FM_E_UNSUPPORTED,
                   "%s has tie_word_embeddings = %s; only models whose output matrix is the word embeddings (true) are "
                   "supported.",
                   r->name, describe(item, found, sizeof found));
}

static fm_status want_whole_layers(const reader *r)
{
    static const char *const drops[] = {"layerdrop", "layer_drop"};
    char found[100];
    for (size_t i = 0; i < sizeof drops / sizeof *drops; i++) {
        const cJSON *item = field(r, drops[i]);
        if (item && !cJSON_IsNull(item) && !(cJSON_IsNumber(item) && item->valuedouble == 0.0))
            return fm_fail(r->err, FM_E_UNSUPPORTED, "%s has %s = %s; dropping layers is not supported, set it to 0.",
                           r->name, drops[i], describe(item, found, sizeof found));
    }
    const cJSON *pruned = field(r, "pruned_heads");
    if (pruned && pruned->child)
        return fm_fail(r->err, FM_E_UNSUPPORTED, "%s has pruned_heads; a model with removed heads is not supported.",
                       r->name);
    return FM_OK;
}

static fm_status read_fields(const reader *r, fm_config *config)
{
    fm_status status = want_text(r, "model_type", true, "distilbert",
                                 ": open a DistilBertForMaskedLM model such as distilbert-base-uncased");
    if (!status) status = want_text(r, "activation", false, "gelu", "");
    if (!status) status = want_tied(r);
    if (!status) status = want_whole_layers(r);
    if (!status) status = read_count(r, "vocab_size", MOST_VOCABULARY, &config->vocab_size);
    if (!status) status = read_count(r, "dim", MOST_HIDDEN, &config->hidden);
    if (!status) status = read_count(r, "n_layers", MOST_LAYERS, &config->layers);
    if (!status) status = read_count(r, "n_heads", MOST_HIDDEN, &config->heads);
    if (!status) status = read_count(r, "hidden_dim", MOST_FEED_FORWARD, &config->feed_forward);
    if (!status) status = read_count(r, "max_position_embeddings", MOST_POSITIONS, &config->positions);
    if (!status) status = read_real(r, "dropout", false, 0.1f, &config->dropout);
    if (!status) status = read_real(r, "attention_dropout", false, 0.1f, &config->attention_dropout);
    if (!status) status = read_real(r, "initializer_range", true, 0.02f, &config->initializer_range);
    if (!status && config->hidden % config->heads != 0)
        status = fm_fail(r->err, FM_E_FORMAT, "%s has n_heads = %u, which does not divide dim = %u.", r->name,
                         (unsigned)config->heads, (unsigned)config->hidden);
    return status;
}

fm_status fm_config_parse(fm_config *config, const void *data, size_t size, const char *name, fm_error *err)
{
    *config = (fm_config){0};
    cJSON *root;
    fm_status status = fm_json_parse(&root, data, size, name, err);
    if (status) return status;
    reader r = {root, name, err};
    if (!cJSON_IsObject(root))
        status = fm_fail(err, FM_E_FORMAT, "%s must hold a JSON object, the fields of a model's configuration.", name);
    else status = read_fields(&r, config);
    cJSON_Delete(root);
    return status;
}

fm_status fm_config_read(fm_config *config, const char *path, fm_error *err)
{
    *config = (fm_config){0};
    fm_blob blob;
    fm_status status = fm_blob_open(&blob, path, err);
    if (status) return status;
    status = fm_config_parse(config, blob.data, blob.size, path, err);
    fm_blob_close(&blob);
    return status;
}

/* The shortest decimal that reads back as the same float, always with a point or an exponent: transformers tells
 * integers from floats. */
static void add_real(fm_buffer *buffer, const char *key, float value)
{
    char text[48];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    /* The point is another character in some locales. */
    char *point = text + strspn(text, "0123456789-");
    if (*point && *point != 'e') *point = '.';
    fm_buffer_format(buffer, "  \"%s\": %s%s,\n", key, text, *point ? "" : ".0");
}

fm_status fm_config_write(const fm_config *config, const char *path, fm_error *err)
{
    fm_buffer text = {0};
    fm_buffer_text(&text,
                   "{\n  \"activation\": \"gelu\",\n  \"architectures\": [\n    \"DistilBertForMaskedLM\"\n  ],\n");
    add_real(&text, "attention_dropout", config->attention_dropout);
    fm_buffer_format(&text, "  \"dim\": %u,\n", (unsigned)config->hidden);
    add_real(&text, "dropout", config->dropout);
    fm_buffer_format(&text, "  \"hidden_dim\": %u,\n", (unsigned)config->feed_forward);
    add_real(&text, "initializer_range", config->initializer_range);
    fm_buffer_format(&text, "  \"max_position_embeddings\": %u,\n  \"model_type\": \"distilbert\",\n",
                     (unsigned)config->positions);
    fm_buffer_format(&text, "  \"n_heads\": %u,\n  \"n_layers\": %u,\n  \"pad_token_id\": 0,\n",
                     (unsigned)config->heads, (unsigned)config->layers);
    /* The position table is stored, however it was first made, so it is declared as a table. */
    fm_buffer_format(&text,
                     "  \"qa_dropout\": 0.1,\n  \"seq_classif_dropout\": 0.2,\n  \"sinusoidal_pos_embds\": false,\n"
                     "  \"tie_weights_\": true,\n  \"tie_word_embeddings\": true,\n  \"vocab_size\": %u\n}\n",
                     (unsigned)config->vocab_size);
    fm_status status =
        text.failed ? fm_fail_memory(err, text.size, path) : fm_file_replace(path, text.data, text.size, err);
    fm_buffer_free(&text);
    return status;
}
