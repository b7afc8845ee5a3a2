/*
 * The log as the node sees it: proposals go in at its end, committed entries are pulled out.
 *
 * An entry is never given to the node before this node's journal has synced it, also where a
 * majority of others has: what was applied must be there again after a restart.
 *
 * Proposals are refused, to be tried again, while the disk is stuck, the log in memory is full,
 * something waits for room in the journal, or too much is uncommitted: entries in the log are
 * *unknown* to their clients when nobody commits them, refused ones are not.
 */
#include "core/bounds.h"
#include "core/invariant.h"
#include "core/planted_fault.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

#include <stddef.h>
#include <stdlib.h>

/* One mark per so much time: the age of the oldest uncommitted entry is known that well. */
#define MARK_NS (10 * NS_PER_MS)

/* ---- proposals ---- */

struct proposed {
    struct raft_apply apply;
};

static void proposed_cb(struct raft_apply *apply, int status, void *result)
{
    (void)status; /* the node looks at what it pulls */
    (void)result;
    free((char *)apply - offsetof(struct proposed, apply));
}

static enum status may_propose(struct consensus_raft *c)
{
    if (!consensus_is_live(c) || !consensus_is_ready(c) || !raft_guard_may_propose(&c->guard) ||
        consensus_lead_disk_is_stuck(c))
        return STATUS_NOT_READY;
    if (journal_is_read_only(c->options.journal))
        return STATUS_READ_ONLY;
    if (c->waiting != NULL || consensus_lead_holds(c))
        return STATUS_BUSY;
    if (raft_io_log_is_full(c) && !raft_io_log_can_shrink(c))
        return STATUS_BUSY;
    return STATUS_OK;
}

static void mark(struct consensus_raft *c, uint64_t index)
{
    const uint32_t size = sizeof c->marks / sizeof c->marks[0];
    const uint64_t now = consensus_now_ns(c);
    struct propose_mark *last = &c->marks[(c->mark_first + c->mark_count + size - 1) % size];
    if (c->mark_count > 0 && (now - last->ns < MARK_NS || c->mark_count == size)) {
        last->index = index;
        return;
    }
    c->marks[(c->mark_first + c->mark_count) % size] =
        (struct propose_mark){.index = index, .ns = now};
    c->mark_count++;
}

enum status consensus_log_propose(struct consensus_raft *c, struct consensus_proposal *proposal)
{
    invariant_values(proposal->type != JOURNAL_DURABILITY, proposal->type, proposal->size);
    enum status status = may_propose(c);
    return status == STATUS_OK ? consensus_log_append(c, proposal) : status;
}

enum status consensus_log_append(struct consensus_raft *c, struct consensus_proposal *proposal)
{
    invariant_values(proposal->size <= ENTRY_SIZE_MAX, proposal->size, proposal->type);
    invariant(proposal->type != JOURNAL_BARRIER && proposal->type != JOURNAL_CONFIGURATION);
    struct proposed *proposed = calloc(1, sizeof *proposed);
    struct raft_buffer buffer;
    unsigned short type;
    if (proposed == NULL ||
        !raft_io_buffer(proposal->type, proposal->payload, proposal->size, &type, &buffer)) {
        free(proposed);
        return STATUS_NO_MEMORY;
    }
    int code = raft_apply(&c->raft, &proposed->apply, &buffer, 1, proposed_cb);
    if (code != 0) {
        raft_free(buffer.base);
        free(proposed);
        if (c->failure != STATUS_OK)
            return c->failure;
        return code == RAFT_NOMEM ? STATUS_NO_MEMORY : STATUS_NOT_READY;
    }
    proposal->index = consensus_last_index(c);
    proposal->term = c->raft.current_term;
    c->uncommitted_bytes += buffer.len;
    mark(c, proposal->index);
    consensus_settle(c);
    return STATUS_OK;
}

/* ---- the pull ---- */

/* The last entry that may be pulled once it is synced here. */
static uint64_t pull_limit(const struct consensus_raft *c)
{
    if (planted(PLANTED_REPLY_BEFORE_COMMIT) && c->raft.state == RAFT_LEADER)
        return UINT64_MAX;
    return c->raft.commit_index;
}

const struct journal_entry *consensus_log_next(struct consensus_raft *c)
{
    if (!c->started || c->failure != STATUS_OK)
        return NULL;
    const uint64_t index = c->consumed_index + 1;
    if (index > pull_limit(c) || index > c->synced_index)
        return NULL;
    const struct raft_entry *entry = raft_layout_entry(&c->raft, index);
    invariant_values(entry != NULL, index, raft_layout_first_index(&c->raft));
    raft_io_entry(entry, index, &c->next_entry);
    return &c->next_entry;
}

void consensus_log_consumed(struct consensus_raft *c)
{
    const uint64_t index = c->consumed_index + 1;
    invariant_values(index <= pull_limit(c), index, c->raft.commit_index);
    invariant_values(index <= c->synced_index, index, c->synced_index);
    c->consumed_term = raft_layout_term_at(&c->raft, index);
    c->consumed_index = index;
}

void consensus_log_durable(struct consensus_raft *c, uint64_t index)
{
    invariant_values(index <= c->consumed_index, index, c->consumed_index);
    invariant_values(index >= c->durable_index, index, c->durable_index);
    c->durable_index = index;
    if (c->started && c->failure == STATUS_OK)
        raft_io_note_durable(c);
}
