/* kept.c - lists of words that the caller names, such as those that stay as they are: looked up in whatever case. */
#include "tasks/tasks.h"

#include <stdlib.h>
#include <string.h>

static int compare_words(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

void fm_kept_free(fm_kept *kept)
{
    for (size_t i = 0; i < kept->count; i++) free(kept->words[i]);
    free(kept->words);
    *kept = (fm_kept){0};
}

fm_status fm_kept_make(fm_kept *kept, const char *const *words, size_t count, fm_error *err)
{
    *kept = (fm_kept){0};
    kept->words = calloc(count + 1, sizeof *kept->words);
    if (!kept->words) return fm_fail_memory(err, count * sizeof *kept->words, "the words to keep");
    for (; kept->count < count; kept->count++) {
        fm_buffer lower = {0};
        fm_case_add(&lower, words[kept->count], strlen(words[kept->count]), FM_CASE_LOWER);
        fm_buffer_text(&lower, "");
        if (lower.failed) {
            fm_kept_free(kept);
            return fm_fail_memory(err, lower.size, "the words to keep");
        }
        kept->words[kept->count] = lower.data;
    }
    qsort(kept->words, count, sizeof *kept->words, compare_words);
    return FM_OK;
}

bool fm_kept_has(const fm_kept *kept, const char *word, size_t size)
{
    if (kept->count == 0) return false;
    fm_buffer lower = {0};
    fm_buffer_text(&lower, "");
    fm_case_add(&lower, word, size, FM_CASE_LOWER);
    bool found = lower.failed || bsearch(&lower.data, kept->words, kept->count, sizeof *kept->words, compare_words);
    fm_buffer_free(&lower);
    return found;
}
