/* What the journal promises when nothing goes wrong. */
#include "storage/journal_state.h"
#include "tests/storage/journal_rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024u

static struct rig rig;

static void teardown(void)
{
    if (rig.memory != NULL)
        rig_deinit(&rig);
}

TestSuite(journal, .fini = teardown, .timeout = 60);

static struct journal_position position(void)
{
    struct journal_position out;
    journal_position(rig.journal, &out);
    return out;
}

static void reopen(void)
{
    rig_stop(&rig);
    cr_assert_eq(rig_open(&rig), STATUS_OK, "%s", rig.damage.text);
    cr_assert_eq(rig.cut, 0);
    const char *wrong = rig_check(&rig);
    cr_assert_null(wrong, "%s", wrong);
}

static struct journal_report verified(void)
{
    struct journal_report report;
    cr_assert_eq(journal_verify(rig.options.files, &report, NULL, NULL), STATUS_OK);
    cr_assert_eq(report.damage.status, STATUS_OK, "%s", report.damage.text);
    return report;
}

/* A journal just made: no entries, an all-zero head, and it cannot be made twice. */
Test(journal, a_new_one_is_empty_and_is_not_made_twice)
{
    rig_init(&rig, 1, 64 * KIB, 100);
    rig_start(&rig);
    const struct journal_position p = position();
    cr_assert_eq(p.first_index, 1);
    cr_assert_eq(p.last_index, 0);
    cr_assert_eq(p.anchor_index, 0);
    cr_assert_eq(p.anchor_term, 0);
    cr_assert_eq(p.segment_count, 1);
    cr_assert(journal_is_zero(p.head, sizeof p.head));
    cr_assert_eq(journal_create(&rig.options), STATUS_EXISTS);
    reopen();
    cr_assert_eq(position().last_index, 0);
}

/* No directory entry, no journal; a size that no segment may have. */
Test(journal, missing_and_misconfigured_are_told_apart)
{
    rig_init(&rig, 1, 64 * KIB, 100);
    cr_assert_eq(rig_open(&rig), STATUS_NOT_FOUND);
    cr_assert(strlen(rig.damage.text) > 0);
    rig.options.segment_size = 64 * KIB + 1;
    cr_assert_eq(journal_create(&rig.options), STATUS_INVALID);
    cr_assert_eq(rig_open(&rig), STATUS_INVALID);
}

/* A journal of another cluster is refused by name. */
Test(journal, of_another_cluster_is_refused)
{
    rig_init(&rig, 1, 64 * KIB, 100);
    rig_start(&rig);
    rig_stop(&rig);
    rig.options.cluster_id[3] ^= 1;
    cr_assert_eq(rig_open(&rig), STATUS_WRONG_CLUSTER);
    cr_assert_str_eq(rig.damage.segment, "00000000000000000001.seg");
}

/* Entries of all sizes, read back before and after a restart. */
Test(journal, what_was_acknowledged_is_read_back_after_reopening)
{
    rig_init(&rig, 2, 64 * KIB, 3000);
    rig_start(&rig);
    rig_fill(&rig, 200);
    const char *wrong = rig_check(&rig);
    cr_assert_null(wrong, "%s", wrong);
    reopen();
    cr_assert_eq(position().last_index, 200);
    rig_fill(&rig, 50);
    reopen();
    cr_assert_eq(position().last_index, 250);
    cr_assert(position().segment_count > 3);
    const struct journal_report report = verified();
    cr_assert_eq(report.entry_count, 250);
    cr_assert_eq(report.last_index, 250);
    cr_assert_eq(memcmp(report.head, position().head, sizeof report.head), 0);
}

/* The largest entry, an empty one, and one that no segment can hold. */
Test(journal, sizes_at_the_bounds)
{
    rig_init(&rig, 3, 2048 * KIB, 1024 * KIB);
    rig_start(&rig);
    cr_assert(rig_run(&rig));
    uint8_t *payload = calloc(1, 1024 * KIB);
    struct journal_entry entries[2] = {
        {.index = 1, .term = 1, .type = JOURNAL_COMMAND, .size = 1024 * KIB, .payload = payload},
        {.index = 2, .term = 1, .type = JOURNAL_BARRIER, .size = 0, .payload = NULL}};
    cr_assert_eq(journal_record_size(JOURNAL_COMMAND, 1024 * KIB), 64 + 1024 * KIB + 64);
    cr_assert_eq(journal_record_size(JOURNAL_BARRIER, 0), 128);
    cr_assert_eq(journal_record_size(JOURNAL_COMMAND, 32), 128);
    cr_assert_eq(journal_record_size(JOURNAL_COMMAND, 33), 192);
    cr_assert_eq(journal_record_size(JOURNAL_SEAL, 0), 64);
    rig_deinit(&rig);

    rig_init(&rig, 3, 64 * KIB, 60 * KIB);
    rig_start(&rig);
    entries[0].size = 60 * KIB;
    struct journal_append append = {.entries = entries, .entry_count = 1, .cb = NULL};
    append.cb = (journal_append_cb)abort;
    cr_assert_eq(journal_append(rig.journal, &append), STATUS_INVALID);
    free(payload);
}

/* Many queued requests cost one write and one sync. */
Test(journal, a_group_is_one_write_and_one_sync)
{
    rig_init(&rig, 4, 1024 * KIB, 200);
    rig_start(&rig);
    cr_assert(rig_run(&rig));
    rig_fill(&rig, 1); /* the start after the stop is synced alone */
    files_memory_fail(rig.memory, 0, 0, STATUS_OK);
    for (int i = 0; i < 50; i++)
        cr_assert_eq(rig_append(&rig, 2), STATUS_OK);
    cr_assert_eq(rig.acknowledged, 1, "nothing before the sync");
    cr_assert_eq(rig_step_writer(&rig), JOB_AGAIN);
    cr_assert_eq(rig.acknowledged, 101);
    cr_assert_eq(files_memory_calls(rig.memory, FILES_CALL_WRITE), 1);
    cr_assert_eq(files_memory_calls(rig.memory, FILES_CALL_SYNC), 1);
}

/* 5 ms idle: one seal, then nothing more however long it idles. */
Test(journal, idling_seals_once)
{
    rig_init(&rig, 5, 64 * KIB, 200);
    rig_start(&rig);
    rig_fill(&rig, 3);
    const uint64_t records = verified().record_count;
    uint64_t wait = 0;
    cr_assert_eq(journal_writer_step(rig.journal, &wait), JOB_IDLE);
    cr_assert(wait > 0 && wait <= 5000000);
    cr_assert(rig_idle(&rig));
    cr_assert_eq(verified().record_count, records + 1);
    cr_assert_eq(journal_writer_step(rig.journal, &wait), JOB_IDLE);
    cr_assert_eq(wait, UINT64_MAX);
    cr_assert(rig_idle(&rig));
    cr_assert_eq(verified().record_count, records + 1);
}

/* Opening and stopping again and again without writing does not grow the journal. */
Test(journal, restarts_without_writes_leave_no_trace)
{
    rig_init(&rig, 6, 64 * KIB, 200);
    rig_start(&rig);
    rig_fill(&rig, 3);
    reopen();
    const uint64_t records = verified().record_count;
    for (int i = 0; i < 20; i++)
        reopen();
    cr_assert_eq(verified().record_count, records);
}

/* Conflicts: entries are replaced by those of a later term, also across segments, also after a
 * restart. */
Test(journal, a_truncated_suffix_is_replaced)
{
    rig_init(&rig, 7, 64 * KIB, 4000);
    rig_start(&rig);
    rig_fill(&rig, 60);
    cr_assert(position().segment_count >= 2);
    cr_assert_eq(rig_truncate(&rig, 11), STATUS_OK);
    cr_assert_eq(position().last_index, 10);
    cr_assert_eq(position().synced_index, 10);
    uint64_t term;
    cr_assert_eq(journal_term(rig.journal, 10, &term), STATUS_OK);
    cr_assert_eq(term, 1);
    cr_assert_eq(journal_term(rig.journal, 11, &term), STATUS_NOT_FOUND);
    rig_fill(&rig, 30);
    cr_assert_eq(journal_term(rig.journal, 11, &term), STATUS_OK);
    cr_assert_eq(term, 2);
    const char *wrong = rig_check(&rig);
    cr_assert_null(wrong, "%s", wrong);
    cr_assert_eq(rig_truncate(&rig, 40), STATUS_OK);
    cr_assert_eq(rig_truncate(&rig, 1), STATUS_OK);
    reopen();
    cr_assert_eq(position().last_index, 0);
    rig_fill(&rig, 5);
    reopen();
    cr_assert_eq(position().last_index, 5);
}

/* Pruning removes whole segments only, keeps the anchor, and what is kept stays readable. */
Test(journal, a_pruned_prefix_leaves_its_anchor)
{
    rig_init(&rig, 8, 64 * KIB, 4000);
    rig_start(&rig);
    rig_fill(&rig, 200);
    const struct journal_position before = position();
    uint8_t heads[201][JOURNAL_HASH_SIZE];
    for (uint64_t i = 0; i <= 200; i++)
        cr_assert_eq(journal_head(rig.journal, i, heads[i]), STATUS_OK);
    cr_assert_eq(rig_prune(&rig, 100), STATUS_OK);
    cr_assert(rig_run(&rig));
    for (int again = 0; again < 2; again++) {
        const struct journal_position p = position();
        cr_assert(p.first_index > 1 && p.first_index <= 101);
        cr_assert(p.segment_count < before.segment_count);
        cr_assert_eq(p.anchor_index, p.first_index - 1);
        cr_assert_eq(p.anchor_term, 1);
        uint8_t head[JOURNAL_HASH_SIZE];
        cr_assert_eq(journal_head(rig.journal, p.anchor_index, head), STATUS_OK);
        cr_assert_eq(memcmp(head, heads[p.anchor_index], sizeof head), 0);
        cr_assert_eq(journal_head(rig.journal, p.anchor_index - 1, head), STATUS_NOT_FOUND);
        cr_assert_eq(journal_head(rig.journal, 201, head), STATUS_NOT_FOUND);
        reopen();
    }
    cr_assert_null(files_memory_bytes(rig.memory, "00000000000000000001.seg", NULL));
    cr_assert_eq(verified().first_index, position().first_index);
}

/* Everything pruned that may be, then a truncation behind the newest header's anchor. */
Test(journal, truncation_behind_the_oldest_header_survives_a_restart)
{
    rig_init(&rig, 9, 64 * KIB, 4000);
    rig_start(&rig);
    rig_fill(&rig, 100);
    cr_assert(position().segment_count >= 3);
    cr_assert_eq(rig_truncate(&rig, 3), STATUS_OK); /* every segment but the first is now empty */
    rig_fill(&rig, 2);
    cr_assert_eq(rig_prune(&rig, 2), STATUS_OK);
    cr_assert(rig_run(&rig));
    cr_assert_eq(position().first_index, 3);
    cr_assert_eq(position().segment_count, 1);
    reopen();
    cr_assert_eq(position().first_index, 3);
    cr_assert_eq(position().last_index, 4);
}

/* The membership given before a segment begins is what its anchor keeps. */
Test(journal, a_configuration_is_kept_by_later_anchors)
{
    rig_init(&rig, 10, 64 * KIB, 4000);
    rig_start(&rig);
    uint8_t bytes[JOURNAL_CONFIGURATION_SIZE_MAX];
    size_t size = 99;
    cr_assert_eq(journal_configuration(rig.journal, bytes, sizeof bytes, &size), STATUS_OK);
    cr_assert_eq(size, 0);
    uint8_t large[JOURNAL_CONFIGURATION_SIZE_MAX];
    memset(large, 0xab, sizeof large);
    journal_set_configuration(rig.journal, large, sizeof large);
    rig_fill(&rig, 60);
    journal_set_configuration(rig.journal, "later", 5); /* no segment begins after it */
    reopen();
    cr_assert_eq(journal_configuration(rig.journal, bytes, 10, &size), STATUS_INVALID);
    cr_assert_eq(journal_configuration(rig.journal, bytes, sizeof bytes, &size), STATUS_OK);
    cr_assert_eq(size, sizeof large);
    cr_assert_eq(memcmp(bytes, large, size), 0);
}

static bool count_two(void *context, const struct journal_entry *entry)
{
    (void)entry;
    return ++*(int *)context < 2;
}

/* Ranges: partial, stopped early, outside. */
Test(journal, reads_exactly_the_range_asked_for)
{
    rig_init(&rig, 11, 64 * KIB, 4000);
    rig_start(&rig);
    rig_fill(&rig, 50);
    int count = 0;
    cr_assert_eq(journal_read(rig.journal, 20, 40, count_two, &count), STATUS_OK);
    cr_assert_eq(count, 2);
    cr_assert_eq(journal_read(rig.journal, 0, 40, count_two, &count), STATUS_NOT_FOUND);
    cr_assert_eq(journal_read(rig.journal, 20, 51, count_two, &count), STATUS_NOT_FOUND);
    cr_assert_eq(journal_read(rig.journal, 51, 50, count_two, &count), STATUS_OK);
    cr_assert_eq(rig_append(&rig, 1), STATUS_OK);
    cr_assert_eq(journal_read(rig.journal, 51, 51, count_two, &count), STATUS_NOT_FOUND,
                 "not synced, not readable");
    cr_assert_eq(count, 2);
}

/* No room for a spare: appends are refused while the current segment still has room; pruning brings
 * it back. */
Test(journal, a_full_disk_makes_it_read_only_before_it_is_full)
{
    rig_init(&rig, 12, 64 * KIB, 4000);
    files_memory_set_capacity(rig.memory, 4 * 64 * KIB);
    rig_start(&rig);
    uint32_t accepted = 0;
    enum status status = STATUS_OK;
    while (accepted < 1000) {
        status = rig_append(&rig, 1);
        cr_assert(rig_run(&rig));
        if (status != STATUS_OK)
            break;
        accepted++;
    }
    cr_assert_eq(status, STATUS_READ_ONLY);
    cr_assert(journal_is_read_only(rig.journal));
    cr_assert(accepted > 20);
    cr_assert_eq(rig.acknowledged, accepted, "what was accepted was written");
    cr_assert_eq(rig_truncate(&rig, accepted), STATUS_OK, "marks still find room");
    cr_assert(rig_idle(&rig));
    reopen();
    cr_assert(rig_run(&rig));
    cr_assert(journal_is_read_only(rig.journal));
    cr_assert_eq(rig_append(&rig, 1), STATUS_READ_ONLY);

    cr_assert_eq(rig_prune(&rig, accepted / 2), STATUS_OK);
    cr_assert(rig_run(&rig));
    cr_assert_not(journal_is_read_only(rig.journal));
    rig_fill(&rig, 3);
    reopen();
}

/* Writes zeros for the next segment until it pauses; how many there are. */
static uint64_t zeros_ready(void)
{
    while (rig_step_preparer(&rig) == JOB_AGAIN)
        continue;
    const struct journal_preparer *preparer = &rig.journal->preparer;
    return preparer->file != NULL ? preparer->written : rig.options.segment_size;
}

/* The next segment is made as this one fills, twice as fast, so that the syncs of entries never
 * wait for many zeros; and slowly where nothing fills it. */
Test(journal, the_next_segment_is_prepared_at_the_pace_of_this_one)
{
    rig_init(&rig, 18, 2048 * KIB, 16 * KIB);
    rig.payload_fixed = 16 * KIB;
    rig_start(&rig);
    uint64_t ready = zeros_ready();
    cr_assert_leq(ready, 2 * JOURNAL_PREPARE_SLICE);
    for (uint64_t used = 0; ready < rig.options.segment_size; used += 16 * KIB) {
        cr_assert_leq(used, rig.options.segment_size / 2, "not twice as fast");
        cr_assert_leq(ready, 2 * used + 2 * JOURNAL_PREPARE_SLICE, "ahead of what it is for");
        cr_assert_geq(ready, 2 * used, "behind");
        cr_assert_eq(rig_append(&rig, 1), STATUS_OK);
        while (rig_step_writer(&rig) == JOB_AGAIN)
            continue;
        ready = zeros_ready();
    }
    rig_deinit(&rig);

    rig_init(&rig, 19, 2048 * KIB, 16 * KIB);
    rig_start(&rig);
    ready = zeros_ready();
    for (int slices = 0; ready < rig.options.segment_size; slices++) {
        cr_assert_lt(slices, 8);
        cr_assert_eq(zeros_ready(), ready, "without time");
        rig.clock += JOURNAL_SLICE_PAUSE_NS;
        const uint64_t more = zeros_ready();
        cr_assert_gt(more, ready);
        cr_assert_leq(more, ready + JOURNAL_PREPARE_SLICE);
        ready = more;
    }
    rig_deinit(&rig);
}

/* The next segment is larger, since the setting was changed: it follows the share that is filled.
 */
Test(journal, a_larger_next_segment_is_ready_in_time)
{
    rig_init(&rig, 21, 512 * KIB, 20 * KIB);
    rig.payload_fixed = 20 * KIB;
    rig_start(&rig);
    rig_stop(&rig);
    rig.options.segment_size = 2048 * KIB;
    cr_assert_eq(rig_open(&rig), STATUS_OK);
    cr_assert_lt(zeros_ready(), rig.options.segment_size);
    for (int i = 0; i < 14; i++) {
        cr_assert_eq(rig_append(&rig, 1), STATUS_OK);
        while (rig_step_writer(&rig) == JOB_AGAIN)
            continue;
    }
    cr_assert_eq(zeros_ready(), rig.options.segment_size);
    rig_stop(&rig);
}

/* A request that finds no room before there is a next segment does not wait for any pace. */
Test(journal, a_request_that_waits_for_the_next_segment_hurries_it)
{
    rig_init(&rig, 20, 2048 * KIB, 400 * KIB);
    rig.payload_fixed = 400 * KIB;
    rig_start(&rig);
    cr_assert_lt(zeros_ready(), rig.options.segment_size);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(rig_append(&rig, 1), STATUS_OK);
    cr_assert_lt(zeros_ready(), rig.options.segment_size, "nothing was written yet");
    cr_assert_eq(rig_append(&rig, 1), STATUS_BUSY);
    cr_assert_eq(zeros_ready(), rig.options.segment_size);
    cr_assert(rig_run(&rig));
    cr_assert_eq(rig_append(&rig, 1), STATUS_OK);
    cr_assert(rig_run(&rig));
    cr_assert_eq(rig.acknowledged, 6);
    reopen();
}

/* The queue is bounded; what was accepted is always written, whatever the spare does. */
Test(journal, the_queue_is_bounded_and_all_that_was_accepted_is_written)
{
    rig_init(&rig, 13, 64 * KIB, 2000);
    rig_start(&rig);
    while (rig_append(&rig, 1) == STATUS_OK)
        continue;
    cr_assert_eq(rig_append(&rig, 1), STATUS_BUSY);
    const uint64_t without_spare = rig.appended;
    while (rig_step_writer(&rig) == JOB_AGAIN)
        continue;
    cr_assert_eq(rig.acknowledged, without_spare);
    cr_assert(rig_run(&rig));
    while (rig_append(&rig, 1) == STATUS_OK)
        continue;
    cr_assert(rig.appended > without_spare);
    while (rig_step_writer(&rig) == JOB_AGAIN)
        continue;
    cr_assert_eq(rig.acknowledged, rig.appended);
    reopen();
}

/* Records that end at each place near the segment's end: seal and stop always find room behind
 * them, without turning to the next segment. */
Test(journal, a_record_never_takes_the_room_of_the_marks_behind_it)
{
    for (uint32_t left = 0; left < 8; left++) {
        rig_init(&rig, 16, 64 * KIB, 60 * KIB);
        rig_start(&rig);
        rig.payload_fixed = 20000;
        rig_fill(&rig, 1);
        /* Behind header, stop, start and the first record; what is left, less `left` steps. */
        const uint32_t used =
            4096 + 64 + 64 + (uint32_t)journal_record_size(JOURNAL_COMMAND, 20000);
        rig.payload_fixed = 64 * KIB - 64 - used - 64 - 32 - left * 64;
        rig_fill(&rig, 1);
        const uint64_t segments = position().segment_count;
        cr_assert_eq(segments, left < 2 ? 2 : 1, "left %u", left);
        cr_assert(rig_idle(&rig));
        cr_assert_eq(position().segment_count, segments);
        rig_stop(&rig);
        cr_assert_eq(verified().segment_count, segments);
        cr_assert_eq(rig_open(&rig), STATUS_OK);
        rig_deinit(&rig);
    }
    rig.memory = NULL;
}

/* After stop: no appends, the queue is finished first. */
Test(journal, stopping_finishes_what_is_queued)
{
    rig_init(&rig, 14, 64 * KIB, 2000);
    rig_start(&rig);
    cr_assert_eq(rig_append(&rig, 3), STATUS_OK);
    journal_stop(rig.journal);
    cr_assert_eq(rig_append(&rig, 1), STATUS_STOPPING);
    cr_assert(journal_write_age_ns(rig.journal) > 0);
    cr_assert(rig_run(&rig));
    cr_assert_eq(rig.acknowledged, 3);
    cr_assert_eq(journal_write_age_ns(rig.journal), 0);
    journal_close(rig.journal);
    rig.journal = NULL;
    cr_assert_eq(rig_open(&rig), STATUS_OK);
    cr_assert_null(rig_check(&rig));
}

/* Another segment size from one start to the next: old segments stay readable, the old spare goes.
 */
Test(journal, the_segment_size_may_change_between_starts)
{
    rig_init(&rig, 15, 64 * KIB, 4000);
    rig_start(&rig);
    for (int i = 0; i < 6; i++) {
        rig_fill(&rig, 30);
        rig.options.segment_size = (i % 2 == 0 ? 128 : 64) * KIB;
        reopen();
    }
    cr_assert_eq(position().last_index, 180);
    verified();
}

/* Lives drawn at random, without faults: nothing is ever lost or changed. */
Test(journal, random_lives_match_the_model)
{
    for (uint64_t seed = 0; seed < 150; seed++) {
        rig_init(&rig, seed, 64 * KIB, 5000);
        rig_start(&rig);
        rig_live(&rig, 60);
        cr_assert_eq(journal_failure(rig.journal), STATUS_OK);
        cr_assert(rig_run(&rig));
        cr_assert_eq(rig.acknowledged, rig.appended, "seed %lu", (unsigned long)seed);
        reopen();
        rig_deinit(&rig);
    }
}

struct sizes {
    uint64_t of[512]; /* by index */
};

static bool note_size(void *context, const struct journal_entry *entry)
{
    ((struct sizes *)context)->of[entry->index] = journal_record_size(entry->type, entry->size);
    return true;
}

/* A tail of so many bytes begins where the records between there and its end are no more, and not
 * much later than it could; over several segments, before and after pruning. */
Test(journal, a_tail_reaches_as_far_back_as_its_bytes)
{
    static struct sizes sizes;
    rig_init(&rig, 5, 64 * KIB, 3000);
    rig_start(&rig);
    rig_fill(&rig, 200);
    cr_assert_eq(journal_read(rig.journal, 1, 200, note_size, &sizes), STATUS_OK);
    for (int round = 0; round < 2; round++) {
        const uint64_t oldest = position().first_index;
        for (uint64_t index = oldest; index <= 200; index += 7) {
            cr_assert_eq(journal_tail(rig.journal, index, UINT64_MAX), oldest);
            cr_assert_eq(journal_tail(rig.journal, index, 0), index);
            for (uint64_t bytes = 1000; bytes < 600 * KIB; bytes = bytes * 3 / 2) {
                const uint64_t first = journal_tail(rig.journal, index, bytes);
                cr_assert_leq(first, index);
                cr_assert_geq(first, oldest);
                uint64_t taken = 0;
                for (uint64_t i = first; i < index; i++)
                    taken += sizes.of[i];
                cr_assert_leq(taken, bytes);
                /* Ends of segments count as well. */
                if (first > oldest)
                    cr_assert_gt(taken + sizes.of[first - 1] + 5000 * (1 + bytes / (60 * KIB)),
                                 bytes);
            }
        }
        cr_assert_eq(journal_tail(rig.journal, 300, 1000), 301);
        cr_assert_eq(rig_prune(&rig, 100), STATUS_OK);
    }
}
