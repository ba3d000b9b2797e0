/* device.c - what computes: the options that choose it, and models and trainings on a GPU. How a GPU is opened is the
 * host's business (host.c; wasm/cli.c). */
#include <string.h>

#include "cli/cli.h"
#include "tasks/tasks.h"

#define APART 1e-3 /* of a GPU's logits from the processor's, relative to 1 + the largest of these */

const char *const cli_devices[] = {"auto", "native", "wasm", "webgpu", NULL};
const char *const cli_powers[] = {"high-performance", "low-power", NULL};

static bool is_gpu(const cli_device *device)
{
    return strcmp(cli_devices[device->choice], "webgpu") == 0;
}

fm_status cli_gpu(const cli_device *device, fm_backend **gpu, fm_error *err)
{
    const char *choice = cli_devices[device->choice];
    *gpu = NULL;
    if (is_gpu(device))
        return cli_host_gpu(device->adapter ? device->adapter : "", cli_powers[device->power], gpu, err);
    if (device->adapter || device->power > 0)
        return fm_fail(err, FM_E_ARGUMENT, "%s is of graphics cards; give --device webgpu too.",
                       device->adapter ? "--adapter" : "--power-preference");
    if (device->choice == 0 || strcmp(choice, cli_host_device) == 0) return FM_OK;
    return fm_fail(err, FM_E_UNSUPPORTED,
                   "This program is device %s and has no other one; npx fillmask, of the npm package, chooses.",
                   cli_host_device);
}

fm_status cli_check_gpu(const fm_config *config, const fm_parameters *parameters, const float *const *values,
                        fm_backend *cpu, fm_backend *gpu, fm_error *err)
{
    double apart;
    fm_status status = fm_check_device(config, parameters, values, cpu, gpu, &apart, err);
    if (status || apart <= APART) return status;
    return fm_fail(err, FM_E_DEVICE,
                   "The GPU's logits are %g away from the processor's, where %g would be normal, so that it cannot be "
                   "trained on; update its driver, or take another --adapter or --device.",
                   apart, APART);
}

fm_status cli_model_open(fm_model **model, const char *folder, const fm_model_options *options,
                         const cli_device *device, fm_error *err)
{
    fm_backend *gpu;
    double apart;
    *model = NULL;
    fm_status status = cli_gpu(device, &gpu, err);
    if (!status) status = fm_model_open(model, folder, options, err);
    char doubt[200];
    if (!status && fm_model_doubt(*model, doubt)) fprintf(stderr, "fillmask: %s: %s\n", folder, doubt);
    if (!gpu) return status;
    if (status) {
        gpu->ops->destroy(gpu);
        return status;
    }
    fm_model_use(*model, gpu);
    status = fm_model_check(*model, &apart, err);
    if (status || apart <= APART) return status;
    fm_model_use(*model, NULL);
    fprintf(
        stderr,
        "fillmask: The processor computes, as the GPU's logits are %g away from its own, where %g would be normal.\n",
        apart, APART);
    return FM_OK;
}
