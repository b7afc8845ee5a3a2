/*
 * nghttp2's server side, and the answers to those who abuse HTTP/2.
 *
 * | what a peer can flood with          | what stops it |
 * |-------------------------------------|----------------------------------------------------------|
 * | streams opened and reset            | bucket `resets`; work counts per principal (grpc_call.c)
 * | | frames that make us reset streams   | bucket `provoked` (CVE-2025-8671, "MadeYouReset") | |
 * CONTINUATION                        | nghttp2, 4 per header block                              |
 * | SETTINGS; entries in one            | bucket `settings`; nghttp2, 32 | | PING | 5 s apart
 * unless something was sent between; two strikes | | SETTINGS or PING, reading no answer | nghttp2,
 * 256 acks unsent                                 | | empty DATA, PRIORITY                | bucket
 * `idle_frames`                                     | | header lists                        |
 * counted in grpc_head.c                                   |
 *
 * The end is GOAWAY(ENHANCE_YOUR_CALM) with a word in its debug data, and what still comes is
 * thrown away. nghttp2's own limit on resets is set above ours, as a second wall.
 */
#include "server/grpc_internal.h"

#include <string.h>

static struct grpc_call *call_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static uint64_t now_of(const struct grpc_connection *connection)
{
    return uv_now(connection->server->uv);
}

static void take_or_cut(struct grpc_connection *connection, struct grpc_bucket *bucket,
                        const char *text)
{
    if (!grpc_bucket_take(bucket, now_of(connection)))
        grpc_connection_cut(connection, NGHTTP2_ENHANCE_YOUR_CALM, text);
}

/* ---- in ---- */

/* Frames that nghttp2 skips without another word: PRIORITY, and types it does not know. */
static int on_begin_frame_cb(nghttp2_session *session, const nghttp2_frame_hd *header,
                             void *context)
{
    (void)session;
    struct grpc_connection *connection = context;
    if ((header->type == NGHTTP2_PRIORITY || header->type > NGHTTP2_CONTINUATION) &&
        !connection->cut)
        take_or_cut(connection, &connection->idle_frames, "too_many_empty_frames");
    return 0;
}

static int on_begin_headers_cb(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct grpc_connection *connection = context;
    if (connection->cut || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct grpc_call *call = grpc_call_create(connection, frame->hd.stream_id);
    if (!call) {
        /* Out of memory. REFUSED_STREAM tells the client that nothing was done. */
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    (void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call); /* exists */
    return 0;
}

static int on_header_cb(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                        size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                        void *context)
{
    (void)flags;
    (void)context;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call)
        grpc_head_field(&call->head, name, name_size, value, value_size);
    return 0;
}

static int on_data_chunk_cb(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                            const uint8_t *bytes, size_t size, void *context)
{
    (void)flags;
    struct grpc_connection *connection = context;
    /* Never withheld; fails only without memory, and then the peer waits until it is cut off. */
    (void)nghttp2_session_consume_connection(session, size);
    struct grpc_call *call = call_of(session, stream_id);
    if (!call || call->decided || connection->cut)
        return 0;
    if (call->method->client_streaming)
        (void)nghttp2_session_consume_stream(session, stream_id, size);
    grpc_receive_data(call, bytes, size);
    return 0;
}

static void receive_headers(struct grpc_connection *connection, const nghttp2_frame *frame)
{
    struct grpc_call *call = call_of(connection->session, frame->hd.stream_id);
    if (!call)
        return;
    connection->ping_strikes = 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        grpc_call_admit(call);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        grpc_receive_end(call);
}

static void receive_data_frame(struct grpc_connection *connection, const nghttp2_frame *frame)
{
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        struct grpc_call *call = call_of(connection->session, frame->hd.stream_id);
        if (call)
            grpc_receive_end(call);
    } else if (frame->hd.length == 0) {
        take_or_cut(connection, &connection->idle_frames, "too_many_empty_frames");
    }
}

static void receive_ping(struct grpc_connection *connection, const nghttp2_frame *frame)
{
    if (frame->hd.flags & NGHTTP2_FLAG_ACK) {
        connection->ping_waiting = false;
        if (memcmp(frame->ping.opaque_data, DRAIN_PING, 8) == 0)
            grpc_connection_round_trip(connection);
        return;
    }
    uint64_t now_ms = now_of(connection);
    bool is_early = connection->client_ping_ms != 0 && !connection->sent_since_ping &&
                    now_ms - connection->client_ping_ms < CLIENT_PING_MS;
    connection->client_ping_ms = now_ms;
    connection->sent_since_ping = false;
    if (is_early && ++connection->ping_strikes > PING_STRIKES_MAX)
        grpc_connection_cut(connection, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
}

static int on_frame_recv_cb(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    (void)session;
    struct grpc_connection *connection = context;
    if (connection->cut)
        return 0;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        receive_headers(connection, frame);
        break;
    case NGHTTP2_DATA:
        receive_data_frame(connection, frame);
        break;
    case NGHTTP2_PING:
        receive_ping(connection, frame);
        break;
    case NGHTTP2_RST_STREAM:
        connection->server->stats.resets_total++;
        take_or_cut(connection, &connection->resets, "too_many_resets");
        break;
    case NGHTTP2_SETTINGS:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            break;
        grpc_connection_greeted(connection);
        take_or_cut(connection, &connection->settings, "too_many_settings");
        break;
    default:
        break;
    }
    return 0;
}

static int on_stream_close_cb(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                              void *context)
{
    (void)error_code;
    (void)context;
    struct grpc_call *call = call_of(session, stream_id);
    if (!call)
        return 0;
    (void)nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    grpc_call_detach(call);
    return 0;
}

/* ---- out ---- */

static int on_frame_send_cb(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct grpc_connection *connection = context;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        connection->sent_since_ping = true;
        connection->ping_strikes = 0;
        if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
            struct grpc_call *call = call_of(session, frame->hd.stream_id);
            /* Answered before the client had sent all: tell it to stop, without an error. */
            if (call && !call->half_closed)
                (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream_id,
                                                NGHTTP2_NO_ERROR);
        }
        break;
    case NGHTTP2_RST_STREAM:
        if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR && !connection->cut)
            take_or_cut(connection, &connection->provoked, "too_many_resets_provoked");
        break;
    case NGHTTP2_GOAWAY:
        connection->goaway_code = frame->goaway.error_code;
        break;
    default:
        break;
    }
    return 0;
}

enum status grpc_session_prepare(struct grpc_server *server)
{
    if (nghttp2_session_callbacks_new(&server->callbacks) != 0 ||
        nghttp2_option_new(&server->option) != 0)
        return STATUS_NO_MEMORY; /* grpc_server_free takes what there is */
    nghttp2_session_callbacks *callbacks = server->callbacks;
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame_cb);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers_cb);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header_cb);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk_cb);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv_cb);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send_cb);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close_cb);
    nghttp2_option *option = server->option;
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_settings(option, SETTINGS_ENTRIES_MAX);
    nghttp2_option_set_max_outbound_ack(option, OUTBOUND_ACKS_MAX);
    nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, 4096);
    nghttp2_option_set_stream_reset_rate_limit(option, 2 * RESETS_BURST, 2 * RESETS_PER_SECOND);
    return STATUS_OK;
}

enum status grpc_session_create(struct grpc_connection *connection)
{
    struct grpc_server *server = connection->server;
    uint64_t now_ms = now_of(connection);
    grpc_bucket_init(&connection->resets, RESETS_BURST, RESETS_PER_SECOND, now_ms);
    grpc_bucket_init(&connection->provoked, PROVOKED_BURST, PROVOKED_PER_SECOND, now_ms);
    grpc_bucket_init(&connection->settings, SETTINGS_BURST, SETTINGS_PER_SECOND, now_ms);
    grpc_bucket_init(&connection->idle_frames, IDLE_FRAMES_BURST, IDLE_FRAMES_PER_SECOND, now_ms);
    if (nghttp2_session_server_new2(&connection->session, server->callbacks, connection,
                                    server->option) != 0) {
        connection->session = NULL;
        return STATUS_NO_MEMORY;
    }
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, server->limits.streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, GRPC_HEAD_SIZE_MAX},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    if (nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, 4) != 0 ||
        nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0,
                                              CONNECTION_WINDOW) != 0)
        return STATUS_NO_MEMORY; /* the session goes with the connection */
    return STATUS_OK;
}
