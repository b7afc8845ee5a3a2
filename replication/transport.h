/*
 * How nodes of a cluster reach each other: whole messages between authenticated members. The
 * daemon brings peers.h (mutual TLS over TCP), a simulator its virtual network.
 *
 * Three lanes per pair of nodes, each first in first out, each with a connection and a queue of its
 * own, so that nothing large stands before a heartbeat:
 *
 *   TRANSPORT_RAFT   consensus: heartbeats, votes, entries, read rounds
 *   TRANSPORT_CALLS  forwarded requests and their answers, catch-up's small messages
 *   TRANSPORT_BULK   catch-up's data
 *
 * A message may be lost (connection cut, queue full), never changed, never repeated within one
 * connection. What two members agree on before the first message: protocol version, cluster id,
 * cluster epoch, both node ids as their certificates say, both incarnations.
 *
 * All on the loop thread.
 */
#ifndef TALLY_REPLICATION_TRANSPORT_H
#define TALLY_REPLICATION_TRANSPORT_H

#include "core/status.h"
#include "replication/member.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct transport;

enum transport_lane { TRANSPORT_RAFT, TRANSPORT_CALLS, TRANSPORT_BULK, TRANSPORT_LANE_COUNT };

/* Largest message; an entry of ENTRY_SIZE_MAX with its headers fits. */
#define TRANSPORT_MESSAGE_SIZE_MAX (1024 * 1024 + 64 * 1024)
/* Unsent bytes per lane and peer above which sends are refused. */
#define TRANSPORT_QUEUE_BYTES_MAX (8 * 1024 * 1024)

/* Who we are; from the data directory. */
struct transport_self {
    uint8_t cluster_id[16];
    uint64_t node_id;
    uint8_t incarnation[16];
    uint64_t cluster_epoch;
    enum member_kind kind;
};

struct transport_sink {
    void *context;
    /* One message, borrowed until return, 8-aligned. Never inside a call of the transport. */
    void (*message)(void *context, uint64_t from, enum transport_lane lane, const void *bytes,
                    size_t size);
    /* The lane to `peer` came up or went down: what was sent before and not received is lost. */
    void (*link)(void *context, uint64_t peer, enum transport_lane lane, bool up);
    /* The queue to `peer` has fallen below its half after a send was refused. */
    void (*writable)(void *context, uint64_t peer, enum transport_lane lane);
};

struct transport_part {
    const void *bytes;
    size_t size;
};

struct transport_operations {
    enum status (*start)(struct transport *, const struct transport_self *,
                         const struct transport_sink *);
    void (*members)(struct transport *, const struct member *members, uint32_t count);
    enum status (*send)(struct transport *, uint64_t to, enum transport_lane lane,
                        const struct transport_part *parts, uint32_t count);
    size_t (*room)(const struct transport *, uint64_t to, enum transport_lane lane);
    void (*stop)(struct transport *);
};

/* First member of every implementation. */
struct transport {
    const struct transport_operations *operations;
};

/* Listens and connects from now on; calls the sink. Both are copied. Again after stop: a node that
 * was installed anew. STATUS_NO_MEMORY, STATUS_UNAVAILABLE (address in use). */
static inline enum status transport_start(struct transport *t, const struct transport_self *self,
                                          const struct transport_sink *sink)
{
    return t->operations->start(t, self, sink);
}
/* The members as of the newest configuration (ourselves included or not); copied. These are
 * dialled. Whoever is not among them is a stranger: with a good certificate, our cluster id and
 * epoch it is let in, and answered on connections to the address that it names, because the table
 * may be behind the truth, or empty in a node that was never added (Raft, section 6: a server takes
 * messages from servers that are not in its configuration). Strangers are bounded by MEMBERS_MAX;
 * what they may ask for is for the sink to judge. An id that is in the table with another
 * incarnation or kind is disconnected and refused; a member that leaves the table becomes a
 * stranger. */
static inline void transport_members(struct transport *t, const struct member *members,
                                     uint32_t count)
{
    t->operations->members(t, members, count);
}
/* Queues one message made of `count` parts; copied or encrypted before return. STATUS_BUSY: the
 * queue is full (`writable` follows). STATUS_UNAVAILABLE: no connection now. STATUS_NOT_FOUND: no
 * such member. STATUS_INVALID: too large. Nothing was sent then. */
static inline enum status transport_send(struct transport *t, uint64_t to, enum transport_lane lane,
                                         const struct transport_part *parts, uint32_t count)
{
    return t->operations->send(t, to, lane, parts, count);
}
/* Bytes that a send would find room for; 0 when not connected. */
static inline size_t transport_room(const struct transport *t, uint64_t to,
                                    enum transport_lane lane)
{
    return t->operations->room(t, to, lane);
}
/* Ends all connections; the sink is not called any more. */
static inline void transport_stop(struct transport *t)
{
    t->operations->stop(t);
}

#endif
