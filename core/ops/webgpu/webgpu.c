/* webgpu.c - the webgpu backend: it computes nothing, but appends commands to a list that a host plays on a GPU
 * (web/gpu.js), and keeps the table of operations. Nothing here waits: finish() says FM_PENDING while what was read is
 * on its way. Which kernels an operation takes is in forward.c and backward.c. */
#include "ops/webgpu/webgpu.h"

#include <stdlib.h>
#include <string.h>

#define INLINE 1024 /* words that are copied into the list; what is longer is read at once */

/* The host's. gpu is any number that is another one for every backend. A list of no words begins all before it. */
extern void gpu_play(uintptr_t gpu, const uint32_t *list, size_t words);
/* 0: all that was read is in place; 1: not yet, which a host that waits never says; 2: it failed, and `text` says why.
 */
extern int gpu_finish(uintptr_t gpu, char *text, size_t room);
extern void gpu_close(uintptr_t gpu);
/* 1: kernels may use f16; 2: and product_matrices.wgsl is there; 0: neither. */
extern int gpu_half(void);

/* ---- the list ---- */

static void flush(gpu *g)
{
    if (g->words > 0) gpu_play((uintptr_t)g, g->list, g->words);
    g->words = 0;
}

/* Room for so many words; NULL, and the error kept, without memory. */
static uint32_t *append(gpu *g, size_t words)
{
    if (words > g->room - g->words) {
        flush(g);
        if (words > g->room) {
            size_t room = words > 1 << 14 ? words : 1 << 14;
            uint32_t *larger = realloc(g->list, room * sizeof *larger);
            if (!larger) {
                if (!g->first_error.status)
                    fm_fail_memory(&g->first_error, room * sizeof *larger, "a list of commands");
                return NULL;
            }
            g->list = larger;
            g->room = room;
        }
    }
    uint32_t *at = g->list + g->words;
    g->words += words;
    return at;
}

static void command(gpu *g, enum gpu_command number, const uint32_t *words, size_t count)
{
    uint32_t *at = append(g, count + 1);
    if (!at) return;
    *at = number;
    memcpy(at + 1, words, count * sizeof *at);
}

uint32_t gpu_words(fm_tensor x)
{
    uint32_t fours = cut(x.cols, 4);
    return x.type == FM_I8 ? 1 + fours : x.type == FM_F16 ? 2 * fours : x.cols;
}

static uint32_t bytes_of(fm_tensor x)
{
    return (uint32_t)((size_t)x.rows * gpu_words(x) * 4);
}

/* Offsets count words, of every type. */
static uint32_t place_of(fm_tensor x)
{
    return (uint32_t)(x.offset * 4);
}

/* ---- memory ---- */

static fm_status create(fm_backend *b, size_t elements, uint32_t *buffer, fm_error *err)
{
    gpu *g = (gpu *)b;
    *buffer = 0;
    if (elements > UINT32_MAX / 4)
        return fm_fail(err, FM_E_LIMIT, "A tensor of %zu numbers is larger than a buffer of a GPU.", elements);
    *buffer = ++g->next;
    command(g, GPU_CREATE, (uint32_t[]){*buffer, (uint32_t)(elements * 4)}, 2);
    return FM_OK;
}

static void write_tensor(fm_backend *b, fm_tensor to, const void *from)
{
    gpu *g = (gpu *)b;
    uint32_t size = bytes_of(to);
    if (size == 0) return;
    if (size > INLINE * 4) {
        command(g, GPU_WRITE, (uint32_t[]){to.buffer, place_of(to), size, (uint32_t)(uintptr_t)from}, 4);
        flush(g);
        return;
    }
    uint32_t *at = append(g, 4 + size / 4);
    if (!at) return;
    memcpy(at, (uint32_t[]){GPU_DATA, to.buffer, place_of(to), size}, 16);
    memcpy(at + 4, from, size);
}

static fm_status import(fm_backend *b, const float *data, size_t elements, uint32_t *buffer, fm_error *err)
{
    fm_status status = create(b, elements, buffer, err);
    if (!status) write_tensor(b, (fm_tensor){*buffer, FM_F32, 1, (uint32_t)elements, 0}, data);
    return status;
}

/* Rows of `size` bytes, and before each its scale, if there are any; as gpu_words says. */
static fm_status import_rows(fm_backend *b, fm_tensor to, const uint8_t *data, size_t size, const float *scales,
                             uint32_t *buffer, fm_error *err)
{
    size_t words = gpu_words(to), scale = scales ? sizeof *scales : 0, all;
    *buffer = 0;
    fm_size_mul(to.rows, words, &all);
    fm_status status = create(b, all, &to.buffer, err);
    if (status) return status;
    *buffer = to.buffer;
    if (!scales && size == words * 4) { /* as they are to be */
        write_tensor(b, to, data);
        return FM_OK;
    }
    uint8_t *padded = fm_alloc(all, 4);
    for (size_t i = 0; padded && i < to.rows; i++) {
        uint8_t *row = padded + i * words * 4;
        if (scales) memcpy(row, &scales[i], scale);
        memcpy(row + scale, data + i * size, size);
    }
    if (padded) write_tensor(b, to, padded);
    fm_free(padded);
    return padded ? FM_OK : fm_fail_memory(err, all * 4, "the weights of a model");
}

static fm_status import_int8(fm_backend *b, const int8_t *data, const float *scales, uint32_t rows, uint32_t cols,
                             uint32_t *buffer, fm_error *err)
{
    return import_rows(b, (fm_tensor){0, FM_I8, rows, cols, 0}, (const uint8_t *)data, cols, scales, buffer, err);
}

static fm_status import_half(fm_backend *b, const uint16_t *data, uint32_t rows, uint32_t cols, uint32_t *buffer,
                             fm_error *err)
{
    return import_rows(b, (fm_tensor){0, FM_F16, rows, cols, 0}, (const uint8_t *)data, 2 * (size_t)cols, NULL, buffer,
                       err);
}

static void release(fm_backend *b, uint32_t buffer)
{
    command((gpu *)b, GPU_RELEASE, &buffer, 1);
}

static void read_tensor(fm_backend *b, fm_tensor from, void *to)
{
    if (bytes_of(from) == 0) return;
    command((gpu *)b, GPU_READ, (uint32_t[]){from.buffer, place_of(from), bytes_of(from), (uint32_t)(uintptr_t)to}, 4);
}

static void forget(fm_backend *b, const void *memory, size_t size)
{
    command((gpu *)b, GPU_FORGET, (uint32_t[]){(uint32_t)(uintptr_t)memory, (uint32_t)size}, 2);
    flush((gpu *)b);
}

static fm_status finish(fm_backend *b, fm_error *err)
{
    gpu *g = (gpu *)b;
    flush(g);
    fm_status status = g->first_error.status;
    if (status) {
        if (err) *err = g->first_error;
        g->first_error.status = FM_OK;
        return status;
    }
    char text[512] = "";
    switch (gpu_finish((uintptr_t)g, text, sizeof text)) {
    case 0:
        return FM_OK;
    case 1:
        return fm_fail(err, FM_PENDING, "The GPU has not answered yet.");
    default:
        return fm_fail(err, FM_E_DEVICE, "%.500s", text);
    }
}

static void submit(fm_backend *b)
{
    flush((gpu *)b);
    gpu_play((uintptr_t)b, NULL, 0);
}

void gpu_zero(fm_backend *b, fm_tensor x)
{
    command((gpu *)b, GPU_ZERO, (uint32_t[]){x.buffer, place_of(x), bytes_of(x)}, 3);
}

void gpu_copy(gpu *g, fm_tensor to, fm_tensor from)
{
    command(g, GPU_COPY, (uint32_t[]){from.buffer, place_of(from), to.buffer, place_of(to), bytes_of(to)}, 5);
}

fm_tensor gpu_scratch(gpu *g, enum gpu_scratch which, uint32_t rows, uint32_t cols)
{
    size_t elements = (size_t)rows * cols;
    if (elements > g->scratch_size[which]) {
        if (g->scratch[which]) release(&g->backend, g->scratch[which]);
        fm_status status = create(&g->backend, elements, &g->scratch[which], &g->first_error);
        g->scratch_size[which] = status ? 0 : elements;
    }
    return (fm_tensor){g->scratch[which], FM_F32, rows, cols, 0};
}

/* ---- runs of kernels ---- */

void gpu_bind(gpu_run *run, fm_tensor x)
{
    uint32_t at = run->count++, offset = place_of(x) & ~(GPU_ALIGNMENT - 1);
    run->bindings[at].buffer = x.buffer;
    run->bindings[at].offset = x.buffer ? offset : 0;
    run->bindings[at].size = x.buffer ? place_of(x) - offset + bytes_of(x) : 0;
    run->bindings[at].first = x.buffer ? (place_of(x) - offset) / 4 : 0;
}

void gpu_word(gpu_run *run, uint32_t word)
{
    run->parameters[run->parameter_count++] = word;
}

void gpu_float(gpu_run *run, float number)
{
    uint32_t word;
    memcpy(&word, &number, sizeof word);
    gpu_word(run, word);
}

const fm_dropout *gpu_active(const fm_dropout *dropout)
{
    return dropout && dropout->rate > 0.0f ? dropout : NULL;
}

void gpu_dropout(gpu_run *run, const fm_dropout *dropout)
{
    const fm_dropout none = {0};
    if (!dropout) dropout = &none;
    gpu_word(run, dropout->seed);
    gpu_word(run, dropout->step);
    gpu_word(run, dropout->op << 20);
    gpu_word(run, (uint32_t)(dropout->rate * 65536.0f + 0.5f));
    gpu_float(run, 1.0f / (1.0f - dropout->rate));
}

void gpu_go(gpu *g, const gpu_run *run, gpu_kernel kernel, uint32_t variant, uint32_t x, uint32_t y, uint32_t z,
            double work)
{
    if (x > 32768 && y == 1) {
        y = (x + 32767) / 32768;
        x = 32768;
    }
    for (uint32_t i = 0; i < run->count; i++)
        if (run->bindings[i].size > g->limit && !g->first_error.status)
            fm_fail(
                &g->first_error, FM_E_LIMIT,
                "A tensor of %u bytes is more than the %u that this GPU takes at a time; use batches of fewer tokens.",
                run->bindings[i].size, g->limit);
    double thousands = work / 1000.0;
    uint32_t parameters = 8 + run->parameter_count, *at = append(g, 9 + 3 * run->count + parameters);
    if (!at) return;
    *at++ = GPU_RUN;
    *at++ = kernel;
    *at++ = variant;
    *at++ = x;
    *at++ = y;
    *at++ = z;
    *at++ = thousands < 4e9 ? (uint32_t)thousands : 4000000000u;
    *at++ = run->count;
    *at++ = parameters;
    for (uint32_t i = 0; i < run->count; i++) {
        *at++ = run->bindings[i].buffer;
        *at++ = run->bindings[i].offset;
        *at++ = run->bindings[i].size;
    }
    for (uint32_t i = 0; i < GPU_BINDINGS; i++) *at++ = i < run->count ? run->bindings[i].first : 0;
    memcpy(at, run->parameters, run->parameter_count * sizeof *at);
}

uint32_t gpu_rows_at_once(const gpu *g, fm_tensor x)
{
    uint32_t words = gpu_words(x), rows = (g->limit - GPU_ALIGNMENT) / 4 / (words > 0 ? words : 1);
    return rows > 0 ? rows : 1;
}

fm_tensor gpu_part(fm_tensor x, uint32_t row, uint32_t rows)
{
    if (x.buffer) x.offset += (uint64_t)row * gpu_words(x);
    x.rows = rows;
    return x;
}

fm_tensor gpu_span(fm_tensor x, size_t start, size_t elements)
{
    return (fm_tensor){x.buffer, x.type, 1, (uint32_t)elements, x.offset + start};
}

bool gpu_in_fours(fm_tensor x, uint32_t column)
{
    return x.offset % 4 == 0 && x.cols % 4 == 0 && column % 4 == 0;
}

/* ---- the backend ---- */

fm_tensor gpu_overflow(const gpu *g)
{
    return (fm_tensor){g->overflow, FM_U32, 1, g->overflow ? 1 : 0, 0};
}

static void set_precision(fm_backend *b, fm_precision precision)
{
    gpu *g = (gpu *)b;
    g->half = precision == FM_PRECISION_F16 && b->half; /* else f32, which is no less than what was asked for */
    if (g->half && !g->overflow) create(b, 1, &g->overflow, &g->first_error);
}

static void destroy(fm_backend *b)
{
    gpu *g = (gpu *)b;
    gpu_close((uintptr_t)g);
    free(g->list);
    free(g);
}

static const fm_ops table = {.name = "webgpu",
                             .destroy = destroy,
                             .create = create,
                             .import = import,
                             .import_int8 = import_int8,
                             .import_half = import_half,
                             .release = release,
                             .write = write_tensor,
                             .read = read_tensor,
                             .forget = forget,
                             .finish = finish,
                             .submit = submit,
                             .zero = gpu_zero,
                             .embedding = gpu_embedding,
                             .embedding_backward = gpu_embedding_backward,
                             .layer_norm = gpu_layer_norm,
                             .layer_norm_backward = gpu_layer_norm_backward,
                             .precision = set_precision,
                             .linear = gpu_linear,
                             .linear_backward = gpu_linear_backward,
                             .gelu_backward = gpu_gelu_backward,
                             .attention = gpu_attention,
                             .attention_backward = gpu_attention_backward,
                             .gather = gpu_gather,
                             .gather_backward = gpu_gather_backward,
                             .mlm_loss = gpu_mlm_loss,
                             .sum_squares = gpu_sum_squares,
                             .adamw = gpu_adamw};

fm_status fm_webgpu_create(fm_backend **backend, uint32_t limit, bool waits, fm_error *err)
{
    *backend = NULL;
    gpu *g = calloc(1, sizeof *g);
    if (!g) return fm_fail_memory(err, sizeof *g, "the webgpu backend");
    g->ops = table;
    g->ops.later = !waits;
    int half = gpu_half();
    g->backend.half = half > 0;
    g->matrices = half > 1;
    g->backend.ops = &g->ops;
    g->limit = limit;
    *backend = &g->backend;
    return FM_OK;
}
