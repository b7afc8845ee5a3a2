/*
 * What the guard has to see and to change inside libraft's structures.
 *
 * libraft has no accessors for its terms, quorum and timers, but `struct raft` is public. This
 * header says what the guard needs in the guard's own words; raft_layout.c alone knows where it is,
 * and does not compile against a library version that nobody has looked at. (What drives libraft is
 * in raft_layout_drive.h, in the same way.)
 *
 * All on the loop thread, on a raft that went through raft_init(). Nothing here allocates.
 */
#ifndef TALLY_REPLICATION_RAFT_LAYOUT_H
#define TALLY_REPLICATION_RAFT_LAYOUT_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Servers whose matches are sorted to find the quorum; more voters than these trip an invariant.
 * 2 + 2 + 1 is five, and a membership change adds one at a time. */
#define RAFT_LAYOUT_VOTERS_MAX 16

/* Term of the entry at `index`: from the log in memory, or of the snapshot. 0: not known here. */
raft_term raft_layout_term_at(const struct raft *raft, raft_index index);

/* The entry at `index` while it is in memory, or NULL. Borrowed until the log changes. */
const struct raft_entry *raft_layout_entry(const struct raft *raft, raft_index index);

/* The oldest entry in memory; of an empty log: where the next one goes. */
raft_index raft_layout_first_index(const struct raft *raft);

/* Bytes of the entries from `from` to `to`, those that are in memory. */
uint64_t raft_layout_log_bytes(const struct raft *raft, raft_index from, raft_index to);

/* Last index and term covered by a snapshot, 0 without one. Set as soon as an install *begins*. */
raft_index raft_layout_snapshot_index(const struct raft *raft);
raft_term raft_layout_snapshot_term(const struct raft *raft);

/* A snapshot of a leader is being written: the log is emptied already, nothing is restored yet. */
bool raft_layout_installing(const struct raft *raft);

/* The configuration in force has a server of this id. */
bool raft_layout_knows(const struct raft *raft, raft_id id);

/* What `id` is in the configuration in force: RAFT_SPARE, RAFT_STANDBY, RAFT_VOTER; -1: nothing. */
int raft_layout_role(const struct raft *raft, raft_id id);

/* In the current term nobody but `id` has our vote. */
bool raft_layout_may_vote_for(const struct raft *raft, raft_id id);

/* We have the only vote there is. */
bool raft_layout_is_sole_voter(const struct raft *raft);

/* Follower, or not started yet: `term` has begun, and our vote in it is our own; both are on the
 * disk. */
void raft_layout_set_term(struct raft *raft, raft_term term);

/* Our own role in the configuration in force changes to `role`, which libraft does not notice. -1
 * and no change: not a member. Otherwise what it was. */
int raft_layout_exchange_own_role(struct raft *raft, int role);

/* Follower: whom it takes for the leader; 0: nobody, or not a follower. */
raft_id raft_layout_leader(const struct raft *raft);

/* A configuration entry is in the log and not known to be committed. */
bool raft_layout_configuration_pending(const struct raft *raft);

/* Index of the configuration entry that is in the log and not known to be committed, or 0; and of
 * the newest one known to be. */
raft_index raft_layout_uncommitted_configuration(const struct raft *raft);
raft_index raft_layout_committed_configuration(const struct raft *raft);
/* Either of them changes; the configuration in force does not. */
void raft_layout_set_configuration_indexes(struct raft *raft, raft_index committed,
                                           raft_index uncommitted);
/* Follower: `configuration` is in force from now on, and libraft's. */
void raft_layout_put_configuration_back(struct raft *raft,
                                        const struct raft_configuration *configuration,
                                        raft_index committed, raft_index uncommitted);

/* What raft_configuration_encode() wrote, into an initialized configuration; it must be closed in
 * any case. RAFT_MALFORMED, or RAFT_NOMEM. */
int raft_layout_decode_configuration(const struct raft_buffer *buffer,
                                     struct raft_configuration *out);

/* Its inverse, with zeros for the bytes of padding that libraft leaves as they were. Into
 * out_bytes; returns the size, a multiple of 8, or 0: empty, or more than `capacity`. */
size_t raft_layout_encode_configuration(const struct raft_configuration *configuration,
                                        void *out_bytes, size_t capacity);

/* Follower or candidate: the election timer starts anew at `now`. */
void raft_layout_postpone_election(struct raft *raft, raft_time now);

/* Follower or candidate: the next tick campaigns, beginning with a pre-vote. */
void raft_layout_expire_election(struct raft *raft);

/* It asks for pre-votes, which change nothing at anybody. */
bool raft_layout_in_pre_vote(const struct raft *raft);

/* Follower: the tick at `now` campaigns, if we have a vote. */
bool raft_layout_election_is_due(const struct raft *raft, raft_time now);

/* When a tick has something to do next, by libraft's timers: UINT64_MAX: never, until something
 * else happens. May be in the past. */
raft_time raft_layout_next_tick(const struct raft *raft);

/* Follower: no leader is known any more, so that votes are given again. */
void raft_layout_forget_leader(struct raft *raft);

/* Leader: a membership change is under way, from its proposal (a future voter may have to catch up
 * before there is an entry) until it is committed. */
bool raft_layout_changing(const struct raft *raft);

/* Leader: what the voter `id` has acknowledged; 0 for an unknown id. */
raft_index raft_layout_match(const struct raft *raft, raft_id id);

/* Leader: the greatest index that a majority of the voters holds, counting that `acking` (0: none)
 * has just acknowledged `acked`. */
raft_index raft_layout_quorum_index(const struct raft *raft, raft_id acking, raft_index acked);

/* Leader: every voter has acknowledged at least `index`. */
bool raft_layout_all_voters_have(const struct raft *raft, raft_index index);

/* Leader: some other voter that acknowledged `index`, or 0. Its acknowledgement is put back to
 * index - 1, so that libraft takes a repetition as news. `out_match` is what it was. */
raft_id raft_layout_take_back_match(struct raft *raft, raft_index index, raft_index *out_match);

/* Leader: libraft looks for the place where `id`'s log parts from ours. */
bool raft_layout_is_probing(const struct raft *raft, raft_id id);

/* Leader: the index that libraft would send `id` next; 0 for an unknown id. */
raft_index raft_layout_next(const struct raft *raft, raft_id id);

/* Leader: what libraft believes of `id` is changed. None has an effect when there is no such
 * server. Its acknowledgement becomes `match`. */
void raft_layout_set_match(struct raft *raft, raft_id id, raft_index match);
/* It has been sent everything: libraft has nothing but heartbeats for it until there is more. */
void raft_layout_set_sent(struct raft *raft, raft_id id);
/* It is asked at once whether it holds next - 1, and sent what follows. */
void raft_layout_resume_from(struct raft *raft, raft_id id, raft_index next);
/* It needs `next`, which is not in memory any more: the next tick sends it the snapshot. */
void raft_layout_want_snapshot(struct raft *raft, raft_id id, raft_index next);

/* Leader: libraft sent `id` a snapshot, and waits for its end. */
bool raft_layout_in_snapshot(const struct raft *raft, raft_id id);

/* Leader: that wait is over; `id` is asked at once whether it holds next - 1. No effect when there
 * is no wait, or no such server. */
void raft_layout_leave_snapshot(struct raft *raft, raft_id id, raft_index next);

/* Leader: `id` rejects an index: what is asked next goes out without waiting for a heartbeat. Only
 * where that is one step back, so that it ends. */
void raft_layout_hasten_probe(struct raft *raft, raft_id id, raft_index rejected);

/* Leader: whether libraft counts `id` as heard from since its last look at its majority. */
bool raft_layout_recently_heard(const struct raft *raft, raft_id id);
void raft_layout_set_recently_heard(struct raft *raft, raft_id id, bool heard);

#endif
