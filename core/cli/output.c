/* output.c - a file of results that a command can go on with after it was stopped, in whatever way. Beside it, as long
 * as it is not complete, is FILE.progress, which says how many rows are done and how many bytes of the file they are;
 * what was written after them is cut off. */
#include "cli/cli.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAVE_EVERY 5.0 /* seconds */

static fm_status fail(fm_error *err, const char *path, const char *what)
{
    return fm_fail(err, FM_E_IO, "%.300s could not be %s: %s.", path, what, strerror(errno));
}

static fm_status save(cli_output *out, fm_error *err)
{
    fm_buffer text = {0};
    out->saved = fm_seconds();
    if (fflush(out->file) || ferror(out->file) || fsync(fileno(out->file))) return fail(err, out->path, "written");
    fm_buffer_format(&text, "{\"rows\": %llu, \"bytes\": %llu, \"options\": \"%016llx\"}\n",
                     (unsigned long long)out->rows, (unsigned long long)out->bytes, (unsigned long long)out->key);
    fm_status status = text.failed ? fm_fail_memory(err, text.size, "the progress")
                                   : fm_file_replace(out->progress, text.data, text.size, err);
    fm_buffer_free(&text);
    return status;
}

/* What the progress file says of a run with the same options. */
static fm_status read_progress(cli_output *out, fm_error *err)
{
    fm_blob blob;
    cJSON *root;
    fm_status status = fm_blob_open(&blob, out->progress, err);
    if (status) return status;
    status = fm_json_parse(&root, blob.data, blob.size, out->progress, err);
    fm_blob_close(&blob);
    if (status) return status;
    const cJSON *options = cJSON_GetObjectItemCaseSensitive(root, "options");
    char expected[20];
    snprintf(expected, sizeof expected, "%016llx", (unsigned long long)out->key);
    if (!fm_json_u64(cJSON_GetObjectItemCaseSensitive(root, "rows"), &out->rows) ||
        !fm_json_u64(cJSON_GetObjectItemCaseSensitive(root, "bytes"), &out->bytes) || !cJSON_IsString(options))
        status = fm_fail(err, FM_E_FORMAT, "%.300s is damaged; remove it to start anew.", out->progress);
    else if (strcmp(options->valuestring, expected) != 0)
        status = fm_fail(err, FM_E_ARGUMENT,
                         "%.300s was begun with other options; give those, or remove %.300s to start anew.", out->path,
                         out->progress);
    cJSON_Delete(root);
    return status;
}

static fm_status go_on(cli_output *out, fm_error *err)
{
    struct stat info;
    fm_status status = read_progress(out, err);
    if (status) return status;
    out->written = out->bytes;
    out->file = fopen(out->path, "r+");
    if (!out->file) return fail(err, out->path, "opened");
    if (fstat(fileno(out->file), &info) || (uint64_t)info.st_size < out->bytes)
        return fm_fail(err, FM_E_FORMAT, "%.300s has fewer bytes than %.300s says; remove the latter to start anew.",
                       out->path, out->progress);
    if (ftruncate(fileno(out->file), (off_t)out->bytes) || fseek(out->file, 0, SEEK_END))
        return fail(err, out->path, "gone on with");
    return FM_OK;
}

fm_status cli_output_open(cli_output *out, const char *path, bool resume, uint64_t key, fm_error *err)
{
    struct stat info;
    *out = (cli_output){.path = path, .key = key, .file = path ? NULL : stdout, .saved = fm_seconds()};
    if (!path) return FM_OK;
    size_t size = strlen(path) + sizeof ".progress";
    out->progress = malloc(size);
    if (!out->progress) return fm_fail_memory(err, size, "a path");
    snprintf(out->progress, size, "%s.progress", path);
    bool there = stat(path, &info) == 0, begun = fm_file_exists(out->progress);
    if (there && !S_ISREG(info.st_mode))
        return fm_fail(err, FM_E_ARGUMENT, "%.300s is no plain file; name another one.", path);
    if (resume && begun) return go_on(out, err);
    if (resume && there)
        return fm_fail(err, FM_E_ARGUMENT, "%.300s is complete, as there is no %.300s; nothing is left to resume.",
                       path, out->progress);
    if (begun)
        return fm_fail(err, FM_E_ARGUMENT, "%.300s is half done; give --resume to go on, or remove %.300s.", path,
                       out->progress);
    out->file = fopen(path, "w");
    return out->file ? save(out, err) : fail(err, path, "opened");
}

void cli_output_write(cli_output *out, const void *data, size_t size)
{
    fwrite(data, 1, size, out->file);
    out->written += size;
}

fm_status cli_output_mark(cli_output *out, uint64_t rows, fm_error *err)
{
    out->rows = rows;
    out->bytes = out->written;
    return out->path && fm_seconds() - out->saved >= SAVE_EVERY ? save(out, err) : FM_OK;
}

fm_status cli_output_close(cli_output *out, bool complete, fm_error *err)
{
    fm_status status = FM_OK;
    if (out->path && out->file) {
        status = save(out, err);
        if (fclose(out->file) && !status) status = fail(err, out->path, "written");
        if (complete && !status) unlink(out->progress);
    }
    free(out->progress);
    return status;
}
