/*
 * Codec of the store's values, and the only place that turns LMDB's codes into a status.
 *
 * Invariants: a value handed out was checked against its checksum, or the caller does so at once
 * with the functions here; checksums are seeded with table and key, so pages that LMDB mixes up are
 * found like flipped bits; nothing is read through a pointer into LMDB's map except by memcpy,
 * since values on leaf pages are aligned to 2 bytes only.
 *
 * Left to others: which values exist when (store_checkpoint.c) and what is asked (store_read.c).
 */
#include "storage/store_schema.h"

#include "core/invariant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

const char *store_table_name(enum store_table table)
{
    static const char *const name[STORE_TABLE_COUNT] = {
        "meta",     "transfers",   "transfer_ids", "accounts",   "balances",
        "requests", "request_ids", "ledgers",      "principals",
    };
    return table < STORE_TABLE_COUNT ? name[table] : "environment";
}

uint64_t store_checksum(enum store_table table, uint64_t key, uint64_t part, const void *bytes,
                        size_t size)
{
    uint64_t seed = (key * 64 + (uint64_t)table) * 0x9e3779b97f4a7c15ull + part;
    return XXH3_64bits_withSeed(bytes, size, seed);
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Parts of a record chunk's key space of seeds: blocks 0..7, then the trailer. */
static uint64_t record_block_checksum(const uint8_t *chunk, enum store_table table, uint64_t key,
                                      uint32_t block)
{
    size_t from = block * RECORD_CHUNK_BLOCK, to = from + RECORD_CHUNK_BLOCK;
    if (to > RECORD_CHUNK_DATA)
        to = RECORD_CHUNK_DATA;
    return store_checksum(table, key, block, chunk + from, to - from);
}

static uint64_t record_trailer_checksum(const uint8_t *chunk, enum store_table table, uint64_t key)
{
    return store_checksum(table, key, RECORD_CHUNK_BLOCKS, chunk + RECORD_CHUNK_DATA,
                          RECORD_CHUNK_TRAILER_AT - RECORD_CHUNK_DATA);
}

void record_chunk_seal(uint8_t *chunk, enum store_table table, uint64_t key, uint32_t count)
{
    memset(chunk + RECORD_CHUNK_DATA, 0, CHUNK_SIZE - RECORD_CHUNK_DATA);
    for (uint32_t b = 0; b < RECORD_CHUNK_BLOCKS; b++) {
        uint64_t sum = record_block_checksum(chunk, table, key, b);
        memcpy(chunk + RECORD_CHUNK_DATA + b * sizeof sum, &sum, sizeof sum);
    }
    memcpy(chunk + RECORD_CHUNK_COUNT_AT, &count, sizeof count);
    uint64_t sum = record_trailer_checksum(chunk, table, key);
    memcpy(chunk + RECORD_CHUNK_TRAILER_AT, &sum, sizeof sum);
}

bool record_chunk_check_at(const uint8_t *chunk, enum store_table table, uint64_t key,
                           size_t offset)
{
    uint32_t block = (uint32_t)(offset / RECORD_CHUNK_BLOCK);
    uint64_t sum;
    memcpy(&sum, chunk + RECORD_CHUNK_DATA + block * sizeof sum, sizeof sum);
    return sum == record_block_checksum(chunk, table, key, block);
}

bool record_chunk_check(const uint8_t *chunk, enum store_table table, uint64_t key, uint32_t count)
{
    uint64_t sum;
    uint32_t stored;
    memcpy(&sum, chunk + RECORD_CHUNK_TRAILER_AT, sizeof sum);
    memcpy(&stored, chunk + RECORD_CHUNK_COUNT_AT, sizeof stored);
    if (sum != record_trailer_checksum(chunk, table, key) || stored != count)
        return false;
    for (uint32_t b = 0; b < RECORD_CHUNK_BLOCKS; b++)
        if (!record_chunk_check_at(chunk, table, key, (size_t)b * RECORD_CHUNK_BLOCK))
            return false;
    return true;
}

/* ---- request chunks ---- */

#define ENTRY_RECORD_AT 8u
#define ENTRY_ANSWER_AT (8u + (uint32_t)sizeof(struct request_record))

uint32_t request_entry_size(const struct request_record *record)
{
    return (ENTRY_ANSWER_AT + record->answer_size + 7u) & ~7u;
}

/* The seed's part is the offset: an entry copied elsewhere in its chunk is damaged. */
static uint64_t request_entry_checksum(const uint8_t *chunk, uint64_t key, uint32_t offset,
                                       uint32_t size)
{
    return store_checksum(STORE_REQUESTS, key, offset + 1u, chunk + offset + ENTRY_RECORD_AT,
                          size - ENTRY_RECORD_AT);
}

void request_entry_write(uint8_t *chunk, uint64_t key, uint32_t offset,
                         const struct request_record *record, const uint8_t *answer)
{
    uint32_t size = request_entry_size(record);
    invariant_values(offset % 8 == 0 && offset + size <= REQUEST_CHUNK_DATA, offset, size);
    memset(chunk + offset, 0, size);
    memcpy(chunk + offset + ENTRY_RECORD_AT, record, sizeof *record);
    if (record->answer_size > 0)
        memcpy(chunk + offset + ENTRY_ANSWER_AT, answer, record->answer_size);
    uint64_t sum = request_entry_checksum(chunk, key, offset, size);
    memcpy(chunk + offset, &sum, sizeof sum);
}

bool request_entry_read(const uint8_t *chunk, uint64_t key, uint32_t offset,
                        struct request_record *out, uint8_t *answer)
{
    if (offset % 8 != 0 || offset + ENTRY_ANSWER_AT > REQUEST_CHUNK_DATA)
        return false;
    struct request_record record;
    memcpy(&record, chunk + offset + ENTRY_RECORD_AT, sizeof record);
    uint32_t size = request_entry_size(&record);
    if (record.answer_size > REQUEST_ANSWER_SIZE_MAX || offset + size > REQUEST_CHUNK_DATA)
        return false;
    uint64_t sum;
    memcpy(&sum, chunk + offset, sizeof sum);
    if (sum != request_entry_checksum(chunk, key, offset, size))
        return false;
    *out = record;
    if (answer != NULL && record.answer_size > 0)
        memcpy(answer, chunk + offset + ENTRY_ANSWER_AT, record.answer_size);
    return true;
}

static uint64_t request_trailer_checksum(const uint8_t *chunk, uint64_t key)
{
    return store_checksum(STORE_REQUESTS, key, 0, chunk + REQUEST_CHUNK_DATA,
                          REQUEST_CHUNK_CHECK_AT - REQUEST_CHUNK_DATA);
}

void request_chunk_seal(uint8_t *chunk, uint64_t key, const struct request_chunk_trailer *trailer)
{
    memset(chunk + trailer->used, 0, REQUEST_CHUNK_DATA - trailer->used);
    memcpy(chunk + REQUEST_CHUNK_DATA, trailer, sizeof *trailer);
    uint64_t sum = request_trailer_checksum(chunk, key);
    memcpy(chunk + REQUEST_CHUNK_CHECK_AT, &sum, sizeof sum);
}

bool request_chunk_trailer(const uint8_t *chunk, uint64_t key, struct request_chunk_trailer *out)
{
    struct request_chunk_trailer trailer;
    memcpy(&trailer, chunk + REQUEST_CHUNK_DATA, sizeof trailer);
    if (trailer.checksum != request_trailer_checksum(chunk, key) ||
        trailer.used > REQUEST_CHUNK_DATA)
        return false;
    *out = trailer;
    return true;
}

bool request_chunk_check(const uint8_t *chunk, uint64_t key)
{
    struct request_chunk_trailer trailer;
    if (!request_chunk_trailer(chunk, key, &trailer))
        return false;
    uint32_t offset = 0, count = 0;
    uint64_t issued_at_max = 0;
    while (offset < trailer.used) {
        struct request_record record;
        if (!request_entry_read(chunk, key, offset, &record, NULL))
            return false;
        if (record.issued_at_ns > issued_at_max)
            issued_at_max = record.issued_at_ns;
        offset += request_entry_size(&record);
        count++;
    }
    return offset == trailer.used && count == trailer.count &&
           issued_at_max == trailer.issued_at_max &&
           all_zero(chunk + offset, REQUEST_CHUNK_DATA - offset);
}

/* ---- access ---- */

enum status store_status_of(int code)
{
    switch (code) {
    case 0:
        return STATUS_OK;
    case MDB_NOTFOUND:
        return STATUS_NOT_FOUND;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return STATUS_DISK_FULL;
    case MDB_CORRUPTED:
    case MDB_INVALID:
    case MDB_PAGE_NOTFOUND:
    case MDB_CURSOR_FULL: /* a tree without an end */
    case MDB_BAD_VALSIZE:
    case MDB_INCOMPATIBLE:
        return STATUS_CORRUPT;
    case MDB_VERSION_MISMATCH:
        return STATUS_VERSION;
    case ENOMEM:
        return STATUS_NO_MEMORY;
    case EACCES:
    case EPERM:
    case EROFS:
        return STATUS_PERMISSION;
    case EAGAIN:
    case EBUSY:
    case MDB_READERS_FULL:
        return STATUS_LOCKED;
    case ENOENT:
        return STATUS_NOT_FOUND;
    default: /* EIO and MDB_PANIC among them */
        return STATUS_IO;
    }
}

enum status store_fail(struct store_txn *t, enum status status, enum store_table table,
                       uint64_t key, const char *what)
{
    snprintf(t->error.text, sizeof t->error.text, "store: table %s, key %" PRIu64 ": %s (%s)",
             store_table_name(table), key, what, status_text(status));
    return status;
}

enum status store_fail_code(struct store_txn *t, int code, enum store_table table, uint64_t key,
                            const char *what)
{
    enum status status = store_status_of(code);
    snprintf(t->error.text, sizeof t->error.text, "store: table %s, key %" PRIu64 ": %s: %s",
             store_table_name(table), key, what, mdb_strerror(code));
    return status;
}

enum status store_get(struct store_txn *t, enum store_table table, uint64_t key, size_t size,
                      const uint8_t **out)
{
    MDB_val k = {sizeof key, &key}, v;
    int code = mdb_get(t->txn, t->dbi[table], &k, &v);
    if (code == MDB_NOTFOUND)
        return STATUS_NOT_FOUND;
    if (code != 0)
        return store_fail_code(t, code, table, key, "cannot read");
    if (v.mv_size != size)
        return store_fail(t, STATUS_CORRUPT, table, key,
                          "value has a wrong size; restore from a peer or a backup");
    *out = v.mv_data;
    return STATUS_OK;
}

enum status store_put(struct store_txn *t, enum store_table table, uint64_t key, size_t size,
                      bool append, uint8_t **out)
{
    MDB_val k = {sizeof key, &key}, v = {size, NULL};
    unsigned flags = MDB_RESERVE | (append ? (unsigned)MDB_APPEND : 0);
    int code = mdb_put(t->txn, t->dbi[table], &k, &v, flags);
    if (code != 0)
        return store_fail_code(t, code, table, key, "cannot write");
    *out = v.mv_data;
    return STATUS_OK;
}

enum status store_delete(struct store_txn *t, enum store_table table, uint64_t key)
{
    MDB_val k = {sizeof key, &key};
    int code = mdb_del(t->txn, t->dbi[table], &k, NULL);
    if (code == MDB_NOTFOUND)
        return store_fail(t, STATUS_CORRUPT, table, key,
                          "missing; restore from a peer or a backup");
    if (code != 0)
        return store_fail_code(t, code, table, key, "cannot delete");
    return STATUS_OK;
}

enum status store_get_small(struct store_txn *t, enum store_table table, uint64_t key, void *out,
                            size_t size)
{
    const uint8_t *bytes;
    uint64_t sum;
    enum status status = store_get(t, table, key, size + sizeof sum, &bytes);
    if (status == STATUS_NOT_FOUND)
        return store_fail(t, STATUS_CORRUPT, table, key,
                          "missing; restore from a peer or a backup");
    if (status != STATUS_OK)
        return status;
    memcpy(out, bytes, size);
    memcpy(&sum, bytes + size, sizeof sum);
    if (sum != store_checksum(table, key, 0, out, size))
        return store_fail(t, STATUS_CORRUPT, table, key,
                          "checksum is wrong; restore from a peer or a backup");
    return STATUS_OK;
}

enum status store_put_small(struct store_txn *t, enum store_table table, uint64_t key,
                            const void *value, size_t size)
{
    uint8_t *bytes;
    uint64_t sum = store_checksum(table, key, 0, value, size);
    enum status status = store_put(t, table, key, size + sizeof sum, false, &bytes);
    if (status != STATUS_OK)
        return status;
    memcpy(bytes, value, size);
    memcpy(bytes + size, &sum, sizeof sum);
    return STATUS_OK;
}
