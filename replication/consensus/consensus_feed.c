/*
 * Entries that catch-up read out of the leader's journal, taken as if the leader had sent them.
 *
 * A leader sends what it has in memory. A member that needs older entries, and whose log is a part
 * of the leader's history, needs nothing but these entries: so they go where all entries go, into
 * libraft's log, the journal and the ledger, under the bounds of all entries, while the member
 * follows, votes and applies.
 *
 * [safety] That is an AppendEntries that the leader could have sent: `from` led `term` when it read
 * them out of its log (catch-up's DATA says so), this node follows it in that very term, and they
 * are committed. Hence they are in the log of the leader of this term, at these places, and what
 * this node acknowledges upon it is true. From anybody else, committed or not, it would not be: a
 * leader that was deposed and does not know it counts acknowledgements of its term, and must get
 * none for what others committed.
 *
 * An entry of a term above the leader's own cannot be in its log: such a batch is none. The commit
 * index goes with them, for the same reason: all of them are committed. libraft and the guard treat
 * the rest as of any AppendEntries: a tail of ours that differs is truncated, what is there already
 * is left alone.
 *
 * A log that is full makes room when its begin is applied, and the store holds it; it is applied
 * when it is known to be committed. A node that was killed while its log was full knows that of
 * none of it any more, and whose entries the leader has in files only hears it from nobody else. So
 * a batch for which there is no room goes on without its entries, like any of the leader's: that
 * what it follows is committed counts.
 */
#include "core/invariant.h"
#include "core/planted_fault.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"

#include <string.h>

static size_t padded(size_t size)
{
    return (size + 7u) & ~(size_t)7;
}

/* A command is kept with its type and size before it: raft_io_load.c. */
#define PREFIX_SIZE 8u

static size_t kept_size(const struct journal_entry *entry)
{
    switch (entry->type) {
    case JOURNAL_BARRIER:
        return 0; /* a follower keeps no payload */
    case JOURNAL_CONFIGURATION:
        return padded(entry->size);
    default:
        return PREFIX_SIZE + padded(entry->size);
    }
}

/* As strict as raft_message.c is about what the leader sends itself. */
static bool are_sound(const struct consensus_feed *feed)
{
    uint64_t term = feed->previous_term;
    for (uint32_t i = 0; i < feed->count; i++) {
        const struct journal_entry *entry = &feed->entries[i];
        struct member_table table;
        if (entry->index != feed->previous_index + 1 + i || entry->term < term ||
            entry->term > feed->term)
            return false;
        if (entry->type == JOURNAL_CONFIGURATION &&
            (entry->size % 8 != 0 ||
             member_table_decode(entry->payload, entry->size, &table) != STATUS_OK))
            return false;
        term = entry->term;
    }
    return feed->count > 0;
}

static void copy_entry(const struct journal_entry *entry, uint8_t *base, uint8_t *batch,
                       struct raft_entry *out)
{
    const size_t size = kept_size(entry);
    *out = (struct raft_entry){.term = entry->term, .type = RAFT_COMMAND, .batch = batch};
    out->buf.base = base;
    out->buf.len = size;
    if (entry->type == JOURNAL_BARRIER) {
        out->type = RAFT_BARRIER;
        return;
    }
    size_t prefix = 0;
    if (entry->type == JOURNAL_CONFIGURATION) {
        out->type = RAFT_CHANGE;
    } else {
        prefix = PREFIX_SIZE;
        memset(base, 0, prefix);
        memcpy(base, &entry->type, sizeof entry->type);
        memcpy(base + 4, &entry->size, sizeof entry->size);
    }
    if (size > prefix)
        memset(base + size - 8, 0, 8); /* the padding */
    if (entry->size > 0)
        memcpy(base + prefix, entry->payload, entry->size);
}

/* One block for all, which libraft frees: raft.h, struct raft_entry. */
static bool copy_entries(const struct consensus_feed *feed, struct raft_append_entries *out)
{
    size_t size = PREFIX_SIZE; /* never an empty block */
    for (uint32_t i = 0; i < feed->count; i++)
        size += kept_size(&feed->entries[i]);
    uint8_t *batch = raft_io_take(size);
    if (batch == NULL)
        return false;
    struct raft_entry *entries = raft_calloc(feed->count, sizeof *entries);
    size_t at = 0;
    for (uint32_t i = 0; i < feed->count; i++) {
        copy_entry(&feed->entries[i], batch + at, batch, &entries[i]);
        at += kept_size(&feed->entries[i]);
    }
    out->entries = entries;
    out->n_entries = feed->count;
    return true;
}

/* The entry is in the log of this node: with index and term, hence with all before it. */
static bool holds(const struct consensus_raft *c, uint64_t index, uint64_t term)
{
    return index <= raft_layout_snapshot_index(&c->raft) ||
           raft_layout_term_at(&c->raft, index) == term;
}

/* The message without entries, behind the last one of the batch that is in the log already. */
static void leave_out_entries(const struct consensus_raft *c, const struct consensus_feed *feed,
                              struct raft_append_entries *out)
{
    for (uint32_t i = 0; i < feed->count; i++) {
        const struct journal_entry *entry = &feed->entries[i];
        if (!holds(c, entry->index, entry->term))
            break;
        out->prev_log_index = entry->index;
        out->prev_log_term = entry->term;
    }
    out->leader_commit = out->prev_log_index;
}

enum status consensus_feed_receive(struct consensus_raft *c, const struct consensus_feed *feed)
{
    if (!consensus_is_live(c) || c->raft.state != RAFT_FOLLOWER ||
        c->raft.current_term != feed->term || raft_layout_leader(&c->raft) != feed->from)
        return STATUS_NOT_READY;
    const struct consensus_raft_peer *peer = consensus_find_peer(c, feed->from);
    if (peer == NULL || peer->below_floor)
        return STATUS_NOT_READY; /* it lost entries: consensus_floors.c */
    if (!are_sound(feed))
        return STATUS_CORRUPT;
    const struct journal_entry *last = &feed->entries[feed->count - 1];
    if (holds(c, last->index, last->term))
        return STATUS_OK;
    if (!holds(c, feed->previous_index, feed->previous_term))
        return STATUS_NOT_FOUND; /* cut off meanwhile */
    struct raft_message message = {
        .type = RAFT_IO_APPEND_ENTRIES, .server_id = feed->from, .server_address = ""};
    message.append_entries = (struct raft_append_entries){
        .term = feed->term,
        .prev_log_index = feed->previous_index,
        .prev_log_term = feed->previous_term,
        .leader_commit = last->index,
    };
    const bool is_full = raft_io_log_is_full(c) && !raft_io_log_can_shrink(c);
    if (is_full && planted(PLANTED_FULL_LOG_HEARS_NOTHING))
        return STATUS_BUSY;
    if (is_full)
        leave_out_entries(c, feed, &message.append_entries);
    if (c->waiting != NULL ||
        (is_full && c->raft.commit_index >= message.append_entries.leader_commit))
        return STATUS_BUSY;
    if (!is_full && !copy_entries(feed, &message.append_entries))
        return STATUS_NO_MEMORY;
    c->recv(&c->io, &message);
    consensus_settle(c);
    if (c->failure != STATUS_OK)
        return c->failure;
    /* Not taken: the guard waits for appends in flight before it lets a tail be truncated. */
    return holds(c, last->index, last->term) ? STATUS_OK : STATUS_BUSY;
}
