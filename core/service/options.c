/* options.c - options out of a request, each with its bounds; an option that is not known is an error. */
#include "service/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *operation_of(const call *c)
{
    return cJSON_GetObjectItemCaseSensitive(c->request, "op")->valuestring;
}

static fm_status read_number(const call *c, const cJSON *item, const option *o)
{
    double value = cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
    bool whole = o->type == OPTION_WHOLE;
    if (!(value >= o->least && value <= o->most) || (whole && value != floor(value)))
        return fm_fail(c->err, FM_E_ARGUMENT, "%s is %g; it must be a %snumber from %.10g to %.10g.", o->name, value,
                       whole ? "whole " : "", o->least, o->most);
    if (whole) *(uint64_t *)o->value = (uint64_t)value;
    else *(double *)o->value = value;
    return FM_OK;
}

static fm_status read_choice(const call *c, const cJSON *item, const option *o)
{
    char list[200] = "";
    const char *given = cJSON_IsString(item) ? item->valuestring : "";
    for (int i = 0; o->choices[i]; i++) {
        if (strcmp(o->choices[i], given) == 0) {
            *(int *)o->value = i;
            return FM_OK;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", o->choices[i]);
    }
    return fm_fail(c->err, FM_E_ARGUMENT, "%s is \"%.80s\"; it must be one of %s.", o->name, given, list);
}

static fm_status read_list(const call *c, const cJSON *item, const char *name, texts *found)
{
    int count = cJSON_IsArray(item) ? cJSON_GetArraySize(item) : -1;
    *found = (texts){0};
    if (count >= 0) found->list = calloc((size_t)count + 1, sizeof *found->list);
    if (count >= 0 && !found->list) return fm_fail_memory(c->err, (size_t)count * sizeof *found->list, "a list");
    const cJSON *text;
    bool strings = count >= 0;
    cJSON_ArrayForEach(text, item)
    {
        strings = strings && cJSON_IsString(text);
        if (strings) found->list[found->count++] = text->valuestring;
    }
    if (strings) return FM_OK;
    free(found->list);
    *found = (texts){0};
    return fm_fail(c->err, FM_E_ARGUMENT, "%s must be a list of texts.", name);
}

static fm_status read_one(const call *c, const cJSON *item, const option *o)
{
    switch (o->type) {
    case OPTION_WHOLE:
    case OPTION_NUMBER:
        return read_number(c, item, o);
    case OPTION_CHOICE:
        return read_choice(c, item, o);
    case OPTION_TEXTS:
        return read_list(c, item, o->name, o->value);
    case OPTION_FLAG:
        break;
    }
    if (!cJSON_IsBool(item)) return fm_fail(c->err, FM_E_ARGUMENT, "%s must be true or false.", o->name);
    *(bool *)o->value = cJSON_IsTrue(item);
    return FM_OK;
}

static bool is_member(const char *name, const char *const *members)
{
    if (strcmp(name, "op") == 0 || strcmp(name, "id") == 0) return true;
    for (; *members; members++)
        if (strcmp(name, *members) == 0) return true;
    return false;
}

fm_status service_options(const call *c, const char *const *members, const option *options, size_t count)
{
    const cJSON *item;
    fm_status status = FM_OK;
    cJSON_ArrayForEach(item, c->request)
    {
        size_t i = 0;
        while (i < count && strcmp(options[i].name, item->string) != 0) i++;
        if (i < count) status = read_one(c, item, &options[i]);
        else if (!is_member(item->string, members))
            status = fm_fail(c->err, FM_E_ARGUMENT, "The operation %s has no option \"%.80s\"; leave it out.",
                             operation_of(c), item->string);
        if (status) return status;
    }
    return FM_OK;
}

fm_status service_texts(const call *c, const char *member, texts *found)
{
    return read_list(c, cJSON_GetObjectItemCaseSensitive(c->request, member), member, found);
}
