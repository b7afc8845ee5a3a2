/*
 * Applying entries, and the plain questions.
 *
 * machine_apply() walks an entry once. For each request: can it be read, may the caller's role do
 * this, what is known of its identity; only then does it execute, and what it did is remembered and
 * answered. A refusal of a whole request changes nothing, so it needs no memory to be repeated.
 *
 * Everything is a function of the applied prefix. What varies between nodes (where epochs begin,
 * the hash seed, what has left RAM) is behind lookups whose answers do not depend on it.
 */
#include "core/machine.h"

#include "core/account.h"
#include "core/answer.h"
#include "core/digest.h"
#include "core/invariant.h"
#include "core/ledger.h"
#include "core/machine_state.h"
#include "core/planted_fault.h"
#include "core/policy.h"
#include "core/principal.h"
#include "core/request_window.h"
#include "core/transfer.h"

/* ---- one request ---- */

static void execute(struct machine *machine, const struct request_header *request, uint64_t stamp)
{
    const void *events = request + 1;
    uint8_t *results = machine->results;
    switch (request->operation) {
    case OPERATION_CREATE_LEDGERS: {
        const struct ledger_event *event = events;
        for (uint32_t i = 0; i < request->event_count; i++)
            results[i] = ledger_create(machine, &event[i], stamp + i);
        break;
    }
    case OPERATION_CREATE_ACCOUNTS: {
        const struct account_event *event = events;
        for (uint32_t i = 0; i < request->event_count; i++)
            results[i] = account_create(machine, &event[i], stamp + i);
        break;
    }
    case OPERATION_CREATE_TRANSFERS:
        transfer_create_batch(machine, events, request->event_count, stamp, results);
        break;
    case OPERATION_SET_PRINCIPALS: {
        const struct principal_event *event = events;
        for (uint32_t i = 0; i < request->event_count; i++)
            results[i] = principal_set(machine, &event[i]);
        break;
    }
    default: /* the walker lets nothing else through but a fence, which is not executed */
        invariant_values(false, request->operation, request->event_count);
    }
}

static void remember(struct machine *machine, const struct request_header *request,
                     uint32_t name_ordinal, uint64_t index, uint64_t stamp)
{
    bool fence = request->operation == OPERATION_FENCE_REQUEST;
    struct request_record record = {
        .principal_name = name_ordinal,
        .operation = request->operation,
        .encoding = request->encoding,
        .issued_at_ns = request->issued_at_ns,
        .index = index,
        .stamp = stamp,
        .event_count = request->event_count,
        .answer_size = answer_pack(machine->results, request->event_count, machine->packed),
        .outcome = fence ? OUTCOME_REQUEST_FENCED : OUTCOME_EXECUTED,
    };
    memcpy(record.nonce, request->nonce, sizeof record.nonce);
    if (!fence)
        memcpy(record.digest, request->digest, sizeof record.digest);
    request_remember(machine, &record, machine->packed);
}

/* While nobody is listed nobody could list anyone; see machine.h. */
static bool is_genesis(const struct machine *machine, const struct request_header *request)
{
    return machine->principals.count == 0 && request->operation == OPERATION_SET_PRINCIPALS &&
           request->principal == 0;
}

/* Judges, executes and remembers one readable request; fills in *answer, whose index, stamp,
 * operation and encoding are those of a request that takes effect now. */
static void apply_request(struct machine *machine, const struct request_header *request,
                          uint64_t now, struct answer *answer)
{
    if (is_genesis(machine, request)) {
        execute(machine, request, answer->stamp);
        answer->outcome = OUTCOME_EXECUTED;
        answer->event_count = request->event_count;
        answer->results = machine->results;
        return;
    }
    const struct principal_record *caller = machine_principal_at(machine, request->principal);
    if (caller == NULL || !policy_may_write(caller->role, request->operation)) {
        answer->outcome = OUTCOME_NOT_PERMITTED;
        return;
    }
    uint32_t name_ordinal = planted(PLANTED_WINDOW_WITHOUT_PRINCIPAL) ? 0 : caller->name_ordinal;
    struct request_memory *memory = &machine->memory_of_request;
    answer->outcome = request_judge(machine, request, name_ordinal, now, memory);
    if (answer->outcome == OUTCOME_EXECUTED || answer->outcome == OUTCOME_REQUEST_FENCED) {
        request_answer(memory, machine->results, answer);
        if (planted(PLANTED_REPEAT_STAMPED_ANEW))
            answer->stamp = now;
        return;
    }
    if (answer->outcome != OUTCOME_NOT_YET_SEEN)
        return;

    /* Point of no return: from here on the request takes effect and is remembered. */
    if (request->operation == OPERATION_FENCE_REQUEST) {
        answer->outcome = OUTCOME_REQUEST_FENCED;
    } else {
        execute(machine, request, answer->stamp);
        answer->outcome = OUTCOME_EXECUTED;
        answer->event_count = request->event_count;
    }
    answer->results = machine->results;
    remember(machine, request, name_ordinal, answer->index, answer->stamp);
}

/* ---- one entry ---- */

static void advance(struct machine *machine, uint64_t index, uint64_t term)
{
    invariant(machine->phase == MACHINE_EMPTY || machine->phase == MACHINE_RUNNING);
    invariant_values(index == machine->applied_index + 1, index, machine->applied_index);
    invariant_values(term >= machine->applied_term, term, machine->applied_term);
    machine->phase = MACHINE_RUNNING;
    machine->applied_index = index;
    machine->applied_term = term;
}

void machine_apply_other(struct machine *machine, uint64_t index, uint64_t term)
{
    advance(machine, index, term);
}

void machine_apply(struct machine *machine, uint64_t index, uint64_t term, const void *entry,
                   size_t size, answer_cb cb, void *context)
{
    advance(machine, index, term);
    struct command_cursor cursor;
    enum status status = command_cursor_init(&cursor, entry, size);
    invariant_values(status != STATUS_VERSION, index, size);
    if (status != STATUS_OK)
        return;
    invariant_values(machine_room_for(machine, cursor.stamps_left, cursor.request_count),
                     cursor.stamps_left, cursor.request_count);

    /* How far stamps are moved so that ledger time never stands still: zero in a proper log. */
    uint64_t late = cursor.stamp > machine->stamp ? 0 : machine->stamp + 1 - cursor.stamp;
    if (planted(PLANTED_LOCAL_CLOCK_IN_CORE))
        late += planted_clock_ns() % 1000;
    uint64_t now = cursor.stamp + late;
    uint64_t last_stamp = now + cursor.stamps_left - 1;
    uint32_t request_count = cursor.request_count;
    request_window_advance(&machine->window, now);

    for (uint32_t position = 0; position < request_count; position++) {
        const struct request_header *request = NULL;
        uint64_t stamp = 0;
        status = command_cursor_next(&cursor, &request, &stamp);
        struct answer answer = {.index = index, .stamp = now, .outcome = OUTCOME_MALFORMED};
        if (status == STATUS_OK) {
            answer.stamp = stamp + late;
            answer.operation = request->operation;
            answer.encoding = request->encoding;
            apply_request(machine, request, now, &answer);
        }
        if (cb != NULL)
            cb(context, position, &answer);
    }
    machine->stamp = last_stamp;
}

bool machine_room_for(const struct machine *machine, uint32_t event_count, uint32_t request_count)
{
    const struct memtable *memtable = machine_current(machine);
    return event_count <= memtable->transfer_count_max - memtable->transfer_count &&
           request_count <= memtable->request_count_max - memtable->request_count &&
           answer_size_max(event_count) <= memtable->answer_bytes_max - memtable->answer_bytes;
}

/* ---- questions ---- */

uint64_t machine_applied_index(const struct machine *machine)
{
    return machine->applied_index;
}

uint64_t machine_applied_term(const struct machine *machine)
{
    return machine->applied_term;
}

uint64_t machine_stamp(const struct machine *machine)
{
    return machine->stamp;
}

uint64_t machine_transfer_count(const struct machine *machine)
{
    return machine->transfer_count;
}

u128 machine_ledgers_digest(const struct machine *machine)
{
    u128 sum = 0;
    for (uint32_t i = 0; i < machine->ledgers.count; i++)
        sum += digest_ledger(&machine->ledgers.records[i]);
    return sum;
}

void machine_digest(const struct machine *machine, uint8_t out_digest[16])
{
    u128 sum = machine->digest_sum + machine_ledgers_digest(machine);
    memcpy(out_digest, &sum, sizeof sum);
}

bool machine_account(const struct machine *machine, const struct id128 *id, struct account *out)
{
    const struct account_table *accounts = &machine->accounts;
    uint32_t ordinal = account_table_find(accounts, id, hash_id(accounts->hash_seed, id));
    return ordinal != ORDINAL_NONE && machine_account_at(machine, ordinal, out);
}

bool machine_account_at(const struct machine *machine, uint32_t ordinal, struct account *out)
{
    if (ordinal >= machine->accounts.count)
        return false;
    out->record = machine->accounts.cold[ordinal];
    out->balance = machine->accounts.hot[ordinal].balance;
    return true;
}

uint32_t machine_account_count(const struct machine *machine)
{
    return machine->accounts.count;
}

bool machine_ledger(const struct machine *machine, uint32_t id, struct ledger_record *out)
{
    uint32_t position = ledger_table_find(&machine->ledgers, id);
    return position != LEDGER_POSITION_NONE && machine_ledger_at(machine, position, out);
}

bool machine_ledger_at(const struct machine *machine, uint32_t position, struct ledger_record *out)
{
    if (position >= machine->ledgers.count)
        return false;
    *out = machine->ledgers.records[position];
    return true;
}

uint32_t machine_ledger_count(const struct machine *machine)
{
    return machine->ledgers.count;
}

bool machine_transfer(const struct machine *machine, const struct id128 *id,
                      struct transfer_record *out)
{
    uint64_t hash = hash_id(machine->hash_seed, id);
    const struct transfer_record *record =
        memtable_transfer_find(machine_current(machine), id, hash);
    const struct memtable *frozen = machine_frozen(machine);
    if (record == NULL && frozen != NULL)
        record = memtable_transfer_find(frozen, id, hash);
    if (record == NULL)
        return machine->past.transfer_by_id(machine->past.context, id, out);
    *out = *record;
    return true;
}

bool machine_transfer_at(const struct machine *machine, uint64_t sequence,
                         struct transfer_record *out)
{
    if (sequence >= machine->transfer_count)
        return false;
    const struct transfer_record *record = memtable_transfer_at(machine_current(machine), sequence);
    const struct memtable *frozen = machine_frozen(machine);
    if (record == NULL && frozen != NULL)
        record = memtable_transfer_at(frozen, sequence);
    if (record == NULL)
        return machine->past.transfer_by_sequence(machine->past.context, sequence, out);
    *out = *record;
    return true;
}

const struct principal_record *machine_principal(const struct machine *machine, const char *uri,
                                                 size_t uri_size, uint32_t *out_ordinal)
{
    uint32_t ordinal = principal_table_find_uri(&machine->principals, uri, uri_size);
    if (ordinal == ORDINAL_NONE)
        return NULL;
    *out_ordinal = ordinal;
    return &machine->principals.rows[ordinal];
}

const struct principal_record *machine_principal_at(const struct machine *machine, uint32_t ordinal)
{
    return ordinal < machine->principals.count ? &machine->principals.rows[ordinal] : NULL;
}

uint32_t machine_principal_count(const struct machine *machine)
{
    return machine->principals.count;
}
