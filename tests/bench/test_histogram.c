/*
 * The latency histogram: exact where it says so, and never flattering.
 */
#include "bench/histogram.h"

#include <criterion/criterion.h>
#include <string.h>

static struct histogram histogram, other;

static void fill(struct histogram *into, uint64_t first, uint64_t last, uint64_t step)
{
    for (uint64_t value = first; value <= last; value += step)
        histogram_record(into, value);
}

/* Nothing recorded: no percentile is invented. */
Test(histogram, empty_has_no_percentiles)
{
    histogram_init(&histogram);
    cr_assert_eq(histogram_value_at(&histogram, 500), 0);
    cr_assert_eq(histogram_value_at(&histogram, 1000), 0);
    cr_assert_eq(histogram.count, 0);
}

/* Values below 128 have buckets of their own. */
Test(histogram, small_values_are_exact)
{
    histogram_init(&histogram);
    fill(&histogram, 1, 100, 1);
    cr_assert_eq(histogram_value_at(&histogram, 10), 1);
    cr_assert_eq(histogram_value_at(&histogram, 500), 50);
    cr_assert_eq(histogram_value_at(&histogram, 990), 99);
    cr_assert_eq(histogram_value_at(&histogram, 1000), 100);
}

/* Over the whole range of 64 bits a percentile is at least the true one and at most 1/128 above. */
Test(histogram, error_is_bounded_and_never_downward)
{
    for (unsigned shift = 7; shift < 64; shift++) {
        uint64_t base = UINT64_C(1) << shift;
        uint64_t values[] = {base, base + 1, base + base / 3, base + (base - 1)};
        for (unsigned i = 0; i < 4; i++) {
            histogram_init(&histogram);
            histogram_record(&histogram, values[i]);
            histogram_record(&histogram, UINT64_MAX); /* so that max does not cap the answer */
            uint64_t told = histogram_value_at(&histogram, 500);
            cr_assert_geq(told, values[i]);
            cr_assert_leq(told - values[i], values[i] / 128);
        }
    }
}

/* 1000 values from 1 ms to 1 s in us: the 99.9th percentile is the last but one, within 1/128. */
Test(histogram, high_percentiles_see_the_tail)
{
    histogram_init(&histogram);
    fill(&histogram, 1000, 1000000, 1000);
    uint64_t told = histogram_value_at(&histogram, 999);
    cr_assert_geq(told, 999000);
    cr_assert_leq(told, 1000000);
    cr_assert_eq(histogram.max, 1000000);
    cr_assert_eq(histogram.min, 1000);
}

/* Two workers' histograms merged equal one that saw everything. */
Test(histogram, merged_equals_recorded_together)
{
    static struct histogram together;
    histogram_init(&histogram);
    histogram_init(&other);
    histogram_init(&together);
    fill(&histogram, 1, 100000, 7);
    fill(&other, 50, 5000000, 1003);
    fill(&together, 1, 100000, 7);
    fill(&together, 50, 5000000, 1003);
    histogram_merge(&histogram, &other);
    cr_assert_eq(memcmp(&histogram, &together, sizeof together), 0);
}
