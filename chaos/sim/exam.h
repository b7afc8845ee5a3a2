/*
 * The loss that the cluster is built for, one at a time and to itself: when everything has settled,
 * one place goes, killed or silently cut off. What was acknowledged must be where it was promised
 * to be, and the rest must acknowledge new requests within a bounded time.
 */
#ifndef TALLY_CHAOS_SIM_EXAM_H
#define TALLY_CHAOS_SIM_EXAM_H

#include "chaos/sim/client.h"
#include "chaos/sim/rule_checks.h"

struct exam {
    /* ---- filled in before exam_run ---- */
    struct world *world;
    struct network *network;
    struct host *hosts;
    uint32_t host_count;
    struct clients *clients;
    struct oracle *oracle;
    struct rule_checks *checks;
    /* ---- told ---- */
    const char *place; /* "A", "B", "W" */
    bool leader_lost;
    uint64_t pause_ns; /* from the loss to the first acknowledged write that began behind it */
};

/* False: a promise was broken. The place is still lost afterwards, and clients go on. */
bool exam_run(struct exam *exam);
/* It comes back. */
void exam_end(struct exam *exam);

#endif
