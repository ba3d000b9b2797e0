/* words.c - the words of a text, and which of them may be exchanged for another without damage to what is around them.
 * It looks at the text's bytes, since a token's neighbours alone do not tell "well" in "well-made" from a word. */
#include "tasks/tasks.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer/unicode.h"

static bool all_letters(const uint8_t *text, fm_span span)
{
    for (size_t at = span.start; at < span.end;) {
        uint32_t point;
        at += fm_utf8_read(text + at, span.end - at, &point);
        if (!fm_is_letter(point)) return false;
    }
    return span.end > span.start;
}

static bool is_one_of(uint32_t point, const uint32_t *list)
{
    for (; *list; list++)
        if (*list == point) return true;
    return false;
}

/* From the word to the white space before it: opening marks only. */
static bool opens_plainly(const uint8_t *text, size_t at)
{
    static const uint32_t marks[] = {'"', '\'', '(', '*', 0x201c, 0x2018, 0xab, 0xbf, 0xa1, 0};
    while (at > 0) {
        size_t start = at - 1;
        uint32_t point;
        while (start > 0 && at - start < 4 && (text[start] & 0xc0) == 0x80) start--;
        if (fm_utf8_read(text + start, at - start, &point) != at - start) return false;
        if (fm_is_space(point)) return true;
        if (!is_one_of(point, marks)) return false;
        at = start;
    }
    return true;
}

static bool closes_plainly(const uint8_t *text, size_t size, size_t at)
{
    static const uint32_t marks[] = {'.', ',', ';',    ':',    '!',  '?',    '"', '\'',
                                     ')', '*', 0x201d, 0x2019, 0xbb, 0x2026, 0};
    while (at < size) {
        uint32_t point;
        at += fm_utf8_read(text + at, size - at, &point);
        if (fm_is_space(point)) return true;
        if (!is_one_of(point, marks)) return false;
    }
    return true;
}

fm_status fm_words_list(fm_words *words, const fm_tokenizer *tokenizer, const char *text, const fm_encoding *encoding,
                        size_t size, fm_error *err)
{
    const uint8_t *bytes = (const uint8_t *)text;
    uint32_t unknown = fm_tokenizer_special(tokenizer).unk;
    *words = (fm_words){0};
    words->list = calloc(encoding->count + 1, sizeof *words->list);
    if (!words->list) return fm_fail_memory(err, encoding->count * sizeof *words->list, "the words of a text");
    for (size_t i = 0; i < encoding->count;) {
        fm_word *word = &words->list[words->count++];
        size_t end = i + 1;
        while (end < encoding->count && encoding->words[i] != UINT32_MAX && encoding->words[end] == encoding->words[i])
            end++;
        word->first = (uint32_t)i;
        word->count = (uint32_t)(end - i);
        word->span = (fm_span){encoding->offsets[i].start, encoding->offsets[end - 1].end};
        word->plain = encoding->words[i] != UINT32_MAX && encoding->ids[i] != unknown &&
                      all_letters(bytes, word->span) && opens_plainly(bytes, word->span.start) &&
                      closes_plainly(bytes, size, word->span.end);
        i = end;
    }
    return FM_OK;
}

size_t fm_words_allowed(const fm_tokenizer *tokenizer, bool *allowed)
{
    size_t count = 0;
    for (uint32_t i = 0; i < fm_tokenizer_size(tokenizer); i++) {
        const char *token = fm_tokenizer_token(tokenizer, i);
        uint32_t size = (uint32_t)strlen(token);
        allowed[i] = !fm_tokenizer_is_special(tokenizer, i) &&
                     all_letters((const uint8_t *)token, (fm_span){0, size}) && (size > 1 || *token == 'a');
        count += allowed[i];
    }
    return count;
}
