/*
 * tally-sim: runs seeds and reports.
 *
 *     tally-sim --topology 1+1+1 --seeds 1..1000 --seconds 60 [--jobs 2]
 *
 * Each job is a process of its own that takes every n-th seed and writes one record per seed into a
 * pipe; so a seed that dies of a broken invariant ends its job's process, which is started again
 * behind it. A seed that fails is run once more with its newest events kept, and they are printed.
 * Seeds know nothing of each other: which job runs one, and when, changes nothing in it.
 */
#include "chaos/sim/planted.h"
#include "chaos/sim/sim.h"
#include "commit.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX   64
#define RING_SIZE  120
#define PROGRESS_S 10

struct plan {
    struct sim_options options;
    const char *topology;
    uint64_t first, last;
    uint32_t jobs;
    bool single;         /* one seed, here, with its events printed */
    bool hashes;         /* a line for every seed */
    const char *planted; /* look for planted errors: "all", or the name of one */
    int argument_count;
    char **arguments;
};

struct record {
    uint64_t seed;
    struct sim_result result;
};

static void usage(FILE *out)
{
    fprintf(out, "usage: tally-sim [--topology 1|1+1+1|2+2+1] [--seeds FROM..TO | --seed N]\n"
                 "                 [--seconds N] [--jobs N] [--hashes] [--no-faults]\n"
                 "                 [--plant reply-before-commit|request-window-off|sync-off|\n"
                 "                  followers-own-mode|early-return|certificate-too-high]\n"
                 "                 [--planted all|early|NAME]\n"
                 "                 [--guard-off S1|LEADER|...]...\n"
                 "                 [--without FAULT]... [--think-ms N] [--verbose-seed N]\n"
                 "Runs simulated clusters, one per seed, with a job for each core unless told\n"
                 "otherwise; exits 1 when a promise was broken.\n");
}

static uint64_t number_of(const char *text)
{
    char *end = NULL;
    errno = 0;
    const uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != 0) {
        fprintf(stderr, "tally-sim: \"%s\" is not a number\n", text);
        exit(2);
    }
    return value;
}

static void take_seeds(const char *text, struct plan *plan)
{
    char first[32];
    const char *dots = strstr(text, "..");
    if (dots == NULL || (size_t)(dots - text) >= sizeof first) {
        fprintf(stderr, "tally-sim: --seeds wants FROM..TO\n");
        exit(2);
    }
    memcpy(first, text, (size_t)(dots - text));
    first[dots - text] = 0;
    plan->first = number_of(first);
    plan->last = number_of(dots + 2);
}

static enum sim_plant plant_of(const char *text)
{
    static const char *const names[] = {
        [PLANT_REPLY_BEFORE_COMMIT] = "reply-before-commit",
        [PLANT_REQUEST_WINDOW_OFF] = "request-window-off",
        [PLANT_SYNC_OFF] = "sync-off",
        [PLANT_FOLLOWERS_MODE] = "followers-own-mode",
        [PLANT_EARLY_RETURN] = "early-return",
        [PLANT_CERTIFICATE_HIGH] = "certificate-too-high",
    };
    for (int i = PLANT_NONE + 1; i <= PLANT_CERTIFICATE_HIGH; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum sim_plant)i;
    fprintf(stderr, "tally-sim: there is no fault \"%s\" to plant\n", text);
    exit(2);
}

static uint32_t kind_of(const char *text)
{
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++)
        if (strcmp(text, nemesis_name((enum nemesis_kind)kind)) == 0)
            return 1u << kind;
    fprintf(stderr, "tally-sim: there is no kind of fault \"%s\"\n", text);
    exit(2);
}

static uint64_t part_of(const char *text)
{
    const uint64_t part = plant_guard_part(text);
    if (part == 0) {
        fprintf(stderr, "tally-sim: the guard has no repair \"%s\"\n", text);
        exit(2);
    }
    return part;
}

static const char *value_of(int count, char **arguments, int *at)
{
    if (*at + 1 >= count) {
        fprintf(stderr, "tally-sim: %s wants a value\n", arguments[*at]);
        exit(2);
    }
    return arguments[++*at];
}

static struct plan take_arguments(int count, char **arguments)
{
    struct plan plan = {.topology = "1+1+1",
                        .first = 1,
                        .last = 10,
                        .jobs = 1,
                        .argument_count = count,
                        .arguments = arguments};
    plan.options.seconds = 60;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores > 1)
        plan.jobs = cores < JOBS_MAX ? (uint32_t)cores : JOBS_MAX;
    for (int i = 1; i < count; i++) {
        const char *name = arguments[i];
        if (strcmp(name, "--help") == 0) {
            usage(stdout);
            exit(0);
        } else if (strcmp(name, "--topology") == 0) {
            plan.topology = value_of(count, arguments, &i);
        } else if (strcmp(name, "--seeds") == 0) {
            take_seeds(value_of(count, arguments, &i), &plan);
        } else if (strcmp(name, "--seed") == 0) {
            plan.first = plan.last = number_of(value_of(count, arguments, &i));
        } else if (strcmp(name, "--verbose-seed") == 0) {
            plan.first = plan.last = number_of(value_of(count, arguments, &i));
            plan.options.verbose = plan.single = true;
        } else if (strcmp(name, "--seconds") == 0) {
            plan.options.seconds = number_of(value_of(count, arguments, &i));
        } else if (strcmp(name, "--jobs") == 0) {
            plan.jobs = (uint32_t)number_of(value_of(count, arguments, &i));
        } else if (strcmp(name, "--hashes") == 0) {
            plan.hashes = true;
        } else if (strcmp(name, "--no-faults") == 0) {
            plan.options.no_faults = true;
        } else if (strcmp(name, "--guard-off") == 0) {
            plan.options.guard_off |= part_of(value_of(count, arguments, &i));
        } else if (strcmp(name, "--without") == 0) {
            plan.options.without |= kind_of(value_of(count, arguments, &i));
        } else if (strcmp(name, "--think-ms") == 0) {
            plan.options.think_ms = number_of(value_of(count, arguments, &i));
        } else if (strcmp(name, "--planted") == 0) {
            plan.planted = value_of(count, arguments, &i);
        } else if (strcmp(name, "--plant") == 0) {
            plan.options.plant = plant_of(value_of(count, arguments, &i));
        } else {
            usage(stderr);
            exit(2);
        }
    }
    if (!sim_topology(plan.topology, &plan.options)) {
        fprintf(stderr, "tally-sim: the topologies are 1, 1+1+1 and 2+2+1\n");
        exit(2);
    }
    if (plan.jobs == 0 || plan.jobs > JOBS_MAX || plan.last < plan.first) {
        usage(stderr);
        exit(2);
    }
    return plan;
}

/* ---- jobs ---- */

struct job {
    pid_t pid;
    int pipe;
    uint64_t next; /* seed */
};

static void run_job(const struct plan *plan, uint64_t first, int pipe)
{
    for (uint64_t seed = first; seed <= plan->last; seed += plan->jobs) {
        struct record record = {.seed = seed};
        struct sim_options options = plan->options;
        options.seed = seed;
        sim_run(&options, &record.result);
        if (write(pipe, &record, sizeof record) != (ssize_t)sizeof record)
            _exit(3);
    }
    _exit(0);
}

static void start_job(const struct plan *plan, struct job *job)
{
    int ends[2];
    if (pipe(ends) != 0) {
        perror("tally-sim: pipe");
        exit(3);
    }
    fflush(NULL);
    job->pid = fork();
    if (job->pid < 0) {
        perror("tally-sim: fork");
        exit(3);
    }
    if (job->pid == 0) {
        close(ends[0]);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* where refused, it ends with its seeds */
        run_job(plan, job->next, ends[1]);
    }
    close(ends[1]);
    job->pipe = ends[0];
}

static bool read_record(int pipe, struct record *out)
{
    size_t done = 0;
    while (done < sizeof *out) {
        const ssize_t got = read(pipe, (char *)out + done, sizeof *out - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

/* ---- report ---- */

struct report {
    struct sim_result sum;
    uint64_t seeds, failed;
    uint64_t pause_ns[2]; /* longest after the loss of a place; [1]: the leader was there */
};

/* The same command for one seed. */
static void print_replay(const struct plan *plan, uint64_t seed)
{
    printf("    replay: tally-sim");
    for (int i = 1; i < plan->argument_count; i++) {
        const char *name = plan->arguments[i];
        if (strcmp(name, "--seeds") == 0 || strcmp(name, "--seed") == 0 ||
            strcmp(name, "--jobs") == 0)
            i++;
        else if (strcmp(name, "--hashes") != 0)
            printf(" %s", name);
    }
    printf(" --verbose-seed %" PRIu64 "   (commit %s)\n", seed, SIM_COMMIT);
    fflush(stdout);
}

/* Once more, in a process that may die of it, with the newest events kept. */
static void print_events(const struct plan *plan, uint64_t seed)
{
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        struct sim_options options = plan->options;
        struct sim_result result;
        options.seed = seed;
        options.ring_count = RING_SIZE;
        sim_run(&options, &result);
        _exit(0);
    }
    int status;
    if (pid > 0)
        (void)waitpid(pid, &status, 0); /* whatever became of it, the seed was reported */
}

static void add(struct report *report, const struct plan *plan, const struct record *record)
{
    const struct sim_result *r = &record->result;
    struct sim_result *sum = &report->sum;
    report->seeds++;
    sum->virtual_ns += r->virtual_ns;
    sum->events += r->events;
    sum->turns += r->turns;
    sum->messages += r->messages;
    sum->commits += r->commits;
    sum->elections += r->elections;
    sum->requests += r->requests;
    sum->answers += r->answers;
    sum->repeats += r->repeats;
    sum->reads += r->reads;
    sum->lookups += r->lookups;
    sum->unknown += r->unknown;
    sum->transfers += r->transfers;
    sum->starts += r->starts;
    sum->kills += r->kills;
    sum->power_losses += r->power_losses;
    sum->fail_stops += r->fail_stops;
    if (r->pause_ns > report->pause_ns[r->leader_lost])
        report->pause_ns[r->leader_lost] = r->pause_ns;
    sum->steps += r->steps;
    sum->one_sided += r->one_sided;
    sum->certificates += r->certificates;
    for (int i = 0; i < 3; i++)
        sum->verdicts[i] += r->verdicts[i];
    sum->losses += r->losses;
    sum->degrades += r->degrades;
    sum->returns += r->returns;
    sum->policies += r->policies;
    if (r->longest_ns > sum->longest_ns)
        sum->longest_ns = r->longest_ns;
    if (r->settle_ns > sum->settle_ns)
        sum->settle_ns = r->settle_ns;
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++)
        sum->faults[kind] += r->faults[kind];
    if (plan->hashes)
        printf("seed %" PRIu64 " hash %016" PRIx64 " settled after %.1f s\n", record->seed, r->hash,
               (double)r->settle_ns / 1e9);
    if (!r->violated)
        return;
    report->failed++;
    printf("VIOLATION seed %" PRIu64 ": %s\n", record->seed, r->violation);
    print_replay(plan, record->seed);
    if (report->failed <= 3)
        print_events(plan, record->seed);
}

static void print_summary(const struct report *report, const struct plan *plan, double seconds)
{
    const struct sim_result *sum = &report->sum;
    printf("%s: %" PRIu64 " seeds, %.2f virtual hours in %.1f s (%.0f virtual s per s and job), "
           "%" PRIu64 " failed, commit %s\n",
           plan->topology, report->seeds, (double)sum->virtual_ns / 3.6e12, seconds,
           (double)sum->virtual_ns / 1e9 / seconds / plan->jobs, report->failed, SIM_COMMIT);
    printf("  %" PRIu64 " commits, %" PRIu64 " elections, %" PRIu64 " starts (%" PRIu64
           " kills, %" PRIu64 " power losses, %" PRIu64 " fail-stops)\n",
           sum->commits, sum->elections, sum->starts, sum->kills, sum->power_losses,
           sum->fail_stops);
    printf("  %" PRIu64 " requests, %" PRIu64 " transfers, %" PRIu64 " answers (%" PRIu64
           " repeated), %" PRIu64 " unknown outcomes, %" PRIu64 " reads, %" PRIu64
           " look-ups, slowest operation %.1f s, longest until settled %.1f s\n",
           sum->requests, sum->transfers, sum->answers, sum->repeats, sum->unknown, sum->reads,
           sum->lookups, (double)sum->longest_ns / 1e9, (double)sum->settle_ns / 1e9);
    printf("  %" PRIu64 " commit steps judged by sites, %" PRIu64 " of them one-sided; %" PRIu64
           " degrade, %" PRIu64 " return, %" PRIu64 " policy entries; %" PRIu64 " certificates\n",
           sum->steps, sum->one_sided, sum->degrades, sum->returns, sum->policies,
           sum->certificates);
    printf("  last exam of each: longest until a write is acknowledged after the loss of a place "
           "%.2f s, of the leader's %.2f s\n",
           (double)report->pause_ns[0] / 1e9, (double)report->pause_ns[1] / 1e9);
    printf("  aftermath: %" PRIu64 " times proven that nothing is lost, %" PRIu64
           " bounded by time, %" PRIu64 " unknown; something was lost %" PRIu64 " times\n",
           sum->verdicts[VERDICT_PROVEN_ZERO], sum->verdicts[VERDICT_BOUNDED_BY_TIME],
           sum->verdicts[VERDICT_UNKNOWN], sum->losses);
    printf("  %" PRIu64 " events, %" PRIu64 " turns, %" PRIu64 " messages; faults:", sum->events,
           sum->turns, sum->messages);
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++)
        if (sum->faults[kind] > 0)
            printf(" %s %" PRIu64, nemesis_name((enum nemesis_kind)kind), sum->faults[kind]);
    printf("\n");
}

static double monotonic_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_progress(const struct report *report, const struct plan *plan, double seconds)
{
    const uint64_t count = plan->last - plan->first + 1;
    fprintf(stderr,
            "%s: %" PRIu64 " of %" PRIu64 " seeds, %.2f virtual hours, %" PRIu64
            " failed, %.0f virtual s per s, ",
            plan->topology, report->seeds, count, (double)report->sum.virtual_ns / 3.6e12,
            report->failed, (double)report->sum.virtual_ns / 1e9 / seconds);
    if (report->seeds == 0) {
        fprintf(stderr, "no seed done yet\n");
        return;
    }
    const uint64_t left_s =
        (uint64_t)(seconds / (double)report->seeds * (double)(count - report->seeds));
    fprintf(stderr, "%" PRIu64 " min %" PRIu64 " s left\n", left_s / 60, left_s % 60);
}

/* The job's process is gone: the seed that it was at is what killed it. */
static void bury_job(const struct plan *plan, struct job *job, struct report *report)
{
    close(job->pipe);
    job->pipe = -1;
    int status = 0;
    (void)waitpid(job->pid, &status, 0); /* it has closed its pipe: it is gone or going */
    if (job->next > plan->last)
        return;
    struct record record = {.seed = job->next, .result = {.violated = true}};
    snprintf(record.result.violation, sizeof record.result.violation,
             "the process died (%s %d): a broken invariant, a crash or a sanitizer",
             WIFSIGNALED(status) ? "signal" : "exit code",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    add(report, plan, &record);
    job->next += plan->jobs;
    if (job->next <= plan->last)
        start_job(plan, job);
}

/* Takes the records of all jobs as they come; a job that dies is started again behind the seed that
 * killed it. */
static void follow(const struct plan *plan, struct job *jobs, struct report *report, double began)
{
    double told = began;
    for (;;) {
        struct pollfd ends[JOBS_MAX];
        nfds_t count = 0;
        for (uint32_t i = 0; i < plan->jobs; i++) {
            ends[i] = (struct pollfd){.fd = jobs[i].pipe, .events = POLLIN};
            count += jobs[i].pipe >= 0;
        }
        if (count == 0)
            return;
        if (poll(ends, plan->jobs, 1000) < 0 && errno != EINTR) {
            perror("tally-sim: poll");
            exit(3);
        }
        for (uint32_t i = 0; i < plan->jobs; i++) {
            struct record record;
            if (jobs[i].pipe < 0 || ends[i].revents == 0)
                continue;
            if (read_record(jobs[i].pipe, &record)) {
                jobs[i].next = record.seed + plan->jobs;
                add(report, plan, &record);
            } else {
                bury_job(plan, &jobs[i], report);
            }
        }
        const double now = monotonic_seconds();
        if (now - told >= PROGRESS_S) {
            told = now;
            print_progress(report, plan, now - began);
        }
    }
}

/* Nodes come and go all the time, and each takes megabytes: given back to the kernel and taken
 * again, their pages cost a sixth of the time of a run. */
static void keep_memory(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 25); /* refused or not, it is only slower */
    (void)mallopt(M_TRIM_THRESHOLD, INT32_MAX);
    (void)mallopt(M_TOP_PAD, 16 << 20);
}

int main(int count, char **arguments)
{
    const struct plan plan = take_arguments(count, arguments);
    struct report report = {0};
    keep_memory();
    const double began = monotonic_seconds();
    if (plan.planted != NULL) {
        const struct planted_budget budget = {
            .first_seed = plan.first,
            .seed_count = plan.last - plan.first + 1,
            .seconds = plan.options.seconds,
            .jobs = plan.jobs,
            .only = strcmp(plan.planted, "all") == 0 ? NULL : plan.planted,
            .topology = plan.topology,
        };
        return planted_search(&budget, &plan.options) ? 0 : 1;
    }
    if (plan.single) {
        struct record record = {.seed = plan.first};
        struct sim_options options = plan.options;
        options.seed = plan.first;
        sim_run(&options, &record.result);
        printf("seed %" PRIu64 " hash %016" PRIx64 "%s%s\n", plan.first, record.result.hash,
               record.result.violated ? " VIOLATION " : "", record.result.violation);
        return record.result.violated ? 1 : 0;
    }
    struct job jobs[JOBS_MAX];
    for (uint32_t i = 0; i < plan.jobs; i++) {
        jobs[i] = (struct job){.pipe = -1, .next = plan.first + i};
        if (jobs[i].next <= plan.last)
            start_job(&plan, &jobs[i]);
    }
    follow(&plan, jobs, &report, began);
    print_summary(&report, &plan, monotonic_seconds() - began);
    return report.failed > 0 ? 1 : 0;
}
