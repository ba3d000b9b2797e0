/* test_tasks_score.c - scoring (core/tasks/score.c) against PyTorch (tests/vectors/score.json) and against a slow loop
 * that runs one masked copy at a time and takes the softmax of its logits in double precision. */
#include "tasks.h"

/* log P(ids[place]) where `masks` tokens from place on are masked: one sequence, one row. */
static double slow_log_probability(const uint32_t *ids, uint32_t count, uint32_t place, uint32_t masks)
{
    fm_special_ids special = fm_tokenizer_special(tiny->tokenizer);
    uint32_t sequence[64] = {special.cls}, starts[] = {0, count + 2}, row = place + 1, vocab = tiny->config.vocab_size;
    memcpy(sequence + 1, ids, count * sizeof *ids);
    sequence[count + 1] = special.sep;
    for (uint32_t i = 0; i < masks; i++) sequence[row + i] = special.mask;
    const fm_room room = {64, 1, 1, false};
    const fm_batch batch = {
        .tokens = count + 2, .sequences = 1, .masked = 1, .ids = sequence, .starts = starts, .rows = &row};
    const fm_run_options options = {.run = FM_RUN_LOGITS};
    fm_network *network;
    float logits[512];
    assert_true(vocab <= 512);
    assert_int_equal(fm_model_network(tiny, &room, &network, NULL), FM_OK);
    assert_int_equal(fm_network_begin(network, &batch, &options, NULL), FM_OK);
    while (fm_network_advance(network)) {
    }
    fm_network_read_logits(network, logits);
    assert_int_equal(tiny->backend->ops->finish(tiny->backend, NULL), FM_OK);
    double sum = 0.0;
    for (uint32_t i = 0; i < vocab; i++) sum += exp((double)logits[i]);
    return (double)logits[ids[place]] - log(sum);
}

static void check_slowly(const char *text, fm_score_method method)
{
    fm_error err;
    fm_score_result result;
    fm_encoding encoding = {0};
    assert_ok(fm_score(tiny, text, strlen(text), method, NULL, NULL, &result, &err), err);
    assert_ok(fm_tokenizer_encode(tiny->tokenizer, text, strlen(text), false, &encoding, &err), err);
    uint32_t count = (uint32_t)encoding.count, longest = tiny->config.positions - 2;
    assert_int_equal(result.count, count);
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t start = 0, length = count < longest ? count : longest, masks = 1;
        if (count > longest && i > longest / 2) start = i - longest / 2;
        if (start > count - length) start = count - length;
        while (method == FM_SCORE_WORD && i + masks < start + length && encoding.words[i + masks] == encoding.words[i])
            masks++;
        double expected = slow_log_probability(encoding.ids + start, length, i - start, masks);
        assert_true(fabs((double)result.tokens[i].log_probability - expected) < 1e-5);
        sum += expected;
    }
    assert_true(fabs(result.score - sum) < 1e-5 * (double)count);
    fm_score_result_free(&result);
    fm_encoding_free(&encoding);
}

static void test_slow_loop(void **state)
{
    (void)state;
    fm_buffer longer = {0};
    for (int i = 0; i < 60; i++)
        fm_buffer_text(&longer, i % 3 ? "The unheardof movie was really good! " : "We hated Rome, Madrid and Oslo. ");
    for (int method = FM_SCORE_WORD; method <= FM_SCORE_TOKEN; method++) {
        check_slowly("Good", (fm_score_method)method);
        check_slowly("Everyone liked this honest, charming film about Madrid.", (fm_score_method)method);
        check_slowly(longer.data, (fm_score_method)method);
    }
    fm_buffer_free(&longer);
}

static void test_vectors(void **state)
{
    (void)state;
    cJSON *cases = read_vectors("score");
    const cJSON *one;
    cJSON_ArrayForEach(one, cases)
    {
        fm_error err;
        fm_score_result result;
        const char *text = text_of(one, "text");
        fm_score_method method = strcmp(text_of(one, "method"), "word") == 0 ? FM_SCORE_WORD : FM_SCORE_TOKEN;
        assert_ok(fm_score(tiny, text, strlen(text), method, NULL, NULL, &result, &err), err);
        assert_int_equal(result.count, cJSON_GetArraySize(member(one, "tokens")));
        for (size_t i = 0; i < result.count; i++) {
            const cJSON *token = cJSON_GetArrayItem(member(one, "tokens"), (int)i);
            assert_int_equal(result.tokens[i].token, number_of(token, "token", -1));
            assert_int_equal(result.tokens[i].start, number_of(token, "start", -1));
            assert_int_equal(result.tokens[i].end, number_of(token, "end", -1));
            double expected = number_of(token, "log_probability", 1.0);
            assert_true(fabs((double)result.tokens[i].log_probability - expected) < 1e-5);
        }
        assert_true(fabs(result.score - number_of(one, "score", 1.0)) < 1e-5 * (double)result.count);
        fm_score_result_free(&result);
    }
    cJSON_Delete(cases);
}

/* The pieces of a word give it away where they are not masked. */
static void test_methods_differ(void **state)
{
    (void)state;
    fm_error err;
    fm_score_result word, token;
    const char text[] = "Nobody loved it.";
    assert_ok(fm_score(tiny, text, strlen(text), FM_SCORE_WORD, NULL, NULL, &word, &err), err);
    assert_ok(fm_score(tiny, text, strlen(text), FM_SCORE_TOKEN, NULL, NULL, &token, &err), err);
    assert_int_equal(word.count, token.count);
    assert_true(word.score < token.score);
    for (size_t i = 0; i < word.count; i++) /* the last piece, and a word of one, are scored alike */
        if (i + 1 == word.count || word.tokens[i + 1].word != word.tokens[i].word)
            assert_true(word.tokens[i].log_probability == token.tokens[i].log_probability);
    fm_score_result_free(&word);
    fm_score_result_free(&token);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const empty[] = {"", "  \n\t ", "\x01\x02", "[MASK][SEP]"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        fm_error err;
        fm_score_result result;
        assert_int_equal(fm_score(tiny, empty[i], strlen(empty[i]), FM_SCORE_WORD, NULL, NULL, &result, &err),
                         FM_E_FORMAT);
        assert_non_null(strstr(err.text, "no word to score"));
        assert_null(result.tokens);
    }
}

typedef struct steps {
    uint64_t calls, last, most;
} steps;

static bool count_steps(void *context, uint64_t done, uint64_t total)
{
    steps *s = context;
    assert_true(done >= s->last && done <= total);
    s->last = done;
    return ++s->calls < s->most;
}

static void test_progress_and_abort(void **state)
{
    (void)state;
    fm_error err;
    fm_score_result result;
    fm_buffer text = {0};
    for (int i = 0; i < 40; i++) fm_buffer_text(&text, "The movie was good. ");
    steps all = {0, 0, UINT64_MAX}, few = {0, 0, 3};
    assert_ok(fm_score(tiny, text.data, text.size, FM_SCORE_WORD, count_steps, &all, &result, &err), err);
    assert_true(all.last > 0 && all.calls > 6);
    fm_score_result_free(&result);
    assert_int_equal(fm_score(tiny, text.data, text.size, FM_SCORE_WORD, count_steps, &few, &result, &err),
                     FM_E_ABORTED);
    assert_int_equal(few.calls, 3);
    /* The model is as good as before. */
    assert_ok(fm_score(tiny, "good", 4, FM_SCORE_WORD, NULL, NULL, &result, &err), err);
    fm_score_result_free(&result);
    fm_buffer_free(&text);
}

/* Two runners of one model, in turns: neither sees the other's numbers. */
static void test_runners_take_turns(void **state)
{
    (void)state;
    fm_error err;
    fm_runner a, b;
    const uint32_t ids[] = {70, 80, 90, 100};
    float alone[2] = {0}, *results[] = {alone, alone + 1};
    for (int i = 0; i < 2; i++) {
        assert_ok(fm_runner_open(&a, tiny, FM_RUN_LOSS, NULL, &err), err);
        fm_runner_ask(&a, fm_runner_add(&a, ids + i, 3), ids[i]);
        assert_ok(fm_runner_finish(&a, NULL, NULL, 0, 0, &err), err);
        *results[i] = a.results[0];
        fm_runner_free(&a);
    }
    assert_true(alone[0] != alone[1]);
    assert_ok(fm_runner_open(&a, tiny, FM_RUN_LOSS, NULL, &err), err);
    assert_ok(fm_runner_open(&b, tiny, FM_RUN_LOSS, NULL, &err), err);
    fm_runner_ask(&a, fm_runner_add(&a, ids, 3), ids[0]);
    fm_runner_ask(&b, fm_runner_add(&b, ids + 1, 3), ids[1]);
    bool done;
    for (int i = 0; i < 3; i++) assert_ok(fm_runner_step(&a, &done, &err), err);
    assert_ok(fm_runner_step(&b, &done, &err), err);
    assert_ok(fm_runner_finish(&a, NULL, NULL, 0, 0, &err), err);
    assert_ok(fm_runner_finish(&b, NULL, NULL, 0, 0, &err), err);
    assert_true(a.results[0] == alone[0] && b.results[0] == alone[1]);
    fm_runner_free(&a);
    fm_runner_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_loop),          cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_methods_differ),     cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_progress_and_abort), cmocka_unit_test(test_runners_take_turns),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
