/*
 * The server: its options, its methods, the listener and its ticks.
 *
 * Accepting. At most handshakes_max connections are inside their TLS handshake. When they are, the
 * next one is left in the listener (libuv stops polling it until it is taken) rather than refused:
 * a reconnect storm is served in order, a few handshakes per turn of the loop. So that strangers
 * who connect and say nothing cannot hold all places for the whole handshake_timeout_ms, those
 * older than EVICT_AGE_MS make room while somebody waits.
 *
 * Events are for the log and bounded: EVENTS_BURST, then EVENTS_PER_SECOND, and the next one
 * through tells how many were left out.
 */
#include "server/grpc_internal.h"

#include "core/invariant.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTEN_BACKLOG 1024

static struct grpc_server *server_of_listener(uv_stream_t *listener)
{
    return (struct grpc_server *)((char *)listener - offsetof(struct grpc_server, listener));
}

void grpc_server_event(struct grpc_server *server, const char *name, const char *principal,
                       const char *format, ...)
{
    if (!server->event)
        return;
    if (!grpc_bucket_take(&server->events, uv_now(server->uv))) {
        server->events_suppressed++;
        return;
    }
    if (server->events_suppressed > 0) {
        char count[64];
        (void)snprintf(count, sizeof count, "%" PRIu64 " events left out",
                       server->events_suppressed);
        server->events_suppressed = 0;
        server->event(server->event_context, "events_suppressed", "", count);
    }
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut is fine */
    va_end(arguments);
    server->event(server->event_context, name, principal, text);
}

/* ---- making ---- */

#define DEFAULT(field, value)                                                                      \
    if (limits->field == 0)                                                                        \
    limits->field = (value)

static void set_defaults(struct grpc_limits *limits)
{
    DEFAULT(connections_max, 1024);
    DEFAULT(connections_per_principal_max, 256);
    DEFAULT(handshakes_max, 128);
    DEFAULT(streams_max, 1024);
    DEFAULT(message_size_max, 1100000);
    DEFAULT(calls_per_principal_max, 2048);
    DEFAULT(bytes_per_principal_max, 64ull * 1024 * 1024);
    DEFAULT(handshake_timeout_ms, 5000);
    DEFAULT(body_timeout_ms, 8000);
    DEFAULT(idle_timeout_ms, 300000);
    DEFAULT(ping_interval_ms, 30000);
    DEFAULT(connection_age_ms, 2700000);
}

/* A message may be granted only as a whole, and its window must fit 2^31. */
static enum status check_limits(const struct grpc_limits *limits, struct grpc_error *error)
{
    if (limits->message_size_max > UNFINISHED_BYTES_MAX) {
        (void)snprintf(error->text, sizeof error->text,
                       "message_size_max is %u, at most %u is possible", limits->message_size_max,
                       UNFINISHED_BYTES_MAX);
        return STATUS_INVALID;
    }
    if (limits->bytes_per_principal_max < grpc_pool_capacity(limits->message_size_max)) {
        (void)snprintf(error->text, sizeof error->text,
                       "bytes_per_principal_max is %" PRIu64 ", a message may need %u",
                       limits->bytes_per_principal_max,
                       grpc_pool_capacity(limits->message_size_max));
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

enum status grpc_server_create(const struct grpc_server_options *options,
                               struct grpc_server **out_server, struct grpc_error *out_error)
{
    struct net_error error;
    struct grpc_server *server = calloc(1, sizeof *server);
    if (!server)
        goto no_memory;
    server->uv = options->loop;
    server->port = options->port;
    server->limits = options->limits;
    server->event = options->event;
    server->event_context = options->event_context;
    server->jitter = uv_hrtime();
    server->state = GRPC_SERVER_MADE;
    set_defaults(&server->limits);
    grpc_bucket_init(&server->events, EVENTS_BURST, EVENTS_PER_SECOND, uv_now(server->uv));
    deadline_heap_init(&server->deadlines);
    grpc_pool_init(&server->pool);
    enum status status = check_limits(&server->limits, out_error);
    if (status != STATUS_OK)
        goto refused;
    status = STATUS_INVALID;
    if (!options->host || strlen(options->host) >= sizeof server->host) {
        (void)snprintf(out_error->text, sizeof out_error->text,
                       "the address to listen on is missing or too long");
        goto refused;
    }
    memcpy(server->host, options->host, strlen(options->host) + 1);
    struct tls_options tls = {
        .side = TLS_SERVER,
        .certificate_file = options->certificate_file,
        .key_file = options->key_file,
        .ca_file = options->ca_file,
        .crl_file = options->crl_file,
    };
    status = tls_context_create(&tls, &server->tls, &error);
    if (status != STATUS_OK) {
        (void)snprintf(out_error->text, sizeof out_error->text, "%s", error.text);
        goto refused;
    }
    if (grpc_session_prepare(server) != STATUS_OK)
        goto no_memory;
    *out_server = server;
    return STATUS_OK;

no_memory:
    status = STATUS_NO_MEMORY;
    (void)snprintf(out_error->text, sizeof out_error->text, "out of memory for the gRPC server");
refused:
    if (server)
        grpc_server_free(server);
    return status;
}

/* Everything but handles of the loop. */
void grpc_server_free(struct grpc_server *server)
{
    tls_context_destroy(server->tls);
    nghttp2_session_callbacks_del(server->callbacks); /* these two allow NULL */
    nghttp2_option_del(server->option);
    deadline_heap_deinit(&server->deadlines);
    grpc_call_cache_free(server);
    grpc_pool_deinit(&server->pool);
    free(server);
}

void grpc_server_add(struct grpc_server *server, const struct grpc_method *method)
{
    invariant_values(server->method_count < METHODS_MAX, server->method_count, METHODS_MAX);
    invariant(strlen(method->path) <= GRPC_PATH_SIZE_MAX);
    invariant(method->message != NULL);
    uint32_t i = server->method_count++;
    server->methods[i] = *method;
    memcpy(server->paths[i], method->path, strlen(method->path) + 1);
    server->methods[i].path = server->paths[i];
}

/* ---- listening ---- */

static void accept_one(struct grpc_server *server)
{
    if (server->state != GRPC_SERVER_LISTENING)
        return;
    if (server->handshake_count >= server->limits.handshakes_max) {
        server->accept_waiting = true;
        return;
    }
    grpc_connection_accept(server);
}

static void listen_cb(uv_stream_t *listener, int result)
{
    struct grpc_server *server = server_of_listener(listener);
    if (result != 0) {
        grpc_server_event(server, "accept_failed", "", "%s", uv_strerror(result));
        return;
    }
    accept_one(server);
}

void grpc_server_accept_waiting(struct grpc_server *server)
{
    if (!server->accept_waiting)
        return;
    server->accept_waiting = false;
    accept_one(server);
}

static void evict_old_handshakes(struct grpc_server *server, uint64_t now_ms)
{
    struct grpc_connection *next;
    for (struct grpc_connection *c = server->connections; c; c = next) {
        next = c->next;
        if (c->state != GRPC_CONNECTION_HANDSHAKE || now_ms - c->accepted_ms <= EVICT_AGE_MS)
            continue;
        server->stats.handshake_failures_total++;
        grpc_server_event(server, "handshake_evicted", "",
                          "%s made room for others after %" PRIu64 " ms", c->stream.peer,
                          now_ms - c->accepted_ms);
        grpc_connection_close(c);
    }
}

void grpc_server_tick_cb(uv_timer_t *timer)
{
    struct grpc_server *server =
        (struct grpc_server *)((char *)timer - offsetof(struct grpc_server, tick_timer));
    uint64_t now_ms = uv_now(server->uv);
    if (server->accept_waiting)
        evict_old_handshakes(server, now_ms);
    struct grpc_connection *next;
    for (struct grpc_connection *c = server->connections; c; c = next) {
        next = c->next; /* closing is never at once */
        grpc_connection_tick(c, now_ms);
    }
    grpc_server_accept_waiting(server);
    grpc_expiry_check(server);
    grpc_drain_step(server);
}

static enum status parse_address(const struct grpc_server *server,
                                 struct sockaddr_storage *out_address)
{
    memset(out_address, 0, sizeof *out_address);
    void *address = out_address;
    if (uv_ip4_addr(server->host, server->port, address) == 0 ||
        uv_ip6_addr(server->host, server->port, address) == 0)
        return STATUS_OK;
    return STATUS_INVALID;
}

static uint16_t port_of(const struct grpc_server *server)
{
    struct sockaddr_storage address;
    int size = sizeof address;
    memset(&address, 0, sizeof address);
    if (uv_tcp_getsockname(&server->listener, (struct sockaddr *)&address, &size) != 0)
        return server->port;
    const void *any = &address;
    return address.ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)any)->sin6_port)
                                         : ntohs(((const struct sockaddr_in *)any)->sin_port);
}

enum status grpc_server_listen(struct grpc_server *server, uint16_t *out_port,
                               struct grpc_error *out_error)
{
    invariant_values(server->state == GRPC_SERVER_MADE, server->state, 0);
    struct sockaddr_storage address;
    if (parse_address(server, &address) != STATUS_OK) {
        (void)snprintf(out_error->text, sizeof out_error->text,
                       "cannot listen on '%s': an IP address is needed, such as 0.0.0.0 or ::1",
                       server->host);
        return STATUS_INVALID;
    }
    if (net_loop_init(&server->loop, server->uv) != STATUS_OK) {
        (void)snprintf(out_error->text, sizeof out_error->text,
                       "out of memory for the gRPC server");
        return STATUS_NO_MEMORY;
    }
    /* None of these four can fail: they open nothing yet. From here drain has to be called. */
    (void)uv_tcp_init(server->uv, &server->listener);
    (void)uv_timer_init(server->uv, &server->tick_timer);
    (void)uv_timer_init(server->uv, &server->deadline_timer);
    (void)uv_idle_init(server->uv, &server->flush_turn);
    server->state = GRPC_SERVER_LISTENING;
    int result = uv_tcp_bind(&server->listener, (const struct sockaddr *)&address, 0);
    if (result == 0)
        result = uv_listen((uv_stream_t *)&server->listener, LISTEN_BACKLOG, listen_cb);
    if (result != 0) {
        (void)snprintf(out_error->text, sizeof out_error->text, "cannot listen on %s port %u: %s",
                       server->host, (unsigned)server->port, uv_strerror(result));
        return result == UV_EACCES ? STATUS_PERMISSION : STATUS_UNAVAILABLE;
    }
    (void)uv_timer_start(&server->tick_timer, grpc_server_tick_cb, TICK_MS,
                         TICK_MS); /* has a callback */
    if (out_port)
        *out_port = port_of(server);
    grpc_expiry_check(server);
    return STATUS_OK;
}

/* ---- running ---- */

enum status grpc_server_reload(struct grpc_server *server, struct grpc_error *out_error)
{
    struct net_error error;
    enum status status = tls_context_reload(&server->tls, &error);
    if (status != STATUS_OK) {
        (void)snprintf(out_error->text, sizeof out_error->text, "%s", error.text);
        return status;
    }
    server->expiry_checked_ms = 0;
    /* Who is connected is judged as if it came now: a revoked certificate ends here. */
    struct grpc_connection *next;
    for (struct grpc_connection *c = server->connections; c; c = next) {
        next = c->next;
        if (c->state < GRPC_CONNECTION_GREETING || c->state >= GRPC_CONNECTION_LINGER)
            continue;
        if (stream_verify_again(&c->stream, server->tls, &error) == STATUS_OK)
            continue;
        grpc_server_event(server, "connection_refused", grpc_connection_principal(c), "%s",
                          error.text);
        grpc_connection_close(c);
    }
    return STATUS_OK;
}

void grpc_server_stats(const struct grpc_server *server, struct grpc_server_stats *out)
{
    *out = server->stats;
    out->connections = server->connection_count;
    for (const struct grpc_connection *c = server->connections; c; c = c->next) {
        out->bytes_received_total += c->stream.bytes_received;
        out->bytes_sent_total += c->stream.bytes_sent;
    }
}
