/* fuzz_rows.c - libFuzzer target: rows of JSON lines, CSV and plain lines (core/tasks/rows.c), pushed in pieces of a
 * size that the input names. All rows one after the other are the input, and a row with another text is read back with
 * it. */
#include <stdlib.h>
#include <string.h>

#include "tasks/tasks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool held)
{
    if (!held) abort();
}

/* The row with another text gives that text, behind the header and the empty lines around it, if there are any. */
static void write_and_read(const fm_row *row, const fm_buffer *header)
{
    static const char text[] = "a, \"b\" \\ \xc3\xa9";
    fm_text out;
    fm_rows *rows;
    fm_row again = {0};
    bool more;
    if (fm_row_write(row, text, sizeof text - 1, &out, NULL)) return;
    if (fm_rows_create(&rows, row->format, NULL, NULL) == FM_OK) {
        if (header->size > 0) require(fm_rows_push(rows, header->data, header->size, NULL) == FM_OK);
        require(fm_rows_push(rows, out.data, out.size, NULL) == FM_OK);
        require(fm_rows_push(rows, NULL, 0, NULL) == FM_OK);
        do {
            fm_row_free(&again);
            require(fm_rows_next(rows, &again, &more, NULL) == FM_OK && more);
        } while (!again.text);
        require(again.text_size == sizeof text - 1 && memcmp(again.text, text, sizeof text - 1) == 0);
        fm_row_free(&again);
    }
    fm_rows_destroy(rows);
    free(out.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fm_rows *rows;
    fm_buffer all = {0}, header = {0};
    fm_status status = FM_OK;
    if (size < 2 || fm_rows_create(&rows, (fm_row_format)(data[0] % 3), NULL, NULL)) return 0;
    size_t piece = data[1] + 1;
    bool begun = false;
    data += 2;
    size -= 2;
    for (size_t at = 0, step = piece; step > 0 && !status; at += step) {
        if (step > size - at) step = size - at; /* at last none, the end */
        require(fm_rows_push(rows, data + at, step, NULL) == FM_OK);
        for (bool more = true; more && !status;) {
            fm_row row;
            status = fm_rows_next(rows, &row, &more, NULL); /* fails for a header without the column */
            if (status || !more) break;
            require(!row.text || (row.value_start <= row.value_end && row.value_end <= row.raw_size));
            require(!row.text || !row.reason[0]);
            fm_buffer_add(&all, row.raw, row.raw_size);
            begun = begun || row.text || row.reason[0];
            if (row.format == FM_ROWS_CSV && !begun) fm_buffer_add(&header, row.raw, row.raw_size);
            if (row.text) write_and_read(&row, &header);
            fm_row_free(&row);
        }
    }
    require(status || (all.size == size && (size == 0 || memcmp(all.data, data, size) == 0)));
    fm_rows_destroy(rows);
    fm_buffer_free(&all);
    fm_buffer_free(&header);
    return 0;
}
