/*
 * One of the two files that depend on libraft's version; the other, raft_layout.c, says why, and
 * what to do when they no longer compile.
 */
#include "replication/guard/raft_layout_drive.h"

#include "core/invariant.h"

#include <stddef.h>
#include <stdint.h>

#define LAYOUT(type, field, place)                                                                 \
    _Static_assert(offsetof(type, field) == (place),                                               \
                   "libraft is not 0.15.0: " #type "." #field                                      \
                   " moved; review replication/guard/raft_layout_drive.c and docs/raft-guard.md")

_Static_assert(sizeof(struct raft) == 656, "libraft is not 0.15.0");
_Static_assert(sizeof(struct raft_progress) == 56, "libraft is not 0.15.0");
LAYOUT(struct raft, log, 64);
LAYOUT(struct raft_log, size, 8);
LAYOUT(struct raft_log, front, 16);
LAYOUT(struct raft_log, back, 24);
LAYOUT(struct raft_log, offset, 32);
LAYOUT(struct raft, configuration, 136);
LAYOUT(struct raft, state, 208);
LAYOUT(struct raft, pre_vote, 640);
LAYOUT(struct raft, follower_state.randomized_election_timeout, 216);
LAYOUT(struct raft, candidate_state.randomized_election_timeout, 216);
LAYOUT(struct raft, candidate_state.disrupt_leader, 232);
LAYOUT(struct raft, candidate_state.in_pre_vote, 233);
LAYOUT(struct raft, leader_state.progress, 216);
LAYOUT(struct raft_progress, state, 0);
LAYOUT(struct raft_progress, next_index, 8);
LAYOUT(struct raft_progress, match_index, 16);
LAYOUT(struct raft_progress, snapshot_index, 24);
LAYOUT(struct raft_progress, last_send, 32);

/* libraft's progress.h, which is not installed. */
enum { PROBE = 0, PIPELINE = 1, SNAPSHOT = 2 };

static struct raft_progress *progress_of(const struct raft *raft, raft_id id)
{
    invariant(raft->state == RAFT_LEADER);
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        if (raft->configuration.servers[i].id == id)
            return &raft->leader_state.progress[i];
    }
    return NULL;
}

raft_index raft_layout_last_index(const struct raft *raft)
{
    const struct raft_log *log = &raft->log;
    return log->offset +
           (log->front <= log->back ? log->back - log->front : log->size - log->front + log->back);
}

unsigned raft_layout_voter_count(const struct raft *raft)
{
    unsigned count = 0;
    for (unsigned i = 0; i < raft->configuration.n; i++)
        count += raft->configuration.servers[i].role == RAFT_VOTER;
    return count;
}

void raft_layout_set_election_wait(struct raft *raft, unsigned ms)
{
    invariant(raft->state == RAFT_FOLLOWER || raft->state == RAFT_CANDIDATE);
    if (raft->state == RAFT_FOLLOWER)
        raft->follower_state.randomized_election_timeout = ms;
    else
        raft->candidate_state.randomized_election_timeout = ms;
}

void raft_layout_back_to_pre_vote(struct raft *raft)
{
    invariant(raft->state == RAFT_CANDIDATE);
    raft->candidate_state.in_pre_vote = raft->pre_vote;
    raft->candidate_state.disrupt_leader = false;
}

struct raft_layout_peer raft_layout_peer(const struct raft *raft, raft_id id)
{
    const struct raft_progress *progress = progress_of(raft, id);
    if (progress == NULL)
        return (struct raft_layout_peer){0};
    return (struct raft_layout_peer){
        .known = true,
        .pipelines = progress->state == PIPELINE,
        .snapshots = progress->state == SNAPSHOT,
        .match = progress->match_index,
        .next = progress->next_index,
    };
}

void raft_layout_wake_peer(struct raft *raft, raft_id id)
{
    struct raft_progress *progress = progress_of(raft, id);
    if (progress != NULL)
        progress->last_send = 0;
}

void raft_layout_probe_from(struct raft *raft, raft_id id, raft_index next)
{
    struct raft_progress *progress = progress_of(raft, id);
    if (progress == NULL)
        return;
    invariant_values(next >= 1, next, id);
    progress->state = PROBE;
    progress->next_index = next;
    progress->snapshot_index = 0;
}
