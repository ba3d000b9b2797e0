/* test_record.c - what the network asks of a backend, without any numbers: a training step and two inferences on the
 * recording backend (core/ops/record.c) against tests/golden/record.txt. Run from the root of the repository.
 *
 * After a change that is meant to change the operations, write the file anew and read the difference before it is
 * committed:
 *
 *     FILLMASK_RENEW_GOLDEN=1 build/test_record && git diff tests/golden/record.txt
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "model/model.h"

#define GOLDEN "tests/golden/record.txt"

/* Every size differs from the others, so that no two can be mistaken. */
static const fm_config config = {.vocab_size = 31,
                                 .hidden = 12,
                                 .layers = 2,
                                 .heads = 3,
                                 .feed_forward = 20,
                                 .positions = 8,
                                 .dropout = 0.1f,
                                 .attention_dropout = 0.2f,
                                 .initializer_range = 0.02f};
static const uint32_t ids[] = {5, 6, 5, 30, 6, 0, 5}, starts[] = {0, 4, 7}, rows[] = {1, 3, 5}, labels[] = {7, 8, 9};
static const fm_batch batch = {7, 2, 3, 0, ids, starts, rows, labels};

static void network_on(fm_backend *b, fm_network **network, fm_parameters *parameters, bool training)
{
    fm_error err;
    const fm_room room = {16, 4, 5, training};
    if (fm_parameters_make(parameters, &config, &err)) fail_msg("%s", err.text);
    const float **values = calloc(parameters->count, sizeof *values);
    assert_non_null(values);
    if (fm_network_create(network, &config, parameters, b, &room, values, &err)) fail_msg("%s", err.text);
    free(values);
}

static void run(fm_network *network, const fm_run_options *options)
{
    fm_error err;
    if (fm_network_begin(network, &batch, options, &err)) fail_msg("%s", err.text);
    while (fm_network_advance(network)) {
    }
}

static void training_step(fm_backend *b)
{
    fm_network *network;
    fm_parameters parameters;
    network_on(b, &network, &parameters, true);
    fm_network_zero_gradients(network);
    run(network, &(fm_run_options){.run = FM_RUN_TRAIN, .scale = 0.25f, .dropout = true, .seed = 1, .step = 1});
    fm_network_update(network, &(fm_adamw){1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 1.0f, 1, 0.0f});
    float results[6], squares;
    fm_network_read_losses(network, results);
    fm_network_read_squares(network, &squares);
    assert_int_equal(b->ops->finish(b, NULL), FM_OK);
    fm_network_destroy(network);
    fm_parameters_free(&parameters);
}

static void inference(fm_backend *b)
{
    fm_network *network;
    fm_parameters parameters;
    network_on(b, &network, &parameters, false);
    run(network, &(fm_run_options){.run = FM_RUN_LOGITS});
    float logits[3 * 31];
    fm_network_read_logits(network, logits);
    assert_int_equal(b->ops->finish(b, NULL), FM_OK);
    fm_network_destroy(network);
    fm_parameters_free(&parameters);
}

/* Matrices of int8 but for the position embeddings, as fm_weights_load makes them; the numbers are not looked at. */
static void int8_inference(fm_backend *b)
{
    fm_network *network;
    fm_parameters parameters;
    fm_error err;
    static const int8_t integers[1];
    const fm_room room = {16, 4, 5, false};
    if (fm_parameters_make(&parameters, &config, &err)) fail_msg("%s", err.text);
    fm_weights weights = {.values = calloc(parameters.count, sizeof *weights.values),
                          .int8 = calloc(parameters.count, sizeof *weights.int8)};
    assert_true(weights.values && weights.int8);
    for (size_t i = 0; i < parameters.count; i++)
        if (!parameters.list[i].vector && i != FM_P_POSITION) weights.int8[i].values = integers;
    if (fm_network_open(&network, &config, &parameters, b, &room, &weights, &err)) fail_msg("%s", err.text);
    run(network, &(fm_run_options){.run = FM_RUN_LOGITS});
    fm_network_destroy(network);
    fm_weights_free(&weights);
    fm_parameters_free(&parameters);
}

static void add_record(fm_buffer *text, const char *title, void (*use)(fm_backend *b))
{
    fm_backend *b;
    fm_error err;
    if (fm_record_create(&b, &err)) fail_msg("%s", err.text);
    use(b);
    fm_buffer_format(text, "## %s\n%s", title, fm_record_text(b));
    b->ops->destroy(b);
}

static fm_buffer record(void)
{
    fm_buffer text = {0};
    add_record(&text, "a training step", training_step);
    add_record(&text, "an inference", inference);
    add_record(&text, "an inference in int8", int8_inference);
    assert_false(text.failed);
    return text;
}

/* The line of `text` that holds its byte `at`. */
static int line_of(const char *text, size_t at, const char **line)
{
    size_t start = at;
    while (start > 0 && text[start - 1] != '\n') start--;
    *line = text + start;
    return (int)strcspn(*line, "\n");
}

static void operations_are_the_golden_ones(void **state)
{
    (void)state;
    fm_error err;
    fm_buffer text = record();
    if (getenv("FILLMASK_RENEW_GOLDEN") && fm_file_replace(GOLDEN, text.data, text.size, &err))
        fail_msg("%s", err.text);
    fm_blob golden;
    if (fm_blob_open(&golden, GOLDEN, &err)) fail_msg("%s", err.text);
    fm_buffer expected = {0};
    fm_buffer_add(&expected, golden.data, golden.size); /* with an end */
    fm_blob_close(&golden);
    assert_non_null(expected.data);
    size_t same = 0, line = 1;
    while (text.data[same] && text.data[same] == expected.data[same]) line += text.data[same++] == '\n';
    if (text.data[same] || expected.data[same]) {
        const char *is, *was;
        int is_size = line_of(text.data, same, &is), was_size = line_of(expected.data, same, &was);
        fail_msg("%s, line %zu:\n  golden:   %.*s\n  recorded: %.*s\nIf that is meant, see the head of test_record.c.",
                 GOLDEN, line, was_size, was, is_size, is);
    }
    fm_buffer_free(&text);
    fm_buffer_free(&expected);
}

/* A profile adds nothing and leaves nothing out, and counts what the recorded lines show. */
static void a_profile_hands_everything_on(void **state)
{
    (void)state;
    void (*const uses[])(fm_backend *) = {training_step, inference};
    for (size_t i = 0; i < 2; i++) {
        fm_backend *plain, *inner, *profile;
        assert_int_equal(fm_record_create(&plain, NULL), FM_OK);
        assert_int_equal(fm_record_create(&inner, NULL), FM_OK);
        assert_int_equal(fm_profile_create(&profile, inner, NULL), FM_OK);
        uses[i](plain);
        uses[i](profile);
        assert_string_equal(fm_record_text(inner), fm_record_text(plain));
        size_t count;
        const fm_profile_entry *entries = fm_profile_entries(profile, &count);
        uint64_t calls = 0;
        double operations = 0;
        for (size_t j = 0; j < count; j++) {
            assert_true(entries[j].seconds >= 0.0 && entries[j].bytes > 0.0);
            calls += entries[j].calls;
            if (entries[j].rows > 0) operations += entries[j].operations;
        }
        uint64_t lines = 0; /* but for those that do nothing to tensors */
        for (const char *at = fm_record_text(plain); *at; at = strchr(at, '\n') + 1)
            lines += strncmp(at, "create", 6) && strncmp(at, "import", 6) && strncmp(at, "release", 7) &&
                     strncmp(at, "finish", 6) && strncmp(at, "precision", 9);
        assert_int_equal(calls, lines);
        /* Multiply-adds a token: q, k and v; past the last attention there are 3 rows, before it 7. */
        double square = 12 * 12, wide = 12 * 20;
        double forward = 2 * 7 * 3 * square + (7 + 3) * (square + 2 * wide) + 3 * (square + 12 * 31);
        assert_true(operations == 2 * forward * (i == 0 ? 3 : 1));
        fm_profile_clear(profile);
        fm_profile_entries(profile, &count);
        assert_int_equal(count, 0);
        plain->ops->destroy(plain);
        profile->ops->destroy(profile);
    }
}

/* What a file of golden lines would not show to a reader: that every buffer is made before the first operation, that
 * each is released, and that nothing is used that was not made. */
static void memory_is_planned_and_given_back(void **state)
{
    (void)state;
    fm_buffer text = record();
    bool live[200] = {false}, running = false;
    unsigned highest = 0;
    for (char *line = text.data, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        *next++ = '\0';
        bool makes = strncmp(line, "create #", 8) == 0 || strncmp(line, "import", 6) == 0;
        bool releases = strncmp(line, "release #", 9) == 0;
        if (strncmp(line, "## ", 3) == 0) {
            for (unsigned i = 0; i < 200; i++)
                if (live[i]) fail_msg("buffer %u is not released", i);
            running = false;
            continue;
        }
        /* Before the first operation the values are written or the state is zeroed. */
        if (strncmp(line, "embedding ", 10) == 0) running = true;
        if (makes && running) fail_msg("made after the first operation: %s", line);
        for (char *at = strchr(line, '#'); at; at = strchr(at + 1, '#')) {
            unsigned long buffer = strtoul(at + 1, NULL, 10);
            assert_true(buffer > 0 && buffer < 200);
            if (makes) live[buffer] = true;
            else if (!live[buffer]) fail_msg("buffer %lu is not there: %s", buffer, line);
            else if (releases) live[buffer] = false;
            if (buffer > highest) highest = (unsigned)buffer;
        }
    }
    for (unsigned i = 0; i < 200; i++) assert_false(live[i]);
    assert_true(highest > 20);
    fm_buffer_free(&text);
}

static void dropout_and_options_are_recorded(void **state)
{
    (void)state;
    fm_buffer text = record();
    static const char *const lines[] = {
        " dropout=0.2@1",     " dropout=0.2@3",   " after=0.1@0",         " before=0.1@2", " before=0.1@4",
        " weight_decay=0.01", " weight_decay=0 ", " learning_rate=0.001", " clip=1",       " scale=0.25"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(text.data, lines[i])) fail_msg("no operation has \"%s\"", lines[i]);
    fm_buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_are_the_golden_ones),
        cmocka_unit_test(a_profile_hands_everything_on),
        cmocka_unit_test(memory_is_planned_and_given_back),
        cmocka_unit_test(dropout_and_options_are_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
