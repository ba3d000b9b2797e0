/* augment_rows.c - the rows of a file through `fillmask augment`: they stream through in order and in constant memory,
 * and an output file can be gone on with. */
#include "cli/augment_run.h"

#include <stdlib.h>
#include <string.h>

#include "tasks/tasks.h"

#define ROWS_AHEAD 2048        /* rows in the queue */
#define BYTES_AHEAD (32 << 20) /* and their bytes */

/* A row that waits for its variants, or goes by. */
typedef struct pending {
    struct pending *next;
    fm_row row;
} pending;

typedef struct streaming {
    augmenting *run;
    cli_rows input;
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
        s->run->fewer += result.count > 0 && result.reason[0];
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

static fm_status take_rows(streaming *s, fm_error *err)
{
    fm_row row;
    bool more = true;
    fm_status status = FM_OK;
    while (!status && !(status = cli_rows_take(&s->input, &row, &more, err)) && more) {
        status = queue_row(s, &row, err);
        while (!status &&
               (!fm_augmenter_wants(s->run->augmenter) || s->queued > ROWS_AHEAD || s->queued_bytes > BYTES_AHEAD)) {
            status = augment_work(s->run, err);
            if (!status) status = write_done(s, err);
        }
    }
    return status;
}

static fm_status stream(streaming *s, fm_error *err)
{
    cli_rows *input = &s->input;
    fm_status status = FM_OK;
    while (!status && !(input->ended && !s->first)) {
        if (input->ended || (s->first && !cli_rows_ready(input))) { /* time to work on what is there */
            status = augment_work(s->run, err);
            if (!status) status = write_done(s, err);
            if (!input->ended && !s->first) fflush(s->output.file);
            continue;
        }
        status = cli_rows_read(input, err);
        s->run->bytes = input->bytes;
        if (!status) status = take_rows(s, err);
        if (!status) status = write_done(s, err);
    }
    return status;
}

static fm_status augment_file(streaming *s, const char *path, fm_error *err)
{
    const augment_command *o = s->run->o;
    fm_status status = cli_rows_open(&s->input, path, (fm_text_format)o->format, o->field, err);
    s->run->total = s->input.total;
    if (!status) status = stream(s, err);
    cli_rows_close(&s->input);
    unsigned long long written = s->written;
    if (status == FM_E_ABORTED && o->output)
        return fm_fail(err, status, "Stopped after %llu rows; --resume goes on with the others.", written);
    if (status == FM_E_ABORTED)
        return fm_fail(err, status, "Stopped after %llu rows; --skip %llu goes on with the others.", written, written);
    if (!status && s->run->asked == 0 && s->run->reasons.count > 0 && s->skipped == 0)
        status = fm_fail(err, FM_E_FORMAT, "%.300s: None of its %llu rows has a text.", path,
                         (unsigned long long)s->run->reasons.count);
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
