/* clock.c - a monotonic clock for measuring. It is not the time of day. */
#include "base/base.h"

#ifdef __EMSCRIPTEN__

/* performance.now() of the host: milliseconds. */
__attribute__((import_module("env"), import_name("now"))) double fm_host_now(void);

double fm_seconds(void)
{
    return fm_host_now() * 1e-3;
}

#else

#include <time.h>

double fm_seconds(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return 0.0;
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

#endif
