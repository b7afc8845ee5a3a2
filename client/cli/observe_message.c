/*
 * The observer speaks the wire itself, through the same HTTP/2 channel and protobuf code as
 * libtally and with libtally's judgement of attempts (client/judge.h), because libtally's calls
 * hide what an observer is there to see: which server answered, whom it takes for the leader, what
 * it promises about durability. An observer also keeps more requests in flight than a client of
 * libtally may.
 */
#include "client/cli/observe_message.h"

#include "client/message.h"
#include "core/invariant.h"

#include <string.h>

static size_t pack(const ProtobufCMessage *message, uint8_t out[OBSERVE_MESSAGE_SIZE])
{
    size_t size = protobuf_c_message_get_packed_size(message);
    invariant_values(size <= OBSERVE_MESSAGE_SIZE, size, OBSERVE_MESSAGE_SIZE); /* fixed fields */
    return protobuf_c_message_pack(message, out);
}

size_t observe_pack_transfer(const struct tally_identity *identity, uint32_t ledger,
                             const struct tally_id *debit, const struct tally_id *credit,
                             uint8_t out[OBSERVE_MESSAGE_SIZE])
{
    struct tally_id id;
    _Static_assert(sizeof id.bytes == sizeof identity->nonce, "a nonce serves as the id");
    memcpy(id.bytes, identity->nonce, sizeof id.bytes);
    Tally__V1__NewTransfer row = TALLY__V1__NEW_TRANSFER__INIT;
    row.id = message_id(&id);
    row.debit_account_id = message_id(debit);
    row.credit_account_id = message_id(credit);
    row.amount = 1;
    row.ledger = ledger;
    row.code = 1;
    Tally__V1__NewTransfer *rows[1] = {&row};
    Tally__V1__RequestIdentity who;
    message_identity(identity, &who);
    Tally__V1__CreateTransfersRequest message = TALLY__V1__CREATE_TRANSFERS_REQUEST__INIT;
    message.identity = &who;
    message.n_transfers = 1;
    message.transfers = rows;
    return pack(&message.base, out);
}

size_t observe_pack_question(const struct tally_identity *identity,
                             uint8_t out[OBSERVE_MESSAGE_SIZE])
{
    Tally__V1__RequestIdentity who;
    message_identity(identity, &who);
    Tally__V1__GetRequestRequest message = TALLY__V1__GET_REQUEST_REQUEST__INIT;
    message.identity = &who;
    return pack(&message.base, out);
}

size_t observe_pack_fence(const struct tally_identity *identity, uint8_t out[OBSERVE_MESSAGE_SIZE])
{
    Tally__V1__RequestIdentity who;
    message_identity(identity, &who);
    Tally__V1__FenceRequestRequest message = TALLY__V1__FENCE_REQUEST_REQUEST__INIT;
    message.identity = &who;
    return pack(&message.base, out);
}

bool observe_read_answer(const uint8_t *bytes, size_t size, uint8_t *out_result,
                         uint64_t *out_index, uint64_t *out_timestamp_ns)
{
    Tally__V1__CreateTransfersResponse *answer =
        tally__v1__create_transfers_response__unpack(NULL, size, bytes);
    bool good = answer != NULL && answer->n_results == 1 && (unsigned)answer->results[0] <= 127;
    if (good) {
        *out_result = (uint8_t)answer->results[0];
        *out_index = answer->index;
        *out_timestamp_ns = answer->timestamp;
    }
    if (answer != NULL)
        tally__v1__create_transfers_response__free_unpacked(answer, NULL);
    return good;
}

bool observe_read_told(const uint8_t *bytes, size_t size, uint8_t *out_outcome, uint8_t *out_result,
                       uint64_t *out_index, uint64_t *out_timestamp_ns)
{
    Tally__V1__GetRequestResponse *told =
        tally__v1__get_request_response__unpack(NULL, size, bytes);
    bool good = told != NULL && (unsigned)told->outcome <= 127;
    if (good && (int)told->outcome == (int)TALLY_OUTCOME_EXECUTED)
        good = observe_read_answer(told->answer.data, told->answer.len, out_result, out_index,
                                   out_timestamp_ns);
    if (good)
        *out_outcome = (uint8_t)told->outcome;
    if (told != NULL)
        tally__v1__get_request_response__free_unpacked(told, NULL);
    return good;
}
