/*
 * What drives libraft, seen from outside: how far each peer is and what is sent to it next, how
 * long a follower waits. The guard needs none of it (raft_layout.h is the guard's); consensus_raft
 * does. As there, the file of the same name knows where things are in libraft's structures, and
 * does not compile against a version that nobody has looked at.
 *
 * Nothing here can make libraft unsafe: which entry is sent next and when is advice that the peer's
 * answer corrects; a campaign is always allowed.
 *
 * All on the loop thread, on a raft that went through raft_init(). Nothing here allocates.
 */
#ifndef TALLY_REPLICATION_RAFT_LAYOUT_DRIVE_H
#define TALLY_REPLICATION_RAFT_LAYOUT_DRIVE_H

#include <raft.h>
#include <stdbool.h>

/* Of the newest entry, in memory or covered by the snapshot. */
raft_index raft_layout_last_index(const struct raft *raft);

unsigned raft_layout_voter_count(const struct raft *raft);

/* Follower or candidate: the timer, from its last start on, takes this long. */
void raft_layout_set_election_wait(struct raft *raft, unsigned ms);
/* Candidate: its next round asks for pre-votes before it raises the term again. */
void raft_layout_back_to_pre_vote(struct raft *raft);

/* Leader: what is known of the server `id`, all false and zero for an unknown id. */
struct raft_layout_peer {
    bool known;
    bool pipelines; /* new entries are sent at once */
    bool snapshots; /* libraft believes that a snapshot is on its way */
    raft_index match, next;
};
struct raft_layout_peer raft_layout_peer(const struct raft *raft, raft_id id);

/* Leader: libraft takes the server's last message for sent long ago, so the next tick, or a
 * rejection, sends at once. */
void raft_layout_wake_peer(struct raft *raft, raft_id id);

/* Leader: `next` is sent next, one message at a time until the server has confirmed what comes
 * before it. Also ends the wait for a snapshot. Invariant: 1 <= next <= last index + 1. */
void raft_layout_probe_from(struct raft *raft, raft_id id, raft_index next);

#endif
