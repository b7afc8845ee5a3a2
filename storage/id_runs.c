/*
 * Id runs: the chunk codec, sorting and writing a run, and looking one up.
 *
 * Look-up. Hashes are uniform, so the place of one in a run is guessed by interpolation and refined
 * from the distance to what was found there; a chunk's blocks of 256 entries are verified one by
 * one, 4 KiB of checksum each, before anything in them is believed. "Not here" is said only between
 * two verified entries (or a verified one and the run's end), so that damage can cost the process
 * but never a duplicate.
 *
 * Merging lives in id_runs_merge.c.
 */
#include "storage/id_runs.h"

#include "core/invariant.h"

#include <string.h>

/* ---- sorting: radix by 11 bits, six passes ---- */

#define RADIX_BITS   11u
#define RADIX_SIZE   (1u << RADIX_BITS)
#define RADIX_PASSES 6u

void id_runs_sort(struct id_entry *entries, struct id_entry *scratch, size_t count)
{
    struct id_entry *from = entries, *to = scratch;
    for (unsigned pass = 0; pass < RADIX_PASSES; pass++) {
        size_t start[RADIX_SIZE] = {0};
        unsigned shift = pass * RADIX_BITS;
        for (size_t i = 0; i < count; i++)
            start[(from[i].hash >> shift) & (RADIX_SIZE - 1)]++;
        size_t sum = 0;
        for (unsigned d = 0; d < RADIX_SIZE; d++) {
            size_t here = start[d];
            start[d] = sum;
            sum += here;
        }
        for (size_t i = 0; i < count; i++)
            to[start[(from[i].hash >> shift) & (RADIX_SIZE - 1)]++] = from[i];
        struct id_entry *swap = from;
        from = to;
        to = swap;
    }
    invariant(from == entries); /* an even number of passes ends where it began */
}

/* ---- chunks ---- */

static uint32_t block_entries(uint32_t block)
{
    return block + 1 < ID_CHUNK_BLOCKS ? ID_BLOCK_ENTRIES
                                       : ID_CHUNK_ENTRIES - block * ID_BLOCK_ENTRIES;
}

static uint64_t block_checksum(const uint8_t *chunk, enum store_table table, uint64_t key,
                               uint32_t block)
{
    return store_checksum(table, key, block,
                          chunk + (size_t)block * ID_BLOCK_ENTRIES * sizeof(struct id_entry),
                          block_entries(block) * sizeof(struct id_entry));
}

#define COUNT_AT   65504u
#define TRAILER_AT 65512u

static uint64_t trailer_checksum(const uint8_t *chunk, enum store_table table, uint64_t key)
{
    return store_checksum(table, key, ID_CHUNK_BLOCKS, chunk + ID_CHUNK_SUMS_AT,
                          TRAILER_AT - ID_CHUNK_SUMS_AT);
}

static void chunk_seal(uint8_t *chunk, enum store_table table, uint64_t key, uint32_t count)
{
    memset(chunk + ID_CHUNK_SUMS_AT, 0, CHUNK_SIZE - ID_CHUNK_SUMS_AT);
    for (uint32_t b = 0; b < ID_CHUNK_BLOCKS; b++) {
        uint64_t sum = block_checksum(chunk, table, key, b);
        memcpy(chunk + ID_CHUNK_SUMS_AT + b * sizeof sum, &sum, sizeof sum);
    }
    memcpy(chunk + COUNT_AT, &count, sizeof count);
    uint64_t sum = trailer_checksum(chunk, table, key);
    memcpy(chunk + TRAILER_AT, &sum, sizeof sum);
}

static bool block_check(const uint8_t *chunk, enum store_table table, uint64_t key, uint32_t block)
{
    uint64_t sum;
    memcpy(&sum, chunk + ID_CHUNK_SUMS_AT + block * sizeof sum, sizeof sum);
    return sum == block_checksum(chunk, table, key, block);
}

bool id_chunk_check(const uint8_t *chunk, enum store_table table, uint64_t key, uint32_t count)
{
    uint64_t sum;
    uint32_t stored;
    memcpy(&sum, chunk + TRAILER_AT, sizeof sum);
    memcpy(&stored, chunk + COUNT_AT, sizeof stored);
    if (sum != trailer_checksum(chunk, table, key) || stored != count)
        return false;
    for (uint32_t b = 0; b < ID_CHUNK_BLOCKS; b++)
        if (!block_check(chunk, table, key, b))
            return false;
    uint64_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t hash;
        memcpy(&hash, chunk + i * sizeof(struct id_entry), sizeof hash);
        if (hash < before)
            return false;
        before = hash;
    }
    return true;
}

enum status id_chunk_read(struct store_txn *t, enum store_table table, uint32_t run, uint32_t chunk,
                          uint64_t run_entry_count, struct id_entry *out, uint32_t *out_count)
{
    uint64_t key = id_chunk_key(run, chunk), first = (uint64_t)chunk * ID_CHUNK_ENTRIES;
    const uint8_t *bytes;
    enum status status = store_get(t, table, key, CHUNK_SIZE, &bytes);
    if (status == STATUS_NOT_FOUND)
        return store_fail(t, STATUS_CORRUPT, table, key,
                          "id chunk is missing; restore from a peer or a backup");
    if (status != STATUS_OK)
        return status;
    invariant_values(first < run_entry_count, first, run_entry_count);
    uint64_t rest = run_entry_count - first;
    uint32_t count = rest < ID_CHUNK_ENTRIES ? (uint32_t)rest : ID_CHUNK_ENTRIES;
    memcpy(out, bytes, CHUNK_SIZE); /* checked where it cannot change any more */
    if (!id_chunk_check((const uint8_t *)out, table, key, count))
        return store_fail(t, STATUS_CORRUPT, table, key,
                          "id chunk is damaged; restore from a peer or a backup");
    *out_count = count;
    return STATUS_OK;
}

enum status id_chunk_write(struct store_txn *t, enum store_table table, uint32_t run,
                           uint32_t chunk, const struct id_entry *entries, uint32_t count,
                           bool append)
{
    uint64_t key = id_chunk_key(run, chunk);
    uint8_t *bytes;
    invariant_values(count > 0 && count <= ID_CHUNK_ENTRIES, count, chunk);
    enum status status = store_put(t, table, key, CHUNK_SIZE, append, &bytes);
    if (status != STATUS_OK)
        return status;
    size_t size = count * sizeof *entries;
    memcpy(bytes, entries, size);
    memset(bytes + size, 0, ID_CHUNK_SUMS_AT - size);
    chunk_seal(bytes, table, key, count);
    return STATUS_OK;
}

enum status id_runs_add(struct store_txn *t, enum store_table table, struct id_run_list *list,
                        const struct id_entry *entries, size_t count)
{
    if (count == 0)
        return STATUS_OK;
    invariant_values(list->run_count < ID_RUNS_MAX, list->run_count, ID_RUNS_MAX);
    struct id_run run = {.number = list->run_next, .entry_count = count};
    for (size_t i = 0; i < count; i++) {
        if (entries[i].locator > run.locator_max)
            run.locator_max = entries[i].locator;
        if (i > 0)
            invariant_values(entries[i - 1].hash <= entries[i].hash, entries[i - 1].hash,
                             entries[i].hash);
    }
    for (uint32_t chunk = 0; chunk < id_run_chunks(count); chunk++) {
        size_t first = (size_t)chunk * ID_CHUNK_ENTRIES, rest = count - first;
        enum status status =
            id_chunk_write(t, table, run.number, chunk, entries + first,
                           rest < ID_CHUNK_ENTRIES ? (uint32_t)rest : ID_CHUNK_ENTRIES, true);
        if (status != STATUS_OK)
            return status;
    }
    list->runs[list->run_count++] = run;
    list->run_next++;
    return STATUS_OK;
}

/* ---- the list ---- */

uint64_t id_run_list_entries(const struct id_run_list *list)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < list->run_count; i++)
        sum += list->runs[i].entry_count;
    return sum;
}

static const struct id_run *list_run(const struct id_run_list *list, uint32_t number)
{
    for (uint32_t i = 0; i < list->run_count; i++)
        if (list->runs[i].number == number)
            return &list->runs[i];
    return NULL;
}

bool id_run_list_check(const struct id_run_list *list)
{
    if (list->run_count > ID_RUNS_MAX || list->merge_count > ID_MERGES_MAX ||
        list->removal_count > ID_REMOVALS_MAX)
        return false;
    for (uint32_t i = 0; i < list->run_count; i++)
        if (list->runs[i].entry_count == 0 || list->runs[i].number >= list->run_next ||
            list->runs[i].entry_count > (uint64_t)UINT32_MAX * ID_CHUNK_ENTRIES)
            return false;
    for (uint32_t m = 0; m < list->merge_count; m++)
        for (uint32_t i = 0; i < ID_RUN_FAN_OUT; i++) {
            const struct id_run *run = list_run(list, list->merges[m].input[i].run);
            if (run == NULL || list->merges[m].input[i].consumed > run->entry_count)
                return false;
        }
    for (uint32_t i = 0; i < list->removal_count; i++)
        if (list->removals[i].chunk_next > list->removals[i].chunk_end)
            return false;
    return true;
}

/* ---- look-up ---- */

/* Position of a run's block `g`, counted through its chunks. */
static uint64_t block_first(uint64_t g)
{
    return g / ID_CHUNK_BLOCKS * ID_CHUNK_ENTRIES + g % ID_CHUNK_BLOCKS * ID_BLOCK_ENTRIES;
}

static uint64_t block_of(uint64_t position)
{
    return position / ID_CHUNK_ENTRIES * ID_CHUNK_BLOCKS +
           position % ID_CHUNK_ENTRIES / ID_BLOCK_ENTRIES;
}

struct run_reader {
    struct store_txn *t;
    enum store_table table;
    const struct id_run *run;
    const uint8_t *chunk; /* of chunk_number; NULL at first */
    uint32_t chunk_number;
    const uint8_t *block; /* verified */
    uint64_t block_number;
    uint32_t count; /* entries of the block in use */
};

static struct id_entry reader_entry(const struct run_reader *r, uint32_t i)
{
    struct id_entry entry;
    memcpy(&entry, r->block + i * sizeof entry, sizeof entry);
    return entry;
}

static enum status reader_load(struct run_reader *r, uint64_t g)
{
    uint32_t chunk = (uint32_t)(g / ID_CHUNK_BLOCKS), block = (uint32_t)(g % ID_CHUNK_BLOCKS);
    uint64_t key = id_chunk_key(r->run->number, chunk);
    if (r->chunk == NULL || r->chunk_number != chunk) {
        enum status status = store_get(r->t, r->table, key, CHUNK_SIZE, &r->chunk);
        if (status == STATUS_NOT_FOUND)
            return store_fail(r->t, STATUS_CORRUPT, r->table, key,
                              "id chunk is missing; restore from a peer or a backup");
        if (status != STATUS_OK)
            return status;
        r->chunk_number = chunk;
    }
    if (!block_check(r->chunk, r->table, key, block))
        return store_fail(r->t, STATUS_CORRUPT, r->table, key,
                          "id chunk is damaged; restore from a peer or a backup");
    r->block = r->chunk + (size_t)block * ID_BLOCK_ENTRIES * sizeof(struct id_entry);
    r->block_number = g;
    uint64_t rest = r->run->entry_count - block_first(g);
    uint32_t room = block_entries(block);
    r->count = rest < room ? (uint32_t)rest : room;
    return STATUS_OK;
}

/* How many entries of a uniform run lie in a stretch of hash space. */
static uint64_t expected_count(uint64_t stretch, uint64_t entry_count)
{
    return (uint64_t)(((u128)stretch * entry_count) >> 64);
}

#define INTERPOLATIONS 6

/* First position whose hash is >= `hash`, or entry_count. */
static enum status reader_lower_bound(struct run_reader *r, uint64_t hash, uint64_t *out_position)
{
    uint64_t n = r->run->entry_count, low = 0, high = block_of(n - 1) + 1; /* blocks [low, high) */
    uint64_t answer = n, guess = expected_count(hash, n);
    for (unsigned round = 0; low < high; round++) {
        uint64_t g =
            round < INTERPOLATIONS ? block_of(guess < n ? guess : n - 1) : low + (high - low) / 2;
        if (g < low)
            g = low;
        if (g >= high)
            g = high - 1;
        enum status status = reader_load(r, g);
        if (status != STATUS_OK)
            return status;
        uint64_t first = reader_entry(r, 0).hash, last = reader_entry(r, r->count - 1).hash;
        if (hash <= first) {
            uint64_t back = expected_count(first - hash, n) + 1, at = block_first(g);
            answer = at;
            guess = back < at ? at - back : 0;
            high = g;
        } else if (hash > last) {
            low = g + 1;
            guess = block_first(g) + r->count + expected_count(hash - last, n);
        } else {
            uint32_t a = 0, b = r->count - 1; /* entry a < hash <= entry b */
            while (b - a > 1) {
                uint32_t middle = a + (b - a) / 2;
                if (reader_entry(r, middle).hash < hash)
                    a = middle;
                else
                    b = middle;
            }
            *out_position = block_first(g) + b;
            return STATUS_OK;
        }
    }
    *out_position = answer;
    return STATUS_OK;
}

enum status id_run_find(struct store_txn *t, enum store_table table, const struct id_run *run,
                        uint64_t hash, bool (*each)(void *context, uint64_t locator), void *context)
{
    struct run_reader r = {.t = t, .table = table, .run = run};
    uint64_t position = 0;
    enum status status = reader_lower_bound(&r, hash, &position);
    if (status != STATUS_OK)
        return status;
    for (; position < run->entry_count; position++) {
        uint64_t g = block_of(position);
        if (r.block == NULL || r.block_number != g) {
            status = reader_load(&r, g);
            if (status != STATUS_OK)
                return status;
        }
        struct id_entry entry = reader_entry(&r, (uint32_t)(position - block_first(g)));
        if (entry.hash != hash || !each(context, entry.locator))
            break;
    }
    return STATUS_OK;
}
