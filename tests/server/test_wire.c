/*
 * Requests from bytes: what is decoded, what is refused and in which words, and that protobuf-c
 * agrees (wire_reference.c) on random messages and on two hundred thousand damaged ones.
 */
#include "server/wire.h"
#include "tally/v1/admin.pb-c.h"
#include "tally/v1/ledger.pb-c.h"
#include "wire_reference.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 20261122;

static uint64_t random_word(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Numbers of every length, since varints differ by length. */
static uint64_t random_number(void)
{
    return random_word() >> (random_word() % 64);
}

/* ---- messages by hand ---- */

struct bytes {
    uint8_t data[4096];
    size_t size;
};

static void add(struct bytes *bytes, const void *data, size_t size)
{
    cr_assert_leq(bytes->size + size, sizeof bytes->data);
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

static void add_varint(struct bytes *bytes, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        add(bytes, &(uint8_t){(uint8_t)(value | 0x80)}, 1);
    add(bytes, &(uint8_t){(uint8_t)value}, 1);
}

static void add_number(struct bytes *bytes, uint32_t field, uint64_t value)
{
    add_varint(bytes, (uint64_t)field << 3);
    add_varint(bytes, value);
}

static void add_bytes(struct bytes *bytes, uint32_t field, const void *data, size_t size)
{
    add_varint(bytes, (uint64_t)field << 3 | 2);
    add_varint(bytes, size);
    add(bytes, data, size);
}

static void add_identity(struct bytes *bytes)
{
    struct bytes identity = {.size = 0};
    uint64_t issued = 1790000000000000000ull;
    add_bytes(&identity, 1, "0123456789abcdef", 16);
    add(&identity, "\x11", 1);
    add(&identity, &issued, 8);
    add_bytes(bytes, 1, identity.data, identity.size);
}

static enum status decode(uint16_t operation, const struct bytes *bytes,
                          struct request_header **out, struct wire_error *error)
{
    size_t size;
    *out = NULL;
    if (wire_measure_request(operation, bytes->data, bytes->size, &size, error) != STATUS_OK)
        return STATUS_INVALID;
    struct request_header *request = aligned_alloc(8, (size + 7) & ~(size_t)7);
    if (wire_decode_request(operation, bytes->data, bytes->size, request, size, error) !=
        STATUS_OK) {
        free(request);
        return STATUS_INVALID;
    }
    *out = request;
    return STATUS_OK;
}

/* Every field of a transfer arrives in its place; the header says what the request is. */
Test(wire, transfer_arrives_field_by_field)
{
    struct bytes transfer = {.size = 0}, message = {.size = 0};
    uint64_t data_64 = 0x1122334455667788;
    uint32_t data_32 = 0x99aabbcc;
    add_bytes(&transfer, 1, "transfer-id-0001", 16);
    add_bytes(&transfer, 2, "debit-account-01", 16);
    add_bytes(&transfer, 3, "credit-account-1", 16);
    add_number(&transfer, 4, UINT64_MAX);
    add_bytes(&transfer, 5, "pending-id-00001", 16);
    add_bytes(&transfer, 6, "user-data-128-01", 16);
    add(&transfer, "\x39", 1);
    add(&transfer, &data_64, 8);
    add(&transfer, "\x45", 1);
    add(&transfer, &data_32, 4);
    add_number(&transfer, 9, 60);
    add_number(&transfer, 10, UINT32_MAX);
    add_number(&transfer, 11, 65535);
    add_number(&transfer, 12, 3);
    add_number(&transfer, 13, 20261122);
    add_number(&transfer, 14, 7);
    add_bytes(&message, 2, transfer.data, transfer.size);
    add_identity(&message);
    add_bytes(&message, 2, "", 0);

    struct request_header *request;
    struct wire_error error;
    cr_assert_eq(decode(OPERATION_CREATE_TRANSFERS, &message, &request, &error), STATUS_OK, "%s",
                 error.text);
    cr_expect_eq(request->size, 80 + 2 * 128);
    cr_expect_eq(request->operation, OPERATION_CREATE_TRANSFERS);
    cr_expect_eq(request->encoding, ANSWER_ENCODING);
    cr_expect_eq(request->event_count, 2);
    cr_expect_eq(request->issued_at_ns, 1790000000000000000ull);
    cr_expect_eq(memcmp(request->nonce, "0123456789abcdef", 16), 0);
    const struct transfer_event *event = (const void *)(request + 1);
    cr_expect_eq(memcmp(event->id.bytes, "transfer-id-0001", 16), 0);
    cr_expect_eq(memcmp(event->debit_account_id.bytes, "debit-account-01", 16), 0);
    cr_expect_eq(memcmp(event->credit_account_id.bytes, "credit-account-1", 16), 0);
    cr_expect_eq(event->amount_low, UINT64_MAX);
    cr_expect_eq(event->amount_high, 7);
    cr_expect_eq(memcmp(event->pending_id.bytes, "pending-id-00001", 16), 0);
    cr_expect_eq(memcmp(event->user_data_128.bytes, "user-data-128-01", 16), 0);
    cr_expect_eq(event->user_data_64, data_64);
    cr_expect_eq(event->user_data_32, data_32);
    cr_expect_eq(event->timeout_s, 60);
    cr_expect_eq(event->ledger, UINT32_MAX);
    cr_expect_eq(event->code, 65535);
    cr_expect_eq(event->flags, 3);
    cr_expect_eq(event->value_date, 20261122);
    static const struct transfer_event zero;
    cr_expect_eq(memcmp(event + 1, &zero, sizeof zero), 0);
    free(request);
}

/* As protobuf has it, the last of several equal scalar fields counts. */
Test(wire, last_of_equal_scalars_counts)
{
    struct bytes transfer = {.size = 0}, message = {.size = 0};
    add_number(&transfer, 4, 1);
    add_bytes(&transfer, 1, "first-first-firs", 16);
    add_number(&transfer, 4, 2);
    add_bytes(&transfer, 1, "", 0);
    add_identity(&message);
    add_bytes(&message, 2, transfer.data, transfer.size);
    struct request_header *request;
    struct wire_error error;
    cr_assert_eq(decode(OPERATION_CREATE_TRANSFERS, &message, &request, &error), STATUS_OK);
    const struct transfer_event *event = (const void *)(request + 1);
    cr_expect_eq(event->amount_low, 2);
    cr_expect(id128_is_zero(&event->id));
    free(request);
}

/* ---- refusals, each with its place ---- */

struct refusal_row {
    const char *claim;
    uint16_t operation;
    const char *element; /* bytes of one element, or NULL: the message is `bytes` */
    size_t element_size;
    const char *bytes;
    size_t size;
    enum wire_fault fault;
    const char *words;
};
#define ELEMENT(text) text, sizeof(text) - 1, NULL, 0
#define BYTES(text)   NULL, 0, text, sizeof(text) - 1

static const struct refusal_row refusals[] = {
    {"amount as bytes", OPERATION_CREATE_TRANSFERS, ELEMENT("\x22\x01\x05"), WIRE_WRONG_TYPE,
     "transfers[1].amount: encoded as length-delimited; it must be a varint"},
    {"amount as 32 fixed bits", OPERATION_CREATE_TRANSFERS, ELEMENT("\x25\x01\x02\x03\x04"),
     WIRE_WRONG_TYPE, "transfers[1].amount: encoded as 32 fixed bits"},
    {"id as number", OPERATION_CREATE_TRANSFERS, ELEMENT("\x08\x05"), WIRE_WRONG_TYPE,
     "transfers[1].id: encoded as a varint; it must be length-delimited"},
    {"user data as varint", OPERATION_CREATE_TRANSFERS, ELEMENT("\x38\x05"), WIRE_WRONG_TYPE,
     "transfers[1].user_data_64"},
    {"id of 15 bytes", OPERATION_CREATE_TRANSFERS,
     ELEMENT("\x0a\x0f"
             "123456789012345"),
     WIRE_WRONG_LENGTH, "transfers[1].id: 15 bytes long; it must have 16, or none"},
    {"id of 17 bytes", OPERATION_CREATE_TRANSFERS,
     ELEMENT("\x0a\x11"
             "12345678901234567"),
     WIRE_WRONG_LENGTH, "transfers[1].id: 17 bytes long"},
    {"code of 17 bits", OPERATION_CREATE_TRANSFERS, ELEMENT("\x58\x80\x80\x04"), WIRE_OUT_OF_RANGE,
     "transfers[1].code: 65536 is too large; at most 65535 is allowed"},
    {"flags of 17 bits", OPERATION_CREATE_TRANSFERS, ELEMENT("\x60\x80\x80\x04"), WIRE_OUT_OF_RANGE,
     "transfers[1].flags: 65536"},
    {"ledger of 33 bits", OPERATION_CREATE_TRANSFERS, ELEMENT("\x50\x81\x80\x80\x80\x10"),
     WIRE_OUT_OF_RANGE, "transfers[1].ledger: 4294967297"},
    {"amount of 65 bits", OPERATION_CREATE_TRANSFERS,
     ELEMENT("\x20\x81\x80\x80\x80\x80\x80\x80\x80\x80\x02"), WIRE_OUT_OF_RANGE,
     "transfers[1].amount: more than 64 bits"},
    {"amount of eleven bytes", OPERATION_CREATE_TRANSFERS,
     ELEMENT("\x20\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), WIRE_BAD_VARINT, "field 4"},
    {"amount that does not end", OPERATION_CREATE_TRANSFERS, ELEMENT("\x20\x81"), WIRE_TRUNCATED,
     "field 4"},
    {"unknown field in a transfer", OPERATION_CREATE_TRANSFERS, ELEMENT("\x78\x01"),
     WIRE_UNKNOWN_FIELD, "transfers[1]: unknown field 15"},
    {"field number 0", OPERATION_CREATE_TRANSFERS, ELEMENT("\x00\x01"), WIRE_BAD_TAG,
     "transfers[1]"},
    {"a group", OPERATION_CREATE_TRANSFERS, ELEMENT("\x0b\x0c"), WIRE_BAD_TAG, "wire type 3"},
    {"an id longer than what is left", OPERATION_CREATE_TRANSFERS,
     ELEMENT("\x0a\x10"
             "123"),
     WIRE_TRUNCATED, "longer than what is left"},
    {"length in ten bytes", OPERATION_CREATE_TRANSFERS,
     ELEMENT("\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"), WIRE_TRUNCATED,
     "longer than what is left"},
    {"account code of 17 bits", OPERATION_CREATE_ACCOUNTS, ELEMENT("\x30\x80\x80\x04"),
     WIRE_OUT_OF_RANGE, "accounts[1].code: 65536"},
    {"account user data of 3 bytes", OPERATION_CREATE_ACCOUNTS,
     ELEMENT("\x12\x03"
             "abc"),
     WIRE_WRONG_LENGTH, "accounts[1].user_data_128: 3 bytes long"},
    {"currency of 4 letters", OPERATION_CREATE_LEDGERS,
     ELEMENT("\x12\x04"
             "EURO"),
     WIRE_WRONG_LENGTH, "ledgers[1].currency: 4 bytes long; an ISO 4217 code has 3"},
    {"exponent of 9 bits", OPERATION_CREATE_LEDGERS, ELEMENT("\x18\x80\x02"), WIRE_OUT_OF_RANGE,
     "ledgers[1].exponent: 256 is too large; at most 255"},
    {"name of 65 bytes", OPERATION_CREATE_LEDGERS,
     ELEMENT("\x22\x41"
             "12345678901234567890123456789012345678901234567890123456789012345"),
     WIRE_WRONG_LENGTH, "ledgers[1].name: 65 bytes long; at most 64"},
    {"negative role", OPERATION_SET_PRINCIPALS,
     ELEMENT("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), WIRE_OUT_OF_RANGE,
     "principals[1].role"},
    {"identity missing", OPERATION_CREATE_TRANSFERS, BYTES("\x12\x00"), WIRE_MISSING,
     "identity: missing"},
    {"nothing at all", OPERATION_FENCE_REQUEST, BYTES(""), WIRE_MISSING, "identity: missing"},
    {"identity empty", OPERATION_FENCE_REQUEST, BYTES("\x0a\x00"), WIRE_MISSING,
     "identity.nonce: missing"},
    {"nonce of 3 bytes", OPERATION_FENCE_REQUEST,
     BYTES("\x0a\x05\x0a\x03"
           "abc"),
     WIRE_WRONG_LENGTH, "identity.nonce: 3 bytes long; it must have 16"},
    {"nonce empty", OPERATION_FENCE_REQUEST, BYTES("\x0a\x02\x0a\x00"), WIRE_WRONG_LENGTH,
     "identity.nonce: 0 bytes long"},
    {"issue time missing", OPERATION_FENCE_REQUEST,
     BYTES("\x0a\x12\x0a\x10"
           "0123456789abcdef"),
     WIRE_MISSING, "identity.issued_at_ns: missing"},
    {"issue time as varint", OPERATION_FENCE_REQUEST, BYTES("\x0a\x02\x10\x05"), WIRE_WRONG_TYPE,
     "identity.issued_at_ns"},
    {"identity twice", OPERATION_FENCE_REQUEST, BYTES("\x0a\x00\x0a\x00"), WIRE_REPEATED,
     "identity: given twice"},
    {"identity as number", OPERATION_FENCE_REQUEST, BYTES("\x08\x00"), WIRE_WRONG_TYPE, "identity"},
    {"unknown field in a request", OPERATION_FENCE_REQUEST, BYTES("\x12\x00"), WIRE_UNKNOWN_FIELD,
     "unknown field 2"},
    {"a cut tag", OPERATION_FENCE_REQUEST, BYTES("\x80"), WIRE_BAD_TAG, "(at byte 0)"},
};

Test(wire, refusals_name_field_and_position)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal_row *row = &refusals[i];
        struct bytes message = {.size = 0};
        if (row->bytes)
            add(&message, row->bytes, row->size);
        if (row->element) {
            add_identity(&message);
            add_bytes(&message, 2, "", 0);
            add_bytes(&message, 2, row->element, row->element_size);
        }
        struct request_header *request;
        struct wire_error error;
        cr_assert_eq(decode(row->operation, &message, &request, &error), STATUS_INVALID, "%s",
                     row->claim);
        cr_expect_eq(error.fault, row->fault, "%s: fault %d, %s", row->claim, error.fault,
                     error.text);
        cr_expect(strstr(error.text, row->words), "%s: %s", row->claim, error.text);
        cr_expect(strstr(error.text, "(at byte "), "%s: %s", row->claim, error.text);
        bool accepted;
        cr_expect_null(
            wire_reference_compare(row->operation, message.data, message.size, &accepted), "%s",
            row->claim);
    }
}

/* 8190 transfers pass, one more does not; and before any memory is asked for. */
Test(wire, count_of_events_is_bounded)
{
    size_t size = 0, needed;
    uint8_t *message = malloc(3 * 8192);
    struct wire_error error;
    for (int i = 0; i < 8190; i++) {
        message[size++] = 0x12;
        message[size++] = 0;
    }
    cr_expect_eq(wire_measure_request(OPERATION_CREATE_TRANSFERS, message, size, &needed, &error),
                 STATUS_OK);
    cr_expect_eq(needed, 80 + 8190 * 128);
    /* Larger events, fewer of them: an entry holds a mebibyte. */
    cr_expect_eq(wire_measure_request(OPERATION_SET_PRINCIPALS, message, size, &needed, &error),
                 STATUS_INVALID);
    cr_expect(strstr(error.text, "principals: more than the 3196 allowed"), "%s", error.text);
    message[size++] = 0x12;
    message[size++] = 0;
    cr_expect_eq(wire_measure_request(OPERATION_CREATE_TRANSFERS, message, size, &needed, &error),
                 STATUS_INVALID);
    cr_expect(strstr(error.text, "transfers: more than the 8190 allowed; split the request"), "%s",
              error.text);
    free(message);
}

/* ---- questions ---- */

Test(wire, queries_are_read_and_bounded)
{
    struct wire_query query;
    struct wire_error error;
    static const uint8_t accounts[] = "\x08\x07\x10\xff\xff\xff\xff\x0f\x18\x05\x20\x09";
    cr_assert_eq(
        wire_decode_query(WIRE_QUERY_LIST_ACCOUNTS, accounts, sizeof accounts - 1, &query, &error),
        STATUS_OK);
    cr_expect_eq(query.ledger, 7);
    cr_expect_eq(query.first, UINT32_MAX);
    cr_expect_eq(query.limit, 5);
    cr_expect_eq(query.min_index, 9);
    static const uint8_t far[] = "\x10\xff\xff\xff\xff\x1f";
    cr_expect_eq(wire_decode_query(WIRE_QUERY_LIST_ACCOUNTS, far, sizeof far - 1, &query, &error),
                 STATUS_INVALID);
    cr_expect(strstr(error.text, "first: 8589934591 is too large"), "%s", error.text);
    cr_expect_eq(wire_decode_query(WIRE_QUERY_LIST_TRANSFERS, far, sizeof far - 1, &query, &error),
                 STATUS_OK);
    cr_expect_eq(query.first, 8589934591ull);
    cr_expect_eq(wire_decode_query(WIRE_QUERY_EMPTY, NULL, 0, &query, &error), STATUS_OK);
    cr_expect_eq(wire_decode_query(WIRE_QUERY_EMPTY, far, sizeof far - 1, &query, &error),
                 STATUS_INVALID);
    static const uint8_t min_index[] = "\x08\x05";
    cr_expect_eq(wire_decode_query(WIRE_QUERY_MIN_INDEX, min_index, 2, &query, &error), STATUS_OK);
    cr_expect_eq(query.min_index, 5);
}

Test(wire, get_request_is_read)
{
    struct bytes message = {.size = 0};
    struct wire_get_request asked;
    struct wire_error error;
    add_identity(&message);
    add_bytes(&message, 2, "pay\0ments", 9);
    add_number(&message, 3, 77);
    cr_assert_eq(wire_decode_get_request(message.data, message.size, &asked, &error), STATUS_OK);
    cr_expect_eq(asked.principal_size, 9);
    cr_expect_eq(memcmp(asked.principal, "pay\0ments", 9), 0);
    cr_expect_eq(asked.min_index, 77);
    cr_expect_eq(asked.identity.issued_at_ns, 1790000000000000000ull);
    cr_expect_eq(wire_decode_get_request(NULL, 0, &asked, &error), STATUS_INVALID);
}

Test(wire, health_service_name_stays_in_the_message)
{
    const char *name;
    size_t size;
    struct wire_error error;
    static const uint8_t message[] = "\x0a\x0ftally.v1.Ledger";
    cr_assert_eq(wire_decode_health(message, sizeof message - 1, &name, &size, &error), STATUS_OK);
    cr_expect_eq(size, 15);
    cr_expect_eq(name, (const char *)message + 2);
    cr_assert_eq(wire_decode_health(NULL, 0, &name, &size, &error), STATUS_OK);
    cr_expect_eq(size, 0);
    cr_expect_eq(wire_decode_health((const uint8_t *)"\x08\x01", 2, &name, &size, &error),
                 STATUS_INVALID);
}

/* ---- protobuf-c as the judge ---- */

static ProtobufCBinaryData random_id(uint8_t *room)
{
    uint64_t words[2] = {random_word(), random_word()};
    memcpy(room, words, 16);
    uint64_t dice = random_word() % 16;
    return (ProtobufCBinaryData){.len = dice == 0 ? 0 : dice == 1 ? 15 : 16, .data = room};
}

#define ELEMENTS 6

/* A random request of the operation, packed by protobuf-c; mostly well formed. */
static size_t random_message(uint16_t operation, uint8_t *out)
{
    uint8_t room[ELEMENTS * 5 + 1][16];
    char texts[ELEMENTS][2][300];
    uint32_t used = 0;
    size_t count = random_word() % (ELEMENTS + 1);
    Tally__V1__RequestIdentity identity = TALLY__V1__REQUEST_IDENTITY__INIT;
    identity.nonce = (ProtobufCBinaryData){.len = 16, .data = room[used++]};
    memcpy(room[0], &seed, 8);
    memcpy(room[0] + 8, &seed, 8);
    identity.issued_at_ns = random_word();
    for (int i = 0; i < ELEMENTS; i++)
        for (int k = 0; k < 2; k++) {
            size_t size = random_word() % (random_word() % 8 == 0 ? 290 : 5);
            for (size_t j = 0; j < size; j++)
                texts[i][k][j] = (char)('A' + random_word() % 26);
            texts[i][k][size] = '\0';
        }
    if (operation == OPERATION_CREATE_TRANSFERS) {
        Tally__V1__CreateTransfersRequest request = TALLY__V1__CREATE_TRANSFERS_REQUEST__INIT;
        Tally__V1__NewTransfer transfers[ELEMENTS], *pointers[ELEMENTS];
        for (size_t i = 0; i < count; i++) {
            Tally__V1__NewTransfer *t = pointers[i] = &transfers[i];
            tally__v1__new_transfer__init(t);
            t->id = random_id(room[used++]);
            t->debit_account_id = random_id(room[used++]);
            t->credit_account_id = random_id(room[used++]);
            t->pending_id = random_id(room[used++]);
            t->user_data_128 = random_id(room[used++]);
            t->amount = random_number();
            t->amount_high = random_number();
            t->user_data_64 = random_number();
            t->user_data_32 = (uint32_t)random_number();
            t->timeout_s = (uint32_t)random_number();
            t->ledger = (uint32_t)random_number();
            t->code = (uint32_t)(random_number() % 70000);
            t->flags = (uint32_t)(random_number() % 300);
            t->value_date = (uint32_t)random_number();
        }
        request.identity = &identity;
        request.n_transfers = count;
        request.transfers = pointers;
        return tally__v1__create_transfers_request__pack(&request, out);
    }
    if (operation == OPERATION_CREATE_ACCOUNTS) {
        Tally__V1__CreateAccountsRequest request = TALLY__V1__CREATE_ACCOUNTS_REQUEST__INIT;
        Tally__V1__NewAccount accounts[ELEMENTS], *pointers[ELEMENTS];
        for (size_t i = 0; i < count; i++) {
            Tally__V1__NewAccount *a = pointers[i] = &accounts[i];
            tally__v1__new_account__init(a);
            a->id = random_id(room[used++]);
            a->user_data_128 = random_id(room[used++]);
            a->user_data_64 = random_number();
            a->user_data_32 = (uint32_t)random_number();
            a->ledger = (uint32_t)random_number();
            a->code = (uint32_t)(random_number() % 70000);
            a->flags = (uint32_t)(random_number() % 300);
        }
        request.identity = &identity;
        request.n_accounts = count;
        request.accounts = pointers;
        return tally__v1__create_accounts_request__pack(&request, out);
    }
    if (operation == OPERATION_CREATE_LEDGERS) {
        Tally__V1__CreateLedgersRequest request = TALLY__V1__CREATE_LEDGERS_REQUEST__INIT;
        Tally__V1__NewLedger ledgers[ELEMENTS], *pointers[ELEMENTS];
        for (size_t i = 0; i < count; i++) {
            Tally__V1__NewLedger *l = pointers[i] = &ledgers[i];
            tally__v1__new_ledger__init(l);
            l->id = (uint32_t)random_number();
            l->currency = texts[i][0];
            l->exponent = (uint32_t)(random_number() % 300);
            l->name = texts[i][1];
        }
        request.identity = &identity;
        request.n_ledgers = count;
        request.ledgers = pointers;
        return tally__v1__create_ledgers_request__pack(&request, out);
    }
    if (operation == OPERATION_SET_PRINCIPALS) {
        Tally__V1__SetPrincipalsRequest request = TALLY__V1__SET_PRINCIPALS_REQUEST__INIT;
        Tally__V1__Principal principals[ELEMENTS], *pointers[ELEMENTS];
        for (size_t i = 0; i < count; i++) {
            Tally__V1__Principal *p = pointers[i] = &principals[i];
            tally__v1__principal__init(p);
            p->uri = texts[i][0];
            p->name = texts[i][1];
            p->role = (Tally__V1__Role)(random_word() % 7);
            p->in_flight_max = (uint32_t)random_number();
        }
        request.identity = &identity;
        request.n_principals = count;
        request.principals = pointers;
        return tally__v1__set_principals_request__pack(&request, out);
    }
    Tally__V1__FenceRequestRequest request = TALLY__V1__FENCE_REQUEST_REQUEST__INIT;
    request.identity = &identity;
    return tally__v1__fence_request_request__pack(&request, out);
}

/* Flips, overwrites, cuts, removes, repeats: what damage and hostile clients do. */
static size_t mutate(uint8_t *bytes, size_t size, size_t capacity)
{
    for (uint64_t n = random_word() % 4; n > 0 && size > 0; n--) {
        size_t at = random_word() % size, length = random_word() % (size - at) % 24 + 1;
        if (at + length > size)
            length = size - at;
        switch (random_word() % 6) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << random_word() % 8);
            break;
        case 1:
            bytes[at] = (uint8_t)random_word();
            break;
        case 2:
            size = at;
            break;
        case 3:
            memmove(bytes + at, bytes + at + length, size - at - length);
            size -= length;
            break;
        case 4:
            if (size + length > capacity)
                break;
            memmove(bytes + at + length, bytes + at, size - at);
            size += length;
            break;
        default:
            bytes[at] = bytes[random_word() % size];
        }
    }
    return size;
}

static const uint16_t operations[] = {OPERATION_CREATE_TRANSFERS, OPERATION_CREATE_ACCOUNTS,
                                      OPERATION_CREATE_LEDGERS, OPERATION_SET_PRINCIPALS,
                                      OPERATION_FENCE_REQUEST};

/* Accepted by both with equal values, or refused by ours for a documented reason; never otherwise.
 */
Test(wire, protobuf_c_agrees_on_damaged_messages, .timeout = 120)
{
    static uint8_t message[16384], damaged[16384];
    uint64_t accepted_count = 0, count = 200000;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t operation = operations[i % 5];
        uint64_t begun = seed;
        size_t size = random_message(operation, message);
        memcpy(damaged, message, size);
        size = mutate(damaged, size, sizeof damaged);
        /* Exactly sized, so that the sanitizer sees a read too far. */
        uint8_t *exact = malloc(size ? size : 1);
        memcpy(exact, damaged, size);
        bool accepted = false;
        const char *difference = wire_reference_compare(operation, exact, size, &accepted);
        free(exact);
        cr_assert_null(difference, "seed %llu, operation %u: %s", (unsigned long long)begun,
                       operation, difference);
        accepted_count += accepted;
    }
    /* The comparison means something only if a good part gets through. */
    cr_expect_gt(accepted_count, count / 10, "%llu", (unsigned long long)accepted_count);
    cr_expect_lt(accepted_count, count * 9 / 10, "%llu", (unsigned long long)accepted_count);
}

Test(wire, protobuf_c_agrees_on_damaged_lookups, .timeout = 60)
{
    static uint8_t message[1024];
    uint64_t accepted_count = 0;
    for (int i = 0; i < 50000; i++) {
        uint8_t room[ELEMENTS][16];
        ProtobufCBinaryData ids[ELEMENTS];
        Tally__V1__LookupAccountsRequest request = TALLY__V1__LOOKUP_ACCOUNTS_REQUEST__INIT;
        request.n_ids = random_word() % (ELEMENTS + 1);
        request.ids = ids;
        request.min_index = random_number();
        for (size_t k = 0; k < request.n_ids; k++)
            ids[k] = random_id(room[k]);
        size_t size = tally__v1__lookup_accounts_request__pack(&request, message);
        size = mutate(message, size, sizeof message);
        uint8_t *exact = malloc(size ? size : 1);
        memcpy(exact, message, size);
        bool accepted = false;
        const char *difference = wire_reference_compare_lookup(exact, size, &accepted);
        free(exact);
        cr_assert_null(difference, "round %d: %s", i, difference);
        accepted_count += accepted;
    }
    cr_expect_gt(accepted_count, 5000);
}
