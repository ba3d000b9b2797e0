/* stream.c - a model's values from a safetensors file that comes in parts and does not stay. Matrices go row by row to
 * the backend that holds them, vectors and the position embeddings become f32; tensors may come in any order. Floats
 * are rounded to int8 as they come; at the end int8 becomes floats, and floats those of 16 bits, each row in its place.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/convert.h"
#include "model/sources.h"

/* What a tensor of the file is. */
typedef enum role { VALUES, SCALES, TIED, TIED_SCALES } role;

struct fm_weights_stream {
    fm_loader l;
    const fm_parameters *parameters;
    int type; /* that the values become */
    fm_weights weights;
    fm_safetensors *file; /* NULL until the header is there */
    fm_source *sources;
    fm_source projector; /* the second of the tied matrix and its copy, if there are both */
    uint8_t *head;
    size_t head_size, head_room;
    uint64_t received; /* bytes of tensors */

    /* the tensor that comes */
    size_t tensor, parameter;
    role role;
    size_t row, rows, row_size; /* rows of row_size bytes */
    uint8_t *part;              /* of a row that is not all there */
    size_t part_size;
    float *floats, *others; /* a row each */
    float **scales;         /* of each parameter whose tensor is I8 */
    float *later, *tied;    /* those that are needed at the end alone, and those of the tied matrix's copy */
};

fm_status fm_weights_stream_open(fm_weights_stream **stream, const fm_parameters *parameters, fm_backend *holder,
                                 int type, const char *name, fm_error *err)
{
    fm_weights_stream *s = *stream = calloc(1, sizeof *s);
    if (!s) return fm_fail_memory(err, sizeof *s, "the weights");
    s->l.name = name;
    s->parameters = parameters;
    s->type = type;
    s->weights.holder = holder;
    return FM_OK;
}

void fm_weights_stream_close(fm_weights_stream *s)
{
    if (!s) return;
    fm_weights_free(&s->weights);
    fm_safetensors_close(s->file);
    free(s->sources);
    free(s->head);
    fm_free(s->part);
    fm_free(s->floats);
    free(s->scales);
    fm_free(s->later);
    fm_free(s->tied);
    free(s);
}

/* ---- the header ---- */

static bool is_held(const fm_weights_stream *s, size_t parameter)
{
    return !s->parameters->list[parameter].vector && parameter != FM_P_POSITION;
}

static bool becomes_int8(const fm_weights_stream *s, size_t parameter)
{
    bool stays = s->type == FM_AS_STORED && s->sources[parameter].scale;
    return is_held(s, parameter) && (stays || s->type == FM_STORED_I8);
}

/* Floats of `converted` that a parameter needs: its values, or the scales of integers that are held. */
static size_t room_for(const fm_weights_stream *s, size_t i)
{
    const fm_parameter *p = &s->parameters->list[i];
    return fm_padded(!is_held(s, i) ? (size_t)p->rows * p->cols : becomes_int8(s, i) ? p->rows : 0);
}

/* Which of the tied matrix and its copy comes first is taken for the matrix. */
static fm_status order_tied(fm_weights_stream *s)
{
    fm_source *word = &s->sources[FM_P_WORD], former = *word;
    if (!s->projector.tensor) return FM_OK;
    if (!s->projector.scale != !word->scale)
        return fm_fail(s->l.err, FM_E_UNSUPPORTED, "%s: only one of the tensors %s and %s is I8; store both alike.",
                       s->l.name, s->projector.tensor->name, word->tensor->name);
    size_t at = 0;
    while (fm_safetensors_at(s->file, at) != word->tensor && fm_safetensors_at(s->file, at) != s->projector.tensor)
        at++;
    if (fm_safetensors_at(s->file, at) == word->tensor) return FM_OK;
    *word = s->projector;
    s->projector = former;
    return FM_OK;
}

/* Gets the memory for all that will come. */
static fm_status prepare(fm_weights_stream *s)
{
    const fm_parameters *parameters = s->parameters;
    fm_weights *w = &s->weights;
    size_t elements = 0, longest = 0, later = 0, words = parameters->list[FM_P_WORD].rows;
    for (size_t i = 0; i < parameters->count; i++) {
        const fm_parameter *p = &parameters->list[i];
        elements += room_for(s, i);
        longest = p->cols > longest ? p->cols : longest;
        longest = s->sources[i].scale && p->rows > longest ? p->rows : longest;
        if (s->sources[i].scale) w->stored = FM_STORED_I8;
        if (s->sources[i].scale && !becomes_int8(s, i)) later += p->rows;
    }
    w->values = calloc(parameters->count, sizeof *w->values);
    w->int8 = calloc(parameters->count, sizeof *w->int8);
    w->held = calloc(parameters->count, sizeof *w->held);
    w->converted = fm_alloc(elements, sizeof *w->converted);
    s->part = fm_alloc(longest, sizeof(float));
    s->floats = fm_alloc(2 * longest, sizeof *s->floats);
    s->scales = calloc(parameters->count, sizeof *s->scales);
    s->later = fm_alloc(later, sizeof *s->later);
    s->tied = fm_alloc(s->projector.scale ? words : 0, sizeof *s->tied);
    if (!w->values || !w->int8 || !w->held || !w->converted || !s->part || !s->floats || !s->scales || !s->later ||
        !s->tied)
        return fm_fail_memory(s->l.err, elements * sizeof *w->converted, "the weights");
    s->others = s->floats + longest;
    w->count = parameters->count;
    if (s->type != FM_AS_STORED) w->stored = (fm_stored_type)s->type;
    float *to = w->converted, *next = s->later;
    fm_status status = FM_OK;
    for (size_t i = 0; i < parameters->count && !status; i++) {
        const fm_parameter *p = &parameters->list[i];
        bool integers = becomes_int8(s, i);
        if (s->sources[i].scale) s->scales[i] = integers ? to : next;
        if (s->sources[i].scale && !integers) next += p->rows;
        if (!is_held(s, i)) w->values[i] = to;
        else {
            fm_tensor *held = &w->held[i];
            *held = (fm_tensor){0, integers ? FM_I8 : FM_F32, p->rows, p->cols, 0};
            if (integers) w->int8[i].scales = to;
            status = w->holder->ops->hold(w->holder, held->type, p->rows, p->cols, w->int8[i].scales, &held->buffer,
                                          s->l.err);
        }
        to += room_for(s, i);
    }
    return status;
}

static fm_status read_head(fm_weights_stream *s)
{
    fm_status status = fm_safetensors_from_head(&s->file, s->head, s->head_size, s->l.name, s->l.err);
    free(s->head);
    s->head = NULL;
    if (status) return status;
    s->l.file = s->file;
    s->sources = calloc(s->parameters->count, sizeof *s->sources);
    if (!s->sources) return fm_fail_memory(s->l.err, s->parameters->count * sizeof *s->sources, "the list of tensors");
    status = fm_sources_find(&s->l, s->parameters, s->sources, &s->projector);
    if (status) return status;
    s->weights.stored = s->sources[FM_P_WORD].tensor->type;
    status = order_tied(s);
    return status ? status : prepare(s);
}

/* Takes bytes of the header; *taken of them. Its memory grows with what comes, not with what the file says. */
static fm_status push_head(fm_weights_stream *s, const uint8_t *data, size_t size, size_t *taken)
{
    size_t all = 8;
    fm_status status = FM_OK;
    if (s->head_size >= 8) status = fm_safetensors_head(s->head, s->head_size, s->l.name, &all, s->l.err);
    if (status) return status;
    *taken = size < all - s->head_size ? size : all - s->head_size;
    if (s->head_size + *taken > s->head_room) {
        size_t room = (s->head_size + *taken) * 2;
        uint8_t *larger = realloc(s->head, room);
        if (!larger) return fm_fail_memory(s->l.err, room, "the header of the weights");
        s->head = larger;
        s->head_room = room;
    }
    memcpy(s->head + s->head_size, data, *taken);
    s->head_size += *taken;
    if (s->head_size < all) return FM_OK;
    if (all == 8) status = fm_safetensors_head(s->head, s->head_size, s->l.name, &all, s->l.err);
    return status || s->head_size < all ? status : read_head(s);
}

/* ---- tensors ---- */

/* Finds out what the next tensor of the file is; every one is known. */
static void begin_tensor(fm_weights_stream *s)
{
    const fm_stored_tensor *tensor = fm_safetensors_at(s->file, s->tensor);
    size_t i = 0;
    while (i < s->parameters->count && s->sources[i].tensor != tensor && s->sources[i].scale != tensor) i++;
    bool tied = i == s->parameters->count;
    if (tied) i = FM_P_WORD;
    const fm_source *from = tied ? &s->projector : &s->sources[i];
    const fm_parameter *p = &s->parameters->list[i];
    bool values = from->tensor == tensor;
    s->parameter = i;
    s->role = tied ? (values ? TIED : TIED_SCALES) : values ? VALUES : SCALES;
    s->row = 0;
    s->rows = values ? p->rows : 1;
    s->row_size = (values ? p->cols : p->rows) * fm_stored_size(tensor->type);
}

/* Puts floats that become int8; position embeddings become floats again. */
static void put_rounded(fm_weights_stream *s, size_t i, float *row)
{
    fm_weights *w = &s->weights;
    int8_t *integers = (int8_t *)s->others;
    size_t cols = s->parameters->list[i].cols;
    float scale = fm_quantise_row(integers, row, cols);
    if (is_held(s, i)) {
        ((float *)(uintptr_t)w->int8[i].scales)[s->row] = scale;
        w->holder->ops->put(w->holder, w->held[i].buffer, (uint32_t)s->row, integers);
    } else
        for (size_t k = 0; k < cols; k++) row[k] = (float)integers[k] * scale;
}

/* A row of the values; integers that become floats are multiplied at the end. */
static fm_status put_values(fm_weights_stream *s, const fm_stored_tensor *tensor, const uint8_t *row)
{
    fm_weights *w = &s->weights;
    size_t i = s->parameter, cols = s->parameters->list[i].cols;
    uint32_t number = (uint32_t)s->row;
    bool held = w->held[i].buffer, integers = tensor->type == FM_STORED_I8;
    if (integers && becomes_int8(s, i)) {
        w->holder->ops->put(w->holder, w->held[i].buffer, number, row);
        return FM_OK;
    }
    float *to = held ? s->floats : (float *)(uintptr_t)w->values[i] + s->row * cols;
    if (!fm_decode(to, row, tensor->type, cols)) return fm_not_finite(&s->l, tensor->name);
    if (s->type == FM_STORED_I8 && !s->parameters->list[i].vector && !integers) put_rounded(s, i, to);
    else if (held) w->holder->ops->put(w->holder, w->held[i].buffer, number, to);
    return FM_OK;
}

/* A row of the tied matrix's copy must be that of the matrix, bit for bit, or be rounded to the same. */
static fm_status compare_tied(fm_weights_stream *s, const fm_stored_tensor *tensor, const uint8_t *row)
{
    fm_weights *w = &s->weights;
    const fm_parameter *word = &s->parameters->list[FM_P_WORD];
    bool integers = becomes_int8(s, FM_P_WORD), as_stored = integers && tensor->type == FM_STORED_I8;
    w->holder->ops->take(w->holder, w->held[FM_P_WORD].buffer, (uint32_t)s->row, s->others);
    if (!as_stored && !fm_decode(s->floats, row, tensor->type, word->cols)) return fm_not_finite(&s->l, tensor->name);
    const void *copy = as_stored ? (const void *)row : s->floats;
    bool same = true;
    if (integers && !as_stored) {
        int8_t *rounded = (int8_t *)s->others + word->cols;
        same = fm_quantise_row(rounded, s->floats, word->cols) == w->int8[FM_P_WORD].scales[s->row];
        copy = rounded;
    }
    same = same && memcmp(copy, s->others, word->cols * (integers ? sizeof(int8_t) : sizeof(float))) == 0;
    return same ? FM_OK : fm_not_tied(&s->l, s->row, word->name);
}

static fm_status put_row(fm_weights_stream *s, const uint8_t *row)
{
    const fm_stored_tensor *tensor = fm_safetensors_at(s->file, s->tensor);
    if (s->role == VALUES) return put_values(s, tensor, row);
    if (s->role == TIED) return compare_tied(s, tensor, row);
    memcpy(s->role == TIED_SCALES ? s->tied : s->scales[s->parameter], row, s->row_size);
    return fm_check_scales(&s->l, tensor->name, row, s->row_size / sizeof(float));
}

static fm_status push_rows(fm_weights_stream *s, const uint8_t *data, size_t size)
{
    fm_status status = FM_OK;
    s->received += size;
    while (size > 0 && s->tensor < fm_safetensors_count(s->file) && !status) {
        if (s->row == s->rows) begin_tensor(s);
        size_t taken = s->row_size - s->part_size;
        if (s->part_size > 0 || size < taken) {
            taken = size < taken ? size : taken;
            memcpy(s->part + s->part_size, data, taken);
            s->part_size += taken;
            if (s->part_size == s->row_size) status = put_row(s, s->part);
        } else status = put_row(s, data);
        data += taken;
        size -= taken;
        if (s->part_size > 0 && s->part_size < s->row_size) continue;
        s->part_size = 0;
        if (++s->row == s->rows) s->tensor++;
    }
    return status;
}

fm_status fm_weights_stream_push(fm_weights_stream *s, const void *data, size_t size, fm_error *err)
{
    const uint8_t *from = data;
    fm_status status = FM_OK;
    s->l.err = err;
    for (size_t taken; size > 0 && !s->file && !status; from += taken, size -= taken) {
        taken = 0;
        status = push_head(s, from, size, &taken);
    }
    return status ? status : push_rows(s, from, size);
}

/* ---- the end ---- */

/* Whether a parameter's floats are yet to be rounded to 16 bits. */
static bool becomes_halves(const fm_weights_stream *s, size_t i)
{
    bool halves = s->type == FM_STORED_F16 || s->type == FM_STORED_BF16;
    return halves && s->sources[i].tensor->type != (fm_stored_type)s->type;
}

/* A row of floats as it is to be: integers times their scale, and rounded to 16 bits. */
static fm_status convert_row(fm_weights_stream *s, size_t i, size_t row, float *values)
{
    const fm_source *from = &s->sources[i];
    fm_stored_type type = (fm_stored_type)s->type;
    size_t cols = s->parameters->list[i].cols;
    for (size_t k = 0; from->scale && k < cols; k++) values[k] *= s->scales[i][row];
    if (from->scale && !fm_all_finite(values, cols)) return fm_not_finite(&s->l, from->scale->name);
    if (!becomes_halves(s, i)) return FM_OK;
    uint16_t *halves = (uint16_t *)(void *)s->others;
    if (!fm_encode16(halves, values, type, cols))
        return fm_fail(s->l.err, FM_E_LIMIT, "%s: the tensor %s holds a value too large for %s; take it as F32.",
                       s->l.name, from->tensor->name, fm_stored_names[type]);
    fm_decode(values, (const uint8_t *)halves, type, cols);
    return FM_OK;
}

/* Whether a parameter's floats are not yet what they are to be. */
static bool must_convert(const fm_weights_stream *s, size_t i)
{
    return !becomes_int8(s, i) && (s->sources[i].scale || becomes_halves(s, i));
}

static fm_status convert(fm_weights_stream *s, size_t i)
{
    const fm_parameter *p = &s->parameters->list[i];
    const fm_weights *w = &s->weights;
    fm_backend *holder = w->holder;
    uint32_t held = w->held[i].buffer;
    fm_status status = FM_OK;
    for (uint32_t row = 0; row < p->rows && !status; row++) {
        float *values = held ? s->floats : (float *)(uintptr_t)w->values[i] + (size_t)row * p->cols;
        if (held) holder->ops->take(holder, held, row, values);
        status = convert_row(s, i, row, values);
        if (held && !status) holder->ops->put(holder, held, row, values);
    }
    return status;
}

/* None of the values may be too large for a float. */
static fm_status check_int8(fm_weights_stream *s, size_t i)
{
    const fm_weights *w = &s->weights;
    const fm_tensor *held = &w->held[i];
    const fm_source *from = &s->sources[i];
    int8_t *row = (int8_t *)s->others;
    for (uint32_t j = 0; j < held->rows; j++) {
        float scale = w->int8[i].scales[j];
        if (scale <= FLT_MAX / 128) continue;
        w->holder->ops->take(w->holder, held->buffer, j, row);
        for (size_t k = 0; k < held->cols; k++)
            if (isinf((float)row[k] * scale))
                return fm_not_finite(&s->l, (from->scale ? from->scale : from->tensor)->name);
    }
    return FM_OK;
}

static fm_status finish(fm_weights_stream *s)
{
    fm_weights *w = &s->weights;
    const fm_parameter *word = &s->parameters->list[FM_P_WORD];
    fm_status status = FM_OK;
    for (uint32_t i = 0; s->projector.scale && i < word->rows && !status; i++)
        if (s->tied[i] != s->scales[FM_P_WORD][i]) status = fm_not_tied(&s->l, i, word->name);
    for (size_t i = 0; i < w->count && !status; i++) {
        if (must_convert(s, i)) status = convert(s, i);
        if (!w->held[i].buffer || status) continue;
        if (w->held[i].type == FM_I8) status = check_int8(s, i);
        if (!status) status = w->holder->ops->seal(w->holder, w->held[i].buffer, &w->held[i].type, s->l.err);
    }
    return status;
}

fm_status fm_weights_stream_end(fm_weights_stream *s, fm_weights *weights, fm_error *err)
{
    s->l.err = err;
    *weights = (fm_weights){0};
    /* Without a header that is all there, this says what is wrong. */
    fm_status status = s->file ? fm_safetensors_check_size(s->file, s->received, err)
                               : fm_safetensors_from_memory(&s->file, s->head, s->head_size, s->l.name, err);
    if (!status) status = finish(s);
    if (status) return status;
    *weights = s->weights;
    s->weights = (fm_weights){0};
    return FM_OK;
}
