/* convert.c - loops between f32 and the number types of files: F16, BF16 and I8 with a scale a row. They are written
 * without branches, so that compilers vectorise them; no instruction set is named here. */
#include "model/convert.h"

#include <float.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian and are mapped as they are; this machine is not"
#endif

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

bool fm_all_finite(const float *values, size_t count)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++) bad |= (bits_of(values[i]) & 0x7f800000u) == 0x7f800000u;
    return bad == 0;
}

/* ---- 16 bits ---- */

static inline float half_to_float(uint16_t half)
{
    uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    /* The exponent's bias grows by 127 - 15. A subnormal is read as 2^-14 + m and loses the 2^-14 again, exactly. */
    uint32_t normal = magnitude + (112u << 23);
    uint32_t subnormal = bits_of(float_of(magnitude + (113u << 23)) - 0x1p-14f);
    uint32_t bits = magnitude < 1u << 23 ? subnormal : normal;
    return float_of(bits | (uint32_t)(half & 0x8000) << 16);
}

static inline uint16_t float_to_half(float value)
{
    uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
    uint32_t normal = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    /* Beside 0.5 the last place of a float is 2^-24, that of a subnormal half, so the addition rounds as wanted. */
    uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
    uint32_t half = magnitude < 113u << 23 ? subnormal : normal;
    return (uint16_t)(half | (bits >> 16 & 0x8000u));
}

static inline uint16_t float_to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static bool decode_f16(float *to, const uint8_t *from, size_t count)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof half);
        bad |= (half & 0x7c00u) == 0x7c00u;
        to[i] = half_to_float(half);
    }
    return bad == 0;
}

static bool decode_bf16(float *to, const uint8_t *from, size_t count)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof half);
        bad |= (half & 0x7f80u) == 0x7f80u;
        to[i] = float_of((uint32_t)half << 16);
    }
    return bad == 0;
}

bool fm_decode(float *to, const uint8_t *from, fm_stored_type type, size_t count)
{
    if (count == 0) return true;
    switch (type) {
    case FM_STORED_F16:
        return decode_f16(to, from, count);
    case FM_STORED_BF16:
        return decode_bf16(to, from, count);
    case FM_STORED_I8:
        for (size_t i = 0; i < count; i++) to[i] = (float)(int8_t)from[i];
        return true;
    case FM_STORED_F32:
        break;
    }
    memcpy(to, from, count * sizeof *to);
    return fm_all_finite(to, count);
}

bool fm_encode16(uint16_t *to, const float *from, fm_stored_type type, size_t count)
{
    uint32_t bad = 0;
    if (type == FM_STORED_F16) {
        for (size_t i = 0; i < count; i++) {
            /* 65520 lies halfway between the largest half and the next power of two, and would round up. */
            bad |= (bits_of(from[i]) & 0x7fffffffu) >= bits_of(65520.0f);
            to[i] = float_to_half(from[i]);
        }
        return bad == 0;
    }
    for (size_t i = 0; i < count; i++) {
        to[i] = float_to_bf16(from[i]);
        bad |= (to[i] & 0x7f80u) == 0x7f80u;
    }
    return bad == 0;
}

/* ---- 8 bits ---- */

#define LARGEST 63 /* so that no backend's sum of two products saturates */
#define LANES 32   /* sums in a fixed order that is the same on every machine; fewer are not vectorised by gcc 12 */
#define CANDIDATES 16
#define CANDIDATE_STEP 0.95f /* 16 of them reach down to 0.46 of the largest value of the row */

/* The nearest integer, even among two, kept to the range. Good for magnitudes below 2^22: the addition leaves it in the
 * last bits of the float. Clamping the integer has no branch, where comparing floats has. */
static inline int32_t quantised(float value)
{
    int32_t q = (int32_t)(bits_of(value + 0x1.8p23f) - bits_of(0x1.8p23f));
    q = q > LARGEST ? LARGEST : q;
    return q < -LARGEST ? -LARGEST : q;
}

typedef struct measured {
    double vq, qq;
} measured;

/* With v the row times `inverse` and q its integers: the sums of v q and q q. `count` is a multiple of LANES. */
static measured measure_lanes(const float *row, size_t count, float inverse)
{
    float vq[LANES] = {0}, qq[LANES] = {0};
    for (size_t i = 0; i < count; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++) {
            float v = row[i + lane] * inverse, q = (float)quantised(v);
            vq[lane] += v * q;
            qq[lane] += q * q;
        }
    measured sum = {0.0, 0.0};
    for (size_t lane = 0; lane < LANES; lane++) {
        sum.vq += (double)vq[lane];
        sum.qq += (double)qq[lane];
    }
    return sum;
}

static measured measure(const float *row, size_t count, float inverse)
{
    size_t rest = count % LANES;
    measured sum = measure_lanes(row, count - rest, inverse);
    if (rest > 0) {
        float end[LANES] = {0}; /* zeros add nothing */
        memcpy(end, row + count - rest, rest * sizeof *end);
        measured last = measure_lanes(end, LANES, inverse);
        sum.vq += last.vq;
        sum.qq += last.qq;
    }
    return sum;
}

float fm_quantise_row(int8_t *to, const float *from, size_t count)
{
    float most = 0.0f;
    for (size_t i = 0; i < count; i++) {
        float magnitude = float_of(bits_of(from[i]) & 0x7fffffffu);
        most = magnitude > most ? magnitude : most;
    }
    if (most < 0x1p-100f) { /* as good as zero, and 63 / most might not be a float */
        memset(to, 0, count);
        return 0.0f;
    }
    /* For given integers q the best scale is (w q) / (q q), and the squared error is then (w w) - (w q)^2 / (q q); so
     * the candidate that makes the last term largest loses least. */
    double best = -1.0, scale = 0.0;
    float best_inverse = 0.0f, clip = most;
    for (int i = 0; i < CANDIDATES; i++, clip *= CANDIDATE_STEP) {
        float inverse = LARGEST / clip;
        measured m = measure(from, count, inverse);
        double gain = m.vq * m.vq / m.qq / inverse / inverse;
        if (gain > best) {
            best = gain;
            best_inverse = inverse;
            scale = m.vq / m.qq / inverse;
        }
    }
    for (size_t i = 0; i < count; i++) to[i] = (int8_t)quantised(from[i] * best_inverse);
    /* 63 times the scale must stay a float. */
    return scale < FLT_MAX / 64 ? (float)scale : FLT_MAX / 64;
}
