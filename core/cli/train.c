/* train.c - `fillmask train`: options, data, progress and files around core/train's trainer. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct train_options {
    cli_list data, eval_data;
    const char *model, *tokenizer, *output, *field, *set, *lengths;
    int64_t hidden, layers, heads, feed_forward, positions;
    int64_t length, batch, steps, seed, micro, limit, save_every, eval_every, eval_limit, threads;
    double epochs, rate, warmup, decay, clip, mask_rate, dropout;
    int format, part, eval_part, init;
    bool whole_words, resume, json, quiet;
} train_options;

/* Everything a training holds, to be released in one place. */
typedef struct train_run {
    const train_options *o;
    fm_tokenizer *tokenizer;
    fm_config config;
    fm_parameters parameters;
    fm_weights weights; /* of the model to start from */
    float *values;      /* a fresh start, and a copy for saving */
    const float **pointers;
    fm_backend *backend;
    fm_corpus corpus, eval_corpus;
    fm_train_options options;
    fm_trainer *trainer;
    char *checkpoint, *log;
    double started;
    double shown_loss; /* running mean */
    uint64_t loaded_tokens;
    fm_evaluation last; /* masked 0 if none was made */
    uint64_t last_step;
} train_run;

static fm_status in_folder(char **path, const char *folder, const char *name, fm_error *err)
{
    *path = fm_path_join(folder, name);
    return *path ? FM_OK : fm_fail_memory(err, strlen(folder), "the name of a file");
}

/* ---- what is trained ---- */

static fm_status open_model(train_run *run, fm_error *err)
{
    const train_options *o = run->o;
    char *config = NULL, *tensors = NULL;
    fm_safetensors *file;
    fm_status status = in_folder(&config, o->model, "config.json", err);
    if (!status) status = in_folder(&tensors, o->model, "model.safetensors", err);
    if (!status) status = fm_config_read(&run->config, config, err);
    if (!status) status = fm_tokenizer_open(&run->tokenizer, o->model, err);
    if (!status) status = fm_parameters_make(&run->parameters, &run->config, err);
    if (!status) status = fm_safetensors_open(&file, tensors, err);
    if (!status) status = fm_weights_load(&run->weights, &run->parameters, file, tensors, err);
    free(config);
    free(tensors);
    return status;
}

static fm_status new_model(train_run *run, fm_error *err)
{
    const train_options *o = run->o;
    fm_status status = fm_tokenizer_open(&run->tokenizer, o->tokenizer, err);
    if (status) return status;
    if (o->hidden % o->heads != 0)
        return fm_fail(err, FM_E_ARGUMENT, "--hidden %lld is not a multiple of --heads %lld; choose others.",
                       (long long)o->hidden, (long long)o->heads);
    run->config = (fm_config){.vocab_size = fm_tokenizer_size(run->tokenizer),
                              .hidden = (uint32_t)o->hidden,
                              .layers = (uint32_t)o->layers,
                              .heads = (uint32_t)o->heads,
                              .feed_forward = (uint32_t)(o->feed_forward ? o->feed_forward : 4 * o->hidden),
                              .positions = (uint32_t)o->positions,
                              .dropout = 0.1f,
                              .attention_dropout = 0.1f,
                              .initializer_range = 0.02f};
    return fm_parameters_make(&run->parameters, &run->config, err);
}

static fm_status start_values(train_run *run, fm_error *err)
{
    size_t elements = (size_t)run->parameters.elements;
    run->values = fm_alloc(elements, sizeof(float));
    run->pointers = calloc(run->parameters.count, sizeof *run->pointers);
    if (!run->values || !run->pointers) return fm_fail_memory(err, elements * sizeof(float), "the weights");
    for (size_t i = 0; i < run->parameters.count; i++) {
        const fm_parameter *p = &run->parameters.list[i];
        run->pointers[i] = run->values + p->offset;
        if (run->o->model)
            memcpy(run->values + p->offset, run->weights.values[i], (size_t)p->rows * p->cols * sizeof(float));
    }
    if (run->o->model) return FM_OK;
    return fm_initialise(run->values, &run->config, &run->parameters, (uint32_t)run->o->seed, run->o->init == 1,
                         &run->corpus, err);
}

static fm_status read_data(train_run *run, const cli_list *data, int part, const char *cache_name, fm_corpus *corpus,
                           fm_error *err)
{
    char *cache = NULL;
    fm_status status = in_folder(&cache, run->o->output, cache_name, err);
    if (status) return status;
    const cli_corpus_options options = {.data = data,
                                        .field = run->o->field,
                                        .format = (fm_text_format)run->o->format,
                                        .part = (fm_part)part,
                                        .tokenizer = run->tokenizer,
                                        .pool = fm_cpu_pool(run->backend),
                                        .cache = cache,
                                        .quiet = run->o->quiet};
    status = cli_corpus(&options, corpus, err);
    free(cache);
    return status;
}

/* ---- the plan ---- */

/* "64:0.7,128:1": chunks of 64 for the first 70% of the steps. The tokens a step stay those of --batch times
 * --length. */
static fm_status plan_phases(train_run *run, uint64_t steps, fm_error *err)
{
    const train_options *o = run->o;
    fm_train_options *t = &run->options;
    if (!o->lengths) {
        t->phases[0] = (fm_phase){(uint32_t)o->length, (uint32_t)o->batch, steps};
        t->phase_count = 1;
        return FM_OK;
    }
    double before = 0.0, end = 0.0;
    for (const char *at = o->lengths; t->phase_count < FM_MOST_PHASES;) {
        char *next;
        unsigned long length = strtoul(at, &next, 10);
        end = *next == ':' ? strtod(next + 1, &next) : 1.0;
        if (next == at || (*next != '\0' && *next != ',') || length < 2 || length > run->config.positions ||
            !(end > before && end <= 1.0))
            break;
        uint64_t batch = (uint64_t)o->batch * (uint64_t)o->length / length;
        t->phases[t->phase_count++] =
            (fm_phase){(uint32_t)length, batch ? (uint32_t)batch : 1, (uint64_t)(end * (double)steps + 0.5)};
        before = end;
        at = next + 1;
        if (*next == '\0') break;
    }
    if (end == 1.0) return FM_OK;
    return fm_fail(err, FM_E_ARGUMENT,
                   "--lengths \"%.60s\" is not LENGTH:END,... with lengths up to the model's %u positions and rising "
                   "ends, the last one 1; for example 64:0.8,128:1.",
                   o->lengths, run->config.positions);
}

static fm_status plan_steps(train_run *run, uint64_t *steps, fm_error *err)
{
    const train_options *o = run->o;
    if (o->steps > 0) {
        *steps = (uint64_t)o->steps;
        return FM_OK;
    }
    fm_chunks chunks;
    fm_status status = fm_chunks_make(&chunks, &run->corpus, (uint32_t)o->length, err);
    if (status) return status;
    uint64_t count = o->limit > 0 && o->limit < chunks.count ? (uint64_t)o->limit : chunks.count;
    uint64_t each = (count + (uint64_t)o->batch - 1) / (uint64_t)o->batch;
    fm_chunks_free(&chunks);
    *steps = (uint64_t)ceil((double)each * o->epochs);
    return FM_OK;
}

static fm_status plan(train_run *run, fm_error *err)
{
    const train_options *o = run->o;
    uint64_t steps;
    if (o->dropout >= 0.0) run->config.dropout = run->config.attention_dropout = (float)o->dropout;
    run->options = (fm_train_options){.learning_rate = o->rate,
                                      .beta1 = 0.9,
                                      .beta2 = 0.999,
                                      .epsilon = 1e-8,
                                      .weight_decay = o->decay,
                                      .clip = o->clip,
                                      .dropout = run->config.dropout > 0.0f || run->config.attention_dropout > 0.0f,
                                      .mask_rate = (float)o->mask_rate,
                                      .whole_words = o->whole_words,
                                      .seed = (uint32_t)o->seed,
                                      .micro_tokens = (uint32_t)o->micro,
                                      .limit = (uint32_t)o->limit};
    fm_status status = plan_steps(run, &steps, err);
    if (status) return status;
    run->options.warmup = (uint64_t)(o->warmup < 1.0 ? o->warmup * (double)steps : o->warmup);
    return plan_phases(run, steps, err);
}

/* ---- files of a training ---- */

/* The model as it is, and the checkpoint to go on from. */
static fm_status save(train_run *run, fm_error *err)
{
    char *tensors = NULL;
    fm_status status = in_folder(&tensors, run->o->output, "model.safetensors", err);
    if (!status) status = fm_trainer_values(run->trainer, run->values, err);
    if (!status) status = fm_weights_save(tensors, &run->parameters, run->pointers, FM_STORED_F32, err);
    if (!status) status = fm_checkpoint_save(run->trainer, run->checkpoint, err);
    free(tensors);
    return status;
}

static fm_status save_description(train_run *run, fm_error *err)
{
    char *config = NULL;
    fm_status status = in_folder(&config, run->o->output, "config.json", err);
    if (!status) status = fm_config_write(&run->config, config, err);
    if (!status) status = fm_tokenizer_save(run->tokenizer, run->o->output, run->config.positions, err);
    free(config);
    return status;
}

/* One JSON object a line; a line is never half written. */
static fm_status add_log(train_run *run, const fm_buffer *line, fm_error *err)
{
    FILE *file = line->failed ? NULL : fopen(run->log, "a");
    bool written = file && fwrite(line->data, 1, line->size, file) == line->size;
    if (file && fclose(file) != 0) written = false;
    return written ? FM_OK : fm_fail(err, FM_E_IO, "%s could not be written.", run->log);
}

static fm_status log_step(train_run *run, const fm_train_report *r, fm_error *err)
{
    fm_buffer line = {0};
    fm_buffer_format(&line,
                     "{\"step\": %llu, \"epoch\": %.4f, \"loss\": %.5f, \"learning_rate\": %.4g, \"norm\": %.4f, "
                     "\"tokens\": %llu, \"seconds\": %.2f}\n",
                     (unsigned long long)r->step, r->epoch, run->shown_loss, r->learning_rate, r->norm,
                     (unsigned long long)r->tokens, fm_seconds() - run->started);
    fm_status status = add_log(run, &line, err);
    fm_buffer_free(&line);
    return status;
}

/* ---- evaluation along the way ---- */

static fm_status evaluate(train_run *run, uint64_t step, fm_error *err)
{
    const train_options *o = run->o;
    const fm_room room = fm_trainer_room(run->trainer);
    const fm_masking masking = {0.15f, false, 42, run->config.vocab_size, fm_tokenizer_special(run->tokenizer)};
    fm_evaluator *evaluator;
    uint32_t length = (uint32_t)o->length;
    fm_status status =
        fm_evaluator_create(&evaluator, fm_trainer_network(run->trainer), run->backend, &room, &run->eval_corpus,
                            run->tokenizer, &masking, length, (uint32_t)o->eval_limit, err);
    if (!status) status = cli_evaluate(evaluator, o->quiet, err);
    if (!status) {
        run->last = *fm_evaluator_result(evaluator);
        run->last_step = step;
        fm_buffer line = {0};
        fm_buffer_format(&line, "{\"step\": %llu, \"eval\": {", (unsigned long long)step);
        cli_evaluation_json(&line, &run->last);
        fm_buffer_text(&line, "}}\n");
        status = add_log(run, &line, err);
        double masked = (double)run->last.masked, loss = run->last.loss / masked;
        if (!o->quiet)
            fprintf(stderr, "step %llu: evaluation loss %.4f, perplexity %.2f, top-1 %.2f %%\n",
                    (unsigned long long)step, loss, exp(loss), 100.0 * (double)run->last.top1 / masked);
        fm_buffer_free(&line);
    }
    fm_evaluator_destroy(evaluator);
    return status;
}

/* ---- the loop ---- */

static fm_status after_step(train_run *run, cli_progress *progress, bool *drawn, fm_error *err)
{
    const train_options *o = run->o;
    const fm_train_report *r = fm_trainer_report(run->trainer);
    uint64_t step = r->step, total = fm_trainer_steps(run->trainer);
    if (!isfinite(r->norm))
        snprintf(progress->note, sizeof progress->note, "step %llu skipped: its gradient is not finite",
                 (unsigned long long)step);
    else {
        double weight = run->shown_loss == 0.0 ? 1.0 : 0.02;
        run->shown_loss += (r->loss - run->shown_loss) * weight;
        snprintf(progress->note, sizeof progress->note, "loss %.3f, %.0f tokens/s", run->shown_loss,
                 (double)(r->tokens - run->loaded_tokens) / (fm_seconds() - run->started));
    }
    fm_status status = FM_OK;
    if (step % 20 == 0 || step == total) status = log_step(run, r, err);
    if (!status && run->eval_corpus.tokens > 0 &&
        ((o->eval_every && step % (uint64_t)o->eval_every == 0) || step == total)) {
        cli_progress_end(progress);
        *drawn = false;
        status = evaluate(run, step, err);
    }
    if (!status && o->save_every && step % (uint64_t)o->save_every == 0 && step < total) status = save(run, err);
    return status;
}

static fm_status train_steps(train_run *run, fm_error *err)
{
    uint64_t total = fm_trainer_steps(run->trainer);
    cli_progress progress = {0};
    bool drawn = false;
    fm_status status = FM_OK;
    run->started = fm_seconds();
    run->loaded_tokens = fm_trainer_report(run->trainer)->tokens;
    while (!status && fm_trainer_report(run->trainer)->step < total) {
        if (!drawn) cli_progress_begin(&progress, "Training", "steps", run->o->quiet);
        drawn = true;
        bool stepped;
        status = fm_trainer_advance(run->trainer, &stepped, err);
        if (!status && stepped) status = after_step(run, &progress, &drawn, err);
        if (!status && drawn && !cli_progress_step(&progress, fm_trainer_report(run->trainer)->step, total)) {
            cli_progress_end(&progress);
            status = save(run, err);
            if (!status)
                status = fm_fail(err, FM_E_ABORTED,
                                 "Stopped after step %llu of %llu and saved; the same command with --resume goes on.",
                                 (unsigned long long)fm_trainer_report(run->trainer)->step, (unsigned long long)total);
            return status;
        }
    }
    if (drawn) cli_progress_end(&progress);
    return status ? status : save(run, err);
}

static fm_status prepare(train_run *run, fm_error *err)
{
    const train_options *o = run->o;
    fm_status status = fm_make_folder(o->output, err);
    if (!status) status = in_folder(&run->checkpoint, o->output, "checkpoint.safetensors", err);
    if (!status) status = in_folder(&run->log, o->output, "log.jsonl", err);
    if (!status && !o->resume && fm_file_exists(run->checkpoint))
        status =
            fm_fail(err, FM_E_ARGUMENT,
                    "%s already holds a training; go on with --resume, or name another folder with -o.", o->output);
    if (!status) status = fm_cpu_create(&run->backend, o->set, (int)o->threads, err);
    if (!status) status = o->model ? open_model(run, err) : new_model(run, err);
    if (!status) status = read_data(run, &o->data, o->part, "train.tokens", &run->corpus, err);
    if (!status && o->eval_data.count > 0)
        status = read_data(run, &o->eval_data, o->eval_part, "eval.tokens", &run->eval_corpus, err);
    if (!status) status = start_values(run, err);
    if (!status) status = plan(run, err);
    if (!status)
        status = fm_trainer_create(&run->trainer, &run->config, &run->parameters, run->tokenizer, run->backend,
                                   &run->corpus, &run->options, run->pointers, err);
    if (!status && o->resume && fm_file_exists(run->checkpoint))
        status = fm_checkpoint_load(run->trainer, run->checkpoint, err);
    if (!status) status = save_description(run, err);
    return status;
}

static void release(train_run *run)
{
    fm_trainer_destroy(run->trainer);
    fm_corpus_free(&run->corpus);
    fm_corpus_free(&run->eval_corpus);
    if (run->backend) run->backend->ops->destroy(run->backend);
    fm_weights_free(&run->weights);
    fm_parameters_free(&run->parameters);
    fm_tokenizer_close(run->tokenizer);
    fm_free(run->values);
    free(run->pointers);
    free(run->checkpoint);
    free(run->log);
}

static void report(const train_run *run, fm_buffer *out)
{
    const fm_train_report *r = fm_trainer_report(run->trainer);
    double seconds = fm_seconds() - run->started, tokens = (double)(r->tokens - run->loaded_tokens);
    if (run->o->json) {
        fm_buffer_format(out, "{\"steps\": %llu, \"tokens\": %llu, \"loss\": %.5f, \"seconds\": %.1f",
                         (unsigned long long)r->step, (unsigned long long)r->tokens, run->shown_loss, seconds);
        fm_buffer_format(out, ", \"tokens_per_second\": %.0f", seconds > 0.0 ? tokens / seconds : 0.0);
        if (run->last.masked) {
            fm_buffer_text(out, ", \"eval\": {");
            cli_evaluation_json(out, &run->last);
            fm_buffer_text(out, "}");
        }
        fm_buffer_text(out, "}\n");
        return;
    }
    fm_buffer_format(out, "%s: %llu steps, %.1f million tokens, %.0f s, %.0f tokens/s, last losses near %.4f\n",
                     run->o->output, (unsigned long long)r->step, (double)r->tokens / 1e6, seconds,
                     seconds > 0.0 ? tokens / seconds : 0.0, run->shown_loss);
    if (run->last.masked) {
        double masked = (double)run->last.masked, loss = run->last.loss / masked;
        fm_buffer_format(out, "evaluation: loss %.4f, perplexity %.2f, top-1 %.2f %%\n", loss, exp(loss),
                         100.0 * (double)run->last.top1 / masked);
    }
}

static int train(const train_options *o)
{
    fm_error err;
    fm_buffer out = {0};
    train_run run = {.o = o};
    fm_status status = prepare(&run, &err);
    if (!status) status = train_steps(&run, &err);
    if (!status) report(&run, &out);
    release(&run);
    if (!status) return cli_print("train", &out);
    return cli_print_error("train", &err);
}

int cli_train(int argc, char **argv)
{
    static const char *const starts[] = {"normal", "neighbours", NULL};
    train_options o = {.hidden = 256,
                       .layers = 4,
                       .heads = 4,
                       .positions = 512,
                       .length = 128,
                       .batch = 64,
                       .seed = 42,
                       .micro = 2048,
                       .eval_limit = 500,
                       .epochs = 1.0,
                       .rate = 5e-5,
                       .decay = 0.01,
                       .clip = 1.0,
                       .mask_rate = 0.15,
                       .dropout = -1.0,
                       .part = FM_PART_ALL,
                       .eval_part = FM_PART_ALL,
                       .save_every = 500};
    const cli_option options[] = {
        {"data", 0, CLI_LIST, &o.data, "FILE...", "texts to train on: .jsonl, .csv or .txt; - is standard input", 0, 0,
         NULL},
        {"output", 'o', CLI_STRING, &o.output, "FOLDER", "where model, checkpoint, log and cached tokens go", 0, 0,
         NULL},
        {"model", 'm', CLI_STRING, &o.model, "FOLDER", "the model to go on from", 0, 0, NULL},
        {"tokenizer", 0, CLI_STRING, &o.tokenizer, "FOLDER", "start a new model with this tokenizer", 0, 0, NULL},
        {"layers", 0, CLI_INTEGER, &o.layers, "N", "of a new model (default 4)", 1, 128, NULL},
        {"hidden", 0, CLI_INTEGER, &o.hidden, "N", "of a new model: width (default 256)", 2, 8192, NULL},
        {"heads", 0, CLI_INTEGER, &o.heads, "N", "of a new model (default 4)", 1, 128, NULL},
        {"feed-forward", 0, CLI_INTEGER, &o.feed_forward, "N", "of a new model (default 4 times --hidden)", 0, 65536,
         NULL},
        {"positions", 0, CLI_INTEGER, &o.positions, "N", "of a new model (default 512)", 2, 32768, NULL},
        {"init", 0, CLI_CHOICE, &o.init, "START",
         "of a new model: normal, or neighbours: first-layer heads that see the next words (default normal)", 0, 0,
         starts},
        {"field", 0, CLI_STRING, &o.field, "NAME", "the field or column that holds the text (default text)", 0, 0,
         NULL},
        {"format", 0, CLI_CHOICE, &o.format, "FORMAT", "auto, jsonl, csv or txt (default auto)", 0, 0, cli_formats},
        {"part", 0, CLI_CHOICE, &o.part, "PART", "all, train or held-out documents (default all)", 0, 0, cli_parts},
        {"length", 0, CLI_INTEGER, &o.length, "N", "tokens a chunk (default 128)", 2, 32768, NULL},
        {"lengths", 0, CLI_STRING, &o.lengths, "LIST", "lengths that change, such as 64:0.8,128:1", 0, 0, NULL},
        {"batch", 0, CLI_INTEGER, &o.batch, "N", "chunks of --length a step (default 64)", 1, 65536, NULL},
        {"epochs", 0, CLI_NUMBER, &o.epochs, "N", "times through the data (default 1)", 0.001, 10000, NULL},
        {"steps", 0, CLI_INTEGER, &o.steps, "N", "steps, instead of epochs", 0, 4e9, NULL},
        {"learning-rate", 0, CLI_NUMBER, &o.rate, "R", "its peak; linear to zero (default 5e-5)", 1e-9, 0.9, NULL},
        {"warmup", 0, CLI_NUMBER, &o.warmup, "N", "steps of linear warm-up, or a share of all if below 1 (default 0)",
         0, 4e9, NULL},
        {"weight-decay", 0, CLI_NUMBER, &o.decay, "R", "not of biases and layer norms (default 0.01)", 0, 1, NULL},
        {"clip", 0, CLI_NUMBER, &o.clip, "R", "largest norm of the gradients, 0 for none (default 1)", 0, 1e9, NULL},
        {"dropout", 0, CLI_NUMBER, &o.dropout, "R", "default: what the model's config says", 0, 0.9, NULL},
        {"mask-rate", 0, CLI_NUMBER, &o.mask_rate, "R", "share of tokens to predict (default 0.15)", 0.01, 0.9, NULL},
        {"whole-words", 0, CLI_FLAG, &o.whole_words, NULL, "mask words instead of tokens", 0, 0, NULL},
        {"seed", 0, CLI_INTEGER, &o.seed, "N", "of first weights, order, masks and dropout (default 42)", 0,
         4294967295.0, NULL},
        {"limit", 0, CLI_INTEGER, &o.limit, "N", "chunks drawn from the data at most (default 0: all)", 0, 4e9, NULL},
        {"micro-tokens", 0, CLI_INTEGER, &o.micro, "N", "tokens in memory at a time (default 2048)", 64, 1e6, NULL},
        {"eval-data", 0, CLI_LIST, &o.eval_data, "FILE...", "texts to measure on during the training", 0, 0, NULL},
        {"eval-part", 0, CLI_CHOICE, &o.eval_part, "PART", "all, train or held-out documents (default all)", 0, 0,
         cli_parts},
        {"eval-every", 0, CLI_INTEGER, &o.eval_every, "N", "steps (default 0: at the end only)", 0, 4e9, NULL},
        {"eval-limit", 0, CLI_INTEGER, &o.eval_limit, "N", "chunks at most, 0 for all (default 500)", 0, 4e9, NULL},
        {"save-every", 0, CLI_INTEGER, &o.save_every, "N", "steps, 0: at the end only (default 500)", 0, 4e9, NULL},
        {"resume", 0, CLI_FLAG, &o.resume, NULL, "go on from the checkpoint in --output, if there is one", 0, 0, NULL},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"isa", 0, CLI_STRING, &o.set, "SET", "instruction set: auto, avx512, avx2 or scalar (default auto)", 0, 0,
         NULL},
        {"json", 0, CLI_FLAG, &o.json, NULL, "print one JSON object at the end", 0, 0, NULL},
        {"quiet", 'q', CLI_FLAG, &o.quiet, NULL, "show no progress", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "train",
        .about = "Trains a masked language model with AdamW and writes a folder that fillmask and\n"
                 "transformers load. Ctrl-C saves; --resume goes on.\n",
        .examples = "  fillmask train -m weights/MODEL --data reviews.jsonl --epochs 3 -o fine-tuned\n"
                    "  fillmask train --tokenizer my-tokenizer --init neighbours --learning-rate 5e-4 \\\n"
                    "      --warmup 0.15 --steps 10000 --data texts.jsonl -o new-model\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int code;
    if (cli_parse(&usage, argc, argv, NULL, &code)) {
        if (o.data.count == 0) code = cli_usage_error("train", "--data is missing; name the files to train on.");
        else if (!o.output) code = cli_usage_error("train", "-o is missing; name the folder to write.");
        else if (!o.model == !o.tokenizer)
            code = cli_usage_error("train", "Give either -m, the model to go on from, or --tokenizer for a new one.");
        else code = train(&o);
    }
    cli_list_free(&o.data);
    cli_list_free(&o.eval_data);
    return code;
}
