/* score.c - how expected a text is: the pseudo-log-likelihood of its tokens, each masked in a copy of the text (Salazar
 * et al. 2020, "Masked language model scoring"). With a token, the pieces of its word that follow it are masked too,
 * as they would give it away (Kauf and Ivanova 2023, "A better way to do masked language model scoring"). In a text
 * longer than the model, each token is in the middle of a window of its own, as far as the text's ends allow. */
#include "tasks/tasks.h"

#include <stdlib.h>
#include <string.h>

typedef struct scoring {
    fm_runner runner;
    fm_score_result *result;
    const uint32_t *ids; /* of the whole text, as are the next three */
    const uint32_t *words;
    size_t count;
    uint32_t *places; /* (result->count) of the tokens that are scored */
    size_t next, taken;
    fm_score_method method;
} scoring;

/* Adds copies of the text, one for each token, until the batch is full. */
static void add_copies(scoring *s)
{
    fm_special_ids special = fm_tokenizer_special(s->runner.model->tokenizer);
    size_t longest = fm_runner_longest(&s->runner);
    uint32_t length = (uint32_t)(s->count < longest ? s->count : longest);
    for (; s->next < s->result->count && fm_runner_fits(&s->runner, length, 1); s->next++) {
        size_t place = s->places[s->next], start = fm_window_start(s->count, length, place), end = place + 1;
        uint32_t row = fm_runner_add(&s->runner, s->ids + start, length) + (uint32_t)(place - start);
        if (s->method == FM_SCORE_WORD)
            while (end < start + length && s->words[end] == s->words[place]) end++;
        for (size_t i = 0; i < end - place; i++) s->runner.ids[row + i] = special.mask;
        fm_runner_ask(&s->runner, row, s->ids[place]);
    }
}

static void take_losses(scoring *s)
{
    for (uint32_t i = 0; i < s->runner.masked; i++) {
        float log_probability = -s->runner.results[2 * i];
        s->result->tokens[s->taken++].log_probability = log_probability;
        s->result->score += (double)log_probability;
    }
}

/* The tokens to score are all but special ones that the text spells out, such as [MASK]. */
static fm_status list_tokens(scoring *s, const fm_encoding *encoding, fm_error *err)
{
    s->places = calloc(encoding->count + 1, sizeof *s->places);
    s->result->tokens = calloc(encoding->count + 1, sizeof *s->result->tokens);
    if (!s->places || !s->result->tokens)
        return fm_fail_memory(err, encoding->count * sizeof *s->result->tokens, "the scores of a text");
    for (size_t i = 0; i < encoding->count; i++) {
        if (encoding->words[i] == UINT32_MAX) continue;
        fm_span span = encoding->offsets[i];
        s->places[s->result->count] = (uint32_t)i;
        s->result->tokens[s->result->count++] =
            (fm_token_score){encoding->ids[i], span.start, span.end, encoding->words[i], 0.0f};
    }
    if (s->result->count == 0)
        return fm_fail(err, FM_E_FORMAT, "The text has no word to score; it is empty or holds only white space.");
    return FM_OK;
}

fm_status fm_score(fm_model *model, const char *text, size_t size, fm_score_method method, fm_progress progress,
                   void *context, fm_score_result *result, fm_error *err)
{
    *result = (fm_score_result){0};
    fm_encoding encoding = {0};
    scoring s = {.result = result, .method = method};
    fm_status status = fm_tokenizer_encode(model->tokenizer, text, size, false, &encoding, err);
    if (!status) status = fm_runner_open(&s.runner, model, FM_RUN_LOSS, NULL, err);
    if (!status) status = list_tokens(&s, &encoding, err);
    s.ids = encoding.ids;
    s.words = encoding.words;
    s.count = encoding.count;
    while (!status && s.taken < result->count) {
        fm_runner_clear(&s.runner);
        add_copies(&s);
        status = fm_runner_finish(&s.runner, progress, context, s.taken, result->count, err);
        if (!status) take_losses(&s);
    }
    fm_runner_free(&s.runner);
    free(s.places);
    fm_encoding_free(&encoding);
    if (status) fm_score_result_free(result);
    return status;
}

void fm_score_result_free(fm_score_result *result)
{
    free(result->tokens);
    *result = (fm_score_result){0};
}
