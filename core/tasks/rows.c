/* rows.c - rows of JSON lines, CSV and plain lines whose text is exchanged while every other byte stays as it is.
 * Unlike the trainer's reader, which wants documents and stops at a bad one, it loses nothing: what it cannot read goes
 * by as it came, with a reason. It opens no files. */
#include "tasks/tasks.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum csv_state { CSV_START, CSV_PLAIN, CSV_QUOTED, CSV_CLOSING } csv_state;

struct fm_rows {
    fm_row_format format;
    char *field;
    char *data; /* data[start, end) has come in and is not yet given out */
    size_t capacity, start, end, scanned;
    bool ended, started, header; /* header: it has been read */
    bool too_long;               /* in the middle of such a row */
    uint64_t line;
    csv_state state; /* at `scanned` */
    size_t columns, column;
};

void fm_row_free(fm_row *row)
{
    free(row->raw);
    free(row->text);
    *row = (fm_row){0};
}

fm_status fm_rows_create(fm_rows **rows, fm_row_format format, const char *field, fm_error *err)
{
    *rows = NULL;
    if (!field) field = "text";
    size_t size = strlen(field) + 1;
    fm_rows *r = calloc(1, sizeof *r);
    char *name = malloc(size);
    if (!r || !name) {
        free(r);
        free(name);
        return fm_fail_memory(err, sizeof *r + size, "a reader of rows");
    }
    memcpy(name, field, size);
    r->format = format;
    r->field = name;
    r->line = 1;
    *rows = r;
    return FM_OK;
}

void fm_rows_destroy(fm_rows *r)
{
    if (!r) return;
    free(r->field);
    free(r->data);
    free(r);
}

fm_status fm_rows_push(fm_rows *r, const void *data, size_t size, fm_error *err)
{
    if (size == 0) {
        r->ended = true;
        return FM_OK;
    }
    if (r->start > 0) {
        memmove(r->data, r->data + r->start, r->end - r->start);
        r->end -= r->start;
        r->scanned -= r->start;
        r->start = 0;
    }
    if (size > r->capacity - r->end) {
        size_t capacity = r->capacity + r->capacity / 2 + size;
        char *larger = capacity >= size ? realloc(r->data, capacity) : NULL;
        if (!larger) return fm_fail_memory(err, capacity, "rows");
        r->data = larger;
        r->capacity = capacity;
    }
    memcpy(r->data + r->end, data, size);
    r->end += size;
    return FM_OK;
}

/* Moves `scanned` behind the end of the row, or to the end of what there is and gives false. */
static bool find_end(fm_rows *r)
{
    while (r->scanned < r->end) {
        char *at = r->data + r->scanned;
        size_t left = r->end - r->scanned;
        if (r->format != FM_ROWS_CSV || r->state == CSV_QUOTED) {
            const char *found = memchr(at, r->format != FM_ROWS_CSV ? '\n' : '"', left);
            r->scanned = found ? (size_t)(found - r->data) + 1 : r->end;
            if (found && r->format != FM_ROWS_CSV) return true;
            if (found) r->state = CSV_CLOSING;
            continue;
        }
        r->scanned++;
        if (*at == '"' && r->state != CSV_PLAIN) r->state = CSV_QUOTED; /* opens, or is the second of a doubled one */
        else if (*at == '\n') return true;
        else r->state = *at == ',' ? CSV_START : CSV_PLAIN;
    }
    return false;
}

/* How many bytes at the end of a part are the beginning of a character that goes on in the next one. */
static size_t begun_character(const char *part, size_t size)
{
    for (size_t back = 1; back <= 3 && back < size; back++) {
        uint8_t lead = (uint8_t)part[size - back];
        if ((lead & 0xc0) == 0x80) continue;
        size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
        return length > back ? back : 0;
    }
    return 0;
}

/* ---- the text of a row ---- */

static fm_status set_text(fm_row *row, const char *text, size_t size, size_t value_start, size_t value_end,
                          fm_error *err)
{
    row->text = malloc(size + 1);
    if (!row->text) return fm_fail_memory(err, size + 1, "the text of a row");
    memcpy(row->text, text, size);
    row->text[size] = '\0';
    row->text_size = size;
    row->value_start = value_start;
    row->value_end = value_end;
    return FM_OK;
}

static size_t skip_space(const char *data, size_t at)
{
    while (data[at] == ' ' || data[at] == '\t' || data[at] == '\r' || data[at] == '\n') at++;
    return at;
}

/* The end of a value of valid JSON: a string, or what comes up to the comma or bracket that it does not contain. */
static size_t skip_value(const char *data, size_t at)
{
    size_t depth = 0;
    for (;; at++) {
        char c = data[at];
        if (c == '"') {
            for (at++; data[at] != '"'; at++)
                if (data[at] == '\\') at++;
            if (depth == 0) return at + 1;
        } else if (c == '{' || c == '[') depth++;
        else if (depth == 0 && (c == ',' || c == '}' || c == ']' || c == ':')) return at;
        else if (c == '}' || c == ']') depth--;
        if (depth == 0 && (c == '}' || c == ']')) return at + 1;
    }
}

static fm_status read_json(const fm_rows *r, fm_row *row, size_t start, size_t end, fm_error *err)
{
    fm_error problem;
    cJSON *object;
    fm_status status = fm_json_parse(&object, row->raw + start, end - start, "It", &problem);
    if (status == FM_E_MEMORY) return fm_fail(err, status, "%s", problem.text);
    if (status) { /* the parser counts lines too, which says nothing here */
        char *tail = strstr(problem.text, " (line 1).");
        if (tail) memcpy(tail, ".", 2);
        snprintf(row->reason, sizeof row->reason, "%.280s", problem.text);
        return FM_OK;
    }
    const cJSON *item = NULL;
    size_t at = skip_space(row->raw, start) + 1, value = at;
    if (cJSON_IsObject(object))
        for (item = object->child; item; item = item->next) {
            at = skip_value(row->raw, skip_space(row->raw, at));        /* the key */
            value = skip_space(row->raw, skip_space(row->raw, at) + 1); /* behind the colon */
            at = skip_value(row->raw, value);
            if (strcmp(item->string, r->field) == 0) break;
            at = skip_space(row->raw, at) + 1; /* behind the comma */
        }
    if (!cJSON_IsObject(object)) snprintf(row->reason, sizeof row->reason, "It is JSON but no object.");
    else if (!item) snprintf(row->reason, sizeof row->reason, "It has no field \"%.100s\".", r->field);
    else if (!cJSON_IsString(item))
        snprintf(row->reason, sizeof row->reason, "Its field \"%.100s\" is no string.", r->field);
    else status = set_text(row, item->valuestring, strlen(item->valuestring), value, at, err);
    cJSON_Delete(object);
    return status;
}

/* One field of a CSV record from *at on: its raw bytes, and its text in `out`, which has room for them. Moves *at to
 * the comma behind it or the end; false if something is between its closing quote and that. */
static bool read_field(const char *data, size_t end, size_t *at, char *out, size_t *size)
{
    *size = 0;
    if (*at == end || data[*at] != '"') {
        while (*at < end && data[*at] != ',') out[(*size)++] = data[(*at)++];
        return true;
    }
    for (++*at; *at < end; ++*at) {
        if (data[*at] == '"' && (*at + 1 == end || data[*at + 1] != '"')) break;
        if (data[*at] == '"') ++*at;
        out[(*size)++] = data[*at];
    }
    if (*at < end) ++*at;
    return *at == end || data[*at] == ',';
}

/* The header names the columns; its row goes by. */
static fm_status read_header(fm_rows *r, const fm_row *row, size_t start, size_t end, char *field, fm_error *err)
{
    size_t found = 0, size;
    fm_buffer names = {0};
    r->header = true;
    for (size_t at = start;; at++) {
        bool good = read_field(row->raw, end, &at, field, &size);
        if (good && size == strlen(r->field) && memcmp(field, r->field, size) == 0) {
            r->column = r->columns;
            found++;
        }
        if (names.size < 300)
            fm_buffer_format(&names, "%s\"%.*s\"", r->columns ? ", " : "", size < 60 ? (int)size : 60, field);
        r->columns++;
        while (at < end && row->raw[at] != ',') at++;
        if (at == end) break;
    }
    fm_status status = FM_OK;
    if (found == 0)
        status = fm_fail(err, FM_E_FORMAT,
                         "There is no column \"%.100s\"; name the one that holds the text: the header has %.400s.",
                         r->field, names.data ? names.data : "none");
    else if (found > 1)
        status =
            fm_fail(err, FM_E_FORMAT, "The header names the column \"%.100s\" twice; rename one of them.", r->field);
    fm_buffer_free(&names);
    return status;
}

static fm_status read_csv(fm_rows *r, fm_row *row, size_t start, size_t end, fm_error *err)
{
    char *field = malloc(end - start + 1);
    if (!field) return fm_fail_memory(err, end - start + 1, "a field of a row");
    fm_status status = FM_OK;
    size_t columns = 0, size;
    bool good = true;
    if (!r->header) status = read_header(r, row, start, end, field, err);
    else {
        for (size_t at = start; good && !status; at++) {
            size_t value = at;
            good = read_field(row->raw, end, &at, field, &size);
            if (good && columns == r->column) status = set_text(row, field, size, value, at, err);
            columns++;
            if (at >= end) break;
        }
        if (!status && (!good || columns != r->columns)) {
            free(row->text);
            row->text = NULL;
            if (!good)
                snprintf(row->reason, sizeof row->reason,
                         "It has text after the closing quote of field %zu; a quote inside quotes must be doubled.",
                         columns);
            else
                snprintf(row->reason, sizeof row->reason,
                         "It has %zu fields and the header %zu; a text with commas must stand in quotes.", columns,
                         r->columns);
        }
    }
    free(field);
    return status;
}

/* ---- rows ---- */

/* raw is a whole row: its text, if it has one. */
static fm_status read_row(fm_rows *r, fm_row *row, bool first, fm_error *err)
{
    size_t start = 0, end = row->raw_size;
    if (first && end >= 3 && memcmp(row->raw, "\xef\xbb\xbf", 3) == 0) start = 3; /* a byte order mark */
    if (end > start && row->raw[end - 1] == '\n') end--;
    if (end > start && row->raw[end - 1] == '\r') end--;
    if (skip_space(row->raw, start) >= end) return FM_OK;
    if (r->format == FM_ROWS_LINES) return set_text(row, row->raw + start, end - start, start, end, err);
    return r->format == FM_ROWS_JSONL ? read_json(r, row, start, end, err) : read_csv(r, row, start, end, err);
}

fm_status fm_rows_next(fm_rows *r, fm_row *row, bool *more, fm_error *err)
{
    bool whole = find_end(r), first = !r->started;
    size_t size = r->scanned - r->start;
    bool part = !whole && size > FM_LONGEST_ROW;
    *row = (fm_row){.format = r->format, .line = r->line, .continued = r->too_long};
    *more = size > 0 && (whole || part || r->ended);
    if (!*more) return FM_OK;
    if (part) {
        size_t begun = begun_character(r->data + r->start, size);
        r->scanned -= begun;
        size -= begun;
    }
    row->raw = malloc(size + 1);
    if (!row->raw) return fm_fail_memory(err, size + 1, "a row");
    memcpy(row->raw, r->data + r->start, size);
    row->raw[size] = '\0'; /* ends every scan of white space */
    row->raw_size = size;
    bool unclosed = r->format == FM_ROWS_CSV && r->state == CSV_QUOTED;
    r->start = r->scanned;
    r->started = true;
    fm_status status = FM_OK;
    if ((part || size > FM_LONGEST_ROW) && !row->continued)
        snprintf(row->reason, sizeof row->reason, "It is longer than %zu MB%s.", FM_LONGEST_ROW >> 20,
                 unclosed ? "; look for a quote that is never closed" : "; split it");
    else if (unclosed && !row->continued)
        snprintf(row->reason, sizeof row->reason, "It has a quote that is never closed.");
    else if (!row->continued) status = read_row(r, row, first, err);
    r->too_long = part;
    for (const char *at = row->raw; (at = memchr(at, '\n', (size_t)(row->raw + size - at))) != NULL; at++) r->line++;
    if (!part) r->state = CSV_START;
    if (status) fm_row_free(row);
    return status;
}

fm_status fm_row_write(const fm_row *row, const char *text, size_t size, fm_text *out, fm_error *err)
{
    *out = (fm_text){0};
    if (!row->text)
        return fm_fail(err, FM_E_ARGUMENT, "The row on line %llu has no text to be exchanged.",
                       (unsigned long long)row->line);
    if (row->format == FM_ROWS_LINES && memchr(text, '\n', size))
        return fm_fail(err, FM_E_ARGUMENT, "A text of several lines cannot take the place of a line; use JSON lines.");
    fm_buffer b = {0};
    fm_buffer_add(&b, row->raw, row->value_start);
    bool quoted = row->format == FM_ROWS_CSV && row->value_start < row->value_end && row->raw[row->value_start] == '"';
    for (size_t i = 0; i < size && row->format == FM_ROWS_CSV && !quoted; i++)
        quoted = text[i] && strchr(",\"\n\r", text[i]);
    if (row->format == FM_ROWS_JSONL) fm_buffer_json(&b, text, size);
    else if (quoted) {
        fm_buffer_add(&b, "\"", 1);
        for (size_t i = 0; i < size; i++) {
            if (text[i] == '"') fm_buffer_add(&b, "\"", 1);
            fm_buffer_add(&b, text + i, 1);
        }
        fm_buffer_add(&b, "\"", 1);
    } else fm_buffer_add(&b, text, size);
    fm_buffer_add(&b, row->raw + row->value_end, row->raw_size - row->value_end);
    if (b.failed) {
        fm_buffer_free(&b);
        return fm_fail_memory(err, row->raw_size + size, "a row");
    }
    *out = (fm_text){b.data, b.size};
    return FM_OK;
}
