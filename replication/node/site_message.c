/* Fixed layout: the structures are the bytes. What is reserved has to be zero, so that a later
 * version may give it a meaning. */
#include "replication/node/site_message.h"

#include <string.h>

struct site_question site_question_make(uint64_t sequence, uint32_t window_ms)
{
    return (struct site_question){
        .message = {.type = MESSAGE_SITE_QUESTION, .size = sizeof(struct site_question)},
        .sequence = sequence,
        .window_ms = window_ms,
    };
}

void site_answer_seal(struct site_answer *answer, const struct pause *pause)
{
    answer->message =
        (struct message_header){.type = MESSAGE_SITE_ANSWER, .size = sizeof(struct site_answer)};
    answer->reserved_0 = 0;
    answer->longest_wait_ns = pause->longest_wait_ns;
    answer->longest_gap_ns = pause->longest_gap_ns;
    answer->answered = pause->answered;
    answer->refused = pause->refused;
    answer->unknown = pause->unknown;
}

static bool is_message(const struct message_header *header, uint16_t type, size_t size)
{
    return header->type == type && header->reserved_0 == 0 && header->size == size;
}

enum status site_question_decode(const void *bytes, size_t size, struct site_question *out)
{
    struct site_question question;
    if (size != sizeof question)
        return STATUS_INVALID;
    memcpy(&question, bytes, sizeof question);
    if (!is_message(&question.message, MESSAGE_SITE_QUESTION, size) || question.reserved_0 != 0)
        return STATUS_INVALID;
    *out = question;
    return STATUS_OK;
}

enum status site_answer_decode(const void *bytes, size_t size, struct site_answer *out,
                               struct pause *out_pause)
{
    struct site_answer answer;
    if (size != sizeof answer)
        return STATUS_INVALID;
    memcpy(&answer, bytes, sizeof answer);
    if (!is_message(&answer.message, MESSAGE_SITE_ANSWER, size) || answer.reserved_0 != 0 ||
        (answer.flags & ~(uint32_t)SITE_ANSWER_FLAGS_ALL) != 0)
        return STATUS_INVALID;
    *out = answer;
    *out_pause = (struct pause){
        .longest_wait_ns = answer.longest_wait_ns,
        .longest_gap_ns = answer.longest_gap_ns,
        .answered = answer.answered,
        .refused = answer.refused,
        .unknown = answer.unknown,
    };
    return STATUS_OK;
}
