/*
 * Which entries each host has synced, alive or dead: the ground truth for promises about sites.
 *
 * An entry is named by (index, term); who has it has the same log up to it (Raft, section 5.3; the
 * chain heads are compared in invariants.c). What is asked of a living node is its journal, of a
 * dead one what its journal knew to be synced when it died. The disk of a node that was replaced
 * counts still: it held the entry when somebody counted on it.
 */
#ifndef TALLY_CHAOS_SIM_HOLDINGS_H
#define TALLY_CHAOS_SIM_HOLDINGS_H

#include "chaos/sim/host.h"

/* What a process that has gone had synced, or one that has no journal open just now. */
struct holding {
    bool known;
    uint64_t anchor_index; /* everything up to here, which is committed */
    uint64_t first_index, synced_index;
    uint64_t *terms; /* of first_index .. synced_index */
};

struct holdings {
    const struct host *hosts;
    uint32_t host_count;
    struct holding gone[HOSTS_MAX];    /* the last journal of each host */
    struct holding retired[HOSTS_MAX]; /* on the disk before the present one */
};

void holdings_init(struct holdings *holdings, const struct host *hosts, uint32_t host_count);
void holdings_deinit(struct holdings *holdings);
/* A process is about to go, or to close its journal for another one. */
void holdings_note(struct holdings *holdings, const struct host *host);
/* Its disk goes, too; after its death. */
void holdings_note_wipe(struct holdings *holdings, const struct host *host);

/* Whether `host` has synced the entry `index` of `term`, and so all before it. */
bool holdings_has(const struct holdings *holdings, uint32_t host, uint64_t index, uint64_t term);
/* Whether a host of that site and kind has. */
bool holdings_site_has(const struct holdings *holdings, const char *site, enum member_kind kind,
                       uint64_t index, uint64_t term);

#endif
