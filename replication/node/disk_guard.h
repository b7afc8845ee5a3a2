/*
 * Watches the disk: free space against the watermark, the reserve, the journal's prepared segments,
 * a checkpoint that found no room. Any of them makes the node read-only, with a reason and an
 * event; when all are well again so is the node. Loop thread.
 */
#ifndef TALLY_REPLICATION_DISK_GUARD_H
#define TALLY_REPLICATION_DISK_GUARD_H

#include "replication/environment.h"
#include "replication/notify.h"
#include "storage/journal.h"

#include <stdbool.h>

#define DISK_CHECK_INTERVAL_MS 1000

struct disk_guard {
    /* ---- filled in by the owner ---- */
    const struct environment *environment;
    const struct notify *notify;
    const struct files *files; /* data directory */
    struct journal *journal;
    uint64_t watermark_bytes;
    uint64_t reserve_bytes;
    uint64_t segment_bytes;
    /* ---- ours ---- */
    uint64_t next_check_ns;
    uint64_t free_bytes;
    bool low;
    bool unknown;               /* the file system did not answer */
    bool reserve_missing;       /* released for a checkpoint, or lost; rebuilt when there is room */
    enum status reserve_status; /* why it could not be rebuilt; STATUS_DISK_FULL is the usual one */
    bool checkpoint_full;       /* an epoch waits for room */
    bool journal_full;
    bool room_reported; /* disk_room_small was told */
};

/* First look, and the reserve made whole if it can be. */
void disk_guard_start(struct disk_guard *guard);
/* Looks at the file system at most once a DISK_CHECK_INTERVAL_MS. */
void disk_guard_process(struct disk_guard *guard);
/* A checkpoint found no room: gives the reserve back to the file system. */
void disk_guard_checkpoint_full(struct disk_guard *guard);
void disk_guard_checkpoint_done(struct disk_guard *guard);

/* What the largest checkpoint may need besides a journal segment. Reserve and watermark together
 * should hold it: they are the room that is left when writes are refused. Told once when they do
 * not (event disk_room_small). */
void disk_guard_expect(struct disk_guard *guard, uint64_t checkpoint_bytes);

bool disk_guard_read_only(const struct disk_guard *guard);
/* "" when not read-only; otherwise why and what to do. */
void disk_guard_reason(const struct disk_guard *guard, char *out, size_t size);

#endif
