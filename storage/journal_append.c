/*
 * The loop's side of appending: what is accepted, what comes back, where the journal stands.
 *
 * A request is accepted only when it is certain to find room (journal_writer.c explains the rule),
 * so the writer never has to wait for the disk to be made larger while somebody waits for it.
 */
#include "core/bounds.h"
#include "core/invariant.h"
#include "storage/journal_state.h"

#include <string.h>

static uint64_t now(const struct journal *journal)
{
    return journal->options.clock_ns(journal->options.clock_context);
}

/* Bytes that the request may take; UINT64_MAX when no segment could ever hold it. */
static uint64_t size_and_check(const struct journal *journal, const struct journal_append *request)
{
    uint64_t size = JOURNAL_REQUEST_SLACK;
    uint64_t index = journal->last_index;
    uint64_t term = journal->last_term;
    for (uint32_t i = 0; i < request->entry_count; i++) {
        const struct journal_entry *entry = &request->entries[i];
        invariant_values(entry->index == index + 1, entry->index, index);
        invariant_values(entry->term >= term, entry->term, term);
        invariant_values(journal_record_is_entry(entry->type), entry->type, entry->index);
        invariant_values(entry->size <= ENTRY_SIZE_MAX, entry->size, entry->index);
        index = entry->index;
        term = entry->term;
        size += journal_record_size(entry->type, entry->size);
    }
    const uint64_t usable = journal_usable_size(journal->options.segment_size);
    const uint64_t limit = usable < JOURNAL_QUEUE_SIZE_MAX ? usable : JOURNAL_QUEUE_SIZE_MAX;
    return size <= limit ? size : UINT64_MAX;
}

/* The barrier of a new term makes a node able to answer reads, so that a start on a full disk takes
 * it while this segment has room. */
static bool is_barrier(const struct journal_append *request)
{
    return request->entry_count == 1 && request->entries[0].type == JOURNAL_BARRIER;
}

/* Shared lock held. */
static enum status admit(const struct journal_shared *shared, uint64_t size, bool barrier)
{
    if (shared->failure != STATUS_OK)
        return shared->failure;
    if (shared->stopping)
        return STATUS_STOPPING;
    if (shared->spare == NULL && shared->disk_full && !barrier)
        return STATUS_READ_ONLY;
    uint64_t limit = shared->room;
    if (shared->spare != NULL)
        limit = journal_usable_size(shared->spare->size);
    if (limit > JOURNAL_QUEUE_SIZE_MAX)
        limit = JOURNAL_QUEUE_SIZE_MAX;
    return shared->pending_size + size <= limit ? STATUS_OK : STATUS_BUSY;
}

enum status journal_append(struct journal *journal, struct journal_append *request)
{
    struct journal_shared *shared = journal->shared;
    invariant(request->entry_count > 0);
    invariant(request->cb != NULL);
    const uint64_t size = size_and_check(journal, request);
    if (size == UINT64_MAX)
        return STATUS_INVALID;
    pthread_mutex_lock(&shared->lock);
    enum status status = admit(shared, size, is_barrier(request));
    pthread_mutex_unlock(&shared->lock);
    if (status == STATUS_BUSY)
        journal_hurry_spare(journal);
    if (status != STATUS_OK)
        return status;
    /* Only this thread adds to pending_size, and room grows by a truncation of its own at most. */
    const uint64_t last_index = journal->last_index;
    for (uint32_t i = 0; i < request->entry_count; i++) {
        status = journal_terms_add(journal, request->entries[i].index, request->entries[i].term);
        if (status != STATUS_OK) {
            journal_terms_trim(journal, last_index);
            return status;
        }
    }

    /* ---- point of no return ---- */
    const struct journal_entry *last = &request->entries[request->entry_count - 1];
    journal->last_index = last->index;
    journal->last_term = last->term;
    request->next = NULL;
    request->status = STATUS_OK;
    request->size = size;
    request->queued_ns = now(journal);
    pthread_mutex_lock(&shared->lock);
    if (shared->queued_last != NULL)
        shared->queued_last->next = request;
    else
        shared->queued_first = request;
    shared->queued_last = request;
    shared->pending_size += size;
    const bool failed = shared->failure != STATUS_OK;
    pthread_mutex_unlock(&shared->lock);
    if (failed) /* between the two locks: nobody else would hand it back */
        journal_fail(journal, STATUS_IO);
    else
        journal->options.wake_writer(journal->options.wake_context);
    return STATUS_OK;
}

void journal_process(struct journal *journal)
{
    struct journal_shared *shared = journal->shared;
    pthread_mutex_lock(&shared->lock);
    struct journal_append *request = shared->done_first;
    shared->done_first = shared->done_last = NULL;
    pthread_mutex_unlock(&shared->lock);
    while (request != NULL) {
        struct journal_append *next = request->next; /* the callback may free the request */
        request->next = NULL;
        request->cb(request, request->status);
        request = next;
    }
}

void journal_stop(struct journal *journal)
{
    pthread_mutex_lock(&journal->shared->lock);
    journal->shared->stopping = true;
    pthread_mutex_unlock(&journal->shared->lock);
    journal->options.wake_writer(journal->options.wake_context);
    journal->options.wake_preparer(journal->options.wake_context);
}

/* ---- where it stands ---- */

void journal_position(const struct journal *journal, struct journal_position *out)
{
    struct journal_shared *shared = journal->shared;
    memset(out, 0, sizeof *out);
    out->first_index = journal->first_index;
    out->last_index = journal->last_index;
    out->last_term = journal->last_term;
    out->anchor_index = journal->first_index - 1;
    out->anchor_term = journal->anchor_term;
    pthread_mutex_lock(&shared->lock);
    out->synced_index = shared->synced_index;
    memcpy(out->head, shared->synced_head, sizeof out->head);
    out->segment_count = shared->segment_count;
    for (size_t i = 0; i < shared->segment_count; i++)
        out->bytes += shared->segments[i]->size;
    if (shared->spare != NULL)
        out->bytes += shared->spare->size;
    pthread_mutex_unlock(&shared->lock);
}

/* The first place from which on, up to `last`, there are at most `bytes`. */
static uint32_t first_place(const struct journal_segment *segment, uint32_t last, uint64_t bytes)
{
    uint32_t low = 0, high = last;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const uint64_t distance =
            (uint64_t)(segment->offsets[last] - segment->offsets[middle]) * JOURNAL_RECORD_ALIGN;
        if (distance <= bytes)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

uint64_t journal_tail(const struct journal *journal, uint64_t index, uint64_t bytes)
{
    struct journal_shared *shared = journal->shared;
    uint64_t first = index + 1;
    pthread_mutex_lock(&shared->lock);
    for (size_t i = shared->segment_count; i > 0; i--) {
        const struct journal_segment *segment = shared->segments[i - 1];
        if (segment->count == 0 || segment->first_index >= first)
            continue;
        const uint64_t end = segment->first_index + segment->count;
        const bool holds_index = first == index + 1;
        if (end < first)
            break; /* not readable */
        const uint32_t last = (uint32_t)(first - 1 - segment->first_index);
        /* What is behind the last place: nothing that counts for `index` itself. */
        const uint64_t behind =
            holds_index ? 0
                        : segment->size - (uint64_t)segment->offsets[last] * JOURNAL_RECORD_ALIGN;
        if (behind > bytes)
            break;
        bytes -= behind;
        const uint32_t place = first_place(segment, last, bytes);
        first = segment->first_index + place;
        if (place > 0)
            break;
        bytes -= (uint64_t)(segment->offsets[last] - segment->offsets[0]) * JOURNAL_RECORD_ALIGN;
    }
    pthread_mutex_unlock(&shared->lock);
    return first > journal->first_index ? first : journal->first_index;
}

enum status journal_term(const struct journal *journal, uint64_t index, uint64_t *out_term)
{
    if (index + 1 < journal->first_index || index > journal->last_index)
        return STATUS_NOT_FOUND;
    *out_term = index + 1 == journal->first_index ? journal->anchor_term
                                                  : journal_terms_find(journal, index);
    return STATUS_OK;
}

bool journal_is_read_only(const struct journal *journal)
{
    struct journal_shared *shared = journal->shared;
    pthread_mutex_lock(&shared->lock);
    const bool read_only = shared->spare == NULL && shared->disk_full;
    pthread_mutex_unlock(&shared->lock);
    return read_only;
}

enum status journal_failure(const struct journal *journal)
{
    struct journal_shared *shared = journal->shared;
    pthread_mutex_lock(&shared->lock);
    const enum status failure = shared->failure;
    pthread_mutex_unlock(&shared->lock);
    return failure;
}

uint64_t journal_write_age_ns(const struct journal *journal)
{
    struct journal_shared *shared = journal->shared;
    uint64_t queued_ns = 0;
    bool waiting = false;
    pthread_mutex_lock(&shared->lock);
    const struct journal_append *oldest =
        shared->taken_first != NULL ? shared->taken_first : shared->queued_first;
    if (oldest != NULL) {
        waiting = true;
        queued_ns = oldest->queued_ns;
    }
    pthread_mutex_unlock(&shared->lock);
    if (!waiting)
        return 0;
    const uint64_t age = now(journal) - queued_ns;
    return age > 0 ? age : 1;
}

void journal_set_configuration(struct journal *journal, const void *bytes, size_t size)
{
    struct journal_shared *shared = journal->shared;
    invariant_values(size <= JOURNAL_CONFIGURATION_SIZE_MAX, size, JOURNAL_CONFIGURATION_SIZE_MAX);
    pthread_mutex_lock(&shared->lock);
    memset(shared->configuration, 0, sizeof shared->configuration);
    if (size > 0)
        memcpy(shared->configuration, bytes, size);
    shared->configuration_size = (uint32_t)size;
    pthread_mutex_unlock(&shared->lock);
}

enum status journal_configuration(const struct journal *journal, void *out_bytes, size_t capacity,
                                  size_t *out_size)
{
    struct journal_shared *shared = journal->shared;
    enum status status = STATUS_OK;
    pthread_mutex_lock(&shared->lock);
    if (shared->configuration_size > capacity) {
        status = STATUS_INVALID;
    } else {
        if (shared->configuration_size > 0)
            memcpy(out_bytes, shared->configuration, shared->configuration_size);
        *out_size = shared->configuration_size;
    }
    pthread_mutex_unlock(&shared->lock);
    return status;
}
