/*
 * Linearizable reads: a read may be answered once (1) consensus has confirmed, by a round begun
 * after the read arrived, which index was committed, and (2) that index and the read's own
 * min_index are applied. Reads that arrive together share a round.
 *
 * All on the loop thread.
 */
#ifndef TALLY_REPLICATION_LINEAR_READ_H
#define TALLY_REPLICATION_LINEAR_READ_H

#include "replication/consensus.h"
#include "replication/environment.h"
#include "replication/node.h"

struct read_list {
    struct node_read *first, *last;
    uint32_t count;
};

struct linear_reads {
    const struct environment *environment;
    struct consensus *consensus;
    uint32_t count_max;
    struct read_list arrived;    /* no round yet */
    struct read_list confirming; /* in the round that is under way */
    struct read_list applying;   /* confirmed; wait for their index */
    struct read_list ready;      /* about to be called back */
    struct consensus_confirmation confirmation;
};

void linear_reads_init(struct linear_reads *reads, const struct environment *environment,
                       struct consensus *consensus, uint32_t count_max);
/* STATUS_BUSY when count_max reads wait. */
enum status linear_reads_add(struct linear_reads *reads, struct node_read *read);
/* It will not be called back. No effect on a read that already was. */
void linear_reads_cancel(struct linear_reads *reads, struct node_read *read);
/* Before consensus_process(): starts a round for what has arrived. */
void linear_reads_begin(struct linear_reads *reads);
/* After entries were applied: calls back what can be answered or is out of time. */
void linear_reads_finish(struct linear_reads *reads, uint64_t applied_index);
/* Calls all back with `status`. */
void linear_reads_abandon(struct linear_reads *reads, enum status status);
uint32_t linear_reads_count(const struct linear_reads *reads);
/* Earliest deadline among reads that wait for their index; UINT64_MAX when none does. */
uint64_t linear_reads_deadline_ns(const struct linear_reads *reads);

#endif
