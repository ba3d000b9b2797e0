/* test_tasks_embed.c - vectors of texts (core/tasks/embed.c): against PyTorch (tests/vectors/embed.json), alone and in
 * batches, and their similarity. */
#include "tasks.h"

enum { MOST = 400 };

static fm_view view(const char *text)
{
    return (fm_view){text, strlen(text)};
}

static void test_vectors(void **state)
{
    (void)state;
    cJSON *cases = read_vectors("embed");
    uint32_t width = fm_model_width(tiny);
    float *vector = calloc(width, sizeof *vector);
    const cJSON *one;
    assert_non_null(vector);
    cJSON_ArrayForEach(one, cases)
    {
        fm_error err;
        const fm_view text = view(text_of(one, "text"));
        assert_ok(fm_embed(tiny, &text, 1, NULL, NULL, vector, &err), err);
        assert_int_equal(width, cJSON_GetArraySize(member(one, "vector")));
        for (uint32_t i = 0; i < width; i++)
            assert_true(fabs((double)vector[i] - cJSON_GetArrayItem(member(one, "vector"), (int)i)->valuedouble) <
                        1e-5);
    }
    free(vector);
    cJSON_Delete(cases);
}

/* More texts than a batch holds, and longer ones than the model: each has the vector that it has alone. */
static void test_batches(void **state)
{
    (void)state;
    fm_error err;
    uint32_t width = fm_model_width(tiny);
    char *texts[MOST];
    fm_view views[MOST];
    float *vectors = calloc(MOST * width, sizeof *vectors), *alone = calloc(width, sizeof *alone);
    assert_true(vectors && alone);
    for (size_t i = 0; i < MOST; i++) {
        fm_buffer text = {0};
        for (size_t j = 0; j <= i * 7 % 90; j++) fm_buffer_text(&text, (i + j) % 3 ? "the movie " : "was good. ");
        texts[i] = text.data;
        views[i] = (fm_view){text.data, text.size};
    }
    assert_ok(fm_embed(tiny, views, MOST, NULL, NULL, vectors, &err), err);
    for (size_t i = 0; i < MOST; i++) {
        assert_ok(fm_embed(tiny, &views[i], 1, NULL, NULL, alone, &err), err);
        assert_memory_equal(alone, vectors + i * width, width * sizeof *alone);
        free(texts[i]);
    }
    assert_ok(fm_embed(tiny, NULL, 0, NULL, NULL, vectors, &err), err);
    free(vectors);
    free(alone);
}

static void test_similarity(void **state)
{
    (void)state;
    fm_error err;
    const float a[] = {3.0f, 4.0f}, b[] = {-6.0f, -8.0f}, c[] = {4.0f, -3.0f}, zero[] = {0.0f, 0.0f};
    assert_true(fabs(fm_similarity(a, a, 2) - 1.0) < 1e-12);
    assert_true(fabs(fm_similarity(a, b, 2) + 1.0) < 1e-12);
    assert_true(fabs(fm_similarity(a, c, 2)) < 1e-12);
    assert_true(fm_similarity(a, zero, 2) == 0.0);
    const fm_view texts[] = {view("This movie was good."), view("This film was great."), view("Rome is in Italy!")};
    uint32_t width = fm_model_width(tiny);
    float *vectors = calloc(3 * width, sizeof *vectors);
    assert_non_null(vectors);
    assert_ok(fm_embed(tiny, texts, 3, NULL, NULL, vectors, &err), err);
    assert_true(fm_similarity(vectors, vectors + width, width) >
                fm_similarity(vectors, vectors + 2 * width, width) + 0.1);
    free(vectors);
}

static bool stop_at_once(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    assert_true(done <= total);
    return false;
}

static void test_refusals(void **state)
{
    (void)state;
    fm_error err;
    const fm_view texts[] = {view("good"), view(" \n"), view("good")};
    float *vectors = calloc(3 * fm_model_width(tiny), sizeof *vectors);
    assert_non_null(vectors);
    assert_int_equal(fm_embed(tiny, texts, 3, NULL, NULL, vectors, &err), FM_E_FORMAT);
    assert_non_null(strstr(err.text, "no token"));
    assert_int_equal(fm_embed(tiny, texts, 1, stop_at_once, NULL, vectors, &err), FM_E_ABORTED);
    free(vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_similarity),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
