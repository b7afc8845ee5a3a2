/*
 * Encoding. Answers are written in field order with proto3's rule that zero is not written, so the
 * same answer always gives the same bytes: a repeated request must get its first answer byte for
 * byte, from any node and any later version. Therefore an answer's encoding is numbered and stored
 * with the request, and encoding 1 below never changes; a new shape of answer gets a new number.
 */
#include "core/invariant.h"
#include "server/wire.h"

#include <string.h>

enum { TAG_VARINT = 0, TAG_FIXED64 = 1, TAG_BYTES = 2, TAG_FIXED32 = 5 };

static size_t varint_size(uint64_t value)
{
    size_t size = 1;
    for (; value >= 0x80; value >>= 7)
        size++;
    return size;
}

static uint8_t *room(struct wire_writer *writer, size_t size)
{
    if (writer->full || size > writer->capacity - writer->size) {
        writer->full = true;
        return NULL;
    }
    uint8_t *at = writer->bytes + writer->size;
    writer->size += size;
    return at;
}

static void write_varint(struct wire_writer *writer, uint64_t value)
{
    uint8_t *at = room(writer, varint_size(value));
    if (!at)
        return;
    for (; value >= 0x80; value >>= 7)
        *at++ = (uint8_t)(value | 0x80);
    *at = (uint8_t)value;
}

static void write_tag(struct wire_writer *writer, uint32_t field, unsigned type)
{
    write_varint(writer, (uint64_t)field << 3 | type);
}

void wire_write_uint(struct wire_writer *writer, uint32_t field, uint64_t value)
{
    if (value == 0)
        return;
    write_tag(writer, field, TAG_VARINT);
    write_varint(writer, value);
}

void wire_write_fixed64(struct wire_writer *writer, uint32_t field, uint64_t value)
{
    if (value == 0)
        return;
    write_tag(writer, field, TAG_FIXED64);
    uint8_t *at = room(writer, sizeof value);
    if (at)
        memcpy(at, &value, sizeof value);
}

void wire_write_fixed32(struct wire_writer *writer, uint32_t field, uint32_t value)
{
    if (value == 0)
        return;
    write_tag(writer, field, TAG_FIXED32);
    uint8_t *at = room(writer, sizeof value);
    if (at)
        memcpy(at, &value, sizeof value);
}

void wire_write_bytes(struct wire_writer *writer, uint32_t field, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    write_tag(writer, field, TAG_BYTES);
    write_varint(writer, size);
    uint8_t *at = room(writer, size);
    if (at)
        memcpy(at, bytes, size);
}

static void write_id(struct wire_writer *writer, uint32_t field, const struct id128 *id)
{
    if (!id128_is_zero(id))
        wire_write_bytes(writer, field, id->bytes, sizeof id->bytes);
}

/* A message inside a message. Elements are short, so the length is written after the content into
 * a gap of two bytes: at most 2^14 - 1, asserted by the sizes in wire.h. */
struct nested {
    size_t begin; /* of the content */
};

static struct nested nested_begin(struct wire_writer *writer, uint32_t field)
{
    write_tag(writer, field, TAG_BYTES);
    (void)room(writer, 1);
    return (struct nested){writer->size};
}

/* The length takes one byte below 128, two from there on: then the content moves by one. */
static void nested_end(struct wire_writer *writer, struct nested nested)
{
    if (writer->full)
        return;
    size_t size = writer->size - nested.begin;
    uint8_t *length = writer->bytes + nested.begin - 1;
    invariant_values(size < 1 << 14, size, 0);
    if (size < 0x80) {
        *length = (uint8_t)size;
        return;
    }
    if (!room(writer, 1))
        return;
    memmove(length + 2, length + 1, size);
    length[0] = (uint8_t)(size | 0x80);
    length[1] = (uint8_t)(size >> 7);
}

void wire_write_amount(struct wire_writer *writer, uint32_t field, uint64_t low, uint64_t high)
{
    if ((low | high) == 0)
        return;
    struct nested amount = nested_begin(writer, field);
    wire_write_fixed64(writer, 1, low);
    wire_write_fixed64(writer, 2, high);
    nested_end(writer, amount);
}

/* ---- answers to requests ---- */

/*
 * Encoding 1 of CreateLedgersResponse, CreateAccountsResponse, CreateTransfersResponse and
 * SetPrincipalsResponse, which have equal fields:
 *     0a <varint n> <n bytes: enum result>    results, packed, one byte each
 *     11 <8 bytes>                            index
 *     19 <8 bytes>                            timestamp
 */
static size_t body_size(const struct answer *answer)
{
    size_t size = 0;
    if (answer->event_count > 0)
        size += 1 + varint_size(answer->event_count) + answer->event_count;
    if (answer->index != 0)
        size += 9;
    if (answer->stamp != 0)
        size += 9;
    return size;
}

static void write_body(struct wire_writer *writer, const struct answer *answer)
{
    wire_write_bytes(writer, 1, answer->results, answer->event_count);
    wire_write_fixed64(writer, 2, answer->index);
    wire_write_fixed64(writer, 3, answer->stamp);
}

enum status wire_answer_size(const struct answer *answer, size_t *out_size)
{
    invariant_values(answer->outcome == OUTCOME_EXECUTED, answer->outcome, answer->operation);
    if (answer->encoding != ANSWER_ENCODING)
        return STATUS_VERSION;
    *out_size = body_size(answer);
    return STATUS_OK;
}

void wire_write_answer(const struct answer *answer, uint8_t *out)
{
    size_t size = body_size(answer);
    struct wire_writer writer = {.bytes = out, .capacity = size};
    write_body(&writer, answer);
    invariant_values(!writer.full && writer.size == size, writer.size, size);
}

static const char *operation_method(uint16_t operation)
{
    switch (operation) {
    case OPERATION_CREATE_LEDGERS:
        return "CreateLedgers";
    case OPERATION_CREATE_ACCOUNTS:
        return "CreateAccounts";
    case OPERATION_CREATE_TRANSFERS:
        return "CreateTransfers";
    case OPERATION_SET_PRINCIPALS:
        return "SetPrincipals";
    default:
        return "";
    }
}

static void write_request_answer(struct wire_writer *writer, const struct answer *answer)
{
    bool known = answer->outcome == OUTCOME_EXECUTED || answer->outcome == OUTCOME_REQUEST_FENCED;
    wire_write_uint(writer, 1, answer->outcome);
    if (answer->outcome == OUTCOME_EXECUTED) {
        const char *method = operation_method(answer->operation);
        wire_write_bytes(writer, 2, method, strlen(method));
        size_t size = body_size(answer);
        write_tag(writer, 3, TAG_BYTES);
        write_varint(writer, size);
        write_body(writer, answer);
    }
    if (known) {
        wire_write_fixed64(writer, 4, answer->index);
        wire_write_fixed64(writer, 5, answer->stamp);
    }
}

enum status wire_request_answer_size(const struct answer *answer, size_t *out_size)
{
    if (answer->outcome == OUTCOME_EXECUTED && answer->encoding != ANSWER_ENCODING)
        return STATUS_VERSION;
    /* Method name, tags and lengths, index and timestamp: below 64 bytes beside the body. */
    uint8_t frame[64];
    struct answer bare = *answer;
    bare.event_count = 0;
    struct wire_writer writer = {.bytes = frame, .capacity = sizeof frame};
    write_request_answer(&writer, &bare);
    invariant(!writer.full);
    size_t size = writer.size;
    if (answer->outcome == OUTCOME_EXECUTED)
        size += body_size(answer) - body_size(&bare) + varint_size(body_size(answer)) -
                varint_size(body_size(&bare));
    *out_size = size;
    return STATUS_OK;
}

void wire_write_request_answer(const struct answer *answer, uint8_t *out)
{
    size_t size;
    enum status status = wire_request_answer_size(answer, &size);
    invariant_values(status == STATUS_OK, status, answer->encoding);
    struct wire_writer writer = {.bytes = out, .capacity = size};
    write_request_answer(&writer, answer);
    invariant_values(!writer.full && writer.size == size, writer.size, size);
}

/* ---- records ---- */

void wire_write_account(struct wire_writer *writer, uint32_t field, const struct account *account)
{
    const struct account_record *record = &account->record;
    const struct balance_record *balance = &account->balance;
    struct nested nested = nested_begin(writer, field);
    write_id(writer, 1, &record->id);
    write_id(writer, 2, &record->user_data_128);
    wire_write_fixed64(writer, 3, record->user_data_64);
    wire_write_fixed32(writer, 4, record->user_data_32);
    wire_write_uint(writer, 5, record->ledger);
    wire_write_uint(writer, 6, record->code);
    wire_write_uint(writer, 7, record->flags);
    wire_write_amount(writer, 8, balance->debits_pending_low, balance->debits_pending_high);
    wire_write_amount(writer, 9, balance->debits_posted_low, balance->debits_posted_high);
    wire_write_amount(writer, 10, balance->credits_pending_low, balance->credits_pending_high);
    wire_write_amount(writer, 11, balance->credits_posted_low, balance->credits_posted_high);
    wire_write_fixed64(writer, 12, record->timestamp);
    wire_write_uint(writer, 13, balance->transfer_count);
    nested_end(writer, nested);
}

void wire_write_transfer(struct wire_writer *writer, uint32_t field,
                         const struct transfer_record *transfer, uint64_t sequence,
                         const struct id128 *debit_account_id,
                         const struct id128 *credit_account_id)
{
    struct nested nested = nested_begin(writer, field);
    write_id(writer, 1, &transfer->id);
    if (debit_account_id)
        write_id(writer, 2, debit_account_id);
    if (credit_account_id)
        write_id(writer, 3, credit_account_id);
    wire_write_amount(writer, 4, transfer->amount_low, transfer->amount_high);
    write_id(writer, 5, &transfer->pending_id);
    write_id(writer, 6, &transfer->user_data_128);
    wire_write_fixed64(writer, 7, transfer->user_data_64);
    wire_write_fixed32(writer, 8, transfer->user_data_32);
    wire_write_uint(writer, 9, transfer->timeout_s);
    wire_write_uint(writer, 10, transfer->ledger);
    wire_write_uint(writer, 11, transfer->code);
    wire_write_uint(writer, 12, transfer->flags);
    wire_write_uint(writer, 13, transfer->value_date);
    wire_write_fixed64(writer, 14, transfer->timestamp);
    wire_write_uint(writer, 15, sequence);
    wire_write_uint(writer, 16, transfer->result);
    nested_end(writer, nested);
}

void wire_write_ledger(struct wire_writer *writer, uint32_t field,
                       const struct ledger_record *ledger)
{
    struct nested nested = nested_begin(writer, field);
    wire_write_uint(writer, 1, ledger->id);
    wire_write_bytes(writer, 2, ledger->currency, strnlen(ledger->currency, 3));
    wire_write_uint(writer, 3, ledger->exponent);
    wire_write_bytes(writer, 4, ledger->name, ledger->name_size);
    wire_write_uint(writer, 5, ledger->account_count);
    wire_write_fixed64(writer, 6, ledger->timestamp);
    nested_end(writer, nested);
}

static void write_sum(struct wire_writer *writer, uint32_t field, u128 sum)
{
    wire_write_amount(writer, field, (uint64_t)sum, (uint64_t)(sum >> 64));
}

void wire_write_trial_balance_row(struct wire_writer *writer, uint32_t field,
                                  const struct trial_balance_row *row)
{
    struct nested nested = nested_begin(writer, field);
    wire_write_uint(writer, 1, row->code);
    wire_write_uint(writer, 2, row->account_count);
    write_sum(writer, 3, row->debits_pending);
    write_sum(writer, 4, row->debits_posted);
    write_sum(writer, 5, row->credits_pending);
    write_sum(writer, 6, row->credits_posted);
    nested_end(writer, nested);
}

void wire_write_principal(struct wire_writer *writer, uint32_t field,
                          const struct principal_record *principal)
{
    struct nested nested = nested_begin(writer, field);
    wire_write_bytes(writer, 1, principal->uri, principal->uri_size);
    wire_write_bytes(writer, 2, principal->name, principal->name_size);
    wire_write_uint(writer, 3, principal->role);
    wire_write_uint(writer, 4, principal->in_flight_max);
    nested_end(writer, nested);
}

void wire_write_member_state(struct wire_writer *writer, uint32_t field,
                             const struct wire_member_state *state)
{
    struct nested nested = nested_begin(writer, field);
    struct nested member = nested_begin(writer, 1);
    wire_write_uint(writer, 1, state->node_id);
    wire_write_bytes(writer, 2, state->site, strlen(state->site));
    wire_write_uint(writer, 3, state->kind);
    wire_write_bytes(writer, 4, state->incarnation, 16);
    wire_write_bytes(writer, 5, state->address, strlen(state->address));
    nested_end(writer, member);
    wire_write_uint(writer, 2, state->vote);
    wire_write_uint(writer, 3, state->leader);
    wire_write_uint(writer, 4, state->asked);
    wire_write_uint(writer, 5, state->linked);
    wire_write_uint(writer, 6, state->match_index);
    wire_write_uint(writer, 7, state->heard);
    wire_write_uint(writer, 8, state->heard_ms);
    wire_write_uint(writer, 9, state->catching_up);
    wire_write_uint(writer, 10, state->catch_up_bytes);
    wire_write_uint(writer, 11, state->catch_up_bytes_total);
    nested_end(writer, nested);
}
