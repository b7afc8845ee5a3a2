/*
 * The walk of a switchover, and why it costs clients no more than a moment.
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
#include "replication/node/site_operation.h"

#include "core/invariant.h"
#include "replication/node/node_error.h"
#include "replication/node/site_rules.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

/* Between two rounds of questions, and how old an answer may be that ends APPROACHING. */
#define ASK_AGAIN_MS 25
/* Longest sleep in a state that waits for what other parts do. */
#define LOOK_MS 2

static const bool moves[SITE_STATE_COUNT][SITE_STATE_COUNT] = {
    [SITE_IDLE] = {[SITE_ASKING] = true},
    [SITE_ASKING] = {[SITE_APPROACHING] = true, [SITE_IDLE] = true},
    [SITE_APPROACHING] = {[SITE_HOLDING] = true, [SITE_IDLE] = true},
    [SITE_HOLDING] = {[SITE_MOVING] = true, [SITE_IDLE] = true},
    [SITE_MOVING] = {[SITE_SETTLING] = true, [SITE_IDLE] = true},
    [SITE_SETTLING] = {[SITE_MEASURING] = true, [SITE_IDLE] = true},
    [SITE_MEASURING] = {[SITE_IDLE] = true},
};

static void move(struct site_operation *operation, enum site_operation_state to)
{
    invariant_values(moves[operation->state][to], operation->state, to);
    operation->state = to;
    operation->state_ns = operation->now_ns;
}

const char *site_operation_name(enum site_operation_kind kind)
{
    static const char *const names[SITE_OPERATION_KIND_COUNT] = {
        [SITE_SWITCHOVER] = "switchover",
    };
    invariant_values(kind < SITE_OPERATION_KIND_COUNT, kind, SITE_OPERATION_KIND_COUNT);
    return names[kind];
}

static const char *step_name(enum site_operation_state state)
{
    static const char *const names[SITE_STATE_COUNT] = {
        [SITE_IDLE] = "idle",
        [SITE_ASKING] = "checking",
        [SITE_APPROACHING] = "waiting until the other node is close behind",
        [SITE_HOLDING] = "holding new requests until the other node has everything",
        [SITE_MOVING] = "handing over",
        [SITE_SETTLING] = "letting the requests that waited be answered",
        [SITE_MEASURING] = "asking the data nodes how long their clients waited",
    };
    return names[state];
}

/* ---- notes for the report ---- */

__attribute__((format(printf, 2, 3))) static void note(struct site_operation *operation,
                                                       const char *format, ...)
{
    struct site_report *report = &operation->report;
    invariant_values(report->step_count < SITE_STEPS_MAX, report->step_count, SITE_STEPS_MAX);
    struct site_step *step = &report->steps[report->step_count++];
    step->at_ns = operation->now_ns - operation->began_ns;
    va_list list;
    va_start(list, format);
    vsnprintf(step->text, sizeof step->text, format, list);
    va_end(list);
}

static uint64_t in_state_ms(const struct site_operation *operation)
{
    return (operation->now_ns - operation->state_ns) / NS_PER_MS;
}

/* ---- begin and end ---- */

void site_operation_init(struct site_operation *operation, struct consensus *consensus,
                         uint64_t node_id, const struct site_operation_world *world)
{
    *operation =
        (struct site_operation){.consensus = consensus, .node_id = node_id, .world = *world};
}

static enum status refuse_not_leading(const struct consensus_status *now, struct node_error *error)
{
    if (now->leader_id == 0)
        return node_refuse(error, STATUS_NOT_READY,
                           "this node does not lead, and knows of no leader: repeat the command "
                           "when there is one (tally status)");
    return node_refuse(error, STATUS_NOT_READY,
                       "this node does not lead; node %" PRIu64 " does: give the command there",
                       now->leader_id);
}

enum status site_operation_begin(struct site_operation *operation,
                                 const struct site_operation_request *request, uint64_t now_ns,
                                 struct node_error *out_error)
{
    invariant(request->cb != NULL);
    if (operation->state != SITE_IDLE)
        return node_refuse(out_error, STATUS_BUSY,
                           "another site operation is under way: %s %s by %s, since %" PRIu64
                           " ms (%s); wait for its end",
                           site_operation_name(operation->request.kind), operation->request.site,
                           operation->request.who, (now_ns - operation->began_ns) / NS_PER_MS,
                           step_name(operation->state));
    struct consensus_status now;
    consensus_status(operation->consensus, &now);
    if (!now.leads || !now.ready)
        return refuse_not_leading(&now, out_error);
    operation->request = *request;
    operation->report = (struct site_report){.leader_id = operation->node_id};
    operation->error = (struct node_error){0};
    operation->term = now.term;
    operation->target_id = 0;
    operation->began_ns = operation->now_ns = now_ns;
    operation->hold_ns = operation->asked_ns = 0;
    operation->mark_index = now.commit_index;
    memset(operation->told, 0, sizeof operation->told);
    move(operation, SITE_ASKING);
    return STATUS_OK;
}

/* Releases first, calls back last. `error` has the words unless all is well. */
static void end(struct site_operation *operation, enum status status)
{
    const struct site_operation_request request = operation->request;
    move(operation, SITE_IDLE);
    request.cb(request.context, status, &operation->report,
               status == STATUS_OK ? NULL : operation->error.text);
}

/* Requests go on here; nobody was refused. */
__attribute__((format(printf, 3, 4))) static void
give_up(struct site_operation *operation, enum status status, const char *format, ...)
{
    va_list list;
    if (operation->hold_ns != 0)
        operation->report.held_ns = operation->now_ns - operation->hold_ns;
    note(operation, "gave up: requests go on at node %" PRIu64, operation->node_id);
    operation->error.status = status;
    va_start(list, format);
    vsnprintf(operation->error.text, sizeof operation->error.text, format, list);
    va_end(list);
    end(operation, status);
}

/* ---- questions ---- */

static void ask(struct site_operation *operation, const struct site_view *view, uint32_t window_ms)
{
    const struct site_question question = site_question_make(++operation->sequence, window_ms);
    operation->asked_ns = operation->now_ns;
    operation->mark_index = view->consensus.commit_index;
    for (uint32_t i = 0; i < view->count; i++) {
        const struct member *member = &view->peers[i].member;
        struct site_told *told = &operation->told[i];
        if (member->kind != MEMBER_DATA)
            continue;
        if (told->node_id != member->node_id)
            *told = (struct site_told){.node_id = member->node_id};
        if (member->node_id != operation->node_id) {
            operation->world.ask(operation->world.context, member->node_id, &question);
            continue;
        }
        operation->world.answer(operation->world.context, &question, &told->answer);
        (void)site_answer_decode(&told->answer, sizeof told->answer, &told->answer,
                                 &told->pause); /* our own */
        told->sequence = question.sequence;
    }
}

void site_operation_receive(struct site_operation *operation, uint64_t from, const void *bytes,
                            size_t size, uint64_t now_ns)
{
    struct site_answer answer;
    struct pause pause;
    if (operation->state == SITE_IDLE ||
        site_answer_decode(bytes, size, &answer, &pause) != STATUS_OK ||
        answer.sequence != operation->sequence)
        return; /* late, or no such message: as if it had not come */
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        struct site_told *told = &operation->told[i];
        if (told->node_id != from)
            continue;
        told->sequence = answer.sequence;
        told->answer = answer;
        told->pause = pause;
        /* Its clock was read somewhere between question and answer: half way, for all we know. */
        const uint64_t way_ns = now_ns > operation->asked_ns ? now_ns - operation->asked_ns : 0;
        const uint64_t wall_ns = operation->world.wall_ns(operation->world.context);
        told->clock_error_ns = way_ns / 2;
        told->clock_offset_ns = (int64_t)(answer.wall_ns - (wall_ns - way_ns / 2));
    }
}

static struct site_told *told_by(struct site_operation *operation, uint64_t node_id)
{
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        if (operation->told[i].node_id == node_id && operation->told[i].sequence != 0)
            return &operation->told[i];
    return NULL;
}

static void look(struct site_operation *operation, struct site_view *out)
{
    *out = (struct site_view){
        .now_ns = operation->now_ns,
        .node_id = operation->node_id,
        .mark_index = operation->mark_index,
        .member_change = operation->world.member_change(operation->world.context),
    };
    consensus_status(operation->consensus, &out->consensus);
    out->count = consensus_peers(operation->consensus, out->peers, MEMBERS_MAX);
    invariant_values(out->count <= MEMBERS_MAX, out->count, MEMBERS_MAX);
    for (uint32_t i = 0; i < out->count; i++) {
        const struct site_told *told = told_by(operation, out->peers[i].member.node_id);
        if (told != NULL && told->sequence == operation->sequence)
            out->told[i] = told;
    }
}

static const struct consensus_peer *peer_of(const struct site_view *view, uint64_t node_id)
{
    for (uint32_t i = 0; i < view->count; i++)
        if (view->peers[i].member.node_id == node_id)
            return &view->peers[i];
    return NULL;
}

/* ---- checking ---- */

static void judge(struct site_operation *operation, const struct site_view *view)
{
    struct site_report *report = &operation->report;
    const struct site_operation_request *request = &operation->request;
    char what[96];
    operation->target_id = site_rules_switchover(view, request, report);
    if (request->dry_run) {
        end(operation, STATUS_OK);
        return;
    }
    if (!site_rules_pass(report)) {
        snprintf(what, sizeof what, "%s to site %s", site_operation_name(request->kind),
                 request->site);
        site_rules_explain(report, what, &operation->error);
        end(operation, STATUS_INVALID);
        return;
    }
    note(operation, "checked: node %" PRIu64 " at site %s can lead", operation->target_id,
         request->site);
    move(operation, SITE_APPROACHING);
}

/* Every data node of the site that is connected has answered, and holds what was committed. */
static bool is_answered(const struct site_operation *operation, const struct site_view *view)
{
    for (uint32_t i = 0; i < view->count; i++) {
        const struct consensus_peer *peer = &view->peers[i];
        if (strcmp(peer->member.site, operation->request.site) != 0 || !peer->linked ||
            peer->member.kind != MEMBER_DATA || peer->vote != CONSENSUS_VOTER)
            continue;
        if (view->told[i] == NULL || peer->match_index < view->mark_index)
            return false;
    }
    return true;
}

static void process_asking(struct site_operation *operation, struct site_view *view)
{
    if (!site_rules_knows(view, operation->request.site, &operation->error)) {
        end(operation, STATUS_NOT_FOUND);
        return;
    }
    const char *our_site = site_rules_site_of(view, operation->node_id);
    if (strcmp(our_site, operation->request.site) == 0) {
        operation->report.done_before = true;
        note(operation, "nothing to do: node %" PRIu64 " at site %s leads already",
             operation->node_id, our_site);
        end(operation, STATUS_OK);
        return;
    }
    if (operation->asked_ns == 0) {
        ask(operation, view, 0);
        look(operation, view);
    }
    if (is_answered(operation, view) || in_state_ms(operation) >= SITE_ASK_MS)
        judge(operation, view);
}

/* ---- the move ---- */

static void process_approaching(struct site_operation *operation, const struct site_view *view)
{
    const struct consensus_peer *peer = peer_of(view, operation->target_id);
    const struct site_told *told = told_by(operation, operation->target_id);
    const bool fresh = told != NULL && told->sequence == operation->sequence &&
                       operation->now_ns - operation->asked_ns <= ASK_AGAIN_MS * NS_PER_MS;
    if (peer != NULL && fresh && told->answer.flags == SITE_ANSWER_SERVES &&
        told->answer.applied_index >= operation->mark_index &&
        peer->match_index >= operation->mark_index) {
        operation->hold_ns = operation->now_ns;
        note(operation, "holding new requests; node %" PRIu64 " is close behind",
             operation->target_id);
        move(operation, SITE_HOLDING);
        return;
    }
    if (in_state_ms(operation) >= SITE_APPROACH_MS) {
        give_up(operation, STATUS_UNAVAILABLE,
                "node %" PRIu64 " did not keep pace for %d s, so nothing was held and leadership "
                "stays here: look at its disk and its load (tally status), or try again with less "
                "traffic",
                operation->target_id, SITE_APPROACH_MS / 1000);
        return;
    }
    if (operation->now_ns - operation->asked_ns >= ASK_AGAIN_MS * NS_PER_MS)
        ask(operation, view, 0);
}

static void process_holding(struct site_operation *operation, const struct site_view *view)
{
    const struct consensus_peer *peer = peer_of(view, operation->target_id);
    const uint32_t in_flight = operation->world.in_flight(operation->world.context);
    if (in_flight == 0 && peer != NULL && peer->match_index >= view->consensus.commit_index) {
        enum status status = consensus_transfer(operation->consensus, operation->target_id);
        if (status != STATUS_OK) {
            give_up(operation, STATUS_UNAVAILABLE,
                    "leadership could not be handed to node %" PRIu64 " (%s); requests go on here, "
                    "none was refused: look at the members (tally member list) and try again",
                    operation->target_id, status_text(status));
            return;
        }
        note(operation, "everything in flight is answered; handing over to node %" PRIu64,
             operation->target_id);
        move(operation, SITE_MOVING);
        return;
    }
    if (in_state_ms(operation) >= SITE_HOLD_MS)
        give_up(operation, STATUS_UNAVAILABLE,
                "node %" PRIu64 " did not have everything after %d ms (%" PRIu32
                " entries in flight): requests go on here, none was refused; look at the disks and "
                "the link between the sites, then try again",
                operation->target_id, SITE_HOLD_MS, in_flight);
}

static void process_moving(struct site_operation *operation, const struct site_view *view)
{
    const struct consensus_status *now = &view->consensus;
    if (now->leads && now->term == operation->term && now->transferring)
        return; /* the guard bounds it */
    if (now->leads) {
        give_up(operation, STATUS_UNAVAILABLE,
                "node %" PRIu64 " did not take over in time, and node %" PRIu64
                " leads on: requests go on, none was refused; look at that node's log and at the "
                "links, then try again",
                operation->target_id, operation->node_id);
        return;
    }
    if (now->leader_id != 0) {
        operation->report.leader_id = now->leader_id;
        operation->report.held_ns = operation->now_ns - operation->hold_ns;
        note(operation,
             "node %" PRIu64 " at site %s leads, term %" PRIu64 "; requests that waited go there",
             now->leader_id, site_rules_site_of(view, now->leader_id), now->term);
        move(operation, SITE_SETTLING);
        return;
    }
    if (in_state_ms(operation) >= SITE_MOVE_MS) {
        operation->report.leader_id = 0;
        (void)node_refuse(&operation->error, STATUS_UNKNOWN_OUTCOME,
                          "leadership was given up, and after %d s nobody leads: look at every "
                          "node (tally status)",
                          SITE_MOVE_MS / 1000);
        end(operation, STATUS_UNKNOWN_OUTCOME);
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
    if (strcmp(site, operation->request.site) == 0) {
        end(operation, STATUS_OK);
        return;
    }
    (void)node_refuse(&operation->error, STATUS_UNAVAILABLE,
                      "another node was faster: node %" PRIu64 " at site %s leads now; requests go "
                      "on there, none was refused: repeat the command if site %s is still wanted",
                      report->leader_id, site, operation->request.site);
    end(operation, STATUS_UNAVAILABLE);
}

static void process_measuring(struct site_operation *operation, const struct site_view *view)
{
    bool all = true;
    for (uint32_t i = 0; i < view->count; i++)
        all &= view->peers[i].member.kind != MEMBER_DATA || !view->peers[i].linked ||
               view->told[i] != NULL;
    if (all || in_state_ms(operation) >= SITE_MEASURE_MS)
        end_measured(operation, view);
}

static void process_settling(struct site_operation *operation, const struct site_view *view)
{
    if (in_state_ms(operation) < SITE_SETTLE_MS)
        return;
    ask(operation, view, (uint32_t)((operation->now_ns - operation->hold_ns) / NS_PER_MS));
    move(operation, SITE_MEASURING);
}

/* ---- the turn ---- */

/* Before leadership moves, the walk ends with it; and with the caller's time. */
static bool ends_early(struct site_operation *operation, const struct site_view *view)
{
    if (operation->state > SITE_HOLDING)
        return false;
    if (!view->consensus.leads || view->consensus.term != operation->term) {
        (void)refuse_not_leading(&view->consensus, &operation->error);
        end(operation, STATUS_NOT_READY);
        return true;
    }
    const uint64_t deadline_ns = operation->request.deadline_ns;
    if (deadline_ns == 0 || operation->now_ns < deadline_ns)
        return false;
    give_up(operation, STATUS_DEADLINE,
            "not done in the time given (at: %s); leadership stays here and requests go on, none "
            "was refused: repeat the command with a longer --deadline",
            step_name(operation->state));
    return true;
}

static void step(struct site_operation *operation)
{
    struct site_view view;
    look(operation, &view);
    if (ends_early(operation, &view))
        return;
    switch (operation->state) {
    case SITE_ASKING:
        process_asking(operation, &view);
        break;
    case SITE_APPROACHING:
        process_approaching(operation, &view);
        break;
    case SITE_HOLDING:
        process_holding(operation, &view);
        break;
    case SITE_MOVING:
        process_moving(operation, &view);
        break;
    case SITE_SETTLING:
        process_settling(operation, &view);
        break;
    case SITE_MEASURING:
        process_measuring(operation, &view);
        break;
    case SITE_IDLE:
    case SITE_STATE_COUNT:
        invariant_values(false, operation->state, 0);
    }
}

void site_operation_process(struct site_operation *operation, uint64_t now_ns)
{
    operation->now_ns = now_ns;
    enum site_operation_state before = SITE_IDLE;
    while (operation->state != SITE_IDLE && operation->state != before) {
        before = operation->state;
        step(operation);
    }
}

uint64_t site_operation_next_ns(const struct site_operation *operation)
{
    if (operation->state == SITE_IDLE)
        return UINT64_MAX;
    return operation->now_ns + LOOK_MS * NS_PER_MS;
}

bool site_operation_holds(const struct site_operation *operation)
{
    return operation->state == SITE_HOLDING || operation->state == SITE_MOVING;
}

void site_operation_cancel(struct site_operation *operation)
{
    if (operation->state != SITE_IDLE)
        move(operation, SITE_IDLE);
}

void site_operation_progress(const struct site_operation *operation,
                             struct site_operation_progress *out)
{
    *out = (struct site_operation_progress){
        .active = operation->state != SITE_IDLE,
        .kind = operation->request.kind,
        .site = operation->request.site,
        .who = operation->request.who,
        .why = operation->request.why,
        .step = step_name(operation->state),
        .since_ns = operation->began_ns,
    };
}
