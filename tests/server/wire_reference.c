#include "wire_reference.h"

#include "tally/v1/admin.pb-c.h"
#include "tally/v1/ledger.pb-c.h"

#include <stdlib.h>
#include <string.h>

typedef Tally__V1__RequestIdentity identity;

/* What protobuf-c's message shows of the reasons for which ours refuses. `merged`: several
 * identities became one, and what the first ones had may be gone. */
struct shown {
    bool unknown, range, length, missing, many, merged;
};

static uint64_t varint(const uint8_t **at, const uint8_t *end)
{
    uint64_t value = 0;
    for (unsigned shift = 0; *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            break;
    }
    return value;
}

/* Of a message that protobuf-c has accepted: is field 1 there more than once? */
static bool identity_is_repeated(const uint8_t *message, size_t size)
{
    const uint8_t *at = message, *end = message + size;
    uint32_t count = 0;
    while (at < end) {
        uint64_t tag = varint(&at, end), skip = 0;
        switch (tag & 7) {
        case 0:
            (void)varint(&at, end);
            break;
        case 1:
            skip = 8;
            break;
        case 2:
            skip = varint(&at, end);
            count += (uint32_t)tag >> 3 == 1;
            break;
        default:
            skip = 4;
        }
        at = skip > (uint64_t)(end - at) ? end : at + skip;
    }
    return count > 1;
}

static void show_identity(const identity *given, struct shown *shown)
{
    if (!given) {
        shown->missing = true;
        return;
    }
    if (given->base.n_unknown_fields)
        shown->unknown = true;
    if (given->nonce.len == 0)
        shown->missing = true; /* or given with no bytes: wrong length */
    if (given->nonce.len != 16)
        shown->length = true;
    if (given->issued_at_ns == 0)
        shown->missing = true;
}

static void show_id(const ProtobufCBinaryData *id, struct shown *shown)
{
    if (id->len != 0 && id->len != 16)
        shown->length = true;
}

static bool equal_id(const ProtobufCBinaryData *theirs, const struct id128 *ours)
{
    static const uint8_t zero[16];
    if (theirs->len == 0)
        return memcmp(ours->bytes, zero, 16) == 0;
    return theirs->len == 16 && memcmp(theirs->data, ours->bytes, 16) == 0;
}

static bool equal_text(const char *theirs, const char *ours, size_t size, size_t capacity)
{
    /* protobuf-c ends strings at a zero byte; ours keep their size. */
    size_t visible = strnlen(ours, size);
    if (strlen(theirs) != visible || memcmp(theirs, ours, visible) != 0)
        return false;
    for (size_t i = size; i < capacity; i++)
        if (ours[i] != 0)
            return false;
    return true;
}

static bool equal_header(const struct request_header *ours, const identity *theirs, size_t count,
                         uint16_t operation)
{
    return ours->operation == operation && ours->event_count == count &&
           ours->size == sizeof *ours + count * operation_event_size(operation) &&
           ours->encoding == ANSWER_ENCODING && ours->issued_at_ns == theirs->issued_at_ns &&
           memcmp(ours->nonce, theirs->nonce.data, 16) == 0 && ours->principal == 0 &&
           ours->reserved == 0;
}

/* ---- one function per element ---- */

static bool transfer_equal(const Tally__V1__NewTransfer *t, const struct transfer_event *e)
{
    return equal_id(&t->id, &e->id) && equal_id(&t->debit_account_id, &e->debit_account_id) &&
           equal_id(&t->credit_account_id, &e->credit_account_id) && t->amount == e->amount_low &&
           t->amount_high == e->amount_high && equal_id(&t->pending_id, &e->pending_id) &&
           equal_id(&t->user_data_128, &e->user_data_128) && t->user_data_64 == e->user_data_64 &&
           t->user_data_32 == e->user_data_32 && t->timeout_s == e->timeout_s &&
           t->ledger == e->ledger && t->code == e->code && t->flags == e->flags &&
           t->value_date == e->value_date && e->reserved == 0;
}

static void transfer_show(const Tally__V1__NewTransfer *t, struct shown *shown)
{
    shown->unknown |= t->base.n_unknown_fields != 0;
    shown->range |= t->code > UINT16_MAX || t->flags > UINT16_MAX;
    show_id(&t->id, shown);
    show_id(&t->debit_account_id, shown);
    show_id(&t->credit_account_id, shown);
    show_id(&t->pending_id, shown);
    show_id(&t->user_data_128, shown);
}

static bool account_equal(const Tally__V1__NewAccount *a, const struct account_event *e)
{
    return equal_id(&a->id, &e->id) && equal_id(&a->user_data_128, &e->user_data_128) &&
           a->user_data_64 == e->user_data_64 && a->user_data_32 == e->user_data_32 &&
           a->ledger == e->ledger && a->code == e->code && a->flags == e->flags &&
           e->reserved_0 == 0 && e->reserved_1 == 0;
}

static void account_show(const Tally__V1__NewAccount *a, struct shown *shown)
{
    shown->unknown |= a->base.n_unknown_fields != 0;
    shown->range |= a->code > UINT16_MAX || a->flags > UINT16_MAX;
    show_id(&a->id, shown);
    show_id(&a->user_data_128, shown);
}

static bool ledger_equal(const Tally__V1__NewLedger *l, const struct ledger_event *e)
{
    return l->id == e->id && l->exponent == e->exponent &&
           equal_text(l->currency, e->currency, 3, sizeof e->currency) &&
           equal_text(l->name, e->name, e->name_size, sizeof e->name) && e->flags == 0 &&
           e->reserved == 0;
}

static void ledger_show(const Tally__V1__NewLedger *l, struct shown *shown)
{
    shown->unknown |= l->base.n_unknown_fields != 0;
    shown->range |= l->exponent > UINT8_MAX;
    /* A zero byte hides the rest of a string from protobuf-c. */
    shown->length |= strlen(l->currency) > 3 || strlen(l->name) > NAME_SIZE_MAX;
}

static bool principal_equal(const Tally__V1__Principal *p, const struct principal_event *e)
{
    return (uint32_t)p->role == e->role && p->in_flight_max == e->in_flight_max &&
           equal_text(p->uri, e->uri, e->uri_size, sizeof e->uri) &&
           equal_text(p->name, e->name, e->name_size, sizeof e->name) && e->reserved_0 == 0;
}

static void principal_show(const Tally__V1__Principal *p, struct shown *shown)
{
    shown->unknown |= p->base.n_unknown_fields != 0;
    shown->range |= (uint32_t)p->role > UINT8_MAX;
    shown->length |= strlen(p->uri) > URI_SIZE_MAX || strlen(p->name) > NAME_SIZE_MAX;
}

/* ---- the comparison ---- */

static bool is_structural(enum wire_fault fault)
{
    return fault == WIRE_TRUNCATED || fault == WIRE_WRONG_TYPE || fault == WIRE_BAD_VARINT ||
           fault == WIRE_BAD_TAG;
}

static const char *judge_refusal(enum wire_fault fault, const struct shown *shown)
{
    switch (fault) {
    case WIRE_UNKNOWN_FIELD:
        return shown->unknown ? NULL : "ours sees an unknown field, protobuf-c none";
    case WIRE_MISSING:
        return shown->missing ? NULL : "ours misses something, protobuf-c nothing";
    case WIRE_TOO_MANY:
        return shown->many ? NULL : "ours counts too many, protobuf-c does not";
    case WIRE_OUT_OF_RANGE: /* high bits are dropped, later values replace */
    case WIRE_WRONG_LENGTH:
    case WIRE_REPEATED: /* merged */
        return NULL;
    default:
        return "ours refuses without a reason";
    }
}

/* Tags of five bytes may carry bits that protobuf-c drops; everything else that ours calls
 * structural it refuses as well. */
static const char *judge(bool accepted, enum wire_fault fault, const void *theirs,
                         const struct shown *shown)
{
    bool clean = theirs && !shown->unknown && !shown->range && !shown->length && !shown->missing &&
                 !shown->many;
    if (accepted)
        return !theirs ? "ours accepts what protobuf-c refuses"
               : clean ? NULL
                       : "ours accepts what it must refuse";
    if (!theirs)
        return NULL;
    if (fault == WIRE_BAD_TAG || shown->merged)
        return NULL;
    if (is_structural(fault))
        return "ours calls it broken, protobuf-c accepts it";
    return judge_refusal(fault, shown);
}

#define COMPARE(Type, type, member, element_equal, element_show, event_type)                       \
    do {                                                                                           \
        Tally__V1__##Type *theirs = tally__v1__##type##__unpack(NULL, size, message);              \
        if (theirs) {                                                                              \
            shown.unknown |= theirs->base.n_unknown_fields != 0;                                   \
            show_identity(theirs->identity, &shown);                                               \
            shown.merged = identity_is_repeated(message, size);                                    \
            shown.missing |= theirs->n_##member == 0;                                              \
            shown.many |= theirs->n_##member > count_max;                                          \
            for (size_t i = 0; i < theirs->n_##member; i++)                                        \
                element_show(theirs->member[i], &shown);                                           \
        }                                                                                          \
        difference = judge(accepted, error.fault, theirs, &shown);                                 \
        if (!difference && accepted) {                                                             \
            const event_type *events = (const void *)(request + 1);                                \
            if (!equal_header(request, theirs->identity, theirs->n_##member, operation))           \
                difference = "headers differ";                                                     \
            for (size_t i = 0; i < theirs->n_##member && !difference; i++)                         \
                if (!element_equal(theirs->member[i], &events[i]))                                 \
                    difference = "values differ";                                                  \
        }                                                                                          \
        if (theirs)                                                                                \
            tally__v1__##type##__free_unpacked(theirs, NULL);                                      \
    } while (0)

const char *wire_reference_compare(uint16_t operation, const uint8_t *message, size_t size,
                                   bool *out_accepted)
{
    static const uint8_t nothing;
    struct wire_error error;
    struct request_header *request = NULL;
    struct shown shown = {0};
    const char *difference = NULL;
    size_t needed = 0;
    size_t count_max =
        (ENTRY_SIZE_MAX - sizeof(struct entry_header) - sizeof(struct request_header));
    count_max =
        operation == OPERATION_FENCE_REQUEST ? 0 : count_max / operation_event_size(operation);
    if (count_max > REQUEST_EVENTS_MAX)
        count_max = REQUEST_EVENTS_MAX;
    if (size == 0)
        message = &nothing;

    bool accepted = wire_measure_request(operation, message, size, &needed, &error) == STATUS_OK;
    if (accepted) {
        request = aligned_alloc(8, (needed + 7) & ~(size_t)7);
        accepted =
            wire_decode_request(operation, message, size, request, needed, &error) == STATUS_OK;
    }
    if (!accepted && (error.fault == WIRE_FINE || error.text[0] == '\0'))
        difference = "refused without words";
    if (accepted && request->size != needed)
        difference = "measured wrongly";
    if (difference) {
        free(request);
        return difference;
    }
    switch (operation) {
    case OPERATION_CREATE_TRANSFERS:
        COMPARE(CreateTransfersRequest, create_transfers_request, transfers, transfer_equal,
                transfer_show, struct transfer_event);
        break;
    case OPERATION_CREATE_ACCOUNTS:
        COMPARE(CreateAccountsRequest, create_accounts_request, accounts, account_equal,
                account_show, struct account_event);
        break;
    case OPERATION_CREATE_LEDGERS:
        COMPARE(CreateLedgersRequest, create_ledgers_request, ledgers, ledger_equal, ledger_show,
                struct ledger_event);
        break;
    case OPERATION_SET_PRINCIPALS:
        COMPARE(SetPrincipalsRequest, set_principals_request, principals, principal_equal,
                principal_show, struct principal_event);
        break;
    default: {
        Tally__V1__FenceRequestRequest *theirs =
            tally__v1__fence_request_request__unpack(NULL, size, message);
        if (theirs) {
            shown.unknown |= theirs->base.n_unknown_fields != 0;
            show_identity(theirs->identity, &shown);
            shown.merged = identity_is_repeated(message, size);
        }
        difference = judge(accepted, error.fault, theirs, &shown);
        if (!difference && accepted && !equal_header(request, theirs->identity, 0, operation))
            difference = "headers differ";
        if (theirs)
            tally__v1__fence_request_request__free_unpacked(theirs, NULL);
    }
    }
    free(request);
    *out_accepted = accepted;
    return difference;
}

const char *wire_reference_compare_lookup(const uint8_t *message, size_t size, bool *out_accepted)
{
    static const uint8_t nothing;
    struct wire_error error;
    struct wire_lookup lookup;
    struct shown shown = {0};
    if (size == 0)
        message = &nothing;
    bool accepted = wire_decode_lookup(message, size, &lookup, &error) == STATUS_OK;
    Tally__V1__LookupAccountsRequest *theirs =
        tally__v1__lookup_accounts_request__unpack(NULL, size, message);
    if (theirs) {
        shown.unknown |= theirs->base.n_unknown_fields != 0;
        shown.missing |= theirs->n_ids == 0;
        shown.many |= theirs->n_ids > REQUEST_EVENTS_MAX;
        for (size_t i = 0; i < theirs->n_ids; i++)
            show_id(&theirs->ids[i], &shown);
    }
    const char *difference = judge(accepted, accepted ? WIRE_FINE : error.fault, theirs, &shown);
    if (!difference && accepted) {
        size_t offset = 0;
        struct id128 id;
        if (lookup.id_count != theirs->n_ids || lookup.min_index != theirs->min_index)
            difference = "values differ";
        for (size_t i = 0; i < theirs->n_ids && !difference; i++)
            if (!wire_next_id(message, size, &offset, &id) || !equal_id(&theirs->ids[i], &id))
                difference = "ids differ";
        if (!difference && wire_next_id(message, size, &offset, &id))
            difference = "an id too many";
    }
    if (theirs)
        tally__v1__lookup_accounts_request__free_unpacked(theirs, NULL);
    *out_accepted = accepted;
    return difference;
}
