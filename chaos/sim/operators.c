/*
 * A change is asked of the leader's consensus directly, as the node does for an operator; also of a
 * leader that cannot serve, since under SYNC it may be the very change that lets it. Nothing is
 * retried but the restoring.
 *
 * What a leader degraded by itself it returns from by itself: only where it may not (another policy
 * was made, the cap on changes, somebody degraded by hand) the operator does.
 */
#include "chaos/sim/operators.h"

#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ASK_NS (400 * NS_PER_MS)

static struct host *leader_of(const struct operators *operators)
{
    for (uint32_t i = 0; i < operators->host_count; i++) {
        struct host *host = &operators->hosts[i];
        struct consensus_status status;
        if (host->node == NULL || host->node->consensus == NULL ||
            (host->node->phase != NODE_SERVING && host->node->phase != NODE_REPLAYING) ||
            host->busy_until_ns > operators->world->now_ns)
            continue;
        consensus_status(host->node->consensus, &status);
        if (status.leads)
            return host;
    }
    return NULL;
}

static enum status propose(struct operators *operators, struct host *leader,
                           struct consensus_durability_change *change)
{
    char text[CONSENSUS_DURABILITY_TEXT_SIZE] = "";
    uint64_t number = 0;
    snprintf(change->who, sizeof change->who, "operator");
    snprintf(change->why, sizeof change->why, "simulated");
    const enum status status =
        consensus_durability_propose(leader->node->consensus, change, &number, text);
    world_note(operators->world, "operator", leader->number, change->kind, status);
    host_left(leader);
    if (status == STATUS_OK) {
        operators->done_total++;
        if (change->kind == DURABILITY_POLICY && change->policy.decision == DURABILITY_NEVER)
            operators->asked_never = true;
        host_wake(leader);
    } else {
        operators->refused_total++;
        snprintf(operators->last_refusal, sizeof operators->last_refusal, "%.255s", text);
    }
    return status;
}

static void draw_policy(struct operators *operators, struct durability_policy *policy)
{
    static const char *const sites[] = {"", "A", "B"};
    static const uint32_t afters_ms[] = {300, 1000, 2500};
    static const uint32_t caps[] = {4, 12, 1000};
    policy->decision = (enum durability_decision)draw_below(&operators->draw, 3);
    policy->degrade_after_ms = afters_ms[draw_below(&operators->draw, 3)];
    policy->resync_dwell_ms = (uint32_t)draw_between(&operators->draw, 100, 4000);
    policy->dwell_min_ms = (uint32_t)draw_below(&operators->draw, 3000);
    policy->changes_per_hour_max = caps[draw_below(&operators->draw, 3)];
    snprintf(policy->preferred_site, sizeof policy->preferred_site, "%s",
             sites[draw_below(&operators->draw, 3)]);
    snprintf(policy->drained_site, sizeof policy->drained_site, "%s",
             draw_chance(&operators->draw, 1, 4) ? sites[draw_below(&operators->draw, 3)] : "");
}

/* Everybody follows this leader. Who makes it `never` while a disk is being lost has made a cluster
 * that only the offline recovery can save, by design: that is not what is looked for here. */
static bool all_follow(const struct operators *operators, const struct host *leader)
{
    struct consensus_status first, status;
    consensus_status(leader->node->consensus, &first);
    for (uint32_t i = 0; i < operators->host_count; i++) {
        const struct host *host = &operators->hosts[i];
        if (host->node == NULL || host->node->consensus == NULL)
            return false;
        consensus_status(host->node->consensus, &status);
        if (status.term != first.term || status.leader_id != first.leader_id)
            return false;
    }
    return true;
}

void operators_act(struct operators *operators)
{
    struct host *leader = leader_of(operators);
    const uint64_t die = draw_below(&operators->draw, 6);
    if (leader == NULL)
        return;
    struct consensus_durability now;
    consensus_durability(leader->node->consensus, &now);
    struct consensus_durability_change change = {.number = now.newest.number,
                                                 .policy = now.newest.policy};
    if (die < 2) {
        change.kind = DURABILITY_DEGRADE;
        snprintf(change.site, sizeof change.site, "%s",
                 draw_chance(&operators->draw, 1, 2) ? "A" : "B");
    } else if (die < 4) {
        change.kind = DURABILITY_RETURN;
    } else {
        change.kind = DURABILITY_POLICY;
        draw_policy(operators, &change.policy);
        if (change.policy.decision == DURABILITY_NEVER && !all_follow(operators, leader))
            return;
    }
    if (change.number > 0 && draw_chance(&operators->draw, 1, 8))
        change.number--;                       /* somebody else was faster */
    (void)propose(operators, leader, &change); /* refused or not, nobody insists */
}

/* A node that starts again knows what its store noted, and a `never` above that may be the policy,
 * also when another one was committed since: until a checkpoint holds that, it forbids. */
static bool has_forgotten_never(const struct operators *operators, const struct host *host,
                                const struct consensus_durability *now)
{
    struct checkpoint_stats stats;
    if (!operators->asked_never || host->node->store == NULL)
        return true;
    checkpoint_stats(host->node->store, &stats);
    return stats.durable_index >= now->newest_index;
}

bool operators_may_lose_disk(const struct operators *operators)
{
    bool known = false;
    for (uint32_t i = 0; i < operators->host_count; i++) {
        const struct host *host = &operators->hosts[i];
        struct consensus_durability now;
        if (host->node == NULL || host->node->consensus == NULL)
            continue;
        consensus_durability(host->node->consensus, &now);
        if (now.newest.policy.decision == DURABILITY_NEVER ||
            now.committed.policy.decision == DURABILITY_NEVER ||
            !has_forgotten_never(operators, host, &now))
            return false;
        known = true;
    }
    return known;
}

static bool is_default(const struct durability_policy *policy)
{
    struct durability_entry none;
    durability_entry_default(&none);
    return policy->decision == DURABILITY_AUTO && policy->drained_site[0] == 0 &&
           policy->degrade_after_ms == none.policy.degrade_after_ms;
}

/* Whether the cluster gets there without anybody's help. */
static bool returns_by_itself(const struct consensus_durability *now)
{
    return now->newest.automatic && now->newest.kind == DURABILITY_DEGRADE &&
           now->newest.policy.decision == DURABILITY_AUTO && !now->return_capped;
}

static void restore(void *context, uint64_t a, uint64_t b)
{
    (void)a, (void)b;
    struct operators *operators = context;
    world_post(operators->world, operators->world->now_ns + ASK_NS, restore, operators, 0, 0);
    struct host *leader = operators->restoring ? leader_of(operators) : NULL;
    if (leader == NULL)
        return;
    struct consensus_durability now;
    consensus_durability(leader->node->consensus, &now);
    struct consensus_durability_change change = {.number = now.newest.number};
    if (!now.in_force)
        return;
    const bool is_settled = now.newest_index == now.committed_index;
    /* A policy that was made when the site was lost may wait for it in the log: both count. */
    const bool asks_operator = now.newest.policy.decision == DURABILITY_OPERATOR ||
                               (now.committed.policy.decision == DURABILITY_OPERATOR &&
                                now.newest.policy.decision != DURABILITY_NEVER);
    if (now.newest.mode == DURABILITY_SYNC && now.degrade_wanted && asks_operator) {
        change.kind = DURABILITY_DEGRADE; /* it is ours to say so: nothing else can commit */
        snprintf(change.site, sizeof change.site, "%s", strcmp(leader->site, "A") == 0 ? "B" : "A");
    } else if (!is_settled) {
        return;
    } else if (now.newest.mode == DURABILITY_DEGRADED) {
        if (returns_by_itself(&now))
            return;
        change.kind = DURABILITY_RETURN;
    } else if (!is_default(&now.newest.policy)) {
        struct durability_entry none;
        durability_entry_default(&none);
        change.kind = DURABILITY_POLICY;
        change.policy = none.policy;
    } else {
        return;
    }
    if (propose(operators, leader, &change) == STATUS_OK)
        operators->restored_total++;
}

void operators_start(struct operators *operators)
{
    operators->draw = draw_stream(operators->world->seed, 9500);
    world_post(operators->world, operators->world->now_ns + ASK_NS, restore, operators, 0, 0);
}

void operators_restore(struct operators *operators)
{
    operators->restoring = true;
}

bool operators_is_idle(const struct operators *operators, char *why, size_t size)
{
    const struct host *leader = leader_of(operators);
    if (leader == NULL) {
        snprintf(why, size, "nobody leads");
        return false;
    }
    struct consensus_status status;
    struct consensus_durability now;
    consensus_status(leader->node->consensus, &status);
    consensus_durability(leader->node->consensus, &now);
    if (!status.site_rule)
        return true;
    if (now.newest.mode == DURABILITY_SYNC && is_default(&now.newest.policy) &&
        now.newest_index == now.committed_index)
        return true;
    snprintf(why, size,
             "mode %s (entry %" PRIu64 " at %" PRIu64 " by %s, committed %" PRIu64
             "), policy %s; %s; last refusal: %.200s",
             durability_mode_text(now.newest.mode), now.newest.number, now.newest_index,
             now.newest.who, now.committed_index,
             durability_decision_text(now.newest.policy.decision), now.held_up,
             operators->last_refusal);
    return false;
}
