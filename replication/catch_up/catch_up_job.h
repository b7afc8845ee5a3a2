/*
 * Pieces of work on files, done in order by the catch-up job; their outcome comes back on the loop.
 */
#ifndef TALLY_REPLICATION_CATCH_UP_JOB_H
#define TALLY_REPLICATION_CATCH_UP_JOB_H

#include "storage/journal.h"

#include <pthread.h>
#include <stdbool.h>

/* Embedded by the owner, who touches nothing that `run` uses until `done` was called. */
struct catch_up_task {
    void (*run)(struct catch_up_task *task);  /* job */
    void (*done)(struct catch_up_task *task); /* loop, from catch_up_job_process() */
    /* ---- ours ---- */
    bool queued; /* loop: between add and done */
    struct catch_up_task *next;
};

struct catch_up_tasks {
    struct catch_up_task *first, *last;
};

struct catch_up_job {
    /* ---- filled in by the owner ---- */
    void *context;
    void (*wake_job)(void *context);
    void (*wake_loop)(void *context);
    /* ---- ours ---- */
    pthread_mutex_t mutex; /* guards all below */
    struct catch_up_tasks todo, finished;
    bool stopping;
};

enum status catch_up_job_init(struct catch_up_job *job);
/* Invariant: the job has ended or was never stepped. Tasks that were not run are forgotten. */
void catch_up_job_deinit(struct catch_up_job *job);
/* Loop. Invariant: not queued. */
void catch_up_job_add(struct catch_up_job *job, struct catch_up_task *task);
/* Job: runs one. JOB_DONE after the stop. */
enum job_state catch_up_job_run(struct catch_up_job *job, uint64_t *out_wait_ns);
/* Loop: calls `done` of what was run. */
void catch_up_job_process(struct catch_up_job *job);
void catch_up_job_stop(struct catch_up_job *job);

#endif
