/*
 * What replication asks of the world around it: clocks, random numbers, directories, the store and
 * who runs the jobs. The daemon uses environment_real(); tests bring a disk that fails or a clock
 * that jumps, a simulator brings all of it.
 */
#ifndef TALLY_REPLICATION_ENVIRONMENT_H
#define TALLY_REPLICATION_ENVIRONMENT_H

#include "storage/files.h"
#include "storage/store.h"

#include <stdbool.h>
#include <stdint.h>

struct environment {
    void *context; /* given to every function below */
    /* Never goes back; the same clock as uv_hrtime() and CLOCK_MONOTONIC. Any thread. */
    uint64_t (*monotonic_ns)(void *context);
    /* ns since 1970; may jump either way: only stamps are made of it. */
    uint64_t (*wall_ns)(void *context);
    /* Unpredictable bytes; cannot fail (it stops the process instead). Any thread. */
    void (*random)(void *context, void *out, size_t size);
    /* `path` exists: STATUS_NOT_FOUND, STATUS_PERMISSION otherwise. */
    enum status (*open_directory)(void *context, const char *path, struct files *out_files);
    void (*close_directory)(void *context, struct files *files);
    /* Directories as a whole: as directory_make(), directory_exists(), directory_remove(),
     * directory_rename() and directory_sync_parent() in directory.h. */
    enum status (*make_directory)(void *context, const char *path);
    enum status (*find_directory)(void *context, const char *path);
    enum status (*remove_directory)(void *context, const char *path);
    enum status (*rename_directory)(void *context, const char *from, const char *to);
    enum status (*sync_parent)(void *context, const char *path);
    /* As store_open(). */
    enum status (*open_store)(void *context, const struct store_options *options,
                              struct checkpoint **out_store, struct store_error *out_error);
    /* As store_failure(), for a store that open_store gave. */
    void (*store_failure)(void *context, struct checkpoint *store, struct store_error *out_error);
    /* Every checksum of the closed store at `path`, as store_verify(). NULL: not needed. */
    enum status (*verify_store)(void *context, const char *path, struct store_error *out_error);
    /* Nobody starts threads: the owner calls node_job_step() (node_jobs.h) itself. */
    bool manual_jobs;
    /* Segments of the journal may be as small as the journal itself allows: for a world whose
     * entries are small, so that turning and pruning happen all the time. */
    bool small_segments;
};

/* The real clocks, getrandom(2), POSIX directories, LMDB, threads. Static. */
const struct environment *environment_real(void);

#endif
