/* Packing answers, drawn in answer.h. Most batches succeed whole or almost, so the common answer to
 * 8190 transfers is a few bytes; the worst is one byte per event. */
#include "core/answer.h"

#include "core/invariant.h"
#include "core/result.h"

#include <string.h>

#define EXCEPTION_SIZE 3

uint16_t answer_pack(const uint8_t *results, uint32_t event_count, uint8_t *out)
{
    invariant_values(event_count <= REQUEST_EVENTS_MAX, event_count, REQUEST_EVENTS_MAX);
    uint32_t exception_count = 0;
    for (uint32_t i = 0; i < event_count; i++)
        exception_count += results[i] != RESULT_OK;
    if (event_count > 0 && exception_count * EXCEPTION_SIZE >= event_count) {
        memcpy(out, results, event_count);
        return (uint16_t)event_count;
    }
    uint8_t *next = out;
    for (uint32_t i = 0; i < event_count; i++) {
        if (results[i] == RESULT_OK)
            continue;
        next[0] = (uint8_t)i;
        next[1] = (uint8_t)(i >> 8);
        next[2] = results[i];
        next += EXCEPTION_SIZE;
    }
    return (uint16_t)(next - out);
}

bool answer_unpack(const uint8_t *packed, uint32_t size, uint32_t event_count, uint8_t *out_results)
{
    if (event_count > REQUEST_EVENTS_MAX || size > event_count)
        return false;
    if (size == event_count) {
        memcpy(out_results, packed, size);
        return true;
    }
    if (size % EXCEPTION_SIZE != 0)
        return false;
    memset(out_results, RESULT_OK, event_count);
    uint32_t least = 0;
    for (uint32_t offset = 0; offset < size; offset += EXCEPTION_SIZE) {
        uint32_t position = (uint32_t)packed[offset] | (uint32_t)packed[offset + 1] << 8;
        uint8_t result = packed[offset + 2];
        if (position < least || position >= event_count || result == RESULT_OK)
            return false;
        out_results[position] = result;
        least = position + 1;
    }
    return true;
}
