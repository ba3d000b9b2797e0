/* reviews.c - the Large Movie Review Dataset (Maas et al. 2011) as it is published: a folder, or a tar of it, with one
 * file a review, PART/LABEL/NUMBER_RATING.txt. The reviews of a part are read into memory (25,000 are 33 MB) and put in
 * the order of label and number, so that folder and tar give the same. */
#include "train/reviews.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOST_BYTES ((size_t)1 << 30) /* of all texts: ten times the whole collection */
#define MOST_REVIEW ((size_t)64 << 20)

typedef struct review {
    uint32_t label; /* the place of its folder in the part */
    uint64_t number;
    char id[24];
    char *text; /* with a NUL behind it */
    size_t size;
} review;

struct fm_reviews {
    const char *name; /* of the collection, for errors */
    bool folder;
    const char *const *labels; /* folders of the part */
    review *list;
    size_t count, capacity, next;
    size_t bytes;
    uint32_t label; /* of the file that is looked at */
    uint64_t number;
};

static const char *const *labels_of(fm_text_format format)
{
    static const char *const train[] = {"train/neg", "train/pos", NULL};
    static const char *const test[] = {"test/neg", "test/pos", NULL};
    static const char *const unsupervised[] = {"train/unsup", NULL};
    return format == FM_TEXT_IMDB_TEST ? test : format == FM_TEXT_IMDB_UNSUPERVISED ? unsupervised : train;
}

static fm_status create(fm_reviews **out, const char *name, fm_text_format format, fm_error *err)
{
    fm_reviews *r = *out = calloc(1, sizeof *r);
    if (!r) return fm_fail_memory(err, sizeof *r, "a collection of reviews");
    r->name = name;
    r->labels = labels_of(format);
    return FM_OK;
}

void reviews_free(fm_reviews *r)
{
    if (!r) return;
    for (size_t i = 0; i < r->count; i++) free(r->list[i].text);
    free(r->list);
    free(r);
}

/* ---- names ---- */

/* NUMBER_RATING.txt */
static bool number_of(const char *file, uint64_t *number)
{
    size_t digits = strspn(file, "0123456789");
    if (digits == 0 || digits > 18 || file[digits] != '_') return false;
    size_t rating = strspn(file + digits + 1, "0123456789");
    *number = strtoull(file, NULL, 10);
    return rating > 0 && strcmp(file + digits + 1 + rating, ".txt") == 0;
}

/* Whether the folder of a path ends in a label, whole names alone. */
static bool is_in(const char *path, size_t folder, const char *label)
{
    size_t size = strlen(label);
    return folder >= size && memcmp(path + folder - size, label, size) == 0 &&
           (folder == size || path[folder - size - 1] == '/');
}

static bool wanted(void *context, const char *path)
{
    fm_reviews *r = context;
    const char *slash = strrchr(path, '/');
    if (!slash || !number_of(slash + 1, &r->number)) return false;
    for (uint32_t i = 0; r->labels[i]; i++)
        if (is_in(path, (size_t)(slash - path), r->labels[i])) {
            r->label = i;
            return true;
        }
    return false;
}

/* Adds the review whose name was found last. */
static char *add(void *context, const char *path, uint64_t size, fm_error *err)
{
    fm_reviews *r = context;
    if (size > MOST_REVIEW || size > MOST_BYTES - r->bytes) {
        fm_fail(err, FM_E_LIMIT,
                "%s in %s is said to have %llu bytes; a review may have 64 MB and all reviews 1 GB, so this is not the "
                "collection, or it is damaged.",
                path, r->name, (unsigned long long)size);
        return NULL;
    }
    if (r->count == r->capacity) {
        size_t capacity = r->capacity ? r->capacity * 2 : 1024, bytes;
        review *list = fm_size_mul(capacity, sizeof *list, &bytes) ? realloc(r->list, bytes) : NULL;
        if (!list) {
            fm_fail_memory(err, bytes, "a collection of reviews");
            return NULL;
        }
        r->list = list;
        r->capacity = capacity;
    }
    review *x = &r->list[r->count];
    *x = (review){.label = r->label, .number = r->number, .size = (size_t)size};
    snprintf(x->id, sizeof x->id, "%llu", (unsigned long long)r->number);
    x->text = malloc(x->size + 1);
    if (!x->text) {
        fm_fail_memory(err, x->size + 1, "a review");
        return NULL;
    }
    x->text[x->size] = '\0';
    r->bytes += x->size;
    r->count++;
    return x->text;
}

static int by_place(const void *a, const void *b)
{
    const review *left = a, *right = b;
    if (left->label != right->label) return left->label < right->label ? -1 : 1;
    return left->number < right->number ? -1 : left->number > right->number;
}

/* Puts them in order; there must be some, and none twice. */
static fm_status finish(fm_reviews *r, fm_error *err)
{
    if (r->count == 0)
        return fm_fail(
            err, FM_E_FORMAT,
            "%s %s reviews %s/NUMBER_RATING.txt; name the folder aclImdb, a tar of it, or the files that hold "
            "the texts.",
            r->name, r->folder ? "is a folder without" : "has no", r->labels[0]);
    qsort(r->list, r->count, sizeof *r->list, by_place);
    for (size_t i = 1; i < r->count; i++)
        if (by_place(&r->list[i - 1], &r->list[i]) == 0)
            return fm_fail(err, FM_E_FORMAT, "%s has the review %s of %s twice.", r->name, r->list[i].id,
                           r->labels[r->list[i].label]);
    return FM_OK;
}

bool reviews_next(fm_reviews *r, fm_document *document)
{
    if (r->next == r->count) return false;
    const review *x = &r->list[r->next++];
    *document = (fm_document){x->text, x->size, x->id, strlen(x->id)};
    return true;
}

/* ---- where they come from ---- */

fm_status reviews_read_tar(fm_reviews **out, const char *name, fm_text_format format, reviews_source read, void *source,
                           fm_error *err)
{
    fm_error found;
    fm_status status = create(out, name, format, err);
    if (status) return status;
    const tar_visitor visitor = {wanted, add, *out};
    status = tar_read(name, read, source, &visitor, &found);
    if (status && err) *err = found;
    if (!status) status = finish(*out, err);
    if (!status) return FM_OK;
    reviews_free(*out);
    *out = NULL;
    return status;
}

static fm_status read_file(fm_reviews *r, const char *path, fm_error *err)
{
    fm_blob blob;
    fm_status status = fm_blob_open(&blob, path, err);
    if (status) return status;
    char *text = add(r, path, blob.size, err);
    if (text && blob.size > 0) memcpy(text, blob.data, blob.size);
    fm_blob_close(&blob);
    return text ? FM_OK : err->status;
}

/* The reviews of a label; a folder that is not there has none. */
static fm_status read_label(fm_reviews *r, const char *folder, uint32_t label, fm_error *err)
{
    DIR *open_folder = opendir(folder);
    if (!open_folder && (errno == ENOENT || errno == ENOTDIR)) return FM_OK;
    if (!open_folder) return fm_fail(err, FM_E_IO, "%s could not be read: %s.", folder, strerror(errno));
    fm_status status = FM_OK;
    while (!status) {
        errno = 0;
        const struct dirent *entry = readdir(open_folder);
        if (!entry && errno) status = fm_fail(err, FM_E_IO, "%s could not be read: %s.", folder, strerror(errno));
        if (!entry) break;
        if (!number_of(entry->d_name, &r->number)) continue;
        r->label = label;
        char *path = fm_path_join(folder, entry->d_name);
        status = path ? read_file(r, path, err) : fm_fail_memory(err, strlen(folder), "the name of a file");
        free(path);
    }
    closedir(open_folder);
    return status;
}

fm_status reviews_read_folder(fm_reviews **out, const char *path, fm_text_format format, fm_error *err)
{
    fm_error found = {.text = ""};
    fm_status status = create(out, path, format, err);
    if (status) return status;
    fm_reviews *r = *out;
    r->folder = true;
    /* aclImdb itself, or the folder that it was unpacked in. */
    for (int place = 0; place < 2 && r->count == 0 && !status; place++)
        for (uint32_t i = 0; r->labels[i] && !status; i++) {
            char *base = place == 1 ? fm_path_join(path, "aclImdb") : strdup(path);
            char *folder = base ? fm_path_join(base, r->labels[i]) : NULL;
            status = folder ? read_label(r, folder, i, &found)
                            : fm_fail_memory(&found, strlen(path), "the name of a folder");
            free(base);
            free(folder);
        }
    if (status && err) *err = found;
    if (!status) status = finish(r, err);
    if (!status) return FM_OK;
    reviews_free(r);
    *out = NULL;
    return status;
}
