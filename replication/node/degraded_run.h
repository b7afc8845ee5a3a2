/*
 * For how long, and for how much money, the ledger has run with one site alone; against the
 * policy's bounds. At every data node, from what it applied; the leader's counts.
 *
 * Value is what a ledger's debits grew by since the degrade entry was applied: what would be in
 * doubt if the site that works on were lost as well. It comes from the totals that the ledger keeps
 * anyway. What was in flight when the site was lost is not counted, and a node that restarts while
 * degraded counts from its restart on. Seconds count from the entry's stamp, by the monotonic clock
 * once it was seen.
 *
 * Loop thread.
 */
#ifndef TALLY_REPLICATION_DEGRADED_RUN_H
#define TALLY_REPLICATION_DEGRADED_RUN_H

#include "core/machine.h"
#include "replication/consensus/consensus.h"
#include "replication/consensus/durability.h"
#include "replication/notify.h"

/* Embedded, zeroed; all of it ours. */
struct degraded_run {
    struct durability_run run;
    enum durability_bound bound;
    char why[DURABILITY_WHY_SIZE]; /* "" within the bounds */
    uint64_t stamp;                /* of the degrade entry */
    uint64_t began_ns;             /* when that was, monotonic; 0: to be found */
    uint64_t judged_ns;
    enum durability_bound told;
    uint32_t ledger_count; /* that there were at the begin */
    struct degraded_total {
        uint64_t low, high; /* debits, posted and pending */
    } begin[LEDGERS_MAX];
};

/* A durability entry was applied. */
void degraded_run_note(struct degraded_run *degraded, const struct journal_entry *entry,
                       const struct machine *machine);
/* Every turn; looks at most twenty times a second. `wall_ns`: now, as stamps are. */
void degraded_run_process(struct degraded_run *degraded, const struct consensus *consensus,
                          const struct machine *machine, const struct notify *notify,
                          uint64_t now_ns, uint64_t wall_ns);

#endif
