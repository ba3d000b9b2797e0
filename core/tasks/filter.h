/* filter.h - whether variants of texts are like their sources; inside core/tasks only. */
#ifndef FM_FILTER_H
#define FM_FILTER_H

#include "tasks/tasks.h"

/* What is known of a source, from the first of its variants on; zeroed before. */
typedef struct fm_facts {
    float *vector; /* free() */
    bool scored;
    double mean; /* log-probability of a token */
} fm_facts;

/* A variant that is looked at. The texts must stay until that is done. */
typedef struct fm_trial {
    fm_view source, variant;
    fm_facts *facts; /* the source's */
    bool passed;
} fm_trial;

/* Looks at many variants at once, step by step. */
typedef struct fm_filter {
    fm_model *model;
    double least_similarity, most_drop; /* as in fm_augment_options */
    fm_trial *trials;
    size_t count, next;    /* next: the first trial whose texts have no score yet */
    bool embedded;         /* all have their similarity */
    fm_embedder *embedder; /* at work, as is the next */
    fm_scorer *scorer;     /* of the source if that has no score, else of the variant */
} fm_filter;
/* Whether these options refuse anything. */
bool fm_filter_needed(const fm_augment_options *options);
/* Starts on trials, which stay the caller's. */
void fm_filter_begin(fm_filter *filter, fm_trial *trials, size_t count);
/* *done once `passed` is right for all. */
fm_status fm_filter_step(fm_filter *filter, bool *done, fm_error *err);
void fm_filter_end(fm_filter *filter); /* frees what it works with, also in the middle */

#endif
