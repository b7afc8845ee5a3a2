/*
 * The disk: every error ends the process (S8), and appends in flight are counted, because much of
 * what libraft may do depends on them (S7, S20).
 */
#include "core/invariant.h"
#include "replication/guard/raft_guard_internal.h"

#include <stddef.h>

/* Given to the inner raft_io in place of libraft's request: its callback finds the guard by it. */
struct guard_append {
    struct raft_io_append request;
    struct raft_guard *guard;
    struct raft_io_append *of_raft;
    raft_io_append_cb cb;
    struct guard_append *next;
};

/* S8. An operation of the disk failed. libraft would go on: a leader truncates its log and appends
 * another entry with the same index and term, of which a follower may have the first. */
static int guard_disk_result(struct raft_guard *guard, const char *operation, int code)
{
    if (code != 0 && guard_has(guard, RAFT_GUARD_S8) && !guard->closing)
        guard_stop(guard, operation, code);
    return guard_pass(guard, code);
}

static void end_append(struct guard_append *append, int status)
{
    struct raft_io_append *of_raft = append->of_raft;
    raft_io_append_cb cb = append->cb;
    raft_free(append);
    cb(of_raft, status);
}

static void guard_appended(struct raft_io_append *request, int status)
{
    struct guard_append *append =
        (struct guard_append *)((char *)request - offsetof(struct guard_append, request));
    struct raft_guard *guard = append->guard;
    invariant(guard->appends_in_flight > 0);
    guard->appends_in_flight--;
    guard_note_places(guard);                         /* libraft counts votes now */
    (void)guard_disk_result(guard, "append", status); /* the callback gets it, unless we stopped */
    if (guard->stopped && !guard->closing) {
        append->next = guard->late_appends; /* libraft gets its memory back when it is closed */
        guard->late_appends = append;
        return;
    }
    /* S8 when closing. For each cancelled append libraft truncates its log at the append's begin,
     * which for the second in flight is behind the end already. It is unavailable by now and makes
     * nothing of a success. */
    if (guard->closing && guard_has(guard, RAFT_GUARD_S8))
        status = 0;
    end_append(append, status);
    if (guard->closing || guard->stopped)
        return;
    guard_repeat_acknowledgement(guard);
    guard_settle(guard);
}

void guard_end_late(struct raft_guard *guard)
{
    invariant(guard->closing);
    while (guard->late_appends != NULL) {
        struct guard_append *append = guard->late_appends;
        guard->late_appends = append->next;
        end_append(append, 0);
    }
    if (guard->put_is_late) {
        struct raft_io_snapshot_put *of_raft = guard->put_of_raft;
        guard->put_is_late = false;
        guard->put_of_raft = NULL;
        of_raft->cb(of_raft, RAFT_CANCELED);
    }
}

int guard_append(struct raft_io *outer, struct raft_io_append *request,
                 const struct raft_entry entries[], unsigned count, raft_io_append_cb cb)
{
    struct raft_guard *guard = guard_of(outer);
    struct raft_io *inner = guard->options.inner;
    if (guard->stopped)
        return RAFT_IOERR;    /* of a term, perhaps, that the disk does not know */
    guard_note_places(guard); /* a change of members counts from its append on */
    /* They are the last ones of the log in memory. */
    if (!guard_modes_grow(guard, raft_last_index(guard->options.raft) - count + 1, entries, count))
        return RAFT_NOMEM;
    struct guard_append *append = raft_malloc(sizeof *append);
    if (append == NULL)
        return guard_disk_result(guard, "memory", RAFT_NOMEM);
    *append = (struct guard_append){.guard = guard, .of_raft = request, .cb = cb};
    int code = inner->append(inner, &append->request, entries, count, guard_appended);
    if (code != 0) {
        raft_free(append);
        return guard_disk_result(guard, "append", code);
    }
    guard->appends_in_flight++;
    return 0;
}

static void guard_put(struct raft_io_snapshot_put *request, int status)
{
    struct raft_guard *guard =
        (struct raft_guard *)((char *)request - offsetof(struct raft_guard, put));
    struct raft_io_snapshot_put *of_raft = guard->put_of_raft;
    (void)guard_disk_result(guard, "snapshot",
                            status); /* the callback gets it, unless we stopped */
    if (guard->stopped && !guard->closing) {
        guard->put_is_late = true;
        return;
    }
    guard->put_of_raft = NULL;
    of_raft->cb(of_raft, status);
    if (!guard->closing)
        guard_settle(guard);
}

int guard_snapshot_put(struct raft_io *outer, unsigned trailing,
                       struct raft_io_snapshot_put *request, const struct raft_snapshot *snapshot,
                       raft_io_snapshot_put_cb cb)
{
    struct raft_guard *guard = guard_of(outer);
    struct raft_io *inner = guard->options.inner;
    if (guard->stopped)
        return RAFT_IOERR;
    invariant(guard->put_of_raft == NULL); /* libraft has one request for all of them */
    request->cb = cb;
    guard->put_of_raft = request;
    int code = inner->snapshot_put(inner, trailing, &guard->put, snapshot, guard_put);
    if (code != 0)
        guard->put_of_raft = NULL;
    return guard_disk_result(guard, "snapshot", code);
}

int guard_truncate(struct raft_io *outer, raft_index index)
{
    struct raft_guard *guard = guard_of(outer);
    if (guard->stopped)
        return RAFT_IOERR;
    site_modes_truncate(&guard->modes, index);
    return guard_disk_result(guard, "truncate",
                             guard->options.inner->truncate(guard->options.inner, index));
}

/* An election that cannot write its term or vote makes a follower of a candidate and keeps the
 * candidate's fields, which libraft then frees as a follower's: not the end that S8 wants. It is
 * told that all is well, and what it does from then on reaches neither disk nor peers. */
static int guard_state_result(struct raft_guard *guard, const char *operation, int code)
{
    (void)guard_disk_result(guard, operation, code); /* who has to know was told */
    return guard->stopped ? 0 : code;
}

int guard_set_term(struct raft_io *outer, raft_term term)
{
    struct raft_guard *guard = guard_of(outer);
    struct raft_io *inner = guard->options.inner;
    return guard->stopped ? 0 : guard_state_result(guard, "set_term", inner->set_term(inner, term));
}

int guard_set_vote(struct raft_io *outer, raft_id id)
{
    struct raft_guard *guard = guard_of(outer);
    struct raft_io *inner = guard->options.inner;
    return guard->stopped ? 0 : guard_state_result(guard, "set_vote", inner->set_vote(inner, id));
}
