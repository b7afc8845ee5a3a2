/* Forwarded requests and their answers out of any bytes: decoded or refused, nothing else. */
#include "replication/node/forward_message.h"

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

static bool is_same(const struct answer *a, const struct answer *b)
{
    return a->index == b->index && a->stamp == b->stamp && a->outcome == b->outcome &&
           a->repeated == b->repeated && a->operation == b->operation &&
           a->encoding == b->encoding && a->event_count == b->event_count &&
           !a->results == !b->results &&
           (!a->results || memcmp(a->results, b->results, a->event_count) == 0);
}

/* What is understood says the same when it is told on; the bytes may differ, since results can be
 * packed in more than one way. */
static void check_result(const uint8_t *bytes, size_t size)
{
    static uint8_t results[2][REQUEST_EVENTS_MAX];
    static uint8_t again[FORWARD_RESULT_BYTES_MAX];
    uint64_t sequence[2];
    enum forward_status status[2];
    struct answer answer[2];
    memset(answer, 0, sizeof answer);
    if (forward_result_decode(bytes, size, &sequence[0], &status[0], &answer[0], results[0]) !=
        STATUS_OK)
        return;
    if ((unsigned)status[0] >= FORWARD_STATUS_COUNT)
        abort();
    size_t again_size = forward_result_encode(
        sequence[0], status[0], status[0] == FORWARD_ANSWERED ? &answer[0] : NULL, again);
    if (forward_result_decode(again, again_size, &sequence[1], &status[1], &answer[1],
                              results[1]) != STATUS_OK ||
        sequence[0] != sequence[1] || status[0] != status[1] || !is_same(&answer[0], &answer[1]))
        abort();
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
