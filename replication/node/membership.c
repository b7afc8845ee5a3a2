/*
 * The walk. Each turn: does this node still lead, is there time, is a step under way; if not, look
 * at the table and take the next one. There is no list of steps to come: what was done by an
 * earlier leader, or before a crash, is in the table, and what is in the table is done.
 *
 *     IDLE ─begin─► LOOKING ─change()─► CHANGING ─called back─► LOOKING ··· ─end─► IDLE
 *                                          └─ cancelled, too late, not leading ─► ORPHANED
 *     ORPHANED ─called back─► IDLE
 *
 * A step given to consensus cannot be taken back, and its callback holds a pointer to us: so a
 * command may end before its step, and the next one waits for that.
 *
 * What consensus refuses for the moment (a voter that has to catch up, a transfer, an entry of
 * another change not committed yet) is asked again every few milliseconds until the deadline.
 */
#include "replication/node/membership.h"

#include "core/invariant.h"
#include "replication/node/membership_rules.h"
#include "replication/node/node_error.h"

#include <inttypes.h>
#include <stdio.h>

#define MS              UINT64_C(1000000)
#define LOOKS_EVERY     (20 * MS)
#define CATCHES_UP_IN   (1000 * MS) /* what was committed then is there a second or two later */
#define TRANSFERS_EVERY (2000 * MS)

static const bool moves[4][4] = {
    [MEMBERSHIP_IDLE] = {[MEMBERSHIP_LOOKING] = true},
    [MEMBERSHIP_LOOKING] = {[MEMBERSHIP_CHANGING] = true, [MEMBERSHIP_IDLE] = true},
    [MEMBERSHIP_CHANGING] = {[MEMBERSHIP_LOOKING] = true, [MEMBERSHIP_ORPHANED] = true},
    [MEMBERSHIP_ORPHANED] = {[MEMBERSHIP_IDLE] = true},
};

static void move(struct membership *membership, enum membership_state to)
{
    invariant_values(moves[membership->state][to], membership->state, to);
    membership->state = to;
}

void membership_init(struct membership *membership, struct consensus *consensus, uint64_t node_id)
{
    *membership = (struct membership){.consensus = consensus, .node_id = node_id, .step = "idle"};
}

static enum status refuse_not_leading(const struct consensus_status *now, struct node_error *error)
{
    if (now->leader_id == 0)
        return node_refuse(error, STATUS_NOT_READY,
                           "this node does not lead, and knows of no leader: repeat the command "
                           "when there is one");
    return node_refuse(error, STATUS_NOT_READY,
                       "this node does not lead; node %" PRIu64 " does: repeat the command there, "
                       "it goes on where this one ended",
                       now->leader_id);
}

enum status membership_begin(struct membership *membership,
                             const struct membership_request *request, uint64_t now_ns,
                             struct node_error *out_error)
{
    invariant(request->cb != NULL);
    if (membership->state != MEMBERSHIP_IDLE)
        return node_refuse(out_error, STATUS_BUSY,
                           "another change of the members is under way (%s): wait for its end",
                           membership->step);
    struct consensus_status now;
    consensus_status(membership->consensus, &now);
    if (!now.leads)
        return refuse_not_leading(&now, out_error);
    struct membership_view view;
    membership_view(membership, &view);
    enum status status = membership_check(&view, request, out_error);
    if (status != STATUS_OK)
        return status;

    membership->request = *request;
    if (membership->request.deadline_ns == 0)
        membership->request.deadline_ns = now_ns + MEMBERSHIP_LASTS_MS * MS;
    membership->marked_ns = membership->transfer_asked_ns = 0;
    membership->now_ns = now_ns;
    membership->step = "beginning";
    move(membership, MEMBERSHIP_LOOKING);
    return STATUS_OK;
}

/* Releases first, calls back last. */
static void end(struct membership *membership, enum status status)
{
    struct membership_request request = membership->request;
    struct node_error error = membership->error;
    move(membership,
         membership->state == MEMBERSHIP_CHANGING ? MEMBERSHIP_ORPHANED : MEMBERSHIP_IDLE);
    if (membership->state == MEMBERSHIP_IDLE)
        membership->step = "idle";
    request.cb(request.context, status, status == STATUS_OK ? NULL : error.text);
}

static void changed(void *context, enum status status)
{
    struct membership *membership = context;
    /* How it ended the table tells, and better: also a step of unknown outcome is there or not. */
    (void)status;
    if (membership->state == MEMBERSHIP_ORPHANED) {
        membership->step = "idle";
        move(membership, MEMBERSHIP_IDLE);
    } else {
        move(membership, MEMBERSHIP_LOOKING);
    }
}

static void change(struct membership *membership, enum consensus_change_kind kind,
                   const struct member *member, const char *step)
{
    membership->step = step;
    struct consensus_change wanted = {.kind = kind, .member = *member};
    enum status status = consensus_change(membership->consensus, &wanted, changed, membership);
    switch (status) {
    case STATUS_OK:
        move(membership, MEMBERSHIP_CHANGING);
        break;
    case STATUS_EXISTS:
    case STATUS_NOT_FOUND:
    case STATUS_INVALID:
        end(membership, node_refuse(&membership->error, status, "%s node %" PRIu64 ": %s", step,
                                    member->node_id, status_text(status)));
        break;
    default: /* for the moment */
        break;
    }
}

/* It holds now what was committed when the mark was set, a short while ago. */
static bool has_caught_up(struct membership *membership, const struct consensus_status *now,
                          const struct consensus_peer *peer)
{
    bool is_old = membership->now_ns - membership->marked_ns >= 2 * CATCHES_UP_IN;
    if (membership->marked_ns != 0 && !is_old)
        return peer->match_index >= membership->mark_index;
    membership->mark_index = now->commit_index;
    membership->marked_ns = membership->now_ns;
    return false;
}

/* True: the new member is a voter. */
static bool walk_to_voter(struct membership *membership, const struct consensus_status *now,
                          const struct membership_view *view)
{
    const struct member *member = &membership->request.member;
    int place = membership_find(view, member->node_id);
    if (place < 0) {
        change(membership, CONSENSUS_ADD, member, "adding");
        return false;
    }
    const struct consensus_peer *peer = &view->peers[place];
    switch (peer->vote) {
    case CONSENSUS_VOTER:
        return true;
    case CONSENSUS_SPARE:
        change(membership, CONSENSUS_FEED, member, "giving the log to");
        return false;
    case CONSENSUS_STANDBY:
        break;
    }
    if (has_caught_up(membership, now, peer))
        change(membership, CONSENSUS_PROMOTE, member, "promoting");
    else
        membership->step = peer->heard_ns == 0 && !peer->linked ? "waiting for" : "catching up";
    return false;
}

/* The leader cannot be removed by itself: who would commit it? Leadership goes first, and the
 * command with it. */
static void hand_over(struct membership *membership)
{
    membership->step = "handing over before removing";
    if (membership->transfer_asked_ns != 0 &&
        membership->now_ns - membership->transfer_asked_ns < TRANSFERS_EVERY)
        return;
    membership->transfer_asked_ns = membership->now_ns;
    if (consensus_transfer(membership->consensus, 0) == STATUS_NOT_FOUND)
        end(membership, node_refuse(&membership->error, STATUS_INVALID,
                                    "node %" PRIu64 " leads, and no other data node that votes "
                                    "could: add one first",
                                    membership->node_id));
}

static void look(struct membership *membership, const struct consensus_status *now)
{
    const struct membership_request *request = &membership->request;
    struct membership_view view;
    membership_view(membership, &view);
    int old = membership_find(&view, request->old_id);
    /* Gone: that was the last step, and perhaps not even ours. */
    if (request->kind == MEMBERSHIP_REMOVE && old < 0) {
        end(membership, STATUS_OK);
        return;
    }
    enum status status = membership_check(&view, request, &membership->error);
    if (status != STATUS_OK) {
        end(membership, status);
        return;
    }
    if (request->kind != MEMBERSHIP_REMOVE && !walk_to_voter(membership, now, &view))
        return;
    if (request->kind == MEMBERSHIP_ADD || old < 0)
        end(membership, STATUS_OK);
    else if (request->old_id == membership->node_id)
        hand_over(membership);
    else
        change(membership, CONSENSUS_REMOVE, &view.table.members[old], "removing");
}

static void refuse_deadline(struct membership *membership)
{
    const struct membership_request *request = &membership->request;
    struct node_error *error = &membership->error;
    struct membership_view view;
    membership_view(membership, &view);
    int place = membership_find(&view, request->member.node_id);
    bool is_removing = request->kind == MEMBERSHIP_REMOVE ||
                       (place >= 0 && view.peers[place].vote == CONSENSUS_VOTER);
    uint64_t node_id = is_removing ? request->old_id : request->member.node_id;
    if (!is_removing && place >= 0 && !view.peers[place].linked)
        node_refuse(error, STATUS_DEADLINE,
                    "node %" PRIu64 " is in the table, and there is no connection to it at %s: is "
                    "tallyd running there, made with `tally node init --join`? Then repeat the "
                    "command, it goes on",
                    node_id, request->member.address);
    else
        node_refuse(error, STATUS_DEADLINE,
                    "not finished in time, at: %s node %" PRIu64 ". What is done stays; repeat the "
                    "command, it goes on. If nothing moves, look for voters that are away or "
                    "behind: the change needs a majority of the voters",
                    membership->step, node_id);
    end(membership, STATUS_DEADLINE);
}

void membership_process(struct membership *membership, uint64_t now_ns)
{
    if (membership->state == MEMBERSHIP_IDLE || membership->state == MEMBERSHIP_ORPHANED)
        return;
    membership->now_ns = now_ns;
    struct consensus_status now;
    consensus_status(membership->consensus, &now);
    if (!now.leads)
        end(membership, refuse_not_leading(&now, &membership->error));
    else if (now_ns >= membership->request.deadline_ns)
        refuse_deadline(membership);
    else if (membership->state == MEMBERSHIP_LOOKING && now.ready && !now.changing &&
             !now.transferring)
        look(membership, &now);
}

uint64_t membership_next_ns(const struct membership *membership)
{
    if (membership->state == MEMBERSHIP_IDLE || membership->state == MEMBERSHIP_ORPHANED)
        return UINT64_MAX;
    uint64_t next = membership->now_ns + LOOKS_EVERY;
    return next < membership->request.deadline_ns ? next : membership->request.deadline_ns;
}

void membership_cancel(struct membership *membership)
{
    if (membership->state == MEMBERSHIP_LOOKING) {
        membership->step = "idle";
        move(membership, MEMBERSHIP_IDLE);
    } else if (membership->state == MEMBERSHIP_CHANGING) {
        move(membership, MEMBERSHIP_ORPHANED);
    }
}

void membership_progress(const struct membership *membership, struct membership_progress *out)
{
    const struct membership_request *request = &membership->request;
    *out = (struct membership_progress){.step = membership->step};
    if (membership->state == MEMBERSHIP_IDLE || membership->state == MEMBERSHIP_ORPHANED)
        return;
    out->active = true;
    out->kind = request->kind;
    out->node_id = request->kind == MEMBERSHIP_REMOVE ? request->old_id : request->member.node_id;
}
