/* weights.c - a model's values in memory, from a safetensors file that stays there: how each stored type becomes f32.
 * Which tensors they are is in sources.c, the format itself in safetensors.c, the number types in convert.c. A file
 * that comes in parts and does not stay is in stream.c. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/convert.h"
#include "model/sources.h"

static bool can_point_into(const fm_stored_tensor *tensor)
{
    return tensor->type == FM_STORED_F32 && (uintptr_t)tensor->data % sizeof(float) == 0;
}

/* Floats of `converted` that a parameter needs: its values, or its scales. */
static size_t room_for(size_t parameter, const fm_parameter *p, const fm_source *from)
{
    if (can_point_into(from->tensor)) return 0;
    return fm_padded(fm_stays_int8(parameter, from) ? p->rows : (size_t)p->rows * p->cols);
}

/* Rows [first, first + rows) of a tensor as f32. */
static fm_status convert_rows(const fm_loader *l, const fm_source *from, size_t first, size_t rows, size_t cols,
                              float *to)
{
    const fm_stored_tensor *tensor = from->tensor;
    if (!fm_decode(to, tensor->data + first * cols * fm_stored_size(tensor->type), tensor->type, rows * cols))
        return fm_not_finite(l, tensor->name);
    if (!from->scale) return FM_OK;
    for (size_t row = 0; row < rows; row++) {
        float scale;
        memcpy(&scale, from->scale->data + (first + row) * sizeof scale, sizeof scale);
        for (size_t col = 0; col < cols; col++) to[row * cols + col] *= scale;
    }
    return fm_all_finite(to, rows * cols) ? FM_OK : fm_not_finite(l, from->scale->name);
}

/* Takes over the scales of an int8 matrix, if none of its values is too large for a float. */
static fm_status take_int8(const fm_loader *l, const fm_source *from, size_t rows, size_t cols, float *scales,
                           fm_int8_matrix *to)
{
    memcpy(scales, from->scale->data, rows * sizeof *scales);
    *to = (fm_int8_matrix){(const int8_t *)(const void *)from->tensor->data, scales};
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; scales[row] > FLT_MAX / 128 && col < cols; col++)
            if (isinf((float)to->values[row * cols + col] * scales[row])) return fm_not_finite(l, from->scale->name);
    return FM_OK;
}

/* Points into the file where possible; `converted` has room for everything else. */
static fm_status fill_values(const fm_loader *l, const fm_parameters *parameters, const fm_source *sources,
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
            if (!fm_all_finite(weights->values[i], rows * cols)) status = fm_not_finite(l, tensor->name);
        } else if (fm_stays_int8(i, &sources[i])) {
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
static fm_status check_projector(const fm_loader *l, const fm_parameter *word, const fm_source *words,
                                 const fm_source *projector)
{
    if (!projector->tensor) return FM_OK;
    size_t cols = word->cols;
    float *row = fm_alloc(cols, 2 * sizeof *row);
    if (!row) return fm_fail_memory(l->err, cols * 2 * sizeof *row, "a row of weights");
    fm_status status = FM_OK;
    for (size_t i = 0; i < word->rows && !status; i++) {
        status = convert_rows(l, projector, i, 1, cols, row);
        if (!status) status = convert_rows(l, words, i, 1, cols, row + cols);
        if (!status && memcmp(row, row + cols, cols * sizeof *row) != 0) status = fm_not_tied(l, i, word->name);
    }
    fm_free(row);
    return status;
}

static fm_status check_scales(const fm_loader *l, const fm_source *from)
{
    return fm_check_scales(l, from->scale->name, from->scale->data, from->scale->size / sizeof(float));
}

static fm_status load_all(const fm_loader *l, const fm_parameters *parameters, fm_source *sources, fm_weights *weights)
{
    fm_source projector = {0};
    fm_status status = fm_sources_find(l, parameters, sources, &projector);
    if (!status && projector.scale) status = check_scales(l, &projector);
    for (size_t i = 0; i < parameters->count && !status; i++)
        if (sources[i].scale) status = check_scales(l, &sources[i]);
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
    fm_loader l = {file, name, err};
    fm_source *sources = calloc(parameters->count, sizeof *sources);
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
        if (!weights->values[i]) elements += fm_padded((size_t)parameters->list[i].rows * parameters->list[i].cols);
    if (elements == 0) return FM_OK;
    float *to = weights->floats = fm_alloc(elements, sizeof *to);
    if (!to) return fm_fail_memory(err, elements * sizeof *to, "the weights as f32");
    for (size_t i = 0; i < parameters->count; i++) {
        if (weights->values[i]) continue;
        const fm_parameter *p = &parameters->list[i];
        const fm_int8_matrix *from = &weights->int8[i];
        size_t cols = p->cols, count = p->rows * cols;
        weights->values[i] = to;
        const int8_t *integers = from->values;
        fm_type type = FM_I8;
        if (weights->holder) { /* integers into the last quarter, of which floats become from the first on */
            type = weights->held[i].type;
            void *rows = type == FM_I8 ? (int8_t *)to + 3 * count : (void *)to;
            fm_weights_take(weights, i, rows);
            integers = rows;
        }
        for (size_t j = 0; j < count && type == FM_I8; j++) to[j] = (float)integers[j] * from->scales[j / cols];
        to += fm_padded(count);
    }
    return FM_OK;
}

void fm_weights_drop_floats(fm_weights *weights, const fm_parameters *parameters)
{
    for (size_t i = 0; i < parameters->count; i++)
        if (weights->int8[i].values || (weights->holder && weights->held[i].buffer)) weights->values[i] = NULL;
    fm_free(weights->floats);
    weights->floats = NULL;
}

void fm_weights_take(const fm_weights *weights, size_t parameter, void *to)
{
    const fm_tensor *held = &weights->held[parameter];
    size_t size = held->cols * (held->type == FM_I8 ? sizeof(int8_t) : sizeof(float));
    for (uint32_t row = 0; row < held->rows; row++)
        weights->holder->ops->take(weights->holder, held->buffer, row, (uint8_t *)to + row * size);
}

fm_status fm_weights_halves(const fm_weights *weights, const fm_parameters *parameters, size_t parameter,
                            uint16_t **halves, fm_error *err)
{
    const fm_parameter *p = &parameters->list[parameter];
    const float *values = weights->values[parameter];
    size_t cols = p->cols, count = p->rows * cols;
    uint16_t *to = *halves = fm_alloc(count, sizeof *to);
    float *row = fm_alloc(cols, sizeof *row), *again = fm_alloc(cols, sizeof *again);
    bool enough = to && row && again, exact = true;
    for (uint32_t i = 0; i < p->rows && enough && exact; i++, to += cols) {
        const float *from = values ? values + i * cols : row;
        if (!values) weights->holder->ops->take(weights->holder, weights->held[parameter].buffer, i, row);
        exact = fm_encode16(to, from, FM_STORED_F16, cols) && fm_decode(again, (uint8_t *)to, FM_STORED_F16, cols) &&
                memcmp(again, from, cols * sizeof *from) == 0;
    }
    fm_free(row);
    fm_free(again);
    if (!enough || !exact) {
        fm_free(*halves);
        *halves = NULL;
    }
    return enough ? FM_OK : fm_fail_memory(err, count * sizeof *to, "a matrix for another device");
}

void fm_weights_free(fm_weights *weights)
{
    for (size_t i = 0; i < weights->count; i++)
        if (weights->held[i].buffer) weights->holder->ops->release(weights->holder, weights->held[i].buffer);
    free(weights->held);
    free(weights->values);
    free(weights->int8);
    fm_free(weights->converted);
    fm_free(weights->floats);
    fm_safetensors_close(weights->file);
    *weights = (fm_weights){0};
}
