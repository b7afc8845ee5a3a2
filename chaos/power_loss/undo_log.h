/*
 * What would be lost if the power failed now: the format that the shim writes and the tool applies.
 *
 * A directory beside (not inside) the watched one, on the same file system:
 *   <device>-<inode>.undo   one per file: what its unsynced pages held before
 *   names.undo              unsynced creations, renames and removals, in order
 *   stash-<n>               files that an unsynced rename or removal would bring back
 *
 * A log is a sequence of records, each appended by one write() before the operation it undoes. The
 * process may be killed inside that write(): an incomplete last record undoes an operation that did
 * not happen, and is ignored.
 */
#ifndef TALLY_CHAOS_POWER_LOSS_UNDO_LOG_H
#define TALLY_CHAOS_POWER_LOSS_UNDO_LOG_H

#include <limits.h>
#include <stdint.h>

#define UNDO_MAGIC 0x6f646e75u
#define UNDO_PAGE  4096u

enum undo_kind {
    /* In a file's log. */
    UNDO_BEGIN = 1,   /* a: size that is durable. Earlier records are void. */
    UNDO_OLD = 2,     /* a: page number; data: what it held (less than a page at the end of file) */
    UNDO_DURABLE = 3, /* a: page number, written through O_DSYNC; b: size now durable */
    /* In names.undo; data is struct undo_name. */
    UNDO_CREATE = 10,
    UNDO_RENAME = 11,
    UNDO_UNLINK = 12,
    UNDO_LINK = 13,
    UNDO_SYNC_DIRECTORY = 14, /* operations so far whose directory is `to` are durable */
};

struct undo_record {
    uint32_t magic;
    uint32_t kind; /* enum undo_kind */
    uint64_t a;
    uint64_t b;
    uint32_t size; /* of the data that follows */
    uint32_t reserved;
};

struct undo_name {
    uint64_t inode;       /* of the file created, moved or removed */
    uint64_t stash;       /* number of the stash file, 0 = none */
    char directory[1024]; /* that must be synced for the operation to last */
    char from[1024];
    char to[1024];
};

#endif
