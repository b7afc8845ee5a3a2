/*
 * Changes of the members as an operator means them: add a node, replace one, remove one. Each is a
 * walk of single steps (consensus.h), at the leader:
 *
 *     not a member ─ADD─► spare ─FEED─► standby ··caught up··► ─PROMOTE─► voter ─REMOVE─► (gone)
 *
 * Nothing is kept about a walk but in the table of members itself: each turn looks where the table
 * stands and takes the next step. So after a change of leaders, a crash or a deadline the same
 * command, given to the leader, goes on where it ended; and one that is done already ends well.
 *
 *   add      walks the new member to voter
 *   replace  the same, then removes the old one, which may be dead; then is when it is needed
 *   remove   removes; of the leader itself: hands leadership over, and ends with STATUS_NOT_READY,
 *            so that the command is repeated at the new leader
 *
 * Embedded in the node; loop thread.
 */
#ifndef TALLY_REPLICATION_MEMBERSHIP_H
#define TALLY_REPLICATION_MEMBERSHIP_H

#include "replication/consensus/consensus.h"
#include "replication/node/node.h"

#include <stdbool.h>
#include <stdint.h>

/* How long a command without a deadline of its own lasts. */
#define MEMBERSHIP_LASTS_MS 600000

enum membership_kind { MEMBERSHIP_ADD, MEMBERSHIP_REPLACE, MEMBERSHIP_REMOVE };

/* The end. STATUS_OK: done. Otherwise `text` (borrowed until return) says what stands in the way
 * and what to do:
 *   STATUS_NOT_READY  this node does not lead any more: repeat the command at the leader
 *   STATUS_DEADLINE   not finished in time; what is done stays, and repeating it goes on
 *   STATUS_EXISTS, STATUS_INVALID, STATUS_NOT_FOUND  as from membership_begin() */
typedef void (*membership_cb)(void *context, enum status status, const char *text);

struct membership_request {
    enum membership_kind kind;
    struct member member; /* to add; not for MEMBERSHIP_REMOVE */
    uint64_t old_id;      /* to remove; not for MEMBERSHIP_ADD */
    bool force;           /* although the loss of some site would not be survived any more */
    uint64_t deadline_ns; /* monotonic; 0: MEMBERSHIP_LASTS_MS from now */
    membership_cb cb;
    void *context;
};

/* Fields are ours. */
struct membership {
    struct consensus *consensus;
    uint64_t node_id;
    enum membership_state {
        MEMBERSHIP_IDLE,
        MEMBERSHIP_LOOKING,  /* at the table, for the next step */
        MEMBERSHIP_CHANGING, /* consensus has a step */
        MEMBERSHIP_ORPHANED, /* it has one whose command is over */
    } state;
    struct membership_request request;
    const char *step; /* in words */
    /* Catching up: what was committed at some time, to be reached within a second or two. */
    uint64_t mark_index, marked_ns;
    uint64_t transfer_asked_ns;
    uint64_t now_ns;
    struct node_error error;
};

struct membership_progress {
    bool active;
    enum membership_kind kind;
    uint64_t node_id; /* the one that is on its way */
    const char *step; /* e.g. "catching up"; static */
};

/* `consensus` is borrowed for as long as it is used; `node_id` is this node's. */
void membership_init(struct membership *membership, struct consensus *consensus, uint64_t node_id);

/* STATUS_OK: request->cb comes once, from membership_process(), unless it is cancelled. Otherwise
 * nothing was done, and out_error has the words:
 *   STATUS_NOT_READY  this node does not lead
 *   STATUS_BUSY       another command is under way
 *   STATUS_EXISTS     the id is another member's, or the incarnation or the address is
 *   STATUS_NOT_FOUND  no such member
 *   STATUS_INVALID    a field; the rule about sites (member.h); the last voter; a full table; or
 *                     the loss of a site would not be survived any more, and no `force`
 * An id may come again after its removal, with another incarnation: it comes with an empty journal,
 * as a spare, so it cannot contradict what its predecessor said; and that one, should it wake up,
 * is refused by its incarnation. For the operators' sake it should not. */
enum status membership_begin(struct membership *membership,
                             const struct membership_request *request, uint64_t now_ns,
                             struct node_error *out_error);

/* Takes the next step, if there is one to take. Call it in each turn of the loop, and at
 * membership_next_ns() at the latest. */
void membership_process(struct membership *membership, uint64_t now_ns);
/* UINT64_MAX: nothing to do by itself. */
uint64_t membership_next_ns(const struct membership *membership);

/* cb will not fire; what is committed stays, and so does a step under way. */
void membership_cancel(struct membership *membership);

void membership_progress(const struct membership *membership, struct membership_progress *out);

#endif
