/* The messages of consensus as bytes: what is encoded is decoded, and nothing else is. */
#include "replication/consensus/raft_message.h"

#include "replication/consensus/floors.h"
#include "replication/member.h"
#include "storage/journal.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct example {
    struct raft_message_view view;
    uint64_t bytes[4096 / 8];
    size_t size;
};

static size_t put_entry(uint8_t *out, uint64_t term, uint16_t type, uint32_t size, uint8_t fill)
{
    memset(out, 0, raft_message_entry_size(size));
    memcpy(out, &term, 8);
    memcpy(out + 8, &type, 2);
    memcpy(out + 12, &size, 4);
    memset(out + 16, fill, size);
    return raft_message_entry_size(size);
}

static size_t put_members(uint8_t *out, uint64_t term)
{
    struct member_table table = {.count = 1, .votes = {true}};
    table.members[0] = (struct member){.node_id = 1, .site = "A", .address = "a.example:7001"};
    uint8_t encoded[MEMBER_TABLE_BYTES_MAX];
    size_t size = member_table_encode(&table, encoded);
    size_t whole = put_entry(out, term, JOURNAL_CONFIGURATION, (uint32_t)size, 0);
    memcpy(out + 16, encoded, size);
    return whole;
}

static const struct floor floors[2] = {
    {.node_id = 1, .incarnation = {1, 2, 3}, .index = 900, .term = 6},
    {.node_id = 4, .incarnation = {4, 5, 6}, .index = 7, .term = 2},
};

static void make(struct example *example, struct raft_message_view view)
{
    memset(example, 0, sizeof *example);
    example->view = view;
    uint8_t *bytes = (uint8_t *)example->bytes;
    if (view.type == MESSAGE_APPEND_ENTRIES && view.append.count > 0) {
        size_t size = 0;
        uint8_t *region = bytes + RAFT_MESSAGE_FIXED_SIZE;
        size += put_entry(region + size, 3, JOURNAL_BARRIER, 0, 0);
        size += put_entry(region + size, 3, JOURNAL_COMMAND, 13, 0xa5);
        size += put_members(region + size, 4);
        example->view.append.region_size = (uint32_t)size;
        example->view.append.count = 3;
        example->view.append.region = region;
        example->size = size;
    }
    example->size += raft_message_encode(&example->view, bytes);
    if (view.type == MESSAGE_FLOORS && view.floors.count > 0) {
        memcpy(bytes + 16, floors, sizeof floors);
        example->size += sizeof floors;
    }
}

static const struct raft_message_view views[] = {
    {.type = MESSAGE_REQUEST_VOTE, .vote = {7, 2, 100, 6, true, false}},
    {.type = MESSAGE_REQUEST_VOTE_RESULT, .vote_result = {7, true, true}},
    {.type = MESSAGE_APPEND_ENTRIES,
     .append = {.term = 7, .previous_index = 9, .previous_term = 2}},
    {.type = MESSAGE_APPEND_ENTRIES,
     .append = {.term = 7, .previous_index = 9, .previous_term = 2, .commit = 8, .count = 1}},
    {.type = MESSAGE_APPEND_ENTRIES_RESULT, .append_result = {7, 12, 11}},
    {.type = MESSAGE_TIMEOUT_NOW, .timeout_now = {7, 100, 6}},
    {.type = MESSAGE_PROBE, .probe = {7, 33}},
    {.type = MESSAGE_PROBE_RESULT, .probe_result = {7, 33, -5}},
    {.type = MESSAGE_READ_INDEX, .read_index = {7, 34}},
    {.type = MESSAGE_READ_INDEX_RESULT, .read_index_result = {7, 34, 1000, true}},
    {.type = MESSAGE_WATERMARK, .watermark = {7, 900, 950}},
    {.type = MESSAGE_LOST_ENTRIES, .lost_entries = {7, 900}},
    {.type = MESSAGE_FLOORS},
    {.type = MESSAGE_FLOORS, .floors = {.count = 2}},
    {.type = MESSAGE_JOURNAL_END, .journal_end = {900, 800, 6}},
    {.type = MESSAGE_JOURNAL_END},
};
#define VIEW_COUNT (sizeof views / sizeof views[0])

/* Every type, encoded, decoded and encoded again: the same bytes. */
Test(raft_message, what_is_encoded_is_decoded)
{
    struct example example;
    for (size_t i = 0; i < VIEW_COUNT; i++) {
        make(&example, views[i]);
        struct raft_message_view decoded;
        cr_assert_eq(raft_message_decode(example.bytes, example.size, &decoded), STATUS_OK,
                     "type %x", views[i].type);
        uint64_t again[RAFT_MESSAGE_FIXED_SIZE / 8];
        size_t size = raft_message_encode(&decoded, (uint8_t *)again);
        cr_assert_leq(size, example.size);
        if (decoded.type == MESSAGE_FLOORS && decoded.floors.count > 0)
            cr_assert_eq(memcmp(decoded.floors.bytes, floors, sizeof floors), 0);
        cr_assert_eq(memcmp(again, example.bytes, size), 0, "type %x", views[i].type);
    }
}

/* The entries of a message come back one by one, padding left out. */
Test(raft_message, entries_are_walked)
{
    struct example example;
    make(&example, views[3]);
    struct raft_message_view decoded;
    cr_assert_eq(raft_message_decode(example.bytes, example.size, &decoded), STATUS_OK);
    struct raft_message_entry entry;
    uint32_t offset = 0;
    cr_assert(raft_message_next_entry(&decoded, &offset, &entry));
    cr_assert_eq(entry.type, JOURNAL_BARRIER);
    cr_assert_eq(entry.size, 0);
    cr_assert(raft_message_next_entry(&decoded, &offset, &entry));
    cr_assert_eq(entry.type, JOURNAL_COMMAND);
    cr_assert_eq(entry.size, 13);
    cr_assert_eq(entry.payload[12], 0xa5);
    cr_assert_eq((uintptr_t)entry.payload % 8, 0);
    cr_assert(raft_message_next_entry(&decoded, &offset, &entry));
    cr_assert_eq(entry.type, JOURNAL_CONFIGURATION);
    cr_assert_eq(entry.term, 4);
    cr_assert_not(raft_message_next_entry(&decoded, &offset, &entry));
}

/* Each message cut at every length, and with bytes behind it, is refused. */
Test(raft_message, another_size_is_refused)
{
    struct example example;
    struct raft_message_view decoded;
    for (size_t i = 0; i < VIEW_COUNT; i++) {
        make(&example, views[i]);
        for (size_t size = 0; size < example.size; size++)
            cr_assert_eq(raft_message_decode(example.bytes, size, &decoded), STATUS_INVALID);
        cr_assert_eq(raft_message_decode(example.bytes, example.size + 8, &decoded),
                     STATUS_INVALID);
    }
}

/* Any one byte changed: refused, or another message whose every byte still counts. */
Test(raft_message, every_byte_means_something)
{
    struct example example;
    struct raft_message_view decoded;
    for (size_t i = 0; i < VIEW_COUNT; i++) {
        make(&example, views[i]);
        for (size_t at = 0; at < example.size; at++) {
            for (int bit = 0; bit < 8; bit++) {
                uint8_t *bytes = (uint8_t *)example.bytes;
                bytes[at] ^= (uint8_t)(1 << bit);
                if (raft_message_decode(bytes, example.size, &decoded) == STATUS_OK) {
                    uint64_t again[RAFT_MESSAGE_FIXED_SIZE / 8];
                    size_t size = raft_message_encode(&decoded, (uint8_t *)again);
                    cr_assert_eq(memcmp(again, bytes, size), 0);
                }
                bytes[at] ^= (uint8_t)(1 << bit);
            }
        }
    }
}

static enum status with_entry(uint16_t type, uint64_t term, uint32_t size, uint32_t spoil_at)
{
    static uint64_t bytes[(2u * 1024 * 1024) / 8];
    memset(bytes, 0, sizeof bytes);
    uint8_t *region = (uint8_t *)bytes + RAFT_MESSAGE_FIXED_SIZE;
    struct raft_message_view view = {
        .type = MESSAGE_APPEND_ENTRIES,
        .append = {.term = 7, .previous_index = 9, .previous_term = 2, .count = 1}};
    view.append.region_size = (uint32_t)put_entry(region, term, type, size, 1);
    if (spoil_at != 0)
        region[spoil_at] = 1;
    size_t whole = raft_message_encode(&view, (uint8_t *)bytes) + view.append.region_size;
    struct raft_message_view decoded;
    return raft_message_decode(bytes, whole, &decoded);
}

/* Entries that no leader of that term could have, or no journal would take. */
Test(raft_message, impossible_entries_are_refused)
{
    cr_assert_eq(with_entry(JOURNAL_COMMAND, 3, 13, 0), STATUS_OK);
    cr_assert_eq(with_entry(JOURNAL_COMMAND, 3, 1024 * 1024, 0), STATUS_OK);
    cr_assert_eq(with_entry(JOURNAL_COMMAND, 3, 1024 * 1024 + 1, 0), STATUS_INVALID, "too large");
    cr_assert_eq(with_entry(JOURNAL_COMMAND, 1, 13, 0), STATUS_INVALID, "older than before");
    cr_assert_eq(with_entry(JOURNAL_COMMAND, 8, 13, 0), STATUS_INVALID, "newer than the leader");
    cr_assert_eq(with_entry(JOURNAL_COMMAND, 3, 13, 16 + 14), STATUS_INVALID, "padding");
    cr_assert_eq(with_entry(0x100, 3, 13, 0), STATUS_INVALID, "a seal is no entry");
    cr_assert_eq(with_entry(0, 3, 13, 0), STATUS_INVALID, "no type");
    cr_assert_eq(with_entry(JOURNAL_BARRIER, 3, 8, 0), STATUS_INVALID, "a barrier with payload");
    cr_assert_eq(with_entry(JOURNAL_CONFIGURATION, 3, 64, 0), STATUS_INVALID, "no members");
}

static enum status with_floors(uint32_t count, struct floor second)
{
    uint64_t bytes[(RAFT_MESSAGE_FIXED_SIZE + (MEMBERS_MAX + 1) * sizeof second) / 8] = {0};
    const struct raft_message_view view = {.type = MESSAGE_FLOORS, .floors = {.count = count}};
    const size_t size = raft_message_encode(&view, (uint8_t *)bytes);
    for (uint32_t i = 0; i < count; i++) {
        struct floor floor = i == 1 ? second : floors[0];
        if (i != 1)
            floor.node_id = i + 1;
        memcpy((uint8_t *)bytes + size + i * sizeof floor, &floor, sizeof floor);
    }
    struct raft_message_view decoded;
    return raft_message_decode(bytes, size + count * sizeof second, &decoded);
}

/* Floors that no leader measures. */
Test(raft_message, impossible_floors_are_refused)
{
    struct floor floor = floors[1];
    floor.node_id = 2;
    const struct floor good = floor;
    cr_assert_eq(with_floors(MEMBERS_MAX, good), STATUS_OK);
    cr_assert_eq(with_floors(MEMBERS_MAX + 1, good), STATUS_INVALID, "more than members");
    floor.node_id = 1;
    cr_assert_eq(with_floors(2, floor), STATUS_INVALID, "twice");
    floor.node_id = 0;
    cr_assert_eq(with_floors(2, floor), STATUS_INVALID, "no node");
    floor.node_id = 1ull << 63;
    cr_assert_eq(with_floors(2, floor), STATUS_INVALID, "no node's id");
    for (int i = 0; i < 4; i++) {
        floor = good;
        *(i % 2 == 0 ? &floor.index : &floor.term) = i < 2 ? 0 : UINT64_MAX / 2 + 1;
        cr_assert_eq(with_floors(2, floor), STATUS_INVALID, "%d", i);
    }
}

/* Random bytes behind a good header. Under the sanitizers this is the fuzz of the poor. */
Test(raft_message, garbage_is_refused_quietly)
{
    struct example example;
    struct raft_message_view decoded;
    srand(1);
    for (int round = 0; round < 20000; round++) {
        make(&example, views[round % (int)VIEW_COUNT]);
        uint8_t *bytes = (uint8_t *)example.bytes;
        for (int i = 0; i < 4; i++)
            bytes[8 + (size_t)rand() % (example.size - 8)] = (uint8_t)rand();
        if (raft_message_decode(bytes, example.size, &decoded) != STATUS_OK ||
            decoded.type != MESSAGE_APPEND_ENTRIES)
            continue;
        struct raft_message_entry entry;
        uint32_t offset = 0, count = 0;
        while (raft_message_next_entry(&decoded, &offset, &entry))
            count++;
        cr_assert_eq(count, decoded.append.count);
    }
}
