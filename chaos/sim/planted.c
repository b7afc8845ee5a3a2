/*
 * A checker that never fails proves nothing. Each row plants one error, with everything else as it
 * is, and runs seeds until it is found. It counts only if it is the checker of that error that
 * found it: the text of the violation has to have its words, one of two where an error shows itself
 * in two ways. Who else saw it, before and in a few seeds after, is told beside it.
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

#define MORE_SEEDS 10 /* after the find that counts */
#define FINDS_MAX  64

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

/* What one seed came to. */
struct find {
    uint64_t seed, seeds; /* `seeds`: how many there were, with this one */
    bool right;           /* its own checker said so */
    char violation[512];
};

/* ---- one row, in a process of its own ---- */

static bool is_right(const struct row *row, const char *violation)
{
    return strstr(violation, row->finder) != NULL ||
           (row->other != NULL && strstr(violation, row->other) != NULL);
}

static void run_seed(const struct row *row, const struct sim_options *options, int out)
{
    struct sim_result result;
    sim_run(options, &result);
    struct find find = {.seed = options->seed};
    memcpy(find.violation, result.violation, sizeof find.violation);
    find.right = result.violated && is_right(row, result.violation);
    _exit(write(out, &find, sizeof find) == (ssize_t)sizeof find ? 0 : 3);
}

static bool read_find(int from, struct find *out)
{
    size_t done = 0;
    while (done < sizeof *out) {
        const ssize_t got = read(from, (char *)out + done, sizeof *out - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

static void fork_with_pipe(pid_t *out_pid, int ends[2])
{
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
    close(ends[*out_pid == 0 ? 0 : 1]);
}

/* A broken invariant ends the seed's process and nothing else. */
static struct find try_seed(const struct row *row, const struct sim_options *options)
{
    struct find find;
    int ends[2];
    pid_t pid;
    fork_with_pipe(&pid, ends);
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) /* an invariant's last words are expected */
            _exit(3);
        run_seed(row, options, ends[1]);
    }
    if (!read_find(ends[0], &find)) {
        find = (struct find){.seed = options->seed};
        snprintf(find.violation, sizeof find.violation,
                 "the process died: a broken invariant, a crash or a sanitizer");
        find.right = is_right(row, find.violation);
    }
    close(ends[0]);
    (void)waitpid(pid, NULL, 0); /* its words, or their lack, tell what became of it */
    return find;
}

/* Seeds until its own checker finds it, and as many again, at most MORE_SEEDS, to see who else
 * does. Tells every find. */
static void search(const struct row *row, const struct planted_budget *budget,
                   const struct sim_options *base, int out)
{
    uint64_t last = budget->seed_count;
    bool right = false;
    for (uint64_t i = 0; i < last; i++) {
        struct sim_options options = *base;
        options.seed = budget->first_seed + i;
        options.seconds = budget->seconds;
        options.guard_off = row->guard_off;
        options.plant = row->plant;
        options.ignore_witness = row->ignore_witness;
        struct find find = try_seed(row, &options);
        if (find.violation[0] == 0)
            continue;
        find.seeds = i + 1;
        if (write(out, &find, sizeof find) != (ssize_t)sizeof find)
            _exit(3);
        if (find.right && !right) {
            right = true;
            const uint64_t more = i + 1 < MORE_SEEDS ? i + 1 : MORE_SEEDS;
            if (last > i + 1 + more)
                last = i + 1 + more;
        }
    }
    _exit(0);
}

/* The find that counts, or else the first; then those by others. */
static bool print(const struct row *row, int from, const struct planted_budget *budget)
{
    struct find finds[FINDS_MAX];
    struct find find;
    size_t count = 0, best = 0;
    while (read_find(from, &find)) {
        const bool first_right = find.right && (count == 0 || !finds[best].right);
        if (count == FINDS_MAX && !first_right)
            continue;
        count -= count == FINDS_MAX;
        if (first_right)
            best = count;
        finds[count++] = find;
    }
    if (count == 0)
        printf("%-22s NOT FOUND in %" PRIu64 " seeds\n", row->name, budget->seed_count);
    for (size_t i = 0; i < count; i++) {
        const struct find *told = &finds[i == 0 ? best : i <= best ? i - 1 : i];
        printf("%-22s %s  seed %" PRIu64 " (of %" PRIu64 "): %.150s\n", i == 0 ? row->name : "",
               i > 0         ? "    also"
               : told->right ? "found"
                             : "FOUND BY ANOTHER CHECKER",
               told->seed, told->seeds, told->violation);
    }
    fflush(stdout);
    return count > 0 && finds[best].right;
}

/* ---- all of them ---- */

static void start(const struct row *row, const struct planted_budget *budget,
                  const struct sim_options *options, pid_t *out_pid, int *out_pipe)
{
    int ends[2];
    fork_with_pipe(out_pid, ends);
    if (*out_pid == 0)
        search(row, budget, options, ends[1]);
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
        right += print(&rows[order[i]], pipes[i], budget);
        close(pipes[i]);
        (void)waitpid(pids[i], NULL, 0); /* it has told all it had to tell */
    }
    printf("%zu of %zu planted errors found by their checkers\n", right, count);
    return right == count;
}
