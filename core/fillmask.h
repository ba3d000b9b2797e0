/* fillmask.h - the public C interface of Fillmask: errors and progress; what works with them joins here.
 *
 * This is the one header that is installed. Everything is reached through opaque types; strings are UTF-8; every
 * function that can fail returns an fm_status and, if `err` is not NULL, one sentence that says what was wrong.
 * Two models never share state; one model is used by one thread at a time.
 */
#ifndef FILLMASK_H
#define FILLMASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FM_VERSION_MAJOR 0
#define FM_VERSION_MINOR 1
#define FM_VERSION_PATCH 0
#define FM_VERSION "0.1.0"

typedef enum fm_status {
    FM_OK = 0,
    FM_E_ARGUMENT,    /* an argument or option out of its range */
    FM_E_IO,          /* a file could not be opened, read or written */
    FM_E_FORMAT,      /* a file or text is not what it should be */
    FM_E_LIMIT,       /* the input is longer or larger than the model or format allows */
    FM_E_MEMORY,      /* not enough memory */
    FM_E_UNSUPPORTED, /* well-formed, but not something this build can do */
    FM_E_ABORTED      /* the caller asked to stop */
} fm_status;

typedef struct fm_error {
    fm_status status;
    char text[1000]; /* one sentence, NUL-terminated, no newline */
} fm_error;

/* Called now and then by long work; done and total count the same unit. A false result stops the work, which then
 * returns FM_E_ABORTED. */
typedef bool (*fm_progress)(void *context, uint64_t done, uint64_t total);

#ifdef __cplusplus
}
#endif

#endif
