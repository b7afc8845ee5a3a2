/*
 * The n-th write, sync, allocation, name change and malloc of the store fails, for every n until a
 * run goes through untouched; and the process dies in the n-th write or at the n-th sync. A plain
 * program, because it runs under libdiskfault.so (LD_PRELOAD).
 *
 * One run, in a child: copy a store that has some epochs, arm, open it, write two epochs, look up.
 * What is asked of it:
 *   - nothing but a status comes back: no crash, and a failed open has a text;
 *   - STATUS_DISK_FULL: the same epoch submitted again is accepted;
 *   - afterwards, without faults, the store opens, verifies clean and stands exactly at an epoch
 * not older than the last one reported durable, with the right content.
 *
 * The last line is "N passed, N failed" over runs.
 */
#include "storage/store.h"
#include "tests/storage/epoch_maker.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define EPOCHS_BEFORE 9u /* the next epoch begins a merge */
#define EPOCHS_UNDER  2u
#define RUNS_MAX      5000u

typedef void (*arm_function)(const char *watched, const char *call, uint64_t n, const char *error);
typedef uint64_t (*disarm_function)(void);
static arm_function arm;
static disarm_function disarm;

/* Seen by parent and child. */
static struct shared {
    uint64_t calls;         /* of the armed kind in this run */
    uint64_t durable_index; /* last one reported */
    unsigned finished;      /* the child went to its end */
    unsigned disk_full, other_failures, open_failures;
    char wrong[512];
} * shared;

static char base[64], seed_path[96], run_path[96];

static _Noreturn void die(const char *what, const char *detail)
{
    fprintf(stderr, "store_faults: %s: %s\n", what, detail);
    exit(2);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *position)
{
    (void)info;
    (void)type;
    (void)position;
    return remove(path);
}

static void remove_tree(const char *path)
{
    if (access(path, F_OK) == 0 && nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        die("cannot remove", path);
}

static void copy_seed(void)
{
    char command[256];
    remove_tree(run_path);
    snprintf(command, sizeof command, "cp -r %s %s", seed_path, run_path);
    if (system(command) != 0)
        die("cannot copy", seed_path);
}

static enum status open_store(const char *path, struct checkpoint **out, struct store_error *error)
{
    struct store_options options = {
        .path = path, .map_size_bytes = 1ull << 30, .bloom_bytes = 1 << 16};
    memcpy(options.cluster_id, "disk-fault-tests", 16);
    return store_open(&options, out, error);
}

static struct epoch_maker *make_maker(void)
{
    return epoch_maker_create(&(struct epoch_maker_options){
        .seed = 77, .base_accounts = 120, .request_step_ns = 3600000000000ull});
}

static const struct epoch *next_epoch(struct epoch_maker *maker, struct checkpoint_meta *meta)
{
    return epoch_maker_next(maker, &(struct epoch_plan){.transfers = 700, .requests = 7}, meta);
}

static void note_status(void *context, enum status status, uint64_t durable_index)
{
    *(enum status *)context = status;
    if (status == STATUS_OK)
        shared->durable_index = durable_index;
}

static enum status drive(struct checkpoint *checkpoint, const struct epoch *epoch,
                         const struct checkpoint_meta *meta, enum job_state *out_state)
{
    enum status status = STATUS_COUNT;
    uint64_t wait_ns;
    if (checkpoint_submit(checkpoint, epoch, meta, note_status, &status) != STATUS_OK)
        return STATUS_COUNT;
    *out_state = checkpoint_step(checkpoint, &wait_ns);
    checkpoint_process(checkpoint);
    return status;
}

static void finish(struct checkpoint *checkpoint)
{
    uint64_t wait_ns;
    checkpoint_stop(checkpoint);
    while (checkpoint_step(checkpoint, &wait_ns) != JOB_DONE)
        ;
    checkpoint_close(checkpoint);
}

static struct epoch_maker *maker_at(unsigned epochs)
{
    struct epoch_maker *maker = make_maker();
    struct checkpoint_meta meta;
    for (unsigned e = 0; e < epochs; e++)
        (void)next_epoch(maker, &meta);
    return maker;
}

/* ---- a run ---- */

static void wrong(const char *what, const char *detail)
{
    if (shared->wrong[0] == '\0')
        snprintf(shared->wrong, sizeof shared->wrong, "%s: %s", what, detail);
}

static void run_under_fault(unsigned epochs_before, const char *call, uint64_t n, const char *error)
{
    struct epoch_maker *makers[EPOCHS_UNDER], *maker;
    const struct epoch *epochs[EPOCHS_UNDER], *epoch;
    struct checkpoint_meta metas[EPOCHS_UNDER];
    struct checkpoint *checkpoint = NULL;
    struct store_error failure = {{0}};
    for (unsigned e = 0; e < EPOCHS_UNDER; e++) { /* ahead of time: the maker's malloc is no test */
        makers[e] = maker_at(epochs_before + e);
        epochs[e] = next_epoch(makers[e], &metas[e]);
    }
    arm(run_path, call, n, error);
    enum status status = open_store(run_path, &checkpoint, &failure);
    if (status != STATUS_OK) {
        shared->calls = disarm();
        shared->open_failures++;
        if (failure.text[0] == '\0')
            wrong("open failed without a word", status_text(status));
        return;
    }
    for (unsigned e = 0; e < EPOCHS_UNDER; e++) {
        struct checkpoint_meta meta = metas[e];
        enum job_state state = JOB_IDLE;
        maker = makers[e];
        epoch = epochs[e];
        status = drive(checkpoint, epoch, &meta, &state);
        if (status == STATUS_DISK_FULL) {
            shared->disk_full++;
            store_failure(checkpoint, &failure);
            if (failure.text[0] == '\0')
                wrong("disk full without a word", "");
            if (state == JOB_FAILED)
                wrong("the job ended", "after a full disk");
            status = drive(checkpoint, epoch, &meta, &state);
            if (status != STATUS_OK)
                wrong("the epoch was not accepted again", status_text(status));
        }
        if (status != STATUS_OK) {
            shared->other_failures++;
            if (state != JOB_FAILED)
                wrong("the job goes on", status_text(status));
            if (checkpoint_submit(checkpoint, epoch, &meta, note_status, &status) != STATUS_IO)
                wrong("an epoch was accepted", "after fail-stop");
            break;
        }
        struct ledger_past past;
        checkpoint_past(checkpoint, &past);
        const char *bad = made_check_past(maker, &past, 37, epoch_maker_requests(maker) - 7);
        if (bad != NULL)
            wrong("while writing", bad);
    }
    shared->calls = disarm();
    finish(checkpoint);
}

static void judge(unsigned epochs_before)
{
    struct store_error error = {{0}};
    struct checkpoint *checkpoint = NULL;
    struct checkpoint_meta meta = {0};
    struct ledger_past past;
    enum status status = open_store(run_path, &checkpoint, &error);
    if (status != STATUS_OK) {
        wrong("cannot be opened afterwards", error.text);
        return;
    }
    if (checkpoint_meta(checkpoint, &meta) != STATUS_OK && epochs_before > 0)
        wrong("stands at nothing", "");
    if (meta.index < shared->durable_index || meta.index < epochs_before * 10)
        wrong("an epoch reported as durable is lost", "");
    struct epoch_maker *maker = maker_at((unsigned)(meta.index / 10));
    checkpoint_past(checkpoint, &past);
    uint64_t requests = epoch_maker_requests(maker);
    const char *bad = made_check_past(maker, &past, 13, requests > 24 ? requests - 24 : 0);
    if (bad != NULL && meta.index > 0)
        wrong("afterwards", bad);
    checkpoint_close(checkpoint);
    if (store_verify(run_path, &error, NULL, NULL) != STATUS_OK)
        wrong("verify", error.text);
    epoch_maker_destroy(maker);
}

static unsigned passed, failed;

/* Every n until a run ends in which the n-th call was never reached. */
static void sweep(unsigned epochs_before, const char *call, const char *error)
{
    unsigned disk_full = 0, failures = 0, opens = 0, deaths = 0;
    uint64_t n = 1;
    for (;; n++) {
        if (n > RUNS_MAX)
            die("a run never goes through untouched", call);
        copy_seed();
        if (epochs_before == 0) {
            remove_tree(run_path);
            if (mkdir(run_path, 0700) != 0)
                die(run_path, strerror(errno));
        }
        memset(shared, 0, sizeof *shared);
        (void)fflush(stdout); /* or the child would print it again */
        pid_t pid = fork();
        if (pid < 0)
            die("fork", strerror(errno));
        if (pid == 0) {
            (void)alarm(60);
            run_under_fault(epochs_before, call, n, error);
            shared->finished = 1;
            _exit(0);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid)
            die("waitpid", strerror(errno));
        bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        bool wants_death = strcmp(error, "KILL") == 0;
        if (!shared->finished && !(wants_death && killed))
            wrong("the process ended", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exit");
        deaths += killed;
        judge(epochs_before);
        bool ok = shared->wrong[0] == '\0';
        passed += ok;
        failed += !ok;
        if (!ok)
            printf("%s %s, call %" PRIu64 ": %s\n", call, error, n, shared->wrong);
        disk_full += shared->disk_full;
        failures += shared->other_failures;
        opens += shared->open_failures;
        if (shared->finished && shared->calls < n)
            break;
    }
    printf("%s %-6s from epoch %u: %" PRIu64 " calls; %u disk full, %u failed, %u not opened, %u "
           "deaths\n",
           call, error, epochs_before, n - 1, disk_full, failures, opens, deaths);
    (void)fflush(stdout); /* progress only */
    if (n == 1)
        die("no such call was made: is libdiskfault.so preloaded?", call);
}

static void make_seed(void)
{
    struct store_error error;
    struct checkpoint *checkpoint = NULL;
    struct epoch_maker *maker = make_maker();
    snprintf(base, sizeof base, "/tmp/tally-faults-XXXXXX");
    if (mkdtemp(base) == NULL)
        die("mkdtemp", strerror(errno));
    snprintf(seed_path, sizeof seed_path, "%s/seed", base);
    snprintf(run_path, sizeof run_path, "%s/run", base);
    if (mkdir(seed_path, 0700) != 0)
        die(seed_path, strerror(errno));
    if (open_store(seed_path, &checkpoint, &error) != STATUS_OK)
        die("cannot make the first store", error.text);
    for (unsigned e = 0; e < EPOCHS_BEFORE; e++) {
        struct checkpoint_meta meta;
        enum job_state state;
        const struct epoch *epoch = next_epoch(maker, &meta);
        if (drive(checkpoint, epoch, &meta, &state) != STATUS_OK)
            die("cannot make the first store", "epoch");
    }
    finish(checkpoint);
    epoch_maker_destroy(maker);
}

int main(void)
{
    union {
        void *object;
        arm_function arm;
        disarm_function disarm;
    } symbol;
    symbol.object = dlsym(RTLD_DEFAULT, "diskfault_arm");
    arm = symbol.arm;
    symbol.object = dlsym(RTLD_DEFAULT, "diskfault_disarm");
    disarm = symbol.disarm;
    if (arm == NULL || disarm == NULL)
        die("run me with", "LD_PRELOAD=libdiskfault.so");
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap", strerror(errno));
    unsetenv("LD_PRELOAD"); /* cp need not count */
    shared->durable_index = 0;
    make_seed();
    static const char *const calls[] = {"write", "sync", "allocate", "name"};
    static const char *const errors[] = {"EIO", "ENOSPC", "KILL"};
    for (unsigned from = 0; from <= EPOCHS_BEFORE; from += EPOCHS_BEFORE)
        for (unsigned c = 0; c < 4; c++)
            for (unsigned e = 0; e < 3; e++) {
                if (strcmp(calls[c], "name") == 0 && from > 0)
                    continue; /* only a creation changes names */
                sweep(from, calls[c], errors[e]);
            }
    sweep(EPOCHS_BEFORE, "write", "SHORT");
    sweep(0, "malloc", "ENOMEM");
    sweep(EPOCHS_BEFORE, "malloc", "ENOMEM");
    remove_tree(base);
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
