/* augment.c - the operation that makes variants of texts. The JSON is that of the command line; the patterns that
 * protect parts of texts are matched by the host, which says where they are. */
#include "service/internal.h"

#include <stdlib.h>
#include <string.h>

/* The request's options; the lists' texts stay the request's. */
typedef struct augmenting {
    fm_augment_options o;
    texts list, keep, labels;
    /* The texts' own numbers, for what is drawn, or else the number of the first one. */
    const cJSON *numbers;
    uint64_t first;
    const cJSON *protect;
} augmenting;

static void add_variants(call *c, const fm_augmented *result)
{
    fm_buffer *out = c->answer;
    fm_buffer_text(out, "{\"variants\": [");
    for (size_t i = 0; i < result->count; i++) {
        if (i > 0) fm_buffer_text(out, ", ");
        fm_buffer_json(out, result->variants[i].data, result->variants[i].size);
    }
    fm_buffer_text(out, "]");
    if (*result->reason) {
        fm_buffer_text(out, ", \"reason\": ");
        fm_buffer_json(out, result->reason, strlen(result->reason));
    }
    fm_buffer_text(out, "}");
}

/* A pair of places as bytes; false if it is none. */
static bool read_span(place *at, const cJSON *pair, fm_span *span)
{
    uint64_t start = 0, end = 0;
    if (cJSON_GetArraySize(pair) != 2 || !fm_json_u64(cJSON_GetArrayItem(pair, 0), &start) ||
        !fm_json_u64(cJSON_GetArrayItem(pair, 1), &end) || start > end || end > UINT32_MAX)
        return false;
    span->start = service_byte(at, (uint32_t)start);
    span->end = service_byte(at, (uint32_t)end);
    return true;
}

/* Hands over a text, with what of it is protected. */
static fm_status add_text(const call *c, fm_augmenter *augmenter, uint64_t number, const char *text,
                          const cJSON *protect)
{
    size_t count = 0, most = cJSON_IsArray(protect) ? (size_t)cJSON_GetArraySize(protect) : 0;
    fm_span *spans = calloc(most + 1, sizeof *spans);
    if (!spans) return fm_fail_memory(c->err, most * sizeof *spans, "what is protected");
    const cJSON *pair;
    place at = {text, c->service->utf16, 0, 0};
    bool good = !protect || cJSON_IsArray(protect);
    cJSON_ArrayForEach(pair, protect) good = good && read_span(&at, pair, &spans[count++]);
    fm_status status =
        good ? fm_augmenter_add(augmenter, number, text, strlen(text), spans, count, c->err)
             : fm_fail(c->err, FM_E_ARGUMENT, "protect must have a list of pairs of places for each of the texts.");
    free(spans);
    return status;
}

static fm_status augment_texts(call *c, fm_augmenter *augmenter, const augmenting *a)
{
    size_t asked = 0, done = 0;
    fm_augmented result;
    const texts *list = &a->list;
    const cJSON *protect = a->protect ? a->protect->child : NULL, *number = a->numbers ? a->numbers->child : NULL;
    fm_buffer_text(c->answer, "[");
    while (done < list->count) {
        fm_status status = FM_OK;
        bool more;
        for (; asked < list->count && fm_augmenter_wants(augmenter) && !status; asked++) {
            uint64_t own = a->first + asked;
            if (number) fm_json_u64(number, &own);
            status = add_text(c, augmenter, own, list->list[asked], protect);
            if (protect) protect = protect->next;
            if (number) number = number->next;
        }
        if (!status) status = fm_augmenter_step(augmenter, &more, c->err);
        for (; !status && fm_augmenter_take(augmenter, &result); done++) {
            if (done > 0) fm_buffer_text(c->answer, ", ");
            add_variants(c, &result);
            fm_augmented_free(&result);
        }
        if (!status && !service_go_on(c, done, list->count)) status = FM_E_ABORTED;
        if (status) return status;
    }
    fm_buffer_text(c->answer, "]");
    return FM_OK;
}

static bool are_numbers(const cJSON *list, size_t count)
{
    uint64_t number;
    const cJSON *item;
    if (!cJSON_IsArray(list) || (size_t)cJSON_GetArraySize(list) != count) return false;
    cJSON_ArrayForEach(item, list) if (!fm_json_u64(item, &number)) return false;
    return true;
}

static fm_status read_options(const call *c, augmenting *a)
{
    static const char *const members[] = {"model", "texts", "numbers", "protect", NULL};
    static const char *const actions[] = {"substitute", "insert", "delete", NULL};
    fm_augment_options *o = &a->o;
    *o = fm_augment_defaults();
    uint64_t count = o->count, least = o->least, most = o->most, variants = o->variants, top_k = o->top_k;
    int action = (int)o->action;
    bool label_safe = false;
    const option options[] = {
        {"action", OPTION_CHOICE, &action, 0, 0, actions},
        {"rate", OPTION_NUMBER, &o->rate, 0, 1, NULL},
        {"count", OPTION_WHOLE, &count, 0, 1e6, NULL},
        {"min", OPTION_WHOLE, &least, 0, 1e6, NULL},
        {"max", OPTION_WHOLE, &most, 0, 1e6, NULL},
        {"variants", OPTION_WHOLE, &variants, 1, 10000, NULL},
        {"top_k", OPTION_WHOLE, &top_k, 0, 1e6, NULL},
        {"top_p", OPTION_NUMBER, &o->top_p, 1e-6, 1, NULL},
        {"temperature", OPTION_NUMBER, &o->temperature, 0, 1000, NULL},
        {"seed", OPTION_WHOLE, &o->seed, 0, 9e15, NULL},
        {"keep", OPTION_TEXTS, &a->keep, 0, 0, NULL},
        {"label_safe", OPTION_FLAG, &label_safe, 0, 0, NULL},
        {"labels", OPTION_TEXTS, &a->labels, 0, 0, NULL},
        {"label_share", OPTION_NUMBER, &o->label_share, 1e-6, 1, NULL},
        {"min_similarity", OPTION_NUMBER, &o->least_similarity, -1, 1, NULL},
        {"max_drop", OPTION_NUMBER, &o->most_drop, 0, 1000, NULL},
        {"first", OPTION_WHOLE, &a->first, 0, 9e15, NULL},
    };
    fm_status status = service_options(c, members, options, sizeof options / sizeof *options);
    if (!status) status = service_texts(c, "texts", &a->list);
    a->numbers = cJSON_GetObjectItemCaseSensitive(c->request, "numbers");
    a->protect = cJSON_GetObjectItemCaseSensitive(c->request, "protect");
    if (!status && a->numbers && !are_numbers(a->numbers, a->list.count))
        status = fm_fail(c->err, FM_E_ARGUMENT, "numbers must have a whole number for each of the texts.");
    if (!status && a->protect &&
        (!cJSON_IsArray(a->protect) || (size_t)cJSON_GetArraySize(a->protect) != a->list.count))
        status = fm_fail(c->err, FM_E_ARGUMENT, "protect must have a list of pairs of places for each of the texts.");
    if (!status && a->labels.count > 0 && !label_safe)
        status = fm_fail(c->err, FM_E_ARGUMENT, "labels need label_safe; set it to true.");
    o->action = (fm_augment_action)action;
    o->count = (uint32_t)count;
    o->least = (uint32_t)least;
    o->most = (uint32_t)most;
    o->variants = (uint32_t)variants;
    o->top_k = (uint32_t)top_k;
    o->kept = a->keep.list;
    o->kept_count = a->keep.count;
    o->labels = a->labels.list;
    o->label_count = a->labels.count;
    if (label_safe && a->labels.count == 0) o->labels = fm_augment_sentiment(&o->label_count);
    return status;
}

fm_status service_augment(call *c)
{
    augmenting a = {0};
    fm_augmenter *augmenter = NULL;
    kept *k = service_find(c, "model", KIND_MODEL);
    fm_status status = k ? read_options(c, &a) : c->err->status;
    if (!status) status = fm_augmenter_create(&augmenter, k->item, &a.o, c->err);
    if (!status) status = augment_texts(c, augmenter, &a);
    fm_augmenter_destroy(augmenter);
    free(a.keep.list);
    free(a.labels.list);
    free(a.list.list);
    return status;
}
