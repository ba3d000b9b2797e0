/* corpus.c - text files as a tokenised corpus, with progress and a cache: what train and eval share. */
#include "cli/cli.h"

#include <string.h>

#include "train/train.h"

int cli_check_stdin(const char *command, const cli_list *data, const cli_list *more)
{
    size_t count = 0;
    for (size_t i = 0; i < data->count; i++) count += strcmp(data->items[i], "-") == 0;
    for (size_t i = 0; more && i < more->count; i++) count += strcmp(more->items[i], "-") == 0;
    if (count <= 1) return CLI_OK;
    return cli_usage_error(command, "Standard input (-) is named %zu times; it can be read only once.", count);
}

fm_status cli_corpus(const cli_corpus_options *o, fm_corpus *corpus, fm_error *err)
{
    uint64_t key = 0;
    bool hit = false;
    bool cached =
        o->cache && fm_corpus_key(o->tokenizer, o->data->items, o->data->count, o->format, o->field, o->part, &key);
    if (cached) {
        fm_status status = fm_corpus_load(corpus, o->cache, key, &hit, err);
        if (status || hit) return status;
    }
    cli_progress progress;
    cli_progress_begin(&progress, "Tokenising", NULL, o->quiet);
    fm_status status = fm_corpus_read(corpus, o->tokenizer, o->pool, o->data->items, o->data->count, o->format,
                                      o->field, o->part, cli_progress_step, &progress, err);
    cli_progress_end(&progress);
    if (!status && cached) {
        status = fm_corpus_save(corpus, o->cache, key, err);
        if (status) fm_corpus_free(corpus);
    }
    return status;
}
