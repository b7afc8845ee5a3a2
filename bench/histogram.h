/*
 * A histogram of latencies with bounded relative error: 128 buckets for each power of two, so that
 * a reported value is at most 1/128 above the recorded one. No allocation, no locking: each worker
 * has its own and they are merged at the end.
 */
#ifndef TALLY_BENCH_HISTOGRAM_H
#define TALLY_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7
/* Values below 2^7 have a bucket each; every further power of two up to 2^63 has 128. */
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t min, max; /* exact; min is UINT64_MAX when empty */
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *histogram);
void histogram_record(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* Smallest value that `per_mille` of all recorded ones do not exceed, rounded up by at most 1/128
 * and never above max; 0 when empty. per_mille: 0 .. 1000. */
uint64_t histogram_value_at(const struct histogram *histogram, uint32_t per_mille);

#endif
