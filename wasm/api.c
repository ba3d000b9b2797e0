/* api.c - the functions that the WebAssembly module exports, and all the host sees of the core. web/engine.js is the
 * host's side; the two change together, and ABI with them.
 *
 * Only numbers cross the border. Texts and arrays are pointers and sizes of memory that the host gets from api_alloc;
 * results are memory that the host gives back to api_free. A function that returns a pointer returns NULL on failure,
 * one that returns an int a negative number; api_error tells what went wrong. All calls come from one thread but for
 * api_thread.
 */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/tasks.h"
#include "train/train.h"

#define ABI 1

static fm_error problem;   /* of the last call that failed */
static size_t result_size; /* bytes of the last result */
static fm_buffer answer;   /* the last text that stays the core's */

typedef struct loaded {
    fm_model *model;
    void *weights; /* the file's bytes, which the model reads */
} loaded;

/* ---- memory, errors, threads ---- */

int api_abi(void)
{
    return ABI;
}

void *api_alloc(size_t size)
{
    void *memory = malloc(size > 0 ? size : 1);
    if (!memory) fm_fail_memory(&problem, size, "data of the program");
    return memory;
}

void api_free(void *memory)
{
    free(memory);
}

/* An fm_status, and its sentence. */
int api_error(void)
{
    return (int)problem.status;
}

const char *api_error_text(void)
{
    return problem.text;
}

/* Bytes of the last result that api_free takes. */
size_t api_size(void)
{
    return result_size;
}

/* See fm_pool_crew and fm_pool_serve. */
void api_threads(int threads)
{
    fm_pool_crew(threads);
}

void api_thread(int number)
{
    fm_pool_serve(number);
}

/* Keeps a text until the next one. */
static const char *give_text(fm_buffer *text)
{
    fm_buffer_free(&answer);
    answer = *text;
    if (answer.failed) fm_fail_memory(&problem, answer.size, "a result");
    return answer.failed ? NULL : answer.data;
}

static uint32_t *new_result(size_t words)
{
    size_t bytes;
    uint32_t *result = fm_size_mul(words > 0 ? words : 1, sizeof *result, &bytes) ? malloc(bytes) : NULL;
    if (!result) fm_fail_memory(&problem, words, "a result");
    result_size = words * sizeof *result;
    return result;
}

/* ---- models ---- */

/* Memory for the values of a model, and where each parameter is in it. */
static fm_status new_values(const fm_parameters *parameters, float **values, const float ***pointers)
{
    *values = fm_alloc((size_t)parameters->elements, sizeof **values);
    *pointers = calloc(parameters->count, sizeof **pointers);
    if (!*values || !*pointers)
        return fm_fail_memory(&problem, (size_t)parameters->elements * sizeof **values, "the weights");
    for (size_t i = 0; i < parameters->count; i++) (*pointers)[i] = *values + parameters->list[i].offset;
    return FM_OK;
}

/* Random weights for a model that is to be trained. */
static fm_status first_weights(const fm_model_files *files, void **data, size_t *size)
{
    fm_config config;
    fm_parameters parameters = {0};
    float *values = NULL;
    const float **pointers = NULL;
    uint8_t *built = NULL;
    fm_status status = fm_config_parse(&config, files->config, files->config_size, "config.json", &problem);
    if (!status) status = fm_parameters_make(&parameters, &config, &problem);
    if (!status) status = new_values(&parameters, &values, &pointers);
    if (!status) status = fm_initialise(values, &config, &parameters, 42, false, NULL, &problem);
    if (!status) status = fm_weights_build(&built, size, &parameters, pointers, FM_STORED_F32, &problem);
    *data = built;
    free(pointers);
    fm_free(values);
    fm_parameters_free(&parameters);
    return status;
}

/* A model from the bytes of its files; NULL for those that are not there, "" for the best instruction set. `weights`,
 * from api_alloc, is taken over, also on failure; without it the weights are random. */
loaded *api_open(const char *config, size_t config_size, const char *json, size_t json_size, const char *vocab,
                 size_t vocab_size, const char *tokenizer_config, size_t tokenizer_config_size, const char *set,
                 size_t set_size, void *weights, size_t weights_size)
{
    char name[32] = "";
    fm_model_files files = {.config = config,
                            .config_size = config_size,
                            .tokenizer = {json, vocab, tokenizer_config, json_size, vocab_size, tokenizer_config_size},
                            .weights = weights,
                            .weights_size = weights_size};
    const fm_model_options options = {.instruction_set = set_size > 0 ? name : NULL};
    memcpy(name, set, set_size < sizeof name ? set_size : sizeof name - 1);
    fm_status status = FM_OK;
    if (!weights) {
        status = first_weights(&files, &weights, &files.weights_size);
        files.weights = weights;
    }
    loaded *m = calloc(1, sizeof *m);
    if (!status && !m) status = fm_fail_memory(&problem, sizeof *m, "a model");
    if (!status) status = fm_model_open_memory(&m->model, &files, &options, &problem);
    if (!status) {
        m->weights = weights;
        return m;
    }
    free(m);
    free(weights);
    return NULL;
}

void api_close(loaded *m)
{
    fm_model_close(m->model);
    free(m->weights);
    free(m);
}

const char *api_info(const loaded *m)
{
    static const char *const types[] = {
        [FM_STORED_F32] = "f32", [FM_STORED_F16] = "f16", [FM_STORED_BF16] = "bf16", [FM_STORED_I8] = "int8"};
    const fm_model *model = m->model;
    const fm_config *c = &model->config;
    fm_special_ids special = fm_tokenizer_special(model->tokenizer);
    uint64_t parameters = 0;
    for (size_t i = 0; i < model->parameters.count; i++)
        parameters += (uint64_t)model->parameters.list[i].rows * model->parameters.list[i].cols;
    const char *mask = fm_tokenizer_token(model->tokenizer, special.mask);
    fm_buffer text = {0};
    fm_buffer_format(&text, "{\"vocab_size\":%u,\"hidden\":%u,\"layers\":%u,\"heads\":%u,\"feed_forward\":%u",
                     c->vocab_size, c->hidden, c->layers, c->heads, c->feed_forward);
    fm_buffer_format(&text, ",\"positions\":%u,\"parameters\":%llu,\"dtype\":\"%s\"", c->positions,
                     (unsigned long long)parameters, types[model->weights.stored]);
    fm_buffer_format(&text, ",\"instruction_set\":\"%s\",\"threads\":%d", fm_cpu_instruction_set(model->backend),
                     fm_pool_threads(fm_cpu_pool(model->backend)));
    fm_buffer_format(&text, ",\"special\":{\"pad\":%u,\"unk\":%u,\"cls\":%u,\"sep\":%u,\"mask\":%u},\"mask_token\":",
                     special.pad, special.unk, special.cls, special.sep, special.mask);
    fm_buffer_json(&text, mask, strlen(mask));
    fm_buffer_text(&text, "}");
    return give_text(&text);
}

/* The model as model.safetensors; type is an fm_stored_type. */
void *api_save(const loaded *m, int type)
{
    uint8_t *data;
    return fm_weights_build(&data, &result_size, &m->model->parameters, m->model->weights.values, (fm_stored_type)type,
                            &problem)
               ? NULL
               : data;
}

/* ---- text ---- */

/* Bytes of UTF-8 as UTF-16 code units. Places are asked for in rising order, or it starts again. */
typedef struct place {
    const char *text;
    uint32_t byte, unit;
} place;

static uint32_t unit_of(place *p, uint32_t byte)
{
    if (byte < p->byte) p->byte = p->unit = 0;
    for (; p->byte < byte; p->byte++) {
        uint8_t c = (uint8_t)p->text[p->byte];
        p->unit += (c & 0xc0) == 0x80 ? 0 : c >= 0xf0 ? 2 : 1;
    }
    return p->unit;
}

/* Words of 32 bits: the number of masks, then for each its start, end and number of fillings, and for each of these the
 * token and the bits of its score as a float. */
uint32_t *api_fill(loaded *m, const char *text, size_t size, size_t k)
{
    fm_fill_options options = fm_fill_defaults();
    fm_fill_result fillings;
    options.top_k = k;
    options.special = options.pieces = true;
    if (fm_fill(m->model, text, size, &options, NULL, NULL, &fillings, &problem)) return NULL;
    size_t words = 1;
    for (size_t i = 0; i < fillings.masks; i++) words += 3 + 2 * fillings.mask[i].count;
    uint32_t *result = new_result(words), *to = result;
    place at = {text, 0, 0};
    if (result) *to++ = (uint32_t)fillings.masks;
    for (size_t i = 0; i < fillings.masks && result; i++) {
        const fm_mask_fillings *mask = &fillings.mask[i];
        *to++ = unit_of(&at, mask->start);
        *to++ = unit_of(&at, mask->end);
        *to++ = (uint32_t)mask->count;
        for (size_t j = 0; j < mask->count; j++, to += 2) {
            float score = (float)mask->top[j].score;
            to[0] = mask->top[j].tokens[0];
            memcpy(to + 1, &score, sizeof score);
        }
    }
    fm_fill_result_free(&fillings);
    return result;
}

/* Words of 32 bits: of n tokens the ids, then the starts, the ends, and the indices of words. */
uint32_t *api_encode(const loaded *m, const char *text, size_t size, int special)
{
    fm_encoding encoding = {0};
    uint32_t *result = NULL;
    if (!fm_tokenizer_encode(m->model->tokenizer, text, size, special != 0, &encoding, &problem))
        result = new_result(4 * encoding.count);
    size_t n = encoding.count;
    place start = {text, 0, 0}, end = {text, 0, 0};
    for (size_t i = 0; i < n && result; i++) {
        fm_span span = encoding.offsets[i];
        bool added = span.end == 0;
        result[i] = encoding.ids[i];
        result[n + i] = added ? 0 : unit_of(&start, span.start);
        result[2 * n + i] = added ? 0 : unit_of(&end, span.end);
        result[3 * n + i] = encoding.words[i];
    }
    fm_encoding_free(&encoding);
    return result;
}

char *api_decode(const loaded *m, const uint32_t *ids, size_t count, int skip_special, int clean_up)
{
    char *text;
    if (fm_tokenizer_decode(m->model->tokenizer, ids, count, skip_special != 0, clean_up != 0, &text, &problem))
        return NULL;
    result_size = strlen(text);
    return text;
}

/* A token's text, which is the model's. */
const char *api_token(const loaded *m, uint32_t id)
{
    const char *text = fm_tokenizer_token(m->model->tokenizer, id);
    if (!text)
        fm_fail(&problem, FM_E_ARGUMENT, "The vocabulary has no token %u; ids are below %u.", id,
                fm_tokenizer_size(m->model->tokenizer));
    return text;
}

/* The id of a token's exact text, or a negative number. */
int32_t api_token_id(const loaded *m, const char *token, size_t size)
{
    uint32_t id;
    return fm_tokenizer_find(m->model->tokenizer, token, size, &id) ? (int32_t)id : -1;
}

/* ---- corpora ---- */

fm_corpus_builder *api_corpus(const loaded *m)
{
    fm_corpus_builder *corpus;
    return fm_corpus_builder_create(&corpus, m->model->tokenizer, &problem) ? NULL : corpus;
}

int api_corpus_add(fm_corpus_builder *corpus, const char *text, size_t size)
{
    return fm_corpus_builder_add(corpus, text, size, &problem) ? -1 : 0;
}

/* For a corpus that went into no trainer and no evaluation. */
void api_corpus_close(fm_corpus_builder *corpus)
{
    fm_corpus_builder_destroy(corpus);
}

/* ---- training ---- */

typedef struct training {
    loaded *model;
    fm_config config; /* with the dropout that was asked for */
    fm_corpus corpus;
    fm_train_options options;
    fm_trainer *trainer;
} training;

/* The numbers that a training takes, under the names that the host gives them. */
enum {
    LENGTH,
    BATCH,
    STEPS,
    EPOCHS,
    RATE,
    WARMUP,
    DECAY,
    CLIP,
    DROPOUT,
    MASK_RATE,
    WHOLE_WORDS,
    SEED,
    LIMIT,
    MICRO,
    NUMBERS
};
typedef struct number {
    const char *name;
    double usual, least, most;
    bool whole;
} number;
static const number numbers[NUMBERS] = {
    [LENGTH] = {"length", 128, 2, 32768, true},
    [BATCH] = {"batch", 64, 1, 65536, true},
    [STEPS] = {"steps", 0, 0, 4e9, true},
    [EPOCHS] = {"epochs", 1, 0.001, 10000, false},
    [RATE] = {"learning_rate", 5e-5, 1e-9, 0.9, false},
    [WARMUP] = {"warmup", 0, 0, 4e9, false},
    [DECAY] = {"weight_decay", 0.01, 0, 1, false},
    [CLIP] = {"clip", 1, 0, 1e9, false},
    [DROPOUT] = {"dropout", -1, 0, 0.9, false},
    [MASK_RATE] = {"mask_rate", 0.15, 0.01, 0.9, false},
    [WHOLE_WORDS] = {"whole_words", 0, 0, 1, true},
    [SEED] = {"seed", 42, 0, 4294967295.0, true},
    [LIMIT] = {"limit", 0, 0, 4e9, true},
    [MICRO] = {"micro_tokens", 2048, 64, 1e6, true},
};

/* The values that a training starts from. */
typedef enum first { FIRST_MODELS, FIRST_NORMAL, FIRST_NEIGHBOURS } first;

static fm_status read_option(const cJSON *item, double *values, first *start)
{
    if (strcmp(item->string, "init") == 0) {
        const char *text = cJSON_IsString(item) ? item->valuestring : "";
        *start = strcmp(text, "neighbours") == 0 ? FIRST_NEIGHBOURS : FIRST_NORMAL;
        if (*start == FIRST_NEIGHBOURS || strcmp(text, "normal") == 0) return FM_OK;
        return fm_fail(&problem, FM_E_ARGUMENT, "init is \"%.40s\"; it must be normal or neighbours.", text);
    }
    size_t i = 0;
    while (i < NUMBERS && strcmp(numbers[i].name, item->string) != 0) i++;
    if (i == NUMBERS)
        return fm_fail(&problem, FM_E_ARGUMENT,
                       "A training has no option \"%.80s\"; see TrainOptions for those it has.", item->string);
    const number *n = &numbers[i];
    double value = cJSON_IsNumber(item) ? item->valuedouble : cJSON_IsBool(item) ? cJSON_IsTrue(item) : (double)NAN;
    if (!(value >= n->least && value <= n->most) || (n->whole && value != floor(value)))
        return fm_fail(&problem, FM_E_ARGUMENT, "%s is %g; it must be a %snumber from %.10g to %.10g.", n->name, value,
                       n->whole ? "whole " : "", n->least, n->most);
    values[i] = value;
    return FM_OK;
}

static fm_status read_options(const char *json, size_t size, double *values, first *start)
{
    cJSON *root;
    for (size_t i = 0; i < NUMBERS; i++) values[i] = numbers[i].usual;
    *start = FIRST_MODELS;
    fm_status status = fm_json_parse(&root, json, size, "The options", &problem);
    if (status) return status;
    const cJSON *item;
    cJSON_ArrayForEach(item, root)
    {
        status = read_option(item, values, start);
        if (status) break;
    }
    cJSON_Delete(root);
    return status;
}

static fm_status plan(training *t, const double *values)
{
    double steps = values[STEPS];
    if (values[DROPOUT] >= 0.0) t->config.dropout = t->config.attention_dropout = (float)values[DROPOUT];
    if (steps == 0.0) {
        fm_chunks chunks;
        fm_status status = fm_chunks_make(&chunks, &t->corpus, (uint32_t)values[LENGTH], &problem);
        if (status) return status;
        double count = values[LIMIT] > 0.0 && values[LIMIT] < chunks.count ? values[LIMIT] : chunks.count;
        steps = ceil(ceil(count / values[BATCH]) * values[EPOCHS]);
        fm_chunks_free(&chunks);
    }
    t->options = (fm_train_options){
        .phases = {{(uint32_t)values[LENGTH], (uint32_t)values[BATCH], (uint64_t)steps}},
        .phase_count = 1,
        .warmup = (uint64_t)(values[WARMUP] < 1.0 ? values[WARMUP] * steps : values[WARMUP]),
        .learning_rate = values[RATE],
        .beta1 = 0.9,
        .beta2 = 0.999,
        .epsilon = 1e-8,
        .weight_decay = values[DECAY],
        .clip = values[CLIP],
        .dropout = t->config.dropout > 0.0f || t->config.attention_dropout > 0.0f,
        .mask_rate = (float)values[MASK_RATE],
        .whole_words = values[WHOLE_WORDS] > 0.0,
        .seed = (uint32_t)values[SEED],
        .micro_tokens = (uint32_t)values[MICRO],
        .limit = (uint32_t)values[LIMIT],
    };
    return FM_OK;
}

static fm_status start_training(training *t, first start)
{
    const fm_model *model = t->model->model;
    float *values = NULL;
    const float **pointers = NULL;
    fm_status status = FM_OK;
    if (start != FIRST_MODELS) {
        status = new_values(&model->parameters, &values, &pointers);
        if (!status)
            status = fm_initialise(values, &t->config, &model->parameters, t->options.seed, start == FIRST_NEIGHBOURS,
                                   &t->corpus, &problem);
    }
    if (!status)
        status = fm_trainer_create(&t->trainer, &t->config, &model->parameters, model->tokenizer, model->backend,
                                   &t->corpus, &t->options, pointers ? pointers : model->weights.values, &problem);
    fm_free(values);
    free(pointers);
    return status;
}

void api_trainer_close(training *t)
{
    fm_trainer_destroy(t->trainer);
    fm_corpus_free(&t->corpus);
    free(t);
}

/* options is a JSON object: TrainOptions of web/engine.js. The corpus is taken over, also on failure; the model must
 * outlive the training. */
training *api_trainer(loaded *m, fm_corpus_builder *corpus, const char *options, size_t size)
{
    double values[NUMBERS];
    first start;
    training *t = calloc(1, sizeof *t);
    if (!t) {
        fm_corpus_builder_destroy(corpus);
        fm_fail_memory(&problem, sizeof *t, "a training");
        return NULL;
    }
    t->model = m;
    t->config = m->model->config;
    fm_corpus_builder_finish(corpus, &t->corpus);
    fm_status status = read_options(options, size, values, &start);
    if (!status) status = plan(t, values);
    if (!status) status = start_training(t, start);
    if (!status) return t;
    api_trainer_close(t);
    return NULL;
}

/* Does the next part: 0, 1 if that completed a step, 2 if all steps had been made before. */
int api_trainer_advance(training *t)
{
    bool stepped;
    if (fm_trainer_report(t->trainer)->step == fm_trainer_steps(t->trainer)) return 2;
    if (fm_trainer_advance(t->trainer, &stepped, &problem)) return -1;
    return stepped;
}

/* Of the last step, as JSON: TrainReport of web/engine.js. */
const char *api_trainer_report(const training *t)
{
    const fm_train_report *r = fm_trainer_report(t->trainer);
    fm_buffer text = {0};
    fm_buffer_format(&text, "{\"step\":%llu,\"steps\":%llu,\"epoch\":%.9g", (unsigned long long)r->step,
                     (unsigned long long)fm_trainer_steps(t->trainer), r->epoch);
    fm_buffer_format(&text, isfinite(r->loss) ? ",\"loss\":%.17g" : ",\"loss\":null", r->loss);
    fm_buffer_format(&text, isfinite(r->norm) ? ",\"norm\":%.17g" : ",\"norm\":null", r->norm);
    fm_buffer_format(&text, ",\"learning_rate\":%.9g,\"tokens\":%llu,\"masked\":%llu}", r->learning_rate,
                     (unsigned long long)r->tokens, (unsigned long long)r->masked);
    return give_text(&text);
}

/* Gives the model the values that the training has reached. */
int api_trainer_apply(training *t)
{
    loaded *m = t->model;
    float *values = NULL;
    const float **pointers = NULL;
    uint8_t *data = NULL;
    size_t size;
    fm_status status = new_values(&m->model->parameters, &values, &pointers);
    if (!status) status = fm_trainer_values(t->trainer, values, &problem);
    if (!status) status = fm_weights_build(&data, &size, &m->model->parameters, pointers, FM_STORED_F32, &problem);
    fm_free(values);
    free(pointers);
    if (!status) status = fm_model_replace_weights(m->model, data, size, &problem);
    if (status) {
        fm_free(data);
        return -1;
    }
    free(m->weights);
    m->weights = data;
    return 0;
}

/* ---- evaluation ---- */

typedef struct evaluation {
    fm_corpus corpus;
    fm_evaluator *evaluator;
} evaluation;

void api_evaluation_close(evaluation *e)
{
    fm_evaluator_destroy(e->evaluator);
    fm_corpus_free(&e->corpus);
    free(e);
}

static fm_status start_evaluation(evaluation *e, fm_model *model, uint32_t length, uint32_t limit)
{
    if (length < 2 || length > model->config.positions)
        return fm_fail(&problem, FM_E_ARGUMENT, "length is %u; it must be from 2 to the model's %u positions.", length,
                       model->config.positions);
    uint32_t tokens = length > 512 ? length : 512;
    const fm_room room = {tokens, tokens / length, tokens / 2 > length ? tokens / 2 : length, false};
    const fm_masking masking = {0.15f, false, 42, model->config.vocab_size, fm_tokenizer_special(model->tokenizer)};
    fm_network *network;
    fm_status status = fm_model_network(model, &room, &network, &problem);
    if (status) return status;
    return fm_evaluator_create(&e->evaluator, network, model->backend, &room, &e->corpus, model->tokenizer, &masking,
                               length, limit, &problem);
}

/* As `fillmask eval` measures. The corpus is taken over, also on failure. The model must not be used otherwise until
 * the evaluation is closed. */
evaluation *api_evaluation(loaded *m, fm_corpus_builder *corpus, uint32_t length, uint32_t limit)
{
    evaluation *e = calloc(1, sizeof *e);
    if (!e) {
        fm_corpus_builder_destroy(corpus);
        fm_fail_memory(&problem, sizeof *e, "an evaluation");
        return NULL;
    }
    fm_corpus_builder_finish(corpus, &e->corpus);
    if (!start_evaluation(e, m->model, length, limit)) return e;
    api_evaluation_close(e);
    return NULL;
}

/* Does the next part: 0, or 2 when all is done. */
int api_evaluation_advance(evaluation *e)
{
    bool more;
    if (fm_evaluator_step(e->evaluator, &more, &problem)) return -1;
    if (more) return 0;
    if (fm_evaluator_result(e->evaluator)->masked > 0) return 2;
    fm_fail(&problem, FM_E_FORMAT, "No token of the texts was masked; use more text.");
    return -1;
}

/* As JSON: chunks done and in all, and Evaluation of web/engine.js so far. */
const char *api_evaluation_report(const evaluation *e)
{
    const fm_evaluation *r = fm_evaluator_result(e->evaluator);
    uint64_t done, total;
    fm_evaluator_progress(e->evaluator, &done, &total);
    double masked = r->masked > 0 ? (double)r->masked : 1.0, loss = r->loss / masked;
    fm_buffer text = {0};
    fm_buffer_format(&text, "{\"done\":%llu,\"total\":%llu", (unsigned long long)done, (unsigned long long)total);
    fm_buffer_format(&text, ",\"loss\":%.9g,\"perplexity\":%.9g", loss, exp(loss));
    fm_buffer_format(&text, ",\"accuracy\":%.9g,\"top5_accuracy\":%.9g,\"mask_accuracy\":%.9g",
                     (double)r->top1 / masked, (double)r->top5 / masked,
                     r->hidden > 0 ? (double)r->hidden_top1 / (double)r->hidden : 0.0);
    fm_buffer_format(&text, ",\"nats_per_character\":%.9g,\"masked_tokens\":%llu,\"chunks\":%llu}",
                     r->characters > 0 ? r->loss / (double)r->characters : 0.0, (unsigned long long)r->masked,
                     (unsigned long long)r->chunks);
    return give_text(&text);
}
