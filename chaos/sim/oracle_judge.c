/*
 * The judgement at the end: a model of the ledger executes what the log holds.
 *
 * What the log holds is asked of the machine, fact by fact: index, stamp and results of each. Then
 * the facts are executed in order of their stamps by rules of their own: balances, limits, missing
 * accounts, ids that are spent. Results must agree, the balances that clients read on the way must
 * have been those at their index, and the end must be the machine's: every account, the number of
 * transfers, each transfer once. Debits equal credits throughout because the model has them so.
 */
#include "chaos/sim/oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct executed {
    const struct fact *fact;
    uint64_t index, stamp;
    uint8_t results[ORACLE_EVENTS_MAX];
};

struct model_account {
    bool exists, limited;
    u128 debits, credits;
};

/* Whose event took an id, and what came of it. */
struct model_id {
    const struct transfer_event *event; /* NULL: nobody's */
    uint8_t result;
};

struct model {
    struct oracle *oracle;
    bool ledger;
    struct model_account accounts[ORACLE_ACCOUNTS];
    struct model_id *ids; /* by number, from 1 */
    uint64_t transfer_count;
    uint64_t sample_next;
};

/* For a sentence. */
struct amount_text {
    char text[64];
};

static struct amount_text amount_text(u128 amount)
{
    struct amount_text out;
    if (u128_high(amount) == 0)
        snprintf(out.text, sizeof out.text, "%" PRIu64, u128_low(amount));
    else
        snprintf(out.text, sizeof out.text, "%" PRIu64 " * 2^64 + %" PRIu64, u128_high(amount),
                 u128_low(amount));
    return out;
}
#define TEXT(amount) (amount_text(amount).text)

static int by_stamp(const void *a, const void *b)
{
    const struct executed *x = a, *y = b;
    return x->stamp < y->stamp ? -1 : x->stamp > y->stamp;
}

static int by_index(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return x->account < y->account ? -1 : x->account > y->account;
}

static u128 amount_of(const struct transfer_event *event)
{
    return u128_make(event->amount_low, event->amount_high);
}

static uint64_t number_of(const struct id128 *id)
{
    uint64_t low;
    memcpy(&low, id->bytes, sizeof low);
    return low;
}

static struct model_account *account_of(struct model *model, const struct id128 *id)
{
    const uint64_t number = number_of(id);
    if (number == 0 || number > ORACLE_ACCOUNTS || !model->accounts[number - 1].exists)
        return NULL;
    return &model->accounts[number - 1];
}

static uint8_t model_repeated(const struct model_id *taken, const struct transfer_event *event)
{
    if (taken->result != RESULT_OK)
        return RESULT_ID_ALREADY_FAILED;
    if (!id128_equal(&event->debit_account_id, &taken->event->debit_account_id))
        return RESULT_EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID;
    if (!id128_equal(&event->credit_account_id, &taken->event->credit_account_id))
        return RESULT_EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID;
    return amount_of(event) == amount_of(taken->event) ? RESULT_EXISTS
                                                       : RESULT_EXISTS_WITH_DIFFERENT_AMOUNT;
}

static uint8_t model_new_transfer(struct model *model, const struct transfer_event *event)
{
    if (!model->ledger)
        return RESULT_LEDGER_NOT_FOUND;
    struct model_account *debit = account_of(model, &event->debit_account_id);
    struct model_account *credit = account_of(model, &event->credit_account_id);
    if (debit == NULL)
        return RESULT_DEBIT_ACCOUNT_NOT_FOUND;
    if (credit == NULL)
        return RESULT_CREDIT_ACCOUNT_NOT_FOUND;
    if (debit->limited && debit->debits + amount_of(event) > debit->credits)
        return RESULT_EXCEEDS_CREDITS;
    debit->debits += amount_of(event);
    credit->credits += amount_of(event);
    return RESULT_OK;
}

static uint8_t model_transfer(struct model *model, const struct transfer_event *event)
{
    struct model_id *taken = &model->ids[number_of(&event->id)];
    if (taken->event != NULL)
        return model_repeated(taken, event);
    model->transfer_count++; /* refused by the state or not: the id is on record */
    taken->event = event;
    taken->result = model_new_transfer(model, event);
    return taken->result;
}

static uint8_t model_account(struct model *model, const struct account_event *event)
{
    struct model_account *account = &model->accounts[number_of(&event->id) - 1];
    if (!model->ledger)
        return RESULT_LEDGER_NOT_FOUND;
    account->exists = true;
    account->limited = (event->flags & ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS) != 0;
    return RESULT_OK;
}

static void execute(struct model *model, const struct executed *executed, uint32_t host)
{
    const struct request_header *request = executed->fact->bytes;
    for (uint32_t i = 0; i < request->event_count; i++) {
        uint8_t result = RESULT_OK;
        if (request->operation == OPERATION_CREATE_LEDGERS)
            model->ledger = true;
        else if (request->operation == OPERATION_CREATE_ACCOUNTS)
            result = model_account(model, (const struct account_event *)(request + 1) + i);
        else
            result = model_transfer(model, (const struct transfer_event *)(request + 1) + i);
        if (result != executed->results[i])
            world_violate(model->oracle->world,
                          "request %" PRIu64 " event %u at index %" PRIu64
                          ": the model says %s, host %u %s",
                          executed->fact->number, i, executed->index, result_name(result), host,
                          result_name(executed->results[i]));
    }
}

/* Samples taken below `index`. */
static void check_samples(struct model *model, uint64_t index)
{
    struct oracle *oracle = model->oracle;
    for (; model->sample_next < oracle->sample_count; model->sample_next++) {
        const struct sample *sample = &oracle->samples[model->sample_next];
        if (sample->index >= index)
            return;
        const struct model_account *account = &model->accounts[sample->account];
        if (account->debits != sample->debits || account->credits != sample->credits ||
            model->transfer_count != sample->transfer_count)
            world_violate(oracle->world,
                          "a read at index %" PRIu64 " saw account %u with debits %s credits %s "
                          "of %" PRIu64 " transfers; they were %s %s %" PRIu64,
                          sample->index, sample->account, TEXT(sample->debits),
                          TEXT(sample->credits), sample->transfer_count, TEXT(account->debits),
                          TEXT(account->credits), model->transfer_count);
    }
}

static void ignore_row(void *context, const struct trial_balance_row *row)
{
    (void)context, (void)row;
}

static void check_end(const struct model *model, const struct machine *machine, uint32_t host)
{
    struct world *world = model->oracle->world;
    for (uint32_t i = 0; i < ORACLE_ACCOUNTS; i++) {
        struct id128 id;
        const uint64_t low = i + 1, high = 0xacc;
        memcpy(id.bytes, &low, sizeof low);
        memcpy(id.bytes + sizeof low, &high, sizeof high);
        struct account account = {0};
        const bool exists = machine_account(machine, &id, &account);
        const struct model_account *expected = &model->accounts[i];
        const u128 debits =
            u128_make(account.balance.debits_posted_low, account.balance.debits_posted_high);
        const u128 credits =
            u128_make(account.balance.credits_posted_low, account.balance.credits_posted_high);
        if (exists != expected->exists || debits != expected->debits ||
            credits != expected->credits)
            world_violate(world, "host %u account %u: debits %s credits %s, expected %s and %s",
                          host, i, TEXT(debits), TEXT(credits), TEXT(expected->debits),
                          TEXT(expected->credits));
    }
    if (machine_transfer_count(machine) != model->transfer_count)
        world_violate(world, "host %u has %" PRIu64 " transfers, the log %" PRIu64, host,
                      machine_transfer_count(machine), model->transfer_count);
    bool balanced = true;
    if (model->ledger &&
        (!machine_trial_balance(machine, ORACLE_LEDGER, ignore_row, NULL, &balanced) || !balanced))
        world_violate(world, "host %u: the trial balance does not balance", host);
}

/* The id was another event's; that one is looked at where it belongs. */
static bool is_repeated(uint8_t result)
{
    return result == RESULT_EXISTS || result == RESULT_ID_ALREADY_FAILED ||
           result == RESULT_EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID ||
           result == RESULT_EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID ||
           result == RESULT_EXISTS_WITH_DIFFERENT_AMOUNT;
}

/* Every transfer of an executed request is there once, as its result says. */
static void check_transfers(struct oracle *oracle, const struct executed *executed,
                            const struct machine *machine, uint32_t host)
{
    const struct request_header *request = executed->fact->bytes;
    const struct transfer_event *events = (const struct transfer_event *)(request + 1);
    for (uint32_t i = 0; i < request->event_count; i++) {
        struct transfer_record record;
        if (is_repeated(executed->results[i]))
            continue;
        if (!machine_transfer(machine, &events[i].id, &record) ||
            record.result != executed->results[i] || record.timestamp != executed->stamp + i ||
            record.amount_low != events[i].amount_low ||
            record.amount_high != events[i].amount_high)
            world_violate(oracle->world,
                          "host %u: transfer %" PRIu64 " of request %" PRIu64
                          " is missing or another one",
                          host, number_of(&events[i].id), executed->fact->number);
    }
}

static bool find(struct oracle *oracle, const struct fact *fact, const struct machine *machine,
                 uint32_t host, struct executed *out)
{
    static uint8_t results[REQUEST_EVENTS_MAX];
    struct answer answer;
    oracle_lookup(oracle, fact, machine, fact->answered, host);
    machine_request(machine, fact->bytes->principal, fact->bytes->nonce, fact->bytes->issued_at_ns,
                    &answer, results);
    if (answer.outcome == OUTCOME_EXECUTED && fact->denied)
        world_violate(oracle->world,
                      "request %" PRIu64 " is executed at index %" PRIu64
                      " in the log of host %u, and its caller was told that it never would be",
                      fact->number, answer.index, host);
    if (answer.outcome == OUTCOME_BEYOND_WINDOW && fact->answered &&
        fact->outcome == OUTCOME_EXECUTED) { /* forgotten, and executed all the same */
        *out = (struct executed){.fact = fact, .index = fact->index, .stamp = fact->stamp};
        memcpy(out->results, fact->results, fact->bytes->event_count);
        return true;
    }
    if (answer.outcome != OUTCOME_EXECUTED || answer.event_count != fact->bytes->event_count)
        return false;
    *out = (struct executed){.fact = fact, .index = answer.index, .stamp = answer.stamp};
    memcpy(out->results, answer.results, answer.event_count);
    return true;
}

void oracle_judge(struct oracle *oracle, const struct machine *machine, uint32_t host)
{
    struct executed *all = sim_allocate(oracle->fact_count * sizeof *all);
    uint64_t count = 0;
    for (uint64_t i = 0; i < oracle->fact_count; i++)
        if (find(oracle, oracle->facts[i], machine, host, &all[count]))
            count++;
    qsort(all, count, sizeof *all, by_stamp);
    if (oracle->sample_count > 0)
        qsort(oracle->samples, oracle->sample_count, sizeof *oracle->samples, by_index);
    struct model model = {.oracle = oracle};
    model.ids = sim_allocate((oracle->next_transfer + 1) * sizeof *model.ids);
    for (uint64_t i = 0; i < count; i++) {
        if (i > 0 && all[i].index < all[i - 1].index)
            world_violate(oracle->world,
                          "stamps go back: index %" PRIu64 " is stamped before index %" PRIu64,
                          all[i - 1].index, all[i].index);
        check_samples(&model, all[i].index);
        execute(&model, &all[i], host);
        if (all[i].fact->bytes->operation == OPERATION_CREATE_TRANSFERS)
            check_transfers(oracle, &all[i], machine, host);
    }
    check_samples(&model, UINT64_MAX);
    oracle->transfer_total = model.transfer_count;
    check_end(&model, machine, host);
    free(model.ids);
    free(all);
}
