/* trainer.c - a training as a row of small steps that the caller makes: which chunks a step takes, micro-batches, the
 * learning rate, the update. Everything follows from the options and the number of the step, so a training can go on
 * from any step. Files are checkpoint.c's business, words on the screen nobody's here. */
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- creation ---- */

static fm_status check_options(const fm_train_options *o, const fm_config *config, fm_error *err)
{
    uint64_t before = 0;
    if (o->phase_count == 0 || o->phase_count > FM_MOST_PHASES)
        return fm_fail(err, FM_E_ARGUMENT, "A training has %zu phases; it takes 1 to %d.", o->phase_count,
                       FM_MOST_PHASES);
    for (size_t i = 0; i < o->phase_count; i++) {
        const fm_phase *p = &o->phases[i];
        if (p->length < 2 || p->length > config->positions)
            return fm_fail(err, FM_E_ARGUMENT, "Chunks of %u tokens: the length must be 2 to the model's %u positions.",
                           p->length, config->positions);
        if (p->batch == 0 || p->end <= before || p->end > UINT32_MAX)
            return fm_fail(err, FM_E_ARGUMENT,
                           "Phase %zu has a batch of %u and ends at step %llu; both must be positive, and ends rise.",
                           i + 1, p->batch, (unsigned long long)p->end);
        before = p->end;
    }
    if (!(o->mask_rate > 0.0f && o->mask_rate <= 0.9f))
        return fm_fail(err, FM_E_ARGUMENT, "The mask rate is %g; it must be above 0 and at most 0.9.",
                       (double)o->mask_rate);
    if (!(o->learning_rate > 0.0 && o->learning_rate < 1.0))
        return fm_fail(err, FM_E_ARGUMENT, "The learning rate is %g; it must be above 0 and below 1.",
                       o->learning_rate);
    if (!(o->shares.mask >= 0.0f && o->shares.random >= 0.0f && o->shares.mask + o->shares.random <= 1.0f))
        return fm_fail(err, FM_E_ARGUMENT,
                       "Of the tokens to predict, a share of %g becomes [MASK] and %g another token; both must be 0 or "
                       "more, and 1 at most together.",
                       (double)o->shares.mask, (double)o->shares.random);
    if (o->aside > 0 && o->phase_count > 1)
        return fm_fail(err, FM_E_ARGUMENT, "Chunks can be set aside for evaluations only if all have one length.");
    if (o->aside > 0 && o->line_by_line)
        return fm_fail(err, FM_E_ARGUMENT,
                       "Chunks cannot be set aside for evaluations line by line; evaluate on other data.");
    if (o->frozen_layers > config->layers)
        return fm_fail(err, FM_E_ARGUMENT, "%u layers cannot be frozen in a model of %u.", o->frozen_layers,
                       config->layers);
    return FM_OK;
}

static fm_room plan_room(const fm_train_options *o)
{
    uint32_t longest = 0, shortest = UINT32_MAX;
    for (size_t i = 0; i < o->phase_count; i++) {
        longest = o->phases[i].length > longest ? o->phases[i].length : longest;
        shortest = o->phases[i].length < shortest ? o->phases[i].length : shortest;
    }
    uint32_t tokens = o->micro_tokens > longest ? o->micro_tokens : longest;
    /* A fifth above the mean is rarely needed; a micro-batch that has no room ends earlier. */
    uint32_t masked = (uint32_t)((float)tokens * o->mask_rate * 1.2f) + 16;
    if (masked < longest) masked = longest;                      /* any one chunk fits */
    if (o->line_by_line) shortest = shortest < 8 ? shortest : 8; /* a micro-batch of many short lines ends earlier */
    return (fm_room){tokens, tokens / shortest, masked < tokens ? masked : tokens, true};
}

static void end_phase(fm_trainer *t)
{
    fm_chunks_free(&t->chunks);
    free(t->drawn);
    free(t->order);
    t->drawn = t->order = NULL;
    t->epoch = UINT64_MAX;
}

static void shuffle(uint32_t *x, uint32_t count, fm_random *random)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = fm_random_below(random, i), kept = x[i - 1];
        x[i - 1] = x[j];
        x[j] = kept;
    }
}

static fm_status begin_phase(fm_trainer *t, size_t phase, fm_error *err)
{
    end_phase(t);
    t->phase = phase;
    fm_status status =
        fm_chunks_make(&t->chunks, t->corpus, t->options.phases[phase].length, t->options.line_by_line, err);
    if (status) return status;
    uint32_t count = t->chunks.count, aside = t->options.aside;
    if (aside >= count)
        return fm_fail(
            err, FM_E_ARGUMENT,
            "%u chunks are to be set aside for evaluations and the data gives %u, which leaves none to train "
            "on; set fewer aside, or use more text.",
            aside, count);
    status = fm_chunks_split(&t->drawn, count, aside, t->options.aside_seed, err);
    if (status) return status;
    count -= aside;
    memmove(t->drawn, t->drawn + aside, count * sizeof *t->drawn);
    t->order = malloc(count * sizeof *t->order);
    if (!t->order) return fm_fail_memory(err, count * sizeof *t->order, "the order of the chunks");
    if (t->options.limit > 0 && t->options.limit < count) {
        fm_random random = fm_random_seeded(t->options.seed, 0x73616d70u);
        shuffle(t->drawn, count, &random);
        count = t->options.limit;
    }
    t->drawn_count = count;
    return FM_OK;
}

fm_status fm_trainer_create(fm_trainer **trainer, const fm_config *config, const fm_parameters *parameters,
                            const fm_tokenizer *tokenizer, fm_backend *backend, const fm_corpus *corpus,
                            const fm_train_options *options, const float *const *values, fm_error *err)
{
    *trainer = NULL;
    fm_status status = check_options(options, config, err);
    if (status) return status;
    if (options->precision == FM_PRECISION_F16 && !backend->half)
        return fm_fail(
            err, FM_E_UNSUPPORTED,
            "Precision f16 is for graphics cards that have it (WebGPU's feature shader-f16), and this training "
            "is not on one; use f32.");
    if (fm_tokenizer_size(tokenizer) != config->vocab_size)
        return fm_fail(err, FM_E_ARGUMENT, "The tokenizer has %u entries and the model %u; they must be the same.",
                       fm_tokenizer_size(tokenizer), config->vocab_size);
    fm_trainer *t = calloc(1, sizeof *t);
    if (!t) return fm_fail_memory(err, sizeof *t, "a trainer");
    t->config = config;
    t->parameters = parameters;
    t->backend = backend;
    t->corpus = corpus;
    t->options = *options;
    t->scale = options->precision == FM_PRECISION_F16 ? TRAINER_FIRST_SCALE : 1.0f;
    t->masking = (fm_masking){
        options->mask_rate, options->whole_words, options->seed, config->vocab_size, fm_tokenizer_special(tokenizer),
        options->shares};
    t->room = plan_room(options);
    status = begin_phase(t, 0, err);
    if (!status) status = fm_collator_create(&t->collator, t->room.tokens, t->room.sequences, t->room.masked, err);
    if (!status) status = fm_network_create(&t->network, config, parameters, backend, &t->room, values, err);
    if (status) {
        fm_trainer_destroy(t);
        return status;
    }
    fm_network_freeze(t->network, options->frozen_embeddings, options->frozen_layers);
    *trainer = t;
    return FM_OK;
}

void trainer_drop_fetched(fm_trainer *t)
{
    size_t size = (size_t)t->parameters->elements * t->fetched_states * sizeof *t->fetched;
    if (t->fetched) t->backend->ops->forget(t->backend, t->fetched, size);
    fm_free(t->fetched);
    t->fetched = NULL;
}

void trainer_forget_reads(fm_trainer *t)
{
    const fm_ops *ops = t->backend->ops;
    ops->forget(t->backend, t->losses, (size_t)t->loss_room * 2 * sizeof *t->losses);
    ops->forget(t->backend, &t->squares, sizeof t->squares);
    trainer_drop_fetched(t);
}

void fm_trainer_destroy(fm_trainer *t)
{
    if (!t) return;
    end_phase(t);
    trainer_forget_reads(t);
    fm_network_destroy(t->network);
    fm_collator_free(&t->collator);
    free(t->losses);
    free(t);
}

fm_room fm_trainer_room(const fm_trainer *t)
{
    return t->room;
}

bool fm_trainer_in_step(const fm_trainer *t)
{
    return t->running;
}

fm_network *fm_trainer_network(fm_trainer *t)
{
    return t->network;
}

uint64_t fm_trainer_steps(const fm_trainer *t)
{
    return t->options.phases[t->options.phase_count - 1].end;
}

/* ---- steps ---- */

/* Linear from 0 to the peak over the warm-up, then as transformers' "linear", "cosine" and "constant_with_warmup". */
static double learning_rate(const fm_train_options *o, uint64_t step)
{
    uint64_t total = o->phases[o->phase_count - 1].end;
    if (step < o->warmup) return o->learning_rate * (double)step / (double)o->warmup;
    if (o->schedule == FM_SCHEDULE_CONSTANT) return o->learning_rate;
    double left = total > o->warmup ? (double)(total - step) / (double)(total - o->warmup) : 0.0;
    if (o->schedule == FM_SCHEDULE_COSINE) return o->learning_rate * 0.5 * (1.0 - cos(3.14159265358979323846 * left));
    return o->learning_rate * left;
}

/* Of the phase that the next step belongs to. */
static uint64_t step_in_phase(const fm_trainer *t)
{
    return t->step - (t->phase > 0 ? t->options.phases[t->phase - 1].end : 0);
}

/* Steps of an epoch, of which the last may be short. */
static uint32_t epoch_steps(const fm_trainer *t)
{
    uint32_t batch = t->options.phases[t->phase].batch;
    return (uint32_t)(((uint64_t)t->drawn_count + batch - 1) / batch);
}

/* Finds the phase of the next step and its epoch, whose chunks are shuffled anew. */
static fm_status find_order(fm_trainer *t, fm_error *err)
{
    const fm_phase *phases = t->options.phases;
    size_t phase = 0;
    while (phase + 1 < t->options.phase_count && t->step >= phases[phase].end) phase++;
    if (phase != t->phase || !t->drawn) {
        fm_status status = begin_phase(t, phase, err);
        if (status) return status;
    }
    uint64_t epoch = step_in_phase(t) / epoch_steps(t);
    if (t->epoch == epoch) return FM_OK;
    t->epoch = epoch;
    memcpy(t->order, t->drawn, t->drawn_count * sizeof *t->order);
    fm_random random = fm_random_seeded(t->options.seed + ((uint64_t)phase << 32), 0x10000u + (uint32_t)t->epoch);
    shuffle(t->order, t->drawn_count, &random);
    return FM_OK;
}

fm_status trainer_order_hash(fm_trainer *t, uint64_t *hash, fm_error *err)
{
    fm_status status = find_order(t, err);
    *hash = FM_HASH_START;
    for (uint32_t i = 0; i < t->drawn_count && !status; i++) *hash = fm_hash_number(*hash, t->order[i]);
    return status;
}

fm_status trainer_go_to(fm_trainer *t, uint64_t step, uint64_t tokens, fm_error *err)
{
    t->step = t->report.step = step;
    t->tokens = t->report.tokens = tokens;
    t->running = t->batch_running = false;
    fm_status status = find_order(t, err);
    if (status) return status;
    uint64_t done = step_in_phase(t);
    t->report.epoch = (double)done / epoch_steps(t);
    t->report.epoch_ended = done > 0 && done % epoch_steps(t) == 0;
    return FM_OK;
}

static fm_status begin_step(fm_trainer *t, fm_error *err)
{
    fm_status found = find_order(t, err);
    if (found) return found;
    uint32_t batch = t->options.phases[t->phase].batch;
    uint64_t first = step_in_phase(t) % epoch_steps(t) * batch, last = first + batch;
    t->first = t->next = (uint32_t)first;
    t->last = (uint32_t)(last < t->drawn_count ? last : t->drawn_count);
    t->loss = 0.0;
    t->masked = 0;
    t->tokens = t->report.tokens;
    for (uint32_t i = t->first; i < t->last; i++)
        t->masked +=
            fm_masked_count(&t->masking, (uint32_t)(t->step + 1), t->order[i],
                            t->corpus->ids + t->chunks.starts[t->order[i]], fm_chunk_length(&t->chunks, t->order[i]));
    if (t->masked > t->loss_room) {
        free(t->losses);
        t->losses = calloc((size_t)t->masked * 2, sizeof *t->losses);
        t->loss_room = t->losses ? t->masked : 0;
        if (!t->losses) return fm_fail_memory(err, (size_t)t->masked * 8, "the losses of a step");
    }
    t->read = 0;
    fm_network_zero_gradients(t->network);
    t->running = true;
    t->updated = false;
    return FM_OK;
}

static fm_status begin_batch(fm_trainer *t, fm_error *err)
{
    fm_collator_clear(&t->collator, t->next - t->first);
    while (t->next < t->last) {
        uint32_t chunk = t->order[t->next];
        if (!fm_collator_add(&t->collator, &t->masking, (uint32_t)(t->step + 1), chunk,
                             t->corpus->ids + t->chunks.starts[chunk], fm_chunk_length(&t->chunks, chunk)))
            break;
        t->next++;
    }
    const fm_batch *batch = &t->collator.batch;
    t->tokens += batch->tokens;
    if (batch->masked == 0) return FM_OK; /* nothing to learn from in these chunks */
    fm_run_options run = {.run = FM_RUN_TRAIN,
                          .scale = (float)(t->scale / (double)t->masked),
                          .precision = t->options.precision,
                          .dropout = t->options.dropout,
                          .seed = t->options.seed,
                          .step = (uint32_t)t->step};
    t->batch_running = true;
    return fm_network_begin(t->network, batch, &run, err);
}

/* first: place in the order of the first chunk that it is of. */
static fm_status refuse_loss(const fm_trainer *t, uint32_t first, double loss, fm_error *err)
{
    uint32_t chunk = t->order[first];
    uint64_t place = t->chunks.starts[chunk], document = 0, end = t->corpus->documents;
    while (end - document > 1) { /* the last that starts no later */
        uint64_t middle = document + (end - document) / 2;
        if (t->corpus->starts[middle] <= place) document = middle;
        else end = middle;
    }
    return fm_fail(
        err, FM_E_FORMAT,
        "The loss is %g at step %llu of %llu, in batch %llu of its epoch, among chunks %u to %u of that batch "
        "(the first of them begins in document %llu of the data); the weights have diverged or are damaged: "
        "use a lower learning rate, a warm-up or clipping.",
        loss, (unsigned long long)(t->step + 1), (unsigned long long)fm_trainer_steps(t),
        (unsigned long long)(step_in_phase(t) % epoch_steps(t) + 1), first - t->first + 1, t->next - t->first,
        (unsigned long long)(document + 1));
}

/* The summed losses of the masked rows from one on. */
static double sum_losses(const fm_trainer *t, uint64_t begin)
{
    double loss = 0.0;
    for (uint64_t i = begin; i < t->read; i++) loss += t->losses[2 * i];
    return loss;
}

static fm_status end_batch(fm_trainer *t, fm_error *err)
{
    t->batch_running = false;
    fm_network_read_losses(t->network, t->losses + 2 * t->read);
    uint64_t begin = t->read;
    t->read += t->collator.batch.masked;
    if (t->backend->ops->submit) { /* nobody waits for one by one; end_step() takes them all */
        t->backend->ops->submit(t->backend);
        return FM_OK;
    }
    fm_status status = t->backend->ops->finish(t->backend, err);
    if (status) return status;
    double loss = sum_losses(t, begin);
    t->loss += loss;
    return isfinite(loss) ? FM_OK
                          : refuse_loss(t, t->next - t->collator.batch.sequences, loss / t->collator.batch.masked, err);
}

/* After a step of f16, whose gradients would vanish unless they were scaled: half as much after one that was beyond its
 * numbers and so has changed nothing, twice as much after many that were not (Micikevicius et al. 2018). */
static void adapt_scale(fm_trainer *t)
{
    if (t->options.precision != FM_PRECISION_F16) return;
    bool made = isfinite(t->squares);
    t->whole = made ? t->whole + 1 : 0;
    if (!made && t->scale > 1.0f) t->scale *= 0.5f;
    if (t->whole < TRAINER_STEPS_TO_RISE) return;
    t->whole = 0;
    if (t->scale < TRAINER_MOST_SCALE) t->scale *= 2.0f;
}

static fm_status end_step(fm_trainer *t, fm_error *err)
{
    const fm_train_options *o = &t->options;
    fm_adamw update = {.learning_rate = (float)learning_rate(o, t->step),
                       .beta1 = (float)o->beta1,
                       .beta2 = (float)o->beta2,
                       .epsilon = (float)o->epsilon,
                       .weight_decay = (float)o->weight_decay,
                       .clip = (float)o->clip,
                       .step = (uint32_t)(t->step + 1),
                       .scale = t->scale};
    if (!t->updated) {
        fm_network_update(t->network, &update);
        fm_network_read_squares(t->network, &t->squares);
        t->updated = true;
    }
    fm_status status = t->backend->ops->finish(t->backend, err);
    if (status) return status;
    if (t->backend->ops->submit) t->loss = sum_losses(t, 0);
    if (!isfinite(t->loss)) return refuse_loss(t, t->first, t->loss / (double)t->read, err);
    uint64_t done = step_in_phase(t) + 1;
    t->report.epoch = (double)done / epoch_steps(t);
    t->report.epoch_ended = done % epoch_steps(t) == 0;
    t->running = false;
    t->step++;
    t->report.step = t->step;
    t->report.tokens = t->tokens;
    t->report.masked = t->masked;
    t->report.loss = t->masked > 0 ? t->loss / (double)t->masked : 0.0;
    t->report.norm = sqrt((double)t->squares) / (double)t->scale;
    adapt_scale(t);
    t->report.learning_rate = (double)update.learning_rate;
    return FM_OK;
}

fm_status fm_trainer_advance(fm_trainer *t, bool *stepped, fm_error *err)
{
    *stepped = false;
    if (t->step >= fm_trainer_steps(t)) return fm_fail(err, FM_E_ARGUMENT, "All steps of the training are made.");
    if (!t->running) return begin_step(t, err);
    if (t->batch_running) return fm_network_advance(t->network) ? FM_OK : end_batch(t, err);
    if (t->next < t->last) return begin_batch(t, err);
    fm_status status = end_step(t, err);
    *stepped = !status;
    return status;
}

const fm_train_report *fm_trainer_report(const fm_trainer *t)
{
    return &t->report;
}

const fm_state trainer_states[] = {FM_STATE_VALUES, FM_STATE_FIRST, FM_STATE_SECOND};

fm_status trainer_fetch(fm_trainer *t, size_t count, const float **found, fm_error *err)
{
    size_t elements = (size_t)t->parameters->elements, all;
    if (t->fetched && (t->fetched_states != count || t->fetched_step != t->step)) trainer_drop_fetched(t);
    if (!t->fetched) {
        t->fetched = fm_size_mul(elements, count, &all) ? fm_alloc(all, sizeof *t->fetched) : NULL;
        if (!t->fetched) return fm_fail_memory(err, elements * sizeof *t->fetched, "the state of a training");
        t->fetched_states = count;
        t->fetched_step = t->step;
        for (size_t i = 0; i < count; i++)
            fm_network_read_state(t->network, trainer_states[i], t->fetched + i * elements);
    }
    *found = t->fetched;
    fm_status status = t->backend->ops->finish(t->backend, err);
    if (status && status != FM_PENDING) trainer_drop_fetched(t);
    return status;
}

fm_status fm_trainer_values(fm_trainer *t, float *to, fm_error *err)
{
    const float *found;
    if (!t->backend->ops->later) {
        fm_network_read_state(t->network, FM_STATE_VALUES, to);
        return t->backend->ops->finish(t->backend, err);
    }
    fm_status status = trainer_fetch(t, 1, &found, err);
    if (status) return status;
    memcpy(to, found, (size_t)t->parameters->elements * sizeof *to);
    trainer_drop_fetched(t);
    return FM_OK;
}
