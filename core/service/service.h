/* service.h - the door of core/service: the core as something that answers requests in JSON. WebAssembly's host
 * (wasm/api.c) and `fillmask serve` both speak it, so that a program sees no difference between them.
 *
 * A request is an object with "op" and what that operation takes, and an "id" if the host likes, which nothing here
 * looks at; its answer is one JSON value. Models, corpora,
 * trainings and evaluations are kept here and named by numbers. Models come from the host, which has the files.
 * web/README.md lists the operations.
 */
#ifndef FM_SERVICE_H
#define FM_SERVICE_H

#include "tasks/tasks.h"

typedef struct fm_service fm_service;

/* utf16: offsets in texts count UTF-16 code units, as JavaScript does; else bytes. */
fm_status fm_service_create(fm_service **service, bool utf16, fm_error *err);
void fm_service_destroy(fm_service *service); /* with all that it keeps; NULL is allowed */

/* Takes over a model, and `data`, which it reads and which is given to free() after it; NULL if it has its own file.
 * Both are gone on failure. */
fm_status fm_service_add_model(fm_service *service, fm_model *model, void *data, uint32_t *number, fm_error *err);
/* Takes over a tokenizer that has no model. */
fm_status fm_service_add_tokenizer(fm_service *service, fm_tokenizer *tokenizer, uint32_t *number, fm_error *err);
/* model.safetensors with random weights, for a model of this config.json that is to be trained; free(). */
fm_status fm_service_first_weights(const char *config, size_t config_size, void **data, size_t *size, fm_error *err);
/* NULL and an error if there is none of this number. */
fm_model *fm_service_model(const fm_service *service, uint32_t number, fm_error *err);

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
