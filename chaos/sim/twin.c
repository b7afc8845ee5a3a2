/*
 * One append-only file:
 *
 *   header   magic, cluster id
 *   record*  struct twin_record, then in this order, each padded to 8 bytes:
 *            meta, transfers, accounts, ordinals of balances, balances, requests, offsets of
 *            answers, answers, ledgers, principals, buckets of the request window that are in use
 *
 * A record counts when its checksum is right and it follows its predecessor; what comes behind the
 * last one that counts was never synced and is cut at open. So an epoch is durable whole or not at
 * all, as in a transaction of LMDB.
 *
 * In RAM everything is held as arrays in order of sequence. What the flusher has added is beyond
 * `visible` until checkpoint_process() lets the loop see it. A mutex guards the arrays: the suite
 * runs the flusher on a thread of its own.
 */
#include "chaos/sim/twin_internal.h"

#include "chaos/sim/world.h"
#include "core/invariant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct twin *twin_of(struct checkpoint *checkpoint)
{
    return (struct twin *)(void *)checkpoint;
}

/* ---- the job ---- */

static enum status write_record(struct twin *twin, const struct array *record)
{
    const struct files *files = &twin->files;
    enum status status =
        files->write(files->context, twin->file, record->bytes, record->size, twin->file_size);
    if (status == STATUS_OK)
        status = files->sync(files->context, twin->file);
    if (status == STATUS_OK)
        return STATUS_OK;
    if (status == STATUS_DISK_FULL) /* nothing behind the old end may count */
        status = files->truncate(files->context, twin->file, twin->file_size) == STATUS_OK
                     ? STATUS_DISK_FULL
                     : STATUS_IO;
    snprintf(twin->failure, sizeof twin->failure, "epoch %" PRIu64 " cannot be written: %s",
             twin->epoch_count, status_text(status));
    return status;
}

static enum job_state twin_step(struct checkpoint *checkpoint, uint64_t *out_wait_ns)
{
    struct twin *twin = twin_of(checkpoint);
    *out_wait_ns = UINT64_MAX;
    pthread_mutex_lock(&twin->mutex);
    const bool submitted = twin->state == FLUSH_SUBMITTED;
    const bool stopping = twin->stopping;
    pthread_mutex_unlock(&twin->mutex);
    if (!submitted)
        return stopping ? JOB_DONE : JOB_IDLE;
    struct array record = {0};
    twin_build_record(twin, twin->epoch, &record);
    const enum status status = write_record(twin, &record);
    pthread_mutex_lock(&twin->mutex);
    if (status == STATUS_OK) {
        twin_absorb(twin, record.bytes);
        twin->file_size += record.size;
        twin->epochs_since_open++;
    }
    twin->flushed = status;
    twin->state = FLUSH_DONE;
    pthread_mutex_unlock(&twin->mutex);
    free(record.bytes);
    if (twin->options.wake_loop != NULL)
        twin->options.wake_loop(twin->options.wake_context);
    return status == STATUS_OK || status == STATUS_DISK_FULL ? JOB_AGAIN : JOB_FAILED;
}

/* ---- the loop's side ---- */

static enum status twin_submit(struct checkpoint *checkpoint, const struct epoch *epoch,
                               const struct checkpoint_meta *meta, checkpoint_cb cb, void *context)
{
    struct twin *twin = twin_of(checkpoint);
    pthread_mutex_lock(&twin->mutex);
    const bool busy = twin->state != FLUSH_IDLE;
    if (!busy) {
        twin->epoch = epoch;
        twin->meta_in_flight = *meta;
        twin->cb = cb;
        twin->cb_context = context;
        twin->state = FLUSH_SUBMITTED;
    }
    pthread_mutex_unlock(&twin->mutex);
    if (busy)
        return STATUS_BUSY;
    if (twin->options.wake_flusher != NULL)
        twin->options.wake_flusher(twin->options.wake_context);
    return STATUS_OK;
}

static void twin_process(struct checkpoint *checkpoint)
{
    struct twin *twin = twin_of(checkpoint);
    pthread_mutex_lock(&twin->mutex);
    const bool done = twin->state == FLUSH_DONE;
    if (done) {
        twin->state = FLUSH_IDLE;
        twin->visible_transfers = twin_transfer_total(twin);
        twin->visible_requests = twin_request_total(twin);
    }
    const enum status status = twin->flushed;
    const uint64_t index = twin->meta.index;
    pthread_mutex_unlock(&twin->mutex);
    if (done)
        twin->cb(twin->cb_context, status, index);
}

static void twin_stop(struct checkpoint *checkpoint)
{
    struct twin *twin = twin_of(checkpoint);
    pthread_mutex_lock(&twin->mutex);
    twin->stopping = true;
    pthread_mutex_unlock(&twin->mutex);
    if (twin->options.wake_flusher != NULL)
        twin->options.wake_flusher(twin->options.wake_context);
}

static bool past_by_id(void *context, const struct id128 *id, struct transfer_record *out)
{
    struct twin *twin = context;
    pthread_mutex_lock(&twin->mutex);
    uint32_t number = twin_transfer_first(twin, id);
    while (number != TWIN_NONE && (number >= twin->visible_transfers ||
                                   !id128_equal(&twin_transfer_at(twin, number)->id, id)))
        number = twin_transfer_next(twin, number);
    if (number != TWIN_NONE)
        *out = *twin_transfer_at(twin, number);
    pthread_mutex_unlock(&twin->mutex);
    return number != TWIN_NONE;
}

static bool past_by_sequence(void *context, uint64_t sequence, struct transfer_record *out)
{
    struct twin *twin = context;
    pthread_mutex_lock(&twin->mutex);
    const bool found = sequence < twin->visible_transfers;
    if (found)
        *out = *twin_transfer_at(twin, sequence);
    pthread_mutex_unlock(&twin->mutex);
    return found;
}

static bool past_request(void *context, uint32_t principal_name, const uint8_t nonce[16],
                         struct request_record *out, uint8_t *answer)
{
    struct twin *twin = context;
    pthread_mutex_lock(&twin->mutex);
    uint32_t number = TWIN_NONE;
    if (!twin->forgets_requests)
        number = twin_request_first(twin, principal_name, nonce);
    while (number != TWIN_NONE &&
           (number >= twin->visible_requests ||
            twin_request_at(twin, number)->principal_name != principal_name ||
            memcmp(twin_request_at(twin, number)->nonce, nonce, 16) != 0))
        number = twin_request_next(twin, number);
    if (number != TWIN_NONE) {
        *out = *twin_request_at(twin, number);
        uint64_t offset;
        memcpy(&offset, twin->offsets.bytes + number * sizeof offset, sizeof offset);
        if (out->answer_size > 0)
            memcpy(answer, twin->answers.bytes + offset, out->answer_size);
    }
    pthread_mutex_unlock(&twin->mutex);
    return number != TWIN_NONE;
}

static void twin_past(struct checkpoint *checkpoint, struct ledger_past *out)
{
    *out = (struct ledger_past){
        .context = checkpoint,
        .transfer_by_id = past_by_id,
        .transfer_by_sequence = past_by_sequence,
        .request_by_nonce = past_request,
    };
}

static enum status twin_meta(struct checkpoint *checkpoint, struct checkpoint_meta *out)
{
    struct twin *twin = twin_of(checkpoint);
    pthread_mutex_lock(&twin->mutex);
    const bool any = twin->epoch_count > 0;
    if (any)
        *out = twin->meta;
    pthread_mutex_unlock(&twin->mutex);
    return any ? STATUS_OK : STATUS_NOT_FOUND;
}

static enum status twin_restore(struct checkpoint *checkpoint, struct machine *machine)
{
    const struct twin *twin = twin_of(checkpoint);
    if (twin->epoch_count == 0)
        return STATUS_NOT_FOUND;
    const struct machine_checkpoint restored = {
        .applied_index = twin->last.applied_index,
        .applied_term = twin->last.applied_term,
        .stamp = twin->last.stamp,
        .transfer_count = twin_transfer_total(twin),
        .request_count = twin_request_total(twin),
        .ledger_count = twin->last.ledger_count,
        .ledgers = (const struct ledger_record *)(const void *)twin->ledgers.bytes,
        .principal_count = twin->last.principal_count,
        .principals = (const struct principal_record *)(const void *)twin->principals.bytes,
        .request_window = &twin->window,
    };
    struct machine_checkpoint with_digest = restored;
    memcpy(with_digest.digest, twin->last.digest, sizeof with_digest.digest);
    enum status status = machine_restore_begin(machine, &with_digest);
    const uint64_t count = twin->accounts.size / sizeof(struct account_record);
    const struct account_record *accounts =
        (const struct account_record *)(const void *)twin->accounts.bytes;
    const struct balance_record *balances =
        (const struct balance_record *)(const void *)twin->balances.bytes;
    for (uint64_t i = 0; i < count && status == STATUS_OK; i++)
        status = machine_restore_account(machine, &accounts[i], &balances[i]);
    return status == STATUS_OK ? machine_restore_end(machine) : status;
}

static void twin_stats(const struct checkpoint *checkpoint, struct checkpoint_stats *out)
{
    const struct twin *twin = (const struct twin *)(const void *)checkpoint;
    *out = (struct checkpoint_stats){
        .durable_index = twin->epoch_count > 0 ? twin->meta.index : 0,
        .epoch_count = twin->epochs_since_open,
        .transfer_count = twin_transfer_total(twin),
        .account_count = twin->accounts.size / sizeof(struct account_record),
        .request_count = twin_request_total(twin),
        .bytes_used = twin->file_size,
        .bytes_file = twin->file_size,
    };
}

/* ---- copies: a prefix of the file, which only grows ---- */

struct checkpoint_copy {
    uint64_t size;
};

static enum status twin_copy_begin(struct checkpoint *checkpoint, struct checkpoint_copy **out,
                                   struct checkpoint_copy_info *out_info)
{
    struct twin *twin = twin_of(checkpoint);
    pthread_mutex_lock(&twin->mutex);
    const bool any = twin->epoch_count > 0;
    if (any)
        *out_info = (struct checkpoint_copy_info){.size = twin->file_size, .meta = twin->meta};
    pthread_mutex_unlock(&twin->mutex);
    if (!any)
        return STATUS_NOT_FOUND;
    *out = sim_allocate(sizeof **out);
    (*out)->size = out_info->size;
    return STATUS_OK;
}

static enum status twin_copy_read(struct checkpoint *checkpoint, struct checkpoint_copy *copy,
                                  uint64_t offset, void *buffer, size_t size)
{
    const struct twin *twin = twin_of(checkpoint);
    invariant_values(offset + size <= copy->size, offset, size);
    return twin->files.read(twin->files.context, twin->file, buffer, size, offset);
}

static void twin_copy_end(struct checkpoint *checkpoint, struct checkpoint_copy *copy)
{
    (void)checkpoint;
    free(copy);
}

static void twin_close(struct checkpoint *checkpoint)
{
    struct twin *twin = twin_of(checkpoint);
    struct array *arrays[] = {
        &twin->transfers, &twin->accounts,   &twin->balances,          &twin->requests,
        &twin->offsets,   &twin->answers,    &twin->previous_transfer, &twin->previous_request,
        &twin->ledgers,   &twin->principals,
    };
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        free(arrays[i]->bytes);
    free(twin->by_id.slots);
    free(twin->by_nonce.slots);
    if (twin->file != NULL)
        twin->files.close(twin->files.context, twin->file);
    if (twin->close_files != NULL)
        twin->close_files(&twin->files);
    pthread_mutex_destroy(&twin->mutex);
    free(twin);
}

/* ---- open ---- */

static enum status create_file(struct twin *twin)
{
    const struct files *files = &twin->files;
    struct twin_header header = {.magic = TWIN_MAGIC};
    memcpy(header.cluster_id, twin->options.cluster_id, sizeof header.cluster_id);
    const enum status status = files_replace(files, CHECKPOINT_COPY_FILE, &header, sizeof header);
    if (status != STATUS_OK)
        return status;
    return files->open(files->context, CHECKPOINT_COPY_FILE, FILE_WRITE, &twin->file);
}

static enum status load_file(struct twin *twin, uint8_t *bytes, uint64_t size)
{
    const struct files *files = &twin->files;
    struct twin_header header;
    if (size < sizeof header)
        return STATUS_CORRUPT;
    memcpy(&header, bytes, sizeof header);
    if (header.magic != TWIN_MAGIC)
        return STATUS_CORRUPT;
    if (memcmp(header.cluster_id, twin->options.cluster_id, sizeof header.cluster_id) != 0)
        return STATUS_WRONG_CLUSTER;
    uint64_t at = sizeof header;
    while (twin_record_is_sound(bytes + at, size - at, twin->epoch_count)) {
        twin_absorb(twin, bytes + at);
        at += twin->last.size;
    }
    twin->file_size = at;
    /* What was read may be in memory only: the process before may have died before its sync. */
    enum status status = STATUS_OK;
    if (at < size)
        status = files->truncate(files->context, twin->file, at);
    return status == STATUS_OK ? files->sync(files->context, twin->file) : status;
}

static enum status open_file(struct twin *twin)
{
    const struct files *files = &twin->files;
    enum status status = files->open(files->context, CHECKPOINT_COPY_FILE, FILE_WRITE, &twin->file);
    if (status == STATUS_NOT_FOUND)
        status = create_file(twin);
    uint64_t size = 0;
    if (status == STATUS_OK)
        status = files->size(files->context, twin->file, &size);
    if (status != STATUS_OK)
        return status;
    uint8_t *bytes = sim_allocate(size);
    status = files->read(files->context, twin->file, bytes, size, 0);
    if (status == STATUS_OK)
        status = load_file(twin, bytes, size);
    free(bytes);
    twin->visible_transfers = twin_transfer_total(twin);
    twin->visible_requests = twin_request_total(twin);
    return status;
}

enum status twin_open(const struct files *files, void (*close_files)(struct files *files),
                      const struct store_options *options, struct checkpoint **out_twin,
                      struct store_error *out_error)
{
    static const struct checkpoint_operations operations = {
        .submit = twin_submit,
        .step = twin_step,
        .process = twin_process,
        .stop = twin_stop,
        .past = twin_past,
        .meta = twin_meta,
        .restore = twin_restore,
        .stats = twin_stats,
        .copy_begin = twin_copy_begin,
        .copy_read = twin_copy_read,
        .copy_end = twin_copy_end,
        .close = twin_close,
    };
    struct twin *twin = sim_allocate(sizeof *twin);
    twin->base.operations = &operations;
    twin->files = *files;
    twin->options = *options;
    pthread_mutex_init(&twin->mutex, NULL);
    const enum status status = open_file(twin);
    if (status != STATUS_OK) {
        snprintf(out_error->text, sizeof out_error->text, CHECKPOINT_COPY_FILE ": %s",
                 status_text(status));
        twin_close(&twin->base);
        return status;
    }
    twin->close_files = close_files;
    *out_twin = &twin->base;
    return STATUS_OK;
}

void twin_failure(struct checkpoint *checkpoint, struct store_error *out_error)
{
    snprintf(out_error->text, sizeof out_error->text, "%s", twin_of(checkpoint)->failure);
}

void twin_forget_requests(struct checkpoint *checkpoint)
{
    twin_of(checkpoint)->forgets_requests = true;
}
