/*
 * The list of requests in doubt, as one node has it, page by page.
 */
#include "client/message.h"

#include "tally/v1/admin.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_READ_MAX 256

static bool read_row(const Tally__V1__InDoubt *from, struct tally_in_doubt *out)
{
    if (from->nonce.len != sizeof out->identity.nonce)
        return false;
    *out = (struct tally_in_doubt){
        .seen_at_ns = from->seen_at_ns,
        .unanswered = from->unanswered,
        .client_gone = from->client_gone,
        .inherited = from->inherited,
        .event_count = from->event_count,
        .outcome = (uint8_t)from->outcome,
        .index = from->index,
        .timestamp_ns = from->timestamp,
        .ok_count = from->ok_count,
        .refused_count = from->refused_count,
    };
    memcpy(out->identity.nonce, from->nonce.data, sizeof out->identity.nonce);
    out->identity.issued_at_ns = from->issued_at_ns;
    return message_read_text(from->principal, out->principal, sizeof out->principal) &&
           message_read_text(from->method, out->method, sizeof out->method);
}

static enum tally_status decode_page(const struct call_request *request, const uint8_t *answer,
                                     size_t size, struct tally_error *error)
{
    struct tally_in_doubt_page *out = request->out;
    Tally__V1__ListInDoubtResponse *response =
        tally__v1__list_in_doubt_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not a list of requests in doubt");
    enum tally_status status = TALLY_OK;
    size_t count = response->n_requests;
    struct tally_in_doubt *rows = NULL;
    if (count > ROWS_READ_MAX)
        status = message_malformed(error, "more requests than were asked for");
    else if ((rows = calloc(count > 0 ? count : 1, sizeof *rows)) == NULL)
        status = error_set(error, TALLY_NO_MEMORY, "no memory for %zu requests", count);
    for (size_t i = 0; status == TALLY_OK && i < count; i++)
        if (!read_row(response->requests[i], &rows[i]))
            status = message_malformed(error, "a request in doubt without an identity");
    if (status == TALLY_OK)
        *out = (struct tally_in_doubt_page){.rows = rows,
                                            .count = count,
                                            .next = response->next,
                                            .forgotten = response->forgotten,
                                            .since_ns = response->since_ns};
    else
        free(rows);
    tally__v1__list_in_doubt_response__free_unpacked(response, NULL);
    return status;
}

enum tally_status tally_list_in_doubt(struct tally_client *client, struct tally_call *call,
                                      uint64_t since_ns, uint64_t first,
                                      struct tally_in_doubt_page *out)
{
    struct call_request request = {
        .call = call, .path = "/tally.v1.Admin/ListInDoubt", .decode = decode_page, .out = out};
    enum tally_status status = call_check(client, call, false, false);
    if (status != TALLY_OK)
        return status;
    Tally__V1__ListInDoubtRequest message = TALLY__V1__LIST_IN_DOUBT_REQUEST__INIT;
    message.since_ns = since_ns;
    message.first = first;
    message.limit = ROWS_READ_MAX;
    status = message_pack(&message.base, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}
