/* Answers to bytes: protobuf-c reads back what was written, and encoding 1 is pinned byte by byte.
 */
#include "server/wire.h"
#include "tally/v1/admin.pb-c.h"
#include "tally/v1/ledger.pb-c.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* The bytes below are stored by clients and compared after years: this test never changes. */
Test(wire_encode, encoding_1_of_an_answer_is_pinned)
{
    uint8_t results[3] = {0, 67, 1}, out[64];
    struct answer answer = {
        .index = 0x0102030405060708,
        .stamp = 0x1112131415161718,
        .operation = OPERATION_CREATE_TRANSFERS,
        .encoding = 1,
        .event_count = 3,
        .results = results,
    };
    static const uint8_t expected[] = {0x0a, 0x03, 0x00, 0x43, 0x01, 0x11, 0x08, 0x07,
                                       0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0x19, 0x18,
                                       0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11};
    size_t size;
    cr_assert_eq(wire_answer_size(&answer, &size), STATUS_OK);
    cr_assert_eq(size, sizeof expected);
    wire_write_answer(&answer, out);
    cr_expect_eq(memcmp(out, expected, size), 0);
}

Test(wire_encode, later_encoding_is_refused_not_guessed)
{
    uint8_t results[1] = {0};
    size_t size;
    struct answer answer = {.encoding = 2, .event_count = 1, .results = results};
    cr_expect_eq(wire_answer_size(&answer, &size), STATUS_VERSION);
    cr_expect_eq(wire_request_answer_size(&answer, &size), STATUS_VERSION);
}

/* Answers of every size class of their length: 1, 127, 128, 8190 results. */
Test(wire_encode, protobuf_c_reads_answers)
{
    static const uint32_t counts[] = {1, 127, 128, 8190};
    static uint8_t results[8190];
    for (uint32_t i = 0; i < 8190; i++)
        results[i] = (uint8_t)(i % 69);
    for (int i = 0; i < 4; i++) {
        struct answer answer = {.index = 5,
                                .stamp = 1790000000000000000ull,
                                .operation = OPERATION_CREATE_TRANSFERS,
                                .encoding = 1,
                                .event_count = counts[i],
                                .results = results};
        size_t size;
        cr_assert_eq(wire_answer_size(&answer, &size), STATUS_OK);
        uint8_t *bytes = malloc(size);
        wire_write_answer(&answer, bytes);
        Tally__V1__CreateTransfersResponse *read =
            tally__v1__create_transfers_response__unpack(NULL, size, bytes);
        cr_assert_not_null(read);
        cr_expect_eq(read->n_results, counts[i]);
        cr_expect_eq(read->index, 5);
        cr_expect_eq(read->timestamp, answer.stamp);
        for (uint32_t k = 0; k < counts[i]; k++)
            cr_assert_eq((int)read->results[k], results[k]);
        tally__v1__create_transfers_response__free_unpacked(read, NULL);

        /* GetRequest carries the same bytes. */
        cr_assert_eq(wire_request_answer_size(&answer, &size), STATUS_OK);
        uint8_t *about = malloc(size);
        wire_write_request_answer(&answer, about);
        Tally__V1__GetRequestResponse *asked =
            tally__v1__get_request_response__unpack(NULL, size, about);
        cr_assert_not_null(asked);
        cr_expect_eq(asked->outcome, TALLY__V1__OUTCOME__EXECUTED);
        cr_expect_str_eq(asked->method, "CreateTransfers");
        size_t body_size;
        cr_assert_eq(wire_answer_size(&answer, &body_size), STATUS_OK);
        cr_assert_eq(asked->answer.len, body_size);
        cr_expect_eq(memcmp(asked->answer.data, bytes, body_size), 0);
        cr_expect_eq(asked->index, 5);
        tally__v1__get_request_response__free_unpacked(asked, NULL);
        free(about);
        free(bytes);
    }
}

/* A request that did not execute has an outcome and no answer; a fenced one also its place. */
Test(wire_encode, other_outcomes_carry_no_answer)
{
    static const uint8_t outcomes[] = {OUTCOME_NONCE_REUSED, OUTCOME_REQUEST_FENCED,
                                       OUTCOME_BEYOND_WINDOW, OUTCOME_NOT_YET_SEEN};
    for (int i = 0; i < 4; i++) {
        struct answer answer = {.outcome = outcomes[i], .index = 9, .stamp = 10, .encoding = 1};
        uint8_t bytes[64];
        size_t size;
        cr_assert_eq(wire_request_answer_size(&answer, &size), STATUS_OK);
        cr_assert_leq(size, sizeof bytes);
        wire_write_request_answer(&answer, bytes);
        Tally__V1__GetRequestResponse *read =
            tally__v1__get_request_response__unpack(NULL, size, bytes);
        cr_assert_not_null(read);
        cr_expect_eq((int)read->outcome, outcomes[i]);
        cr_expect_eq(read->answer.len, 0);
        cr_expect_str_eq(read->method, "");
        cr_expect_eq(read->index, outcomes[i] == OUTCOME_REQUEST_FENCED ? 9 : 0);
        tally__v1__get_request_response__free_unpacked(read, NULL);
    }
}

static struct id128 id_filled(uint8_t byte)
{
    struct id128 id;
    memset(id.bytes, byte, sizeof id.bytes);
    return id;
}

/* Accounts, smallest and largest; the bound in wire.h holds. */
Test(wire_encode, protobuf_c_reads_accounts)
{
    uint8_t bytes[1024];
    struct wire_writer writer = {.bytes = bytes, .capacity = sizeof bytes};
    struct account small = {.record = {.id = id_filled(1), .ledger = 1, .code = 2}}, large;
    memset(&large, 0xff, sizeof large);
    wire_write_account(&writer, 1, &small);
    size_t first = writer.size;
    wire_write_account(&writer, 1, &large);
    cr_assert_not(writer.full);
    cr_expect_leq(writer.size - first, WIRE_ACCOUNT_SIZE_MAX);
    Tally__V1__LookupAccountsResponse *read =
        tally__v1__lookup_accounts_response__unpack(NULL, writer.size, bytes);
    cr_assert_not_null(read);
    cr_assert_eq(read->n_accounts, 2);
    Tally__V1__Account *a = read->accounts[0], *b = read->accounts[1];
    cr_expect_eq(a->ledger, 1);
    cr_expect_eq(a->code, 2);
    cr_expect_null(a->debits_posted);
    cr_expect_eq(a->user_data_128.len, 0);
    cr_expect_eq(b->id.len, 16);
    cr_expect_eq(b->user_data_64, UINT64_MAX);
    cr_expect_eq(b->user_data_32, UINT32_MAX);
    cr_expect_eq(b->flags, UINT16_MAX);
    cr_expect_eq(b->debits_pending->high, UINT64_MAX);
    cr_expect_eq(b->credits_posted->low, UINT64_MAX);
    cr_expect_eq(b->timestamp, UINT64_MAX);
    cr_expect_eq(b->transfer_count, UINT64_MAX);
    tally__v1__lookup_accounts_response__free_unpacked(read, NULL);
}

Test(wire_encode, protobuf_c_reads_transfers)
{
    uint8_t bytes[1024];
    struct wire_writer writer = {.bytes = bytes, .capacity = sizeof bytes};
    struct transfer_record large, refused = {.id = id_filled(3), .result = 61, .amount_low = 200};
    memset(&large, 0xff, sizeof large);
    struct id128 debit = id_filled(1), credit = id_filled(2);
    wire_write_transfer(&writer, 1, &large, UINT64_MAX, &debit, &credit);
    cr_expect_leq(writer.size, WIRE_TRANSFER_SIZE_MAX);
    wire_write_transfer(&writer, 1, &refused, 0, NULL, &credit);
    cr_assert_not(writer.full);
    Tally__V1__LookupTransfersResponse *read =
        tally__v1__lookup_transfers_response__unpack(NULL, writer.size, bytes);
    cr_assert_not_null(read);
    cr_assert_eq(read->n_transfers, 2);
    Tally__V1__Transfer *a = read->transfers[0], *b = read->transfers[1];
    cr_expect_eq(memcmp(a->debit_account_id.data, debit.bytes, 16), 0);
    cr_expect_eq(memcmp(a->credit_account_id.data, credit.bytes, 16), 0);
    cr_expect_eq(a->amount->high, UINT64_MAX);
    cr_expect_eq(a->timeout_s, UINT32_MAX);
    cr_expect_eq(a->value_date, UINT32_MAX);
    cr_expect_eq(a->sequence, UINT64_MAX);
    cr_expect_eq((int)a->refused, 255);
    cr_expect_eq(b->debit_account_id.len, 0);
    cr_expect_eq(b->amount->low, 200);
    cr_expect_eq((int)b->refused, 61);
    tally__v1__lookup_transfers_response__free_unpacked(read, NULL);
}

Test(wire_encode, protobuf_c_reads_ledgers_rows_and_principals)
{
    uint8_t bytes[2048];
    struct wire_writer writer = {.bytes = bytes, .capacity = sizeof bytes};
    struct ledger_record ledger = {.id = 7,
                                   .exponent = 2,
                                   .name_size = 4,
                                   .currency = "CNY",
                                   .account_count = 300,
                                   .timestamp = 11};
    memcpy(ledger.name, "Main", 4);
    struct trial_balance_row row = {
        .code = 10, .account_count = 5, .debits_posted = (u128)1 << 64 | 3, .credits_pending = 4};
    wire_write_ledger(&writer, 1, &ledger);
    wire_write_trial_balance_row(&writer, 2, &row);
    wire_write_uint(&writer, 7, 1);
    Tally__V1__TrialBalanceResponse *balance =
        tally__v1__trial_balance_response__unpack(NULL, writer.size, bytes);
    cr_assert_not_null(balance);
    cr_expect_str_eq(balance->ledger->currency, "CNY");
    cr_expect_str_eq(balance->ledger->name, "Main");
    cr_expect_eq(balance->ledger->account_count, 300);
    cr_assert_eq(balance->n_rows, 1);
    cr_expect_eq(balance->rows[0]->debits_posted->high, 1);
    cr_expect_eq(balance->rows[0]->debits_posted->low, 3);
    cr_expect_eq(balance->rows[0]->credits_pending->low, 4);
    cr_expect(balance->balanced);
    tally__v1__trial_balance_response__free_unpacked(balance, NULL);

    struct principal_record principal = {
        .role = ROLE_AUDITOR, .uri_size = 255, .name_size = 64, .in_flight_max = 9};
    memset(principal.uri, 'u', 255);
    memset(principal.name, 'n', 64);
    writer.size = 0;
    wire_write_principal(&writer, 1, &principal);
    Tally__V1__ListPrincipalsResponse *list =
        tally__v1__list_principals_response__unpack(NULL, writer.size, bytes);
    cr_assert_not_null(list);
    cr_expect_eq(strlen(list->principals[0]->uri), 255);
    cr_expect_eq(strlen(list->principals[0]->name), 64);
    cr_expect_eq(list->principals[0]->role, TALLY__V1__ROLE__AUDITOR);
    tally__v1__list_principals_response__free_unpacked(list, NULL);
}

/* A writer that is too small says so, at every size, and never writes beyond. */
Test(wire_encode, full_writer_says_so)
{
    struct account large;
    memset(&large, 0xff, sizeof large);
    uint8_t whole[512];
    struct wire_writer writer = {.bytes = whole, .capacity = sizeof whole};
    wire_write_account(&writer, 1, &large);
    size_t needed = writer.size;
    for (size_t capacity = 0; capacity < needed; capacity++) {
        uint8_t *exact = malloc(capacity ? capacity : 1);
        struct wire_writer small = {.bytes = exact, .capacity = capacity};
        wire_write_account(&small, 1, &large);
        cr_expect(small.full, "capacity %zu", capacity);
        cr_expect_leq(small.size, capacity);
        free(exact);
    }
}
