/* test_tasks_fill.c - fill-mask (core/tasks: choices.c, query.c, fill.c, wording.c): targets, filters and joint
 * fillings against PyTorch (tests/vectors/fill.json), drawings against the distribution that they are drawn from, and
 * what is refused. Plain fillings are tested in test_tasks.c too. */
#include "tasks.h"

#include <regex.h>

static bool allowed[1000];
static const char *targets[20], *excluded[20];

/* The options of a case of the vectors; its regular expressions mean the same to POSIX and to JavaScript. */
static fm_fill_options options_of(const cJSON *one)
{
    fm_fill_options o = fm_fill_defaults();
    const char *mode = text_of(one, "mode"), *match = text_of(one, "match");
    const cJSON *target;
    if (mode) o.mode = strcmp(mode, "joint") == 0 ? FM_FILL_JOINT : FM_FILL_SAMPLE;
    o.top_k = (size_t)number_of(one, "top_k", (double)o.top_k);
    o.beams = (size_t)number_of(one, "beams", (double)o.beams);
    o.draw_from = (uint32_t)number_of(one, "draw_from", 0);
    o.top_p = number_of(one, "top_p", o.top_p);
    o.temperature = number_of(one, "temperature", o.temperature);
    o.seed = (uint64_t)number_of(one, "seed", 0);
    o.special = cJSON_IsTrue(member(one, "special"));
    o.pieces = cJSON_IsTrue(member(one, "pieces"));
    o.targets = targets;
    o.excluded = excluded;
    cJSON_ArrayForEach(target, member(one, "targets")) targets[o.target_count++] = target->valuestring;
    cJSON_ArrayForEach(target, member(one, "exclude")) excluded[o.excluded_count++] = target->valuestring;
    if (match) {
        regex_t regex;
        assert_int_equal(regcomp(&regex, match, REG_EXTENDED), 0);
        for (uint32_t i = 0; i < fm_tokenizer_size(tiny->tokenizer); i++)
            allowed[i] = regexec(&regex, fm_tokenizer_token(tiny->tokenizer, i), 0, NULL, 0) == 0;
        regfree(&regex);
        o.allowed = allowed;
    }
    return o;
}

static fm_fill_result fill(const char *text, const fm_fill_options *o)
{
    fm_error err;
    fm_fill_result result;
    assert_ok(fm_fill(tiny, text, strlen(text), o, NULL, NULL, &result, &err), err);
    return result;
}

static void check_filling(const char *text, const fm_filling *found, const cJSON *expected)
{
    if (strcmp(found->word, text_of(expected, "word")) != 0)
        fail_msg("%s: \"%s\" for \"%s\"", text, found->word, text_of(expected, "word"));
    double log_probability = number_of(expected, "log_probability", 1.0);
    assert_true(fabs(found->log_probability - log_probability) < 1e-5 * (1.0 + fabs(log_probability)));
    assert_true(fabs(found->score - exp(log_probability)) < 1e-5);
    assert_int_equal(found->start, number_of(expected, "start", -1));
    assert_int_equal(found->end, number_of(expected, "end", -1));
    assert_int_equal(found->count, cJSON_GetArraySize(member(expected, "tokens")));
    for (size_t i = 0; i < found->count; i++)
        assert_int_equal(found->tokens[i], cJSON_GetArrayItem(member(expected, "tokens"), (int)i)->valueint);
}

static void test_vectors(void **state)
{
    (void)state;
    cJSON *cases = read_vectors("fill");
    const cJSON *one;
    cJSON_ArrayForEach(one, cases)
    {
        const char *text = text_of(one, "text");
        const fm_fill_options o = options_of(one);
        const cJSON *masks = member(one, "masks"), *texts = member(one, "texts");
        fm_fill_result result = fill(text, &o);
        if (masks) assert_int_equal(result.masks, cJSON_GetArraySize(masks));
        assert_int_equal(result.count, cJSON_GetArraySize(texts));
        for (size_t m = 0; m < result.masks && masks; m++) {
            const cJSON *top = cJSON_GetArrayItem(masks, (int)m);
            assert_int_equal(result.mask[m].count, cJSON_GetArraySize(top));
            for (size_t i = 0; i < result.mask[m].count; i++)
                check_filling(text, &result.mask[m].top[i], cJSON_GetArrayItem(top, (int)i));
        }
        for (size_t i = 0; i < result.count; i++) {
            const cJSON *expected = cJSON_GetArrayItem(texts, (int)i);
            double sum = number_of(expected, "log_probability", 1.0);
            assert_true(fabs(result.texts[i].log_probability - sum) < 1e-5 * (1.0 + fabs(sum)));
            assert_int_equal(result.masks, cJSON_GetArraySize(member(expected, "fillings")));
            for (size_t m = 0; m < result.masks; m++)
                check_filling(text, &result.texts[i].fillings[m],
                              cJSON_GetArrayItem(member(expected, "fillings"), (int)m));
        }
        fm_fill_result_free(&result);
    }
    cJSON_Delete(cases);
}

static void test_drawn_vectors(void **state)
{
    (void)state;
    cJSON *cases = read_vectors("sample");
    const cJSON *one;
    cJSON_ArrayForEach(one, cases)
    {
        const char *text = text_of(one, "text");
        const fm_fill_options o = options_of(one);
        fm_fill_result result = fill(text, &o);
        assert_int_equal(result.count, cJSON_GetArraySize(member(one, "sequences")));
        for (size_t i = 0; i < result.count; i++) {
            fm_text written;
            assert_int_equal(fm_fill_write(text, strlen(text), result.texts[i].fillings, result.masks, &written, NULL),
                             FM_OK);
            assert_string_equal(written.data, cJSON_GetArrayItem(member(one, "sequences"), (int)i)->valuestring);
            free(written.data);
        }
        fm_fill_result_free(&result);
    }
    cJSON_Delete(cases);
}

/* Drawn words come as often as their probabilities say, and those of the second mask as often as they do once the first
 * one is filled in. */
static void test_drawings_follow_the_probabilities(void **state)
{
    (void)state;
    enum { DRAWINGS = 20000 };
    static const char text[] = "Nobody [MASK] the [MASK].";
    static const char *const words[] = {"loved", "hated", "liked", "was"};
    fm_fill_options o = fm_fill_defaults();
    o.targets = words;
    o.target_count = 4;
    o.mode = FM_FILL_JOINT;
    o.top_k = 16;
    fm_fill_result all = fill(text, &o);
    assert_int_equal(all.count, 16);
    o.mode = FM_FILL_SAMPLE;
    o.top_k = DRAWINGS;
    o.temperature = 2.0;
    fm_fill_result drawn = fill(text, &o);
    double share[16] = {0}, first[4] = {0}, sum = 0.0, second[4] = {0};
    for (size_t i = 0; i < DRAWINGS; i++) {
        const fm_text_filling *t = &drawn.texts[i];
        size_t j = 0;
        while (all.texts[j].fillings[0].target != t->fillings[0].target ||
               all.texts[j].fillings[1].target != t->fillings[1].target)
            j++;
        share[j] += 1.0 / DRAWINGS;
        assert_true(fabs(t->log_probability - all.texts[j].log_probability) < 1e-6);
        assert_true(fabs(t->fillings[1].log_probability - all.texts[j].fillings[1].log_probability) < 1e-6);
    }
    for (size_t j = 0; j < 16; j++) {
        const fm_filling *f = all.texts[j].fillings;
        first[f[0].target] = exp(f[0].log_probability / 2.0);
        second[f[0].target] += exp(f[1].log_probability / 2.0);
    }
    for (size_t i = 0; i < 4; i++) sum += first[i];
    for (size_t j = 0; j < 16; j++) {
        const fm_filling *f = all.texts[j].fillings;
        double expected = first[f[0].target] / sum * exp(f[1].log_probability / 2.0) / second[f[0].target];
        assert_true(fabs(share[j] - expected) < 5.0 * sqrt(expected / DRAWINGS));
    }
    fm_fill_result_free(&all);
    fm_fill_result_free(&drawn);
}

/* A drawing is that of its seed and number, however many there are. */
static void test_drawings_are_their_own(void **state)
{
    (void)state;
    static const char text[] = "[MASK] [MASK] was [MASK].";
    fm_fill_options o = fm_fill_defaults();
    o.mode = FM_FILL_SAMPLE;
    o.top_k = 40;
    fm_fill_result many = fill(text, &o);
    o.top_k = 3;
    fm_fill_result few = fill(text, &o);
    o.seed = 1;
    fm_fill_result others = fill(text, &o);
    size_t same = 0, different = 0;
    for (size_t i = 0; i < 3; i++)
        for (size_t m = 0; m < 3; m++) {
            assert_int_equal(few.texts[i].fillings[m].tokens[0], many.texts[i].fillings[m].tokens[0]);
            assert_true(few.texts[i].fillings[m].log_probability == many.texts[i].fillings[m].log_probability);
            same += others.texts[i].fillings[m].tokens[0] == few.texts[i].fillings[m].tokens[0];
        }
    for (size_t i = 1; i < 40; i++)
        different += strcmp(many.texts[i].fillings[1].word, many.texts[0].fillings[1].word) != 0;
    assert_true(same < 9 && different > 10);
    fm_fill_result_free(&many);
    fm_fill_result_free(&few);
    fm_fill_result_free(&others);
}

/* Beams that leave nothing out find the best filling of all; fewer may miss it but never find a better one. */
static void test_beams(void **state)
{
    (void)state;
    static const char text[] = "The [MASK] [MASK] and the cast.";
    fm_fill_options o = fm_fill_defaults();
    o.mode = FM_FILL_JOINT;
    o.top_k = 1;
    double best = 0.0;
    for (size_t beams = 1024; beams >= 1; beams /= 4) {
        o.beams = beams;
        fm_fill_result result = fill(text, &o);
        double sum = 0.0;
        assert_int_equal(result.count, 1);
        for (size_t m = 0; m < 2; m++) sum += result.texts[0].fillings[m].log_probability;
        assert_true(fabs(sum - result.texts[0].log_probability) < 1e-9);
        if (beams == 1024) best = sum;
        assert_true(sum <= best + 1e-9);
        fm_fill_result_free(&result);
    }
    o.top_k = 300; /* as many beams, whatever o.beams says */
    fm_fill_result result = fill(text, &o);
    assert_int_equal(result.count, 300);
    for (size_t i = 1; i < 300; i++) assert_true(result.texts[i].score <= result.texts[i - 1].score);
    fm_fill_result_free(&result);
}

/* All that the filters leave; special tokens and pieces only if asked for. */
static void test_filters(void **state)
{
    (void)state;
    static const char text[] = "This movie was [MASK].";
    uint32_t size = fm_tokenizer_size(tiny->tokenizer);
    for (int kind = 0; kind < 8; kind++) {
        fm_fill_options o = fm_fill_defaults();
        size_t expected = 0;
        o.top_k = 1000;
        o.special = kind & 1;
        o.pieces = kind & 2;
        o.allowed = kind & 4 ? allowed : NULL;
        for (uint32_t i = 0; i < size; i++) {
            bool piece = strncmp(fm_tokenizer_token(tiny->tokenizer, i), "##", 2) == 0;
            allowed[i] = i % 3 == 0;
            expected += (!o.allowed || i % 3 == 0) && (o.special || !fm_tokenizer_is_special(tiny->tokenizer, i)) &&
                        (o.pieces || !piece);
        }
        fm_fill_result result = fill(text, &o);
        assert_int_equal(result.mask[0].count, expected);
        fm_fill_result_free(&result);
    }
}

/* Every mask of a text that is longer than the model, as if its window were all there is. */
static void test_windows(void **state)
{
    (void)state;
    uint32_t longest = tiny->config.positions - 2, half = longest / 2;
    fm_buffer text = {0}, window = {0};
    for (uint32_t i = 0; i < 200; i++) {
        const char *word = i % 40 == 33 ? "[MASK] " : i % 3 ? "movie " : "the ";
        fm_buffer_text(&text, word);
        if (i >= 113 - half && i < 113 - half + longest) fm_buffer_text(&window, word);
    }
    fm_fill_result all = fill(text.data, NULL), one = fill(window.data, NULL);
    assert_int_equal(all.masks, 5);
    assert_int_equal(one.masks, 1);
    assert_memory_equal(text.data + all.mask[2].start, "[MASK]", 6);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(all.mask[2].top[i].word, one.mask[0].top[i].word);
        assert_true(all.mask[2].top[i].log_probability == one.mask[0].top[i].log_probability);
    }
    fm_fill_result_free(&all);
    fm_fill_result_free(&one);
    fm_buffer_free(&text);
    fm_buffer_free(&window);
}

/* More masks than a batch has rows for, and more targets with pieces than fit into one. */
static void test_many_masks_and_targets(void **state)
{
    (void)state;
    enum { MASKS = 600 };
    static char names[300][8];
    const char *many[300];
    fm_buffer text = {0};
    for (int i = 0; i < MASKS; i++) fm_buffer_text(&text, i % 2 ? "[MASK] was " : "[MASK][MASK]. ");
    fm_fill_options o = fm_fill_defaults();
    o.top_k = 1;
    fm_fill_result result = fill(text.data, &o);
    assert_int_equal(result.masks, MASKS + MASKS / 2);
    for (size_t i = 0; i < result.masks; i++) assert_int_equal(result.mask[i].count, 1);
    fm_fill_result_free(&result);
    fm_buffer_free(&text);
    for (int i = 0; i < 300; i++) {
        snprintf(names[i], sizeof names[i], "%c%c%c", 'a' + i % 20, 'a' + i / 20, 'a' + i % 7);
        many[i] = names[i];
    }
    o.targets = many;
    o.target_count = o.top_k = 300;
    result = fill("The [MASK] was good.", &o);
    for (size_t i = 0; i < result.mask[0].count; i += 37) { /* each as it is alone */
        const fm_filling *f = &result.mask[0].top[i];
        const char *name = many[f->target];
        o.targets = &name;
        o.target_count = 1;
        fm_fill_result alone = fill("The [MASK] was good.", &o);
        assert_int_equal(alone.mask[0].top[0].target, 0);
        assert_true(fabs(alone.mask[0].top[0].log_probability - f->log_probability) < 1e-6);
        fm_fill_result_free(&alone);
    }
    fm_fill_result_free(&result);
}

static void test_other_bytes_survive(void **state)
{
    (void)state;
    static const char text[] = "\t \xff[MASK]  <br />\r\n [MASK]\xe2\x98\x83 don't  [MASK]";
    fm_fill_options o = fm_fill_defaults();
    fm_text written;
    o.mode = FM_FILL_SAMPLE;
    o.top_k = 50;
    fm_fill_result result = fill(text, &o);
    for (size_t i = 0; i < result.count; i++) {
        const fm_filling *f = result.texts[i].fillings;
        assert_int_equal(fm_fill_write(text, strlen(text), f, 3, &written, NULL), FM_OK);
        fm_buffer expected = {0};
        fm_buffer_format(&expected, "\t \xff%s  <br />\r\n %s\xe2\x98\x83 don't  %s", f[0].word, f[1].word, f[2].word);
        assert_string_equal(written.data, expected.data);
        fm_buffer_free(&expected);
        free(written.data);
    }
    fm_fill_result_free(&result);
    assert_int_equal(fm_fill_write("good", 4, NULL, 0, &written, NULL), FM_OK);
    assert_string_equal(written.data, "good");
    free(written.data);
}

static void refuse(const char *text, const fm_fill_options *o, fm_status status, const char *words)
{
    fm_error err = {.text = ""};
    fm_fill_result result;
    assert_int_equal(fm_fill(tiny, text, strlen(text), o, NULL, NULL, &result, &err), status);
    if (!strstr(err.text, words)) fail_msg("\"%s\" lacks \"%s\"", err.text, words);
    assert_true(result.masks == 0 && !result.mask && !result.texts);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char text[] = "A [MASK] movie";
    fm_fill_options o = fm_fill_defaults();
    const char *bad[] = {"good", " \t", "caf\xe2\x98\x83", NULL};
    fm_buffer phrase = {0};
    o.mode = (fm_fill_mode)7;
    refuse(text, &o, FM_E_ARGUMENT, "which is none");
    o = fm_fill_defaults();
    o.targets = bad;
    o.target_count = 2;
    refuse(text, &o, FM_E_ARGUMENT, "has no token");
    o.targets = bad + 2;
    o.target_count = 1;
    refuse(text, &o, FM_E_ARGUMENT, "that the vocabulary lacks");
    for (int i = 0; i < 31; i++) fm_buffer_text(&phrase, "good ");
    bad[2] = phrase.data;
    refuse(text, &o, FM_E_LIMIT, "has 31 tokens, more than the 30");
    o.pieces = true;
    refuse(text, &o, FM_E_ARGUMENT, "exclude each other");
    o.pieces = false;
    o.allowed = allowed;
    refuse(text, &o, FM_E_ARGUMENT, "exclude each other");
    o.target_count = 0;
    memset(allowed, 0, sizeof allowed);
    refuse(text, &o, FM_E_ARGUMENT, "No token of the vocabulary is allowed");
    o = fm_fill_defaults();
    o.mode = FM_FILL_SAMPLE;
    o.temperature = 0.0;
    refuse(text, &o, FM_E_ARGUMENT, "temperature is 0");
    o.temperature = NAN;
    refuse(text, &o, FM_E_ARGUMENT, "temperature is");
    o.temperature = 1.0;
    o.top_p = 0.0;
    refuse(text, &o, FM_E_ARGUMENT, "top_p is 0");
    refuse("good", NULL, FM_E_FORMAT, "has no [MASK]");
    fm_buffer_free(&phrase);
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
    static const char text[] = "[MASK] [MASK] [MASK] [MASK]";
    fm_error err;
    fm_fill_result result;
    for (int mode = FM_FILL_EACH; mode <= FM_FILL_SAMPLE; mode++) {
        fm_fill_options o = fm_fill_defaults();
        steps all = {0, 0, UINT64_MAX}, few = {0, 0, 3};
        o.mode = (fm_fill_mode)mode;
        assert_ok(fm_fill(tiny, text, strlen(text), &o, count_steps, &all, &result, &err), err);
        assert_true(all.calls >= 3);
        fm_fill_result_free(&result);
        assert_int_equal(fm_fill(tiny, text, strlen(text), &o, count_steps, &few, &result, &err), FM_E_ABORTED);
        assert_int_equal(few.calls, 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_drawn_vectors),
        cmocka_unit_test(test_drawings_follow_the_probabilities),
        cmocka_unit_test(test_drawings_are_their_own),
        cmocka_unit_test(test_beams),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_many_masks_and_targets),
        cmocka_unit_test(test_other_bytes_survive),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_progress_and_abort),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
