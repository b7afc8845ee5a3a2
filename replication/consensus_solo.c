/*
 * Consensus of one node: it is always the leader, and commit is its own synced index.
 *
 * It keeps the shape that raft will have: a start is a new term, durable before anything is
 * appended in it; the term begins with a barrier, and nobody is served before that is committed and
 * applied. So term, barrier and hard state in today's files are what tomorrow's election expects.
 *
 * Appends are committed in the order they were made (the journal calls back in order), so a ring of
 * fixed size holds what is in flight. The barrier has a place of its own in it.
 *
 * Left to others: which entries to make (propose.c), applying them (fsm.c), reading the log at
 * start (replay.c).
 */
#include "replication/consensus_solo.h"

#include "core/invariant.h"
#include "storage/hard_state.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

struct solo_append {
    struct journal_append append; /* first: the callback finds its ring slot by it */
    struct journal_entry entry;
    struct consensus_solo *solo;
};

struct consensus_solo {
    struct consensus base;
    struct consensus_solo_options options;
    struct hard_state hard_state;
    bool started;
    bool barrier_appended;
    bool ready;
    bool stopped;
    bool failed;
    uint64_t last_index; /* appended */
    uint64_t commit_index;
    uint64_t barrier_index;
    struct consensus_confirmation *confirmation;
    uint32_t ring_size;
    uint32_t ring_first;
    uint32_t ring_used;
    struct solo_append ring[];
};

static struct consensus_solo *solo_of(struct consensus *consensus)
{
    return (struct consensus_solo *)consensus;
}

static const struct consensus_solo *solo_of_const(const struct consensus *consensus)
{
    return (const struct consensus_solo *)consensus;
}

static void solo_append_cb(struct journal_append *append, enum status status)
{
    struct solo_append *slot = (struct solo_append *)append;
    struct consensus_solo *solo = slot->solo;
    invariant(solo->ring_used > 0);
    invariant(slot == &solo->ring[solo->ring_first]);
    solo->ring_first = (solo->ring_first + 1) % solo->ring_size;
    solo->ring_used--;
    if (solo->failed)
        return;
    if (status != STATUS_OK) {
        solo->failed = true;
        solo->ready = false;
        char text[256];
        snprintf(text, sizeof text,
                 "the journal could not write entry %" PRIu64
                 " (%s); the disk or its file system has to be repaired before the next start",
                 slot->entry.index, status_text(status));
        solo->options.sink.failed(solo->options.sink.context, status, text);
        return;
    }
    invariant_values(slot->entry.index == solo->commit_index + 1, slot->entry.index,
                     solo->commit_index);
    /* The slot may be used again by nobody before committed() returns: proposals are queued. */
    struct journal_entry entry = slot->entry;
    solo->commit_index = entry.index;
    solo->options.sink.committed(solo->options.sink.context, &entry);
    if (solo->barrier_appended && entry.index == solo->barrier_index)
        solo->ready = true;
}

/* STATUS_OK, or why the journal did not take it; the ring is unchanged then. */
static enum status solo_append(struct consensus_solo *solo, uint16_t type, const void *payload,
                               uint32_t size)
{
    if (solo->ring_used == solo->ring_size)
        return STATUS_BUSY;
    uint32_t place = (solo->ring_first + solo->ring_used) % solo->ring_size;
    struct solo_append *slot = &solo->ring[place];
    *slot = (struct solo_append){
        .entry =
            {
                .index = solo->last_index + 1,
                .term = solo->hard_state.term,
                .type = type,
                .size = size,
                .payload = payload,
            },
        .solo = solo,
    };
    slot->append.entries = &slot->entry;
    slot->append.entry_count = 1;
    slot->append.cb = solo_append_cb;
    enum status status = journal_append(solo->options.journal, &slot->append);
    if (status != STATUS_OK)
        return status;
    solo->ring_used++;
    solo->last_index++;
    return STATUS_OK;
}

static uint64_t solo_known_commit(const struct consensus *consensus)
{
    const struct consensus_solo *solo = solo_of_const(consensus);
    struct journal_position position;
    journal_position(solo->options.journal, &position);
    return position.last_index;
}

static enum status solo_start(struct consensus *consensus, uint64_t applied_index)
{
    struct consensus_solo *solo = solo_of(consensus);
    invariant(!solo->started);
    struct journal_position position;
    journal_position(solo->options.journal, &position);
    invariant_values(position.last_index == applied_index, position.last_index, applied_index);
    invariant_values(position.synced_index == applied_index, position.synced_index, applied_index);
    /* Durable before the first entry of the term. */
    struct hard_state next = {.term = solo->hard_state.term + 1, .vote = solo->options.node_id};
    enum status status = hard_state_write(solo->options.files, &next);
    if (status != STATUS_OK)
        return status;
    solo->hard_state = next;
    solo->last_index = applied_index;
    solo->commit_index = applied_index;
    solo->started = true;
    return STATUS_OK;
}

static enum status solo_propose(struct consensus *consensus, struct consensus_proposal *proposal)
{
    struct consensus_solo *solo = solo_of(consensus);
    if (!solo->ready || solo->stopped)
        return STATUS_NOT_READY;
    enum status status = solo_append(solo, proposal->type, proposal->payload, proposal->size);
    if (status != STATUS_OK)
        return status;
    proposal->index = solo->last_index;
    proposal->term = solo->hard_state.term;
    return STATUS_OK;
}

static void solo_confirm(struct consensus *consensus, struct consensus_confirmation *confirmation)
{
    struct consensus_solo *solo = solo_of(consensus);
    invariant(!confirmation->in_flight);
    invariant(solo->confirmation == NULL);
    confirmation->in_flight = true;
    solo->confirmation = confirmation;
}

/* The journal may have no prepared segment in its first moments, or no disk for one: try again at
 * each turn. Until then the node is not ready. */
static void solo_append_barrier(struct consensus_solo *solo)
{
    solo->barrier_index = solo->last_index + 1;
    enum status status = solo_append(solo, JOURNAL_BARRIER, NULL, 0);
    if (status == STATUS_OK) {
        solo->barrier_appended = true;
        return;
    }
    if (status == STATUS_BUSY || status == STATUS_READ_ONLY || status == STATUS_NO_MEMORY)
        return;
    solo->failed = true;
    solo->options.sink.failed(solo->options.sink.context, status,
                              "the journal refused the barrier of a new term");
}

static void solo_process(struct consensus *consensus)
{
    struct consensus_solo *solo = solo_of(consensus);
    journal_process(solo->options.journal);
    if (solo->failed)
        return;
    if (solo->started && !solo->stopped && !solo->barrier_appended)
        solo_append_barrier(solo);
    if (solo->confirmation != NULL) {
        struct consensus_confirmation *confirmation = solo->confirmation;
        solo->confirmation = NULL;
        confirmation->in_flight = false;
        confirmation->cb(confirmation, solo->ready ? STATUS_OK : STATUS_NOT_READY,
                         solo->commit_index);
    }
}

static void solo_stop(struct consensus *consensus)
{
    solo_of(consensus)->stopped = true;
}

static void solo_status(const struct consensus *consensus, struct consensus_status *out)
{
    const struct consensus_solo *solo = solo_of_const(consensus);
    *out = (struct consensus_status){
        .term = solo->hard_state.term,
        .leader_id = solo->ready ? solo->options.node_id : 0,
        .commit_index = solo->commit_index,
        .role = solo->ready     ? "leader"
                : solo->started ? "candidate"
                                : "none",
        .ready = solo->ready,
    };
}

static void solo_destroy(struct consensus *consensus)
{
    free(solo_of(consensus));
}

static const struct consensus_operations solo_operations = {
    .start = solo_start,
    .propose = solo_propose,
    .confirm = solo_confirm,
    .process = solo_process,
    .stop = solo_stop,
    .known_commit = solo_known_commit,
    .status = solo_status,
    .destroy = solo_destroy,
};

enum status consensus_solo_create(const struct consensus_solo_options *options,
                                  struct consensus **out_consensus)
{
    invariant(options->in_flight_max > 0);
    struct hard_state hard_state;
    enum status status = hard_state_read(options->files, &hard_state);
    if (status != STATUS_OK)
        return status;
    struct journal_position position;
    journal_position(options->journal, &position);
    /* A term is durable before its first entry: a journal above the hard state means that the hard
     * state was lost or rolled back, and a vote with it. */
    if (position.last_term > hard_state.term)
        return STATUS_CORRUPT;
    uint32_t ring_size = options->in_flight_max + 1;
    struct consensus_solo *solo =
        calloc(1, sizeof *solo + (size_t)ring_size * sizeof(struct solo_append));
    if (solo == NULL)
        return STATUS_NO_MEMORY;
    solo->base.operations = &solo_operations;
    solo->options = *options;
    solo->hard_state = hard_state;
    solo->commit_index = position.last_index;
    solo->last_index = position.last_index;
    solo->ring_size = ring_size;
    *out_consensus = &solo->base;
    return STATUS_OK;
}
