/* batch.h - what network.c needs of a batch; inside core/model only. */
#ifndef FM_BATCH_H
#define FM_BATCH_H

#include "model/model.h"

/* No room is empty, and none so large that twice its rows do not fit 32 bits. */
fm_status fm_room_check(const fm_room *room, fm_error *err);
fm_status fm_batch_check(const fm_batch *batch, const fm_config *config, const fm_room *room, fm_run run,
                         fm_error *err);
/* place (tokens, 2) and row_place (masked, 2): number and position of the tokens' and the masked rows' sequences.
 * Returns the longest sequence. */
uint32_t fm_batch_places(const fm_batch *batch, uint32_t *place, uint32_t *row_place);
/* order (tokens): tokens by id, then by place; segments (result + 1): where ids change in it. keys (tokens) is
 * scratch. Returns the number of different ids. */
uint32_t fm_batch_order(const fm_batch *batch, uint64_t *keys, uint32_t *order, uint32_t *segments);

#endif
