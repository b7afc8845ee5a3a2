/*
 * Faults planted on purpose, to show that the loops which look for such faults find them
 * (docs/testing.md). At most one per build, by meson's option `planted_fault`; none in any other
 * build, where every question below is the constant false. A release build with one is refused.
 */
#ifndef TALLY_CORE_PLANTED_FAULT_H
#define TALLY_CORE_PLANTED_FAULT_H

#include <stdbool.h>

enum planted_fault {
    PLANTED_NONE,
    PLANTED_REPLY_BEFORE_COMMIT, /* a leader takes what it alone has synced for committed */
    PLANTED_REQUEST_WINDOW_OFF,  /* no request is remembered, so a repeat is executed again */
    PLANTED_SYNC_OFF,            /* syncs of files and directories do nothing and say OK */
};

#ifndef PLANTED_FAULT
#define PLANTED_FAULT PLANTED_NONE
#endif

static inline bool planted(enum planted_fault fault)
{
    return PLANTED_FAULT == fault;
}

#endif
