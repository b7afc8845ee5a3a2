/* Applying committed entries: the one way into the machine, for replay, for a follower and for the
 * node that proposed. Loop thread. */
#ifndef TALLY_REPLICATION_FSM_H
#define TALLY_REPLICATION_FSM_H

#include "core/machine.h"
#include "replication/environment.h"
#include "replication/notify.h"
#include "storage/journal.h"

#include <stdbool.h>

struct digests;
struct proposer;
struct rpo;

struct fsm {
    struct machine *machine;
    struct proposer *proposer;
    struct digests *digests;
    struct rpo *rpo;
    const struct environment *environment;
    const struct notify *notify;
    uint64_t transfers_total; /* events of executed CREATE_TRANSFERS requests that we answered */
};

/* Whether the current memtable can take the entry. True for what will not reach the machine. */
bool fsm_has_room(const struct fsm *fsm, const struct journal_entry *entry);

/* Applies the entry (applied index + 1; payload 8-aligned) and answers its requests if this node
 * proposed it. False after a fail-stop: the entry's type or command version is unknown to this
 * build, or it says that our state is wrong. */
bool fsm_apply(struct fsm *fsm, const struct journal_entry *entry);

#endif
