/*
 * The disk as libraft sees it: appends and truncations in order, term and vote at once.
 *
 * libraft cannot take "full, later" for an answer: any error of its disk ends the process (S8). But
 * the journal's queue is bounded, and its next segment may not be prepared yet. So operations are
 * queued here until the journal takes them:
 *
 *     operations:   [done, ahead of its turn] [in the journal] ... │ waiting, ... , waiting
 *
 * What may come into the queue is bounded where it comes from: a leader proposes nothing and a
 * follower takes no entries as long as something waits (consensus_propose, consensus_receive). A
 * disk that is full for good makes this node lag, not fail.
 *
 * A truncation waits like an append. That is safe: until it is done the journal holds a tail that
 * memory has forgotten, as if the message that truncates had not arrived yet; libraft acknowledges
 * nothing new before the append that follows is synced, and the guard lets no follower campaign
 * with appends in flight. The guard also lets nothing truncate while an append is in flight (S20),
 * so there is at most one truncation, and nothing of the journal's is in flight when it is done.
 *
 * Memory of the entries is libraft's and is borrowed until the callback.
 */
#include "core/invariant.h"
#include "replication/consensus/consensus_raft_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void unlink_first(struct consensus_raft *c)
{
    struct disk_operation *operation = c->operations;
    c->operations = operation->next;
    if (c->operations == NULL)
        c->operations_end = &c->operations;
}

static void fail_append(struct consensus_raft *c, enum status status, uint64_t index)
{
    char text[256];
    snprintf(text, sizeof text,
             "the journal could not write entry %" PRIu64
             " (%s); the disk or its file system has to be repaired before the next start",
             index, status_text(status));
    consensus_fail(c, status, text);
}

/* From journal_process(), in order. */
static void appended(struct journal_append *append, enum status status)
{
    struct disk_operation *operation = (struct disk_operation *)append;
    struct consensus_raft *c = operation->consensus;
    invariant(operation == c->operations);
    invariant(c->in_journal > 0);
    c->in_journal--;
    if (c->failure != STATUS_OK || status != STATUS_OK) {
        /* libraft hears of it when it is closed: it must do nothing more. */
        if (c->failure == STATUS_OK)
            fail_append(c, status, operation->entries[0].index);
        operation->append.cb = NULL;
        if (operation->request == NULL) {
            unlink_first(c);
            free(operation);
            return;
        }
        /* Kept, behind all that still come back, for raft_io_cancel(). */
        unlink_first(c);
        operation->next = NULL;
        *c->operations_end = operation;
        c->operations_end = &operation->next;
        if (c->waiting == NULL)
            c->waiting = operation;
        return;
    }
    c->synced_index = operation->entries[operation->count - 1].index;
    struct raft_io_append *request = operation->request;
    unlink_first(c);
    free(operation);
    if (request != NULL)
        request->cb(request, 0);
    consensus_settle(c);
}

/* ---- to the journal ---- */

/* The request is larger than a segment: its second half becomes an operation of its own. */
static bool split(struct disk_operation *operation)
{
    uint32_t first = operation->count / 2, second = operation->count - first;
    struct disk_operation *rest =
        calloc(1, sizeof *rest + (size_t)second * sizeof(struct journal_entry));
    if (rest == NULL)
        return false;
    rest->consensus = operation->consensus;
    rest->kind = DISK_APPEND;
    rest->request = operation->request;
    rest->count = second;
    memcpy(rest->entries, operation->entries + first, second * sizeof(struct journal_entry));
    rest->bytes = operation->bytes / 2;
    operation->bytes -= rest->bytes;
    operation->count = first;
    operation->request = NULL;
    rest->next = operation->next;
    operation->next = rest;
    if (rest->next == NULL)
        operation->consensus->operations_end = &rest->next;
    return true;
}

static enum status give_append(struct consensus_raft *c, struct disk_operation *operation)
{
    operation->append = (struct journal_append){
        .entries = operation->entries, .entry_count = operation->count, .cb = appended};
    enum status status = journal_append(c->options.journal, &operation->append);
    if (status == STATUS_INVALID && operation->count > 1) {
        if (!split(operation))
            return STATUS_NO_MEMORY;
        return give_append(c, operation);
    }
    if (status == STATUS_OK)
        c->in_journal++;
    return status;
}

static enum status give_truncation(struct consensus_raft *c, struct disk_operation *operation)
{
    if (c->in_journal > 0)
        return STATUS_BUSY;
    invariant(operation == c->operations);
    enum status status = journal_truncate_suffix(c->options.journal, operation->truncate_from);
    if (status != STATUS_OK)
        return status;
    c->waiting = operation->next;
    unlink_first(c);
    free(operation);
    return STATUS_OK;
}

void raft_io_pump(struct consensus_raft *c)
{
    while (c->waiting != NULL && c->failure == STATUS_OK) {
        struct disk_operation *operation = c->waiting;
        uint64_t bytes = operation->bytes;
        bool truncates = operation->kind == DISK_TRUNCATE;
        enum status status = truncates ? give_truncation(c, operation) : give_append(c, operation);
        if (status == STATUS_BUSY || status == STATUS_READ_ONLY || status == STATUS_NO_MEMORY ||
            status == STATUS_STOPPING)
            return;
        if (status != STATUS_OK) {
            fail_append(c, status,
                        truncates ? operation->truncate_from : operation->entries[0].index);
            return;
        }
        if (!truncates) {
            c->waiting = operation->next;
            bytes = operation->bytes; /* it may have been split */
        }
        c->waiting_bytes -= bytes;
    }
}

static void add(struct consensus_raft *c, struct disk_operation *operation)
{
    *c->operations_end = operation;
    c->operations_end = &operation->next;
    c->waiting_bytes += operation->bytes;
    if (c->waiting == NULL)
        c->waiting = operation;
    raft_io_pump(c);
}

/* ---- from libraft ---- */

int raft_io_append(struct raft_io *io, struct raft_io_append *request,
                   const struct raft_entry entries[], unsigned count, raft_io_append_cb cb)
{
    struct consensus_raft *c = consensus_of_io(io);
    invariant(count > 0);
    if (c->failure != STATUS_OK)
        return RAFT_IOERR;
    struct disk_operation *operation =
        calloc(1, sizeof *operation + (size_t)count * sizeof(struct journal_entry));
    if (operation == NULL)
        return RAFT_NOMEM;
    request->cb = cb;
    operation->consensus = c;
    operation->kind = DISK_APPEND;
    operation->request = request;
    operation->count = count;
    /* They are the last ones of the log in memory. */
    uint64_t index = raft_last_index(&c->raft) - count + 1;
    for (unsigned i = 0; i < count; i++) {
        raft_io_entry(&entries[i], index + i, &operation->entries[i]);
        operation->bytes += operation->entries[i].size;
    }
    raft_io_log_grows(c, entries, count);
    add(c, operation);
    /* It is ours now, whatever the journal says at once: as with what it says later, libraft hears
     * of it when it is closed. An error here would make the caller free what we still hold. */
    return 0;
}

int raft_io_truncate(struct raft_io *io, raft_index index)
{
    struct consensus_raft *c = consensus_of_io(io);
    if (c->failure != STATUS_OK)
        return RAFT_IOERR;
    invariant(c->in_journal == 0);
    invariant(c->operations == NULL);
    invariant_values(index > c->consumed_index, index, c->consumed_index);
    if (consensus_floors_forbid_truncation(c, index))
        return RAFT_IOERR;
    struct disk_operation *operation = calloc(1, sizeof *operation);
    if (operation == NULL)
        return RAFT_NOMEM;
    operation->consensus = c;
    operation->kind = DISK_TRUNCATE;
    operation->truncate_from = index;
    raft_io_log_shrinks(c, index);
    if (c->synced_index >= index)
        c->synced_index = index - 1;
    add(c, operation);
    return c->failure == STATUS_OK ? 0 : RAFT_IOERR;
}

static int write_hard_state(struct consensus_raft *c, uint64_t term, uint64_t vote)
{
    if (c->failure != STATUS_OK)
        return RAFT_IOERR;
    /* A second vote in one term would be the end of safety. */
    if (term == c->hard_state.term && c->hard_state.vote != 0)
        invariant_values(vote == c->hard_state.vote, vote, c->hard_state.vote);
    const struct hard_state next = {.term = term, .vote = vote};
    enum status status = hard_state_write(c->options.files, &next);
    if (status != STATUS_OK) {
        char text[256];
        snprintf(text, sizeof text,
                 "hard_state: term %" PRIu64 " and vote could not be written (%s); the disk or its "
                 "file system has to be repaired before the next start",
                 term, status_text(status));
        consensus_fail(c, status, text);
        return RAFT_IOERR;
    }
    c->hard_state = next;
    return 0;
}

int raft_io_set_term(struct raft_io *io, raft_term term)
{
    return write_hard_state(consensus_of_io(io), term, 0);
}

int raft_io_set_vote(struct raft_io *io, raft_id id)
{
    struct consensus_raft *c = consensus_of_io(io);
    return write_hard_state(c, c->hard_state.term, id);
}

void raft_io_cancel(struct consensus_raft *c)
{
    while (c->operations != NULL) {
        struct disk_operation *operation = c->operations;
        struct raft_io_append *request = operation->request;
        unlink_first(c);
        free(operation);
        if (request != NULL)
            request->cb(request, RAFT_CANCELED);
    }
    c->waiting = NULL;
    c->waiting_bytes = 0;
    c->in_journal = 0;
}
