/* evaluation.c - `fillmask eval`: how well a model predicts masked tokens of texts; and the figures of an evaluation
 * for train, which makes them along the way. The measuring is core/train's. */
#include "cli/cli.h"

#include <math.h>
#include <string.h>

#include "tasks/tasks.h"

const char *const cli_formats[] = {"auto", "jsonl", "csv", "txt", NULL};
const char *const cli_collections[] = {"auto", "jsonl", "csv", "txt", "imdb", "imdb-test", "imdb-unsupervised", NULL};
const char *const cli_parts[] = {"all", "train", "held-out", NULL};
const char *const cli_precisions[] = {"f32", "bf16", NULL};
const char *const cli_dtypes[] = {"auto", "fp32", "q8", NULL};

fm_status cli_evaluate(fm_evaluator *evaluator, bool quiet, fm_error *err)
{
    cli_progress progress;
    cli_progress_begin(&progress, "Evaluating", "chunks", quiet);
    fm_status status = FM_OK;
    for (bool more = true; more && !status;) {
        status = fm_evaluator_step(evaluator, &more, err);
        uint64_t done, total;
        fm_evaluator_progress(evaluator, &done, &total);
        if (!status && !cli_progress_step(&progress, done, total))
            status = fm_fail(err, FM_E_ABORTED, "Stopped before the evaluation was done.");
    }
    cli_progress_end(&progress);
    const fm_evaluation *result = fm_evaluator_result(evaluator);
    if (!status && !isfinite(result->loss))
        status =
            fm_fail(err, FM_E_FORMAT, "The model's loss on the data is not a finite number; its weights are damaged.");
    if (!status && result->masked == 0)
        status = fm_fail(err, FM_E_FORMAT, "No token of the data was masked; use more text or a higher mask rate.");
    return status;
}

void cli_evaluation_json(fm_buffer *out, const fm_evaluation *e)
{
    double masked = (double)e->masked, loss = e->loss / masked;
    fm_buffer_format(out, "\"loss\": %.6f, \"perplexity\": %.4f, \"accuracy\": %.6f, \"top5_accuracy\": %.6f", loss,
                     exp(loss), (double)e->top1 / masked, (double)e->top5 / masked);
    fm_buffer_format(out, ", \"mask_accuracy\": %.6f", e->hidden ? (double)e->hidden_top1 / (double)e->hidden : 0.0);
    fm_buffer_format(out, ", \"nats_per_character\": %.6f, \"masked_tokens\": %llu, \"chunks\": %llu",
                     e->characters ? e->loss / (double)e->characters : 0.0, (unsigned long long)e->masked,
                     (unsigned long long)e->chunks);
}

fm_status cli_chunk_length(int64_t given, uint32_t positions, uint32_t *length, fm_error *err)
{
    *length = given ? (uint32_t)given : positions < 128 ? positions : 128;
    if (*length <= positions) return FM_OK;
    return fm_fail(err, FM_E_ARGUMENT, "--length %u is more than the model's %u positions; use a smaller one.", *length,
                   positions);
}

typedef struct eval_options {
    cli_list data;
    const char *model, *field, *set;
    int64_t length, limit, aside, seed, threads;
    double rate, mask_share, random_share;
    int format, part, dtype, precision;
    bool whole_words, json, quiet;
    cli_device device;
} eval_options;

static void print_table(fm_buffer *out, uint32_t length, const fm_evaluation *e)
{
    double masked = (double)e->masked, loss = e->loss / masked;
    fm_buffer_format(out, "loss                     %8.4f nats a masked token\n", loss);
    fm_buffer_format(out, "perplexity               %8.2f\n", exp(loss));
    fm_buffer_format(out, "top-1 accuracy           %8.2f %%\n", 100.0 * (double)e->top1 / masked);
    fm_buffer_format(out, "top-5 accuracy           %8.2f %%\n", 100.0 * (double)e->top5 / masked);
    if (e->hidden)
        fm_buffer_format(out, "top-1 where [MASK] stood %8.2f %%\n",
                         100.0 * (double)e->hidden_top1 / (double)e->hidden);
    if (e->characters) fm_buffer_format(out, "nats a masked character  %8.4f\n", e->loss / (double)e->characters);
    fm_buffer_format(out, "masked tokens            %8llu in %llu chunks of %u\n", (unsigned long long)e->masked,
                     (unsigned long long)e->chunks, length);
}

static fm_status evaluate(const eval_options *o, fm_model *model, fm_buffer *out, fm_error *err)
{
    fm_corpus corpus = {0};
    fm_evaluator *evaluator = NULL;
    fm_network *network;
    uint32_t length;
    fm_status status = cli_chunk_length(o->length, model->config.positions, &length, err);
    if (status) return status;
    uint32_t tokens = length > 2048 ? length : 2048;
    const fm_room room = {tokens, tokens / length, tokens / 2 > length ? tokens / 2 : length, false};
    const fm_masking masking = {(float)o->rate,
                                o->whole_words,
                                (uint32_t)o->seed,
                                model->config.vocab_size,
                                fm_tokenizer_special(model->tokenizer),
                                {(float)o->mask_share, (float)o->random_share}};
    const cli_corpus_options data = {.data = &o->data,
                                     .field = o->field,
                                     .format = (fm_text_format)o->format,
                                     .part = (fm_part)o->part,
                                     .tokenizer = model->tokenizer,
                                     .pool = fm_cpu_pool(model->cpu),
                                     .quiet = o->quiet};
    status = cli_corpus(&data, &corpus, err);
    if (!status) status = fm_model_network(model, &room, &network, err);
    if (!status)
        status = fm_evaluator_create(&evaluator, network, model->backend, &room, &corpus, model->tokenizer, &masking,
                                     length, (uint32_t)o->aside, (uint32_t)o->limit, err);
    if (!status) {
        fm_evaluator_precision(evaluator, (fm_precision)o->precision);
        status = cli_evaluate(evaluator, o->quiet, err);
    }
    if (!status && o->json) {
        fm_buffer_text(out, "{");
        cli_evaluation_json(out, fm_evaluator_result(evaluator));
        fm_buffer_text(out, "}\n");
    } else if (!status) print_table(out, length, fm_evaluator_result(evaluator));
    fm_evaluator_destroy(evaluator);
    fm_corpus_free(&corpus);
    return status;
}

static int eval(const eval_options *o)
{
    fm_error err;
    fm_model *model = NULL;
    fm_buffer out = {0};
    const char *folder = cli_model(o->model, &err);
    const fm_model_options options = {(int)o->threads, o->set, (fm_dtype)o->dtype};
    fm_status status = folder ? cli_model_open(&model, folder, &options, &o->device, &err) : err.status;
    if (!status) status = evaluate(o, model, &out, &err);
    fm_model_close(model);
    if (!status) return cli_print("eval", &out);
    fm_buffer_free(&out);
    return cli_print_error("eval", &err);
}

int cli_eval(int argc, char **argv)
{
    eval_options o = {.seed = 42, .rate = 0.15, .mask_share = 0.8, .random_share = 0.1};
    const cli_option options[] = {
        {"data", 0, CLI_LIST, &o.data, "FILE...",
         "texts to measure on: .jsonl, .csv or .txt; the IMDB reviews also as their folder or .tar; - is standard "
         "input",
         0, 0, NULL},
        {"model", 'm', CLI_STRING, &o.model, "FOLDER", "the model (default: the one that ships)", 0, 0, NULL},
        {"field", 0, CLI_STRING, &o.field, "NAME", "the field or column that holds the text (default text)", 0, 0,
         NULL},
        {"format", 0, CLI_CHOICE, &o.format, "FORMAT", CLI_COLLECTIONS_HELP, 0, 0, cli_collections},
        {"part", 0, CLI_CHOICE, &o.part, "PART", "all, train or held-out documents (default all)", 0, 0, cli_parts},
        {"length", 0, CLI_INTEGER, &o.length, "N",
         "tokens a chunk (default 128, or the model's positions if these are fewer)", 2, 32768, NULL},
        {"limit", 0, CLI_INTEGER, &o.limit, "N", "chunks at most, spread over the data (default 0: all)", 0, 4e9, NULL},
        {"eval-chunks", 0, CLI_INTEGER, &o.aside, "N",
         "only the chunks that train --eval-chunks N sets aside (default 0: all)", 0, 4e9, NULL},
        {"mask-rate", 0, CLI_NUMBER, &o.rate, "R", "share of tokens to predict (default 0.15)", 0.001, 0.5, NULL},
        {"mask-share", 0, CLI_NUMBER, &o.mask_share, "R", "share of these that become [MASK] (default 0.8)", 0, 1,
         NULL},
        {"random-share", 0, CLI_NUMBER, &o.random_share, "R", "share of these that become any token (default 0.1)", 0,
         1, NULL},
        {"whole-words", 0, CLI_FLAG, &o.whole_words, NULL, "mask words instead of tokens", 0, 0, NULL},
        {"seed", 0, CLI_INTEGER, &o.seed, "N", "of the masks, which are drawn once, and of --eval-chunks (default 42)",
         0, 4294967295.0, NULL},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"dtype", 0, CLI_CHOICE, &o.dtype, "TYPE", CLI_DTYPES_HELP, 0, 0, cli_dtypes},
        {"precision", 0, CLI_CHOICE, &o.precision, "P",
         "of the products of f32 weights: f32, or bf16 with f32 sums (default f32)", 0, 0, cli_precisions},
        {"isa", 0, CLI_STRING, &o.set, "SET", CLI_SETS_HELP, 0, 0, NULL},
        CLI_DEVICE_OPTIONS(o.device),
        {"json", 0, CLI_FLAG, &o.json, NULL, "print one JSON object", 0, 0, NULL},
        {"quiet", 'q', CLI_FLAG, &o.quiet, NULL, "show no progress", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "eval",
        .about = "Masks tokens of texts, the same ones each time, and measures how well a model\n"
                 "predicts them: 80% of them become [MASK], 10% any token, 10% stay.\n",
        .examples = "  fillmask eval --data reviews.jsonl --json\n"
                    "  xz -dc texts.jsonl.xz | fillmask eval -m my-model --data - --part held-out\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int code;
    if (cli_parse(&usage, argc, argv, NULL, &code)) {
        if (o.data.count == 0) code = cli_usage_error("eval", "--data is missing; name the files to measure on.");
        else if (o.mask_share + o.random_share > 1.0)
            code = cli_usage_error("eval", "--mask-share %g and --random-share %g are more than 1 together.",
                                   o.mask_share, o.random_share);
        else code = cli_check_stdin("eval", &o.data, NULL);
        if (code == CLI_OK) code = eval(&o);
    }
    cli_list_free(&o.data);
    return code;
}
