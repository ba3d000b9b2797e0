/* fuzz_tar.c - any bytes as a tar archive: no crash, no endless loop. The input is a list of blocks whose checksums are
 * made to fit and that are named as reviews, so that what lies behind is reached; the first byte picks a format, and
 * whether they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/reviews.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct source {
    uint8_t *data;
    size_t size, at;
} source;

static fm_status take(void *context, void *to, size_t size, size_t *got, fm_error *err)
{
    (void)err;
    source *s = context;
    *got = size < s->size - s->at ? size : s->size - s->at;
    if (*got > 0) memcpy(to, s->data + s->at, *got);
    s->at += *got;
    return FM_OK;
}

/* Makes the checksum fit; `number` names a review, from 1 on. */
static void make_header(uint8_t *block, unsigned number)
{
    unsigned sum = 0;
    if (number > 0) snprintf((char *)block, 100, "aclImdb/train/neg/%u_1.txt", number);
    memset(block + 148, ' ', 8);
    for (int i = 0; i < 512; i++) sum += block[i];
    for (int i = 5; i >= 0; i--, sum /= 8) block[148 + i] = (uint8_t)('0' + sum % 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    source s = {.data = malloc(size), .size = size - 1};
    if (!s.data) return 0;
    memcpy(s.data, data + 1, size - 1);
    for (size_t at = 0; data[0] & 4 && at + 512 <= s.size; at += 512)
        make_header(s.data + at, data[0] & 8 ? (unsigned)(at / 512) + 1 : 0);
    fm_reviews *reviews;
    fm_error err;
    fm_document document;
    static const fm_text_format formats[] = {FM_TEXT_IMDB, FM_TEXT_IMDB_TEST, FM_TEXT_IMDB_UNSUPERVISED, FM_TEXT_IMDB};
    if (reviews_read_tar(&reviews, "input", formats[data[0] % 4], take, &s, &err) == FM_OK) {
        size_t total = 0;
        while (reviews_next(reviews, &document)) {
            total += document.size;
            if (document.text[document.size] != '\0' || document.id[document.id_size] != '\0' || total > size)
                __builtin_trap();
        }
        reviews_free(reviews);
    } else if (!err.text[0]) __builtin_trap();
    free(s.data);
    return 0;
}
