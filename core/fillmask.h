/* fillmask.h - the public C interface of Fillmask: load, tokenise, fill masks.
 *
 * This is the one header that is installed. Everything is reached through opaque types; strings are UTF-8; every
 * function that can fail returns an fm_status and, if `err` is not NULL, one sentence that says what was wrong.
 * Two models never share state; one model is used by one thread at a time.
 */
#ifndef FILLMASK_H
#define FILLMASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FM_VERSION_MAJOR 0
#define FM_VERSION_MINOR 1
#define FM_VERSION_PATCH 0
#define FM_VERSION "0.1.0"

typedef enum fm_status {
    FM_OK = 0,
    FM_E_ARGUMENT,    /* an argument or option out of its range */
    FM_E_IO,          /* a file could not be opened, read or written */
    FM_E_FORMAT,      /* a file or text is not what it should be */
    FM_E_LIMIT,       /* the input is longer or larger than the model or format allows */
    FM_E_MEMORY,      /* not enough memory */
    FM_E_UNSUPPORTED, /* well-formed, but not something this build can do */
    FM_E_ABORTED,     /* the caller asked to stop */
    FM_E_DEVICE,      /* a GPU failed or was lost */
    FM_PENDING        /* no failure: a GPU has not answered yet; wait for it and call again */
} fm_status;

typedef struct fm_error {
    fm_status status;
    char text[1000]; /* one sentence, NUL-terminated, no newline */
} fm_error;

/* Called now and then by long work; done and total count the same unit. A false result stops the work, which then
 * returns FM_E_ABORTED. */
typedef bool (*fm_progress)(void *context, uint64_t done, uint64_t total);

/* A text that is the caller's. */
typedef struct fm_view {
    const char *data;
    size_t size;
} fm_view;

/* ---- tokenizer ---- */

typedef struct fm_tokenizer fm_tokenizer;

typedef struct fm_span {
    uint32_t start, end; /* bytes of the original text, end exclusive */
} fm_span;

/* The tokens of one text. All arrays have `count` entries. */
typedef struct fm_encoding {
    size_t count, capacity;
    uint32_t *ids;
    fm_span *offsets; /* {0, 0} for [CLS] and [SEP] that were added */
    uint32_t *words;  /* index of the pre-token (word or punctuation); UINT32_MAX for special tokens */
} fm_encoding;

/* Opens a vocabulary: a folder (tokenizer.json, or vocab.txt with tokenizer_config.json if present), a vocab.txt or a
 * tokenizer.json. Uncased unless the files say otherwise. */
fm_status fm_tokenizer_open(fm_tokenizer **tokenizer, const char *path, fm_error *err);
/* From memory: the content of a vocab.txt, one token a line. lowercase: 1 uncased, 0 cased. */
fm_status fm_tokenizer_from_vocab(fm_tokenizer **tokenizer, const char *text, size_t size, bool lowercase,
                                  fm_error *err);
/* From memory: the contents of the files that fm_tokenizer_open looks for. json wins over vocab, one of which must be
 * there; config may be NULL. Nothing of them is kept. */
typedef struct fm_tokenizer_files {
    const char *json, *vocab, *config; /* tokenizer.json, vocab.txt, tokenizer_config.json */
    size_t json_size, vocab_size, config_size;
} fm_tokenizer_files;
fm_status fm_tokenizer_open_memory(fm_tokenizer **tokenizer, const fm_tokenizer_files *files, fm_error *err);
void fm_tokenizer_close(fm_tokenizer *tokenizer);

/* Encodes `size` bytes of text; any bytes are accepted, invalid UTF-8 reads as U+FFFD. Appends nothing and replaces
 * what `encoding` held; start from a zeroed struct and free with fm_encoding_free. special adds [CLS] and [SEP].
 * Never truncates. Linear in `size`, which must be below 2^32. */
fm_status fm_tokenizer_encode(const fm_tokenizer *tokenizer, const char *text, size_t size, bool special,
                              fm_encoding *encoding, fm_error *err);
void fm_encoding_free(fm_encoding *encoding);

/* Text of ids as Hugging Face's decode gives it: "##" joined, its clean-up of spaces before punctuation if asked,
 * special tokens left out if asked. The string is freed with free(). */
fm_status fm_tokenizer_decode(const fm_tokenizer *tokenizer, const uint32_t *ids, size_t count, bool skip_special,
                              bool clean_up, char **text, fm_error *err);

uint32_t fm_tokenizer_size(const fm_tokenizer *tokenizer);
/* The token's text (NUL-terminated, owned by the tokenizer), NULL if id is out of range. */
const char *fm_tokenizer_token(const fm_tokenizer *tokenizer, uint32_t id);
/* Exact look-up of a token's text; false if the vocabulary lacks it. */
bool fm_tokenizer_find(const fm_tokenizer *tokenizer, const char *token, size_t size, uint32_t *id);
bool fm_tokenizer_is_special(const fm_tokenizer *tokenizer, uint32_t id);
bool fm_tokenizer_lowercase(const fm_tokenizer *tokenizer);

typedef struct fm_special_ids {
    uint32_t pad, unk, cls, sep, mask;
} fm_special_ids;
fm_special_ids fm_tokenizer_special(const fm_tokenizer *tokenizer);

/* ---- models and fill-mask ---- */

typedef struct fm_model fm_model;

/* What the linear layers, the output matrix among them, are computed in. */
typedef enum fm_dtype {
    FM_DTYPE_STORED, /* int8 where the matrices are stored so, f32 otherwise */
    FM_DTYPE_F32,
    FM_DTYPE_INT8 /* matrices that are stored otherwise are rounded when the model is opened */
} fm_dtype;

typedef struct fm_model_options {
    int threads;                 /* 0: one per processor */
    const char *instruction_set; /* NULL: the best; "amx", "avx512bf16", "avx512", "avx2", "scalar" */
    fm_dtype dtype;
} fm_model_options;

/* Opens a model folder as Hugging Face lays it out. options may be NULL. */
fm_status fm_model_open(fm_model **model, const char *folder, const fm_model_options *options, fm_error *err);
/* From memory. weights must stay and not change until the model is closed: what is stored as int8, or as f32 at an
 * address that is a multiple of 4, is used where it is. The rest may go afterwards. */
typedef struct fm_model_files {
    const char *config; /* config.json */
    size_t config_size;
    fm_tokenizer_files tokenizer;
    const void *weights; /* model.safetensors */
    size_t weights_size;
} fm_model_files;
fm_status fm_model_open_memory(fm_model **model, const fm_model_files *files, const fm_model_options *options,
                               fm_error *err);
void fm_model_close(fm_model *model);
const fm_tokenizer *fm_model_tokenizer(const fm_model *model);

typedef struct fm_text {
    char *data; /* NUL-terminated */
    size_t size;
} fm_text;

typedef enum fm_fill_mode {
    FM_FILL_EACH,  /* every mask by itself, the others staying masked: the best fillings of each */
    FM_FILL_JOINT, /* all masks together, by beam search: the best fillings of the text */
    FM_FILL_SAMPLE /* all masks together, drawn at random: so many fillings of the text, not all of them different */
} fm_fill_mode;

typedef struct fm_fill_options {
    fm_fill_mode mode;
    size_t top_k; /* fillings of a mask, or of the text; at least 1 */
    /* What a mask may become: one of these words or phrases, whose pieces are looked at together; or, if there are
     * none, a token of the vocabulary: of those allowed (one bool a token, NULL for all), without special tokens and
     * pieces ("##s") unless they are asked for, and without the words excluded, in whatever case these are given. */
    const char *const *targets;
    size_t target_count;
    const bool *allowed;
    const char *const *excluded;
    size_t excluded_count;
    bool special, pieces;
    size_t beams; /* fillings that FM_FILL_JOINT follows at once, at least top_k */
    /* Of FM_FILL_SAMPLE: a filling is drawn from so many of the best (0: all), and of these from the best whose
     * probability reaches top_p, (0, 1], at a temperature above 0. */
    uint32_t draw_from;
    double top_p, temperature;
    uint64_t seed;
} fm_fill_options;

/* Each mask by itself, the 5 best tokens; 20 beams; draws from all, at temperature 1. */
fm_fill_options fm_fill_defaults(void);

/* What is put in a mask's place. */
typedef struct fm_filling {
    /* The probability over the whole vocabulary. That of several pieces is a product, from left to right: each piece
     * with those before it known, those after it masked. As the number of masks is given, it tells nothing of how
     * probable that number is. */
    double score, log_probability; /* nats */
    size_t target;                 /* its number, SIZE_MAX without targets */
    size_t count;                  /* of tokens */
    uint32_t *tokens;
    char *word;          /* as it is written there: in the case that its place asks for, without "##" */
    uint32_t start, end; /* bytes of the text that it replaces: the mask's, for a piece also the blanks before it */
} fm_filling;

typedef struct fm_mask_fillings {
    uint32_t start, end; /* the mask's bytes in the text */
    size_t count;        /* 0 unless the mode is FM_FILL_EACH */
    fm_filling *top;     /* best first */
} fm_mask_fillings;

/* A filling of all masks. */
typedef struct fm_text_filling {
    double score, log_probability; /* the product of the fillings' */
    fm_filling *fillings;          /* one a mask; the score of each is with those before it filled in */
} fm_text_filling;

typedef struct fm_fill_result {
    size_t masks; /* at least 1 */
    fm_mask_fillings *mask;
    size_t count;           /* 0 if the mode is FM_FILL_EACH */
    fm_text_filling *texts; /* best first, or in the order of drawing */
} fm_fill_result;

/* Fills in every [MASK] of a text. A text longer than the model is looked at in windows, each mask in the middle of
 * one. options and progress may be NULL; progress counts the model's answers. Fails with FM_E_FORMAT if there is no
 * mask and with FM_E_ARGUMENT if no filling is possible. */
fm_status fm_fill(fm_model *model, const char *text, size_t size, const fm_fill_options *options, fm_progress progress,
                  void *context, fm_fill_result *result, fm_error *err);
void fm_fill_result_free(fm_fill_result *result);
/* The text with fillings of some of its masks, by rising places; free(out->data). */
fm_status fm_fill_write(const char *text, size_t size, const fm_filling *fillings, size_t count, fm_text *out,
                        fm_error *err);

/* ---- scoring ---- */

/* What is masked when a token is scored. */
typedef enum fm_score_method {
    FM_SCORE_WORD, /* the token and the pieces of its word that follow it (Kauf and Ivanova 2023) */
    FM_SCORE_TOKEN /* the token alone (Salazar et al. 2020) */
} fm_score_method;

typedef struct fm_token_score {
    uint32_t token;
    uint32_t start, end;   /* its bytes in the text */
    uint32_t word;         /* tokens of one word have the same number */
    float log_probability; /* nats */
} fm_token_score;

typedef struct fm_score_result {
    size_t count; /* at least 1; special tokens that the text spells out are not among them */
    fm_token_score *tokens;
    double score; /* the sum: the text's pseudo-log-likelihood; exp(-score / count) is its pseudo-perplexity */
} fm_score_result;

/* Scores each token of a text from all the others. A text longer than the model is scored in windows, each token in
 * the middle of one. Fails with FM_E_FORMAT if there is no token. progress may be NULL; it counts tokens. */
fm_status fm_score(fm_model *model, const char *text, size_t size, fm_score_method method, fm_progress progress,
                   void *context, fm_score_result *result, fm_error *err);
void fm_score_result_free(fm_score_result *result);

/* ---- vectors of texts ---- */

/* Numbers in the vector of a text. */
uint32_t fm_model_width(const fm_model *model);
/* The vectors of texts: the mean of the last layer's states over a text's tokens, [CLS] and [SEP] included. A text
 * longer than the model is looked at in windows that overlap by half, each token in that whose middle is nearest.
 * vectors is (count, fm_model_width). Texts share batches, and it makes no difference which. Fails with FM_E_FORMAT if
 * a text has no token. progress may be NULL; it counts tokens. */
fm_status fm_embed(fm_model *model, const fm_view *texts, size_t count, fm_progress progress, void *context,
                   float *vectors, fm_error *err);
/* The cosine of two vectors, from -1 to 1. */
double fm_similarity(const float *left, const float *right, size_t width);

/* ---- augmentation ---- */

typedef enum fm_augment_action {
    FM_AUGMENT_SUBSTITUTE, /* words become others that the model expects in their places */
    FM_AUGMENT_INSERT,     /* words are put behind others, after a space */
    FM_AUGMENT_DELETE      /* words go, with the spaces before them: of twice as many drawn at random, those without
                            * which the model finds the next word most probable, compared with before */
} fm_augment_action;

typedef struct fm_augment_options {
    fm_augment_action action;
    double rate;          /* share of the words that may be changed, to the nearest number */
    uint32_t count;       /* changes of a text, instead of a rate, if not 0 */
    uint32_t least, most; /* changes of a text; most 0 sets no bound */
    uint32_t variants;    /* of a text, at least 1 */
    uint32_t top_k;       /* a new word is drawn from this many, 0 for all */
    double top_p;         /* and from the best whose probability reaches this, (0, 1] */
    double temperature;   /* 0 takes the best one */
    uint64_t seed;
    const char *const *kept; /* words that are never changed, in whatever case they appear; may be NULL */
    size_t kept_count;
    /* Words that decide a text's label, such as "good", "bad" and "not", so that variants keep it more often: they are
     * neither changed nor put in, and a place where the model finds them together at least so probable stays as it
     * is. This is no promise: words that decide without being named or expected may change, and deletions look at the
     * named words alone. */
    const char *const *labels;
    size_t label_count;
    double label_share; /* (0, 1] */
    /* Filters; a variant that they refuse is drawn anew, a few times. */
    double least_similarity; /* cosine of its vector and its source's (fm_embed), from -1, which refuses nothing */
    double most_drop;        /* nats by which a token's mean log-probability (fm_score) may be below the source's;
                              * INFINITY refuses nothing. Scoring takes a pass for every token. */
} fm_augment_options;

/* Substitution of 15 in 100 words, at least one, from the 20 best, one variant; no labels, whose share would be 0.05,
 * and no filters. */
fm_augment_options fm_augment_defaults(void);
/* Words that decide whether an English review is for or against something, and negations. */
const char *const *fm_augment_sentiment(size_t *count);

typedef struct fm_augmented {
    uint64_t number; /* as given with the text */
    size_t count;    /* of variants: as many as asked for, or fewer and a reason */
    fm_text *variants;
    char reason[120]; /* a sentence, empty if nothing is missing */
} fm_augmented;
void fm_augmented_free(fm_augmented *augmented);

/* Augments a stream of texts, many of them in a batch, and gives them back in order. Only plain words are changed, and
 * every other byte stays as it is: numbers, addresses, tags, placeholders, contractions and words joined by marks are
 * left alone. A variant is unlike the source and unlike the other variants. What is drawn for a text depends on the
 * seed and the text's number alone. A new word is a whole word of the vocabulary in letters, in the case that its
 * place asks for; it is never a special token, a piece, a sign or the word that it replaces. */
typedef struct fm_augmenter fm_augmenter;
/* The options are copied. */
fm_status fm_augmenter_create(fm_augmenter **augmenter, fm_model *model, const fm_augment_options *options,
                              fm_error *err);
void fm_augmenter_destroy(fm_augmenter *augmenter);
/* Whether it has so little to do that it wants another text. It takes one in any case. */
bool fm_augmenter_wants(const fm_augmenter *augmenter);
/* Copies a text. Nothing that overlaps one of the kept spans is changed, and nothing inserted into one. */
fm_status fm_augmenter_add(fm_augmenter *augmenter, uint64_t number, const char *text, size_t size, const fm_span *kept,
                           size_t kept_count, fm_error *err);
/* Does a part of the work (a stage of the network); *more is false if nothing is left to do. After an error the
 * augmenter can only be destroyed. */
fm_status fm_augmenter_step(fm_augmenter *augmenter, bool *more, fm_error *err);
/* Hands over the oldest text, if it is done: free what it holds. */
bool fm_augmenter_take(fm_augmenter *augmenter, fm_augmented *augmented);

/* ---- rows of files ---- */

typedef enum fm_row_format {
    FM_ROWS_LINES, /* a text a line */
    FM_ROWS_JSONL, /* an object a line, one field of which is the text */
    FM_ROWS_CSV    /* RFC 4180, the first record names the columns, one of which is the text */
} fm_row_format;

#define FM_LONGEST_ROW ((size_t)8 << 20) /* bytes; a longer row goes by in parts, without a text */

typedef struct fm_row {
    fm_row_format format;
    uint64_t line; /* the row's first, from 1 */
    char *raw;     /* its bytes, with the end of its line; all rows one after the other are the input */
    size_t raw_size;
    char *text; /* NULL if there is none: an empty line, the header, or for the reason given */
    size_t text_size;
    size_t value_start, value_end; /* of the text's field in raw, quotes included */
    char reason[300];              /* a sentence without its row, empty if nothing is wrong */
    bool continued;                /* more of a row that is too long, whose reason came with its first part */
} fm_row;
void fm_row_free(fm_row *row);
/* The row with another text, and all its other bytes as they are; free(out->data). The row must have a text. */
fm_status fm_row_write(const fm_row *row, const char *text, size_t size, fm_text *out, fm_error *err);

/* Cuts a stream of bytes into rows, in memory that does not grow with it. */
typedef struct fm_rows fm_rows;
/* field names the field or column, NULL for "text". */
fm_status fm_rows_create(fm_rows **rows, fm_row_format format, const char *field, fm_error *err);
void fm_rows_destroy(fm_rows *rows);
/* Gives it the next bytes of the input; none say that it has ended. */
fm_status fm_rows_push(fm_rows *rows, const void *data, size_t size, fm_error *err);
/* The next row, which is to be freed; *more is false if it needs more bytes, or at the end. Fails if the header of a
 * CSV file lacks the column. */
fm_status fm_rows_next(fm_rows *rows, fm_row *row, bool *more, fm_error *err);

#ifdef __cplusplus
}
#endif

#endif
