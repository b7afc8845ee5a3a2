/*
 * The channel: owns the calls from http2_client_call to `done`, their deadlines, and the order in
 * which a client stops.
 *
 *   WAITING ──connection ready──► ACTIVE ──answer, reset, end──► FINISHED ──turn──► done
 *      └──────no connection, cancel, deadline, stop──────────────────┘
 *
 * `done` is only called from the turn (an idle handle of the loop), never from inside
 * http2_client_call, nghttp2 or a stream: the caller's code can do anything there. One turn calls
 * as many as were finished when it began, so that a caller who repeats a failing call at once does
 * not hold the loop.
 */
#include "net/http2_client_internal.h"

#include "core/invariant.h"
#include "net/grpc_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS            250
#define CONNECT_TIMEOUT_MS 5000
#define PING_INTERVAL_MS   30000
#define CALLS_MAX          1024
#define ANSWER_SIZE_MAX    (8u * 1024 * 1024)
#define PATH_SIZE_MAX      255
#define REQUEST_SIZE_MAX   (1ull << 31)
#define GRPC_CANCELLED     1
#define GRPC_DEADLINE      4
#define GRPC_UNAVAILABLE   14

#define client_of(handle, member)                                                                  \
    ((struct http2_client *)((char *)(handle)-offsetof(struct http2_client, member)))

void http2_client_list_add(struct http2_call_list *list, struct http2_call *call)
{
    call->next = NULL;
    call->previous = list->last;
    if (list->last)
        list->last->next = call;
    else
        list->first = call;
    list->last = call;
}

void http2_client_list_remove(struct http2_call_list *list, struct http2_call *call)
{
    if (call->previous)
        call->previous->next = call->next;
    else
        list->first = call->next;
    if (call->next)
        call->next->previous = call->previous;
    else
        list->last = call->previous;
    call->previous = call->next = NULL;
}

/* ---- the turn ---- */

static void turn_cb(uv_idle_t *idle)
{
    struct http2_client *client = client_of(idle, turn);
    for (uint32_t due = client->finished_count; due > 0; due--) {
        struct http2_call *call = client->finished.first;
        http2_client_list_remove(&client->finished, call);
        client->finished_count--;
        client->call_count--;
        call->state = CALL_OVER;
        uint8_t *answer = call->answer;
        call->done(call);
        /* The call may be gone or under way again; only the answer we knew is ours. */
        if (answer && client->taken != answer)
            free(answer);
        client->taken = NULL;
    }
    bool more = client->finished_count > 0;
    struct http2_client_connection *next;
    for (struct http2_client_connection *c = client->connections; c; c = next) {
        next = c->next; /* pumping may fail c, which stays linked until its stream is closed */
        if (c->pump_wanted)
            http2_client_connection_pump(c);
        more = more || c->pump_wanted;
    }
    if (!more && client->finished_count == 0)
        (void)uv_idle_stop(&client->turn); /* cannot fail */
    http2_client_stop_step(client);
}

void http2_client_wake(struct http2_client *client)
{
    if (!client->handles_closing)
        (void)uv_idle_start(&client->turn, turn_cb); /* fails only without a callback */
}

uint8_t *http2_call_take_answer(struct http2_call *call)
{
    uint8_t *answer = call->answer;
    call->client->taken = answer;
    call->answer = NULL;
    return answer;
}

const char *http2_call_trailer(const struct http2_call *call, const char *name)
{
    for (uint32_t i = 0; i < call->trailer_count; i++)
        if (strcmp(call->trailers[i].name, name) == 0)
            return call->trailers[i].value;
    return NULL;
}

/* ---- deadlines ---- */

static void deadline_timer_cb(uv_timer_t *timer);

static void arm_deadlines(struct http2_client *client)
{
    if (client->handles_closing)
        return;
    struct deadline *first = deadline_heap_first(&client->deadlines);
    if (!first) {
        (void)uv_timer_stop(&client->deadline_timer); /* cannot fail */
        return;
    }
    uint64_t now_ns = uv_hrtime();
    uint64_t left_ns = first->at_ns > now_ns ? first->at_ns - now_ns : 0;
    /* uv_now may lie behind; the callback looks at the real time and arms again. */
    (void)uv_timer_start(&client->deadline_timer, deadline_timer_cb, left_ns / 1000000 + 1, 0);
}

static void end_early(struct http2_call *call, int grpc_status, const char *message)
{
    enum http2_fate fate = HTTP2_NOT_SENT;
    if (call->state == CALL_ACTIVE) {
        fate = http2_client_session_fate(call);
        http2_client_session_reset(call->connection, call);
    }
    http2_client_finish_call(call, fate, grpc_status, message);
}

static void deadline_timer_cb(uv_timer_t *timer)
{
    struct http2_client *client = client_of(timer, deadline_timer);
    uint64_t now_ns = uv_hrtime();
    struct deadline *first;
    while ((first = deadline_heap_first(&client->deadlines)) && first->at_ns <= now_ns) {
        struct http2_call *call =
            (struct http2_call *)((char *)first - offsetof(struct http2_call, deadline));
        char text[128];
        (void)snprintf(text, sizeof text, "no answer within %llu ms%s%.60s",
                       (unsigned long long)(call->timeout_ns / 1000000),
                       call->state == CALL_WAITING ? "; not connected: " : "",
                       call->state == CALL_WAITING ? client->last_error.text : "");
        end_early(call, GRPC_DEADLINE, text);
    }
    arm_deadlines(client);
}

/* ---- calls ---- */

void http2_client_finish_call(struct http2_call *call, enum http2_fate fate, int grpc_status,
                              const char *message)
{
    struct http2_client *client = call->client;
    invariant_values(call->state == CALL_WAITING || call->state == CALL_ACTIVE, call->state, fate);
    if (call->state == CALL_WAITING) {
        http2_client_list_remove(&client->waiting, call);
    } else {
        http2_client_list_remove(&call->connection->calls, call);
        call->connection->call_count--;
    }
    deadline_heap_remove(&client->deadlines, &call->deadline);
    if (fate != HTTP2_ANSWERED || grpc_status != 0) {
        free(call->answer);
        call->answer = NULL;
        call->answer_size = 0;
    }
    call->connection = NULL;
    call->state = CALL_FINISHED;
    call->fate = fate;
    call->grpc_status = grpc_status;
    if (message)
        (void)snprintf(call->grpc_message, sizeof call->grpc_message, "%s",
                       message); /* cut: fine */
    http2_client_list_add(&client->finished, call);
    client->finished_count++;
    http2_client_wake(client);
}

void http2_client_fail_waiting(struct http2_client *client, const char *why)
{
    while (client->waiting.first)
        http2_client_finish_call(client->waiting.first, HTTP2_NOT_SENT, GRPC_UNAVAILABLE, why);
}

static void reset_outcome(struct http2_client *client, struct http2_call *call)
{
    call->fate = HTTP2_NOT_SENT;
    call->grpc_status = 2;
    call->grpc_message[0] = 0;
    call->answer = NULL;
    call->answer_size = 0;
    call->trailer_count = 0;
    call->client = client;
    call->connection = NULL;
    call->previous = call->next = NULL;
    memset(&call->deadline, 0, sizeof call->deadline);
    call->stream_id = -1;
    call->status_seen = call->ended = false;
    call->http_status = 0;
    call->prefix_size = 0;
    call->request_sent = 0;
    call->answer_expected = 0;
    call->content_type_wrong[0] = 0;
}

enum status http2_client_call(struct http2_client *client, struct http2_call *call)
{
    invariant_values(call->state == CALL_OVER, call->state, 0);
    if (client->stopping)
        return STATUS_STOPPING;
    if (!call->path || call->path[0] != '/' || strlen(call->path) > PATH_SIZE_MAX ||
        call->request_size > REQUEST_SIZE_MAX || (!call->request && call->request_size > 0))
        return STATUS_INVALID;
    if (client->call_count >= client->calls_max)
        return STATUS_BUSY;
    reset_outcome(client, call);
    call->started_ns = uv_hrtime();
    if (call->timeout_ns) {
        call->deadline.at_ns = call->timeout_ns > UINT64_MAX - call->started_ns
                                   ? UINT64_MAX
                                   : call->started_ns + call->timeout_ns;
        if (deadline_heap_add(&client->deadlines, &call->deadline) != STATUS_OK)
            return STATUS_NO_MEMORY;
        if (deadline_heap_first(&client->deadlines) == &call->deadline)
            arm_deadlines(client);
    }
    /* From here on `done` will be called, and nothing fails. */
    client->call_count++;
    call->state = CALL_WAITING;
    http2_client_list_add(&client->waiting, call);
    if (client->current && client->current->state == CONNECTION_READY)
        http2_client_connection_ready(client->current);
    else
        http2_client_connect_start(client);
    return STATUS_OK;
}

void http2_client_cancel(struct http2_client *client, struct http2_call *call)
{
    invariant(call->client == client);
    if (call->state == CALL_WAITING || call->state == CALL_ACTIVE)
        end_early(call, GRPC_CANCELLED, "cancelled by the caller");
}

bool http2_client_is_connected(const struct http2_client *client)
{
    return client->current && client->current->state == CONNECTION_READY;
}

void http2_client_connect(struct http2_client *client)
{
    if (!client->stopping && !http2_client_is_connected(client))
        http2_client_connect_start(client);
}

/* ---- beginning and end ---- */

static void tick_cb(uv_timer_t *timer)
{
    struct http2_client *client = client_of(timer, tick_timer);
    uint64_t now_ns = uv_hrtime();
    http2_client_connect_tick(client, now_ns);
    struct http2_client_connection *next;
    for (struct http2_client_connection *c = client->connections; c; c = next) {
        next = c->next;
        http2_client_connection_tick(c, now_ns);
    }
    if (!client->connections && client->attempt == ATTEMPT_NONE)
        (void)uv_timer_stop(&client->tick_timer); /* cannot fail; connecting starts it again */
}

void http2_client_start_ticking(struct http2_client *client)
{
    if (!client->handles_closing && !uv_is_active((uv_handle_t *)&client->tick_timer))
        (void)uv_timer_start(&client->tick_timer, tick_cb, TICK_MS, TICK_MS); /* has a callback */
}

static bool copy_text(char **copy, const char *text)
{
    *copy = text ? strdup(text) : NULL;
    return *copy || !text;
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

static void free_fields(struct http2_client *client)
{
    free(client->host);
    free(client->server_name);
    free(client->server_uri);
    free(client->authority);
    tls_context_destroy(client->tls);
    deadline_heap_deinit(&client->deadlines);
    free(client);
}

enum status http2_client_create(const struct http2_client_options *options,
                                struct http2_client **out_client, struct net_error *out_error)
{
    if (!options->host || !*options->host || options->port == 0) {
        net_error_set(out_error, "a host and a port from 1 to 65535 are needed");
        return STATUS_INVALID;
    }
    struct http2_client *client = calloc(1, sizeof *client);
    if (!client)
        goto no_memory;
    const char *name = options->server_name ? options->server_name : options->host;
    client->port = options->port;
    client->connect_timeout_ms = or_default(options->connect_timeout_ms, CONNECT_TIMEOUT_MS);
    client->ping_interval_ms = or_default(options->ping_interval_ms, PING_INTERVAL_MS);
    client->calls_max = or_default(options->calls_max, CALLS_MAX);
    client->answer_size_max = or_default(options->answer_size_max, ANSWER_SIZE_MAX);
    deadline_heap_init(&client->deadlines);
    if (!copy_text(&client->host, options->host) || !copy_text(&client->server_name, name) ||
        !copy_text(&client->server_uri, options->server_uri))
        goto no_memory;
    if (asprintf(&client->authority, strchr(name, ':') ? "[%s]:%u" : "%s:%u", name,
                 (unsigned)options->port) < 0) {
        client->authority = NULL;
        goto no_memory;
    }
    struct tls_options tls = {
        .side = TLS_CLIENT,
        .certificate_file = options->certificate_file,
        .key_file = options->key_file,
        .ca_file = options->ca_file,
    };
    enum status status = tls_context_create(&tls, &client->tls, out_error);
    if (status != STATUS_OK) {
        free_fields(client);
        return status;
    }
    if (net_loop_init(&client->loop, options->loop) != STATUS_OK)
        goto no_memory;
    (void)uv_timer_init(options->loop, &client->deadline_timer); /* these three cannot fail */
    (void)uv_timer_init(options->loop, &client->tick_timer);
    (void)uv_idle_init(options->loop, &client->turn);
    *out_client = client;
    return STATUS_OK;

no_memory:
    if (client)
        free_fields(client);
    net_error_set(out_error, "out of memory while making a client");
    return STATUS_NO_MEMORY;
}

static void loop_stopped_cb(void *context)
{
    struct http2_client *client = context;
    client->handles_open = 0;
    client->stopped(client->stopped_context); /* may destroy the client */
}

static void handle_closed(struct http2_client *client)
{
    if (--client->handles_open == 0)
        net_loop_stop(&client->loop, loop_stopped_cb, client);
}

static void deadline_timer_closed_cb(uv_handle_t *handle)
{
    handle_closed(client_of(handle, deadline_timer));
}

static void tick_timer_closed_cb(uv_handle_t *handle)
{
    handle_closed(client_of(handle, tick_timer));
}

static void turn_closed_cb(uv_handle_t *handle)
{
    handle_closed(client_of(handle, turn));
}

/* The last step of stopping, once nothing of ours is in anybody else's hands. */
void http2_client_stop_step(struct http2_client *client)
{
    if (!client->stopping || client->handles_closing || client->connections ||
        client->lookup_busy || client->call_count > 0)
        return;
    client->handles_closing = true;
    client->handles_open = 3;
    uv_close((uv_handle_t *)&client->deadline_timer, deadline_timer_closed_cb);
    uv_close((uv_handle_t *)&client->tick_timer, tick_timer_closed_cb);
    uv_close((uv_handle_t *)&client->turn, turn_closed_cb);
}

void http2_client_stop(struct http2_client *client, void (*cb)(void *context), void *context)
{
    invariant(!client->stopping);
    client->stopping = true;
    client->stopped = cb;
    client->stopped_context = context;
    while (client->waiting.first)
        end_early(client->waiting.first, GRPC_CANCELLED, "the client is stopping");
    http2_client_connect_give_up(client);
    struct http2_client_connection *next;
    for (struct http2_client_connection *c = client->connections; c; c = next) {
        next = c->next;
        while (c->calls.first)
            end_early(c->calls.first, GRPC_CANCELLED, "the client is stopping");
        http2_client_connection_leave(c);
    }
    http2_client_wake(client); /* its end is the first chance to finish the stop */
}

void http2_client_destroy(struct http2_client *client)
{
    if (!client)
        return;
    invariant_values(client->call_count == 0, client->call_count, 0);
    invariant(!client->connections);
    invariant(client->stopping);
    free_fields(client);
}
