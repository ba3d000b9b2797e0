/* test_unicode.c - the packed tables of Unicode, which WebAssembly has, against those that the library has, for every
 * code point. What either of them should say is the business of test_tokenizer.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tokenizer/unicode.h"

#define FM_PACKED_UNICODE
#define fm_char_class packed_class
#define fm_char_lower packed_lower
#define fm_char_decompose packed_decompose
#define fm_char_combining packed_combining
#define fm_utf8_read packed_read
#define fm_utf8_write packed_write
#include "tokenizer/unicode.c"
#undef fm_char_class
#undef fm_char_lower
#undef fm_char_decompose
#undef fm_char_combining

static void test_packed_tables(void **state)
{
    (void)state;
    for (uint32_t point = 0; point < 0x110000; point++) {
        uint32_t expected[FM_DECOMPOSITION_MAX] = {0}, found[FM_DECOMPOSITION_MAX] = {0};
        if (packed_combining(point) != fm_char_combining(point) ||
            packed_lower(point, found) != fm_char_lower(point, expected) ||
            memcmp(found, expected, sizeof found) != 0 ||
            packed_decompose(point, found) != fm_char_decompose(point, expected) ||
            memcmp(found, expected, sizeof found) != 0)
            fail_msg("U+%04X differs", point);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_packed_tables)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
