/* corpus.c - texts as token ids in one long array, and a cache of it on disk. Cutting the array into chunks, masking
 * and shuffling are done elsewhere. */
#include "train/train.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A block is read by the caller's thread, then encoded by all. The bytes bound it where documents are long. */
#define BLOCK_DOCUMENTS 512
#define BLOCK_BYTES ((size_t)8 << 20)

bool fm_held_out(const char *id, size_t id_size)
{
    return fm_hash(FM_HASH_START, id, id_size) % 100 == 0;
}

/* ---- reading ---- */

typedef struct block_document {
    size_t start, size; /* in the block's texts */
    fm_encoding encoding;
    fm_status status;
    fm_error error;
} block_document;

struct fm_corpus_builder {
    const fm_tokenizer *tokenizer;
    fm_pool *pool;
    fm_buffer texts;
    block_document *documents; /* BLOCK_DOCUMENTS, of which the first `count` are in use; NULL without blocks */
    size_t count;
    fm_encoding encoding; /* without blocks */

    uint32_t *ids;
    uint64_t *starts;
    size_t tokens, token_capacity;
    size_t total, start_capacity; /* total counts documents; starts has one entry more */
};

/* Makes room for `needed` elements by doubling. */
static fm_status grow(void **array, size_t element, size_t needed, size_t *capacity, fm_error *err)
{
    if (needed <= *capacity) return FM_OK;
    size_t target = *capacity > SIZE_MAX / 2 ? SIZE_MAX : *capacity * 2, bytes;
    if (target < needed) target = needed;
    void *larger = fm_size_mul(target, element, &bytes) ? realloc(*array, bytes) : NULL;
    if (!larger)
        return fm_fail_memory(err, fm_size_mul(target, element, &bytes) ? bytes : SIZE_MAX, "a tokenised corpus");
    *array = larger;
    *capacity = target;
    return FM_OK;
}

static fm_status builder_start(fm_corpus_builder *builder, const fm_tokenizer *tokenizer, fm_error *err)
{
    builder->tokenizer = tokenizer;
    if (fm_tokenizer_size(tokenizer) > FM_TOKEN_ID)
        return fm_fail(err, FM_E_LIMIT, "The vocabulary has %u entries; a corpus can hold at most %u.",
                       fm_tokenizer_size(tokenizer), FM_TOKEN_ID);
    builder->starts = calloc(1, sizeof *builder->starts);
    builder->start_capacity = 1;
    return builder->starts ? FM_OK : fm_fail_memory(err, sizeof *builder->starts, "a tokenised corpus");
}

/* Moves what was gathered to a corpus. */
static void builder_end(fm_corpus_builder *builder, fm_corpus *corpus)
{
    /* Giving back what doubling left over may fail, which only wastes memory. */
    void *less = builder->tokens ? realloc(builder->ids, builder->tokens * sizeof *builder->ids) : NULL;
    if (less) builder->ids = less;
    *corpus = (fm_corpus){.tokens = builder->tokens,
                          .documents = builder->total,
                          .ids = builder->ids,
                          .starts = builder->starts,
                          .own_ids = builder->ids,
                          .own_starts = builder->starts};
    builder->ids = NULL;
    builder->starts = NULL;
}

static void encode_document(void *context, size_t index, int worker)
{
    (void)worker;
    fm_corpus_builder *builder = context;
    block_document *document = &builder->documents[index];
    document->status = fm_tokenizer_encode(builder->tokenizer, builder->texts.data + document->start, document->size,
                                           true, &document->encoding, &document->error);
}

static fm_status append(fm_corpus_builder *builder, const fm_encoding *encoding, fm_error *err)
{
    if (encoding->count > SIZE_MAX - builder->tokens)
        return fm_fail(err, FM_E_LIMIT, "The corpus has more tokens than this machine can address.");
    size_t tokens = builder->tokens + encoding->count;
    void *ids = builder->ids, *starts = builder->starts;
    fm_status status = grow(&ids, sizeof *builder->ids, tokens, &builder->token_capacity, err);
    builder->ids = ids;
    if (!status) status = grow(&starts, sizeof *builder->starts, builder->total + 2, &builder->start_capacity, err);
    builder->starts = starts;
    if (status) return status;
    uint32_t *out = builder->ids + builder->tokens;
    for (size_t i = 0; i < encoding->count; i++) {
        uint32_t word = encoding->words[i];
        bool first = word != UINT32_MAX && (i == 0 || word != encoding->words[i - 1]);
        out[i] = encoding->ids[i] | (first ? FM_TOKEN_WORD : 0);
    }
    builder->tokens = tokens;
    builder->starts[++builder->total] = tokens;
    return FM_OK;
}

static fm_status encode_block(fm_corpus_builder *builder, fm_error *err)
{
    if (builder->texts.failed) return fm_fail_memory(err, builder->texts.size, "a block of texts");
    fm_pool_run(builder->pool, builder->count, encode_document, builder);
    fm_status status = FM_OK;
    for (size_t i = 0; i < builder->count && !status; i++) {
        const block_document *document = &builder->documents[i];
        status = document->status ? fm_fail(err, document->status, "%s", document->error.text)
                                  : append(builder, &document->encoding, err);
    }
    builder->count = 0;
    builder->texts.size = 0;
    return status;
}

static bool belongs(const fm_document *document, fm_part part)
{
    return part == FM_PART_ALL || fm_held_out(document->id, document->id_size) == (part == FM_PART_HELD_OUT);
}

typedef struct bytes_read {
    fm_progress progress;
    void *context;
    uint64_t before, total; /* bytes of the files that are done, and of all */
} bytes_read;

static fm_status tell(const bytes_read *bytes, uint64_t done, fm_error *err)
{
    if (bytes->progress && !bytes->progress(bytes->context, bytes->before + done, bytes->total))
        return fm_fail(err, FM_E_ABORTED, "Reading the texts was stopped.");
    return FM_OK;
}

static fm_status read_file(fm_corpus_builder *builder, fm_reader *reader, fm_part part, bytes_read *bytes,
                           fm_error *err)
{
    uint64_t done = 0, size;
    for (bool more = true; more;) {
        fm_document document;
        fm_status status = fm_reader_next(reader, &document, &more, err);
        if (!status && more && belongs(&document, part)) {
            builder->documents[builder->count].start = builder->texts.size;
            builder->documents[builder->count].size = document.size;
            fm_buffer_add(&builder->texts, document.text, document.size);
            builder->count++;
        }
        if (!status && (!more || builder->count == BLOCK_DOCUMENTS || builder->texts.size >= BLOCK_BYTES)) {
            status = encode_block(builder, err);
            fm_reader_progress(reader, &done, &size);
            if (!status) status = tell(bytes, done, err);
        }
        if (status) return status;
    }
    bytes->before += done;
    return FM_OK;
}

/* 0 if the size of one is not known. A missing file shows here, before hours of others are read. */
static fm_status total_size(const char *const *paths, size_t count, uint64_t *total, fm_error *err)
{
    *total = 0;
    bool known = true;
    for (size_t i = 0; i < count; i++) {
        struct stat info;
        if (strcmp(paths[i], "-") == 0) known = false;
        else if (stat(paths[i], &info) != 0)
            return fm_fail(err, FM_E_IO, "%s could not be opened: there is no such file, or it cannot be reached.",
                           paths[i]);
        else if (S_ISREG(info.st_mode)) *total += (uint64_t)info.st_size;
        else known = false;
    }
    if (!known) *total = 0;
    return FM_OK;
}

static void builder_free(fm_corpus_builder *builder)
{
    fm_encoding_free(&builder->encoding);
    for (size_t i = 0; builder->documents && i < BLOCK_DOCUMENTS; i++)
        fm_encoding_free(&builder->documents[i].encoding);
    fm_free(builder->documents);
    fm_buffer_free(&builder->texts);
    free(builder->ids);
    free(builder->starts);
}

fm_status fm_corpus_read(fm_corpus *corpus, const fm_tokenizer *tokenizer, fm_pool *pool, const char *const *paths,
                         size_t path_count, fm_text_format format, const char *field, fm_part part,
                         fm_progress progress, void *context, fm_error *err)
{
    *corpus = (fm_corpus){0};
    bytes_read bytes = {progress, context, 0, 0};
    fm_status status = total_size(paths, path_count, &bytes.total, err);
    if (status) return status;
    fm_corpus_builder builder = {.pool = pool};
    status = builder_start(&builder, tokenizer, err);
    if (!status) builder.documents = fm_alloc(BLOCK_DOCUMENTS, sizeof *builder.documents);
    if (!status && !builder.documents)
        status = fm_fail_memory(err, BLOCK_DOCUMENTS * sizeof *builder.documents, "a block of documents");
    for (size_t i = 0; i < path_count && !status; i++) {
        fm_reader *reader;
        status = fm_reader_open(&reader, paths[i], format, field, err);
        if (!status) status = read_file(&builder, reader, part, &bytes, err);
        fm_reader_close(reader);
    }
    if (!status) builder_end(&builder, corpus);
    builder_free(&builder);
    return status;
}

fm_status fm_corpus_builder_create(fm_corpus_builder **out, const fm_tokenizer *tokenizer, fm_error *err)
{
    *out = NULL;
    fm_corpus_builder *builder = calloc(1, sizeof *builder);
    if (!builder) return fm_fail_memory(err, sizeof *builder, "a corpus");
    fm_status status = builder_start(builder, tokenizer, err);
    if (status) fm_corpus_builder_destroy(builder);
    else *out = builder;
    return status;
}

fm_status fm_corpus_builder_add(fm_corpus_builder *builder, const char *text, size_t size, fm_error *err)
{
    fm_status status = fm_tokenizer_encode(builder->tokenizer, text, size, true, &builder->encoding, err);
    return status ? status : append(builder, &builder->encoding, err);
}

void fm_corpus_builder_finish(fm_corpus_builder *builder, fm_corpus *corpus)
{
    builder_end(builder, corpus);
    fm_corpus_builder_destroy(builder);
}

void fm_corpus_builder_destroy(fm_corpus_builder *builder)
{
    if (!builder) return;
    builder_free(builder);
    free(builder);
}

void fm_corpus_free(fm_corpus *corpus)
{
    free(corpus->own_ids);
    free(corpus->own_starts);
    fm_blob_close(&corpus->blob);
    *corpus = (fm_corpus){0};
}

/* ---- cache ---- */

/* In the byte order of the machine, which is little-endian on all that matter; on another the magic reads as something
 * else, and the file as no hit. Then follow documents + 1 starts and the ids. */
typedef struct cache_header {
    uint64_t magic, key, documents, tokens;
    uint64_t hash; /* of the fields above and all that follows */
} cache_header;

#define CACHE_MAGIC 0x3150524f434d46ull /* "FMCORP1" and a NUL; the digit is the version */

static uint64_t cache_hash(const cache_header *header, const uint64_t *starts, const uint32_t *ids)
{
    uint64_t hash = fm_hash(FM_HASH_START, header, offsetof(cache_header, hash));
    hash = fm_hash(hash, starts, (size_t)(header->documents + 1) * sizeof *starts);
    return header->tokens ? fm_hash(hash, ids, (size_t)header->tokens * sizeof *ids) : hash;
}

static uint64_t hash_number(uint64_t hash, uint64_t number)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(number >> (8 * i));
    return fm_hash(hash, bytes, sizeof bytes);
}

/* With its terminator, so that "a" "bc" is not "ab" "c". */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    return fm_hash(hash, text, strlen(text) + 1);
}

uint64_t fm_corpus_hash(const fm_corpus *corpus)
{
    uint64_t hash = FM_HASH_START;
    for (uint64_t i = 0; i <= corpus->documents; i++) hash = fm_hash_number(hash, corpus->starts[i]);
    for (uint64_t i = 0; i < corpus->tokens; i++) hash = fm_hash_number(hash, corpus->ids[i]);
    return hash;
}

bool fm_corpus_key(const fm_tokenizer *tokenizer, const char *const *paths, size_t path_count, fm_text_format format,
                   const char *field, fm_part part, uint64_t *key)
{
    uint64_t hash = hash_number(CACHE_MAGIC ^ FM_HASH_START, fm_tokenizer_hash(tokenizer));
    hash = hash_number(hash, (uint64_t)format);
    hash = hash_text(hash, field ? field : "text");
    hash = hash_number(hash, (uint64_t)part);
    for (size_t i = 0; i < path_count; i++) {
        struct stat info;
        if (strcmp(paths[i], "-") == 0 || stat(paths[i], &info) != 0 || !S_ISREG(info.st_mode)) return false;
        hash = hash_text(hash, paths[i]);
        hash = hash_number(hash, (uint64_t)info.st_size);
        hash = hash_number(hash, (uint64_t)info.st_mtim.tv_sec);
        hash = hash_number(hash, fm_file_nanoseconds(paths[i]));
    }
    *key = hash;
    return true;
}

fm_status fm_corpus_save(const fm_corpus *corpus, const char *path, uint64_t key, fm_error *err)
{
    cache_header header = {CACHE_MAGIC, key, corpus->documents, corpus->tokens, 0};
    header.hash = cache_hash(&header, corpus->starts, corpus->ids);
    fm_writer *writer;
    fm_status status = fm_writer_open(&writer, path, err);
    if (status) return status;
    status = fm_writer_write(writer, &header, sizeof header, err);
    if (!status)
        status = fm_writer_write(writer, corpus->starts, (size_t)(corpus->documents + 1) * sizeof *corpus->starts, err);
    if (!status) status = fm_writer_write(writer, corpus->ids, (size_t)corpus->tokens * sizeof *corpus->ids, err);
    if (status) {
        fm_writer_abort(writer);
        return status;
    }
    return fm_writer_commit(writer, err);
}

/* All that a reader of the corpus relies on. */
static bool cache_fits(const fm_blob *blob, uint64_t key)
{
    if (blob->size < sizeof(cache_header)) return false;
    const cache_header *header = (const cache_header *)(const void *)blob->data;
    uint64_t room = blob->size - sizeof *header;
    if (header->magic != CACHE_MAGIC || header->key != key || header->documents >= room / sizeof(uint64_t))
        return false;
    uint64_t starts_size = (header->documents + 1) * sizeof(uint64_t);
    if ((room - starts_size) % sizeof(uint32_t) != 0 || (room - starts_size) / sizeof(uint32_t) != header->tokens)
        return false;
    const uint64_t *starts = (const uint64_t *)(const void *)(blob->data + sizeof *header);
    const uint32_t *ids = (const uint32_t *)(const void *)(blob->data + sizeof *header + starts_size);
    if (starts[0] != 0 || starts[header->documents] != header->tokens) return false;
    for (uint64_t i = 0; i < header->documents; i++)
        if (starts[i] > starts[i + 1]) return false;
    return cache_hash(header, starts, ids) == header->hash;
}

fm_status fm_corpus_load(fm_corpus *corpus, const char *path, uint64_t key, bool *hit, fm_error *err)
{
    *corpus = (fm_corpus){0};
    *hit = false;
    if (!fm_file_exists(path)) return FM_OK;
    fm_blob blob;
    fm_status status = fm_blob_open(&blob, path, err);
    if (status) return status;
    if (!cache_fits(&blob, key)) {
        fm_blob_close(&blob);
        return FM_OK;
    }
    const cache_header *header = (const cache_header *)(const void *)blob.data;
    *corpus = (fm_corpus){.tokens = header->tokens, .documents = header->documents, .blob = blob};
    corpus->starts = (const uint64_t *)(const void *)(blob.data + sizeof *header);
    corpus->ids = (const uint32_t *)(const void *)(corpus->starts + header->documents + 1);
    *hit = true;
    return FM_OK;
}
