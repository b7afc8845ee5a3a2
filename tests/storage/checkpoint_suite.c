/* The claims of storage/checkpoint.h, one function each. */
#include "tests/storage/checkpoint_suite.h"

#include "tests/storage/epoch_maker.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- driving ---- */

struct flush_outcome {
    unsigned calls;
    enum status status;
    uint64_t durable_index;
};

static void note_outcome(void *context, enum status status, uint64_t durable_index)
{
    struct flush_outcome *outcome = context;
    outcome->calls++;
    outcome->status = status;
    outcome->durable_index = durable_index;
}

enum status checkpoint_drive(struct checkpoint *checkpoint, const struct epoch *epoch,
                             const struct checkpoint_meta *meta)
{
    struct flush_outcome outcome = {0};
    uint64_t wait_ns;
    cr_assert_eq(checkpoint_submit(checkpoint, epoch, meta, note_outcome, &outcome), STATUS_OK);
    cr_assert_eq(outcome.calls, 0, "never inside submit");
    (void)checkpoint_step(checkpoint, &wait_ns);
    cr_assert_eq(outcome.calls, 0, "never on the flusher's thread");
    checkpoint_process(checkpoint);
    cr_assert_eq(outcome.calls, 1);
    checkpoint_process(checkpoint);
    cr_assert_eq(outcome.calls, 1, "exactly once");
    if (outcome.status == STATUS_OK)
        cr_assert_eq(outcome.durable_index, epoch->applied_index);
    return outcome.status;
}

void checkpoint_finish(struct checkpoint *checkpoint)
{
    uint64_t wait_ns;
    enum job_state state;
    checkpoint_stop(checkpoint);
    for (int i = 0; (state = checkpoint_step(checkpoint, &wait_ns)) != JOB_DONE; i++)
        cr_assert_lt(i, 10, "the job does not end");
    checkpoint_process(checkpoint);
    checkpoint_close(checkpoint);
}

static struct checkpoint *opened(const struct checkpoint_target *target)
{
    struct checkpoint *checkpoint = NULL;
    cr_assert_eq(target->open(target->context, &checkpoint), STATUS_OK);
    return checkpoint;
}

static void write_epoch(struct checkpoint *checkpoint, struct epoch_maker *maker,
                        const struct epoch_plan *plan)
{
    struct checkpoint_meta meta;
    const struct epoch *epoch = epoch_maker_next(maker, plan, &meta);
    cr_assert_eq(checkpoint_drive(checkpoint, epoch, &meta), STATUS_OK);
}

static void assert_past(struct checkpoint *checkpoint, const struct epoch_maker *maker,
                        uint64_t stride)
{
    struct ledger_past past;
    checkpoint_past(checkpoint, &past);
    const char *wrong = made_check_past(maker, &past, stride, 0);
    cr_assert_null(wrong, "after %lu epochs: %s", (unsigned long)epoch_maker_epochs(maker), wrong);
}

/* ---- cases ---- */

/* Nothing was ever written: meta and restore say so, the past knows nothing. */
static void empty_knows_nothing(const struct checkpoint_target *target)
{
    struct checkpoint *checkpoint = opened(target);
    struct checkpoint_meta meta;
    struct ledger_past past;
    struct transfer_record transfer;
    struct request_record request;
    uint8_t answer[REQUEST_EVENTS_MAX + 16];
    struct id128 id = {{1, 2, 3}};
    checkpoint_past(checkpoint, &past);
    cr_assert_eq(checkpoint_meta(checkpoint, &meta), STATUS_NOT_FOUND);
    cr_assert_not(past.transfer_by_id(past.context, &id, &transfer));
    cr_assert_not(past.transfer_by_sequence(past.context, 0, &transfer));
    cr_assert_not(past.request_by_nonce(past.context, 0, id.bytes, &request, answer));
    struct checkpoint_stats stats;
    checkpoint_stats(checkpoint, &stats);
    cr_assert_eq(stats.durable_index, 0);
    cr_assert_eq(stats.transfer_count, 0);
    checkpoint_close(checkpoint); /* never stepped: needs no stop */
}

/* One epoch: not readable before process(), wholly readable in the callback and afterwards. */
static void epoch_is_readable_when_called_back(const struct checkpoint_target *target);

struct readable {
    const struct ledger_past *past;
    const struct epoch_maker *maker;
    const char *wrong;
    unsigned calls;
};

static void look_inside_callback(void *context, enum status status, uint64_t durable_index)
{
    struct readable *readable = context;
    (void)durable_index;
    readable->calls++;
    readable->wrong = status == STATUS_OK ? made_check_past(readable->maker, readable->past, 1, 0)
                                          : "the epoch failed";
}

static void epoch_is_readable_when_called_back(const struct checkpoint_target *target)
{
    struct checkpoint *checkpoint = opened(target);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 1, .base_accounts = 50});
    struct checkpoint_meta meta;
    const struct epoch *epoch =
        epoch_maker_next(maker, &(struct epoch_plan){.transfers = 1300, .requests = 700}, &meta);
    struct ledger_past past;
    checkpoint_past(checkpoint, &past);
    struct readable readable = {.past = &past, .maker = maker};
    struct transfer_record transfer;
    uint64_t wait_ns;
    cr_assert_eq(checkpoint_submit(checkpoint, epoch, &meta, look_inside_callback, &readable),
                 STATUS_OK);
    cr_assert_not(past.transfer_by_sequence(past.context, 0, &transfer));
    (void)checkpoint_step(checkpoint, &wait_ns);
    cr_assert_not(past.transfer_by_sequence(past.context, 0, &transfer));
    checkpoint_process(checkpoint);
    cr_assert_eq(readable.calls, 1);
    cr_assert_null(readable.wrong, "%s", readable.wrong);

    struct checkpoint_meta stored;
    cr_assert_eq(checkpoint_meta(checkpoint, &stored), STATUS_OK);
    cr_assert_eq(memcmp(&stored, &meta, sizeof meta), 0);
    checkpoint_finish(checkpoint);
    epoch_maker_destroy(maker);
}

/* A second submit while one is in flight is refused and changes nothing. */
static void one_epoch_at_a_time(const struct checkpoint_target *target)
{
    struct checkpoint *checkpoint = opened(target);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 2, .base_accounts = 3});
    struct checkpoint_meta meta;
    const struct epoch *epoch =
        epoch_maker_next(maker, &(struct epoch_plan){.transfers = 10}, &meta);
    struct flush_outcome first = {0}, second = {0};
    uint64_t wait_ns;
    cr_assert_eq(checkpoint_submit(checkpoint, epoch, &meta, note_outcome, &first), STATUS_OK);
    cr_assert_eq(checkpoint_submit(checkpoint, epoch, &meta, note_outcome, &second), STATUS_BUSY);
    (void)checkpoint_step(checkpoint, &wait_ns);
    cr_assert_eq(checkpoint_submit(checkpoint, epoch, &meta, note_outcome, &second), STATUS_BUSY);
    checkpoint_process(checkpoint);
    cr_assert_eq(first.calls, 1);
    cr_assert_eq(second.calls, 0);
    assert_past(checkpoint, maker, 1);
    checkpoint_finish(checkpoint);
    epoch_maker_destroy(maker);
}

/* stop() with an epoch in flight: it is written, then the job ends. */
static void stop_finishes_the_epoch_in_flight(const struct checkpoint_target *target)
{
    struct checkpoint *checkpoint = opened(target);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 3, .base_accounts = 3});
    struct checkpoint_meta meta;
    const struct epoch *epoch =
        epoch_maker_next(maker, &(struct epoch_plan){.transfers = 10}, &meta);
    struct flush_outcome outcome = {0};
    uint64_t wait_ns;
    cr_assert_eq(checkpoint_step(checkpoint, &wait_ns), JOB_IDLE);
    cr_assert_eq(checkpoint_submit(checkpoint, epoch, &meta, note_outcome, &outcome), STATUS_OK);
    checkpoint_stop(checkpoint);
    cr_assert_neq(checkpoint_step(checkpoint, &wait_ns), JOB_DONE);
    cr_assert_eq(checkpoint_step(checkpoint, &wait_ns), JOB_DONE);
    checkpoint_process(checkpoint);
    cr_assert_eq(outcome.calls, 1);
    cr_assert_eq(outcome.status, STATUS_OK);
    checkpoint_close(checkpoint);

    checkpoint = opened(target);
    assert_past(checkpoint, maker, 1);
    checkpoint_close(checkpoint);
    epoch_maker_destroy(maker);
}

/* Sixty epochs of all sizes with a restart now and then: everything found, nothing invented. */
static void many_epochs_are_found_again(const struct checkpoint_target *target)
{
    struct checkpoint *checkpoint = opened(target);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 4, .base_accounts = 200});
    for (unsigned e = 1; e <= 60; e++) {
        struct epoch_plan plan = epoch_maker_plan(maker, 4000);
        write_epoch(checkpoint, maker, &plan);
        if (e % 7 == 0) {
            checkpoint_finish(checkpoint);
            checkpoint = opened(target);
        }
        assert_past(checkpoint, maker, e % 20 == 0 ? 1 : 97);
    }
    struct checkpoint_stats stats;
    checkpoint_stats(checkpoint, &stats);
    cr_assert_eq(stats.transfer_count, epoch_maker_transfers(maker));
    cr_assert_eq(stats.account_count, epoch_maker_accounts(maker));
    cr_assert_eq(stats.request_count, epoch_maker_requests(maker));
    checkpoint_finish(checkpoint);
    epoch_maker_destroy(maker);
}

/* The same nonce executed again after it was forgotten: the past names the latest. */
static void latest_request_of_a_nonce_wins(const struct checkpoint_target *target)
{
    struct checkpoint *checkpoint = opened(target);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 5, .base_accounts = 2});
    struct ledger_past past;
    checkpoint_past(checkpoint, &past);
    static const uint8_t nonce[16] = "the same nonce!";
    for (unsigned e = 1; e <= 30; e++) {
        struct checkpoint_meta meta;
        struct epoch epoch = *epoch_maker_next(maker, &(struct epoch_plan){.requests = 3}, &meta);
        struct request_record requests[3], found;
        uint8_t answer[REQUEST_EVENTS_MAX + 16];
        memcpy(requests, epoch.requests, sizeof requests);
        if (e % 3 == 1) { /* now and then, twice inside one epoch */
            for (unsigned i = 0; i < (e % 2 == 1 ? 2u : 1u); i++) {
                memcpy(requests[i].nonce, nonce, sizeof nonce);
                requests[i].principal_name = 9;
                requests[i].index = e * 100 + i;
            }
        }
        epoch.requests = requests;
        cr_assert_eq(checkpoint_drive(checkpoint, &epoch, &meta), STATUS_OK);
        uint64_t last = e - (e - 1) % 3;
        cr_assert(past.request_by_nonce(past.context, 9, nonce, &found, answer));
        cr_assert_eq(found.index, last * 100 + (last % 2 == 1 ? 1 : 0), "epoch %u: index %lu", e,
                     (unsigned long)found.index);
        cr_assert_not(past.request_by_nonce(past.context, 8, nonce, &found, answer));
    }
    checkpoint_finish(checkpoint);
    epoch_maker_destroy(maker);
}

/* ---- reading while the flusher writes, on real threads ---- */

struct flusher {
    struct checkpoint *checkpoint;
    atomic_bool ended;
};

static void *flush_for_ever(void *argument)
{
    struct flusher *flusher = argument;
    uint64_t wait_ns;
    for (;;) {
        enum job_state state = checkpoint_step(flusher->checkpoint, &wait_ns);
        if (state == JOB_DONE || state == JOB_FAILED)
            break;
        if (state == JOB_IDLE)
            sched_yield();
    }
    atomic_store(&flusher->ended, true);
    return NULL;
}

/* The loop looks up everything of the frozen memtable and of the past all the time: a record is in
 * one or in both, never in neither, and the callback is the moment from which the memtable may go.
 */
static void reads_during_a_flush_see_one_or_both(const struct checkpoint_target *target)
{
    struct checkpoint *checkpoint = opened(target);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 6, .base_accounts = 100});
    struct flusher flusher = {.checkpoint = checkpoint};
    struct ledger_past past;
    pthread_t thread;
    checkpoint_past(checkpoint, &past);
    cr_assert_eq(pthread_create(&thread, NULL, flush_for_ever, &flusher), 0);
    time_t deadline = time(NULL) + 60;
    for (unsigned e = 0; e < 25; e++) {
        struct checkpoint_meta meta;
        struct epoch_plan plan = {.transfers = 2000 + e * 10, .requests = 300};
        const struct epoch *epoch = epoch_maker_next(maker, &plan, &meta);
        struct flush_outcome outcome = {0};
        cr_assert_eq(checkpoint_submit(checkpoint, epoch, &meta, note_outcome, &outcome),
                     STATUS_OK);
        for (uint64_t probe = e; outcome.calls == 0; probe += 7919) {
            struct transfer_record expected, got;
            uint64_t sequence = probe % epoch_maker_transfers(maker);
            made_transfer(maker, sequence, &expected);
            bool in_memtable = sequence >= epoch->transfer_first;
            bool in_past = past.transfer_by_id(past.context, &expected.id, &got);
            cr_assert(in_memtable || in_past, "sequence %lu is in neither",
                      (unsigned long)sequence);
            if (in_past)
                cr_assert_eq(memcmp(&got, &expected, sizeof got), 0);
            checkpoint_process(checkpoint);
            cr_assert_leq(time(NULL), deadline, "the flusher does not end");
        }
        cr_assert_eq(outcome.status, STATUS_OK);
        assert_past(checkpoint, maker, 511);
    }
    checkpoint_stop(checkpoint);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert(atomic_load(&flusher.ended));
    checkpoint_close(checkpoint);
    epoch_maker_destroy(maker);
}

/* ---- copies ---- */

static uint64_t draw(uint64_t *state, uint64_t bound)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (*state >> 33) % bound;
}

/* Nothing to copy before the first epoch. */
static void nothing_written_cannot_be_copied(const struct checkpoint_target *target)
{
    struct checkpoint *checkpoint = opened(target);
    struct checkpoint_copy *copy = NULL;
    struct checkpoint_copy_info info;
    cr_assert_eq(checkpoint_copy_begin(checkpoint, &copy, &info), STATUS_NOT_FOUND);
    cr_assert_null(copy);
    checkpoint_close(checkpoint);
}

/* Pieces of any size, some asked for twice as after a cut connection, while later epochs are
 * written: what comes out is the epoch that was the newest when the copy began, and no other. */
static void copy_is_one_epoch_while_others_are_written(const struct checkpoint_target *target)
{
    uint64_t dice = 42;
    struct checkpoint *checkpoint = opened(target);
    const struct epoch_maker_options options = {.seed = 9, .base_accounts = 200};
    struct epoch_maker *maker = epoch_maker_create(&options);
    struct epoch_maker *then = epoch_maker_create(&options); /* stays at the copied epoch */
    const struct epoch_plan plan = {.transfers = 3000, .accounts = 20, .requests = 400};
    struct checkpoint_meta meta, ignored;
    for (int i = 0; i < 5; i++) {
        write_epoch(checkpoint, maker, &plan);
        (void)epoch_maker_next(then, &plan, &meta);
    }
    struct checkpoint_copy *copy = NULL;
    struct checkpoint_copy_info info;
    cr_assert_eq(checkpoint_copy_begin(checkpoint, &copy, &info), STATUS_OK);
    cr_assert_eq(memcmp(&info.meta, &meta, sizeof meta), 0);
    uint8_t *bytes = malloc(info.size);
    cr_assert_not_null(bytes);
    unsigned cuts = 0, epochs = 0;
    for (uint64_t offset = 0; offset < info.size;) {
        uint64_t size = 1 + draw(&dice, 200000);
        if (size > info.size - offset)
            size = info.size - offset;
        cr_assert_eq(checkpoint_copy_read(checkpoint, copy, offset, bytes + offset, (size_t)size),
                     STATUS_OK);
        offset += size;
        if (cuts < 30 && draw(&dice, 4) == 0) {
            offset -= draw(&dice, offset);
            cuts++;
        }
        if (epochs < 20 && draw(&dice, 2) == 0) {
            write_epoch(checkpoint, maker, &plan);
            epochs++;
        }
    }
    cr_assert_gt(epochs, 0);
    checkpoint_copy_end(checkpoint, copy);
    assert_past(checkpoint, maker, 7);
    checkpoint_finish(checkpoint);

    cr_assert_not_null(target->adopt);
    cr_assert_eq(target->adopt(target->context, bytes, (size_t)info.size, &checkpoint), STATUS_OK);
    cr_assert_eq(checkpoint_meta(checkpoint, &ignored), STATUS_OK);
    cr_assert_eq(memcmp(&ignored, &meta, sizeof meta), 0);
    assert_past(checkpoint, then, 3);
    write_epoch(checkpoint, then, &plan); /* and goes on from there */
    assert_past(checkpoint, then, 3);
    checkpoint_finish(checkpoint);
    free(bytes);
    epoch_maker_destroy(maker);
    epoch_maker_destroy(then);
}

const struct checkpoint_case checkpoint_cases[] = {
    {"empty_knows_nothing", empty_knows_nothing},
    {"epoch_is_readable_when_called_back", epoch_is_readable_when_called_back},
    {"one_epoch_at_a_time", one_epoch_at_a_time},
    {"stop_finishes_the_epoch_in_flight", stop_finishes_the_epoch_in_flight},
    {"many_epochs_are_found_again", many_epochs_are_found_again},
    {"latest_request_of_a_nonce_wins", latest_request_of_a_nonce_wins},
    {"reads_during_a_flush_see_one_or_both", reads_during_a_flush_see_one_or_both},
    {"nothing_written_cannot_be_copied", nothing_written_cannot_be_copied},
    {"copy_is_one_epoch_while_others_are_written", copy_is_one_epoch_while_others_are_written},
};
const unsigned checkpoint_case_count = sizeof checkpoint_cases / sizeof checkpoint_cases[0];
