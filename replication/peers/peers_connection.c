/*
 * One connection between two peers, whoever dialled it.
 *
 *   dialled:   OPENING ──TLS──► GREETING ──welcome──► UP ──────────────┐
 *                                (hello out)   (confirms by a ping)    │
 *   accepted:  OPENING ──TLS──► GREETING ──hello──► CONFIRMING ──ping──► UP
 *                                          (welcome out)                │
 *        any of these ──refusal by us──► LEAVING ──peer's end, time──► CLOSED
 *        any of these ──refusal by it, end, silence, time─────────────► CLOSED
 *
 * The dialler has the last word of the greeting, so an accepted connection counts only once the
 * dialler has confirmed it: from then on both know that it carries messages. A lane is up when the
 * connections of both directions are (peers_table.c); since a node confirms its own connection
 * before it uses it, the receiver of a message can always answer. They also end together: each time
 * a lane is up it has two connections of its own, and nothing that was sent while it was up before
 * can arrive in it.
 *
 * Who is in doubt is told: a refusal is a frame with a number and words, the last thing sent, and
 * the socket is kept until the peer has hung up or a moment has passed, because closing a socket
 * with unread input resets it and may destroy those words.
 *
 * Life is proved by bytes, in both directions apart: each side pings when it has said nothing for
 * PING_MS, and hangs up after SILENCE_MS without a byte from the other. Nothing waits for an answer
 * to a ping, so eight mebibytes queued before it are no reason to hang up, as long as they move.
 *
 * What comes from the peer is bounded before it is understood: PEERS_GREETING_SIZE_MAX until the
 * dialler has confirmed, then one message.
 */
#include "replication/peers/peers_internal.h"

#include "core/invariant.h"
#include "replication/message.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct stream_handlers stream_handlers;

static struct peers_connection *connection_of(struct stream *stream)
{
    return (struct peers_connection *)((char *)stream - offsetof(struct peers_connection, stream));
}

static bool is_unknown(const struct peers_connection *connection)
{
    return !connection->is_dialled && connection->state != PEERS_UP &&
           connection->state != PEERS_CLOSED;
}

static void move(struct peers_connection *c, enum peers_connection_state to)
{
    static const uint8_t allowed[PEERS_CONNECTION_STATE_COUNT] = {
        [PEERS_OPENING] = 1 << PEERS_GREETING | 1 << PEERS_LEAVING | 1 << PEERS_CLOSED,
        [PEERS_GREETING] =
            1 << PEERS_CONFIRMING | 1 << PEERS_UP | 1 << PEERS_LEAVING | 1 << PEERS_CLOSED,
        [PEERS_CONFIRMING] = 1 << PEERS_UP | 1 << PEERS_LEAVING | 1 << PEERS_CLOSED,
        [PEERS_UP] = 1 << PEERS_LEAVING | 1 << PEERS_CLOSED,
        [PEERS_LEAVING] = 1 << PEERS_CLOSED,
        [PEERS_CLOSED] = 0,
    };
    invariant_values(allowed[c->state] & 1 << to, c->state, to);
    c->peers->unknown_count -= is_unknown(c);
    c->state = to;
    c->peers->unknown_count += is_unknown(c);
    if (to == PEERS_UP || to == PEERS_LEAVING)
        c->begun_ns = c->heard_ns = peers_now(c->peers);
}

/* ---- its end ---- */

/* The lane goes on without this connection. Returns the one that carried the lane together with it,
 * which has to end, too. */
static struct peers_connection *detach(struct peers_connection *c, bool was_refused,
                                       const char *why)
{
    struct peers_lane *lane = c->lane;
    if (!lane)
        return NULL;
    bool was_linked = c->state == PEERS_UP && peers_lane_is_linked(lane);
    c->lane = NULL;
    if (c->state == PEERS_UP)
        peers_changed(c->peers);
    if (c->is_dialled || c->state == PEERS_UP)
        net_error_set(&lane->why_down, "%s", why);
    if (c->is_dialled) {
        invariant(lane->dialled == c);
        lane->dialled = NULL;
        peers_dial_over(lane, c, was_refused);
    } else if (c->state == PEERS_UP) {
        invariant(lane->accepted == c);
        lane->accepted = NULL;
    }
    if (!was_linked)
        return NULL;
    return c->is_dialled ? lane->accepted : lane->dialled;
}

static void close_now(struct peers_connection *c)
{
    move(c, PEERS_CLOSED);
    stream_close(&c->stream);
}

static void drop(struct peers_connection *c, bool was_refused, const char *why)
{
    struct peers_connection *other = detach(c, was_refused, why);
    close_now(c);
    if (other)
        peers_connection_drop(other, why);
}

void peers_connection_drop(struct peers_connection *c, const char *why)
{
    if (c->state != PEERS_CLOSED)
        drop(c, false, why);
}

/* A frame that may be the last. */
static enum status write_frame(struct peers_connection *c, enum peers_frame_kind kind,
                               const struct transport_part *parts, uint32_t count, size_t size)
{
    /* Gathered into full TLS records: a small message is one record, a large one copies once. */
    uint8_t *record = c->peers->loop.output;
    size_t used = PEERS_FRAME_HEADER_SIZE;
    peers_frame_header(record, kind, (uint32_t)size);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *bytes = parts[i].bytes;
        size_t left = parts[i].size;
        while (left > 0) {
            size_t room = TLS_RECORD_SIZE - used;
            size_t part = left < room ? left : room;
            memcpy(record + used, bytes, part);
            used += part;
            bytes += part;
            left -= part;
            if (used < TLS_RECORD_SIZE)
                continue;
            enum status status = stream_write(&c->stream, record, used);
            if (status != STATUS_OK)
                return status;
            used = 0;
        }
    }
    c->said_ns = peers_now(c->peers);
    c->unflushed = true;
    c->peers->unflushed = true;
    peers_wake(c->peers);
    return used > 0 ? stream_write(&c->stream, record, used) : STATUS_OK;
}

enum status peers_connection_write(struct peers_connection *c, enum peers_frame_kind kind,
                                   const struct transport_part *parts, uint32_t count, size_t size)
{
    enum status status = write_frame(c, kind, parts, count, size);
    if (status != STATUS_OK) {
        struct net_error why;
        net_error_set(&why, "writing to %s: %s", c->stream.peer, status_text(status));
        peers_connection_drop(c, why.text);
    }
    return status;
}

enum status peers_connection_flush(struct peers_connection *c)
{
    c->unflushed = false;
    if (c->stream.state != STREAM_OPEN)
        return STATUS_OK;
    enum status status = stream_flush(&c->stream);
    if (status != STATUS_OK) {
        struct net_error why;
        net_error_set(&why, "writing to %s: %s", c->stream.peer, status_text(status));
        peers_connection_drop(c, why.text);
    }
    return status;
}

static uint64_t node_of(const struct peers_connection *c)
{
    return c->lane ? c->lane->peer->member.node_id : c->certificate_node;
}

static void leave(struct peers_connection *c, enum peers_refusal refusal, const char *text)
{
    uint8_t record[PEERS_REFUSAL_SIZE];
    peers_refusal_encode(refusal, text, record);
    struct transport_part part = {record, sizeof record};
    move(c, PEERS_LEAVING);
    /* If it does not get out, the peer sees an end without words. */
    (void)write_frame(c, PEERS_FRAME_REFUSAL, &part, 1, sizeof record);
    stream_finish(&c->stream);
}

void peers_connection_refuse(struct peers_connection *c, enum peers_refusal refusal,
                             const char *text)
{
    if (c->state >= PEERS_LEAVING)
        return;
    struct net_error words;
    net_error_set(&words, "%s %s: %s", c->is_dialled ? "at" : "from", c->stream.peer, text);
    c->peers->refused_count++;
    peers_event_once(c->peers, "peer_refused", node_of(c), refusal, words.text);
    struct peers_connection *other = detach(c, true, words.text);
    if (c->stream.state == STREAM_OPEN)
        leave(c, refusal, text);
    else
        close_now(c);
    /* With the same words: who knows which the peer reads first. */
    if (other)
        peers_connection_refuse(other, refusal, text);
}

/* ---- greeting ---- */

static void greet(struct peers_connection *c, enum peers_frame_kind kind, uint64_t to,
                  enum transport_lane lane)
{
    struct peers *peers = c->peers;
    struct peers_hello hello = {
        .version = MESSAGE_PROTOCOL_VERSION,
        .cluster_epoch = peers->self.cluster_epoch,
        .node_id = peers->self.node_id,
        .process = peers->process,
        .to = to,
        .kind = peers->self.kind,
        .lane = lane,
    };
    memcpy(hello.cluster_id, peers->self.cluster_id, sizeof hello.cluster_id);
    memcpy(hello.incarnation, peers->self.incarnation, sizeof hello.incarnation);
    memcpy(hello.address, peers->advertised_address, sizeof hello.address);
    uint8_t record[PEERS_HELLO_SIZE];
    peers_hello_encode(&hello, record);
    struct transport_part part = {record, sizeof record};
    (void)peers_connection_write(c, kind, &part, 1, sizeof record); /* dropped if it fails */
}

/* Decodes and judges a hello or welcome. False: the peer was refused. */
static bool understand(struct peers_connection *c, const struct peers_frame *frame,
                       struct peers_hello *hello)
{
    struct peers *peers = c->peers;
    struct net_error text;
    enum status status = peers_hello_decode(frame->body, frame->size, hello, &text);
    if (status == STATUS_INVALID) {
        peers_connection_refuse(c, PEERS_REFUSED_GARBAGE, text.text);
        return false;
    }
    const struct peers_peer *peer =
        status == STATUS_OK ? peers_table_find(peers, hello->node_id) : NULL;
    struct peers_expectation expectation = {
        .self = &peers->self,
        .certificate_node = c->certificate_node,
        .member = peer && peer->row == PEERS_ROW_MEMBER ? &peer->member : NULL,
        .process = peer ? peers_peer_process(peer) : 0,
    };
    enum peers_refusal refusal = peers_hello_judge(hello, &expectation, &text);
    if (refusal == PEERS_ACCEPTED)
        return true;
    peers_connection_refuse(c, refusal, text.text);
    return false;
}

static void receive_hello(struct peers_connection *c, const struct peers_frame *frame)
{
    struct peers *peers = c->peers;
    struct peers_hello hello;
    struct net_error text;
    if (!understand(c, frame, &hello))
        return;
    struct peers_peer *peer = peers_table_find(peers, hello.node_id);
    if (!peer || peer->row == PEERS_ROW_STRANGER) {
        char host[LOOKUP_HOST_SIZE_MAX + 1];
        uint16_t port;
        if (lookup_split(hello.address, host, &port, &text) != STATUS_OK) {
            peers_connection_refuse(c, PEERS_REFUSED_GARBAGE, text.text);
            return;
        }
        peer = peers_table_stranger(peers, &hello);
        if (!peer) {
            peers_connection_refuse(c, PEERS_REFUSED_BUSY,
                                    "too many nodes that the member table does not know");
            return;
        }
    }
    c->lane = &peer->lanes[hello.lane];
    c->process = hello.process;
    move(c, PEERS_CONFIRMING);
    greet(c, PEERS_FRAME_WELCOME, hello.node_id, hello.lane);
}

static void receive_welcome(struct peers_connection *c, const struct peers_frame *frame)
{
    struct peers_hello hello;
    struct peers_lane *lane = c->lane;
    if (!understand(c, frame, &hello))
        return;
    if (hello.lane != lane->lane) {
        peers_connection_refuse(c, PEERS_REFUSED_GARBAGE, "a welcome for another lane");
        return;
    }
    c->process = hello.process;
    lane->dial = PEERS_DIAL_DONE;
    move(c, PEERS_UP);
    if (peers_connection_write(c, PEERS_FRAME_PING, NULL, 0, 0) == STATUS_OK)
        peers_lane_came_up(lane);
}

/* The dialler has taken our welcome: this connection is the lane's, an older one is not. */
static void confirmed(struct peers_connection *c)
{
    struct peers_lane *lane = c->lane;
    uint64_t process = peers_peer_process(lane->peer);
    if (process != 0 && process != c->process) {
        peers_connection_refuse(c, PEERS_REFUSED_TWO_PROCESSES,
                                "another process with this node's id came first");
        return;
    }
    if (lane->accepted)
        peers_connection_drop(lane->accepted, "a newer connection of this peer took its place");
    c->reader.body_size_max = TRANSPORT_MESSAGE_SIZE_MAX;
    move(c, PEERS_UP);
    lane->accepted = c;
    peers_lane_came_up(lane);
    peers_dial_hurry(lane);
}

static void receive_refusal(struct peers_connection *c, const struct peers_frame *frame)
{
    uint32_t refusal;
    char text[PEERS_REFUSAL_TEXT_SIZE];
    struct net_error words;
    if (peers_refusal_decode(frame->body, frame->size, &refusal, text) != STATUS_OK) {
        peers_connection_refuse(c, PEERS_REFUSED_GARBAGE, "a refusal of another size");
        return;
    }
    net_error_set(&words, "%s refuses us: %s", c->stream.peer, text);
    peers_event_once(c->peers, "peer_refuses_us", node_of(c), (enum peers_refusal)refusal,
                     words.text);
    drop(c, true, words.text);
}

/* ---- events of the stream ---- */

static void stream_open_cb(struct stream *stream)
{
    struct peers_connection *c = connection_of(stream);
    struct peers *peers = c->peers;
    struct identity identity;
    struct net_error text;
    stream_limit_silence(stream, SILENCE_MS);
    enum status status = stream_peer_identity(stream, &identity, &text);
    if (status == STATUS_OK && c->tls_generation != peers->tls_generation)
        status = stream_verify_again(stream, c->is_dialled ? peers->tls_client : peers->tls_server,
                                     &text);
    if (status != STATUS_OK) {
        peers_connection_refuse(c, PEERS_REFUSED_CERTIFICATE, text.text);
        return;
    }
    c->certificate_node = peers_uri_node(identity.uri, peers->uri_prefix);
    if (c->certificate_node == 0) {
        net_error_set(&text, "the certificate is of %.100s, a node's is of %.80s and its id",
                      identity.uri, peers->uri_prefix);
        peers_connection_refuse(c, PEERS_REFUSED_CERTIFICATE, text.text);
        return;
    }
    if (c->is_dialled && c->certificate_node != c->lane->peer->member.node_id) {
        net_error_set(&text,
                      "node %" PRIu64 " dialled node %" PRIu64
                      " at %.128s, the certificate there is of node %" PRIu64,
                      peers->self.node_id, c->lane->peer->member.node_id,
                      c->lane->peer->member.address, c->certificate_node);
        peers_connection_refuse(c, PEERS_REFUSED_CERTIFICATE, text.text);
        return;
    }
    move(c, PEERS_GREETING);
    if (c->is_dialled)
        greet(c, PEERS_FRAME_HELLO, c->certificate_node, c->lane->lane);
}

static void receive_message(struct peers_connection *c, const struct peers_frame *frame)
{
    struct peers *peers = c->peers;
    struct peers_lane *lane = c->lane;
    /* `link` before the first message that came by it. */
    peers_lane_report(lane);
    /* Our own connection may have ended before this one was confirmed. The sender did not know when
     * it sent, and will see its lane go down. */
    if (c->state != PEERS_UP || !peers_lane_is_usable(lane))
        return;
    lane->messages_in++;
    peers->sink.message(peers->sink.context, lane->peer->member.node_id, lane->lane, frame->body,
                        frame->size);
}

static void receive(struct peers_connection *c, const struct peers_frame *frame)
{
    struct net_error text;
    enum peers_frame_kind kind = frame->kind;
    if (c->lane && c->state == PEERS_UP)
        c->lane->bytes_in += PEERS_FRAME_HEADER_SIZE + (uint64_t)frame->size;
    if (kind == PEERS_FRAME_REFUSAL)
        receive_refusal(c, frame);
    else if (c->state == PEERS_GREETING && c->is_dialled && kind == PEERS_FRAME_WELCOME)
        receive_welcome(c, frame);
    else if (c->state == PEERS_GREETING && !c->is_dialled && kind == PEERS_FRAME_HELLO)
        receive_hello(c, frame);
    else if (c->state == PEERS_CONFIRMING && kind == PEERS_FRAME_PING)
        confirmed(c);
    else if (c->state == PEERS_UP && !c->is_dialled && kind == PEERS_FRAME_MESSAGE)
        receive_message(c, frame);
    else if (c->state != PEERS_UP || kind != PEERS_FRAME_PING) {
        net_error_set(&text, "a frame of kind %u has no place here", kind);
        peers_connection_refuse(c, PEERS_REFUSED_GARBAGE, text.text);
    }
}

static void stream_data_cb(struct stream *stream, const uint8_t *bytes, size_t size)
{
    struct peers_connection *c = connection_of(stream);
    struct peers_frame frame;
    struct net_error text;
    bool complete = true;
    while (complete && c->state < PEERS_LEAVING) {
        enum status status = peers_frame_read(&c->reader, &bytes, &size, &frame, &complete, &text);
        if (status != STATUS_OK) {
            peers_connection_refuse(
                c, status == STATUS_NO_MEMORY ? PEERS_REFUSED_MEMORY : PEERS_REFUSED_GARBAGE,
                text.text);
            return;
        }
        if (complete)
            receive(c, &frame);
    }
}

static void stream_read_done_cb(struct stream *stream)
{
    (void)stream; /* answers leave in the turn, with those of other connections */
}

static void stream_writable_cb(struct stream *stream)
{
    struct peers_connection *c = connection_of(stream);
    struct peers_lane *lane = c->lane;
    struct peers *peers = c->peers;
    if (!lane || !lane->refused_send || lane->reported_session == 0 ||
        stream->queue_size >= TRANSPORT_QUEUE_BYTES_MAX / 2)
        return;
    lane->refused_send = false;
    if (peers->sink.writable)
        peers->sink.writable(peers->sink.context, lane->peer->member.node_id, lane->lane);
}

static void stream_ended_cb(struct stream *stream, enum status status, const char *why)
{
    struct peers_connection *c = connection_of(stream);
    if (c->state == PEERS_LEAVING) {
        close_now(c);
        return;
    }
    if (status != STATUS_DENIED) {
        peers_connection_drop(c, why);
        return;
    }
    c->peers->refused_count += !stream->refused_by_peer;
    peers_event_once(c->peers, stream->refused_by_peer ? "peer_refuses_us" : "peer_refused",
                     node_of(c), PEERS_REFUSED_TLS, why);
    struct peers_connection *other = detach(c, true, why);
    /* Our alert is on its way: see the top. */
    if (stream->refused_by_peer)
        close_now(c);
    else
        move(c, PEERS_LEAVING);
    if (other)
        peers_connection_drop(other, why);
}

static void stream_closed_cb(struct stream *stream)
{
    struct peers_connection *c = connection_of(stream);
    struct peers *peers = c->peers;
    if (c->previous)
        c->previous->next = c->next;
    else
        peers->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    peers_frame_reader_deinit(&c->reader);
    free(c);
    peers_close_step(peers);
}

static const struct stream_handlers stream_handlers = {
    .open = stream_open_cb,
    .data = stream_data_cb,
    .read_done = stream_read_done_cb,
    .writable = stream_writable_cb,
    .ended = stream_ended_cb,
    .closed = stream_closed_cb,
};

/* ---- its beginning ---- */

struct peers_connection *peers_connection_create(struct peers *peers)
{
    struct peers_connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->peers = peers;
    c->tls_generation = peers->tls_generation;
    c->begun_ns = c->heard_ns = c->said_ns = peers_now(peers);
    peers_frame_reader_init(&c->reader, PEERS_GREETING_SIZE_MAX);
    c->next = peers->connections;
    if (c->next)
        c->next->previous = c;
    peers->connections = c;
    return c;
}

enum status peers_connection_dial(struct peers_lane *lane, const struct sockaddr *address,
                                  struct net_error *out_error)
{
    struct peers *peers = lane->peer->peers;
    struct peers_connection *c = peers_connection_create(peers);
    if (!c) {
        net_error_set(out_error, "out of memory while connecting");
        return STATUS_NO_MEMORY;
    }
    c->is_dialled = true;
    struct stream_connect_options options = {.address = address};
    enum status status = stream_connect(&c->stream, &peers->loop, &options, peers->tls_client,
                                        &stream_handlers, out_error);
    if (status != STATUS_OK) {
        close_now(c);
        return status;
    }
    c->lane = lane;
    lane->dialled = c;
    return STATUS_OK;
}

void peers_connection_accept(struct peers *peers, struct peers_connection *c)
{
    peers->unknown_count++;
    enum status status = stream_accept(&c->stream, &peers->loop, (uv_stream_t *)&peers->listener,
                                       peers->tls_server, &stream_handlers);
    if (status != STATUS_OK || peers->state != PEERS_STARTED)
        close_now(c);
}

/* ---- time ---- */

void peers_connection_tick(struct peers_connection *c, uint64_t now_ns)
{
    struct net_error why;
    /* Bytes, not frames: a record of 16 KiB may take long on a slow line. */
    if (c->stream.bytes_received != c->bytes_seen)
        c->heard_ns = now_ns;
    c->bytes_seen = c->stream.bytes_received;
    switch (c->state) {
    case PEERS_OPENING:
    case PEERS_GREETING:
    case PEERS_CONFIRMING:
        if (peers_age(now_ns, c->begun_ns) < GREETING_MS * MS_NS)
            return;
        net_error_set(&why, "%s: no %s within %d ms", c->stream.peer,
                      c->state == PEERS_OPENING ? "TLS connection" : "greeting", GREETING_MS);
        peers_connection_drop(c, why.text);
        return;
    case PEERS_UP:
        if (peers_age(now_ns, c->heard_ns) >= SILENCE_MS * MS_NS) {
            net_error_set(&why, "%s was silent for %d ms", c->stream.peer, SILENCE_MS);
            peers_connection_drop(c, why.text);
        } else if (peers_age(now_ns, c->said_ns) >= PING_MS * MS_NS) {
            (void)peers_connection_write(c, PEERS_FRAME_PING, NULL, 0, 0);
        }
        return;
    case PEERS_LEAVING:
        if (peers_age(now_ns, c->begun_ns) >= LEAVING_MS * MS_NS)
            close_now(c);
        return;
    case PEERS_CLOSED:
    case PEERS_CONNECTION_STATE_COUNT:
        return;
    }
}
