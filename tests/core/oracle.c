/* The slow and obvious ledger, see oracle.h. Rules are lists of "if this is so, then that number",
 * the first true one counts. */
#include "oracle.h"

#include "command_builder.h"
#include "core/answer.h"
#include "core/digest.h"
#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>

static void need(bool enough, const char *what)
{
    if (enough)
        return;
    fprintf(stderr, "oracle: too small for %s\n", what);
    abort();
}

static bool filled(const void *bytes, size_t size, uint8_t value)
{
    for (size_t i = 0; i < size; i++)
        if (((const uint8_t *)bytes)[i] != value)
            return false;
    return true;
}

static u128 sum_of(uint64_t low, uint64_t high)
{
    return ((u128)high << 64) + low;
}

static bool overflows(u128 a, u128 b)
{
    u128 sum;
    return __builtin_add_overflow(a, b, &sum);
}

/* ---- finding ---- */

static int find_ledger(const struct oracle *o, uint32_t id)
{
    for (uint32_t i = 0; i < o->ledger_count; i++)
        if (o->ledgers[i].id == id)
            return (int)i;
    return -1;
}

static int find_account(const struct oracle *o, const struct id128 *id)
{
    for (uint32_t i = 0; i < o->account_count; i++)
        if (memcmp(&o->accounts[i].id, id, sizeof *id) == 0)
            return (int)i;
    return -1;
}

static const struct transfer_record *find_transfer(const struct oracle *o, const struct id128 *id)
{
    for (uint64_t i = 0; i < o->transfer_count; i++)
        if (memcmp(&o->transfers[i].id, id, sizeof *id) == 0)
            return &o->transfers[i];
    return NULL;
}

/* ---- ledgers ---- */

static uint8_t judge_ledger(const struct oracle *o, const struct ledger_event *e)
{
    size_t name_size = e->name_size <= NAME_SIZE_MAX ? e->name_size : NAME_SIZE_MAX;
    int i = find_ledger(o, e->id);
    const struct ledger_record *old = i >= 0 ? &o->ledgers[i] : NULL;
    const struct {
        bool so;
        uint8_t then;
    } rungs[] = {
        {e->id == 0, RESULT_ID_ZERO},
        {e->flags != 0, RESULT_RESERVED_FLAG},
        {e->reserved != 0 || !filled(e->name + name_size, NAME_SIZE_MAX - name_size, 0),
         RESULT_RESERVED_FIELD},
        {!text_is_currency(e->currency), RESULT_CURRENCY_INVALID},
        {e->exponent > 18, RESULT_EXPONENT_INVALID},
        {!text_is_name(e->name, e->name_size, NAME_SIZE_MAX), RESULT_NAME_INVALID},
        {old && memcmp(old->currency, e->currency, 4) != 0, RESULT_EXISTS_WITH_DIFFERENT_CURRENCY},
        {old && old->exponent != e->exponent, RESULT_EXISTS_WITH_DIFFERENT_EXPONENT},
        {old && (old->name_size != e->name_size || memcmp(old->name, e->name, NAME_SIZE_MAX) != 0),
         RESULT_EXISTS_WITH_DIFFERENT_NAME},
        {old != NULL, RESULT_EXISTS},
        {o->ledger_count == o->ledger_count_max, RESULT_LEDGER_TABLE_FULL},
    };
    for (size_t r = 0; r < sizeof rungs / sizeof rungs[0]; r++)
        if (rungs[r].so)
            return rungs[r].then;
    return RESULT_OK;
}

static uint8_t do_ledger(struct oracle *o, const struct ledger_event *e, uint64_t stamp)
{
    uint8_t result = judge_ledger(o, e);
    if (result != RESULT_OK)
        return result;
    need(o->ledger_count < 16, "ledgers");
    struct ledger_record *record = &o->ledgers[o->ledger_count++];
    *record = (struct ledger_record){
        .id = e->id, .exponent = e->exponent, .name_size = e->name_size, .timestamp = stamp};
    memcpy(record->currency, e->currency, 4);
    memcpy(record->name, e->name, NAME_SIZE_MAX);
    return RESULT_OK;
}

/* ---- accounts ---- */

static uint8_t judge_account(const struct oracle *o, const struct account_event *e)
{
    int i = find_account(o, &e->id);
    const struct account_record *old = i >= 0 ? &o->accounts[i] : NULL;
    const struct {
        bool so;
        uint8_t then;
    } rungs[] = {
        {filled(&e->id, 16, 0), RESULT_ID_ZERO},
        {filled(&e->id, 16, 0xff), RESULT_ID_MAX},
        {e->flags > 3, RESULT_RESERVED_FLAG},
        {e->reserved_0 != 0 || e->reserved_1 != 0, RESULT_RESERVED_FIELD},
        {e->flags == 3, RESULT_FLAGS_MUTUALLY_EXCLUSIVE},
        {e->ledger == 0, RESULT_LEDGER_ZERO},
        {e->code == 0, RESULT_CODE_ZERO},
        {old && old->flags != e->flags, RESULT_EXISTS_WITH_DIFFERENT_FLAGS},
        {old && old->ledger != e->ledger, RESULT_EXISTS_WITH_DIFFERENT_LEDGER},
        {old && old->code != e->code, RESULT_EXISTS_WITH_DIFFERENT_CODE},
        {old && memcmp(&old->user_data_128, &e->user_data_128, 16) != 0,
         RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_128},
        {old && old->user_data_64 != e->user_data_64, RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_64},
        {old && old->user_data_32 != e->user_data_32, RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_32},
        {old != NULL, RESULT_EXISTS},
        {find_ledger(o, e->ledger) < 0, RESULT_LEDGER_NOT_FOUND},
        {o->account_count == o->account_count_max, RESULT_ACCOUNT_TABLE_FULL},
    };
    for (size_t r = 0; r < sizeof rungs / sizeof rungs[0]; r++)
        if (rungs[r].so)
            return rungs[r].then;
    return RESULT_OK;
}

static uint8_t do_account(struct oracle *o, const struct account_event *e, uint64_t stamp)
{
    uint8_t result = judge_account(o, e);
    if (result != RESULT_OK)
        return result;
    need(o->account_count < 128, "accounts");
    o->ledgers[find_ledger(o, e->ledger)].account_count++;
    o->balances[o->account_count] = (struct balance_record){.last_sequence = SEQUENCE_NONE};
    o->accounts[o->account_count++] = (struct account_record){
        .id = e->id,
        .user_data_128 = e->user_data_128,
        .user_data_64 = e->user_data_64,
        .timestamp = stamp,
        .user_data_32 = e->user_data_32,
        .ledger = e->ledger,
        .code = e->code,
        .flags = e->flags,
    };
    return RESULT_OK;
}

/* ---- transfers ---- */

static bool is_date(uint32_t date)
{
    static const uint32_t days[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint32_t y = date / 10000;
    uint32_t m = date / 100 % 100;
    uint32_t d = date % 100;
    if (date == 0)
        return true;
    if (y < 1900 || y > 9999 || m < 1 || m > 12 || d < 1)
        return false;
    bool leap = y % 400 == 0 || (y % 4 == 0 && y % 100 != 0);
    return d <= (m == 2 && leap ? 29 : days[m]);
}

static uint8_t judge_transfer(const struct oracle *o, const struct transfer_event *e)
{
    const struct transfer_record *old = find_transfer(o, &e->id);
    const struct account_record *old_debit = NULL;
    const struct account_record *old_credit = NULL;
    if (old && old->result == RESULT_OK) {
        old_debit = &o->accounts[old->debit_ordinal];
        old_credit = &o->accounts[old->credit_ordinal];
    }
    int ledger = find_ledger(o, e->ledger);
    int d = find_account(o, &e->debit_account_id);
    int c = find_account(o, &e->credit_account_id);
    u128 amount = sum_of(e->amount_low, e->amount_high);
    u128 total = 0, debits = 0, debit_credits = 0, credits = 0, credit_debits = 0;
    if (ledger >= 0)
        total = sum_of(o->ledgers[ledger].debits_posted_low, o->ledgers[ledger].debits_posted_high);
    if (d >= 0) {
        debits = sum_of(o->balances[d].debits_posted_low, o->balances[d].debits_posted_high);
        debit_credits =
            sum_of(o->balances[d].credits_posted_low, o->balances[d].credits_posted_high);
    }
    if (c >= 0) {
        credits = sum_of(o->balances[c].credits_posted_low, o->balances[c].credits_posted_high);
        credit_debits = sum_of(o->balances[c].debits_posted_low, o->balances[c].debits_posted_high);
    }
    uint32_t debit_ledger = d >= 0 ? o->accounts[d].ledger : 0;
    uint32_t credit_ledger = c >= 0 ? o->accounts[c].ledger : 0;
    bool debit_limited = d >= 0 && o->accounts[d].flags == 1;
    bool credit_limited = c >= 0 && o->accounts[c].flags == 2;
    const struct {
        bool so;
        uint8_t then;
    } rungs[] = {
        {filled(&e->id, 16, 0), RESULT_ID_ZERO},
        {filled(&e->id, 16, 0xff), RESULT_ID_MAX},
        {e->flags != 0, RESULT_RESERVED_FLAG},
        {e->reserved != 0, RESULT_RESERVED_FIELD},
        {e->ledger == 0, RESULT_LEDGER_ZERO},
        {e->code == 0, RESULT_CODE_ZERO},
        {filled(&e->debit_account_id, 16, 0), RESULT_DEBIT_ACCOUNT_ID_ZERO},
        {filled(&e->debit_account_id, 16, 0xff), RESULT_DEBIT_ACCOUNT_ID_MAX},
        {filled(&e->credit_account_id, 16, 0), RESULT_CREDIT_ACCOUNT_ID_ZERO},
        {filled(&e->credit_account_id, 16, 0xff), RESULT_CREDIT_ACCOUNT_ID_MAX},
        {memcmp(&e->debit_account_id, &e->credit_account_id, 16) == 0, RESULT_ACCOUNTS_SAME},
        {amount == 0, RESULT_AMOUNT_ZERO},
        {!filled(&e->pending_id, 16, 0), RESULT_PENDING_ID_NOT_ZERO},
        {e->timeout_s != 0, RESULT_TIMEOUT_NOT_ZERO},
        {!is_date(e->value_date), RESULT_VALUE_DATE_INVALID},
        {old && old->result != RESULT_OK, RESULT_ID_ALREADY_FAILED},
        {old && old->ledger != e->ledger, RESULT_EXISTS_WITH_DIFFERENT_LEDGER},
        {old && old->code != e->code, RESULT_EXISTS_WITH_DIFFERENT_CODE},
        {old_debit && memcmp(&old_debit->id, &e->debit_account_id, 16) != 0,
         RESULT_EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID},
        {old_credit && memcmp(&old_credit->id, &e->credit_account_id, 16) != 0,
         RESULT_EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID},
        {old && sum_of(old->amount_low, old->amount_high) != amount,
         RESULT_EXISTS_WITH_DIFFERENT_AMOUNT},
        {old && memcmp(&old->user_data_128, &e->user_data_128, 16) != 0,
         RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_128},
        {old && old->user_data_64 != e->user_data_64, RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_64},
        {old && old->user_data_32 != e->user_data_32, RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_32},
        {old && old->value_date != e->value_date, RESULT_EXISTS_WITH_DIFFERENT_VALUE_DATE},
        {old != NULL, RESULT_EXISTS},
        {ledger < 0, RESULT_LEDGER_NOT_FOUND},
        {d < 0, RESULT_DEBIT_ACCOUNT_NOT_FOUND},
        {c < 0, RESULT_CREDIT_ACCOUNT_NOT_FOUND},
        {debit_ledger != credit_ledger, RESULT_ACCOUNTS_ON_DIFFERENT_LEDGERS},
        {debit_ledger != e->ledger, RESULT_TRANSFER_ON_OTHER_LEDGER},
        {overflows(debits, amount), RESULT_OVERFLOWS_DEBITS},
        {overflows(credits, amount), RESULT_OVERFLOWS_CREDITS},
        {debit_limited && debits + amount > debit_credits, RESULT_EXCEEDS_CREDITS},
        {credit_limited && credits + amount > credit_debits, RESULT_EXCEEDS_DEBITS},
        {overflows(total, amount), RESULT_OVERFLOWS_LEDGER},
    };
    for (size_t r = 0; r < sizeof rungs / sizeof rungs[0]; r++)
        if (rungs[r].so)
            return rungs[r].then;
    return RESULT_OK;
}

static void add(uint64_t *low, uint64_t *high, u128 amount)
{
    u128 sum = sum_of(*low, *high) + amount;
    *low = (uint64_t)sum;
    *high = (uint64_t)(sum >> 64);
}

static uint8_t do_transfer(struct oracle *o, const struct transfer_event *e, uint64_t stamp)
{
    uint8_t result = judge_transfer(o, e);
    if (result != RESULT_OK && (result < 60 || result > 69))
        return result;
    int d = find_account(o, &e->debit_account_id);
    int c = find_account(o, &e->credit_account_id);
    need(o->transfer_count < 16384, "transfers");
    uint64_t sequence = o->transfer_count++;
    o->transfers[sequence] = (struct transfer_record){
        .id = e->id,
        .amount_low = e->amount_low,
        .amount_high = e->amount_high,
        .user_data_128 = e->user_data_128,
        .user_data_64 = e->user_data_64,
        .previous_debit_sequence = result == RESULT_OK ? o->balances[d].last_sequence : UINT64_MAX,
        .previous_credit_sequence = result == RESULT_OK ? o->balances[c].last_sequence : UINT64_MAX,
        .timestamp = stamp,
        .debit_ordinal = d >= 0 ? (uint32_t)d : UINT32_MAX,
        .credit_ordinal = c >= 0 ? (uint32_t)c : UINT32_MAX,
        .user_data_32 = e->user_data_32,
        .ledger = e->ledger,
        .code = e->code,
        .value_date = e->value_date,
        .result = result,
    };
    if (result != RESULT_OK)
        return result;
    u128 amount = sum_of(e->amount_low, e->amount_high);
    struct ledger_record *ledger = &o->ledgers[find_ledger(o, e->ledger)];
    add(&o->balances[d].debits_posted_low, &o->balances[d].debits_posted_high, amount);
    add(&o->balances[c].credits_posted_low, &o->balances[c].credits_posted_high, amount);
    add(&ledger->debits_posted_low, &ledger->debits_posted_high, amount);
    add(&ledger->credits_posted_low, &ledger->credits_posted_high, amount);
    o->balances[d].last_sequence = o->balances[c].last_sequence = sequence;
    o->balances[d].transfer_count++;
    o->balances[c].transfer_count++;
    return RESULT_OK;
}

/* ---- principals ---- */

static uint8_t do_principal(struct oracle *o, const struct principal_event *e)
{
    size_t name_size = e->name_size <= NAME_SIZE_MAX ? e->name_size : NAME_SIZE_MAX;
    struct principal_record *old = NULL;
    uint32_t operators = 0;
    uint32_t name_ordinal = o->principal_count;
    for (uint32_t i = 0; i < o->principal_count; i++) {
        struct principal_record *row = &o->principals[i];
        if (row->uri_size == e->uri_size && memcmp(row->uri, e->uri, e->uri_size) == 0)
            old = row;
        if (name_ordinal == o->principal_count && row->name_size == e->name_size &&
            memcmp(row->name, e->name, name_size) == 0)
            name_ordinal = i;
        operators += row->role == ROLE_SITE_OPERATOR;
    }
    const struct {
        bool so;
        uint8_t then;
    } rungs[] = {
        {e->reserved_0 != 0 || !filled(e->name + name_size, NAME_SIZE_MAX - name_size, 0) ||
             !filled(e->uri + e->uri_size, 256u - e->uri_size, 0),
         RESULT_RESERVED_FIELD},
        {!text_is_name(e->name, e->name_size, NAME_SIZE_MAX), RESULT_NAME_INVALID},
        {!text_is_uri(e->uri, e->uri_size, 255), RESULT_URI_INVALID},
        {e->role > ROLE_NODE, RESULT_ROLE_INVALID},
        {old && (old->name_size != e->name_size || memcmp(old->name, e->name, name_size) != 0),
         RESULT_EXISTS_WITH_DIFFERENT_NAME},
        {old && old->role == ROLE_SITE_OPERATOR && e->role != ROLE_SITE_OPERATOR && operators == 1,
         RESULT_LAST_SITE_OPERATOR},
        {!old && o->principal_count == o->principal_count_max, RESULT_PRINCIPAL_TABLE_FULL},
    };
    for (size_t r = 0; r < sizeof rungs / sizeof rungs[0]; r++)
        if (rungs[r].so)
            return rungs[r].then;
    if (!old) {
        need(o->principal_count < 32, "principals");
        old = &o->principals[o->principal_count++];
        *old = (struct principal_record){
            .uri_size = e->uri_size, .name_size = e->name_size, .name_ordinal = name_ordinal};
        memcpy(old->name, e->name, NAME_SIZE_MAX);
        memcpy(old->uri, e->uri, 256);
    }
    old->role = e->role;
    old->in_flight_max = e->in_flight_max;
    return RESULT_OK;
}

/* ---- requests ---- */

static bool expired(uint64_t issued_at_ns, uint64_t now)
{
    return (u128)now > (u128)issued_at_ns + REQUEST_WINDOW_NS;
}

uint8_t oracle_find(const struct oracle *o, uint32_t name_ordinal, uint64_t nonce,
                    uint64_t issued_at_ns, uint64_t now, const struct oracle_memory **out)
{
    uint8_t bytes[16];
    nonce_of(nonce, bytes);
    for (uint64_t i = 0; i < o->request_count; i++) {
        const struct request_record *record = &o->requests[i].record;
        if (record->principal_name != name_ordinal || memcmp(record->nonce, bytes, 16) != 0 ||
            expired(record->issued_at_ns, now))
            continue;
        *out = &o->requests[i];
        return record->issued_at_ns == issued_at_ns ? record->outcome : OUTCOME_NONCE_REUSED;
    }
    return expired(issued_at_ns, now) ? OUTCOME_BEYOND_WINDOW : OUTCOME_NOT_YET_SEEN;
}

static bool window_full(const struct oracle *o, uint64_t now, uint32_t event_count)
{
    const uint64_t minute = 60ull * 1000000000ull;
    uint64_t count = 0;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < o->request_count; i++) {
        uint64_t forget = o->requests[i].record.issued_at_ns + REQUEST_WINDOW_NS;
        if (forget / minute >= now / minute) {
            count++;
            bytes += o->requests[i].record.answer_size;
        }
    }
    return count >= o->request_count_max || bytes + event_count > o->request_answer_bytes_max;
}

static void execute(struct oracle *o, const struct oracle_request *r, uint64_t stamp,
                    uint8_t *results)
{
    for (uint32_t i = 0; i < r->event_count; i++) {
        if (r->operation == OPERATION_CREATE_LEDGERS)
            results[i] = do_ledger(o, &r->events.ledger[i], stamp + i);
        if (r->operation == OPERATION_CREATE_ACCOUNTS)
            results[i] = do_account(o, &r->events.account[i], stamp + i);
        if (r->operation == OPERATION_CREATE_TRANSFERS)
            results[i] = do_transfer(o, &r->events.transfer[i], stamp + i);
        if (r->operation == OPERATION_SET_PRINCIPALS)
            results[i] = do_principal(o, &r->events.principal[i]);
    }
}

static bool allowed(uint8_t role, uint16_t operation)
{
    switch (role) {
    case ROLE_CHANNEL:
        return operation == OPERATION_CREATE_TRANSFERS || operation == OPERATION_FENCE_REQUEST;
    case ROLE_BUSINESS_OPERATOR:
        return operation == OPERATION_CREATE_LEDGERS || operation == OPERATION_CREATE_ACCOUNTS ||
               operation == OPERATION_FENCE_REQUEST;
    case ROLE_SITE_OPERATOR:
        return operation == OPERATION_SET_PRINCIPALS || operation == OPERATION_FENCE_REQUEST;
    default:
        return false;
    }
}

static void do_request(struct oracle *o, const struct oracle_request *r, const uint8_t digest[32],
                       uint64_t now, struct oracle_answer *answer)
{
    if (o->principal_count == 0 && r->operation == OPERATION_SET_PRINCIPALS && r->principal == 0) {
        execute(o, r, answer->stamp, answer->results);
        answer->outcome = OUTCOME_EXECUTED;
        answer->event_count = r->event_count;
        return;
    }
    answer->outcome = OUTCOME_NOT_PERMITTED;
    if (r->principal >= o->principal_count ||
        !allowed(o->principals[r->principal].role, r->operation))
        return;
    uint32_t name_ordinal = o->principals[r->principal].name_ordinal;
    const struct oracle_memory *old = NULL;
    answer->outcome = oracle_find(o, name_ordinal, r->nonce, r->issued_at_ns, now, &old);
    bool fence = r->operation == OPERATION_FENCE_REQUEST;
    if (answer->outcome == OUTCOME_EXECUTED && !fence &&
        (old->record.operation != r->operation || memcmp(old->record.digest, digest, 32) != 0))
        answer->outcome = OUTCOME_NONCE_REUSED;
    if (answer->outcome == OUTCOME_EXECUTED || answer->outcome == OUTCOME_REQUEST_FENCED) {
        answer->repeated = true;
        answer->index = old->record.index;
        answer->stamp = old->record.stamp;
        answer->event_count = old->record.event_count;
        memcpy(answer->results, old->results, sizeof answer->results);
        return;
    }
    if (answer->outcome != OUTCOME_NOT_YET_SEEN)
        return;
    if ((u128)r->issued_at_ns > (u128)now + REQUEST_AHEAD_NS) {
        answer->outcome = OUTCOME_ISSUED_TOO_FAR_AHEAD;
        return;
    }
    if (window_full(o, now, r->event_count)) {
        answer->outcome = OUTCOME_WINDOW_FULL;
        return;
    }
    answer->outcome = fence ? OUTCOME_REQUEST_FENCED : OUTCOME_EXECUTED;
    answer->event_count = r->event_count;
    execute(o, r, answer->stamp, answer->results);

    need(o->request_count < 16384, "requests");
    struct oracle_memory *memory = &o->requests[o->request_count++];
    uint8_t packed[ORACLE_EVENTS_MAX];
    *memory = (struct oracle_memory){.record = {
                                         .principal_name = name_ordinal,
                                         .operation = r->operation,
                                         .encoding = ANSWER_ENCODING,
                                         .issued_at_ns = r->issued_at_ns,
                                         .index = o->index,
                                         .stamp = answer->stamp,
                                         .event_count = r->event_count,
                                         .outcome = answer->outcome,
                                     }};
    memory->record.answer_size = answer_pack(answer->results, r->event_count, packed);
    nonce_of(r->nonce, memory->record.nonce);
    if (!fence)
        memcpy(memory->record.digest, digest, 32);
    memcpy(memory->results, answer->results, sizeof memory->results);
}

void oracle_apply(struct oracle *o, uint64_t stamp, const struct oracle_request *requests,
                  uint32_t request_count, uint8_t (*digests)[32], struct oracle_answer *out_answers)
{
    o->index++;
    uint64_t now = stamp > o->stamp ? stamp : o->stamp + 1;
    uint64_t next = now;
    bool malformed = false;
    for (uint32_t i = 0; i < request_count; i++) {
        malformed = malformed || requests[i].malformed;
        out_answers[i] = (struct oracle_answer){
            .index = o->index, .stamp = malformed ? now : next, .outcome = OUTCOME_MALFORMED};
        if (!malformed)
            do_request(o, &requests[i], digests[i], now, &out_answers[i]);
        next += requests[i].event_count == 0 ? 1 : requests[i].event_count;
    }
    o->stamp = next - 1;
}

u128 oracle_digest(const struct oracle *o)
{
    u128 sum = 0;
    for (uint32_t i = 0; i < o->ledger_count; i++)
        sum += digest_ledger(&o->ledgers[i]);
    for (uint32_t i = 0; i < o->principal_count; i++)
        sum += digest_principal(i, &o->principals[i]);
    for (uint32_t i = 0; i < o->account_count; i++)
        sum += digest_account(i, &o->accounts[i]) + digest_balance(i, &o->balances[i]);
    for (uint64_t i = 0; i < o->transfer_count; i++)
        sum += digest_transfer(&o->transfers[i]);
    for (uint64_t i = 0; i < o->request_count; i++) {
        uint8_t packed[ORACLE_EVENTS_MAX];
        answer_pack(o->requests[i].results, o->requests[i].record.event_count, packed);
        sum += digest_request(&o->requests[i].record, packed);
    }
    return sum;
}
