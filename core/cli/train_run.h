/* train_run.h - the inside of `fillmask train`, shared by train*.c only. */
#ifndef FM_CLI_TRAIN_RUN_H
#define FM_CLI_TRAIN_RUN_H

#include "cli/cli.h"

typedef enum train_scaling { TRAIN_SCALE_NONE, TRAIN_SCALE_LINEAR, TRAIN_SCALE_SQRT } train_scaling;

typedef struct train_options {
    cli_list data, eval_data, prompts;
    const char *model, *tokenizer, *config, *output, *field, *set, *lengths;
    int64_t hidden, layers, heads, feed_forward, positions;
    int64_t length, batch, accumulate, steps, seed, micro, micro_batch, limit, threads;
    int64_t save_every, keep_checkpoints, eval_every, eval_limit, eval_chunks, eval_seed, patience, freeze_layers;
    double epochs, rate, warmup, decay, clip, mask_rate, mask_share, random_share, dropout, beta1, beta2, epsilon;
    cli_device device;
    int preset, format, part, eval_part, init, precision, schedule, scaling;
    bool whole_words, line_by_line, freeze_embeddings, keep_best, resume, plan_only, json, quiet;
} train_options;

/* Everything a training holds, to be released in one place. */
typedef struct train_run {
    const train_options *o;
    const char *model; /* the folder to go on from, NULL for a new one */
    fm_tokenizer *tokenizer;
    fm_config config;
    fm_parameters parameters;
    fm_weights weights; /* of the model to start from */
    float *values;      /* a fresh start, and a copy for saving */
    const float **pointers;
    fm_backend *cpu, *backend; /* the same, or a GPU's */
    fm_corpus corpus, eval_corpus;
    const fm_corpus *measured; /* what evaluations are made on, NULL for none */
    fm_train_options options;
    uint32_t length, chunks; /* tokens a chunk, and chunks of the data that are trained on */
    fm_trainer *trainer;
    char *tensors, *metrics, *picture, *card; /* files in the output folder */
    fm_file_lock lock;                        /* of the folder */
    double started, before;                   /* seconds: when this run began, and what was spent before a resumption */
    uint64_t first_step, first_tokens;        /* with which it began */
    double shown_loss;                        /* running mean */
    double sum;                               /* of the losses since the last line of the log */
    uint32_t summed, unlogged;                /* and how many there are; steps since the last line */
    fm_evaluation start, last; /* before the first step, and the last one; masked is 0 if there is none */
    uint64_t last_step;
    bool stopped; /* early: evaluations have not become better for as long as --patience says */
} train_run;

/* train_setup.c: opens and plans everything up to the first step. */
fm_status train_prepare(train_run *run, fm_error *err);
/* What is about to be trained, for --plan. */
void train_plan(const train_run *run, fm_buffer *out);
void train_release(train_run *run);
/* train_loop.c: makes the steps, and what is to be done along the way. */
fm_status train_loop(train_run *run, fm_error *err);
void train_summary(const train_run *run, fm_buffer *out);
/* train_card.c: writes the model card of what the output folder holds. */
fm_status train_write_card(const train_run *run, fm_error *err);

/* The names of choices, in the order of their values. */
extern const char *const train_presets[], *const train_schedules[];

#endif
