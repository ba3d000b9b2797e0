/* cli.h - the frame of the command line: the commands, their options and help, errors, progress and the default model.
 *
 * A command is one file with one function, cli_NAME, declared here and listed in main.c. It describes its options in a
 * table, calls cli_parse, does its work through the doors of core, and returns an exit code. Results go to stdout,
 * everything else to stderr.
 */
#ifndef FM_CLI_H
#define FM_CLI_H

#include <regex.h>
#include <stdio.h>

#include "base/base.h"
#include "train/train.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 }; /* exit codes */

/* ---- commands (main.c; each in a file of its name) ---- */

/* argv[0] is the command's name; the result is the exit code. */
int cli_augment(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_embed(int argc, char **argv);
int cli_eval(int argc, char **argv);
int cli_fill(int argc, char **argv);
int cli_info(int argc, char **argv);
int cli_quantize(int argc, char **argv);
int cli_score(int argc, char **argv);
int cli_serve(int argc, char **argv);
int cli_tokenize(int argc, char **argv);
int cli_train(int argc, char **argv);
int cli_train_vocab(int argc, char **argv);

/* ---- options (options.c) ---- */

typedef struct cli_list {
    const char **items; /* owned; the texts are argv's */
    size_t count;
} cli_list;
void cli_list_free(cli_list *list);

typedef enum cli_type {
    CLI_FLAG,    /* bool *: becomes true */
    CLI_STRING,  /* const char ** */
    CLI_INTEGER, /* int64_t *, within least to most */
    CLI_NUMBER,  /* double *, within least to most */
    CLI_CHOICE,  /* int *: the index in `choices` */
    CLI_LIST     /* cli_list *: once for each --name; in a command without operands, what follows up to the next option
                  * belongs to it too, so that --data *.jsonl does what one expects */
} cli_type;

typedef struct cli_option {
    const char *name; /* without its dashes */
    char letter;      /* the short form, 0 for none */
    cli_type type;
    void *value;       /* holds the default; written when the option is given */
    const char *shown; /* what stands for the value in the help: FILE, N; NULL for a flag */
    const char *help;  /* ends without a full stop; names the default; NULL keeps a second name out of the help */
    double least, most;
    const char *const *choices; /* NULL-terminated */
} cli_option;

typedef struct cli_usage {
    const char *command;
    const char *operands; /* as the help shows them, NULL if there are none */
    size_t least_operands, most_operands;
    const char *about;         /* what the command does: lines of at most 80 columns, each with its newline */
    const char *examples;      /* likewise */
    const cli_option *options; /* --help is not listed */
    size_t option_count;
} cli_usage;

/* Of --dtype and --isa, wherever there are such. */
#define CLI_DTYPES_HELP "compute in fp32 or q8 (int8); auto: as the weights are stored (default auto)"
#define CLI_SETS_HELP "instruction set: auto, amx, avx512bf16, avx512, avx2 or scalar (default auto)"

/* Reads the arguments. False: the command ends with *exit_code now, after --help or a usage error, which has been
 * printed. `operands` may be NULL if there are none. The caller frees the lists in either case. */
bool cli_parse(const cli_usage *usage, int argc, char **argv, cli_list *operands, int *exit_code);
/* Prints one sentence and where to find the help; returns CLI_USAGE. */
int cli_usage_error(const char *command, const char *format, ...) FM_PRINTF(2, 3);
/* The name that is spelled most like `word`, NULL if none is close. */
const char *cli_nearest(const char *word, const char *const *names, size_t count);

/* ---- words and patterns (words.c) ---- */

typedef struct cli_words {
    const char **words;
    size_t count;
    fm_buffer text; /* of the file */
} cli_words;
/* Those given, and those of a file with a word a line; path may be NULL. To be freed also after a failure. */
fm_status cli_words_read(cli_words *words, const cli_list *given, const char *path, fm_error *err);
void cli_words_free(cli_words *words);
/* Compiles the POSIX extended regular expression that an option was given; regfree(regex). */
fm_status cli_regex(regex_t *regex, const char *option, const char *text, fm_error *err);

/* ---- input, output, models (main.c) ---- */

/* Prints an error of core for a command; returns CLI_FAILED. */
int cli_print_error(const char *command, const fm_error *err);
/* Writes what the buffer holds to stdout and frees it; an exit code. */
int cli_print(const char *command, fm_buffer *buffer);
/* All of standard input, unless it is compressed or otherwise no text. */
fm_status cli_read_stdin(fm_buffer *text, fm_error *err);
/* The folder of the model that is used where none is named: FILLMASK_MODEL, else the one named by the file `default`
 * among the installed or the source tree's weights; NULL if there is none. */
const char *cli_default_model(void);
/* `given`, which may be the name of a model that ships, or the default model; NULL and an error that says what to do if
 * there is neither. */
const char *cli_model(const char *given, fm_error *err);
/* Whether two names lead to one file or folder that is there. */
bool cli_same_file(const char *a, const char *b);
/* Whether the stream is a terminal that may be coloured. */
bool cli_colour(FILE *stream);

/* ---- output that can be resumed (output.c) ---- */

typedef struct cli_output {
    FILE *file;       /* stdout if no path was given */
    const char *path; /* of argv */
    char *progress;
    uint64_t key;         /* of the options that matter */
    uint64_t rows, bytes; /* done at the last mark; after opening, by the run before */
    uint64_t written;     /* bytes */
    double saved;
} cli_output;
/* A file to write rows to, NULL for stdout; with `resume`, behind those that an unfinished run with the same key has
 * written. To be closed also after a failure. */
fm_status cli_output_open(cli_output *output, const char *path, bool resume, uint64_t key, fm_error *err);
void cli_output_write(cli_output *output, const void *data, size_t size); /* errors show later */
/* So many rows of the input are written, and nothing of the next one. Now and then makes sure that they stay. */
fm_status cli_output_mark(cli_output *output, uint64_t rows, fm_error *err);
/* complete: nothing is left to be resumed. */
fm_status cli_output_close(cli_output *output, bool complete, fm_error *err);

/* ---- progress (progress.c) ---- */

typedef struct cli_progress {
    const char *label, *unit; /* what is done, and the plural of what is counted; unit NULL: bytes */
    char note[80];            /* shown behind the bar, such as a loss; the command may rewrite it */
    bool quiet, terminal, drawn;
    double started, shown;
    uint64_t done;
    uint64_t first; /* what was done before the beginning; the command may set it */
} cli_progress;

void cli_progress_begin(cli_progress *progress, const char *label, const char *unit, bool quiet);
/* An fm_progress: false once interrupted. */
bool cli_progress_step(void *progress, uint64_t done, uint64_t total);
void cli_progress_end(cli_progress *progress);

/* ---- the host (host.c, or wasm/cli.c) ---- */

/* From here on Ctrl-C and SIGTERM only set what cli_interrupted tells, a wish that an fm_progress passes on, so that
 * nothing is left half written; a second one ends the process. */
void cli_catch_signals(void);
bool cli_interrupted(void);
extern const char cli_host_device[]; /* of cli_devices */
/* A GPU, which waits for its answers; adapter "" for any, power of cli_powers. And what it calls itself. */
fm_status cli_host_gpu(const char *adapter, const char *power, fm_backend **gpu, fm_error *err);
const char *cli_host_gpu_name(void);

/* ---- devices (device.c) ---- */

typedef struct cli_device {
    int choice, power; /* of cli_devices, cli_powers */
    const char *adapter;
} cli_device;
extern const char *const cli_devices[], *const cli_powers[];
#define CLI_DEVICES_HELP                                                                                               \
    "what computes: native, wasm, or webgpu, the graphics card; npx fillmask has all, and takes native for auto, or "  \
    "wasm where that is not there (default auto)"
#define CLI_ADAPTER_HELP "of webgpu: the card that has this in its name; npx fillmask --adapter lists them"
#define CLI_POWERS_HELP "of webgpu, among cards: high-performance or low-power (default high-performance)"
/* The rows of a table of options that fill a cli_device. */
#define CLI_DEVICE_OPTIONS(device)                                                                                     \
    {"device", 0, CLI_CHOICE, &(device).choice, "DEVICE", CLI_DEVICES_HELP, 0, 0, cli_devices},                        \
        {"adapter", 0, CLI_STRING, &(device).adapter, "NAME", CLI_ADAPTER_HELP, 0, 0, NULL},                           \
    {                                                                                                                  \
        "power-preference", 0, CLI_CHOICE, &(device).power, "KIND", CLI_POWERS_HELP, 0, 0, cli_powers                  \
    }
/* The GPU if one is asked for, else *gpu is NULL. */
fm_status cli_gpu(const cli_device *device, fm_backend **gpu, fm_error *err);
/* Refuses a GPU that computes other logits than the cpu. */
fm_status cli_check_gpu(const fm_config *config, const fm_parameters *parameters, const float *const *values,
                        fm_backend *cpu, fm_backend *gpu, fm_error *err);
/* fm_model_open for a device; the cpu computes, and a warning is printed, where a GPU computes wrongly. */
fm_status cli_model_open(fm_model **model, const char *folder, const fm_model_options *options,
                         const cli_device *device, fm_error *err);

/* ---- rows of files (rows.c) ---- */

typedef struct cli_rows {
    const char *name; /* the path, or "stdin" */
    const char *field;
    fm_text_format format;
    int file;
    fm_rows *rows; /* NULL before the first bytes are read */
    char *piece;
    bool ended;
    uint64_t bytes, total; /* of the input: read, and all, 0 if unknown */
} cli_rows;
/* A file, or standard input if the path is "-". To be closed also after a failure. */
fm_status cli_rows_open(cli_rows *rows, const char *path, fm_text_format format, const char *field, fm_error *err);
void cli_rows_close(cli_rows *rows);
bool cli_rows_ready(const cli_rows *rows); /* whether reading would not wait */
/* Reads some bytes, none at the end. */
fm_status cli_rows_read(cli_rows *rows, fm_error *err);
/* The next row of what is read, to be freed; *more is false if there is none. */
fm_status cli_rows_take(cli_rows *rows, fm_row *row, bool *more, fm_error *err);
/* The next row of all; *more is false at the end. */
fm_status cli_rows_next(cli_rows *rows, fm_row *row, bool *more, fm_error *err);
/* Bytes of all these files, 0 if one of them is no plain file. */
uint64_t cli_rows_size(const cli_list *paths);

/* Why a command cannot use rows: the first ones are told, and all are counted. */
typedef struct cli_reasons {
    const char *command, *fate;    /* of a row: "has no score" */
    const char *could, *could_not; /* of many: "could be scored", "could not be scored" */
    bool quiet;
    uint64_t count;
} cli_reasons;
/* what: "The row on line 3" */
void cli_explain(cli_reasons *reasons, const cli_progress *progress, const char *what, const char *reason);

/* What uses rows one by one. Each row that is none of a header and empty lines is either taken or left, in order. */
typedef struct cli_row_user {
    void *context;
    /* After FM_E_FORMAT, which is the text's fault, the row is left; other errors end all. */
    fm_status (*take)(void *context, const char *text, size_t size, fm_error *err);
    /* text is NULL if the row has none. */
    fm_status (*leave)(void *context, const char *text, size_t size, const char *reason, fm_error *err);
    cli_reasons *reasons;
    const cli_progress *progress;
    uint64_t *bytes; /* kept up to date, may be NULL */
} cli_row_user;
fm_status cli_rows_each(const cli_row_user *user, const char *path, fm_text_format format, const char *field,
                        fm_error *err);
/* After all: says how many were left, and fails if there was none else. */
fm_status cli_rows_done(const cli_reasons *reasons, uint64_t used, fm_error *err);

/* ---- data (corpus.c, evaluation.c) ---- */

typedef struct cli_corpus_options {
    const cli_list *data;
    const char *field;
    fm_text_format format;
    fm_part part;
    const fm_tokenizer *tokenizer;
    fm_pool *pool;
    const char *cache; /* file for the tokens, NULL for none */
    bool quiet;
} cli_corpus_options;
/* Standard input can be read once: the usage error if lists (the second may be NULL) name it twice, else CLI_OK. */
int cli_check_stdin(const char *command, const cli_list *data, const cli_list *more);
/* The corpus of some files, from the cache where it fits. */
fm_status cli_corpus(const cli_corpus_options *options, fm_corpus *corpus, fm_error *err);

/* Tokens a chunk: what --length says, or if that is 0 what suits the model. */
fm_status cli_chunk_length(int64_t given, uint32_t positions, uint32_t *length, fm_error *err);
/* Runs an evaluation to its end under a progress bar. */
fm_status cli_evaluate(fm_evaluator *evaluator, bool quiet, fm_error *err);
/* The figures of an evaluation as JSON members, without braces. */
void cli_evaluation_json(fm_buffer *out, const fm_evaluation *evaluation);

/* The lists that options of the same name offer, in the order of fm_text_format, fm_part, fm_precision and fm_dtype. */
extern const char *const cli_formats[], *const cli_parts[], *const cli_precisions[], *const cli_dtypes[];
/* With the collections of many files too (fm_text_format). */
extern const char *const cli_collections[];
#define CLI_COLLECTIONS_HELP                                                                                           \
    "auto, jsonl, csv, txt; or imdb, imdb-test or imdb-unsupervised: a part of the Large Movie Review Dataset as its " \
    "folder or a tar of it, which auto takes for imdb, the 25,000 labelled reviews for training (default auto)"

#endif
