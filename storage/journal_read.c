/*
 * Reading entries back, and the two ways to forget them: a conflict (suffix) and age (prefix).
 *
 * Every read verifies the record's checksums and recomputes its chain hash from the entry before,
 * so a bit that went bad since the start is found before it is applied or sent to a peer.
 */
#include "core/invariant.h"
#include "core/planted_fault.h"
#include "storage/journal_state.h"

#include <string.h>

static enum status head_at(struct journal *journal, uint64_t index,
                           uint8_t out_head[JOURNAL_HASH_SIZE])
{
    if (index + 1 == journal->first_index) {
        memcpy(out_head, journal->anchor_head, JOURNAL_HASH_SIZE);
        return STATUS_OK;
    }
    struct journal_entry entry;
    const enum status status = journal_eye_look(&journal->eye, journal, index, &entry, out_head);
    return status == STATUS_NOT_FOUND ? STATUS_CORRUPT : status; /* callers know that it is live */
}

enum status journal_head(struct journal *journal, uint64_t index,
                         uint8_t out_head[JOURNAL_HASH_SIZE])
{
    if (index + 1 < journal->first_index || index > journal_synced_index(journal))
        return STATUS_NOT_FOUND;
    journal_eye_forget(&journal->eye);
    uint8_t head[JOURNAL_HASH_SIZE];
    const enum status status = head_at(journal, index, head);
    if (status == STATUS_OK)
        memcpy(out_head, head, sizeof head);
    return status;
}

enum status journal_read(struct journal *journal, uint64_t first, uint64_t last,
                         bool (*each)(void *context, const struct journal_entry *entry),
                         void *context)
{
    if (first < journal->first_index || last > journal_synced_index(journal))
        return STATUS_NOT_FOUND;
    if (first > last)
        return STATUS_OK;
    journal_eye_forget(&journal->eye);
    uint8_t head[JOURNAL_HASH_SIZE];
    enum status status = head_at(journal, first - 1, head);
    if (status != STATUS_OK)
        return status;
    for (uint64_t index = first; index <= last; index++) {
        struct journal_entry entry;
        uint8_t stored[JOURNAL_HASH_SIZE];
        status = journal_eye_look(&journal->eye, journal, index, &entry, stored);
        if (status != STATUS_OK)
            return status == STATUS_NOT_FOUND ? STATUS_CORRUPT : status;
        journal_chain(journal->read_hash, head, &entry, head);
        if (memcmp(head, stored, sizeof head) != 0)
            return STATUS_CORRUPT;
        if (!each(context, &entry))
            break;
    }
    return STATUS_OK;
}

/* ---- forgetting ---- */

enum status journal_truncate_suffix(struct journal *journal, uint64_t index)
{
    struct journal_shared *shared = journal->shared;
    invariant_values(index >= journal->first_index, index, journal->first_index);
    if (index > journal->last_index)
        return STATUS_OK;
    pthread_mutex_lock(&shared->lock);
    const bool in_flight = shared->queued_first != NULL || shared->taken_first != NULL;
    const bool disk_full = shared->disk_full;
    const bool stopping = shared->stopping;
    const enum status failure = shared->failure;
    pthread_mutex_unlock(&shared->lock);
    invariant(!in_flight);
    if (failure != STATUS_OK)
        return failure;
    if (stopping)
        return STATUS_STOPPING;

    uint64_t term;
    uint8_t head[JOURNAL_HASH_SIZE];
    enum status status = journal_term(journal, index - 1, &term);
    invariant_values(status == STATUS_OK, index, status);
    journal_eye_forget(&journal->eye);
    status = head_at(journal, index - 1, head);
    if (status != STATUS_OK)
        return status;
    pthread_mutex_lock(&journal->writer.io_lock);
    status = journal_writer_truncate(journal, index - 1, term, head);
    pthread_mutex_unlock(&journal->writer.io_lock);
    if (status == STATUS_BUSY)
        return disk_full ? STATUS_READ_ONLY : STATUS_BUSY;
    if (status != STATUS_OK) {
        journal_fail(journal, status);
        return status;
    }
    journal->last_index = index - 1;
    journal->last_term = term;
    journal_terms_trim(journal, journal->last_index);
    journal->options.wake_writer(journal->options.wake_context); /* a seal follows */
    return STATUS_OK;
}

/* Number of leading segments whose live entries are all <= index; never the last segment. */
static size_t prunable(const struct journal_shared *shared, uint64_t index)
{
    size_t count = 0;
    if (planted(PLANTED_PRUNED_ONE_FURTHER))
        index++;
    while (count + 1 < shared->segment_count &&
           shared->segments[count + 1]->first_index <= index + 1)
        count++;
    return count;
}

enum status journal_prune_prefix(struct journal *journal, uint64_t index)
{
    struct journal_shared *shared = journal->shared;
    pthread_mutex_lock(&shared->lock);
    const enum status failure = shared->failure;
    if (index > shared->synced_index)
        index = shared->synced_index;
    const size_t count = prunable(shared, index);
    const uint64_t first = count > 0 ? shared->segments[count]->first_index : 0;
    pthread_mutex_unlock(&shared->lock);
    if (failure != STATUS_OK)
        return failure;
    if (count == 0)
        return STATUS_OK;

    /* The anchor is read while its entry is still there. */
    uint64_t term;
    uint8_t head[JOURNAL_HASH_SIZE];
    enum status status = journal_term(journal, first - 1, &term);
    invariant_values(status == STATUS_OK, first, status);
    journal_eye_forget(&journal->eye);
    status = head_at(journal, first - 1, head);
    if (status != STATUS_OK)
        return status;

    /* ---- point of no return ---- */
    journal_eye_close(&journal->eye); /* perhaps one of those that go */
    journal->first_index = first;
    journal->anchor_term = term;
    memcpy(journal->anchor_head, head, sizeof head);
    journal_terms_prune(journal, first);
    pthread_mutex_lock(&shared->lock);
    for (size_t i = 0; i < count; i++)
        journal_segment_destroy(shared->segments[i]);
    memmove(shared->segments, shared->segments + count,
            (shared->segment_count - count) * sizeof(struct journal_segment *));
    shared->segment_count -= count;
    shared->remove_end = shared->segments[0]->number;
    pthread_mutex_unlock(&shared->lock);
    journal->options.wake_preparer(journal->options.wake_context);
    return STATUS_OK;
}
