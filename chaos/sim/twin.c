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
#include "chaos/sim/twin.h"

#include "chaos/sim/world.h"
#include "core/invariant.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define TWIN_MAGIC   0x4e49575459c4c4c1ull
#define RECORD_MAGIC 0x44524f4345524e54ull
#define NONE         UINT32_MAX

struct twin_header {
    uint64_t magic;
    uint8_t cluster_id[16];
    uint64_t reserved[5];
};

struct twin_record {
    uint64_t magic;
    uint64_t size; /* of the whole record */
    uint64_t checksum;
    uint64_t number; /* of the epoch, from 0 */
    uint64_t applied_index, applied_term, stamp;
    uint8_t digest[16];
    uint64_t transfer_first, request_first;
    uint32_t transfer_count, account_first, account_count, balance_count;
    uint32_t request_count, answer_bytes, ledger_count, principal_count;
    uint64_t window_first_bucket, window_request_count, window_answer_bytes;
    uint32_t window_bucket_count, reserved;
};

struct window_bucket {
    uint64_t position;
    uint64_t request_count;
    uint64_t answer_bytes;
};

/* From a hash to the newest number with it; chains go back through `previous`. */
struct table {
    uint32_t *slots;
    uint64_t capacity; /* a power of two */
    uint64_t count;
};

struct array {
    uint8_t *bytes;
    size_t size, capacity;
};

enum flush_state { FLUSH_IDLE, FLUSH_SUBMITTED, FLUSH_DONE };

struct twin {
    struct checkpoint base; /* first */
    struct files files;
    void (*close_files)(struct files *files);
    struct file *file;
    uint64_t file_size;
    struct store_options options;
    pthread_mutex_t mutex;
    bool stopping;
    bool forgets_requests;
    char failure[256];

    /* the epoch in flight */
    enum flush_state state;
    const struct epoch *epoch;
    struct checkpoint_meta meta_in_flight;
    checkpoint_cb cb;
    void *cb_context;
    enum status flushed;

    /* contents */
    uint64_t epoch_count, epochs_since_open;
    struct array transfers, accounts, balances, requests, offsets, answers;
    struct array previous_transfer, previous_request; /* u32 chains */
    struct table by_id, by_nonce;
    struct array ledgers, principals;
    struct request_window_record window;
    struct checkpoint_meta meta;
    struct twin_record last;
    uint64_t visible_transfers, visible_requests;
};

static struct twin *twin_of(struct checkpoint *checkpoint)
{
    return (struct twin *)(void *)checkpoint;
}

/* ---- arrays ---- */

static void array_add(struct array *array, const void *bytes, size_t size)
{
    if (array->size + size > array->capacity) {
        array->capacity = 2 * (array->size + size) + 64;
        array->bytes = sim_resize(array->bytes, array->capacity);
    }
    if (size > 0)
        memcpy(array->bytes + array->size, bytes, size);
    array->size += size;
}

static void array_add_padded(struct array *array, const void *bytes, size_t size)
{
    static const uint8_t zeros[8];
    array_add(array, bytes, size);
    array_add(array, zeros, (8 - size % 8) % 8);
}

static const struct transfer_record *transfer_at(const struct twin *twin, uint64_t number)
{
    return (const struct transfer_record *)(const void *)twin->transfers.bytes + number;
}

static const struct request_record *request_at(const struct twin *twin, uint64_t number)
{
    return (const struct request_record *)(const void *)twin->requests.bytes + number;
}

static uint64_t transfer_total(const struct twin *twin)
{
    return twin->transfers.size / sizeof(struct transfer_record);
}

static uint64_t request_total(const struct twin *twin)
{
    return twin->requests.size / sizeof(struct request_record);
}

/* ---- tables ---- */

static uint64_t id_hash(const struct id128 *id)
{
    uint64_t halves[2];
    memcpy(halves, id->bytes, sizeof halves);
    return draw_mix(halves[0] ^ draw_mix(halves[1]));
}

static uint64_t nonce_hash(uint32_t principal_name, const uint8_t nonce[16])
{
    uint64_t halves[2];
    memcpy(halves, nonce, sizeof halves);
    return draw_mix(halves[0] ^ draw_mix(halves[1] + principal_name));
}

static uint64_t hash_of(const struct twin *twin, const struct table *table, uint32_t number)
{
    if (table == &twin->by_id)
        return id_hash(&transfer_at(twin, number)->id);
    const struct request_record *request = request_at(twin, number);
    return nonce_hash(request->principal_name, request->nonce);
}

static void table_put(const struct twin *twin, struct table *table, uint32_t number,
                      struct array *previous);

static void table_grow(const struct twin *twin, struct table *table)
{
    const struct table old = *table;
    table->capacity = old.capacity == 0 ? 1024 : old.capacity * 2;
    table->slots = sim_allocate(table->capacity * sizeof *table->slots);
    memset(table->slots, 0xff, table->capacity * sizeof *table->slots);
    for (uint64_t i = 0; i < old.capacity; i++) {
        if (old.slots[i] == NONE)
            continue;
        uint64_t slot = hash_of(twin, table, old.slots[i]) & (table->capacity - 1);
        while (table->slots[slot] != NONE)
            slot = (slot + 1) & (table->capacity - 1);
        table->slots[slot] = old.slots[i];
    }
    free(old.slots);
}

/* A number with the same hash takes the slot and is chained to the one before. */
static void table_put(const struct twin *twin, struct table *table, uint32_t number,
                      struct array *previous)
{
    if (2 * (table->count + 1) > table->capacity)
        table_grow(twin, table);
    const uint64_t hash = hash_of(twin, table, number);
    uint64_t slot = hash & (table->capacity - 1);
    while (table->slots[slot] != NONE && hash_of(twin, table, table->slots[slot]) != hash)
        slot = (slot + 1) & (table->capacity - 1);
    const uint32_t before = table->slots[slot];
    array_add(previous, &before, sizeof before);
    if (before == NONE)
        table->count++;
    table->slots[slot] = number;
}

static uint32_t table_get(const struct twin *twin, const struct table *table, uint64_t hash)
{
    if (table->capacity == 0)
        return NONE;
    uint64_t slot = hash & (table->capacity - 1);
    while (table->slots[slot] != NONE && hash_of(twin, table, table->slots[slot]) != hash)
        slot = (slot + 1) & (table->capacity - 1);
    return table->slots[slot];
}

static uint32_t chain_next(const struct array *previous, uint32_t number)
{
    uint32_t before;
    memcpy(&before, previous->bytes + number * sizeof before, sizeof before);
    return before;
}

/* ---- a record ---- */

static void build_window(const struct request_window_record *window, struct twin_record *record,
                         struct array *out)
{
    record->window_first_bucket = window->first_bucket;
    record->window_request_count = window->request_count;
    record->window_answer_bytes = window->answer_bytes;
    for (uint64_t i = 0; i < REQUEST_BUCKETS; i++) {
        if (window->bucket[i].request_count == 0 && window->bucket[i].answer_bytes == 0)
            continue;
        const struct window_bucket bucket = {i, window->bucket[i].request_count,
                                             window->bucket[i].answer_bytes};
        array_add(out, &bucket, sizeof bucket);
        record->window_bucket_count++;
    }
}

static void build_record(const struct twin *twin, const struct epoch *epoch, struct array *out)
{
    struct twin_record record = {
        .magic = RECORD_MAGIC,
        .number = twin->epoch_count,
        .applied_index = epoch->applied_index,
        .applied_term = epoch->applied_term,
        .stamp = epoch->stamp,
        .transfer_first = epoch->transfer_first,
        .request_first = epoch->request_first,
        .transfer_count = epoch->transfer_count,
        .account_first = epoch->account_first,
        .account_count = epoch->account_count,
        .balance_count = epoch->balance_count,
        .request_count = epoch->request_count,
        .answer_bytes = epoch->answer_bytes,
        .ledger_count = epoch->ledger_count,
        .principal_count = epoch->principal_count,
    };
    memcpy(record.digest, epoch->digest, sizeof record.digest);
    array_add(out, &record, sizeof record);
    array_add_padded(out, &twin->meta_in_flight, sizeof twin->meta_in_flight);
    array_add(out, epoch->transfers, epoch->transfer_count * sizeof *epoch->transfers);
    array_add(out, epoch->accounts, epoch->account_count * sizeof *epoch->accounts);
    array_add_padded(out, epoch->balance_ordinals,
                     epoch->balance_count * sizeof *epoch->balance_ordinals);
    array_add(out, epoch->balances, epoch->balance_count * sizeof *epoch->balances);
    array_add(out, epoch->requests, epoch->request_count * sizeof *epoch->requests);
    array_add_padded(out, epoch->answer_offsets,
                     epoch->request_count * sizeof *epoch->answer_offsets);
    array_add_padded(out, epoch->answers, epoch->answer_bytes);
    array_add(out, epoch->ledgers, epoch->ledger_count * sizeof *epoch->ledgers);
    array_add(out, epoch->principals, epoch->principal_count * sizeof *epoch->principals);
    build_window(epoch->request_window, &record, out);
    record.size = out->size;
    memcpy(out->bytes, &record, sizeof record);
    record.checksum = XXH3_64bits(out->bytes, out->size);
    memcpy(out->bytes, &record, sizeof record);
}

/* Walks through a record's arrays. */
struct reader {
    const uint8_t *at;
};

static const void *take(struct reader *reader, size_t size)
{
    const void *bytes = reader->at;
    reader->at += (size + 7) / 8 * 8;
    return bytes;
}

static void absorb_balances(struct twin *twin, const uint32_t *ordinals,
                            const struct balance_record *balances, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const size_t end = (ordinals[i] + 1) * sizeof *balances;
        static const struct balance_record zero;
        while (twin->balances.size < end)
            array_add(&twin->balances, &zero, sizeof zero);
        memcpy(twin->balances.bytes + end - sizeof *balances, &balances[i], sizeof *balances);
    }
}

static void absorb_requests(struct twin *twin, const struct request_record *requests,
                            const uint32_t *offsets, const uint8_t *answers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t offset = twin->answers.size;
        array_add(&twin->answers, answers + offsets[i], requests[i].answer_size);
        array_add(&twin->offsets, &offset, sizeof offset);
        array_add(&twin->requests, &requests[i], sizeof requests[i]);
        table_put(twin, &twin->by_nonce, (uint32_t)(request_total(twin) - 1),
                  &twin->previous_request);
    }
}

/* A sound record becomes part of the contents. */
static void absorb(struct twin *twin, const uint8_t *bytes)
{
    struct twin_record record;
    memcpy(&record, bytes, sizeof record);
    struct reader reader = {bytes + sizeof record};
    invariant_values(record.transfer_first == transfer_total(twin), record.transfer_first,
                     transfer_total(twin));
    invariant_values(record.request_first == request_total(twin), record.request_first,
                     request_total(twin));
    memcpy(&twin->meta, take(&reader, sizeof twin->meta), sizeof twin->meta);
    const struct transfer_record *transfers =
        take(&reader, record.transfer_count * sizeof *transfers);
    for (uint32_t i = 0; i < record.transfer_count; i++) {
        array_add(&twin->transfers, &transfers[i], sizeof transfers[i]);
        table_put(twin, &twin->by_id, (uint32_t)(transfer_total(twin) - 1),
                  &twin->previous_transfer);
    }
    const size_t account_size = record.account_count * sizeof(struct account_record);
    array_add(&twin->accounts, take(&reader, account_size), account_size);
    const uint32_t *ordinals = take(&reader, record.balance_count * sizeof *ordinals);
    const struct balance_record *balances = take(&reader, record.balance_count * sizeof *balances);
    absorb_balances(twin, ordinals, balances, record.balance_count);
    const struct request_record *requests = take(&reader, record.request_count * sizeof *requests);
    const uint32_t *offsets = take(&reader, record.request_count * sizeof *offsets);
    const uint8_t *answers = take(&reader, record.answer_bytes);
    absorb_requests(twin, requests, offsets, answers, record.request_count);
    const size_t ledger_size = record.ledger_count * sizeof(struct ledger_record);
    twin->ledgers.size = 0;
    array_add(&twin->ledgers, take(&reader, ledger_size), ledger_size);
    const size_t principal_size = record.principal_count * sizeof(struct principal_record);
    twin->principals.size = 0;
    array_add(&twin->principals, take(&reader, principal_size), principal_size);
    memset(&twin->window, 0, sizeof twin->window);
    twin->window.first_bucket = record.window_first_bucket;
    twin->window.request_count = record.window_request_count;
    twin->window.answer_bytes = record.window_answer_bytes;
    for (uint32_t i = 0; i < record.window_bucket_count; i++) {
        struct window_bucket bucket;
        memcpy(&bucket, take(&reader, sizeof bucket), sizeof bucket);
        twin->window.bucket[bucket.position].request_count = (uint32_t)bucket.request_count;
        twin->window.bucket[bucket.position].answer_bytes = bucket.answer_bytes;
    }
    twin->last = record;
    twin->epoch_count++;
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
    build_record(twin, twin->epoch, &record);
    const enum status status = write_record(twin, &record);
    pthread_mutex_lock(&twin->mutex);
    if (status == STATUS_OK) {
        absorb(twin, record.bytes);
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
        twin->visible_transfers = transfer_total(twin);
        twin->visible_requests = request_total(twin);
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
    uint32_t number = table_get(twin, &twin->by_id, id_hash(id));
    while (number != NONE &&
           (number >= twin->visible_transfers || !id128_equal(&transfer_at(twin, number)->id, id)))
        number = chain_next(&twin->previous_transfer, number);
    if (number != NONE)
        *out = *transfer_at(twin, number);
    pthread_mutex_unlock(&twin->mutex);
    return number != NONE;
}

static bool past_by_sequence(void *context, uint64_t sequence, struct transfer_record *out)
{
    struct twin *twin = context;
    pthread_mutex_lock(&twin->mutex);
    const bool found = sequence < twin->visible_transfers;
    if (found)
        *out = *transfer_at(twin, sequence);
    pthread_mutex_unlock(&twin->mutex);
    return found;
}

static bool past_request(void *context, uint32_t principal_name, const uint8_t nonce[16],
                         struct request_record *out, uint8_t *answer)
{
    struct twin *twin = context;
    pthread_mutex_lock(&twin->mutex);
    uint32_t number = NONE;
    if (!twin->forgets_requests)
        number = table_get(twin, &twin->by_nonce, nonce_hash(principal_name, nonce));
    while (number != NONE && (number >= twin->visible_requests ||
                              request_at(twin, number)->principal_name != principal_name ||
                              memcmp(request_at(twin, number)->nonce, nonce, 16) != 0))
        number = chain_next(&twin->previous_request, number);
    if (number != NONE) {
        *out = *request_at(twin, number);
        uint64_t offset;
        memcpy(&offset, twin->offsets.bytes + number * sizeof offset, sizeof offset);
        if (out->answer_size > 0)
            memcpy(answer, twin->answers.bytes + offset, out->answer_size);
    }
    pthread_mutex_unlock(&twin->mutex);
    return number != NONE;
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
        .transfer_count = transfer_total(twin),
        .request_count = request_total(twin),
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
        .transfer_count = transfer_total(twin),
        .account_count = twin->accounts.size / sizeof(struct account_record),
        .request_count = request_total(twin),
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

static bool record_is_sound(uint8_t *bytes, uint64_t size, uint64_t number)
{
    struct twin_record record;
    if (size < sizeof record)
        return false;
    memcpy(&record, bytes, sizeof record);
    if (record.magic != RECORD_MAGIC || record.number != number || record.size > size ||
        record.size < sizeof record)
        return false;
    const uint64_t checksum = record.checksum;
    record.checksum = 0;
    memcpy(bytes, &record, sizeof record);
    const bool sound = XXH3_64bits(bytes, record.size) == checksum;
    record.checksum = checksum;
    memcpy(bytes, &record, sizeof record);
    return sound;
}

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
    while (record_is_sound(bytes + at, size - at, twin->epoch_count)) {
        absorb(twin, bytes + at);
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
    twin->visible_transfers = transfer_total(twin);
    twin->visible_requests = request_total(twin);
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
