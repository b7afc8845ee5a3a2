/*
 * Reading the payload of a log entry (docs/formats/command.md draws it).
 *
 * One walker serves the proposer's check and apply, so that what one accepts the other understands.
 * Nothing is copied: the layout is the format, and entries are aligned. What a request asks for is
 * not judged here, only whether it can be read at all; the fields of events are business and get
 * numbered results.
 *
 * The last request must end where the entry ends and use up the header's stamps. That is asked when
 * the last request is read and not behind it, so that an entry is either good or answers
 * OUTCOME_MALFORMED at least once.
 */
#include "core/command.h"

#include "core/invariant.h"

#include <string.h>

#define ENTRY_ALIGNMENT 8

_Static_assert(offsetof(struct entry_header, version) == 0, "format");
_Static_assert(offsetof(struct entry_header, reserved_0) == 2, "format");
_Static_assert(offsetof(struct entry_header, size) == 4, "format");
_Static_assert(offsetof(struct entry_header, stamp) == 8, "format");
_Static_assert(offsetof(struct entry_header, request_count) == 16, "format");
_Static_assert(offsetof(struct entry_header, event_count) == 20, "format");
_Static_assert(offsetof(struct entry_header, reserved_1) == 24, "format");

_Static_assert(offsetof(struct request_header, size) == 0, "format");
_Static_assert(offsetof(struct request_header, operation) == 4, "format");
_Static_assert(offsetof(struct request_header, encoding) == 6, "format");
_Static_assert(offsetof(struct request_header, event_count) == 8, "format");
_Static_assert(offsetof(struct request_header, principal) == 12, "format");
_Static_assert(offsetof(struct request_header, issued_at_ns) == 16, "format");
_Static_assert(offsetof(struct request_header, nonce) == 24, "format");
_Static_assert(offsetof(struct request_header, digest) == 40, "format");
_Static_assert(offsetof(struct request_header, reserved) == 72, "format");

_Static_assert(offsetof(struct ledger_event, id) == 0, "format");
_Static_assert(offsetof(struct ledger_event, exponent) == 4, "format");
_Static_assert(offsetof(struct ledger_event, name_size) == 5, "format");
_Static_assert(offsetof(struct ledger_event, flags) == 6, "format");
_Static_assert(offsetof(struct ledger_event, currency) == 8, "format");
_Static_assert(offsetof(struct ledger_event, reserved) == 12, "format");
_Static_assert(offsetof(struct ledger_event, name) == 16, "format");

_Static_assert(offsetof(struct account_event, id) == 0, "format");
_Static_assert(offsetof(struct account_event, user_data_128) == 16, "format");
_Static_assert(offsetof(struct account_event, user_data_64) == 32, "format");
_Static_assert(offsetof(struct account_event, user_data_32) == 40, "format");
_Static_assert(offsetof(struct account_event, ledger) == 44, "format");
_Static_assert(offsetof(struct account_event, code) == 48, "format");
_Static_assert(offsetof(struct account_event, flags) == 50, "format");
_Static_assert(offsetof(struct account_event, reserved_0) == 52, "format");
_Static_assert(offsetof(struct account_event, reserved_1) == 56, "format");

_Static_assert(offsetof(struct transfer_event, id) == 0, "format");
_Static_assert(offsetof(struct transfer_event, debit_account_id) == 16, "format");
_Static_assert(offsetof(struct transfer_event, credit_account_id) == 32, "format");
_Static_assert(offsetof(struct transfer_event, amount_low) == 48, "format");
_Static_assert(offsetof(struct transfer_event, amount_high) == 56, "format");
_Static_assert(offsetof(struct transfer_event, pending_id) == 64, "format");
_Static_assert(offsetof(struct transfer_event, user_data_128) == 80, "format");
_Static_assert(offsetof(struct transfer_event, user_data_64) == 96, "format");
_Static_assert(offsetof(struct transfer_event, user_data_32) == 104, "format");
_Static_assert(offsetof(struct transfer_event, timeout_s) == 108, "format");
_Static_assert(offsetof(struct transfer_event, ledger) == 112, "format");
_Static_assert(offsetof(struct transfer_event, code) == 116, "format");
_Static_assert(offsetof(struct transfer_event, flags) == 118, "format");
_Static_assert(offsetof(struct transfer_event, value_date) == 120, "format");
_Static_assert(offsetof(struct transfer_event, reserved) == 124, "format");

_Static_assert(offsetof(struct principal_event, role) == 0, "format");
_Static_assert(offsetof(struct principal_event, uri_size) == 1, "format");
_Static_assert(offsetof(struct principal_event, name_size) == 2, "format");
_Static_assert(offsetof(struct principal_event, reserved_0) == 3, "format");
_Static_assert(offsetof(struct principal_event, in_flight_max) == 4, "format");
_Static_assert(offsetof(struct principal_event, name) == 8, "format");
_Static_assert(offsetof(struct principal_event, uri) == 72, "format");

/* What bounds.h calculates. */
_Static_assert(sizeof(struct entry_header) + sizeof(struct request_header) +
                       REQUEST_EVENTS_MAX * sizeof(struct transfer_event) <=
                   ENTRY_SIZE_MAX,
               "the largest request fits an entry");
_Static_assert((ENTRY_GATHER_BYTES - sizeof(struct entry_header)) / sizeof(struct request_header) <=
                   ENTRY_REQUESTS_MAX,
               "the smallest requests fit the count");
_Static_assert(ENTRY_GATHER_BYTES / sizeof(struct account_event) <= REQUEST_EVENTS_MAX,
               "gathered requests hold no more events than one request may");

size_t operation_event_size(uint16_t operation)
{
    switch (operation) {
    case OPERATION_CREATE_LEDGERS:
        return sizeof(struct ledger_event);
    case OPERATION_CREATE_ACCOUNTS:
        return sizeof(struct account_event);
    case OPERATION_CREATE_TRANSFERS:
        return sizeof(struct transfer_event);
    case OPERATION_SET_PRINCIPALS:
        return sizeof(struct principal_event);
    default:
        return 0;
    }
}

/* Whether a request of exactly request->size bytes can be read; `room` bytes are there, at least a
 * header's. */
static bool request_readable(const struct request_header *request, size_t room)
{
    if (request->size > room || request->encoding != ANSWER_ENCODING || request->reserved != 0)
        return false;
    if (request->operation == OPERATION_FENCE_REQUEST)
        return request->event_count == 0 && request->size == sizeof *request;
    size_t event_size = operation_event_size(request->operation);
    if (event_size == 0 || request->event_count == 0 || request->event_count > REQUEST_EVENTS_MAX)
        return false;
    return request->size == sizeof *request + request->event_count * event_size;
}

static bool entry_readable(const struct entry_header *header, size_t size)
{
    if (header->reserved_0 != 0 || header->reserved_1 != 0)
        return false;
    if (header->size != size || size % ENTRY_ALIGNMENT != 0 || header->stamp > STAMP_MAX)
        return false;
    if (header->request_count == 0 || header->request_count > ENTRY_REQUESTS_MAX)
        return false;
    if (header->event_count < header->request_count || header->event_count > REQUEST_EVENTS_MAX)
        return false;
    size_t size_max = header->request_count == 1 ? ENTRY_SIZE_MAX : ENTRY_GATHER_BYTES;
    size_t size_min =
        sizeof *header + (size_t)header->request_count * sizeof(struct request_header);
    return size_min <= size && size <= size_max;
}

enum status command_cursor_init(struct command_cursor *cursor, const void *bytes, size_t size)
{
    invariant_values((uintptr_t)bytes % ENTRY_ALIGNMENT == 0, (uintptr_t)bytes, size);
    uint16_t version = 0;
    if (size < sizeof version)
        return STATUS_INVALID;
    memcpy(&version, bytes, sizeof version);
    if (version != COMMAND_VERSION)
        return STATUS_VERSION;
    struct entry_header header;
    if (size < sizeof header)
        return STATUS_INVALID;
    memcpy(&header, bytes, sizeof header);
    if (!entry_readable(&header, size))
        return STATUS_INVALID;

    *cursor = (struct command_cursor){
        .bytes = bytes,
        .size = size,
        .offset = sizeof header,
        .request_count = header.request_count,
        .stamps_left = header.event_count,
        .stamp = header.stamp,
    };
    return STATUS_OK;
}

enum status command_cursor_next(struct command_cursor *cursor,
                                const struct request_header **out_request, uint64_t *out_stamp)
{
    if (cursor->request_index == cursor->request_count)
        return STATUS_NOT_FOUND;
    size_t room = cursor->size - cursor->offset;
    if (room < sizeof(struct request_header))
        return STATUS_INVALID;
    const struct request_header *request = (const void *)(cursor->bytes + cursor->offset);
    if (!request_readable(request, room))
        return STATUS_INVALID;
    uint32_t stamps = request_stamp_count(request);
    if (stamps > cursor->stamps_left)
        return STATUS_INVALID;
    bool last = cursor->request_index + 1 == cursor->request_count;
    if (last && (request->size != room || stamps != cursor->stamps_left))
        return STATUS_INVALID;

    *out_request = request;
    *out_stamp = cursor->stamp;
    cursor->offset += request->size;
    cursor->request_index++;
    cursor->stamps_left -= stamps;
    cursor->stamp += stamps;
    return STATUS_OK;
}

enum status request_check(const struct request_header *request)
{
    bool readable = request_readable(request, ENTRY_SIZE_MAX - sizeof(struct entry_header));
    return readable ? STATUS_OK : STATUS_INVALID;
}

enum status command_check(const void *bytes, size_t size)
{
    struct command_cursor cursor;
    enum status status = command_cursor_init(&cursor, bytes, size);
    while (status == STATUS_OK) {
        const struct request_header *request;
        uint64_t stamp;
        status = command_cursor_next(&cursor, &request, &stamp);
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}
