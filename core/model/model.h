/* model.h - the door of core/model: config.json, safetensors, the list of a model's parameters, and DistilBERT's
 * forward and backward pass on any backend of core/ops. Nothing here knows of text or of training data. */
#ifndef FM_MODEL_H
#define FM_MODEL_H

#include "base/base.h"
#include "ops/ops.h"

/* ---- config.json (config.c) ---- */

/* The shape of a DistilBertForMaskedLM, under the names of this code; the file uses Hugging Face's. */
typedef struct fm_config {
    uint32_t vocab_size;     /* vocab_size */
    uint32_t hidden;         /* dim */
    uint32_t layers;         /* n_layers */
    uint32_t heads;          /* n_heads; divides hidden */
    uint32_t feed_forward;   /* hidden_dim */
    uint32_t positions;      /* max_position_embeddings */
    float dropout;           /* dropout, [0, 1) */
    float attention_dropout; /* attention_dropout, [0, 1) */
    float initializer_range; /* initializer_range, > 0 */
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
/* Bytes up to the tensors, of a file whose first `size` bytes are there, 8 of them at least. */
fm_status fm_safetensors_head(const uint8_t *data, size_t size, const char *name, size_t *head, fm_error *err);
/* From these bytes alone, which may go afterwards: the tensors have no data. */
fm_status fm_safetensors_from_head(fm_safetensors **file, const void *head, size_t size, const char *name,
                                   fm_error *err);
/* Whether `size` bytes are what the header announces after it. */
fm_status fm_safetensors_check_size(const fm_safetensors *file, uint64_t size, fm_error *err);
void fm_safetensors_close(fm_safetensors *file);
size_t fm_safetensors_count(const fm_safetensors *file);
const fm_stored_tensor *fm_safetensors_at(const fm_safetensors *file, size_t index);       /* in file order */
const fm_stored_tensor *fm_safetensors_find(const fm_safetensors *file, const char *name); /* NULL if absent */
const char *fm_safetensors_metadata(const fm_safetensors *file, const char *key);          /* NULL if absent */

typedef struct fm_stored_note {
    const char *key, *value;
} fm_stored_note;
/* Writes tensors, in the order given, and metadata; atomic. The header is padded so that data starts at a multiple of
 * 64 bytes. */
fm_status fm_safetensors_write(const char *path, const fm_stored_tensor *tensors, size_t count,
                               const fm_stored_note *notes, size_t note_count, fm_error *err);
/* The same file in memory, freed with fm_free. */
fm_status fm_safetensors_build(uint8_t **data, size_t *size, const fm_stored_tensor *tensors, size_t count,
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
    FM_L_Q_W,
    FM_L_Q_B,
    FM_L_K_W,
    FM_L_K_B,
    FM_L_V_W,
    FM_L_V_B,
    FM_L_OUT_W,
    FM_L_OUT_B,
    FM_L_SA_GAMMA,
    FM_L_SA_BETA,
    FM_L_LIN1_W,
    FM_L_LIN1_B,
    FM_L_LIN2_W,
    FM_L_LIN2_B,
    FM_L_OUT_GAMMA,
    FM_L_OUT_BETA,
    FM_P_PER_LAYER
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
/* Numbers in all; the offsets leave gaps, so that elements is a few more. */
uint64_t fm_parameters_numbers(const fm_parameters *parameters);

/* A matrix of int8: row i holds values[i * cols + j] * scales[i]. values is NULL where there is none. */
typedef struct fm_int8_matrix {
    const int8_t *values;
    const float *scales;
} fm_int8_matrix;

/* A model's values. A parameter that the file holds as aligned F32 points into the mapped file, and so do the I8
 * matrices; the others are converted to f32, among them the position embeddings. Of a file that was streamed a backend
 * holds the matrices, and the rest is f32. */
typedef struct fm_weights {
    fm_safetensors *file;
    const float **values; /* one a parameter; NULL for those in int8 or held, until fm_weights_floats */
    fm_int8_matrix *int8; /* one a parameter; of those that are held, the scales alone */
    fm_backend *holder;   /* NULL if none are */
    fm_tensor *held;      /* one a parameter, without a buffer if it is not held */
    size_t count;         /* of these */
    float *converted, *floats;
    fm_stored_type stored; /* what the matrices are stored as */
} fm_weights;
/* Checks names, shapes and types against the parameters; refuses missing and unknown tensors, NaN and infinity, and a
 * vocab_projector.weight that is not the word embeddings. Takes `file` over, also on failure. */
fm_status fm_weights_load(fm_weights *weights, const fm_parameters *parameters, fm_safetensors *file, const char *name,
                          fm_error *err);
/* The same from a file that comes in parts, cut anywhere, and that nobody keeps: each row of a matrix goes to the
 * backend, which holds it as it computes with it, so that the file is never in memory as a whole. */
typedef struct fm_weights_stream fm_weights_stream;
/* type: what the values become, as fm_weights_save stores that type; floats of 16 bits are computed with in f32. */
#define FM_AS_STORED (-1)
fm_status fm_weights_stream_open(fm_weights_stream **stream, const fm_parameters *parameters, fm_backend *holder,
                                 int type, const char *name, fm_error *err);
/* Nothing can follow a failure but closing. */
fm_status fm_weights_stream_push(fm_weights_stream *stream, const void *data, size_t size, fm_error *err);
/* After the last part; the weights are to be freed before their holder is destroyed. */
fm_status fm_weights_stream_end(fm_weights_stream *stream, fm_weights *weights, fm_error *err);
void fm_weights_stream_close(fm_weights_stream *stream); /* NULL is allowed */
/* Makes f32 of the other matrices as well, for what needs them: training, and writing files. Does nothing the second
 * time. */
fm_status fm_weights_floats(fm_weights *weights, const fm_parameters *parameters, fm_error *err);
/* Frees these again. */
void fm_weights_drop_floats(fm_weights *weights, const fm_parameters *parameters);
void fm_weights_free(fm_weights *weights);

/* Writes model.safetensors. values: one pointer a parameter. Matrices are stored as `type`: F32, F16 and BF16 store
 * all tensors so; I8 stores matrices in -63..63 with a NAME.scale (rows) F32 beside each (the scale of each row
 * chosen to lose least), vectors as F32, and says so in the metadata. */
fm_status fm_weights_save(const char *path, const fm_parameters *parameters, const float *const *values,
                          fm_stored_type type, fm_error *err);
/* The same, spread over a pool and with a callback that counts values; both may be NULL. */
fm_status fm_weights_convert(const char *path, const fm_parameters *parameters, const float *const *values,
                             fm_stored_type type, fm_pool *pool, fm_progress progress, void *context, fm_error *err);
/* The same file in memory, freed with fm_free. */
fm_status fm_weights_build(uint8_t **data, size_t *size, const fm_parameters *parameters, const float *const *values,
                           fm_stored_type type, fm_error *err);

/* ---- the network (network.c, batch.c) ---- */

/* Sequences packed end to end, and the rows that the head looks at. The arrays stay the caller's. */
typedef struct fm_batch {
    uint32_t tokens, sequences, masked;
    uint32_t first;         /* number of the first sequence in its step: what dropout is drawn for */
    const uint32_t *ids;    /* (tokens), each below vocab_size */
    const uint32_t *starts; /* (sequences + 1), from 0 to tokens; no sequence longer than the positions */
    const uint32_t *rows;   /* (masked) distinct rows of the batch, rising; may be none for FM_RUN_HIDDEN */
    const uint32_t *labels; /* (masked), each below vocab_size; not looked at for FM_RUN_LOGITS and FM_RUN_HIDDEN */
} fm_batch;

/* The largest batch a network is to take. */
typedef struct fm_room {
    uint32_t tokens, sequences, masked;
    bool training; /* keeps what the backward pass and the optimizer need */
} fm_room;

typedef enum fm_run {
    FM_RUN_LOGITS, /* logits of the masked rows */
    FM_RUN_LOSS,   /* and their loss and rank */
    FM_RUN_TRAIN,  /* and the gradients, added to those that are there; the logits are lost */
    FM_RUN_HIDDEN  /* the last layer's output for all tokens, and no head; not with room for training */
} fm_run;

/* DistilBertForMaskedLM on a backend, which must outlive it, as must the parameters. All memory is had on creation. */
typedef struct fm_network fm_network;
fm_status fm_network_create(fm_network **network, const fm_config *config, const fm_parameters *parameters,
                            fm_backend *backend, const fm_room *room, const float *const *values, fm_error *err);
/* For inference, with the weights of a file as they are: int8 matrices are computed with as such. */
fm_status fm_network_open(fm_network **network, const fm_config *config, const fm_parameters *parameters,
                          fm_backend *backend, const fm_room *room, const fm_weights *weights, fm_error *err);
void fm_network_destroy(fm_network *network);

/* Starts a run, giving up one that is unfinished. For FM_RUN_TRAIN: scale multiplies the summed loss before it is
 * differentiated (1 / masked rows of the step gives the mean), dropout's rates come from the config and its seed and
 * step from here. Refuses a batch that is not as fm_batch says. */
typedef struct fm_run_options {
    fm_run run;
    float scale;
    fm_precision precision; /* of the linear layers */
    bool dropout;
    uint32_t seed, step;
} fm_run_options;
fm_status fm_network_begin(fm_network *network, const fm_batch *batch, const fm_run_options *options, fm_error *err);
/* Does the next part of the run (the embedding, a layer, the head...); false if none is left. */
bool fm_network_advance(fm_network *network);
/* Asks for results; they are in `to` after the backend's finish(). */
void fm_network_read_logits(fm_network *network, float *to); /* (masked, vocab_size) */
void fm_network_read_losses(fm_network *network, float *to); /* (masked, 2): loss in nats, logits above the label's */
void fm_network_read_hidden(fm_network *network, float *to); /* (tokens, hidden), after FM_RUN_HIDDEN alone */

/* Training only. The parameters are one array (fm_parameters.elements), as are gradients and both moments. */
typedef enum fm_state { FM_STATE_VALUES, FM_STATE_GRADIENTS, FM_STATE_FIRST, FM_STATE_SECOND } fm_state;
void fm_network_write_state(fm_network *network, fm_state state, const float *from);
void fm_network_read_state(fm_network *network, fm_state state, float *to);
void fm_network_zero_gradients(fm_network *network);
/* From here on the embeddings (with them the tied output matrix), or the first layers, or both, stay as they are. */
void fm_network_freeze(fm_network *network, bool embeddings, uint32_t layers);
/* Clips by the norm of all gradients and makes one AdamW step; options->weight_decay applies to the parameters that
 * take it. The norm squared can be read afterwards. */
void fm_network_update(fm_network *network, const fm_adamw *options);
void fm_network_read_squares(fm_network *network, float *to);

#endif
