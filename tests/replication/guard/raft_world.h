/*
 * A whole cluster in one process: real libraft behind the real guard, on a virtual clock, network
 * and disk. One seed decides everything; the trace hash of a seed repeats.
 *
 * Two ways to use it:
 *  - directed: latencies are fixed, node 0 campaigns first, and the test holds disks, cuts links
 *    and plays peers ("puppets") message by message;
 *  - random (options.random): latencies, losses, partial appends at a crash are drawn.
 *
 * The memory of a node comes from a heap of its own, so that a crash takes all of it; with
 * `quarantine`, freed memory is overwritten and kept, so that its use shows as wrong payloads, with
 * or without a sanitizer.
 *
 * One world at a time (libraft's heap is global). Node numbers count from 0, raft ids from 1.
 */
#ifndef TALLY_TESTS_RAFT_WORLD_H
#define TALLY_TESTS_RAFT_WORLD_H

#include "raft_checkers.h"
#include "replication/guard/raft_guard.h"

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORLD_NODES_MAX   5
#define WORLD_PAYLOAD_MAX 128

struct world;

struct world_options {
    unsigned nodes;
    unsigned puppets;     /* bit set of nodes played by the test */
    unsigned outsiders;   /* bit set of nodes with an empty disk, no members at first */
    unsigned witnesses;   /* bit set; they keep their log, and have no snapshots to send */
    unsigned second_site; /* bit set: data nodes at the other site; 0: there is one site */
    bool close_stopped; /* a node that stopped itself is closed in order, and must leave nothing */
    bool exact;         /* nodes are ticked when the guard asks for it, not periodically */
    uint64_t seed;
    uint64_t parts; /* of the guard */
    bool random;
    bool quarantine;
    unsigned network_ms; /* directed: one way; default 5 */
    unsigned disk_ms;    /* directed: per operation; default 1 */
    unsigned sent_ms;    /* until a transport is done with a message; default 0 */
    bool split;          /* transports split AppendEntries into one entry each */
    unsigned snapshot_threshold, snapshot_trailing; /* default 200, 50 */
};

/* Disk operations that can be made to fail. */
enum world_operation {
    WORLD_APPEND,
    WORLD_TRUNCATE,
    WORLD_SNAPSHOT,
    WORLD_SET_TERM,
    WORLD_SET_VOTE,
    WORLD_OPERATIONS
};

struct world_entry {
    raft_term term;
    unsigned short type;
    unsigned short size;
    uint8_t data[WORLD_PAYLOAD_MAX];
};

/* What survives a crash. */
struct world_disk {
    raft_term term;
    raft_id vote;
    raft_index start; /* of entries[0] */
    struct world_entry *entries;
    size_t count, capacity;
    struct {
        raft_index index; /* 0: none */
        raft_term term;
        raft_index configuration_index;
        unsigned servers;
        raft_id ids[2 * WORLD_NODES_MAX];
        int roles[2 * WORLD_NODES_MAX];
        uint64_t applied, state, mode;
    } snapshot;
};

struct world_node {
    struct raft raft;
    struct raft_guard guard;
    struct raft_io io;
    struct raft_fsm fsm;
    struct world *world;
    unsigned number;
    bool alive, closing;
    unsigned life; /* counts starts; events of earlier lives are void */
    struct world_disk disk;
    const char *stopped_by;            /* fail-stop's operation, or NULL */
    uint64_t state;                    /* of the state machine */
    enum durability_mode mode;         /* of what it applied */
    raft_index commit_seen, both_seen; /* the newest that checkers heard of */
    raft_term led_term;
    raft_index applied;

    /* What the test may set. */
    unsigned patience_ms;  /* directed: election timeout above its minimum */
    bool disk_held;        /* operations wait */
    bool strip_entries;    /* AppendEntries arrive without their entries, as under back-pressure */
    bool slow_disk;        /* random */
    raft_index first_kept; /* a witness: what it says of its journal; 0: nothing beyond memory */
    bool forgetful;        /* a witness that takes snapshots, so that its log begins late */
    int fail_next[WORLD_OPERATIONS];
    int send_fails;  /* the next send() returns this */
    int send_status; /* the next AppendEntries' callback gets this, and the message is lost */
    uint64_t entries_received, snapshots_received;
    uint64_t appends; /* asked of the disk */

    /* ---- the world's ---- */
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    uint64_t tick_at; /* exact: of the tick that is to come */
    struct disk_operation *operations, **operations_end;
    uint64_t disk_ready_at;
    bool disk_event;
};

struct world {
    struct world_options options;
    struct checkers checkers;
    uint64_t now_ms;
    uint64_t trace; /* hash of everything that happened */
    uint64_t events;
    uint64_t elections, witness_elections;
    uint64_t changes;                        /* of members: begun, counted by the test */
    uint64_t sync_commits, degraded_commits; /* steps of leaders while the rule is in force */
    struct {
        raft_index index; /* the newest of them */
        raft_term term;
        enum durability_mode mode;
    } committed;
    struct world_node nodes[WORLD_NODES_MAX];
    bool cut[WORLD_NODES_MAX][WORLD_NODES_MAX];             /* [from][to] */
    double loss;                                            /* random: share of messages */
    struct raft_message to_puppet[RAFT_IO_TIMEOUT_NOW + 1]; /* newest of each type; fields only */
    unsigned to_puppet_count[RAFT_IO_TIMEOUT_NOW + 1];
    /* ---- the world's ---- */
    uint64_t random_state;
    uint64_t next_command;
    uint64_t sequence;
    struct world_event *heap;
    size_t heap_count, heap_capacity;
    uint64_t arrives_at[WORLD_NODES_MAX][WORLD_NODES_MAX];
    struct {
        const char *begin, *end;
    } forbidden;
};

/* All nodes but puppets are started. */
struct world *world_create(const struct world_options *options);
void world_destroy(struct world *world);

/* Uniform in [low, high]. */
uint64_t world_draw(struct world *world, uint64_t low, uint64_t high);

void world_run(struct world *world, uint64_t ms);
typedef bool (*world_condition)(struct world *world, unsigned node);
/* Stops as soon as it holds for `node`, looking after every event. False: not within `limit_ms`. */
bool world_run_until(struct world *world, world_condition holds, unsigned node, uint64_t limit_ms);
bool world_leads(struct world *world, unsigned node);
bool world_campaigns(struct world *world, unsigned node); /* its real votes are on the way */
bool world_asks_for_pre_votes(struct world *world, unsigned node);
/* Calls `function` on the world's clock. */
void world_at(struct world *world, uint64_t in_ms, void (*function)(struct world *, void *),
              void *context);

/* Leader of the newest term, or -1. */
int world_leader(const struct world *world);

/* Stops the node in order: everything in flight is cancelled. Bytes of the library and the guard
 * that are left then. */
size_t world_close(struct world *world, unsigned node);

/* Power loss; a later start finds what the disk had done. */
void world_crash(struct world *world, unsigned node);
void world_start(struct world *world, unsigned node);

void world_isolate(struct world *world, unsigned node);
void world_cut(struct world *world, unsigned a, unsigned b); /* both ways */
void world_heal(struct world *world);

/* Releases a held disk; or lets `count` of its operations end, now. */
void world_release_disk(struct world *world, unsigned node);
void world_finish_disk(struct world *world, unsigned node, unsigned count);

/* Proposes `count` commands at `node`, each alone, or as one batch. False: refused. */
bool world_propose(struct world *world, unsigned node, unsigned count);
bool world_propose_batch(struct world *world, unsigned node, unsigned count);

/* Proposes an entry that sets the mode; whether the rule allows it is the test's matter. */
bool world_propose_mode(struct world *world, unsigned node, enum durability_mode mode);
/* The data nodes of that site (0 or 1) as a bit set. */
unsigned world_site(const struct world *world, unsigned site);
/* The mode of that node's log at `index`, read from the log entry by entry. */
enum durability_mode world_mode_at(const struct world_node *node, raft_index index);
/* That site is lost now: the other one has what was committed, if that was under SYNC. */
void world_check_loss(struct world *world, unsigned site);
/* That entry is on the disk of some node of the set. */
bool world_disks_have(const struct world *world, unsigned nodes, raft_index index, raft_term term);

/* Runs `function` with the node's heap, as an event of its loop. */
void world_within(struct world *world, unsigned node,
                  void (*function)(struct world_node *node, void *context), void *context);

/* Nobody may hold a request inside this memory any more. */
void world_forbid(struct world *world, const void *memory, size_t size);

/* Messages of a puppet, delivered now. Command i is 1000 * terms[i] + its index. */
struct world_append {
    raft_term term;
    raft_index previous_index;
    raft_term previous_term;
    raft_index commit;
    unsigned count;
    raft_term terms[8];
};
void world_deliver_append(struct world *world, unsigned from, unsigned to,
                          const struct world_append *append);
void world_deliver_snapshot(struct world *world, unsigned from, unsigned to, raft_term term,
                            raft_index last_index, raft_term last_term);
struct world_vote {
    raft_term term;
    raft_index last_index;
    raft_term last_term;
    bool pre_vote, disrupts;
};
void world_deliver_vote_request(struct world *world, unsigned from, unsigned to,
                                const struct world_vote *vote);
/* It is granted. */
void world_deliver_vote(struct world *world, unsigned from, unsigned to, raft_term term,
                        bool pre_vote);
void world_deliver_result(struct world *world, unsigned from, unsigned to, raft_term term,
                          raft_index rejected, raft_index last_index);

/* ---- between the world's own files ---- */
enum world_event_type {
    WORLD_TICK,
    WORLD_MESSAGE,
    WORLD_SENT,
    WORLD_DISK,
    WORLD_SNAPSHOT_GET,
    WORLD_CALL
};
void world_push(struct world *world, uint64_t at_ms, enum world_event_type type,
                struct world_node *node, void *payload);
void world_mix(struct world *world, uint64_t value);
bool world_chance(struct world *world, double share);
struct raft_io world_io(void);
void world_disk_io(struct raft_io *out); /* the functions of the disk */
void world_disk_event(struct world_node *node);
void world_snapshot_event(struct world_node *node, void *payload);
void world_cancel_operations(struct world_node *node);
void *world_take(size_t size); /* zeroed; ends the program without memory */
struct world_node *world_node_of(const struct raft_io *io);
void world_pack_entry(struct world_entry *out, const struct raft_entry *entry);
/* An array with one block of payloads, as libraft wants it. NULL for none. */
struct raft_entry *world_unpack_entries(const struct world_entry *entries, size_t count);
void world_build_configuration(struct raft_configuration *out, unsigned count, const raft_id *ids,
                               const int *roles);
void world_io_event(struct world_node *node, enum world_event_type type, void *payload);
void world_io_drop(enum world_event_type type, void *payload);
void world_io_crash(struct world_node *node);
/* The payload of the i-th pending event, if it is a send of this life of `node`: the event is void
 * from then on. Else NULL. */
void *world_take_sent(struct world *world, size_t i, const struct world_node *node);
bool world_command_of(const struct raft_entry *entry, uint64_t *out_command);
#define WORLD_CONTENT 3 /* words of a snapshot: applied, state, mode */
bool world_mode_of(uint64_t command, enum durability_mode *out_mode);
void world_site_options(struct raft_guard_options *options);
/* After an event of a node that leads: what it committed is where it must be. */
void world_check_sites(struct world_node *node);
/* Proposes these commands as one batch, within the node's heap; false: refused. */
bool world_propose_commands(struct world_node *node, const uint64_t *commands, unsigned count);
void world_encode_command(uint64_t command, struct raft_buffer *out);

/* A node's heap. */
void world_heap_install(bool quarantine);
void world_heap_enter(unsigned node);
void world_heap_clear(unsigned node);
size_t world_heap_bytes(unsigned node);
uint64_t world_heap_faults(void);

#endif
