/* The first entries of a cluster's log, made by the node that founds it. */
#ifndef TALLY_REPLICATION_GENESIS_H
#define TALLY_REPLICATION_GENESIS_H

#include "replication/environment.h"
#include "replication/node/node.h"

#define GENESIS_TERM 1
enum { GENESIS_CONFIGURATION, GENESIS_PRINCIPALS, GENESIS_ENTRY_COUNT };

struct genesis {
    struct journal_entry entries[GENESIS_ENTRY_COUNT]; /* indexes from 1; payloads are ours */
};

/* Entry 1: the configuration with `founder` as its only voter. Entry 2: the principals, judged by
 * the state machine. STATUS_INVALID, STATUS_NO_MEMORY with *out_error. */
enum status genesis_build(struct genesis *genesis, const struct node_init_options *options,
                          const struct member *founder, const struct environment *environment,
                          struct node_error *out_error);
/* Also of a zeroed one. */
void genesis_release(struct genesis *genesis);

#endif
