/* trie.c - builds and walks the trie of trie.h. It takes any bytes and knows nothing of characters. */
#include "tokenizer/trie.h"

#include <stdlib.h>
#include <string.h>

static int compare_keys(const void *left, const void *right)
{
    const fm_trie_key *a = left, *b = right;
    uint32_t common = a->size < b->size ? a->size : b->size;
    int order = common ? memcmp(a->bytes, b->bytes, common) : 0;
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

/* The keys below one node: those from `from` up to `to`, which agree in their first `depth` bytes. */
typedef struct key_range {
    uint32_t from, to, depth;
} key_range;

fm_status fm_trie_build(fm_trie *trie, fm_trie_key *keys, size_t count, const char *what, fm_error *err)
{
    *trie = (fm_trie){0};
    size_t most = 1; /* nodes, if no two keys shared a byte */
    for (size_t i = 0; i < count; i++) {
        if (keys[i].size >= UINT32_MAX / 64 - most || count >= UINT32_MAX / 64)
            return fm_fail(err, FM_E_LIMIT, "%s is larger than the 64 MB that are supported.", what);
        most += keys[i].size;
    }
    if (count > 1) qsort(keys, count, sizeof *keys, compare_keys);
    key_range *ranges = malloc(most * sizeof *ranges);
    trie->labels = malloc(most);
    trie->values = malloc(most * sizeof *trie->values);
    trie->first = malloc((most + 1) * sizeof *trie->first);
    if (!ranges || !trie->labels || !trie->values || !trie->first) {
        free(ranges);
        fm_trie_free(trie);
        return fm_fail_memory(err, most * (sizeof *ranges + 9), what);
    }
    uint32_t nodes = 1;
    ranges[0] = (key_range){0, (uint32_t)count, 0};
    trie->labels[0] = 0;
    for (uint32_t node = 0; node < nodes; node++) {
        key_range range = ranges[node];
        trie->values[node] = FM_NONE;
        trie->first[node] = nodes;
        if (range.from < range.to && keys[range.from].size == range.depth)
            trie->values[node] = keys[range.from++].value;
        while (range.from < range.to) {
            uint8_t label = keys[range.from].bytes[range.depth];
            uint32_t end = range.from + 1;
            while (end < range.to && keys[end].bytes[range.depth] == label) end++;
            if (node == 0) trie->start[label] = nodes;
            trie->labels[nodes] = label;
            ranges[nodes++] = (key_range){range.from, end, range.depth + 1};
            range.from = end;
        }
    }
    trie->first[nodes] = nodes;
    trie->nodes = nodes;
    free(ranges);
    return FM_OK;
}

void fm_trie_free(fm_trie *trie)
{
    free(trie->labels);
    free(trie->first);
    free(trie->values);
    *trie = (fm_trie){0};
}

/* The child of a node under a label, 0 if it has none. */
static inline uint32_t child(const fm_trie *trie, uint32_t node, uint8_t label)
{
    uint32_t low = trie->first[node], high = trie->first[node + 1];
    while (high - low > 8) {
        uint32_t middle = low + (high - low) / 2;
        if (trie->labels[middle] <= label) low = middle;
        else high = middle;
    }
    for (; low < high; low++)
        if (trie->labels[low] == label) return low;
    return 0;
}

uint32_t fm_trie_longest(const fm_trie *trie, const uint8_t *text, size_t size, size_t *matched)
{
    uint32_t best = FM_NONE;
    *matched = 0;
    if (size == 0) return FM_NONE;
    uint32_t node = trie->start[text[0]];
    for (size_t at = 1; node; at++) {
        if (trie->values[node] != FM_NONE) {
            best = trie->values[node];
            *matched = at;
        }
        if (at == size) break;
        node = child(trie, node, text[at]);
    }
    return best;
}

uint32_t fm_trie_find(const fm_trie *trie, const uint8_t *key, size_t size)
{
    if (size == 0) return trie->nodes ? trie->values[0] : FM_NONE;
    uint32_t node = trie->start[key[0]];
    for (size_t at = 1; node && at < size; at++) node = child(trie, node, key[at]);
    return node ? trie->values[node] : FM_NONE;
}
