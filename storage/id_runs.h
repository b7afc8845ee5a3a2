/*
 * Sorted runs: an index from a 64-bit hash to a locator (a sequence number, or a place in a request
 * chunk) that grows by one run per epoch and is merged in the background of later epochs.
 *
 * A run is a sequence of entries sorted by (hash, locator), cut into chunks of 4086 in one of
 * LMDB's tables, key = run number << 32 | chunk. Runs of like size (a tier is a factor of 8) are
 * merged eight at a time, a bounded number of entries per epoch; inputs stay readable until the
 * output is whole, then they are deleted, a bounded number of chunks per epoch. The list below is
 * the whole state: saved with every epoch, so a restart goes on in the middle of a merge.
 *
 * id_runs_add, _maintain: flusher thread, inside the epoch's write transaction, on a copy of the
 * list that counts only when the transaction commits. id_runs_find: any read transaction.
 */
#ifndef TALLY_STORAGE_ID_RUNS_H
#define TALLY_STORAGE_ID_RUNS_H

#include "storage/store_schema.h"

#define ID_RUN_FAN_OUT 8u
#define ID_RUNS_MAX    256u
/* Above this many runs merging is no longer bounded per epoch. Unreachable by the arithmetic: at
 * most 7 waiting, 8 merging and about 6 arriving runs in each of 8 tiers make 168. */
#define ID_RUNS_PRESSED  192u
#define ID_MERGES_MAX    16u
#define ID_REMOVALS_MAX  256u
#define ID_RUN_TIER_BASE 32768u /* tier 0: fewer entries than this; tier t: than this * 8^t */

/*
 * Id chunk, CHUNK_SIZE bytes:
 *   0      entries of 16 bytes: u64 hash, u64 locator; unused ones zero
 *   65376  u64 checksum of block b, b = 0..15: 256 entries each, the last 246
 *   65504  u32 entries in use, u32 zero
 *   65512  u64 checksum of bytes 65376 .. 65511
 */
#define ID_CHUNK_ENTRIES 4086u
#define ID_BLOCK_ENTRIES 256u
#define ID_CHUNK_BLOCKS  16u
#define ID_CHUNK_SUMS_AT 65376u

struct id_entry {
    uint64_t hash;
    uint64_t locator;
};

struct id_run {
    uint32_t number;
    uint32_t reserved;
    uint64_t entry_count; /* 1 .. */
    uint64_t locator_max; /* the newest thing it names */
};

struct id_merge {
    uint32_t output; /* run number of the result */
    uint32_t tier;
    uint64_t output_count; /* entries written, always whole chunks until the end */
    uint64_t output_locator_max;
    struct {
        uint32_t run;
        uint32_t reserved;
        uint64_t consumed; /* entries merged or dropped */
    } input[ID_RUN_FAN_OUT];
};

struct id_removal {
    uint32_t run;
    uint32_t reserved;
    uint32_t chunk_next; /* chunks chunk_next .. chunk_end - 1 are still there */
    uint32_t chunk_end;
};

struct id_run_list {
    uint32_t run_count;
    uint32_t merge_count;
    uint32_t removal_count;
    uint32_t run_next; /* number of the next run */
    struct id_run runs[ID_RUNS_MAX];
    struct id_merge merges[ID_MERGES_MAX];
    struct id_removal removals[ID_REMOVALS_MAX];
};
_Static_assert(sizeof(struct id_entry) == 16, "format");
_Static_assert(sizeof(struct id_run) == 24, "format");
_Static_assert(sizeof(struct id_merge) == 152, "format");
_Static_assert(sizeof(struct id_removal) == 16, "format");
_Static_assert(offsetof(struct id_run_list, merges) == 6160, "format");
_Static_assert(offsetof(struct id_run_list, removals) == 8592, "format");
_Static_assert(sizeof(struct id_run_list) == 12688, "format");
_Static_assert(ID_CHUNK_ENTRIES * sizeof(struct id_entry) == ID_CHUNK_SUMS_AT, "format");

/* Ascending by hash; equal hashes keep their order. `scratch` is as large as `entries`. */
void id_runs_sort(struct id_entry *entries, struct id_entry *scratch, size_t count);

/* Appends a run of sorted entries; count 0 adds nothing. */
enum status id_runs_add(struct store_txn *t, enum store_table table, struct id_run_list *list,
                        const struct id_entry *entries, size_t count);

/* What one epoch may spend on upkeep. */
struct id_runs_upkeep {
    uint64_t merge_entries;  /* read per merge in progress */
    uint32_t removal_chunks; /* deleted in all */
    uint64_t locator_first;  /* entries below name nothing any more and are dropped */
    struct id_entry *buffer; /* ID_RUNS_UPKEEP_BUFFER bytes */
};
#define ID_RUNS_UPKEEP_BUFFER ((ID_RUN_FAN_OUT + 1) * (size_t)CHUNK_SIZE)
enum status id_runs_maintain(struct store_txn *t, enum store_table table, struct id_run_list *list,
                             const struct id_runs_upkeep *upkeep);

/* Numbers that no correct writer leaves behind: false. */
bool id_run_list_check(const struct id_run_list *list);
uint64_t id_run_list_entries(const struct id_run_list *list);
static inline uint32_t id_run_chunks(uint64_t entry_count)
{
    return (uint32_t)((entry_count + ID_CHUNK_ENTRIES - 1) / ID_CHUNK_ENTRIES);
}
static inline uint64_t id_chunk_key(uint32_t run, uint32_t chunk)
{
    return (uint64_t)run << 32 | chunk;
}

/* Reads chunk `chunk` of a run whole, verified, into `out` (CHUNK_SIZE bytes). `out_count` entries
 * of it are in use: all of them unless it is the run's last. */
enum status id_chunk_read(struct store_txn *t, enum store_table table, uint32_t run, uint32_t chunk,
                          uint64_t run_entry_count, struct id_entry *out, uint32_t *out_count);
/* Writes chunk `chunk` of run `run`: `count` sorted entries, 1 .. ID_CHUNK_ENTRIES. `append`: its
 * key is above all others of the table. */
enum status id_chunk_write(struct store_txn *t, enum store_table table, uint32_t run,
                           uint32_t chunk, const struct id_entry *entries, uint32_t count,
                           bool append);
/* Everything of a chunk is undamaged, sorted and holds `count` entries. */
bool id_chunk_check(const uint8_t *chunk, enum store_table table, uint64_t key, uint32_t count);

/* Calls `each` with the locators of all entries of a run with this hash, ascending, until it
 * returns false. Every block that the answer rests on is verified. */
enum status id_run_find(struct store_txn *t, enum store_table table, const struct id_run *run,
                        uint64_t hash, bool (*each)(void *context, uint64_t locator),
                        void *context);

#endif
