/*
 * One connection of a channel, from its first SYN to the stream's `closed`.
 *
 *   CONNECTING ──TLS──► GREETING ──SETTINGS──► READY ──GOAWAY, stop──► LEAVING ──no calls──► CLOSED
 *        └───────────────┴── failure ──────────┴───────────────────────┘────────────────────────┘
 *
 * Whoever fails it says why, in words that name the peer; every call on it ends with that text and
 * the fate that its progress allows. The memory goes when the stream says `closed`.
 */
#include "net/http2_client_internal.h"

#include "core/invariant.h"
#include "net/http2.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#define PING_TIMEOUT_NS  10000000000ull
#define GRPC_UNAVAILABLE 14

static struct http2_client_connection *connection_of(struct stream *stream)
{
    return (struct http2_client_connection *)((char *)stream -
                                              offsetof(struct http2_client_connection, stream));
}

static void stream_open_cb(struct stream *stream)
{
    struct http2_client_connection *connection = connection_of(stream);
    if (http2_client_session_create(connection) != STATUS_OK) {
        http2_client_connection_fail(connection, "out of memory while opening an HTTP/2 session");
        return;
    }
    connection->state = CONNECTION_GREETING;
    http2_client_connection_pump(connection);
}

static void stream_data_cb(struct stream *stream, const uint8_t *bytes, size_t size)
{
    struct http2_client_connection *connection = connection_of(stream);
    connection->heard_ns = uv_hrtime();
    ssize_t taken = nghttp2_session_mem_recv(connection->session, bytes, size);
    if (taken >= 0 && (size_t)taken == size)
        return;
    struct net_error why;
    net_error_set(&why, "HTTP/2 with %s: %s", stream->peer, nghttp2_strerror((int)taken));
    (void)nghttp2_session_terminate_session(connection->session, NGHTTP2_PROTOCOL_ERROR);
    http2_client_connection_pump(connection); /* the GOAWAY that says so; it fails or it leaves */
    http2_client_connection_fail(connection, why.text);
}

static void stream_read_done_cb(struct stream *stream)
{
    http2_client_connection_pump(connection_of(stream));
}

static void stream_ended_cb(struct stream *stream, enum status status, const char *why)
{
    (void)status; /* the words say more, and the fate of each call does not depend on it */
    http2_client_connection_fail(connection_of(stream), why);
}

static void stream_closed_cb(struct stream *stream)
{
    struct http2_client_connection *connection = connection_of(stream);
    struct http2_client *client = connection->client;
    struct http2_client_connection **link = &client->connections;
    while (*link != connection)
        link = &(*link)->next;
    *link = connection->next;
    client->connection_count--;
    nghttp2_session_del(connection->session); /* NULL is allowed */
    free(connection);
    http2_client_wake(client); /* a stop may wait for this */
}

static const struct stream_handlers stream_handlers = {
    .open = stream_open_cb,
    .data = stream_data_cb,
    .read_done = stream_read_done_cb,
    .writable = stream_read_done_cb,
    .ended = stream_ended_cb,
    .closed = stream_closed_cb,
};

enum status http2_client_connection_create(struct http2_client *client,
                                           const struct sockaddr *address,
                                           struct http2_client_connection **out_connection,
                                           struct net_error *out_error)
{
    struct http2_client_connection *connection = calloc(1, sizeof *connection);
    if (!connection) {
        net_error_set(out_error, "out of memory while connecting");
        return STATUS_NO_MEMORY;
    }
    connection->client = client;
    connection->state = CONNECTION_CONNECTING;
    connection->started_ns = connection->heard_ns = uv_hrtime();
    connection->next = client->connections;
    client->connections = connection;
    client->connection_count++;
    struct stream_connect_options options = {
        .address = address,
        .server_name = client->server_name,
        .expected_uri = client->server_uri,
    };
    enum status status = stream_connect(&connection->stream, &client->loop, &options, client->tls,
                                        &stream_handlers, out_error);
    if (status != STATUS_OK) {
        connection->state = CONNECTION_CLOSED;
        stream_close(&connection->stream);
        return status;
    }
    *out_connection = connection;
    return STATUS_OK;
}

/* Submits what waits. */
void http2_client_connection_ready(struct http2_client_connection *connection)
{
    struct http2_client *client = connection->client;
    connection->state = CONNECTION_READY;
    while (client->waiting.first && connection->state == CONNECTION_READY) {
        struct http2_call *call = client->waiting.first;
        if (http2_client_session_submit(connection, call) != STATUS_OK)
            http2_client_finish_call(call, HTTP2_NOT_SENT, GRPC_UNAVAILABLE,
                                     "the request could not be put on the connection");
    }
    connection->pump_wanted = true;
    http2_client_wake(client);
}

void http2_client_connection_leave(struct http2_client_connection *connection)
{
    struct http2_client *client = connection->client;
    if (client->current == connection)
        client->current = NULL;
    if (connection->state == CONNECTION_CLOSED)
        return;
    if (connection->state != CONNECTION_READY && connection->state != CONNECTION_LEAVING) {
        http2_client_connection_fail(connection, "the client is stopping");
        return;
    }
    connection->state = CONNECTION_LEAVING;
    connection->pump_wanted = true; /* closes it once it is empty */
    http2_client_wake(client);
}

void http2_client_connection_fail(struct http2_client_connection *connection, const char *why)
{
    if (connection->state == CONNECTION_CLOSED)
        return;
    struct http2_client *client = connection->client;
    bool was_attempt = connection->state < CONNECTION_READY && client->current == connection;
    connection->state = CONNECTION_CLOSED;
    connection->pump_wanted = false;
    while (connection->calls.first) {
        struct http2_call *call = connection->calls.first;
        http2_client_finish_call(call, http2_client_session_fate(call), GRPC_UNAVAILABLE, why);
    }
    if (client->current == connection)
        client->current = NULL;
    stream_close(&connection->stream);
    if (was_attempt)
        http2_client_connect_failed(client, why);
}

void http2_client_connection_pump(struct http2_client_connection *connection)
{
    connection->pump_wanted = false;
    if (connection->state == CONNECTION_CLOSED || connection->state == CONNECTION_CONNECTING)
        return;
    bool more;
    enum status status = http2_pump(connection->session, &connection->stream, &more);
    if (status != STATUS_OK) {
        struct net_error why;
        net_error_set(&why, "sending to %s: %s", connection->stream.peer, status_text(status));
        http2_client_connection_fail(connection, why.text);
        return;
    }
    if (connection->state == CONNECTION_LEAVING && connection->call_count == 0) {
        stream_finish(&connection->stream);
        http2_client_connection_fail(connection, "left"); /* without calls: nobody reads it */
        return;
    }
    if (!nghttp2_session_want_read(connection->session) &&
        !nghttp2_session_want_write(connection->session)) {
        struct net_error why;
        net_error_set(&why, "%s ended the HTTP/2 session", connection->stream.peer);
        http2_client_connection_fail(connection, why.text);
        return;
    }
    if (more) {
        connection->pump_wanted = true;
        http2_client_wake(connection->client);
    }
}

/* A silent peer is asked for a sign of life while calls wait for it. */
void http2_client_connection_tick(struct http2_client_connection *connection, uint64_t now_ns)
{
    if (connection->state != CONNECTION_READY && connection->state != CONNECTION_LEAVING)
        return;
    if (connection->ping_waiting) {
        if (now_ns - connection->ping_ns < PING_TIMEOUT_NS)
            return;
        struct net_error why;
        net_error_set(&why, "%s did not answer a PING for 10 s", connection->stream.peer);
        http2_client_connection_fail(connection, why.text);
        return;
    }
    uint64_t interval_ns = (uint64_t)connection->client->ping_interval_ms * 1000000;
    if (connection->call_count == 0 || now_ns - connection->heard_ns < interval_ns)
        return;
    if (nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, NULL) != 0)
        return; /* out of memory: the next tick tries again */
    connection->ping_waiting = true;
    connection->ping_ns = now_ns;
    http2_client_connection_pump(connection);
}
