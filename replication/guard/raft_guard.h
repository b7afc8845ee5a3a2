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
 *  - A message given to send() is encoded or copied inside the call: entries are borrowed until it
 *    returns.
 *
 * Beside repairs the guard keeps the durability rule of two sites: a leader sends a witness, and
 * counts of it, what the rule allows (site_rule.h, raft_guard_site.c, raft_guard_lane.c).
 *
 * What is not here: splitting and bounding of messages, identity of peers (transport).
 *
 * All on the loop thread.
 */
#ifndef TALLY_REPLICATION_RAFT_GUARD_H
#define TALLY_REPLICATION_RAFT_GUARD_H

#include "replication/guard/site_rule.h"

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

/* The repairs. **For tests only**: a directed schedule proves a repair by switching it off alone.
 * Everything else passes RAFT_GUARD_ALL. The numbers are those of docs/raft-guard.md; those without
 * a number there have bits that mean nothing. Of 64 bits, hence no enum. */
#define RAFT_GUARD_PART(bit) (UINT64_C(1) << (bit))
/* clang-format off */
#define RAFT_GUARD_S1        RAFT_GUARD_PART(1)  /* acknowledge only what this leader verified */
#define RAFT_GUARD_S2        RAFT_GUARD_PART(2)  /* learn of commits only up to what the message verifies */
#define RAFT_GUARD_S3        RAFT_GUARD_PART(3)  /* trim entries below the snapshot */
#define RAFT_GUARD_S4        RAFT_GUARD_PART(4)  /* never count entries of older terms (figure 8) */
#define RAFT_GUARD_S5        RAFT_GUARD_PART(5)  /* try the quorum's index, not the leader's own */
#define RAFT_GUARD_S6        RAFT_GUARD_PART(6)  /* nothing to nobody */
#define RAFT_GUARD_S7        RAFT_GUARD_PART(7)  /* no campaign while the disk is behind the log */
#define RAFT_GUARD_S8        RAFT_GUARD_PART(8)  /* fail-stop on any error of the disk */
#define RAFT_GUARD_S9        RAFT_GUARD_PART(9)  /* rejections name a useful hint */
#define RAFT_GUARD_S10       RAFT_GUARD_PART(10) /* a lost AppendEntries is no error */
#define RAFT_GUARD_S11       RAFT_GUARD_PART(11) /* send never fails */
#define RAFT_GUARD_S12       RAFT_GUARD_PART(12) /* transfers: wait for the peer's disk; borrow no request */
#define RAFT_GUARD_S13       RAFT_GUARD_PART(13) /* no snapshot of an uncommitted configuration */
#define RAFT_GUARD_S18       RAFT_GUARD_PART(18) /* a probe is one entry, not all that is missing */
#define RAFT_GUARD_S20       RAFT_GUARD_PART(20) /* no truncation under an append in flight */
/* Without a number in the notes. */
#define RAFT_GUARD_TERM      RAFT_GUARD_PART(14) /* also a sole voter begins a term before it leads */
#define RAFT_GUARD_ONE_VOTE  RAFT_GUARD_PART(15) /* one vote a term, also for whom leadership is handed to */
#define RAFT_GUARD_NEWER     RAFT_GUARD_PART(16) /* a refused pre-vote tells the newer term */
#define RAFT_GUARD_LEADER    RAFT_GUARD_PART(21) /* forget a silent leader, so that votes are given */
#define RAFT_GUARD_BARRIER   RAFT_GUARD_PART(22) /* an entry of the own term at once on becoming leader */
#define RAFT_GUARD_ROLLBACK  RAFT_GUARD_PART(23) /* go back to the committed configuration */
#define RAFT_GUARD_VOTE      RAFT_GUARD_PART(24) /* vote also as who does not know yet that it may */
#define RAFT_GUARD_CHANGE    RAFT_GUARD_PART(25) /* change members only when the change can be committed */
/* Of a witness. */
#define RAFT_GUARD_REACH     RAFT_GUARD_PART(0)  /* it campaigns only for whom it could bring up to date */
#define RAFT_GUARD_QUIET     RAFT_GUARD_PART(26) /* no campaign of its own */
#define RAFT_GUARD_RESORT    RAFT_GUARD_PART(27) /* but as the last resort */
#define RAFT_GUARD_SILENT    RAFT_GUARD_PART(28) /* as a leader it appends nothing and serves nobody */
#define RAFT_GUARD_HAND_OVER RAFT_GUARD_PART(29) /* as a leader it makes a data node lead */
#define RAFT_GUARD_TARGET    RAFT_GUARD_PART(30) /* leadership is never handed to it */
/* Of the durability rule; numbers as in docs/durability-rule.md. */
#define RAFT_GUARD_GATE      RAFT_GUARD_PART(32) /* 4: the witness is sent what both sites hold */
#define RAFT_GUARD_VERIFIED  RAFT_GUARD_PART(33) /* 3: that is what was verified in this term, not what was inherited */
#define RAFT_GUARD_CLAMP     RAFT_GUARD_PART(34) /* 5: under SYNC it counts up to the gate */
#define RAFT_GUARD_SYNCED    RAFT_GUARD_PART(35) /* 2: the leader's own copy counts once it is synced */
#define RAFT_GUARD_MODE      RAFT_GUARD_PART(36) /* 1: the mode is the log's, not the committed prefix's */
#define RAFT_GUARD_REACHED   RAFT_GUARD_PART(37) /* 6: degraded counts once the quorum has reached that entry */
#define RAFT_GUARD_RUN       RAFT_GUARD_PART(38) /* 10: the witness counts to the end of the degraded run */
#define RAFT_GUARD_AGAIN     RAFT_GUARD_PART(39) /* 10: its answer is delivered again when gate or quorum rise */
/* clang-format on */
#define RAFT_GUARD_ALL (UINT64_C(0x7ff5ffff) | UINT64_C(0xff) << 32)

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

/* Where each server of `configuration` is, in its order: what raft itself does not know. Asked
 * again whenever the configuration in force changes. Which of the two sites is 0 does not matter.
 */
typedef void (*raft_guard_places)(void *context, const struct raft_configuration *configuration,
                                  enum site_place out_places[]);

/* Whether this entry, a RAFT_COMMAND, sets the mode of the log (durability_entry.h). Pure. */
typedef bool (*raft_guard_sets_mode)(void *context, const struct raft_buffer *buffer,
                                     enum durability_mode *out_mode);

/* Bytes of entries that a message to that peer may have at this moment without being cut. */
typedef uint64_t (*raft_guard_room)(void *context, raft_id id);

/* The first entry that this node could give to a peer, from memory or from its journal. */
typedef raft_index (*raft_guard_first_kept)(void *context);

struct raft_guard_options {
    struct raft *raft;                /* not initialized yet; borrowed for the guard's life */
    struct raft_io *inner;            /* likewise; its data becomes ours */
    struct raft_fsm *fsm;             /* likewise; its functions get ours, with the same `data` */
    raft_guard_fail_stop fail_stop;   /* required */
    raft_guard_places places;         /* NULL: all are data nodes of one site */
    raft_guard_sets_mode sets_mode;   /* NULL: no entry does */
    raft_guard_room room;             /* NULL: unbounded */
    raft_guard_first_kept first_kept; /* NULL: what is in memory. Asked of a witness only */
    bool witness;                     /* this node itself */
    void *context;
    uint64_t parts; /* RAFT_GUARD_ALL */
};

/* What a leader sends to a witness (raft_guard_lane.c). */
struct guard_lane {
    raft_id id;
    raft_index next;     /* is sent next */
    raft_index verified; /* by its answers of this term */
    bool probing, asked; /* we look for the place where its log parts from ours; and wait */
    bool carried;        /* what we wait for had an entry */
    bool wants_snapshot; /* its next entry is not in memory: libraft's turn */
    bool clock;          /* libraft would have sent it something */
    raft_time sent_at;
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

    /* The durability rule. */
    struct site_modes modes; /* of the log */
    struct {
        bool known;
        bool in_force;                         /* data voters at two sites, and a witness */
        raft_index configuration, uncommitted; /* what it is of, ... */
        unsigned n;
        struct {
            raft_id id;
            int role;
        } servers[RAFT_GUARD_PEERS_MAX]; /* ... a role changes before these indexes do */
        enum site_place of[RAFT_GUARD_PEERS_MAX];
    } places;
    struct guard_lane lanes[RAFT_GUARD_PEERS_MAX]; /* leader; id 0: free */
    raft_term lanes_term;
    bool delivering;   /* libraft handles a result, its last_stored is not the real one */
    raft_index stored; /* which is this */

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

/* ---- the durability rule ---- */

/* From load, before it returns, and when a snapshot is restored while running: the log up to
 * `index`, which is committed, leaves it in `mode`. Changes of mode noted so far are forgotten. */
void raft_guard_set_mode(struct raft_guard *guard, raft_index index, enum durability_mode mode);

/* The configuration in force has data voters at two sites, and a witness among the voters. */
bool raft_guard_rule_in_force(const struct raft_guard *guard);

/* Of the whole log, uncommitted entries included. */
enum durability_mode raft_guard_mode(const struct raft_guard *guard);

/* 9. Leader, rule in force: what is committed and known to be on both sites; otherwise 0. */
raft_index raft_guard_both(const struct raft_guard *guard);

/* Leader: what `id` verified in this term (2), of itself what it has synced; 0 for an unknown id.
 * Of a witness it may be more than libraft was told. */
raft_index raft_guard_verified(const struct raft_guard *guard, raft_id id);

/* Leader: rule 7 allows a return now: degraded, and each site's best has reached the commit.
 * Advice: the guard refuses no entry, and an early return is a stall, no loss. */
bool raft_guard_may_return(const struct raft_guard *guard);

#endif
