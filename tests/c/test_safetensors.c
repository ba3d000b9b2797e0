/* test_safetensors.c - core/model/safetensors.c: every rejection of the format on small files in memory, what it
 * allows, and what the writer makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/model.h"

/* Bytes of exactly the file's size, so that a sanitizer sees every read past the end. The data counts up from 0. */
static uint8_t *make(uint64_t stated, const char *header, size_t data_size, size_t *size)
{
    size_t length = strlen(header);
    *size = 8 + length + data_size;
    uint8_t *bytes = malloc(*size);
    assert_non_null(bytes);
    for (size_t i = 0; i < 8; i++) bytes[i] = (uint8_t)(stated >> (8 * i));
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data_size; i++) bytes[8 + length + i] = (uint8_t)i;
    return bytes;
}

static fm_status open_bytes(const uint8_t *bytes, size_t size, fm_error *err)
{
    fm_safetensors *file;
    fm_status status = fm_safetensors_from_memory(&file, bytes, size, "x.safetensors", err);
    assert_int_equal(file == NULL, status != FM_OK);
    fm_safetensors_close(file);
    return status;
}

static void expect(uint64_t stated, const char *header, size_t data_size, fm_status status, const char *text)
{
    size_t size;
    uint8_t *bytes = make(stated, header, data_size, &size);
    fm_error err = {0};
    fm_status found = open_bytes(bytes, size, &err);
    if (found != status) fail_msg("%s: status %d, expected %d: %s", header, found, status, err.text);
    if (status && (!strstr(err.text, text) || !strstr(err.text, "x.safetensors")))
        fail_msg("%s: \"%s\" lacks \"%s\"", header, err.text, text);
    free(bytes);
}

#define T(name, dtype, shape, begin, end)                                                                              \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"

static void refuses_prefix(void **state)
{
    (void)state;
    fm_error err;
    uint8_t short_file[7] = {0};
    for (size_t size = 0; size < 8; size++) {
        assert_int_equal(open_bytes(short_file, size, &err), FM_E_FORMAT);
        assert_non_null(strstr(err.text, "takes 8"));
    }
    expect(0, "", 0, FM_E_FORMAT, "start with '{'");
    expect(100000001, "{}", 0, FM_E_FORMAT, "at most 100000000");
    expect(UINT64_MAX, "{}", 0, FM_E_FORMAT, "at most 100000000");
    expect(3, "{}", 0, FM_E_FORMAT, "cut short");
    expect(100000000, "{}", 0, FM_E_FORMAT, "cut short");
    expect(1, "{}", 0, FM_E_FORMAT, "JSON"); /* the header ends in the middle */
}

static void refuses_header(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        fm_status status;
        const char *text;
    } cases[] = {
        {" {}", 0, FM_E_FORMAT, "start with '{'"},
        {"[]", 0, FM_E_FORMAT, "start with '{'"},
        {"{", 0, FM_E_FORMAT, "JSON"},
        {"{} x", 0, FM_E_FORMAT, "JSON"},
        {"{\"\xff\":1}", 0, FM_E_FORMAT, "UTF-8"},
        {"{" T("a", "I8", "1", 0, 1) "," T("a", "I8", "1", 1, 2) "}", 2, FM_E_FORMAT, "\"a\" twice"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,1]}}", 1, FM_E_FORMAT, "twice"},
        {"{\"a\":1}", 0, FM_E_FORMAT, "tensor a is not an object"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, FM_E_FORMAT, "no dtype"},
        {"{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, FM_E_FORMAT, "no dtype"},
        {"{\"a\":{\"dtype\":\"I8\",\"data_offsets\":[0,1]}}", 1, FM_E_FORMAT, "no shape"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1]}}", 1, FM_E_FORMAT, "data_offsets"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, FM_E_FORMAT, "data_offsets"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, FM_E_FORMAT, "data_offsets"},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":{\"0\":0,\"1\":1}}}", 1, FM_E_FORMAT, "data_offsets"},
        {"{\"a\":{\"DTYPE\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, FM_E_FORMAT, "no dtype"},
        {"{" T("a", "F64", "1", 0, 8) "}", 8, FM_E_UNSUPPORTED, "dtype F64; expected F32"},
        {"{" T("a", "f32", "1", 0, 4) "}", 4, FM_E_UNSUPPORTED, "dtype f32"},
        {"{" T("a", "I8", "-1", 0, 1) "}", 1, FM_E_FORMAT, "dimension"},
        {"{" T("a", "I8", "1.5", 0, 1) "}", 1, FM_E_FORMAT, "dimension"},
        {"{" T("a", "I8", "\"1\"", 0, 1) "}", 1, FM_E_FORMAT, "dimension"},
        {"{" T("a", "I8", "9007199254740993", 0, 1) "}", 1, FM_E_FORMAT, "dimension"},
        {"{" T("a", "I8", "1", 0, 9007199254740993) "}", 1, FM_E_FORMAT, "data_offsets"},
        {"{" T("a", "I8", "1,1,1,1,1,1,1,1,1", 0, 1) "}", 1, FM_E_UNSUPPORTED, "more than 8 dimensions"},
        /* 2^32 * 2^32 is 0 in 64 bits, 2^31 * 2 * 4 bytes is 0 in 32; neither may pass as an empty tensor. */
        {"{" T("a", "I8", "4294967296,4294967296", 0, 0) "}", 0, FM_E_FORMAT, "more bytes than 64 bits"},
        {"{" T("a", "F32", "4503599627370496,1024", 0, 0) "}", 0, FM_E_FORMAT, "more bytes than 64 bits"},
        {"{" T("a", "F32", "1073741824", 0, 0) "}", 0, FM_E_FORMAT, "0 bytes of data; its shape and dtype mean 4294"},
        {"{" T("a", "I8", "2", 2, 0) "}", 2, FM_E_FORMAT, "before its start"},
        {"{" T("a", "F32", "2", 0, 7) "}", 7, FM_E_FORMAT, "7 bytes of data; its shape and dtype mean 8"},
        {"{" T("a", "I8", "", 0, 0) "}", 0, FM_E_FORMAT, "its shape and dtype mean 1"},
        {"{" T("a", "I8", "1", 1, 2) "}", 2, FM_E_FORMAT, "tensor a starts at 1; expected 0"},
        {"{" T("a", "I8", "1", 0, 1) "," T("b", "I8", "1", 2, 3) "}", 3, FM_E_FORMAT, "starts at 2; expected 1"},
        {"{" T("a", "I8", "2", 0, 2) "," T("b", "I8", "2", 1, 3) "}", 3, FM_E_FORMAT, "starts at 1; expected 2"},
        {"{" T("a", "I8", "2", 0, 2) "," T("b", "I8", "2", 0, 2) "}", 2, FM_E_FORMAT, "starts at 0; expected 2"},
        {"{" T("a", "I8", "4", 0, 4) "}", 3, FM_E_FORMAT, "3 bytes of tensors where its header announces 4"},
        {"{" T("a", "I8", "4", 0, 4) "}", 5, FM_E_FORMAT, "something was appended"},
        {"{" T("a", "I8", "9007199254740991", 0, 9007199254740991) "}", 1, FM_E_FORMAT, "cut short"},
        {"{}", 1, FM_E_FORMAT, "appended"},
        {"{\"__metadata__\":1}", 0, FM_E_FORMAT, "__metadata__"},
        {"{\"__metadata__\":{\"a\":1}}", 0, FM_E_FORMAT, "metadata \"a\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(strlen(cases[i].header), cases[i].header, cases[i].data, cases[i].status, cases[i].text);
}

static void allows(void **state)
{
    (void)state;
    /* Header order differs from data order, with trailing spaces, an empty tensor in the middle and a scalar. */
    const char *header = "{" T("late", "I8", "3", 4, 7) ",\"__metadata__\":{\"format\":\"pt\",\"k\":\"v\"}," T(
        "empty", "F16", "2,0", 4, 4) "," T("scalar", "F32", "", 0, 4) "}     ";
    size_t size;
    uint8_t *bytes = make(strlen(header), header, 7, &size);
    fm_safetensors *file;
    fm_error err = {0};
    assert_int_equal(fm_safetensors_from_memory(&file, bytes, size, "x", &err), FM_OK);
    assert_int_equal(fm_safetensors_count(file), 3);
    assert_string_equal(fm_safetensors_at(file, 0)->name, "scalar");
    assert_string_equal(fm_safetensors_at(file, 1)->name, "empty");
    assert_string_equal(fm_safetensors_at(file, 2)->name, "late");
    assert_null(fm_safetensors_at(file, 3));
    const fm_stored_tensor *scalar = fm_safetensors_find(file, "scalar"), *empty = fm_safetensors_find(file, "empty");
    const fm_stored_tensor *late = fm_safetensors_find(file, "late");
    assert_int_equal(scalar->rank, 0);
    assert_int_equal(scalar->size, 4);
    assert_int_equal(empty->rank, 2);
    assert_int_equal(empty->shape[0], 2);
    assert_int_equal(empty->shape[1], 0);
    assert_int_equal(empty->size, 0);
    assert_int_equal(late->data[0], 4);
    assert_int_equal(late->data[2], 6);
    assert_null(fm_safetensors_find(file, "Late"));
    assert_null(fm_safetensors_find(file, "__metadata__"));
    assert_string_equal(fm_safetensors_metadata(file, "format"), "pt");
    assert_null(fm_safetensors_metadata(file, "Format"));
    fm_safetensors_close(file);
    free(bytes);
    expect(2, "{}", 0, FM_OK, "");
}

/* A cut anywhere is noticed. */
static void refuses_every_cut(void **state)
{
    (void)state;
    const char *header = "{" T("a", "I8", "3", 0, 3) "," T("b", "F32", "1", 3, 7) "} ";
    size_t size;
    uint8_t *bytes = make(strlen(header), header, 7, &size);
    for (size_t length = 0; length < size; length++) {
        uint8_t *cut = malloc(length ? length : 1);
        assert_non_null(cut);
        memcpy(cut, bytes, length);
        assert_int_equal(open_bytes(cut, length, NULL), FM_E_FORMAT);
        free(cut);
    }
    assert_int_equal(open_bytes(bytes, size, NULL), FM_OK);
    free(bytes);
}

/* Ten thousand names: a quadratic look-up would be noticed under the sanitizers. */
static void finds_many(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    fm_buffer header = {0};
    for (int i = 0; i < COUNT; i++)
        fm_buffer_format(&header, "%s\"t%d\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "{",
                         COUNT - i, i, i + 1);
    fm_buffer_text(&header, "}");
    size_t size;
    uint8_t *bytes = make(header.size, header.data, COUNT, &size);
    fm_safetensors *file;
    assert_int_equal(fm_safetensors_from_memory(&file, bytes, size, "x", NULL), FM_OK);
    for (int i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", COUNT - i);
        const fm_stored_tensor *tensor = fm_safetensors_find(file, name);
        assert_ptr_equal(tensor, fm_safetensors_at(file, (size_t)i));
        assert_int_equal(tensor->data[0], (uint8_t)i);
    }
    fm_safetensors_close(file);
    fm_buffer_free(&header);
    free(bytes);
}

static void writes(void **state)
{
    (void)state;
    char path[] = "/tmp/fm-safetensors-XXXXXX";
    int handle = mkstemp(path);
    assert_true(handle >= 0);
    close(handle);
    const float floats[6] = {1, 2, 3, 4, 5, -6};
    const uint8_t bytes[3] = {7, 8, 9};
    fm_stored_tensor tensors[3] = {
        {.name = "z \"\xc3\xa9\"\n",
         .type = FM_STORED_F32,
         .rank = 2,
         .shape = {2, 3},
         .data = (const uint8_t *)floats,
         .size = sizeof floats},
        {.name = "none", .type = FM_STORED_BF16, .rank = 1, .shape = {0}},
        {.name = "a", .type = FM_STORED_I8, .rank = 1, .shape = {3}, .data = bytes, .size = 3}};
    const fm_stored_note notes[] = {{"format", "pt"}, {"by", "\\"}};
    fm_error err = {0};
    assert_int_equal(fm_safetensors_write(path, tensors, 3, notes, 2, &err), FM_OK);
    fm_safetensors *file;
    assert_int_equal(fm_safetensors_open(&file, path, &err), FM_OK);
    assert_int_equal(fm_safetensors_count(file), 3);
    const fm_stored_tensor *first = fm_safetensors_find(file, tensors[0].name);
    assert_ptr_equal(first, fm_safetensors_at(file, 0));
    assert_memory_equal(first->data, floats, sizeof floats);
    assert_int_equal((uintptr_t)first->data % 64, 0);
    assert_int_equal(fm_safetensors_find(file, "a")->data[2], 9);
    assert_string_equal(fm_safetensors_metadata(file, "by"), "\\");
    fm_safetensors_close(file);

    /* What no reader would accept is not written, and the old file stays. */
    fm_stored_tensor bad = tensors[2];
    bad.size = 2;
    assert_int_equal(fm_safetensors_write(path, &bad, 1, NULL, 0, &err), FM_E_ARGUMENT);
    bad = tensors[2];
    bad.rank = FM_MOST_DIMENSIONS + 1;
    assert_int_equal(fm_safetensors_write(path, &bad, 1, NULL, 0, &err), FM_E_ARGUMENT);
    bad = tensors[2];
    bad.name = "__metadata__";
    assert_int_equal(fm_safetensors_write(path, &bad, 1, NULL, 0, &err), FM_E_ARGUMENT);
    fm_stored_tensor twice[2] = {tensors[2], tensors[2]};
    assert_int_equal(fm_safetensors_write(path, twice, 2, NULL, 0, &err), FM_E_ARGUMENT);
    assert_non_null(strstr(err.text, "twice"));
    assert_int_equal(fm_safetensors_open(&file, path, &err), FM_OK);
    assert_int_equal(fm_safetensors_count(file), 3);
    fm_safetensors_close(file);

    assert_int_equal(fm_safetensors_write(path, NULL, 0, NULL, 0, &err), FM_OK);
    assert_int_equal(fm_safetensors_open(&file, path, &err), FM_OK);
    assert_int_equal(fm_safetensors_count(file), 0);
    fm_safetensors_close(file);
    unlink(path);
    assert_int_equal(fm_safetensors_write("/nonexistent/x", tensors, 3, NULL, 0, &err), FM_E_IO);
    assert_int_equal(fm_safetensors_open(&file, "/nonexistent/x", &err), FM_E_IO);
    assert_null(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refuses_prefix), cmocka_unit_test(refuses_header),
                                       cmocka_unit_test(allows),         cmocka_unit_test(refuses_every_cut),
                                       cmocka_unit_test(finds_many),     cmocka_unit_test(writes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
