/*
 * Bytes of a forwarded request and of its answer. Every field that has a range is checked, reserved
 * ones are zero and padding is too, so that one message has one encoding; a peer that runs another
 * build, or is no peer at all, gets a refusal and nothing else. Results travel packed as they are
 * stored with a remembered request: a batch without refusals costs no bytes.
 */
#include "replication/node/forward_message.h"

#include "core/answer.h"
#include "core/invariant.h"
#include "core/request.h"

#include <string.h>

static bool header_fits(const struct message_header *header, uint16_t type, size_t size)
{
    return header->type == type && header->reserved_0 == 0 && header->size == size && size % 8 == 0;
}

enum status forward_decode(const void *bytes, size_t size, struct forward_head *out_head,
                           const struct request_header **out_request)
{
    if (size < sizeof *out_head + sizeof **out_request)
        return STATUS_INVALID;
    memcpy(out_head, bytes, sizeof *out_head);
    if (!header_fits(&out_head->message, MESSAGE_FORWARD, size) ||
        out_head->flags > FORWARD_BOTH_SITES)
        return STATUS_INVALID;
    const void *payload = (const uint8_t *)bytes + sizeof *out_head;
    const struct request_header *request = payload;
    if (request->size != size - sizeof *out_head)
        return STATUS_INVALID;
    if (request_check(request) != STATUS_OK)
        return STATUS_INVALID;
    *out_request = request;
    return STATUS_OK;
}

size_t forward_result_encode(uint64_t sequence, enum forward_status status,
                             const struct answer *answer, uint8_t *out)
{
    invariant((status == FORWARD_ANSWERED) == (answer != NULL));
    struct forward_result_head head = {
        .message = {.type = MESSAGE_FORWARD_RESULT},
        .sequence = sequence,
        .status = (uint8_t)status,
    };
    if (answer != NULL) {
        head.index = answer->index;
        head.stamp = answer->stamp;
        head.outcome = answer->outcome;
        head.repeated = answer->repeated;
        head.flags = answer->results != NULL && answer->event_count > 0 ? FORWARD_HAS_RESULTS : 0;
        head.operation = answer->operation;
        head.encoding = answer->encoding;
        head.event_count = answer->event_count;
    }
    uint8_t *packed = out + sizeof head;
    if ((head.flags & FORWARD_HAS_RESULTS) != 0)
        head.packed_size = answer_pack(answer->results, answer->event_count, packed);
    size_t padding = -head.packed_size % 8u;
    memset(packed + head.packed_size, 0, padding);
    head.message.size = (uint32_t)(sizeof head + head.packed_size + padding);
    memcpy(out, &head, sizeof head);
    return head.message.size;
}

void forward_result_set_on_both(uint8_t *bytes)
{
    bytes[offsetof(struct forward_result_head, flags)] |= FORWARD_ON_BOTH;
}

bool forward_result_is_on_both(const void *bytes)
{
    const uint8_t *at = bytes;
    return (at[offsetof(struct forward_result_head, flags)] & FORWARD_ON_BOTH) != 0;
}

static bool is_empty(const struct forward_result_head *head)
{
    return head->index == 0 && head->stamp == 0 && head->outcome == 0 && head->repeated == 0 &&
           head->flags == 0 && head->operation == 0 && head->encoding == 0 &&
           head->event_count == 0 && head->packed_size == 0;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Results are numbers below 128 on every wire (core/result.h). */
static bool results_fit(const uint8_t *results, uint32_t count)
{
    uint8_t all = 0;
    for (uint32_t i = 0; i < count; i++)
        all |= results[i];
    return all < 128;
}

static bool head_is_sound(const struct forward_result_head *head, size_t size)
{
    if (!header_fits(&head->message, MESSAGE_FORWARD_RESULT, size))
        return false;
    if (head->status >= FORWARD_STATUS_COUNT)
        return false;
    if (head->status != FORWARD_ANSWERED)
        return is_empty(head) && size == sizeof *head;
    if (head->outcome >= OUTCOME_COUNT || head->repeated > 1 ||
        head->flags > (FORWARD_HAS_RESULTS | FORWARD_ON_BOTH))
        return false;
    if (head->event_count > REQUEST_EVENTS_MAX)
        return false;
    if ((head->flags & FORWARD_HAS_RESULTS) != 0)
        return head->event_count > 0 && head->packed_size <= answer_size_max(head->event_count);
    /* Results there have to be when the request was executed and had events. */
    return head->packed_size == 0 && (head->outcome != OUTCOME_EXECUTED || head->event_count == 0);
}

enum status forward_result_decode(const void *bytes, size_t size, uint64_t *out_sequence,
                                  enum forward_status *out_status, struct answer *out_answer,
                                  uint8_t *results)
{
    struct forward_result_head head;
    if (size < sizeof head)
        return STATUS_INVALID;
    memcpy(&head, bytes, sizeof head);
    if (!head_is_sound(&head, size))
        return STATUS_INVALID;
    const uint8_t *packed = (const uint8_t *)bytes + sizeof head;
    size_t padding = -head.packed_size % 8u;
    if (size != sizeof head + head.packed_size + padding ||
        !is_zero(packed + head.packed_size, padding))
        return STATUS_INVALID;
    if ((head.flags & FORWARD_HAS_RESULTS) != 0 &&
        (!answer_unpack(packed, head.packed_size, head.event_count, results) ||
         !results_fit(results, head.event_count)))
        return STATUS_INVALID;
    *out_sequence = head.sequence;
    *out_status = head.status;
    if (head.status != FORWARD_ANSWERED)
        return STATUS_OK;
    *out_answer = (struct answer){
        .index = head.index,
        .stamp = head.stamp,
        .outcome = head.outcome,
        .repeated = head.repeated != 0,
        .operation = head.operation,
        .encoding = head.encoding,
        .event_count = head.event_count,
        .results = (head.flags & FORWARD_HAS_RESULTS) != 0 ? results : NULL,
    };
    return STATUS_OK;
}
