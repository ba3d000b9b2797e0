/* batch.c - the checks of a batch and of the room for one before a backend sees them, and the orders that the backend
 * wants of a batch. No arithmetic of the model. */
#include "model/batch.h"

#include <stdlib.h>
#include <string.h>

#define MOST_ROWS (1u << 24) /* more than any memory holds of a model */

fm_status fm_room_check(const fm_room *room, fm_error *err)
{
    const uint32_t sizes[] = {room->tokens, room->sequences, room->masked};
    static const char *const names[] = {"tokens", "sequences", "masked rows"};
    for (size_t i = 0; i < 3; i++)
        if (sizes[i] == 0 || sizes[i] > MOST_ROWS)
            return fm_fail(err, sizes[i] == 0 ? FM_E_ARGUMENT : FM_E_LIMIT,
                           "A network has room for 1 to %u %s in a batch, not for %u.", MOST_ROWS, names[i], sizes[i]);
    return FM_OK;
}

fm_status fm_batch_check(const fm_batch *batch, const fm_config *config, const fm_room *room, fm_run run, fm_error *err)
{
    bool labels = run == FM_RUN_LOSS || run == FM_RUN_TRAIN;
    if (batch->tokens == 0 || batch->sequences == 0 || (batch->masked == 0 && run != FM_RUN_HIDDEN))
        return fm_fail(err, FM_E_ARGUMENT, "A batch of %u tokens, %u sequences and %u masked rows is empty.",
                       batch->tokens, batch->sequences, batch->masked);
    if (batch->tokens > room->tokens || batch->sequences > room->sequences || batch->masked > room->masked)
        return fm_fail(err, FM_E_LIMIT,
                       "A batch of %u tokens, %u sequences and %u masked rows is larger than the network's room of %u, "
                       "%u and %u.",
                       batch->tokens, batch->sequences, batch->masked, room->tokens, room->sequences, room->masked);
    if (labels && !batch->labels)
        return fm_fail(err, FM_E_ARGUMENT, "A batch without labels has no loss; give labels or ask for logits only.");
    if (batch->starts[0] != 0 || batch->starts[batch->sequences] != batch->tokens)
        return fm_fail(err, FM_E_ARGUMENT, "The sequences of a batch do not cover its %u tokens.", batch->tokens);
    for (uint32_t i = 0; i < batch->sequences; i++) {
        uint32_t start = batch->starts[i], end = batch->starts[i + 1];
        if (end <= start || end > batch->tokens)
            return fm_fail(err, FM_E_ARGUMENT, "Sequence %u of a batch goes from token %u to %u.", i, start, end);
        if (end - start > config->positions)
            return fm_fail(err, FM_E_LIMIT, "A sequence of %u tokens is longer than the model's %u positions.",
                           end - start, config->positions);
    }
    for (uint32_t i = 0; i < batch->tokens; i++)
        if (batch->ids[i] >= config->vocab_size)
            return fm_fail(err, FM_E_ARGUMENT, "Token id %u is not below the vocabulary size of %u.", batch->ids[i],
                           config->vocab_size);
    for (uint32_t i = 0; i < batch->masked; i++) {
        if (batch->rows[i] >= batch->tokens || (i > 0 && batch->rows[i] <= batch->rows[i - 1]))
            return fm_fail(err, FM_E_ARGUMENT, "Masked row %u of a batch is %u; rows rise and are below %u.", i,
                           batch->rows[i], batch->tokens);
        if (labels && batch->labels[i] >= config->vocab_size)
            return fm_fail(err, FM_E_ARGUMENT, "Label %u is not below the vocabulary size of %u.", batch->labels[i],
                           config->vocab_size);
    }
    return FM_OK;
}

uint32_t fm_batch_places(const fm_batch *batch, uint32_t *place, uint32_t *row_place)
{
    uint32_t longest = 0;
    for (uint32_t s = 0; s < batch->sequences; s++) {
        uint32_t start = batch->starts[s], length = batch->starts[s + 1] - start;
        longest = length > longest ? length : longest;
        for (uint32_t i = 0; i < length; i++) {
            place[2 * (start + i)] = batch->first + s;
            place[2 * (start + i) + 1] = i;
        }
    }
    for (uint32_t i = 0; i < batch->masked; i++) memcpy(row_place + 2 * i, place + 2 * batch->rows[i], 8);
    return longest;
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

uint32_t fm_batch_order(const fm_batch *batch, uint64_t *keys, uint32_t *order, uint32_t *segments)
{
    for (uint32_t i = 0; i < batch->tokens; i++) keys[i] = (uint64_t)batch->ids[i] << 32 | i;
    qsort(keys, batch->tokens, sizeof *keys, compare);
    uint32_t count = 0;
    for (uint32_t i = 0; i < batch->tokens; i++) {
        order[i] = (uint32_t)keys[i];
        if (i == 0 || keys[i] >> 32 != keys[i - 1] >> 32) segments[count++] = i;
    }
    segments[count] = batch->tokens;
    return count;
}
