/*
 * Threads for jobs. A job knows nothing of threads: it has a step function and a wake callback.
 * The worker turns the two into a loop around one condition variable.
 *
 * No wake-up is lost: `woken` is set under the mutex and only the worker clears it, before it
 * steps. So work queued before the wake is seen by the step that follows it. Signals are blocked in
 * every worker so that the process's handlers run on the loop thread alone.
 *
 * A thread that hangs in a system call (a disk that never answers) cannot be ended from outside.
 * worker_join() says so after its timeout and the owner must leave everything the thread touches
 * alone.
 */
#include "replication/worker.h"

#include "core/invariant.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull

static struct timespec time_after(clockid_t clock, uint64_t wait_ns)
{
    struct timespec at;
    invariant(clock_gettime(clock, &at) == 0);
    uint64_t ns = (uint64_t)at.tv_nsec + wait_ns % NS_PER_S;
    at.tv_sec += (time_t)(wait_ns / NS_PER_S + ns / NS_PER_S);
    at.tv_nsec = (long)(ns % NS_PER_S);
    return at;
}

enum status worker_init(struct worker *worker)
{
    invariant(worker->step != NULL);
    worker->started = false;
    worker->joined = false;
    worker->woken = false;
    worker->has_ended = false;
    worker->last_state = JOB_IDLE;
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return STATUS_NO_MEMORY;
    invariant(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    int failed = pthread_cond_init(&worker->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes); /* cannot fail for an initialized one */
    if (failed != 0)
        return STATUS_NO_MEMORY;
    if (pthread_mutex_init(&worker->mutex, NULL) != 0) {
        (void)pthread_cond_destroy(&worker->changed); /* nobody waits on it */
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

void worker_deinit(struct worker *worker)
{
    if (worker->started)
        invariant(worker->joined);
    invariant(pthread_mutex_destroy(&worker->mutex) == 0);
    invariant(pthread_cond_destroy(&worker->changed) == 0);
}

static void worker_end(struct worker *worker, enum job_state state)
{
    pthread_mutex_lock(&worker->mutex);
    worker->last_state = state;
    worker->has_ended = true;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->mutex);
    if (worker->ended != NULL)
        worker->ended(worker->context);
}

static void worker_sleep(struct worker *worker, uint64_t wait_ns)
{
    pthread_mutex_lock(&worker->mutex);
    if (wait_ns == UINT64_MAX) {
        while (!worker->woken)
            pthread_cond_wait(&worker->changed, &worker->mutex);
    } else {
        struct timespec until = time_after(CLOCK_MONOTONIC, wait_ns);
        while (!worker->woken &&
               pthread_cond_timedwait(&worker->changed, &worker->mutex, &until) != ETIMEDOUT)
            continue;
    }
    worker->woken = false;
    pthread_mutex_unlock(&worker->mutex);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    for (;;) {
        uint64_t wait_ns = UINT64_MAX;
        enum job_state state = worker->step(worker->context, &wait_ns);
        if (state == JOB_DONE || state == JOB_FAILED) {
            worker_end(worker, state);
            return NULL;
        }
        if (state == JOB_IDLE)
            worker_sleep(worker, wait_ns);
    }
}

enum status worker_start(struct worker *worker)
{
    invariant(!worker->started);
    sigset_t all, before;
    sigfillset(&all);
    invariant(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int failed = pthread_create(&worker->thread, NULL, worker_main, worker);
    invariant(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (failed != 0)
        return STATUS_NO_MEMORY;
    worker->started = true;
    if (worker->name != NULL)
        (void)pthread_setname_np(worker->thread, worker->name); /* only for people */
    return STATUS_OK;
}

void worker_wake(struct worker *worker)
{
    pthread_mutex_lock(&worker->mutex);
    worker->woken = true;
    pthread_cond_broadcast(&worker->changed); /* the joiner may wait beside the worker */
    pthread_mutex_unlock(&worker->mutex);
}

bool worker_has_ended(struct worker *worker, enum job_state *out_state)
{
    pthread_mutex_lock(&worker->mutex);
    bool ended = worker->has_ended;
    if (ended && out_state != NULL)
        *out_state = worker->last_state;
    pthread_mutex_unlock(&worker->mutex);
    return ended;
}

bool worker_join(struct worker *worker, uint64_t timeout_ms)
{
    if (!worker->started || worker->joined)
        return true;
    struct timespec until = time_after(CLOCK_MONOTONIC, timeout_ms * NS_PER_MS);
    pthread_mutex_lock(&worker->mutex);
    while (!worker->has_ended &&
           pthread_cond_timedwait(&worker->changed, &worker->mutex, &until) != ETIMEDOUT)
        continue;
    bool ended = worker->has_ended;
    pthread_mutex_unlock(&worker->mutex);
    if (!ended)
        return false;
    /* Only its last instructions are left, no disk among them. */
    int failed = pthread_join(worker->thread, NULL);
    invariant_values(failed == 0, failed, 0);
    worker->joined = true;
    return true;
}

bool worker_is_woken(struct worker *worker)
{
    invariant(!worker->started);
    return worker->woken && !worker->has_ended;
}

enum job_state worker_step(struct worker *worker, uint64_t *out_wait_ns)
{
    invariant(!worker->started);
    *out_wait_ns = UINT64_MAX;
    if (worker->has_ended)
        return JOB_DONE;
    worker->woken = false;
    enum job_state state = worker->step(worker->context, out_wait_ns);
    if (state == JOB_DONE || state == JOB_FAILED)
        worker_end(worker, state);
    return state;
}
