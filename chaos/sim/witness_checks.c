/*
 * A witness's journal keeps what is above the watermark, so that when the site that works is lost
 * it can bring the other one to where the cluster was. Nothing else in a run would tell that it
 * kept too little: the lost site comes back sooner or later, and everybody is served again.
 *
 * Judged is each step of the journal's begin, when it is seen: the last entry that is gone must be
 * synced at a data node of each site, by those who live, died, or were replaced. While a disk does
 * not keep what it was given nothing is judged: what a site had is then not what it has.
 */
#include "chaos/sim/witness_checks.h"

#include "chaos/sim/world.h"
#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <string.h>

/* A site with data nodes; a founder that is alone so far keeps for nobody. */
static bool has_data(const struct holdings *holdings, const char *site)
{
    for (uint32_t i = 0; i < holdings->host_count; i++)
        if (holdings->hosts[i].kind == MEMBER_DATA && strcmp(holdings->hosts[i].site, site) == 0)
            return true;
    return false;
}

void witness_checks_look(struct witness_checks *checks, const struct host *host)
{
    static const char *const sites[] = {"A", "B"};
    if (host->kind != MEMBER_WITNESS || host->node->journal == NULL)
        return;
    struct journal_position position;
    journal_position(host->node->journal, &position);
    if (position.anchor_index <= checks->anchor_seen[host->number])
        return;
    checks->anchor_seen[host->number] = position.anchor_index;
    if (checks->nemesis->damage.state != DAMAGE_NONE)
        return;
    checks->total++;
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++)
        if (has_data(checks->holdings, sites[i]) &&
            !holdings_site_has(checks->holdings, sites[i], MEMBER_DATA, position.anchor_index,
                               position.anchor_term))
            world_violate(checks->world,
                          "the witness keeps too little: its journal begins behind %" PRIu64
                          " (term %" PRIu64 "), which nobody at site %s has synced",
                          position.anchor_index, position.anchor_term, sites[i]);
}
