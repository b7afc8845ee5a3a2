/*
 * The one writer: group commit.
 *
 * A step takes what is queued, encodes records with their chain hashes into one buffer, writes it
 * with one call (more only when the group is larger than the buffer) and syncs once. Requests count
 * as done after that sync. The file was written with zeros and synced before, so a sync moves data
 * and no metadata.
 *
 * Turning to the next segment is a barrier, which is what lets recovery know that only the last
 * segment can have a torn tail:
 *     records .. CLOSE | sync | header of the next, in its prepared file | sync | records ..
 * CLOSE is only written when the next file exists durably under its name.
 *
 * Any error is the end: what the disk holds is then unknown (a failed sync may have dropped the
 * pages and a second one would say OK), so nothing is retried and everybody gets the status.
 *
 * Room: each request was accepted only when its records and its slack fit what is left of this
 * segment, or the whole queue fits the spare. So turning never finds the spare missing, and there
 * is always room for a seal, a stop and a start.
 */
#include "core/bounds.h"
#include "core/invariant.h"
#include "core/planted_fault.h"
#include "storage/journal_state.h"

#include <string.h>

static uint64_t now(const struct journal *journal)
{
    return journal->options.clock_ns(journal->options.clock_context);
}

void journal_fail(struct journal *journal, enum status status)
{
    struct journal_shared *shared = journal->shared;
    pthread_mutex_lock(&shared->lock);
    if (shared->failure == STATUS_OK)
        shared->failure = status;
    status = shared->failure;
    struct journal_append *lists[2] = {shared->taken_first, shared->queued_first};
    shared->taken_first = NULL;
    shared->queued_first = shared->queued_last = NULL;
    for (int i = 0; i < 2; i++) {
        struct journal_append *next;
        for (struct journal_append *request = lists[i]; request != NULL; request = next) {
            next = request->next;
            request->next = NULL;
            request->status = status;
            if (shared->done_last != NULL)
                shared->done_last->next = request;
            else
                shared->done_first = request;
            shared->done_last = request;
        }
    }
    pthread_mutex_unlock(&shared->lock);
    journal->options.wake_loop(journal->options.wake_context);
}

/* ---- records into the buffer, the buffer into the file ---- */

static enum status flush(struct journal *journal)
{
    struct journal_writer *writer = &journal->writer;
    if (writer->buffered == 0)
        return STATUS_OK;
    const struct files *files = journal->options.files;
    const enum status status = files->write(files->context, writer->file, writer->buffer,
                                            writer->buffered, writer->offset - writer->buffered);
    writer->buffered = 0;
    return status;
}

/* All records so far become durable and readable; `released` bytes are no longer pending. */
static enum status sync_and_publish(struct journal *journal, uint64_t released)
{
    struct journal_writer *writer = &journal->writer;
    struct journal_shared *shared = journal->shared;
    const struct files *files = journal->options.files;
    enum status status = flush(journal);
    if (status == STATUS_OK && !(planted(PLANTED_ACK_BEFORE_SYNC) && released > 0) &&
        !(planted(PLANTED_TURN_NOT_SYNCED) && writer->last_type == JOURNAL_CLOSE))
        status = files->sync(files->context, writer->file);
    if (status != STATUS_OK)
        return status;
    writer->synced_sequence = writer->sequence;

    pthread_mutex_lock(&shared->lock);
    writer->segment->count = writer->count;
    shared->synced_index = writer->index;
    memcpy(shared->synced_head, writer->head, sizeof shared->synced_head);
    const uint64_t usable_end = writer->size - JOURNAL_RECORD_ALIGN;
    shared->room = writer->offset < usable_end ? usable_end - writer->offset : 0;
    invariant_values(shared->pending_size >= released, shared->pending_size, released);
    shared->pending_size -= released;
    pthread_mutex_unlock(&shared->lock);
    return STATUS_OK;
}

static enum status add_record(struct journal *journal, uint16_t type, uint64_t index, uint64_t term,
                              const void *payload, uint32_t length)
{
    struct journal_writer *writer = &journal->writer;
    const uint64_t size = journal_record_size(type, length);
    if (writer->buffered + size > JOURNAL_BUFFER_SIZE) {
        const enum status status = flush(journal);
        if (status != STATUS_OK)
            return status;
    }
    invariant_values(writer->offset + size <= writer->size, writer->offset, size);
    const struct journal_record_header header = {
        .sequence = writer->sequence + 1,
        .synced_to = writer->synced_sequence,
        .index = index,
        .term = term,
        .length = length,
        .type = type,
    };
    journal_record_encode(&writer->key, &header, payload, writer->head,
                          writer->buffer + writer->buffered);
    writer->buffered += (size_t)size;
    writer->offset += size;
    writer->sequence++;
    writer->last_type = type;
    return STATUS_OK;
}

/* SEAL, STOP or START. */
static enum status add_mark(struct journal *journal, uint16_t type)
{
    return add_record(journal, type, journal->writer.index, journal->writer.term, NULL, 0);
}

/* The first record after a clean stop is durable before anything follows it. */
static enum status start_after_stop(struct journal *journal)
{
    if (journal->writer.last_type != JOURNAL_STOP)
        return STATUS_OK;
    const enum status status = add_mark(journal, JOURNAL_START);
    return status == STATUS_OK ? sync_and_publish(journal, 0) : status;
}

/* ---- segments ---- */

enum status journal_writer_begin_segment(struct journal *journal)
{
    struct journal_writer *writer = &journal->writer;
    struct journal_shared *shared = journal->shared;
    const struct files *files = journal->options.files;
    struct journal_segment_header header;
    memset(&header, 0, sizeof header);

    pthread_mutex_lock(&shared->lock);
    struct journal_segment *segment = shared->spare;
    invariant(segment != NULL);
    header.configuration_size = shared->configuration_size;
    memcpy(header.configuration, shared->configuration, shared->configuration_size);
    pthread_mutex_unlock(&shared->lock);

    char name[JOURNAL_NAME_SIZE];
    journal_segment_name(segment->number, name);
    struct file *file = NULL;
    enum status status = files->open(files->context, name, FILE_WRITE, &file);
    if (status != STATUS_OK)
        return status;
    memcpy(header.cluster_id, journal->options.cluster_id, sizeof header.cluster_id);
    memcpy(header.previous_generation, writer->generation, sizeof header.previous_generation);
    journal->options.random(journal->options.random_context, header.generation,
                            sizeof header.generation);
    header.number = segment->number;
    header.size = segment->size;
    header.first_sequence = writer->sequence + 1;
    header.anchor_index = writer->index;
    header.anchor_term = writer->term;
    memcpy(header.anchor_head, writer->head, sizeof header.anchor_head);
    journal_segment_header_seal(&header);
    status = files->write(files->context, file, &header, sizeof header, 0);
    if (status == STATUS_OK)
        status = files->sync(files->context, file);
    if (status != STATUS_OK) {
        files->close(files->context, file);
        return status;
    }

    journal_key_derive(header.generation, &segment->key);
    segment->first_index = writer->index + 1;
    if (writer->file != NULL)
        files->close(files->context, writer->file);
    writer->file = file;
    writer->number = segment->number;
    writer->size = segment->size;
    writer->offset = JOURNAL_PAGE_SIZE;
    memcpy(writer->generation, header.generation, sizeof writer->generation);
    writer->key = segment->key;
    writer->segment = segment;
    writer->count = 0;
    writer->last_type = 0;

    pthread_mutex_lock(&shared->lock);
    journal_segments_push(shared, segment);
    shared->spare = NULL;
    shared->room = journal_usable_size(segment->size);
    pthread_mutex_unlock(&shared->lock);
    journal->options.wake_preparer(journal->options.wake_context);
    return STATUS_OK;
}

/* Closes this segment and begins the next. `released`: see sync_and_publish. */
static enum status turn(struct journal *journal, uint64_t released)
{
    struct journal_shared *shared = journal->shared;
    pthread_mutex_lock(&shared->lock);
    const struct journal_segment *spare = shared->spare;
    pthread_mutex_unlock(&shared->lock);
    invariant(spare != NULL); /* only this thread takes it away */
    enum status status = add_record(journal, JOURNAL_CLOSE, spare->number, spare->size, NULL, 0);
    if (status == STATUS_OK)
        status = sync_and_publish(journal, released);
    if (status == STATUS_OK)
        status = journal_writer_begin_segment(journal);
    return status;
}

static bool have_spare(const struct journal *journal)
{
    pthread_mutex_lock(&journal->shared->lock);
    const bool spare = journal->shared->spare != NULL;
    pthread_mutex_unlock(&journal->shared->lock);
    return spare;
}

/* Room for a record beside the closing one. */
static bool fits(const struct journal_writer *writer, uint64_t size)
{
    return writer->offset + size + JOURNAL_RECORD_ALIGN <= writer->size;
}

/* ---- groups ---- */

static uint64_t request_size(const struct journal_append *request)
{
    uint64_t size = JOURNAL_REQUEST_SLACK;
    for (uint32_t i = 0; i < request->entry_count; i++)
        size += journal_record_size(request->entries[i].type, request->entries[i].size);
    return size;
}

static enum status write_entry(struct journal *journal, const struct journal_entry *entry,
                               uint64_t *released)
{
    struct journal_writer *writer = &journal->writer;
    const uint64_t size = journal_record_size(entry->type, entry->size);
    const uint64_t start = writer->last_type == JOURNAL_STOP ? JOURNAL_RECORD_ALIGN : 0;
    if (!fits(writer, start + size + JOURNAL_ENDING_SIZE)) {
        const enum status status = turn(journal, *released);
        if (status != STATUS_OK)
            return status;
        *released = 0;
    }
    enum status status = start_after_stop(journal);
    if (status != STATUS_OK)
        return status;
    invariant_values(entry->index == writer->index + 1, entry->index, writer->index);
    invariant_values(entry->term >= writer->term, entry->term, writer->term);
    journal_chain(writer->hash, writer->head, entry, writer->head);
    const uint64_t offset = writer->offset;
    status =
        add_record(journal, entry->type, entry->index, entry->term, entry->payload, entry->size);
    if (status != STATUS_OK)
        return status;
    writer->index = entry->index;
    writer->term = entry->term;
    /* Behind segment->count, so nobody reads it before it is published. */
    invariant_values(writer->count < writer->segment->capacity, writer->count,
                     writer->segment->capacity);
    writer->segment->offsets[writer->count++] = (uint32_t)(offset / JOURNAL_RECORD_ALIGN);
    *released += size;
    return STATUS_OK;
}

/* Takes a group off the queue; NULL when it is empty. */
static struct journal_append *take_group(struct journal_shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    invariant(shared->taken_first == NULL);
    struct journal_append *first = shared->queued_first;
    struct journal_append *last = NULL;
    uint64_t size = 0;
    for (struct journal_append *r = first; r != NULL && size < JOURNAL_GROUP_SIZE; r = r->next) {
        size += r->size;
        last = r;
    }
    if (last != NULL) {
        shared->queued_first = last->next;
        if (shared->queued_first == NULL)
            shared->queued_last = NULL;
        last->next = NULL;
    }
    shared->taken_first = first;
    pthread_mutex_unlock(&shared->lock);
    return first;
}

static void finish_group(struct journal *journal)
{
    struct journal_shared *shared = journal->shared;
    pthread_mutex_lock(&shared->lock);
    struct journal_append *first = shared->taken_first;
    struct journal_append *last = first;
    for (struct journal_append *request = first; request != NULL; request = request->next) {
        request->status = STATUS_OK;
        last = request;
    }
    if (shared->done_last != NULL)
        shared->done_last->next = first;
    else
        shared->done_first = first;
    shared->done_last = last;
    shared->taken_first = NULL;
    pthread_mutex_unlock(&shared->lock);
    journal->options.wake_loop(journal->options.wake_context);
}

static enum status write_group(struct journal *journal, const struct journal_append *first)
{
    uint64_t released = 0;
    for (const struct journal_append *r = first; r != NULL; r = r->next) {
        invariant_values(request_size(r) == r->size, request_size(r), r->size);
        for (uint32_t i = 0; i < r->entry_count; i++) {
            const enum status status = write_entry(journal, &r->entries[i], &released);
            if (status != STATUS_OK)
                return status;
        }
        released += JOURNAL_REQUEST_SLACK;
    }
    return sync_and_publish(journal, released);
}

static bool is_sealed(const struct journal_writer *writer)
{
    return writer->last_type == JOURNAL_SEAL || writer->last_type == JOURNAL_STOP ||
           writer->last_type == JOURNAL_START || writer->last_type == 0;
}

/* SEAL or STOP. Room runs out only when starts were followed by crashes again and again; then the
 * next segment's header says the same as a mark would, and without a spare the mark is left out:
 * what is durable stays durable, only less of it is vouched for. */
static enum status write_mark(struct journal *journal, uint16_t type)
{
    enum status status = STATUS_OK;
    if (!fits(&journal->writer, JOURNAL_RECORD_ALIGN)) {
        if (!have_spare(journal))
            return STATUS_OK;
        status = turn(journal, 0);
    }
    if (status == STATUS_OK)
        status = add_mark(journal, type);
    return status == STATUS_OK ? sync_and_publish(journal, 0) : status;
}

static enum job_state writer_done(struct journal *journal)
{
    pthread_mutex_lock(&journal->shared->lock);
    journal->shared->writer_done = true;
    pthread_mutex_unlock(&journal->shared->lock);
    journal->options.wake_loop(journal->options.wake_context);
    return JOB_DONE;
}

static enum job_state step(struct journal *journal, uint64_t *out_wait_ns)
{
    struct journal_writer *writer = &journal->writer;
    struct journal_shared *shared = journal->shared;
    *out_wait_ns = UINT64_MAX;
    pthread_mutex_lock(&shared->lock);
    const enum status failure = shared->failure;
    const bool stopping = shared->stopping;
    const bool done = shared->writer_done;
    pthread_mutex_unlock(&shared->lock);
    if (failure != STATUS_OK)
        return JOB_FAILED;
    if (done)
        return JOB_DONE;

    enum status status = STATUS_OK;
    const struct journal_append *group = take_group(shared);
    if (group != NULL) {
        status = write_group(journal, group);
        if (status == STATUS_OK) {
            writer->idle_from_ns = now(journal);
            finish_group(journal);
            return JOB_AGAIN;
        }
    } else if (stopping) {
        if (writer->last_type != JOURNAL_STOP)
            status = write_mark(journal, JOURNAL_STOP);
        if (status == STATUS_OK)
            return writer_done(journal);
    } else if (!is_sealed(writer)) {
        const uint64_t idle = now(journal) - writer->idle_from_ns;
        if (idle < JOURNAL_SEAL_AFTER_NS) {
            *out_wait_ns = JOURNAL_SEAL_AFTER_NS - idle;
            return JOB_IDLE;
        }
        status = write_mark(journal, JOURNAL_SEAL);
        if (status == STATUS_OK)
            return JOB_IDLE;
    } else {
        return JOB_IDLE;
    }
    journal_fail(journal, status);
    return JOB_FAILED;
}

enum job_state journal_writer_step(struct journal *journal, uint64_t *out_wait_ns)
{
    pthread_mutex_lock(&journal->writer.io_lock);
    const enum job_state state = step(journal, out_wait_ns);
    pthread_mutex_unlock(&journal->writer.io_lock);
    return state;
}

enum status journal_writer_truncate(struct journal *journal, uint64_t index, uint64_t term,
                                    const uint8_t head[JOURNAL_HASH_SIZE])
{
    struct journal_writer *writer = &journal->writer;
    struct journal_shared *shared = journal->shared;
    const uint64_t size = journal_record_size(JOURNAL_TRUNCATE, 0) + JOURNAL_REQUEST_SLACK;
    enum status status = STATUS_OK;
    if (!fits(writer, size)) {
        if (!have_spare(journal)) {
            journal_hurry_spare(journal);
            return STATUS_BUSY;
        }
        status = turn(journal, 0);
    }
    if (status == STATUS_OK)
        status = start_after_stop(journal);
    if (status != STATUS_OK)
        return status;
    /* The mark's body carries the head that the chain goes on from. */
    writer->index = index;
    writer->term = term;
    memcpy(writer->head, head, sizeof writer->head);
    status = add_record(journal, JOURNAL_TRUNCATE, index, term, NULL, 0);
    if (status != STATUS_OK)
        return status;
    pthread_mutex_lock(&shared->lock);
    journal_segments_trim(shared, index);
    writer->count = writer->segment->count;
    pthread_mutex_unlock(&shared->lock);
    writer->idle_from_ns = now(journal);
    return sync_and_publish(journal, 0);
}
