/* log.c - the log of a training, one JSON object a line: added to, cut back to a step, read again. What the lines hold
 * is decided by who adds them; this knows the steps' loss and learning rate and the evaluations' loss and accuracy. */
#include "train/train.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- writing ---- */

fm_status fm_log_add(const char *path, const fm_buffer *line, fm_error *err)
{
    if (line->failed) return fm_fail_memory(err, line->size, path);
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    off_t before = file < 0 ? -1 : lseek(file, 0, SEEK_END);
    bool written = before >= 0 && write(file, line->data, line->size) == (ssize_t)line->size;
    int problem = errno;
    /* Half a line would spoil the next one. */
    if (before >= 0 && !written && ftruncate(file, before) != 0) problem = errno;
    if (file >= 0) close(file);
    return written ? FM_OK : fm_fail(err, FM_E_IO, "%s could not be written: %s.", path, strerror(problem));
}

/* ---- reading ---- */

/* A number no larger than `most`, of either sign. */
static bool number_of(const cJSON *object, const char *key, double most, double *value)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item)) return false;
    *value = item->valuedouble;
    return *value >= -most && *value <= most;
}

/* What a line says; false for one that is neither a step nor an evaluation, or damaged. */
static bool read_line(const char *line, size_t size, fm_log_point *point)
{
    cJSON *root;
    *point = (fm_log_point){0};
    if (fm_json_parse(&root, line, size, "", NULL)) return false;
    uint64_t step = 0;
    const cJSON *eval = cJSON_GetObjectItemCaseSensitive(root, "eval");
    bool good = fm_json_u64(cJSON_GetObjectItemCaseSensitive(root, "step"), &step);
    point->step = step;
    point->evaluation = eval != NULL;
    if (!number_of(root, "epoch", DBL_MAX, &point->epoch)) point->epoch = 0.0;
    if (eval)
        good = good && number_of(eval, "loss", DBL_MAX, &point->loss) &&
               number_of(eval, "accuracy", 1.0, &point->accuracy);
    else
        good = good && number_of(root, "loss", DBL_MAX, &point->loss) &&
               number_of(root, "learning_rate", DBL_MAX, &point->learning_rate) &&
               number_of(root, "seconds", DBL_MAX, &point->seconds) &&
               number_of(root, "tokens", DBL_MAX, &point->tokens);
    cJSON_Delete(root);
    return good;
}

/* Calls for every good line, with its bytes. */
static fm_status each_line(const char *path, fm_status (*call)(void *, const fm_log_point *, const char *, size_t),
                           void *context, fm_error *err)
{
    if (!fm_file_exists(path)) return FM_OK;
    fm_blob blob;
    fm_status status = fm_blob_open(&blob, path, err);
    if (status) return status;
    for (size_t at = 0; at < blob.size && !status;) {
        const char *line = (const char *)blob.data + at, *end = memchr(line, '\n', blob.size - at);
        size_t size = end ? (size_t)(end - line) : blob.size - at;
        fm_log_point point;
        if (read_line(line, size, &point)) status = call(context, &point, line, size);
        at += size + 1;
    }
    fm_blob_close(&blob);
    return status;
}

typedef struct kept_lines {
    fm_buffer text;
    uint64_t last;
} kept_lines;

static fm_status keep(void *context, const fm_log_point *point, const char *line, size_t size)
{
    kept_lines *kept = context;
    if (point->step > kept->last) return FM_OK;
    fm_buffer_add(&kept->text, line, size);
    fm_buffer_text(&kept->text, "\n");
    return FM_OK;
}

fm_status fm_log_cut(const char *path, uint64_t step, fm_error *err)
{
    kept_lines kept = {.last = step};
    fm_status status = each_line(path, keep, &kept, err);
    if (!status && kept.text.failed) status = fm_fail_memory(err, kept.text.size, path);
    if (!status) status = fm_file_replace(path, kept.text.data ? kept.text.data : "", kept.text.size, err);
    fm_buffer_free(&kept.text);
    return status;
}

static fm_status take(void *context, const fm_log_point *point, const char *line, size_t size)
{
    (void)line;
    (void)size;
    fm_log *log = context;
    if (log->count == log->capacity) {
        size_t capacity = log->capacity ? log->capacity * 2 : 256, bytes;
        fm_log_point *points = fm_size_mul(capacity, sizeof *points, &bytes) ? realloc(log->points, bytes) : NULL;
        if (!points) return FM_E_MEMORY;
        log->points = points;
        log->capacity = capacity;
    }
    log->points[log->count++] = *point;
    return FM_OK;
}

fm_status fm_log_read(fm_log *log, const char *path, fm_error *err)
{
    *log = (fm_log){0};
    fm_status status = each_line(path, take, log, err);
    if (status == FM_E_MEMORY) fm_fail_memory(err, log->capacity * 2 * sizeof *log->points, "the log of a training");
    if (status) fm_log_free(log);
    return status;
}

void fm_log_free(fm_log *log)
{
    free(log->points);
    *log = (fm_log){0};
}
