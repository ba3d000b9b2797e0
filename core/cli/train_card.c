/* train_card.c - the model card that `fillmask train` leaves in its folder: what the model is and came from, its
 * figures before, along and after the training, and how to get them again. All figures are those of metrics.jsonl. */
#include "cli/train_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define FILLINGS 5 /* that are shown for a prompt */

/* The last part of a path. */
static const char *name_of(const char *path, int *length)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/') size--;
    size_t start = size;
    while (start > 0 && path[start - 1] != '/') start--;
    *length = (int)(size - start);
    return path + start;
}

/* As a POSIX shell reads it back. */
static void add_quoted(fm_buffer *out, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,+@%=";
    if (*text && strspn(text, plain) == strlen(text)) {
        fm_buffer_text(out, text);
        return;
    }
    fm_buffer_text(out, "'");
    for (; *text; text++)
        if (*text == '\'') fm_buffer_text(out, "'\\''");
        else fm_buffer_add(out, text, 1);
    fm_buffer_text(out, "'");
}

/* Text of others in a table: no cell, line or markup of its own. */
static void add_cell(fm_buffer *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("|*_`<>[]\\", *text)) fm_buffer_text(out, "\\");
        fm_buffer_add(out, *text == '\n' || *text == '\r' ? " " : text, 1);
    }
}

/* ---- the log ---- */

typedef struct card_row {
    uint64_t step;
    double epoch, training; /* the mean of the steps since the row before, NaN if there is none */
    double loss, accuracy;
} card_row;

typedef struct card {
    const train_run *run;
    fm_buffer out;
    card_row *rows;
    size_t count, kept; /* evaluations; the one whose model is in the folder */
    double last;        /* training loss since the last evaluation, NaN if there is none */
} card;

static fm_status read_rows(card *c, fm_error *err)
{
    fm_log log;
    fm_status status = fm_log_read(&log, c->run->metrics, err);
    if (status) return status;
    c->rows = calloc(log.count + 1, sizeof *c->rows);
    if (!c->rows) status = fm_fail_memory(err, log.count * sizeof *c->rows, "a model card");
    double sum = 0.0;
    uint64_t before = 0, start = 0;
    for (size_t i = 0; i < log.count && !status; i++) {
        const fm_log_point *p = &log.points[i];
        if (!p->evaluation) {
            if (p->step > before) sum += p->loss * (double)(p->step - before);
            if (p->step > before) before = p->step;
            continue;
        }
        card_row *row = &c->rows[c->count];
        *row =
            (card_row){p->step, p->epoch, before > start ? sum / (double)(before - start) : NAN, p->loss, p->accuracy};
        if (!c->run->o->keep_best || row->loss < c->rows[c->kept].loss) c->kept = c->count;
        c->count++;
        sum = 0.0;
        start = before;
    }
    c->last = before > start ? sum / (double)(before - start) : NAN;
    fm_log_free(&log);
    return status;
}

/* ---- sections ---- */

static void add_front(card *c)
{
    const train_run *run = c->run;
    int length;
    fm_buffer_text(&c->out, "---\nlibrary_name: transformers\npipeline_tag: fill-mask\n");
    if (run->model) {
        const char *name = name_of(run->model, &length);
        fm_buffer_text(&c->out, "base_model: ");
        fm_buffer_json(&c->out, name, (size_t)length);
        fm_buffer_text(&c->out, "\n");
    }
    fm_buffer_text(&c->out, "tags:\n- fill-mask\n- distilbert\n- fillmask\n---\n\n");
    const char *own = name_of(run->o->output, &length);
    fm_buffer_format(&c->out, "# %.*s\n\n", length, own);
    if (run->model) {
        const char *name = name_of(run->model, &length);
        fm_buffer_format(&c->out, "This model is a fine-tuned version of %.*s", length, name);
    } else fm_buffer_text(&c->out, "This model was trained from nothing");
    fm_buffer_text(&c->out, " for masked-language modelling, on ");
    for (size_t i = 0; i < run->o->data.count; i++) {
        const char *name = name_of(run->o->data.items[i], &length);
        if (i > 0) fm_buffer_text(&c->out, i + 1 < run->o->data.count ? ", " : " and ");
        if (strcmp(name, "-") == 0) fm_buffer_text(&c->out, "texts from standard input");
        else fm_buffer_format(&c->out, "`%.*s`", length, name);
    }
    fm_buffer_text(&c->out, ".");
    if (c->count > 0) {
        const card_row *row = &c->rows[c->kept];
        fm_buffer_format(&c->out,
                         " On the evaluation set it has:\n\n- Loss: %.4f\n- Perplexity: %.2f\n- Accuracy: %.4f\n",
                         row->loss, exp(row->loss), row->accuracy);
    } else fm_buffer_text(&c->out, "\n");
    fm_buffer_text(&c->out, "\n![Losses of the training](training.svg)\n");
}

static void add_description(card *c)
{
    const fm_config *m = &c->run->config;
    fm_buffer_format(
        &c->out,
        "\n## Model description\n\nDistilBERT with its masked-language-modelling head: %u layers of %u, %u "
        "heads, feed-forward layers of %u, %u positions, %s vocabulary of %u; %llu parameters, stored as "
        "32-bit floats.\n",
        m->layers, m->hidden, m->heads, m->feed_forward, m->positions,
        fm_tokenizer_lowercase(c->run->tokenizer) ? "an uncased" : "a cased", m->vocab_size,
        (unsigned long long)fm_parameters_numbers(&c->run->parameters));
    fm_buffer_text(&c->out,
                   "\n## Intended uses & limitations\n\nFilling masks, augmenting and scoring texts like those "
                   "that it was trained on, and as a start for further training. It repeats the biases of its "
                   "data, and it is no source of facts.\n");
}

/* The command that measures the same again. */
static void add_eval_command(card *c)
{
    const train_options *o = c->run->o;
    fm_buffer *out = &c->out;
    const cli_list *data = o->eval_chunks ? &o->data : &o->eval_data;
    int part = o->eval_chunks ? o->part : o->eval_part;
    fm_buffer_text(out, "\n```sh\nfillmask eval -m ");
    add_quoted(out, o->output);
    fm_buffer_text(out, " --data");
    for (size_t i = 0; i < data->count; i++) {
        fm_buffer_text(out, " ");
        add_quoted(out, data->items[i]);
    }
    if (o->format) fm_buffer_format(out, " --format %s", cli_collections[o->format]);
    if (o->field) {
        fm_buffer_text(out, " --field ");
        add_quoted(out, o->field);
    }
    if (part != FM_PART_ALL) fm_buffer_format(out, " --part %s", cli_parts[part]);
    fm_buffer_format(out, " --length %u", c->run->length);
    if (o->eval_chunks) fm_buffer_format(out, " --eval-chunks %lld", (long long)o->eval_chunks);
    else if (o->eval_limit) fm_buffer_format(out, " --limit %lld", (long long)o->eval_limit);
    fm_buffer_format(out, " --seed %lld\n```\n", (long long)o->eval_seed);
}

static void add_data(card *c)
{
    const train_run *run = c->run;
    const train_options *o = run->o;
    fm_buffer *out = &c->out;
    fm_buffer_format(
        out,
        "\n## Training and evaluation data\n\n%llu documents, %.1f million tokens with [CLS] and [SEP] around "
        "each document. They are concatenated a thousand at a time and cut into chunks of %u tokens, and the "
        "rest of each thousand is dropped; %u chunks were trained on.",
        (unsigned long long)run->corpus.documents, (double)run->corpus.tokens / 1e6, run->length, run->chunks);
    if (o->eval_chunks > 0)
        fm_buffer_format(
            out,
            " %lld other chunks of the same data, drawn with seed %lld, were set aside and are the evaluation "
            "set.",
            (long long)o->eval_chunks, (long long)o->eval_seed);
    fm_buffer_text(out, "\n");
    if (c->count == 0) return;
    fm_buffer_format(
        out,
        "\nThe masks of the evaluation set were drawn once, with seed %lld: 15 %% of the tokens, of which 80 %% "
        "became [MASK], 10 %% another token, 10 %% stayed. So its figures compare with one another, and this "
        "gives the last ones again:\n",
        (long long)o->eval_seed);
    add_eval_command(c);
}

static void add_settings(card *c)
{
    const train_run *run = c->run;
    const train_options *o = run->o;
    const fm_train_options *t = &run->options;
    fm_buffer *out = &c->out;
    fm_buffer_text(out, "\n## Training procedure\n\n### Training hyperparameters\n\n");
    fm_buffer_format(out, "- learning_rate: %g\n- train_batch_size: %lld\n", t->learning_rate, (long long)o->batch);
    if (o->accumulate > 1)
        fm_buffer_format(out, "- gradient_accumulation_steps: %lld\n- total_train_batch_size: %lld\n",
                         (long long)o->accumulate, (long long)(o->batch * o->accumulate));
    if (t->phase_count > 1)
        for (size_t i = 0; i < t->phase_count; i++)
            fm_buffer_format(out, "- up to step %llu: %u chunks of %u tokens\n", (unsigned long long)t->phases[i].end,
                             t->phases[i].batch, t->phases[i].length);
    fm_buffer_format(out, "- seed: %u\n- optimizer: AdamW with betas=(%g,%g), epsilon=%g and weight_decay=%g, not of ",
                     t->seed, t->beta1, t->beta2, t->epsilon, t->weight_decay);
    fm_buffer_format(out, "biases and layer norms\n- max_grad_norm: %g\n- lr_scheduler_type: %s\n", t->clip,
                     train_schedules[t->schedule]);
    if (t->warmup > 0) fm_buffer_format(out, "- lr_scheduler_warmup_steps: %llu\n", (unsigned long long)t->warmup);
    if (o->steps == 0) fm_buffer_format(out, "- num_epochs: %g\n", o->epochs);
    fm_buffer_format(out, "- training_steps: %llu\n- dropout: %g\n", (unsigned long long)fm_trainer_steps(run->trainer),
                     (double)run->config.dropout);
    fm_buffer_format(out, "- masking: %g %% of %s, of which %g %% [MASK], %g %% another token\n", 100.0 * o->mask_rate,
                     o->whole_words ? "the words" : "the tokens", 100.0 * o->mask_share, 100.0 * o->random_share);
    if (o->line_by_line) fm_buffer_text(out, "- line_by_line: true\n");
    if (o->freeze_embeddings) fm_buffer_text(out, "- frozen: the embeddings\n");
    if (o->freeze_layers) fm_buffer_format(out, "- frozen: the first %lld layers\n", (long long)o->freeze_layers);
    static const char *const precisions[] = {"f32", "bf16 products with f32 sums and weights",
                                             "f16 products with f32 sums and weights, and scaled gradients"};
    bool plain = run->backend != run->cpu && t->precision == FM_PRECISION_BF16; /* graphics cards have no bf16 */
    fm_buffer_format(out, "- precision: %s\n", precisions[plain ? FM_PRECISION_F32 : t->precision]);
}

static void add_training_loss(fm_buffer *out, double loss)
{
    if (isfinite(loss)) fm_buffer_format(out, "| %.4f ", loss);
    else fm_buffer_text(out, "| - ");
}

static void add_results(card *c)
{
    fm_buffer *out = &c->out;
    const fm_train_report *r = fm_trainer_report(c->run->trainer);
    fm_buffer_text(out, "\n### Training results\n\n| Training Loss | Epoch | Step | Validation Loss | Perplexity | "
                        "Accuracy |\n|---:|---:|---:|---:|---:|---:|\n");
    for (size_t i = 0; i < c->count; i++) {
        const card_row *row = &c->rows[i];
        add_training_loss(out, row->training);
        fm_buffer_format(out, "| %.2f | %llu | %.4f | %.2f | %.4f |\n", row->epoch, (unsigned long long)row->step,
                         row->loss, exp(row->loss), row->accuracy);
    }
    if (c->count == 0) {
        add_training_loss(out, c->last);
        fm_buffer_format(out, "| %.2f | %llu | - | - | - |\n", r->epoch, (unsigned long long)r->step);
    }
    fm_buffer_format(out, "\n%llu steps, %.2f million tokens, %.0f s.", (unsigned long long)r->step,
                     (double)r->tokens / 1e6, c->run->before + fm_seconds() - c->run->started);
    if (c->run->stopped) fm_buffer_text(out, " The evaluations had ceased to get better, so it was stopped early.");
    if (c->count > 0 && c->run->o->keep_best)
        fm_buffer_format(out, " The model is that of the best evaluation, after step %llu.",
                         (unsigned long long)c->rows[c->kept].step);
    fm_buffer_text(out, " All figures along the way are in [metrics.jsonl](metrics.jsonl).\n");
}

/* ---- prompts ---- */

static const char *const usual_prompts[] = {"This is a great [MASK].", "This movie was really [MASK].",
                                            "The [MASK] was the best part of the film.",
                                            "The capital of telangana is [MASK]."};
#define USUAL_PROMPTS (sizeof usual_prompts / sizeof *usual_prompts)

static size_t prompt_count(const card *c)
{
    return c->run->o->prompts.count ? c->run->o->prompts.count : USUAL_PROMPTS;
}

static const char *prompt_at(const card *c, size_t i)
{
    return c->run->o->prompts.count ? c->run->o->prompts.items[i] : usual_prompts[i];
}

/* The best fillings of the first mask, in a cell. */
static fm_status add_fillings(card *c, fm_model *model, const char *prompt, fm_error *err)
{
    fm_fill_result result = {0};
    fm_fill_options options = fm_fill_defaults();
    options.top_k = FILLINGS;
    fm_status status = fm_fill(model, prompt, strlen(prompt), &options, NULL, NULL, &result, err);
    fm_buffer_text(&c->out, " | ");
    for (size_t i = 0; !status && i < result.mask[0].count; i++) {
        if (i > 0) fm_buffer_text(&c->out, ", ");
        add_cell(&c->out, result.mask[0].top[i].word);
        fm_buffer_format(&c->out, " %.1f %%", 100.0 * result.mask[0].top[i].score);
    }
    fm_fill_result_free(&result);
    return status;
}

static fm_status add_predictions(card *c, fm_error *err)
{
    const train_options *o = c->run->o;
    const fm_model_options options = {.threads = (int)o->threads, .instruction_set = o->set};
    fm_model *before = NULL, *after = NULL;
    fm_status status = c->run->model ? fm_model_open(&before, c->run->model, &options, err) : FM_OK;
    if (!status) status = fm_model_open(&after, o->output, &options, err);
    fm_buffer_format(&c->out, "\n### Predictions\n\n| Text |%s After |\n|---|%s---|\n", before ? " Before |" : "",
                     before ? "---|" : "");
    for (size_t i = 0; i < prompt_count(c) && !status; i++) {
        fm_buffer_text(&c->out, "| ");
        add_cell(&c->out, prompt_at(c, i));
        if (before) status = add_fillings(c, before, prompt_at(c, i), err);
        if (!status) status = add_fillings(c, after, prompt_at(c, i), err);
        fm_buffer_text(&c->out, " |\n");
    }
    fm_model_close(before);
    fm_model_close(after);
    return status;
}

static void add_versions(card *c)
{
    struct utsname system;
    fm_buffer_format(&c->out, "\n### Framework versions\n\n- Fillmask %s, ", FM_VERSION);
    if (c->run->backend != c->run->cpu) fm_buffer_format(&c->out, "GPU %s\n", cli_host_gpu_name());
    else
        fm_buffer_format(&c->out, "instruction set %s, %d threads\n", fm_cpu_instruction_set(c->run->cpu),
                         fm_pool_threads(fm_cpu_pool(c->run->cpu)));
#ifdef __VERSION__
    fm_buffer_format(&c->out, "- Compiled by %s %s\n",
#ifdef __clang__
                     "Clang",
#else
                     "GCC",
#endif
                     __VERSION__);
#endif
    if (uname(&system) == 0) fm_buffer_format(&c->out, "- %s, %s\n", system.sysname, system.machine);
}

fm_status train_write_card(const train_run *run, fm_error *err)
{
    card c = {.run = run};
    fm_status status = read_rows(&c, err);
    if (!status) {
        add_front(&c);
        add_description(&c);
        add_data(&c);
        add_settings(&c);
        add_results(&c);
        status = add_predictions(&c, err);
    }
    if (!status) {
        add_versions(&c);
        status = c.out.failed ? fm_fail_memory(err, c.out.size, "a model card")
                              : fm_file_replace(run->card, c.out.data, c.out.size, err);
    }
    fm_buffer_free(&c.out);
    free(c.rows);
    return status;
}
