/* The simulator itself: a seed repeats, sound clusters pass, and every planted fault is found. */
#include "chaos/sim/sim.h"

#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(sim, .timeout = 300);

static struct sim_result run(const char *topology, uint64_t seed, uint64_t seconds,
                             enum sim_plant plant)
{
    struct sim_options options = {.seed = seed, .seconds = seconds, .plant = plant};
    struct sim_result result;
    cr_assert(sim_topology(topology, &options));
    sim_run(&options, &result);
    return result;
}

/* The same seed in another process, whose memory lies elsewhere: the same trace. */
Test(sim, a_seed_repeats_in_another_process)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        int ends[2];
        cr_assert_eq(pipe(ends), 0);
        const pid_t pid = fork();
        if (pid == 0) {
            void *elsewhere = malloc(12345 * seed);
            const uint64_t hash = run("1", seed, 20, PLANT_NONE).hash;
            free(elsewhere);
            _exit(write(ends[1], &hash, sizeof hash) == (ssize_t)sizeof hash ? 0 : 1);
        }
        uint64_t hash = 0;
        cr_assert_eq(read(ends[0], &hash, sizeof hash), (ssize_t)sizeof hash);
        cr_assert_eq(waitpid(pid, NULL, 0), pid);
        cr_assert_eq(run("1", seed, 20, PLANT_NONE).hash, hash, "seed %lu", (unsigned long)seed);
        close(ends[0]);
        close(ends[1]);
    }
}

Test(sim, seeds_differ)
{
    cr_assert_neq(run("1", 1, 5, PLANT_NONE).hash, run("1", 2, 5, PLANT_NONE).hash);
}

/* Found within these seeds, or the simulator sees nothing. */
static void assert_found(const char *topology, enum sim_plant plant)
{
    for (uint64_t seed = 1; seed <= 25; seed++)
        if (run(topology, seed, 30, plant).violated)
            return;
    cr_assert_fail("a planted fault was not found");
}

Test(sim, finds_that_syncs_do_nothing)
{
    assert_found("1", PLANT_SYNC_OFF);
}

Test(sim, finds_that_replies_come_before_the_commit)
{
    assert_found("1", PLANT_REPLY_BEFORE_COMMIT);
}

Test(sim, finds_that_requests_are_forgotten)
{
    assert_found("1", PLANT_REQUEST_WINDOW_OFF);
}
