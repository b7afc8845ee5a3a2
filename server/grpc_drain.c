/*
 * The end of a server. Each connection is told to leave (shutdown notice, a round trip, final
 * GOAWAY), finishes its calls or is cut off after the grace, and says goodbye. When the last one
 * has closed, the handles are closed, and when they are, the callback is called.
 *
 * Calls that handlers still hold do not keep the drain: their streams are gone and their answers
 * would be dropped. Their memory, and with it the server's, goes when the last of them is finished.
 */
#include "server/grpc_internal.h"

#include "core/invariant.h"

static void loop_stopped_cb(void *context)
{
    struct grpc_server *server = context;
    server->drained(server->drained_context); /* may destroy the server */
}

static void handle_closed(struct grpc_server *server)
{
    if (--server->handles_open == 0)
        net_loop_stop(&server->loop, loop_stopped_cb, server);
}

static void listener_closed_cb(uv_handle_t *handle)
{
    handle_closed((struct grpc_server *)((char *)handle - offsetof(struct grpc_server, listener)));
}

static void tick_timer_closed_cb(uv_handle_t *handle)
{
    handle_closed(
        (struct grpc_server *)((char *)handle - offsetof(struct grpc_server, tick_timer)));
}

static void deadline_timer_closed_cb(uv_handle_t *handle)
{
    handle_closed(
        (struct grpc_server *)((char *)handle - offsetof(struct grpc_server, deadline_timer)));
}

static void flush_turn_closed_cb(uv_handle_t *handle)
{
    handle_closed(
        (struct grpc_server *)((char *)handle - offsetof(struct grpc_server, flush_turn)));
}

void grpc_drain_step(struct grpc_server *server)
{
    if (server->state != GRPC_SERVER_DRAINING || server->connections)
        return;
    server->state = GRPC_SERVER_DRAINED;
    uv_close((uv_handle_t *)&server->tick_timer, tick_timer_closed_cb);
    uv_close((uv_handle_t *)&server->deadline_timer, deadline_timer_closed_cb);
    uv_close((uv_handle_t *)&server->flush_turn, flush_turn_closed_cb);
}

void grpc_server_drain(struct grpc_server *server, uint32_t grace_ms, void (*cb)(void *context),
                       void *context)
{
    invariant_values(server->state == GRPC_SERVER_LISTENING ||
                         server->state == GRPC_SERVER_DRAINING,
                     server->state, 0);
    server->drain_grace_ms = grace_ms;
    if (server->state == GRPC_SERVER_DRAINING) {
        for (struct grpc_connection *c = server->connections; c; c = c->next)
            c->grace_ms = grace_ms;
        return;
    }
    server->state = GRPC_SERVER_DRAINING;
    server->drained = cb;
    server->drained_context = context;
    server->accept_waiting = false;
    server->handles_open = 4; /* the listener and the three of grpc_drain_step */
    uv_close((uv_handle_t *)&server->listener, listener_closed_cb);
    for (struct grpc_connection *c = server->connections; c; c = c->next)
        grpc_connection_drain(c, grace_ms);
    /* The tick ends handshakes, and the drain when there is no connection. Listening may have
     * failed before it was started. */
    (void)uv_timer_start(&server->tick_timer, grpc_server_tick_cb, 0, TICK_MS);
}

void grpc_server_destroy(struct grpc_server *server)
{
    if (!server)
        return;
    invariant_values(server->state == GRPC_SERVER_MADE || server->state == GRPC_SERVER_DRAINED,
                     server->state, server->handles_open);
    invariant_values(server->handles_open == 0, server->handles_open, 0);
    invariant(!server->connections);
    server->destroyed = true;
    server->event = NULL; /* its context may go before late handlers finish */
    if (server->calls_alive == 0)
        grpc_server_free(server);
}
