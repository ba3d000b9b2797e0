/* test_library.c - wasm/text.c and wasm/math.c against what the C standard and a table of values say. Runs as a module
 * only (kernels.test.mjs), where these two stand in for the C library. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka.h"

static void expect(const char *expected, const char *found)
{
    if (strcmp(expected, found) != 0) fail_msg("expected \"%s\", found \"%s\"", expected, found);
}

#define PRINTS(expected, ...) (snprintf(text, sizeof text, __VA_ARGS__), expect(expected, text))

static void test_formats(void **state)
{
    (void)state;
    char text[500];
    PRINTS("", "%s", "");
    PRINTS("a 100% sum of -2147483648, 4294967295", "%s 100%% %.3s of %d, %u", "a", "summary", INT32_MIN, UINT32_MAX);
    PRINTS("  7|007|0010ffff|x|9", "%3d|%03u|%08x|%c|%i", 7, 7u, 0x10ffffu, 'x', 9);
    PRINTS("18446744073709551615 -9223372036854775808 12", "%llu %lld %zu", UINT64_MAX, INT64_MIN, (size_t)12);
    PRINTS("00000000000000ff", "%016llx", 255ull);
    PRINTS("-5 5", "%ld %lu", -5l, 5ul);
    PRINTS("abc  xy", "%.*s%4s", 3, "abcdef", "xy");
    PRINTS("0.1|100000|1e+06|0.0001|1e-05|1.5e-300", "%g|%g|%g|%g|%g|%g", 0.1, 1e5, 1e6, 1e-4, 1e-5, 1.5e-300);
    PRINTS("0.30000000000000004|0.333333343|-2|0", "%.17g|%.9g|%g|%g", 0.1 + 0.2, (double)(1.0f / 3), -2.0, 0.0);
    PRINTS("1.79769313e+308|4.94e-324|1e+10", "%.9g|%.3g|%.3g", DBL_MAX, 5e-324, 9.999e9);
    PRINTS("12.3|0.0|1000000.50|-1", "%.1f|%.1f|%.2f|%.0f", 12.34, 0.04, 1000000.5, -1.2);
    assert_int_equal(snprintf(text, 4, "%d", 123456), 6);
    expect("123", text);
    assert_int_equal(snprintf(NULL, 0, "%s and %s", "this", "that"), 13);
    assert_int_equal(sprintf(text, "%u", 42u), 2);
    expect("42", text);
}

static void reads(double expected, size_t length, const char *text)
{
    char *end;
    double found = strtod(text, &end);
    if (found != expected || end != text + length) fail_msg("%s is read as %.17g", text, found);
}

static void test_numbers(void **state)
{
    (void)state;
    reads(0.0, 1, "0");
    reads(30521.0, 5, "30521,");
    reads(999999999999999.0, 15, "999999999999999");
    reads(18446744073709551616.0, 20, "18446744073709551616");
    reads(0.1, 3, "0.1}");
    reads(-1e-12, 6, "-1e-12");
    reads(1.0, 1, "1e+");
    reads(2.5, 4, "2.50.1");
    reads(INFINITY, 5, "1e999");
    reads(4.9406564584124654e-324, 6, "5e-324");
    reads(0.0, 0, "-");
    reads(0.0, 0, "");
    reads(0.0, 0, "text");
    assert_true(strtof("0.1", NULL) == 0.1f);
}

static void near(const char *name, double found, double expected, double error)
{
    if (!(fabs(found - expected) <= error)) fail_msg("%s is %.17g; expected %.17g", name, found, expected);
}

/* Of exp and log beyond a table: each undoes the other. */
static void test_functions(void **state)
{
    (void)state;
    near("exp(0)", exp(0.0), 1.0, 0.0);
    near("exp(1)", exp(1.0), 2.718281828459045, 1e-15);
    near("exp(-10)", exp(-10.0), 4.539992976248485e-05, 1e-19);
    near("exp(700)", exp(700.0) / 1.0142320547350045e304, 1.0, 1e-15);
    near("log(1)", log(1.0), 0.0, 0.0);
    near("log(10)", log(10.0), 2.302585092994046, 1e-15);
    near("log(0.5)", log(0.5), -0.6931471805599453, 1e-16);
    near("cos(1)", cos(1.0), 0.5403023058681398, 1e-15);
    near("sin(100)", sin(100.0), -0.5063656411097588, 1e-15);
    near("erfc(0.5)", erfc(0.5), 0.4795001221869535, 1e-13);
    near("erfc(-3)", erfc(-3.0), 1.9999779095030015, 1e-13);
    near("erfc(5)", erfc(5.0) / 1.537459794428035e-12, 1.0, 1e-12);
    for (int i = -7000; i < 7000; i++) {
        double x = i * 0.1 + 0.0123;
        near("log(exp(x))", log(exp(x)), x, 1e-15 + fabs(x) * 2e-16);
        near("sin^2 + cos^2", sin(x) * sin(x) + cos(x) * cos(x), 1.0, 1e-15);
        near("cos(x + pi/2) + sin(x)", cos(x + 1.5707963267948966) + sin(x), 0.0, 2e-13);
    }
    assert_true(exp(-INFINITY) == 0.0 && exp(INFINITY) == INFINITY && isnan(exp(NAN)) && exp(-745.0) > 0.0);
    assert_true(log(0.0) == -INFINITY && log(INFINITY) == INFINITY && isnan(log(-1.0)) && isnan(log(NAN)));
    near("log of the least number", log(5e-324), -744.4400719213812, 1e-12);
    assert_true(expf(1.0f) == 2.71828183f && logf(2.0f) == 0.69314718f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_formats), cmocka_unit_test(test_numbers),
                                       cmocka_unit_test(test_functions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
