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
#include "chaos/sim/report.h"
#include "chaos/sim/shrink.h"
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

#define JOBS_MAX    64
#define RING_SIZE   120
#define PROGRESS_S  10
#define SECONDS_MAX 1000000ull /* 11 days; as nanoseconds far from the end of 64 bits */

struct plan {
    struct sim_options options;
    const char *topology;
    uint64_t first, last;
    uint32_t jobs;
    bool single;         /* one seed, here, with its events printed */
    bool hashes;         /* a line for every seed */
    bool shrinks;        /* one seed is made short */
    uint64_t shrink_s;   /* for at most so long */
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
                 "                 [--faults N,N-M,...|none] [--story SEED]\n"
                 "                 [--shrink SEED [--shrink-seconds N]]\n"
                 "Runs simulated clusters, one per seed, with a job for each core unless told\n"
                 "otherwise; exits 1 when a promise was broken.\n");
}

/* A sign would be taken by strtoull(), which makes a very large number of it. */
static uint64_t number_of(const char *option, const char *text, uint64_t least, uint64_t most)
{
    char *end = NULL;
    errno = 0;
    const uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != 0 || value < least ||
        value > most) {
        fprintf(stderr,
                "tally-sim: %s \"%s\": a whole number from %" PRIu64 " to %" PRIu64 " is wanted\n",
                option, text, least, most);
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
    plan->first = number_of("--seeds", first, 0, UINT64_MAX);
    plan->last = number_of("--seeds", dots + 2, plan->first, UINT64_MAX);
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

static uint64_t kind_of(const char *text)
{
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++)
        if (strcmp(text, nemesis_name((enum nemesis_kind)kind)) == 0)
            return 1ull << kind;
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

/* "3,7,12-15", rising, or "none". */
static void take_faults(const char *text, struct sim_options *options)
{
    static uint64_t faults[SHRINK_FAULTS_MAX];
    uint32_t count = 0;
    const char *at = strcmp(text, "none") == 0 ? "" : text;
    while (*at != 0) {
        char *end = NULL;
        uint64_t first = *at == '-' ? 0 : strtoull(at, &end, 10), last = first;
        if (end != NULL && end != at && *end == '-' && end[1] != '-') {
            at = end + 1;
            last = strtoull(at, &end, 10);
        }
        const uint64_t before = count > 0 ? faults[count - 1] : 0;
        if (end == NULL || end == at || (*end != 0 && *end != ',') || first <= before ||
            last < first || last - first >= SHRINK_FAULTS_MAX - count) {
            fprintf(stderr,
                    "tally-sim: --faults wants rising numbers such as 3,7,12-15, at most %d of "
                    "them, or none\n",
                    SHRINK_FAULTS_MAX);
            exit(2);
        }
        while (first <= last)
            faults[count++] = first++;
        at = *end == ',' ? end + 1 : end;
    }
    options->chosen = faults;
    options->chosen_count = count;
}

static const char *value_of(int count, char **arguments, int *at)
{
    if (*at + 1 >= count) {
        fprintf(stderr, "tally-sim: %s wants a value\n", arguments[*at]);
        exit(2);
    }
    return arguments[++*at];
}

static uint64_t seed_of(int count, char **arguments, int *at)
{
    const char *option = arguments[*at];
    return number_of(option, value_of(count, arguments, at), 0, UINT64_MAX);
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
    plan.shrink_s = 120;
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
            plan.first = plan.last = seed_of(count, arguments, &i);
        } else if (strcmp(name, "--verbose-seed") == 0) {
            plan.first = plan.last = seed_of(count, arguments, &i);
            plan.options.verbose = plan.single = true;
        } else if (strcmp(name, "--seconds") == 0) {
            plan.options.seconds = number_of(name, value_of(count, arguments, &i), 0, SECONDS_MAX);
        } else if (strcmp(name, "--story") == 0) {
            plan.first = plan.last = seed_of(count, arguments, &i);
            plan.options.story = plan.single = true;
        } else if (strcmp(name, "--shrink") == 0) {
            plan.first = plan.last = seed_of(count, arguments, &i);
            plan.shrinks = true;
        } else if (strcmp(name, "--shrink-seconds") == 0) {
            plan.shrink_s = number_of(name, value_of(count, arguments, &i), 1, SECONDS_MAX);
        } else if (strcmp(name, "--faults") == 0) {
            take_faults(value_of(count, arguments, &i), &plan.options);
        } else if (strcmp(name, "--jobs") == 0) {
            plan.jobs = (uint32_t)number_of(name, value_of(count, arguments, &i), 1, JOBS_MAX);
        } else if (strcmp(name, "--hashes") == 0) {
            plan.hashes = true;
        } else if (strcmp(name, "--no-faults") == 0) {
            plan.options.no_faults = true;
        } else if (strcmp(name, "--guard-off") == 0) {
            plan.options.guard_off |= part_of(value_of(count, arguments, &i));
        } else if (strcmp(name, "--without") == 0) {
            plan.options.without |= kind_of(value_of(count, arguments, &i));
        } else if (strcmp(name, "--think-ms") == 0) {
            plan.options.think_ms =
                number_of(name, value_of(count, arguments, &i), 0, SECONDS_MAX * 1000);
        } else if (strcmp(name, "--planted") == 0) {
            plan.planted = value_of(count, arguments, &i);
        } else if (strcmp(name, "--plant") == 0) {
            plan.options.plant = plant_of(value_of(count, arguments, &i));
        } else {
            fprintf(stderr, "tally-sim: there is no option \"%s\"\n", name);
            usage(stderr);
            exit(2);
        }
    }
    if (!sim_topology(plan.topology, &plan.options)) {
        fprintf(stderr, "tally-sim: the topologies are 1, 1+1+1 and 2+2+1\n");
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
    report_add(report, r);
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

/* ---- one seed made short ---- */

/* Arguments that stay as they are, in front of those of the short run. */
static void print_short(const struct plan *plan, const struct shrink_outcome *outcome)
{
    static const char *const replaced[] = {"--shrink",   "--shrink-seconds", "--seconds",
                                           "--think-ms", "--faults",         "--jobs"};
    printf("replay: tally-sim");
    for (int i = 1; i < plan->argument_count; i++) {
        bool is_replaced = false;
        for (size_t j = 0; j < sizeof replaced / sizeof replaced[0]; j++)
            is_replaced |= strcmp(plan->arguments[i], replaced[j]) == 0;
        if (is_replaced)
            i++;
        else
            printf(" %s", plan->arguments[i]);
    }
    printf(" --seconds %" PRIu64, outcome->seconds);
    if (outcome->think_ms > 0)
        printf(" --think-ms %" PRIu64, outcome->think_ms);
    printf(" --faults ");
    for (uint32_t i = 0; i < outcome->left_count; i++)
        printf("%s%" PRIu64, i > 0 ? "," : "", outcome->faults[i]);
    printf("%s --story %" PRIu64 "   (commit %s)\n", outcome->left_count == 0 ? "none" : "",
           plan->first, SIM_COMMIT);
    fflush(stdout);
}

static int shrink_seed(const struct plan *plan)
{
    static struct shrink_outcome outcome;
    struct sim_options options = plan->options;
    options.seed = plan->first;
    shrink(&options, plan->shrink_s, &outcome);
    if (!outcome.violated) {
        printf("seed %" PRIu64 " breaks no promise: there is nothing to make short\n", plan->first);
        return 0;
    }
    printf("seed %" PRIu64 ": %u of %" PRIu64 " faults and %" PRIu64
           " s are enough, found in %u runs\nbroken: %s\n",
           plan->first, outcome.left_count, outcome.fault_count, outcome.seconds, outcome.run_count,
           outcome.violation);
    print_short(plan, &outcome);
    options.chosen = outcome.faults;
    options.chosen_count = outcome.left_count;
    options.seconds = outcome.seconds;
    options.think_ms = outcome.think_ms;
    options.story = true;
    struct sim_result result;
    sim_run(&options, &result); /* may end the process with an invariant's words: its story, too */
    return 1;
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
    if (plan.shrinks)
        return shrink_seed(&plan);
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
    report_print(&report, plan.topology, plan.jobs, monotonic_seconds() - began);
    return report.failed > 0 ? 1 : 0;
}
