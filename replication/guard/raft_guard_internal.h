/* Between the files of the guard; nobody else includes it. */
#ifndef TALLY_REPLICATION_RAFT_GUARD_INTERNAL_H
#define TALLY_REPLICATION_RAFT_GUARD_INTERNAL_H

#include "replication/guard/raft_guard.h"

/* raft_guard.c */
bool guard_has(const struct raft_guard *guard, uint64_t part);
struct raft_guard *guard_of(struct raft_io *outer);
struct raft_io *guard_inner(struct raft_io *outer);
/* The first call reaches the fail-stop hook. */
void guard_stop(struct raft_guard *guard, const char *operation, int code);
/* Returns `code`; an error's text goes with it. */
int guard_pass(struct raft_guard *guard, int code);
/* The disk does not hold yet what the log in memory claims. */
bool guard_disk_is_behind(const struct raft_guard *guard);
/* At the end of every event, outside of libraft: what an event may have made due. */
void guard_settle(struct raft_guard *guard);

/* Whether `id` has a vote and is no witness. */
bool guard_is_data_voter(const struct raft_guard *guard, raft_id id);

/* raft_guard_witness.c: nothing of it does anything at a data node */
/* Before libraft's tick. */
void guard_witness_tick(struct raft_guard *guard, raft_time now);
/* When the next tick has something to do; UINT64_MAX. */
raft_time guard_witness_next(const struct raft_guard *guard);
/* Somebody asks for a vote; before libraft sees it. */
void guard_witness_asked(struct raft_guard *guard, const struct raft_request_vote *request);
/* A leader spoke. */
void guard_witness_heard_leader(struct raft_guard *guard);
/* At the end of an event: whom to hand leadership to now, or 0. */
raft_id guard_witness_heir(const struct raft_guard *guard);
/* Has `part`, as a witness. */
bool guard_witness_has(const struct raft_guard *guard, uint64_t part);

/* raft_guard_membership.c */
/* What load() is about to give to libraft. RAFT_MALFORMED, RAFT_CORRUPT, RAFT_NOMEM. */
int guard_note_load(struct raft_guard *guard, const struct raft_snapshot *snapshot,
                    raft_index start, const struct raft_entry *entries, size_t count);
/* libraft has taken over what was loaded. */
void guard_note_start(struct raft_guard *guard);
/* After each event: keeps a copy of what is committed. */
void guard_note_configuration(struct raft_guard *guard);
void guard_forget_configuration(struct raft_guard *guard);
/* libraft is about to truncate. False: not with this message. */
bool guard_roll_back(struct raft_guard *guard, raft_index truncate_from);
/* Leader: a new term begins; a peer answered; after each event. What a change of members needs. */
void guard_begin_to_lead(struct raft_guard *guard);
void guard_note_answer(struct raft_guard *guard, raft_id id);
void guard_note_commit(struct raft_guard *guard);
int guard_fsm_snapshot(struct raft_fsm *outer, struct raft_buffer *buffers[], unsigned *count);

/* raft_guard_site.c: what the rule knows and says */
/* Entries were appended to the log, were loaded; false: stopped. */
bool guard_modes_grow(struct raft_guard *guard, raft_index first, const struct raft_entry entries[],
                      size_t count);
bool guard_modes_load(struct raft_guard *guard, raft_index start, const struct raft_entry *entries,
                      size_t count);
void guard_forget_modes(struct raft_guard *guard);
/* Whenever the configuration in force may have changed. */
void guard_note_places(struct raft_guard *guard);
enum site_place guard_place(const struct raft_guard *guard, raft_id id);
/* We lead, and the rule is in force. */
bool guard_keeps_rule(const struct raft_guard *guard);
/* The own synced index, also while libraft sees another one. */
raft_index guard_stored(const struct raft_guard *guard);
/* The following while guard_keeps_rule(). A witness is sent entries up to here; ... */
raft_index guard_witness_limit(const struct raft_guard *guard);
/* ... counts as min(verified, this). */
raft_index guard_witness_cap(const struct raft_guard *guard);
/* What the rule lets commit, of any term, the data node `acking` (0: nobody) having acknowledged
 * `acked`: the commit itself, or the quorum's own index. */
raft_index guard_site_try(const struct raft_guard *guard, raft_id acking, raft_index acked);

/* raft_guard_lane.c: what a witness is sent */
/* The lane of that witness; NULL: libraft's own. */
struct guard_lane *guard_lane(struct raft_guard *guard, raft_id id);
/* libraft sends AppendEntries. True: it goes no further. */
bool guard_lane_takes(struct raft_guard *guard, const struct raft_message *message);
/* Its answer of our term; what libraft may know of it is left. */
void guard_lane_hear(struct raft_guard *guard, struct guard_lane *lane,
                     struct raft_append_entries_result *result);
/* After each event. */
void guard_settle_lanes(struct raft_guard *guard);

/* raft_guard_receive.c */
/* Leader: libraft hears once more that `id` has everything up to `match`. */
void guard_repeat_answer(struct raft_guard *guard, raft_id id, raft_index match);
void guard_recv(struct raft_io *inner, struct raft_message *message);
/* Delivers an InstallSnapshot whose time has come. */
void guard_receive_snapshot(struct raft_guard *guard, struct raft_message *message);
void guard_free_held_snapshot(struct raft_guard *guard);
void guard_repeat_acknowledgement(struct raft_guard *guard);

/* raft_guard_send.c */
int guard_send(struct raft_io *outer, struct raft_io_send *request,
               const struct raft_message *original, raft_io_send_cb cb);
void guard_call_back_completed(struct raft_guard *guard);
/* A message of our own; a lost one when it cannot be sent. */
void guard_send_own(struct raft_guard *guard, const struct raft_message *message);

/* raft_guard_disk.c */
/* Closing: what ended after a fail-stop. */
void guard_end_late(struct raft_guard *guard);
int guard_append(struct raft_io *outer, struct raft_io_append *request,
                 const struct raft_entry entries[], unsigned count, raft_io_append_cb cb);
int guard_snapshot_put(struct raft_io *outer, unsigned trailing,
                       struct raft_io_snapshot_put *request, const struct raft_snapshot *snapshot,
                       raft_io_snapshot_put_cb cb);
int guard_truncate(struct raft_io *outer, raft_index index);
int guard_set_term(struct raft_io *outer, raft_term term);
int guard_set_vote(struct raft_io *outer, raft_id id);

#endif
