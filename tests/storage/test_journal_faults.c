/*
 * What the journal promises when calls fail, processes die and power goes: every acknowledged entry
 * is there after reopening, nothing else than what was appended, and what a reopened journal shows
 * survives a power loss at once.
 */
#include "storage/journal_format.h"
#include "tests/storage/journal_rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define SEGMENT (64u * 1024)

TestSuite(journal_faults, .timeout = 500);

static void fail_words(const char *what, uint64_t seed, uint64_t n, int64_t sectors,
                       const char *wrong, const struct rig *rig)
{
    cr_assert_fail("%s: seed %lu, call %lu, sectors %ld: %s; acknowledged %lu, %s", what,
                   (unsigned long)seed, (unsigned long)n, (long)sectors, wrong,
                   (unsigned long)rig->acknowledged, rig->damage.text);
}

/* NULL, or what is wrong with the journal as it lies there now. Reopens, compares, loses power at
 * once, reopens and compares again; the same with some appends before the power goes; goes on
 * writing, stops, verifies. */
static const char *examine_after(struct rig *rig, uint32_t appends)
{
    rig_abandon(rig);
    files_memory_restart(rig->memory);
    if (rig_open(rig) != STATUS_OK)
        return "it does not open";
    const char *wrong = rig_check(rig);
    if (wrong != NULL)
        return wrong;
    for (uint32_t i = 0; i < appends; i++) {
        enum status status = rig_append(rig, 1);
        if (status == STATUS_BUSY && rig_run(rig)) /* the segment is full: a spare is made */
            status = rig_append(rig, 1);
        if (status != STATUS_OK)
            return "it does not accept appends";
        (void)rig_step_writer(rig);
    }
    rig_abandon(rig);
    files_memory_power_loss(rig->memory);
    if (rig_open(rig) != STATUS_OK)
        return "it does not open after a power loss behind the reopening";
    if (rig->cut != 0)
        return "what a reopened journal showed was cut";
    wrong = rig_check(rig);
    if (wrong != NULL)
        return wrong;
    rig_fill(rig, 3);
    rig_stop(rig);
    struct journal_report report;
    if (journal_verify(rig->options.files, &report, NULL, NULL) != STATUS_OK ||
        report.damage.status != STATUS_OK || report.torn_bytes != 0) {
        rig->damage = report.damage;
        return "it does not verify after going on";
    }
    if (report.last_index != rig->acknowledged)
        return "verification ends at another entry";
    return NULL;
}

static const char *examine(struct rig *rig)
{
    struct rig twin = *rig; /* the model is plain data; only the files need copying */
    twin.journal = NULL;
    twin.requests = NULL;
    rig_abandon(rig);
    files_memory_restart(rig->memory);
    twin.memory = files_memory_clone(rig->memory, rig_draw(rig));
    twin.options.files = files_memory_table(twin.memory);
    twin.options.clock_context = &twin;
    twin.options.random_context = &twin;
    const char *wrong = examine_after(&twin, 3);
    if (wrong != NULL)
        rig->damage = twin.damage;
    rig_deinit(&twin);
    return wrong != NULL ? wrong : examine_after(rig, 0);
}

/* Each changing call of a life fails once, by I/O error and by a full disk. Whatever the journal
 * makes of it, acknowledged entries stay; an I/O error is the end of the process. */
static void fail_every_call(uint32_t mask, enum status status)
{
    struct rig rig;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        for (uint64_t n = 1;; n++) {
            rig_init(&rig, seed, SEGMENT, 6000);
            rig_start(&rig);
            files_memory_fail(rig.memory, mask, n, status);
            rig_live(&rig, 40);
            const bool struck = files_memory_failed(rig.memory);
            const char *wrong = examine(&rig);
            if (wrong != NULL)
                fail_words("failing call", seed, n, -1, wrong, &rig);
            rig_deinit(&rig);
            if (!struck)
                break;
        }
    }
}

Test(journal_faults, any_failing_write_loses_nothing)
{
    fail_every_call(FILES_CALL_WRITE, STATUS_IO);
}

Test(journal_faults, any_failing_sync_loses_nothing)
{
    fail_every_call(FILES_CALL_SYNC, STATUS_IO);
}

Test(journal_faults, any_failing_name_or_allocation_loses_nothing)
{
    fail_every_call(FILES_CALL_OPEN | FILES_CALL_ALLOCATE | FILES_CALL_RENAME | FILES_CALL_REMOVE |
                        FILES_CALL_SYNC_DIRECTORY | FILES_CALL_LIST | FILES_CALL_TRUNCATE,
                    STATUS_IO);
}

Test(journal_faults, a_disk_full_at_any_call_loses_nothing)
{
    fail_every_call(FILES_CALL_WRITE | FILES_CALL_ALLOCATE, STATUS_DISK_FULL);
}

/* A failed write or sync ends everything: later appends and steps say so, every request in flight
 * is told, and a sync is never tried again. */
Test(journal_faults, a_failed_sync_is_the_end)
{
    struct rig rig;
    rig_init(&rig, 5, SEGMENT, 1000);
    rig_start(&rig);
    rig_fill(&rig, 5);
    cr_assert_eq(rig_append(&rig, 1), STATUS_OK);
    cr_assert_eq(rig_append(&rig, 1), STATUS_OK);
    files_memory_fail(rig.memory, FILES_CALL_SYNC, 1, STATUS_IO);
    rig.callbacks = 0;
    cr_assert_eq(rig_step_writer(&rig), JOB_FAILED);
    cr_assert_eq(rig.callbacks, 2);
    cr_assert_eq(rig.failure, STATUS_IO);
    cr_assert_eq(rig.acknowledged, 5);
    cr_assert_eq(journal_failure(rig.journal), STATUS_IO);
    cr_assert_eq(rig_append(&rig, 1), STATUS_IO);
    cr_assert_eq(journal_truncate_suffix(rig.journal, 3), STATUS_IO);
    cr_assert_eq(rig_step_writer(&rig), JOB_FAILED);
    cr_assert_eq(rig_step_preparer(&rig), JOB_FAILED);
    cr_assert_eq(files_memory_calls(rig.memory, FILES_CALL_SYNC), 1);
    journal_close(rig.journal);
    rig.journal = NULL;
    rig_deinit(&rig);
}

/* The first step of the preparer that fails reaches the loop although nobody appends. */
Test(journal_faults, a_failing_preparer_is_the_end_too)
{
    struct rig rig;
    rig_init(&rig, 5, SEGMENT, 1000);
    rig_start(&rig);
    files_memory_fail(rig.memory, FILES_CALL_SYNC_DIRECTORY, 1, STATUS_IO);
    cr_assert_not(rig_run(&rig));
    cr_assert_eq(journal_failure(rig.journal), STATUS_IO);
    rig_deinit(&rig);
}

/* The process dies at every boundary of a changing call; a write is torn at each of its sectors.
 * Then it starts again on what the page cache kept. */
Test(journal_faults, a_crash_at_any_write_boundary_loses_nothing)
{
    struct rig rig;
    for (uint64_t seed = 11; seed <= 12; seed++) {
        for (uint64_t n = 1;; n++) {
            uint64_t sectors = 1;
            bool struck = false;
            for (int64_t keep = -1; keep < (int64_t)sectors; keep++) {
                rig_init(&rig, seed, SEGMENT, 6000);
                rig_start(&rig);
                files_memory_halt(rig.memory, FILES_CALL_CHANGES, n, keep);
                rig_live(&rig, 30);
                struck = files_memory_failed(rig.memory);
                const uint64_t last = files_memory_last_write_sectors(rig.memory);
                const char *wrong = examine(&rig);
                if (wrong != NULL)
                    fail_words("crash", seed, n, keep, wrong, &rig);
                rig_deinit(&rig);
                /* Long writes of zeros (the spare) are torn at a few places only. */
                sectors = last > 40 ? 3 : last;
            }
            if (!struck)
                break;
        }
    }
}

/* One life, power lost at a random call, every unsynced sector, size and name by its own coin. */
static const char *lose_power(uint64_t seed, bool sync, uint64_t *out_cut)
{
    struct rig rig;
    rig_init(&rig, seed, SEGMENT, 6000);
    rig_start(&rig);
    files_memory_settle(rig.memory);
    files_memory_set_sync(rig.memory, sync);
    files_memory_halt(rig.memory, FILES_CALL_CHANGES, 1 + rig_draw(&rig) % 250, -1);
    rig_live(&rig, 80);
    rig_abandon(&rig);
    files_memory_power_loss(rig.memory);
    files_memory_set_sync(rig.memory, true);
    const enum status status = rig_open(&rig);
    *out_cut += rig.cut;
    const char *wrong = status == STATUS_OK ? rig_check(&rig) : "it does not open";
    if (wrong == NULL)
        wrong = examine(&rig);
    if (wrong != NULL && sync)
        fail_words("power loss", seed, 0, -1, wrong, &rig);
    rig_deinit(&rig);
    return wrong;
}

Test(journal_faults, power_lost_at_any_moment_loses_nothing_acknowledged)
{
    uint64_t cut = 0;
    for (uint64_t seed = 1000; seed < (RIG_UNDER_SANITIZER ? 1600 : 4000); seed++)
        (void)lose_power(seed, true, &cut);
    cr_assert(cut > 0, "some tails were torn, or the test tests nothing");
}

/* The same with a disk that lies about sync: the test above must be able to see it. */
Test(journal_faults, without_sync_the_power_loss_test_fails)
{
    uint64_t cut = 0;
    uint32_t noticed = 0;
    for (uint64_t seed = 1000; seed < 1200; seed++)
        noticed += lose_power(seed, false, &cut) != NULL;
    cr_assert(noticed > 100, "only %u of 200 losses were noticed", noticed);
}

/* journal_create at every failing call and crash: afterwards there is a journal, or none and it can
 * be made. */
Test(journal_faults, making_a_journal_is_all_or_nothing)
{
    struct rig rig;
    for (int power = 0; power < 3; power++) {
        for (uint64_t n = 1;; n++) {
            rig_init(&rig, n, SEGMENT, 1000);
            if (power == 2)
                files_memory_fail(rig.memory, FILES_CALL_CHANGES, n, STATUS_DISK_FULL);
            else
                files_memory_halt(rig.memory, FILES_CALL_CHANGES, n, (int64_t)n % 9 - 1);
            const enum status made = journal_create(&rig.options);
            const bool struck = files_memory_failed(rig.memory);
            if (power == 1)
                files_memory_power_loss(rig.memory);
            else
                files_memory_restart(rig.memory);
            const enum status again = journal_create(&rig.options);
            cr_assert(again == STATUS_OK || again == STATUS_EXISTS, "call %lu", (unsigned long)n);
            if (made == STATUS_OK)
                cr_assert_eq(again, STATUS_EXISTS);
            cr_assert_eq(rig_open(&rig), STATUS_OK, "call %lu: %s", (unsigned long)n,
                         rig.damage.text);
            rig_deinit(&rig);
            if (!struck)
                break;
        }
    }
}

/* The process dies when the spare has its name and the directory is not synced yet. The next one
 * writes into that spare; then the power goes. */
Test(journal_faults, a_spare_found_at_the_start_has_a_durable_name)
{
    for (uint64_t seed = 0; seed < 16; seed++) {
        struct rig rig;
        rig_init(&rig, seed, SEGMENT, 6000);
        rig_start(&rig);
        files_memory_halt(rig.memory, FILES_CALL_RENAME, 1, -1);
        (void)rig_run(&rig);
        cr_assert(files_memory_failed(rig.memory));
        rig_abandon(&rig);
        files_memory_restart(rig.memory);
        cr_assert_eq(rig_open(&rig), STATUS_OK);
        struct journal_position position;
        do {
            cr_assert_eq(rig_append(&rig, 1), STATUS_OK);
            cr_assert_eq(rig_step_writer(&rig), JOB_AGAIN); /* the preparer never runs */
            journal_position(rig.journal, &position);
        } while (position.segment_count < 2);
        rig_abandon(&rig);
        files_memory_power_loss(rig.memory);
        cr_assert_eq(rig_open(&rig), STATUS_OK, "seed %lu: %s", (unsigned long)seed,
                     rig.damage.text);
        const char *wrong = rig_check(&rig);
        cr_assert_null(wrong, "%s", wrong);
        rig_deinit(&rig);
    }
}

/* A torn tail is found, and the sync that makes its zeros durable fails: memory shows zeros now,
 * the disk still holds the stale records. The next start must not trust what it sees, or they come
 * back behind newer ones when the power goes. */
Test(journal_faults, a_cut_whose_sync_failed_is_cut_again)
{
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct rig rig;
        rig_init(&rig, seed, SEGMENT, 1000);
        rig_start(&rig);
        rig_fill(&rig, 3);
        for (int i = 0; i < 5; i++)
            cr_assert_eq(rig_append(&rig, 1), STATUS_OK);
        files_memory_halt(rig.memory, FILES_CALL_SYNC, 1, -1);
        (void)rig_step_writer(&rig); /* a group of five written, and its sync never came back */
        rig_abandon(&rig);
        files_memory_restart(rig.memory);
        /* All five are on the disk, then the first loses its body: a torn write. */
        files_memory_settle(rig.memory);
        uint8_t *bytes = files_memory_bytes(rig.memory, "00000000000000000001.seg", NULL);
        uint64_t offset = JOURNAL_PAGE_SIZE;
        for (;;) {
            struct journal_record_header header;
            memcpy(&header, bytes + offset, sizeof header);
            if (journal_record_is_entry(header.type) && header.index == 4)
                break;
            offset += journal_record_size(header.type, header.length);
        }
        bytes[offset + 64] ^= 1;
        files_memory_settle(rig.memory);
        files_memory_fail(rig.memory, FILES_CALL_SYNC, 1, STATUS_IO);
        cr_assert_eq(rig_open(&rig), STATUS_IO);
        files_memory_restart(rig.memory);
        cr_assert_eq(rig_open(&rig), STATUS_OK, "%s", rig.damage.text);
        rig.acknowledged = rig.appended = 3; /* nobody was told about the five */
        /* The same entries again, so that what is stale would fit behind them. */
        rig_fill(&rig, 1 + (uint32_t)seed % 4);
        rig_abandon(&rig);
        files_memory_power_loss(rig.memory);
        cr_assert_eq(rig_open(&rig), STATUS_OK, "seed %lu: %s", (unsigned long)seed,
                     rig.damage.text);
        cr_assert_eq(rig.cut, 0, "seed %lu: something stale was found", (unsigned long)seed);
        const char *wrong = rig_check(&rig);
        cr_assert_null(wrong, "seed %lu: %s", (unsigned long)seed, wrong);
        rig_deinit(&rig);
    }
}
