/* file.c - whole files in memory, files replaced as a whole, folders. There is no reading in pieces and no knowledge
 * of any format here. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* realpath */
#endif
#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef __EMSCRIPTEN__
#include <sys/mman.h>
#define CAN_MAP 1
#else
#define CAN_MAP 0
#endif

#define MARK ".partial-" /* of a temporary; then the process and a number */
#define WRITER_BUFFER ((size_t)65536)
#define MOST_AT_ONCE ((size_t)1 << 30) /* Linux moves no more than 2 GiB in one call */

static fm_status fail_system(fm_error *err, const char *what, const char *path, int problem)
{
    char reason[128];
    if (strerror_r(problem, reason, sizeof reason) != 0) snprintf(reason, sizeof reason, "error %d", problem);
    return fm_fail(err, problem == ENOMEM ? FM_E_MEMORY : FM_E_IO, "%s could not be %s: %s.", path, what, reason);
}

/* ---- reading ---- */

/* For what has no known size (a pipe) or cannot be mapped. */
static fm_status read_all(fm_blob *blob, int file, size_t expected, const char *path, fm_error *err)
{
    size_t capacity = expected + 1, size = 0; /* one more byte shows the end without growing */
    uint8_t *data = malloc(capacity);
    if (!data) return fm_fail_memory(err, capacity, path);
    for (;;) {
        if (size == capacity) {
            uint8_t *larger = capacity > SIZE_MAX / 2 ? NULL : realloc(data, capacity * 2);
            if (!larger) {
                free(data);
                return fm_fail_memory(err, capacity, path);
            }
            data = larger;
            capacity *= 2;
        }
        size_t room = capacity - size < MOST_AT_ONCE ? capacity - size : MOST_AT_ONCE;
        ssize_t got = read(file, data + size, room);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            int problem = errno;
            free(data);
            return fail_system(err, "read", path, problem);
        }
        if (got == 0) break;
        size += (size_t)got;
    }
    blob->data = data;
    blob->size = size;
    return FM_OK;
}

fm_status fm_blob_open(fm_blob *blob, const char *path, fm_error *err)
{
    *blob = (fm_blob){0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return fail_system(err, "opened", path, errno);
    fm_status status = FM_OK;
    struct stat info;
    if (fstat(file, &info) != 0) status = fail_system(err, "opened", path, errno);
    else if (S_ISDIR(info.st_mode))
        status = fm_fail(err, FM_E_IO, "%s could not be opened: it is a folder, not a file.", path);
    else if (S_ISREG(info.st_mode) && (uint64_t)info.st_size >= SIZE_MAX)
        status = fm_fail(err, FM_E_LIMIT, "%s is too large for this machine's address space.", path);
    else {
#if CAN_MAP
        if (S_ISREG(info.st_mode) && info.st_size > 0) {
            void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
            if (data != MAP_FAILED) *blob = (fm_blob){data, (size_t)info.st_size, true};
        }
#endif
        if (!blob->mapped)
            status = read_all(blob, file, S_ISREG(info.st_mode) ? (size_t)info.st_size : WRITER_BUFFER, path, err);
    }
    close(file);
    return status;
}

void fm_blob_close(fm_blob *blob)
{
#if CAN_MAP
    if (blob->mapped) munmap((void *)(uintptr_t)blob->data, blob->size);
#endif
    if (!blob->mapped) free((void *)(uintptr_t)blob->data);
    *blob = (fm_blob){0};
}

/* ---- writing ---- */

struct fm_writer {
    char *path;      /* where the file will be */
    char *temporary; /* NULL for a device or pipe, which is written in place: there is nothing to replace */
    int file;
    size_t filled;
    uint8_t buffer[WRITER_BUFFER];
};

static void writer_free(fm_writer *writer)
{
    if (writer->file >= 0) close(writer->file);
    free(writer->temporary);
    free(writer->path);
    free(writer);
}

void fm_writer_abort(fm_writer *writer)
{
    if (!writer) return;
    if (writer->temporary) unlink(writer->temporary);
    writer_free(writer);
}

/* Opens a temporary that nobody else has, beside the target so that the rename stays within one file system. */
static bool open_temporary(fm_writer *writer)
{
    static atomic_uint counter;
    size_t size = strlen(writer->path) + 48;
    writer->temporary = malloc(size);
    if (!writer->temporary) {
        errno = ENOMEM;
        return false;
    }
    for (int attempt = 0; attempt < 100; attempt++) {
        snprintf(writer->temporary, size, "%s" MARK "%ld-%u", writer->path, (long)getpid(),
                 atomic_fetch_add(&counter, 1));
        writer->file = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->file >= 0) return true;
        if (errno != EEXIST) break;
    }
    int problem = errno;
    free(writer->temporary); /* not ours, so never removed */
    writer->temporary = NULL;
    errno = problem;
    return false;
}

fm_status fm_writer_open(fm_writer **out, const char *path, fm_error *err)
{
    *out = NULL;
    fm_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return fm_fail_memory(err, sizeof *writer, "a file writer");
    writer->file = -1;
    struct stat info;
    bool exists = stat(path, &info) == 0;
    /* The file behind a link is replaced, not the link. */
    writer->path = exists ? realpath(path, NULL) : strdup(path);
    bool opened = false;
    if (!writer->path)
        ;
    else if (exists && S_ISDIR(info.st_mode)) errno = EISDIR;
    else if (exists && !S_ISREG(info.st_mode)) {
        writer->file = open(writer->path, O_WRONLY | O_CLOEXEC);
        opened = writer->file >= 0;
    } else {
        opened = open_temporary(writer);
        if (opened && exists) /* best effort: the new file is complete either way */
            (void)!fchmod(writer->file, info.st_mode & 0777);
    }
    if (!opened) {
        fm_status status = fail_system(err, "opened for writing", path, errno);
        fm_writer_abort(writer);
        return status;
    }
    *out = writer;
    return FM_OK;
}

static fm_status write_all(fm_writer *writer, const uint8_t *data, size_t size, fm_error *err)
{
    while (size > 0) {
        ssize_t written = write(writer->file, data, size < MOST_AT_ONCE ? size : MOST_AT_ONCE);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return fail_system(err, "written", writer->path, errno);
        data += written;
        size -= (size_t)written;
    }
    return FM_OK;
}

static fm_status flush(fm_writer *writer, fm_error *err)
{
    size_t filled = writer->filled;
    writer->filled = 0;
    return write_all(writer, writer->buffer, filled, err);
}

fm_status fm_writer_write(fm_writer *writer, const void *data, size_t size, fm_error *err)
{
    if (size == 0) return FM_OK;
    if (size > WRITER_BUFFER - writer->filled) {
        fm_status status = flush(writer, err);
        if (status) return status;
        if (size >= WRITER_BUFFER) return write_all(writer, data, size, err);
    }
    memcpy(writer->buffer + writer->filled, data, size);
    writer->filled += size;
    return FM_OK;
}

/* Makes the rename itself last. Some file systems cannot do this for a folder, and the data is safe by then. */
static void sync_folder_of(char *path)
{
    char *slash = strrchr(path, '/');
    const char *folder = slash == path ? "/" : slash ? path : ".";
    if (slash) *slash = '\0';
    int file = open(*folder ? folder : "/", O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    fsync(file);
    close(file);
}

fm_status fm_writer_commit(fm_writer *writer, fm_error *err)
{
    fm_status status = flush(writer, err);
    if (!status && writer->temporary && fsync(writer->file) != 0)
        status = fail_system(err, "written", writer->path, errno);
    int file = writer->file;
    writer->file = -1;
    if (close(file) != 0 && !status) status = fail_system(err, "written", writer->path, errno);
    if (!status && writer->temporary && rename(writer->temporary, writer->path) != 0)
        status = fail_system(err, "replaced", writer->path, errno);
    if (status) {
        fm_writer_abort(writer);
        return status;
    }
    if (writer->temporary) sync_folder_of(writer->path);
    writer_free(writer);
    return FM_OK;
}

fm_status fm_file_replace(const char *path, const void *data, size_t size, fm_error *err)
{
    fm_writer *writer;
    fm_status status = fm_writer_open(&writer, path, err);
    if (status) return status;
    status = fm_writer_write(writer, data, size, err);
    if (status) {
        fm_writer_abort(writer);
        return status;
    }
    return fm_writer_commit(writer, err);
}

/* ---- names and folders ---- */

#ifndef __EMSCRIPTEN__ /* where there is one process, and no signals */

/* Whether a file is still the one of its name: a holder that ends removes it. */
static bool is_named(int file, const char *path)
{
    struct stat own, named;
    return fstat(file, &own) == 0 && stat(path, &named) == 0 && own.st_ino == named.st_ino &&
           own.st_dev == named.st_dev;
}

fm_status fm_lock_file(fm_file_lock *lock, const char *path, bool *held, fm_error *err)
{
    *lock = (fm_file_lock){0};
    *held = false;
    int file;
    for (int attempt = 1;; attempt++) {
        file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (file < 0) return fail_system(err, "opened for writing", path, errno);
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        *held = fcntl(file, F_SETLK, &whole) == 0;
        if (!*held && errno != EACCES && errno != EAGAIN) *held = true; /* a file system without locks */
        if (!*held || is_named(file, path) || attempt == 100) break;
        close(file);
    }
    lock->path = *held ? strdup(path) : NULL;
    if (!lock->path) {
        close(file);
        return *held ? fm_fail_memory(err, strlen(path), "the name of a file") : FM_OK;
    }
    lock->file = file;
    return FM_OK;
}

void fm_unlock_file(fm_file_lock *lock)
{
    if (!lock->path) return;
    unlink(lock->path);
    close(lock->file);
    free(lock->path);
    *lock = (fm_file_lock){0};
}

uint32_t fm_file_nanoseconds(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (uint32_t)info.st_mtim.tv_nsec : 0;
}

/* The process that a temporary's name tells; 0 if it is none. */
static long writer_of(const char *name)
{
    const char *mark = strstr(name, MARK);
    char *end;
    if (!mark) return 0;
    long process = strtol(mark + sizeof MARK - 1, &end, 10);
    return *end == '-' && end[1] && end[1 + strspn(end + 1, "0123456789")] == '\0' && process > 0 ? process : 0;
}

void fm_remove_leftovers(const char *folder)
{
    DIR *open_folder = opendir(folder);
    for (struct dirent *entry; open_folder && (entry = readdir(open_folder)) != NULL;) {
        long process = writer_of(entry->d_name);
        if (process == 0 || process == (long)getpid() || kill((pid_t)process, 0) == 0 || errno != ESRCH) continue;
        char *path = fm_path_join(folder, entry->d_name);
        if (path) unlink(path);
        free(path);
    }
    if (open_folder) closedir(open_folder);
}

#endif

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

fm_status fm_make_folder(const char *path, fm_error *err)
{
    char *part = strdup(path);
    if (!part) return fm_fail_memory(err, strlen(path) + 1, "the name of a folder");
    fm_status status = FM_OK;
    for (char *at = part; !status && *at;) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        char kept = *at;
        *at = '\0';
        if (mkdir(part, 0777) != 0) {
            int problem = errno;
            if (!is_folder(part)) /* somebody may have made it meanwhile, or it is a read-only parent */
                status = fail_system(err, "made", part, problem);
        }
        *at = kept;
    }
    free(part);
    return status;
}

bool fm_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

bool fm_ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);
    return size >= end_size && strcasecmp(name + size - end_size, end) == 0;
}

char *fm_path_join(const char *folder, const char *name)
{
    size_t length = strlen(folder);
    const char *slash = length == 0 || folder[length - 1] == '/' ? "" : "/";
    size_t size = length + strlen(name) + 2;
    char *path = malloc(size);
    if (path) snprintf(path, size, "%s%s%s", folder, slash, name);
    return path;
}
