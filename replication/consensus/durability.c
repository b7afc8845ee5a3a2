/*
 * The policy about the two sites; see durability.h.
 *
 * A false degrade costs the promise for a while, a late one costs clients a pause; so each reason
 * is one that a slow link does not give.
 *
 *  - Age. The oldest entry that the site has not verified is degrade_after_ms old. That covers what
 *    silence does not: a site that answers but whose disks are stuck, or whose nodes are all being
 *    caught up. A slow link passes: its entries are old by the round trip, not more.
 *  - Silence of every data node of the site for as long, so that an idle cluster finds out too.
 *  - Silence around an election. Who campaigns because its leader is gone has waited long enough:
 *    when nothing came from the other site between the start of the campaign and grace_ms after the
 *    election, while votes and barrier went there, nothing will. grace_ms is above the round trip;
 *    without it every election over a slow link would degrade.
 *
 * All of them are counted from the moment that this node was elected, or woke up from a pause of
 * its own (the process was stopped, the machine was moved): in a pause nobody can be heard.
 *
 * Back to SYNC. The site has to hold what was committed lag_ms ago. To compare with the newest
 * commit would starve under load: degraded, commits run ahead of the site by its round trip for
 * ever. It has to keep that pace for resync_dwell_ms, and be heard. A new leader knows what was
 * committed before it from the moment on at which an entry of its own is: what it inherited may be
 * less, and a site that has as much may lack what was acknowledged since.
 *
 * A link that flaps would make the mode flap with it, and each change is a risk and a message to
 * people. Each mode lasts dwell_min_ms; and of changes_per_hour_max the last one is always kept for
 * a degrade: a return that would leave none is not made, the cluster stays degraded and says so. So
 * the cap never takes availability away, and never is the mode SYNC with no change left to leave
 * it.
 */
#include "replication/consensus/durability.h"

#include "core/invariant.h"
#include "core/planted_fault.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS ((uint64_t)1000000)
#define HOUR_NS   (3600 * 1000 * NS_PER_MS)
/* Steps further apart than this were a pause of this process. */
#define PAUSE_NS (5 * DURABILITY_STEP_MS * NS_PER_MS)

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t since(uint64_t now_ns, uint64_t then_ns)
{
    return now_ns > then_ns ? now_ns - then_ns : 0;
}

/* ---- history ---- */

void durability_note_change(struct durability *durability, uint64_t ns)
{
    if (durability->change_count == DURABILITY_CHANGES_MAX) {
        durability->change_first = (durability->change_first + 1) % DURABILITY_CHANGES_MAX;
        durability->change_count--;
    }
    const uint32_t place =
        (durability->change_first + durability->change_count++) % DURABILITY_CHANGES_MAX;
    durability->changes_ns[place] = ns;
    durability->changed_ns = ns;
    durability->current_ns = 0;
}

uint32_t durability_changes_last_hour(const struct durability *durability, uint64_t now_ns)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < durability->change_count; i++) {
        const uint32_t place = (durability->change_first + i) % DURABILITY_CHANGES_MAX;
        count += since(now_ns, durability->changes_ns[place]) < HOUR_NS ? 1 : 0;
    }
    return count;
}

void durability_begin(struct durability *durability, uint64_t now_ns)
{
    durability->led_ns = durability->awake_ns = durability->stepped_ns = now_ns;
    durability->current_ns = 0;
    durability->sample_first = durability->sample_count = 0;
}

/* ---- what was committed when ---- */

static void sample(struct durability *durability, const struct durability_inputs *in)
{
    /* So that the ring reaches back over lag_ms. */
    const uint64_t step_ns = in->policy.lag_ms * NS_PER_MS / (DURABILITY_SAMPLES / 2);
    const uint32_t count = durability->sample_count;
    if (count > 0) {
        const uint32_t last = (durability->sample_first + count - 1) % DURABILITY_SAMPLES;
        if (since(in->now_ns, durability->samples[last].ns) < step_ns)
            return;
    }
    if (count == DURABILITY_SAMPLES) {
        durability->sample_first = (durability->sample_first + 1) % DURABILITY_SAMPLES;
        durability->sample_count--;
    }
    const uint32_t place =
        (durability->sample_first + durability->sample_count++) % DURABILITY_SAMPLES;
    durability->samples[place].ns = in->now_ns;
    durability->samples[place].index = in->commit_index;
}

/* The newest sample that is at least lag_ms old. False: none is, we have not been ready so long. */
static bool committed_then(const struct durability *durability, const struct durability_inputs *in,
                           uint64_t *out_index)
{
    for (uint32_t i = durability->sample_count; i > 0; i--) {
        const uint32_t place = (durability->sample_first + i - 1) % DURABILITY_SAMPLES;
        if (since(in->now_ns, durability->samples[place].ns) < in->policy.lag_ms * NS_PER_MS)
            continue;
        *out_index = durability->samples[place].index;
        return true;
    }
    return false;
}

/* ---- giving a site up ---- */

/* Why the site counts as lost, into `why`. */
static bool is_lost(const struct durability *durability, const struct durability_inputs *in,
                    const struct durability_site *site, char *why)
{
    const uint64_t begin = later(durability->awake_ns, in->elected_ns);
    const uint64_t patience = planted(PLANTED_SITE_GIVEN_UP_LATE) ? 20 : 1;
    const uint64_t after_ns = patience * in->policy.degrade_after_ms * NS_PER_MS;
    const uint64_t grace_ns = patience * in->policy.grace_ms * NS_PER_MS;
    const uint64_t silent_ns = since(in->now_ns, later(site->heard_ns, begin));
    if (site->heard_ns < in->campaign_ns && since(in->now_ns, begin) >= grace_ns) {
        snprintf(why, DURABILITY_WHY_SIZE,
                 "nothing was heard of site %s from the campaign of this leader until %" PRIu64
                 " ms after its election",
                 site->name, since(in->now_ns, in->elected_ns) / NS_PER_MS);
        return true;
    }
    if (silent_ns >= after_ns) {
        snprintf(why, DURABILITY_WHY_SIZE, "no data node of site %s was heard for %" PRIu64 " ms",
                 site->name, silent_ns / NS_PER_MS);
        return true;
    }
    if (site->unverified_ns == 0)
        return false;
    const uint64_t age_ns =
        since(in->now_ns,
              later(site->unverified_ns, planted(PLANTED_AGED_IN_PAUSE) ? in->elected_ns : begin));
    if (age_ns < after_ns)
        return false;
    snprintf(why, DURABILITY_WHY_SIZE,
             "entry %" PRIu64 " is not on the disk of a data node of site %s after %" PRIu64 " ms",
             site->verified + 1, site->name, age_ns / NS_PER_MS);
    return true;
}

static bool may_degrade(const struct durability_inputs *in)
{
    return in->policy.decision == DURABILITY_AUTO && in->committed_decision == DURABILITY_AUTO;
}

static bool dwells(const struct durability *durability, const struct durability_inputs *in)
{
    return durability->changed_ns != 0 &&
           since(in->now_ns, durability->changed_ns) < in->policy.dwell_min_ms * NS_PER_MS;
}

static void step_sync(const struct durability *durability, const struct durability_inputs *in,
                      struct durability_verdict *out)
{
    for (uint32_t i = 0; i < 2; i++) {
        /* A leader whose own disk is stuck hands over; its site is not lost to itself. */
        if (in->sites[i].own || !is_lost(durability, in, &in->sites[i], out->why))
            continue;
        out->site = i;
        out->wanted = !may_degrade(in) || dwells(durability, in);
        if (!out->wanted)
            out->action = DURABILITY_DEGRADE_NOW;
        return;
    }
}

/* ---- counting on it again ---- */

/* Every site keeps pace at this moment; otherwise `out->site` does not. */
static bool all_keep_pace(const struct durability *durability, const struct durability_inputs *in,
                          struct durability_verdict *out)
{
    uint64_t index;
    if (!committed_then(durability, in, &index))
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        const struct durability_site *site = &in->sites[i];
        const bool silent = !site->own && since(in->now_ns, site->heard_ns) >=
                                              in->policy.degrade_after_ms * NS_PER_MS;
        if (!silent && site->verified >= index)
            continue;
        out->site = i;
        return false;
    }
    return true;
}

static void step_degraded(struct durability *durability, const struct durability_inputs *in,
                          struct durability_verdict *out)
{
    if (!all_keep_pace(durability, in, out)) {
        durability->current_ns = 0;
        return;
    }
    if (durability->current_ns == 0)
        durability->current_ns = in->now_ns;
    const uint64_t kept_ns = since(in->now_ns, durability->current_ns);
    if (!may_degrade(in) || in->by_operator || !in->settled || dwells(durability, in) ||
        kept_ns < in->policy.resync_dwell_ms * NS_PER_MS)
        return;
    out->site = in->sites[0].own ? 1 : 0;
    const uint32_t changes = durability_changes_last_hour(durability, in->now_ns);
    if (changes + 2 > in->policy.changes_per_hour_max) {
        out->capped = true;
        snprintf(out->why, DURABILITY_WHY_SIZE,
                 "%" PRIu32 " changes within an hour: it stays degraded, although site %s keeps "
                 "pace",
                 changes, in->sites[out->site].name);
        return;
    }
    out->action = DURABILITY_RETURN_NOW;
    snprintf(out->why, DURABILITY_WHY_SIZE, "site %s has kept pace for %" PRIu64 " ms",
             in->sites[out->site].name, kept_ns / NS_PER_MS);
}

void durability_step(struct durability *durability, const struct durability_inputs *inputs,
                     struct durability_verdict *out)
{
    *out = (struct durability_verdict){.action = DURABILITY_STAY};
    invariant_values(inputs->now_ns >= durability->stepped_ns, inputs->now_ns,
                     durability->stepped_ns);
    if (inputs->now_ns - durability->stepped_ns > PAUSE_NS)
        durability->awake_ns = inputs->now_ns;
    durability->stepped_ns = inputs->now_ns;
    if (!inputs->in_force) {
        durability->current_ns = 0;
        return;
    }
    if (inputs->ready)
        sample(durability, inputs);
    if (inputs->degraded)
        step_degraded(durability, inputs, out);
    else
        step_sync(durability, inputs, out);
}

/* ---- bounds ---- */

static bool exceeds_value(const struct durability_policy *policy, const struct durability_run *run)
{
    return policy->degraded_value_max != 0 &&
           (run->value_high != 0 || run->value_low >= policy->degraded_value_max);
}

enum durability_bound durability_judge_run(const struct durability_policy *policy,
                                           const struct durability_run *run, char *out_why)
{
    out_why[0] = 0;
    if (!run->degraded)
        return DURABILITY_WITHIN;
    if (policy->degraded_seconds_max != 0 && run->seconds >= policy->degraded_seconds_max)
        snprintf(out_why, DURABILITY_WHY_SIZE,
                 "one site alone for %" PRIu64 " s, and the policy allows %" PRIu32, run->seconds,
                 policy->degraded_seconds_max);
    else if (exceeds_value(policy, run))
        snprintf(out_why, DURABILITY_WHY_SIZE,
                 "at one site alone more was committed in ledger %" PRIu32 " than the %" PRIu64
                 " minor units that the policy allows",
                 run->ledger, policy->degraded_value_max);
    else
        return DURABILITY_WITHIN;
    return policy->on_bound == DURABILITY_REFUSE ? DURABILITY_BOUND_REFUSES : DURABILITY_BOUND_TOLD;
}
