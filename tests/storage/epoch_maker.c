/* Epochs from a seed; see the header. Records are filled field by field from a mixing function. */
#include "tests/storage/epoch_maker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BASE_STAMP 1700000000000000000ull
#define LEDGER     978u

struct epoch_maker {
    struct epoch_maker_options options;
    uint64_t epochs;
    uint64_t transfers, requests;
    uint32_t accounts;
    uint64_t stamp;
    struct balance_record *balances; /* by ordinal */
    bool *touched;
    struct epoch epoch;
    struct transfer_record *made_transfers;
    struct account_record *made_accounts;
    uint32_t *balance_ordinals;
    struct balance_record *made_balances;
    struct request_record *made_requests;
    uint32_t *answer_offsets;
    uint8_t *answers;
    struct ledger_record ledger;
    struct principal_record principal;
    struct request_window_record window;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * 0x9e3779b97f4a7c15ull + b + 0x632be59bd9b4e019ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static void *room(void *old, size_t count, size_t size)
{
    void *memory = realloc(old, (count + 1) * size);
    if (memory == NULL) {
        fprintf(stderr, "epoch_maker: no memory\n");
        exit(2);
    }
    return memory;
}

struct epoch_maker *epoch_maker_create(const struct epoch_maker_options *options)
{
    struct epoch_maker *maker = room(NULL, 1, sizeof *maker);
    memset(maker, 0, sizeof *maker);
    maker->options = *options;
    if (maker->options.request_step_ns == 0)
        maker->options.request_step_ns = 1000000;
    if (maker->options.answer_size_max == 0)
        maker->options.answer_size_max = 64;
    maker->stamp = BASE_STAMP;
    maker->ledger = (struct ledger_record){.id = LEDGER,
                                           .exponent = 2,
                                           .name_size = 4,
                                           .currency = "EUR",
                                           .name = "main",
                                           .timestamp = BASE_STAMP};
    maker->principal = (struct principal_record){
        .role = ROLE_CHANNEL, .uri_size = 9, .name_size = 4, .name = "bank", .uri = "tally://x"};
    return maker;
}

void epoch_maker_destroy(struct epoch_maker *m)
{
    if (m == NULL)
        return;
    free(m->balances);
    free(m->touched);
    free(m->made_transfers);
    free(m->made_accounts);
    free(m->balance_ordinals);
    free(m->made_balances);
    free(m->made_requests);
    free(m->answer_offsets);
    free(m->answers);
    free(m);
}

uint64_t epoch_maker_epochs(const struct epoch_maker *maker)
{
    return maker->epochs;
}
uint64_t epoch_maker_transfers(const struct epoch_maker *maker)
{
    return maker->transfers;
}
uint64_t epoch_maker_requests(const struct epoch_maker *maker)
{
    return maker->requests;
}
uint32_t epoch_maker_accounts(const struct epoch_maker *maker)
{
    return maker->accounts;
}
uint64_t epoch_maker_stamp(const struct epoch_maker *maker)
{
    return maker->stamp;
}

void made_transfer(const struct epoch_maker *maker, uint64_t sequence, struct transfer_record *out)
{
    uint64_t seed = maker->options.seed, a = mix(seed, sequence * 4), b = mix(seed, a);
    uint32_t accounts = maker->options.base_accounts;
    memset(out, 0, sizeof *out);
    memcpy(out->id.bytes, &a, 8);
    memcpy(out->id.bytes + 8, &b, 8);
    out->amount_low = a % 1000 + 1;
    out->user_data_64 = b;
    out->previous_debit_sequence = SEQUENCE_NONE;
    out->previous_credit_sequence = SEQUENCE_NONE;
    out->timestamp = BASE_STAMP + sequence;
    out->debit_ordinal = (uint32_t)(b % accounts);
    out->credit_ordinal = (uint32_t)((b + 1 + (b >> 32) % (accounts - 1)) % accounts);
    out->ledger = LEDGER;
    out->code = 1;
}

void made_account(const struct epoch_maker *maker, uint32_t ordinal, struct account_record *out)
{
    uint64_t a = mix(maker->options.seed ^ 0xacc, ordinal), b = ordinal + 1;
    memset(out, 0, sizeof *out);
    memcpy(out->id.bytes, &a, 8);
    memcpy(out->id.bytes + 8, &b, 8);
    out->user_data_64 = b;
    out->timestamp = BASE_STAMP + ordinal;
    out->ledger = LEDGER;
    out->code = 10;
}

void made_request(const struct epoch_maker *maker, uint64_t number, struct request_record *out,
                  uint8_t *answer)
{
    uint64_t a = mix(maker->options.seed ^ 0x4e0, number * 2), b = mix(a, number);
    memset(out, 0, sizeof *out);
    out->principal_name = (uint32_t)(a % 3);
    out->operation = OPERATION_CREATE_TRANSFERS;
    out->encoding = 1;
    memcpy(out->nonce, &a, 8);
    memcpy(out->nonce + 8, &b, 8);
    out->issued_at_ns = BASE_STAMP + number * maker->options.request_step_ns;
    memcpy(out->digest, &b, 8);
    out->index = number + 1;
    out->stamp = out->issued_at_ns;
    out->event_count = 1;
    out->answer_size = (uint16_t)(b % (maker->options.answer_size_max + 1u));
    memset(answer, (int)(a & 0xff), out->answer_size);
}

const struct balance_record *made_balance(const struct epoch_maker *maker, uint32_t ordinal)
{
    return &maker->balances[ordinal];
}

struct epoch_plan epoch_maker_plan(const struct epoch_maker *maker, uint32_t transfers_max)
{
    uint64_t draw = mix(maker->options.seed ^ 0x91a, maker->epochs);
    struct epoch_plan plan = {0};
    uint32_t scale = transfers_max >> (draw % 7);
    plan.transfers = scale > 0 ? (uint32_t)((draw >> 8) % scale) : 0;
    plan.requests = plan.transfers / 4 + (uint32_t)((draw >> 40) % 20);
    plan.accounts = (draw >> 50) % 5 == 0 ? (uint32_t)((draw >> 52) % 1500) : 0;
    return plan;
}

static void make_accounts(struct epoch_maker *m, uint32_t count)
{
    m->made_accounts = room(m->made_accounts, count, sizeof *m->made_accounts);
    m->balances = room(m->balances, m->accounts + count, sizeof *m->balances);
    m->touched = room(m->touched, m->accounts + count, sizeof *m->touched);
    memset(m->touched, 0, m->accounts + count);
    m->epoch.account_first = m->accounts;
    m->epoch.account_count = count;
    m->epoch.accounts = m->made_accounts;
    for (uint32_t i = 0; i < count; i++, m->accounts++) {
        made_account(m, m->accounts, &m->made_accounts[i]);
        m->balances[m->accounts] = (struct balance_record){.last_sequence = SEQUENCE_NONE};
        m->touched[m->accounts] = true;
    }
    m->ledger.account_count = m->accounts;
}

static void make_transfers(struct epoch_maker *m, uint32_t count)
{
    m->made_transfers = room(m->made_transfers, count, sizeof *m->made_transfers);
    m->epoch.transfer_first = m->transfers;
    m->epoch.transfer_count = count;
    m->epoch.transfers = m->made_transfers;
    for (uint32_t i = 0; i < count; i++, m->transfers++) {
        struct transfer_record *t = &m->made_transfers[i];
        made_transfer(m, m->transfers, t);
        struct balance_record *debit = &m->balances[t->debit_ordinal];
        struct balance_record *credit = &m->balances[t->credit_ordinal];
        debit->debits_posted_low += t->amount_low;
        credit->credits_posted_low += t->amount_low;
        debit->last_sequence = credit->last_sequence = m->transfers;
        debit->transfer_count++;
        credit->transfer_count++;
        m->touched[t->debit_ordinal] = m->touched[t->credit_ordinal] = true;
        m->ledger.debits_posted_low += t->amount_low;
        m->ledger.credits_posted_low += t->amount_low;
    }
}

static void make_balances(struct epoch_maker *m)
{
    m->balance_ordinals = room(m->balance_ordinals, m->accounts, sizeof *m->balance_ordinals);
    m->made_balances = room(m->made_balances, m->accounts, sizeof *m->made_balances);
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->accounts; i++)
        if (m->touched[i]) {
            m->balance_ordinals[count] = i;
            m->made_balances[count++] = m->balances[i];
        }
    m->epoch.balance_count = count;
    m->epoch.balance_ordinals = m->balance_ordinals;
    m->epoch.balances = m->made_balances;
}

static void make_requests(struct epoch_maker *m, uint32_t count)
{
    m->made_requests = room(m->made_requests, count, sizeof *m->made_requests);
    m->answer_offsets = room(m->answer_offsets, count, sizeof *m->answer_offsets);
    m->answers = room(m->answers, (size_t)count * m->options.answer_size_max, 1);
    m->epoch.request_first = m->requests;
    m->epoch.request_count = count;
    m->epoch.requests = m->made_requests;
    m->epoch.answer_offsets = m->answer_offsets;
    m->epoch.answers = m->answers;
    m->epoch.answer_bytes = 0;
    for (uint32_t i = 0; i < count; i++, m->requests++) {
        m->answer_offsets[i] = m->epoch.answer_bytes;
        made_request(m, m->requests, &m->made_requests[i], m->answers + m->epoch.answer_bytes);
        m->epoch.answer_bytes += m->made_requests[i].answer_size;
    }
}

const struct epoch *epoch_maker_next(struct epoch_maker *m, const struct epoch_plan *plan,
                                     struct checkpoint_meta *out_meta)
{
    make_accounts(m, plan->accounts + (m->epochs == 0 ? m->options.base_accounts : 0));
    make_transfers(m, plan->transfers);
    make_balances(m);
    make_requests(m, plan->requests);
    m->epochs++;
    m->stamp = BASE_STAMP + m->transfers + m->requests * m->options.request_step_ns;
    m->epoch.applied_index = m->epochs * 10;
    m->epoch.applied_term = 1 + m->epochs / 100;
    m->epoch.stamp = m->stamp;
    uint64_t digest = mix(m->options.seed, m->epochs);
    memcpy(m->epoch.digest, &digest, sizeof digest);
    m->epoch.ledger_count = 1;
    m->epoch.ledgers = &m->ledger;
    m->epoch.principal_count = 1;
    m->epoch.principals = &m->principal;
    m->epoch.request_window = &m->window;
    memset(out_meta, 0, sizeof *out_meta);
    out_meta->index = m->epoch.applied_index;
    out_meta->term = m->epoch.applied_term;
    memcpy(out_meta->head, &digest, sizeof digest);
    out_meta->configuration_size = 5;
    memcpy(out_meta->configuration, "voter", 5);
    return &m->epoch;
}

const char *made_check_past(const struct epoch_maker *maker, const struct ledger_past *past,
                            uint64_t stride, uint64_t request_first)
{
    struct transfer_record expected, got;
    for (uint64_t s = 0; s < maker->transfers; s += stride) {
        made_transfer(maker, s, &expected);
        if (!past->transfer_by_id(past->context, &expected.id, &got))
            return "a transfer is not found by its id";
        if (memcmp(&expected, &got, sizeof got) != 0)
            return "a transfer found by its id has other contents";
        if (!past->transfer_by_sequence(past->context, s, &got) ||
            memcmp(&expected, &got, sizeof got) != 0)
            return "a transfer is not what stands at its sequence";
        made_transfer(maker, maker->transfers + s, &expected);
        if (past->transfer_by_id(past->context, &expected.id, &got))
            return "a transfer that was never made is found";
    }
    if (past->transfer_by_sequence(past->context, maker->transfers, &got))
        return "a sequence beyond the last is found";
    static uint8_t answer[REQUEST_EVENTS_MAX + 16], want[REQUEST_EVENTS_MAX + 16];
    struct request_record request, found;
    for (uint64_t n = request_first; n < maker->requests; n += stride) {
        made_request(maker, n, &request, want);
        if (!past->request_by_nonce(past->context, request.principal_name, request.nonce, &found,
                                    answer))
            return "a request is not found";
        if (memcmp(&request, &found, sizeof found) != 0 ||
            memcmp(want, answer, request.answer_size) != 0)
            return "a request has other contents";
        made_request(maker, maker->requests + n, &request, want);
        if (past->request_by_nonce(past->context, request.principal_name, request.nonce, &found,
                                   answer))
            return "a request that was never made is found";
    }
    return NULL;
}
