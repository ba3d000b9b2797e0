/* serve.c - `fillmask serve --stdio`: requests as lines of JSON on standard input, answers as lines on standard output,
 * for programs that keep models open. What requests mean is core/service's business, but for opening and saving models
 * and checkpoints, which need files. */
#include "cli/cli.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/serve_lines.h"
#include "service/service.h"
#include "tasks/tasks.h"

#define EVENT_SECONDS 0.1 /* between two events of one request */

typedef struct server {
    fm_service *service;
    fm_model_options options;
    serve_line *line; /* the request under way */
    double told;
} server;

/* ---- answers ---- */

static bool print_line(fm_buffer *line)
{
    fm_buffer_text(line, "}\n");
    bool good = !line->failed && fwrite(line->data, 1, line->size, stdout) == line->size && fflush(stdout) == 0;
    fm_buffer_free(line);
    return good;
}

static void start_line(fm_buffer *line, uint64_t id)
{
    if (id == SERVE_NO_ID) fm_buffer_text(line, "{\"id\": null, ");
    else fm_buffer_format(line, "{\"id\": %llu, ", (unsigned long long)id);
}

static bool print_error(uint64_t id, const fm_error *err)
{
    fm_buffer line = {0};
    start_line(&line, id);
    fm_buffer_format(
        &line, "\"error\": {\"name\": \"FillmaskError\", \"code\": \"%s\", \"message\": ", fm_status_name(err->status));
    fm_buffer_json(&line, err->text, strlen(err->text));
    fm_buffer_text(&line, "}");
    return print_line(&line);
}

/* An fm_progress. */
static bool tell(void *context, uint64_t done, uint64_t total)
{
    server *s = context;
    fm_buffer line = {0};
    if (atomic_load(&s->line->aborted)) return false;
    double now = fm_seconds();
    if (now - s->told < EVENT_SECONDS) return true;
    s->told = now;
    start_line(&line, s->line->id);
    fm_buffer_format(&line, "\"event\": {\"status\": \"progress\", \"done\": %llu, \"total\": %llu}",
                     (unsigned long long)done, (unsigned long long)total);
    return print_line(&line);
}

/* ---- models ---- */

static const char *const dtypes[] = {"fp32", "f32", "fp16", "f16", "bf16", "q8", "int8", NULL};
static const fm_stored_type types[] = {FM_STORED_F32,  FM_STORED_F32, FM_STORED_F16, FM_STORED_F16,
                                       FM_STORED_BF16, FM_STORED_I8,  FM_STORED_I8};

static fm_status read_dtype(const cJSON *item, fm_stored_type *type, fm_error *err)
{
    const char *name = cJSON_IsString(item) ? item->valuestring : "";
    for (size_t i = 0; dtypes[i]; i++)
        if (strcmp(name, dtypes[i]) == 0) {
            *type = types[i];
            return FM_OK;
        }
    return fm_fail(err, FM_E_ARGUMENT, "dtype is \"%.80s\"; it must be one of fp32, fp16, bf16 and q8.", name);
}

/* Refuses members that are not among `names` (NULL-terminated). */
static fm_status check_members(const cJSON *request, const char *const *names, fm_error *err)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, request)
    {
        size_t i = 0;
        while (names[i] && strcmp(names[i], item->string) != 0) i++;
        if (!names[i])
            return fm_fail(err, FM_E_ARGUMENT, "The operation %s has no option \"%.80s\"; leave it out.",
                           cJSON_GetObjectItemCaseSensitive(request, "op")->valuestring, item->string);
    }
    return FM_OK;
}

/* A model of random weights: its folder needs to have none. */
static fm_status open_untrained(const server *s, const char *folder, fm_model **model, fm_error *err)
{
    static const char *const names[] = {"config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json"};
    fm_blob blobs[4] = {{0}};
    fm_status status = FM_OK;
    for (int i = 0; i < 4 && !status; i++) {
        char *path = fm_path_join(folder, names[i]);
        if (!path) status = fm_fail_memory(err, strlen(folder), "the name of a file");
        else if (i == 0 || fm_file_exists(path)) status = fm_blob_open(&blobs[i], path, err);
        free(path);
    }
    fm_model_files files = {.config = (const char *)blobs[0].data,
                            .config_size = blobs[0].size,
                            .tokenizer = {(const char *)blobs[1].data, (const char *)blobs[2].data,
                                          (const char *)blobs[3].data, blobs[1].size, blobs[2].size, blobs[3].size}};
    *model = NULL;
    if (!status) status = fm_model_begin(model, &files, &s->options, FM_AS_STORED, err);
    if (!status) status = fm_service_push_random(*model, err);
    if (!status) status = fm_model_end(*model, err);
    if (status) fm_model_close(*model);
    for (int i = 0; i < 4; i++) fm_blob_close(&blobs[i]);
    return status;
}

/* {"model": FOLDER, "untrained": BOOL, "tokenizer_only": BOOL}: the number that requests name it by. */
static fm_status open_model(server *s, const cJSON *request, fm_buffer *answer, fm_error *err)
{
    static const char *const members[] = {"id", "op", "model", "untrained", "tokenizer_only", NULL};
    const cJSON *given = cJSON_GetObjectItemCaseSensitive(request, "model");
    const char *folder = cli_model(cJSON_IsString(given) ? given->valuestring : NULL, err);
    uint32_t number = 0;
    fm_model *model = NULL;
    fm_tokenizer *tokenizer;
    fm_status status = folder ? check_members(request, members, err) : err->status;
    if (status) return status;
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, "tokenizer_only"))) {
        status = fm_tokenizer_open(&tokenizer, folder, err);
        if (!status) status = fm_service_add_tokenizer(s->service, tokenizer, &number, err);
    } else {
        bool untrained = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, "untrained"));
        status = untrained ? open_untrained(s, folder, &model, err) : fm_model_open(&model, folder, &s->options, err);
        if (!status) status = fm_service_add_model(s->service, model, &number, err);
    }
    if (!status) fm_buffer_format(answer, "%u", number);
    return status;
}

/* {"model": NUMBER, "path": FILE, "dtype": TYPE}: writes its model.safetensors. */
static fm_status save_model(server *s, const cJSON *request, fm_buffer *answer, fm_error *err)
{
    static const char *const members[] = {"id", "op", "model", "path", "dtype", NULL};
    const cJSON *path = cJSON_GetObjectItemCaseSensitive(request, "path"),
                *dtype = cJSON_GetObjectItemCaseSensitive(request, "dtype");
    fm_stored_type type = FM_STORED_F32;
    uint64_t number = 0;
    fm_status status = check_members(request, members, err);
    if (!status && dtype) status = read_dtype(dtype, &type, err);
    if (!status && !cJSON_IsString(path))
        status = fm_fail(err, FM_E_ARGUMENT, "path must be the name of the file to write, as a text.");
    if (status) return status;
    if (!fm_json_u64(cJSON_GetObjectItemCaseSensitive(request, "model"), &number) || number > UINT32_MAX) number = 0;
    fm_model *m = fm_service_model(s->service, (uint32_t)number, err);
    if (!m) return err->status;
    fm_buffer_text(answer, "null");
    status = fm_weights_floats(&m->weights, &m->parameters, err);
    if (!status)
        status = fm_weights_convert(path->valuestring, &m->parameters, m->weights.values, type, fm_cpu_pool(m->cpu),
                                    tell, s, err);
    fm_model_drop_floats(m);
    return status;
}

/* {"training": NUMBER, "path": FILE}: writes its checkpoint, or lets it go on from one. */
static fm_status with_checkpoint(server *s, const cJSON *request, fm_buffer *answer,
                                 fm_status (*work)(fm_trainer *, const char *, fm_error *), bool changes, fm_error *err)
{
    static const char *const members[] = {"id", "op", "training", "path", NULL};
    const cJSON *path = cJSON_GetObjectItemCaseSensitive(request, "path");
    uint64_t number = 0;
    fm_status status = check_members(request, members, err);
    if (!status && !cJSON_IsString(path))
        status = fm_fail(err, FM_E_ARGUMENT, "path must be the name of a checkpoint's file, as a text.");
    if (status) return status;
    if (!fm_json_u64(cJSON_GetObjectItemCaseSensitive(request, "training"), &number) || number > UINT32_MAX) number = 0;
    fm_trainer *t = fm_service_trainer(s->service, (uint32_t)number, changes, err);
    fm_buffer_text(answer, "null");
    return t ? work(t, path->valuestring, err) : err->status;
}

static fm_status save_checkpoint(server *s, const cJSON *request, fm_buffer *answer, fm_error *err)
{
    return with_checkpoint(s, request, answer, fm_checkpoint_save, false, err);
}

static fm_status resume(server *s, const cJSON *request, fm_buffer *answer, fm_error *err)
{
    return with_checkpoint(s, request, answer, fm_checkpoint_load, true, err);
}

/* ---- requests ---- */

static fm_status call(server *s, const serve_line *line, fm_buffer *answer, fm_error *err)
{
    fm_status (*own)(server * s, const cJSON *request, fm_buffer *answer, fm_error *err) =
        strcmp(line->op, "open") == 0         ? open_model
        : strcmp(line->op, "save") == 0       ? save_model
        : strcmp(line->op, "checkpoint") == 0 ? save_checkpoint
        : strcmp(line->op, "resume") == 0     ? resume
                                              : NULL;
    if (!own) return fm_service_call(s->service, line->text, line->size, tell, s, answer, err);
    cJSON *request;
    fm_status status = fm_json_parse(&request, line->text, line->size, "The request", err);
    if (status) return status;
    status = own(s, request, answer, err);
    cJSON_Delete(request);
    if (!status && answer->failed) status = fm_fail_memory(err, answer->size, "an answer");
    return status;
}

/* False if nobody hears the answer. */
static bool answer_line(server *s, serve_line *line)
{
    fm_buffer out = {0};
    fm_error err;
    s->line = line;
    s->told = fm_seconds();
    if (line->wrong.status) return print_error(line->id, &line->wrong);
    start_line(&out, line->id);
    fm_buffer_text(&out, "\"result\": ");
    fm_status status =
        atomic_load(&line->aborted) ? fm_fail(&err, FM_E_ABORTED, "Stopped.") : call(s, line, &out, &err);
    if (!status) return print_line(&out);
    fm_buffer_free(&out);
    return print_error(line->id, &err);
}

static int serve(server *s, bool utf16)
{
    fm_error err;
    serve_lines *lines = NULL;
    fm_status status = fm_service_create(&s->service, utf16, &err);
    if (!status) status = serve_lines_open(&lines, STDIN_FILENO, &err);
    bool heard = true;
    for (serve_line *line; !status && heard && (line = serve_lines_next(lines)) != NULL;) heard = answer_line(s, line);
    if (!status && heard) status = serve_lines_end(lines, &err);
    if (lines) serve_lines_leave(lines);
    fm_service_destroy(s->service);
    if (status) return cli_print_error("serve", &err);
    return heard ? CLI_OK : CLI_FAILED; /* main says why */
}

int cli_serve(int argc, char **argv)
{
    server s = {0};
    bool stdio = false, utf16 = false, json = false;
    int64_t threads = 0;
    const char *set = NULL;
    const cli_option options[] = {
        {"stdio", 0, CLI_FLAG, &stdio, NULL, "answer on standard output what standard input asks", 0, 0, NULL},
        {"utf16", 0, CLI_FLAG, &utf16, NULL, "count offsets in UTF-16 code units, as JavaScript does (default: bytes)",
         0, 0, NULL},
        {"threads", 0, CLI_INTEGER, &threads, "N", "threads of a model (default 0: one per processor)", 0, 1024, NULL},
        {"isa", 0, CLI_STRING, &set, "SET", CLI_SETS_HELP, 0, 0, NULL},
        {"json", 0, CLI_FLAG, &json, NULL, "as in every command; there is nothing else here", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "serve",
        .about = "Answers requests, a line of JSON each, until standard input ends. A request is\n"
                 "{\"id\": N, \"op\": OPERATION, ...}, its answer {\"id\": N, \"result\": ...} or\n"
                 "{\"id\": N, \"error\": {\"code\", \"message\"}}. Before it, long work tells of itself\n"
                 "in lines of {\"id\": N, \"event\": {\"status\", \"done\", \"total\"}}, and a line of\n"
                 "{\"abort\": N} stops it. An error never ends the process.\n\n"
                 "\"open\" opens a \"model\" folder and answers with a number, which the others take\n"
                 "as \"model\"; \"save\" writes its weights to the file \"path\", and \"checkpoint\" the\n"
                 "state of a \"training\", which \"resume\" reads back. Then there are info, encode,\n"
                 "decode, token_ids, vocabulary, fill, score, embed, augment, convert, check,\n"
                 "rows, rows_push, row_write, corpus, corpus_add, train, train_advance,\n"
                 "train_report, train_apply, evaluate, evaluate_advance and close:\n"
                 "core/service/service.h in the source says what each takes and answers. Options\n"
                 "have the names of the commands' options.\n",
        .examples = "  printf '%s\\n' '{\"id\": 1, \"op\": \"open\"}' \\\n"
                    "    '{\"id\": 2, \"op\": \"fill\", \"model\": 1, \"texts\": [\"This is [MASK].\"]}' |\n"
                    "    fillmask serve --stdio\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int code;
    if (!cli_parse(&usage, argc, argv, NULL, &code)) return code;
    if (!stdio)
        return cli_usage_error("serve", "--stdio is missing; standard input and output are all that it serves.");
    s.options = (fm_model_options){.threads = (int)threads, .instruction_set = set};
    return serve(&s, utf16);
}
