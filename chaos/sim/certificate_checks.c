/*
 * A certificate says: at T, by the clock of the leader that made it, everything acknowledged had an
 * index of at most N; and N is committed, with this chain head; up to `both` it is on both sites;
 * such was the policy, and the mode. Each of these is a claim that a verdict may be built on after
 * a loss, so each is held against the truth when a node first holds it.
 *
 * T is turned into virtual time by the clock of its maker, at the maker only, and not while that
 * clock has just jumped: what it said when it was asked cannot be known then.
 */
#include "chaos/sim/certificate_checks.h"

#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <string.h>

#define JUMP_NS (5 * NS_PER_S)

static void watch_clock(struct certificate_checks *checks, const struct host *host)
{
    if (checks->seen[host->number].wall_offset_ns == host->wall_offset_ns &&
        host->wall_drift_ppm == 0)
        return;
    checks->seen[host->number].wall_offset_ns = host->wall_offset_ns;
    checks->seen[host->number].wall_moved_ns = host->world->now_ns;
}

static void check_acknowledged(struct certificate_checks *checks, const struct host *host,
                               const struct certificate_record *record)
{
    const uint64_t moved = checks->seen[host->number].wall_moved_ns;
    if (moved != 0 && host->world->now_ns - moved < JUMP_NS)
        return;
    const int64_t at_ns = (int64_t)(record->wall_ns - WORLD_WALL_NS) - host->wall_offset_ns;
    const int64_t age_ns = (int64_t)host->world->now_ns - at_ns;
    if (at_ns <= 0 || age_ns < 0 || age_ns > (int64_t)JUMP_NS)
        return; /* made by a clock that jumped since, while it waited for a disk */
    checks->acknowledged_total++;
    const uint64_t index = oracle_index_before(checks->oracle, (uint64_t)at_ns);
    if (index > record->index)
        world_violate(checks->world,
                      "the certificate claims too much: of host %u, term %" PRIu64
                      ", says that everything acknowledged at %.6f s is at or below %" PRIu64
                      ", and %" PRIu64 " was",
                      host->number, record->term, (double)at_ns / 1e9, record->index, index);
}

/* N, its term and its head, by the journal of who holds it. */
static void check_entry(struct certificate_checks *checks, const struct host *host,
                        const struct certificate_record *record)
{
    struct journal *journal = host->node->journal;
    struct consensus_status status;
    uint64_t term;
    uint8_t head[JOURNAL_HASH_SIZE];
    consensus_status(host->node->consensus, &status);
    if (record->index > checks->rule->commit_index)
        world_violate(checks->world,
                      "the certificate claims too much: of node %" PRIu64 ", term %" PRIu64
                      ", names %" PRIu64 ", and only %" PRIu64 " is committed",
                      record->node_id, record->term, record->index, checks->rule->commit_index);
    if (record->index > status.commit_index ||
        journal_term(journal, record->index, &term) != STATUS_OK ||
        journal_head(journal, record->index, head) != STATUS_OK)
        return; /* not here yet, as far as it knows, or pruned */
    if (term != record->index_term || memcmp(head, record->head, sizeof head) != 0)
        world_violate(checks->world,
                      "the certificate claims another log: host %u holds one of node %" PRIu64
                      " whose entry %" PRIu64 " is not what its journal has",
                      host->number, record->node_id, record->index);
}

static void check_both(struct certificate_checks *checks, const struct host *host,
                       const struct certificate_record *record)
{
    const struct holdings *holdings = &checks->rule->holdings;
    struct consensus_status status;
    uint64_t term;
    consensus_status(host->node->consensus, &status);
    if (record->rule != CERTIFICATE_SITE || record->both_index == 0 ||
        record->both_index > status.commit_index || /* perhaps another entry there */
        journal_term(host->node->journal, record->both_index, &term) != STATUS_OK)
        return;
    if (!holdings_site_has(holdings, "A", MEMBER_DATA, record->both_index, term) ||
        !holdings_site_has(holdings, "B", MEMBER_DATA, record->both_index, term))
        world_violate(checks->world,
                      "the certificate claims too much: of node %" PRIu64 ", term %" PRIu64
                      ", says that %" PRIu64 " is on both sites, and it is not",
                      record->node_id, record->term, record->both_index);
}

static void check_policy(struct certificate_checks *checks, const struct certificate_record *record)
{
    const struct rule_note *note = rule_checks_at(checks->rule, record->index);
    struct durability_entry entry;
    if (note != NULL)
        entry = note->entry;
    else
        durability_entry_default(&entry);
    if (record->number < entry.number ||
        (record->number == entry.number && record->policy != (uint8_t)entry.policy.decision) ||
        (record->mode == DURABILITY_SYNC && record->number == entry.number &&
         entry.mode != DURABILITY_SYNC))
        world_violate(checks->world,
                      "the certificate claims mode %u, policy %u by entry %" PRIu64
                      ", and at its index %" PRIu64 " entry %" PRIu64 " says mode %u, policy %u",
                      record->mode, record->policy, record->number, record->index, entry.number,
                      entry.mode, entry.policy.decision);
}

void certificate_checks_look(struct certificate_checks *checks, const struct host *host)
{
    const struct node *node = host->node;
    const struct certificate_record *record = &node->certificates.record;
    watch_clock(checks, host);
    if (node->certificates.size == 0 || node->journal == NULL || host->disk.dead ||
        node->phase == NODE_FAILED || node->phase == NODE_REINSTALLING ||
        (record->term == checks->seen[host->number].term &&
         record->sequence == checks->seen[host->number].sequence))
        return;
    checks->seen[host->number].term = record->term;
    checks->seen[host->number].sequence = record->sequence;
    checks->total++;
    check_entry(checks, host, record);
    check_both(checks, host, record);
    check_policy(checks, record);
    if (record->node_id == host->node_id)
        check_acknowledged(checks, host, record);
}
