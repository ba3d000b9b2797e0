/* test_collator.c - core/train/chunks.c and collator.c: where a corpus is cut, how much is masked and by what, and that
 * a chunk's masks depend on nothing but its number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/train.h"

enum { PAD, UNK, CLS, SEP, MASK, FIRST, VOCABULARY = 1000 };

static const fm_special_ids special = {.pad = PAD, .unk = UNK, .cls = CLS, .sep = SEP, .mask = MASK};

/* ---- chunks ---- */

/* Documents of these lengths; their tokens do not matter. */
static fm_corpus corpus_of(const uint64_t *lengths, uint64_t documents)
{
    fm_corpus corpus = {.documents = documents, .own_starts = calloc(documents + 1, sizeof *corpus.own_starts)};
    assert_non_null(corpus.own_starts);
    for (uint64_t i = 0; i < documents; i++) corpus.own_starts[i + 1] = corpus.own_starts[i] + lengths[i];
    corpus.tokens = corpus.own_starts[documents];
    corpus.starts = corpus.own_starts;
    return corpus;
}

/* As the Hugging Face course does it: the first reviews of its run have 363, 304 and 133 tokens. */
static void cuts_what_is_concatenated(void **state)
{
    (void)state;
    const uint64_t lengths[] = {363, 304, 133};
    fm_corpus corpus = corpus_of(lengths, 3);
    const struct {
        uint32_t length, count;
    } cases[] = {{128, 6}, {100, 8}, {799, 1}, {800, 1}, {2, 400}, {3, 266}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fm_chunks chunks;
        assert_int_equal(fm_chunks_make(&chunks, &corpus, cases[i].length, false, NULL), FM_OK);
        assert_int_equal(chunks.count, cases[i].count);
        assert_int_equal(chunks.length, cases[i].length);
        for (uint32_t j = 0; j < chunks.count; j++) assert_int_equal(chunks.starts[j], (uint64_t)j * cases[i].length);
        fm_chunks_free(&chunks);
    }
    fm_error err;
    fm_chunks chunks;
    assert_int_equal(fm_chunks_make(&chunks, &corpus, 801, false, &err), FM_E_FORMAT);
    assert_non_null(strstr(err.text, "800 tokens in 3 documents, which gives no chunk of 801"));
    fm_corpus_free(&corpus);
}

/* Line by line no chunk reaches into the next document; what has nothing to predict, as a document of no words or the
 * last [SEP] of a long one, is left out. */
static void keeps_documents_apart_line_by_line(void **state)
{
    (void)state;
    const uint64_t lengths[] = {5, 2, 100, 201, 3};
    const uint64_t starts[] = {0, 7, 107, 207, 308};
    const uint32_t sizes[] = {5, 100, 100, 100, 3};
    fm_corpus corpus = corpus_of(lengths, 5);
    fm_chunks chunks;
    assert_int_equal(fm_chunks_make(&chunks, &corpus, 100, true, NULL), FM_OK);
    assert_int_equal(chunks.count, sizeof sizes / sizeof *sizes);
    for (uint32_t i = 0; i < chunks.count; i++) {
        assert_int_equal(chunks.starts[i], starts[i]);
        assert_int_equal(fm_chunk_length(&chunks, i), sizes[i]);
    }
    fm_chunks_free(&chunks);
    fm_corpus_free(&corpus);
}

/* Of every thousand documents the rest is dropped, also of the last, smaller group. */
static void drops_the_rest_of_a_thousand(void **state)
{
    (void)state;
    enum { DOCUMENTS = 2345, LENGTH = 128 };
    static uint64_t lengths[DOCUMENTS];
    fm_random random = fm_random_seeded(3, 0);
    for (size_t i = 0; i < DOCUMENTS; i++) lengths[i] = 2 + fm_random_below(&random, 400);
    fm_corpus corpus = corpus_of(lengths, DOCUMENTS);
    fm_chunks chunks;
    assert_int_equal(fm_chunks_make(&chunks, &corpus, LENGTH, false, NULL), FM_OK);
    uint32_t at = 0;
    for (size_t group = 0; group < DOCUMENTS; group += 1000) {
        size_t end = group + 1000 < DOCUMENTS ? group + 1000 : DOCUMENTS;
        uint64_t tokens = corpus.starts[end] - corpus.starts[group];
        for (uint64_t i = 0; i < tokens / LENGTH; i++)
            assert_int_equal(chunks.starts[at++], corpus.starts[group] + i * LENGTH);
    }
    assert_int_equal(chunks.count, at);
    assert_true(chunks.count < corpus.tokens / LENGTH); /* the groups made a difference */
    fm_chunks_free(&chunks);
    fm_corpus_free(&corpus);
}

/* ---- masks ---- */

/* Random tokens, of which one in ten is special, in words of one to three pieces. */
static uint32_t *random_tokens(size_t count)
{
    uint32_t *tokens = calloc(count, sizeof *tokens);
    assert_non_null(tokens);
    fm_random random = fm_random_seeded(11, 0);
    uint32_t pieces = 0;
    for (size_t i = 0; i < count; i++) {
        if (pieces == 0 && fm_random_below(&random, 10) == 0) {
            static const uint32_t ids[] = {PAD, CLS, SEP, MASK};
            tokens[i] = ids[fm_random_below(&random, 4)];
            continue;
        }
        tokens[i] = FIRST + fm_random_below(&random, VOCABULARY - FIRST);
        if (pieces == 0) {
            tokens[i] |= FM_TOKEN_WORD;
            pieces = 1 + fm_random_below(&random, 3);
        }
        pieces--;
    }
    return tokens;
}

static bool is_special(uint32_t token)
{
    uint32_t id = token & FM_TOKEN_ID;
    return id == PAD || id == CLS || id == SEP || id == MASK;
}

/* Within five standard deviations of a share of `of` draws. */
static void assert_share(uint64_t count, uint64_t of, double share)
{
    double deviation = sqrt(share * (1.0 - share) * (double)of);
    if (fabs((double)count - share * (double)of) > 5.0 * deviation)
        fail_msg("%llu of %llu is not a share of %g", (unsigned long long)count, (unsigned long long)of, share);
}

/* BERT's proportions, those of transformers' DataCollatorForLanguageModeling: of the tokens that are not special the
 * rate is predicted, and of these 80% are hidden, 10% replaced, 10% kept. [UNK] may be predicted, as in run_mlm.py,
 * whose special_tokens_mask holds only what the tokenizer added. */
static void masks_the_share_asked_for(void **state)
{
    (void)state;
    enum { LENGTH = 512, CHUNKS = 1500 };
    const double rates[] = {0.15, 0.4};
    uint32_t *tokens = random_tokens((size_t)LENGTH * CHUNKS);
    fm_collator collator;
    assert_int_equal(fm_collator_create(&collator, LENGTH, 1, LENGTH, NULL), FM_OK);
    for (size_t r = 0; r < 2; r++) {
        const fm_masking masking = {(float)rates[r], false, 42, VOCABULARY, special, FM_BERT_SHARES};
        uint64_t usual = 0, predicted = 0, hidden = 0, kept = 0, low = 0, replaced = 0;
        for (uint32_t c = 0; c < CHUNKS; c++) {
            const uint32_t *chunk = tokens + (size_t)c * LENGTH;
            fm_collator_clear(&collator, 0);
            assert_true(fm_collator_add(&collator, &masking, 1, c, chunk, LENGTH));
            const fm_batch *batch = &collator.batch;
            for (uint32_t i = 0, at = 0; i < LENGTH; i++) {
                bool is_predicted = at < batch->masked && batch->rows[at] == i;
                usual += !is_special(chunk[i]);
                if (!is_predicted) {
                    assert_int_equal(batch->ids[i], chunk[i] & FM_TOKEN_ID);
                    continue;
                }
                assert_false(is_special(chunk[i]));
                assert_int_equal(batch->labels[at++], chunk[i] & FM_TOKEN_ID);
                hidden += batch->ids[i] == MASK;
                if (batch->ids[i] == (chunk[i] & FM_TOKEN_ID)) kept++;
                else if (batch->ids[i] != MASK) {
                    assert_true(batch->ids[i] < VOCABULARY);
                    replaced++;
                    low += batch->ids[i] < VOCABULARY / 4;
                }
            }
            predicted += batch->masked;
        }
        assert_share(predicted, usual, rates[r]);
        assert_share(hidden, predicted, 0.8 + 0.1 / VOCABULARY);
        assert_share(kept, predicted, 0.1 + 0.1 / VOCABULARY); /* now and then the random token is the same */
        assert_share(low, replaced, 0.25);
    }
    fm_collator_free(&collator);
    free(tokens);
}

/* With whole words, a word is predicted with all of its pieces or not at all, and the share of tokens stays. */
static void masks_whole_words(void **state)
{
    (void)state;
    enum { LENGTH = 256, CHUNKS = 2000 };
    uint32_t *tokens = random_tokens((size_t)LENGTH * CHUNKS);
    const fm_masking masking = {0.2f, true, 42, VOCABULARY, special, FM_BERT_SHARES};
    fm_collator collator;
    assert_int_equal(fm_collator_create(&collator, LENGTH, 1, LENGTH, NULL), FM_OK);
    uint64_t words = 0, predicted_words = 0;
    for (uint32_t c = 0; c < CHUNKS; c++) {
        const uint32_t *chunk = tokens + (size_t)c * LENGTH;
        bool predicted[LENGTH] = {false};
        fm_collator_clear(&collator, 0);
        assert_true(fm_collator_add(&collator, &masking, 1, c, chunk, LENGTH));
        for (uint32_t i = 0; i < collator.batch.masked; i++) predicted[collator.batch.rows[i]] = true;
        for (uint32_t i = 0; i < LENGTH; i++) {
            if (is_special(chunk[i])) assert_false(predicted[i]);
            else if (i == 0 || chunk[i] & FM_TOKEN_WORD) { /* a chunk may start within a word */ words++;
                predicted_words += predicted[i];
            } else assert_int_equal(predicted[i], predicted[i - 1]);
        }
    }
    assert_share(predicted_words, words, 0.2);
    fm_collator_free(&collator);
    free(tokens);
}

/* Chunks alone, in one batch, in another order: the same ids and labels. */
static void masks_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    enum { LENGTH = 64, CHUNKS = 20 };
    uint32_t *tokens = random_tokens((size_t)LENGTH * CHUNKS);
    for (int whole = 0; whole < 2; whole++) {
        const fm_masking masking = {0.15f, whole != 0, 7, VOCABULARY, special, FM_BERT_SHARES};
        fm_collator all, one;
        assert_int_equal(fm_collator_create(&all, LENGTH * CHUNKS, CHUNKS, LENGTH * CHUNKS, NULL), FM_OK);
        assert_int_equal(fm_collator_create(&one, LENGTH, 1, LENGTH, NULL), FM_OK);
        fm_collator_clear(&all, 5);
        assert_int_equal(all.batch.first, 5);
        for (uint32_t c = CHUNKS; c-- > 0;)
            assert_true(fm_collator_add(&all, &masking, 3, c, tokens + (size_t)c * LENGTH, LENGTH));
        assert_int_equal(all.batch.sequences, CHUNKS);
        assert_int_equal(all.batch.tokens, LENGTH * CHUNKS);
        uint32_t at = 0;
        for (uint32_t c = CHUNKS, place = 0; c-- > 0; place += LENGTH) {
            const uint32_t *chunk = tokens + (size_t)c * LENGTH;
            fm_collator_clear(&one, 0);
            assert_true(fm_collator_add(&one, &masking, 3, c, chunk, LENGTH));
            assert_int_equal(one.batch.masked, fm_masked_count(&masking, 3, c, chunk, LENGTH));
            assert_memory_equal(one.ids, all.ids + place, LENGTH * sizeof *one.ids);
            for (uint32_t i = 0; i < one.batch.masked; i++, at++) {
                assert_int_equal(all.rows[at], place + one.rows[i]);
                assert_int_equal(all.labels[at], one.labels[i]);
            }
            assert_int_equal(all.starts[place / LENGTH + 1], place + LENGTH);
        }
        assert_int_equal(at, all.batch.masked);
        fm_collator_free(&all);
        fm_collator_free(&one);
    }
    free(tokens);
}

/* Another seed, round or number draws other masks: two draws agree as often as chance has it. */
static void draws_are_independent(void **state)
{
    (void)state;
    enum { LENGTH = 60000 };
    uint32_t *tokens = calloc(LENGTH, sizeof *tokens);
    bool *first = calloc(LENGTH, sizeof *first);
    assert_true(tokens && first);
    for (size_t i = 0; i < LENGTH; i++) tokens[i] = FM_TOKEN_WORD | 7;
    const struct {
        uint32_t seed, round, number;
    } draws[] = {{42, 1, 0}, {43, 1, 0}, {42, 2, 0}, {42, 1, 1}, {42, 0, 0}, {1, 42, 0}};
    fm_collator collator;
    assert_int_equal(fm_collator_create(&collator, LENGTH, 1, LENGTH, NULL), FM_OK);
    for (size_t i = 0; i < sizeof draws / sizeof *draws; i++) {
        const fm_masking masking = {0.15f, false, draws[i].seed, VOCABULARY, special, FM_BERT_SHARES};
        uint64_t both = 0;
        fm_collator_clear(&collator, 0);
        assert_true(fm_collator_add(&collator, &masking, draws[i].round, draws[i].number, tokens, LENGTH));
        for (uint32_t j = 0; j < collator.batch.masked; j++) {
            if (i == 0) first[collator.rows[j]] = true;
            both += first[collator.rows[j]];
        }
        if (i > 0) assert_share(both, LENGTH, 0.15 * 0.15);
    }
    fm_collator_free(&collator);
    free(tokens);
    free(first);
}

static void says_when_there_is_no_room(void **state)
{
    (void)state;
    enum { LENGTH = 64 };
    uint32_t *tokens = random_tokens(LENGTH);
    const fm_masking masking = {0.5f, false, 42, VOCABULARY, special, FM_BERT_SHARES};
    uint32_t masked = fm_masked_count(&masking, 1, 0, tokens, LENGTH);
    assert_true(masked > 10);
    const struct {
        uint32_t tokens, sequences, masked;
    } rooms[] = {{2 * LENGTH - 1, 9, 99}, {999, 1, 99}, {999, 9, 2 * masked - 1}};
    for (size_t i = 0; i < 3; i++) {
        fm_collator collator;
        assert_int_equal(fm_collator_create(&collator, rooms[i].tokens, rooms[i].sequences, rooms[i].masked, NULL),
                         FM_OK);
        assert_true(fm_collator_add(&collator, &masking, 1, 0, tokens, LENGTH));
        fm_batch before = collator.batch;
        assert_false(fm_collator_add(&collator, &masking, 1, 0, tokens, LENGTH));
        assert_int_equal(collator.batch.tokens, before.tokens);
        assert_int_equal(collator.batch.sequences, before.sequences);
        assert_int_equal(collator.batch.masked, before.masked);
        fm_collator_free(&collator);
    }
    free(tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_what_is_concatenated),
        cmocka_unit_test(keeps_documents_apart_line_by_line),
        cmocka_unit_test(drops_the_rest_of_a_thousand),
        cmocka_unit_test(masks_the_share_asked_for),
        cmocka_unit_test(masks_whole_words),
        cmocka_unit_test(masks_do_not_depend_on_the_batch),
        cmocka_unit_test(draws_are_independent),
        cmocka_unit_test(says_when_there_is_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
