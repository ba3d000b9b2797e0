/* convert.h - loops between f32 and the number types of files, for core/model and its tests. Not a door. */
#ifndef FM_MODEL_CONVERT_H
#define FM_MODEL_CONVERT_H

#include "model/model.h"

/* False if any of the values is NaN or infinite. */
bool fm_all_finite(const float *values, size_t count);

/* Stored values, little-endian and at any alignment, to f32, exactly. I8 gives the integers; the scale is the
 * caller's. False if any of them is NaN or infinite. */
bool fm_decode(float *to, const uint8_t *from, fm_stored_type type, size_t count);

/* f32 to F16 or BF16, rounded to nearest, ties to even. False if a finite value is too large for the type. */
bool fm_encode16(uint16_t *to, const float *from, fm_stored_type type, size_t count);

/* One row as integers in -63..63 times the scale that is returned, chosen for the least squared error. The values must
 * be finite. */
float fm_quantise_row(int8_t *to, const float *from, size_t count);

#endif
