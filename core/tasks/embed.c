/* embed.c - vectors of texts: the mean of the last layer's states (Reimers and Gurevych 2019, "Sentence-BERT"), whose
 * cosine tells how alike two texts are. A long text's states come from windows, one for each token. */
#include "tasks/tasks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A window of a text. */
typedef struct cursor {
    size_t text, start; /* the window's first token */
    size_t next;        /* first token whose state is taken from it; 0 takes that of [CLS] too */
} cursor;

typedef struct embedding {
    fm_runner runner;
    const fm_view *texts;
    fm_encoding *encodings; /* (count) */
    size_t count;
    double *sums;        /* (count, width) */
    cursor asked, taken; /* the next windows to go into a batch, and to come out of one */
} embedding;

static fm_status encode(embedding *e, fm_room *need, fm_error *err)
{
    const fm_model *model = e->runner.model;
    uint64_t tokens = 0;
    fm_status status = FM_OK;
    for (size_t i = 0; i < e->count && !status; i++) {
        const fm_view *text = &e->texts[i];
        status = fm_tokenizer_encode(model->tokenizer, text->data, text->size, false, &e->encodings[i], err);
        if (!status && e->encodings[i].count == 0)
            return fm_fail(err, FM_E_FORMAT, "The text has no token; it is empty or holds only white space.");
        tokens += e->encodings[i].count + 2;
    }
    need->tokens = tokens < UINT32_MAX ? (uint32_t)tokens : UINT32_MAX;
    need->sequences = e->count < UINT32_MAX ? (uint32_t)e->count : UINT32_MAX;
    return status;
}

/* What a cursor's window holds. Half of it is in the next one too, and the border is in the middle of that half. */
typedef struct window {
    uint32_t length;
    size_t from, to; /* rows of its sequence that are taken */
} window;

static window pass(const embedding *e, cursor *at)
{
    size_t count = e->encodings[at->text].count, longest = fm_runner_longest(&e->runner), start = at->start;
    size_t length = count < longest ? count : longest, from = at->next > 0 ? at->next - start + 1 : 0;
    if (start + length == count) {
        *at = (cursor){at->text + 1, 0, 0};
        return (window){(uint32_t)length, from, length + 2};
    }
    size_t step = longest / 2 > 0 ? longest / 2 : 1;
    at->start = start + step < count - length ? start + step : count - length;
    at->next = (start + length + at->start) / 2;
    return (window){(uint32_t)length, from, at->next - start + 1};
}

static void add_windows(embedding *e)
{
    while (e->asked.text < e->count) {
        cursor at = e->asked, next = at;
        window w = pass(e, &next);
        if (!fm_runner_fits(&e->runner, w.length, 0)) return;
        fm_runner_add(&e->runner, e->encodings[at.text].ids + at.start, w.length);
        e->asked = next;
    }
}

/* Adds the states of the batch, in the order of its rows, so that the sums do not depend on the batches. */
static void take_states(embedding *e)
{
    size_t width = e->runner.model->config.hidden;
    const float *states = e->runner.results;
    while (e->taken.text != e->asked.text || e->taken.start != e->asked.start) {
        double *sum = e->sums + e->taken.text * width;
        window w = pass(e, &e->taken);
        for (size_t row = w.from; row < w.to; row++)
            for (size_t i = 0; i < width; i++) sum[i] += (double)states[row * width + i];
        states += (w.length + 2) * width;
    }
}

static fm_status run(embedding *e, fm_progress progress, void *context, fm_error *err)
{
    uint64_t done = 0, total = 0;
    fm_status status = FM_OK;
    for (size_t i = 0; i < e->count; i++) total += e->encodings[i].count;
    while (e->taken.text < e->count && !status) {
        fm_runner_clear(&e->runner);
        add_windows(e);
        status = fm_runner_finish(&e->runner, progress, context, done, total, err);
        if (!status) take_states(e);
        done = done + e->runner.tokens < total ? done + e->runner.tokens : total; /* windows overlap */
    }
    return status;
}

fm_status fm_embed(fm_model *model, const fm_view *texts, size_t count, fm_progress progress, void *context,
                   float *vectors, fm_error *err)
{
    embedding e = {.runner = {.model = model}, .texts = texts, .count = count};
    size_t width = model->config.hidden, cells = 0;
    fm_room need = {0};
    e.encodings = calloc(count + 1, sizeof *e.encodings);
    if (fm_size_mul(count, width, &cells)) e.sums = calloc(cells + 1, sizeof *e.sums);
    fm_status status =
        e.encodings && e.sums ? encode(&e, &need, err) : fm_fail_memory(err, cells * sizeof *e.sums, "vectors");
    if (!status) status = fm_runner_open(&e.runner, model, FM_RUN_HIDDEN, &need, err);
    if (!status) status = run(&e, progress, context, err);
    for (size_t i = 0; i < cells && !status; i++)
        vectors[i] = (float)(e.sums[i] / (double)(e.encodings[i / width].count + 2));
    fm_runner_free(&e.runner);
    for (size_t i = 0; e.encodings && i < count; i++) fm_encoding_free(&e.encodings[i]);
    free(e.encodings);
    free(e.sums);
    return status;
}

double fm_similarity(const float *left, const float *right, size_t width)
{
    double product = 0.0, lefts = 0.0, rights = 0.0;
    for (size_t i = 0; i < width; i++) {
        product += (double)left[i] * (double)right[i];
        lefts += (double)left[i] * (double)left[i];
        rights += (double)right[i] * (double)right[i];
    }
    return lefts > 0.0 && rights > 0.0 ? product / sqrt(lefts * rights) : 0.0;
}
