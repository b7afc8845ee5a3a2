/* A token bucket: `burst` at once, refilled with `per_second`. Times in milliseconds of one clock.
 */
#ifndef TALLY_SERVER_GRPC_BUCKET_H
#define TALLY_SERVER_GRPC_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct grpc_bucket {
    uint32_t burst, per_second;
    uint64_t tokens_milli; /* thousandths, so that slow refills are exact */
    uint64_t filled_at_ms;
};

void grpc_bucket_init(struct grpc_bucket *bucket, uint32_t burst, uint32_t per_second,
                      uint64_t now_ms);
/* Takes one; false when the bucket is empty. */
bool grpc_bucket_take(struct grpc_bucket *bucket, uint64_t now_ms);

#endif
