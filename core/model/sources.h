/* sources.h - which tensors of a safetensors file are a model's values, for the files of core/model that read and write
 * them. Not a door: nobody else includes it. */
#ifndef FM_MODEL_SOURCES_H
#define FM_MODEL_SOURCES_H

#include "model/model.h"

#define FM_QUANTISATION_KEY "fillmask.quantization"
#define FM_QUANTISATION "int8-row-symmetric"

/* What files call the number types. */
extern const char *const fm_stored_names[];

/* The name of the tensor with the scales of another one's rows. */
#define FM_SCALE ".scale"
typedef struct fm_scale_name {
    char text[sizeof((fm_parameter *)NULL)->name + sizeof FM_SCALE];
} fm_scale_name;
fm_scale_name fm_scale_of(const char *tensor);

typedef struct fm_loader {
    const fm_safetensors *file;
    const char *name; /* for errors */
    fm_error *err;
} fm_loader;

/* Where a parameter's values are in the file. */
typedef struct fm_source {
    const fm_stored_tensor *tensor;
    const fm_stored_tensor *scale; /* of I8 only */
} fm_source;

/* Finds every tensor and refuses what is missing, of another shape, or too much; `projector` is the tied matrix if the
 * file has it a second time. Nothing is said of the values. */
fm_status fm_sources_find(const fm_loader *l, const fm_parameters *parameters, fm_source *sources,
                          fm_source *projector);
/* Bytes of an element. */
size_t fm_stored_size(fm_stored_type type);
/* Whether a parameter stays int8. The position embeddings are too small to be worth it. */
bool fm_stays_int8(size_t parameter, const fm_source *from);
/* Elements that a parameter takes in an array of several. */
size_t fm_padded(size_t elements);

/* All rows of a matrix that is held, in its type. */
void fm_weights_take(const fm_weights *weights, size_t parameter, void *to);
/* A matrix of floats as f16, freed with fm_free; NULL if it has numbers that are none of f16. */
fm_status fm_weights_halves(const fm_weights *weights, const fm_parameters *parameters, size_t parameter,
                            uint16_t **halves, fm_error *err);

fm_status fm_not_finite(const fm_loader *l, const char *tensor);
/* Refuses scales that are not finite, or below 0. `data` is as in the file. */
fm_status fm_check_scales(const fm_loader *l, const char *tensor, const uint8_t *data, size_t count);
fm_status fm_not_tied(const fm_loader *l, size_t row, const char *word);

#endif
