/*
 * Forwarding: waiting requests go to the leader, wherever it is, and its answers come back.
 *
 *   proposer's waiting list ──pop──> sent (table) ──FORWARD──> leader: served (bounded copies)
 *            ^                          │                         └─> its proposer, its log
 *            └── refused, cut, deposed ─┴──<──FORWARD_RESULT────────── answer
 *
 * All on the loop thread.
 */
#ifndef TALLY_REPLICATION_FORWARD_H
#define TALLY_REPLICATION_FORWARD_H

#include "core/machine.h"
#include "replication/environment.h"
#include "replication/node/forward_message.h"
#include "replication/node/node.h"
#include "replication/node/propose.h"
#include "replication/transport.h"

/* Requests that the leader has of us. */
#define FORWARD_SENT_MAX 1024
/* Requests that we have of others, and their bytes; more are refused as busy. */
#define FORWARD_SERVED_MAX       4096
#define FORWARD_SERVED_BYTES_MAX (32ull << 20)
/* Peers whose link is known: the members, and as many that are not (yet, or any more). */
#define FORWARD_LINKS_MAX (2 * MEMBERS_MAX)
/* Pause after the leader refused, before anything is sent again. */
#define FORWARD_PAUSE_MS 20

struct forward_call;

struct forward_options {
    const struct environment *environment;
    struct proposer *proposer;
    struct transport *transport; /* NULL: nobody to send to */
    uint32_t served_max;         /* FORWARD_SERVED_MAX, FORWARD_SERVED_BYTES_MAX; tests less */
    uint64_t served_bytes_max;
};

struct forward {
    struct forward_options options;
    /* as the sender */
    uint64_t leader_id, term; /* whom `sent` were sent to; 0 = nobody */
    bool linked[FORWARD_LINKS_MAX];
    uint64_t linked_ids[FORWARD_LINKS_MAX];
    struct node_request *sent[FORWARD_SENT_MAX]; /* by sequence modulo the size */
    uint32_t sent_count;
    uint64_t next_sequence; /* begins at random: answers to an earlier process are not ours */
    uint64_t pause_until_ns;
    uint64_t expiry_ns; /* nothing sent expires before */
    uint64_t sent_total;
    /* as the leader */
    struct forward_call *served_first, *served_last;
    uint32_t served_count;
    uint64_t served_bytes;
    uint64_t served_total;
    uint64_t malformed_total;
    bool closing;
    uint8_t results[REQUEST_EVENTS_MAX];
    uint8_t reply[FORWARD_RESULT_BYTES_MAX + 8] __attribute__((aligned(8)));
};

void forward_init(struct forward *forward, const struct forward_options *options);
/* Invariant: everybody was called back. */
void forward_deinit(struct forward *forward);

/* Who leads, as of this turn (leader_id 0: nobody, or ourselves). Requests that another leader, or
 * one of another term, has of us wait again: uncertain. */
void forward_follow(struct forward *forward, uint64_t leader_id, uint64_t term);
/* Sends waiting requests to the leader as far as there is room; calls back what is out of time. */
void forward_process(struct forward *forward);
/* Whether the leader can be reached. */
bool forward_reaches_leader(const struct forward *forward);
/* When forward_process() has something to do by itself; monotonic, UINT64_MAX = never. */
uint64_t forward_next_ns(const struct forward *forward);
/* The process was stopped for so long: those without a deadline of their own get it back. */
void forward_forgive(struct forward *forward, uint64_t pause_ns);

/* Lane CALLS to `peer` came up or went down. */
void forward_link(struct forward *forward, uint64_t peer, bool up);
/* All lanes are down: the transport stopped. */
void forward_unlink(struct forward *forward);
/* A MESSAGE_FORWARD. `refusal` is FORWARD_ANSWERED when we lead in `term` and take requests. */
void forward_receive(struct forward *forward, uint64_t from, const void *bytes, size_t size,
                     uint64_t term, uint8_t refusal);
/* A MESSAGE_FORWARD_RESULT. */
void forward_receive_result(struct forward *forward, uint64_t from, const void *bytes, size_t size);

/* Everybody whose request was sent is called back with STATUS_UNKNOWN_OUTCOME; requests served are
 * not answered any more when their callbacks come. */
void forward_abandon(struct forward *forward);

#endif
