/* fillmask.h - the public C interface of Fillmask: load, tokenise, fill masks.
 *
 * This is the one header that is installed. Everything is reached through opaque types; strings are UTF-8; every
 * function that can fail returns an fm_status and, if `err` is not NULL, one sentence that says what was wrong.
 * Two models never share state; one model is used by one thread at a time.
 */
#ifndef FILLMASK_H
#define FILLMASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FM_VERSION_MAJOR 0
#define FM_VERSION_MINOR 1
#define FM_VERSION_PATCH 0
#define FM_VERSION "0.1.0"

typedef enum fm_status {
    FM_OK = 0,
    FM_E_ARGUMENT,    /* an argument or option out of its range */
    FM_E_IO,          /* a file could not be opened, read or written */
    FM_E_FORMAT,      /* a file or text is not what it should be */
    FM_E_LIMIT,       /* the input is longer or larger than the model or format allows */
    FM_E_MEMORY,      /* not enough memory */
    FM_E_UNSUPPORTED, /* well-formed, but not something this build can do */
    FM_E_ABORTED      /* the caller asked to stop */
} fm_status;

typedef struct fm_error {
    fm_status status;
    char text[1000]; /* one sentence, NUL-terminated, no newline */
} fm_error;

/* Called now and then by long work; done and total count the same unit. A false result stops the work, which then
 * returns FM_E_ABORTED. */
typedef bool (*fm_progress)(void *context, uint64_t done, uint64_t total);

/* ---- tokenizer ---- */

typedef struct fm_tokenizer fm_tokenizer;

typedef struct fm_span {
    uint32_t start, end; /* bytes of the original text, end exclusive */
} fm_span;

/* The tokens of one text. All arrays have `count` entries. */
typedef struct fm_encoding {
    size_t count, capacity;
    uint32_t *ids;
    fm_span *offsets; /* {0, 0} for [CLS] and [SEP] that were added */
    uint32_t *words;  /* index of the pre-token (word or punctuation); UINT32_MAX for special tokens */
} fm_encoding;

/* Opens a vocabulary: a folder (tokenizer.json, or vocab.txt with tokenizer_config.json if present), a vocab.txt or a
 * tokenizer.json. Uncased unless the files say otherwise. */
fm_status fm_tokenizer_open(fm_tokenizer **tokenizer, const char *path, fm_error *err);
/* From memory: the content of a vocab.txt, one token a line. lowercase: 1 uncased, 0 cased. */
fm_status fm_tokenizer_from_vocab(fm_tokenizer **tokenizer, const char *text, size_t size, bool lowercase,
                                  fm_error *err);
void fm_tokenizer_close(fm_tokenizer *tokenizer);

/* Encodes `size` bytes of text; any bytes are accepted, invalid UTF-8 reads as U+FFFD. Appends nothing and replaces
 * what `encoding` held; start from a zeroed struct and free with fm_encoding_free. special adds [CLS] and [SEP].
 * Never truncates. Linear in `size`, which must be below 2^32. */
fm_status fm_tokenizer_encode(const fm_tokenizer *tokenizer, const char *text, size_t size, bool special,
                              fm_encoding *encoding, fm_error *err);
void fm_encoding_free(fm_encoding *encoding);

/* Text of ids as Hugging Face's decode gives it: "##" joined, its clean-up of spaces before punctuation if asked,
 * special tokens left out if asked. The string is freed with free(). */
fm_status fm_tokenizer_decode(const fm_tokenizer *tokenizer, const uint32_t *ids, size_t count, bool skip_special,
                              bool clean_up, char **text, fm_error *err);

uint32_t fm_tokenizer_size(const fm_tokenizer *tokenizer);
/* The token's text (NUL-terminated, owned by the tokenizer), NULL if id is out of range. */
const char *fm_tokenizer_token(const fm_tokenizer *tokenizer, uint32_t id);
/* Exact look-up of a token's text; false if the vocabulary lacks it. */
bool fm_tokenizer_find(const fm_tokenizer *tokenizer, const char *token, size_t size, uint32_t *id);
bool fm_tokenizer_is_special(const fm_tokenizer *tokenizer, uint32_t id);
bool fm_tokenizer_lowercase(const fm_tokenizer *tokenizer);

typedef struct fm_special_ids {
    uint32_t pad, unk, cls, sep, mask;
} fm_special_ids;
fm_special_ids fm_tokenizer_special(const fm_tokenizer *tokenizer);

/* ---- models and fill-mask ---- */

typedef struct fm_model fm_model;

typedef struct fm_model_options {
    int threads;             /* 0: one per processor */
    const char *instruction_set; /* NULL: the best; "scalar", "avx2", "avx512" */
} fm_model_options;

/* Opens a model folder as Hugging Face lays it out. options may be NULL. */
fm_status fm_model_open(fm_model **model, const char *folder, const fm_model_options *options, fm_error *err);
void fm_model_close(fm_model *model);
const fm_tokenizer *fm_model_tokenizer(const fm_model *model);

typedef struct fm_filling {
    uint32_t token;
    float score; /* probability over the whole vocabulary */
} fm_filling;

typedef struct fm_mask_fillings {
    uint32_t start, end; /* the mask's bytes in the text */
    size_t count;
    fm_filling *top; /* best first */
} fm_mask_fillings;

typedef struct fm_fill_result {
    size_t masks;
    fm_mask_fillings *mask;
} fm_fill_result;

/* The k most probable tokens for every [MASK] of a text. Fails with FM_E_FORMAT if there is no mask and with
 * FM_E_LIMIT if the text has more tokens than the model has positions. */
fm_status fm_fill(fm_model *model, const char *text, size_t size, size_t k, fm_fill_result *result, fm_error *err);
void fm_fill_result_free(fm_fill_result *result);

#ifdef __cplusplus
}
#endif

#endif
