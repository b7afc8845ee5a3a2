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
    X(REPLY_BEFORE_COMMIT)     /* a leader takes what it alone has synced for committed */         \
    X(REQUEST_WINDOW_OFF)      /* no request is remembered, so a repeat is executed again */       \
    X(SYNC_OFF)                /* syncs of files and directories do nothing and say OK */          \
    X(ACK_BEFORE_SYNC)         /* the journal says that it has an entry before the sync */         \
    X(VOTE_NOT_SYNCED)         /* a vote is written and answered, and not synced */                \
    X(SYNCED_TAIL_CUT)         /* recovery takes the last entry for torn, synced or not */         \
    X(READ_WITHOUT_ROUND)      /* a leader answers reads without asking a majority */              \
    X(WITNESS_PRUNED_EARLY)    /* a witness keeps nothing of what one site alone has */            \
    X(WIPED_NODE_KEEPS_ID)     /* a new disk under an old id has the old incarnation */            \
    X(WINDOW_LOST_AT_SNAPSHOT) /* requests from before a checkpoint are not remembered after it */ \
    X(WINDOW_WITHOUT_PRINCIPAL) /* one client's nonce is another's */                              \
    X(WINDOW_BY_COMMIT_TIME)    /* forgotten so long after the commit, not after the issue */      \
    X(FROZEN_CLEARED_EARLY)     /* the memtable is empty before its checkpoint can be read */      \
    X(LOCAL_CLOCK_IN_CORE)      /* stamps have something of this machine's clock */                \
    X(ID_FREE_AFTER_EPOCH)      /* a transfer's id is looked for in the newest epoch only */       \
    X(FORWARD_NEW_IDENTITY)     /* a forwarded request is sent again under another nonce */

#define PLANTED_ENUMERATOR(name) PLANTED_##name,
enum planted_fault { PLANTED_FAULTS(PLANTED_ENUMERATOR) PLANTED_COUNT };

#ifdef PLANTED_FAULT_ANY

/* Bits of enum planted_fault; read from the environment before main(). */
extern uint64_t planted_faults;

static inline bool planted(enum planted_fault fault)
{
    return (planted_faults >> fault & 1) != 0;
}

/* Of this machine, as core must never ask for it. */
uint64_t planted_clock_ns(void);

#else

static inline bool planted(enum planted_fault fault)
{
    (void)fault;
    return false;
}

static inline uint64_t planted_clock_ns(void)
{
    return 0;
}

#endif

#endif
