/*
 * Channels that call through the client library: what an attempt's end means, when the next one
 * begins, at which server, and what the channel is told when the time is up, is decided by the
 * library's judge (client/judge.c) from what the server's table says (server/dispatch_status.c),
 * both of them the real ones. Only the walk from attempt to attempt is written again here, as in
 * client/call.c, whose own is tied to sockets.
 *
 * What they are there for: a channel that was told "refused" or "not sent" may book the money
 * elsewhere. So nothing of such a call may be in the log, then or later.
 *
 * Doubt comes of what happens to a call while it is under way, and calls are short. So each fault
 * finds the channels calling (desks_hurry); in some seeds they call all the time besides.
 */
#ifndef TALLY_CHAOS_SIM_DESKS_H
#define TALLY_CHAOS_SIM_DESKS_H

#include "chaos/sim/host.h"
#include "chaos/sim/oracle.h"

#define DESKS_MAX 3

struct desks_attempt;
struct desks;

struct desk {
    struct desks *desks;
    uint32_t number;
    uint32_t server;   /* where new attempts go */
    struct fact *fact; /* NULL: between two calls */
    uint64_t round;
    uint64_t deadline_ns, last_start_ns;
    uint32_t attempt_count;
    bool in_doubt, was_sent;
};

struct desks {
    /* ---- filled in before desks_start ---- */
    struct world *world;
    struct oracle *oracle;
    struct host *hosts;
    uint32_t host_count;
    const bool *quiet; /* begin nothing new */
    uint32_t count;
    uint64_t think_ns;
    bool steady; /* a call is followed by the next one; otherwise only a fault brings calls */
    /* ---- ours ---- */
    struct draw draw;
    struct desk desk[DESKS_MAX];
    struct desks_attempt *attempts;
    uint64_t call_total, refused_total, unknown_total, not_sent_total;
};

void desks_start(struct desks *desks);
/* Whoever makes no call begins one, within some milliseconds. */
void desks_hurry(struct desks *desks);
bool desks_are_idle(const struct desks *desks);
void desks_deinit(struct desks *desks);

#endif
