/*
 * A checker that never fails proves nothing. Each row plants one error, with everything else as it
 * is, and runs seeds until something is found. It counts only if it is the checker of that error
 * that found it: the text of the violation has to have its words, one of two where an error shows
 * itself in two ways.
 *
 * The rows of the durability rule are the errors that its model knows as well
 * (docs/guarantees.md). A witness that counts past a return (RAFT_GUARD_RUN) is not among them:
 * 1000 seeds do not find it; that one, like the guard's other repairs, has directed tests
 * (tests/replication/guard), which random faults do not replace.
 */
#include "chaos/sim/planted.h"

#include "commit.h"
#include "replication/guard/raft_guard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMIT  "commit does not imply both sites"
#define WITNESS "the witness is ahead"

static const struct row {
    const char *name;
    uint64_t guard_off;
    enum sim_plant plant;
    const char *finder, *other; /* words of the violation; `other` may be NULL */
    bool rare;                  /* takes tens of seeds */
    bool ignore_witness;        /* which is ahead because of the error, long before it does harm */
} rows[] = {
    {.name = "gate-open", .guard_off = RAFT_GUARD_GATE, .finder = WITNESS},
    {.name = "clamp-off", .guard_off = RAFT_GUARD_CLAMP, .finder = COMMIT, .rare = true},
    {.name = "gate-and-clamp-off",
     .guard_off = RAFT_GUARD_GATE | RAFT_GUARD_CLAMP,
     .finder = COMMIT,
     .ignore_witness = true},
    {.name = "gate-inherited", .guard_off = RAFT_GUARD_VERIFIED, .finder = WITNESS},
    {.name = "unsynced-copy-counts",
     .guard_off = RAFT_GUARD_SYNCED,
     .finder = WITNESS,
     .other = "but synced only"},
    {.name = "committed-mode",
     .guard_off = RAFT_GUARD_MODE,
     .finder = "nothing was acknowledged within",
     .other = WITNESS},
    {.name = "degrade-early", .guard_off = RAFT_GUARD_REACHED, .finder = COMMIT, .rare = true},
    {.name = "followers-own-mode",
     .plant = PLANT_FOLLOWERS_MODE,
     .finder = "is on both sites, and nobody",
     .rare = true},
    {.name = "early-return",
     .plant = PLANT_EARLY_RETURN,
     .finder = "before it has caught up",
     .rare = true},
    {.name = "certificate-too-high",
     .plant = PLANT_CERTIFICATE_HIGH,
     .finder = "the certificate claims"},
    {.name = "reply-before-commit", .plant = PLANT_REPLY_BEFORE_COMMIT, .finder = ""},
    {.name = "request-window-off", .plant = PLANT_REQUEST_WINDOW_OFF, .finder = ""},
    {.name = "sync-off", .plant = PLANT_SYNC_OFF, .finder = ""},
};
#define ROW_COUNT (sizeof rows / sizeof rows[0])

struct find {
    bool found, died;
    uint64_t seed, seeds;
    char violation[512];
};

/* ---- one row, in a process of its own ---- */

static void search(const struct row *row, const struct planted_budget *budget,
                   const struct sim_options *base, int out)
{
    struct find find = {0};
    for (uint64_t i = 0; i < budget->seed_count && !find.found; i++) {
        struct sim_options options = *base;
        struct sim_result result;
        options.seed = budget->first_seed + i;
        options.seconds = budget->seconds;
        options.guard_off = row->guard_off;
        options.plant = row->plant;
        options.ignore_witness = row->ignore_witness;
        /* Told before it begins, so that a seed that kills the process is known. */
        find.seed = options.seed;
        find.seeds = i + 1;
        find.died = true;
        if (write(out, &find, sizeof find) != (ssize_t)sizeof find)
            _exit(3);
        sim_run(&options, &result);
        find.died = false;
        find.found = result.violated;
        memcpy(find.violation, result.violation, sizeof find.violation);
    }
    _exit(write(out, &find, sizeof find) == (ssize_t)sizeof find ? 0 : 3);
}

static bool is_right(const struct row *row, const struct find *find)
{
    return find->found && (strstr(find->violation, row->finder) != NULL ||
                           (row->other != NULL && strstr(find->violation, row->other) != NULL));
}

/* The last word of the process: `find` as it stood when it ended. */
static void read_last(int from, struct find *out)
{
    struct find find;
    size_t done = 0;
    *out = (struct find){0};
    for (;;) {
        const ssize_t got = read(from, (char *)&find + done, sizeof find - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        done += (size_t)got;
        if (done == sizeof find) {
            *out = find;
            done = 0;
        }
    }
    if (!out->died)
        return;
    out->found = true;
    snprintf(out->violation, sizeof out->violation,
             "the process died: a broken invariant, a crash or a sanitizer");
}

static bool print(const struct row *row, const struct find *find,
                  const struct planted_budget *budget)
{
    const bool right = is_right(row, find);
    if (!find->found)
        printf("%-22s NOT FOUND in %" PRIu64 " seeds\n", row->name, budget->seed_count);
    else
        printf("%-22s %s  seed %" PRIu64 " (of %" PRIu64 "): %.150s\n", row->name,
               right ? "found" : "FOUND BY ANOTHER CHECKER", find->seed, find->seeds,
               find->violation);
    fflush(stdout);
    return right;
}

/* ---- all of them ---- */

static void start(const struct row *row, const struct planted_budget *budget,
                  const struct sim_options *options, pid_t *out_pid, int *out_pipe)
{
    int ends[2];
    fflush(NULL);
    if (pipe(ends) != 0) {
        perror("tally-sim: pipe");
        exit(3);
    }
    *out_pid = fork();
    if (*out_pid < 0) {
        perror("tally-sim: fork");
        exit(3);
    }
    if (*out_pid == 0) {
        close(ends[0]);
        search(row, budget, options, ends[1]);
    }
    close(ends[1]);
    *out_pipe = ends[0];
}

bool planted_search(const struct planted_budget *budget, const struct sim_options *options)
{
    pid_t pids[ROW_COUNT];
    int pipes[ROW_COUNT];
    size_t order[ROW_COUNT], count = 0, right = 0;
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (budget->only == NULL || strcmp(budget->only, rows[i].name) == 0 ||
            (strcmp(budget->only, "early") == 0 && !rows[i].rare))
            order[count++] = i;
    if (count == 0) {
        fprintf(stderr, "tally-sim: there is no planted error \"%s\"\n", budget->only);
        exit(2);
    }
    printf("%s, at most %" PRIu64 " seeds of %" PRIu64 " s per error, from %" PRIu64
           ", commit %s\n",
           budget->topology, budget->seed_count, budget->seconds, budget->first_seed, SIM_COMMIT);
    size_t started = 0;
    for (size_t i = 0; i < count; i++) {
        for (; started < count && started < i + budget->jobs; started++)
            start(&rows[order[started]], budget, options, &pids[started], &pipes[started]);
        struct find find;
        read_last(pipes[i], &find);
        close(pipes[i]);
        (void)waitpid(pids[i], NULL, 0); /* its last word tells what became of it */
        right += print(&rows[order[i]], &find, budget);
    }
    printf("%zu of %zu planted errors found by their checkers\n", right, count);
    return right == count;
}
