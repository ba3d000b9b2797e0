/* kernels_amx.c - the kernels for x86-64 with Intel's AMX: those of avx512, and products of bf16 and of int8 in tile
 * registers of 16 rows of 64 bytes. A product's tile is 32 x 32, the sums of 2 x 2 registers.
 *
 * The instruction sums, for each element of the result, the 16 products of upper halves and the 16 of lower halves of a
 * row of words apart, in f32, and adds both to what was there; it rounds to nearest, takes subnormal numbers for zero
 * and makes none. So its bits are its own, unlike those of the other sets, which all sum in the order of k.
 *
 * The kernel lends the registers to a process that asks (ARCH_REQ_XCOMP_PERM, Linux 5.16), for all of its threads. Each
 * thread says what shape they have before it uses them, and gives them up after, or every switch of threads would save
 * 8 KB more. */
#if defined(__x86_64__)
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* syscall */
#endif
#include "ops/cpu/avx512bf16.h"
#include "ops/cpu/kernels.h"

#include <cpuid.h>
#include <string.h>

#define AMX_ROWS 16  /* of a register */
#define AMX_WORDS 16 /* of a row of one */
#define AMX_TILE (2 * AMX_ROWS)

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>

static bool may_use_tiles(void)
{
    enum { ARCH_REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
static bool may_use_tiles(void)
{
    return false;
}
#endif

static bool has_tiles(void)
{
    unsigned a, b, c, d;
    if (!AVX512BF16_SUPPORTED || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    return d >> 22 & 1 && d >> 24 & 1 && may_use_tiles(); /* AMX-BF16 and AMX-TILE */
}

/* Compilers do not see that tile instructions read and write memory. */
#define MEMORY_BARRIER() __asm__ volatile("" ::: "memory")

static void begin_tiles(void)
{
    /* What LDTILECFG reads: palette 1, then at 16 each register's bytes a row as 16 bits, at 48 its rows. */
    static const uint8_t shape[64] = {
        [0] = 1,   [16] = 64, [18] = 64, [20] = 64, [22] = 64, [24] = 64, [26] = 64, [28] = 64, [30] = 64,
        [48] = 16, [49] = 16, [50] = 16, [51] = 16, [52] = 16, [53] = 16, [54] = 16, [55] = 16};
    _tile_loadconfig(shape);
}

static void end_tiles(void)
{
    _tile_release();
}

/* Registers 0 to 3 hold the sums, 4 and 5 rows of a, 6 and 7 columns of b. */
static void tile_whole(size_t words, const float *a, const float *b, float *c, size_t ldc, bool add)
{
    size_t stride = ldc * sizeof *c;
    float *low = c + AMX_ROWS * ldc;
    MEMORY_BARRIER();
    if (add) {
        _tile_loadd(0, c, stride);
        _tile_loadd(1, c + AMX_WORDS, stride);
        _tile_loadd(2, low, stride);
        _tile_loadd(3, low + AMX_WORDS, stride);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (size_t w = 0; w < words; w += AMX_WORDS, a += AMX_WORDS * AMX_TILE, b += AMX_WORDS * AMX_TILE) {
        _tile_loadd(6, b, sizeof *b * AMX_TILE);
        _tile_loadd(4, a, sizeof *a * AMX_WORDS);
        _tile_loadd(7, b + AMX_WORDS, sizeof *b * AMX_TILE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, a + AMX_WORDS * AMX_ROWS, sizeof *a * AMX_WORDS);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, stride);
    _tile_stored(1, c + AMX_WORDS, stride);
    _tile_stored(2, low, stride);
    _tile_stored(3, low + AMX_WORDS, stride);
    MEMORY_BARRIER();
}

static void tile_bf16(size_t rows, size_t words, const float *a, const float *b, float *c, size_t ldc, bool add,
                      fm_ahead next)
{
    (void)next;
    if (rows == AMX_TILE) {
        tile_whole(words, a, b, c, ldc, add);
        return;
    }
    float whole[AMX_TILE * AMX_TILE];
    if (add)
        for (size_t i = 0; i < rows; i++) memcpy(whole + i * AMX_TILE, c + i * ldc, AMX_TILE * sizeof *c);
    tile_whole(words, a, b, whole, AMX_TILE, add);
    for (size_t i = 0; i < rows; i++) memcpy(c + i * ldc, whole + i * AMX_TILE, AMX_TILE * sizeof *c);
}

/* ---- panels: 16 words of each line after the other on the left; zeros to fill up the last of them ---- */

static void pack_left_rows(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    size_t words = (depth + 2 * AMX_WORDS - 1) / (2 * AMX_WORDS) * AMX_WORDS;
    for (size_t i = 0; i < width; i++)
        for (size_t w = 0; w < words; w += AMX_WORDS)
            _mm512_storeu_si512(to + w * width + i * AMX_WORDS,
                                i < count ? load_pairs(from + i * stride + 2 * w, depth - 2 * w)
                                          : _mm512_setzero_si512());
}

static void pack_left_columns(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    for (size_t k = 0; k < depth; k += 2 * AMX_WORDS)
        for (size_t i = 0; i < width; i += 16) {
            __m512i r[16];
            __mmask16 have = i < count ? lanes_below(count - i) : 0;
            for (size_t w = 0; w < 16; w++) {
                size_t at = k + 2 * w;
                r[w] = at < depth ? pair_rows(from + at * stride + i, stride, have, at + 1 < depth)
                                  : _mm512_setzero_si512();
            }
            turn(r);
            for (size_t j = 0; j < 16; j++) _mm512_storeu_si512(to + k / 2 * width + (i + j) * AMX_WORDS, r[j]);
        }
}

/* Zeros from the last word of a line of `depth` on. */
static void fill_right(float *to, size_t width, size_t depth)
{
    size_t words = (depth + 1) / 2, full = (words + AMX_WORDS - 1) / AMX_WORDS * AMX_WORDS;
    memset(to + words * width, 0, (full - words) * width * sizeof *to);
}

static void pack_right_rows(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    pack_rows_bf16(to, from, stride, count, width, depth);
    fill_right(to, width, depth);
}

static void pack_right_columns(float *to, const float *from, size_t stride, size_t count, size_t width, size_t depth)
{
    pack_columns_bf16(to, from, stride, count, width, depth);
    fill_right(to, width, depth);
}

/* ---- the peak ---- */

static double spin_bf16(size_t rounds, float *sink)
{
    float sums[AMX_ROWS * AMX_WORDS];
    uint32_t numbers[AMX_ROWS * AMX_WORDS];
    for (size_t i = 0; i < AMX_ROWS * AMX_WORDS; i++) numbers[i] = 0x3a833a83; /* two times 0.001 */
    MEMORY_BARRIER();
    begin_tiles();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, numbers, 4 * AMX_WORDS);
    _tile_loadd(5, numbers, 4 * AMX_WORDS);
    _tile_loadd(6, numbers, 4 * AMX_WORDS);
    _tile_loadd(7, numbers, 4 * AMX_WORDS);
    for (size_t i = 0; i < rounds; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, 4 * AMX_WORDS);
    end_tiles();
    MEMORY_BARRIER();
    *sink += sums[0];
    return 4.0 * 4 * AMX_ROWS * AMX_WORDS * AMX_WORDS * (double)rounds;
}

/* ---- integers: bytes of a, signed, times those of b, unsigned; sums that are exact ---- */

static bool has_int8_tiles(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 25 & 1) && fm_int8_avx512vnni.supported();
}

static void tile_int8(size_t rows, size_t depth, const void *a, size_t stride, const uint8_t *b, int32_t *c)
{
    const int8_t *upper = a, *lower = upper + AMX_ROWS * stride;
    if (rows <= 2) { /* the registers take 16 rows of a at once */
        fm_int8_avx512vnni.tile(rows, depth, a, stride, b, c);
        return;
    }
    MEMORY_BARRIER();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t k = 0; k < depth; k += 4 * AMX_WORDS, b += 4 * AMX_WORDS * AMX_TILE) {
        _tile_loadd(6, b, 4 * AMX_TILE);
        _tile_loadd(4, upper + k, stride);
        _tile_loadd(7, b + 4 * AMX_WORDS, 4 * AMX_TILE);
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        if (rows <= AMX_ROWS) continue;
        _tile_loadd(5, lower + k, stride);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, c, 4 * AMX_TILE);
    _tile_stored(1, c + AMX_WORDS, 4 * AMX_TILE);
    _tile_stored(2, c + AMX_ROWS * AMX_TILE, 4 * AMX_TILE);
    _tile_stored(3, c + AMX_ROWS * AMX_TILE + AMX_WORDS, 4 * AMX_TILE);
    MEMORY_BARRIER();
}

static const fm_int8_kernels int8_tiles = {.supported = has_int8_tiles,
                                           .mr = AMX_TILE,
                                           .nr = AMX_TILE,
                                           .size = 1,
                                           .offset = 128,
                                           .tile = tile_int8,
                                           .begin = begin_tiles,
                                           .end = end_tiles};

#undef INT8_SETS
#define INT8_SETS &int8_tiles, &fm_int8_avx512vnni, &fm_int8_avx512
#include "ops/cpu/avx512drop.h"

#define KERNELS fm_kernels_amx
#define NAME "amx"
#define SUPPORTED has_tiles()
#define BF16_PRODUCTS                                                                                                  \
    {                                                                                                                  \
        2, AMX_WORDS, AMX_TILE, AMX_TILE, 576, tile_bf16, {pack_left_rows, pack_left_columns},                         \
            {pack_right_rows, pack_right_columns}, spin_bf16, begin_tiles, end_tiles                                   \
    }

#include "ops/cpu/kernels_template.h"
#endif
