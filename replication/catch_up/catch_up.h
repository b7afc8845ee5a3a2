/*
 * Bringing a peer up to date that needs entries which its leader no longer holds in memory: they
 * are read to it out of the leader's journal, and it takes them behind its own. If that is not
 * possible it first builds a new journal (and store) beside the ones in use, from what the leader
 * reads it out of its own, and changes over. docs/catch-up.md tells the whole story.
 *
 *   leader                                   peer
 *   consensus: falls_behind ─ OFFER ───────► has it already? ── DONE ──► consensus_caught_up()
 *                             ◄──── OPEN ─── otherwise: from my last entry
 *   entries of the journal ────── DATA ────► consensus_feed()
 *                             ◄──── DONE ───
 *
 *                             ◄──── OPEN ─── or all of it
 *   copy of the store ──────────── DATA ───► new directories, synced
 *                                            ready: node stops, catch_up_take(), closes files,
 *                                            catch_up_switch(), opens itself again
 *                             ◄──── DONE ─── and is behind by a little: as above
 *
 * One value serves both sides: at most CATCH_UP_SERVED_MAX peers at a time, and one copy of our
 * own. Who leads matters only for offers, which are taken from the leader that
 * consensus follows: what is passed on is committed, whoever passes it on.
 *
 * Everything on the loop thread but catch_up_job_step(), which reads and writes the files. Nothing
 * here is fail-stop: a copy that fails is thrown away and offered again.
 */
#ifndef TALLY_REPLICATION_CATCH_UP_H
#define TALLY_REPLICATION_CATCH_UP_H

#include "replication/directory.h"
#include "replication/environment.h"
#include "replication/notify.h"
#include "replication/transport.h"

#include "storage/checkpoint.h"
#include "storage/journal.h"

struct catch_up;

#define CATCH_UP_SERVED_MAX 2

/* What consensus knows at this moment. */
struct catch_up_facts {
    uint64_t term;
    uint64_t leader_id; /* whom we follow in that term; 0: nobody, or not known */
    bool leads;
    uint64_t commit_index;
    uint64_t log_first_index; /* oldest entry in memory */
    uint64_t watermark_index; /* what a witness need not keep */
};

/* Committed entries behind one that our log holds, out of the log of who led `term`. */
struct catch_up_feed {
    uint64_t from, term;
    uint64_t previous_index, previous_term; /* the entry before the first */
    const struct journal_entry *entries;    /* at least one; borrowed until return */
    uint32_t count;
};

struct catch_up_options {
    const struct environment *environment;
    const struct notify *notify;
    struct transport *transport; /* started by the owner, before the first call that sends */
    const char *directory;       /* data directory; borrowed */
    const struct files *files;   /* the same, open and locked by us; borrowed */
    struct generation generation;
    struct journal *journal;
    struct checkpoint *store; /* NULL: a witness */
    uint64_t segment_size;
    /* Entries above what it can apply by itself that a data node gets from us without a new store,
     * if that is smaller; an eighth of it when it has no state at all; 0 = 1 GiB. */
    uint64_t tail_bytes_max;
    /* Entries that one copy brings at most: they are in memory when it is installed. 0 = 512 MiB */
    uint64_t ahead_bytes_max;
    uint8_t cluster_id[16];
    void *context;
    void (*wake_job)(void *context);  /* loop */
    void (*wake_loop)(void *context); /* any thread */
    void (*facts)(void *context, struct catch_up_facts *out);
    /* Leader: consensus_caught_up(peer, index). */
    void (*caught_up)(void *context, uint64_t peer, uint64_t index);
    /* consensus_feed(), and what that answers. */
    enum status (*feed)(void *context, const struct catch_up_feed *feed);
    /* A copy is ready to take the place of what is in use; see catch_up_take(). From process(). */
    void (*ready)(void *context);
};

/* A copy that is finished, synced and whole. */
struct catch_up_install {
    struct generation from, to;
    bool with_store;      /* `to.store` is new */
    uint64_t index, term; /* the new journal's last entry */
    uint64_t leader;      /* who offered */
};

/* Removes what an interrupted copy left behind; STATUS_IO when it cannot be, STATUS_NO_MEMORY. */
enum status catch_up_create(const struct catch_up_options *options, struct catch_up **out);
/* NULL is allowed. Invariant: the job has ended, or was never stepped. Journal and store are still
 * open. */
void catch_up_destroy(struct catch_up *catch_up);

/* Leader, from consensus: `peer` needs what the log in memory does not have. */
void catch_up_offer(struct catch_up *catch_up, uint64_t peer);
/* What was just installed, after the node opened itself again: its leader is told as soon as it is
 * reached. */
void catch_up_installed(struct catch_up *catch_up, const struct catch_up_install *install);

/* Messages MESSAGE_CATCH_UP_FIRST .. LAST; what is malformed is dropped. */
void catch_up_receive(struct catch_up *catch_up, uint64_t from, enum transport_lane lane,
                      const void *bytes, size_t size);
void catch_up_link(struct catch_up *catch_up, uint64_t peer, enum transport_lane lane, bool up);
void catch_up_writable(struct catch_up *catch_up, uint64_t peer, enum transport_lane lane);
/* What the job finished, and what is due; bounded work. */
void catch_up_process(struct catch_up *catch_up);
/* When catch_up_process() has something to do by itself; monotonic, UINT64_MAX = never. */
uint64_t catch_up_next_ns(const struct catch_up *catch_up);

/* The job: one piece of reading or writing. JOB_DONE after catch_up_stop(). */
enum job_state catch_up_job_step(struct catch_up *catch_up, uint64_t *out_wait_ns);
/* Begins nothing more; the job ends after the piece in hand. */
void catch_up_stop(struct catch_up *catch_up);

/* The journal must keep its entries above this index; UINT64_MAX: no matter. */
uint64_t catch_up_hold_index(const struct catch_up *catch_up);

/* What all members together are read from now on, bytes per second, not 0: a leader has other
 * things to do. PACING_READ_MAX until it is said. */
void catch_up_read_rate(struct catch_up *catch_up, uint64_t bytes_per_second);

/* ---- changing over ---- */

bool catch_up_is_ready(const struct catch_up *catch_up);
/* [safety] After consensus has stopped and the journal's writer has ended, journal still open: may
 * the copy take its place? Not when the journal in use holds more of the same history: what it
 * acknowledged must not be forgotten. False: go on with what is in use. */
bool catch_up_take(struct catch_up *catch_up, struct catch_up_install *out);
/* With journal, store and hard state closed. Replaces `current`, then removes what was in use
 * before. Any status but STATUS_OK: one of the two counts, whole; open again to see which. */
enum status catch_up_switch(const struct environment *environment, const struct files *files,
                            const char *directory, const struct catch_up_install *install);

/* ---- watching ---- */

struct catch_up_progress {
    bool active;
    const char *phase; /* "waiting", "store", "verifying", "journal", "ready"; static */
    uint64_t peer;     /* the other side */
    uint64_t bytes_done, bytes_total; /* of the store; total 0: none is copied, or not known yet */
    uint64_t index;                   /* the new journal is there */
};
/* Our own copy. */
void catch_up_own(const struct catch_up *catch_up, struct catch_up_progress *out);
/* The one that we serve `peer`; inactive when there is none. */
void catch_up_served(const struct catch_up *catch_up, uint64_t peer, struct catch_up_progress *out);

#endif
