/* casing.c - the case of words: what a word has, what a place in a sentence asks for, and how to give it. Letters and
 * white space are told by the tokenizer's tables, so that both agree; no locale is looked at. */
#include "tasks/tasks.h"

#include <string.h>

#include "tokenizer/unicode.h"

bool fm_is_space(uint32_t point)
{
    return fm_char_class(point) & FM_CH_SPACE;
}

static bool is_upper(uint32_t point)
{
    return fm_char_class(point) & FM_CH_UPPER;
}

static uint32_t lower_of(uint32_t point)
{
    uint32_t lower[2];
    return fm_char_lower(point, lower) == 1 ? lower[0] : point;
}

/* There is no table of capitals; but a capital stands at one of a few distances from its letter, and the table of
 * lower case tells whether it is that one. */
static uint32_t upper_of(uint32_t point)
{
    static const int32_t distances[] = {32, 1, 80, 48, 40, 64, 37, 38, 63, 2, -8, -9, -121};
    if (is_upper(point)) return point;
    if (point < 128) return point >= 'a' && point <= 'z' ? point - 32 : point;
    for (size_t i = 0; i < sizeof distances / sizeof *distances; i++) {
        int64_t capital = (int64_t)point - distances[i];
        if (capital > 127 && capital < 0x110000 && is_upper((uint32_t)capital) && lower_of((uint32_t)capital) == point)
            return (uint32_t)capital;
    }
    return point;
}

bool fm_is_letter(uint32_t point)
{
    if (point < 128) return (point >= 'a' && point <= 'z') || (point >= 'A' && point <= 'Z');
    uint8_t class = fm_char_class(point);
    if (class & (FM_CH_SPACE | FM_CH_DROP | FM_CH_PUNCTUATION)) return false;
    if (class & (FM_CH_CJK | FM_CH_MARK | FM_CH_UPPER)) return true;
    if (point < 0x370) return point == 0xaa || point == 0xb5 || point == 0xba || (point >= 0xdf && point != 0xf7);
    if ((point >= 0x2000 && point < 0x2c00) || (point >= 0x3000 && point < 0x3040)) /* signs, arrows and the like */
        return upper_of(point) != point;
    return point < 0xe000 || (point >= 0xf900 && point < 0xfe00) || (point >= 0xff21 && point < 0xffe0) ||
           (point >= 0x10000 && point < 0x1d000);
}

/* What letters a word has that have a case at all. */
typedef struct letters {
    size_t lower, upper;
    bool first_upper; /* of those counted */
} letters;

static void count_letter(letters *count, uint32_t point)
{
    bool upper = is_upper(point);
    if (!upper && upper_of(point) == point) return;
    if (count->lower + count->upper == 0) count->first_upper = upper;
    if (upper) count->upper++;
    else count->lower++;
}

fm_case fm_case_of_word(const char *word, size_t size)
{
    letters count = {0};
    for (size_t at = 0; at < size;) {
        uint32_t point;
        at += fm_utf8_read((const uint8_t *)word + at, size - at, &point);
        count_letter(&count, point);
    }
    if (count.lower > 0 && count.upper == 0) return FM_CASE_LOWER;
    if (count.lower + count.upper < 2) return FM_CASE_ANY; /* "I" and "A" are capitals for reasons of their own */
    if (count.lower == 0) return FM_CASE_UPPER;
    return count.upper == 1 && count.first_upper ? FM_CASE_TITLE : FM_CASE_ANY;
}

/* The character that ends before `at`, which is above 0; returns where it starts. */
static size_t read_back(const uint8_t *text, size_t at, uint32_t *point)
{
    size_t start = at - 1;
    while (start > 0 && at - start < 4 && (text[start] & 0xc0) == 0x80) start--;
    if (fm_utf8_read(text + start, at - start, point) == at - start) return start;
    *point = FM_REPLACEMENT;
    return at - 1;
}

/* The nearest word on one side: whether there is one, and whether it is all capitals. */
static void look_back(const uint8_t *text, size_t at, bool *found, bool *upper)
{
    letters count = {0};
    uint32_t point = ' ';
    *found = false;
    while (at > 0) {
        size_t before = read_back(text, at, &point);
        if (fm_is_letter(point)) count_letter(&count, point);
        else if (*found) break;
        *found = *found || fm_is_letter(point);
        at = before;
    }
    *upper = count.upper > 1 && count.lower == 0;
}

static void look_ahead(const uint8_t *text, size_t size, bool *found, bool *upper)
{
    letters count = {0};
    *found = false;
    for (size_t at = 0; at < size;) {
        uint32_t point;
        at += fm_utf8_read(text + at, size - at, &point);
        if (fm_is_letter(point)) count_letter(&count, point);
        else if (*found) break;
        *found = *found || fm_is_letter(point);
    }
    *upper = count.upper > 1 && count.lower == 0;
}

/* Whether a sentence starts at `at`: nothing but white space and opening marks since the text's start, or since the
 * end of another sentence. */
static bool starts_sentence(const uint8_t *text, size_t at)
{
    bool spaced = false;
    while (at > 0) {
        uint32_t point;
        at = read_back(text, at, &point);
        if (fm_is_space(point)) spaced = true;
        else if (point == '.' || point == '!' || point == '?' || point == 0x2026) return spaced;
        else if (point != '"' && point != '\'' && point != '(' && point != '*' && point != 0x201c && point != 0x201d &&
                 point != 0x2018 && point != 0x2019 && point != 0xab && point != 0xbf && point != 0xa1)
            return false;
    }
    return true;
}

fm_case fm_case_between(const char *before, size_t before_size, const char *after, size_t after_size)
{
    bool word_before, word_after, before_upper, after_upper;
    look_back((const uint8_t *)before, before_size, &word_before, &before_upper);
    look_ahead((const uint8_t *)after, after_size, &word_after, &after_upper);
    if ((word_before || word_after) && word_before == before_upper && word_after == after_upper) return FM_CASE_UPPER;
    return starts_sentence((const uint8_t *)before, before_size) ? FM_CASE_TITLE : FM_CASE_LOWER;
}

fm_case fm_case_of_place(const char *text, size_t size, fm_span place)
{
    return fm_case_between(text, place.start, text + place.end, size - place.end);
}

void fm_case_add(fm_buffer *out, const char *word, size_t size, fm_case wanted)
{
    bool first = true;
    for (size_t at = 0; at < size;) {
        uint8_t written[4];
        uint32_t point;
        size_t length = fm_utf8_read((const uint8_t *)word + at, size - at, &point);
        uint32_t cased = wanted == FM_CASE_ANY                                           ? point
                         : wanted == FM_CASE_UPPER || (wanted == FM_CASE_TITLE && first) ? upper_of(point)
                                                                                         : lower_of(point);
        if (cased == point) fm_buffer_add(out, word + at, length);
        else fm_buffer_add(out, written, fm_utf8_write(cased, written));
        first = first && !fm_is_letter(point);
        at += length;
    }
}
