/* test_tasks_filter.c - what keeps variants like their sources (core/tasks: filter.c, labels.c, and the labels of
 * augment.c): the filters against fm_embed and fm_score, the labels against fm_fill. */
#include "tasks.h"

#include <strings.h>

static const char text[] = "The plot was funny and the cast was good. Nobody loved the dull music!";

static double similarity_to_source(const fm_text *variant)
{
    fm_error err;
    float vectors[2][512];
    assert_true(fm_model_width(tiny) <= 512);
    const fm_view source = {text, strlen(text)}, other = {variant->data, variant->size};
    assert_ok(fm_embed(tiny, &source, 1, NULL, NULL, vectors[0], &err), err);
    assert_ok(fm_embed(tiny, &other, 1, NULL, NULL, vectors[1], &err), err);
    return fm_similarity(vectors[0], vectors[1], fm_model_width(tiny));
}

static double mean_score(const char *data, size_t size)
{
    fm_error err;
    fm_score_result result;
    assert_ok(fm_score(tiny, data, size, FM_SCORE_WORD, NULL, NULL, &result, &err), err);
    double mean = result.score / (double)result.count;
    fm_score_result_free(&result);
    return mean;
}

/* How many variants of many a filter would have refused, and whether there were as many as asked for. */
static size_t refused_by(const fm_augment_options *o, double least_similarity, double most_drop, bool *all)
{
    size_t refused = 0;
    double mean = mean_score(text, strlen(text));
    *all = true;
    for (uint64_t i = 0; i < 8; i++) {
        fm_augmented result = augment_one(o, i, text, strlen(text), NULL, 0);
        *all = *all && result.count == o->variants;
        for (size_t v = 0; v < result.count; v++)
            refused += similarity_to_source(&result.variants[v]) < least_similarity ||
                       mean_score(result.variants[v].data, result.variants[v].size) < mean - most_drop;
        fm_augmented_free(&result);
    }
    return refused;
}

static void test_filters(void **state)
{
    (void)state;
    bool all;
    for (int action = 0; action < 3; action++) {
        fm_augment_options o = fm_augment_defaults(), similar, likely, both;
        o.action = (fm_augment_action)action;
        o.rate = 0.3;
        o.variants = 4;
        similar = likely = o;
        similar.least_similarity = 0.95;
        likely.most_drop = 0.3;
        both = similar;
        both.most_drop = 0.3;
        assert_true(refused_by(&o, 0.95, 99.0, &all) > 0 && all);
        assert_true(refused_by(&o, -1.0, 0.3, &all) > 0);
        assert_int_equal(refused_by(&similar, 0.95, 99.0, &all), 0);
        assert_int_equal(refused_by(&likely, -1.0, 0.3, &all), 0);
        assert_int_equal(refused_by(&both, 0.95, 0.3, &all), 0);
    }
}

/* A variant that passes at once is the one that there is without a filter. */
static void test_filters_draw_alike(void **state)
{
    (void)state;
    fm_augment_options o = fm_augment_defaults(), filtered;
    size_t same = 0;
    filtered = o;
    filtered.least_similarity = 0.9;
    filtered.most_drop = 5.0;
    for (uint64_t i = 0; i < 10; i++) {
        fm_augmented a = augment_one(&o, i, text, strlen(text), NULL, 0);
        fm_augmented b = augment_one(&filtered, i, text, strlen(text), NULL, 0);
        bool passes = similarity_to_source(&a.variants[0]) >= 0.9 &&
                      mean_score(a.variants[0].data, a.variants[0].size) >= mean_score(text, strlen(text)) - 5.0;
        bool equal = b.count == 1 && strcmp(a.variants[0].data, b.variants[0].data) == 0;
        assert_int_equal(passes, equal);
        same += equal;
        fm_augmented_free(&a);
        fm_augmented_free(&b);
    }
    assert_true(same > 0);
}

static void test_impossible_filter(void **state)
{
    (void)state;
    fm_augment_options o = fm_augment_defaults();
    o.least_similarity = 1.0;
    o.variants = 2;
    fm_augmented result = augment_one(&o, 0, text, strlen(text), NULL, 0);
    assert_int_equal(result.count, 0);
    assert_string_equal(result.reason,
                        "Only 0 of 2 variants differ from the text and from each other, and pass the filters.");
    fm_augmented_free(&result);
}

/* ---- labels ---- */

static const char *const labels[] = {"Good", "bad", "funny", "dull", "loved", "hated", "nobody", "everyone"};
enum { LABELS = sizeof labels / sizeof *labels };

static bool is_label(const char *word, size_t size)
{
    for (size_t i = 0; i < LABELS; i++)
        if (size == strlen(labels[i]) && strncasecmp(word, labels[i], size) == 0) return true;
    return false;
}

/* How probable the labels are, all together, in the place of some bytes of the text. */
static double share_at(size_t start, size_t end)
{
    static bool allowed[1000];
    fm_buffer masked = {0};
    fm_fill_options o = fm_fill_defaults();
    fm_fill_result result;
    fm_error err;
    double share = 0.0;
    size_t tokens = 0;
    for (uint32_t i = 0; i < fm_tokenizer_size(tiny->tokenizer); i++) {
        const char *token = fm_tokenizer_token(tiny->tokenizer, i);
        allowed[i] = is_label(token, strlen(token));
        tokens += allowed[i];
    }
    o.allowed = allowed;
    o.top_k = 1000;
    fm_buffer_add(&masked, text, start);
    fm_buffer_text(&masked, "[MASK]");
    fm_buffer_text(&masked, text + end);
    assert_ok(fm_fill(tiny, masked.data, masked.size, &o, NULL, NULL, &result, &err), err);
    assert_int_equal(result.mask[0].count, tokens);
    for (size_t i = 0; i < result.mask[0].count; i++) share += result.mask[0].top[i].score;
    fm_fill_result_free(&result);
    fm_buffer_free(&masked);
    return share;
}

static size_t word_end(const char *at)
{
    size_t end = 0;
    while ((at[end] | 32) >= 'a' && (at[end] | 32) <= 'z') end++;
    return end;
}

/* One word changes, and it is none of the labels, nor becomes one, nor stands where they are expected; without labels
 * all of these happen. */
static void test_labels(void **state)
{
    (void)state;
    for (int with = 0; with < 2; with++) {
        fm_augment_options o = fm_augment_defaults();
        size_t variants = 0, touched = 0, became = 0, expected = 0;
        o.count = 1;
        o.variants = 10;
        o.labels = labels;
        o.label_count = with ? LABELS : 0;
        o.label_share = 0.2;
        for (uint64_t i = 0; i < 20; i++) {
            fm_augmented result = augment_one(&o, i, text, strlen(text), NULL, 0);
            for (size_t v = 0; v < result.count; v++) {
                const char *new = result.variants[v].data;
                size_t at = 0;
                while (new[at] == text[at]) at++;
                while (at > 0 && word_end(text + at - 1) > 0) at--; /* to the start of the word */
                size_t end = word_end(text + at), new_end = word_end(new + at);
                assert_string_equal(text + at + end, new + at + new_end);
                touched += is_label(text + at, end);
                became += is_label(new + at, new_end);
                expected += share_at(at, at + end) >= 0.2;
                variants++;
            }
            fm_augmented_free(&result);
        }
        assert_true(variants > 50);
        if (with) assert_true(touched + became + expected == 0);
        else assert_true(touched > 0 && became > 0 && expected > 0);
    }
}

/* Labels stay, whatever else is done. */
static void test_labels_of_other_actions(void **state)
{
    (void)state;
    for (int action = 0; action < 3; action++) {
        fm_augment_options o = fm_augment_defaults();
        o.action = (fm_augment_action)action;
        o.rate = 1.0;
        o.labels = labels;
        o.label_count = LABELS;
        for (uint64_t i = 0; i < 20; i++) {
            fm_augmented result = augment_one(&o, i, text, strlen(text), NULL, 0);
            for (size_t v = 0; v < result.count; v++) {
                static const char *const there[] = {"funny", "good", "Nobody", "loved", "dull"};
                size_t next = 0;
                for (const char *at = result.variants[v].data; *at; at += word_end(at) > 0 ? word_end(at) : 1)
                    if (is_label(at, word_end(at))) {
                        assert_true(next < 5 && strncmp(at, there[next], word_end(at)) == 0);
                        next++;
                    }
                assert_int_equal(next, 5);
            }
            fm_augmented_free(&result);
        }
    }
}

static void test_usual_labels(void **state)
{
    (void)state;
    size_t count;
    const char *const *words = fm_augment_sentiment(&count);
    assert_true(count > 40);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++) assert_string_not_equal(words[i], words[j]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_filters_draw_alike),
        cmocka_unit_test(test_impossible_filter),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_labels_of_other_actions),
        cmocka_unit_test(test_usual_labels),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
