/* What the files of the node (node*.c) share: the one value that is a node. */
#ifndef TALLY_REPLICATION_NODE_INTERNAL_H
#define TALLY_REPLICATION_NODE_INTERNAL_H

#include "replication/catch_up/catch_up.h"
#include "replication/catch_up/pacing.h"
#include "replication/consensus/consensus.h"
#include "replication/directory.h"
#include "replication/node/certificate.h"
#include "replication/node/degraded_run.h"
#include "replication/node/digests.h"
#include "replication/node/disk_guard.h"
#include "replication/node/durability_wait.h"
#include "replication/node/epochs.h"
#include "replication/node/floor_file.h"
#include "replication/node/forward.h"
#include "replication/node/fsm.h"
#include "replication/node/in_doubt.h"
#include "replication/node/linear_read.h"
#include "replication/node/membership.h"
#include "replication/node/node.h"
#include "replication/node/node_error.h"
#include "replication/node/node_jobs.h"
#include "replication/node/pauses.h"
#include "replication/node/propose.h"
#include "replication/node/rpo.h"
#include "replication/node/site_operation.h"
#include "replication/notify.h"
#include "replication/worker.h"

/* Inside NODE_DRAINING, in this order. */
enum drain_step {
    DRAIN_WRITES,     /* what was accepted is proposed, committed, answered */
    DRAIN_HAND_OVER,  /* another node leads */
    DRAIN_CHECKPOINT, /* the last epoch */
    DRAIN_JOBS,       /* seal; the threads end */
};

/* How far node_open() came; node_release() undoes the steps in reverse order. */
enum opened_step {
    OPENED_NOTHING,
    OPENED_FILES,
    OPENED_LOCK,
    OPENED_QUEUES, /* what survives an install: waiting requests and reads */
    OPENED_JOURNAL_FILES,
    OPENED_WORKERS,
    OPENED_JOURNAL,
    OPENED_STORE,
    OPENED_MACHINE,
    OPENED_CONSENSUS,
    OPENED_CATCH_UP,
};

struct node_change;

struct node {
    struct node_options options;
    const struct environment *environment;
    struct notify notify;

    /* files and what they hold */
    struct files files; /* data directory */
    struct files journal_files;
    struct file *lock;
    struct identity identity;
    struct generation generation;
    struct checkpoint_meta meta; /* of the store when it was opened; index 0 = none */
    struct journal *journal;
    struct checkpoint *store;
    struct machine *machine;
    uint64_t torn_bytes_cut;
    enum opened_step opened;

    /* parts */
    struct consensus *consensus;
    struct catch_up *catch_up; /* NULL: a cluster without peers */
    struct proposer proposer;
    struct pacing pacing;
    struct forward forward;
    struct fsm fsm;
    struct digests digests;
    struct degraded_run degraded;
    struct linear_reads reads;
    struct epochs epochs;
    struct membership membership;
    struct node_change *change; /* whose walk it is, or NULL */
    struct site_operation site_operation;
    struct pauses pauses; /* of this node's clients */
    char drained[320];    /* node_site.h */
    uint64_t drained_looked_ns;
    struct disk_guard guard;
    struct certificates certificates;
    struct floor_file floors; /* before consensus, and after it */
    struct rpo rpo;
    struct in_doubt in_doubt;
    struct durability_waits both_waits;
    struct worker workers[NODE_JOB_COUNT];
    uint32_t workers_ready; /* initialized */

    /* life */
    enum node_phase phase;
    struct node_error error;
    bool started;
    bool abandoned; /* FAILED: everybody was called back */
    bool processing;
    bool wake_asked; /* a wake-up of the loop by ourselves is on its way */
    bool stuck_reported;
    bool clock_reported;
    bool pull_waits; /* for room in the memtable */
    bool pull_more;  /* the slice was over */
    bool replay_reported;
    enum drain_step drain_step;
    bool reinstall_wanted; /* a copy is ready to take the place of our files */
    bool reinstall_stops;  /* NODE_REINSTALLING: the old ones are being left */
    bool drain_wanted;     /* as soon as that is over */
    uint64_t reinstall_started_ns;
    uint64_t reopened_total;
    uint64_t drain_started_ns;
    uint64_t hand_over_ns;              /* when that step began */
    uint64_t turned_ns;                 /* of this or the last turn */
    uint64_t resumed_ns;                /* turning without a pause since then */
    uint64_t replay_first, replay_last; /* what the journal held behind the checkpoint at open */
    uint64_t replay_started_ns;
    uint64_t led_term;      /* the term in which we lead, or 0 */
    uint64_t leaderless_ns; /* no leader is known since then; 0: one is */
    bool may_propose;       /* its barrier is applied */
    bool transport_started;
    uint64_t member_ids[MEMBERS_MAX]; /* as the transport was told last */
    uint32_t member_count;
    uint64_t members_ns; /* the transport is not told of them before */
    bool news;           /* of consensus: members may have changed */
    bool opening_read_waits, opening_read_ok;
    struct node_read opening_read; /* the first confirmed index of a follower */
    uint64_t candidate_term, seen_leader_id;
    uint64_t elections_total, leader_changes_total;
    uint64_t leave_began_ns; /* a stuck leader looks for another one; 0 = it does not */
    uint32_t leave_tries;
    uint64_t clock_judged_ns;
    uint64_t forgotten_index, forget_ns; /* witness */
    _Atomic bool jobs_stop;              /* for the flusher of a witness, which has no store */
    uint64_t refused_busy_total;
};

/* Threads get this long to end before their memory is left to the exit. */
#define NODE_JOIN_MS 5000

static inline uint64_t node_now_ns(const struct node *node)
{
    return node->environment->monotonic_ns(node->environment->context);
}

static inline uint64_t node_wall_ns(const struct node *node)
{
    return node->environment->wall_ns(node->environment->context);
}

static inline bool node_is_witness(const struct node *node)
{
    return node->identity.kind == MEMBER_WITNESS;
}

/* The only function that changes node->phase. Invariant: the move is in the table. */
void node_move(struct node *node, enum node_phase next);
/* Requests and reads: they outlive the generation of files under them. */
enum status node_make_queues(struct node *node, struct node_error *error);
/* The generation that `current` names: its files, and the parts above them. What came of it when it
 * fails is undone by node_close_generation. */
enum status node_open_generation(struct node *node, struct node_error *error);
void node_close_generation(struct node *node);
/* Machine (restored), consensus and what drives them, files being open. */
enum status node_make_parts(struct node *node, uint64_t durable_index, struct node_error *error);
/* Frees all that node_open() built, in reverse order, as far as it came. */
void node_release(struct node *node);
/* struct notify.fail of the node. */
void node_fail(void *context, enum status status, const char *text);
/* The loop has to turn again; nothing when it will anyway. */
void node_ask_wake(struct node *node);
void node_wake_jobs(struct node *node);
/* Threads, disk guard, consensus, transport: what an opened generation begins with. After anything
 * but STATUS_OK the node has failed. */
enum status node_start_parts(struct node *node);
/* All jobs have ended. */
bool node_jobs_have_ended(struct node *node);
/* They have: false after a fail-stop, because one ended with an error. `what` was to be done. */
bool node_join_jobs(struct node *node, const char *what);
/* Begins to change over to the copy that is ready; the following turns are its. */
void node_begin_reinstall(struct node *node);
void node_process_reinstall(struct node *node);
/* Consensus, journal and store end; the jobs end behind them. */
void node_stop_jobs(struct node *node);
/* Fail-stop: everybody who waits is called back. */
void node_abandon(struct node *node);
/* Whether it may be taken, as far as both sites go; STATUS_OK, _DEGRADED, _UNSUPPORTED. */
enum status node_judge_both(const struct node *node, const struct node_request *request);
/* Parts of a turn (node_watch.c); after the disk and the jobs the node may have failed. */
void node_watch_pauses(struct node *node);
void node_watch_disk(struct node *node);
void node_watch_jobs(struct node *node);
void node_watch_clock(struct node *node);
/* The oldest journal write takes so long that nothing more should be proposed. */
bool node_is_stuck(const struct node *node);
/* Writes are refused for a reason that time or an operator ends: no room, or a bound of the policy
 * about running without a site. */
bool node_refuses_writes(const struct node *node);
/* No leader was known for longer than an election takes: who asks is told, instead of waiting. */
bool node_is_leaderless(const struct node *node);
/* Entries up to here took effect here; a witness only takes note of them. */
uint64_t node_applied_index(const struct node *node);
enum status node_start_transport(struct node *node);
void node_stop_transport(struct node *node);
/* The change under way, if any, is called back with these. */
void node_end_change(struct node *node, enum status status, const char *text);
/* The same for a site operation; on consensus of this generation. */
void node_site_init(struct node *node);
void node_end_site(struct node *node, enum status status, const char *text);
/* Part of a turn: whether the site is drained, and the step of an operation. */
void node_site_process(struct node *node);
/* A MESSAGE_SITE_* of a member. */
void node_site_receive(struct node *node, uint64_t from, uint16_t type, const void *bytes,
                       size_t size);
/* Part of a turn: who leads, what that means for requests, whether serving begins. */
void node_process_role(struct node *node);
/* Part of a turn, before proposals: how much may be proposed in it. */
void node_pace(struct node *node);
/* Last part of a turn. */
void node_process_drain(struct node *node);

#endif
