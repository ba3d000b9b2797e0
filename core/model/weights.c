/* weights.c - a model's values between safetensors files and memory: which tensors a file must hold, and how each
 * stored type becomes f32 and back. The format itself is in safetensors.c, the number types are in convert.c. */
#include "model/convert.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROJECTOR "vocab_projector.weight"
#define SCALE ".scale"
#define QUANTISATION_KEY "fillmask.quantization"
#define QUANTISATION "int8-row-symmetric"

#define TASK_ROWS 32    /* of a matrix that one thread quantises at a time */
#define BLOCK_ROWS 4096 /* between two calls of the progress callback */

static const char *const type_names[] = {
    [FM_STORED_F32] = "F32", [FM_STORED_F16] = "F16", [FM_STORED_BF16] = "BF16", [FM_STORED_I8] = "I8"};

typedef struct scale_name {
    char text[sizeof((fm_parameter *)NULL)->name + sizeof SCALE];
} scale_name;

static scale_name scale_of(const char *tensor)
{
    scale_name name;
    snprintf(name.text, sizeof name.text, "%.*s%s", (int)(sizeof name.text - sizeof SCALE), tensor, SCALE);
    return name;
}

/* ---- loading ---- */

typedef struct loader {
    const fm_safetensors *file;
    const char *name;
    fm_error *err;
} loader;

/* Where a parameter's values are in the file. */
typedef struct source {
    const fm_stored_tensor *tensor;
    const fm_stored_tensor *scale; /* of I8 only */
} source;

typedef struct shape_text {
    char text[FM_MOST_DIMENSIONS * 22 + 3];
} shape_text;

static shape_text describe_shape(const uint64_t *shape, uint32_t rank)
{
    shape_text out = {"("};
    size_t at = 1;
    for (uint32_t i = 0; i < rank; i++)
        at += (size_t)snprintf(out.text + at, sizeof out.text - at, "%s%" PRIu64, i ? ", " : "", shape[i]);
    snprintf(out.text + at, sizeof out.text - at, ")");
    return out;
}

static fm_status check_shape(const loader *l, const fm_stored_tensor *tensor, const uint64_t *shape, uint32_t rank)
{
    if (tensor->rank == rank && memcmp(tensor->shape, shape, rank * sizeof *shape) == 0) return FM_OK;
    shape_text found = describe_shape(tensor->shape, tensor->rank), expected = describe_shape(shape, rank);
    return fm_fail(l->err, FM_E_FORMAT, "%s: the tensor %.200s has the shape %s; config.json means %s.", l->name,
                   tensor->name, found.text, expected.text);
}

static fm_status not_finite(const loader *l, const char *tensor)
{
    return fm_fail(l->err, FM_E_FORMAT, "%s: the tensor %s holds NaN or infinity; expected finite numbers.", l->name,
                   tensor);
}

/* The scale of each row of an I8 tensor. */
static fm_status find_scale(const loader *l, const fm_stored_tensor *tensor, const fm_stored_tensor **out)
{
    scale_name name = scale_of(tensor->name);
    const fm_stored_tensor *scale = fm_safetensors_find(l->file, name.text);
    if (!scale)
        return fm_fail(l->err, FM_E_FORMAT, "%s: the tensor %s is I8, but the tensor %s with its scales is missing.",
                       l->name, tensor->name, name.text);
    if (scale->type != FM_STORED_F32)
        return fm_fail(l->err, FM_E_FORMAT, "%s: the tensor %s has the dtype %s; expected F32.", l->name, name.text,
                       type_names[scale->type]);
    fm_status status = check_shape(l, scale, &tensor->shape[0], 1);
    if (status) return status;
    for (size_t i = 0; i < scale->size / sizeof(float); i++) {
        float value;
        if (!fm_decode(&value, scale->data + i * sizeof value, FM_STORED_F32, 1)) return not_finite(l, name.text);
        if (value < 0.0f)
            return fm_fail(l->err, FM_E_FORMAT, "%s: the tensor %s holds the scale %g; expected none below 0.", l->name,
                           name.text, (double)value);
    }
    *out = scale;
    return FM_OK;
}

static fm_status find_source(const loader *l, const char *name, const fm_parameter *p, source *out)
{
    const fm_stored_tensor *tensor = fm_safetensors_find(l->file, name);
    if (!tensor)
        return fm_fail(l->err, FM_E_FORMAT,
                       "%s: the tensor %s is missing; expected all the tensors of a DistilBertForMaskedLM with the "
                       "shape in config.json.",
                       l->name, name);
    uint64_t shape[2] = {p->vector ? p->cols : p->rows, p->cols};
    fm_status status = check_shape(l, tensor, shape, p->vector ? 1 : 2);
    if (status) return status;
    out->tensor = tensor;
    if (tensor->type != FM_STORED_I8) return FM_OK;
    if (p->vector)
        return fm_fail(l->err, FM_E_FORMAT,
                       "%s: the tensor %s has the dtype I8; expected F32, F16 or BF16 for a vector.", l->name, name);
    return find_scale(l, tensor, &out->scale);
}

/* Whether the model knows a tensor of this name. */
static bool is_known(const fm_parameters *parameters, const source *sources, const source *projector,
                     const fm_stored_tensor *tensor)
{
    if (tensor == projector->tensor || tensor == projector->scale) return true;
    for (size_t i = 0; i < parameters->count; i++)
        if (tensor == sources[i].tensor || tensor == sources[i].scale) return true;
    return false;
}

static fm_status refuse_unknown(const loader *l, const fm_parameters *parameters, const source *sources,
                                const source *projector)
{
    size_t known = (size_t)(projector->tensor != NULL) + (projector->scale != NULL);
    for (size_t i = 0; i < parameters->count; i++) known += 1 + (size_t)(sources[i].scale != NULL);
    if (known == fm_safetensors_count(l->file)) return FM_OK;
    /* Ends at the first unknown one, so the search is never longer than the model is. */
    size_t at = 0;
    while (is_known(parameters, sources, projector, fm_safetensors_at(l->file, at))) at++;
    return fm_fail(l->err, FM_E_FORMAT,
                   "%s: the tensor %.200s is unknown; expected only those of a DistilBertForMaskedLM with the shape in "
                   "config.json.",
                   l->name, fm_safetensors_at(l->file, at)->name);
}

/* Finds every tensor and refuses what is missing, of another shape, or too much. */
static fm_status find_all(const loader *l, const fm_parameters *parameters, source *sources, source *projector)
{
    const char *quantisation = fm_safetensors_metadata(l->file, QUANTISATION_KEY);
    if (quantisation && strcmp(quantisation, QUANTISATION) != 0)
        return fm_fail(l->err, FM_E_UNSUPPORTED, "%s has the metadata %s = \"%.80s\"; only \"%s\" is supported.",
                       l->name, QUANTISATION_KEY, quantisation, QUANTISATION);
    for (size_t i = 0; i < parameters->count; i++) {
        fm_status status = find_source(l, parameters->list[i].name, &parameters->list[i], &sources[i]);
        if (status) return status;
    }
    if (fm_safetensors_find(l->file, PROJECTOR)) {
        fm_status status = find_source(l, PROJECTOR, &parameters->list[FM_P_WORD], projector);
        if (status) return status;
    }
    return refuse_unknown(l, parameters, sources, projector);
}

static bool can_point_into(const fm_stored_tensor *tensor)
{
    return tensor->type == FM_STORED_F32 && (uintptr_t)tensor->data % sizeof(float) == 0;
}

/* Whether a parameter stays int8. The position embeddings are too small to be worth it. */
static bool stays_int8(size_t parameter, const source *from)
{
    return from->scale && parameter != FM_P_POSITION;
}

static size_t padded(size_t elements)
{
    return (elements + 15) & ~(size_t)15;
}

/* Floats of `converted` that a parameter needs: its values, or its scales. */
static size_t room_for(size_t parameter, const fm_parameter *p, const source *from)
{
    if (can_point_into(from->tensor)) return 0;
    return padded(stays_int8(parameter, from) ? p->rows : (size_t)p->rows * p->cols);
}

/* Rows [first, first + rows) of a tensor as f32. */
static fm_status convert_rows(const loader *l, const source *from, size_t first, size_t rows, size_t cols, float *to)
{
    const fm_stored_tensor *tensor = from->tensor;
    size_t element = tensor->type == FM_STORED_F32 ? 4 : tensor->type == FM_STORED_I8 ? 1 : 2;
    if (!fm_decode(to, tensor->data + first * cols * element, tensor->type, rows * cols))
        return not_finite(l, tensor->name);
    if (!from->scale) return FM_OK;
    for (size_t row = 0; row < rows; row++) {
        float scale;
        memcpy(&scale, from->scale->data + (first + row) * sizeof scale, sizeof scale);
        for (size_t col = 0; col < cols; col++) to[row * cols + col] *= scale;
    }
    return fm_all_finite(to, rows * cols) ? FM_OK : not_finite(l, from->scale->name);
}

/* Takes over the scales of an int8 matrix, if none of its values is too large for a float. */
static fm_status take_int8(const loader *l, const source *from, size_t rows, size_t cols, float *scales,
                           fm_int8_matrix *to)
{
    memcpy(scales, from->scale->data, rows * sizeof *scales);
    *to = (fm_int8_matrix){(const int8_t *)(const void *)from->tensor->data, scales};
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; scales[row] > FLT_MAX / 128 && col < cols; col++)
            if (isinf((float)to->values[row * cols + col] * scales[row])) return not_finite(l, from->scale->name);
    return FM_OK;
}

/* Points into the file where possible; `converted` has room for everything else. */
static fm_status fill_values(const loader *l, const fm_parameters *parameters, const source *sources,
                             fm_weights *weights)
{
    float *to = weights->converted;
    for (size_t i = 0; i < parameters->count; i++) {
        const fm_parameter *p = &parameters->list[i];
        const fm_stored_tensor *tensor = sources[i].tensor;
        size_t rows = p->rows, cols = p->cols;
        fm_status status = FM_OK;
        if (can_point_into(tensor)) {
            weights->values[i] = (const float *)(const void *)tensor->data;
            if (!fm_all_finite(weights->values[i], rows * cols)) status = not_finite(l, tensor->name);
        } else if (stays_int8(i, &sources[i])) {
            status = take_int8(l, &sources[i], rows, cols, to, &weights->int8[i]);
        } else {
            status = convert_rows(l, &sources[i], 0, rows, cols, to);
            weights->values[i] = to;
        }
        if (status) return status;
        to += room_for(i, p, &sources[i]);
    }
    return FM_OK;
}

/* The tied matrix may be in the file a second time, but then it must say the same, bit for bit. */
static fm_status check_projector(const loader *l, const fm_parameter *word, const source *words,
                                 const source *projector)
{
    if (!projector->tensor) return FM_OK;
    size_t cols = word->cols;
    float *row = fm_alloc(cols, 2 * sizeof *row);
    if (!row) return fm_fail_memory(l->err, cols * 2 * sizeof *row, "a row of weights");
    fm_status status = FM_OK;
    for (size_t i = 0; i < word->rows && !status; i++) {
        status = convert_rows(l, projector, i, 1, cols, row);
        if (!status) status = convert_rows(l, words, i, 1, cols, row + cols);
        if (!status && memcmp(row, row + cols, cols * sizeof *row) != 0)
            status =
                fm_fail(l->err, FM_E_UNSUPPORTED,
                        "%s: row %zu of the tensor %s differs from %s; only models whose output matrix is the word "
                        "embeddings are supported.",
                        l->name, i, PROJECTOR, word->name);
    }
    fm_free(row);
    return status;
}

static fm_status load_all(const loader *l, const fm_parameters *parameters, source *sources, fm_weights *weights)
{
    source projector = {0};
    fm_status status = find_all(l, parameters, sources, &projector);
    if (status) return status;
    /* The list's own elements with their padding fit size_t bytes (parameters.c), so this part of them does. */
    size_t elements = 0;
    weights->stored = sources[FM_P_WORD].tensor->type;
    for (size_t i = 0; i < parameters->count; i++) {
        elements += room_for(i, &parameters->list[i], &sources[i]);
        if (sources[i].scale) weights->stored = FM_STORED_I8;
    }
    weights->values = calloc(parameters->count, sizeof *weights->values);
    weights->int8 = calloc(parameters->count, sizeof *weights->int8);
    weights->converted = fm_alloc(elements, sizeof *weights->converted);
    if (!weights->values || !weights->int8 || !weights->converted)
        return fm_fail_memory(l->err, elements * sizeof *weights->converted, "the weights");
    status = fill_values(l, parameters, sources, weights);
    return status ? status : check_projector(l, &parameters->list[FM_P_WORD], &sources[FM_P_WORD], &projector);
}

fm_status fm_weights_load(fm_weights *weights, const fm_parameters *parameters, fm_safetensors *file, const char *name,
                          fm_error *err)
{
    *weights = (fm_weights){.file = file};
    loader l = {file, name, err};
    source *sources = calloc(parameters->count, sizeof *sources);
    fm_status status = sources ? load_all(&l, parameters, sources, weights)
                               : fm_fail_memory(err, parameters->count * sizeof *sources, "the list of tensors");
    free(sources);
    if (status) fm_weights_free(weights);
    return status;
}

fm_status fm_weights_floats(fm_weights *weights, const fm_parameters *parameters, fm_error *err)
{
    size_t elements = 0;
    for (size_t i = 0; i < parameters->count; i++)
        if (!weights->values[i]) elements += padded((size_t)parameters->list[i].rows * parameters->list[i].cols);
    if (elements == 0) return FM_OK;
    float *to = weights->floats = fm_alloc(elements, sizeof *to);
    if (!to) return fm_fail_memory(err, elements * sizeof *to, "the weights as f32");
    for (size_t i = 0; i < parameters->count; i++) {
        if (weights->values[i]) continue;
        const fm_parameter *p = &parameters->list[i];
        const fm_int8_matrix *from = &weights->int8[i];
        size_t cols = p->cols, count = p->rows * cols;
        weights->values[i] = to;
        for (size_t j = 0; j < count; j++) to[j] = (float)from->values[j] * from->scales[j / cols];
        to += padded(count);
    }
    return FM_OK;
}

void fm_weights_drop_floats(fm_weights *weights, const fm_parameters *parameters)
{
    for (size_t i = 0; i < parameters->count; i++)
        if (weights->int8[i].values) weights->values[i] = NULL;
    fm_free(weights->floats);
    weights->floats = NULL;
}

void fm_weights_free(fm_weights *weights)
{
    free(weights->values);
    free(weights->int8);
    fm_free(weights->converted);
    fm_free(weights->floats);
    fm_safetensors_close(weights->file);
    *weights = (fm_weights){0};
}

/* ---- saving ---- */

/* The tensors of a file that is about to be written, and the memory that holds what is not the caller's. */
typedef struct saver {
    const char *path;
    fm_stored_type type;
    fm_stored_tensor *tensors;
    size_t count;
    scale_name *scale_names;
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
                       p->name, type_names[type]);
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
        s->scale_names[i] = scale_of(p->name);
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
    static const fm_stored_note quantised = {QUANTISATION_KEY, QUANTISATION};
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
