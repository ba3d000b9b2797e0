/* sources.c - which tensors a model's file must hold, under which names, and in which shapes and types. */
#include "model/sources.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/convert.h"

#define PROJECTOR "vocab_projector.weight"

const char *const fm_stored_names[] = {
    [FM_STORED_F32] = "F32", [FM_STORED_F16] = "F16", [FM_STORED_BF16] = "BF16", [FM_STORED_I8] = "I8"};

size_t fm_stored_size(fm_stored_type type)
{
    return type == FM_STORED_F32 ? 4 : type == FM_STORED_I8 ? 1 : 2;
}

fm_scale_name fm_scale_of(const char *tensor)
{
    fm_scale_name name;
    snprintf(name.text, sizeof name.text, "%.*s%s", (int)(sizeof name.text - sizeof FM_SCALE), tensor, FM_SCALE);
    return name;
}

bool fm_stays_int8(size_t parameter, const fm_source *from)
{
    return from->scale && parameter != FM_P_POSITION;
}

size_t fm_padded(size_t elements)
{
    return (elements + 15) & ~(size_t)15;
}

/* ---- shapes and names ---- */

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

static fm_status check_shape(const fm_loader *l, const fm_stored_tensor *tensor, const uint64_t *shape, uint32_t rank)
{
    if (tensor->rank == rank && memcmp(tensor->shape, shape, rank * sizeof *shape) == 0) return FM_OK;
    shape_text found = describe_shape(tensor->shape, tensor->rank), expected = describe_shape(shape, rank);
    return fm_fail(l->err, FM_E_FORMAT, "%s: the tensor %.200s has the shape %s; config.json means %s.", l->name,
                   tensor->name, found.text, expected.text);
}

/* The scale of each row of an I8 tensor. */
static fm_status find_scale(const fm_loader *l, const fm_stored_tensor *tensor, const fm_stored_tensor **out)
{
    fm_scale_name name = fm_scale_of(tensor->name);
    const fm_stored_tensor *scale = fm_safetensors_find(l->file, name.text);
    if (!scale)
        return fm_fail(l->err, FM_E_FORMAT, "%s: the tensor %s is I8, but the tensor %s with its scales is missing.",
                       l->name, tensor->name, name.text);
    if (scale->type != FM_STORED_F32)
        return fm_fail(l->err, FM_E_FORMAT, "%s: the tensor %s has the dtype %s; expected F32.", l->name, name.text,
                       fm_stored_names[scale->type]);
    *out = scale;
    return check_shape(l, scale, &tensor->shape[0], 1);
}

static fm_status find_source(const fm_loader *l, const char *name, const fm_parameter *p, fm_source *out)
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
static bool is_known(const fm_parameters *parameters, const fm_source *sources, const fm_source *projector,
                     const fm_stored_tensor *tensor)
{
    if (tensor == projector->tensor || tensor == projector->scale) return true;
    for (size_t i = 0; i < parameters->count; i++)
        if (tensor == sources[i].tensor || tensor == sources[i].scale) return true;
    return false;
}

static fm_status refuse_unknown(const fm_loader *l, const fm_parameters *parameters, const fm_source *sources,
                                const fm_source *projector)
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

fm_status fm_sources_find(const fm_loader *l, const fm_parameters *parameters, fm_source *sources, fm_source *projector)
{
    const char *quantisation = fm_safetensors_metadata(l->file, FM_QUANTISATION_KEY);
    if (quantisation && strcmp(quantisation, FM_QUANTISATION) != 0)
        return fm_fail(l->err, FM_E_UNSUPPORTED, "%s has the metadata %s = \"%.80s\"; only \"%s\" is supported.",
                       l->name, FM_QUANTISATION_KEY, quantisation, FM_QUANTISATION);
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

/* ---- values ---- */

fm_status fm_not_finite(const fm_loader *l, const char *tensor)
{
    return fm_fail(l->err, FM_E_FORMAT, "%s: the tensor %s holds NaN or infinity; expected finite numbers.", l->name,
                   tensor);
}

fm_status fm_not_tied(const fm_loader *l, size_t row, const char *word)
{
    return fm_fail(l->err, FM_E_UNSUPPORTED,
                   "%s: row %zu of the tensor %s differs from %s; only models whose output matrix is the word "
                   "embeddings are supported.",
                   l->name, row, PROJECTOR, word);
}

fm_status fm_check_scales(const fm_loader *l, const char *tensor, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float value;
        if (!fm_decode(&value, data + i * sizeof value, FM_STORED_F32, 1)) return fm_not_finite(l, tensor);
        if (value < 0.0f)
            return fm_fail(l->err, FM_E_FORMAT, "%s: the tensor %s holds the scale %g; expected none below 0.", l->name,
                           tensor, (double)value);
    }
    return FM_OK;
}
