/*
 * Entries at random, from one seed: requests that are mostly sensible and now and then wrong in
 * each way there is, repeats of earlier ones as they were or nearly so, time that mostly goes on by
 * seconds and sometimes stands still, goes back or jumps by hours. Domains are small, so that ids,
 * nonces and full tables meet. What the oracle knows is looked at, to hit what exists.
 */
#ifndef TALLY_TESTS_CORE_WORKLOAD_H
#define TALLY_TESTS_CORE_WORKLOAD_H

#include "oracle.h"

#define WORKLOAD_HISTORY 64

struct workload {
    uint64_t random;
    uint64_t stamp; /* of the last entry drawn */
    uint32_t entry_count;
    const struct oracle *oracle;
    struct oracle_request history[WORKLOAD_HISTORY]; /* drawn before, to be repeated */
    uint32_t history_count;
};

void workload_init(struct workload *workload, uint64_t seed, const struct oracle *oracle);

/* Draws the requests of the next entry, stamped workload->stamp; returns how many. The first
 * request of all fills the principal table. */
uint32_t workload_entry(struct workload *workload, struct oracle_request *out_requests);

/* A number below `below`; true one time in `one_in`. */
uint64_t workload_draw(struct workload *workload, uint64_t below);
bool workload_chance(struct workload *workload, uint64_t one_in);

#endif
