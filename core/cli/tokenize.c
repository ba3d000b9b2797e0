/* tokenize.c - `fillmask tokenize`: the tokens, ids and offsets of texts, as a table or as JSON. */
#include "cli/cli.h"

#include <string.h>

typedef struct tokenize_options {
    const char *vocab, *model;
    bool json, no_special;
} tokenize_options;

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

static fm_status add_text(fm_buffer *out, const tokenize_options *command, const fm_tokenizer *tokenizer,
                          fm_encoding *encoding, const char *text, fm_error *err)
{
    fm_buffer input = {0};
    size_t size = strlen(text);
    if (strcmp(text, "-") == 0) {
        fm_status status = cli_read_stdin(&input, err);
        if (status) {
            fm_buffer_free(&input);
            return status;
        }
        text = input.data ? input.data : "";
        size = input.size;
    }
    fm_status status = fm_tokenizer_encode(tokenizer, text, size, !command->no_special, encoding, err);
    if (!status && command->json) add_json(out, tokenizer, encoding);
    else if (!status) add_table(out, tokenizer, encoding, text);
    fm_buffer_free(&input);
    return status;
}

static int tokenize(const tokenize_options *command, const cli_list *texts)
{
    fm_error err;
    const char *path = command->vocab ? command->vocab : cli_model(command->model, &err);
    fm_tokenizer *tokenizer;
    if (!path || fm_tokenizer_open(&tokenizer, path, &err)) return cli_print_error("tokenize", &err);
    fm_buffer out = {0};
    fm_encoding encoding = {0};
    fm_status status = FM_OK;
    bool list = command->json && texts->count > 1;
    if (list) fm_buffer_text(&out, "[");
    for (size_t i = 0; i < texts->count && !status; i++) {
        if (i > 0) fm_buffer_text(&out, list ? ",\n " : "\n");
        status = add_text(&out, command, tokenizer, &encoding, texts->items[i], &err);
    }
    if (command->json) fm_buffer_text(&out, list ? "]\n" : "\n");
    fm_encoding_free(&encoding);
    fm_tokenizer_close(tokenizer);
    if (!status) return cli_print("tokenize", &out);
    fm_buffer_free(&out);
    return cli_print_error("tokenize", &err);
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
        else code = tokenize(&command, &texts);
    }
    cli_list_free(&texts);
    return code;
}
