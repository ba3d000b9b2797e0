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
} embed_command;

typedef struct embedding {
    const embed_command *o;
    fm_model *model;
    cli_progress progress;
    char *copies[TEXTS_AT_ONCE]; /* of texts that wait for their vectors */
    fm_view texts[TEXTS_AT_ONCE];
    size_t waiting, waiting_bytes;
    float *vectors; /* (TEXTS_AT_ONCE, width) */
    float *first;   /* (width), that of the first text */
    bool several;
    uint64_t done;
} embedding;

static void add_json(const embedding *e, fm_buffer *out, fm_view text, const float *vector)
{
    uint32_t width = fm_model_width(e->model);
    double squares = 0.0;
    for (uint32_t i = 0; i < width; i++) squares += (double)vector[i] * (double)vector[i];
    double scale = e->o->normalize && squares > 0.0 ? 1.0 / sqrt(squares) : 1.0;
    fm_buffer_text(out, "{\"text\": ");
    fm_buffer_json(out, text.data, text.size);
    fm_buffer_text(out, ", \"vector\": [");
    for (uint32_t i = 0; i < width; i++) fm_buffer_format(out, i ? ", %.7g" : "%.7g", (double)vector[i] * scale);
    fm_buffer_text(out, "]}");
}

/* How alike a text is to the first one. */
static void add_line(const embedding *e, fm_buffer *out, fm_view text, const float *vector)
{
    fm_buffer_format(out, "%7.4f  ", fm_similarity(e->first, vector, fm_model_width(e->model)));
    for (size_t i = 0; i < text.size; i++) { /* one line, whatever the text holds */
        char c = text.data[i];
        fm_buffer_add(out, (unsigned char)c < 0x20 ? " " : &c, 1);
    }
    fm_buffer_text(out, "\n");
}

static bool show_texts(void *context, uint64_t done, uint64_t total)
{
    embedding *e = context;
    (void)done;
    (void)total;
    return cli_progress_step(&e->progress, e->done, 0);
}

static fm_status write_waiting(embedding *e, fm_error *err)
{
    fm_buffer out = {0};
    uint32_t width = fm_model_width(e->model);
    fm_status status = fm_embed(e->model, e->texts, e->waiting, show_texts, e, e->vectors, err);
    for (size_t i = 0; i < e->waiting && !status; i++, e->done++) {
        const float *vector = e->vectors + i * width;
        if (e->done == 0) memcpy(e->first, vector, width * sizeof *vector);
        if (e->o->json && e->several) fm_buffer_text(&out, e->done ? ",\n " : "[");
        if (e->o->json) add_json(e, &out, e->texts[i], vector);
        else add_line(e, &out, e->texts[i], vector);
    }
    for (size_t i = 0; i < e->waiting; i++) free(e->copies[i]);
    e->waiting = e->waiting_bytes = 0;
    if (out.failed && !status) status = fm_fail_memory(err, out.size, "the output");
    if (!status && out.size > 0) fwrite(out.data, 1, out.size, stdout); /* main sees if it fails */
    fm_buffer_free(&out);
    return status;
}

/* Copies a text that has a token. */
static fm_status add_text(embedding *e, const char *text, size_t size, fm_error *err)
{
    fm_encoding encoding = {0};
    fm_status status = fm_tokenizer_encode(fm_model_tokenizer(e->model), text, size, false, &encoding, err);
    if (!status && encoding.count == 0)
        status = fm_fail(err, FM_E_FORMAT, "The text has no token; it is empty or holds only white space.");
    fm_encoding_free(&encoding);
    if (status) return status;
    char *copy = malloc(size + 1);
    if (!copy) return fm_fail_memory(err, size + 1, "a text");
    memcpy(copy, text, size);
    e->copies[e->waiting] = copy;
    e->texts[e->waiting++] = (fm_view){copy, size};
    e->waiting_bytes += size;
    return e->waiting == TEXTS_AT_ONCE || e->waiting_bytes > BYTES_AT_ONCE ? write_waiting(e, err) : FM_OK;
}

static fm_status add_file(embedding *e, const char *path, fm_text_format format, fm_error *err)
{
    fm_reader *reader;
    fm_document document;
    bool more = true;
    fm_status status = fm_reader_open(&reader, path, format, e->o->field, err);
    if (status) return status;
    while (!status && !(status = fm_reader_next(reader, &document, &more, err)) && more) {
        fm_error cause;
        status = add_text(e, document.text, document.size, &cause);
        if (status) fm_fail(err, status, "Text %.40s of %.300s: %.600s", document.id, path, cause.text);
    }
    fm_reader_close(reader);
    return status;
}

static fm_status embed_all(embedding *e, const cli_list *texts, fm_error *err)
{
    fm_status status = FM_OK;
    e->vectors = calloc((size_t)TEXTS_AT_ONCE * fm_model_width(e->model), sizeof *e->vectors);
    e->first = calloc(fm_model_width(e->model), sizeof *e->first);
    if (!e->vectors || !e->first) return fm_fail_memory(err, TEXTS_AT_ONCE * sizeof *e->vectors, "vectors");
    for (size_t i = 0; i < texts->count && !status; i++) {
        if (strcmp(texts->items[i], "-") == 0) status = add_file(e, "-", FM_TEXT_TXT, err);
        else status = add_text(e, texts->items[i], strlen(texts->items[i]), err);
    }
    for (size_t i = 0; i < e->o->data.count && !status; i++)
        status = add_file(e, e->o->data.items[i], (fm_text_format)e->o->format, err);
    if (!status && e->waiting > 0) status = write_waiting(e, err);
    if (!status && e->done == 0) status = fm_fail(err, FM_E_FORMAT, "The data holds no text.");
    return status;
}

static int embed(const embed_command *o, const cli_list *texts)
{
    fm_error err;
    embedding e = {.o = o, .several = texts->count > 1 || o->data.count > 0};
    const char *folder = cli_model(o->model, &err);
    const fm_model_options options = {(int)o->threads, o->set, (fm_dtype)o->dtype};
    fm_status status = folder ? fm_model_open(&e.model, folder, &options, &err) : err.status;
    for (size_t i = 0; i < texts->count; i++) e.several = e.several || strcmp(texts->items[i], "-") == 0;
    cli_progress_begin(&e.progress, "Embedding", "texts", o->quiet);
    if (!status) status = embed_all(&e, texts, &err);
    cli_progress_end(&e.progress);
    if (!status && o->json) fputs(e.several ? "]\n" : "\n", stdout);
    for (size_t i = 0; i < e.waiting; i++) free(e.copies[i]);
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
        {"format", 0, CLI_CHOICE, &o.format, "FORMAT", "of --data: auto, jsonl, csv or txt (default auto)", 0, 0,
         cli_formats},
        {"normalize", 0, CLI_FLAG, &o.normalize, NULL, "make vectors of length 1", 0, 0, NULL},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"dtype", 0, CLI_CHOICE, &o.dtype, "TYPE", CLI_DTYPES_HELP, 0, 0, cli_dtypes},
        {"isa", 0, CLI_STRING, &o.set, "SET", CLI_SETS_HELP, 0, 0, NULL},
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
                 "standard input, a text a line; one longer than the model is looked at in windows\n"
                 "that overlap.\n",
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
