/*
 * One connection, from accept to the stream's `closed`.
 *
 *   HANDSHAKE ──TLS──► GREETING ──SETTINGS──► OPEN ──drain, age, idle──► NOTICED ──round trip──►
 * LEAVING │                 │  └──cut──┐          │ └──cut, session over──┐    │ │ │ │          ▼
 * │                       ▼    ▼                      ▼ │                 │        LINGER
 * ◄─────┴────────────────────────────── no calls, grace over └──time is up─────┴───────────┴──►
 * CLOSED ◄── the stream ended, from anywhere
 *
 * "Bytes arrived" is not "handshake done": the time of accept runs until the client's SETTINGS.
 *
 * nghttp2 acts on its own GOAWAY only when it is sent, so a connection is flushed after every read.
 * What happens outside of a read (an answer from the log, a deadline) marks it dirty, and the next
 * turn of the loop flushes all dirty ones: answers of one commit leave in few TLS records.
 *
 * LINGER exists because closing a socket with unread input sends a TCP reset, which can destroy the
 * GOAWAY or the last answer on its way.
 */
#include "server/grpc_internal.h"

#include "core/invariant.h"

#include <stdlib.h>
#include <string.h>

static struct grpc_connection *connection_of(struct stream *stream)
{
    return (struct grpc_connection *)((char *)stream - offsetof(struct grpc_connection, stream));
}

const char *grpc_connection_principal(const struct grpc_connection *connection)
{
    return connection->principal ? connection->principal->identity.uri : "";
}

static void move(struct grpc_connection *connection, enum grpc_connection_state to)
{
    static const uint8_t allowed[GRPC_CONNECTION_STATE_COUNT] = {
        [GRPC_CONNECTION_HANDSHAKE] = 1 << GRPC_CONNECTION_GREETING | 1 << GRPC_CONNECTION_CLOSED,
        [GRPC_CONNECTION_GREETING] =
            1 << GRPC_CONNECTION_OPEN | 1 << GRPC_CONNECTION_LINGER | 1 << GRPC_CONNECTION_CLOSED,
        [GRPC_CONNECTION_OPEN] = 1 << GRPC_CONNECTION_NOTICED | 1 << GRPC_CONNECTION_LINGER |
                                 1 << GRPC_CONNECTION_CLOSED,
        [GRPC_CONNECTION_NOTICED] = 1 << GRPC_CONNECTION_LEAVING | 1 << GRPC_CONNECTION_LINGER |
                                    1 << GRPC_CONNECTION_CLOSED,
        [GRPC_CONNECTION_LEAVING] = 1 << GRPC_CONNECTION_LINGER | 1 << GRPC_CONNECTION_CLOSED,
        [GRPC_CONNECTION_LINGER] = 1 << GRPC_CONNECTION_CLOSED,
        [GRPC_CONNECTION_CLOSED] = 0,
    };
    invariant_values(allowed[connection->state] & 1 << to, connection->state, to);
    if (connection->state == GRPC_CONNECTION_HANDSHAKE)
        connection->server->handshake_count--;
    connection->state = to;
}

static void detach_calls(struct grpc_connection *connection)
{
    while (connection->calls) {
        struct grpc_call *call = connection->calls;
        (void)nghttp2_session_set_stream_user_data(connection->session, call->stream_id, NULL);
        grpc_call_detach(call);
    }
}

static void forget_dirty(struct grpc_connection *connection)
{
    struct grpc_server *server = connection->server;
    if (!connection->is_dirty)
        return;
    if (connection->dirty_previous)
        connection->dirty_previous->dirty_next = connection->dirty_next;
    else
        server->dirty_first = connection->dirty_next;
    if (connection->dirty_next)
        connection->dirty_next->dirty_previous = connection->dirty_previous;
    else
        server->dirty_last = connection->dirty_previous;
    connection->is_dirty = false;
    server->dirty_count--;
}

void grpc_connection_close(struct grpc_connection *connection)
{
    if (connection->state == GRPC_CONNECTION_CLOSED)
        return;
    move(connection, GRPC_CONNECTION_CLOSED);
    forget_dirty(connection);
    detach_calls(connection);
    stream_close(&connection->stream);
}

/* Says goodbye; nothing is read or answered any more. */
static void begin_linger(struct grpc_connection *connection)
{
    move(connection, GRPC_CONNECTION_LINGER);
    connection->linger_ms = uv_now(connection->server->uv);
    forget_dirty(connection);
    detach_calls(connection);
    stream_finish(&connection->stream);
}

/* ---- out ---- */

void grpc_connection_dirty(struct grpc_connection *connection)
{
    struct grpc_server *server = connection->server;
    if (connection->is_dirty || connection->state >= GRPC_CONNECTION_LINGER)
        return;
    connection->is_dirty = true;
    connection->dirty_next = NULL;
    connection->dirty_previous = server->dirty_last;
    if (server->dirty_last)
        server->dirty_last->dirty_next = connection;
    else
        server->dirty_first = connection;
    server->dirty_last = connection;
    server->dirty_count++;
    (void)uv_idle_start(&server->flush_turn, grpc_connection_flush_turn); /* has a callback */
}

static void flush(struct grpc_connection *connection)
{
    if (!connection->session || connection->state >= GRPC_CONNECTION_LINGER)
        return;
    forget_dirty(connection);
    bool more;
    enum status status = http2_pump(connection->session, &connection->stream, &more);
    if (status != STATUS_OK) {
        grpc_server_event(connection->server, "connection_failed",
                          grpc_connection_principal(connection), "sending to %s: %s",
                          connection->stream.peer, status_text(status));
        grpc_connection_close(connection);
        return;
    }
    if (more)
        grpc_connection_dirty(connection);
    bool is_drained = connection->state == GRPC_CONNECTION_LEAVING && connection->call_count == 0 &&
                      !nghttp2_session_want_write(connection->session);
    bool is_over = !nghttp2_session_want_read(connection->session) &&
                   !nghttp2_session_want_write(connection->session);
    if (connection->cut || is_drained || is_over) {
        if (is_over && !connection->cut && connection->goaway_code != NGHTTP2_NO_ERROR)
            grpc_server_event(
                connection->server, "connection_cut", grpc_connection_principal(connection),
                "%s: %s", connection->stream.peer, nghttp2_http2_strerror(connection->goaway_code));
        begin_linger(connection);
        return;
    }
    /* A peer that does not read its answers is not read either. */
    if (stream_is_full(&connection->stream))
        stream_pause(&connection->stream);
}

void grpc_connection_flush_turn(uv_idle_t *idle)
{
    struct grpc_server *server =
        (struct grpc_server *)((char *)idle - offsetof(struct grpc_server, flush_turn));
    /* Those that become dirty meanwhile stand behind and wait for the next turn. */
    for (uint32_t due = server->dirty_count; due > 0 && server->dirty_first; due--)
        flush(server->dirty_first);
    if (!server->dirty_first)
        (void)uv_idle_stop(&server->flush_turn); /* cannot fail */
}

void grpc_connection_cut(struct grpc_connection *connection, uint32_t error_code, const char *text)
{
    if (connection->cut)
        return;
    connection->cut = true;
    grpc_server_event(connection->server, "connection_cut", grpc_connection_principal(connection),
                      "%s: %s", connection->stream.peer, text);
    /* When it cannot be submitted the connection ends without it. */
    (void)nghttp2_submit_goaway(connection->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(connection->session),
                                error_code, (const uint8_t *)text, strlen(text));
    grpc_connection_dirty(connection);
}

/* ---- in: the stream's events ---- */

static void stream_open_cb(struct stream *stream)
{
    struct grpc_connection *connection = connection_of(stream);
    struct grpc_server *server = connection->server;
    struct identity identity = {.uri = ""};
    if (stream_peer_identity(stream, &identity, &connection->identity_error) == STATUS_OK)
        connection->identity_error.text[0] = 0;
    move(connection, GRPC_CONNECTION_GREETING);
    connection->principal = grpc_principal_take(server, &identity);
    if (!connection->principal || grpc_session_create(connection) != STATUS_OK) {
        grpc_server_event(server, "connection_refused", identity.uri, "%s: out of memory",
                          stream->peer);
        grpc_connection_close(connection);
        return;
    }
    connection->principal->connections++;
    connection->counted = true;
    if (connection->identity_error.text[0])
        grpc_server_event(server, "identity_refused", "", "%s: %s", stream->peer,
                          connection->identity_error.text);
    if (connection->principal->connections > server->limits.connections_per_principal_max)
        grpc_connection_cut(connection, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_connections");
    grpc_connection_dirty(connection);
    grpc_server_accept_waiting(server);
}

static void stream_data_cb(struct stream *stream, const uint8_t *bytes, size_t size)
{
    struct grpc_connection *connection = connection_of(stream);
    connection->heard_ms = uv_now(connection->server->uv);
    if (connection->cut || connection->input_was_fatal ||
        connection->state >= GRPC_CONNECTION_LINGER)
        return;
    ssize_t taken = nghttp2_session_mem_recv(connection->session, bytes, size);
    if (taken >= 0 && (size_t)taken == size)
        return;
    if (taken == NGHTTP2_ERR_FLOODED) {
        /* Too many acknowledgements wait to be sent; what can be sent is intact. */
        grpc_connection_cut(connection, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_frames");
        return;
    }
    connection->input_was_fatal = true;
    grpc_server_event(connection->server, "connection_cut", grpc_connection_principal(connection),
                      "%s: %s", stream->peer, nghttp2_strerror((int)taken));
}

static void stream_read_done_cb(struct stream *stream)
{
    struct grpc_connection *connection = connection_of(stream);
    if (connection->input_was_fatal) {
        grpc_connection_close(connection);
        return;
    }
    flush(connection);
}

static void stream_writable_cb(struct stream *stream)
{
    struct grpc_connection *connection = connection_of(stream);
    flush(connection);
    if (connection->state < GRPC_CONNECTION_LINGER && !stream_is_full(stream))
        stream_resume(stream);
}

static void stream_ended_cb(struct stream *stream, enum status status, const char *why)
{
    struct grpc_connection *connection = connection_of(stream);
    struct grpc_server *server = connection->server;
    if (connection->state == GRPC_CONNECTION_HANDSHAKE) {
        server->stats.handshake_failures_total++;
        grpc_server_event(server, "handshake_failed", "", "%s", why);
    } else if (status == STATUS_DENIED || status == STATUS_NO_MEMORY) {
        grpc_server_event(server, "connection_failed", grpc_connection_principal(connection), "%s",
                          why);
    }
    grpc_connection_close(connection);
}

static void stream_closed_cb(struct stream *stream)
{
    struct grpc_connection *connection = connection_of(stream);
    struct grpc_server *server = connection->server;
    invariant(connection->state == GRPC_CONNECTION_CLOSED);
    server->stats.bytes_received_total += stream->bytes_received;
    server->stats.bytes_sent_total += stream->bytes_sent;
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    server->connection_count--;
    nghttp2_session_del(connection->session); /* NULL is allowed */
    if (connection->principal) {
        if (connection->counted)
            connection->principal->connections--;
        grpc_principal_give(server, connection->principal);
    }
    free(connection);
    grpc_server_accept_waiting(server);
    grpc_drain_step(server);
}

static const struct stream_handlers stream_handlers = {
    .open = stream_open_cb,
    .data = stream_data_cb,
    .read_done = stream_read_done_cb,
    .writable = stream_writable_cb,
    .ended = stream_ended_cb,
    .closed = stream_closed_cb,
};

/* Uniform in 0.9 to 1.1 of the age, so that clients that came together do not leave together. */
static uint64_t jittered_age_ms(struct grpc_server *server)
{
    server->jitter = server->jitter * 6364136223846793005ull + 1442695040888963407ull;
    uint64_t age_ms = server->limits.connection_age_ms;
    return age_ms - age_ms / 10 + (server->jitter >> 33) % (age_ms / 5 + 1);
}

void grpc_connection_accept(struct grpc_server *server)
{
    struct grpc_connection *connection = calloc(1, sizeof *connection);
    if (!connection) {
        server->accept_waiting = true; /* the tick tries again */
        return;
    }
    connection->server = server;
    connection->accepted_ms = connection->heard_ms = connection->busy_ms = uv_now(server->uv);
    connection->age_limit_ms = jittered_age_ms(server);
    connection->next = server->connections;
    if (server->connections)
        server->connections->previous = connection;
    server->connections = connection;
    server->connection_count++;
    server->handshake_count++;
    server->stats.connections_total++;
    enum status status =
        stream_accept(&connection->stream, &server->loop, (uv_stream_t *)&server->listener,
                      server->tls, &stream_handlers);
    if (status != STATUS_OK) {
        server->stats.handshake_failures_total++;
        grpc_connection_close(connection);
    } else if (server->connection_count > server->limits.connections_max) {
        grpc_server_event(server, "connection_refused", "", "%s: %u connections are open already",
                          connection->stream.peer, server->limits.connections_max);
        grpc_connection_close(connection);
    }
}

/* ---- leaving ---- */

void grpc_connection_greeted(struct grpc_connection *connection)
{
    if (connection->state != GRPC_CONNECTION_GREETING)
        return;
    move(connection, GRPC_CONNECTION_OPEN);
    if (connection->server->state == GRPC_SERVER_DRAINING)
        grpc_connection_drain(connection, connection->server->drain_grace_ms);
}

void grpc_connection_drain(struct grpc_connection *connection, uint64_t grace_ms)
{
    connection->grace_ms = grace_ms;
    if (connection->state != GRPC_CONNECTION_OPEN)
        return;
    move(connection, GRPC_CONNECTION_NOTICED);
    connection->left_ms = uv_now(connection->server->uv);
    /* When these cannot be submitted, the tick goes on without the round trip. */
    (void)nghttp2_submit_shutdown_notice(connection->session);
    (void)nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, (const uint8_t *)DRAIN_PING);
    grpc_connection_dirty(connection);
}

void grpc_connection_round_trip(struct grpc_connection *connection)
{
    if (connection->state != GRPC_CONNECTION_NOTICED)
        return;
    move(connection, GRPC_CONNECTION_LEAVING);
    (void)nghttp2_submit_goaway(connection->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(connection->session),
                                NGHTTP2_NO_ERROR, NULL, 0); /* else the end says it */
    grpc_connection_dirty(connection);
}

/* ---- time ---- */

static void tick_open(struct grpc_connection *connection, uint64_t now_ms)
{
    const struct grpc_limits *limits = &connection->server->limits;
    grpc_receive_tick(connection, now_ms);
    if (connection->call_count > 0)
        connection->busy_ms = now_ms;
    if (connection->ping_waiting && now_ms - connection->ping_ms > PING_TIMEOUT_MS) {
        grpc_server_event(connection->server, "connection_silent",
                          grpc_connection_principal(connection), "%s did not answer a PING",
                          connection->stream.peer);
        grpc_connection_close(connection);
        return;
    }
    if (!connection->ping_waiting && now_ms - connection->heard_ms > limits->ping_interval_ms &&
        nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, NULL) == 0) {
        connection->ping_waiting = true;
        connection->ping_ms = now_ms;
        grpc_connection_dirty(connection);
    }
    if (connection->state == GRPC_CONNECTION_OPEN &&
        (now_ms - connection->accepted_ms > connection->age_limit_ms ||
         now_ms - connection->busy_ms > limits->idle_timeout_ms))
        grpc_connection_drain(connection, AGE_GRACE_MS);
}

void grpc_connection_tick(struct grpc_connection *connection, uint64_t now_ms)
{
    struct grpc_server *server = connection->server;
    switch (connection->state) {
    case GRPC_CONNECTION_HANDSHAKE:
    case GRPC_CONNECTION_GREETING:
        if (server->state == GRPC_SERVER_DRAINING) {
            grpc_connection_close(connection);
            break;
        }
        if (now_ms - connection->accepted_ms <= server->limits.handshake_timeout_ms)
            break;
        server->stats.handshake_failures_total++;
        grpc_server_event(server, "handshake_timeout", grpc_connection_principal(connection),
                          "%s: no %s within %u ms", connection->stream.peer,
                          connection->state == GRPC_CONNECTION_HANDSHAKE ? "TLS handshake"
                                                                         : "HTTP/2 SETTINGS",
                          server->limits.handshake_timeout_ms);
        grpc_connection_close(connection);
        break;
    case GRPC_CONNECTION_NOTICED:
        if (now_ms - connection->left_ms > NOTICE_MS)
            grpc_connection_round_trip(connection);
        tick_open(connection, now_ms);
        break;
    case GRPC_CONNECTION_LEAVING:
        if (connection->call_count == 0 || now_ms - connection->left_ms > connection->grace_ms)
            begin_linger(connection);
        else
            tick_open(connection, now_ms);
        break;
    case GRPC_CONNECTION_OPEN:
        tick_open(connection, now_ms);
        break;
    case GRPC_CONNECTION_LINGER:
        if (now_ms - connection->linger_ms > LINGER_MS)
            grpc_connection_close(connection);
        break;
    default:
        break;
    }
}
