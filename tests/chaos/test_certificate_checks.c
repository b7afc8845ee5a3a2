/*
 * What the simulator holds certificates against: one host, the real node in it, and an oracle that
 * is told by hand what was acknowledged when.
 */
#include "chaos/sim/certificate_checks.h"

#include "chaos/sim/host.h"
#include "replication/node/node_internal.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(certificate_checks, .timeout = 60);

struct rig {
    struct world world;
    struct network network;
    struct host host;
    struct oracle oracle;
    struct rule_checks rule;
    struct certificate_checks checks;
    uint64_t later_ns; /* its certificates name a moment so much later than they should */
    uint64_t slip_ns;  /* it believes to have asked so much later than it did */
    uint64_t made_seen;
};

static void turned(void *context, struct host *host)
{
    struct rig *rig = context;
    struct certificates *c = &host->node->certificates;
    if (c->asked_wall_ns != rig->checks.seen[0].asked_wall_ns)
        c->asked_wall_ns += rig->slip_ns;
    if (c->made_total != rig->made_seen)
        c->record.wall_ns += rig->later_ns;
    rig->made_seen = c->made_total;
    rule_checks_look(&rig->rule, host);
    certificate_checks_look(&rig->checks, host);
}

static void heard(void *context, struct host *host)
{
    (void)context, (void)host;
}

static void died(void *context, struct host *host)
{
    struct rig *rig = context;
    rule_checks_forget(&rig->rule, host);
}

static void note(void *context, struct host *host)
{
    struct rig *rig = context;
    holdings_note(&rig->rule.holdings, host);
}

static struct rig *make(void)
{
    struct rig *rig = sim_allocate(sizeof *rig);
    world_init(&rig->world, 1, false, 0);
    oracle_init(&rig->oracle, &rig->world);
    rig->host = (struct host){
        .world = &rig->world,
        .network = &rig->network,
        .sink = {.context = rig,
                 .changes_over = note,
                 .turned = turned,
                 .heard = heard,
                 .dies = note,
                 .died = died},
        .site = "A",
        .kind = MEMBER_DATA,
        .options = {.journal_segment_size = 256u << 10,
                    .epoch_transfer_count_max = REQUEST_EVENTS_MAX,
                    .account_count_max = 1024,
                    .bloom_bytes = 1u << 16,
                    .store_map_size_bytes = 1ull << 30,
                    .checkpoint_interval_ms = 2000,
                    .disk_watermark_bytes = 1u << 20,
                    .in_flight_entries_max = 4,
                    .waiting_requests_max = 256,
                    .waiting_bytes_max = 4u << 20},
    };
    network_init(&rig->network, &rig->world, 1);
    rule_checks_init(&rig->rule, &rig->world, &rig->host, 1);
    rig->checks = (struct certificate_checks){
        .world = &rig->world, .oracle = &rig->oracle, .rule = &rig->rule};
    host_init(&rig->host, 1);
    host_found(&rig->host, NULL, 1, oracle_principals(), ORACLE_PRINCIPALS);
    host_start(&rig->host);
    return rig;
}

static void end(struct rig *rig)
{
    host_deinit(&rig->host);
    network_deinit(&rig->network);
    oracle_deinit(&rig->oracle);
    rule_checks_deinit(&rig->rule);
    world_deinit(&rig->world);
    free(rig);
}

static void run(struct rig *rig, uint64_t ns)
{
    world_run_until(&rig->world, rig->world.now_ns + ns);
}

static const struct certificates *held(const struct rig *rig)
{
    cr_assert_not_null(rig->host.node);
    return &rig->host.node->certificates;
}

/* Clients were told so, at that moment. */
static void acknowledge(struct rig *rig, uint64_t index, uint64_t at_ns)
{
    const uint64_t place = rig->oracle.history_count++;
    rig->oracle.history[place].at_ns = at_ns;
    rig->oracle.history[place].index = index;
}

static void assert_sound(const struct rig *rig)
{
    cr_assert_not(rig->world.violated, "%s", rig->world.violation);
}

static void assert_found(const struct rig *rig, const char *words)
{
    cr_assert(rig->world.violated);
    cr_assert_not_null(strstr(rig->world.violation, words), "%s", rig->world.violation);
}

/* Until it holds a certificate that its file has, too. */
static void run_until_written(struct rig *rig)
{
    for (int i = 0; i < 10000; i++) {
        run(rig, NS_PER_MS);
        assert_sound(rig);
        if (held(rig)->made_total > 0 && !held(rig)->unwritten && atomic_load(&held(rig)->job) == 0)
            return;
    }
    cr_assert_fail("no certificate reaches its file");
}

/* The clock is put back while the file holds a certificate from before; a newer one is made and
 * lost with the power. Long after, a process finds the one in the file. It had said so much, at a
 * time when no more was acknowledged; by the clock of today that seems to be later. */
Test(certificate_checks, what_a_file_brings_back_is_not_judged_by_the_clock_of_today)
{
    struct rig *rig = make();
    run_until_written(rig);
    const struct certificate_record before = held(rig)->record;
    rig->host.wall_offset_ns = -4 * (int64_t)NS_PER_S;
    run(rig, 300 * NS_PER_MS);
    const struct certificate_record after = held(rig)->record;
    cr_assert_gt(after.sequence, before.sequence);
    cr_assert_lt(after.wall_ns, before.wall_ns);
    cr_assert(held(rig)->unwritten);
    assert_sound(rig);

    const uint64_t killed_ns = rig->world.now_ns;
    host_kill(&rig->host, true);
    rig->host.wanted = false; /* and is not started at once */
    acknowledge(rig, before.index + 1, killed_ns + NS_PER_S);
    run(rig, 5500 * NS_PER_MS);
    const uint64_t looks = rig->checks.total;
    host_start(&rig->host);
    cr_assert_eq(held(rig)->record.sequence, before.sequence, "not what its file has");
    run(rig, 20 * NS_PER_MS);
    cr_assert_gt(rig->checks.total, looks);
    assert_sound(rig);
    run(rig, 2 * NS_PER_S);
    cr_assert_gt(held(rig)->record.index, before.index);
    assert_sound(rig);
    end(rig);
}

/* A clock that was just set, either way, makes nobody blind. */
static void assert_too_low_is_found(int64_t jump_ns, int64_t drift_ppm)
{
    struct rig *rig = make();
    run_until_written(rig);
    const uint64_t judged = rig->checks.acknowledged_total;
    rig->host.wall_offset_ns = jump_ns;
    host_drift(&rig->host, drift_ppm, 0);
    acknowledge(rig, held(rig)->record.index, rig->world.now_ns);
    run(rig, 500 * NS_PER_MS);
    cr_assert_gt(rig->checks.acknowledged_total, judged);
    assert_sound(rig);
    acknowledge(rig, held(rig)->record.index + 1, rig->world.now_ns);
    run(rig, 500 * NS_PER_MS);
    assert_found(rig, "says that everything acknowledged at");
    end(rig);
}

Test(certificate_checks, an_index_below_what_was_acknowledged_is_found_whatever_the_clock_says)
{
    assert_too_low_is_found(0, 0);
    assert_too_low_is_found(3600 * (int64_t)NS_PER_S, 0);
    assert_too_low_is_found(-3600 * (int64_t)NS_PER_S, 0);
    assert_too_low_is_found(0, 100000);
    assert_too_low_is_found(0, -100000);
}

Test(certificate_checks, a_moment_after_the_question_is_found)
{
    struct rig *rig = make();
    run_until_written(rig);
    rig->later_ns = 1;
    run(rig, 500 * NS_PER_MS);
    assert_found(rig, "after the one at which it asked");
    end(rig);
}

Test(certificate_checks, a_reading_that_the_clock_never_showed_is_found)
{
    struct rig *rig = make();
    run_until_written(rig);
    rig->slip_ns = 5 * NS_PER_S;
    run(rig, 500 * NS_PER_MS);
    assert_found(rig, "the certificate claims another time");
    end(rig);
}

/* A node that changes over to other files has none open for a moment, and may die in it. What
 * counts is what it had just before, not what the process before it had. */
Test(certificate_checks, what_a_node_had_before_it_changed_its_files_counts)
{
    struct rig *rig = make();
    struct journal_position position;
    uint64_t term;
    run_until_written(rig);
    host_kill(&rig->host, false);
    run(rig, 5 * NS_PER_S); /* started again: a term of its own */
    cr_assert_not_null(rig->host.node);
    struct journal *journal = rig->host.node->journal;
    journal_position(journal, &position);
    cr_assert_gt(position.synced_index, rig->rule.holdings.gone[0].synced_index);
    cr_assert_eq(journal_term(journal, position.synced_index, &term), STATUS_OK);

    rig->host.sink.changes_over(rig, &rig->host);
    rig->host.node->journal = NULL;
    rig->host.sink.dies(rig, &rig->host);
    cr_assert(holdings_has(&rig->rule.holdings, 0, position.synced_index, term));
    cr_assert_not(holdings_has(&rig->rule.holdings, 0, position.synced_index, term + 1));
    rig->host.node->journal = journal;
    end(rig);
}
