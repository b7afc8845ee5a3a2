/*
 * The table of functions on a real directory.
 *
 * Every call is relative to the directory's descriptor, so a later rename or chdir changes nothing.
 * Transfers are looped over EINTR and short counts. errno becomes a status here and goes no
 * further. Nothing is retried after a failed sync: the kernel may have dropped the dirty pages and
 * a second sync would then say OK without having written them.
 */
#include "storage/files.h"

#include "core/invariant.h"
#include "core/planted_fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ZERO_CHUNK_SIZE (64u * 1024)

struct file {
    int descriptor;
};

struct directory {
    int descriptor;
};

static enum status status_from_errno(int error)
{
    switch (error) {
    case 0:
        return STATUS_OK;
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EEXIST:
        return STATUS_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return STATUS_DISK_FULL;
    case EACCES:
    case EPERM:
    case EROFS:
        return STATUS_PERMISSION;
    case EWOULDBLOCK:
        return STATUS_LOCKED;
    case ENOMEM:
        return STATUS_NO_MEMORY;
    default:
        return STATUS_IO;
    }
}

static enum status open_descriptor(const struct directory *directory, const char *name, int flags,
                                   struct file **out)
{
    struct file *file = malloc(sizeof *file);
    if (file == NULL)
        return STATUS_NO_MEMORY;
    do {
        file->descriptor = openat(directory->descriptor, name, flags | O_CLOEXEC, 0600);
    } while (file->descriptor < 0 && errno == EINTR);
    if (file->descriptor < 0) {
        const enum status status = status_from_errno(errno);
        free(file);
        return status;
    }
    *out = file;
    return STATUS_OK;
}

static enum status posix_open(void *context, const char *name, enum file_mode mode,
                              struct file **out)
{
    int flags = O_RDONLY;
    if (mode == FILE_WRITE)
        flags = O_RDWR;
    if (mode == FILE_CREATE)
        flags = O_RDWR | O_CREAT | O_EXCL;
    return open_descriptor(context, name, flags, out);
}

static void posix_close(void *context, struct file *file)
{
    (void)context;
    /* Data that matters was synced before; Linux releases the descriptor whatever close says. */
    (void)close(file->descriptor);
    free(file);
}

static enum status posix_size(void *context, struct file *file, uint64_t *out_size)
{
    (void)context;
    struct stat stat;
    if (fstat(file->descriptor, &stat) != 0)
        return status_from_errno(errno);
    *out_size = (uint64_t)stat.st_size;
    return STATUS_OK;
}

static enum status posix_read(void *context, struct file *file, void *buffer, size_t size,
                              uint64_t offset)
{
    (void)context;
    uint8_t *at = buffer;
    while (size > 0) {
        const ssize_t count = pread(file->descriptor, at, size, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return status_from_errno(errno);
        if (count == 0)
            return STATUS_CORRUPT; /* shorter than the caller knows it must be */
        at += count;
        size -= (size_t)count;
        offset += (uint64_t)count;
    }
    return STATUS_OK;
}

static enum status posix_write(void *context, struct file *file, const void *buffer, size_t size,
                               uint64_t offset)
{
    (void)context;
    const uint8_t *at = buffer;
    while (size > 0) {
        const ssize_t count = pwrite(file->descriptor, at, size, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return status_from_errno(errno);
        if (count == 0)
            return STATUS_IO; /* no progress and no reason: do not spin */
        at += count;
        size -= (size_t)count;
        offset += (uint64_t)count;
    }
    return STATUS_OK;
}

/* fdatasync also writes the size, since the data could not be read back without it. */
static enum status posix_sync(void *context, struct file *file)
{
    (void)context;
    if (planted(PLANTED_SYNC_OFF))
        return STATUS_OK;
    return fdatasync(file->descriptor) == 0 ? STATUS_OK : status_from_errno(errno);
}

static enum status posix_truncate(void *context, struct file *file, uint64_t size)
{
    (void)context;
    int result;
    do {
        result = ftruncate(file->descriptor, (off_t)size);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? STATUS_OK : status_from_errno(errno);
}

/* For file systems without fallocate: zeros take the blocks just as well. */
static enum status write_zeros(struct file *file, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[ZERO_CHUNK_SIZE];
    while (from < to) {
        const uint64_t left = to - from;
        const size_t size = left < sizeof zeros ? (size_t)left : sizeof zeros;
        const enum status status = posix_write(NULL, file, zeros, size, from);
        if (status != STATUS_OK)
            return status;
        from += size;
    }
    return STATUS_OK;
}

static enum status posix_allocate(void *context, struct file *file, uint64_t size)
{
    uint64_t before;
    enum status status = posix_size(context, file, &before);
    if (status != STATUS_OK || size <= before)
        return status;
    int result;
    do {
        result = fallocate(file->descriptor, 0, (off_t)before, (off_t)(size - before));
    } while (result != 0 && errno == EINTR);
    if (result == 0)
        return STATUS_OK;
    status = status_from_errno(errno);
    if (errno == EOPNOTSUPP || errno == ENOSYS)
        status = write_zeros(file, before, size);
    if (status != STATUS_OK)
        (void)posix_truncate(context, file,
                             before); /* gives back what it took; first error counts */
    return status;
}

static enum status posix_rename(void *context, const char *from, const char *to)
{
    const struct directory *directory = context;
    return renameat(directory->descriptor, from, directory->descriptor, to) == 0
               ? STATUS_OK
               : status_from_errno(errno);
}

static enum status posix_remove(void *context, const char *name)
{
    const struct directory *directory = context;
    return unlinkat(directory->descriptor, name, 0) == 0 ? STATUS_OK : status_from_errno(errno);
}

static enum status posix_sync_directory(void *context)
{
    const struct directory *directory = context;
    if (planted(PLANTED_SYNC_OFF))
        return STATUS_OK;
    return fsync(directory->descriptor) == 0 ? STATUS_OK : status_from_errno(errno);
}

static enum status posix_list(void *context, bool (*each)(void *argument, const char *name),
                              void *argument)
{
    const struct directory *directory = context;
    /* A descriptor of its own: fdopendir owns it and moves its position. */
    const int descriptor = openat(directory->descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return status_from_errno(errno);
    DIR *stream = fdopendir(descriptor);
    if (stream == NULL) {
        const enum status status = status_from_errno(errno);
        (void)close(descriptor);
        return status;
    }
    enum status status = STATUS_OK;
    for (;;) {
        errno = 0; /* readdir tells its end from an error by errno alone */
        const struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            status = status_from_errno(errno);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (!each(argument, entry->d_name))
            break;
    }
    (void)closedir(stream); /* read only: nothing can be lost */
    return status;
}

/* flock belongs to the open file, so it ends with the process however that ends, and a second open
 * in the same process is refused too. */
static enum status posix_lock(void *context, const char *name, struct file **out)
{
    struct file *file = NULL;
    const enum status status = open_descriptor(context, name, O_RDWR | O_CREAT, &file);
    if (status != STATUS_OK)
        return status;
    int result;
    do {
        result = flock(file->descriptor, LOCK_EX | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    if (result != 0) {
        const enum status refused = status_from_errno(errno);
        posix_close(context, file);
        return refused;
    }
    *out = file;
    return STATUS_OK;
}

static enum status posix_free_space(void *context, uint64_t *out_bytes)
{
    const struct directory *directory = context;
    struct statvfs statvfs;
    int result;
    do {
        result = fstatvfs(directory->descriptor, &statvfs);
    } while (result != 0 && errno == EINTR);
    if (result != 0)
        return status_from_errno(errno);
    *out_bytes = (uint64_t)statvfs.f_bavail * statvfs.f_frsize;
    return STATUS_OK;
}

enum status files_posix_open(const char *path, struct files *out_files)
{
    struct directory *directory = malloc(sizeof *directory);
    if (directory == NULL)
        return STATUS_NO_MEMORY;
    do {
        directory->descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (directory->descriptor < 0 && errno == EINTR);
    if (directory->descriptor < 0) {
        const enum status status = status_from_errno(errno);
        free(directory);
        return status;
    }
    *out_files = (struct files){
        .context = directory,
        .open = posix_open,
        .close = posix_close,
        .size = posix_size,
        .read = posix_read,
        .write = posix_write,
        .sync = posix_sync,
        .truncate = posix_truncate,
        .allocate = posix_allocate,
        .rename = posix_rename,
        .remove = posix_remove,
        .sync_directory = posix_sync_directory,
        .list = posix_list,
        .lock = posix_lock,
        .free_space = posix_free_space,
    };
    return STATUS_OK;
}

void files_posix_close(struct files *files)
{
    struct directory *directory = files->context;
    invariant(directory != NULL);
    (void)close(directory->descriptor); /* a directory has nothing to flush on close */
    free(directory);
    *files = (struct files){0};
}
