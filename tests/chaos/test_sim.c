/* The simulator itself: a seed repeats, sound clusters pass, and every planted fault is found. */
#include "chaos/sim/shrink.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
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

/* Each fault draws from a stream of its own: naming all of them changes nothing, and leaving one
 * out leaves the others of the same kinds. */
Test(sim, faults_that_are_named_are_the_same_faults)
{
    static uint64_t numbers[256];
    struct sim_options options = {.seed = 7, .seconds = 30};
    struct sim_result all, named, fewer;
    cr_assert(sim_topology("1+1+1", &options));
    sim_run(&options, &all);
    cr_assert_not(all.violated, "%s", all.violation);
    cr_assert_gt(all.fault_count, 3);
    cr_assert_lt(all.fault_count, 256);
    for (uint64_t i = 0; i < all.fault_count; i++)
        numbers[i] = i + 1;
    options.chosen = numbers;
    options.chosen_count = (uint32_t)all.fault_count;
    sim_run(&options, &named);
    cr_assert_eq(named.hash, all.hash);
    options.chosen_count--; /* without the last one */
    sim_run(&options, &fewer);
    cr_assert_neq(fewer.hash, all.hash);
    unsigned differences = 0;
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++)
        differences += (unsigned)(all.faults[kind] - fewer.faults[kind]);
    cr_assert_eq(differences, 1);
}

/* A kind that never happens tests nothing. */
Test(sim, every_kind_of_fault_happens)
{
    uint64_t total[NEMESIS_KIND_COUNT] = {0};
    struct sim_result sum = {0};
    for (uint64_t seed = 100; seed < 150; seed++) {
        const struct sim_result result = run("1+1+1", seed, 30, PLANT_NONE);
        cr_assert_not(result.violated, "seed %lu: %s", (unsigned long)seed, result.violation);
        for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++)
            total[kind] += result.faults[kind];
        sum.abandoned += result.abandoned;
        sum.settled += result.settled;
        sum.library_calls += result.library_calls;
        sum.damages_found += result.damages_found;
        sum.moves += result.moves;
        sum.put_back += result.put_back;
        sum.late_messages += result.late_messages;
        sum.failed_calls += result.failed_calls;
        sum.nights += result.nights;
        sum.too_old += result.too_old;
        sum.commits_judged += result.commits_judged;
        sum.commits += result.commits;
    }
    for (int kind = 0; kind < NEMESIS_ABANDON; kind++)
        cr_assert_gt(total[kind], 0, "%s", nemesis_name((enum nemesis_kind)kind));
    cr_assert_gt(sum.abandoned, 0);
    cr_assert_gt(sum.settled, 0);
    cr_assert_gt(sum.library_calls, 0);
    cr_assert_gt(sum.damages_found, 0);
    cr_assert_gt(sum.moves, 0);
    cr_assert_gt(sum.put_back, 0);
    cr_assert_gt(sum.late_messages, 0);
    cr_assert_gt(sum.failed_calls, 0);
    cr_assert_gt(sum.nights, 0);
    cr_assert_gt(sum.too_old, 0);
    cr_assert_gt(sum.commits_judged, sum.commits / 2);
}

/* Without S5 a commit waits for one word more than it needs. */
Test(sim, a_commit_that_waits_for_a_further_word_is_found)
{
    struct sim_options options = {.seconds = 20, .guard_off = plant_guard_part("S5")};
    struct sim_result result = {0};
    cr_assert(sim_topology("1+1+1", &options));
    for (options.seed = 1; options.seed <= 100 && !result.violated; options.seed++)
        sim_run(&options, &result);
    cr_assert(result.violated);
    cr_assert(strstr(result.violation, "is agreed, and has not committed it") != NULL, "%s",
              result.violation);
}

/* ---- making a failing seed short ---- */

/* Syncs do nothing: of all the faults of a seed a loss of power or two are enough, and what is left
 * breaks the same promise when it is run again. */
Test(sim, a_failing_seed_is_made_short)
{
    static struct shrink_outcome outcome;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct sim_options options = {.seed = seed, .seconds = 20, .plant = PLANT_SYNC_OFF};
        struct sim_result result;
        cr_assert(sim_topology("1+1+1", &options));
        shrink(&options, 120, &outcome);
        if (!outcome.violated || outcome.fault_count < 6)
            continue;
        cr_assert_leq(outcome.left_count, 3, "seed %lu", (unsigned long)seed);
        cr_assert_leq(outcome.seconds, 20);
        options.chosen = outcome.faults;
        options.chosen_count = outcome.left_count;
        options.seconds = outcome.seconds;
        options.think_ms = outcome.think_ms;
        if (strstr(outcome.violation, "the process died") != NULL)
            return; /* it would die here as well */
        sim_run(&options, &result);
        cr_assert(result.violated);
        cr_assert_str_eq(result.violation, outcome.violation);
        return;
    }
    cr_assert_fail("no seed failed");
}

/* There is nothing to make short in a seed that breaks nothing. */
Test(sim, a_sound_seed_is_not_made_short)
{
    static struct shrink_outcome outcome;
    struct sim_options options = {.seed = 1, .seconds = 5};
    cr_assert(sim_topology("1", &options));
    shrink(&options, 60, &outcome);
    cr_assert_not(outcome.violated);
    cr_assert_eq(outcome.run_count, 1);
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
