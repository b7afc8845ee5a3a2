/*
 * What nodes say to each other: types and the header that every message begins with. Each part
 * encodes its own bodies. Little-endian, fixed layout, reserved bytes zero; bodies are 8-aligned
 * multiples of 8 bytes. docs/formats/peer.md draws all of them.
 *
 * The version of the protocol is agreed on in the handshake (peers.h), not per message.
 */
#ifndef TALLY_REPLICATION_MESSAGE_H
#define TALLY_REPLICATION_MESSAGE_H

#include <stdint.h>

#define MESSAGE_PROTOCOL_VERSION 2

enum message_type {
    /* consensus (raft_message.h), lane RAFT */
    MESSAGE_RAFT_FIRST = 0x0100,
    MESSAGE_REQUEST_VOTE = 0x0100,
    MESSAGE_REQUEST_VOTE_RESULT,
    MESSAGE_APPEND_ENTRIES,
    MESSAGE_APPEND_ENTRIES_RESULT,
    MESSAGE_TIMEOUT_NOW,
    MESSAGE_PROBE,        /* read round of the leader */
    MESSAGE_PROBE_RESULT, /* with the peer's wall clock */
    MESSAGE_READ_INDEX,   /* follower to leader */
    MESSAGE_READ_INDEX_RESULT,
    MESSAGE_WATERMARK, /* leader to all: what every site's best data node holds, what both have */
    MESSAGE_LOST_ENTRIES, /* leader: you lack what you acknowledged to me */
    MESSAGE_FLOORS,       /* what each member is known to have had */
    MESSAGE_JOURNAL_END,  /* its answer: where my journal ends */
    MESSAGE_RAFT_LAST = 0x01ff,

    /* forwarded requests (forward.h), lane CALLS */
    MESSAGE_FORWARD_FIRST = 0x0200,
    MESSAGE_FORWARD = 0x0200,
    MESSAGE_FORWARD_RESULT,
    MESSAGE_FORWARD_LAST = 0x02ff,

    /* catch-up (catch_up.h): offer and outcome on lane CALLS, the rest on lane BULK */
    MESSAGE_CATCH_UP_FIRST = 0x0300,
    MESSAGE_CATCH_UP_OFFER = 0x0300, /* leader: you are behind my log in memory */
    MESSAGE_CATCH_UP_DONE,           /* peer: my journal is synced up to index; or 0, gave up */
    MESSAGE_CATCH_UP_OPEN,           /* peer: begin, or resume */
    MESSAGE_CATCH_UP_OPENED,
    MESSAGE_CATCH_UP_READ, /* peer: store bytes at an offset, or journal records from an index */
    MESSAGE_CATCH_UP_DATA,
    MESSAGE_CATCH_UP_CLOSE,
    MESSAGE_CATCH_UP_LAST = 0x03ff,

    /* site operations (site_message.h), lane CALLS */
    MESSAGE_SITE_FIRST = 0x0400,
    MESSAGE_SITE_QUESTION = 0x0400, /* leader: could you lead, how was it for your clients? */
    MESSAGE_SITE_ANSWER,
    MESSAGE_SITE_LAST = 0x04ff,

    /* what the leader tells all members about durability (certificate.h, rpo.h), lane RAFT */
    MESSAGE_TOLD_FIRST = 0x0500,
    MESSAGE_CERTIFICATE = 0x0500,
    MESSAGE_RPO,
    MESSAGE_TOLD_LAST = 0x05ff,
};

struct message_header {
    uint16_t type; /* enum message_type */
    uint16_t reserved_0;
    uint32_t size; /* of the whole message */
};

_Static_assert(sizeof(struct message_header) == 8, "format");

#endif
