/* Forwarded requests and their answers out of any bytes: decoded or refused, nothing else. */
#include "replication/forward_message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(const uint8_t *bytes, size_t size)
{
    struct forward_head head;
    const struct request_header *request;
    if (forward_decode(bytes, size, &head, &request) != STATUS_OK)
        return;
    const uint8_t *at = (const uint8_t *)request;
    if (at < bytes || at + request->size > bytes + size)
        abort();
}

static void check_result(const uint8_t *bytes, size_t size)
{
    static uint8_t results[REQUEST_EVENTS_MAX];
    static uint8_t again[FORWARD_RESULT_BYTES_MAX];
    uint64_t sequence;
    enum forward_status status;
    struct answer answer;
    memset(&answer, 0, sizeof answer);
    if (forward_result_decode(bytes, size, &sequence, &status, &answer, results) != STATUS_OK)
        return;
    if ((unsigned)status >= FORWARD_STATUS_COUNT)
        abort();
    size_t again_size =
        forward_result_encode(sequence, status, status == FORWARD_ANSWERED ? &answer : NULL, again);
    if (again_size != size || memcmp(again, bytes, size) != 0)
        abort(); /* one answer, one encoding */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* 8-aligned as they come from a transport, and not a byte of room behind them. */
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    check_request(bytes, size);
    check_result(bytes, size);
    free(bytes);
    return 0;
}
