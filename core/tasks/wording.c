/* wording.c - how a filling is written in its text: in the case that its place asks for, pieces joined to the word
 * before them, and every other byte as it is. */
#include "tasks/fill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

fm_status fm_wording_make(fm_wording *w, const fm_query *query, const char *text, size_t size, fm_error *err)
{
    const fm_encoding *encoding = &query->encoding;
    *w = (fm_wording){.query = query, .text = text};
    fm_buffer_add(&w->plain, text, size);
    if (w->plain.failed) return fm_fail_memory(err, size, "a text");
    for (size_t i = 0; i < encoding->count; i++) {
        fm_span span = encoding->offsets[i];
        if (encoding->words[i] == UINT32_MAX) memset(w->plain.data + span.start, '0', span.end - span.start);
    }
    return FM_OK;
}

void fm_wording_free(fm_wording *w)
{
    fm_buffer_free(&w->plain);
}

fm_span fm_wording_mask(const fm_wording *w, size_t mask)
{
    return w->query->encoding.offsets[w->query->places[mask]];
}

/* Appends the word in its case, and says what it replaces. */
static void put_word(const fm_wording *w, fm_span mask, const char *word, fm_buffer *before, fm_filling *filling)
{
    const char *after = w->plain.data + mask.end;
    size_t after_size = w->plain.size - mask.end, at = before ? before->size : mask.start;
    filling->start = mask.start;
    filling->end = mask.end;
    if (strncmp(word, "##", 2) == 0 && word[2] != '\0') {
        word += 2;
        while (filling->start > 0 && at > 0 && w->text[filling->start - 1] == ' ') {
            filling->start--;
            at--;
        }
    }
    /* A word that has capitals or no letters is written as it is. */
    fm_case wanted = fm_case_of_word(word, strlen(word)) == FM_CASE_LOWER
                         ? fm_case_between(before ? before->data : w->plain.data, at, after, after_size)
                         : FM_CASE_ANY;
    fm_buffer cased = {0};
    fm_buffer_text(&cased, "");
    fm_case_add(&cased, word, strlen(word), wanted);
    filling->word = cased.data;
    if (cased.failed || !before) return;
    before->size = at;
    fm_buffer_add(before, cased.data, cased.size);
}

fm_status fm_wording_write(const fm_wording *w, size_t mask, uint32_t choice, double log_probability, fm_buffer *before,
                           fm_filling *filling, fm_error *err)
{
    const fm_choices *c = w->query->choices;
    const char *word = c->targets ? c->targets[choice] : fm_tokenizer_token(w->query->model->tokenizer, choice);
    *filling = (fm_filling){.score = exp(log_probability),
                            .log_probability = log_probability,
                            .target = c->targets ? choice : SIZE_MAX,
                            .count = fm_choice_length(c, choice)};
    filling->tokens = calloc(filling->count, sizeof *filling->tokens);
    if (filling->tokens) put_word(w, fm_wording_mask(w, mask), word, before, filling);
    if (!filling->tokens || !filling->word || (before && before->failed))
        return fm_fail_memory(err, filling->count * sizeof *filling->tokens, "a filling");
    for (uint32_t i = 0; i < filling->count; i++) filling->tokens[i] = fm_choice_token(c, choice, i);
    return FM_OK;
}

fm_status fm_fill_write(const char *text, size_t size, const fm_filling *fillings, size_t count, fm_text *out,
                        fm_error *err)
{
    fm_buffer written = {0};
    size_t done = 0;
    fm_buffer_text(&written, "");
    for (size_t i = 0; i < count; i++) {
        fm_buffer_add(&written, text + done, fillings[i].start - done);
        fm_buffer_text(&written, fillings[i].word);
        done = fillings[i].end;
    }
    fm_buffer_add(&written, text + done, size - done);
    *out = (fm_text){written.data, written.size};
    return written.failed ? fm_fail_memory(err, size, "a text") : FM_OK;
}
