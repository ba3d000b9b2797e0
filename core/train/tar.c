/* tar.c - walks through a tar archive (POSIX.1-1988 ustar, v7, GNU and pax long names) from a stream and hands over the
 * files that are wanted. It writes nothing to disk, follows no link, and trusts no length. */
#include "train/reviews.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 512
#define LONGEST_NAME 4096               /* of a file; PATH_MAX of Linux */
#define LONGEST_PAX ((uint64_t)1 << 20) /* records that describe one file */
#define MOST_SIZE ((uint64_t)1 << 60)

/* Places in a header block. */
enum {
    NAME = 0,
    NAME_SIZE = 100,
    SIZE = 124,
    CHECKSUM = 148,
    TYPE = 156,
    MAGIC = 257,
    PREFIX = 345,
    PREFIX_SIZE = 155
};

typedef struct tar {
    const char *name; /* of the archive, for errors */
    reviews_source read;
    void *source;
    uint64_t at; /* bytes read */
    uint8_t header[BLOCK];
    char path[LONGEST_NAME + 1];   /* of the entry */
    char longer[LONGEST_NAME + 1]; /* that an entry ahead has given, empty if none */
    uint64_t pax_size;             /* likewise, UINT64_MAX if none */
} tar;

static fm_status fail_damaged(const tar *t, const char *what, fm_error *err)
{
    return fm_fail(err, FM_E_FORMAT, "The tar archive %s is damaged at byte %llu: %s; get it again.", t->name,
                   (unsigned long long)t->at, what);
}

/* *whole is false, without error, if the archive ends before the first byte. */
static fm_status fill(tar *t, void *to, size_t size, bool *whole, fm_error *err)
{
    size_t filled = 0;
    while (filled < size) {
        size_t got;
        fm_status status = t->read(t->source, (char *)to + filled, size - filled, &got, err);
        if (status) return status;
        if (got == 0) break;
        filled += got;
        t->at += got;
    }
    *whole = filled == size;
    if (filled == 0 || *whole) return FM_OK;
    return fm_fail(err, FM_E_FORMAT, "The tar archive %s is cut short: it ends after %llu bytes; get it again.",
                   t->name, (unsigned long long)t->at);
}

static fm_status fill_all(tar *t, void *to, size_t size, fm_error *err)
{
    bool whole = true;
    fm_status status = size > 0 ? fill(t, to, size, &whole, err) : FM_OK;
    if (status || whole) return status;
    return fm_fail(err, FM_E_FORMAT, "The tar archive %s is cut short: it ends after %llu bytes; get it again.",
                   t->name, (unsigned long long)t->at);
}

static fm_status skip(tar *t, uint64_t size, fm_error *err)
{
    char waste[4096];
    fm_status status = FM_OK;
    while (size > 0 && !status) {
        size_t part = size < sizeof waste ? (size_t)size : sizeof waste;
        status = fill_all(t, waste, part, err);
        size -= part;
    }
    return status;
}

static uint64_t padding(uint64_t size)
{
    return (BLOCK - size % BLOCK) % BLOCK;
}

/* ---- headers ---- */

/* An octal number with blanks around it, or GNU's base 256; false if it is neither or has more than 62 bits. */
static bool read_field(const uint8_t *field, size_t size, uint64_t *value)
{
    *value = 0;
    if (field[0] & 0x80) {
        *value = field[0] & 0x3f;
        if (field[0] & 0x40) return false; /* negative */
        for (size_t i = 1; i < size; i++) {
            if (*value >> 54) return false;
            *value = *value << 8 | field[i];
        }
        return true;
    }
    size_t at = 0;
    while (at < size && field[at] == ' ') at++;
    size_t first = at;
    for (; at < size && field[at] >= '0' && field[at] <= '7'; at++) {
        if (*value >> 59) return false;
        *value = *value << 3 | (uint64_t)(field[at] - '0');
    }
    bool digits = at > first;
    while (at < size && (field[at] == ' ' || field[at] == '\0')) at++;
    return at == size && (digits || first == 0);
}

/* Of all bytes, with blanks for the checksum itself; some old programs took bytes to be signed. */
static bool checksum_fits(const uint8_t *header)
{
    uint64_t stored;
    int64_t plain = 0, with_sign = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        uint8_t byte = i >= CHECKSUM && i < CHECKSUM + 8 ? ' ' : header[i];
        plain += byte;
        with_sign += byte < 128 ? byte : (int64_t)byte - 256;
    }
    return read_field(header + CHECKSUM, 8, &stored) && ((int64_t)stored == plain || (int64_t)stored == with_sign);
}

bool tar_recognise(const void *block)
{
    const uint8_t *header = block;
    return memcmp(header + MAGIC, "ustar", 5) == 0 || (header[0] && checksum_fits(header));
}

static bool is_zero(const uint8_t *block)
{
    for (size_t i = 0; i < BLOCK; i++)
        if (block[i]) return false;
    return true;
}

static void take_path(tar *t)
{
    const char *header = (const char *)t->header;
    size_t prefix = 0, name = strnlen(header + NAME, NAME_SIZE);
    if (*t->longer) {
        memcpy(t->path, t->longer, strlen(t->longer) + 1);
        return;
    }
    /* GNU's own format keeps times where ustar has the prefix. */
    if (memcmp(header + MAGIC, "ustar\0", 6) == 0) prefix = strnlen(header + PREFIX, PREFIX_SIZE);
    memcpy(t->path, header + PREFIX, prefix);
    if (prefix > 0) t->path[prefix++] = '/';
    memcpy(t->path + prefix, header + NAME, name);
    t->path[prefix + name] = '\0';
}

/* ---- entries that describe the next one ---- */

/* GNU's @LongLink: the content is the name. */
static fm_status read_long_name(tar *t, uint64_t size, fm_error *err)
{
    if (size == 0 || size > LONGEST_NAME)
        return fail_damaged(t, "a file's name is empty or longer than 4,096 bytes", err);
    fm_status status = fill_all(t, t->longer, (size_t)size, err);
    t->longer[size] = '\0';
    return status ? status : skip(t, padding(size), err);
}

/* Records "LENGTH KEY=VALUE\n", where LENGTH counts the whole record; path and size matter here. */
static fm_status read_records(tar *t, char *text, size_t size, fm_error *err)
{
    static const char wrong[] = "its pax records do not have the lengths that they name";
    for (size_t at = 0; at < size;) {
        char *end, *record = text + at;
        if (*record < '0' || *record > '9') return fail_damaged(t, wrong, err);
        unsigned long long length = strtoull(record, &end, 10); /* text ends in a NUL */
        if (*end != ' ' || length <= (size_t)(end + 1 - record) || length > size - at || record[length - 1] != '\n')
            return fail_damaged(t, wrong, err);
        record[length - 1] = '\0';
        char *key = end + 1, *value = memchr(key, '=', (size_t)(record + length - 1 - key));
        at += (size_t)length;
        if (!value) return fail_damaged(t, wrong, err);
        *value++ = '\0';
        if (strcmp(key, "path") == 0) {
            if (strlen(value) > LONGEST_NAME) return fail_damaged(t, "a file's name is longer than 4,096 bytes", err);
            memcpy(t->longer, value, strlen(value) + 1);
        } else if (strcmp(key, "size") == 0) {
            t->pax_size = *value >= '0' && *value <= '9' && strlen(value) < 18 ? strtoull(value, &end, 10) : 0;
            if (*value < '0' || *value > '9' || strlen(value) >= 18 || *end)
                return fail_damaged(t, "a pax record has a size that is no number", err);
        }
    }
    return FM_OK;
}

static fm_status read_pax(tar *t, uint64_t size, fm_error *err)
{
    if (size > LONGEST_PAX) return fail_damaged(t, "the pax records of a file are longer than 1 MB", err);
    char *text = calloc((size_t)size + 1, 1);
    if (!text) return fm_fail_memory(err, (size_t)size + 1, "the pax records of a tar archive");
    fm_status status = fill_all(t, text, (size_t)size, err);
    if (!status) status = skip(t, padding(size), err);
    if (!status) status = read_records(t, text, (size_t)size, err);
    free(text);
    return status;
}

/* ---- files ---- */

static fm_status read_file(tar *t, uint64_t size, const tar_visitor *visitor, fm_error *err)
{
    if (!visitor->wanted(visitor->context, t->path)) return skip(t, size + padding(size), err);
    char *room = visitor->room(visitor->context, t->path, size, err);
    if (!room) return err ? err->status : FM_E_MEMORY;
    fm_status status = fill_all(t, room, (size_t)size, err);
    return status ? status : skip(t, padding(size), err);
}

/* Whether the entry has content in the archive; some programs give links and folders a size without any. */
static bool has_content(char type)
{
    return !(type >= '1' && type <= '6');
}

static fm_status read_entry(tar *t, const tar_visitor *visitor, fm_error *err)
{
    uint64_t size;
    char type = (char)t->header[TYPE];
    if (!checksum_fits(t->header)) return fail_damaged(t, "a header does not have the checksum that it names", err);
    if (!read_field(t->header + SIZE, 12, &size)) return fail_damaged(t, "a file's size is no number", err);
    if (type == 'L') return read_long_name(t, size, err);
    if (type == 'x') return read_pax(t, size, err);
    if (size > MOST_SIZE) return fail_damaged(t, "a file's size is beyond all disks", err);
    if (type == 'K' || type == 'g') return skip(t, size + padding(size), err); /* of a link, and of all files */
    if (t->pax_size != UINT64_MAX) size = t->pax_size;
    take_path(t);
    *t->longer = '\0';
    t->pax_size = UINT64_MAX;
    if (type == '0' || type == '\0' || type == '7') return read_file(t, size, visitor, err);
    return has_content(type) ? skip(t, size + padding(size), err) : FM_OK;
}

fm_status tar_read(const char *name, reviews_source read, void *source, const tar_visitor *visitor, fm_error *err)
{
    tar *t = calloc(1, sizeof *t);
    if (!t) return fm_fail_memory(err, sizeof *t, "a tar archive");
    t->name = name;
    t->read = read;
    t->source = source;
    t->pax_size = UINT64_MAX;
    fm_status status = FM_OK;
    bool first = true, ended = false;
    while (!status && !ended) {
        bool whole;
        status = fill(t, t->header, BLOCK, &whole, err);
        if (status || !whole) break; /* many archives lack the two blocks of zeros at their end */
        if (is_zero(t->header)) ended = true;
        else if (first && !tar_recognise(t->header))
            status = fm_fail(err, FM_E_FORMAT, "%s is no tar archive: it does not begin with a header of one.", name);
        else status = read_entry(t, visitor, err);
        first = false;
    }
    if (!status && first) status = fm_fail(err, FM_E_FORMAT, "The tar archive %s is empty.", name);
    free(t);
    return status;
}
