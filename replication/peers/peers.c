/*
 * The transport's life, its turn and its tick.
 *
 *   STOPPED ──start──► STARTED ──stop──► STOPPED
 *      └──────close───────┴──────► CLOSING ──handles, connections, lookups gone──► GONE
 *
 * The turn. What is sent is encrypted at once and flushed before the loop sleeps, and again after
 * it woke and ran what came (uv_prepare, uv_check), so that all small messages of a turn leave in
 * one write per connection. What has changed is told to the sink at the same two places. Whoever
 * sends in a uv_prepare of its own may come after ours: an idle handle, active for as long as
 * something is left to do, keeps the loop from sleeping on it.
 *
 * The tick. Every TICK_MS one timer looks at all connections and lanes: some thirty of each, which
 * is cheaper and simpler than a timer for each. A loop that was held up (a long batch, a stopped
 * process) gives everybody the time it slept: the silence was its own.
 *
 * TLS files are read into new contexts, both or none, and swapped. Then every living connection's
 * certificate is judged again with the new authorities and revocations; one whose handshake is
 * still under way is judged when it is done (tls_generation).
 */
#include "replication/peers/peers_internal.h"

#include "core/invariant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The tick came so late that peers had no chance to be heard. */
#define LATE_MS 100
/* A sink that answers each change with another would never end. */
#define ROUNDS_MAX 8
#define BACKLOG    64

static struct peers *peers_of(struct transport *transport)
{
    return (struct peers *)transport; /* its first member */
}

uint64_t peers_now(const struct peers *peers)
{
    return peers->monotonic_ns ? peers->monotonic_ns(peers->clock_context) : uv_hrtime();
}

/* xorshift64: only against everybody dialling at the same moment. */
uint32_t peers_random(struct peers *peers, uint32_t below)
{
    peers->jitter ^= peers->jitter << 13;
    peers->jitter ^= peers->jitter >> 7;
    peers->jitter ^= peers->jitter << 17;
    return (uint32_t)(peers->jitter % below);
}

/* ---- events ---- */

void peers_event(struct peers *peers, const char *name, uint64_t node_id, uint64_t b,
                 const char *text)
{
    if (peers->event)
        peers->event(peers->event_context, name, text, node_id, b);
}

void peers_event_once(struct peers *peers, const char *name, uint64_t node_id,
                      enum peers_refusal refusal, const char *text)
{
    uint64_t now_ns = peers_now(peers);
    struct peers_recent *recent = NULL;
    for (int i = 0; i < RECENT_MAX && !recent; i++) {
        struct peers_recent *r = &peers->recent[i];
        if (r->name && strcmp(r->name, name) == 0 && r->node_id == node_id && r->refusal == refusal)
            recent = r;
    }
    if (recent && peers_age(now_ns, recent->at_ns) < REPEAT_MS * MS_NS)
        return;
    if (!recent)
        recent = &peers->recent[peers->recent_next++ % RECENT_MAX];
    *recent = (struct peers_recent){
        .name = name, .node_id = node_id, .refusal = refusal, .at_ns = now_ns};
    peers_event(peers, name, node_id, refusal, text);
}

void peers_forget_events(struct peers *peers, uint64_t node_id)
{
    for (int i = 0; i < RECENT_MAX; i++)
        if (peers->recent[i].node_id == node_id)
            peers->recent[i].name = NULL;
}

/* ---- turn and tick ---- */

static void no_sleep_cb(uv_idle_t *handle)
{
    (void)handle; /* being active is all it does */
}

void peers_wake(struct peers *peers)
{
    if (peers->state <= PEERS_STARTED)
        (void)uv_idle_start(&peers->no_sleep, no_sleep_cb); /* fails only without callback */
}

void peers_changed(struct peers *peers)
{
    peers->changed = true;
    peers_wake(peers);
}

static void flush(struct peers *peers)
{
    peers->unflushed = false;
    for (struct peers_connection *c = peers->connections; c; c = c->next)
        if (c->unflushed)
            (void)peers_connection_flush(c); /* dropped if it fails */
}

static void turn(struct peers *peers)
{
    for (int i = 0; i < ROUNDS_MAX && (peers->changed || peers->unflushed); i++) {
        bool changed = peers->changed;
        peers->changed = false;
        if (changed && peers->state == PEERS_STARTED)
            peers_report(peers);
        if (peers->unflushed)
            flush(peers);
    }
    if (!peers->changed && !peers->unflushed)
        (void)uv_idle_stop(&peers->no_sleep); /* cannot fail */
}

static void before_poll_cb(uv_prepare_t *handle)
{
    turn((struct peers *)((char *)handle - offsetof(struct peers, before_poll)));
}

static void after_poll_cb(uv_check_t *handle)
{
    turn((struct peers *)((char *)handle - offsetof(struct peers, after_poll)));
}

/* Moves a time forward, but not past now: something may have been heard since we woke. */
static uint64_t later(uint64_t at_ns, uint64_t by_ns, uint64_t now_ns)
{
    return at_ns + by_ns < now_ns ? at_ns + by_ns : now_ns;
}

static void forgive(struct peers *peers, uint64_t slept_ns, uint64_t now_ns)
{
    for (struct peers_connection *c = peers->connections; c; c = c->next) {
        c->begun_ns = later(c->begun_ns, slept_ns, now_ns);
        c->heard_ns = later(c->heard_ns, slept_ns, now_ns);
    }
}

static void tick_cb(uv_timer_t *timer)
{
    struct peers *peers = (struct peers *)((char *)timer - offsetof(struct peers, tick));
    uint64_t now_ns = peers_now(peers);
    uint64_t gap_ns = peers_age(now_ns, peers->ticked_ns);
    if (gap_ns > LATE_MS * MS_NS)
        forgive(peers, gap_ns - TICK_MS * MS_NS, now_ns);
    peers->ticked_ns = now_ns;
    /* A connection that is closed here stays in the list until the loop comes back. */
    for (struct peers_connection *c = peers->connections; c; c = c->next)
        peers_connection_tick(c, now_ns);
    if (peers->state == PEERS_STARTED)
        peers_table_tick(peers, now_ns);
    peers_accept_waiting(peers);
}

/* ---- the transport's operations ---- */

static enum status operation_start(struct transport *transport, const struct transport_self *self,
                                   const struct transport_sink *sink)
{
    struct peers *peers = peers_of(transport);
    invariant_values(peers->state == PEERS_STOPPED, peers->state, 0);
    invariant(sink->message != NULL);
    peers->self = *self;
    peers->sink = *sink;
    peers->state = PEERS_STARTED;
    return STATUS_OK;
}

static void operation_members(struct transport *transport, const struct member *list,
                              uint32_t count)
{
    struct peers *peers = peers_of(transport);
    invariant_values(peers->state == PEERS_STARTED, peers->state, 0);
    peers_table_set(peers, list, count);
}

static size_t queued(const struct peers_lane *lane)
{
    return lane->dialled->stream.queue_size;
}

static enum status operation_send(struct transport *transport, uint64_t to,
                                  enum transport_lane lane_index,
                                  const struct transport_part *parts, uint32_t count)
{
    struct peers *peers = peers_of(transport);
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (parts[i].size > TRANSPORT_MESSAGE_SIZE_MAX - size)
            return STATUS_INVALID;
        size += parts[i].size;
    }
    if (size == 0)
        return STATUS_INVALID;
    struct peers_peer *peer = peers_table_find(peers, to);
    if (!peer)
        return STATUS_NOT_FOUND;
    struct peers_lane *lane = &peer->lanes[lane_index];
    if (!peers_lane_is_usable(lane))
        return STATUS_UNAVAILABLE;
    if (queued(lane) + PEERS_FRAME_HEADER_SIZE + size > TRANSPORT_QUEUE_BYTES_MAX) {
        lane->refused_send = true;
        return STATUS_BUSY;
    }
    if (peers_connection_write(lane->dialled, PEERS_FRAME_MESSAGE, parts, count, size) != STATUS_OK)
        return STATUS_UNAVAILABLE;
    lane->messages_out++;
    lane->bytes_out += PEERS_FRAME_HEADER_SIZE + size;
    return STATUS_OK;
}

static size_t operation_room(const struct transport *transport, uint64_t to,
                             enum transport_lane lane_index)
{
    const struct peers_peer *peer = peers_table_look((const struct peers *)transport, to);
    if (!peer || !peers_lane_is_usable(&peer->lanes[lane_index]))
        return 0;
    size_t used = queued(&peer->lanes[lane_index]) + PEERS_FRAME_HEADER_SIZE;
    return used < TRANSPORT_QUEUE_BYTES_MAX ? TRANSPORT_QUEUE_BYTES_MAX - used : 0;
}

static void operation_stop(struct transport *transport)
{
    struct peers *peers = peers_of(transport);
    if (peers->state != PEERS_STARTED)
        return;
    peers->state = PEERS_STOPPED;
    for (struct peers_connection *c = peers->connections; c; c = c->next)
        peers_connection_drop(c, "the transport was stopped");
    peers_table_clear(peers);
    memset(&peers->sink, 0, sizeof peers->sink);
}

static const struct transport_operations operations = {.start = operation_start,
                                                       .members = operation_members,
                                                       .send = operation_send,
                                                       .room = operation_room,
                                                       .stop = operation_stop};

/* ---- making ---- */

static enum status make_tls(const struct peers_options *options, struct tls_context **out_server,
                            struct tls_context **out_client, struct net_error *error)
{
    struct tls_options tls = {
        .side = TLS_SERVER,
        .certificate_file = options->certificate_file,
        .key_file = options->key_file,
        .ca_file = options->ca_file,
        .crl_file = options->crl_file,
        .protocol = PEERS_ALPN,
    };
    struct tls_context *server;
    enum status status = tls_context_create(&tls, &server, error);
    if (status != STATUS_OK)
        return status;
    tls.side = TLS_CLIENT;
    status = tls_context_create(&tls, out_client, error);
    if (status == STATUS_OK)
        *out_server = server;
    else
        tls_context_destroy(server);
    return status;
}

static enum status listen_at(struct peers *peers, const struct peers_options *options,
                             struct net_error *error)
{
    struct lookup_addresses address;
    if (!lookup_literal(options->listen_host, options->listen_port, &address)) {
        net_error_set(error, "peers cannot listen on %.100s: an IP address is expected",
                      options->listen_host);
        return STATUS_INVALID;
    }
    const void *any = &address.at[0];
    int result = uv_tcp_bind(&peers->listener, any, 0);
    if (result == 0)
        result = uv_listen((uv_stream_t *)&peers->listener, BACKLOG, peers_accept_cb);
    int size = sizeof address.at[0];
    if (result == 0)
        result = uv_tcp_getsockname(&peers->listener, (struct sockaddr *)&address.at[0], &size);
    if (result != 0) {
        net_error_set(error, "peers cannot listen on %.100s port %u: %s", options->listen_host,
                      options->listen_port, uv_strerror(result));
        return STATUS_UNAVAILABLE;
    }
    peers->port = address.at[0].ss_family == AF_INET6
                      ? ntohs(((const struct sockaddr_in6 *)any)->sin6_port)
                      : ntohs(((const struct sockaddr_in *)any)->sin_port);
    return STATUS_OK;
}

static enum status advertise(struct peers *peers, const struct peers_options *options,
                             struct net_error *error)
{
    char text[LOOKUP_HOST_SIZE_MAX + 16];
    char host[LOOKUP_HOST_SIZE_MAX + 1];
    uint16_t port;
    if (options->advertised_address)
        (void)snprintf(text, sizeof text, "%s", options->advertised_address);
    else
        (void)snprintf(text, sizeof text,
                       strchr(options->listen_host, ':') ? "[%.200s]:%u" : "%.200s:%u",
                       options->listen_host, peers->port);
    enum status status = lookup_split(text, host, &port, error);
    size_t size = strlen(text);
    for (size_t i = 0; i < size && status == STATUS_OK; i++)
        if (text[i] < 0x21 || text[i] > 0x7e)
            status = STATUS_INVALID;
    if (status != STATUS_OK || size > MEMBER_ADDRESS_SIZE_MAX) {
        net_error_set(error,
                      "peers cannot dial %.140s: \"host:port\" of at most %d printable bytes "
                      "is expected",
                      text, MEMBER_ADDRESS_SIZE_MAX);
        return STATUS_INVALID;
    }
    memcpy(peers->advertised_address, text, size + 1);
    return STATUS_OK;
}

static void free_memory(struct peers *peers)
{
    tls_context_destroy(peers->tls_server); /* these two allow NULL */
    tls_context_destroy(peers->tls_client);
    free(peers);
}

static void failed_create_cb(void *context)
{
    free_memory(context);
}

enum status peers_create(const struct peers_options *options, struct peers **out_peers,
                         struct net_error *out_error)
{
    const char *prefix = options->uri_prefix ? options->uri_prefix : PEERS_URI_PREFIX_DEFAULT;
    struct peers *peers = calloc(1, sizeof *peers);
    enum status status = STATUS_NO_MEMORY;
    if (!peers)
        goto no_memory;
    peers->transport.operations = &operations;
    peers->uv = options->loop;
    peers->event = options->event;
    peers->event_context = options->event_context;
    peers->monotonic_ns = options->monotonic_ns;
    peers->clock_context = options->clock_context;
    /* 20 digits of the id follow. */
    if (strlen(prefix) == 0 || strlen(prefix) > URI_SIZE_MAX - 20) {
        net_error_set(out_error, "the peers' URI prefix has %zu bytes, 1 to %d are possible",
                      strlen(prefix), URI_SIZE_MAX - 20);
        status = STATUS_INVALID;
        goto refused;
    }
    memcpy(peers->uri_prefix, prefix, strlen(prefix) + 1);
    uint64_t random[2];
    if (uv_random(NULL, NULL, random, sizeof random, 0, NULL) != 0) {
        net_error_set(out_error, "the system has no random numbers for peers");
        status = STATUS_UNSUPPORTED;
        goto refused;
    }
    peers->process = random[0] | 1;
    peers->jitter = random[1] | 1;
    status = make_tls(options, &peers->tls_server, &peers->tls_client, out_error);
    if (status != STATUS_OK)
        goto refused;
    if (net_loop_init(&peers->loop, peers->uv) != STATUS_OK) {
        status = STATUS_NO_MEMORY;
        goto no_memory;
    }
    (void)uv_tcp_init(peers->uv, &peers->listener); /* these five cannot fail: no socket yet */
    (void)uv_timer_init(peers->uv, &peers->tick);
    (void)uv_prepare_init(peers->uv, &peers->before_poll);
    (void)uv_check_init(peers->uv, &peers->after_poll);
    (void)uv_idle_init(peers->uv, &peers->no_sleep);
    peers->handles_open = 5;
    status = listen_at(peers, options, out_error);
    if (status == STATUS_OK)
        status = advertise(peers, options, out_error);
    if (status != STATUS_OK) {
        peers_close(peers, failed_create_cb, peers);
        return status;
    }
    peers->ticked_ns = peers_now(peers);
    (void)uv_timer_start(&peers->tick, tick_cb, TICK_MS, TICK_MS); /* fail without callback only */
    (void)uv_prepare_start(&peers->before_poll, before_poll_cb);
    (void)uv_check_start(&peers->after_poll, after_poll_cb);
    *out_peers = peers;
    return STATUS_OK;

no_memory:
    net_error_set(out_error, "out of memory for the peers");
refused:
    if (peers)
        free_memory(peers);
    return status;
}

struct transport *peers_transport(struct peers *peers)
{
    return &peers->transport;
}

uint16_t peers_port(const struct peers *peers)
{
    return peers->port;
}

uint64_t peers_refused_count(const struct peers *peers)
{
    return peers->refused_count;
}

struct tls_expiry peers_tls_expiry(const struct peers *peers)
{
    return tls_context_expiry(peers->tls_server);
}

/* ---- TLS ---- */

enum status peers_reload_tls(struct peers *peers, struct net_error *out_error)
{
    struct tls_context *server = NULL, *client = NULL;
    enum status status = tls_context_again(peers->tls_server, &server, out_error);
    if (status == STATUS_OK)
        status = tls_context_again(peers->tls_client, &client, out_error);
    if (status != STATUS_OK) {
        tls_context_destroy(server);
        return status;
    }
    tls_context_destroy(peers->tls_server);
    tls_context_destroy(peers->tls_client);
    peers->tls_server = server;
    peers->tls_client = client;
    peers->tls_generation++;
    for (struct peers_connection *c = peers->connections; c; c = c->next) {
        if (c->state == PEERS_OPENING || c->state >= PEERS_LEAVING)
            continue;
        struct net_error why;
        c->tls_generation = peers->tls_generation;
        status = stream_verify_again(&c->stream, c->is_dialled ? client : server, &why);
        if (status != STATUS_OK)
            peers_connection_refuse(
                c, status == STATUS_NO_MEMORY ? PEERS_REFUSED_MEMORY : PEERS_REFUSED_CERTIFICATE,
                why.text);
    }
    return STATUS_OK;
}

/* ---- the end ---- */

static void loop_stopped_cb(void *context)
{
    struct peers *peers = context;
    peers->state = PEERS_GONE;
    peers->closed(peers->closed_context); /* may destroy us */
}

void peers_close_step(struct peers *peers)
{
    if (peers->state == PEERS_CLOSING && peers->handles_open == 0 && !peers->connections &&
        peers->lookup_count == 0)
        net_loop_stop(&peers->loop, loop_stopped_cb, peers);
}

static void handle_closed_cb(uv_handle_t *handle)
{
    struct peers *peers = handle->data;
    peers->handles_open--;
    peers_close_step(peers);
}

static void close_handle(struct peers *peers, uv_handle_t *handle)
{
    handle->data = peers;
    uv_close(handle, handle_closed_cb);
}

void peers_close(struct peers *peers, void (*cb)(void *context), void *context)
{
    invariant_values(peers->state <= PEERS_STARTED, peers->state, 0);
    operation_stop(&peers->transport);
    /* Those that were on their way out. */
    for (struct peers_connection *c = peers->connections; c; c = c->next)
        peers_connection_drop(c, "the transport was closed");
    peers->state = PEERS_CLOSING;
    peers->closed = cb;
    peers->closed_context = context;
    close_handle(peers, (uv_handle_t *)&peers->listener);
    close_handle(peers, (uv_handle_t *)&peers->tick);
    close_handle(peers, (uv_handle_t *)&peers->before_poll);
    close_handle(peers, (uv_handle_t *)&peers->after_poll);
    close_handle(peers, (uv_handle_t *)&peers->no_sleep);
}

void peers_destroy(struct peers *peers)
{
    if (!peers)
        return;
    invariant_values(peers->state == PEERS_GONE, peers->state, 0);
    free_memory(peers);
}
