/* edits.c - what is changed in a text: which words an action may take, how they are drawn, how the tokens look while
 * the model is asked about them, and the text that comes out. It runs no network. */
#include "tasks/edits.h"

#include <stdlib.h>
#include <string.h>

#define MASKED_SHARE 7 /* at most one word in so many is masked at once, as in training */

/* ---- the source ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Where the blanks before a word start. */
static uint32_t blanks_before(const char *text, uint32_t start)
{
    while (start > 0 && is_blank(text[start - 1])) start--;
    return start;
}

/* A word that can go: with blanks before it that are not the start of a line, not the first of its sentence, and with
 * a word or a mark behind it that tells whether it is missed. */
static bool can_go(const fm_source *s, size_t index)
{
    const fm_word *word = &s->words.list[index];
    uint32_t blanks = blanks_before(s->text, word->span.start);
    if (blanks == word->span.start || blanks == 0 || s->text[blanks - 1] == '\n' || s->text[blanks - 1] == '\r')
        return false;
    if (index + 1 == s->words.count || s->encoding.words[s->words.list[index + 1].first] == UINT32_MAX) return false;
    return fm_case_of_place(s->text, s->size, word->span) != FM_CASE_TITLE;
}

static bool may_take(const fm_source *s, fm_augment_action action, const fm_kept *kept, const fm_kept *labels,
                     size_t index)
{
    const fm_word *word = &s->words.list[index];
    if (!word->plain) return false;
    if (action == FM_AUGMENT_INSERT) {
        char next = word->span.end < s->size ? s->text[word->span.end] : '\0';
        return is_blank(next) || next == '\n' || next == '\r';
    }
    const char *text = s->text + word->span.start;
    size_t size = word->span.end - word->span.start;
    return !fm_kept_has(kept, text, size) && !fm_kept_has(labels, text, size) &&
           (action == FM_AUGMENT_SUBSTITUTE || can_go(s, index));
}

static int compare_spans(const void *left, const void *right)
{
    const fm_span *a = left, *b = right;
    return a->start != b->start ? (a->start > b->start) - (a->start < b->start) : (a->end > b->end) - (a->end < b->end);
}

/* Whether a change of the bytes from start to end would touch one of the sorted spans. They are gone through once:
 * *next is the first that may reach beyond start. */
static bool touches(const fm_span *spans, size_t count, size_t *next, uint32_t start, uint32_t end)
{
    while (*next < count && spans[*next].end <= start) ++*next;
    return *next < count && spans[*next].start < end;
}

/* Sorts the spans and makes one of those that overlap. */
static size_t join_spans(fm_span *spans, size_t count)
{
    size_t kept = 0;
    qsort(spans, count, sizeof *spans, compare_spans);
    for (size_t i = 0; i < count; i++) {
        if (spans[i].end <= spans[i].start) continue;
        if (kept > 0 && spans[i].start <= spans[kept - 1].end) {
            if (spans[i].end > spans[kept - 1].end) spans[kept - 1].end = spans[i].end;
        } else spans[kept++] = spans[i];
    }
    return kept;
}

fm_status fm_source_make(fm_source *s, const fm_tokenizer *tokenizer, fm_augment_action action, const fm_kept *kept,
                         const fm_kept *labels, const char *text, size_t size, const fm_span *spans, size_t span_count,
                         fm_error *err)
{
    *s = (fm_source){0};
    s->text = malloc(size + 1);
    if (!s->text) return fm_fail_memory(err, size + 1, "a text to augment");
    memcpy(s->text, text, size);
    s->text[size] = '\0';
    s->size = size;
    fm_status status = fm_tokenizer_encode(tokenizer, text, size, false, &s->encoding, err);
    if (!status) status = fm_words_list(&s->words, tokenizer, s->text, &s->encoding, size, err);
    if (status) return status;
    fm_span *sorted = calloc(span_count + 1, sizeof *sorted);
    s->open = calloc(s->words.count + 1, sizeof *s->open);
    if (!s->open || !sorted) {
        free(sorted);
        return fm_fail_memory(err, s->words.count * sizeof *s->open, "the words of a text");
    }
    if (span_count > 0) memcpy(sorted, spans, span_count * sizeof *sorted);
    span_count = join_spans(sorted, span_count);
    size_t next = 0;
    for (size_t i = 0; i < s->words.count; i++) {
        fm_span span = s->words.list[i].span;
        if (action == FM_AUGMENT_DELETE) span.start = blanks_before(s->text, span.start);
        if (action == FM_AUGMENT_INSERT) span.start = span.end; /* neither end of a kept span is in it */
        if (!touches(sorted, span_count, &next, span.start, span.end) && may_take(s, action, kept, labels, i))
            s->open[s->open_count++] = (uint32_t)i;
    }
    free(sorted);
    return FM_OK;
}

void fm_source_free(fm_source *s)
{
    free(s->text);
    fm_encoding_free(&s->encoding);
    free(s->words.list);
    free(s->open);
    *s = (fm_source){0};
}

/* ---- the plan ---- */

static int compare_edits(const void *left, const void *right)
{
    const fm_edit *a = left, *b = right;
    return (a->word > b->word) - (a->word < b->word);
}

/* Draws words until there are `most`; with `apart` none next to another. */
static fm_status draw_words(fm_edits *e, const fm_source *s, size_t most, bool apart, fm_random *random, fm_error *err)
{
    uint32_t *words = malloc((s->open_count + 1) * sizeof *words);
    bool *taken = calloc(s->words.count + 2, sizeof *taken); /* of the word before */
    e->list = calloc(most + 1, sizeof *e->list);
    fm_status status = FM_OK;
    if (!words || !taken || !e->list)
        status = fm_fail_memory(err, s->open_count * sizeof *words, "the changes of a text");
    else memcpy(words, s->open, s->open_count * sizeof *words);
    for (size_t left = s->open_count; left > 0 && e->count < most && !status; left--) {
        size_t at = fm_random_below(random, (uint32_t)left);
        uint32_t word = words[at];
        words[at] = words[left - 1];
        if (apart && (taken[word] || taken[word + 2])) continue;
        taken[word + 1] = true;
        e->list[e->count++] = (fm_edit){.word = word, .token = UINT32_MAX};
    }
    free(words);
    free(taken);
    return status;
}

fm_status fm_edits_plan(fm_edits *e, const fm_source *s, fm_augment_action action, size_t wanted, fm_random *random,
                        fm_error *err)
{
    *e = (fm_edits){.action = action, .wanted = wanted};
    bool deletion = action == FM_AUGMENT_DELETE;
    size_t most = deletion ? 2 * wanted : wanted, at_once = s->words.count / MASKED_SHARE;
    fm_status status = draw_words(e, s, most < s->open_count ? most : s->open_count, deletion, random, err);
    if (status) return status;
    qsort(e->list, e->count, sizeof *e->list, compare_edits);
    if (at_once == 0) at_once = 1;
    bool neighbours = false;
    for (size_t i = 1; i < e->count; i++) neighbours = neighbours || e->list[i].word == e->list[i - 1].word + 1;
    e->groups = (uint32_t)((e->count + at_once - 1) / at_once);
    if (e->groups < 2 && neighbours) e->groups = 2;
    e->rounds = deletion ? 2 * e->groups : e->groups;
    return FM_OK;
}

bool fm_edit_in_round(const fm_edits *e, size_t index, uint32_t round)
{
    /* Taking turns keeps neighbours apart. */
    return index % e->groups == (e->action == FM_AUGMENT_DELETE ? round / 2 : round);
}

/* ---- tokens ---- */

static uint32_t put_word(const fm_source *s, size_t word, uint32_t *ids)
{
    const fm_word *w = &s->words.list[word];
    memcpy(ids, s->encoding.ids + w->first, w->count * sizeof *ids);
    return w->count;
}

/* What stands for a word at which there is an edit: now, in an earlier round or in a later one. Returns the end. */
static size_t put_edited(const fm_edits *e, fm_edit *edit, const fm_source *s, bool now, uint32_t mask, uint32_t *ids,
                         size_t at)
{
    bool there = now || edit->token != UINT32_MAX;
    if (e->action == FM_AUGMENT_INSERT || !there) at += put_word(s, edit->word, ids + at);
    if (!there) return at;
    edit->place = (uint32_t)at;
    ids[at] = now ? mask : edit->token;
    return at + 1;
}

static void put_masks(uint32_t *ids, uint32_t count, uint32_t mask)
{
    for (uint32_t i = 0; i < count; i++) ids[i] = mask;
}

fm_status fm_edits_round(fm_edits *e, const fm_source *s, const fm_tokenizer *tokenizer, uint32_t round, uint32_t **out,
                         size_t *count, fm_error *err)
{
    uint32_t mask = fm_tokenizer_special(tokenizer).mask,
             *ids = malloc((s->encoding.count + e->count + 1) * sizeof *ids);
    if (!ids) return fm_fail_memory(err, (s->encoding.count + e->count) * sizeof *ids, "the tokens of a text");
    size_t at = 0, edit = 0;
    for (size_t word = 0; word < s->words.count; word++) {
        bool here = edit < e->count && e->list[edit].word == word, now = here && fm_edit_in_round(e, edit, round);
        if (e->action == FM_AUGMENT_DELETE) {
            uint32_t tokens = now && round % 2 == 1 ? 0 : put_word(s, word, ids + at);
            fm_edit *before = edit > 0 && e->list[edit - 1].word + 1 == word ? &e->list[edit - 1] : NULL;
            if (before && fm_edit_in_round(e, edit - 1, round)) {
                before->place = (uint32_t)at;
                put_masks(ids + at, tokens, mask);
            }
            at += tokens;
        } else if (here) at = put_edited(e, &e->list[edit], s, now, mask, ids, at);
        else at += put_word(s, word, ids + at);
        edit += here;
    }
    *out = ids;
    *count = at;
    return FM_OK;
}

uint32_t fm_edit_label(const fm_source *s, const fm_edit *edit)
{
    return edit->word + 1 < s->words.count ? s->encoding.ids[s->words.list[edit->word + 1].first] : 0;
}

/* ---- the text ---- */

static int by_loss(const void *left, const void *right)
{
    const fm_edit *a = left, *b = right;
    float loss = (a->losses[1] - a->losses[0]) - (b->losses[1] - b->losses[0]);
    return loss != 0.0f ? (loss > 0.0f) - (loss < 0.0f) : compare_edits(left, right);
}

static fm_case case_for(const fm_edits *e, const fm_source *s, fm_span span, const char *token, bool lowercase)
{
    if (!lowercase && fm_case_of_word(token, strlen(token)) != FM_CASE_LOWER) return FM_CASE_ANY; /* has its own */
    if (e->action == FM_AUGMENT_INSERT) return fm_case_of_place(s->text, s->size, (fm_span){span.end, span.end});
    fm_case wanted = fm_case_of_word(s->text + span.start, span.end - span.start);
    return wanted != FM_CASE_ANY ? wanted : fm_case_of_place(s->text, s->size, span);
}

void fm_edits_apply(fm_edits *e, const fm_source *s, const fm_tokenizer *tokenizer, fm_buffer *text)
{
    bool lowercase = fm_tokenizer_lowercase(tokenizer);
    size_t done = 0;
    if (e->action == FM_AUGMENT_DELETE && e->count > e->wanted) {
        qsort(e->list, e->count, sizeof *e->list, by_loss);
        e->count = e->wanted;
        qsort(e->list, e->count, sizeof *e->list, compare_edits);
    }
    fm_buffer_add(text, "", 0);
    for (size_t i = 0; i < e->count; i++) {
        fm_span span = s->words.list[e->list[i].word].span;
        if (e->action == FM_AUGMENT_DELETE) {
            size_t blanks = blanks_before(s->text, span.start);
            fm_buffer_add(text, s->text + done, blanks - done);
            done = span.end;
            continue;
        }
        if (e->list[i].token == UINT32_MAX) continue; /* no word could take this place */
        const char *token = fm_tokenizer_token(tokenizer, e->list[i].token);
        size_t end = e->action == FM_AUGMENT_INSERT ? span.end : span.start;
        fm_buffer_add(text, s->text + done, end - done);
        if (e->action == FM_AUGMENT_INSERT) fm_buffer_text(text, " ");
        fm_case_add(text, token, strlen(token), case_for(e, s, span, token, lowercase));
        done = span.end;
    }
    fm_buffer_add(text, s->text + done, s->size - done);
}
