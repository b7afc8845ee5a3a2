/*
 * What two peers say before the first message, and who is let in. Pure: no I/O, no clock. Drawn in
 * docs/formats/peer.md.
 */
#ifndef TALLY_REPLICATION_PEERS_HELLO_H
#define TALLY_REPLICATION_PEERS_HELLO_H

#include "core/bounds.h"
#include "core/status.h"
#include "net/error.h"
#include "replication/transport.h"

#include <stdbool.h>
#include <stdint.h>

#define PEERS_HELLO_SIZE        216
#define PEERS_REFUSAL_SIZE      264
#define PEERS_REFUSAL_TEXT_SIZE 256 /* with its zero byte */
/* What a connection may say before it is known; room for hellos of other versions. */
#define PEERS_GREETING_SIZE_MAX 1024

/* Numbers are part of the format: add at the end. */
enum peers_refusal {
    PEERS_ACCEPTED = 0,
    PEERS_REFUSED_GARBAGE,     /* not our protocol, a frame out of place or too large */
    PEERS_REFUSED_VERSION,     /* another version of the protocol */
    PEERS_REFUSED_TLS,         /* TLS itself failed; never sent as a frame */
    PEERS_REFUSED_CERTIFICATE, /* speaks for somebody else, or was revoked */
    PEERS_REFUSED_CLUSTER,     /* another cluster id */
    PEERS_REFUSED_OLDER_EPOCH, /* the peer belongs to an older cluster epoch */
    PEERS_REFUSED_NEWER_EPOCH, /* the peer belongs to a newer one: we are the old ones */
    PEERS_REFUSED_OWN_ID,      /* the peer says it is who we are */
    PEERS_REFUSED_WRONG_NODE,  /* it meant to reach another node */
    /* 10 is not used: who is in no member table may be a member all the same (peers_table.c) */
    PEERS_REFUSED_INCARNATION = 11, /* the member table knows another incarnation */
    PEERS_REFUSED_KIND,             /* data node and witness confused */
    PEERS_REFUSED_TWO_PROCESSES,    /* another living process with this id is connected */
    PEERS_REFUSED_BUSY,             /* too many connections or nodes; again later */
    PEERS_REFUSED_MEMORY,           /* out of memory; again later */
    PEERS_REFUSED_UNREACHABLE,      /* not refused at all: no connection; never sent */
    PEERS_REFUSAL_END
};

/* Short lower-case words. Static, never NULL. */
const char *peers_refusal_text(enum peers_refusal refusal);

struct peers_hello {
    uint32_t version; /* MESSAGE_PROTOCOL_VERSION */
    uint8_t cluster_id[16];
    uint64_t cluster_epoch;
    uint64_t node_id;
    uint8_t incarnation[16];
    uint64_t process; /* drawn at each start of a process */
    uint64_t to;      /* node id that is meant */
    enum member_kind kind;
    enum transport_lane lane;
    char address[MEMBER_ADDRESS_SIZE_MAX + 1]; /* where the peer accepts connections */
};

void peers_hello_encode(const struct peers_hello *hello, uint8_t out[PEERS_HELLO_SIZE]);
/* STATUS_INVALID: not a hello, or one whose fields are out of their range; STATUS_VERSION: another
 * version, of which only out->version is filled in. */
enum status peers_hello_decode(const uint8_t *bytes, size_t size, struct peers_hello *out,
                               struct net_error *out_error);

void peers_refusal_encode(enum peers_refusal refusal, const char *text,
                          uint8_t out[PEERS_REFUSAL_SIZE]);
/* Total but for the size: unknown numbers are kept as they are, what is not printable ASCII becomes
 * '?'. STATUS_INVALID: the size. */
enum status peers_refusal_decode(const uint8_t *bytes, size_t size, uint32_t *out_refusal,
                                 char out_text[PEERS_REFUSAL_TEXT_SIZE]);

/* The node that a certificate's URI speaks for: prefix + decimal id. 0: none. */
uint64_t peers_uri_node(const char *uri, const char *prefix);

/* What a hello is measured against. */
struct peers_expectation {
    const struct transport_self *self;
    uint64_t certificate_node;   /* as peers_uri_node() of the verified certificate */
    const struct member *member; /* our table's row for hello->node_id; NULL: a stranger */
    uint64_t process;            /* of hello->node_id's living connections; 0: none */
};

/* Whether the peer may go on. Otherwise `out_text` says it in words that both sides understand. */
enum peers_refusal peers_hello_judge(const struct peers_hello *hello,
                                     const struct peers_expectation *expectation,
                                     struct net_error *out_text);

#endif
