/*
 * The node: one path from proposal to answer, whoever leads.
 *
 *   node_propose -> gather (propose.c) -> journal append -> consensus commits -> machine_apply
 *                -> answers;  in the background: freeze -> checkpoint -> prune journal
 *
 * Consensus is reached through `struct consensus` (consensus.h), the other members through `struct
 * transport`. Questions about the cluster, and changes of it, are in node_cluster.h.
 *
 * Everything runs on the loop thread except the jobs (node_jobs.h), which node_start gives to
 * threads (worker.h) or a simulator steps by itself.
 */
#ifndef TALLY_REPLICATION_NODE_H
#define TALLY_REPLICATION_NODE_H

#include "core/machine.h"
#include "replication/member.h"
#include "storage/checkpoint.h"
#include "storage/files.h"
#include "storage/journal.h"

struct node;
struct environment; /* environment.h: clocks, directories, who runs the jobs */
struct transport;   /* transport.h: how the nodes of a cluster reach each other */
struct certificate_signer;
struct certificate_view; /* certificate_record.h */

enum node_phase {
    NODE_OPENING,
    NODE_REPLAYING, /* applying the journal behind the checkpoint; no requests yet */
    NODE_SERVING,
    NODE_DRAINING, /* refuses new writes, finishes those in flight */
    NODE_STOPPED,
    NODE_FAILED, /* fail-stop: the process must exit; node_status says why */
    /* Caught up beside its old files: it opens the new ones, as at a start. Reads are refused,
     * requests go on waiting. */
    NODE_REINSTALLING,
};

struct node_options {
    const char *directory; /* data directory made by node_init() */
    uint64_t journal_segment_size;
    uint32_t epoch_transfer_count_max;
    uint32_t account_count_max;
    uint64_t bloom_bytes;
    uint64_t store_map_size_bytes;
    uint64_t checkpoint_interval_ms; /* an epoch is closed after this; epochs.c says when not */
    uint64_t disk_watermark_bytes;   /* free space below which writes are refused */
    /* A lost site that lacks more than this is released: the witness keeps nothing for it any more,
     * and it has to be seeded anew. 0: never. */
    uint64_t release_bytes;
    uint32_t in_flight_entries_max; /* entries between proposal and commit; 4 */
    uint32_t waiting_requests_max;  /* accepted, not yet in an entry */
    uint64_t waiting_bytes_max;
    /* Newest entries that stay in the journal although a checkpoint holds them; 0 = none. */
    uint64_t journal_keep_entries;
    /* Likewise in bytes: members that were away for less are sent entries, not a copy. 0 = none. */
    uint64_t journal_keep_bytes;
    const struct environment *environment; /* NULL = environment_real() */
    /* How to reach the other members; NULL: a cluster of one. Started and stopped by the node, used
     * on the loop thread; outlives the node. */
    struct transport *transport;
    /* Signs certificates (certificate.h); outlives the node. NULL: they are not signed, and nobody
     * believes them. */
    const struct certificate_signer *signer;
    /* 0 = the defaults, 250 and 50. All nodes alike. */
    uint32_t election_ms, heartbeat_ms;
    /* The log in memory: how much of it there may be, and how much of it is kept below what the
     * store holds, for members that are a little behind. 0 = consensus_raft.h's. */
    uint64_t log_bytes_max, log_tail_bytes;
    /* Called on any thread: make the loop call node_process() soon. */
    void *wake_context;
    void (*wake_loop)(void *context);
    /* Typed events for the log; any thread. Text is for people, name is stable. May be NULL. The
     * log calls a and b by the names in server/event.c.
     *   name                     a                        b
     *   journal_torn_tail_cut    bytes                    last index
     *   store_rebuilding         first entry to replay    last entry
     *   node_replay_started      first entry              last entry
     *   node_replay_done         entries                  ms
     *   node_serving             term                     index of its barrier or later
     *   checkpoint_done          durable index            ms
     *   checkpoint_disk_full     index of the epoch       0
     *   checkpoint_slow          index of the epoch       ms so far
     *   disk_low, disk_recovered free bytes               watermark
     *   disk_room_small          reserve + watermark      bytes wanted
     *   journal_read_only, journal_writable  segments     bytes
     *   disk_stuck, disk_answers ms of the oldest write   0
     *   clock_behind             ns ahead of the clock    0
     *   entry_refused            bytes                    requests
     *   leader_changed           node that leads          term
     *   quarantined              index compared or lost   status of writing it down
     *   leader_disk_stuck        status of the transfer   try
     *   clock_skew               ms from the median       status of the transfer
     *   node_reinstalling        applied index            0
     *   reinstall_failed         status                   0
     *   node_draining            requests waiting         entries in flight
     *   node_stopped             durable index            last index
     *   stop_hung                job number               0
     *   certificate_unreadable   status                   bytes
     *   certificate_unsigned     status                   index
     *   certificate_unwritten    status                   index
     *   floors_unreadable        status                   bytes
     *   floors_unwritten         status                   members
     *   fail_stop                status                   applied index */
    void *event_context;
    void (*event)(void *context, const char *name, const char *text, uint64_t a, uint64_t b);
};

struct node_error {
    enum status status;
    char text[512]; /* what, where, what to do */
};

/* ---- making a data directory (tally node init) ---- */
struct node_init_options {
    const char *directory; /* created when missing; must be empty otherwise */
    uint64_t journal_segment_size;
    uint64_t reserve_bytes;
    uint8_t cluster_id[16]; /* all zero: drawn at random; a joiner must name its cluster */
    uint64_t node_id;       /* 1 .. */
    enum member_kind kind;
    const char *site;         /* NULL: "A" */
    const char *peer_address; /* for its peers, "host:port"; NULL: "127.0.0.1:7402" */
    /* Joins a cluster that exists: no principals, an empty journal, term 0. Otherwise it founds a
     * cluster of one, which only a data node can do. */
    bool join;
    const struct principal_event *principals; /* first rows of the replicated table */
    uint32_t principal_count;
    const struct environment *environment; /* NULL = environment_real() */
    struct member *out_member; /* what was made, its incarnation included; may be NULL */
};
/* Writes identity (cluster, node, random incarnation), journal, hard state, reserve. A founder's
 * journal has two entries of term 1: the configuration with itself as the only voter, and the
 * principals. A joiner's is empty, and file `member` holds what `tally member add` has to be told
 * about it. All durable, or nothing left behind. STATUS_EXISTS (not empty), STATUS_NOT_FOUND (no
 * parent), STATUS_PERMISSION, STATUS_DISK_FULL, STATUS_INVALID (a principal, no site operator among
 * them, the node id, site, address, or no cluster to join), STATUS_NO_MEMORY, STATUS_IO; *out_error
 * says it in words. */
enum status node_init(const struct node_init_options *options, struct node_error *out_error);

/* ---- life ---- */
/* Locks the directory, opens journal and store, checks that they belong together. */
enum status node_open(const struct node_options *options, struct node **out_node,
                      struct node_error *out_error);
/* Starts the job threads and the replay, which node_process() drives in slices. */
enum status node_start(struct node *node, struct node_error *out_error);
/* Call when woken and at least every node_wait_ms(): finishes appends, applies, answers,
 * checkpoints. Work per call is bounded; when there is more it wakes the loop again. Never from a
 * callback of the node. */
void node_process(struct node *node);
uint64_t node_wait_ms(const struct node *node);
/* Refuse new writes, finish the rest, write a last checkpoint and a seal; phase ends NODE_STOPPED.
 */
void node_drain(struct node *node);
/* Invariant: STOPPED, FAILED or never started; not from a callback. Everybody who still waits is
 * called back. False when a thread does not come back from the disk within 5 s (event stop_hung):
 * it is alive, may use the node and call wake_loop and event at any moment, so all of these are
 * left to the end of the process, which has to follow by _exit. */
bool node_close(struct node *node);

/* ---- writing ---- */
struct node_request;
/* STATUS_OK: committed and applied, here or at the leader; `answer` is borrowed until return.
 * Otherwise answer is NULL and status says whether it is refused for now (BUSY, READ_ONLY,
 * STOPPING, NOT_READY: not in the log), refused as unreadable (INVALID) or STATUS_UNKNOWN_OUTCOME:
 * its time is up, and it was sent to a leader or proposed. Fires exactly once, on the loop, never
 * inside node_propose. */
typedef void (*node_request_cb)(struct node_request *request, enum status status,
                                const struct answer *answer);
struct node_request {
    const struct request_header *request; /* header and events, 8-aligned; borrowed until cb */
    /* Monotonic; 0 = NODE_REQUEST_MS_MAX from now, which is also the most. One that was neither
     * sent nor proposed waits PROPOSE_WAITING_MS_MAX at most. */
    uint64_t deadline_ns;
    node_request_cb cb;
    /* Not to be done while a site is missing: STATUS_DEGRADED then, as long as nothing of it is in
     * the log. Once it is, the answer comes at its commit, and node_wait_both() tells the rest. */
    bool both_sites;
    /* ---- ours ---- */
    bool on_both; /* with the answer: the leader knew its entry to be on both sites */
    struct node_request *next;
    uint64_t accepted_ns;
    uint64_t until_ns;
    uint64_t sequence; /* while another node has it */
    uint32_t position; /* in its entry */
    bool uncertain;    /* an earlier attempt may be in the log */
    bool served;       /* it came from another node: never sent on */
};
#define NODE_REQUEST_MS_MAX 60000
/* On any data node: it is proposed here or sent to the leader, and again under its identity when
 * leadership or a connection is lost meanwhile; so it takes effect at most once.
 * Not STATUS_OK: refused at once, cb never fires: BUSY, READ_ONLY, STOPPING, NOT_READY, DEGRADED,
 * UNSUPPORTED (both sites asked of a cluster without two sites and a witness), INVALID
 * (command_check would refuse it). The header's principal, digest and encoding are filled in by the
 * caller (request_seal in propose.h). */
enum status node_propose(struct node *node, struct node_request *request);

/* ---- reading ---- */
struct node_read;
typedef void (*node_read_cb)(struct node_read *read, enum status status);
struct node_read {
    uint64_t min_index;   /* wait until this is applied; 0 = linearizable now */
    uint64_t deadline_ns; /* monotonic; 0 = NODE_READ_MS_DEFAULT from now */
    uint64_t max_age_ns;  /* > 0: a state confirmed at most that long ago will do */
    node_read_cb cb;
    /* ---- ours ---- */
    struct node_read *next;
    uint64_t accepted_ns;
    enum status status;
};
#define NODE_READ_MS_DEFAULT 5000
/* When the callback says STATUS_OK, node_machine() may be asked, until it returns, and the answer
 * is linearizable, or with max_age_ns at most that old. STATUS_NOT_READY: nobody confirmed it in
 * time (no leader, or no majority reaches it); STATUS_DEADLINE: confirmed, but its index is not
 * applied by the deadline. Fires exactly once, never inside node_read. Refused at once (cb never
 * fires): NOT_READY, STOPPING, or BUSY when as many reads wait as requests may. */
enum status node_read(struct node *node, struct node_read *read);
void node_read_cancel(struct node *node, struct node_read *read); /* cb will not fire */
/* For authorization (principal table) it may be asked at any time on the loop thread. NULL at a
 * witness, and for moments in NODE_REINSTALLING. */
const struct machine *node_machine(const struct node *node);

/* ---- watching ---- */
struct node_status {
    enum node_phase phase;
    struct node_error error; /* phase FAILED */
    uint8_t cluster_id[16];
    uint64_t node_id;
    uint8_t incarnation[16];
    enum member_kind kind;
    char site[MEMBER_SITE_SIZE_MAX + 1];
    uint64_t epoch; /* cluster epoch, 1 */
    /* Times that the node opened itself anew on other files: what was read from node_machine()
     * before belongs to another state. */
    uint64_t reopened_total;
    uint64_t term, leader_id;
    const char *role; /* "leader", "follower", ... */
    uint64_t last_index, synced_index, commit_index, applied_index, durable_index;
    uint64_t replay_first, replay_last; /* while REPLAYING */
    uint64_t stamp;                     /* ledger time */
    uint64_t clock_behind_ns;           /* how far ledger time is ahead of the wall clock */
    bool read_only;
    char read_only_reason[128];
    uint64_t free_bytes;
    uint32_t in_flight_entries, waiting_requests;
    uint64_t entries_total, requests_total, transfers_total, refused_busy_total;
    uint64_t torn_bytes_cut; /* at the last start */
    struct journal_position journal;
    struct checkpoint_stats checkpoint;
    uint8_t digest[16];
};
void node_status(const struct node *node, struct node_status *out);

/* The newest certificate that this node holds (certificate.h); pointers are borrowed until the node
 * runs on. False: none. */
bool node_certificate(const struct node *node, struct certificate_view *out);
/* The same as bytes: the content of file `certificate`. 0: none. */
size_t node_certificate_bytes(const struct node *node, const uint8_t **out_bytes);
/* ---- on both sites ---- */

enum node_durability {
    NODE_BOTH_SITES, /* known to be on both */
    NODE_DEGRADED,   /* not known to be */
    NODE_MAJORITY,   /* the cluster has no two sites and a witness: there is no such thing */
};
/* Of a request whose callback said STATUS_OK, in it: entry `index` of the answer. */
enum node_durability node_durability(const struct node *node, const struct node_request *request,
                                     uint64_t index);

struct node_both_wait;
typedef void (*node_both_cb)(struct node_both_wait *wait, bool on_both);
struct node_both_wait {
    uint64_t index;
    uint64_t deadline_ns; /* monotonic */
    node_both_cb cb;
    /* ---- ours ---- */
    struct node_both_wait *next;
};
/* Waits until entry `index` is known to be on both sites, or the deadline, or the end of the node.
 * Fires exactly once, on the loop, never inside. */
void node_wait_both(struct node *node, struct node_both_wait *wait);

/* ---- requests in doubt (in_doubt.h) ---- */

/* The callback said STATUS_UNKNOWN_OUTCOME, and that is what the client was told. */
void node_note_unanswered(struct node *node, const struct node_request *request);
/* The callback came, and the client had gone: noted if a leader was lost meanwhile. */
void node_note_gone(struct node *node, const struct node_request *request);
struct in_doubt;
const struct in_doubt *node_in_doubt(const struct node *node);

/* What every site lacks; rpo.h. No sites: unknown. */
struct rpo_report;
void node_rpo(const struct node *node, struct rpo_report *out);

#endif
