/*
 * Upkeep of id runs, a bounded portion per epoch.
 *
 * Tiers. A run's tier is the logarithm to base 8 of its entry count. Eight runs of one tier are
 * merged into one, whose tier is higher (tier 0 excepted, whose runs are small by definition), so
 * an entry is rewritten once per tier. At most one merge per tier is in progress; each may read
 * twice the epoch's entries per epoch, while runs arrive at any tier no faster than once times the
 * epoch's entries: merging keeps ahead of arrival at every tier for ever.
 *
 *   runs of a tier ──8──► merge in progress ──whole──► output joins the list, inputs to removals
 *                          (inputs stay readable)          └──► chunks deleted in portions
 *
 * Progress moves by whole output chunks: after each, how far every input was consumed is exact, so
 * a restart reads the inputs from there. Entries below `locator_first` name forgotten requests and
 * are dropped on the way; a run of nothing else is dropped whole.
 */
#include "storage/id_runs.h"

#include "core/invariant.h"

#include <string.h>

static uint32_t tier_of(uint64_t entry_count)
{
    uint32_t tier = 0;
    for (uint64_t bound = ID_RUN_TIER_BASE; entry_count >= bound; tier++) {
        if (bound > UINT64_MAX / ID_RUN_FAN_OUT)
            return tier + 1;
        bound *= ID_RUN_FAN_OUT;
    }
    return tier;
}

static uint32_t run_at(const struct id_run_list *list, uint32_t number)
{
    for (uint32_t i = 0; i < list->run_count; i++)
        if (list->runs[i].number == number)
            return i;
    invariant_values(false, number, list->run_count); /* id_run_list_check() has seen it */
    return 0;
}

static bool run_is_merging(const struct id_run_list *list, uint32_t number)
{
    for (uint32_t m = 0; m < list->merge_count; m++)
        for (uint32_t i = 0; i < ID_RUN_FAN_OUT; i++)
            if (list->merges[m].input[i].run == number)
                return true;
    return false;
}

/* Takes a run out of the list; its chunks wait to be deleted. */
static void run_remove(struct id_run_list *list, uint32_t number)
{
    uint32_t at = run_at(list, number);
    invariant_values(list->removal_count < ID_REMOVALS_MAX, list->removal_count, number);
    list->removals[list->removal_count++] =
        (struct id_removal){.run = number, .chunk_end = id_run_chunks(list->runs[at].entry_count)};
    list->run_count--;
    memmove(&list->runs[at], &list->runs[at + 1], (list->run_count - at) * sizeof list->runs[0]);
    memset(&list->runs[list->run_count], 0, sizeof list->runs[0]);
}

/* ---- removals ---- */

static enum status delete_chunks(struct store_txn *t, enum store_table table,
                                 struct id_run_list *list, uint64_t chunks)
{
    while (list->removal_count > 0 && chunks > 0) {
        struct id_removal *removal = &list->removals[0];
        if (removal->chunk_next == removal->chunk_end) {
            list->removal_count--;
            memmove(removal, removal + 1, list->removal_count * sizeof *removal);
            memset(&list->removals[list->removal_count], 0, sizeof *removal);
            continue;
        }
        enum status status =
            store_delete(t, table, id_chunk_key(removal->run, removal->chunk_next));
        if (status != STATUS_OK)
            return status;
        removal->chunk_next++;
        chunks--;
    }
    return STATUS_OK;
}

static void drop_forgotten_runs(struct id_run_list *list, uint64_t locator_first)
{
    for (uint32_t i = list->run_count; i-- > 0;) {
        if (list->removal_count == ID_REMOVALS_MAX)
            return; /* next epoch */
        if (list->runs[i].locator_max < locator_first &&
            !run_is_merging(list, list->runs[i].number))
            run_remove(list, list->runs[i].number);
    }
}

/* ---- merging ---- */

struct head {
    struct id_entry *entries; /* the input's current chunk */
    uint32_t at, count;       /* in it */
    uint64_t consumed, total;
};

static enum status head_load(struct store_txn *t, enum store_table table, uint32_t run,
                             struct head *head)
{
    uint32_t chunk = (uint32_t)(head->consumed / ID_CHUNK_ENTRIES);
    head->at = (uint32_t)(head->consumed % ID_CHUNK_ENTRIES);
    return id_chunk_read(t, table, run, chunk, head->total, head->entries, &head->count);
}

/* The head with the least (hash, locator), or fan-out when all are at their end. */
static uint32_t least_head(const struct head *head)
{
    uint32_t best = ID_RUN_FAN_OUT;
    for (uint32_t i = 0; i < ID_RUN_FAN_OUT; i++) {
        if (head[i].consumed == head[i].total)
            continue;
        const struct id_entry *e = &head[i].entries[head[i].at];
        const struct id_entry *b = best < ID_RUN_FAN_OUT ? &head[best].entries[head[best].at] : e;
        if (best == ID_RUN_FAN_OUT || e->hash < b->hash ||
            (e->hash == b->hash && e->locator < b->locator))
            best = i;
    }
    return best;
}

/* Reads up to `budget` entries, rounded up to whole output chunks; *out_done at the end of all
 * inputs. */
static enum status merge_advance(struct store_txn *t, enum store_table table,
                                 struct id_run_list *list, struct id_merge *merge,
                                 const struct id_runs_upkeep *upkeep, uint64_t budget,
                                 bool *out_done)
{
    struct head head[ID_RUN_FAN_OUT];
    struct id_entry *output = upkeep->buffer;
    uint32_t output_count = 0;
    for (uint32_t i = 0; i < ID_RUN_FAN_OUT; i++) {
        head[i] = (struct head){.entries = upkeep->buffer +
                                           (i + 1) * (CHUNK_SIZE / sizeof(struct id_entry)),
                                .consumed = merge->input[i].consumed,
                                .total = list->runs[run_at(list, merge->input[i].run)].entry_count};
        if (head[i].consumed < head[i].total) {
            enum status status = head_load(t, table, merge->input[i].run, &head[i]);
            if (status != STATUS_OK)
                return status;
        }
    }

    bool done = false;
    for (uint64_t spent = 0; !done && spent < budget;) {
        uint32_t i;
        while (output_count < ID_CHUNK_ENTRIES && (output_count > 0 || spent < budget) &&
               (i = least_head(head)) < ID_RUN_FAN_OUT) {
            struct head *h = &head[i];
            struct id_entry entry = h->entries[h->at];
            spent++;
            if (entry.locator >= upkeep->locator_first) {
                output[output_count++] = entry;
                if (entry.locator > merge->output_locator_max)
                    merge->output_locator_max = entry.locator;
            }
            h->at++;
            h->consumed++;
            if (h->at == h->count && h->consumed < h->total) {
                enum status status = head_load(t, table, merge->input[i].run, h);
                if (status != STATUS_OK)
                    return status;
            }
        }
        done = least_head(head) == ID_RUN_FAN_OUT;
        if (output_count > 0) {
            uint32_t chunk = (uint32_t)(merge->output_count / ID_CHUNK_ENTRIES);
            enum status status =
                id_chunk_write(t, table, merge->output, chunk, output, output_count, false);
            if (status != STATUS_OK)
                return status;
            merge->output_count += output_count;
            output_count = 0;
        }
    }
    for (uint32_t i = 0; i < ID_RUN_FAN_OUT; i++)
        merge->input[i].consumed = head[i].consumed;
    *out_done = done;
    return STATUS_OK;
}

/* The output takes the place of its inputs. */
static void merge_finish(struct id_run_list *list, uint32_t m)
{
    struct id_merge merge = list->merges[m];
    list->merge_count--;
    memmove(&list->merges[m], &list->merges[m + 1],
            (list->merge_count - m) * sizeof list->merges[0]);
    memset(&list->merges[list->merge_count], 0, sizeof list->merges[0]);
    for (uint32_t i = 0; i < ID_RUN_FAN_OUT; i++)
        run_remove(list, merge.input[i].run);
    if (merge.output_count > 0)
        list->runs[list->run_count++] = (struct id_run){.number = merge.output,
                                                        .entry_count = merge.output_count,
                                                        .locator_max = merge.output_locator_max};
}

/* Begins a merge of the first eight idle runs of a tier, where there are eight and none is going.
 */
static bool merge_begin(struct id_run_list *list, uint32_t tier)
{
    if (list->merge_count == ID_MERGES_MAX)
        return false;
    for (uint32_t m = 0; m < list->merge_count; m++)
        if (list->merges[m].tier == tier)
            return false;
    struct id_merge merge = {.output = list->run_next, .tier = tier};
    uint32_t found = 0;
    for (uint32_t i = 0; i < list->run_count && found < ID_RUN_FAN_OUT; i++)
        if (tier_of(list->runs[i].entry_count) == tier &&
            !run_is_merging(list, list->runs[i].number))
            merge.input[found++].run = list->runs[i].number;
    if (found < ID_RUN_FAN_OUT)
        return false;
    list->run_next++;
    list->merges[list->merge_count++] = merge;
    return true;
}

static enum status merge_all(struct store_txn *t, enum store_table table, struct id_run_list *list,
                             const struct id_runs_upkeep *upkeep, uint64_t budget)
{
    for (uint32_t m = list->merge_count; m-- > 0;) {
        bool done = false;
        if (list->removal_count + ID_RUN_FAN_OUT > ID_REMOVALS_MAX) {
            enum status status = delete_chunks(t, table, list, UINT64_MAX);
            if (status != STATUS_OK)
                return status;
        }
        enum status status = merge_advance(t, table, list, &list->merges[m], upkeep, budget, &done);
        if (status != STATUS_OK)
            return status;
        if (done)
            merge_finish(list, m);
    }
    return STATUS_OK;
}

enum status id_runs_maintain(struct store_txn *t, enum store_table table, struct id_run_list *list,
                             const struct id_runs_upkeep *upkeep)
{
    drop_forgotten_runs(list, upkeep->locator_first);
    enum status status = merge_all(t, table, list, upkeep, upkeep->merge_entries);
    for (uint32_t tier = 0; tier < ID_MERGES_MAX; tier++)
        merge_begin(list, tier);
    while (status == STATUS_OK && list->run_count > ID_RUNS_PRESSED && list->merge_count > 0) {
        status = merge_all(t, table, list, upkeep, UINT64_MAX);
        for (uint32_t tier = 0; tier < ID_MERGES_MAX; tier++)
            merge_begin(list, tier);
    }
    if (status != STATUS_OK)
        return status;
    return delete_chunks(t, table, list, upkeep->removal_chunks);
}
