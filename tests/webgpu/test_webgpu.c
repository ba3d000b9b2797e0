/* test_webgpu.c - every operation of the webgpu backend against the scalar reference on odd shapes; and a small
 * network, whose logits, gradients and training steps must be the cpu's. Runs as WebAssembly, where web/gpu.js plays
 * the lists: the host calls test_run(), then test_check() until it is no longer pending. What a case allocates stays:
 * the module is thrown away. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/convert.h"
#include "model/model.h"
#include "ops/ops.h"
#include "train/train.h"

static char failure[1000];

const char *failure_text(void)
{
    return failure;
}

/* What a case reads back, from the reference (0) and from the GPU (1). */
typedef struct comparison {
    const char *what;
    size_t count;
    const float *found[2];
    float bound; /* of the difference, relative to 1 + the largest number of the reference */
} comparison;

static struct rig {
    fm_backend *backends[2];
    int side;
    fm_backend *b; /* of this side */
    const fm_ops *ops;
    uint32_t seed;
    size_t used;
    bool half; /* random numbers are those of f16 */
    comparison list[128];
    size_t count;
} rig;

static fm_tensor bench[5]; /* y, x, w, the gradients of x and w */

static float *memory(size_t count)
{
    float *x = calloc(count + 1, sizeof *x);
    if (!x) __builtin_trap();
    return x;
}

static fm_tensor tensor(fm_type type, uint32_t rows, uint32_t cols)
{
    fm_tensor x = {0, type, rows, cols, 0};
    if (rig.ops->create(rig.b, (size_t)rows * cols, &x.buffer, NULL)) __builtin_trap();
    return x;
}

/* To eleven bits, as f16 has; random numbers are far from its ends. */
static float rounded(float x)
{
    float up = x * 8193.0f;
    return up - (up - x);
}

static float *random_numbers(size_t count, float scale)
{
    float *x = memory(count);
    fm_random random = fm_random_seeded(++rig.seed, 7);
    for (size_t i = 0; i < count; i++) x[i] = scale * fm_random_normal(&random) + 0.1f * scale;
    for (size_t i = 0; i < count && rig.half; i++) x[i] = rounded(x[i]);
    return x;
}

/* Numbers inside a larger buffer, not at its start. */
static fm_tensor scaled(uint32_t rows, uint32_t cols, float scale)
{
    fm_tensor x = tensor(FM_F32, 1, rows * cols + 48);
    x = (fm_tensor){x.buffer, FM_F32, rows, cols, 16 * (rig.seed % 3)};
    float *from = random_numbers((size_t)rows * cols, scale);
    rig.ops->write(rig.b, x, from);
    free(from);
    return x;
}

static fm_tensor numbers(uint32_t rows, uint32_t cols)
{
    return scaled(rows, cols, 1.0f);
}

/* Weights of a type on the GPU; for the reference the same numbers as floats. */
static fm_tensor weights(fm_type type, uint32_t rows, uint32_t cols, const int8_t *integers, const uint16_t *halves)
{
    fm_tensor x = {0, rig.side == 0 ? FM_F32 : type, rows, cols, 0};
    float *scales = random_numbers(rows, 1.0f / sqrtf((float)cols)), *values = memory((size_t)rows * cols);
    for (size_t i = 0; i < (size_t)rows * cols; i++) {
        if (type == FM_I8) values[i] = (float)integers[i] * scales[i / cols];
        else fm_decode(values + i, (const uint8_t *)(halves + i), FM_STORED_F16, 1);
    }
    fm_status status = rig.side == 0   ? rig.ops->import(rig.b, values, (size_t)rows * cols, &x.buffer, NULL)
                       : type == FM_I8 ? rig.ops->import_int8(rig.b, integers, scales, rows, cols, &x.buffer, NULL)
                                       : rig.ops->import_half(rig.b, halves, rows, cols, &x.buffer, NULL);
    if (status) __builtin_trap();
    return x; /* `values` stays: the reference has them where they are */
}

/* Random ones; as f16, many of them are too small to be normal. */
static fm_tensor random_weights(fm_type type, uint32_t rows, uint32_t cols)
{
    size_t count = (size_t)rows * cols;
    float *from = random_numbers(count, 1.0f);
    int8_t *integers = calloc(count, 1);
    uint16_t *halves = calloc(count, 2);
    if (!integers || !halves) __builtin_trap();
    for (size_t i = 0; i < count; i++) {
        integers[i] = (int8_t)((int)((i * 7919 + rig.seed) % 255) - 127);
        if (i % 3 == 0) from[i] *= 0x1p-16f;
    }
    fm_encode16(halves, from, FM_STORED_F16, count);
    return weights(type, rows, cols, integers, halves);
}

static fm_tensor words(const uint32_t *from, uint32_t rows, uint32_t cols)
{
    fm_tensor x = tensor(FM_U32, rows, cols);
    rig.ops->write(rig.b, x, from);
    return x;
}

/* Compares numbers that are there, or will be. */
static void compare(const char *what, const float *found, size_t count, float bound)
{
    comparison *c = &rig.list[rig.used++];
    if (rig.used > sizeof rig.list / sizeof *rig.list) __builtin_trap();
    *c = (comparison){what, count, {c->found[0], NULL}, bound};
    c->found[rig.side] = found;
}

static float *expect_memory(const char *what, size_t count, float bound)
{
    float *found = memory(count);
    compare(what, found, count, bound);
    return found;
}

static void expect(const char *what, fm_tensor x, float bound)
{
    rig.ops->read(rig.b, x, expect_memory(what, (size_t)x.rows * x.cols, bound));
}

/* ---- operations ---- */

#define SEQUENCES 4
#define TOKENS 47
static const uint32_t starts[SEQUENCES + 1] = {0, 1, 20, 37, 47};

static fm_packing packing(void)
{
    uint32_t place[2 * TOKENS];
    for (uint32_t s = 0; s < SEQUENCES; s++)
        for (uint32_t t = starts[s]; t < starts[s + 1]; t++) {
            place[2 * t] = 3 + s;
            place[2 * t + 1] = t - starts[s];
        }
    return (fm_packing){words(starts, SEQUENCES + 1, 1), words(place, TOKENS, 2), 3, 19};
}

static const fm_dropout drop = {0.3f, 11, 5, 2}, drop_too = {0.2f, 11, 5, 3};

static void linear_case(uint32_t m, uint32_t n, uint32_t k, bool bias, bool gelu, bool keep)
{
    fm_tensor y = numbers(m, n), pre = numbers(m, n), none = FM_NO_TENSOR;
    fm_tensor x = numbers(m, k), w = scaled(n, k, 1.0f / sqrtf((float)k)), offset = numbers(1, n);
    rig.ops->linear(rig.b, y, x, w, bias ? offset : none, gelu ? FM_EPILOGUE_GELU : FM_EPILOGUE_NONE,
                    keep ? pre : none);
    expect("y", y, 2e-6f);
    if (keep) expect("pre", pre, 2e-6f);
}

static void case_linear(void)
{
    linear_case(1, 1, 1, false, false, false);
    linear_case(5, 300, 37, true, false, false);
    linear_case(16, 257, 64, true, true, false);
    linear_case(17, 65, 33, true, true, true);
    linear_case(130, 70, 48, false, false, false);
    linear_case(64, 128, 128, true, true, true);
}

/* Products of every size of tile, and with the depth in parts. */
static void case_large_linear(void)
{
    linear_case(200, 90, 1031, true, true, true);
    linear_case(9, 66, 260, false, false, false);
    linear_case(650, 610, 9, true, false, false);
    linear_case(1281, 1200, 6, true, false, false);
}

static void weights_case(fm_type type, uint32_t m, uint32_t n, uint32_t k, bool gelu)
{
    fm_tensor y = numbers(m, n), x = numbers(m, k), w = random_weights(type, n, k);
    rig.ops->linear(rig.b, y, x, w, numbers(1, n), gelu ? FM_EPILOGUE_GELU : FM_EPILOGUE_NONE, FM_NO_TENSOR);
    expect("y", y, 2e-6f);
}

/* Weights that are unpacked in the kernel, with rows of any length, and the depth in parts. */
static void case_packed_linear(void)
{
    for (fm_type type = FM_I8; type <= FM_F16; type++) {
        weights_case(type, 1, 1, 1, false);
        weights_case(type, 5, 301, 37, false);
        weights_case(type, 9, 66, 261, true);
        weights_case(type, 17, 65, 34, true);
        weights_case(type, 64, 127, 127, false);
    }
}

/* And the other sizes of tiles. */
static void case_large_packed_linear(void)
{
    for (fm_type type = FM_I8; type <= FM_F16; type++) {
        weights_case(type, 650, 610, 9, false);
        weights_case(type, 1281, 1200, 6, false);
    }
}

/* Products of f16 whose operands are numbers of it: as exact as those of f32. */
static void case_half_linear(void)
{
    rig.half = true;
    rig.ops->precision(rig.b, FM_PRECISION_F16);
    linear_case(17, 65, 33, true, true, true);
    linear_case(64, 128, 128, true, true, true);
    linear_case(1281, 1200, 6, true, false, false);
}

/* And that operands are rounded: 1 + 2^-12, which f16 takes for 1, and 1 + 2^-10, which it has. */
static void case_half_rounding(void)
{
    float from[17], to[17], one = 1.0f;
    for (int i = 0; i < 17; i++) from[i] = to[i] = 1.0f + (float)i / 1024.0f;
    from[0] += 1.0f / 4096.0f;
    fm_tensor x = tensor(FM_F32, 17, 1), w = tensor(FM_F32, 1, 1), y = tensor(FM_F32, 17, 1);
    rig.ops->precision(rig.b, FM_PRECISION_F16);
    rig.ops->write(rig.b, x, rig.side == 0 ? to : from);
    rig.ops->write(rig.b, w, &one);
    rig.ops->linear(rig.b, y, x, w, FM_NO_TENSOR, FM_EPILOGUE_NONE, FM_NO_TENSOR);
    expect("y", y, 0.0f);
}

static void case_embedding(void)
{
    uint32_t ids[TOKENS];
    for (uint32_t t = 0; t < TOKENS; t++) ids[t] = t * 37 % 53;
    fm_packing p = packing();
    fm_tensor out = numbers(TOKENS, 37);
    rig.ops->embedding(rig.b, out, numbers(53, 37), numbers(19, 37), words(ids, TOKENS, 1), &p);
    expect("out", out, 0.0f);
}

static void case_packed_embedding(void)
{
    uint32_t ids[TOKENS];
    fm_packing p = packing();
    for (uint32_t t = 0; t < TOKENS; t++) ids[t] = t * 37 % 531;
    for (fm_type type = FM_I8; type <= FM_F16; type++) {
        fm_tensor out = numbers(TOKENS, 37);
        rig.ops->embedding(rig.b, out, random_weights(type, 531, 37), numbers(19, 37), words(ids, TOKENS, 1), &p);
        expect("out", out, 0.0f);
    }
}

/* Every finite number that f16 has. */
static void case_every_half(void)
{
    enum { WIDTH = 1351 }; /* times the tokens: 63,497; there are 63,488 */
    uint32_t ids[TOKENS], half = 0;
    uint16_t halves[TOKENS * WIDTH];
    fm_packing p = packing();
    for (uint32_t t = 0; t < TOKENS; t++) ids[t] = t;
    for (uint32_t i = 0; i < TOKENS * WIDTH; i++) {
        while ((half & 0x7c00) == 0x7c00) half++;
        halves[i] = (uint16_t)half++;
    }
    fm_tensor out = numbers(TOKENS, WIDTH), word = weights(FM_F16, TOKENS, WIDTH, NULL, halves);
    rig.ops->embedding(rig.b, out, word, tensor(FM_F32, 19, WIDTH), words(ids, TOKENS, 1), &p);
    expect("out", out, 0.0f);
}

static void norm_case(uint32_t width, bool residual, const fm_dropout *before, const fm_dropout *after)
{
    fm_packing p = packing();
    fm_tensor out = numbers(TOKENS, width), x = numbers(TOKENS, width), other = numbers(TOKENS, width);
    fm_tensor stats = numbers(TOKENS, 2);
    rig.ops->layer_norm(rig.b, out, x, residual ? other : FM_NO_TENSOR, numbers(1, width), numbers(1, width), 1e-12f,
                        stats, before, after, &p);
    expect("out", out, 2e-6f);
    expect("sum", x, 1e-6f);
    expect("stats", stats, 2e-6f);
}

static void case_layer_norm(void)
{
    norm_case(7, false, NULL, NULL);
    norm_case(64, true, NULL, NULL);
    norm_case(301, true, &drop, NULL);
    norm_case(50, false, NULL, &drop);
    norm_case(33, true, &drop, &drop_too);
}

static void attention_case(uint32_t width, uint32_t heads, const fm_dropout *dropout, float scale)
{
    fm_packing p = packing();
    fm_tensor out = numbers(TOKENS, width * heads), q = scaled(TOKENS, width * heads, scale);
    rig.ops->attention(rig.b, out, q, numbers(TOKENS, width * heads), numbers(TOKENS, width * heads), heads, dropout,
                       &p);
    expect("out", out, 3e-6f);
}

static void case_attention(void)
{
    attention_case(5, 3, NULL, 1.0f);
    attention_case(16, 2, &drop, 1.0f);
    attention_case(64, 1, NULL, 20.0f);
    attention_case(72, 2, &drop, 1.0f);
}

static const uint32_t some_rows[] = {0, 3, 4, 11, 46};

static void case_gather(void)
{
    fm_tensor out = numbers(5, 70);
    rig.ops->gather(rig.b, out, numbers(TOKENS, 70), words(some_rows, 5, 1));
    expect("out", out, 0.0f);
}

static void loss_case(uint32_t rows, uint32_t vocab, float scale, float spread)
{
    uint32_t labels[64];
    for (uint32_t i = 0; i < rows; i++) labels[i] = (i * 31 + 7) % vocab;
    fm_tensor logits = scaled(rows, vocab, spread), result = numbers(rows, 2);
    rig.ops->mlm_loss(rig.b, logits, words(labels, rows, 1), result, scale);
    expect("result", result, 2e-6f);
    expect("logits", logits, scale != 0.0f ? 1e-5f : 0.0f);
}

static void case_loss(void)
{
    loss_case(1, 1, 0.0f, 1.0f);
    loss_case(9, 777, 0.0f, 3.0f);
    loss_case(40, 1031, 0.025f, 3.0f);
    loss_case(3, 300, 0.5f, 60.0f);
}

static void case_embedding_backward(void)
{
    uint32_t ids[TOKENS], order[TOKENS], segments[TOKENS + 1], count = 0;
    fm_packing p = packing();
    for (uint32_t t = 0; t < TOKENS; t++) ids[t] = t * t % 89;
    for (uint32_t id = 0, at = 0; id < 89; id++) {
        uint32_t before = at;
        for (uint32_t t = 0; t < TOKENS; t++)
            if (ids[t] == id) order[at++] = t;
        if (at > before) segments[count++] = before;
    }
    segments[count] = TOKENS;
    fm_tensor d_word = numbers(89, 130), d_position = numbers(30, 130), d_out = numbers(TOKENS, 130);
    rig.ops->embedding_backward(rig.b, d_word, d_position, d_out, words(ids, TOKENS, 1), words(order, TOKENS, 1),
                                words(segments, count + 1, 1), &p);
    expect("d_word", d_word, 1e-6f);
    expect("d_position", d_position, 1e-6f);
}

static void norm_backward_case(uint32_t width, bool apart, bool residual, const fm_dropout *before,
                               const fm_dropout *after)
{
    fm_packing p = packing();
    fm_tensor d_out = numbers(TOKENS, width), d_x = apart ? numbers(TOKENS, width) : d_out;
    fm_tensor d_residual = numbers(TOKENS, width), x = numbers(TOKENS, width), out = numbers(TOKENS, width);
    fm_tensor gamma = numbers(1, width), beta = numbers(1, width), stats = numbers(TOKENS, 2);
    fm_tensor d_gamma = numbers(1, width), d_beta = numbers(1, width);
    rig.ops->layer_norm(rig.b, out, x, FM_NO_TENSOR, gamma, beta, 1e-12f, stats, NULL, NULL, &p);
    rig.ops->layer_norm_backward(rig.b, d_x, residual ? d_residual : FM_NO_TENSOR, d_gamma, d_beta, d_out, x, gamma,
                                 stats, before, after, &p);
    expect("d_x", d_x, 4e-6f);
    expect("d_residual", d_residual, 4e-6f);
    expect("d_gamma", d_gamma, 4e-6f);
    expect("d_beta", d_beta, 4e-6f);
}

static void case_layer_norm_backward(void)
{
    norm_backward_case(7, false, false, NULL, NULL);
    norm_backward_case(64, true, true, &drop, NULL);
    norm_backward_case(301, false, true, &drop, NULL);
    norm_backward_case(50, false, false, NULL, &drop_too);
}

static void linear_backward_case(uint32_t m, uint32_t n, uint32_t k, bool add)
{
    fm_tensor d_x = numbers(m, k), d_w = numbers(n, k), d_bias = numbers(1, n);
    float scale = 1.0f / sqrtf((float)(n > m ? n : m));
    rig.ops->linear_backward(rig.b, d_x, add, d_w, d_bias, scaled(m, n, scale), numbers(m, k), numbers(n, k));
    expect("d_x", d_x, 3e-6f);
    expect("d_w", d_w, 3e-6f);
    expect("d_bias", d_bias, 3e-6f);
}

static void case_linear_backward(void)
{
    linear_backward_case(1, 1, 1, false);
    linear_backward_case(5, 300, 37, true);
    linear_backward_case(70, 65, 33, false);
    linear_backward_case(300, 20, 130, true);
    linear_backward_case(1100, 9, 7, false);
}

static void case_deep_linear_backward(void)
{
    linear_backward_case(2100, 36, 64, false);
}

static void case_half_linear_backward(void)
{
    rig.half = true;
    rig.ops->precision(rig.b, FM_PRECISION_F16);
    linear_backward_case(70, 65, 36, false);
}

static void case_gelu_backward(void)
{
    fm_tensor d = numbers(21, 77), pre = scaled(21, 77, 3.0f);
    rig.ops->gelu_backward(rig.b, d, pre);
    expect("d", d, 2e-6f);
}

static void attention_backward_case(uint32_t width, uint32_t heads, const fm_dropout *dropout, float scale)
{
    uint32_t all = width * heads;
    fm_packing p = packing();
    fm_tensor d_q = numbers(TOKENS, all), d_k = numbers(TOKENS, all), d_v = numbers(TOKENS, all);
    fm_tensor d_out = numbers(TOKENS, all), q = scaled(TOKENS, all, scale), k = numbers(TOKENS, all);
    rig.ops->attention_backward(rig.b, d_q, d_k, d_v, d_out, q, k, numbers(TOKENS, all), heads, dropout, &p);
    expect("d_q", d_q, 5e-6f);
    expect("d_k", d_k, 5e-6f);
    expect("d_v", d_v, 5e-6f);
}

static void case_attention_backward(void)
{
    attention_backward_case(5, 3, NULL, 1.0f);
    attention_backward_case(16, 2, &drop, 1.0f);
    attention_backward_case(64, 1, NULL, 5.0f);
    attention_backward_case(70, 2, &drop, 1.0f);
}

static void case_gather_backward(void)
{
    fm_tensor d_x = numbers(TOKENS, 70);
    rig.ops->gather_backward(rig.b, d_x, numbers(5, 70), words(some_rows, 5, 1));
    expect("d_x", d_x, 0.0f);
}

static void case_squares(void)
{
    static const uint32_t counts[] = {1, 300, 16384, 50001};
    for (size_t i = 0; i < 4; i++) {
        fm_tensor squares = numbers(1, 1);
        rig.ops->sum_squares(rig.b, squares, numbers(1, counts[i]));
        expect("squares", squares, 1e-6f);
    }
}

/* square: of the norm; infinite means that nothing may change. */
static void adamw_case(uint32_t count, float square, float clip, uint32_t step)
{
    const fm_adamw options = {1e-2f, 0.9f, 0.999f, 1e-8f, 0.01f, clip, step, 0.0f};
    fm_tensor p = numbers(1, count), g = numbers(1, count), m = numbers(1, count), v = tensor(FM_F32, 1, count);
    fm_tensor squares = tensor(FM_F32, 1, 1);
    float *from = random_numbers(count, 1.0f);
    for (uint32_t i = 0; i < count; i++) from[i] *= from[i];
    rig.ops->write(rig.b, v, from);
    rig.ops->write(rig.b, squares, &square);
    free(from);
    rig.ops->adamw(rig.b, p, g, m, v, squares, &options);
    expect("parameter", p, 1e-6f);
    expect("first", m, 1e-6f);
    expect("second", v, 1e-6f);
}

static void case_adamw(void)
{
    adamw_case(1, 0.0f, 1.0f, 1);
    adamw_case(777, 100.0f, 1.0f, 3);
    adamw_case(5000, 100.0f, 0.0f, 1000);
    adamw_case(300, INFINITY, 1.0f, 3);
    adamw_case(300, NAN, 1.0f, 3);
}

/* A product beyond f16 makes the next norm infinite, and none after that, so that one step changes nothing. */
static void case_half_overflow(void)
{
    const fm_adamw options = {1e-2f, 0.9f, 0.999f, 1e-8f, 0.01f, 1.0f, 3, 1024.0f};
    fm_tensor y = numbers(5, 7), x = scaled(5, 9, 1e5f), w = numbers(7, 9), squares = tensor(FM_F32, 1, 1);
    rig.ops->precision(rig.b, FM_PRECISION_F16);
    rig.ops->linear(rig.b, y, x, w, FM_NO_TENSOR, FM_EPILOGUE_NONE, FM_NO_TENSOR);
    for (int step = 0; step < 2; step++) {
        fm_tensor p = numbers(1, 300), g = scaled(1, 300, 1024.0f), m = numbers(1, 300), v = tensor(FM_F32, 1, 300);
        rig.ops->sum_squares(rig.b, squares, g);
        if (step == 0 && rig.side == 0) rig.ops->write(rig.b, squares, &(float){INFINITY});
        rig.ops->adamw(rig.b, p, g, m, v, squares, &options);
        expect("parameter", p, 1e-6f);
        expect("first", m, 1e-6f);
        expect("second", v, 1e-6f);
    }
}

/* ---- a network ---- */

#define VOCABULARY 301
#define MASKED 9

static const fm_config config = {.vocab_size = VOCABULARY,
                                 .hidden = 64,
                                 .layers = 2,
                                 .heads = 4,
                                 .feed_forward = 256,
                                 .positions = 32,
                                 .dropout = 0.1f,
                                 .attention_dropout = 0.1f,
                                 .initializer_range = 0.2f};

static const float **make_values(fm_parameters *parameters)
{
    const float **values = calloc(100, sizeof *values);
    if (!values || fm_parameters_make(parameters, &config, NULL)) __builtin_trap();
    float *all = memory((size_t)parameters->elements);
    if (fm_initialise(all, &config, parameters, 5, false, NULL, NULL)) __builtin_trap();
    for (size_t i = 0; i < parameters->count; i++) values[i] = all + parameters->list[i].offset;
    return values; /* they stay: the network may have imported them */
}

static fm_network *make_network(fm_parameters *parameters, const fm_room *room)
{
    fm_network *network;
    const float **values = make_values(parameters);
    if (fm_network_create(&network, &config, parameters, rig.b, room, values, NULL)) __builtin_trap();
    return network;
}

/* With the weights of a file of a type, which the reference makes floats of. */
static fm_network *open_network(fm_stored_type type, const fm_room *room)
{
    fm_parameters *parameters = calloc(1, sizeof *parameters);
    fm_weights *opened = calloc(1, sizeof *opened);
    const float **values = make_values(parameters);
    fm_safetensors *file;
    fm_network *network;
    uint8_t *data;
    size_t size;
    fm_status status = fm_weights_build(&data, &size, parameters, values, type, NULL);
    if (!status) status = fm_safetensors_from_memory(&file, data, size, "model.safetensors", NULL);
    if (!status) status = fm_weights_load(opened, parameters, file, "model.safetensors", NULL);
    if (!status && rig.side == 0) status = fm_weights_floats(opened, parameters, NULL);
    if (!status && rig.side == 0)
        status = fm_network_create(&network, &config, parameters, rig.b, room, opened->values, NULL);
    if (!status && rig.side == 1) status = fm_network_open(&network, &config, parameters, rig.b, room, opened, NULL);
    if (status) __builtin_trap();
    return network;
}

static fm_batch make_batch(uint32_t step)
{
    static uint32_t ids[TOKENS], rows[MASKED], labels[MASKED];
    for (uint32_t t = 0; t < TOKENS; t++) ids[t] = (t * 37 + step * 11) % VOCABULARY;
    for (uint32_t i = 0; i < MASKED; i++) {
        rows[i] = i * 5 + step % 3;
        labels[i] = (i * 91 + step) % VOCABULARY;
    }
    return (fm_batch){TOKENS, SEQUENCES, MASKED, 0, ids, starts, rows, labels};
}

static void run_network(fm_network *network, uint32_t step, fm_run run)
{
    const fm_run_options options = {
        .run = run, .scale = 1.0f / MASKED, .dropout = run == FM_RUN_TRAIN, .seed = 9, .step = step};
    fm_batch batch = make_batch(step);
    if (fm_network_begin(network, &batch, &options, NULL)) __builtin_trap();
    while (fm_network_advance(network)) continue;
}

static void case_network(void)
{
    const fm_room room = {TOKENS, SEQUENCES, MASKED, false};
    fm_parameters parameters;
    fm_network *network = make_network(&parameters, &room);
    run_network(network, 1, FM_RUN_LOGITS);
    fm_network_read_logits(network, expect_memory("logits", (size_t)MASKED * VOCABULARY, 1e-5f));
    run_network(network, 2, FM_RUN_LOSS);
    fm_network_read_losses(network, expect_memory("losses", 2 * MASKED, 1e-5f));
    run_network(network, 3, FM_RUN_HIDDEN);
    fm_network_read_hidden(network, expect_memory("hidden", (size_t)TOKENS * 64, 1e-5f));
}

/* Weights of each type that files have: the GPU rounds nothing that the file has not. */
static void case_stored_network(void)
{
    const fm_room room = {TOKENS, SEQUENCES, MASKED, false};
    for (fm_stored_type type = FM_STORED_F16; type <= FM_STORED_I8; type++) {
        fm_network *network = open_network(type, &room);
        run_network(network, type, FM_RUN_LOGITS);
        fm_network_read_logits(network, expect_memory("logits", (size_t)MASKED * VOCABULARY, 1e-5f));
    }
}

/* Large enough that a step does not turn the rounding of gradients that are zero into weights. */
#define EPSILON 1e-4f

/* Every gradient, and what ten steps make of the weights. */
static void case_training(void)
{
    const fm_room room = {TOKENS, SEQUENCES, MASKED, true};
    fm_parameters parameters;
    fm_network *network = make_network(&parameters, &room);
    size_t elements = (size_t)parameters.elements;
    for (uint32_t step = 0; step < 10; step++) {
        const fm_adamw options = {1e-3f, 0.9f, 0.999f, EPSILON, 0.01f, 1.0f, step + 1, 0.0f};
        fm_network_zero_gradients(network);
        run_network(network, step, FM_RUN_TRAIN);
        if (step == 0) {
            float *gradients = memory(elements);
            fm_network_read_state(network, FM_STATE_GRADIENTS, gradients);
            for (size_t i = 0; i < parameters.count; i++) {
                const fm_parameter *p = &parameters.list[i];
                compare(p->name, gradients + p->offset, (size_t)p->rows * p->cols, 1e-5f);
            }
        }
        fm_network_read_losses(network, expect_memory("losses", 2 * MASKED, 2e-5f));
        fm_network_update(network, &options);
    }
    fm_network_read_state(network, FM_STATE_VALUES, expect_memory("weights", elements, 1e-4f));
}

/* Beside f32: gradients, losses and weights of three steps with scaled gradients. */
static void case_half_training(void)
{
    const fm_room room = {TOKENS, SEQUENCES, MASKED, true};
    fm_parameters parameters;
    fm_network *network = make_network(&parameters, &room);
    size_t elements = (size_t)parameters.elements;
    for (uint32_t step = 0; step < 3; step++) {
        const fm_adamw options = {1e-3f, 0.9f, 0.999f, EPSILON, 0.01f, 1.0f, step + 1, 1024.0f};
        fm_batch batch = make_batch(step);
        const fm_run_options run = {.run = FM_RUN_TRAIN,
                                    .scale = 1024.0f / MASKED,
                                    .precision = FM_PRECISION_F16,
                                    .dropout = true,
                                    .seed = 9,
                                    .step = step};
        fm_network_zero_gradients(network);
        if (fm_network_begin(network, &batch, &run, NULL)) __builtin_trap();
        while (fm_network_advance(network)) continue;
        if (step == 0) fm_network_read_state(network, FM_STATE_GRADIENTS, expect_memory("gradients", elements, 1e-2f));
        fm_network_read_losses(network, expect_memory("losses", 2 * MASKED, 2e-2f));
        fm_network_update(network, &options);
    }
    fm_network_read_state(network, FM_STATE_VALUES, expect_memory("weights", elements, 5e-3f));
}

/* Those whose names begin with "half" need a GPU with f16. */
static const struct test {
    const char *name;
    void (*run)(void);
    uint32_t limit; /* bytes of a binding at which it splits its work, 0 if it cannot */
} tests[] = {{"linear", case_linear, 8192},
             {"large linear", case_large_linear, 0},
             {"packed linear", case_packed_linear, 8192},
             {"large packed linear", case_large_packed_linear, 0},
             {"embedding", case_embedding, 8192},
             {"packed embedding", case_packed_embedding, 8192},
             {"every f16", case_every_half, 0},
             {"layer_norm", case_layer_norm, 0},
             {"attention", case_attention, 0},
             {"gather", case_gather, 0},
             {"mlm_loss", case_loss, 8192},
             {"embedding_backward", case_embedding_backward, 32768},
             {"layer_norm_backward", case_layer_norm_backward, 0},
             {"linear_backward", case_linear_backward, 8192},
             {"deep linear_backward", case_deep_linear_backward, 0},
             {"gelu_backward", case_gelu_backward, 8192},
             {"attention_backward", case_attention_backward, 0},
             {"gather_backward", case_gather_backward, 0},
             {"sum_squares", case_squares, 8192},
             {"adamw", case_adamw, 8192},
             {"network", case_network, 0},
             {"stored network", case_stored_network, 0},
             {"training", case_training, 0},
             {"half linear", case_half_linear, 0},
             {"half rounding", case_half_rounding, 0},
             {"half linear_backward", case_half_linear_backward, 0},
             {"half overflow", case_half_overflow, 0},
             {"half training", case_half_training, 0}};

/* ---- for the host ---- */

const char *test_name(size_t index)
{
    return index < sizeof tests / sizeof *tests ? tests[index].name : NULL;
}

uint32_t test_limit(size_t index)
{
    return tests[index].limit;
}

/* Makes both sides do a case; limit: of the GPU's bindings, in bytes. */
void test_run(size_t index, uint32_t limit)
{
    fm_error err = {0};
    memset(&rig, 0, sizeof rig);
    if (fm_cpu_create(&rig.backends[0], "scalar", 1, &err) || fm_webgpu_create(&rig.backends[1], limit, false, &err))
        __builtin_trap();
    for (rig.side = 0; rig.side < 2; rig.side++) {
        rig.b = rig.backends[rig.side];
        rig.ops = rig.b->ops;
        rig.seed = 0;
        rig.used = 0;
        rig.half = false;
        tests[index].run();
        if (rig.side == 0 && rig.ops->finish(rig.b, &err)) __builtin_trap();
    }
}

/* For tests/bench/webgpu.mjs: y (m, n) = x (m, k) w (n, k)^T, or, of that, the gradients of x and w; `times` of them. y
 * is read, so that bench_check() tells when all are done. */
void bench_make(uint32_t limit, uint32_t m, uint32_t n, uint32_t k, bool half)
{
    memset(&rig, 0, sizeof rig);
    if (fm_webgpu_create(&rig.backends[1], limit, false, NULL)) __builtin_trap();
    rig.b = rig.backends[1];
    rig.ops = rig.b->ops;
    rig.ops->precision(rig.b, half ? FM_PRECISION_F16 : FM_PRECISION_F32);
    bench[0] = tensor(FM_F32, m, n);
    bench[1] = tensor(FM_F32, m, k);
    bench[2] = tensor(FM_F32, n, k);
    bench[3] = tensor(FM_F32, m, k);
    bench[4] = tensor(FM_F32, n, k);
}

void bench_run(uint32_t times, bool gradients)
{
    static float first;
    for (uint32_t i = 0; i < times && gradients; i++)
        rig.ops->linear_backward(rig.b, bench[3], false, bench[4], FM_NO_TENSOR, bench[0], bench[1], bench[2]);
    for (uint32_t i = 0; i < times && !gradients; i++)
        rig.ops->linear(rig.b, bench[0], bench[1], bench[2], FM_NO_TENSOR, FM_EPILOGUE_NONE, FM_NO_TENSOR);
    rig.ops->read(rig.b, (fm_tensor){bench[gradients ? 4 : 0].buffer, FM_F32, 1, 1, 0}, &first);
}

int bench_check(void)
{
    fm_status status = rig.ops->finish(rig.b, NULL);
    return status == FM_OK ? 0 : status == FM_PENDING ? 1 : 2;
}

static bool same(const comparison *c)
{
    double most = 0.0, worst = 0.0;
    size_t at = 0;
    for (size_t i = 0; i < c->count; i++) {
        double expected = c->found[0][i], difference = fabs(c->found[1][i] - expected);
        if (fabs(expected) > most) most = fabs(expected);
        if (difference > worst || difference != difference) {
            worst = difference;
            at = i;
        }
        if (difference != difference) break;
    }
    if (worst <= c->bound * (1.0 + most)) return true;
    snprintf(failure, sizeof failure, "%s[%zu of %zu] is %.9g, expected %.9g (largest %.3g)", c->what, at, c->count,
             (double)c->found[1][at], (double)c->found[0][at], most);
    return false;
}

/* 0: right; 1: the GPU is not done; 2: wrong, as failure_text() says. */
int test_check(void)
{
    fm_error err = {0};
    int result = 0;
    fm_status status = rig.backends[1]->ops->finish(rig.backends[1], &err);
    if (status == FM_PENDING) return 1;
    if (status) {
        snprintf(failure, sizeof failure, "%s", err.text);
        result = 2;
    }
    for (size_t i = 0; i < rig.used && result == 0; i++)
        if (!same(&rig.list[i])) result = 2;
    for (int i = 0; i < 2; i++) rig.backends[i]->ops->destroy(rig.backends[i]);
    return result;
}
