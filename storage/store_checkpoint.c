/*
 * One epoch, one write transaction, on the flusher's thread from begin to commit.
 *
 * The new state is built in `next`, a copy of `committed`, and takes its place only after the
 * commit returned: a failed epoch leaves both the file and our picture of it as they were, so the
 * same epoch can come again after a full disk.
 *
 * Order inside: transfers and their ids, accounts, balances, requests and their nonces, upkeep of
 * both indexes, ledgers, principals, window, lists, head. Upkeep is bounded by the epoch's own
 * size.
 *
 * Blocks for the worst growth are allocated before the transaction begins. A full disk then says so
 * here, cleanly; inside a commit LMDB may see a short write and call it EIO, which nobody can tell
 * from a dying disk. It also keeps the journal's fdatasync beside us fast.
 */
#include "storage/store_internal.h"

#include "core/invariant.h"
#include "core/planted_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_PAGES     16ull
#define STORE_PAGE_SIZE 4096ull /* LMDB's, which CHUNK_SIZE is made for */

/* Upkeep allowed per epoch beside what its own size allows, so that small epochs make progress. */
#define UPKEEP_ENTRIES_MIN (16ull * ID_CHUNK_ENTRIES)
#define UPKEEP_CHUNKS_MIN  64u

static uint64_t chunks_of(uint64_t count, uint64_t per_chunk)
{
    return (count + per_chunk - 1) / per_chunk;
}

static uint64_t upkeep_entries(uint64_t epoch_entries)
{
    uint64_t entries = 2 * epoch_entries;
    return entries > UPKEEP_ENTRIES_MIN ? entries : UPKEEP_ENTRIES_MIN;
}

/* ---- space ---- */

uint64_t checkpoint_growth_bytes(const struct checkpoint_growth *g)
{
    uint64_t request_bytes = g->request_count * 104 + g->answer_bytes;
    uint64_t chunks = chunks_of(g->transfer_count, TRANSFERS_PER_CHUNK) +
                      chunks_of(g->new_account_count, ACCOUNTS_PER_CHUNK) +
                      chunks_of(request_bytes, REQUEST_CHUNK_DATA / 2) +
                      id_run_chunks(g->transfer_count) + id_run_chunks(g->request_count) + 8;
    chunks +=
        (g->transfer_merge_count + 1) * (id_run_chunks(upkeep_entries(g->transfer_count)) + 1);
    chunks += (g->request_merge_count + 1) * (id_run_chunks(upkeep_entries(g->request_count)) + 1);
    /* Balances: at most one page each, at most all of them, 36 to a page. */
    uint64_t balance_pages = g->account_count / 18 + 8;
    if (g->balance_count < balance_pages)
        balance_pages = g->balance_count;
    uint64_t pages =
        chunks * CHUNK_PAGES + balance_pages + g->ledger_count / 16 + g->principal_count / 8 + 128;
    return (pages + pages / 64) * STORE_PAGE_SIZE; /* branches and the free list */
}

static uint64_t growth_bytes(const struct store *store, const struct epoch *epoch)
{
    const struct store_state *s = store->committed;
    const struct checkpoint_growth growth = {
        .transfer_count = epoch->transfer_count,
        .request_count = epoch->request_count,
        .answer_bytes = epoch->answer_bytes,
        .new_account_count = epoch->account_count,
        .balance_count = epoch->balance_count,
        .account_count = s->head.account_count + epoch->account_count,
        .ledger_count = epoch->ledger_count,
        .principal_count = epoch->principal_count,
        .transfer_merge_count = s->transfer_runs.merge_count,
        .request_merge_count = s->request_runs.merge_count,
    };
    return checkpoint_growth_bytes(&growth);
}

static enum status reserve_space(struct store *store, const struct epoch *epoch)
{
    struct store_txn *t = &store->write;
    MDB_envinfo info;
    MDB_stat s;
    mdb_filehandle_t fd;
    int code = mdb_env_info(store->env, &info);
    if (code == 0)
        code = mdb_env_stat(store->env, &s);
    if (code == 0)
        code = mdb_env_get_fd(store->env, &fd);
    if (code != 0)
        return store_fail_code(t, code, STORE_TABLE_COUNT, 0, "cannot be measured");
    const uint64_t step = 1ull << 20;
    uint64_t end = (info.me_last_pgno + 1) * s.ms_psize + growth_bytes(store, epoch);
    if (end <= store->file_reserved)
        return STATUS_OK;
    end = (end + step - 1) / step * step;
    if (fallocate(fd, 0, 0, (off_t)end) == 0) {
        store->file_reserved = end;
        return STATUS_OK;
    }
    if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR)
        return STATUS_OK; /* only a convenience */
    return store_fail_code(t, errno, STORE_TABLE_COUNT, end,
                           "cannot extend data.mdb to so many bytes (the key here); free space");
}

static enum status entries_ensure(struct store *store, size_t count)
{
    if (count <= store->entry_capacity)
        return STATUS_OK;
    free(store->entries);
    free(store->entries_scratch);
    store->entry_capacity = 0;
    store->entries = malloc(count * sizeof *store->entries);
    store->entries_scratch = malloc(count * sizeof *store->entries);
    if (store->entries == NULL || store->entries_scratch == NULL)
        return store_fail(&store->write, STATUS_NO_MEMORY, STORE_TABLE_COUNT, count,
                          "no memory to sort so many ids (the key here)");
    store->entry_capacity = count;
    return STATUS_OK;
}

/* ---- records in chunks ---- */

/* Appends `count` records of `size` bytes after the first `before`; the partial last chunk is read,
 * verified and written again. */
static enum status write_records(struct store *store, enum store_table table, uint64_t before,
                                 const void *records, uint32_t count, size_t size,
                                 uint32_t per_chunk)
{
    struct store_txn *t = &store->write;
    const uint8_t *source = records;
    for (uint32_t done = 0; done < count;) {
        uint64_t key = (before + done) / per_chunk;
        uint32_t old = (uint32_t)((before + done) % per_chunk);
        uint32_t add = count - done < per_chunk - old ? count - done : per_chunk - old;
        size_t kept = old * size;
        if (old > 0) {
            const uint8_t *chunk = NULL;
            enum status status = store_get(t, table, key, CHUNK_SIZE, &chunk);
            if (status != STATUS_OK && status != STATUS_NOT_FOUND)
                return status;
            if (status == STATUS_NOT_FOUND || !record_chunk_check(chunk, table, key, old))
                return store_fail(t, STATUS_CORRUPT, table, key,
                                  "last chunk is damaged; restore from a peer or a backup");
            memcpy(store->buffer, chunk, kept); /* put() may free the page it is in */
        }
        uint8_t *chunk;
        enum status status = store_put(t, table, key, CHUNK_SIZE, old == 0, &chunk);
        if (status != STATUS_OK)
            return status;
        memcpy(chunk, store->buffer, kept);
        memcpy(chunk + kept, source + done * size, add * size);
        memset(chunk + kept + add * size, 0, RECORD_CHUNK_DATA - kept - add * size);
        record_chunk_seal(chunk, table, key, old + add);
        done += add;
    }
    return STATUS_OK;
}

static enum status write_transfers(struct store *store, const struct epoch *epoch)
{
    struct store_state *next = store->next;
    enum status status =
        write_records(store, STORE_TRANSFERS, next->head.transfer_count, epoch->transfers,
                      epoch->transfer_count, sizeof *epoch->transfers, TRANSFERS_PER_CHUNK);
    if (status != STATUS_OK)
        return status;
    for (uint32_t i = 0; i < epoch->transfer_count; i++) {
        uint64_t hash = store_transfer_hash(store, &epoch->transfers[i].id);
        store->entries[i] = (struct id_entry){.hash = hash, .locator = epoch->transfer_first + i};
    }
    id_runs_sort(store->entries, store->entries_scratch, epoch->transfer_count);
    for (uint32_t i = 0; i < epoch->transfer_count; i++) /* in hash order: kind to the cache */
        bloom_add(&store->transfer_filter, store->entries[i].hash);
    next->head.transfer_count += epoch->transfer_count;
    return id_runs_add(&store->write, STORE_TRANSFER_IDS, &next->transfer_runs, store->entries,
                       epoch->transfer_count);
}

static enum status write_accounts(struct store *store, const struct epoch *epoch)
{
    enum status status =
        write_records(store, STORE_ACCOUNTS, store->next->head.account_count, epoch->accounts,
                      epoch->account_count, sizeof *epoch->accounts, ACCOUNTS_PER_CHUNK);
    store->next->head.account_count += epoch->account_count;
    return status;
}

static enum status write_balances(struct store *store, const struct epoch *epoch)
{
    struct store_txn *t = &store->write;
    MDB_cursor *cursor;
    int code = mdb_cursor_open(t->txn, t->dbi[STORE_BALANCES], &cursor);
    if (code != 0)
        return store_fail_code(t, code, STORE_BALANCES, 0, "cannot open a cursor");
    uint64_t known = store->committed->head.account_count, key = 0;
    for (uint32_t i = 0; i < epoch->balance_count && code == 0; i++) {
        const struct balance_record *balance = &epoch->balances[i];
        if (i > 0)
            invariant_values(epoch->balance_ordinals[i] > key, epoch->balance_ordinals[i], key);
        key = epoch->balance_ordinals[i];
        uint64_t sum = store_checksum(STORE_BALANCES, key, 0, balance, sizeof *balance);
        MDB_val k = {sizeof key, &key}, v = {sizeof *balance + sizeof sum, NULL};
        code =
            mdb_cursor_put(cursor, &k, &v, MDB_RESERVE | (key >= known ? (unsigned)MDB_APPEND : 0));
        if (code == 0) {
            memcpy(v.mv_data, balance, sizeof *balance);
            memcpy((uint8_t *)v.mv_data + sizeof *balance, &sum, sizeof sum);
        }
    }
    mdb_cursor_close(cursor);
    if (code != 0)
        return store_fail_code(t, code, STORE_BALANCES, key, "cannot write");
    return STATUS_OK;
}

/* ---- requests ---- */

struct request_writer {
    uint8_t *chunk; /* being filled: the store's buffer */
    uint64_t key;
    bool is_new;
    struct request_chunk_trailer trailer;
};

static enum status request_chunk_put(struct store *store, struct request_writer *w)
{
    uint8_t *chunk;
    enum status status =
        store_put(&store->write, STORE_REQUESTS, w->key, CHUNK_SIZE, w->is_new, &chunk);
    if (status != STATUS_OK)
        return status;
    memcpy(chunk, w->chunk, w->trailer.used);
    request_chunk_seal(chunk, w->key, &w->trailer);
    return STATUS_OK;
}

/* Goes on in the last chunk, or begins the first. */
static enum status request_writer_begin(struct store *store, struct request_writer *w)
{
    struct store_txn *t = &store->write;
    struct store_head *head = &store->next->head;
    memset(w, 0, sizeof *w);
    w->chunk = store->buffer;
    if (head->request_chunk_next == head->request_chunk_first) {
        w->key = head->request_chunk_next++;
        w->is_new = true;
        w->trailer.request_first = head->request_count;
        return STATUS_OK;
    }
    w->key = head->request_chunk_next - 1;
    const uint8_t *chunk = NULL;
    enum status status = store_get(t, STORE_REQUESTS, w->key, CHUNK_SIZE, &chunk);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    if (status == STATUS_NOT_FOUND || !request_chunk_check(chunk, w->key) ||
        !request_chunk_trailer(chunk, w->key, &w->trailer))
        return store_fail(t, STATUS_CORRUPT, STORE_REQUESTS, w->key,
                          "last chunk is damaged; restore from a peer or a backup");
    memcpy(w->chunk, chunk, w->trailer.used);
    return STATUS_OK;
}

static enum status write_requests(struct store *store, const struct epoch *epoch)
{
    struct store_head *head = &store->next->head;
    if (epoch->request_count == 0)
        return STATUS_OK;
    struct request_writer w;
    enum status status = request_writer_begin(store, &w);
    if (status != STATUS_OK)
        return status;
    for (uint32_t i = 0; i < epoch->request_count; i++) {
        const struct request_record *record = &epoch->requests[i];
        invariant_values(record->answer_size <= REQUEST_ANSWER_SIZE_MAX, record->answer_size, i);
        uint32_t size = request_entry_size(record);
        if (w.trailer.used + size > REQUEST_CHUNK_DATA) {
            status = request_chunk_put(store, &w);
            if (status != STATUS_OK)
                return status;
            w.key = head->request_chunk_next++;
            w.is_new = true;
            w.trailer = (struct request_chunk_trailer){.request_first = head->request_count + i};
        }
        request_entry_write(w.chunk, w.key, w.trailer.used, record,
                            epoch->answers + epoch->answer_offsets[i]);
        store->entries[i] = (struct id_entry){
            .hash = store_request_hash(store, record->principal_name, record->nonce),
            .locator = REQUEST_LOCATOR(w.key, w.trailer.used)};
        w.trailer.used += size;
        w.trailer.count++;
        if (record->issued_at_ns > w.trailer.issued_at_max)
            w.trailer.issued_at_max = record->issued_at_ns;
    }
    status = request_chunk_put(store, &w);
    if (status != STATUS_OK)
        return status;
    id_runs_sort(store->entries, store->entries_scratch, epoch->request_count);
    for (uint32_t i = 0; i < epoch->request_count; i++)
        request_filter_add(&store->request_filter, store->entries[i].hash);
    head->request_count += epoch->request_count;
    return id_runs_add(&store->write, STORE_REQUEST_IDS, &store->next->request_runs, store->entries,
                       epoch->request_count);
}

/* Deletes the oldest chunks as long as all in them is forgotten; never the last one. Chunks go in
 * order, so a nonce's older request never outlives its newer one. */
static enum status prune_requests(struct store *store, uint64_t stamp, uint64_t chunks)
{
    struct store_txn *t = &store->write;
    struct store_head *head = &store->next->head;
    for (; chunks > 0 && head->request_chunk_first + 1 < head->request_chunk_next; chunks--) {
        uint64_t key = head->request_chunk_first;
        const uint8_t *chunk = NULL;
        struct request_chunk_trailer trailer;
        enum status status = store_get(t, STORE_REQUESTS, key, CHUNK_SIZE, &chunk);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND)
            return status;
        if (status == STATUS_NOT_FOUND || !request_chunk_trailer(chunk, key, &trailer))
            return store_fail(t, STATUS_CORRUPT, STORE_REQUESTS, key,
                              "oldest chunk is damaged; restore from a peer or a backup");
        if (stamp < REQUEST_WINDOW_NS || trailer.issued_at_max >= stamp - REQUEST_WINDOW_NS)
            break;
        status = store_delete(t, STORE_REQUESTS, key);
        if (status != STATUS_OK)
            return status;
        head->request_chunk_first++;
    }
    return STATUS_OK;
}

/* ---- small tables and upkeep ---- */

static enum status write_small_rows(struct store *store, enum store_table table, const void *rows,
                                    uint32_t count, size_t size)
{
    struct store_txn *t = &store->write;
    const uint8_t *row = rows;
    for (uint32_t i = 0; i < count; i++, row += size) {
        const uint8_t *old;
        if (planted(PLANTED_ROLES_NOT_REWRITTEN) && table == STORE_PRINCIPALS &&
            i < store->committed->head.principal_count)
            continue;
        enum status status = store_get(t, table, i, size + sizeof(uint64_t), &old);
        if (status == STATUS_OK && memcmp(old, row, size) == 0)
            continue; /* most rows of most epochs */
        if (status == STATUS_OK || status == STATUS_NOT_FOUND)
            status = store_put_small(t, table, i, row, size);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status upkeep(struct store *store, enum store_table table, struct id_run_list *list,
                          uint32_t epoch_entries, uint64_t locator_first)
{
    const struct id_runs_upkeep upkeep = {
        .merge_entries = upkeep_entries(epoch_entries),
        .removal_chunks = UPKEEP_CHUNKS_MIN + 8 * id_run_chunks(epoch_entries),
        .locator_first = locator_first,
        .buffer = (struct id_entry *)(void *)store->buffer,
    };
    store_resident_trim(store, STORE_RESIDENT_BYTES); /* it walks through much of the store */
    return id_runs_maintain(&store->write, table, list, &upkeep);
}

static enum status write_meta(struct store *store, const struct epoch *epoch,
                              const struct checkpoint_meta *meta)
{
    struct store_txn *t = &store->write;
    struct store_state *next = store->next;
    struct store_head *head = &next->head;
    head->epoch_count++;
    head->applied_index = epoch->applied_index;
    head->applied_term = epoch->applied_term;
    head->stamp = epoch->stamp;
    memcpy(head->digest, epoch->digest, sizeof head->digest);
    head->ledger_count = epoch->ledger_count;
    head->principal_count = epoch->principal_count;
    memcpy(head->head, meta->head, sizeof head->head);
    head->configuration_size = meta->configuration_size;
    memset(head->configuration, 0, sizeof head->configuration);
    memcpy(head->configuration, meta->configuration, meta->configuration_size);
    enum status status = store_put_small(t, STORE_META, STORE_META_REQUEST_WINDOW,
                                         epoch->request_window, sizeof *epoch->request_window);
    if (status == STATUS_OK)
        status = store_put_small(t, STORE_META, STORE_META_TRANSFER_RUNS, &next->transfer_runs,
                                 sizeof next->transfer_runs);
    if (status == STATUS_OK)
        status = store_put_small(t, STORE_META, STORE_META_REQUEST_RUNS, &next->request_runs,
                                 sizeof next->request_runs);
    if (status == STATUS_OK)
        status = store_put_small(t, STORE_META, STORE_META_HEAD, head, sizeof *head);
    return status;
}

static enum status write_tables(struct store *store, const struct epoch *epoch,
                                const struct checkpoint_meta *meta)
{
    struct store_state *next = store->next;
    enum status status = write_transfers(store, epoch);
    if (status == STATUS_OK)
        status = write_accounts(store, epoch);
    if (status == STATUS_OK)
        status = write_balances(store, epoch);
    if (status == STATUS_OK)
        status = write_requests(store, epoch);
    if (status == STATUS_OK)
        status =
            prune_requests(store, epoch->stamp,
                           UPKEEP_CHUNKS_MIN + 8 * (next->head.request_chunk_next -
                                                    store->committed->head.request_chunk_next));
    if (status == STATUS_OK)
        status = upkeep(store, STORE_TRANSFER_IDS, &next->transfer_runs, epoch->transfer_count, 0);
    if (status == STATUS_OK)
        status = upkeep(store, STORE_REQUEST_IDS, &next->request_runs, epoch->request_count,
                        REQUEST_LOCATOR(next->head.request_chunk_first, 0));
    if (status == STATUS_OK)
        status = write_small_rows(store, STORE_LEDGERS, epoch->ledgers, epoch->ledger_count,
                                  sizeof *epoch->ledgers);
    if (status == STATUS_OK)
        status = write_small_rows(store, STORE_PRINCIPALS, epoch->principals,
                                  epoch->principal_count, sizeof *epoch->principals);
    if (status == STATUS_OK)
        status = write_meta(store, epoch, meta);
    if (status == STATUS_OK)
        status = store_state_check(&store->write, next);
    return status;
}

/* After a failed commit: LMDB refuses to go on when the meta page itself may be half written. */
static enum status status_after_failure(struct store *store, enum status status)
{
    if (status != STATUS_DISK_FULL)
        return status;
    MDB_txn *txn;
    int code = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (code != 0)
        return store_fail_code(&store->write, code, STORE_TABLE_COUNT, 0,
                               "cannot write any more after a full disk; restart the node");
    mdb_txn_abort(txn);
    return status;
}

/* Nobody begins a copy meanwhile (store_copy.c). */
static int commit(struct store *store)
{
    int locked = pthread_mutex_lock(&store->commit_mutex);
    invariant_values(locked == 0, locked, 0);
    int code = mdb_txn_commit(store->write.txn);
    store->write.txn = NULL;
    int unlocked = pthread_mutex_unlock(&store->commit_mutex);
    invariant_values(unlocked == 0, unlocked, 0);
    return code;
}

enum status store_write_epoch(struct store *store, const struct epoch *epoch,
                              const struct checkpoint_meta *meta)
{
    struct store_txn *t = &store->write;
    const struct store_head *before = &store->committed->head;
    invariant_values(epoch->transfer_first == before->transfer_count, epoch->transfer_first,
                     before->transfer_count);
    invariant_values(epoch->account_first == before->account_count, epoch->account_first,
                     before->account_count);
    invariant_values(epoch->request_first == before->request_count, epoch->request_first,
                     before->request_count);
    invariant_values(epoch->ledger_count >= before->ledger_count, epoch->ledger_count,
                     before->ledger_count);
    invariant_values(epoch->principal_count >= before->principal_count, epoch->principal_count,
                     before->principal_count);

    t->error.text[0] = '\0';
    uint32_t ids =
        epoch->transfer_count > epoch->request_count ? epoch->transfer_count : epoch->request_count;
    enum status status = entries_ensure(store, ids);
    if (status == STATUS_OK)
        status = reserve_space(store, epoch);
    if (status != STATUS_OK)
        return status;
    /* A `store verify` that was killed would pin old pages and make the file grow. */
    int dead = 0, code = mdb_reader_check(store->env, &dead);
    if (code == 0)
        code = mdb_txn_begin(store->env, NULL, 0, &t->txn);
    if (code != 0)
        return store_fail_code(t, code, STORE_TABLE_COUNT, epoch->applied_index,
                               "cannot begin the epoch at this index (the key here)");
    *store->next = *store->committed;
    status = write_tables(store, epoch, meta);
    if (status != STATUS_OK) {
        mdb_txn_abort(t->txn);
        t->txn = NULL;
        return status_after_failure(store, status);
    }
    code = commit(store);
    if (code != 0)
        return status_after_failure(
            store, store_fail_code(t, code, STORE_TABLE_COUNT, epoch->applied_index,
                                   "cannot commit the epoch at this index (the key here)"));
    store_resident_trim(store, STORE_RESIDENT_BYTES);
    struct store_state *swap = store->committed;
    store->committed = store->next;
    store->next = swap;
    request_filter_turn(&store->request_filter,
                        REQUEST_LOCATOR(store->committed->head.request_chunk_first, 0),
                        REQUEST_LOCATOR(store->committed->head.request_chunk_next, 0));
    return STATUS_OK;
}
