/* What is kept beside the log: it is read as it was written, and the newer part of two wins. */
#include "replication/agreed.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(agreed, .timeout = 30);

static struct durability_entry degrade(uint64_t number)
{
    struct durability_entry entry;
    durability_entry_default(&entry);
    entry.kind = DURABILITY_DEGRADE;
    entry.mode = DURABILITY_DEGRADED;
    entry.number = number;
    strcpy(entry.site, "B");
    strcpy(entry.who, "policy");
    strcpy(entry.why, "silent for a second");
    return entry;
}

static void set_configuration(struct agreed *agreed, uint64_t index, uint8_t byte, uint32_t size)
{
    agreed->configuration_index = index;
    agreed->configuration_size = size;
    memset(agreed->configuration, byte, size);
}

static void round_trip(const struct agreed *agreed, size_t expected)
{
    uint8_t bytes[JOURNAL_CONFIGURATION_SIZE_MAX];
    struct agreed read;
    size_t size = agreed_encode(agreed, bytes);
    cr_assert_eq(size, expected);
    cr_assert_eq(agreed_decode(bytes, size, &read), STATUS_OK);
    cr_assert_eq(read.configuration_index, agreed->configuration_index);
    cr_assert_eq(read.configuration_size, agreed->configuration_size);
    cr_assert_arr_eq(read.configuration, agreed->configuration, agreed->configuration_size);
    cr_assert_eq(read.durability_index, agreed->durability_index);
    cr_assert_eq(read.durability.number, agreed->durability.number);
    cr_assert_eq(read.durability.mode, agreed->durability.mode);
}

/* Nothing, members alone, both, the longest of both. */
Test(agreed, that_is_read_is_what_was_written)
{
    struct agreed agreed;
    agreed_init(&agreed);
    round_trip(&agreed, 0);
    set_configuration(&agreed, 1, 7, 96);
    round_trip(&agreed, 16 + 96);
    agreed.durability_index = 12;
    agreed.durability = degrade(3);
    round_trip(&agreed, 16 + DURABILITY_ENTRY_SIZE + 96);
    set_configuration(&agreed, 40, 9, MEMBER_TABLE_BYTES_MAX);
    round_trip(&agreed, 16 + DURABILITY_ENTRY_SIZE + MEMBER_TABLE_BYTES_MAX);
}

/* Cut short anywhere, an entry of a later version, more than fits. */
Test(agreed, other_bytes_are_refused)
{
    struct agreed agreed, read;
    uint8_t bytes[JOURNAL_CONFIGURATION_SIZE_MAX + 1] = {0};
    agreed_init(&agreed);
    set_configuration(&agreed, 1, 7, 96);
    agreed.durability_index = 12;
    agreed.durability = degrade(3);
    cr_assert_gt(agreed_encode(&agreed, bytes), 0);
    for (size_t size = 1; size <= 16 + DURABILITY_ENTRY_SIZE; size++)
        cr_assert_eq(agreed_decode(bytes, size, &read), STATUS_INVALID, "%zu", size);
    cr_assert_eq(agreed_decode(bytes, sizeof bytes, &read), STATUS_INVALID);
    bytes[16] = 2;
    cr_assert_eq(agreed_decode(bytes, 16 + DURABILITY_ENTRY_SIZE + 96, &read), STATUS_VERSION);
    /* Nothing known is no bytes at all: two indexes of zero are not another way to say it. */
    const uint8_t zeros[16] = {0};
    cr_assert_eq(agreed_decode(zeros, sizeof zeros, &read), STATUS_INVALID);
}

/* Entries in order of the journal; older ones, commands and nonsense change nothing. */
Test(agreed, entries_are_taken_when_they_are_newer)
{
    struct agreed agreed;
    agreed_init(&agreed);
    uint8_t members[96] = {1, 2, 3}, durability[DURABILITY_ENTRY_SIZE];
    const struct durability_entry entry = degrade(5);
    cr_assert_eq(durability_entry_encode(&entry, durability), STATUS_OK);
    const struct {
        struct journal_entry entry;
        bool taken;
    } steps[] = {
        {{.index = 1, .type = JOURNAL_CONFIGURATION, .size = 96, .payload = members}, true},
        {{.index = 2, .type = JOURNAL_COMMAND, .size = 96, .payload = members}, false},
        {{.index = 3, .type = JOURNAL_DURABILITY, .size = 96, .payload = members}, false},
        {{.index = 4, .type = JOURNAL_DURABILITY, .size = sizeof durability, .payload = durability},
         true},
        {{.index = 4, .type = JOURNAL_DURABILITY, .size = sizeof durability, .payload = durability},
         false},
        {{.index = 1, .type = JOURNAL_CONFIGURATION, .size = 96, .payload = members}, false},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        cr_assert_eq(agreed_take(&agreed, &steps[i].entry), steps[i].taken, "%zu", i);
    cr_assert_eq(agreed.configuration_index, 1);
    cr_assert_eq(agreed.durability_index, 4);
    cr_assert_eq(agreed.durability.number, 5);
}

/* A note has later members, an anchor a later mode: each wins where it is later. */
Test(agreed, each_part_of_two_is_the_later_one)
{
    struct agreed note, anchor;
    agreed_init(&note);
    agreed_init(&anchor);
    set_configuration(&note, 30, 3, 64);
    note.durability_index = 10;
    note.durability = degrade(1);
    set_configuration(&anchor, 20, 2, 96);
    anchor.durability_index = 25;
    anchor.durability = degrade(2);
    agreed_merge(&note, &anchor);
    cr_assert_eq(note.configuration_index, 30);
    cr_assert_eq(note.configuration_size, 64);
    cr_assert_eq(note.durability_index, 25);
    cr_assert_eq(note.durability.number, 2);
}
