/* chunks.c - where a corpus is cut into chunks. What is done with them is the collator's business. */
#include "train/train.h"

#include <stdlib.h>

#define GROUP 1000 /* documents that are concatenated */
#define SHORTEST 3 /* [CLS], a token to predict, [SEP] */

/* Where the chunks begin, to `to` if it is not NULL; returns how many there are. */
static uint64_t cut_groups(const fm_corpus *corpus, uint32_t length, fm_chunks *to)
{
    uint64_t count = 0;
    for (uint64_t document = 0; document < corpus->documents; document += GROUP) {
        uint64_t end = document + GROUP < corpus->documents ? document + GROUP : corpus->documents;
        for (uint64_t at = corpus->starts[document]; at + length <= corpus->starts[end]; at += length) {
            if (to) to->starts[count] = at;
            count++;
        }
    }
    return count;
}

/* The same line by line, with the lengths. */
static uint64_t cut_lines(const fm_corpus *corpus, uint32_t length, fm_chunks *to)
{
    uint64_t count = 0;
    for (uint64_t document = 0; document < corpus->documents; document++) {
        uint64_t end = corpus->starts[document + 1];
        for (uint64_t at = corpus->starts[document]; at + SHORTEST <= end; at += length) {
            if (to) {
                to->starts[count] = at;
                to->lengths[count] = end - at < length ? (uint32_t)(end - at) : length;
            }
            count++;
        }
    }
    return count;
}

fm_status fm_chunks_make(fm_chunks *chunks, const fm_corpus *corpus, uint32_t length, bool line_by_line, fm_error *err)
{
    *chunks = (fm_chunks){.length = length};
    uint64_t (*cut)(const fm_corpus *, uint32_t, fm_chunks *) = line_by_line ? cut_lines : cut_groups;
    uint64_t count = cut(corpus, length, NULL);
    if (count == 0)
        return fm_fail(
            err, FM_E_FORMAT,
            "The data has %llu tokens in %llu documents, which gives no chunk of %u; use a smaller length or "
            "more text.",
            (unsigned long long)corpus->tokens, (unsigned long long)corpus->documents, length);
    if (count > UINT32_MAX || count > SIZE_MAX / sizeof *chunks->starts)
        return fm_fail(err, FM_E_LIMIT, "The data gives %llu chunks of %u tokens, more than fit; use less of it.",
                       (unsigned long long)count, length);
    chunks->starts = malloc((size_t)count * sizeof *chunks->starts);
    chunks->lengths = line_by_line ? malloc((size_t)count * sizeof *chunks->lengths) : NULL;
    if (!chunks->starts || (line_by_line && !chunks->lengths)) {
        fm_chunks_free(chunks);
        return fm_fail_memory(err, (size_t)count * sizeof *chunks->starts, "the list of chunks");
    }
    chunks->count = (uint32_t)cut(corpus, length, chunks);
    return FM_OK;
}

/* Draws by Knuth's selection sampling (The Art of Computer Programming, 3.4.2, algorithm S), which keeps the order. */
fm_status fm_chunks_split(uint32_t **out, uint32_t count, uint32_t aside, uint32_t seed, fm_error *err)
{
    uint32_t *list = *out = malloc((count ? count : 1) * sizeof *list);
    if (!list) return fm_fail_memory(err, count * sizeof *list, "the list of chunks");
    fm_random random = fm_random_seeded(seed, 0x61736964u);
    for (uint32_t i = 0, drawn = 0; i < count; i++) {
        bool take = drawn < aside && fm_random_below(&random, count - i) < aside - drawn;
        list[take ? drawn : aside + i - drawn] = i;
        drawn += take;
    }
    return FM_OK;
}

void fm_chunks_free(fm_chunks *chunks)
{
    free(chunks->starts);
    free(chunks->lengths);
    *chunks = (fm_chunks){0};
}
