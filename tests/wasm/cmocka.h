/* cmocka.h - the few names of cmocka that the C tests use which also run as WebAssembly. A failure stops the module
 * with a trap; kernels.test.mjs then reads failure_text(). It is no test framework of its own. */
#ifndef FM_TESTS_WASM_CMOCKA_H
#define FM_TESTS_WASM_CMOCKA_H

#include <stdio.h>
#include <string.h>

static char failure[1000];

const char *failure_text(void)
{
    return failure;
}

#define fail_msg(...) (snprintf(failure, sizeof failure, __VA_ARGS__), __builtin_trap())
#define assert_true(x) ((x) ? (void)0 : fail_msg("line %d: %s", __LINE__, #x))
#define assert_false(x) assert_true(!(x))
#define assert_non_null(x) assert_true((x) != NULL)
#define assert_null(x) assert_true((x) == NULL)
#define assert_int_equal(a, b) assert_true((a) == (b))
#define assert_memory_equal(a, b, size) assert_true(memcmp(a, b, size) == 0)
#define print_message(...) ((void)0)

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};
#define cmocka_unit_test(test)                                                                                         \
    {                                                                                                                  \
        #test, test                                                                                                    \
    }

static inline int run_all(const struct CMUnitTest *tests, size_t count, int (*setup)(void **), int (*end)(void **))
{
    void *state = NULL;
    if (setup && setup(&state)) fail_msg("setup");
    for (size_t i = 0; i < count; i++) tests[i].run(&state);
    if (end && end(&state)) fail_msg("end");
    return (int)count;
}
#define cmocka_run_group_tests(tests, setup, end) run_all(tests, sizeof(tests) / sizeof *(tests), setup, end)

#endif
