/*
 * The data directory: names, identity, the generation in use, and the few calls on directories
 * themselves. docs/formats/directory.md draws it.
 *
 * Journal and store are a pair that belongs together: a *generation*. File `current` names the one
 * in use; another one may be built beside it (catch_up.h) and takes its place by one rename. Who
 * the node is and what it voted (identity, hard_state) stays outside: it survives an install.
 */
#ifndef TALLY_REPLICATION_DIRECTORY_H
#define TALLY_REPLICATION_DIRECTORY_H

#include "core/status.h"
#include "replication/member.h"
#include "storage/files.h"

#include <stddef.h>
#include <stdint.h>

#define DIRECTORY_IDENTITY "identity"
#define DIRECTORY_LOCK     "lock"
#define DIRECTORY_CURRENT  "current"
/* For people, in a directory that is to join: what `tally member add` wants to be told. */
#define DIRECTORY_MEMBER "member"
/* Subdirectories of a generation: these words, '-' and its number. A witness has no store. */
#define DIRECTORY_JOURNAL "journal"
#define DIRECTORY_STORE   "store"

#define DIRECTORY_PATH_MAX 4096
#define DIRECTORY_NAME_MAX 32 /* "journal-" and any number fit */
/* The generation that node_init() makes. */
#define DIRECTORY_GENERATION_FIRST 1

/* Version of the directory as a whole; each file inside has its own. */
#define DIRECTORY_FORMAT 2

struct identity {
    uint8_t cluster_id[16];
    uint64_t node_id;
    enum member_kind kind;
    char site[MEMBER_SITE_SIZE_MAX + 1];
    char address[MEMBER_ADDRESS_SIZE_MAX + 1]; /* for its peers, as it was at init */
    uint8_t incarnation[16]; /* drawn at init; a node that lost its disk is another incarnation */
    uint64_t cluster_epoch;
    uint64_t reserve_bytes;
};

/* Writes file "identity" durably or not at all. */
enum status identity_write(const struct files *files, const struct identity *identity);
/* STATUS_NOT_FOUND; STATUS_VERSION when its first line names another format; STATUS_CORRUPT when a
 * line or the checksum is wrong. */
enum status identity_read(const struct files *files, struct identity *out);

/* The member that a node of this identity is. */
void identity_member(const struct identity *identity, struct member *out);
/* "--node-id N --site S --kind K --address A --incarnation HEX", what `tally member add` takes; no
 * line end. Invariant: the identity was read or is valid. */
#define IDENTITY_MEMBER_LINE_SIZE 320
void identity_member_line(const struct identity *identity, char out[IDENTITY_MEMBER_LINE_SIZE]);

/* The pair in use, by the numbers of its directories. They differ after a catch-up that had no need
 * of a new store. All entries up to `committed_index` were known to be committed when the journal
 * was installed, the last of them of `committed_term`; both 0 where nothing was known. */
struct generation {
    uint64_t journal;
    uint64_t store;
    uint64_t committed_index, committed_term;
};

/* File "current", replaced durably or not at all. */
enum status current_write(const struct files *files, const struct generation *generation);
/* STATUS_NOT_FOUND, STATUS_VERSION, STATUS_CORRUPT. */
enum status current_read(const struct files *files, struct generation *out);
/* "journal-7" for (DIRECTORY_JOURNAL, 7). */
void directory_generation_name(const char *what, uint64_t number,
                               char out_name[DIRECTORY_NAME_MAX]);
/* The inverse; false when `name` is nothing of the kind. */
bool directory_generation_parse(const char *what, const char *name, uint64_t *out_number);

/* "directory/name"; STATUS_INVALID when it does not fit DIRECTORY_PATH_MAX. */
enum status directory_join(const char *directory, const char *name,
                           char out_path[DIRECTORY_PATH_MAX]);
/* Mode 0700. STATUS_EXISTS, STATUS_NOT_FOUND (no parent), STATUS_PERMISSION, STATUS_DISK_FULL. */
enum status directory_make(const char *path);
/* Makes the entry of `path` in its parent durable. */
enum status directory_sync_parent(const char *path);
/* STATUS_OK, STATUS_NOT_FOUND, or STATUS_INVALID when it is something else than a directory. */
enum status directory_exists(const char *path);
/* Removes the files in it and then itself; it does not descend. STATUS_NOT_FOUND. */
enum status directory_remove(const char *path);
/* Both names in one file system; durable after files.sync_directory of the parents. */
enum status directory_rename(const char *from, const char *to);

/* Takes the lock and writes our process number into it for people. STATUS_LOCKED with the other's
 * number in *out_pid, 0 when it cannot be read. */
enum status directory_lock(const struct files *files, struct file **out_lock, uint64_t *out_pid);

#endif
