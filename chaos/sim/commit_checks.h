/* What a leader knows to be agreed is committed, and soon. */
#ifndef TALLY_CHAOS_SIM_COMMIT_CHECKS_H
#define TALLY_CHAOS_SIM_COMMIT_CHECKS_H

#include "chaos/sim/host.h"

struct commit_checks {
    /* ---- filled in before the first look ---- */
    struct world *world;
    /* ---- ours ---- */
    struct commit_wait {
        uint64_t term, index; /* agreed, and not committed yet; index 0: nothing is */
        uint64_t since_ns;
        uint64_t turns; /* of the process since then */
    } waits[HOSTS_MAX];
    uint64_t commit_seen[HOSTS_MAX]; /* of a leader, at the last look */
    uint64_t judged_total;           /* its commits that were what it knew to be agreed */
    uint64_t waited_total;           /* indexes that were agreed before they were committed */
    uint64_t longest_ns;             /* that one of them waited, in the end */
};

/* After each turn of a living node and each message to it. */
void commit_checks_look(struct commit_checks *checks, const struct host *host, bool after_turn);
void commit_checks_forget(struct commit_checks *checks, const struct host *host);

#endif
