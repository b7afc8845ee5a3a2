/*
 * nghttp2's client side: requests out, answers in, and what is certain when a call ends.
 *
 * The fate of a call, from strongest to weakest:
 *   - grpc-status was received with the end of the stream: the server's word (ANSWERED).
 *   - RST_STREAM(REFUSED_STREAM), or the stream lies above the last one of a GOAWAY (nghttp2 closes
 * it with the same code): the server has not acted (NOT_PROCESSED).
 *   - the last byte of the message has not been handed to the connection: nobody can act on a part
 *     of a message (NOT_SENT). "Handed over" is when nghttp2 asked for the last byte, earlier than
 * it leaves: an error on the safe side.
 *   - otherwise the outcome is UNKNOWN.
 *
 * A call is found through the stream's user data, which is cleared when the call is finished early:
 * what the server still sends for it then falls on the floor.
 */
#include "net/http2_client_internal.h"

#include "core/invariant.h"
#include "net/grpc_text.h"
#include "net/http2.h"

#include <inttypes.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_WINDOW     (1024 * 1024)
#define CONNECTION_WINDOW (16 * 1024 * 1024)

enum { STATUS_2_UNKNOWN = 2, STATUS_8_EXHAUSTED = 8, STATUS_13_INTERNAL = 13, STATUS_14_DOWN = 14 };

enum http2_fate http2_client_session_fate(const struct http2_call *call)
{
    return call->request_sent == call->request_size + GRPC_PREFIX_SIZE ? HTTP2_UNKNOWN
                                                                       : HTTP2_NOT_SENT;
}

static struct http2_call *call_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

void http2_client_session_reset(struct http2_client_connection *connection, struct http2_call *call)
{
    /* Both fail only without memory or when the stream has gone; then there is nothing to reset. */
    (void)nghttp2_session_set_stream_user_data(connection->session, call->stream_id, NULL);
    (void)nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE, call->stream_id,
                                    NGHTTP2_CANCEL);
    connection->pump_wanted = true;
    http2_client_wake(connection->client);
}

/* ---- requests ---- */

static ssize_t read_request_cb(nghttp2_session *session, int32_t stream_id, uint8_t *out,
                               size_t capacity, uint32_t *flags, nghttp2_data_source *source,
                               void *context)
{
    (void)source;
    (void)context;
    struct http2_call *call = call_of(session, stream_id);
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* finished early: the stream is reset */
    size_t size = 0;
    if (call->request_sent < GRPC_PREFIX_SIZE) {
        uint32_t length = (uint32_t)call->request_size;
        uint8_t prefix[GRPC_PREFIX_SIZE] = {0, (uint8_t)(length >> 24), (uint8_t)(length >> 16),
                                            (uint8_t)(length >> 8), (uint8_t)length};
        size = GRPC_PREFIX_SIZE - call->request_sent;
        if (size > capacity)
            size = capacity;
        memcpy(out, prefix + call->request_sent, size);
        call->request_sent += size;
    }
    if (call->request_sent >= GRPC_PREFIX_SIZE) {
        size_t offset = call->request_sent - GRPC_PREFIX_SIZE;
        size_t left = call->request_size - offset;
        size_t part = left < capacity - size ? left : capacity - size;
        if (part > 0)
            memcpy(out + size, call->request + offset, part);
        call->request_sent += part;
        size += part;
    }
    if (call->request_sent == call->request_size + GRPC_PREFIX_SIZE)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)size;
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name,
        .value = (uint8_t *)(uintptr_t)value,
        .namelen = strlen(name),
        .valuelen = strlen(value),
        .flags = NGHTTP2_NV_FLAG_NONE, /* nghttp2 copies both */
    };
}

enum status http2_client_session_submit(struct http2_client_connection *connection,
                                        struct http2_call *call)
{
    char timeout[GRPC_TIMEOUT_TEXT_SIZE];
    char max_age[12];
    nghttp2_nv fields[9] = {
        field(":method", "POST"),
        field(":scheme", "https"),
        field(":path", call->path),
        field(":authority", connection->client->authority),
        field("te", "trailers"),
        field("content-type", "application/grpc"),
        field("user-agent", "grpc-c-tallystick/0.1"),
    };
    size_t count = 7;
    if (call->timeout_ns) {
        uint64_t now_ns = uv_hrtime();
        grpc_timeout_format(call->deadline.at_ns > now_ns ? call->deadline.at_ns - now_ns : 1,
                            timeout);
        fields[count++] = field("grpc-timeout", timeout);
    }
    if (call->max_age_ms > 0) {
        snprintf(max_age, sizeof max_age, "%" PRIu32, call->max_age_ms);
        fields[count++] = field("tally-max-age-ms", max_age);
    }
    nghttp2_data_provider body = {.read_callback = read_request_cb};
    int32_t stream_id =
        nghttp2_submit_request(connection->session, NULL, fields, count, &body, call);
    if (stream_id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE)
        http2_client_connection_leave(connection); /* 2^30 calls: time for a new connection */
    if (stream_id < 0)
        return stream_id == NGHTTP2_ERR_NOMEM ? STATUS_NO_MEMORY : STATUS_UNAVAILABLE;
    http2_client_list_remove(&connection->client->waiting, call);
    http2_client_list_add(&connection->calls, call);
    connection->call_count++;
    call->state = CALL_ACTIVE;
    call->connection = connection;
    call->stream_id = stream_id;
    return STATUS_OK;
}

/* ---- answers ---- */

static bool is_name(const uint8_t *name, size_t size, const char *expected)
{
    return size == strlen(expected) && memcmp(name, expected, size) == 0;
}

static int parse_status(const uint8_t *text, size_t size)
{
    int value = 0;
    if (size == 0 || size > 2)
        return STATUS_2_UNKNOWN;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return STATUS_2_UNKNOWN;
        value = value * 10 + (text[i] - '0');
    }
    return value <= 16 ? value : STATUS_2_UNKNOWN;
}

static void keep_trailer(struct http2_call *call, const uint8_t *name, size_t name_size,
                         const uint8_t *value, size_t value_size)
{
    if (call->trailer_count == HTTP2_TRAILERS_MAX)
        return;
    struct http2_trailer *trailer = &call->trailers[call->trailer_count];
    if (name_size >= sizeof trailer->name || value_size >= sizeof trailer->value)
        return; /* none of ours is that long */
    memset(trailer, 0, sizeof *trailer);
    memcpy(trailer->name, name, name_size);
    memcpy(trailer->value, value, value_size);
    call->trailer_count++;
}

static int on_header_cb(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                        size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                        void *context)
{
    (void)flags;
    (void)context;
    struct http2_call *call = call_of(session, frame->hd.stream_id);
    if (!call)
        return 0;
    if (is_name(name, name_size, ":status")) {
        call->http_status = 0;
        for (size_t i = 0; i < value_size && i < 3; i++)
            call->http_status = (uint16_t)(call->http_status * 10 + (value[i] - '0'));
    } else if (is_name(name, name_size, "content-type")) {
        if (value_size < 16 || memcmp(value, "application/grpc", 16) != 0)
            (void)snprintf(call->content_type_wrong, sizeof call->content_type_wrong, "%.*s",
                           (int)(value_size < 40 ? value_size : 40), (const char *)value);
    } else if (is_name(name, name_size, "grpc-status")) {
        call->grpc_status = parse_status(value, value_size);
        call->status_seen = true;
    } else if (is_name(name, name_size, "grpc-message")) {
        grpc_percent_decode(value, value_size, call->grpc_message, sizeof call->grpc_message);
    } else if (name_size > 6 && memcmp(name, "tally-", 6) == 0) {
        keep_trailer(call, name, name_size, value, value_size);
    }
    return 0;
}

/* The server has spoken, or what it sent cannot be understood. */
static void finish_with(struct http2_client_connection *connection, struct http2_call *call,
                        enum http2_fate fate, int grpc_status, const char *message)
{
    bool reset = !call->ended;
    if (reset)
        http2_client_session_reset(connection, call);
    else
        (void)nghttp2_session_set_stream_user_data(connection->session, call->stream_id, NULL);
    http2_client_finish_call(call, fate, grpc_status, message);
}

/* The stream's last frame has come: is it an answer? */
static void finish_answered(struct http2_client_connection *connection, struct http2_call *call)
{
    char text[160];
    bool complete =
        call->answer && call->answer_size == call->answer_expected && call->prefix_size == 0;
    call->ended = call->request_sent == call->request_size + GRPC_PREFIX_SIZE;
    if (call->http_status != 200 || call->content_type_wrong[0]) {
        (void)snprintf(text, sizeof text, "not a gRPC answer: HTTP status %u, content-type %s",
                       call->http_status,
                       call->content_type_wrong[0] ? call->content_type_wrong : "application/grpc");
        finish_with(connection, call, http2_client_session_fate(call), STATUS_2_UNKNOWN, text);
    } else if (!call->status_seen) {
        finish_with(connection, call, http2_client_session_fate(call), STATUS_2_UNKNOWN,
                    "the answer ended without grpc-status");
    } else if (call->grpc_status == 0 && !complete) {
        finish_with(connection, call, http2_client_session_fate(call), STATUS_13_INTERNAL,
                    "the answer says OK but its message is missing or cut");
    } else {
        finish_with(connection, call, HTTP2_ANSWERED, call->grpc_status, NULL);
    }
}

/* One piece of the answer's one message; false when it is over because of it. */
static bool take_prefix(struct http2_client_connection *connection, struct http2_call *call)
{
    char text[160];
    if (call->answer) {
        finish_with(connection, call, HTTP2_UNKNOWN, STATUS_13_INTERNAL,
                    "the answer has more than one message");
        return false;
    }
    if (call->prefix[0] != 0) {
        finish_with(connection, call, HTTP2_UNKNOWN, STATUS_13_INTERNAL,
                    "the answer is compressed; nobody asked for that");
        return false;
    }
    uint32_t size = (uint32_t)call->prefix[1] << 24 | (uint32_t)call->prefix[2] << 16 |
                    (uint32_t)call->prefix[3] << 8 | call->prefix[4];
    if (size > connection->client->answer_size_max) {
        (void)snprintf(text, sizeof text, "an answer of %u bytes; at most %u are taken", size,
                       connection->client->answer_size_max);
        finish_with(connection, call, HTTP2_UNKNOWN, STATUS_8_EXHAUSTED, text);
        return false;
    }
    call->answer = malloc(size ? size : 1);
    if (!call->answer) {
        finish_with(connection, call, HTTP2_UNKNOWN, STATUS_8_EXHAUSTED,
                    "out of memory for the answer");
        return false;
    }
    call->answer_size = 0;
    call->answer_expected = size;
    return true;
}

static int on_data_cb(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                      const uint8_t *bytes, size_t size, void *context)
{
    (void)flags;
    struct http2_client_connection *connection = context;
    struct http2_call *call = call_of(session, stream_id);
    /* A page of some proxy is not looked at; the end of the stream says what came instead. */
    bool is_grpc = call && call->http_status == 200 && !call->content_type_wrong[0];
    while (is_grpc && size > 0) {
        size_t part;
        if (call->answer && call->answer_size < call->answer_expected) {
            size_t left = call->answer_expected - call->answer_size;
            part = left < size ? left : size;
            memcpy(call->answer + call->answer_size, bytes, part);
            call->answer_size += part;
        } else {
            size_t left = GRPC_PREFIX_SIZE - call->prefix_size;
            part = left < size ? left : size;
            memcpy(call->prefix + call->prefix_size, bytes, part);
            call->prefix_size = (uint8_t)(call->prefix_size + part);
            if (call->prefix_size == GRPC_PREFIX_SIZE) {
                if (!take_prefix(connection, call))
                    return 0;
                call->prefix_size = 0;
            }
        }
        bytes += part;
        size -= part;
    }
    return 0;
}

static int on_frame_cb(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct http2_client_connection *connection = context;
    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK) && connection->state == CONNECTION_GREETING) {
            http2_client_connect_done(connection->client);
            http2_client_connection_ready(connection);
        }
        break;
    case NGHTTP2_GOAWAY:
        if (connection->state == CONNECTION_GREETING) {
            /* Refused before it began: its words are the reason. */
            struct net_error why;
            size_t size = frame->goaway.opaque_data_len;
            net_error_set(&why, "%s sent GOAWAY (%s): %.*s", connection->stream.peer,
                          nghttp2_http2_strerror(frame->goaway.error_code),
                          (int)(size < 100 ? size : 100), (const char *)frame->goaway.opaque_data);
            http2_client_connection_fail(connection, why.text);
            break;
        }
        http2_client_connection_leave(connection);
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            connection->ping_waiting = false;
        break;
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA: {
        struct http2_call *call = call_of(session, frame->hd.stream_id);
        if (call && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
            finish_answered(connection, call);
        break;
    }
    default:
        break;
    }
    return 0;
}

/* What a reset by the server says, in gRPC's terms ("PROTOCOL-HTTP2", errors). */
static int status_of_reset(uint32_t error_code)
{
    switch (error_code) {
    case NGHTTP2_REFUSED_STREAM:
        return STATUS_14_DOWN;
    case NGHTTP2_CANCEL:
        return 1;
    case NGHTTP2_ENHANCE_YOUR_CALM:
        return STATUS_8_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY:
        return 7;
    default:
        return STATUS_13_INTERNAL;
    }
}

static int on_stream_close_cb(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                              void *context)
{
    struct http2_client_connection *connection = context;
    struct http2_call *call = call_of(session, stream_id);
    if (!call)
        return 0;
    char text[128];
    (void)snprintf(text, sizeof text, "%s reset the call: %s", connection->stream.peer,
                   nghttp2_http2_strerror(error_code));
    enum http2_fate fate = http2_client_session_fate(call);
    if (fate == HTTP2_UNKNOWN && error_code == NGHTTP2_REFUSED_STREAM)
        fate = HTTP2_NOT_PROCESSED;
    http2_client_finish_call(call, fate, status_of_reset(error_code), text);
    return 0;
}

static enum status make_callbacks(nghttp2_session_callbacks **out_callbacks)
{
    if (nghttp2_session_callbacks_new(out_callbacks) != 0)
        return STATUS_NO_MEMORY;
    nghttp2_session_callbacks_set_on_header_callback(*out_callbacks, on_header_cb);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(*out_callbacks, on_data_cb);
    nghttp2_session_callbacks_set_on_frame_recv_callback(*out_callbacks, on_frame_cb);
    nghttp2_session_callbacks_set_on_stream_close_callback(*out_callbacks, on_stream_close_cb);
    return STATUS_OK;
}

enum status http2_client_session_create(struct http2_client_connection *connection)
{
    nghttp2_session_callbacks *callbacks;
    if (make_callbacks(&callbacks) != STATUS_OK)
        return STATUS_NO_MEMORY;
    nghttp2_option *option = NULL;
    enum status status = STATUS_NO_MEMORY;
    if (nghttp2_option_new(&option) != 0)
        goto out;
    nghttp2_option_set_no_closed_streams(option, 1);
    if (nghttp2_session_client_new2(&connection->session, callbacks, connection, option) != 0) {
        connection->session = NULL;
        goto out;
    }
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 16 * 1024},
    };
    if (nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, 3) != 0 ||
        nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0,
                                              CONNECTION_WINDOW) != 0)
        goto out; /* the session goes with the connection */
    status = STATUS_OK;
out:
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return status;
}
