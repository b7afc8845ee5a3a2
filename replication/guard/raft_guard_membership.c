/*
 * Which configuration is committed.
 *
 * A configuration is in force as soon as it is in the log, and must go back to the one before when
 * its entry is truncated. libraft finds that one in its log, and dereferences NULL when it was
 * compacted. After a restart it is worse: libraft takes the newest configuration of the log for
 * committed, does not go back at all, and writes it into snapshots. So the guard keeps the newest
 * committed configuration beside libraft, tells libraft after a restart what may be uncommitted,
 * and goes back by itself before libraft truncates (part ROLLBACK): to the newest configuration
 * that stays in the log, or to the copy.
 *
 * S13 needs the same knowledge: a snapshot never holds an uncommitted configuration.
 */
#include "core/planted_fault.h"
#include "replication/guard/raft_guard_internal.h"
#include "replication/guard/raft_layout.h"

#include <stddef.h>
#include <string.h>

static int copy(const struct raft_configuration *from, struct raft_configuration *out)
{
    raft_configuration_init(out);
    for (unsigned i = 0; i < from->n; i++) {
        const struct raft_server *server = &from->servers[i];
        int code = raft_configuration_add(out, server->id, server->address, server->role);
        if (code != 0) {
            raft_configuration_close(out);
            return code;
        }
    }
    return 0;
}

static void keep(struct raft_guard *guard, struct raft_configuration configuration,
                 raft_index index)
{
    guard_forget_configuration(guard);
    guard->committed = configuration;
    guard->committed_index = index;
}

void guard_forget_configuration(struct raft_guard *guard)
{
    raft_configuration_close(&guard->committed);
    raft_configuration_init(&guard->committed);
    guard->committed_index = 0;
}

int guard_note_load(struct raft_guard *guard, const struct raft_snapshot *snapshot,
                    raft_index start, const struct raft_entry *entries, size_t count)
{
    raft_index covered =
        snapshot == NULL ? 1 : snapshot->index; /* entry 1 is committed by decree */
    size_t newest = count, before = count;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].type != RAFT_CHANGE)
            continue;
        before = newest;
        newest = i;
    }
    if (!guard_has(guard, RAFT_GUARD_ROLLBACK) || newest == count || start + newest <= covered ||
        planted(PLANTED_LOADED_CHANGE_COMMITTED))
        return 0; /* all that is in force is committed; guard_note_configuration() will copy it */

    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    raft_index index = 0;
    int code = RAFT_CORRUPT; /* no configuration before that one */
    if (before != count) {
        index = start + before;
        code = raft_layout_decode_configuration(&entries[before].buf, &configuration);
    } else if (snapshot != NULL) {
        index = snapshot->configuration_index;
        code = copy(&snapshot->configuration, &configuration);
    }
    if (code != 0) {
        raft_configuration_close(&configuration);
        return code;
    }
    keep(guard, configuration, index);
    guard->loaded_uncommitted = start + newest;
    return 0;
}

void guard_note_start(struct raft_guard *guard)
{
    if (guard->loaded_uncommitted == 0)
        return;
    raft_layout_set_configuration_indexes(guard->options.raft, guard->committed_index,
                                          guard->loaded_uncommitted);
    guard->loaded_uncommitted = 0;
}

void guard_note_configuration(struct raft_guard *guard)
{
    struct raft *raft = guard->options.raft;
    if (!guard_has(guard, RAFT_GUARD_ROLLBACK) || raft_layout_installing(raft))
        return;
    raft_index uncommitted = raft_layout_uncommitted_configuration(raft);
    raft_index committed = raft_layout_committed_configuration(raft);
    /* A snapshot took the log's place, the entry with it; libraft does not think of that. */
    if (uncommitted != 0 && (uncommitted <= raft_layout_snapshot_index(raft) ||
                             raft_layout_term_at(raft, uncommitted) == 0)) {
        raft_layout_set_configuration_indexes(raft, committed, 0);
        uncommitted = 0;
    }
    if (uncommitted != 0 || committed == 0 || committed == guard->committed_index)
        return;
    struct raft_configuration configuration;
    if (copy(&raft->configuration, &configuration) != 0) {
        guard_stop(guard, "memory", RAFT_NOMEM);
        return;
    }
    keep(guard, configuration, committed);
}

/* The configuration that is in force without the log from `end` on: the newest one in what stays of
 * the log, or the copy. 0, or RAFT_*. A follower that lagged may have got two changes at once: the
 * first is committed (or there would be no second), but it need not have heard of that. */
static int configuration_before(const struct raft_guard *guard, raft_index end,
                                struct raft_configuration *out, raft_index *out_index)
{
    for (raft_index i = end - 1; i > guard->committed_index; i--) {
        const struct raft_entry *entry = raft_layout_entry(guard->options.raft, i);
        if (entry == NULL)
            break;
        if (entry->type != RAFT_CHANGE)
            continue;
        raft_configuration_init(out);
        int code = raft_layout_decode_configuration(&entry->buf, out);
        if (code != 0)
            raft_configuration_close(out);
        *out_index = i;
        return code;
    }
    *out_index = guard->committed_index;
    return guard->committed_index == 0 ? RAFT_CORRUPT : copy(&guard->committed, out);
}

bool guard_roll_back(struct raft_guard *guard, raft_index truncate_from)
{
    struct raft *raft = guard->options.raft;
    raft_index uncommitted = raft_layout_uncommitted_configuration(raft);
    if (!guard_has(guard, RAFT_GUARD_ROLLBACK) || uncommitted == 0 || truncate_from > uncommitted)
        return true;
    if (raft->state != RAFT_FOLLOWER)
        return false;
    struct raft_configuration configuration;
    raft_index index = 0, committed = raft_layout_committed_configuration(raft);
    int code = configuration_before(guard, truncate_from, &configuration, &index);
    if (code != 0) {
        guard_stop(guard, "configuration", code);
        return false;
    }
    if (index > committed)
        raft_layout_put_configuration_back(raft, &configuration, committed, index);
    else
        raft_layout_put_configuration_back(raft, &configuration, index, 0);
    return true;
}

/* S13. libraft writes the configuration in force into a snapshot, also an uncommitted one, which a
 * later leader may never have heard of. RAFT_BUSY: it tries again with a later entry. */
int guard_fsm_snapshot(struct raft_fsm *outer, struct raft_buffer *buffers[], unsigned *count)
{
    struct raft_guard *guard =
        (struct raft_guard *)((char *)outer - offsetof(struct raft_guard, fsm));
    const struct raft *raft = guard->options.raft;
    /* The second: committed, but by an entry that this snapshot does not reach. */
    if (guard_has(guard, RAFT_GUARD_S13) &&
        (raft_layout_configuration_pending(raft) ||
         raft_layout_committed_configuration(raft) > raft_last_applied(guard->options.raft)))
        return RAFT_BUSY;
    return guard->options.fsm->snapshot(guard->options.fsm, buffers, count);
}

/* ------------------------------------------------------------- changing the members */

/* Raft's own conditions for the change of one server: the change before is committed, and so is an
 * entry of the leader's term. They keep the cluster safe whoever is away. What is added here keeps
 * it alive: a configuration is in force before it is committed, and a leader never takes it back;
 * so it must be committed by those who are there. */

void guard_begin_to_lead(struct raft_guard *guard)
{
    const struct raft *raft = guard->options.raft;
    memset(guard->heard, 0, sizeof guard->heard);
    guard->commit_before = guard->commit_now = raft->commit_index;
    guard->commit_sampled_at = guard->options.inner->time(guard->options.inner);
}

void guard_note_answer(struct raft_guard *guard, raft_id id)
{
    raft_time now = guard->options.inner->time(guard->options.inner);
    unsigned place = 0;
    for (unsigned i = 0; i < RAFT_GUARD_PEERS_MAX; i++) {
        if (guard->heard[i].id == id) {
            guard->heard[i].at = now;
            return;
        }
        if (guard->heard[i].at < guard->heard[place].at)
            place = i; /* free, or of a member that left long ago */
    }
    guard->heard[place].id = id;
    guard->heard[place].at = now;
}

void guard_note_commit(struct raft_guard *guard)
{
    const struct raft *raft = guard->options.raft;
    raft_time now = guard->options.inner->time(guard->options.inner);
    if (raft->state != RAFT_LEADER || now - guard->commit_sampled_at < raft->election_timeout / 2)
        return;
    guard->commit_before = guard->commit_now;
    guard->commit_now = raft->commit_index;
    guard->commit_sampled_at = now;
}

bool raft_guard_is_current(const struct raft_guard *guard, raft_id id)
{
    const struct raft *raft = guard->options.raft;
    if (guard->stopped || raft->state != RAFT_LEADER)
        return false;
    if (id == raft->id)
        return true;
    raft_time now = guard->options.inner->time(guard->options.inner);
    for (unsigned i = 0; i < RAFT_GUARD_PEERS_MAX; i++) {
        if (guard->heard[i].id == id)
            return now - guard->heard[i].at < raft->election_timeout &&
                   raft_layout_match(raft, id) >= guard->commit_before;
    }
    return false;
}

/* A majority of the voters is current, if `id` has `role`. */
static bool majority_is_current(const struct raft_guard *guard, raft_id id, int role)
{
    const struct raft_configuration *configuration = &guard->options.raft->configuration;
    unsigned voters = 0, current = 0;
    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        if ((server->id == id ? role : server->role) != RAFT_VOTER)
            continue;
        voters++;
        current += raft_guard_is_current(guard, server->id) ? 1 : 0;
    }
    return current > voters / 2;
}

bool raft_guard_may_change(const struct raft_guard *guard, raft_id id, int role)
{
    const struct raft *raft = guard->options.raft;
    if (!raft_guard_may_propose(guard) || raft_layout_changing(raft))
        return false;
    return !guard_has(guard, RAFT_GUARD_CHANGE) ||
           (majority_is_current(guard, id, raft_layout_role(raft, id)) &&
            majority_is_current(guard, id, role));
}
