/*
 * Nodes' transports through real sockets and real TLS, each on a loop of its own so that one can be
 * stopped while the others go on, and raw ends that speak whatever a test makes them say. All on
 * the test's thread; every wait is bounded and fails the test when it is over.
 */
#ifndef TALLY_TESTS_REPLICATION_PEERS_RIG_H
#define TALLY_TESTS_REPLICATION_PEERS_RIG_H

#include "net/stream.h"
#include "replication/peers/peers.h"
#include "replication/peers/peers_frame.h"
#include "replication/peers/peers_hello.h"
#include "tests/net/pki.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <uv.h>

#define RIG_NODES_MAX 4
#define RIG_RAWS_MAX  80
#define RIG_WAIT_MS   20000

struct rig_message {
    uint64_t from;
    enum transport_lane lane;
    size_t size;
    uint64_t first; /* its first eight bytes */
    uint64_t sum;   /* of its bytes */
};

struct rig_node {
    struct rig *rig;
    bool is_open, is_running, is_closed;
    uint64_t id;
    uv_loop_t loop;
    struct peers *peers;
    struct transport *transport;
    struct transport_self self;
    char events[64 * 1024]; /* "name|a|b|text\n" ... */
    struct rig_message *messages;
    uint32_t message_count, message_capacity;
    uint32_t up_count[RIG_NODES_MAX + 1][TRANSPORT_LANE_COUNT];
    uint32_t down_count[RIG_NODES_MAX + 1][TRANSPORT_LANE_COUNT];
    uint32_t writable_count;
    uint64_t ahead_ns; /* of its clock */
    bool inside;       /* a call of the transport; the sink must not be called */
    /* Called for each message and each link that came up, after it was noted; may be NULL. */
    void (*on_up)(struct rig_node *node, uint64_t peer, enum transport_lane lane);
    void (*on_message)(struct rig_node *node, const struct rig_message *message);
};

/* One end of a TLS connection, or a bare TCP socket, in the test's hands. */
struct rig_raw {
    struct rig *rig;
    bool in_use, is_open, is_ended, is_closed;
    struct stream stream;
    enum status end_status;
    char end_text[256];
    uint8_t received[4096];
    size_t received_size;
};

struct rig {
    char directory[64];
    struct pki *pki;
    struct rig_node nodes[RIG_NODES_MAX + 1]; /* by id */
    /* The raw ends' loop. */
    uv_loop_t loop;
    struct net_loop net;
    struct tls_context *raw_tls[2]; /* by enum tls_side, with the certificate of raw_node */
    struct rig_raw raws[RIG_RAWS_MAX];
    uv_tcp_t raw_listener;
    bool has_raw_listener;
    struct rig_raw *raw_accepted; /* the newest */
};

/* Certificates n1 .. n4 (node ids 1 .. 4), "channel" (no node), of authority "ca"; "n2_of_other" of
 * authority "other". */
void rig_init(struct rig *rig);
void rig_deinit(struct rig *rig);
const char *rig_file(const struct rig *rig, const char *name); /* path; a few at a time */

struct rig_node_options {
    uint64_t id;
    const char *certificate; /* NULL: "n<id>" */
    const char *ca;          /* NULL: "ca" */
    const char *crl;
    const char *advertised; /* NULL: 127.0.0.1 and the port */
    uint16_t port;
};
/* Made and not started; self is filled in and may be changed. */
struct rig_node *rig_node(struct rig *rig, const struct rig_node_options *options);
/* Made of ids; nodes must exist. A node's member is where it listens, as it says it is. */
struct member rig_member(const struct rig_node *node);
void rig_start(struct rig_node *node);
void rig_members(struct rig_node *node, const struct member *members, uint32_t count);
/* All open nodes know each other and are started. */
void rig_start_all(struct rig *rig);
void rig_stop(struct rig_node *node);
void rig_close(struct rig_node *node);

enum status rig_send(struct rig_node *node, uint64_t to, enum transport_lane lane,
                     const void *bytes, size_t size);
enum status rig_send_number(struct rig_node *node, uint64_t to, enum transport_lane lane,
                            uint64_t number);

/* One turn of every running loop. */
void rig_pump(struct rig *rig);
void rig_run_ms(struct rig *rig, uint64_t ms);
#define rig_wait(rig, condition)                                                                   \
    do {                                                                                           \
        uint64_t rig_until_ = uv_hrtime() + RIG_WAIT_MS * 1000000ull;                              \
        while (!(condition)) {                                                                     \
            cr_assert(uv_hrtime() < rig_until_, "waited for %s", #condition);                      \
            rig_pump(rig);                                                                         \
        }                                                                                          \
    } while (0)
bool rig_is_up(const struct rig_node *node, uint64_t peer, enum transport_lane lane);
bool rig_all_up(const struct rig_node *a, const struct rig_node *b); /* three lanes, both ways */
/* "name|a|b|" of an event followed by a text that contains `words`. */
bool rig_has_event(const struct rig_node *node, const char *event, const char *words);
void rig_expect_event(struct rig_node *node, const char *name, uint64_t a, uint64_t b,
                      const char *words);

/* The raw ends speak with this certificate from now on. */
void rig_raw_certificate(struct rig *rig, const char *certificate);
struct rig_raw *rig_raw_dial(struct rig *rig, uint16_t port);
uint16_t rig_raw_listen(struct rig *rig);
void rig_raw_write(struct rig_raw *raw, const void *bytes, size_t size);
void rig_raw_frame(struct rig_raw *raw, enum peers_frame_kind kind, const void *bytes, size_t size);
void rig_raw_close(struct rig_raw *raw);
struct peers_hello rig_hello(const struct transport_self *as, uint64_t to,
                             enum transport_lane lane);
void rig_raw_hello(struct rig_raw *raw, enum peers_frame_kind kind,
                   const struct peers_hello *hello);
/* The refusal that was received; PEERS_ACCEPTED: none. */
uint32_t rig_raw_refusal(const struct rig_raw *raw, char out_text[PEERS_REFUSAL_TEXT_SIZE]);
bool rig_raw_has_frame(const struct rig_raw *raw, enum peers_frame_kind kind);

#endif
