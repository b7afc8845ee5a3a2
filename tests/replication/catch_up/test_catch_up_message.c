/* Catch-up's bytes: what is written is read, and any other bytes are refused or mean something. */
#include "core/bounds.h"
#include "replication/catch_up/catch_up_message.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(catch_up_message, .timeout = 60);

static _Alignas(8) uint8_t message[CATCH_UP_DATA_MESSAGE_SIZE];

static uint64_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 20;
}

static void assert_header(size_t size, enum message_type type)
{
    struct message_header header;
    memcpy(&header, message, sizeof header);
    cr_assert_eq(header.size, size);
    cr_assert_eq(header.type, type);
    cr_assert_eq(size % 8, 0);
}

Test(catch_up_message, small_messages_are_read_as_they_were_written)
{
    const struct catch_up_offer offer = {1, 2, 3, 4};
    struct catch_up_offer offer_read;
    size_t size = catch_up_offer_encode(&offer, message);
    assert_header(size, MESSAGE_CATCH_UP_OFFER);
    cr_assert(catch_up_offer_decode(message, size, &offer_read));
    cr_assert_eq(memcmp(&offer, &offer_read, sizeof offer), 0);

    const struct catch_up_done done = {5, 6};
    struct catch_up_done done_read;
    size = catch_up_done_encode(&done, message);
    assert_header(size, MESSAGE_CATCH_UP_DONE);
    cr_assert(catch_up_done_decode(message, size, &done_read));
    cr_assert_eq(memcmp(&done, &done_read, sizeof done), 0);

    const struct catch_up_open open = {.want = CATCH_UP_FROM,
                                       .kind = MEMBER_WITNESS,
                                       .session = 7,
                                       .offset = 8,
                                       .index = 9,
                                       .term = 10,
                                       .check = {11}};
    struct catch_up_open open_read;
    size = catch_up_open_encode(&open, message);
    assert_header(size, MESSAGE_CATCH_UP_OPEN);
    cr_assert(catch_up_open_decode(message, size, &open_read));
    cr_assert_eq(memcmp(&open, &open_read, sizeof open), 0);

    const struct catch_up_read read = {.session = 12, .what = CATCH_UP_STORE, .position = 13};
    struct catch_up_read read_read;
    size = catch_up_read_encode(&read, message);
    assert_header(size, MESSAGE_CATCH_UP_READ);
    cr_assert(catch_up_read_decode(message, size, &read_read));
    cr_assert_eq(read_read.session, 12);
    cr_assert_eq(read_read.what, CATCH_UP_STORE);
    cr_assert_eq(read_read.position, 13);

    const struct catch_up_close close = {14, STATUS_BUSY};
    struct catch_up_close close_read;
    size = catch_up_close_encode(&close, message);
    assert_header(size, MESSAGE_CATCH_UP_CLOSE);
    cr_assert(catch_up_close_decode(message, size, &close_read));
    cr_assert_eq(close_read.session, 14);
    cr_assert_eq(close_read.status, STATUS_BUSY);
}

/* Configurations of every size, up to the largest that an anchor holds. */
Test(catch_up_message, a_configuration_travels_whole)
{
    uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX];
    for (uint32_t i = 0; i < sizeof configuration; i++)
        configuration[i] = (uint8_t)(i * 7 + 1);
    for (uint32_t count = 0; count <= sizeof configuration; count += count < 20 ? 1 : 169) {
        const struct catch_up_opened opened = {.session = 1,
                                               .store_size = 2,
                                               .index = 3,
                                               .term = 4,
                                               .head = {5},
                                               .configuration_size = count,
                                               .configuration = configuration};
        struct catch_up_opened read;
        const size_t size = catch_up_opened_encode(&opened, message);
        assert_header(size, MESSAGE_CATCH_UP_OPENED);
        cr_assert(catch_up_opened_decode(message, size, &read));
        cr_assert_eq(read.configuration_size, count);
        cr_assert_eq(memcmp(read.configuration, configuration, count), 0);
        cr_assert_eq(read.store_size, 2);
        cr_assert_arr_eq(read.head, opened.head, sizeof opened.head);
        cr_assert_not(catch_up_opened_decode(message, size - 8, &read));
    }
}

Test(catch_up_message, pieces_of_any_size_travel_whole)
{
    static const uint32_t sizes[] = {0, 1, 7, 8, 9, 4095, CATCH_UP_PIECE_SIZE, CATCH_UP_DATA_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        memset(message, 0xab, sizeof message);
        const struct catch_up_data data = {.session = 1,
                                           .what = CATCH_UP_STORE,
                                           .size = sizes[i],
                                           .position = 2,
                                           .check = {3},
                                           .commit_index = 4,
                                           .needed_index = 5,
                                           .at_end = 1};
        struct catch_up_data read;
        const uint8_t *bytes;
        const size_t size = catch_up_data_encode(&data, message);
        assert_header(size, MESSAGE_CATCH_UP_DATA);
        cr_assert_leq(size, TRANSPORT_MESSAGE_SIZE_MAX);
        cr_assert(catch_up_data_decode(message, size, &read, &bytes));
        cr_assert_eq(memcmp(&read, &data, sizeof data), 0);
        for (uint32_t b = 0; b < sizes[i]; b++)
            cr_assert_eq(bytes[b], 0xab);
        if (size > CATCH_UP_DATA_HEAD_SIZE)
            cr_assert_not(catch_up_data_decode(message, size - 8, &read, &bytes));
    }
}

Test(catch_up_message, entries_travel_whole_and_in_order)
{
    static _Alignas(8) uint8_t payload[3000];
    static struct journal_entry read[CATCH_UP_ENTRIES_MAX];
    uint64_t dice = 3;
    size_t size = 0;
    uint32_t count = 0;
    for (uint64_t index = 101; index <= 180; index++, count++) {
        const struct journal_entry entry = {.index = index,
                                            .term = index / 50,
                                            .type = (uint16_t)(1 + index % 5),
                                            .size = (uint32_t)(draw(&dice) % sizeof payload),
                                            .payload = payload};
        catch_up_entry_encode(&entry, message + size);
        size += catch_up_entry_size(entry.size);
    }
    uint32_t found = 0;
    cr_assert(catch_up_entries_decode(message, size, 100, 2, read, &found));
    cr_assert_eq(found, count);
    cr_assert_eq(read[79].index, 180);
    cr_assert_eq(read[79].term, 3);
    cr_assert_not(catch_up_entries_decode(message, size, 99, 2, read, &found), "a gap");
    cr_assert_not(catch_up_entries_decode(message, size, 100, 3, read, &found), "a lower term");
    cr_assert_not(catch_up_entries_decode(message, size - 8, 100, 2, read, &found), "cut off");
    message[20] = 9;
    cr_assert_not(catch_up_entries_decode(message, size, 100, 2, read, &found), "unknown type");
    cr_assert(catch_up_entries_decode(message, 0, 100, 2, read, &found));
    cr_assert_eq(found, 0);
}

/* A million messages of noise, many of them almost right: no decoder reads outside (sanitizers
 * watch), and what it accepts lies inside. */
Test(catch_up_message, any_bytes_are_refused_or_mean_something)
{
    static struct journal_entry entries[CATCH_UP_ENTRIES_MAX];
    uint64_t dice = 5;
    for (int round = 0; round < 200000; round++) {
        const size_t size = draw(&dice) % 300;
        uint8_t *bytes = malloc(size + 1);
        for (size_t i = 0; i < size; i++)
            bytes[i] = draw(&dice) % 3 == 0 ? (uint8_t)draw(&dice) : 0;
        union {
            struct catch_up_offer offer;
            struct catch_up_done done;
            struct catch_up_open open;
            struct catch_up_opened opened;
            struct catch_up_read read;
            struct catch_up_close close;
        } any;
        struct catch_up_data data;
        const uint8_t *piece;
        uint32_t count;
        (void)catch_up_offer_decode(bytes, size, &any.offer);
        (void)catch_up_done_decode(bytes, size, &any.done);
        (void)catch_up_open_decode(bytes, size, &any.open);
        (void)catch_up_read_decode(bytes, size, &any.read);
        (void)catch_up_close_decode(bytes, size, &any.close);
        if (catch_up_opened_decode(bytes, size, &any.opened))
            cr_assert_leq(any.opened.configuration_size, size);
        if (catch_up_data_decode(bytes, size, &data, &piece))
            cr_assert(piece >= bytes && piece + data.size <= bytes + size);
        if (size > 0 && catch_up_entries_decode(bytes, size, 0, 0, entries, &count))
            cr_assert_gt(count, 0);
        free(bytes);
    }
}
