/*
 * Messages of consensus out of any bytes: refused, or understood and then printed as the same bytes
 * again, with every entry inside of the message.
 */
#include "core/bounds.h"
#include "replication/consensus/floors.h"
#include "replication/consensus/raft_message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool condition)
{
    if (!condition)
        abort();
}

static uint32_t walk(const struct raft_message_view *view, const uint8_t *bytes, size_t size)
{
    struct raft_message_entry entry;
    uint32_t offset = 0, count = 0;
    uint64_t term = view->append.previous_term;
    while (raft_message_next_entry(view, &offset, &entry)) {
        need(entry.payload >= bytes && entry.size <= ENTRY_SIZE_MAX);
        need(entry.size <= (size_t)(bytes + size - entry.payload));
        need((uintptr_t)entry.payload % 8 == 0);
        need(entry.term >= term && entry.term <= view->append.term);
        term = entry.term;
        count++;
    }
    need(offset == view->append.region_size);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* 8-aligned as they come from a transport, and not a byte of room behind them. */
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    struct raft_message_view view;
    memset(&view, 0, sizeof view);
    if (raft_message_decode(bytes, size, &view) == STATUS_OK) {
        uint8_t again[RAFT_MESSAGE_FIXED_SIZE];
        size_t region = 0;
        if (view.type == MESSAGE_APPEND_ENTRIES) {
            need(walk(&view, bytes, size) == view.append.count);
            region = view.append.region_size;
        }
        if (view.type == MESSAGE_FLOORS) {
            struct floor floor = {0};
            for (uint32_t i = 0; i < view.floors.count; i++) {
                const uint64_t before = floor.node_id;
                floors_at(view.floors.bytes, i, &floor);
                need(floor.node_id > before && floor.index > 0 && floor.term > 0);
            }
            region = view.floors.count * sizeof floor;
            need(view.floors.bytes + region == bytes + size);
        }
        need(raft_message_encode(&view, again) + region == size);
        need(memcmp(again, bytes, size - region) == 0);
    }
    free(bytes);
    return 0;
}
