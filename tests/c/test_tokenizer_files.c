/* test_tokenizer_files.c - core/tokenizer/load.c, vocabulary.c and save.c: the kinds of files, what each field changes,
 * and the sentence for every file that is not what it should be. What a tokenizer then does is test_tokenizer.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "tokenizer/tokenizer.h"

#define SPECIAL "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"

static char folder[64];
static const char *const names[] = {"tokenizer.json", "vocab.txt", "tokenizer_config.json",
                                    "odd.json",       "odd.txt",   "odd"};

static const char *path_of(const char *name)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text, size_t size)
{
    FILE *file = fopen(path_of(name), "wb"); /* fm_file_replace would wait for the disk, a thousand times */
    assert_true(file && fwrite(text, 1, size, file) == size);
    assert_int_equal(fclose(file), 0);
}

static int empty_folder(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(path_of(names[i]));
    return 0;
}

static fm_tokenizer *open_good(const char *path)
{
    fm_tokenizer *tokenizer;
    fm_error err = {.text = ""};
    if (fm_tokenizer_open(&tokenizer, path, &err)) fail_msg("%s", err.text);
    return tokenizer;
}

/* Opening fails with this status and a sentence that has `text` in it. */
static void expect_refusal(const char *path, fm_status status, const char *text)
{
    fm_tokenizer *tokenizer = (fm_tokenizer *)1;
    fm_error err = {.text = ""};
    fm_status found = fm_tokenizer_open(&tokenizer, path, &err);
    if (found != status || !strstr(err.text, text))
        fail_msg("status %d and \"%s\", expected %d and \"%s\"", found, err.text, status, text);
    assert_null(tokenizer);
}

/* The ids of a text, as a string. */
static const char *ids_of(const fm_tokenizer *tokenizer, const char *text)
{
    static char ids[400];
    fm_encoding encoding = {0};
    assert_int_equal(fm_tokenizer_encode(tokenizer, text, strlen(text), false, &encoding, NULL), FM_OK);
    int size = 0;
    ids[0] = '\0';
    for (size_t i = 0; i < encoding.count; i++)
        size += snprintf(ids + size, sizeof ids - (size_t)size, i ? " %u" : "%u", encoding.ids[i]);
    fm_encoding_free(&encoding);
    return ids;
}

/* ---- vocab.txt and tokenizer_config.json ---- */

/* 5 caf, 6 Caf, 7 ##e, 8 ##é, 9 中, 10 中中 */
#define CAFE "caf\nCaf\n##e\n##\xc3\xa9\n\xe4\xb8\xad\n\xe4\xb8\xad\xe4\xb8\xad"
#define TEXT "Caf\xc3\xa9 \xe4\xb8\xad\xe4\xb8\xad"

static void config_decides(void **state)
{
    (void)state;
    static const struct {
        const char *config, *ids;
    } cases[] = {
        {NULL, "5 7 9 9"},
        {"{}", "5 7 9 9"},
        {"{\"do_lower_case\": true, \"model_max_length\": 512, \"tokenizer_class\": \"BertTokenizer\"}", "5 7 9 9"},
        {"{\"do_lower_case\": false}", "6 8 9 9"},
        {"{\"do_lower_case\": false, \"strip_accents\": null, \"tokenize_chinese_chars\": null}", "6 8 9 9"},
        {"{\"do_lower_case\": false, \"strip_accents\": true}", "6 7 9 9"},
        {"{\"strip_accents\": false}", "5 8 9 9"},
        {"{\"tokenize_chinese_chars\": false}", "5 7 10"},
        {"{\"unk_token\": \"[UNK]\", \"mask_token\": {\"content\": \"[MASK]\", \"lstrip\": true}, \"pad_token\": null}",
         "5 7 9 9"},
    };
    put("vocab.txt", SPECIAL CAFE, strlen(SPECIAL CAFE));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].config) put("tokenizer_config.json", cases[i].config, strlen(cases[i].config));
        fm_tokenizer *tokenizer = open_good(folder);
        assert_string_equal(ids_of(tokenizer, TEXT), cases[i].ids);
        fm_tokenizer_close(tokenizer);
    }
    /* A file by its own name is alone. */
    fm_tokenizer *tokenizer = open_good(path_of("vocab.txt"));
    assert_string_equal(ids_of(tokenizer, TEXT), "5 7 9 9");
    fm_tokenizer_close(tokenizer);
}

static void config_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        fm_status status;
        const char *text;
    } cases[] = {
        {"{\"do_lower_case\": 1}", FM_E_FORMAT, "tokenizer_config.json: \"do_lower_case\" must be true or false."},
        {"{\"strip_accents\": \"no\"}", FM_E_FORMAT, "\"strip_accents\" must be true or false."},
        {"{\"tokenize_chinese_chars\": []}", FM_E_FORMAT, "\"tokenize_chinese_chars\" must be true or false."},
        {"{\"unk_token\": \"<unk>\"}", FM_E_UNSUPPORTED,
         "tokenizer_config.json: \"unk_token\" is \"<unk>\"; only \"[UNK]\" is supported."},
        {"{\"mask_token\": {\"content\": \"<mask>\"}}", FM_E_UNSUPPORTED, "\"<mask>\"; only \"[MASK]\" is supported."},
        {"{\"cls_token\": 3}", FM_E_UNSUPPORTED, "\"cls_token\""},
        {"[]", FM_E_FORMAT, "tokenizer_config.json must be an object."},
        {"{\"do_lower_case\": tr", FM_E_FORMAT, "tokenizer_config.json is not valid JSON"},
        {"", FM_E_FORMAT, "tokenizer_config.json is not valid JSON"},
    };
    put("vocab.txt", SPECIAL CAFE, strlen(SPECIAL CAFE));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("tokenizer_config.json", cases[i].config, strlen(cases[i].config));
        expect_refusal(folder, cases[i].status, cases[i].text);
    }
}

static void line_ends(void **state)
{
    (void)state;
    static const char *const texts[] = {SPECIAL "the\n##s", SPECIAL "the\n##s\n",
                                        "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\nthe\r\n##s\r\n"};
    for (size_t i = 0; i < 3; i++) {
        fm_tokenizer *tokenizer;
        assert_int_equal(fm_tokenizer_from_vocab(&tokenizer, texts[i], strlen(texts[i]), true, NULL), FM_OK);
        assert_int_equal(fm_tokenizer_size(tokenizer), 7);
        assert_string_equal(fm_tokenizer_token(tokenizer, 0), "[PAD]");
        assert_string_equal(fm_tokenizer_token(tokenizer, 6), "##s");
        assert_string_equal(ids_of(tokenizer, "THES [MASK]"), "5 6 4");
        fm_tokenizer_close(tokenizer);
    }
    /* The special tokens may stand anywhere. */
    fm_tokenizer *tokenizer;
    const char *text = "the\n[MASK]\n[SEP]\n[UNK]\n[CLS]\n[PAD]\n";
    assert_int_equal(fm_tokenizer_from_vocab(&tokenizer, text, strlen(text), true, NULL), FM_OK);
    fm_special_ids ids = fm_tokenizer_special(tokenizer);
    assert_true(ids.pad == 5 && ids.unk == 3 && ids.cls == 4 && ids.sep == 2 && ids.mask == 1);
    assert_string_equal(ids_of(tokenizer, "the [MASK] ?"), "0 1 3");
    fm_tokenizer_close(tokenizer);
}

static void expect_bad_vocab(const char *text, size_t size, fm_status status, const char *sentence)
{
    fm_tokenizer *tokenizer = (fm_tokenizer *)1;
    fm_error err = {.text = ""};
    fm_status found = fm_tokenizer_from_vocab(&tokenizer, text, size, true, &err);
    if (found != status || strcmp(err.text, sentence) != 0)
        fail_msg("status %d and \"%s\", expected %d and \"%s\"", found, err.text, status, sentence);
    assert_null(tokenizer);
    put("vocab.txt", text, size);
    expect_refusal(folder, status, strstr(sentence, " vocabulary") + strlen(" vocabulary"));
    assert_int_equal(fm_tokenizer_open(&tokenizer, folder, NULL), status); /* nobody asks why */
}

static void bad_vocabularies(void **state)
{
    (void)state;
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    for (int missing = 0; missing < 5; missing++) {
        char text[100] = "the\n", sentence[200];
        for (int i = 0; i < 5; i++)
            if (i != missing) strcat(strcat(text, special[i]), "\n");
        snprintf(sentence, sizeof sentence,
                 "the vocabulary lacks the token %s; a BERT vocabulary has all of [PAD], [UNK], [CLS], [SEP] and"
                 " [MASK].",
                 special[missing]);
        expect_bad_vocab(text, strlen(text), FM_E_FORMAT, sentence);
    }
#define BAD(text, status, sentence) expect_bad_vocab(text, sizeof text - 1, status, "the vocabulary" sentence)
    BAD("", FM_E_FORMAT, " is empty; a vocabulary has a token a line.");
    BAD(SPECIAL "the\nthe\n", FM_E_FORMAT, " has the token \"the\" twice, with ids 5 and 6; remove one.");
    BAD("[UNK]\n" SPECIAL, FM_E_FORMAT, " has the token \"[UNK]\" twice, with ids 0 and 2; remove one.");
    BAD(SPECIAL "##s\na\n##s\n", FM_E_FORMAT, " has the token \"##s\" twice, with ids 5 and 7; remove one.");
    BAD("\n", FM_E_FORMAT, ": the token of id 0 (line 1 of a vocab.txt) is empty; remove it.");
    BAD(SPECIAL "\nthe\n", FM_E_FORMAT, ": the token of id 5 (line 6 of a vocab.txt) is empty; remove it.");
    BAD(SPECIAL "the\n\n", FM_E_FORMAT, ": the token of id 6 (line 7 of a vocab.txt) is empty; remove it.");
    BAD(SPECIAL "\r\n", FM_E_FORMAT, ": the token of id 5 (line 6 of a vocab.txt) is empty; remove it.");
#define NOT_UTF8 ": the token of id 5 has bytes that are not UTF-8; save the file as UTF-8 text."
    BAD(SPECIAL "caf\xe9\n", FM_E_FORMAT, NOT_UTF8);
    BAD(SPECIAL "\xed\xa0\x80\n", FM_E_FORMAT, NOT_UTF8);
    BAD(SPECIAL "\xe4\xb8\n\xad\n", FM_E_FORMAT, NOT_UTF8);
    BAD("\xff\xfe[\0P\0A\0D\0]\0\n\0", FM_E_FORMAT,
        ": the token of id 0 has bytes that are not UTF-8; save the file as UTF-8 text.");
    BAD(SPECIAL "a\0b\n", FM_E_FORMAT, ": the token of id 5 has a NUL byte; save the file as UTF-8 text.");
    BAD("[\0P\0A\0D\0]\0\n\0", FM_E_FORMAT, ": the token of id 0 has a NUL byte; save the file as UTF-8 text.");
    /* A replacement character that is truly there is a token like any other. */
    fm_tokenizer *tokenizer;
    const char text[] = SPECIAL "\xef\xbf\xbd";
    assert_int_equal(fm_tokenizer_from_vocab(&tokenizer, text, sizeof text - 1, true, NULL), FM_OK);
    fm_tokenizer_close(tokenizer);
}

static void long_lines(void **state)
{
    (void)state;
    static char text[2000000];
    size_t special = strlen(SPECIAL);
    memcpy(text, SPECIAL, special);
    memset(text + special, 'x', sizeof text - special);
    fm_tokenizer *tokenizer;
    assert_int_equal(fm_tokenizer_from_vocab(&tokenizer, text, special + 1000, true, NULL), FM_OK);
    assert_string_equal(ids_of(tokenizer, "xx"), "1");
    fm_tokenizer_close(tokenizer);
    expect_bad_vocab(text, special + 1001, FM_E_LIMIT,
                     "the vocabulary: the token of id 5 has 1001 bytes; at most 1000 are supported.");
    expect_bad_vocab(text, sizeof text, FM_E_LIMIT,
                     "the vocabulary: the token of id 5 has 1999969 bytes; at most 1000 are supported.");
    /* All short: a letter a line, each of them again and again. */
    for (size_t at = special + 1; at < sizeof text; at += 2) text[at] = '\n';
    expect_bad_vocab(text, sizeof text, FM_E_FORMAT,
                     "the vocabulary has the token \"x\" twice, with ids 5 and 6; remove one.");
}

/* ---- tokenizer.json ---- */

#define TOKENS                                                                                                         \
    "\"[PAD]\": 0, \"[UNK]\": 1, \"[CLS]\": 2, \"[SEP]\": 3, \"[MASK]\": 4, \"caf\": 5, \"Caf\": 6, \"##e\": 7, "      \
    "\"##\\u00e9\": 8, \"\\u4e2d\": 9, \"\\u4e2d\\u4e2d\": 10"

static const char *const standard =
    "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [{\"id\": 4, \"content\": "
    "\"[MASK]\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": "
    "true}], \"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, "
    "\"strip_accents\": null, \"lowercase\": true}, \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, \"decoder\": "
    "{\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true}, \"model\": {\"type\": \"WordPiece\", "
    "\"unk_token\": \"[UNK]\", \"continuing_subword_prefix\": \"##\", \"max_input_chars_per_word\": 100, \"vocab\": "
    "{" TOKENS "}}}";

/* Writes the standard file with `from` replaced by `to`. */
static void put_changed(const char *name, const char *from, const char *to)
{
    char text[3000];
    const char *at = strstr(standard, from);
    assert_non_null(at);
    int size = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - standard), standard, to, at + strlen(from));
    put(name, text, (size_t)size);
}

static void json_decides(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *ids;
    } cases[] = {
        {"", "", "5 7 9 9"},
        {"\"lowercase\": true", "\"lowercase\": false", "6 8 9 9"},
        {"\"strip_accents\": null", "\"strip_accents\": false", "5 8 9 9"},
        {"\"strip_accents\": null, ", "", "5 7 9 9"},
        {"\"handle_chinese_chars\": true", "\"handle_chinese_chars\": false", "5 7 10"},
        {"\"type\": \"WordPiece\", \"unk", "\"unk", "5 7 9 9"}, /* old files do not name the model */
        {"\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 3", "1 9 9"},
        {"\"max_input_chars_per_word\": 100, ", "", "5 7 9 9"},
        {"[{\"id\": 4", "[{\"id\": 11, \"content\": \"Caf\\u00e9\"}, {\"id\": 4", "11 9 9"},
        {"\"added_tokens\": [", "\"added_tokens\": null, \"more\": [", "5 7 9 9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_changed("tokenizer.json", cases[i].from, cases[i].to);
        fm_tokenizer *tokenizer = open_good(folder);
        assert_string_equal(ids_of(tokenizer, TEXT), cases[i].ids);
        assert_string_equal(ids_of(tokenizer, "[MASK][CLS]"), "4 2");
        fm_tokenizer_close(tokenizer);
    }
}

/* tokenizer.json goes before vocab.txt, and tokenizer_config.json has the last word, as in transformers. */
static void both_kinds(void **state)
{
    (void)state;
    put("vocab.txt", SPECIAL "other\n", strlen(SPECIAL "other\n"));
    put_changed("tokenizer.json", "", "");
    fm_tokenizer *tokenizer = open_good(folder);
    assert_string_equal(ids_of(tokenizer, TEXT), "5 7 9 9");
    fm_tokenizer_close(tokenizer);
    put("tokenizer_config.json", "{\"do_lower_case\": false}", 24);
    tokenizer = open_good(folder);
    assert_string_equal(ids_of(tokenizer, TEXT), "6 8 9 9");
    fm_tokenizer_close(tokenizer);
    tokenizer = open_good(path_of("tokenizer.json"));
    assert_string_equal(ids_of(tokenizer, TEXT), "5 7 9 9");
    fm_tokenizer_close(tokenizer);
    tokenizer = open_good(path_of("vocab.txt"));
    assert_int_equal(fm_tokenizer_size(tokenizer), 6);
    fm_tokenizer_close(tokenizer);
}

static void json_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        fm_status status;
        const char *text;
    } cases[] = {
        {"BertNormalizer", "Lowercase", FM_E_UNSUPPORTED,
         "odd.json: normalizer.type is \"Lowercase\"; only BertNormalizer is supported."},
        {"\"normalizer\": {", "\"normalizer\": null, \"x\": {", FM_E_UNSUPPORTED, "normalizer.type is \"\""},
        {"\"clean_text\": true", "\"clean_text\": 1", FM_E_FORMAT, "\"clean_text\" must be true or false."},
        {"\"strip_accents\": null", "\"strip_accents\": {}", FM_E_FORMAT, "\"strip_accents\" must be true or false."},
        {"BertPreTokenizer", "Whitespace", FM_E_UNSUPPORTED,
         "\"type\" is \"Whitespace\"; only \"BertPreTokenizer\" is supported."},
        {"{\"type\": \"BertPreTokenizer\"}", "null", FM_E_UNSUPPORTED,
         "pre_tokenizer must be an object of type BertPreTokenizer."},
        {"\"WordPiece\", \"unk", "\"BPE\", \"unk", FM_E_UNSUPPORTED,
         "\"type\" is \"BPE\"; only \"WordPiece\" is supported."},
        {"\"unk_token\": \"[UNK]\"", "\"unk_token\": \"<unk>\"", FM_E_UNSUPPORTED, "only \"[UNK]\" is supported."},
        {"prefix\": \"##\", \"max", "prefix\": \"@@\", \"max", FM_E_UNSUPPORTED,
         "\"continuing_subword_prefix\" is \"@@\"; only \"##\" is supported."},
        {"word\": 100", "word\": 101", FM_E_UNSUPPORTED,
         "odd.json: model.max_input_chars_per_word must be from 1 to 100."},
        {"word\": 100", "word\": 0", FM_E_UNSUPPORTED, "must be from 1 to 100."},
        {"word\": 100", "word\": \"100\"", FM_E_UNSUPPORTED, "must be from 1 to 100."},
        {"\"vocab\": {" TOKENS "}", "\"vocab\": [[\"a\", 0]]", FM_E_FORMAT,
         "odd.json: model.vocab must be an object of tokens and ids."},
        {"\"model\"", "\"models\"", FM_E_FORMAT, "model.vocab must be an object"},
        {"{" TOKENS "}", "{}", FM_E_FORMAT, "the id of \"[MASK]\" in added_tokens must be an integer below 1"},
        {"\"caf\": 5", "\"caf\": -5", FM_E_FORMAT,
         "the id of \"caf\" in model.vocab must be an integer below 11, the number of tokens."},
        {"\"caf\": 5", "\"caf\": 5.5", FM_E_FORMAT, "the id of \"caf\" in model.vocab must be an integer"},
        {"\"caf\": 5", "\"caf\": \"5\"", FM_E_FORMAT, "the id of \"caf\" in model.vocab must be an integer"},
        {"\"caf\": 5", "\"caf\": 1e300", FM_E_FORMAT, "the id of \"caf\" in model.vocab must be an integer"},
        {"\"caf\": 5", "\"caf\": 11", FM_E_FORMAT, "the id 11 of \"caf\" leaves a gap: model.vocab has 11 tokens."},
        {"\"caf\": 5", "\"caf\": 4294967301", FM_E_FORMAT, "the id 4294967301 of \"caf\" leaves a gap"},
        {"\"caf\": 5", "\"caf\": 6", FM_E_FORMAT, "both \"caf\" and \"Caf\" have the id 6; give one another id."},
        {"\"caf\": 5", "\"caf\": 5, \"caf\": 5", FM_E_FORMAT, "odd.json has the key \"caf\" twice"},
        {"\"caf\": 5", "\"\": 5", FM_E_FORMAT, "the token of id 5 (line 6 of a vocab.txt) is empty"},
        {"\"caf\": 5", "\"c\\u0000f\": 5", FM_E_FORMAT, "odd.json is not valid JSON"},
        {"\"[SEP]\"", "\"[END]\"", FM_E_FORMAT, "odd.json lacks the token [SEP]"},
        {"[{\"id\": 4", "{}, \"more\": [{\"id\": 4", FM_E_FORMAT, "odd.json: added_tokens must be a list."},
        {"[{\"id\": 4", "[4, {\"id\": 4", FM_E_FORMAT, "an entry of added_tokens has no \"content\"."},
        {"[{\"id\": 4, \"content\"", "[{\"id\": 4, \"text\"", FM_E_FORMAT, "has no \"content\"."},
        {"[{\"id\": 4", "[{\"id\": 40", FM_E_FORMAT,
         "the id of \"[MASK]\" in added_tokens must be an integer below 12"},
        {"[{\"id\": 4", "[{\"id\": 5", FM_E_FORMAT, "both \"caf\" and \"[MASK]\" have the id 5"},
        {"[{\"id\": 4", "[{\"id\": 11, \"content\": \"caf\"}, {\"id\": 4", FM_E_FORMAT,
         "has the token \"caf\" twice, with ids 5 and 11"},
        {"[{\"id\": 4", "[{\"id\": 12, \"content\": \"a\"}, {\"id\": 12, \"content\": \"a\"}, {\"id\": 4", FM_E_FORMAT,
         "no token has the id 11."},
        {"\"lstrip\": false", "\"lstrip\": true", FM_E_UNSUPPORTED,
         "the added token \"[MASK]\" has \"lstrip\" set, which is not supported; set it to false."},
        {"\"single_word\": false", "\"single_word\": true", FM_E_UNSUPPORTED, "has \"single_word\" set"},
        {"\"rstrip\": false", "\"rstrip\": 0", FM_E_FORMAT, "\"rstrip\" must be true or false."},
        {"\"special\": true", "\"special\": \"yes\"", FM_E_FORMAT, "\"special\" must be true or false."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_changed("odd.json", cases[i].from, cases[i].to);
        expect_refusal(path_of("odd.json"), cases[i].status, cases[i].text);
    }
    put("odd.json", "[]", 2);
    expect_refusal(path_of("odd.json"), FM_E_FORMAT, "odd.json must be an object.");
}

/* A file cut anywhere is refused as JSON, never half read. */
static void json_cut(void **state)
{
    (void)state;
    for (size_t size = 0; size < strlen(standard); size++) {
        put("odd.json", standard, size);
        expect_refusal(path_of("odd.json"), FM_E_FORMAT, "odd.json is not valid JSON");
    }
}

static void nothing_to_open(void **state)
{
    (void)state;
    expect_refusal(
        folder, FM_E_IO,
        "is neither a folder with a tokenizer.json or a vocab.txt nor a file whose name ends in .json or .txt.");
    expect_refusal("", FM_E_IO, "is neither a folder");
    expect_refusal(path_of("odd.txt"), FM_E_IO, "odd.txt could not be opened");
    expect_refusal(path_of("odd.json"), FM_E_IO, "odd.json could not be opened");
    put("odd", SPECIAL, strlen(SPECIAL));
    expect_refusal(path_of("odd"), FM_E_IO, "odd is neither a folder");
    fm_tokenizer_close(NULL);
}

/* ---- writing ---- */

/* What is written is read again as the same tokenizer, from either kind of file. */
static void saves(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        bool vocab_too; /* vocab.txt and tokenizer_config.json say all of it */
    } cases[] = {
        {"", "", true},
        {"\"lowercase\": true", "\"lowercase\": false", true},
        {"\"strip_accents\": null", "\"strip_accents\": false", true},
        {"\"strip_accents\": null, \"lowercase\": true", "\"strip_accents\": true, \"lowercase\": false", true},
        {"\"handle_chinese_chars\": true", "\"handle_chinese_chars\": false", true},
        {"\"clean_text\": true", "\"clean_text\": false", false},
        {"\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 3", false},
        {"[{\"id\": 4", "[{\"id\": 11, \"content\": \"\\\"x\\\\\\u00e9\"}, {\"id\": 4", false},
        {"\"caf\": 5", "\"\\u0001\\\"\\\\ \": 5", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_changed("odd.json", cases[i].from, cases[i].to);
        fm_tokenizer *first = open_good(path_of("odd.json"));
        assert_int_equal(fm_tokenizer_save(first, folder, 512, NULL), FM_OK);
        fm_tokenizer *second = open_good(folder);
        assert_true(fm_tokenizer_hash(first) == fm_tokenizer_hash(second));
        assert_int_equal(fm_tokenizer_size(first), fm_tokenizer_size(second));
        for (uint32_t id = 0; id < fm_tokenizer_size(first); id++)
            assert_int_equal(fm_tokenizer_is_special(first, id), fm_tokenizer_is_special(second, id));
        fm_tokenizer_close(second);
        unlink(path_of("tokenizer.json"));
        second = open_good(folder);
        if (cases[i].vocab_too) assert_true(fm_tokenizer_hash(first) == fm_tokenizer_hash(second));
        fm_tokenizer_close(second);
        fm_tokenizer_close(first);
    }
    put_changed("odd.json", "", "");
    fm_tokenizer *tokenizer = open_good(path_of("odd.json"));
    fm_error err = {.text = ""};
    put("odd", "", 0);
    assert_int_equal(fm_tokenizer_save(tokenizer, path_of("odd"), 512, &err), FM_E_IO);
    assert_non_null(strstr(err.text, "odd"));
    fm_tokenizer_close(tokenizer);
    put_changed("odd.json", "[{\"id\": 4", "[{\"id\": 11, \"content\": \"a\\n\"}, {\"id\": 4");
    tokenizer = open_good(path_of("odd.json"));
    assert_string_equal(ids_of(tokenizer, "caf a\ncaf"), "5 11 5");
    assert_int_equal(fm_tokenizer_save(tokenizer, folder, 512, &err), FM_E_UNSUPPORTED);
    assert_string_equal(err.text,
                        "the token of id 11 has a line break, which a vocab.txt cannot hold; remove it to save.");
    fm_tokenizer_close(tokenizer);
}

/* The hash changes with all that changes ids. */
static void hashes(void **state)
{
    (void)state;
    static const char *const changes[][2] = {
        {"", ""},
        {"\"lowercase\": true", "\"lowercase\": false"},
        {"\"strip_accents\": null", "\"strip_accents\": false"},
        {"\"clean_text\": true", "\"clean_text\": false"},
        {"\"handle_chinese_chars\": true", "\"handle_chinese_chars\": false"},
        {"\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 99"},
        {"\"caf\": 5", "\"caff\": 5"},
        {"\"caf\": 5, \"Caf\": 6", "\"caf\": 6, \"Caf\": 5"},
        {"[{\"id\": 4", "[{\"id\": 11, \"content\": \"new\"}, {\"id\": 4"},
        {"[{\"id\": 4", "[{\"id\": 5, \"content\": \"caf\"}, {\"id\": 4"},
        {"\"\\u4e2d\\u4e2d\": 10", "\"\\u4e2d\\u4e2d\": 10, \"new\": 11"},
    };
    enum { COUNT = sizeof changes / sizeof *changes };
    uint64_t found[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        put_changed("odd.json", changes[i][0], changes[i][1]);
        fm_tokenizer *tokenizer = open_good(path_of("odd.json"));
        found[i] = fm_tokenizer_hash(tokenizer);
        fm_tokenizer_close(tokenizer);
        for (size_t j = 0; j < i; j++)
            if (found[i] == found[j]) fail_msg("\"%s\" and \"%s\" have one hash", changes[i][1], changes[j][1]);
    }
}

int main(void)
{
    strcpy(folder, "/tmp/fillmask-tokenizer-XXXXXX");
    if (!mkdtemp(folder)) return 1;
#define TEST(function) cmocka_unit_test_teardown(function, empty_folder)
    const struct CMUnitTest tests[] = {
        TEST(config_decides), TEST(config_refused),  TEST(line_ends),  TEST(bad_vocabularies),
        TEST(long_lines),     TEST(json_decides),    TEST(both_kinds), TEST(json_refused),
        TEST(json_cut),       TEST(nothing_to_open), TEST(saves),      TEST(hashes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return failed;
}
