/* sample.c - a token drawn from a row of logits: top-k, nucleus (Holtzman et al. 2020) and temperature. Where the draw
 * comes from is the caller's business, so that the same draw gives the same token. */
#include "tasks/tasks.h"

#include <math.h>
#include <stdlib.h>

typedef struct fm_candidate candidate;

fm_status fm_sampler_open(fm_sampler *s, uint32_t vocab, const bool *allowed, uint32_t top_k, double top_p,
                          double temperature, fm_error *err)
{
    *s = (fm_sampler){vocab, top_k == 0 || top_k > vocab ? vocab : top_k, top_p, temperature, allowed, NULL};
    s->candidates = calloc(s->top_k, sizeof *s->candidates);
    if (!s->candidates) return fm_fail_memory(err, s->top_k * sizeof *s->candidates, "the candidates for a word");
    return FM_OK;
}

void fm_sampler_free(fm_sampler *s)
{
    free(s->candidates);
    s->candidates = NULL;
}

double fm_log_sum_exp(const float *logits, uint32_t count)
{
    float most = logits[0];
    double sum = 0.0;
    for (uint32_t i = 1; i < count; i++) most = logits[i] > most ? logits[i] : most;
    for (uint32_t i = 0; i < count; i++) sum += exp((double)logits[i] - (double)most);
    return (double)most + log(sum);
}

/* Whether a goes before b: the better logit, the smaller id among equals. */
static bool before(const candidate *a, const candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

static int compare(const void *left, const void *right)
{
    return before(left, right) ? -1 : before(right, left) ? 1 : 0;
}

/* The worst candidate is at the root of a heap; it makes place for a better one. */
static void sift_down(candidate *heap, size_t count, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && before(&heap[child], &heap[child + 1])) child++;
        if (!before(&heap[at], &heap[child])) return;
        candidate swapped = heap[at];
        heap[at] = heap[child];
        heap[child] = swapped;
    }
}

size_t fm_sampler_best(fm_sampler *s, const float *logits, const uint32_t *excluded, size_t excluded_count)
{
    size_t count = 0;
    for (uint32_t token = 0; token < s->vocab; token++) {
        if (!s->allowed[token] || (count == s->top_k && logits[token] <= s->candidates[0].logit)) continue;
        bool skip = false;
        for (size_t i = 0; i < excluded_count; i++) skip = skip || excluded[i] == token;
        if (skip) continue;
        const candidate found = {logits[token], token, 0.0};
        if (count == s->top_k) {
            s->candidates[0] = found;
            sift_down(s->candidates, count, 0);
            continue;
        }
        s->candidates[count++] = found;
        if (count == s->top_k)
            for (size_t i = count / 2; i-- > 0;) sift_down(s->candidates, count, i);
    }
    qsort(s->candidates, count, sizeof *s->candidates, compare);
    return count;
}

bool fm_sampler_draw(fm_sampler *s, const float *logits, const uint32_t *excluded, size_t excluded_count, double draw,
                     uint32_t *token)
{
    size_t count = fm_sampler_best(s, logits, excluded, excluded_count);
    if (count == 0) return false;
    *token = s->candidates[0].token;
    if (s->temperature <= 0.0) return true;
    double sum = 0.0, kept = 0.0;
    for (size_t i = 0; i < count; i++) {
        s->candidates[i].weight =
            exp(((double)s->candidates[i].logit - (double)s->candidates[0].logit) / s->temperature);
        sum += s->candidates[i].weight;
    }
    for (size_t i = 0; i < count; i++) {
        kept += s->candidates[i].weight;
        if (kept >= s->top_p * sum) count = i + 1;
    }
    draw *= kept;
    for (size_t i = 0; i < count; i++) {
        *token = s->candidates[i].token;
        draw -= s->candidates[i].weight;
        if (draw < 0.0) break;
    }
    return true;
}
