/* vocab_trainer.c - makes a WordPiece vocabulary of counted words, by the algorithm of Hugging Face's WordPieceTrainer:
 * each word starts as its characters, those after the first with ##; the most frequent pair of neighbours becomes a
 * token, again and again. Between equally frequent pairs the smaller ids win.
 *
 * Where theirs leaves something to chance, this one sorts, so that the same texts give the same vocabulary for any
 * number of threads: theirs numbers the ## characters in the order of a randomly seeded hash table, here they follow
 * their code points, which also decide between equally frequent characters at the limit of the alphabet. With the same
 * numbers beforehand the two give the same vocabulary (tests/differential/tokenizer_training.py). One thing is meant to
 * differ: words of more than FM_WORD_CHARS_MAX characters, which would be [UNK], are not learnt from. */
#include "tokenizer/word_count.h"

#include <stdlib.h>
#include <string.h>

struct fm_vocab_trainer {
    fm_normalizer normalizer;
    fm_word_table *tables; /* one for each worker that was ever seen */
    int workers;
};

fm_status fm_vocab_trainer_create(fm_vocab_trainer **trainer, bool lowercase, fm_error *err)
{
    *trainer = calloc(1, sizeof **trainer);
    if (!*trainer) return fm_fail_memory(err, sizeof **trainer, "a vocabulary trainer");
    (*trainer)->normalizer = (fm_normalizer){true, true, lowercase, lowercase, false};
    return FM_OK;
}

void fm_vocab_trainer_destroy(fm_vocab_trainer *trainer)
{
    if (!trainer) return;
    for (int i = 0; i < trainer->workers; i++) fm_word_table_free(&trainer->tables[i]);
    free(trainer->tables);
    free(trainer);
}

/* ---- counting ---- */

typedef struct count_job {
    fm_vocab_trainer *trainer;
    const char *const *texts;
    const size_t *sizes;
    fm_error *errors; /* one for each worker */
} count_job;

static void count_text(void *context, size_t index, int worker)
{
    count_job *job = context;
    fm_error *err = &job->errors[worker];
    if (err->status) return;
    err->status = fm_word_table_add_text(&job->trainer->tables[worker], &job->trainer->normalizer, job->texts[index],
                                         job->sizes[index], err);
}

fm_status fm_vocab_trainer_add(fm_vocab_trainer *trainer, fm_pool *pool, const char *const *texts, const size_t *sizes,
                               size_t count, fm_error *err)
{
    int workers = pool ? fm_pool_threads(pool) : 1;
    if (workers > trainer->workers) {
        fm_word_table *tables = realloc(trainer->tables, (size_t)workers * sizeof *tables);
        if (!tables) return fm_fail_memory(err, (size_t)workers * sizeof *tables, "word counts");
        memset(tables + trainer->workers, 0, (size_t)(workers - trainer->workers) * sizeof *tables);
        trainer->tables = tables;
        trainer->workers = workers;
    }
    count_job job = {trainer, texts, sizes, calloc((size_t)workers, sizeof *job.errors)};
    if (!job.errors) return fm_fail_memory(err, (size_t)workers * sizeof *job.errors, "word counts");
    fm_pool_run(pool, count, count_text, &job);
    fm_status status = FM_OK;
    for (int i = 0; i < workers && !status; i++)
        if (job.errors[i].status) status = fm_fail(err, job.errors[i].status, "%s", job.errors[i].text);
    free(job.errors);
    return status;
}

/* A word and where its symbols are. */
typedef struct word {
    const uint8_t *bytes;
    uint64_t count;
    size_t symbols;
    uint32_t size, length;
} word;

static int compare_words(const void *left, const void *right)
{
    const word *a = left, *b = right;
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

/* ---- the state of a training ---- */

typedef struct token {
    size_t at; /* its text in `texts` */
    uint32_t size;
} token;

typedef struct pair {
    int64_t count;
    uint32_t left, right;
    uint32_t places;  /* a list of the words in which it may be: index plus one, 0 for none */
    uint32_t touched; /* the token whose making last added to it */
} pair;

typedef struct place {
    uint32_t word, next;
} place;

/* A pair with the count that it had when it was put into the heap. */
typedef struct candidate {
    int64_t count;
    uint32_t pair;
} candidate;

/* A growing array; `data` is cast where it is used. */
typedef struct vector {
    void *data;
    size_t count, capacity;
} vector;

/* A hash table of indexes into a vector, each plus one; 0 is a free slot. */
typedef struct hash_index {
    uint32_t *slots;
    size_t slot_count;
} hash_index;

typedef struct training {
    word *words; /* sorted, distinct */
    size_t word_count, symbol_count;
    uint32_t *symbols;
    fm_buffer texts; /* of the tokens */
    vector tokens, pairs, places, heap, touched;
    hash_index token_index, pair_index;
    uint32_t free_places; /* a list, as in a pair */
} training;

/* A new last element, or NULL without memory. */
static void *push(vector *v, size_t size)
{
    if (v->count == v->capacity) {
        size_t larger = v->capacity ? v->capacity * 2 : 1024, bytes;
        if (larger >= UINT32_MAX || !fm_size_mul(larger, size, &bytes)) return NULL;
        void *data = realloc(v->data, bytes);
        if (!data) return NULL;
        v->data = data;
        v->capacity = larger;
    }
    return (char *)v->data + v->count++ * size;
}

static void training_free(training *t)
{
    vector *vectors[] = {&t->tokens, &t->pairs, &t->places, &t->heap, &t->touched};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) free(vectors[i]->data);
    free(t->token_index.slots);
    free(t->pair_index.slots);
    free(t->words);
    free(t->symbols);
    fm_buffer_free(&t->texts);
}

static uint64_t token_hash(const training *t, uint32_t id)
{
    const token *k = (const token *)t->tokens.data + id;
    return fm_hash(FM_HASH_START, t->texts.data + k->at, k->size);
}

static uint64_t pair_hash(uint32_t left, uint32_t right)
{
    uint64_t hash = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

/* Keeps the table at most half full, for `count` entries and one more. */
static bool index_room(const training *t, hash_index *index, size_t count, bool of_pairs)
{
    if (count < index->slot_count / 2) return true;
    size_t slot_count = index->slot_count ? index->slot_count * 2 : 4096;
    if (slot_count > SIZE_MAX / 8) return false;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (!slots) return false;
    for (uint32_t i = 0; i < count; i++) {
        const pair *p = (const pair *)t->pairs.data + i;
        uint64_t hash = of_pairs ? pair_hash(p->left, p->right) : token_hash(t, i);
        size_t at = (size_t)hash & (slot_count - 1);
        while (slots[at]) at = (at + 1) & (slot_count - 1);
        slots[at] = i + 1;
    }
    free(index->slots);
    index->slots = slots;
    index->slot_count = slot_count;
    return true;
}

/* The id of a token by its text, which is added if it is new; FM_NONE without memory. */
static uint32_t token_of(training *t, const char *text, uint32_t size)
{
    if (!index_room(t, &t->token_index, t->tokens.count, false)) return FM_NONE;
    size_t mask = t->token_index.slot_count - 1;
    size_t at = (size_t)fm_hash(FM_HASH_START, text, size) & mask;
    for (; t->token_index.slots[at]; at = (at + 1) & mask) {
        const token *known = (const token *)t->tokens.data + (t->token_index.slots[at] - 1);
        if (known->size == size && memcmp(t->texts.data + known->at, text, size) == 0)
            return t->token_index.slots[at] - 1;
    }
    token *fresh = push(&t->tokens, sizeof *fresh);
    if (!fresh) return FM_NONE;
    *fresh = (token){t->texts.size, size};
    fm_buffer_add(&t->texts, text, size);
    if (t->texts.failed) return FM_NONE;
    t->token_index.slots[at] = (uint32_t)t->tokens.count;
    return (uint32_t)t->tokens.count - 1;
}

/* The index of a pair, which is added if it is new; FM_NONE without memory. */
static uint32_t pair_of(training *t, uint32_t left, uint32_t right)
{
    if (!index_room(t, &t->pair_index, t->pairs.count, true)) return FM_NONE;
    size_t mask = t->pair_index.slot_count - 1;
    size_t at = (size_t)pair_hash(left, right) & mask;
    for (; t->pair_index.slots[at]; at = (at + 1) & mask) {
        const pair *known = (const pair *)t->pairs.data + (t->pair_index.slots[at] - 1);
        if (known->left == left && known->right == right) return t->pair_index.slots[at] - 1;
    }
    pair *fresh = push(&t->pairs, sizeof *fresh);
    if (!fresh) return FM_NONE;
    *fresh = (pair){0, left, right, 0, FM_NONE};
    t->pair_index.slots[at] = (uint32_t)t->pairs.count;
    return (uint32_t)t->pairs.count - 1;
}

/* Notes that a pair is to be found in a word. */
static bool add_place(training *t, uint32_t pair_id, uint32_t word_id)
{
    pair *p = (pair *)t->pairs.data + pair_id;
    const place *places = t->places.data;
    if (p->places && places[p->places - 1].word == word_id) return true;
    place *fresh;
    uint32_t id;
    if (t->free_places) {
        id = t->free_places;
        fresh = (place *)t->places.data + (id - 1);
        t->free_places = fresh->next;
    } else {
        fresh = push(&t->places, sizeof *fresh);
        if (!fresh) return false;
        id = (uint32_t)t->places.count;
    }
    *fresh = (place){word_id, p->places};
    p->places = id;
    return true;
}

/* ---- the heap: most frequent first, then smaller ids ---- */

static bool before(const training *t, const candidate *a, const candidate *b)
{
    if (a->count != b->count) return a->count > b->count;
    const pair *p = (const pair *)t->pairs.data + a->pair, *q = (const pair *)t->pairs.data + b->pair;
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static bool heap_push(training *t, uint32_t pair_id)
{
    if (!push(&t->heap, sizeof(candidate))) return false;
    candidate *heap = t->heap.data, fresh = {((const pair *)t->pairs.data)[pair_id].count, pair_id};
    size_t at = t->heap.count - 1;
    for (; at > 0 && before(t, &fresh, &heap[(at - 1) / 2]); at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = fresh;
    return true;
}

static candidate heap_pop(training *t)
{
    candidate *heap = t->heap.data, top = heap[0], last = heap[--t->heap.count];
    size_t at = 0, count = t->heap.count;
    for (size_t child = 1; child < count; child = at * 2 + 1) {
        if (child + 1 < count && before(t, &heap[child + 1], &heap[child])) child++;
        if (!before(t, &heap[child], &last)) break;
        heap[at] = heap[child];
        at = child;
    }
    if (count > 0) heap[at] = last;
    return top;
}

/* ---- from words to symbols ---- */

/* Brings the words of all workers together, sorted and distinct. */
static fm_status gather(training *t, const fm_vocab_trainer *trainer, fm_error *err)
{
    size_t total = 0;
    for (int i = 0; i < trainer->workers; i++) total += trainer->tables[i].count;
    if (total == 0) return fm_fail(err, FM_E_ARGUMENT, "there are no words to make a vocabulary of; add texts first.");
    t->words = total < SIZE_MAX / sizeof *t->words ? malloc(total * sizeof *t->words) : NULL;
    if (!t->words) return fm_fail_memory(err, total * sizeof *t->words, "the words of a vocabulary training");
    size_t filled = 0;
    for (int i = 0; i < trainer->workers; i++)
        for (size_t k = 0; k < trainer->tables[i].count; k++) {
            const fm_counted_word *from = &trainer->tables[i].words[k];
            t->words[filled++] = (word){trainer->tables[i].texts + from->at, from->count, 0, from->size, 0};
        }
    qsort(t->words, total, sizeof *t->words, compare_words);
    for (size_t i = 0; i < total; i++) {
        if (t->word_count > 0 && compare_words(&t->words[t->word_count - 1], &t->words[i]) == 0)
            t->words[t->word_count - 1].count += t->words[i].count;
        else t->words[t->word_count++] = t->words[i];
    }
    if (t->word_count >= UINT32_MAX / 2)
        return fm_fail(err, FM_E_LIMIT, "%zu distinct words are too many for a vocabulary.", t->word_count);
    return FM_OK;
}

typedef struct letter {
    uint64_t count;
    uint32_t point;
} letter;

static int more_frequent(const void *left, const void *right)
{
    const letter *a = left, *b = right;
    return a->count != b->count ? (a->count < b->count) - (a->count > b->count)
                                : (a->point > b->point) - (a->point < b->point);
}

static int smaller_point(const void *left, const void *right)
{
    const letter *a = left, *b = right;
    return (a->point > b->point) - (a->point < b->point);
}

#define POINTS 0x110000u
enum { ABSENT, ALONE, INSIDE }; /* what `kept` says of a character of the alphabet: whether it also stands inside */

/* Chooses the alphabet and gives its tokens their ids: the characters in order, then those that follow another, with
 * ##, in order. kept is (POINTS). */
static fm_status make_alphabet(training *t, uint64_t *counts, uint8_t *kept, uint32_t limit, fm_error *err)
{
    size_t distinct = 0;
    for (size_t i = 0; i < t->word_count; i++) {
        const word *w = &t->words[i];
        uint32_t point;
        for (size_t at = 0; at < w->size; t->symbol_count++) {
            at += fm_utf8_read(w->bytes + at, w->size - at, &point);
            distinct += counts[point] == 0;
            counts[point] += w->count;
        }
    }
    letter *letters = calloc(distinct + 1, sizeof *letters);
    if (!letters) return fm_fail_memory(err, distinct * sizeof *letters, "an alphabet");
    size_t filled = 0;
    for (uint32_t point = 0; point < POINTS; point++)
        if (counts[point]) letters[filled++] = (letter){counts[point], point};
    qsort(letters, filled, sizeof *letters, more_frequent);
    if (filled > limit) filled = limit;
    qsort(letters, filled, sizeof *letters, smaller_point);
    for (size_t i = 0; i < filled; i++) kept[letters[i].point] = ALONE;
    /* A character is INSIDE only after another one that is kept or not, as in the reference. */
    for (size_t i = 0; i < t->word_count; i++) {
        const word *w = &t->words[i];
        uint32_t point;
        for (size_t at = fm_utf8_read(w->bytes, w->size, &point); at < w->size;) {
            at += fm_utf8_read(w->bytes + at, w->size - at, &point);
            if (kept[point] == ALONE) kept[point] = INSIDE;
        }
    }
    bool good = true;
    for (int inside = 0; inside < 2; inside++)
        for (size_t i = 0; i < filled && good; i++) {
            uint8_t text[6] = {'#', '#'};
            if (inside && kept[letters[i].point] != INSIDE) continue;
            size_t size = fm_utf8_write(letters[i].point, text + 2);
            const char *from = (const char *)text + (inside ? 0 : 2);
            good = token_of(t, from, (uint32_t)size + (inside ? 2 : 0)) != FM_NONE;
        }
    free(letters);
    return good ? FM_OK : fm_fail_memory(err, t->texts.capacity, "an alphabet");
}

/* Writes each word as symbols; characters outside the alphabet are left out, and their neighbours meet. */
static fm_status make_symbols(training *t, const uint8_t *kept, fm_error *err)
{
    size_t bytes;
    t->symbols = fm_size_mul(t->symbol_count, sizeof *t->symbols, &bytes) ? malloc(bytes) : NULL;
    if (!t->symbols) return fm_fail_memory(err, t->symbol_count * sizeof *t->symbols, "the words of a vocabulary");
    size_t next = 0;
    for (size_t i = 0; i < t->word_count; i++) {
        word *w = &t->words[i];
        w->symbols = next;
        for (size_t at = 0, size; at < w->size; at += size) {
            uint32_t point;
            size = fm_utf8_read(w->bytes + at, w->size - at, &point);
            if (!kept[point]) continue;
            uint8_t text[6] = {'#', '#'};
            memcpy(text + 2, w->bytes + at, size);
            const char *from = (const char *)text + (at ? 0 : 2);
            uint32_t id = token_of(t, from, (uint32_t)size + (at ? 2 : 0));
            if (id == FM_NONE) return fm_fail_memory(err, t->texts.capacity, "an alphabet");
            t->symbols[next++] = id;
        }
        w->length = (uint32_t)(next - w->symbols);
    }
    return FM_OK;
}

static fm_status count_pairs(training *t, fm_error *err)
{
    bool good = true;
    for (size_t i = 0; i < t->word_count && good; i++) {
        const word *w = &t->words[i];
        const uint32_t *symbols = t->symbols + w->symbols;
        for (uint32_t k = 0; k + 1 < w->length && good; k++) {
            uint32_t id = pair_of(t, symbols[k], symbols[k + 1]);
            good = id != FM_NONE && add_place(t, id, (uint32_t)i);
            if (good) ((pair *)t->pairs.data)[id].count += (int64_t)w->count;
        }
    }
    for (size_t i = 0; i < t->pairs.count && good; i++) good = heap_push(t, (uint32_t)i);
    return good ? FM_OK : fm_fail_memory(err, t->pairs.capacity * sizeof(pair), "the pairs of a vocabulary training");
}

/* ---- merging ---- */

static bool change(training *t, uint32_t left, uint32_t right, int64_t by, uint32_t word_id, uint32_t made)
{
    uint32_t id = pair_of(t, left, right);
    if (id == FM_NONE) return false;
    pair *p = (pair *)t->pairs.data + id;
    p->count += by;
    if (by < 0) return true;
    if (p->touched != made) {
        uint32_t *touched = push(&t->touched, sizeof *touched);
        if (!touched) return false;
        *touched = id;
        p->touched = made;
    }
    return add_place(t, id, word_id);
}

/* Puts `made` wherever left and right are neighbours in a word. step tells this merge from the others. */
static bool merge_word(training *t, uint32_t word_id, uint32_t left, uint32_t right, uint32_t made, uint32_t step)
{
    word *w = &t->words[word_id];
    uint32_t *s = t->symbols + w->symbols;
    int64_t count = (int64_t)w->count;
    uint32_t to = 0;
    bool good = true;
    for (uint32_t from = 0; from < w->length && good;) {
        if (s[from] != left || from + 1 >= w->length || s[from + 1] != right) {
            s[to++] = s[from++];
            continue;
        }
        if (to > 0)
            good =
                change(t, s[to - 1], left, -count, word_id, step) && change(t, s[to - 1], made, count, word_id, step);
        if (good && from + 2 < w->length)
            good = change(t, right, s[from + 2], -count, word_id, step) &&
                   change(t, made, s[from + 2], count, word_id, step);
        s[to++] = made;
        from += 2;
    }
    w->length = to;
    return good;
}

/* Makes one token of a pair. The pair keeps its count: what becomes the same pair later on follows at once, as in the
 * reference. */
static bool merge(training *t, uint32_t pair_id, uint32_t step)
{
    pair p = ((const pair *)t->pairs.data)[pair_id];
    token left = ((const token *)t->tokens.data)[p.left], right = ((const token *)t->tokens.data)[p.right];
    char text[FM_WORD_CHARS_MAX * 4 + 2]; /* a part of a word, and ## */
    if (left.size + right.size - 2 > sizeof text) return false;
    memcpy(text, t->texts.data + left.at, left.size);
    memcpy(text + left.size, t->texts.data + right.at + 2, right.size - 2);
    uint32_t made = token_of(t, text, left.size + right.size - 2);
    if (made == FM_NONE) return false;
    ((pair *)t->pairs.data)[pair_id].places = 0;
    t->touched.count = 0;
    bool good = true;
    for (uint32_t next = p.places; next && good;) {
        place here = ((const place *)t->places.data)[next - 1];
        good = merge_word(t, here.word, p.left, p.right, made, step);
        ((place *)t->places.data)[next - 1].next = t->free_places;
        t->free_places = next;
        next = here.next;
    }
    for (size_t i = 0; i < t->touched.count && good; i++) {
        uint32_t id = ((const uint32_t *)t->touched.data)[i];
        if (((const pair *)t->pairs.data)[id].count > 0) good = heap_push(t, id);
    }
    return good;
}

static fm_status merge_all(training *t, uint32_t size, uint32_t min_frequency, fm_progress progress, void *context,
                           fm_error *err)
{
    int64_t fewest = min_frequency > 1 ? (int64_t)min_frequency : 1;
    for (uint32_t step = 0; t->tokens.count < size && t->heap.count > 0; step++) {
        candidate top = heap_pop(t);
        const pair *p = (const pair *)t->pairs.data + top.pair;
        if (!p->places) continue;
        if (p->count != top.count) { /* it lost some to a merge, and waits for its turn again */
            if (!heap_push(t, top.pair)) return fm_fail_memory(err, t->heap.capacity, "a vocabulary training");
            continue;
        }
        if (top.count < fewest) break;
        if (!merge(t, top.pair, step))
            return fm_fail_memory(err, t->pairs.capacity * sizeof *p, "the pairs of a vocabulary training");
        if (progress && step % 64 == 0 && !progress(context, t->tokens.count, size))
            return fm_fail(err, FM_E_ABORTED, "the vocabulary training was stopped.");
    }
    return FM_OK;
}

static fm_status train(training *t, uint32_t size, uint32_t alphabet_limit, fm_error *err)
{
    static const char *const first[5] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    for (int i = 0; i < 5; i++)
        if (token_of(t, first[i], (uint32_t)strlen(first[i])) == FM_NONE)
            return fm_fail_memory(err, 4096, "a vocabulary");
    uint64_t *counts = calloc(POINTS, sizeof *counts);
    uint8_t *kept = calloc(POINTS, 1);
    fm_status status = counts && kept ? FM_OK : fm_fail_memory(err, POINTS * 9, "an alphabet");
    if (!status) status = make_alphabet(t, counts, kept, alphabet_limit, err);
    free(counts);
    if (!status && t->tokens.count > size)
        status =
            fm_fail(err, FM_E_ARGUMENT,
                    "a vocabulary of %u is too small: the special tokens and the alphabet need %zu; ask for more or"
                    " lower the alphabet limit of %u.",
                    size, t->tokens.count, alphabet_limit);
    if (!status) status = make_symbols(t, kept, err);
    free(kept);
    return status ? status : count_pairs(t, err);
}

fm_status fm_vocab_trainer_finish(fm_vocab_trainer *trainer, uint32_t size, uint32_t min_frequency,
                                  uint32_t alphabet_limit, fm_progress progress, void *context, char **vocab,
                                  size_t *vocab_size, fm_error *err)
{
    *vocab = NULL;
    *vocab_size = 0;
    training t = {0};
    fm_status status = gather(&t, trainer, err);
    if (!status) status = train(&t, size, alphabet_limit, err);
    if (!status) status = merge_all(&t, size, min_frequency, progress, context, err);
    fm_buffer out = {0};
    for (size_t i = 0; i < t.tokens.count && !status; i++) {
        const token *k = (const token *)t.tokens.data + i;
        fm_buffer_add(&out, t.texts.data + k->at, k->size);
        fm_buffer_add(&out, "\n", 1);
        if (out.failed) status = fm_fail_memory(err, out.capacity * 2, "a vocabulary");
    }
    training_free(&t);
    if (status) {
        fm_buffer_free(&out);
        return status;
    }
    *vocab = out.data;
    *vocab_size = out.size;
    return FM_OK;
}
