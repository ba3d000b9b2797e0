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

/* Bytes that two keys, of which the first is the smaller one, begin with alike. */
static uint32_t common_bytes(const fm_trie_key *a, const fm_trie_key *b)
{
    uint32_t size = a->size < b->size ? a->size : b->size, same = 0;
    while (same < size && a->bytes[same] == b->bytes[same]) same++;
    return same;
}

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
    size_t all = most;
    for (size_t i = 1; i < count; i++) all -= common_bytes(&keys[i - 1], &keys[i]);
    trie->labels = malloc(all);
    trie->values = malloc(all * sizeof *trie->values);
    trie->first = malloc((all + 1) * sizeof *trie->first);
    if (!trie->labels || !trie->values || !trie->first) {
        fm_trie_free(trie);
        return fm_fail_memory(err, all * 9, what);
    }
    /* Until a node's turn comes, its value and its first child are the range of the keys below it, which agree in as
     * many bytes as the node is deep. */
    uint32_t nodes = 1, depth = 0, deeper = 1; /* the first node of the next depth */
    trie->labels[0] = 0;
    trie->values[0] = 0;
    trie->first[0] = (uint32_t)count;
    for (uint32_t node = 0; node < nodes; node++) {
        if (node == deeper) {
            depth++;
            deeper = nodes;
        }
        uint32_t from = trie->values[node], to = trie->first[node];
        trie->values[node] = FM_NONE;
        trie->first[node] = nodes;
        if (from < to && keys[from].size == depth) trie->values[node] = keys[from++].value;
        while (from < to) {
            uint8_t label = keys[from].bytes[depth];
            uint32_t end = from + 1;
            while (end < to && keys[end].bytes[depth] == label) end++;
            if (node == 0) trie->start[label] = nodes;
            trie->labels[nodes] = label;
            trie->values[nodes] = from;
            trie->first[nodes++] = end;
            from = end;
        }
    }
    trie->first[nodes] = nodes;
    trie->nodes = nodes;
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
