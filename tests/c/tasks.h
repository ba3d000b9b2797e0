/* tasks.h - what the tests of core/tasks share: the tiny model of tests/vectors and the vectors, which the tests of the
 * other builds read too. Run from the root of the repository. */
#ifndef TEST_TASKS_H
#define TEST_TASKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/tasks.h"

#define VECTORS "tests/vectors/"

static fm_model *tiny;

static inline int open_tiny(void **state)
{
    (void)state;
    fm_error err;
    if (!fm_model_open(&tiny, VECTORS "model", NULL, &err)) return 0;
    fprintf(stderr, "%s\n", err.text);
    return 1;
}

static inline int close_tiny(void **state)
{
    (void)state;
    fm_model_close(tiny);
    return 0;
}

/* The list of cases in VECTORS NAME.json; cJSON_Delete it. */
static inline cJSON *read_vectors(const char *name)
{
    char path[100];
    fm_blob blob;
    fm_error err;
    cJSON *root = NULL;
    snprintf(path, sizeof path, VECTORS "%s.json", name);
    if (fm_blob_open(&blob, path, &err) || fm_json_parse(&root, blob.data, blob.size, path, &err))
        fail_msg("%s", err.text);
    fm_blob_close(&blob);
    assert_true(cJSON_GetArraySize(root) > 0);
    return root;
}

static inline const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* A member that is a string, NULL if there is none. */
static inline const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(member(object, name));
}

/* A member that is a number, or another number if there is none. */
static inline double number_of(const cJSON *object, const char *name, double otherwise)
{
    const cJSON *item = member(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : otherwise;
}

/* A task's call must succeed; its error is shown. */
#define assert_ok(call, err)                                                                                           \
    do {                                                                                                               \
        if (call) fail_msg("%s", (err).text);                                                                          \
    } while (0)

/* All variants of one text. */
static inline fm_augmented augment_one(const fm_augment_options *options, uint64_t number, const char *text,
                                       size_t size, const fm_span *spans, size_t count)
{
    fm_error err;
    fm_augmenter *augmenter;
    fm_augmented result;
    bool more = true;
    assert_ok(fm_augmenter_create(&augmenter, tiny, options, &err), err);
    assert_ok(fm_augmenter_add(augmenter, number, text, size, spans, count, &err), err);
    while (more) assert_ok(fm_augmenter_step(augmenter, &more, &err), err);
    assert_true(fm_augmenter_take(augmenter, &result));
    fm_augmenter_destroy(augmenter);
    assert_int_equal(result.number, number);
    return result;
}

#endif
