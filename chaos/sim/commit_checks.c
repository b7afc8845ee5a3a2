/*
 * A leader that has been told by enough voters, and has its own disk's word, has all it needs: the
 * entry is committed in that very turn. One that waits for a further word breaks no promise about
 * money, since that word comes, with the next answer or the next heartbeat. But under load the next
 * answer is again about an older entry, and commits starve.
 *
 * Judged by what the leader itself counts with (consensus_peers), so no delay of network or disk is
 * in it, and only where it is plain who is enough: under SYNC, both sites and a majority without
 * the witness' own weight; without the rule, a majority; never more than its own disk has. Entries
 * of earlier terms are not committed by counting, so they wait for the first of this one. While
 * members change nothing is judged: who gets its vote by the answer that makes it up to date is
 * counted with the next one.
 */
#include "chaos/sim/commit_checks.h"

#include "chaos/sim/world.h"
#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <string.h>

/* Whole turns that it may take, and time: an answer that comes meanwhile would commit it after all.
 */
#define COMMIT_TURNS   2
#define COMMIT_WAIT_NS (1 * NS_PER_MS)

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The greatest index that more than half of `count` reach. Sorts. */
static uint64_t of_majority(uint64_t *indexes, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++)
        for (uint32_t k = i; k > 0 && indexes[k] > indexes[k - 1]; k--) {
            const uint64_t swap = indexes[k];
            indexes[k] = indexes[k - 1];
            indexes[k - 1] = swap;
        }
    return indexes[count / 2];
}

/* What the leader may commit by what it was told; 0: nothing, or it is not plain. */
static uint64_t agreed(const struct host *host, const struct consensus_status *status)
{
    struct consensus_peer peers[MEMBERS_MAX];
    struct journal_position position;
    uint64_t indexes[MEMBERS_MAX], best[2] = {0, 0};
    const char *sites[2] = {NULL, NULL};
    const struct consensus_peer *witness = NULL;
    uint32_t count = 0, site_count = 0;
    const uint32_t peer_count = consensus_peers(host->node->consensus, peers, MEMBERS_MAX);
    journal_position(host->node->journal, &position);
    for (uint32_t i = 0; i < peer_count; i++) {
        const struct consensus_peer *peer = &peers[i];
        if (peer->vote != CONSENSUS_VOTER)
            continue;
        if (peer->member.kind == MEMBER_WITNESS && status->site_rule) {
            if (witness != NULL)
                return 0;
            witness = peer;
            continue;
        }
        const uint64_t index =
            peer->member.node_id == host->node_id ? position.synced_index : peer->match_index;
        indexes[count++] = index;
        uint32_t site = 0;
        while (site < site_count && strcmp(sites[site], peer->member.site) != 0)
            site++;
        if (site == 2)
            return 0;
        if (site == site_count)
            sites[site_count++] = peer->member.site;
        if (index > best[site])
            best[site] = index;
    }
    if (count == 0)
        return 0;
    if (!status->site_rule)
        return least(of_majority(indexes, count), position.synced_index);
    if (status->mode != DURABILITY_SYNC || witness == NULL || site_count != 2)
        return 0;
    const uint64_t both = least(best[0], best[1]);
    indexes[count++] = least(witness->match_index, both);
    return least(least(both, of_majority(indexes, count)), position.synced_index);
}

static bool can_be_asked(const struct host *host)
{
    const struct node *node = host->node;
    return node->journal != NULL && node->consensus != NULL && !host->disk.dead &&
           node->phase != NODE_FAILED && node->phase != NODE_REINSTALLING;
}

void commit_checks_look(struct commit_checks *checks, const struct host *host, bool after_turn)
{
    struct commit_wait *wait = &checks->waits[host->number];
    const uint64_t now = checks->world->now_ns;
    struct consensus_status status;
    uint64_t term;
    if (!can_be_asked(host))
        return;
    consensus_status(host->node->consensus, &status);
    if (!status.leads || status.changing) {
        *wait = (struct commit_wait){0};
        return;
    }
    const uint64_t waited = now - wait->since_ns;
    if (wait->index != 0 && wait->term == status.term && status.commit_index >= wait->index &&
        waited > checks->longest_ns)
        checks->longest_ns = waited;
    if (wait->term != status.term || status.commit_index >= wait->index)
        *wait = (struct commit_wait){0};
    if (wait->index == 0) {
        const uint64_t index = agreed(host, &status);
        checks->judged_total +=
            status.commit_index > checks->commit_seen[host->number] && index == status.commit_index;
        checks->commit_seen[host->number] = status.commit_index;
        if (index <= status.commit_index ||
            journal_term(host->node->journal, index, &term) != STATUS_OK || term != status.term)
            return;
        *wait = (struct commit_wait){.term = status.term, .index = index, .since_ns = now};
        checks->waited_total++;
        return;
    }
    wait->turns += after_turn;
    if (wait->turns > COMMIT_TURNS && waited > COMMIT_WAIT_NS)
        world_violate(checks->world,
                      "host %u leads and knows that entry %" PRIu64
                      " is agreed, and has not committed it for %" PRIu64
                      " turns, %.1f ms; committed is %" PRIu64,
                      host->number, wait->index, wait->turns, (double)waited / NS_PER_MS,
                      status.commit_index);
}

void commit_checks_forget(struct commit_checks *checks, const struct host *host)
{
    checks->waits[host->number] = (struct commit_wait){0};
    checks->commit_seen[host->number] = 0;
}
