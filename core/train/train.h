/* train.h - the door of core/train: readers of text collections and tokenised corpora. */
#ifndef FM_TRAIN_H
#define FM_TRAIN_H

#include "base/base.h"
#include "tokenizer/tokenizer.h"

/* ---- readers (reader.c) ---- */

typedef enum fm_text_format {
    FM_TEXT_AUTO, /* by the name: .jsonl, .csv, anything else .txt; stdin by its first bytes: '{' is jsonl */
    FM_TEXT_JSONL, /* one object a line */
    FM_TEXT_CSV,   /* RFC 4180, the first record names the columns */
    FM_TEXT_TXT    /* one document a line; empty lines are skipped */
} fm_text_format;

typedef struct fm_document {
    const char *text; /* NUL-terminated; owned by the reader until the next call */
    size_t size;
    const char *id; /* the field or column "id" as text if there is one, else "LINE" as a decimal number */
    size_t id_size;
} fm_document;

typedef struct fm_reader fm_reader;
/* path "-" is stdin. field names the text's field or column, NULL for "text". */
fm_status fm_reader_open(fm_reader **reader, const char *path, fm_text_format format, const char *field, fm_error *err);
/* The next document, or *more false at the end. Errors name the file and the line. */
fm_status fm_reader_next(fm_reader *reader, fm_document *document, bool *more, fm_error *err);
/* Bytes read, and of the whole (0 if unknown, as for a pipe). */
void fm_reader_progress(const fm_reader *reader, uint64_t *done, uint64_t *total);
void fm_reader_close(fm_reader *reader);

/* ---- corpora (corpus.c) ---- */

/* The hold-out rule: FNV-1a of the document's id modulo 100 is 0. */
bool fm_held_out(const char *id, size_t id_size);

/* Tokenised documents, each [CLS] ... [SEP], end to end. */
#define FM_TOKEN_ID 0x00ffffffu
#define FM_TOKEN_WORD 0x80000000u /* first token of a word */
typedef struct fm_corpus {
    uint64_t tokens, documents;
    const uint32_t *ids;     /* id, with FM_TOKEN_WORD */
    const uint64_t *starts;  /* documents + 1 */
    fm_blob blob;            /* where a cache was mapped */
    uint32_t *own_ids;       /* else */
    uint64_t *own_starts;
} fm_corpus;

typedef enum fm_part { FM_PART_ALL, FM_PART_TRAIN, FM_PART_HELD_OUT } fm_part;

/* Reads and tokenises (spread over the pool, results in order) the documents of the named files that belong to
 * `part`. progress counts bytes read (total 0 if unknown). */
fm_status fm_corpus_read(fm_corpus *corpus, const fm_tokenizer *tokenizer, fm_pool *pool, const char *const *paths,
                         size_t path_count, fm_text_format format, const char *field, fm_part part,
                         fm_progress progress, void *context, fm_error *err);
/* The cache: a checked file that fits exactly one `key` (hash of tokenizer, options and the data files' names, sizes
 * and times; fm_corpus_key makes it, false if a file is stdin and so cannot be known again). */
bool fm_corpus_key(const fm_tokenizer *tokenizer, const char *const *paths, size_t path_count, fm_text_format format,
                   const char *field, fm_part part, uint64_t *key);
fm_status fm_corpus_save(const fm_corpus *corpus, const char *path, uint64_t key, fm_error *err);
/* *hit is false, without error, if there is no file or it has another key; a damaged file is no hit either. */
fm_status fm_corpus_load(fm_corpus *corpus, const char *path, uint64_t key, bool *hit, fm_error *err);
void fm_corpus_free(fm_corpus *corpus);

#endif
