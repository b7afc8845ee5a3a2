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
};

struct clients {
    /* ---- filled in before clients_init ---- */
    struct world *world;
    struct oracle *oracle;
    struct host *hosts;
    uint32_t host_count;
    uint64_t think_ns; /* between two operations of a client, on average */
    uint32_t count;
    /* ---- ours ---- */
    struct draw draw;
    struct client client[CLIENTS_MAX];
    struct attempt *attempts; /* all that were not called back */
    bool quiet;               /* begin nothing new */
    uint64_t longest_ns;      /* of an operation */
    uint64_t timeout_total, refused_total;
    uint64_t refused_by[64];
};

void clients_init(struct clients *clients);
void clients_deinit(struct clients *clients);
/* Client 0 makes ledger and accounts, then all begin. */
void clients_start(struct clients *clients);
/* All operations are finished. */
bool clients_are_idle(const struct clients *clients);
bool clients_are_set_up(const struct clients *clients);

#endif
