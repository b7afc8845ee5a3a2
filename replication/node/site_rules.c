/*
 * The checks, in the order in which an operator would make them. All of them are made even when the
 * first one fails: at night a list of three things is better than the same command three times.
 *
 * Each says what was found, and, when it stands in the way, what to do next. `force` overrules only
 * what is about *later* losses (a voter that is down already), never what would make clients wait
 * for a leader that cannot serve.
 */
#include "replication/node/site_rules.h"

#include "core/invariant.h"
#include "replication/node/node_error.h"
#include "replication/node/policy_settings.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

__attribute__((format(printf, 3, 4))) static void
add(struct site_report *report, enum site_verdict verdict, const char *format, ...)
{
    invariant_values(report->check_count < SITE_CHECKS_MAX, report->check_count, SITE_CHECKS_MAX);
    struct site_check *check = &report->checks[report->check_count++];
    check->verdict = verdict;
    va_list list;
    va_start(list, format);
    vsnprintf(check->text, sizeof check->text, format, list);
    va_end(list);
}

const char *site_rules_site_of(const struct site_view *view, uint64_t node_id)
{
    for (uint32_t i = 0; i < view->count; i++)
        if (view->peers[i].member.node_id == node_id)
            return view->peers[i].member.site;
    return "";
}

static bool is_data_voter(const struct consensus_peer *peer)
{
    return peer->vote == CONSENSUS_VOTER && peer->member.kind == MEMBER_DATA;
}

static bool is_at(const struct consensus_peer *peer, const char *site)
{
    return strcmp(peer->member.site, site) == 0;
}

/* Appends to a text of fixed size; what does not fit is cut. */
__attribute__((format(printf, 3, 4))) static void append(char *text, size_t capacity,
                                                         const char *format, ...)
{
    size_t size = strlen(text);
    va_list list;
    va_start(list, format);
    vsnprintf(text + size, capacity - size, format, list);
    va_end(list);
}

bool site_rules_knows(const struct site_view *view, const char *site, struct node_error *out_error)
{
    char sites[160] = "";
    for (uint32_t i = 0; i < view->count; i++) {
        const struct consensus_peer *peer = &view->peers[i];
        if (!is_data_voter(peer))
            continue;
        if (is_at(peer, site))
            return true;
        bool listed = false;
        for (uint32_t k = 0; k < i; k++)
            listed |= is_data_voter(&view->peers[k]) && is_at(&view->peers[k], peer->member.site);
        if (!listed)
            append(sites, sizeof sites, "%s%s", sites[0] ? ", " : "", peer->member.site);
    }
    (void)node_refuse(out_error, STATUS_NOT_FOUND,
                      "no data node that votes is at site \"%s\"; sites that have one: %s (tally "
                      "member list)",
                      site, sites);
    return false;
}

/* ---- the cluster ---- */

static void check_change(const struct site_view *view, struct site_report *report)
{
    if (view->member_change[0] != '\0')
        add(report, SITE_IN_THE_WAY,
            "a change of members is under way (%s): wait for its end (tally member list)",
            view->member_change);
    else if (view->consensus.changing || view->consensus.transferring)
        add(report, SITE_IN_THE_WAY,
            "%s: wait for its end, it takes less than a second, and repeat the command",
            view->consensus.changing ? "a change of members is not committed yet"
                                     : "leadership is being handed over");
    else
        add(report, SITE_FINE, "no change of members is under way");
}

static void check_voters(const struct site_view *view, bool force, struct site_report *report)
{
    char down[120] = "";
    uint32_t voters = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        const struct consensus_peer *peer = &view->peers[i];
        if (peer->vote != CONSENSUS_VOTER)
            continue;
        voters++;
        if (!peer->linked && peer->member.node_id != view->node_id)
            append(down, sizeof down, "%snode %" PRIu64 " (site %s)", down[0] ? ", " : "",
                   peer->member.node_id, peer->member.site);
    }
    if (down[0] == '\0')
        add(report, SITE_FINE, "all %" PRIu32 " voters are up", voters);
    else
        add(report, force ? SITE_FORCED : SITE_IN_THE_WAY,
            "not all voters are up: %s; bring them back first%s", down,
            force ? "" : ", or repeat with --force if that is meant");
}

/* ---- the node that is to lead ---- */

/* Beyond what the way of the answer explains. */
static bool clock_is_off(const struct site_told *told)
{
    const int64_t bound = (int64_t)(SITE_CLOCK_MS_MAX * NS_PER_MS + told->clock_error_ns);
    return told->clock_offset_ns > bound || told->clock_offset_ns < -bound;
}

/* What keeps it from leading, in words; NULL: nothing does. */
static const char *refuse_candidate(const struct site_view *view, uint32_t place, char *text,
                                    size_t size)
{
    const struct consensus_peer *peer = &view->peers[place];
    const struct site_told *told = view->told[place];
    const uint64_t id = peer->member.node_id;
    const uint64_t lag =
        view->mark_index > peer->match_index ? view->mark_index - peer->match_index : 0;
    if (!peer->linked) {
        snprintf(text, size,
                 "node %" PRIu64 " is not connected to the leader: is it running, and "
                 "is the network between the sites whole?",
                 id);
    } else if (peer->heard_ns == 0 ||
               view->now_ns - peer->heard_ns > SITE_HEARD_MS_MAX * NS_PER_MS) {
        snprintf(text, size,
                 "node %" PRIu64 " has been silent for more than %d ms: look at its "
                 "machine and its disk",
                 id, SITE_HEARD_MS_MAX);
    } else if (lag > 0) {
        snprintf(text, size,
                 "node %" PRIu64 " lags: %" PRIu64 " entries behind what was committed "
                 "when it was asked; wait until it has caught up (tally member list)",
                 id, lag);
    } else if (told == NULL) {
        snprintf(text, size, "node %" PRIu64 " did not answer within %d ms: look at its status", id,
                 SITE_ASK_MS);
    } else if ((told->answer.flags & SITE_ANSWER_SERVES) == 0) {
        snprintf(text, size,
                 "node %" PRIu64 " does not serve (it starts, stops or changes over to "
                 "a copy): wait until its /readyz says so",
                 id);
    } else if ((told->answer.flags & SITE_ANSWER_READ_ONLY) != 0) {
        snprintf(text, size,
                 "node %" PRIu64 " is read-only for want of disk space: free some there "
                 "first",
                 id);
    } else if ((told->answer.flags & SITE_ANSWER_STUCK) != 0) {
        snprintf(text, size,
                 "node %" PRIu64 "'s disk does not finish a journal write: look at it "
                 "first",
                 id);
    } else if (clock_is_off(told)) {
        snprintf(text, size,
                 "node %" PRIu64 "'s clock is %" PRId64
                 " ms from the leader's, more than %d: repair its time synchronisation first",
                 id, told->clock_offset_ns / (int64_t)NS_PER_MS, SITE_CLOCK_MS_MAX);
    } else {
        return NULL;
    }
    return text;
}

static uint64_t check_target(const struct site_view *view, const char *site,
                             struct site_report *report)
{
    const struct consensus_peer *best = NULL;
    const struct site_told *told = NULL;
    char texts[MEMBERS_MAX][200];
    uint32_t refused = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        const struct consensus_peer *peer = &view->peers[i];
        if (!is_data_voter(peer) || !is_at(peer, site))
            continue;
        if (refuse_candidate(view, i, texts[refused], sizeof texts[refused]) != NULL)
            refused++;
        else if (best == NULL || peer->match_index > best->match_index)
            best = peer, told = view->told[i];
    }
    if (best != NULL)
        add(report, SITE_FINE,
            "node %" PRIu64 " at site %s can lead: connected, current, ready, its clock %" PRId64
            " ms from the leader's",
            best->member.node_id, site, told->clock_offset_ns / (int64_t)NS_PER_MS);
    for (uint32_t i = 0; i < refused; i++)
        add(report, best == NULL ? SITE_IN_THE_WAY : SITE_FINE, "%s%s", texts[i],
            best == NULL ? "" : " (another node of the site can lead)");
    return best != NULL ? best->member.node_id : 0;
}

uint64_t site_rules_current(const struct site_view *view, const char *site, char *out_missing,
                            size_t size)
{
    snprintf(out_missing, size, "no data node of site %s votes", site);
    for (uint32_t i = 0; i < view->count; i++) {
        const struct consensus_peer *peer = &view->peers[i];
        if (is_data_voter(peer) && is_at(peer, site) &&
            refuse_candidate(view, i, out_missing, size) == NULL)
            return peer->member.node_id;
    }
    return 0;
}

const char *site_rules_other_site(const struct site_view *view, const char *site)
{
    for (uint32_t i = 0; i < view->count; i++)
        if (is_data_voter(&view->peers[i]) && !is_at(&view->peers[i], site))
            return view->peers[i].member.site;
    return "";
}

/* ---- the rule about both sites ---- */

static void check_mode(const struct site_view *view, struct site_report *report)
{
    const struct durability_entry *newest = &view->durability.newest;
    if (view->durability.newest_index != view->durability.committed_index)
        add(report, SITE_IN_THE_WAY,
            "durability entry %" PRIu64 " (%s, by %s) is not committed yet: try again after it",
            newest->number, durability_kind_text(newest->kind), newest->who);
    else if (newest->mode == DURABILITY_DEGRADED)
        add(report, SITE_IN_THE_WAY,
            "the cluster is degraded since entry %" PRIu64 " (site %s, by %s: %.60s): bring the "
            "site back and wait for the return to SYNC (tally durability show)",
            newest->number, newest->site, newest->who, newest->why);
    else
        add(report, SITE_FINE, "mode SYNC");
}

/* A site that is to lead must not be drained. */
static void check_drained(const struct site_view *view, const char *site,
                          struct site_report *report)
{
    const struct durability_policy *policy = &view->durability.newest.policy;
    if (policy->drained_site[0] != '\0' && strcmp(policy->drained_site, site) == 0)
        add(report, SITE_IN_THE_WAY,
            "site %s is drained, its nodes neither lead nor serve: resume it first (tally site "
            "resume %s)",
            site, site);
    else if (policy->preferred_site[0] != '\0' && strcmp(policy->preferred_site, site) != 0)
        add(report, SITE_FINE,
            "site %s is preferred: leadership goes back there after about a minute unless the "
            "policy is changed as well",
            policy->preferred_site);
}

/* The site's degrade entry is written behind the entry that drains it: whatever would refuse it has
 * to be found before the first one. */
static void check_power_off(const struct site_view *view, const char *site,
                            struct site_report *report)
{
    const struct durability_entry *newest = &view->durability.newest;
    if (newest->mode == DURABILITY_SYNC && newest->policy.decision == DURABILITY_NEVER)
        add(report, SITE_IN_THE_WAY,
            "by policy \"never\" writes stop when site %s is stopped: commit another policy first "
            "(tally durability policy operator), or drain it without --power-off",
            site);
    else
        add(report, SITE_FINE,
            "afterwards site %s may be stopped; while it is, losing any other site stops the "
            "cluster",
            site);
}

/* A drain with --power-off is what an operator's degrade is. */
static bool would_stop_writes(const struct consensus_site *site,
                              const struct site_operation_request *request)
{
    return site->why_not[0] != '\0' && !request->power_off;
}

static void check_drain(const struct site_view *view, const struct site_operation_request *request,
                        const char *to_site, struct site_report *report)
{
    const struct consensus_durability *durability = &view->durability;
    const char *drained = durability->newest.policy.drained_site;
    const char *other = site_rules_other_site(view, request->site);
    if (!durability->in_force || other[0] == '\0')
        add(report, SITE_IN_THE_WAY,
            "there is no other site that could serve alone: it takes data nodes that vote at two "
            "sites, and a witness that votes (tally member list)");
    if (drained[0] != '\0' && strcmp(drained, request->site) != 0)
        add(report, SITE_IN_THE_WAY,
            "site %s is drained already, and somebody has to serve: resume it first (tally site "
            "resume %s)",
            drained, drained);
    if (to_site[0] == '\0' && strcmp(drained, request->site) != 0)
        add(report, SITE_FINE, "site %s leads", site_rules_site_of(view, view->node_id));
    for (uint32_t i = 0; i < durability->site_count; i++) {
        const struct consensus_site *site = &durability->sites[i];
        if (strcmp(site->name, request->site) != 0)
            continue;
        if (site->survives_loss && would_stop_writes(site, request))
            add(report, SITE_FINE, "if site %s is lost while it is drained: %s", site->name,
                site->why_not);
        else if (site->survives_loss)
            add(report, SITE_FINE, "the cluster goes on without site %s", site->name);
        else
            add(report, request->force ? SITE_FORCED : SITE_IN_THE_WAY,
                "the cluster would not go on without site %s: %s%s", site->name, site->why_not,
                request->force ? "" : "; mend that first, or repeat with --force if that is meant");
    }
    if (request->power_off)
        check_power_off(view, request->site, report);
}

/* What consensus would say to the entry: it judges, not we. */
static void check_entry(const struct site_view *view, const struct site_operation_request *request,
                        struct consensus *consensus, struct site_report *report)
{
    struct consensus_durability_change change = {
        .kind = request->kind == SITE_DEGRADE  ? DURABILITY_DEGRADE
                : request->kind == SITE_RETURN ? DURABILITY_RETURN
                                               : DURABILITY_POLICY,
        .number = request->has_number ? request->number : view->durability.newest.number,
        .policy = view->durability.newest.policy,
        .dry_run = true,
    };
    char text[CONSENSUS_DURABILITY_TEXT_SIZE] = "";
    uint64_t number = 0;
    snprintf(change.who, sizeof change.who, "%.*s", DURABILITY_WHO_SIZE_MAX, request->who);
    snprintf(change.why, sizeof change.why, "%s", request->why);
    if (request->kind == SITE_DEGRADE)
        memcpy(change.site, request->site, sizeof change.site);
    /* They were read before. */
    if (request->kind == SITE_POLICY)
        (void)policy_settings_apply(request->settings, &change.policy, text, sizeof text);
    if (consensus_durability_propose(consensus, &change, &number, text) == STATUS_OK)
        add(report, SITE_FINE, "it can be written as entry %" PRIu64, number);
    else
        add(report, SITE_IN_THE_WAY, "%s", text);
}

static void check_reason(const struct site_operation_request *request, struct site_report *report)
{
    if (request->why[0] == '\0')
        add(report, SITE_IN_THE_WAY, "a reason has to be given (--reason): it is kept in the log");
}

/* Missing nodes are no obstacle to a resume, but what it waits for. */
static void check_resume(const struct site_view *view, const struct site_operation_request *request,
                         struct site_report *report)
{
    char missing[256];
    const uint64_t node_id = site_rules_current(view, request->site, missing, sizeof missing);
    if (node_id != 0)
        add(report, SITE_FINE, "node %" PRIu64 " at site %s is current", node_id, request->site);
    else
        add(report, SITE_FINE, "to be waited for: %.180s", missing);
}

uint64_t site_rules_check(const struct site_view *view,
                          const struct site_operation_request *request, const char *to_site,
                          struct consensus *consensus, struct site_report *report)
{
    if (request->kind != SITE_SWITCHOVER)
        check_reason(request, report);
    switch (request->kind) {
    case SITE_SWITCHOVER:
    case SITE_DRAIN:
        if (request->kind == SITE_DRAIN)
            check_drain(view, request, to_site, report);
        check_mode(view, report);
        check_change(view, report);
        check_voters(view, request->force, report);
        if (to_site[0] == '\0')
            return 0;
        check_drained(view, to_site, report);
        return check_target(view, to_site, report);
    case SITE_RESUME:
        check_change(view, report);
        check_resume(view, request, report);
        return 0;
    case SITE_POLICY:
    case SITE_DEGRADE:
    case SITE_RETURN:
        check_entry(view, request, consensus, report);
        return 0;
    case SITE_OPERATION_KIND_COUNT:
        break;
    }
    invariant_values(false, request->kind, 0);
    return 0;
}

bool site_rules_pass(const struct site_report *report)
{
    for (uint32_t i = 0; i < report->check_count; i++)
        if (report->checks[i].verdict == SITE_IN_THE_WAY)
            return false;
    return true;
}

void site_rules_explain(const struct site_report *report, const char *what, struct node_error *out)
{
    (void)node_refuse(out, STATUS_INVALID, "%s: nothing was changed", what);
    for (uint32_t i = 0; i < report->check_count; i++)
        if (report->checks[i].verdict == SITE_IN_THE_WAY)
            append(out->text, sizeof out->text, "; %s", report->checks[i].text);
}
