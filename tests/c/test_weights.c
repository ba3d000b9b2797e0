/* test_weights.c - core/model/weights.c and convert.c: every stored type there and back, and which files are refused.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/convert.h"
#include "model/sources.h"

enum { VOCABULARY = 37, HIDDEN = 12, MOST_TENSORS = 64 };

/* A small model with random values, and a file to write it to. */
typedef struct fixture {
    char path[40];
    fm_parameters parameters;
    float *array;
    const float **values;
} fixture;

static int make(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    if (!f) return 1;
    strcpy(f->path, "/tmp/fm-weights-XXXXXX");
    int handle = mkstemp(f->path);
    const fm_config config = {VOCABULARY, HIDDEN, 1, 3, 20, 9, 0.1f, 0.1f, 0.02f};
    if (handle < 0 || fm_parameters_make(&f->parameters, &config, NULL)) return 1;
    close(handle);
    f->array = fm_alloc(f->parameters.elements, sizeof *f->array);
    f->values = calloc(f->parameters.count, sizeof *f->values);
    if (!f->array || !f->values) return 1;
    fm_random random = fm_random_seeded(7, 0);
    for (uint64_t i = 0; i < f->parameters.elements; i++) f->array[i] = 0.02f * fm_random_normal(&random);
    for (size_t i = 0; i < f->parameters.count; i++) f->values[i] = f->array + f->parameters.list[i].offset;
    *state = f;
    return 0;
}

static int end(void **state)
{
    fixture *f = *state;
    unlink(f->path);
    fm_parameters_free(&f->parameters);
    fm_free(f->array);
    free(f->values);
    free(f);
    return 0;
}

static size_t elements_of(const fm_parameter *p)
{
    return (size_t)p->rows * p->cols;
}

static fm_status load(const fixture *f, fm_weights *weights, fm_error *err)
{
    fm_safetensors *file;
    fm_status status = fm_safetensors_open(&file, f->path, err);
    return status ? status : fm_weights_load(weights, &f->parameters, file, "m.safetensors", err);
}

/* The bytes of a file in parts of `cut`, and what comes of them. */
static fm_status stream(const fixture *f, fm_backend *backend, const uint8_t *data, size_t size, size_t cut, int type,
                        fm_weights *weights, fm_error *err)
{
    fm_weights_stream *s;
    *weights = (fm_weights){0};
    fm_status status = fm_weights_stream_open(&s, &f->parameters, backend, type, "m.safetensors", err);
    for (size_t at = 0; at < size && !status; at += cut) {
        uint8_t part[256]; /* which is not there any more when the next one comes */
        size_t length = size - at < cut ? size - at : cut;
        memcpy(part, data + at, length);
        status = fm_weights_stream_push(s, part, length, err);
        memset(part, 0xee, sizeof part);
    }
    if (!status) status = fm_weights_stream_end(s, weights, err);
    fm_weights_stream_close(s);
    return status;
}

/* A file that comes in parts gives the same values as one that is mapped, or the same error. */
static void expect_same_stream(const fixture *f, fm_status expected, const char *text)
{
    static const size_t cuts[] = {1, 7, 64, 256};
    fm_blob blob;
    fm_weights mapped, streamed;
    fm_backend *backend;
    assert_int_equal(fm_blob_open(&blob, f->path, NULL), FM_OK);
    assert_int_equal(fm_cpu_create(&backend, NULL, 1, NULL), FM_OK);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        fm_error err = {0};
        fm_status status = stream(f, backend, blob.data, blob.size, cuts[i], FM_AS_STORED, &streamed, &err);
        if (status != expected) fail_msg("status %d, expected %d: %s", status, expected, err.text);
        if (status && (!strstr(err.text, text) || !strstr(err.text, "m.safetensors")))
            fail_msg("\"%s\" lacks \"%s\"", err.text, text);
        if (status) continue;
        assert_int_equal(load(f, &mapped, NULL), FM_OK);
        assert_int_equal(streamed.stored, mapped.stored);
        assert_int_equal(fm_weights_floats(&mapped, &f->parameters, NULL), FM_OK);
        assert_null(streamed.values[FM_P_WORD]);
        for (int twice = 0; twice < 2; twice++) {
            assert_int_equal(fm_weights_floats(&streamed, &f->parameters, NULL), FM_OK);
            for (size_t p = 0; p < f->parameters.count; p++)
                assert_memory_equal(streamed.values[p], mapped.values[p],
                                    elements_of(&f->parameters.list[p]) * sizeof(float));
            fm_weights_drop_floats(&streamed, &f->parameters);
            assert_null(streamed.values[FM_P_WORD]);
            assert_non_null(streamed.values[FM_P_POSITION]);
        }
        fm_weights_free(&streamed);
        fm_weights_free(&mapped);
    }
    backend->ops->destroy(backend);
    fm_blob_close(&blob);
}

/* ---- there and back ---- */

static void keeps_f32(void **state)
{
    fixture *f = *state;
    f->array[3] = -0.0f;
    f->array[4] = 1e-45f;
    f->array[5] = FLT_MAX;
    assert_int_equal(fm_weights_save(f->path, &f->parameters, f->values, FM_STORED_F32, NULL), FM_OK);
    fm_weights w;
    assert_int_equal(load(f, &w, NULL), FM_OK);
    assert_int_equal(w.stored, FM_STORED_F32);
    assert_string_equal(fm_safetensors_metadata(w.file, "format"), "pt");
    for (size_t i = 0; i < f->parameters.count; i++) {
        const fm_parameter *p = &f->parameters.list[i];
        assert_memory_equal(w.values[i], f->values[i], elements_of(p) * sizeof(float));
        const fm_stored_tensor *tensor = fm_safetensors_find(w.file, p->name);
        assert_ptr_equal(tensor->data, w.values[i]); /* mapped, not copied */
        assert_int_equal(tensor->rank, p->vector ? 1 : 2);
    }
    fm_weights_free(&w);
}

static void rounds_to_16_bits(void **state)
{
    fixture *f = *state;
    for (int kind = FM_STORED_F16; kind <= FM_STORED_BF16; kind++) {
        assert_int_equal(fm_weights_save(f->path, &f->parameters, f->values, (fm_stored_type)kind, NULL), FM_OK);
        fm_weights w;
        assert_int_equal(load(f, &w, NULL), FM_OK);
        assert_int_equal(w.stored, kind);
        /* Half a unit in the last place: 2^-11 of the value for F16 (2^-25 where subnormal), 2^-8 for BF16. */
        float relative = kind == FM_STORED_F16 ? 0x1p-11f : 0x1p-8f, absolute = kind == FM_STORED_F16 ? 0x1p-25f : 0.0f;
        for (size_t i = 0; i < f->parameters.count; i++)
            for (size_t k = 0; k < elements_of(&f->parameters.list[i]); k++) {
                float value = f->values[i][k];
                assert_true(fabsf(w.values[i][k] - value) <= fmaxf(fabsf(value) * relative, absolute));
            }
        fm_weights_free(&w);
    }
}

/* A matrix of F16 comes back as in the file, mapped or streamed; one of F32 is none of f16. */
static void gives_halves_back(void **state)
{
    fixture *f = *state;
    f->array[f->parameters.list[FM_P_WORD].offset + 3] = -0.0f;
    f->array[f->parameters.list[FM_P_WORD].offset + 4] = -0x1p-24f;
    for (int kind = FM_STORED_F32; kind <= FM_STORED_F16; kind++) {
        fm_weights w[2];
        fm_backend *backend;
        fm_blob blob;
        assert_int_equal(fm_weights_save(f->path, &f->parameters, f->values, (fm_stored_type)kind, NULL), FM_OK);
        assert_int_equal(load(f, &w[0], NULL), FM_OK);
        assert_int_equal(fm_cpu_create(&backend, NULL, 1, NULL), FM_OK);
        assert_int_equal(fm_blob_open(&blob, f->path, NULL), FM_OK);
        assert_int_equal(stream(f, backend, blob.data, blob.size, 100, FM_AS_STORED, &w[1], NULL), FM_OK);
        for (size_t i = 0; i < 2 * f->parameters.count; i++) {
            const fm_parameter *p = &f->parameters.list[i / 2];
            const fm_stored_tensor *tensor = fm_safetensors_find(w[0].file, p->name);
            uint16_t *halves;
            if (p->vector) continue;
            assert_int_equal(fm_weights_halves(&w[i % 2], &f->parameters, i / 2, &halves, NULL), FM_OK);
            if (kind == FM_STORED_F32) assert_null(halves);
            else assert_memory_equal(halves, tensor->data, tensor->size);
            fm_free(halves);
        }
        fm_weights_free(&w[0]);
        fm_weights_free(&w[1]);
        fm_blob_close(&blob);
        backend->ops->destroy(backend);
    }
}

/* The value that 16 bits of F16 mean, from the definition. */
static float half_value(uint16_t half)
{
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    float value = exponent == 0 ? ldexpf((float)mantissa, -24) : ldexpf((float)(mantissa + 1024), exponent - 25);
    return half & 0x8000 ? -value : value;
}

static void converts_every_half(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t half = (uint16_t)i, again;
        float value;
        bool finite = fm_decode(&value, (const uint8_t *)&half, FM_STORED_F16, 1);
        assert_int_equal(finite, (i & 0x7c00) != 0x7c00);
        if (!finite) continue;
        float expected = half_value(half);
        assert_memory_equal(&value, &expected, sizeof value);
        assert_true(fm_encode16(&again, &value, FM_STORED_F16, 1));
        assert_int_equal(again, half);
        /* Between two halves: nearer wins, and in the middle the even one. */
        if ((i & 0x7fff) == 0x7bff) continue;
        float next = half_value((uint16_t)(half + 1)), middle = (value + next) / 2;
        float probes[3] = {nextafterf(middle, value), middle, nextafterf(middle, next)};
        uint16_t rounded[3], expect[3] = {half, half & 1 ? (uint16_t)(half + 1) : half, (uint16_t)(half + 1)};
        assert_true(fm_encode16(rounded, probes, FM_STORED_F16, 3));
        assert_memory_equal(rounded, expect, sizeof expect);
    }
}

static void converts_every_bf16(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t bf16 = (uint16_t)i;
        float value;
        bool finite = fm_decode(&value, (const uint8_t *)&bf16, FM_STORED_BF16, 1);
        assert_int_equal(finite, (i & 0x7f80) != 0x7f80);
        if (!finite) continue;
        uint32_t bits = i << 16;
        assert_memory_equal(&value, &bits, sizeof value);
        if ((i & 0x7fff) == 0x7f7f) continue;
        uint32_t probes[4] = {bits, bits + 0x7fff, bits + 0x8000, bits + 0x8001};
        float floats[4];
        memcpy(floats, probes, sizeof floats);
        uint16_t rounded[4], up = (uint16_t)(i + 1), expect[4] = {bf16, bf16, i & 1 ? up : bf16, up};
        assert_true(fm_encode16(rounded, floats, FM_STORED_BF16, 4));
        assert_memory_equal(rounded, expect, sizeof expect);
    }
}

static void refuses_16_bit_overflow(void **state)
{
    fixture *f = *state;
    static const struct {
        fm_stored_type type;
        float value;
        bool fits;
    } cases[] = {{FM_STORED_F16, 65504.0f, true},      {FM_STORED_F16, 65519.996f, true},
                 {FM_STORED_F16, -65520.0f, false},    {FM_STORED_F16, 131072.0f, false},
                 {FM_STORED_F16, FLT_MAX, false},      {FM_STORED_BF16, 0x1.fep127f, true},
                 {FM_STORED_BF16, FLT_MAX, false},     {FM_STORED_BF16, 0x1.fefffep127f, true},
                 {FM_STORED_BF16, -0x1.ffp127f, false}};
    size_t at = FM_P_LAYER0 + FM_L_V_W;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f->array[f->parameters.list[at].offset + 17] = cases[i].value;
        fm_error err = {0};
        fm_status status = fm_weights_save(f->path, &f->parameters, f->values, cases[i].type, &err);
        assert_int_equal(status, cases[i].fits ? FM_OK : FM_E_LIMIT);
        if (!cases[i].fits) assert_non_null(strstr(err.text, "attention.v_lin.weight"));
    }
}

static void quantises(void **state)
{
    fixture *f = *state;
    const fm_parameter *word = &f->parameters.list[FM_P_WORD];
    memset(f->array + word->offset, 0, HIDDEN * sizeof(float));                              /* a row of zeros */
    for (size_t k = 0; k < HIDDEN; k++) f->array[word->offset + HIDDEN + k] *= 1e-38f;       /* as good as zeros */
    for (size_t k = 0; k < HIDDEN; k++) f->array[word->offset + 2 * HIDDEN + k] = FLT_MAX;   /* the largest */
    for (size_t k = 0; k < HIDDEN; k++) f->array[word->offset + 3 * HIDDEN + k] *= 0x1p-90f; /* small, but kept */
    assert_int_equal(fm_weights_save(f->path, &f->parameters, f->values, FM_STORED_I8, NULL), FM_OK);
    fm_weights w;
    fm_error err = {0};
    assert_int_equal(load(f, &w, &err), FM_OK);
    assert_int_equal(w.stored, FM_STORED_I8);
    assert_non_null(fm_safetensors_metadata(w.file, "fillmask.quantization"));
    assert_null(fm_safetensors_metadata(w.file, "format"));
    for (size_t i = 0; i < f->parameters.count; i++) { /* mapped, not copied */
        bool integers = !f->parameters.list[i].vector && i != FM_P_POSITION;
        const fm_stored_tensor *tensor = fm_safetensors_find(w.file, f->parameters.list[i].name);
        assert_ptr_equal(w.int8[i].values, integers ? tensor->data : NULL);
        assert_int_equal(w.values[i] == NULL, integers);
    }
    assert_int_equal(fm_weights_floats(&w, &f->parameters, NULL), FM_OK);
    for (size_t i = 0; i < f->parameters.count; i++) {
        const fm_parameter *p = &f->parameters.list[i];
        const fm_stored_tensor *tensor = fm_safetensors_find(w.file, p->name);
        if (p->vector) {
            assert_memory_equal(w.values[i], f->values[i], elements_of(p) * sizeof(float));
            assert_ptr_equal(tensor->data, w.values[i]);
            continue;
        }
        assert_int_equal(tensor->type, FM_STORED_I8);
        for (size_t k = 0; k < tensor->size; k++) assert_in_range((int8_t)tensor->data[k] + 63, 0, 126);
        for (size_t row = 0; row < p->rows; row++) {
            /* Never worse than the row's largest value at 63 without a search. */
            const float *x = f->values[i] + row * p->cols, *y = w.values[i] + row * p->cols;
            double most = 0, simple = 0, error = 0;
            for (size_t k = 0; k < p->cols; k++) most = fmax(most, fabs((double)x[k]));
            for (size_t k = 0; k < p->cols; k++) {
                double step = most / 63, rounded = most > 0 ? nearbyint(x[k] / step) * step : 0;
                simple += (x[k] - rounded) * (x[k] - rounded);
                error += ((double)x[k] - y[k]) * ((double)x[k] - y[k]);
            }
            if (most > 1e37) assert_true(sqrt(error) < 0.02 * most * sqrt(p->cols));
            else assert_true(error <= simple * 1.0001 + 1e-20);
        }
    }
    for (size_t k = 0; k < 2 * HIDDEN; k++) assert_true(w.values[FM_P_WORD][k] == 0.0f);
    assert_true(w.values[FM_P_WORD][3 * HIDDEN] != 0.0f);
    /* Dequantised weights quantise to themselves. */
    int8_t again[20];
    const fm_parameter *p = &f->parameters.list[FM_P_LAYER0 + FM_L_LIN2_W];
    const fm_stored_tensor *tensor = fm_safetensors_find(w.file, p->name);
    for (size_t row = 0; row < p->rows; row++) {
        fm_quantise_row(again, w.values[FM_P_LAYER0 + FM_L_LIN2_W] + row * p->cols, p->cols);
        assert_memory_equal(again, tensor->data + row * p->cols, p->cols);
    }
    fm_weights_drop_floats(&w, &f->parameters);
    assert_null(w.values[FM_P_WORD]);
    assert_non_null(w.values[FM_P_POSITION]);
    assert_int_equal(fm_weights_floats(&w, &f->parameters, NULL), FM_OK);
    assert_int_equal(fm_weights_floats(&w, &f->parameters, NULL), FM_OK);
    assert_true(w.values[FM_P_WORD][3 * HIDDEN] != 0.0f);
    fm_weights_free(&w);
}

/* One value far out: clipping it must pay. */
static void searches_the_scale(void **state)
{
    (void)state;
    enum { COUNT = 3001 };
    float row[COUNT];
    int8_t integers[COUNT];
    fm_random random = fm_random_seeded(1, 0);
    for (size_t i = 0; i < COUNT; i++) row[i] = fm_random_uniform(&random) * 2 - 1;
    row[COUNT - 1] = 1.05f;
    float scale = fm_quantise_row(integers, row, COUNT);
    assert_true(scale < 1.02f / 63);
    assert_int_equal(integers[COUNT - 1], 63);
    double error = 0, simple = 0;
    for (size_t i = 0; i < COUNT; i++) {
        double rounded = nearbyint(row[i] / 1.05 * 63) * 1.05 / 63;
        simple += (row[i] - rounded) * (row[i] - rounded);
        error += (row[i] - (double)integers[i] * scale) * (row[i] - (double)integers[i] * scale);
    }
    assert_true(error < simple);
}

typedef struct watched {
    uint64_t done, total, most; /* stops above most */
} watched;

static bool watch(void *context, uint64_t done, uint64_t total)
{
    watched *w = context;
    assert_true(done >= w->done && done <= total);
    w->done = done;
    w->total = total;
    return done <= w->most;
}

static void converts_on_a_pool(void **state)
{
    fixture *f = *state;
    uint64_t all = 0;
    for (size_t i = 0; i < f->parameters.count; i++) all += elements_of(&f->parameters.list[i]);
    for (int kind = FM_STORED_F32; kind <= FM_STORED_I8; kind++) {
        assert_int_equal(fm_weights_save(f->path, &f->parameters, f->values, (fm_stored_type)kind, NULL), FM_OK);
        fm_blob alone, spread;
        assert_int_equal(fm_blob_open(&alone, f->path, NULL), FM_OK);
        for (int threads = 1; threads <= 3; threads++) {
            fm_pool *pool;
            watched w = {.most = UINT64_MAX};
            assert_int_equal(fm_pool_create(&pool, threads, NULL), FM_OK);
            assert_int_equal(
                fm_weights_convert(f->path, &f->parameters, f->values, (fm_stored_type)kind, pool, watch, &w, NULL),
                FM_OK);
            fm_pool_destroy(pool);
            assert_true(w.done == all && w.total == all);
            assert_int_equal(fm_blob_open(&spread, f->path, NULL), FM_OK);
            assert_int_equal(spread.size, alone.size);
            assert_memory_equal(spread.data, alone.data, alone.size);
            fm_blob_close(&spread);
        }
        fm_error err;
        watched w = {.most = all / 2};
        f->array[f->parameters.list[FM_P_WORD].offset] += 1.0f; /* would be another file */
        assert_int_equal(
            fm_weights_convert(f->path, &f->parameters, f->values, (fm_stored_type)kind, NULL, watch, &w, &err),
            FM_E_ABORTED);
        assert_true(w.done > all / 2 && w.done < all);
        assert_int_equal(fm_blob_open(&spread, f->path, NULL), FM_OK);
        assert_memory_equal(spread.data, alone.data, alone.size);
        fm_blob_close(&spread);
        fm_blob_close(&alone);
    }
}

static void refuses_to_save_nan(void **state)
{
    fixture *f = *state;
    assert_int_equal(fm_weights_save(f->path, &f->parameters, f->values, FM_STORED_F32, NULL), FM_OK);
    float kept = f->array[f->parameters.list[FM_P_EMBED_BETA].offset + 2];
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int kind = FM_STORED_F32; kind <= FM_STORED_I8; kind++)
        for (size_t i = 0; i < 3; i++) {
            f->array[f->parameters.list[FM_P_EMBED_BETA].offset + 2] = bad[i];
            fm_error err = {0};
            assert_int_equal(fm_weights_save(f->path, &f->parameters, f->values, (fm_stored_type)kind, &err),
                             FM_E_FORMAT);
            assert_non_null(strstr(err.text, "embeddings.LayerNorm.bias"));
        }
    fm_weights w; /* the old file is still there, whole */
    assert_int_equal(load(f, &w, NULL), FM_OK);
    assert_true(w.values[FM_P_EMBED_BETA][2] == kept);
    fm_weights_free(&w);
    fm_error err;
    f->array[f->parameters.list[FM_P_EMBED_BETA].offset + 2] = kept;
    assert_int_equal(fm_weights_save("/nonexistent/m", &f->parameters, f->values, FM_STORED_F32, &err), FM_E_IO);
}

/* ---- refusals ---- */

/* The model's tensors as F32, for a test to change before they are written. Room is left for more. */
static size_t list_tensors(const fixture *f, fm_stored_tensor *tensors)
{
    for (size_t i = 0; i < f->parameters.count; i++) {
        const fm_parameter *p = &f->parameters.list[i];
        tensors[i] = (fm_stored_tensor){.name = p->name,
                                        .type = FM_STORED_F32,
                                        .rank = p->vector ? 1 : 2,
                                        .shape = {p->vector ? p->cols : p->rows, p->vector ? 0 : p->cols},
                                        .data = (const uint8_t *)f->values[i],
                                        .size = elements_of(p) * sizeof(float)};
    }
    return f->parameters.count;
}

static void expect(const fixture *f, const fm_stored_tensor *tensors, size_t count, fm_status status, const char *text)
{
    fm_error err = {0};
    if (fm_safetensors_write(f->path, tensors, count, NULL, 0, &err)) fail_msg("%s", err.text);
    fm_weights w;
    fm_status found = load(f, &w, &err);
    if (found != status) fail_msg("status %d, expected %d: %s", found, status, err.text);
    if (status && (!strstr(err.text, text) || !strstr(err.text, "m.safetensors")))
        fail_msg("\"%s\" lacks \"%s\"", err.text, text);
    if (status) assert_null(w.file);
    fm_weights_free(&w);
    expect_same_stream(f, status, text);
}

static void refuses_names_and_shapes(void **state)
{
    fixture *f = *state;
    fm_stored_tensor tensors[MOST_TENSORS];
    size_t count = list_tensors(f, tensors);
    expect(f, tensors, count, FM_OK, "");
    expect(f, tensors, count - 1, FM_E_FORMAT, "vocab_projector.bias is missing");
    expect(f, tensors + 1, count - 1, FM_E_FORMAT, "word_embeddings.weight is missing");
    expect(f, tensors, 0, FM_E_FORMAT, "missing");

    const float one[2] = {1, 2};
    tensors[count] = (fm_stored_tensor){.name = "classifier.weight",
                                        .type = FM_STORED_F32,
                                        .rank = 1,
                                        .shape = {2},
                                        .data = (const void *)one,
                                        .size = 8};
    expect(f, tensors, count + 1, FM_E_FORMAT, "classifier.weight is unknown");
    tensors[count].name = "distilbert.transformer.layer.1.attention.q_lin.bias"; /* a layer more */
    expect(f, tensors, count + 1, FM_E_FORMAT, "layer.1.attention.q_lin.bias is unknown");
    tensors[count].name = "vocab_transform.weight.scale"; /* a scale of what is not I8 */
    expect(f, tensors, count + 1, FM_E_FORMAT, "vocab_transform.weight.scale is unknown");

    fm_stored_tensor kept = tensors[0];
    tensors[0].shape[0] = HIDDEN;
    tensors[0].shape[1] = VOCABULARY;
    expect(f, tensors, count, FM_E_FORMAT, "the shape (12, 37); config.json means (37, 12)");
    tensors[0] = kept;
    tensors[0].rank = 1;
    tensors[0].shape[0] = VOCABULARY * HIDDEN;
    expect(f, tensors, count, FM_E_FORMAT, "the shape (444); config.json means (37, 12)");
    tensors[0] = kept;
    tensors[FM_P_EMBED_GAMMA].rank = 2;
    tensors[FM_P_EMBED_GAMMA].shape[0] = 1;
    tensors[FM_P_EMBED_GAMMA].shape[1] = HIDDEN;
    expect(f, tensors, count, FM_E_FORMAT, "the shape (1, 12); config.json means (12)");
}

static void refuses_nan(void **state)
{
    fixture *f = *state;
    fm_stored_tensor tensors[MOST_TENSORS];
    size_t count = list_tensors(f, tensors);
    const char *text = "output_layer_norm.bias holds NaN or infinity";
    fm_stored_tensor *tensor = &tensors[FM_P_LAYER0 + FM_L_OUT_BETA];
    float values[HIDDEN] = {0}, bad[] = {NAN, INFINITY, -INFINITY};
    uint16_t halves[HIDDEN] = {0}, bad_halves[][3] = {{0x7c00, 0xfc00, 0x7e01}, {0x7f80, 0xff80, 0x7fc0}};
    for (size_t i = 0; i < 3; i++) {
        values[11] = bad[i];
        tensor->data = (const uint8_t *)values;
        expect(f, tensors, count, FM_E_FORMAT, text);
    }
    for (int kind = 0; kind < 2; kind++)
        for (size_t i = 0; i < 3; i++) {
            halves[0] = bad_halves[kind][i];
            tensor->type = kind ? FM_STORED_BF16 : FM_STORED_F16;
            tensor->data = (const uint8_t *)halves;
            tensor->size = sizeof halves;
            expect(f, tensors, count, FM_E_FORMAT, text);
        }
    halves[0] = 0x3f80; /* mixed types are no problem */
    expect(f, tensors, count, FM_OK, "");
}

/* An F32 tensor after an odd number of bytes cannot be mapped and is copied. */
static void reads_unaligned(void **state)
{
    fixture *f = *state;
    fm_stored_tensor tensors[MOST_TENSORS];
    size_t count = list_tensors(f, tensors);
    int8_t integers[VOCABULARY * HIDDEN + 1];
    for (size_t i = 0; i < VOCABULARY * HIDDEN; i++) integers[i] = (int8_t)(i * 7); /* the whole range, -128 too */
    float scales[VOCABULARY];
    for (size_t i = 0; i < VOCABULARY; i++) scales[i] = 0.5f + (float)i;
    tensors[count] = (fm_stored_tensor){.name = "distilbert.embeddings.word_embeddings.weight.scale",
                                        .type = FM_STORED_F32,
                                        .rank = 1,
                                        .shape = {VOCABULARY},
                                        .data = (const uint8_t *)scales,
                                        .size = sizeof scales};
    tensors[0].type = FM_STORED_I8;
    tensors[0].data = (const uint8_t *)integers;
    tensors[0].size = VOCABULARY * HIDDEN;
    expect(f, tensors, count + 1, FM_OK, "");

    /* The prefix of the header makes everything odd: one space more than the writer pads. */
    fm_blob blob;
    assert_int_equal(fm_blob_open(&blob, f->path, NULL), FM_OK);
    uint8_t *moved = malloc(blob.size + 1);
    assert_non_null(moved);
    size_t length = (size_t)blob.data[0] | (size_t)blob.data[1] << 8;
    memcpy(moved, blob.data, 8 + length);
    moved[0] = (uint8_t)((length + 1) & 0xff);
    moved[1] = (uint8_t)((length + 1) >> 8);
    moved[8 + length] = ' ';
    memcpy(moved + 9 + length, blob.data + 8 + length, blob.size - 8 - length);
    fm_safetensors *file;
    assert_int_equal(fm_safetensors_from_memory(&file, moved, blob.size + 1, "m.safetensors", NULL), FM_OK);
    fm_weights w;
    assert_int_equal(fm_weights_load(&w, &f->parameters, file, "m.safetensors", NULL), FM_OK);
    assert_int_equal(w.stored, FM_STORED_I8);
    for (size_t i = 0; i < VOCABULARY; i++) assert_true(w.int8[0].scales[i] == scales[i]);
    assert_int_equal(fm_weights_floats(&w, &f->parameters, NULL), FM_OK);
    for (size_t i = 0; i < VOCABULARY * HIDDEN; i++)
        assert_true(w.values[0][i] == (float)integers[i] * scales[i / HIDDEN]);
    for (size_t i = 1; i < count; i++) {
        assert_int_equal((uintptr_t)w.values[i] % 64, 0);
        assert_memory_equal(w.values[i], f->values[i], elements_of(&f->parameters.list[i]) * sizeof(float));
    }
    fm_weights_free(&w);
    free(moved);
    fm_blob_close(&blob);

    expect(f, tensors, count, FM_E_FORMAT, "word_embeddings.weight.scale with its scales is missing");
    scales[5] = -1;
    expect(f, tensors, count + 1, FM_E_FORMAT, "holds the scale -1");
    scales[5] = NAN;
    expect(f, tensors, count + 1, FM_E_FORMAT, "scale holds NaN");
    scales[5] = FLT_MAX; /* times 2 is infinite */
    expect(f, tensors, count + 1, FM_E_FORMAT, "scale holds NaN or infinity");
    scales[5] = 1;
    tensors[count].rank = 2;
    tensors[count].shape[1] = 1;
    expect(f, tensors, count + 1, FM_E_FORMAT, "the shape (37, 1)");
    tensors[count].rank = 1;
    tensors[count].type = FM_STORED_F16;
    tensors[count].size /= 2;
    expect(f, tensors, count + 1, FM_E_FORMAT, "the dtype F16; expected F32");
    list_tensors(f, tensors);
    tensors[1 + FM_P_POSITION].type = FM_STORED_I8; /* a layer norm */
    tensors[1 + FM_P_POSITION].size /= 4;
    expect(f, tensors, count, FM_E_FORMAT, "LayerNorm.weight has the dtype I8");
}

static void streams_every_type(void **state)
{
    fixture *f = *state;
    for (int kind = FM_STORED_F32; kind <= FM_STORED_I8; kind++) {
        assert_int_equal(fm_weights_save(f->path, &f->parameters, f->values, (fm_stored_type)kind, NULL), FM_OK);
        expect_same_stream(f, FM_OK, "");
    }
}

/* What becomes another type while it comes is what becomes one when it is saved. */
static void converts_streams(void **state)
{
    fixture *f = *state;
    fm_backend *backend;
    assert_int_equal(fm_cpu_create(&backend, NULL, 1, NULL), FM_OK);
    for (int kind = FM_STORED_F32; kind <= FM_STORED_I8; kind++)
        for (int type = FM_STORED_F32; type <= FM_STORED_I8; type++) {
            fm_blob blob;
            fm_weights whole, converted, streamed;
            assert_int_equal(fm_weights_save(f->path, &f->parameters, f->values, (fm_stored_type)kind, NULL), FM_OK);
            assert_int_equal(fm_blob_open(&blob, f->path, NULL), FM_OK);
            assert_int_equal(stream(f, backend, blob.data, blob.size, 61, type, &streamed, NULL), FM_OK);
            fm_blob_close(&blob);
            assert_int_equal(load(f, &whole, NULL), FM_OK);
            assert_int_equal(fm_weights_floats(&whole, &f->parameters, NULL), FM_OK);
            if (kind != type) /* int8 stays as it is */
                assert_int_equal(fm_weights_save(f->path, &f->parameters, whole.values, (fm_stored_type)type, NULL),
                                 FM_OK);
            assert_int_equal(load(f, &converted, NULL), FM_OK);
            assert_int_equal(streamed.stored, type);
            assert_int_equal(streamed.held[FM_P_WORD].type, type == FM_STORED_I8 ? FM_I8 : FM_F32);
            assert_int_equal(fm_weights_floats(&converted, &f->parameters, NULL), FM_OK);
            assert_int_equal(fm_weights_floats(&streamed, &f->parameters, NULL), FM_OK);
            for (size_t p = 0; p < f->parameters.count; p++)
                assert_memory_equal(streamed.values[p], converted.values[p],
                                    elements_of(&f->parameters.list[p]) * sizeof(float));
            fm_weights_free(&whole);
            fm_weights_free(&converted);
            fm_weights_free(&streamed);
        }
    backend->ops->destroy(backend);
}

/* What no number of the type is near, in a matrix and in a vector. */
static void refuses_what_a_type_cannot_hold(void **state)
{
    fixture *f = *state;
    fm_backend *backend;
    fm_blob blob;
    fm_weights w;
    fm_error err;
    assert_int_equal(fm_cpu_create(&backend, NULL, 1, NULL), FM_OK);
    for (int i = 0; i < 2; i++) {
        float *value = (float *)(uintptr_t)f->values[i ? FM_P_EMBED_BETA : FM_P_WORD] + 3, former = *value;
        *value = 65520.0f;
        assert_int_equal(fm_weights_save(f->path, &f->parameters, f->values, FM_STORED_F32, NULL), FM_OK);
        assert_int_equal(fm_blob_open(&blob, f->path, NULL), FM_OK);
        assert_int_equal(stream(f, backend, blob.data, blob.size, 61, FM_STORED_BF16, &w, NULL), FM_OK);
        fm_weights_free(&w);
        assert_int_equal(stream(f, backend, blob.data, blob.size, 61, FM_STORED_F16, &w, &err), FM_E_LIMIT);
        if (!strstr(err.text, i ? "LayerNorm.bias holds a value too large for F16" : "word_embeddings.weight holds"))
            fail_msg("\"%s\"", err.text);
        fm_blob_close(&blob);
        *value = former;
    }
    backend->ops->destroy(backend);
}

/* A copy of the tied matrix may come first or last, also where both become another type. */
static void converts_streams_with_a_copy(void **state)
{
    fixture *f = *state;
    fm_backend *backend;
    assert_int_equal(fm_cpu_create(&backend, NULL, 1, NULL), FM_OK);
    fm_stored_tensor tensors[MOST_TENSORS];
    size_t count = list_tensors(f, tensors), elements = VOCABULARY * HIDDEN;
    float copy[VOCABULARY * HIDDEN];
    memcpy(copy, f->values[0], sizeof copy);
    tensors[count] = tensors[0];
    tensors[count].name = "vocab_projector.weight";
    tensors[count].data = (const uint8_t *)copy;
    for (int turn = 0; turn < 12; turn++) {
        static const int types[] = {FM_STORED_F32, FM_STORED_F16, FM_STORED_I8};
        bool bad = turn / 2 % 2; /* every second time they are swapped */
        fm_blob blob;
        fm_weights w;
        fm_error err;
        copy[elements - 1] = f->values[0][elements - 1] + (bad ? 0.1f : 0.0f);
        fm_stored_tensor first = tensors[0];
        tensors[0] = tensors[count];
        tensors[count] = first;
        assert_int_equal(fm_safetensors_write(f->path, tensors, count + 1, NULL, 0, NULL), FM_OK);
        assert_int_equal(fm_blob_open(&blob, f->path, NULL), FM_OK);
        fm_status status = stream(f, backend, blob.data, blob.size, 61, types[turn / 4], &w, &err);
        assert_int_equal(status, bad ? FM_E_UNSUPPORTED : FM_OK);
        if (bad) assert_non_null(strstr(err.text, "row 36 of the tensor vocab_projector.weight differs"));
        fm_weights_free(&w);
        fm_blob_close(&blob);
    }
    backend->ops->destroy(backend);
}

/* A file that ends too early, or too late, or is none, wherever it is cut. */
static void refuses_streams_of_another_length(void **state)
{
    fixture *f = *state;
    fm_blob blob;
    fm_backend *backend;
    fm_weights w;
    fm_error err;
    assert_int_equal(fm_weights_save(f->path, &f->parameters, f->values, FM_STORED_F32, NULL), FM_OK);
    assert_int_equal(fm_blob_open(&blob, f->path, NULL), FM_OK);
    assert_int_equal(fm_cpu_create(&backend, NULL, 1, NULL), FM_OK);
    size_t head;
    assert_int_equal(fm_safetensors_head(blob.data, blob.size, "m.safetensors", &head, NULL), FM_OK);
    uint8_t *longer = malloc(blob.size + 1);
    assert_non_null(longer);
    memcpy(longer, blob.data, blob.size);
    longer[blob.size] = 0;
    const struct {
        size_t size;
        const char *text;
    } cases[] = {{0, "it has 0 bytes"},
                 {7, "it has 7 bytes"},
                 {8, "is cut short: its header"},
                 {head - 1, "is cut short: its header"},
                 {head, "has 0 bytes of tensors where its header announces"},
                 {blob.size - 1, "it is cut short, download it again"},
                 {blob.size + 1, "something was appended to it"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t cut = 1; cut <= 256; cut += 17) {
            assert_int_equal(stream(f, backend, longer, cases[i].size, cut, FM_AS_STORED, &w, &err), FM_E_FORMAT);
            if (!strstr(err.text, cases[i].text)) fail_msg("\"%s\" lacks \"%s\"", err.text, cases[i].text);
        }
    static const char page[] = "<!DOCTYPE html><html><body>404</body></html>";
    assert_int_equal(stream(f, backend, (const uint8_t *)page, sizeof page, 5, FM_AS_STORED, &w, &err), FM_E_FORMAT);
    assert_non_null(strstr(err.text, "is no safetensors file"));
    free(longer);
    backend->ops->destroy(backend);
    fm_blob_close(&blob);
}

static void refuses_other_quantisation(void **state)
{
    fixture *f = *state;
    fm_stored_tensor tensors[MOST_TENSORS];
    size_t count = list_tensors(f, tensors);
    fm_stored_note note = {"fillmask.quantization", "int4-block"};
    assert_int_equal(fm_safetensors_write(f->path, tensors, count, &note, 1, NULL), FM_OK);
    fm_weights w;
    fm_error err = {0};
    assert_int_equal(load(f, &w, &err), FM_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "int4-block"));
}

static void checks_the_projector(void **state)
{
    fixture *f = *state;
    fm_stored_tensor tensors[MOST_TENSORS];
    size_t count = list_tensors(f, tensors), elements = VOCABULARY * HIDDEN;
    float *copy = malloc(elements * sizeof *copy);
    uint16_t *halves = malloc(elements * sizeof *halves);
    assert_true(copy && halves);
    memcpy(copy, f->values[0], elements * sizeof *copy);
    tensors[count] = tensors[0];
    tensors[count].name = "vocab_projector.weight";
    tensors[count].data = (const uint8_t *)copy;
    expect(f, tensors, count + 1, FM_OK, "");
    copy[elements - 1] = nextafterf(copy[elements - 1], 1);
    expect(f, tensors, count + 1, FM_E_UNSUPPORTED, "row 36 of the tensor vocab_projector.weight differs");
    copy[elements - 1] = NAN;
    expect(f, tensors, count + 1, FM_E_FORMAT, "vocab_projector.weight holds NaN");
    tensors[count].shape[0] = 1;
    tensors[count].size = HIDDEN * sizeof(float);
    expect(f, tensors, count + 1, FM_E_FORMAT, "vocab_projector.weight has the shape (1, 12)");

    /* F16 beside F32: the same only where every value is an F16. */
    tensors[count] = tensors[0];
    tensors[count].name = "vocab_projector.weight";
    tensors[count].type = FM_STORED_F16;
    tensors[count].data = (const uint8_t *)halves;
    tensors[count].size /= 2;
    assert_true(fm_encode16(halves, f->values[0], FM_STORED_F16, elements));
    expect(f, tensors, count + 1, FM_E_UNSUPPORTED, "row 0 of the tensor");
    assert_true(fm_decode(copy, (const uint8_t *)halves, FM_STORED_F16, elements));
    tensors[0].data = (const uint8_t *)copy;
    expect(f, tensors, count + 1, FM_OK, "");

    /* The copy may come first. */
    fm_stored_tensor swapped = tensors[0];
    tensors[0] = tensors[count];
    tensors[count] = swapped;
    expect(f, tensors, count + 1, FM_OK, "");
    halves[HIDDEN] ^= 1;
    expect(f, tensors, count + 1, FM_E_UNSUPPORTED, "row 1 of the tensor vocab_projector.weight differs");
    free(copy);
    free(halves);
}

/* The file's word embeddings as floats, or an error. */
static void expect_floats(const fixture *f, fm_status expected, const char *text, const int8_t *integers,
                          const float *scales)
{
    fm_blob blob;
    fm_backend *backend;
    fm_weights w;
    fm_error err = {0};
    assert_int_equal(fm_cpu_create(&backend, NULL, 1, NULL), FM_OK);
    assert_int_equal(fm_blob_open(&blob, f->path, NULL), FM_OK);
    assert_int_equal(stream(f, backend, blob.data, blob.size, 61, FM_STORED_F32, &w, &err), expected);
    if (!strstr(err.text, text)) fail_msg("\"%s\" lacks \"%s\"", err.text, text);
    if (!expected) {
        assert_int_equal(fm_weights_floats(&w, &f->parameters, NULL), FM_OK);
        for (size_t i = 0; i < VOCABULARY * HIDDEN; i++)
            assert_true(w.values[FM_P_WORD][i] == (float)integers[i] * scales[i / HIDDEN]);
    }
    fm_weights_free(&w);
    fm_blob_close(&blob);
    backend->ops->destroy(backend);
}

static void checks_the_projector_of_int8(void **state)
{
    fixture *f = *state;
    fm_stored_tensor tensors[MOST_TENSORS];
    size_t count = list_tensors(f, tensors);
    int8_t integers[2][VOCABULARY * HIDDEN];
    float scales[2][VOCABULARY];
    static const char *const names[2][2] = {
        {"distilbert.embeddings.word_embeddings.weight", "distilbert.embeddings.word_embeddings.weight.scale"},
        {"vocab_projector.weight", "vocab_projector.weight.scale"}};
    for (size_t i = 0; i < VOCABULARY * HIDDEN; i++) integers[0][i] = integers[1][i] = (int8_t)(i % 127 - 63);
    for (size_t i = 0; i < VOCABULARY; i++) scales[0][i] = scales[1][i] = 0.5f + (float)i;
    /* The copy, its scales, the scales, all else, and the matrix at the end. */
    fm_stored_tensor list[MOST_TENSORS];
    for (size_t i = 0; i < 2; i++) {
        fm_stored_tensor values = tensors[0], scale = tensors[FM_P_EMBED_BETA];
        values.name = names[i][0];
        values.type = FM_STORED_I8;
        values.data = (const uint8_t *)integers[i];
        values.size = sizeof integers[i];
        scale.name = names[i][1];
        scale.shape[0] = VOCABULARY;
        scale.data = (const uint8_t *)scales[i];
        scale.size = sizeof scales[i];
        list[i == 0 ? count + 2 : 0] = values;
        list[i == 0 ? 2 : 1] = scale;
    }
    memcpy(list + 3, tensors + 1, (count - 1) * sizeof *list);
    expect(f, list, count + 3, FM_OK, "");
    expect_floats(f, FM_OK, "", integers[0], scales[0]);
    scales[1][4] = 1;
    expect(f, list, count + 3, FM_E_UNSUPPORTED, "row 4 of the tensor vocab_projector.weight differs");
    expect_floats(f, FM_E_UNSUPPORTED, "row 4 of the tensor", NULL, NULL);
    scales[1][4] = scales[0][4];
    integers[1][9 * HIDDEN + 3] ^= 2;
    expect(f, list, count + 3, FM_E_UNSUPPORTED, "row 9 of the tensor vocab_projector.weight differs");
    expect_floats(f, FM_E_UNSUPPORTED, "row 9 of the tensor", NULL, NULL);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keeps_f32),
        TEST(rounds_to_16_bits),
        TEST(gives_halves_back),
        cmocka_unit_test(converts_every_half),
        cmocka_unit_test(converts_every_bf16),
        TEST(refuses_16_bit_overflow),
        TEST(quantises),
        cmocka_unit_test(searches_the_scale),
        TEST(converts_on_a_pool),
        TEST(refuses_to_save_nan),
        TEST(refuses_names_and_shapes),
        TEST(refuses_nan),
        TEST(reads_unaligned),
        TEST(refuses_other_quantisation),
        TEST(checks_the_projector),
        TEST(checks_the_projector_of_int8),
        TEST(streams_every_type),
        TEST(converts_streams),
        TEST(converts_streams_with_a_copy),
        TEST(refuses_what_a_type_cannot_hold),
        TEST(refuses_streams_of_another_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
