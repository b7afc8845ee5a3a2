/*
 * Workers and their requests. A worker owns a client, and `in_flight` slots with an array of
 * transfers each; a slot is filled, submitted, and free again in the callback. Nothing is shared
 * between workers but the number of requests left, so the generator scales with its threads and its
 * own cost is one pass over the batch.
 *
 * Ids are a random prefix of the run, the worker's number and a counter: unique without
 * coordination, and as spread as real ones for the ledger's indexes, since the counter is mixed.
 */
#include "bench/load.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000ull
#define IDS_KEPT  4096 /* of acknowledged transfers, until they are written */

struct worker;

/* What workers share. */
struct shared {
    atomic_uint_fast64_t requests_left;
    atomic_bool stop;
};

struct slot {
    struct tally_call call; /* call.user is the slot */
    struct worker *worker;
    struct slot *next_free;
    uint64_t begin_ns; /* submitted, or due in the open loop */
    struct tally_new_transfer *transfers;
    uint8_t *results;
};

struct worker {
    const struct load_options *options;
    uint32_t number;
    uint64_t run; /* random prefix of all ids of this run */
    uint64_t id_counter;
    uint64_t random[2];
    uint64_t count_from_ns, end_ns; /* counted part */
    struct shared *shared;
    struct tally_client *client;
    struct slot *slots;
    struct slot *free_slots;
    struct load_result result;
    struct tally_id *acknowledged; /* IDS_KEPT */
    size_t acknowledged_count;
    pthread_t thread;
    enum tally_status status;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* splitmix64: a bijection that spreads neighbours. */
static uint64_t mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15ull;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

/* xorshift128+; quality enough to choose accounts. */
static uint64_t draw(struct worker *worker)
{
    uint64_t a = worker->random[0], b = worker->random[1];
    worker->random[0] = b;
    a ^= a << 23;
    worker->random[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
    return worker->random[1] + b;
}

static uint32_t draw_below(struct worker *worker, uint32_t bound)
{
    return (uint32_t)(((draw(worker) >> 32) * bound) >> 32);
}

static struct tally_id account_id(uint32_t number)
{
    struct tally_id id = {{0}};
    for (int i = 0; i < 4; i++)
        id.bytes[15 - i] = (uint8_t)(number >> (8 * i));
    return id;
}

/* ---- preparing ---- */

#define PREPARE_BATCH 4000

enum tally_status load_prepare(const struct tally_options *business, uint32_t ledger,
                               uint32_t accounts, struct tally_error *out_error)
{
    struct tally_client *client;
    enum tally_status status = tally_client_create(business, &client, out_error);
    if (status != TALLY_OK)
        return status;

    static struct tally_new_account batch[PREPARE_BATCH];
    static uint8_t results[PREPARE_BATCH];
    struct tally_call call = {.deadline_ms = 30000};
    struct tally_new_ledger made = {
        .id = ledger, .exponent = 2, .currency = "EUR", .name = "Bench"};
    status = tally_identity_new(&call.identity);
    if (status == TALLY_OK)
        status = tally_create_ledgers(client, &call, &made, 1, results);
    for (uint32_t first = 1; status == TALLY_OK && first <= accounts; first += PREPARE_BATCH) {
        uint32_t count =
            accounts - first + 1 < PREPARE_BATCH ? accounts - first + 1 : PREPARE_BATCH;
        for (uint32_t i = 0; i < count; i++)
            batch[i] = (struct tally_new_account){
                .id = account_id(first + i), .ledger = ledger, .code = 1};
        call = (struct tally_call){.deadline_ms = 30000};
        status = tally_identity_new(&call.identity);
        if (status == TALLY_OK)
            status = tally_create_accounts(client, &call, batch, count, results);
        for (uint32_t i = 0; status == TALLY_OK && i < count; i++) {
            if (results[i] == TALLY_RESULT_OK || results[i] == TALLY_RESULT_EXISTS)
                continue;
            status = TALLY_REFUSED;
            snprintf(call.error.text, sizeof call.error.text, "account %u: %s", first + i,
                     tally_result_explanation(results[i]));
        }
    }
    if (status != TALLY_OK)
        *out_error = call.error;
    tally_client_destroy(client);
    return status;
}

/* ---- one worker ---- */

static void fill(struct worker *worker, struct slot *slot)
{
    const struct load_options *options = worker->options;
    for (uint32_t i = 0; i < options->batch; i++) {
        struct tally_new_transfer *transfer = &slot->transfers[i];
        uint64_t low = mix(((uint64_t)worker->number << 48) ^ worker->id_counter++);
        memcpy(transfer->id.bytes, &worker->run, 8);
        memcpy(transfer->id.bytes + 8, &low, 8);
        uint32_t debit = draw_below(worker, 100) < options->hot_percent
                             ? 0
                             : draw_below(worker, options->accounts);
        /* Any account but the debited one. */
        uint32_t credit =
            (debit + 1 + draw_below(worker, options->accounts - 1)) % options->accounts;
        transfer->debit_account_id = account_id(debit + 1);
        transfer->credit_account_id = account_id(credit + 1);
        transfer->amount.low = 1 + draw_below(worker, 100000);
        transfer->ledger = options->ledger;
        transfer->code = 1;
    }
}

static void note_failure(struct load_result *result, enum tally_status status, const char *text)
{
    if (status == TALLY_REFUSED)
        result->requests_refused++;
    else if (status == TALLY_UNKNOWN)
        result->requests_unknown++;
    else
        result->requests_not_sent++;
    if (result->error[0] == 0)
        snprintf(result->error, sizeof result->error, "%s: %s", tally_status_text(status), text);
}

/* Appends in whole ids: the file is opened with O_APPEND and shared by all workers. */
static void write_acknowledged(struct worker *worker)
{
    const char *bytes = (const char *)worker->acknowledged;
    size_t size = worker->acknowledged_count * sizeof *worker->acknowledged;
    worker->acknowledged_count = 0;
    ssize_t written = size > 0 ? write(worker->options->acknowledged_fd, bytes, size) : 0;
    if (written != (ssize_t)size && worker->result.error[0] == 0) {
        snprintf(worker->result.error, sizeof worker->result.error,
                 "the ids of acknowledged transfers could not be written: %s",
                 written < 0 ? strerror(errno) : "no room");
        worker->result.requests_not_sent++; /* so that the run counts as failed */
    }
}

static void keep_acknowledged(struct worker *worker, const struct slot *slot)
{
    for (uint32_t i = 0; i < worker->options->batch; i++) {
        if (slot->results[i] != TALLY_RESULT_OK)
            continue;
        worker->acknowledged[worker->acknowledged_count++] = slot->transfers[i].id;
        if (worker->acknowledged_count == IDS_KEPT)
            write_acknowledged(worker);
    }
}

static void request_cb(struct tally_call *call, enum tally_status status)
{
    struct slot *slot = call->user;
    struct worker *worker = slot->worker;
    struct load_result *result = &worker->result;
    uint64_t now = now_ns();

    slot->next_free = worker->free_slots;
    worker->free_slots = slot;
    if (status != TALLY_OK) {
        note_failure(result, status, call->error.text);
        return;
    }
    if (worker->acknowledged != NULL)
        keep_acknowledged(worker, slot);
    if (now < worker->count_from_ns) {
        result->warmup_requests++;
        return;
    }
    if (now > worker->end_ns) /* ended after the counted part */
        return;
    result->requests++;
    histogram_record(&result->latency_us, (now - slot->begin_ns) / 1000);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < worker->options->batch; i++) {
        if (slot->results[i] == TALLY_RESULT_OK)
            continue;
        if (refused++ == 0 && result->refusal[0] == 0)
            snprintf(result->refusal, sizeof result->refusal, "%s",
                     tally_result_explanation(slot->results[i]));
    }
    result->transfers_refused += refused;
    result->transfers_posted += worker->options->batch - refused;
}

/* Fills and submits one request; false when none is left to be sent, or it could not be. */
static bool submit(struct worker *worker, uint64_t begin_ns)
{
    if (worker->options->request_max > 0) {
        uint64_t left = atomic_load(&worker->shared->requests_left);
        do {
            if (left == 0)
                return false;
        } while (!atomic_compare_exchange_weak(&worker->shared->requests_left, &left, left - 1));
    }
    struct slot *slot = worker->free_slots;
    worker->free_slots = slot->next_free;
    fill(worker, slot);
    slot->call = (struct tally_call){.user = slot};
    slot->begin_ns = begin_ns ? begin_ns : now_ns();
    enum tally_status status = tally_identity_new(&slot->call.identity);
    if (status == TALLY_OK)
        status = tally_submit_transfers(worker->client, &slot->call, slot->transfers,
                                        worker->options->batch, slot->results, request_cb);
    if (status != TALLY_OK) {
        note_failure(&worker->result, status, slot->call.error.text);
        slot->next_free = worker->free_slots;
        worker->free_slots = slot;
    }
    return status == TALLY_OK; /* what could not even be submitted will not be later either */
}

static void sleep_ns(uint64_t ns)
{
    struct timespec wait = {.tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS)};
    (void)nanosleep(&wait, NULL); /* waking early only means looking at the clock again */
}

static void *worker_run(void *context)
{
    struct worker *worker = context;
    const struct load_options *options = worker->options;
    uint64_t interval = 0, due = 0;
    if (options->rate > 0) {
        interval = SECOND_NS * options->batch * options->connections / options->rate;
        due = now_ns() + interval * worker->number / options->connections;
    }
    bool more = true;
    while (more || tally_in_flight(worker->client) > 0) {
        uint64_t now = now_ns();
        more = more && now < worker->end_ns && !atomic_load(&worker->shared->stop) &&
               (options->interrupted == NULL || *options->interrupted == 0);
        while (more && worker->free_slots && (interval == 0 || due <= now)) {
            more = submit(worker, due);
            due += interval;
        }
        uint64_t wait = SECOND_NS / 10;
        if (more && interval > 0 && worker->free_slots)
            wait = due > now ? due - now : 0;
        if (tally_in_flight(worker->client) > 0)
            (void)tally_wait(worker->client, (uint32_t)((wait + 999999) / 1000000));
        else if (more)
            sleep_ns(wait < SECOND_NS / 100 ? wait : SECOND_NS / 100);
    }
    if (worker->acknowledged != NULL)
        write_acknowledged(worker);
    return NULL;
}

/* ---- all workers ---- */

static void worker_deinit(struct worker *worker)
{
    tally_client_destroy(worker->client);
    for (uint32_t i = 0; worker->slots && i < worker->options->in_flight; i++) {
        free(worker->slots[i].transfers);
        free(worker->slots[i].results);
    }
    free(worker->slots);
    free(worker->acknowledged);
}

static enum tally_status worker_init(struct worker *worker, struct tally_error *out_error)
{
    const struct load_options *options = worker->options;
    histogram_init(&worker->result.latency_us);
    worker->random[0] = mix(options->seed + worker->number);
    worker->random[1] = mix(worker->random[0]) | 1;
    struct tally_options client = options->client;
    client.in_flight_max = options->in_flight;
    worker->slots = calloc(options->in_flight, sizeof *worker->slots);
    if (worker->slots == NULL)
        goto no_memory;
    if (options->acknowledged_fd > 0) {
        worker->acknowledged = calloc(IDS_KEPT, sizeof *worker->acknowledged);
        if (worker->acknowledged == NULL)
            goto no_memory;
    }
    for (uint32_t i = 0; i < options->in_flight; i++) {
        struct slot *slot = &worker->slots[i];
        slot->worker = worker;
        slot->transfers = calloc(options->batch, sizeof *slot->transfers);
        slot->results = calloc(options->batch, 1);
        if (slot->transfers == NULL || slot->results == NULL)
            goto no_memory;
        slot->next_free = worker->free_slots;
        worker->free_slots = slot;
    }
    return tally_client_create(&client, &worker->client, out_error);

no_memory:
    snprintf(out_error->text, sizeof out_error->text,
             "not enough memory for %u requests of %u transfers on each of %u connections",
             options->in_flight, options->batch, options->connections);
    return out_error->status = TALLY_NO_MEMORY;
}

static void merge(struct load_result *into, const struct load_result *from)
{
    into->requests += from->requests;
    into->transfers_posted += from->transfers_posted;
    into->transfers_refused += from->transfers_refused;
    into->requests_refused += from->requests_refused;
    into->requests_unknown += from->requests_unknown;
    into->requests_not_sent += from->requests_not_sent;
    into->warmup_requests += from->warmup_requests;
    histogram_merge(&into->latency_us, &from->latency_us);
    if (into->error[0] == 0)
        memcpy(into->error, from->error, sizeof into->error);
    if (into->refusal[0] == 0)
        memcpy(into->refusal, from->refusal, sizeof into->refusal);
}

enum tally_status load_run(const struct load_options *options, struct load_result *out,
                           struct tally_error *out_error)
{
    enum tally_status status = TALLY_OK;
    uint32_t ready = 0, started = 0;
    uint64_t run;
    struct worker *workers = calloc(options->connections, sizeof *workers);
    if (workers == NULL || getrandom(&run, sizeof run, 0) != sizeof run) {
        snprintf(out_error->text, sizeof out_error->text, "no memory or no random numbers: %s",
                 strerror(errno));
        free(workers);
        return out_error->status = TALLY_SYSTEM;
    }
    struct shared shared = {.requests_left = options->request_max};
    for (; status == TALLY_OK && ready < options->connections; ready++) {
        workers[ready] =
            (struct worker){.options = options, .number = ready, .run = run, .shared = &shared};
        status = worker_init(&workers[ready], out_error);
    }
    uint64_t begin = now_ns();
    for (; status == TALLY_OK && started < options->connections; started++) {
        workers[started].count_from_ns = begin + options->warmup_ns;
        workers[started].end_ns =
            options->request_max ? UINT64_MAX : begin + options->warmup_ns + options->duration_ns;
        int error = pthread_create(&workers[started].thread, NULL, worker_run, &workers[started]);
        if (error != 0) {
            snprintf(out_error->text, sizeof out_error->text, "cannot start a thread: %s",
                     strerror(error));
            status = out_error->status = TALLY_SYSTEM;
            atomic_store(&shared.stop, true); /* those already running end */
            break;
        }
    }
    memset(out, 0, sizeof *out);
    histogram_init(&out->latency_us);
    for (uint32_t i = 0; i < started; i++)
        (void)pthread_join(workers[i].thread, NULL); /* joinable and ours: cannot fail */
    uint64_t end = now_ns();
    for (uint32_t i = 0; i < ready; i++) {
        if (status == TALLY_OK)
            merge(out, &workers[i].result);
        worker_deinit(&workers[i]);
    }
    bool cut_short = options->interrupted != NULL && *options->interrupted != 0;
    out->elapsed_ns =
        options->request_max ? end - begin - options->warmup_ns : options->duration_ns;
    if (cut_short && end - begin < options->warmup_ns + options->duration_ns)
        out->elapsed_ns = end - begin > options->warmup_ns ? end - begin - options->warmup_ns : 1;
    free(workers);
    return status;
}
