/* base.h - the door of core/base: errors, files, JSON, threads, random numbers, hashes.
 *
 * Everything above builds on this and nothing here knows of tokens, tensors or models.
 * No function in core exits, aborts or prints: failures come back as a status and one sentence.
 */
#ifndef FM_BASE_H
#define FM_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fillmask.h"

#if defined(__GNUC__)
#define FM_PRINTF(fmt_index, first) __attribute__((format(printf, fmt_index, first)))
#else
#define FM_PRINTF(fmt_index, first)
#endif

/* ---- errors (error.c) ---- */

/* Fills *err (which may be NULL) with a status and a formatted sentence; returns the status. The sentence
 * names the file, the field, the value found and the remedy. */
fm_status fm_fail(fm_error *err, fm_status status, const char *format, ...) FM_PRINTF(3, 4);
/* FM_E_MEMORY with the number of bytes that could not be had and what they were for. */
fm_status fm_fail_memory(fm_error *err, size_t bytes, const char *what);

/* Overflow-checked product: false, and SIZE_MAX, if a*b does not fit size_t. */
bool fm_size_mul(size_t a, size_t b, size_t *product);
/* calloc of count*size bytes with 64-byte alignment, zeroed; NULL on overflow or lack of memory. Freed by fm_free. */
void *fm_alloc(size_t count, size_t size);
void fm_free(void *memory);

/* ---- files (file.c) ---- */

/* A read-only file in memory: mapped where the system can, read otherwise. */
typedef struct fm_blob {
    const uint8_t *data;
    size_t size;
    bool mapped;
} fm_blob;
fm_status fm_blob_open(fm_blob *blob, const char *path, fm_error *err);
void fm_blob_close(fm_blob *blob);

/* Writes a file so that a reader sees the old one or the whole new one: a temporary beside it, fsync, rename. */
typedef struct fm_writer fm_writer;
fm_status fm_writer_open(fm_writer **writer, const char *path, fm_error *err);
fm_status fm_writer_write(fm_writer *writer, const void *data, size_t size, fm_error *err);
/* Finishes and renames; the writer is gone afterwards, whatever the result. */
fm_status fm_writer_commit(fm_writer *writer, fm_error *err);
void fm_writer_abort(fm_writer *writer); /* removes the temporary; NULL is allowed */
/* All of the above for one buffer. */
fm_status fm_file_replace(const char *path, const void *data, size_t size, fm_error *err);
/* mkdir -p */
fm_status fm_make_folder(const char *path, fm_error *err);
bool fm_file_exists(const char *path);
/* The part of a second at which a file was changed last; 0 if there is none. */
uint32_t fm_file_nanoseconds(const char *path);
/* Makes a file that one process at a time holds, until it closes it with fm_unlock_file or ends; *held is false,
 * without error, if another one has it. The file is empty. */
typedef struct fm_file_lock {
    int file;
    char *path;
} fm_file_lock;
fm_status fm_lock_file(fm_file_lock *lock, const char *path, bool *held, fm_error *err);
void fm_unlock_file(fm_file_lock *lock); /* removes it; a zeroed one is no lock */
/* Removes the temporaries that writers of processes which are no more have left in a folder. */
void fm_remove_leftovers(const char *folder);
/* Whether a name ends so, in whatever case of ASCII. */
bool fm_ends_with(const char *name, const char *end);
/* folder + "/" + name in a fresh string (free()); NULL without memory. */
char *fm_path_join(const char *folder, const char *name);

/* A growing byte buffer for text output; after a failure every call is a no-op and `failed` stays true. */
typedef struct fm_buffer {
    char *data; /* always NUL-terminated once anything was appended; free() by fm_buffer_free */
    size_t size, capacity;
    bool failed;
} fm_buffer;
void fm_buffer_add(fm_buffer *buffer, const void *data, size_t size);
void fm_buffer_text(fm_buffer *buffer, const char *text);
void fm_buffer_format(fm_buffer *buffer, const char *format, ...) FM_PRINTF(2, 3);
/* Appends text (UTF-8; invalid bytes become U+FFFD) as a JSON string with its quotes. */
void fm_buffer_json(fm_buffer *buffer, const char *text, size_t size);
void fm_buffer_free(fm_buffer *buffer);

/* ---- JSON (json.c) ---- */

struct cJSON;
/* Parses one JSON document of `size` bytes (no terminator needed) with cJSON. Refuses what cJSON lets through:
 * duplicate keys, invalid UTF-8, trailing bytes other than white space, nesting over 64. `name` is for the error. */
fm_status fm_json_parse(struct cJSON **root, const void *data, size_t size, const char *name, fm_error *err);
/* The same of a text that has an object of very many numbers, {"outer": {"inner": {"key": 1, ...}}}: its members come
 * as a list, and the tree has an empty object in its place. Without such an object the list is empty. Keys that a value
 * of the list has in turn are not compared. The texts of keys without escapes are those of `data`, which must outlive
 * the list. */
typedef struct fm_json_entry {
    const char *key; /* `size` bytes of UTF-8, no terminator */
    uint32_t size;
    uint64_t value; /* FM_JSON_OTHER if it is not as fm_json_u64 has it */
} fm_json_entry;
#define FM_JSON_OTHER UINT64_MAX
typedef struct fm_json_entries {
    size_t count;
    fm_json_entry *list;
    char *decoded; /* keys with escapes */
} fm_json_entries;
fm_status fm_json_parse_large(struct cJSON **root, fm_json_entries *entries, const void *data, size_t size,
                              const char *outer, const char *inner, const char *name, fm_error *err);
void fm_json_drop_list(fm_json_entries *entries); /* the texts of keys stay */
void fm_json_entries_free(fm_json_entries *entries);
/* The non-negative integer of a number, exact up to 2^53; false for anything else. */
bool fm_json_u64(const struct cJSON *item, uint64_t *value);

/* ---- threads (pool.c) ---- */

typedef struct fm_pool fm_pool;
/* threads counts the caller: 1 starts none, 0 asks for one per processor. */
fm_status fm_pool_create(fm_pool **pool, int threads, fm_error *err);
void fm_pool_destroy(fm_pool *pool);
int fm_pool_threads(const fm_pool *pool);
/* Calls task(context, i, worker) for every i in [0, count), spread over the pool, and returns when all are done.
 * worker is in [0, threads) and names a scratch area; which worker takes which i is not fixed, so the results must
 * not depend on it. A NULL pool runs everything on the caller as worker 0. Not to be nested. */
void fm_pool_run(fm_pool *pool, size_t count, void (*task)(void *context, size_t index, int worker), void *context);

/* WebAssembly only: the host's threads call fm_pool_serve with their numbers, from 1, and stay in it; then the host
 * says once, before any pool is made, how many threads there are with its own. All pools share them. malloc is not for
 * threads there: a task must not allocate. */
void fm_pool_crew(int threads);
void fm_pool_serve(int number);

/* ---- random numbers (random.c) ---- */

/* Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a pure function
 * of key and counter with 32-bit adds, rotates and xors only, so that a GPU computes the same numbers. */
void fm_threefry(const uint32_t key[2], const uint32_t counter[2], uint32_t out[2]);

/* A sequential generator over Threefry for shuffles and initial weights. */
typedef struct fm_random {
    uint32_t key[2];
    uint64_t next;
} fm_random;
fm_random fm_random_seeded(uint64_t seed, uint32_t stream);
uint32_t fm_random_u32(fm_random *random);
uint32_t fm_random_below(fm_random *random, uint32_t bound); /* uniform in [0, bound), bound > 0 */
float fm_random_uniform(fm_random *random);                  /* [0, 1) */
float fm_random_normal(fm_random *random);                   /* mean 0, deviation 1 (Box-Muller) */

/* FNV-1a of 64 bits, for cache keys and the hold-out rule. Start with FM_HASH_START. */
#define FM_HASH_START 0xcbf29ce484222325ull
uint64_t fm_hash(uint64_t hash, const void *data, size_t size);
/* The same a number at a time, for what is long. */
static inline uint64_t fm_hash_number(uint64_t hash, uint64_t number)
{
    return (hash ^ number) * 0x100000001b3ull;
}

/* SHA-256 of what comes in parts (sha256.c). */
typedef struct fm_sha256 {
    uint32_t state[8];
    uint64_t size; /* bytes so far */
    uint8_t block[64];
} fm_sha256;
void fm_sha256_start(fm_sha256 *hash);
void fm_sha256_add(fm_sha256 *hash, const void *data, size_t size);
void fm_sha256_end(fm_sha256 *hash, char hex[65]); /* the digest in hexadecimal, NUL-terminated */

/* Seconds of a monotonic clock. */
double fm_seconds(void);

#endif
