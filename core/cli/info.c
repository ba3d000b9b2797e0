/* info.c - `fillmask info`: what a model folder holds, without running it. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/model.h"

typedef struct summary {
    const char *folder;
    fm_config config;
    uint64_t parameters, bytes;
    const char *dtype; /* of the word embeddings, and so of the matrices */
    uint32_t tokenizer_size;
    bool lowercase;
} summary;

static const char *dtype_name(fm_stored_type type)
{
    switch (type) {
    case FM_STORED_F16:
        return "f16";
    case FM_STORED_BF16:
        return "bf16";
    case FM_STORED_I8:
        return "int8";
    default:
        return "f32";
    }
}

static fm_status read_tensors(summary *found, const fm_parameters *parameters, const char *path, fm_error *err)
{
    fm_safetensors *file;
    fm_status status = fm_safetensors_open(&file, path, err);
    if (status) return status;
    const fm_stored_tensor *word = fm_safetensors_find(file, parameters->list[FM_P_WORD].name);
    struct stat info;
    if (!word)
        status = fm_fail(err, FM_E_FORMAT, "%s has no tensor %s; it is not a DistilBERT masked language model.", path,
                         parameters->list[FM_P_WORD].name);
    else if (stat(path, &info) != 0) status = fm_fail(err, FM_E_IO, "%s could not be examined.", path);
    else {
        found->dtype = dtype_name(word->type);
        found->bytes = (uint64_t)info.st_size;
    }
    fm_safetensors_close(file);
    return status;
}

static fm_status read_model(summary *found, fm_error *err)
{
    char *config = fm_path_join(found->folder, "config.json"),
         *tensors = fm_path_join(found->folder, "model.safetensors");
    fm_parameters parameters = {0};
    fm_tokenizer *tokenizer = NULL;
    fm_status status = config && tensors ? FM_OK : fm_fail_memory(err, strlen(found->folder), "the name of a file");
    if (!status) status = fm_config_read(&found->config, config, err);
    if (!status) status = fm_parameters_make(&parameters, &found->config, err);
    if (!status) status = read_tensors(found, &parameters, tensors, err);
    if (!status) status = fm_tokenizer_open(&tokenizer, found->folder, err);
    if (!status) {
        /* parameters.elements counts the gaps between tensors too. */
        for (size_t i = 0; i < parameters.count; i++)
            found->parameters += (uint64_t)parameters.list[i].rows * parameters.list[i].cols;
        found->tokenizer_size = fm_tokenizer_size(tokenizer);
        found->lowercase = fm_tokenizer_lowercase(tokenizer);
        fm_tokenizer_close(tokenizer);
    }
    fm_parameters_free(&parameters);
    free(config);
    free(tensors);
    return status;
}

static void add_json(fm_buffer *out, const summary *found)
{
    const fm_config *config = &found->config;
    fm_buffer_text(out, "{\"model\": ");
    fm_buffer_json(out, found->folder, strlen(found->folder));
    fm_buffer_format(out, ", \"parameters\": %llu, \"dtype\": \"%s\", \"bytes\": %llu,\n",
                     (unsigned long long)found->parameters, found->dtype, (unsigned long long)found->bytes);
    fm_buffer_format(out, " \"layers\": %u, \"hidden\": %u, \"heads\": %u, \"feed_forward\": %u, \"positions\": %u,\n",
                     config->layers, config->hidden, config->heads, config->feed_forward, config->positions);
    fm_buffer_format(out, " \"vocab_size\": %u, \"dropout\": %g, \"attention_dropout\": %g,\n", config->vocab_size,
                     (double)config->dropout, (double)config->attention_dropout);
    fm_buffer_format(out, " \"tokenizer_size\": %u, \"lowercase\": %s}\n", found->tokenizer_size,
                     found->lowercase ? "true" : "false");
}

static void add_table(fm_buffer *out, const summary *found)
{
    const fm_config *config = &found->config;
    fm_buffer_format(out, "model         %s\n", found->folder);
    fm_buffer_format(out, "parameters    %llu (%.2f million)\n", (unsigned long long)found->parameters,
                     (double)found->parameters / 1e6);
    fm_buffer_format(out, "weights       %s, %llu bytes (%.2f MB)\n", found->dtype, (unsigned long long)found->bytes,
                     (double)found->bytes / 1e6);
    fm_buffer_format(out, "layers        %u, of %u heads\n", config->layers, config->heads);
    fm_buffer_format(out, "hidden size   %u, feed-forward %u\n", config->hidden, config->feed_forward);
    fm_buffer_format(out, "positions     %u\n", config->positions);
    fm_buffer_format(out, "dropout       %g, attention %g\n", (double)config->dropout,
                     (double)config->attention_dropout);
    fm_buffer_format(out, "vocabulary    %u\n", config->vocab_size);
    fm_buffer_format(out, "tokenizer     %u tokens, %s\n", found->tokenizer_size,
                     found->lowercase ? "uncased" : "cased");
}

static int info(const char *folder, bool json)
{
    fm_error err;
    summary found = {.folder = cli_model(folder, &err)};
    if (!found.folder || read_model(&found, &err)) return cli_print_error("info", &err);
    fm_buffer out = {0};
    if (json) add_json(&out, &found);
    else add_table(&out, &found);
    return cli_print("info", &out);
}

int cli_info(int argc, char **argv)
{
    const char *model = NULL;
    int64_t threads = 0; /* taken so that every command takes it */
    bool json = false;
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &model, "FOLDER", "the model (default: the default model)", 0, 0, NULL},
        {"threads", 0, CLI_INTEGER, &threads, "N", "as in every command; one is enough here", 0, 1024, NULL},
        {"json", 0, CLI_FLAG, &json, NULL, "print JSON", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "info",
        .operands = "[FOLDER]",
        .most_operands = 1,
        .about = "Shows what a model folder holds: its shape, its number of parameters, how its\n"
                 "weights are stored, and its tokenizer. The weights are not read.\n",
        .examples = "  fillmask info\n"
                    "  fillmask info my-model --json\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    cli_list folders = {0};
    int code;
    if (cli_parse(&usage, argc, argv, &folders, &code)) {
        if (model && folders.count)
            code = cli_usage_error("info", "--model and an argument both name a model; give one.");
        else code = info(folders.count ? folders.items[0] : model, json);
    }
    cli_list_free(&folders);
    return code;
}
