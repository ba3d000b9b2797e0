/* trainer.h - the inside of a trainer, shared by trainer.c and checkpoint.c only. */
#ifndef FM_TRAINER_H
#define FM_TRAINER_H

#include "train/train.h"

/* Of gradients in f16, whose largest number is 65504. */
#define TRAINER_FIRST_SCALE 65536.0f
#define TRAINER_MOST_SCALE 16777216.0f
#define TRAINER_STEPS_TO_RISE 2000

struct fm_trainer {
    const fm_config *config;
    const fm_parameters *parameters;
    fm_backend *backend;
    const fm_corpus *corpus;
    fm_train_options options;
    fm_masking masking;
    fm_room room;
    fm_network *network;
    fm_collator collator;
    float *losses;      /* of the step: losses and ranks of all masked rows */
    uint64_t loss_room; /* masked rows */
    uint64_t read;      /* masked rows of the micro-batches so far */
    float squares;      /* of the norm of the step's gradients */
    float *fetched;     /* states on their way from the backend, one after the other */
    size_t fetched_states;
    uint64_t fetched_step; /* that they are of */

    /* the phase that the next step belongs to */
    size_t phase;
    fm_chunks chunks;
    uint32_t *drawn; /* the chunks that are used */
    uint32_t drawn_count;
    uint32_t *order; /* the same, shuffled for the epoch */
    uint64_t epoch;  /* of the phase; UINT64_MAX before the first */

    /* the step under way */
    uint64_t step; /* made so far */
    uint64_t tokens;
    bool running;               /* a step was begun */
    bool batch_running;         /* and a micro-batch of it */
    bool updated;               /* all is asked for; the backend has not answered yet */
    uint32_t first, last, next; /* places in order: the step's chunks, and the first in no micro-batch yet */
    uint64_t masked;
    double loss;
    float scale;    /* of the gradients: a power of two */
    uint32_t whole; /* steps since it was changed, all of them made */
    fm_train_report report;
};

/* Makes `step` the number of steps made (trainer.c). */
fm_status trainer_go_to(fm_trainer *t, uint64_t step, uint64_t tokens, fm_error *err);
/* Of the order of the chunks in the epoch that the next step belongs to (trainer.c). */
fm_status trainer_order_hash(fm_trainer *t, uint64_t *hash, fm_error *err);

/* The states of a network that a checkpoint has, values first. */
#define TRAINER_STATES 3
extern const fm_state trainer_states[TRAINER_STATES];
/* Reads the first `count` of them: *found has them one after the other, until trainer_drop_fetched() or another step.
 * After FM_PENDING the same call goes on (trainer.c). */
fm_status trainer_fetch(fm_trainer *t, size_t count, const float **found, fm_error *err);
void trainer_drop_fetched(fm_trainer *t);
/* Gives up what a backend that answers later would still write. */
void trainer_forget_reads(fm_trainer *t);

#endif
