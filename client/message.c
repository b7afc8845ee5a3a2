/*
 * Messages: protobuf-c does the packing. Encoding borrows the caller's memory and copies once, into
 * the message that all attempts of the call send unchanged. Decoding copies into the public
 * structures and trusts no count, size or string of the answer.
 */
#include "client/message.h"

#include <stdlib.h>
#include <string.h>

/* What a node accepts; 8190 transfers with every field set that libtally offers are 1 032 000 B. */
#define MESSAGE_SIZE_MAX 1100000

enum tally_status message_pack(const ProtobufCMessage *message, struct call_request *request)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    if (size > MESSAGE_SIZE_MAX)
        return error_set(&request->call->error, TALLY_INVALID,
                         "the request has %zu bytes, above the %d that a node accepts: send fewer "
                         "events at once",
                         size, MESSAGE_SIZE_MAX);
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    if (bytes == NULL)
        return call_no_memory(request->call, size);
    request->message_size = protobuf_c_message_pack(message, bytes);
    request->message = bytes;
    return TALLY_OK;
}

/* protobuf-c has no const in its byte strings; packing does not write. */
static ProtobufCBinaryData view(const uint8_t *bytes, size_t size)
{
    ProtobufCBinaryData data = {.len = size};
    memcpy(&data.data, &bytes, sizeof data.data);
    return data;
}

ProtobufCBinaryData message_id(const struct tally_id *id)
{
    return view(id->bytes, sizeof id->bytes);
}

ProtobufCBinaryData message_optional_id(const struct tally_id *id)
{
    static const struct tally_id zero;
    return view(id->bytes, memcmp(id, &zero, sizeof zero) == 0 ? 0 : sizeof id->bytes);
}

void message_identity(const struct tally_identity *identity, Tally__V1__RequestIdentity *out)
{
    tally__v1__request_identity__init(out);
    out->nonce = view(identity->nonce, sizeof identity->nonce);
    out->issued_at_ns = identity->issued_at_ns;
}

bool message_read_id(ProtobufCBinaryData bytes, struct tally_id *out)
{
    if (bytes.len != 0 && bytes.len != sizeof out->bytes)
        return false;
    *out = (struct tally_id){{0}};
    if (bytes.len > 0)
        memcpy(out->bytes, bytes.data, bytes.len);
    return true;
}

void message_read_amount(const Tally__V1__Amount *amount, struct tally_amount *out)
{
    out->low = amount != NULL ? amount->low : 0;
    out->high = amount != NULL ? amount->high : 0;
}

bool message_read_text(const char *text, char *out, size_t capacity)
{
    size_t size = strlen(text);
    if (size >= capacity)
        return false;
    memcpy(out, text, size + 1);
    return true;
}

bool message_read_ledger(const Tally__V1__LedgerInfo *info, struct tally_ledger *out)
{
    out->id = info->id;
    out->exponent = info->exponent;
    out->account_count = info->account_count;
    out->timestamp_ns = info->timestamp;
    return info->exponent <= TALLY_EXPONENT_MAX &&
           message_read_text(info->currency, out->currency, sizeof out->currency) &&
           message_read_text(info->name, out->name, sizeof out->name);
}

enum tally_status message_malformed(struct tally_error *error, const char *what)
{
    return error_set(error, TALLY_SYSTEM, "%s", what);
}

enum tally_status message_decode_results(const struct call_request *request, const uint8_t *answer,
                                         size_t size, struct tally_error *error)
{
    Tally__V1__CreateTransfersResponse *response =
        tally__v1__create_transfers_response__unpack(NULL, size, answer);
    if (response == NULL)
        return message_malformed(error, "not a message of results");
    enum tally_status status = TALLY_OK;
    if (response->n_results != request->count) {
        status = error_set(error, TALLY_SYSTEM, "%zu results for %zu events", response->n_results,
                           request->count);
        goto out;
    }
    for (size_t i = 0; i < response->n_results; i++) {
        if ((unsigned)response->results[i] > 127) {
            status = message_malformed(error, "a result above 127");
            goto out;
        }
    }
    uint8_t *results = request->out;
    for (size_t i = 0; i < response->n_results; i++)
        results[i] = (uint8_t)response->results[i];
    request->call->index = response->index;
    request->call->timestamp_ns = response->timestamp;
out:
    tally__v1__create_transfers_response__free_unpacked(response, NULL);
    return status;
}
