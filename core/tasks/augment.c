/* augment.c - variants of texts: a queue of texts whose rounds of masks share batches, so that short texts keep the
 * processor as busy as long ones. What is changed, and how, is in edits.c. */
#include "tasks/tasks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/edits.h"
#include "tasks/filter.h"

#define ATTEMPTS 10       /* at a variant that is unlike the others */
#define TEXTS_AT_ONCE 512 /* in the queue */
#define BATCHES_AHEAD 2   /* of tokens in the queue */

/* What the filter says of a variant's text. */
typedef enum verdict { UNTRIED, ON_TRIAL, PASSED, REFUSED } verdict;

typedef struct variant {
    uint32_t key[2], attempt;
    fm_edits edits;
    uint32_t round;
    uint32_t *ids; /* of the round, NULL before it starts */
    size_t count;
    size_t next, waiting; /* first edit that is in no batch yet; edits of the round without a result */
    bool done, fresh;     /* fresh: the text is unlike the source and the variants before */
    verdict verdict;
    fm_buffer text;
} variant;

typedef struct job {
    struct job *next;
    fm_source source;
    size_t wanted; /* changes */
    variant *variants;
    fm_facts facts;
    bool done;
    fm_augmented result;
} job;

/* Whose edit a masked row is. */
typedef struct question {
    job *job;
    variant *variant;
    fm_edit *edit;
} question;

struct fm_augmenter {
    fm_model *model;
    fm_augment_options o;
    fm_kept kept, labels;
    bool *allowed;
    uint32_t *label_tokens;
    size_t label_token_count;
    fm_sampler sampler;
    fm_runner runner;
    question *questions; /* (runner.room.masked) */
    bool running;
    fm_filter filter;
    bool filtered, trying; /* whether there is a filter, and whether it is at work */
    fm_trial *trials;      /* for the filter, and whose they are */
    variant **tried;
    size_t trial_count, trial_capacity;
    job *first, *last;
    size_t jobs, tokens; /* in the queue; tokens of those that are not done */
};

/* ---- setting up ---- */

fm_augment_options fm_augment_defaults(void)
{
    return (fm_augment_options){.action = FM_AUGMENT_SUBSTITUTE,
                                .rate = 0.15,
                                .least = 1,
                                .variants = 1,
                                .top_k = 20,
                                .top_p = 1.0,
                                .temperature = 1.0,
                                .label_share = 0.05,
                                .least_similarity = -1.0,
                                .most_drop = (double)INFINITY};
}

static fm_status check_options(const fm_augment_options *o, fm_error *err)
{
    if (o->action > FM_AUGMENT_DELETE)
        return fm_fail(err, FM_E_ARGUMENT, "The action of an augmentation is %d, which is none.", (int)o->action);
    if (!(o->rate >= 0.0 && o->rate <= 1.0))
        return fm_fail(err, FM_E_ARGUMENT, "The rate of changes is %g; it must be from 0 to 1.", o->rate);
    if (o->most > 0 && o->least > o->most)
        return fm_fail(err, FM_E_ARGUMENT, "At least %u changes are asked for, but at most %u.", o->least, o->most);
    if (o->variants == 0) return fm_fail(err, FM_E_ARGUMENT, "The number of variants is 0; it must be at least 1.");
    if (!(o->top_p > 0.0 && o->top_p <= 1.0))
        return fm_fail(err, FM_E_ARGUMENT, "top_p is %g; it must be above 0 and at most 1.", o->top_p);
    if (!(o->temperature >= 0.0 && o->temperature <= 1000.0))
        return fm_fail(err, FM_E_ARGUMENT, "The temperature is %g; it must be from 0 to 1000.", o->temperature);
    if (!(o->label_share > 0.0 && o->label_share <= 1.0))
        return fm_fail(err, FM_E_ARGUMENT, "The share of labels is %g; it must be above 0 and at most 1.",
                       o->label_share);
    if (!(o->least_similarity >= -1.0 && o->least_similarity <= 1.0))
        return fm_fail(err, FM_E_ARGUMENT, "The least similarity is %g; it must be from -1 to 1.", o->least_similarity);
    if (!(o->most_drop >= 0.0))
        return fm_fail(err, FM_E_ARGUMENT, "The drop of the score is %g; it must be at least 0.", o->most_drop);
    return FM_OK;
}

/* The labels' tokens, which are not put in. */
static fm_status set_up_labels(fm_augmenter *a, fm_error *err)
{
    const fm_tokenizer *tokenizer = a->model->tokenizer;
    uint32_t vocab = fm_tokenizer_size(tokenizer);
    fm_status status = fm_kept_make(&a->labels, a->o.labels, a->o.label_count, err);
    if (status || a->labels.count == 0) return status;
    a->label_tokens = calloc(vocab, sizeof *a->label_tokens);
    if (!a->label_tokens) return fm_fail_memory(err, vocab * sizeof *a->label_tokens, "the words that decide labels");
    for (uint32_t i = 0; i < vocab; i++) {
        const char *token = fm_tokenizer_token(tokenizer, i);
        if (!fm_kept_has(&a->labels, token, strlen(token))) continue;
        a->label_tokens[a->label_token_count++] = i;
        a->allowed[i] = false;
    }
    return FM_OK;
}

static fm_status set_up(fm_augmenter *a, fm_error *err)
{
    const fm_augment_options *o = &a->o;
    uint32_t vocab = fm_tokenizer_size(a->model->tokenizer);
    fm_status status = check_options(o, err);
    if (!status) status = fm_kept_make(&a->kept, o->kept, o->kept_count, err);
    if (!status)
        status = fm_runner_open(&a->runner, a->model, o->action == FM_AUGMENT_DELETE ? FM_RUN_LOSS : FM_RUN_LOGITS,
                                NULL, err);
    if (status) return status;
    a->allowed = calloc(vocab, sizeof *a->allowed);
    a->questions = calloc(a->runner.room.masked, sizeof *a->questions);
    if (!a->allowed || !a->questions) return fm_fail_memory(err, vocab, "an augmenter");
    if (fm_words_allowed(a->model->tokenizer, a->allowed) == 0)
        return fm_fail(err, FM_E_FORMAT, "The vocabulary has no whole words to put into texts.");
    status = set_up_labels(a, err);
    a->o.kept = a->o.labels = NULL; /* the caller's */
    a->filter = (fm_filter){.model = a->model, .least_similarity = o->least_similarity, .most_drop = o->most_drop};
    a->filtered = fm_filter_needed(o);
    if (status) return status;
    return fm_sampler_open(&a->sampler, vocab, a->allowed, o->top_k, o->top_p, o->temperature, err);
}

fm_status fm_augmenter_create(fm_augmenter **augmenter, fm_model *model, const fm_augment_options *options,
                              fm_error *err)
{
    *augmenter = NULL;
    fm_augmenter *a = calloc(1, sizeof *a);
    if (!a) return fm_fail_memory(err, sizeof *a, "an augmenter");
    a->model = model;
    a->o = *options;
    fm_status status = set_up(a, err);
    if (status) fm_augmenter_destroy(a);
    else *augmenter = a;
    return status;
}

static void end_variant(variant *v)
{
    free(v->edits.list);
    free(v->ids);
    v->edits = (fm_edits){0};
    v->ids = NULL;
}

static void free_work(job *j, uint32_t variants)
{
    for (uint32_t i = 0; j->variants && i < variants; i++) {
        end_variant(&j->variants[i]);
        fm_buffer_free(&j->variants[i].text);
    }
    free(j->variants);
    j->variants = NULL;
    free(j->facts.vector);
    j->facts.vector = NULL;
    fm_source_free(&j->source);
}

void fm_augmented_free(fm_augmented *augmented)
{
    for (size_t i = 0; i < augmented->count; i++) free(augmented->variants[i].data);
    free(augmented->variants);
    *augmented = (fm_augmented){0};
}

static void free_job(job *j, uint32_t variants)
{
    free_work(j, variants);
    fm_augmented_free(&j->result);
    free(j);
}

void fm_augmenter_destroy(fm_augmenter *a)
{
    if (!a) return;
    while (a->first) {
        job *j = a->first;
        a->first = j->next;
        free_job(j, a->o.variants);
    }
    fm_sampler_free(&a->sampler);
    fm_runner_free(&a->runner);
    fm_kept_free(&a->kept);
    fm_kept_free(&a->labels);
    fm_filter_end(&a->filter);
    free(a->trials);
    free(a->tried);
    free(a->label_tokens);
    free(a->questions);
    free(a->allowed);
    free(a);
}

/* ---- texts come in ---- */

static size_t tokens_of(const fm_augmenter *a, const job *j)
{
    return j->source.encoding.count * a->o.variants;
}

bool fm_augmenter_wants(const fm_augmenter *a)
{
    return a->jobs < TEXTS_AT_ONCE && a->tokens < (size_t)BATCHES_AHEAD * a->runner.room.tokens;
}

/* How many words are to be changed; 0, and a reason, if that cannot be. */
static size_t changes_of(const fm_augment_options *o, size_t words, fm_augmented *result)
{
    double share = floor(o->rate * (double)words + 0.5);
    size_t wanted = o->count > 0 ? o->count : (size_t)share;
    if (wanted < o->least) wanted = o->least;
    if (o->most > 0 && wanted > o->most) wanted = o->most;
    if (words == 0) snprintf(result->reason, sizeof result->reason, "No word of the text may be changed.");
    else if (words < o->least)
        snprintf(result->reason, sizeof result->reason,
                 "Only %zu of its words may be changed, fewer than the %u asked for.", words, o->least);
    else if (wanted == 0)
        snprintf(result->reason, sizeof result->reason, "At this rate none of its %zu words is changed.", words);
    else return wanted < words ? wanted : words;
    return 0;
}

/* Draws the words of a variant anew. */
static fm_status start_variant(const fm_augmenter *a, job *j, variant *v, fm_error *err)
{
    const uint32_t seed[2] = {(uint32_t)a->o.seed, (uint32_t)(a->o.seed >> 32)};
    const uint32_t text[2] = {(uint32_t)j->result.number, (uint32_t)(j->result.number >> 32)};
    const uint32_t place[2] = {(uint32_t)(v - j->variants), v->attempt};
    uint32_t key[2];
    fm_threefry(seed, text, key);
    fm_threefry(key, place, v->key);
    fm_random random = {{v->key[0], v->key[1]}, 0};
    end_variant(v);
    v->round = 0;
    v->text.size = 0;
    v->done = false;
    v->verdict = UNTRIED;
    return fm_edits_plan(&v->edits, &j->source, a->o.action, j->wanted, &random, err);
}

fm_status fm_augmenter_add(fm_augmenter *a, uint64_t number, const char *text, size_t size, const fm_span *kept,
                           size_t kept_count, fm_error *err)
{
    job *j = calloc(1, sizeof *j);
    if (!j) return fm_fail_memory(err, sizeof *j, "a text to augment");
    j->result.number = number;
    fm_status status = fm_source_make(&j->source, a->model->tokenizer, a->o.action, &a->kept, &a->labels, text, size,
                                      kept, kept_count, err);
    if (!status) j->wanted = changes_of(&a->o, j->source.open_count, &j->result);
    j->done = j->wanted == 0;
    if (!status && !j->done) {
        j->variants = calloc(a->o.variants, sizeof *j->variants);
        if (!j->variants) status = fm_fail_memory(err, a->o.variants * sizeof *j->variants, "the variants of a text");
    }
    for (uint32_t i = 0; i < a->o.variants && !j->done && !status; i++)
        status = start_variant(a, j, &j->variants[i], err);
    if (status) {
        free_job(j, a->o.variants);
        return status;
    }
    if (j->done) free_work(j, a->o.variants);
    else a->tokens += tokens_of(a, j);
    if (a->last) a->last->next = j;
    else a->first = j;
    a->last = j;
    a->jobs++;
    return FM_OK;
}

/* ---- work ---- */

/* Puts windows of the variant's round into the batch; false if it is full. */
static bool ask_windows(fm_augmenter *a, job *j, variant *v)
{
    size_t longest = fm_runner_longest(&a->runner), length = v->count < longest ? v->count : longest;
    fm_edits *e = &v->edits;
    while (v->next < e->count) {
        if (!fm_edit_in_round(e, v->next, v->round)) {
            v->next++;
            continue;
        }
        /* As many masks as have a quarter of the window on each side, or the end of the text. */
        size_t place = e->list[v->next].place, start = place > length / 4 ? place - length / 4 : 0;
        if (start > v->count - length) start = v->count - length;
        size_t end = start + length == v->count ? v->count : start + length - length / 4;
        uint32_t masks = 0;
        for (size_t i = v->next; i < e->count && masks < a->runner.room.masked; i++) {
            if (!fm_edit_in_round(e, i, v->round)) continue;
            if (e->list[i].place >= end) break;
            masks++;
        }
        if (!fm_runner_fits(&a->runner, (uint32_t)length, masks)) return false;
        uint32_t row = fm_runner_add(&a->runner, v->ids + start, (uint32_t)length);
        for (; v->next < e->count && (masks > 0 || !fm_edit_in_round(e, v->next, v->round)); v->next++) {
            fm_edit *edit = &e->list[v->next];
            if (!fm_edit_in_round(e, v->next, v->round)) continue;
            uint32_t asked =
                fm_runner_ask(&a->runner, row + (uint32_t)(edit->place - start), fm_edit_label(&j->source, edit));
            a->questions[asked] = (question){j, v, edit};
            v->waiting++;
            masks--;
        }
    }
    return true;
}

static fm_status collect(fm_augmenter *a, fm_error *err)
{
    fm_runner_clear(&a->runner);
    for (job *j = a->first; j; j = j->next) {
        for (uint32_t i = 0; i < a->o.variants && !j->done; i++) {
            variant *v = &j->variants[i];
            if (v->done) continue;
            if (!v->ids) {
                fm_status status =
                    fm_edits_round(&v->edits, &j->source, a->model->tokenizer, v->round, &v->ids, &v->count, err);
                if (status) return status;
                v->next = v->waiting = 0;
            }
            if (!ask_windows(a, j, v)) return FM_OK;
        }
    }
    return FM_OK;
}

/* The tokens that would be the word itself in one case or another. */
static size_t find_itself(const fm_tokenizer *tokenizer, const fm_source *s, const fm_edit *edit, uint32_t found[4])
{
    const fm_word *word = &s->words.list[edit->word];
    size_t count = 0;
    if (word->count == 1) found[count++] = s->encoding.ids[word->first];
    for (int wanted = FM_CASE_LOWER; wanted <= FM_CASE_UPPER; wanted++) {
        fm_buffer cased = {0};
        fm_case_add(&cased, s->text + word->span.start, word->span.end - word->span.start, (fm_case)wanted);
        if (!cased.failed && fm_tokenizer_find(tokenizer, cased.data, cased.size, &found[count])) count++;
        fm_buffer_free(&cased);
    }
    return count;
}

/* Whether words that decide a label are expected there. */
static bool decides_label(const fm_augmenter *a, const float *logits)
{
    if (a->label_token_count == 0) return false;
    double log_sum = fm_log_sum_exp(logits, fm_tokenizer_size(a->model->tokenizer)), share = 0.0;
    for (size_t i = 0; i < a->label_token_count; i++) share += exp((double)logits[a->label_tokens[i]] - log_sum);
    return share >= a->o.label_share;
}

static void answer(fm_augmenter *a, const question *q, const float *result)
{
    const fm_edits *e = &q->variant->edits;
    if (e->action == FM_AUGMENT_DELETE) {
        q->edit->losses[q->variant->round % 2] = result[0];
        return;
    }
    uint32_t itself[4], bits[2];
    size_t count =
        e->action == FM_AUGMENT_SUBSTITUTE ? find_itself(a->model->tokenizer, &q->job->source, q->edit, itself) : 0;
    /* The draw belongs to the edit, so that batches make no difference. */
    const uint32_t counter[2] = {(uint32_t)(q->edit - e->list), 0x746f6bu};
    fm_threefry(q->variant->key, counter, bits);
    if (decides_label(a, result) ||
        !fm_sampler_draw(&a->sampler, result, itself, count, (double)bits[0] * 0x1p-32, &q->edit->token))
        q->edit->token = UINT32_MAX;
}

/* The variant's round is over: the next one, or its text. */
static fm_status end_round(const fm_augmenter *a, const job *j, variant *v, fm_error *err)
{
    free(v->ids);
    v->ids = NULL;
    if (++v->round < v->edits.rounds) return FM_OK;
    fm_edits_apply(&v->edits, &j->source, a->model->tokenizer, &v->text);
    v->done = true;
    return v->text.failed ? fm_fail_memory(err, j->source.size, "a variant of a text") : FM_OK;
}

static bool is_new(const job *j, uint32_t index)
{
    const fm_buffer *text = &j->variants[index].text;
    if (text->size == j->source.size && memcmp(text->data, j->source.text, text->size) == 0) return false;
    for (uint32_t i = 0; i < index; i++) {
        const fm_buffer *other = &j->variants[i].text;
        if (text->size == other->size && memcmp(text->data, other->data, text->size) == 0) return false;
    }
    return true;
}

static fm_status try_variant(fm_augmenter *a, job *j, variant *v, fm_error *err)
{
    if (a->trial_count == a->trial_capacity) {
        size_t capacity = a->trial_capacity * 2 + 64;
        fm_trial *trials = realloc(a->trials, capacity * sizeof *trials);
        if (trials) a->trials = trials;
        variant **tried = realloc(a->tried, capacity * sizeof *tried);
        if (tried) a->tried = tried;
        if (!trials || !tried) return fm_fail_memory(err, capacity * sizeof *trials, "variants of texts");
        a->trial_capacity = capacity;
    }
    a->trials[a->trial_count] = (fm_trial){
        .source = {j->source.text, j->source.size}, .variant = {v->text.data, v->text.size}, .facts = &j->facts};
    a->tried[a->trial_count++] = v;
    v->verdict = ON_TRIAL;
    return FM_OK;
}

/* All variants have their texts: those that are not new or were refused are drawn again, or at last left out. */
static fm_status end_job(fm_augmenter *a, job *j, fm_error *err)
{
    bool again = false;
    for (uint32_t i = 0; i < a->o.variants; i++) {
        variant *v = &j->variants[i];
        fm_status status = FM_OK;
        v->fresh = is_new(j, i);
        if (v->fresh && (!a->filtered || v->verdict == PASSED)) continue;
        if (v->fresh && v->verdict == UNTRIED) status = try_variant(a, j, v, err);
        else if (v->attempt + 1 == ATTEMPTS) continue;
        else {
            v->attempt++;
            status = start_variant(a, j, v, err);
        }
        again = true;
        if (status) return status;
    }
    if (again) return FM_OK;
    fm_augmented *r = &j->result;
    r->variants = calloc(a->o.variants, sizeof *r->variants);
    if (!r->variants) return fm_fail_memory(err, a->o.variants * sizeof *r->variants, "the variants of a text");
    for (uint32_t i = 0; i < a->o.variants; i++) {
        variant *v = &j->variants[i];
        if (!v->fresh || v->verdict == REFUSED) continue;
        r->variants[r->count++] = (fm_text){v->text.data, v->text.size};
        v->text = (fm_buffer){0}; /* the result's now */
    }
    if (r->count < a->o.variants)
        snprintf(r->reason, sizeof r->reason, "Only %zu of %u variants differ from the text and from each other%s.",
                 r->count, a->o.variants, a->filtered ? ", and pass the filters" : "");
    a->tokens -= tokens_of(a, j);
    j->done = true;
    free_work(j, a->o.variants);
    return FM_OK;
}

static fm_status end_jobs(fm_augmenter *a, fm_error *err)
{
    for (job *j = a->first; j; j = j->next) {
        bool done = !j->done;
        for (uint32_t i = 0; i < a->o.variants && !j->done; i++) {
            variant *v = &j->variants[i];
            bool over = v->ids && v->waiting == 0 && v->next == v->edits.count;
            fm_status status = over ? end_round(a, j, v, err) : FM_OK;
            if (status) return status;
            done = done && v->done && v->verdict != ON_TRIAL;
        }
        fm_status status = done ? end_job(a, j, err) : FM_OK;
        if (status) return status;
    }
    return FM_OK;
}

static fm_status take_results(fm_augmenter *a, fm_error *err)
{
    size_t width = a->runner.run == FM_RUN_LOSS ? 2 : a->model->config.vocab_size;
    for (uint32_t i = 0; i < a->runner.masked; i++) {
        answer(a, &a->questions[i], a->runner.results + i * width);
        a->questions[i].variant->waiting--;
    }
    return end_jobs(a, err);
}

static fm_status step_filter(fm_augmenter *a, fm_error *err)
{
    bool done;
    if (!a->trying) fm_filter_begin(&a->filter, a->trials, a->trial_count);
    a->trying = true;
    fm_status status = fm_filter_step(&a->filter, &done, err);
    if (status || !done) return status;
    for (size_t i = 0; i < a->trial_count; i++) a->tried[i]->verdict = a->trials[i].passed ? PASSED : REFUSED;
    a->trying = false;
    a->trial_count = 0;
    return end_jobs(a, err);
}

fm_status fm_augmenter_step(fm_augmenter *a, bool *more, fm_error *err)
{
    fm_status status = FM_OK;
    *more = true;
    if (!a->running && a->trial_count > 0) return step_filter(a, err);
    if (!a->running) {
        status = collect(a, err);
        a->running = a->runner.sequences > 0;
        *more = a->running;
        return status;
    }
    bool done;
    status = fm_runner_step(&a->runner, &done, err);
    if (status || !done) return status;
    a->running = false;
    return take_results(a, err);
}

bool fm_augmenter_take(fm_augmenter *a, fm_augmented *augmented)
{
    job *j = a->first;
    if (!j || !j->done) return false;
    *augmented = j->result;
    a->first = j->next;
    if (!a->first) a->last = NULL;
    a->jobs--;
    free(j);
    return true;
}
