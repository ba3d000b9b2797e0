/* augment.c - `fillmask augment`: variants of texts; the options, and texts that are arguments. Those of files are in
 * augment_rows.c; what is changed is the business of core/tasks. */
#include "cli/augment_run.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tasks/tasks.h"

/* ---- setting up ---- */

static fm_status compile_patterns(augmenting *a, fm_error *err)
{
    const cli_list *list = &a->o->protect;
    a->patterns = calloc(list->count + 1, sizeof *a->patterns);
    if (!a->patterns) return fm_fail_memory(err, list->count * sizeof *a->patterns, "patterns");
    for (; a->pattern_count < list->count; a->pattern_count++) {
        fm_status status = cli_regex(&a->patterns[a->pattern_count], "--protect", list->items[a->pattern_count], err);
        if (status) return status;
    }
    return FM_OK;
}

static fm_status set_up(augmenting *a, fm_error *err)
{
    const augment_command *o = a->o;
    const char *folder = cli_model(o->model, err);
    const fm_model_options options = {(int)o->threads, o->set, (fm_dtype)o->dtype};
    if (!folder) return err->status;
    fm_status status = compile_patterns(a, err);
    if (!status) status = cli_words_read(&a->kept, &o->keep, o->keep_file, err);
    if (!status) status = cli_words_read(&a->labels, &o->labels, o->label_file, err);
    bool usual = o->label_safe && a->labels.count == 0;
    size_t usual_count;
    const char *const *usual_labels = fm_augment_sentiment(&usual_count);
    if (!status) status = cli_model_open(&a->model, folder, &options, &o->device, err);
    const fm_augment_options augment = {.action = (fm_augment_action)o->action,
                                        .rate = o->rate,
                                        .count = (uint32_t)o->count,
                                        .least = (uint32_t)o->least,
                                        .most = (uint32_t)o->most,
                                        .variants = (uint32_t)o->variants,
                                        .top_k = (uint32_t)o->top_k,
                                        .top_p = o->top_p,
                                        .temperature = o->temperature,
                                        .seed = (uint64_t)o->seed,
                                        .kept = a->kept.words,
                                        .kept_count = a->kept.count,
                                        .labels = usual ? usual_labels : a->labels.words,
                                        .label_count = usual ? usual_count : a->labels.count,
                                        .label_share = o->label_share,
                                        .least_similarity = o->least_similarity,
                                        .most_drop = o->most_drop};
    if (!status) status = fm_augmenter_create(&a->augmenter, a->model, &augment, err);
    return status;
}

static void release(augmenting *a)
{
    fm_augmenter_destroy(a->augmenter);
    fm_model_close(a->model);
    for (size_t i = 0; i < a->pattern_count; i++) regfree(&a->patterns[i]);
    free(a->patterns);
    cli_words_free(&a->kept);
    cli_words_free(&a->labels);
}

/* ---- texts ---- */

static bool add_span(fm_span **spans, size_t *count, size_t *capacity, fm_span span)
{
    if (*count == *capacity) {
        size_t larger = *capacity * 2 + 16;
        fm_span *list = realloc(*spans, larger * sizeof *list);
        if (!list) return false;
        *spans = list;
        *capacity = larger;
    }
    (*spans)[(*count)++] = span;
    return true;
}

/* Where the patterns match, line by line. */
static fm_status find_protected(const augmenting *a, const char *text, size_t size, fm_span **spans, size_t *count,
                                fm_error *err)
{
    size_t capacity = 0;
    if (a->pattern_count == 0) return FM_OK;
    char *copy = malloc(size + 1);
    if (!copy) return fm_fail_memory(err, size + 1, "a text");
    memcpy(copy, text, size);
    copy[size] = '\0';
    for (char *at = copy; (at = memchr(at, '\n', (size_t)(copy + size - at))) != NULL;) *at++ = '\0';
    bool good = true;
    for (size_t p = 0; p < a->pattern_count; p++)
        for (size_t line = 0; line <= size; line += strlen(copy + line) + 1) {
            size_t at = line;
            regmatch_t match;
            while (good && regexec(&a->patterns[p], copy + at, 1, &match, at > line ? REG_NOTBOL : 0) == 0) {
                const fm_span span = {(uint32_t)(at + (size_t)match.rm_so), (uint32_t)(at + (size_t)match.rm_eo)};
                good = add_span(spans, count, &capacity, span);
                at = span.end > span.start ? span.end : span.end + 1;
                if (at > line + strlen(copy + line)) break;
            }
        }
    free(copy);
    return good ? FM_OK : fm_fail_memory(err, capacity * sizeof **spans, "the matches of patterns");
}

fm_status augment_ask(augmenting *a, uint64_t number, const char *text, size_t size, fm_error *err)
{
    fm_span *spans = NULL;
    size_t count = 0;
    fm_status status = find_protected(a, text, size, &spans, &count, err);
    if (!status) status = fm_augmenter_add(a->augmenter, number, text, size, spans, count, err);
    free(spans);
    return status;
}

fm_status augment_work(augmenting *a, fm_error *err)
{
    bool more;
    fm_status status = fm_augmenter_step(a->augmenter, &more, err);
    double elapsed = fm_seconds() - a->started;
    snprintf(a->progress.note, sizeof a->progress.note, "%llu texts, %.1f texts/s", (unsigned long long)a->asked,
             elapsed > 0.0 ? (double)a->asked / elapsed : 0.0);
    if (!status && !cli_progress_step(&a->progress, a->bytes, a->total))
        status = fm_fail(err, FM_E_ABORTED, "Stopped.");
    return status;
}

void augment_explain(augmenting *a, const char *what, uint64_t number, const char *reason)
{
    char row[80];
    snprintf(row, sizeof row, "%s %llu", what, (unsigned long long)number);
    cli_explain(&a->reasons, &a->progress, row, reason);
}

/* ---- arguments ---- */

static void add_json(fm_buffer *out, const char *text, const fm_augmented *result)
{
    fm_buffer_text(out, "{\"text\": ");
    fm_buffer_json(out, text, strlen(text));
    fm_buffer_text(out, ", \"variants\": [");
    for (size_t i = 0; i < result->count; i++) {
        if (i > 0) fm_buffer_text(out, ", ");
        fm_buffer_json(out, result->variants[i].data, result->variants[i].size);
    }
    fm_buffer_text(out, "]");
    if (result->reason[0]) {
        fm_buffer_text(out, ", \"reason\": ");
        fm_buffer_json(out, result->reason, strlen(result->reason));
    }
    fm_buffer_text(out, "}");
}

static void add_lines(augmenting *a, fm_buffer *out, const char *text, uint64_t number, const fm_augmented *result)
{
    if (a->o->with_source || result->count == 0) fm_buffer_format(out, "%s\n", text);
    for (size_t i = 0; i < result->count; i++) {
        fm_buffer_add(out, result->variants[i].data, result->variants[i].size);
        fm_buffer_text(out, "\n");
    }
    if (result->count == 0) augment_explain(a, "Text", number, result->reason);
}

static fm_status augment_arguments(augmenting *a, const cli_list *texts, fm_error *err)
{
    fm_buffer out = {0};
    fm_status status = FM_OK;
    for (size_t i = 0; i < texts->count && !status; i++) {
        fm_augmented result = {0};
        bool done = false;
        status = augment_ask(a, i, texts->items[i], strlen(texts->items[i]), err);
        while (!status && !(done = fm_augmenter_take(a->augmenter, &result))) status = augment_work(a, err);
        if (!done) break;
        a->asked++;
        a->fewer += result.count > 0 && result.reason[0];
        if (a->o->json) {
            if (texts->count > 1) fm_buffer_text(&out, i ? ",\n " : "[");
            add_json(&out, texts->items[i], &result);
        } else add_lines(a, &out, texts->items[i], i + 1, &result);
        fm_augmented_free(&result);
    }
    if (a->o->json) fm_buffer_text(&out, texts->count > 1 ? "]\n" : "\n");
    if (!status) cli_print("augment", &out);
    fm_buffer_free(&out);
    return status;
}

/* ---- the command ---- */

static int augment(const augment_command *o, const cli_list *texts)
{
    fm_error err;
    uint64_t rows = 0;
    augmenting a = {.o = o, .reasons = {.command = "augment", .fate = "stays as it is", .quiet = o->quiet}};
    const char *path = o->data ? o->data : strcmp(texts->items[0], "-") == 0 ? "-" : NULL;
    fm_status status = set_up(&a, &err);
    cli_progress_begin(&a.progress, "Augmenting", NULL, o->quiet || (path && !o->output && isatty(STDOUT_FILENO)));
    a.started = fm_seconds();
    if (!status) status = path ? augment_rows(&a, path, &rows, &err) : augment_arguments(&a, texts, &err);
    cli_progress_end(&a.progress);
    if (!status && path && !o->quiet && a.reasons.count > 0)
        fprintf(stderr, "fillmask augment: %llu of %llu rows stayed as they were.\n",
                (unsigned long long)a.reasons.count, (unsigned long long)rows);
    if (!status && !o->quiet && !o->json && a.fewer > 0)
        fprintf(stderr, "fillmask augment: %llu of %llu texts got fewer variants than were asked for.\n",
                (unsigned long long)a.fewer, (unsigned long long)a.asked);
    release(&a);
    return status ? cli_print_error("augment", &err) : CLI_OK;
}

int cli_augment(int argc, char **argv)
{
    static const char *const actions[] = {"substitute", "insert", "delete", NULL};
    const fm_augment_options defaults = fm_augment_defaults();
    augment_command o = {.rate = defaults.rate,
                         .top_p = defaults.top_p,
                         .temperature = defaults.temperature,
                         .least = defaults.least,
                         .variants = defaults.variants,
                         .top_k = defaults.top_k,
                         .label_share = defaults.label_share,
                         .least_similarity = defaults.least_similarity,
                         .most_drop = defaults.most_drop};
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &o.model, "FOLDER", "the model (default: the one that ships)", 0, 0, NULL},
        {"data", 0, CLI_STRING, &o.data, "FILE", "augment the rows of this file: .jsonl, .csv or lines", 0, 0, NULL},
        {"field", 0, CLI_STRING, &o.field, "NAME", "the field or column that holds the text (default text)", 0, 0,
         NULL},
        {"format", 0, CLI_CHOICE, &o.format, "FORMAT", "auto, jsonl, csv or txt (default auto)", 0, 0, cli_formats},
        {"action", 'a', CLI_CHOICE, &o.action, "WHAT", "substitute, insert or delete words (default substitute)", 0, 0,
         actions},
        {"variants", 'n', CLI_INTEGER, &o.variants, "N", "of each text, all different (default 1)", 1, 10000, NULL},
        {"rate", 0, CLI_NUMBER, &o.rate, "R", "share of the words that may be changed (default 0.15)", 0, 1, NULL},
        {"count", 0, CLI_INTEGER, &o.count, "N", "changes of a text, instead of a share", 0, 1e6, NULL},
        {"min", 0, CLI_INTEGER, &o.least, "N", "changes of a text at least (default 1)", 0, 1e6, NULL},
        {"max", 0, CLI_INTEGER, &o.most, "N", "changes of a text at most (default 0: any number)", 0, 1e6, NULL},
        {"top-k", 'k', CLI_INTEGER, &o.top_k, "N", "draw new words from the N best, 0 for all (default 20)", 0, 1e6,
         NULL},
        {"top-p", 0, CLI_NUMBER, &o.top_p, "P", "and from the best that have this probability together (default 1)",
         1e-6, 1, NULL},
        {"temperature", 0, CLI_NUMBER, &o.temperature, "T", "0 takes the best word, more is more daring (default 1)", 0,
         1000, NULL},
        {"seed", 0, CLI_INTEGER, &o.seed, "N", "of all that is drawn (default 0)", 0, 9e15, NULL},
        {"keep", 0, CLI_LIST, &o.keep, "WORD", "never change this word; may be repeated", 0, 0, NULL},
        {"keep-file", 0, CLI_STRING, &o.keep_file, "FILE", "never change these words: a file with a word a line", 0, 0,
         NULL},
        {"protect", 0, CLI_LIST, &o.protect, "REGEX",
         "never change what this POSIX extended regular expression matches in a line; may be repeated", 0, 0, NULL},
        {"label-safe", 0, CLI_FLAG, &o.label_safe, NULL,
         "spare words that decide a text's label, and places that the model expects them in; of English sentiment "
         "unless --label names them",
         0, 0, NULL},
        {"label", 0, CLI_LIST, &o.labels, "WORD", "such a word, for --label-safe; may be repeated", 0, 0, NULL},
        {"label-file", 0, CLI_STRING, &o.label_file, "FILE", "such words: a file with a word a line", 0, 0, NULL},
        {"label-share", 0, CLI_NUMBER, &o.label_share, "P",
         "how probable these words make such a place, all together (default 0.05)", 1e-6, 1, NULL},
        {"min-similarity", 0, CLI_NUMBER, &o.least_similarity, "S",
         "draw variants anew whose vector is less like the text's, by its cosine (default -1: none)", -1, 1, NULL},
        {"max-drop", 0, CLI_NUMBER, &o.most_drop, "N",
         "draw variants anew whose score of a token is so many nats below the text's; slow (default: none)", 0, 1000,
         NULL},
        {"with-source", 0, CLI_FLAG, &o.with_source, NULL, "write each text before its variants", 0, 0, NULL},
        {"skip", 0, CLI_INTEGER, &o.skip, "N", "leave out the first N rows, which were done before", 0, 9e15, NULL},
        {"output", 'o', CLI_STRING, &o.output, "FILE",
         "write rows there; FILE.progress, which goes when all are done, keeps count of them", 0, 0, NULL},
        {"resume", 0, CLI_FLAG, &o.resume, NULL, "go on with an --output that is half done", 0, 0, NULL},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"dtype", 0, CLI_CHOICE, &o.dtype, "TYPE", CLI_DTYPES_HELP, 0, 0, cli_dtypes},
        {"isa", 0, CLI_STRING, &o.set, "SET", CLI_SETS_HELP, 0, 0, NULL},
        CLI_DEVICE_OPTIONS(o.device),
        {"json", 0, CLI_FLAG, &o.json, NULL, "print the variants of arguments as JSON", 0, 0, NULL},
        {"quiet", 'q', CLI_FLAG, &o.quiet, NULL, "show neither progress nor reasons", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "augment",
        .operands = "TEXT...",
        .least_operands = 0,
        .most_operands = SIZE_MAX,
        .about = "Makes variants of texts: some of their words become others that the model\n"
                 "expects there, or words are put in, or taken out. Every other byte stays. Only\n"
                 "plain words are changed: numbers, addresses, tags, placeholders, contractions\n"
                 "and words joined by marks stay. A TEXT of - is standard input, which like --data\n"
                 "streams through row by row: JSON lines, CSV (of which the text's field is\n"
                 "exchanged) or a text a line. A row that cannot be changed goes out as it came,\n"
                 "with a reason on stderr.\n\n"
                 "--label-safe makes it more likely that a variant keeps the text's label. It\n"
                 "cannot promise it: a word may decide that is neither named nor expected where it\n"
                 "stands, and with -a delete only the named words are spared.\n",
        .examples = "  fillmask augment -n 3 \"This movie was really good.\"\n"
                    "  fillmask augment --data reviews.jsonl --rate 0.2 > more.jsonl\n"
                    "  fillmask augment -a delete --count 2 --protect '[A-Z][a-z]+ [A-Z][a-z]+' \\\n"
                    "      --format csv --field review - < reviews.csv\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    cli_list texts = {0};
    int code;
    if (cli_parse(&usage, argc, argv, &texts, &code)) {
        bool standard = false;
        for (size_t i = 0; i < texts.count; i++) standard = standard || strcmp(texts.items[i], "-") == 0;
        size_t sources = texts.count + (o.data != NULL);
        if (sources == 0)
            code = cli_usage_error("augment", "There is nothing to augment; give texts, - or --data FILE.");
        else if ((standard || o.data) && sources > 1)
            code = cli_usage_error("augment", "Give either texts, or - for standard input, or --data FILE.");
        else if (o.most > 0 && o.least > o.most)
            code = cli_usage_error("augment", "--min %lld is more than --max %lld.", (long long)o.least,
                                   (long long)o.most);
        else if (o.output && !standard && !o.data)
            code = cli_usage_error("augment", "--output is for rows; give - or --data FILE.");
        else if (o.resume && !o.output) code = cli_usage_error("augment", "--resume needs the --output to go on with.");
        else if (!o.label_safe && (o.labels.count > 0 || o.label_file))
            code = cli_usage_error("augment", "--label and --label-file need --label-safe.");
        else code = augment(&o, &texts);
    }
    cli_list_free(&texts);
    cli_list_free(&o.keep);
    cli_list_free(&o.protect);
    cli_list_free(&o.labels);
    return code;
}
