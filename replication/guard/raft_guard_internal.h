/* Between the files of the guard; nobody else includes it. */
#ifndef TALLY_REPLICATION_RAFT_GUARD_INTERNAL_H
#define TALLY_REPLICATION_RAFT_GUARD_INTERNAL_H

#include "replication/guard/raft_guard.h"

/* raft_guard.c */
bool guard_has(const struct raft_guard *guard, uint32_t part);
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
bool guard_witness_has(const struct raft_guard *guard, uint32_t part);

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

/* raft_guard_receive.c */
void guard_recv(struct raft_io *inner, struct raft_message *message);
/* Delivers an InstallSnapshot whose time has come. */
void guard_receive_snapshot(struct raft_guard *guard, struct raft_message *message);
void guard_free_held_snapshot(struct raft_guard *guard);
void guard_repeat_acknowledgement(struct raft_guard *guard);

/* raft_guard_send.c */
int guard_send(struct raft_io *outer, struct raft_io_send *request,
               const struct raft_message *original, raft_io_send_cb cb);
void guard_call_back_completed(struct raft_guard *guard);

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
