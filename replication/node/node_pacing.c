/*
 * A leader admits less while a member that it brings up to date does not come nearer, and reads to
 * it slower while clients are held up by that (replication/catch_up/pacing.h): once a second it is
 * looked at, and each turn gets its budget of bytes to propose. What is over it waits in the
 * proposer's list, bounded as always.
 */
#include "replication/node/node_internal.h"

/* Payload and what an entry costs in memory, on average of those in memory. */
static uint64_t entry_bytes(const struct consensus_status *consensus)
{
    const uint64_t last = consensus->commit_index;
    if (last < consensus->log_first_index || consensus->log_first_index == 0)
        return 0;
    return consensus->log_bytes / (last - consensus->log_first_index + 1);
}

static struct pacing_input look_around(const struct node *node)
{
    struct pacing_input input = {
        .now_ns = node->turned_ns,
        .proposed_bytes = node->proposer.proposed_bytes_total,
        .whole = true,
    };
    struct consensus_status consensus;
    struct consensus_peer peers[MEMBERS_MAX];
    consensus_status(node->consensus, &consensus);
    const uint32_t count = consensus_peers(node->consensus, peers, MEMBERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        const bool is_self = peers[i].member.node_id == node->identity.node_id;
        input.whole &= is_self || (peers[i].linked && peers[i].match_index > 0);
        struct catch_up_progress served;
        catch_up_served(node->catch_up, peers[i].member.node_id, &served);
        if (!served.active)
            continue;
        input.serves = true;
        const uint64_t at = peers[i].match_index > 0 ? peers[i].match_index : served.index;
        if (served.index == 0 || at > consensus.commit_index)
            continue; /* it is not read entries yet */
        const uint64_t gap = (consensus.commit_index - at) * entry_bytes(&consensus);
        input.feeds = true;
        input.gap_bytes = gap > input.gap_bytes ? gap : input.gap_bytes;
    }
    return input;
}

static void tell(const struct node *node, enum pacing_news news, uint64_t gap_bytes)
{
    const struct pacing *pacing = &node->pacing;
    switch (news) {
    case PACING_NOTHING:
        return;
    case PACING_BEGAN:
        notify_event(&node->notify, "catch_up_pacing",
                     "a member that catches up does not come nearer: less is admitted until it "
                     "does",
                     pacing->limit, gap_bytes);
        return;
    case PACING_ENDED:
        notify_event(&node->notify, "catch_up_pacing_ended", "everything is admitted again",
                     pacing->reference, 0);
        return;
    case PACING_GAVE_UP:
        notify_event(&node->notify, "catch_up_not_closing",
                     "a member that catches up does not come nearer, though the least is admitted "
                     "that may be: everything is again; look at that member's disk, processor and "
                     "network, or let it catch up when there is less to do",
                     pacing_floor(pacing), gap_bytes);
        return;
    }
}

void node_pace(struct node *node)
{
    if (node->catch_up == NULL || !node->may_propose) {
        pacing_forget(&node->pacing);
        node->proposer.budget_bytes = UINT64_MAX;
        if (node->catch_up != NULL)
            catch_up_read_rate(node->catch_up, PACING_READ_MAX);
        return;
    }
    pacing_note(&node->pacing, node->turned_ns, node->proposer.in_flight_entries > 0);
    if (pacing_is_due(&node->pacing, node->turned_ns)) {
        const struct pacing_input input = look_around(node);
        tell(node, pacing_look(&node->pacing, &input), input.gap_bytes);
        catch_up_read_rate(node->catch_up, pacing_read_rate(&node->pacing));
    }
    node->proposer.budget_bytes = pacing_budget(&node->pacing, node->turned_ns);
}
