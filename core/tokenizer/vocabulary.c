/* vocabulary.c - makes a tokenizer of a list of tokens, checks that list, and answers questions about it. Reading the
 * list from files is load.c's. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

#define TOKEN_BYTES_MAX 1000u
#define TOKENS_MAX (1u << 24)

static const char *const special_names[5] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

static bool is_piece(const fm_token_text *token)
{
    return token->size > 2 && memcmp(token->text, "##", 2) == 0;
}

static int compare_tokens(const void *left, const void *right)
{
    const fm_token_text *a = *(const fm_token_text *const *)left, *b = *(const fm_token_text *const *)right;
    uint32_t common = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->text, b->text, common);
    if (order == 0) order = (a->size > b->size) - (a->size < b->size);
    return order ? order : (a > b) - (a < b);
}

static fm_status check_duplicates(const fm_vocab *vocab, fm_error *err)
{
    const fm_token_text **sorted = malloc(vocab->count * sizeof *sorted);
    if (!sorted) return fm_fail_memory(err, vocab->count * sizeof *sorted, vocab->name);
    for (uint32_t i = 0; i < vocab->count; i++) sorted[i] = &vocab->tokens[i];
    qsort(sorted, vocab->count, sizeof *sorted, compare_tokens);
    fm_status status = FM_OK;
    for (uint32_t i = 1; i < vocab->count && !status; i++) {
        const fm_token_text *a = sorted[i - 1], *b = sorted[i];
        if (a->size == b->size && memcmp(a->text, b->text, a->size) == 0)
            status = fm_fail(err, FM_E_FORMAT, "%s has the token \"%.*s\" twice, with ids %zu and %zu; remove one.",
                             vocab->name, (int)(a->size < 100 ? a->size : 100), a->text, (size_t)(a - vocab->tokens),
                             (size_t)(b - vocab->tokens));
    }
    free(sorted);
    return status;
}

static fm_status check_tokens(const fm_vocab *vocab, fm_error *err)
{
    if (vocab->count == 0)
        return fm_fail(err, FM_E_FORMAT, "%s is empty; a vocabulary has a token a line.", vocab->name);
    if (vocab->count > TOKENS_MAX)
        return fm_fail(err, FM_E_LIMIT, "%s has %u tokens; at most %u are supported.", vocab->name, vocab->count,
                       TOKENS_MAX);
    for (uint32_t i = 0; i < vocab->count; i++) {
        const fm_token_text *token = &vocab->tokens[i];
        if (token->size == 0)
            return fm_fail(err, FM_E_FORMAT, "%s: the token of id %u (line %u of a vocab.txt) is empty; remove it.",
                           vocab->name, i, i + 1);
        if (token->size > TOKEN_BYTES_MAX)
            return fm_fail(err, FM_E_LIMIT, "%s: the token of id %u has %u bytes; at most %u are supported.",
                           vocab->name, i, token->size, TOKEN_BYTES_MAX);
        for (size_t at = 0; at < token->size;) {
            uint32_t point;
            const uint8_t *bytes = (const uint8_t *)token->text + at;
            at += fm_utf8_read(bytes, token->size - at, &point);
            if (point == 0 || (point == FM_REPLACEMENT && bytes[0] != 0xef))
                return fm_fail(err, FM_E_FORMAT, "%s: the token of id %u has %s; save the file as UTF-8 text.",
                               vocab->name, i, point ? "bytes that are not UTF-8" : "a NUL byte");
        }
    }
    return check_duplicates(vocab, err);
}

/* Copies the texts; tokenizer->size and the rest of what they need is set. */
static fm_status copy_tokens(fm_tokenizer *t, const fm_vocab *vocab, fm_error *err)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < vocab->count; i++)
        bytes += vocab->tokens[i].size + 1; /* below 2^24 * 1001, which 32 bits may not hold */
    if (bytes > UINT32_MAX / 2 || bytes < vocab->count)
        return fm_fail(err, FM_E_LIMIT, "%s has more than 2 GB of tokens.", vocab->name);
    t->size = vocab->count;
    t->model_size = vocab->model_count;
    t->text = malloc(bytes);
    t->start = malloc(((size_t)t->size + 1) * sizeof *t->start);
    t->special = malloc(t->size * sizeof *t->special);
    if (!t->text || !t->start || !t->special) return fm_fail_memory(err, bytes + t->size * (size_t)5, vocab->name);
    uint32_t at = 0;
    for (uint32_t i = 0; i < t->size; i++) {
        t->start[i] = at;
        memcpy(t->text + at, vocab->tokens[i].text, vocab->tokens[i].size);
        at += vocab->tokens[i].size;
        t->text[at++] = '\0';
        t->special[i] = vocab->special[i];
    }
    t->start[t->size] = at;
    return FM_OK;
}

static bool is_in_trie(const fm_vocab *vocab, uint32_t id, int which)
{
    if (which == 2) return vocab->added[id];
    return id < vocab->model_count && is_piece(&vocab->tokens[id]) == (which == 1);
}

/* One of the three tries; which: 0 whole words, 1 pieces, 2 added tokens. */
static fm_status make_trie(fm_tokenizer *t, const fm_vocab *vocab, int which, fm_error *err)
{
    size_t count = 0;
    for (uint32_t i = 0; i < vocab->count; i++) count += is_in_trie(vocab, i, which);
    fm_trie_key *keys = malloc((count + 1) * sizeof *keys);
    if (!keys) return fm_fail_memory(err, count * sizeof *keys, vocab->name);
    count = 0;
    for (uint32_t i = 0; i < vocab->count; i++) {
        const fm_token_text *token = &vocab->tokens[i];
        uint32_t prefix = which == 1 ? 2 : 0;
        if (is_in_trie(vocab, i, which))
            keys[count++] = (fm_trie_key){(const uint8_t *)token->text + prefix, token->size - prefix, i};
    }
    fm_trie *trie = which == 0 ? &t->words : which == 1 ? &t->pieces : &t->added;
    fm_status status = fm_trie_build(trie, keys, count, vocab->name, err);
    free(keys);
    return status;
}

static bool is_short_word(const fm_tokenizer *t, uint32_t id)
{
    const uint8_t *text = (const uint8_t *)t->text + t->start[id];
    size_t size = t->start[id + 1] - t->start[id] - 1;
    bool plain = size <= FM_PACKED_BYTES && size <= t->word_chars; /* a longer one is never asked for */
    for (size_t i = 0; i < size && plain; i++) plain = t->classes[text[i]] == FM_BYTE_WORD;
    return plain;
}

/* The table of short words of ASCII. It only saves walks: what finds no room is left to the trie. */
static fm_status make_slots(fm_tokenizer *t, const char *name, fm_error *err)
{
    size_t slots = 64, words = 0;
    t->slot_shift = 64 - 6;
    for (uint32_t id = 0; id < t->model_size; id++) words += is_short_word(t, id);
    for (; slots < words * 2; slots *= 2) t->slot_shift--;
    slots += FM_SLOT_PROBES; /* so that probing needs no turn at the end */
    t->slots = malloc(slots * sizeof *t->slots);
    if (!t->slots) return fm_fail_memory(err, slots * sizeof *t->slots, name);
    for (size_t i = 0; i < slots; i++) t->slots[i] = (fm_word_slot){{0, 0}, FM_NONE};
    for (uint32_t id = 0; id < t->model_size; id++) {
        if (!is_short_word(t, id)) continue;
        fm_packed word = fm_pack((const uint8_t *)t->text + t->start[id], t->start[id + 1] - t->start[id] - 1);
        fm_word_slot *slot = &t->slots[fm_packed_hash(word) >> t->slot_shift], *end = slot + FM_SLOT_PROBES;
        while (slot < end && slot->id != FM_NONE) slot++;
        if (slot < end) *slot = (fm_word_slot){word, id};
    }
    return FM_OK;
}

static fm_status find_special(fm_tokenizer *t, const char *name, fm_error *err)
{
    uint32_t *ids[5] = {&t->ids.pad, &t->ids.unk, &t->ids.cls, &t->ids.sep, &t->ids.mask};
    for (int i = 0; i < 5; i++) {
        if (!fm_tokenizer_find(t, special_names[i], strlen(special_names[i]), ids[i]))
            return fm_fail(err, FM_E_FORMAT,
                           "%s lacks the token %s; a BERT vocabulary has all of [PAD], [UNK], [CLS],"
                           " [SEP] and [MASK].",
                           name, special_names[i]);
        t->special[*ids[i]] = true;
    }
    return FM_OK;
}

static fm_status fill(fm_tokenizer *t, const fm_vocab *vocab, fm_error *err)
{
    t->normalizer = vocab->normalizer;
    t->word_chars = vocab->word_chars;
    t->case_bits = t->normalizer.lowercase ? FM_CASE_BITS : 0;
    fm_byte_classes(&t->normalizer, t->classes);
    fm_status status = copy_tokens(t, vocab, err);
    for (int which = 0; which < 3 && !status; which++) status = make_trie(t, vocab, which, err);
    if (!status) status = make_slots(t, vocab->name, err);
    if (!status) status = find_special(t, vocab->name, err);
    if (status) return status;
    int firsts = 0;
    for (int byte = 0; byte < 256; byte++) {
        t->added_first[byte] = t->added.start[byte] != 0;
        if (!t->added_first[byte]) continue;
        t->added_only = firsts++ ? -1 : byte;
    }
    for (unsigned byte = 0; byte < 128; byte++) {
        uint8_t text = (uint8_t)byte;
        uint32_t id = fm_trie_find(&t->words, &text, 1);
        t->bytes_ids[byte] = id == FM_NONE ? t->ids.unk : id;
    }
    return FM_OK;
}

fm_status fm_tokenizer_make(fm_tokenizer **tokenizer, const fm_vocab *vocab, fm_error *err)
{
    *tokenizer = NULL;
    fm_status status = check_tokens(vocab, err);
    if (status) return status;
    fm_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return fm_fail_memory(err, sizeof *t, vocab->name);
    status = fill(t, vocab, err);
    if (status) fm_tokenizer_close(t);
    else *tokenizer = t;
    return status;
}

void fm_tokenizer_close(fm_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    fm_trie_free(&tokenizer->words);
    fm_trie_free(&tokenizer->pieces);
    fm_trie_free(&tokenizer->added);
    free(tokenizer->slots);
    free(tokenizer->special);
    free(tokenizer->start);
    free(tokenizer->text);
    free(tokenizer);
}

uint32_t fm_tokenizer_size(const fm_tokenizer *tokenizer)
{
    return tokenizer->size;
}

const char *fm_tokenizer_token(const fm_tokenizer *tokenizer, uint32_t id)
{
    return id < tokenizer->size ? tokenizer->text + tokenizer->start[id] : NULL;
}

bool fm_tokenizer_find(const fm_tokenizer *tokenizer, const char *token, size_t size, uint32_t *id)
{
    const uint8_t *bytes = (const uint8_t *)token;
    bool piece = size > 2 && memcmp(token, "##", 2) == 0;
    *id = piece ? fm_trie_find(&tokenizer->pieces, bytes + 2, size - 2) : fm_trie_find(&tokenizer->words, bytes, size);
    if (*id == FM_NONE) *id = fm_trie_find(&tokenizer->added, bytes, size);
    return *id != FM_NONE;
}

bool fm_tokenizer_is_special(const fm_tokenizer *tokenizer, uint32_t id)
{
    return id < tokenizer->size && tokenizer->special[id];
}

bool fm_tokenizer_lowercase(const fm_tokenizer *tokenizer)
{
    return tokenizer->normalizer.lowercase;
}

fm_special_ids fm_tokenizer_special(const fm_tokenizer *tokenizer)
{
    return tokenizer->ids;
}

uint64_t fm_tokenizer_hash(const fm_tokenizer *t)
{
    const fm_normalizer *n = &t->normalizer;
    uint8_t options[5] = {n->clean, n->cjk, n->strip_accents, n->lowercase, (uint8_t)t->word_chars};
    uint64_t hash = fm_hash(FM_HASH_START, options, sizeof options);
    hash = fm_hash(hash, t->text, t->start[t->size]);
    for (uint32_t id = 0; id < t->size; id++) {
        uint8_t flags = (uint8_t)(t->special[id] | (id < t->model_size) << 1);
        const char *text = t->text + t->start[id];
        bool added = fm_trie_find(&t->added, (const uint8_t *)text, strlen(text)) != FM_NONE;
        flags = (uint8_t)(flags | added << 2);
        hash = fm_hash(hash, &flags, 1);
    }
    return hash;
}
