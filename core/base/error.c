/* error.c - turns a failure into a status and one sentence. It prints nothing and ends nothing; whoever called the
 * library decides what becomes of the sentence. */
#include "base/base.h"

#include <stdio.h>

fm_status fm_fail(fm_error *err, fm_status status, const char *format, ...)
{
    if (!err) return status;
    err->status = status;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(err->text, sizeof err->text, format, arguments);
    va_end(arguments);
    if (length < 0) err->text[0] = '\0';
    /* Names of files and fields come from outside; the sentence stays one line whatever they hold. */
    for (char *at = err->text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f) *at = ' ';
    return status;
}

fm_status fm_fail_memory(fm_error *err, size_t bytes, const char *what)
{
    return fm_fail(err, FM_E_MEMORY, "Not enough memory: %zu bytes for %s could not be had.", bytes, what);
}
