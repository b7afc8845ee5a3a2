/*
 * The frame of the walk: one command at a time, the questions to the data nodes, the checks, and in
 * each turn the next step. What a switchover does is site_move.c's, what is written into the log
 * site_write.c's.
 *
 * A command belongs to the term in which it began: when leadership is lost, the new leader is asked
 * again, by whoever gave the command. The one exception is the switchover's own end, in which this
 * node follows already.
 */
#include "replication/node/site_operation.h"

#include "core/invariant.h"
#include "replication/node/node_error.h"
#include "replication/node/site_walk.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

/* Longest sleep in a state that waits for what other parts do. */
#define LOOK_MS 2

static const bool moves[SITE_STATE_COUNT][SITE_STATE_COUNT] = {
    [SITE_IDLE] = {[SITE_ASKING] = true},
    [SITE_ASKING] = {[SITE_APPROACHING] = true,
                     [SITE_WAITING] = true,
                     [SITE_WRITING] = true,
                     [SITE_IDLE] = true},
    [SITE_WAITING] = {[SITE_WRITING] = true, [SITE_IDLE] = true},
    [SITE_WRITING] = {[SITE_IDLE] = true},
    [SITE_APPROACHING] = {[SITE_HOLDING] = true, [SITE_IDLE] = true},
    [SITE_HOLDING] = {[SITE_MOVING] = true, [SITE_IDLE] = true},
    [SITE_MOVING] = {[SITE_SETTLING] = true, [SITE_IDLE] = true},
    [SITE_SETTLING] = {[SITE_MEASURING] = true, [SITE_IDLE] = true},
    [SITE_MEASURING] = {[SITE_IDLE] = true},
};

void site_walk_move(struct site_operation *operation, enum site_operation_state to)
{
    invariant_values(moves[operation->state][to], operation->state, to);
    operation->state = to;
    operation->state_ns = operation->now_ns;
}

const char *site_operation_name(enum site_operation_kind kind)
{
    static const char *const names[SITE_OPERATION_KIND_COUNT] = {
        [SITE_SWITCHOVER] = "switchover", [SITE_DRAIN] = "drain",     [SITE_RESUME] = "resume",
        [SITE_POLICY] = "policy",         [SITE_DEGRADE] = "degrade", [SITE_RETURN] = "return",
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
        [SITE_WAITING] = "waiting until the site is current",
        [SITE_WRITING] = "waiting until an entry about durability is committed",
    };
    return names[state];
}

/* ---- notes for the report ---- */

/* A resume beside a site that comes and goes writes as many entries as the log is given against it
 * meanwhile; how it began and how it ended are what is told then. */
void site_walk_note(struct site_operation *operation, const char *format, ...)
{
    struct site_report *report = &operation->report;
    if (report->step_count == SITE_STEPS_MAX) {
        memmove(&report->steps[1], &report->steps[2],
                (SITE_STEPS_MAX - 2) * sizeof report->steps[0]);
        report->step_count--;
    }
    struct site_step *step = &report->steps[report->step_count++];
    step->at_ns = operation->now_ns - operation->began_ns;
    va_list list;
    va_start(list, format);
    vsnprintf(step->text, sizeof step->text, format, list);
    va_end(list);
}

uint64_t site_walk_in_state_ms(const struct site_operation *operation)
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
    if (!now.leads)
        return refuse_not_leading(&now, out_error);
    /* Under SYNC nothing commits without the other site, not even what a new leader begins with:
     * giving that site up must not wait for it. */
    if (!now.ready && request->kind != SITE_DEGRADE)
        return node_refuse(out_error, STATUS_NOT_READY,
                           "this node was elected and has not committed anything yet: repeat the "
                           "command; if that lasts, see what is missing (tally status)");
    operation->request = *request;
    operation->report = (struct site_report){.leader_id = operation->node_id};
    operation->error = (struct node_error){0};
    operation->term = now.term;
    operation->target_id = 0;
    operation->to_site[0] = operation->waits_for[0] = '\0';
    operation->written = 0;
    operation->began_ns = operation->now_ns = now_ns;
    operation->hold_ns = operation->asked_ns = 0;
    operation->mark_index = now.commit_index;
    memset(operation->told, 0, sizeof operation->told);
    site_walk_move(operation, SITE_ASKING);
    return STATUS_OK;
}

/* Releases first, calls back last. `error` has the words unless all is well. */
void site_walk_end(struct site_operation *operation, enum status status)
{
    const struct site_operation_request request = operation->request;
    site_walk_move(operation, SITE_IDLE);
    request.cb(request.context, status, &operation->report,
               status == STATUS_OK ? NULL : operation->error.text);
}

/* Requests go on here; nobody was refused. */
__attribute__((format(printf, 3, 4))) void
site_walk_give_up(struct site_operation *operation, enum status status, const char *format, ...)
{
    va_list list;
    if (operation->hold_ns != 0)
        operation->report.held_ns = operation->now_ns - operation->hold_ns;
    site_walk_note(operation, "gave up: requests go on at node %" PRIu64, operation->node_id);
    operation->error.status = status;
    va_start(list, format);
    vsnprintf(operation->error.text, sizeof operation->error.text, format, list);
    va_end(list);
    site_walk_end(operation, status);
}

/* ---- questions ---- */

void site_walk_ask(struct site_operation *operation, const struct site_view *view,
                   uint32_t window_ms)
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

struct site_told *site_walk_told_by(struct site_operation *operation, uint64_t node_id)
{
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        if (operation->told[i].node_id == node_id && operation->told[i].sequence != 0)
            return &operation->told[i];
    return NULL;
}

void site_walk_look(struct site_operation *operation, struct site_view *out)
{
    *out = (struct site_view){
        .now_ns = operation->now_ns,
        .node_id = operation->node_id,
        .mark_index = operation->mark_index,
        .member_change = operation->world.member_change(operation->world.context),
    };
    consensus_status(operation->consensus, &out->consensus);
    consensus_durability(operation->consensus, &out->durability);
    operation->report.number = out->durability.newest.number;
    out->count = consensus_peers(operation->consensus, out->peers, MEMBERS_MAX);
    invariant_values(out->count <= MEMBERS_MAX, out->count, MEMBERS_MAX);
    for (uint32_t i = 0; i < out->count; i++) {
        const struct site_told *told = site_walk_told_by(operation, out->peers[i].member.node_id);
        if (told != NULL && told->sequence == operation->sequence)
            out->told[i] = told;
    }
}

const struct consensus_peer *site_walk_peer_of(const struct site_view *view, uint64_t node_id)
{
    for (uint32_t i = 0; i < view->count; i++)
        if (view->peers[i].member.node_id == node_id)
            return &view->peers[i];
    return NULL;
}

/* ---- checking ---- */

/* The site that leadership goes to: what was asked for, or of a drain the other one. */
static void choose_site(struct site_operation *operation, const struct site_view *view)
{
    const struct site_operation_request *request = &operation->request;
    const char *our_site = site_rules_site_of(view, operation->node_id);
    const char *to = "";
    if (request->kind == SITE_SWITCHOVER)
        to = request->site;
    else if (request->kind == SITE_DRAIN && strcmp(our_site, request->site) == 0)
        to = site_rules_other_site(view, request->site);
    snprintf(operation->to_site, sizeof operation->to_site, "%s", to);
}

/* What is asked for is so already, or (an error) cannot be judged. True: it has ended. */
static bool is_over_at_once(struct site_operation *operation, const struct site_view *view)
{
    const struct site_operation_request *request = &operation->request;
    struct consensus_durability_change change;
    bool wanted = true;
    if (request->kind != SITE_POLICY && request->kind != SITE_RETURN &&
        !site_rules_knows(view, request->site, &operation->error)) {
        site_walk_end(operation, STATUS_NOT_FOUND);
        return true;
    }
    if (request->kind == SITE_SWITCHOVER)
        wanted = strcmp(site_rules_site_of(view, operation->node_id), request->site) != 0;
    else if (site_walk_next_entry(operation, view, &change, &wanted) != STATUS_OK) {
        site_walk_end(operation, STATUS_INVALID);
        return true;
    }
    /* A site that is to be resumed has to be there, too, not only in the log. */
    if (request->kind == SITE_RESUME &&
        strcmp(site_rules_site_of(view, operation->node_id), request->site) != 0)
        return false;
    if (wanted || view->durability.newest_index != view->durability.committed_index)
        return false;
    operation->report.done_before = true;
    if (request->kind == SITE_SWITCHOVER)
        site_walk_note(operation, "nothing to do: node %" PRIu64 " at site %s leads already",
                       operation->node_id, request->site);
    else
        site_walk_note(operation, "nothing to do: it is so already, since entry %" PRIu64 " by %s",
                       view->durability.newest.number, view->durability.newest.who);
    site_walk_end(operation, STATUS_OK);
    return true;
}

/* All checks; then the first step. */
static void judge(struct site_operation *operation, const struct site_view *view)
{
    struct site_report *report = &operation->report;
    const struct site_operation_request *request = &operation->request;
    char what[96];
    operation->target_id =
        site_rules_check(view, request, operation->to_site, operation->consensus, report);
    if (request->dry_run) {
        site_walk_end(operation, STATUS_OK);
        return;
    }
    if (!site_rules_pass(report)) {
        snprintf(what, sizeof what, "%s%s%s", site_operation_name(request->kind),
                 request->site[0] != '\0' ? " of site " : "", request->site);
        site_rules_explain(report, what, &operation->error);
        site_walk_end(operation, STATUS_INVALID);
        return;
    }
    if (operation->to_site[0] != '\0') {
        site_walk_note(operation, "checked: node %" PRIu64 " at site %s can lead",
                       operation->target_id, operation->to_site);
        site_walk_move(operation, SITE_APPROACHING);
        return;
    }
    site_walk_note(operation, "checked");
    site_walk_move(operation, request->kind == SITE_RESUME ? SITE_WAITING : SITE_WRITING);
}

/* Whose answer counts: the site that leads next, or that is to be current. */
static bool is_asked(const struct site_operation *operation, const struct consensus_peer *peer)
{
    const char *site = operation->to_site[0] != '\0'            ? operation->to_site
                       : operation->request.kind == SITE_RESUME ? operation->request.site
                                                                : "";
    return peer->linked && peer->member.kind == MEMBER_DATA && peer->vote == CONSENSUS_VOTER &&
           strcmp(peer->member.site, site) == 0;
}

static bool is_answered(const struct site_operation *operation, const struct site_view *view)
{
    for (uint32_t i = 0; i < view->count; i++)
        if (is_asked(operation, &view->peers[i]) &&
            (view->told[i] == NULL || view->peers[i].match_index < view->mark_index))
            return false;
    return true;
}

static void process_asking(struct site_operation *operation, struct site_view *view)
{
    if (operation->asked_ns == 0) {
        choose_site(operation, view);
        if (is_over_at_once(operation, view))
            return;
        site_walk_ask(operation, view, 0);
        site_walk_look(operation, view);
    }
    if (is_answered(operation, view) || site_walk_in_state_ms(operation) >= SITE_ASK_MS)
        judge(operation, view);
}

/* ---- the turn ---- */

/* While this node still leads, the walk ends with its leadership; and with the caller's time. */
static bool ends_early(struct site_operation *operation, const struct site_view *view)
{
    if (operation->state == SITE_MOVING || operation->state == SITE_SETTLING ||
        operation->state == SITE_MEASURING)
        return false;
    if (!view->consensus.leads || view->consensus.term != operation->term) {
        (void)refuse_not_leading(&view->consensus, &operation->error);
        site_walk_end(operation, STATUS_NOT_READY);
        return true;
    }
    const uint64_t deadline_ns = operation->request.deadline_ns;
    if (deadline_ns == 0 || operation->now_ns < deadline_ns)
        return false;
    const char *what =
        operation->waits_for[0] != '\0' ? operation->waits_for : step_name(operation->state);
    site_walk_give_up(operation, STATUS_DEADLINE,
                      "not done in the time given; it waits for: %s; what is written stays, no "
                      "request was refused: repeat the command, it goes on",
                      what);
    return true;
}

static void step(struct site_operation *operation)
{
    struct site_view view;
    site_walk_look(operation, &view);
    if (ends_early(operation, &view))
        return;
    switch (operation->state) {
    case SITE_ASKING:
        process_asking(operation, &view);
        break;
    case SITE_APPROACHING:
        site_walk_approaching(operation, &view);
        break;
    case SITE_HOLDING:
        site_walk_holding(operation, &view);
        break;
    case SITE_MOVING:
        site_walk_moving(operation, &view);
        break;
    case SITE_SETTLING:
        site_walk_settling(operation, &view);
        break;
    case SITE_MEASURING:
        site_walk_measuring(operation, &view);
        break;
    case SITE_WAITING:
        site_walk_waiting(operation, &view);
        break;
    case SITE_WRITING:
        site_walk_writing(operation, &view);
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
        site_walk_move(operation, SITE_IDLE);
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
