/*
 * The seam between the node and whoever agrees on the log.
 *
 *   node: consensus_propose(entry) ──► consensus: term, index, journal, peers
 *   node: consensus_next()         ◄── committed entries, in order of index, each exactly once
 *
 * Terms of the seam:
 *  - Consensus writes the journal's entries and the hard state; nobody else appends.
 *  - Committed entries are *pulled*: the node takes the next one when its memtable has room and its
 *    slice of the turn is not over. So applying may lag behind the commit, by bounded bytes
 *    (consensus stops taking entries in when its log in memory is full), and the loop never blocks.
 *  - An entry that this node proposed is recognised by (index, term) when it is pulled. If another
 *    term comes at its index it is certainly not in the log; if an install skips its index, or for
 *    as long as nothing comes, its outcome is unknown.
 *  - A proposal's payload is borrowed until the entry of that index was consumed, or until
 *    consensus_propose() failed.
 *  - Between start and ready no client is served: an entry of the own term (the barrier) has to be
 *    committed and applied first (Raft, section 8).
 *
 * All on the loop thread. Nothing here calls back inside a call, except for the sink from
 * consensus_process() and consensus_receive().
 */
#ifndef TALLY_REPLICATION_CONSENSUS_H
#define TALLY_REPLICATION_CONSENSUS_H

#include "core/status.h"
#include "replication/durability_entry.h"
#include "replication/member.h"
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
    bool done;
    enum status status;
    uint64_t index;
    uint64_t asked_of; /* another node that leads, or 0 */
    uint64_t round;
    uint64_t asked_ns;
    struct consensus_confirmation *next;
};

struct consensus_sink {
    void *context;
    /* Something can be pulled, or status or members changed: turn soon. May be NULL. */
    void (*news)(void *context);
    /* Leader: `peer` needs entries that only the journal and the store have (catch_up.h). Repeated
     * until consensus_caught_up(). May be NULL (a cluster of one). */
    void (*falls_behind)(void *context, uint64_t peer);
    /* Before failed(), with the same text: our journal ends below `index`, which it acknowledged;
     * these files must never be used again. May be NULL. */
    void (*condemned)(void *context, uint64_t index, const char *text);
    /* Fail-stop: nothing more will be committed by this process. */
    void (*failed)(void *context, enum status status, const char *text);
};

struct consensus_status {
    uint64_t term;
    uint64_t leader_id; /* 0 = unknown */
    uint64_t commit_index;
    uint64_t consumed_index;  /* entries up to here were pulled */
    uint64_t log_first_index; /* oldest entry in memory */
    uint64_t log_bytes;       /* payload bytes in memory */
    const char *role;         /* "leader", "follower", "candidate", "none" */
    bool ready;               /* leading, and an entry of this term was consumed: may propose */
    bool leads;               /* leading, perhaps not ready yet */
    uint64_t heard_ns;        /* last word of a leader of this term; monotonic, 0 = never */
    bool changing;            /* a membership change is not committed yet */
    bool transferring;        /* leadership moves away */
    /* Greatest index that the best data node of *every* site is known to hold synced: what a
     * witness may forget. The leader's own knowledge, passed on; never goes back. */
    uint64_t watermark_index;
    /* The durability rule in short; consensus_durability() has all of it. */
    bool site_rule;             /* in force: data voters at two sites, and a witness that votes */
    enum durability_mode mode;  /* of the log, its uncommitted end included */
    uint64_t durability_number; /* of the newest durability entry in the log, 0 = none */
    /* Committed, and certainly on both sites. A follower: what the leader told, 0 = nothing yet;
     * never goes back while the rule is in force. Not in force: the commit index where two sites
     * vote without a witness; 0 where data nodes of one site do: nothing is on a second one. */
    uint64_t both_index;
};

/* The two sites and the rule about them, as this node knows it. */
struct consensus_durability {
    bool in_force;
    struct durability_entry newest;    /* in the log; what it says is in force from its index on */
    uint64_t newest_index;             /* 0: no entry, the defaults */
    struct durability_entry committed; /* the newest that is known to be committed */
    uint64_t committed_index;
    uint64_t both_index;
    /* When the mode of the log last changed, as seen here; monotonic, 0 = not since the start. */
    uint64_t changed_ns;
    uint32_t changes_last_hour;
    /* The leader alone knows: a degrade is due, but the policy or the least dwell keeps it; a
     * return is due, but for the cap on changes. `held_up` says why, "" = neither. */
    bool degrade_wanted, return_capped;
    char held_up[DURABILITY_WHY_SIZE_MAX + 1];
    uint32_t site_count; /* of the voters, a witness's place included */
    struct consensus_site {
        char name[MEMBER_SITE_SIZE_MAX + 1];
        bool has_data;
        bool known;               /* the rest but heard_ns is: this node leads */
        uint64_t verified_index;  /* best index that a data node of it is known to hold synced */
        uint64_t behind_since_ns; /* it lacked something committed since then; 0: it does not */
        uint64_t heard_ns;        /* last word of any of its nodes; our own site: now */
        /* Nothing acknowledged is lost with it, and a majority remains that can go on. */
        bool survives_loss;
        char why_not[160]; /* or, where it is survived, what else should be known; may be "" */
    } sites[MEMBERS_MAX];
};

/* An operator's wish about the mode or the policy, or the node's own that a lost site be released.
 * Compare and set: `number` is that of the newest entry that its author looked at. */
struct consensus_durability_change {
    enum durability_kind kind;
    uint64_t number;
    char site[MEMBER_SITE_SIZE_MAX + 1]; /* DEGRADE: the one to do without; RELEASE: the one that is
                                            done without already; otherwise "" */
    struct durability_policy policy;     /* POLICY */
    char who[DURABILITY_WHO_SIZE_MAX + 1];
    char why[DURABILITY_WHY_SIZE_MAX + 1];
    bool dry_run; /* only judged: STATUS_OK means that it would be written, as *out_number */
};
#define CONSENSUS_DURABILITY_TEXT_SIZE 512

/* One member as this node sees it. */
struct consensus_peer {
    struct member member;
    enum consensus_vote { CONSENSUS_SPARE, CONSENSUS_STANDBY, CONSENSUS_VOTER } vote;
    uint64_t match_index; /* leader only: acknowledged as durable; 0 = nothing yet */
    uint64_t heard_ns;    /* last message of it; monotonic, 0 = never */
    bool linked;          /* connection in use */
    bool clock_known;
    int64_t clock_offset_ns; /* its wall clock minus ours, measured in read rounds */
};

/* One step of a membership change; each commits an entry of its own. */
struct consensus_change {
    enum consensus_change_kind {
        CONSENSUS_ADD,     /* `member` becomes a spare: it is known, and sent nothing */
        CONSENSUS_FEED,    /* member.node_id gets the log from now on, without a vote */
        CONSENSUS_PROMOTE, /* member.node_id becomes a voter, once it has caught up */
        CONSENSUS_REMOVE,  /* member.node_id */
    } kind;
    struct member member;
};
/* Committed entries which the leader read out of its files for us: see consensus_feed(). */
struct consensus_feed {
    uint64_t from; /* it said that it led `term` when it read them */
    uint64_t term;
    uint64_t previous_index, previous_term; /* the entry before the first */
    const struct journal_entry *entries;    /* at least one; borrowed until return */
    uint32_t count;
};

/* STATUS_OK: committed. STATUS_UNKNOWN_OUTCOME: leadership lost; look at the members. */
typedef void (*consensus_change_cb)(void *context, enum status status);

struct consensus_operations {
    enum status (*start)(struct consensus *);
    enum status (*propose)(struct consensus *, struct consensus_proposal *);
    const struct journal_entry *(*next)(struct consensus *);
    void (*consumed)(struct consensus *);
    void (*durable)(struct consensus *, uint64_t index);
    void (*confirm)(struct consensus *, struct consensus_confirmation *);
    void (*receive)(struct consensus *, uint64_t from, const void *bytes, size_t size);
    void (*linked)(struct consensus *, uint64_t peer, bool up);
    void (*caught_up)(struct consensus *, uint64_t peer, uint64_t index);
    enum status (*feed)(struct consensus *, const struct consensus_feed *feed);
    void (*process)(struct consensus *);
    uint64_t (*next_ns)(const struct consensus *);
    enum status (*change)(struct consensus *, const struct consensus_change *, consensus_change_cb,
                          void *context);
    enum status (*transfer)(struct consensus *, uint64_t to);
    bool (*is_full)(const struct consensus *);
    /* These three may be NULL in a table of a test. */
    uint64_t (*stamp)(const struct consensus *);
    void (*durability)(const struct consensus *, struct consensus_durability *out);
    enum status (*change_durability)(struct consensus *, const struct consensus_durability_change *,
                                     uint64_t *out_number, char *out_text);
    uint32_t (*peers)(const struct consensus *, struct consensus_peer *out, uint32_t capacity);
    void (*stop)(struct consensus *);
    void (*status)(const struct consensus *, struct consensus_status *out);
    void (*destroy)(struct consensus *);
};

/* First member of every implementation. */
struct consensus {
    const struct consensus_operations *operations;
};

/* Takes part from now on; entries above the applied index that it was created with can be pulled as
 * they are committed. Any status but STATUS_OK is fail-stop. */
static inline enum status consensus_start(struct consensus *c)
{
    return c->operations->start(c);
}
/* STATUS_OK: proposal->index and term are set. STATUS_NOT_READY (does not lead, or hands over),
 * STATUS_BUSY (journal's queue or the log in memory is full, or the next segment is not prepared
 * yet), STATUS_READ_ONLY (no room for a further segment), STATUS_NO_MEMORY: nothing was done, try
 * again later. Any other is fail-stop. Never calls back inside. */
static inline enum status consensus_propose(struct consensus *c,
                                            struct consensus_proposal *proposal)
{
    return c->operations->propose(c, proposal);
}
/* The committed entry after the last consumed one, or NULL. Committed entries that this node's
 * journal has synced only. Payload 8-aligned; all borrowed until the next call of consensus. */
static inline const struct journal_entry *consensus_next(struct consensus *c)
{
    return c->operations->next(c);
}
/* What consensus_next() gave is applied. */
static inline void consensus_consumed(struct consensus *c)
{
    c->operations->consumed(c);
}
/* The store holds everything up to `index`, and that is durable: the log in memory may end there,
 * but for a tail kept for followers that are a little behind. */
static inline void consensus_durable(struct consensus *c, uint64_t index)
{
    c->operations->durable(c, index);
}
/* Calls back once from consensus_process() or consensus_receive(): STATUS_OK with the index a
 * linearizable read must see applied, found by a round *begun after* this call, here or at the
 * leader; or STATUS_NOT_READY when nobody leads, or no majority answers for an election timeout.
 * Invariant: `confirmation` is not in flight. */
static inline void consensus_confirm(struct consensus *c,
                                     struct consensus_confirmation *confirmation)
{
    c->operations->confirm(c, confirmation);
}
/* A message of the types of consensus (message.h) from the authenticated peer `from`. Bytes are
 * borrowed until return; what is malformed is dropped and counted. */
static inline void consensus_receive(struct consensus *c, uint64_t from, const void *bytes,
                                     size_t size)
{
    c->operations->receive(c, from, bytes, size);
}
/* The connection for messages to `peer` came up or went down. */
static inline void consensus_linked(struct consensus *c, uint64_t peer, bool up)
{
    c->operations->linked(c, peer, up);
}
/* Leader: catch-up brought `peer`'s synced journal to `index`, all of it committed entries. 0: it
 * gave up, offer again after a pause. */
static inline void consensus_caught_up(struct consensus *c, uint64_t peer, uint64_t index)
{
    c->operations->caught_up(c, peer, index);
}
/* Follower: takes them as if the leader had sent them itself (consensus_feed.c). STATUS_OK: they
 * are in the log, and go on to the journal and the ledger as all entries do. STATUS_BUSY: no room
 * at this moment, STATUS_NO_MEMORY: try again. STATUS_NOT_READY: `from` does not lead `term` any
 * more, or is not followed. STATUS_NOT_FOUND: our log does not hold the entry before the first.
 * STATUS_CORRUPT: they are no entries of that leader. Any other is fail-stop. */
static inline enum status consensus_feed(struct consensus *c, const struct consensus_feed *feed)
{
    return c->operations->feed(c, feed);
}
/* Runs finished journal appends and timers; calls the sink and confirmations. Bounded work. */
static inline void consensus_process(struct consensus *c)
{
    c->operations->process(c);
}
/* When consensus_process() has something to do by itself; monotonic, UINT64_MAX = never. */
static inline uint64_t consensus_next_ns(const struct consensus *c)
{
    return c->operations->next_ns(c);
}
/* Leader: one step of a membership change. STATUS_OK: cb will come. STATUS_NOT_READY (does not
 * lead), STATUS_BUSY (another change, a transfer, or a voter that has to catch up first: retry),
 * STATUS_EXISTS, STATUS_NOT_FOUND, STATUS_INVALID (the rule about sites in member.h). */
static inline enum status consensus_change(struct consensus *c,
                                           const struct consensus_change *change,
                                           consensus_change_cb cb, void *context)
{
    return c->operations->change(c, change, cb, context);
}
/* Leader: hands leadership to the voter `to`; 0 = the best data node, of the other site if there is
 * one. Proposals are refused until it is over; see status. STATUS_NOT_READY, STATUS_BUSY,
 * STATUS_NOT_FOUND. */
static inline enum status consensus_transfer(struct consensus *c, uint64_t to)
{
    return c->operations->transfer(c, to);
}
/* The greatest stamp in the log, uncommitted entries included: who makes the next entry stamps it
 * later. The one source of it for all that a leader proposes, and right at a leader only. */
static inline uint64_t consensus_stamp(const struct consensus *c)
{
    return c->operations->stamp == NULL ? 0 : c->operations->stamp(c);
}
static inline void consensus_durability(const struct consensus *c, struct consensus_durability *out)
{
    if (c->operations->durability == NULL)
        *out = (struct consensus_durability){0};
    else
        c->operations->durability(c, out);
}
/* Leader: puts an operator's entry into the log. STATUS_OK: it is there as number *out_number; look
 * until consensus_durability() has that number committed (another leader may have put another
 * entry in its place: compare who and why). Otherwise nothing happened, and `out_text`
 * (CONSENSUS_DURABILITY_TEXT_SIZE) says why and what to do next: STATUS_NOT_READY (does not lead),
 * STATUS_EXISTS (`number` is not the newest any more), STATUS_BUSY (a change before it is not
 * committed, leadership moves, no room: again later), STATUS_INVALID (against the rule or the
 * policy). */
static inline enum status
consensus_durability_propose(struct consensus *c, const struct consensus_durability_change *change,
                             uint64_t *out_number, char *out_text)
{
    if (c->operations->change_durability == NULL) {
        out_text[0] = 0;
        return STATUS_NOT_READY;
    }
    return c->operations->change_durability(c, change, out_number, out_text);
}
/* Members in order of configuration, ourselves included; returns how many there are. */
static inline uint32_t consensus_peers(const struct consensus *c, struct consensus_peer *out,
                                       uint32_t capacity)
{
    return c->operations->peers(c, out, capacity);
}
/* The log in memory takes no entry any more before the store has more of it: a checkpoint is due.
 */
static inline bool consensus_is_full(const struct consensus *c)
{
    return c->operations->is_full(c);
}
/* Appends nothing more and takes no part any more; what is in flight still comes back. */
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
