/* quantize.c - `fillmask quantize`: a model folder written again with its weights in another type of number. How values
 * are rounded is core/model's business. */
#include "cli/cli.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tasks/tasks.h"

#define TENSORS "model.safetensors"

/* Copied where the model has them. The weights come last, so a folder without them is not yet a model. */
static const char *const copied[] = {
    "config.json",       "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "README.md", "LICENSE"};
#define COPIED (sizeof copied / sizeof *copied)

/* Beside this project's names, those of Hugging Face and of transformers.js. */
static const char *const type_names[] = {"int8", "f16", "bf16", "f32", "q8", "fp16", "fp32", NULL};
static const struct {
    fm_stored_type type;
    const char *name;
} types[] = {{FM_STORED_I8, "int8"}, {FM_STORED_F16, "f16"}, {FM_STORED_BF16, "bf16"}, {FM_STORED_F32, "f32"},
             {FM_STORED_I8, "int8"}, {FM_STORED_F16, "f16"}, {FM_STORED_F32, "f32"}};

typedef struct quantize_options {
    const char *model, *output;
    int64_t threads;
    int type;
    bool json, quiet;
} quantize_options;

typedef struct quantize_run {
    const quantize_options *o;
    const char *source; /* folder */
    fm_model *model;
    char *tensors;      /* file that is written */
    bool made, written; /* the folder, and the weights in it */
    bool put[COPIED];   /* files that were not there before */
    uint64_t parameters, tensor_count, bytes_before, bytes_after;
    double loss; /* root of the squared error over the squared weights */
    double seconds;
} quantize_run;

static bool is_copied(const char *name)
{
    for (size_t i = 0; i < COPIED; i++)
        if (strcmp(name, copied[i]) == 0) return true;
    return false;
}

/* A folder that is new or empty, or where an earlier run was cut off before the weights. */
static fm_status check_output(const quantize_run *run, fm_error *err)
{
    const char *output = run->o->output;
    if (cli_same_file(run->source, output))
        return fm_fail(err, FM_E_ARGUMENT, "%s is the model itself; name another folder with -o.", output);
    DIR *folder = opendir(output);
    if (!folder) return FM_OK; /* if it is there but cannot be read, the first file shows it */
    fm_status status = FM_OK;
    for (struct dirent *entry; !status && (entry = readdir(folder)) != NULL;) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || is_copied(name) || strstr(name, ".partial-")) continue;
        status = fm_fail(err, FM_E_ARGUMENT, "%s already holds %.200s; name a new folder with -o, or empty this one.",
                         output, name);
    }
    closedir(folder);
    return status;
}

static fm_status file_size(const char *path, uint64_t *size, fm_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0) return fm_fail(err, FM_E_IO, "%s could not be examined.", path);
    *size = (uint64_t)info.st_size;
    return FM_OK;
}

static fm_status copy_file(const char *from, const char *to, fm_error *err)
{
    fm_blob blob;
    fm_status status = fm_blob_open(&blob, from, err);
    if (status) return status;
    status = fm_file_replace(to, blob.data, blob.size, err);
    fm_blob_close(&blob);
    return status;
}

static fm_status copy_files(quantize_run *run, fm_error *err)
{
    fm_status status = FM_OK;
    for (size_t i = 0; i < COPIED && !status; i++) {
        char *from = fm_path_join(run->source, copied[i]), *to = fm_path_join(run->o->output, copied[i]);
        if (!from || !to) status = fm_fail_memory(err, strlen(run->source), "the name of a file");
        else if (fm_file_exists(from)) {
            run->put[i] = !fm_file_exists(to);
            status = copy_file(from, to, err);
        }
        free(from);
        free(to);
    }
    return status;
}

static fm_status convert(quantize_run *run, fm_error *err)
{
    cli_progress progress;
    fm_status status = fm_weights_floats(&run->model->weights, &run->model->parameters, err);
    if (status) return status;
    cli_progress_begin(&progress, "Converting", "weights", run->o->quiet);
    status =
        fm_weights_convert(run->tensors, &run->model->parameters, run->model->weights.values, types[run->o->type].type,
                           fm_cpu_pool(run->model->cpu), cli_progress_step, &progress, err);
    cli_progress_end(&progress);
    run->written = !status;
    return status;
}

/* Reads back what was written: that it loads, and how far it is from what it was made of. */
static fm_status compare(quantize_run *run, fm_error *err)
{
    const fm_parameters *parameters = &run->model->parameters;
    fm_safetensors *file;
    fm_weights weights;
    fm_status status = fm_safetensors_open(&file, run->tensors, err);
    if (status) return status;
    run->tensor_count = fm_safetensors_count(file);
    status = fm_weights_load(&weights, parameters, file, run->tensors, err);
    if (!status) status = fm_weights_floats(&weights, parameters, err);
    if (status) {
        fm_weights_free(&weights);
        return status;
    }
    double error = 0.0, all = 0.0;
    for (size_t i = 0; i < parameters->count; i++) {
        const float *before = run->model->weights.values[i], *after = weights.values[i];
        size_t count = (size_t)parameters->list[i].rows * parameters->list[i].cols;
        for (size_t j = 0; j < count; j++) {
            double value = before[j], difference = value - after[j];
            error += difference * difference;
            all += value * value;
        }
        run->parameters += count;
    }
    run->loss = all > 0.0 ? sqrt(error / all) : 0.0;
    fm_weights_free(&weights);
    return FM_OK;
}

/* Leaves nothing of an attempt that failed. */
static void remove_files(const quantize_run *run)
{
    for (size_t i = 0; i < COPIED; i++) {
        char *path = run->put[i] ? fm_path_join(run->o->output, copied[i]) : NULL;
        if (path) unlink(path);
        free(path);
    }
    if (run->written) unlink(run->tensors);
    if (run->made) rmdir(run->o->output);
}

static fm_status quantise(quantize_run *run, fm_error *err)
{
    double start = fm_seconds();
    const quantize_options *o = run->o;
    const fm_model_options options = {.threads = (int)o->threads};
    struct stat info;
    char *before = fm_path_join(run->source, TENSORS);
    run->tensors = fm_path_join(o->output, TENSORS);
    fm_status status = before && run->tensors ? FM_OK : fm_fail_memory(err, strlen(o->output), "the name of a file");
    if (!status) status = check_output(run, err);
    if (!status) status = fm_model_open(&run->model, run->source, &options, err);
    if (!status) status = file_size(before, &run->bytes_before, err);
    if (!status) {
        run->made = stat(o->output, &info) != 0;
        status = fm_make_folder(o->output, err);
        if (!status) status = copy_files(run, err);
        if (!status) status = convert(run, err);
        if (!status) status = compare(run, err);
        if (!status) status = file_size(run->tensors, &run->bytes_after, err);
        if (status) remove_files(run);
    }
    free(before);
    run->seconds = fm_seconds() - start;
    return status;
}

static void report(const quantize_run *run, fm_buffer *out)
{
    const char *type = types[run->o->type].name;
    if (!run->o->json) {
        fm_buffer_format(out, "%s: %llu tensors as %s, %.1f MB instead of %.1f MB (%.0f %%), relative error %.3g\n",
                         run->o->output, (unsigned long long)run->tensor_count, type, (double)run->bytes_after / 1e6,
                         (double)run->bytes_before / 1e6, 100.0 * (double)run->bytes_after / (double)run->bytes_before,
                         run->loss);
        return;
    }
    fm_buffer_text(out, "{\"model\": ");
    fm_buffer_json(out, run->source, strlen(run->source));
    fm_buffer_text(out, ", \"output\": ");
    fm_buffer_json(out, run->o->output, strlen(run->o->output));
    fm_buffer_format(out, ", \"dtype\": \"%s\", \"parameters\": %llu, \"tensors\": %llu", type,
                     (unsigned long long)run->parameters, (unsigned long long)run->tensor_count);
    fm_buffer_format(
        out, ", \"bytes_before\": %llu, \"bytes_after\": %llu, \"relative_error\": %.6g, \"seconds\": %.3f}\n",
        (unsigned long long)run->bytes_before, (unsigned long long)run->bytes_after, run->loss, run->seconds);
}

static int quantize(const quantize_options *o)
{
    fm_error err;
    fm_buffer out = {0};
    quantize_run run = {.o = o, .source = cli_model(o->model, &err)};
    fm_status status = run.source ? quantise(&run, &err) : err.status;
    if (!status) report(&run, &out);
    fm_model_close(run.model);
    free(run.tensors);
    if (!status) return cli_print("quantize", &out);
    return cli_print_error("quantize", &err);
}

int cli_quantize(int argc, char **argv)
{
    quantize_options o = {0};
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &o.model, "FOLDER", "the model (default: the default model)", 0, 0, NULL},
        {"dtype", 0, CLI_CHOICE, &o.type, "TYPE",
         "int8, f16, bf16 or f32; q8, fp16 and fp32 are other names of three of them (default int8)", 0, 0, type_names},
        {"output", 'o', CLI_STRING, &o.output, "FOLDER", "where the new model goes: a new or an empty folder", 0, 0,
         NULL},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"json", 0, CLI_FLAG, &o.json, NULL, "print one JSON object", 0, 0, NULL},
        {"quiet", 'q', CLI_FLAG, &o.quiet, NULL, "show no progress", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "quantize",
        .about = "Writes a model again with its weights in another type of number, and its config\n"
                 "and tokenizer beside them. int8 keeps one scale for each row of a matrix, the\n"
                 "one that loses least, and a quarter of the bytes; only Fillmask reads it, and\n"
                 "--dtype f32 turns it back. The relative error is that of all weights together.\n",
        .examples = "  fillmask quantize -m my-model -o my-model-int8\n"
                    "  fillmask quantize -m my-model --dtype f16 -o my-model-f16 --json\n"
                    "  fillmask quantize -m my-model-int8 --dtype f32 -o for-transformers\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int code;
    if (cli_parse(&usage, argc, argv, NULL, &code)) {
        if (!o.output) code = cli_usage_error("quantize", "-o is missing; name the folder to write.");
        else code = quantize(&o);
    }
    return code;
}
