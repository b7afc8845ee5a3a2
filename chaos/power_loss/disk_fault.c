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
 * SHORT writes half of the bytes and says so; KILL writes half of the sectors and ends the process
 * as SIGKILL would. HANG waits in the call, as on a disk that does not answer, until the file of
 * TALLY_DISKFAULT_WHILE is gone, and then does what was asked.
 *
 * A test program that is preloaded with it can say the same by calling diskfault_arm(), found with
 * dlsym(RTLD_DEFAULT, ...), and learn from diskfault_disarm() how many calls there were.
 *
 * Another process may also drive it while the program runs, as often as it likes:
 *
 *   TALLY_DISKFAULT_CONTROL  a file of `struct control`, mapped once; needs TALLY_DISKFAULT_DIR
 *
 * There a fault is a set of calls, a set of files, a delay, each how many-th call, and an error.
 * Such a fault may also be a slow disk (a delay and no error), a failing read, a write that is
 * acknowledged and never made (LOSE), made elsewhere in the file (SHIFT), or made with one bit
 * changed (ROT; a read with ROT returns a changed bit). What it struck is counted in the same file:
 * an attack that hit nothing proves nothing, and whoever drives it can see that. What is read and
 * written through a mapping, and by vectors (readv), is not seen.
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum call { CALL_NONE, CALL_WRITE, CALL_SYNC, CALL_ALLOCATE, CALL_NAME, CALL_MALLOC, CALL_READ };
enum {
    ERROR_SHORT = -1,
    ERROR_KILL = -2,
    ERROR_HANG = -3,
    ERROR_LOSE = -4,
    ERROR_SHIFT = -5,
    ERROR_ROT = -6,
};

/* All fields are words of the machine, each read and written by itself. */
struct control {
    uint64_t calls;    /* 1 << enum call; 0: no fault; CHANGING: what sleeps goes on sleeping */
    uint64_t fault;    /* its number: another one for each fault */
    int64_t error;     /* errno, an ERROR_ from above, or 0: only late */
    uint64_t delay_us; /* before anything else */
    uint64_t every;    /* each so many-th of these calls; 0 and 1: all of them */
    uint64_t files;    /* FILE_ bits; 0: every file below the directory */
    int64_t shift;     /* of ERROR_SHIFT, bytes */
    uint64_t counted;  /* these calls so far, written here */
    uint64_t struck;   /* and how many of them the fault hit */
};
_Static_assert(sizeof(struct control) == 72, "as chaos/nemesis/faults/preload.py writes it");

enum { SECTOR = 512 };
#define CHANGING (1ull << 63)
enum { FILE_JOURNAL = 1, FILE_STORE = 2, FILE_OTHER = 4 };

static struct control *control; /* NULL: not driven */
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

/* A fault that cannot be driven ends the program: the run would pass for nothing. */
static void map_control(const char *watched, const char *path)
{
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    void *map = fd < 0 ? MAP_FAILED
                       : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED || realpath(watched, directory) == NULL) {
        fprintf(stderr, "diskfault: cannot map %s, or no directory %s\n", path, watched);
        abort();
    }
    (void)close(fd); /* the mapping stays */
    __atomic_store_n(&control, map, __ATOMIC_RELEASE);
}

__attribute__((constructor)) static void arm_from_environment(void)
{
    const char *watched = getenv("TALLY_DISKFAULT_DIR"), *call = getenv("TALLY_DISKFAULT_CALL");
    const char *n = getenv("TALLY_DISKFAULT_N"), *error = getenv("TALLY_DISKFAULT_ERROR");
    const char *stays = getenv("TALLY_DISKFAULT_STICKY");
    sticky = stays != NULL && strcmp(stays, "1") == 0;
    condition = getenv("TALLY_DISKFAULT_WHILE");
    const char *file = getenv("TALLY_DISKFAULT_CONTROL");
    if (file != NULL && watched != NULL)
        map_control(watched, file);
    if (watched != NULL && call != NULL && n != NULL && error != NULL)
        diskfault_arm(watched, call, strtoull(n, NULL, 10), error);
}

static bool condition_holds(void)
{
    return condition == NULL || syscall(SYS_faccessat, AT_FDCWD, condition, F_OK) == 0;
}

/* Counts the call; what is to become of it, 0: nothing. A call that hangs does so in here, and then
 * succeeds. */
static int armed_strikes(enum call call)
{
    if (__atomic_load_n(&armed_call, __ATOMIC_SEQ_CST) != (int)call || !condition_holds())
        return 0;
    uint64_t number = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    if (number != armed_n && !(sticky && number > armed_n))
        return 0;
    if (armed_error != ERROR_HANG)
        return armed_error;
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    while (condition_holds())
        (void)nanosleep(&pause, NULL);
    return 0;
}

static bool below(const char *path)
{
    size_t size = strlen(directory);
    return strncmp(path, directory, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

static uint64_t kind_of_file(const char *path)
{
    if (strstr(path, "/journal-") != NULL)
        return FILE_JOURNAL;
    return strstr(path, "/store-") != NULL ? FILE_STORE : FILE_OTHER;
}

static bool is_driven(enum call call)
{
    return control != NULL &&
           (__atomic_load_n(&control->calls, __ATOMIC_ACQUIRE) & UINT64_C(1) << call) != 0;
}

static bool is_changing(void)
{
    return (__atomic_load_n(&control->calls, __ATOMIC_ACQUIRE) & CHANGING) != 0;
}

static void sleep_us(uint64_t us)
{
    const struct timespec time = {.tv_sec = (time_t)(us / 1000000),
                                  .tv_nsec = (long)(us % 1000000) * 1000};
    (void)nanosleep(&time, NULL);
}

/* As armed_strikes(), by what the control file says now. A call that waits when the next fault
 * begins belongs to that one then, is counted by it, and does what it says. */
static int driven_strikes(enum call call, const char *path)
{
    uint64_t fault;
    int error;
    do {
        fault = __atomic_load_n(&control->fault, __ATOMIC_ACQUIRE);
        const uint64_t files = __atomic_load_n(&control->files, __ATOMIC_RELAXED);
        if (files != 0 && (files & kind_of_file(path)) == 0)
            return 0;
        const uint64_t every = __atomic_load_n(&control->every, __ATOMIC_RELAXED);
        const uint64_t number = __atomic_add_fetch(&control->counted, 1, __ATOMIC_SEQ_CST);
        if (every > 1 && number % every != 0)
            return 0;
        __atomic_add_fetch(&control->struck, 1, __ATOMIC_SEQ_CST);
        const uint64_t delay_us = __atomic_load_n(&control->delay_us, __ATOMIC_RELAXED);
        if (delay_us > 0)
            sleep_us(delay_us);
        error = (int)__atomic_load_n(&control->error, __ATOMIC_RELAXED);
        while (is_changing() || (is_driven(call) && error == ERROR_HANG &&
                                 fault == __atomic_load_n(&control->fault, __ATOMIC_ACQUIRE)))
            sleep_us(10 * 1000);
    } while (is_driven(call) && fault != __atomic_load_n(&control->fault, __ATOMIC_ACQUIRE));
    return is_driven(call) && error != ERROR_HANG ? error : 0;
}

static int fd_strikes(enum call call, int fd)
{
    if (__atomic_load_n(&armed_call, __ATOMIC_SEQ_CST) != (int)call && !is_driven(call))
        return 0;
    char self[64], path[PATH_MAX];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, self, path, sizeof path - 1);
    if (n <= 0)
        return 0;
    path[n] = '\0';
    if (!below(path))
        return 0;
    const int error = armed_strikes(call);
    return error == 0 && is_driven(call) ? driven_strikes(call, path) : error;
}

static int path_strikes(const char *path)
{
    if (!below(path))
        return 0;
    const int error = armed_strikes(CALL_NAME);
    return error == 0 && is_driven(CALL_NAME) ? driven_strikes(CALL_NAME, path) : error;
}

static _Noreturn void end_process(void)
{
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause();
}

static int fail(int error)
{
    if (error == ERROR_KILL)
        end_process();
    errno = error < 0 ? EIO : error;
    return -1;
}

/* ---- writes ---- */

static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t offset)
{
    return offset < 0 ? syscall(SYS_writev, fd, parts, (long)count)
                      : syscall(SYS_pwritev, fd, parts, (long)count, (long)offset, 0L);
}

/* `unit`: where it may be torn; what a process is told may end anywhere, a disk keeps sectors
 * whole. */
static ssize_t write_half(int fd, const struct iovec *parts, int count, off_t offset, size_t unit)
{
    struct iovec half = parts[0];
    if (count > 1)
        return write_parts(fd, parts, count / 2, offset);
    const size_t begin = offset < 0 ? 0 : (size_t)offset, middle = begin + half.iov_len / 2;
    half.iov_len = middle / unit * unit > begin ? middle / unit * unit - begin : 0;
    return write_parts(fd, &half, 1, offset);
}

/* Changes one bit in the middle of what was just written. */
static void rot(int fd, ssize_t size, off_t offset)
{
    uint8_t byte;
    const long at = (long)(offset + size / 2);
    if (size > 0 && offset >= 0 && syscall(SYS_pread64, fd, &byte, 1ul, at) == 1) {
        byte ^= 0x10;
        (void)syscall(SYS_pwrite64, fd, &byte, 1ul, at); /* a fault that fails: struck tells less */
    }
}

static ssize_t write_or_fail(int fd, const struct iovec *parts, int count, off_t offset)
{
    ssize_t n = 0;
    const int error = fd_strikes(CALL_WRITE, fd);
    switch (error) {
    case 0:
        return write_parts(fd, parts, count, offset);
    case ERROR_SHORT:
        return write_half(fd, parts, count, offset, 1);
    case ERROR_KILL:
        (void)write_half(fd, parts, count, offset, SECTOR);
        end_process();
    case ERROR_LOSE:
        for (int i = 0; i < count; i++)
            n += (ssize_t)parts[i].iov_len;
        return n;
    case ERROR_SHIFT:
        return write_parts(fd, parts, count,
                           offset < 0 || offset + control->shift < 0 ? offset
                                                                     : offset + control->shift);
    case ERROR_ROT:
        n = write_parts(fd, parts, count, offset);
        rot(fd, n, offset);
        return n;
    default:
        return fail(error);
    }
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

/* ---- reads ---- */

static ssize_t read_or_fail(int fd, void *buffer, size_t size, off_t offset)
{
    const int error = fd_strikes(CALL_READ, fd);
    if (error != 0 && error != ERROR_ROT && error != ERROR_SHORT)
        return fail(error);
    if (error == ERROR_SHORT && size > 1)
        size /= 2;
    const ssize_t n = offset < 0 ? syscall(SYS_read, fd, buffer, size)
                                 : syscall(SYS_pread64, fd, buffer, size, (long)offset);
    if (error == ERROR_ROT && n > 0)
        ((uint8_t *)buffer)[n / 2] ^= 0x10;
    return n;
}

EXPORT ssize_t read(int fd, void *buffer, size_t size)
{
    return read_or_fail(fd, buffer, size, -1);
}
EXPORT ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
    return read_or_fail(fd, buffer, size, offset);
}
EXPORT ssize_t pread64(int fd, void *buffer, size_t size, off_t offset)
{
    return read_or_fail(fd, buffer, size, offset);
}

/* ---- syncs and sizes ---- */

/* A sync that is lost says that it was made. */
EXPORT int fsync(int fd)
{
    const int error = fd_strikes(CALL_SYNC, fd);
    return error == 0 ? (int)syscall(SYS_fsync, fd) : error == ERROR_LOSE ? 0 : fail(error);
}
EXPORT int fdatasync(int fd)
{
    const int error = fd_strikes(CALL_SYNC, fd);
    return error == 0 ? (int)syscall(SYS_fdatasync, fd) : error == ERROR_LOSE ? 0 : fail(error);
}
EXPORT int ftruncate(int fd, off_t size)
{
    const int error = fd_strikes(CALL_ALLOCATE, fd);
    return error == 0 ? (int)syscall(SYS_ftruncate, fd, size) : fail(error);
}
EXPORT int ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}
EXPORT int fallocate(int fd, int mode, off_t offset, off_t size)
{
    const int error = fd_strikes(CALL_ALLOCATE, fd);
    return error == 0 ? (int)syscall(SYS_fallocate, fd, mode, offset, size) : fail(error);
}
EXPORT int fallocate64(int fd, int mode, off_t offset, off_t size)
{
    return fallocate(fd, mode, offset, size);
}

/* ---- names (absolute paths only) ---- */

static int open_or_fail(const char *path, int flags, mode_t mode)
{
    const int error = (flags & O_CREAT) != 0 ? path_strikes(path) : 0;
    return error == 0 ? (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode) : fail(error);
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
    const int error = path_strikes(to);
    return error == 0 ? (int)syscall(SYS_rename, from, to) : fail(error);
}
EXPORT int unlink(const char *path)
{
    const int error = path_strikes(path);
    return error == 0 ? (int)syscall(SYS_unlink, path) : fail(error);
}
EXPORT int mkdir(const char *path, mode_t mode)
{
    const int error = path_strikes(path);
    return error == 0 ? (int)syscall(SYS_mkdir, path, mode) : fail(error);
}

/* ---- memory ---- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

/* The control file drives allocations by each so many-th, whichever memory it is; a delay is for
 * disks. */
static bool lacks_memory(void)
{
    if (armed_strikes(CALL_MALLOC) != 0)
        return true;
    if (!is_driven(CALL_MALLOC))
        return false;
    const uint64_t every = __atomic_load_n(&control->every, __ATOMIC_RELAXED);
    const uint64_t number = __atomic_add_fetch(&control->counted, 1, __ATOMIC_SEQ_CST);
    if (every > 1 && number % every != 0)
        return false;
    __atomic_add_fetch(&control->struck, 1, __ATOMIC_SEQ_CST);
    return true;
}

static void *no_memory(void)
{
    if (armed_error == ERROR_KILL)
        end_process();
    errno = ENOMEM;
    return NULL;
}

EXPORT void *malloc(size_t size)
{
    return lacks_memory() ? no_memory() : __libc_malloc(size);
}
EXPORT void *calloc(size_t count, size_t size)
{
    return lacks_memory() ? no_memory() : __libc_calloc(count, size);
}
EXPORT void *realloc(void *memory, size_t size)
{
    return lacks_memory() ? no_memory() : __libc_realloc(memory, size);
}
EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *memory = lacks_memory() ? no_memory() : __libc_memalign(alignment, size);
    if (memory == NULL)
        return ENOMEM;
    *out = memory;
    return 0;
}
