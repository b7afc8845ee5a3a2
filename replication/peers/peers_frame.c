/*
 * The frame reader: one buffer per connection, one frame at a time, each at the start of the
 * buffer, so that a body is always 8-aligned behind its header of 8 bytes. That copies every
 * message once; decrypting it costs ten times as much, and in return there is a single path for
 * messages of 24 bytes and of a mebibyte.
 *
 * The header is judged before room is made for the body: what a peer names is never allocated
 * unless it may send as much. The buffer grows to the largest frame seen and stays; its bound is
 * body_size_max.
 */
#include "replication/peers/peers_frame.h"

#include <stdlib.h>
#include <string.h>

struct frame_header {
    uint32_t size;
    uint16_t kind;
    uint16_t zero;
};
_Static_assert(sizeof(struct frame_header) == PEERS_FRAME_HEADER_SIZE, "format");

#define CAPACITY_MIN 512

void peers_frame_reader_init(struct peers_frame_reader *reader, uint32_t body_size_max)
{
    memset(reader, 0, sizeof *reader);
    reader->body_size_max = body_size_max;
}

void peers_frame_reader_deinit(struct peers_frame_reader *reader)
{
    free(reader->buffer);
    memset(reader, 0, sizeof *reader);
}

static bool has_capacity(struct peers_frame_reader *reader, size_t capacity)
{
    if (reader->capacity >= capacity)
        return true;
    capacity = capacity < CAPACITY_MIN ? CAPACITY_MIN : capacity;
    uint8_t *buffer = realloc(reader->buffer, capacity);
    if (!buffer)
        return false;
    reader->buffer = buffer;
    reader->capacity = capacity;
    return true;
}

static enum status judge(const struct peers_frame_reader *reader, const struct frame_header *header,
                         struct net_error *error)
{
    if (header->kind == 0 || header->kind >= PEERS_FRAME_KIND_END || header->zero != 0) {
        net_error_set(error, "not a frame between peers (kind 0x%04x, reserved 0x%04x)",
                      header->kind, header->zero);
        return STATUS_INVALID;
    }
    if (header->size > reader->body_size_max) {
        net_error_set(error, "a frame of %u bytes, at most %u are allowed here", header->size,
                      reader->body_size_max);
        return STATUS_INVALID;
    }
    if ((header->kind == PEERS_FRAME_PING) != (header->size == 0)) {
        net_error_set(error, "a frame of kind %u with %u bytes", header->kind, header->size);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

/* Moves bytes until the buffer holds `until`; false when the input ended before. */
static bool fill(struct peers_frame_reader *reader, size_t until, const uint8_t **bytes,
                 size_t *size)
{
    size_t missing = until - reader->used;
    size_t part = *size < missing ? *size : missing;
    if (part > 0)
        memcpy(reader->buffer + reader->used, *bytes, part);
    reader->used += part;
    *bytes += part;
    *size -= part;
    return part == missing;
}

enum status peers_frame_read(struct peers_frame_reader *reader, const uint8_t **bytes, size_t *size,
                             struct peers_frame *out_frame, bool *out_complete,
                             struct net_error *out_error)
{
    *out_complete = false;
    if (reader->taken) {
        reader->taken = false;
        reader->used = 0;
    }
    if (!has_capacity(reader, PEERS_FRAME_HEADER_SIZE))
        goto no_memory;
    if (reader->used < PEERS_FRAME_HEADER_SIZE &&
        !fill(reader, PEERS_FRAME_HEADER_SIZE, bytes, size))
        return STATUS_OK;
    struct frame_header header;
    memcpy(&header, reader->buffer, sizeof header);
    enum status status = judge(reader, &header, out_error);
    if (status != STATUS_OK)
        return status;
    if (!has_capacity(reader, PEERS_FRAME_HEADER_SIZE + (size_t)header.size))
        goto no_memory;
    if (!fill(reader, PEERS_FRAME_HEADER_SIZE + (size_t)header.size, bytes, size))
        return STATUS_OK;
    reader->taken = true;
    *out_complete = true;
    *out_frame = (struct peers_frame){
        .kind = (enum peers_frame_kind)header.kind,
        .size = header.size,
        .body = reader->buffer + PEERS_FRAME_HEADER_SIZE,
    };
    return STATUS_OK;

no_memory:
    net_error_set(out_error, "out of memory for a frame");
    return STATUS_NO_MEMORY;
}

void peers_frame_header(uint8_t out[PEERS_FRAME_HEADER_SIZE], enum peers_frame_kind kind,
                        uint32_t size)
{
    struct frame_header header = {.size = size, .kind = (uint16_t)kind};
    memcpy(out, &header, sizeof header);
}
