/* options.c - options and help from one table. It knows no command, and does no work but to fill in values. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HELP_WIDTH 80
#define HELP_COLUMN 26 /* where the options' explanations start */

void cli_list_free(cli_list *list)
{
    free(list->items);
    *list = (cli_list){0};
}

int cli_usage_error(const char *command, const char *format, ...)
{
    char sentence[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    for (char *at = sentence; *at; at++) /* one line, whatever an argument holds */
        if ((unsigned char)*at < 0x20 || *at == 0x7f) *at = ' ';
    fprintf(stderr, "fillmask%s%s: %s See fillmask%s%s --help.\n", command ? " " : "", command ? command : "", sentence,
            command ? " " : "", command ? command : "");
    return CLI_USAGE;
}

/* ---- spelling ---- */

#define MOST_NAMES 128 /* of a command's options that are compared */
#define LONGEST_NAME 40

/* Levenshtein's distance; both words are shorter than LONGEST_NAME. */
static size_t distance(const char *a, const char *b)
{
    size_t row[LONGEST_NAME + 1], width = strlen(b);
    for (size_t j = 0; j <= width; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= width; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[width];
}

const char *cli_nearest(const char *word, const char *const *names, size_t count)
{
    const char *nearest = NULL;
    size_t length = strlen(word), least = SIZE_MAX;
    if (length == 0 || length >= LONGEST_NAME) return NULL;
    for (size_t i = 0; i < count; i++) {
        if (strlen(names[i]) >= LONGEST_NAME) continue;
        size_t far = strncmp(names[i], word, length) == 0 ? 1 : distance(word, names[i]);
        if (far < least) {
            least = far;
            nearest = names[i];
        }
    }
    return least <= 1 + length / 4 ? nearest : NULL;
}

/* ---- help ---- */

/* Prints words from the HELP_COLUMN on, over as many lines as they need. */
static void print_wrapped(const char *text)
{
    size_t column = HELP_COLUMN;
    for (bool first = true; *text; first = false) {
        size_t length = strcspn(text, " ");
        if (!first && column + 1 + length > HELP_WIDTH) {
            printf("\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (!first) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)length, text);
        column += length;
        text += length;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_option(const char *name, char letter, const char *shown, const char *help)
{
    char left[100], letters[8] = "    ";
    if (letter) snprintf(letters, sizeof letters, "-%c, ", letter);
    int width = snprintf(left, sizeof left, "  %s--%s%s%s", letters, name, shown ? " " : "", shown ? shown : "");
    printf("%s", left);
    if (width + 2 > HELP_COLUMN) printf("\n%*s", HELP_COLUMN, "");
    else printf("%*s", HELP_COLUMN - width, "");
    print_wrapped(help);
}

static void print_help(const cli_usage *usage)
{
    printf("Usage: fillmask %s [OPTION]...%s%s\n\n%s\nOptions:\n", usage->command, usage->operands ? " " : "",
           usage->operands ? usage->operands : "", usage->about);
    for (size_t i = 0; i < usage->option_count; i++) {
        const cli_option *option = &usage->options[i];
        if (option->help) print_option(option->name, option->letter, option->shown, option->help);
    }
    print_option("help", 'h', NULL, "show this help");
    printf("\nExamples:\n%s", usage->examples);
}

/* ---- values ---- */

static bool add_to_list(cli_list *list, const char *item, int argc)
{
    if (!list->items) list->items = calloc((size_t)argc + 1, sizeof *list->items); /* no argument is used twice */
    if (!list->items) return false;
    list->items[list->count++] = item;
    return true;
}

static bool read_integer(const char *text, const cli_option *option)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || !strchr("-0123456789", *text)) return false;
    if ((double)value < option->least || (double)value > option->most) return false;
    *(int64_t *)option->value = value;
    return true;
}

static bool read_number(const char *text, const cli_option *option)
{
    char *end;
    if (strspn(text, "0123456789.eE+-") != strlen(text)) return false; /* neither nan nor hexadecimal */
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= option->least && value <= option->most)) return false;
    *(double *)option->value = value;
    return true;
}

static bool read_choice(const char *text, const cli_option *option)
{
    for (int i = 0; option->choices[i]; i++)
        if (strcmp(text, option->choices[i]) == 0) {
            *(int *)option->value = i;
            return true;
        }
    return false;
}

static int refuse_value(const cli_usage *usage, const cli_option *option, const char *text)
{
    if (option->type == CLI_INTEGER)
        return cli_usage_error(usage->command, "--%s is \"%s\"; it must be a whole number from %.0f to %.0f.",
                               option->name, text, option->least, option->most);
    if (option->type == CLI_NUMBER)
        return cli_usage_error(usage->command, "--%s is \"%s\"; it must be a number from %g to %g.", option->name, text,
                               option->least, option->most);
    char allowed[300] = "";
    for (size_t i = 0, used = 0; option->choices[i] && used < sizeof allowed; i++) {
        const char *between = i == 0 ? "" : option->choices[i + 1] ? ", " : " or ";
        used += (size_t)snprintf(allowed + used, sizeof allowed - used, "%s%s", between, option->choices[i]);
    }
    return cli_usage_error(usage->command, "--%s is \"%s\"; it must be %s.", option->name, text, allowed);
}

/* ---- arguments ---- */

typedef struct arguments {
    const cli_usage *usage;
    int argc, at; /* at: the argument that is read next */
    char **argv;
    cli_list *list; /* of the option just read, which takes plain arguments too */
} arguments;

static int no_memory(const arguments *all)
{
    fm_error err;
    fm_fail_memory(&err, ((size_t)all->argc + 1) * sizeof(char *), "the arguments");
    return cli_print_error(all->usage->command, &err);
}

/* `text` is the value where it stands in the same argument, else NULL. */
static int set_value(arguments *all, const cli_option *option, const char *text)
{
    if (option->type == CLI_FLAG) {
        if (text)
            return cli_usage_error(all->usage->command, "--%s takes no value, but \"%s\" was given.", option->name,
                                   text);
        *(bool *)option->value = true;
        return CLI_OK;
    }
    if (!text && all->at == all->argc)
        return cli_usage_error(all->usage->command, "--%s needs a value: --%s %s.", option->name, option->name,
                               option->shown);
    if (!text) text = all->argv[all->at++];
    bool good = true;
    switch (option->type) {
    case CLI_INTEGER:
        good = read_integer(text, option);
        break;
    case CLI_NUMBER:
        good = read_number(text, option);
        break;
    case CLI_CHOICE:
        good = read_choice(text, option);
        break;
    case CLI_LIST:
        if (!add_to_list(option->value, text, all->argc)) return no_memory(all);
        if (!all->usage->operands) all->list = option->value;
        break;
    default:
        *(const char **)option->value = text;
        break;
    }
    return good ? CLI_OK : refuse_value(all->usage, option, text);
}

static int refuse_option(const cli_usage *usage, const char *argument, const char *name)
{
    const char *names[MOST_NAMES] = {"help"};
    size_t count = 1;
    for (size_t i = 0; i < usage->option_count && count < MOST_NAMES; i++) names[count++] = usage->options[i].name;
    const char *nearest = cli_nearest(name, names, count);
    if (nearest) return cli_usage_error(usage->command, "%s is no option; did you mean --%s?", argument, nearest);
    return cli_usage_error(usage->command, "%s is no option%s.", argument,
                           usage->operands ? "; put -- before a text that starts with a dash" : "");
}

static int read_long(arguments *all, const char *argument, bool *help)
{
    char name[LONGEST_NAME];
    const char *equals = strchr(argument, '=');
    size_t length = equals ? (size_t)(equals - argument - 2) : strlen(argument + 2);
    snprintf(name, sizeof name, "%.*s", length < sizeof name ? (int)length : (int)sizeof name - 1, argument + 2);
    if (strcmp(argument, "--help") == 0) {
        *help = true;
        return CLI_OK;
    }
    for (size_t i = 0; i < all->usage->option_count; i++)
        if (strcmp(name, all->usage->options[i].name) == 0)
            return set_value(all, &all->usage->options[i], equals ? equals + 1 : NULL);
    return refuse_option(all->usage, argument, name);
}

/* Letters: flags may share a dash, and a value may follow its letter at once. */
static int read_short(arguments *all, const char *argument, bool *help)
{
    for (const char *letter = argument + 1; *letter; letter++) {
        if (*letter == 'h') {
            *help = true;
            continue;
        }
        const cli_option *option = NULL;
        for (size_t i = 0; i < all->usage->option_count && !option; i++)
            if (all->usage->options[i].letter == *letter) option = &all->usage->options[i];
        if (!option) return refuse_option(all->usage, argument, argument + 1);
        bool flag = option->type == CLI_FLAG;
        int code = set_value(all, option, !flag && letter[1] ? letter + 1 : NULL);
        if (code || !flag) return code;
    }
    return CLI_OK;
}

static int read_all(arguments *all, cli_list *operands, bool *help)
{
    const cli_usage *usage = all->usage;
    bool ended = false;
    while (all->at < all->argc && !*help) {
        const char *argument = all->argv[all->at++];
        int code = CLI_OK;
        if (!ended && strcmp(argument, "--") == 0) {
            ended = true;
            all->list = NULL;
        } else if (!ended && argument[0] == '-' && argument[1]) {
            all->list = NULL;
            code = argument[1] == '-' ? read_long(all, argument, help) : read_short(all, argument, help);
        } else if (all->list) {
            if (!add_to_list(all->list, argument, all->argc)) code = no_memory(all);
        } else if (!usage->operands || operands->count == usage->most_operands)
            code = cli_usage_error(usage->command, "\"%s\" is one argument too many.", argument);
        else if (!add_to_list(operands, argument, all->argc)) code = no_memory(all);
        if (code) return code;
    }
    if (!*help && usage->operands && operands->count < usage->least_operands)
        return cli_usage_error(usage->command, "An argument is missing: fillmask %s %s.", usage->command,
                               usage->operands);
    return CLI_OK;
}

bool cli_parse(const cli_usage *usage, int argc, char **argv, cli_list *operands, int *exit_code)
{
    arguments all = {usage, argc, 1, argv, NULL};
    bool help = false;
    *exit_code = read_all(&all, operands, &help);
    if (*exit_code) return false;
    if (help) print_help(usage);
    return !help;
}
