/*
 * Requests that read or operate, against protobuf-c on the same bytes: the first byte chooses the
 * message. Ours is stricter on purpose (server/wire.h), so:
 *
 *   - what ours accepts, protobuf-c accepts, without a field that it does not know and with equal
 *     values;
 *   - what ours refuses as no protobuf (the first faults of enum wire_fault), protobuf-c refuses;
 *   - every refusal has words and a place inside of the message;
 *   - whatever protobuf-c itself writes for values in their ranges, ours accepts.
 */
#include "fuzz.h"
#include "server/wire_site.h"

#include "grpc/health/v1/health.pb-c.h"
#include "tally/v1/admin.pb-c.h"
#include "tally/v1/ledger.pb-c.h"

typedef ProtobufCMessage message;

static const ProtobufCMessageDescriptor *const query_types[] = {
    [WIRE_QUERY_EMPTY] = &tally__v1__get_status_request__descriptor,
    [WIRE_QUERY_MIN_INDEX] = &tally__v1__list_ledgers_request__descriptor,
    [WIRE_QUERY_TRIAL_BALANCE] = &tally__v1__trial_balance_request__descriptor,
    [WIRE_QUERY_LIST_ACCOUNTS] = &tally__v1__list_accounts_request__descriptor,
    [WIRE_QUERY_LIST_TRANSFERS] = &tally__v1__list_transfers_request__descriptor,
    [WIRE_QUERY_IN_DOUBT] = &tally__v1__list_in_doubt_request__descriptor,
};
#define QUERY_COUNT (sizeof query_types / sizeof query_types[0])

static bool queries_equal(size_t kind, const message *theirs, const struct wire_query *ours)
{
    struct wire_query same = {0};
    const void *at = theirs;
    switch (kind) {
    case WIRE_QUERY_MIN_INDEX:
        same.min_index = ((const Tally__V1__ListLedgersRequest *)at)->min_index;
        break;
    case WIRE_QUERY_TRIAL_BALANCE:
        same.ledger = ((const Tally__V1__TrialBalanceRequest *)at)->ledger;
        same.min_index = ((const Tally__V1__TrialBalanceRequest *)at)->min_index;
        break;
    case WIRE_QUERY_LIST_ACCOUNTS: {
        const Tally__V1__ListAccountsRequest *list = at;
        same = (struct wire_query){.ledger = list->ledger,
                                   .first = list->first,
                                   .limit = list->limit,
                                   .min_index = list->min_index};
        break;
    }
    case WIRE_QUERY_LIST_TRANSFERS: {
        const Tally__V1__ListTransfersRequest *list = at;
        same = (struct wire_query){.ledger = list->ledger,
                                   .first = list->first,
                                   .limit = list->limit,
                                   .min_index = list->min_index};
        break;
    }
    case WIRE_QUERY_IN_DOUBT: {
        const Tally__V1__ListInDoubtRequest *list = at;
        same = (struct wire_query){
            .since_ns = list->since_ns, .first = list->first, .limit = list->limit};
        break;
    }
    default:
        break;
    }
    return same.ledger == ours->ledger && same.limit == ours->limit && same.first == ours->first &&
           same.min_index == ours->min_index && same.since_ns == ours->since_ns;
}

/* protobuf-c reads a bool out of whatever wire type there is. */
static bool has_bool(const ProtobufCMessageDescriptor *type)
{
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].type == PROTOBUF_C_TYPE_BOOL)
            return true;
    return false;
}

/* NULL when protobuf-c refuses. `accepted`, `error`: what ours said of the same bytes. */
static message *unpack(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t size,
                       bool accepted, const struct wire_error *error)
{
    message *theirs = protobuf_c_message_unpack(type, NULL, size, bytes);
    if (accepted) {
        need(theirs != NULL, "what ours accepts protobuf-c accepts");
        need(theirs->n_unknown_fields == 0, "an unknown field is not passed over");
    } else {
        need(error->text[0] != '\0', "a refusal has words");
        need(error->fault != WIRE_FINE && error->offset <= size, "and a reason and a place");
        /* A tag of five bytes may carry bits that protobuf-c drops. */
        if (error->fault < WIRE_BAD_TAG && (error->fault != WIRE_WRONG_TYPE || !has_bool(type)))
            need(theirs == NULL, "what is no protobuf to ours is none");
    }
    return theirs;
}

/* What a client would write for the same values is read to them. */
static void check_query_again(size_t kind, const message *theirs)
{
    struct wire_query ours;
    struct wire_error error;
    size_t size = protobuf_c_message_get_packed_size(theirs);
    uint8_t *packed = malloc(size + 1);
    need(packed != NULL, "memory");
    protobuf_c_message_pack(theirs, packed);
    need(wire_decode_query((enum wire_query_kind)kind, packed, size, &ours, &error) == STATUS_OK,
         "what protobuf-c writes is accepted");
    need(queries_equal(kind, theirs, &ours), "and read to the same values");
    free(packed);
}

static void check_query(size_t kind, const uint8_t *bytes, size_t size)
{
    struct wire_query ours;
    struct wire_error error = {.text = ""};
    const bool accepted =
        wire_decode_query((enum wire_query_kind)kind, bytes, size, &ours, &error) == STATUS_OK;
    message *theirs = unpack(query_types[kind], bytes, size, accepted, &error);
    if (accepted) {
        need(queries_equal(kind, theirs, &ours), "equal values");
        check_query_again(kind, theirs);
    }
    if (theirs != NULL)
        protobuf_c_message_free_unpacked(theirs, NULL);
}

static void check_get_request(const uint8_t *bytes, size_t size)
{
    struct wire_get_request ours;
    struct wire_error error = {.text = ""};
    const bool accepted = wire_decode_get_request(bytes, size, &ours, &error) == STATUS_OK;
    message *base =
        unpack(&tally__v1__get_request_request__descriptor, bytes, size, accepted, &error);
    const void *at = base;
    const Tally__V1__GetRequestRequest *theirs = at;
    if (accepted) {
        need(theirs->identity != NULL && theirs->identity->nonce.len == 16, "a nonce of 16 bytes");
        need(memcmp(theirs->identity->nonce.data, ours.identity.nonce, 16) == 0, "equal nonces");
        need(theirs->identity->issued_at_ns == ours.identity.issued_at_ns &&
                 ours.identity.issued_at_ns != 0,
             "equal issue times");
        need(theirs->min_index == ours.min_index, "equal indexes");
        /* A zero byte hides the rest of a string from protobuf-c. */
        need(fuzz_same(theirs->principal, strlen(theirs->principal), ours.principal,
                       strnlen(ours.principal, ours.principal_size)),
             "equal principals");
    }
    if (base != NULL)
        protobuf_c_message_free_unpacked(base, NULL);
}

static void check_site(const uint8_t *bytes, size_t size)
{
    struct wire_site_request ours;
    struct wire_error error = {.text = ""};
    const bool accepted = wire_decode_site_request(bytes, size, &ours, &error) == STATUS_OK;
    message *base =
        unpack(&tally__v1__operate_site_request__descriptor, bytes, size, accepted, &error);
    const void *at = base;
    const Tally__V1__OperateSiteRequest *theirs = at;
    if (accepted) {
        need((int)theirs->operation == ours.operation, "the same operation");
        need(ours.operation < SITE_OPERATION_KIND_COUNT, "a known one");
        need(strcmp(theirs->site, ours.site) == 0 && strlen(ours.site) == ours.site_size &&
                 strcmp(theirs->reason, ours.reason) == 0 &&
                 strcmp(theirs->settings, ours.settings) == 0,
             "equal texts");
        need(theirs->dry_run == (ours.dry_run != 0) && theirs->force == (ours.force != 0) &&
                 theirs->power_off == (ours.power_off != 0),
             "equal words of consent");
        need((theirs->seen != NULL) == ours.has_number &&
                 (theirs->seen == NULL || theirs->seen->number == ours.number),
             "the number that the operator looked at");
        for (const char *c = ours.reason; *c != '\0'; c++)
            need((unsigned char)*c >= 0x20 && *c != 0x7f, "no control characters into logs");
    }
    if (base != NULL)
        protobuf_c_message_free_unpacked(base, NULL);
}

static void check_health(const uint8_t *bytes, size_t size)
{
    const char *service = NULL;
    size_t service_size = 0;
    struct wire_error error = {.text = ""};
    const bool accepted =
        wire_decode_health(bytes, size, &service, &service_size, &error) == STATUS_OK;
    message *base =
        unpack(&grpc__health__v1__health_check_request__descriptor, bytes, size, accepted, &error);
    const void *at = base;
    const Grpc__Health__V1__HealthCheckRequest *theirs = at;
    if (accepted && memchr(service, 0, service_size) == NULL)
        need(fuzz_same(theirs->service, strlen(theirs->service), service, service_size),
             "the same service");
    if (base != NULL)
        protobuf_c_message_free_unpacked(base, NULL);
}

static void check_change(size_t kind, const uint8_t *bytes, size_t size)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        [WIRE_ADD_MEMBER] = &tally__v1__add_member_request__descriptor,
        [WIRE_REPLACE_MEMBER] = &tally__v1__replace_member_request__descriptor,
        [WIRE_REMOVE_MEMBER] = &tally__v1__remove_member_request__descriptor,
        [WIRE_TRANSFER_LEADERSHIP] = &tally__v1__transfer_leadership_request__descriptor,
    };
    struct wire_member_change ours;
    struct wire_error error = {.text = ""};
    const bool accepted = wire_decode_member_change((enum wire_member_change_kind)kind, bytes, size,
                                                    &ours, &error) == STATUS_OK;
    message *base = unpack(types[kind], bytes, size, accepted, &error);
    const void *at = base;
    const Tally__V1__Member *member = NULL;
    if (accepted && kind == WIRE_ADD_MEMBER)
        member = ((const Tally__V1__AddMemberRequest *)at)->member;
    if (accepted && kind == WIRE_REPLACE_MEMBER) {
        member = ((const Tally__V1__ReplaceMemberRequest *)at)->member;
        need(((const Tally__V1__ReplaceMemberRequest *)at)->old_node_id == ours.node_id,
             "the same node is replaced");
    }
    if (accepted && kind == WIRE_REMOVE_MEMBER)
        need(((const Tally__V1__RemoveMemberRequest *)at)->node_id == ours.node_id &&
                 ((const Tally__V1__RemoveMemberRequest *)at)->force == (ours.force != 0),
             "the same node is removed");
    if (accepted && kind <= WIRE_REPLACE_MEMBER) {
        need(member != NULL, "a member is named");
        need(member->node_id == ours.member.node_id && (int)member->kind == ours.member.kind &&
                 strcmp(member->site, ours.member.site) == 0 &&
                 strcmp(member->address, ours.member.address) == 0,
             "the same member");
        need(member->incarnation.len == 0 ||
                 fuzz_same(member->incarnation.data, member->incarnation.len,
                           ours.member.incarnation, sizeof ours.member.incarnation),
             "of the same incarnation");
    }
    if (base != NULL)
        protobuf_c_message_free_unpacked(base, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t *bytes = fuzz_copy(data + 1, size - 1);
    const size_t choice = data[0] % (QUERY_COUNT + 7);
    if (choice < QUERY_COUNT)
        check_query(choice, bytes, size - 1);
    else if (choice == QUERY_COUNT)
        check_get_request(bytes, size - 1);
    else if (choice == QUERY_COUNT + 1)
        check_site(bytes, size - 1);
    else if (choice == QUERY_COUNT + 2)
        check_health(bytes, size - 1);
    else
        check_change(choice - QUERY_COUNT - 3, bytes, size - 1);
    free(bytes);
    return 0;
}
