/* test_memory.c - what WebAssembly needs and every program may use: models, tokenizers and corpora that come from
 * memory, and weights that go there. They must be the same as with files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tasks/tasks.h"
#include "train/train.h"

static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nmovie\n##s\nwere\ngood\nThe\n.\n";
static const char uncased[] = "{\"do_lower_case\": true}", cased[] = "{\"do_lower_case\": false}";
static const char text[] = "The movies were [MASK].";

enum { VOCABULARY = 12, HIDDEN = 8 };
static const fm_config config = {VOCABULARY, HIDDEN, 2, 2, 16, 16, 0.1f, 0.1f, 0.5f};

static char folder[64];
static fm_parameters parameters;
static float *values;
static const float **pointers;

static const char *path_of(const char *name)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/fm-memory-XXXXXX");
    if (!mkdtemp(folder) || fm_parameters_make(&parameters, &config, NULL)) return 1;
    values = fm_alloc((size_t)parameters.elements, sizeof *values);
    pointers = calloc(parameters.count, sizeof *pointers);
    if (!values || !pointers || fm_initialise(values, &config, &parameters, 1, false, NULL, NULL)) return 1;
    for (size_t i = 0; i < parameters.count; i++) pointers[i] = values + parameters.list[i].offset;
    return fm_file_replace(path_of("vocab.txt"), vocab, sizeof vocab - 1, NULL) ||
           fm_file_replace(path_of("tokenizer_config.json"), uncased, sizeof uncased - 1, NULL) ||
           fm_config_write(&config, path_of("config.json"), NULL) ||
           fm_weights_save(path_of("model.safetensors"), &parameters, pointers, FM_STORED_F32, NULL);
}

static int end(void **state)
{
    (void)state;
    static const char *const names[] = {"vocab.txt", "tokenizer_config.json", "config.json", "model.safetensors"};
    for (size_t i = 0; i < 4; i++) unlink(path_of(names[i]));
    rmdir(folder);
    fm_parameters_free(&parameters);
    fm_free(values);
    free(pointers);
    return 0;
}

static fm_blob file(const char *name)
{
    fm_blob blob;
    assert_int_equal(fm_blob_open(&blob, path_of(name), NULL), FM_OK);
    return blob;
}

static void weights_are_those_of_the_file(void **state)
{
    (void)state;
    for (fm_stored_type type = FM_STORED_F32; type <= FM_STORED_I8; type++) {
        uint8_t *data;
        size_t size;
        assert_int_equal(fm_weights_save(path_of("model.safetensors"), &parameters, pointers, type, NULL), FM_OK);
        assert_int_equal(fm_weights_build(&data, &size, &parameters, pointers, type, NULL), FM_OK);
        fm_blob blob = file("model.safetensors");
        assert_int_equal(size, blob.size);
        assert_memory_equal(data, blob.data, size);
        fm_blob_close(&blob);
        fm_free(data);
    }
    assert_int_equal(fm_weights_save(path_of("model.safetensors"), &parameters, pointers, FM_STORED_F32, NULL), FM_OK);
}

static void bad_values_are_not_built(void **state)
{
    (void)state;
    uint8_t *data;
    size_t size;
    fm_error err;
    float kept = values[3];
    values[3] = INFINITY;
    assert_int_equal(fm_weights_build(&data, &size, &parameters, pointers, FM_STORED_F32, &err), FM_E_FORMAT);
    values[3] = kept;
    assert_null(data);
    assert_non_null(strstr(err.text, "NaN or infinity"));
}

static fm_model_files files_of(const fm_blob *description, const fm_blob *weights)
{
    return (fm_model_files){.config = (const char *)description->data,
                            .config_size = description->size,
                            .tokenizer = {.vocab = vocab,
                                          .vocab_size = sizeof vocab - 1,
                                          .config = uncased,
                                          .config_size = sizeof uncased - 1},
                            .weights = weights->data,
                            .weights_size = weights->size};
}

static void expect_same(fm_model *a, fm_model *b)
{
    fm_fill_result left, right;
    assert_int_equal(fm_fill(a, text, strlen(text), NULL, NULL, NULL, &left, NULL), FM_OK);
    assert_int_equal(fm_fill(b, text, strlen(text), NULL, NULL, NULL, &right, NULL), FM_OK);
    assert_int_equal(left.masks, right.masks);
    assert_int_equal(left.mask[0].count, right.mask[0].count);
    for (size_t i = 0; i < left.mask[0].count; i++) {
        assert_int_equal(left.mask[0].top[i].tokens[0], right.mask[0].top[i].tokens[0]);
        assert_true(left.mask[0].top[i].log_probability == right.mask[0].top[i].log_probability);
    }
    fm_fill_result_free(&left);
    fm_fill_result_free(&right);
}

static void a_model_from_memory_fills_alike(void **state)
{
    (void)state;
    fm_model *here, *there;
    fm_blob description = file("config.json"), weights = file("model.safetensors");
    fm_model_files files = files_of(&description, &weights);
    assert_int_equal(fm_model_open(&there, folder, NULL, NULL), FM_OK);
    assert_int_equal(fm_model_open_memory(&here, &files, NULL, NULL), FM_OK);
    fm_blob_close(&description); /* only the weights must stay */
    expect_same(here, there);
    fm_model_close(here);
    fm_model_close(there);
    fm_blob_close(&weights);
}

static void bad_memory_is_refused_by_name(void **state)
{
    (void)state;
    fm_model *model;
    fm_error err;
    fm_blob description = file("config.json"), weights = file("model.safetensors");
    fm_model_files files = files_of(&description, &weights);
    files.weights_size--;
    assert_int_equal(fm_model_open_memory(&model, &files, NULL, &err), FM_E_FORMAT);
    assert_null(model);
    assert_non_null(strstr(err.text, "model.safetensors"));
    files = files_of(&description, &weights);
    files.config_size -= 2;
    assert_int_equal(fm_model_open_memory(&model, &files, NULL, &err), FM_E_FORMAT);
    assert_non_null(strstr(err.text, "config.json"));
    files = files_of(&description, &weights);
    files.tokenizer.vocab = NULL;
    assert_int_equal(fm_model_open_memory(&model, &files, NULL, &err), FM_E_ARGUMENT);
    assert_non_null(strstr(err.text, "vocab.txt"));
    files = files_of(&description, &weights);
    files.weights = NULL;
    files.weights_size = 0;
    assert_int_equal(fm_model_open_memory(&model, &files, NULL, &err), FM_E_FORMAT);
    fm_blob_close(&description);
    fm_blob_close(&weights);
}

static void weights_can_be_replaced(void **state)
{
    (void)state;
    fm_model *here, *there;
    fm_blob description = file("config.json"), weights = file("model.safetensors");
    fm_model_files files = files_of(&description, &weights);
    assert_int_equal(fm_model_open_memory(&here, &files, NULL, NULL), FM_OK);
    assert_int_equal(fm_model_open_memory(&there, &files, NULL, NULL), FM_OK);
    fm_fill_result before, after;
    assert_int_equal(fm_fill(here, text, strlen(text), NULL, NULL, NULL, &before, NULL), FM_OK);
    assert_int_equal(fm_initialise(values, &config, &parameters, 2, false, NULL, NULL), FM_OK);
    uint8_t *data;
    size_t size;
    assert_int_equal(fm_weights_build(&data, &size, &parameters, pointers, FM_STORED_F32, NULL), FM_OK);
    assert_int_equal(fm_model_replace_weights(here, data, size - 4, NULL), FM_E_FORMAT);
    expect_same(here, there);
    assert_int_equal(fm_model_replace_weights(here, data, size, NULL), FM_OK);
    assert_int_equal(fm_fill(here, text, strlen(text), NULL, NULL, NULL, &after, NULL), FM_OK);
    assert_true(before.mask[0].top[0].score != after.mask[0].top[0].score);
    assert_int_equal(fm_model_replace_weights(there, data, size, NULL), FM_OK);
    expect_same(here, there);
    fm_fill_result_free(&before);
    fm_fill_result_free(&after);
    fm_model_close(here);
    fm_model_close(there);
    fm_free(data);
    fm_blob_close(&description);
    fm_blob_close(&weights);
}

static void a_tokenizer_obeys_its_config(void **state)
{
    (void)state;
    fm_tokenizer_files files = {.vocab = vocab, .vocab_size = sizeof vocab - 1};
    fm_tokenizer *tokenizer;
    assert_int_equal(fm_tokenizer_open_memory(&tokenizer, &files, NULL), FM_OK);
    assert_true(fm_tokenizer_lowercase(tokenizer));
    fm_tokenizer_close(tokenizer);
    files.config = cased;
    files.config_size = sizeof cased - 1;
    assert_int_equal(fm_tokenizer_open_memory(&tokenizer, &files, NULL), FM_OK);
    assert_false(fm_tokenizer_lowercase(tokenizer));
    fm_tokenizer_close(tokenizer);
    fm_error err;
    files.json = "{}";
    files.json_size = 2;
    assert_int_equal(fm_tokenizer_open_memory(&tokenizer, &files, &err), FM_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "tokenizer.json"));
}

static void a_corpus_is_that_of_the_file(void **state)
{
    (void)state;
    static const char lines[] = "The movies\nwere good.\n";
    fm_tokenizer *tokenizer;
    assert_int_equal(fm_tokenizer_from_vocab(&tokenizer, vocab, sizeof vocab - 1, true, NULL), FM_OK);
    const char *path = path_of("lines.txt");
    assert_int_equal(fm_file_replace(path, lines, sizeof lines - 1, NULL), FM_OK);
    fm_corpus there, here;
    assert_int_equal(
        fm_corpus_read(&there, tokenizer, NULL, &path, 1, FM_TEXT_AUTO, NULL, FM_PART_ALL, NULL, NULL, NULL), FM_OK);
    unlink(path);
    fm_corpus_builder *builder;
    assert_int_equal(fm_corpus_builder_create(&builder, tokenizer, NULL), FM_OK);
    assert_int_equal(fm_corpus_builder_add(builder, lines, 10, NULL), FM_OK);
    assert_int_equal(fm_corpus_builder_add(builder, lines + 11, 10, NULL), FM_OK);
    fm_corpus_builder_finish(builder, &here);
    assert_int_equal(here.documents, 2);
    assert_int_equal(here.tokens, there.tokens);
    assert_memory_equal(here.ids, there.ids, here.tokens * sizeof *here.ids);
    assert_memory_equal(here.starts, there.starts, 3 * sizeof *here.starts);
    fm_corpus_free(&here);
    fm_corpus_free(&there);
    assert_int_equal(fm_corpus_builder_create(&builder, tokenizer, NULL), FM_OK);
    assert_int_equal(fm_corpus_builder_add(builder, "", 0, NULL), FM_OK);
    fm_corpus_builder_destroy(builder);
    fm_tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_those_of_the_file),   cmocka_unit_test(bad_values_are_not_built),
        cmocka_unit_test(a_model_from_memory_fills_alike), cmocka_unit_test(bad_memory_is_refused_by_name),
        cmocka_unit_test(weights_can_be_replaced),         cmocka_unit_test(a_tokenizer_obeys_its_config),
        cmocka_unit_test(a_corpus_is_that_of_the_file),
    };
    return cmocka_run_group_tests(tests, make, end);
}
