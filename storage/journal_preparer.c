/*
 * The preparer: keeps one spare segment ready, and removes the files of pruned segments.
 *
 * The spare is what makes the journal's reserve: it exists, with all its blocks, before the current
 * segment needs it. When the disk has no room for a spare the journal refuses appends while the
 * current segment still has room for marks and closing, and tries again every second; the next
 * prune or a larger disk ends that state by itself.
 *
 * A spare is written with zeros under a temporary name, synced slice by slice (one long sync of the
 * whole would hold up the writer's small ones), then renamed to the number it will have, then the
 * directory is synced. The slices keep pace with the segment being filled, twice as fast: zeros as
 * fast as the disk takes them would hold up the writer for as long as the whole takes, and at every
 * node of a cluster at once, since all change segments at the same entries. Where somebody waits
 * for the spare there is nothing to hold up, and it comes at once. Crash points: a temporary file
 * counts for nothing and is removed; a renamed one is all zeros and is taken over at the next
 * start. The header is the writer's business, at the moment of use.
 *
 * Files of pruned segments go one by one from the oldest, each made durable before the next, so
 * that a crash never leaves a gap.
 */
#include "core/invariant.h"
#include "storage/journal_state.h"

#include <string.h>

static const uint8_t zeros[JOURNAL_PREPARE_SLICE];

/* ---- removal ---- */

static enum status remove_oldest(struct journal *journal, uint64_t number)
{
    const struct files *files = journal->options.files;
    char name[JOURNAL_NAME_SIZE];
    journal_segment_name(number, name);
    enum status status = files->remove(files->context, name);
    if (status == STATUS_OK)
        status = files->sync_directory(files->context);
    if (status != STATUS_OK)
        return status;
    pthread_mutex_lock(&journal->shared->lock);
    journal->shared->remove_first = number + 1;
    pthread_mutex_unlock(&journal->shared->lock);
    return STATUS_OK;
}

/* ---- the spare ---- */

static void abandon(struct journal *journal)
{
    struct journal_preparer *preparer = &journal->preparer;
    const struct files *files = journal->options.files;
    if (preparer->file != NULL) {
        files->close(files->context, preparer->file);
        preparer->file = NULL;
        /* It never counted; what is left is removed by the next attempt or the next start. */
        (void)files->remove(files->context, JOURNAL_SPARE_TEMPORARY);
    }
    journal_segment_destroy(preparer->segment);
    preparer->segment = NULL;
}

static enum status begin_spare(struct journal *journal, uint64_t number)
{
    struct journal_preparer *preparer = &journal->preparer;
    const struct files *files = journal->options.files;
    const uint64_t size = journal->options.segment_size;
    preparer->segment = journal_segment_create(number, size);
    if (preparer->segment == NULL)
        return STATUS_NO_MEMORY;
    enum status status = files->remove(files->context, JOURNAL_SPARE_TEMPORARY);
    if (status == STATUS_OK || status == STATUS_NOT_FOUND)
        status = files->open(files->context, JOURNAL_SPARE_TEMPORARY, FILE_CREATE, &preparer->file);
    if (status == STATUS_OK)
        status = files->allocate(files->context, preparer->file, size);
    preparer->number = number;
    preparer->written = 0;
    preparer->slice_ns = 0;
    return status;
}

static uint64_t now(const struct journal *journal)
{
    return journal->options.clock_ns(journal->options.clock_context);
}

void journal_hurry_spare(struct journal *journal)
{
    pthread_mutex_lock(&journal->shared->lock);
    journal->shared->spare_is_urgent = journal->shared->spare == NULL;
    pthread_mutex_unlock(&journal->shared->lock);
    journal->options.wake_preparer(journal->options.wake_context);
}

/* Ahead of what the current segment, filled with `used` bytes of `size`, asks for a slice comes now
 * and then, so that a journal at rest gets its spare, too. (Segments are at most 1 GiB.) */
static bool slice_is_due(const struct journal *journal, uint64_t used, uint64_t size)
{
    const struct journal_preparer *preparer = &journal->preparer;
    return preparer->written * size <= 2 * used * journal->options.segment_size ||
           now(journal) - preparer->slice_ns >= JOURNAL_SLICE_PAUSE_NS;
}

static enum status write_slice(struct journal *journal)
{
    struct journal_preparer *preparer = &journal->preparer;
    const struct files *files = journal->options.files;
    const uint64_t left = journal->options.segment_size - preparer->written;
    const size_t size = left < sizeof zeros ? (size_t)left : sizeof zeros;
    enum status status =
        files->write(files->context, preparer->file, zeros, size, preparer->written);
    if (status == STATUS_OK)
        status = files->sync(files->context, preparer->file);
    preparer->written += size;
    preparer->slice_ns = now(journal);
    return status;
}

static enum status finish_spare(struct journal *journal)
{
    struct journal_preparer *preparer = &journal->preparer;
    struct journal_shared *shared = journal->shared;
    const struct files *files = journal->options.files;
    char name[JOURNAL_NAME_SIZE];
    journal_segment_name(preparer->number, name);
    enum status status = files->rename(files->context, JOURNAL_SPARE_TEMPORARY, name);
    if (status == STATUS_OK)
        status = files->sync_directory(files->context);
    if (status != STATUS_OK)
        return status;
    files->close(files->context, preparer->file);
    preparer->file = NULL;
    pthread_mutex_lock(&shared->lock);
    status = journal_segments_reserve(shared);
    if (status == STATUS_OK) {
        shared->spare = preparer->segment;
        shared->disk_full = false;
        shared->spare_is_urgent = false;
        preparer->segment = NULL;
    }
    pthread_mutex_unlock(&shared->lock);
    if (status == STATUS_OK)
        journal->options.wake_loop(journal->options.wake_context);
    return status;
}

static void note_disk_full(struct journal *journal)
{
    struct journal_shared *shared = journal->shared;
    pthread_mutex_lock(&shared->lock);
    const bool news = !shared->disk_full;
    shared->disk_full = true;
    pthread_mutex_unlock(&shared->lock);
    if (news)
        journal->options.wake_loop(journal->options.wake_context);
}

static enum job_state preparer_done(struct journal *journal)
{
    abandon(journal);
    pthread_mutex_lock(&journal->shared->lock);
    journal->shared->preparer_done = true;
    pthread_mutex_unlock(&journal->shared->lock);
    journal->options.wake_loop(journal->options.wake_context);
    return JOB_DONE;
}

enum job_state journal_preparer_step(struct journal *journal, uint64_t *out_wait_ns)
{
    struct journal_preparer *preparer = &journal->preparer;
    struct journal_shared *shared = journal->shared;
    *out_wait_ns = UINT64_MAX;
    pthread_mutex_lock(&shared->lock);
    const enum status failure = shared->failure;
    const bool stopping = shared->stopping;
    const bool have_spare = shared->spare != NULL;
    const uint64_t remove_first = shared->remove_first;
    const uint64_t remove_end = shared->remove_end;
    const bool is_urgent = shared->spare_is_urgent || shared->disk_full;
    const struct journal_segment *current = shared->segments[shared->segment_count - 1];
    const uint64_t next = current->number + 1;
    const uint64_t size = current->size, used = size - shared->room;
    pthread_mutex_unlock(&shared->lock);

    if (failure != STATUS_OK) {
        abandon(journal);
        return JOB_FAILED;
    }
    if (stopping)
        return preparer_done(journal);

    enum status status;
    if (remove_first < remove_end) {
        status = remove_oldest(journal, remove_first);
    } else if (have_spare) {
        return JOB_IDLE;
    } else if (preparer->file == NULL) {
        status = begin_spare(journal, next);
    } else if (preparer->written < journal->options.segment_size) {
        if (!is_urgent && !slice_is_due(journal, used, size)) {
            *out_wait_ns = JOURNAL_SLICE_LOOK_NS;
            return JOB_IDLE;
        }
        status = write_slice(journal);
    } else {
        status = finish_spare(journal);
    }
    if (status == STATUS_OK)
        return JOB_AGAIN;
    if (status == STATUS_DISK_FULL || status == STATUS_NO_MEMORY) {
        /* Nothing that counts was touched: wait for room. */
        abandon(journal);
        note_disk_full(journal);
        *out_wait_ns = JOURNAL_SPARE_RETRY_NS;
        return JOB_IDLE;
    }
    abandon(journal);
    journal_fail(journal, status);
    return JOB_FAILED;
}
