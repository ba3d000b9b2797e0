/* test_tasks_casing.c - letters and their case (core/tasks/casing.c): tests/vectors/casing.json, and what must hold for
 * every character and every malformed text. */
#include "tasks.h"

#include "tokenizer/unicode.h"

static const char *const cases[] = {"any", "lower", "title", "upper"}; /* in the order of fm_case */

static fm_case named(const char *name)
{
    for (int i = 0; i < 4; i++)
        if (strcmp(name, cases[i]) == 0) return (fm_case)i;
    fail_msg("no case %s", name);
    return FM_CASE_ANY;
}

static void test_vectors(void **state)
{
    (void)state;
    cJSON *list = read_vectors("casing");
    const cJSON *one;
    cJSON_ArrayForEach(one, list)
    {
        const char *word = text_of(one, "word"), *text = text_of(one, "text"), *give = text_of(one, "give");
        if (word && fm_case_of_word(word, strlen(word)) != named(text_of(one, "case")))
            fail_msg("%s: %s", word, cases[fm_case_of_word(word, strlen(word))]);
        if (text) {
            uint32_t at = (uint32_t)(strstr(text, "__") - text);
            fm_case found = fm_case_of_place(text, strlen(text), (fm_span){at, at + 2});
            if (found != named(text_of(one, "place"))) fail_msg("%s: %s", text, cases[found]);
        }
        if (give) {
            fm_buffer out = {0};
            fm_buffer_text(&out, "");
            fm_case_add(&out, give, strlen(give), named(text_of(one, "as")));
            assert_string_equal(out.data, text_of(one, "result"));
            fm_buffer_free(&out);
        }
    }
    cJSON_Delete(list);
}

static void test_every_character(void **state)
{
    (void)state;
    size_t capitals = 0;
    for (uint32_t point = 1; point < 0x110000; point++) {
        if (point >= 0xd800 && point < 0xe000) continue;
        uint8_t bytes[4], upper_bytes[8] = {0};
        uint32_t lower[2], upper;
        fm_buffer out = {0};
        size_t size = fm_utf8_write(point, bytes);
        fm_case_add(&out, (const char *)bytes, size, FM_CASE_UPPER);
        assert_true(out.size <= 4);
        memcpy(upper_bytes, out.data, out.size);
        assert_int_equal(fm_utf8_read(upper_bytes, out.size, &upper), out.size);
        fm_buffer_free(&out);
        if (upper == point) continue;
        capitals++; /* the capital's lower case is the letter again, and both are letters */
        assert_int_equal(fm_char_lower(upper, lower), 1);
        assert_int_equal(lower[0], point);
        if (!fm_is_letter(point) || !fm_is_letter(upper))
            fail_msg("U+%04X is no letter but U+%04X its capital", point, upper);
    }
    assert_true(capitals > 1000);
    for (uint32_t point = 0; point < 128; point++)
        assert_int_equal(fm_is_letter(point), (point >= 'a' && point <= 'z') || (point >= 'A' && point <= 'Z'));
    static const uint32_t signs[] = {0xa0,   0xa9,   0xb0,   0xd7,   0xf7,   0x2014, 0x2019,
                                     0x20ac, 0x2122, 0x2603, 0x3002, 0xfffd, 0x1f600};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) assert_false(fm_is_letter(signs[i]));
}

/* Every place of malformed text: no reading past its ends (the sanitizers see it), the same bytes when nothing is to
 * be changed. */
static void test_malformed(void **state)
{
    (void)state;
    fm_random random = fm_random_seeded(3, 0);
    for (int round = 0; round < 2000; round++) {
        size_t size = fm_random_below(&random, 12) + 1;
        char *text = malloc(size); /* exactly, so that a read too far is seen */
        assert_non_null(text);
        for (size_t i = 0; i < size; i++) {
            uint32_t draw = fm_random_u32(&random);
            const char *pick = draw % 3 == 1 ? "ABCDEFGHabcdefgh" : ". \n\"a. \n\"a? !('";
            text[i] = (char)(draw % 3 == 0 ? 0x80 | (draw >> 8 & 0x7f) : (uint8_t)pick[draw >> 8 & 15]);
        }
        for (uint32_t at = 0; at <= size; at++)
            assert_true(fm_case_of_place(text, size, (fm_span){at, at}) != FM_CASE_ANY);
        fm_buffer out = {0};
        fm_case_add(&out, text, size, FM_CASE_ANY);
        assert_int_equal(out.size, size);
        assert_memory_equal(out.data, text, size);
        fm_buffer_free(&out);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
