/* cli.c - what the command line for Node.js has from JavaScript, or lacks of its system: signals, a GPU, locks and the
 * times of files come from web/worker-cli.js through wasm/cli.js; Emscripten knows no other processes, and its poll
 * fails on standard input. */
#include <poll.h>

#include "cli/cli.h"

/* ---- signals, and a GPU, which is another thread's ---- */

extern void catch_signals(void);
extern bool is_interrupted(void);
/* The bytes that a binding may have; 0 if it failed. `text` becomes what the GPU calls itself, or what is wrong;
 * `kernels` are for web/gpu.js. */
extern uint32_t gpu_open(const char *adapter, const char *power, const char *kernels, char *text, size_t room);

const char cli_host_device[] = "wasm";
static char gpu_name[512];

void cli_catch_signals(void)
{
    catch_signals();
}

bool cli_interrupted(void)
{
    return is_interrupted();
}

fm_status cli_host_gpu(const char *adapter, const char *power, fm_backend **gpu, fm_error *err)
{
    static const char kernels[] =
#include "kernels.inc"
        ;
    *gpu = NULL;
    uint32_t limit = gpu_open(adapter, power, kernels, gpu_name, sizeof gpu_name);
    if (limit == 0) return fm_fail(err, FM_E_UNSUPPORTED, "%.500s", gpu_name);
    return fm_webgpu_create(gpu, limit, true, err);
}

const char *cli_host_gpu_name(void)
{
    return gpu_name;
}

/* All is ready: a read may wait. */
int poll(struct pollfd *files, nfds_t count, int milliseconds)
{
    (void)milliseconds;
    for (nfds_t i = 0; i < count; i++) files[i].revents = files[i].events;
    return (int)count;
}

/* ---- files ---- */

extern uint32_t nanoseconds(const char *path);

/* Emscripten's stat() knows seconds alone. */
uint32_t fm_file_nanoseconds(const char *path)
{
    return nanoseconds(path);
}

/* Held until the program ends, and against its like alone: the native one's lock is out of reach. */
extern bool hold_file(const char *path);

fm_status fm_lock_file(fm_file_lock *lock, const char *path, bool *held, fm_error *err)
{
    (void)err;
    *lock = (fm_file_lock){0};
    *held = hold_file(path);
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
