/* train.c - `fillmask train`: its options, presets and help. The work is in train_setup.c, train_loop.c and
 * train_card.c. */
#include "cli/train_run.h"

const char *const train_presets[] = {"none", "imdb", NULL};
const char *const train_schedules[] = {"linear", "cosine", "constant", NULL};

static int train(const train_options *o)
{
    fm_error err;
    fm_buffer out = {0};
    train_run run = {.o = o};
    fm_status status = train_prepare(&run, &err);
    if (!status && o->plan_only) train_plan(&run, &out);
    else if (!status) status = train_loop(&run, &err);
    if (!status && !o->plan_only) train_summary(&run, &out);
    bool begun = run.started > 0.0;
    train_release(&run);
    if (!status) return cli_print("train", &out);
    int code = cli_print_error("train", &err);
    if (status == FM_E_DEVICE && begun)
        fprintf(stderr, "fillmask train: The same command with --resume goes on from the last checkpoint, if any.\n");
    return code;
}

/* In the order of fm_precision. */
static const char *const precisions[] = {"f32", "bf16", "f16", NULL};

static train_options defaults(int preset)
{
    train_options o = {.preset = preset,
                       .hidden = 256,
                       .layers = 4,
                       .heads = 4,
                       .positions = 512,
                       .batch = 64,
                       .accumulate = 1,
                       .seed = 42,
                       .micro = 2048,
                       .eval_limit = 500,
                       .eval_seed = 42,
                       .epochs = 1.0,
                       .rate = 5e-5,
                       .decay = 0.01,
                       .clip = 1.0,
                       .mask_rate = 0.15,
                       .mask_share = 0.8,
                       .random_share = 0.1,
                       .dropout = -1.0,
                       .beta1 = 0.9,
                       .beta2 = 0.999,
                       .epsilon = 1e-8,
                       .part = FM_PART_ALL,
                       .eval_part = FM_PART_ALL,
                       .save_every = 500,
                       .keep_checkpoints = 2};
    if (preset == 1) { /* the fine-tuning of Hugging Face's course, chapter 7, as its model card gives it */
        o.length = 128;
        o.limit = 10000;
        o.eval_chunks = 1000;
        o.rate = 2e-5;
        o.epochs = 3.0;
        o.precision = FM_PRECISION_BF16;
        o.save_every = 50;
    }
    return o;
}

static void free_lists(train_options *o)
{
    cli_list_free(&o->data);
    cli_list_free(&o->eval_data);
    cli_list_free(&o->prompts);
}

static int check(const train_options *o)
{
    if (o->data.count == 0) return cli_usage_error("train", "--data is missing; name the files to train on.");
    if (!o->output && !o->plan_only) return cli_usage_error("train", "-o is missing; name the folder to write.");
    if (o->model && o->tokenizer)
        return cli_usage_error("train", "Give either -m, the model to go on from, or --tokenizer for a new one.");
    if (o->config && !o->tokenizer)
        return cli_usage_error("train", "--config is the shape of a new model; give its tokenizer with --tokenizer.");
    if (o->eval_chunks > 0 && o->eval_data.count > 0)
        return cli_usage_error("train", "Give either --eval-data or --eval-chunks.");
    if (o->eval_chunks > 0 && o->lengths)
        return cli_usage_error("train", "--eval-chunks needs chunks of one length; leave out --lengths.");
    if (o->eval_chunks > 0 && o->line_by_line)
        return cli_usage_error(
            "train", "--eval-chunks, which --preset imdb has, needs joined documents; with --line-by-line give "
                     "--eval-chunks 0 or leave it out.");
    if (o->mask_share + o->random_share > 1.0)
        return cli_usage_error("train", "--mask-share %g and --random-share %g are more than 1 together.",
                               o->mask_share, o->random_share);
    if (o->patience > 0 && o->eval_chunks == 0 && o->eval_data.count == 0)
        return cli_usage_error("train", "--patience needs evaluations; give --eval-chunks or --eval-data.");
    if (o->keep_best && o->eval_chunks == 0 && o->eval_data.count == 0)
        return cli_usage_error("train", "--keep-best needs evaluations; give --eval-chunks or --eval-data.");
    return cli_check_stdin("train", &o->data, &o->eval_data);
}

/* Reads the arguments over the defaults of a preset. */
static bool parse(train_options *o, int argc, char **argv, int *code)
{
    static const char *const starts[] = {"normal", "neighbours", NULL};
    static const char *const scalings[] = {"none", "linear", "sqrt", NULL};
    const cli_option options[] = {
        {"data", 0, CLI_LIST, &o->data, "FILE...",
         "texts to train on: .jsonl, .csv or .txt; the IMDB reviews also as the folder aclImdb or a .tar of it; - is "
         "standard input",
         0, 0, NULL},
        {"output", 'o', CLI_STRING, &o->output, "FOLDER",
         "where model, card, checkpoints, metrics and cached tokens go (also --out)", 0, 0, NULL},
        {"out", 0, CLI_STRING, &o->output, "FOLDER", NULL, 0, 0, NULL},
        {"preset", 0, CLI_CHOICE, &o->preset, "NAME",
         "imdb: --length 128 --limit 10000 --eval-chunks 1000 --learning-rate 2e-5 --epochs 3 --precision bf16 "
         "--save-every 50; what is given beside it wins",
         0, 0, train_presets},
        {"model", 'm', CLI_STRING, &o->model, "FOLDER",
         "the model to go on from (default: the one that ships, unless --tokenizer is given)", 0, 0, NULL},
        {"tokenizer", 0, CLI_STRING, &o->tokenizer, "FOLDER", "start a new model with this tokenizer", 0, 0, NULL},
        {"config", 0, CLI_STRING, &o->config, "FILE", "a config.json with the shape of a new model", 0, 0, NULL},
        {"layers", 0, CLI_INTEGER, &o->layers, "N", "of a new model (default 4)", 1, 128, NULL},
        {"hidden", 0, CLI_INTEGER, &o->hidden, "N", "of a new model: width (default 256)", 2, 8192, NULL},
        {"heads", 0, CLI_INTEGER, &o->heads, "N", "of a new model (default 4)", 1, 128, NULL},
        {"feed-forward", 0, CLI_INTEGER, &o->feed_forward, "N", "of a new model (default 4 times --hidden)", 0, 65536,
         NULL},
        {"positions", 0, CLI_INTEGER, &o->positions, "N", "of a new model (default 512)", 2, 32768, NULL},
        {"init", 0, CLI_CHOICE, &o->init, "START",
         "of a new model: normal, or neighbours: first-layer heads that see the words beside (default normal)", 0, 0,
         starts},
        {"field", 0, CLI_STRING, &o->field, "NAME", "the field or column that holds the text (default text)", 0, 0,
         NULL},
        {"format", 0, CLI_CHOICE, &o->format, "FORMAT", CLI_COLLECTIONS_HELP, 0, 0, cli_collections},
        {"part", 0, CLI_CHOICE, &o->part, "PART", "all, train or held-out documents (default all)", 0, 0, cli_parts},
        {"length", 0, CLI_INTEGER, &o->length, "N",
         "tokens a chunk (default 128, or the model's positions if these are fewer)", 2, 32768, NULL},
        {"lengths", 0, CLI_STRING, &o->lengths, "LIST", "lengths that change, such as 64:0.8,128:1", 0, 0, NULL},
        {"limit", 0, CLI_INTEGER, &o->limit, "N", "chunks drawn from the data at most (default 0: all)", 0, 4e9, NULL},
        {"batch", 0, CLI_INTEGER, &o->batch, "N", "chunks of --length a step (default 64)", 1, 65536, NULL},
        {"accumulate", 0, CLI_INTEGER, &o->accumulate, "N", "batches whose gradients make one step (default 1)", 1,
         4096, NULL},
        {"micro-batch", 0, CLI_INTEGER, &o->micro_batch, "N",
         "chunks in memory at a time; does not change the result (default: as many as --micro-tokens hold)", 0, 65536,
         NULL},
        {"micro-tokens", 0, CLI_INTEGER, &o->micro, "N", "the same in tokens (default 2048)", 64, 1e6, NULL},
        {"epochs", 0, CLI_NUMBER, &o->epochs, "N", "times through the data (default 1)", 0.001, 10000, NULL},
        {"steps", 0, CLI_INTEGER, &o->steps, "N", "steps, instead of epochs", 0, 4e9, NULL},
        {"learning-rate", 0, CLI_NUMBER, &o->rate, "R", "its peak (default 5e-5)", 1e-9, 0.9, NULL},
        {"schedule", 0, CLI_CHOICE, &o->schedule, "NAME",
         "of the learning rate: linear or cosine to zero, or constant (default linear)", 0, 0, train_schedules},
        {"warmup", 0, CLI_NUMBER, &o->warmup, "N", "steps of linear warm-up, or a share of all if below 1 (default 0)",
         0, 4e9, NULL},
        {"scale-rate", 0, CLI_CHOICE, &o->scaling, "HOW",
         "multiply the learning rate by the chunks a step (--batch times --accumulate) over 64, linear, or by the root "
         "of that, sqrt (default none)",
         0, 0, scalings},
        {"weight-decay", 0, CLI_NUMBER, &o->decay, "R", "not of biases and layer norms (default 0.01)", 0, 1, NULL},
        {"beta1", 0, CLI_NUMBER, &o->beta1, "R", "of AdamW (default 0.9)", 0, 0.99999, NULL},
        {"beta2", 0, CLI_NUMBER, &o->beta2, "R", "of AdamW (default 0.999)", 0, 0.9999999, NULL},
        {"epsilon", 0, CLI_NUMBER, &o->epsilon, "R", "of AdamW (default 1e-8)", 1e-20, 1, NULL},
        {"clip", 0, CLI_NUMBER, &o->clip, "R", "largest norm of the gradients, 0 for none (default 1)", 0, 1e9, NULL},
        {"dropout", 0, CLI_NUMBER, &o->dropout, "R", "default: what the model's config says", 0, 0.9, NULL},
        {"mask-rate", 0, CLI_NUMBER, &o->mask_rate, "R", "share of tokens to predict (default 0.15)", 0.01, 0.9, NULL},
        {"mask-share", 0, CLI_NUMBER, &o->mask_share, "R", "share of these that become [MASK] (default 0.8)", 0, 1,
         NULL},
        {"random-share", 0, CLI_NUMBER, &o->random_share, "R",
         "share of these that become any token (default 0.1); the rest stays", 0, 1, NULL},
        {"whole-words", 0, CLI_FLAG, &o->whole_words, NULL, "mask words instead of tokens", 0, 0, NULL},
        {"line-by-line", 0, CLI_FLAG, &o->line_by_line, NULL,
         "chunks of one document each, at most --length long; else documents are joined and cut", 0, 0, NULL},
        {"freeze-embeddings", 0, CLI_FLAG, &o->freeze_embeddings, NULL,
         "leave them as they are, and the output matrix, which is the same", 0, 0, NULL},
        {"freeze-layers", 0, CLI_INTEGER, &o->freeze_layers, "N", "leave the first layers as they are (default 0)", 0,
         128, NULL},
        {"seed", 0, CLI_INTEGER, &o->seed, "N", "of first weights, order, masks and dropout (default 42)", 0,
         4294967295.0, NULL},
        {"precision", 0, CLI_CHOICE, &o->precision, "P",
         "f32; bf16: mixed, bf16 products with f32 sums and weights; f16: the same with f16 and scaled gradients, for "
         "graphics cards that have it (default f32)",
         0, 0, precisions},
        {"eval-chunks", 0, CLI_INTEGER, &o->eval_chunks, "N",
         "chunks of --data that are set aside and measured on (default 0)", 0, 4e9, NULL},
        {"eval-seed", 0, CLI_INTEGER, &o->eval_seed, "N",
         "of their choice, and of the masks of evaluations (default 42)", 0, 4294967295.0, NULL},
        {"eval-data", 0, CLI_LIST, &o->eval_data, "FILE...", "or texts of their own to measure on", 0, 0, NULL},
        {"eval-part", 0, CLI_CHOICE, &o->eval_part, "PART", "all, train or held-out documents (default all)", 0, 0,
         cli_parts},
        {"eval-limit", 0, CLI_INTEGER, &o->eval_limit, "N", "chunks of --eval-data at most, 0 for all (default 500)", 0,
         4e9, NULL},
        {"eval-every", 0, CLI_INTEGER, &o->eval_every, "N",
         "steps (default 0: after each epoch); before the first step only with --model or --eval-chunks", 0, 4e9, NULL},
        {"patience", 0, CLI_INTEGER, &o->patience, "N",
         "stop when so many evaluations in a row were no better than the best (default 0: never)", 0, 1e6, NULL},
        {"keep-best", 0, CLI_FLAG, &o->keep_best, NULL,
         "leave the model of the best evaluation instead of the last step's", 0, 0, NULL},
        {"save-every", 0, CLI_INTEGER, &o->save_every, "N", "steps, 0: at the end only (default 500)", 0, 4e9, NULL},
        {"keep-checkpoints", 0, CLI_INTEGER, &o->keep_checkpoints, "N",
         "how many stay, 0 for all; with 2, one that turns out to be damaged is no loss (default 2)", 0, 1e6, NULL},
        {"resume", 0, CLI_FLAG, &o->resume, NULL, "go on from the newest checkpoint in --output, if there is one", 0, 0,
         NULL},
        {"prompt", 0, CLI_LIST, &o->prompts, "TEXT...", "texts with [MASK] that the card fills before and after", 0, 0,
         NULL},
        {"plan", 0, CLI_FLAG, &o->plan_only, NULL, "only say what would be trained: chunks, steps, parameters", 0, 0,
         NULL},
        {"threads", 0, CLI_INTEGER, &o->threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"isa", 0, CLI_STRING, &o->set, "SET", CLI_SETS_HELP, 0, 0, NULL},
        CLI_DEVICE_OPTIONS(o->device),
        {"json", 0, CLI_FLAG, &o->json, NULL, "print one JSON object at the end", 0, 0, NULL},
        {"quiet", 'q', CLI_FLAG, &o->quiet, NULL, "show no progress", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "train",
        .about = "Trains a masked language model with AdamW and writes a folder that fillmask and\n"
                 "transformers load, with a model card, README.md, whose curves and table come\n"
                 "from metrics.jsonl. Beside them are checkpoints, from which --resume goes on to\n"
                 "the bit, and the tokens of the data, which are used again while data and\n"
                 "tokenizer stay the same. Ctrl-C saves.\n",
        .examples = "  fillmask train --preset imdb --data aclImdb -o tuned\n"
                    "  gzip -dc aclImdb_v1.tar.gz | fillmask train --preset imdb --data - -o tuned\n"
                    "  fillmask train --preset imdb --data aclImdb -o tuned --resume\n"
                    "  fillmask train -m my-model --data reviews.jsonl --epochs 10 --warmup 0.1 \\\n"
                    "      --eval-chunks 500 --schedule cosine --patience 2 --keep-best -o fine-tuned\n"
                    "  fillmask train --tokenizer my-tokenizer --init neighbours --warmup 0.15 \\\n"
                    "      --learning-rate 5e-4 --steps 10000 --data texts.jsonl -o new-model\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    return cli_parse(&usage, argc, argv, NULL, code);
}

int cli_train(int argc, char **argv)
{
    int code;
    train_options o = defaults(0);
    bool good = parse(&o, argc, argv, &code);
    if (good && o.preset) { /* once more, over its defaults */
        free_lists(&o);
        o = defaults(o.preset);
        good = parse(&o, argc, argv, &code);
    }
    if (good) code = check(&o);
    if (good && code == CLI_OK) code = train(&o);
    free_lists(&o);
    return code;
}
