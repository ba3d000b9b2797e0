/* normalize.c - the complete way from bytes to words: cleaning, spaces around ideographs, canonical decomposition,
 * accents, lower case, splitting. It serves whatever is not plain ASCII; encode.c has the fast way for the rest.
 *
 * Each character keeps the bytes of the original that it stands for, by the rules of the reference: what is removed
 * belongs to nobody, what is inserted shares the span of what is before it, and reordered marks take the spans of the
 * places that they come to stand in. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

/* A mark that waits for its final place among its neighbours. */
typedef struct mark {
    uint32_t point;
    fm_span span;
    uint8_t class;
    bool inserted; /* not the first character of a decomposition */
} mark;

#define MARKS_AT_HAND 32

typedef struct walk {
    const fm_normalizer *normalizer;
    fm_word_sink sink;
    fm_error *err;
    mark *run; /* marks since the last starter */
    size_t count, capacity;
    fm_span last; /* the span that an inserted character shares */
    mark at_hand[MARKS_AT_HAND];
} walk;

void fm_byte_classes(const fm_normalizer *normalizer, uint8_t classes[256])
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t flags = byte < 128 ? fm_char_class(byte) : FM_CH_DROP;
        if (flags & FM_CH_PUNCTUATION) classes[byte] = FM_BYTE_PUNCTUATION;
        else if ((flags & FM_CH_SPACE) && !(normalizer->clean && (flags & FM_CH_DROP))) classes[byte] = FM_BYTE_SPACE;
        else classes[byte] = flags & FM_CH_DROP ? FM_BYTE_SLOW : FM_BYTE_WORD;
    }
}

/* A character after normalisation: split. */
static fm_status split(walk *w, uint32_t point, fm_span span)
{
    uint8_t flags = fm_char_class(point);
    fm_status status = FM_OK;
    if (flags & (FM_CH_SPACE | FM_CH_PUNCTUATION)) status = w->sink.word_end(w->sink.context);
    if (flags & FM_CH_SPACE || status) return status;
    status = w->sink.character(w->sink.context, (fm_char){point, span});
    if (!status && (flags & FM_CH_PUNCTUATION)) status = w->sink.word_end(w->sink.context);
    return status;
}

/* A character after decomposition: accents and case. */
static fm_status finish(walk *w, uint32_t point, fm_span span)
{
    if (w->normalizer->strip_accents && (fm_char_class(point) & FM_CH_MARK)) return FM_OK;
    if (!w->normalizer->lowercase) return split(w, point, span);
    uint32_t lower[2];
    size_t count = fm_char_lower(point, lower);
    fm_status status = FM_OK;
    for (size_t i = 0; i < count && !status; i++) status = split(w, lower[i], span);
    return status;
}

/* Puts the run into canonical order, stably, by counting, so that a megabyte of accents stays linear. The k-th mark
 * that is not inserted then takes the k-th span of those that are not. */
static fm_status sort_run(walk *w)
{
    mark *run = w->run, few[MARKS_AT_HAND], *before = few;
    if (w->count > MARKS_AT_HAND) before = malloc(w->count * sizeof *before); /* no overflow: the run has this size */
    if (!before) return fm_fail_memory(w->err, w->count * sizeof *before, "combining marks");
    memcpy(before, run, w->count * sizeof *before);
    size_t place[257] = {0};
    for (size_t i = 0; i < w->count; i++) place[before[i].class + 1]++;
    for (size_t i = 1; i < 257; i++) place[i] += place[i - 1];
    for (size_t i = 0; i < w->count; i++) run[place[before[i].class]++] = before[i];
    size_t next = 0;
    for (size_t i = 0; i < w->count; i++) {
        if (run[i].inserted) continue;
        while (before[next].inserted) next++;
        run[i].span = before[next++].span;
    }
    if (before != few) free(before);
    return FM_OK;
}

/* Lets the waiting marks go on, in their order. */
static fm_status flush(walk *w)
{
    fm_status status = FM_OK;
    bool sorted = true;
    for (size_t i = 1; i < w->count && sorted; i++) sorted = w->run[i - 1].class <= w->run[i].class;
    if (!sorted) status = sort_run(w);
    for (size_t i = 0; i < w->count && !status; i++) {
        if (!w->run[i].inserted) w->last = w->run[i].span;
        status = finish(w, w->run[i].point, w->last);
    }
    w->count = 0;
    return status;
}

/* A character of a decomposition: a mark waits, a starter does not. */
static fm_status reorder(walk *w, uint32_t point, fm_span span, bool inserted)
{
    uint8_t class = fm_char_combining(point);
    if (class == 0) {
        fm_status status = flush(w);
        if (!inserted) w->last = span;
        return status ? status : finish(w, point, w->last);
    }
    if (w->count == w->capacity) {
        size_t capacity = w->capacity * 2;
        if (capacity > SIZE_MAX / sizeof(mark)) return fm_fail_memory(w->err, SIZE_MAX, "combining marks");
        mark *run = malloc(capacity * sizeof *run);
        if (!run) return fm_fail_memory(w->err, capacity * sizeof *run, "combining marks");
        memcpy(run, w->run, w->count * sizeof *run);
        if (w->run != w->at_hand) free(w->run);
        w->run = run;
        w->capacity = capacity;
    }
    w->run[w->count++] = (mark){point, span, class, inserted};
    return FM_OK;
}

/* A character of the text after cleaning. */
static fm_status decompose(walk *w, uint32_t point, fm_span span)
{
    if (!w->normalizer->strip_accents) return finish(w, point, span);
    uint32_t parts[FM_DECOMPOSITION_MAX];
    size_t count = fm_char_decompose(point, parts);
    fm_status status = FM_OK;
    for (size_t i = 0; i < count && !status; i++) status = reorder(w, parts[i], span, i > 0);
    return status;
}

/* A character of the text: cleaning and ideographs. */
static fm_status clean(walk *w, uint32_t point, fm_span span)
{
    uint8_t flags = fm_char_class(point);
    if (w->normalizer->clean) {
        if (flags & FM_CH_DROP) return FM_OK;
        if (flags & FM_CH_SPACE) point = ' ';
    }
    bool apart = w->normalizer->cjk && (flags & FM_CH_CJK);
    fm_status status = FM_OK;
    if (apart) status = decompose(w, ' ', span);
    if (!status) status = decompose(w, point, span);
    if (!status && apart) status = decompose(w, ' ', span);
    return status;
}

fm_status fm_normalize(const fm_normalizer *normalizer, const uint8_t classes[256], const uint8_t *text, size_t at,
                       size_t end, fm_word_sink sink, size_t *stopped, fm_error *err)
{
    walk w = {.normalizer = normalizer, .sink = sink, .err = err, .capacity = MARKS_AT_HAND};
    w.run = w.at_hand;
    fm_status status = FM_OK;
    while (at < end && !status && classes[text[at]] != FM_BYTE_SPACE && classes[text[at]] != FM_BYTE_PUNCTUATION) {
        uint32_t point;
        size_t size = fm_utf8_read(text + at, end - at, &point);
        status = clean(&w, point, (fm_span){(uint32_t)at, (uint32_t)(at + size)});
        at += size;
    }
    if (!status) status = flush(&w);
    if (!status) status = sink.word_end(sink.context);
    if (w.run != w.at_hand) free(w.run);
    *stopped = at;
    return status;
}
