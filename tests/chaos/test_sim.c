/* The simulator itself: a seed repeats, sound clusters pass, and every planted fault is found. */
#include "chaos/sim/sim.h"

#include <criterion/criterion.h>
#include <stdio.h>
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
static void assert_repeats(const char *topology, uint64_t seed)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        void *elsewhere = malloc(12345 * seed);
        const uint64_t hash = run(topology, seed, 20, PLANT_NONE).hash;
        free(elsewhere);
        _exit(write(ends[1], &hash, sizeof hash) == (ssize_t)sizeof hash ? 0 : 1);
    }
    uint64_t hash = 0;
    cr_assert_eq(read(ends[0], &hash, sizeof hash), (ssize_t)sizeof hash);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert_eq(run(topology, seed, 20, PLANT_NONE).hash, hash, "seed %lu", (unsigned long)seed);
    close(ends[0]);
    close(ends[1]);
}

Test(sim, a_seed_repeats_in_another_process)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        assert_repeats("1", seed);
        assert_repeats("1+1+1", seed);
    }
}

Test(sim, seeds_differ)
{
    cr_assert_neq(run("1", 1, 5, PLANT_NONE).hash, run("1", 2, 5, PLANT_NONE).hash);
}

/* ---- seeds that failed once ---- */

static void assert_sound(const char *topology, uint64_t seed, uint64_t seconds)
{
    const struct sim_result result = run(topology, seed, seconds, PLANT_NONE);
    cr_assert_not(result.violated, "%s seed %lu: %s", topology, (unsigned long)seed,
                  result.violation);
}

/* Node 1 is wiped and comes back as node 4 while node 2 leads: the joiner took the founder's table,
 * entry 1, for the truth, and its transport refused the leader. */
Test(sim, a_wiped_founder_is_replaced_under_another_leader)
{
    assert_sound("1+1+1", 45, 30);
}

/* The process was paused, and told to stop when it went on: its drain began in the future. */
Test(sim, a_stop_right_after_a_pause_takes_its_time)
{
    assert_sound("1+1+1", 1182, 60);
}

/* A disk error at a hand-over of leadership: libraft freed the number 1 before the process could
 * say why it ends. */
Test(sim, a_term_that_cannot_be_written_is_an_end_in_words)
{
    assert_sound("1+1+1", 3064, 60);
    assert_sound("1+1+1", 3146, 60);
    assert_sound("1+1+1", 3001, 60);
}

/* The journal had failed when libraft appended: the refusal came while the append was held by both
 * sides, and was freed by both. */
Test(sim, a_journal_that_refuses_at_once_is_an_end_in_words)
{
    assert_sound("1+1+1", 40441, 60);
}

/* ---- planted faults ---- */

/* A broken invariant ends a process, so each seed has one of its own. */
static bool is_found(const struct sim_options *options)
{
    const pid_t pid = fork();
    int status = 0;
    if (pid == 0) {
        struct sim_result result;
        if (freopen("/dev/null", "w", stderr) == NULL) /* an invariant's last words are expected */
            _exit(0);
        sim_run(options, &result);
        _exit(result.violated ? 1 : 0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/* Found within these seeds, or the simulator sees nothing. */
static void assert_found(const char *topology, enum sim_plant plant, const char *guard_off)
{
    for (uint64_t seed = 1; seed <= 25; seed++) {
        struct sim_options options = {.seed = seed, .seconds = 30, .plant = plant};
        cr_assert(sim_topology(topology, &options));
        if (guard_off != NULL) {
            options.guard_off = plant_guard_part(guard_off);
            cr_assert_neq(options.guard_off, 0);
        }
        if (is_found(&options))
            return;
    }
    cr_assert_fail("a planted fault was not found");
}

Test(sim, finds_that_syncs_do_nothing)
{
    assert_found("1", PLANT_SYNC_OFF, NULL);
    assert_found("1+1+1", PLANT_SYNC_OFF, NULL);
}

Test(sim, finds_that_replies_come_before_the_commit)
{
    assert_found("1", PLANT_REPLY_BEFORE_COMMIT, NULL);
    assert_found("1+1+1", PLANT_REPLY_BEFORE_COMMIT, NULL);
}

Test(sim, finds_that_requests_are_forgotten)
{
    assert_found("1", PLANT_REQUEST_WINDOW_OFF, NULL);
    assert_found("1+1+1", PLANT_REQUEST_WINDOW_OFF, NULL);
}

/* Repairs of the guard that random faults do find (the others have schedules of their own in
 * tests/replication): without them clusters stand still or die. */
Test(sim, finds_repairs_of_the_guard_that_are_off)
{
    static const char *const names[] = {"LEADER", "BARRIER", "S12"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_found("1+1+1", PLANT_NONE, names[i]);
}
