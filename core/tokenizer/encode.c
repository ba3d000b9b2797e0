/* encode.c - text to ids with offsets. Plain ASCII goes the fast way here, eight bytes at a time and mostly one probe
 * of a table for each word; any other word goes through normalize.c. Nothing is remembered between calls. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct job {
    const fm_tokenizer *t;
    const uint8_t *text;
    fm_encoding *out;
    fm_error *err;
    uint32_t word; /* index of the next word */
    /* The word that comes from the normaliser: its UTF-8, the character that each byte is of, and their spans. */
    uint32_t chars, size;
    fm_span first, last;
    uint8_t bytes[FM_WORD_CHARS_MAX * 4];
    uint8_t owner[FM_WORD_CHARS_MAX * 4];
    fm_span spans[FM_WORD_CHARS_MAX];
} job;

static fm_status grow(fm_encoding *out, size_t more, fm_error *err)
{
    size_t capacity = out->capacity + out->capacity / 2;
    if (capacity < out->count + more) capacity = out->count + more;
    if (capacity < 64) capacity = 64;
    if (more > SIZE_MAX / 32 || capacity > SIZE_MAX / 32) return fm_fail_memory(err, SIZE_MAX, "an encoding");
    uint32_t *ids = realloc(out->ids, capacity * sizeof *ids);
    if (ids) out->ids = ids;
    fm_span *offsets = realloc(out->offsets, capacity * sizeof *offsets);
    if (offsets) out->offsets = offsets;
    uint32_t *words = realloc(out->words, capacity * sizeof *words);
    if (words) out->words = words;
    if (!ids || !offsets || !words) return fm_fail_memory(err, capacity * 16, "an encoding");
    out->capacity = capacity;
    return FM_OK;
}

static inline fm_status reserve(fm_encoding *out, size_t more, fm_error *err)
{
    return out->capacity - out->count >= more ? FM_OK : grow(out, more, err);
}

/* Adds a token, for which there must be room. */
static inline void add(fm_encoding *out, uint32_t id, fm_span span, uint32_t word)
{
    out->ids[out->count] = id;
    out->offsets[out->count] = span;
    out->words[out->count] = word;
    out->count++;
}

/* Greedy longest match over a word of at most word_chars characters, at most one token a character, for which there
 * must be room. If mapped, the pieces' spans come from j->spans, otherwise from `at`, where the word is in the text. */
static void match(job *j, const uint8_t *bytes, size_t size, size_t at, bool mapped)
{
    const fm_trie *trie = &j->t->words;
    fm_encoding *out = j->out;
    size_t before = out->count;
    for (size_t from = 0, matched; from < size; from += matched, trie = &j->t->pieces) {
        uint32_t id = fm_trie_longest(trie, bytes + from, size - from, &matched);
        fm_span span = {(uint32_t)(at + from), (uint32_t)(at + from + matched)};
        if (id == FM_NONE) { /* one part that is not in the vocabulary, and none of the word counts */
            out->count = before;
            id = j->t->ids.unk;
            matched = size - from;
            span = mapped ? (fm_span){j->first.start, j->last.end} : (fm_span){(uint32_t)at, (uint32_t)(at + size)};
        } else if (mapped) span = (fm_span){j->spans[j->owner[from]].start, j->spans[j->owner[from + matched - 1]].end};
        add(out, id, span, j->word);
    }
    j->word++;
}

static fm_status take_character(void *context, fm_char c)
{
    job *j = context;
    if (j->chars < j->t->word_chars) {
        size_t size = fm_utf8_write(c.point, j->bytes + j->size);
        memset(j->owner + j->size, (int)j->chars, size);
        j->size += (uint32_t)size;
        j->spans[j->chars] = c.span;
    }
    if (j->chars == 0) j->first = c.span;
    j->last = c.span;
    if (j->chars <= j->t->word_chars) j->chars++;
    return FM_OK;
}

static fm_status take_word(void *context)
{
    job *j = context;
    if (j->chars == 0) return FM_OK;
    fm_status status = reserve(j->out, j->chars, j->err);
    if (status) return status;
    if (j->chars > j->t->word_chars) add(j->out, j->t->ids.unk, (fm_span){j->first.start, j->last.end}, j->word++);
    else match(j, j->bytes, j->size, 0, true);
    j->chars = 0;
    j->size = 0;
    return FM_OK;
}

/* The id of a whole word, FM_NONE if the table lacks it. */
static inline uint32_t find_word(const fm_tokenizer *t, fm_packed word)
{
    const fm_word_slot *slot = &t->slots[fm_packed_hash(word) >> t->slot_shift], *end = slot + FM_SLOT_PROBES;
    for (; slot < end && slot->id != FM_NONE; slot++)
        if (slot->word.low == word.low && slot->word.high == word.high) return slot->id;
    return FM_NONE;
}

/* The end of the word of ASCII letters and digits that goes on at `to`. */
static size_t word_end(const uint8_t *text, size_t to, size_t end)
{
    size_t size = 8;
    while (size == 8 && end - to >= 8) {
        size = fm_mask_size(fm_word_mask(fm_load8(text + to)));
        to += size;
    }
    if (size < 8) return to;
    while (to < end && fm_word_mask(text[to])) to++;
    return to;
}

/* The word of ASCII letters and digits text[at, *to), of which `word` has the first 16 bytes in the right case. Stores
 * the end and returns false if it is longer. */
static inline bool read_word(const job *j, size_t at, size_t end, fm_packed *word, size_t *to)
{
    uint8_t padded[FM_PACKED_BYTES] = {0};
    const uint8_t *bytes = j->text + at;
    if (end - at < FM_PACKED_BYTES) bytes = memcpy(padded, bytes, end - at);
    uint64_t low = fm_load8(bytes), mask = fm_word_mask(low);
    *word = (fm_packed){(low | j->t->case_bits) & mask, 0};
    *to = at + fm_mask_size(mask);
    if (*to < at + 8) return true;
    uint64_t high = fm_load8(bytes + 8);
    mask = fm_word_mask(high);
    word->high = (high | j->t->case_bits) & mask;
    *to += fm_mask_size(mask);
    if (*to < at + FM_PACKED_BYTES) return true;
    *to = word_end(j->text, *to, end);
    return *to == at + FM_PACKED_BYTES;
}

/* A word that the table lacks, for which there must be room. */
static void match_ascii(job *j, size_t at, size_t to)
{
    size_t size = to - at;
    if (size > j->t->word_chars) {
        add(j->out, j->t->ids.unk, (fm_span){(uint32_t)at, (uint32_t)to}, j->word++);
        return;
    }
    uint8_t bytes[FM_WORD_CHARS_MAX];
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(j->text[at + i] | (j->t->case_bits & 0xff));
    match(j, bytes, size, at, false);
}

/* A stretch of text without added tokens. */
static fm_status encode_stretch(job *j, size_t at, size_t end)
{
    const fm_tokenizer *t = j->t;
    const uint8_t *text = j->text, *classes = t->classes;
    const fm_word_sink sink = {j, take_character, take_word};
    fm_status status = FM_OK;
    while (at < end && !status) {
        uint8_t class = classes[text[at]];
        if (class == FM_BYTE_SPACE) {
            at++;
            continue;
        }
        status = reserve(j->out, FM_WORD_CHARS_MAX, j->err);
        if (status) break;
        if (class == FM_BYTE_PUNCTUATION) {
            add(j->out, t->bytes_ids[text[at]], (fm_span){(uint32_t)at, (uint32_t)(at + 1)}, j->word++);
            at++;
            continue;
        }
        fm_packed word;
        size_t to;
        bool short_word = read_word(j, at, end, &word, &to);
        if (to < end && classes[text[to]] == FM_BYTE_SLOW) {
            status = fm_normalize(&t->normalizer, classes, text, at, end, sink, &to, j->err);
        } else {
            uint32_t id = short_word ? find_word(t, word) : FM_NONE;
            if (id != FM_NONE) add(j->out, id, (fm_span){(uint32_t)at, (uint32_t)to}, j->word++);
            else match_ascii(j, at, to);
        }
        at = to;
    }
    return status;
}

/* The next place from `at` where an added token may start, or size. */
static size_t next_added(const fm_tokenizer *t, const uint8_t *text, size_t at, size_t size)
{
    if (t->added_only >= 0) {
        const uint8_t *found = memchr(text + at, t->added_only, size - at);
        return found ? (size_t)(found - text) : size;
    }
    while (at < size && !t->added_first[text[at]]) at++;
    return at;
}

static fm_status encode_text(job *j, size_t size)
{
    const fm_tokenizer *t = j->t;
    size_t done = 0, at = 0;
    while (at < size) {
        at = next_added(t, j->text, at, size);
        if (at == size) break;
        size_t matched;
        uint32_t id = fm_trie_longest(&t->added, j->text + at, size - at, &matched);
        if (id == FM_NONE) {
            at++;
            continue;
        }
        fm_status status = encode_stretch(j, done, at);
        if (!status) status = reserve(j->out, 1, j->err);
        if (status) return status;
        /* An added token counts as a word, as in the reference, though a special one names none. */
        add(j->out, id, (fm_span){(uint32_t)at, (uint32_t)(at + matched)}, t->special[id] ? FM_NONE : j->word);
        j->word++;
        at += matched;
        done = at;
    }
    return encode_stretch(j, done, size);
}

fm_status fm_tokenizer_encode(const fm_tokenizer *tokenizer, const char *text, size_t size, bool special,
                              fm_encoding *encoding, fm_error *err)
{
    encoding->count = 0;
    if (size >= UINT32_MAX)
        return fm_fail(err, FM_E_LIMIT, "the text has %zu bytes; one text must be shorter than 4 GB, so cut it.", size);
    job j;
    j.t = tokenizer;
    j.text = (const uint8_t *)text;
    j.out = encoding;
    j.err = err;
    j.word = j.chars = j.size = 0;
    fm_status status = reserve(encoding, size / 4 + 2, err);
    if (!status && special) add(encoding, tokenizer->ids.cls, (fm_span){0, 0}, FM_NONE);
    if (!status && size > 0) status = encode_text(&j, size);
    if (!status) status = reserve(encoding, 1, err);
    if (!status && special) add(encoding, tokenizer->ids.sep, (fm_span){0, 0}, FM_NONE);
    if (status) encoding->count = 0;
    return status;
}

void fm_encoding_free(fm_encoding *encoding)
{
    free(encoding->ids);
    free(encoding->offsets);
    free(encoding->words);
    *encoding = (fm_encoding){0};
}
