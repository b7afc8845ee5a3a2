/*
 * A cluster of consensus in one process: real journals and hard states in temporary directories,
 * the rest virtual: one clock, a network of delays and cuts, and instead of a ledger a list of what
 * was pulled. Journal jobs are stepped by hand, so that everything happens on one thread and in the
 * same order each time.
 *
 * Judged all the time: every node pulls each index once, in order, and all of them the same entry.
 */
#ifndef TALLY_TESTS_REPLICATION_CONSENSUS_CLUSTER_H
#define TALLY_TESTS_REPLICATION_CONSENSUS_CLUSTER_H

#include "faulty_disk.h"

#include "replication/consensus/consensus_raft.h"

#define CLUSTER_NODES_MAX  6
#define CLUSTER_PULLED_MAX 20000
#define CLUSTER_SEGMENT    (4ull * 1024 * 1024)
#define CLUSTER_MS         1000000ull

struct cluster;

struct cluster_message {
    struct cluster_message *next;
    uint64_t at_ns;
    uint32_t from, to; /* places */
    size_t size;
    uint64_t bytes[];
};

struct cluster_pulled {
    uint64_t term, hash;
    uint16_t type;
    uint32_t size;
};

struct cluster_node {
    struct cluster *cluster;
    uint32_t place; /* node id is place + 1 */
    struct member member;
    char directory[64];
    struct transport transport;
    struct environment environment;
    struct faulty_disk disk;
    struct files files; /* on that disk */
    struct journal *journal;
    struct consensus *consensus;
    struct notify notify;
    bool alive, failed;
    char failure[320];
    bool journal_stuck; /* its jobs do not run */
    bool hungry;        /* pulls nothing */
    int64_t wall_offset_ns;
    uint64_t pulled; /* index of the last entry pulled */
    uint64_t turns;
    /* the store, which survives */
    uint64_t durable_index, durable_term;
    uint64_t committed_index, committed_term; /* told to the next start */
    struct floors floors;
    uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX];
    size_t configuration_size;
    /* what happened */
    uint32_t behind_count[CLUSTER_NODES_MAX];
    uint32_t events, news;
    uint32_t lost_told; /* that a peer lost what it had acknowledged */
    uint64_t condemned; /* index that this node lost itself */
};

struct cluster {
    uint32_t count;
    uint64_t now_ns;
    uint64_t seed;
    struct cluster_node nodes[CLUSTER_NODES_MAX];
    bool cut[CLUSTER_NODES_MAX][CLUSTER_NODES_MAX];    /* from, to */
    bool linked[CLUSTER_NODES_MAX][CLUSTER_NODES_MAX]; /* as told to consensus */
    uint64_t delay_ns;
    struct cluster_message *messages, **messages_end;
    uint64_t queued_bytes[CLUSTER_NODES_MAX][CLUSTER_NODES_MAX];
    struct cluster_pulled pulled[CLUSTER_PULLED_MAX]; /* by index - 1; type 0: nobody yet */
    uint64_t message_count, byte_count;               /* sent so far */
    /* for the options of nodes started from now on */
    uint64_t log_bytes_max, tail_bytes;
};

/* `count` nodes whose first entry makes the first `voters` of them the members, alternating sites A
 * and B, the last one of an odd number above 1 a witness at W unless `all_data`. Not started. */
struct cluster *cluster_create(uint32_t count, uint32_t voters, bool all_data);
/* All of `count` nodes members, and started. */
struct cluster *cluster_started(uint32_t count);
void cluster_destroy(struct cluster *cluster);

/* Opens the node's files and starts it; or again after a crash. */
void cluster_start(struct cluster *cluster, uint32_t place);
/* From one moment to the next; what was not synced may be there or not. */
void cluster_crash(struct cluster *cluster, uint32_t place);
/* In an orderly way. */
void cluster_stop(struct cluster *cluster, uint32_t place);

void cluster_cut(struct cluster *cluster, uint32_t from, uint32_t to, bool cut);
/* Both ways to and from everybody. */
void cluster_isolate(struct cluster *cluster, uint32_t place, bool isolated);

/* Lets `ms` pass. */
void cluster_run(struct cluster *cluster, uint64_t ms);
/* Until `reached` says so; false after `ms`. */
bool cluster_run_until(struct cluster *cluster, uint64_t ms,
                       bool (*reached)(struct cluster *cluster, void *context), void *context);
/* Place of the leader that may propose; waits 5 virtual seconds for one, then fails the test. */
uint32_t cluster_leader(struct cluster *cluster);
/* A command of `size` bytes that nobody else proposes. */
enum status cluster_propose(struct cluster *cluster, uint32_t place, uint32_t size,
                            uint64_t *out_index);
/* Proposes and waits until all that live have pulled it. */
uint64_t cluster_commit(struct cluster *cluster, uint32_t size);
/* All that live have pulled `index`, within 10 virtual seconds. */
void cluster_expect_pulled(struct cluster *cluster, uint64_t index);
/* The node's store now holds what it has pulled. */
void cluster_flush(struct cluster *cluster, uint32_t place);
/* For who fills a journal while its node is down. */
struct journal_options cluster_journal_options(struct cluster *cluster, uint32_t place);
struct consensus_status cluster_status(struct cluster *cluster, uint32_t place);

#endif
