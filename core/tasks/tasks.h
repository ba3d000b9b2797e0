/* tasks.h - the door of core/tasks: a model folder opened for work, behind the fm_model of the public header; and what
 * the tasks share. The tasks themselves are public. */
#ifndef FM_TASKS_H
#define FM_TASKS_H

#include "model/model.h"
#include "tokenizer/tokenizer.h"

/* What a backend that answers later (fm_ops) has answered to the batches of a request: made again from its start, the
 * request comes to the same batches, and takes this for them. */
typedef struct fm_answers {
    uint64_t request; /* that the answers are to */
    size_t count, capacity, next;
    struct fm_answer {
        float *numbers;
        size_t size; /* bytes */
    } * list;
} fm_answers;

struct fm_model {
    fm_tokenizer *tokenizer;
    fm_config config;
    fm_parameters parameters;
    fm_weights weights;
    fm_weights_stream *coming; /* between fm_model_begin and fm_model_end */
    fm_dtype dtype;            /* FM_DTYPE_F32 computes int8 weights as f32 */
    fm_backend *backend;       /* what computes: cpu, or a device */
    fm_backend *cpu;
    fm_answers answers;
    fm_network *network; /* made when it is first needed */
    fm_room room;        /* that it has */
    const void *runner;  /* whose batch is in the network, NULL if nobody's */
};

/* The network for inference, with at least this room; it stays the model's. Whoever calls this again with more room
 * gets another one, and the former is gone. */
fm_status fm_model_network(fm_model *model, const fm_room *room, fm_network **network, fm_error *err);

/* One that is the caller's, who destroys it before the model is closed or gets other weights. */
fm_status fm_model_new_network(fm_model *model, const fm_room *room, fm_network **network, fm_error *err);

/* Frees what fm_weights_floats made for a while, unless the model computes with it. */
void fm_model_drop_floats(fm_model *model);

/* Whether something about a model is odd, though it was opened: a sentence. */
bool fm_model_doubt(const fm_model *model, char sentence[200]);

/* Lets a backend compute, which becomes the model's; NULL for the cpu. The one before and the model's network are gone:
 * nobody else may use them. */
void fm_model_use(fm_model *model, fm_backend *backend);
/* How far a device's logits are from the cpu's, relative to 1 + the largest of these, for a few tokens; infinite if one
 * is no number. */
fm_status fm_model_check(fm_model *model, double *difference, fm_error *err);
/* The same of values that no model has yet, by a device that does not answer later. */
fm_status fm_check_device(const fm_config *config, const fm_parameters *parameters, const float *const *values,
                          fm_backend *cpu, fm_backend *device, double *difference, fm_error *err);

/* Around each request, of which `request` is a hash: FM_PENDING while a device has not answered; then the request is to
 * be made again, after the host has waited. */
fm_status fm_model_begin_request(fm_model *model, uint64_t request, fm_error *err);
void fm_model_end_request(fm_model *model, fm_status status);

/* A model whose weights come in parts, cut anywhere, and are held by its cpu backend alone: files->weights is not
 * looked at, and type is as fm_weights_stream_open takes it. After a failure of the last two it can only be closed, as
 * before they are done. */
fm_status fm_model_begin(fm_model **model, const fm_model_files *files, const fm_model_options *options, int type,
                         fm_error *err);
fm_status fm_model_push(fm_model *model, const void *data, size_t size, fm_error *err);
fm_status fm_model_end(fm_model *model, fm_error *err);

/* Another model.safetensors of the same shape, which may go afterwards, and is computed as it is stored. The model's
 * network is gone afterwards. On failure all is as it was. */
fm_status fm_model_replace_weights(fm_model *model, const void *data, size_t size, fm_error *err);

/* ---- sequences through the network (runner.c) ---- */

/* Collects sequences, runs them packed, stage by stage, and holds what came of them. Several runners of one model may
 * take turns: one whose batch was driven out of the network starts it again. */
typedef struct fm_runner {
    fm_model *model;
    fm_run run; /* FM_RUN_LOGITS, FM_RUN_LOSS or FM_RUN_HIDDEN */
    fm_room room;
    uint32_t tokens, sequences, masked; /* collected */
    uint32_t *ids, *starts, *rows, *labels;
    float *results; /* (masked, vocab_size), (masked, 2) or (tokens, hidden), as the network reads them */
    size_t capacity;
} fm_runner;

/* need bounds what will be collected in all, so that little of it takes little memory; NULL if nobody knows. */
fm_status fm_runner_open(fm_runner *runner, fm_model *model, fm_run run, const fm_room *need, fm_error *err);
void fm_runner_free(fm_runner *runner);
/* Most tokens of a sequence, without the [CLS] and [SEP] that are put around it. */
uint32_t fm_runner_longest(const fm_runner *runner);
/* Whether there is room for a sequence of so many tokens, [CLS] and [SEP] not counted, and so many masked rows. An
 * empty runner has room for any sequence that is not too long, with half of its tokens masked. */
bool fm_runner_fits(const fm_runner *runner, uint32_t tokens, uint32_t masked);
/* Adds a sequence that fits; returns the row of its first id. The ids may be changed in runner->ids. */
uint32_t fm_runner_add(fm_runner *runner, const uint32_t *ids, uint32_t count);
/* Asks for the results of a row of the last sequence; rows rise. Returns its place among the results. */
uint32_t fm_runner_ask(fm_runner *runner, uint32_t row, uint32_t label);
/* Does the next stage of what was collected; *done when the results are there. */
fm_status fm_runner_step(fm_runner *runner, bool *done, fm_error *err);
/* All stages; progress may be NULL and is told done and total. */
fm_status fm_runner_finish(fm_runner *runner, fm_progress progress, void *context, uint64_t done, uint64_t total,
                           fm_error *err);
void fm_runner_clear(fm_runner *runner); /* for the next sequences */

/* The start of the window of `length` out of `count` tokens that has `place` nearest to its middle. */
size_t fm_window_start(size_t count, size_t length, size_t place);

/* ---- tasks in steps (score.c, embed.c) ---- */

/* What fm_score and fm_embed do at once, for those that take turns with other work: steps until *done. After an error
 * they can only be destroyed; NULL is allowed there. The texts must stay. */
typedef struct fm_scorer fm_scorer;
fm_status fm_scorer_create(fm_scorer **scorer, fm_model *model, fm_view text, fm_score_method method, fm_error *err);
fm_status fm_scorer_step(fm_scorer *scorer, bool *done, fm_error *err);
/* Once it is done, its result; until then what there is of it. It stays the scorer's. */
fm_score_result *fm_scorer_result(fm_scorer *scorer, size_t *scored);
void fm_scorer_destroy(fm_scorer *scorer);

typedef struct fm_embedder fm_embedder;
fm_status fm_embedder_create(fm_embedder **embedder, fm_model *model, const fm_view *texts, size_t count,
                             fm_error *err);
fm_status fm_embedder_step(fm_embedder *embedder, bool *done, fm_error *err);
/* Once it is done: (count, fm_model_width). */
void fm_embedder_read(const fm_embedder *embedder, float *vectors);
void fm_embedder_destroy(fm_embedder *embedder);

/* ---- letters and their case (casing.c) ---- */

bool fm_is_space(uint32_t point);
bool fm_is_letter(uint32_t point); /* and marks, which go with letters */

typedef enum fm_case {
    FM_CASE_ANY, /* mixed, or too little to tell: a word stays as it is */
    FM_CASE_LOWER,
    FM_CASE_TITLE,
    FM_CASE_UPPER
} fm_case;
fm_case fm_case_of_word(const char *word, size_t size);
/* What a word there would have: capitals among capitals, a capital at the start of a sentence, else lower case. */
fm_case fm_case_of_place(const char *text, size_t size, fm_span place);
fm_case fm_case_between(const char *before, size_t before_size, const char *after, size_t after_size);
/* Appends a word in a case. */
void fm_case_add(fm_buffer *out, const char *word, size_t size, fm_case wanted);

/* ---- the words of a text (words.c) ---- */

/* A word or a punctuation mark, as the tokenizer sees it, or a special token that the text spells out. */
typedef struct fm_word {
    fm_span span;
    uint32_t first, count; /* its tokens */
    bool plain; /* letters alone, and nothing but common punctuation between it and the white space around it: not a
                 * part of a name, a number, an address, a tag or a contraction */
} fm_word;

typedef struct fm_words {
    size_t count;
    fm_word *list; /* free() */
} fm_words;
fm_status fm_words_list(fm_words *words, const fm_tokenizer *tokenizer, const char *text, const fm_encoding *encoding,
                        size_t size, fm_error *err);
/* Marks the tokens that are a word by themselves: letters alone, no "##", not special, and of the single letters of
 * ASCII only "a". allowed has fm_tokenizer_size entries; returns how many are true. */
size_t fm_words_allowed(const fm_tokenizer *tokenizer, bool *allowed);

/* ---- lists of words (kept.c) ---- */

/* Words in lower case, sorted: those that are never changed, or never put in. */
typedef struct fm_kept {
    char **words;
    size_t count;
} fm_kept;
fm_status fm_kept_make(fm_kept *kept, const char *const *words, size_t count, fm_error *err);
void fm_kept_free(fm_kept *kept);
bool fm_kept_has(const fm_kept *kept, const char *word, size_t size);

/* ---- sampling (sample.c) ---- */

/* log(sum(exp(logits))), not finite if one of them is not; a logit less this is a log-probability. */
double fm_log_sum_exp(const float *logits, uint32_t count);

/* Draws tokens from logits: of those allowed the top_k best (0: all), of these the fewest best whose probability
 * reaches top_p, at a temperature (0: the best). */
typedef struct fm_sampler {
    uint32_t vocab, top_k;
    double top_p, temperature;
    const bool *allowed; /* (vocab) */
    struct fm_candidate {
        float logit;
        uint32_t token;
        double weight;
    } * candidates; /* scratch, owned */
} fm_sampler;
fm_status fm_sampler_open(fm_sampler *sampler, uint32_t vocab, const bool *allowed, uint32_t top_k, double top_p,
                          double temperature, fm_error *err);
void fm_sampler_free(fm_sampler *sampler);
/* Puts the top_k best into candidates, best first; returns their number. */
size_t fm_sampler_best(fm_sampler *sampler, const float *logits, const uint32_t *excluded, size_t excluded_count);
/* draw is uniform in [0, 1). False if every allowed token is excluded. */
bool fm_sampler_draw(fm_sampler *sampler, const float *logits, const uint32_t *excluded, size_t excluded_count,
                     double draw, uint32_t *token);

#endif
