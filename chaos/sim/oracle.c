/*
 * Facts, and the comparison of answers as they come. The model and the judgement at the end are in
 * oracle_judge.c.
 *
 * Real time: `acknowledged_index` is the highest index anybody has been told of. A request first
 * sent after that must get a higher index, a linearizable read begun after that must see it.
 */
#include "chaos/sim/oracle.h"

#include "core/bounds.h"
#include "core/invariant.h"
#include "replication/node/propose.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How far ledger time may have been taken ahead by clocks that jumped or ran too fast. */
#define CLOCKS_AHEAD_NS (2 * 3600 * NS_PER_S)

void oracle_init(struct oracle *oracle, struct world *world)
{
    *oracle = (struct oracle){.world = world, .draw = draw_stream(world->seed, 3000)};
}

void oracle_deinit(struct oracle *oracle)
{
    for (uint64_t i = 0; i < oracle->fact_count; i++) {
        free(oracle->facts[i]->bytes);
        free(oracle->facts[i]);
    }
    free(oracle->facts);
    free(oracle->samples);
}

/* ---- making requests ---- */

static void set_principal(struct principal_event *row, uint8_t role, const char *name,
                          const char *uri)
{
    *row = (struct principal_event){
        .role = role,
        .name_size = (uint8_t)strlen(name),
        .uri_size = (uint8_t)strlen(uri),
    };
    memcpy(row->name, name, strlen(name));
    memcpy(row->uri, uri, strlen(uri));
}

const struct principal_event *oracle_principals(void)
{
    static struct principal_event rows[ORACLE_PRINCIPALS];
    set_principal(&rows[0], ROLE_SITE_OPERATOR, "operator", "spiffe://bank/operator");
    set_principal(&rows[1], ROLE_BUSINESS_OPERATOR, "bank", "spiffe://bank/bank");
    set_principal(&rows[ORACLE_PRINCIPAL_APP], ROLE_CHANNEL, "app", "spiffe://bank/app");
    set_principal(&rows[ORACLE_PRINCIPAL_WEB], ROLE_CHANNEL, "web", "spiffe://bank/web");
    return rows;
}

static struct id128 make_id(uint64_t high, uint64_t low)
{
    struct id128 id;
    memcpy(id.bytes, &low, sizeof low);
    memcpy(id.bytes + sizeof low, &high, sizeof high);
    return id;
}

static struct fact *make_fact(struct oracle *oracle, uint16_t operation, uint32_t event_count)
{
    if (oracle->fact_count == oracle->fact_capacity) {
        oracle->fact_capacity = oracle->fact_capacity == 0 ? 256 : 2 * oracle->fact_capacity;
        oracle->facts = sim_resize(oracle->facts, oracle->fact_capacity * sizeof *oracle->facts);
    }
    struct fact *fact = sim_allocate(sizeof *fact);
    fact->number = oracle->fact_count;
    fact->bytes = sim_allocate(sizeof *fact->bytes + event_count * operation_event_size(operation));
    fact->bytes->operation = operation;
    fact->bytes->event_count = event_count;
    oracle->facts[oracle->fact_count++] = fact;
    return fact;
}

/* A young fact that has its nonce for itself, of another principal; NULL: not this time. */
static struct fact *lender(struct oracle *oracle, uint32_t principal)
{
    if (oracle->fact_count < 2 || !draw_chance(&oracle->draw, 1, 8))
        return NULL;
    const uint64_t count = oracle->fact_count - 1; /* the last is who asks */
    struct fact *fact =
        oracle->facts[count - 1 - draw_below(&oracle->draw, count < 40 ? count : 40)];
    return fact->shares_nonce || fact->bytes->principal == principal ? NULL : fact;
}

static void seal(struct oracle *oracle, struct fact *fact, uint64_t wall_ns, uint32_t principal)
{
    for (int i = 0; i < 16; i += 8) {
        const uint64_t word = draw_u64(&oracle->draw);
        memcpy(fact->bytes->nonce + i, &word, sizeof word);
    }
    struct fact *other = lender(oracle, principal);
    if (other != NULL) { /* a nonce is one client's own: two requests, two outcomes */
        memcpy(fact->bytes->nonce, other->bytes->nonce, sizeof fact->bytes->nonce);
        fact->shares_nonce = other->shares_nonce = true;
    }
    fact->bytes->issued_at_ns = wall_ns;
    request_seal(fact->bytes, principal);
}

struct fact *oracle_ledger(struct oracle *oracle, uint64_t wall_ns)
{
    struct fact *fact = make_fact(oracle, OPERATION_CREATE_LEDGERS, 1);
    struct ledger_event *event = (struct ledger_event *)(fact->bytes + 1);
    event->id = ORACLE_LEDGER;
    event->exponent = 2;
    event->name_size = 4;
    memcpy(event->currency, "EUR", 4);
    memcpy(event->name, "main", 4);
    seal(oracle, fact, wall_ns, 1);
    return fact;
}

struct fact *oracle_accounts(struct oracle *oracle, uint64_t wall_ns)
{
    struct fact *fact = make_fact(oracle, OPERATION_CREATE_ACCOUNTS, ORACLE_ACCOUNTS);
    struct account_event *events = (struct account_event *)(fact->bytes + 1);
    for (uint32_t i = 0; i < ORACLE_ACCOUNTS; i++) {
        events[i].id = make_id(0xacc, i + 1);
        events[i].ledger = ORACLE_LEDGER;
        events[i].code = 1;
        if (i % 4 == 3)
            events[i].flags = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS;
    }
    seal(oracle, fact, wall_ns, 1);
    return fact;
}

/* An event of an earlier request once more, now and then with another amount, a little more or by
 * its high half; false: not this time. Its id is spent, whatever became of it: or it never was, and
 * so much money nobody has. */
static bool again(struct oracle *oracle, struct transfer_event *out)
{
    if (!draw_chance(&oracle->draw, 1, 30))
        return false;
    const struct request_header *request =
        oracle->facts[draw_below(&oracle->draw, oracle->fact_count - 1)]->bytes;
    if (request->operation != OPERATION_CREATE_TRANSFERS)
        return false;
    *out = ((const struct transfer_event *)(request +
                                            1))[draw_below(&oracle->draw, request->event_count)];
    const uint64_t other = draw_below(&oracle->draw, 4);
    out->amount_low += other == 1;
    out->amount_high += other == 2;
    return true;
}

struct fact *oracle_transfers(struct oracle *oracle, uint64_t wall_ns)
{
    uint32_t count = 1;
    if (draw_chance(&oracle->draw, 1, 4))
        count = (uint32_t)draw_between(&oracle->draw, 2, ORACLE_EVENTS_MAX);
    struct fact *fact = make_fact(oracle, OPERATION_CREATE_TRANSFERS, count);
    struct transfer_event *events = (struct transfer_event *)(fact->bytes + 1);
    for (uint32_t i = 0; i < count; i++) {
        if (again(oracle, &events[i]))
            continue;
        const uint64_t debit = draw_below(&oracle->draw, ORACLE_ACCOUNTS);
        const uint64_t credit =
            (debit + 1 + draw_below(&oracle->draw, ORACLE_ACCOUNTS - 1)) % ORACLE_ACCOUNTS;
        events[i].id = make_id(0x7261, ++oracle->next_transfer);
        events[i].debit_account_id = make_id(0xacc, debit + 1);
        events[i].credit_account_id = make_id(0xacc, credit + 1);
        events[i].amount_low = draw_between(&oracle->draw, 1, 1000);
        events[i].ledger = ORACLE_LEDGER;
        events[i].code = 1;
        if (draw_chance(&oracle->draw, 1, 100)) /* no such account: refused, the id is burned */
            events[i].credit_account_id = make_id(0xacc, 1000);
    }
    seal(oracle, fact, wall_ns,
         draw_chance(&oracle->draw, 1, 4) ? ORACLE_PRINCIPAL_WEB : ORACLE_PRINCIPAL_APP);
    return fact;
}

struct request_header *oracle_fence(const struct fact *fact)
{
    struct request_header *fence = sim_allocate(sizeof *fence);
    fence->operation = OPERATION_FENCE_REQUEST;
    fence->issued_at_ns = fact->bytes->issued_at_ns;
    memcpy(fence->nonce, fact->bytes->nonce, sizeof fence->nonce);
    request_seal(fence, fact->bytes->principal);
    return fence;
}

struct fact *oracle_any(struct oracle *oracle)
{
    if (oracle->fact_count == 0)
        return NULL;
    uint64_t number = draw_below(&oracle->draw, oracle->fact_count);
    if (draw_chance(&oracle->draw, 2, 3)) /* mostly young ones */
        number = oracle->fact_count - 1 - draw_below(&oracle->draw, oracle->fact_count) % 20;
    while (number > 0 && oracle->facts[number]->only_once)
        number--;
    return oracle->facts[number];
}

/* ---- what was promised ---- */

static void acknowledge(struct oracle *oracle, uint64_t index)
{
    if (index <= oracle->acknowledged_index)
        return;
    oracle->acknowledged_index = index;
    const uint64_t at = oracle->history_count++ % ORACLE_HISTORY;
    oracle->history[at].at_ns = oracle->world->now_ns;
    oracle->history[at].index = index;
}

uint64_t oracle_index_before(const struct oracle *oracle, uint64_t at_ns)
{
    const uint64_t kept =
        oracle->history_count < ORACLE_HISTORY ? oracle->history_count : ORACLE_HISTORY;
    for (uint64_t i = 1; i <= kept; i++) {
        const uint64_t at = (oracle->history_count - i) % ORACLE_HISTORY;
        if (oracle->history[at].at_ns < at_ns)
            return oracle->history[at].index;
    }
    return 0;
}

void oracle_sent(struct oracle *oracle, struct fact *fact, bool fence)
{
    if (!fact->sent && !fact->fenced_sent) {
        fact->first_sent_ns = oracle->world->now_ns;
        fact->floor_index = oracle->acknowledged_index;
    }
    fact->sent = fact->sent || !fence;
    fact->fenced_sent = fact->fenced_sent || fence;
}

/* The same request has one answer, wherever and whenever it is asked. */
static bool is_same(const struct fact *fact, const struct answer *answer)
{
    if (fact->outcome != answer->outcome || fact->index != answer->index ||
        fact->stamp != answer->stamp)
        return false;
    return answer->outcome != OUTCOME_EXECUTED ||
           (answer->event_count == fact->bytes->event_count &&
            memcmp(fact->results, answer->results, answer->event_count) == 0);
}

static void note_answer(struct oracle *oracle, struct fact *fact, const struct answer *answer,
                        uint32_t host)
{
    if (fact->answered) {
        oracle->repeat_total++;
        if (!is_same(fact, answer))
            world_violate(oracle->world,
                          "request %" PRIu64 " was answered %s at index %" PRIu64
                          " before, host %u now says %s at index %" PRIu64
                          " (or its stamp or results differ)",
                          fact->number, outcome_name(fact->outcome), fact->index, host,
                          outcome_name(answer->outcome), answer->index);
        return;
    }
    if (answer->outcome == OUTCOME_EXECUTED && answer->event_count != fact->bytes->event_count)
        world_violate(oracle->world, "request %" PRIu64 ": %u results for %u events", fact->number,
                      answer->event_count, fact->bytes->event_count);
    fact->answered = true;
    fact->outcome = answer->outcome;
    fact->index = answer->index;
    fact->stamp = answer->stamp;
    if (answer->outcome == OUTCOME_EXECUTED && answer->event_count <= ORACLE_EVENTS_MAX)
        memcpy(fact->results, answer->results, answer->event_count);
    if (fact->index <= fact->floor_index)
        world_violate(oracle->world,
                      "request %" PRIu64 " was sent when index %" PRIu64
                      " was acknowledged already, and host %u answers index %" PRIu64,
                      fact->number, fact->floor_index, host, fact->index);
    acknowledge(oracle, fact->index);
}

void oracle_answered(struct oracle *oracle, struct fact *fact, const struct answer *answer,
                     uint32_t host)
{
    oracle->answer_total++;
    world_note(oracle->world, "answer", host, fact->number, answer->index);
    switch (answer->outcome) {
    case OUTCOME_EXECUTED:
        if (!fact->sent)
            world_violate(oracle->world, "request %" PRIu64 " was executed and never sent",
                          fact->number);
        break;
    case OUTCOME_REQUEST_FENCED:
        if (!fact->fenced_sent)
            world_violate(oracle->world, "request %" PRIu64 " is fenced, and nobody asked for it",
                          fact->number);
        break;
    case OUTCOME_ISSUED_TOO_FAR_AHEAD:
        return; /* ledger time is behind a client's clock: nothing was done, ask again */
    case OUTCOME_BEYOND_WINDOW:
        oracle->too_old_total++;
        if (fact->bytes->issued_at_ns + REQUEST_WINDOW_NS >= answer->stamp ||
            answer->stamp > world_wall_ns(oracle->world) + CLOCKS_AHEAD_NS)
            world_violate(oracle->world,
                          "request %" PRIu64 ": host %u says that it is too old, and it is not%s",
                          fact->number, host, fact->answered ? ": it was answered before" : "");
        return;
    default:
        world_violate(oracle->world, "request %" PRIu64 ": host %u answers %s", fact->number, host,
                      outcome_name(answer->outcome));
        return;
    }
    note_answer(oracle, fact, answer, host);
}

void oracle_read(struct oracle *oracle, const struct machine *machine, uint64_t floor_index,
                 bool linearizable, uint32_t host)
{
    const uint64_t applied = machine_applied_index(machine);
    oracle->read_total++;
    world_note(oracle->world, "read", host, applied, floor_index);
    if (applied < floor_index)
        world_violate(oracle->world,
                      "stale read at host %u: it has applied %" PRIu64 ", but %" PRIu64
                      " was acknowledged before the read began",
                      host, applied, floor_index);
    if (linearizable)
        acknowledge(oracle, applied);
    struct sample sample = {
        .index = applied,
        .account = (uint32_t)draw_below(&oracle->draw, ORACLE_ACCOUNTS),
        .transfer_count = machine_transfer_count(machine),
    };
    const struct id128 id = make_id(0xacc, sample.account + 1);
    struct account account;
    if (!machine_account(machine, &id, &account))
        return; /* before the accounts were made */
    sample.debits =
        u128_make(account.balance.debits_posted_low, account.balance.debits_posted_high);
    sample.credits =
        u128_make(account.balance.credits_posted_low, account.balance.credits_posted_high);
    if (oracle->sample_count == oracle->sample_capacity) {
        oracle->sample_capacity = oracle->sample_capacity == 0 ? 256 : 2 * oracle->sample_capacity;
        oracle->samples =
            sim_resize(oracle->samples, oracle->sample_capacity * sizeof *oracle->samples);
    }
    oracle->samples[oracle->sample_count++] = sample;
}

void oracle_lookup(struct oracle *oracle, const struct fact *fact, const struct machine *machine,
                   bool answered_before, uint32_t host)
{
    static uint8_t results[REQUEST_EVENTS_MAX];
    struct answer answer;
    oracle->lookup_total++;
    machine_request(machine, fact->bytes->principal, fact->bytes->nonce, fact->bytes->issued_at_ns,
                    &answer, results);
    if (answer.outcome == OUTCOME_NOT_YET_SEEN) {
        if (answered_before)
            world_violate(oracle->world,
                          "request %" PRIu64 " was answered at index %" PRIu64
                          ", host %u (applied %" PRIu64 ") has not seen it",
                          fact->number, fact->index, host, machine_applied_index(machine));
        return;
    }
    if (answer.outcome == OUTCOME_BEYOND_WINDOW) {
        if (fact->bytes->issued_at_ns + REQUEST_WINDOW_NS >= machine_stamp(machine))
            world_violate(oracle->world,
                          "request %" PRIu64 ": host %u holds it for too old, and it is not",
                          fact->number, host);
        return;
    }
    if (fact->answered && !is_same(fact, &answer))
        world_violate(oracle->world,
                      "request %" PRIu64 " was answered %s at index %" PRIu64
                      "; host %u knows it as %s at index %" PRIu64,
                      fact->number, outcome_name(fact->outcome), fact->index, host,
                      outcome_name(answer.outcome), answer.index);
    if (answer.outcome == OUTCOME_EXECUTED && !fact->sent)
        world_violate(oracle->world, "request %" PRIu64 " is known at host %u and was never sent",
                      fact->number, host);
}

void oracle_remember(struct oracle *oracle, const struct machine *machine)
{
    static uint8_t results[REQUEST_EVENTS_MAX];
    for (uint64_t i = 0; i < oracle->fact_count; i++) {
        struct fact *fact = oracle->facts[i];
        struct answer answer;
        if (fact->answered)
            continue;
        machine_request(machine, fact->bytes->principal, fact->bytes->nonce,
                        fact->bytes->issued_at_ns, &answer, results);
        if (answer.outcome != OUTCOME_EXECUTED && answer.outcome != OUTCOME_REQUEST_FENCED)
            continue;
        if (answer.outcome == OUTCOME_EXECUTED && (fact->denied || !fact->sent))
            world_violate(oracle->world,
                          "request %" PRIu64
                          " was executed and never sent, or denied to its caller",
                          fact->number);
        fact->answered = true;
        fact->outcome = answer.outcome;
        fact->index = answer.index;
        fact->stamp = answer.stamp;
        if (answer.outcome == OUTCOME_EXECUTED && answer.event_count <= ORACLE_EVENTS_MAX)
            memcpy(fact->results, answer.results, answer.event_count);
    }
}
