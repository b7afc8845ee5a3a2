/*
 * The data directory: names, identity, and the few calls on directories themselves.
 * docs/formats/directory.md draws it.
 */
#ifndef TALLY_REPLICATION_DIRECTORY_H
#define TALLY_REPLICATION_DIRECTORY_H

#include "core/status.h"
#include "storage/files.h"

#include <stddef.h>
#include <stdint.h>

#define DIRECTORY_IDENTITY "identity"
#define DIRECTORY_LOCK     "lock"
#define DIRECTORY_JOURNAL  "journal"
#define DIRECTORY_STORE    "store"

#define DIRECTORY_PATH_MAX 4096

/* Version of the directory as a whole; each file inside has its own. */
#define DIRECTORY_FORMAT 1

struct identity {
    uint8_t cluster_id[16];
    uint64_t node_id;
    uint8_t incarnation[16]; /* drawn at init; a node that lost its disk is another incarnation */
    uint64_t cluster_epoch;
    uint64_t reserve_bytes;
};

/* Writes file "identity" durably or not at all. */
enum status identity_write(const struct files *files, const struct identity *identity);
/* STATUS_NOT_FOUND; STATUS_VERSION when its first line names another format; STATUS_CORRUPT when a
 * line or the checksum is wrong. */
enum status identity_read(const struct files *files, struct identity *out);

/* "directory/name"; STATUS_INVALID when it does not fit DIRECTORY_PATH_MAX. */
enum status directory_join(const char *directory, const char *name,
                           char out_path[DIRECTORY_PATH_MAX]);
/* Mode 0700. STATUS_EXISTS, STATUS_NOT_FOUND (no parent), STATUS_PERMISSION, STATUS_DISK_FULL. */
enum status directory_make(const char *path);
/* Makes the entry of `path` in its parent durable. */
enum status directory_sync_parent(const char *path);
/* STATUS_OK, STATUS_NOT_FOUND, or STATUS_INVALID when it is something else than a directory. */
enum status directory_exists(const char *path);
/* Removes the files in it and then itself; for what we have just made, so it does not descend. */
enum status directory_remove(const char *path);

/* Takes the lock and writes our process number into it for people. STATUS_LOCKED with the other's
 * number in *out_pid, 0 when it cannot be read. */
enum status directory_lock(const struct files *files, struct file **out_lock, uint64_t *out_pid);

#endif
