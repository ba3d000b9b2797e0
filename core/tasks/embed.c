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

struct fm_embedder {
    fm_runner runner;
    fm_encoding *encodings; /* (count) */
    size_t count;
    double *sums;         /* (count, width) */
    cursor asked, taken;  /* the next windows to go into a batch, and to come out of one */
    uint64_t done, total; /* tokens */
    bool running;
};

static fm_status encode(fm_embedder *e, const fm_tokenizer *tokenizer, const fm_view *texts, fm_error *err)
{
    fm_status status = FM_OK;
    for (size_t i = 0; i < e->count && !status; i++) {
        status = fm_tokenizer_encode(tokenizer, texts[i].data, texts[i].size, false, &e->encodings[i], err);
        if (!status && e->encodings[i].count == 0)
            status = fm_fail(err, FM_E_FORMAT, "The text has no token; it is empty or holds only white space.");
        e->total += e->encodings[i].count;
    }
    return status;
}

static uint32_t bounded(uint64_t count)
{
    return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

fm_status fm_embedder_create(fm_embedder **embedder, fm_model *model, const fm_view *texts, size_t count, fm_error *err)
{
    size_t cells = 0;
    *embedder = NULL;
    fm_embedder *e = calloc(1, sizeof *e);
    if (!e) return fm_fail_memory(err, sizeof *e, "vectors");
    e->encodings = calloc(count + 1, sizeof *e->encodings);
    if (fm_size_mul(count, model->config.hidden, &cells)) e->sums = calloc(cells + 1, sizeof *e->sums);
    e->count = e->encodings ? count : 0;
    fm_status status = e->encodings && e->sums ? encode(e, model->tokenizer, texts, err)
                                               : fm_fail_memory(err, cells * sizeof *e->sums, "vectors");
    const fm_room need = {bounded(e->total + 2 * (uint64_t)count), bounded(count), 0, false};
    if (!status) status = fm_runner_open(&e->runner, model, FM_RUN_HIDDEN, &need, err);
    if (status) fm_embedder_destroy(e);
    else *embedder = e;
    return status;
}

void fm_embedder_destroy(fm_embedder *e)
{
    if (!e) return;
    fm_runner_free(&e->runner);
    for (size_t i = 0; i < e->count; i++) fm_encoding_free(&e->encodings[i]);
    free(e->encodings);
    free(e->sums);
    free(e);
}

/* What a cursor's window holds. Half of it is in the next one too, and the border is in the middle of that half. */
typedef struct window {
    uint32_t length;
    size_t from, to; /* rows of its sequence that are taken */
} window;

static window pass(const fm_embedder *e, cursor *at)
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

static void add_windows(fm_embedder *e)
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
static void take_states(fm_embedder *e)
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

fm_status fm_embedder_step(fm_embedder *e, bool *done, fm_error *err)
{
    *done = e->taken.text == e->count;
    if (*done) return FM_OK;
    if (!e->running) {
        fm_runner_clear(&e->runner);
        add_windows(e);
        e->running = true;
    }
    bool finished;
    fm_status status = fm_runner_step(&e->runner, &finished, err);
    if (status || !finished) return status;
    take_states(e);
    e->running = false;
    e->done = e->done + e->runner.tokens < e->total ? e->done + e->runner.tokens : e->total; /* windows overlap */
    *done = e->taken.text == e->count;
    return FM_OK;
}

void fm_embedder_read(const fm_embedder *e, float *vectors)
{
    size_t width = e->runner.model->config.hidden;
    for (size_t i = 0; i < e->count * width; i++)
        vectors[i] = (float)(e->sums[i] / (double)(e->encodings[i / width].count + 2));
}

fm_status fm_embed(fm_model *model, const fm_view *texts, size_t count, fm_progress progress, void *context,
                   float *vectors, fm_error *err)
{
    fm_embedder *e;
    fm_status status = fm_embedder_create(&e, model, texts, count, err);
    for (bool done = false; !status && !done;) {
        status = fm_embedder_step(e, &done, err);
        if (!status && progress && !progress(context, e->done, e->total))
            status = fm_fail(err, FM_E_ABORTED, "Stopped after %llu of %llu tokens.", (unsigned long long)e->done,
                             (unsigned long long)e->total);
    }
    if (!status) fm_embedder_read(e, vectors);
    fm_embedder_destroy(e);
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
