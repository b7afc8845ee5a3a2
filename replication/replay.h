/*
 * Replay: at start, the journal's entries behind the checkpoint are applied again, in slices, so
 * that the loop stays alive (probes, signals) meanwhile. Loop thread.
 */
#ifndef TALLY_REPLICATION_REPLAY_H
#define TALLY_REPLICATION_REPLAY_H

#include "replication/environment.h"
#include "replication/fsm.h"
#include "replication/notify.h"
#include "storage/journal.h"

/* A slice ends after this time, with the entry at hand. */
#define REPLAY_SLICE_MS 20

enum replay_state {
    REPLAY_MORE,   /* call again at once */
    REPLAY_WAITS,  /* the memtable has no room: close an epoch */
    REPLAY_DONE,   /* all applied */
    REPLAY_FAILED, /* fail-stop was reported */
};

struct replay {
    /* ---- filled in by the owner ---- */
    const struct environment *environment;
    const struct notify *notify;
    struct journal *journal;
    struct fsm *fsm;
    uint64_t first, last; /* entries to apply; none when first > last */
    /* ---- ours ---- */
    uint8_t *aligned; /* ENTRY_SIZE_MAX, for payloads that are not 8-aligned in the journal */
    uint64_t slice_end_ns;
    enum replay_state state;
};

/* STATUS_NO_MEMORY leaves nothing behind. */
enum status replay_init(struct replay *replay);
void replay_deinit(struct replay *replay);
/* One slice. */
enum replay_state replay_process(struct replay *replay);

#endif
