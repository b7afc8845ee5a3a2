/* Memory for machines in tests: zeroed, aligned to 64, large pieces untouched until used. Counts
 * what is out, and can refuse the n-th piece. Running out for real looks like a refusal. */
#ifndef TALLY_TESTS_LIB_TEST_MEMORY_H
#define TALLY_TESTS_LIB_TEST_MEMORY_H

#include "core/machine.h"

struct test_memory {
    uint64_t refuse_at; /* refuse the piece with this number, counted from 1; 0 = none */
    uint64_t asked_count;
    uint64_t out_count; /* pieces not yet released */
    uint64_t out_bytes;
};

/* `memory` must outlive what is allocated from it. */
struct memory test_memory_of(struct test_memory *memory);

#endif
