/* train_run.h - the inside of `fillmask train`, shared by train.c, train_setup.c and train_loop.c only. */
#ifndef FM_CLI_TRAIN_RUN_H
#define FM_CLI_TRAIN_RUN_H

#include "cli/cli.h"

typedef struct train_options {
    cli_list data, eval_data;
    const char *model, *tokenizer, *output, *field, *set, *lengths;
    int64_t hidden, layers, heads, feed_forward, positions;
    int64_t length, batch, steps, seed, micro, limit, save_every, eval_every, eval_limit, threads;
    double epochs, rate, warmup, decay, clip, mask_rate, dropout;
    int format, part, eval_part, init, precision;
    bool whole_words, resume, json, quiet;
} train_options;

/* Everything a training holds, to be released in one place. */
typedef struct train_run {
    const train_options *o;
    fm_tokenizer *tokenizer;
    fm_config config;
    fm_parameters parameters;
    fm_weights weights; /* of the model to start from */
    float *values;      /* a fresh start, and a copy for saving */
    const float **pointers;
    fm_backend *backend;
    fm_corpus corpus, eval_corpus;
    fm_train_options options;
    uint32_t length, chunks; /* tokens a chunk, and chunks of the data that are used */
    fm_trainer *trainer;
    char *checkpoint, *tensors, *log, *picture; /* files in the output folder */
    double started, before;            /* seconds: when this run began, and what was spent before a resumption */
    uint64_t first_step, first_tokens; /* with which it began */
    double shown_loss;                 /* running mean */
    double sum;                        /* of the losses since the last line of the log */
    uint32_t summed;
    fm_evaluation start, last; /* before the first step, and the last one; masked is 0 if there is none */
    uint64_t last_step;
} train_run;

/* train_setup.c: opens and plans everything up to the first step. */
fm_status train_prepare(train_run *run, fm_error *err);
void train_release(train_run *run);
/* train_loop.c: makes the steps, and what is to be done along the way. */
fm_status train_loop(train_run *run, fm_error *err);
void train_summary(const train_run *run, fm_buffer *out);

#endif
