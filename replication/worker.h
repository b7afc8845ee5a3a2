/*
 * A thread for a job's step function (storage's writer, preparer, flusher): it steps while there
 * is work, sleeps until it is woken or the step's own time has passed, and ends with the job.
 *
 * A worker that was never started may be stepped by hand (worker_step): the same code under a
 * simulator or a single-threaded test.
 */
#ifndef TALLY_REPLICATION_WORKER_H
#define TALLY_REPLICATION_WORKER_H

#include "core/status.h"
#include "storage/journal.h"

#include <pthread.h>
#include <stdbool.h>

struct worker {
    /* ---- filled in by the owner before worker_init ---- */
    const char *name; /* thread name, at most 15 characters, static */
    enum job_state (*step)(void *context, uint64_t *out_wait_ns);
    void *context;
    /* On the worker's thread, once, after its last step. May be NULL. */
    void (*ended)(void *context);
    /* ---- ours ---- */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    bool started;
    bool joined;
    bool woken;                /* under mutex */
    bool has_ended;            /* under mutex */
    enum job_state last_state; /* under mutex */
};

/* STATUS_NO_MEMORY when the system refuses a condition variable. */
enum status worker_init(struct worker *worker);
/* Invariant: never started, or joined. */
void worker_deinit(struct worker *worker);

/* Starts the thread, all signals blocked in it. STATUS_NO_MEMORY when the system refuses. */
enum status worker_start(struct worker *worker);
/* Any thread, also before worker_start: the next sleep is skipped. */
void worker_wake(struct worker *worker);
/* Any thread. True once the job said JOB_DONE or JOB_FAILED; *out_state (may be NULL) says which.
 */
bool worker_has_ended(struct worker *worker, enum job_state *out_state);
/* Owner. Waits at most timeout_ms for the thread; false when it did not end, e.g. in a hung write.
 * True at once for a worker that never started. */
bool worker_join(struct worker *worker, uint64_t timeout_ms);

/* Owner, worker not started: whether a step by hand has something to do, having been woken since
 * the last one (or never stepped). */
bool worker_is_woken(struct worker *worker);
/* Owner, worker not started: one step by hand. JOB_DONE once it has ended. */
enum job_state worker_step(struct worker *worker, uint64_t *out_wait_ns);

#endif
