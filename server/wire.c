/*
 * Decoding: the tables, which are the .proto files once more with the place in the replicated
 * struct where each value goes, and the requests made of them. wire_message.c reads by them; the
 * encoders are in wire_encode.c. A quick first pass counts the elements so that the buffer has the
 * right size.
 */
#include "server/wire.h"

#include "core/invariant.h"
#include "server/wire_message.h"

#include <inttypes.h>
#include <string.h>

struct wire_request {
    struct wire_identity identity;
    struct wire_list events;
};

static const struct wire_field ledger_fields[] = {
    [1] = FIELD("id", KIND_UINT32, struct ledger_event, id),
    [2] = FIELD("currency", KIND_CURRENCY, struct ledger_event, currency),
    [3] = FIELD("exponent", KIND_UINT8, struct ledger_event, exponent),
    [4] = TEXT("name", struct ledger_event, name, name_size, NAME_SIZE_MAX),
};
static const struct wire_message ledger_message = MESSAGE(ledger_fields);

static const struct wire_field account_fields[] = {
    [1] = FIELD("id", KIND_ID, struct account_event, id),
    [2] = FIELD("user_data_128", KIND_ID, struct account_event, user_data_128),
    [3] = FIELD("user_data_64", KIND_FIXED64, struct account_event, user_data_64),
    [4] = FIELD("user_data_32", KIND_FIXED32, struct account_event, user_data_32),
    [5] = FIELD("ledger", KIND_UINT32, struct account_event, ledger),
    [6] = FIELD("code", KIND_UINT16, struct account_event, code),
    [7] = FIELD("flags", KIND_UINT16, struct account_event, flags),
};
static const struct wire_message account_message = MESSAGE(account_fields);

static const struct wire_field transfer_fields[] = {
    [1] = FIELD("id", KIND_ID, struct transfer_event, id),
    [2] = FIELD("debit_account_id", KIND_ID, struct transfer_event, debit_account_id),
    [3] = FIELD("credit_account_id", KIND_ID, struct transfer_event, credit_account_id),
    [4] = FIELD("amount", KIND_UINT64, struct transfer_event, amount_low),
    [5] = FIELD("pending_id", KIND_ID, struct transfer_event, pending_id),
    [6] = FIELD("user_data_128", KIND_ID, struct transfer_event, user_data_128),
    [7] = FIELD("user_data_64", KIND_FIXED64, struct transfer_event, user_data_64),
    [8] = FIELD("user_data_32", KIND_FIXED32, struct transfer_event, user_data_32),
    [9] = FIELD("timeout_s", KIND_UINT32, struct transfer_event, timeout_s),
    [10] = FIELD("ledger", KIND_UINT32, struct transfer_event, ledger),
    [11] = FIELD("code", KIND_UINT16, struct transfer_event, code),
    [12] = FIELD("flags", KIND_UINT16, struct transfer_event, flags),
    [13] = FIELD("value_date", KIND_UINT32, struct transfer_event, value_date),
    [14] = FIELD("amount_high", KIND_UINT64, struct transfer_event, amount_high),
};
static const struct wire_message transfer_message = MESSAGE(transfer_fields);

static const struct wire_field principal_fields[] = {
    [1] = TEXT("uri", struct principal_event, uri, uri_size, URI_SIZE_MAX),
    [2] = TEXT("name", struct principal_event, name, name_size, NAME_SIZE_MAX),
    [3] = FIELD("role", KIND_UINT8, struct principal_event, role),
    [4] = FIELD("in_flight_max", KIND_UINT32, struct principal_event, in_flight_max),
};
static const struct wire_message principal_message = MESSAGE(principal_fields);

/* A request of each operation: identity and, but for the fence, elements. */
#define REQUEST_FIELDS(elements)                                                                   \
    {                                                                                              \
        [1] = FIELD("identity", KIND_IDENTITY, struct wire_request, identity),                     \
        [2] = FIELD(elements, KIND_ELEMENTS, struct wire_request, events),                         \
    }
static const struct wire_field create_ledgers_fields[] = REQUEST_FIELDS("ledgers");
static const struct wire_field create_accounts_fields[] = REQUEST_FIELDS("accounts");
static const struct wire_field create_transfers_fields[] = REQUEST_FIELDS("transfers");
static const struct wire_field set_principals_fields[] = REQUEST_FIELDS("principals");
static const struct wire_field fence_fields[] = {
    [1] = FIELD("identity", KIND_IDENTITY, struct wire_request, identity),
};

static const struct request_shape {
    struct wire_message request;
    const struct wire_message *element; /* NULL: an operation without events */
} request_shapes[] = {
    [OPERATION_CREATE_LEDGERS] = {MESSAGE(create_ledgers_fields), &ledger_message},
    [OPERATION_CREATE_ACCOUNTS] = {MESSAGE(create_accounts_fields), &account_message},
    [OPERATION_CREATE_TRANSFERS] = {MESSAGE(create_transfers_fields), &transfer_message},
    [OPERATION_FENCE_REQUEST] = {MESSAGE(fence_fields), NULL},
    [OPERATION_SET_PRINCIPALS] = {MESSAGE(set_principals_fields), &principal_message},
};

static const struct wire_field get_request_fields[] = {
    [1] = FIELD("identity", KIND_IDENTITY, struct wire_get_request, identity),
    [2] = TEXT("principal", struct wire_get_request, principal, principal_size, NAME_SIZE_MAX),
    [3] = FIELD("min_index", KIND_UINT64, struct wire_get_request, min_index),
};
static const struct wire_message get_request_message = MESSAGE(get_request_fields);

static const struct wire_field empty_fields[] = {{0}};
static const struct wire_field min_index_fields[] = {
    [1] = FIELD("min_index", KIND_UINT64, struct wire_query, min_index),
};
static const struct wire_field trial_balance_fields[] = {
    [1] = FIELD("ledger", KIND_UINT32, struct wire_query, ledger),
    [2] = FIELD("min_index", KIND_UINT64, struct wire_query, min_index),
};
/* `first` of accounts is an ordinal of 32 bits; the field is wider, so the low half is written
 * (little-endian, asserted in core/u128.h). */
static const struct wire_field list_accounts_fields[] = {
    [1] = FIELD("ledger", KIND_UINT32, struct wire_query, ledger),
    [2] = FIELD("first", KIND_UINT32, struct wire_query, first),
    [3] = FIELD("limit", KIND_UINT32, struct wire_query, limit),
    [4] = FIELD("min_index", KIND_UINT64, struct wire_query, min_index),
};
static const struct wire_field list_transfers_fields[] = {
    [1] = FIELD("ledger", KIND_UINT32, struct wire_query, ledger),
    [2] = FIELD("first", KIND_UINT64, struct wire_query, first),
    [3] = FIELD("limit", KIND_UINT32, struct wire_query, limit),
    [4] = FIELD("min_index", KIND_UINT64, struct wire_query, min_index),
};
static const struct wire_field in_doubt_fields[] = {
    [1] = FIELD("since_ns", KIND_FIXED64, struct wire_query, since_ns),
    [2] = FIELD("first", KIND_UINT64, struct wire_query, first),
    [3] = FIELD("limit", KIND_UINT32, struct wire_query, limit),
};
static const struct wire_message query_messages[] = {
    [WIRE_QUERY_EMPTY] = MESSAGE(empty_fields),
    [WIRE_QUERY_MIN_INDEX] = MESSAGE(min_index_fields),
    [WIRE_QUERY_TRIAL_BALANCE] = MESSAGE(trial_balance_fields),
    [WIRE_QUERY_LIST_ACCOUNTS] = MESSAGE(list_accounts_fields),
    [WIRE_QUERY_LIST_TRANSFERS] = MESSAGE(list_transfers_fields),
    [WIRE_QUERY_IN_DOUBT] = MESSAGE(in_doubt_fields),
};

static const struct wire_field lookup_fields[] = {
    [1] = FIELD("ids", KIND_IDS, struct wire_lookup, id_count),
    [2] = FIELD("min_index", KIND_UINT64, struct wire_lookup, min_index),
};
static const struct wire_message lookup_message = MESSAGE(lookup_fields);

static const struct wire_field member_fields[] = {
    [1] = FIELD("node_id", KIND_UINT64, struct wire_member, node_id),
    [2] = TEXT("site", struct wire_member, site, site_size, MEMBER_SITE_SIZE_MAX),
    [3] = FIELD("kind", KIND_UINT8, struct wire_member, kind),
    [4] = FIELD("incarnation", KIND_ID, struct wire_member, incarnation),
    [5] = TEXT("address", struct wire_member, address, address_size, MEMBER_ADDRESS_SIZE_MAX),
};
static const struct wire_message member_message = MESSAGE(member_fields);

struct wire_member_request {
    struct wire_nested member;
    uint64_t node_id;
    uint8_t force;
};
static const struct wire_field add_member_fields[] = {
    [1] = FIELD("member", KIND_NESTED, struct wire_member_request, member),
    [2] = FIELD("force", KIND_UINT8, struct wire_member_request, force),
};
static const struct wire_field replace_member_fields[] = {
    [1] = FIELD("old_node_id", KIND_UINT64, struct wire_member_request, node_id),
    [2] = FIELD("member", KIND_NESTED, struct wire_member_request, member),
    [3] = FIELD("force", KIND_UINT8, struct wire_member_request, force),
};
static const struct wire_field remove_member_fields[] = {
    [1] = FIELD("node_id", KIND_UINT64, struct wire_member_request, node_id),
    [2] = FIELD("force", KIND_UINT8, struct wire_member_request, force),
};
static const struct wire_field transfer_leadership_fields[] = {
    [1] = FIELD("node_id", KIND_UINT64, struct wire_member_request, node_id),
};
static const struct wire_message member_change_messages[] = {
    [WIRE_ADD_MEMBER] = MESSAGE(add_member_fields),
    [WIRE_REPLACE_MEMBER] = MESSAGE(replace_member_fields),
    [WIRE_REMOVE_MEMBER] = MESSAGE(remove_member_fields),
    [WIRE_TRANSFER_LEADERSHIP] = MESSAGE(transfer_leadership_fields),
};

static const struct wire_field health_fields[] = {
    [1] = {"service", KIND_SLICE, 0, 0, 0},
};
static const struct wire_message health_message = MESSAGE(health_fields);

static bool check_identity(const struct wire_reader *reader, const struct wire_identity *identity)
{
    static const struct wire_place place = {.list = "identity"};
    if (!identity->given)
        return wire_refuse(reader, WIRE_MISSING, reader->begin, NULL, "identity",
                           "missing; every request carries a nonce and its issue time");
    if (!identity->nonce_given)
        return wire_refuse(reader, WIRE_MISSING, reader->begin, &place, "nonce",
                           "missing; 16 random bytes are needed");
    if (identity->issued_at_ns == 0)
        return wire_refuse(reader, WIRE_MISSING, reader->begin, &place, "issued_at_ns",
                           "missing; nanoseconds since 1970 are needed");
    return true;
}

/* ---- requests that change something ---- */

static const struct request_shape *shape_of(uint16_t operation)
{
    invariant_values(operation >= OPERATION_CREATE_LEDGERS && operation <= OPERATION_SET_PRINCIPALS,
                     operation, 0);
    return &request_shapes[operation];
}

/* Events that fit one entry. */
static uint32_t events_max(uint16_t operation)
{
    size_t room = ENTRY_SIZE_MAX - sizeof(struct entry_header) - sizeof(struct request_header);
    size_t fit = room / operation_event_size(operation);
    return fit < REQUEST_EVENTS_MAX ? (uint32_t)fit : REQUEST_EVENTS_MAX;
}

enum status wire_measure_request(uint16_t operation, const uint8_t *message, size_t size,
                                 size_t *out_size, struct wire_error *out_error)
{
    const struct request_shape *shape = shape_of(operation);
    struct wire_reader reader = wire_reader_of(message, size, out_error);
    if (!shape->element) {
        *out_size = sizeof(struct request_header);
        return STATUS_OK;
    }
    const char *name = shape->request.fields[2].name;
    uint32_t count = 0, count_max = events_max(operation);
    for (const uint8_t *at = reader.begin; at < reader.end;) {
        struct wire_piece piece;
        at = wire_next_piece(&reader, at, &piece);
        if (!at)
            return STATUS_INVALID;
        if (piece.number == 2 && piece.bytes && ++count > count_max) {
            wire_refuse(&reader, WIRE_TOO_MANY, piece.at, NULL, name,
                        "more than the %" PRIu32 " allowed; split the request", count_max);
            return STATUS_INVALID;
        }
    }
    *out_size = sizeof(struct request_header) + count * operation_event_size(operation);
    return STATUS_OK;
}

enum status wire_decode_request(uint16_t operation, const uint8_t *message, size_t size,
                                struct request_header *out, size_t capacity,
                                struct wire_error *out_error)
{
    const struct request_shape *shape = shape_of(operation);
    struct wire_reader reader = wire_reader_of(message, size, out_error);
    size_t event_size = shape->element ? operation_event_size(operation) : 0;
    invariant(capacity >= sizeof *out);
    struct wire_request request = {
        .events =
            {
                .message = shape->element,
                .base = (uint8_t *)(out + 1),
                .stride = (uint32_t)event_size,
                .count_max = shape->element ? (uint32_t)((capacity - sizeof *out) / event_size) : 0,
            },
    };
    if (!wire_read_message(&reader, &shape->request, &request))
        return STATUS_INVALID;
    if (!check_identity(&reader, &request.identity))
        return STATUS_INVALID;
    if (shape->element && request.events.count == 0) {
        wire_refuse(&reader, WIRE_MISSING, reader.begin, NULL, shape->request.fields[2].name,
                    "empty; at least one is needed");
        return STATUS_INVALID;
    }
    memset(out, 0, sizeof *out);
    out->size = (uint32_t)(sizeof *out + request.events.count * event_size);
    out->operation = operation;
    out->encoding = ANSWER_ENCODING;
    out->event_count = request.events.count;
    out->issued_at_ns = request.identity.issued_at_ns;
    memcpy(out->nonce, request.identity.nonce, sizeof out->nonce);
    return STATUS_OK;
}

/* ---- requests that read ---- */

enum status wire_decode_get_request(const uint8_t *message, size_t size,
                                    struct wire_get_request *out, struct wire_error *out_error)
{
    struct wire_reader reader = wire_reader_of(message, size, out_error);
    memset(out, 0, sizeof *out);
    if (!wire_read_message(&reader, &get_request_message, out))
        return STATUS_INVALID;
    return check_identity(&reader, &out->identity) ? STATUS_OK : STATUS_INVALID;
}

enum status wire_decode_query(enum wire_query_kind kind, const uint8_t *message, size_t size,
                              struct wire_query *out, struct wire_error *out_error)
{
    struct wire_reader reader = wire_reader_of(message, size, out_error);
    memset(out, 0, sizeof *out);
    return wire_read_message(&reader, &query_messages[kind], out) ? STATUS_OK : STATUS_INVALID;
}

enum status wire_decode_lookup(const uint8_t *message, size_t size, struct wire_lookup *out,
                               struct wire_error *out_error)
{
    struct wire_reader reader = wire_reader_of(message, size, out_error);
    memset(out, 0, sizeof *out);
    if (!wire_read_message(&reader, &lookup_message, out))
        return STATUS_INVALID;
    if (out->id_count == 0) {
        wire_refuse(&reader, WIRE_MISSING, reader.begin, NULL, "ids",
                    "empty; at least one is needed");
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

bool wire_next_id(const uint8_t *message, size_t size, size_t *offset, struct id128 *out)
{
    struct wire_error error;
    struct wire_reader reader = wire_reader_of(message, size, &error);
    const uint8_t *at = reader.begin + *offset;
    while (at < reader.end) {
        struct wire_piece piece;
        at = wire_next_piece(&reader, at, &piece);
        invariant(at != NULL); /* the whole message was accepted before */
        if (piece.number != 1)
            continue;
        memset(out, 0, sizeof *out);
        memcpy(out, piece.bytes, piece.size);
        *offset = (size_t)(at - reader.begin);
        return true;
    }
    return false;
}

enum status wire_decode_member_change(enum wire_member_change_kind kind, const uint8_t *message,
                                      size_t size, struct wire_member_change *out,
                                      struct wire_error *out_error)
{
    struct wire_reader reader = wire_reader_of(message, size, out_error);
    memset(out, 0, sizeof *out);
    struct wire_member_request request = {
        .member = {.message = &member_message, .target = &out->member},
    };
    if (!wire_read_message(&reader, &member_change_messages[kind], &request))
        return STATUS_INVALID;
    bool names_member = kind == WIRE_ADD_MEMBER || kind == WIRE_REPLACE_MEMBER;
    if (names_member && !request.member.given) {
        wire_refuse(&reader, WIRE_MISSING, reader.begin, NULL, "member",
                    "missing; \"tally node init --join\" prints what belongs there");
        return STATUS_INVALID;
    }
    out->node_id = request.node_id;
    out->force = request.force;
    return STATUS_OK;
}

enum status wire_decode_health(const uint8_t *message, size_t size, const char **out_service,
                               size_t *out_service_size, struct wire_error *out_error)
{
    struct wire_reader reader = wire_reader_of(message, size, out_error);
    struct wire_slice service = {"", 0};
    if (!wire_read_message(&reader, &health_message, &service))
        return STATUS_INVALID;
    *out_service = service.text;
    *out_service_size = service.size;
    return STATUS_OK;
}
