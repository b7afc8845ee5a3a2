/*
 * Consensus by libraft behind its guard: the implementation of consensus.h, from a cluster of one
 * to MEMBERS_MAX. A cluster of one runs through the same code as any other.
 */
#ifndef TALLY_REPLICATION_CONSENSUS_RAFT_H
#define TALLY_REPLICATION_CONSENSUS_RAFT_H

#include "replication/consensus/consensus.h"
#include "replication/consensus/floors.h"
#include "replication/environment.h"
#include "replication/notify.h"
#include "replication/transport.h"
#include "storage/files.h"

/* Payload bytes of the log in memory: entries above this are not taken in. */
#define CONSENSUS_LOG_BYTES_MAX (192ull * 1024 * 1024)
/* What is kept of it below the durable index, for followers that are a little behind. */
#define CONSENSUS_TAIL_BYTES   (64ull * 1024 * 1024)
#define CONSENSUS_ELECTION_MS  250
#define CONSENSUS_HEARTBEAT_MS 50

struct consensus_raft_options {
    const struct environment *environment; /* clocks and random numbers */
    const struct notify *notify; /* events, listed in node.h; fail-stop goes to the sink */
    const struct files *files;   /* data directory, for the hard state */
    struct journal *journal;     /* open, nothing in flight */
    struct member self;
    /* The newest entry that the store holds durably, 0 = none; its term, and what the store's meta
     * says of members and mode (agreed.h). Copied. A witness
     * has no store: what it has noted itself, or its journal's anchor, is taken instead. */
    uint64_t durable_index, durable_term;
    /* An entry known to be committed, and its term; 0 = none. Of use if it is above the durable one
     * and the journal has it with that term. */
    uint64_t committed_index, committed_term;
    const void *configuration;
    size_t configuration_size;
    uint64_t stamp;              /* the greatest that the store holds; 0 = none */
    struct transport *transport; /* NULL: nobody else is there. Started by its owner */
    /* What is known of the members, raised here; NULL: of this consensus alone. */
    struct floors *floors;
    struct consensus_sink sink;
    /* 0: the defaults above */
    uint32_t election_ms, heartbeat_ms;
    uint64_t log_bytes_max, tail_bytes;
};

/* Reads the hard state. STATUS_NOT_FOUND or STATUS_CORRUPT when it cannot be trusted or its term is
 * below the journal's; STATUS_NO_MEMORY. The journal is read by consensus_start(), which may take
 * as long as reading what the log in memory holds; its errors are told by sink.failed as well.
 * Everything in options but the configuration outlives the consensus. */
enum status consensus_raft_create(const struct consensus_raft_options *options,
                                  struct consensus **out_consensus);

#endif
