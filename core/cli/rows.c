/* rows.c - the rows of a file or of standard input for the commands that take them one by one, in constant memory. What
 * cannot be read as a row goes by with a reason (core/tasks/rows.c). */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE 65536 /* bytes read at a time */

static fm_status fail_system(const cli_rows *r, const char *what, fm_error *err)
{
    return fm_fail(err, FM_E_IO, "%.300s could not be %s: %s.", r->name, what, strerror(errno));
}

fm_status cli_rows_open(cli_rows *r, const char *path, fm_text_format format, const char *field, fm_error *err)
{
    bool standard = strcmp(path, "-") == 0;
    *r = (cli_rows){.name = standard ? "stdin" : path, .field = field, .format = format, .file = STDIN_FILENO};
    if (!standard) r->file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (r->file < 0 || fstat(r->file, &info) != 0) return fail_system(r, "opened", err);
    if (S_ISDIR(info.st_mode)) return fm_fail(err, FM_E_IO, "%.300s is a folder; name a file.", path);
    if (S_ISREG(info.st_mode)) {
        off_t at = lseek(r->file, 0, SEEK_CUR); /* standard input may have been read from before */
        if (at >= 0 && info.st_size > at) r->total = (uint64_t)(info.st_size - at);
    }
    r->piece = malloc(PIECE);
    return r->piece ? FM_OK : fm_fail_memory(err, PIECE, "reading");
}

void cli_rows_close(cli_rows *r)
{
    fm_rows_destroy(r->rows);
    free(r->piece);
    if (r->file > STDIN_FILENO) close(r->file);
    *r = (cli_rows){0};
}

/* By the option, the file's name, or its first character. */
static fm_row_format format_of(const cli_rows *r, size_t size)
{
    fm_text_format format = r->format == FM_TEXT_AUTO ? fm_text_format_of(r->name) : r->format;
    if (format != FM_TEXT_AUTO)
        return format == FM_TEXT_CSV ? FM_ROWS_CSV : format == FM_TEXT_JSONL ? FM_ROWS_JSONL : FM_ROWS_LINES;
    size_t at = size >= 3 && memcmp(r->piece, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < size && r->piece[at] && strchr(" \t\r\n", r->piece[at])) at++;
    return strcmp(r->name, "stdin") == 0 && at < size && r->piece[at] == '{' ? FM_ROWS_JSONL : FM_ROWS_LINES;
}

static bool is_ready(int file, int milliseconds)
{
    struct pollfd wanted = {.fd = file, .events = POLLIN};
    return poll(&wanted, 1, milliseconds) > 0;
}

bool cli_rows_ready(const cli_rows *r)
{
    return is_ready(r->file, 0);
}

fm_status cli_rows_read(cli_rows *r, fm_error *err)
{
    size_t size = 0, least = r->rows ? 1 : 8; /* enough to tell what it is */
    while (size < least) {
        /* A signal that comes just before read() would not wake it. */
        while (!is_ready(r->file, 100))
            if (cli_interrupted()) return fm_fail(err, FM_E_ABORTED, "Stopped.");
        ssize_t got = read(r->file, r->piece + size, PIECE - size);
        if (got == 0) break;
        if (got < 0 && errno != EINTR) return fail_system(r, "read", err);
        if (got > 0) size += (size_t)got;
    }
    fm_status status = FM_OK;
    if (!r->rows) {
        status = fm_refuse_other_formats(r->piece, size, r->name, err);
        if (!status) status = fm_rows_create(&r->rows, format_of(r, size), r->field, err);
    }
    r->ended = size == 0;
    r->bytes += size;
    return status ? status : fm_rows_push(r->rows, r->piece, size, err);
}

fm_status cli_rows_take(cli_rows *r, fm_row *row, bool *more, fm_error *err)
{
    fm_error cause;
    *more = false;
    fm_status status = r->rows ? fm_rows_next(r->rows, row, more, &cause) : FM_OK;
    return status ? fm_fail(err, status, "%.300s: %.600s", r->name, cause.text) : FM_OK;
}

fm_status cli_rows_next(cli_rows *r, fm_row *row, bool *more, fm_error *err)
{
    fm_status status = FM_OK;
    while (!(status = cli_rows_take(r, row, more, err)) && !*more && !r->ended)
        if ((status = cli_rows_read(r, err)) != FM_OK) break;
    return status;
}

uint64_t cli_rows_size(const cli_list *paths)
{
    uint64_t size = 0;
    struct stat info;
    for (size_t i = 0; i < paths->count; i++) {
        if (stat(paths->items[i], &info) != 0 || !S_ISREG(info.st_mode)) return 0;
        size += (uint64_t)info.st_size;
    }
    return size;
}

/* ---- rows that a command cannot use ---- */

void cli_explain(cli_reasons *r, const cli_progress *progress, const char *what, const char *reason)
{
    enum { SHOWN = 20 };
    r->count++;
    if (r->quiet || r->count > SHOWN) return;
    fprintf(stderr, "%sfillmask %s: %s %s. %s\n", progress->drawn && progress->terminal ? "\r\033[K" : "", r->command,
            what, r->fate, reason);
    if (r->count == SHOWN) fprintf(stderr, "fillmask %s: Others are only counted from here on.\n", r->command);
}

static fm_status use_row(const cli_row_user *user, const fm_row *row, const char *name, fm_error *err)
{
    fm_error cause;
    char what[400];
    const char *reason = row->reason[0] ? row->reason : NULL;
    fm_status status = FM_OK;
    if (row->text) status = user->take(user->context, row->text, row->text_size, &cause);
    if (status == FM_E_FORMAT) reason = cause.text;
    else if (status)
        return fm_fail(err, status, "Line %llu of %.300s: %.600s", (unsigned long long)row->line, name, cause.text);
    if (!reason) return FM_OK;
    snprintf(what, sizeof what, "The row on line %llu of %.300s", (unsigned long long)row->line, name);
    cli_explain(user->reasons, user->progress, what, reason);
    return user->leave(user->context, row->text, row->text_size, reason, err);
}

fm_status cli_rows_each(const cli_row_user *user, const char *path, fm_text_format format, const char *field,
                        fm_error *err)
{
    cli_rows rows;
    bool more = true;
    fm_status status = cli_rows_open(&rows, path, format, field, err);
    uint64_t before = user->bytes ? *user->bytes : 0;
    while (!status && more) {
        fm_row row;
        status = cli_rows_next(&rows, &row, &more, err);
        if (status || !more) break;
        if (user->bytes) *user->bytes = before + rows.bytes;
        if (row.text || row.reason[0]) status = use_row(user, &row, rows.name, err);
        fm_row_free(&row);
    }
    cli_rows_close(&rows);
    return status;
}

fm_status cli_rows_done(const cli_reasons *r, uint64_t used, fm_error *err)
{
    if (r->count == 0) return FM_OK;
    if (used == 0)
        return fm_fail(err, FM_E_FORMAT, "None of the %llu rows %s.", (unsigned long long)r->count, r->could);
    if (!r->quiet)
        fprintf(stderr, "fillmask %s: %llu of %llu rows %s.\n", r->command, (unsigned long long)r->count,
                (unsigned long long)(r->count + used), r->could_not);
    return FM_OK;
}
