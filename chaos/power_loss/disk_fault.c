/*
 * libdiskfault.so: preloaded into a real program, it makes the n-th call of a kind fail.
 *
 *   TALLY_DISKFAULT_DIR    directory below which files count (not for malloc)
 *   TALLY_DISKFAULT_CALL   write | sync | allocate | name | malloc
 *   TALLY_DISKFAULT_N      which call fails, from 1
 *   TALLY_DISKFAULT_ERROR  EIO | ENOSPC | ENOMEM | SHORT | KILL | HANG
 *   TALLY_DISKFAULT_STICKY 1: all calls of the kind from the n-th on fail
 *   TALLY_DISKFAULT_WHILE  a file: calls are counted, and fail, only while it exists
 *
 * write: write, pwrite, writev, pwritev. sync: fsync, fdatasync. allocate: fallocate, ftruncate.
 * name: open with O_CREAT, rename, unlink, mkdir. malloc: malloc, calloc, realloc, posix_memalign.
 * SHORT writes half of the bytes and says so; KILL writes half of them and ends the process as
 * SIGKILL would. HANG waits in the call, as on a disk that does not answer, until the file of
 * TALLY_DISKFAULT_WHILE is gone, and then does what was asked.
 *
 * A test program that is preloaded with it can say the same by calling diskfault_arm(), found with
 * dlsym(RTLD_DEFAULT, ...), and learn from diskfault_disarm() how many calls there were.
 */
/* Both would give libc's functions other names or bodies than those defined below. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum call { CALL_NONE, CALL_WRITE, CALL_SYNC, CALL_ALLOCATE, CALL_NAME, CALL_MALLOC };
enum { ERROR_SHORT = -1, ERROR_KILL = -2, ERROR_HANG = -3 };

static char directory[PATH_MAX];
static int armed_call, armed_error;
static bool sticky;
static const char *condition; /* a file; NULL: always */
static uint64_t armed_n, seen;

EXPORT void diskfault_arm(const char *watched, const char *call, uint64_t n, const char *error);
EXPORT uint64_t diskfault_disarm(void);

void diskfault_arm(const char *watched, const char *call, uint64_t n, const char *error)
{
    static const struct {
        const char *word;
        int value;
    } calls[] = {{"write", CALL_WRITE},
                 {"sync", CALL_SYNC},
                 {"allocate", CALL_ALLOCATE},
                 {"name", CALL_NAME},
                 {"malloc", CALL_MALLOC}},
      errors[] = {{"EIO", EIO},           {"ENOSPC", ENOSPC},   {"ENOMEM", ENOMEM},
                  {"SHORT", ERROR_SHORT}, {"KILL", ERROR_KILL}, {"HANG", ERROR_HANG}};
    int kind = CALL_NONE, code = 0;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (strcmp(call, calls[i].word) == 0)
            kind = calls[i].value;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (strcmp(error, errors[i].word) == 0)
            code = errors[i].value;
    if (kind == CALL_NONE || code == 0 || realpath(watched, directory) == NULL) {
        fprintf(stderr, "diskfault: cannot arm %s %s in %s\n", call, error, watched);
        abort();
    }
    __atomic_store_n(&seen, 0, __ATOMIC_SEQ_CST);
    armed_error = code;
    armed_n = n;
    __atomic_store_n(&armed_call, kind, __ATOMIC_SEQ_CST);
}

uint64_t diskfault_disarm(void)
{
    __atomic_store_n(&armed_call, CALL_NONE, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&seen, __ATOMIC_SEQ_CST);
}

__attribute__((constructor)) static void arm_from_environment(void)
{
    const char *watched = getenv("TALLY_DISKFAULT_DIR"), *call = getenv("TALLY_DISKFAULT_CALL");
    const char *n = getenv("TALLY_DISKFAULT_N"), *error = getenv("TALLY_DISKFAULT_ERROR");
    const char *stays = getenv("TALLY_DISKFAULT_STICKY");
    sticky = stays != NULL && strcmp(stays, "1") == 0;
    condition = getenv("TALLY_DISKFAULT_WHILE");
    if (watched != NULL && call != NULL && n != NULL && error != NULL)
        diskfault_arm(watched, call, strtoull(n, NULL, 10), error);
}

static bool condition_holds(void)
{
    return condition == NULL || syscall(SYS_faccessat, AT_FDCWD, condition, F_OK) == 0;
}

/* Counts the call; true when it is to fail. A call that hangs does so in here, and then succeeds.
 */
static bool strikes(enum call call)
{
    if (__atomic_load_n(&armed_call, __ATOMIC_SEQ_CST) != (int)call || !condition_holds())
        return false;
    uint64_t number = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    if (number != armed_n && !(sticky && number > armed_n))
        return false;
    if (armed_error != ERROR_HANG)
        return true;
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    while (condition_holds())
        (void)nanosleep(&pause, NULL);
    return false;
}

static bool below(const char *path)
{
    size_t size = strlen(directory);
    return strncmp(path, directory, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

static bool fd_strikes(enum call call, int fd)
{
    if (__atomic_load_n(&armed_call, __ATOMIC_SEQ_CST) != (int)call)
        return false;
    char self[64], path[PATH_MAX];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, self, path, sizeof path - 1);
    if (n <= 0)
        return false;
    path[n] = '\0';
    return below(path) && strikes(call);
}

static bool path_strikes(const char *path)
{
    return __atomic_load_n(&armed_call, __ATOMIC_SEQ_CST) == CALL_NAME && below(path) &&
           strikes(CALL_NAME);
}

static _Noreturn void end_process(void)
{
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause();
}

static int fail(void)
{
    if (armed_error == ERROR_KILL)
        end_process();
    errno = armed_error == ERROR_SHORT ? EIO : armed_error;
    return -1;
}

/* ---- writes ---- */

static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t offset)
{
    return offset < 0 ? syscall(SYS_writev, fd, parts, (long)count)
                      : syscall(SYS_pwritev, fd, parts, (long)count, (long)offset, 0L);
}

static ssize_t write_or_fail(int fd, const struct iovec *parts, int count, off_t offset)
{
    if (!fd_strikes(CALL_WRITE, fd))
        return write_parts(fd, parts, count, offset);
    if (armed_error != ERROR_SHORT && armed_error != ERROR_KILL)
        return fail();
    struct iovec half = parts[0];
    ssize_t n;
    if (count > 1) {
        n = write_parts(fd, parts, count / 2, offset);
    } else {
        half.iov_len /= 2;
        n = write_parts(fd, &half, 1, offset);
    }
    if (armed_error == ERROR_KILL)
        end_process();
    return n;
}

static ssize_t write_one(int fd, const void *buffer, size_t size, off_t offset)
{
    union {
        const void *in;
        void *out;
    } bytes = {.in = buffer};
    struct iovec part = {bytes.out, size};
    return write_or_fail(fd, &part, 1, offset);
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
    return write_or_fail(fd, parts, count, -1);
}
EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return write_or_fail(fd, parts, count, offset);
}
EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return write_or_fail(fd, parts, count, offset);
}

/* ---- syncs and sizes ---- */

EXPORT int fsync(int fd)
{
    return fd_strikes(CALL_SYNC, fd) ? fail() : (int)syscall(SYS_fsync, fd);
}
EXPORT int fdatasync(int fd)
{
    return fd_strikes(CALL_SYNC, fd) ? fail() : (int)syscall(SYS_fdatasync, fd);
}
EXPORT int ftruncate(int fd, off_t size)
{
    return fd_strikes(CALL_ALLOCATE, fd) ? fail() : (int)syscall(SYS_ftruncate, fd, size);
}
EXPORT int ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}
EXPORT int fallocate(int fd, int mode, off_t offset, off_t size)
{
    return fd_strikes(CALL_ALLOCATE, fd) ? fail()
                                         : (int)syscall(SYS_fallocate, fd, mode, offset, size);
}
EXPORT int fallocate64(int fd, int mode, off_t offset, off_t size)
{
    return fallocate(fd, mode, offset, size);
}

/* ---- names (absolute paths only) ---- */

static int open_or_fail(const char *path, int flags, mode_t mode)
{
    return (flags & O_CREAT) != 0 && path_strikes(path)
               ? fail()
               : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

EXPORT int open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? (mode_t)va_arg(list, int) : 0;
    va_end(list);
    return open_or_fail(path, flags, mode);
}
EXPORT int open64(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? (mode_t)va_arg(list, int) : 0;
    va_end(list);
    return open_or_fail(path, flags, mode);
}
EXPORT int rename(const char *from, const char *to)
{
    return path_strikes(to) ? fail() : (int)syscall(SYS_rename, from, to);
}
EXPORT int unlink(const char *path)
{
    return path_strikes(path) ? fail() : (int)syscall(SYS_unlink, path);
}
EXPORT int mkdir(const char *path, mode_t mode)
{
    return path_strikes(path) ? fail() : (int)syscall(SYS_mkdir, path, mode);
}

/* ---- memory ---- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static void *no_memory(void)
{
    if (armed_error == ERROR_KILL)
        end_process();
    errno = ENOMEM;
    return NULL;
}

EXPORT void *malloc(size_t size)
{
    return strikes(CALL_MALLOC) ? no_memory() : __libc_malloc(size);
}
EXPORT void *calloc(size_t count, size_t size)
{
    return strikes(CALL_MALLOC) ? no_memory() : __libc_calloc(count, size);
}
EXPORT void *realloc(void *memory, size_t size)
{
    return strikes(CALL_MALLOC) ? no_memory() : __libc_realloc(memory, size);
}
EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *memory = strikes(CALL_MALLOC) ? no_memory() : __libc_memalign(alignment, size);
    if (memory == NULL)
        return ENOMEM;
    *out = memory;
    return 0;
}
