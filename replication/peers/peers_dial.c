/*
 * Our connection of a lane.
 *
 *   WAITING ──time──► LOOKING_UP ──addresses──► TRYING ──welcome──► DONE
 *     ▲ └──address literal, or one left──────────►│                  │
 *     └──no address, none left to try, refused────┴───its end────────┘
 *
 * Every attempt looks the name up anew, so that a node that moved is found; its addresses are tried
 * one after the other, without a pause between them. Then the wait doubles from BACKOFF_MIN_MS to
 * BACKOFF_MAX_MS, half of it random, so that nodes that lost each other do not meet again all at
 * once. It stays short on purpose: the dials of eight members cost nothing, and until the lane is
 * up again the cluster may lack its majority. A sign of life (the peer's connection to us) ends it;
 * a refusal does not, since nothing changes by asking faster.
 *
 * A lookup that hangs is not overtaken by another: one per lane is under way.
 */
#include "replication/peers/peers_internal.h"

#include "core/invariant.h"

#include <stdlib.h>
#include <string.h>

/* An attempt younger than this is not given up for a fresh one. */
#define HURRY_MS 300

static void back_off(struct peers_lane *lane)
{
    struct peers *peers = lane->peer->peers;
    uint32_t backoff = lane->backoff_ms * 2;
    backoff = backoff < BACKOFF_MIN_MS ? BACKOFF_MIN_MS : backoff;
    backoff = backoff > BACKOFF_MAX_MS || lane->was_refused ? BACKOFF_MAX_MS : backoff;
    lane->backoff_ms = backoff;
    uint32_t wait_ms = backoff / 2 + peers_random(peers, backoff / 2 + 1);
    lane->retry_ns = peers_now(peers) + wait_ms * MS_NS;
    lane->dial = PEERS_DIAL_WAITING;
    lane->addresses.count = lane->addresses.next = 0;
    if (backoff == BACKOFF_MAX_MS && !lane->was_refused)
        peers_event_once(peers, "peer_unreachable", lane->peer->member.node_id,
                         PEERS_REFUSED_UNREACHABLE, lane->why_down.text);
}

void peers_dial_over(struct peers_lane *lane, const struct peers_connection *connection,
                     bool was_refused)
{
    uint64_t now_ns = peers_now(lane->peer->peers);
    bool was_up = connection->state == PEERS_UP;
    lane->was_refused = was_refused;
    lane->dial = PEERS_DIAL_WAITING;
    if (was_up && peers_age(now_ns, connection->begun_ns) >= STEADY_MS * MS_NS)
        lane->backoff_ms = 0;
    if (!was_up && !was_refused && lane->addresses.next < lane->addresses.count)
        lane->retry_ns = now_ns;
    else
        back_off(lane);
}

static void attempt_failed(struct peers_lane *lane, const char *why)
{
    if (why != lane->why_down.text)
        net_error_set(&lane->why_down, "%s", why);
    lane->was_refused = false;
    back_off(lane);
}

static void try_addresses(struct peers_lane *lane)
{
    struct net_error why = {.text = "no address"};
    const struct sockaddr *address;
    lane->dial = PEERS_DIAL_TRYING;
    while ((address = lookup_next(&lane->addresses)) != NULL)
        if (peers_connection_dial(lane, address, &why) == STATUS_OK)
            return;
    attempt_failed(lane, why.text);
}

static void lookup_done_cb(struct lookup *request, const struct lookup_addresses *addresses,
                           const char *why)
{
    struct peers_lookup *lookup =
        (struct peers_lookup *)((char *)request - offsetof(struct peers_lookup, lookup));
    struct peers *peers = lookup->peers;
    struct peers_lane *lane = lookup->lane;
    peers->lookup_count--;
    if (lane) {
        lane->lookup = NULL;
        if (addresses) {
            lane->addresses = *addresses;
            try_addresses(lane);
        } else {
            attempt_failed(lane, why);
        }
    }
    free(lookup);
    peers_close_step(peers);
}

static void look_up(struct peers_lane *lane, const char *host, uint16_t port)
{
    struct peers *peers = lane->peer->peers;
    struct net_error why;
    /* Forgotten ones still occupy a thread of libuv each. */
    if (peers->lookup_count >= LOOKUPS_MAX) {
        attempt_failed(lane, "too many names are being looked up");
        return;
    }
    struct peers_lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup) {
        attempt_failed(lane, "out of memory while looking up a name");
        return;
    }
    lookup->peers = peers;
    lookup->lane = lane;
    if (lookup_start(&lookup->lookup, peers->uv, host, port, lookup_done_cb, &why) != STATUS_OK) {
        free(lookup);
        attempt_failed(lane, why.text);
        return;
    }
    peers->lookup_count++;
    lane->lookup = lookup;
    lane->dial = PEERS_DIAL_LOOKING_UP;
}

void peers_dial_tick(struct peers_lane *lane, uint64_t now_ns)
{
    if (lane->dial != PEERS_DIAL_WAITING || now_ns < lane->retry_ns)
        return;
    char host[LOOKUP_HOST_SIZE_MAX + 1];
    uint16_t port;
    struct net_error why;
    if (lane->addresses.next < lane->addresses.count) {
        try_addresses(lane);
    } else if (lookup_split(lane->peer->member.address, host, &port, &why) != STATUS_OK) {
        attempt_failed(lane, why.text);
    } else if (lookup_literal(host, port, &lane->addresses)) {
        try_addresses(lane);
    } else {
        look_up(lane, host, port);
    }
}

void peers_dial_hurry(struct peers_lane *lane)
{
    struct peers *peers = lane->peer->peers;
    uint64_t now_ns = peers_now(peers);
    if (lane->was_refused)
        return;
    /* A SYN that was lost while the line was cut is repeated by the kernel after a second. */
    if (lane->dial == PEERS_DIAL_TRYING && lane->dialled->state == PEERS_OPENING &&
        peers_age(now_ns, lane->dialled->begun_ns) >= HURRY_MS * MS_NS)
        peers_connection_drop(lane->dialled, "given up for a fresh attempt");
    if (lane->dial == PEERS_DIAL_WAITING) {
        lane->backoff_ms = 0;
        lane->retry_ns = now_ns;
    }
}

void peers_dial_reset(struct peers_lane *lane, const char *why)
{
    if (lane->lookup) {
        lane->lookup->lane = NULL;
        lookup_cancel(&lane->lookup->lookup);
        lane->lookup = NULL;
    }
    if (lane->dialled)
        peers_connection_drop(lane->dialled, why);
    lane->dial = PEERS_DIAL_WAITING;
    lane->addresses.count = lane->addresses.next = 0;
    lane->backoff_ms = 0;
    lane->was_refused = false;
    lane->retry_ns = peers_now(lane->peer->peers);
}
