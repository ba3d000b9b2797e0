/* cpu.c - the cpu backend: its table of operations, its buffers, and the choice of an instruction set. What the
 * operations compute is in gemm.c, mixed.c, int8.c, attention.c and rows.c; held.c has matrices in packed form alone.
 */
#include "ops/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

static const fm_kernels *const sets[] = {
#if defined(__x86_64__)
    &fm_kernels_amx, &fm_kernels_avx512bf16, &fm_kernels_avx512, &fm_kernels_avx2,
#elif defined(__wasm_simd128__)
    &fm_kernels_wasm,
#endif
    &fm_kernels_scalar};
#define SETS (sizeof sets / sizeof *sets)

/* ---- buffers ---- */

float *cpu_floats(const cpu *c, fm_tensor x)
{
    const cpu_buffer *buffer = &c->buffers[x.buffer];
    /* Imported numbers are only ever read; operations write to tensors that create() made. */
    return (buffer->own ? buffer->own : (float *)(uintptr_t)buffer->imported) + x.offset;
}

uint32_t *cpu_words(const cpu *c, fm_tensor x)
{
    return (uint32_t *)(void *)cpu_floats(c, x);
}

void cpu_fail_memory(cpu *c, size_t bytes)
{
    if (!c->first_error.status) fm_fail_memory(&c->first_error, bytes, "an operation of the model");
}

bool cpu_scratch(cpu *c, size_t count, size_t floats)
{
    size_t all;
    if (!fm_size_mul(count, floats, &all) || all > SIZE_MAX / sizeof(float)) all = SIZE_MAX / sizeof(float);
    if (all <= c->scratch_size) return true;
    float *larger = fm_alloc(all, sizeof(float));
    if (!larger) {
        cpu_fail_memory(c, all * sizeof(float));
        return false;
    }
    fm_free(c->scratch);
    c->scratch = larger;
    c->scratch_size = all;
    return true;
}

static bool is_free(const cpu_buffer *buffer)
{
    return !buffer->own && !buffer->imported && !buffer->int8 && !buffer->held;
}

fm_status cpu_add_buffer(cpu *c, cpu_buffer buffer, uint32_t *handle, fm_error *err)
{
    for (size_t i = 1; i < c->count && c->count == c->capacity; i++)
        if (is_free(&c->buffers[i])) {
            *handle = (uint32_t)i;
            c->buffers[i] = buffer;
            return FM_OK;
        }
    if (c->count == c->capacity) {
        size_t capacity = c->capacity * 2 + 64;
        cpu_buffer *larger = realloc(c->buffers, capacity * sizeof *larger);
        if (!larger) return fm_fail_memory(err, capacity * sizeof *larger, "the list of buffers");
        c->buffers = larger;
        c->capacity = capacity;
    }
    *handle = (uint32_t)c->count;
    c->buffers[c->count++] = buffer;
    return FM_OK;
}

static fm_status create(fm_backend *b, size_t elements, uint32_t *buffer, fm_error *err)
{
    cpu *c = (cpu *)b;
    *buffer = 0;
    float *own = fm_alloc(elements, sizeof(float));
    if (!own) return fm_fail_memory(err, elements * sizeof(float), "a buffer of the model");
    fm_status status = cpu_add_buffer(c, (cpu_buffer){.own = own, .elements = elements}, buffer, err);
    if (status) fm_free(own);
    return status;
}

static fm_status import(fm_backend *b, const float *data, size_t elements, uint32_t *buffer, fm_error *err)
{
    *buffer = 0;
    return cpu_add_buffer((cpu *)b, (cpu_buffer){.imported = data, .elements = elements}, buffer, err);
}

/* Where the integers would not be exact the matrix becomes floats. */
static fm_status import_int8(fm_backend *b, const int8_t *data, const float *scales, uint32_t rows, uint32_t cols,
                             uint32_t *buffer, fm_error *err)
{
    cpu *c = (cpu *)b;
    size_t elements = (size_t)rows * cols;
    *buffer = 0;
    if (cpu_int8_exact(c->int8, data, rows, cols))
        return cpu_add_buffer(c, (cpu_buffer){.int8 = data, .scales = scales, .elements = elements}, buffer, err);
    float *own = fm_alloc(elements, sizeof(float));
    if (!own) return fm_fail_memory(err, elements * sizeof(float), "a matrix of the model");
    for (size_t i = 0; i < rows; i++) cpu_int8_row(cols, own + i * cols, data + i * cols, scales[i]);
    fm_status status = cpu_add_buffer(c, (cpu_buffer){.own = own, .imported = own, .elements = elements}, buffer, err);
    if (status) fm_free(own);
    return status;
}

static void free_packed(cpu_buffer *buffer)
{
    for (size_t i = 0; i < FM_PRECISIONS; i++) fm_free(buffer->packed[i]);
    fm_free(buffer->int8_packed);
}

static void release(fm_backend *b, uint32_t handle)
{
    cpu *c = (cpu *)b;
    cpu_buffer *buffer = &c->buffers[handle];
    fm_free(buffer->own);
    free_packed(buffer);
    *buffer = (cpu_buffer){0};
    while (c->count > 1 && is_free(&c->buffers[c->count - 1])) c->count--;
}

static size_t elements_of(fm_tensor x)
{
    return (size_t)x.rows * x.cols;
}

static void write_tensor(fm_backend *b, fm_tensor to, const void *from)
{
    if (elements_of(to) > 0) memcpy(cpu_floats((cpu *)b, to), from, elements_of(to) * sizeof(float));
}

static void read_tensor(fm_backend *b, fm_tensor from, void *to)
{
    if (elements_of(from) > 0) memcpy(to, cpu_floats((cpu *)b, from), elements_of(from) * sizeof(float));
}

static void forget(fm_backend *b, const void *memory, size_t size)
{
    (void)b;
    (void)memory;
    (void)size;
}

static fm_status finish(fm_backend *b, fm_error *err)
{
    cpu *c = (cpu *)b;
    fm_status status = c->first_error.status;
    if (status && err) *err = c->first_error;
    c->first_error.status = FM_OK;
    return status;
}

static void zero(fm_backend *b, fm_tensor x)
{
    memset(cpu_floats((cpu *)b, x), 0, elements_of(x) * sizeof(float));
}

/* ---- linear ---- */

static void set_precision(fm_backend *b, fm_precision precision)
{
    ((cpu *)b)->precision = precision == FM_PRECISION_F16 ? FM_PRECISION_F32 : precision;
}

/* The packed form of an imported matrix, made at its first use; NULL for others, or without memory for it. */
static const float *packed_of(cpu *c, fm_tensor w)
{
    cpu_buffer *buffer = &c->buffers[w.buffer];
    float **packed = &buffer->packed[c->precision];
    if (buffer->held) return buffer->packed[FM_PRECISION_F32];
    if (!buffer->imported || w.offset != 0 || elements_of(w) != buffer->elements) return NULL;
    if (!*packed) {
        *packed = fm_alloc(cpu_packed_size(c->kernels, c->precision, w.rows, w.cols), sizeof(float));
        if (*packed) cpu_pack(c, c->precision, *packed, (cpu_matrix){cpu_floats(c, w), w.cols, true}, w.rows, w.cols);
    }
    return *packed;
}

static void linear_int8(cpu *c, fm_tensor y, fm_tensor x, fm_tensor w, fm_tensor bias, bool gelu)
{
    cpu_buffer *buffer = &c->buffers[w.buffer];
    if (!buffer->int8_packed) {
        size_t size = cpu_int8_packed_size(c->int8, w.rows, w.cols);
        buffer->int8_packed = fm_alloc(size, 1);
        if (!buffer->int8_packed) {
            cpu_fail_memory(c, size);
            return;
        }
        cpu_int8_pack(c, buffer->int8_packed, buffer->int8, w.rows, w.cols);
    }
    cpu_int8_product p = {.m = x.rows,
                          .n = w.rows,
                          .k = w.cols,
                          .x = cpu_floats(c, x),
                          .packed = buffer->int8_packed,
                          .scales = buffer->scales,
                          .bias = bias.buffer ? cpu_floats(c, bias) : NULL,
                          .gelu = gelu,
                          .y = cpu_floats(c, y),
                          .stride = y.cols};
    cpu_int8_linear(c, &p);
}

static void linear(fm_backend *b, fm_tensor y, fm_tensor x, fm_tensor w, fm_tensor bias, fm_epilogue epilogue,
                   fm_tensor pre)
{
    cpu *c = (cpu *)b;
    if (c->buffers[w.buffer].int8 || c->buffers[w.buffer].held == CPU_HELD_I8) {
        linear_int8(c, y, x, w, bias, epilogue == FM_EPILOGUE_GELU);
        return;
    }
    const float *packed = packed_of(c, w);
    bool held = c->buffers[w.buffer].held != CPU_NOT_HELD;
    cpu_product p = {.precision = held ? FM_PRECISION_F32 : c->precision,
                     .m = x.rows,
                     .n = w.rows,
                     .k = w.cols,
                     .a = {cpu_floats(c, x), x.cols, false},
                     .b = {held ? NULL : cpu_floats(c, w), w.cols, true},
                     .packed = packed,
                     .c = cpu_floats(c, y),
                     .stride = y.cols,
                     .bias = bias.buffer ? cpu_floats(c, bias) : NULL,
                     .gelu = epilogue == FM_EPILOGUE_GELU,
                     .pre = pre.buffer ? cpu_floats(c, pre) : NULL,
                     .pre_stride = pre.cols};
    cpu_gemm(c, &p);
}

static void linear_backward(fm_backend *b, fm_tensor d_x, bool add, fm_tensor d_w, fm_tensor d_bias, fm_tensor d_y,
                            fm_tensor x, fm_tensor w)
{
    cpu *c = (cpu *)b;
    if (d_x.buffer) {
        cpu_product p = {.precision = c->precision,
                         .m = d_y.rows,
                         .n = w.cols,
                         .k = w.rows,
                         .a = {cpu_floats(c, d_y), d_y.cols, false},
                         .b = {cpu_floats(c, w), w.cols, false},
                         .c = cpu_floats(c, d_x),
                         .stride = d_x.cols,
                         .add = add};
        cpu_gemm(c, &p);
    }
    if (d_w.buffer) {
        cpu_product p = {.precision = c->precision,
                         .m = d_y.cols,
                         .n = x.cols,
                         .k = d_y.rows,
                         .a = {cpu_floats(c, d_y), d_y.cols, true},
                         .b = {cpu_floats(c, x), x.cols, false},
                         .c = cpu_floats(c, d_w),
                         .stride = d_w.cols,
                         .add = true};
        cpu_gemm(c, &p);
    }
    if (d_bias.buffer) cpu_column_sums(c, cpu_floats(c, d_bias), cpu_floats(c, d_y), d_y.rows, d_y.cols);
}

/* ---- the backend ---- */

static void destroy(fm_backend *b)
{
    cpu *c = (cpu *)b;
    for (size_t i = 1; i < c->count; i++) {
        fm_free(c->buffers[i].own);
        free_packed(&c->buffers[i]);
    }
    free(c->buffers);
    cpu_gemm_free(c);
    fm_free(c->scratch);
    fm_pool_destroy(c->pool);
    free(c);
}

static const fm_ops table = {.name = "cpu",
                             .destroy = destroy,
                             .create = create,
                             .import = import,
                             .import_int8 = import_int8,
                             .hold = cpu_hold,
                             .put = cpu_put,
                             .seal = cpu_seal,
                             .take = cpu_take,
                             .release = release,
                             .write = write_tensor,
                             .read = read_tensor,
                             .forget = forget,
                             .finish = finish,
                             .zero = zero,
                             .embedding = cpu_embedding,
                             .embedding_backward = cpu_embedding_backward,
                             .layer_norm = cpu_layer_norm,
                             .layer_norm_backward = cpu_layer_norm_backward,
                             .precision = set_precision,
                             .linear = linear,
                             .linear_backward = linear_backward,
                             .gelu_backward = cpu_gelu_backward,
                             .attention = cpu_attention,
                             .attention_backward = cpu_attention_backward,
                             .gather = cpu_gather,
                             .gather_backward = cpu_gather_backward,
                             .mlm_loss = cpu_mlm_loss,
                             .sum_squares = cpu_sum_squares,
                             .adamw = cpu_adamw};

const char *const *fm_cpu_instruction_sets(void)
{
    static const char *const names[] = {
#if defined(__x86_64__)
        "amx",
        "avx512bf16",
        "avx512",
        "avx2",
#elif defined(__wasm_simd128__)
        FM_WASM_NAME,
#endif
        "scalar",
        NULL
    };
    return names;
}

const fm_kernels *cpu_find_set(const char *name)
{
    for (size_t i = 0; i < SETS; i++)
        if (strcmp(sets[i]->name, name) == 0) return sets[i];
    return NULL;
}

bool fm_cpu_has(const char *instruction_set)
{
    const fm_kernels *set = cpu_find_set(instruction_set);
    return set && set->supported();
}

static fm_status choose(const fm_kernels **kernels, const char *name, fm_error *err)
{
    const char *from = "";
#ifndef __EMSCRIPTEN__ /* which has no environment */
    if (!name || strcmp(name, "auto") == 0) {
        name = getenv("FILLMASK_ISA");
        from = " in the environment variable FILLMASK_ISA";
    }
#endif
    if (!name || (!*name && *from) || strcmp(name, "auto") == 0) {
        size_t best = 0;
        while (!sets[best]->supported()) best++; /* scalar, the last, always is */
        *kernels = sets[best];
        return FM_OK;
    }
    *kernels = cpu_find_set(name);
    if (!*kernels)
        return fm_fail(err, FM_E_ARGUMENT,
                       "The instruction set \"%.40s\"%s is unknown; use amx, avx512bf16, avx512, avx2, scalar or auto.",
                       name, from);
    if (!(*kernels)->supported())
        return fm_fail(err, FM_E_UNSUPPORTED, "This machine lacks the instruction set \"%s\"%s; use auto.", name, from);
    return FM_OK;
}

fm_status fm_cpu_create(fm_backend **backend, const char *instruction_set, int threads, fm_error *err)
{
    *backend = NULL;
    const fm_kernels *kernels;
    fm_status status = choose(&kernels, instruction_set, err);
    if (status) return status;
    cpu *c = calloc(1, sizeof *c);
    if (!c) return fm_fail_memory(err, sizeof *c, "the cpu backend");
    c->backend.ops = &table;
    c->kernels = kernels;
    const fm_int8_kernels *const *int8 = kernels->int8;
    while (!(*int8)->supported()) int8++;
    c->int8 = *int8;
    uint32_t none;
    status = cpu_add_buffer(c, (cpu_buffer){0}, &none, err);
    if (!status) status = fm_pool_create(&c->pool, threads, err);
    if (status) {
        destroy(&c->backend);
        return status;
    }
    *backend = &c->backend;
    return FM_OK;
}

const char *fm_cpu_instruction_set(const fm_backend *backend)
{
    return ((const cpu *)backend)->kernels->name;
}

fm_pool *fm_cpu_pool(fm_backend *backend)
{
    return ((cpu *)backend)->pool;
}

/* ---- the machine's peak ---- */

typedef struct spinning {
    const fm_product_kernels *kernels;
    size_t rounds;
    double operations;
    float sink[1024];
} spinning;

static void spin_task(void *context, size_t index, int worker)
{
    (void)worker;
    spinning *s = context;
    double operations = s->kernels->spin(s->rounds, &s->sink[index]);
    if (index == 0) s->operations = operations;
}

double fm_cpu_peak(fm_backend *backend, fm_precision precision)
{
    cpu *c = (cpu *)backend;
    size_t threads = (size_t)fm_pool_threads(c->pool);
    spinning s = {.kernels = &c->kernels->products[precision], .rounds = 2000000};
    double best = 0.0;
    for (int i = 0; i < 5; i++) {
        double start = fm_seconds();
        fm_pool_run(c->pool, threads, spin_task, &s);
        double rate = s.operations * (double)threads / (fm_seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- its memory ---- */

#define ROW ((size_t)16 << 20) /* floats: more than caches hold */
#define SPAN ((size_t)1 << 16)

typedef struct streaming {
    const fm_kernels *kernels;
    float *to, *from;
} streaming;

static void stream_task(void *context, size_t index, int worker)
{
    (void)worker;
    const streaming *s = context;
    s->kernels->add(SPAN, s->to + index * SPAN, s->from + index * SPAN);
}

double fm_cpu_bandwidth(fm_backend *backend)
{
    cpu *c = (cpu *)backend;
    streaming s = {c->kernels, fm_alloc(ROW, sizeof(float)), fm_alloc(ROW, sizeof(float))};
    double best = 0.0;
    for (int i = 0; i < 5 && s.to && s.from; i++) {
        double start = fm_seconds();
        fm_pool_run(c->pool, ROW / SPAN, stream_task, &s);
        double rate = 3.0 * (double)(ROW * sizeof(float)) / (fm_seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    fm_free(s.to);
    fm_free(s.from);
    return best;
}
