/*
 * Clients: one request or read at a time, at a node of their site while one answers, else anywhere.
 * What is refused or unknown is asked again with the same identity, at another node, until its
 * outcome is known: nothing is ever left unknown.
 */
#ifndef TALLY_CHAOS_SIM_CLIENT_H
#define TALLY_CHAOS_SIM_CLIENT_H

#include "chaos/sim/host.h"
#include "chaos/sim/oracle.h"

#define CLIENTS_MAX 8
#define BURST_MAX   400 /* requests at once */

struct attempt;

enum client_doing {
    CLIENT_IDLE,
    CLIENT_WRITES,  /* a new request */
    CLIENT_REPEATS, /* one that may have been answered before */
    CLIENT_FENCES,
    CLIENT_READS,
    CLIENT_LOOKS_UP,
};

struct clients;

struct client {
    struct clients *clients;
    uint32_t number;
    uint32_t home; /* host asked first */
    enum client_doing doing;
    struct fact *fact;
    bool answered_before; /* LOOKS_UP: when the question was asked */
    uint64_t round;       /* +1 with each operation and attempt: timers of others are stale */
    uint32_t host;        /* of the attempt */
    uint64_t began_ns;
    uint32_t tries;
    int64_t skew_ns;    /* of its clock */
    uint32_t distrusts; /* answers that its clock is wrong, in a row */
};

struct clients {
    /* ---- filled in before clients_init ---- */
    struct world *world;
    struct oracle *oracle;
    struct host *hosts;
    uint32_t host_count;
    uint64_t think_ns; /* between two operations of a client, on average */
    uint32_t count;
    bool abandons; /* calls that are given up, and asked about at the end only */
    bool skews;    /* clocks are wrong */
    /* ---- ours ---- */
    struct draw draw, habits, heels;
    struct client client[CLIENTS_MAX];
    struct client crowd; /* of bursts, and of reads on the heels: it never asks again */
    struct fact **abandoned;
    uint32_t abandoned_count, abandoned_capacity;
    struct attempt *attempts; /* all that were not called back */
    bool quiet;               /* begin nothing new */
    enum {
        CLIENTS_DAY,
        CLIENTS_EVENING, /* clocks are up to a minute wrong */
        CLIENTS_MORNING, /* most ask for what they asked for before */
    } time;
    uint64_t longest_ns; /* of an operation */
    uint64_t timeout_total, refused_total, abandoned_total, settled_total, burst_total;
    uint64_t heel_total;
    uint64_t refused_by[64];
};

void clients_init(struct clients *clients);
void clients_deinit(struct clients *clients);
/* Client 0 makes ledger and accounts, then all begin. */
void clients_start(struct clients *clients);
/* So many new requests at once, at one host, by callers who do not ask again. */
void clients_burst(struct clients *clients, uint32_t host, uint32_t count);
/* All operations are finished, and what was abandoned is settled. */
bool clients_are_idle(const struct clients *clients);
bool clients_are_set_up(const struct clients *clients);

#endif
