/* A journal that begins behind an anchor, filled without a loop with what a reader beside the loop
 * found in another one: how a node is brought up to date. */
#include "storage/journal_fill.h"
#include "storage/journal_format.h"
#include "tests/storage/journal_rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024u

static struct rig rig;
static struct files_memory *other;

static void teardown(void)
{
    if (rig.memory != NULL)
        rig_deinit(&rig);
    if (other != NULL)
        files_memory_destroy(other);
}

TestSuite(journal_anchor, .fini = teardown, .timeout = 120);

static struct journal_options other_options(void)
{
    struct journal_options options = rig.options;
    options.files = files_memory_table(other);
    return options;
}

static void prepare(uint64_t seed)
{
    rig_init(&rig, seed, 64 * KIB, 3000);
    rig_start(&rig);
    other = files_memory_create(seed);
}

/* Entries of several terms over several segments, some of them replaced. */
static void live_a_little(void)
{
    for (int round = 0; round < 6; round++) {
        rig.term++;
        rig_fill(&rig, 40);
        cr_assert_eq(rig_truncate(&rig, rig.appended - 10), STATUS_OK);
        cr_assert(rig_run(&rig));
    }
    rig.term++;
    rig_fill(&rig, 20);
}

struct passing {
    struct journal_fill *fill;
    uint64_t count;
    uint64_t stop_after; /* entries; 0 = never */
};

static bool pass_on(void *context, const struct journal_entry *entry)
{
    struct passing *passing = context;
    cr_assert_eq(journal_fill_append(passing->fill, entry, 1), STATUS_OK);
    passing->count++;
    return passing->count != passing->stop_after;
}

static void assert_same(struct journal *a, struct journal *b, uint64_t first, uint64_t last)
{
    for (uint64_t index = first; index <= last; index++) {
        uint8_t left[JOURNAL_HASH_SIZE], right[JOURNAL_HASH_SIZE];
        uint64_t left_term, right_term;
        cr_assert_eq(journal_head(a, index, left), STATUS_OK);
        cr_assert_eq(journal_head(b, index, right), STATUS_OK);
        cr_assert_arr_eq(left, right, sizeof left);
        cr_assert_eq(journal_term(a, index, &left_term), STATUS_OK);
        cr_assert_eq(journal_term(b, index, &right_term), STATUS_OK);
        cr_assert_eq(left_term, right_term);
    }
}

/* Made behind entry 60 of another journal, it holds what follows there, with the same chain; a
 * later start, the offline check and the configuration agree. */
Test(journal_anchor, entries_of_another_journal_go_on_behind_the_anchor)
{
    prepare(1);
    live_a_little();
    const uint64_t anchor_index = 60, last = rig.appended;
    struct journal_anchor anchor = {
        .index = anchor_index, .configuration = "members", .configuration_size = 7};
    cr_assert_eq(journal_term(rig.journal, anchor_index, &anchor.term), STATUS_OK);
    cr_assert_eq(journal_head(rig.journal, anchor_index, anchor.head), STATUS_OK);

    struct journal_options options = other_options();
    struct journal_damage damage;
    struct passing passing = {0};
    cr_assert_eq(journal_create_at(&options, &anchor), STATUS_OK);
    cr_assert_eq(journal_create_at(&options, &anchor), STATUS_EXISTS);
    cr_assert_eq(journal_fill_open(&options, &passing.fill, &damage), STATUS_OK, "%s", damage.text);
    struct journal_position position;
    journal_position(journal_fill_journal(passing.fill), &position);
    cr_assert_eq(position.anchor_index, anchor_index);
    cr_assert_eq(position.anchor_term, anchor.term);
    cr_assert_eq(position.last_index, anchor_index);
    cr_assert_arr_eq(position.head, anchor.head, sizeof anchor.head);

    struct journal_reader *reader;
    uint8_t head[JOURNAL_HASH_SIZE];
    cr_assert_eq(journal_reader_create(rig.journal, &reader), STATUS_OK);
    journal_reader_set(reader, anchor_index, anchor.head);
    passing.stop_after = 13;
    cr_assert_eq(journal_reader_read(reader, last, pass_on, &passing, head), STATUS_OK);
    cr_assert_eq(passing.count, 13);
    /* Another reader goes on where that one stopped, from what is on disk alone. */
    journal_reader_destroy(reader);
    uint64_t term;
    cr_assert_eq(journal_reader_create(rig.journal, &reader), STATUS_OK);
    cr_assert_eq(journal_reader_seek(reader, anchor_index + 13, &term, head), STATUS_OK);
    passing.stop_after = 0;
    cr_assert_eq(journal_reader_read(reader, last, pass_on, &passing, head), STATUS_OK);
    cr_assert_eq(passing.count, last - anchor_index);
    cr_assert_eq(journal_reader_read(reader, last + 1, pass_on, &passing, head), STATUS_NOT_FOUND);
    journal_reader_destroy(reader);

    assert_same(rig.journal, journal_fill_journal(passing.fill), anchor_index, last);
    cr_assert_eq(journal_fill_close(passing.fill, &position), STATUS_OK);
    cr_assert_eq(position.synced_index, last);
    cr_assert_arr_eq(position.head, head, sizeof head);

    struct journal_report report;
    cr_assert_eq(journal_verify(files_memory_table(other), &report, NULL, NULL), STATUS_OK);
    cr_assert_eq(report.damage.status, STATUS_OK, "%s", report.damage.text);
    cr_assert_eq(report.first_index, anchor_index + 1);
    cr_assert_eq(report.last_index, last);

    cr_assert_eq(journal_fill_open(&options, &passing.fill, &damage), STATUS_OK, "%s", damage.text);
    assert_same(rig.journal, journal_fill_journal(passing.fill), anchor_index, last);
    char configuration[16];
    size_t size;
    cr_assert_eq(journal_configuration(journal_fill_journal(passing.fill), configuration,
                                       sizeof configuration, &size),
                 STATUS_OK);
    cr_assert_eq(size, 7);
    cr_assert_arr_eq(configuration, "members", 7);
    cr_assert_eq(journal_fill_close(passing.fill, NULL), STATUS_OK);
}

/* An empty journal behind an anchor survives a restart, and says where it begins. */
Test(journal_anchor, an_empty_one_keeps_its_anchor)
{
    prepare(2);
    struct journal_options options = other_options();
    struct journal_anchor anchor = {.index = 1000, .term = 7};
    memset(anchor.head, 0x5a, sizeof anchor.head);
    cr_assert_eq(journal_create_at(&options, &anchor), STATUS_OK);
    for (int start = 0; start < 3; start++) {
        struct journal_fill *fill;
        struct journal_damage damage;
        struct journal_position position;
        cr_assert_eq(journal_fill_open(&options, &fill, &damage), STATUS_OK, "%s", damage.text);
        cr_assert_eq(journal_fill_close(fill, &position), STATUS_OK);
        cr_assert_eq(position.anchor_index, 1000);
        cr_assert_eq(position.anchor_term, 7);
        cr_assert_eq(position.first_index, 1001);
        cr_assert_eq(position.last_index, 1000);
        cr_assert_eq(position.last_term, 7);
        cr_assert_arr_eq(position.head, anchor.head, sizeof anchor.head);
    }
}

/* What was pruned is told as such, what is damaged as such. */
Test(journal_anchor, a_reader_tells_pruned_from_damaged)
{
    prepare(3);
    live_a_little();
    uint8_t head[JOURNAL_HASH_SIZE];
    uint64_t term;
    struct journal_reader *reader;
    cr_assert_eq(journal_reader_create(rig.journal, &reader), STATUS_OK);
    cr_assert_eq(journal_reader_seek(reader, 1, &term, head), STATUS_OK);
    cr_assert_eq(rig_prune(&rig, 120), STATUS_OK);
    cr_assert(rig_run(&rig));
    struct journal_position position;
    journal_position(rig.journal, &position);
    cr_assert_gt(position.first_index, 2);
    struct passing nothing = {0};
    cr_assert_eq(journal_reader_read(reader, rig.appended, pass_on, &nothing, head),
                 STATUS_NOT_FOUND);
    cr_assert_eq(journal_reader_seek(reader, 1, &term, head), STATUS_NOT_FOUND);
    cr_assert_eq(journal_reader_seek(reader, rig.appended + 1, &term, head), STATUS_NOT_FOUND);
    /* A wrong head before it: the entry does not follow. */
    memset(head, 1, sizeof head);
    journal_reader_set(reader, position.first_index, head);
    cr_assert_eq(journal_reader_read(reader, rig.appended, pass_on, &nothing, head),
                 STATUS_CORRUPT);
    cr_assert_eq(nothing.count, 0);
    journal_reader_destroy(reader);
}

/* No room for another segment: said before anything is appended, and the rest closes well. */
Test(journal_anchor, filling_tells_a_full_disk)
{
    prepare(4);
    rig_fill(&rig, 4);
    struct journal_options options = other_options();
    struct journal_fill *fill;
    struct journal_damage damage;
    cr_assert_eq(journal_create(&options), STATUS_OK);
    cr_assert_eq(journal_fill_open(&options, &fill, &damage), STATUS_OK);
    files_memory_set_capacity(other, 64 * KIB);
    static uint8_t payload[20 * KIB];
    enum status status = STATUS_OK;
    uint64_t index = 0;
    while (status == STATUS_OK && index < 10) {
        struct journal_entry entry = {.index = index + 1,
                                      .term = 1,
                                      .type = JOURNAL_COMMAND,
                                      .size = sizeof payload,
                                      .payload = payload};
        status = journal_fill_append(fill, &entry, 1);
        index += status == STATUS_OK;
    }
    cr_assert_eq(status, STATUS_DISK_FULL);
    struct journal_position position;
    cr_assert_eq(journal_fill_close(fill, &position), STATUS_OK);
    cr_assert_eq(position.synced_index, index);
}
