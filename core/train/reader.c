/* reader.c - documents out of JSON lines, CSV and plain text, one at a time and in any size of file; and those of
 * reviews.c. It knows nothing of tokens, and neither decompresses nor guesses at other formats: those it recognises, it
 * refuses by name. */
#include "train/reviews.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LONGEST_RECORD ((size_t)64 << 20)
#define FIRST_CAPACITY ((size_t)1 << 20)

typedef struct csv_field {
    char *text;
    size_t size;
} csv_field;

struct fm_reader {
    char *path, *field;
    const char *name; /* path, or "stdin", for errors */
    fm_text_format format;
    int file;
    bool regular, started, ended;
    bool automatic;      /* the format was left open */
    fm_reviews *reviews; /* where they are the documents */
    uint64_t total;

    /* data[start, end) is read and not yet used; one byte after `end` is kept free for a terminator. */
    char *data;
    size_t capacity, start, end;
    uint64_t before; /* bytes of the input ahead of data[0] */
    uint64_t line;   /* number of the line at `start` */

    cJSON *object; /* the current line's, which holds the document's text */
    char id[40];

    csv_field *fields;
    size_t field_count, field_capacity;
    size_t columns, text_column, id_column; /* id_column is SIZE_MAX without one */
};

static fm_status fail_system(fm_error *err, const fm_reader *reader, const char *what, int problem)
{
    char reason[128];
    if (strerror_r(problem, reason, sizeof reason) != 0) snprintf(reason, sizeof reason, "error %d", problem);
    return fm_fail(err, FM_E_IO, "%s could not be %s: %s.", reader->name, what, reason);
}

fm_text_format fm_text_format_of(const char *name)
{
    if (fm_ends_with(name, ".jsonl")) return FM_TEXT_JSONL;
    if (fm_ends_with(name, ".csv")) return FM_TEXT_CSV;
    return fm_ends_with(name, ".tar") ? FM_TEXT_IMDB : FM_TEXT_AUTO;
}

static bool is_collection(fm_text_format format)
{
    return format >= FM_TEXT_IMDB;
}

static fm_status open_folder(fm_reader *reader, fm_error *err)
{
    if (reader->automatic) reader->format = FM_TEXT_IMDB;
    if (is_collection(reader->format)) return reviews_read_folder(&reader->reviews, reader->path, reader->format, err);
    return fm_fail(err, FM_E_IO, "%s is a folder; name the files in it that hold the texts.", reader->name);
}

static fm_status open_file(fm_reader *reader, fm_error *err)
{
    if (strcmp(reader->path, "-") == 0) {
        reader->name = "stdin";
        reader->file = STDIN_FILENO;
    } else reader->file = open(reader->path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (reader->file < 0 || fstat(reader->file, &info) != 0) return fail_system(err, reader, "opened", errno);
    if (S_ISDIR(info.st_mode)) return open_folder(reader, err);
    reader->regular = S_ISREG(info.st_mode);
    off_t at = reader->regular ? lseek(reader->file, 0, SEEK_CUR) : -1; /* stdin may have been read from before */
    if (at >= 0 && info.st_size > at) reader->total = (uint64_t)(info.st_size - at);
    return FM_OK;
}

fm_status fm_reader_open(fm_reader **out, const char *path, fm_text_format format, const char *field, fm_error *err)
{
    *out = NULL;
    fm_reader *reader = calloc(1, sizeof *reader);
    if (!reader) return fm_fail_memory(err, sizeof *reader, "a reader of texts");
    reader->file = -1;
    reader->format = format;
    reader->automatic = format == FM_TEXT_AUTO;
    reader->line = 1;
    reader->path = strdup(path);
    reader->field = strdup(field ? field : "text");
    reader->name = reader->path;
    fm_status status = FM_OK;
    if (!reader->path || !reader->field) status = fm_fail_memory(err, strlen(path) + 1, "the name of a file");
    else status = open_file(reader, err);
    if (!status && reader->automatic && !reader->reviews) {
        reader->format = fm_text_format_of(path);
        if (fm_ends_with(path, ".json"))
            status =
                fm_fail(err, FM_E_ARGUMENT,
                        "%s may hold one JSON document or JSON lines; say that its format is jsonl, or convert it to "
                        "one object a line.",
                        path);
        else if (reader->format == FM_TEXT_AUTO && reader->file != STDIN_FILENO && reader->regular)
            reader->format = FM_TEXT_TXT;
    }
    if (status) {
        fm_reader_close(reader);
        return status;
    }
    *out = reader;
    return FM_OK;
}

void fm_reader_close(fm_reader *reader)
{
    if (!reader) return;
    if (reader->file >= 0 && reader->file != STDIN_FILENO) close(reader->file);
    cJSON_Delete(reader->object);
    reviews_free(reader->reviews);
    free(reader->fields);
    free(reader->data);
    free(reader->field);
    free(reader->path);
    free(reader);
}

void fm_reader_progress(const fm_reader *reader, uint64_t *done, uint64_t *total)
{
    *done = reader->before + reader->start;
    *total = reader->total;
}

/* ---- bytes and lines ---- */

/* Reads more behind `end`; what was used is dropped, so that data[start] moves to data[0]. */
static fm_status refill(fm_reader *reader, fm_error *err)
{
    size_t kept = reader->end - reader->start;
    if (kept > LONGEST_RECORD)
        return fm_fail(err, FM_E_LIMIT, "The %s that starts on line %llu of %s is longer than 64 MB%s.",
                       reader->format == FM_TEXT_CSV ? "record" : "line", (unsigned long long)reader->line,
                       reader->name,
                       reader->format == FM_TEXT_CSV ? "; look for a quote that is never closed" : "; split it");
    if (kept > 0 && reader->start > 0) memmove(reader->data, reader->data + reader->start, kept);
    reader->before += reader->start;
    reader->start = 0;
    reader->end = kept;
    if (!reader->data || kept >= reader->capacity / 2) { /* LONGEST_RECORD keeps this far from overflow */
        size_t capacity = reader->data ? reader->capacity * 2 : FIRST_CAPACITY;
        char *data = realloc(reader->data, capacity);
        if (!data) return fm_fail_memory(err, capacity, "a line of text");
        reader->data = data;
        reader->capacity = capacity;
    }
    for (;;) {
        ssize_t got = read(reader->file, reader->data + kept, reader->capacity - kept - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_system(err, reader, "read", errno);
        reader->ended = got == 0;
        reader->end += (size_t)got;
        return FM_OK;
    }
}

typedef enum csv_state { CSV_START, CSV_PLAIN, CSV_QUOTED, CSV_CLOSING } csv_state;

/* Looks for the end of a line from *at on, or, with a state, for the end of a CSV record. True: data[*at] is its
 * newline. False: there is none yet, and the search goes on from *at once there is more. */
static bool find_end(const char *data, size_t end, size_t *at, csv_state *state)
{
    if (!state) {
        const char *newline = end > *at ? memchr(data + *at, '\n', end - *at) : NULL;
        *at = newline ? (size_t)(newline - data) : end;
        return newline != NULL;
    }
    while (*at < end) {
        if (*state == CSV_QUOTED) {
            const char *quote = memchr(data + *at, '"', end - *at);
            *at = quote ? (size_t)(quote - data) + 1 : end;
            if (quote) *state = CSV_CLOSING;
            continue;
        }
        char c = data[*at];
        if (c == '"' && *state != CSV_PLAIN) *state = CSV_QUOTED; /* opens a field, or the second of a doubled quote */
        else if (c == '\n') return true;
        else *state = c == ',' ? CSV_START : CSV_PLAIN;
        ++*at;
    }
    return false;
}

/* The next line or CSV record, NUL-terminated in place and without its line end; *number is that of its first line. */
static fm_status take_record(fm_reader *reader, char **record, size_t *size, uint64_t *number, bool *more,
                             fm_error *err)
{
    csv_state state = CSV_START;
    csv_state *csv = reader->format == FM_TEXT_CSV ? &state : NULL;
    size_t scanned = reader->start;
    *more = true;
    while (!find_end(reader->data, reader->end, &scanned, csv)) {
        if (reader->ended) {
            if (csv && state == CSV_QUOTED)
                return fm_fail(err, FM_E_FORMAT,
                               "The record that starts on line %llu of %s has a quote that is never closed.",
                               (unsigned long long)reader->line, reader->name);
            *more = reader->end > reader->start;
            break;
        }
        scanned -= reader->start;
        fm_status status = refill(reader, err);
        if (status) return status;
    }
    *record = reader->data + reader->start;
    *size = scanned - reader->start;
    *number = reader->line;
    if (!*more) return FM_OK;
    if (*size > LONGEST_RECORD)
        return fm_fail(err, FM_E_LIMIT, "Line %llu of %s is longer than 64 MB; split it.",
                       (unsigned long long)reader->line, reader->name);
    if (csv)
        for (const char *at = *record; (at = memchr(at, '\n', (size_t)(*record + *size - at))) != NULL; at++)
            reader->line++;
    reader->line++;
    reader->start = scanned < reader->end ? scanned + 1 : scanned;
    if (*size > 0 && (*record)[*size - 1] == '\r') --*size;
    (*record)[*size] = '\0';
    return FM_OK;
}

/* ---- the start of the input ---- */

fm_status fm_refuse_other_formats(const char *data, size_t size, const char *name, fm_error *err)
{
    static const struct {
        const char *magic;
        size_t size;
        const char *what, *remedy;
    } others[] = {
        {"\x1f\x8b", 2, "gzip", "decompress it, or pipe it in: gzip -dc FILE | fillmask ... -"},
        {"\xfd"
         "7zXZ",
         5, "xz", "decompress it, or pipe it in: xz -dc FILE | fillmask ... -"},
        {"\x28\xb5\x2f\xfd", 4, "zstd", "decompress it, or pipe it in: zstd -dc FILE | fillmask ... -"},
        {"PK\x03\x04", 4, "zip", "unpack it"},
        {"PAR1", 4, "Parquet", "convert it to JSON lines or CSV"},
        {"\xff\xfe", 2, "UTF-16", "convert it to UTF-8"},
        {"\xfe\xff", 2, "UTF-16", "convert it to UTF-8"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (size >= others[i].size && memcmp(data, others[i].magic, others[i].size) == 0)
            return fm_fail(err, FM_E_UNSUPPORTED, "%s is %s data, not text in UTF-8; %s.", name, others[i].what,
                           others[i].remedy);
    return FM_OK;
}

static fm_status split_csv(fm_reader *reader, char *record, size_t size, uint64_t number, fm_error *err);

/* Finds the columns that the header record names. */
static fm_status read_header(fm_reader *reader, fm_error *err)
{
    char *record;
    size_t size;
    uint64_t number;
    bool more;
    fm_status status = take_record(reader, &record, &size, &number, &more, err);
    if (!status && !more)
        return fm_fail(err, FM_E_FORMAT, "%s is empty; the first record of a CSV file names its columns.",
                       reader->name);
    if (!status) status = split_csv(reader, record, size, number, err);
    if (status) return status;
    reader->columns = reader->field_count;
    reader->text_column = reader->id_column = SIZE_MAX;
    fm_buffer names = {0};
    for (size_t i = 0; i < reader->field_count && !status; i++) {
        const char *name = reader->fields[i].text;
        if (names.size < 300) fm_buffer_format(&names, "%s\"%.60s\"", i ? ", " : "", name);
        size_t *column = strcmp(name, reader->field) == 0 ? &reader->text_column
                         : strcmp(name, "id") == 0        ? &reader->id_column
                                                          : NULL;
        if (column && *column != SIZE_MAX)
            status = fm_fail(err, FM_E_FORMAT, "The header of %s names the column \"%s\" twice; rename one of them.",
                             reader->name, name);
        if (column) *column = i;
    }
    if (strcmp(reader->field, "id") == 0) reader->id_column = reader->text_column;
    if (!status && reader->text_column == SIZE_MAX)
        status =
            fm_fail(err, FM_E_FORMAT, "%s has no column \"%s\"; name the one that holds the text (its header has %s).",
                    reader->name, reader->field, names.data ? names.data : "none");
    fm_buffer_free(&names);
    return status;
}

/* For an archive: a reviews_source. */
static fm_status take_bytes(void *context, void *to, size_t size, size_t *got, fm_error *err)
{
    fm_reader *reader = context;
    *got = 0;
    if (reader->start == reader->end && !reader->ended) {
        fm_status status = refill(reader, err);
        if (status) return status;
    }
    size_t left = reader->end - reader->start;
    *got = size < left ? size : left;
    if (*got > 0) memcpy(to, reader->data + reader->start, *got);
    reader->start += *got;
    return FM_OK;
}

/* Whether what was read is enough to know an archive from text, which soon has a line's end. */
static bool is_clear(const fm_reader *reader)
{
    size_t size = reader->end - reader->start;
    return reader->ended || size >= 512 || memchr(reader->data + reader->start, '\n', size) != NULL;
}

/* Skips a byte order mark, refuses what is no text, settles an open format, and reads a CSV header. */
static fm_status start(fm_reader *reader, fm_error *err)
{
    while (!reader->ended && reader->end - reader->start < 8) {
        fm_status status = refill(reader, err);
        if (status) return status;
    }
    fm_status status =
        fm_refuse_other_formats(reader->data + reader->start, reader->end - reader->start, reader->name, err);
    bool open = reader->automatic && (reader->format == FM_TEXT_AUTO || reader->format == FM_TEXT_TXT);
    while (!status && open && !is_clear(reader)) status = refill(reader, err);
    if (status) return status;
    if (open && reader->end - reader->start >= 512 && tar_recognise(reader->data + reader->start))
        reader->format = FM_TEXT_IMDB;
    if (is_collection(reader->format)) {
        status = reviews_read_tar(&reader->reviews, reader->name, reader->format, take_bytes, reader, err);
        reader->started = !status;
        return status;
    }
    if (reader->end - reader->start >= 3 && memcmp(reader->data + reader->start, "\xef\xbb\xbf", 3) == 0)
        reader->start += 3;
    if (reader->format == FM_TEXT_AUTO) {
        size_t at = reader->start;
        while (at < reader->end && strchr(" \t\r\n", reader->data[at]) && reader->data[at]) at++;
        reader->format = at < reader->end && reader->data[at] == '{' ? FM_TEXT_JSONL : FM_TEXT_TXT;
    }
    reader->started = true;
    return reader->format == FM_TEXT_CSV ? read_header(reader, err) : FM_OK;
}

/* ---- JSON lines ---- */

static const char *type_name(const cJSON *item)
{
    return cJSON_IsNumber(item)   ? "a number"
           : cJSON_IsBool(item)   ? "true or false"
           : cJSON_IsNull(item)   ? "null"
           : cJSON_IsArray(item)  ? "a list"
           : cJSON_IsObject(item) ? "an object"
                                  : "a string";
}

static fm_status fail_missing_field(const fm_reader *reader, uint64_t number, fm_error *err)
{
    fm_buffer names = {0};
    for (const cJSON *item = reader->object->child; item && names.size < 300; item = item->next)
        fm_buffer_format(&names, "%s\"%.60s\"", names.size ? ", " : "", item->string);
    fm_status status = fm_fail(
        err, FM_E_FORMAT, "Line %llu of %s has no field \"%s\"; name the field that holds the text (the line has %s).",
        (unsigned long long)number, reader->name, reader->field, names.size ? names.data : "none");
    fm_buffer_free(&names);
    return status;
}

/* A string as it is, a number in decimal; without an id (or with null) the line's number stands for it. */
static fm_status json_id(fm_reader *reader, uint64_t number, fm_document *document, fm_error *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(reader->object, "id");
    document->id = reader->id;
    if (cJSON_IsString(item)) document->id = item->valuestring;
    else if (cJSON_IsNumber(item)) {
        bool whole = fabs(item->valuedouble) < 0x1p53 && floor(item->valuedouble) == item->valuedouble;
        snprintf(reader->id, sizeof reader->id, whole ? "%.0f" : "%.17g", item->valuedouble);
    } else if (!item || cJSON_IsNull(item)) snprintf(reader->id, sizeof reader->id, "%llu", (unsigned long long)number);
    else
        return fm_fail(err, FM_E_FORMAT, "The field \"id\" on line %llu of %s is %s; it must be a string or a number.",
                       (unsigned long long)number, reader->name, type_name(item));
    document->id_size = strlen(document->id);
    return FM_OK;
}

static fm_status fail_json(const fm_reader *reader, uint64_t number, fm_status status, const fm_error *found,
                           fm_error *err)
{
    if (status != FM_E_FORMAT) return fm_fail(err, status, "%s", found->text);
    /* The parser counts lines from the one that it was given. */
    size_t size = strlen(found->text);
    static const char tail[] = " (line 1).";
    if (size > sizeof tail && strcmp(found->text + size - (sizeof tail - 1), tail) == 0) size -= sizeof tail - 1;
    else if (size > 0) size--;
    return fm_fail(err, status, "Line %llu of %s%.*s; every line must be one JSON object.", (unsigned long long)number,
                   reader->name, (int)size, found->text);
}

static fm_status next_json(fm_reader *reader, const char *line, size_t size, uint64_t number, fm_document *document,
                           fm_error *err)
{
    cJSON_Delete(reader->object);
    reader->object = NULL;
    fm_error found;
    fm_status status = fm_json_parse(&reader->object, line, size, "", &found);
    if (status) return fail_json(reader, number, status, &found, err);
    if (!cJSON_IsObject(reader->object))
        return fm_fail(err, FM_E_FORMAT, "Line %llu of %s is %s; every line must be one JSON object.",
                       (unsigned long long)number, reader->name, type_name(reader->object));
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(reader->object, reader->field);
    if (!text) return fail_missing_field(reader, number, err);
    if (!cJSON_IsString(text))
        return fm_fail(err, FM_E_FORMAT, "The field \"%s\" on line %llu of %s is %s; it must be a string.",
                       reader->field, (unsigned long long)number, reader->name, type_name(text));
    document->text = text->valuestring;
    document->size = strlen(text->valuestring); /* the parser refuses \u0000 */
    return json_id(reader, number, document, err);
}

/* ---- CSV ---- */

static fm_status add_field(fm_reader *reader, char *text, size_t size, fm_error *err)
{
    if (reader->field_count == reader->field_capacity) {
        size_t capacity = reader->field_capacity ? reader->field_capacity * 2 : 16, bytes;
        csv_field *fields = fm_size_mul(capacity, sizeof *fields, &bytes) ? realloc(reader->fields, bytes) : NULL;
        if (!fields) return fm_fail_memory(err, bytes, "the fields of a CSV record");
        reader->fields = fields;
        reader->field_capacity = capacity;
    }
    reader->fields[reader->field_count++] = (csv_field){text, size};
    return FM_OK;
}

/* Unquotes in place; record[size] may be written. */
static fm_status split_csv(fm_reader *reader, char *record, size_t size, uint64_t number, fm_error *err)
{
    reader->field_count = 0;
    for (size_t at = 0;; at++) {
        char *text = record + at, *out = text;
        if (at < size && record[at] == '"') {
            for (at++; at < size && !(record[at] == '"' && (at + 1 == size || record[at + 1] != '"')); at++) {
                if (record[at] == '"') at++;
                *out++ = record[at];
            }
            at++; /* take_record made sure of the closing quote */
            if (at < size && record[at] != ',')
                return fm_fail(
                    err, FM_E_FORMAT,
                    "The record on line %llu of %s has text after the closing quote of field %zu; a quote inside "
                    "quotes must be doubled.",
                    (unsigned long long)number, reader->name, reader->field_count + 1);
        } else {
            const char *comma = at < size ? memchr(record + at, ',', size - at) : NULL;
            at = comma ? (size_t)(comma - record) : size;
            out = record + at;
        }
        *out = '\0';
        fm_status status = add_field(reader, text, (size_t)(out - text), err);
        if (status) return status;
        if (at >= size) return FM_OK;
    }
}

static fm_status next_csv(fm_reader *reader, char *record, size_t size, uint64_t number, fm_document *document,
                          fm_error *err)
{
    fm_status status = split_csv(reader, record, size, number, err);
    if (status) return status;
    if (reader->field_count != reader->columns)
        return fm_fail(
            err, FM_E_FORMAT,
            "The record on line %llu of %s has %zu fields and the header %zu; a text with commas must stand in "
            "quotes.",
            (unsigned long long)number, reader->name, reader->field_count, reader->columns);
    document->text = reader->fields[reader->text_column].text;
    document->size = reader->fields[reader->text_column].size;
    if (reader->id_column != SIZE_MAX && reader->fields[reader->id_column].size > 0) {
        document->id = reader->fields[reader->id_column].text;
        document->id_size = reader->fields[reader->id_column].size;
    }
    return FM_OK;
}

/* ---- documents ---- */

fm_status fm_reader_next(fm_reader *reader, fm_document *document, bool *more, fm_error *err)
{
    *more = false;
    fm_status status = reader->started || reader->reviews ? FM_OK : start(reader, err);
    if (!status && reader->reviews) *more = reviews_next(reader->reviews, document);
    while (!status && !reader->reviews) {
        char *record;
        size_t size;
        uint64_t number;
        bool found;
        status = take_record(reader, &record, &size, &number, &found, err);
        if (status || !found) break;
        if (size == strspn(record, " \t\r")) continue; /* nothing on the line */
        int id_size = snprintf(reader->id, sizeof reader->id, "%llu", (unsigned long long)number);
        *document = (fm_document){record, size, reader->id, (size_t)id_size};
        if (reader->format == FM_TEXT_JSONL) status = next_json(reader, record, size, number, document, err);
        else if (reader->format == FM_TEXT_CSV) status = next_csv(reader, record, size, number, document, err);
        *more = !status;
        break;
    }
    return status;
}
