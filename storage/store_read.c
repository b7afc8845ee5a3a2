/*
 * Facts that left RAM: the answers to core's questions, from the loop's read transaction.
 *
 * The transaction stands at the newest published epoch and moves when the next one is published
 * (store_view_renew), never while an epoch is written: so every answer belongs to one applied
 * index, and it pins no page that LMDB would not keep anyway for its last two snapshots.
 *
 * A look-up by hash asks the filter, then the runs from the newest to the oldest, and believes a
 * hit only after comparing the whole id in the record. An error cannot be answered: the process
 * stops.
 */
#include "storage/store_internal.h"

#include <stdlib.h>
#include <string.h>

static int newest_first(const void *a, const void *b)
{
    const struct id_run *x = a, *y = b;
    return x->locator_max < y->locator_max ? 1 : x->locator_max > y->locator_max ? -1 : 0;
}

void store_view_sort(struct store *store)
{
    qsort(store->view->transfer_runs.runs, store->view->transfer_runs.run_count,
          sizeof store->view->transfer_runs.runs[0], newest_first);
    qsort(store->view->request_runs.runs, store->view->request_runs.run_count,
          sizeof store->view->request_runs.runs[0], newest_first);
}

void store_view_renew(struct store *store)
{
    struct store_txn *t = &store->read;
    mdb_txn_reset(t->txn);
    int code = mdb_txn_renew(t->txn);
    if (code != 0)
        store_stop_process("cannot read the epoch just written", mdb_strerror(code));
    if (store_state_read(t, store->view) != STATUS_OK)
        store_stop_process("cannot read the epoch just written", t->error.text);
    store_view_sort(store);
}

/* ---- transfers ---- */

static void read_transfer(struct store *store, uint64_t sequence, struct transfer_record *out)
{
    struct store_txn *t = &store->read;
    uint64_t key = sequence / TRANSFERS_PER_CHUNK;
    size_t offset = sequence % TRANSFERS_PER_CHUNK * sizeof *out;
    const uint8_t *chunk = NULL;
    enum status status = store_get(t, STORE_TRANSFERS, key, CHUNK_SIZE, &chunk);
    if (status == STATUS_NOT_FOUND)
        status = store_fail(t, STATUS_CORRUPT, STORE_TRANSFERS, key, "chunk is missing");
    if (status == STATUS_OK && !record_chunk_check_at(chunk, STORE_TRANSFERS, key, offset))
        status = store_fail(t, STATUS_CORRUPT, STORE_TRANSFERS, key, "checksum is wrong");
    if (status != STATUS_OK)
        store_stop_process("a transfer cannot be read", t->error.text);
    memcpy(out, chunk + offset, sizeof *out);
}

struct transfer_search {
    struct store *store;
    const struct id128 *id;
    struct transfer_record *out;
    bool found;
};

static bool transfer_candidate(void *context, uint64_t locator)
{
    struct transfer_search *search = context;
    struct transfer_record record;
    if (locator >= search->store->view->head.transfer_count)
        store_stop_process("transfer_ids", "an entry names a transfer that does not exist");
    read_transfer(search->store, locator, &record);
    if (!id128_equal(&record.id, search->id))
        return true; /* same hash, other id */
    *search->out = record;
    search->found = true;
    return false;
}

static bool past_transfer_by_id(void *context, const struct id128 *id, struct transfer_record *out)
{
    struct store *store = context;
    uint64_t hash = store_transfer_hash(store, id);
    if (!bloom_may_contain(&store->transfer_filter, hash))
        return false;
    store->stats.transfer_lookups.count++;
    store_resident_read(store);
    struct transfer_search search = {.store = store, .id = id, .out = out};
    const struct id_run_list *list = &store->view->transfer_runs;
    for (uint32_t i = 0; i < list->run_count && !search.found; i++)
        if (id_run_find(&store->read, STORE_TRANSFER_IDS, &list->runs[i], hash, transfer_candidate,
                        &search) != STATUS_OK)
            store_stop_process("a transfer id cannot be looked up", store->read.error.text);
    store->stats.transfer_lookups.vain_count += !search.found;
    return search.found;
}

static bool past_transfer_by_sequence(void *context, uint64_t sequence, struct transfer_record *out)
{
    struct store *store = context;
    if (sequence >= store->view->head.transfer_count)
        return false;
    store_resident_read(store);
    read_transfer(store, sequence, out);
    return true;
}

static void past_transfer_prefetch(void *context, const struct id128 *id)
{
    const struct store *store = context;
    bloom_prefetch(&store->transfer_filter, store_transfer_hash(store, id));
}

/* ---- requests ---- */

struct request_search {
    struct store *store;
    uint32_t principal_name;
    const uint8_t *nonce;
    bool found;
    uint64_t locator; /* of the latest match so far */
};

static const uint8_t *request_chunk(struct store *store, uint64_t key)
{
    struct store_txn *t = &store->read;
    const uint8_t *chunk = NULL;
    enum status status = store_get(t, STORE_REQUESTS, key, CHUNK_SIZE, &chunk);
    if (status == STATUS_NOT_FOUND)
        status = store_fail(t, STATUS_CORRUPT, STORE_REQUESTS, key, "chunk is missing");
    if (status != STATUS_OK)
        store_stop_process("a request cannot be read", t->error.text);
    return chunk;
}

static void read_request(struct store *store, uint64_t locator, struct request_record *out,
                         uint8_t *answer)
{
    uint64_t key = locator >> 16;
    if (!request_entry_read(request_chunk(store, key), key, (uint32_t)(locator & 0xffff), out,
                            answer)) {
        (void)store_fail(&store->read, STATUS_CORRUPT, STORE_REQUESTS, key, "checksum is wrong");
        store_stop_process("a request cannot be read", store->read.error.text);
    }
}

static bool request_candidate(void *context, uint64_t locator)
{
    struct request_search *search = context;
    const struct store_head *head = &search->store->view->head;
    uint64_t key = locator >> 16;
    if (key < head->request_chunk_first)
        return true; /* forgotten and deleted */
    if (key >= head->request_chunk_next)
        store_stop_process("request_ids", "an entry names a request that does not exist");
    if (search->found && locator < search->locator)
        return true;
    struct request_record record;
    read_request(search->store, locator, &record, NULL);
    if (record.principal_name == search->principal_name &&
        memcmp(record.nonce, search->nonce, sizeof record.nonce) == 0) {
        search->found = true;
        search->locator = locator;
    }
    return true;
}

static bool past_request_by_nonce(void *context, uint32_t principal_name, const uint8_t nonce[16],
                                  struct request_record *out, uint8_t *answer)
{
    struct store *store = context;
    uint64_t hash = store_request_hash(store, principal_name, nonce);
    if (!request_filter_may_contain(&store->request_filter, hash))
        return false;
    store->stats.request_lookups.count++;
    store_resident_read(store);
    struct request_search search = {
        .store = store, .principal_name = principal_name, .nonce = nonce};
    const struct id_run_list *list = &store->view->request_runs;
    for (uint32_t i = 0; i < list->run_count; i++) {
        if (search.found && list->runs[i].locator_max < search.locator)
            break; /* all further runs are older than what was found */
        if (id_run_find(&store->read, STORE_REQUEST_IDS, &list->runs[i], hash, request_candidate,
                        &search) != STATUS_OK)
            store_stop_process("a nonce cannot be looked up", store->read.error.text);
    }
    store->stats.request_lookups.vain_count += !search.found;
    if (!search.found)
        return false;
    read_request(store, search.locator, out, answer);
    return true;
}

void store_past(struct checkpoint *checkpoint, struct ledger_past *out)
{
    *out = (struct ledger_past){
        .context = checkpoint,
        .transfer_prefetch = past_transfer_prefetch,
        .transfer_by_id = past_transfer_by_id,
        .transfer_by_sequence = past_transfer_by_sequence,
        .request_by_nonce = past_request_by_nonce,
    };
}
