/*
 * Drives checkpoints: decides when the memtable is frozen, hands the epoch to the flusher, and
 * after it is durable and readable releases it and prunes the journal behind it. Loop thread.
 */
#ifndef TALLY_REPLICATION_EPOCHS_H
#define TALLY_REPLICATION_EPOCHS_H

#include "core/machine.h"
#include "replication/environment.h"
#include "replication/notify.h"
#include "storage/checkpoint.h"
#include "storage/journal.h"

struct consensus;
struct disk_guard;

/* Pause before an epoch that found no room is tried again. */
#define EPOCH_RETRY_MS 1000
/* An epoch that takes longer is reported. */
#define EPOCH_SLOW_MS 30000
/* Unless something waits for room the flusher rests for so many times what it worked, but no longer
 * than so long. */
#define EPOCH_REST        3ull
#define EPOCH_REST_MS_MAX 60000

struct epochs {
    /* ---- filled in by the owner ---- */
    const struct environment *environment;
    const struct notify *notify;
    struct machine *machine;
    struct journal *journal;
    struct checkpoint *store;
    struct consensus *consensus; /* told what is durable; NULL for nobody */
    struct disk_guard *guard;
    uint64_t interval_ms;
    uint64_t keep_entries;
    uint64_t keep_bytes;
    uint64_t hold_index;           /* the journal keeps entries above it; UINT64_MAX = no matter */
    uint64_t durable_index;        /* at start: of the store's meta, 0 if none */
    struct checkpoint_growth full; /* an epoch as large as it may get; accounts as they are now */
    /* ---- ours ---- */
    const struct epoch *frozen;
    struct checkpoint_meta meta; /* of `frozen` */
    bool submitted;
    bool slow_reported;
    bool ended; /* by a failure, or epochs_stop */
    uint64_t frozen_ns;
    uint64_t submitted_ns;
    uint64_t rested_ns; /* when the flusher has rested from the last epoch */
    uint64_t retry_ns;
    uint64_t full_count; /* tries of `frozen` that found no room */
};

void epochs_start(struct epochs *epochs);

/* Takes back a finished epoch, submits one that waits, and freezes the next if `room_wanted` or if
 * the interval is over. */
void epochs_process(struct epochs *epochs, bool room_wanted);

/* Nothing follows from a finished epoch any more: journal and consensus are being left. */
void epochs_stop(struct epochs *epochs);

/* For drain: everything applied is durable in the store (or nothing was ever applied). */
bool epochs_are_settled(const struct epochs *epochs);
/* Tries of the frozen epoch that found no room: after the second, drain goes on without. */
uint64_t epochs_full_count(const struct epochs *epochs);
/* An epoch is with the flusher. */
bool epochs_are_flushing(const struct epochs *epochs);
/* When epochs_process has something to do by itself; monotonic, UINT64_MAX = never. */
uint64_t epochs_next_ns(const struct epochs *epochs);

#endif
