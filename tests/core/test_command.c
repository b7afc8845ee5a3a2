/* Reading entries: what is a good one, and that every spoiled one is refused the same way by the
 * proposer's check and by apply. */
#include "core/result.h"
#include "test_bank.h"

#include <criterion/criterion.h>

#define NOW TEST_START

/* Two requests of transfers (2 events, 1 event) with a fence between. */
static uint8_t *good_entry(struct command_builder *builder, size_t *out_size)
{
    struct transfer_event events[] = {transfer_of(1, 1, 2, 5, 1), transfer_of(2, 1, 2, 5, 1),
                                      transfer_of(3, 1, 2, 5, 1)};
    command_builder_entry(builder, NOW);
    command_builder_request(builder, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, 1, NOW);
    command_builder_event(builder, &events[0]);
    command_builder_event(builder, &events[1]);
    command_builder_request(builder, OPERATION_FENCE_REQUEST, TEST_CHANNEL, 2, NOW);
    command_builder_request(builder, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, 3, NOW);
    command_builder_event(builder, &events[2]);
    return command_builder_end(builder, out_size);
}

/* Requests come in order, each with the stamp of its first event; a fence takes one stamp. */
Test(command, the_walker_hands_out_each_request_with_its_stamp)
{
    struct command_builder builder;
    command_builder_init(&builder);
    size_t size;
    const uint8_t *entry = good_entry(&builder, &size);
    cr_assert_eq(command_check(entry, size), STATUS_OK);

    struct command_cursor cursor;
    cr_assert_eq(command_cursor_init(&cursor, entry, size), STATUS_OK);
    const struct request_header *request;
    uint64_t stamp;
    cr_assert_eq(command_cursor_next(&cursor, &request, &stamp), STATUS_OK);
    cr_expect_eq(request->event_count, 2);
    cr_expect_eq(stamp, NOW);
    cr_assert_eq(command_cursor_next(&cursor, &request, &stamp), STATUS_OK);
    cr_expect_eq(request->operation, OPERATION_FENCE_REQUEST);
    cr_expect_eq(stamp, NOW + 2);
    cr_assert_eq(command_cursor_next(&cursor, &request, &stamp), STATUS_OK);
    cr_expect_eq(stamp, NOW + 3);
    cr_expect_eq(command_cursor_next(&cursor, &request, &stamp), STATUS_NOT_FOUND);
    cr_expect_eq(command_cursor_next(&cursor, &request, &stamp), STATUS_NOT_FOUND);
    command_builder_deinit(&builder);
}

/* One field of a good entry changed; `good_count` requests before the damage can still be read. */
struct damage {
    const char *claim;
    size_t offset; /* of a little-endian number of `width` bytes */
    size_t width;
    uint64_t value;
    enum status status;
    uint32_t answer_count; /* given by apply, all together */
    uint32_t malformed_count;
};

#define REQUEST_1 32
#define REQUEST_2 (REQUEST_1 + 80 + 2 * 128)
#define REQUEST_3 (REQUEST_2 + 80)

static const struct damage damages[] = {
    {"reserved_0 of the entry", 2, 2, 1, STATUS_INVALID, 0, 0},
    {"size of the entry too small", 4, 4, 600, STATUS_INVALID, 0, 0},
    {"size of the entry too large", 4, 4, 712, STATUS_INVALID, 0, 0},
    {"stamp beyond STAMP_MAX", 8, 8, UINT64_C(1) << 63, STATUS_INVALID, 0, 0},
    {"no requests", 16, 4, 0, STATUS_INVALID, 0, 0},
    {"more requests than fit", 16, 4, 100, STATUS_INVALID, 0, 0},
    {"more requests than the bound", 16, 4, ENTRY_REQUESTS_MAX + 1, STATUS_INVALID, 0, 0},
    {"fewer events than requests", 20, 4, 2, STATUS_INVALID, 0, 0},
    {"more events than the bound", 20, 4, REQUEST_EVENTS_MAX + 1, STATUS_INVALID, 0, 0},
    {"reserved_1 of the entry", 24, 8, 1, STATUS_INVALID, 0, 0},
    {"one request fewer than there are", 16, 4, 2, STATUS_INVALID, 2, 1},
    {"one request more than there are", 16, 4, 4, STATUS_INVALID, 4, 1},
    {"one event fewer than there are", 20, 4, 3, STATUS_INVALID, 3, 1},
    {"one event more than there are", 20, 4, 5, STATUS_INVALID, 3, 1},
    {"first request: size 0", REQUEST_1, 4, 0, STATUS_INVALID, 3, 3},
    {"first request: size odd", REQUEST_1, 4, 80 + 2 * 128 + 1, STATUS_INVALID, 3, 3},
    {"first request: size beyond the entry", REQUEST_1, 4, 10000, STATUS_INVALID, 3, 3},
    {"first request: operation 0", REQUEST_1 + 4, 2, 0, STATUS_INVALID, 3, 3},
    {"first request: operation 6", REQUEST_1 + 4, 2, 6, STATUS_INVALID, 3, 3},
    {"first request: other event size", REQUEST_1 + 4, 2, 2, STATUS_INVALID, 3, 3},
    {"first request: encoding 0", REQUEST_1 + 6, 2, 0, STATUS_INVALID, 3, 3},
    {"first request: encoding 2", REQUEST_1 + 6, 2, 2, STATUS_INVALID, 3, 3},
    {"first request: no events", REQUEST_1 + 8, 4, 0, STATUS_INVALID, 3, 3},
    {"first request: too many events", REQUEST_1 + 8, 4, 8191, STATUS_INVALID, 3, 3},
    {"first request: count that wraps the size", REQUEST_1 + 8, 4, (UINT64_C(1) << 25) + 2,
     STATUS_INVALID, 3, 3},
    {"first request: reserved", REQUEST_1 + 72, 8, UINT64_C(1) << 56, STATUS_INVALID, 3, 3},
    {"fence: with an event", REQUEST_2 + 8, 4, 1, STATUS_INVALID, 3, 2},
    {"fence: larger than its header", REQUEST_2, 4, 88, STATUS_INVALID, 3, 2},
    {"last request: ends before the entry", REQUEST_3, 4, 80, STATUS_INVALID, 3, 1},
};

static void write_number(uint8_t *bytes, const struct damage *damage)
{
    memcpy(bytes + damage->offset, &damage->value, damage->width);
}

static uint32_t malformed_count(const struct test_bank *bank)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < bank->answer_count; i++)
        count += bank->answers[i].answer.outcome == OUTCOME_MALFORMED;
    return count;
}

/* Each damage is found by the check; apply answers as many requests as the header announces and
 * calls MALFORMED what cannot be read, without an invariant. */
Test(command, each_damage_is_refused_by_check_and_survived_by_apply)
{
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        const struct damage *damage = &damages[i];
        struct test_bank bank;
        test_bank_init(&bank);
        test_bank_open_accounts(&bank, 2);
        uint64_t index = machine_applied_index(bank.machine);
        struct command_builder builder;
        command_builder_init(&builder);
        size_t size;
        uint8_t *entry = good_entry(&builder, &size);
        write_number(entry, damage);

        cr_expect_eq(command_check(entry, size), damage->status, "%s", damage->claim);
        test_bank_apply(&bank, entry, size);
        cr_expect_eq(bank.answer_count, damage->answer_count, "%s: %u answers", damage->claim,
                     bank.answer_count);
        cr_expect_eq(malformed_count(&bank), damage->malformed_count, "%s: %u malformed",
                     damage->claim, malformed_count(&bank));
        cr_expect_eq(machine_applied_index(bank.machine), index + 1);
        command_builder_deinit(&builder);
        test_bank_deinit(&bank);
    }
}

/* Cut anywhere, the entry is refused, and nothing beyond the cut is read (the sanitizer watches).
 */
Test(command, every_cut_is_refused)
{
    struct command_builder builder;
    command_builder_init(&builder);
    size_t size;
    uint8_t *entry = good_entry(&builder, &size);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut + 1); /* malloc aligns to 16 */
        memcpy(copy, entry, cut);
        cr_expect_eq(command_check(copy, cut), STATUS_INVALID, "cut at %zu", cut);
        free(copy);
    }
    command_builder_deinit(&builder);
}

/* The version is judged before anything else, also in a stump of an entry. */
Test(command, an_unknown_version_says_upgrade_whatever_follows)
{
    _Alignas(8) uint8_t bytes[64];
    memset(bytes, 0xff, sizeof bytes);
    for (uint16_t version = 0; version < 5; version++) {
        memcpy(bytes, &version, sizeof version);
        for (size_t size = 2; size <= sizeof bytes; size++)
            cr_expect_eq(command_check(bytes, size),
                         version == COMMAND_VERSION ? STATUS_INVALID : STATUS_VERSION);
    }
}

static size_t entry_of_fences(struct command_builder *builder, uint32_t count)
{
    command_builder_entry(builder, NOW);
    for (uint32_t i = 0; i < count; i++)
        command_builder_request(builder, OPERATION_FENCE_REQUEST, TEST_CHANNEL, i, NOW);
    size_t size;
    command_builder_end(builder, &size);
    return size;
}

/* The largest request of each kind fits, one event more does not; several requests only fit up to
 * the size for gathering. */
Test(command, the_bounds_of_an_entry_are_those_of_bounds_h)
{
    struct command_builder builder;
    command_builder_init(&builder);
    struct transfer_event transfer = transfer_of(1, 1, 2, 5, 1);
    for (uint32_t extra = 0; extra < 2; extra++) {
        command_builder_entry(&builder, NOW);
        command_builder_request(&builder, OPERATION_CREATE_TRANSFERS, 0, 1, NOW);
        for (uint32_t i = 0; i < REQUEST_EVENTS_MAX + extra; i++)
            command_builder_event(&builder, &transfer);
        size_t size;
        const uint8_t *entry = command_builder_end(&builder, &size);
        cr_expect_eq(command_check(entry, size), extra == 0 ? STATUS_OK : STATUS_INVALID);
    }

    size_t size = entry_of_fences(&builder, ENTRY_REQUESTS_MAX);
    cr_expect_leq(size, ENTRY_GATHER_BYTES);
    cr_expect_eq(command_check(builder.bytes, size), STATUS_OK);
    size = entry_of_fences(&builder, ENTRY_REQUESTS_MAX + 1);
    cr_expect_eq(command_check(builder.bytes, size), STATUS_INVALID);

    /* Two requests just above ENTRY_GATHER_BYTES. */
    command_builder_entry(&builder, NOW);
    for (uint32_t r = 0; r < 2; r++) {
        command_builder_request(&builder, OPERATION_CREATE_TRANSFERS, 0, r, NOW);
        for (uint32_t i = 0; i < 1024; i++)
            command_builder_event(&builder, &transfer);
    }
    const uint8_t *entry = command_builder_end(&builder, &size);
    cr_expect_gt(size, ENTRY_GATHER_BYTES);
    cr_expect_eq(command_check(entry, size), STATUS_INVALID);
    command_builder_deinit(&builder);
}

Test(command, only_operations_with_events_have_an_event_size)
{
    cr_expect_eq(operation_event_size(OPERATION_CREATE_LEDGERS), 80);
    cr_expect_eq(operation_event_size(OPERATION_CREATE_ACCOUNTS), 64);
    cr_expect_eq(operation_event_size(OPERATION_CREATE_TRANSFERS), 128);
    cr_expect_eq(operation_event_size(OPERATION_FENCE_REQUEST), 0);
    cr_expect_eq(operation_event_size(OPERATION_SET_PRINCIPALS), 328);
    cr_expect_eq(operation_event_size(0), 0);
    cr_expect_eq(operation_event_size(6), 0);
    cr_expect_eq(operation_event_size(UINT16_MAX), 0);
}
