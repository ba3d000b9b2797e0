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

/* Sorting keeps an object of a whole vocabulary fast. */
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
        if (strcmp(keys[i - 1], keys[i]) == 0)
            status = fm_fail(err, FM_E_FORMAT, "%s has the key \"%.200s\" twice in one object; remove one of them.",
                             name, keys[i]);
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

fm_status fm_json_parse(struct cJSON **root, const void *data, size_t size, const char *name, fm_error *err)
{
    *root = NULL;
    scan s = {data, size, 0, name, err};
    fm_status status = scan_document(&s);
    if (status) return status;
    /* The scan is stricter than cJSON, which can now fail only for want of memory. */
    cJSON *tree = cJSON_ParseWithLength(data, size);
    if (!tree) return fm_fail_memory(err, size, name);
    status = check_tree(tree, name, err);
    if (status) {
        cJSON_Delete(tree);
        return status;
    }
    *root = tree;
    return FM_OK;
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
