/* trie.h - a byte trie that never changes: nine bytes a node, longest match in one walk. */
#ifndef FM_TRIE_H
#define FM_TRIE_H

#include "base/base.h"

#define FM_NONE UINT32_MAX

typedef struct fm_trie_key {
    const uint8_t *bytes;
    uint32_t size, value; /* value below FM_NONE */
} fm_trie_key;

/* Nodes in breadth-first order, so that the children of a node are neighbours: those of node i are first[i] up to
 * first[i + 1], sorted by label. Node 0 is the root, whose children are also found through `start`. */
typedef struct fm_trie {
    uint32_t nodes;
    uint8_t *labels;
    uint32_t *first, *values;
    uint32_t start[256]; /* 0: no such child */
} fm_trie;

/* Builds from keys, which get sorted; they must be distinct. `what` is for the error. */
fm_status fm_trie_build(fm_trie *trie, fm_trie_key *keys, size_t count, const char *what, fm_error *err);
void fm_trie_free(fm_trie *trie);
/* The value of the longest key of at least one byte that `text` starts with, and its size; FM_NONE if there is none. */
uint32_t fm_trie_longest(const fm_trie *trie, const uint8_t *text, size_t size, size_t *matched);
/* The value of exactly this key, FM_NONE if there is none. */
uint32_t fm_trie_find(const fm_trie *trie, const uint8_t *key, size_t size);

#endif
