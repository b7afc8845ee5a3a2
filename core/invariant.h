/*
 * invariant(): for our own mistakes, never for input. Stays on in release builds. Prints the
 * expression, the place and up to two values, then stops the process: a dead replica is repaired by
 * the cluster, a wrong one is not.
 */
#ifndef TALLY_CORE_INVARIANT_H
#define TALLY_CORE_INVARIANT_H

#include <stdint.h>

_Noreturn void invariant_failed(const char *expression, const char *file, int line,
                                const char *function, uint64_t a, uint64_t b);

#define invariant(condition) invariant_values(condition, 0, 0)

/* Two values that explain the failure, e.g. invariant_values(a <= b, a, b). */
#define invariant_values(condition, a, b)                                                          \
    ((condition) ? (void)0                                                                         \
                 : invariant_failed(#condition, __FILE__, __LINE__, __func__, (uint64_t)(a),       \
                                    (uint64_t)(b)))

#endif
