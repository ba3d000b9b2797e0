/* words.c - words and regular expressions that options name, for the commands that take them. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

fm_status cli_words_read(cli_words *words, const cli_list *given, const char *path, fm_error *err)
{
    size_t lines = 0;
    *words = (cli_words){0};
    if (path) {
        fm_blob blob;
        fm_status status = fm_blob_open(&blob, path, err);
        if (status) return status;
        fm_buffer_add(&words->text, blob.data, blob.size);
        fm_blob_close(&blob);
        if (words->text.failed) return fm_fail_memory(err, words->text.size, "a list of words");
        for (size_t i = 0; i < words->text.size; i++) lines += words->text.data[i] == '\n';
    }
    words->words = calloc(given->count + lines + 1, sizeof *words->words);
    if (!words->words) return fm_fail_memory(err, lines * sizeof *words->words, "a list of words");
    for (size_t i = 0; i < given->count; i++) words->words[words->count++] = given->items[i];
    char *rest = words->text.data;
    for (char *word; (word = rest ? strtok_r(rest, "\r\n", &rest) : NULL) != NULL;) words->words[words->count++] = word;
    return FM_OK;
}

void cli_words_free(cli_words *words)
{
    free(words->words);
    fm_buffer_free(&words->text);
}

fm_status cli_regex(regex_t *regex, const char *option, const char *text, fm_error *err)
{
    char reason[200];
    int code = regcomp(regex, text, REG_EXTENDED);
    if (code == 0) return FM_OK;
    regerror(code, regex, reason, sizeof reason);
    return fm_fail(err, FM_E_ARGUMENT, "%s \"%.200s\" is no extended regular expression: %s.", option, text, reason);
}
