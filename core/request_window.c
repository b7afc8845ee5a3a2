/*
 * Counting live requests by minute.
 *
 * "The window is full" is a replicated refusal, so it must be a function of the log. Requests
 * are therefore counted in a ring of buckets, one per minute of the time at which they will be
 * forgotten; a bucket leaves the count once ledger time has passed its whole minute. So a request
 * counts for up to a minute longer than it lives, and the ring (1536) is longer than the farthest
 * request can reach: window + ahead = 1441 minutes, and one for rounding.
 */
#include "core/request_window.h"

#include "core/invariant.h"

#include <string.h>

_Static_assert((REQUEST_WINDOW_NS + REQUEST_AHEAD_NS) / REQUEST_BUCKET_NS + 2 < REQUEST_BUCKETS,
               "the farthest bucket does not meet the oldest");

static void request_window_forget(struct request_window_record *window, uint64_t bucket)
{
    uint64_t i = bucket % REQUEST_BUCKETS;
    invariant_values(window->request_count >= window->bucket[i].request_count,
                     window->request_count, window->bucket[i].request_count);
    invariant_values(window->answer_bytes >= window->bucket[i].answer_bytes, window->answer_bytes,
                     window->bucket[i].answer_bytes);
    window->request_count -= window->bucket[i].request_count;
    window->answer_bytes -= window->bucket[i].answer_bytes;
    memset(&window->bucket[i], 0, sizeof window->bucket[i]);
}

void request_window_advance(struct request_window_record *window, uint64_t now)
{
    uint64_t first = now / REQUEST_BUCKET_NS;
    invariant_values(first >= window->first_bucket, first, window->first_bucket);
    uint64_t step_count = first - window->first_bucket;
    if (step_count > REQUEST_BUCKETS)
        step_count = REQUEST_BUCKETS;
    for (uint64_t i = 0; i < step_count; i++)
        request_window_forget(window, window->first_bucket + i);
    window->first_bucket = first;
}

void request_window_add(struct request_window_record *window, uint64_t issued_at_ns,
                        uint32_t answer_size)
{
    uint64_t bucket = (issued_at_ns + REQUEST_WINDOW_NS) / REQUEST_BUCKET_NS;
    invariant_values(bucket >= window->first_bucket, bucket, window->first_bucket);
    invariant_values(bucket - window->first_bucket < REQUEST_BUCKETS, bucket, window->first_bucket);
    uint64_t i = bucket % REQUEST_BUCKETS;
    window->bucket[i].request_count++;
    window->bucket[i].answer_bytes += answer_size;
    window->request_count++;
    window->answer_bytes += answer_size;
}

bool request_window_valid(const struct request_window_record *window, uint64_t stamp)
{
    if (window->first_bucket > stamp / REQUEST_BUCKET_NS)
        return false;
    uint64_t request_count = 0;
    uint64_t answer_bytes = 0;
    for (uint32_t i = 0; i < REQUEST_BUCKETS; i++) {
        if (window->bucket[i].reserved != 0)
            return false;
        /* Each addend is far below 2^63 in a true record; a sum that wraps cannot match one. */
        if (window->bucket[i].answer_bytes > window->answer_bytes - answer_bytes)
            return false;
        request_count += window->bucket[i].request_count;
        answer_bytes += window->bucket[i].answer_bytes;
    }
    return request_count == window->request_count && answer_bytes == window->answer_bytes;
}
