/*
 * Two queues under one lock. Every task is embedded in whoever waits for it, and there are as many
 * as there are sessions and buffers, so the queues need no bound of their own.
 */
#include "replication/catch_up/catch_up_job.h"

#include "core/invariant.h"

#include <stddef.h>

static void lock(struct catch_up_job *job)
{
    int code = pthread_mutex_lock(&job->mutex);
    invariant_values(code == 0, code, 0);
}

static void unlock(struct catch_up_job *job)
{
    int code = pthread_mutex_unlock(&job->mutex);
    invariant_values(code == 0, code, 0);
}

static void push(struct catch_up_tasks *tasks, struct catch_up_task *task)
{
    task->next = NULL;
    if (tasks->last != NULL)
        tasks->last->next = task;
    else
        tasks->first = task;
    tasks->last = task;
}

static struct catch_up_task *pop(struct catch_up_tasks *tasks)
{
    struct catch_up_task *task = tasks->first;
    if (task == NULL)
        return NULL;
    tasks->first = task->next;
    if (tasks->first == NULL)
        tasks->last = NULL;
    return task;
}

enum status catch_up_job_init(struct catch_up_job *job)
{
    return pthread_mutex_init(&job->mutex, NULL) == 0 ? STATUS_OK : STATUS_NO_MEMORY;
}

void catch_up_job_deinit(struct catch_up_job *job)
{
    (void)pthread_mutex_destroy(&job->mutex); /* nobody holds it: the job has ended */
}

void catch_up_job_add(struct catch_up_job *job, struct catch_up_task *task)
{
    invariant(!task->queued);
    task->queued = true;
    lock(job);
    push(&job->todo, task);
    unlock(job);
    job->wake_job(job->context);
}

enum job_state catch_up_job_run(struct catch_up_job *job, uint64_t *out_wait_ns)
{
    *out_wait_ns = UINT64_MAX;
    lock(job);
    const bool stopping = job->stopping;
    struct catch_up_task *task = stopping ? NULL : pop(&job->todo);
    unlock(job);
    if (stopping)
        return JOB_DONE;
    if (task == NULL)
        return JOB_IDLE;
    task->run(task);
    lock(job);
    push(&job->finished, task);
    unlock(job);
    job->wake_loop(job->context);
    return JOB_AGAIN;
}

void catch_up_job_process(struct catch_up_job *job)
{
    lock(job);
    struct catch_up_tasks finished = job->finished;
    job->finished = (struct catch_up_tasks){0};
    unlock(job);
    struct catch_up_task *task;
    while ((task = pop(&finished)) != NULL) {
        task->queued = false;
        task->done(task);
    }
}

void catch_up_job_stop(struct catch_up_job *job)
{
    lock(job);
    job->stopping = true;
    unlock(job);
    job->wake_job(job->context);
}
