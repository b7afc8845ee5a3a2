/*
 * ListInDoubt: a page of this node's requests in doubt, each with what the ledger says about it at
 * this moment. The state is confirmed first, as for GetRequest: "not yet seen" by a node that is
 * behind would be wrong exactly when it counts. Looking a request up may read the store, so a page
 * is short.
 */
#include "server/in_doubt_service.h"

#include "core/invariant.h"
#include "replication/node/in_doubt.h"

#include "tally/v1/admin.pb-c.h"

#include <string.h>

#define ROWS_DEFAULT 128
#define ROWS_MAX     256

/* Protobuf-C has no const; nothing is written through these. */
static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

static const char *operation_method(uint16_t operation)
{
    for (int method = 0; method < METHOD_COUNT; method++)
        if (method_operation((enum method)method) == operation && operation != 0)
            return method_name((enum method)method);
    return "";
}

struct row {
    Tally__V1__InDoubt message;
    char name[NAME_SIZE_MAX + 1];
};

static void fill(const struct machine *machine, const struct in_doubt_row *from, struct row *out)
{
    uint8_t results[REQUEST_EVENTS_MAX];
    struct answer answer;
    const struct principal_record *principal = machine_principal_at(machine, from->principal);
    tally__v1__in_doubt__init(&out->message);
    memcpy(out->name, principal->name, principal->name_size);
    out->name[principal->name_size] = '\0';
    machine_request(machine, principal->name_ordinal, from->nonce, from->issued_at_ns, &answer,
                    results);
    Tally__V1__InDoubt *message = &out->message;
    message->principal = out->name;
    message->nonce =
        (ProtobufCBinaryData){.len = sizeof from->nonce, .data = (uint8_t *)(uintptr_t)from->nonce};
    message->issued_at_ns = from->issued_at_ns;
    message->seen_at_ns = from->seen_ns;
    message->unanswered = (from->how & IN_DOUBT_UNANSWERED) != 0;
    message->client_gone = (from->how & IN_DOUBT_CLIENT_GONE) != 0;
    message->inherited = (from->how & IN_DOUBT_INHERITED) != 0;
    message->method = text_of(operation_method(from->operation));
    message->event_count = from->event_count;
    message->outcome = (Tally__V1__Outcome)answer.outcome;
    if (answer.outcome != OUTCOME_EXECUTED)
        return;
    message->index = answer.index;
    message->timestamp = answer.stamp;
    for (uint32_t i = 0; i < answer.event_count; i++) {
        message->ok_count += answer.results[i] == RESULT_OK;
        message->refused_count += answer.results[i] != RESULT_OK;
    }
}

static void list_cb(struct work *work)
{
    struct node *node = dispatch_options(work->dispatch)->node;
    const struct machine *machine = node_machine(node);
    const struct in_doubt *doubt = node_in_doubt(node);
    struct row rows[ROWS_MAX];
    Tally__V1__InDoubt *pointers[ROWS_MAX];
    Tally__V1__ListInDoubtResponse response = TALLY__V1__LIST_IN_DOUBT_RESPONSE__INIT;
    uint32_t limit = work->query.limit != 0 ? work->query.limit : ROWS_DEFAULT;
    uint64_t position = work->query.first;
    const struct in_doubt_row *row = NULL;
    response.requests = pointers;
    while (response.n_requests < limit &&
           (row = in_doubt_next(doubt, work->query.since_ns, &position)) != NULL) {
        /* Noted from a state that this one does not hold (after a copy was put in place)? */
        if (row->principal >= machine_principal_count(machine))
            continue;
        fill(machine, row, &rows[response.n_requests]);
        pointers[response.n_requests] = &rows[response.n_requests].message;
        response.n_requests++;
    }
    response.next = row != NULL ? position : 0;
    response.forgotten = in_doubt_forgotten(doubt);
    response.since_ns = doubt->since_ns;
    struct wire_writer *page = dispatch_page(work->dispatch);
    const size_t size = tally__v1__list_in_doubt_response__get_packed_size(&response);
    invariant_values(size <= page->capacity, size, page->capacity);
    tally__v1__list_in_doubt_response__pack(&response, page->bytes);
    page->size = size;
    work_finish_page(work, machine_applied_index(machine));
}

void in_doubt_service_begin(struct work *work)
{
    struct wire_error error;
    if (wire_decode_query(WIRE_QUERY_IN_DOUBT, work->message, work->message_size, &work->query,
                          &error) != STATUS_OK)
        work_finish_malformed(work, &error);
    else if (work->query.limit > ROWS_MAX)
        work_finish_code(work, GRPC_INVALID_ARGUMENT, "limit: at most 256 is allowed");
    else
        work_read(work, 0, list_cb);
}
