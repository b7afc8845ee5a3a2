/*
 * Frames between peers out of any bytes: however the bytes are cut, the same frames come out and
 * the same refusal ends them, none larger than allowed, all 8-aligned. The first byte chooses the
 * bound and the size of the pieces.
 */
#include "replication/peers/peers_frame.h"

#include <stdlib.h>
#include <string.h>

#define RECORD_MAX 4096

struct record {
    uint64_t frames, sum;
    enum status status;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct record read_all(const uint8_t *data, size_t size, size_t piece, uint32_t size_max)
{
    struct record record = {.status = STATUS_OK};
    struct peers_frame_reader reader;
    peers_frame_reader_init(&reader, size_max);
    for (size_t at = 0; at < size && record.status == STATUS_OK; at += piece) {
        const uint8_t *bytes = data + at;
        size_t left = size - at < piece ? size - at : piece;
        bool complete = true;
        while (complete && record.status == STATUS_OK) {
            struct peers_frame frame;
            struct net_error error;
            record.status = peers_frame_read(&reader, &bytes, &left, &frame, &complete, &error);
            if (record.status != STATUS_OK || !complete)
                continue;
            if (frame.size > size_max || (uintptr_t)frame.body % 8 != 0)
                abort();
            record.frames++;
            record.sum = record.sum * 31 + frame.kind;
            for (uint32_t i = 0; i < frame.size; i++)
                record.sum = record.sum * 31 + frame.body[i];
        }
        if (record.status == STATUS_OK && left != 0)
            abort(); /* neither taken nor refused */
    }
    peers_frame_reader_deinit(&reader);
    return record;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint32_t size_max = data[0] & 1 ? 64 : RECORD_MAX;
    size_t piece = 1 + (data[0] >> 1);
    struct record whole = read_all(data + 1, size - 1, size, size_max);
    struct record cut = read_all(data + 1, size - 1, piece, size_max);
    if (whole.frames != cut.frames || whole.sum != cut.sum || whole.status != cut.status)
        abort();
    return 0;
}
