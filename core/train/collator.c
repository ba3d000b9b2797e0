/* collator.c - the masking collator: which tokens of a chunk are to be predicted, what they are replaced by, and chunks
 * packed into a batch. Every draw is a pure function of its place, so batches can be cut anywhere. */
#include "train/train.h"

#include <stdlib.h>
#include <string.h>

static bool is_special(const fm_special_ids *special, uint32_t id)
{
    return id == special->pad || id == special->cls || id == special->sep || id == special->mask;
}

/* Four 16-bit numbers of one place; the first decides whether it is predicted. */
typedef struct draw {
    uint32_t select, kind; /* of 65536 */
    uint32_t token;        /* of 2^32 */
} draw;

static draw draw_at(const fm_masking *masking, uint32_t round, uint32_t number, uint32_t place)
{
    const uint32_t key[2] = {masking->seed, 0x6d61736bu ^ round}, counter[2] = {number, place};
    uint32_t out[2];
    fm_threefry(key, counter, out);
    return (draw){out[0] & 0xffff, out[0] >> 16, out[1]};
}

static uint32_t threshold(float share)
{
    return (uint32_t)(share * 65536.0f + 0.5f);
}

/* Whether the token at `place` is predicted. *head is the place that decides, which the caller keeps from token to
 * token: with whole words, the first token of the word. */
static bool selected(const fm_masking *masking, uint32_t round, uint32_t number, const uint32_t *tokens, uint32_t place,
                     uint32_t *head)
{
    uint32_t id = tokens[place] & FM_TOKEN_ID;
    if (!masking->whole_words || tokens[place] & FM_TOKEN_WORD || is_special(&masking->special, id)) *head = place;
    return !is_special(&masking->special, id) &&
           draw_at(masking, round, number, *head).select < threshold(masking->rate);
}

uint32_t fm_masked_count(const fm_masking *masking, uint32_t round, uint32_t number, const uint32_t *tokens,
                         uint32_t length)
{
    uint32_t count = 0, head = 0;
    for (uint32_t i = 0; i < length; i++) count += selected(masking, round, number, tokens, i, &head);
    return count;
}

fm_status fm_collator_create(fm_collator *collator, uint32_t tokens, uint32_t sequences, uint32_t masked, fm_error *err)
{
    *collator = (fm_collator){.token_room = tokens, .sequence_room = sequences, .masked_room = masked};
    collator->ids = calloc(tokens, sizeof(uint32_t));
    collator->starts = calloc((size_t)sequences + 1, sizeof(uint32_t));
    collator->rows = calloc(masked, sizeof(uint32_t));
    collator->labels = calloc(masked, sizeof(uint32_t));
    if (!collator->ids || !collator->starts || !collator->rows || !collator->labels) {
        fm_collator_free(collator);
        return fm_fail_memory(err, ((size_t)tokens + sequences + 2 * (size_t)masked) * 4, "a batch");
    }
    fm_collator_clear(collator, 0);
    return FM_OK;
}

void fm_collator_free(fm_collator *collator)
{
    free(collator->ids);
    free(collator->starts);
    free(collator->rows);
    free(collator->labels);
    *collator = (fm_collator){0};
}

void fm_collator_clear(fm_collator *collator, uint32_t first)
{
    collator->batch = (fm_batch){.first = first,
                                 .ids = collator->ids,
                                 .starts = collator->starts,
                                 .rows = collator->rows,
                                 .labels = collator->labels};
}

bool fm_collator_add(fm_collator *collator, const fm_masking *masking, uint32_t round, uint32_t number,
                     const uint32_t *tokens, uint32_t length)
{
    fm_batch *batch = &collator->batch;
    if (batch->sequences == collator->sequence_room || length > collator->token_room - batch->tokens ||
        fm_masked_count(masking, round, number, tokens, length) > collator->masked_room - batch->masked)
        return false;
    uint32_t head = 0, hidden = threshold(masking->shares.mask);
    uint32_t changed = threshold(masking->shares.mask + masking->shares.random);
    for (uint32_t i = 0; i < length; i++) {
        uint32_t id = tokens[i] & FM_TOKEN_ID, row = batch->tokens + i;
        if (selected(masking, round, number, tokens, i, &head)) {
            collator->rows[batch->masked] = row;
            collator->labels[batch->masked++] = id;
            draw d = draw_at(masking, round, number, i);
            if (d.kind < hidden) id = masking->special.mask;
            else if (d.kind < changed) id = (uint32_t)((uint64_t)d.token * masking->vocab_size >> 32);
        }
        collator->ids[row] = id;
    }
    batch->tokens += length;
    collator->starts[++batch->sequences] = batch->tokens;
    return true;
}
