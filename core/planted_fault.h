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
    X(FORWARD_NEW_IDENTITY)     /* a forwarded request is sent again under another nonce */        \
    X(REFUSED_ID_NOT_BURNED)    /* a transfer refused for want of an account leaves its id free */ \
    X(CLASH_IN_HIGH_HALF) /* an id that comes back with another amount: 64 bits are compared */    \
    X(LIMITS_LOST_AT_RESTART) /* a restored account is one without limits */                       \
    X(WINDOW_COUNT_LOST)      /* how full the window is counts from the restart on */              \
    X(REPEAT_STAMPED_ANEW)    /* a repeat is answered with the stamp of the repeat */              \
    X(EPOCH_SHARES_LEDGERS)   /* ledger totals of an epoch go on changing while it is written */   \
    X(FILTER_CLEARS_NEWER)    /* of two halves of the request filter the wrong one is cleared */   \
    X(RECOVERED_TAIL_NOT_SYNCED) /* what a start can read in the journal is taken for durable */   \
    X(TERM_RUN_TRIMMED_EARLY)    /* a truncation behind a term's first entry forgets the term */   \
    X(COPY_REPLACES_TAIL)        /* a finished copy replaces a journal that reaches further */     \
    X(COPY_NOT_SYNCED)           /* the last part of a copied store is never synced */             \
    X(TRUNCATED_DEGRADE_STAYS)   /* a degrade that is the first entry truncated stays in force */  \
    X(CERTIFICATE_BY_OWN_CLOCK)  /* T is the leader's own clock, though others are behind it */    \
    X(VERDICT_COUNTS_STANDBYS) /* a member without a vote counts for the majority that is here */  \
    X(FULL_LOG_HEARS_NOTHING)  /* a member whose log is full is not told what is committed */      \
    X(TAKEN_BACK_AS_CERTAIN)   /* a forward whose link broke counts as never sent */               \
    X(UNKNOWN_SENT_AGAIN_AS_CERTAIN) /* a leader's "unknown" is forgotten with the next attempt */ \
    X(LOST_TERM_AS_CERTAIN)      /* what a deposed leader had proposed counts as not in the log */ \
    X(READ_JOINS_ROUND)          /* a read counts the answers to a question sent before it came */ \
    X(READ_BEFORE_BARRIER)       /* a new leader answers reads by the commit that it inherited */  \
    X(AGE_WITHOUT_MIN_INDEX)     /* who names an age is answered without its min_index */          \
    X(AGE_SINCE_ANSWER)          /* the age of a state counts from the answer of its round */      \
    X(REPLACE_STEP_NOT_JUDGED)   /* the site rule is asked about the end of a replacement only */  \
    X(WITNESS_NOTES_UNCOMMITTED) /* a witness notes all that it has as committed */                \
    X(FLOOR_NOT_COMMITTED)       /* a floor is what a member has synced, committed or not */       \
    X(VOUCHED_FOR_EVER)          /* who once said where its journal ends is not asked again */     \
    X(DEGRADE_STAMPED_BY_WALL) /* a durability entry has the time of day, whatever came before */  \
    X(DOUBT_FORGOTTEN)      /* a refusal after an attempt without an answer is told as refused */  \
    X(STAMPS_BEGIN_AGAIN)   /* the stamps of a request begin again behind each group of events */  \
    X(OPERATOR_COUNT_STALE) /* who loses the site operator's role is counted as one on and on */   \
    X(WINDOW_ONE_TOO_MANY)  /* the window is full one request later than it may be */              \
    X(ROLES_NOT_REWRITTEN)  /* a checkpoint writes rows of principals that are new, no others */   \
    X(TURN_NOT_SYNCED)      /* a segment that is full is left without a sync */                    \
    X(PRUNED_ONE_FURTHER)   /* pruning takes one entry more than it was told to */                 \
    X(BOTH_NOT_FORWARDED)   /* a forwarded request does not say that it wants both sites */        \
    X(FRESH_BEFORE_APPLIED) /* a state counts as new when its index is confirmed, not applied */   \
    X(LOADED_CHANGE_COMMITTED) /* members that a start finds in the log are taken for agreed */    \
    X(NOTE_WITHOUT_MEMBERS)    /* a witness takes the index of its note, and not the members */    \
    X(AGED_IN_PAUSE)         /* the age of what a site lacks counts through the leader's pause */  \
    X(DEGRADE_UNDOES_POLICY) /* an automatic entry repeats the committed policy, not the newest */ \
    X(CERTIFICATE_AFTER_ROUND) /* T is read when the round has ended, not before it */             \
    X(RELEASED_SITE_COUNTS)    /* the watermark counts for a site that it does not wait for */     \
    X(OLD_PAIR_REMOVED_FIRST)  /* files in use go before those that take their place are named */  \
    X(DENIAL_SETTLES)          /* that a role is gone settles what earlier attempts left open */   \
    X(LIMITS_LOST_AT_CREATION) /* a new account is one without limits until it is restored */      \
    X(SITE_GIVEN_UP_LATE)      /* a lost site is waited for 20 times as long as the policy says */

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
