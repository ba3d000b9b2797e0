/* corpus.c - the operations that collect texts for training and evaluation: out of files, row by row, and into corpora.
 */
#include "service/internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- the texts of files ---- */

static const char *const formats[] = {"txt", "jsonl", "csv", NULL};

fm_status service_rows(call *c)
{
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

/* A row with all that is known of it: `value` is the place of its text's field in `raw`, in bytes, for row_write. */
static void add_row(fm_buffer *out, const fm_row *row)
{
    fm_buffer_format(out, "{\"line\": %llu, \"raw\": ", (unsigned long long)row->line);
    fm_buffer_json(out, row->raw, row->raw_size);
    if (row->text) {
        fm_buffer_text(out, ", \"text\": ");
        fm_buffer_json(out, row->text, row->text_size);
        fm_buffer_format(out, ", \"value\": [%zu, %zu]", row->value_start, row->value_end);
    }
    if (row->reason[0]) {
        fm_buffer_text(out, ", \"reason\": ");
        fm_buffer_json(out, row->reason, strlen(row->reason));
    }
    fm_buffer_text(out, row->continued ? ", \"continued\": true}" : "}");
}

/* The texts of the rows that the next part of a file completes; or, with `whole`, all of these rows. No part, or an
 * empty one, says that it has ended. For texts alone, a row that should have one and has none is an error. */
fm_status service_rows_push(call *c)
{
    static const char *const members[] = {"rows", "part", NULL};
    bool whole = false;
    const option options[] = {{"whole", OPTION_FLAG, &whole, 0, 0, NULL}};
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(c->request, "part");
    const char *part = cJSON_IsString(item) ? item->valuestring : "";
    kept *k = service_find(c, "rows", KIND_ROWS);
    fm_status status = k ? service_options(c, members, options, 1) : c->err->status;
    if (!status) status = fm_rows_push(k->item, part, strlen(part), c->err);
    fm_buffer_text(c->answer, "[");
    for (bool more = true, first = true; !status && more;) {
        fm_row row = {0};
        status = fm_rows_next(k->item, &row, &more, c->err);
        if (!status && more && !whole && *row.reason)
            status = fm_fail(c->err, FM_E_FORMAT, "Line %llu: %.300s", (unsigned long long)row.line, row.reason);
        if (!status && more && (whole || row.text)) {
            if (!first) fm_buffer_text(c->answer, ", ");
            if (whole) add_row(c->answer, &row);
            else fm_buffer_json(c->answer, row.text, row.text_size);
            first = false;
        }
        fm_row_free(&row);
    }
    fm_buffer_text(c->answer, "]");
    return status;
}

/* A row of rows_push, with each of some texts in turn in the place of its own. */
fm_status service_row_write(call *c)
{
    static const char *const members[] = {"raw", "texts", NULL};
    uint64_t start = 0, end = 0;
    int format = FM_ROWS_LINES;
    const option options[] = {{"format", OPTION_CHOICE, &format, 0, 0, formats},
                              {"start", OPTION_WHOLE, &start, 0, 4e9, NULL},
                              {"end", OPTION_WHOLE, &end, 0, 4e9, NULL}};
    texts list = {0};
    char *raw = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(c->request, "raw"));
    fm_status status = service_options(c, members, options, 3);
    if (!status) status = service_texts(c, "texts", &list);
    size_t size = raw ? strlen(raw) : 0;
    if (!status && (!raw || start > end || end > size))
        status = fm_fail(c->err, FM_E_ARGUMENT, "raw must be a row, and start and end a part of it, in bytes.");
    const fm_row row = {.format = (fm_row_format)format,
                        .raw = raw,
                        .raw_size = size,
                        .text = raw,
                        .value_start = (size_t)start,
                        .value_end = (size_t)end};
    fm_buffer_text(c->answer, "[");
    for (size_t i = 0; i < list.count && !status; i++) {
        fm_text written;
        status = fm_row_write(&row, list.list[i], strlen(list.list[i]), &written, c->err);
        if (status) break;
        if (i > 0) fm_buffer_text(c->answer, ", ");
        fm_buffer_json(c->answer, written.data, written.size);
        free(written.data);
    }
    fm_buffer_text(c->answer, "]");
    free(list.list);
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
