/* Threads for jobs: no wake-up is lost, ends are told, a hang is reported and not waited for. */
#include "replication/worker.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <unistd.h>

TestSuite(worker, .timeout = 30);

struct job {
    _Atomic uint32_t steps, ends;
    _Atomic uint32_t work; /* queued; each step takes one */
    _Atomic bool stop, hang;
    enum job_state end;
};

static enum job_state job_step(void *context, uint64_t *out_wait_ns)
{
    struct job *job = context;
    job->steps++;
    while (job->hang)
        usleep(1000);
    if (job->work > 0) {
        job->work--;
        return JOB_AGAIN;
    }
    if (job->stop)
        return job->end;
    *out_wait_ns = UINT64_MAX;
    return JOB_IDLE;
}

static void job_ended(void *context)
{
    struct job *job = context;
    job->ends++;
}

static void start(struct worker *worker, struct job *job)
{
    *worker = (struct worker){.name = "test", .step = job_step, .context = job, .ended = job_ended};
    cr_assert_eq(worker_init(worker), STATUS_OK);
    cr_assert_eq(worker_start(worker), STATUS_OK);
}

/* Ten thousand wake-ups, each after one piece of work: all of it is done. */
Test(worker, no_wake_up_is_lost)
{
    struct worker worker;
    struct job job = {.end = JOB_DONE};
    start(&worker, &job);
    for (int i = 0; i < 10000; i++) {
        job.work++;
        worker_wake(&worker);
    }
    for (int i = 0; i < 20000 && job.work > 0; i++)
        usleep(1000);
    cr_assert_eq(job.work, 0);
    cr_assert_not(worker_has_ended(&worker, NULL));
    job.stop = true;
    worker_wake(&worker);
    cr_assert(worker_join(&worker, 20000));
    enum job_state state = JOB_IDLE;
    cr_assert(worker_has_ended(&worker, &state));
    cr_assert_eq(state, JOB_DONE);
    cr_assert_eq(job.ends, 1);
    worker_deinit(&worker);
}

Test(worker, a_failed_job_says_so)
{
    struct worker worker;
    struct job job = {.end = JOB_FAILED, .stop = true};
    start(&worker, &job);
    cr_assert(worker_join(&worker, 20000));
    enum job_state state = JOB_IDLE;
    cr_assert(worker_has_ended(&worker, &state));
    cr_assert_eq(state, JOB_FAILED);
    worker_deinit(&worker);
}

Test(worker, a_hung_job_is_not_waited_for)
{
    struct worker worker;
    struct job job = {.end = JOB_DONE, .stop = true, .hang = true};
    start(&worker, &job);
    cr_assert_not(worker_join(&worker, 20));
    job.hang = false;
    cr_assert(worker_join(&worker, 20000));
    worker_deinit(&worker);
}

/* Never started: stepped by hand, joined at once. */
Test(worker, a_job_can_be_stepped_by_hand)
{
    struct worker worker = {.step = job_step, .ended = job_ended};
    struct job job = {.end = JOB_DONE, .work = 2};
    worker.context = &job;
    cr_assert_eq(worker_init(&worker), STATUS_OK);
    uint64_t wait_ns = 0;
    cr_assert_eq(worker_step(&worker, &wait_ns), JOB_AGAIN);
    cr_assert_eq(worker_step(&worker, &wait_ns), JOB_AGAIN);
    cr_assert_eq(worker_step(&worker, &wait_ns), JOB_IDLE);
    cr_assert_eq(wait_ns, UINT64_MAX);
    job.stop = true;
    cr_assert_eq(worker_step(&worker, &wait_ns), JOB_DONE);
    cr_assert_eq(worker_step(&worker, &wait_ns), JOB_DONE);
    cr_assert_eq(job.ends, 1);
    cr_assert(worker_join(&worker, 0));
    worker_deinit(&worker);
}
