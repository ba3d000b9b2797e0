/* train_vocab.c - `fillmask train-vocab`: learns a WordPiece vocabulary from text files and writes a tokenizer's
 * folder. Counting and merging are core/tokenizer's. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tokenizer/tokenizer.h"
#include "train/train.h"

#define BLOCK_TEXTS 512
#define BLOCK_BYTES ((size_t)8 << 20)
#define MOST_POSITIONS 512 /* DistilBERT's length, which tokenizer_config.json names */

typedef struct vocab_options {
    cli_list data;
    const char *output, *field;
    int64_t size, min_frequency, alphabet, threads;
    int format, part;
    bool cased, json, quiet;
} vocab_options;

typedef struct vocab_run {
    const vocab_options *options;
    fm_vocab_trainer *trainer;
    fm_pool *pool;
    cli_progress progress;
    uint64_t before, total, documents; /* bytes of files that are done, and of all if known */

    fm_buffer texts; /* a block */
    size_t starts[BLOCK_TEXTS], sizes[BLOCK_TEXTS], count;
} vocab_run;

static fm_status add_block(vocab_run *run, uint64_t done, fm_error *err)
{
    if (run->texts.failed) return fm_fail_memory(err, run->texts.size, "a block of texts");
    const char *texts[BLOCK_TEXTS];
    for (size_t i = 0; i < run->count; i++) texts[i] = run->texts.data + run->starts[i];
    fm_status status = fm_vocab_trainer_add(run->trainer, run->pool, texts, run->sizes, run->count, err);
    run->documents += run->count;
    run->count = 0;
    run->texts.size = 0;
    if (!status && !cli_progress_step(&run->progress, run->before + done, run->total))
        status = fm_fail(err, FM_E_ABORTED, "Stopped; nothing was written.");
    return status;
}

static bool wanted(const fm_document *document, int part)
{
    return part == FM_PART_ALL || fm_held_out(document->id, document->id_size) == (part == FM_PART_HELD_OUT);
}

static fm_status count_file(vocab_run *run, fm_reader *reader, fm_error *err)
{
    uint64_t done = 0, size;
    for (bool more = true; more;) {
        fm_document document;
        fm_status status = fm_reader_next(reader, &document, &more, err);
        if (status) return status;
        if (more && wanted(&document, run->options->part)) {
            run->starts[run->count] = run->texts.size;
            run->sizes[run->count++] = document.size;
            fm_buffer_add(&run->texts, document.text, document.size);
        }
        if (more && run->count < BLOCK_TEXTS && run->texts.size < BLOCK_BYTES) continue;
        fm_reader_progress(reader, &done, &size);
        status = add_block(run, done, err);
        if (status) return status;
    }
    run->before += done;
    return FM_OK;
}

static fm_status count_files(vocab_run *run, fm_error *err)
{
    const cli_list *data = &run->options->data;
    bool known = true;
    for (size_t i = 0; i < data->count; i++) {
        struct stat info;
        known = known && strcmp(data->items[i], "-") != 0 && stat(data->items[i], &info) == 0 && S_ISREG(info.st_mode);
        if (known) run->total += (uint64_t)info.st_size;
    }
    if (!known) run->total = 0;
    fm_status status = FM_OK;
    cli_progress_begin(&run->progress, "Reading", NULL, run->options->quiet);
    for (size_t i = 0; i < data->count && !status; i++) {
        fm_reader *reader;
        status =
            fm_reader_open(&reader, data->items[i], (fm_text_format)run->options->format, run->options->field, err);
        if (!status) status = count_file(run, reader, err);
        fm_reader_close(reader);
    }
    cli_progress_end(&run->progress);
    if (!status && run->documents == 0)
        status = fm_fail(err, FM_E_FORMAT, "The data holds no document%s, so there is nothing to learn from.",
                         run->options->part == FM_PART_ALL ? "" : " of the part asked for");
    return status;
}

static fm_status write_tokenizer(vocab_run *run, uint32_t *entries, fm_error *err)
{
    const vocab_options *options = run->options;
    char *vocab = NULL;
    size_t size = 0;
    cli_progress_begin(&run->progress, "Merging", "entries", options->quiet);
    fm_status status =
        fm_vocab_trainer_finish(run->trainer, (uint32_t)options->size, (uint32_t)options->min_frequency,
                                (uint32_t)options->alphabet, cli_progress_step, &run->progress, &vocab, &size, err);
    cli_progress_end(&run->progress);
    if (status) return status;
    fm_tokenizer *tokenizer;
    status = fm_tokenizer_from_vocab(&tokenizer, vocab, size, !options->cased, err);
    free(vocab);
    if (status) return status;
    status = fm_tokenizer_save(tokenizer, options->output, MOST_POSITIONS, err);
    *entries = fm_tokenizer_size(tokenizer);
    fm_tokenizer_close(tokenizer);
    return status;
}

static void report(const vocab_run *run, uint32_t entries, double seconds, fm_buffer *out)
{
    const char *output = run->options->output;
    if (!run->options->json) {
        fm_buffer_format(out, "%s: a vocabulary of %u entries from %llu documents (%.1f MB, %.1f s)\n", output, entries,
                         (unsigned long long)run->documents, (double)run->before / 1e6, seconds);
        return;
    }
    fm_buffer_text(out, "{\"output\": ");
    fm_buffer_json(out, output, strlen(output));
    fm_buffer_format(out, ", \"entries\": %u, \"documents\": %llu, \"bytes\": %llu, \"seconds\": %.2f}\n", entries,
                     (unsigned long long)run->documents, (unsigned long long)run->before, seconds);
}

static int train_vocab(const vocab_options *options)
{
    fm_error err;
    fm_buffer out = {0};
    uint32_t entries = 0;
    double start = fm_seconds();
    vocab_run *run = fm_alloc(1, sizeof *run);
    if (!run) {
        fm_fail_memory(&err, sizeof *run, "a block of texts");
        return cli_print_error("train-vocab", &err);
    }
    run->options = options;
    /* The folder first: a name that cannot be written shows before the work, not after it. */
    fm_status status = fm_make_folder(options->output, &err);
    if (!status) status = fm_pool_create(&run->pool, (int)options->threads, &err);
    if (!status) status = fm_vocab_trainer_create(&run->trainer, !options->cased, &err);
    if (!status) status = count_files(run, &err);
    if (!status) status = write_tokenizer(run, &entries, &err);
    if (!status) report(run, entries, fm_seconds() - start, &out);
    fm_vocab_trainer_destroy(run->trainer);
    fm_pool_destroy(run->pool);
    fm_buffer_free(&run->texts);
    fm_free(run);
    return status ? cli_print_error("train-vocab", &err) : cli_print("train-vocab", &out);
}

int cli_train_vocab(int argc, char **argv)
{
    vocab_options o = {.size = 20000, .min_frequency = 2, .alphabet = 1000};
    const cli_option options[] = {
        {"data", 0, CLI_LIST, &o.data, "FILE...", "texts to learn from: .jsonl, .csv or .txt; - is standard input", 0,
         0, NULL},
        {"output", 'o', CLI_STRING, &o.output, "FOLDER", "where the tokenizer is written", 0, 0, NULL},
        {"size", 0, CLI_INTEGER, &o.size, "N", "entries of the vocabulary at most (default 20000)", 6, 10e6, NULL},
        {"min-frequency", 0, CLI_INTEGER, &o.min_frequency, "N", "a pair is merged if it occurs this often (default 2)",
         1, 1e9, NULL},
        {"alphabet", 0, CLI_INTEGER, &o.alphabet, "N",
         "single characters at most, the most frequent ones (default 1000)", 1, 1e6, NULL},
        {"cased", 0, CLI_FLAG, &o.cased, NULL, "keep case and accents (default: lower-case, without accents)", 0, 0,
         NULL},
        {"field", 0, CLI_STRING, &o.field, "NAME", "the field or column that holds the text (default text)", 0, 0,
         NULL},
        {"format", 0, CLI_CHOICE, &o.format, "FORMAT", "auto, jsonl, csv or txt (default auto: by the file's name)", 0,
         0, cli_formats},
        {"part", 0, CLI_CHOICE, &o.part, "PART",
         "all, train or held-out: one document in a hundred, chosen by its id, is held out (default all)", 0, 0,
         cli_parts},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"json", 0, CLI_FLAG, &o.json, NULL, "print one JSON object at the end", 0, 0, NULL},
        {"quiet", 'q', CLI_FLAG, &o.quiet, NULL, "show no progress", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "train-vocab",
        .about = "Learns a WordPiece vocabulary from texts and writes vocab.txt, tokenizer.json\n"
                 "and tokenizer_config.json. A .jsonl file holds one object a line, a .csv file\n"
                 "names its columns in the first record, any other file is one document a line.\n",
        .examples = "  fillmask train-vocab --data reviews.jsonl -o my-tokenizer\n"
                    "  fillmask train-vocab --data a.csv b.csv --field body --part train -o tokenizer\n"
                    "  xz -dc texts.jsonl.xz | fillmask train-vocab --data - -o my-tokenizer\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int code;
    if (cli_parse(&usage, argc, argv, NULL, &code)) {
        if (o.data.count == 0)
            code = cli_usage_error("train-vocab", "--data is missing; name the files to learn from.");
        else if (!o.output) code = cli_usage_error("train-vocab", "-o is missing; name the folder to write.");
        else code = cli_check_stdin("train-vocab", &o.data, NULL);
        if (code == CLI_OK) code = train_vocab(&o);
    }
    cli_list_free(&o.data);
    return code;
}
