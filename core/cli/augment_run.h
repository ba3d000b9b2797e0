/* augment_run.h - the inside of `fillmask augment`, shared by augment.c and augment_rows.c only. */
#ifndef FM_CLI_AUGMENT_RUN_H
#define FM_CLI_AUGMENT_RUN_H

#include "cli/cli.h"

typedef struct augment_command {
    const char *model, *data, *field, *keep_file, *label_file, *output, *set;
    cli_list keep, protect, labels;
    int action, format, dtype;
    double rate, top_p, temperature, label_share, least_similarity, most_drop;
    int64_t count, least, most, variants, top_k, seed, skip, threads;
    bool label_safe, with_source, resume, json, quiet;
    cli_device device;
} augment_command;

/* Everything an augmentation holds, to be released in one place. */
typedef struct augmenting {
    const augment_command *o;
    fm_model *model;
    fm_augmenter *augmenter;
    regex_t *patterns;
    size_t pattern_count;
    cli_words kept, labels;
    uint64_t asked, fewer; /* texts that were augmented; those of them with fewer variants than asked for, but some */
    cli_reasons reasons;   /* why texts and other rows go out as they came */
    cli_progress progress;
    uint64_t bytes, total; /* of the input: read, and all, 0 if unknown */
    double started;
} augmenting;

/* Hands a text to the augmenter, with what the patterns protect. */
fm_status augment_ask(augmenting *a, uint64_t number, const char *text, size_t size, fm_error *err);
/* One stage of the network; progress shows, and Ctrl-C stops. */
fm_status augment_work(augmenting *a, fm_error *err);
/* Says why a text stays as it is. */
void augment_explain(augmenting *a, const char *what, uint64_t number, const char *reason);

/* augment_rows.c: the rows of a file, or of standard input if the path is "-". *rows is how many were gone through. */
fm_status augment_rows(augmenting *a, const char *path, uint64_t *rows, fm_error *err);

#endif
