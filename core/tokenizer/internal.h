/* internal.h - what the files of core/tokenizer share and nobody else sees. */
#ifndef FM_TOKENIZER_INTERNAL_H
#define FM_TOKENIZER_INTERNAL_H

#include "base/base.h"
#include "tokenizer/ascii.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/trie.h"
#include "tokenizer/unicode.h"

#define FM_WORD_CHARS_MAX 100u /* a longer word is [UNK] */

/* What a byte below 128 is to the encoder; every byte from 128 up is FM_BYTE_SLOW. */
enum { FM_BYTE_WORD, FM_BYTE_SPACE, FM_BYTE_PUNCTUATION, FM_BYTE_SLOW };

/* The steps of the normaliser, as BertNormalizer names them. */
typedef struct fm_normalizer {
    bool clean, cjk, strip_accents, lowercase;
    bool strip_given; /* strip_accents was set, and does not just follow lowercase */
} fm_normalizer;

void fm_byte_classes(const fm_normalizer *normalizer, uint8_t classes[256]);

/* A whole word of up to 16 ASCII letters and digits and its id, for look-up without a walk. */
typedef struct fm_word_slot {
    fm_packed word;
    uint32_t id; /* FM_NONE: free */
} fm_word_slot;

#define FM_SLOT_PROBES 16 /* what does not fit within these is left to the trie */

struct fm_tokenizer {
    uint32_t size;
    char *text;                   /* all tokens, each with its NUL */
    uint32_t *start;              /* size + 1 offsets into text */
    bool *special;                /* size flags */
    uint32_t model_size;          /* tokens below this are the WordPiece vocabulary's, the others were added */
    fm_trie words, pieces, added; /* whole words; what follows ##, without it; texts found before all else */
    fm_word_slot *slots;          /* a word is looked for from slots[hash >> slot_shift] on */
    int slot_shift;
    uint64_t case_bits;      /* FM_CASE_BITS or 0 */
    bool added_first[256];   /* first bytes of `added` */
    int added_only;          /* the first byte of all of `added`, -1 if they differ */
    uint32_t bytes_ids[128]; /* the ids of the words of one ASCII byte, [UNK] for one that the vocabulary lacks */
    uint8_t classes[256];
    fm_normalizer normalizer;
    uint32_t word_chars; /* at most FM_WORD_CHARS_MAX */
    fm_special_ids ids;
};

/* ---- normalize.c: the slow, complete way through text ---- */

/* A character of normalised text and the bytes of the original that it stands for. */
typedef struct fm_char {
    uint32_t point;
    fm_span span;
} fm_char;

/* Called for every character of a word, and at the end of a word, which may be empty; punctuation is a word of one
 * character. A result that is not FM_OK stops the walk. */
typedef struct fm_word_sink {
    void *context;
    fm_status (*character)(void *context, fm_char character);
    fm_status (*word_end)(void *context);
} fm_word_sink;

/* Normalises and splits text[at, end) until white space or punctuation of ASCII, or `end`, and stores where it
 * stopped. Such a byte ends every word and every reordering, so that the fast way can take over there. */
fm_status fm_normalize(const fm_normalizer *normalizer, const uint8_t classes[256], const uint8_t *text, size_t at,
                       size_t end, fm_word_sink sink, size_t *stopped, fm_error *err);

/* ---- vocabulary.c: a vocabulary becomes a tokenizer ---- */

/* One token of a vocabulary being loaded. */
typedef struct fm_token_text {
    const char *text;
    uint32_t size;
} fm_token_text;

typedef struct fm_vocab {
    fm_token_text *tokens; /* [count], in the order of ids */
    bool *special;         /* [count] */
    bool *added;           /* [count] found in raw text, special or not */
    uint32_t count, model_count;
    const char *name; /* the file, for errors */
    fm_normalizer normalizer;
    uint32_t word_chars;
} fm_vocab;

/* Makes the tokenizer of a vocabulary, whose texts are copied. */
fm_status fm_tokenizer_make(fm_tokenizer **tokenizer, const fm_vocab *vocab, fm_error *err);

#endif
