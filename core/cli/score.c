/* score.c - `fillmask score`: how expected texts are, as a picture in text, as a line a text, or as JSON. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tasks/tasks.h"

#define BAR 24
#define BAR_NATS 12.0 /* what a whole bar stands for */

typedef struct score_options {
    cli_list data;
    const char *model, *field, *set;
    int64_t threads;
    int format, mask, dtype;
    bool json, rank, summary, quiet;
    cli_device device;
} score_options;

/* A text and its score, kept for ranking. */
typedef struct ranked {
    char *text;
    size_t size, tokens, number;
    double score;
} ranked;

typedef struct scoring {
    const score_options *o;
    fm_model *model;
    cli_progress progress;
    bool brief; /* a line a text */
    bool several;
    bool begun, complete; /* the list of JSON has an entry; has all */
    cli_reasons reasons;
    uint64_t bytes, total; /* of files: read, and all, 0 if unknown */
    double started;
    uint64_t texts, tokens;
    double score;
    ranked *list; /* of o->rank */
    size_t list_capacity;
} scoring;

static double perplexity(double score, double tokens)
{
    return exp(-score / tokens);
}

static void add_json(fm_buffer *out, const fm_tokenizer *tokenizer, const char *text, size_t size,
                     const fm_score_result *result)
{
    fm_buffer_text(out, "{\"text\": ");
    fm_buffer_json(out, text, size);
    fm_buffer_format(out, ", \"score\": %.6f, \"pseudo_perplexity\": %.4f, \"tokens\": [", result->score,
                     perplexity(result->score, (double)result->count));
    for (size_t i = 0; i < result->count; i++) {
        const fm_token_score *t = &result->tokens[i];
        const char *token = fm_tokenizer_token(tokenizer, t->token);
        fm_buffer_text(out, i ? ", {\"token\": " : "{\"token\": ");
        fm_buffer_json(out, token, strlen(token));
        fm_buffer_format(out, ", \"start\": %u, \"end\": %u, \"log_probability\": %.6f}", t->start, t->end,
                         (double)t->log_probability);
    }
    fm_buffer_text(out, "]}");
}

/* The tokens from `first` on that are of one word: their number, bytes and nats. */
static size_t word_at(const fm_score_result *result, size_t first, fm_span *span, double *nats)
{
    size_t end = first;
    *nats = 0.0;
    for (; end < result->count && result->tokens[end].word == result->tokens[first].word; end++)
        *nats -= (double)result->tokens[end].log_probability;
    *span = (fm_span){result->tokens[first].start, result->tokens[end - 1].end};
    return end - first;
}

/* The text, each word shaded by its surprise. */
static void add_shaded(fm_buffer *out, const char *text, size_t size, const fm_score_result *result)
{
    static const int shades[] = {0, 230, 223, 216, 209, 203, 196}; /* of the 256 colours, two nats apart */
    const int darkest = (int)(sizeof shades / sizeof *shades) - 1;
    size_t done = 0;
    fm_span span;
    double nats;
    for (size_t i = 0; i < result->count; i += word_at(result, i, &span, &nats)) {
        word_at(result, i, &span, &nats);
        int shade = nats >= 2.0 * darkest ? darkest : (int)(nats / 2.0);
        if (span.start < done) continue; /* a mark that the tokenizer has moved */
        fm_buffer_add(out, text + done, span.start - done);
        if (shade > 0) fm_buffer_format(out, "\033[30;48;5;%dm", shades[shade]);
        fm_buffer_add(out, text + span.start, span.end - span.start);
        if (shade > 0) fm_buffer_text(out, "\033[0m");
        done = span.end;
    }
    fm_buffer_add(out, text + done, size - done);
    fm_buffer_text(out, "\n");
}

static size_t width_of(const char *text, size_t size)
{
    size_t width = 0;
    for (size_t i = 0; i < size; i++) width += ((unsigned char)text[i] & 0xc0) != 0x80;
    return width;
}

/* A line a word: nats, a bar of them, the word. */
static void add_words(fm_buffer *out, const char *text, const fm_score_result *result)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    bool colour = cli_colour(stdout);
    fm_span span;
    double nats;
    for (size_t i = 0; i < result->count; i += word_at(result, i, &span, &nats)) {
        word_at(result, i, &span, &nats);
        size_t width = width_of(text + span.start, span.end - span.start);
        int length = (int)((nats < BAR_NATS ? nats : BAR_NATS) / BAR_NATS * BAR * 8.0 + 0.5);
        fm_buffer_text(out, "  ");
        fm_buffer_add(out, text + span.start, span.end - span.start);
        fm_buffer_format(out, "%*s %7.2f  %s", width < 16 ? (int)(16 - width) : 0, "", nats > 0.0 ? -nats : 0.0,
                         colour ? "\033[31m" : "");
        for (int b = 0; b < length / 8; b++) fm_buffer_text(out, "█");
        fm_buffer_text(out, eighths[length % 8]);
        fm_buffer_text(out, colour ? "\033[0m\n" : "\n");
    }
}

/* A text on one line, whatever it holds. */
static void add_flat(fm_buffer *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        fm_buffer_add(out, (unsigned char)c < 0x20 ? " " : &c, 1);
    }
    fm_buffer_text(out, "\n");
}

static void add_line(fm_buffer *out, double score, size_t tokens, const char *text, size_t size)
{
    fm_buffer_format(out, "%10.2f %9.2f  ", score, perplexity(score, (double)tokens));
    add_flat(out, text, size);
}

static fm_status keep(scoring *s, const fm_score_result *result, const char *text, size_t size, fm_error *err)
{
    if (s->texts == s->list_capacity) {
        size_t capacity = s->list_capacity * 2 + 64;
        ranked *list = realloc(s->list, capacity * sizeof *list);
        if (!list) return fm_fail_memory(err, capacity * sizeof *list, "a ranking");
        s->list = list;
        s->list_capacity = capacity;
    }
    char *copy = malloc(size + 1);
    if (!copy) return fm_fail_memory(err, size + 1, "a ranking");
    memcpy(copy, text, size);
    copy[size] = '\0';
    s->list[s->texts] = (ranked){copy, size, result->count, s->texts, result->score};
    return FM_OK;
}

/* Texts go by, and the progress of a long one shows too. */
static bool show_tokens(void *context, uint64_t done, uint64_t total)
{
    scoring *s = context;
    (void)total;
    double elapsed = fm_seconds() - s->started, tokens = (double)(s->tokens + done);
    if (s->progress.unit) return cli_progress_step(&s->progress, s->tokens + done, 0);
    snprintf(s->progress.note, sizeof s->progress.note, "%llu texts, %.0f tokens/s", (unsigned long long)s->texts,
             elapsed > 0.0 ? tokens / elapsed : 0.0);
    return cli_progress_step(&s->progress, s->bytes, s->total);
}

/* Writes what was added, at once: rows may be long in coming. */
static fm_status write_out(fm_buffer *out, fm_error *err)
{
    fm_status status = out->failed ? fm_fail_memory(err, out->size, "the output") : FM_OK;
    if (!status && out->size > 0) fwrite(out->data, 1, out->size, stdout); /* main sees if it fails */
    fm_buffer_free(out);
    return status;
}

static void begin_entry(scoring *s, fm_buffer *out)
{
    if (s->several) fm_buffer_text(out, s->begun ? ",\n " : "[");
    s->begun = true;
}

static fm_status score_one(void *context, const char *text, size_t size, fm_error *err)
{
    scoring *s = context;
    const score_options *o = s->o;
    fm_score_result result;
    fm_buffer out = {0};
    fm_status status = fm_score(s->model, text, size, (fm_score_method)o->mask, show_tokens, s, &result, err);
    if (status) return status;
    if (o->rank) status = keep(s, &result, text, size, err);
    else if (o->json && !o->summary) {
        begin_entry(s, &out);
        add_json(&out, fm_model_tokenizer(s->model), text, size, &result);
    } else if (s->brief && !o->summary) add_line(&out, result.score, result.count, text, size);
    else if (!o->summary) {
        if (s->texts > 0) fm_buffer_text(&out, "\n");
        if (cli_colour(stdout)) add_shaded(&out, text, size, &result);
        else {
            fm_buffer_add(&out, text, size);
            fm_buffer_text(&out, "\n");
        }
        add_words(&out, text, &result);
        fm_buffer_format(&out, "score %.2f, %zu tokens, pseudo-perplexity %.2f\n", result.score, result.count,
                         perplexity(result.score, (double)result.count));
    }
    s->texts++;
    s->tokens += result.count;
    s->score += result.score;
    fm_score_result_free(&result);
    fm_status written = write_out(&out, err);
    return status ? status : written;
}

/* A row that has no score keeps its place. */
static fm_status leave_row(void *context, const char *text, size_t size, const char *reason, fm_error *err)
{
    scoring *s = context;
    fm_buffer out = {0};
    if (s->o->rank || s->o->summary) return FM_OK;
    if (s->o->json) {
        begin_entry(s, &out);
        fm_buffer_text(&out, "{\"text\": ");
        if (text) fm_buffer_json(&out, text, size);
        else fm_buffer_text(&out, "null");
        fm_buffer_text(&out, ", \"reason\": ");
        fm_buffer_json(&out, reason, strlen(reason));
        fm_buffer_text(&out, "}");
    } else {
        fm_buffer_format(&out, "%10s %9s  ", "-", "-");
        add_flat(&out, text, text ? size : 0);
    }
    return write_out(&out, err);
}

static fm_status score_file(scoring *s, const char *path, fm_text_format format, fm_error *err)
{
    const cli_row_user user = {s, score_one, leave_row, &s->reasons, &s->progress, &s->bytes};
    return cli_rows_each(&user, path, format, s->o->field, err);
}

static int better_first(const void *left, const void *right)
{
    const ranked *a = left, *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->number < b->number ? -1 : 1;
}

static void print_ranking(scoring *s)
{
    fm_buffer out = {0};
    s->begun = s->texts > 0;
    qsort(s->list, s->texts, sizeof *s->list, better_first);
    for (uint64_t i = 0; i < s->texts; i++) {
        const ranked *r = &s->list[i];
        if (!s->o->json) {
            add_line(&out, r->score, r->tokens, r->text, r->size);
            continue;
        }
        fm_buffer_text(&out, i ? ",\n {\"text\": " : "[{\"text\": ");
        fm_buffer_json(&out, r->text, r->size);
        fm_buffer_format(&out, ", \"score\": %.6f, \"pseudo_perplexity\": %.4f}", r->score,
                         perplexity(r->score, (double)r->tokens));
    }
    cli_print("score", &out);
}

static fm_status score_all(scoring *s, const cli_list *texts, fm_error *err)
{
    fm_status status = FM_OK;
    for (size_t i = 0; i < texts->count && !status; i++) {
        if (strcmp(texts->items[i], "-") == 0) status = score_file(s, "-", (fm_text_format)s->o->format, err);
        else status = score_one(s, texts->items[i], strlen(texts->items[i]), err);
    }
    for (size_t i = 0; i < s->o->data.count && !status; i++)
        status = score_file(s, s->o->data.items[i], (fm_text_format)s->o->format, err);
    s->complete = !status;
    if (!status) status = cli_rows_done(&s->reasons, s->texts, err);
    if (!status && s->texts == 0) status = fm_fail(err, FM_E_FORMAT, "The data holds no text to score.");
    return status;
}

static int score(const score_options *o, const cli_list *texts)
{
    fm_error err;
    scoring s = {.o = o, .brief = o->rank || o->data.count > 0, .started = fm_seconds()};
    s.reasons = (cli_reasons){.command = "score",
                              .fate = "has no score",
                              .could = "could be scored",
                              .could_not = "could not be scored",
                              .quiet = o->quiet};
    const char *folder = cli_model(o->model, &err);
    const fm_model_options options = {(int)o->threads, o->set, (fm_dtype)o->dtype};
    fm_status status = folder ? cli_model_open(&s.model, folder, &options, &o->device, &err) : err.status;
    for (size_t i = 0; i < texts->count; i++) s.brief = s.brief || strcmp(texts->items[i], "-") == 0;
    s.several = s.brief || texts->count > 1;
    if (!status) {
        /* Lines that go by on a terminal are progress enough. */
        s.total = texts->count > 0 ? 0 : cli_rows_size(&o->data);
        cli_progress_begin(&s.progress, "Scoring", s.total > 0 ? NULL : "tokens",
                           o->quiet || (s.several && !o->rank && !o->summary && isatty(STDOUT_FILENO)));
        status = score_all(&s, texts, &err);
        cli_progress_end(&s.progress);
    }
    if (!status && o->rank) print_ranking(&s);
    if (!status && o->json && o->summary)
        printf("{\"texts\": %llu, \"tokens\": %llu, \"score\": %.6f, \"pseudo_perplexity\": %.4f}\n",
               (unsigned long long)s.texts, (unsigned long long)s.tokens, s.score,
               perplexity(s.score, (double)s.tokens));
    else if (o->json && s.complete && s.begun) fputs(s.several ? "]\n" : "\n", stdout);
    if (!status && (s.brief || o->summary) && !o->json)
        printf("%llu texts, %llu tokens, pseudo-perplexity %.2f\n", (unsigned long long)s.texts,
               (unsigned long long)s.tokens, perplexity(s.score, (double)s.tokens));
    for (uint64_t i = 0; s.list && i < s.texts; i++) free(s.list[i].text);
    free(s.list);
    fm_model_close(s.model);
    return status ? cli_print_error("score", &err) : CLI_OK;
}

int cli_score(int argc, char **argv)
{
    static const char *const masks[] = {"word", "token", NULL};
    score_options o = {0};
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &o.model, "FOLDER", "the model (default: the one that ships)", 0, 0, NULL},
        {"data", 0, CLI_LIST, &o.data, "FILE", "score the texts of a file too: .jsonl, .csv or .txt; may be repeated",
         0, 0, NULL},
        {"field", 0, CLI_STRING, &o.field, "NAME", "the field or column that holds the text (default text)", 0, 0,
         NULL},
        {"format", 0, CLI_CHOICE, &o.format, "FORMAT", "of files: auto, jsonl, csv or txt (default auto)", 0, 0,
         cli_formats},
        {"mask", 0, CLI_CHOICE, &o.mask, "WHAT",
         "word: a token with the pieces of its word that follow it; token: the token alone (default word)", 0, 0,
         masks},
        {"summary", 0, CLI_FLAG, &o.summary, NULL,
         "print the number of texts and tokens and the pseudo-perplexity of all", 0, 0, NULL},
        {"rank", 0, CLI_FLAG, &o.rank, NULL, "print the texts by score, best first", 0, 0, NULL},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"dtype", 0, CLI_CHOICE, &o.dtype, "TYPE", CLI_DTYPES_HELP, 0, 0, cli_dtypes},
        {"isa", 0, CLI_STRING, &o.set, "SET", CLI_SETS_HELP, 0, 0, NULL},
        CLI_DEVICE_OPTIONS(o.device),
        {"json", 0, CLI_FLAG, &o.json, NULL,
         "print JSON: text, score, pseudo_perplexity and tokens; a list of them for several texts", 0, 0, NULL},
        {"quiet", 'q', CLI_FLAG, &o.quiet, NULL, "show no progress", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "score",
        .operands = "TEXT...",
        .least_operands = 0,
        .most_operands = SIZE_MAX,
        .about = "Tells how expected a text is: the log-probability, in nats, of each token when\n"
                 "it is masked (Salazar et al. 2020; Kauf and Ivanova 2023). The score is their\n"
                 "sum, and the pseudo-perplexity is exp(-score / tokens). In the picture longer\n"
                 "bars are greater surprises. A text of - is standard input, a text a line, empty\n"
                 "ones left out, or as --format says; it, --data and --rank print a line a text:\n"
                 "score, pseudo-perplexity, text. A row that has no text to score keeps its place,\n"
                 "with a reason on stderr. Texts longer than the model are scored in windows.\n",
        .examples = "  fillmask score \"The capital of France is banana.\"\n"
                    "  fillmask score --rank \"He likes tea.\" \"He like tea.\" \"Tea he likes.\"\n"
                    "  fillmask score --json --data reviews.jsonl > scores.json\n"
                    "  fillmask score --summary --data a.txt\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    cli_list texts = {0};
    int code;
    if (cli_parse(&usage, argc, argv, &texts, &code)) {
        code = CLI_OK;
        if (texts.count + o.data.count == 0)
            code = cli_usage_error("score", "There is nothing to score; give texts, - or --data FILE.");
        else if (o.rank && o.summary) code = cli_usage_error("score", "--rank and --summary exclude each other.");
        else code = cli_check_stdin("score", &texts, &o.data);
        if (code == CLI_OK) code = score(&o, &texts);
    }
    cli_list_free(&texts);
    cli_list_free(&o.data);
    return code;
}
