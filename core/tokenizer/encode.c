/* encode.c - text to ids with offsets. Plain ASCII goes the fast way here, one look at each byte and mostly one probe
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
 * must be room. With owner the pieces' spans come from spans, without it from `at`, where the word is in the text. */
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

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* Lower case of eight bytes of ASCII at once: 32 is added to each byte from A to Z. */
static inline uint64_t lower8(uint64_t bytes)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t upper = (bytes + ones * (0x80 - 'A')) & ~(bytes + ones * (0x80 - 'Z' - 1)) & (ones * 0x80);
    return bytes + (upper >> 2);
}

/* Packs a word in lower case; `readable` bytes may be read. */
static inline fm_packed pack_word(const uint8_t *bytes, size_t size, size_t readable, bool lowercase)
{
    if (readable < 16) {
        uint8_t copy[16] = {0};
        memcpy(copy, bytes, size);
        fm_packed word = fm_pack(copy, size);
        return lowercase ? (fm_packed){lower8(word.low), lower8(word.high)} : word;
    }
    fm_packed word;
    memcpy(&word.low, bytes, 8);
    memcpy(&word.high, bytes + 8, 8);
    if (size < 8) {
        word.low &= ((uint64_t)1 << (size * 8)) - 1;
        word.high = 0;
    } else if (size < 16) word.high &= ((uint64_t)1 << ((size - 8) * 8)) - 1;
    return lowercase ? (fm_packed){lower8(word.low), lower8(word.high)} : word;
}
#else
static inline fm_packed pack_word(const uint8_t *bytes, size_t size, size_t readable, bool lowercase)
{
    (void)readable;
    uint8_t copy[16];
    for (size_t i = 0; i < size; i++)
        copy[i] = lowercase && bytes[i] >= 'A' && bytes[i] <= 'Z' ? bytes[i] + 32 : bytes[i];
    return fm_pack(copy, size);
}
#endif

/* A word of ASCII letters, digits and the like: text[at, to). */
static fm_status ascii_word(job *j, size_t at, size_t to, size_t end)
{
    const fm_tokenizer *t = j->t;
    size_t size = to - at;
    const uint8_t *bytes = j->text + at;
    fm_span span = {(uint32_t)at, (uint32_t)to};
    if (size > t->word_chars) {
        fm_status status = reserve(j->out, 1, j->err);
        if (!status) add(j->out, t->ids.unk, span, j->word++);
        return status;
    }
    fm_status status = reserve(j->out, size, j->err);
    if (status) return status;
    if (size <= 16) {
        fm_packed word = pack_word(bytes, size, end - at, t->normalizer.lowercase);
        size_t slot = fm_packed_hash(word);
        for (int probe = 0; probe < FM_SLOT_PROBES; probe++, slot++) {
            const fm_word_slot *s = &t->slots[slot & t->slot_mask];
            if (s->id == FM_NONE) break;
            if (s->low == word.low && s->high == word.high) {
                add(j->out, s->id, span, j->word++);
                return FM_OK;
            }
        }
    }
    uint8_t lower[FM_WORD_CHARS_MAX];
    for (size_t i = 0; i < size; i++)
        lower[i] = t->normalizer.lowercase && bytes[i] >= 'A' && bytes[i] <= 'Z' ? bytes[i] + 32 : bytes[i];
    match(j, lower, size, at, false);
    return FM_OK;
}

/* A stretch of text without added tokens. */
static fm_status encode_stretch(job *j, size_t at, size_t end)
{
    const uint8_t *text = j->text, *classes = j->t->classes;
    const fm_word_sink sink = {j, take_character, take_word};
    fm_status status = FM_OK;
    while (at < end && !status) {
        uint8_t class = classes[text[at]];
        if (class == FM_BYTE_SPACE) {
            at++;
        } else if (class == FM_BYTE_PUNCTUATION) {
            status = reserve(j->out, 1, j->err);
            if (status) break;
            add(j->out, j->t->bytes_ids[text[at]], (fm_span){(uint32_t)at, (uint32_t)(at + 1)}, j->word++);
            at++;
        } else {
            size_t to = at;
            while (to < end && classes[text[to]] == FM_BYTE_WORD) to++;
            if (to < end && classes[text[to]] == FM_BYTE_SLOW)
                status = fm_normalize(&j->t->normalizer, classes, text, at, end, sink, &to, j->err);
            else status = ascii_word(j, at, to, end);
            at = to;
        }
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
