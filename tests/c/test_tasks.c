/* test_tasks.c - core/tasks: a model folder opened, and fm_fill on it, against the network run by hand. The network's
 * own numbers are tested in test_network.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tasks/tasks.h"
#include "train/train.h"

static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nmovie\n##s\nwere\ngood\n.\n";
enum { VOCABULARY = 11, SPARE = 2, POSITIONS = 12 }; /* the model has two entries that no token uses */

static char folder[64];
static const char *const names[] = {"config.json", "model.safetensors", "vocab.txt", "tokenizer.json",
                                    "tokenizer_config.json"};

static const char *file(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make_model(void **state)
{
    (void)state;
    const fm_config config = {.vocab_size = VOCABULARY + SPARE,
                              .hidden = 12,
                              .layers = 2,
                              .heads = 3,
                              .feed_forward = 16,
                              .positions = POSITIONS,
                              .initializer_range = 0.5f};
    fm_parameters parameters;
    fm_tokenizer *tokenizer;
    strcpy(folder, "/tmp/fm-tasks-XXXXXX");
    if (!mkdtemp(folder) || fm_parameters_make(&parameters, &config, NULL)) return 1;
    float *values = fm_alloc(parameters.elements, sizeof *values);
    const float **pointers = calloc(parameters.count, sizeof *pointers);
    if (!values || !pointers || fm_initialise(values, &config, &parameters, 3, false, NULL, NULL)) return 1;
    for (size_t i = 0; i < parameters.count; i++) pointers[i] = values + parameters.list[i].offset;
    fm_status status = fm_weights_save(file("model.safetensors"), &parameters, pointers, FM_STORED_F32, NULL);
    if (!status) status = fm_config_write(&config, file("config.json"), NULL);
    if (!status) status = fm_tokenizer_from_vocab(&tokenizer, vocab, sizeof vocab - 1, true, NULL);
    if (!status) status = fm_tokenizer_save(tokenizer, folder, POSITIONS, NULL);
    fm_tokenizer_close(tokenizer);
    fm_parameters_free(&parameters);
    fm_free(values);
    free(pointers);
    return status != FM_OK;
}

static int remove_model(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(file(names[i]));
    return rmdir(folder);
}

static fm_model *open_model(int threads)
{
    fm_model *model;
    fm_error err = {.text = ""};
    const fm_model_options options = {.threads = threads};
    if (fm_model_open(&model, folder, &options, &err)) fail_msg("%s", err.text);
    return model;
}

static fm_fill_result fill(fm_model *model, const char *text, size_t k)
{
    fm_fill_result result;
    fm_error err = {.text = ""};
    fm_fill_options options = fm_fill_defaults();
    options.top_k = k;
    options.special = options.pieces = true;
    if (fm_fill(model, text, strlen(text), &options, NULL, NULL, &result, &err)) fail_msg("%s", err.text);
    return result;
}

/* b has the best of a's fillings of each mask. */
static void assert_same(const fm_fill_result *a, const fm_fill_result *b)
{
    assert_int_equal(a->masks, b->masks);
    for (size_t i = 0; i < a->masks; i++) {
        assert_true(a->mask[i].count >= b->mask[i].count);
        for (size_t j = 0; j < b->mask[i].count; j++) {
            assert_int_equal(a->mask[i].top[j].tokens[0], b->mask[i].top[j].tokens[0]);
            assert_true(a->mask[i].top[j].log_probability == b->mask[i].top[j].log_probability);
        }
    }
}

/* Every mask by itself: the softmax of its logits over the vocabulary, best first. */
static void fills_are_the_softmax_of_the_logits(void **state)
{
    (void)state;
    fm_model *model = open_model(1);
    fm_fill_result result = fill(model, "The [MASK] were [MASK].", 100);
    assert_int_equal(result.masks, 2);
    const uint32_t spans[][2] = {{4, 10}, {16, 22}};
    const uint32_t ids[] = {2, 5, 4, 8, 4, 10, 3}, starts[] = {0, 7}, rows[] = {2, 4};
    const fm_batch batch = {.tokens = 7, .sequences = 1, .masked = 2, .ids = ids, .starts = starts, .rows = rows};
    const fm_run_options run = {.run = FM_RUN_LOGITS};
    const fm_room room = {7, 1, 2, false};
    float logits[2][VOCABULARY + SPARE];
    fm_network *network;
    assert_int_equal(fm_model_network(model, &room, &network, NULL), FM_OK);
    assert_int_equal(fm_network_begin(network, &batch, &run, NULL), FM_OK);
    while (fm_network_advance(network)) {
    }
    fm_network_read_logits(network, logits[0]);
    assert_int_equal(model->backend->ops->finish(model->backend, NULL), FM_OK);
    for (size_t m = 0; m < 2; m++) {
        const fm_mask_fillings *f = &result.mask[m];
        assert_int_equal(f->start, spans[m][0]);
        assert_int_equal(f->end, spans[m][1]);
        assert_int_equal(f->count, VOCABULARY); /* k is more than there are; entries without a token do not count */
        double sum = 0, total = 0;
        for (size_t i = 0; i < VOCABULARY; i++) sum += exp((double)logits[m][i]);
        bool seen[VOCABULARY] = {false};
        for (size_t i = 0; i < f->count; i++) {
            uint32_t token = f->top[i].tokens[0];
            assert_true(token < VOCABULARY && !seen[token]);
            seen[token] = true;
            assert_true(i == 0 || f->top[i].score <= f->top[i - 1].score);
            assert_true(fabs(f->top[i].score - exp((double)logits[m][token]) / sum) < 1e-6);
            assert_true(fabs(exp(f->top[i].log_probability) - f->top[i].score) < 1e-9);
            total += f->top[i].score;
        }
        assert_true(fabs(total - 1) < 1e-6);
    }
    fm_fill_result few = fill(model, "The [MASK] were [MASK].", 3);
    for (size_t m = 0; m < 2; m++) assert_int_equal(few.mask[m].count, 3);
    assert_same(&result, &few);
    fm_fill_result_free(&few);
    fm_fill_result_free(&result);
    fm_fill_result_free(&result); /* nothing is left to free */
    fm_model_close(model);
}

/* Whatever was asked before, and beside other models. */
static void answers_do_not_depend_on_history(void **state)
{
    (void)state;
    static const char text[] = "the movies were [MASK].", longer[] = "[MASK] [MASK] [MASK] [MASK] [MASK] [MASK] [MASK] "
                                                                     "[MASK] [MASK] [MASK]";
    fm_model *a = open_model(1), *b = open_model(3);
    fm_fill_result first = fill(a, text, 5), wide = fill(a, longer, 2), again = fill(a, text, 5),
                   other = fill(b, text, 5);
    assert_int_equal(wide.masks, 10); /* more than the network had room for at first */
    assert_same(&first, &again);
    assert_same(&first, &other);
    fm_model_close(a);
    fm_fill_result last = fill(b, text, 5);
    assert_same(&first, &last);
    fm_fill_result_free(&first);
    fm_fill_result_free(&wide);
    fm_fill_result_free(&again);
    fm_fill_result_free(&other);
    fm_fill_result_free(&last);
    fm_model_close(b);
}

static void refuse(fm_model *model, const char *text, size_t size, size_t k, fm_status status, const char *words)
{
    fm_fill_result result;
    fm_error err = {.text = ""};
    fm_fill_options options = fm_fill_defaults();
    options.top_k = k;
    assert_int_equal(fm_fill(model, text, size, &options, NULL, NULL, &result, &err), status);
    assert_int_equal(result.masks, 0);
    assert_null(result.mask);
    if (!strstr(err.text, words)) fail_msg("\"%s\" lacks \"%s\"", err.text, words);
}

static void texts_that_cannot_be_filled(void **state)
{
    (void)state;
    fm_model *model = open_model(1);
    refuse(model, "", 0, 1, FM_E_FORMAT, "has no [MASK]");
    refuse(model, "the movie", 9, 1, FM_E_FORMAT, "has no [MASK]");
    refuse(model, "[MASK]", 5, 1, FM_E_FORMAT, "has no [MASK]"); /* of `size` bytes, whatever follows */
    refuse(model, "[MASK]", 6, 0, FM_E_ARGUMENT, "at least 1");
    fm_fill_result fits;
    assert_int_equal(fm_fill(model, "\xff\0 [MASK]", 9, NULL, NULL, NULL, &fits, NULL), FM_OK); /* any bytes are text */
    assert_int_equal(fits.mask[0].start, 3);
    fm_fill_result_free(&fits);
    fm_model_close(model);
}

static void expect_closed(const char *path, const fm_model_options *options, fm_status status, const char *words)
{
    fm_model *model = (fm_model *)folder;
    fm_error err = {.text = ""};
    assert_int_equal(fm_model_open(&model, path, options, &err), status);
    assert_null(model);
    if (!strstr(err.text, words)) fail_msg("\"%s\" lacks \"%s\"", err.text, words);
    assert_int_equal(fm_model_open(&model, path, options, NULL), status);
}

/* Opens the folder with one file replaced. */
static void expect_refused(const char *name, const char *text, fm_status status, const char *words)
{
    fm_blob blob;
    assert_int_equal(fm_blob_open(&blob, file(name), NULL), FM_OK);
    uint8_t *kept = malloc(blob.size);
    assert_non_null(kept);
    size_t size = blob.size;
    memcpy(kept, blob.data, size);
    fm_blob_close(&blob);
    assert_int_equal(fm_file_replace(file(name), text, strlen(text), NULL), FM_OK);
    expect_closed(folder, NULL, status, words);
    assert_int_equal(fm_file_replace(file(name), kept, size, NULL), FM_OK);
    free(kept);
}

static void folders_that_are_no_model(void **state)
{
    (void)state;
    const fm_model_options no_set = {.instruction_set = "abacus"};
    expect_closed("/nonexistent", NULL, FM_E_IO, "/nonexistent/config.json could not be opened");
    expect_closed(folder, &no_set, FM_E_ARGUMENT, "abacus");
    expect_refused("config.json", "{}", FM_E_FORMAT, "config.json lacks the field model_type");
    expect_refused("model.safetensors", "", FM_E_FORMAT, "model.safetensors is no safetensors file");
    expect_refused("tokenizer.json", "{", FM_E_FORMAT, "tokenizer.json");
    fm_model_close(NULL);
    fm_model_close(open_model(0));
}

/* More tokens than the model has rows for would read beyond them. */
static void a_tokenizer_larger_than_the_model_is_refused(void **state)
{
    (void)state;
    fm_tokenizer *tokenizer;
    fm_buffer larger = {0};
    fm_buffer_text(&larger, vocab);
    for (int i = 0; i <= SPARE; i++) fm_buffer_format(&larger, "w%d\n", i);
    assert_int_equal(fm_tokenizer_from_vocab(&tokenizer, larger.data, larger.size, true, NULL), FM_OK);
    assert_int_equal(fm_tokenizer_save(tokenizer, folder, POSITIONS, NULL), FM_OK);
    fm_tokenizer_close(tokenizer);
    expect_closed(folder, NULL, FM_E_FORMAT, "has 14 entries but config.json says vocab_size 13");
    assert_int_equal(fm_tokenizer_from_vocab(&tokenizer, vocab, sizeof vocab - 1, true, NULL), FM_OK);
    assert_int_equal(fm_tokenizer_save(tokenizer, folder, POSITIONS, NULL), FM_OK);
    fm_tokenizer_close(tokenizer);
    fm_buffer_free(&larger);
}

/* A device that computes as the cpu does, but for one number of what it gives back. */
static size_t spoilt;
static float spoiling;
static void (*read_well)(fm_backend *b, fm_tensor from, void *to);

static void read_badly(fm_backend *b, fm_tensor from, void *to)
{
    read_well(b, from, to);
    ((float *)to)[spoilt] = spoiling;
}

static void a_device_is_checked_for_numbers(void **state)
{
    (void)state;
    fm_model *model = open_model(1);
    fm_backend *device;
    double difference;
    assert_int_equal(fm_model_check(model, &difference, NULL), FM_OK);
    assert_true(difference == 0.0);
    assert_int_equal(fm_cpu_create(&device, NULL, 1, NULL), FM_OK);
    fm_ops ops = *device->ops;
    read_well = ops.read;
    ops.read = read_badly;
    device->ops = &ops;
    fm_model_use(model, device);
    const float bad[] = {1e6f, NAN, INFINITY};
    for (size_t i = 0; i < 3; i++)
        for (spoilt = 0; spoilt < 4; spoilt++) { /* the numbers that follow are good again */
            spoiling = bad[i];
            assert_int_equal(fm_model_check(model, &difference, NULL), FM_OK);
            assert_true(difference > 1e3);
            assert_int_equal(isfinite(difference) != 0, i == 0);
        }
    fm_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_are_the_softmax_of_the_logits),
        cmocka_unit_test(answers_do_not_depend_on_history),
        cmocka_unit_test(texts_that_cannot_be_filled),
        cmocka_unit_test(folders_that_are_no_model),
        cmocka_unit_test(a_tokenizer_larger_than_the_model_is_refused),
        cmocka_unit_test(a_device_is_checked_for_numbers),
    };
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
