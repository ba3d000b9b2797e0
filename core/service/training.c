/* training.c - the operations that train and evaluate. The work is done in parts of so many milliseconds, between which
 * other requests have their turn. */
#include "service/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define USUAL_LENGTH 128 /* tokens of a chunk */

static uint64_t usual_length(const fm_model *m)
{
    return m->config.positions < USUAL_LENGTH ? m->config.positions : USUAL_LENGTH;
}

/* ---- training ---- */

typedef struct training {
    fm_model *model;
    fm_config config; /* with the dropout that was asked for */
    const fm_corpus *corpus;
    fm_train_options options;
    fm_trainer *trainer;
} training;

void service_close_training(void *item)
{
    training *t = item;
    fm_trainer_destroy(t->trainer);
    free(t);
}

fm_trainer *service_trainer_of(kept *k)
{
    return ((training *)k->item)->trainer;
}

/* What a training starts from. */
typedef enum start { START_MODEL, START_NORMAL, START_NEIGHBOURS } start;
static const char *const starts[] = {"model", "normal", "neighbours", NULL};

static const char *const precisions[] = {"f32", "f16", NULL};

/* The request's options, with the names and the defaults of the command line. */
typedef struct settings {
    uint64_t length, batch_size, steps, seed, limit, micro_tokens;
    double epochs, learning_rate, warmup, weight_decay, clip, dropout, mask_rate;
    bool whole_words, line_by_line;
    int init, precision;
} settings;

static fm_status read_settings(const call *c, settings *s)
{
    static const char *const members[] = {"model", "corpus", NULL};
    const option options[] = {
        {"length", OPTION_WHOLE, &s->length, 2, 32768, NULL},
        {"batch_size", OPTION_WHOLE, &s->batch_size, 1, 65536, NULL},
        {"steps", OPTION_WHOLE, &s->steps, 0, 4e9, NULL},
        {"epochs", OPTION_NUMBER, &s->epochs, 0.001, 10000, NULL},
        {"learning_rate", OPTION_NUMBER, &s->learning_rate, 1e-9, 0.9, NULL},
        {"warmup", OPTION_NUMBER, &s->warmup, 0, 4e9, NULL},
        {"weight_decay", OPTION_NUMBER, &s->weight_decay, 0, 1, NULL},
        {"clip", OPTION_NUMBER, &s->clip, 0, 1e9, NULL},
        {"dropout", OPTION_NUMBER, &s->dropout, 0, 0.9, NULL},
        {"mask_rate", OPTION_NUMBER, &s->mask_rate, 0.01, 0.9, NULL},
        {"whole_words", OPTION_FLAG, &s->whole_words, 0, 0, NULL},
        {"line_by_line", OPTION_FLAG, &s->line_by_line, 0, 0, NULL},
        {"seed", OPTION_WHOLE, &s->seed, 0, UINT32_MAX, NULL},
        {"limit", OPTION_WHOLE, &s->limit, 0, 4e9, NULL},
        {"micro_tokens", OPTION_WHOLE, &s->micro_tokens, 64, 1e6, NULL},
        {"init", OPTION_CHOICE, &s->init, 0, 0, starts},
        {"precision", OPTION_CHOICE, &s->precision, 0, 0, precisions},
    };
    return service_options(c, members, options, sizeof options / sizeof *options);
}

/* How many steps the epochs are. */
static fm_status count_steps(const call *c, const training *t, const settings *s, double *steps)
{
    fm_chunks chunks;
    *steps = (double)s->steps;
    if (s->steps > 0) return FM_OK;
    fm_status status = fm_chunks_make(&chunks, t->corpus, (uint32_t)s->length, s->line_by_line, c->err);
    if (status) return status;
    double count = s->limit > 0 && s->limit < chunks.count ? (double)s->limit : (double)chunks.count;
    *steps = ceil(ceil(count / (double)s->batch_size) * s->epochs);
    fm_chunks_free(&chunks);
    return FM_OK;
}

static fm_status plan(const call *c, training *t, const settings *s)
{
    double steps;
    if (s->dropout >= 0.0) t->config.dropout = t->config.attention_dropout = (float)s->dropout;
    fm_status status = count_steps(c, t, s, &steps);
    if (status) return status;
    t->options = (fm_train_options){
        .phases = {{(uint32_t)s->length, (uint32_t)s->batch_size, (uint64_t)steps}},
        .phase_count = 1,
        .warmup = (uint64_t)(s->warmup < 1.0 ? s->warmup * steps : s->warmup),
        .learning_rate = s->learning_rate,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .epsilon = 1e-8,
        .weight_decay = s->weight_decay,
        .clip = s->clip,
        .precision = s->precision == 1 ? FM_PRECISION_F16 : FM_PRECISION_F32,
        .dropout = t->config.dropout > 0.0f || t->config.attention_dropout > 0.0f,
        .mask_rate = (float)s->mask_rate,
        .shares = FM_BERT_SHARES,
        .whole_words = s->whole_words,
        .line_by_line = s->line_by_line,
        .seed = (uint32_t)s->seed,
        .micro_tokens = (uint32_t)s->micro_tokens,
        .limit = (uint32_t)s->limit,
        .aside_seed = 42, /* of none; as the command line has it, so that checkpoints fit */
    };
    return FM_OK;
}

static fm_status create_trainer(const call *c, training *t, start from)
{
    fm_model *m = t->model;
    float *values = NULL;
    const float **pointers = NULL;
    fm_status status = FM_OK;
    if (from == START_MODEL) status = fm_weights_floats(&m->weights, &m->parameters, c->err);
    else {
        status = service_values(&m->parameters, &values, &pointers, c->err);
        if (!status)
            status = fm_initialise(values, &t->config, &m->parameters, t->options.seed, from == START_NEIGHBOURS,
                                   t->corpus, c->err);
    }
    if (!status)
        status = fm_trainer_create(&t->trainer, &t->config, &m->parameters, m->tokenizer, m->backend, t->corpus,
                                   &t->options, pointers ? pointers : m->weights.values, c->err);
    fm_model_drop_floats(m); /* the trainer has copied them */
    fm_free(values);
    free(pointers);
    return status;
}

fm_status service_train(call *c)
{
    settings s = {.batch_size = 64,
                  .epochs = 1,
                  .learning_rate = 5e-5,
                  .weight_decay = 0.01,
                  .clip = 1,
                  .dropout = -1,
                  .mask_rate = 0.15,
                  .seed = 42,
                  .micro_tokens = 2048};
    kept *model = service_find(c, "model", KIND_MODEL), *corpus = model ? service_find(c, "corpus", KIND_CORPUS) : NULL;
    if (!corpus) return c->err->status;
    training *t = calloc(1, sizeof *t);
    if (!t) return fm_fail_memory(c->err, sizeof *t, "a training");
    t->model = model->item;
    t->config = t->model->config;
    t->corpus = service_corpus_of(corpus);
    s.length = usual_length(t->model);
    fm_status status = read_settings(c, &s);
    if (!status) status = plan(c, t, &s);
    if (!status) status = create_trainer(c, t, (start)s.init);
    if (status) {
        service_close_training(t);
        return status;
    }
    unsigned long long steps = fm_trainer_steps(t->trainer), tokens = t->corpus->tokens;
    uint32_t number = service_keep(c, KIND_TRAINING, t, model->number, corpus->number);
    fm_buffer_format(c->answer, "{\"training\": %u, \"steps\": %llu, \"tokens\": %llu}", number, steps, tokens);
    return number ? FM_OK : c->err->status;
}

static void add_number(fm_buffer *out, const char *name, double value)
{
    if (isfinite(value)) fm_buffer_format(out, ", \"%s\": %.17g", name, value);
    else fm_buffer_format(out, ", \"%s\": null", name);
}

fm_status service_refuse_evaluated(const fm_service *service, const kept *k, fm_error *err)
{
    for (size_t i = 0; i < service->count; i++)
        if (service->list[i].kind == KIND_EVALUATION && service->list[i].needs[0] == k->number)
            return fm_fail(err, FM_E_ARGUMENT, "The %s is being evaluated; wait until that is done.",
                           k->kind == KIND_TRAINING ? "training" : "model");
    return FM_OK;
}

static void add_report(fm_buffer *out, const fm_trainer *trainer, bool stepped)
{
    const fm_train_report *r = fm_trainer_report(trainer);
    fm_buffer_format(out, "{\"stepped\": %s, \"step\": %llu, \"steps\": %llu", stepped ? "true" : "false",
                     (unsigned long long)r->step, (unsigned long long)fm_trainer_steps(trainer));
    fm_buffer_format(out, ", \"epoch\": %.9g, \"tokens\": %llu, \"masked\": %llu", r->epoch,
                     (unsigned long long)r->tokens, (unsigned long long)r->masked);
    add_number(out, "learning_rate", r->learning_rate);
    add_number(out, "loss", r->loss);
    add_number(out, "norm", r->norm);
    fm_buffer_text(out, "}");
}

fm_status service_train_report(call *c)
{
    static const char *const members[] = {"training", NULL};
    kept *k = service_find(c, "training", KIND_TRAINING);
    fm_status status = k ? service_options(c, members, NULL, 0) : c->err->status;
    if (!status) add_report(c->answer, service_trainer_of(k), false);
    return status;
}

/* Works until a step is made or the time is up. */
fm_status service_train_advance(call *c)
{
    static const char *const members[] = {"training", NULL};
    double milliseconds = 40.0, end = fm_seconds();
    const option options[] = {{"milliseconds", OPTION_NUMBER, &milliseconds, 0, 1e6, NULL}};
    kept *k = service_find(c, "training", KIND_TRAINING);
    fm_status status = k ? service_options(c, members, options, 1) : c->err->status;
    if (!status) status = service_refuse_evaluated(c->service, k, c->err);
    if (status) return status;
    training *t = k->item;
    bool stepped = false;
    uint64_t steps = fm_trainer_steps(t->trainer);
    const fm_train_report *r = fm_trainer_report(t->trainer);
    end += milliseconds / 1000.0;
    while (r->step < steps && !stepped) {
        status = fm_trainer_advance(t->trainer, &stepped, c->err);
        if (!status && !service_go_on(c, r->step, steps)) status = FM_E_ABORTED;
        if (status) return status;
        if (fm_seconds() >= end) break;
    }
    add_report(c->answer, t->trainer, stepped);
    return FM_OK;
}

/* Gives the model the values that the training has reached. */
fm_status service_train_apply(call *c)
{
    static const char *const members[] = {"model", "training", NULL};
    float *values = NULL;
    const float **pointers = NULL;
    uint8_t *data = NULL;
    size_t size;
    kept *k = service_find(c, "training", KIND_TRAINING), *model = service_find(c, "model", KIND_MODEL);
    fm_status status = k && model ? service_options(c, members, NULL, 0) : c->err->status;
    if (status) return status;
    const fm_parameters *parameters = &((fm_model *)model->item)->parameters;
    if (k->needs[0] != model->number)
        return fm_fail(c->err, FM_E_ARGUMENT, "The training is not one of this model; name the model that it trains.");
    status = service_values(parameters, &values, &pointers, c->err);
    if (!status) status = fm_trainer_values(((training *)k->item)->trainer, values, c->err);
    if (!status) status = fm_weights_build(&data, &size, parameters, pointers, FM_STORED_F32, c->err);
    fm_free(values);
    free(pointers);
    if (!status) status = service_replace(c, model, data, size);
    fm_buffer_text(c->answer, "null");
    return status;
}

/* ---- evaluation ---- */

typedef struct evaluation {
    fm_network *network; /* of its own if it is of a model, as the model's is used between the parts */
    fm_evaluator *evaluator;
} evaluation;

void service_close_evaluation(void *item)
{
    evaluation *e = item;
    fm_evaluator_destroy(e->evaluator);
    fm_network_destroy(e->network);
    free(e);
}

/* t is NULL if the model itself is evaluated. */
static fm_status start_evaluation(evaluation *e, fm_model *m, training *t, const fm_corpus *corpus, uint32_t length,
                                  uint32_t limit, fm_error *err)
{
    if (length > m->config.positions)
        return fm_fail(err, FM_E_ARGUMENT, "length is %u; it must be from 2 to the model's %u positions.", length,
                       m->config.positions);
    uint32_t tokens = length > 512 ? length : 512;
    fm_room room = {tokens, tokens / length, tokens / 2 > length ? tokens / 2 : length, false};
    const fm_masking masking = {0.15f,         false, 42, m->config.vocab_size, fm_tokenizer_special(m->tokenizer),
                                FM_BERT_SHARES};
    fm_status status = FM_OK;
    if (t) room = fm_trainer_room(t->trainer);
    else status = fm_model_new_network(m, &room, &e->network, err);
    if (status) return status;
    return fm_evaluator_create(&e->evaluator, t ? fm_trainer_network(t->trainer) : e->network, m->backend, &room,
                               corpus, m->tokenizer, &masking, length, 0, limit, err);
}

/* As `fillmask eval` measures: of a model, or of the values that a training has reached. */
fm_status service_evaluate(call *c)
{
    static const char *const members[] = {"model", "training", "corpus", NULL};
    uint64_t length = 0, limit = 0;
    const option options[] = {{"length", OPTION_WHOLE, &length, 2, 32768, NULL},
                              {"limit", OPTION_WHOLE, &limit, 0, 4e9, NULL}};
    bool of_training = cJSON_HasObjectItem(c->request, "training");
    kept *k = of_training ? service_find(c, "training", KIND_TRAINING) : service_find(c, "model", KIND_MODEL);
    kept *corpus = k ? service_find(c, "corpus", KIND_CORPUS) : NULL;
    fm_status status = corpus ? service_options(c, members, options, 2) : c->err->status;
    if (status) return status;
    training *t = of_training ? k->item : NULL;
    if (t && fm_trainer_in_step(t->trainer))
        return fm_fail(c->err, FM_E_ARGUMENT, "A step of the training is under way; evaluate when it is made.");
    fm_model *model = t ? t->model : k->item;
    evaluation *e = calloc(1, sizeof *e);
    if (!e) return fm_fail_memory(c->err, sizeof *e, "an evaluation");
    if (length == 0) length = usual_length(model);
    status = start_evaluation(e, model, t, service_corpus_of(corpus), (uint32_t)length, (uint32_t)limit, c->err);
    if (status) {
        service_close_evaluation(e);
        return status;
    }
    uint32_t number = service_keep(c, KIND_EVALUATION, e, k->number, corpus->number);
    fm_buffer_format(c->answer, "%u", number);
    return number ? FM_OK : c->err->status;
}

/* Works until all is measured or the time is up: chunks done and in all, and the figures so far. */
fm_status service_evaluate_advance(call *c)
{
    static const char *const members[] = {"evaluation", NULL};
    double milliseconds = 40.0, end = fm_seconds();
    const option options[] = {{"milliseconds", OPTION_NUMBER, &milliseconds, 0, 1e6, NULL}};
    kept *k = service_find(c, "evaluation", KIND_EVALUATION);
    fm_status status = k ? service_options(c, members, options, 1) : c->err->status;
    if (status) return status;
    fm_evaluator *evaluator = ((evaluation *)k->item)->evaluator;
    uint64_t done, total;
    bool more = true;
    end += milliseconds / 1000.0;
    while (more && !status) {
        status = fm_evaluator_step(evaluator, &more, c->err);
        fm_evaluator_progress(evaluator, &done, &total);
        if (!status && !service_go_on(c, done, total)) status = FM_E_ABORTED;
        if (fm_seconds() >= end) break;
    }
    const fm_evaluation *r = fm_evaluator_result(evaluator);
    if (!status && !more && r->masked == 0)
        status = fm_fail(c->err, FM_E_FORMAT, "No token of the texts was masked; use more text.");
    if (status) return status;
    double masked = r->masked > 0 ? (double)r->masked : 1.0, loss = r->loss / masked;
    fm_buffer *out = c->answer;
    fm_buffer_format(out, "{\"more\": %s, \"done\": %llu, \"total\": %llu", more ? "true" : "false",
                     (unsigned long long)done, (unsigned long long)total);
    fm_buffer_format(out, ", \"loss\": %.9g, \"perplexity\": %.9g", loss, exp(loss));
    fm_buffer_format(out, ", \"accuracy\": %.9g, \"top5_accuracy\": %.9g, \"mask_accuracy\": %.9g",
                     (double)r->top1 / masked, (double)r->top5 / masked,
                     r->hidden > 0 ? (double)r->hidden_top1 / (double)r->hidden : 0.0);
    fm_buffer_format(out, ", \"nats_per_character\": %.9g, \"masked_tokens\": %llu, \"chunks\": %llu}",
                     r->characters > 0 ? r->loss / (double)r->characters : 0.0, (unsigned long long)r->masked,
                     (unsigned long long)r->chunks);
    return FM_OK;
}
