/* word_count.c - splits texts into words and counts them. It knows the normaliser, but no vocabulary. */
#include "tokenizer/word_count.h"

#include <stdlib.h>
#include <string.h>

/* Makes room for one more of `size` bytes each in a growing array. */
static bool room(void **array, size_t *capacity, size_t needed, size_t size)
{
    if (needed <= *capacity) return true;
    size_t larger = *capacity < 64 ? 64 : *capacity * 2, bytes;
    if (larger < needed) larger = needed;
    if (*capacity > SIZE_MAX / 4 || !fm_size_mul(larger, size, &bytes)) return false;
    void *grown = realloc(*array, bytes);
    if (!grown) return false;
    *array = grown;
    *capacity = larger;
    return true;
}

static bool rehash(fm_word_table *table)
{
    size_t slot_count = table->slot_count ? table->slot_count * 2 : 1024, bytes;
    if (!fm_size_mul(slot_count, sizeof *table->slots, &bytes)) return false;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < table->count; i++) {
        size_t at = table->words[i].hash & (slot_count - 1);
        while (slots[at]) at = (at + 1) & (slot_count - 1);
        slots[at] = (uint32_t)(i + 1);
    }
    free(table->slots);
    table->slots = slots;
    table->slot_count = slot_count;
    return true;
}

bool fm_word_table_add(fm_word_table *table, const uint8_t *word, uint32_t size, uint64_t times)
{
    if (table->count >= table->slot_count / 2 && !rehash(table)) return false;
    uint64_t wide = fm_hash(FM_HASH_START, word, size);
    uint32_t hash = (uint32_t)(wide ^ wide >> 32);
    size_t at = hash & (table->slot_count - 1);
    for (; table->slots[at]; at = (at + 1) & (table->slot_count - 1)) {
        fm_counted_word *known = &table->words[table->slots[at] - 1];
        if (known->hash == hash && known->size == size && memcmp(table->texts + known->at, word, size) == 0) {
            known->count += times;
            return true;
        }
    }
    void *words = table->words, *texts = table->texts;
    bool good = table->count < UINT32_MAX / 2 && table->texts_size < SIZE_MAX / 2 &&
                room(&words, &table->capacity, table->count + 1, sizeof *table->words);
    table->words = words;
    good = good && room(&texts, &table->texts_capacity, table->texts_size + size, 1);
    table->texts = texts;
    if (!good) return false;
    memcpy(table->texts + table->texts_size, word, size);
    table->words[table->count++] = (fm_counted_word){table->texts_size, times, size, hash};
    table->texts_size += size;
    table->slots[at] = (uint32_t)table->count;
    return true;
}

void fm_word_table_free(fm_word_table *table)
{
    free(table->words);
    free(table->slots);
    free(table->texts);
    *table = (fm_word_table){0};
}

/* ---- splitting ---- */

/* The word that comes from the normaliser. */
typedef struct collector {
    fm_word_table *table;
    fm_error *err;
    uint32_t chars, size;
    uint8_t bytes[FM_WORD_CHARS_MAX * 4];
} collector;

static fm_status count_word(collector *c, const uint8_t *word, uint32_t size)
{
    return fm_word_table_add(c->table, word, size, 1) ? FM_OK
                                                      : fm_fail_memory(c->err, c->table->texts_size * 4, "word counts");
}

static fm_status take_character(void *context, fm_char character)
{
    collector *c = context;
    if (c->chars < FM_WORD_CHARS_MAX) c->size += (uint32_t)fm_utf8_write(character.point, c->bytes + c->size);
    if (c->chars <= FM_WORD_CHARS_MAX) c->chars++;
    return FM_OK;
}

static fm_status take_word(void *context)
{
    collector *c = context;
    fm_status status = FM_OK;
    if (c->chars > 0 && c->chars <= FM_WORD_CHARS_MAX) status = count_word(c, c->bytes, c->size);
    c->chars = c->size = 0;
    return status;
}

fm_status fm_word_table_add_text(fm_word_table *table, const fm_normalizer *normalizer, const char *text, size_t size,
                                 fm_error *err)
{
    if (size >= UINT32_MAX)
        return fm_fail(err, FM_E_LIMIT, "the text has %zu bytes; one text must be shorter than 4 GB, so cut it.", size);
    const uint8_t *bytes = (const uint8_t *)text;
    uint8_t classes[256];
    fm_byte_classes(normalizer, classes);
    collector c = {.table = table, .err = err};
    const fm_word_sink sink = {&c, take_character, take_word};
    fm_status status = FM_OK;
    for (size_t at = 0; at < size && !status;) {
        uint8_t class = classes[bytes[at]];
        size_t to = at + 1;
        if (class == FM_BYTE_PUNCTUATION) status = count_word(&c, bytes + at, 1);
        if (class == FM_BYTE_WORD || class == FM_BYTE_SLOW) {
            for (to = at; to < size && classes[bytes[to]] == FM_BYTE_WORD;) to++;
            if (to < size && classes[bytes[to]] == FM_BYTE_SLOW)
                status = fm_normalize(normalizer, classes, bytes, at, size, sink, &to, err);
            else if (to - at <= FM_WORD_CHARS_MAX) {
                for (size_t i = at; i < to; i++) {
                    bool upper = normalizer->lowercase && bytes[i] >= 'A' && bytes[i] <= 'Z';
                    c.bytes[i - at] = upper ? bytes[i] + 32 : bytes[i];
                }
                status = count_word(&c, c.bytes, (uint32_t)(to - at));
            }
        }
        at = to;
    }
    return status;
}
