/*
 * The store's values on hostile bytes: chunks of requests, records and ids, lists of runs, and the
 * meta rows ("manifest") that a start trusts before anything else. LMDB's own pages are not fuzzed:
 * no checksum of ours is below them, and a store on damaged pages is opened in a process of its own
 * (storage/store_verify.c).
 *
 * The first byte: what, modulo 5; bit 7: checksums are made right after the patches, so that what
 * lies behind them is reached. Then patches, offset u16 and value u8, on a sound value.
 *
 *   - a changed byte is refused, unless the checksums were made right;
 *   - what is accepted can be read to its end, entry by entry, inside of the chunk;
 *   - a list of runs that is accepted names runs that exist, and merges no more than there is;
 *   - a store whose meta rows were changed opens, or says which table and why not.
 */
#include "fuzz.h"
#include "storage/id_runs.h"
#include "storage/store_internal.h"
#include "tests/storage/epoch_maker.h"

#include <unistd.h>

#define KEY 5u

static uint8_t chunk[CHUNK_SIZE], sound[CHUNK_SIZE];

/* Returns whether a byte is another than before. */
static bool patch(uint8_t *bytes, size_t bytes_size, const uint8_t *at, size_t size)
{
    uint8_t *before = fuzz_copy(bytes, bytes_size);
    for (; size >= 3; at += 3, size -= 3)
        bytes[((size_t)at[0] | (size_t)at[1] << 8) % bytes_size] = at[2];
    const bool changed = memcmp(before, bytes, bytes_size) != 0;
    free(before);
    return changed;
}

/* ---- chunks of requests ---- */

static void make_requests(void)
{
    static const uint8_t answer[40] = "an answer as it was given";
    struct request_chunk_trailer trailer = {.request_first = 100};
    for (uint32_t i = 0; i < 3; i++) {
        struct request_record record;
        memset(&record, 0, sizeof record);
        record.issued_at_ns = 1000 + i;
        record.answer_size = (uint16_t)(i * 13);
        request_entry_write(chunk, KEY, trailer.used, &record, answer);
        trailer.used += request_entry_size(&record);
        trailer.count++;
        trailer.issued_at_max = record.issued_at_ns;
    }
    request_chunk_seal(chunk, KEY, &trailer);
}

static void put_u64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof value);
}

static void repair_requests(void)
{
    struct request_chunk_trailer trailer;
    uint32_t offset = 0;
    memcpy(&trailer, chunk + REQUEST_CHUNK_DATA, sizeof trailer);
    while (offset + 8 + sizeof(struct request_record) <= REQUEST_CHUNK_DATA &&
           offset < trailer.used) {
        struct request_record record;
        memcpy(&record, chunk + offset + 8, sizeof record);
        const uint32_t size = request_entry_size(&record);
        if (record.answer_size > REQUEST_ANSWER_SIZE_MAX || offset + size > REQUEST_CHUNK_DATA)
            break;
        put_u64(chunk + offset,
                store_checksum(STORE_REQUESTS, KEY, offset + 1u, chunk + offset + 8, size - 8));
        offset += size;
    }
    put_u64(chunk + REQUEST_CHUNK_CHECK_AT,
            store_checksum(STORE_REQUESTS, KEY, 0, chunk + REQUEST_CHUNK_DATA,
                           REQUEST_CHUNK_CHECK_AT - REQUEST_CHUNK_DATA));
}

static bool check_requests(const uint8_t *bytes)
{
    static uint8_t answer[REQUEST_ANSWER_SIZE_MAX];
    struct request_record record;
    struct request_chunk_trailer trailer;
    /* Anywhere: a locator that is wrong names the middle of something. */
    for (uint32_t offset = 0; offset < 512; offset += 4)
        (void)request_entry_read(bytes, KEY, offset, &record, answer);
    for (uint32_t offset = REQUEST_CHUNK_DATA - 128; offset < CHUNK_SIZE; offset += 8)
        need(!request_entry_read(bytes, KEY, offset, &record, answer) ||
                 offset + request_entry_size(&record) <= REQUEST_CHUNK_DATA,
             "an entry lies inside of the data");
    if (!request_chunk_check(bytes, KEY))
        return false;
    need(request_chunk_trailer(bytes, KEY, &trailer), "a good chunk has a good trailer");
    uint32_t offset = 0, count = 0;
    for (; offset < trailer.used; count++) {
        need(request_entry_read(bytes, KEY, offset, &record, answer), "every entry is read");
        need(record.issued_at_ns <= trailer.issued_at_max, "none is later than the latest");
        offset += request_entry_size(&record);
    }
    need(offset == trailer.used && count == trailer.count, "as many as the trailer says");
    need(!request_chunk_check(bytes, KEY + 1), "under another key it is as good as damaged");
    return true;
}

/* ---- chunks of records and ids ---- */

#define RECORDS 7u

static void repair_records(void)
{
    uint32_t count;
    memcpy(&count, chunk + RECORD_CHUNK_COUNT_AT, sizeof count);
    record_chunk_seal(chunk, STORE_TRANSFERS, KEY, count);
}

static bool check_records(const uint8_t *bytes)
{
    const bool good = record_chunk_check(bytes, STORE_TRANSFERS, KEY, RECORDS);
    bool blocks = true;
    for (size_t b = 0; b < RECORD_CHUNK_BLOCKS; b++)
        blocks &= record_chunk_check_at(bytes, STORE_TRANSFERS, KEY, b * RECORD_CHUNK_BLOCK);
    need(!good || blocks, "a good chunk has good blocks");
    need(!good || !record_chunk_check(bytes, STORE_ACCOUNTS, KEY, RECORDS),
         "in another table it is as good as damaged");
    return good;
}

#define IDS 300u /* a block and a part of the next */

static void make_ids(void)
{
    for (uint32_t i = 0; i < IDS; i++) {
        put_u64(chunk + i * 16, (uint64_t)i << 50);
        put_u64(chunk + i * 16 + 8, i);
    }
}

static void repair_ids(void)
{
    for (uint32_t b = 0; b < ID_CHUNK_BLOCKS; b++) {
        const size_t from = (size_t)b * ID_BLOCK_ENTRIES * 16;
        size_t to = from + (size_t)ID_BLOCK_ENTRIES * 16;
        if (to > ID_CHUNK_SUMS_AT)
            to = ID_CHUNK_SUMS_AT;
        put_u64(chunk + ID_CHUNK_SUMS_AT + b * 8,
                store_checksum(STORE_TRANSFER_IDS, KEY, b, chunk + from, to - from));
    }
    put_u64(chunk + 65512, store_checksum(STORE_TRANSFER_IDS, KEY, ID_CHUNK_BLOCKS,
                                          chunk + ID_CHUNK_SUMS_AT, 65512 - ID_CHUNK_SUMS_AT));
}

static bool check_ids(const uint8_t *bytes)
{
    if (!id_chunk_check(bytes, STORE_TRANSFER_IDS, KEY, IDS))
        return false;
    for (uint32_t i = 1; i < IDS; i++) {
        uint64_t hashes[2];
        memcpy(&hashes[0], bytes + (i - 1) * 16, 8);
        memcpy(&hashes[1], bytes + i * 16, 8);
        need(hashes[0] <= hashes[1], "what can be searched is sorted");
    }
    return true;
}

/* ---- lists of runs ---- */

static struct id_run_list sound_list(void)
{
    struct id_run_list list;
    memset(&list, 0, sizeof list);
    list.run_count = ID_RUN_FAN_OUT + 1;
    list.run_next = list.run_count + 1;
    for (uint32_t i = 0; i < list.run_count; i++)
        list.runs[i] = (struct id_run){.number = i, .entry_count = 100 + i, .locator_max = 9};
    list.merge_count = 1;
    list.merges[0].output = list.run_count;
    for (uint32_t i = 0; i < ID_RUN_FAN_OUT; i++) {
        list.merges[0].input[i].run = i;
        list.merges[0].input[i].consumed = i;
    }
    list.removal_count = 1;
    list.removals[0] = (struct id_removal){.run = 1, .chunk_next = 1, .chunk_end = 2};
    return list;
}

static void check_list(const uint8_t *patches, size_t size)
{
    struct id_run_list list = sound_list();
    need(id_run_list_check(&list), "a sound list");
    (void)patch((uint8_t *)&list, sizeof list, patches, size);
    if (!id_run_list_check(&list))
        return;
    need(list.run_count <= ID_RUNS_MAX && list.merge_count <= ID_MERGES_MAX &&
             list.removal_count <= ID_REMOVALS_MAX,
         "counts within the arrays");
    for (uint32_t m = 0; m < list.merge_count; m++)
        for (uint32_t i = 0; i < ID_RUN_FAN_OUT; i++) {
            bool exists = false;
            for (uint32_t r = 0; r < list.run_count; r++)
                exists |= list.runs[r].number == list.merges[m].input[i].run &&
                          list.merges[m].input[i].consumed <= list.runs[r].entry_count;
            need(exists, "a merge reads what is there");
        }
    (void)id_run_list_entries(&list);
}

/* ---- the manifest ---- */

static char path[64];
static uint8_t row[STORE_META_REQUEST_WINDOW + 1][64 * 1024];
static size_t row_size[STORE_META_REQUEST_WINDOW + 1];

static void wake(void *context)
{
    (void)context;
}

static void remove_store(void)
{
    char name[96];
    snprintf(name, sizeof name, "%s/data.mdb", path);
    (void)unlink(name);
    snprintf(name, sizeof name, "%s/lock.mdb", path);
    (void)unlink(name);
    (void)rmdir(path);
}

static enum status open_store(struct checkpoint **out, struct store_error *error)
{
    const struct store_options options = {.path = path,
                                          .map_size_bytes = 64 << 20,
                                          .bloom_bytes = 1 << 20,
                                          .wake_flusher = wake,
                                          .wake_loop = wake};
    error->text[0] = '\0';
    return store_open(&options, out, error);
}

static void close_store(struct checkpoint *store)
{
    uint64_t wait;
    checkpoint_stop(store);
    while (checkpoint_step(store, &wait) != JOB_DONE)
        continue;
    checkpoint_process(store);
    checkpoint_close(store);
}

static void flushed(void *context, enum status status, uint64_t durable_index)
{
    (void)context;
    (void)durable_index;
    need(status == STATUS_OK, "an epoch is written");
}

/* Reads or writes a meta row through LMDB, as it lies there: the value and its checksum. */
static void meta_row(uint64_t key, bool writes, uint8_t *bytes, size_t *size)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val k = {sizeof key, &key}, v;
    need(mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, STORE_TABLE_COUNT) == 0 &&
             mdb_env_set_mapsize(env, 64 << 20) == 0 &&
             mdb_env_open(env, path, MDB_NOSYNC, 0600) == 0 &&
             mdb_txn_begin(env, NULL, writes ? 0 : MDB_RDONLY, &txn) == 0 &&
             mdb_dbi_open(txn, store_table_name(STORE_META), MDB_INTEGERKEY, &dbi) == 0,
         "the environment opens");
    if (writes) {
        v = (MDB_val){*size, bytes};
        need(mdb_put(txn, dbi, &k, &v, 0) == 0 && mdb_txn_commit(txn) == 0, "a row is written");
    } else {
        *size = mdb_get(txn, dbi, &k, &v) == 0 ? v.mv_size : 0;
        if (*size > 0)
            memcpy(bytes, v.mv_data, *size);
        mdb_txn_abort(txn);
    }
    mdb_env_close(env);
}

static void make_store(void)
{
    struct checkpoint *store;
    struct store_error error;
    struct checkpoint_meta meta;
    uint64_t wait;
    snprintf(path, sizeof path, "/dev/shm/tally-fuzz-store-XXXXXX");
    need(mkdtemp(path) != NULL, "a directory in memory");
    need(atexit(remove_store) == 0, "removed at the end");
    need(open_store(&store, &error) == STATUS_OK, error.text);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 21, .base_accounts = 20});
    const struct epoch *epoch =
        epoch_maker_next(maker, &(struct epoch_plan){.transfers = 30, .requests = 9}, &meta);
    need(checkpoint_submit(store, epoch, &meta, flushed, NULL) == STATUS_OK, "submitted");
    (void)checkpoint_step(store, &wait);
    checkpoint_process(store);
    close_store(store);
    epoch_maker_destroy(maker);
    for (uint64_t key = STORE_META_HEAD; key <= STORE_META_REQUEST_WINDOW; key++) {
        meta_row(key, false, row[key], &row_size[key]);
        need(row_size[key] > 8, "four meta rows");
    }
}

static void check_manifest(const uint8_t *patches, size_t size, bool repairs)
{
    static uint8_t bytes[sizeof row[0]];
    struct checkpoint *store;
    struct store_error error;
    struct checkpoint_meta meta;
    if (size < 1)
        return;
    if (path[0] == '\0')
        make_store();
    const uint64_t key = 1 + patches[0] % 4u;
    memcpy(bytes, row[key], row_size[key]);
    bool changed = patch(bytes, row_size[key], patches + 1, size - 1);
    if (repairs)
        put_u64(bytes + row_size[key] - 8,
                store_checksum(STORE_META, key, 0, bytes, row_size[key] - 8));
    changed &= memcmp(bytes, row[key], row_size[key]) != 0;
    size_t bytes_size = row_size[key];
    meta_row(key, true, bytes, &bytes_size);
    const enum status status = open_store(&store, &error);
    if (status == STATUS_OK) {
        need(!changed || repairs || key == STORE_META_REQUEST_WINDOW,
             "a damaged manifest is refused");
        if (checkpoint_meta(store, &meta) == STATUS_OK)
            need(meta.configuration_size <= sizeof meta.configuration, "a size that fits");
        close_store(store);
    } else {
        need(changed, "a sound store was refused");
        need(error.text[0] != '\0', "a store is refused in words");
    }
    bytes_size = row_size[key];
    meta_row(key, true, row[key], &bytes_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1024)
        return 0;
    const bool repairs = (data[0] & 0x80) != 0;
    const unsigned what = (data[0] & 0x7f) % 5;
    if (what >= 3) {
        if (what == 3)
            check_list(data + 1, size - 1);
        else
            check_manifest(data + 1, size - 1, repairs);
        return 0;
    }
    static void (*const repair[])(void) = {repair_requests, repair_records, repair_ids};
    static bool (*const check[])(const uint8_t *) = {check_requests, check_records, check_ids};
    memset(chunk, 0, sizeof chunk);
    if (what == 0) {
        make_requests();
    } else if (what == 1) {
        memset(chunk, 0x31, RECORDS * sizeof(struct transfer_record));
        record_chunk_seal(chunk, STORE_TRANSFERS, KEY, RECORDS);
    } else {
        const uint32_t count = IDS;
        make_ids();
        memcpy(chunk + 65504, &count, sizeof count);
        repair_ids();
    }
    memcpy(sound, chunk, sizeof chunk);
    need(check[what](chunk), "a sound chunk is accepted");
    (void)patch(chunk, sizeof chunk, data + 1, size - 1);
    if (repairs)
        repair[what]();
    uint8_t *exact = fuzz_copy(chunk, sizeof chunk);
    const bool accepted = check[what](exact);
    need(!accepted || repairs || memcmp(sound, chunk, sizeof chunk) == 0, "damage was not refused");
    free(exact);
    return 0;
}
