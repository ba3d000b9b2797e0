/* query.c - what the model says of the masks of a text, some of which may be filled already: sequences with their
 * masks go through the network in batches, and each mask gets a score for every choice. */
#include "tasks/fill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static fm_status find_masks(fm_query *q, const char *text, size_t size, fm_error *err)
{
    const fm_tokenizer *tokenizer = q->model->tokenizer;
    uint32_t mask = fm_tokenizer_special(tokenizer).mask;
    fm_status status = fm_tokenizer_encode(tokenizer, text, size, false, &q->encoding, err);
    if (status) return status;
    q->places = calloc(q->encoding.count + 1, sizeof *q->places);
    if (!q->places) return fm_fail_memory(err, q->encoding.count * sizeof *q->places, "the masks of a text");
    for (size_t i = 0; i < q->encoding.count; i++)
        if (q->encoding.ids[i] == mask) q->places[q->masks++] = (uint32_t)i;
    if (q->masks == 0)
        return fm_fail(err, FM_E_FORMAT, "The text has no %s; put one where a word is to be filled in.",
                       fm_tokenizer_token(tokenizer, mask));
    return FM_OK;
}

/* No more than the questions of so many items need, so that a short text stays cheap. */
static fm_status open_runner(fm_query *q, size_t items, size_t most_tokens, fm_error *err)
{
    size_t questions, tokens;
    if (!fm_size_mul(items, q->choices->prefix_count, &questions)) questions = UINT32_MAX;
    if (!fm_size_mul(questions, most_tokens + 2, &tokens) || tokens > UINT32_MAX) tokens = UINT32_MAX;
    if (questions > UINT32_MAX) questions = UINT32_MAX;
    const fm_room need = {(uint32_t)tokens, (uint32_t)questions, (uint32_t)questions, false};
    fm_status status = fm_runner_open(&q->runner, q->model, FM_RUN_LOGITS, &need, err);
    if (!status && q->choices->longest > fm_runner_longest(&q->runner))
        status = fm_fail(err, FM_E_LIMIT, "A target has %u tokens, more than the %u that the model takes.",
                         q->choices->longest, fm_runner_longest(&q->runner));
    return status;
}

fm_status fm_query_open(fm_query *q, fm_model *model, const fm_choices *choices, const char *text, size_t size,
                        size_t items, fm_error *err)
{
    size_t more, bytes;
    *q = (fm_query){.model = model, .choices = choices};
    fm_status status = find_masks(q, text, size, err);
    if (status) return status;
    if (!fm_size_mul(q->masks, choices->longest, &more) ||
        !fm_size_mul(more + q->encoding.count, sizeof *q->ids, &bytes) || !(q->ids = malloc(bytes)))
        return fm_fail_memory(err, q->encoding.count * sizeof *q->ids, "the tokens of a text");
    return open_runner(q, items > 0 ? items : q->masks, more + q->encoding.count, err);
}

void fm_query_free(fm_query *q)
{
    fm_runner_free(&q->runner);
    fm_encoding_free(&q->encoding);
    free(q->places);
    free(q->ids);
    *q = (fm_query){0};
}

/* Puts the text's tokens into q->ids, with the item's fillings and the question's masks. Returns their number and the
 * place that is asked about. */
static size_t lay_out(fm_query *q, const fm_item *item, const fm_prefix *prefix, size_t *place)
{
    const fm_choices *c = q->choices;
    uint32_t mask = fm_tokenizer_special(q->model->tokenizer).mask, *ids = q->ids;
    size_t at = 0, done = 0;
    for (size_t m = 0; m <= q->masks; m++) {
        size_t end = m < q->masks ? q->places[m] : q->encoding.count;
        memcpy(ids + at, q->encoding.ids + done, (end - done) * sizeof *ids);
        at += end - done;
        done = end + 1;
        if (m == q->masks) break;
        if (m == item->mask) {
            *place = at + prefix->known;
            for (uint32_t i = 0; i < prefix->length; i++)
                ids[at++] = i < prefix->known ? fm_choice_token(c, c->order[prefix->first], i) : mask;
        } else if (m < item->mask && item->filled) {
            for (uint32_t i = 0; i < fm_choice_length(c, item->filled[m]); i++)
                ids[at++] = fm_choice_token(c, item->filled[m], i);
        } else ids[at++] = mask;
    }
    return at;
}

/* Where the last sequence is, and what it holds. */
typedef struct window {
    bool shared; /* it may be asked about other masks too */
    size_t start;
    uint32_t row;
} window;

/* Adds a question to the batch; false if that is full. */
static bool add_question(fm_query *q, const fm_item *item, const fm_prefix *prefix, window *last)
{
    size_t place = 0, count = lay_out(q, item, prefix, &place), longest = fm_runner_longest(&q->runner);
    uint32_t length = (uint32_t)(count < longest ? count : longest);
    size_t start = fm_window_start(count, length, place);
    /* Masks that stay masks for each other's sake are asked about at once. */
    bool plain = !item->filled && prefix->length == 1;
    if (plain && last->shared && last->start == start) {
        if (q->runner.masked == q->runner.room.masked) return false;
    } else {
        if (!fm_runner_fits(&q->runner, length, 1)) return false;
        *last = (window){plain, start, fm_runner_add(&q->runner, q->ids + start, length)};
    }
    fm_runner_ask(&q->runner, last->row + (uint32_t)(place - start), 0);
    return true;
}

/* Adds the log-probability of the question's piece to the scores of the targets that it stands for. */
static void add_scores(const fm_choices *c, const fm_prefix *prefix, const float *logits, double log_sum, float *scores)
{
    for (uint32_t i = prefix->first; i < prefix->first + prefix->count; i++) {
        uint32_t target = c->order[i], token = fm_choice_token(c, target, prefix->known);
        scores[target] = (float)((prefix->known > 0 ? (double)scores[target] : 0.0) + (double)logits[token] - log_sum);
    }
}

fm_status fm_query_ask(fm_query *q, const fm_item *items, size_t count, uint64_t done, uint64_t total, fm_take take,
                       void *context, fm_error *err)
{
    const fm_choices *c = q->choices;
    uint32_t vocab = fm_tokenizer_size(q->model->tokenizer);
    size_t questions = count * c->prefix_count, next = 0;
    float *scores = c->targets ? calloc(c->count, sizeof *scores) : NULL;
    fm_status status = FM_OK;
    if (c->targets && !scores) return fm_fail_memory(err, c->count * sizeof *scores, "the scores of targets");
    while (next < questions && !status) {
        size_t first = next;
        window last = {0};
        fm_runner_clear(&q->runner);
        while (next < questions &&
               add_question(q, &items[next / c->prefix_count], &c->prefixes[next % c->prefix_count], &last))
            next++;
        status = fm_runner_finish(&q->runner, q->progress, q->context, done + first, total, err);
        for (size_t i = first; i < next && !status; i++) {
            const fm_prefix *prefix = &c->prefixes[i % c->prefix_count];
            const float *logits = q->runner.results + (i - first) * q->model->config.vocab_size;
            double log_sum = fm_log_sum_exp(logits, vocab);
            if (!isfinite(log_sum))
                status =
                    fm_fail(err, FM_E_FORMAT, "The model's results are not finite numbers; its weights are damaged.");
            else if (!c->targets) take(context, i, logits, log_sum);
            else add_scores(c, prefix, logits, log_sum, scores);
            if (!status && c->targets && (i + 1) % c->prefix_count == 0)
                take(context, i / c->prefix_count, scores, 0.0);
        }
    }
    free(scores);
    return status;
}
