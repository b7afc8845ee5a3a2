/*
 * libwallclock.so: preloaded into a real program, it moves the wall clock while the program runs.
 *
 *   TALLY_WALLCLOCK_FILE   a file of 8 bytes: what is added to the wall clock, int64 nanoseconds,
 *                          in the byte order of the machine. Mapped once; a write takes effect at
 *                          the next reading of the clock.
 *
 * CLOCK_REALTIME and CLOCK_REALTIME_COARSE are moved, by clock_gettime(), gettimeofday() and
 * time(). The monotonic clocks, timers and the time stamps of files are not: that is what a clock
 * that was set wrong looks like to a process. Without the variable nothing is moved; a file that
 * cannot be mapped ends the program, since a test that moves no clock would pass for nothing.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define SECOND 1000000000ll

static const int64_t *moved_by;

__attribute__((constructor)) static void map_file(void)
{
    const char *path = getenv("TALLY_WALLCLOCK_FILE");
    if (path == NULL)
        return;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *moved_by, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        fprintf(stderr, "wallclock: cannot map %s\n", path);
        abort();
    }
    (void)close(fd); /* the mapping stays */
    moved_by = map;
}

static void move(struct timespec *time)
{
    if (moved_by == NULL)
        return;
    const int64_t now =
        time->tv_sec * SECOND + time->tv_nsec + __atomic_load_n(moved_by, __ATOMIC_RELAXED);
    time->tv_sec = now / SECOND;
    time->tv_nsec = now % SECOND;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *out)
{
    const long result = syscall(SYS_clock_gettime, (long)clock, out);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        move(out);
    return (int)result;
}

EXPORT int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone; /* obsolete; glibc leaves it alone, too */
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

EXPORT time_t time(time_t *out)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return (time_t)-1;
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}
