/* clock.c - a monotonic clock for measuring. It is not the time of day. */
#include "base/base.h"

#include <time.h>

double fm_seconds(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return 0.0;
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
