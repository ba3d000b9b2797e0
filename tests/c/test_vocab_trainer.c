/* test_vocab_trainer.c - core/tokenizer/vocab_trainer.c and word_count.c: the reference's vocabularies (the golden file
 * of tests/differential/tokenizer_golden.py), merges worked out by hand, the same vocabulary from any number of threads
 * and any order of texts, limits and errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "tokenizer/tokenizer.h"

#define SPECIAL "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
#define EVERY 0x110000 /* an alphabet limit that limits nothing */

static fm_vocab_trainer *trainer_of(fm_pool *pool, const char *const *texts, size_t count, bool lowercase)
{
    fm_vocab_trainer *trainer;
    assert_int_equal(fm_vocab_trainer_create(&trainer, lowercase, NULL), FM_OK);
    size_t *sizes = calloc(count + 1, sizeof *sizes);
    assert_non_null(sizes);
    for (size_t i = 0; i < count; i++) sizes[i] = strlen(texts[i]);
    assert_int_equal(fm_vocab_trainer_add(trainer, pool, texts, sizes, count, NULL), FM_OK);
    free(sizes);
    return trainer;
}

static char *finish(fm_vocab_trainer *trainer, uint32_t size, uint32_t least, uint32_t limit)
{
    char *vocab;
    size_t length;
    fm_error err = {.text = ""};
    if (fm_vocab_trainer_finish(trainer, size, least, limit, NULL, NULL, &vocab, &length, &err))
        fail_msg("%s", err.text);
    assert_int_equal(strlen(vocab), length);
    return vocab;
}

/* The vocabulary of one text. */
static void expect(const char *text, uint32_t size, uint32_t least, uint32_t limit, const char *wanted)
{
    fm_vocab_trainer *trainer = trainer_of(NULL, &text, 1, true);
    char *vocab = finish(trainer, size, least, limit);
    assert_string_equal(vocab, wanted);
    free(vocab);
    fm_vocab_trainer_destroy(trainer);
}

/* ---- the golden file ---- */

typedef struct golden {
    cJSON *root;
    const char **texts;
    size_t count;
} golden;

static golden golden_open(void)
{
    const char *path = "tests/golden/tokenizer.json";
    fm_blob blob;
    golden g;
    fm_error err = {.text = ""};
    if (fm_blob_open(&blob, path, &err) || fm_json_parse(&g.root, blob.data, blob.size, path, &err))
        fail_msg("%s (tests run in the repository's root)", err.text);
    fm_blob_close(&blob);
    g.count = (size_t)cJSON_GetObjectItem(g.root, "texts")->valuedouble;
    g.texts = calloc(g.count, sizeof *g.texts);
    assert_non_null(g.texts);
    const cJSON *one = cJSON_GetObjectItem(cJSON_GetObjectItem(g.root, "tokenizers")->child, "cases")->child;
    for (size_t i = 0; i < g.count; i++, one = one->next) {
        assert_non_null(one);
        g.texts[i] = cJSON_GetObjectItem(one, "text")->valuestring;
    }
    return g;
}

static void golden_close(golden *g)
{
    free(g->texts);
    cJSON_Delete(g->root);
}

static void as_the_reference(void **state)
{
    (void)state;
    golden g = golden_open();
    const cJSON *training;
    size_t trainings = 0;
    cJSON_ArrayForEach(training, cJSON_GetObjectItem(g.root, "trainings"))
    {
        bool lowercase = cJSON_IsTrue(cJSON_GetObjectItem(training, "lowercase"));
        fm_vocab_trainer *trainer = trainer_of(NULL, g.texts, g.count, lowercase);
        char *vocab = finish(trainer, (uint32_t)cJSON_GetObjectItem(training, "size")->valuedouble,
                             (uint32_t)cJSON_GetObjectItem(training, "least")->valuedouble, EVERY);
        const cJSON *token;
        const char *at = vocab;
        size_t id = 0;
        cJSON_ArrayForEach(token, cJSON_GetObjectItem(training, "vocab"))
        {
            size_t size = strcspn(at, "\n"), wanted = strlen(token->valuestring);
            if (size != wanted || memcmp(at, token->valuestring, size) != 0)
                fail_msg("training %zu: token %zu is \"%.*s\", expected \"%s\"", trainings, id, (int)size, at,
                         token->valuestring);
            at += size + (at[size] == '\n');
            id++;
        }
        if (*at) fail_msg("training %zu: there are more than %zu tokens", trainings, id);
        free(vocab);
        fm_vocab_trainer_destroy(trainer);
        trainings++;
    }
    assert_int_equal(trainings, 3);
    golden_close(&g);
}

/* One vocabulary, whoever counted which text, in whatever order, in one go or in many. */
static void any_threads_and_order(void **state)
{
    (void)state;
    golden g = golden_open();
    fm_vocab_trainer *trainer = trainer_of(NULL, g.texts, g.count, true);
    char *wanted = finish(trainer, 1200, 2, 300);
    char *again = finish(trainer, 1200, 2, 300);
    assert_string_equal(again, wanted);
    free(again);
    fm_vocab_trainer_destroy(trainer);
    fm_random random = fm_random_seeded(1, 0);
    for (int threads = 1; threads <= 4; threads++) {
        for (size_t i = g.count - 1; i > 0; i--) {
            size_t j = fm_random_below(&random, (uint32_t)i + 1);
            const char *text = g.texts[i];
            g.texts[i] = g.texts[j];
            g.texts[j] = text;
        }
        fm_pool *pool;
        assert_int_equal(fm_pool_create(&pool, threads, NULL), FM_OK);
        trainer = trainer_of(pool, g.texts, g.count / 2, true);
        for (size_t i = g.count / 2; i < g.count; i++) { /* the rest one by one, some without the pool */
            size_t size = strlen(g.texts[i]);
            assert_int_equal(fm_vocab_trainer_add(trainer, i % 2 ? pool : NULL, &g.texts[i], &size, 1, NULL), FM_OK);
        }
        char *vocab = finish(trainer, 1200, 2, 300);
        assert_string_equal(vocab, wanted);
        free(vocab);
        fm_vocab_trainer_destroy(trainer);
        fm_pool_destroy(pool);
    }
    free(wanted);
    golden_close(&g);
}

/* ---- by hand ---- */

static void merges(void **state)
{
    (void)state;
    /* l ##o and ##o ##w are found four times each, and l has the smaller id; then ##e ##r goes before low ##e. */
    const char *low = SPECIAL "e\nl\no\nr\nw\n##e\n##o\n##r\n##w\nlo\nlow\n##er\nlower\n";
    expect("low Low LOW lower", 100, 0, EVERY, low);
    expect("low Low LOW lower", 100, 1, EVERY, low);
    expect("low Low LOW lower", 16, 0, EVERY, SPECIAL "e\nl\no\nr\nw\n##e\n##o\n##r\n##w\nlo\nlow\n");
    expect("low Low LOW lower", 100, 4, EVERY, SPECIAL "e\nl\no\nr\nw\n##e\n##o\n##r\n##w\nlo\nlow\n");
    expect("low Low LOW lower", 100, 5, EVERY, SPECIAL "e\nl\no\nr\nw\n##e\n##o\n##r\n##w\n");
    expect("low Low LOW lower", 14, 0, EVERY, SPECIAL "e\nl\no\nr\nw\n##e\n##o\n##r\n##w\n");
    /* A pair that overlaps itself: aaaaa is a ##aa ##aa after one merge of ##a ##a, then aaa ##aa. */
    expect("aaaaa", 100, 0, EVERY, SPECIAL "a\n##a\n##aa\naaa\naaaaa\n");
    /* Words end at white space and around punctuation, which is a word itself; accents go. */
    expect("x.x \xc3\xa9", 100, 0, EVERY, SPECIAL ".\ne\nx\n");
    /* Ideographs stand alone, so that none has a ##. */
    expect("\xe4\xb8\xad\xe6\x96\x87", 100, 0, EVERY, SPECIAL "\xe4\xb8\xad\n\xe6\x96\x87\n");
}

static void keeps_case(void **state)
{
    (void)state;
    const char *text = "Ab ab \xc3\x89";
    fm_vocab_trainer *trainer = trainer_of(NULL, &text, 1, false);
    char *vocab = finish(trainer, 100, 0, EVERY);
    assert_string_equal(vocab, SPECIAL "A\na\nb\n\xc3\x89\n##b\nAb\nab\n");
    free(vocab);
    fm_vocab_trainer_destroy(trainer);
}

static void limits_alphabet(void **state)
{
    (void)state;
    /* a, b and c are the most frequent; q and z, once each, are not kept, and what stands around them meets. b alone
     * has no neighbours left. */
    const char *text = "abc abc cab azb bq";
    expect(text, 100, 0, 3, SPECIAL "a\nb\nc\n##a\n##b\n##c\nab\nabc\nca\ncab\n");
    expect(text, 100, 0, 1, SPECIAL "b\n##b\n");
}

static void odd_texts(void **state)
{
    (void)state;
    /* Controls and broken UTF-8 vanish, as they do in the encoder; a NUL too. */
    expect("a\xff\x01z", 100, 0, EVERY, SPECIAL "a\nz\n##z\naz\n");
    fm_vocab_trainer *trainer;
    assert_int_equal(fm_vocab_trainer_create(&trainer, true, NULL), FM_OK);
    const char *text = "a\0z";
    size_t size = 3;
    assert_int_equal(fm_vocab_trainer_add(trainer, NULL, &text, &size, 1, NULL), FM_OK);
    char *vocab = finish(trainer, 100, 0, EVERY);
    assert_string_equal(vocab, SPECIAL "a\nz\n##z\naz\n");
    free(vocab);
    fm_vocab_trainer_destroy(trainer);
    /* A word of more than 100 characters would be [UNK], and is not learnt from; one of 100 is. */
    char words[300];
    memset(words, 'x', sizeof words);
    words[101] = words[102] = ' ';
    words[103] = 'y';
    words[104] = '\0';
    expect(words, 100, 0, EVERY, SPECIAL "y\n");
    words[100] = ' ';
    trainer = trainer_of(NULL, (const char *const[]){words}, 1, true);
    vocab = finish(trainer, 8, 0, EVERY);
    assert_string_equal(vocab, SPECIAL "x\ny\n##x\n");
    free(vocab);
    fm_vocab_trainer_destroy(trainer);
}

/* What was learnt is a vocabulary that opens, and that knows all words it was made of. */
static void opens(void **state)
{
    (void)state;
    golden g = golden_open();
    fm_vocab_trainer *trainer = trainer_of(NULL, g.texts, g.count, true);
    char *vocab = finish(trainer, 5000, 0, EVERY);
    fm_tokenizer *tokenizer;
    assert_int_equal(fm_tokenizer_from_vocab(&tokenizer, vocab, strlen(vocab), true, NULL), FM_OK);
    fm_encoding encoding = {0};
    fm_special_ids special = fm_tokenizer_special(tokenizer);
    for (size_t i = 0; i < g.count; i++) {
        const char *text = g.texts[i];
        assert_int_equal(fm_tokenizer_encode(tokenizer, text, strlen(text), false, &encoding, NULL), FM_OK);
        for (size_t k = 0; k < encoding.count; k++)
            if (encoding.ids[k] == special.unk && encoding.words[k] != UINT32_MAX)
                fail_msg("\"%s\" has an unknown word at %u", text, encoding.offsets[k].start);
    }
    fm_encoding_free(&encoding);
    fm_tokenizer_close(tokenizer);
    free(vocab);
    fm_vocab_trainer_destroy(trainer);
    golden_close(&g);
}

/* ---- errors ---- */

static bool stop_at_once(void *context, uint64_t done, uint64_t total)
{
    (void)done;
    *(uint64_t *)context = total;
    return false;
}

static void refuses(void **state)
{
    (void)state;
    char *vocab = (char *)1;
    size_t size = 1;
    fm_error err;
    fm_vocab_trainer *trainer;
    assert_int_equal(fm_vocab_trainer_create(&trainer, true, NULL), FM_OK);
    assert_int_equal(fm_vocab_trainer_finish(trainer, 100, 0, 1000, NULL, NULL, &vocab, &size, &err), FM_E_ARGUMENT);
    assert_string_equal(err.text, "there are no words to make a vocabulary of; add texts first.");
    assert_true(vocab == NULL && size == 0);
    const char *texts[] = {" \t\n", "low lower"};
    const size_t sizes[] = {3, 9};
    assert_int_equal(fm_vocab_trainer_add(trainer, NULL, texts, sizes, 0, NULL), FM_OK);
    assert_int_equal(fm_vocab_trainer_add(trainer, NULL, texts, sizes, 1, NULL), FM_OK);
    assert_int_equal(fm_vocab_trainer_finish(trainer, 100, 0, 1000, NULL, NULL, &vocab, &size, &err), FM_E_ARGUMENT);
    assert_int_equal(fm_vocab_trainer_add(trainer, NULL, texts, sizes, 2, NULL), FM_OK);
    assert_int_equal(fm_vocab_trainer_finish(trainer, 13, 0, 1000, NULL, NULL, &vocab, &size, &err), FM_E_ARGUMENT);
    assert_string_equal(err.text,
                        "a vocabulary of 13 is too small: the special tokens and the alphabet need 14; ask for "
                        "more or lower the alphabet limit of 1000.");
    uint64_t total = 0;
    assert_int_equal(fm_vocab_trainer_finish(trainer, 100, 0, 1000, stop_at_once, &total, &vocab, &size, &err),
                     FM_E_ABORTED);
    assert_int_equal(total, 100);
    assert_true(vocab == NULL && size == 0);
    vocab = finish(trainer, 14, 0, 1000); /* none of this harmed it */
    assert_string_equal(vocab, SPECIAL "e\nl\no\nr\nw\n##e\n##o\n##r\n##w\n");
    free(vocab);
    if (SIZE_MAX > UINT32_MAX) { /* refused before a byte is read */
        const size_t huge = UINT32_MAX;
        assert_int_equal(fm_vocab_trainer_add(trainer, NULL, texts, &huge, 1, &err), FM_E_LIMIT);
        assert_non_null(strstr(err.text, "must be shorter than 4 GB"));
    }
    fm_vocab_trainer_destroy(trainer);
    fm_vocab_trainer_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_reference),
        cmocka_unit_test(any_threads_and_order),
        cmocka_unit_test(merges),
        cmocka_unit_test(keeps_case),
        cmocka_unit_test(limits_alphabet),
        cmocka_unit_test(odd_texts),
        cmocka_unit_test(opens),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
