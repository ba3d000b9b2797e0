/* serve_lines.h - requests as lines of standard input: read by a thread of their own, so that an abort is seen while
 * something is computed. For serve.c alone. */
#ifndef FM_CLI_SERVE_LINES_H
#define FM_CLI_SERVE_LINES_H

#include <stdatomic.h>

#include "base/base.h"

/* A line that is a request, or one that is wrong, and why. */
typedef struct serve_line {
    struct serve_line *next;
    char *text; /* one JSON object; NULL if it is wrong */
    size_t size;
    uint64_t id; /* SERVE_NO_ID if it has none */
    char op[32]; /* cut off if it is longer than all that there are */
    atomic_bool aborted;
    fm_error wrong;
} serve_line;

#define SERVE_NO_ID UINT64_MAX

typedef struct serve_lines serve_lines;

/* Where no thread can be had, lines are read when they are asked for, and an abort is seen only between requests. */
fm_status serve_lines_open(serve_lines **lines, int file, fm_error *err);
/* The next line, which stays in `lines` until the next call; NULL when the input has ended. */
serve_line *serve_lines_next(serve_lines *lines);
/* After that: whether it ended because it could not be read. */
fm_status serve_lines_end(const serve_lines *lines, fm_error *err);
/* Nothing may be asked of `lines` afterwards. If the input has not ended, its thread ends with the process. */
void serve_lines_leave(serve_lines *lines);

#endif
