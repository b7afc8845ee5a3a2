/*
 * The filters in RAM in front of the id runs: half of the given bytes for transfer ids, a quarter
 * for each half of the request filter (store_internal.h says why it has two). Where each transfer
 * is a request of its own there are as many of these as of those, for the length of the window.
 *
 * They are rebuilt from the id chunks at open, which verifies every one of them on the way.
 */
#include "core/planted_fault.h"
#include "storage/store_internal.h"

#include <stdlib.h>
#include <xxhash.h>

uint64_t store_transfer_hash(const struct store *store, const struct id128 *id)
{
    return XXH3_64bits_withSeed(id->bytes, sizeof id->bytes, store->hash_seed);
}

uint64_t store_request_hash(const struct store *store, uint32_t principal_name,
                            const uint8_t nonce[16])
{
    uint8_t key[20];
    memcpy(key, &principal_name, sizeof principal_name);
    memcpy(key + sizeof principal_name, nonce, 16);
    return XXH3_64bits_withSeed(key, sizeof key, store->hash_seed);
}

enum status store_filters_init(struct store *store)
{
    uint64_t bytes = store->options.bloom_bytes;
    if (bloom_init(&store->transfer_filter, bytes / 2) != STATUS_OK ||
        bloom_init(&store->request_filter.half[0], bytes / 4) != STATUS_OK ||
        bloom_init(&store->request_filter.half[1], bytes / 4) != STATUS_OK)
        return store_fail(&store->read, STATUS_NO_MEMORY, STORE_TABLE_COUNT, bytes,
                          "no memory for filters of so many bytes (the key here)");
    return STATUS_OK;
}

void store_filters_deinit(struct store *store)
{
    bloom_deinit(&store->transfer_filter);
    bloom_deinit(&store->request_filter.half[0]);
    bloom_deinit(&store->request_filter.half[1]);
}

static enum status add_runs(struct store *store, enum store_table table,
                            const struct id_run_list *list)
{
    struct id_entry *entries = (struct id_entry *)(void *)store->buffer;
    for (uint32_t i = 0; i < list->run_count; i++) {
        const struct id_run *run = &list->runs[i];
        for (uint32_t chunk = 0; chunk < id_run_chunks(run->entry_count); chunk++) {
            uint32_t count;
            enum status status = id_chunk_read(&store->read, table, run->number, chunk,
                                               run->entry_count, entries, &count);
            if (status != STATUS_OK)
                return status;
            for (uint32_t e = 0; e < count; e++)
                if (table == STORE_TRANSFER_IDS)
                    bloom_add(&store->transfer_filter, entries[e].hash);
                else
                    request_filter_add(&store->request_filter, entries[e].hash);
        }
    }
    return STATUS_OK;
}

enum status store_filters_rebuild(struct store *store)
{
    enum status status = add_runs(store, STORE_TRANSFER_IDS, &store->view->transfer_runs);
    if (status == STATUS_OK)
        status = add_runs(store, STORE_REQUEST_IDS, &store->view->request_runs);
    return status;
}

void request_filter_add(struct request_filter *filter, uint64_t hash)
{
    bloom_add(&filter->half[filter->filling], hash);
    filter->filling_used = true;
}

bool request_filter_may_contain(const struct request_filter *filter, uint64_t hash)
{
    return bloom_may_contain(&filter->half[0], hash) || bloom_may_contain(&filter->half[1], hash);
}

void request_filter_turn(struct request_filter *filter, uint64_t live, uint64_t next)
{
    if (!filter->filling_used || live < filter->older_until)
        return;
    filter->filling ^= 1; /* the older half: nothing in it lives */
    bloom_clear(&filter->half[planted(PLANTED_FILTER_CLEARS_NEWER) ? 1 - filter->filling
                                                                   : filter->filling]);
    filter->filling_used = false;
    filter->older_until = next;
}
