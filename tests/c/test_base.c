/* test_base.c - core/base: JSON refusals, atomic files, locks, the pool, known random numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cjson/cJSON.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

static fm_status parse(const char *text, fm_error *err)
{
    cJSON *json;
    fm_status status = fm_json_parse(&json, text, strlen(text), "x.json", err);
    cJSON_Delete(json);
    return status;
}

static void json_refuses(void **state)
{
    (void)state;
    fm_error err;
    assert_int_equal(parse("{\"a\": [1, {\"b\": 2}]} \n", &err), FM_OK);
    assert_int_equal(parse("{\"a\": 1, \"b\": 2, \"a\": 3}", &err), FM_E_FORMAT);
    assert_non_null(strstr(err.text, "\"a\" twice"));
    assert_int_equal(parse("[{\"k\": 1, \"k\": 1}]", &err), FM_E_FORMAT);
    assert_int_equal(parse("{} {}", &err), FM_E_FORMAT);
    assert_int_equal(parse("", &err), FM_E_FORMAT);
    assert_int_equal(parse("{\"a\": ", &err), FM_E_FORMAT);
    assert_int_equal(parse("\"\xC0\x80\"", &err), FM_E_FORMAT);
    assert_non_null(strstr(err.text, "UTF-8"));
    char deep[402] = {0};
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    assert_int_equal(parse(deep, &err), FM_E_FORMAT);
    assert_non_null(strstr(err.text, "64 levels"));
    assert_int_equal(parse("1e400", &err), FM_E_FORMAT);
}

static void json_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } cases[] = {{"0", true, 0},
                 {"9007199254740991", true, 9007199254740991u},
                 {"9007199254740993", false, 0},
                 {"-1", false, 0},
                 {"1.5", false, 0},
                 {"\"1\"", false, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *json;
        uint64_t value = 0;
        assert_int_equal(fm_json_parse(&json, cases[i].text, strlen(cases[i].text), "x", NULL), FM_OK);
        assert_int_equal(fm_json_u64(json, &value), cases[i].good);
        if (cases[i].good) assert_int_equal(value, cases[i].value);
        cJSON_Delete(json);
    }
}

/* An object of many members is the same without a tree. */
static void json_large(void **state)
{
    (void)state;
    static const char text[] =
        " {\"a\": [\"}\", {\"vocab\": {}}], \"mod\\u0065l\": {\"x\": \"{\", \"vocab\" : { \"one\":1,"
        "\"\\u00e9\\ud83d\\ude00\\\"\\n\" : 20 ,\"\": 3.0, \"f\":1e2,\"n\":-1,\"half\":0.5,\"t\":true, "
        "\"o\":{\"p\":[1,{}]}, \"s\":\"5\", \"big\":9007199254740993, \"last\":16777216 }, \"y\": 7}}";
    static const struct {
        const char *key;
        uint64_t value;
    } expected[] = {{"one", 1},
                    {"\xc3\xa9\xf0\x9f\x98\x80\"\n", 20},
                    {"", 3},
                    {"f", 100},
                    {"n", FM_JSON_OTHER},
                    {"half", FM_JSON_OTHER},
                    {"t", FM_JSON_OTHER},
                    {"o", FM_JSON_OTHER},
                    {"s", FM_JSON_OTHER},
                    {"big", FM_JSON_OTHER},
                    {"last", 16777216}};
    cJSON *json;
    fm_json_entries entries;
    assert_int_equal(fm_json_parse_large(&json, &entries, text, sizeof text - 1, "model", "vocab", "x", NULL), FM_OK);
    assert_int_equal(entries.count, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < entries.count; i++) {
        assert_int_equal(entries.list[i].size, strlen(expected[i].key));
        assert_memory_equal(entries.list[i].key, expected[i].key, entries.list[i].size);
        assert_true(entries.list[i].value == expected[i].value);
    }
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(json, "model");
    assert_int_equal(cJSON_GetArraySize(model), 3);
    assert_true(cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(model, "vocab")));
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(model, "y")->valueint, 7);
    cJSON_Delete(json);
    fm_json_entries_free(&entries);

    static const char *const others[] = {"{\"model\": {\"vocab\": [1]}}",
                                         "{\"model\": [{\"vocab\": {\"a\": 1}}]}",
                                         "{\"vocab\": {\"a\": 1}}",
                                         "[{\"model\": 1}]",
                                         "3",
                                         "{}"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        cJSON *whole;
        size_t size = strlen(others[i]);
        assert_int_equal(fm_json_parse_large(&json, &entries, others[i], size, "model", "vocab", "x", NULL), FM_OK);
        assert_int_equal(fm_json_parse(&whole, others[i], size, "x", NULL), FM_OK);
        assert_int_equal(entries.count, 0);
        assert_true(cJSON_Compare(json, whole, true));
        cJSON_Delete(whole);
        cJSON_Delete(json);
        fm_json_entries_free(&entries);
    }
    static const struct {
        const char *members, *text;
    } bad[] = {
        {"\"a\": 1, \"b\": 2, \"\\u0061\": 3", "x.json has the key \"a\" twice in one object; remove one of them."},
        {"\"a\": 1, \"b\": 1e999", "x.json is not valid JSON: the number of \"b\" is too large."},
        {"\"a\": 01", "x.json is not valid JSON: a malformed number"},
        {"}, \"vocab\": {", "x.json has the key \"vocab\" twice"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char document[200];
        fm_error err;
        int size = snprintf(document, sizeof document, "{\"model\": {\"vocab\": {%s}}}", bad[i].members);
        assert_int_equal(fm_json_parse_large(&json, &entries, document, (size_t)size, "model", "vocab", "x.json", &err),
                         FM_E_FORMAT);
        if (!strstr(err.text, bad[i].text)) fail_msg("\"%s\" lacks \"%s\"", err.text, bad[i].text);
        assert_null(json);
        assert_null(entries.list);
    }
}

static void json_text(void **state)
{
    (void)state;
    fm_buffer buffer = {0};
    fm_buffer_json(&buffer, "a\"\\\n\x01\xFF\xC3\xA9\0z", 10);
    assert_string_equal(buffer.data, "\"a\\\"\\\\\\n\\u0001\xEF\xBF\xBD\xC3\xA9\\u0000z\"");
    fm_buffer_free(&buffer);
}

static void files(void **state)
{
    (void)state;
    char folder[] = "/tmp/fillmask-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *inner = fm_path_join(folder, "a/b"), *path = fm_path_join(folder, "a/b/file");
    fm_error err;
    assert_int_equal(fm_make_folder(inner, &err), FM_OK);
    assert_int_equal(fm_make_folder(inner, &err), FM_OK);
    assert_int_equal(fm_file_replace(path, "old", 3, &err), FM_OK);
    fm_writer *writer;
    assert_int_equal(fm_writer_open(&writer, path, &err), FM_OK);
    assert_int_equal(fm_writer_write(writer, "half", 4, &err), FM_OK);
    fm_writer_abort(writer);
    fm_blob blob;
    assert_int_equal(fm_blob_open(&blob, path, &err), FM_OK);
    assert_int_equal(blob.size, 3);
    assert_memory_equal(blob.data, "old", 3);
    fm_blob_close(&blob);
    assert_int_equal(fm_file_replace(path, "", 0, &err), FM_OK);
    assert_int_equal(fm_blob_open(&blob, path, &err), FM_OK);
    assert_int_equal(blob.size, 0);
    fm_blob_close(&blob);
    assert_int_equal(fm_blob_open(&blob, inner, &err), FM_E_IO);
    assert_int_equal(fm_blob_open(&blob, "/nowhere/at/all", &err), FM_E_IO);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
    assert_int_equal(fm_file_replace("/nowhere/at/all", "x", 1, &err), FM_E_IO);
    unlink(path);
    rmdir(inner);
    path[strlen(folder) + 2] = 0;
    rmdir(path);
    rmdir(folder);
    free(inner);
    free(path);
}

/* Takes and gives back a lock many times; false if another process had it too. */
static bool hold_often(const char *lock_path, const char *path)
{
    for (int held_times = 0; held_times < 300;) {
        fm_file_lock lock;
        bool held;
        if (fm_lock_file(&lock, lock_path, &held, NULL)) return false;
        if (!held) continue;
        int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
        if (file < 0) return false;
        close(file);
        unlink(path);
        fm_unlock_file(&lock);
        held_times++;
    }
    return true;
}

static void one_process_holds_a_lock(void **state)
{
    (void)state;
    char folder[] = "/tmp/fillmask-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *lock_path = fm_path_join(folder, "lock"), *path = fm_path_join(folder, "file");
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) _exit(hold_often(lock_path, path) ? 0 : 1);
    }
    int failed = 0;
    for (int i = 0; i < 4; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        failed += status != 0;
    }
    unlink(path);
    assert_int_equal(failed, 0);
    assert_int_equal(rmdir(folder), 0); /* a lock that is given back is gone */
    free(lock_path);
    free(path);
}

static void count_one(void *context, size_t index, int worker)
{
    (void)worker;
    atomic_fetch_add((atomic_int *)context + index, 1);
}

static void pool_runs_each_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 8; threads++) {
        fm_pool *pool;
        assert_int_equal(fm_pool_create(&pool, threads, NULL), FM_OK);
        assert_int_equal(fm_pool_threads(pool), threads);
        for (size_t count = 0; count < 200; count++) {
            static atomic_int seen[200];
            for (size_t i = 0; i < 200; i++) atomic_store(&seen[i], 0);
            fm_pool_run(pool, count, count_one, seen);
            for (size_t i = 0; i < 200; i++) assert_int_equal(atomic_load(&seen[i]), i < count);
        }
        fm_pool_destroy(pool);
    }
    fm_pool *pool;
    fm_error err;
    assert_int_equal(fm_pool_create(&pool, -1, &err), FM_E_ARGUMENT);
}

/* The vectors that the generator's authors publish with it. */
static void threefry_known(void **state)
{
    (void)state;
    static const uint32_t cases[3][6] = {{0, 0, 0, 0, 0x6b200159, 0x99ba4efe},
                                         {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x1cb996fc, 0xbb002be7},
                                         {0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3, 0xc4923a9c, 0x483df7a0}};
    for (int i = 0; i < 3; i++) {
        uint32_t out[2];
        fm_threefry(cases[i], cases[i] + 2, out);
        assert_int_equal(out[0], cases[i][4]);
        assert_int_equal(out[1], cases[i][5]);
    }
    fm_random random = fm_random_seeded(42, 1);
    unsigned seen[7] = {0};
    for (int i = 0; i < 70000; i++) seen[fm_random_below(&random, 7)]++;
    for (int i = 0; i < 7; i++) assert_in_range(seen[i], 9500, 10500);
}

static void sizes(void **state)
{
    (void)state;
    size_t product;
    assert_true(fm_size_mul(3, 4, &product));
    assert_int_equal(product, 12);
    assert_false(fm_size_mul(SIZE_MAX / 2, 3, &product));
    assert_true(product == SIZE_MAX);
    assert_null(fm_alloc(SIZE_MAX / 2, 4));
    assert_int_equal(fm_hash(FM_HASH_START, "a", 1), 0xaf63dc4c8601ec8cull);
}

/* The examples of FIPS 180-4, and lengths around a block in parts of every size. */
static void sha256(void **state)
{
    (void)state;
    static const struct {
        const char *text, *digest;
    } known[] = {{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                 {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
                 {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
    fm_sha256 hash;
    char whole[65], parts[65];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        fm_sha256_start(&hash);
        fm_sha256_add(&hash, known[i].text, strlen(known[i].text));
        fm_sha256_end(&hash, whole);
        assert_string_equal(whole, known[i].digest);
    }
    uint8_t data[200];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7);
    for (size_t size = 0; size <= sizeof data; size++) {
        fm_sha256_start(&hash);
        fm_sha256_add(&hash, data, size);
        fm_sha256_end(&hash, whole);
        for (size_t step = 1; step < 130; step += 9) {
            fm_sha256_start(&hash);
            for (size_t at = 0; at < size; at += step)
                fm_sha256_add(&hash, data + at, size - at < step ? size - at : step);
            fm_sha256_end(&hash, parts);
            assert_string_equal(parts, whole);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_refuses),   cmocka_unit_test(json_integers),
        cmocka_unit_test(json_large),     cmocka_unit_test(json_text),
        cmocka_unit_test(files),          cmocka_unit_test(pool_runs_each_once),
        cmocka_unit_test(threefry_known), cmocka_unit_test(sizes),
        cmocka_unit_test(sha256),         cmocka_unit_test(one_process_holds_a_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
