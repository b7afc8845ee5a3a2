/*
 * A witness: it stores the log and votes, holds no ledger, serves nobody. It should not lead, but
 * must where it alone holds the end of the log that a majority committed.
 *
 *  - QUIET: silence does not make it campaign, nor does TimeoutNow. It forgets a silent leader all
 *    the same (LEADER), or its vote, which every loss of a site needs, could not be given.
 *  - RESORT: it refused its vote to a data node *because that node's log is shorter*, and for a
 *    while nobody with a longer one came to lead: then it campaigns itself, and again for as long
 *    as it is asked for votes that it must refuse.
 *  - REACH: not for a data node whose log ends before ours begins, which we could not complete.
 *  - SILENT: leading, it appends nothing. So nothing of its term exists, and by the old-term rule
 *    (S4) it commits nothing; it is never ready, so that nothing is proposed.
 *  - HAND_OVER: once a data node holds the whole log, that one is asked to campaign.
 *  - TARGET (raft_guard.c): nobody hands leadership to a witness.
 *
 * This file is about what a witness itself does. What it is sent, and what its word counts, is the
 * leader's matter: the durability rule, raft_guard_site.c and raft_guard_lane.c.
 */
#include "replication/guard/raft_guard_internal.h"
#include "replication/guard/raft_layout.h"

bool guard_witness_has(const struct raft_guard *guard, uint64_t part)
{
    return guard->options.witness && guard_has(guard, part);
}

/* How long a refusal is a reason to campaign: the data node asks again within that time, if it is
 * still there. */
static raft_time reason_lasts(const struct raft_guard *guard)
{
    return 2 * (raft_time)guard->options.raft->election_timeout;
}

void guard_witness_tick(struct raft_guard *guard, raft_time now)
{
    struct raft *raft = guard->options.raft;
    if (!guard_witness_has(guard, RAFT_GUARD_QUIET) ||
        (raft->state != RAFT_FOLLOWER && raft->state != RAFT_CANDIDATE))
        return;
    if (now - guard->refused_at >= reason_lasts(guard))
        guard->resort_at = 0;
    if (guard->resort_at == 0 || now < guard->resort_at || guard_disk_is_behind(guard)) {
        raft_layout_postpone_election(raft, now);
        return;
    }
    guard->resort_at = 0; /* the next refusal begins anew */
    raft_layout_expire_election(raft);
}

raft_time guard_witness_next(const struct raft_guard *guard)
{
    return guard->resort_at == 0 ? UINT64_MAX : guard->resort_at;
}

void guard_witness_heard_leader(struct raft_guard *guard)
{
    guard->resort_at = 0;
}

/* We could replicate to a node whose log ends with this entry. */
static bool could_reach(const struct raft_guard *guard, raft_index last_index)
{
    const struct raft *raft = guard->options.raft;
    if (guard->options.first_kept != NULL &&
        last_index + 1 >= guard->options.first_kept(guard->options.context))
        return true;
    if (last_index >= raft_last_index(guard->options.raft) ||
        raft_layout_term_at(raft, last_index) != 0)
        return true;
    return last_index == 0 && raft_layout_first_index(raft) == 1 &&
           raft_layout_snapshot_index(raft) == 0;
}

void guard_witness_asked(struct raft_guard *guard, const struct raft_request_vote *request)
{
    struct raft *raft = guard->options.raft;
    if (!guard_witness_has(guard, RAFT_GUARD_RESORT) ||
        (raft->state != RAFT_FOLLOWER && raft->state != RAFT_CANDIDATE) ||
        raft_layout_leader(raft) != 0 || !guard_is_data_voter(guard, request->candidate_id))
        return;
    raft_index last_index = raft_last_index(raft);
    raft_term last_term = raft_layout_term_at(raft, last_index);
    bool is_shorter = request->last_log_term < last_term ||
                      (request->last_log_term == last_term && request->last_log_index < last_index);
    if (!is_shorter ||
        (guard_has(guard, RAFT_GUARD_REACH) && !could_reach(guard, request->last_log_index)))
        return;
    guard->refused_at = guard->options.inner->time(guard->options.inner);
    if (guard->resort_at == 0)
        guard->resort_at = guard->refused_at + RAFT_GUARD_RESORT_MS(raft->election_timeout);
}

raft_id guard_witness_heir(const struct raft_guard *guard)
{
    struct raft *raft = guard->options.raft;
    if (!guard_witness_has(guard, RAFT_GUARD_HAND_OVER) || raft->state != RAFT_LEADER ||
        raft->transfer != NULL || guard->transfer_state != RAFT_GUARD_NO_TRANSFER)
        return 0;
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        raft_id id = raft->configuration.servers[i].id;
        if (id != raft->id && guard_is_data_voter(guard, id) && raft_guard_is_current(guard, id) &&
            raft_layout_match(raft, id) == raft_last_index(raft))
            return id;
    }
    return 0;
}
