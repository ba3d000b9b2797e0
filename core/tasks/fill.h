/* fill.h - the parts of fill-mask: what a mask may become, and what the model says of it; inside core/tasks only. */
#ifndef FM_FILL_H
#define FM_FILL_H

#include "tasks/tasks.h"

/* ---- what a mask may become (choices.c) ---- */

/* A question to the model: with so many tokens in a mask's place, the first of them known, what is the next one? */
typedef struct fm_prefix {
    uint32_t length, known;
    uint32_t first, count; /* the targets that begin so, among those in order */
} fm_prefix;

/* The tokens of the vocabulary, for which there is one question, or the caller's targets. */
typedef struct fm_choices {
    uint32_t count;
    uint32_t longest; /* tokens of one */
    bool *allowed;    /* (count) */
    size_t prefix_count;
    fm_prefix *prefixes;
    /* Of targets, else NULL: all their tokens, where each one's start (count + 1), and the targets so sorted that those
     * with a beginning in common are side by side. */
    uint32_t *tokens, *starts, *order;
    const char *const *targets;
} fm_choices;
/* The options' targets must stay. */
fm_status fm_choices_make(fm_choices *choices, const fm_tokenizer *tokenizer, const fm_fill_options *options,
                          fm_error *err);
void fm_choices_free(fm_choices *choices);
uint32_t fm_choice_length(const fm_choices *choices, uint32_t choice);
uint32_t fm_choice_token(const fm_choices *choices, uint32_t choice, uint32_t index);

/* ---- a text with masks (query.c) ---- */

typedef struct fm_query {
    fm_model *model;
    const fm_choices *choices;
    fm_encoding encoding; /* of the text, without [CLS] and [SEP] */
    size_t masks;
    uint32_t *places; /* (masks) of their tokens */
    fm_runner runner;
    uint32_t *ids; /* scratch */
    fm_progress progress;
    void *context;
} fm_query;
/* What was opened is freed by fm_query_free, also after a failure. */
fm_status fm_query_open(fm_query *query, fm_model *model, const fm_choices *choices, const char *text, size_t size,
                        size_t items, fm_error *err);
void fm_query_free(fm_query *query);

/* A mask and what the masks before it are filled with; if that is NULL they are masks like those behind it. */
typedef struct fm_item {
    const uint32_t *filled; /* choices */
    size_t mask;
} fm_item;
/* Told the scores of an item's choices; their log-probabilities are these less log_sum. */
typedef void (*fm_take)(void *context, size_t item, const float *scores, double log_sum);
/* Asks the model about items. done and total are for the progress. */
fm_status fm_query_ask(fm_query *query, const fm_item *items, size_t count, uint64_t done, uint64_t total, fm_take take,
                       void *context, fm_error *err);

/* ---- the words that are put there (wording.c) ---- */

typedef struct fm_wording {
    const fm_query *query;
    const char *text;
    fm_buffer plain; /* the text, with digits for masks and other tokens that it spells out: they have no case */
} fm_wording;
fm_status fm_wording_make(fm_wording *wording, const fm_query *query, const char *text, size_t size, fm_error *err);
void fm_wording_free(fm_wording *wording);
/* A mask's bytes in the text. */
fm_span fm_wording_mask(const fm_wording *wording, size_t mask);
/* Writes one mask's filling. `before` is the text up to the mask with what it is filled with, NULL for the plain text;
 * the filling is put behind it. */
fm_status fm_wording_write(const fm_wording *wording, size_t mask, uint32_t choice, double log_probability,
                           fm_buffer *before, fm_filling *filling, fm_error *err);

#endif
