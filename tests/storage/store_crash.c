/*
 * Power failures against the store, as a command:
 *
 *   store_crash loop LIBPOWERLOSS POWERLOSS_APPLY ROUNDS SEED [no-sync]
 *   store_crash threads EPOCHS SEED
 *
 * Each round runs a writer (this program again, under the preloaded shim) that writes epochs on a
 * flusher thread, looks up what it wrote meanwhile, and notes each durable epoch outside the
 * watched directory. It is killed at a random moment, the power loss is applied, and the store is
 * judged: it opens, verifies clean, stands at an epoch not older than the last one noted, and holds
 * exactly what its seed says, balances included. With `no-sync` the shim swallows syncs; then the
 * loop succeeds only if at least one round was seen to lose something.
 *
 * The last line is "N passed, N failed".
 */
#include "core/machine.h"
#include "storage/store.h"
#include "tests/storage/epoch_maker.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TRANSFERS_MAX     6000u
#define ROUNDS_PER_STORE  8u
#define WRITER_LIFE_MAX_S 60

static _Noreturn void die(const char *what, const char *detail)
{
    fprintf(stderr, "store_crash: %s: %s\n", what, detail);
    exit(2);
}

static enum status open_store(const char *path, struct checkpoint **out, struct store_error *error)
{
    struct store_options options = {
        .path = path, .map_size_bytes = 1ull << 32, .bloom_bytes = 1 << 20};
    memcpy(options.cluster_id, "power-loss-tests", 16);
    return store_open(&options, out, error);
}

/* Requests a minute apart, so that pruning takes part. */
static struct epoch_maker *make_maker(uint64_t seed)
{
    return epoch_maker_create(&(struct epoch_maker_options){
        .seed = seed, .base_accounts = 300, .request_step_ns = 60000000000ull});
}

/* ---- the writer ---- */

static struct checkpoint *store;

static void *flusher(void *argument)
{
    uint64_t wait_ns;
    (void)argument;
    for (;;) {
        enum job_state state = checkpoint_step(store, &wait_ns);
        if (state == JOB_DONE || state == JOB_FAILED)
            return NULL;
        if (state == JOB_IDLE) {
            struct timespec pause = {.tv_nsec = 100000};
            (void)nanosleep(&pause, NULL); /* a shorter sleep does no harm */
        }
    }
}

static void epoch_done(void *context, enum status status, uint64_t durable_index)
{
    int acks = *(int *)context;
    if (status != STATUS_OK)
        die("an epoch failed", status_text(status));
    if (write(acks, &durable_index, sizeof durable_index) != (ssize_t)sizeof durable_index)
        die("cannot note an epoch", strerror(errno));
    *(int *)context = -1;
}

/* Writes epochs for as long as it may live, or `epochs` of them. */
static int writer(const char *path, const char *acks_path, uint64_t seed, uint64_t epochs)
{
    struct store_error error;
    struct checkpoint_meta meta;
    struct ledger_past past;
    struct epoch_maker *maker = make_maker(seed);
    int acks = open(acks_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (acks < 0)
        die(acks_path, strerror(errno));
    if (open_store(path, &store, &error) != STATUS_OK)
        die("cannot open", error.text);
    if (checkpoint_meta(store, &meta) == STATUS_OK)
        while (epoch_maker_epochs(maker) < meta.index / 10) {
            struct epoch_plan plan = epoch_maker_plan(maker, TRANSFERS_MAX);
            struct checkpoint_meta ignored;
            (void)epoch_maker_next(maker, &plan, &ignored);
        }
    pthread_t thread;
    if (pthread_create(&thread, NULL, flusher, NULL) != 0)
        die("cannot start", "flusher");
    checkpoint_past(store, &past);
    time_t end = time(NULL) + WRITER_LIFE_MAX_S;
    for (uint64_t probe = 0; time(NULL) < end && epoch_maker_epochs(maker) < epochs;) {
        struct epoch_plan plan = epoch_maker_plan(maker, TRANSFERS_MAX);
        const struct epoch *epoch = epoch_maker_next(maker, &plan, &meta);
        int done = acks;
        if (checkpoint_submit(store, epoch, &meta, epoch_done, &done) != STATUS_OK)
            die("submit", "refused");
        while (done >= 0) {
            struct transfer_record expected, got;
            uint64_t sequence = (probe += 7919) % (epoch_maker_transfers(maker) + 1);
            made_transfer(maker, sequence, &expected);
            bool found = past.transfer_by_id(past.context, &expected.id, &got);
            if (!found && sequence < epoch->transfer_first)
                die("a durable transfer is not found", "while writing");
            if (found && memcmp(&expected, &got, sizeof got) != 0)
                die("a transfer is wrong", "while writing");
            checkpoint_process(store);
        }
    }
    checkpoint_stop(store);
    if (pthread_join(thread, NULL) != 0)
        die("cannot join", "flusher");
    checkpoint_close(store);
    epoch_maker_destroy(maker);
    (void)close(acks); /* each note was one write */
    return 0;
}

/* ---- the judge ---- */

static void *allocate(void *context, size_t size)
{
    void *memory = NULL;
    (void)context;
    if (posix_memalign(&memory, 64, size) != 0)
        return NULL;
    return memset(memory, 0, size);
}

static void release(void *context, void *memory, size_t size)
{
    (void)context;
    (void)size;
    free(memory);
}

static const char *judge_balances(struct checkpoint *checkpoint, const struct epoch_maker *maker)
{
    struct ledger_past past;
    struct machine *machine = NULL;
    checkpoint_past(checkpoint, &past);
    struct machine_options options = {
        .memory = {.allocate = allocate, .release = release},
        .account_count_max = 1u << 20,
        .epoch_transfer_count_max = REQUEST_EVENTS_MAX,
        .epoch_request_count_max = ENTRY_REQUESTS_MAX,
        .epoch_answer_bytes_max = 1 << 20,
    };
    if (machine_create(&options, &past, &machine) != STATUS_OK)
        die("no memory", "machine");
    const char *wrong = NULL;
    enum status status = checkpoint_restore(checkpoint, machine);
    if (status != STATUS_OK) {
        static struct store_error error;
        store_failure(checkpoint, &error);
        wrong = error.text;
    } else if (machine_account_count(machine) != epoch_maker_accounts(maker)) {
        wrong = "another number of accounts";
    }
    for (uint32_t i = 0; wrong == NULL && i < epoch_maker_accounts(maker); i++) {
        struct account account;
        struct account_record expected;
        made_account(maker, i, &expected);
        if (!machine_account_at(machine, i, &account) ||
            memcmp(&account.record, &expected, sizeof expected) != 0)
            wrong = "an account is wrong";
        else if (memcmp(&account.balance, made_balance(maker, i), sizeof account.balance) != 0)
            wrong = "a balance is wrong";
    }
    machine_destroy(machine);
    return wrong;
}

/* NULL when the store is what it must be. */
static const char *judge(const char *path, uint64_t acked, uint64_t seed, uint64_t *out_index)
{
    static struct store_error error;
    struct checkpoint *checkpoint = NULL;
    struct checkpoint_meta meta = {0};
    *out_index = 0;
    if (open_store(path, &checkpoint, &error) != STATUS_OK)
        return error.text;
    const char *wrong = NULL;
    struct epoch_maker *maker = make_maker(seed);
    enum status status = checkpoint_meta(checkpoint, &meta);
    *out_index = status == STATUS_OK ? meta.index : 0;
    if (*out_index < acked)
        wrong = "an epoch noted as durable is lost";
    struct checkpoint_meta expected = {0};
    while (wrong == NULL && epoch_maker_epochs(maker) * 10 < *out_index) {
        struct epoch_plan plan = epoch_maker_plan(maker, TRANSFERS_MAX);
        (void)epoch_maker_next(maker, &plan, &expected);
    }
    if (wrong == NULL && *out_index > 0) {
        struct ledger_past past;
        uint64_t window = REQUEST_WINDOW_NS / 60000000000ull, made = epoch_maker_requests(maker);
        checkpoint_past(checkpoint, &past);
        if (memcmp(&meta, &expected, sizeof meta) != 0)
            wrong = "the meta record is wrong";
        else if ((wrong = made_check_past(maker, &past, 3, made > window ? made - window : 0)) ==
                 NULL)
            wrong = judge_balances(checkpoint, maker);
    }
    epoch_maker_destroy(maker);
    checkpoint_close(checkpoint);
    if (wrong == NULL && store_verify(path, &error, NULL, NULL) != STATUS_OK)
        wrong = error.text;
    return wrong;
}

/* ---- the loop ---- */

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *position)
{
    (void)info;
    (void)type;
    (void)position;
    return remove(path);
}

static uint64_t last_ack(const char *path)
{
    uint64_t ack = 0;
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (fstat(fd, &info) == 0 && info.st_size >= (off_t)sizeof ack) {
        off_t whole = info.st_size / (off_t)sizeof ack * (off_t)sizeof ack;
        if (pread(fd, &ack, sizeof ack, whole - (off_t)sizeof ack) != (ssize_t)sizeof ack)
            die(path, "cannot read");
    }
    (void)close(fd);
    return ack;
}

static bool run(char *const arguments[])
{
    int status;
    pid_t pid = fork();
    if (pid < 0)
        die("fork", strerror(errno));
    if (pid == 0) {
        execv(arguments[0], arguments);
        _exit(127);
    }
    if (waitpid(pid, &status, 0) != pid)
        die("waitpid", strerror(errno));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct place {
    char base[64], store[96], log[96], acks[96];
};

static void place_make(struct place *place)
{
    snprintf(place->base, sizeof place->base, "/tmp/tally-crash-XXXXXX");
    if (mkdtemp(place->base) == NULL)
        die("mkdtemp", strerror(errno));
    snprintf(place->store, sizeof place->store, "%s/store", place->base);
    snprintf(place->log, sizeof place->log, "%s/log", place->base);
    snprintf(place->acks, sizeof place->acks, "%s/acks", place->base);
    if (mkdir(place->store, 0700) != 0 || mkdir(place->log, 0700) != 0)
        die("mkdir", strerror(errno));
}

static void place_remove(const struct place *place)
{
    if (nftw(place->base, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        die("cannot remove", place->base);
}

/* Runs the writer for `life_us` and kills it. False when it ended by itself. */
static bool live_and_die(char *self, const char *library, const struct place *place, uint64_t seed,
                         bool no_sync, unsigned life_us)
{
    char seed_text[32], store_path[96], acks[96];
    snprintf(seed_text, sizeof seed_text, "%" PRIu64, seed);
    memcpy(store_path, place->store, sizeof store_path);
    memcpy(acks, place->acks, sizeof acks);
    int status;
    pid_t pid = fork();
    if (pid < 0)
        die("fork", strerror(errno));
    if (pid == 0) {
        setenv("LD_PRELOAD", library, 1);
        setenv("TALLY_POWERLOSS_DIR", place->store, 1);
        setenv("TALLY_POWERLOSS_LOG", place->log, 1);
        if (no_sync)
            setenv("TALLY_POWERLOSS_NO_SYNC", "1", 1);
        char word[] = "write";
        char *arguments[] = {self, word, store_path, acks, seed_text, NULL};
        execv(self, arguments);
        _exit(127);
    }
    usleep(life_us);
    (void)kill(pid, SIGKILL); /* it may have ended: seen below */
    if (waitpid(pid, &status, 0) != pid)
        die("waitpid", strerror(errno));
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static int loop(char *self, const char *library, char *apply, unsigned rounds, uint64_t seed,
                bool no_sync)
{
    unsigned passed = 0, failed = 0;
    unsigned per_store = no_sync ? 1 : ROUNDS_PER_STORE; /* what is lost once stays lost */
    struct place place;
    srandom((unsigned)seed);
    printf("store_crash: seed %" PRIu64 ", %u rounds%s\n", seed, rounds,
           no_sync ? ", syncs switched off" : "");
    /* Without syncs: as many as it takes until one had something to lose; on a slow machine writers
     * may be killed before that. */
    for (unsigned round = 0; round < rounds || (no_sync && failed == 0 && round < 10 * rounds);
         round++) {
        uint64_t content = seed * 1000 + round / per_store, index = 0;
        if (round % per_store == 0)
            place_make(&place);
        unsigned life_us = 5000 + (unsigned)random() % 250000;
        const char *wrong = NULL;
        char seed_text[32];
        snprintf(seed_text, sizeof seed_text, "%" PRIu64, content * 100 + round);
        char *arguments[] = {apply, place.log, place.store, seed_text, NULL};
        if (!live_and_die(self, library, &place, content, no_sync, life_us))
            wrong = "the writer ended by itself (see above)";
        else if (!run(arguments))
            wrong = "powerloss-apply failed";
        uint64_t acked = last_ack(place.acks);
        if (wrong == NULL)
            wrong = judge(place.store, acked, content, &index);
        printf("round %u: noted %" PRIu64 ", stands at %" PRIu64 ": %s\n", round, acked, index,
               wrong == NULL ? "ok" : wrong);
        (void)fflush(stdout); /* progress only */
        passed += wrong == NULL;
        failed += wrong != NULL;
        if (wrong != NULL && !no_sync) {
            printf("kept for a look: %s\n", place.base);
            break;
        }
        if ((round + 1) % per_store == 0 || round + 1 >= rounds)
            place_remove(&place);
    }
    bool right = no_sync ? failed > 0 : failed == 0;
    if (no_sync) /* that rounds lose something is what this run is there to show */
        printf("without syncs %u rounds lost something, %u did not\n", failed, passed);
    printf("%u passed, %u failed\n", no_sync ? failed : passed, right ? 0 : 1);
    return right ? 0 : 1;
}

/* No failure at all: flusher and loop at work on two threads, for the thread sanitizer to watch. */
static int threads(uint64_t epochs, uint64_t seed)
{
    struct place place;
    uint64_t index;
    place_make(&place);
    (void)writer(place.store, place.acks, seed, epochs);
    uint64_t acked = last_ack(place.acks);
    const char *wrong = judge(place.store, acked, seed, &index);
    place_remove(&place);
    if (wrong == NULL && index != epochs * 10)
        wrong = "not all epochs were written in time";
    printf("%s\n%d passed, %d failed\n", wrong == NULL ? "ok" : wrong, wrong == NULL,
           wrong != NULL);
    return wrong == NULL ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "write") == 0)
        return writer(argv[2], argv[3], strtoull(argv[4], NULL, 10), UINT64_MAX);
    if (argc == 4 && strcmp(argv[1], "threads") == 0)
        return threads(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    if (argc >= 6 && strcmp(argv[1], "loop") == 0)
        return loop(argv[0], argv[2], argv[3], (unsigned)strtoul(argv[4], NULL, 10),
                    strtoull(argv[5], NULL, 10), argc == 7 && strcmp(argv[6], "no-sync") == 0);
    fprintf(stderr, "usage: store_crash loop LIBPOWERLOSS POWERLOSS_APPLY ROUNDS SEED [no-sync]\n"
                    "       store_crash threads EPOCHS SEED\n");
    return 2;
}
