/* save.c - a model's values as a safetensors file: F32, F16 or BF16 throughout, or I8 matrices with their scales. The
 * format itself is in safetensors.c, the number types are in convert.c. */
#include "model/convert.h"
#include "model/sources.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TASK_ROWS 32    /* of a matrix that one thread quantises at a time */
#define BLOCK_ROWS 4096 /* between two calls of the progress callback */

/* The tensors of a file that is about to be written, and the memory that holds what is not the caller's. */
typedef struct saver {
    const char *path;
    fm_stored_type type;
    fm_stored_tensor *tensors;
    size_t count;
    fm_scale_name *scale_names;
    float *scales;
    uint8_t *converted;
    size_t used; /* bytes of converted */
    fm_pool *pool;
    fm_progress progress; /* counts values */
    void *context;
    uint64_t done, total;
} saver;

static void add_tensor(saver *s, const char *name, fm_stored_type type, const fm_parameter *p, uint32_t rank,
                       const void *data, size_t size)
{
    fm_stored_tensor *tensor = &s->tensors[s->count++];
    *tensor = (fm_stored_tensor){.name = name, .type = type, .rank = rank, .data = data, .size = size};
    tensor->shape[0] = p->vector ? p->cols : p->rows;
    if (rank == 2) tensor->shape[1] = p->cols;
}

/* Adds a parameter as F32, F16 or BF16. */
static fm_status add_plain(saver *s, const fm_parameter *p, const float *values, fm_stored_type type, fm_error *err)
{
    size_t elements = (size_t)p->rows * p->cols;
    uint32_t rank = p->vector ? 1 : 2;
    if (type == FM_STORED_F32) {
        add_tensor(s, p->name, type, p, rank, values, elements * sizeof *values);
        return FM_OK;
    }
    uint8_t *to = s->converted + s->used;
    if (!fm_encode16((uint16_t *)(void *)to, values, type, elements))
        return fm_fail(err, FM_E_LIMIT,
                       "%s cannot be written: the tensor %s holds a value too large for %s; store it as F32.", s->path,
                       p->name, fm_stored_names[type]);
    s->used += elements * 2;
    add_tensor(s, p->name, type, p, rank, to, elements * 2);
    return FM_OK;
}

/* Rows of a matrix that the pool quantises. */
typedef struct row_work {
    const float *values;
    uint8_t *to;
    float *scales;
    size_t first, last, cols;
} row_work;

static void quantise_task(void *context, size_t index, int worker)
{
    (void)worker;
    const row_work *work = context;
    size_t row = work->first + index * TASK_ROWS, end = row + TASK_ROWS < work->last ? row + TASK_ROWS : work->last;
    for (; row < end; row++)
        work->scales[row] = fm_quantise_row((int8_t *)(void *)(work->to + row * work->cols),
                                            work->values + row * work->cols, work->cols);
}

/* Counts converted values; the caller's wish to stop becomes an error. */
static fm_status tell(saver *s, uint64_t values, fm_error *err)
{
    s->done += values;
    if (!s->progress || s->progress(s->context, s->done, s->total)) return FM_OK;
    return fm_fail(err, FM_E_ABORTED, "Stopped; %s was not written.", s->path);
}

/* Quantises a matrix; `scales` has room for one a row. */
static fm_status add_quantised(saver *s, const fm_parameter *p, const float *values, float *scales, fm_error *err)
{
    row_work work = {.values = values, .to = s->converted + s->used, .scales = scales, .cols = p->cols};
    size_t bytes = (size_t)p->rows * p->cols;
    s->used += bytes;
    add_tensor(s, p->name, FM_STORED_I8, p, 2, work.to, bytes);
    fm_status status = FM_OK;
    for (; work.first < p->rows && !status; work.first = work.last) {
        work.last = p->rows - work.first > BLOCK_ROWS ? work.first + BLOCK_ROWS : p->rows;
        fm_pool_run(s->pool, (work.last - work.first + TASK_ROWS - 1) / TASK_ROWS, quantise_task, &work);
        status = tell(s, (work.last - work.first) * work.cols, err);
    }
    return status;
}

/* Everything as one type. */
static fm_status collect_plain(saver *s, const fm_parameters *parameters, const float *const *values, fm_error *err)
{
    for (size_t i = 0; i < parameters->count; i++) {
        const fm_parameter *p = &parameters->list[i];
        fm_status status = add_plain(s, p, values[i], s->type, err);
        if (!status) status = tell(s, (uint64_t)p->rows * p->cols, err);
        if (status) return status;
    }
    return FM_OK;
}

/* F32 first and I8 after it, so that every F32 tensor is aligned and can be mapped. */
static fm_status collect_quantised(saver *s, const fm_parameters *parameters, const float *const *values, fm_error *err)
{
    float *scales = s->scales;
    for (size_t i = 0; i < parameters->count; i++) {
        const fm_parameter *p = &parameters->list[i];
        if (p->vector) {
            fm_status status = add_plain(s, p, values[i], FM_STORED_F32, err);
            if (!status) status = tell(s, p->cols, err);
            if (status) return status;
            continue;
        }
        s->scale_names[i] = fm_scale_of(p->name);
        add_tensor(s, s->scale_names[i].text, FM_STORED_F32, p, 1, scales, p->rows * sizeof *scales);
        scales += p->rows;
    }
    scales = s->scales;
    for (size_t i = 0; i < parameters->count; i++) {
        const fm_parameter *p = &parameters->list[i];
        if (p->vector) continue;
        fm_status status = add_quantised(s, p, values[i], scales, err);
        if (status) return status;
        scales += p->rows;
    }
    return FM_OK;
}

static fm_status check_values(const char *path, const fm_parameters *parameters, const float *const *values,
                              fm_error *err)
{
    for (size_t i = 0; i < parameters->count; i++) {
        const fm_parameter *p = &parameters->list[i];
        if (!fm_all_finite(values[i], (size_t)p->rows * p->cols))
            return fm_fail(err, FM_E_FORMAT, "%s cannot be written: the tensor %s holds NaN or infinity.", path,
                           p->name);
    }
    return FM_OK;
}

/* Gets the memory for what has to be converted; parameters.c has made sure that four times the elements fit. */
static fm_status prepare(saver *s, const fm_parameters *parameters, fm_error *err)
{
    size_t rows = 0, bytes = 0;
    for (size_t i = 0; i < parameters->count; i++) {
        const fm_parameter *p = &parameters->list[i];
        s->total += (uint64_t)p->rows * p->cols;
        if (s->type == FM_STORED_I8 && !p->vector) {
            rows += p->rows;
            bytes += (size_t)p->rows * p->cols;
        }
        if (s->type == FM_STORED_F16 || s->type == FM_STORED_BF16) bytes += (size_t)p->rows * p->cols * 2;
    }
    s->tensors = calloc(parameters->count, 2 * sizeof *s->tensors);
    s->scale_names = calloc(parameters->count, sizeof *s->scale_names);
    s->scales = fm_alloc(rows, sizeof *s->scales);
    s->converted = fm_alloc(bytes, 1);
    if (!s->tensors || !s->scale_names || !s->scales || !s->converted)
        return fm_fail_memory(err, bytes, "the weights in the form of the file");
    return FM_OK;
}

static const fm_stored_note *note_of(fm_stored_type type)
{
    static const fm_stored_note plain = {"format", "pt"}; /* transformers asks for it */
    static const fm_stored_note quantised = {FM_QUANTISATION_KEY, FM_QUANTISATION};
    return type == FM_STORED_I8 ? &quantised : &plain;
}

/* Everything up to the writing; end() frees what it leaves, whatever the result. */
static fm_status begin(saver *s, const fm_parameters *parameters, const float *const *values, fm_error *err)
{
    fm_status status = check_values(s->path, parameters, values, err);
    if (!status) status = prepare(s, parameters, err);
    if (!status)
        status = s->type == FM_STORED_I8 ? collect_quantised(s, parameters, values, err)
                                         : collect_plain(s, parameters, values, err);
    return status;
}

static void end(saver *s)
{
    fm_free(s->converted);
    fm_free(s->scales);
    free(s->scale_names);
    free(s->tensors);
}

fm_status fm_weights_convert(const char *path, const fm_parameters *parameters, const float *const *values,
                             fm_stored_type type, fm_pool *pool, fm_progress progress, void *context, fm_error *err)
{
    saver s = {.path = path, .type = type, .pool = pool, .progress = progress, .context = context};
    fm_status status = begin(&s, parameters, values, err);
    if (!status) status = fm_safetensors_write(path, s.tensors, s.count, note_of(type), 1, err);
    end(&s);
    return status;
}

fm_status fm_weights_save(const char *path, const fm_parameters *parameters, const float *const *values,
                          fm_stored_type type, fm_error *err)
{
    return fm_weights_convert(path, parameters, values, type, NULL, NULL, NULL, err);
}

fm_status fm_weights_build(uint8_t **data, size_t *size, const fm_parameters *parameters, const float *const *values,
                           fm_stored_type type, fm_error *err)
{
    *data = NULL;
    *size = 0;
    saver s = {.path = "A model's file", .type = type};
    fm_status status = begin(&s, parameters, values, err);
    if (!status) status = fm_safetensors_build(data, size, s.tensors, s.count, note_of(type), 1, err);
    end(&s);
    return status;
}
