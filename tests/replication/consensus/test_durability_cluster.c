/*
 * The durability rule's driver in clusters of consensus on virtual time (consensus_cluster.h):
 * sites that are lost and come back, what operators ask for, where the leader goes.
 *
 * Places: 0 and 2 are data nodes of site A, 1 and 3 of site B, the last one is the witness.
 */
#include "consensus_cluster.h"

#include "replication/agreed.h"

#include <criterion/criterion.h>
#include <string.h>

static struct cluster *started(uint32_t count)
{
    struct cluster *cluster = cluster_started(count);
    (void)cluster_leader(cluster);
    cluster_commit(cluster, 100);
    return cluster;
}

static struct consensus_durability look(struct cluster *cluster, uint32_t place)
{
    struct consensus_durability view;
    consensus_durability(cluster->nodes[place].consensus, &view);
    return view;
}

/* Everybody of the site of `place`. */
static void lose_site(struct cluster *cluster, uint32_t place, bool lost)
{
    for (uint32_t i = place % 2; i + 1 < cluster->count; i += 2)
        cluster_isolate(cluster, i, lost);
}

/* Waits until the leader, which is not at the site of `not_at`, has an entry of `kind` committed;
 * returns how long that took. */
#define NOWHERE UINT32_MAX /* as not_at: anywhere will do */
struct wish {
    uint32_t not_at, place;
    enum durability_kind kind;
    uint64_t above;
};
static bool is_committed(struct cluster *cluster, void *context)
{
    struct wish *wish = context;
    for (uint32_t i = 0; i + 1 < cluster->count; i++) {
        if (!cluster->nodes[i].alive || (wish->not_at != NOWHERE && i % 2 == wish->not_at % 2) ||
            !cluster_status(cluster, i).leads)
            continue;
        struct consensus_durability view = look(cluster, i);
        wish->place = i;
        if (view.committed.kind == wish->kind && view.committed.number > wish->above)
            return true;
    }
    return false;
}
static uint64_t wait_for(struct cluster *cluster, enum durability_kind kind, uint64_t above,
                         uint32_t not_at, uint64_t ms)
{
    struct wish wish = {.kind = kind, .above = above, .not_at = not_at};
    const uint64_t began = cluster->now_ns;
    cr_assert(cluster_run_until(cluster, ms, is_committed, &wish), "no %s within %lu ms",
              durability_kind_text(kind), ms);
    return (cluster->now_ns - began) / CLUSTER_MS;
}

/* The site without the leader is lost: after degrade_after_ms a majority is enough, and the log
 * says whose decision that was. When it comes back it is counted on again. */
static void follower_site_is_lost(uint32_t count)
{
    struct cluster *cluster = started(count);
    const uint32_t leader = cluster_leader(cluster), other = leader % 2 + 1;
    cr_assert(look(cluster, leader).in_force);
    cluster_run(cluster, 1000);
    lose_site(cluster, other, true);
    uint64_t ms = wait_for(cluster, DURABILITY_DEGRADE, 0, other, 3000);
    cr_assert(ms >= 900 && ms <= 1100, "degraded after %lu ms", ms);
    struct consensus_durability view = look(cluster, cluster_leader(cluster));
    cr_assert_eq(view.newest.mode, DURABILITY_DEGRADED);
    cr_assert_eq(view.newest.number, 1);
    cr_assert(view.newest.automatic);
    cr_assert_str_eq(view.newest.site, other % 2 == 1 ? "B" : "A");
    cr_assert_neq(strlen(view.newest.why), 0);
    uint64_t index = 0;
    cr_assert_eq(cluster_propose(cluster, cluster_leader(cluster), 100, &index), STATUS_OK);
    cluster_run(cluster, 500);
    cr_assert_geq(cluster_status(cluster, cluster_leader(cluster)).commit_index, index);
    lose_site(cluster, other, false);
    ms = wait_for(cluster, DURABILITY_RETURN, 1, NOWHERE, 30000);
    cr_assert_geq(ms, view.newest.policy.resync_dwell_ms);
    cluster_commit(cluster, 100);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(look(cluster, i).newest.mode, DURABILITY_SYNC);
        cr_assert_eq(look(cluster, i).committed.number, 2);
    }
    cluster_destroy(cluster);
}
Test(durability_cluster, the_loss_of_the_followers_site_degrades_and_its_return_returns)
{
    follower_site_is_lost(3);
    follower_site_is_lost(5);
}

/* The leader goes down with its site: who is elected at the other one degrades a grace after its
 * election, before its barrier is committed. */
static void leader_site_is_lost(uint32_t count)
{
    struct cluster *cluster = started(count);
    const uint32_t leader = cluster_leader(cluster);
    cluster_run(cluster, 1000);
    lose_site(cluster, leader, true);
    uint64_t ms = wait_for(cluster, DURABILITY_DEGRADE, 0, leader, 3000);
    cr_assert_leq(ms, 700, "degraded after %lu ms", ms);
    lose_site(cluster, leader, false);
    wait_for(cluster, DURABILITY_RETURN, 1, NOWHERE, 30000);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}
Test(durability_cluster, the_loss_of_the_leaders_site_is_answered_by_the_other_one)
{
    leader_site_is_lost(3);
    leader_site_is_lost(5);
}

/* A node is away while its site is given up and, by its mate, counted on again. What it takes at
 * once when it is back are two changes, and it may lead next: both count for the cap. */
Test(durability_cluster, changes_that_were_slept_through_count)
{
    struct cluster *cluster = started(5);
    const uint32_t leader = cluster_leader(cluster), mate = leader % 2 == 0 ? 1 : 0,
                   away = mate + 2;
    cluster_run(cluster, 1000);
    lose_site(cluster, mate, true);
    uint64_t index; /* what is probed with is none of the changes */
    for (int i = 0; i < 4; i++)
        cr_assert_eq(cluster_propose(cluster, leader, 100, &index), STATUS_OK);
    wait_for(cluster, DURABILITY_DEGRADE, 0, mate, 3000);
    cluster_isolate(cluster, mate, false);
    wait_for(cluster, DURABILITY_RETURN, 1, NOWHERE, 30000);
    cr_assert_eq(look(cluster, mate).changes_last_hour, 2);
    cr_assert_eq(look(cluster, away).changes_last_hour, 0);
    cr_assert_eq(look(cluster, away).newest.number, 0, "it was away");
    cluster_isolate(cluster, away, false);
    cluster_run(cluster, 3000);
    cr_assert_eq(look(cluster, away).newest.number, 2);
    cr_assert_eq(look(cluster, away).changes_last_hour, 2);
    cluster_destroy(cluster);
}

/* A node has an entry that nobody else has, and was told by a copy what is committed: a durability
 * entry beyond the end of its own log. Its entry is cut off, and what it was told stays. */
Test(durability_cluster, what_a_copy_says_is_committed_may_lie_beyond_the_own_log)
{
    struct cluster *cluster = started(3);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    cluster_isolate(cluster, leader, true);
    cr_assert_eq(cluster_propose(cluster, leader, 100, NULL), STATUS_OK);
    cluster_run(cluster, 10);
    cluster_crash(cluster, leader);
    wait_for(cluster, DURABILITY_DEGRADE, 0, leader, 5000);
    cluster_commit(cluster, 100);
    cluster_flush(cluster, other);
    struct cluster_node *from = &cluster->nodes[other], *to = &cluster->nodes[leader];
    memcpy(to->configuration, from->configuration, from->configuration_size);
    to->configuration_size = from->configuration_size;
    cluster_isolate(cluster, leader, false);
    cluster_start(cluster, leader);
    struct journal_position before;
    journal_position(to->journal, &before);
    struct agreed agreed;
    cr_assert_eq(agreed_decode(to->configuration, to->configuration_size, &agreed), STATUS_OK);
    cr_assert_gt(agreed.durability_index, before.last_index);
    cr_assert_eq(look(cluster, leader).committed.number, 1);
    cluster_commit(cluster, 100);
    cr_assert_geq(look(cluster, leader).committed.number, 1);
    cr_assert_geq(look(cluster, leader).newest.number, 1);
    wait_for(cluster, DURABILITY_RETURN, 1, NOWHERE, 30000);
    cluster_commit(cluster, 100);
    cr_assert_eq(look(cluster, leader).newest.number, 2);
    cluster_destroy(cluster);
}

/* Nothing has to be decided without the witness: both sites have everything. */
Test(durability_cluster, the_loss_of_the_witness_changes_nothing)
{
    struct cluster *cluster = started(5);
    cluster_isolate(cluster, 4, true);
    cluster_run(cluster, 10000);
    const uint32_t leader = cluster_leader(cluster);
    cr_assert_eq(look(cluster, leader).newest.number, 0);
    uint64_t index;
    cr_assert_eq(cluster_propose(cluster, leader, 100, &index), STATUS_OK);
    cluster_run(cluster, 200);
    cr_assert_geq(cluster_status(cluster, leader).commit_index, index);
    cluster_destroy(cluster);
}

/* Sites 300 ms of round trip apart, with a grace that knows of it: no change in a minute of work
 * and of elections. */
Test(durability_cluster, a_slow_link_alone_does_not_degrade)
{
    struct cluster *cluster = started(3);
    cluster->delay_ns = 30 * CLUSTER_MS;
    for (int i = 0; i < 300; i++) {
        (void)cluster_propose(cluster, cluster_leader(cluster), 100, NULL);
        cluster_run(cluster, 100);
    }
    const uint32_t leader = cluster_leader(cluster);
    cr_assert_eq(look(cluster, leader).newest.number, 0, "%s", look(cluster, leader).newest.why);
    cr_assert_eq(consensus_transfer(cluster->nodes[leader].consensus, 0), STATUS_OK);
    cluster_run(cluster, 3000);
    cr_assert_eq(look(cluster, cluster_leader(cluster)).newest.number, 0);
    cluster_destroy(cluster);
}

/* ---- operators ---- */

static struct consensus_durability_change wish(enum durability_kind kind, uint64_t number)
{
    struct consensus_durability_change change = {
        .kind = kind, .number = number, .who = "urn:operator:ada", .why = "drill"};
    return change;
}

static enum status ask(struct cluster *cluster, uint32_t place,
                       const struct consensus_durability_change *change, const char *expected)
{
    uint64_t number = 0;
    char text[CONSENSUS_DURABILITY_TEXT_SIZE];
    enum status status =
        consensus_durability_propose(cluster->nodes[place].consensus, change, &number, text);
    if (status == STATUS_OK)
        cr_assert_eq(number, change->number + 1);
    else
        cr_assert(strstr(text, expected) != NULL, "said \"%s\", not \"%s\"", text, expected);
    return status;
}

static void set_decision(struct cluster *cluster, enum durability_decision decision)
{
    const uint32_t leader = cluster_leader(cluster);
    struct consensus_durability view = look(cluster, leader);
    struct consensus_durability_change change = wish(DURABILITY_POLICY, view.newest.number);
    change.policy = view.newest.policy;
    change.policy.decision = decision;
    cr_assert_eq(ask(cluster, leader, &change, ""), STATUS_OK);
    wait_for(cluster, DURABILITY_POLICY, view.newest.number, NOWHERE, 5000);
}

/* Under `operator` a lost site stops the cluster until somebody says to go on; nothing returns by
 * itself after that. */
Test(durability_cluster, under_policy_operator_a_person_decides)
{
    struct cluster *cluster = started(3);
    set_decision(cluster, DURABILITY_OPERATOR);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    lose_site(cluster, other, true);
    cluster_run(cluster, 5000);
    struct consensus_durability view = look(cluster, leader);
    cr_assert_eq(view.newest.mode, DURABILITY_SYNC);
    cr_assert(view.degrade_wanted);
    cr_assert_neq(strlen(view.held_up), 0);

    struct consensus_durability_change change = wish(DURABILITY_DEGRADE, 0);
    strcpy(change.site, other == 1 ? "B" : "A");
    cr_assert_eq(ask(cluster, leader, &change, "entry 1 is the newest"), STATUS_EXISTS);
    change.number = 1;
    cr_assert_eq(ask(cluster, other, &change, "ask the leader"), STATUS_NOT_READY);
    strcpy(change.site, leader == 1 ? "B" : "A");
    cr_assert_eq(ask(cluster, leader, &change, "switchover"), STATUS_INVALID);
    strcpy(change.site, "C");
    cr_assert_eq(ask(cluster, leader, &change, "\"C\""), STATUS_INVALID);
    strcpy(change.site, other == 1 ? "B" : "A");
    change.who[0] = 0;
    cr_assert_eq(ask(cluster, leader, &change, "who and why"), STATUS_INVALID);
    strcpy(change.who, "urn:operator:ada");
    cr_assert_eq(ask(cluster, leader, &change, ""), STATUS_OK);
    wait_for(cluster, DURABILITY_DEGRADE, 1, other, 2000);
    cr_assert_str_eq(look(cluster, leader).committed.who, "urn:operator:ada");
    change.number = 2;
    cr_assert_eq(ask(cluster, leader, &change, "degraded already"), STATUS_INVALID);
    change = wish(DURABILITY_RETURN, 2);
    cr_assert_neq(ask(cluster, leader, &change, ""), STATUS_OK, "the site is away");

    struct consensus_durability_change release = wish(DURABILITY_RELEASE, 2);
    strcpy(release.site, leader == 1 ? "B" : "A");
    cr_assert_eq(ask(cluster, leader, &release, "is not done without"), STATUS_INVALID);

    lose_site(cluster, other, false);
    cluster_run(cluster, 20000);
    cr_assert_eq(look(cluster, leader).newest.number, 2, "not by itself");
    cr_assert_eq(ask(cluster, leader, &change, ""), STATUS_OK);
    wait_for(cluster, DURABILITY_RETURN, 2, NOWHERE, 5000);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}

/* A site that lacks too much is released. That the degrade before it was a person's is still known,
 * also where a start finds the release as the newest entry: nothing returns by itself. */
Test(durability_cluster, a_release_does_not_hide_who_degraded)
{
    struct cluster *cluster = started(3);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    lose_site(cluster, other, true);
    struct consensus_durability_change change = wish(DURABILITY_DEGRADE, 0);
    strcpy(change.site, other == 1 ? "B" : "A");
    cr_assert_eq(ask(cluster, leader, &change, ""), STATUS_OK);
    wait_for(cluster, DURABILITY_DEGRADE, 0, other, 2000);
    struct consensus_durability_change release = wish(DURABILITY_RELEASE, 1);
    strcpy(release.site, change.site);
    cr_assert_eq(ask(cluster, leader, &release, ""), STATUS_OK);
    wait_for(cluster, DURABILITY_RELEASE, 1, other, 2000);
    uint64_t index = 0;
    cr_assert_eq(cluster_propose(cluster, leader, 100, &index), STATUS_OK);
    cluster_run(cluster, 500);
    cluster_flush(cluster, leader);
    cluster_flush(cluster, 2);
    cluster_crash(cluster, leader);
    cluster_crash(cluster, 2);
    cluster_start(cluster, leader);
    cluster_start(cluster, 2);
    cr_assert_eq(look(cluster, cluster_leader(cluster)).newest.kind, DURABILITY_RELEASE);
    lose_site(cluster, other, false);
    cluster_run(cluster, 20000);
    cr_assert_eq(look(cluster, cluster_leader(cluster)).newest.number, 2, "not by itself");
    cluster_destroy(cluster);
}

/* Under `never` nobody degrades. Another policy has to be committed first: not while the site that
 * it takes is away. */
Test(durability_cluster, under_policy_never_nobody_degrades)
{
    struct cluster *cluster = started(3);
    set_decision(cluster, DURABILITY_NEVER);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    lose_site(cluster, other, true);
    cluster_run(cluster, 3000);
    struct consensus_durability_change change = wish(DURABILITY_DEGRADE, 1);
    strcpy(change.site, other == 1 ? "B" : "A");
    cr_assert_eq(ask(cluster, leader, &change, "never"), STATUS_INVALID);
    cr_assert_eq(look(cluster, leader).newest.mode, DURABILITY_SYNC);
    cr_assert(look(cluster, leader).degrade_wanted);
    lose_site(cluster, other, false);
    cluster_run(cluster, 2000);
    cluster_commit(cluster, 100);
    /* Nor does somebody take the site away. */
    const uint32_t now = cluster_leader(cluster);
    const struct consensus_change removal = {.kind = CONSENSUS_REMOVE,
                                             .member = {.node_id = 2 - now}};
    cr_assert_eq(consensus_change(cluster->nodes[now].consensus, &removal, NULL, NULL),
                 STATUS_INVALID);
    cluster_destroy(cluster);
}

/* `never` is agreed, and the leader appends another policy, which only the other site gets. All of
 * them start again, but for that leader: the one that leads then knows neither of `never` that it
 * is committed, nor of the other policy that it is not. A certificate says that nobody degrades. */
Test(durability_cluster, a_policy_that_may_be_committed_forbids_what_it_forbids)
{
    struct cluster *cluster = started(3);
    set_decision(cluster, DURABILITY_NEVER);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    cluster_run(cluster, 200);
    struct consensus_durability_change change = wish(DURABILITY_POLICY, 1);
    change.policy = look(cluster, leader).newest.policy;
    change.policy.decision = DURABILITY_AUTO;
    cluster_cut(cluster, other, leader, true);
    cluster_cut(cluster, 2, leader, true);
    cr_assert_eq(ask(cluster, leader, &change, ""), STATUS_OK);
    cluster_run(cluster, 20);
    cr_assert_eq(look(cluster, leader).committed.number, 1, "not committed");
    cr_assert_eq(look(cluster, other).newest.number, 2, "arrived");
    for (uint32_t i = 0; i < 3; i++)
        cluster_crash(cluster, i);
    cluster_start(cluster, other);
    cluster_start(cluster, 2);
    cluster_run(cluster, 5000);
    const struct consensus_durability view = look(cluster, other);
    cr_assert(cluster_status(cluster, other).leads);
    cr_assert_eq(view.newest.number, 2);
    cr_assert_eq(view.newest.mode, DURABILITY_SYNC);
    cr_assert(view.degrade_wanted);
    struct consensus_durability_change degrade = wish(DURABILITY_DEGRADE, 2);
    strcpy(degrade.site, leader == 1 ? "B" : "A");
    cr_assert_eq(ask(cluster, other, &degrade, "never"), STATUS_INVALID);
    /* With both sites it is committed, and counts. */
    cluster_cut(cluster, other, leader, false);
    cluster_cut(cluster, 2, leader, false);
    cluster_start(cluster, leader);
    cluster_commit(cluster, 100);
    lose_site(cluster, cluster_leader(cluster) + 1, true);
    wait_for(cluster, DURABILITY_DEGRADE, 2, NOWHERE, 5000);
    cluster_destroy(cluster);
}

/* A policy changes at both sites, so not while the cluster is degraded. */
Test(durability_cluster, no_policy_changes_while_degraded)
{
    struct cluster *cluster = started(3);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    struct consensus_durability_change change = wish(DURABILITY_POLICY, 0);
    change.policy = look(cluster, leader).newest.policy;
    strcpy(change.policy.preferred_site, "X");
    cr_assert_eq(ask(cluster, leader, &change, "\"X\""), STATUS_INVALID);
    change.policy.preferred_site[0] = 0;
    change.policy.lag_ms = 0;
    cr_assert_eq(ask(cluster, leader, &change, "not valid"), STATUS_INVALID);
    change.policy.lag_ms = 300;
    lose_site(cluster, other, true);
    wait_for(cluster, DURABILITY_DEGRADE, 0, other, 3000);
    change.number = 1;
    cr_assert_eq(ask(cluster, cluster_leader(cluster), &change, "degraded"), STATUS_INVALID);
    cluster_destroy(cluster);
}

/* A policy is in the log, and the other site is lost before it has it: the degrade that lets it
 * commit says what mode it is, and nothing else. */
Test(durability_cluster, a_degrade_keeps_the_policy_that_is_not_committed_yet)
{
    struct cluster *cluster = started(3);
    cluster_run(cluster, 500);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    struct consensus_durability_change change = wish(DURABILITY_POLICY, 0);
    change.policy = look(cluster, leader).newest.policy;
    change.policy.lag_ms += 100;
    strcpy(change.policy.preferred_site, leader == 1 ? "B" : "A");
    lose_site(cluster, other, true);
    cr_assert_eq(ask(cluster, leader, &change, ""), STATUS_OK);
    cr_assert_eq(look(cluster, leader).committed.number, 0, "not committed");
    wait_for(cluster, DURABILITY_DEGRADE, 1, other, 3000);
    const struct consensus_durability view = look(cluster, leader);
    cr_assert_eq(view.committed.number, 2);
    cr_assert(view.committed.automatic);
    cr_assert_eq(view.committed.policy.lag_ms, change.policy.lag_ms);
    cr_assert_str_eq(view.committed.policy.preferred_site, change.policy.preferred_site);
    lose_site(cluster, other, false);
    wait_for(cluster, DURABILITY_RETURN, 2, NOWHERE, 30000);
    cr_assert_eq(look(cluster, cluster_leader(cluster)).committed.policy.lag_ms,
                 change.policy.lag_ms);
    cluster_destroy(cluster);
}

/* ---- what is told ---- */

/* Entries of consensus itself are stamped later than whatever is in the log. */
Test(durability_cluster, durability_entries_are_stamped_in_the_order_of_the_log)
{
    struct cluster *cluster = started(3);
    uint64_t before = consensus_stamp(cluster->nodes[cluster_leader(cluster)].consensus);
    for (int i = 0; i < 3; i++) {
        set_decision(cluster, i % 2 == 0 ? DURABILITY_OPERATOR : DURABILITY_AUTO);
        const uint32_t leader = cluster_leader(cluster);
        struct consensus_durability view = look(cluster, leader);
        cr_assert_gt(view.committed.stamp, before);
        before = consensus_stamp(cluster->nodes[leader].consensus);
        cr_assert_eq(before, view.committed.stamp);
        /* The wall clock falls back: time goes on by one. */
        for (uint32_t k = 0; k < 3; k++)
            cluster->nodes[k].wall_offset_ns -= 3600ll * 1000 * 1000000;
    }
    cluster_destroy(cluster);
}

/* A restarted node knows what is in force from its journal. */
Test(durability_cluster, a_restart_remembers_policy_and_mode)
{
    struct cluster *cluster = started(3);
    set_decision(cluster, DURABILITY_OPERATOR);
    cluster_commit(cluster, 100);
    for (uint32_t i = 0; i < 3; i++)
        cluster_crash(cluster, i);
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    const uint32_t leader = cluster_leader(cluster);
    struct consensus_durability view = look(cluster, leader);
    cr_assert_eq(view.newest.number, 1);
    cr_assert_eq(view.committed.policy.decision, DURABILITY_OPERATOR);
    cluster_destroy(cluster);
}

/* Which site may be lost: with all there each; without the witness none; degraded not the one that
 * works on. What both sites have is known at followers, too. */
Test(durability_cluster, what_may_be_lost_is_known_at_every_moment)
{
    struct cluster *cluster = started(5);
    const uint64_t index = cluster_commit(cluster, 100);
    cluster_run(cluster, 1000);
    for (uint32_t i = 0; i < 5; i++) {
        struct consensus_durability view = look(cluster, i);
        cr_assert_eq(view.site_count, 3);
        cr_assert_geq(view.both_index, index, "at %u", i);
        for (uint32_t k = 0; k < 3; k++)
            cr_assert(view.sites[k].survives_loss, "%s", view.sites[k].why_not);
    }
    cluster_isolate(cluster, 4, true);
    cluster_run(cluster, 2000);
    const uint32_t leader = cluster_leader(cluster);
    struct consensus_durability view = look(cluster, leader);
    for (uint32_t k = 0; k < 3; k++) {
        cr_assert_eq(view.sites[k].survives_loss, !view.sites[k].has_data);
        if (view.sites[k].has_data)
            cr_assert(strstr(view.sites[k].why_not, "node 5 at W") != NULL, "%s",
                      view.sites[k].why_not);
    }
    cluster_isolate(cluster, 4, false);
    cluster_run(cluster, 2000);
    const uint32_t other = leader % 2 + 1;
    lose_site(cluster, other, true);
    wait_for(cluster, DURABILITY_DEGRADE, 0, other, 3000);
    cluster_run(cluster, 2000);
    view = look(cluster, cluster_leader(cluster));
    for (uint32_t k = 0; k < 3; k++) {
        const bool is_other = view.sites[k].name[0] == (other % 2 == 1 ? 'B' : 'A');
        cr_assert_eq(view.sites[k].survives_loss, is_other, "%s: %s", view.sites[k].name,
                     view.sites[k].why_not);
    }
    cluster_destroy(cluster);
}

/* ---- where the leader is ---- */

static void set_sites(struct cluster *cluster, const char *preferred, const char *drained)
{
    const uint32_t leader = cluster_leader(cluster);
    struct consensus_durability view = look(cluster, leader);
    struct consensus_durability_change change = wish(DURABILITY_POLICY, view.newest.number);
    change.policy = view.newest.policy;
    strcpy(change.policy.preferred_site, preferred);
    strcpy(change.policy.drained_site, drained);
    cr_assert_eq(ask(cluster, leader, &change, ""), STATUS_OK);
    wait_for(cluster, DURABILITY_POLICY, view.newest.number, NOWHERE, 5000);
}

/* The leader goes to the preferred site once, after the cooldown, and stays. */
Test(durability_cluster, the_leader_goes_to_the_preferred_site)
{
    struct cluster *cluster = started(5);
    const uint32_t leader = cluster_leader(cluster);
    set_sites(cluster, leader % 2 == 0 ? "B" : "A", "");
    cluster_run(cluster, 30000);
    cr_assert_eq(cluster_leader(cluster), leader, "not before the cooldown");
    cluster_run(cluster, 45000);
    const uint32_t next = cluster_leader(cluster);
    cr_assert_neq(next % 2, leader % 2, "at the preferred site");
    const uint64_t term = cluster_status(cluster, next).term;
    cluster_run(cluster, 200000);
    cr_assert_eq(cluster_leader(cluster), next);
    cr_assert_eq(cluster_status(cluster, next).term, term, "and it stays");
    cr_assert_eq(look(cluster, next).newest.number, 1, "nothing was degraded by it");
    cluster_destroy(cluster);
}

/* A leader leaves a drained site at once; its nodes lead only where nobody else can. */
Test(durability_cluster, a_drained_site_does_not_lead_unless_nobody_else_can)
{
    struct cluster *cluster = started(5);
    const uint32_t leader = cluster_leader(cluster);
    set_sites(cluster, "", leader % 2 == 0 ? "A" : "B");
    cluster_run(cluster, 5000);
    uint32_t next = cluster_leader(cluster);
    cr_assert_neq(next % 2, leader % 2, "it left");
    for (int i = 0; i < 5; i++) {
        cluster_crash(cluster, next);
        for (int ms = 0; ms < 3000; ms += 20) {
            cluster_run(cluster, 20);
            for (uint32_t k = leader % 2; k < 4; k += 2)
                cr_assert_not(cluster_status(cluster, k).leads, "not for a moment");
        }
        const uint32_t heir = cluster_leader(cluster);
        cr_assert_neq(heir % 2, leader % 2, "the other node of the site leads");
        cluster_start(cluster, next);
        cluster_run(cluster, 3000);
        next = cluster_leader(cluster);
        cr_assert_neq(next % 2, leader % 2);
    }
    lose_site(cluster, next, true);
    cluster_run(cluster, 8000);
    bool led = false;
    for (uint32_t i = leader % 2; i < 4; i += 2)
        led |= cluster_status(cluster, i).leads;
    cr_assert(led, "nobody else can");
    cluster_destroy(cluster);
}

/* One node alone, two sites without a witness, the rule in force: what is said to be on both sites
 * is on two of them. */
Test(durability_cluster, where_there_is_one_site_nothing_is_on_both)
{
    struct cluster *cluster = started(1);
    cr_assert_not(look(cluster, 0).in_force);
    cr_assert_gt(cluster_status(cluster, 0).commit_index, 0);
    cr_assert_eq(look(cluster, 0).both_index, 0);
    cr_assert_eq(cluster_status(cluster, 0).both_index, 0);
    cluster_destroy(cluster);

    cluster = started(2);
    const uint32_t leader = cluster_leader(cluster);
    cr_assert_not(look(cluster, leader).in_force);
    cr_assert_eq(look(cluster, leader).both_index, cluster_status(cluster, leader).commit_index);
    cluster_destroy(cluster);
}

/* Degraded, an entry is committed with the witness alone while the other site is a moment behind;
 * in that moment the witness is taken out of the members. Two sites without a witness have what is
 * committed, but not what was committed before they were that. */
Test(durability_cluster, members_that_are_only_appended_have_committed_nothing)
{
    struct cluster *cluster = started(3);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    lose_site(cluster, other, true);
    wait_for(cluster, DURABILITY_DEGRADE, 0, other, 3000);
    lose_site(cluster, other, false);
    cluster_commit(cluster, 100);
    cluster_run(cluster, 300);
    cr_assert_eq(look(cluster, leader).newest.mode, DURABILITY_DEGRADED);
    cluster_isolate(cluster, other, true);
    uint64_t index = 0;
    cr_assert_eq(cluster_propose(cluster, leader, 100, &index), STATUS_OK);
    cluster_run(cluster, 20);
    cr_assert_geq(cluster_status(cluster, leader).commit_index, index);
    cr_assert_lt(look(cluster, leader).both_index, index);
    const struct consensus_change removal = {.kind = CONSENSUS_REMOVE, .member = {.node_id = 3}};
    cr_assert_eq(consensus_change(cluster->nodes[leader].consensus, &removal, NULL, NULL),
                 STATUS_OK);
    cr_assert_not(look(cluster, leader).in_force);
    cr_assert_lt(look(cluster, leader).both_index, index, "the other site lacks it");
    cluster_isolate(cluster, other, false);
    cluster_run(cluster, 3000);
    const uint32_t now = cluster_leader(cluster);
    cr_assert_geq(look(cluster, now).both_index, index, "now it has it");
    cluster_destroy(cluster);
}

/* A policy waits for both sites, and counts as soon as it is in the log. So without a site none is
 * taken: `never` would forbid the degrade that could commit it, for as long as the site is away. */
Test(durability_cluster, without_a_site_no_policy_is_taken)
{
    struct cluster *cluster = started(3);
    set_decision(cluster, DURABILITY_OPERATOR);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    lose_site(cluster, other, true);
    cluster_run(cluster, 3000);
    struct consensus_durability view = look(cluster, leader);
    struct consensus_durability_change change = wish(DURABILITY_POLICY, view.newest.number);
    change.policy = view.newest.policy;
    change.policy.decision = DURABILITY_NEVER;
    cr_assert_eq(ask(cluster, leader, &change, "is not heard"), STATUS_INVALID);
    struct consensus_durability_change degrade = wish(DURABILITY_DEGRADE, view.newest.number);
    strcpy(degrade.site, other == 1 ? "B" : "A");
    cr_assert_eq(ask(cluster, leader, &degrade, ""), STATUS_OK);
    wait_for(cluster, DURABILITY_DEGRADE, view.newest.number, other, 2000);
    cluster_destroy(cluster);
}
