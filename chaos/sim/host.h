/*
 * A host: one virtual machine with its clock and its disk, and the real node in it as a process
 * that can be killed, paused and started.
 *
 * The node's jobs run here as events with durations of their own; its turns when it asked for one,
 * when a message came, or when node_wait_ms() has passed. What the loop itself spends at the disk
 * makes it deaf for that time.
 */
#ifndef TALLY_CHAOS_SIM_HOST_H
#define TALLY_CHAOS_SIM_HOST_H

#include "chaos/sim/disk.h"
#include "chaos/sim/network.h"
#include "chaos/sim/plant.h"
#include "chaos/sim/world.h"
#include "replication/environment.h"
#include "replication/node/node.h"
#include "replication/node/node_jobs.h"

#define HOST_DIRECTORY "/data"

struct host;

/* Who wants to know. */
struct host_sink {
    void *context;
    /* Before a turn that may change over to other files, and die between the two: the last look at
     * the present ones. */
    void (*changes_over)(void *context, struct host *host);
    /* After each turn of a living node. */
    void (*turned)(void *context, struct host *host);
    /* After a message that was delivered to a living node between its turns. */
    void (*heard)(void *context, struct host *host);
    /* A living process is about to go: the last look at what it knew. */
    void (*dies)(void *context, struct host *host);
    /* Its disk is replaced by an empty one. */
    void (*wiped)(void *context, struct host *host);
    /* The process has gone; callbacks that fired while it went were its last. */
    void (*died)(void *context, struct host *host);
};

struct host {
    /* ---- filled in before host_init ---- */
    struct world *world;
    struct network *network;
    struct host_sink sink;
    uint32_t number;
    const char *site;
    enum member_kind kind;
    struct node_options options; /* directory, environment, wake and event are ours */

    /* ---- ours ---- */
    struct disk disk;
    struct draw draw;
    struct environment environment;
    struct node *node; /* NULL: no process */
    uint64_t node_id;
    struct member member;
    uint64_t life; /* number of the process: events of earlier ones are stale */
    bool dying;    /* callbacks mean nothing any more */
    bool turning;
    bool in_job; /* its clock is that of the job's thread */
    bool wake_in_turn;
    uint64_t turn_at_ns; /* UINT64_MAX: none is planned */
    uint64_t busy_until_ns;
    uint64_t paused_until_ns;
    uint64_t job_at_ns[NODE_JOB_COUNT]; /* UINT64_MAX: not planned */
    uint64_t started_ns;
    uint64_t opened_ns; /* its files: at the start, or later on those of a copy */
    uint64_t reopened_seen;
    bool unreachable; /* by clients: they are refused at once, and ask elsewhere */

    /* ---- clock ---- */
    int64_t wall_offset_ns;
    int64_t wall_drift_ppm, monotonic_drift_ppm; /* since then, of the clock's rate */
    uint64_t drift_since_ns;
    uint64_t monotonic_base_ns, monotonic_seen_ns;
    uint64_t wall_begin_ns, wall_end_ns; /* what it said in the latest turn, first and last */

    /* ---- supervision ---- */
    bool wanted;   /* to be started again when it has gone */
    bool damaged;  /* its disk has not kept what it was given */
    bool may_fail; /* a fault of the world excuses a fail-stop */
    uint64_t excused_until_ns;
    bool forget_requests; /* planted faults */
    bool reply_early;
    bool followers_mode;
    bool early_return;
    bool certificate_high;
    uint64_t guard_off;
    struct plant plant;

    /* ---- counters ---- */
    bool draining;
    uint64_t drained_ns; /* when it was asked */
    uint64_t drain_total;
    uint64_t start_total, crash_total, power_total, fail_stop_total, turn_total, reopen_total;
    uint64_t turns_this_second, second;
    char last_failure[512];
};

void host_init(struct host *host, uint64_t seed);
void host_deinit(struct host *host);

/* Makes the data directory: founder when cluster_id is NULL. */
void host_found(struct host *host, const uint8_t cluster_id[16], uint64_t node_id,
                const struct principal_event *principals, uint32_t principal_count);

/* Starts the process; when it refuses or fails, again after a pause as long as it is wanted. */
void host_start(struct host *host);
/* The process dies at once: in the middle of a job's step if one is under way. */
void host_kill(struct host *host, bool power_loss);
/* Deaf and dumb until then, while clocks go on. */
void host_pause(struct host *host, uint64_t until_ns);
/* SIGTERM: finish, write a last checkpoint, end; started again when it is wanted. */
void host_drain(struct host *host);
/* Pauses and stuck calls end now. */
void host_relieve(struct host *host);
/* From now on its clocks run that much too fast, or too slowly; 0: as they should. */
void host_drift(struct host *host, int64_t wall_ppm, int64_t monotonic_ppm);
void host_clock_goes_on(struct host *host); /* before a start */
/* The loop is to turn at once. */
void host_wake(struct host *host);

/* After a call of the node from outside of its turn: what it spent at the disk makes it deaf. */
void host_left(struct host *host);
bool host_is_up(const struct host *host);
uint64_t host_wall_ns(const struct host *host);
uint64_t host_monotonic_ns(const struct host *host);

#endif
