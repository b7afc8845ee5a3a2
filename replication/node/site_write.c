/*
 * What a site operation puts into the log: one durability entry after the other, each once the one
 * before is committed.
 *
 * There is no list of entries to write. Each look compares what the command wants with what the log
 * says now, its uncommitted end included, and writes the first thing that is missing; when nothing
 * is and all of it is committed, the command is done. So a command that was interrupted goes on
 * when it is given again, and one that is done already writes nothing.
 *
 * Compare and set: an entry is written against the number that was looked at in the same turn, or
 * against the one that the operator named. Somebody else's entry in between is refused (or, ours
 * being the older one, looked at anew).
 */
#include "replication/node/site_walk.h"

#include "core/invariant.h"
#include "replication/node/node_error.h"
#include "replication/node/policy_settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

/* Between two rounds of questions to a site that is awaited. */
#define ASK_AGAIN_MS 100

/* ---- what is missing ---- */

static void copy_site(char out[MEMBER_SITE_SIZE_MAX + 1], const char *site)
{
    memset(out, 0, MEMBER_SITE_SIZE_MAX + 1);
    memcpy(out, site, strlen(site));
}

static bool wants_policy(const struct durability_entry *newest,
                         struct consensus_durability_change *out)
{
    out->kind = DURABILITY_POLICY;
    return !policy_settings_same(&newest->policy, &out->policy);
}

/* Degraded without that very site is what is wanted; without another one it is refused, in words,
 * when it is tried. */
static bool wants_degrade(const struct durability_entry *newest, const char *site,
                          struct consensus_durability_change *out)
{
    out->kind = DURABILITY_DEGRADE;
    copy_site(out->site, site);
    return newest->mode != DURABILITY_DEGRADED || strcmp(newest->site, site) != 0;
}

static bool wants_return(const struct durability_entry *newest,
                         struct consensus_durability_change *out)
{
    out->kind = DURABILITY_RETURN;
    return newest->mode == DURABILITY_DEGRADED;
}

static bool is_drained(const struct durability_entry *newest, const char *site)
{
    return strcmp(newest->policy.drained_site, site) == 0;
}

enum status site_walk_next_entry(struct site_operation *operation, const struct site_view *view,
                                 struct consensus_durability_change *out, bool *out_wanted)
{
    const struct site_operation_request *request = &operation->request;
    const struct durability_entry *newest = &view->durability.newest;
    char reason[384];
    *out = (struct consensus_durability_change){.number = newest->number, .policy = newest->policy};
    if (request->has_number && operation->written == 0)
        out->number = request->number;
    snprintf(out->who, sizeof out->who, "%.*s", DURABILITY_WHO_SIZE_MAX, request->who);
    snprintf(out->why, sizeof out->why, "%s", request->why);
    switch (request->kind) {
    case SITE_DRAIN:
        copy_site(out->policy.drained_site, request->site);
        *out_wanted = wants_policy(newest, out) ||
                      (request->power_off && wants_degrade(newest, request->site, out));
        return STATUS_OK;
    case SITE_RESUME:
        /* Also a site that was lost and not drained: what counts is that it counts again. The
         * leader's own does. */
        if ((is_drained(newest, request->site) ||
             strcmp(site_rules_site_of(view, operation->node_id), request->site) != 0) &&
            wants_return(newest, out)) {
            *out_wanted = true;
            return STATUS_OK;
        }
        if (is_drained(newest, request->site))
            copy_site(out->policy.drained_site, "");
        *out_wanted = wants_policy(newest, out);
        return STATUS_OK;
    case SITE_POLICY:
        if (policy_settings_apply(request->settings, &out->policy, reason, sizeof reason) !=
            STATUS_OK)
            return node_refuse(&operation->error, STATUS_INVALID, "%s; nothing was changed",
                               reason);
        *out_wanted = wants_policy(newest, out);
        return STATUS_OK;
    case SITE_DEGRADE:
        *out_wanted = wants_degrade(newest, request->site, out);
        return STATUS_OK;
    case SITE_RETURN:
        *out_wanted = wants_return(newest, out);
        return STATUS_OK;
    case SITE_SWITCHOVER:
    case SITE_OPERATION_KIND_COUNT:
        break;
    }
    invariant_values(false, request->kind, 0);
    return STATUS_INVALID;
}

/* ---- writing ---- */

static void refuse_late(struct site_operation *operation, const struct site_view *view)
{
    const struct durability_entry *newest = &view->durability.newest;
    if (view->durability.newest_index != view->durability.committed_index)
        site_walk_give_up(
            operation, STATUS_UNAVAILABLE,
            "entry %" PRIu64 " (%s, by %s) is in the log and was not committed within "
            "%d s: see which members are missing (tally status); repeat the command, "
            "it goes on",
            newest->number, durability_kind_text(newest->kind), newest->who, SITE_WRITE_MS / 1000);
    else
        site_walk_give_up(operation, STATUS_UNAVAILABLE,
                          "%s; that did not pass within %d s: repeat the command, it goes on",
                          operation->waits_for, SITE_WRITE_MS / 1000);
}

static void note_entry(struct site_operation *operation,
                       const struct consensus_durability_change *change, uint64_t number)
{
    const char *drained = change->policy.drained_site;
    operation->written++;
    operation->report.number = number;
    if (change->kind == DURABILITY_POLICY)
        site_walk_note(operation, "entry %" PRIu64 " is in the log: policy %s, drained site: %s",
                       number, durability_decision_text(change->policy.decision),
                       drained[0] != '\0' ? drained : "none");
    else
        site_walk_note(operation, "entry %" PRIu64 " is in the log: %s%s", number,
                       change->kind == DURABILITY_DEGRADE ? "degrade, without site "
                                                          : "return, both sites",
                       change->kind == DURABILITY_DEGRADE ? change->site : "");
}

/* A site that came back lacks entries for a while: of a resume that is waited for. */
static bool may_pass(const struct site_operation *operation,
                     const struct consensus_durability_change *change, enum status status)
{
    return status == STATUS_BUSY || status == STATUS_NOT_READY ||
           (status == STATUS_INVALID && operation->request.kind == SITE_RESUME &&
            change->kind == DURABILITY_RETURN);
}

static void write_entry(struct site_operation *operation,
                        const struct consensus_durability_change *change)
{
    char text[CONSENSUS_DURABILITY_TEXT_SIZE] = "";
    uint64_t number = 0;
    enum status status = consensus_durability_propose(operation->consensus, change, &number, text);
    if (status == STATUS_OK) {
        operation->waits_for[0] = '\0';
        operation->state_ns = operation->now_ns; /* each entry has the bound to itself */
        note_entry(operation, change, number);
        return;
    }
    snprintf(operation->waits_for, sizeof operation->waits_for, "%s", text);
    if (may_pass(operation, change, status))
        return;
    site_walk_give_up(operation, STATUS_INVALID, "%s", text);
}

void site_walk_writing(struct site_operation *operation, const struct site_view *view)
{
    struct consensus_durability_change change;
    bool wanted = false;
    const bool settled = view->durability.newest_index == view->durability.committed_index;
    if (site_walk_next_entry(operation, view, &change, &wanted) != STATUS_OK) {
        site_walk_end(operation, STATUS_INVALID);
        return;
    }
    if (settled && !wanted) {
        const struct durability_entry *newest = &view->durability.newest;
        operation->report.done_before = operation->written == 0;
        if (operation->written == 0)
            site_walk_note(operation, "nothing to write: it is so already, since entry %" PRIu64,
                           newest->number);
        else
            site_walk_note(operation, "committed: mode %s, number %" PRIu64,
                           durability_mode_text(newest->mode), newest->number);
        site_walk_end(operation, STATUS_OK);
        return;
    }
    const bool waits_long = operation->request.kind == SITE_RESUME && settled;
    if (!waits_long && site_walk_in_state_ms(operation) >= SITE_WRITE_MS) {
        refuse_late(operation, view);
        return;
    }
    /* A degrade makes other things commit, so it waits for nothing. Not that of a drain: the policy
     * before it is to be committed by both sites. */
    if (wanted && (settled || operation->request.kind == SITE_DEGRADE))
        write_entry(operation, &change);
}

/* ---- waiting for a site that comes back ---- */

void site_walk_waiting(struct site_operation *operation, const struct site_view *view)
{
    const uint64_t node_id = site_rules_current(view, operation->request.site, operation->waits_for,
                                                sizeof operation->waits_for);
    if (node_id != 0) {
        site_walk_note(operation, "node %" PRIu64 " at site %s is current", node_id,
                       operation->request.site);
        operation->waits_for[0] = '\0';
        site_walk_move(operation, SITE_WRITING);
        return;
    }
    if (operation->now_ns - operation->asked_ns >= ASK_AGAIN_MS * NS_PER_MS)
        site_walk_ask(operation, view, 0);
}
