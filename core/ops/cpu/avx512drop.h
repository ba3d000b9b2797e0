/* avx512drop.h - the dropout loop of dropout.h for AVX-512: 4 x 16 Threefry blocks side by side, so that one's
 * additions fill the wait for another's. For the kernel files of AVX-512 only, after avx512.h. */
#ifndef FM_AVX512DROP_H
#define FM_AVX512DROP_H

#include "ops/cpu/avx512.h"
#include "ops/cpu/kernels.h"

#include <string.h>

#define DROPS
#define DROP_SIDES 4

/* Threefry-2x32-20 of the counters {counter, group + lane}, 16 lanes for each of DROP_SIDES. */
static inline __attribute__((always_inline)) void drop_blocks(const uint32_t key[2], uint32_t counter, uint32_t group,
                                                              __m512i a[DROP_SIDES], __m512i b[DROP_SIDES])
{
    const uint32_t keys[3] = {key[0], key[1], 0x1bd11bdau ^ key[0] ^ key[1]};
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (uint32_t i = 0; i < DROP_SIDES; i++) {
        a[i] = _mm512_set1_epi32((int)(counter + keys[0]));
        b[i] = _mm512_add_epi32(lanes, _mm512_set1_epi32((int)(group + 16 * i + keys[1])));
    }
#define DROP_ROUND(by)                                                                                                 \
    for (uint32_t i = 0; i < DROP_SIDES; i++) {                                                                        \
        a[i] = _mm512_add_epi32(a[i], b[i]);                                                                           \
        b[i] = _mm512_xor_si512(_mm512_rol_epi32(b[i], by), a[i]);                                                     \
    }
#define DROP_KEYS(turn)                                                                                                \
    for (uint32_t i = 0; i < DROP_SIDES; i++) {                                                                        \
        a[i] = _mm512_add_epi32(a[i], _mm512_set1_epi32((int)keys[(turn) % 3]));                                       \
        b[i] = _mm512_add_epi32(b[i], _mm512_set1_epi32((int)(keys[((turn) + 1) % 3] + (turn))));                      \
    }
#define DROP_ROUNDS_1(turn) DROP_ROUND(13) DROP_ROUND(15) DROP_ROUND(26) DROP_ROUND(6) DROP_KEYS(turn)
#define DROP_ROUNDS_2(turn) DROP_ROUND(17) DROP_ROUND(29) DROP_ROUND(16) DROP_ROUND(24) DROP_KEYS(turn)
    DROP_ROUNDS_1(1)
    DROP_ROUNDS_2(2)
    DROP_ROUNDS_1(3)
    DROP_ROUNDS_2(4)
    DROP_ROUNDS_1(5)
#undef DROP_ROUND
#undef DROP_KEYS
#undef DROP_ROUNDS_1
#undef DROP_ROUNDS_2
}

static void kernel_dropout(size_t n, float *x, const fm_drop_stream *stream)
{
    if (stream->threshold > 0xffff) { /* nothing is kept, which 16 bits cannot say */
        memset(x, 0, n * sizeof *x);
        return;
    }
    const __m512i threshold = _mm512_set1_epi16((short)stream->threshold);
    const __m512 scale = _mm512_set1_ps(stream->scale);
    uint32_t group = stream->first / 4;
    for (size_t i = 0; i < n; i += 64 * DROP_SIDES, group += 16 * DROP_SIDES) {
        __m512i a[DROP_SIDES], b[DROP_SIDES];
        drop_blocks(stream->key, stream->counter, group, a, b);
        for (size_t side = 0; side < DROP_SIDES && i + 64 * side < n; side++) {
            /* Interleaved, the words of four lanes are the 16 bits of 16 elements: of the first 8 in one, of the others
             * in the other. */
            __mmask32 low = _mm512_cmpge_epu16_mask(_mm512_unpacklo_epi32(a[side], b[side]), threshold),
                      high = _mm512_cmpge_epu16_mask(_mm512_unpackhi_epi32(a[side], b[side]), threshold);
            for (size_t j = 0; j < 4; j++) {
                size_t at = i + 64 * side + 16 * j;
                if (at >= n) return;
                __mmask16 here = lanes_below(n - at),
                          kept = (__mmask16)((low >> 8 * j & 0xff) | (high >> 8 * j & 0xff) << 8);
                _mm512_mask_storeu_ps(x + at, here,
                                      _mm512_maskz_mul_ps(kept, _mm512_maskz_loadu_ps(here, x + at), scale));
            }
        }
    }
}

#endif
