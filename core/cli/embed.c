/* embed.c - `fillmask embed`: the vectors of texts as JSON, or how alike texts are; many texts in a batch. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/tasks.h"

#define TEXTS_AT_ONCE 64
#define BYTES_AT_ONCE (1 << 20)

typedef struct embed_command {
    cli_list data;
    const char *model, *field, *set;
    int64_t threads;
    int format, dtype;
    bool normalize, json, quiet;
    cli_device device;
} embed_command;

typedef struct embedding {
    const embed_command *o;
    fm_model *model;
    cli_progress progress;
    cli_reasons reasons;
    struct waiting {         /* a text that waits for its vector, or a row that has none and keeps its place */
        char *text, *reason; /* owned; the text may be NULL if there is a reason */
        size_t size;
    } list[TEXTS_AT_ONCE];
    size_t waiting, waiting_bytes;
    float *vectors; /* (TEXTS_AT_ONCE, width) */
    float *first;   /* (width), that of the first text */
    bool several;
    bool begun, complete;  /* the list of JSON has an entry; has all */
    uint64_t done;         /* texts with a vector */
    uint64_t bytes, total; /* of files: read, and all, 0 if unknown */
} embedding;

static void add_json(embedding *e, fm_buffer *out, const struct waiting *one, const float *vector)
{
    uint32_t width = fm_model_width(e->model);
    double squares = 0.0;
    if (e->several) fm_buffer_text(out, e->begun ? ",\n " : "[");
    e->begun = true;
    fm_buffer_text(out, "{\"text\": ");
    if (one->text) fm_buffer_json(out, one->text, one->size);
    else fm_buffer_text(out, "null");
    if (one->reason) {
        fm_buffer_text(out, ", \"reason\": ");
        fm_buffer_json(out, one->reason, strlen(one->reason));
        fm_buffer_text(out, "}");
        return;
    }
    for (uint32_t i = 0; i < width; i++) squares += (double)vector[i] * (double)vector[i];
    double scale = e->o->normalize && squares > 0.0 ? 1.0 / sqrt(squares) : 1.0;
    fm_buffer_text(out, ", \"vector\": [");
    for (uint32_t i = 0; i < width; i++) fm_buffer_format(out, i ? ", %.7g" : "%.7g", (double)vector[i] * scale);
    fm_buffer_text(out, "]}");
}

/* How alike a text is to the first one. */
static void add_line(const embedding *e, fm_buffer *out, const struct waiting *one, const float *vector)
{
    if (one->reason) fm_buffer_format(out, "%7s  ", "-");
    else fm_buffer_format(out, "%7.4f  ", fm_similarity(e->first, vector, fm_model_width(e->model)));
    for (size_t i = 0; one->text && i < one->size; i++) { /* one line, whatever the text holds */
        char c = one->text[i];
        fm_buffer_add(out, (unsigned char)c < 0x20 ? " " : &c, 1);
    }
    fm_buffer_text(out, "\n");
}

static bool show_texts(void *context, uint64_t done, uint64_t total)
{
    embedding *e = context;
    (void)done;
    (void)total;
    if (e->progress.unit) return cli_progress_step(&e->progress, e->done, 0);
    snprintf(e->progress.note, sizeof e->progress.note, "%llu texts", (unsigned long long)e->done);
    return cli_progress_step(&e->progress, e->bytes, e->total);
}

static void forget_waiting(embedding *e)
{
    for (size_t i = 0; i < e->waiting; i++) {
        free(e->list[i].text);
        free(e->list[i].reason);
    }
    e->waiting = e->waiting_bytes = 0;
}

static fm_status write_waiting(embedding *e, fm_error *err)
{
    fm_buffer out = {0};
    fm_view texts[TEXTS_AT_ONCE];
    uint32_t width = fm_model_width(e->model);
    const float *vector = e->vectors;
    size_t count = 0;
    for (size_t i = 0; i < e->waiting; i++)
        if (!e->list[i].reason) texts[count++] = (fm_view){e->list[i].text, e->list[i].size};
    fm_status status = fm_embed(e->model, texts, count, show_texts, e, e->vectors, err);
    for (size_t i = 0; i < e->waiting && !status; i++) {
        const struct waiting *one = &e->list[i];
        if (!one->reason && e->done++ == 0) memcpy(e->first, vector, width * sizeof *vector);
        if (e->o->json) add_json(e, &out, one, vector);
        else add_line(e, &out, one, vector);
        if (!one->reason) vector += width;
    }
    forget_waiting(e);
    if (out.failed && !status) status = fm_fail_memory(err, out.size, "the output");
    if (!status && out.size > 0) fwrite(out.data, 1, out.size, stdout); /* main sees if it fails */
    fm_buffer_free(&out);
    return status;
}

static char *copy_of(const char *text, size_t size)
{
    char *copy = malloc(size + 1);
    if (!copy) return NULL;
    memcpy(copy, text, size);
    copy[size] = '\0';
    return copy;
}

static fm_status wait_for_more(embedding *e, const char *text, size_t size, const char *reason, fm_error *err)
{
    struct waiting *one = &e->list[e->waiting++];
    *one = (struct waiting){.size = size};
    if (text) one->text = copy_of(text, size);
    if (reason) one->reason = copy_of(reason, strlen(reason));
    if ((text && !one->text) || (reason && !one->reason)) return fm_fail_memory(err, size + 1, "a text");
    e->waiting_bytes += size;
    return e->waiting == TEXTS_AT_ONCE || e->waiting_bytes > BYTES_AT_ONCE ? write_waiting(e, err) : FM_OK;
}

/* Takes a text that has a token. */
static fm_status add_text(void *context, const char *text, size_t size, fm_error *err)
{
    embedding *e = context;
    fm_encoding encoding = {0};
    fm_status status = fm_tokenizer_encode(fm_model_tokenizer(e->model), text, size, false, &encoding, err);
    if (!status && encoding.count == 0)
        status = fm_fail(err, FM_E_FORMAT, "The text has no token; it is empty or holds only white space.");
    fm_encoding_free(&encoding);
    return status ? status : wait_for_more(e, text, size, NULL, err);
}

static fm_status leave_row(void *context, const char *text, size_t size, const char *reason, fm_error *err)
{
    return wait_for_more(context, text, size, reason, err);
}

static fm_status add_file(embedding *e, const char *path, fm_error *err)
{
    const cli_row_user user = {e, add_text, leave_row, &e->reasons, &e->progress, &e->bytes};
    return cli_rows_each(&user, path, (fm_text_format)e->o->format, e->o->field, err);
}

static fm_status embed_all(embedding *e, const cli_list *texts, fm_error *err)
{
    fm_status status = FM_OK;
    e->vectors = calloc((size_t)TEXTS_AT_ONCE * fm_model_width(e->model), sizeof *e->vectors);
    e->first = calloc(fm_model_width(e->model), sizeof *e->first);
    if (!e->vectors || !e->first) return fm_fail_memory(err, TEXTS_AT_ONCE * sizeof *e->vectors, "vectors");
    for (size_t i = 0; i < texts->count && !status; i++) {
        if (strcmp(texts->items[i], "-") == 0) status = add_file(e, "-", err);
        else status = add_text(e, texts->items[i], strlen(texts->items[i]), err);
    }
    for (size_t i = 0; i < e->o->data.count && !status; i++) status = add_file(e, e->o->data.items[i], err);
    if (!status && e->waiting > 0) status = write_waiting(e, err);
    e->complete = !status;
    if (!status) status = cli_rows_done(&e->reasons, e->done, err);
    if (!status && e->done == 0) status = fm_fail(err, FM_E_FORMAT, "The data holds no text.");
    return status;
}

static int embed(const embed_command *o, const cli_list *texts)
{
    fm_error err;
    embedding e = {.o = o, .several = texts->count > 1 || o->data.count > 0};
    const char *folder = cli_model(o->model, &err);
    const fm_model_options options = {(int)o->threads, o->set, (fm_dtype)o->dtype};
    fm_status status = folder ? cli_model_open(&e.model, folder, &options, &o->device, &err) : err.status;
    for (size_t i = 0; i < texts->count; i++) e.several = e.several || strcmp(texts->items[i], "-") == 0;
    e.reasons = (cli_reasons){.command = "embed",
                              .fate = "has no vector",
                              .could = "could be embedded",
                              .could_not = "could not be embedded",
                              .quiet = o->quiet};
    e.total = texts->count > 0 ? 0 : cli_rows_size(&o->data);
    cli_progress_begin(&e.progress, "Embedding", e.total > 0 ? NULL : "texts", o->quiet);
    if (!status) status = embed_all(&e, texts, &err);
    cli_progress_end(&e.progress);
    if (e.complete && e.begun) fputs(e.several ? "]\n" : "\n", stdout);
    forget_waiting(&e);
    free(e.vectors);
    free(e.first);
    fm_model_close(e.model);
    return status ? cli_print_error("embed", &err) : CLI_OK;
}

int cli_embed(int argc, char **argv)
{
    embed_command o = {0};
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &o.model, "FOLDER", "the model (default: the one that ships)", 0, 0, NULL},
        {"data", 0, CLI_LIST, &o.data, "FILE", "embed the texts of a file too: .jsonl, .csv or .txt; may be repeated",
         0, 0, NULL},
        {"field", 0, CLI_STRING, &o.field, "NAME", "the field or column that holds the text (default text)", 0, 0,
         NULL},
        {"format", 0, CLI_CHOICE, &o.format, "FORMAT", "of files: auto, jsonl, csv or txt (default auto)", 0, 0,
         cli_formats},
        {"normalize", 0, CLI_FLAG, &o.normalize, NULL, "make vectors of length 1", 0, 0, NULL},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"dtype", 0, CLI_CHOICE, &o.dtype, "TYPE", CLI_DTYPES_HELP, 0, 0, cli_dtypes},
        {"isa", 0, CLI_STRING, &o.set, "SET", CLI_SETS_HELP, 0, 0, NULL},
        CLI_DEVICE_OPTIONS(o.device),
        {"json", 0, CLI_FLAG, &o.json, NULL, "print JSON: text and vector; a list of them for several texts", 0, 0,
         NULL},
        {"quiet", 'q', CLI_FLAG, &o.quiet, NULL, "show no progress", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "embed",
        .operands = "TEXT...",
        .least_operands = 0,
        .most_operands = SIZE_MAX,
        .about = "Turns texts into vectors: the mean of the model's last states over the tokens.\n"
                 "The cosine of two vectors tells how alike the model finds the texts. Prints\n"
                 "that of each text and the first one, or with --json the vectors. A text of - is\n"
                 "standard input, a text a line, empty ones left out, or as --format says. A row\n"
                 "that has no text keeps its place, with a reason on stderr. A text longer than\n"
                 "the model is looked at in windows that overlap.\n",
        .examples = "  fillmask embed \"A great film.\" \"A wonderful movie.\" \"Rome is in Italy.\"\n"
                    "  fillmask embed --json --normalize --data reviews.jsonl > vectors.json\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    cli_list texts = {0};
    int code;
    if (cli_parse(&usage, argc, argv, &texts, &code)) {
        if (texts.count + o.data.count == 0)
            code = cli_usage_error("embed", "There is nothing to embed; give texts, - or --data FILE.");
        else {
            code = cli_check_stdin("embed", &texts, &o.data);
            if (code == CLI_OK) code = embed(&o, &texts);
        }
    }
    cli_list_free(&texts);
    cli_list_free(&o.data);
    return code;
}
