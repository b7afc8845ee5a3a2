/*
 * The real world behind `struct environment`. Clocks are read here and nowhere else in
 * replication, so that a test or a simulator which replaces this table owns time completely.
 */
#include "replication/environment.h"

#include "core/invariant.h"
#include "replication/directory.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

static uint64_t clock_read_ns(clockid_t clock)
{
    struct timespec now;
    invariant(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static uint64_t real_monotonic_ns(void *context)
{
    (void)context;
    return clock_read_ns(CLOCK_MONOTONIC);
}

static uint64_t real_wall_ns(void *context)
{
    (void)context;
    return clock_read_ns(CLOCK_REALTIME);
}

static void real_random(void *context, void *out, size_t size)
{
    (void)context;
    uint8_t *bytes = out;
    size_t done = 0;
    while (done < size) {
        ssize_t got = getrandom(bytes + done, size - done, 0);
        if (got < 0 && errno == EINTR)
            continue;
        /* A kernel without random numbers cannot give this node an identity. */
        invariant_values(got > 0, errno, size);
        done += (size_t)got;
    }
}

static enum status real_open_directory(void *context, const char *path, struct files *out_files)
{
    (void)context;
    return files_posix_open(path, out_files);
}

static void real_close_directory(void *context, struct files *files)
{
    (void)context;
    files_posix_close(files);
}

static enum status real_make_directory(void *context, const char *path)
{
    (void)context;
    return directory_make(path);
}

static enum status real_find_directory(void *context, const char *path)
{
    (void)context;
    return directory_exists(path);
}

static enum status real_remove_directory(void *context, const char *path)
{
    (void)context;
    return directory_remove(path);
}

static enum status real_rename_directory(void *context, const char *from, const char *to)
{
    (void)context;
    return directory_rename(from, to);
}

static enum status real_sync_parent(void *context, const char *path)
{
    (void)context;
    return directory_sync_parent(path);
}

static enum status real_open_store(void *context, const struct store_options *options,
                                   struct checkpoint **out_store, struct store_error *out_error)
{
    (void)context;
    return store_open(options, out_store, out_error);
}

static void real_store_failure(void *context, struct checkpoint *store,
                               struct store_error *out_error)
{
    (void)context;
    store_failure(store, out_error);
}

static enum status real_verify_store(void *context, const char *path, struct store_error *out_error)
{
    (void)context;
    return store_verify(path, out_error, NULL, NULL);
}

const struct environment *environment_real(void)
{
    static const struct environment real = {
        .monotonic_ns = real_monotonic_ns,
        .wall_ns = real_wall_ns,
        .random = real_random,
        .open_directory = real_open_directory,
        .close_directory = real_close_directory,
        .make_directory = real_make_directory,
        .find_directory = real_find_directory,
        .remove_directory = real_remove_directory,
        .rename_directory = real_rename_directory,
        .sync_parent = real_sync_parent,
        .open_store = real_open_store,
        .store_failure = real_store_failure,
        .verify_store = real_verify_store,
    };
    return &real;
}
