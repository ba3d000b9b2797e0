/* choices.c - what a mask may become: which tokens of the vocabulary, or the tokens of words that the caller names.
 * Words of several pieces are asked for piece by piece; those that begin alike share questions. */
#include "tasks/fill.h"

#include <stdlib.h>
#include <string.h>

static bool is_piece(const char *token)
{
    return strncmp(token, "##", 2) == 0 && token[2] != '\0';
}

static fm_status add_prefix(fm_choices *c, size_t *capacity, fm_prefix prefix, fm_error *err)
{
    if (c->prefix_count == *capacity) {
        size_t larger = *capacity * 2 + 4;
        fm_prefix *list = realloc(c->prefixes, larger * sizeof *list);
        if (!list) return fm_fail_memory(err, larger * sizeof *list, "the questions about words");
        c->prefixes = list;
        *capacity = larger;
    }
    c->prefixes[c->prefix_count++] = prefix;
    return FM_OK;
}

/* ---- the vocabulary ---- */

static fm_status choose_tokens(fm_choices *c, const fm_tokenizer *tokenizer, const fm_fill_options *o, fm_error *err)
{
    size_t allowed = 0, capacity = 0;
    fm_kept excluded;
    fm_status status = fm_kept_make(&excluded, o->excluded, o->excluded_count, err);
    if (status) return status;
    c->count = fm_tokenizer_size(tokenizer);
    c->longest = 1;
    c->allowed = calloc(c->count, sizeof *c->allowed);
    for (uint32_t i = 0; c->allowed && i < c->count; i++) {
        const char *token = fm_tokenizer_token(tokenizer, i);
        c->allowed[i] = (!o->allowed || o->allowed[i]) && (o->special || !fm_tokenizer_is_special(tokenizer, i)) &&
                        (o->pieces || !is_piece(token)) && !fm_kept_has(&excluded, token, strlen(token));
        allowed += c->allowed[i];
    }
    fm_kept_free(&excluded);
    if (!c->allowed) return fm_fail_memory(err, c->count, "the tokens for a mask");
    if (allowed == 0)
        return fm_fail(err, FM_E_ARGUMENT, "No token of the vocabulary is allowed as a filling; allow more of them.");
    return add_prefix(c, &capacity, (fm_prefix){1, 0, 0, 0}, err);
}

/* ---- targets ---- */

/* The tokens of a word; a piece of the vocabulary ("##s") stands for itself. */
static fm_status encode(const fm_tokenizer *tokenizer, const char *target, fm_encoding *encoding, fm_error *err)
{
    uint32_t piece, unknown = fm_tokenizer_special(tokenizer).unk;
    fm_status status = fm_tokenizer_encode(tokenizer, target, strlen(target), false, encoding, err);
    if (status) return status;
    if (is_piece(target) && fm_tokenizer_find(tokenizer, target, strlen(target), &piece)) {
        encoding->ids[0] = piece; /* "##" alone is two tokens or more */
        encoding->count = 1;
    }
    if (encoding->count == 0)
        return fm_fail(err, FM_E_ARGUMENT, "The target \"%.100s\" has no token; it is empty or white space.", target);
    for (size_t i = 0; i < encoding->count; i++)
        if (encoding->ids[i] == unknown && encoding->words[i] != UINT32_MAX)
            return fm_fail(err, FM_E_ARGUMENT, "The target \"%.100s\" has characters that the vocabulary lacks.",
                           target);
    return FM_OK;
}

static fm_status encode_targets(fm_choices *c, const fm_tokenizer *tokenizer, fm_error *err)
{
    fm_encoding encoding = {0};
    fm_buffer tokens = {0};
    fm_status status = FM_OK;
    for (uint32_t i = 0; i < c->count && !status; i++) {
        status = encode(tokenizer, c->targets[i], &encoding, err);
        if (status) break;
        fm_buffer_add(&tokens, encoding.ids, encoding.count * sizeof *encoding.ids);
        if (tokens.failed || tokens.size / sizeof *encoding.ids > UINT32_MAX)
            status = fm_fail_memory(err, tokens.size, "the tokens of targets");
        c->starts[i + 1] = c->starts[i] + (uint32_t)encoding.count;
        if (encoding.count > c->longest) c->longest = (uint32_t)encoding.count;
    }
    fm_encoding_free(&encoding);
    c->tokens = (uint32_t *)(void *)tokens.data;
    return status;
}

/* A target's tokens beside its number, to be sorted. */
typedef struct entry {
    const uint32_t *tokens;
    uint32_t length, target;
} entry;

static int compare_tokens(const entry *a, const entry *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (a->tokens[i] != b->tokens[i]) return a->tokens[i] < b->tokens[i] ? -1 : 1;
    return 0;
}

static int compare_entries(const void *left, const void *right)
{
    const entry *a = left, *b = right;
    if (a->length != b->length) return a->length < b->length ? -1 : 1;
    int order = compare_tokens(a, b, a->length);
    return order ? order : (a->target > b->target) - (a->target < b->target);
}

static bool begin_alike(const entry *a, const entry *b, uint32_t known)
{
    return a->length == b->length && compare_tokens(a, b, known) == 0;
}

/* The questions that the sorted targets need. A target that is there twice is looked at once. */
static fm_status plan(fm_choices *c, entry *entries, fm_error *err)
{
    size_t capacity = 0;
    fm_status status = FM_OK;
    qsort(entries, c->count, sizeof *entries, compare_entries);
    for (uint32_t i = 0; i < c->count; i++) {
        const entry *e = &entries[i];
        c->order[i] = e->target;
        c->allowed[e->target] = i == 0 || !begin_alike(e, e - 1, e->length);
        for (uint32_t known = 0; known < e->length && !status; known++) {
            uint32_t end = i + 1;
            if (i > 0 && begin_alike(e, e - 1, known)) continue;
            while (end < c->count && begin_alike(e, &entries[end], known)) end++;
            status = add_prefix(c, &capacity, (fm_prefix){e->length, known, i, end - i}, err);
        }
    }
    return status;
}

static fm_status choose_targets(fm_choices *c, const fm_tokenizer *tokenizer, const fm_fill_options *o, fm_error *err)
{
    if (o->allowed || o->excluded_count > 0 || o->special || o->pieces)
        return fm_fail(err, FM_E_ARGUMENT,
                       "Targets are given, and so is what chooses from the vocabulary (allowed or excluded words, "
                       "special tokens, pieces); they exclude each other.");
    if (o->target_count >= UINT32_MAX)
        return fm_fail(err, FM_E_LIMIT, "There are %zu targets, which is too many.", o->target_count);
    c->targets = o->targets;
    c->count = (uint32_t)o->target_count;
    c->allowed = calloc(c->count, sizeof *c->allowed);
    c->starts = calloc((size_t)c->count + 1, sizeof *c->starts);
    c->order = calloc(c->count, sizeof *c->order);
    entry *entries = calloc(c->count, sizeof *entries);
    fm_status status = FM_OK;
    if (!c->allowed || !c->starts || !c->order || !entries)
        status = fm_fail_memory(err, c->count * sizeof *entries, "targets");
    if (!status) status = encode_targets(c, tokenizer, err);
    for (uint32_t i = 0; i < c->count && !status; i++)
        entries[i] = (entry){c->tokens + c->starts[i], c->starts[i + 1] - c->starts[i], i};
    if (!status) status = plan(c, entries, err);
    free(entries);
    return status;
}

fm_status fm_choices_make(fm_choices *c, const fm_tokenizer *tokenizer, const fm_fill_options *o, fm_error *err)
{
    *c = (fm_choices){0};
    fm_status status = o->target_count > 0 ? choose_targets(c, tokenizer, o, err) : choose_tokens(c, tokenizer, o, err);
    if (status) fm_choices_free(c);
    return status;
}

void fm_choices_free(fm_choices *c)
{
    free(c->allowed);
    free(c->prefixes);
    free(c->tokens);
    free(c->starts);
    free(c->order);
    *c = (fm_choices){0};
}

uint32_t fm_choice_length(const fm_choices *c, uint32_t choice)
{
    return c->targets ? c->starts[choice + 1] - c->starts[choice] : 1;
}

uint32_t fm_choice_token(const fm_choices *c, uint32_t choice, uint32_t index)
{
    return c->targets ? c->tokens[c->starts[choice] + index] : choice;
}
