/* int8_template.h - the tile of a product of integers for x86-64, written once; the file of an instruction set defines
 * these and includes it:
 *
 *   INT8, SUPPORTED, OFFSET   the fm_int8_kernels to define, whether the machine has it, its offset (kernels.h)
 *   ROWS, LANES               rows of a tile, which is two vectors of LANES int32 wide: 8 or 16
 *   DOT(sum, u, s)            each lane of sum plus the four products of its unsigned bytes u and signed bytes s
 */
#include "ops/cpu/kernels.h"

#include <immintrin.h>
#include <string.h>

#if LANES == 16
typedef __m512i vi;
#define ZERO _mm512_setzero_si512()
#define LOAD(from) _mm512_loadu_si512(from)
#define STORE(to, x) _mm512_storeu_si512(to, x)
#define SPREAD(x) _mm512_set1_epi32(x) /* in all lanes */
#else
typedef __m256i vi;
#define ZERO _mm256_setzero_si256()
#define LOAD(from) _mm256_loadu_si256((const __m256i *)(const void *)(from))
#define STORE(to, x) _mm256_storeu_si256((__m256i *)(void *)(to), x)
#define SPREAD(x) _mm256_set1_epi32(x)
#endif

static bool has_int8(void)
{
    return SUPPORTED;
}

static inline int32_t word_at(const int8_t *from)
{
    int32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* Written out, as not every compiler unrolls so much. */
#define EACH_ROW(body) body(0) body(1) body(2) body(3) body(4) body(5) body(6) body(7) body(8) body(9) body(10) body(11)
_Static_assert(ROWS <= 12, "EACH_ROW has 12");

/* `rows` is a constant where this is inlined, so that the sums stay in registers. */
static inline __attribute__((always_inline)) void int8_rows(size_t rows, size_t depth, const int8_t *a, size_t stride,
                                                            const uint8_t *b, int32_t *c)
{
    vi sum[12][2];
#define START(i)                                                                                                       \
    if (i < rows) sum[i][0] = sum[i][1] = ZERO;
#define ADD_PRODUCTS(i)                                                                                                \
    if (i < rows) {                                                                                                    \
        vi x = SPREAD(word_at(a + i * stride + k));                                                                    \
        sum[i][0] = DOT(sum[i][0], left, x);                                                                           \
        sum[i][1] = DOT(sum[i][1], right, x);                                                                          \
    }
#define KEEP(i)                                                                                                        \
    if (i < rows) {                                                                                                    \
        STORE(c + 2 * i * LANES, sum[i][0]);                                                                           \
        STORE(c + (2 * i + 1) * LANES, sum[i][1]);                                                                     \
    }
    EACH_ROW(START)
    for (size_t k = 0; k < depth; k += 4, b += 8 * LANES) {
        vi left = LOAD(b), right = LOAD(b + 4 * LANES);
        EACH_ROW(ADD_PRODUCTS)
    }
    EACH_ROW(KEEP)
}

static void int8_tile(size_t rows, size_t depth, const void *a, size_t stride, const uint8_t *b, int32_t *c)
{
    if (rows == 1) int8_rows(1, depth, a, stride, b, c);
    else if (rows == 2) int8_rows(2, depth, a, stride, b, c);
    else int8_rows(ROWS, depth, a, stride, b, c);
}

const fm_int8_kernels INT8 = {has_int8, ROWS, 2 * LANES, 1, OFFSET, int8_tile, NULL, NULL};
