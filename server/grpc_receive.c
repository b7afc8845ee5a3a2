/*
 * Request bytes: gRPC's five-byte prefix, then the message, gathered into one buffer.
 *
 * Who may send how much. The connection's window is never withheld (it is given back as bytes
 * arrive: withholding it for unfinished messages stops 64 uploads of 1 MiB for ever). Admission is
 * by the stream's window: STREAM_WINDOW may be sent unasked, and when the prefix tells that a
 * message is longer, that stream is granted the rest at once, if the connection's budget of
 * unfinished bytes allows it; else it waits, oldest first, for another message to be whole or gone.
 * Until then its buffer holds one window.
 *
 * A body must make progress (something within body_timeout_ms) and a minimal speed: each 16 bytes
 * earn one millisecond beyond body_timeout_ms, so that one byte now and then does not hold a buffer
 * for hours. A stream that waits for a grant is not judged: it waits for others that are.
 *
 * Unary calls are judged at END_STREAM: exactly one message, and nothing half received.
 */
#include "server/grpc_internal.h"

#include "core/invariant.h"

#include <string.h>

#define BODY_BYTES_PER_MS 16

/* ---- lists ---- */

static void list_add(struct grpc_call_list *list, struct grpc_call *call)
{
    call->link_next = NULL;
    call->link_previous = list->last;
    if (list->last)
        list->last->link_next = call;
    else
        list->first = call;
    list->last = call;
}

static void list_remove(struct grpc_call_list *list, struct grpc_call *call)
{
    if (call->link_previous)
        call->link_previous->link_next = call->link_next;
    else
        list->first = call->link_next;
    if (call->link_next)
        call->link_next->link_previous = call->link_previous;
    else
        list->last = call->link_previous;
    call->link_previous = call->link_next = NULL;
}

static void leave_receiving(struct grpc_call *call)
{
    if (call->in_receiving)
        list_remove(&call->connection->receiving, call);
    call->in_receiving = false;
}

/* Moves to the end: the list is ordered by progress. */
static void note_progress(struct grpc_call *call)
{
    leave_receiving(call);
    if (call->in_waiting)
        return;
    call->body_progress_ms = uv_now(call->server->uv);
    list_add(&call->connection->receiving, call);
    call->in_receiving = true;
}

/* ---- grants ---- */

/* The buffer for the whole message, with what has arrived; false when the call was refused. */
static bool enlarge(struct grpc_call *call)
{
    struct grpc_buffer *whole =
        grpc_principal_buffer(call->server, call->principal, call->message_size,
                              call->server->limits.bytes_per_principal_max);
    if (!whole) {
        grpc_call_refuse_for_now(
            call,
            "no room for a message of %u bytes beside the %llu that this principal "
            "has in flight, at most %llu are allowed",
            call->message_size, (unsigned long long)call->principal->bytes,
            (unsigned long long)call->server->limits.bytes_per_principal_max);
        return false;
    }
    if (call->message) {
        memcpy(whole->bytes, call->message->bytes, call->message_received);
        grpc_call_give_message(call);
    }
    call->message = whole;
    return true;
}

static bool fits_budget(const struct grpc_connection *connection, uint32_t size)
{
    return connection->unfinished_bytes + size <= UNFINISHED_BYTES_MAX;
}

/* Lets the whole message come. The window is absolute: all that this stream may ever send, with
 * room for the prefix and for the prefix of a second message, which is thereby seen and refused. */
static void grant(struct grpc_call *call)
{
    struct grpc_connection *connection = call->connection;
    if (!enlarge(call))
        return;
    call->granted_bytes = call->message_size;
    connection->unfinished_bytes += call->granted_bytes;
    if (nghttp2_session_set_local_window_size(
            connection->session, NGHTTP2_FLAG_NONE, call->stream_id,
            (int32_t)(call->message_size + 2 * GRPC_PREFIX_SIZE)) != 0)
        grpc_connection_cut(connection, NGHTTP2_INTERNAL_ERROR, "out of memory");
    note_progress(call);
    grpc_connection_dirty(connection);
}

static void grant_waiting(struct grpc_connection *connection)
{
    struct grpc_call *call;
    while ((call = connection->waiting.first) && fits_budget(connection, call->message_size)) {
        list_remove(&connection->waiting, call);
        call->in_waiting = false;
        grant(call);
    }
}

static void give_grant_back(struct grpc_call *call)
{
    struct grpc_connection *connection = call->connection;
    if (!call->granted_bytes)
        return;
    invariant_values(connection->unfinished_bytes >= call->granted_bytes,
                     connection->unfinished_bytes, call->granted_bytes);
    connection->unfinished_bytes -= call->granted_bytes;
    call->granted_bytes = 0;
    if (connection->state < GRPC_CONNECTION_LINGER && !connection->cut)
        grant_waiting(connection);
}

void grpc_receive_stop(struct grpc_call *call)
{
    if (!call->connection)
        return;
    leave_receiving(call);
    if (call->in_waiting) {
        list_remove(&call->connection->waiting, call);
        call->in_waiting = false;
    }
    give_grant_back(call);
}

/* ---- messages ---- */

/* The prefix is complete: find room for the message. */
static void begin_message(struct grpc_call *call)
{
    struct grpc_server *server = call->server;
    uint32_t size = (uint32_t)call->prefix[1] << 24 | (uint32_t)call->prefix[2] << 16 |
                    (uint32_t)call->prefix[3] << 8 | call->prefix[4];
    if (!call->method->client_streaming && call->message_count > 0) {
        grpc_call_refuse(call, GRPC_UNIMPLEMENTED,
                         "this method takes exactly one message; a second one came");
        return;
    }
    if (call->prefix[0] != 0) {
        grpc_call_refuse(call, call->prefix[0] == 1 ? GRPC_UNIMPLEMENTED : GRPC_INTERNAL,
                         call->prefix[0] == 1
                             ? "the message is compressed; compression is not supported"
                             : "the message's flag byte is neither 0 nor 1");
        return;
    }
    if (size > server->limits.message_size_max) {
        grpc_call_refuse(call, GRPC_RESOURCE_EXHAUSTED,
                         "a message of %u bytes; at most %u are allowed: send fewer records", size,
                         server->limits.message_size_max);
        return;
    }
    call->message_size = size;
    call->message_received = 0;
    call->body_began_ms = uv_now(server->uv);
    call->body_bytes = 0;
    if (size <= SMALL_MESSAGE_SIZE)
        return;
    /* A client-streaming call's window is given back as bytes arrive and needs no grant. */
    bool needs_grant = !call->method->client_streaming && size + GRPC_PREFIX_SIZE > STREAM_WINDOW;
    if (!needs_grant) {
        (void)enlarge(call); /* when refused, the caller sees `decided` */
        return;
    }
    if (!call->connection->waiting.first && fits_budget(call->connection, size)) {
        grant(call);
        return;
    }
    call->message = grpc_principal_buffer(server, call->principal, STREAM_WINDOW,
                                          server->limits.bytes_per_principal_max);
    if (!call->message) {
        grpc_call_refuse_for_now(call, "too many unfinished messages of this principal");
        return;
    }
    leave_receiving(call);
    list_add(&call->connection->waiting, call);
    call->in_waiting = true;
}

static const uint8_t *message_bytes(const struct grpc_call *call)
{
    return call->message ? call->message->bytes : call->small_message;
}

/* The message is whole. A unary one waits for END_STREAM. */
static void end_message(struct grpc_call *call)
{
    call->prefix_size = 0;
    call->message_count++;
    if (!call->method->client_streaming)
        return;
    leave_receiving(call);
    grpc_call_deliver(call, message_bytes(call), call->message_size);
    if (call->handler_has)
        grpc_call_give_message(call);
}

static size_t take_prefix(struct grpc_call *call, const uint8_t *bytes, size_t size)
{
    size_t left = (size_t)(GRPC_PREFIX_SIZE - call->prefix_size);
    size_t part = left < size ? left : size;
    memcpy(call->prefix + call->prefix_size, bytes, part);
    call->prefix_size = (uint8_t)(call->prefix_size + part);
    return part;
}

static size_t take_body(struct grpc_call *call, const uint8_t *bytes, size_t size)
{
    size_t left = call->message_size - call->message_received;
    size_t part = left < size ? left : size;
    uint8_t *to = call->message ? call->message->bytes : call->small_message;
    memcpy(to + call->message_received, bytes, part);
    call->message_received += (uint32_t)part;
    return part;
}

static bool is_too_slow(const struct grpc_call *call)
{
    uint64_t earned_ms =
        call->server->limits.body_timeout_ms + call->body_bytes / BODY_BYTES_PER_MS;
    return !call->in_waiting && uv_now(call->server->uv) - call->body_began_ms > earned_ms;
}

static void refuse_slow(struct grpc_call *call)
{
    grpc_call_refuse(call, GRPC_UNAVAILABLE, "the request's body came too slowly: %u of %u bytes",
                     call->message_received, call->message_size);
}

void grpc_receive_headers(struct grpc_call *call)
{
    call->body_began_ms = uv_now(call->server->uv);
    /* A streaming call may be silent between messages, a unary one has to send its message. */
    if (!call->method->client_streaming)
        note_progress(call);
}

void grpc_receive_data(struct grpc_call *call, const uint8_t *bytes, size_t size)
{
    call->body_bytes += size;
    if (size > 0)
        note_progress(call);
    while (size > 0 && !call->decided) {
        size_t part;
        if (call->prefix_size < GRPC_PREFIX_SIZE) {
            part = take_prefix(call, bytes, size);
            if (call->prefix_size == GRPC_PREFIX_SIZE)
                begin_message(call);
        } else {
            part = take_body(call, bytes, size);
        }
        bytes += part;
        size -= part;
        if (!call->decided && call->prefix_size == GRPC_PREFIX_SIZE &&
            call->message_received == call->message_size)
            end_message(call);
    }
    if (!call->decided && call->in_receiving && is_too_slow(call))
        refuse_slow(call);
}

void grpc_receive_end(struct grpc_call *call)
{
    call->half_closed = true;
    if (call->decided)
        return;
    bool is_partial = call->prefix_size > 0;
    if (is_partial) {
        grpc_call_refuse(call, GRPC_INTERNAL,
                         "the request ended inside a message, after %u of %u bytes",
                         call->prefix_size < GRPC_PREFIX_SIZE ? 0 : call->message_received,
                         call->prefix_size < GRPC_PREFIX_SIZE ? 0 : call->message_size);
        return;
    }
    grpc_receive_stop(call);
    if (call->method->client_streaming) {
        grpc_call_deliver_half_close(call);
    } else if (call->message_count != 1) {
        grpc_call_refuse(call, GRPC_INTERNAL, "this method takes exactly one message; none came");
    } else {
        grpc_call_deliver(call, message_bytes(call), call->message_size);
    }
}

void grpc_receive_tick(struct grpc_connection *connection, uint64_t now_ms)
{
    struct grpc_call *call;
    while ((call = connection->receiving.first) &&
           now_ms - call->body_progress_ms > connection->server->limits.body_timeout_ms)
        refuse_slow(call);
}
