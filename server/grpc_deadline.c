/*
 * Deadlines of calls: one heap for the server and one timer for its earliest entry. A deadline that
 * fires ends the stream with DEADLINE_EXCEEDED and says nothing about the work: what is in the log
 * goes on.
 */
#include "server/grpc_internal.h"

static void arm(struct grpc_server *server)
{
    struct deadline *first = deadline_heap_first(&server->deadlines);
    if (server->state == GRPC_SERVER_DRAINED)
        return;
    if (!first) {
        (void)uv_timer_stop(&server->deadline_timer); /* cannot fail */
        return;
    }
    uint64_t now_ns = uv_hrtime();
    uint64_t left_ms = first->at_ns > now_ns ? (first->at_ns - now_ns) / 1000000 : 0;
    (void)uv_timer_start(&server->deadline_timer, grpc_deadline_timer_cb, left_ms + 1,
                         0); /* fails only on a closing handle */
}

enum status grpc_deadline_set(struct grpc_call *call, uint64_t at_ns)
{
    struct grpc_server *server = call->server;
    call->deadline.at_ns = at_ns;
    enum status status = deadline_heap_add(&server->deadlines, &call->deadline);
    if (status == STATUS_OK && deadline_heap_first(&server->deadlines) == &call->deadline)
        arm(server);
    return status;
}

void grpc_deadline_clear(struct grpc_call *call)
{
    /* The timer is left as it is: a tick for nothing is cheaper than arming it for each answer. */
    deadline_heap_remove(&call->server->deadlines, &call->deadline);
}

void grpc_deadline_timer_cb(uv_timer_t *timer)
{
    struct grpc_server *server =
        (struct grpc_server *)((char *)timer - offsetof(struct grpc_server, deadline_timer));
    uint64_t now_ns = uv_hrtime();
    struct deadline *first;
    while ((first = deadline_heap_first(&server->deadlines)) && first->at_ns <= now_ns) {
        struct grpc_call *call =
            (struct grpc_call *)((char *)first - offsetof(struct grpc_call, deadline));
        grpc_call_expire(call);
    }
    arm(server);
}
