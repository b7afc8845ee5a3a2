/*
 * The calls that change something: ledgers, accounts, transfers, principals, fences. Each turns an
 * array of public structures into one message; the answers of all but the fence share one layout.
 */
#include "client/message.h"

#include "tally/v1/admin.pb-c.h"

#include <stdlib.h>
#include <string.h>

static enum tally_status check(struct tally_client *client, struct tally_call *call, size_t count,
                               bool submit)
{
    enum tally_status status = call_check(client, call, true, submit);
    if (status == TALLY_OK && (count == 0 || count > TALLY_EVENTS_MAX))
        return error_set(&call->error, TALLY_INVALID, "%zu events in one request: 1 to %d", count,
                         TALLY_EVENTS_MAX);
    return status;
}

/* Messages and the array of pointers to them in one piece of memory. */
static void *rows_allocate(size_t count, size_t row_size, void ***out_pointers)
{
    char *memory = calloc(count, row_size + sizeof(void *));
    if (memory == NULL)
        return NULL;
    *out_pointers = (void **)(void *)(memory + count * row_size);
    for (size_t i = 0; i < count; i++)
        (*out_pointers)[i] = memory + i * row_size;
    return memory;
}

/* protobuf-c's strings are not const; packing does not write. */
static char *borrow(const char *text)
{
    char *out;
    memcpy(&out, &text, sizeof out);
    return out;
}

enum tally_status tally_create_ledgers(struct tally_client *client, struct tally_call *call,
                                       const struct tally_new_ledger *ledgers, size_t count,
                                       uint8_t *out_results)
{
    enum tally_status status = check(client, call, count, false);
    if (status != TALLY_OK)
        return status;
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Ledger/CreateLedgers",
                                   .changes = true,
                                   .decode = message_decode_results,
                                   .out = out_results,
                                   .count = count};
    void **pointers;
    Tally__V1__NewLedger *rows = rows_allocate(count, sizeof *rows, &pointers);
    if (rows == NULL)
        return call_no_memory(call, count * sizeof *rows);
    for (size_t i = 0; i < count; i++) {
        tally__v1__new_ledger__init(&rows[i]);
        rows[i].id = ledgers[i].id;
        rows[i].exponent = ledgers[i].exponent;
        rows[i].currency = borrow(ledgers[i].currency);
        rows[i].name = borrow(ledgers[i].name);
    }
    Tally__V1__RequestIdentity identity;
    message_identity(&call->identity, &identity);
    Tally__V1__CreateLedgersRequest message = TALLY__V1__CREATE_LEDGERS_REQUEST__INIT;
    message.identity = &identity;
    message.n_ledgers = count;
    message.ledgers = (Tally__V1__NewLedger **)pointers;
    status = message_pack(&message.base, &request);
    free(rows);
    return status == TALLY_OK ? call_run(client, &request) : status;
}

static enum tally_status pack_accounts(struct call_request *request,
                                       const struct tally_new_account *accounts, size_t count)
{
    void **pointers;
    Tally__V1__NewAccount *rows = rows_allocate(count, sizeof *rows, &pointers);
    if (rows == NULL)
        return call_no_memory(request->call, count * sizeof *rows);
    for (size_t i = 0; i < count; i++) {
        tally__v1__new_account__init(&rows[i]);
        rows[i].id = message_id(&accounts[i].id);
        rows[i].user_data_128 = message_optional_id(&accounts[i].user_data_128);
        rows[i].user_data_64 = accounts[i].user_data_64;
        rows[i].user_data_32 = accounts[i].user_data_32;
        rows[i].ledger = accounts[i].ledger;
        rows[i].code = accounts[i].code;
        rows[i].flags = accounts[i].flags;
    }
    Tally__V1__RequestIdentity identity;
    message_identity(&request->call->identity, &identity);
    Tally__V1__CreateAccountsRequest message = TALLY__V1__CREATE_ACCOUNTS_REQUEST__INIT;
    message.identity = &identity;
    message.n_accounts = count;
    message.accounts = (Tally__V1__NewAccount **)pointers;
    enum tally_status status = message_pack(&message.base, request);
    free(rows);
    return status;
}

static enum tally_status accounts(struct tally_client *client, struct tally_call *call,
                                  const struct tally_new_account *accounts, size_t count,
                                  uint8_t *out_results, tally_call_cb cb)
{
    enum tally_status status = check(client, call, count, cb != NULL);
    if (status != TALLY_OK)
        return status;
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Ledger/CreateAccounts",
                                   .changes = true,
                                   .decode = message_decode_results,
                                   .out = out_results,
                                   .count = count};
    status = pack_accounts(&request, accounts, count);
    if (status != TALLY_OK)
        return status;
    return cb != NULL ? call_submit(client, &request, cb) : call_run(client, &request);
}

enum tally_status tally_create_accounts(struct tally_client *client, struct tally_call *call,
                                        const struct tally_new_account *rows, size_t count,
                                        uint8_t *out_results)
{
    return accounts(client, call, rows, count, out_results, NULL);
}

enum tally_status tally_submit_accounts(struct tally_client *client, struct tally_call *call,
                                        const struct tally_new_account *rows, size_t count,
                                        uint8_t *out_results, tally_call_cb cb)
{
    return accounts(client, call, rows, count, out_results, cb);
}

static enum tally_status pack_transfers(struct call_request *request,
                                        const struct tally_new_transfer *transfers, size_t count)
{
    void **pointers;
    Tally__V1__NewTransfer *rows = rows_allocate(count, sizeof *rows, &pointers);
    if (rows == NULL)
        return call_no_memory(request->call, count * sizeof *rows);
    for (size_t i = 0; i < count; i++) {
        const struct tally_new_transfer *transfer = &transfers[i];
        tally__v1__new_transfer__init(&rows[i]);
        rows[i].id = message_id(&transfer->id);
        rows[i].debit_account_id = message_id(&transfer->debit_account_id);
        rows[i].credit_account_id = message_id(&transfer->credit_account_id);
        rows[i].amount = transfer->amount.low;
        rows[i].amount_high = transfer->amount.high;
        rows[i].user_data_128 = message_optional_id(&transfer->user_data_128);
        rows[i].user_data_64 = transfer->user_data_64;
        rows[i].user_data_32 = transfer->user_data_32;
        rows[i].ledger = transfer->ledger;
        rows[i].code = transfer->code;
        rows[i].flags = transfer->flags;
        rows[i].value_date = transfer->value_date;
    }
    Tally__V1__RequestIdentity identity;
    message_identity(&request->call->identity, &identity);
    Tally__V1__CreateTransfersRequest message = TALLY__V1__CREATE_TRANSFERS_REQUEST__INIT;
    message.identity = &identity;
    message.n_transfers = count;
    message.transfers = (Tally__V1__NewTransfer **)pointers;
    enum tally_status status = message_pack(&message.base, request);
    free(rows);
    return status;
}

static enum tally_status transfers(struct tally_client *client, struct tally_call *call,
                                   const struct tally_new_transfer *rows, size_t count,
                                   uint8_t *out_results, tally_call_cb cb)
{
    enum tally_status status = check(client, call, count, cb != NULL);
    if (status != TALLY_OK)
        return status;
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Ledger/CreateTransfers",
                                   .changes = true,
                                   .decode = message_decode_results,
                                   .out = out_results,
                                   .count = count};
    status = pack_transfers(&request, rows, count);
    if (status != TALLY_OK)
        return status;
    return cb != NULL ? call_submit(client, &request, cb) : call_run(client, &request);
}

enum tally_status tally_create_transfers(struct tally_client *client, struct tally_call *call,
                                         const struct tally_new_transfer *rows, size_t count,
                                         uint8_t *out_results)
{
    return transfers(client, call, rows, count, out_results, NULL);
}

enum tally_status tally_submit_transfers(struct tally_client *client, struct tally_call *call,
                                         const struct tally_new_transfer *rows, size_t count,
                                         uint8_t *out_results, tally_call_cb cb)
{
    return transfers(client, call, rows, count, out_results, cb);
}

enum tally_status tally_set_principals(struct tally_client *client, struct tally_call *call,
                                       const struct tally_principal *principals, size_t count,
                                       uint8_t *out_results)
{
    enum tally_status status = check(client, call, count, false);
    if (status != TALLY_OK)
        return status;
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Admin/SetPrincipals",
                                   .changes = true,
                                   .decode = message_decode_results,
                                   .out = out_results,
                                   .count = count};
    void **pointers;
    Tally__V1__Principal *rows = rows_allocate(count, sizeof *rows, &pointers);
    if (rows == NULL)
        return call_no_memory(call, count * sizeof *rows);
    for (size_t i = 0; i < count; i++) {
        tally__v1__principal__init(&rows[i]);
        rows[i].uri = borrow(principals[i].uri);
        rows[i].name = borrow(principals[i].name);
        rows[i].role = (Tally__V1__Role)principals[i].role;
        rows[i].in_flight_max = principals[i].in_flight_max;
    }
    Tally__V1__RequestIdentity identity;
    message_identity(&call->identity, &identity);
    Tally__V1__SetPrincipalsRequest message = TALLY__V1__SET_PRINCIPALS_REQUEST__INIT;
    message.identity = &identity;
    message.n_principals = count;
    message.principals = (Tally__V1__Principal **)pointers;
    status = message_pack(&message.base, &request);
    free(rows);
    return status == TALLY_OK ? call_run(client, &request) : status;
}
