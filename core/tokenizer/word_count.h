/* word_count.h - how often each word occurs, for the training of a vocabulary. */
#ifndef FM_WORD_COUNT_H
#define FM_WORD_COUNT_H

#include "tokenizer/internal.h"

typedef struct fm_counted_word {
    size_t at; /* its bytes in the texts of the table */
    uint64_t count;
    uint32_t size, hash;
} fm_counted_word;

/* A hash table from words to counts; start from zeros. */
typedef struct fm_word_table {
    fm_counted_word *words; /* [count], in the order in which they came */
    size_t count, capacity;
    uint32_t *slots; /* index of the word plus one, 0 for a free slot */
    size_t slot_count;
    uint8_t *texts;
    size_t texts_size, texts_capacity;
} fm_word_table;

/* Counts a word `times` times; false without memory. */
bool fm_word_table_add(fm_word_table *table, const uint8_t *word, uint32_t size, uint64_t times);
void fm_word_table_free(fm_word_table *table);
/* Splits a text as the encoder does and counts its words of up to FM_WORD_CHARS_MAX characters. */
fm_status fm_word_table_add_text(fm_word_table *table, const fm_normalizer *normalizer, const char *text, size_t size,
                                 fm_error *err);

#endif
