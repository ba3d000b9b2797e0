/* text.c - the operations on texts: tokens, filling, scores, vectors. The JSON is that of the command line. */
#include "service/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokens ---- */

static void add_encoding(call *c, const fm_tokenizer *tokenizer, const char *text, const fm_encoding *e)
{
    fm_buffer *out = c->answer;
    place at = {text, c->service->utf16, 0, 0};
    fm_buffer_text(out, "{\"ids\": [");
    for (size_t i = 0; i < e->count; i++) fm_buffer_format(out, i ? ", %u" : "%u", e->ids[i]);
    fm_buffer_text(out, "], \"tokens\": [");
    for (size_t i = 0; i < e->count; i++) {
        const char *token = fm_tokenizer_token(tokenizer, e->ids[i]);
        if (i > 0) fm_buffer_text(out, ", ");
        fm_buffer_json(out, token, strlen(token));
    }
    fm_buffer_text(out, "], \"offsets\": [");
    for (size_t i = 0; i < e->count; i++) {
        fm_span span = e->offsets[i];
        uint32_t start = span.end > 0 ? service_place(&at, span.start) : 0,
                 end = span.end > 0 ? service_place(&at, span.end) : 0;
        fm_buffer_format(out, i ? ", [%u, %u]" : "[%u, %u]", start, end);
    }
    fm_buffer_text(out, "], \"words\": [");
    for (size_t i = 0; i < e->count; i++) {
        if (i > 0) fm_buffer_text(out, ", ");
        if (e->words[i] == UINT32_MAX) fm_buffer_text(out, "null");
        else fm_buffer_format(out, "%u", e->words[i]);
    }
    fm_buffer_text(out, "]}");
}

fm_status service_encode(call *c)
{
    static const char *const members[] = {"model", "tokenizer", "texts", NULL};
    bool special = true;
    const option options[] = {{"special", OPTION_FLAG, &special, 0, 0, NULL}};
    texts list = {0};
    fm_encoding encoding = {0};
    const fm_tokenizer *tokenizer = service_tokenizer(c);
    fm_status status = tokenizer ? service_options(c, members, options, 1) : c->err->status;
    if (!status) status = service_texts(c, "texts", &list);
    fm_buffer_text(c->answer, "[");
    for (size_t i = 0; i < list.count && !status; i++) {
        if (!service_go_on(c, i, list.count)) status = FM_E_ABORTED;
        else status = fm_tokenizer_encode(tokenizer, list.list[i], strlen(list.list[i]), special, &encoding, c->err);
        if (status) break;
        if (i > 0) fm_buffer_text(c->answer, ", ");
        add_encoding(c, tokenizer, list.list[i], &encoding);
    }
    fm_buffer_text(c->answer, "]");
    fm_encoding_free(&encoding);
    free(list.list);
    return status;
}

fm_status service_decode(call *c)
{
    static const char *const members[] = {"model", "tokenizer", "ids", NULL};
    bool skip_special = false, clean_up = true;
    const option options[] = {{"skip_special_tokens", OPTION_FLAG, &skip_special, 0, 0, NULL},
                              {"clean_up", OPTION_FLAG, &clean_up, 0, 0, NULL}};
    const fm_tokenizer *tokenizer = service_tokenizer(c);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->request, "ids"), *item;
    int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    uint32_t *ids = NULL;
    size_t n = 0;
    char *text = NULL;
    fm_status status = tokenizer ? service_options(c, members, options, 2) : c->err->status;
    if (!status) ids = calloc((size_t)count + 1, sizeof *ids);
    if (!status && !ids) status = fm_fail_memory(c->err, (size_t)count * sizeof *ids, "a list of ids");
    if (!status && !cJSON_IsArray(list)) status = fm_fail(c->err, FM_E_ARGUMENT, "ids must be a list of numbers.");
    cJSON_ArrayForEach(item, list)
    {
        uint64_t id = UINT64_MAX;
        if (!status && (!fm_json_u64(item, &id) || id > UINT32_MAX))
            status = fm_fail(c->err, FM_E_ARGUMENT, "ids[%zu] is not the number of a token.", n);
        if (!status) ids[n++] = (uint32_t)id;
    }
    if (!status) status = fm_tokenizer_decode(tokenizer, ids, n, skip_special, clean_up, &text, c->err);
    if (!status) fm_buffer_json(c->answer, text, strlen(text));
    free(text);
    free(ids);
    return status;
}

/* The ids of tokens' exact texts, null for those that the vocabulary lacks. */
fm_status service_token_ids(call *c)
{
    static const char *const members[] = {"model", "tokenizer", "tokens", NULL};
    const fm_tokenizer *tokenizer = service_tokenizer(c);
    texts list = {0};
    fm_status status = tokenizer ? service_options(c, members, NULL, 0) : c->err->status;
    if (!status) status = service_texts(c, "tokens", &list);
    fm_buffer_text(c->answer, "[");
    for (size_t i = 0; i < list.count; i++) {
        uint32_t id;
        if (i > 0) fm_buffer_text(c->answer, ", ");
        if (fm_tokenizer_find(tokenizer, list.list[i], strlen(list.list[i]), &id))
            fm_buffer_format(c->answer, "%u", id);
        else fm_buffer_text(c->answer, "null");
    }
    fm_buffer_text(c->answer, "]");
    free(list.list);
    return status;
}

/* All tokens, in the order of their ids. */
fm_status service_vocabulary(call *c)
{
    static const char *const members[] = {"model", "tokenizer", NULL};
    const fm_tokenizer *tokenizer = service_tokenizer(c);
    fm_status status = tokenizer ? service_options(c, members, NULL, 0) : c->err->status;
    if (status) return status;
    for (uint32_t i = 0; i < fm_tokenizer_size(tokenizer); i++) {
        const char *token = fm_tokenizer_token(tokenizer, i);
        fm_buffer_text(c->answer, i ? ", " : "[");
        fm_buffer_json(c->answer, token, strlen(token));
    }
    fm_buffer_text(c->answer, "]");
    return FM_OK;
}

/* ---- filling ---- */

typedef struct filling {
    call *c;
    fm_model *model;
    fm_fill_options options;
    const char *text;
    size_t size;
    place at;
} filling;

static void add_sequence(filling *f, const fm_filling *fillings, size_t count)
{
    fm_text sequence;
    fm_error err;
    if (fm_fill_write(f->text, f->size, fillings, count, &sequence, &err)) f->c->answer->failed = true;
    else fm_buffer_json(f->c->answer, sequence.data, sequence.size);
    free(sequence.data);
}

/* The members that tell of one mask's filling; without braces. */
static void add_filling(filling *f, const fm_mask_fillings *mask, const fm_filling *filled)
{
    fm_buffer *out = f->c->answer;
    const char *word = filled->target == SIZE_MAX ? fm_tokenizer_token(fm_model_tokenizer(f->model), filled->tokens[0])
                                                  : f->options.targets[filled->target];
    fm_buffer_format(out, "\"score\": %.9g, \"log_probability\": %.9g, \"token\": ", filled->score,
                     filled->log_probability);
    if (filled->count == 1) fm_buffer_format(out, "%u", filled->tokens[0]);
    else {
        fm_buffer_text(out, "null, \"tokens\": [");
        for (size_t i = 0; i < filled->count; i++) fm_buffer_format(out, i ? ", %u" : "%u", filled->tokens[i]);
        fm_buffer_text(out, "]");
    }
    fm_buffer_text(out, ", \"token_str\": ");
    fm_buffer_json(out, word, strlen(word));
    fm_buffer_format(out, ", \"start\": %u", service_place(&f->at, mask->start));
    fm_buffer_format(out, ", \"end\": %u", service_place(&f->at, mask->end));
}

static void add_mask(filling *f, const fm_mask_fillings *mask)
{
    fm_buffer_text(f->c->answer, "[");
    for (size_t i = 0; i < mask->count; i++) {
        fm_buffer_text(f->c->answer, i ? ", {\"sequence\": " : "{\"sequence\": ");
        add_sequence(f, &mask->top[i], 1);
        fm_buffer_text(f->c->answer, ", ");
        add_filling(f, mask, &mask->top[i]);
        fm_buffer_text(f->c->answer, "}");
    }
    fm_buffer_text(f->c->answer, "]");
}

static void add_text(filling *f, const fm_fill_result *result, const fm_text_filling *filled)
{
    fm_buffer *out = f->c->answer;
    fm_buffer_text(out, "{\"sequence\": ");
    add_sequence(f, filled->fillings, result->masks);
    fm_buffer_format(out, ", \"score\": %.9g, \"log_probability\": %.9g, \"fillings\": [", filled->score,
                     filled->log_probability);
    for (size_t i = 0; i < result->masks; i++) {
        fm_buffer_text(out, i ? ", {" : "{");
        add_filling(f, &result->mask[i], &filled->fillings[i]);
        fm_buffer_text(out, "}");
    }
    fm_buffer_text(out, "]}");
}

static fm_status fill_one(filling *f)
{
    call *c = f->c;
    fm_fill_result result;
    fm_status status = fm_fill(f->model, f->text, f->size, &f->options, c->progress, c->context, &result, c->err);
    if (status) return status;
    bool each = f->options.mode == FM_FILL_EACH;
    size_t count = each ? result.masks : result.count;
    f->at = (place){f->text, c->service->utf16, 0, 0};
    fm_buffer_text(c->answer, "[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) fm_buffer_text(c->answer, ", ");
        if (each) add_mask(f, &result.mask[i]);
        else add_text(f, &result, &result.texts[i]);
    }
    fm_buffer_text(c->answer, "]");
    fm_fill_result_free(&result);
    return FM_OK;
}

/* Calls `one` for each of the request's texts. `first`, if not 0, is the number of the first text for errors, where
 * texts come in several requests. */
static fm_status each_text(call *c, uint64_t first, fm_status (*one)(void *context, const char *text), void *context)
{
    texts list = {0};
    fm_status status = service_texts(c, "texts", &list);
    fm_buffer_text(c->answer, "[");
    for (size_t i = 0; i < list.count && !status; i++) {
        if (i > 0) fm_buffer_text(c->answer, ", ");
        status = service_go_on(c, i, list.count) ? one(context, list.list[i]) : FM_E_ABORTED;
        if (!status || status == FM_E_ABORTED || first == 0) continue;
        fm_error cause = *c->err;
        fm_fail(c->err, status, "Text %llu: %.900s", (unsigned long long)(first + i), cause.text);
    }
    fm_buffer_text(c->answer, "]");
    free(list.list);
    return status;
}

static fm_status fill_text(void *context, const char *text)
{
    filling *f = context;
    f->text = text;
    f->size = strlen(text);
    return fill_one(f);
}

/* `allowed` has a character for each token, "1" for those that it allows; free(*flags), which stays NULL without it. */
static fm_status read_allowed(const call *c, const fm_model *model, bool **flags)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(c->request, "allowed");
    uint32_t size = fm_tokenizer_size(fm_model_tokenizer(model));
    *flags = NULL;
    if (!item) return FM_OK;
    if (!cJSON_IsString(item) || strlen(item->valuestring) != size)
        return fm_fail(c->err, FM_E_ARGUMENT, "allowed must be a text of %u characters, one for each token.", size);
    *flags = calloc(size, sizeof **flags);
    if (!*flags) return fm_fail_memory(c->err, size, "the tokens for a mask");
    for (uint32_t i = 0; i < size; i++) (*flags)[i] = item->valuestring[i] == '1';
    return FM_OK;
}

/* Of each text a list: of lists of fillings, one a mask; or, filled jointly or by drawing, of fillings of the text. */
fm_status service_fill(call *c)
{
    static const char *const members[] = {"model", "texts", "allowed", NULL};
    const fm_fill_options defaults = fm_fill_defaults();
    uint64_t top_k = defaults.top_k, beams = defaults.beams, draw_from = defaults.draw_from, seed = defaults.seed;
    double top_p = defaults.top_p, temperature = defaults.temperature;
    bool joint = false, sample = false, special = false, pieces = false;
    uint64_t first = 0;
    texts targets = {0}, excluded = {0};
    bool *allowed = NULL;
    const option options[] = {
        {"top_k", OPTION_WHOLE, &top_k, 1, 1e6, NULL},
        {"beams", OPTION_WHOLE, &beams, 1, 1e5, NULL},
        {"draw_from", OPTION_WHOLE, &draw_from, 0, 1e6, NULL},
        {"seed", OPTION_WHOLE, &seed, 0, 9e15, NULL},
        {"top_p", OPTION_NUMBER, &top_p, 1e-6, 1, NULL},
        {"temperature", OPTION_NUMBER, &temperature, 1e-3, 1000, NULL},
        {"joint", OPTION_FLAG, &joint, 0, 0, NULL},
        {"sample", OPTION_FLAG, &sample, 0, 0, NULL},
        {"special", OPTION_FLAG, &special, 0, 0, NULL},
        {"pieces", OPTION_FLAG, &pieces, 0, 0, NULL},
        {"targets", OPTION_TEXTS, &targets, 0, 0, NULL},
        {"exclude", OPTION_TEXTS, &excluded, 0, 0, NULL},
        {"first", OPTION_WHOLE, &first, 1, 9e15, NULL},
    };
    kept *k = service_find(c, "model", KIND_MODEL);
    fm_status status = k ? service_options(c, members, options, sizeof options / sizeof *options) : c->err->status;
    if (!status && joint && sample)
        status = fm_fail(c->err, FM_E_ARGUMENT, "joint and sample exclude each other; ask for one of them.");
    if (!status && targets.list && targets.count == 0)
        status = fm_fail(c->err, FM_E_ARGUMENT, "targets is empty; name the words to choose from, or leave it out.");
    if (!status) status = read_allowed(c, k->item, &allowed);
    if (!status) {
        filling f = {.c = c, .model = k->item};
        f.options = (fm_fill_options){.mode = joint    ? FM_FILL_JOINT
                                              : sample ? FM_FILL_SAMPLE
                                                       : FM_FILL_EACH,
                                      .top_k = (size_t)top_k,
                                      .targets = targets.list,
                                      .target_count = targets.count,
                                      .allowed = allowed,
                                      .excluded = excluded.list,
                                      .excluded_count = excluded.count,
                                      .special = special,
                                      .pieces = pieces,
                                      .beams = (size_t)beams,
                                      .draw_from = (uint32_t)draw_from,
                                      .top_p = top_p,
                                      .temperature = temperature,
                                      .seed = seed};
        status = each_text(c, first, fill_text, &f);
    }
    free(targets.list);
    free(excluded.list);
    free(allowed);
    return status;
}

/* ---- scores ---- */

typedef struct scoring {
    call *c;
    fm_model *model;
    int method;
} scoring;

static fm_status score_text(void *context, const char *text)
{
    const scoring *s = context;
    call *c = s->c;
    fm_buffer *out = c->answer;
    fm_score_result result;
    fm_status status =
        fm_score(s->model, text, strlen(text), (fm_score_method)s->method, c->progress, c->context, &result, c->err);
    if (status) return status;
    place at = {text, c->service->utf16, 0, 0};
    fm_buffer_format(out, "{\"score\": %.9g, \"pseudo_perplexity\": %.9g, \"tokens\": [", result.score,
                     exp(-result.score / (double)result.count));
    for (size_t i = 0; i < result.count; i++) {
        const fm_token_score *t = &result.tokens[i];
        const char *token = fm_tokenizer_token(fm_model_tokenizer(s->model), t->token);
        fm_buffer_text(out, i ? ", {\"token\": " : "{\"token\": ");
        fm_buffer_json(out, token, strlen(token));
        fm_buffer_format(out, ", \"start\": %u", service_place(&at, t->start));
        fm_buffer_format(out, ", \"end\": %u, \"word\": %u", service_place(&at, t->end), t->word);
        fm_buffer_format(out, ", \"log_probability\": %.9g}", (double)t->log_probability);
    }
    fm_buffer_text(out, "]}");
    fm_score_result_free(&result);
    return FM_OK;
}

fm_status service_score(call *c)
{
    static const char *const members[] = {"model", "texts", NULL}, *const masks[] = {"word", "token", NULL};
    scoring s = {.c = c, .method = FM_SCORE_WORD};
    uint64_t first = 0;
    const option options[] = {{"mask", OPTION_CHOICE, &s.method, 0, 0, masks},
                              {"first", OPTION_WHOLE, &first, 1, 9e15, NULL}};
    kept *k = service_find(c, "model", KIND_MODEL);
    fm_status status = k ? service_options(c, members, options, 2) : c->err->status;
    if (status) return status;
    s.model = k->item;
    return each_text(c, first, score_text, &s);
}

/* ---- vectors ---- */

static void add_vector(fm_buffer *out, const float *vector, size_t width, bool normalize)
{
    double squares = 0.0;
    for (size_t i = 0; i < width; i++) squares += (double)vector[i] * (double)vector[i];
    double scale = normalize && squares > 0.0 ? 1.0 / sqrt(squares) : 1.0;
    for (size_t i = 0; i < width; i++) fm_buffer_format(out, i ? ", %.9g" : "[%.9g", (double)vector[i] * scale);
    fm_buffer_text(out, "]");
}

/* The texts share batches, so an error that one of them has is found before. */
static fm_status check_texts(const call *c, const fm_tokenizer *tokenizer, const texts *list, uint64_t first)
{
    fm_encoding encoding = {0};
    fm_status status = FM_OK;
    for (size_t i = 0; i < list->count && !status; i++) {
        status = fm_tokenizer_encode(tokenizer, list->list[i], strlen(list->list[i]), false, &encoding, c->err);
        if (status || encoding.count > 0) continue;
        char number[40] = "The text";
        if (first > 0) snprintf(number, sizeof number, "Text %llu", (unsigned long long)(first + i));
        status = fm_fail(c->err, FM_E_FORMAT, "%s has no token; it is empty or holds only white space.", number);
    }
    fm_encoding_free(&encoding);
    return status;
}

fm_status service_embed(call *c)
{
    static const char *const members[] = {"model", "texts", NULL};
    bool normalize = false;
    uint64_t first = 0;
    const option options[] = {{"normalize", OPTION_FLAG, &normalize, 0, 0, NULL},
                              {"first", OPTION_WHOLE, &first, 1, 9e15, NULL}};
    texts list = {0};
    kept *k = service_find(c, "model", KIND_MODEL);
    fm_status status = k ? service_options(c, members, options, 2) : c->err->status;
    if (!status) status = service_texts(c, "texts", &list);
    if (!status) status = check_texts(c, fm_model_tokenizer(k->item), &list, first);
    size_t width = status ? 0 : fm_model_width(k->item), bytes;
    fm_size_mul(list.count, width * sizeof(float), &bytes);
    float *vectors = calloc(list.count + 1, width * sizeof *vectors); /* which checks the product */
    fm_view *views = calloc(list.count + 1, sizeof *views);
    if (!status && (!vectors || !views)) status = fm_fail_memory(c->err, bytes, "vectors");
    for (size_t i = 0; i < list.count && !status; i++) views[i] = (fm_view){list.list[i], strlen(list.list[i])};
    if (!status) status = fm_embed(k->item, views, list.count, c->progress, c->context, vectors, c->err);
    fm_buffer_text(c->answer, "[");
    for (size_t i = 0; i < list.count && !status; i++) {
        if (i > 0) fm_buffer_text(c->answer, ", ");
        add_vector(c->answer, vectors + i * width, width, normalize);
    }
    fm_buffer_text(c->answer, "]");
    free(vectors);
    free(views);
    free(list.list);
    return status;
}
