/*
 * How leadership moves to another site, and why it costs clients no more than a moment.
 *
 * Handing over is libraft's transfer, and the guard's condition on it: the other node holds the
 * whole log. Under load that moment never comes by itself, so this node first stops making new
 * entries; requests go on being taken, and wait where requests wait while nobody leads. What makes
 * the pause short is what is *not* done while they wait:
 *
 *  - The other node is asked whether it can lead before anything is held, and nothing is held until
 *    it has applied what was committed a moment ago (APPROACHING). A node that is verified but
 *    behind in applying would be elected at once and then apply for seconds before it serves.
 *  - While holding, entries in flight end first. Then nothing in the log is uncertain when
 *    leadership goes: requests that wait were never proposed, and are routed anew as they are.
 *  - Holding is bounded by SITE_HOLD_MS, the transfer by the guard (one election timeout). When a
 *    bound is reached everything goes on here, and the operator is told why.
 *
 * After the move this node follows. It waits until its clients' requests have been answered by the
 * new leader, and asks every data node how long *its* clients waited: that is the pause that is
 * reported, and not the time between two events of this program.
 */
#include "replication/node/site_walk.h"

#include "core/invariant.h"
#include "replication/node/node_error.h"

#include <inttypes.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

/* Between two rounds of questions, and how old an answer may be that ends APPROACHING. */
#define ASK_AGAIN_MS 25

void site_walk_approaching(struct site_operation *operation, const struct site_view *view)
{
    const struct consensus_peer *peer = site_walk_peer_of(view, operation->target_id);
    const struct site_told *told = site_walk_told_by(operation, operation->target_id);
    const bool fresh = told != NULL && told->sequence == operation->sequence &&
                       operation->now_ns - operation->asked_ns <= ASK_AGAIN_MS * NS_PER_MS;
    if (peer != NULL && fresh && told->answer.flags == SITE_ANSWER_SERVES &&
        told->answer.applied_index >= operation->mark_index &&
        peer->match_index >= operation->mark_index) {
        operation->hold_ns = operation->now_ns;
        site_walk_note(operation, "holding new requests; node %" PRIu64 " is close behind",
                       operation->target_id);
        site_walk_move(operation, SITE_HOLDING);
        return;
    }
    if (site_walk_in_state_ms(operation) >= SITE_APPROACH_MS) {
        site_walk_give_up(
            operation, STATUS_UNAVAILABLE,
            "node %" PRIu64 " did not keep pace for %d s, so nothing was held and leadership "
            "stays here: look at its disk and its load (tally status), or try again with less "
            "traffic",
            operation->target_id, SITE_APPROACH_MS / 1000);
        return;
    }
    if (operation->now_ns - operation->asked_ns >= ASK_AGAIN_MS * NS_PER_MS)
        site_walk_ask(operation, view, 0);
}

void site_walk_holding(struct site_operation *operation, const struct site_view *view)
{
    const struct consensus_peer *peer = site_walk_peer_of(view, operation->target_id);
    const uint32_t in_flight = operation->world.in_flight(operation->world.context);
    if (in_flight == 0 && peer != NULL && peer->match_index >= view->consensus.commit_index) {
        enum status status = consensus_transfer(operation->consensus, operation->target_id);
        if (status != STATUS_OK) {
            site_walk_give_up(
                operation, STATUS_UNAVAILABLE,
                "leadership could not be handed to node %" PRIu64 " (%s); requests go on here, "
                "none was refused: look at the members (tally member list) and try again",
                operation->target_id, status_text(status));
            return;
        }
        site_walk_note(operation, "everything in flight is answered; handing over to node %" PRIu64,
                       operation->target_id);
        site_walk_move(operation, SITE_MOVING);
        return;
    }
    if (site_walk_in_state_ms(operation) >= SITE_HOLD_MS)
        site_walk_give_up(
            operation, STATUS_UNAVAILABLE,
            "node %" PRIu64 " did not have everything after %d ms (%" PRIu32
            " entries in flight): requests go on here, none was refused; look at the disks and "
            "the link between the sites, then try again",
            operation->target_id, SITE_HOLD_MS, in_flight);
}

void site_walk_moving(struct site_operation *operation, const struct site_view *view)
{
    const struct consensus_status *now = &view->consensus;
    if (now->leads && now->term == operation->term && now->transferring)
        return; /* the guard bounds it */
    if (now->leads) {
        site_walk_give_up(
            operation, STATUS_UNAVAILABLE,
            "node %" PRIu64 " did not take over in time, and node %" PRIu64
            " leads on: requests go on, none was refused; look at that node's log and at the "
            "links, then try again",
            operation->target_id, operation->node_id);
        return;
    }
    if (now->leader_id != 0) {
        operation->report.leader_id = now->leader_id;
        operation->report.held_ns = operation->now_ns - operation->hold_ns;
        site_walk_note(operation,
                       "node %" PRIu64 " at site %s leads, term %" PRIu64
                       "; requests that waited go there",
                       now->leader_id, site_rules_site_of(view, now->leader_id), now->term);
        site_walk_move(operation, SITE_SETTLING);
        return;
    }
    if (site_walk_in_state_ms(operation) >= SITE_MOVE_MS) {
        operation->report.leader_id = 0;
        (void)node_refuse(&operation->error, STATUS_UNKNOWN_OUTCOME,
                          "leadership was given up, and after %d s nobody leads: look at every "
                          "node (tally status)",
                          SITE_MOVE_MS / 1000);
        site_walk_end(operation, STATUS_UNKNOWN_OUTCOME);
    }
}

/* ---- how it was for clients ---- */

static void end_measured(struct site_operation *operation, const struct site_view *view)
{
    struct site_report *report = &operation->report;
    for (uint32_t i = 0; i < view->count; i++) {
        const struct member *member = &view->peers[i].member;
        if (member->kind != MEMBER_DATA)
            continue;
        struct site_pause *pause = &report->pauses[report->pause_count++];
        *pause = (struct site_pause){.node_id = member->node_id};
        if (view->told[i] != NULL) {
            pause->known = true;
            pause->pause = view->told[i]->pause;
        }
    }
    const char *site = site_rules_site_of(view, report->leader_id);
    if (strcmp(site, operation->to_site) == 0) {
        report->again = operation->request.kind == SITE_DRAIN;
        site_walk_end(operation, STATUS_OK);
        return;
    }
    (void)node_refuse(&operation->error, STATUS_UNAVAILABLE,
                      "another node was faster: node %" PRIu64 " at site %s leads now; requests go "
                      "on there, none was refused: repeat the command if site %s is still wanted",
                      report->leader_id, site, operation->to_site);
    site_walk_end(operation, STATUS_UNAVAILABLE);
}

void site_walk_measuring(struct site_operation *operation, const struct site_view *view)
{
    bool all = true;
    for (uint32_t i = 0; i < view->count; i++)
        all &= view->peers[i].member.kind != MEMBER_DATA || !view->peers[i].linked ||
               view->told[i] != NULL;
    if (all || site_walk_in_state_ms(operation) >= SITE_MEASURE_MS)
        end_measured(operation, view);
}

void site_walk_settling(struct site_operation *operation, const struct site_view *view)
{
    if (site_walk_in_state_ms(operation) < SITE_SETTLE_MS)
        return;
    site_walk_ask(operation, view,
                  (uint32_t)((operation->now_ns - operation->hold_ns) / NS_PER_MS));
    site_walk_move(operation, SITE_MEASURING);
}
