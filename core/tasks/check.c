/* check.c - a short test of a device on a model or its values: the logits for a few tokens, beside those of the cpu.
 * Tests of each operation are in tests/webgpu; this one is for what a driver makes of them on a machine nobody has
 * seen. */
#include <math.h>
#include <stdlib.h>

#include "tasks/tasks.h"

#define TOKENS 21
#define MASKED 3

/* Logits of a batch by a network of these values. */
static fm_status compute(const fm_config *config, const fm_parameters *parameters, const float *const *values,
                         fm_backend *backend, const fm_batch *batch, float *logits, fm_error *err)
{
    const fm_room room = {batch->tokens, batch->sequences, batch->masked, false};
    const fm_run_options options = {.run = FM_RUN_LOGITS};
    fm_network *network;
    fm_status status = fm_network_create(&network, config, parameters, backend, &room, values, err);
    if (!status) status = fm_network_begin(network, batch, &options, err);
    while (!status && fm_network_advance(network)) continue;
    if (!status) fm_network_read_logits(network, logits);
    if (!status) status = backend->ops->finish(backend, err);
    fm_network_destroy(network);
    return status;
}

/* Relative to 1 + the largest expected; infinite if one is no number. */
static double compare(const float *found, const float *expected, size_t count)
{
    double most = 0.0, worst = 0.0;
    for (size_t i = 0; i < count; i++) {
        double apart = fabs((double)found[i] - (double)expected[i]);
        worst = isnan(apart) ? (double)INFINITY : fmax(worst, apart);
        most = fmax(most, fabs((double)expected[i]));
    }
    return worst / (1.0 + most);
}

static fm_status make_room(float **logits, size_t numbers, fm_error *err)
{
    *logits = malloc(numbers * sizeof **logits);
    return *logits ? FM_OK : fm_fail_memory(err, numbers * sizeof **logits, "a test of the GPU");
}

static uint32_t some_id(uint32_t i, uint32_t vocab)
{
    return (uint32_t)(((uint64_t)i * 7919 + 1009) % vocab);
}

fm_status fm_model_check(fm_model *m, double *difference, fm_error *err)
{
    uint32_t ids[TOKENS], vocab = m->config.vocab_size, count = TOKENS;
    const fm_room need = {TOKENS + 2, 1, MASKED, false};
    fm_runner runner;
    float *expected = NULL;
    *difference = (double)INFINITY;
    fm_status status = fm_runner_open(&runner, m, FM_RUN_LOGITS, &need, err);
    if (status) return status;
    if (count > fm_runner_longest(&runner)) count = fm_runner_longest(&runner);
    for (uint32_t i = 0; i < count; i++) ids[i] = some_id(i, vocab);
    uint32_t row = fm_runner_add(&runner, ids, count);
    for (uint32_t i = 0; i < MASKED && i < count; i++) fm_runner_ask(&runner, row + i * count / MASKED, 0);
    status = fm_runner_finish(&runner, NULL, NULL, 0, 0, err);
    size_t numbers = (size_t)runner.masked * vocab;
    const fm_batch batch = {.tokens = runner.tokens,
                            .sequences = runner.sequences,
                            .masked = runner.masked,
                            .ids = runner.ids,
                            .starts = runner.starts,
                            .rows = runner.rows};
    if (!status) status = make_room(&expected, numbers, err);
    if (!status) status = fm_weights_floats(&m->weights, &m->parameters, err);
    if (!status) status = compute(&m->config, &m->parameters, m->weights.values, m->cpu, &batch, expected, err);
    fm_model_drop_floats(m);
    if (!status) *difference = compare(runner.results, expected, numbers);
    free(expected);
    fm_runner_free(&runner);
    return status;
}

fm_status fm_check_device(const fm_config *config, const fm_parameters *parameters, const float *const *values,
                          fm_backend *cpu, fm_backend *device, double *difference, fm_error *err)
{
    uint32_t ids[TOKENS], rows[MASKED], labels[MASKED] = {0}, starts[2] = {0, TOKENS};
    uint32_t vocab = config->vocab_size;
    fm_batch batch = {.tokens = TOKENS, .sequences = 1, .ids = ids, .starts = starts, .rows = rows, .labels = labels};
    float *expected, *found;
    *difference = (double)INFINITY;
    if (batch.tokens > config->positions) batch.tokens = starts[1] = config->positions;
    for (uint32_t i = 0; i < batch.tokens; i++) ids[i] = some_id(i, vocab);
    uint32_t asked = batch.tokens < MASKED ? batch.tokens : MASKED;
    for (; batch.masked < asked; batch.masked++) rows[batch.masked] = batch.masked * batch.tokens / asked;
    size_t numbers = (size_t)batch.masked * vocab;
    fm_status status = make_room(&expected, 2 * numbers, err);
    if (status) return status;
    found = expected + numbers;
    status = compute(config, parameters, values, cpu, &batch, expected, err);
    if (!status) status = compute(config, parameters, values, device, &batch, found, err);
    if (!status) *difference = compare(found, expected, numbers);
    free(expected);
    return status;
}
