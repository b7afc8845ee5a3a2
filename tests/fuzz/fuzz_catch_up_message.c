/*
 * Catch-up's messages out of any bytes: refused, or understood and then printed as the same bytes
 * again, with everything they point to inside of the message. The type in the header chooses the
 * decoder, as it does when messages are handed out; entries inside of journal data are walked.
 */
#include "core/bounds.h"
#include "replication/catch_up/catch_up_message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool condition)
{
    if (!condition)
        abort();
}

static void need_same(const uint8_t *again, size_t again_size, const uint8_t *bytes, size_t size)
{
    need(again_size == size);
    need(memcmp(again, bytes, size) == 0);
}

static void check_entries(const struct catch_up_data *data, const uint8_t *bytes)
{
    static struct journal_entry entries[CATCH_UP_ENTRIES_MAX];
    uint32_t count = 0;
    if (!catch_up_entries_decode(bytes, data->size, data->position, 1, entries, &count))
        return;
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *again = malloc(catch_up_entry_size(entries[i].size));
        if (!again)
            return;
        catch_up_entry_encode(&entries[i], again);
        need_same(again, catch_up_entry_size(entries[i].size), bytes + at,
                  catch_up_entry_size(entries[i].size));
        at += catch_up_entry_size(entries[i].size);
        free(again);
        need(entries[i].index == data->position + 1 + i);
    }
    need(at == data->size);
}

static void check_data(const uint8_t *bytes, size_t size)
{
    static uint8_t again[CATCH_UP_DATA_MESSAGE_SIZE + 8];
    struct catch_up_data data;
    const uint8_t *content;
    if (!catch_up_data_decode(bytes, size, &data, &content))
        return;
    need(content == bytes + CATCH_UP_DATA_HEAD_SIZE);
    memcpy(again + CATCH_UP_DATA_HEAD_SIZE, content, data.size);
    need_same(again, catch_up_data_encode(&data, again), bytes, size);
    if (data.what == CATCH_UP_JOURNAL)
        check_entries(&data, content);
}

static void check(uint16_t type, const uint8_t *bytes, size_t size)
{
    uint8_t again[CATCH_UP_MESSAGE_SIZE];
    union {
        struct catch_up_offer offer;
        struct catch_up_done done;
        struct catch_up_open open;
        struct catch_up_opened opened;
        struct catch_up_read read;
        struct catch_up_close close;
    } message;
    memset(&message, 0, sizeof message);
    switch (type) {
    case MESSAGE_CATCH_UP_OFFER:
        if (catch_up_offer_decode(bytes, size, &message.offer))
            need_same(again, catch_up_offer_encode(&message.offer, again), bytes, size);
        break;
    case MESSAGE_CATCH_UP_DONE:
        if (catch_up_done_decode(bytes, size, &message.done))
            need_same(again, catch_up_done_encode(&message.done, again), bytes, size);
        break;
    case MESSAGE_CATCH_UP_OPEN:
        if (catch_up_open_decode(bytes, size, &message.open))
            need_same(again, catch_up_open_encode(&message.open, again), bytes, size);
        break;
    case MESSAGE_CATCH_UP_OPENED:
        if (catch_up_opened_decode(bytes, size, &message.opened))
            need_same(again, catch_up_opened_encode(&message.opened, again), bytes, size);
        break;
    case MESSAGE_CATCH_UP_READ:
        if (catch_up_read_decode(bytes, size, &message.read))
            need_same(again, catch_up_read_encode(&message.read, again), bytes, size);
        break;
    case MESSAGE_CATCH_UP_DATA:
        check_data(bytes, size);
        break;
    case MESSAGE_CATCH_UP_CLOSE:
        if (catch_up_close_decode(bytes, size, &message.close))
            need_same(again, catch_up_close_encode(&message.close, again), bytes, size);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message_header header;
    if (size < sizeof header)
        return 0;
    memcpy(&header, data, sizeof header);
    /* What whoever hands messages out makes sure of. */
    header.reserved_0 = 0;
    header.size = (uint32_t)size;
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    memcpy(bytes, &header, sizeof header);
    check(header.type, bytes, size);
    free(bytes);
    return 0;
}
