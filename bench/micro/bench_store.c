/*
 * bench_store DIRECTORY [EPOCHS [TRANSFERS [ACCOUNTS]]]: what the store costs, without core,
 * network and journal. DIRECTORY must be empty. Default: 10 epochs of 524288 transfers over 1
 * million accounts, uniformly drawn; about half a minute.
 */
#include "core/machine.h"
#include "storage/store.h"
#include "tests/storage/epoch_maker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOKUPS 200000u

static _Noreturn void die(const char *what, const char *detail)
{
    fprintf(stderr, "bench_store: %s: %s\n", what, detail);
    exit(1);
}

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* What this thread used of a processor: the wall clock tells little on a busy machine. */
static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now); /* cannot fail with this clock */
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct checkpoint *open_store(const char *path)
{
    struct store_error error;
    struct checkpoint *checkpoint = NULL;
    struct store_options options = {
        .path = path, .map_size_bytes = 8ull << 40, .bloom_bytes = 64 << 20};
    if (store_open(&options, &checkpoint, &error) != STATUS_OK)
        die("open", error.text);
    return checkpoint;
}

static void note_status(void *context, enum status status, uint64_t durable_index)
{
    (void)durable_index;
    *(enum status *)context = status;
}

static void finish(struct checkpoint *checkpoint)
{
    uint64_t wait_ns;
    checkpoint_stop(checkpoint);
    while (checkpoint_step(checkpoint, &wait_ns) != JOB_DONE)
        ;
    checkpoint_close(checkpoint);
}

static void write_epochs(struct checkpoint *checkpoint, struct epoch_maker *maker, unsigned epochs,
                         uint32_t transfers)
{
    double total = 0, total_cpu = 0;
    for (unsigned e = 0; e < epochs; e++) {
        struct checkpoint_meta meta;
        struct checkpoint_stats stats;
        enum status status = STATUS_IO;
        uint64_t wait_ns;
        const struct epoch *epoch = epoch_maker_next(
            maker, &(struct epoch_plan){.transfers = transfers, .requests = transfers / 8190},
            &meta);
        if (checkpoint_submit(checkpoint, epoch, &meta, note_status, &status) != STATUS_OK)
            die("submit", "refused");
        double cpu = cpu_seconds();
        (void)checkpoint_step(checkpoint, &wait_ns);
        cpu = (cpu_seconds() - cpu) * 1e3;
        checkpoint_process(checkpoint);
        if (status != STATUS_OK)
            die("epoch", status_text(status));
        checkpoint_stats(checkpoint, &stats);
        double ms = (double)stats.last_flush_ns / 1e6;
        if (e > 0) /* the first also makes all accounts */
            total += ms, total_cpu += cpu;
        printf(
            "epoch %2u: flush %6.0f ms, %5.0f ns/transfer, %u balances, %u runs, file %5.0f MB\n",
            e, ms, ms * 1e6 / transfers, epoch->balance_count, stats.id_run_count,
            (double)stats.bytes_file / 1e6);
    }
    struct checkpoint_stats stats;
    checkpoint_stats(checkpoint, &stats);
    if (epochs > 1)
        printf("flush, mean after the first: %.0f ns/transfer, of it processor %.0f\n",
               total * 1e6 / ((double)(epochs - 1) * transfers),
               total_cpu * 1e6 / ((double)(epochs - 1) * transfers));
    printf("used %.0f MB, of it accounts and balances about %.0f MB; file %.1f bytes/transfer\n",
           (double)stats.bytes_used / 1e6, (double)stats.account_count * (64 + 112) / 1e6,
           (double)stats.bytes_file / (double)stats.transfer_count);
}

static void look_up(struct checkpoint *checkpoint, const struct epoch_maker *maker)
{
    struct ledger_past past;
    struct transfer_record record, got;
    uint64_t made = epoch_maker_transfers(maker), found = 0;
    checkpoint_past(checkpoint, &past);
    for (unsigned kind = 0; kind < 3; kind++) {
        static const char *const names[] = {"id that exists", "id that does not", "sequence"};
        double begin = seconds(), cpu = cpu_seconds();
        for (uint64_t i = 0; i < LOOKUPS; i++) {
            uint64_t sequence = i * 0x9e3779b97f4a7c15ull % made;
            if (kind < 2) {
                made_transfer(maker, kind == 0 ? sequence : made + i, &record);
                found += past.transfer_by_id(past.context, &record.id, &got);
            } else {
                found += past.transfer_by_sequence(past.context, sequence, &got);
            }
        }
        printf("look-up by %s: %.2f us, of it processor %.2f\n", names[kind],
               (seconds() - begin) * 1e6 / LOOKUPS, (cpu_seconds() - cpu) * 1e6 / LOOKUPS);
    }
    if (found != 2 * LOOKUPS)
        die("look-ups", "wrong answers");
}

static void *allocate(void *context, size_t size)
{
    (void)context;
    void *memory = NULL;
    void *raw = calloc(1, size + 64);
    if (raw != NULL)
        memory = (void *)(((uintptr_t)raw + 63) & ~(uintptr_t)63);
    return memory; /* never given back: the program ends soon */
}

static void release(void *context, void *memory, size_t size)
{
    (void)context;
    (void)memory;
    (void)size;
}

static void restore(struct checkpoint *checkpoint)
{
    struct ledger_past past;
    struct machine *machine = NULL;
    struct store_error error;
    checkpoint_past(checkpoint, &past);
    struct machine_options options = {
        .memory = {.allocate = allocate, .release = release},
        .account_count_max = 1u << 24,
        .epoch_transfer_count_max = REQUEST_EVENTS_MAX,
        .epoch_request_count_max = ENTRY_REQUESTS_MAX,
        .epoch_answer_bytes_max = 1 << 20,
    };
    if (machine_create(&options, &past, &machine) != STATUS_OK)
        die("machine", "no memory");
    double begin = seconds(), cpu = cpu_seconds();
    if (checkpoint_restore(checkpoint, machine) != STATUS_OK) {
        store_failure(checkpoint, &error);
        die("restore", error.text);
    }
    printf("restore of %u accounts: %.3f s, of it processor %.3f\n", machine_account_count(machine),
           seconds() - begin, cpu_seconds() - cpu);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage", "bench_store DIRECTORY [EPOCHS [TRANSFERS [ACCOUNTS]]]");
    unsigned epochs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 10;
    uint32_t transfers = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 524288;
    uint32_t accounts = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 1000000;
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 1, .base_accounts = accounts});
    struct checkpoint *checkpoint = open_store(argv[1]);
    write_epochs(checkpoint, maker, epochs, transfers);
    look_up(checkpoint, maker);
    finish(checkpoint);
    double begin = seconds(), cpu = cpu_seconds();
    checkpoint = open_store(argv[1]);
    printf("reopen with %" PRIu64 " transfers: %.3f s, of it processor %.3f\n",
           epoch_maker_transfers(maker), seconds() - begin, cpu_seconds() - cpu);
    restore(checkpoint);
    checkpoint_close(checkpoint);
    struct store_error error;
    begin = seconds();
    if (store_verify(argv[1], &error, NULL, NULL) != STATUS_OK)
        die("verify", error.text);
    printf("verify: %.3f s\n", seconds() - begin);
    epoch_maker_destroy(maker);
    return 0;
}
