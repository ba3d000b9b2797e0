/* bench.c - `fillmask bench`: how fast this machine runs and trains a model of a given shape, against the machine's own
 * peak. Comparisons with other software are made by the scripts under tests/bench. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct bench_options {
    const char *model, *set;
    int64_t layers, hidden, heads, feed_forward, vocab, tokens, masked, batch, micro, repeat, threads;
    double dropout;
    int precision, dtype;
    bool peak, train, json, quiet;
} bench_options;

typedef struct bench_figures {
    const char *set;
    int threads;
    double peak;                        /* GFLOP/s */
    double median, best;                /* seconds a run */
    double bandwidth;                   /* GB/s */
    double operations;                  /* of the linear layers, a run */
    double product_share, product_rate; /* of the time; GFLOP/s within */
    double total;                       /* seconds of all runs */
    double memory;                      /* the process's peak, in bytes */
    const fm_profile_entry *entries;    /* of all runs; the backend's */
    size_t count;
} bench_figures;

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Random tokens; the masked rows are spread evenly over a step, or over its micro-batches if it has several. */
static fm_status make_batch(const bench_options *o, fm_collator *c, fm_error *err)
{
    uint32_t sequences = o->train ? (uint32_t)o->micro : 1, length = (uint32_t)o->tokens, total = sequences * length;
    uint32_t masked = o->train ? (uint32_t)(0.15 * total + 0.5) : (uint32_t)o->masked;
    fm_status status = fm_collator_create(c, total, sequences, masked, err);
    if (status) return status;
    fm_random random = fm_random_seeded(42, 0);
    for (uint32_t i = 0; i < total; i++) c->ids[i] = fm_random_below(&random, (uint32_t)o->vocab);
    for (uint32_t i = 0; i <= sequences; i++) c->starts[i] = i * length;
    for (uint32_t i = 0; i < masked; i++) {
        c->rows[i] = (uint32_t)((uint64_t)i * total / masked);
        c->labels[i] = fm_random_below(&random, (uint32_t)o->vocab);
    }
    c->batch.tokens = total;
    c->batch.sequences = sequences;
    c->batch.masked = masked;
    return FM_OK;
}

/* A forward pass, or a step, whose micro-batches all have the same tokens: their values do not change the time. */
static fm_status run_once(const bench_options *o, fm_network *network, fm_backend *backend, fm_batch *batch,
                          float *results, uint32_t step, fm_error *err)
{
    uint32_t micro_batches = o->train ? (uint32_t)(o->batch / o->micro) : 1;
    const fm_run_options run = {.run = o->train ? FM_RUN_TRAIN : FM_RUN_LOGITS,
                                .scale = 1.0f / (float)batch->masked / (float)micro_batches,
                                .precision = (fm_precision)o->precision,
                                .dropout = o->dropout > 0.0,
                                .step = step};
    const fm_adamw update = {.learning_rate = 1e-5f,
                             .beta1 = 0.9f,
                             .beta2 = 0.999f,
                             .epsilon = 1e-8f,
                             .weight_decay = 0.01f,
                             .clip = 1.0f,
                             .step = step + 1};
    fm_status status = FM_OK;
    if (o->train) fm_network_zero_gradients(network);
    for (uint32_t i = 0; i < micro_batches && !status; i++) {
        batch->first = i * batch->sequences;
        status = fm_network_begin(network, batch, &run, err);
        while (!status && fm_network_advance(network)) {
        }
        if (!status && o->train) fm_network_read_losses(network, results);
    }
    if (status) return status;
    if (o->train) fm_network_update(network, &update);
    else fm_network_read_logits(network, results);
    return backend->ops->finish(backend, err);
}

/* The most memory that this process has had at once, in bytes. */
static double peak_memory(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0.0;
#ifdef __APPLE__
    return (double)usage.ru_maxrss;
#else
    return 1024.0 * (double)usage.ru_maxrss;
#endif
}

static fm_status measure(const bench_options *o, fm_network *network, fm_backend *backend, fm_batch *batch,
                         bench_figures *f, fm_error *err)
{
    double seconds[1000];                          /* --repeat's most */
    size_t each = o->train ? 2 : (size_t)o->vocab; /* of a masked row: its loss and rank, or its logits */
    float *results = fm_alloc(batch->masked, each * sizeof(float));
    if (!results) return fm_fail_memory(err, batch->masked * each * sizeof(float), "the results");
    fm_status status = FM_OK;
    cli_progress progress;
    cli_progress_begin(&progress, "Measuring", "runs", o->quiet);
    for (int64_t i = -1; i < o->repeat && !status; i++) { /* the first run packs the weights and is not counted */
        double start = fm_seconds();
        status = run_once(o, network, backend, batch, results, (uint32_t)(i + 1), err);
        if (i < 0) fm_profile_clear(backend);
        else f->total += seconds[i] = fm_seconds() - start;
        if (!status && !cli_progress_step(&progress, (uint64_t)(i + 1), (uint64_t)o->repeat))
            status = fm_fail(err, FM_E_ABORTED, "Stopped before all runs were made.");
    }
    cli_progress_end(&progress);
    fm_free(results);
    if (status) return status;
    qsort(seconds, (size_t)o->repeat, sizeof *seconds, compare);
    f->memory = peak_memory();
    f->median = seconds[o->repeat / 2];
    f->best = seconds[0];
    f->entries = fm_profile_entries(backend, &f->count);
    double operations = 0.0, within = 0.0;
    for (size_t i = 0; i < f->count; i++) {
        if (f->entries[i].rows == 0) continue; /* has no weights */
        operations += f->entries[i].operations;
        within += f->entries[i].seconds;
    }
    f->operations = operations / (double)o->repeat;
    f->product_share = within / f->total;
    f->product_rate = operations / within * 1e-9;
    return FM_OK;
}

/* An inference on int8 weights that were rounded from these; *data and *weights are to be freed after it. */
static fm_status open_int8(fm_network **network, const fm_config *config, const fm_parameters *parameters,
                           fm_backend *backend, const fm_room *room, const float *const *values, uint8_t **data,
                           fm_weights *weights, fm_error *err)
{
    size_t size;
    fm_safetensors *file;
    fm_status status = fm_weights_build(data, &size, parameters, values, FM_STORED_I8, err);
    if (!status) status = fm_safetensors_from_memory(&file, *data, size, "The model", err);
    if (!status) status = fm_weights_load(weights, parameters, file, "The model", err);
    return status ? status : fm_network_open(network, config, parameters, backend, room, weights, err);
}

static fm_status run_model(const bench_options *o, fm_backend *backend, bench_figures *f, fm_error *err)
{
    const fm_config config = {.vocab_size = (uint32_t)o->vocab,
                              .hidden = (uint32_t)o->hidden,
                              .layers = (uint32_t)o->layers,
                              .heads = (uint32_t)o->heads,
                              .feed_forward = (uint32_t)o->feed_forward,
                              .positions = (uint32_t)o->tokens,
                              .dropout = (float)o->dropout,
                              .attention_dropout = (float)o->dropout,
                              .initializer_range = 0.02f};
    fm_parameters parameters = {0};
    fm_collator collator = {0};
    fm_network *network = NULL;
    fm_weights weights = {0};
    uint8_t *data = NULL;
    float *values = NULL;
    const float **pointers = NULL;
    fm_status status = fm_parameters_make(&parameters, &config, err);
    if (!status) status = make_batch(o, &collator, err);
    if (!status) {
        values = fm_alloc((size_t)parameters.elements, sizeof *values);
        pointers = calloc(parameters.count, sizeof *pointers);
        if (!values || !pointers) status = fm_fail_memory(err, (size_t)parameters.elements * 4, "the weights");
    }
    if (!status) status = fm_initialise(values, &config, &parameters, 42, false, NULL, err);
    if (!status) {
        fm_batch *b = &collator.batch;
        const fm_room room = {b->tokens, b->sequences, b->masked, o->train};
        for (size_t i = 0; i < parameters.count; i++) pointers[i] = values + parameters.list[i].offset;
        status = o->dtype == FM_DTYPE_INT8
                     ? open_int8(&network, &config, &parameters, backend, &room, pointers, &data, &weights, err)
                     : fm_network_create(&network, &config, &parameters, backend, &room, pointers, err);
        if (o->train) { /* the network has its own */
            fm_free(values);
            values = NULL;
        }
        if (!status) status = measure(o, network, backend, b, f, err);
    }
    fm_network_destroy(network);
    fm_weights_free(&weights);
    fm_free(data);
    free(pointers);
    fm_free(values);
    fm_collator_free(&collator);
    fm_parameters_free(&parameters);
    return status;
}

static void entry_name(const fm_profile_entry *e, char *name, size_t size)
{
    if (e->rows > 0) snprintf(name, size, "%s %u x %u", e->name, e->rows, e->cols);
    else snprintf(name, size, "%s", e->name);
}

static const char *precision_of(const bench_options *o)
{
    return o->dtype == FM_DTYPE_INT8 ? "int8" : cli_precisions[o->precision];
}

static void print_json(const bench_options *o, const bench_figures *f, double rate, double tokens, fm_buffer *out)
{
    fm_buffer_format(out, "{\"instruction_set\": \"%s\", \"threads\": %d, \"precision\": \"%s\", \"peak_gflops\": %.1f",
                     f->set, f->threads, precision_of(o), f->peak);
    if (!o->peak) {
        fm_buffer_format(
            out,
            ", \"bandwidth_gb\": %.1f, \"median_ms\": %.3f, \"best_ms\": %.3f, "
            "\"tokens_per_second\": %.0f, \"peak_memory_mb\": %.0f, \"product_gflop\": %.3f, \"gflops\": %.1f, "
            "\"share_of_peak\": %.4f, \"share_of_peak_in_products\": %.4f, \"time_in_products\": %.4f, "
            "\"operations\": [",
            f->bandwidth, f->median * 1e3, f->best * 1e3, tokens / f->median, f->memory * 1e-6, f->operations * 1e-9,
            rate, rate / f->peak, f->product_rate / f->peak, f->product_share);
        for (size_t i = 0; i < f->count; i++) {
            const fm_profile_entry *e = &f->entries[i];
            char name[80];
            entry_name(e, name, sizeof name);
            fm_buffer_format(out, "%s{\"name\": \"%s\", \"share\": %.4f, \"gflops\": %.1f, \"gb_per_second\": %.1f}",
                             i ? ", " : "", name, e->seconds / f->total, e->operations / e->seconds * 1e-9,
                             e->bytes / e->seconds * 1e-9);
        }
        fm_buffer_text(out, "]");
    }
    fm_buffer_text(out, "}\n");
}

static int more_seconds(const void *left, const void *right)
{
    return -compare(&((const fm_profile_entry *)left)->seconds, &((const fm_profile_entry *)right)->seconds);
}

/* Where the time goes. Products are measured against the peak of arithmetic, everything else against memory's. */
static void print_operations(const bench_options *o, const bench_figures *f, fm_buffer *out)
{
    fm_profile_entry entries[FM_MOST_PROFILED];
    double rest = f->total;
    memcpy(entries, f->entries, f->count * sizeof *entries);
    qsort(entries, f->count, sizeof *entries, more_seconds);
    fm_buffer_format(out, "\n%-34s %7s %9s %8s %8s %6s %8s\n", "operation", "of time", "ms", "GFLOP/s", "of peak",
                     "GB/s", "of peak");
    for (size_t i = 0; i < f->count; i++) {
        const fm_profile_entry *e = &entries[i];
        char name[80];
        entry_name(e, name, sizeof name);
        rest -= e->seconds;
        fm_buffer_format(out, "%-34s %5.1f %% %9.2f", name, 100.0 * e->seconds / f->total,
                         1e3 * e->seconds / (double)o->repeat);
        if (e->operations > 0.0)
            fm_buffer_format(out, " %8.1f %6.0f %%\n", e->operations / e->seconds * 1e-9,
                             100.0 * e->operations / e->seconds * 1e-9 / f->peak);
        else
            fm_buffer_format(out, " %17s %6.1f %6.0f %%\n", "", e->bytes / e->seconds * 1e-9,
                             100.0 * e->bytes / e->seconds * 1e-9 / f->bandwidth);
    }
    fm_buffer_format(out, "%-34s %5.1f %% %9.2f\n", "between operations", 100.0 * rest / f->total,
                     1e3 * rest / (double)o->repeat);
}

static void print_figures(const bench_options *o, const bench_figures *f, fm_buffer *out)
{
    double rate = f->median > 0.0 ? f->operations / f->median * 1e-9 : 0.0;
    double tokens = (double)o->tokens * (o->train ? (double)o->batch : 1.0);
    if (o->json) {
        print_json(o, f, rate, tokens, out);
        return;
    }
    fm_buffer_format(out, "%s, %d thread%s: %s peak %.1f GFLOP/s", f->set, f->threads, f->threads > 1 ? "s" : "",
                     precision_of(o), f->peak);
    if (o->peak) {
        fm_buffer_text(out, "\n");
        return;
    }
    fm_buffer_format(out, ", memory %.1f GB/s\n", f->bandwidth);
    fm_buffer_format(out, "%s: median %.2f ms, best %.2f ms, %.0f tokens/s, %.2f GB of memory at most\n",
                     o->train ? "training step" : "forward", f->median * 1e3, f->best * 1e3, tokens / f->median,
                     f->memory * 1e-9);
    fm_buffer_format(out, "linear layers: %.2f GFLOP, %.1f GFLOP/s over all the time (%.0f %% of the peak),\n",
                     f->operations * 1e-9, rate, 100.0 * rate / f->peak);
    fm_buffer_format(out, "  %.1f GFLOP/s within (%.0f %%), which is %.0f %% of the time\n", f->product_rate,
                     100.0 * f->product_rate / f->peak, 100.0 * f->product_share);
    print_operations(o, f, out);
}

/* The shape of a model folder, whose weights are not needed. */
static fm_status take_shape(bench_options *o, fm_error *err)
{
    fm_config config;
    char *path = fm_path_join(o->model, "config.json");
    fm_status status =
        path ? fm_config_read(&config, path, err) : fm_fail_memory(err, strlen(o->model), "the name of a file");
    free(path);
    if (status) return status;
    o->layers = config.layers;
    o->hidden = config.hidden;
    o->heads = config.heads;
    o->feed_forward = config.feed_forward;
    o->vocab = config.vocab_size;
    if (o->tokens <= (int64_t)config.positions) return FM_OK;
    return fm_fail(err, FM_E_ARGUMENT, "--tokens %lld is more than the model's %u positions; use fewer.",
                   (long long)o->tokens, config.positions);
}

static int bench(bench_options *o)
{
    fm_error err;
    fm_backend *cpu, *backend;
    fm_buffer out = {0};
    bench_figures f = {0};
    fm_status status = o->model ? take_shape(o, &err) : FM_OK;
    if (!status) status = fm_cpu_create(&cpu, o->set, (int)o->threads, &err);
    if (status) return cli_print_error("bench", &err);
    status = fm_profile_create(&backend, cpu, &err);
    if (status) {
        cpu->ops->destroy(cpu);
        return cli_print_error("bench", &err);
    }
    f.set = fm_cpu_instruction_set(cpu);
    f.threads = fm_pool_threads(fm_cpu_pool(cpu));
    f.peak = o->dtype == FM_DTYPE_INT8 ? fm_cpu_peak_int8(cpu) : fm_cpu_peak(cpu, (fm_precision)o->precision);
    if (!o->peak) {
        f.bandwidth = fm_cpu_bandwidth(cpu);
        status = run_model(o, backend, &f, &err);
    }
    if (!status) print_figures(o, &f, &out);
    backend->ops->destroy(backend);
    if (!status) return cli_print("bench", &out);
    return cli_print_error("bench", &err);
}

int cli_bench(int argc, char **argv)
{
    bench_options o = {
        .layers = 6, .hidden = 768, .heads = 12, .vocab = 30522, .tokens = 128, .masked = 1, .batch = 16, .repeat = 20};
    const cli_option options[] = {
        {"peak", 0, CLI_FLAG, &o.peak, NULL, "only measure the peak: multiply-adds that stay in registers", 0, 0, NULL},
        {"train", 0, CLI_FLAG, &o.train, NULL, "a training step, 15% of the tokens masked, instead of a forward pass",
         0, 0, NULL},
        {"model", 'm', CLI_STRING, &o.model, "FOLDER", "take this model's shape, with random weights", 0, 0, NULL},
        {"layers", 0, CLI_INTEGER, &o.layers, "N", "of the model (default 6)", 1, 128, NULL},
        {"hidden", 0, CLI_INTEGER, &o.hidden, "N", "width (default 768)", 2, 8192, NULL},
        {"heads", 0, CLI_INTEGER, &o.heads, "N", "(default 12)", 1, 128, NULL},
        {"feed-forward", 0, CLI_INTEGER, &o.feed_forward, "N", "(default 4 times --hidden)", 1, 65536, NULL},
        {"vocab", 0, CLI_INTEGER, &o.vocab, "N", "(default 30522)", 2, 1e6, NULL},
        {"tokens", 0, CLI_INTEGER, &o.tokens, "N", "of a sequence (default 128)", 2, 32768, NULL},
        {"masked", 0, CLI_INTEGER, &o.masked, "N", "rows of logits in a forward pass (default 1)", 1, 32768, NULL},
        {"batch", 0, CLI_INTEGER, &o.batch, "N", "sequences of a training step (default 16)", 1, 4096, NULL},
        {"micro", 0, CLI_INTEGER, &o.micro, "N", "of them at once; divides --batch (default: all)", 1, 4096, NULL},
        {"dropout", 0, CLI_NUMBER, &o.dropout, "RATE", "in a training step (default 0)", 0, 0.9, NULL},
        {"repeat", 0, CLI_INTEGER, &o.repeat, "N", "runs to take the median of (default 20)", 1, 1000, NULL},
        {"precision", 0, CLI_CHOICE, &o.precision, "P", "of the products: f32 or bf16 (default f32)", 0, 0,
         cli_precisions},
        {"dtype", 0, CLI_CHOICE, &o.dtype, "TYPE",
         "of a forward pass: auto and fp32 are as --precision says, q8 is int8", 0, 0, cli_dtypes},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"isa", 0, CLI_STRING, &o.set, "SET", CLI_SETS_HELP, 0, 0, NULL},
        {"json", 0, CLI_FLAG, &o.json, NULL, "print one JSON object", 0, 0, NULL},
        {"quiet", 'q', CLI_FLAG, &o.quiet, NULL, "show no progress", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "bench",
        .about = "Measures a model of DistilBERT's shape, or the one given, with random weights,\n"
                 "and the machine's peak in that precision beside it.\n",
        .examples = "  fillmask bench --peak\n"
                    "  fillmask bench --threads 1 --json\n"
                    "  fillmask bench --train --repeat 5\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int code;
    if (!cli_parse(&usage, argc, argv, NULL, &code)) return code;
    if (o.feed_forward == 0) o.feed_forward = 4 * o.hidden;
    if (o.hidden % o.heads != 0)
        return cli_usage_error("bench", "--hidden %lld is not a multiple of --heads %lld.", (long long)o.hidden,
                               (long long)o.heads);
    if (o.micro == 0) o.micro = o.batch;
    if (o.batch % o.micro != 0)
        return cli_usage_error("bench", "--batch %lld is not a multiple of --micro %lld.", (long long)o.batch,
                               (long long)o.micro);
    if (o.dtype == FM_DTYPE_INT8 && (o.train || o.precision != 0))
        return cli_usage_error("bench", "--dtype q8 does not go with --train or --precision; leave one of them out.");
    if (o.masked > o.tokens)
        return cli_usage_error("bench", "--masked %lld is more than --tokens %lld.", (long long)o.masked,
                               (long long)o.tokens);
    return bench(&o);
}
