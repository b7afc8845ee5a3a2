/*
 * Scratch shared by the streams of one loop, and the queue of handshakes.
 *
 * The queue is served by an idle handle: while it is active libuv polls without waiting, so a
 * queued handshake is delayed by one turn of the loop and nothing else waits for more than
 * handshakes_per_turn of them. Without it a reconnect storm of 500 clients stops everything for a
 * second.
 */
#include "net/loop.h"

#include "core/invariant.h"
#include "net/stream_handshake.h"

#include <stdlib.h>
#include <string.h>

#define HANDSHAKES_PER_TURN 4 /* 4 x 2 ms: what an honest call may wait behind */

enum status net_loop_init(struct net_loop *loop, uv_loop_t *uv)
{
    memset(loop, 0, sizeof *loop);
    loop->uv = uv;
    loop->handshakes_per_turn = HANDSHAKES_PER_TURN;
    loop->input = malloc(NET_INPUT_SIZE);
    loop->plain = malloc(TLS_RECORD_SIZE);
    loop->output = malloc(TLS_RECORD_SIZE);
    if (!loop->input || !loop->plain || !loop->output ||
        uv_idle_init(uv, &loop->handshake_turn) != 0) {
        free(loop->input);
        free(loop->plain);
        free(loop->output);
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

static void handshake_turn_cb(uv_idle_t *idle)
{
    struct net_loop *loop =
        (struct net_loop *)((char *)idle - offsetof(struct net_loop, handshake_turn));
    for (uint32_t i = 0; i < loop->handshakes_per_turn && loop->handshake_first; i++) {
        struct stream *stream = loop->handshake_first;
        net_loop_forget_handshake(loop, stream);
        stream_handshake_turn(stream); /* may close it */
    }
}

void net_loop_queue_handshake(struct net_loop *loop, struct stream *stream)
{
    if (stream->handshake_queued)
        return;
    stream->handshake_queued = true;
    stream->handshake_next = NULL;
    if (loop->handshake_last)
        loop->handshake_last->handshake_next = stream;
    else
        loop->handshake_first = stream;
    loop->handshake_last = stream;
    (void)uv_idle_start(&loop->handshake_turn, handshake_turn_cb); /* fails only without callback */
}

void net_loop_forget_handshake(struct net_loop *loop, struct stream *stream)
{
    if (!stream->handshake_queued)
        return;
    /* Nearly always the first; at most handshakes_max are looked at. */
    struct stream *previous = NULL;
    struct stream **link = &loop->handshake_first;
    while (*link && *link != stream) {
        previous = *link;
        link = &(*link)->handshake_next;
    }
    invariant(*link == stream);
    *link = stream->handshake_next;
    if (loop->handshake_last == stream)
        loop->handshake_last = previous;
    stream->handshake_queued = false;
    stream->handshake_next = NULL;
    if (!loop->handshake_first)
        (void)uv_idle_stop(&loop->handshake_turn); /* cannot fail */
}

static void stopped_cb(uv_handle_t *handle)
{
    struct net_loop *loop =
        (struct net_loop *)((char *)handle - offsetof(struct net_loop, handshake_turn));
    free(loop->input);
    free(loop->plain);
    free(loop->output);
    loop->input = loop->plain = loop->output = NULL;
    loop->stopped(loop->stopped_context);
}

void net_loop_stop(struct net_loop *loop, void (*cb)(void *context), void *context)
{
    invariant(!loop->handshake_first);
    loop->stopped = cb;
    loop->stopped_context = context;
    uv_close((uv_handle_t *)&loop->handshake_turn, stopped_cb);
}
