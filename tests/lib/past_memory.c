/* A ledger_past in RAM, see past_memory.h. */
#include "past_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_COUNT 8192u

static void fail(const char *what)
{
    fprintf(stderr, "past_memory: %s\n", what);
    abort();
}

static void *allocate(size_t count, size_t size)
{
    void *pointer = calloc(count, size);
    if (pointer == NULL)
        fail("out of memory");
    return pointer;
}

static void *resize(void *old, size_t count, size_t size)
{
    void *pointer = reallocarray(old, count, size);
    if (pointer == NULL)
        fail("out of memory");
    return pointer;
}

static uint64_t head_of(uint32_t number, const uint8_t bytes[16])
{
    uint64_t hash = 0xcbf29ce484222325u ^ number;
    for (size_t i = 0; i < 16; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return (hash ^ hash >> 32) % HEAD_COUNT;
}

void past_memory_init(struct past_memory *past)
{
    *past = (struct past_memory){
        .transfer_heads = allocate(HEAD_COUNT, sizeof(uint64_t)),
        .request_heads = allocate(HEAD_COUNT, sizeof(uint64_t)),
    };
}

void past_memory_deinit(struct past_memory *past)
{
    for (uint64_t i = 0; i < past->request_count; i++)
        free(past->answers[i]);
    free(past->answers);
    free(past->transfers);
    free(past->transfer_next);
    free(past->transfer_heads);
    free(past->requests);
    free(past->request_next);
    free(past->request_heads);
    free(past->accounts);
    free(past->balances);
    free(past->ledgers);
    free(past->principals);
    *past = (struct past_memory){0};
}

static bool transfer_by_id(void *context, const struct id128 *id, struct transfer_record *out)
{
    struct past_memory *past = context;
    past->transfer_question_count++;
    for (uint64_t i = past->transfer_heads[head_of(0, id->bytes)]; i != 0;
         i = past->transfer_next[i - 1]) {
        if (id128_equal(&past->transfers[i - 1].id, id)) {
            *out = past->transfers[i - 1];
            return true;
        }
    }
    return false;
}

static bool transfer_by_sequence(void *context, uint64_t sequence, struct transfer_record *out)
{
    const struct past_memory *past = context;
    if (sequence >= past->transfer_count)
        return false;
    *out = past->transfers[sequence];
    return true;
}

static bool request_by_nonce(void *context, uint32_t principal_name, const uint8_t nonce[16],
                             struct request_record *out, uint8_t *answer)
{
    const struct past_memory *past = context;
    /* New ones are put in front, so the first found is the latest. */
    for (uint64_t i = past->request_heads[head_of(principal_name, nonce)]; i != 0;
         i = past->request_next[i - 1]) {
        const struct request_record *request = &past->requests[i - 1];
        if (request->principal_name != principal_name || memcmp(request->nonce, nonce, 16) != 0)
            continue;
        *out = *request;
        memcpy(answer, past->answers[i - 1], request->answer_size);
        return true;
    }
    return false;
}

struct ledger_past past_memory_table(struct past_memory *past)
{
    return (struct ledger_past){
        .context = past,
        .transfer_by_id = transfer_by_id,
        .transfer_by_sequence = transfer_by_sequence,
        .request_by_nonce = request_by_nonce,
    };
}

static void take_transfers(struct past_memory *past, const struct epoch *epoch)
{
    if (epoch->transfer_first != past->transfer_count)
        fail("transfers do not follow without a gap");
    uint64_t count = past->transfer_count + epoch->transfer_count;
    if (count > past->transfer_capacity) {
        past->transfer_capacity = 2 * count;
        past->transfers =
            resize(past->transfers, past->transfer_capacity, sizeof past->transfers[0]);
        past->transfer_next =
            resize(past->transfer_next, past->transfer_capacity, sizeof past->transfer_next[0]);
    }
    for (uint32_t i = 0; i < epoch->transfer_count; i++) {
        const struct transfer_record *record = &epoch->transfers[i];
        uint64_t *head = &past->transfer_heads[head_of(0, record->id.bytes)];
        past->transfers[past->transfer_count] = *record;
        past->transfer_next[past->transfer_count] = *head;
        *head = ++past->transfer_count;
    }
}

static void take_requests(struct past_memory *past, const struct epoch *epoch)
{
    if (epoch->request_first != past->request_count)
        fail("requests do not follow without a gap");
    uint64_t count = past->request_count + epoch->request_count;
    if (count > past->request_capacity) {
        past->request_capacity = 2 * count;
        past->requests = resize(past->requests, past->request_capacity, sizeof past->requests[0]);
        past->answers = resize(past->answers, past->request_capacity, sizeof past->answers[0]);
        past->request_next =
            resize(past->request_next, past->request_capacity, sizeof past->request_next[0]);
    }
    uint32_t answer_bytes = 0;
    for (uint32_t i = 0; i < epoch->request_count; i++) {
        const struct request_record *record = &epoch->requests[i];
        if (epoch->answer_offsets[i] != answer_bytes)
            fail("answers do not follow without a gap");
        answer_bytes += record->answer_size;
        uint64_t *head = &past->request_heads[head_of(record->principal_name, record->nonce)];
        uint64_t position = past->request_count;
        past->requests[position] = *record;
        past->answers[position] = allocate((size_t)record->answer_size + 1, 1);
        memcpy(past->answers[position], epoch->answers + epoch->answer_offsets[i],
               record->answer_size);
        past->request_next[position] = *head;
        *head = ++past->request_count;
    }
    if (answer_bytes != epoch->answer_bytes)
        fail("answers do not add up");
}

static void take_accounts(struct past_memory *past, const struct epoch *epoch)
{
    if (epoch->account_first != past->account_count)
        fail("accounts do not follow without a gap");
    uint32_t count = past->account_count + epoch->account_count;
    if (count > past->account_capacity) {
        past->account_capacity = 2 * count;
        past->accounts = resize(past->accounts, past->account_capacity, sizeof past->accounts[0]);
        past->balances = resize(past->balances, past->account_capacity, sizeof past->balances[0]);
    }
    for (uint32_t i = 0; i < epoch->account_count; i++)
        past->accounts[past->account_count++] = epoch->accounts[i];
    uint32_t least = 0;
    for (uint32_t i = 0; i < epoch->balance_count; i++) {
        uint32_t ordinal = epoch->balance_ordinals[i];
        if (ordinal < least || ordinal >= past->account_count)
            fail("balances are not in ascending order of existing accounts");
        past->balances[ordinal] = epoch->balances[i];
        least = ordinal + 1;
    }
}

void past_memory_take(struct past_memory *past, const struct epoch *epoch)
{
    take_transfers(past, epoch);
    take_requests(past, epoch);
    take_accounts(past, epoch);
    past->ledgers = resize(past->ledgers, (size_t)epoch->ledger_count + 1, sizeof past->ledgers[0]);
    memcpy(past->ledgers, epoch->ledgers, epoch->ledger_count * sizeof past->ledgers[0]);
    past->principals =
        resize(past->principals, (size_t)epoch->principal_count + 1, sizeof past->principals[0]);
    memcpy(past->principals, epoch->principals,
           epoch->principal_count * sizeof past->principals[0]);
    past->window = *epoch->request_window;
    past->checkpoint = (struct machine_checkpoint){
        .applied_index = epoch->applied_index,
        .applied_term = epoch->applied_term,
        .stamp = epoch->stamp,
        .transfer_count = past->transfer_count,
        .request_count = past->request_count,
        .ledger_count = epoch->ledger_count,
        .ledgers = past->ledgers,
        .principal_count = epoch->principal_count,
        .principals = past->principals,
        .request_window = &past->window,
    };
    memcpy(past->checkpoint.digest, epoch->digest, sizeof past->checkpoint.digest);
}

void past_memory_checkpoint(struct past_memory *past, struct machine *machine)
{
    past_memory_take(past, machine_freeze(machine));
    machine_release_epoch(machine);
}

enum status past_memory_restore(const struct past_memory *past, struct machine *machine)
{
    enum status status = machine_restore_begin(machine, &past->checkpoint);
    for (uint32_t i = 0; status == STATUS_OK && i < past->account_count; i++)
        status = machine_restore_account(machine, &past->accounts[i], &past->balances[i]);
    if (status == STATUS_OK)
        status = machine_restore_end(machine);
    return status;
}
