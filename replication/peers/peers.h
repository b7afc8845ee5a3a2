/*
 * The real transport (transport.h): mutual TLS 1.3 over TCP between the members of a cluster.
 *
 * Every node dials every other member once per lane, and a connection carries messages from the
 * dialler to the acceptor only. A lane is *up* when both connections are: ours to the peer, and the
 * peer's to us which it confirmed after ours was accepted. So whoever sees `link(up)` can ask and
 * be answered, and either connection's end is `link(down)`.
 *
 * Everything on the loop thread. The sink is called from the loop only, never inside a call.
 * The program ignores SIGPIPE, as libuv's sockets demand.
 */
#ifndef TALLY_REPLICATION_PEERS_H
#define TALLY_REPLICATION_PEERS_H

#include "core/status.h"
#include "net/error.h"
#include "net/tls.h"
#include "replication/transport.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct peers;

#define PEERS_URI_PREFIX_DEFAULT "spiffe://tallystick/node/"

struct peers_options {
    uv_loop_t *loop;
    const char *listen_host; /* an IP address, e.g. "0.0.0.0", "::" */
    uint16_t listen_port;    /* 0: the system chooses, see peers_port() */
    /* "host:port" that peers dial; NULL: the address listened on. */
    const char *advertised_address;
    /* As in tls_options. The certificate serves both sides and names uri_prefix + node id. */
    const char *certificate_file, *key_file, *ca_file, *crl_file;
    const char *uri_prefix; /* NULL: PEERS_URI_PREFIX_DEFAULT */

    /* For the log: peer_up, peer_down, peer_refused (by us), peer_refuses_us, peer_unreachable,
     * peer_accept_failed. a = the peer's node id, 0 = unknown; b = enum transport_lane for up and
     * down, else enum peers_refusal. What repeats is reported twice a minute at most. May be NULL.
     * Must not call back into peers. */
    void (*event)(void *context, const char *name, const char *text, uint64_t a, uint64_t b);
    void *event_context;
    /* Monotonic; NULL: uv_hrtime(). */
    uint64_t (*monotonic_ns)(void *context);
    void *clock_context;
};

/* Listens at once, and lets nobody in before transport_start(). Everything is copied.
 * STATUS_UNAVAILABLE: the address cannot be listened on. STATUS_INVALID, STATUS_IO: an option or a
 * file, named. STATUS_NO_MEMORY. */
enum status peers_create(const struct peers_options *options, struct peers **out_peers,
                         struct net_error *out_error);

struct transport *peers_transport(struct peers *peers);
uint16_t peers_port(const struct peers *peers); /* listened on */

/* The same files again; on STATUS_OK new connections use them, and peers whose certificate they
 * refuse are disconnected. Otherwise nothing changed; statuses of tls_context_create(). */
enum status peers_reload_tls(struct peers *peers, struct net_error *out_error);
struct tls_expiry peers_tls_expiry(const struct peers *peers);

/* Stops and gives the loop's handles back; cb fires once, from the loop. A name that is being
 * looked up is waited for. */
void peers_close(struct peers *peers, void (*cb)(void *context), void *context);
/* Closed. NULL is allowed. */
void peers_destroy(struct peers *peers);

struct peers_lane_status {
    bool up;
    bool dialled_up, accepted_up; /* our connection to it; its to us */
    uint64_t since_ns;            /* up or down since; the options' clock */
    uint64_t up_count;
    uint64_t bytes_out, bytes_in; /* frames, without TLS */
    uint64_t messages_out, messages_in;
    size_t queue_bytes;
    /* Why it is not up, as far as known: our last refusal, the peer's, or the last failed attempt.
     * "" while it is up. */
    char why_down[256];
};

struct peers_status {
    uint64_t node_id;
    char address[MEMBER_ADDRESS_SIZE_MAX + 1];
    bool is_stranger; /* not of our member table */
    struct peers_lane_status lanes[TRANSPORT_LANE_COUNT];
};

/* Every peer that is known; returns how many there are. */
uint32_t peers_status(const struct peers *peers, struct peers_status *out, uint32_t capacity);
/* Connections refused by us since the start. */
uint64_t peers_refused_count(const struct peers *peers);

#endif
