/* serve_lines.c - reads lines, finds what each is, and queues them. Lines that abort a request never reach the queue.
 * What requests mean is not known here. */
#include "cli/serve_lines.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE ((size_t)65536)
#define LONGEST ((size_t)1 << 26)    /* bytes of a line */
#define MOST_AHEAD ((size_t)1 << 26) /* bytes of lines that wait; then reading waits too */

struct serve_lines {
    int file;
    bool threaded;
    pthread_t thread;
    bool ended;
    int wrong; /* errno of a read that failed, which ends the input */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    serve_line *first, *last; /* the first one is being worked on if `taken` */
    bool taken;
    size_t waiting;    /* bytes */
    fm_buffer partial; /* of the line that has not ended */
    bool skipping;     /* the rest of a line that was too long */
};

/* ---- one line ---- */

static void line_free(serve_line *line)
{
    free(line->text);
    free(line);
}

static void abort_line(serve_lines *lines, uint64_t id)
{
    pthread_mutex_lock(&lines->lock);
    for (serve_line *line = lines->first; line; line = line->next)
        if (line->id == id) atomic_store(&line->aborted, true);
    pthread_mutex_unlock(&lines->lock);
}

static void append(serve_lines *lines, serve_line *line)
{
    pthread_mutex_lock(&lines->lock);
    while (lines->threaded && lines->waiting > MOST_AHEAD) pthread_cond_wait(&lines->changed, &lines->lock);
    if (lines->last) lines->last->next = line;
    else lines->first = line;
    lines->last = line;
    lines->waiting += line->size;
    pthread_cond_broadcast(&lines->changed);
    pthread_mutex_unlock(&lines->lock);
}

/* What the line is: a request's id and op; or another's id, to be aborted; or what is wrong with it. */
static fm_status examine(serve_line *line, const char *text, size_t size, uint64_t *aborts)
{
    cJSON *root;
    fm_status status = fm_json_parse(&root, text, size, "The line", &line->wrong);
    if (status) return status;
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(root, "id"), *op = cJSON_GetObjectItemCaseSensitive(root, "op"),
                *other = cJSON_GetObjectItemCaseSensitive(root, "abort");
    bool has_id = id && fm_json_u64(id, &line->id);
    if (!has_id) line->id = SERVE_NO_ID;
    if (cJSON_IsString(op)) strncpy(line->op, op->valuestring, sizeof line->op - 1);
    if (id && !has_id) status = fm_fail(&line->wrong, FM_E_ARGUMENT, "id must be a whole number from 0 to 2^53.");
    else if (!cJSON_IsString(op) && !(other && fm_json_u64(other, aborts)))
        status = fm_fail(&line->wrong, FM_E_ARGUMENT,
                         "The line is no request: it must be an object with \"op\", or with the \"abort\" of an id.");
    cJSON_Delete(root);
    return status;
}

/* Takes a whole line in; false without memory. */
static bool take(serve_lines *lines, const char *text, size_t size, fm_status status)
{
    uint64_t aborts = SERVE_NO_ID;
    serve_line *line = calloc(1, sizeof *line);
    if (!line) return false;
    line->id = SERVE_NO_ID;
    if (status) fm_fail(&line->wrong, status, "The line has more than %zu bytes; send less at once.", LONGEST);
    else status = examine(line, text, size, &aborts);
    if (!status && aborts != SERVE_NO_ID) {
        line_free(line);
        abort_line(lines, aborts);
        return true;
    }
    if (!status) {
        line->text = malloc(size + 1);
        if (line->text) memcpy(line->text, text, size + 1);
        else fm_fail_memory(&line->wrong, size + 1, "a request");
        line->size = size;
    }
    append(lines, line);
    return true;
}

/* ---- reading ---- */

static bool is_blank(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') return false;
    return true;
}

/* The line that ends here, without its newline. */
static bool end_line(serve_lines *lines)
{
    fm_buffer *partial = &lines->partial;
    bool good = true, skipped = lines->skipping;
    lines->skipping = false;
    if (skipped || partial->failed) good = take(lines, NULL, 0, FM_E_LIMIT);
    else if (!is_blank(partial->data, partial->size)) good = take(lines, partial->data, partial->size, FM_OK);
    if (partial->capacity > MOST_AHEAD || partial->failed) fm_buffer_free(partial);
    partial->size = 0;
    return good;
}

/* Reads a piece; false at the end of the input. */
static bool read_piece(serve_lines *lines)
{
    char piece[PIECE];
    ssize_t got;
    while ((got = read(lines->file, piece, sizeof piece)) < 0 && errno == EINTR) {
    }
    for (const char *at = piece, *end = piece + got; got > 0 && at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        if (lines->partial.size + (size_t)(stop - at) > LONGEST) lines->skipping = true;
        if (!lines->skipping) fm_buffer_add(&lines->partial, at, (size_t)(stop - at));
        if (newline && !end_line(lines)) return false;
        at = newline ? newline + 1 : end;
    }
    if (got < 0) lines->wrong = errno;
    if (got <= 0) end_line(lines); /* the last one may lack its newline */
    return got > 0;
}

static void end_input(serve_lines *lines)
{
    pthread_mutex_lock(&lines->lock);
    lines->ended = true;
    pthread_cond_broadcast(&lines->changed);
    pthread_mutex_unlock(&lines->lock);
}

static void *read_lines(void *context)
{
    while (read_piece(context)) {
    }
    end_input(context);
    return NULL;
}

/* ---- for serve.c ---- */

fm_status serve_lines_open(serve_lines **out, int file, fm_error *err)
{
    serve_lines *lines = *out = calloc(1, sizeof *lines);
    if (!lines) return fm_fail_memory(err, sizeof *lines, "the requests");
    lines->file = file;
    if (pthread_mutex_init(&lines->lock, NULL) != 0 || pthread_cond_init(&lines->changed, NULL) != 0) {
        free(lines);
        return fm_fail_memory(err, sizeof *lines, "the requests");
    }
    lines->threaded = true; /* which the thread looks at */
    if (pthread_create(&lines->thread, NULL, read_lines, lines) != 0) lines->threaded = false;
    return FM_OK;
}

serve_line *serve_lines_next(serve_lines *lines)
{
    pthread_mutex_lock(&lines->lock);
    if (lines->taken) {
        serve_line *done = lines->first;
        lines->first = done->next;
        if (!lines->first) lines->last = NULL;
        lines->waiting -= done->size;
        line_free(done);
        lines->taken = false;
        pthread_cond_broadcast(&lines->changed);
    }
    while (!lines->first && !lines->ended) {
        if (lines->threaded) {
            pthread_cond_wait(&lines->changed, &lines->lock);
            continue;
        }
        pthread_mutex_unlock(&lines->lock);
        bool more = read_piece(lines);
        pthread_mutex_lock(&lines->lock);
        lines->ended = !more;
    }
    serve_line *line = lines->first;
    lines->taken = line != NULL;
    pthread_mutex_unlock(&lines->lock);
    return line;
}

fm_status serve_lines_end(const serve_lines *lines, fm_error *err)
{
    if (!lines->wrong) return FM_OK;
    return fm_fail(err, FM_E_IO, "The requests could not be read: %s.", strerror(lines->wrong));
}

void serve_lines_leave(serve_lines *lines)
{
    pthread_mutex_lock(&lines->lock);
    bool reading = lines->threaded && !lines->ended;
    pthread_mutex_unlock(&lines->lock);
    if (reading) return; /* it may wait for input for ever */
    if (lines->threaded) pthread_join(lines->thread, NULL);
    for (serve_line *line = lines->first; line;) {
        serve_line *next = line->next;
        line_free(line);
        line = next;
    }
    fm_buffer_free(&lines->partial);
    pthread_cond_destroy(&lines->changed);
    pthread_mutex_destroy(&lines->lock);
    free(lines);
}
