/*
 * Consensus of one node: it is always the leader, and commit is its own synced index.
 *
 * It keeps the shape that raft will have: a start is a new term, durable before anything is
 * appended in it; the term begins with a barrier, and nobody is served before that is committed and
 * applied. So term, barrier and hard state in today's files are what tomorrow's election expects.
 *
 * What is pulled comes from two places. Entries that were in the journal at the start are read from
 * it in portions into a buffer (`loaded`); entries appended since are in a ring of fixed size from
 * the append until they are consumed, in the order of the appends. The barrier has a place of its
 * own in it.
 *
 * Left to others: which entries to make (propose.c), applying them (fsm.c).
 */
#include "replication/consensus_solo.h"

#include "core/bounds.h"
#include "core/invariant.h"
#include "storage/hard_state.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One portion of the journal: several entries of any size. */
#define LOADED_BYTES (4 * ENTRY_SIZE_MAX)
#define LOADED_COUNT 1024

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
    bool stopped;
    bool failed;
    uint64_t start_index; /* the journal's last at the start */
    uint64_t last_index;  /* appended */
    uint64_t commit_index;
    uint64_t consumed_index;
    uint64_t barrier_index;
    struct consensus_confirmation *confirmation;
    uint8_t *loaded_bytes; /* LOADED_BYTES, until all is read */
    size_t loaded_size;
    struct journal_entry loaded[LOADED_COUNT];
    uint32_t loaded_first, loaded_count;
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

static bool is_ready(const struct consensus_solo *solo)
{
    return !solo->failed && solo->barrier_appended && solo->consumed_index >= solo->barrier_index;
}

static void fail(struct consensus_solo *solo, enum status status, const char *text)
{
    solo->failed = true;
    solo->options.sink.failed(solo->options.sink.context, status, text);
}

static void solo_append_cb(struct journal_append *append, enum status status)
{
    struct solo_append *slot = (struct solo_append *)append;
    struct consensus_solo *solo = slot->solo;
    if (solo->failed)
        return;
    if (status != STATUS_OK) {
        char text[256];
        snprintf(text, sizeof text,
                 "the journal could not write entry %" PRIu64
                 " (%s); the disk or its file system has to be repaired before the next start",
                 slot->entry.index, status_text(status));
        fail(solo, status, text);
        return;
    }
    invariant_values(slot->entry.index == solo->commit_index + 1, slot->entry.index,
                     solo->commit_index);
    solo->commit_index = slot->entry.index;
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

static enum status solo_start(struct consensus *consensus)
{
    struct consensus_solo *solo = solo_of(consensus);
    invariant(!solo->started);
    /* Durable before the first entry of the term. */
    struct hard_state next = {.term = solo->hard_state.term + 1, .vote = solo->options.node_id};
    enum status status = hard_state_write(solo->options.files, &next);
    if (status != STATUS_OK)
        return status;
    solo->hard_state = next;
    solo->started = true;
    return STATUS_OK;
}

/* ---- pulling ---- */

static bool load_one(void *context, const struct journal_entry *entry)
{
    struct consensus_solo *solo = context;
    size_t size = (entry->size + 7u) & ~(size_t)7;
    if (solo->loaded_count == LOADED_COUNT || solo->loaded_size + size > LOADED_BYTES)
        return false;
    uint8_t *copy = solo->loaded_bytes + solo->loaded_size;
    if (entry->size > 0)
        memcpy(copy, entry->payload, entry->size);
    solo->loaded[solo->loaded_count] = *entry;
    solo->loaded[solo->loaded_count].payload = copy;
    solo->loaded_count++;
    solo->loaded_size += size;
    return true;
}

static bool is_loading(const struct consensus_solo *solo)
{
    return solo->consumed_index < solo->start_index;
}

/* The next portion of what was in the journal at the start, once the last one is consumed. */
static void load(struct consensus_solo *solo)
{
    if (!is_loading(solo) || solo->loaded_first < solo->loaded_count)
        return;
    solo->loaded_first = solo->loaded_count = 0;
    solo->loaded_size = 0;
    enum status status = journal_read(solo->options.journal, solo->consumed_index + 1,
                                      solo->start_index, load_one, solo);
    if (status == STATUS_OK)
        return;
    char text[256];
    snprintf(text, sizeof text,
             "the journal cannot be read at or after entry %" PRIu64
             " (%s); run `tally journal verify` on it, repair it from a backup or a peer",
             solo->consumed_index + 1, status_text(status));
    fail(solo, status, text);
}

static const struct journal_entry *solo_next(struct consensus *consensus)
{
    struct consensus_solo *solo = solo_of(consensus);
    if (!solo->started || solo->failed)
        return NULL;
    if (is_loading(solo))
        return solo->loaded_first < solo->loaded_count ? &solo->loaded[solo->loaded_first] : NULL;
    if (solo->consumed_index == solo->commit_index)
        return NULL;
    invariant(solo->ring_used > 0);
    const struct solo_append *slot = &solo->ring[solo->ring_first];
    invariant_values(slot->entry.index == solo->consumed_index + 1, slot->entry.index,
                     solo->consumed_index);
    return &slot->entry;
}

static void solo_consumed(struct consensus *consensus)
{
    struct consensus_solo *solo = solo_of(consensus);
    invariant(solo->consumed_index < solo->commit_index);
    if (is_loading(solo)) {
        invariant(solo->loaded_first < solo->loaded_count);
        solo->loaded_first++;
    } else {
        invariant(solo->ring_used > 0);
        solo->ring_first = (solo->ring_first + 1) % solo->ring_size;
        solo->ring_used--;
    }
    solo->consumed_index++;
}

static void solo_durable(struct consensus *consensus, uint64_t index)
{
    invariant(index <= solo_of(consensus)->consumed_index);
}

static enum status solo_propose(struct consensus *consensus, struct consensus_proposal *proposal)
{
    struct consensus_solo *solo = solo_of(consensus);
    if (!is_ready(solo) || solo->stopped)
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
    fail(solo, status, "the journal refused the barrier of a new term");
}

static void solo_process(struct consensus *consensus)
{
    struct consensus_solo *solo = solo_of(consensus);
    journal_process(solo->options.journal);
    if (solo->failed)
        return;
    if (solo->started && !solo->stopped && !solo->barrier_appended)
        solo_append_barrier(solo);
    if (solo->started && !solo->stopped)
        load(solo);
    if (solo->failed)
        return;
    if (solo->confirmation != NULL) {
        struct consensus_confirmation *confirmation = solo->confirmation;
        solo->confirmation = NULL;
        confirmation->in_flight = false;
        confirmation->cb(confirmation, is_ready(solo) ? STATUS_OK : STATUS_NOT_READY,
                         solo->commit_index);
    }
}

static void solo_stop(struct consensus *consensus)
{
    solo_of(consensus)->stopped = true;
}

static uint64_t solo_next_ns(const struct consensus *consensus)
{
    const struct consensus_solo *solo = solo_of_const(consensus);
    bool more = solo->started && !solo->stopped && !solo->failed && is_loading(solo);
    return more && solo->loaded_first == solo->loaded_count ? 0 : UINT64_MAX;
}

/* Nobody else is there. */
static void solo_receive(struct consensus *consensus, uint64_t from, const void *bytes, size_t size)
{
    (void)consensus, (void)from, (void)bytes, (void)size;
}

static void solo_linked(struct consensus *consensus, uint64_t peer, bool up)
{
    (void)consensus, (void)peer, (void)up;
}

static void solo_caught_up(struct consensus *consensus, uint64_t peer, uint64_t index)
{
    (void)consensus, (void)peer, (void)index;
}

static enum status solo_change(struct consensus *consensus, const struct consensus_change *change,
                               consensus_change_cb cb, void *context)
{
    (void)consensus, (void)change, (void)cb, (void)context;
    return STATUS_NOT_READY;
}

static enum status solo_transfer(struct consensus *consensus, uint64_t to)
{
    (void)consensus, (void)to;
    return STATUS_NOT_FOUND;
}

static uint32_t solo_peers(const struct consensus *consensus, struct consensus_peer *out,
                           uint32_t capacity)
{
    (void)consensus, (void)out, (void)capacity;
    return 0;
}

static void solo_status(const struct consensus *consensus, struct consensus_status *out)
{
    const struct consensus_solo *solo = solo_of_const(consensus);
    bool ready = is_ready(solo);
    *out = (struct consensus_status){
        .term = solo->hard_state.term,
        .leader_id = ready ? solo->options.node_id : 0,
        .commit_index = solo->commit_index,
        .consumed_index = solo->consumed_index,
        .log_first_index = solo->consumed_index + 1,
        .role = ready           ? "leader"
                : solo->started ? "candidate"
                                : "none",
        .ready = ready,
        .leads = solo->started,
        .watermark_index = solo->commit_index,
    };
}

static void solo_destroy(struct consensus *consensus)
{
    struct consensus_solo *solo = solo_of(consensus);
    free(solo->loaded_bytes);
    free(solo);
}

static const struct consensus_operations solo_operations = {
    .start = solo_start,
    .propose = solo_propose,
    .next = solo_next,
    .consumed = solo_consumed,
    .durable = solo_durable,
    .confirm = solo_confirm,
    .receive = solo_receive,
    .linked = solo_linked,
    .caught_up = solo_caught_up,
    .process = solo_process,
    .next_ns = solo_next_ns,
    .change = solo_change,
    .transfer = solo_transfer,
    .peers = solo_peers,
    .stop = solo_stop,
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
    solo->loaded_bytes = aligned_alloc(64, LOADED_BYTES);
    if (solo->loaded_bytes == NULL) {
        free(solo);
        return STATUS_NO_MEMORY;
    }
    invariant_values(options->applied_index <= position.last_index, options->applied_index,
                     position.last_index);
    solo->base.operations = &solo_operations;
    solo->options = *options;
    solo->hard_state = hard_state;
    solo->ring_size = ring_size;
    /* For a cluster of one everything durable is committed. */
    solo->start_index = solo->last_index = solo->commit_index = position.last_index;
    solo->consumed_index = options->applied_index;
    *out_consensus = &solo->base;
    return STATUS_OK;
}
