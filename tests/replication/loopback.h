/*
 * A network inside one thread: the transports of a few nodes, messages carried by hand. Nothing
 * happens inside a call: sends queue, loopback_turn() delivers what was queued and tells links that
 * came up or went down. Cuts lose what is queued, as a connection does.
 */
#ifndef TALLY_TESTS_REPLICATION_LOOPBACK_H
#define TALLY_TESTS_REPLICATION_LOOPBACK_H

#include "replication/transport.h"

#define LOOPBACK_NODES_MAX 8

struct loopback;

struct loopback_message {
    struct loopback_message *next;
    uint64_t to;
    enum transport_lane lane;
    size_t size;
    uint64_t bytes[];
};

struct loopback_end {
    struct transport base; /* first */
    struct loopback *net;
    uint64_t id;
    bool started;
    struct transport_self self;
    struct transport_sink sink;
    struct member members[MEMBERS_MAX];
    uint32_t member_count;
    bool up[LOOPBACK_NODES_MAX];    /* as the node was told, by peer */
    bool ended[LOOPBACK_NODES_MAX]; /* the peer's process ended since: down first */
    struct loopback_message *first, **end;
    size_t queued[LOOPBACK_NODES_MAX][TRANSPORT_LANE_COUNT];
};

struct loopback {
    struct loopback_end ends[LOOPBACK_NODES_MAX]; /* of node i + 1 */
    bool cut[LOOPBACK_NODES_MAX][LOOPBACK_NODES_MAX];
    uint64_t carried[TRANSPORT_LANE_COUNT];
};

void loopback_init(struct loopback *net);
/* Drops what is queued. */
void loopback_deinit(struct loopback *net);
struct transport *loopback_transport(struct loopback *net, uint64_t id);
/* Both directions. */
void loopback_cut(struct loopback *net, uint64_t a, uint64_t b, bool cut);
void loopback_isolate(struct loopback *net, uint64_t id, bool cut);
/* The process is gone: its connections end, nothing is called any more. */
void loopback_kill(struct loopback *net, uint64_t id);
/* True when something was delivered or told. */
bool loopback_turn(struct loopback *net);

#endif
