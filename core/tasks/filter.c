/* filter.c - whether variants of texts are like their sources: by the similarity of their vectors, for many texts in a
 * batch, and by how expected their tokens are. */
#include "tasks/filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool fm_filter_needed(const fm_augment_options *o)
{
    return o->least_similarity > -1.0 || o->most_drop < (double)INFINITY;
}

void fm_filter_begin(fm_filter *f, fm_trial *trials, size_t count)
{
    f->trials = trials;
    f->count = count;
    f->next = 0;
    f->embedded = f->least_similarity <= -1.0;
    for (size_t i = 0; i < count; i++) trials[i].passed = true;
}

void fm_filter_end(fm_filter *f)
{
    fm_embedder_destroy(f->embedder);
    fm_scorer_destroy(f->scorer);
    f->embedder = NULL;
    f->scorer = NULL;
}

/* ---- similarity ---- */

/* Every variant, and before it its source if that has no vector yet; variants of a source are side by side. */
static bool needs_source(const fm_filter *f, size_t trial)
{
    const fm_trial *t = &f->trials[trial];
    return !t->facts->vector && (trial == 0 || t[-1].facts != t->facts);
}

static fm_status start_embedding(fm_filter *f, fm_error *err)
{
    size_t count = 0;
    fm_view *texts = calloc(2 * f->count, sizeof *texts);
    if (!texts) return fm_fail_memory(err, 2 * f->count * sizeof *texts, "variants of texts");
    for (size_t i = 0; i < f->count; i++) {
        if (needs_source(f, i)) texts[count++] = f->trials[i].source;
        texts[count++] = f->trials[i].variant;
    }
    fm_status status = fm_embedder_create(&f->embedder, f->model, texts, count, err);
    free(texts);
    return status;
}

static fm_status judge_similarity(fm_filter *f, fm_error *err)
{
    size_t width = fm_model_width(f->model);
    float *vectors = calloc(2 * f->count * width, sizeof *vectors), *next = vectors;
    if (!vectors) return fm_fail_memory(err, 2 * f->count * width * sizeof *vectors, "vectors");
    fm_embedder_read(f->embedder, vectors);
    fm_status status = FM_OK;
    for (size_t i = 0; i < f->count && !status; i++) {
        fm_trial *t = &f->trials[i];
        if (needs_source(f, i)) {
            t->facts->vector = calloc(width, sizeof *vectors);
            if (!t->facts->vector) status = fm_fail_memory(err, width * sizeof *vectors, "vectors");
            else memcpy(t->facts->vector, next, width * sizeof *vectors);
            next += width;
        }
        if (!status) t->passed = fm_similarity(t->facts->vector, next, width) >= f->least_similarity;
        next += width;
    }
    free(vectors);
    return status;
}

static fm_status step_embedding(fm_filter *f, fm_error *err)
{
    bool finished = false;
    fm_status status = f->embedder ? FM_OK : start_embedding(f, err);
    if (!status) status = fm_embedder_step(f->embedder, &finished, err);
    if (status || !finished) return status;
    status = judge_similarity(f, err);
    fm_embedder_destroy(f->embedder);
    f->embedder = NULL;
    f->embedded = true;
    return status;
}

/* ---- scores ---- */

static fm_status step_scoring(fm_filter *f, fm_error *err)
{
    fm_trial *t = &f->trials[f->next];
    bool finished = false;
    fm_status status = FM_OK;
    if (!f->scorer)
        status = fm_scorer_create(&f->scorer, f->model, t->facts->scored ? t->variant : t->source, FM_SCORE_WORD, err);
    if (!status) status = fm_scorer_step(f->scorer, &finished, err);
    if (status || !finished) return status;
    size_t scored;
    const fm_score_result *result = fm_scorer_result(f->scorer, &scored);
    double mean = result->score / (double)scored;
    if (t->facts->scored) {
        t->passed = mean >= t->facts->mean - f->most_drop;
        f->next++;
    } else t->facts->mean = mean;
    t->facts->scored = true;
    fm_scorer_destroy(f->scorer);
    f->scorer = NULL;
    return FM_OK;
}

fm_status fm_filter_step(fm_filter *f, bool *done, fm_error *err)
{
    fm_status status = FM_OK;
    if (!f->embedded) status = step_embedding(f, err);
    else if (f->next < f->count) status = step_scoring(f, err);
    while (!status && f->embedded && f->next < f->count &&
           (!f->trials[f->next].passed || f->most_drop >= (double)INFINITY))
        f->next++; /* it needs no score */
    *done = f->embedded && f->next == f->count;
    return status;
}
