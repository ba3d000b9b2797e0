/* fuzz_reader.c - any bytes through the readers: no crash, no endless loop, documents that end in a NUL. The
 * first byte picks the format. */
#include <stdio.h>
#include <unistd.h>

#include "train/train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    FILE *file = tmpfile();
    if (!file) return 0;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fileno(file));
    fm_reader *reader;
    if (fwrite(data + 1, 1, size - 1, file) == size - 1 && fflush(file) == 0 &&
        fm_reader_open(&reader, path, (fm_text_format)(data[0] % 7), NULL, NULL) == FM_OK) {
        fm_error err;
        fm_document document;
        size_t count = 0;
        bool more = true;
        while (fm_reader_next(reader, &document, &more, &err) == FM_OK && more)
            if (document.text[document.size] != '\0' || document.id[document.id_size] != '\0' || ++count > size)
                __builtin_trap();
        fm_reader_close(reader);
    }
    fclose(file);
    return 0;
}
