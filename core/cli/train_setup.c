/* train_setup.c - what `fillmask train` opens, reads and plans before the first step, and how it is released. */
#include "cli/train_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static fm_status in_folder(char **path, const char *folder, const char *name, fm_error *err)
{
    *path = fm_path_join(folder, name);
    return *path ? FM_OK : fm_fail_memory(err, strlen(folder), "the name of a file");
}

/* ---- what is trained ---- */

static fm_status open_model(train_run *run, fm_error *err)
{
    char *config = NULL, *tensors = NULL;
    fm_safetensors *file;
    fm_status status = in_folder(&config, run->model, "config.json", err);
    if (!status) status = in_folder(&tensors, run->model, "model.safetensors", err);
    if (!status) status = fm_config_read(&run->config, config, err);
    if (!status) status = fm_tokenizer_open(&run->tokenizer, run->model, err);
    if (!status) status = fm_parameters_make(&run->parameters, &run->config, err);
    if (!status) status = fm_safetensors_open(&file, tensors, err);
    if (!status) status = fm_weights_load(&run->weights, &run->parameters, file, tensors, err);
    if (!status) status = fm_weights_floats(&run->weights, &run->parameters, err);
    free(config);
    free(tensors);
    return status;
}

static fm_status new_model(train_run *run, fm_error *err)
{
    const train_options *o = run->o;
    fm_status status = fm_tokenizer_open(&run->tokenizer, o->tokenizer, err);
    if (status) return status;
    if (o->config) {
        status = fm_config_read(&run->config, o->config, err);
        return status ? status : fm_parameters_make(&run->parameters, &run->config, err);
    }
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

/* The card fills their masks when the training is over. */
static fm_status check_prompts(const train_run *run, fm_error *err)
{
    uint32_t mask = fm_tokenizer_special(run->tokenizer).mask;
    fm_encoding encoding = {0};
    fm_status status = FM_OK;
    for (size_t i = 0; i < run->o->prompts.count && !status; i++) {
        const char *prompt = run->o->prompts.items[i];
        size_t at = 0;
        status = fm_tokenizer_encode(run->tokenizer, prompt, strlen(prompt), false, &encoding, err);
        while (!status && at < encoding.count && encoding.ids[at] != mask) at++;
        if (!status && at == encoding.count)
            status =
                fm_fail(err, FM_E_ARGUMENT, "--prompt \"%.80s\" has no %s; put one where a word is to be filled in.",
                        prompt, fm_tokenizer_token(run->tokenizer, mask));
    }
    fm_encoding_free(&encoding);
    return status;
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
        if (run->model)
            memcpy(run->values + p->offset, run->weights.values[i], (size_t)p->rows * p->cols * sizeof(float));
    }
    if (run->model) {
        fm_weights_drop_floats(&run->weights, &run->parameters);
        return FM_OK;
    }
    return fm_initialise(run->values, &run->config, &run->parameters, (uint32_t)run->o->seed, run->o->init == 1,
                         &run->corpus, err);
}

static fm_status read_data(train_run *run, const cli_list *data, int part, const char *cache_name, fm_corpus *corpus,
                           fm_error *err)
{
    char *cache = NULL;
    fm_status status = run->o->plan_only ? FM_OK : in_folder(&cache, run->o->output, cache_name, err);
    if (status) return status;
    const cli_corpus_options options = {.data = data,
                                        .field = run->o->field,
                                        .format = (fm_text_format)run->o->format,
                                        .part = (fm_part)part,
                                        .tokenizer = run->tokenizer,
                                        .pool = fm_cpu_pool(run->cpu),
                                        .cache = cache,
                                        .quiet = run->o->quiet};
    status = cli_corpus(&options, corpus, err);
    free(cache);
    return status;
}

/* ---- the plan ---- */

static uint64_t step_chunks(const train_options *o)
{
    return (uint64_t)o->batch * (uint64_t)o->accumulate;
}

static double peak_rate(const train_options *o)
{
    double times = (double)step_chunks(o) / 64.0;
    return o->rate * (o->scaling == TRAIN_SCALE_LINEAR ? times : o->scaling == TRAIN_SCALE_SQRT ? sqrt(times) : 1.0);
}

/* "64:0.7,128:1": chunks of 64 for the first 70% of the steps. The tokens a step stay those of --batch times
 * --length. */
static fm_status plan_phases(train_run *run, uint64_t steps, fm_error *err)
{
    const train_options *o = run->o;
    fm_train_options *t = &run->options;
    if (!o->lengths) {
        t->phases[0] = (fm_phase){run->length, (uint32_t)step_chunks(o), steps};
        t->phase_count = 1;
        return FM_OK;
    }
    double before = 0.0;
    for (const char *at = o->lengths; t->phase_count < FM_MOST_PHASES;) {
        char *next;
        unsigned long length = strtoul(at, &next, 10);
        double end = *next == ':' ? strtod(next + 1, &next) : 1.0;
        if (next == at || (*next != '\0' && *next != ',') || length < 2 || length > run->config.positions ||
            !(end > before && end <= 1.0))
            break;
        uint64_t batch = step_chunks(o) * run->length / length;
        t->phases[t->phase_count++] =
            (fm_phase){(uint32_t)length, batch ? (uint32_t)batch : 1, (uint64_t)(end * (double)steps + 0.5)};
        if (*next == '\0' && end == 1.0) return FM_OK;
        if (*next == '\0') break;
        before = end;
        at = next + 1;
    }
    return fm_fail(err, FM_E_ARGUMENT,
                   "--lengths \"%.60s\" is not LENGTH:END,... with lengths up to the model's %u positions and rising "
                   "ends, the last one 1; for example 64:0.8,128:1.",
                   o->lengths, run->config.positions);
}

/* Steps as asked for, or as many as the epochs take. */
static fm_status plan_steps(train_run *run, uint64_t *steps, fm_error *err)
{
    const train_options *o = run->o;
    fm_chunks chunks;
    fm_status status = fm_chunks_make(&chunks, &run->corpus, run->length, o->line_by_line, err);
    if (status) return status;
    run->chunks = chunks.count > o->eval_chunks ? chunks.count - (uint32_t)o->eval_chunks : 0;
    if (o->limit > 0 && o->limit < run->chunks) run->chunks = (uint32_t)o->limit;
    fm_chunks_free(&chunks);
    uint64_t each = (run->chunks + step_chunks(o) - 1) / step_chunks(o);
    *steps = o->steps > 0 ? (uint64_t)o->steps : (uint64_t)ceil((double)each * o->epochs);
    if (*steps == 0) *steps = 1; /* the trainer says what is wrong with the data */
    if (!o->quiet)
        fprintf(stderr, "%llu documents, %.1f million tokens, %u chunks of %s%u; %llu steps\n",
                (unsigned long long)run->corpus.documents, (double)run->corpus.tokens / 1e6, run->chunks,
                o->line_by_line ? "at most " : "", run->length, (unsigned long long)*steps);
    return FM_OK;
}

static uint32_t micro_tokens(const train_run *run)
{
    int64_t tokens = run->o->micro_batch ? run->o->micro_batch * run->length : run->o->micro;
    return tokens > (int64_t)run->length ? (uint32_t)tokens : run->length;
}

static fm_status plan(train_run *run, fm_error *err)
{
    const train_options *o = run->o;
    uint64_t steps;
    if (o->dropout >= 0.0) run->config.dropout = run->config.attention_dropout = (float)o->dropout;
    run->options = (fm_train_options){.schedule = (fm_schedule)o->schedule,
                                      .learning_rate = peak_rate(o),
                                      .beta1 = o->beta1,
                                      .beta2 = o->beta2,
                                      .epsilon = o->epsilon,
                                      .weight_decay = o->decay,
                                      .clip = o->clip,
                                      .precision = (fm_precision)o->precision,
                                      .dropout = run->config.dropout > 0.0f || run->config.attention_dropout > 0.0f,
                                      .mask_rate = (float)o->mask_rate,
                                      .shares = {(float)o->mask_share, (float)o->random_share},
                                      .whole_words = o->whole_words,
                                      .line_by_line = o->line_by_line,
                                      .seed = (uint32_t)o->seed,
                                      .micro_tokens = micro_tokens(run),
                                      .aside = (uint32_t)o->eval_chunks,
                                      .aside_seed = (uint32_t)o->eval_seed,
                                      .limit = (uint32_t)o->limit,
                                      .frozen_embeddings = o->freeze_embeddings,
                                      .frozen_layers = (uint32_t)o->freeze_layers};
    fm_status status = plan_steps(run, &steps, err);
    if (status) return status;
    run->options.warmup = (uint64_t)(o->warmup < 1.0 ? o->warmup * (double)steps : o->warmup);
    return plan_phases(run, steps, err);
}

/* ---- the whole ---- */

static fm_status save_description(train_run *run, fm_error *err)
{
    char *config = NULL;
    fm_status status = in_folder(&config, run->o->output, "config.json", err);
    if (!status) status = fm_config_write(&run->config, config, err);
    if (!status) status = fm_tokenizer_save(run->tokenizer, run->o->output, run->config.positions, err);
    free(config);
    return status;
}

/* Refuses folders whose content would be lost. */
static fm_status check_output(const train_run *run, bool begun, fm_error *err)
{
    const train_options *o = run->o;
    if (run->model && cli_same_file(run->model, o->output))
        return fm_fail(err, FM_E_ARGUMENT, "%s is the model to go on from; name another folder with -o.", o->output);
    if (begun && !o->resume)
        return fm_fail(err, FM_E_ARGUMENT,
                       "%s already holds a training; go on with --resume, or name another folder with -o.", o->output);
    /* A training that was ended before its first checkpoint begins again. */
    if (!begun && fm_file_exists(run->tensors) && !(o->resume && fm_file_exists(run->metrics)))
        return fm_fail(err, FM_E_ARGUMENT,
                       "%s already holds a model, and no checkpoint to go on from; name another folder with -o.",
                       o->output);
    return FM_OK;
}

/* Two trainings in one folder would spoil each other's log. */
static fm_status lock_folder(train_run *run, fm_error *err)
{
    char *path;
    bool held;
    fm_status status = in_folder(&path, run->o->output, ".training", err);
    if (!status) status = fm_lock_file(&run->lock, path, &held, err);
    free(path);
    if (status || held) return status;
    return fm_fail(err, FM_E_ARGUMENT, "Another training is under way in %s; wait for its end, or name another folder.",
                   run->o->output);
}

static fm_status open_output(train_run *run, bool *begun, fm_error *err)
{
    const char *folder = run->o->output;
    fm_status status = in_folder(&run->tensors, folder, "model.safetensors", err);
    if (!status) status = in_folder(&run->metrics, folder, "metrics.jsonl", err);
    if (!status) status = in_folder(&run->picture, folder, "training.svg", err);
    if (!status) status = in_folder(&run->card, folder, "README.md", err);
    if (!status) status = fm_make_folder(folder, err);
    if (!status) status = lock_folder(run, err);
    if (!status) status = fm_checkpoints_find(folder, begun, err);
    if (!status) status = check_output(run, *begun, err);
    if (!status) fm_remove_leftovers(folder);
    return status;
}

/* The data of the evaluations, which must not turn out to be too short when the training is over. */
static fm_status read_eval_data(train_run *run, fm_error *err)
{
    const train_options *o = run->o;
    fm_chunks chunks;
    if (o->eval_chunks > 0) run->measured = &run->corpus;
    if (o->eval_data.count == 0) return FM_OK;
    run->measured = &run->eval_corpus;
    fm_status status = read_data(run, &o->eval_data, o->eval_part, "eval.tokens", &run->eval_corpus, err);
    if (!status) status = fm_chunks_make(&chunks, &run->eval_corpus, run->length, false, err);
    if (!status) fm_chunks_free(&chunks);
    return status;
}

/* Goes on where the checkpoint and, up to there, the log are. */
static fm_status resume(train_run *run, fm_error *err)
{
    fm_log log;
    fm_error skipped;
    fm_status status = fm_checkpoints_load(run->trainer, run->o->output, &skipped, err);
    if (status) return status;
    if (skipped.status)
        fprintf(stderr, "fillmask train: %s Going on from the checkpoint before it, of step %llu.\n", skipped.text,
                (unsigned long long)fm_trainer_report(run->trainer)->step);
    run->first_step = fm_trainer_report(run->trainer)->step;
    run->first_tokens = fm_trainer_report(run->trainer)->tokens;
    status = fm_log_cut(run->metrics, run->first_step, err);
    if (!status) status = fm_log_read(&log, run->metrics, err);
    if (status) return status;
    for (size_t i = 0; i < log.count; i++)
        if (!log.points[i].evaluation) {
            run->before = log.points[i].seconds;
            run->shown_loss = log.points[i].loss;
        }
    fm_log_free(&log);
    return FM_OK;
}

static fm_status open_device(train_run *run, fm_error *err)
{
    fm_backend *gpu = NULL;
    fm_status status = fm_cpu_create(&run->cpu, run->o->set, (int)run->o->threads, err);
    if (!status && !run->o->plan_only) status = cli_gpu(&run->o->device, &gpu, err);
    run->backend = gpu ? gpu : run->cpu;
    if (gpu && !run->o->quiet) fprintf(stderr, "GPU: %s\n", cli_host_gpu_name());
    return status;
}

fm_status train_prepare(train_run *run, fm_error *err)
{
    const train_options *o = run->o;
    bool begun = false;
    fm_status status = FM_OK;
    if (!o->tokenizer) {
        run->model = cli_model(o->model, err);
        if (!run->model) return err->status;
    }
    if (!o->plan_only) status = open_output(run, &begun, err);
    if (!status) status = open_device(run, err);
    if (!status) status = run->model ? open_model(run, err) : new_model(run, err);
    if (!status) status = check_prompts(run, err);
    if (!status) status = cli_chunk_length(o->length, run->config.positions, &run->length, err);
    if (!status) status = read_data(run, &o->data, o->part, "train.tokens", &run->corpus, err);
    if (!status) status = read_eval_data(run, err);
    if (!status) status = plan(run, err);
    if (status || o->plan_only) return status;
    status = start_values(run, err);
    if (!status && run->backend != run->cpu)
        status = cli_check_gpu(&run->config, &run->parameters, run->pointers, run->cpu, run->backend, err);
    if (!status)
        status = fm_trainer_create(&run->trainer, &run->config, &run->parameters, run->tokenizer, run->backend,
                                   &run->corpus, &run->options, run->pointers, err);
    if (!status) status = begun ? resume(run, err) : fm_file_replace(run->metrics, "", 0, err);
    if (!status) status = save_description(run, err);
    return status;
}

void train_plan(const train_run *run, fm_buffer *out)
{
    const fm_train_options *t = &run->options;
    unsigned long long steps = t->phases[t->phase_count - 1].end, documents = run->corpus.documents;
    unsigned long long tokens = run->corpus.tokens, parameters = fm_parameters_numbers(&run->parameters);
    uint32_t aside = t->aside;
    if (run->o->json)
        fm_buffer_format(out,
                         "{\"documents\": %llu, \"data_tokens\": %llu, \"chunk_length\": %u, \"chunks\": %u, "
                         "\"eval_chunks\": %u, \"steps\": %llu, \"parameters\": %llu, \"learning_rate\": %.9g}\n",
                         documents, tokens, run->length, run->chunks, aside, steps, parameters, t->learning_rate);
    else
        fm_buffer_format(out,
                         "%llu documents, %llu tokens\n%u chunks of %u to train on, %u set aside\n%llu steps, learning "
                         "rate %g\n%llu parameters\n",
                         documents, tokens, run->chunks, run->length, aside, steps, t->learning_rate, parameters);
}

void train_release(train_run *run)
{
    fm_trainer_destroy(run->trainer);
    fm_corpus_free(&run->corpus);
    fm_corpus_free(&run->eval_corpus);
    if (run->backend != run->cpu) run->backend->ops->destroy(run->backend);
    if (run->cpu) run->cpu->ops->destroy(run->cpu);
    fm_weights_free(&run->weights);
    fm_parameters_free(&run->parameters);
    fm_tokenizer_close(run->tokenizer);
    fm_free(run->values);
    free(run->pointers);
    fm_unlock_file(&run->lock);
    free(run->tensors);
    free(run->metrics);
    free(run->picture);
    free(run->card);
}
