/* corpus.c - text files as a tokenised corpus, with progress and a cache: what train and eval share. */
#include "cli/cli.h"

#include "train/train.h"

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
