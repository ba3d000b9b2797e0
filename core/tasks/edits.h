/* edits.h - one text that is to be augmented, and the changes of one variant of it; inside core/tasks only. */
#ifndef FM_EDITS_H
#define FM_EDITS_H

#include "tasks/tasks.h"

/* A text, its tokens and words, and the words that an action may take. */
typedef struct fm_source {
    char *text;
    size_t size;
    fm_encoding encoding;
    fm_words words;
    uint32_t *open; /* numbers of words, rising */
    size_t open_count;
} fm_source;
/* Copies the text. Neither kept words nor labels are taken. What was made is freed by fm_source_free, also after a
 * failure. */
fm_status fm_source_make(fm_source *source, const fm_tokenizer *tokenizer, fm_augment_action action,
                         const fm_kept *kept, const fm_kept *labels, const char *text, size_t size,
                         const fm_span *spans, size_t span_count, fm_error *err);
void fm_source_free(fm_source *source);

/* A change of a word: another one in its place, another one behind it, or none. */
typedef struct fm_edit {
    uint32_t word;
    uint32_t token;  /* what is put there; UINT32_MAX as long as it is not known */
    uint32_t place;  /* of its mask among the round's tokens */
    float losses[2]; /* deletion: of the next word, with and without this one */
} fm_edit;

/* The changes of a variant, by rising words. They are made in rounds, so that at most so much of a text is masked at
 * once as was in the model's training, and no two words side by side; a round sees what earlier ones put in. Deletions
 * take two rounds: one has the words in, the next has them out, and the words behind them are masked in both. */
typedef struct fm_edits {
    fm_augment_action action;
    size_t count, wanted;    /* wanted: how many of the deletions are made in the end */
    uint32_t groups, rounds; /* the edits of a group share a round, or two */
    fm_edit *list;
} fm_edits;
/* Draws the words; the caller frees the list. */
fm_status fm_edits_plan(fm_edits *edits, const fm_source *source, fm_augment_action action, size_t wanted,
                        fm_random *random, fm_error *err);
bool fm_edit_in_round(const fm_edits *edits, size_t index, uint32_t round);
/* The tokens of a round, masks included, and the places of its edits among them. The caller frees the ids. */
fm_status fm_edits_round(fm_edits *edits, const fm_source *source, const fm_tokenizer *tokenizer, uint32_t round,
                         uint32_t **ids, size_t *count, fm_error *err);
/* What the network is asked for at an edit's place: its next word's first token if it is a deletion. */
uint32_t fm_edit_label(const fm_source *source, const fm_edit *edit);
/* Once all rounds are done: the text with its changes. */
void fm_edits_apply(fm_edits *edits, const fm_source *source, const fm_tokenizer *tokenizer, fm_buffer *text);

#endif
