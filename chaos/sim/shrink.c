/*
 * Faults are numbered, each draws from a stream of its own, and when the next one begins does not
 * depend on what the others did, but for a damaged disk, which holds them back. So a run that
 * leaves some of them out has the others at the same times, of the same kind, at the same hosts;
 * what the cluster makes of them may be another story, which is why every candidate is run and
 * judged.
 *
 * Delta debugging (Zeller and Hildebrandt, 2002), over the faults that had begun when the promise
 * broke: without a half of them, then without quarters, and so on, until no single
 * fault can be left out. Before it the time of faults is cut to a little more than was needed,
 * after it once more; a calmer load is tried last.
 *
 * The same promise is broken if the words are the same, numbers aside. A run whose process dies
 * counts as one kind of its own.
 */
#include "chaos/sim/shrink.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUNS_MAX   2000
#define CLASS_SIZE 64
#define TOLD_EVERY 20 /* runs */

struct trial {
    const struct sim_options *options; /* of the seed */
    struct shrink_outcome *out;
    char class[CLASS_SIZE];
    uint64_t end_s; /* of real time */
};

struct run {
    bool violated, died;
    struct sim_result result;
};

static uint64_t real_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

/* ---- one run ---- */

static void run_in_child(const struct sim_options *options, int out)
{
    struct run run = {0};
    if (freopen("/dev/null", "w", stderr) == NULL) /* last words of a broken invariant: not yet */
        _exit(3);
    sim_run(options, &run.result);
    run.violated = run.result.violated;
    _exit(write(out, &run, sizeof run) == (ssize_t)sizeof run ? 0 : 3);
}

static bool read_run(int from, struct run *out)
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

static struct run run_once(const struct sim_options *options)
{
    struct run run = {.violated = true, .died = true};
    int ends[2], status;
    fflush(NULL);
    if (pipe(ends) != 0) {
        perror("tally-sim: pipe");
        exit(3);
    }
    const pid_t pid = fork();
    if (pid < 0) {
        perror("tally-sim: fork");
        exit(3);
    }
    if (pid == 0) {
        close(ends[0]);
        run_in_child(options, ends[1]);
    }
    close(ends[1]);
    struct run told;
    if (read_run(ends[0], &told))
        run = told;
    else
        snprintf(run.result.violation, sizeof run.result.violation,
                 "the process died of a broken invariant, a crash or a sanitizer");
    close(ends[0]);
    (void)waitpid(pid, &status, 0); /* what it had to say came through the pipe */
    return run;
}

/* ---- which promise ---- */

static void classify(const struct run *run, char out[CLASS_SIZE])
{
    const char *text = run->result.violation;
    const char *after_time = strstr(text, " s: ");
    size_t size = 0;
    if (strncmp(text, "at ", 3) == 0 && after_time != NULL)
        text = after_time + 4;
    for (; *text != 0 && size + 1 < CLASS_SIZE; text++)
        if (!isdigit((unsigned char)*text))
            out[size++] = *text;
    out[size] = 0;
}

/* Whether the seed, with these faults only, breaks the same promise. */
static bool breaks(struct trial *trial, const uint64_t *faults, uint32_t count, uint64_t seconds,
                   uint64_t think_ms, struct run *out_run)
{
    struct sim_options options = *trial->options;
    char class[CLASS_SIZE];
    options.chosen = faults;
    options.chosen_count = count;
    options.seconds = seconds;
    options.think_ms = think_ms;
    options.story = options.verbose = false;
    options.ring_count = 0;
    *out_run = run_once(&options);
    if (++trial->out->run_count % TOLD_EVERY == 0)
        fprintf(stderr, "shrink: %u runs, %u of %" PRIu64 " faults left, %" PRIu64 " s\n",
                trial->out->run_count, trial->out->left_count, trial->out->fault_count,
                trial->out->seconds);
    classify(out_run, class);
    return out_run->violated && strcmp(class, trial->class) == 0;
}

static bool may_go_on(const struct trial *trial)
{
    return trial->out->run_count < RUNS_MAX && real_s() < trial->end_s;
}

static void keep(struct trial *trial, const uint64_t *faults, uint32_t count, const struct run *run)
{
    if (count > 0)
        memmove(trial->out->faults, faults, count * sizeof *faults);
    trial->out->left_count = count;
    memcpy(trial->out->violation, run->result.violation, sizeof trial->out->violation);
}

/* ---- which faults ---- */

/* Without faults first .. end - 1 of those that are left. */
static bool leave_out(struct trial *trial, uint32_t first, uint32_t end)
{
    uint64_t rest[SHRINK_FAULTS_MAX] = {0};
    uint32_t count = 0;
    struct run run;
    for (uint32_t i = 0; i < trial->out->left_count; i++)
        if (i < first || i >= end)
            rest[count++] = trial->out->faults[i];
    if (!breaks(trial, rest, count, trial->out->seconds, trial->out->think_ms, &run))
        return false;
    keep(trial, rest, count, &run);
    return true;
}

static void shrink_faults(struct trial *trial)
{
    struct shrink_outcome *out = trial->out;
    if (out->left_count > 0 && leave_out(trial, 0, out->left_count))
        return; /* load alone does it */
    uint32_t parts = 2;
    while (out->left_count > 1 && may_go_on(trial)) {
        const uint32_t size = (out->left_count + parts - 1) / parts;
        bool shorter = false;
        /* Later faults first: what came behind the one that matters is noise. */
        for (uint32_t i = parts; i > 0 && !shorter && may_go_on(trial); i--) {
            const uint32_t first = (i - 1) * size;
            const uint32_t end = first + size < out->left_count ? first + size : out->left_count;
            shorter = first < end && leave_out(trial, first, end);
        }
        if (shorter)
            parts = parts > 2 ? parts - 1 : 2;
        else if (size == 1)
            return;
        else
            parts = 2 * parts < out->left_count ? 2 * parts : out->left_count;
    }
}

/* ---- how long, how busy ---- */

static void shrink_time(struct trial *trial, uint64_t seconds)
{
    struct shrink_outcome *out = trial->out;
    struct run run;
    while (seconds < out->seconds && may_go_on(trial)) {
        if (breaks(trial, out->faults, out->left_count, seconds, out->think_ms, &run)) {
            out->seconds = seconds;
            keep(trial, out->faults, out->left_count, &run);
            return;
        }
        seconds += (out->seconds - seconds + 1) / 2;
    }
}

static void calm_load(struct trial *trial)
{
    static const uint64_t thinks_ms[] = {5000, 2000, 1000, 500};
    struct shrink_outcome *out = trial->out;
    struct run run;
    for (size_t i = 0; i < sizeof thinks_ms / sizeof thinks_ms[0] && may_go_on(trial); i++)
        if (thinks_ms[i] > trial->options->think_ms &&
            breaks(trial, out->faults, out->left_count, out->seconds, thinks_ms[i], &run)) {
            out->think_ms = thinks_ms[i];
            keep(trial, out->faults, out->left_count, &run);
            return;
        }
}

static uint64_t seconds_of(const struct run *run)
{
    if (run->died || run->result.violated_ns <= run->result.began_ns)
        return 1;
    return (run->result.violated_ns - run->result.began_ns) / NS_PER_S + 1;
}

void shrink(const struct sim_options *options, uint64_t budget_s, struct shrink_outcome *out)
{
    *out = (struct shrink_outcome){.seconds = options->seconds, .think_ms = options->think_ms};
    struct trial trial = {.options = options, .out = out, .end_s = real_s() + budget_s};
    struct sim_options whole = *options;
    whole.verbose = whole.story = false;
    whole.ring_count = 0;
    struct run run = run_once(&whole);
    out->run_count = 1;
    out->violated = run.violated;
    if (!run.violated)
        return;
    classify(&run, trial.class);
    /* One that died told no numbers: there are no more of them than this. */
    uint64_t count = run.died ? 8 * options->seconds : run.result.fault_count;
    if (count > SHRINK_FAULTS_MAX)
        count = SHRINK_FAULTS_MAX;
    uint64_t all[SHRINK_FAULTS_MAX];
    for (uint64_t i = 0; i < count; i++)
        all[i] = options->chosen != NULL && i < options->chosen_count ? options->chosen[i] : i + 1;
    if (options->chosen != NULL && options->chosen_count < count)
        count = options->chosen_count;
    out->fault_count = count;
    keep(&trial, all, (uint32_t)count, &run);
    shrink_time(&trial, seconds_of(&run));
    shrink_faults(&trial);
    calm_load(&trial);
    shrink_time(&trial, 1);
    shrink_faults(&trial);
}
