/*
 * A call: from its HEADERS to the moment when neither its stream nor its handler needs it.
 *
 *   stream   ├── headers ── message ── half close ──────────── answer ──┤        (closes any time)
 *   handler                              ├── message() ........ finish()┤        (closes by finish)
 *
 * The two lives overlap and each holds a reference. A stream can die (reset, deadline, connection)
 * while its transfer is in the log: the handler then still owns its message bytes, its answer is
 * dropped, and its principal is charged until finish. That is why resets cannot be used to put more
 * work into the node than a principal may have.
 *
 * `decided` says that the status is settled. It is set once, by finish, by refuse or by the
 * deadline; whoever comes later is ignored.
 *
 * A refusal is an answer like any other, headers and trailers in one (Trailers-Only). Since no
 * handler saw the request, its trailers carry tally-outcome: NOT_ACCEPTED, and a client may repeat
 * it at ease.
 */
#include "server/grpc_internal.h"

#include "core/invariant.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FREE_CALLS_MAX 4096

/* ---- life ---- */

struct grpc_call *grpc_call_create(struct grpc_connection *connection, int32_t stream_id)
{
    struct grpc_server *server = connection->server;
    struct grpc_call *call = server->free_calls;
    if (call) {
        server->free_calls = call->next;
        server->free_call_count--;
    } else {
        call = malloc(sizeof *call);
        if (!call)
            return NULL;
    }
    /* The two arrays at the end are written before they are read. */
    memset(call, 0, offsetof(struct grpc_call, text) + 1);
    call->server = server;
    call->connection = connection;
    call->principal = connection->principal;
    call->principal->references++;
    call->references = 1;
    call->stream_id = stream_id;
    call->deadline_ns = UINT64_MAX;
    grpc_head_init(&call->head);
    call->next = connection->calls;
    if (connection->calls)
        connection->calls->previous = call;
    connection->calls = call;
    connection->call_count++;
    server->calls_alive++;
    return call;
}

void grpc_call_cache_free(struct grpc_server *server)
{
    while (server->free_calls) {
        struct grpc_call *call = server->free_calls;
        server->free_calls = call->next;
        free(call);
    }
    server->free_call_count = 0;
}

void grpc_call_give_message(struct grpc_call *call)
{
    grpc_principal_give_buffer(call->server, call->principal, call->message);
    call->message = NULL;
}

static void release(struct grpc_call *call)
{
    invariant(call->references > 0);
    if (--call->references > 0)
        return;
    struct grpc_server *server = call->server;
    invariant(!call->connection);
    invariant(!call->handler_has);
    grpc_call_give_message(call);
    grpc_answer_give_buffers(call);
    if (call->counted) {
        call->principal->calls--;
        server->stats.calls_in_flight--;
    }
    grpc_principal_give(server, call->principal);
    server->calls_alive--;
    if (server->free_call_count < FREE_CALLS_MAX && !server->destroyed) {
        call->next = server->free_calls;
        server->free_calls = call;
        server->free_call_count++;
    } else {
        free(call);
    }
    if (server->destroyed && server->calls_alive == 0)
        grpc_server_free(server);
}

/* The stream ended while the handler was at work: tell it, once. */
static void tell_gone(struct grpc_call *call)
{
    if (call->handler_has && call->method->gone)
        call->method->gone(call->method->context, call);
}

void grpc_call_detach(struct grpc_call *call)
{
    struct grpc_connection *connection = call->connection;
    bool was_decided = call->decided;
    grpc_receive_stop(call);
    grpc_deadline_clear(call);
    if (call->previous)
        call->previous->next = call->next;
    else
        connection->calls = call->next;
    if (call->next)
        call->next->previous = call->previous;
    call->previous = call->next = NULL;
    connection->call_count--;
    call->connection = NULL;
    call->decided = true;
    grpc_answer_give_buffers(call);
    if (!was_decided)
        tell_gone(call);
    release(call);
}

void grpc_call_expire(struct grpc_call *call)
{
    struct grpc_server *server = call->server;
    server->stats.deadline_exceeded_total++;
    if (!call->handler_has) {
        grpc_call_refuse(call, GRPC_DEADLINE_EXCEEDED,
                         "the deadline came before the request was complete");
        return;
    }
    grpc_receive_stop(call);
    grpc_answer_decide(call, GRPC_DEADLINE_EXCEEDED,
                       "deadline exceeded; the outcome is unknown until asked for");
    tell_gone(call);
}

static void refuse(struct grpc_call *call, enum grpc_code code, const char *text)
{
    if (call->decided)
        return;
    if (code == GRPC_RESOURCE_EXHAUSTED)
        call->server->stats.refused_limit_total++;
    grpc_receive_stop(call);
    if (!call->handler_has) {
        grpc_answer_trailer(call, "tally-outcome", "NOT_ACCEPTED");
        grpc_call_give_message(call);
    }
    grpc_answer_decide(call, code, text);
    if (call->handler_has)
        tell_gone(call); /* client-streaming: an earlier message is being handled */
}

void grpc_call_refuse(struct grpc_call *call, enum grpc_code code, const char *format, ...)
{
    char text[sizeof call->text];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut is fine */
    va_end(arguments);
    refuse(call, code, text);
}

void grpc_call_refuse_for_now(struct grpc_call *call, const char *format, ...)
{
    char text[sizeof call->text];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut is fine */
    va_end(arguments);
    if (!call->handler_has && !call->decided)
        grpc_answer_trailer(call, "tally-retry-ms", "100");
    refuse(call, GRPC_RESOURCE_EXHAUSTED, text);
}

/* ---- admission: the order below is the order of precedence ---- */

static const struct grpc_method *find_method(const struct grpc_server *server,
                                             const struct grpc_head *head)
{
    for (uint32_t i = 0; i < server->method_count; i++)
        if (head->path_size && strcmp(server->paths[i], head->path) == 0)
            return &server->methods[i];
    return NULL;
}

static uint64_t deadline_of(const struct grpc_head *head)
{
    uint64_t now_ns = uv_hrtime();
    if (!head->has_timeout || head->timeout_ns > UINT64_MAX - now_ns)
        return UINT64_MAX;
    return now_ns + head->timeout_ns;
}

void grpc_call_admit(struct grpc_call *call)
{
    struct grpc_server *server = call->server;
    const struct grpc_limits *limits = &server->limits;
    const struct grpc_head *head = &call->head;
    struct grpc_principal *principal = call->principal;
    server->stats.calls_total++;
    if (head->too_large) {
        grpc_call_refuse(call, GRPC_RESOURCE_EXHAUSTED,
                         "the header list is over %d bytes or %d fields", GRPC_HEAD_SIZE_MAX,
                         GRPC_HEAD_FIELDS_MAX);
        return;
    }
    if (!head->is_post) {
        grpc_answer_http_error(call, "405");
        return;
    }
    if (!head->content_type_ok) {
        grpc_answer_http_error(call, "415");
        return;
    }
    if (!principal->identity.uri[0]) {
        grpc_call_refuse(call, GRPC_UNAUTHENTICATED, "%s", call->connection->identity_error.text);
        return;
    }
    const struct grpc_method *method = find_method(server, head);
    if (!method) {
        grpc_call_refuse(call, GRPC_UNIMPLEMENTED, "unknown method %s",
                         head->path_size ? head->path : "(path too long)");
        return;
    }
    if (!head->te_ok) {
        grpc_call_refuse(call, GRPC_INTERNAL,
                         "te: trailers is missing; a proxy that drops it drops answers too");
        return;
    }
    if (head->encoding_refused) {
        grpc_call_refuse(call, GRPC_UNIMPLEMENTED, "compression is not supported");
        return;
    }
    if (head->timeout_malformed) {
        grpc_call_refuse(call, GRPC_INTERNAL, "malformed grpc-timeout");
        return;
    }
    if (head->max_age_malformed) {
        grpc_call_refuse(call, GRPC_INVALID_ARGUMENT,
                         "malformed tally-max-age-ms: a number of milliseconds up to %u is needed",
                         GRPC_MAX_AGE_MS_MAX);
        return;
    }
    if (head->durability_refused) {
        grpc_call_refuse(
            call, GRPC_INVALID_ARGUMENT,
            "tally-durability: only \"both-sites\" can be asked for; a request can have "
            "more than the cluster's policy gives, never less");
        return;
    }
    if (principal->calls >= limits->calls_per_principal_max) {
        grpc_call_refuse_for_now(call,
                                 "%u calls of this principal are in flight, at most %u are allowed "
                                 "(cancelled ones count until they are done)",
                                 principal->calls, limits->calls_per_principal_max);
        return;
    }
    uint64_t deadline_ns = deadline_of(head);
    if (deadline_ns <= uv_hrtime()) {
        grpc_call_refuse(call, GRPC_DEADLINE_EXCEEDED, "the deadline came before the request");
        return;
    }
    if (deadline_ns != UINT64_MAX && grpc_deadline_set(call, deadline_ns) != STATUS_OK) {
        grpc_call_refuse(call, GRPC_RESOURCE_EXHAUSTED, "out of memory for a deadline");
        return;
    }
    call->method = method;
    call->deadline_ns = deadline_ns;
    call->counted = true;
    principal->calls++;
    server->stats.calls_in_flight++;
    grpc_receive_headers(call);
}

/* ---- to the handler ---- */

static void give_to_handler(struct grpc_call *call)
{
    if (call->handler_has)
        return;
    call->handler_has = true;
    call->references++;
}

void grpc_call_deliver(struct grpc_call *call, const uint8_t *message, size_t size)
{
    give_to_handler(call);
    call->method->message(call->method->context, call, message, size);
}

void grpc_call_deliver_half_close(struct grpc_call *call)
{
    give_to_handler(call);
    if (call->method->half_close)
        call->method->half_close(call->method->context, call);
    else
        grpc_call_finish(call, GRPC_OK, NULL);
}

/* ---- from the handler ---- */

const char *grpc_call_principal(const struct grpc_call *call)
{
    return call->principal->identity.uri;
}

uint64_t grpc_call_deadline_ns(const struct grpc_call *call)
{
    return call->deadline_ns;
}

uint64_t grpc_call_max_age_ns(const struct grpc_call *call)
{
    return (uint64_t)call->head.max_age_ms * 1000000;
}

bool grpc_call_wants_both_sites(const struct grpc_call *call)
{
    return call->head.wants_both_sites;
}

bool grpc_call_is_gone(const struct grpc_call *call)
{
    return call->decided;
}

void grpc_call_set_data(struct grpc_call *call, void *data)
{
    call->data = data;
}

void *grpc_call_data(const struct grpc_call *call)
{
    return call->data;
}

void grpc_call_add_trailer(struct grpc_call *call, const char *name, const char *value)
{
    invariant(call->handler_has);
    invariant_values(call->trailer_count < 8, call->trailer_count, 0);
    grpc_answer_trailer(call, name, value);
}

void grpc_call_finish(struct grpc_call *call, enum grpc_code code, const char *message)
{
    invariant(call->handler_has);
    invariant_values(code <= GRPC_UNAUTHENTICATED, code, 0);
    call->handler_has = false;
    /* The promise of the header: message bytes live until here. */
    grpc_call_give_message(call);
    if (!call->decided) {
        grpc_receive_stop(call);
        if (code == GRPC_OK && call->answer_lost)
            grpc_answer_decide(call, GRPC_UNAVAILABLE,
                               "the answer was lost for want of memory; what was asked for may "
                               "have been done: repeat the same request");
        else if (code == GRPC_OK && !call->method->server_streaming && !call->reserved)
            grpc_answer_decide(call, GRPC_INTERNAL, "the service gave no answer");
        else
            grpc_answer_decide(call, code, message);
    }
    release(call);
}
