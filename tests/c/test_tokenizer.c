/* test_tokenizer.c - core/tokenizer/encode.c and decode.c: the ids, offsets and words of the reference (a golden file
 * made by tests/differential/tokenizer_golden.py), bytes that are no text, the fast way against the complete one, and
 * hostile sizes. Reading and writing files is test_tokenizer_files.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "tokenizer/tokenizer.h"

static const char vocab[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nmovie\n##s\n!\nA\nB\n##b\na\n##a\n\xc3\xa9t\xc3\xa9\n"
    "ete\nunaffable\nun\n##aff\n##able\nx\n##x\nsixteen0letters1\nsixteen0letters12\n##2\n"
    "\xe4\xb8\xad\n.\n[\n]\nmask\n##3\n";
enum { PAD, UNK, CLS, SEP, MASK, THE, MOVIE, S_, BANG, CAPITAL_A, CAPITAL_B, B_, A, A_, SUMMER, ETE, UNAFFABLE };
enum { UN = UNAFFABLE + 1, AFF_, ABLE_, X, X_, SIXTEEN, SEVENTEEN, TWO_, CHINA, DOT, OPEN, CLOSE, MASK_WORD, THREE_ };

static fm_tokenizer *uncased, *cased;
static fm_encoding encoding;

/* Encodes a copy that ends where its memory ends, so that a sanitizer sees every read past it. */
static void encode(const fm_tokenizer *tokenizer, const char *text, size_t size, bool special, fm_encoding *out)
{
    char *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, text, size);
    fm_error err = {.text = ""};
    fm_status status = fm_tokenizer_encode(tokenizer, copy, size, special, out, &err);
    if (status) fail_msg("\"%.*s\": %s", (int)size, text, err.text);
    free(copy);
}

#define MOST 40

/* A text and all that is to come of it; ids end with the count. */
typedef struct expectation {
    const char *text;
    size_t count;
    uint32_t ids[MOST], offsets[2 * MOST], words[MOST];
} expectation;

static void expect(const fm_tokenizer *tokenizer, const char *text, size_t size, const expectation *wanted)
{
    encode(tokenizer, text, size, false, &encoding);
    if (encoding.count != wanted->count)
        fail_msg("\"%s\": %zu tokens, expected %zu", text, encoding.count, wanted->count);
    for (size_t i = 0; i < wanted->count; i++) {
        fm_span span = encoding.offsets[i];
        if (encoding.ids[i] != wanted->ids[i] || span.start != wanted->offsets[2 * i] ||
            span.end != wanted->offsets[2 * i + 1] || encoding.words[i] != wanted->words[i])
            fail_msg("\"%s\": token %zu is %u at (%u, %u) of word %u, expected %u at (%u, %u) of word %u", text, i,
                     encoding.ids[i], span.start, span.end, encoding.words[i], wanted->ids[i], wanted->offsets[2 * i],
                     wanted->offsets[2 * i + 1], wanted->words[i]);
    }
}

/* Both texts give the same ids. */
static void expect_same_ids(const char *text, size_t size, const char *other, size_t other_size)
{
    fm_encoding second = {0};
    encode(uncased, text, size, false, &encoding);
    encode(uncased, other, other_size, false, &second);
    if (encoding.count != second.count || memcmp(encoding.ids, second.ids, second.count * sizeof *second.ids) != 0)
        fail_msg("\"%.*s\" and \"%.*s\" give different ids", (int)size, text, (int)other_size, other);
    for (size_t i = 0; i < encoding.count; i++) {
        assert_true(encoding.offsets[i].start < encoding.offsets[i].end && encoding.offsets[i].end <= size);
        assert_int_equal(encoding.words[i], second.words[i]);
    }
    fm_encoding_free(&second);
}

/* ---- the golden file ---- */

static cJSON *read_json(const char *path)
{
    fm_blob blob;
    cJSON *root = NULL;
    fm_error err = {.text = ""};
    if (fm_blob_open(&blob, path, &err) || fm_json_parse(&root, blob.data, blob.size, path, &err))
        fail_msg("%s (tests run in the repository's root)", err.text);
    fm_blob_close(&blob);
    return root;
}

static const cJSON *field(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    assert_non_null(item);
    return item;
}

/* The tokenizer of one entry: its file, completed with the vocabulary, goes the way of any tokenizer.json. */
static fm_tokenizer *open_golden(const cJSON *entry, const cJSON *tokens)
{
    cJSON *file = cJSON_Duplicate(field(entry, "file"), true), *ids = cJSON_CreateObject();
    const cJSON *token;
    double id = 0;
    cJSON_ArrayForEach(token, tokens) cJSON_AddNumberToObject(ids, token->valuestring, id++);
    cJSON_AddItemToObject(cJSON_GetObjectItemCaseSensitive(file, "model"), "vocab", ids);
    char folder[] = "/tmp/fillmask-tokenizer-XXXXXX", path[64], *text = cJSON_PrintUnformatted(file);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_non_null(text);
    assert_int_equal(fm_file_replace(path, text, strlen(text), NULL), FM_OK);
    fm_tokenizer *tokenizer;
    fm_error err = {.text = ""};
    if (fm_tokenizer_open(&tokenizer, folder, &err)) fail_msg("%s", err.text);
    unlink(path);
    rmdir(folder);
    cJSON_free(text);
    cJSON_Delete(file);
    return tokenizer;
}

static void check_case(const fm_tokenizer *tokenizer, const char *name, const cJSON *one)
{
    const char *text = field(one, "text")->valuestring;
    const cJSON *id = field(one, "ids")->child, *offset = field(one, "offsets")->child,
                *word = field(one, "words")->child;
    encode(tokenizer, text, strlen(text), false, &encoding);
    for (size_t i = 0; i < encoding.count; i++, id = id->next, offset = offset->next->next, word = word->next) {
        if (!id) fail_msg("%s: \"%s\" has more than the %zu tokens expected", name, text, i);
        uint32_t start = (uint32_t)offset->valuedouble, end = (uint32_t)offset->next->valuedouble;
        uint32_t index = word->valuedouble < 0 ? UINT32_MAX : (uint32_t)word->valuedouble;
        if (encoding.ids[i] != (uint32_t)id->valuedouble || encoding.offsets[i].start != start ||
            encoding.offsets[i].end != end || encoding.words[i] != index)
            fail_msg("%s: \"%s\": token %zu is %u at (%u, %u) of word %u, expected %u at (%u, %u) of word %u", name,
                     text, i, encoding.ids[i], encoding.offsets[i].start, encoding.offsets[i].end, encoding.words[i],
                     (uint32_t)id->valuedouble, start, end, index);
    }
    if (id) fail_msg("%s: \"%s\" has only %zu tokens", name, text, encoding.count);
}

static void check_decoding(const fm_tokenizer *tokenizer, const char *name, const cJSON *one)
{
    uint32_t ids[64];
    size_t count = 0;
    const cJSON *id;
    cJSON_ArrayForEach(id, field(one, "ids")) ids[count++] = (uint32_t)id->valuedouble;
    char *text;
    assert_int_equal(fm_tokenizer_decode(tokenizer, ids, count, cJSON_IsTrue(field(one, "skip_special")),
                                         cJSON_IsTrue(field(one, "clean_up")), &text, NULL),
                     FM_OK);
    if (strcmp(text, field(one, "text")->valuestring) != 0)
        fail_msg("%s: decoded \"%s\", expected \"%s\"", name, text, field(one, "text")->valuestring);
    free(text);
}

static void as_the_reference(void **state)
{
    (void)state;
    cJSON *root = read_json("tests/golden/tokenizer.json");
    const cJSON *entry, *one;
    size_t cases = 0;
    cJSON_ArrayForEach(entry, field(root, "tokenizers"))
    {
        const char *name = field(entry, "name")->valuestring;
        fm_tokenizer *tokenizer = open_golden(entry, field(root, "vocab"));
        cJSON_ArrayForEach(one, field(entry, "cases"))
        {
            check_case(tokenizer, name, one);
            cases++;
        }
        cJSON_ArrayForEach(one, field(entry, "decodings")) check_decoding(tokenizer, name, one);
        fm_tokenizer_close(tokenizer);
    }
    assert_true(cases > 200);
    cJSON_Delete(root);
}

/* ---- by hand ---- */

static void spans_and_words(void **state)
{
    (void)state;
    static const expectation cases[] = {
        {"The movies!", 4, {THE, MOVIE, S_, BANG}, {0, 3, 4, 9, 9, 10, 10, 11}, {0, 1, 1, 2}},
        {" \xc3\x89t\xc3\xa9 ", 1, {ETE}, {1, 6}, {0}},
        {"e\xcc\x81te\xcc\x81!", 2, {ETE, BANG}, {0, 5, 7, 8}, {0, 1}},
        {"the\xe4\xb8\xadthe", 3, {THE, CHINA, THE}, {0, 3, 3, 6, 6, 9}, {0, 1, 2}},
        {"unaffables unaff", 4, {UNAFFABLE, S_, UN, AFF_}, {0, 9, 9, 10, 11, 13, 13, 16}, {0, 0, 1, 1}},
        {"unaffableq the", 2, {UNK, THE}, {0, 10, 11, 14}, {0, 1}},
        {"the [MASK].", 3, {THE, MASK, DOT}, {0, 3, 4, 10, 10, 11}, {0, UINT32_MAX, 2}},
        {"x[MASK]x", 3, {X, MASK, X}, {0, 1, 1, 7, 7, 8}, {0, UINT32_MAX, 2}},
        {"[mask]", 3, {OPEN, MASK_WORD, CLOSE}, {0, 1, 1, 5, 5, 6}, {0, 1, 2}},
        {"[[MASK]]", 3, {OPEN, MASK, CLOSE}, {0, 1, 1, 7, 7, 8}, {0, UINT32_MAX, 2}},
        {"[MASK", 2, {OPEN, MASK_WORD}, {0, 1, 1, 5}, {0, 1}},
        {"[CLS][SEP] [PAD]", 3, {CLS, SEP, PAD}, {0, 5, 5, 10, 11, 16}, {UINT32_MAX, UINT32_MAX, UINT32_MAX}},
        {"SIXTEEN0letters1", 1, {SIXTEEN}, {0, 16}, {0}},
        {"sixteen0LETTERS12", 1, {SEVENTEEN}, {0, 17}, {0}},
        {"sixteen0letters122", 2, {SEVENTEEN, TWO_}, {0, 17, 17, 18}, {0, 0}},
        {"sixteen0letters13", 2, {SIXTEEN, THREE_}, {0, 16, 16, 17}, {0, 0}},
        {"##s", 3, {UNK, UNK, UNK}, {0, 1, 1, 2, 2, 3}, {0, 1, 2}},
        {"", 0, {0}, {0}, {0}},
        {" \t\r\n \xc2\xa0\xe3\x80\x80\xe2\x80\xa8", 0, {0}, {0}, {0}},
        {"\x01\x02\x7f\xc2\x80\xe2\x80\x8d\xef\xbb\xbf", 0, {0}, {0}, {0}},
        {"\xcc\x81", 0, {0}, {0}, {0}},
        {"\x01 the\x02movie\x7f", 1, {UNK}, {2, 11}, {0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(uncased, cases[i].text, strlen(cases[i].text), &cases[i]);
    static const expectation with_case[] = {
        {"A a B", 3, {CAPITAL_A, A, CAPITAL_B}, {0, 1, 2, 3, 4, 5}, {0, 1, 2}},
        {"The the", 2, {UNK, THE}, {0, 3, 4, 7}, {0, 1}},
        {"\xc3\xa9t\xc3\xa9", 1, {SUMMER}, {0, 5}, {0}},
    };
    for (size_t i = 0; i < sizeof with_case / sizeof *with_case; i++)
        expect(cased, with_case[i].text, strlen(with_case[i].text), &with_case[i]);
    assert_true(fm_tokenizer_lowercase(uncased));
    assert_false(fm_tokenizer_lowercase(cased));
}

static void adds_special(void **state)
{
    (void)state;
    encode(uncased, "the movie", 9, true, &encoding);
    assert_int_equal(encoding.count, 4);
    const uint32_t ids[] = {CLS, THE, MOVIE, SEP}, words[] = {UINT32_MAX, 0, 1, UINT32_MAX};
    const fm_span spans[] = {{0, 0}, {0, 3}, {4, 9}, {0, 0}};
    assert_memory_equal(encoding.ids, ids, sizeof ids);
    assert_memory_equal(encoding.words, words, sizeof words);
    assert_memory_equal(encoding.offsets, spans, sizeof spans);
    encode(uncased, "", 0, true, &encoding);
    assert_int_equal(encoding.count, 2);
    assert_int_equal(encoding.ids[0], CLS);
    assert_int_equal(encoding.ids[1], SEP);
    assert_int_equal(fm_tokenizer_encode(uncased, NULL, 0, false, &encoding, NULL), FM_OK);
    assert_int_equal(encoding.count, 0);
}

static void vocabulary_questions(void **state)
{
    (void)state;
    uint32_t id;
    assert_int_equal(fm_tokenizer_size(uncased), THREE_ + 1);
    assert_string_equal(fm_tokenizer_token(uncased, MOVIE), "movie");
    assert_string_equal(fm_tokenizer_token(uncased, S_), "##s");
    assert_null(fm_tokenizer_token(uncased, THREE_ + 1));
    assert_null(fm_tokenizer_token(uncased, UINT32_MAX));
    for (uint32_t i = 0; i < fm_tokenizer_size(uncased); i++) {
        const char *token = fm_tokenizer_token(uncased, i);
        assert_true(fm_tokenizer_find(uncased, token, strlen(token), &id));
        assert_int_equal(id, i);
        assert_int_equal(fm_tokenizer_is_special(uncased, i), i <= MASK);
    }
    assert_false(fm_tokenizer_find(uncased, "Movie", 5, &id));
    assert_false(fm_tokenizer_find(uncased, "movi", 4, &id));
    assert_false(fm_tokenizer_find(uncased, "s", 1, &id));
    assert_false(fm_tokenizer_find(uncased, "##", 2, &id));
    assert_false(fm_tokenizer_find(uncased, "", 0, &id));
    assert_false(fm_tokenizer_is_special(uncased, UINT32_MAX));
    fm_special_ids ids = fm_tokenizer_special(uncased);
    assert_true(ids.pad == PAD && ids.unk == UNK && ids.cls == CLS && ids.sep == SEP && ids.mask == MASK);
    assert_true(fm_tokenizer_hash(uncased) != fm_tokenizer_hash(cased));
}

static void decodes(void **state)
{
    (void)state;
    static const uint32_t ids[] = {CLS, THE, MOVIE, S_, BANG, S_, MASK, DOT, SEP};
    static const struct {
        size_t from, count;
        bool skip, clean;
        const char *text;
    } cases[] = {
        {0, 9, false, true, "[CLS] the movies!s [MASK]. [SEP]"},
        {0, 9, false, false, "[CLS] the movies !s [MASK] . [SEP]"},
        {0, 9, true, true, "the movies!s."},
        {3, 2, true, true, "##s!"},
        {0, 0, true, true, ""},
        {0, 1, true, true, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text;
        assert_int_equal(fm_tokenizer_decode(uncased, ids + cases[i].from, cases[i].count, cases[i].skip,
                                             cases[i].clean, &text, NULL),
                         FM_OK);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
    const uint32_t bad[] = {THE, 1000};
    char *text = (char *)1;
    fm_error err;
    assert_int_equal(fm_tokenizer_decode(uncased, bad, 2, false, false, &text, &err), FM_E_ARGUMENT);
    assert_null(text);
    assert_string_equal(err.text, "id 1000 at position 1 is not in the vocabulary of 31 tokens.");
}

/* ---- bytes that are no text ---- */

static void broken_utf8(void **state)
{
    (void)state;
    /* Each reads as U+FFFD, which cleaning removes: the words around it grow together. */
    static const char *const broken[] = {
        "\x80",         "\xbf\xbf",     "\xc0\xaf",         "\xc1\xbf",         "\xc3",     "\xe0\x9f\xbf",
        "\xe4\xb8",     "\xed\xa0\x80", "\xed\xbf\xbf",     "\xf0\x8f\xbf\xbf", "\xf0\x9f", "\xf4\x90\x80\x80",
        "\xf5\x80\x80", "\xfe",         "\xff\xff\xff\xff", "\xef\xbf\xbd",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        char text[64];
        size_t bytes = strlen(broken[i]);
        uint32_t size = (uint32_t)snprintf(text, sizeof text, "un%saff able", broken[i]);
        expect(uncased, text, size,
               &(expectation){text, 3, {UN, AFF_, UNK}, {0, 2, size - 8, size - 5, size - 4, size}, {0, 0, 1}});
        size = (uint32_t)snprintf(text, sizeof text, "the %s", broken[i]);
        expect(uncased, text, size, &(expectation){text, 1, {THE}, {0, 3}, {0}});
        size = (uint32_t)snprintf(text, sizeof text, "%sthe[MASK]%s", broken[i], broken[i]);
        uint32_t at = (uint32_t)bytes;
        expect(uncased, text, size,
               &(expectation){text, 2, {THE, MASK}, {at, at + 3, at + 3, at + 9}, {0, UINT32_MAX}});
    }
    /* A cut character does not swallow what follows it. */
    expect(uncased, "\xe4\xb8!\xe4\xb8\xad", 6, &(expectation){"", 2, {BANG, CHINA}, {2, 3, 3, 6}, {0, 1}});
    expect(uncased, "\xf0\x9f the", 6, &(expectation){"", 1, {THE}, {3, 6}, {0}});
}

static void nul_bytes(void **state)
{
    (void)state;
    expect(uncased, "un\0aff the\0\0", 12, &(expectation){"", 3, {UN, AFF_, THE}, {0, 2, 3, 6, 7, 10}, {0, 0, 1}});
    expect(uncased, "\0\0\0", 3, &(expectation){"", 0, {0}, {0}, {0}});
    expect(uncased, "[MA\0SK]", 7, &(expectation){"", 3, {OPEN, MASK_WORD, CLOSE}, {0, 1, 1, 6, 6, 7}, {0, 1, 2}});
}

static void too_long(void **state)
{
    (void)state;
    fm_error err;
    encode(uncased, "the", 3, false, &encoding);
    if (SIZE_MAX > UINT32_MAX) { /* refused before a byte is read */
        assert_int_equal(fm_tokenizer_encode(uncased, "the", UINT32_MAX, false, &encoding, &err), FM_E_LIMIT);
        assert_string_equal(err.text, "the text has 4294967295 bytes; one text must be shorter than 4 GB, so cut it.");
        assert_int_equal(encoding.count, 0);
    }
}

/* ---- the fast way against the complete one ---- */

/* Words of letters, digits and much else of ASCII. U+200D, which cleaning removes, before each of its ends makes a word
 * go the complete way; the ids must not change. */
static void fast_as_complete(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "the", "Movie", "s",         "un",       "AFF", "able", "x",   "sixteen0letters1",
        "2",   "b",     "unaffable", "letters1", "zz",  "A",    "X7x", "qqqqqqqq"};
    static const char ends[] = " !.[]\t\n-@`{/:";
    fm_random random = fm_random_seeded(1, 0);
    for (int round = 0; round < 20000; round++) {
        char plain[1024], slow[1024];
        int plain_size = 0, slow_size = 0;
        for (uint32_t words = 1 + fm_random_below(&random, 6); words > 0; words--) {
            uint32_t count = fm_random_below(&random, 5);
            for (uint32_t i = 0; i < count; i++) {
                const char *part = parts[fm_random_below(&random, sizeof parts / sizeof *parts)];
                plain_size += sprintf(plain + plain_size, "%s", part);
                slow_size += sprintf(slow + slow_size, "%s", part);
            }
            char end = ends[fm_random_below(&random, sizeof ends - 1)];
            bool last = words == 1 && fm_random_below(&random, 2);
            slow_size += sprintf(slow + slow_size, "\xe2\x80\x8d");
            if (last) continue;
            plain[plain_size++] = end;
            slow[slow_size++] = end;
        }
        expect_same_ids(plain, (size_t)plain_size, slow, (size_t)slow_size);
    }
}

/* What follows a text in memory has no say. */
static void ends_anywhere(void **state)
{
    (void)state;
    static const char text[] =
        "The sixteen0letters12 [MASK]unaffables! \xc3\x89t\xc3\xa9 e\xcc\x81te\xcc\x81\xe4\xb8\xad x";
    fm_encoding again = {0};
    for (size_t from = 0; from < sizeof text - 1; from++) {
        for (size_t to = from; to < sizeof text; to++) {
            assert_int_equal(fm_tokenizer_encode(uncased, text + from, to - from, false, &again, NULL), FM_OK);
            encode(uncased, text + from, to - from, false, &encoding);
            assert_int_equal(encoding.count, again.count);
            if (again.count == 0) continue;
            assert_memory_equal(encoding.ids, again.ids, again.count * sizeof *again.ids);
            assert_memory_equal(encoding.offsets, again.offsets, again.count * sizeof *again.offsets);
        }
    }
    fm_encoding_free(&again);
}

/* ---- sizes ---- */

/* `count` times `part`. */
static char *repeat(const char *part, size_t count, size_t *size)
{
    size_t length = strlen(part);
    *size = length * count;
    char *text = malloc(*size + 1);
    assert_non_null(text);
    for (size_t i = 0; i < count; i++) memcpy(text + i * length, part, length);
    text[*size] = '\0';
    return text;
}

static void long_words(void **state)
{
    (void)state;
    size_t size;
    char *text = repeat("x", 100, &size);
    encode(uncased, text, size, false, &encoding);
    assert_int_equal(encoding.count, 100);
    assert_int_equal(encoding.ids[0], X);
    assert_int_equal(encoding.ids[99], X_);
    assert_int_equal(encoding.offsets[99].end, 100);
    free(text);
    text = repeat("x", 101, &size);
    encode(uncased, text, size, false, &encoding);
    assert_int_equal(encoding.count, 1);
    assert_int_equal(encoding.ids[0], UNK);
    assert_int_equal(encoding.offsets[0].end, 101);
    free(text);
    text = repeat("x\xcc\x81", 100, &size); /* a hundred after the accents are gone */
    encode(uncased, text, size, false, &encoding);
    assert_int_equal(encoding.count, 100);
    assert_int_equal(encoding.offsets[99].start, 297);
    encode(cased, text, size, false, &encoding);
    assert_int_equal(encoding.count, 1);
    assert_int_equal(encoding.ids[0], UNK);
    assert_int_equal(encoding.offsets[0].end, 300);
    free(text);
}

/* More tokens than a model has positions: nothing is cut, and an encoding serves again and again. */
static void long_texts(void **state)
{
    (void)state;
    size_t size;
    char *text = repeat("the movies! ", 10000, &size);
    fm_encoding out = {0};
    encode(uncased, text, size, true, &out);
    assert_int_equal(out.count, 40002);
    for (size_t i = 0; i < 40000; i++) {
        static const uint32_t ids[] = {THE, MOVIE, S_, BANG}, starts[] = {0, 4, 9, 10};
        assert_int_equal(out.ids[i + 1], ids[i % 4]);
        assert_int_equal(out.offsets[i + 1].start, 12 * (i / 4) + starts[i % 4]);
    }
    assert_int_equal(out.words[40000], 29999);
    assert_int_equal(out.ids[40001], SEP);
    size_t capacity = out.capacity;
    encode(uncased, "the", 3, false, &out);
    assert_int_equal(out.count, 1);
    assert_int_equal(out.capacity, capacity);
    fm_encoding_free(&out);
    assert_true(out.ids == NULL && out.capacity == 0);
    free(text);
}

/* Millions of bytes of what breaks encoders. None needs a clock: a way with quadratic work would take hours. */
static void hostile_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *name, *part;
        size_t parts_a_token; /* 0: no tokens at all, SIZE_MAX: one [UNK] for all */
    } cases[] = {
        {"one letter", "x", SIZE_MAX},
        {"letters and digits", "unaffable9", SIZE_MAX},
        {"letters of two bytes", "\xc3\xa9", SIZE_MAX},
        {"an accent", "\xcc\x81", 0},
        {"accents out of order", "\xcc\x81\xcc\xa3", 0},
        {"two classes and an inserted mark", "\xcd\x84\xcc\xa3", 0},
        {"zero-width joiners", "\xe2\x80\x8d", 0},
        {"bytes that are no UTF-8", "\xff", 0},
        {"spaces", " ", 0},
        {"NULs", "\0x", SIZE_MAX},
        {"beginnings of [MASK]", "[", 1},
        {"ideographs", "\xe4\xb8\xad", 1},
        {"masks", "[MASK]", 1},
        {"full stops", ".", 1},
        {"emoji", "\xf0\x9f\x8e\xac", SIZE_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t parts = 2000000;
        size_t size;
        char *text = repeat(cases[i].part[0] ? cases[i].part : "?x", parts, &size);
        for (size_t at = 0; at < size && !cases[i].part[0]; at += 2) text[at] = '\0';
        fm_encoding out = {0};
        assert_int_equal(fm_tokenizer_encode(uncased, text, size, false, &out, NULL), FM_OK);
        size_t per = cases[i].parts_a_token, wanted = per == 0 ? 0 : per == SIZE_MAX ? 1 : parts / per;
        if (out.count != wanted) fail_msg("%s: %zu tokens, expected %zu", cases[i].name, out.count, wanted);
        if (per == SIZE_MAX) {
            assert_int_equal(out.ids[0], UNK);
            assert_int_equal(out.offsets[0].end, size);
        }
        fm_encoding_free(&out);
        free(text);
    }
    /* Two million accents after a letter, which alone is left. */
    size_t size;
    char *text = repeat("\xcc\x81\xcc\xa3", 1000000, &size);
    memcpy(text, "!a", 2);
    encode(uncased, text, size, false, &encoding);
    assert_int_equal(encoding.count, 2);
    assert_int_equal(encoding.ids[1], A);
    assert_int_equal(encoding.offsets[1].end, 2);
    free(text);
}

int main(void)
{
    if (fm_tokenizer_from_vocab(&uncased, vocab, sizeof vocab - 1, true, NULL) ||
        fm_tokenizer_from_vocab(&cased, vocab, sizeof vocab - 1, false, NULL))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_reference), cmocka_unit_test(spans_and_words),
        cmocka_unit_test(adds_special),     cmocka_unit_test(vocabulary_questions),
        cmocka_unit_test(decodes),          cmocka_unit_test(broken_utf8),
        cmocka_unit_test(nul_bytes),        cmocka_unit_test(too_long),
        cmocka_unit_test(fast_as_complete), cmocka_unit_test(ends_anywhere),
        cmocka_unit_test(long_words),       cmocka_unit_test(long_texts),
        cmocka_unit_test(hostile_sizes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fm_encoding_free(&encoding);
    fm_tokenizer_close(uncased);
    fm_tokenizer_close(cased);
    return failed;
}
