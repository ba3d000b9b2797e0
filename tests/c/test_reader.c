/* test_reader.c - core/train/reader.c: what the three formats give, and the sentence for each kind of bad input. */
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

static const char *put(const char *name, const char *text, size_t size)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(fm_file_replace(path, text, size, NULL), FM_OK);
    return path;
}

/* Everything that a file gives as "id=text|id=text|", or the error's text. */
static const char *read_as(const char *name, const char *text, size_t size, fm_text_format format, const char *field)
{
    static char all[4000];
    static fm_error err;
    all[0] = '\0';
    fm_reader *reader;
    fm_status status = fm_reader_open(&reader, put(name, text, size), format, field, &err);
    for (bool more = true; !status && more;) {
        fm_document document;
        status = fm_reader_next(reader, &document, &more, &err);
        if (status || !more) continue;
        assert_int_equal(strlen(document.id), document.id_size);
        assert_int_equal(document.text[document.size], '\0');
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s=%s|", document.id, document.text);
    }
    if (!status) {
        uint64_t done, total;
        fm_reader_progress(reader, &done, &total);
        assert_int_equal(total, size);
        assert_int_equal(done, size);
    }
    fm_reader_close(reader);
    return status ? err.text : all;
}

#define READ(name, text) read_as(name, text, sizeof text - 1, FM_TEXT_AUTO, NULL)
#define ASSERT_HAS(text, part)                                                                                         \
    do {                                                                                                               \
        const char *has_text = (text);                                                                                 \
        if (!strstr(has_text, part)) fail_msg("\"%s\" lacks \"%s\"", has_text, part);                                  \
    } while (0)

static void json_lines(void **state)
{
    (void)state;
    assert_string_equal(
        READ("a.jsonl", "{\"id\": \"x\", \"text\": \"one\\ntwo\"}\n{\"id\": 12, \"text\": \"\xc3\xa9\"}\n"),
        "x=one\ntwo|12=\xc3\xa9|");
    assert_string_equal(READ("a.jsonl", "\xef\xbb\xbf{\"text\": \"a\"}\r\n\r\n{\"text\": \"\", \"id\": null}"),
                        "1=a|3=|");
    assert_string_equal(READ("a.JSONL", "{\"id\": -2.5, \"text\": \"\\ud83d\\ude00\"}"), "-2.5=\xf0\x9f\x98\x80|");
    assert_string_equal(read_as("a.txt", "{\"body\": \"b\"}", 13, FM_TEXT_JSONL, "body"), "1=b|");
    assert_string_equal(READ("a.jsonl", ""), "");
}

static void json_lines_refused(void **state)
{
    (void)state;
    ASSERT_HAS(READ("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"a\n"), "Line 2 of ");
    ASSERT_HAS(READ("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"a\n"), "a string without an end at byte 9; every line");
    ASSERT_HAS(READ("a.jsonl", "[1]\n"), "Line 1 of ");
    ASSERT_HAS(READ("a.jsonl", "[1]\n"), "is a list; every line must be one JSON object.");
    ASSERT_HAS(READ("a.jsonl", "{\"body\": \"a\", \"x\": 1}\n"), "no field \"text\"");
    ASSERT_HAS(READ("a.jsonl", "{\"body\": \"a\", \"x\": 1}\n"), "(the line has \"body\", \"x\")");
    ASSERT_HAS(READ("a.jsonl", "{}\n"), "(the line has none)");
    ASSERT_HAS(READ("a.jsonl", "\n{\"text\": 3}\n"), "The field \"text\" on line 2 of");
    ASSERT_HAS(READ("a.jsonl", "{\"text\": 3}\n"), "is a number; it must be a string");
    ASSERT_HAS(READ("a.jsonl", "{\"text\": \"a\", \"id\": [1]}\n"), "The field \"id\" on line 1");
    ASSERT_HAS(READ("a.jsonl", "{\"text\": \"a\", \"text\": \"b\"}\n"), "\"text\" twice");
    ASSERT_HAS(READ("a.jsonl", "{\"text\": \"\xff\"}\n"), "invalid UTF-8");
    ASSERT_HAS(READ("a.json", "{\"text\": \"a\"}\n"), "format is jsonl");
}

static void csv(void **state)
{
    (void)state;
    assert_string_equal(READ("a.csv", "id,text\n7,plain\n8,\"two\nlines, \"\"quoted\"\"\"\r\n"),
                        "7=plain|8=two\nlines, \"quoted\"|");
    assert_string_equal(READ("a.csv", "\xef\xbb\xbf\"text\",n\r\n\"a\nb\",1\r\n\r\nc,\"\"\r\n5\" disk,\"x\""),
                        "2=a\nb|5=c|6=5\" disk|");
    assert_string_equal(READ("a.csv", "text\na\n\"\"\nb"), "2=a|3=|4=b|");
    assert_string_equal(read_as("a.csv", "id,text\nx,y\n", 12, FM_TEXT_AUTO, "id"), "x=x|");
}

static void csv_refused(void **state)
{
    (void)state;
    ASSERT_HAS(READ("a.csv", ""), "is empty");
    ASSERT_HAS(READ("a.csv", "id,body\n1,a\n"), "no column \"text\"");
    ASSERT_HAS(READ("a.csv", "id,body\n1,a\n"), "\"id\", \"body\"");
    ASSERT_HAS(READ("a.csv", "text,text\n1,a\n"), "\"text\" twice");
    ASSERT_HAS(READ("a.csv", "id,text\n1,a\n2,b,c\n"), "line 3");
    ASSERT_HAS(READ("a.csv", "id,text\n1,a\n2,b,c\n"), "3 fields and the header 2");
    ASSERT_HAS(READ("a.csv", "id,text\n1,\"a\"b\n"), "after the closing quote of field 2");
    ASSERT_HAS(READ("a.csv", "id,text\n1,\"a\n2,b\n"), "starts on line 2");
    ASSERT_HAS(READ("a.csv", "id,text\n1,\"a\n2,b\n"), "never closed");
}

static void plain_text(void **state)
{
    (void)state;
    assert_string_equal(READ("a.txt", "one\r\n\n  \n{two}\nthree"), "1=one|4={two}|5=three|");
    assert_string_equal(READ("a", "\n"), "");
    /* Any bytes are text here, and a NUL does not end a line. */
    fm_reader *reader;
    assert_int_equal(fm_reader_open(&reader, put("a.txt", "a\0\xff\n", 4), FM_TEXT_AUTO, NULL, NULL), FM_OK);
    fm_document document;
    bool more;
    assert_int_equal(fm_reader_next(reader, &document, &more, NULL), FM_OK);
    assert_true(more);
    assert_int_equal(document.size, 3);
    assert_memory_equal(document.text, "a\0\xff", 4);
    fm_reader_close(reader);
}

static void other_formats_refused(void **state)
{
    (void)state;
    ASSERT_HAS(READ("a.jsonl", "\x1f\x8b\x08\0\0"), "gzip data");
    ASSERT_HAS(READ("a.txt", "\xfd"
                             "7zXZ\0\0"),
               "xz -dc");
    ASSERT_HAS(READ("a.txt", "PAR1...."), "Parquet");
    ASSERT_HAS(READ("a.csv", "\xff\xfe"
                             "a\0"),
               "UTF-16");
    fm_error err;
    fm_reader *reader;
    assert_int_equal(fm_reader_open(&reader, "/nonexistent/a.txt", FM_TEXT_AUTO, NULL, &err), FM_E_IO);
    assert_null(reader);
    ASSERT_HAS(err.text, "/nonexistent/a.txt could not be opened");
    assert_int_equal(fm_reader_open(&reader, folder, FM_TEXT_AUTO, NULL, &err), FM_E_FORMAT);
    ASSERT_HAS(err.text, "is a folder without reviews train/neg/NUMBER_RATING.txt");
    assert_int_equal(fm_reader_open(&reader, folder, FM_TEXT_TXT, NULL, &err), FM_E_IO);
    ASSERT_HAS(err.text, "is a folder");
}

/* Lines and records across the ends of the reading buffer, and the longest line. */
static void long_records(void **state)
{
    (void)state;
    for (int quoted = 0; quoted < 2; quoted++) {
        fm_buffer text = {0};
        if (quoted) fm_buffer_text(&text, "text,id\n");
        for (int i = 0; i < 300; i++) {
            if (quoted) fm_buffer_text(&text, "\"");
            for (int j = 0; j < i * 97; j++) fm_buffer_text(&text, quoted && j % 50 == 49 ? "\n" : "x");
            fm_buffer_format(&text, quoted ? "\"\"\",%d\n" : "y%d\n", i);
        }
        fm_reader *reader;
        assert_int_equal(
            fm_reader_open(&reader, put(quoted ? "l.csv" : "l.txt", text.data, text.size), FM_TEXT_AUTO, NULL, NULL),
            FM_OK);
        bool more = true;
        size_t count = 0;
        for (fm_document document; fm_reader_next(reader, &document, &more, NULL) == FM_OK && more; count++) {
            char tail[20];
            snprintf(tail, sizeof tail, "%zu", count);
            assert_int_equal(document.size, count * 97 + 1 + (quoted ? 0 : strlen(tail)));
            if (quoted) assert_string_equal(document.id, tail);
            else assert_string_equal(document.text + count * 97 + 1, tail);
        }
        assert_int_equal(count, 300);
        fm_reader_close(reader);
        fm_buffer_free(&text);
    }
    size_t most = (size_t)64 << 20;
    for (size_t extra = 0; extra < 2; extra++) {
        char *line = malloc(most + extra);
        assert_non_null(line);
        memset(line, 'z', most + extra);
        fm_reader *reader;
        fm_error err;
        assert_int_equal(fm_reader_open(&reader, put("long.txt", line, most + extra), FM_TEXT_AUTO, NULL, NULL), FM_OK);
        free(line);
        fm_document document;
        bool more;
        assert_int_equal(fm_reader_next(reader, &document, &more, &err), extra ? FM_E_LIMIT : FM_OK);
        if (extra) ASSERT_HAS(err.text, "longer than 64 MB");
        else assert_int_equal(document.size, most);
        fm_reader_close(reader);
    }
    unlink(put("long.txt", "", 0));
}

/* A pipe has no name and no size: its first bytes show the format. */
static void pipes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{" \n{\"text\": \"a\"}\n", "a"}, {"plain {\n", "plain {"}};
    for (size_t i = 0; i < 2; i++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], cases[i][0], strlen(cases[i][0])), strlen(cases[i][0]));
        close(ends[1]);
        char path[40];
        snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
        fm_reader *reader;
        assert_int_equal(fm_reader_open(&reader, path, FM_TEXT_AUTO, NULL, NULL), FM_OK);
        fm_document document;
        bool more;
        assert_int_equal(fm_reader_next(reader, &document, &more, NULL), FM_OK);
        assert_true(more);
        assert_string_equal(document.text, cases[i][1]);
        uint64_t done, total;
        fm_reader_progress(reader, &done, &total);
        assert_int_equal(total, 0);
        assert_int_equal(done, strlen(cases[i][0]));
        fm_reader_close(reader);
        close(ends[0]);
    }
}

int main(void)
{
    strcpy(folder, "/tmp/fillmask-reader-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines),   cmocka_unit_test(json_lines_refused),
        cmocka_unit_test(csv),          cmocka_unit_test(csv_refused),
        cmocka_unit_test(plain_text),   cmocka_unit_test(other_formats_refused),
        cmocka_unit_test(long_records), cmocka_unit_test(pipes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const names[] = {"a", "a.txt", "a.csv", "a.json", "a.jsonl", "a.JSONL", "l.csv", "l.txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(put(names[i], "", 0));
    rmdir(folder);
    return failed;
}
