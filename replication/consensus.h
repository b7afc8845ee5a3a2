/*
 * The seam between the node and whoever agrees on the log. Today `consensus_solo`, a cluster of
 * one; libraft behind the same table later. Nothing above or below this header knows which.
 *
 *   node: consensus_propose(entry) ──► consensus: term, index, journal (and peers)
 *   node: sink.committed(entry)    ◄── in order of index, each exactly once, never to be refused
 *
 * Terms of the seam:
 *  - Consensus writes the journal's entries and the hard state; nobody else appends.
 *  - committed() is called only for entries that this node's journal has synced, and only from
 *    consensus_process(). It cannot push back: so the proposer proposes only what the memtable has
 *    room for, and a follower lets entries in by the same rule.
 *  - An entry that this node proposed ends in exactly one of committed() and lost(). Its payload is
 *    borrowed until then. (libraft demands buffers of its own: that copy is consensus_libraft's.)
 *  - Between start and ready no client is served: an entry of the own term (the barrier) has to be
 *    committed and applied first (Raft, section 8).
 *
 * All on the loop thread.
 */
#ifndef TALLY_REPLICATION_CONSENSUS_H
#define TALLY_REPLICATION_CONSENSUS_H

#include "core/status.h"
#include "storage/journal.h"

#include <stdbool.h>
#include <stdint.h>

struct consensus;

/* Embedded by the caller. */
struct consensus_proposal {
    uint16_t type; /* enum journal_entry_type */
    uint32_t size;
    const void *payload;
    /* ---- set by a successful consensus_propose ---- */
    uint64_t index;
    uint64_t term;
};

/* A question "which index must be applied before I may answer a read that arrived just now?" */
struct consensus_confirmation;
typedef void (*consensus_confirmation_cb)(struct consensus_confirmation *confirmation,
                                          enum status status, uint64_t index);
struct consensus_confirmation {
    consensus_confirmation_cb cb;
    /* ---- ours ---- */
    bool in_flight;
};

struct consensus_sink {
    void *context;
    /* Entry agreed on; payload borrowed until return. Must not propose inside: queue. */
    void (*committed)(void *context, const struct journal_entry *entry);
    /* A proposal of ours that may or may not be committed some day (leadership lost). */
    void (*lost)(void *context, struct consensus_proposal *proposal);
    /* Fail-stop: nothing more will be committed by this process. */
    void (*failed)(void *context, enum status status, const char *text);
};

struct consensus_status {
    uint64_t term;
    uint64_t leader_id; /* 0 = unknown */
    uint64_t commit_index;
    const char *role; /* "leader", "follower", "candidate", "none" */
    bool ready;       /* leading, and an entry of this term was committed */
};

struct consensus_operations {
    enum status (*start)(struct consensus *, uint64_t applied_index);
    enum status (*propose)(struct consensus *, struct consensus_proposal *);
    void (*confirm)(struct consensus *, struct consensus_confirmation *);
    void (*process)(struct consensus *);
    void (*stop)(struct consensus *);
    uint64_t (*known_commit)(const struct consensus *);
    void (*status)(const struct consensus *, struct consensus_status *out);
    void (*destroy)(struct consensus *);
};

/* First member of every implementation. */
struct consensus {
    const struct consensus_operations *operations;
};

/* Newest entry known to be committed before the consensus starts: replay applies the journal up to
 * here. For a cluster of one that is everything durable. */
static inline uint64_t consensus_known_commit(const struct consensus *c)
{
    return c->operations->known_commit(c);
}
/* Takes part from now on; entries above `applied_index` will be delivered by committed(). Any
 * status but STATUS_OK is fail-stop. */
static inline enum status consensus_start(struct consensus *c, uint64_t applied_index)
{
    return c->operations->start(c, applied_index);
}
/* STATUS_OK: proposal->index and term are set and it will end in committed() or lost().
 * STATUS_NOT_READY (does not lead), STATUS_BUSY (journal's queue, or the next segment is not
 * prepared yet), STATUS_READ_ONLY (no room for a further segment), STATUS_NO_MEMORY: nothing was
 * done, try again later. Any other is fail-stop. Never calls back inside. */
static inline enum status consensus_propose(struct consensus *c,
                                            struct consensus_proposal *proposal)
{
    return c->operations->propose(c, proposal);
}
/* Calls back once from consensus_process(): STATUS_OK with the index a linearizable read must see
 * applied, found by a round *begun after* this call; or STATUS_NOT_READY when leadership is gone.
 * Invariant: `confirmation` is not in flight. */
static inline void consensus_confirm(struct consensus *c,
                                     struct consensus_confirmation *confirmation)
{
    c->operations->confirm(c, confirmation);
}
/* Runs finished journal appends, messages and timers; calls the sink. Bounded work. */
static inline void consensus_process(struct consensus *c)
{
    c->operations->process(c);
}
/* Appends nothing more and takes no part any more; what is in flight still calls back. */
static inline void consensus_stop(struct consensus *c)
{
    c->operations->stop(c);
}
static inline void consensus_status(const struct consensus *c, struct consensus_status *out)
{
    c->operations->status(c, out);
}
/* NULL is allowed. The journal has stopped: nothing borrowed by it is in use. */
static inline void consensus_destroy(struct consensus *c)
{
    if (c != NULL)
        c->operations->destroy(c);
}

#endif
