/*
 * A certificate says: at T, by the clock of the leader that made it, everything acknowledged had an
 * index of at most N; and N is committed, with this chain head; up to `both` it is on both sites;
 * such was the policy, and the mode. Each of these is a claim that a verdict may be built on after
 * a loss, so each is held against the truth when a node first holds it.
 *
 * When T was, no certificate tells: only the clock that T was read from knows, as it went at that
 * moment, and clocks jump. To ask the clock of today is wrong, even long after the jump: a
 * certificate waits for a disk, and a process finds in its file what was made before the jump if
 * the power went before a newer one was written. Made by a right clock that was put back since, it
 * seems younger by as much, and to deny what was acknowledged after it.
 * So the moment is noted at the maker, in the turn in which it read its clock: no clock jumps
 * within a turn, and what it says beyond its word at the begin is the time that the turn had taken.
 * Whatever is made from that reading, whenever it is ready, covers what was acknowledged before it.
 *
 * T itself may be earlier than the reading, by what another member's clock is behind (that clock
 * shows T at the very moment), and is never later. So there is one moment to look at, and one turn
 * to do so in: the one in which a certificate is made. What a file brings back was looked at then,
 * and what was true then stays true.
 */
#include "chaos/sim/certificate_checks.h"

#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <string.h>

/* When it was that the maker read its clock. One that runs wrong does not tell how much of its turn
 * had passed by then: the begin of the turn is early enough. */
static void note_reading(struct certificate_checks *checks, const struct host *host,
                         uint64_t wall_ns)
{
    checks->seen[host->number].asked_wall_ns = wall_ns;
    checks->seen[host->number].asked_ns = host->world->now_ns;
    if (wall_ns < host->wall_begin_ns || wall_ns > host->wall_end_ns)
        world_violate(checks->world,
                      "the certificate claims another time: host %u asks at %" PRIu64
                      " ns, and its clock went from %" PRIu64 " to %" PRIu64 " in that turn",
                      host->number, wall_ns, host->wall_begin_ns, host->wall_end_ns);
    else if (host->wall_drift_ppm == 0)
        checks->seen[host->number].asked_ns += wall_ns - host->wall_begin_ns;
}

/* True in the turn in which it has made one. */
static bool watch_maker(struct certificate_checks *checks, const struct host *host)
{
    const struct certificates *c = &host->node->certificates;
    const uint32_t number = host->number;
    if (checks->seen[number].life != host->life) {
        checks->seen[number].life = host->life;
        checks->seen[number].made_total = 0;
        checks->seen[number].asked_wall_ns = 0;
    }
    if (c->asked_wall_ns != checks->seen[number].asked_wall_ns)
        note_reading(checks, host, c->asked_wall_ns);
    const bool made = c->made_total != checks->seen[number].made_total;
    checks->seen[number].made_total = c->made_total;
    return made;
}

static void check_acknowledged(struct certificate_checks *checks, const struct host *host,
                               const struct certificate_record *record)
{
    const uint64_t asked_ns = checks->seen[host->number].asked_ns;
    const uint64_t asked_wall_ns = checks->seen[host->number].asked_wall_ns;
    checks->acknowledged_total++;
    if (record->wall_ns > asked_wall_ns)
        world_violate(checks->world,
                      "the certificate claims too much: of host %u, term %" PRIu64
                      ", names a moment %.6f s after the one at which it asked",
                      host->number, record->term, (double)(record->wall_ns - asked_wall_ns) / 1e9);
    const uint64_t index = oracle_index_before(checks->oracle, asked_ns);
    if (index > record->index)
        world_violate(checks->world,
                      "the certificate claims too much: of host %u, term %" PRIu64
                      ", says that everything acknowledged at %.6f s is at or below %" PRIu64
                      ", and %" PRIu64 " was",
                      host->number, record->term, (double)asked_ns / 1e9, record->index, index);
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
    const bool made = watch_maker(checks, host);
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
    if (made && record->node_id == host->node_id)
        check_acknowledged(checks, host, record);
}
