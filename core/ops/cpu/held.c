/* held.c - matrices that come row by row and are kept in packed form alone: what products read, and nothing beside it.
 * How the two packed forms lie is in gemm.c and int8.c. */
#include <string.h>

#include "ops/cpu/cpu.h"

fm_status cpu_hold(fm_backend *b, fm_type type, uint32_t rows, uint32_t cols, const float *scales, uint32_t *handle,
                   fm_error *err)
{
    cpu *c = (cpu *)b;
    cpu_buffer buffer = {.held = type == FM_I8 ? CPU_HELD_I8 : CPU_HELD_F32,
                         .rows = rows,
                         .cols = cols,
                         .elements = (size_t)rows * cols,
                         .scales = scales};
    size_t size = type == FM_I8 ? cpu_int8_packed_size(c->int8, rows, cols)
                                : cpu_packed_size(c->kernels, FM_PRECISION_F32, rows, cols) * sizeof(float);
    uint8_t *packed = fm_alloc(size, 1);
    *handle = 0;
    if (!packed) return fm_fail_memory(err, size, "a matrix of the model");
    if (type == FM_I8) {
        memset(packed, (int)c->int8->offset, size); /* zero, for what no row fills */
        buffer.int8_packed = packed;
    } else buffer.packed[FM_PRECISION_F32] = (float *)(void *)packed;
    fm_status status = cpu_add_buffer(c, buffer, handle, err);
    if (status) fm_free(packed);
    return status;
}

void cpu_put(fm_backend *b, uint32_t handle, uint32_t row, const void *from)
{
    cpu *c = (cpu *)b;
    cpu_buffer *buffer = &c->buffers[handle];
    if (buffer->held == CPU_HELD_I8) {
        buffer->inexact |= !cpu_int8_exact(c->int8, from, 1, buffer->cols);
        cpu_int8_pack_row(c->int8, buffer->int8_packed, from, row, buffer->cols);
    } else cpu_pack_row(c->kernels, buffer->packed[FM_PRECISION_F32], from, row, buffer->rows, buffer->cols);
}

/* As import_int8 does, where the integers would not be exact the matrix becomes floats. */
fm_status cpu_seal(fm_backend *b, uint32_t handle, fm_type *type, fm_error *err)
{
    cpu *c = (cpu *)b;
    cpu_buffer *buffer = &c->buffers[handle];
    if (buffer->held == CPU_HELD_I8 && buffer->inexact) {
        size_t size = cpu_packed_size(c->kernels, FM_PRECISION_F32, buffer->rows, buffer->cols);
        float *packed = fm_alloc(size, sizeof *packed), *row = fm_alloc(buffer->cols, sizeof *row);
        for (uint32_t i = 0; i < buffer->rows && packed && row; i++) {
            cpu_held_row(c, buffer, i, row);
            cpu_pack_row(c->kernels, packed, row, i, buffer->rows, buffer->cols);
        }
        fm_free(row);
        if (!packed || !row) {
            fm_free(packed);
            return fm_fail_memory(err, size * sizeof *packed, "a matrix of the model");
        }
        fm_free(buffer->int8_packed);
        buffer->int8_packed = NULL;
        buffer->packed[FM_PRECISION_F32] = packed;
        buffer->held = CPU_HELD_F32;
    }
    *type = buffer->held == CPU_HELD_I8 ? FM_I8 : FM_F32;
    return FM_OK;
}

void cpu_held_row(const cpu *c, const cpu_buffer *buffer, size_t row, float *to)
{
    size_t cols = buffer->cols;
    if (buffer->held == CPU_HELD_F32) {
        cpu_unpack_row(c->kernels, to, buffer->packed[FM_PRECISION_F32], row, buffer->rows, cols);
        return;
    }
    /* In the last quarter of the floats, which become of them from the first on. */
    int8_t *integers = (int8_t *)to + 3 * cols;
    cpu_int8_unpack_row(c->int8, integers, buffer->int8_packed, row, cols);
    cpu_int8_row(cols, to, integers, buffer->scales[row]);
}

void cpu_take(fm_backend *b, uint32_t handle, uint32_t row, void *to)
{
    const cpu *c = (cpu *)b;
    const cpu_buffer *buffer = &c->buffers[handle];
    if (buffer->held == CPU_HELD_I8) cpu_int8_unpack_row(c->int8, to, buffer->int8_packed, row, buffer->cols);
    else cpu_held_row(c, buffer, row, to);
}
