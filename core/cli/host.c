/* host.c - what the command line wants of its host and has otherwise where it is WebAssembly (wasm/cli.c): signals, and
 * a GPU, which the native program has not. */
#include <signal.h>

#include "cli/cli.h"

static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
    (void)number;
    interrupted = 1;
}

bool cli_interrupted(void)
{
    return interrupted;
}

void cli_catch_signals(void)
{
    /* One shot: whoever asks twice wants out. */
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    static const int numbers[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < 2; i++) {
        struct sigaction old;
        /* A process started in the background ignores Ctrl-C, and goes on doing so. */
        if (!interrupted && sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

const char cli_host_device[] = "native";

fm_status cli_host_gpu(const char *adapter, const char *power, fm_backend **gpu, fm_error *err)
{
    (void)adapter;
    (void)power;
    *gpu = NULL;
    return fm_fail(err, FM_E_UNSUPPORTED,
                   "This is the native program, which computes on the processor; npx fillmask, of the npm package, has "
                   "--device webgpu.");
}

const char *cli_host_gpu_name(void)
{
    return "";
}
