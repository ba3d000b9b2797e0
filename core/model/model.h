/* model.h - the door of core/model: config.json, safetensors, the list of a model's parameters, and DistilBERT's
 * forward and backward pass on any backend of core/ops. Nothing here knows of text or of training data. */
#ifndef FM_MODEL_H
#define FM_MODEL_H

#include "base/base.h"
#include "ops/ops.h"

/* ---- config.json (config.c) ---- */

/* The shape of a DistilBertForMaskedLM, under the names of this code; the file uses Hugging Face's. */
typedef struct fm_config {
    uint32_t vocab_size;      /* vocab_size */
    uint32_t hidden;          /* dim */
    uint32_t layers;          /* n_layers */
    uint32_t heads;           /* n_heads; divides hidden */
    uint32_t feed_forward;    /* hidden_dim */
    uint32_t positions;       /* max_position_embeddings */
    float dropout;            /* dropout, [0, 1) */
    float attention_dropout;  /* attention_dropout, [0, 1) */
    float initializer_range;  /* initializer_range, > 0 */
} fm_config;

/* Refuses what is missing, out of range or not supported (another model_type, an activation other than gelu,
 * tie_word_embeddings false, layers that drop), with the field, the value and the remedy. `name` is for errors. */
fm_status fm_config_parse(fm_config *config, const void *data, size_t size, const char *name, fm_error *err);
fm_status fm_config_read(fm_config *config, const char *path, fm_error *err);
/* As transformers writes it for DistilBertForMaskedLM. */
fm_status fm_config_write(const fm_config *config, const char *path, fm_error *err);

/* ---- safetensors (safetensors.c) ---- */

typedef enum fm_stored_type { FM_STORED_F32, FM_STORED_F16, FM_STORED_BF16, FM_STORED_I8 } fm_stored_type;

#define FM_MOST_DIMENSIONS 8

typedef struct fm_stored_tensor {
    const char *name;
    fm_stored_type type;
    uint32_t rank; /* 0 is a scalar */
    uint64_t shape[FM_MOST_DIMENSIONS];
    const uint8_t *data; /* little-endian, as in the file; any alignment */
    size_t size;         /* bytes */
} fm_stored_tensor;

/* A checked, read-only file. Every rejection that the format asks for is made on opening. */
typedef struct fm_safetensors fm_safetensors;
fm_status fm_safetensors_open(fm_safetensors **file, const char *path, fm_error *err);
/* The memory stays the caller's and must outlive the result. */
fm_status fm_safetensors_from_memory(fm_safetensors **file, const void *data, size_t size, const char *name,
                                     fm_error *err);
void fm_safetensors_close(fm_safetensors *file);
size_t fm_safetensors_count(const fm_safetensors *file);
const fm_stored_tensor *fm_safetensors_at(const fm_safetensors *file, size_t index); /* in file order */
const fm_stored_tensor *fm_safetensors_find(const fm_safetensors *file, const char *name); /* NULL if absent */
const char *fm_safetensors_metadata(const fm_safetensors *file, const char *key);          /* NULL if absent */

typedef struct fm_stored_note {
    const char *key, *value;
} fm_stored_note;
/* Writes tensors, in the order given, and metadata; atomic. The header is padded so that data starts at a multiple of
 * 64 bytes. */
fm_status fm_safetensors_write(const char *path, const fm_stored_tensor *tensors, size_t count,
                               const fm_stored_note *notes, size_t note_count, fm_error *err);

/* ---- parameters (parameters.c) ---- */

/* One tensor of a model, in the order and under the name of DistilBertForMaskedLM's state_dict (the tied
 * vocab_projector.weight is not listed). Vectors have rows 1. */
typedef struct fm_parameter {
    char name[80];
    uint32_t rows, cols;
    bool vector;     /* rank 1 in files */
    bool decay;      /* gets weight decay: neither a bias nor of a layer norm */
    uint64_t offset; /* elements from the start of the parameters in one array, those with decay first */
} fm_parameter;

/* Places in the list. Layer i's parameters are FM_P_LAYER0 + i * FM_P_PER_LAYER + one of fm_layer_parameter. */
enum { FM_P_WORD, FM_P_POSITION, FM_P_EMBED_GAMMA, FM_P_EMBED_BETA, FM_P_LAYER0 };
enum fm_layer_parameter {
    FM_L_Q_W, FM_L_Q_B, FM_L_K_W, FM_L_K_B, FM_L_V_W, FM_L_V_B, FM_L_OUT_W, FM_L_OUT_B, FM_L_SA_GAMMA, FM_L_SA_BETA,
    FM_L_LIN1_W, FM_L_LIN1_B, FM_L_LIN2_W, FM_L_LIN2_B, FM_L_OUT_GAMMA, FM_L_OUT_BETA, FM_P_PER_LAYER
};
/* After the layers: */
enum fm_head_parameter { FM_H_TRANSFORM_W, FM_H_TRANSFORM_B, FM_H_NORM_GAMMA, FM_H_NORM_BETA, FM_H_BIAS, FM_P_HEAD };

typedef struct fm_parameters {
    size_t count;
    uint64_t elements, decayed; /* of all, and of those with decay, which come first */
    fm_parameter *list;
} fm_parameters;
fm_status fm_parameters_make(fm_parameters *parameters, const fm_config *config, fm_error *err);
void fm_parameters_free(fm_parameters *parameters);

/* A model's values as f32. A parameter that the file holds as aligned F32 points into the mapped file; the others are
 * converted. */
typedef struct fm_weights {
    fm_safetensors *file;
    const float **values; /* one a parameter */
    float *converted;
    fm_stored_type stored; /* what the matrices are stored as */
} fm_weights;
/* Checks names, shapes and types against the parameters; refuses missing and unknown tensors, NaN and infinity, and a
 * vocab_projector.weight that is not the word embeddings. Takes `file` over, also on failure. */
fm_status fm_weights_load(fm_weights *weights, const fm_parameters *parameters, fm_safetensors *file, const char *name,
                          fm_error *err);
void fm_weights_free(fm_weights *weights);

/* Writes model.safetensors. values: one pointer a parameter. Matrices are stored as `type`: F32, F16 and BF16 store
 * all tensors so; I8 stores matrices in -63..63 with a NAME.scale (rows) F32 beside each (the scale of each row
 * chosen to lose least), vectors as F32, and says so in the metadata. */
fm_status fm_weights_save(const char *path, const fm_parameters *parameters, const float *const *values,
                          fm_stored_type type, fm_error *err);

#endif
