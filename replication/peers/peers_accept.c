/*
 * The way in. Until a connection is up nobody knows whose it is, so there are
 * UNKNOWN_CONNECTIONS_MAX of them at most, each for GREETING_MS at most, with a buffer of
 * PEERS_GREETING_SIZE_MAX. When they are all taken the oldest makes room: an honest greeting takes
 * three round trips and a few milliseconds, whoever holds a place longer than 63 newcomers is not
 * going to be one of us.
 *
 * While the transport is stopped, connections are closed as they come: the peer dials again soon,
 * and the port stays ours (a daemon that gave its privileges away could not bind it again).
 */
#include "replication/peers/peers_internal.h"

static struct peers_connection *oldest_unknown(const struct peers *peers)
{
    struct peers_connection *oldest = NULL;
    for (struct peers_connection *c = peers->connections; c; c = c->next)
        if (!c->is_dialled && c->state != PEERS_UP && c->state != PEERS_CLOSED &&
            (!oldest || c->begun_ns <= oldest->begun_ns))
            oldest = c;
    return oldest;
}

static void accept_one(struct peers *peers)
{
    if (peers->unknown_count >= UNKNOWN_CONNECTIONS_MAX) {
        peers->refused_count++;
        peers_event_once(peers, "peer_refused", 0, PEERS_REFUSED_BUSY,
                         "too many connections that have not greeted yet: the oldest is closed");
        peers_connection_drop(oldest_unknown(peers), "made room for a newer connection");
    }
    struct peers_connection *connection = peers_connection_create(peers);
    /* Without memory it stays in the backlog: libuv offers no other before this one is taken. */
    peers->accept_waiting = !connection;
    if (connection)
        peers_connection_accept(peers, connection);
}

void peers_accept_cb(uv_stream_t *listener, int result)
{
    struct peers *peers = (struct peers *)((char *)listener - offsetof(struct peers, listener));
    if (result != 0)
        peers_event_once(peers, "peer_accept_failed", 0, PEERS_REFUSED_BUSY, uv_strerror(result));
    else
        accept_one(peers);
}

void peers_accept_waiting(struct peers *peers)
{
    if (peers->accept_waiting)
        accept_one(peers);
}
