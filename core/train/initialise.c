/* initialise.c - the weights that a training from nothing starts with. */
#include "train/train.h"

#include <math.h>
#include <string.h>

/* Offsets that the first layer's heads look at, in the order of the heads. */
static const int neighbours_of_heads[] = {-1, 1, -2, 2, -3, 3, -4, 4};

#define PI 3.14159265358979323846
/* Chosen so that after the embeddings' layer norm a head puts most of its weight on one token of a hundred. */
#define SINE 2.0f       /* amplitude of the sinusoids, in units of initializer_range */
#define UNDER_SINE 0.1f /* deviation of the word embeddings where the sinusoids are, likewise */
#define CARRY 3.0f      /* deviation of the first layer's values and outputs, likewise */
#define PEAK 9.0        /* score of the token looked at; of the others it is about 0 */

static float *at(float *values, const fm_parameters *parameters, size_t index)
{
    return values + parameters->list[index].offset;
}

static void fill_normal(float *to, size_t count, fm_random *random, float deviation)
{
    for (size_t i = 0; i < count; i++) to[i] = fm_random_normal(random) * deviation;
}

static void initialise_usual(float *values, const fm_config *config, const fm_parameters *parameters, uint32_t seed)
{
    memset(values, 0, (size_t)parameters->elements * sizeof *values);
    for (size_t i = 0; i < parameters->count; i++) {
        const fm_parameter *p = &parameters->list[i];
        fm_random random = fm_random_seeded(seed, (uint32_t)i);
        if (!p->vector) fill_normal(values + p->offset, (size_t)p->rows * p->cols, &random, config->initializer_range);
        else if (fm_ends_with(p->name, "orm.weight"))
            for (uint32_t j = 0; j < p->cols; j++) values[p->offset + j] = 1.0f;
    }
}

/* Frequencies spread evenly over (0, pi): the sum over them of cos(f n) is then near 0 for whole n but 0. */
static double frequency(uint32_t index, uint32_t count)
{
    return PI * (index + 0.5) / count;
}

/* Sinusoids of the position in the first head-width dimensions of the embeddings, and first-layer queries that are keys
 * turned by the head's offset: the score of positions i and j is then the sum over f of cos(f (i + offset - j)). */
static void initialise_neighbours(float *values, const fm_config *config, const fm_parameters *parameters,
                                  uint32_t seed)
{
    uint32_t hidden = config->hidden, width = hidden / config->heads, pairs = width / 2;
    float range = config->initializer_range;
    float *word = at(values, parameters, FM_P_WORD), *position = at(values, parameters, FM_P_POSITION);
    for (size_t i = 0; i < config->vocab_size; i++)
        for (uint32_t j = 0; j < 2 * pairs; j++) word[i * hidden + j] *= UNDER_SINE;
    for (size_t i = 0; i < config->positions; i++)
        for (uint32_t f = 0; f < pairs; f++) {
            double angle = frequency(f, pairs) * (double)i;
            position[i * hidden + 2 * f] = (float)cos(angle) * SINE * range;
            position[i * hidden + 2 * f + 1] = (float)sin(angle) * SINE * range;
        }
    /* After the layer norm a sinusoid's amplitude is about: */
    double variance = (2.0 * pairs * 0.5 * SINE * SINE + (hidden - 2.0 * pairs) * 2.0) / hidden;
    double squared = SINE * SINE / variance;
    /* pairs * squared * gain^2 / sqrt(width) = PEAK */
    double gain = sqrt(PEAK * sqrt((double)width) / (pairs * squared));
    float *q = at(values, parameters, FM_P_LAYER0 + FM_L_Q_W), *k = at(values, parameters, FM_P_LAYER0 + FM_L_K_W);
    for (uint32_t head = 0; head < config->heads; head++) {
        size_t offsets = sizeof neighbours_of_heads / sizeof *neighbours_of_heads;
        int offset = neighbours_of_heads[head % offsets];
        for (uint32_t f = 0; f < pairs; f++) {
            size_t row = (size_t)head * width + 2 * f, column = 2 * (size_t)f;
            double turn = frequency(f, pairs) * offset;
            k[row * hidden + column] += (float)gain;
            k[(row + 1) * hidden + column + 1] += (float)gain;
            q[row * hidden + column] += (float)(gain * cos(turn));
            q[row * hidden + column + 1] -= (float)(gain * sin(turn));
            q[(row + 1) * hidden + column] += (float)(gain * sin(turn));
            q[(row + 1) * hidden + column + 1] += (float)(gain * cos(turn));
        }
    }
    fm_random random = fm_random_seeded(seed, 0x6e656172u);
    size_t square = (size_t)hidden * hidden;
    fill_normal(at(values, parameters, FM_P_LAYER0 + FM_L_V_W), square, &random, CARRY * range);
    fill_normal(at(values, parameters, FM_P_LAYER0 + FM_L_OUT_W), square, &random, CARRY * range);
}

/* log((count + 1/2) / tokens): the prediction of a model that has seen no context. */
static void initialise_bias(float *bias, uint32_t vocab, const fm_corpus *corpus)
{
    memset(bias, 0, vocab * sizeof *bias);
    for (uint64_t i = 0; i < corpus->tokens; i++) bias[corpus->ids[i] & FM_TOKEN_ID] += 1.0f;
    for (uint32_t i = 0; i < vocab; i++) bias[i] = logf((bias[i] + 0.5f) / (float)corpus->tokens);
}

fm_status fm_initialise(float *values, const fm_config *config, const fm_parameters *parameters, uint32_t seed,
                        bool neighbours, const fm_corpus *corpus, fm_error *err)
{
    if (neighbours && config->hidden / config->heads % 2 != 0)
        return fm_fail(err, FM_E_ARGUMENT,
                       "Heads of %u dimensions cannot start on neighbours; the number must be even.",
                       config->hidden / config->heads);
    initialise_usual(values, config, parameters, seed);
    if (!neighbours) return FM_OK;
    initialise_neighbours(values, config, parameters, seed);
    size_t bias = FM_P_LAYER0 + (size_t)config->layers * FM_P_PER_LAYER + FM_H_BIAS;
    initialise_bias(at(values, parameters, bias), config->vocab_size, corpus);
    return FM_OK;
}
