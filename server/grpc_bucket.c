/*
 * Token buckets for what an honest client does seldom: resets, settings, frames without use. The
 * content is kept in thousandths, so that a refill of one per second loses nothing when it is
 * looked at every millisecond. A clock that stands still or goes back refills nothing.
 */
#include "server/grpc_bucket.h"

void grpc_bucket_init(struct grpc_bucket *bucket, uint32_t burst, uint32_t per_second,
                      uint64_t now_ms)
{
    bucket->burst = burst;
    bucket->per_second = per_second;
    bucket->tokens_milli = (uint64_t)burst * 1000;
    bucket->filled_at_ms = now_ms;
}

bool grpc_bucket_take(struct grpc_bucket *bucket, uint64_t now_ms)
{
    uint64_t full = (uint64_t)bucket->burst * 1000;
    if (now_ms > bucket->filled_at_ms) {
        uint64_t elapsed_ms = now_ms - bucket->filled_at_ms;
        /* Tokens per second are thousandths per millisecond. An hour fills every bucket we use. */
        if (elapsed_ms > 3600000)
            bucket->tokens_milli = full;
        else
            bucket->tokens_milli += elapsed_ms * bucket->per_second;
        if (bucket->tokens_milli > full)
            bucket->tokens_milli = full;
        bucket->filled_at_ms = now_ms;
    }
    if (bucket->tokens_milli < 1000)
        return false;
    bucket->tokens_milli -= 1000;
    return true;
}
