/*
 * Questions about ledgers, accounts, transfers and totals. They change nothing, so every unanswered
 * one may simply be asked again; answers are checked against what was asked (counts, sizes) before
 * they reach the caller.
 */
#include "client/message.h"

#include <stdlib.h>
#include <string.h>

static bool read_account(const Tally__V1__Account *from, struct tally_account *out)
{
    *out = (struct tally_account){
        .user_data_64 = from->user_data_64,
        .user_data_32 = from->user_data_32,
        .ledger = from->ledger,
        .code = from->code,
        .flags = from->flags,
        .timestamp_ns = from->timestamp,
        .transfer_count = from->transfer_count,
    };
    message_read_amount(from->debits_pending, &out->debits_pending);
    message_read_amount(from->debits_posted, &out->debits_posted);
    message_read_amount(from->credits_pending, &out->credits_pending);
    message_read_amount(from->credits_posted, &out->credits_posted);
    return message_read_id(from->id, &out->id) &&
           message_read_id(from->user_data_128, &out->user_data_128);
}

static bool read_transfer(const Tally__V1__Transfer *from, struct tally_transfer *out)
{
    *out = (struct tally_transfer){
        .user_data_64 = from->user_data_64,
        .timestamp_ns = from->timestamp,
        .sequence = from->sequence,
        .user_data_32 = from->user_data_32,
        .timeout_s = from->timeout_s,
        .ledger = from->ledger,
        .code = from->code,
        .flags = from->flags,
        .value_date = from->value_date,
        .refused = (uint8_t)from->refused,
    };
    message_read_amount(from->amount, &out->amount);
    return (unsigned)from->refused <= 127 && message_read_id(from->id, &out->id) &&
           message_read_id(from->debit_account_id, &out->debit_account_id) &&
           message_read_id(from->credit_account_id, &out->credit_account_id) &&
           message_read_id(from->pending_id, &out->pending_id) &&
           message_read_id(from->user_data_128, &out->user_data_128);
}

static enum tally_status take_accounts(const struct call_request *request, size_t count,
                                       Tally__V1__Account *const *rows, struct tally_error *error)
{
    struct tally_account *out = request->out;
    if (count > request->count)
        return message_malformed(error, "more accounts than asked for");
    for (size_t i = 0; i < count; i++)
        if (!read_account(rows[i], &out[i]))
            return message_malformed(error, "an account with an id that has not 16 bytes");
    *request->out_count = count;
    return TALLY_OK;
}

static enum tally_status take_transfers(const struct call_request *request, size_t count,
                                        Tally__V1__Transfer *const *rows, struct tally_error *error)
{
    struct tally_transfer *out = request->out;
    if (count > request->count)
        return message_malformed(error, "more transfers than asked for");
    for (size_t i = 0; i < count; i++)
        if (!read_transfer(rows[i], &out[i]))
            return message_malformed(error, "a transfer with an id that has not 16 bytes");
    *request->out_count = count;
    return TALLY_OK;
}

/* ---- lookups ---- */

static enum tally_status decode_lookup_accounts(const struct call_request *request,
                                                const uint8_t *answer, size_t size,
                                                struct tally_error *error)
{
    Tally__V1__LookupAccountsResponse *response =
        tally__v1__lookup_accounts_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not a list of accounts");
    enum tally_status status =
        take_accounts(request, response->n_accounts, response->accounts, error);
    tally__v1__lookup_accounts_response__free_unpacked(response, NULL);
    return status;
}

static enum tally_status decode_lookup_transfers(const struct call_request *request,
                                                 const uint8_t *answer, size_t size,
                                                 struct tally_error *error)
{
    Tally__V1__LookupTransfersResponse *response =
        tally__v1__lookup_transfers_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not a list of transfers");
    enum tally_status status =
        take_transfers(request, response->n_transfers, response->transfers, error);
    tally__v1__lookup_transfers_response__free_unpacked(response, NULL);
    return status;
}

/* Both lookups ask with the same message layout. */
static enum tally_status lookup(struct tally_client *client, const struct tally_id *ids,
                                struct call_request *request)
{
    struct tally_call *call = request->call;
    enum tally_status status = call_check(client, call, false, false);
    if (status != TALLY_OK)
        return status;
    if (request->count == 0 || request->count > TALLY_EVENTS_MAX)
        return error_set(&call->error, TALLY_INVALID, "%zu ids in one question: 1 to %d",
                         request->count, TALLY_EVENTS_MAX);
    ProtobufCBinaryData *views = calloc(request->count, sizeof *views);
    if (views == NULL)
        return call_no_memory(call, request->count * sizeof *views);
    for (size_t i = 0; i < request->count; i++)
        views[i] = message_id(&ids[i]);
    Tally__V1__LookupAccountsRequest message = TALLY__V1__LOOKUP_ACCOUNTS_REQUEST__INIT;
    message.n_ids = request->count;
    message.ids = views;
    message.min_index = call->min_index;
    status = message_pack(&message.base, request);
    free(views);
    return status == TALLY_OK ? call_run(client, request) : status;
}

enum tally_status tally_lookup_accounts(struct tally_client *client, struct tally_call *call,
                                        const struct tally_id *ids, size_t count,
                                        struct tally_account *out, size_t *out_count)
{
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Ledger/LookupAccounts",
                                   .decode = decode_lookup_accounts,
                                   .out = out,
                                   .out_count = out_count,
                                   .count = count};
    return lookup(client, ids, &request);
}

enum tally_status tally_lookup_transfers(struct tally_client *client, struct tally_call *call,
                                         const struct tally_id *ids, size_t count,
                                         struct tally_transfer *out, size_t *out_count)
{
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Ledger/LookupTransfers",
                                   .decode = decode_lookup_transfers,
                                   .out = out,
                                   .out_count = out_count,
                                   .count = count};
    return lookup(client, ids, &request);
}

/* ---- lists ---- */

static enum tally_status decode_ledgers(const struct call_request *request, const uint8_t *answer,
                                        size_t size, struct tally_error *error)
{
    struct tally_ledger *out = request->out;
    Tally__V1__ListLedgersResponse *response =
        tally__v1__list_ledgers_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not a list of ledgers");
    enum tally_status status = TALLY_OK;
    if (response->n_ledgers > TALLY_LEDGERS_MAX)
        status = message_malformed(error, "more than 1024 ledgers");
    for (size_t i = 0; status == TALLY_OK && i < response->n_ledgers; i++)
        if (!message_read_ledger(response->ledgers[i], &out[i]))
            status = message_malformed(error, "a ledger with fields out of range");
    if (status == TALLY_OK)
        *request->out_count = response->n_ledgers;
    tally__v1__list_ledgers_response__free_unpacked(response, NULL);
    return status;
}

enum tally_status tally_list_ledgers(struct tally_client *client, struct tally_call *call,
                                     struct tally_ledger *out, size_t *out_count)
{
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Ledger/ListLedgers",
                                   .decode = decode_ledgers,
                                   .out = out,
                                   .out_count = out_count};
    enum tally_status status = call_check(client, call, false, false);
    if (status != TALLY_OK)
        return status;
    Tally__V1__ListLedgersRequest message = TALLY__V1__LIST_LEDGERS_REQUEST__INIT;
    message.min_index = call->min_index;
    status = message_pack(&message.base, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}

static enum tally_status page_check(struct tally_client *client, struct tally_call *call,
                                    uint32_t limit)
{
    enum tally_status status = call_check(client, call, false, false);
    if (status == TALLY_OK && (limit == 0 || limit > TALLY_PAGE_MAX))
        return error_set(&call->error, TALLY_INVALID, "a page of %u rows: 1 to %d", limit,
                         TALLY_PAGE_MAX);
    return status;
}

static enum tally_status decode_account_page(const struct call_request *request,
                                             const uint8_t *answer, size_t size,
                                             struct tally_error *error)
{
    Tally__V1__ListAccountsResponse *response =
        tally__v1__list_accounts_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not a page of accounts");
    enum tally_status status =
        take_accounts(request, response->n_accounts, response->accounts, error);
    if (status == TALLY_OK)
        *(uint32_t *)request->out_next = response->next_first;
    tally__v1__list_accounts_response__free_unpacked(response, NULL);
    return status;
}

enum tally_status tally_list_accounts(struct tally_client *client, struct tally_call *call,
                                      uint32_t ledger, uint32_t first, uint32_t limit,
                                      struct tally_account *out, size_t *out_count,
                                      uint32_t *out_next_first)
{
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Ledger/ListAccounts",
                                   .decode = decode_account_page,
                                   .out = out,
                                   .out_count = out_count,
                                   .out_next = out_next_first,
                                   .count = limit};
    enum tally_status status = page_check(client, call, limit);
    if (status != TALLY_OK)
        return status;
    Tally__V1__ListAccountsRequest message = TALLY__V1__LIST_ACCOUNTS_REQUEST__INIT;
    message.ledger = ledger;
    message.first = first;
    message.limit = limit;
    message.min_index = call->min_index;
    status = message_pack(&message.base, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}

static enum tally_status decode_transfer_page(const struct call_request *request,
                                              const uint8_t *answer, size_t size,
                                              struct tally_error *error)
{
    Tally__V1__ListTransfersResponse *response =
        tally__v1__list_transfers_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not a page of transfers");
    enum tally_status status =
        take_transfers(request, response->n_transfers, response->transfers, error);
    if (status == TALLY_OK)
        *(uint64_t *)request->out_next = response->next_first;
    tally__v1__list_transfers_response__free_unpacked(response, NULL);
    return status;
}

enum tally_status tally_list_transfers(struct tally_client *client, struct tally_call *call,
                                       uint32_t ledger, uint64_t first, uint32_t limit,
                                       struct tally_transfer *out, size_t *out_count,
                                       uint64_t *out_next_first)
{
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Ledger/ListTransfers",
                                   .decode = decode_transfer_page,
                                   .out = out,
                                   .out_count = out_count,
                                   .out_next = out_next_first,
                                   .count = limit};
    enum tally_status status = page_check(client, call, limit);
    if (status != TALLY_OK)
        return status;
    Tally__V1__ListTransfersRequest message = TALLY__V1__LIST_TRANSFERS_REQUEST__INIT;
    message.ledger = ledger;
    message.first = first;
    message.limit = limit;
    message.min_index = call->min_index;
    status = message_pack(&message.base, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}

/* ---- totals ---- */

static enum tally_status read_trial_balance(const Tally__V1__TrialBalanceResponse *response,
                                            struct tally_trial_balance *out,
                                            struct tally_error *error)
{
    if (response->ledger == NULL || !message_read_ledger(response->ledger, &out->ledger))
        return message_malformed(error, "a trial balance without its ledger");
    if (response->digest.len > sizeof out->digest || response->n_rows > 65536)
        return message_malformed(error, "a trial balance with fields out of range");
    out->rows = calloc(response->n_rows > 0 ? response->n_rows : 1, sizeof *out->rows);
    if (out->rows == NULL)
        return error_set(error, TALLY_NO_MEMORY, "no memory for %zu rows", response->n_rows);
    out->row_count = response->n_rows;
    for (size_t i = 0; i < response->n_rows; i++) {
        const Tally__V1__TrialBalanceRow *row = response->rows[i];
        out->rows[i].code = row->code;
        out->rows[i].account_count = row->account_count;
        message_read_amount(row->debits_pending, &out->rows[i].debits_pending);
        message_read_amount(row->debits_posted, &out->rows[i].debits_posted);
        message_read_amount(row->credits_pending, &out->rows[i].credits_pending);
        message_read_amount(row->credits_posted, &out->rows[i].credits_posted);
    }
    message_read_amount(response->debits_pending, &out->debits_pending);
    message_read_amount(response->debits_posted, &out->debits_posted);
    message_read_amount(response->credits_pending, &out->credits_pending);
    message_read_amount(response->credits_posted, &out->credits_posted);
    out->balanced = response->balanced;
    out->index = response->index;
    out->timestamp_ns = response->timestamp;
    out->digest_size = response->digest.len;
    if (response->digest.len > 0)
        memcpy(out->digest, response->digest.data, response->digest.len);
    return TALLY_OK;
}

static enum tally_status decode_trial_balance(const struct call_request *request,
                                              const uint8_t *answer, size_t size,
                                              struct tally_error *error)
{
    Tally__V1__TrialBalanceResponse *response =
        tally__v1__trial_balance_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not a trial balance");
    struct tally_trial_balance read = {0};
    enum tally_status status = read_trial_balance(response, &read, error);
    tally__v1__trial_balance_response__free_unpacked(response, NULL);
    if (status == TALLY_OK)
        *(struct tally_trial_balance *)request->out = read;
    else
        tally_trial_balance_deinit(&read);
    return status;
}

enum tally_status tally_trial_balance(struct tally_client *client, struct tally_call *call,
                                      uint32_t ledger, struct tally_trial_balance *out)
{
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Ledger/TrialBalance",
                                   .decode = decode_trial_balance,
                                   .out = out};
    enum tally_status status = call_check(client, call, false, false);
    if (status != TALLY_OK)
        return status;
    Tally__V1__TrialBalanceRequest message = TALLY__V1__TRIAL_BALANCE_REQUEST__INIT;
    message.ledger = ledger;
    message.min_index = call->min_index;
    status = message_pack(&message.base, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}

void tally_trial_balance_deinit(struct tally_trial_balance *balance)
{
    free(balance->rows);
    balance->rows = NULL;
    balance->row_count = 0;
}
