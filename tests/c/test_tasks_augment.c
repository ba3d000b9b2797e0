/* test_tasks_augment.c - augmentation (core/tasks: words.c, sample.c, edits.c, augment.c): which words may change,
 * draws against their definition, and what must hold for every variant of every text, however strange. */
#include "tasks.h"

#include "tasks/edits.h"
#include "tokenizer/unicode.h"

/* ---- words ---- */

static void test_plain_words(void **state)
{
    (void)state;
    cJSON *cases = read_vectors("words");
    const cJSON *one;
    cJSON_ArrayForEach(one, cases)
    {
        fm_error err;
        fm_encoding encoding = {0};
        fm_words words;
        const char *text = text_of(one, "text");
        assert_ok(fm_tokenizer_encode(tiny->tokenizer, text, strlen(text), false, &encoding, &err), err);
        assert_ok(fm_words_list(&words, tiny->tokenizer, text, &encoding, strlen(text), &err), err);
        int found = 0;
        for (size_t i = 0; i < words.count; i++) {
            fm_word word = words.list[i];
            if (!word.plain) continue;
            const char *expected = cJSON_GetStringValue(cJSON_GetArrayItem(member(one, "plain"), found++));
            size_t size = word.span.end - word.span.start;
            if (!expected || strlen(expected) != size || memcmp(text + word.span.start, expected, size) != 0)
                fail_msg("%s: \"%.*s\" for \"%s\"", text, (int)size, text + word.span.start,
                         expected ? expected : "none");
        }
        if (found != cJSON_GetArraySize(member(one, "plain"))) fail_msg("%s: %d words", text, found);
        free(words.list);
        fm_encoding_free(&encoding);
    }
    cJSON_Delete(cases);
}

static void test_allowed_words(void **state)
{
    (void)state;
    bool allowed[512];
    uint32_t id;
    size_t count = fm_words_allowed(tiny->tokenizer, allowed), seen = 0;
    static const char *const never[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "!", ":", "'", "b", "##s"};
    static const char *const always[] = {"movie", "a", "good", "paris"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        assert_true(fm_tokenizer_find(tiny->tokenizer, never[i], strlen(never[i]), &id));
        if (allowed[id]) fail_msg("%s is allowed", never[i]);
    }
    for (size_t i = 0; i < sizeof always / sizeof *always; i++) {
        assert_true(fm_tokenizer_find(tiny->tokenizer, always[i], strlen(always[i]), &id));
        if (!allowed[id]) fail_msg("%s is not allowed", always[i]);
    }
    for (uint32_t i = 0; i < fm_tokenizer_size(tiny->tokenizer); i++) seen += allowed[i];
    assert_int_equal(count, seen);
}

/* ---- sampling ---- */

#define VOCAB 60

/* The share of draws in [0, 1) that give each token, from ten thousand of them, evenly spread. */
static void shares(const float *logits, const bool *allowed, uint32_t top_k, double top_p, double temperature,
                   const uint32_t *excluded, size_t excluded_count, double *share)
{
    fm_error err;
    fm_sampler sampler;
    assert_ok(fm_sampler_open(&sampler, VOCAB, allowed, top_k, top_p, temperature, &err), err);
    for (int i = 0; i < VOCAB; i++) share[i] = 0.0;
    for (int i = 0; i < 10000; i++) {
        uint32_t token = UINT32_MAX;
        assert_true(fm_sampler_draw(&sampler, logits, excluded, excluded_count, (i + 0.5) / 10000.0, &token));
        assert_true(token < VOCAB);
        share[token] += 1e-4;
    }
    fm_sampler_free(&sampler);
}

/* The same by definition: sort, cut, normalise. */
static void expected_shares(const float *logits, const bool *allowed, uint32_t top_k, double top_p, double temperature,
                            const uint32_t *excluded, size_t excluded_count, double *share)
{
    uint32_t order[VOCAB], count = 0;
    for (uint32_t i = 0; i < VOCAB; i++) {
        bool out = !allowed[i];
        for (size_t j = 0; j < excluded_count; j++) out = out || excluded[j] == i;
        share[i] = 0.0;
        if (out) continue;
        uint32_t at = count++;
        for (; at > 0 && logits[order[at - 1]] < logits[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    if (top_k > 0 && count > top_k) count = top_k;
    double sum = 0.0, kept = 0.0;
    for (uint32_t i = 0; i < count; i++) sum += exp((double)logits[order[i]] / temperature);
    for (uint32_t i = 0; i < count && kept < top_p * sum; i++)
        kept += share[order[i]] = exp((double)logits[order[i]] / temperature);
    for (uint32_t i = 0; i < VOCAB; i++) share[i] /= kept;
}

static void test_sampler(void **state)
{
    (void)state;
    fm_random random = fm_random_seeded(11, 0);
    for (int round = 0; round < 60; round++) {
        float logits[VOCAB];
        bool allowed[VOCAB];
        double found[VOCAB], expected[VOCAB];
        uint32_t excluded[] = {fm_random_below(&random, VOCAB), fm_random_below(&random, VOCAB)};
        uint32_t top_k = round % 3 ? fm_random_below(&random, VOCAB + 5) : 0;
        double top_p = round % 2 ? 1.0 : 0.1 + 0.8 * (double)fm_random_uniform(&random);
        double temperature = 0.5 + (double)fm_random_uniform(&random);
        for (int i = 0; i < VOCAB; i++) {
            logits[i] = 2.0f * fm_random_normal(&random);
            allowed[i] = i < 10 || fm_random_below(&random, 4) > 0;
        }
        shares(logits, allowed, top_k, top_p, temperature, excluded, 2, found);
        expected_shares(logits, allowed, top_k, top_p, temperature, excluded, 2, expected);
        for (int i = 0; i < VOCAB; i++) assert_true(fabs(found[i] - expected[i]) < 2.1e-4);
        /* At temperature 0 it is the best one. */
        shares(logits, allowed, top_k, top_p, 0.0, excluded, 2, found);
        for (int i = 0; i < VOCAB; i++)
            if (found[i] > 0.5)
                for (int j = 0; j < VOCAB; j++) assert_true(expected[j] <= expected[i]);
    }
}

static void test_sampler_with_nothing_left(void **state)
{
    (void)state;
    fm_error err;
    fm_sampler sampler;
    const float logits[3] = {1.0f, 2.0f, 3.0f};
    const bool allowed[3] = {true, false, true};
    const uint32_t excluded[] = {2, 0};
    uint32_t token;
    assert_ok(fm_sampler_open(&sampler, 3, allowed, 0, 1.0, 1.0, &err), err);
    assert_false(fm_sampler_draw(&sampler, logits, excluded, 2, 0.5, &token));
    assert_true(fm_sampler_draw(&sampler, logits, excluded, 1, 0.5, &token));
    assert_int_equal(token, 0);
    fm_sampler_free(&sampler);
}

/* ---- texts ---- */

/* Texts of words, marks and worse. */
static void make_text(fm_random *random, fm_buffer *out, uint32_t pieces)
{
    static const char *const words[] = {
        "movie", "Good",   "THE",    "plot",   "unheardof",   "Paris",        "was",   "don't",
        "3.5",   "a",      "I",      "BAD",    "caf\xc3\xa9", "director",     "very",  "he-man",
        "cold",  "{name}", "<br />", "[MASK]", "x@y.z",       "\xe6\x98\xa0", "##ing", "\xf0\x9f\x98\x80"};
    static const char *const marks[] = {" ",  " ",  " ",  " ",  " ",    " ",     "  ", "\n",    "\t", "\r\n",
                                        ". ", ", ", "! ", " (", ") \"", "\xff ", "- ", "\n\n ", "; "};
    out->size = 0;
    fm_buffer_text(out, "");
    for (uint32_t i = 0; i < pieces; i++) {
        if (fm_random_below(random, 40) == 0) fm_buffer_add(out, "\0\x01", 2);
        fm_buffer_text(out, words[fm_random_below(random, sizeof words / sizeof *words)]);
        fm_buffer_text(out, marks[fm_random_below(random, sizeof marks / sizeof *marks)]);
    }
    assert_false(out->failed);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_wordly(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0xc3;
}

/* Whether the bytes are letters (all that is not ASCII passes: the vocabulary of the tiny model is ASCII). */
static size_t letters_at(const char *text, size_t size, size_t at)
{
    size_t end = at;
    while (end < size && (is_wordly(text[end]) || (unsigned char)text[end] >= 0x80)) end++;
    return end - at;
}

/* Whether the variant is the source with whole words exchanged: it is read from both ends of each stretch that differs.
 * Written without a look at how the changes are made. */
static bool only_words_exchanged(const char *source, size_t size, const char *variant, size_t variant_size)
{
    size_t i = 0, j = 0;
    while (i < size && j < variant_size) {
        bool starts = i == 0 || !is_wordly(source[i - 1]);
        if (starts && is_wordly(source[i])) {
            size_t a = letters_at(source, size, i), b = letters_at(variant, variant_size, j);
            if (b == 0) return false;
            i += a;
            j += b;
        } else if (source[i++] != variant[j++]) return false;
    }
    return i == size && j == variant_size;
}

/* Whether the longer text is the shorter one with words, each behind a space or after some blanks, put in. */
static bool only_words_more(const char *shorter, size_t short_size, const char *longer, size_t long_size)
{
    size_t i = 0, j = 0;
    while (j < long_size) {
        /* A blank run and a word at a time, which is either in both or only in the longer one. */
        size_t blanks = j, end;
        while (blanks < long_size && is_blank(longer[blanks])) blanks++;
        end = blanks + letters_at(longer, long_size, blanks);
        bool word = blanks > j && end > blanks;
        size_t step = word ? end - j : 1;
        bool same = i + step <= short_size && memcmp(shorter + i, longer + j, step) == 0 &&
                    (!word || i + step == short_size || letters_at(shorter, short_size, i + step) == 0);
        if (!same && !word) return false;
        if (same) i += step;
        j += step;
    }
    return i == short_size;
}

static void check_result(const fm_augment_options *o, const char *text, size_t size, const fm_augmented *result)
{
    assert_true(result->count <= o->variants);
    assert_int_equal(result->count < o->variants, result->reason[0] != '\0');
    for (size_t i = 0; i < result->count; i++) {
        const fm_text *v = &result->variants[i];
        bool good = o->action == FM_AUGMENT_SUBSTITUTE ? only_words_exchanged(text, size, v->data, v->size)
                    : o->action == FM_AUGMENT_INSERT   ? only_words_more(text, size, v->data, v->size)
                                                       : only_words_more(v->data, v->size, text, size);
        if (!good) {
            fm_buffer shown = {0};
            fm_buffer_json(&shown, text, size);
            fm_buffer_text(&shown, "\n");
            fm_buffer_json(&shown, v->data, v->size);
            fail_msg("action %d broke:\n%s", (int)o->action, shown.data);
        }
        assert_false(v->size == size && memcmp(v->data, text, size) == 0);
        for (size_t j = 0; j < i; j++)
            assert_false(v->size == result->variants[j].size &&
                         memcmp(v->data, result->variants[j].data, v->size) == 0);
    }
}

static void test_only_words_change(void **state)
{
    (void)state;
    fm_random random = fm_random_seeded(1, 0);
    fm_buffer text = {0};
    size_t variants = 0;
    for (int i = 0; i < 240; i++) {
        fm_augment_options o = fm_augment_defaults();
        o.action = (fm_augment_action)(i % 3);
        o.variants = 1 + fm_random_below(&random, 4);
        o.rate = (double)fm_random_below(&random, 11) / 10.0;
        o.seed = (uint64_t)i;
        make_text(&random, &text, i % 20 == 0 ? 150 : fm_random_below(&random, 30));
        fm_augmented result = augment_one(&o, (uint64_t)i, text.data, text.size, NULL, 0);
        check_result(&o, text.data, text.size, &result);
        variants += result.count;
        fm_augmented_free(&result);
    }
    assert_true(variants > 300);
    fm_buffer_free(&text);
}

/* The checks must see what they are there for. */
static void test_the_checks(void **state)
{
    (void)state;
    static const char source[] = "The  good\nmovie, again.";
    static const char *const exchanged[] = {"The  bad\nmovie, again.", "A  bad\nplot, again.", NULL};
    static const char *const broken[] = {"The bad\nmovie, again.",
                                         "The  bad movie, again.",
                                         "The  bad\nmovie again.",
                                         "The  bad\nmovie, again.\n",
                                         "The  [MASK]\nmovie, again.",
                                         "The  ##s\nmovie, again.",
                                         NULL};
    static const char *const more[] = {"The very  good\nmovie, again.", "The  good film\nmovie, again.",
                                       "The  good\nmovie, again and.", NULL};
    static const char *const not_more[] = {"The  good\nvery movie. again.", "The very good\nmovie, again.",
                                           "The  good\nmovie, [MASK] again.", "The  goody\nmovie, again.", NULL};
    size_t size = strlen(source);
    for (int i = 0; exchanged[i]; i++)
        assert_true(only_words_exchanged(source, size, exchanged[i], strlen(exchanged[i])));
    for (int i = 0; broken[i]; i++) assert_false(only_words_exchanged(source, size, broken[i], strlen(broken[i])));
    for (int i = 0; more[i]; i++) assert_true(only_words_more(source, size, more[i], strlen(more[i])));
    for (int i = 0; not_more[i]; i++) assert_false(only_words_more(source, size, not_more[i], strlen(not_more[i])));
}

/* Every text gives the same in a stream as alone, in whatever batches it runs, and comes out in its turn. */
static void test_stream(void **state)
{
    (void)state;
    enum { TEXTS = 90 };
    for (int action = 0; action < 3; action++) {
        fm_error err;
        fm_augmenter *augmenter;
        fm_random random = fm_random_seeded(2, (uint32_t)action);
        fm_buffer texts[TEXTS] = {{0}};
        fm_augment_options o = fm_augment_defaults();
        o.action = (fm_augment_action)action;
        o.variants = 3;
        o.rate = 0.3;
        o.seed = 77;
        o.least_similarity = action == 0 ? 0.8 : -1.0;
        assert_ok(fm_augmenter_create(&augmenter, tiny, &o, &err), err);
        size_t out = 0;
        bool more;
        for (size_t i = 0; i < TEXTS || out < TEXTS;) {
            if (i < TEXTS && fm_augmenter_wants(augmenter)) {
                make_text(&random, &texts[i], fm_random_below(&random, i % 10 ? 20 : 200));
                assert_ok(fm_augmenter_add(augmenter, i, texts[i].data, texts[i].size, NULL, 0, &err), err);
                i++;
                continue;
            }
            assert_ok(fm_augmenter_step(augmenter, &more, &err), err);
            fm_augmented result;
            while (fm_augmenter_take(augmenter, &result)) {
                assert_int_equal(result.number, out);
                fm_augmented alone = augment_one(&o, out, texts[out].data, texts[out].size, NULL, 0);
                assert_int_equal(result.count, alone.count);
                assert_string_equal(result.reason, alone.reason);
                for (size_t v = 0; v < alone.count; v++) {
                    assert_int_equal(result.variants[v].size, alone.variants[v].size);
                    assert_memory_equal(result.variants[v].data, alone.variants[v].data, alone.variants[v].size);
                }
                fm_augmented_free(&alone);
                fm_augmented_free(&result);
                out++;
            }
        }
        fm_augmenter_destroy(augmenter);
        for (size_t i = 0; i < TEXTS; i++) fm_buffer_free(&texts[i]);
    }
}

static void test_seeds_and_numbers(void **state)
{
    (void)state;
    static const char text[] = "The movie was good, and everyone liked the honest plot. It was a very warm picture.";
    fm_augment_options o = fm_augment_defaults();
    fm_augmented first = augment_one(&o, 5, text, strlen(text), NULL, 0);
    fm_augmented again = augment_one(&o, 5, text, strlen(text), NULL, 0);
    fm_augmented other = augment_one(&o, 6, text, strlen(text), NULL, 0);
    o.seed = 1;
    fm_augmented seeded = augment_one(&o, 5, text, strlen(text), NULL, 0);
    assert_string_equal(first.variants[0].data, again.variants[0].data);
    assert_string_not_equal(first.variants[0].data, other.variants[0].data);
    assert_string_not_equal(first.variants[0].data, seeded.variants[0].data);
    fm_augmented *all[] = {&first, &again, &other, &seeded};
    for (int i = 0; i < 4; i++) fm_augmented_free(all[i]);
}

/* How many words differ, for texts of as many words. */
static size_t words_changed(const char *a, const char *b)
{
    size_t changed = 0;
    while (*a || *b) {
        size_t i = strcspn(a, " "), j = strcspn(b, " ");
        changed += i != j || strncmp(a, b, i) != 0;
        a += i + (a[i] == ' ');
        b += j + (b[j] == ' ');
    }
    return changed;
}

static void test_how_many(void **state)
{
    (void)state;
    static const char text[] =
        "the movie was good and the plot was clever and the music was warm and honest too but so "
        "cold";
    static const struct {
        double rate;
        uint32_t count, least, most;
        size_t expected;
    } cases[] = {{0.15, 0, 1, 0, 3}, {0.0, 0, 1, 0, 1},  {1.0, 0, 1, 0, 20}, {1.0, 0, 1, 4, 4},   {0.1, 0, 5, 0, 5},
                 {0.15, 7, 1, 0, 7}, {0.15, 9, 1, 3, 3}, {0.5, 0, 1, 0, 10}, {0.15, 99, 1, 0, 20}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fm_augment_options o = fm_augment_defaults();
        o.rate = cases[i].rate;
        o.count = cases[i].count;
        o.least = cases[i].least;
        o.most = cases[i].most;
        fm_augmented result = augment_one(&o, i, text, strlen(text), NULL, 0);
        assert_int_equal(result.count, 1);
        assert_int_equal(words_changed(text, result.variants[0].data), cases[i].expected);
        fm_augmented_free(&result);
        o.action = FM_AUGMENT_INSERT;
        result = augment_one(&o, i, text, strlen(text), NULL, 0);
        size_t spaces = 0, expected = cases[i].expected < 19 ? cases[i].expected : 19; /* none behind the last word */
        for (const char *at = result.variants[0].data; *at; at++) spaces += *at == ' ';
        if (cases[i].rate != 0.5) assert_int_equal(spaces, 19 + expected);
        fm_augmented_free(&result);
    }
}

static void test_kept_words_and_spans(void **state)
{
    (void)state;
    static const char text[] = "Good MOVIE and good film in New Paris";
    static const char *const kept[] = {"good", "Movie", "in", "caf\xc3\x89"};
    const fm_span spans[] = {{28, 37}, {11, 14}, {30, 31}}; /* "New Paris", "and" */
    fm_augment_options o = fm_augment_defaults();
    o.kept = kept;
    o.kept_count = 4;
    o.rate = 1.0;
    for (uint64_t i = 0; i < 10; i++) {
        o.action = FM_AUGMENT_SUBSTITUTE;
        fm_augmented result = augment_one(&o, i, text, strlen(text), spans, 3);
        const char *v = result.variants[0].data; /* of all words only "film" is open */
        assert_true(strncmp(v, "Good MOVIE and good ", 20) == 0 && strcmp(strrchr(v, 'P') - 7, "in New Paris") == 0);
        assert_string_not_equal(v, text);
        fm_augmented_free(&result);
        o.action = FM_AUGMENT_INSERT;
        result = augment_one(&o, i, text, strlen(text), spans, 3);
        assert_non_null(strstr(result.variants[0].data, "New Paris"));
        fm_augmented_free(&result);
        o.action = FM_AUGMENT_DELETE;
        result = augment_one(&o, i, text, strlen(text), spans, 3);
        assert_string_equal(result.variants[0].data, "Good MOVIE and good in New Paris");
        fm_augmented_free(&result);
    }
    /* Without a kept list the same words change. */
    o.kept_count = 0;
    o.action = FM_AUGMENT_SUBSTITUTE;
    fm_augmented result = augment_one(&o, 0, text, strlen(text), NULL, 0);
    assert_int_equal(words_changed(text, result.variants[0].data), 8);
    fm_augmented_free(&result);
}

static void test_case_of_new_words(void **state)
{
    (void)state;
    static const char text[] = "Movie was GOOD. \"I am\" warm, Anna and THE BAD PLOT.";
    fm_augment_options o = fm_augment_defaults();
    o.rate = 1.0;
    for (uint64_t i = 0; i < 20; i++) {
        fm_augmented result = augment_one(&o, i, text, strlen(text), NULL, 0);
        char words[11][64];
        assert_int_equal(sscanf(result.variants[0].data, "%63s %63s %63s %63s %63s %63s %63s %63s %63s %63s %63s",
                                words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7],
                                words[8], words[9], words[10]),
                         11);
        static const fm_case cases[] = {FM_CASE_TITLE, FM_CASE_LOWER, FM_CASE_UPPER, FM_CASE_TITLE,
                                        FM_CASE_LOWER, FM_CASE_LOWER, FM_CASE_TITLE, FM_CASE_LOWER,
                                        FM_CASE_UPPER, FM_CASE_UPPER, FM_CASE_UPPER};
        for (int w = 0; w < 11; w++) {
            size_t letters = 0;
            for (const char *at = words[w]; *at; at++) letters += (*at | 32) >= 'a' && (*at | 32) <= 'z';
            if (letters < 2) continue; /* "A" is both a title and capitals */
            if (fm_case_of_word(words[w], strlen(words[w])) != cases[w])
                fail_msg("word %d of: %s", w, result.variants[0].data);
        }
        fm_augmented_free(&result);
    }
}

static void test_reasons(void **state)
{
    (void)state;
    fm_augment_options o = fm_augment_defaults();
    static const char *const stop[] = {"the", "was"};
    static const char *const unchangeable[] = {"", "  \n", "123 4.5", "the was THE", "http://a.b/c don't", "[MASK]"};
    o.kept = stop;
    o.kept_count = 2;
    for (size_t i = 0; i < sizeof unchangeable / sizeof *unchangeable; i++) {
        fm_augmented result = augment_one(&o, 0, unchangeable[i], strlen(unchangeable[i]), NULL, 0);
        assert_int_equal(result.count, 0);
        assert_string_equal(result.reason, "No word of the text may be changed.");
        fm_augmented_free(&result);
    }
    o.least = 5;
    fm_augmented few = augment_one(&o, 0, "the good plot", 13, NULL, 0);
    assert_int_equal(few.count, 0);
    assert_non_null(strstr(few.reason, "Only 2 of its words may be changed, fewer than the 5"));
    fm_augmented_free(&few);
    o.least = 0;
    o.rate = 0.1;
    few = augment_one(&o, 0, "the good plot", 13, NULL, 0);
    assert_non_null(strstr(few.reason, "none of its 2 words"));
    fm_augmented_free(&few);
    o.top_k = 2; /* one word, two candidates: two variants and no more */
    o.count = 1;
    o.variants = 5;
    few = augment_one(&o, 0, "good", 4, NULL, 0);
    assert_int_equal(few.count, 2);
    assert_non_null(strstr(few.reason, "Only 2 of 5 variants"));
    fm_augmented_free(&few);
}

static void test_refused_options(void **state)
{
    (void)state;
    fm_augmenter *augmenter;
    fm_error err;
    fm_augment_options bad[12];
    static const char *const words[] = {"rate",        "rate",   "least",  "variants", "top_p",      "top_p",
                                        "temperature", "action", "labels", "labels",   "similarity", "drop"};
    for (int i = 0; i < 12; i++) bad[i] = fm_augment_defaults();
    bad[0].rate = 1.5;
    bad[1].rate = (double)NAN;
    bad[2].least = 3;
    bad[2].most = 2;
    bad[3].variants = 0;
    bad[4].top_p = 0.0;
    bad[5].top_p = (double)NAN;
    bad[6].temperature = -1.0;
    bad[7].action = (fm_augment_action)7;
    bad[8].label_share = 0.0;
    bad[9].label_share = (double)NAN;
    bad[10].least_similarity = 1.1;
    bad[11].most_drop = (double)NAN;
    for (int i = 0; i < 12; i++) {
        assert_int_equal(fm_augmenter_create(&augmenter, tiny, &bad[i], &err), FM_E_ARGUMENT);
        assert_null(augmenter);
        if (i != 2 && !strstr(err.text, words[i])) fail_msg("%s: %s", words[i], err.text);
    }
}

/* An augmenter may be given up at any point. */
static void test_giving_up(void **state)
{
    (void)state;
    static const char text[] = "The movie was good, and the plot was clever. Everyone liked this honest film.";
    for (int steps = 0; steps < 60; steps++) {
        fm_error err;
        fm_augmenter *augmenter;
        fm_augment_options o = fm_augment_defaults();
        bool more;
        o.variants = 3;
        o.rate = 0.5;
        o.least_similarity = 0.5;
        o.most_drop = 1.0;
        assert_ok(fm_augmenter_create(&augmenter, tiny, &o, &err), err);
        for (uint64_t i = 0; i < 3; i++)
            assert_ok(fm_augmenter_add(augmenter, i, text, strlen(text), NULL, 0, &err), err);
        for (int i = 0; i < steps; i++) assert_ok(fm_augmenter_step(augmenter, &more, &err), err);
        fm_augmenter_destroy(augmenter);
    }
    fm_augmenter_destroy(NULL);
}

/* Deleting takes the words that are missed least: "very" and not "capital". */
static void test_deletion_asks_the_model(void **state)
{
    (void)state;
    static const char text[] = "Oslo is the capital of Norway. It is a very good movie about Rome.";
    size_t capital = 0, degree = 0;
    fm_augment_options o = fm_augment_defaults();
    o.action = FM_AUGMENT_DELETE;
    o.count = 4;
    for (uint64_t i = 0; i < 60; i++) {
        fm_augmented result = augment_one(&o, i, text, strlen(text), NULL, 0);
        capital += !strstr(result.variants[0].data, "capital");
        degree += !strstr(result.variants[0].data, "very");
        fm_augmented_free(&result);
    }
    assert_true(degree > capital);
}

static void test_vectors(void **state)
{
    (void)state;
    cJSON *cases = read_vectors("augment");
    const cJSON *one;
    cJSON_ArrayForEach(one, cases)
    {
        static const char *const actions[] = {"substitute", "insert", "delete"};
        const char *labels[10], *keep[10];
        if (member(one, "protect")) continue; /* patterns are the callers' business */
        fm_augment_options o = fm_augment_defaults();
        const char *text = text_of(one, "text"), *action = text_of(one, "action");
        for (int i = 0; i < 3; i++)
            if (action && strcmp(action, actions[i]) == 0) o.action = (fm_augment_action)i;
        o.rate = number_of(one, "rate", o.rate);
        o.variants = (uint32_t)number_of(one, "variants", 1);
        o.seed = (uint64_t)number_of(one, "seed", 0);
        o.top_k = (uint32_t)number_of(one, "top_k", 20);
        o.top_p = number_of(one, "top_p", 1.0);
        o.temperature = number_of(one, "temperature", 1.0);
        o.least_similarity = number_of(one, "min_similarity", -1.0);
        o.most_drop = number_of(one, "max_drop", (double)INFINITY);
        o.label_share = number_of(one, "label_share", o.label_share);
        o.labels = labels;
        o.kept = keep;
        const cJSON *label;
        cJSON_ArrayForEach(label, member(one, "keep")) keep[o.kept_count++] = label->valuestring;
        cJSON_ArrayForEach(label, member(one, "labels")) labels[o.label_count++] = label->valuestring;
        if (cJSON_IsTrue(member(one, "label_safe")) && o.label_count == 0)
            o.labels = fm_augment_sentiment(&o.label_count);
        fm_augmented result = augment_one(&o, (uint64_t)number_of(one, "number", 0), text, strlen(text), NULL, 0);
        check_result(&o, text, strlen(text), &result);
        const cJSON *expected = member(one, "result");
        assert_int_equal(result.count, cJSON_GetArraySize(expected));
        for (size_t i = 0; i < result.count; i++)
            assert_string_equal(result.variants[i].data, cJSON_GetStringValue(cJSON_GetArrayItem(expected, (int)i)));
        fm_augmented_free(&result);
    }
    cJSON_Delete(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_words),
        cmocka_unit_test(test_allowed_words),
        cmocka_unit_test(test_sampler),
        cmocka_unit_test(test_sampler_with_nothing_left),
        cmocka_unit_test(test_the_checks),
        cmocka_unit_test(test_only_words_change),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_seeds_and_numbers),
        cmocka_unit_test(test_how_many),
        cmocka_unit_test(test_kept_words_and_spans),
        cmocka_unit_test(test_case_of_new_words),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_giving_up),
        cmocka_unit_test(test_deletion_asks_the_model),
        cmocka_unit_test(test_vectors),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
