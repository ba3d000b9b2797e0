/* test_network.c - DistilBERT forward and backward (core/model/network.c) on the cpu backend, on every instruction set
 * that the machine runs, against what PyTorch computed in double precision (tests/golden/network.safetensors, written
 * by tests/differential/network_golden.py). The kernels have their own test. Run from the root of the repository.
 *
 * With FILLMASK_GOLDEN=FILE in the environment only the comparison with PyTorch is made, with that file of the same
 * kind, and only on the best instruction set; tests/differential/network_full.py makes use of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

#define GOLDEN "tests/golden/network.safetensors"

/* A model's values and a batch for it. */
typedef struct fixture {
    fm_config config;
    fm_parameters parameters;
    const float **values;
    float *made; /* what the values point into, unless that is the golden file */
    uint32_t *ids, *starts, *rows, *labels;
    fm_batch batch;
} fixture;

static fixture golden;
static fm_safetensors *golden_file;
static bool golden_alone;     /* FILLMASK_GOLDEN is set */
static uint32_t golden_steps; /* of AdamW */
static float golden_largest;  /* absolute value of a gradient */

static const float *stored(const char *prefix, const char *name, size_t elements)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const fm_stored_tensor *tensor = fm_safetensors_find(golden_file, full);
    if (!tensor || tensor->type != FM_STORED_F32 || (uintptr_t)tensor->data % sizeof(float) != 0 ||
        (elements > 0 && tensor->size != elements * sizeof(float))) {
        fprintf(stderr, "The golden file lacks %s.\n", full);
        return NULL;
    }
    return (const float *)(const void *)tensor->data;
}

/* Numbers that the file holds as F32. */
static uint32_t *stored_integers(const char *name, uint32_t *count)
{
    const float *from = stored("", name, 0);
    if (!from) return NULL;
    *count = (uint32_t)(fm_safetensors_find(golden_file, name)->size / sizeof(float));
    uint32_t *to = malloc(*count * sizeof *to);
    for (uint32_t i = 0; to && i < *count; i++) to[i] = (uint32_t)from[i];
    return to;
}

static size_t size_of(const fm_parameter *p)
{
    return (size_t)p->rows * p->cols;
}

static void free_fixture(fixture *f)
{
    fm_parameters_free(&f->parameters);
    free(f->values);
    free(f->made);
    free(f->ids);
    free(f->starts);
    free(f->rows);
    free(f->labels);
}

static int open_golden(void **state)
{
    (void)state;
    fm_error err;
    const char *path = getenv("FILLMASK_GOLDEN");
    golden_alone = path != NULL;
    if (!path) path = GOLDEN;
    fm_status status = fm_safetensors_open(&golden_file, path, &err);
    if (!status) {
        const char *config = fm_safetensors_metadata(golden_file, "config");
        status = config ? fm_config_parse(&golden.config, config, strlen(config), path, &err)
                        : fm_fail(&err, FM_E_FORMAT, "%s has no config among its metadata.", path);
    }
    if (!status) status = fm_parameters_make(&golden.parameters, &golden.config, &err);
    if (status) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    golden.values = calloc(golden.parameters.count, sizeof *golden.values);
    fm_batch *batch = &golden.batch;
    uint32_t starts, labels;
    batch->ids = golden.ids = stored_integers("ids", &batch->tokens);
    batch->starts = golden.starts = stored_integers("starts", &starts);
    batch->rows = golden.rows = stored_integers("rows", &batch->masked);
    batch->labels = golden.labels = stored_integers("labels", &labels);
    if (!golden.values || !batch->ids || !batch->starts || !batch->rows || !batch->labels) return 1;
    batch->sequences = starts - 1;
    for (size_t i = 0; i < golden.parameters.count; i++) {
        const fm_parameter *p = &golden.parameters.list[i];
        golden.values[i] = stored("", p->name, size_of(p));
        const float *gradient = stored("grad.", p->name, size_of(p));
        if (!golden.values[i] || !gradient || !stored("after.", p->name, size_of(p))) return 1;
        for (size_t j = 0; j < size_of(p); j++) golden_largest = fmaxf(golden_largest, fabsf(gradient[j]));
    }
    const fm_stored_tensor *losses = fm_safetensors_find(golden_file, "losses");
    golden_steps = losses ? (uint32_t)(losses->size / sizeof(float)) : 0;
    return labels != batch->masked || !stored("", "logits", (size_t)labels * golden.config.vocab_size) ||
           !stored("", "loss", 1) || !stored("", "losses", 0) || !stored("", "learning_rates", golden_steps);
}

static int close_golden(void **state)
{
    (void)state;
    fm_safetensors_close(golden_file);
    free_fixture(&golden);
    golden = (fixture){0};
    golden_file = NULL;
    return 0;
}

/* ---- other models ---- */

/* A model of random values and a batch of one sequence a length, of which every second token is masked. */
static fixture random_fixture(fm_config config, const uint32_t *lengths, uint32_t sequences)
{
    fixture f = {.config = config};
    fm_random random = fm_random_seeded(7, 0);
    assert_int_equal(fm_parameters_make(&f.parameters, &config, NULL), FM_OK);
    f.values = calloc(f.parameters.count, sizeof *f.values);
    f.made = calloc(f.parameters.elements, sizeof *f.made);
    f.starts = calloc(sequences + 1, sizeof *f.starts);
    assert_true(f.values && f.made && f.starts);
    for (size_t i = 0; i < f.parameters.count; i++) {
        const fm_parameter *p = &f.parameters.list[i];
        bool gamma = p->vector && strstr(p->name, "orm.weight");
        f.values[i] = f.made + p->offset;
        for (size_t j = 0; j < size_of(p); j++)
            f.made[p->offset + j] = (gamma ? 1.0f : 0.0f) + 0.2f * fm_random_normal(&random);
    }
    for (uint32_t i = 0; i < sequences; i++) f.starts[i + 1] = f.starts[i] + lengths[i];
    uint32_t tokens = f.starts[sequences], masked = (tokens + 1) / 2;
    f.ids = calloc(tokens, sizeof *f.ids);
    f.rows = calloc(masked, sizeof *f.rows);
    f.labels = calloc(masked, sizeof *f.labels);
    assert_true(f.ids && f.rows && f.labels);
    for (uint32_t i = 0; i < tokens; i++) f.ids[i] = fm_random_below(&random, config.vocab_size);
    for (uint32_t i = 0; i < masked; i++) {
        f.rows[i] = 2 * i;
        f.labels[i] = fm_random_below(&random, config.vocab_size);
    }
    f.batch = (fm_batch){tokens, sequences, masked, 0, f.ids, f.starts, f.rows, f.labels};
    return f;
}

/* Large enough that products, layer norms and the loss are cut into several tasks. */
static fixture wide_fixture(void)
{
    static const uint32_t lengths[] = {97, 100, 3, 64, 65, 31};
    fm_config config = {.vocab_size = 700,
                        .hidden = 80,
                        .layers = 2,
                        .heads = 4,
                        .feed_forward = 300,
                        .positions = 100,
                        .dropout = 0.1f,
                        .attention_dropout = 0.1f,
                        .initializer_range = 0.02f};
    return random_fixture(config, lengths, 6);
}

/* ---- a network on a backend ---- */

typedef struct rig {
    const fixture *of;
    fm_backend *backend;
    fm_network *network;
} rig;

static rig open_rig(const fixture *of, const char *set, int threads, bool training)
{
    rig r = {.of = of};
    fm_error err;
    fm_room room = {of->batch.tokens + 3, of->batch.sequences + 1, of->batch.masked + 2, training};
    if (fm_cpu_create(&r.backend, set, threads, &err) ||
        fm_network_create(&r.network, &of->config, &of->parameters, r.backend, &room, of->values, &err))
        fail_msg("%s", err.text);
    return r;
}

static void close_rig(rig r)
{
    fm_network_destroy(r.network);
    r.backend->ops->destroy(r.backend);
}

static void finish(rig r)
{
    fm_error err;
    if (r.backend->ops->finish(r.backend, &err)) fail_msg("%s", err.text);
}

/* Makes a whole run and returns the summed loss of the masked rows (0 for FM_RUN_LOGITS). */
static double run(rig r, const fm_batch *batch, const fm_run_options *options)
{
    fm_error err;
    if (fm_network_begin(r.network, batch, options, &err)) fail_msg("%s", err.text);
    size_t stages = 1;
    while (fm_network_advance(r.network)) stages++;
    assert_int_equal(stages, (r.of->config.layers + 2) * (options->run == FM_RUN_TRAIN ? 2 : 1));
    assert_false(fm_network_advance(r.network));
    double sum = 0.0;
    if (options->run == FM_RUN_LOGITS) return sum;
    float *losses = calloc(batch->masked, 2 * sizeof *losses);
    assert_non_null(losses);
    fm_network_read_losses(r.network, losses);
    finish(r);
    for (uint32_t i = 0; i < batch->masked; i++) sum += losses[2 * i];
    free(losses);
    return sum;
}

/* Options of a training run over the whole batch or a part of it. */
static fm_run_options training_of(const fixture *of)
{
    return (fm_run_options){.run = FM_RUN_TRAIN, .scale = 1.0f / (float)of->batch.masked};
}

static fm_run_options dropping_of(const fixture *of)
{
    fm_run_options options = training_of(of);
    options.dropout = true;
    options.seed = 11;
    options.step = 5;
    return options;
}

/* Sequences [from, to) of a batch as one of its own. `starts` has room for to - from + 1. */
static fm_batch part_of(const fm_batch *whole, uint32_t from, uint32_t to, uint32_t *starts, uint32_t *rows)
{
    uint32_t start = whole->starts[from], end = whole->starts[to], first = 0;
    fm_batch part = {end - start, to - from, 0, whole->first + from, whole->ids + start, starts, rows, NULL};
    for (uint32_t i = from; i <= to; i++) starts[i - from] = whole->starts[i] - start;
    while (whole->rows[first] < start) first++;
    part.labels = whole->labels + first;
    for (uint32_t i = first; i < whole->masked && whole->rows[i] < end; i++)
        rows[part.masked++] = whole->rows[i] - start;
    return part;
}

/* Runs the batch in parts that end before the given sequences; returns the summed loss. */
static double run_parts(rig r, const uint32_t *ends, size_t count, const fm_run_options *options)
{
    double sum = 0.0;
    const fm_batch *whole = &r.of->batch;
    uint32_t *starts = calloc(whole->sequences + 1, sizeof *starts), *rows = calloc(whole->masked, sizeof *rows);
    assert_true(starts && rows);
    for (size_t i = 0; i < count; i++) {
        fm_batch part = part_of(whole, i == 0 ? 0 : ends[i - 1], ends[i], starts, rows);
        sum += run(r, &part, options);
    }
    free(starts);
    free(rows);
    return sum;
}

/* A state of the network: fm_parameters.elements floats, to free. */
static float *state_of(rig r, fm_state state)
{
    float *values = calloc(r.of->parameters.elements, sizeof *values);
    assert_non_null(values);
    fm_network_read_state(r.network, state, values);
    finish(r);
    return values;
}

/* Calls `check` for every instruction set of this machine, with 1 and 3 threads. */
static void everywhere(void (*check)(const char *set, int threads))
{
    if (golden_alone) {
        check("auto", 0);
        return;
    }
    for (const char *const *set = fm_cpu_instruction_sets(); *set; set++)
        for (int threads = 1; threads <= 3 && fm_cpu_has(*set); threads += 2) check(*set, threads);
}

/* ---- against PyTorch ---- */

#define LOGITS_WITHIN 1e-5    /* of the largest logit */
#define LOSS_WITHIN 1e-5      /* nats */
#define GRADIENTS_WITHIN 1e-5 /* of the model's largest gradient */
#define STEP_WITHIN 1e-2      /* of the learning rate: what an AdamW step may be off */

/* The softmax cancels a key bias: its gradient is zero but for rounding. */
static bool is_zero_by_nature(const fm_parameter *p)
{
    return strstr(p->name, "k_lin.bias") != NULL;
}

static void check_gradients(const float *gradients, const char *set, int threads)
{
    double worst = 0.0, worst_own = 0.0;
    const char *worst_name = "";
    for (size_t i = 0; i < golden.parameters.count; i++) {
        const fm_parameter *p = &golden.parameters.list[i];
        const float *expected = stored("grad.", p->name, size_of(p));
        double largest = 0.0, difference = 0.0; /* of this parameter */
        for (size_t j = 0; j < size_of(p); j++) {
            double error = fabs((double)gradients[p->offset + j] - expected[j]);
            if (!(error <= GRADIENTS_WITHIN * golden_largest))
                fail_msg("%s, %d threads: gradient %zu of %s is %.9g, PyTorch's %.9g", set, threads, j, p->name,
                         gradients[p->offset + j], expected[j]);
            difference = fmax(difference, error);
            largest = fmax(largest, fabsf(expected[j]));
        }
        worst = fmax(worst, difference / golden_largest);
        if (!is_zero_by_nature(p) && difference / largest > worst_own) {
            worst_own = difference / largest;
            worst_name = p->name;
        }
    }
    print_message("%s, %d threads: gradients within %.1e of the largest, within %.1e of the parameter's own (%s)\n",
                  set, threads, worst, worst_own, worst_name);
}

static void check_logits(const char *set, int threads)
{
    const float *expected = stored("", "logits", 0);
    size_t count = (size_t)golden.batch.masked * golden.config.vocab_size;
    float *logits = calloc(count, sizeof *logits), scale = 0.0f, worst = 0.0f;
    double loss_off = 0.0;
    assert_non_null(logits);
    for (size_t i = 0; i < count; i++) scale = fmaxf(scale, fabsf(expected[i]));
    for (int trains = 0; trains < 2; trains++) {
        rig r = open_rig(&golden, set, threads, trains);
        fm_batch batch = golden.batch;
        batch.labels = NULL;
        fm_run_options options = {.run = FM_RUN_LOGITS};
        for (int twice = 0; twice < 2; twice++) { /* the second time with packed weights */
            run(r, &batch, &options);
            memset(logits, 0, count * sizeof *logits);
            fm_network_read_logits(r.network, logits);
            finish(r);
            for (size_t i = 0; i < count; i++)
                if (!(fabsf(logits[i] - expected[i]) <= LOGITS_WITHIN * scale))
                    fail_msg("%s, %d threads: logit %zu is %.9g, PyTorch's %.9g", set, threads, i, logits[i],
                             expected[i]);
                else worst = fmaxf(worst, fabsf(logits[i] - expected[i]) / scale);
        }
        options.run = FM_RUN_LOSS;
        double loss = run(r, &golden.batch, &options) / golden.batch.masked;
        assert_true(fabs(loss - *stored("", "loss", 1)) <= LOSS_WITHIN);
        loss_off = fmax(loss_off, fabs(loss - *stored("", "loss", 1)));
        close_rig(r);
    }
    print_message("%s, %d threads: logits within %.1e of the largest, loss within %.1e nats\n", set, threads,
                  (double)worst, loss_off);
    free(logits);
}

static void logits_are_pytorchs(void **state)
{
    (void)state;
    everywhere(check_logits);
}

static void check_whole_and_parts(const char *set, int threads)
{
    static const uint32_t ends[][3] = {{5}, {2, 5}, {1, 2, 5}};
    for (size_t count = 1; count <= 3; count++) {
        rig r = open_rig(&golden, set, threads, true);
        fm_run_options options = training_of(&golden);
        double loss = run_parts(r, ends[count - 1], count, &options) / golden.batch.masked;
        assert_true(fabs(loss - *stored("", "loss", 1)) <= LOSS_WITHIN);
        float *gradients = state_of(r, FM_STATE_GRADIENTS);
        check_gradients(gradients, set, threads);
        free(gradients);
        close_rig(r);
    }
}

static void gradients_are_pytorchs(void **state)
{
    (void)state;
    everywhere(check_whole_and_parts);
}

static void check_steps(const char *set, int threads)
{
    const float *rates = stored("", "learning_rates", 0), *losses = stored("", "losses", 0);
    rig r = open_rig(&golden, set, threads, true);
    fm_run_options options = training_of(&golden);
    double sum_of_rates = 0.0, worst = 0.0;
    for (uint32_t step = 0; step < golden_steps; step++) {
        fm_network_zero_gradients(r.network);
        double loss = run(r, &golden.batch, &options) / golden.batch.masked;
        if (!(fabs(loss - losses[step]) <= LOSS_WITHIN))
            fail_msg("%s, %d threads: loss %u is %.9g, PyTorch's %.9g", set, threads, step, loss, losses[step]);
        fm_adamw adamw = {rates[step], 0.9f, 0.999f, 1e-8f, 0.01f, 1.0f, step + 1, 0.0f};
        fm_network_update(r.network, &adamw);
        sum_of_rates += rates[step];
    }
    float *values = state_of(r, FM_STATE_VALUES);
    const float *off = stored("", "steps_off", 2); /* PyTorch's own, in single precision */
    size_t apart = 0;
    for (size_t i = 0; i < golden.parameters.count; i++) {
        const fm_parameter *p = &golden.parameters.list[i];
        const float *expected = stored("after.", p->name, size_of(p));
        double within = (is_zero_by_nature(p) ? 1.0 : STEP_WITHIN) * sum_of_rates;
        double most = fmax(within, 2.0 * (double)off[0] * sum_of_rates);
        for (size_t j = 0; j < size_of(p); j++) {
            double error = fabs((double)values[p->offset + j] - expected[j]);
            apart += error > within;
            if (!(error <= most))
                fail_msg("%s, %d threads: after %u steps value %zu of %s is %.9g, PyTorch's %.9g", set, threads,
                         golden_steps, j, p->name, values[p->offset + j], expected[j]);
            if (within < sum_of_rates) worst = fmax(worst, error / sum_of_rates);
        }
    }
    if ((double)apart > (double)off[1])
        fail_msg("%s, %d threads: %zu values are apart, %.0f of PyTorch's", set, threads, apart, (double)off[1]);
    print_message("%s, %d threads: %u steps within %.1e of the learning rates, %zu values beyond %.0e\n", set, threads,
                  golden_steps, worst, apart, STEP_WITHIN);
    free(values);
    close_rig(r);
}

static void steps_are_pytorchs(void **state)
{
    (void)state;
    everywhere(check_steps);
}

/* ---- threads and instruction sets ---- */

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    fixture wide = wide_fixture();
    size_t bytes = wide.parameters.elements * sizeof(float);
    fm_run_options options = dropping_of(&wide);
    fm_adamw adamw = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 1.0f, 1, 0.0f};
    for (const char *const *set = fm_cpu_instruction_sets(); *set; set++) {
        float *first[4] = {NULL};
        double first_loss = 0.0;
        for (int threads = 1; threads <= 3 && fm_cpu_has(*set); threads++) {
            rig r = open_rig(&wide, *set, threads, true);
            double loss = run(r, &wide.batch, &options);
            fm_network_update(r.network, &adamw);
            for (int i = 0; i < 4; i++) {
                float *values = state_of(r, (fm_state)i);
                if (threads == 1) {
                    first[i] = values;
                    continue;
                }
                assert_memory_equal(values, first[i], bytes);
                free(values);
            }
            if (threads == 1) first_loss = loss;
            assert_true(loss == first_loss);
            close_rig(r);
        }
        for (int i = 0; i < 4; i++) free(first[i]);
    }
    free_fixture(&wide);
}

static void instruction_sets_agree(void **state)
{
    (void)state;
    fixture wide = wide_fixture();
    fm_run_options options = dropping_of(&wide);
    rig reference = open_rig(&wide, "scalar", 2, true);
    double loss = run(reference, &wide.batch, &options) / wide.batch.masked;
    float *expected = state_of(reference, FM_STATE_GRADIENTS), largest = 0.0f;
    for (size_t i = 0; i < wide.parameters.elements; i++) largest = fmaxf(largest, fabsf(expected[i]));
    for (const char *const *set = fm_cpu_instruction_sets(); *set; set++) {
        if (!fm_cpu_has(*set)) continue;
        rig r = open_rig(&wide, *set, 2, true);
        assert_true(fabs(run(r, &wide.batch, &options) / wide.batch.masked - loss) <= LOSS_WITHIN);
        float *gradients = state_of(r, FM_STATE_GRADIENTS);
        for (size_t i = 0; i < wide.parameters.elements; i++)
            assert_true(fabsf(gradients[i] - expected[i]) <= GRADIENTS_WITHIN * largest);
        free(gradients);
        close_rig(r);
    }
    free(expected);
    close_rig(reference);
    free_fixture(&wide);
}

/* In inference the layers share their tensors; with one layer or several, and whichever rows are masked. */
static void inference_is_the_forward_pass_of_training(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {12, 1, 30};
    for (uint32_t layers = 1; layers <= 3; layers++) {
        fm_config config = {.vocab_size = 50,
                            .hidden = 36,
                            .layers = layers,
                            .heads = 4,
                            .feed_forward = 70,
                            .positions = 30,
                            .initializer_range = 0.02f};
        fixture f = random_fixture(config, lengths, 3);
        size_t count = (size_t)f.batch.masked * config.vocab_size;
        float *logits[2];
        for (int trains = 0; trains < 2; trains++) {
            rig r = open_rig(&f, NULL, 2, trains);
            logits[trains] = calloc(count, sizeof(float));
            assert_non_null(logits[trains]);
            run(r, &f.batch, &(fm_run_options){.run = FM_RUN_LOGITS});
            fm_network_read_logits(r.network, logits[trains]);
            finish(r);
            close_rig(r);
        }
        for (size_t i = 0; i < count; i++) assert_true(fabsf(logits[0][i] - logits[1][i]) <= 1e-5f);
        free(logits[0]);
        free(logits[1]);
        free_fixture(&f);
    }
}

/* ---- dropout ---- */

static fixture dropping_golden(void)
{
    fixture f = golden;
    f.config.dropout = 0.1f;
    f.config.attention_dropout = 0.2f;
    return f;
}

/* The mean loss after moving one parameter by `far` along a direction. */
static double loss_at(rig r, const fm_parameter *p, const float *direction, double far, const fm_run_options *options)
{
    float *values = calloc(r.of->parameters.elements, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < r.of->parameters.count; i++)
        memcpy(values + r.of->parameters.list[i].offset, r.of->values[i],
               size_of(&r.of->parameters.list[i]) * sizeof *values);
    for (size_t i = 0; i < size_of(p); i++) values[p->offset + i] += (float)(far * direction[i]);
    fm_network_write_state(r.network, FM_STATE_VALUES, values);
    free(values);
    return run(r, &r.of->batch, options) * options->scale;
}

/* The derivative along a direction of length 1, by central differences of fourth order. Losses of about 5 nats are
 * known to some 5e-7, so the result is to some 3e-5. */
static double difference(rig r, const fm_parameter *p, const float *direction, const fm_run_options *options)
{
    const double far = 0.02;
    return (8.0 * (loss_at(r, p, direction, far, options) - loss_at(r, p, direction, -far, options)) -
            (loss_at(r, p, direction, 2 * far, options) - loss_at(r, p, direction, -2 * far, options))) /
           (12.0 * far);
}

/* Gradients of every parameter against differences: along the gradient itself, along a random direction, and for the
 * coordinate of the largest gradient. */
static void check_differences(const fixture *f, const char *set)
{
    rig r = open_rig(f, set, 2, true);
    fm_run_options options = dropping_of(f);
    run(r, &f->batch, &options);
    float *gradients = state_of(r, FM_STATE_GRADIENTS);
    fm_random random = fm_random_seeded(3, 3);
    for (size_t i = 0; i < f->parameters.count; i++) {
        const fm_parameter *p = &f->parameters.list[i];
        const float *gradient = gradients + p->offset;
        float *direction = calloc(size_of(p), sizeof *direction);
        assert_non_null(direction);
        for (int kind = 0; kind < 3; kind++) {
            size_t largest = 0;
            double squares = 0.0, expected = 0.0;
            for (size_t j = 0; j < size_of(p); j++) {
                direction[j] = kind == 0 ? gradient[j] : kind == 1 ? fm_random_normal(&random) : 0.0f;
                if (fabsf(gradient[j]) > fabsf(gradient[largest])) largest = j;
            }
            if (kind == 2) direction[largest] = 1.0f;
            for (size_t j = 0; j < size_of(p); j++) squares += (double)direction[j] * direction[j];
            for (size_t j = 0; j < size_of(p); j++) {
                direction[j] = squares > 0.0 ? (float)(direction[j] / sqrt(squares)) : 0.0f;
                expected += (double)direction[j] * gradient[j];
            }
            double found = difference(r, p, direction, &options);
            if (!(fabs(found - expected) <= 1e-4 + 1e-3 * fabs(expected)))
                fail_msg("%s: along direction %d of %s the loss changes by %.7f, the gradient says %.7f", set, kind,
                         p->name, found, expected);
        }
        free(direction);
    }
    free(gradients);
    close_rig(r);
}

static void gradients_with_dropout_are_differences(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {7, 11};
    fm_config one_layer = {.vocab_size = 40,
                           .hidden = 20,
                           .layers = 1,
                           .heads = 2,
                           .feed_forward = 30,
                           .positions = 12,
                           .dropout = 0.2f,
                           .attention_dropout = 0.1f,
                           .initializer_range = 0.02f};
    fixture small = random_fixture(one_layer, lengths, 2), large = dropping_golden();
    for (const char *const *set = fm_cpu_instruction_sets(); *set; set++) {
        if (!fm_cpu_has(*set)) continue;
        check_differences(&large, *set);
        check_differences(&small, *set);
    }
    free_fixture(&small);
}

static void dropout_does_not_depend_on_packing(void **state)
{
    (void)state;
    static const uint32_t whole[] = {5}, parts[] = {1, 3, 5};
    fixture f = dropping_golden();
    fm_run_options options = dropping_of(&f);
    rig one = open_rig(&f, NULL, 2, true), other = open_rig(&f, NULL, 1, true);
    double loss = run_parts(one, whole, 1, &options), again = run_parts(other, parts, 3, &options);
    assert_true(fabs(loss - again) / f.batch.masked <= LOSS_WITHIN);
    float *gradients = state_of(one, FM_STATE_GRADIENTS), *summed = state_of(other, FM_STATE_GRADIENTS);
    for (size_t i = 0; i < f.parameters.elements; i++)
        assert_true(fabsf(gradients[i] - summed[i]) <= 1e-6f * golden_largest);
    free(gradients);
    free(summed);
    close_rig(one);
    close_rig(other);
}

static void dropout_depends_on_seed_step_and_sequence(void **state)
{
    (void)state;
    fixture f = dropping_golden();
    rig r = open_rig(&f, NULL, 2, true);
    fm_run_options options = dropping_of(&f), other = options;
    fm_batch batch = f.batch;
    double loss = run(r, &batch, &options);
    assert_true(run(r, &batch, &options) == loss);
    other.step++;
    double next_step = run(r, &batch, &other);
    other = options;
    other.seed++;
    double next_seed = run(r, &batch, &other);
    batch.first++;
    double next_sequence = run(r, &batch, &options);
    assert_true(next_step != loss && next_seed != loss && next_sequence != loss && next_step != next_seed &&
                next_step != next_sequence && next_seed != next_sequence);
    /* None without asking for it, and none but in training. */
    other = training_of(&f);
    assert_true(fabs(run(r, &f.batch, &other) / f.batch.masked - *stored("", "loss", 1)) <= LOSS_WITHIN);
    other = options;
    other.run = FM_RUN_LOSS;
    assert_true(fabs(run(r, &f.batch, &other) / f.batch.masked - *stored("", "loss", 1)) <= LOSS_WITHIN);
    close_rig(r);
}

/* ---- what goes wrong ---- */

static void refuse(rig r, fm_batch batch, fm_run kind, fm_status status, const char *words)
{
    fm_error err = {0};
    fm_run_options options = {.run = kind, .scale = 1.0f};
    assert_int_equal(fm_network_begin(r.network, &batch, &options, &err), status);
    if (!strstr(err.text, words) || err.text[strlen(err.text) - 1] != '.')
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    assert_false(fm_network_advance(r.network));
}

/* `batch` with one number of one of its arrays changed is refused; the array is as before afterwards. */
static void refuse_number(rig r, uint32_t *at, uint32_t wrong, fm_status status, const char *words)
{
    uint32_t right = *at;
    *at = wrong;
    refuse(r, golden.batch, FM_RUN_TRAIN, status, words);
    *at = right;
}

static void wrong_batches_are_refused(void **state)
{
    (void)state;
    rig r = open_rig(&golden, NULL, 1, true), inference = open_rig(&golden, NULL, 1, false);
    fm_batch good = golden.batch, wrong = good;
    wrong.tokens = 0;
    refuse(r, wrong, FM_RUN_LOSS, FM_E_ARGUMENT, "is empty");
    wrong = good, wrong.sequences = 0;
    refuse(r, wrong, FM_RUN_LOSS, FM_E_ARGUMENT, "is empty");
    wrong = good, wrong.masked = 0;
    refuse(r, wrong, FM_RUN_LOGITS, FM_E_ARGUMENT, "is empty");
    wrong = good, wrong.tokens += 4;
    refuse(r, wrong, FM_RUN_LOSS, FM_E_LIMIT, "larger than the network's room");
    wrong = good, wrong.sequences += 2;
    refuse(r, wrong, FM_RUN_LOSS, FM_E_LIMIT, "larger than the network's room");
    wrong = good, wrong.masked += 3;
    refuse(r, wrong, FM_RUN_LOSS, FM_E_LIMIT, "larger than the network's room");
    wrong = good, wrong.labels = NULL;
    refuse(r, wrong, FM_RUN_LOSS, FM_E_ARGUMENT, "without labels has no loss");
    refuse(r, wrong, FM_RUN_TRAIN, FM_E_ARGUMENT, "without labels has no loss");
    wrong = good, wrong.tokens--;
    refuse(r, wrong, FM_RUN_LOSS, FM_E_ARGUMENT, "do not cover its 42 tokens");
    refuse(inference, good, FM_RUN_TRAIN, FM_E_ARGUMENT, "without room for training");

    refuse_number(r, &golden.starts[0], 1, FM_E_ARGUMENT, "do not cover");
    refuse_number(r, &golden.starts[5], 42, FM_E_ARGUMENT, "do not cover");
    refuse_number(r, &golden.starts[2], golden.starts[1], FM_E_ARGUMENT, "Sequence 1 of a batch goes from token 16 to");
    refuse_number(r, &golden.starts[2], 3, FM_E_ARGUMENT, "Sequence 1 of a batch goes from token 16 to 3");
    refuse_number(r, &golden.starts[2], UINT32_MAX, FM_E_ARGUMENT, "Sequence 1 of a batch goes from token 16 to");
    refuse_number(r, &golden.starts[1], 17, FM_E_LIMIT, "17 tokens is longer than the model's 16 positions");
    refuse_number(r, &golden.ids[42], 61, FM_E_ARGUMENT, "Token id 61 is not below the vocabulary size of 61");
    refuse_number(r, &golden.rows[golden.batch.masked - 1], 43, FM_E_ARGUMENT, "is 43; rows rise and are below 43");
    refuse_number(r, &golden.rows[1], golden.rows[0], FM_E_ARGUMENT, "rows rise");
    refuse_number(r, &golden.rows[0], golden.rows[1] + 1, FM_E_ARGUMENT, "rows rise");
    refuse_number(r, &golden.labels[0], 61, FM_E_ARGUMENT, "Label 61 is not below the vocabulary size of 61");

    /* A refusal leaves the network as it was. */
    fm_run_options options = training_of(&golden);
    double loss = run(r, &good, &options) / good.masked;
    assert_true(fabs(loss - *stored("", "loss", 1)) <= LOSS_WITHIN);
    close_rig(r);
    close_rig(inference);
}

static void wrong_rooms_are_refused(void **state)
{
    (void)state;
    static const struct {
        fm_room room;
        fm_status status;
        const char *words;
    } cases[] = {{{0, 1, 1, true}, FM_E_ARGUMENT, "tokens in a batch, not for 0."},
                 {{9, 0, 1, true}, FM_E_ARGUMENT, "sequences in a batch, not for 0."},
                 {{9, 1, 0, false}, FM_E_ARGUMENT, "masked rows in a batch, not for 0."},
                 {{UINT32_MAX, 1, 1, true}, FM_E_LIMIT, "tokens in a batch, not for 4294967295."},
                 {{9, UINT32_MAX, 1, false}, FM_E_LIMIT, "sequences in a batch, not for 4294967295."},
                 {{9, 1, 1u << 25, true}, FM_E_LIMIT, "masked rows in a batch, not for 33554432."}};
    fm_backend *b;
    assert_int_equal(fm_cpu_create(&b, NULL, 1, NULL), FM_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fm_error err;
        fm_network *network;
        assert_int_equal(
            fm_network_create(&network, &golden.config, &golden.parameters, b, &cases[i].room, golden.values, &err),
            cases[i].status);
        assert_null(network);
        assert_non_null(strstr(err.text, cases[i].words));
    }
    b->ops->destroy(b);
}

/* A backend whose memory ends after so many buffers. */
static fm_ops short_ops;
static fm_status (*whole_create)(fm_backend *b, size_t elements, uint32_t *buffer, fm_error *err);
static fm_status (*whole_import)(fm_backend *b, const float *data, size_t elements, uint32_t *buffer, fm_error *err);
static void (*whole_release)(fm_backend *b, uint32_t buffer);
static int buffers_left, buffers_live;

static fm_status short_create(fm_backend *b, size_t elements, uint32_t *buffer, fm_error *err)
{
    if (buffers_left-- == 0) return fm_fail_memory(err, elements, "a test");
    buffers_live++;
    return whole_create(b, elements, buffer, err);
}

static fm_status short_import(fm_backend *b, const float *data, size_t elements, uint32_t *buffer, fm_error *err)
{
    if (buffers_left-- == 0) return fm_fail_memory(err, elements, "a test");
    buffers_live++;
    return whole_import(b, data, elements, buffer, err);
}

static void counted_release(fm_backend *b, uint32_t buffer)
{
    buffers_live--;
    whole_release(b, buffer);
}

static void creation_survives_lack_of_memory(void **state)
{
    (void)state;
    fm_backend *b;
    assert_int_equal(fm_cpu_create(&b, NULL, 1, NULL), FM_OK);
    short_ops = *b->ops;
    whole_create = b->ops->create;
    whole_import = b->ops->import;
    whole_release = b->ops->release;
    short_ops.create = short_create;
    short_ops.import = short_import;
    short_ops.release = counted_release;
    b->ops = &short_ops;
    for (int trains = 0; trains < 2; trains++) {
        const fm_room room = {9, 2, 3, trains};
        fm_status status = FM_E_MEMORY;
        int room_for = 0;
        for (; status == FM_E_MEMORY; room_for++) {
            fm_network *network;
            buffers_left = room_for;
            status = fm_network_create(&network, &golden.config, &golden.parameters, b, &room, golden.values, NULL);
            if (status) assert_null(network);
            fm_network_destroy(network);
            assert_int_equal(buffers_live, 0);
        }
        assert_int_equal(status, FM_OK);
        assert_true(room_for > 20);
    }
    b->ops->destroy(b);
}

static void an_unfinished_run_is_given_up(void **state)
{
    (void)state;
    rig r = open_rig(&golden, NULL, 2, true);
    fm_run_options options = training_of(&golden);
    assert_int_equal(fm_network_begin(r.network, &golden.batch, &options, NULL), FM_OK);
    for (uint32_t i = 0; i < golden.config.layers + 2; i++) assert_true(fm_network_advance(r.network));
    run(r, &golden.batch, &options);
    float *gradients = state_of(r, FM_STATE_GRADIENTS);
    check_gradients(gradients, fm_cpu_instruction_set(r.backend), 2);
    free(gradients);
    close_rig(r);
}

static void a_bad_gradient_changes_nothing(void **state)
{
    (void)state;
    /* The last is finite, but its square is not. */
    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e25f};
    size_t elements = golden.parameters.elements;
    fm_adamw adamw = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 1.0f, 1, 0.0f};
    rig r = open_rig(&golden, NULL, 2, true);
    fm_run_options options = training_of(&golden);
    run(r, &golden.batch, &options);
    fm_network_update(r.network, &adamw); /* so that the moments are not zero */
    float *before[4], *gradients = state_of(r, FM_STATE_GRADIENTS), squares;
    for (int i = 0; i < 4; i++) before[i] = state_of(r, (fm_state)i);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        float good = gradients[i * elements / 5];
        gradients[i * elements / 5] = bad[i];
        fm_network_write_state(r.network, FM_STATE_GRADIENTS, gradients);
        adamw.step = 2;
        adamw.clip = i % 2 ? 0.0f : 1.0f;
        fm_network_update(r.network, &adamw);
        fm_network_read_squares(r.network, &squares);
        finish(r);
        assert_false(isfinite(squares));
        gradients[i * elements / 5] = good;
        for (int j = 0; j < 4; j++) {
            if (j == FM_STATE_GRADIENTS) continue;
            float *after = state_of(r, (fm_state)j);
            assert_memory_equal(after, before[j], elements * sizeof(float));
            free(after);
        }
    }
    fm_network_write_state(r.network, FM_STATE_GRADIENTS, gradients);
    fm_network_update(r.network, &adamw);
    fm_network_read_squares(r.network, &squares);
    double sum = 0.0;
    for (size_t i = 0; i < elements; i++) sum += (double)gradients[i] * gradients[i];
    float *after = state_of(r, FM_STATE_VALUES);
    assert_true(fabs(squares - sum) <= 1e-6 * sum);
    assert_memory_not_equal(after, before[FM_STATE_VALUES], elements * sizeof(float));
    free(after);
    free(gradients);
    for (int i = 0; i < 4; i++) free(before[i]);
    close_rig(r);
}

int main(void)
{
    const struct CMUnitTest against_pytorch[] = {
        cmocka_unit_test(logits_are_pytorchs),
        cmocka_unit_test(gradients_are_pytorchs),
        cmocka_unit_test(steps_are_pytorchs),
    };
    const struct CMUnitTest others[] = {
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(instruction_sets_agree),
        cmocka_unit_test(inference_is_the_forward_pass_of_training),
        cmocka_unit_test(gradients_with_dropout_are_differences),
        cmocka_unit_test(dropout_does_not_depend_on_packing),
        cmocka_unit_test(dropout_depends_on_seed_step_and_sequence),
        cmocka_unit_test(wrong_batches_are_refused),
        cmocka_unit_test(wrong_rooms_are_refused),
        cmocka_unit_test(creation_survives_lack_of_memory),
        cmocka_unit_test(an_unfinished_run_is_given_up),
        cmocka_unit_test(a_bad_gradient_changes_nothing),
    };
    int failed = cmocka_run_group_tests(against_pytorch, open_golden, close_golden);
    if (!getenv("FILLMASK_GOLDEN")) failed += cmocka_run_group_tests(others, open_golden, close_golden);
    return failed;
}
