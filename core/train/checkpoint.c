/* checkpoint.c - a trainer's state as one safetensors file: the parameters, both moments, the step, the generator, the
 * order of the data, what the training was asked for, and a hash of it all. Not a model for others to load;
 * fm_weights_save writes those. */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[TRAINER_STATES] = {"values", "first_moment", "second_moment"};

/* Everything that changes what a step does, as items of text that each end in ";": a checkpoint only fits a training
 * with the same. The size of micro-batches and the number of threads are not among them. */
static void describe(const fm_trainer *t, fm_buffer *text)
{
    const fm_train_options *o = &t->options;
    const fm_config *c = t->config;
    fm_buffer_format(text, "vocabulary %u;hidden %u;layers %u;heads %u;feed-forward %u;positions %u;", c->vocab_size,
                     c->hidden, c->layers, c->heads, c->feed_forward, c->positions);
    for (size_t i = 0; i < o->phase_count; i++)
        fm_buffer_format(text, "%u chunks of %u up to step %llu;", o->phases[i].batch, o->phases[i].length,
                         (unsigned long long)o->phases[i].end);
    fm_buffer_format(text, "warm-up %llu;learning rate %.9g;betas %.9g %.9g;epsilon %.9g;weight decay %.9g;",
                     (unsigned long long)o->warmup, o->learning_rate, o->beta1, o->beta2, o->epsilon, o->weight_decay);
    fm_buffer_format(text, "clip %.9g;dropout %.9g;attention dropout %.9g;mask rate %.9g;whole words %d;seed %u;",
                     o->clip, o->dropout ? (double)c->dropout : 0.0, o->dropout ? (double)c->attention_dropout : 0.0,
                     (double)o->mask_rate, o->whole_words, o->seed);
    if (o->line_by_line) fm_buffer_text(text, "line by line;");
    static const char *const schedules[] = {"linear", "cosine", "constant"};
    fm_buffer_format(text, "schedule %s;masked share %.9g;random share %.9g;", schedules[o->schedule],
                     (double)o->shares.mask, (double)o->shares.random);
    static const char *const precisions[] = {"f32", "bf16", "f16"};
    fm_buffer_format(text, "precision %s;", precisions[o->precision]);
    fm_buffer_format(text, "frozen embeddings %d;frozen layers %u;", o->frozen_embeddings, o->frozen_layers);
    fm_buffer_format(text, "%u chunks set aside with seed %u;", o->aside, o->aside_seed);
    fm_buffer_format(text, "limit %u;%llu documents of data, with hash %016llx;", o->limit,
                     (unsigned long long)t->corpus->documents, (unsigned long long)fm_corpus_hash(t->corpus));
}

/* The first item in which two descriptions differ. */
static fm_status refuse_other(const char *path, const char *theirs, const char *mine, fm_error *err)
{
    for (;;) {
        size_t left = strcspn(theirs, ";"), right = strcspn(mine, ";");
        if (left != right || memcmp(theirs, mine, left) != 0 || !theirs[left] || !mine[right])
            return fm_fail(err, FM_E_ARGUMENT,
                           "%s belongs to another training: it has \"%.*s\" where this one has \"%.*s\"; resume with "
                           "the options and data of its start, or begin another training.",
                           path, left < 200 ? (int)left : 200, theirs, (int)right, mine);
        theirs += left + 1;
        mine += right + 1;
    }
}

static uint64_t hash_numbers(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i + 4 <= size; i += 4) {
        uint32_t number;
        memcpy(&number, bytes + i, sizeof number);
        hash = fm_hash_number(hash, number);
    }
    return hash;
}

static uint64_t hash_notes(const fm_stored_note *notes, size_t count)
{
    uint64_t hash = FM_HASH_START;
    for (size_t i = 0; i < count; i++)
        if (notes[i].value) hash = fm_hash(hash, notes[i].value, strlen(notes[i].value) + 1);
    return hash;
}

/* What a checkpoint says beside its tensors; the hash, of all else, comes last. The loss scale, and for how many steps
 * it has been kept, only trainings of f16 have, and not those of versions that forgot it. */
enum { NOTE_TRAINING, NOTE_STEP, NOTE_TOKENS, NOTE_GENERATOR, NOTE_ORDER, NOTE_SCALE, NOTE_HASH, NOTES };
static const char *const keys[] = {"fillmask.training", "step", "tokens", "generator", "order", "loss_scale", "hash"};

typedef struct memory {
    uint8_t *data;
    size_t size;
} memory;

/* What a checkpoint is stored by, in a file or in memory. */
typedef fm_status store(void *to, const fm_stored_tensor *tensors, const fm_stored_note *notes, size_t note_count,
                        fm_error *err);

static fm_status store_file(void *to, const fm_stored_tensor *tensors, const fm_stored_note *notes, size_t note_count,
                            fm_error *err)
{
    const char *const *path = to;
    return fm_safetensors_write(*path, tensors, TRAINER_STATES, notes, note_count, err);
}

static fm_status store_memory(void *to, const fm_stored_tensor *tensors, const fm_stored_note *notes, size_t note_count,
                              fm_error *err)
{
    memory *m = to;
    return fm_safetensors_build(&m->data, &m->size, tensors, TRAINER_STATES, notes, note_count, err);
}

static fm_status save(fm_trainer *t, store *by, void *to, fm_error *err)
{
    size_t elements = (size_t)t->parameters->elements;
    const float *found;
    if (t->running && t->updated)
        return fm_fail(err, FM_E_ARGUMENT, "A checkpoint cannot be made while the update of a step is under way.");
    fm_stored_tensor tensors[TRAINER_STATES];
    fm_status status = trainer_fetch(t, TRAINER_STATES, &found, err);
    if (status) return status;
    for (size_t i = 0; i < TRAINER_STATES; i++)
        tensors[i] = (fm_stored_tensor){.name = names[i],
                                        .type = FM_STORED_F32,
                                        .rank = 1,
                                        .shape = {elements},
                                        .data = (const uint8_t *)(found + i * elements),
                                        .size = elements * sizeof(float)};
    fm_buffer training = {0};
    describe(t, &training);
    if (training.failed) status = fm_fail_memory(err, training.size, "a checkpoint");
    uint64_t order = 0;
    if (!status) status = trainer_order_hash(t, &order, err);
    if (!status) {
        char step[24], tokens[24], generator[60], order_text[24], scale[40], hash_text[24];
        snprintf(step, sizeof step, "%llu", (unsigned long long)t->step);
        snprintf(tokens, sizeof tokens, "%llu", (unsigned long long)t->report.tokens);
        snprintf(generator, sizeof generator, "threefry2x32-20, seed %u, round %llu", t->options.seed,
                 (unsigned long long)t->step + 1);
        snprintf(order_text, sizeof order_text, "%016llx", (unsigned long long)order);
        snprintf(scale, sizeof scale, "%.0f %u", (double)t->scale, t->whole);
        const bool scaled = t->options.precision == FM_PRECISION_F16;
        const char *const values[NOTES] = {training.data,         step,     tokens, generator, order_text,
                                           scaled ? scale : NULL, hash_text};
        fm_stored_note notes[NOTES];
        size_t count = 0;
        for (size_t i = 0; i < NOTES; i++)
            if (values[i]) notes[count++] = (fm_stored_note){keys[i], values[i]};
        uint64_t hash = hash_notes(notes, count - 1);
        for (size_t i = 0; i < TRAINER_STATES; i++) hash = hash_numbers(hash, tensors[i].data, tensors[i].size);
        snprintf(hash_text, sizeof hash_text, "%016llx", (unsigned long long)hash);
        status = by(to, tensors, notes, count, err);
    }
    fm_buffer_free(&training);
    trainer_drop_fetched(t);
    return status;
}

fm_status fm_checkpoint_save(fm_trainer *t, const char *path, fm_error *err)
{
    return save(t, store_file, &path, err);
}

fm_status fm_checkpoint_build(fm_trainer *t, uint8_t **data, size_t *size, fm_error *err)
{
    memory made = {0};
    fm_status status = save(t, store_memory, &made, err);
    *data = made.data;
    *size = made.size;
    return status;
}

/* Values and first moments are finite, second moments not negative besides. */
static fm_status check_tensor(const fm_trainer *t, const fm_safetensors *file, size_t index, const char *path,
                              fm_error *err)
{
    const fm_stored_tensor *x = fm_safetensors_find(file, names[index]);
    if (!x || x->type != FM_STORED_F32 || x->rank != 1 || x->shape[0] != t->parameters->elements)
        return fm_fail(err, FM_E_FORMAT, "%s has no F32 tensor \"%s\" of %llu elements.", path, names[index],
                       (unsigned long long)t->parameters->elements);
    for (size_t i = 0; i < x->size; i += sizeof(float)) {
        float value;
        memcpy(&value, x->data + i, sizeof value);
        if (!isfinite(value) || (trainer_states[index] == FM_STATE_SECOND && value < 0.0f))
            return fm_fail(err, FM_E_FORMAT, "%s is damaged: its tensor \"%s\" holds %g.", path, names[index],
                           (double)value);
    }
    return FM_OK;
}

/* Whether the file is as it was written. */
static fm_status check_hash(const fm_safetensors *file, const fm_stored_note *notes, const char *path, fm_error *err)
{
    uint64_t hash = hash_notes(notes, NOTE_HASH);
    for (size_t i = 0; i < TRAINER_STATES; i++) {
        const fm_stored_tensor *x = fm_safetensors_find(file, names[i]);
        if (x) hash = hash_numbers(hash, x->data, x->size);
    }
    char text[24];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    if (strcmp(text, notes[NOTE_HASH].value) == 0) return FM_OK;
    return fm_fail(err, FM_E_FORMAT, "%s is damaged: its content has the hash %s where it should have %.16s.", path,
                   text, notes[NOTE_HASH].value);
}

static fm_status check(fm_trainer *t, const fm_safetensors *file, const fm_stored_note *notes, const char *path,
                       fm_error *err)
{
    for (size_t i = 0; i < NOTES; i++)
        if (!notes[i].value && i != NOTE_SCALE)
            return fm_fail(err, FM_E_FORMAT, "%s is not a checkpoint of a training.", path);
    fm_status status = check_hash(file, notes, path, err);
    if (status) return status;
    fm_buffer mine = {0};
    describe(t, &mine);
    const char *theirs = notes[NOTE_TRAINING].value;
    if (mine.failed) status = fm_fail_memory(err, mine.size, "a checkpoint");
    else if (strcmp(mine.data, theirs) != 0) status = refuse_other(path, theirs, mine.data, err);
    fm_buffer_free(&mine);
    for (size_t i = 0; i < TRAINER_STATES && !status; i++) status = check_tensor(t, file, i, path, err);
    return status;
}

/* A number of digits alone, up to `last`: what comes after that, or NULL. */
static const char *read_number(const char *text, char last, uint64_t *value)
{
    char *end;
    if (*text < '0' || *text > '9') return NULL;
    *value = strtoull(text, &end, 10);
    return *end == last ? end + 1 : NULL;
}

/* How gradients of f16 are scaled from here on, as at the start of a training where the checkpoint does not say. */
static fm_status read_scale(const fm_trainer *t, const char *text, const char *path, uint64_t *scale, uint64_t *whole,
                            fm_error *err)
{
    *scale = (uint64_t)TRAINER_FIRST_SCALE;
    *whole = 0;
    if (!text || t->options.precision != FM_PRECISION_F16) return FM_OK;
    const char *rest = read_number(text, ' ', scale);
    if (rest && read_number(rest, '\0', whole) && *scale > 0 && (*scale & (*scale - 1)) == 0 &&
        *scale <= (uint64_t)TRAINER_MOST_SCALE && *whole < TRAINER_STEPS_TO_RISE)
        return FM_OK;
    return fm_fail(err, FM_E_FORMAT,
                   "%s has the loss scale \"%.40s\" where a power of two up to %.0f belongs, and for how many steps it "
                   "was kept, fewer than %d; resume from another checkpoint.",
                   path, text, (double)TRAINER_MOST_SCALE, TRAINER_STEPS_TO_RISE);
}

/* Closes the file, which errors call `path`. */
static fm_status load(fm_trainer *t, fm_safetensors *file, const char *path, fm_error *err)
{
    fm_stored_note notes[NOTES];
    for (size_t i = 0; i < NOTES; i++) notes[i] = (fm_stored_note){keys[i], fm_safetensors_metadata(file, keys[i])};
    fm_status status = check(t, file, notes, path, err);
    uint64_t step = 0, tokens = 0, scale = 0, whole = 0, order;
    if (!status && (!read_number(notes[NOTE_STEP].value, '\0', &step) ||
                    !read_number(notes[NOTE_TOKENS].value, '\0', &tokens) || step > fm_trainer_steps(t)))
        status = fm_fail(err, FM_E_FORMAT, "%s does not say a step of this training.", path);
    if (!status) status = read_scale(t, notes[NOTE_SCALE].value, path, &scale, &whole, err);
    size_t elements = (size_t)t->parameters->elements;
    float *array = status ? NULL : fm_alloc(elements, sizeof(float));
    if (!status && !array) status = fm_fail_memory(err, elements * sizeof(float), "a checkpoint");
    if (!status) trainer_forget_reads(t);
    for (size_t i = 0; i < TRAINER_STATES && !status; i++) {
        memcpy(array, fm_safetensors_find(file, names[i])->data, elements * sizeof(float));
        fm_network_write_state(t->network, trainer_states[i], array);
    }
    if (!status) status = t->backend->ops->finish(t->backend, err);
    if (status == FM_PENDING) status = FM_OK; /* what is asked for later finds it there */
    if (!status) status = trainer_go_to(t, step, tokens, err);
    if (!status && t->options.precision == FM_PRECISION_F16) {
        t->scale = (float)scale;
        t->whole = (uint32_t)whole;
    }
    if (!status) status = trainer_order_hash(t, &order, err);
    if (!status && order != strtoull(notes[NOTE_ORDER].value, NULL, 16))
        status =
            fm_fail(err, FM_E_ARGUMENT,
                    "%s was made by a version of this program that takes the data in another order; train from the "
                    "start.",
                    path);
    fm_free(array);
    fm_safetensors_close(file);
    return status;
}

fm_status fm_checkpoint_load(fm_trainer *t, const char *path, fm_error *err)
{
    fm_safetensors *file;
    fm_status status = fm_safetensors_open(&file, path, err);
    return status ? status : load(t, file, path, err);
}

fm_status fm_checkpoint_read(fm_trainer *t, const void *data, size_t size, fm_error *err)
{
    static const char name[] = "The checkpoint";
    fm_safetensors *file;
    fm_status status = fm_safetensors_from_memory(&file, data, size, name, err);
    return status ? status : load(t, file, name, err);
}
