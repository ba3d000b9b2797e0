/* tokenize.c - `fillmask tokenize`: the tokens, ids and offsets of texts, as a table or as JSON. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

typedef struct tokenize_options {
    const char *vocab, *model;
    int64_t threads;
    bool json, no_special;
} tokenize_options;

typedef struct token_text {
    const char *text;
    size_t size;
    fm_encoding encoding;
    fm_status status;
    fm_error error;
} token_text;

typedef struct tokenize_run {
    const tokenize_options *o;
    fm_tokenizer *tokenizer;
    fm_buffer input; /* of stdin */
    token_text *texts;
    size_t count;
} tokenize_run;

static void add_json(fm_buffer *out, const fm_tokenizer *tokenizer, const fm_encoding *encoding)
{
    fm_buffer_text(out, "{\"ids\": [");
    for (size_t i = 0; i < encoding->count; i++) fm_buffer_format(out, "%s%u", i ? ", " : "", encoding->ids[i]);
    fm_buffer_text(out, "], \"tokens\": [");
    for (size_t i = 0; i < encoding->count; i++) {
        const char *token = fm_tokenizer_token(tokenizer, encoding->ids[i]);
        fm_buffer_text(out, i ? ", " : "");
        fm_buffer_json(out, token, strlen(token));
    }
    fm_buffer_text(out, "], \"offsets\": [");
    for (size_t i = 0; i < encoding->count; i++)
        fm_buffer_format(out, "%s[%u, %u]", i ? ", " : "", encoding->offsets[i].start, encoding->offsets[i].end);
    fm_buffer_text(out, "]}");
}

/* Characters, as columns of a table; wide ones count as one. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void add_table(fm_buffer *out, const fm_tokenizer *tokenizer, const fm_encoding *encoding, const char *text)
{
    int widest = 5;
    for (size_t i = 0; i < encoding->count; i++) {
        int width = width_of(fm_tokenizer_token(tokenizer, encoding->ids[i]));
        if (width > widest && width <= 30) widest = width;
    }
    fm_buffer_format(out, "%8s  %-*s  %13s  %s\n", "id", widest, "token", "bytes", "text");
    for (size_t i = 0; i < encoding->count; i++) {
        const char *token = fm_tokenizer_token(tokenizer, encoding->ids[i]);
        int left = widest - width_of(token);
        fm_buffer_format(out, "%8u  %s%*s", encoding->ids[i], token, left > 0 ? left : 0, "");
        fm_span span = encoding->offsets[i];
        if (span.end > span.start) {
            char bytes[32];
            snprintf(bytes, sizeof bytes, "%u-%u", span.start, span.end);
            fm_buffer_format(out, "  %13s  ", bytes);
            fm_buffer_json(out, text + span.start, span.end - span.start);
        }
        fm_buffer_text(out, "\n");
    }
    fm_buffer_format(out, "%zu tokens\n", encoding->count);
}

static fm_status take_texts(tokenize_run *run, const cli_list *texts, fm_error *err)
{
    run->texts = calloc(texts->count, sizeof *run->texts);
    if (!run->texts) return fm_fail_memory(err, texts->count * sizeof *run->texts, "the texts");
    run->count = texts->count;
    for (size_t i = 0; i < run->count; i++) {
        run->texts[i].text = texts->items[i];
        run->texts[i].size = strlen(texts->items[i]);
        if (strcmp(texts->items[i], "-") != 0) continue;
        fm_status status = cli_read_stdin(&run->input, err);
        if (status) return status;
        run->texts[i].text = run->input.data ? run->input.data : "";
        run->texts[i].size = run->input.size;
    }
    return FM_OK;
}

static void encode_text(void *context, size_t index, int worker)
{
    (void)worker;
    tokenize_run *run = context;
    token_text *t = &run->texts[index];
    t->status = fm_tokenizer_encode(run->tokenizer, t->text, t->size, !run->o->no_special, &t->encoding, &t->error);
}

static fm_status encode_texts(tokenize_run *run, fm_error *err)
{
    fm_pool *pool = NULL;
    fm_status status = run->count > 1 ? fm_pool_create(&pool, (int)run->o->threads, err) : FM_OK;
    if (status) return status;
    fm_pool_run(pool, run->count, encode_text, run);
    fm_pool_destroy(pool);
    for (size_t i = 0; i < run->count && !status; i++) {
        status = run->texts[i].status;
        if (status) *err = run->texts[i].error;
    }
    return status;
}

static void print_texts(const tokenize_run *run, fm_buffer *out)
{
    bool json = run->o->json, list = json && run->count > 1;
    if (list) fm_buffer_text(out, "[");
    for (size_t i = 0; i < run->count; i++) {
        const token_text *t = &run->texts[i];
        if (i > 0) fm_buffer_text(out, list ? ",\n " : "\n");
        if (json) add_json(out, run->tokenizer, &t->encoding);
        else add_table(out, run->tokenizer, &t->encoding, t->text);
    }
    if (json) fm_buffer_text(out, list ? "]\n" : "\n");
}

static int tokenize(const tokenize_options *o, const cli_list *texts)
{
    fm_error err;
    tokenize_run run = {.o = o};
    fm_buffer out = {0};
    const char *path = o->vocab ? o->vocab : cli_model(o->model, &err);
    fm_status status = path ? fm_tokenizer_open(&run.tokenizer, path, &err) : err.status;
    if (!status) status = take_texts(&run, texts, &err);
    if (!status) status = encode_texts(&run, &err);
    if (!status) print_texts(&run, &out);
    for (size_t i = 0; i < run.count; i++) fm_encoding_free(&run.texts[i].encoding);
    free(run.texts);
    fm_buffer_free(&run.input);
    fm_tokenizer_close(run.tokenizer);
    return status ? cli_print_error("tokenize", &err) : cli_print("tokenize", &out);
}

int cli_tokenize(int argc, char **argv)
{
    tokenize_options command = {0};
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &command.model, "FOLDER",
         "take the tokenizer of this model (default: the default model)", 0, 0, NULL},
        {"vocab", 0, CLI_STRING, &command.vocab, "FILE", "take this vocab.txt or tokenizer.json instead", 0, 0, NULL},
        {"json", 0, CLI_FLAG, &command.json, NULL,
         "print JSON: ids, tokens and offsets; a list of them for several texts", 0, 0, NULL},
        {"threads", 0, CLI_INTEGER, &command.threads, "N", "threads for several texts (default 0: one per processor)",
         0, 1024, NULL},
        {"no-special", 0, CLI_FLAG, &command.no_special, NULL, "leave out [CLS] and [SEP]", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "tokenize",
        .operands = "TEXT...",
        .least_operands = 1,
        .most_operands = SIZE_MAX,
        .about = "Shows how a text is cut into tokens: each token, its id, and the bytes of the\n"
                 "text that it stands for (UTF-8, counted from 0, the end exclusive). A text of -\n"
                 "is all of standard input. Texts of any length are taken; nothing is cut off.\n",
        .examples = "  fillmask tokenize \"This movie was [MASK].\"\n"
                    "  fillmask tokenize --vocab vocab.txt --json \"one text\" \"another\"\n"
                    "  fillmask tokenize - < review.txt\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    cli_list texts = {0};
    int code;
    if (cli_parse(&usage, argc, argv, &texts, &code)) {
        if (command.vocab && command.model)
            code = cli_usage_error("tokenize", "--vocab and --model both name a tokenizer; give one of them.");
        else code = cli_check_stdin("tokenize", &texts, NULL);
        if (code == CLI_OK) code = tokenize(&command, &texts);
    }
    cli_list_free(&texts);
    return code;
}
