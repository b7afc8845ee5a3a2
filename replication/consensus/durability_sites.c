/*
 * The members by site, and what follows from where they are: whether the rule is in force, what
 * both sites have, and which site could be lost at this moment.
 *
 * The table is made anew when the configuration changes. It holds no pointer into it.
 *
 * survives_loss{site}: everything acknowledged would still be there, and a majority that can go on.
 * The loss of a site is survived only while every other voter is up: after it there is no voter to
 * spare, neither in 1 + 1 + 1 nor in 2 + 2 + 1. Under SYNC the other site has all that was
 * acknowledged. Degraded it may not, so the loss of the site that works on is not survived, and how
 * much would be lost is said. The leader judges by what it verified; the others only see links.
 */
#include "core/invariant.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A voter that was silent for longer is not there. The transport closes a lane after about as long.
 */
#define VOTER_HEARD_NS (1500 * NS_PER_MS)

/* ---- the table ---- */

static uint32_t place_of(struct site_table *table, const char *name)
{
    for (uint32_t i = 0; i < table->site_count; i++) {
        if (strcmp(table->sites[i].name, name) == 0)
            return i;
    }
    memcpy(table->sites[table->site_count].name, name, sizeof table->sites[0].name);
    return table->site_count++;
}

static void make_table(struct consensus_raft *c)
{
    struct site_table *table = &c->sites;
    const unsigned count = c->raft.configuration.n;
    uint32_t witnesses = 0;
    *table = (struct site_table){.servers = c->raft.configuration.servers,
                                 .server_count = count,
                                 .committed = raft_layout_committed_configuration(&c->raft),
                                 .uncommitted = raft_layout_uncommitted_configuration(&c->raft),
                                 .term = c->raft.current_term};
    for (unsigned i = 0; i < count && table->member_count < MEMBERS_MAX; i++) {
        struct member member;
        if (!consensus_member(c, i, &member))
            continue;
        struct site_member *entry = &table->members[table->member_count++];
        entry->id = member.node_id;
        entry->is_data = member.kind == MEMBER_DATA;
        entry->votes = c->raft.configuration.servers[i].role == RAFT_VOTER;
        entry->site = entry->votes ? place_of(table, member.site) : MEMBERS_MAX;
        if (!entry->votes)
            continue;
        table->sites[entry->site].voters++;
        table->sites[entry->site].data_voters += entry->is_data ? 1 : 0;
        witnesses += entry->is_data ? 0 : 1;
    }
    for (uint32_t i = 0; i < table->site_count; i++)
        table->data_site_count += table->sites[i].data_voters > 0 ? 1 : 0;
    table->in_force = table->data_site_count == 2 && witnesses > 0;
    memset(c->durability_drive.behind_since_ns, 0, sizeof c->durability_drive.behind_since_ns);
}

void consensus_sites_settle(struct consensus_raft *c)
{
    const struct site_table *table = &c->sites;
    if (table->servers != c->raft.configuration.servers ||
        table->server_count != c->raft.configuration.n ||
        table->committed != raft_layout_committed_configuration(&c->raft) ||
        table->uncommitted != raft_layout_uncommitted_configuration(&c->raft) ||
        table->term != c->raft.current_term)
        make_table(c);
}

const struct site_member *consensus_site_member(const struct consensus_raft *c, uint64_t id)
{
    for (uint32_t i = 0; i < c->sites.member_count; i++) {
        if (c->sites.members[i].id == id)
            return &c->sites.members[i];
    }
    return NULL;
}

uint32_t consensus_site_find(const struct consensus_raft *c, const char *name)
{
    for (uint32_t i = 0; i < c->sites.site_count; i++) {
        if (strcmp(c->sites.sites[i].name, name) == 0)
            return i;
    }
    return MEMBERS_MAX;
}

/* ---- what a site has ---- */

static uint64_t verified_of(const struct consensus_raft *c, const struct site_member *member)
{
    if (member->id == c->options.self.node_id)
        return c->synced_index;
    const struct consensus_raft_peer *peer = consensus_find_peer(c, member->id);
    if ((peer != NULL && peer->lost) || c->raft.state != RAFT_LEADER)
        return 0;
    return raft_layout_match(&c->raft, member->id);
}

uint64_t consensus_site_verified(const struct consensus_raft *c, uint32_t site)
{
    uint64_t best = 0;
    for (uint32_t i = 0; i < c->sites.member_count; i++) {
        const struct site_member *member = &c->sites.members[i];
        if (member->site != site || !member->is_data)
            continue;
        const uint64_t verified = verified_of(c, member);
        best = verified > best ? verified : best;
    }
    return best;
}

uint64_t consensus_site_heard_ns(const struct consensus_raft *c, uint32_t site)
{
    uint64_t heard_ns = 0;
    const bool has_data = c->sites.sites[site].data_voters > 0;
    for (uint32_t i = 0; i < c->sites.member_count; i++) {
        const struct site_member *member = &c->sites.members[i];
        if (member->site != site || member->is_data != has_data)
            continue;
        if (member->id == c->options.self.node_id)
            return consensus_now_ns(c);
        const struct consensus_raft_peer *peer = consensus_find_peer(c, member->id);
        if (peer != NULL && peer->heard_ns > heard_ns)
            heard_ns = peer->heard_ns;
    }
    return heard_ns;
}

/* ---- which loss is survived ---- */

/* Whether the voter is there and of use at once; otherwise `why_not` says what it is. */
static bool is_up(const struct consensus_raft *c, const struct site_member *member, char *why_not,
                  size_t size)
{
    if (member->id == c->options.self.node_id)
        return true;
    const struct consensus_raft_peer *peer = consensus_find_peer(c, member->id);
    const char *problem = NULL;
    if (peer == NULL || !peer->linked)
        problem = "is not connected";
    else if (c->raft.state == RAFT_LEADER && consensus_now_ns(c) - peer->heard_ns > VOTER_HEARD_NS)
        problem = "is silent";
    else if (c->raft.state == RAFT_LEADER && (peer->behind || peer->lost))
        problem = "has to be brought up to date";
    if (problem == NULL)
        return true;
    snprintf(why_not, size, "node %" PRIu64 " at %s %s", member->id,
             c->sites.sites[member->site].name, problem);
    return false;
}

/* Degraded: what is acknowledged may be at one site alone. */
static bool other_site_lacks(const struct consensus_raft *c, uint32_t site, char *why_not,
                             size_t size)
{
    const struct durability_record *newest = &c->durability_log.newest;
    if (!c->sites.in_force || newest->entry.mode != DURABILITY_DEGRADED ||
        c->sites.sites[site].data_voters == 0)
        return false;
    for (uint32_t i = 0; i < c->sites.site_count; i++) {
        if (i == site || c->sites.sites[i].data_voters == 0)
            continue;
        /* The site that was given up can be lost. */
        if (strcmp(newest->lost_site, c->sites.sites[site].name) == 0)
            return false;
        const uint64_t verified = consensus_site_verified(c, i);
        const uint64_t commit = c->raft.commit_index;
        if (c->raft.state == RAFT_LEADER)
            snprintf(why_not, size, "degraded: %" PRIu64 " acknowledged entries are not at site %s",
                     commit > verified ? commit - verified : 0, c->sites.sites[i].name);
        else
            snprintf(why_not, size, "degraded: site %s may lack what was acknowledged",
                     c->sites.sites[i].name);
        return true;
    }
    return false;
}

void consensus_site_judge_loss(const struct consensus_raft *c, uint32_t site,
                               struct consensus_site *out)
{
    const struct site_table *table = &c->sites;
    uint32_t voters = 0, left = 0;
    char missing[96] = "";
    out->why_not[0] = 0;
    for (uint32_t i = 0; i < table->member_count; i++) {
        const struct site_member *member = &table->members[i];
        if (!member->votes)
            continue;
        voters++;
        if (member->site != site && is_up(c, member, missing, sizeof missing))
            left++;
    }
    out->survives_loss = false;
    if (left <= voters / 2) {
        snprintf(out->why_not, sizeof out->why_not,
                 "%" PRIu32 " of %" PRIu32 " voters would be left%s%s", left, voters,
                 missing[0] != 0 ? ": " : "", missing);
        return;
    }
    if (other_site_lacks(c, site, out->why_not, sizeof out->why_not))
        return;
    out->survives_loss = true;
    const enum durability_decision decision = c->durability_log.committed.entry.policy.decision;
    if (table->in_force && table->sites[site].data_voters > 0 && decision != DURABILITY_AUTO &&
        c->durability_log.newest.entry.mode == DURABILITY_SYNC)
        snprintf(out->why_not, sizeof out->why_not,
                 decision == DURABILITY_NEVER
                     ? "nothing would be lost; by policy \"never\" writes stop until it is back"
                     : "nothing would be lost; by policy \"operator\" writes stop until an "
                       "operator degrades");
}
