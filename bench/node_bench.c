/*
 * What a node does without a network: transfers per second through node_propose, latency of
 * requests, and the time a restart takes. Real threads, real files, every answer durable.
 *
 *     node_bench DIRECTORY [TRANSFERS [ACCOUNTS]]      defaults: 5 000 000 and 10 000
 *
 * DIRECTORY is created and left behind (it says how large it is). The restarts are measured by
 * processes of their own: one after a clean stop, one after an end without any stop (_exit).
 */
#include "core/bounds.h"
#include "replication/environment.h"
#include "replication/node/node.h"
#include "replication/node/propose.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LEDGER        1
#define NS_PER_MS     1000000ull
#define NS_PER_S      1000000000ull
#define SLOTS_MAX     2048
#define LATENCIES_MAX 2000000

struct loop {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool woken;
    struct node *node;
};

struct slot {
    struct node_request node; /* first */
    struct request_header *request;
    uint64_t sent_ns;
    bool busy;
};

struct load {
    uint64_t next_id;
    uint32_t accounts;
    uint64_t seed;
    uint64_t answered;
    uint64_t failed;
    uint64_t *latencies;
    uint32_t latency_count;
    uint32_t busy;
    uint64_t refused;
};

static struct load load;
static struct slot slots[SLOTS_MAX];

static uint64_t now_ns(void)
{
    return environment_real()->monotonic_ns(NULL);
}

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "node_bench: %s: %s\n", what, why);
    exit(1);
}

/* ---- the loop ---- */

static void wake(void *context)
{
    struct loop *loop = context;
    pthread_mutex_lock(&loop->mutex);
    loop->woken = true;
    pthread_cond_signal(&loop->changed);
    pthread_mutex_unlock(&loop->mutex);
}

static void turn(struct loop *loop)
{
    uint64_t wait_ms = node_wait_ms(loop->node);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + wait_ms * NS_PER_MS;
    until.tv_sec += (time_t)(ns / NS_PER_S);
    until.tv_nsec = (long)(ns % NS_PER_S);
    pthread_mutex_lock(&loop->mutex);
    while (!loop->woken && wait_ms > 0 &&
           pthread_cond_timedwait(&loop->changed, &loop->mutex, &until) != ETIMEDOUT)
        continue;
    loop->woken = false;
    pthread_mutex_unlock(&loop->mutex);
    node_process(loop->node);
    struct node_status status;
    node_status(loop->node, &status);
    if (status.phase == NODE_FAILED)
        die("the node failed", status.error.text);
}

static void report_event(void *context, const char *name, const char *text, uint64_t a, uint64_t b)
{
    (void)context;
    if (getenv("NODE_BENCH_EVENTS") != NULL)
        fprintf(stderr, "  %s %" PRIu64 " %" PRIu64 " (%s)\n", name, a, b, text);
}

static struct node_options options_for(struct loop *loop, const char *directory)
{
    return (struct node_options){
        .directory = directory,
        .journal_segment_size = 64u << 20,
        .epoch_transfer_count_max = EPOCH_TRANSFERS_DEFAULT,
        .account_count_max = ACCOUNTS_MAX,
        .bloom_bytes = 256u << 20,
        .store_map_size_bytes = 1ull << 40,
        .checkpoint_interval_ms = 1000,
        .disk_watermark_bytes = 256u << 20,
        .in_flight_entries_max = 4,
        .waiting_requests_max = 4096,
        .waiting_bytes_max = 64u << 20,
        .wake_context = loop,
        .wake_loop = wake,
        .event = report_event,
    };
}

/* Seconds until the node serves. */
static double serve(struct loop *loop, const char *directory)
{
    uint64_t start = now_ns();
    struct node_options options = options_for(loop, directory);
    struct node_error error;
    pthread_mutex_init(&loop->mutex, NULL);
    pthread_cond_init(&loop->changed, NULL);
    if (node_open(&options, &loop->node, &error) != STATUS_OK ||
        node_start(loop->node, &error) != STATUS_OK)
        die("start", error.text);
    struct node_status status = {0};
    while (status.phase != NODE_SERVING) {
        turn(loop);
        node_status(loop->node, &status);
    }
    return (double)(now_ns() - start) / (double)NS_PER_S;
}

static void stop(struct loop *loop)
{
    node_drain(loop->node);
    struct node_status status = {0};
    while (status.phase != NODE_STOPPED) {
        turn(loop);
        node_status(loop->node, &status);
    }
    if (!node_close(loop->node))
        _exit(1); /* a thread hangs in the disk, with our memory in its hands */
}

/* ---- requests ---- */

static struct id128 id_of(uint64_t kind, uint64_t number)
{
    /* Spread like random ids: the order of ids must not help the store. */
    struct id128 id;
    uint64_t mixed = number * 0x9e3779b97f4a7c15ull;
    memcpy(id.bytes, &mixed, 8);
    uint64_t high = kind ^ (number << 8);
    memcpy(id.bytes + 8, &high, 8);
    return id;
}

static void answered(struct node_request *node, enum status status, const struct answer *answer)
{
    struct slot *slot = (struct slot *)node;
    slot->busy = false;
    load.busy--;
    if (status == STATUS_BUSY) {
        load.refused++;
        return;
    }
    if (status != STATUS_OK)
        die("request", status_text(status));
    for (uint32_t i = 0; i < answer->event_count; i++)
        load.failed += answer->outcome != OUTCOME_EXECUTED || answer->results[i] != RESULT_OK;
    load.answered += answer->event_count;
    if (load.latency_count < LATENCIES_MAX)
        load.latencies[load.latency_count++] = now_ns() - slot->sent_ns;
}

static void finish(struct request_header *request, uint32_t principal)
{
    request->issued_at_ns = environment_real()->wall_ns(NULL);
    environment_real()->random(NULL, request->nonce, sizeof request->nonce);
    request_seal(request, principal);
}

static void fill_transfers(struct request_header *request, uint32_t count)
{
    memset(request, 0, sizeof *request + count * sizeof(struct transfer_event));
    request->operation = OPERATION_CREATE_TRANSFERS;
    request->event_count = count;
    struct transfer_event *events = (struct transfer_event *)(request + 1);
    for (uint32_t i = 0; i < count; i++) {
        load.seed = load.seed * 6364136223846793005ull + 1442695040888963407ull;
        uint64_t debit = (load.seed >> 33) % load.accounts;
        events[i].id = id_of(0x7261, load.next_id++);
        events[i].debit_account_id = id_of(0xacc, debit);
        events[i].credit_account_id = id_of(0xacc, (debit + 1 + i % 100) % load.accounts);
        events[i].amount_low = 1 + i % 1000;
        events[i].ledger = LEDGER;
        events[i].code = 1;
    }
    finish(request, 1);
}

static void send(struct loop *loop, struct slot *slot)
{
    slot->node = (struct node_request){.request = slot->request, .cb = answered};
    slot->sent_ns = now_ns();
    slot->busy = true;
    load.busy++;
    enum status status = node_propose(loop->node, &slot->node);
    if (status == STATUS_OK)
        return;
    slot->busy = false;
    load.busy--;
    load.refused++;
    if (status != STATUS_BUSY)
        die("propose", status_text(status));
}

static void run_one(struct loop *loop, struct slot *slot)
{
    send(loop, slot);
    while (slot->busy)
        turn(loop);
}

static void create_ledger_and_accounts(struct loop *loop)
{
    struct slot *slot = &slots[0];
    struct request_header *request = slot->request;
    memset(request, 0, ENTRY_SIZE_MAX);
    request->operation = OPERATION_CREATE_LEDGERS;
    request->event_count = 1;
    struct ledger_event *ledger = (struct ledger_event *)(request + 1);
    *ledger = (struct ledger_event){.id = LEDGER, .exponent = 2, .name_size = 1};
    memcpy(ledger->currency, "EUR", 4);
    ledger->name[0] = 'x';
    finish(request, 0);
    run_one(loop, slot);
    for (uint32_t done = 0; done < load.accounts;) {
        uint32_t count = load.accounts - done < 8000 ? load.accounts - done : 8000;
        memset(request, 0, ENTRY_SIZE_MAX);
        request->operation = OPERATION_CREATE_ACCOUNTS;
        request->event_count = count;
        struct account_event *events = (struct account_event *)(request + 1);
        for (uint32_t i = 0; i < count; i++)
            events[i] =
                (struct account_event){.id = id_of(0xacc, done + i), .ledger = LEDGER, .code = 1};
        finish(request, 0);
        run_one(loop, slot);
        done += count;
    }
}

/* ---- measuring ---- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_ms(uint32_t percent)
{
    if (load.latency_count == 0)
        return 0;
    uint64_t place = (uint64_t)load.latency_count * percent / 100;
    if (place >= load.latency_count)
        place = load.latency_count - 1;
    return (double)load.latencies[place] / (double)NS_PER_MS;
}

/* `outstanding` requests of `batch` transfers until `total` are answered or the time is over. */
static void run_load(struct loop *loop, uint32_t batch, uint32_t outstanding, uint64_t total,
                     uint64_t limit_s)
{
    load.answered = 0;
    load.latency_count = 0;
    load.refused = 0;
    uint64_t start = now_ns();
    uint64_t sent = 0;
    while (load.busy > 0 || (sent < total && now_ns() - start < limit_s * NS_PER_S)) {
        for (uint32_t i = 0; i < outstanding && sent < total; i++) {
            if (slots[i].busy)
                continue;
            fill_transfers(slots[i].request, batch);
            send(loop, &slots[i]);
            sent += slots[i].busy ? batch : 0;
        }
        if (now_ns() - start >= limit_s * NS_PER_S)
            total = sent;
        turn(loop);
    }
    double seconds = (double)(now_ns() - start) / (double)NS_PER_S;
    qsort(load.latencies, load.latency_count, sizeof load.latencies[0], compare);
    printf("batch %4" PRIu32 " x %4" PRIu32 " outstanding: %9.0f transfers/s  (%" PRIu64
           " in %.1f s; request p50 %.2f ms, p99 %.2f ms, max %.2f ms; %" PRIu64 " refused busy)\n",
           batch, outstanding, (double)load.answered / seconds, load.answered, seconds,
           percentile_ms(50), percentile_ms(99), percentile_ms(100), load.refused);
    fflush(stdout);
}

static void report_memory(const char *when)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%s: peak resident %ld MiB\n", when, usage.ru_maxrss / 1024);
    fflush(stdout);
}

/* In a child, so that each start begins with nothing in memory. */
static void restart(const char *directory, const char *what, bool clean_end)
{
    pid_t child = fork();
    if (child < 0)
        die("fork", strerror(errno));
    if (child == 0) {
        struct loop loop = {0};
        double seconds = serve(&loop, directory);
        struct node_status status;
        node_status(loop.node, &status);
        printf("restart %s: %.2f s to serving, %" PRIu64 " transfers\n", what, seconds,
               machine_transfer_count(node_machine(loop.node)));
        report_memory("  after restart");
        if (clean_end)
            stop(&loop);
        _exit(0);
    }
    int ended = 0;
    if (waitpid(child, &ended, 0) != child || ended != 0)
        die("restart", "the child failed");
}

static void fill(const char *directory, uint64_t transfers)
{
    struct loop loop = {0};
    (void)serve(&loop, directory);
    create_ledger_and_accounts(&loop);
    load.failed = 0;
    run_load(&loop, REQUEST_EVENTS_MAX, 8, transfers, 60);
    run_load(&loop, 1, SLOTS_MAX, UINT64_MAX, 4);
    run_load(&loop, 1, 64, UINT64_MAX, 4);
    run_load(&loop, 1, 1, UINT64_MAX, 2);
    struct node_status status;
    node_status(loop.node, &status);
    printf("failed events %" PRIu64 "; store %.1f MiB for %" PRIu64
           " checkpointed transfers, journal %.1f MiB, replay would start at %" PRIu64
           " of %" PRIu64 "\n",
           load.failed, (double)status.checkpoint.bytes_used / (1 << 20),
           status.checkpoint.transfer_count, (double)status.journal.bytes / (1 << 20),
           status.durable_index + 1, status.applied_index);
    report_memory("load");
    _exit(0); /* no drain: the next start has to replay */
}

static void initialize(const char *directory)
{
    struct principal_event principals[3] = {
        {.role = ROLE_BUSINESS_OPERATOR, .uri_size = 8, .name_size = 4},
        {.role = ROLE_CHANNEL, .uri_size = 7, .name_size = 3},
    };
    memcpy(principals[0].name, "bank", 4);
    memcpy(principals[0].uri, "uri:bank", 8);
    memcpy(principals[1].name, "app", 3);
    memcpy(principals[1].uri, "uri:app", 7);
    principals[2] = (struct principal_event){
        .role = ROLE_SITE_OPERATOR, .uri_size = 12, .name_size = 8, .name = "operator"};
    memcpy(principals[2].uri, "uri:operator", 12);
    struct node_init_options options = {
        .directory = directory,
        .journal_segment_size = 64u << 20,
        .reserve_bytes = 64u << 20,
        .node_id = 1,
        .principals = principals,
        .principal_count = 3,
    };
    struct node_error error;
    if (node_init(&options, &error) != STATUS_OK)
        die("init", error.text);
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 4) {
        fprintf(stderr, "usage: node_bench DIRECTORY [TRANSFERS [ACCOUNTS]]\n");
        return 2;
    }
    uint64_t transfers = argc > 2 ? strtoull(argv[2], NULL, 10) : 5000000;
    load.accounts = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 10000;
    if (transfers == 0 || load.accounts < 200 || load.accounts > ACCOUNTS_MAX) {
        fprintf(stderr, "node_bench: at least 1 transfer and 200 to %u accounts\n", ACCOUNTS_MAX);
        return 2;
    }
    load.seed = 1;
    load.latencies = calloc(LATENCIES_MAX, sizeof load.latencies[0]);
    if (load.latencies == NULL)
        die("memory", "refused");
    for (uint32_t i = 0; i < SLOTS_MAX; i++) {
        /* Only the first slots ever hold large batches; untouched pages cost nothing. */
        slots[i].request = aligned_alloc(64, i < 64 ? ENTRY_SIZE_MAX : 4096);
        if (slots[i].request == NULL)
            die("memory", "refused");
    }
    initialize(argv[1]);
    pid_t child = fork();
    if (child < 0)
        die("fork", strerror(errno));
    if (child == 0)
        fill(argv[1], transfers);
    int ended = 0;
    if (waitpid(child, &ended, 0) != child || ended != 0)
        die("load", "the child failed");
    restart(argv[1], "after a crash (journal replayed behind the checkpoint)", true);
    restart(argv[1], "after a clean stop", true);
    return 0;
}
