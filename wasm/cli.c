/* cli.c - what the command line for Node.js lacks of its system: Emscripten knows no locks and no other processes, and
 * its poll fails on standard input. */
#include <poll.h>

#include "base/base.h"

/* All is ready: a read may wait. */
int poll(struct pollfd *files, nfds_t count, int milliseconds)
{
    (void)milliseconds;
    for (nfds_t i = 0; i < count; i++) files[i].revents = files[i].events;
    return (int)count;
}

/* ---- two trainings in one folder are not kept apart ---- */

fm_status fm_lock_file(fm_file_lock *lock, const char *path, bool *held, fm_error *err)
{
    (void)path;
    (void)err;
    *lock = (fm_file_lock){0};
    *held = true;
    return FM_OK;
}

void fm_unlock_file(fm_file_lock *lock)
{
    (void)lock;
}

void fm_remove_leftovers(const char *folder)
{
    (void)folder;
}
