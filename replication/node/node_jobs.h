/* The node's jobs, for an environment with manual_jobs: a simulator or a single-threaded test
 * steps them by itself, in any order. */
#ifndef TALLY_REPLICATION_NODE_JOBS_H
#define TALLY_REPLICATION_NODE_JOBS_H

#include "storage/journal.h"

struct node;

enum node_job {
    NODE_JOB_WRITER,      /* journal: appends, syncs */
    NODE_JOB_PREPARER,    /* journal: next segment */
    NODE_JOB_FLUSHER,     /* store: epochs */
    NODE_JOB_CATCH_UP,    /* copies between nodes: reads and writes their files */
    NODE_JOB_CERTIFICATE, /* replaces the files certificate and floors */
    NODE_JOB_COUNT,
};

/* One step; *out_wait_ns as in enum job_state. JOB_DONE once it has ended. Invariant: node_start()
 * was called, with an environment whose manual_jobs is true. */
enum job_state node_job_step(struct node *node, enum node_job job, uint64_t *out_wait_ns);
/* The job was woken since its last step: a step now finds work. Invariant: as above. */
bool node_job_is_woken(struct node *node, enum node_job job);

#endif
