/* main.c - finds the command and runs it; errors, standard input and output, and the default model, for all commands.
 */
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct cli_command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} cli_command;

static const cli_command commands[] = {
    {"augment", "make variants of texts", cli_augment},
    {"bench", "measure the speed of this machine", cli_bench},
    {"embed", "turn texts into vectors", cli_embed},
    {"eval", "measure a model on texts", cli_eval},
    {"fill", "fill in the masks of a text", cli_fill},
    {"info", "show what a model folder holds", cli_info},
    {"quantize", "store a model in fewer bytes", cli_quantize},
    {"score", "tell how expected a text is", cli_score},
    {"serve", "answer requests of other programs", cli_serve},
    {"tokenize", "show the tokens of a text", cli_tokenize},
    {"train", "train a model on texts", cli_train},
    {"train-vocab", "learn a vocabulary from texts", cli_train_vocab},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static void print_overview(FILE *out)
{
    fprintf(out, "Usage: fillmask COMMAND [OPTION]... [ARGUMENT]...\n\n"
                 "Fillmask tokenises, runs and trains masked language models of the DistilBERT\n"
                 "kind. Models are folders as Hugging Face lays them out.\n\nCommands:\n");
    for (size_t i = 0; i < COMMANDS; i++) fprintf(out, "  %-13s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n  -h, --help     show this help\n"
                 "      --version  show the version\n\n"
                 "fillmask COMMAND --help explains a command and gives examples.\n\n"
                 "Environment:\n"
                 "  FILLMASK_MODEL   the model folder that is used where none is named\n"
                 "  FILLMASK_DEVICE  what computes where npx fillmask is given no --device\n"
                 "  NO_COLOR         if set, nothing is coloured\n\n"
                 "The exit code is 0 for success, 1 for a failure and 2 for wrong usage.\n");
}

static const cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0) return &commands[i];
    return NULL;
}

static int refuse_command(const char *name)
{
    if (*name == '-') return cli_usage_error(NULL, "\"%s\" is no option; a command comes first.", name);
    const char *names[COMMANDS];
    for (size_t i = 0; i < COMMANDS; i++) names[i] = commands[i].name;
    const char *nearest = cli_nearest(name, names, COMMANDS);
    if (nearest) return cli_usage_error(NULL, "\"%s\" is no command; did you mean %s?", name, nearest);
    return cli_usage_error(NULL, "\"%s\" is no command.", name);
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) {
        printf("fillmask %s\n", FM_VERSION);
        return CLI_OK;
    }
    bool help = strcmp(name, "help") == 0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (help && argc == 2)) {
        print_overview(stdout);
        return CLI_OK;
    }
    const cli_command *command = find_command(help ? argv[2] : name);
    if (!command) return refuse_command(help ? argv[2] : name);
    if (!help) return command->run(argc - 1, argv + 1);
    char option[] = "--help", *asked[] = {argv[2], option, NULL};
    return command->run(2, asked);
}

int main(int argc, char **argv)
{
#ifdef SIGXFSZ
    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is an error of writing like any other */
#endif
    int code = run(argc, argv);
    /* A full disk shows only now. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "fillmask: The output could not be written: %s.\n", strerror(errno));
        return code ? code : CLI_FAILED;
    }
    return code;
}

/* ---- for all commands ---- */

bool cli_colour(FILE *stream)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(no && *no) && (!term || strcmp(term, "dumb") != 0) && isatty(fileno(stream));
}

int cli_print_error(const char *command, const fm_error *err)
{
    bool colour = cli_colour(stderr);
    fprintf(stderr, "fillmask %s: %s%s%s\n", command, colour ? "\033[31m" : "", err->text, colour ? "\033[0m" : "");
    return CLI_FAILED;
}

int cli_print(const char *command, fm_buffer *buffer)
{
    fm_error err;
    int code = CLI_OK;
    if (buffer->failed) {
        fm_fail_memory(&err, buffer->size, "the output");
        code = cli_print_error(command, &err);
    } else if (buffer->size > 0) fwrite(buffer->data, 1, buffer->size, stdout); /* main sees if it fails */
    fm_buffer_free(buffer);
    return code;
}

fm_status cli_read_stdin(fm_buffer *text, fm_error *err)
{
    char piece[65536];
    for (size_t got; (got = fread(piece, 1, sizeof piece, stdin)) > 0;) fm_buffer_add(text, piece, got);
    if (ferror(stdin)) return fm_fail(err, FM_E_IO, "stdin could not be read: %s.", strerror(errno));
    if (text->failed) return fm_fail_memory(err, text->size, "the text of stdin");
    return text->size > 0 ? fm_refuse_other_formats(text->data, text->size, "stdin", err) : FM_OK;
}

/* The folder that `folder`/default names, in `model`. */
static bool read_default(const char *folder, char *model, size_t size)
{
    char path[4096], name[256];
    if (snprintf(path, sizeof path, "%s/default", folder) >= (int)sizeof path) return false;
    FILE *file = fopen(path, "r");
    if (!file) return false;
    bool read = fgets(name, sizeof name, file) != NULL;
    fclose(file);
    if (!read) return false;
    name[strcspn(name, "\r\n")] = '\0';
    return *name && snprintf(model, size, "%s/%s", folder, name) < (int)size;
}

/* The weights that were installed with this program: bin/../share/fillmask/weights. */
static bool installed_default(char *model, size_t size)
{
    char path[4096];
    static const char weights[] = "share/fillmask/weights";
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof weights - 1);
    if (length <= 0) return false;
    path[length] = '\0';
    for (int i = 0; i < 2; i++) { /* the name of the program, then bin */
        char *slash = strrchr(path, '/');
        if (!slash) return false;
        *slash = '\0';
    }
    strcat(path, "/");
    strcat(path, weights);
    return read_default(path, model, size);
}

const char *cli_default_model(void)
{
    static char model[4096];
    const char *given = getenv("FILLMASK_MODEL");
    if (given && *given) return given;
    if (installed_default(model, sizeof model)) return model;
    return read_default(FILLMASK_SOURCE_DIR "/weights", model, sizeof model) ? model : NULL;
}

static bool is_there(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

/* A model that ships, by the name of its folder beside the default one; `given` itself if there is none. */
static const char *find_shipped(const char *given)
{
    static char path[4096];
    if (strchr(given, '/') || is_there(given)) return given;
    for (int i = 0; i < 2; i++) {
        char *slash;
        bool found = i == 0 ? installed_default(path, sizeof path)
                            : read_default(FILLMASK_SOURCE_DIR "/weights", path, sizeof path);
        if (!found || !(slash = strrchr(path, '/')) || strlen(given) >= sizeof path - (size_t)(slash + 1 - path))
            continue;
        strcpy(slash + 1, given);
        if (is_there(path)) return path;
    }
    return given;
}

const char *cli_model(const char *given, fm_error *err)
{
    if (given && !*given) {
        fm_fail(err, FM_E_ARGUMENT,
                "The name of the model is empty; give a model folder, or leave it out for the default.");
        return NULL;
    }
    const char *model = given ? find_shipped(given) : cli_default_model();
    if (!model)
        fm_fail(err, FM_E_ARGUMENT,
                "No model is named and there is no default; give a model folder with -m, or set FILLMASK_MODEL.");
    return model;
}

bool cli_same_file(const char *a, const char *b)
{
    struct stat left, right;
    return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}
