/*
 * What operators ask for: to do without a site, to count on it again, another policy. Each is
 * checked here, at the leader, against the log as it is at this moment, and refused in words that
 * say what stands in the way.
 *
 * Compare and set: the number that the author looked at has to be the newest one, or somebody else
 * was faster, and who that was is told.
 *
 * Under `never` nobody degrades, operators included, and a change of that policy has to be
 * committed, by both sites, before it counts. A certificate that was given out under `never`
 * says that nothing acknowledged is missing at the other site; no later act may make that untrue.
 */
#include "replication/consensus/consensus_raft_internal.h"

#include "replication/guard/raft_layout.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Within this time of its last word a site counts as being there. */
#define HEARD_NS (1000 * NS_PER_MS)

__attribute__((format(printf, 3, 4))) static enum status refuse(char *out_text, enum status status,
                                                                const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(out_text, CONSENSUS_DURABILITY_TEXT_SIZE, format, arguments); /* cut is fine */
    va_end(arguments);
    return status;
}

static const struct durability_entry *newest(const struct consensus_raft *c)
{
    return &c->durability_log.newest.entry;
}

static bool is_settled(const struct consensus_raft *c)
{
    return c->durability_log.newest.index <= c->raft.commit_index;
}

static enum status refuse_unsettled(const struct consensus_raft *c, char *out_text)
{
    return refuse(out_text, STATUS_BUSY,
                  "durability entry %" PRIu64
                  " (%s, by %s) is not committed yet; try again after it",
                  newest(c)->number, durability_kind_text(newest(c)->kind), newest(c)->who);
}

/* ---- the kinds ---- */

static bool is_data_site(const struct consensus_raft *c, const char *name)
{
    const uint32_t site = consensus_site_find(c, name);
    return site < MEMBERS_MAX && c->sites.sites[site].data_voters > 0;
}

static enum status check_degrade(const struct consensus_raft *c,
                                 const struct consensus_durability_change *change, char *out_text)
{
    if (newest(c)->mode == DURABILITY_DEGRADED)
        return refuse(out_text, STATUS_INVALID,
                      "the cluster is degraded already: without site %s since entry %" PRIu64
                      ", by %s: %s",
                      newest(c)->site, newest(c)->number, newest(c)->who, newest(c)->why);
    if (!is_data_site(c, change->site))
        return refuse(out_text, STATUS_INVALID, "no data node of a site \"%s\" votes",
                      change->site);
    if (strcmp(change->site, c->options.self.site) == 0)
        return refuse(out_text, STATUS_INVALID,
                      "the leader is at site %s: move it to the other site first (tally site "
                      "switchover)",
                      change->site);
    if (consensus_durability_may_decide(c, DURABILITY_NEVER))
        return refuse(out_text, STATUS_INVALID,
                      "the policy is \"never\": nothing is acknowledged that is not at both sites. "
                      "Another policy has to be committed first, and for that both sites must be "
                      "up; a site that is lost for good is recovered from offline");
    return STATUS_OK;
}

static enum status check_return(const struct consensus_raft *c, char *out_text)
{
    if (newest(c)->mode != DURABILITY_DEGRADED)
        return refuse(out_text, STATUS_INVALID, "the cluster is not degraded");
    if (!is_settled(c))
        return refuse_unsettled(c, out_text);
    if (c->durability_drive.driver.current_ns != 0)
        return STATUS_OK;
    const uint64_t commit = c->raft.commit_index;
    for (uint32_t i = 0; i < c->sites.site_count; i++) {
        const uint64_t verified = consensus_site_verified(c, i);
        if (c->sites.sites[i].data_voters == 0 || verified >= commit)
            continue;
        return refuse(out_text, STATUS_INVALID,
                      "site %s lacks %" PRIu64
                      " entries: it has to have caught up, or writes would stop; see tally status",
                      c->sites.sites[i].name, commit - verified);
    }
    return refuse(out_text, STATUS_BUSY,
                  "it is not known yet whether both sites keep pace; try again in a second");
}

/* A policy is committed by both sites. Without one of them the entry would wait in the log, and
 * what it says would count already: `never` would forbid the very degrade that lets it commit. */
static enum status check_both_heard(const struct consensus_raft *c, char *out_text)
{
    const uint64_t now = consensus_now_ns(c);
    for (uint32_t i = 0; i < c->sites.site_count; i++) {
        const uint64_t heard = consensus_site_heard_ns(c, i);
        if (c->sites.sites[i].data_voters == 0 || (heard != 0 && heard + HEARD_NS > now))
            continue;
        return refuse(out_text, STATUS_INVALID,
                      "a policy is committed by both sites, and site %s is not heard: bring it "
                      "back, or degrade first",
                      c->sites.sites[i].name);
    }
    return STATUS_OK;
}

static enum status check_policy(const struct consensus_raft *c,
                                const struct consensus_durability_change *change, char *out_text)
{
    const char *reason = "";
    if (newest(c)->mode == DURABILITY_DEGRADED)
        return refuse(out_text, STATUS_INVALID,
                      "a policy changes at both sites only, and the cluster is degraded: without "
                      "site %s since entry %" PRIu64 ", by %s. Return first",
                      newest(c)->site, newest(c)->number, newest(c)->who);
    if (!is_settled(c))
        return refuse_unsettled(c, out_text);
    enum status status = check_both_heard(c, out_text);
    if (status != STATUS_OK)
        return status;
    if (durability_policy_check(&change->policy, &reason) != STATUS_OK)
        return refuse(out_text, STATUS_INVALID, "the policy is not valid: %s", reason);
    const char *sites[] = {change->policy.preferred_site, change->policy.drained_site};
    for (int i = 0; i < 2; i++) {
        if (sites[i][0] != 0 && !is_data_site(c, sites[i]))
            return refuse(out_text, STATUS_INVALID, "no data node of a site \"%s\" votes",
                          sites[i]);
    }
    return STATUS_OK;
}

/* The witness forgets what the lost site lacks, so that its disk lasts: from then on that site
 * needs a copy of the store, and if the site that works on is lost as well, that copy is gone, too.
 */
static enum status check_release(const struct consensus_raft *c,
                                 const struct consensus_durability_change *change, char *out_text)
{
    const struct durability_record *record = &c->durability_log.newest;
    if (newest(c)->mode != DURABILITY_DEGRADED || strcmp(record->lost_site, change->site) != 0)
        return refuse(out_text, STATUS_INVALID,
                      "site %s is not done without: the witness keeps for it what it lacks",
                      change->site);
    if (!is_settled(c))
        return refuse_unsettled(c, out_text);
    if (strcmp(newest(c)->released_site, change->site) == 0)
        return refuse(out_text, STATUS_INVALID, "site %s is released already", change->site);
    return STATUS_OK;
}

static enum status check_kind(const struct consensus_raft *c,
                              const struct consensus_durability_change *change, char *out_text)
{
    if (change->kind != DURABILITY_DEGRADE && !consensus_is_ready(c))
        return refuse(out_text, STATUS_BUSY,
                      "the leader was elected and has not committed anything yet; try again");
    switch (change->kind) {
    case DURABILITY_DEGRADE:
        return check_degrade(c, change, out_text);
    case DURABILITY_RETURN:
        return check_return(c, out_text);
    case DURABILITY_POLICY:
        return check_policy(c, change, out_text);
    case DURABILITY_RELEASE:
        return check_release(c, change, out_text);
    default:
        return refuse(out_text, STATUS_INVALID, "no such change");
    }
}

static enum status check(const struct consensus_raft *c,
                         const struct consensus_durability_change *change, char *out_text)
{
    if (!consensus_leads(c) || c->is_witness)
        return refuse(out_text, STATUS_NOT_READY, "this node does not lead: ask the leader");
    if (change->number != newest(c)->number)
        return refuse(out_text, STATUS_EXISTS,
                      "entry %" PRIu64 " is the newest, not %" PRIu64
                      ": somebody was faster (%s, by %s: %s); look again",
                      newest(c)->number, change->number, durability_kind_text(newest(c)->kind),
                      newest(c)->who, newest(c)->why);
    if (!c->sites.in_force)
        return refuse(out_text, STATUS_INVALID,
                      "the rule about two sites is not in force: it takes data nodes that vote at "
                      "two sites, and a witness that votes");
    return check_kind(c, change, out_text);
}

enum status consensus_durability_change(struct consensus_raft *c,
                                        const struct consensus_durability_change *change,
                                        uint64_t *out_number, char *out_text)
{
    out_text[0] = 0;
    enum status status = check(c, change, out_text);
    if (status != STATUS_OK)
        return status;
    if (change->dry_run) {
        *out_number = newest(c)->number + 1;
        return STATUS_OK;
    }
    struct durability_entry entry = {
        .kind = change->kind,
        .policy = change->kind == DURABILITY_POLICY ? change->policy : newest(c)->policy,
        /* Who degraded is still who decides about the return, also after a restart that finds this
         * entry as the newest. */
        .automatic = change->kind == DURABILITY_RELEASE && !c->durability_log.newest.by_operator,
    };
    /* Whom a return is about was said when the site was given up. */
    const char *site =
        change->kind == DURABILITY_RETURN ? c->durability_log.newest.lost_site : change->site;
    memcpy(entry.site, site, sizeof entry.site);
    if (change->kind == DURABILITY_RELEASE)
        memcpy(entry.released_site, site, sizeof entry.released_site);
    memcpy(entry.who, change->who, sizeof entry.who);
    memcpy(entry.why, change->why, sizeof entry.why);
    status = consensus_durability_append(c, &entry);
    switch (status) {
    case STATUS_OK:
        *out_number = entry.number;
        return STATUS_OK;
    case STATUS_INVALID:
        return refuse(out_text, status,
                      "who and why have to be given, in at most %d and %d bytes of UTF-8",
                      DURABILITY_WHO_SIZE_MAX, DURABILITY_WHY_SIZE_MAX);
    case STATUS_NOT_READY:
        return refuse(out_text, status, "the leader was elected just now; try again");
    case STATUS_READ_ONLY:
        return refuse(out_text, STATUS_BUSY, "there is no room in the leader's journal");
    default:
        return refuse(out_text, STATUS_BUSY,
                      "leadership is handed over, or the leader's disk does not answer; try again");
    }
}
