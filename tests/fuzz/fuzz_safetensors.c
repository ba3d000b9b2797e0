/* fuzz_safetensors.c - bytes from outside into core/model's two readers: safetensors (the first byte even) and
 * config.json (odd). Every byte that an accepted tensor announces is read, and every name is looked up. */
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
    } else {
        fm_config config;
        status = fm_config_parse(&config, data + 1, size - 1, "fuzz.json", &err);
        if (!status && config.hidden % config.heads != 0) abort();
    }
    if (status && (err.status != status || !err.text[0])) abort();
    return 0;
}
