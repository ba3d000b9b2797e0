/* fill.c - `fillmask fill`: the most probable words for the masks of texts, as a picture in text or as JSON. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "tasks/tasks.h"

#define BAR 24

typedef struct fill_options {
    const char *model, *set;
    int64_t count, threads;
    bool json, quiet;
} fill_options;

static bool continues_word(const char *token)
{
    return strncmp(token, "##", 2) == 0 && token[2] != '\0';
}

/* The text with one mask replaced; a piece of a word joins the word before it. */
static void add_sequence(fm_buffer *out, const char *text, size_t size, const fm_mask_fillings *mask, const char *token)
{
    size_t before = mask->start;
    if (continues_word(token)) {
        token += 2;
        while (before > 0 && text[before - 1] == ' ') before--;
    }
    fm_buffer_add(out, text, before);
    fm_buffer_text(out, token);
    fm_buffer_add(out, text + mask->end, size - mask->end);
}

static void add_mask_json(fm_buffer *out, const fm_tokenizer *tokenizer, const char *text, size_t size,
                          const fm_mask_fillings *mask)
{
    fm_buffer_text(out, "[");
    for (size_t i = 0; i < mask->count; i++) {
        const char *token = fm_tokenizer_token(tokenizer, mask->top[i].token);
        fm_buffer sequence = {0};
        add_sequence(&sequence, text, size, mask, token);
        fm_buffer_text(out, i ? ", {\"sequence\": " : "{\"sequence\": ");
        fm_buffer_json(out, sequence.data ? sequence.data : "", sequence.size);
        out->failed = out->failed || sequence.failed;
        fm_buffer_free(&sequence);
        fm_buffer_format(out, ", \"score\": %.9g, \"token\": %u, \"token_str\": ", (double)mask->top[i].score,
                         mask->top[i].token);
        fm_buffer_json(out, token, strlen(token));
        fm_buffer_format(out, ", \"start\": %u, \"end\": %u}", mask->start, mask->end);
    }
    fm_buffer_text(out, "]");
}

static void add_json(fm_buffer *out, const fm_tokenizer *tokenizer, const char *text, size_t size,
                     const fm_fill_result *result)
{
    if (result->masks > 1) fm_buffer_text(out, "[");
    for (size_t i = 0; i < result->masks; i++) {
        if (i > 0) fm_buffer_text(out, ", ");
        add_mask_json(out, tokenizer, text, size, &result->mask[i]);
    }
    if (result->masks > 1) fm_buffer_text(out, "]");
}

static int width_of(const char *text)
{
    int width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

/* A line a filling: share, a bar of it in eighths of a block, the word. */
static void add_picture(fm_buffer *out, const fm_tokenizer *tokenizer, const char *text, size_t size,
                        const fm_fill_result *result)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    bool colour = cli_colour(stdout);
    fm_buffer_add(out, text, size);
    fm_buffer_text(out, "\n");
    for (size_t m = 0; m < result->masks; m++) {
        const fm_mask_fillings *mask = &result->mask[m];
        if (result->masks > 1) fm_buffer_format(out, "  mask %zu\n", m + 1);
        for (size_t i = 0; i < mask->count; i++) {
            const char *token = fm_tokenizer_token(tokenizer, mask->top[i].token);
            int length = (int)(mask->top[i].score * BAR * 8.0f + 0.5f), left = 16 - width_of(token);
            fm_buffer_format(out, "  %s%*s %5.1f %%  %s", token, left > 0 ? left : 0, "",
                             100.0 * (double)mask->top[i].score, colour ? "\033[36m" : "");
            for (int b = 0; b < length / 8; b++) fm_buffer_text(out, "█");
            fm_buffer_text(out, eighths[length % 8]);
            fm_buffer_text(out, colour ? "\033[0m\n" : "\n");
        }
    }
}

static fm_status fill_one(const fill_options *o, fm_model *model, const char *text, size_t size, fm_buffer *out,
                          fm_error *err)
{
    fm_fill_result result;
    fm_status status = fm_fill(model, text, size, (size_t)o->count, &result, err);
    if (status) return status;
    if (o->json) add_json(out, fm_model_tokenizer(model), text, size, &result);
    else add_picture(out, fm_model_tokenizer(model), text, size, &result);
    fm_fill_result_free(&result);
    return FM_OK;
}

/* Each line of stdin that is not empty is a text. */
static fm_status fill_lines(const fill_options *o, fm_model *model, fm_buffer *out, bool *first, fm_error *err)
{
    fm_buffer input = {0};
    cli_progress progress;
    fm_status status = cli_read_stdin(&input, err);
    size_t number = 0;
    cli_progress_begin(&progress, "Filling", NULL, o->quiet);
    for (size_t at = 0; at < input.size && !status; number++) {
        const char *line = input.data + at, *end = memchr(line, '\n', input.size - at);
        size_t size = end ? (size_t)(end - line) : input.size - at;
        at += size + 1;
        if (size > 0 && line[size - 1] == '\r') size--;
        if (size == 0) continue;
        if (!*first) fm_buffer_text(out, o->json ? ",\n " : "\n");
        *first = false;
        fm_error cause;
        status = fill_one(o, model, line, size, out, &cause);
        if (status) fm_fail(err, status, "Line %zu of stdin: %.900s", number + 1, cause.text);
        else if (!cli_progress_step(&progress, at, input.size)) status = fm_fail(err, FM_E_ABORTED, "Stopped.");
    }
    cli_progress_end(&progress);
    fm_buffer_free(&input);
    return status;
}

static fm_status fill_all(const fill_options *o, fm_model *model, const cli_list *texts, fm_buffer *out, fm_error *err)
{
    fm_status status = FM_OK;
    bool first = true;
    for (size_t i = 0; i < texts->count && !status; i++) {
        const char *text = texts->items[i];
        if (strcmp(text, "-") == 0) {
            status = fill_lines(o, model, out, &first, err);
            continue;
        }
        if (!first) fm_buffer_text(out, o->json ? ",\n " : "\n");
        first = false;
        fm_error cause;
        status = fill_one(o, model, text, strlen(text), out, &cause);
        if (status && texts->count > 1) fm_fail(err, status, "Text %zu: %.900s", i + 1, cause.text);
        else if (status) *err = cause;
    }
    return status;
}

static int fill(const fill_options *o, const cli_list *texts)
{
    fm_error err;
    fm_model *model = NULL;
    fm_buffer out = {0};
    const char *folder = cli_model(o->model, &err);
    const fm_model_options options = {(int)o->threads, o->set};
    fm_status status = folder ? fm_model_open(&model, folder, &options, &err) : err.status;
    bool several = texts->count > 1 || strcmp(texts->items[0], "-") == 0;
    if (o->json && several) fm_buffer_text(&out, "[");
    if (!status) status = fill_all(o, model, texts, &out, &err);
    if (o->json) fm_buffer_text(&out, several ? "]\n" : "\n");
    fm_model_close(model);
    if (!status) return cli_print("fill", &out);
    fm_buffer_free(&out);
    return cli_print_error("fill", &err);
}

int cli_fill(int argc, char **argv)
{
    fill_options o = {.count = 5};
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &o.model, "FOLDER", "the model (default: the one that ships)", 0, 0, NULL},
        {"top-k", 'k', CLI_INTEGER, &o.count, "N", "fillings a mask (default 5)", 1, 1e6, NULL},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"isa", 0, CLI_STRING, &o.set, "SET", "instruction set: auto, avx512, avx2 or scalar (default auto)", 0, 0,
         NULL},
        {"json", 0, CLI_FLAG, &o.json, NULL, "print JSON: a list of fillings; of lists for several masks or texts", 0,
         0, NULL},
        {"quiet", 'q', CLI_FLAG, &o.quiet, NULL, "show no progress", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "fill",
        .operands = "TEXT...",
        .least_operands = 1,
        .most_operands = SIZE_MAX,
        .about = "Fills in each [MASK] of a text: the most probable words for it, each mask by\n"
                 "itself, with their probabilities. A text of - is standard input, a text a line.\n"
                 "In the JSON, \"sequence\" is the text as given with one mask replaced\n"
                 "(transformers gives it lower-cased), and \"start\" and \"end\" are the mask's\n"
                 "bytes in the text.\n",
        .examples = "  fillmask fill \"The capital of France is [MASK].\"\n"
                    "  fillmask fill -k 3 --json \"This [MASK] was really [MASK].\"\n"
                    "  fillmask fill --json - < texts.txt\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    cli_list texts = {0};
    int code;
    if (cli_parse(&usage, argc, argv, &texts, &code)) {
        code = cli_check_stdin("fill", &texts, NULL);
        if (code == CLI_OK) code = fill(&o, &texts);
    }
    cli_list_free(&texts);
    return code;
}
