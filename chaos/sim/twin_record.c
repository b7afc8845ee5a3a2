/*
 * A record of the twin's file, and what the twin holds in RAM because of it: arrays in order of
 * sequence, and tables from a hash to the newest number with it, chained to those before.
 */
#include "chaos/sim/twin_internal.h"

#include "chaos/sim/world.h"
#include "core/invariant.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

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
        return id_hash(&twin_transfer_at(twin, number)->id);
    const struct request_record *request = twin_request_at(twin, number);
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
        if (old.slots[i] == TWIN_NONE)
            continue;
        uint64_t slot = hash_of(twin, table, old.slots[i]) & (table->capacity - 1);
        while (table->slots[slot] != TWIN_NONE)
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
    while (table->slots[slot] != TWIN_NONE && hash_of(twin, table, table->slots[slot]) != hash)
        slot = (slot + 1) & (table->capacity - 1);
    const uint32_t before = table->slots[slot];
    array_add(previous, &before, sizeof before);
    if (before == TWIN_NONE)
        table->count++;
    table->slots[slot] = number;
}

static uint32_t table_get(const struct twin *twin, const struct table *table, uint64_t hash)
{
    if (table->capacity == 0)
        return TWIN_NONE;
    uint64_t slot = hash & (table->capacity - 1);
    while (table->slots[slot] != TWIN_NONE && hash_of(twin, table, table->slots[slot]) != hash)
        slot = (slot + 1) & (table->capacity - 1);
    return table->slots[slot];
}

static uint32_t chain_next(const struct array *previous, uint32_t number)
{
    uint32_t before;
    memcpy(&before, previous->bytes + number * sizeof before, sizeof before);
    return before;
}

uint32_t twin_transfer_first(const struct twin *twin, const struct id128 *id)
{
    return table_get(twin, &twin->by_id, id_hash(id));
}

uint32_t twin_transfer_next(const struct twin *twin, uint32_t number)
{
    return chain_next(&twin->previous_transfer, number);
}

uint32_t twin_request_first(const struct twin *twin, uint32_t principal_name,
                            const uint8_t nonce[16])
{
    return table_get(twin, &twin->by_nonce, nonce_hash(principal_name, nonce));
}

uint32_t twin_request_next(const struct twin *twin, uint32_t number)
{
    return chain_next(&twin->previous_request, number);
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

void twin_build_record(const struct twin *twin, const struct epoch *epoch, struct array *out)
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
        table_put(twin, &twin->by_nonce, (uint32_t)(twin_request_total(twin) - 1),
                  &twin->previous_request);
    }
}

void twin_absorb(struct twin *twin, const uint8_t *bytes)
{
    struct twin_record record;
    memcpy(&record, bytes, sizeof record);
    struct reader reader = {bytes + sizeof record};
    invariant_values(record.transfer_first == twin_transfer_total(twin), record.transfer_first,
                     twin_transfer_total(twin));
    invariant_values(record.request_first == twin_request_total(twin), record.request_first,
                     twin_request_total(twin));
    memcpy(&twin->meta, take(&reader, sizeof twin->meta), sizeof twin->meta);
    const struct transfer_record *transfers =
        take(&reader, record.transfer_count * sizeof *transfers);
    for (uint32_t i = 0; i < record.transfer_count; i++) {
        array_add(&twin->transfers, &transfers[i], sizeof transfers[i]);
        table_put(twin, &twin->by_id, (uint32_t)(twin_transfer_total(twin) - 1),
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

bool twin_record_is_sound(uint8_t *bytes, uint64_t size, uint64_t number)
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
