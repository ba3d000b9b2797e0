/* json.c - JSON with cJSON behind a strict check. cJSON accepts much that RFC 8259 does not (control characters,
 * numbers such as 01, bytes that are not UTF-8, repeated keys); a scan of the text refuses those first and keeps the
 * nesting small. Writing JSON is the business of buffer.c. */
#include "base/base.h"
#include "base/utf8.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEEPEST 64
#define LONGEST_NUMBER 63 /* cJSON reads numbers through a buffer of 64 bytes */

typedef struct scan {
    const uint8_t *data;
    size_t size, at;
    const char *name;
    fm_error *err;
} scan;

static fm_status refuse(const scan *s, size_t at, const char *what)
{
    size_t line = 1;
    for (size_t i = 0; i < at; i++) line += s->data[i] == '\n';
    return fm_fail(s->err, FM_E_FORMAT, "%s is not valid JSON: %s at byte %zu (line %zu).", s->name, what, at, line);
}

static int peek(const scan *s)
{
    return s->at < s->size ? s->data[s->at] : -1;
}

static void skip_space(scan *s)
{
    for (int c = peek(s); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(s)) s->at++;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

/* Four hexadecimal digits at s->at, or -1. */
static int32_t hex4(const scan *s)
{
    if (s->size - s->at < 4) return -1;
    int32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        int c = s->data[s->at + i];
        int digit = is_digit(c)            ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* The part of an escape after its backslash. */
static fm_status scan_escape(scan *s)
{
    size_t start = s->at - 1;
    int c = peek(s);
    s->at++;
    if (c != 'u') return c > 0 && strchr("\"\\/bfnrt", c) ? FM_OK : refuse(s, start, "an unknown escape");
    int32_t unit = hex4(s);
    if (unit < 0) return refuse(s, start, "\\u without four hexadecimal digits");
    s->at += 4;
    if (unit == 0) /* a C string would end here without a word */
        return refuse(s, start, "\\u0000, which is not supported in strings,");
    if (unit >= 0xdc00 && unit <= 0xdfff) return refuse(s, start, "a lone surrogate");
    if (unit < 0xd800 || unit > 0xdfff) return FM_OK;
    if (s->size - s->at < 6 || s->data[s->at] != '\\' || s->data[s->at + 1] != 'u')
        return refuse(s, start, "a lone surrogate");
    s->at += 2;
    unit = hex4(s);
    if (unit < 0xdc00 || unit > 0xdfff) return refuse(s, start, "a lone surrogate");
    s->at += 4;
    return FM_OK;
}

static fm_status scan_string(scan *s)
{
    size_t start = s->at++;
    for (int c = peek(s); c != '"'; c = peek(s)) {
        if (c < 0) return refuse(s, start, "a string without an end");
        if (c < 0x20) return refuse(s, s->at, "a control character in a string");
        if (c == '\\') {
            s->at++;
            fm_status status = scan_escape(s);
            if (status) return status;
            continue;
        }
        bool valid;
        size_t length = fm_utf8_step(s->data + s->at, s->size - s->at, &valid);
        if (!valid) return refuse(s, s->at, "invalid UTF-8");
        s->at += length;
    }
    s->at++;
    return FM_OK;
}

static bool skip_digits(scan *s)
{
    size_t start = s->at;
    while (is_digit(peek(s))) s->at++;
    return s->at > start;
}

static fm_status scan_number(scan *s)
{
    size_t start = s->at;
    if (peek(s) == '-') s->at++;
    bool good;
    if (peek(s) == '0') {
        s->at++;
        good = !is_digit(peek(s));
    } else good = skip_digits(s);
    if (good && peek(s) == '.') {
        s->at++;
        good = skip_digits(s);
    }
    if (good && (peek(s) == 'e' || peek(s) == 'E')) {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-') s->at++;
        good = skip_digits(s);
    }
    if (!good) return refuse(s, start, "a malformed number");
    if (s->at - start > LONGEST_NUMBER) return refuse(s, start, "a number of more than 63 characters");
    return FM_OK;
}

static fm_status scan_word(scan *s)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if (s->size - s->at >= length && memcmp(s->data + s->at, words[i], length) == 0) {
            s->at += length;
            return FM_OK;
        }
    }
    if (s->at >= s->size) return refuse(s, s->at, "the end of the text where a value should be");
    return refuse(s, s->at, "something that is no value");
}

/* A key, its colon and the white space up to the value. */
static fm_status scan_key(scan *s)
{
    skip_space(s);
    if (peek(s) != '"') return refuse(s, s->at, "no key where one should be");
    fm_status status = scan_string(s);
    if (status) return status;
    skip_space(s);
    if (peek(s) != ':') return refuse(s, s->at, "no colon after a key");
    s->at++;
    return FM_OK;
}

/* The whole document, without recursion: `open` holds the bracket that closes each level. */
static fm_status scan_document(scan *s)
{
    char open[DEEPEST];
    size_t depth = 0;
    for (;;) {
        skip_space(s);
        int c = peek(s);
        fm_status status = FM_OK;
        if (c == '{' || c == '[') {
            if (depth == DEEPEST) return refuse(s, s->at, "nesting of more than 64 levels");
            open[depth] = c == '{' ? '}' : ']';
            s->at++;
            skip_space(s);
            if (peek(s) != open[depth]) {
                depth++;
                if (c == '{' && (status = scan_key(s))) return status;
                continue;
            }
            s->at++;
        } else if (c == '"') status = scan_string(s);
        else if (c == '-' || is_digit(c)) status = scan_number(s);
        else status = scan_word(s);
        if (status) return status;
        /* A value is complete; close what ends here and find the next value. */
        for (;;) {
            skip_space(s);
            if (depth == 0) return s->at == s->size ? FM_OK : refuse(s, s->at, "trailing bytes after the document");
            c = peek(s);
            if (c != open[depth - 1]) break;
            s->at++;
            depth--;
        }
        if (c != ',') return refuse(s, s->at, "neither a comma nor a closing bracket");
        s->at++;
        if (open[depth - 1] == '}' && (status = scan_key(s))) return status;
    }
}

static int compare_keys(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static fm_status fail_twice(const char *name, const char *key, size_t size, fm_error *err)
{
    return fm_fail(err, FM_E_FORMAT, "%s has the key \"%.*s\" twice in one object; remove one of them.", name,
                   (int)(size < 200 ? size : 200), key);
}

/* Sorting keeps an object of very many members fast. */
static fm_status check_keys(const cJSON *object, const char *name, fm_error *err)
{
    size_t count = 0;
    for (const cJSON *item = object->child; item; item = item->next) count++;
    if (count < 2) return FM_OK;
    const char **keys = malloc(count * sizeof *keys);
    if (!keys) return fm_fail_memory(err, count * sizeof *keys, "the keys of a JSON object");
    size_t filled = 0;
    for (const cJSON *item = object->child; item; item = item->next) keys[filled++] = item->string;
    qsort(keys, count, sizeof *keys, compare_keys);
    fm_status status = FM_OK;
    for (size_t i = 1; i < count && !status; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0) status = fail_twice(name, keys[i], strlen(keys[i]), err);
    free(keys);
    return status;
}

/* What only the parsed tree shows. The recursion is as deep as the nesting, which was bounded above. */
static fm_status check_tree(const cJSON *item, const char *name, fm_error *err)
{
    fm_status status = FM_OK;
    if (cJSON_IsNumber(item) && !isfinite(item->valuedouble))
        return fm_fail(err, FM_E_FORMAT, "%s is not valid JSON: the number of \"%.200s\" is too large.", name,
                       item->string ? item->string : "");
    if (cJSON_IsObject(item)) status = check_keys(item, name, err);
    for (const cJSON *child = item->child; child && !status; child = child->next) status = check_tree(child, name, err);
    return status;
}

/* The tree of a text that has been scanned. */
static fm_status make_tree(cJSON **root, const void *data, size_t size, const char *name, fm_error *err)
{
    /* The scan is stricter than cJSON, which can now fail only for want of memory. */
    cJSON *tree = cJSON_ParseWithLength(data, size);
    if (!tree) return fm_fail_memory(err, size, name);
    fm_status status = check_tree(tree, name, err);
    if (status) {
        cJSON_Delete(tree);
        return status;
    }
    *root = tree;
    return FM_OK;
}

fm_status fm_json_parse(struct cJSON **root, const void *data, size_t size, const char *name, fm_error *err)
{
    *root = NULL;
    scan s = {data, size, 0, name, err};
    fm_status status = scan_document(&s);
    return status ? status : make_tree(root, data, size, name, err);
}

/* ---- an object without a tree ---- */

/* From here on the text has been scanned: it is known to be well-formed. */
static void skip_value(scan *s)
{
    size_t depth = 0;
    do {
        int c = peek(s);
        if (c == '"') scan_string(s);
        else {
            if (c == '{' || c == '[') depth++;
            if (c == '}' || c == ']') depth--;
            s->at++;
            while (depth == 0 && s->at < s->size && strchr("+-.0123456789Eaeflnrstu", s->data[s->at])) s->at++;
        }
    } while (depth > 0);
}

/* A member of an object. */
typedef struct member {
    const uint8_t *key; /* between its quotes */
    size_t size, value; /* where its value is */
    bool escaped;
} member;

/* The next member of an object that s->at is inside of, with s->at behind it; false at the object's end. */
static bool next_member(scan *s, member *m)
{
    skip_space(s);
    if (peek(s) == '{' || peek(s) == ',') s->at++;
    skip_space(s);
    if (peek(s) != '"') return false;
    m->key = s->data + s->at + 1;
    scan_string(s);
    m->size = (size_t)(s->data + s->at - 1 - m->key);
    m->escaped = memchr(m->key, '\\', m->size) != NULL;
    skip_space(s);
    s->at++;
    skip_space(s);
    m->value = s->at;
    skip_value(s);
    return true;
}

/* The decoded text of a key with escapes, as a string of its own. */
static fm_status decode_key(const scan *s, const member *m, cJSON **text)
{
    *text = cJSON_ParseWithLength((const char *)m->key - 1, m->size + 2);
    return *text ? FM_OK : fm_fail_memory(s->err, m->size, s->name);
}

/* Moves s->at from an object to the value of a member; *found is false if that is no object. */
static fm_status enter(scan *s, const char *key, bool *found)
{
    member m;
    *found = false;
    skip_space(s);
    while (next_member(s, &m)) {
        cJSON *text = NULL;
        fm_status status = m.escaped ? decode_key(s, &m, &text) : FM_OK;
        if (status) return status;
        bool same =
            text ? strcmp(text->valuestring, key) == 0 : m.size == strlen(key) && memcmp(m.key, key, m.size) == 0;
        cJSON_Delete(text);
        if (!same) continue;
        s->at = m.value;
        *found = peek(s) == '{';
        break;
    }
    return FM_OK;
}

static fm_status read_number(scan *s, const member *m, fm_json_entry *entry)
{
    const char *text = (const char *)s->data + m->value;
    size_t digits = 0, size = s->at - m->value;
    uint64_t value = 0;
    for (; digits < size && digits < 15 && is_digit(text[digits]); digits++)
        value = value * 10 + (uint64_t)(text[digits] - '0');
    entry->value = digits == size ? value : FM_JSON_OTHER;
    if (digits == size || (*text != '-' && !is_digit(*text))) return FM_OK;
    cJSON *number = cJSON_ParseWithLength(text, size);
    if (!number) return fm_fail_memory(s->err, size, s->name);
    bool finite = isfinite(number->valuedouble);
    if (!fm_json_u64(number, &entry->value)) entry->value = FM_JSON_OTHER;
    cJSON_Delete(number);
    if (finite) return FM_OK;
    return fm_fail(s->err, FM_E_FORMAT, "%s is not valid JSON: the number of \"%.*s\" is too large.", s->name,
                   (int)(entry->size < 200 ? entry->size : 200), entry->key);
}

static int compare_entries(const void *left, const void *right)
{
    const fm_json_entry *a = *(const fm_json_entry *const *)left, *b = *(const fm_json_entry *const *)right;
    int order = memcmp(a->key, b->key, a->size < b->size ? a->size : b->size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static fm_status check_entries(const fm_json_entries *entries, const char *name, fm_error *err)
{
    if (entries->count < 2) return FM_OK;
    const fm_json_entry **sorted = malloc(entries->count * sizeof *sorted);
    if (!sorted) return fm_fail_memory(err, entries->count * sizeof *sorted, "the keys of a JSON object");
    for (size_t i = 0; i < entries->count; i++) sorted[i] = &entries->list[i];
    qsort(sorted, entries->count, sizeof *sorted, compare_entries);
    fm_status status = FM_OK;
    for (size_t i = 1; i < entries->count && !status; i++)
        if (compare_entries(&sorted[i - 1], &sorted[i]) == 0)
            status = fail_twice(name, sorted[i]->key, sorted[i]->size, err);
    free(sorted);
    return status;
}

/* The members of the object at s->at, which moves behind it. */
static fm_status read_entries(scan *s, fm_json_entries *entries)
{
    size_t start = s->at, escaped = 0, decoded = 0;
    member m;
    for (; next_member(s, &m); entries->count++) escaped += m.escaped ? m.size : 0;
    size_t end = s->at + 1;
    if (entries->count > SIZE_MAX / sizeof *entries->list || s->size > UINT32_MAX)
        return fm_fail_memory(s->err, SIZE_MAX, s->name);
    entries->list = malloc((entries->count + 1) * sizeof *entries->list);
    entries->decoded = malloc(escaped + 1);
    if (!entries->list || !entries->decoded)
        return fm_fail_memory(s->err, entries->count * sizeof *entries->list + escaped, s->name);
    s->at = start;
    fm_status status = FM_OK;
    for (size_t i = 0; i < entries->count && next_member(s, &m) && !status; i++) {
        fm_json_entry *entry = &entries->list[i];
        *entry = (fm_json_entry){(const char *)m.key, (uint32_t)m.size, 0};
        cJSON *text = NULL;
        if (m.escaped) status = decode_key(s, &m, &text);
        if (text) { /* it is never longer than what it is written as */
            entry->size = (uint32_t)strlen(text->valuestring);
            entry->key = memcpy(entries->decoded + decoded, text->valuestring, entry->size);
            decoded += entry->size;
        }
        cJSON_Delete(text);
        if (!status) status = read_number(s, &m, entry);
    }
    s->at = end;
    return status ? status : check_entries(entries, s->name, s->err);
}

/* The tree of a text without a part, where "{}" is. */
static fm_status make_tree_without(cJSON **root, const scan *s, size_t from, size_t to)
{
    size_t rest = s->size - to, size = from + 2 + rest;
    char *text = malloc(size);
    if (!text) return fm_fail_memory(s->err, size, s->name);
    memcpy(text, s->data, from);
    memcpy(text + from, "{}", 2);
    memcpy(text + from + 2, s->data + to, rest);
    fm_status status = make_tree(root, text, size, s->name, s->err);
    free(text);
    return status;
}

fm_status fm_json_parse_large(struct cJSON **root, fm_json_entries *entries, const void *data, size_t size,
                              const char *outer, const char *inner, const char *name, fm_error *err)
{
    *root = NULL;
    *entries = (fm_json_entries){0};
    scan s = {data, size, 0, name, err};
    fm_status status = scan_document(&s);
    if (status) return status;
    s.at = 0;
    skip_space(&s);
    bool found = peek(&s) == '{';
    if (found) status = enter(&s, outer, &found);
    if (found && !status) status = enter(&s, inner, &found);
    if (!found && !status) return make_tree(root, data, size, name, err);
    size_t from = s.at;
    if (!status) status = read_entries(&s, entries);
    if (!status) status = make_tree_without(root, &s, from, s.at);
    if (status) fm_json_entries_free(entries);
    return status;
}

void fm_json_drop_list(fm_json_entries *entries)
{
    free(entries->list);
    entries->list = NULL;
    entries->count = 0;
}

void fm_json_entries_free(fm_json_entries *entries)
{
    fm_json_drop_list(entries);
    free(entries->decoded);
    *entries = (fm_json_entries){0};
}

bool fm_json_u64(const struct cJSON *item, uint64_t *value)
{
    if (!item || !cJSON_IsNumber(item)) return false;
    double number = item->valuedouble;
    /* 2^53 itself is refused: 2^53 + 1 reads as the same double. */
    if (!(number >= 0.0 && number < 0x1p53) || floor(number) != number) return false;
    *value = (uint64_t)number;
    return true;
}
