/* test_train_log.c - core/train/log.c and report.c: lines that are added, cut and read, and a picture that is well
 * formed whatever the log holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/train.h"

static char folder[64], log_path[96], svg_path[96];

static int make(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/fm-log-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    snprintf(log_path, sizeof log_path, "%s/log.jsonl", folder);
    snprintf(svg_path, sizeof svg_path, "%s/report.svg", folder);
    return 0;
}

static int end(void **state)
{
    (void)state;
    unlink(log_path);
    unlink(svg_path);
    return rmdir(folder);
}

static void add(const char *text)
{
    fm_buffer line = {0};
    fm_buffer_text(&line, text);
    assert_int_equal(fm_log_add(log_path, &line, NULL), FM_OK);
    fm_buffer_free(&line);
}

static void put(const char *text)
{
    assert_int_equal(fm_file_replace(log_path, text, strlen(text), NULL), FM_OK);
}

/* The file as a string to be freed. */
static char *content(const char *path)
{
    fm_blob blob;
    assert_int_equal(fm_blob_open(&blob, path, NULL), FM_OK);
    char *text = calloc(blob.size + 1, 1);
    assert_non_null(text);
    if (blob.size) memcpy(text, blob.data, blob.size);
    fm_blob_close(&blob);
    return text;
}

static void assert_log(const char *expected)
{
    char *text = content(log_path);
    assert_string_equal(text, expected);
    free(text);
}

#define STEP(n, loss)                                                                                                  \
    "{\"step\": " #n ", \"loss\": " #loss ", \"learning_rate\": 0.5, \"tokens\": 12, \"seconds\": 3.5}\n"
#define EVAL(n, loss) "{\"step\": " #n ", \"eval\": {\"loss\": " #loss ", \"accuracy\": 0.25}}\n"

static void adds_reads_and_cuts(void **state)
{
    (void)state;
    fm_log log;
    assert_int_equal(fm_log_read(&log, log_path, NULL), FM_OK); /* no file is an empty log */
    assert_int_equal(log.count, 0);
    fm_log_free(&log);
    add(EVAL(0, 9));
    add(STEP(10, 2.5));
    add(EVAL(10, 3));
    add(STEP(20, 2.25));
    assert_log(EVAL(0, 9) STEP(10, 2.5) EVAL(10, 3) STEP(20, 2.25));
    assert_int_equal(fm_log_read(&log, log_path, NULL), FM_OK);
    assert_int_equal(log.count, 4);
    assert_true(log.points[0].evaluation && log.points[0].step == 0 && log.points[0].loss == 9.0);
    assert_true(log.points[2].evaluation && log.points[2].accuracy == 0.25);
    assert_false(log.points[3].evaluation);
    assert_true(log.points[3].step == 20 && log.points[3].loss == 2.25 && log.points[3].learning_rate == 0.5 &&
                log.points[3].tokens == 12.0 && log.points[3].seconds == 3.5);
    fm_log_free(&log);
    assert_int_equal(fm_log_cut(log_path, 20, NULL), FM_OK);
    assert_log(EVAL(0, 9) STEP(10, 2.5) EVAL(10, 3) STEP(20, 2.25));
    assert_int_equal(fm_log_cut(log_path, 19, NULL), FM_OK);
    assert_log(EVAL(0, 9) STEP(10, 2.5) EVAL(10, 3));
    assert_int_equal(fm_log_cut(log_path, 9, NULL), FM_OK);
    assert_log(EVAL(0, 9));
    unlink(log_path);
    assert_int_equal(fm_log_cut(log_path, 9, NULL), FM_OK);
    assert_log("");
}

/* Many points, so that the list grows. */
static void reads_long_logs(void **state)
{
    (void)state;
    fm_buffer text = {0};
    for (int i = 1; i <= 5000; i++)
        fm_buffer_format(&text, "{\"step\": %d, \"loss\": %d, \"learning_rate\": 1, \"tokens\": 1, \"seconds\": 1}\n",
                         i, i % 7);
    assert_int_equal(fm_file_replace(log_path, text.data, text.size, NULL), FM_OK);
    fm_buffer_free(&text);
    fm_log log;
    assert_int_equal(fm_log_read(&log, log_path, NULL), FM_OK);
    assert_int_equal(log.count, 5000);
    for (int i = 1; i <= 5000; i++)
        assert_true(log.points[i - 1].step == (uint64_t)i && log.points[i - 1].loss == i % 7);
    fm_log_free(&log);
}

static void drops_damaged_lines(void **state)
{
    (void)state;
    put(STEP(1, 5) "{\"step\": 2, \"lo\n\n\x01\xff\n[]\n7\nnull\n{\"step\": -1, \"loss\": 1}\n{\"step\": \"3\"}\n" //
                   "{\"step\": 4, \"loss\": \"x\", \"learning_rate\": 0, \"tokens\": 1, \"seconds\": 1}\n"
                   "{\"step\": 5, \"eval\": 7}\n" EVAL(
                       5, 1e999) "{\"step\": 5, \"eval\": {\"loss\": 1, \"accuracy\": 25}}\n" EVAL(6,
                                                                                                   4) "{\"step\": 7");
    assert_int_equal(fm_log_cut(log_path, 100, NULL), FM_OK);
    assert_log(STEP(1, 5) EVAL(6, 4));
    /* A last line without its end is still one. */
    put("{\"step\": 6, \"eval\": {\"loss\": 4, \"accuracy\": 0.25}}");
    assert_int_equal(fm_log_cut(log_path, 100, NULL), FM_OK);
    assert_log(EVAL(6, 4));
}

static void says_what_cannot_be_written(void **state)
{
    (void)state;
    fm_error err;
    fm_buffer line = {0};
    fm_buffer_text(&line, STEP(1, 5));
    assert_int_equal(fm_log_add("/nonexistent/log", &line, &err), FM_E_IO);
    assert_non_null(strstr(err.text, "/nonexistent/log could not be written: "));
    struct stat info;
    if (stat("/dev/full", &info) == 0) assert_int_equal(fm_log_add("/dev/full", &line, &err), FM_E_IO);
    line.failed = true;
    assert_int_equal(fm_log_add(log_path, &line, &err), FM_E_MEMORY);
    assert_int_not_equal(stat(log_path, &info), 0);
    fm_buffer_free(&line);
    fm_log log = {0};
    assert_int_equal(fm_report_write("/nonexistent/report", &log, "", &err), FM_E_IO);
}

/* Tags that open close, and nothing is not a number. */
static void assert_well_formed(const char *svg)
{
    const char *open[8];
    size_t depth = 0, sizes[8];
    for (const char *at = strchr(svg, '<'); at; at = strchr(at, '<')) {
        const char *close = strchr(at, '>');
        assert_non_null(close);
        size_t size = strcspn(at + 1, " >/\n");
        if (at[1] == '/') {
            assert_true(depth-- > 0);
            assert_memory_equal(at + 2, open[depth], sizes[depth]);
        } else if (close[-1] != '/') {
            assert_true(depth < 8);
            open[depth] = at + 1;
            sizes[depth++] = size;
        }
        at = close;
    }
    assert_int_equal(depth, 0);
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    for (const char *at = strchr(svg, '&'); at; at = strchr(at + 1, '&'))
        assert_true(!strncmp(at, "&amp;", 5) || !strncmp(at, "&lt;", 4) || !strncmp(at, "&gt;", 4));
}

static char *draw(const char *text, const char *title)
{
    fm_log log;
    put(text);
    assert_int_equal(fm_log_read(&log, log_path, NULL), FM_OK);
    assert_int_equal(fm_report_write(svg_path, &log, title, NULL), FM_OK);
    fm_log_free(&log);
    char *svg = content(svg_path);
    assert_well_formed(svg);
    return svg;
}

static void draws_any_log(void **state)
{
    (void)state;
    static const char *const logs[] = {
        "",
        STEP(1, 5),
        EVAL(0, 9),
        EVAL(0, 0) STEP(1, 0) STEP(2, 0), /* no height */
        STEP(1, 5) STEP(2, 4.5) EVAL(2, 4) STEP(3, 4),
        STEP(1, 700) STEP(2, 1e9) EVAL(2, 1e6), /* perplexities beyond what is printed in full */
        STEP(1, 1e300) STEP(2, -1e300),
        STEP(1, 1e-9) STEP(4294967295, 2e-9),
        STEP(9007199254740992, 3),
    };
    for (size_t i = 0; i < sizeof logs / sizeof *logs; i++) free(draw(logs[i], "run"));
    char *svg = draw(STEP(1, 5) EVAL(1, 4) STEP(2, 4.5) EVAL(2, 3.5), "a<b>&\"c\"\x01\xff \xc3\xa9");
    assert_non_null(strstr(svg, "a&lt;b&gt;&amp;"));
    assert_non_null(strstr(svg, "\xef\xbf\xbd \xc3\xa9")); /* what was no UTF-8, and what was */
    assert_non_null(strstr(svg, "<title>step 1: loss 4.0000, perplexity 54.6, top-1 25.0 %</title>"));
    assert_non_null(strstr(svg, "2 steps, 0.0 million tokens, 4 s; loss 4.750"));
    free(svg);
}

/* 5,000 lines become a polyline of at most 700 points that ends at the right edge. */
static void draws_long_logs_short(void **state)
{
    (void)state;
    fm_buffer text = {0};
    for (int i = 1; i <= 5000; i++)
        fm_buffer_format(&text, "{\"step\": %d, \"loss\": %d, \"learning_rate\": 1, \"tokens\": 1, \"seconds\": 1}\n",
                         i, 3 + i % 2);
    char *svg = draw(text.data, "run");
    const char *line = strstr(svg, "class=\"each\" points=\"");
    assert_non_null(line);
    size_t points = 0, length = strcspn(line + 21, "\"");
    for (const char *at = line + 21; at < line + 21 + length; at++) points += *at == ',';
    assert_in_range(points, 300, 700);
    assert_memory_equal(line + 21 + length - 6 - 6, "820.0,", 6);
    free(svg);
    fm_buffer_free(&text);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(adds_reads_and_cuts),         TEST(reads_long_logs), TEST(drops_damaged_lines),
        TEST(says_what_cannot_be_written), TEST(draws_any_log),   TEST(draws_long_logs_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
