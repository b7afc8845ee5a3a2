/*
 * What one transfer costs in apply, alone: no journal, no storage, no network.
 *
 *     bench_apply [accounts] [transfers] [batch]       default 1000000 4000000 8190
 *
 * Entries are built outside the measured time. Ids are uniform random, accounts uniform. The past
 * is empty; an epoch is frozen and released whenever the memtable is full, and its pause shown
 * apart. One core, one run, a few seconds.
 */
#include "core/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void *allocate(void *context, size_t size)
{
    (void)context;
    void *pointer = mmap(NULL, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return pointer == MAP_FAILED ? NULL : pointer;
}

static void release(void *context, void *pointer, size_t size)
{
    (void)context;
    munmap(pointer, size);
}

static bool no_transfer_by_id(void *context, const struct id128 *id, struct transfer_record *out)
{
    (void)context, (void)id, (void)out;
    return false;
}

static bool no_transfer_by_sequence(void *context, uint64_t sequence, struct transfer_record *out)
{
    (void)context, (void)sequence, (void)out;
    return false;
}

static bool no_request(void *context, uint32_t principal_name, const uint8_t nonce[16],
                       struct request_record *out, uint8_t *answer)
{
    (void)context, (void)principal_name, (void)nonce, (void)out, (void)answer;
    return false;
}

struct bench {
    struct machine *machine;
    uint8_t *entry;
    uint64_t stamp;
    uint64_t nonce;
    uint64_t refused;
    uint64_t freeze_count;
    uint64_t freeze_ns;
    uint64_t freeze_ns_max;
};

static void count_answer(void *context, uint32_t position, const struct answer *answer)
{
    struct bench *bench = context;
    (void)position;
    if (answer->outcome != OUTCOME_EXECUTED) {
        fprintf(stderr, "bench_apply: outcome %s\n", outcome_name(answer->outcome));
        exit(1);
    }
    for (uint32_t i = 0; i < answer->event_count; i++)
        bench->refused += answer->results[i] != RESULT_OK;
}

/* Begins an entry with one request; the events follow it in bench->entry. */
static void *entry_begin(struct bench *bench, uint16_t operation, uint32_t principal,
                         uint32_t event_count)
{
    struct entry_header *entry = (void *)bench->entry;
    struct request_header *request = (void *)(entry + 1);
    uint32_t request_size =
        (uint32_t)(sizeof *request + event_count * operation_event_size(operation));
    *entry = (struct entry_header){
        .version = COMMAND_VERSION,
        .size = (uint32_t)sizeof *entry + request_size,
        .stamp = bench->stamp += 1000000,
        .request_count = 1,
        .event_count = event_count,
    };
    *request = (struct request_header){
        .size = request_size,
        .operation = operation,
        .encoding = ANSWER_ENCODING,
        .event_count = event_count,
        .principal = principal,
        .issued_at_ns = bench->stamp,
    };
    bench->nonce++;
    memcpy(request->nonce, &bench->nonce, sizeof bench->nonce);
    return request + 1;
}

/* Applies the entry; returns the nanoseconds of apply alone. */
static uint64_t entry_apply(struct bench *bench)
{
    const struct entry_header *entry = (const void *)bench->entry;
    if (!machine_room_for(bench->machine, entry->event_count, entry->request_count)) {
        uint64_t begin = now_ns();
        machine_freeze(bench->machine);
        uint64_t pause = now_ns() - begin;
        machine_release_epoch(bench->machine);
        bench->freeze_count++;
        bench->freeze_ns += pause;
        if (pause > bench->freeze_ns_max)
            bench->freeze_ns_max = pause;
    }
    uint64_t begin = now_ns();
    machine_apply(bench->machine, machine_applied_index(bench->machine) + 1, 1, bench->entry,
                  entry->size, count_answer, bench);
    return now_ns() - begin;
}

static struct id128 account_id(uint64_t number)
{
    uint64_t state = number;
    uint64_t word[2] = {random_next(&state), number};
    struct id128 id;
    memcpy(id.bytes, word, sizeof id.bytes);
    return id;
}

static void set_up(struct bench *bench, uint32_t account_count)
{
    struct principal_event *principals = entry_begin(bench, OPERATION_SET_PRINCIPALS, 0, 2);
    principals[0] = (struct principal_event){
        .role = ROLE_CHANNEL, .uri_size = 3, .name_size = 1, .name = "c", .uri = "t:c"};
    principals[1] = (struct principal_event){
        .role = ROLE_BUSINESS_OPERATOR, .uri_size = 3, .name_size = 1, .name = "b", .uri = "t:b"};
    entry_apply(bench);
    struct ledger_event *ledger = entry_begin(bench, OPERATION_CREATE_LEDGERS, 1, 1);
    *ledger = (struct ledger_event){
        .id = 1, .exponent = 2, .name_size = 1, .currency = "CNY", .name = "l"};
    entry_apply(bench);

    uint64_t ns = 0;
    uint64_t slowest = 0;
    for (uint32_t first = 0; first < account_count; first += REQUEST_EVENTS_MAX) {
        uint32_t left = account_count - first;
        uint32_t count = left < REQUEST_EVENTS_MAX ? left : REQUEST_EVENTS_MAX;
        struct account_event *events = entry_begin(bench, OPERATION_CREATE_ACCOUNTS, 1, count);
        for (uint32_t i = 0; i < count; i++)
            events[i] = (struct account_event){.id = account_id(first + i), .ledger = 1, .code = 1};
        uint64_t took = entry_apply(bench);
        ns += took;
        slowest = took > slowest ? took : slowest;
    }
    printf("accounts   %u created, %.3f us each, slowest entry %.1f ms\n", account_count,
           (double)ns / 1e3 / account_count, (double)slowest / 1e6);
}

static void run(struct bench *bench, uint32_t account_count, uint64_t transfer_count,
                uint32_t batch)
{
    uint64_t seed = 7;
    uint64_t ns = 0;
    uint64_t done = 0;
    while (done < transfer_count) {
        struct transfer_event *events = entry_begin(bench, OPERATION_CREATE_TRANSFERS, 0, batch);
        for (uint32_t i = 0; i < batch; i++) {
            uint64_t id[2] = {random_next(&seed), random_next(&seed)};
            uint64_t debit = random_next(&seed) % account_count;
            uint64_t credit =
                (debit + 1 + random_next(&seed) % (account_count - 1)) % account_count;
            events[i] = (struct transfer_event){
                .debit_account_id = account_id(debit),
                .credit_account_id = account_id(credit),
                .amount_low = 1 + random_next(&seed) % 100000,
                .ledger = 1,
                .code = 1,
            };
            memcpy(events[i].id.bytes, id, sizeof id);
        }
        ns += entry_apply(bench);
        done += batch;
    }
    printf("transfers  %llu in batches of %u, %.3f us each, %.2f M/s, refused %llu\n",
           (unsigned long long)done, batch, (double)ns / 1e3 / (double)done,
           (double)done / ((double)ns / 1e3), (unsigned long long)bench->refused);
    if (bench->freeze_count > 0)
        printf("freeze     %llu times, mean %.1f ms, longest %.1f ms\n",
               (unsigned long long)bench->freeze_count,
               (double)bench->freeze_ns / 1e6 / (double)bench->freeze_count,
               (double)bench->freeze_ns_max / 1e6);
}

static void ignore_row(void *context, const struct trial_balance_row *row)
{
    (void)context, (void)row;
}

int main(int argc, char **argv)
{
    uint32_t account_count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    uint64_t transfer_count = argc > 2 ? strtoull(argv[2], NULL, 10) : 4000000;
    uint32_t batch = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : REQUEST_EVENTS_MAX;
    if (account_count < 2 || account_count > ACCOUNTS_MAX || batch < 1 ||
        batch > REQUEST_EVENTS_MAX) {
        fprintf(stderr, "usage: bench_apply [accounts 2..%u] [transfers] [batch 1..%u]\n",
                ACCOUNTS_MAX, REQUEST_EVENTS_MAX);
        return 2;
    }
    struct bench bench = {
        .entry = aligned_alloc(64, ENTRY_SIZE_MAX),
        .stamp = 1790000000000000000u,
    };
    struct machine_options options = {
        .memory = {.allocate = allocate, .release = release},
        .account_count_max = ACCOUNTS_MAX,
        .epoch_transfer_count_max = EPOCH_TRANSFERS_DEFAULT,
        .epoch_request_count_max = EPOCH_REQUESTS_DEFAULT,
        .epoch_answer_bytes_max = EPOCH_ANSWER_BYTES_DEFAULT,
        .hash_seed = now_ns(),
    };
    struct ledger_past past = {
        .transfer_by_id = no_transfer_by_id,
        .transfer_by_sequence = no_transfer_by_sequence,
        .request_by_nonce = no_request,
    };
    if (bench.entry == NULL || machine_create(&options, &past, &bench.machine) != STATUS_OK) {
        fprintf(stderr, "bench_apply: out of memory\n");
        return 1;
    }
    set_up(&bench, account_count);
    run(&bench, account_count, transfer_count, batch);

    bool balanced = false;
    uint64_t begin = now_ns();
    machine_trial_balance(bench.machine, 1, ignore_row, NULL, &balanced);
    printf("trial balance %s, %.1f ms\n", balanced ? "balanced" : "DOES NOT BALANCE",
           (double)(now_ns() - begin) / 1e6);
    machine_destroy(bench.machine);
    free(bench.entry);
    return balanced ? 0 : 1;
}
