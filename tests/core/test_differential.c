/*
 * Random small-domain workloads, applied to a slow oracle and to three machines:
 *
 *   steady     never freezes an epoch
 *   freezing   freezes and releases at random moments
 *   restarting checkpoints at random moments, and is now and then destroyed, restored from the
 *              checkpoint and fed again the entries behind it
 *
 * After every entry all answers and digests must be equal, and at the end every lookup. So
 * decisions are those of the documents, and do not depend on epochs, restarts or hash seeds.
 * Domains are so small that every result and outcome that this version can give does occur; the
 * test asserts it.
 *
 * Replay one seed: TALLY_TEST_SEED=<number> test_core_differential. A longer search:
 * TALLY_TEST_SEEDS=<count>. How often each outcome and result occurred: TALLY_TEST_COUNTS=1.
 */
#include "core/result.h"
#include "oracle.h"
#include "test_bank.h"
#include "workload.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define ENTRIES       400
#define SEEDS_DEFAULT 6
#define ENTRY_BYTES   (64 * 1024)

enum kind { STEADY, FREEZING, RESTARTING, KIND_COUNT };
static const char *const kind_names[KIND_COUNT] = {"steady", "freezing", "restarting"};

struct variant {
    enum kind kind;
    struct test_memory memory;
    struct past_memory past;
    struct machine *machine;
    uint32_t answer_count;
    struct oracle_answer answers[ORACLE_REQUESTS_MAX];
    uint8_t *kept[ENTRIES + 1]; /* entries behind the checkpoint, for replay */
    size_t kept_size[ENTRIES + 1];
    uint32_t kept_count;
    const struct epoch *frozen; /* handed out, and not yet in the past */
};

struct world {
    uint64_t seed;
    uint32_t entry_count;
    struct workload workload;
    struct command_builder builder;
    struct oracle *oracle;
    struct variant variants[KIND_COUNT];
};

static uint64_t result_seen[256];
static uint64_t outcome_seen[OUTCOME_COUNT];

/* The bytes of an entry with these requests; *out_digests are those of its headers. */
static const uint8_t *build_entry(struct world *world, const struct oracle_request *requests,
                                  uint32_t count, uint8_t (*out_digests)[32], size_t *out_size)
{
    command_builder_entry(&world->builder, world->workload.stamp);
    size_t offsets[ORACLE_REQUESTS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        offsets[i] = world->builder.size;
        command_builder_request(&world->builder, requests[i].operation, requests[i].principal,
                                requests[i].nonce, requests[i].issued_at_ns);
        size_t event_size = operation_event_size(requests[i].operation);
        for (uint32_t e = 0; e < requests[i].event_count; e++)
            command_builder_event(&world->builder,
                                  (const uint8_t *)&requests[i].events + e * event_size);
    }
    uint8_t *entry = command_builder_end(&world->builder, out_size);
    cr_assert_lt(*out_size, ENTRY_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        struct request_header *header = (void *)(entry + offsets[i]);
        memcpy(out_digests[i], header->digest, 32);
        header->reserved = requests[i].malformed;
    }
    return entry;
}

/* ---- variants ---- */

static void variant_create(struct variant *variant, const struct oracle *oracle)
{
    struct ledger_past table = past_memory_table(&variant->past);
    struct machine_options options = {
        .memory = test_memory_of(&variant->memory),
        .account_count_max = oracle->account_count_max,
        .epoch_transfer_count_max = 2 * REQUEST_EVENTS_MAX,
        .epoch_request_count_max = ENTRY_REQUESTS_MAX,
        .epoch_answer_bytes_max = 4 * REQUEST_EVENTS_MAX,
        .ledger_count_max = oracle->ledger_count_max,
        .principal_count_max = oracle->principal_count_max,
        .request_count_max = oracle->request_count_max,
        .request_answer_bytes_max = oracle->request_answer_bytes_max,
        .hash_seed = 1234567 * ((uint64_t)variant->kind + 1),
    };
    cr_assert_eq(machine_create(&options, &table, &variant->machine), STATUS_OK);
}

static void keep_answer(void *context, uint32_t position, const struct answer *answer)
{
    struct variant *variant = context;
    cr_assert_eq(position, variant->answer_count);
    struct oracle_answer *kept = &variant->answers[variant->answer_count++];
    *kept = (struct oracle_answer){
        .outcome = answer->outcome,
        .repeated = answer->repeated,
        .index = answer->index,
        .stamp = answer->stamp,
        .event_count = answer->event_count,
    };
    if (answer->event_count > 0)
        memcpy(kept->results, answer->results, answer->event_count);
}

static void variant_forget_kept(struct variant *variant)
{
    for (uint32_t i = 0; i < variant->kept_count; i++)
        free(variant->kept[i]);
    variant->kept_count = 0;
}

static void variant_checkpoint(struct variant *variant)
{
    if (machine_is_frozen(variant->machine))
        machine_release_epoch(variant->machine);
    past_memory_take(&variant->past, machine_freeze(variant->machine));
    variant_forget_kept(variant);
}

static void variant_restart(struct variant *variant, const struct oracle *oracle)
{
    if (variant->past.checkpoint.applied_index == 0)
        return;
    machine_destroy(variant->machine);
    variant_create(variant, oracle);
    cr_assert_eq(past_memory_restore(&variant->past, variant->machine), STATUS_OK);
    for (uint32_t i = 0; i < variant->kept_count; i++)
        machine_apply(variant->machine, machine_applied_index(variant->machine) + 1, 1,
                      variant->kept[i], variant->kept_size[i], NULL, NULL);
}

/* What the variant does between entries. */
static void variant_disturb(struct world *world, struct variant *variant)
{
    switch (variant->kind) {
    case FREEZING:
        if (!machine_is_frozen(variant->machine) && workload_chance(&world->workload, 3)) {
            variant->frozen = machine_freeze(variant->machine);
        } else if (variant->frozen != NULL && workload_chance(&world->workload, 3)) {
            past_memory_take(&variant->past, variant->frozen);
            variant->frozen = NULL; /* in both places until released */
        } else if (machine_is_frozen(variant->machine) && variant->frozen == NULL &&
                   workload_chance(&world->workload, 3)) {
            machine_release_epoch(variant->machine);
        }
        break;
    case RESTARTING:
        if (workload_chance(&world->workload, 9))
            variant_checkpoint(variant);
        if (workload_chance(&world->workload, 9))
            variant_restart(variant, world->oracle);
        break;
    default:
        break;
    }
}

static void variant_apply(struct variant *variant, const uint8_t *entry, size_t size)
{
    if (variant->kind == RESTARTING) {
        uint8_t *copy = aligned_alloc(64, (size + 63) / 64 * 64);
        memcpy(copy, entry, size);
        variant->kept[variant->kept_count] = copy;
        variant->kept_size[variant->kept_count++] = size;
    }
    variant->answer_count = 0;
    machine_apply(variant->machine, machine_applied_index(variant->machine) + 1, 1, entry, size,
                  keep_answer, variant);
}

/* ---- comparing ---- */

static void compare_answers(const struct world *world, const struct variant *variant,
                            const struct oracle_answer *expected, uint32_t count)
{
    cr_assert_eq(variant->answer_count, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct oracle_answer *got = &variant->answers[i];
        cr_assert_eq(got->outcome, expected[i].outcome,
                     "seed %llu entry %u request %u: %s machine %s, oracle %s",
                     (unsigned long long)world->seed, world->entry_count, i,
                     kind_names[variant->kind], outcome_name(got->outcome),
                     outcome_name(expected[i].outcome));
        cr_assert_eq(got->repeated, expected[i].repeated);
        cr_assert_eq(got->index, expected[i].index);
        cr_assert_eq(got->stamp, expected[i].stamp);
        cr_assert_eq(got->event_count, expected[i].event_count);
        for (uint32_t e = 0; e < got->event_count; e++)
            cr_assert_eq(got->results[e], expected[i].results[e],
                         "seed %llu entry %u request %u event %u: %s machine %s, oracle %s",
                         (unsigned long long)world->seed, world->entry_count, i, e,
                         kind_names[variant->kind], result_name(got->results[e]),
                         result_name(expected[i].results[e]));
    }
}

static void compare_digest(const struct world *world, const struct variant *variant)
{
    u128 expected = oracle_digest(world->oracle);
    uint8_t got[16];
    machine_digest(variant->machine, got);
    cr_assert(memcmp(got, &expected, sizeof got) == 0, "seed %llu entry %u: digest of %s machine",
              (unsigned long long)world->seed, world->entry_count, kind_names[variant->kind]);
}

static void compare_lookups(const struct world *world, const struct variant *variant)
{
    const struct oracle *oracle = world->oracle;
    const struct machine *machine = variant->machine;
    cr_assert_eq(machine_stamp(machine), oracle->stamp);
    cr_assert_eq(machine_ledger_count(machine), oracle->ledger_count);
    for (uint32_t i = 0; i < oracle->ledger_count; i++) {
        struct ledger_record ledger;
        cr_assert(machine_ledger(machine, oracle->ledgers[i].id, &ledger));
        cr_assert(memcmp(&ledger, &oracle->ledgers[i], sizeof ledger) == 0);
    }
    cr_assert_eq(machine_account_count(machine), oracle->account_count);
    for (uint32_t i = 0; i < oracle->account_count; i++) {
        struct account account;
        cr_assert(machine_account(machine, &oracle->accounts[i].id, &account));
        cr_assert(memcmp(&account.record, &oracle->accounts[i], sizeof account.record) == 0);
        cr_assert(memcmp(&account.balance, &oracle->balances[i], sizeof account.balance) == 0);
    }
    cr_assert_eq(machine_transfer_count(machine), oracle->transfer_count);
    for (uint64_t i = 0; i < oracle->transfer_count; i++) {
        struct transfer_record record;
        cr_assert(machine_transfer_at(machine, i, &record));
        cr_assert(memcmp(&record, &oracle->transfers[i], sizeof record) == 0);
        cr_assert(machine_transfer(machine, &oracle->transfers[i].id, &record));
        cr_assert(memcmp(&record, &oracle->transfers[i], sizeof record) == 0);
    }
    cr_assert_eq(machine_principal_count(machine), oracle->principal_count);
    for (uint32_t i = 0; i < oracle->principal_count; i++)
        cr_assert(memcmp(machine_principal_at(machine, i), &oracle->principals[i],
                         sizeof oracle->principals[i]) == 0);
    for (uint64_t i = 0; i < oracle->request_count; i++) {
        const struct request_record *record = &oracle->requests[i].record;
        uint64_t nonce;
        memcpy(&nonce, record->nonce, sizeof nonce);
        for (uint64_t late = 0; late < 2; late++) {
            const struct oracle_memory *memory = NULL;
            uint8_t expected = oracle_find(oracle, record->principal_name, nonce,
                                           record->issued_at_ns + late, oracle->stamp, &memory);
            static uint8_t results[REQUEST_EVENTS_MAX];
            struct answer answer;
            machine_request(machine, record->principal_name, record->nonce,
                            record->issued_at_ns + late, &answer, results);
            cr_assert_eq(answer.outcome, expected);
            if (expected == OUTCOME_EXECUTED) {
                cr_assert_eq(answer.index, memory->record.index);
                cr_assert_eq(memcmp(results, memory->results, answer.event_count), 0);
            }
        }
    }
}

static void run_seed(uint64_t seed)
{
    static struct world world;
    memset(&world, 0, sizeof world);
    world.seed = seed;
    world.oracle = calloc(1, sizeof *world.oracle);
    cr_assert_not_null(world.oracle);
    world.oracle->account_count_max = 40;
    world.oracle->ledger_count_max = 4;
    world.oracle->principal_count_max = 12;
    world.oracle->request_count_max = 200;
    world.oracle->request_answer_bytes_max = 400;
    workload_init(&world.workload, seed, world.oracle);
    command_builder_init(&world.builder);
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        struct variant *variant = &world.variants[kind];
        variant->kind = (enum kind)kind;
        past_memory_init(&variant->past);
        variant_create(variant, world.oracle);
    }

    for (; world.entry_count < ENTRIES; world.entry_count++) {
        static struct oracle_request requests[ORACLE_REQUESTS_MAX];
        static struct oracle_answer expected[ORACLE_REQUESTS_MAX];
        uint8_t digests[ORACLE_REQUESTS_MAX][32];
        uint32_t count = workload_entry(&world.workload, requests);
        size_t size;
        const uint8_t *entry = build_entry(&world, requests, count, digests, &size);
        oracle_apply(world.oracle, world.workload.stamp, requests, count, digests, expected);
        for (uint32_t i = 0; i < count; i++) {
            outcome_seen[expected[i].outcome]++;
            for (uint32_t e = 0; e < expected[i].event_count && !expected[i].repeated; e++)
                result_seen[expected[i].results[e]]++;
        }
        for (int kind = 0; kind < KIND_COUNT; kind++) {
            struct variant *variant = &world.variants[kind];
            variant_disturb(&world, variant);
            variant_apply(variant, entry, size);
            compare_answers(&world, variant, expected, count);
            compare_digest(&world, variant);
        }
    }
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        struct variant *variant = &world.variants[kind];
        compare_lookups(&world, variant);
        machine_destroy(variant->machine);
        cr_assert_eq(variant->memory.out_count, 0);
        past_memory_deinit(&variant->past);
        variant_forget_kept(variant);
    }
    outcome_seen[OUTCOME_NOT_YET_SEEN]++; /* asked for in test_request.c; no answer to a write */
    command_builder_deinit(&world.builder);
    free(world.oracle);
}

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void print_counts(void)
{
    for (uint32_t i = 0; i < OUTCOME_COUNT; i++)
        printf("%8llu %s\n", (unsigned long long)outcome_seen[i], outcome_name((uint8_t)i));
    for (uint32_t i = 0; i < 256; i++)
        if (result_seen[i] > 0)
            printf("%8llu %s\n", (unsigned long long)result_seen[i], result_name((uint8_t)i));
}

/* See the top of the file. */
Test(differential, machines_agree_with_the_oracle_whatever_their_epochs)
{
    uint64_t first = number_from("TALLY_TEST_SEED", 1);
    uint64_t count = number_from("TALLY_TEST_SEEDS", SEEDS_DEFAULT);
    bool one = getenv("TALLY_TEST_SEED") != NULL && getenv("TALLY_TEST_SEEDS") == NULL;
    for (uint64_t seed = first; seed < first + (one ? 1 : count); seed++)
        run_seed(seed);
    if (one)
        return;
    if (getenv("TALLY_TEST_COUNTS") != NULL)
        print_counts();
    for (uint32_t outcome = 0; outcome < OUTCOME_COUNT; outcome++)
        cr_expect_gt(outcome_seen[outcome], 0, "never: %s", outcome_name((uint8_t)outcome));
    for (uint32_t result = 0; result < 256; result++) {
        if (strcmp(result_name((uint8_t)result), "UNKNOWN") == 0)
            continue;
        /* Those of fields that transfers cannot have yet: see test_transfer.c. */
        bool not_yet = result == RESULT_EXISTS_WITH_DIFFERENT_PENDING_ID ||
                       result == RESULT_EXISTS_WITH_DIFFERENT_TIMEOUT;
        if (!not_yet)
            cr_expect_gt(result_seen[result], 0, "never: %s", result_name((uint8_t)result));
    }
}
