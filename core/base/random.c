/* random.c - counter-based random numbers and the FNV-1a hash. Nothing here is fit for cryptography. */
#include "base/base.h"

#include <math.h>

static uint32_t rotate(uint32_t value, unsigned bits)
{
    return (value << bits) | (value >> (32 - bits));
}

void fm_threefry(const uint32_t key[2], const uint32_t counter[2], uint32_t out[2])
{
    static const unsigned rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t schedule[3] = {key[0], key[1], 0x1bd11bdau ^ key[0] ^ key[1]};
    uint32_t a = counter[0] + schedule[0];
    uint32_t b = counter[1] + schedule[1];
    for (unsigned round = 0; round < 20; round++) {
        a += b;
        b = rotate(b, rotations[round % 8]) ^ a;
        if (round % 4 == 3) {
            unsigned injection = round / 4 + 1;
            a += schedule[injection % 3];
            b += schedule[(injection + 1) % 3] + injection;
        }
    }
    out[0] = a;
    out[1] = b;
}

fm_random fm_random_seeded(uint64_t seed, uint32_t stream)
{
    /* One block turns seed and stream into a key, so that neighbouring streams have nothing in common. */
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[2] = {stream, 0x66696c6cu};
    fm_random random = {{0, 0}, 0};
    fm_threefry(key, counter, random.key);
    return random;
}

uint32_t fm_random_u32(fm_random *random)
{
    const uint32_t counter[2] = {(uint32_t)random->next, (uint32_t)(random->next >> 32)};
    uint32_t out[2];
    fm_threefry(random->key, counter, out);
    random->next++;
    return out[0];
}

uint32_t fm_random_below(fm_random *random, uint32_t bound)
{
    /* Lemire 2019: the high half of a product, drawing again in the few cases that would favour some results. */
    uint32_t unfair = (0u - bound) % bound;
    uint64_t product;
    do product = (uint64_t)fm_random_u32(random) * bound;
    while ((uint32_t)product < unfair);
    return (uint32_t)(product >> 32);
}

float fm_random_uniform(fm_random *random)
{
    return (float)(fm_random_u32(random) >> 8) * 0x1p-24f;
}

float fm_random_normal(fm_random *random)
{
    /* The first number lies in (0, 1], since its logarithm is taken. */
    double radius = ((double)fm_random_u32(random) + 1.0) * 0x1p-32;
    double angle = (double)fm_random_u32(random) * 0x1p-32;
    return (float)(sqrt(-2.0 * log(radius)) * cos(6.283185307179586476925 * angle));
}

uint64_t fm_hash(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) hash = fm_hash_number(hash, bytes[i]);
    return hash;
}
