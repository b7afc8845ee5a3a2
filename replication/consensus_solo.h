/* A cluster of one behind `struct consensus`: what the own journal has synced is committed. */
#ifndef TALLY_REPLICATION_CONSENSUS_SOLO_H
#define TALLY_REPLICATION_CONSENSUS_SOLO_H

#include "replication/consensus.h"
#include "storage/files.h"

struct consensus_solo_options {
    const struct files *files; /* data directory, for the hard state */
    struct journal *journal;
    uint64_t node_id;
    uint64_t applied_index; /* entries above it are to be pulled */
    uint32_t in_flight_max; /* proposals between append and consumption */
    struct consensus_sink sink;
};

/* Reads the hard state: STATUS_NOT_FOUND or STATUS_CORRUPT when it cannot be trusted or its term is
 * below the journal's; STATUS_NO_MEMORY. Everything in options outlives the consensus. */
enum status consensus_solo_create(const struct consensus_solo_options *options,
                                  struct consensus **out_consensus);

#endif
