/*
 * What became of a request: asking, and making "never" final. The stored answer inside the reply is
 * the original answer body; calls that change something share one layout, so its results are read
 * without knowing the method.
 */
#include "client/message.h"

#include <stdlib.h>
#include <string.h>

static enum tally_status read_results(const Tally__V1__GetRequestResponse *response,
                                      struct tally_request *out, struct tally_error *error)
{
    Tally__V1__CreateTransfersResponse *body = tally__v1__create_transfers_response__unpack(
        NULL, response->answer.len, response->answer.data);
    if (body == NULL)
        return message_malformed(error, "the stored answer is not a message of results");
    enum tally_status status = TALLY_OK;
    if (body->n_results > TALLY_EVENTS_MAX) {
        status = message_malformed(error, "the stored answer has more than 8190 results");
    } else if (body->n_results > 0) {
        out->results = calloc(body->n_results, 1);
        if (out->results == NULL)
            status = error_set(error, TALLY_NO_MEMORY, "no memory for the results");
        for (size_t i = 0; status == TALLY_OK && i < body->n_results; i++) {
            /* Cut to its byte, 256 would read as 0: executed. */
            if ((unsigned)body->results[i] > 127)
                status = message_malformed(error, "the stored answer has a result above 127");
            else
                out->results[i] = (uint8_t)body->results[i];
        }
        out->result_count = body->n_results;
    }
    tally__v1__create_transfers_response__free_unpacked(body, NULL);
    return status;
}

static enum tally_status decode_request(const struct call_request *request, const uint8_t *answer,
                                        size_t size, struct tally_error *error)
{
    struct tally_request read = {.outcome = TALLY_OUTCOME_NONE};
    Tally__V1__GetRequestResponse *response =
        tally__v1__get_request_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not an answer about a request");
    enum tally_status status = TALLY_OK;
    if ((unsigned)response->outcome > 127 ||
        !message_read_text(response->method, read.method, sizeof read.method)) {
        status = message_malformed(error, "outcome or method out of range");
    } else {
        read.outcome = (uint8_t)response->outcome;
        read.index = response->index;
        read.timestamp_ns = response->timestamp;
        if (read.outcome == TALLY_OUTCOME_EXECUTED)
            status = read_results(response, &read, error);
    }
    tally__v1__get_request_response__free_unpacked(response, NULL);
    if (status == TALLY_OK) {
        *(struct tally_request *)request->out = read;
        request->call->timestamp_ns = read.timestamp_ns;
    } else {
        tally_request_deinit(&read);
    }
    return status;
}

enum tally_status tally_get_request(struct tally_client *client, struct tally_call *call,
                                    const struct tally_identity *asked, const char *principal,
                                    struct tally_request *out)
{
    static char none[] = "";
    struct call_request request = {
        .call = call, .path = "/tally.v1.Ledger/GetRequest", .decode = decode_request, .out = out};
    enum tally_status status = call_check(client, call, false, false);
    if (status != TALLY_OK)
        return status;
    Tally__V1__RequestIdentity identity;
    message_identity(asked, &identity);
    Tally__V1__GetRequestRequest message;
    tally__v1__get_request_request__init(&message);
    message.identity = &identity;
    message.min_index = call->min_index;
    message.principal = none;
    if (principal != NULL) /* protobuf-c's strings are not const; packing does not write */
        memcpy(&message.principal, &principal, sizeof message.principal);
    status = message_pack(&message.base, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}

enum tally_status tally_fence_request(struct tally_client *client, struct tally_call *call,
                                      const struct tally_identity *fenced,
                                      struct tally_request *out)
{
    struct call_request request = {.call = call,
                                   .path = "/tally.v1.Ledger/FenceRequest",
                                   .changes = true,
                                   .decode = decode_request,
                                   .out = out};
    enum tally_status status = call_check(client, call, false, false);
    if (status != TALLY_OK)
        return status;
    Tally__V1__RequestIdentity identity;
    message_identity(fenced, &identity);
    Tally__V1__FenceRequestRequest message = TALLY__V1__FENCE_REQUEST_REQUEST__INIT;
    message.identity = &identity;
    status = message_pack(&message.base, &request);
    return status == TALLY_OK ? call_run(client, &request) : status;
}

void tally_request_deinit(struct tally_request *request)
{
    free(request->results);
    request->results = NULL;
    request->result_count = 0;
}
