/* internal.h - what the files of core/service share: the table of what is kept, options out of requests, JSON. */
#ifndef FM_SERVICE_INTERNAL_H
#define FM_SERVICE_INTERNAL_H

#include <cjson/cJSON.h>

#include "service/service.h"
#include "train/train.h"

typedef enum kind {
    KIND_NONE,
    KIND_MODEL,
    KIND_TOKENIZER,
    KIND_ROWS,
    KIND_CORPUS,
    KIND_TRAINING,
    KIND_EVALUATION
} kind;

/* Something that is kept, by its number. */
typedef struct kept {
    kind kind;
    uint32_t number, needs[2]; /* what it cannot be without, 0 for nothing */
    void *item;
} kept;

struct fm_service {
    bool utf16;
    kept *list;
    size_t count, capacity;
    uint32_t last;
};

/* A request under way. */
typedef struct call {
    fm_service *service;
    const cJSON *request;
    fm_progress progress;
    void *context;
    fm_buffer *answer;
    fm_error *err;
} call;

/* ---- what is kept (service.c) ---- */

/* Keeps an item that needs some others; returns its number, or 0, with the item gone. */
uint32_t service_keep(call *c, kind type, void *item, uint32_t needed, uint32_t needed_too);
/* What the request names under `member`; NULL and an error if that is nothing of this kind. */
kept *service_find(const call *c, const char *member, kind type);
/* Closes an item, and all that needs it. */
void service_release(fm_service *service, uint32_t number);
/* False if the host wants to stop, after having set the error. */
bool service_go_on(const call *c, uint64_t done, uint64_t total);

/* ---- options (options.c) ---- */

typedef enum option_type {
    OPTION_FLAG,   /* bool * */
    OPTION_WHOLE,  /* uint64_t *, within least to most */
    OPTION_NUMBER, /* double *, within least to most */
    OPTION_CHOICE, /* int *: the index in `choices` */
    OPTION_TEXTS   /* texts *: a list of texts */
} option_type;

typedef struct texts {
    size_t count;
    const char **list; /* the texts are the request's; free() */
} texts;

typedef struct option {
    const char *name;
    option_type type;
    void *value; /* holds the default; written if the request has the option */
    double least, most;
    const char *const *choices; /* NULL-terminated */
} option;

/* Reads the request's options. Whatever it has beside them, "op", "id" and the members that name things
 * (NULL-terminated) is an error. */
fm_status service_options(const call *c, const char *const *members, const option *options, size_t count);
/* A list of texts that must be there; free(list). */
fm_status service_texts(const call *c, const char *member, texts *found);

/* ---- places in texts (places.c) ---- */

/* Bytes of UTF-8 as what the service counts. Places are asked for in rising order, or it starts again. */
typedef struct place {
    const char *text;
    bool utf16;
    uint32_t byte, unit;
} place;
uint32_t service_place(place *p, uint32_t byte);
/* And back; the text's size at most where it counts UTF-16. */
uint32_t service_byte(place *p, uint32_t unit);

/* ---- models (models.c) ---- */

/* The tokenizer that the request names, as a model's or by itself; NULL and an error if there is none. */
const fm_tokenizer *service_tokenizer(const call *c);
/* Memory for the values of a model, and where each parameter is in it. */
fm_status service_values(const fm_parameters *parameters, float **values, const float ***pointers, fm_error *err);
/* Gives a model the values of a model.safetensors that was built in memory, which it takes over, also on failure. */
fm_status service_replace(const call *c, kept *k, uint8_t *data, size_t size);

/* ---- corpora (corpus.c) ---- */

/* What a corpus has collected; nothing can be added any more. */
const fm_corpus *service_corpus_of(kept *k);

/* ---- operations (models.c, text.c, augment.c, corpus.c, training.c) ---- */

fm_status service_info(call *c);
fm_status service_convert(call *c);
fm_status service_check(call *c);

fm_status service_encode(call *c);
fm_status service_decode(call *c);
fm_status service_token_ids(call *c);
fm_status service_vocabulary(call *c);
fm_status service_fill(call *c);
fm_status service_score(call *c);
fm_status service_embed(call *c);
fm_status service_augment(call *c);

fm_status service_rows(call *c);
fm_status service_rows_push(call *c);
fm_status service_row_write(call *c);
fm_status service_corpus(call *c);
fm_status service_corpus_add(call *c);
fm_status service_train(call *c);
fm_status service_train_advance(call *c);
fm_status service_train_report(call *c);
fm_status service_train_apply(call *c);
fm_status service_evaluate(call *c);
fm_status service_evaluate_advance(call *c);

void service_close_corpus(void *item);
void service_close_training(void *item);
fm_trainer *service_trainer_of(kept *k);
/* What is evaluated must not change: its network is the evaluation's until that is closed. */
fm_status service_refuse_evaluated(const fm_service *service, const kept *k, fm_error *err);
void service_close_evaluation(void *item);

#endif
