/* check.c - a short test of a device on the model at hand: its logits for a few tokens, beside those of the cpu. Tests
 * of each operation are in tests/webgpu; this one is for what a driver makes of them on a machine nobody has seen. */
#include <math.h>
#include <stdlib.h>

#include "tasks/tasks.h"

#define TOKENS 21
#define MASKED 3

/* The same as the runner's network was asked, by a network of the cpu with weights in f32. */
static fm_status reference(fm_model *m, const fm_runner *r, float *logits, fm_error *err)
{
    const fm_room room = {r->tokens, r->sequences, r->masked, false};
    const fm_batch batch = {.tokens = r->tokens,
                            .sequences = r->sequences,
                            .masked = r->masked,
                            .ids = r->ids,
                            .starts = r->starts,
                            .rows = r->rows};
    const fm_run_options options = {.run = FM_RUN_LOGITS};
    fm_network *network = NULL;
    fm_status status = fm_weights_floats(&m->weights, &m->parameters, err);
    if (!status)
        status = fm_network_create(&network, &m->config, &m->parameters, m->cpu, &room, m->weights.values, err);
    if (!status) status = fm_network_begin(network, &batch, &options, err);
    while (!status && fm_network_advance(network)) continue;
    if (!status) fm_network_read_logits(network, logits);
    if (!status) status = m->cpu->ops->finish(m->cpu, err);
    fm_network_destroy(network);
    fm_model_drop_floats(m);
    return status;
}

fm_status fm_model_check(fm_model *m, double *difference, fm_error *err)
{
    uint32_t ids[TOKENS], vocab = m->config.vocab_size, count = TOKENS;
    const fm_room need = {TOKENS + 2, 1, MASKED, false};
    fm_runner runner;
    *difference = (double)INFINITY;
    fm_status status = fm_runner_open(&runner, m, FM_RUN_LOGITS, &need, err);
    if (status) return status;
    if (count > fm_runner_longest(&runner)) count = fm_runner_longest(&runner);
    for (uint32_t i = 0; i < count; i++) ids[i] = (uint32_t)(((uint64_t)i * 7919 + 1009) % vocab);
    uint32_t row = fm_runner_add(&runner, ids, count);
    for (uint32_t i = 0; i < MASKED && i < count; i++) fm_runner_ask(&runner, row + i * count / MASKED, 0);
    status = fm_runner_finish(&runner, NULL, NULL, 0, 0, err);
    size_t numbers = (size_t)runner.masked * vocab;
    float *expected = status ? NULL : malloc(numbers * sizeof *expected);
    if (!status && !expected) status = fm_fail_memory(err, numbers * sizeof *expected, "a test of the GPU");
    if (!status) status = reference(m, &runner, expected, err);
    if (!status) {
        double most = 0.0, worst = 0.0;
        for (size_t i = 0; i < numbers; i++) {
            double apart = fabs((double)runner.results[i] - (double)expected[i]);
            worst = isnan(apart) ? (double)INFINITY : fmax(worst, apart);
            most = fmax(most, fabs((double)expected[i]));
        }
        *difference = worst / (1.0 + most);
    }
    free(expected);
    fm_runner_free(&runner);
    return status;
}
