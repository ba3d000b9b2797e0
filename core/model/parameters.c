/* parameters.c - the list of a DistilBertForMaskedLM's parameters: names, shapes, which ones decay, and where each
 * lies in one array. It holds no values. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 16u /* elements: 64 bytes, one cache line and one AVX-512 register */

static void set(fm_parameters *parameters, size_t at, const char *prefix, const char *name, uint32_t rows,
                uint32_t cols, bool decay)
{
    fm_parameter *p = &parameters->list[at];
    snprintf(p->name, sizeof p->name, "%s%s", prefix, name);
    p->rows = rows;
    p->cols = cols;
    p->decay = decay;
}

/* w is (out, in), its bias (out). */
static void set_linear(fm_parameters *parameters, size_t at, const char *prefix, const char *name, uint32_t out,
                       uint32_t in)
{
    char full[32];
    snprintf(full, sizeof full, "%s.weight", name);
    set(parameters, at, prefix, full, out, in, true);
    snprintf(full, sizeof full, "%s.bias", name);
    set(parameters, at + 1, prefix, full, 1, out, false);
    parameters->list[at + 1].vector = true;
}

static void set_norm(fm_parameters *parameters, size_t at, const char *prefix, const char *name, uint32_t hidden)
{
    char full[32];
    static const char *const parts[] = {"weight", "bias"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(full, sizeof full, "%s.%s", name, parts[i]);
        set(parameters, at + i, prefix, full, 1, hidden, false);
        parameters->list[at + i].vector = true;
    }
}

static void name_all(fm_parameters *parameters, const fm_config *config)
{
    uint32_t h = config->hidden, f = config->feed_forward;
    const char *embeddings = "distilbert.embeddings.";
    set(parameters, FM_P_WORD, embeddings, "word_embeddings.weight", config->vocab_size, h, true);
    set(parameters, FM_P_POSITION, embeddings, "position_embeddings.weight", config->positions, h, true);
    set_norm(parameters, FM_P_EMBED_GAMMA, embeddings, "LayerNorm", h);
    size_t at = FM_P_LAYER0;
    for (uint32_t i = 0; i < config->layers; i++, at += FM_P_PER_LAYER) {
        char layer[48];
        snprintf(layer, sizeof layer, "distilbert.transformer.layer.%u.", (unsigned)i);
        set_linear(parameters, at + FM_L_Q_W, layer, "attention.q_lin", h, h);
        set_linear(parameters, at + FM_L_K_W, layer, "attention.k_lin", h, h);
        set_linear(parameters, at + FM_L_V_W, layer, "attention.v_lin", h, h);
        set_linear(parameters, at + FM_L_OUT_W, layer, "attention.out_lin", h, h);
        set_norm(parameters, at + FM_L_SA_GAMMA, layer, "sa_layer_norm", h);
        set_linear(parameters, at + FM_L_LIN1_W, layer, "ffn.lin1", f, h);
        set_linear(parameters, at + FM_L_LIN2_W, layer, "ffn.lin2", h, f);
        set_norm(parameters, at + FM_L_OUT_GAMMA, layer, "output_layer_norm", h);
    }
    set_linear(parameters, at + FM_H_TRANSFORM_W, "", "vocab_transform", h, h);
    set_norm(parameters, at + FM_H_NORM_GAMMA, "", "vocab_layer_norm", h);
    set(parameters, at + FM_H_BIAS, "", "vocab_projector.bias", 1, config->vocab_size, false);
    parameters->list[at + FM_H_BIAS].vector = true;
}

/* Gives offsets to the parameters with or without decay; false if all of them do not fit the address space as f32. */
static bool place(fm_parameters *parameters, bool decay)
{
    uint64_t most = (SIZE_MAX / sizeof(float)) & ~(uint64_t)(ALIGNMENT - 1);
    for (size_t i = 0; i < parameters->count; i++) {
        fm_parameter *p = &parameters->list[i];
        if (p->decay != decay) continue;
        uint64_t size = (uint64_t)p->rows * p->cols;
        if (size > most - parameters->elements) return false;
        p->offset = parameters->elements;
        /* most is a multiple of the alignment, so rounding up stays within it. */
        parameters->elements += (size + (ALIGNMENT - 1)) & ~(uint64_t)(ALIGNMENT - 1);
    }
    return true;
}

fm_status fm_parameters_make(fm_parameters *parameters, const fm_config *config, fm_error *err)
{
    *parameters = (fm_parameters){0};
    size_t count;
    if (!fm_size_mul(config->layers, FM_P_PER_LAYER, &count) || count > SIZE_MAX - FM_P_LAYER0 - FM_P_HEAD)
        return fm_fail(err, FM_E_LIMIT, "A model of %u layers is too large for this machine's address space.",
                       (unsigned)config->layers);
    count += (size_t)FM_P_LAYER0 + FM_P_HEAD;
    parameters->list = calloc(count, sizeof *parameters->list);
    if (!parameters->list) return fm_fail_memory(err, count * sizeof *parameters->list, "the list of parameters");
    parameters->count = count;
    name_all(parameters, config);
    bool fits = place(parameters, true);
    parameters->decayed = parameters->elements;
    if (fits && place(parameters, false)) return FM_OK;
    fm_parameters_free(parameters);
    return fm_fail(err, FM_E_LIMIT,
                   "A model of %u layers, %u hidden and a vocabulary of %u is too large for this machine's address "
                   "space.",
                   (unsigned)config->layers, (unsigned)config->hidden, (unsigned)config->vocab_size);
}

void fm_parameters_free(fm_parameters *parameters)
{
    free(parameters->list);
    *parameters = (fm_parameters){0};
}

uint64_t fm_parameters_numbers(const fm_parameters *parameters)
{
    uint64_t numbers = 0;
    for (size_t i = 0; i < parameters->count; i++)
        numbers += (uint64_t)parameters->list[i].rows * parameters->list[i].cols;
    return numbers;
}
