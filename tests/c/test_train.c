/* test_train.c - core/train/trainer.c, checkpoint.c and evaluator.c on a small network: which steps a training makes,
 * that their numbers depend neither on threads nor on micro-batches, and that a checkpoint goes on where it was made.
 * What one step computes is tested against PyTorch in test_network.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/train.h"

enum { VOCABULARY = 40, FIRST = 5, DOCUMENTS = 30, EACH = 33 }; /* [CLS], 31 tokens, [SEP] */

static char folder[64];
static fm_tokenizer *tokenizer;
static fm_corpus corpus;
static const fm_config config = {.vocab_size = VOCABULARY,
                                 .hidden = 12,
                                 .layers = 2,
                                 .heads = 3,
                                 .feed_forward = 20,
                                 .positions = 48,
                                 .dropout = 0.1f,
                                 .attention_dropout = 0.1f,
                                 .initializer_range = 0.05f};

/* 990 tokens: 61 chunks of 16. Low numbers are frequent, and mostly followed by the next one. */
static int make_data(void **state)
{
    (void)state;
    fm_buffer vocab = {0};
    fm_buffer_text(&vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = FIRST; i < VOCABULARY; i++) fm_buffer_format(&vocab, "w%d\n", i);
    fm_status status = fm_tokenizer_from_vocab(&tokenizer, vocab.data, vocab.size, true, NULL);
    fm_buffer_free(&vocab);
    corpus.own_ids = calloc((size_t)DOCUMENTS * EACH, sizeof *corpus.own_ids);
    corpus.own_starts = calloc(DOCUMENTS + 1, sizeof *corpus.own_starts);
    if (status || !corpus.own_ids || !corpus.own_starts) return 1;
    fm_random random = fm_random_seeded(5, 0);
    for (uint32_t d = 0, at = 0; d < DOCUMENTS; d++) {
        uint32_t id = 0;
        for (uint32_t i = 0; i < EACH; i++) {
            bool jump = fm_random_below(&random, 3) == 0;
            id = jump ? fm_random_below(&random, 4) : (id + 1) % (VOCABULARY - FIRST);
            corpus.own_ids[at++] = i == 0 ? 2 : i == EACH - 1 ? 3 : (FIRST + id) | (i % 2 ? FM_TOKEN_WORD : 0);
        }
        corpus.own_starts[d + 1] = at;
    }
    corpus.ids = corpus.own_ids;
    corpus.starts = corpus.own_starts;
    corpus.documents = DOCUMENTS;
    corpus.tokens = (uint64_t)DOCUMENTS * EACH;
    strcpy(folder, "/tmp/fm-train-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int free_data(void **state)
{
    (void)state;
    fm_corpus_free(&corpus);
    fm_tokenizer_close(tokenizer);
    return rmdir(folder);
}

/* ---- a trainer and what it stands on ---- */

typedef struct rig {
    fm_config config;
    fm_parameters parameters;
    float *values;
    const float **pointers;
    fm_backend *backend;
    fm_trainer *trainer;
} rig;

static const fm_train_options usual = {.phases = {{16, 8, 12}},
                                       .phase_count = 1,
                                       .learning_rate = 1e-2,
                                       .beta1 = 0.9,
                                       .beta2 = 0.999,
                                       .epsilon = 1e-8,
                                       .weight_decay = 0.01,
                                       .clip = 1.0,
                                       .dropout = true,
                                       .mask_rate = 0.15f,
                                       .shares = FM_BERT_SHARES,
                                       .seed = 42,
                                       .micro_tokens = 64};

static rig *open_with(const fm_train_options *options, fm_backend *backend)
{
    fm_error err = {.text = ""};
    rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->config = config;
    assert_int_equal(fm_parameters_make(&r->parameters, &config, NULL), FM_OK);
    r->values = fm_alloc(r->parameters.elements, sizeof(float));
    r->pointers = calloc(r->parameters.count, sizeof *r->pointers);
    assert_true(r->values && r->pointers);
    assert_int_equal(fm_initialise(r->values, &config, &r->parameters, 1, false, NULL, NULL), FM_OK);
    for (size_t i = 0; i < r->parameters.count; i++) r->pointers[i] = r->values + r->parameters.list[i].offset;
    r->backend = backend;
    if (fm_trainer_create(&r->trainer, &r->config, &r->parameters, tokenizer, r->backend, &corpus, options, r->pointers,
                          &err))
        fail_msg("%s", err.text);
    return r;
}

static rig *open_rig(const fm_train_options *options, const char *set, int threads)
{
    fm_backend *backend;
    assert_int_equal(fm_cpu_create(&backend, set, threads, NULL), FM_OK);
    return open_with(options, backend);
}

static void close_rig(rig *r)
{
    fm_trainer_destroy(r->trainer);
    r->backend->ops->destroy(r->backend);
    fm_parameters_free(&r->parameters);
    fm_free(r->values);
    free(r->pointers);
    free(r);
}

static fm_train_report step(rig *r)
{
    bool stepped = false;
    fm_error err;
    while (!stepped)
        if (fm_trainer_advance(r->trainer, &stepped, &err)) fail_msg("%s", err.text);
    return *fm_trainer_report(r->trainer);
}

/* Reads the values into r->values; they stay the rig's. */
static const float *values_of(rig *r)
{
    assert_int_equal(fm_trainer_values(r->trainer, r->values, NULL), FM_OK);
    return r->values;
}

static void assert_same_values(rig *a, rig *b)
{
    assert_memory_equal(values_of(a), values_of(b), a->parameters.elements * sizeof(float));
}

static const char *file(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* ---- steps ---- */

/* Against get_linear_schedule_with_warmup of transformers 5.23 over torch 2.13: the rates its optimizer steps with. */
static void learning_rates_are_those_of_transformers(void **state)
{
    (void)state;
    static const struct {
        uint64_t warmup, steps;
        double rates[12];
    } cases[] = {
        {4, 12, {0, 0.0025, 0.005, 0.0075, 0.01, 0.00875, 0.0075, 0.00625, 0.005, 0.00375, 0.0025, 0.00125}},
        {0, 7, {0.01, 0.008571428571, 0.007142857143, 0.005714285714, 0.004285714286, 0.002857142857, 0.001428571429}},
        {5, 5, {0, 0.002, 0.004, 0.006, 0.008}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fm_train_options options = usual;
        options.warmup = cases[i].warmup;
        options.phases[0].end = cases[i].steps;
        rig *r = open_rig(&options, NULL, 1);
        assert_int_equal(fm_trainer_steps(r->trainer), cases[i].steps);
        for (uint64_t s = 0; s < cases[i].steps; s++) {
            fm_train_report report = step(r);
            assert_int_equal(report.step, s + 1);
            assert_true(fabs(report.learning_rate - cases[i].rates[s]) <= 1e-9);
        }
        bool stepped;
        assert_int_equal(fm_trainer_advance(r->trainer, &stepped, NULL), FM_E_ARGUMENT);
        close_rig(r);
    }
}

/* Against get_cosine_schedule_with_warmup and get_constant_schedule_with_warmup. */
static void other_schedules_are_those_of_transformers_too(void **state)
{
    (void)state;
    static const struct {
        fm_schedule schedule;
        double rates[8];
    } cases[] = {
        {FM_SCHEDULE_COSINE, {0, 0.005, 0.01, 0.009330127019, 0.0075, 0.005, 0.0025, 0.000669872981}},
        {FM_SCHEDULE_CONSTANT, {0, 0.005, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01}},
    };
    for (size_t i = 0; i < 2; i++) {
        fm_train_options options = usual;
        options.schedule = cases[i].schedule;
        options.warmup = 2;
        options.phases[0].end = 8;
        rig *r = open_rig(&options, NULL, 1);
        for (size_t s = 0; s < 8; s++) assert_true(fabs(step(r).learning_rate - cases[i].rates[s]) <= 1e-9);
        close_rig(r);
    }
}

/* What is frozen keeps its bits, weight decay or not; the rest learns. */
static void frozen_parts_stay(void **state)
{
    (void)state;
    for (int embeddings = 0; embeddings < 2; embeddings++)
        for (uint32_t layers = 0; layers <= config.layers; layers++) {
            fm_train_options options = usual;
            options.frozen_embeddings = embeddings == 1;
            options.frozen_layers = layers;
            rig *r = open_rig(&options, NULL, 2), *start = open_rig(&usual, NULL, 1);
            for (int s = 0; s < 4; s++) step(r);
            const float *values = values_of(r);
            for (size_t i = 0; i < r->parameters.count; i++) {
                const fm_parameter *p = &r->parameters.list[i];
                bool frozen = i < FM_P_LAYER0 ? embeddings == 1 : (i - FM_P_LAYER0) / FM_P_PER_LAYER < layers;
                size_t size = (size_t)p->rows * p->cols * sizeof(float);
                bool same = memcmp(values + p->offset, start->values + p->offset, size) == 0;
                if (same != frozen) fail_msg("%s %s", p->name, same ? "did not learn" : "is not frozen");
            }
            close_rig(r);
            close_rig(start);
        }
}

/* The split is a partition into two rising lists, and no step of a training sees what was set aside. */
static void chunks_that_are_set_aside_are_not_trained_on(void **state)
{
    (void)state;
    uint32_t *list, seen[61];
    for (uint32_t aside = 0; aside <= 61; aside += 7) {
        assert_int_equal(fm_chunks_split(&list, 61, aside, 42, NULL), FM_OK);
        memset(seen, 0, sizeof seen);
        for (uint32_t i = 0; i < 61; i++) {
            assert_true(list[i] < 61 && seen[list[i]]++ == 0);
            assert_true(i == 0 || i == aside || list[i - 1] < list[i]);
        }
        free(list);
    }
    /* Those set aside become tokens that would make the loss another one. */
    fm_train_options options = usual;
    options.aside = 20;
    options.aside_seed = 7;
    fm_chunks chunks;
    assert_int_equal(fm_chunks_make(&chunks, &corpus, 16, false, NULL), FM_OK);
    assert_int_equal(chunks.count, 61);
    assert_int_equal(fm_chunks_split(&list, 61, 20, 7, NULL), FM_OK);
    rig *before = open_rig(&options, NULL, 1);
    for (int s = 0; s < 12; s++) step(before);
    for (uint32_t i = 0; i < 20; i++)
        for (uint32_t j = 0; j < 16; j++) corpus.own_ids[chunks.starts[list[i]] + j] ^= 1;
    rig *after = open_rig(&options, NULL, 1);
    for (int s = 0; s < 12; s++) step(after);
    for (uint32_t i = 0; i < 20; i++)
        for (uint32_t j = 0; j < 16; j++) corpus.own_ids[chunks.starts[list[i]] + j] ^= 1;
    assert_same_values(before, after);
    close_rig(before);
    close_rig(after);
    free(list);
    fm_chunks_free(&chunks);
    fm_error err;
    options.aside = 61;
    fm_trainer *none;
    rig *r = open_rig(&usual, NULL, 1);
    assert_int_equal(fm_trainer_create(&none, &r->config, &r->parameters, tokenizer, r->backend, &corpus, &options,
                                       r->pointers, &err),
                     FM_E_ARGUMENT);
    assert_non_null(strstr(err.text, "61 chunks are to be set aside"));
    close_rig(r);
}

/* Weights whose products overflow. */
static void a_loss_that_is_no_number_ends_the_training(void **state)
{
    (void)state;
    rig *r = open_rig(&usual, NULL, 1);
    step(r);
    step(r);
    values_of(r);
    for (uint32_t i = 0; i < config.hidden * VOCABULARY; i++) r->values[i] = 3e38f; /* the word embeddings */
    fm_network_write_state(fm_trainer_network(r->trainer), FM_STATE_VALUES, r->values);
    fm_error err = {.text = ""};
    bool stepped = false;
    fm_status status = FM_OK;
    for (int i = 0; i < 1000 && !status && !stepped; i++) status = fm_trainer_advance(r->trainer, &stepped, &err);
    assert_int_equal(status, FM_E_FORMAT);
    if (!strstr(err.text, "at step 3 of 12, in batch 3 of its epoch, among chunks 1 to 4")) fail_msg("%s", err.text);
    close_rig(r);
}

/* An epoch reads all documents whole, and micro-batches of chunks of different lengths add up to the same step. */
static void documents_stay_apart_line_by_line(void **state)
{
    (void)state;
    corpus.own_starts[1] = 9; /* a shorter one, and a longer one of two chunks */
    fm_train_options options = usual, cut = usual;
    options.line_by_line = cut.line_by_line = true;
    options.phases[0] = (fm_phase){48, DOCUMENTS + 1, 1};
    cut.phases[0] = options.phases[0];
    options.micro_tokens = DOCUMENTS * EACH;
    rig *whole = open_rig(&options, NULL, 1), *parts = open_rig(&cut, NULL, 2);
    fm_train_report one = step(whole), other = step(parts);
    assert_int_equal(one.tokens, corpus.tokens);
    assert_int_equal(other.tokens, corpus.tokens);
    assert_int_equal(one.masked, other.masked);
    assert_float_equal(one.loss, other.loss, 1e-5);
    assert_float_equal(one.norm, other.norm, 1e-4);
    close_rig(parts);
    options.aside = 1;
    fm_error err;
    fm_trainer *none;
    assert_int_equal(fm_trainer_create(&none, &whole->config, &whole->parameters, tokenizer, whole->backend, &corpus,
                                       &options, whole->pointers, &err),
                     FM_E_ARGUMENT);
    assert_non_null(strstr(err.text, "line by line"));
    close_rig(whole);
    corpus.own_starts[1] = EACH;
}

/* 61 chunks: seven steps of eight and one of five make an epoch; with phases, lengths change between steps. */
static void steps_take_chunks_by_epochs_and_phases(void **state)
{
    (void)state;
    fm_train_options options = usual;
    options.phases[0].end = 20;
    rig *r = open_rig(&options, NULL, 1);
    uint64_t tokens = 0;
    for (uint64_t s = 0; s < 20; s++) {
        fm_train_report report = step(r);
        tokens += (s % 8 == 7 ? 5 : 8) * 16;
        assert_int_equal(report.tokens, tokens);
        assert_true(fabs(report.epoch - (double)(s + 1) / 8) < 1e-9 && report.epoch_ended == (s % 8 == 7));
        assert_true(report.masked > 0 && report.masked < tokens);
        assert_true(isfinite(report.loss) && report.norm > 0);
    }
    close_rig(r);
    options.limit = 11; /* two steps an epoch, of eight and three */
    options.phases[0] = (fm_phase){16, 8, 2};
    options.phases[1] = (fm_phase){48, 3, 4};
    options.phase_count = 2;
    r = open_rig(&options, NULL, 1);
    const uint64_t expected[] = {8 * 16, 11 * 16, 11 * 16 + 3 * 48, 11 * 16 + 6 * 48};
    for (size_t s = 0; s < 4; s++) assert_int_equal(step(r).tokens, expected[s]);
    close_rig(r);
}

static void the_loss_falls(void **state)
{
    (void)state;
    fm_train_options options = usual;
    options.phases[0].end = 160;
    options.dropout = false;
    rig *r = open_rig(&options, NULL, 2);
    double first = step(r).loss, sum = 0;
    for (int s = 1; s < 160; s++) {
        double loss = step(r).loss;
        if (s >= 140) sum += loss / 20;
    }
    assert_true(fabs(first - log(VOCABULARY)) < 0.3); /* nothing is known */
    assert_true(sum < first - 0.5);
    close_rig(r);
}

/* ---- what must not matter ---- */

static void micro_batches_do_not_change_the_numbers(void **state)
{
    (void)state;
    const uint32_t sizes[] = {16, 48, 64, 4096}; /* one chunk at a time to all at once */
    for (int whole = 0; whole < 2; whole++) {
        fm_train_options options = usual;
        options.whole_words = whole != 0;
        rig *reference = open_rig(&options, NULL, 1);
        fm_train_report expected[4];
        for (size_t s = 0; s < 4; s++) expected[s] = step(reference);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            options.micro_tokens = sizes[i];
            rig *r = open_rig(&options, NULL, 1);
            for (size_t s = 0; s < 4; s++) {
                fm_train_report report = step(r);
                assert_int_equal(report.masked, expected[s].masked);
                assert_int_equal(report.tokens, expected[s].tokens);
                assert_true(fabs(report.loss - expected[s].loss) < 1e-4 * expected[s].loss);
                assert_true(fabs(report.norm - expected[s].norm) < 1e-3 * expected[s].norm);
            }
            close_rig(r);
        }
        close_rig(reference);
    }
}

static void check_threads(const fm_train_options *options, const char *set)
{
    rig *one = open_rig(options, set, 1);
    for (int s = 0; s < 5; s++) step(one);
    for (int threads = 2; threads <= 5; threads++) {
        rig *many = open_rig(options, set, threads);
        for (int s = 0; s < 5; s++) step(many);
        assert_same_values(one, many);
        const fm_train_report *a = fm_trainer_report(one->trainer), *b = fm_trainer_report(many->trainer);
        assert_true(a->loss == b->loss && a->norm == b->norm);
        close_rig(many);
    }
    close_rig(one);
}

/* Bit for bit, with dropout, on every instruction set that this machine runs. */
static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    fm_train_options options = usual;
    for (int precision = 0; precision < FM_PRECISIONS; precision++) {
        options.precision = (fm_precision)precision;
        for (const char *const *set = fm_cpu_instruction_sets(); *set; set++)
            if (fm_cpu_has(*set)) check_threads(&options, *set);
    }
}

/* Mixed precision learns what f32 learns: the two runs' losses stay as close as the rounding to 8 bits allows. */
static void mixed_precision_follows_f32(void **state)
{
    (void)state;
    fm_train_options options = usual;
    options.phases[0].end = 120;
    for (const char *const *set = fm_cpu_instruction_sets(); *set; set++) {
        if (!fm_cpu_has(*set)) continue;
        options.precision = FM_PRECISION_F32;
        rig *f32 = open_rig(&options, *set, 2);
        options.precision = FM_PRECISION_BF16;
        rig *bf16 = open_rig(&options, *set, 2);
        double most = 0, mean = 0, last = 0;
        for (int s = 0; s < 120; s++) {
            double left = step(f32).loss, right = step(bf16).loss;
            assert_true(left != right);
            most = fmax(most, fabs(left - right));
            mean += (right - left) / 120;
            if (s >= 100) last += right / 20;
        }
        print_message("%s: losses of 120 steps within %.4f nats, %+.5f on average\n", *set, most, mean);
        assert_true(most < 0.01 && fabs(mean) < 0.001);
        assert_true(last < log(VOCABULARY) - 0.5); /* something was learnt */
        close_rig(f32);
        close_rig(bf16);
    }
}

static void the_seed_matters(void **state)
{
    (void)state;
    fm_train_options options = usual;
    rig *a = open_rig(&options, NULL, 1);
    options.seed = 43;
    rig *b = open_rig(&options, NULL, 1);
    assert_true(step(a).loss != step(b).loss);
    close_rig(a);
    close_rig(b);
}

/* ---- checkpoints ---- */

/* Saved after three steps and within the fourth, which is then made anew. */
static void a_checkpoint_goes_on_bit_for_bit(void **state)
{
    (void)state;
    fm_train_options options = usual;
    options.phases[0] = (fm_phase){16, 8, 5};
    options.phases[1] = (fm_phase){32, 4, 12};
    options.phase_count = 2;
    options.warmup = 3;
    rig *whole = open_rig(&options, NULL, 2);
    for (int s = 0; s < 12; s++) step(whole);
    for (int stages = 0; stages < 40; stages += 7) {
        rig *first = open_rig(&options, NULL, 1), *second = open_rig(&options, NULL, 3);
        for (int s = 0; s < 3; s++) step(first);
        bool stepped = false;
        for (int i = 0; i < stages && !stepped; i++)
            assert_int_equal(fm_trainer_advance(first->trainer, &stepped, NULL), FM_OK);
        uint64_t made = fm_trainer_report(first->trainer)->step;
        assert_int_equal(fm_checkpoint_save(first->trainer, file("checkpoint"), NULL), FM_OK);
        assert_int_equal(fm_checkpoint_load(second->trainer, file("checkpoint"), NULL), FM_OK);
        assert_int_equal(fm_trainer_report(second->trainer)->step, made);
        assert_int_equal(fm_trainer_report(second->trainer)->tokens, fm_trainer_report(first->trainer)->tokens);
        while (fm_trainer_report(second->trainer)->step < 12) step(second);
        assert_same_values(whole, second);
        while (fm_trainer_report(first->trainer)->step < 12) step(first); /* saving did not disturb it */
        assert_same_values(whole, first);
        assert_int_equal(fm_trainer_report(second->trainer)->tokens, fm_trainer_report(whole->trainer)->tokens);
        close_rig(first);
        close_rig(second);
    }
    close_rig(whole);
    unlink(file("checkpoint"));
}

/* ---- a backend that answers later ---- */

#define MOST_READS 64

/* Its reads are there when finish() has been asked three times; made of the cpu's by another table. */
static struct later {
    const fm_ops *cpu;
    fm_ops ops;
    struct later_read {
        void *to, *data;
        size_t size;
    } reads[MOST_READS];
    size_t count, asked;
} later;

static void read_later(fm_backend *b, fm_tensor from, void *to)
{
    size_t size = (size_t)from.rows * from.cols * sizeof(float);
    assert_true(later.count < MOST_READS);
    struct later_read *r = &later.reads[later.count++];
    *r = (struct later_read){to, malloc(size), size};
    assert_non_null(r->data);
    later.cpu->read(b, from, r->data);
}

static void forget_later(fm_backend *b, const void *memory, size_t size)
{
    size_t kept = 0;
    (void)b;
    for (size_t i = 0; i < later.count; i++) {
        struct later_read r = later.reads[i];
        if ((char *)r.to >= (const char *)memory && (char *)r.to < (const char *)memory + size) free(r.data);
        else later.reads[kept++] = r;
    }
    later.count = kept;
}

static fm_status finish_later(fm_backend *b, fm_error *err)
{
    if (later.count > 0 && ++later.asked % 3 != 0) return FM_PENDING;
    for (size_t i = 0; i < later.count; i++) {
        memcpy(later.reads[i].to, later.reads[i].data, later.reads[i].size);
        free(later.reads[i].data);
    }
    later.count = 0;
    return later.cpu->finish(b, err);
}

static void submit_later(fm_backend *b)
{
    (void)b;
}

static rig *open_later(const fm_train_options *options)
{
    fm_backend *backend;
    assert_int_equal(fm_cpu_create(&backend, NULL, 1, NULL), FM_OK);
    later = (struct later){.cpu = backend->ops, .ops = *backend->ops};
    later.ops.later = true;
    later.ops.read = read_later;
    later.ops.forget = forget_later;
    later.ops.finish = finish_later;
    later.ops.submit = submit_later;
    backend->ops = &later.ops;
    return open_with(options, backend);
}

static void step_later(rig *r)
{
    bool stepped = false;
    while (!stepped) {
        fm_status status = fm_trainer_advance(r->trainer, &stepped, NULL);
        assert_true(status == FM_OK || status == FM_PENDING);
    }
}

static int save_later(rig *r, const char *path)
{
    int pending = 0;
    fm_status status;
    while ((status = fm_checkpoint_save(r->trainer, path, NULL)) == FM_PENDING) pending++;
    assert_int_equal(status, FM_OK);
    return pending;
}

/* The values may be asked for, and something else before they are there. */
static void checkpoints_go_between_backends_that_answer_at_once_and_later(void **state)
{
    (void)state;
    rig *whole = open_rig(&usual, NULL, 1), *at_once = open_rig(&usual, NULL, 1), *first = open_later(&usual);
    for (int s = 0; s < 12; s++) step(whole);
    for (int s = 0; s < 3; s++) step_later(first);
    assert_int_equal(fm_trainer_values(first->trainer, first->values, NULL), FM_PENDING);
    assert_int_equal(save_later(first, file("checkpoint")), 1);
    assert_int_equal(fm_checkpoint_load(at_once->trainer, file("checkpoint"), NULL), FM_OK);
    fm_status status;
    while ((status = fm_trainer_values(first->trainer, first->values, NULL)) == FM_PENDING) continue;
    assert_int_equal(status, FM_OK);
    assert_memory_equal(first->values, values_of(at_once), first->parameters.elements * sizeof(float));
    for (int s = 3; s < 5; s++) step(at_once);
    assert_int_equal(fm_checkpoint_save(at_once->trainer, file("checkpoint"), NULL), FM_OK);
    bool stepped = false; /* into the fourth step, whose answers are then given up */
    while ((status = fm_trainer_advance(first->trainer, &stepped, NULL)) == FM_OK) assert_false(stepped);
    assert_int_equal(status, FM_PENDING);
    assert_int_equal(fm_checkpoint_save(first->trainer, file("refused"), NULL), FM_E_ARGUMENT);
    assert_int_equal(fm_checkpoint_load(first->trainer, file("checkpoint"), NULL), FM_OK);
    assert_int_equal(fm_trainer_report(first->trainer)->step, 5);
    for (int s = 5; s < 12; s++) step_later(first);
    while ((status = fm_trainer_values(first->trainer, first->values, NULL)) == FM_PENDING) continue;
    assert_int_equal(status, FM_OK);
    assert_memory_equal(first->values, values_of(whole), first->parameters.elements * sizeof(float));
    close_rig(first);
    close_rig(at_once);
    close_rig(whole);
    unlink(file("checkpoint"));
}

static void expect_refusal(rig *r, fm_status status, const char *words)
{
    fm_error err = {.text = ""};
    float *before = malloc(r->parameters.elements * sizeof *before);
    assert_non_null(before);
    memcpy(before, values_of(r), r->parameters.elements * sizeof *before);
    assert_int_equal(fm_checkpoint_load(r->trainer, file("checkpoint"), &err), status);
    if (!strstr(err.text, words)) fail_msg("\"%s\" lacks \"%s\"", err.text, words);
    assert_memory_equal(values_of(r), before, r->parameters.elements * sizeof *before);
    assert_int_equal(fm_trainer_report(r->trainer)->step, 0);
    free(before);
}

static void a_checkpoint_of_another_training_is_refused(void **state)
{
    (void)state;
    rig *r = open_rig(&usual, NULL, 1);
    step(r);
    assert_int_equal(fm_checkpoint_save(r->trainer, file("checkpoint"), NULL), FM_OK);
    close_rig(r);
    struct {
        fm_train_options options;
        const char *words;
    } cases[19];
    size_t count = 0;
    for (size_t i = 0; i < 19; i++) cases[i].options = usual;
    cases[count].options.phases[0].end = 13, cases[count++].words = "up to step 13";
    cases[count].options.phases[0].batch = 9, cases[count++].words = "9 chunks of 16";
    cases[count].options.phases[0].length = 24, cases[count++].words = "8 chunks of 24";
    cases[count].options.warmup = 1, cases[count++].words = "\"warm-up 1\"";
    cases[count].options.learning_rate = 0.02, cases[count++].words = "\"learning rate 0.02\"";
    cases[count].options.weight_decay = 0, cases[count++].words = "\"weight decay 0\"";
    cases[count].options.clip = 0, cases[count++].words = "\"clip 0\"";
    cases[count].options.dropout = false, cases[count++].words = "\"dropout 0\"";
    cases[count].options.mask_rate = 0.2f, cases[count++].words = "\"mask rate 0.2";
    cases[count].options.whole_words = true, cases[count++].words = "\"whole words 1\"";
    cases[count].options.seed = 1, cases[count++].words = "\"seed 1\"";
    cases[count].options.precision = FM_PRECISION_BF16, cases[count++].words = "\"precision bf16\"";
    cases[count].options.limit = 3, cases[count++].words = "\"limit 3\"";
    cases[count].options.schedule = FM_SCHEDULE_COSINE, cases[count++].words = "\"schedule cosine\"";
    cases[count].options.shares.random = 0.2f, cases[count++].words = "\"random share 0.2";
    cases[count].options.frozen_embeddings = true, cases[count++].words = "\"frozen embeddings 1\"";
    cases[count].options.frozen_layers = 1, cases[count++].words = "\"frozen layers 1\"";
    cases[count].options.aside = 5, cases[count++].words = "\"5 chunks set aside with seed 0\"";
    cases[count].options.line_by_line = true, cases[count++].words = "\"line by line\"";
    for (size_t i = 0; i < count; i++) {
        r = open_rig(&cases[i].options, NULL, 1);
        expect_refusal(r, FM_E_ARGUMENT, cases[i].words);
        close_rig(r);
    }
    /* The same number of other tokens. */
    corpus.own_ids[10] ^= 1;
    r = open_rig(&usual, NULL, 1);
    expect_refusal(r, FM_E_ARGUMENT, "documents of data");
    corpus.own_ids[10] ^= 1;
    /* Neither threads nor micro-batches are part of it. */
    close_rig(r);
    fm_train_options options = usual;
    options.micro_tokens = 999;
    r = open_rig(&options, NULL, 2);
    assert_int_equal(fm_checkpoint_load(r->trainer, file("checkpoint"), NULL), FM_OK);
    close_rig(r);
    unlink(file("checkpoint"));
}

static void a_damaged_checkpoint_is_refused(void **state)
{
    (void)state;
    rig *r = open_rig(&usual, NULL, 1), *fresh = open_rig(&usual, NULL, 1);
    step(r);
    assert_int_equal(fm_checkpoint_save(r->trainer, file("checkpoint"), NULL), FM_OK);
    fm_blob blob;
    assert_int_equal(fm_blob_open(&blob, file("checkpoint"), NULL), FM_OK);
    uint8_t *bytes = malloc(blob.size);
    assert_non_null(bytes);
    size_t elements = r->parameters.elements, data = blob.size - 3 * elements * sizeof(float);
    const struct {
        size_t at;
        float value;
    } cases[] = {
        {0, NAN}, {elements - 1, 0.5f}, {elements, -INFINITY}, {2 * elements, 1.0f}, {3 * elements - 1, -1e-9f}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(bytes, blob.data, blob.size);
        memcpy(bytes + data + cases[i].at * sizeof(float), &cases[i].value, sizeof(float));
        assert_int_equal(fm_file_replace(file("checkpoint"), bytes, blob.size, NULL), FM_OK);
        expect_refusal(fresh, FM_E_FORMAT, "is damaged: its content has the hash");
    }
    assert_int_equal(fm_file_replace(file("checkpoint"), blob.data, blob.size - 1, NULL), FM_OK);
    expect_refusal(fresh, FM_E_FORMAT, "cut short");
    const float *const *pointers = r->pointers; /* a model is no checkpoint */
    assert_int_equal(fm_weights_save(file("checkpoint"), &r->parameters, pointers, FM_STORED_F32, NULL), FM_OK);
    expect_refusal(fresh, FM_E_FORMAT, "is not a checkpoint of a training");
    unlink(file("checkpoint"));
    expect_refusal(fresh, FM_E_IO, "could not be opened");
    fm_blob_close(&blob);
    free(bytes);
    close_rig(r);
    close_rig(fresh);
}

/* ---- scaled gradients ---- */

/* The cpu's table for a training of f16, whose products are f32 here. While `beyond` is set, norms are not finite. */
static struct half {
    const fm_ops *cpu;
    fm_ops ops;
    bool beyond;
    float *squares;
} half;

static void precision_of_half(fm_backend *b, fm_precision precision)
{
    half.cpu->precision(b, precision == FM_PRECISION_F16 ? FM_PRECISION_F32 : precision);
}

static void read_of_half(fm_backend *b, fm_tensor from, void *to)
{
    half.cpu->read(b, from, to);
    if (from.rows * from.cols == 1) half.squares = to;
}

static fm_status finish_of_half(fm_backend *b, fm_error *err)
{
    fm_status status = half.cpu->finish(b, err);
    if (half.squares && half.beyond) *half.squares = INFINITY;
    half.squares = NULL;
    return status;
}

static rig *open_half(void)
{
    fm_train_options options = usual;
    options.precision = FM_PRECISION_F16;
    fm_backend *backend;
    assert_int_equal(fm_cpu_create(&backend, NULL, 1, NULL), FM_OK);
    half = (struct half){.cpu = backend->ops, .ops = *backend->ops};
    half.ops.precision = precision_of_half;
    half.ops.read = read_of_half;
    half.ops.finish = finish_of_half;
    backend->ops = &half.ops;
    backend->half = true;
    return open_with(&options, backend);
}

/* Gives the checkpoint another loss scale, or none, and the hash of that. */
static void set_scale(const char *scale)
{
    static const char *const keys[] = {"fillmask.training", "step", "tokens", "generator", "order",
                                       "loss_scale",        "hash"};
    static const char *const names[] = {"values", "first_moment", "second_moment"};
    fm_safetensors *file_of;
    fm_stored_tensor tensors[3];
    fm_stored_note notes[7];
    size_t count = 0, size;
    uint8_t *data;
    char text[24];
    uint64_t hash = FM_HASH_START;
    assert_int_equal(fm_safetensors_open(&file_of, file("checkpoint"), NULL), FM_OK);
    for (size_t i = 0; i < 6; i++) {
        const char *value = i == 5 ? scale : fm_safetensors_metadata(file_of, keys[i]);
        if (!value) continue;
        hash = fm_hash(hash, value, strlen(value) + 1);
        notes[count++] = (fm_stored_note){keys[i], value};
    }
    for (size_t i = 0; i < 3; i++) {
        tensors[i] = *fm_safetensors_find(file_of, names[i]);
        for (size_t at = 0; at < tensors[i].size; at += 4) {
            uint32_t number;
            memcpy(&number, tensors[i].data + at, sizeof number);
            hash = fm_hash_number(hash, number);
        }
    }
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    notes[count++] = (fm_stored_note){"hash", text};
    assert_int_equal(fm_safetensors_build(&data, &size, tensors, 3, notes, count, NULL), FM_OK);
    fm_safetensors_close(file_of);
    assert_int_equal(fm_file_replace(file("checkpoint"), data, size, NULL), FM_OK);
    fm_free(data);
}

/* What the checkpoint of a trainer says of it. */
static void assert_scale(rig *r, const char *expected)
{
    fm_safetensors *made;
    assert_int_equal(fm_checkpoint_save(r->trainer, file("made"), NULL), FM_OK);
    assert_int_equal(fm_safetensors_open(&made, file("made"), NULL), FM_OK);
    const char *found = fm_safetensors_metadata(made, "loss_scale");
    if (expected) assert_string_equal(found, expected);
    else assert_null(found);
    fm_safetensors_close(made);
    unlink(file("made"));
}

static void the_loss_scale_goes_on(void **state)
{
    (void)state;
    rig *r = open_half();
    assert_scale(r, "65536 0");
    step(r);
    assert_scale(r, "65536 1");
    half.beyond = true;
    assert_true(isinf(step(r).norm));
    step(r);
    half.beyond = false;
    assert_scale(r, "16384 0");
    step(r);
    assert_int_equal(fm_checkpoint_save(r->trainer, file("checkpoint"), NULL), FM_OK);
    close_rig(r);
    r = open_half();
    assert_int_equal(fm_checkpoint_load(r->trainer, file("checkpoint"), NULL), FM_OK);
    assert_scale(r, "16384 1");
    set_scale("8 1999");
    assert_int_equal(fm_checkpoint_load(r->trainer, file("checkpoint"), NULL), FM_OK);
    step(r);
    assert_scale(r, "16 0");
    set_scale(NULL); /* of a version that forgot it */
    assert_int_equal(fm_checkpoint_load(r->trainer, file("checkpoint"), NULL), FM_OK);
    assert_scale(r, "65536 0");
    close_rig(r);
    static const char *const wrong[] = {"0 0",
                                        "3 0",
                                        "33554432 0",
                                        "-8 0",
                                        "8",
                                        "8 ",
                                        "8 2000",
                                        "8 -1",
                                        "8 1 1",
                                        " 8 1",
                                        "8.0 1",
                                        "inf 0",
                                        "0x10 1",
                                        "",
                                        "8 1x",
                                        "8  1",
                                        "18446744073709551616 1",
                                        "8 99999999999999999999"};
    r = open_half();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        set_scale(wrong[i]);
        expect_refusal(r, FM_E_FORMAT, "where a power of two up to 16777216 belongs");
    }
    close_rig(r);
    r = open_rig(&usual, NULL, 1); /* others have none */
    assert_scale(r, NULL);
    close_rig(r);
    unlink(file("checkpoint"));
}

/* ---- refusals ---- */

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    rig *r = open_rig(&usual, NULL, 1);
    struct {
        fm_train_options options;
        const char *words;
    } cases[9];
    size_t count = 0;
    for (size_t i = 0; i < 9; i++) cases[i].options = usual;
    cases[count].options.phase_count = 0, cases[count++].words = "0 phases";
    cases[count].options.phase_count = FM_MOST_PHASES + 1, cases[count++].words = "9 phases";
    cases[count].options.phases[0].length = 1, cases[count++].words = "Chunks of 1 tokens";
    cases[count].options.phases[0].length = 49, cases[count++].words = "the model's 48 positions";
    cases[count].options.phases[0].batch = 0, cases[count++].words = "Phase 1 has a batch of 0";
    cases[count].options.phases[0].end = 0, cases[count++].words = "ends at step 0";
    cases[count].options.mask_rate = 0.0f, cases[count++].words = "mask rate is 0";
    cases[count].options.mask_rate = NAN, cases[count++].words = "mask rate is";
    cases[count].options.learning_rate = -1, cases[count++].words = "learning rate is -1";
    for (size_t i = 0; i < count; i++) {
        fm_error err = {.text = ""};
        fm_trainer *trainer;
        assert_int_equal(fm_trainer_create(&trainer, &config, &r->parameters, tokenizer, r->backend, &corpus,
                                           &cases[i].options, r->pointers, &err),
                         FM_E_ARGUMENT);
        assert_null(trainer);
        if (!strstr(err.text, cases[i].words)) fail_msg("\"%s\" lacks \"%s\"", err.text, cases[i].words);
    }
    fm_error err;
    fm_trainer *trainer;
    fm_config larger = config;
    larger.vocab_size++;
    assert_int_equal(
        fm_trainer_create(&trainer, &larger, &r->parameters, tokenizer, r->backend, &corpus, &usual, r->pointers, &err),
        FM_E_ARGUMENT);
    assert_non_null(strstr(err.text, "The tokenizer has 40 entries and the model 41"));
    close_rig(r);
}

/* ---- evaluation ---- */

static fm_evaluation evaluate(rig *r, const fm_room *room, uint32_t limit, uint32_t seed)
{
    fm_masking masking = {0.15f, false, seed, VOCABULARY, fm_tokenizer_special(tokenizer), FM_BERT_SHARES};
    fm_network *network;
    fm_evaluator *evaluator;
    fm_error err;
    assert_int_equal(fm_network_create(&network, &r->config, &r->parameters, r->backend, room, r->pointers, NULL),
                     FM_OK);
    assert_int_equal(
        fm_evaluator_create(&evaluator, network, r->backend, room, &corpus, tokenizer, &masking, 16, 0, limit, NULL),
        FM_OK);
    for (bool more = true; more;)
        if (fm_evaluator_step(evaluator, &more, &err)) fail_msg("%s", err.text);
    fm_evaluation result = *fm_evaluator_result(evaluator);
    uint64_t done, total;
    fm_evaluator_progress(evaluator, &done, &total);
    assert_int_equal(done, total);
    assert_int_equal(result.chunks, total);
    fm_evaluator_destroy(evaluator);
    fm_network_destroy(network);
    return result;
}

static void evaluation_masks_are_fixed(void **state)
{
    (void)state;
    rig *r = open_rig(&usual, NULL, 2);
    const fm_room wide = {400, 25, 100, false}, narrow = {16, 1, 16, false};
    fm_evaluation all = evaluate(r, &wide, 0, 42);
    fm_chunks chunks;
    const fm_masking masking = {0.15f, false, 42, VOCABULARY, fm_tokenizer_special(tokenizer), FM_BERT_SHARES};
    uint64_t masked = 0, letters = 0;
    assert_int_equal(fm_chunks_make(&chunks, &corpus, 16, false, NULL), FM_OK);
    for (uint32_t i = 0; i < chunks.count; i++)
        masked += fm_masked_count(&masking, 0, i, corpus.ids + chunks.starts[i], 16);
    fm_chunks_free(&chunks);
    assert_int_equal(all.chunks, 61);
    assert_int_equal(all.masked, masked);
    assert_true(all.top1 <= all.top5 && all.top5 <= all.masked && all.hidden < all.masked);
    assert_true(all.hidden_top1 <= all.hidden && all.hidden_top1 <= all.top1);
    letters = all.characters; /* w5 to w9 have two, the others three */
    assert_true(letters > 2 * masked && letters < 3 * masked);
    assert_true(fabs(all.loss / (double)masked - log(VOCABULARY)) < 0.3);
    /* The same again, and a chunk at a time. */
    fm_evaluation again = evaluate(r, &wide, 0, 42), single = evaluate(r, &narrow, 0, 42);
    assert_memory_equal(&again, &all, sizeof all);
    assert_int_equal(single.masked, all.masked);
    assert_int_equal(single.hidden, all.hidden);
    assert_true(fabs(single.loss - all.loss) < 1e-4 * all.loss);
    /* Fewer chunks, spread over the corpus, keep the masks that they have in all. */
    fm_evaluation some = evaluate(r, &wide, 7, 42);
    masked = 0;
    assert_int_equal(fm_chunks_make(&chunks, &corpus, 16, false, NULL), FM_OK);
    for (uint32_t i = 0; i < 7; i++) {
        uint32_t chunk = i * chunks.count / 7;
        masked += fm_masked_count(&masking, 0, chunk, corpus.ids + chunks.starts[chunk], 16);
    }
    fm_chunks_free(&chunks);
    assert_int_equal(some.chunks, 7);
    assert_int_equal(some.masked, masked);
    assert_true(evaluate(r, &wide, 0, 1).loss != all.loss);
    close_rig(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learning_rates_are_those_of_transformers),
        cmocka_unit_test(other_schedules_are_those_of_transformers_too),
        cmocka_unit_test(frozen_parts_stay),
        cmocka_unit_test(chunks_that_are_set_aside_are_not_trained_on),
        cmocka_unit_test(a_loss_that_is_no_number_ends_the_training),
        cmocka_unit_test(documents_stay_apart_line_by_line),
        cmocka_unit_test(steps_take_chunks_by_epochs_and_phases),
        cmocka_unit_test(the_loss_falls),
        cmocka_unit_test(micro_batches_do_not_change_the_numbers),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(mixed_precision_follows_f32),
        cmocka_unit_test(the_seed_matters),
        cmocka_unit_test(a_checkpoint_goes_on_bit_for_bit),
        cmocka_unit_test(checkpoints_go_between_backends_that_answer_at_once_and_later),
        cmocka_unit_test(a_checkpoint_of_another_training_is_refused),
        cmocka_unit_test(a_damaged_checkpoint_is_refused),
        cmocka_unit_test(the_loss_scale_goes_on),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(evaluation_masks_are_fixed),
    };
    return cmocka_run_group_tests(tests, make_data, free_data);
}
