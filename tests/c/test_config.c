/* test_config.c - core/model/config.c and parameters.c: what a config.json must say, and the list that follows from
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/model.h"

/* distilbert-base-uncased as older versions of transformers wrote it. */
static const char *const standard =
    "{\"activation\": \"gelu\", \"architectures\": [\"DistilBertForMaskedLM\"], \"attention_dropout\": 0.1, "
    "\"dim\": 768, \"dropout\": 0.1, \"hidden_dim\": 3072, \"initializer_range\": 0.02, "
    "\"max_position_embeddings\": 512, \"model_type\": \"distilbert\", \"n_heads\": 12, \"n_layers\": 6, "
    "\"pad_token_id\": 0, \"qa_dropout\": 0.1, \"seq_classif_dropout\": 0.2, \"sinusoidal_pos_embds\": false, "
    "\"tie_weights_\": true, \"transformers_version\": \"4.10.0.dev0\", \"vocab_size\": 30522}";

static fm_status parse(fm_config *config, const char *text, fm_error *err)
{
    return fm_config_parse(config, text, strlen(text), "config.json", err);
}

/* The standard text with `from` replaced by `to`. */
static fm_status parse_changed(fm_config *config, const char *from, const char *to, fm_error *err)
{
    char text[2000];
    const char *at = strstr(standard, from);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - standard), standard, to, at + strlen(from));
    return parse(config, text, err);
}

static void config_reads(void **state)
{
    (void)state;
    fm_config c;
    assert_int_equal(parse(&c, standard, NULL), FM_OK);
    assert_int_equal(c.vocab_size, 30522);
    assert_int_equal(c.hidden, 768);
    assert_int_equal(c.layers, 6);
    assert_int_equal(c.heads, 12);
    assert_int_equal(c.feed_forward, 3072);
    assert_int_equal(c.positions, 512);
    assert_true(c.dropout == 0.1f && c.attention_dropout == 0.1f && c.initializer_range == 0.02f);
    assert_int_equal(parse_changed(&c, "\"dropout\": 0.1, ", "", NULL), FM_OK);
    assert_true(c.dropout == 0.1f);
    assert_int_equal(parse_changed(&c, "embds\": false", "embds\": true", NULL), FM_OK);
    assert_int_equal(parse_changed(&c, "\"dim\"", "\"tie_word_embeddings\": true, \"new\": [], \"dim\"", NULL), FM_OK);
    assert_int_equal(parse_changed(&c, "\"dim\"", "\"pruned_heads\": {}, \"layerdrop\": 0.0, \"dim\"", NULL), FM_OK);
}

static void config_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        fm_status status;
        const char *text; /* in the error */
    } cases[] = {
        {"\"distilbert\"", "\"bert\"", FM_E_UNSUPPORTED, "model_type = \"bert\""},
        {"\"model_type\": \"distilbert\", ", "", FM_E_FORMAT, "lacks the field model_type"},
        {"\"gelu\"", "\"relu\"", FM_E_UNSUPPORTED, "activation = \"relu\""},
        {"\"dim\"", "\"tie_word_embeddings\": false, \"dim\"", FM_E_UNSUPPORTED, "tie_word_embeddings = false"},
        {"\"dim\"", "\"layerdrop\": 0.1, \"dim\"", FM_E_UNSUPPORTED, "layerdrop"},
        {"\"dim\"", "\"pruned_heads\": {\"1\": [2]}, \"dim\"", FM_E_UNSUPPORTED, "pruned_heads"},
        {"\"dim\": 768, ", "", FM_E_FORMAT, "lacks the field dim"},
        {"\"dim\": 768", "\"dim\": \"768\"", FM_E_FORMAT, "dim = \"768\""},
        {"\"dim\": 768", "\"dim\": 8193", FM_E_LIMIT, "at most 8192"},
        {"\"dim\": 768", "\"dim\": 768, \"dim\": 768", FM_E_FORMAT, "twice"},
        {"\"n_heads\": 12", "\"n_heads\": 7", FM_E_FORMAT, "does not divide dim = 768"},
        {"\"n_heads\": 12", "\"n_heads\": 0", FM_E_FORMAT, "n_heads = 0"},
        {"\"n_layers\": 6", "\"n_layers\": 129", FM_E_LIMIT, "at most 128"},
        {"\"n_layers\": 6", "\"n_layers\": -1", FM_E_FORMAT, "n_layers = -1"},
        {"\"n_layers\": 6", "\"n_layers\": 1.5", FM_E_FORMAT, "n_layers = 1.5"},
        {"30522", "1000001", FM_E_LIMIT, "vocab_size"},
        {"30522", "9007199254740993", FM_E_FORMAT, "vocab_size"},
        {"3072", "65537", FM_E_LIMIT, "hidden_dim"},
        {": 512", ": 32769", FM_E_LIMIT, "max_position_embeddings"},
        {"\"dropout\": 0.1", "\"dropout\": 1", FM_E_FORMAT, "dropout = 1"},
        {"\"dropout\": 0.1", "\"dropout\": 0.9999999999", FM_E_FORMAT, "below 1"},
        {"\"attention_dropout\": 0.1", "\"attention_dropout\": -0.1", FM_E_FORMAT, "attention_dropout"},
        {"0.02", "0", FM_E_FORMAT, "above 0"},
        {"0.02", "1e300", FM_E_FORMAT, "initializer_range"},
        {"0.02", "null", FM_E_FORMAT, "initializer_range = null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fm_config c;
        fm_error err = {0};
        assert_int_equal(parse_changed(&c, cases[i].from, cases[i].to, &err), cases[i].status);
        assert_int_equal(err.status, cases[i].status);
        if (!strstr(err.text, cases[i].text) || !strstr(err.text, "config.json"))
            fail_msg("case %zu: \"%s\" lacks \"%s\"", i, err.text, cases[i].text);
    }
    fm_config c;
    fm_error err;
    assert_int_equal(parse(&c, "[]", &err), FM_E_FORMAT);
    assert_int_equal(parse(&c, "", &err), FM_E_FORMAT);
    assert_int_equal(fm_config_read(&c, "/nonexistent/config.json", &err), FM_E_IO);
}

static void config_round_trip(void **state)
{
    (void)state;
    char path[] = "/tmp/fm-config-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    fm_config written = {131, 24, 3, 4, 50, 17, 0.0f, 1.0f / 3.0f, 1e-5f}, read;
    assert_int_equal(fm_config_write(&written, path, NULL), FM_OK);
    assert_int_equal(fm_config_read(&read, path, NULL), FM_OK);
    assert_memory_equal(&written, &read, sizeof read);
    fm_blob blob;
    assert_int_equal(fm_blob_open(&blob, path, NULL), FM_OK);
    char *text = calloc(1, blob.size + 1);
    assert_non_null(text);
    memcpy(text, blob.data, blob.size);
    assert_non_null(strstr(text, "\"dropout\": 0.0,"));
    assert_non_null(strstr(text, "\"DistilBertForMaskedLM\""));
    free(text);
    fm_blob_close(&blob);
    unlink(path);
    fm_error err;
    assert_int_equal(fm_config_write(&written, "/nonexistent/config.json", &err), FM_E_IO);
}

static void parameters_list(void **state)
{
    (void)state;
    fm_config c;
    assert_int_equal(parse(&c, standard, NULL), FM_OK);
    fm_parameters p;
    assert_int_equal(fm_parameters_make(&p, &c, NULL), FM_OK);
    assert_int_equal(p.count, 4 + 6 * 16 + 5);
    uint64_t sum = 0, end = 0;
    for (int decay = 1; decay >= 0; decay--) { /* in the array: those with decay, then the others, in list order */
        for (size_t i = 0; i < p.count; i++) {
            const fm_parameter *q = &p.list[i];
            if (q->decay != (decay == 1)) continue;
            assert_int_equal(q->offset, (end + 15) / 16 * 16);
            end = q->offset + (uint64_t)q->rows * q->cols;
            sum += (uint64_t)q->rows * q->cols;
            assert_true(!q->decay || !q->vector);
        }
        if (decay) assert_int_equal(p.decayed, (end + 15) / 16 * 16);
    }
    assert_int_equal(sum, 66985530);
    assert_int_equal(p.elements, (end + 15) / 16 * 16);
    static const struct {
        size_t at;
        const char *name;
        uint32_t rows, cols;
        bool decay;
    } some[] = {
        {FM_P_WORD, "distilbert.embeddings.word_embeddings.weight", 30522, 768, true},
        {FM_P_POSITION, "distilbert.embeddings.position_embeddings.weight", 512, 768, true},
        {FM_P_EMBED_BETA, "distilbert.embeddings.LayerNorm.bias", 1, 768, false},
        {FM_P_LAYER0 + FM_L_Q_W, "distilbert.transformer.layer.0.attention.q_lin.weight", 768, 768, true},
        {FM_P_LAYER0 + 5 * FM_P_PER_LAYER + FM_L_LIN1_W, "distilbert.transformer.layer.5.ffn.lin1.weight", 3072, 768,
         true},
        {FM_P_LAYER0 + 5 * FM_P_PER_LAYER + FM_L_LIN2_W, "distilbert.transformer.layer.5.ffn.lin2.weight", 768, 3072,
         true},
        {FM_P_LAYER0 + 5 * FM_P_PER_LAYER + FM_L_LIN1_B, "distilbert.transformer.layer.5.ffn.lin1.bias", 1, 3072,
         false},
        {FM_P_LAYER0 + 5 * FM_P_PER_LAYER + FM_L_OUT_GAMMA, "distilbert.transformer.layer.5.output_layer_norm.weight",
         1, 768, false},
        {FM_P_LAYER0 + 6 * FM_P_PER_LAYER + FM_H_TRANSFORM_W, "vocab_transform.weight", 768, 768, true},
        {FM_P_LAYER0 + 6 * FM_P_PER_LAYER + FM_H_BIAS, "vocab_projector.bias", 1, 30522, false},
    };
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        const fm_parameter *q = &p.list[some[i].at];
        assert_string_equal(q->name, some[i].name);
        assert_int_equal(q->rows, some[i].rows);
        assert_int_equal(q->cols, some[i].cols);
        assert_int_equal(q->decay, some[i].decay);
        assert_int_equal(q->vector, q->rows == 1);
    }
    fm_parameters_free(&p);
    /* A table of one row is still a matrix. */
    c = (fm_config){1, 1, 1, 1, 1, 1, 0, 0, 1};
    assert_int_equal(fm_parameters_make(&p, &c, NULL), FM_OK);
    assert_false(p.list[FM_P_WORD].vector);
    fm_parameters_free(&p);
    /* Sizes that overflow are refused, whoever made them up. */
    c = (fm_config){UINT32_MAX, UINT32_MAX, 1, 1, UINT32_MAX, UINT32_MAX, 0, 0, 1};
    fm_error err;
    assert_int_equal(fm_parameters_make(&p, &c, &err), FM_E_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(config_reads), cmocka_unit_test(config_refuses),
                                       cmocka_unit_test(config_round_trip), cmocka_unit_test(parameters_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
