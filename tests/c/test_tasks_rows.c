/* test_tasks_rows.c - rows (core/tasks/rows.c): tests/vectors/rows.json, in pieces of every size; rows that are too
 * long; and that nothing is lost of any input. */
#include "tasks.h"

static fm_row_format named(const char *name)
{
    return strcmp(name, "csv") == 0 ? FM_ROWS_CSV : strcmp(name, "jsonl") == 0 ? FM_ROWS_JSONL : FM_ROWS_LINES;
}

/* The text as it goes into the output of the vectors: in capitals, between brackets. */
static fm_text shout(const fm_row *row)
{
    fm_error err;
    fm_buffer text = {0};
    fm_text out;
    fm_buffer_text(&text, "<");
    for (size_t i = 0; i < row->text_size; i++) {
        char c = row->text[i];
        if (c >= 'a' && c <= 'z') c = (char)(c - 32);
        fm_buffer_add(&text, &c, 1);
    }
    fm_buffer_text(&text, ">");
    assert_ok(fm_row_write(row, text.data, text.size, &out, &err), err);
    fm_buffer_free(&text);
    return out;
}

static void check_row(const fm_row *row, const cJSON *expected)
{
    const char *raw = cJSON_GetStringValue(cJSON_GetArrayItem(expected, 0));
    const char *text = cJSON_GetStringValue(cJSON_GetArrayItem(expected, 1));
    const char *reason = cJSON_GetStringValue(cJSON_GetArrayItem(expected, 2));
    assert_non_null(raw);
    assert_string_equal(row->raw, raw);
    assert_int_equal(row->raw_size, strlen(raw));
    assert_int_equal(row->text != NULL, text != NULL);
    if (text) assert_string_equal(row->text, text);
    if (reason ? !strstr(row->reason, reason) : row->reason[0]) fail_msg("%s: \"%s\"", raw, row->reason);
}

static void check_case(const cJSON *one, size_t piece)
{
    fm_error err;
    fm_rows *rows;
    fm_buffer output = {0};
    const char *input = text_of(one, "input"), *problem = text_of(one, "error");
    size_t size = strlen(input);
    int count = 0;
    fm_status status = FM_OK;
    assert_ok(fm_rows_create(&rows, named(text_of(one, "format")), text_of(one, "field"), &err), err);
    fm_buffer_text(&output, "");
    for (size_t at = 0; at <= size && !status; at += piece) {
        bool more = true;
        fm_row row;
        assert_ok(fm_rows_push(rows, input + at, size - at < piece ? size - at : piece, &err), err);
        if (at + piece > size && at < size) assert_ok(fm_rows_push(rows, NULL, 0, &err), err);
        while (!(status = fm_rows_next(rows, &row, &more, &err)) && more) {
            check_row(&row, cJSON_GetArrayItem(member(one, "rows"), count++));
            fm_text out = {NULL, 0};
            if (row.text) out = shout(&row);
            fm_buffer_text(&output, row.text ? out.data : row.raw);
            free(out.data);
            fm_row_free(&row);
        }
    }
    if (problem) {
        assert_int_equal(status, FM_E_FORMAT);
        if (!strstr(err.text, problem)) fail_msg("%s", err.text);
    } else {
        assert_ok(status, err);
        assert_int_equal(count, cJSON_GetArraySize(member(one, "rows")));
        assert_string_equal(output.data, text_of(one, "output"));
    }
    fm_buffer_free(&output);
    fm_rows_destroy(rows);
}

static void test_vectors(void **state)
{
    (void)state;
    cJSON *cases = read_vectors("rows");
    const cJSON *one;
    cJSON_ArrayForEach(one, cases)
    {
        static const size_t pieces[] = {1, 2, 3, 5, 8, 13, 64, 10000};
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) check_case(one, pieces[i]);
    }
    cJSON_Delete(cases);
}

/* Rows of a size, between two short ones; only the short ones have a text if it is too much. */
static void check_long(fm_row_format format, size_t size, bool too_long)
{
    fm_error err;
    fm_rows *rows;
    fm_row row;
    bool more = true;
    static const char *const around[3][3] = {{"one\n", "", "\nlast\n"},
                                             {"{\"text\": \"one\"}\n", "{\"text\": \"", "\"}\n{\"text\": \"last\"}\n"},
                                             {"text\none\n", "\"", "\"\nlast\n"}};
    size_t pushed = 0, got = 0, texts = 0, reasons = 0, largest = 0, continued = 0;
    char *filler = malloc(65536);
    assert_non_null(filler);
    memset(filler, 'x', 65536);
    assert_ok(fm_rows_create(&rows, format, NULL, &err), err);
    for (int part = 0; part < 4; part++) {
        size_t left = part == 2 ? size : part == 3 ? 1 : 0;
        const char *text = around[format][part == 3 ? 2 : part == 0 ? 0 : 1];
        if (part != 2 && *text) assert_ok(fm_rows_push(rows, text, strlen(text), &err), err);
        pushed += part != 2 ? strlen(text) : size;
        do {
            size_t step = part == 2 ? (left < 65536 ? left : 65536) : 0;
            if (part == 2) assert_ok(fm_rows_push(rows, filler, step, &err), err);
            else if (part == 3) assert_ok(fm_rows_push(rows, NULL, 0, &err), err);
            left -= part == 2 ? step : left;
            for (;;) {
                assert_ok(fm_rows_next(rows, &row, &more, &err), err);
                if (!more) break;
                got += row.raw_size;
                texts += row.text != NULL;
                reasons += row.reason[0] != '\0';
                continued += row.continued;
                if (row.raw_size > largest) largest = row.raw_size;
                fm_row_free(&row);
            }
        } while (left > 0);
    }
    assert_int_equal(got, pushed);
    assert_int_equal(texts, too_long ? 2 : 3);
    assert_int_equal(reasons, too_long ? 1 : 0);
    assert_true(largest <= FM_LONGEST_ROW + 2 * 65536);
    assert_int_equal(continued > 0, size > 2 * FM_LONGEST_ROW);
    fm_rows_destroy(rows);
    free(filler);
}

static void test_long_rows(void **state)
{
    (void)state;
    for (int format = FM_ROWS_LINES; format <= FM_ROWS_CSV; format++) {
        check_long((fm_row_format)format, 300000, false);
        check_long((fm_row_format)format, FM_LONGEST_ROW - 200, false);
        check_long((fm_row_format)format, 3 * FM_LONGEST_ROW, true);
    }
}

/* A host that cannot hold halves of characters gets whole ones. */
static void test_long_rows_keep_characters_whole(void **state)
{
    (void)state;
    static const char *const characters[] = {"\xc3\xa9", "\xe6\x97\xa5", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < 3; i++) {
        fm_error err;
        fm_rows *rows;
        size_t length = strlen(characters[i]), parts = 0;
        fm_buffer text = {0};
        fm_buffer_text(&text, i == 2 ? "a" : "");
        while (text.size < 2 * FM_LONGEST_ROW + 100) fm_buffer_text(&text, characters[i]);
        assert_ok(fm_rows_create(&rows, FM_ROWS_LINES, NULL, &err), err);
        for (size_t at = 0, step = 65521; step > 0; at += step) {
            if (step > text.size - at) step = text.size - at; /* at last none, the end */
            assert_ok(fm_rows_push(rows, text.data + at, step, &err), err);
            for (bool more = true; more;) {
                fm_row row;
                assert_ok(fm_rows_next(rows, &row, &more, &err), err);
                if (!more) break;
                assert_int_equal((row.raw_size - (i == 2 && !row.continued)) % length, 0);
                parts++;
                fm_row_free(&row);
            }
        }
        assert_int_equal(parts, 2);
        fm_rows_destroy(rows);
        fm_buffer_free(&text);
    }
}

/* Whatever comes in goes out. */
static void test_nothing_is_lost(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "{\"text\": \"a\"}", "\n",           "\r\n", "\"", ",", "\"\"", "text",  "{",   "}",     "\\",
        "\xff\xfe",          "\xef\xbb\xbf", ":",    "[",  "]", " ",    "\\u00", "x\n", "\",\"", "\t"};
    fm_random random = fm_random_seeded(9, 0);
    for (int round = 0; round < 3000; round++) {
        fm_error err;
        fm_rows *rows;
        fm_buffer in = {0}, out = {0};
        fm_row_format format = (fm_row_format)(round % 3);
        if (format == FM_ROWS_CSV) fm_buffer_text(&in, "n,text\n");
        for (uint32_t i = fm_random_below(&random, 30); i > 0; i--) {
            if (fm_random_below(&random, 30) == 0) fm_buffer_add(&in, "\0", 1);
            fm_buffer_text(&in, pieces[fm_random_below(&random, sizeof pieces / sizeof *pieces)]);
        }
        assert_ok(fm_rows_create(&rows, format, NULL, &err), err);
        for (size_t at = 0; at <= in.size;) {
            size_t step = fm_random_below(&random, 20) + 1;
            if (step > in.size - at) step = in.size - at;
            assert_ok(fm_rows_push(rows, in.data + at, step, &err), err); /* at last none, the end */
            at += step ? step : 1;
            for (bool more = true; more;) {
                fm_row row;
                fm_text same = {NULL, 0};
                assert_ok(fm_rows_next(rows, &row, &more, &err), err);
                if (!more) break;
                fm_buffer_add(&out, row.raw, row.raw_size);
                assert_false(row.text && row.reason[0]);
                if (row.text && format != FM_ROWS_JSONL && !memchr(row.raw, '"', row.raw_size)) {
                    /* With its own text it is the same again. */
                    assert_ok(fm_row_write(&row, row.text, row.text_size, &same, &err), err);
                    assert_int_equal(same.size, row.raw_size);
                    assert_memory_equal(same.data, row.raw, row.raw_size);
                }
                free(same.data);
                fm_row_free(&row);
            }
        }
        assert_int_equal(in.size, out.size);
        if (in.size) assert_memory_equal(in.data, out.data, in.size);
        fm_rows_destroy(rows);
        fm_buffer_free(&in);
        fm_buffer_free(&out);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    fm_error err;
    fm_rows *rows;
    fm_row row;
    fm_text out;
    bool more;
    assert_ok(fm_rows_create(&rows, FM_ROWS_LINES, NULL, &err), err);
    assert_ok(fm_rows_push(rows, "good\n\n", 6, &err), err);
    assert_ok(fm_rows_next(rows, &row, &more, &err), err);
    assert_int_equal(row.line, 1);
    assert_int_equal(fm_row_write(&row, "a\nb", 3, &out, &err), FM_E_ARGUMENT); /* it would be two rows */
    fm_row_free(&row);
    assert_ok(fm_rows_next(rows, &row, &more, &err), err);
    assert_int_equal(row.line, 2);
    assert_int_equal(fm_row_write(&row, "a", 1, &out, &err), FM_E_ARGUMENT); /* it has no text */
    fm_row_free(&row);
    fm_rows_destroy(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_long_rows),
        cmocka_unit_test(test_long_rows_keep_characters_whole),
        cmocka_unit_test(test_nothing_is_lost),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
