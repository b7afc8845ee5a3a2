/*
 * Faults planted on purpose, to show that the checkers which look for such faults find them
 * (chaos/matrix/README.md). In a build with -Dplanted_fault=any each is on when the environment
 * variable TALLY_PLANTED names it (several: separated by commas); in every other build each
 * question below is the constant false. A release build with them is refused.
 *
 * A new one is a line here, and one or two where a programmer would have made that mistake.
 */
#ifndef TALLY_CORE_PLANTED_FAULT_H
#define TALLY_CORE_PLANTED_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* X(NAME): the environment variable has it in small letters. */
#define PLANTED_FAULTS(X)                                                                          \
    X(REPLY_BEFORE_COMMIT) /* a leader takes what it alone has synced for committed */             \
    X(REQUEST_WINDOW_OFF)  /* no request is remembered, so a repeat is executed again */           \
    X(SYNC_OFF)            /* syncs of files and directories do nothing and say OK */

#define PLANTED_ENUMERATOR(name) PLANTED_##name,
enum planted_fault { PLANTED_FAULTS(PLANTED_ENUMERATOR) PLANTED_COUNT };

#ifdef PLANTED_FAULT_ANY

/* Bits of enum planted_fault; read from the environment before main(). */
extern uint64_t planted_faults;

static inline bool planted(enum planted_fault fault)
{
    return (planted_faults >> fault & 1) != 0;
}

#else

static inline bool planted(enum planted_fault fault)
{
    (void)fault;
    return false;
}

#endif

#endif
