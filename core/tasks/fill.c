/* fill.c - fill-mask: the most probable tokens for every [MASK] of a text, each by itself. */
#include "tasks/tasks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Whether a goes before b: the better score, the smaller id among equals. */
static bool better(fm_filling a, fm_filling b)
{
    return a.score > b.score || (a.score == b.score && a.token < b.token);
}

/* The k best of a row of logits, with their probabilities; false if these are not finite. */
static bool best_of(const float *logits, uint32_t vocab, size_t k, fm_filling *top)
{
    float most = logits[0];
    for (uint32_t i = 1; i < vocab; i++) most = logits[i] > most ? logits[i] : most;
    double sum = 0.0;
    size_t count = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        sum += exp((double)logits[i] - most);
        fm_filling found = {i, logits[i]};
        if (count == k && !better(found, top[k - 1])) continue;
        size_t place = count < k ? count++ : k - 1;
        for (; place > 0 && better(found, top[place - 1]); place--) top[place] = top[place - 1];
        top[place] = found;
    }
    if (!isfinite(sum) || !isfinite(most)) return false;
    for (size_t i = 0; i < k; i++) top[i].score = (float)(exp((double)top[i].score - most) / sum);
    return true;
}

typedef struct query {
    fm_encoding encoding;
    uint32_t *rows;
    float *logits;
    size_t masks;
} query;

static fm_status find_masks(fm_model *m, query *q, const char *text, size_t size, fm_error *err)
{
    fm_status status = fm_tokenizer_encode(m->tokenizer, text, size, true, &q->encoding, err);
    if (status) return status;
    if (q->encoding.count > m->config.positions)
        return fm_fail(err, FM_E_LIMIT, "The text has %zu tokens, more than the model's %u positions; shorten it.",
                       q->encoding.count, m->config.positions);
    uint32_t mask = fm_tokenizer_special(m->tokenizer).mask;
    q->rows = calloc(q->encoding.count, sizeof *q->rows);
    if (!q->rows) return fm_fail_memory(err, q->encoding.count * sizeof *q->rows, "the masks of a text");
    for (size_t i = 0; i < q->encoding.count; i++)
        if (q->encoding.ids[i] == mask) q->rows[q->masks++] = (uint32_t)i;
    if (q->masks == 0)
        return fm_fail(err, FM_E_FORMAT, "The text has no %s; put one where a word is to be filled in.",
                       fm_tokenizer_token(m->tokenizer, mask));
    return FM_OK;
}

static fm_status run(fm_model *m, query *q, fm_error *err)
{
    uint32_t tokens = (uint32_t)q->encoding.count, masks = (uint32_t)q->masks, starts[] = {0, tokens};
    size_t bytes;
    if (!fm_size_mul(q->masks, m->config.vocab_size * sizeof *q->logits, &bytes) || !(q->logits = malloc(bytes)))
        return fm_fail_memory(err, q->masks * m->config.vocab_size, "the logits of a text");
    const fm_room room = {tokens < 128 ? 128 : tokens, 1, masks < 8 ? 8 : masks, false};
    const fm_batch batch = {
        .tokens = tokens, .sequences = 1, .masked = masks, .ids = q->encoding.ids, .starts = starts, .rows = q->rows};
    const fm_run_options options = {.run = FM_RUN_LOGITS};
    fm_network *network;
    fm_status status = fm_model_network(m, &room, &network, err);
    if (!status) status = fm_network_begin(network, &batch, &options, err);
    if (status) return status;
    while (fm_network_advance(network)) {
    }
    fm_network_read_logits(network, q->logits);
    return m->backend->ops->finish(m->backend, err);
}

static fm_status collect(fm_model *m, const query *q, size_t k, fm_fill_result *result, fm_error *err)
{
    uint32_t vocab = fm_tokenizer_size(m->tokenizer);
    if (k > vocab) k = vocab;
    result->mask = calloc(q->masks, sizeof *result->mask);
    if (!result->mask) return fm_fail_memory(err, q->masks * sizeof *result->mask, "fillings");
    result->masks = q->masks;
    for (size_t i = 0; i < q->masks; i++) {
        fm_mask_fillings *f = &result->mask[i];
        f->start = q->encoding.offsets[q->rows[i]].start;
        f->end = q->encoding.offsets[q->rows[i]].end;
        f->top = calloc(k, sizeof *f->top);
        if (!f->top) return fm_fail_memory(err, k * sizeof *f->top, "fillings");
        f->count = k;
        if (!best_of(q->logits + i * m->config.vocab_size, vocab, k, f->top))
            return fm_fail(err, FM_E_FORMAT, "The model's results are not finite numbers; its weights are damaged.");
    }
    return FM_OK;
}

fm_status fm_fill(fm_model *m, const char *text, size_t size, size_t k, fm_fill_result *result, fm_error *err)
{
    *result = (fm_fill_result){0};
    if (k == 0) return fm_fail(err, FM_E_ARGUMENT, "The number of fillings is 0; it must be at least 1.");
    query q = {0};
    fm_status status = find_masks(m, &q, text, size, err);
    if (!status) status = run(m, &q, err);
    if (!status) status = collect(m, &q, k, result, err);
    if (status) fm_fill_result_free(result);
    fm_encoding_free(&q.encoding);
    free(q.rows);
    free(q.logits);
    return status;
}

void fm_fill_result_free(fm_fill_result *result)
{
    for (size_t i = 0; i < result->masks; i++) free(result->mask[i].top);
    free(result->mask);
    *result = (fm_fill_result){0};
}
