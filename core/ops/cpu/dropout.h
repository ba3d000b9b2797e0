/* dropout.h - the dropout loop that the instruction sets compile for themselves. It is integer arithmetic and one
 * product, so all of them keep and drop the same elements. Not for inclusion elsewhere. */
#ifndef FM_DROPOUT_H
#define FM_DROPOUT_H

#include "ops/cpu/kernels.h"

#define DROP_LANES 16 /* Threefry blocks at a time, for the compiler to vectorise */

static inline uint32_t drop_rotate(uint32_t x, int by)
{
    return x << by | x >> (32 - by);
}

/* Threefry-2x32-20 (as fm_threefry) of DROP_LANES consecutive counters. */
static inline void drop_blocks(const uint32_t key[2], uint32_t counter, uint32_t group, uint32_t *restrict out0,
                               uint32_t *restrict out1)
{
    static const int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t keys[3] = {key[0], key[1], 0x1bd11bdau ^ key[0] ^ key[1]};
    for (uint32_t i = 0; i < DROP_LANES; i++) {
        out0[i] = counter + keys[0];
        out1[i] = group + i + keys[1];
    }
    for (uint32_t round = 0; round < 20; round++) {
        int by = rotations[round % 8];
        for (uint32_t i = 0; i < DROP_LANES; i++) {
            out0[i] += out1[i];
            out1[i] = drop_rotate(out1[i], by) ^ out0[i];
        }
        if (round % 4 == 3) {
            uint32_t turn = round / 4 + 1;
            for (uint32_t i = 0; i < DROP_LANES; i++) {
                out0[i] += keys[turn % 3];
                out1[i] += keys[(turn + 1) % 3] + turn;
            }
        }
    }
}

static void kernel_dropout(size_t n, float *x, const fm_drop_stream *stream)
{
    uint32_t out0[DROP_LANES], out1[DROP_LANES], bits[4 * DROP_LANES];
    uint32_t group = stream->first / 4;
    for (size_t i = 0; i < n; i += 4 * DROP_LANES, group += DROP_LANES) {
        drop_blocks(stream->key, stream->counter, group, out0, out1);
        for (size_t j = 0; j < DROP_LANES; j++) {
            bits[4 * j] = out0[j] & 0xffff;
            bits[4 * j + 1] = out0[j] >> 16;
            bits[4 * j + 2] = out1[j] & 0xffff;
            bits[4 * j + 3] = out1[j] >> 16;
        }
        size_t count = n - i < 4 * DROP_LANES ? n - i : 4 * DROP_LANES;
        for (size_t j = 0; j < count; j++) x[i + j] = bits[j] < stream->threshold ? 0.0f : x[i + j] * stream->scale;
    }
}

#endif
