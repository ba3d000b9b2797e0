/* fill.c - `fillmask fill`: the most probable words for the masks of texts, as a picture in text or as JSON. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "tasks/tasks.h"

#define BAR 24

typedef struct fill_command {
    const char *model, *field, *set, *target_file, *exclude_file, *match;
    cli_list data, targets, excluded;
    int64_t count, beams, draw_from, seed, threads;
    double top_p, temperature;
    int format, dtype;
    bool joint, sample, special, pieces, json, quiet;
    cli_device device;
} fill_command;

typedef struct fill_job {
    const fill_command *o;
    fm_model *model;
    fm_fill_options options;
    cli_words targets, excluded;
    bool *allowed; /* by --match */
    cli_progress progress;
    cli_reasons reasons;
    uint64_t bytes, total; /* of files: read, and all, 0 if unknown */
    uint64_t texts;        /* filled */
    bool begun, complete;  /* there is an entry in the output; all are there */
    fm_buffer out;
} fill_job;

/* ---- setting up ---- */

/* The tokens that --match finds something in. */
static fm_status match_tokens(fill_job *f, fm_error *err)
{
    const fm_tokenizer *tokenizer = fm_model_tokenizer(f->model);
    uint32_t size = fm_tokenizer_size(tokenizer);
    regex_t pattern;
    fm_status status = cli_regex(&pattern, "--match", f->o->match, err);
    if (status) return status;
    f->allowed = calloc(size, sizeof *f->allowed);
    for (uint32_t i = 0; f->allowed && i < size; i++)
        f->allowed[i] = regexec(&pattern, fm_tokenizer_token(tokenizer, i), 0, NULL, 0) == 0;
    regfree(&pattern);
    return f->allowed ? FM_OK : fm_fail_memory(err, size, "the tokens that match");
}

static fm_status set_up(fill_job *f, fm_error *err)
{
    const fill_command *o = f->o;
    const char *folder = cli_model(o->model, err);
    const fm_model_options options = {(int)o->threads, o->set, (fm_dtype)o->dtype};
    if (!folder) return err->status;
    fm_status status = cli_words_read(&f->targets, &o->targets, o->target_file, err);
    if (!status && o->target_file && f->targets.count == 0)
        status = fm_fail(err, FM_E_FORMAT, "%.300s has no words.", o->target_file);
    if (!status) status = cli_words_read(&f->excluded, &o->excluded, o->exclude_file, err);
    if (!status) status = cli_model_open(&f->model, folder, &options, &o->device, err);
    if (!status && o->match) status = match_tokens(f, err);
    f->options = (fm_fill_options){.mode = o->sample  ? FM_FILL_SAMPLE
                                           : o->joint ? FM_FILL_JOINT
                                                      : FM_FILL_EACH,
                                   .top_k = (size_t)o->count,
                                   .targets = f->targets.words,
                                   .target_count = f->targets.count,
                                   .allowed = f->allowed,
                                   .excluded = f->excluded.words,
                                   .excluded_count = f->excluded.count,
                                   .special = o->special,
                                   .pieces = o->pieces,
                                   .beams = (size_t)o->beams,
                                   .draw_from = (uint32_t)o->draw_from,
                                   .top_p = o->top_p,
                                   .temperature = o->temperature,
                                   .seed = (uint64_t)o->seed};
    return status;
}

static void release(fill_job *f)
{
    fm_model_close(f->model);
    cli_words_free(&f->targets);
    cli_words_free(&f->excluded);
    free(f->allowed);
    fm_buffer_free(&f->out);
}

/* ---- JSON ---- */

/* The text with fillings, as a JSON string. */
static void add_sequence(fm_buffer *out, const char *text, size_t size, const fm_filling *fillings, size_t count)
{
    fm_text sequence;
    fm_error err;
    if (fm_fill_write(text, size, fillings, count, &sequence, &err)) out->failed = true;
    else fm_buffer_json(out, sequence.data, sequence.size);
    free(sequence.data);
}

/* The members that tell of one mask's filling; without braces. */
static void add_filling(fill_job *f, const fm_mask_fillings *mask, const fm_filling *filling)
{
    fm_buffer *out = &f->out;
    const char *word = filling->target == SIZE_MAX
                           ? fm_tokenizer_token(fm_model_tokenizer(f->model), filling->tokens[0])
                           : f->targets.words[filling->target];
    fm_buffer_format(out, "\"score\": %.9g, \"log_probability\": %.6f, \"token\": ", filling->score,
                     filling->log_probability);
    if (filling->count == 1) fm_buffer_format(out, "%u", filling->tokens[0]);
    else {
        fm_buffer_text(out, "null, \"tokens\": [");
        for (size_t i = 0; i < filling->count; i++) fm_buffer_format(out, i ? ", %u" : "%u", filling->tokens[i]);
        fm_buffer_text(out, "]");
    }
    fm_buffer_text(out, ", \"token_str\": ");
    fm_buffer_json(out, word, strlen(word));
    fm_buffer_format(out, ", \"start\": %u, \"end\": %u", mask->start, mask->end);
}

static void add_mask_json(fill_job *f, const char *text, size_t size, const fm_mask_fillings *mask)
{
    fm_buffer_text(&f->out, "[");
    for (size_t i = 0; i < mask->count; i++) {
        fm_buffer_text(&f->out, i ? ", {\"sequence\": " : "{\"sequence\": ");
        add_sequence(&f->out, text, size, &mask->top[i], 1);
        fm_buffer_text(&f->out, ", ");
        add_filling(f, mask, &mask->top[i]);
        fm_buffer_text(&f->out, "}");
    }
    fm_buffer_text(&f->out, "]");
}

static void add_text_json(fill_job *f, const char *text, size_t size, const fm_fill_result *result,
                          const fm_text_filling *filled)
{
    fm_buffer_text(&f->out, "{\"sequence\": ");
    add_sequence(&f->out, text, size, filled->fillings, result->masks);
    fm_buffer_format(&f->out, ", \"score\": %.9g, \"log_probability\": %.6f, \"fillings\": [", filled->score,
                     filled->log_probability);
    for (size_t i = 0; i < result->masks; i++) {
        fm_buffer_text(&f->out, i ? ", {" : "{");
        add_filling(f, &result->mask[i], &filled->fillings[i]);
        fm_buffer_text(&f->out, "}");
    }
    fm_buffer_text(&f->out, "]}");
}

static void add_json(fill_job *f, const char *text, size_t size, const fm_fill_result *result)
{
    bool each = result->count == 0, list = !each || result->masks > 1;
    size_t count = each ? result->masks : result->count;
    if (list) fm_buffer_text(&f->out, "[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) fm_buffer_text(&f->out, ", ");
        if (each) add_mask_json(f, text, size, &result->mask[i]);
        else add_text_json(f, text, size, result, &result->texts[i]);
    }
    if (list) fm_buffer_text(&f->out, "]");
}

/* ---- pictures ---- */

static int width_of(const char *text)
{
    int width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

/* A share, and a bar of it in eighths of a block. */
static void add_bar(fm_buffer *out, double share)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    bool colour = cli_colour(stdout);
    int length = (int)(share * BAR * 8.0 + 0.5);
    fm_buffer_format(out, " %5.1f %%  %s", 100.0 * share, colour ? "\033[36m" : "");
    for (int b = 0; b < length / 8; b++) fm_buffer_text(out, "█");
    fm_buffer_text(out, eighths[length % 8]);
    fm_buffer_text(out, colour ? "\033[0m\n" : "\n");
}

/* A line a filling: the word, its share, a bar. */
static void add_words(fill_job *f, const fm_fill_result *result)
{
    const fm_tokenizer *tokenizer = fm_model_tokenizer(f->model);
    for (size_t m = 0; m < result->masks; m++) {
        const fm_mask_fillings *mask = &result->mask[m];
        if (result->masks > 1) fm_buffer_format(&f->out, "  mask %zu\n", m + 1);
        for (size_t i = 0; i < mask->count; i++) {
            const fm_filling *filling = &mask->top[i];
            const char *word = filling->target == SIZE_MAX ? fm_tokenizer_token(tokenizer, filling->tokens[0])
                                                           : f->targets.words[filling->target];
            int left = 16 - width_of(word);
            fm_buffer_format(&f->out, "  %s%*s", word, left > 0 ? left : 0, "");
            add_bar(&f->out, filling->score);
        }
    }
}

/* A line a text: its log-probability, and the text. */
static void add_texts(fill_job *f, const char *text, size_t size, const fm_fill_result *result, fm_error *err)
{
    for (size_t i = 0; i < result->count; i++) {
        fm_text sequence;
        if (fm_fill_write(text, size, result->texts[i].fillings, result->masks, &sequence, err)) f->out.failed = true;
        else fm_buffer_format(&f->out, "  %7.2f  %s\n", result->texts[i].log_probability, sequence.data);
        free(sequence.data);
    }
}

/* ---- texts ---- */

static bool show_progress(void *context, uint64_t done, uint64_t total)
{
    fill_job *f = context;
    if (f->progress.unit) return cli_progress_step(&f->progress, done, total);
    snprintf(f->progress.note, sizeof f->progress.note, "%llu texts", (unsigned long long)f->texts);
    return cli_progress_step(&f->progress, f->bytes, f->total);
}

static void begin_entry(fill_job *f)
{
    if (f->begun) fm_buffer_text(&f->out, f->o->json ? ",\n " : "\n");
    f->begun = true;
}

static fm_status fill_one(fill_job *f, const char *text, size_t size, fm_error *err)
{
    fm_fill_result result;
    fm_status status = fm_fill(f->model, text, size, &f->options, show_progress, f, &result, err);
    if (status) return status;
    begin_entry(f);
    f->texts++;
    if (f->o->json) add_json(f, text, size, &result);
    else {
        fm_buffer_add(&f->out, text, size);
        fm_buffer_text(&f->out, "\n");
        if (result.count == 0) add_words(f, &result);
        else add_texts(f, text, size, &result, err);
    }
    fm_fill_result_free(&result);
    return FM_OK;
}

/* Rows may be long in coming; what they gave goes out at once. */
static fm_status write_out(fill_job *f, fm_error *err)
{
    fm_status status = f->out.failed ? fm_fail_memory(err, f->out.size, "the output") : FM_OK;
    if (!status) fwrite(f->out.data, 1, f->out.size, stdout); /* main sees if it fails */
    f->out.size = 0;
    return status;
}

static fm_status fill_row(void *context, const char *text, size_t size, fm_error *err)
{
    fill_job *f = context;
    fm_status status = fill_one(f, text, size, err);
    return status ? status : write_out(f, err);
}

/* A row that cannot be filled keeps its place. */
static fm_status leave_row(void *context, const char *text, size_t size, const char *reason, fm_error *err)
{
    fill_job *f = context;
    begin_entry(f);
    if (f->o->json) {
        fm_buffer_text(&f->out, "{\"reason\": ");
        fm_buffer_json(&f->out, reason, strlen(reason));
        fm_buffer_text(&f->out, "}");
    } else {
        fm_buffer_add(&f->out, text, text ? size : 0);
        fm_buffer_text(&f->out, "\n");
    }
    return write_out(f, err);
}

static fm_status fill_rows(fill_job *f, const char *path, fm_error *err)
{
    const cli_row_user user = {f, fill_row, leave_row, &f->reasons, &f->progress, &f->bytes};
    return cli_rows_each(&user, path, (fm_text_format)f->o->format, f->o->field, err);
}

static fm_status fill_all(fill_job *f, const cli_list *texts, fm_error *err)
{
    fm_status status = FM_OK;
    for (size_t i = 0; i < texts->count && !status; i++) {
        const char *text = texts->items[i];
        fm_error cause;
        if (strcmp(text, "-") == 0) {
            status = fill_rows(f, "-", err);
            continue;
        }
        status = fill_one(f, text, strlen(text), &cause);
        if (status && texts->count > 1) fm_fail(err, status, "Text %zu: %.900s", i + 1, cause.text);
        else if (status) *err = cause;
    }
    for (size_t i = 0; i < f->o->data.count && !status; i++) status = fill_rows(f, f->o->data.items[i], err);
    f->complete = !status;
    return status ? status : cli_rows_done(&f->reasons, f->texts, err);
}

static int fill(const fill_command *o, const cli_list *texts)
{
    fm_error err;
    fill_job f = {.o = o};
    bool lines = o->data.count > 0, list;
    f.reasons = (cli_reasons){.command = "fill",
                              .fate = "is not filled",
                              .could = "could be filled",
                              .could_not = "could not be filled",
                              .quiet = o->quiet};
    for (size_t i = 0; i < texts->count; i++) lines = lines || strcmp(texts->items[i], "-") == 0;
    list = o->json && (lines || texts->count > 1);
    fm_status status = set_up(&f, &err);
    f.total = texts->count > 0 ? 0 : cli_rows_size(&o->data);
    cli_progress_begin(&f.progress, "Filling", lines ? NULL : "questions", o->quiet);
    if (list) fm_buffer_text(&f.out, "[");
    if (!status) status = fill_all(&f, texts, &err);
    if (o->json) fm_buffer_text(&f.out, list ? "]\n" : "\n");
    cli_progress_end(&f.progress);
    int code = f.complete && (f.begun || !status) ? cli_print("fill", &f.out) : CLI_FAILED;
    if (status) code = cli_print_error("fill", &err);
    release(&f);
    return code;
}

/* Options that need or exclude one another. */
static int check(const fill_command *o, const cli_list *texts)
{
    bool targets = o->targets.count > 0 || o->target_file;
    if (o->joint && o->sample) return cli_usage_error("fill", "--joint and --sample exclude each other.");
    if (targets && (o->match || o->excluded.count > 0 || o->exclude_file || o->special || o->pieces))
        return cli_usage_error("fill", "--match, --exclude, --special and --pieces choose from the vocabulary; targets "
                                       "exclude them.");
    if (texts->count + o->data.count == 0)
        return cli_usage_error("fill", "There is nothing to fill; give texts, - or --data FILE.");
    return cli_check_stdin("fill", texts, &o->data);
}

int cli_fill(int argc, char **argv)
{
    const fm_fill_options defaults = fm_fill_defaults();
    fill_command o = {.count = (int64_t)defaults.top_k,
                      .beams = (int64_t)defaults.beams,
                      .top_p = defaults.top_p,
                      .temperature = defaults.temperature};
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &o.model, "FOLDER", "the model (default: the one that ships)", 0, 0, NULL},
        {"data", 0, CLI_LIST, &o.data, "FILE", "fill the texts of a file too: .jsonl, .csv or .txt; may be repeated", 0,
         0, NULL},
        {"field", 0, CLI_STRING, &o.field, "NAME", "the field or column that holds the text (default text)", 0, 0,
         NULL},
        {"format", 0, CLI_CHOICE, &o.format, "FORMAT", "of files: auto, jsonl, csv or txt (default auto)", 0, 0,
         cli_formats},
        {"top-k", 'k', CLI_INTEGER, &o.count, "N", "fillings a mask, or with --joint and --sample a text (default 5)",
         1, 1e6, NULL},
        {"target", 't', CLI_LIST, &o.targets, "WORD",
         "choose among these words only, whose pieces are looked at together; may be repeated", 0, 0, NULL},
        {"target-file", 0, CLI_STRING, &o.target_file, "FILE", "and among those of this file: a word a line", 0, 0,
         NULL},
        {"match", 0, CLI_STRING, &o.match, "REGEX",
         "choose among the tokens in which this POSIX extended regular expression finds something", 0, 0, NULL},
        {"exclude", 0, CLI_LIST, &o.excluded, "WORD", "leave this word out, in whatever case; may be repeated", 0, 0,
         NULL},
        {"exclude-file", 0, CLI_STRING, &o.exclude_file, "FILE", "and those of this file: a word a line", 0, 0, NULL},
        {"special", 0, CLI_FLAG, &o.special, NULL, "allow special tokens", 0, 0, NULL},
        {"pieces", 0, CLI_FLAG, &o.pieces, NULL, "allow pieces of words (##s), which join the word before", 0, 0, NULL},
        {"joint", 'j', CLI_FLAG, &o.joint, NULL, "fill all masks together, by beam search", 0, 0, NULL},
        {"beams", 0, CLI_INTEGER, &o.beams, "N", "fillings that --joint follows (default 20)", 1, 1e5, NULL},
        {"sample", 's', CLI_FLAG, &o.sample, NULL, "draw fillings of all masks together", 0, 0, NULL},
        {"draw-from", 0, CLI_INTEGER, &o.draw_from, "N", "draw from the N best, 0 for all (default 0)", 0, 1e6, NULL},
        {"top-p", 0, CLI_NUMBER, &o.top_p, "P", "and from the best that have this probability together (default 1)",
         1e-6, 1, NULL},
        {"temperature", 0, CLI_NUMBER, &o.temperature, "T", "of --sample: more is more daring (default 1)", 1e-3, 1000,
         NULL},
        {"seed", 0, CLI_INTEGER, &o.seed, "N", "of --sample (default 0)", 0, 9e15, NULL},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"dtype", 0, CLI_CHOICE, &o.dtype, "TYPE", CLI_DTYPES_HELP, 0, 0, cli_dtypes},
        {"isa", 0, CLI_STRING, &o.set, "SET", CLI_SETS_HELP, 0, 0, NULL},
        CLI_DEVICE_OPTIONS(o.device),
        {"json", 0, CLI_FLAG, &o.json, NULL, "print JSON: a list of fillings; of lists for several masks or texts", 0,
         0, NULL},
        {"quiet", 'q', CLI_FLAG, &o.quiet, NULL, "show no progress", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "fill",
        .operands = "TEXT...",
        .least_operands = 0,
        .most_operands = SIZE_MAX,
        .about = "Fills in each [MASK] of a text: the most probable words for it, each mask by\n"
                 "itself, with their probabilities. With --joint and --sample all masks are filled\n"
                 "from left to right, each with those before it filled in, and the number is the\n"
                 "logarithm of the probability of all of them. A target of several pieces takes as\n"
                 "many masks; its probability does not tell how probable that number of them is.\n"
                 "Special tokens and pieces of words are left out unless asked for. A text of - is\n"
                 "standard input, a text a line, empty ones left out, or as --format says; a row\n"
                 "that cannot be filled keeps its place, with a reason on stderr. A text longer\n"
                 "than the model is looked at in windows.\n"
                 "In the JSON, \"sequence\" is the text as given with the mask replaced by a word in\n"
                 "the case that its place asks for, and \"start\" and \"end\" are the mask's bytes in\n"
                 "the text.\n",
        .examples = "  fillmask fill \"The capital of France is [MASK].\"\n"
                    "  fillmask fill -t good -t bad -t unwatchable \"This movie was [MASK].\"\n"
                    "  fillmask fill --match '^[a-z]+ing$' \"We are [MASK].\"\n"
                    "  fillmask fill --joint -k 3 \"[MASK] is the capital of [MASK].\"\n"
                    "  fillmask fill --sample --temperature 0.8 \"I [MASK] [MASK] [MASK] [MASK].\"\n"
                    "  fillmask fill --json - < texts.txt\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    cli_list texts = {0};
    int code;
    if (cli_parse(&usage, argc, argv, &texts, &code)) {
        code = check(&o, &texts);
        if (code == CLI_OK) code = fill(&o, &texts);
    }
    cli_list_free(&texts);
    cli_list_free(&o.data);
    cli_list_free(&o.targets);
    cli_list_free(&o.excluded);
    return code;
}
