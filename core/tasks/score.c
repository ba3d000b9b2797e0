/* score.c - how expected a text is: the pseudo-log-likelihood of its tokens, each masked in a copy of the text (Salazar
 * et al. 2020, "Masked language model scoring"). With a token, the pieces of its word that follow it are masked too,
 * as they would give it away (Kauf and Ivanova 2023, "A better way to do masked language model scoring"). In a text
 * longer than the model, each token is in the middle of a window of its own, as far as the text's ends allow. */
#include "tasks/tasks.h"

#include <stdlib.h>
#include <string.h>

struct fm_scorer {
    fm_runner runner;
    fm_encoding encoding; /* of the whole text */
    fm_score_result result;
    uint32_t *places; /* (result.count) of the tokens that are scored */
    size_t next, taken;
    fm_score_method method;
    bool running;
};

/* Adds copies of the text, one for each token, until the batch is full. */
static void add_copies(fm_scorer *s)
{
    const fm_encoding *e = &s->encoding;
    fm_special_ids special = fm_tokenizer_special(s->runner.model->tokenizer);
    size_t longest = fm_runner_longest(&s->runner);
    uint32_t length = (uint32_t)(e->count < longest ? e->count : longest);
    for (; s->next < s->result.count && fm_runner_fits(&s->runner, length, 1); s->next++) {
        size_t place = s->places[s->next], start = fm_window_start(e->count, length, place), end = place + 1;
        uint32_t row = fm_runner_add(&s->runner, e->ids + start, length) + (uint32_t)(place - start);
        if (s->method == FM_SCORE_WORD)
            while (end < start + length && e->words[end] == e->words[place]) end++;
        for (size_t i = 0; i < end - place; i++) s->runner.ids[row + i] = special.mask;
        fm_runner_ask(&s->runner, row, e->ids[place]);
    }
}

static void take_losses(fm_scorer *s)
{
    for (uint32_t i = 0; i < s->runner.masked; i++) {
        float log_probability = -s->runner.results[2 * i];
        s->result.tokens[s->taken++].log_probability = log_probability;
        s->result.score += (double)log_probability;
    }
}

/* The tokens to score are all but special ones that the text spells out, such as [MASK]. */
static fm_status list_tokens(fm_scorer *s, fm_error *err)
{
    const fm_encoding *e = &s->encoding;
    s->places = calloc(e->count + 1, sizeof *s->places);
    s->result.tokens = calloc(e->count + 1, sizeof *s->result.tokens);
    if (!s->places || !s->result.tokens)
        return fm_fail_memory(err, e->count * sizeof *s->result.tokens, "the scores of a text");
    for (size_t i = 0; i < e->count; i++) {
        if (e->words[i] == UINT32_MAX) continue;
        s->places[s->result.count] = (uint32_t)i;
        s->result.tokens[s->result.count++] =
            (fm_token_score){e->ids[i], e->offsets[i].start, e->offsets[i].end, e->words[i], 0.0f};
    }
    if (s->result.count == 0)
        return fm_fail(err, FM_E_FORMAT, "The text has no word to score; it is empty or holds only white space.");
    return FM_OK;
}

fm_status fm_scorer_create(fm_scorer **scorer, fm_model *model, fm_view text, fm_score_method method, fm_error *err)
{
    *scorer = NULL;
    fm_scorer *s = calloc(1, sizeof *s);
    if (!s) return fm_fail_memory(err, sizeof *s, "the scores of a text");
    s->method = method;
    fm_status status = fm_tokenizer_encode(model->tokenizer, text.data, text.size, false, &s->encoding, err);
    if (!status) status = fm_runner_open(&s->runner, model, FM_RUN_LOSS, NULL, err);
    if (!status) status = list_tokens(s, err);
    if (status) fm_scorer_destroy(s);
    else *scorer = s;
    return status;
}

fm_status fm_scorer_step(fm_scorer *s, bool *done, fm_error *err)
{
    bool finished;
    if (!s->running) {
        fm_runner_clear(&s->runner);
        add_copies(s);
        s->running = true;
    }
    fm_status status = fm_runner_step(&s->runner, &finished, err);
    if (!status && finished) {
        take_losses(s);
        s->running = false;
    }
    *done = s->taken == s->result.count;
    return status;
}

fm_score_result *fm_scorer_result(fm_scorer *s, size_t *scored)
{
    *scored = s->taken;
    return &s->result;
}

void fm_scorer_destroy(fm_scorer *s)
{
    if (!s) return;
    fm_runner_free(&s->runner);
    fm_encoding_free(&s->encoding);
    fm_score_result_free(&s->result);
    free(s->places);
    free(s);
}

fm_status fm_score(fm_model *model, const char *text, size_t size, fm_score_method method, fm_progress progress,
                   void *context, fm_score_result *result, fm_error *err)
{
    fm_scorer *s;
    *result = (fm_score_result){0};
    fm_status status = fm_scorer_create(&s, model, (fm_view){text, size}, method, err);
    for (bool done = false; !status && !done;) {
        size_t scored;
        status = fm_scorer_step(s, &done, err);
        const fm_score_result *r = fm_scorer_result(s, &scored);
        if (!status && progress && !progress(context, scored, r->count))
            status = fm_fail(err, FM_E_ABORTED, "Stopped after %zu of %zu tokens.", scored, r->count);
    }
    if (!status) {
        *result = s->result;
        s->result = (fm_score_result){0}; /* the caller's now */
    }
    fm_scorer_destroy(s);
    return status;
}

void fm_score_result_free(fm_score_result *result)
{
    free(result->tokens);
    *result = (fm_score_result){0};
}
