/*
 * The store's format: which tables there are, how a value looks and how it is checked. Private to
 * storage/store*.c and id_runs*.c. docs/formats/store.md draws the same for readers of files.
 *
 * Every value ends in, or contains, XXH3 checksums seeded with its table and key, so that a value
 * found under a wrong key is as bad as a damaged one. Big values all have CHUNK_SIZE bytes: with
 * LMDB's page header of 16 bytes that is 16 whole pages, and one size keeps LMDB's free list able
 * to reuse what was freed.
 */
#ifndef TALLY_STORAGE_STORE_SCHEMA_H
#define TALLY_STORAGE_STORE_SCHEMA_H

#include "core/record.h"
#include "core/status.h"
#include "storage/checkpoint.h"
#include "storage/store.h"

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum store_table {
    STORE_META = 0,         /* the four keys below */
    STORE_TRANSFERS = 1,    /* sequence / 511     -> record chunk */
    STORE_TRANSFER_IDS = 2, /* run << 32 | chunk  -> id chunk */
    STORE_ACCOUNTS = 3,     /* ordinal / 1022     -> record chunk */
    STORE_BALANCES = 4,     /* ordinal            -> balance_record, checksum */
    STORE_REQUESTS = 5,     /* chunk number       -> request chunk */
    STORE_REQUEST_IDS = 6,  /* run << 32 | chunk  -> id chunk */
    STORE_LEDGERS = 7,      /* position           -> ledger_record, checksum */
    STORE_PRINCIPALS = 8,   /* ordinal            -> principal_record, checksum */
    STORE_TABLE_COUNT
};

enum store_meta_key {
    STORE_META_HEAD = 1,           /* struct store_head */
    STORE_META_TRANSFER_RUNS = 2,  /* struct id_run_list */
    STORE_META_REQUEST_RUNS = 3,   /* struct id_run_list */
    STORE_META_REQUEST_WINDOW = 4, /* struct request_window_record */
};

/* Name of the table inside the environment, also used in messages. */
const char *store_table_name(enum store_table table);

#define STORE_FORMAT_VERSION 2
#define STORE_MAGIC          0x31524f5453594c54ull /* "TLYSTOR1" */

/* What an epoch leaves behind besides its records. Followed by its checksum. */
struct store_head {
    uint64_t magic;
    uint32_t format_version;
    uint32_t reserved_0;
    uint8_t cluster_id[16];
    uint64_t hash_seed;   /* of id hashes; random per store, so that nobody can aim at collisions */
    uint64_t epoch_count; /* since creation; 0: nothing below means anything yet */
    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t stamp;
    uint8_t digest[16];
    uint64_t transfer_count;
    uint64_t account_count;
    uint64_t request_count; /* ever, forgotten ones included */
    uint64_t ledger_count;
    uint64_t principal_count;
    uint64_t request_chunk_first; /* oldest chunk kept */
    uint64_t request_chunk_next;  /* one past the newest */
    uint8_t head[JOURNAL_HASH_SIZE];
    uint32_t configuration_size;
    uint32_t reserved_1;
    uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX];
};
_Static_assert(offsetof(struct store_head, applied_index) == 48, "format");
_Static_assert(offsetof(struct store_head, transfer_count) == 88, "format");
_Static_assert(offsetof(struct store_head, head) == 144, "format");
_Static_assert(offsetof(struct store_head, configuration) == 184, "format");
_Static_assert(sizeof(struct store_head) == 184 + JOURNAL_CONFIGURATION_SIZE_MAX, "format");

/* ---- chunks ---- */

#define CHUNK_SIZE 65520u /* 16 pages less LMDB's page header */

/*
 * Record chunk (transfers, accounts): fixed-size records and a trailer. Blocks are checked one by
 * one, so that reading one record costs 8 KiB of checksum and not 64.
 *
 *   0      records, 65408 bytes; unused ones zero
 *   65408  u64 checksum of block b, b = 0..7: bytes 8192 b .. min(8192 (b + 1), 65408)
 *   65472  u32 count of records in use, u32 zero
 *   65480  zero, 32 bytes
 *   65512  u64 checksum of bytes 65408 .. 65511
 */
#define RECORD_CHUNK_DATA       65408u
#define RECORD_CHUNK_BLOCK      8192u
#define RECORD_CHUNK_BLOCKS     8u
#define TRANSFERS_PER_CHUNK     511u
#define ACCOUNTS_PER_CHUNK      1022u
#define RECORD_CHUNK_COUNT_AT   65472u
#define RECORD_CHUNK_TRAILER_AT 65512u
_Static_assert(TRANSFERS_PER_CHUNK * sizeof(struct transfer_record) == RECORD_CHUNK_DATA, "format");
_Static_assert(ACCOUNTS_PER_CHUNK * sizeof(struct account_record) == RECORD_CHUNK_DATA, "format");

/* Fills checksums and count; the records are in place, `chunk` has CHUNK_SIZE bytes. */
void record_chunk_seal(uint8_t *chunk, enum store_table table, uint64_t key, uint32_t count);
/* The block that holds bytes offset .. offset + size of the records is undamaged. */
bool record_chunk_check_at(const uint8_t *chunk, enum store_table table, uint64_t key,
                           size_t offset);
/* Everything of it is undamaged and it holds exactly `count` records. */
bool record_chunk_check(const uint8_t *chunk, enum store_table table, uint64_t key, uint32_t count);

/*
 * Request chunk: records of varying size, none across two chunks.
 *
 *   0      entry*: u64 checksum of (offset in the chunk, record, answer), request_record 88,
 *                  answer, zeros up to a multiple of 8
 *   used   zeros
 *   65472  u64 latest issue time in it, ns
 *   65480  u64 sequence of its first request
 *   65488  u32 bytes used, u32 count
 *   65496  zero, 16 bytes
 *   65512  u64 checksum of bytes 65472 .. 65511
 */
#define REQUEST_CHUNK_DATA      65472u
#define REQUEST_CHUNK_CHECK_AT  65512u
#define REQUEST_ANSWER_SIZE_MAX (REQUEST_EVENTS_MAX + 16u)
struct request_chunk_trailer {
    uint64_t issued_at_max;
    uint64_t request_first;
    uint32_t used;
    uint32_t count;
    uint64_t reserved[2];
    uint64_t checksum;
};
_Static_assert(REQUEST_CHUNK_DATA + sizeof(struct request_chunk_trailer) == CHUNK_SIZE, "format");

/* Bytes an entry takes in a chunk. */
uint32_t request_entry_size(const struct request_record *record);
void request_entry_write(uint8_t *chunk, uint64_t key, uint32_t offset,
                         const struct request_record *record, const uint8_t *answer);
/* Copies record and answer out; false when damaged. `answer` may be NULL, else it has room for
 * REQUEST_ANSWER_SIZE_MAX bytes. */
bool request_entry_read(const uint8_t *chunk, uint64_t key, uint32_t offset,
                        struct request_record *out, uint8_t *answer);
void request_chunk_seal(uint8_t *chunk, uint64_t key, const struct request_chunk_trailer *trailer);
bool request_chunk_trailer(const uint8_t *chunk, uint64_t key, struct request_chunk_trailer *out);
/* All of it, entries and padding too. */
bool request_chunk_check(const uint8_t *chunk, uint64_t key);

/* ---- checksums and small values ---- */

uint64_t store_checksum(enum store_table table, uint64_t key, uint64_t part, const void *bytes,
                        size_t size);

/* ---- access: LMDB's codes become a status here, its pointers stay inside storage ---- */

/* A transaction with the tables it reaches and room to say what went wrong. */
struct store_txn {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi[STORE_TABLE_COUNT];
    struct store_error error;
};

enum status store_status_of(int code);
/* Notes text and returns the status. */
enum status store_fail(struct store_txn *t, enum status status, enum store_table table,
                       uint64_t key, const char *what);
enum status store_fail_code(struct store_txn *t, int code, enum store_table table, uint64_t key,
                            const char *what);

/* Value of a key with exactly `size` bytes, borrowed until the next write of the transaction or its
 * end, aligned to 2 only. STATUS_NOT_FOUND (no text) or STATUS_CORRUPT (wrong size). */
enum status store_get(struct store_txn *t, enum store_table table, uint64_t key, size_t size,
                      const uint8_t **out);
/* Room for a value, to be filled before the next write. `append`: key is above all others. */
enum status store_put(struct store_txn *t, enum store_table table, uint64_t key, size_t size,
                      bool append, uint8_t **out);
enum status store_delete(struct store_txn *t, enum store_table table, uint64_t key);

/* A value of `size` bytes followed by its checksum, copied out or in. STATUS_CORRUPT also when the
 * key is missing. */
enum status store_get_small(struct store_txn *t, enum store_table table, uint64_t key, void *out,
                            size_t size);
enum status store_put_small(struct store_txn *t, enum store_table table, uint64_t key,
                            const void *value, size_t size);

#endif
