/* test_corpus.c - core/train/corpus.c: ids and word marks, the parts, the same corpus from any number of threads, and a
 * cache that is either whole or no hit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/train.h"

static char folder[64];
static fm_tokenizer *tokenizer;

static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nmovie\n##s\nwere\ngood\n.\n";

/* A fresh string in a ring of four, so that a test can name several files. */
static const char *path_of(const char *name)
{
    static char paths[4][200];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static const char *put(const char *name, const void *data, size_t size)
{
    const char *path = path_of(name);
    assert_int_equal(fm_file_replace(path, data, size, NULL), FM_OK);
    return path;
}

/* Documents with ids 0, 1, ... that end in as many full stops as the id's last digit says. */
static const char *put_many(const char *name, int first, int count)
{
    fm_buffer text = {0};
    for (int i = first; i < first + count; i++)
        fm_buffer_format(&text, "{\"id\": %d, \"text\": \"The movies were good%.*s\"}\n", i, i % 10, ".........");
    const char *path = put(name, text.data, text.size);
    fm_buffer_free(&text);
    return path;
}

static fm_corpus read_all(const char *const *paths, size_t count, int threads, fm_part part)
{
    fm_pool *pool;
    assert_int_equal(fm_pool_create(&pool, threads, NULL), FM_OK);
    fm_corpus corpus;
    fm_error err = {.text = ""};
    fm_status status =
        fm_corpus_read(&corpus, tokenizer, pool, paths, count, FM_TEXT_AUTO, NULL, part, NULL, NULL, &err);
    if (status) fail_msg("%s", err.text);
    fm_pool_destroy(pool);
    return corpus;
}

static void assert_same(const fm_corpus *a, const fm_corpus *b)
{
    assert_int_equal(a->documents, b->documents);
    assert_int_equal(a->tokens, b->tokens);
    assert_memory_equal(a->starts, b->starts, (a->documents + 1) * sizeof *a->starts);
    if (a->tokens) assert_memory_equal(a->ids, b->ids, a->tokens * sizeof *a->ids);
}

static void ids_and_words(void **state)
{
    (void)state;
    static const char text[] = "The movies were [MASK].\n\ngood xyz\n";
    const char *path = put("a.txt", text, sizeof text - 1);
    fm_corpus corpus = read_all(&path, 1, 1, FM_PART_ALL);
    const uint32_t w = FM_TOKEN_WORD;
    const uint32_t ids[] = {2, w | 5, w | 6, 7, w | 8, 4, w | 10, 3, 2, w | 9, w | 1, 3};
    const uint64_t starts[] = {0, 8, 12};
    assert_int_equal(corpus.documents, 2);
    assert_int_equal(corpus.tokens, 12);
    assert_memory_equal(corpus.ids, ids, sizeof ids);
    assert_memory_equal(corpus.starts, starts, sizeof starts);
    fm_corpus_free(&corpus);
}

static void nothing_to_read(void **state)
{
    (void)state;
    const char *path = put("a.txt", "\n\n", 2);
    fm_corpus corpus = read_all(&path, 1, 1, FM_PART_ALL);
    assert_int_equal(corpus.documents, 0);
    assert_int_equal(corpus.tokens, 0);
    assert_int_equal(corpus.starts[0], 0);
    uint64_t key = 1;
    bool hit;
    fm_corpus again;
    assert_int_equal(fm_corpus_save(&corpus, path_of("cache"), key, NULL), FM_OK);
    assert_int_equal(fm_corpus_load(&again, path_of("cache"), key, &hit, NULL), FM_OK);
    assert_true(hit);
    assert_same(&corpus, &again);
    fm_corpus_free(&again);
    fm_corpus_free(&corpus);
}

static void same_for_any_threads(void **state)
{
    (void)state;
    const char *paths[] = {put_many("a.jsonl", 0, 1300), put_many("b.jsonl", 1300, 700)};
    fm_corpus one = read_all(paths, 2, 1, FM_PART_ALL);
    assert_int_equal(one.documents, 2000);
    for (uint64_t i = 0; i < one.documents; i++) /* in their order: [CLS], 5 tokens, the stops, [SEP] */
        assert_int_equal(one.starts[i + 1] - one.starts[i], 7 + i % 10);
    for (int threads = 2; threads <= 4; threads++) {
        fm_corpus many = read_all(paths, 2, threads, FM_PART_ALL);
        assert_same(&one, &many);
        fm_corpus_free(&many);
    }
    fm_corpus_free(&one);
}

static void parts(void **state)
{
    (void)state;
    /* FNV-1a of the decimal number, computed by another program. */
    static const int held[] = {742, 751, 795, 801, 812, 827, 870, 988, 1347, 1369, 1439, 1574, 1619, 1668};
    size_t next = 0;
    for (int i = 0; i < 2000; i++) {
        char id[12];
        bool expected = next < sizeof held / sizeof *held && held[next] == i;
        assert_int_equal(fm_held_out(id, (size_t)snprintf(id, sizeof id, "%d", i)), expected);
        next += expected;
    }
    const char *path = put_many("a.jsonl", 0, 2000);
    fm_corpus all = read_all(&path, 1, 2, FM_PART_ALL), train = read_all(&path, 1, 2, FM_PART_TRAIN),
              held_out = read_all(&path, 1, 2, FM_PART_HELD_OUT);
    assert_int_equal(held_out.documents, sizeof held / sizeof *held);
    assert_int_equal(train.documents, 2000 - held_out.documents);
    assert_int_equal(train.tokens + held_out.tokens, all.tokens);
    for (size_t i = 0; i < held_out.documents; i++)
        assert_int_equal(held_out.starts[i + 1] - held_out.starts[i], 7 + held[i] % 10);
    fm_corpus_free(&all);
    fm_corpus_free(&train);
    fm_corpus_free(&held_out);
}

typedef struct seen {
    uint64_t calls, done, total, stop_after;
} seen;

static bool note(void *context, uint64_t done, uint64_t total)
{
    seen *seen_now = context;
    assert_true(done >= seen_now->done);
    seen_now->done = done;
    seen_now->total = total;
    return ++seen_now->calls != seen_now->stop_after;
}

static void progress(void **state)
{
    (void)state;
    const char *paths[] = {put_many("a.jsonl", 0, 1300), put_many("b.jsonl", 0, 20)};
    fm_corpus corpus;
    seen whole = {0}, stopped = {.stop_after = 2};
    assert_int_equal(
        fm_corpus_read(&corpus, tokenizer, NULL, paths, 2, FM_TEXT_AUTO, NULL, FM_PART_ALL, note, &whole, NULL), FM_OK);
    fm_corpus_free(&corpus);
    assert_int_equal(whole.calls, 4); /* blocks of 512 documents */
    assert_int_equal(whole.done, whole.total);
    fm_error err;
    assert_int_equal(
        fm_corpus_read(&corpus, tokenizer, NULL, paths, 2, FM_TEXT_AUTO, NULL, FM_PART_ALL, note, &stopped, &err),
        FM_E_ABORTED);
    assert_null(corpus.ids);
    assert_int_equal(stopped.calls, 2);
}

static void bad_input(void **state)
{
    (void)state;
    fm_corpus corpus;
    fm_error err;
    const char *paths[] = {put_many("a.jsonl", 0, 600), put("bad.jsonl", "{\"text\": \"a\"}\n{\"body\": 1}\n", 27)};
    assert_int_equal(
        fm_corpus_read(&corpus, tokenizer, NULL, paths, 2, FM_TEXT_AUTO, NULL, FM_PART_ALL, NULL, NULL, &err),
        FM_E_FORMAT);
    assert_non_null(strstr(err.text, "Line 2 of "));
    assert_non_null(strstr(err.text, "bad.jsonl has no field \"text\""));
    paths[1] = path_of("missing.jsonl");
    assert_int_equal(
        fm_corpus_read(&corpus, tokenizer, NULL, paths, 2, FM_TEXT_AUTO, NULL, FM_PART_ALL, NULL, NULL, &err), FM_E_IO);
    assert_non_null(strstr(err.text, "missing.jsonl"));
}

static void cache(void **state)
{
    (void)state;
    const char *path = put_many("a.jsonl", 0, 50);
    fm_corpus corpus = read_all(&path, 1, 1, FM_PART_ALL), again;
    bool hit = true;
    assert_int_equal(fm_corpus_load(&again, path_of("none"), 7, &hit, NULL), FM_OK);
    assert_false(hit);
    assert_int_equal(fm_corpus_save(&corpus, path_of("cache"), 7, NULL), FM_OK);
    assert_int_equal(fm_corpus_load(&again, path_of("cache"), 7, &hit, NULL), FM_OK);
    assert_true(hit);
    assert_same(&corpus, &again);
    fm_corpus_free(&again);
    assert_int_equal(fm_corpus_load(&again, path_of("cache"), 8, &hit, NULL), FM_OK);
    assert_false(hit);

    fm_blob blob;
    assert_int_equal(fm_blob_open(&blob, path_of("cache"), NULL), FM_OK);
    size_t size = blob.size;
    uint8_t *bytes = malloc(size + 4);
    assert_non_null(bytes);
    memcpy(bytes, blob.data, size);
    memset(bytes + size, 0, 4);
    fm_blob_close(&blob);
    for (size_t at = 0; at < size; at++) { /* any byte of the file */
        bytes[at] ^= 0x40;
        put("broken", bytes, size);
        bytes[at] ^= 0x40;
        assert_int_equal(fm_corpus_load(&again, path_of("broken"), 7, &hit, NULL), FM_OK);
        assert_false(hit);
        if (at > 600) at += 96;
    }
    const size_t lengths[] = {0, 1, 39, 40, 48, size - 4, size - 1, size + 1, size + 4};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        put("broken", bytes, lengths[i]);
        assert_int_equal(fm_corpus_load(&again, path_of("broken"), 7, &hit, NULL), FM_OK);
        assert_false(hit);
    }
    free(bytes);
    fm_corpus_free(&corpus);
}

static void keys(void **state)
{
    (void)state;
    const char *paths[] = {put_many("a.jsonl", 0, 5), put_many("b.jsonl", 0, 5)}, *swapped[] = {paths[1], paths[0]};
    uint64_t found[8];
    assert_true(fm_corpus_key(tokenizer, paths, 2, FM_TEXT_AUTO, NULL, FM_PART_ALL, &found[0]));
    assert_true(fm_corpus_key(tokenizer, paths, 2, FM_TEXT_AUTO, "text", FM_PART_ALL, &found[1]));
    assert_int_equal(found[0], found[1]);
    assert_true(fm_corpus_key(tokenizer, paths, 2, FM_TEXT_AUTO, "body", FM_PART_ALL, &found[1]));
    assert_true(fm_corpus_key(tokenizer, paths, 2, FM_TEXT_JSONL, NULL, FM_PART_ALL, &found[2]));
    assert_true(fm_corpus_key(tokenizer, paths, 2, FM_TEXT_AUTO, NULL, FM_PART_TRAIN, &found[3]));
    assert_true(fm_corpus_key(tokenizer, paths, 1, FM_TEXT_AUTO, NULL, FM_PART_ALL, &found[4]));
    assert_true(fm_corpus_key(tokenizer, swapped, 2, FM_TEXT_AUTO, NULL, FM_PART_ALL, &found[5]));
    fm_tokenizer *cased;
    assert_int_equal(fm_tokenizer_from_vocab(&cased, vocab, sizeof vocab - 8, false, NULL), FM_OK);
    assert_true(fm_corpus_key(cased, paths, 2, FM_TEXT_AUTO, NULL, FM_PART_ALL, &found[6]));
    fm_tokenizer_close(cased);
    put_many("b.jsonl", 0, 6);
    assert_true(fm_corpus_key(tokenizer, paths, 2, FM_TEXT_AUTO, NULL, FM_PART_ALL, &found[7]));
    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < i; j++) assert_true(found[i] != found[j]);
    paths[1] = "-";
    assert_false(fm_corpus_key(tokenizer, paths, 2, FM_TEXT_AUTO, NULL, FM_PART_ALL, &found[0]));
}

int main(void)
{
    strcpy(folder, "/tmp/fillmask-corpus-XXXXXX");
    if (!mkdtemp(folder) || fm_tokenizer_from_vocab(&tokenizer, vocab, sizeof vocab - 1, true, NULL)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_and_words), cmocka_unit_test(nothing_to_read),
        cmocka_unit_test(cache),         cmocka_unit_test(same_for_any_threads),
        cmocka_unit_test(parts),         cmocka_unit_test(progress),
        cmocka_unit_test(bad_input),     cmocka_unit_test(keys),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const names[] = {"a.txt", "a.jsonl", "b.jsonl", "bad.jsonl", "cache", "broken"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(path_of(names[i]));
    rmdir(folder);
    fm_tokenizer_close(tokenizer);
    return failed;
}
