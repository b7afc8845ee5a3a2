/* The matrix of planted errors: each must be found, by the checker that is there for it. */
#ifndef TALLY_CHAOS_SIM_PLANTED_H
#define TALLY_CHAOS_SIM_PLANTED_H

#include "chaos/sim/sim.h"

struct planted_budget {
    uint64_t first_seed;
    uint64_t seed_count;  /* per error, at most */
    uint64_t seconds;     /* of faults per seed */
    uint32_t jobs;        /* errors that are looked for at a time */
    const char *only;     /* name of an error, "early": those found in few seeds; NULL: all */
    const char *topology; /* told with what replays a find */
};

/* Prints a line per error and a summary; true: each was found by its checker within the budget.
 * `options` are those of a plain run: topology and load. */
bool planted_search(const struct planted_budget *budget, const struct sim_options *options);

#endif
