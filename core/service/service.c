/* service.c - finds the operation of a request, and keeps what outlives one. What the operations do is in the
 * other files. */
#include "service/internal.h"

#include <stdlib.h>
#include <string.h>

const char *fm_status_name(fm_status status)
{
    static const char *const names[] = {[FM_OK] = "OK",
                                        [FM_E_ARGUMENT] = "E_ARGUMENT",
                                        [FM_E_IO] = "E_IO",
                                        [FM_E_FORMAT] = "E_FORMAT",
                                        [FM_E_LIMIT] = "E_LIMIT",
                                        [FM_E_MEMORY] = "E_MEMORY",
                                        [FM_E_UNSUPPORTED] = "E_UNSUPPORTED",
                                        [FM_E_ABORTED] = "E_ABORTED",
                                        [FM_E_DEVICE] = "E_DEVICE",
                                        [FM_PENDING] = "PENDING"};
    return names[status];
}

/* ---- what is kept ---- */

static const char *const kind_names[] = {
    [KIND_MODEL] = "model",   [KIND_TOKENIZER] = "tokenizer", [KIND_ROWS] = "rows",
    [KIND_CORPUS] = "corpus", [KIND_TRAINING] = "training",   [KIND_EVALUATION] = "evaluation"};

static void destroy(kept *k)
{
    switch (k->kind) {
    case KIND_MODEL:
        fm_model_close(k->item);
        break;
    case KIND_TOKENIZER:
        fm_tokenizer_close(k->item);
        break;
    case KIND_ROWS:
        fm_rows_destroy(k->item);
        break;
    case KIND_CORPUS:
        service_close_corpus(k->item);
        break;
    case KIND_TRAINING:
        service_close_training(k->item);
        break;
    case KIND_EVALUATION:
        service_close_evaluation(k->item);
        break;
    case KIND_NONE:
        break;
    }
}

static kept *find_number(const fm_service *service, uint32_t number)
{
    for (size_t i = 0; number > 0 && i < service->count; i++)
        if (service->list[i].number == number) return &service->list[i];
    return NULL;
}

static uint32_t find_dependent(const fm_service *service, uint32_t number)
{
    for (size_t i = 0; i < service->count; i++)
        if (service->list[i].needs[0] == number || service->list[i].needs[1] == number) return service->list[i].number;
    return 0;
}

void service_release(fm_service *service, uint32_t number)
{
    uint32_t dependent;
    kept *k = find_number(service, number);
    if (!k) return;
    while ((dependent = find_dependent(service, number)) > 0) service_release(service, dependent);
    k = find_number(service, number);
    destroy(k);
    service->count--;
    memmove(k, k + 1, (size_t)(service->list + service->count - k) * sizeof *k);
}

static fm_status add(fm_service *service, kept item, uint32_t *number, fm_error *err)
{
    *number = 0;
    if (service->count == service->capacity) {
        size_t capacity = service->capacity * 2 + 16;
        kept *list = realloc(service->list, capacity * sizeof *list);
        if (!list) {
            destroy(&item);
            return fm_fail_memory(err, capacity * sizeof *list, "the list of models");
        }
        service->list = list;
        service->capacity = capacity;
    }
    item.number = *number = ++service->last;
    service->list[service->count++] = item;
    return FM_OK;
}

uint32_t service_keep(call *c, kind type, void *item, uint32_t needed, uint32_t needed_too)
{
    uint32_t number;
    add(c->service, (kept){.kind = type, .needs = {needed, needed_too}, .item = item}, &number, c->err);
    return number;
}

kept *service_find(const call *c, const char *member, kind type)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(c->request, member);
    uint64_t number;
    kept *k = fm_json_u64(item, &number) && number <= UINT32_MAX ? find_number(c->service, (uint32_t)number) : NULL;
    if (k && k->kind == type) return k;
    fm_fail(c->err, FM_E_ARGUMENT, "There is no such %s; it was closed, or \"%s\" is no number of one.",
            kind_names[type], member);
    return NULL;
}

fm_status fm_service_create(fm_service **service, bool utf16, fm_error *err)
{
    *service = calloc(1, sizeof **service);
    if (!*service) return fm_fail_memory(err, sizeof **service, "a service");
    (*service)->utf16 = utf16;
    return FM_OK;
}

void fm_service_destroy(fm_service *service)
{
    if (!service) return;
    while (service->count > 0) service_release(service, service->list[service->count - 1].number);
    free(service->list);
    free(service);
}

fm_status fm_service_add_model(fm_service *service, fm_model *model, uint32_t *number, fm_error *err)
{
    return add(service, (kept){.kind = KIND_MODEL, .item = model}, number, err);
}

fm_status fm_service_add_tokenizer(fm_service *service, fm_tokenizer *tokenizer, uint32_t *number, fm_error *err)
{
    return add(service, (kept){.kind = KIND_TOKENIZER, .item = tokenizer}, number, err);
}

fm_model *fm_service_model(const fm_service *service, uint32_t number, fm_error *err)
{
    kept *k = find_number(service, number);
    if (k && k->kind == KIND_MODEL) return k->item;
    fm_fail(err, FM_E_ARGUMENT, "There is no model %u; it was closed.", number);
    return NULL;
}

fm_trainer *fm_service_trainer(const fm_service *service, uint32_t number, bool changes, fm_error *err)
{
    kept *k = find_number(service, number);
    if (!k || k->kind != KIND_TRAINING) {
        fm_fail(err, FM_E_ARGUMENT, "There is no training %u; it was closed.", number);
        return NULL;
    }
    return changes && service_refuse_evaluated(service, k, err) ? NULL : service_trainer_of(k);
}

fm_status fm_service_use(fm_service *service, uint32_t number, fm_backend *backend, fm_error *err)
{
    fm_model *m = fm_service_model(service, number, err);
    if (!m) {
        if (backend) backend->ops->destroy(backend);
        return err->status;
    }
    for (size_t i = service->count; i-- > 0;) {
        const kept *k = &service->list[i < service->count ? i : service->count - 1];
        if ((k->kind == KIND_TRAINING || k->kind == KIND_EVALUATION) && k->needs[0] == number)
            service_release(service, k->number);
    }
    fm_model_use(m, backend);
    return FM_OK;
}

/* ---- requests ---- */

bool service_go_on(const call *c, uint64_t done, uint64_t total)
{
    if (!c->progress || c->progress(c->context, done, total)) return true;
    fm_fail(c->err, FM_E_ABORTED, "Stopped.");
    return false;
}

static fm_status service_close(call *c)
{
    static const char *const members[] = {"number", NULL};
    uint64_t number = 0;
    const option options[] = {{"number", OPTION_WHOLE, &number, 1, UINT32_MAX, NULL}};
    fm_status status = service_options(c, members, options, 1);
    if (status) return status;
    service_release(c->service, (uint32_t)number);
    fm_buffer_text(c->answer, "null");
    return FM_OK;
}

static const struct operation {
    const char *name;
    fm_status (*run)(call *c);
} operations[] = {
    {"augment", service_augment},
    {"check", service_check},
    {"close", service_close},
    {"convert", service_convert},
    {"corpus", service_corpus},
    {"corpus_add", service_corpus_add},
    {"decode", service_decode},
    {"embed", service_embed},
    {"encode", service_encode},
    {"evaluate", service_evaluate},
    {"evaluate_advance", service_evaluate_advance},
    {"fill", service_fill},
    {"info", service_info},
    {"row_write", service_row_write},
    {"rows", service_rows},
    {"rows_push", service_rows_push},
    {"score", service_score},
    {"token_ids", service_token_ids},
    {"train", service_train},
    {"train_advance", service_train_advance},
    {"train_report", service_train_report},
    {"train_apply", service_train_apply},
    {"vocabulary", service_vocabulary},
};

/* The model that a request is about, NULL for none. */
static kept *named_model(const call *c)
{
    uint64_t number;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(c->request, "model");
    kept *k = fm_json_u64(item, &number) && number <= UINT32_MAX ? find_number(c->service, (uint32_t)number) : NULL;
    return k && k->kind == KIND_MODEL ? k : NULL;
}

fm_status fm_service_call(fm_service *service, const char *request, size_t size, fm_progress progress, void *context,
                          fm_buffer *answer, fm_error *err)
{
    cJSON *root;
    size_t before = answer->size;
    fm_status status = fm_json_parse(&root, request, size, "The request", err);
    if (status) return status;
    call c = {service, root, progress, context, answer, err};
    const cJSON *op = cJSON_GetObjectItemCaseSensitive(root, "op");
    const struct operation *found = NULL;
    for (size_t i = 0; cJSON_IsString(op) && i < sizeof operations / sizeof *operations; i++)
        if (strcmp(op->valuestring, operations[i].name) == 0) found = &operations[i];
    kept *model = found ? named_model(&c) : NULL;
    if (model) status = fm_model_begin_request(model->item, fm_hash(FM_HASH_START, request, size), err);
    uint32_t number = model ? model->number : 0;
    if (found && !status) status = found->run(&c);
    model = find_number(service, number); /* it may have been closed */
    if (model) fm_model_end_request(model->item, status);
    if (!found)
        status =
            fm_fail(err, FM_E_ARGUMENT, "There is no operation \"%.80s\".", cJSON_IsString(op) ? op->valuestring : "");
    if (!status && answer->failed) status = fm_fail_memory(err, answer->size, "an answer");
    if (status && !answer->failed) answer->size = before;
    cJSON_Delete(root);
    return status;
}
