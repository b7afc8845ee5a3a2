/*
 * libpowerloss.so: preloaded into a real program, it records what a power failure would take away.
 *
 *   TALLY_POWERLOSS_DIR      directory watched (its whole tree)
 *   TALLY_POWERLOSS_LOG      directory of the undo log: exists, outside, on the same file system
 *   TALLY_POWERLOSS_NO_SYNC  1: syncs succeed and do nothing; nothing ever becomes durable
 *   TALLY_POWERLOSS_FAST     1: syncs count, without waiting for the real disk
 *
 * Kill the program with SIGKILL, run `powerloss-apply`, start it again. Writes through a shared
 * mapping, stdio and io_uring are not seen: what they change counts as durable at once.
 *
 * Every function here is libc's, done by system call around the undo log; none calls libc's own.
 */
/* Both would give libc's functions other names or bodies than those defined below. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE

#include "chaos/power_loss/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 65536
#define EXPORT  __attribute__((visibility("default")))

struct descriptor {
    struct undo_file *file; /* NULL: not watched, or a directory */
    bool writes_through;    /* O_DSYNC or O_SYNC */
    bool appends;
    char *directory; /* path, when it is a watched directory */
};
static struct descriptor descriptors[FDS_MAX];

static struct descriptor *watched_fd(int fd)
{
    if (fd < 0 || fd >= FDS_MAX || !undo_enabled())
        return NULL;
    struct descriptor *d = &descriptors[fd];
    return __atomic_load_n(&d->file, __ATOMIC_ACQUIRE) != NULL ||
                   __atomic_load_n(&d->directory, __ATOMIC_ACQUIRE) != NULL
               ? d
               : NULL;
}

static bool fast(void)
{
    static int answer; /* 0 unknown, 1 no, 2 yes */
    if (__atomic_load_n(&answer, __ATOMIC_RELAXED) == 0) {
        const char *value = getenv("TALLY_POWERLOSS_FAST");
        __atomic_store_n(&answer, value != NULL && strcmp(value, "1") == 0 ? 2 : 1,
                         __ATOMIC_RELAXED);
    }
    return __atomic_load_n(&answer, __ATOMIC_RELAXED) == 2;
}

/* ---- paths ---- */

static bool path_of_fd(int fd, char out[PATH_MAX])
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, self, out, (size_t)PATH_MAX - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
    return out[0] == '/';
}

/* Absolute path of a name that need not exist; false when not below the watched directory. */
static bool watched_path(int at, const char *path, char out[PATH_MAX])
{
    if (!undo_enabled())
        return false;
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    if (slash == NULL)
        snprintf(parent, sizeof parent, ".");
    else if (slash == path)
        snprintf(parent, sizeof parent, "/");
    else
        snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
    long fd = syscall(SYS_openat, at, parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    char real[PATH_MAX];
    bool known = path_of_fd((int)fd, real);
    (void)syscall(SYS_close, (int)fd);
    if (!known || !undo_watches(real) || strlen(real) + strlen(name) + 2 > PATH_MAX)
        return false;
    memcpy(out, real, strlen(real) + 1);
    strcat(out, "/");
    strcat(out, name);
    return true;
}

/* ---- open and close ---- */

static int open_watched(int at, const char *path, int flags, mode_t mode)
{
    if (!undo_enabled())
        return (int)syscall(SYS_openat, at, path, flags, mode);
    bool through = (flags & (O_DSYNC | O_SYNC)) != 0, created = false;
    char absolute[PATH_MAX];
    bool below = (flags & O_ACCMODE) != O_RDONLY && watched_path(at, path, absolute);
    if (below && (flags & O_CREAT) != 0) {
        struct stat info;
        created = fstatat(at, path, &info, 0) != 0;
    }
    int real_flags = flags;
    if (below)
        real_flags &= ~O_TRUNC;
    if (below && through && undo_syncs_are_ignored())
        real_flags &= ~(O_DSYNC | O_SYNC);
    int fd = (int)syscall(SYS_openat, at, path, real_flags, mode);
    if (fd < 0 || fd >= FDS_MAX)
        return fd;
    char real[PATH_MAX];
    if ((flags & O_PATH) != 0 || !path_of_fd(fd, real) || !undo_watches(real))
        return fd;
    struct descriptor *d = &descriptors[fd];
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
        __atomic_store_n(&d->directory, strdup(real), __ATOMIC_RELEASE);
        return fd;
    }
    d->writes_through = through && !undo_syncs_are_ignored();
    d->appends = (flags & O_APPEND) != 0;
    struct undo_file *file = undo_file_open(fd, created);
    __atomic_store_n(&d->file, file, __ATOMIC_RELEASE);
    if (file != NULL && created)
        undo_after_create(real, info.st_ino);
    if (file != NULL && (flags & O_TRUNC) != 0 && !created) {
        undo_file_begin(file);
        undo_before_truncate(file, 0);
        if (syscall(SYS_ftruncate, fd, 0) != 0) {
            perror("powerloss: O_TRUNC");
            abort();
        }
        undo_file_end(file);
    }
    return fd;
}

static void forget_fd(int fd)
{
    struct descriptor *d = watched_fd(fd);
    if (d == NULL)
        return;
    struct undo_file *file = __atomic_exchange_n(&d->file, NULL, __ATOMIC_ACQ_REL);
    free(__atomic_exchange_n(&d->directory, NULL, __ATOMIC_ACQ_REL));
    if (file != NULL)
        undo_file_close(file);
}

static mode_t mode_of(int flags, va_list list)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? (mode_t)va_arg(list, int) : 0;
}

#define OPEN_FUNCTION(name)                                                                        \
    EXPORT int name(const char *path, int flags, ...);                                             \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        mode_t mode = mode_of(flags, list);                                                        \
        va_end(list);                                                                              \
        return open_watched(AT_FDCWD, path, flags, mode);                                          \
    }
#define OPENAT_FUNCTION(name)                                                                      \
    EXPORT int name(int at, const char *path, int flags, ...);                                     \
    int name(int at, const char *path, int flags, ...)                                             \
    {                                                                                              \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        mode_t mode = mode_of(flags, list);                                                        \
        va_end(list);                                                                              \
        return open_watched(at, path, flags, mode);                                                \
    }
OPEN_FUNCTION(open)
OPEN_FUNCTION(open64)
OPENAT_FUNCTION(openat)
OPENAT_FUNCTION(openat64)

/* What fortified programs call when they pass no mode. */
EXPORT int __open_2(const char *path, int flags);
EXPORT int __open64_2(const char *path, int flags);
EXPORT int __openat_2(int at, const char *path, int flags);
EXPORT int __openat64_2(int at, const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return open_watched(AT_FDCWD, path, flags, 0);
}
int __open64_2(const char *path, int flags)
{
    return open_watched(AT_FDCWD, path, flags, 0);
}
int __openat_2(int at, const char *path, int flags)
{
    return open_watched(at, path, flags, 0);
}
int __openat64_2(int at, const char *path, int flags)
{
    return open_watched(at, path, flags, 0);
}

EXPORT int creat(const char *path, mode_t mode)
{
    return open_watched(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int close(int fd)
{
    forget_fd(fd);
    return (int)syscall(SYS_close, fd);
}

static int copy_fd(int from, int to)
{
    struct descriptor *d = watched_fd(from);
    if (d == NULL || to < 0 || to >= FDS_MAX)
        return to;
    descriptors[to].writes_through = d->writes_through;
    descriptors[to].appends = d->appends;
    if (d->directory != NULL)
        __atomic_store_n(&descriptors[to].directory, strdup(d->directory), __ATOMIC_RELEASE);
    if (d->file != NULL)
        __atomic_store_n(&descriptors[to].file, undo_file_open(to, false), __ATOMIC_RELEASE);
    return to;
}

EXPORT int dup(int fd)
{
    return copy_fd(fd, (int)syscall(SYS_dup, fd));
}

EXPORT int dup2(int fd, int to)
{
    if (fd == to)
        return (int)syscall(SYS_dup2, fd, to);
    forget_fd(to);
    return copy_fd(fd, (int)syscall(SYS_dup2, fd, to));
}

EXPORT int dup3(int fd, int to, int flags)
{
    forget_fd(to);
    return copy_fd(fd, (int)syscall(SYS_dup3, fd, to, flags));
}

/* ---- writes ---- */

static size_t total(const struct iovec *parts, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    return size;
}

/* offset < 0: at the descriptor's own position. */
static ssize_t write_watched(int fd, const struct iovec *parts, int count, off_t offset)
{
    struct descriptor *d = watched_fd(fd);
    bool positioned = offset >= 0;
    if (d == NULL || d->file == NULL)
        return positioned ? syscall(SYS_pwritev, fd, parts, (long)count, (long)offset, 0L)
                          : syscall(SYS_writev, fd, parts, (long)count);
    undo_file_begin(d->file);
    if (d->appends) {
        struct stat info;
        if (fstat(fd, &info) == 0)
            offset = info.st_size;
    } else if (!positioned) {
        offset = (off_t)syscall(SYS_lseek, fd, 0L, SEEK_CUR);
    }
    undo_before_write(d->file, (uint64_t)offset, total(parts, count));
    ssize_t n = positioned ? syscall(SYS_pwritev, fd, parts, (long)count, (long)offset, 0L)
                           : syscall(SYS_writev, fd, parts, (long)count);
    if (n > 0 && d->writes_through)
        undo_durable_range(d->file, (uint64_t)offset, (uint64_t)n);
    int error = errno;
    undo_file_end(d->file);
    errno = error;
    return n;
}

static ssize_t write_one(int fd, const void *buffer, size_t size, off_t offset)
{
    union {
        const void *in;
        void *out;
    } bytes = {.in = buffer};
    struct iovec part = {bytes.out, size};
    return write_watched(fd, &part, 1, offset);
}

EXPORT ssize_t write(int fd, const void *buffer, size_t size)
{
    return write_one(fd, buffer, size, -1);
}
EXPORT ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    return write_one(fd, buffer, size, offset);
}
EXPORT ssize_t pwrite64(int fd, const void *buffer, size_t size, off_t offset)
{
    return write_one(fd, buffer, size, offset);
}
EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return write_watched(fd, parts, count, -1);
}
EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return write_watched(fd, parts, count, offset);
}
EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return write_watched(fd, parts, count, offset);
}

/* ---- sizes ---- */

EXPORT int ftruncate(int fd, off_t size)
{
    struct descriptor *d = watched_fd(fd);
    if (d == NULL || d->file == NULL)
        return (int)syscall(SYS_ftruncate, fd, size);
    undo_file_begin(d->file);
    undo_before_truncate(d->file, (uint64_t)size);
    int result = (int)syscall(SYS_ftruncate, fd, size), error = errno;
    undo_file_end(d->file);
    errno = error;
    return result;
}
EXPORT int ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t size)
{
    struct descriptor *d = watched_fd(fd);
    if (d == NULL || d->file == NULL)
        return (int)syscall(SYS_fallocate, fd, mode, offset, size);
    undo_file_begin(d->file);
    if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0) /* punches or zeroes */
        undo_before_write(d->file, (uint64_t)offset, (uint64_t)size);
    int result = (int)syscall(SYS_fallocate, fd, mode, offset, size), error = errno;
    undo_file_end(d->file);
    errno = error;
    return result;
}
EXPORT int fallocate64(int fd, int mode, off_t offset, off_t size)
{
    return fallocate(fd, mode, offset, size);
}
EXPORT int posix_fallocate(int fd, off_t offset, off_t size)
{
    return fallocate(fd, 0, offset, size) == 0 ? 0 : errno;
}
EXPORT int posix_fallocate64(int fd, off_t offset, off_t size)
{
    return posix_fallocate(fd, offset, size);
}

/* ---- syncs ---- */

static int sync_watched(int fd, long number)
{
    struct descriptor *d = watched_fd(fd);
    if (d == NULL)
        return (int)syscall(number, fd);
    if (undo_syncs_are_ignored())
        return 0;
    if (d->file == NULL) {
        int result = fast() ? 0 : (int)syscall(number, fd);
        if (result == 0 && d->directory != NULL)
            undo_directory_synced(d->directory);
        return result;
    }
    undo_file_begin(d->file);
    int result = fast() ? 0 : (int)syscall(number, fd), error = errno;
    if (result == 0)
        undo_durable_all(d->file);
    undo_file_end(d->file);
    errno = error;
    return result;
}

EXPORT int fsync(int fd)
{
    return sync_watched(fd, SYS_fsync);
}
EXPORT int fdatasync(int fd)
{
    return sync_watched(fd, SYS_fdatasync);
}
/* Promises nothing about the disk's cache or about sizes: makes nothing durable here. */
EXPORT int sync_file_range(int fd, off_t offset, off_t size, unsigned flags)
{
    if (watched_fd(fd) != NULL && undo_syncs_are_ignored())
        return 0;
    return (int)syscall(SYS_sync_file_range, fd, offset, size, flags);
}

/* ---- names ---- */

EXPORT int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    char a[PATH_MAX], b[PATH_MAX];
    if (watched_path(from_at, from, a) && watched_path(to_at, to, b))
        undo_before_rename(a, b);
    return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
}
EXPORT int renameat(int from_at, const char *from, int to_at, const char *to)
{
    return renameat2(from_at, from, to_at, to, 0);
}
EXPORT int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int unlinkat(int at, const char *path, int flags)
{
    char absolute[PATH_MAX];
    if ((flags & AT_REMOVEDIR) == 0 && watched_path(at, path, absolute)) {
        struct stat info;
        if (lstat(absolute, &info) == 0 && S_ISREG(info.st_mode))
            undo_before_unlink(absolute);
    }
    return (int)syscall(SYS_unlinkat, at, path, flags);
}
EXPORT int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}
EXPORT int remove(const char *path)
{
    int result = unlinkat(AT_FDCWD, path, 0);
    return result != 0 && errno == EISDIR ? unlinkat(AT_FDCWD, path, AT_REMOVEDIR) : result;
}

EXPORT int linkat(int from_at, const char *from, int to_at, const char *to, int flags)
{
    char a[PATH_MAX], b[PATH_MAX];
    if (watched_path(from_at, from, a) && watched_path(to_at, to, b))
        undo_before_link(a, b);
    return (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
}
EXPORT int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}
