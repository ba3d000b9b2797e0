/* text.c - numbers to text and back, in place of the C library's: snprintf, vsnprintf, sprintf, strtod, strtof. The library's
 * carry 128-bit arithmetic along, a tenth of the module; here the host, whose language has exact conversions of its own,
 * does what is hard (web/engine.js). No more of their formats than core and cJSON use: %d %i %u %x %c %s %f %g %%, with
 * 0, a width, a precision and the lengths l, ll and z.
 *
 * Where a number lies exactly between two texts, these take the greater; glibc takes the even one. */
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The host's. Writes value as %.*f, or as %.*g, to `to`, which has room; returns the length. */
extern int print_number(double value, int precision, bool general, char *to);
/* The host's: the number that all of the text means, NaN if it means none. */
extern double read_number(const char *text, size_t size);

#define LONGEST 400 /* of a number: 309 digits, a point and what follows, within reason */

typedef struct sink {
    char *to;
    size_t size, length; /* length goes on where size ends */
} sink;

static void put(sink *s, const char *text, size_t length)
{
    size_t room = s->length < s->size ? s->size - s->length : 0;
    if (room > 0) memcpy(s->to + s->length, text, length < room ? length : room);
    s->length += length;
}

static void pad(sink *s, char with, size_t length, size_t width)
{
    for (; length < width; length++) put(s, &with, 1);
}

/* The digits before `end`; returns where they start. */
static char *digits(char *end, unsigned long long value, unsigned base)
{
    do *--end = "0123456789abcdef"[value % base];
    while (value /= base);
    return end;
}

/* A count in a format: its digits, or the next argument for '*'. */
static int count_of(const char **format, va_list *arguments)
{
    int count = 0;
    if (**format == '*') {
        (*format)++;
        return va_arg(*arguments, int);
    }
    while (**format >= '0' && **format <= '9') count = count * 10 + (*(*format)++ - '0');
    return count;
}

/* One conversion; `format` is behind its '%'. Returns what follows it. */
static const char *convert(sink *s, const char *format, va_list *arguments)
{
    char number[LONGEST], *text = number + sizeof number;
    const char zero = *format == '0' ? '0' : ' ';
    size_t width = (size_t)count_of(&format, arguments), length = 0;
    int precision = -1, longs = 0;
    if (*format == '.') {
        format++;
        precision = count_of(&format, arguments);
    }
    for (; *format == 'l'; format++) longs++;
    if (*format == 'z') {
        format++;
        longs = sizeof(size_t) > sizeof(int);
    }
    switch (*format) {
    case 'd':
    case 'i': {
        long long value = longs > 1 ? va_arg(*arguments, long long) : va_arg(*arguments, int);
        text = digits(text, value < 0 ? 0 - (unsigned long long)value : (unsigned long long)value, 10);
        if (value < 0) *--text = '-';
        break;
    }
    case 'u':
    case 'x':
        text = digits(text, longs > 1 ? va_arg(*arguments, unsigned long long) : va_arg(*arguments, unsigned),
                      *format == 'x' ? 16 : 10);
        break;
    case 'f':
    case 'g':
        text = number;
        length = (size_t)print_number(va_arg(*arguments, double), precision < 0 ? 6 : precision, *format == 'g', number);
        break;
    case 'c':
        *--text = (char)va_arg(*arguments, int);
        break;
    case 's':
        text = va_arg(*arguments, char *);
        length = strnlen(text, precision < 0 ? INT_MAX : (size_t)precision);
        pad(s, ' ', length, width);
        put(s, text, length);
        return format + 1;
    default: /* a percent sign */
        put(s, format, 1);
        return format + 1;
    }
    if (!length) length = (size_t)(number + sizeof number - text);
    pad(s, zero, length, width);
    put(s, text, length);
    return format + 1;
}

int vsnprintf(char *restrict to, size_t size, const char *restrict format, va_list arguments)
{
    sink s = {to, size > 0 ? size - 1 : 0, 0};
    va_list rest;
    va_copy(rest, arguments);
    while (*format) {
        size_t plain = strcspn(format, "%");
        put(&s, format, plain);
        format += plain;
        if (*format) format = convert(&s, format + 1, &rest);
    }
    va_end(rest);
    if (size > 0) to[s.length < s.size ? s.length : s.size] = '\0';
    return (int)s.length;
}

int snprintf(char *restrict to, size_t size, const char *restrict format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(to, size, format, arguments);
    va_end(arguments);
    return length;
}

int sprintf(char *restrict to, const char *restrict format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(to, INT_MAX, format, arguments);
    va_end(arguments);
    return length;
}

/* Decimal numbers, as JSON has them: the longest text that means one. Counts and token ids need no host. */
double strtod(const char *restrict text, char **restrict end)
{
    size_t size = strspn(text, "+-.0123456789eE"), counted = strspn(text, "0123456789");
    double value = 0.0;
    if (counted == size && size < 16)
        for (size_t i = 0; i < size; i++) value = value * 10.0 + (text[i] - '0');
    else
        while (size > 0 && (value = read_number(text, size), value != value)) size--;
    if (end) *end = (char *)(uintptr_t)(text + size);
    return size > 0 ? value : 0.0;
}

float strtof(const char *restrict text, char **restrict end)
{
    return (float)strtod(text, end);
}
