/* fuzz_safetensors.c - bytes from outside into core/model's readers: safetensors (the first byte even), whole and, cut
 * into parts, as the weights of a tiny model, and config.json (odd). Every byte that an accepted tensor announces is
 * read, and every name is looked up. */
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_tensors(const fm_safetensors *file)
{
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < fm_safetensors_count(file); i++) {
        const fm_stored_tensor *tensor = fm_safetensors_at(file, i);
        for (size_t b = 0; b < tensor->size; b++) sum = (uint8_t)(sum + tensor->data[b]);
        if (fm_safetensors_find(file, tensor->name) != tensor) abort();
    }
    fm_safetensors_find(file, "no such tensor");
    fm_safetensors_metadata(file, "format");
}

/* Both ways to load weights must say the same. */
static void load_weights(const uint8_t *data, size_t size, size_t cut)
{
    const fm_config config = {3, 4, 1, 1, 4, 2, 0.0f, 0.0f, 0.02f};
    fm_parameters parameters;
    fm_backend *backend;
    fm_weights_stream *stream;
    fm_safetensors *file;
    fm_weights streamed = {0}, whole = {0};
    if (fm_parameters_make(&parameters, &config, NULL)) abort();
    if (fm_cpu_create(&backend, "scalar", 1, NULL)) abort();
    fm_status status = fm_weights_stream_open(&stream, &parameters, backend, FM_AS_STORED, "fuzz.safetensors", NULL);
    for (size_t at = 0; at < size && !status; at += cut)
        status = fm_weights_stream_push(stream, data + at, size - at < cut ? size - at : cut, NULL);
    if (!status) status = fm_weights_stream_end(stream, &streamed, NULL);
    fm_weights_stream_close(stream);
    fm_status other = fm_safetensors_from_memory(&file, data, size, "fuzz.safetensors", NULL);
    if (!other) other = fm_weights_load(&whole, &parameters, file, "fuzz.safetensors", NULL);
    if (!status && other) abort();
    fm_weights_free(&streamed);
    fm_weights_free(&whole);
    backend->ops->destroy(backend);
    fm_parameters_free(&parameters);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    fm_error err = {0};
    fm_status status;
    if (data[0] % 2 == 0) {
        fm_safetensors *file;
        status = fm_safetensors_from_memory(&file, data + 1, size - 1, "fuzz.safetensors", &err);
        if (!status) read_tensors(file);
        fm_safetensors_close(file);
        load_weights(data + 1, size - 1, 1 + data[0] / 2u);
    } else {
        fm_config config;
        status = fm_config_parse(&config, data + 1, size - 1, "fuzz.json", &err);
        if (!status && config.hidden % config.heads != 0) abort();
    }
    if (status && (err.status != status || !err.text[0])) abort();
    return 0;
}
