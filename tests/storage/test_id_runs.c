/* Id runs and their filter by themselves: sizes at the edges of blocks and chunks, hashes that are
 * anything but uniform, equal hashes, upkeep that stays inside its budget. */
#include "storage/bloom.h"
#include "storage/id_runs.h"
#include "tests/storage/store_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* ---- sorting and the filter ---- */

static int by_hash(const void *a, const void *b)
{
    const struct id_entry *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->locator < y->locator ? -1 : x->locator > y->locator;
}

static uint64_t random_64(void)
{
    return (uint64_t)random() << 62 ^ (uint64_t)random() << 31 ^ (uint64_t)random();
}

/* Against qsort: random, all equal, few values, sorted already; equal hashes keep their order. */
Test(id_runs, sort_is_a_stable_sort)
{
    enum { COUNT = 5000 };
    static struct id_entry entries[COUNT], scratch[COUNT], expected[COUNT];
    srandom(1);
    for (unsigned kind = 0; kind < 4; kind++) {
        for (unsigned i = 0; i < COUNT; i++) {
            uint64_t hash = kind == 0   ? random_64()
                            : kind == 1 ? 7
                            : kind == 2 ? (uint64_t)random() % 3 << 50
                                        : (uint64_t)i << 40;
            entries[i] = (struct id_entry){.hash = hash, .locator = i};
        }
        memcpy(expected, entries, sizeof entries);
        qsort(expected, COUNT, sizeof expected[0], by_hash);
        id_runs_sort(entries, scratch, COUNT);
        cr_assert_eq(memcmp(entries, expected, sizeof entries), 0, "kind %u", kind);
    }
}

/* At 12 bits a key: every key added is found, and fewer than 2 of 100 others are. */
Test(id_runs, filter_forgets_nothing_and_invents_little)
{
    enum { KEYS = 100000 };
    struct bloom bloom;
    cr_assert_eq(bloom_init(&bloom, KEYS * 12 / 8), STATUS_OK);
    srandom(2);
    for (unsigned i = 0; i < KEYS; i++)
        bloom_add(&bloom, random_64());
    srandom(2);
    for (unsigned i = 0; i < KEYS; i++)
        cr_assert(bloom_may_contain(&bloom, random_64()));
    unsigned invented = 0;
    for (unsigned i = 0; i < KEYS; i++)
        invented += bloom_may_contain(&bloom, random_64());
    cr_assert_lt(invented, KEYS / 50, "%u of %u", invented, KEYS);
    bloom_clear(&bloom);
    cr_assert_not(bloom_may_contain(&bloom, 1));
    bloom_deinit(&bloom);
}

/* ---- runs in a table ---- */

struct table {
    struct store_fixture fixture;
    struct store_txn t;
    struct id_run_list list;
};

static void table_begin(struct table *table)
{
    struct store_txn *t = &table->t;
    memset(table, 0, sizeof *table);
    store_fixture_init(&table->fixture);
    cr_assert_eq(mdb_env_create(&t->env), 0);
    cr_assert_eq(mdb_env_set_maxdbs(t->env, STORE_TABLE_COUNT), 0);
    cr_assert_eq(mdb_env_set_mapsize(t->env, 1 << 30), 0);
    cr_assert_eq(mdb_env_open(t->env, table->fixture.path, MDB_NOSYNC, 0600), 0);
    cr_assert_eq(mdb_txn_begin(t->env, NULL, 0, &t->txn), 0);
    cr_assert_eq(
        mdb_dbi_open(t->txn, "ids", MDB_INTEGERKEY | MDB_CREATE, &t->dbi[STORE_TRANSFER_IDS]), 0);
}

static void table_end(struct table *table)
{
    mdb_txn_abort(table->t.txn);
    mdb_env_close(table->t.env);
    store_fixture_deinit(&table->fixture);
}

struct found {
    uint64_t locators[64];
    unsigned count;
};

static bool note_locator(void *context, uint64_t locator)
{
    struct found *found = context;
    cr_assert_lt(found->count, 64);
    found->locators[found->count++] = locator;
    return true;
}

static struct found find(struct table *table, const struct id_run *run, uint64_t hash)
{
    struct found found = {.count = 0};
    enum status status =
        id_run_find(&table->t, STORE_TRANSFER_IDS, run, hash, note_locator, &found);
    cr_assert_eq(status, STATUS_OK, "%s", table->t.error.text);
    return found;
}

static uint64_t spread(unsigned kind, uint64_t i, uint64_t count)
{
    switch (kind) {
    case 0:
        return random_64();
    case 1: /* all in a corner */
        return i * 3 + 1;
    case 2: /* two heaps far apart */
        return i % 2 == 0 ? i * 2 : UINT64_MAX - i * 2;
    default: /* heaps of up to 40 equal hashes */
        return (i / 40 + 1) * (UINT64_MAX / (count + 2));
    }
}

/* Every entry is found with all its twins, neighbours of hashes are not. */
Test(id_runs, every_entry_is_found_and_no_other, .timeout = 100)
{
    static const size_t counts[] = {1,    2,    245,  246,  247,  255,  256,  257,
                                    3840, 4085, 4086, 4087, 4342, 8172, 12300};
    struct table table;
    table_begin(&table);
    srandom(3);
    for (unsigned kind = 0; kind < 4; kind++)
        for (unsigned c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            size_t count = counts[c];
            struct id_entry *entries = malloc(count * sizeof *entries);
            struct id_entry *scratch = malloc(count * sizeof *scratch);
            cr_assert(entries != NULL && scratch != NULL);
            for (size_t i = 0; i < count; i++)
                entries[i] = (struct id_entry){.hash = spread(kind, i, count), .locator = i};
            id_runs_sort(entries, scratch, count);
            table.list.run_count = 0; /* one run at a time */
            cr_assert_eq(id_runs_add(&table.t, STORE_TRANSFER_IDS, &table.list, entries, count),
                         STATUS_OK, "%s", table.t.error.text);
            const struct id_run *run = &table.list.runs[0];
            for (size_t i = 0; i < count;) {
                size_t end = i;
                while (end < count && entries[end].hash == entries[i].hash)
                    end++;
                struct found found = find(&table, run, entries[i].hash);
                cr_assert_eq(found.count, end - i);
                for (size_t e = i; e < end; e++)
                    cr_assert_eq(found.locators[e - i], entries[e].locator);
                if (end == count || entries[end].hash != entries[i].hash + 1)
                    cr_assert_eq(find(&table, run, entries[i].hash + 1).count, 0);
                i = end;
            }
            if (entries[0].hash > 0)
                cr_assert_eq(find(&table, run, 0).count, 0);
            free(scratch);
            free(entries);
        }
    table_end(&table);
}

/* 400 runs of random sizes: at each step all locators are in the list's runs exactly once, runs
 * stay few, no epoch writes or deletes more than its portion, and in the end nothing is left over
 * in the table but what the list names. */
Test(id_runs, upkeep_keeps_everything_within_its_budget, .timeout = 100)
{
    struct table table;
    struct id_run_list *list = &table.list;
    table_begin(&table);
    struct id_entry *buffer = malloc(ID_RUNS_UPKEEP_BUFFER);
    static struct id_entry entries[9000], scratch[9000];
    cr_assert_not_null(buffer);
    uint64_t locator = 0;
    unsigned runs_max = 0;
    srandom(4);
    for (unsigned epoch = 0; epoch < 400; epoch++) {
        size_t count = (size_t)random() % (epoch % 5 == 0 ? 9000 : 30);
        for (size_t i = 0; i < count; i++)
            entries[i] = (struct id_entry){.hash = random_64(), .locator = locator++};
        id_runs_sort(entries, scratch, count);
        cr_assert_eq(id_runs_add(&table.t, STORE_TRANSFER_IDS, list, entries, count), STATUS_OK);
        MDB_stat before, after;
        cr_assert_eq(mdb_stat(table.t.txn, table.t.dbi[STORE_TRANSFER_IDS], &before), 0);
        struct id_runs_upkeep upkeep = {
            .merge_entries = 20000, .removal_chunks = 8, .buffer = buffer};
        uint64_t output_before = 0, output_after = 0;
        for (uint32_t m = 0; m < list->merge_count; m++)
            output_before += list->merges[m].output_count;
        uint32_t merges = list->merge_count;
        cr_assert_eq(id_runs_maintain(&table.t, STORE_TRANSFER_IDS, list, &upkeep), STATUS_OK, "%s",
                     table.t.error.text);
        cr_assert(id_run_list_check(list));
        for (uint32_t m = 0; m < list->merge_count; m++)
            output_after += list->merges[m].output_count;
        cr_assert_eq(mdb_stat(table.t.txn, table.t.dbi[STORE_TRANSFER_IDS], &after), 0);
        if (output_after > output_before)
            cr_assert_leq(output_after - output_before, merges * (20000 + ID_CHUNK_ENTRIES));
        cr_assert_leq((int64_t)before.ms_entries - (int64_t)after.ms_entries, 8);
        cr_assert_eq(id_run_list_entries(list), locator);
        if (list->run_count > runs_max)
            runs_max = list->run_count;
    }
    cr_assert_lt(runs_max, 40, "%u runs", runs_max);

    uint8_t *seen = calloc(locator, 1);
    uint64_t chunks = 0;
    cr_assert_not_null(seen);
    for (uint32_t i = 0; i < list->run_count; i++) {
        chunks += id_run_chunks(list->runs[i].entry_count);
        for (uint32_t chunk = 0; chunk < id_run_chunks(list->runs[i].entry_count); chunk++) {
            uint32_t count;
            cr_assert_eq(id_chunk_read(&table.t, STORE_TRANSFER_IDS, list->runs[i].number, chunk,
                                       list->runs[i].entry_count, buffer, &count),
                         STATUS_OK);
            for (uint32_t e = 0; e < count; e++) {
                cr_assert_eq(seen[buffer[e].locator], 0, "twice");
                seen[buffer[e].locator] = 1;
            }
        }
    }
    for (uint64_t i = 0; i < locator; i++)
        cr_assert(seen[i], "locator %lu is lost", (unsigned long)i);
    for (uint32_t i = 0; i < list->merge_count; i++)
        chunks += id_run_chunks(list->merges[i].output_count);
    for (uint32_t i = 0; i < list->removal_count; i++)
        chunks += list->removals[i].chunk_end - list->removals[i].chunk_next;
    MDB_stat s;
    cr_assert_eq(mdb_stat(table.t.txn, table.t.dbi[STORE_TRANSFER_IDS], &s), 0);
    cr_assert_eq(s.ms_entries, chunks);
    free(seen);
    free(buffer);
    table_end(&table);
}
