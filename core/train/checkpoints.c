/* checkpoints.c - the checkpoints of a training in its folder: named by their steps, the newest that is whole found
 * again, the oldest removed. What one holds is checkpoint.c's business. */
#include "train/train.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "checkpoint-"
#define SUFFIX ".safetensors"

typedef struct step_list {
    uint64_t *steps;
    size_t count, capacity;
} step_list;

/* The step of a file's name; false if it is no checkpoint's. */
static bool step_of(const char *name, uint64_t *step)
{
    if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0) return false;
    const char *digits = name + sizeof PREFIX - 1;
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 18 || strcmp(digits + count, SUFFIX) != 0) return false;
    *step = strtoull(digits, NULL, 10);
    return true;
}

static int newest_first(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? 1 : left > right ? -1 : 0;
}

/* The steps, newest first. A folder that is not there has none. */
static fm_status list_steps(step_list *list, const char *folder, fm_error *err)
{
    *list = (step_list){0};
    DIR *open_folder = opendir(folder);
    if (!open_folder && (errno == ENOENT || errno == ENOTDIR)) return FM_OK;
    if (!open_folder) return fm_fail(err, FM_E_IO, "%s could not be read: %s.", folder, strerror(errno));
    fm_status status = FM_OK;
    while (!status) {
        uint64_t step;
        errno = 0;
        const struct dirent *entry = readdir(open_folder);
        if (!entry && errno) status = fm_fail(err, FM_E_IO, "%s could not be read: %s.", folder, strerror(errno));
        if (!entry) break;
        if (!step_of(entry->d_name, &step)) continue;
        if (list->count == list->capacity) {
            size_t capacity = list->capacity * 2 + 16;
            uint64_t *larger = realloc(list->steps, capacity * sizeof *larger);
            if (!larger) {
                status = fm_fail_memory(err, capacity * sizeof *larger, "the list of checkpoints");
                break;
            }
            list->steps = larger;
            list->capacity = capacity;
        }
        list->steps[list->count++] = step;
    }
    closedir(open_folder);
    if (list->count > 1) qsort(list->steps, list->count, sizeof *list->steps, newest_first);
    return status;
}

static fm_status path_of(char **path, const char *folder, uint64_t step, fm_error *err)
{
    char name[64];
    snprintf(name, sizeof name, PREFIX "%llu" SUFFIX, (unsigned long long)step);
    *path = fm_path_join(folder, name);
    return *path ? FM_OK : fm_fail_memory(err, strlen(folder), "the name of a checkpoint");
}

fm_status fm_checkpoints_find(const char *folder, bool *found, fm_error *err)
{
    step_list list;
    fm_status status = list_steps(&list, folder, err);
    *found = list.count > 0;
    free(list.steps);
    return status;
}

/* Those of later steps are of a future that was given up, as they were damaged. */
static fm_status remove_others(const char *folder, uint64_t step, uint32_t keep, fm_error *err)
{
    step_list list;
    size_t kept = 0;
    fm_status status = list_steps(&list, folder, err);
    for (size_t i = 0; i < list.count && !status; i++) {
        if (list.steps[i] <= step && (keep == 0 || kept++ < keep)) continue;
        char *path;
        status = path_of(&path, folder, list.steps[i], err);
        if (!status && unlink(path) != 0 && errno != ENOENT)
            status = fm_fail(err, FM_E_IO, "%s could not be removed: %s.", path, strerror(errno));
        free(path);
    }
    free(list.steps);
    return status;
}

fm_status fm_checkpoints_save(fm_trainer *trainer, const char *folder, uint32_t keep, fm_error *err)
{
    char *path;
    uint64_t step = fm_trainer_report(trainer)->step;
    fm_status status = path_of(&path, folder, step, err);
    if (!status) status = fm_checkpoint_save(trainer, path, err);
    free(path);
    return status ? status : remove_others(folder, step, keep, err);
}

fm_status fm_checkpoints_load(fm_trainer *trainer, const char *folder, fm_error *skipped, fm_error *err)
{
    step_list list;
    fm_error damage = {.text = ""};
    *skipped = (fm_error){.text = ""};
    fm_status status = list_steps(&list, folder, err);
    bool loaded = false;
    for (size_t i = 0; i < list.count && !status && !loaded; i++) {
        char *path;
        status = path_of(&path, folder, list.steps[i], err);
        if (status) break;
        fm_status found = fm_checkpoint_load(trainer, path, &damage);
        free(path);
        loaded = found == FM_OK;
        if (found == FM_E_FORMAT || found == FM_E_IO) *skipped = damage;
        else if (found) {
            status = found;
            if (err) *err = damage;
        }
    }
    free(list.steps);
    if (status || loaded) return status;
    return fm_fail(err, FM_E_FORMAT, "%s has no checkpoint that is whole, so there is nothing to go on from. %s",
                   folder, skipped->text);
}
