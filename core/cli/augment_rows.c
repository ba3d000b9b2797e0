/* augment_rows.c - the rows of a file through `fillmask augment`: they stream through in order and in constant memory,
 * and an output file can be gone on with. */
#include "cli/augment_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tasks/tasks.h"

#define PIECE 65536            /* bytes read at a time */
#define ROWS_AHEAD 2048        /* rows in the queue */
#define BYTES_AHEAD (32 << 20) /* and their bytes */

/* A row that waits for its variants, or goes by. */
typedef struct pending {
    struct pending *next;
    fm_row row;
} pending;

typedef struct streaming {
    augmenting *run;
    pending *first, *last;
    size_t queued, queued_bytes;
    uint64_t seen, written; /* rows but for empty lines and a header: read, and written (or left out) */
    uint64_t skipped;       /* of these */
    uint64_t rows_read, rows_written, rows_before; /* with empty lines and a header; before: by the run resumed */
    cli_output output;
    bool skipping;
    bool needs_newline; /* the last row that was written had none */
} streaming;

static void write_row(streaming *s, const char *data, size_t size, bool continued)
{
    if (s->needs_newline && !continued) cli_output_write(&s->output, "\n", 1);
    cli_output_write(&s->output, data, size);
    s->needs_newline = size > 0 && data[size - 1] != '\n';
}

static fm_status write_variants(streaming *s, const fm_row *row, const fm_augmented *result, fm_error *err)
{
    fm_status status = FM_OK;
    if (result->count == 0 || s->run->o->with_source) write_row(s, row->raw, row->raw_size, row->continued);
    for (size_t i = 0; i < result->count && !status; i++) {
        fm_text out;
        status = fm_row_write(row, result->variants[i].data, result->variants[i].size, &out, err);
        if (status) break;
        write_row(s, out.data, out.size, false);
        free(out.data);
    }
    return status;
}

static bool counts(const fm_row *row)
{
    return row->text || row->reason[0];
}

/* Writes the rows that are done, up to the first that is not. */
static fm_status write_done(streaming *s, fm_error *err)
{
    fm_status status = FM_OK;
    while (s->first && !status) {
        pending *p = s->first;
        fm_augmented result = {0};
        if (p->row.text && !fm_augmenter_take(s->run->augmenter, &result)) return FM_OK;
        if (!p->row.continued) status = cli_output_mark(&s->output, s->rows_written++, err);
        if (!status) status = write_variants(s, &p->row, &result, err);
        s->run->asked += p->row.text != NULL;
        s->written += counts(&p->row);
        if (p->row.text && result.count == 0) augment_explain(s->run, "The row on line", p->row.line, result.reason);
        fm_augmented_free(&result);
        s->first = p->next;
        if (!s->first) s->last = NULL;
        s->queued--;
        s->queued_bytes -= p->row.raw_size;
        fm_row_free(&p->row);
        free(p);
    }
    return status;
}

/* Takes the row over. */
static fm_status queue_row(streaming *s, fm_row *row, fm_error *err)
{
    uint64_t number = s->seen;
    if (!row->continued) {
        s->skipping = number < (uint64_t)s->run->o->skip || s->rows_read < s->rows_before;
        s->rows_read++;
    }
    s->seen += counts(row);
    if (s->skipping) {
        s->written = s->skipped = s->seen;
        fm_row_free(row);
        return FM_OK;
    }
    pending *p = calloc(1, sizeof *p);
    if (!p) {
        fm_row_free(row);
        return fm_fail_memory(err, sizeof *p, "a row");
    }
    p->row = *row;
    if (s->last) s->last->next = p;
    else s->first = p;
    s->last = p;
    s->queued++;
    s->queued_bytes += row->raw_size;
    if (row->reason[0]) augment_explain(s->run, "The row on line", row->line, row->reason);
    return row->text ? augment_ask(s->run, number, row->text, row->text_size, err) : FM_OK;
}

static fm_status take_rows(streaming *s, fm_rows *rows, fm_error *err)
{
    fm_row row;
    bool more = true;
    fm_status status = FM_OK;
    while (!status && !(status = fm_rows_next(rows, &row, &more, err)) && more) {
        status = queue_row(s, &row, err);
        while (!status &&
               (!fm_augmenter_wants(s->run->augmenter) || s->queued > ROWS_AHEAD || s->queued_bytes > BYTES_AHEAD)) {
            status = augment_work(s->run, err);
            if (!status) status = write_done(s, err);
        }
    }
    return status;
}

/* ---- the file ---- */

static fm_status fail_system(fm_error *err, const char *name, const char *what)
{
    return fm_fail(err, FM_E_IO, "%s could not be %s: %s.", name, what, strerror(errno));
}

static fm_status open_input(streaming *s, const char *path, int *file, fm_error *err)
{
    bool standard = strcmp(path, "-") == 0;
    *file = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (*file < 0 || fstat(*file, &info) != 0) return fail_system(err, path, "opened");
    if (S_ISDIR(info.st_mode)) return fm_fail(err, FM_E_IO, "%s is a folder; name a file.", path);
    if (S_ISREG(info.st_mode)) s->run->total = (uint64_t)info.st_size;
    return FM_OK;
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcasecmp(text + size - end_size, end) == 0;
}

/* By the option, the file's name, or its first character. */
static fm_row_format format_of(const augment_command *o, const char *path, const char *data, size_t size)
{
    if (o->format == FM_TEXT_JSONL || o->format == FM_TEXT_CSV)
        return o->format == FM_TEXT_CSV ? FM_ROWS_CSV : FM_ROWS_JSONL;
    if (o->format == FM_TEXT_TXT) return FM_ROWS_LINES;
    if (ends_with(path, ".csv")) return FM_ROWS_CSV;
    if (ends_with(path, ".jsonl")) return FM_ROWS_JSONL;
    size_t at = size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < size && strchr(" \t\r\n", data[at]) && data[at]) at++;
    return strcmp(path, "-") == 0 && at < size && data[at] == '{' ? FM_ROWS_JSONL : FM_ROWS_LINES;
}

/* Formats that would go by as rows without sense. */
static bool is_other_data(const char *data, size_t size)
{
    static const char *const starts[] = {"\x1f\x8b",   "\3757zXZ", "\x28\xb5\x2f\xfd",
                                         "PK\x03\x04", "\xff\xfe", "\xfe\xff"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (size >= strlen(starts[i]) && memcmp(data, starts[i], strlen(starts[i])) == 0) return true;
    return false;
}

/* Whether reading would not wait, after so long at most. */
static bool is_ready(int file, int milliseconds)
{
    struct pollfd wanted = {.fd = file, .events = POLLIN};
    return poll(&wanted, 1, milliseconds) > 0;
}

/* Up to PIECE bytes, at least enough to tell what they are if they are the first; none at the end. */
static fm_status read_piece(const char *path, int file, char *piece, size_t least, size_t *size, fm_error *err)
{
    for (*size = 0; *size < least;) {
        /* A signal that comes just before read() would not wake it. */
        while (!is_ready(file, 100))
            if (cli_interrupted()) return fm_fail(err, FM_E_ABORTED, "Stopped.");
        ssize_t got = read(file, piece + *size, PIECE - *size);
        if (got == 0) break;
        if (got < 0 && errno != EINTR) return fail_system(err, path, "read");
        if (got > 0) *size += (size_t)got;
    }
    return FM_OK;
}

static fm_status stream(streaming *s, const char *path, int file, char *piece, fm_rows **rows, fm_error *err)
{
    fm_status status = FM_OK;
    for (bool ended = false; !status && !(ended && !s->first);) {
        if (ended || (s->first && !is_ready(file, 0))) { /* time to work on what is there */
            status = augment_work(s->run, err);
            if (!status) status = write_done(s, err);
            if (!ended && !s->first) fflush(s->output.file);
            continue;
        }
        size_t size;
        status = read_piece(path, file, piece, *rows ? 1 : 8, &size, err);
        if (!status && !*rows && is_other_data(piece, size))
            return fm_fail(err, FM_E_UNSUPPORTED, "It is compressed or UTF-16, not text in UTF-8; convert it first.");
        if (!status && !*rows)
            status = fm_rows_create(rows, format_of(s->run->o, path, piece, size), s->run->o->field, err);
        ended = size == 0;
        s->run->bytes += size;
        if (!status) status = fm_rows_push(*rows, piece, size, err);
        if (!status) status = take_rows(s, *rows, err);
        if (!status) status = write_done(s, err);
    }
    return status;
}

static fm_status augment_file(streaming *s, const char *path, fm_error *err)
{
    int file;
    fm_rows *rows = NULL;
    fm_status status = open_input(s, path, &file, err);
    char *piece = malloc(PIECE);
    if (!status && !piece) status = fm_fail_memory(err, PIECE, "reading");
    if (!status) status = stream(s, path, file, piece, &rows, err);
    fm_rows_destroy(rows);
    free(piece);
    if (file > STDIN_FILENO) close(file);
    if (status == FM_E_ABORTED)
        return s->run->o->output ? fm_fail(err, status, "Stopped after %llu rows; --resume goes on with the others.",
                                           (unsigned long long)s->written)
                                 : fm_fail(err, status, "Stopped after %llu rows; --skip %llu goes on with the others.",
                                           (unsigned long long)s->written, (unsigned long long)s->written);
    if (!status && s->run->asked == 0 && s->run->unchanged > 0 && s->skipped == 0)
        status = fm_fail(err, FM_E_FORMAT, "None of its %llu rows has a text.", (unsigned long long)s->run->unchanged);
    if (status) {
        fm_error cause = *err;
        fm_fail(err, status, "%.300s: %.600s", strcmp(path, "-") ? path : "Standard input", cause.text);
    }
    return status;
}

/* ---- the whole ---- */

static void add_words(fm_buffer *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) fm_buffer_json(text, words[i], strlen(words[i]));
    fm_buffer_text(text, "\n");
}

/* Runs with another key write other rows. */
static uint64_t key_of(const augmenting *a, const char *path)
{
    const augment_command *o = a->o;
    fm_buffer text = {0};
    const char *names[] = {path, o->model ? o->model : "", o->field ? o->field : ""};
    add_words(&text, names, 3);
    add_words(&text, a->kept.words, a->kept.count);
    add_words(&text, a->labels.words, a->labels.count);
    add_words(&text, o->protect.items, o->protect.count);
    fm_buffer_format(&text, "%d %d %d %d %lld %lld %lld %lld %lld %lld %lld", o->action, o->format, o->label_safe,
                     o->with_source, (long long)o->count, (long long)o->least, (long long)o->most,
                     (long long)o->variants, (long long)o->top_k, (long long)o->seed, (long long)o->skip);
    fm_buffer_format(&text, " %g %g %g %g %g %g %d", o->rate, o->top_p, o->temperature, o->label_share,
                     o->least_similarity, o->most_drop, o->dtype);
    uint64_t key = fm_hash(FM_HASH_START, text.data, text.size);
    fm_buffer_free(&text);
    return key;
}

static void drop_pending(streaming *s)
{
    while (s->first) {
        pending *p = s->first;
        s->first = p->next;
        fm_row_free(&p->row);
        free(p);
    }
}

fm_status augment_rows(augmenting *a, const char *path, uint64_t *rows, fm_error *err)
{
    streaming s = {.run = a};
    const augment_command *o = a->o;
    if (o->output && strcmp(path, "-") != 0 && cli_same_file(path, o->output))
        return fm_fail(err, FM_E_ARGUMENT, "--output is the file that is read; name another one.");
    fm_status status = cli_output_open(&s.output, o->output, o->resume, key_of(a, path), err);
    s.rows_before = s.rows_written = s.output.rows;
    if (!status) status = augment_file(&s, path, err);
    *rows = s.written - s.skipped;
    drop_pending(&s);
    fm_error last;
    fm_status closed = cli_output_close(&s.output, status == FM_OK, &last);
    if (status || !closed) return status;
    *err = last;
    return closed;
}
