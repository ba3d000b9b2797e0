/* safetensors.c - reads and writes safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.
 * Every offset and size is checked once, on opening, so that later code may trust them. What the names mean is the
 * business of sources.c. */
#include "model/model.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX ((size_t)8)          /* the header's length, little-endian */
#define MOST_HEADER 100000000u      /* the format's own limit */
#define DATA_ALIGNMENT ((size_t)64) /* of the first tensor in files that we write */
#define METADATA "__metadata__"

struct fm_safetensors {
    fm_blob blob; /* empty if the memory is the caller's */
    char *name;   /* for errors */
    cJSON *root;  /* owns the names and the metadata */
    size_t count;
    fm_stored_tensor *tensors;        /* in the order of their data */
    const fm_stored_tensor **by_name; /* sorted, for look-ups */
    uint64_t covered;                 /* bytes that the header announces after it */
};

typedef struct type_name {
    const char *name;
    fm_stored_type type;
    uint32_t size;
} type_name;

static const type_name types[] = {
    {"F32", FM_STORED_F32, 4}, {"F16", FM_STORED_F16, 2}, {"BF16", FM_STORED_BF16, 2}, {"I8", FM_STORED_I8, 1}};
#define TYPE_COUNT (sizeof types / sizeof *types)

static const type_name *type_of(fm_stored_type type)
{
    for (size_t i = 0; i < TYPE_COUNT; i++)
        if (types[i].type == type) return &types[i];
    return NULL;
}

/* ---- reading ---- */

/* A tensor's entry while the file is checked. */
typedef struct entry {
    const cJSON *item;
    uint64_t begin, end;
    size_t place; /* in the header: keeps the order of empty tensors fixed */
} entry;

static int compare_entries(const void *left, const void *right)
{
    const entry *a = left, *b = right;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) return a->end < b->end ? -1 : 1;
    return a->place < b->place ? -1 : a->place > b->place;
}

static int compare_names(const void *left, const void *right)
{
    const fm_stored_tensor *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

fm_status fm_safetensors_head(const uint8_t *data, size_t size, const char *name, size_t *head, fm_error *err)
{
    if (size < PREFIX)
        return fm_fail(err, FM_E_FORMAT,
                       "%s is no safetensors file: it has %zu bytes, and the length of the header alone takes 8.", name,
                       size);
    uint64_t stated = 0;
    for (size_t i = 0; i < PREFIX; i++) stated |= (uint64_t)data[i] << (8 * i);
    if (stated > MOST_HEADER)
        return fm_fail(err, FM_E_FORMAT,
                       "%s is no safetensors file: its header would have %llu bytes, and at most %u are allowed.", name,
                       (unsigned long long)stated, MOST_HEADER);
    *head = PREFIX + (size_t)stated;
    return FM_OK;
}

static fm_status check_header_length(const uint8_t *data, size_t size, const char *name, size_t *length, fm_error *err)
{
    size_t head;
    fm_status status = fm_safetensors_head(data, size, name, &head, err);
    if (status) return status;
    if (head > size)
        return fm_fail(err, FM_E_FORMAT,
                       "%s is cut short: its header should have %zu bytes and only %zu follow; download it again.",
                       name, head - PREFIX, size - PREFIX);
    *length = head - PREFIX;
    if (*length == 0 || data[PREFIX] != '{')
        return fm_fail(err, FM_E_FORMAT, "%s is no safetensors file: its header does not start with '{'.", name);
    return FM_OK;
}

static fm_status check_metadata(const cJSON *metadata, const char *name, fm_error *err)
{
    if (!cJSON_IsObject(metadata))
        return fm_fail(err, FM_E_FORMAT, "%s has a __metadata__ that is not an object of strings.", name);
    for (const cJSON *item = metadata->child; item; item = item->next)
        if (!cJSON_IsString(item))
            return fm_fail(err, FM_E_FORMAT, "%s has the metadata \"%.100s\", which should be a string and is not.",
                           name, item->string);
    return FM_OK;
}

static fm_status read_type(const fm_safetensors *file, const cJSON *item, fm_stored_tensor *tensor, uint32_t *size,
                           fm_error *err)
{
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    if (!cJSON_IsString(dtype))
        return fm_fail(err, FM_E_FORMAT, "%s: the tensor %.200s has no dtype.", file->name, item->string);
    for (size_t i = 0; i < TYPE_COUNT; i++)
        if (strcmp(types[i].name, dtype->valuestring) == 0) {
            tensor->type = types[i].type;
            *size = types[i].size;
            return FM_OK;
        }
    return fm_fail(err, FM_E_UNSUPPORTED, "%s: the tensor %.200s has dtype %.40s; expected F32, F16, BF16 or I8.",
                   file->name, item->string, dtype->valuestring);
}

/* Fills rank and shape and gives the number of bytes that they mean. */
static fm_status read_shape(const fm_safetensors *file, const cJSON *item, fm_stored_tensor *tensor,
                            uint32_t element_size, uint64_t *bytes, fm_error *err)
{
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    if (!cJSON_IsArray(shape))
        return fm_fail(err, FM_E_FORMAT, "%s: the tensor %.200s has no shape.", file->name, item->string);
    uint64_t product = element_size;
    for (const cJSON *dimension = shape->child; dimension; dimension = dimension->next) {
        if (tensor->rank == FM_MOST_DIMENSIONS)
            return fm_fail(err, FM_E_UNSUPPORTED, "%s: the tensor %.200s has more than %d dimensions.", file->name,
                           item->string, FM_MOST_DIMENSIONS);
        uint64_t length;
        if (!fm_json_u64(dimension, &length))
            return fm_fail(err, FM_E_FORMAT,
                           "%s: the tensor %.200s has a dimension that is not an integer from 0 to 2^53 - 1.",
                           file->name, item->string);
        if (length != 0 && product > UINT64_MAX / length)
            return fm_fail(err, FM_E_FORMAT, "%s: the shape of the tensor %.200s means more bytes than 64 bits count.",
                           file->name, item->string);
        product *= length;
        tensor->shape[tensor->rank++] = length;
    }
    *bytes = product;
    return FM_OK;
}

static fm_status read_offsets(const fm_safetensors *file, const cJSON *item, entry *e, fm_error *err)
{
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    const cJSON *begin = cJSON_IsArray(offsets) ? offsets->child : NULL;
    const cJSON *end = begin ? begin->next : NULL;
    if (!end || end->next || !fm_json_u64(begin, &e->begin) || !fm_json_u64(end, &e->end))
        return fm_fail(err, FM_E_FORMAT,
                       "%s: the data_offsets of the tensor %.200s must be two integers from 0 to 2^53 - 1.", file->name,
                       item->string);
    if (e->end < e->begin)
        return fm_fail(err, FM_E_FORMAT, "%s: the data of the tensor %.200s ends at %llu, before its start at %llu.",
                       file->name, item->string, (unsigned long long)e->end, (unsigned long long)e->begin);
    e->item = item;
    return FM_OK;
}

/* Collects the header's entries and checks the metadata. */
static fm_status read_entries(fm_safetensors *file, entry **out, fm_error *err)
{
    size_t most = 0;
    for (const cJSON *item = file->root->child; item; item = item->next) most++;
    entry *entries = calloc(most ? most : 1, sizeof *entries);
    if (!entries) return fm_fail_memory(err, most * sizeof *entries, file->name);
    *out = entries;
    fm_status status = FM_OK;
    for (const cJSON *item = file->root->child; item && !status; item = item->next) {
        if (strcmp(item->string, METADATA) == 0) {
            status = check_metadata(item, file->name, err);
            continue;
        }
        if (!cJSON_IsObject(item))
            return fm_fail(err, FM_E_FORMAT, "%s: the entry of the tensor %.200s is not an object.", file->name,
                           item->string);
        entries[file->count].place = file->count;
        status = read_offsets(file, item, &entries[file->count++], err);
    }
    return status;
}

fm_status fm_safetensors_check_size(const fm_safetensors *file, uint64_t size, fm_error *err)
{
    if (file->covered == size) return FM_OK;
    return fm_fail(err, FM_E_FORMAT, "%s has %llu bytes of tensors where its header announces %llu; %s.", file->name,
                   (unsigned long long)size, (unsigned long long)file->covered,
                   file->covered > size ? "it is cut short, download it again" : "something was appended to it");
}

/* Goes through the tensors in the order of their data, which must be without a hole or an overlap. `data` has `size`
 * bytes of it, or is NULL. */
static fm_status place_tensors(fm_safetensors *file, const entry *entries, const uint8_t *data, size_t size,
                               fm_error *err)
{
    for (size_t i = 0; i < file->count; i++) {
        const entry *e = &entries[i];
        fm_stored_tensor *tensor = &file->tensors[i];
        tensor->name = e->item->string;
        uint32_t element_size = 0;
        uint64_t bytes = 0;
        fm_status status = read_type(file, e->item, tensor, &element_size, err);
        if (!status) status = read_shape(file, e->item, tensor, element_size, &bytes, err);
        if (status) return status;
        if (e->begin != file->covered)
            return fm_fail(err, FM_E_FORMAT,
                           "%s: the data of the tensor %.200s starts at %llu; expected %llu, where the data before it "
                           "ends.",
                           file->name, tensor->name, (unsigned long long)e->begin, (unsigned long long)file->covered);
        if (e->end - e->begin != bytes)
            return fm_fail(err, FM_E_FORMAT,
                           "%s: the tensor %.200s has %llu bytes of data; its shape and dtype mean %llu.", file->name,
                           tensor->name, (unsigned long long)(e->end - e->begin), (unsigned long long)bytes);
        file->covered = e->end;
        if (data && file->covered > size) continue; /* what follows says how much is missing */
        tensor->data = data ? data + (size_t)e->begin : NULL;
        tensor->size = (size_t)bytes;
    }
    return data ? fm_safetensors_check_size(file, size, err) : FM_OK;
}

static fm_status sort_names(fm_safetensors *file, fm_error *err)
{
    file->by_name = calloc(file->count ? file->count : 1, sizeof *file->by_name);
    if (!file->by_name) return fm_fail_memory(err, file->count * sizeof *file->by_name, file->name);
    for (size_t i = 0; i < file->count; i++) file->by_name[i] = &file->tensors[i];
    qsort(file->by_name, file->count, sizeof *file->by_name, compare_names);
    return FM_OK;
}

static fm_status read_header(fm_safetensors *file, const uint8_t *data, size_t size, bool whole, fm_error *err)
{
    size_t length = 0;
    fm_status status = check_header_length(data, size, file->name, &length, err);
    if (!status) status = fm_json_parse(&file->root, data + PREFIX, length, file->name, err);
    if (status) return status;
    entry *entries = NULL;
    status = read_entries(file, &entries, err);
    if (!status) {
        qsort(entries, file->count, sizeof *entries, compare_entries);
        file->tensors = calloc(file->count ? file->count : 1, sizeof *file->tensors);
        const uint8_t *tensors = whole ? data + PREFIX + length : NULL;
        status = file->tensors ? place_tensors(file, entries, tensors, size - PREFIX - length, err)
                               : fm_fail_memory(err, file->count * sizeof *file->tensors, file->name);
    }
    free(entries);
    return status ? status : sort_names(file, err);
}

/* `blob` is taken over, also on failure. */
static fm_status open_data(fm_safetensors **out, fm_blob blob, const uint8_t *data, size_t size, bool whole,
                           const char *name, fm_error *err)
{
    *out = NULL;
    fm_safetensors *file = calloc(1, sizeof *file);
    if (!file) {
        fm_blob_close(&blob);
        return fm_fail_memory(err, sizeof *file, name);
    }
    file->blob = blob;
    file->name = strdup(name);
    fm_status status =
        file->name ? read_header(file, data, size, whole, err) : fm_fail_memory(err, strlen(name) + 1, name);
    if (status) {
        fm_safetensors_close(file);
        return status;
    }
    *out = file;
    return FM_OK;
}

fm_status fm_safetensors_open(fm_safetensors **file, const char *path, fm_error *err)
{
    *file = NULL;
    fm_blob blob;
    fm_status status = fm_blob_open(&blob, path, err);
    return status ? status : open_data(file, blob, blob.data, blob.size, true, path, err);
}

fm_status fm_safetensors_from_memory(fm_safetensors **file, const void *data, size_t size, const char *name,
                                     fm_error *err)
{
    return open_data(file, (fm_blob){0}, data, size, true, name, err);
}

fm_status fm_safetensors_from_head(fm_safetensors **file, const void *head, size_t size, const char *name,
                                   fm_error *err)
{
    return open_data(file, (fm_blob){0}, head, size, false, name, err);
}

void fm_safetensors_close(fm_safetensors *file)
{
    if (!file) return;
    cJSON_Delete(file->root);
    free(file->tensors);
    free(file->by_name);
    free(file->name);
    fm_blob_close(&file->blob);
    free(file);
}

size_t fm_safetensors_count(const fm_safetensors *file)
{
    return file->count;
}

const fm_stored_tensor *fm_safetensors_at(const fm_safetensors *file, size_t index)
{
    return index < file->count ? &file->tensors[index] : NULL;
}

const fm_stored_tensor *fm_safetensors_find(const fm_safetensors *file, const char *name)
{
    size_t low = 0, high = file->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, file->by_name[middle]->name);
        if (order == 0) return file->by_name[middle];
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

const char *fm_safetensors_metadata(const fm_safetensors *file, const char *key)
{
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(file->root, METADATA);
    const cJSON *item = metadata ? cJSON_GetObjectItemCaseSensitive(metadata, key) : NULL;
    return item ? item->valuestring : NULL;
}

/* ---- writing ---- */

/* A caller's mistake would make a file that no reader accepts, so it is found before anything is written. */
static fm_status check_tensor(const char *path, const fm_stored_tensor *tensor, fm_error *err)
{
    const type_name *type = type_of(tensor->type);
    bool good = type && tensor->rank <= FM_MOST_DIMENSIONS && strcmp(tensor->name, METADATA) != 0;
    uint64_t bytes = type ? type->size : 0;
    for (uint32_t i = 0; good && i < tensor->rank; i++) {
        uint64_t length = tensor->shape[i];
        good = length < (uint64_t)1 << 53 && (length == 0 || bytes <= UINT64_MAX / length);
        bytes *= length;
    }
    if (good && bytes == tensor->size) return FM_OK;
    return fm_fail(err, FM_E_ARGUMENT,
                   "%s cannot be written: the tensor %.200s has a name, dtype or shape that does not "
                   "fit its %zu bytes.",
                   path, tensor->name, tensor->size);
}

static fm_status check_tensors(const char *path, const fm_stored_tensor *tensors, size_t count, fm_error *err)
{
    const fm_stored_tensor **sorted = calloc(count ? count : 1, sizeof *sorted);
    if (!sorted) return fm_fail_memory(err, count * sizeof *sorted, path);
    fm_status status = FM_OK;
    for (size_t i = 0; i < count && !status; i++) {
        sorted[i] = &tensors[i];
        status = check_tensor(path, &tensors[i], err);
    }
    if (!status) {
        qsort(sorted, count, sizeof *sorted, compare_names);
        for (size_t i = 1; i < count && !status; i++)
            if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
                status = fm_fail(err, FM_E_ARGUMENT, "%s cannot be written: the tensor %.200s is given twice.", path,
                                 sorted[i]->name);
    }
    free(sorted);
    return status;
}

/* The 8 bytes of length and the header, padded to the alignment of the data. */
static void build_header(fm_buffer *header, const fm_stored_tensor *tensors, size_t count, const fm_stored_note *notes,
                         size_t note_count)
{
    static const uint8_t no_length[PREFIX] = {0};
    fm_buffer_add(header, no_length, PREFIX);
    fm_buffer_text(header, "{");
    const char *comma = "";
    if (note_count > 0) {
        fm_buffer_text(header, "\"" METADATA "\":{");
        for (size_t i = 0; i < note_count; i++) {
            fm_buffer_text(header, i ? "," : "");
            fm_buffer_json(header, notes[i].key, strlen(notes[i].key));
            fm_buffer_text(header, ":");
            fm_buffer_json(header, notes[i].value, strlen(notes[i].value));
        }
        fm_buffer_text(header, "}");
        comma = ",";
    }
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++, comma = ",") {
        const fm_stored_tensor *tensor = &tensors[i];
        fm_buffer_text(header, comma);
        fm_buffer_json(header, tensor->name, strlen(tensor->name));
        fm_buffer_format(header, ":{\"dtype\":\"%s\",\"shape\":[", type_of(tensor->type)->name);
        for (uint32_t d = 0; d < tensor->rank; d++)
            fm_buffer_format(header, "%s%llu", d ? "," : "", (unsigned long long)tensor->shape[d]);
        fm_buffer_format(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                         (unsigned long long)(offset + tensor->size));
        offset += tensor->size;
    }
    fm_buffer_text(header, "}");
    while (!header->failed && header->size % DATA_ALIGNMENT != 0) fm_buffer_text(header, " ");
    if (header->failed) return;
    uint64_t length = header->size - PREFIX;
    for (size_t i = 0; i < PREFIX; i++) header->data[i] = (char)(length >> (8 * i) & 0xff);
}

/* Checks what is to be written and makes the header of it, which the caller frees. */
static fm_status prepare_header(fm_buffer *header, const char *name, const fm_stored_tensor *tensors, size_t count,
                                const fm_stored_note *notes, size_t note_count, fm_error *err)
{
    *header = (fm_buffer){0};
    fm_status status = check_tensors(name, tensors, count, err);
    if (status) return status;
    build_header(header, tensors, count, notes, note_count);
    if (header->failed) return fm_fail_memory(err, header->size, name);
    if (header->size - PREFIX > MOST_HEADER)
        return fm_fail(err, FM_E_LIMIT, "%s cannot be written: its header would have more than %u bytes.", name,
                       MOST_HEADER);
    return FM_OK;
}

fm_status fm_safetensors_write(const char *path, const fm_stored_tensor *tensors, size_t count,
                               const fm_stored_note *notes, size_t note_count, fm_error *err)
{
    fm_buffer header;
    fm_writer *writer = NULL;
    fm_status status = prepare_header(&header, path, tensors, count, notes, note_count, err);
    if (!status) status = fm_writer_open(&writer, path, err);
    if (!status) status = fm_writer_write(writer, header.data, header.size, err);
    for (size_t i = 0; i < count && !status; i++)
        status = fm_writer_write(writer, tensors[i].data, tensors[i].size, err);
    fm_buffer_free(&header);
    if (status) {
        fm_writer_abort(writer);
        return status;
    }
    return fm_writer_commit(writer, err);
}

fm_status fm_safetensors_build(uint8_t **data, size_t *size, const fm_stored_tensor *tensors, size_t count,
                               const fm_stored_note *notes, size_t note_count, fm_error *err)
{
    static const char name[] = "A safetensors file";
    *data = NULL;
    *size = 0;
    fm_buffer header;
    fm_status status = prepare_header(&header, name, tensors, count, notes, note_count, err);
    size_t total = header.size;
    for (size_t i = 0; i < count && !status; i++) {
        if (tensors[i].size > SIZE_MAX - total)
            status = fm_fail(err, FM_E_LIMIT, "%s would not fit this machine's address space.", name);
        else total += tensors[i].size;
    }
    if (!status && !(*data = fm_alloc(total, 1))) status = fm_fail_memory(err, total, name);
    if (!status) {
        uint8_t *to = *data;
        memcpy(to, header.data, header.size);
        to += header.size;
        for (size_t i = 0; i < count; i++) {
            if (tensors[i].size > 0) memcpy(to, tensors[i].data, tensors[i].size);
            to += tensors[i].size;
        }
        *size = total;
    }
    fm_buffer_free(&header);
    return status;
}
