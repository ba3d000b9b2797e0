/* train.c - `fillmask train`: its options and help. The work is in train_setup.c and train_loop.c. */
#include "cli/train_run.h"

static int train(const train_options *o)
{
    fm_error err;
    fm_buffer out = {0};
    train_run run = {.o = o};
    fm_status status = train_prepare(&run, &err);
    if (!status) status = train_loop(&run, &err);
    if (!status) train_summary(&run, &out);
    train_release(&run);
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
         "of a new model: normal, or neighbours: first-layer heads that see the words beside (default normal)", 0, 0,
         starts},
        {"field", 0, CLI_STRING, &o.field, "NAME", "the field or column that holds the text (default text)", 0, 0,
         NULL},
        {"format", 0, CLI_CHOICE, &o.format, "FORMAT", "auto, jsonl, csv or txt (default auto)", 0, 0, cli_formats},
        {"part", 0, CLI_CHOICE, &o.part, "PART", "all, train or held-out documents (default all)", 0, 0, cli_parts},
        {"length", 0, CLI_INTEGER, &o.length, "N",
         "tokens a chunk (default 128, or the model's positions if these are fewer)", 2, 32768, NULL},
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
        {"precision", 0, CLI_CHOICE, &o.precision, "P",
         "f32, or bf16: mixed, bf16 products with f32 sums and weights (default f32)", 0, 0, cli_precisions},
        {"eval-data", 0, CLI_LIST, &o.eval_data, "FILE...", "texts to measure on during the training", 0, 0, NULL},
        {"eval-part", 0, CLI_CHOICE, &o.eval_part, "PART", "all, train or held-out documents (default all)", 0, 0,
         cli_parts},
        {"eval-every", 0, CLI_INTEGER, &o.eval_every, "N", "steps (default 0: at the end only)", 0, 4e9, NULL},
        {"eval-limit", 0, CLI_INTEGER, &o.eval_limit, "N", "chunks at most, 0 for all (default 500)", 0, 4e9, NULL},
        {"save-every", 0, CLI_INTEGER, &o.save_every, "N", "steps, 0: at the end only (default 500)", 0, 4e9, NULL},
        {"resume", 0, CLI_FLAG, &o.resume, NULL, "go on from the checkpoint in --output, if there is one", 0, 0, NULL},
        {"threads", 0, CLI_INTEGER, &o.threads, "N", "threads (default 0: one per processor)", 0, 1024, NULL},
        {"isa", 0, CLI_STRING, &o.set, "SET", CLI_SETS_HELP, 0, 0, NULL},
        {"json", 0, CLI_FLAG, &o.json, NULL, "print one JSON object at the end", 0, 0, NULL},
        {"quiet", 'q', CLI_FLAG, &o.quiet, NULL, "show no progress", 0, 0, NULL},
    };
    const cli_usage usage = {
        .command = "train",
        .about = "Trains a masked language model with AdamW and writes a folder that fillmask and\n"
                 "transformers load. Beside the model are checkpoint.safetensors, from which\n"
                 "--resume goes on, log.jsonl and its picture report.svg, and the tokens of the\n"
                 "data, which are used again while data and tokenizer stay the same. Ctrl-C saves.\n",
        .examples = "  fillmask train -m weights/MODEL --data reviews.jsonl --epochs 3 -o fine-tuned\n"
                    "  fillmask train --tokenizer my-tokenizer --init neighbours --warmup 0.15 \\\n"
                    "      --learning-rate 5e-4 --steps 10000 --data texts.jsonl -o new-model\n",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int code;
    if (cli_parse(&usage, argc, argv, NULL, &code)) {
        if (o.data.count == 0) code = cli_usage_error("train", "--data is missing; name the files to train on.");
        else if (!o.output) code = cli_usage_error("train", "-o is missing; name the folder to write.");
        else if (!o.model == !o.tokenizer)
            code = cli_usage_error("train", "Give either -m, the model to go on from, or --tokenizer for a new one.");
        else code = cli_check_stdin("train", &o.data, &o.eval_data);
        if (code == CLI_OK) code = train(&o);
    }
    cli_list_free(&o.data);
    cli_list_free(&o.eval_data);
    return code;
}
