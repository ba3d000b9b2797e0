/* tokenizer.h - the door of core/tokenizer. Using a tokenizer is public (fillmask.h); this adds what the command line
 * and the trainer need besides: writing one and training a vocabulary. */
#ifndef FM_TOKENIZER_H
#define FM_TOKENIZER_H

#include "base/base.h"

/* Writes vocab.txt, tokenizer_config.json and tokenizer.json into a folder, each atomically, as transformers reads
 * them (BertTokenizerFast / DistilBertTokenizerFast, model_max_length given). */
fm_status fm_tokenizer_save(const fm_tokenizer *tokenizer, const char *folder, uint32_t max_length, fm_error *err);
/* A hash of everything that changes the ids (for cached data). */
uint64_t fm_tokenizer_hash(const fm_tokenizer *tokenizer);

/* Vocabulary training: words are counted from texts, then merged. */
typedef struct fm_vocab_trainer fm_vocab_trainer;
fm_status fm_vocab_trainer_create(fm_vocab_trainer **trainer, bool lowercase, fm_error *err);
void fm_vocab_trainer_destroy(fm_vocab_trainer *trainer);
/* Counts the words of `count` texts, spread over the pool (which may be NULL). */
fm_status fm_vocab_trainer_add(fm_vocab_trainer *trainer, fm_pool *pool, const char *const *texts, const size_t *sizes,
                               size_t count, fm_error *err);
/* Merges until `size` entries or until no pair occurs min_frequency times. The text is a vocab.txt (free()): [PAD],
 * [UNK], [CLS], [SEP], [MASK], then the alphabet, then merges in order. */
fm_status fm_vocab_trainer_finish(fm_vocab_trainer *trainer, uint32_t size, uint32_t min_frequency,
                                  uint32_t alphabet_limit, fm_progress progress, void *context, char **vocab,
                                  size_t *vocab_size, fm_error *err);

#endif
