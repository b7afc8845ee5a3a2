/* Drawing requests at random, see workload.h. */
#include "workload.h"

#include "test_bank.h"

#include <stdio.h>

uint64_t workload_draw(struct workload *workload, uint64_t below)
{
    uint64_t z = workload->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

bool workload_chance(struct workload *workload, uint64_t one_in)
{
    return workload_draw(workload, one_in) == 0;
}

/* ---- events ---- */

static struct id128 draw_id(struct workload *workload, uint64_t below)
{
    struct id128 id = id_of(1 + workload_draw(workload, below));
    if (workload_chance(workload, 60))
        memset(&id, workload_chance(workload, 2) ? 0 : 0xff, sizeof id);
    return id;
}

static struct ledger_event draw_ledger(struct workload *workload)
{
    struct ledger_event event = ledger_of(
        (uint32_t)workload_draw(workload, 7), workload_chance(workload, 9) ? "EUR" : "CNY",
        workload_chance(workload, 9) ? 3 : 2, workload_chance(workload, 9) ? "other" : "name");
    switch (workload_draw(workload, 40)) {
    case 0:
        event.flags = 1;
        break;
    case 1:
        event.reserved = 1;
        break;
    case 2:
        event.name[63] = 'x';
        break;
    case 3:
        event.currency[1] = '1';
        break;
    case 4:
        event.exponent = 19;
        break;
    case 5:
        event.name_size = (uint8_t)(workload_chance(workload, 2) ? 0 : 200);
        break;
    default:
        break;
    }
    return event;
}

static struct account_event draw_account(struct workload *workload)
{
    struct account_event event = account_of(0, (uint32_t)(1 + workload_draw(workload, 4)), 1, 0);
    event.id = draw_id(workload, 45);
    /* What belongs to an id is mostly a function of it, so that repeats are often equal. */
    event.flags = event.id.bytes[0] % 8 == 1 ? 1 : event.id.bytes[0] % 8 == 2 ? 2 : 0;
    if (!workload_chance(workload, 6))
        event.ledger = 1 + event.id.bytes[0] % 3;
    switch (workload_draw(workload, 60)) {
    case 0:
        event.flags = (uint16_t)workload_draw(workload, 8);
        break;
    case 1:
        event.reserved_0 = 1;
        break;
    case 2:
        event.reserved_1 = 1;
        break;
    case 3:
        event.ledger = (uint32_t)workload_draw(workload, 8);
        break;
    case 4:
        event.code = (uint16_t)workload_draw(workload, 3);
        break;
    case 5:
        event.user_data_128 = id_of(1);
        break;
    case 6:
        event.user_data_64 = 1;
        break;
    case 7:
        event.user_data_32 = 1;
        break;
    default:
        break;
    }
    return event;
}

static void draw_amount(struct workload *workload, struct transfer_event *event)
{
    u128 amount = 1 + workload_draw(workload, 100);
    if (event->ledger == 3 && workload_chance(workload, 6))
        amount = U128_MAX - workload_draw(workload, 50);
    if (event->ledger == 2 && workload_chance(workload, 4))
        amount = ((u128)workload_draw(workload, 4) << 64) + UINT64_MAX - workload_draw(workload, 3);
    if (workload_chance(workload, 60))
        amount = 0;
    event->amount_low = u128_low(amount);
    event->amount_high = u128_high(amount);
}

static struct transfer_event draw_transfer(struct workload *workload)
{
    struct transfer_event event =
        transfer_of(0, 0, 0, 0, (uint32_t)(1 + workload_draw(workload, 3)));
    const struct oracle *oracle = workload->oracle;
    if (oracle->transfer_count > 0 && workload_chance(workload, 8)) {
        /* An old one again, equal in all fields. */
        const struct transfer_record *old =
            &oracle->transfers[workload_draw(workload, oracle->transfer_count)];
        event.id = old->id;
        event.ledger = old->ledger;
        event.amount_low = old->amount_low;
        event.amount_high = old->amount_high;
        event.debit_account_id = old->debit_ordinal == ORDINAL_NONE
                                     ? id_of(99)
                                     : oracle->accounts[old->debit_ordinal].id;
        event.credit_account_id = old->credit_ordinal == ORDINAL_NONE
                                      ? id_of(99)
                                      : oracle->accounts[old->credit_ordinal].id;
    } else {
        event.id = draw_id(workload, 50 + 4 * oracle->transfer_count);
        /* Accounts of one ledger have ids that are equal modulo 3. */
        event.debit_account_id = draw_id(workload, 45);
        event.credit_account_id = draw_id(workload, 45);
        if (!workload_chance(workload, 8)) {
            uint64_t rest = (event.ledger + 2) % 3;
            event.debit_account_id = id_of(3 * workload_draw(workload, 15) + rest);
            event.credit_account_id = id_of(3 * workload_draw(workload, 15) + rest);
        }
        draw_amount(workload, &event);
    }
    switch (workload_draw(workload, 80)) {
    case 0:
        event.flags = (uint16_t)(1u << workload_draw(workload, 16));
        break;
    case 1:
        event.reserved = 1;
        break;
    case 2:
        event.ledger = (uint32_t)workload_draw(workload, 8);
        break;
    case 3:
        event.code = (uint16_t)workload_draw(workload, 3);
        break;
    case 4:
        event.pending_id = id_of(1);
        break;
    case 5:
        event.timeout_s = 1;
        break;
    case 6:
        event.value_date = (uint32_t)(20260200 + workload_draw(workload, 40));
        break;
    case 7:
        event.user_data_128 = id_of(1);
        break;
    case 8:
        event.user_data_64 = 1;
        break;
    case 9:
        event.user_data_32 = 1;
        break;
    case 10:
        event.amount_low++;
        break;
    case 11:
        event.debit_account_id = draw_id(workload, 45);
        break;
    case 12:
        event.credit_account_id = draw_id(workload, 45);
        break;
    default:
        break;
    }
    return event;
}

static struct principal_event draw_principal(struct workload *workload)
{
    char uri[16];
    char name[16];
    uint64_t number = workload_draw(workload, 14);
    snprintf(uri, sizeof uri, "t:%llu", (unsigned long long)number);
    snprintf(name, sizeof name, "p%llu",
             (unsigned long long)(workload_chance(workload, 9) ? 1 : number / 2));
    struct principal_event event = principal_of(name, uri, (uint8_t)(1 + number % 3));
    event.in_flight_max = (uint32_t)workload_draw(workload, 3);
    switch (workload_draw(workload, 24)) {
    case 0:
    case 1:
        event.role = (uint8_t)workload_draw(workload, ROLE_COUNT + 2);
        break;
    case 2:
        event.reserved_0 = 1;
        break;
    case 3:
        event.uri[200] = 'x';
        break;
    case 4:
        event.name[0] = 1;
        break;
    case 5:
        event.uri[0] = '1';
        break;
    case 6:
    case 7:
        event.role = ROLE_NONE;
        break;
    default:
        break;
    }
    return event;
}

/* ---- requests and entries ---- */

/* Six rows of the roles that may write. */
static void genesis_request(struct oracle_request *request)
{
    memset(request, 0, sizeof *request);
    request->operation = OPERATION_SET_PRINCIPALS;
    request->event_count = 6;
    for (uint32_t i = 0; i < 6; i++) {
        char uri[16];
        char name[16];
        snprintf(uri, sizeof uri, "t:%u", i);
        snprintf(name, sizeof name, "p%u", i / 2);
        request->events.principal[i] = principal_of(name, uri, (uint8_t)(1 + i % 3));
    }
}

/* Mostly somebody who may do it. */
static uint32_t draw_caller(struct workload *workload, uint16_t operation)
{
    const struct oracle *oracle = workload->oracle;
    for (int tries = 0; tries < 8 && oracle->principal_count > 0; tries++) {
        uint32_t row = (uint32_t)workload_draw(workload, oracle->principal_count);
        uint8_t role = oracle->principals[row].role;
        if ((operation == OPERATION_CREATE_TRANSFERS && role == ROLE_CHANNEL) ||
            (operation == OPERATION_SET_PRINCIPALS && role == ROLE_SITE_OPERATOR) ||
            (operation <= OPERATION_CREATE_ACCOUNTS && role == ROLE_BUSINESS_OPERATOR) ||
            operation == OPERATION_FENCE_REQUEST)
            return row;
    }
    return (uint32_t)workload_draw(workload, 16);
}

static void draw_request(struct workload *workload, struct oracle_request *request)
{
    static const uint16_t operations[] = {OPERATION_CREATE_LEDGERS,   OPERATION_CREATE_ACCOUNTS,
                                          OPERATION_CREATE_ACCOUNTS,  OPERATION_CREATE_TRANSFERS,
                                          OPERATION_CREATE_TRANSFERS, OPERATION_CREATE_TRANSFERS,
                                          OPERATION_CREATE_TRANSFERS, OPERATION_CREATE_TRANSFERS,
                                          OPERATION_FENCE_REQUEST,    OPERATION_SET_PRINCIPALS};
    if (workload->history_count > 0 && workload_chance(workload, 5)) {
        *request = workload->history[workload_draw(workload, workload->history_count)];
        request->malformed = false;
        if (workload_chance(workload, 4))
            request->operation = OPERATION_FENCE_REQUEST;
        if (workload_chance(workload, 6))
            request->issued_at_ns = workload->stamp;
        if (workload_chance(workload, 6))
            request->events.transfer[0].code++;
        if (request->operation == OPERATION_FENCE_REQUEST)
            request->event_count = 0;
        return;
    }
    memset(request, 0, sizeof *request);
    request->operation =
        operations[workload_draw(workload, sizeof operations / sizeof operations[0])];
    request->principal = draw_caller(workload, request->operation);
    request->nonce = workload_draw(workload, 400);
    request->issued_at_ns = workload->stamp - workload_draw(workload, 10 * TEST_SECOND);
    if (workload_chance(workload, 20))
        request->issued_at_ns =
            workload->stamp - REQUEST_WINDOW_NS + workload_draw(workload, 3) - 1;
    if (workload_chance(workload, 20))
        request->issued_at_ns = workload->stamp + REQUEST_AHEAD_NS + workload_draw(workload, 3) - 1;
    if (workload_chance(workload, 50))
        request->issued_at_ns = workload_chance(workload, 2) ? 0 : UINT64_MAX;
    if (request->operation == OPERATION_FENCE_REQUEST)
        return;
    request->event_count = 1 + (uint32_t)workload_draw(
                                   workload, workload_chance(workload, 10) ? ORACLE_EVENTS_MAX : 4);
    for (uint32_t i = 0; i < request->event_count; i++) {
        if (request->operation == OPERATION_CREATE_LEDGERS)
            request->events.ledger[i] = draw_ledger(workload);
        if (request->operation == OPERATION_CREATE_ACCOUNTS)
            request->events.account[i] = draw_account(workload);
        if (request->operation == OPERATION_CREATE_TRANSFERS)
            request->events.transfer[i] = draw_transfer(workload);
        if (request->operation == OPERATION_SET_PRINCIPALS)
            request->events.principal[i] = draw_principal(workload);
    }
}

static void draw_time(struct workload *workload)
{
    switch (workload_draw(workload, 40)) {
    case 0:
        workload->stamp += workload_draw(workload, 30) * TEST_HOUR;
        break;
    case 1:
        workload->stamp += 10 * TEST_HOUR;
        break;
    case 2: /* stands still */
        break;
    case 3:
        workload->stamp -= workload_draw(workload, TEST_MINUTE);
        break;
    default:
        workload->stamp += workload_draw(workload, 20 * TEST_SECOND);
    }
}

void workload_init(struct workload *workload, uint64_t seed, const struct oracle *oracle)
{
    *workload = (struct workload){.random = seed, .stamp = TEST_START, .oracle = oracle};
}

uint32_t workload_entry(struct workload *workload, struct oracle_request *out_requests)
{
    draw_time(workload);
    uint32_t count = 1 + (uint32_t)workload_draw(workload, ORACLE_REQUESTS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        draw_request(workload, &out_requests[i]);
        if (workload->entry_count == 0 && i == 0)
            genesis_request(&out_requests[i]);
        out_requests[i].malformed = workload->entry_count > 0 && workload_chance(workload, 200);
        uint32_t place = workload->history_count < WORKLOAD_HISTORY
                             ? workload->history_count++
                             : (uint32_t)workload_draw(workload, WORKLOAD_HISTORY);
        workload->history[place] = out_requests[i];
    }
    workload->entry_count++;
    return count;
}
