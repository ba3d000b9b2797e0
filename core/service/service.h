/* service.h - the door of core/service: the core as something that answers requests in JSON. WebAssembly's host
 * (wasm/api.c) and `fillmask serve` both speak it, so that a program sees no difference between them.
 *
 * A request is an object with "op" and what that operation takes, and an "id" if the host likes, which nothing here
 * looks at; its answer is one JSON value. Models, corpora, trainings and evaluations are kept here and named by
 * numbers. Models come from the host, which has the files: its own operations open and save them.
 *
 * The operations, what they take, [in brackets what may be left out], and what they answer. Options have the names,
 * the meaning and, left out, the values that the command line has (--top-k is top_k); texts, tokens and lists of words
 * are lists of strings. Places are [start, end] in what the service counts (fm_service_create).
 *
 *   Of a tokenizer, which is that of a "model" or a "tokenizer" of its own:
 *   info                                        {vocab_size, special, mask_token}, and of a model its shape, dtype,
 *                                               instruction_set, threads and perhaps a warning
 *   encode      texts [special]                 of each {ids, tokens, offsets, words}
 *   decode      ids [skip_special_tokens clean_up]     the text
 *   token_ids   tokens                          the id of each, null for none
 *   vocabulary                                  all tokens, in the order of their ids
 *
 *   Of a "model"; first is the number of the first text, for errors:
 *   fill        texts [targets | allowed exclude special pieces] [top_k joint beams | sample draw_from top_p
 *               temperature seed] [first]       of each a list a mask of {sequence, score, log_probability, token,
 *                                               token_str, start, end}; with joint or sample, of {sequence, score,
 *                                               log_probability, fillings}. allowed: "0" or "1" for each token
 *   score       texts [mask first]              of each {score, pseudo_perplexity, tokens}
 *   embed       texts [normalize first]         of each a list of numbers
 *   augment     texts [action rate count min max variants top_k top_p temperature seed keep label_safe labels
 *               label_share min_similarity max_drop protect numbers | first]
 *                                               of each {variants [reason]}. protect: of each text its places;
 *                                               numbers: of each text the one that its draws depend on, else counted
 *                                               from first
 *   convert     [dtype]                         null, with the weights stored so: fp32, fp16, bf16 or q8
 *   check                                       how far a device's logits are from the cpu's, null if not finite
 *
 *   Rows of files, which come in parts:
 *   rows        [format field]                  the number of "rows"
 *   rows_push   rows [part whole]               the texts of the rows that are complete; with whole, {line, raw, text,
 *                                               value, reason, continued}, value in bytes. No part is the
 *                                               end
 *   row_write   raw texts [format start end]    the row with each of the texts in the place of its own
 *
 *   Training, and evaluation:
 *   corpus      model                           the number of a "corpus"
 *   corpus_add  corpus texts                    null
 *   train       model corpus [length batch_size steps epochs learning_rate warmup weight_decay clip dropout mask_rate
 *               whole_words line_by_line seed limit micro_tokens init]    {training, steps, tokens}
 *   train_advance     training [milliseconds]   {stepped, step, steps, epoch, tokens, masked, learning_rate, loss,
 *                                               norm}, after a step or that time
 *   train_report      training                  the same, of the step before
 *   train_apply       model training            null, with the model's weights those of the training
 *   evaluate          model | training, corpus [length limit]     the number of an "evaluation"
 *   evaluate_advance  evaluation [milliseconds] {more, done, total} and the figures so far
 *
 *   close       number                          null; closes what the number names, and all that needs it
 */
#ifndef FM_SERVICE_H
#define FM_SERVICE_H

#include "tasks/tasks.h"
#include "train/train.h"

typedef struct fm_service fm_service;

/* utf16: offsets in texts count UTF-16 code units, as JavaScript does; else bytes. */
fm_status fm_service_create(fm_service **service, bool utf16, fm_error *err);
void fm_service_destroy(fm_service *service); /* with all that it keeps; NULL is allowed */

/* Takes over a model, which is gone on failure. */
fm_status fm_service_add_model(fm_service *service, fm_model *model, uint32_t *number, fm_error *err);
/* Takes over a tokenizer that has no model. */
fm_status fm_service_add_tokenizer(fm_service *service, fm_tokenizer *tokenizer, uint32_t *number, fm_error *err);
/* Random weights for a model that fm_model_begin has begun and that is to be trained. */
fm_status fm_service_push_random(fm_model *model, fm_error *err);
/* NULL and an error if there is none of this number. */
fm_model *fm_service_model(const fm_service *service, uint32_t number, fm_error *err);
/* Likewise, of a training, for its checkpoints; one that changes it is refused while it is evaluated. */
fm_trainer *fm_service_trainer(const fm_service *service, uint32_t number, bool changes, fm_error *err);

/* Lets a backend compute for a model, NULL for the cpu; it is gone on failure. What trains or is evaluated is closed.
 */
fm_status fm_service_use(fm_service *service, uint32_t number, fm_backend *backend, fm_error *err);

/* Carries out a request and appends the answer. progress may be NULL; it counts parts of the request, and stops it.
 * FM_PENDING asks for the same request again, when the model's device has answered. */
fm_status fm_service_call(fm_service *service, const char *request, size_t size, fm_progress progress, void *context,
                          fm_buffer *answer, fm_error *err);

/* The name of a status, such as "E_FORMAT". */
const char *fm_status_name(fm_status status);

#endif
