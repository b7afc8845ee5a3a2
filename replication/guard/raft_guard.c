/*
 * The repairs of libraft: the way of an event, and what follows it.
 *
 * Each repair is marked with its number in docs/raft-guard.md, which tells the fault and names the
 * schedule that fails without it. The files, in the order in which an event passes them:
 *
 *   raft_guard.c             tick; after each event: barrier, transfer, fail-stop; wiring
 *   raft_guard_receive.c     messages on their way to libraft, commit
 *   raft_guard_send.c        messages on their way out
 *   raft_guard_membership.c  which configuration is committed, and which change may be made
 *   raft_guard_witness.c     what a witness does otherwise
 *   raft_guard_site.c        the durability rule: modes of the log, votes, what may be committed
 *   raft_guard_lane.c        what a leader sends to a witness while that rule is in force
 *   raft_guard_disk.c        append, truncate, term, vote, snapshot
 *   raft_layout.c            what is read and written inside libraft's structures
 *
 * Invariants:
 *  - libraft's callbacks run only from events of the inner raft_io, never inside a call that
 *    libraft made. So sends that the guard itself ends are kept in a list until an event is over.
 *  - raft->last_stored is changed only around one delivery, and put back with what was added.
 *  - Messages are changed only towards less: fewer entries, lower commit, lower acknowledgement. A
 *    guard can cost liveness for a moment, not safety. (Two exceptions: the hint of a rejection,
 *    which is only advice; and prev moved up to the own snapshot, which is committed.)
 *  - After fail-stop nothing reaches libraft any more.
 */
#include "replication/guard/raft_guard.h"

#include "core/invariant.h"
#include "replication/guard/raft_guard_internal.h"
#include "replication/guard/raft_layout.h"

#include <stddef.h>
#include <string.h>

bool guard_has(const struct raft_guard *guard, uint64_t part)
{
    return (guard->options.parts & part) != 0;
}

struct raft_guard *guard_of(struct raft_io *io)
{
    return (struct raft_guard *)((char *)io - offsetof(struct raft_guard, io));
}

struct raft_io *guard_inner(struct raft_io *outer)
{
    return guard_of(outer)->options.inner;
}

void guard_stop(struct raft_guard *guard, const char *operation, int code)
{
    if (guard->stopped)
        return;
    guard->stopped = true;
    guard->options.fail_stop(guard->options.context, operation, code);
}

/* libraft reads the text of an error from the raft_io that it knows. */
int guard_pass(struct raft_guard *guard, int code)
{
    if (code != 0)
        memcpy(guard->io.errmsg, guard->options.inner->errmsg, sizeof guard->io.errmsg);
    return code;
}

/* The disk does not hold yet what the log in memory claims. */
bool guard_disk_is_behind(const struct raft_guard *guard)
{
    return guard->appends_in_flight > 0 || raft_layout_installing(guard->options.raft);
}

/* -------------------------------------------------------------------- tick */

/* Who has the only vote makes itself leader, at the start or after silence, and libraft forgets to
 * begin a term for it. But others have entries of the term that was: of its own life before, which
 * sent them before its disk had them; or of a leader that removed itself. */
static void begin_term_alone(struct raft_guard *guard)
{
    struct raft *raft = guard->options.raft;
    struct raft_io *inner = guard->options.inner;
    if (!guard_has(guard, RAFT_GUARD_TERM) || !raft_layout_is_sole_voter(raft))
        return;
    raft_term term = raft->current_term + 1;
    int code = inner->set_term(inner, term);
    if (code == 0)
        code = inner->set_vote(inner, raft->id);
    if (code != 0)
        guard_stop(guard, "set_term", code);
    else
        raft_layout_set_term(raft, term);
}

static void guard_tick(struct raft_io *inner)
{
    struct raft_guard *guard = inner->data;
    struct raft *raft = guard->options.raft;
    if (guard->stopped || guard->closing)
        return;

    if (raft->state == RAFT_FOLLOWER) {
        raft_time now = inner->time(inner);
        /* S7. A candidate's log must be on its disk: libraft asks for votes with what is only in
         * memory, forgets configurations whose append ends while it is no follower, and restores a
         * snapshot over a leader's state. */
        if (guard_has(guard, RAFT_GUARD_S7) && guard_disk_is_behind(guard))
            raft_layout_postpone_election(raft, now);
        /* A follower refuses votes as long as it believes in a leader, and only its own campaign
         * ends the belief. Who does not campaign (S7, a witness) would block every election. */
        if (guard_has(guard, RAFT_GUARD_LEADER) && now - guard->heard_at >= raft->election_timeout)
            raft_layout_forget_leader(raft);
    }
    guard_witness_tick(guard, inner->time(inner));
    guard->ticked_at = inner->time(inner);
    if (raft->state == RAFT_FOLLOWER && raft_layout_election_is_due(raft, guard->ticked_at)) {
        begin_term_alone(guard);
        if (guard->stopped)
            return;
    }
    guard->raft_tick(&guard->io);
    guard_settle(guard);
}

static raft_time sooner(raft_time a, raft_time b)
{
    return a < b ? a : b;
}

raft_time raft_guard_next_tick(const struct raft_guard *guard)
{
    const struct raft *raft = guard->options.raft;
    if (guard->stopped || guard->closing)
        return UINT64_MAX;
    raft_time next = guard_witness_has(guard, RAFT_GUARD_QUIET) && raft->state != RAFT_LEADER
                         ? guard_witness_next(guard)
                         : raft_layout_next_tick(raft);
    /* What was due at the last tick and still is (a snapshot on its way to a peer does not count as
     * sent) has time. */
    raft_time pause = raft->heartbeat_timeout / 4;
    if (next < guard->ticked_at + pause)
        next = guard->ticked_at + pause;
    if (raft->transfer != NULL)
        next = sooner(next, raft->transfer->start + raft->election_timeout);
    if (guard->transfer_state == RAFT_GUARD_TRANSFER_WAITS)
        next = sooner(next, guard->transfer_began + raft->election_timeout);
    if (raft_layout_leader(raft) != 0)
        next = sooner(next, guard->heard_at + raft->election_timeout);
    return next;
}

/* ----------------------------------------------------------------- after an event */

static void barrier_applied(struct raft_barrier *barrier, int status)
{
    struct raft_guard *guard = barrier->data;
    guard->barrier_in_log = false;
    if (status == 0)
        guard->ready_term = guard->options.raft->current_term;
}

/* An entry of the own term at once on becoming leader: by the old-term rule nothing inherited
 * commits without one (Raft, section 8), and whether there will be a client is unknown. */
static void propose_barrier(struct raft_guard *guard)
{
    struct raft *raft = guard->options.raft;
    if (raft->state != RAFT_LEADER) {
        guard->led_term = 0;
        guard->barrier_wanted = false;
        return;
    }
    if (guard->led_term != raft->current_term) {
        guard->led_term = raft->current_term;
        guard->barrier_wanted = guard_has(guard, RAFT_GUARD_BARRIER);
        guard_begin_to_lead(guard);
    }
    if (!guard->barrier_wanted || guard->barrier_in_log || raft->transfer != NULL ||
        guard_witness_has(guard, RAFT_GUARD_SILENT))
        return;
    guard->barrier.data = guard;
    guard->barrier_in_log = true;
    if (raft_barrier(raft, &guard->barrier, barrier_applied) == 0)
        guard->barrier_wanted = false;
    else
        guard->barrier_in_log = false; /* out of memory: again after the next event */
}

static void hand_over(struct raft_guard *guard)
{
    raft_id heir = guard_witness_heir(guard);
    if (heir != 0)
        (void)raft_guard_transfer(guard, heir, NULL, NULL); /* refused: after the next event */
}

static void end_transfer(struct raft_guard *guard)
{
    raft_guard_transfer_cb cb = guard->transfer_cb;
    guard->transfer_state = RAFT_GUARD_NO_TRANSFER;
    if (cb != NULL)
        cb(guard->transfer_context);
}

static void transferred(struct raft_transfer *transfer)
{
    end_transfer(transfer->data);
}

/* S12. libraft asks the peer to campaign when the entries are *sent*: it refuses, or campaigns with
 * a log that its disk does not hold. */
static void step_transfer(struct raft_guard *guard)
{
    struct raft *raft = guard->options.raft;
    struct raft_io *inner = guard->options.inner;
    if (guard->transfer_state != RAFT_GUARD_TRANSFER_WAITS)
        return;
    if (raft->state != RAFT_LEADER ||
        inner->time(inner) - guard->transfer_began >= raft->election_timeout) {
        end_transfer(guard);
        return;
    }
    if (guard_has(guard, RAFT_GUARD_S12) &&
        raft_layout_match(raft, guard->transfer_to) != raft_last_index(raft))
        return;
    guard->transfer.data = guard;
    guard->transfer_state = RAFT_GUARD_TRANSFER_RUNS;
    if (raft_transfer(raft, &guard->transfer, guard->transfer_to, transferred) != 0)
        end_transfer(guard);
}

void guard_settle(struct raft_guard *guard)
{
    struct raft *raft = guard->options.raft;
    if (guard->stopped)
        return;
    /* libraft tells nobody when it gives up. */
    if (raft->state == RAFT_UNAVAILABLE) {
        guard_stop(guard, "raft", RAFT_SHUTDOWN);
        return;
    }
    if (guard->held_snapshot != NULL && guard->appends_in_flight == 0) {
        struct raft_message *held = guard->held_snapshot;
        guard->held_snapshot = NULL;
        guard->talking_to = held->server_id;
        guard_receive_snapshot(guard, held);
        guard->talking_to = 0;
        raft_free(held);
        if (raft->state == RAFT_UNAVAILABLE) {
            guard_stop(guard, "raft", RAFT_SHUTDOWN);
            return;
        }
    }
    guard_note_configuration(guard);
    guard_note_places(guard);
    propose_barrier(guard);
    guard_settle_lanes(guard);
    if (raft->state == RAFT_UNAVAILABLE) {
        guard_stop(guard, "raft", RAFT_SHUTDOWN);
        return;
    }
    guard_note_commit(guard);
    site_modes_forget(&guard->modes, raft->commit_index);
    hand_over(guard);
    step_transfer(guard);
    guard_call_back_completed(guard);
}

/* ------------------------------------------------------------------- passed through */

static int guard_io_init(struct raft_io *outer, raft_id id, const char *address)
{
    return guard_pass(guard_of(outer), guard_inner(outer)->init(guard_inner(outer), id, address));
}

static void guard_closed(struct raft_io *inner)
{
    struct raft_guard *guard = inner->data;
    guard_forget_configuration(guard);
    guard_forget_modes(guard);
    guard->raft_closed(&guard->io);
}

static void guard_close(struct raft_io *outer, raft_io_close_cb cb)
{
    struct raft_guard *guard = guard_of(outer);
    guard->closing = true;
    guard->raft_closed = cb;
    guard_free_held_snapshot(guard);
    guard_end_late(guard);
    guard_call_back_completed(guard);
    guard->options.inner->close(guard->options.inner, guard_closed);
}

static int guard_load(struct raft_io *outer, raft_term *term, raft_id *vote,
                      struct raft_snapshot **snapshot, raft_index *start,
                      struct raft_entry *entries[], size_t *count)
{
    struct raft_io *inner = guard_inner(outer);
    int code = inner->load(inner, term, vote, snapshot, start, entries, count);
    if (code == 0)
        code = guard_note_load(guard_of(outer), *snapshot, *start, *entries, *count);
    if (code == 0 && !guard_modes_load(guard_of(outer), *start, *entries, *count))
        code = RAFT_NOMEM;
    return guard_pass(guard_of(outer), code);
}

static int guard_start(struct raft_io *outer, unsigned tick_ms, raft_io_tick_cb tick,
                       raft_io_recv_cb recv)
{
    struct raft_guard *guard = guard_of(outer);
    struct raft_io *inner = guard->options.inner;
    guard->raft_tick = tick;
    guard->raft_recv = recv;
    guard->heard_at = inner->time(inner);
    guard_note_start(guard);
    guard_note_places(guard);
    begin_term_alone(guard);
    if (guard->stopped)
        return RAFT_IOERR;
    return guard_pass(guard, inner->start(inner, tick_ms, guard_tick, guard_recv));
}

static int guard_bootstrap(struct raft_io *outer, const struct raft_configuration *configuration)
{
    return guard_pass(guard_of(outer),
                      guard_inner(outer)->bootstrap(guard_inner(outer), configuration));
}

static int guard_recover(struct raft_io *outer, const struct raft_configuration *configuration)
{
    return guard_pass(guard_of(outer),
                      guard_inner(outer)->recover(guard_inner(outer), configuration));
}

static int guard_snapshot_get(struct raft_io *outer, struct raft_io_snapshot_get *request,
                              raft_io_snapshot_get_cb cb)
{
    return guard_inner(outer)->snapshot_get(guard_inner(outer), request, cb);
}

static raft_time guard_time(struct raft_io *outer)
{
    return guard_inner(outer)->time(guard_inner(outer));
}

/* libraft draws election timeouts only. Who asks for pre-votes disturbs nobody, and asks again
 * soon: what is in the way (a leader not yet forgotten, a longer log elsewhere) passes in that
 * time. */
static int guard_random(struct raft_io *outer, int min, int max)
{
    const struct raft *raft = guard_of(outer)->options.raft;
    if (raft_layout_in_pre_vote(raft)) {
        min = (int)raft->heartbeat_timeout * 4 / 5;
        max = 2 * min;
    }
    return guard_inner(outer)->random(guard_inner(outer), min, max);
}

static int guard_async_work(struct raft_io *outer, struct raft_io_async_work *request,
                            raft_io_async_work_cb cb)
{
    return guard_inner(outer)->async_work(guard_inner(outer), request, cb);
}

/* ------------------------------------------------------------------------- public */

void raft_guard_init(struct raft_guard *guard, const struct raft_guard_options *options)
{
    invariant(options->raft != NULL);
    invariant(options->inner != NULL);
    invariant(options->fsm != NULL);
    invariant(options->fail_stop != NULL);
    *guard = (struct raft_guard){.options = *options};
    guard->completed_end = &guard->completed;
    raft_configuration_init(&guard->committed);
    guard->io = (struct raft_io){
        .version = options->inner->version,
        .init = guard_io_init,
        .close = guard_close,
        .load = guard_load,
        .start = guard_start,
        .bootstrap = guard_bootstrap,
        .recover = guard_recover,
        .set_term = guard_set_term,
        .set_vote = guard_set_vote,
        .send = guard_send,
        .append = guard_append,
        .truncate = guard_truncate,
        .snapshot_put = guard_snapshot_put,
        .snapshot_get = guard_snapshot_get,
        .time = guard_time,
        .random = guard_random,
        .async_work = options->inner->async_work == NULL ? NULL : guard_async_work,
    };
    options->inner->data = guard;
    guard->fsm = *options->fsm;
    guard->fsm.snapshot = guard_fsm_snapshot;
}

bool raft_guard_ready(const struct raft_guard *guard)
{
    const struct raft *raft = guard->options.raft;
    return !guard->stopped && raft->state == RAFT_LEADER &&
           guard->ready_term == raft->current_term && !guard_witness_has(guard, RAFT_GUARD_SILENT);
}

bool raft_guard_may_propose(const struct raft_guard *guard)
{
    return raft_guard_ready(guard) && guard->transfer_state == RAFT_GUARD_NO_TRANSFER;
}

bool guard_is_data_voter(const struct raft_guard *guard, raft_id id)
{
    return raft_layout_role(guard->options.raft, id) == RAFT_VOTER &&
           guard_place(guard, id) != SITE_PLACE_WITNESS;
}

int raft_guard_transfer(struct raft_guard *guard, raft_id id, raft_guard_transfer_cb cb,
                        void *context)
{
    const struct raft *raft = guard->options.raft;
    struct raft_io *inner = guard->options.inner;
    if (guard->stopped || raft->state != RAFT_LEADER || raft->transfer != NULL ||
        guard->transfer_state != RAFT_GUARD_NO_TRANSFER)
        return RAFT_NOTLEADER;
    if (id == raft->id || raft_layout_role(raft, id) != RAFT_VOTER)
        return RAFT_BADID;
    if (guard_has(guard, RAFT_GUARD_TARGET) && !guard_is_data_voter(guard, id))
        return RAFT_BADID;
    guard->transfer_state = RAFT_GUARD_TRANSFER_WAITS;
    guard->transfer_to = id;
    guard->transfer_began = inner->time(inner);
    guard->transfer_cb = cb;
    guard->transfer_context = context;
    return 0; /* the next event goes on with it, so that cb never fires inside */
}
