/*
 * Linearizable reads: a read may be answered once (1) consensus has confirmed, by a round begun
 * after the read arrived, which index was committed, and (2) that index and the read's own
 * min_index are applied. Reads that arrive together share a round. A read with max_age_ns is
 * answered without one when the state here is known to be young enough.
 *
 * All on the loop thread.
 */
#ifndef TALLY_REPLICATION_LINEAR_READ_H
#define TALLY_REPLICATION_LINEAR_READ_H

#include "replication/consensus/consensus.h"
#include "replication/environment.h"
#include "replication/node/node.h"

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
    uint64_t asked_ns;                      /* the round under way, or the last one */
    uint64_t retry_ns;                      /* no round before */
    uint64_t confirmed_index, confirmed_ns; /* newest answer, and when its question was asked */
    uint64_t fresh_ns; /* what is applied holds everything committed at that moment; 0 = unknown */
    uint64_t applied_index; /* as told last */
    uint64_t rounds_total, bounded_total;
};

/* Pause after a round that nobody answered. */
#define LINEAR_READ_RETRY_MS 20

void linear_reads_init(struct linear_reads *reads, const struct environment *environment,
                       uint32_t count_max);
/* From now on this consensus confirms, and nothing is known of before. A confirmation under way was
 * the earlier one's and will not come. */
void linear_reads_attach(struct linear_reads *reads, struct consensus *consensus);
/* STATUS_BUSY when count_max reads wait. */
enum status linear_reads_add(struct linear_reads *reads, struct node_read *read);
/* It will not be called back. No effect on a read that already was. */
void linear_reads_cancel(struct linear_reads *reads, struct node_read *read);
/* Before consensus_process(): starts a round for what has arrived. */
void linear_reads_begin(struct linear_reads *reads);
/* After entries were applied: calls back what can be answered or is out of time. A read without a
 * confirmation waits NODE_READ_MS_DEFAULT at most: STATUS_NOT_READY. */
void linear_reads_finish(struct linear_reads *reads, uint64_t applied_index);
/* Calls all back with `status`. */
void linear_reads_abandon(struct linear_reads *reads, enum status status);
uint32_t linear_reads_count(const struct linear_reads *reads);
/* When linear_reads_begin or _finish has something to do by itself; UINT64_MAX = never. */
uint64_t linear_reads_deadline_ns(const struct linear_reads *reads);

#endif
