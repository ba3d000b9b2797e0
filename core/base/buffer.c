/* buffer.c - a growing byte buffer for text output and JSON strings. It holds bytes and checks none of them, except
 * where it writes JSON. */
#include "base/base.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for `more` bytes and the terminator. */
static bool reserve(fm_buffer *buffer, size_t more)
{
    if (buffer->failed) return false;
    if (buffer->data && more < buffer->capacity - buffer->size) return true;
    if (more >= SIZE_MAX / 4 || buffer->size >= SIZE_MAX / 4) {
        buffer->failed = true;
        return false;
    }
    size_t needed = buffer->size + more + 1;
    size_t capacity = buffer->capacity * 2 > 256 ? buffer->capacity * 2 : 256;
    if (capacity < needed) capacity = needed;
    char *data = realloc(buffer->data, capacity);
    if (!data) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void fm_buffer_add(fm_buffer *buffer, const void *data, size_t size)
{
    if (!reserve(buffer, size)) return;
    if (size > 0) memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
}

void fm_buffer_text(fm_buffer *buffer, const char *text)
{
    fm_buffer_add(buffer, text, strlen(text));
}

void fm_buffer_format(fm_buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) buffer->failed = true;
    else if (reserve(buffer, (size_t)length)) {
        vsnprintf(buffer->data + buffer->size, (size_t)length + 1, format, again);
        buffer->size += (size_t)length;
    }
    va_end(again);
}

void fm_buffer_json(fm_buffer *buffer, const char *text, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)text;
    fm_buffer_add(buffer, "\"", 1);
    size_t plain = 0; /* start of the bytes that go out as they are */
    for (size_t at = 0; at < size;) {
        bool valid;
        size_t length = fm_utf8_step(bytes + at, size - at, &valid);
        uint8_t byte = bytes[at];
        if (valid && byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7f) {
            at += length;
            continue;
        }
        fm_buffer_add(buffer, text + plain, at - plain);
        if (!valid) fm_buffer_text(buffer, "\xef\xbf\xbd");
        else if (byte == '"' || byte == '\\') fm_buffer_format(buffer, "\\%c", byte);
        else if (byte == '\n') fm_buffer_text(buffer, "\\n");
        else if (byte == '\t') fm_buffer_text(buffer, "\\t");
        else if (byte == '\r') fm_buffer_text(buffer, "\\r");
        else fm_buffer_format(buffer, "\\u%04x", byte);
        at += length;
        plain = at;
    }
    if (size > plain) fm_buffer_add(buffer, text + plain, size - plain);
    fm_buffer_add(buffer, "\"", 1);
}

void fm_buffer_free(fm_buffer *buffer)
{
    free(buffer->data);
    *buffer = (fm_buffer){0};
}
