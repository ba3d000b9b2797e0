/* train.h - the door of core/train: readers of text collections, tokenised corpora, masking, evaluation, logs, first
 * weights, the trainer and its checkpoints. */
#ifndef FM_TRAIN_H
#define FM_TRAIN_H

#include "base/base.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

/* ---- readers (reader.c) ---- */

typedef enum fm_text_format {
    FM_TEXT_AUTO,  /* by the name: .jsonl, .csv, anything else .txt; stdin by its first bytes: '{' is jsonl */
    FM_TEXT_JSONL, /* one object a line */
    FM_TEXT_CSV,   /* RFC 4180, the first record names the columns */
    FM_TEXT_TXT,   /* one document a line; empty lines are skipped */
    /* The Large Movie Review Dataset (Maas et al. 2011): the folder aclImdb or a tar that has it, of which auto takes
     * the first part. Reviews come in the order of their numbers, negative ones first. */
    FM_TEXT_IMDB,             /* train/neg and train/pos */
    FM_TEXT_IMDB_TEST,        /* test/neg and test/pos */
    FM_TEXT_IMDB_UNSUPERVISED /* train/unsup */
} fm_text_format;

/* What a name tells; FM_TEXT_AUTO if nothing. */
fm_text_format fm_text_format_of(const char *name);

typedef struct fm_document {
    const char *text; /* NUL-terminated; owned by the reader until the next call */
    size_t size;
    const char *id; /* the field or column "id" as text if there is one, else "LINE" as a decimal number */
    size_t id_size;
} fm_document;

typedef struct fm_reader fm_reader;
/* path "-" is stdin. field names the text's field or column, NULL for "text". */
fm_status fm_reader_open(fm_reader **reader, const char *path, fm_text_format format, const char *field, fm_error *err);
/* The next document, or *more false at the end. Errors name the file and the line. */
fm_status fm_reader_next(fm_reader *reader, fm_document *document, bool *more, fm_error *err);
/* Bytes read, and of the whole (0 if unknown, as for a pipe). */
void fm_reader_progress(const fm_reader *reader, uint64_t *done, uint64_t *total);
void fm_reader_close(fm_reader *reader);
/* Refuses, by its first bytes, data that is compressed or otherwise known to be no UTF-8. */
fm_status fm_refuse_other_formats(const char *data, size_t size, const char *name, fm_error *err);

/* ---- corpora (corpus.c) ---- */

/* The hold-out rule: FNV-1a of the document's id modulo 100 is 0. */
bool fm_held_out(const char *id, size_t id_size);

/* Tokenised documents, each [CLS] ... [SEP], end to end. */
#define FM_TOKEN_ID 0x00ffffffu
#define FM_TOKEN_WORD 0x80000000u /* first token of a word */
typedef struct fm_corpus {
    uint64_t tokens, documents;
    const uint32_t *ids;    /* id, with FM_TOKEN_WORD */
    const uint64_t *starts; /* documents + 1 */
    fm_blob blob;           /* where a cache was mapped */
    uint32_t *own_ids;      /* else */
    uint64_t *own_starts;
} fm_corpus;

typedef enum fm_part { FM_PART_ALL, FM_PART_TRAIN, FM_PART_HELD_OUT } fm_part;

/* Reads and tokenises (spread over the pool, results in order) the documents of the named files that belong to
 * `part`. progress counts bytes read (total 0 if unknown). */
fm_status fm_corpus_read(fm_corpus *corpus, const fm_tokenizer *tokenizer, fm_pool *pool, const char *const *paths,
                         size_t path_count, fm_text_format format, const char *field, fm_part part,
                         fm_progress progress, void *context, fm_error *err);
/* The same from texts in memory, one at a time and on the caller's thread. */
typedef struct fm_corpus_builder fm_corpus_builder;
fm_status fm_corpus_builder_create(fm_corpus_builder **builder, const fm_tokenizer *tokenizer, fm_error *err);
fm_status fm_corpus_builder_add(fm_corpus_builder *builder, const char *text, size_t size, fm_error *err);
void fm_corpus_builder_finish(fm_corpus_builder *builder, fm_corpus *corpus); /* the builder is gone afterwards */
void fm_corpus_builder_destroy(fm_corpus_builder *builder);                   /* gives up; NULL is allowed */
/* The cache: a checked file that fits exactly one `key` (hash of tokenizer, options and the data files' names, sizes
 * and times; fm_corpus_key makes it, false if a file is stdin and so cannot be known again). */
bool fm_corpus_key(const fm_tokenizer *tokenizer, const char *const *paths, size_t path_count, fm_text_format format,
                   const char *field, fm_part part, uint64_t *key);
fm_status fm_corpus_save(const fm_corpus *corpus, const char *path, uint64_t key, fm_error *err);
/* *hit is false, without error, if there is no file or it has another key; a damaged file is no hit either. */
fm_status fm_corpus_load(fm_corpus *corpus, const char *path, uint64_t key, bool *hit, fm_error *err);
void fm_corpus_free(fm_corpus *corpus);
/* Of the tokens and where documents start. */
uint64_t fm_corpus_hash(const fm_corpus *corpus);

/* ---- chunks and masks (chunks.c, collator.c) ---- */

/* Pieces of `length` tokens: documents are concatenated a thousand at a time and cut, and the rest that is shorter is
 * dropped (as Hugging Face's course and run_mlm.py do per batch of a map). Line by line, every document stays apart:
 * one that is no longer is a piece of its own, from its [CLS] to its [SEP], and a longer one is cut. */
typedef struct fm_chunks {
    uint32_t length; /* at most, line by line */
    uint32_t count;
    uint64_t *starts;  /* (count) index of the first token in the corpus */
    uint32_t *lengths; /* (count) line by line, else NULL */
} fm_chunks;
fm_status fm_chunks_make(fm_chunks *chunks, const fm_corpus *corpus, uint32_t length, bool line_by_line, fm_error *err);
static inline uint32_t fm_chunk_length(const fm_chunks *chunks, uint32_t chunk)
{
    return chunks->lengths ? chunks->lengths[chunk] : chunks->length;
}
void fm_chunks_free(fm_chunks *chunks);
/* Draws `aside` of `count` chunks with a seed, for evaluations that trainings on the same data keep out of their way:
 * the list, freed with free(), has these first and then the others, each part in rising order. aside is at most
 * count. */
fm_status fm_chunks_split(uint32_t **list, uint32_t count, uint32_t aside, uint32_t seed, fm_error *err);

/* What becomes of the tokens that are to be predicted; the rest stays as it is. */
typedef struct fm_mask_shares {
    float mask, random; /* [MASK], any token of the vocabulary */
} fm_mask_shares;
#define FM_BERT_SHARES                                                                                                 \
    {                                                                                                                  \
        0.8f, 0.1f                                                                                                     \
    }

/* Masking as BERT's (Devlin et al. 2019): of the tokens that are not special, `rate` are to be predicted. With whole
 * words, words are drawn instead of tokens. What is drawn depends on seed, round, the chunk's number and the place in
 * it alone. */
typedef struct fm_masking {
    float rate;
    bool whole_words;
    uint32_t seed;
    uint32_t vocab_size;
    fm_special_ids special;
    fm_mask_shares shares;
} fm_masking;

/* A batch under construction, with arrays of its own. */
typedef struct fm_collator {
    fm_batch batch;
    uint32_t *ids, *starts, *rows, *labels;
    uint32_t token_room, sequence_room, masked_room;
} fm_collator;
fm_status fm_collator_create(fm_collator *collator, uint32_t tokens, uint32_t sequences, uint32_t masked,
                             fm_error *err);
void fm_collator_free(fm_collator *collator);
void fm_collator_clear(fm_collator *collator, uint32_t first);
/* Adds a chunk; false, with the batch as it was, if it has no room for it. */
bool fm_collator_add(fm_collator *collator, const fm_masking *masking, uint32_t round, uint32_t number,
                     const uint32_t *tokens, uint32_t length);
/* How many tokens of a chunk are predicted (what fm_collator_add will add to masked). */
uint32_t fm_masked_count(const fm_masking *masking, uint32_t round, uint32_t number, const uint32_t *tokens,
                         uint32_t length);

/* ---- evaluation (evaluator.c) ---- */

/* Sums over the masked tokens of a corpus whose masks are drawn once, from seed 42 unless told otherwise. */
typedef struct fm_evaluation {
    uint64_t chunks, masked, characters; /* characters: of the labels' text, without "##" */
    double loss;                         /* sum, nats */
    uint64_t top1, top5;                 /* labels ranked first, among the first five */
    uint64_t hidden, hidden_top1;        /* of those, where the token was replaced by [MASK] */
} fm_evaluation;

typedef struct fm_evaluator fm_evaluator;
/* aside: only the chunks that fm_chunks_split sets aside with the seed of the masks, 0 for all. limit: so many of them
 * at most, evenly spread, 0 for all. The network, corpus and tokenizer must outlive it; room is what the network was
 * made with. */
fm_status fm_evaluator_create(fm_evaluator **evaluator, fm_network *network, fm_backend *backend, const fm_room *room,
                              const fm_corpus *corpus, const fm_tokenizer *tokenizer, const fm_masking *masking,
                              uint32_t length, uint32_t aside, uint32_t limit, fm_error *err);
/* Of the products of f32 weights; f32 until told otherwise. */
void fm_evaluator_precision(fm_evaluator *evaluator, fm_precision precision);
/* One stage of the network; *more is false when all is summed. */
fm_status fm_evaluator_step(fm_evaluator *evaluator, bool *more, fm_error *err);
void fm_evaluator_progress(const fm_evaluator *evaluator, uint64_t *done, uint64_t *total); /* chunks */
const fm_evaluation *fm_evaluator_result(const fm_evaluator *evaluator);
void fm_evaluator_destroy(fm_evaluator *evaluator);

/* ---- the log and its picture (log.c, report.c) ---- */

/* A line of a log: {"step", "loss", "learning_rate", "tokens", "seconds", ...} of the steps since the line before, or
 * {"step", "epoch", "eval": {"loss", "accuracy", ...}}. */
typedef struct fm_log_point {
    uint64_t step;
    bool evaluation;
    double epoch, loss;
    double accuracy;                       /* of an evaluation */
    double learning_rate, tokens, seconds; /* of steps; the last two of all so far */
} fm_log_point;

typedef struct fm_log {
    size_t count, capacity;
    fm_log_point *points;
} fm_log;
/* Adds a line, which ends in a newline, or leaves the file as it was. */
fm_status fm_log_add(const char *path, const fm_buffer *line, fm_error *err);
/* Drops the lines after a step, which a resumed training makes again, and damaged ones. No file is an empty one. */
fm_status fm_log_cut(const char *path, uint64_t step, fm_error *err);
fm_status fm_log_read(fm_log *log, const char *path, fm_error *err);
void fm_log_free(fm_log *log);

/* Draws a log as an SVG file of its own: losses, evaluations, learning rate. Atomic. */
fm_status fm_report_write(const char *path, const fm_log *log, const char *title, fm_error *err);

/* ---- first weights (initialise.c) ---- */

/* Random weights as DistilBERT starts (normal, initializer_range). With `neighbours`, which needs a corpus: the first
 * layer's heads start by attending to the tokens at -1, +1, -2, +2 and on, word embeddings leave room for sinusoids of
 * the positions, and the output bias is the log frequency of the corpus's tokens. Otherwise corpus may be NULL. */
fm_status fm_initialise(float *values, const fm_config *config, const fm_parameters *parameters, uint32_t seed,
                        bool neighbours, const fm_corpus *corpus, fm_error *err);

/* ---- the trainer (trainer.c) ---- */

#define FM_MOST_PHASES 8

/* Part of a training with chunks of one length, or at most that long, up to a step. */
typedef struct fm_phase {
    uint32_t length, batch; /* tokens a chunk, chunks a step */
    uint64_t end;           /* first step that no longer belongs to it */
} fm_phase;

/* How the learning rate goes on after the warm-up. */
typedef enum fm_schedule {
    FM_SCHEDULE_LINEAR, /* to zero at the last phase's end */
    FM_SCHEDULE_COSINE, /* half a wave, to zero at the same place */
    FM_SCHEDULE_CONSTANT
} fm_schedule;

typedef struct fm_train_options {
    fm_phase phases[FM_MOST_PHASES];
    size_t phase_count;
    fm_schedule schedule;
    uint64_t warmup;      /* steps of linear warm-up */
    double learning_rate; /* its peak */
    double beta1, beta2, epsilon, weight_decay, clip;
    /* Of the products; weights, moments and evaluations are f32. With f16 gradients are scaled, by 65536 at first; a
     * step in which they go beyond f16 changes nothing, and its norm is infinite. */
    fm_precision precision;
    bool dropout;
    float mask_rate;
    fm_mask_shares shares;
    bool whole_words;
    bool line_by_line; /* chunks do not reach from one document into the next */
    uint32_t seed;
    uint32_t micro_tokens; /* tokens of a forward pass at most; a step is made of as many as it takes */
    uint32_t aside;        /* chunks that fm_chunks_split keeps out of the training; needs chunks of one length */
    uint32_t aside_seed;
    uint32_t limit;         /* chunks drawn from the others at most, 0 for all */
    bool frozen_embeddings; /* stay as they are, and with them the tied output matrix */
    uint32_t frozen_layers; /* the first so many */
} fm_train_options;

typedef struct fm_train_report {
    uint64_t step;   /* steps made */
    uint64_t tokens; /* of the whole training */
    uint64_t masked; /* of the last step */
    double loss;     /* mean over the masked tokens of the last step, nats */
    double norm;     /* of the gradients, before clipping */
    double learning_rate;
    double epoch;     /* passed at the end of the step, of the phase that it belongs to */
    bool epoch_ended; /* it was the last step of one */
} fm_train_report;

typedef struct fm_trainer fm_trainer;
/* values: the weights to start from, one pointer a parameter. Everything but values must outlive the trainer. */
fm_status fm_trainer_create(fm_trainer **trainer, const fm_config *config, const fm_parameters *parameters,
                            const fm_tokenizer *tokenizer, fm_backend *backend, const fm_corpus *corpus,
                            const fm_train_options *options, const float *const *values, fm_error *err);
void fm_trainer_destroy(fm_trainer *trainer);
/* The room that the trainer's network has: what micro_tokens, lengths and mask rate ask for. */
fm_room fm_trainer_room(const fm_trainer *trainer);
fm_network *fm_trainer_network(fm_trainer *trainer);
uint64_t fm_trainer_steps(const fm_trainer *trainer); /* of the whole training */
/* Does the next part (a stage of a forward or backward pass, or the update). *stepped: a step has been completed and
 * the report is new. A loss that is not finite ends the training with an error that names step and batch. Not to be
 * called when all steps are made. */
fm_status fm_trainer_advance(fm_trainer *trainer, bool *stepped, fm_error *err);
const fm_train_report *fm_trainer_report(const fm_trainer *trainer);
/* Whether a step was begun that is not made yet: its network must not be used for anything else. */
bool fm_trainer_in_step(const fm_trainer *trainer);
/* The values as they are: `to` has fm_parameters.elements floats. After FM_PENDING, as for checkpoints. */
fm_status fm_trainer_values(fm_trainer *trainer, float *to, fm_error *err);

/* A checkpoint is one file with values, moments, step, generator, data order and loss scale, replaced as a whole. A
 * training resumed from it goes on as if it had not stopped, on any machine with the same instruction set. Loading
 * refuses a file whose content does not have the hash that it names (FM_E_FORMAT), one of another model, or one made
 * with options that change what a step does (FM_E_ARGUMENT). After FM_PENDING, saving goes on when it is asked for
 * again before the next step; while fm_trainer_advance() is pending it is refused. */
fm_status fm_checkpoint_save(fm_trainer *trainer, const char *path, fm_error *err);
fm_status fm_checkpoint_load(fm_trainer *trainer, const char *path, fm_error *err);
/* The same in memory; fm_free(*data). */
fm_status fm_checkpoint_build(fm_trainer *trainer, uint8_t **data, size_t *size, fm_error *err);
fm_status fm_checkpoint_read(fm_trainer *trainer, const void *data, size_t size, fm_error *err);

/* ---- the checkpoints of a folder (checkpoints.c) ---- */

/* They are named checkpoint-STEP.safetensors. */
fm_status fm_checkpoints_find(const char *folder, bool *found, fm_error *err);
/* Saves one, then removes the oldest beyond `keep`, 0 for none. */
fm_status fm_checkpoints_save(fm_trainer *trainer, const char *folder, uint32_t keep, fm_error *err);
/* Loads the newest that is whole. What is wrong with the last one that was passed over stands in *skipped, with the
 * status FM_OK if there was none. */
fm_status fm_checkpoints_load(fm_trainer *trainer, const char *folder, fm_error *skipped, fm_error *err);

#endif
