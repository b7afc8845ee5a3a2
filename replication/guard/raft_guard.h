/*
 * The guard: libraft 0.15.0 made safe from outside.
 *
 * The library loses entries that it acknowledged, corrupts its log, leads with a log its disk does
 * not hold, and more; docs/raft-guard.md has the table of faults, each with its repair here and
 * with a directed schedule that fails without it. The guard sits on both edges of the library:
 *
 *     transport, journal ──► inner raft_io ──► GUARD ──► libraft ──► GUARD ──► fsm
 *     (or the simulator's)       tick, recv, callbacks        snapshot
 *                          ◄──   send, append, truncate, ... ◄──
 *
 * The same source serves the real transport and the simulator.
 *
 * What the inner raft_io promises (it is libraft's own contract, sharpened where libraft is weak):
 *  - Its functions get `inner` itself; `inner->data` belongs to the guard, `inner->impl` to it.
 *  - No callback fires inside the call that it belongs to; each fires exactly once, before close's
 *    at the latest (RAFT_CANCELED), and in the order of the calls for appends.
 *  - A message given to recv is delivered once, outside of any call of libraft or of the guard.
 *    Ownership of entries and snapshot data is libraft's: see raft.h.
 *  - send() may lose a message; status and return value then do not matter.
 *  - After a fail-stop libraft hears of nothing more. raft_close() then gives its memory back: what
 *    was in flight ends, or ended meanwhile, as cancelled.
 *  - An error of append, truncate, snapshot_put, set_term or set_vote ends the process. So a full
 *    queue is none: there are limits for proposals, and for what is received, before it.
 *
 * What is not here: splitting and bounding of messages, identity of peers (transport); the site
 * durability rule, whose place is marked in raft_guard_receive.c.
 *
 * All on the loop thread.
 */
#ifndef TALLY_REPLICATION_RAFT_GUARD_H
#define TALLY_REPLICATION_RAFT_GUARD_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

/* The repairs. **For tests only**: a directed schedule proves a repair by switching it off alone.
 * Everything else passes RAFT_GUARD_ALL. The numbers are those of docs/raft-guard.md. */
enum raft_guard_part {
    RAFT_GUARD_S1 = 1u << 1,   /* acknowledge only what this leader verified */
    RAFT_GUARD_S2 = 1u << 2,   /* learn of commits only up to what the message verifies */
    RAFT_GUARD_S3 = 1u << 3,   /* trim entries below the snapshot */
    RAFT_GUARD_S4 = 1u << 4,   /* never count entries of older terms (figure 8) */
    RAFT_GUARD_S5 = 1u << 5,   /* try the quorum's index, not the leader's own */
    RAFT_GUARD_S6 = 1u << 6,   /* nothing to nobody */
    RAFT_GUARD_S7 = 1u << 7,   /* no campaign while the disk is behind the log */
    RAFT_GUARD_S8 = 1u << 8,   /* fail-stop on any error of the disk */
    RAFT_GUARD_S9 = 1u << 9,   /* rejections name a useful hint */
    RAFT_GUARD_S10 = 1u << 10, /* a lost AppendEntries is no error */
    RAFT_GUARD_S11 = 1u << 11, /* send never fails */
    RAFT_GUARD_S12 = 1u << 12, /* transfers: wait for the peer's disk; borrow no request */
    RAFT_GUARD_S13 = 1u << 13, /* no snapshot of an uncommitted configuration */
    RAFT_GUARD_S18 = 1u << 18, /* a probe is one entry, not all that is missing */
    RAFT_GUARD_S20 = 1u << 20, /* no truncation under an append in flight */
    /* Without a number in the notes; the bits mean nothing. */
    RAFT_GUARD_TERM = 1u << 14,     /* also a sole voter begins a term before it leads */
    RAFT_GUARD_ONE_VOTE = 1u << 15, /* one vote a term, also for whom leadership is handed to */
    RAFT_GUARD_NEWER = 1u << 16,    /* a refused pre-vote tells the newer term */
    RAFT_GUARD_LEADER = 1u << 21,   /* forget a silent leader, so that votes are given */
    RAFT_GUARD_BARRIER = 1u << 22,  /* an entry of the own term at once on becoming leader */
    RAFT_GUARD_ROLLBACK = 1u << 23, /* go back to the committed configuration */
    RAFT_GUARD_VOTE = 1u << 24,     /* vote also as who does not know yet that it may */
    RAFT_GUARD_CHANGE = 1u << 25,   /* change members only when the change can be committed */
    /* Of a witness. */
    RAFT_GUARD_REACH = 1u << 0,      /* it campaigns only for whom it could bring up to date */
    RAFT_GUARD_QUIET = 1u << 26,     /* no campaign of its own */
    RAFT_GUARD_RESORT = 1u << 27,    /* but as the last resort */
    RAFT_GUARD_SILENT = 1u << 28,    /* as a leader it appends nothing and serves nobody */
    RAFT_GUARD_HAND_OVER = 1u << 29, /* as a leader it makes a data node lead */
    RAFT_GUARD_TARGET = 1u << 30,    /* leadership is never handed to it */
    RAFT_GUARD_ALL = 0x7ff5ffff,
};

/* A witness that refused a data node its vote waits this long for another one to lead: longer than
 * what lies between the campaigns of the others. 150 ms for an election timeout of 250. */
#define RAFT_GUARD_RESORT_MS(election_timeout_ms) ((election_timeout_ms)*3 / 5)

/* Servers of one configuration. */
#define RAFT_GUARD_PEERS_MAX 16

struct raft_guard;

/* The process cannot go on: `operation` is a short name, `code` one of RAFT_* (RAFT_SHUTDOWN when
 * libraft gave up by itself). Should not return: log, then _exit. A simulator may return after it
 * marked the node as dead; the guard then touches libraft no more. */
typedef void (*raft_guard_fail_stop)(void *context, const char *operation, int code);

/* The end of a transfer, successful or not: ask raft_leader(). */
typedef void (*raft_guard_transfer_cb)(void *context);

/* Whether that member is a witness: what raft itself does not know. Pure, any time. */
typedef bool (*raft_guard_is_witness)(void *context, raft_id id);

/* The first entry that this node could give to a peer, from memory or from its journal. */
typedef raft_index (*raft_guard_first_kept)(void *context);

struct raft_guard_options {
    struct raft *raft;                /* not initialized yet; borrowed for the guard's life */
    struct raft_io *inner;            /* likewise; its data becomes ours */
    struct raft_fsm *fsm;             /* likewise; its functions get ours, with the same `data` */
    raft_guard_fail_stop fail_stop;   /* required */
    raft_guard_is_witness is_witness; /* NULL: nobody is */
    raft_guard_first_kept first_kept; /* NULL: what is in memory. Asked of a witness only */
    bool witness;                     /* this node itself */
    void *context;
    uint32_t parts; /* RAFT_GUARD_ALL */
};

/* Open, because it is embedded; everything below the line is the guard's. */
struct raft_guard {
    struct raft_io io;   /* for raft_init() */
    struct raft_fsm fsm; /* for raft_init() */
    /* ---- ours ---- */
    struct raft_guard_options options;
    raft_io_tick_cb raft_tick;
    raft_io_recv_cb raft_recv;
    raft_io_close_cb raft_closed;
    bool closing, stopped;
    raft_id talking_to; /* sender of the message inside recv at this moment, else 0 */

    /* As a follower. */
    raft_term verified_term; /* the term that `verified` belongs to */
    raft_index verified;     /* greatest prev + n accepted from the leader of that term */
    raft_term arriving_term; /* of the message inside recv at this moment, else 0 */
    raft_index arriving_end; /* what that message verifies if libraft accepts it */
    bool arriving_rejected;  /* libraft answered it with a rejection */
    raft_time heard_at;      /* last word of a leader of the current term */
    uint64_t appends_in_flight;
    struct raft_message *held_snapshot; /* waits for the appends in flight, or NULL */

    /* Membership. */
    struct raft_configuration committed; /* the newest committed configuration, of ... */
    raft_index committed_index;          /* ... this entry; 0: none known */
    raft_index loaded_uncommitted;       /* between load and start */

    /* As a witness. */
    raft_time resort_at;  /* it may campaign from then on; 0: it has no reason to */
    raft_time refused_at; /* last vote refused to a data node with a shorter log */

    /* As a leader. */
    struct {
        raft_id id;
        raft_time at;
    } heard[RAFT_GUARD_PEERS_MAX];        /* last results of this term, in no order; id 0: free */
    raft_index commit_before, commit_now; /* samples, half an election timeout apart */
    raft_time commit_sampled_at;
    raft_time ticked_at;
    raft_term led_term; /* the newest term we saw ourselves leading, 0 = not leading */
    bool barrier_wanted, barrier_in_log;
    raft_term ready_term; /* the barrier of this term is applied */
    struct raft_barrier barrier;
    struct raft_transfer transfer;
    enum raft_guard_transfer_state {
        RAFT_GUARD_NO_TRANSFER,
        RAFT_GUARD_TRANSFER_WAITS, /* for the peer to hold the whole log */
        RAFT_GUARD_TRANSFER_RUNS,  /* libraft's */
    } transfer_state;
    raft_id transfer_to;
    raft_time transfer_began;
    raft_guard_transfer_cb transfer_cb;
    void *transfer_context;

    /* Wrapped requests. */
    struct guard_send *completed, **completed_end; /* sends to be called back outside of send */
    struct raft_io_snapshot_put put, *put_of_raft;
    struct guard_append *late_appends; /* ended after a fail-stop; libraft hears when it closes */
    bool put_is_late;                  /* likewise */
};

/* Prepares guard->io and guard->fsm for raft_init(options->raft, &guard->io, &guard->fsm, ...).
 * Never fails. Memory comes from raft_malloc only: one small block per append and per message,
 * beside those that libraft itself takes for the same call. */
void raft_guard_init(struct raft_guard *guard, const struct raft_guard_options *options);

/* This node leads and an entry of its own term is applied: writes may be proposed, reads served. */
bool raft_guard_ready(const struct raft_guard *guard);

/* False while leadership moves away: propose nothing, the peer must reach the end of the log. */
bool raft_guard_may_propose(const struct raft_guard *guard);

/* May the member `id` get `role` now (RAFT_SPARE, RAFT_STANDBY, RAFT_VOTER; -1: be removed; a new
 * one comes as RAFT_SPARE)? To be asked before each raft_add(), raft_assign() and raft_remove().
 * That is: ready, no change or transfer under way, and of the voters before as well as after the
 * change a majority is heard from and holds what was committed an election timeout ago, so that the
 * change is committed and the cluster goes on without the others. */
bool raft_guard_may_change(const struct raft_guard *guard, raft_id id, int role);

/* Leader: `id` answered within the last election timeout, and held what was committed an election
 * timeout ago. Of this node itself: it leads. */
bool raft_guard_is_current(const struct raft_guard *guard, raft_id id);

/* When the inner raft_io's tick must be called next (its clock, milliseconds; may be in the past),
 * UINT64_MAX: when something else happens only. Ask again after each event. More ticks do no harm,
 * and nothing is missed between these. */
raft_time raft_guard_next_tick(const struct raft_guard *guard);

/* Hands leadership to the voter `id`: waits, at most an election timeout, until it holds the whole
 * log on its disk, then asks it to campaign. 0: cb fires once, never inside. RAFT_NOTLEADER: not
 * leading, or a transfer runs. RAFT_BADID: not another voter of the configuration, or a witness. */
int raft_guard_transfer(struct raft_guard *guard, raft_id id, raft_guard_transfer_cb cb,
                        void *context);

#endif
