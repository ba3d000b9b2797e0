/* corpus.c - the operations that collect texts for training and evaluation: out of files, row by row, and into corpora.
 */
#include "service/internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- the texts of files ---- */

fm_status service_rows(call *c)
{
    static const char *const formats[] = {"txt", "jsonl", "csv", NULL};
    static const char *const members[] = {"field", NULL};
    int format = FM_ROWS_LINES;
    const option options[] = {{"format", OPTION_CHOICE, &format, 0, 0, formats}};
    const cJSON *field = cJSON_GetObjectItemCaseSensitive(c->request, "field");
    fm_rows *rows;
    fm_status status = service_options(c, members, options, 1);
    if (!status)
        status =
            fm_rows_create(&rows, (fm_row_format)format, cJSON_IsString(field) ? field->valuestring : NULL, c->err);
    if (status) return status;
    uint32_t number = service_keep(c, KIND_ROWS, rows, 0, 0);
    fm_buffer_format(c->answer, "%u", number);
    return number ? FM_OK : c->err->status;
}

/* The texts of the rows that the next part of a file completes. No part, or an empty one, says that it has ended. A row
 * that should have a text and has none is an error. */
fm_status service_rows_push(call *c)
{
    static const char *const members[] = {"rows", "part", NULL};
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(c->request, "part");
    const char *part = cJSON_IsString(item) ? item->valuestring : "";
    kept *k = service_find(c, "rows", KIND_ROWS);
    fm_status status = k ? service_options(c, members, NULL, 0) : c->err->status;
    if (!status) status = fm_rows_push(k->item, part, strlen(part), c->err);
    fm_buffer_text(c->answer, "[");
    for (bool more = true, first = true; !status && more;) {
        fm_row row = {0};
        status = fm_rows_next(k->item, &row, &more, c->err);
        if (!status && more && *row.reason)
            status = fm_fail(c->err, FM_E_FORMAT, "Line %llu: %.300s", (unsigned long long)row.line, row.reason);
        if (!status && more && row.text) {
            if (!first) fm_buffer_text(c->answer, ", ");
            fm_buffer_json(c->answer, row.text, row.text_size);
            first = false;
        }
        fm_row_free(&row);
    }
    fm_buffer_text(c->answer, "]");
    return status;
}

/* ---- corpora ---- */

typedef struct collection {
    fm_corpus_builder *builder; /* NULL once it is complete */
    fm_corpus corpus;
} collection;

void service_close_corpus(void *item)
{
    collection *all = item;
    fm_corpus_builder_destroy(all->builder);
    fm_corpus_free(&all->corpus);
    free(all);
}

fm_status service_corpus(call *c)
{
    static const char *const members[] = {"model", NULL};
    kept *k = service_find(c, "model", KIND_MODEL);
    fm_status status = k ? service_options(c, members, NULL, 0) : c->err->status;
    if (status) return status;
    collection *all = calloc(1, sizeof *all);
    if (!all) return fm_fail_memory(c->err, sizeof *all, "a corpus");
    status = fm_corpus_builder_create(&all->builder, fm_model_tokenizer(k->item), c->err);
    if (status) {
        free(all);
        return status;
    }
    uint32_t number = service_keep(c, KIND_CORPUS, all, k->number, 0);
    fm_buffer_format(c->answer, "%u", number);
    return number ? FM_OK : c->err->status;
}

fm_status service_corpus_add(call *c)
{
    static const char *const members[] = {"corpus", "texts", NULL};
    texts list = {0};
    kept *k = service_find(c, "corpus", KIND_CORPUS);
    collection *all = k ? k->item : NULL;
    fm_status status = all ? service_options(c, members, NULL, 0) : c->err->status;
    if (!status && !all->builder)
        status = fm_fail(c->err, FM_E_ARGUMENT, "The corpus is in use; start another one for more texts.");
    if (!status) status = service_texts(c, "texts", &list);
    for (size_t i = 0; i < list.count && !status; i++)
        status = fm_corpus_builder_add(all->builder, list.list[i], strlen(list.list[i]), c->err);
    fm_buffer_text(c->answer, "null");
    free(list.list);
    return status;
}

const fm_corpus *service_corpus_of(kept *k)
{
    collection *all = k->item;
    if (all->builder) fm_corpus_builder_finish(all->builder, &all->corpus);
    all->builder = NULL;
    return &all->corpus;
}
