/*
 * The virtual network: `struct transport` for every host.
 *
 * A channel is one direction of one lane between two hosts, first in first out. It loses messages
 * only by breaking: then all that was not received is gone, the sender is told, and it dials again
 * after a pause that grows and is jittered. Packets that a cut swallows are kept, as TCP keeps
 * them: a cut that heals soon delays them, one that lasts breaks the channel once pings stay
 * unanswered (1 to 1.5 s). A process that dies resets its channels at once; one that lost power
 * says nothing.
 */
#ifndef TALLY_CHAOS_SIM_NETWORK_H
#define TALLY_CHAOS_SIM_NETWORK_H

#include "chaos/sim/world.h"
#include "replication/transport.h"

#define HOSTS_MAX 8

/* What the way from one host to another does to packets, beyond latency. All 0: nothing. */
struct weather {
    uint32_t loss_per_mille; /* of packets: TCP sends them again, later */
    uint32_t ns_per_byte;    /* 0: as fast as everything else */
    uint64_t disorder_ns;    /* lanes lag behind by up to this, each for itself */
};

struct message {
    struct message *next;
    uint64_t at_ns; /* not before */
    uint32_t size, reserved;
    /* followed by its bytes, 8-aligned */
};

struct channel {
    struct network *network;
    uint8_t from, to, lane;
    bool up, dialing, refused, delivering;
    uint64_t generation; /* +1 when it breaks: what was posted for it is stale */
    uint64_t pause_ns;   /* before the next dial */
    struct message *first, *last;
    uint64_t queued_bytes;
    uint64_t free_ns; /* the wire has sent what is queued */
    uint64_t lag_ns;  /* in disorder */
    /* Of a connection that the sender has given up, and the receiver has not: still delivered until
     * one of them knows better. */
    bool twice; /* with the next message */
    struct message *late;
    uint64_t late_node_id;
};

struct network_host {
    struct transport transport; /* first */
    struct network *network;
    uint8_t number;
    bool running; /* between start and stop */
    bool silent;  /* without power: no answers at all */
    struct transport_self self;
    struct transport_sink sink;
    struct member members[MEMBERS_MAX];
    uint32_t member_count;
    uint64_t busy_until_ns;    /* it reads nothing before */
    const uint64_t *ahead_ns;  /* time that passed in its turn already */
    uint64_t queued_bytes_max; /* greatest queue seen */
    /* After a call of its sink: the time that passed in it makes it deaf. */
    void (*left)(void *context);
    void *left_context;
};

struct network {
    struct world *world;
    struct draw draw;
    uint32_t host_count;
    struct network_host hosts[HOSTS_MAX];
    struct channel channels[HOSTS_MAX][HOSTS_MAX][TRANSPORT_LANE_COUNT];
    uint64_t latency_ns[HOSTS_MAX][HOSTS_MAX]; /* one way */
    uint32_t jitter_percent;
    bool cut[HOSTS_MAX][HOSTS_MAX];   /* packets from .. to are swallowed */
    bool rough[HOSTS_MAX][HOSTS_MAX]; /* has weather */
    struct weather weather[HOSTS_MAX][HOSTS_MAX];
    uint64_t cut_generation;
    uint64_t message_total, byte_total, break_total, refused_total, late_total;
};

void network_init(struct network *network, struct world *world, uint32_t host_count);
void network_deinit(struct network *network);

/* Address of a host for its members' records. */
void network_address(uint32_t host, char out[MEMBER_ADDRESS_SIZE_MAX + 1]);

void network_set_cut(struct network *network, uint32_t from, uint32_t to, bool cut);
/* Breaks all channels between two hosts, as a rebooted firewall does. */
void network_reset(struct network *network, uint32_t a, uint32_t b);
/* The process of `host` is gone; silent: with the power of the machine. */
void network_host_down(struct network *network, uint32_t host, bool silent);
/* A call of `host` that would have lasted long has ended: what it sent goes out now. */
void network_host_relieved(struct network *network, uint32_t host);
/* The machine runs: it answers, if only by refusing. */
void network_host_powered(struct network *network, uint32_t host);

#endif
