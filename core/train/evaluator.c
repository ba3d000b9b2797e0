/* evaluator.c - how well a network predicts masked tokens of a corpus: a sum over chunks whose masks never change. It
 * runs a stage at a time and reports nothing by itself. */
#include "train/train.h"

#include <stdlib.h>
#include <string.h>

struct fm_evaluator {
    fm_network *network;
    fm_backend *backend;
    const fm_corpus *corpus;
    fm_masking masking;
    fm_chunks chunks;
    uint32_t *aside; /* the only ones that are used, NULL for all; and of how many the `count` are taken */
    uint32_t among;
    uint32_t count, next; /* chunks to do, and the first that is in no batch yet */
    fm_precision precision;
    fm_collator collator;
    float *losses;
    size_t losses_size;  /* bytes */
    uint8_t *characters; /* of each vocabulary entry */
    bool read;           /* the batch's losses are asked for */
    fm_evaluation result;
};

static uint8_t characters_of(const char *token)
{
    if (strncmp(token, "##", 2) == 0 && token[2]) token += 2;
    size_t count = 0;
    for (; *token; token++) count += ((uint8_t)*token & 0xc0) != 0x80;
    return (uint8_t)(count < 255 ? count : 255);
}

fm_status fm_evaluator_create(fm_evaluator **evaluator, fm_network *network, fm_backend *backend, const fm_room *room,
                              const fm_corpus *corpus, const fm_tokenizer *tokenizer, const fm_masking *masking,
                              uint32_t length, uint32_t aside, uint32_t limit, fm_error *err)
{
    *evaluator = NULL;
    fm_evaluator *e = calloc(1, sizeof *e);
    if (!e) return fm_fail_memory(err, sizeof *e, "an evaluation");
    e->network = network;
    e->backend = backend;
    e->corpus = corpus;
    e->masking = *masking;
    e->losses = calloc((size_t)room->masked * 2, sizeof *e->losses);
    e->losses_size = (size_t)room->masked * 2 * sizeof *e->losses;
    uint32_t vocab = fm_tokenizer_size(tokenizer);
    e->characters = calloc(vocab, 1);
    fm_status status = FM_OK;
    if (!e->losses || !e->characters) status = fm_fail_memory(err, (size_t)room->masked * 8 + vocab, "an evaluation");
    if (!status) status = fm_chunks_make(&e->chunks, corpus, length, false, err);
    if (!status && aside > e->chunks.count)
        status = fm_fail(err, FM_E_ARGUMENT, "%u chunks cannot be set aside of the %u that the data gives.", aside,
                         e->chunks.count);
    if (!status && aside > 0) status = fm_chunks_split(&e->aside, e->chunks.count, aside, masking->seed, err);
    if (!status) status = fm_collator_create(&e->collator, room->tokens, room->sequences, room->masked, err);
    if (status) {
        fm_evaluator_destroy(e);
        return status;
    }
    for (uint32_t i = 0; i < vocab; i++) e->characters[i] = characters_of(fm_tokenizer_token(tokenizer, i));
    e->among = aside > 0 ? aside : e->chunks.count;
    e->count = limit > 0 && limit < e->among ? limit : e->among;
    *evaluator = e;
    return FM_OK;
}

void fm_evaluator_precision(fm_evaluator *e, fm_precision precision)
{
    e->precision = precision;
}

void fm_evaluator_destroy(fm_evaluator *e)
{
    if (!e) return;
    if (e->losses) e->backend->ops->forget(e->backend, e->losses, e->losses_size);
    fm_chunks_free(&e->chunks);
    free(e->aside);
    fm_collator_free(&e->collator);
    free(e->losses);
    free(e->characters);
    free(e);
}

/* The next batch; chunks without a masked token count as done. */
static void collate(fm_evaluator *e)
{
    fm_collator_clear(&e->collator, 0);
    for (; e->next < e->count; e->next++) {
        /* Evenly spread: with all of them, the i-th is the i-th. */
        uint32_t chunk = (uint32_t)((uint64_t)e->next * e->among / e->count);
        if (e->aside) chunk = e->aside[chunk];
        const uint32_t *tokens = e->corpus->ids + e->chunks.starts[chunk];
        if (!fm_collator_add(&e->collator, &e->masking, 0, chunk, tokens, e->chunks.length)) return;
        e->result.chunks++;
    }
}

static void sum(fm_evaluator *e)
{
    const fm_batch *batch = &e->collator.batch;
    fm_evaluation *r = &e->result;
    for (uint32_t i = 0; i < batch->masked; i++) {
        double above = e->losses[2 * i + 1];
        r->loss += e->losses[2 * i];
        r->top1 += above < 1.0;
        r->top5 += above < 5.0;
        r->characters += e->characters[batch->labels[i]];
        if (batch->ids[batch->rows[i]] != e->masking.special.mask) continue;
        r->hidden++;
        r->hidden_top1 += above < 1.0;
    }
    r->masked += batch->masked;
}

fm_status fm_evaluator_step(fm_evaluator *e, bool *more, fm_error *err)
{
    const fm_run_options run = {.run = FM_RUN_LOSS, .precision = e->precision};
    *more = true;
    if (e->collator.batch.tokens == 0) {
        uint32_t before = e->next;
        collate(e);
        if (e->next == before && e->next < e->count)
            return fm_fail(err, FM_E_LIMIT, "A chunk of %u tokens does not fit the room of the network.",
                           e->chunks.length);
        if (e->collator.batch.masked == 0) {
            *more = e->next < e->count;
            fm_collator_clear(&e->collator, 0);
            return FM_OK;
        }
        return fm_network_begin(e->network, &e->collator.batch, &run, err);
    }
    if (!e->read && fm_network_advance(e->network)) return FM_OK;
    if (!e->read) fm_network_read_losses(e->network, e->losses);
    e->read = true;
    fm_status status = e->backend->ops->finish(e->backend, err);
    if (status) return status;
    e->read = false;
    sum(e);
    fm_collator_clear(&e->collator, 0);
    *more = e->next < e->count;
    return FM_OK;
}

void fm_evaluator_progress(const fm_evaluator *e, uint64_t *done, uint64_t *total)
{
    *done = e->next;
    *total = e->count;
}

const fm_evaluation *fm_evaluator_result(const fm_evaluator *e)
{
    return &e->result;
}
