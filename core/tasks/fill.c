/* fill.c - fill-mask: every [MASK] of a text by itself, all of them together by beam search, or drawn. What the model
 * is asked is in query.c, and how a filling is written in wording.c. */
#include "tasks/fill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct filling {
    const fm_fill_options *o;
    fm_query query;
    fm_wording wording;
    fm_sampler sampler;
    fm_fill_result *result;
    fm_status status; /* of what was taken */
    fm_error *err;
} filling;

fm_fill_options fm_fill_defaults(void)
{
    return (fm_fill_options){.mode = FM_FILL_EACH, .top_k = 5, .beams = 20, .top_p = 1.0, .temperature = 1.0};
}

static fm_status check_options(const fm_fill_options *o, fm_error *err)
{
    if (o->mode > FM_FILL_SAMPLE)
        return fm_fail(err, FM_E_ARGUMENT, "The mode of filling is %d, which is none.", (int)o->mode);
    if (o->top_k == 0) return fm_fail(err, FM_E_ARGUMENT, "The number of fillings is 0; it must be at least 1.");
    if (o->mode != FM_FILL_SAMPLE) return FM_OK;
    if (!(o->top_p > 0.0 && o->top_p <= 1.0))
        return fm_fail(err, FM_E_ARGUMENT, "top_p is %g; it must be above 0 and at most 1.", o->top_p);
    if (!(o->temperature > 0.0 && o->temperature <= 1000.0))
        return fm_fail(err, FM_E_ARGUMENT, "The temperature is %g; it must be above 0 and at most 1000.",
                       o->temperature);
    return FM_OK;
}

/* ---- every mask by itself ---- */

static void take_best(void *context, size_t item, const float *scores, double log_sum)
{
    filling *f = context;
    fm_mask_fillings *mask = &f->result->mask[item];
    size_t count = fm_sampler_best(&f->sampler, scores, NULL, 0);
    if (f->status) return;
    mask->top = calloc(count, sizeof *mask->top);
    if (!mask->top) f->status = fm_fail_memory(f->err, count * sizeof *mask->top, "fillings");
    for (; mask->count < count && !f->status; mask->count++) {
        const struct fm_candidate *found = &f->sampler.candidates[mask->count];
        f->status = fm_wording_write(&f->wording, item, found->token, (double)found->logit - log_sum, NULL,
                                     &mask->top[mask->count], f->err);
    }
}

static fm_status fill_each(filling *f, fm_error *err)
{
    size_t masks = f->query.masks;
    fm_item *items = calloc(masks, sizeof *items);
    if (!items) return fm_fail_memory(err, masks * sizeof *items, "the masks of a text");
    for (size_t i = 0; i < masks; i++) items[i].mask = i;
    fm_status status =
        fm_query_ask(&f->query, items, masks, 0, masks * f->query.choices->prefix_count, take_best, f, err);
    free(items);
    return status ? status : f->status;
}

/* ---- all masks together ---- */

/* Texts whose first masks are filled. */
typedef struct states {
    size_t count, masks;
    uint32_t *choices; /* (count, masks) */
    double *scores;    /* (count, masks) log-probabilities */
    double *sums;      /* (count) */
} states;

static fm_status states_make(states *s, size_t count, size_t masks, fm_error *err)
{
    size_t cells = 0;
    *s = (states){.count = count, .masks = masks};
    if (fm_size_mul(count, masks, &cells)) {
        s->choices = calloc(cells, sizeof *s->choices);
        s->scores = calloc(cells, sizeof *s->scores);
        s->sums = calloc(count, sizeof *s->sums);
    }
    if (s->choices && s->scores && s->sums) return FM_OK;
    return fm_fail_memory(err, cells * sizeof *s->scores, "the fillings of a text");
}

static void states_free(states *s)
{
    free(s->choices);
    free(s->scores);
    free(s->sums);
    *s = (states){0};
}

static void set_choice(states *s, size_t state, size_t mask, uint32_t choice, double log_probability)
{
    s->choices[state * s->masks + mask] = choice;
    s->scores[state * s->masks + mask] = log_probability;
    s->sums[state] += log_probability;
}

/* The texts with their fillings, as results. */
static fm_status write_states(filling *f, const states *s, fm_error *err)
{
    fm_fill_result *r = f->result;
    fm_status status = FM_OK;
    r->texts = calloc(s->count, sizeof *r->texts);
    if (!r->texts) return fm_fail_memory(err, s->count * sizeof *r->texts, "the fillings of a text");
    for (; r->count < s->count && !status; r->count++) {
        fm_text_filling *text = &r->texts[r->count];
        fm_buffer before = {0};
        size_t done = 0;
        text->log_probability = s->sums[r->count];
        text->score = exp(text->log_probability);
        text->fillings = calloc(s->masks, sizeof *text->fillings);
        if (!text->fillings) status = fm_fail_memory(err, s->masks * sizeof *text->fillings, "the fillings of a text");
        for (size_t m = 0; m < s->masks && !status; m++) {
            size_t cell = r->count * s->masks + m;
            fm_span mask = fm_wording_mask(&f->wording, m);
            fm_buffer_add(&before, f->wording.plain.data + done, mask.start - done);
            done = mask.end;
            status =
                fm_wording_write(&f->wording, m, s->choices[cell], s->scores[cell], &before, &text->fillings[m], err);
        }
        fm_buffer_free(&before);
    }
    return status;
}

/* ---- beam search ---- */

/* A state with one more mask filled. */
typedef struct extension {
    size_t state, rank; /* rank: among those of the state */
    uint32_t choice;
    double log_probability, sum;
} extension;

typedef struct beams {
    filling *f;
    states now;
    size_t most;
    extension *best; /* the `most` best extensions, and behind them those of a state */
    size_t count;
} beams;

static int compare_extensions(const void *left, const void *right)
{
    const extension *a = left, *b = right;
    if (a->sum != b->sum) return a->sum > b->sum ? -1 : 1;
    if (a->state != b->state) return a->state < b->state ? -1 : 1;
    return (a->rank > b->rank) - (a->rank < b->rank);
}

static void take_extensions(void *context, size_t item, const float *scores, double log_sum)
{
    beams *b = context;
    size_t count = fm_sampler_best(&b->f->sampler, scores, NULL, 0);
    for (size_t i = 0; i < count; i++) {
        const struct fm_candidate *found = &b->f->sampler.candidates[i];
        double log_probability = (double)found->logit - log_sum;
        b->best[b->count++] = (extension){item, i, found->token, log_probability, b->now.sums[item] + log_probability};
    }
    qsort(b->best, b->count, sizeof *b->best, compare_extensions);
    if (b->count > b->most) b->count = b->most;
}

static fm_status extend(beams *b, size_t mask, fm_error *err)
{
    size_t masks = b->now.masks;
    states next;
    fm_status status = states_make(&next, b->count, masks, err);
    for (size_t i = 0; i < b->count && !status; i++) {
        const extension *e = &b->best[i];
        memcpy(next.choices + i * masks, b->now.choices + e->state * masks, mask * sizeof *next.choices);
        memcpy(next.scores + i * masks, b->now.scores + e->state * masks, mask * sizeof *next.scores);
        next.sums[i] = b->now.sums[e->state];
        set_choice(&next, i, mask, e->choice, e->log_probability);
    }
    states_free(&b->now);
    b->now = next;
    b->count = 0;
    return status;
}

static size_t beams_of(const fm_fill_options *o)
{
    return o->beams > o->top_k ? o->beams : o->top_k;
}

static fm_status fill_jointly(filling *f, fm_error *err)
{
    beams b = {.f = f, .most = beams_of(f->o)};
    size_t masks = f->query.masks, questions = f->query.choices->prefix_count, bytes;
    fm_item *items = calloc(b.most, sizeof *items);
    if (fm_size_mul(b.most + f->sampler.top_k, sizeof *b.best, &bytes)) b.best = malloc(bytes);
    fm_status status = states_make(&b.now, 1, masks, err);
    if (!items || !b.best) status = fm_fail_memory(err, b.most * sizeof *b.best, "a beam search");
    for (size_t m = 0; m < masks && !status; m++) {
        for (size_t i = 0; i < b.now.count; i++) items[i] = (fm_item){b.now.choices + i * masks, m};
        status = fm_query_ask(&f->query, items, b.now.count, m * b.most * questions, masks * b.most * questions,
                              take_extensions, &b, err);
        if (!status) status = extend(&b, m, err);
    }
    if (b.now.count > f->o->top_k) b.now.count = f->o->top_k;
    if (!status) status = write_states(f, &b.now, err);
    states_free(&b.now);
    free(items);
    free(b.best);
    return status;
}

/* ---- sampling ---- */

typedef struct drawing {
    uint32_t number, group, choice; /* group: of the drawings that are alike up to the last choice */
} drawing;

/* Drawings with the same words so far are side by side: a question is asked once for them all. */
typedef struct drawings {
    filling *f;
    states all;
    drawing *list;
    size_t *groups; /* their starts in the list, and its end */
    size_t mask;
} drawings;

static void draw_group(void *context, size_t item, const float *scores, double log_sum)
{
    drawings *d = context;
    uint64_t seed = d->f->o->seed;
    for (size_t i = d->groups[item]; i < d->groups[item + 1]; i++) {
        drawing *one = &d->list[i];
        /* The draw belongs to the drawing and the mask, so that other drawings make no difference. */
        const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, place[2] = {one->number, (uint32_t)d->mask};
        uint32_t bits[2];
        fm_threefry(key, place, bits);
        fm_sampler_draw(&d->f->sampler, scores, NULL, 0, (double)bits[0] * 0x1p-32, &one->choice);
        set_choice(&d->all, one->number, d->mask, one->choice, (double)scores[one->choice] - log_sum);
    }
}

static int compare_drawings(const void *left, const void *right)
{
    const drawing *a = left, *b = right;
    if (a->group != b->group) return a->group < b->group ? -1 : 1;
    if (a->choice != b->choice) return a->choice < b->choice ? -1 : 1;
    return (a->number > b->number) - (a->number < b->number);
}

/* Splits the groups by the last choices; returns how many there are now. */
static size_t regroup(drawings *d)
{
    size_t count = 0;
    drawing last = {0};
    qsort(d->list, d->all.count, sizeof *d->list, compare_drawings);
    for (size_t i = 0; i < d->all.count; i++) {
        drawing *one = &d->list[i];
        if (i == 0 || one->group != last.group || one->choice != last.choice) d->groups[count++] = i;
        last = *one;
        one->group = (uint32_t)count;
    }
    d->groups[count] = d->all.count;
    return count;
}

static fm_status draw(drawings *d, fm_item *items, fm_error *err)
{
    size_t masks = d->all.masks, most = d->all.count * d->f->query.choices->prefix_count;
    fm_status status = FM_OK;
    for (size_t i = 0; i < d->all.count; i++) d->list[i].number = (uint32_t)i;
    for (; d->mask < masks && !status; d->mask++) {
        size_t groups = regroup(d);
        for (size_t i = 0; i < groups; i++)
            items[i] = (fm_item){d->all.choices + d->list[d->groups[i]].number * masks, d->mask};
        status = fm_query_ask(&d->f->query, items, groups, d->mask * most, masks * most, draw_group, d, err);
    }
    return status;
}

static fm_status fill_by_drawing(filling *f, fm_error *err)
{
    size_t count = f->o->top_k;
    if (count >= UINT32_MAX) return fm_fail(err, FM_E_LIMIT, "%zu fillings of a text are too many.", count);
    drawings d = {.f = f};
    fm_item *items = calloc(count, sizeof *items);
    d.list = calloc(count, sizeof *d.list);
    d.groups = calloc(count + 1, sizeof *d.groups);
    fm_status status = states_make(&d.all, count, f->query.masks, err);
    if (!d.list || !d.groups || !items) status = fm_fail_memory(err, count * sizeof *items, "the fillings of a text");
    if (!status) status = draw(&d, items, err);
    if (!status) status = write_states(f, &d.all, err);
    states_free(&d.all);
    free(d.list);
    free(d.groups);
    free(items);
    return status;
}

/* ---- the task ---- */

static fm_status fill(filling *f, fm_error *err)
{
    fm_fill_result *r = f->result;
    r->mask = calloc(f->query.masks, sizeof *r->mask);
    if (!r->mask) return fm_fail_memory(err, f->query.masks * sizeof *r->mask, "fillings");
    r->masks = f->query.masks;
    for (size_t i = 0; i < r->masks; i++) {
        fm_span span = fm_wording_mask(&f->wording, i);
        r->mask[i].start = span.start;
        r->mask[i].end = span.end;
    }
    if (f->o->mode == FM_FILL_EACH) return fill_each(f, err);
    return f->o->mode == FM_FILL_JOINT ? fill_jointly(f, err) : fill_by_drawing(f, err);
}

/* How many of the best choices for a mask are looked at. */
static uint32_t choices_of(const fm_fill_options *o)
{
    size_t wanted = o->mode == FM_FILL_EACH ? o->top_k : o->mode == FM_FILL_JOINT ? beams_of(o) : o->draw_from;
    return wanted < UINT32_MAX ? (uint32_t)wanted : UINT32_MAX;
}

fm_status fm_fill(fm_model *model, const char *text, size_t size, const fm_fill_options *options, fm_progress progress,
                  void *context, fm_fill_result *result, fm_error *err)
{
    const fm_fill_options defaults = fm_fill_defaults(), *o = options ? options : &defaults;
    fm_choices choices = {0};
    filling f = {.o = o, .result = result, .err = err};
    *result = (fm_fill_result){0};
    fm_status status = check_options(o, err);
    if (!status) status = fm_choices_make(&choices, model->tokenizer, o, err);
    if (status) return status;
    size_t items = o->mode == FM_FILL_EACH ? 0 : o->mode == FM_FILL_JOINT ? beams_of(o) : o->top_k;
    status = fm_query_open(&f.query, model, &choices, text, size, items, err);
    f.query.progress = progress;
    f.query.context = context;
    if (!status) status = fm_wording_make(&f.wording, &f.query, text, size, err);
    if (!status)
        status =
            fm_sampler_open(&f.sampler, choices.count, choices.allowed, choices_of(o), o->top_p, o->temperature, err);
    if (!status) status = fill(&f, err);
    if (status) fm_fill_result_free(result);
    fm_sampler_free(&f.sampler);
    fm_wording_free(&f.wording);
    fm_query_free(&f.query);
    fm_choices_free(&choices);
    return status;
}

static void free_fillings(fm_filling *fillings, size_t count)
{
    for (size_t i = 0; fillings && i < count; i++) {
        free(fillings[i].tokens);
        free(fillings[i].word);
    }
    free(fillings);
}

void fm_fill_result_free(fm_fill_result *result)
{
    for (size_t i = 0; i < result->masks; i++) free_fillings(result->mask[i].top, result->mask[i].count);
    for (size_t i = 0; i < result->count; i++) free_fillings(result->texts[i].fillings, result->masks);
    free(result->mask);
    free(result->texts);
    *result = (fm_fill_result){0};
}
